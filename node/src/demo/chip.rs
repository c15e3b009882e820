//! A chip for the demo: the firmware as real ARM code in QEMU, with a flash that outlives its power, a screen and
//! two buttons. Its line to the host is TCP on loopback.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::DemoError;

/// The emulator.
pub const QEMU: &str = "qemu-system-arm";
/// A Cortex-M4, like that of a small board.
const MACHINE: &str = "mps2-an386";
/// Bytes of the chip's flash, as its image takes them.
const FLASH: usize = 64 * 4096;
/// What the machine has, of which the flash is the beginning.
const MEMORY: u64 = 16 << 20;
/// A chip that shows nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// A form feed comes before the text of a screen, and this after it.
const START: u8 = 0x0c;
const END: u8 = 0x03;

fn local(what: &str, error: impl std::fmt::Display) -> DemoError {
    DemoError::Local(format!("{what}: {error}"))
}

/// A running chip. Dropping it cuts its power.
pub struct Chip {
    child: Mutex<Child>,
    person: UnixStream,
    screens: Arc<Mutex<Vec<String>>>,
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.cut();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chip {
    /// Switches a chip on, with the flash of `folder`; erased, if there is none. Its host listens at
    /// 127.0.0.1:`port`.
    ///
    /// # Errors
    /// [`DemoError::Local`] if the emulator is missing or does not run.
    pub fn start(folder: &Path, firmware: &Path, port: u16) -> Result<Self, DemoError> {
        let failed = |error: std::io::Error| local("preparing the chip", error);
        fs::create_dir_all(folder).map_err(failed)?;
        prepare(folder).map_err(failed)?;
        let socket = folder.join("person");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let firmware = firmware
            .canonicalize()
            .map_err(|e| local(&format!("the firmware {}", firmware.display()), e))?;
        let mut qemu = Command::new(QEMU);
        qemu.args(["-M", &format!("{MACHINE},memory-backend=flash"), "-object"]);
        qemu.arg(format!("memory-backend-file,id=flash,size={MEMORY},mem-path=flash,share=on"));
        qemu.args(["-display", "none", "-monitor", "none", "-kernel"]).arg(firmware);
        let host =
            format!("socket,id=host,host=127.0.0.1,port={port},server=on,wait=off,nodelay=on");
        qemu.args(["-chardev", &host, "-serial", "chardev:host"]);
        qemu.args(["-chardev", "pipe,id=noise,path=noise", "-serial", "chardev:noise"]);
        qemu.args(["-chardev", "socket,id=person,path=person", "-serial", "chardev:person"]);
        qemu.args(["-chardev", "file,id=fault,path=fault,append=on", "-serial", "chardev:fault"]);
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).current_dir(folder);
        qemu.stderr(File::create(folder.join("qemu.log")).map_err(failed)?);
        let mut child = qemu.spawn().map_err(|e| {
            local(&format!("{QEMU} does not start (apt-get install qemu-system-arm)"), e)
        })?;
        let person = match accept(&listener, &mut child) {
            Some(person) => person,
            None => {
                let _ = child.kill();
                let _ = child.wait();
                let said = fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
                return Err(match said.contains("Address already in use") {
                    true => DemoError::PortTaken(said),
                    false => {
                        DemoError::Local(format!("the emulator does not run: {}", said.trim()))
                    }
                });
            }
        };
        let screens = Arc::default();
        let (seen, reading) = (Arc::clone(&screens), person.try_clone().map_err(failed)?);
        std::thread::Builder::new()
            .name("screen".into())
            .spawn(move || watch(reading, &seen))
            .map_err(failed)?;
        Ok(Self { child: Mutex::new(child), person, screens })
    }

    /// Cuts the power, between any two instructions. What was written to flash is there.
    pub fn cut(&self) {
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }

    /// How many screens there were.
    #[must_use]
    pub fn shown(&self) -> usize {
        lock(&self.screens).len()
    }

