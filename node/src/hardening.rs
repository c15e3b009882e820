//! What the process denies to others on its machine: its memory, in a core file or through a debugger.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Switches core files off, for this process and what it starts, and makes its memory unreadable to
/// other processes of the same user. (Root and the kernel can read it all the same.)
///
/// # Errors
/// The system call's; nothing secret should be opened then.
pub fn harden() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
