//! Opened secrets in memory that is never swapped out: each on pages of its own, locked while it lives.
//!
//! For what lives long: shares, an emulated KEK, seeds of identity and session keys. A [`crate::Dek`] lives for
//! one call, and the cipher that it keys has it in registers and on the stack anyway: it is wiped, not locked.

use core::fmt;
use core::mem::size_of;
use core::ops::Deref;

use region::LockGuard;

use crate::HsmError;

/// A secret on locked pages. Dropping it wipes what its own `Drop` wipes, then unlocks the pages, and
/// only then gives them back: they are never somebody else's while they are still locked for this one.
pub struct Locked<T> {
    pages: Box<Pages<T>>,
    guard: Option<LockGuard>,
}

/// No other allocation shares the pages: unlocking them unlocks nothing else. 16 KiB is the largest page
/// of the machines that servers have, but for some with 64 KiB (see [`Locked::drop`]).
#[repr(align(16384))]
struct Pages<T>(Option<T>);

const ALIGN: usize = 16384;

impl<T> Locked<T> {
    /// Moves a secret to locked pages.
    ///
    /// # Errors
    /// [`HsmError::MemoryLimit`] where the operating system locks no more for this process; the secret is
    /// dropped then.
    pub fn new(secret: T) -> Result<Self, HsmError> {
        // Locked first, so that the secret is on no unlocked page of ours at any time.
        let mut locked = Self::empty()?;
        locked.pages.0 = Some(secret);
        Ok(locked)
    }

    fn empty() -> Result<Self, HsmError> {
        let mut locked = Self { pages: Box::new(Pages(None)), guard: None };
        let size = size_of::<Pages<T>>();
        let address = core::ptr::from_ref::<Pages<T>>(&locked.pages);
        let guard = region::lock(address, size)
            .map_err(|error| HsmError::MemoryLimit { size, reason: error.to_string() })?;
        locked.guard = Some(guard);
        Ok(locked)
    }

    /// Whether [`Self::new`] would find pages to lock now.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn room() -> Result<(), HsmError> {
        Self::empty().map(drop)
    }

    /// Where the operator has switched locking off: the same pages, unlocked.
    #[must_use]
    pub fn unlocked(secret: T) -> Self {
        Self { pages: Box::new(Pages(Some(secret))), guard: None }
    }

    /// [`Self::new`] or [`Self::unlocked`], as the operator has it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn kept(secret: T, lock: bool) -> Result<Self, HsmError> {
        if lock { Self::new(secret) } else { Ok(Self::unlocked(secret)) }
    }

    /// Bytes of memory that are locked for one such secret.
    #[must_use]
    pub const fn size() -> usize {
        size_of::<Pages<T>>()
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.pages.0 {
            Some(secret) => secret,
            // `None` only between the two lines of `new`, and in `drop`.
            None => unreachable!("a locked secret that is not there"),
        }
    }
}

impl<T> fmt::Debug for Locked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locked(..)")
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        self.pages.0 = None;
        let Some(guard) = self.guard.take() else { return };
        if region::page::size() > ALIGN {
            // Another secret may be on the same page: it stays locked until the process ends.
            core::mem::forget(guard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// The counts are the whole process's.
    static ALONE: Mutex<()> = Mutex::new(());

    fn locked_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn pages_are_locked_while_a_secret_lives_and_no_longer() {
        let _alone = ALONE.lock().unwrap();
        let before = locked_kib();
        let first = Locked::new([1u8; 20_000]).unwrap();
        let second = Locked::new([2u8; 100]).unwrap();
        assert_eq!(locked_kib() - before, 32 + 16);
        drop(first);
        assert_eq!(locked_kib() - before, 16, "the neighbour's pages stay locked");
        assert_eq!(*second, [2; 100]);
        drop(second);
        assert_eq!(locked_kib(), before);
    }

    /// Runs again in a process that may lock 64 KiB, also where root could lock everything.
    #[test]
    fn at_the_limit_the_error_says_what_to_raise() {
        const NAME: &str = "memory::tests::at_the_limit_the_error_says_what_to_raise";
        if std::env::var_os("QUORATE_TEST_LIMIT").is_none() {
            let output = std::process::Command::new("setpriv")
                .args(["--bounding-set=-ipc_lock", "prlimit", "--memlock=65536"])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--nocapture"])
                .env("QUORATE_TEST_LIMIT", "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
            return;
        }
        let mut held: Vec<Locked<[u8; 100]>> =
            (0..3).map(|_| Locked::new([1; 100]).unwrap()).collect();
        while let Ok(more) = Locked::new([1; 100]) {
            held.push(more);
            assert!(held.len() < 100, "there is no limit");
        }
        let error = Locked::new([1u8; 100]).unwrap_err();
        assert!(error.to_string().contains("LimitMEMLOCK"), "{error}");
        assert_eq!(Locked::<[u8; 100]>::room(), Err(error));
        held.pop();
        assert!(Locked::new([1u8; 100]).is_ok());
    }

    #[test]
    fn a_secret_is_wiped_before_its_pages_are_unlocked() {
        struct Noisy<'a>(&'a Mutex<Option<usize>>);
        impl Drop for Noisy<'_> {
            fn drop(&mut self) {
                *self.0.lock().unwrap() = Some(locked_kib());
            }
        }
        let _alone = ALONE.lock().unwrap();
        let (before, at_drop) = (locked_kib(), Mutex::new(None));
        drop(Locked::new(Noisy(&at_drop)).unwrap());
        assert_eq!(at_drop.into_inner().unwrap(), Some(before + 16));
        assert_eq!(locked_kib(), before);
    }
}