    /// The first screen with `words`, from number `from` on, and its number; `None` if there is none yet.
    #[must_use]
    pub fn find(&self, from: usize, words: &str) -> Option<(usize, String)> {
        let screens = lock(&self.screens);
        let mut found = screens.iter().enumerate().skip(from);
        found.find(|(_, text)| text.contains(words)).map(|(place, text)| (place, text.clone()))
    }

    /// Waits for it.
    ///
    /// # Errors
    /// [`DemoError::Unexpected`] if it does not come.
    pub fn wait_for(&self, from: usize, words: &str) -> Result<(usize, String), DemoError> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.find(from, words) {
                return Ok(found);
            }
            if Instant::now() > until {
                let screens = lock(&self.screens);
                return Err(DemoError::Unexpected(format!(
                    "the chip did not show {words:?}, only {:?}",
                    screens.get(from..).unwrap_or_default()
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Presses a button once. A chip without power takes no notice.
    pub fn press(&self, confirm: bool) {
        let _ = (&self.person).write_all(if confirm { b"y" } else { b"n" });
    }

    /// Reads all pages of the question that begins with `words`, from screen `from` on, and stands before the
    /// last. What a no is for is on the first.
    ///
    /// # Errors
    /// [`DemoError::Unexpected`] if it does not come.
    pub fn read(&self, from: usize, words: &str) -> Result<Vec<String>, DemoError> {
        let (mut at, mut page) = self.wait_for(from, words)?;
        let mut pages = Vec::new();
        loop {
            let last = pages_of(&page).is_none_or(|(this, of)| this >= of);
            pages.push(page);
            if last {
                return Ok(pages);
            }
            self.press(true);
            (at, page) = self.wait_for(at + 1, "page ")?;
        }
    }
}

/// The footer of a page: which of how many.
fn pages_of(text: &str) -> Option<(usize, usize)> {
    let (_, footer) = text.rsplit_once("page ")?;
    let (this, of) = footer.trim().split_once('/')?;
    Some((this.parse().ok()?, of.parse().ok()?))
}

/// Erased flash if there is none, and noise: a pipe of the emulator is two files.
fn prepare(folder: &Path) -> std::io::Result<()> {
    let flash = folder.join("flash");
    if !flash.exists() {
        let mut file = File::create(&flash)?;
        file.write_all(&vec![0xff; FLASH])?;
        file.set_len(MEMORY)?;
    }
    for (name, target) in [("noise.in", "/dev/urandom"), ("noise.out", "/dev/null")] {
        let _ = fs::remove_file(folder.join(name));
        symlink(target, folder.join(name))?;
    }
    Ok(())
}

fn accept(listener: &UnixListener, child: &mut Child) -> Option<UnixStream> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        if let Ok((stream, _)) = listener.accept() {
            return stream.set_nonblocking(false).ok().map(|()| stream);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

fn watch(mut stream: UnixStream, screens: &Mutex<Vec<String>>) {
    let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        for byte in buffer.iter().take(count) {
            match *byte {
                START => text.clear(),
                END => lock(screens).push(String::from_utf8_lossy(&text).trim_end().to_owned()),
                byte => text.push(byte),
            }
        }
    }
}

/// Where the image for the emulator is built, from here or from this program's own folder on.
#[must_use]
pub fn find_firmware() -> Option<PathBuf> {
    let image = Path::new("thumbv7em-none-eabihf/release").join(MACHINE);
    let places = ["firmware/boards/target", "target/tmp/boards"];
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    let roots = here.into_iter().chain(program);
    roots
        .flat_map(|root| root.ancestors().map(Path::to_path_buf).collect::<Vec<_>>())
        .flat_map(|root| places.map(|place| root.join(place).join(&image)))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted() {
        assert_eq!(pages_of("SIGN?\npage 1/2"), Some((1, 2)));
        assert_eq!(pages_of("SIGN?\nto page 9"), None);
        assert_eq!(pages_of("SIGN?"), None);
    }
}
