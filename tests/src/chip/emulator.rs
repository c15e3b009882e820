//! A chip in the emulator.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorate_core::device::link::{Event, Request};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::host::{Gone, Host, Reply, Said};
use super::image::{Extent, Image, Machine};
use super::terminal::Terminal;

/// Bytes of the chip's flash, as its image takes them.
const FLASH: usize = 64 * 4096;
/// What the machine has, of which the flash is the beginning.
const MEMORY: u64 = 16 << 20;
/// What a chip shows first.
const FIRST: &str = "Quorate";

/// Where a chip's noise comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The machine's own generator.
    Random,
    /// The same bytes at each start.
    Seed(u64),
    /// Zeros: a generator that is broken.
    Zeros,
}

/// How a chip is started.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// On which machine.
    pub machine: Machine,
    /// With which image.
    pub extent: Extent,
    /// With which noise.
    pub noise: Source,
}

impl Default for Options {
    fn default() -> Self {
        Self { machine: Machine::CortexM4, extent: Extent::Base, noise: Source::Random }
    }
}

/// A chip's power supply. Whoever has a copy can cut it.
#[derive(Clone)]
pub struct Power(Arc<Mutex<Child>>);

impl Power {
    /// Cuts it, between any two instructions, and waits until the chip is off. What was written to flash is
    /// there.
    pub fn cut(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A running chip, whose folder is its flash. Dropping it cuts the power, and checks that it has never
/// panicked.
pub struct Emulator {
    /// The host's end of the link.
    pub host: Host,
    power: Power,
    terminal: Terminal,
    folder: PathBuf,
}

impl Emulator {
    /// Switches a chip on, with the flash of `folder`; erased, if there is none.
    ///
    /// # Panics
    /// If the emulator is missing or does not run.
    #[must_use]
    pub fn start(folder: &Path, options: Options) -> Self {
        let image = Image::of(options.machine, options.extent);
        if !flash_file(folder).exists() {
            Self::restore(folder, &vec![0xff; FLASH]);
        }
        noise(folder, options.noise);
        let (host, person) = (Socket::new(folder, "host"), Socket::new(folder, "person"));
        let mut qemu = Command::new("qemu-system-arm");
        qemu.arg("-M").arg(format!("{},memory-backend=flash", options.machine.name()));
        qemu.arg("-object");
        qemu.arg(format!("memory-backend-file,id=flash,size={MEMORY},mem-path=flash,share=on"));
        qemu.args(["-display", "none", "-monitor", "none", "-kernel"]).arg(image.path());
        qemu.args(["-chardev", "socket,id=host,path=host", "-serial", "chardev:host"]);
        qemu.args(["-chardev", "pipe,id=noise,path=noise", "-serial", "chardev:noise"]);
        qemu.args(["-chardev", "socket,id=person,path=person", "-serial", "chardev:person"]);
        qemu.args(["-chardev", "file,id=fault,path=fault,append=on", "-serial", "chardev:fault"]);
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).current_dir(folder);
        let log = File::create(folder.join("qemu.log"));
        qemu.stderr(log.unwrap_or_else(|error| panic!("{}: {error}", folder.display())));
        let mut child = match qemu.spawn() {
            Ok(child) => child,
            Err(error) => panic!("qemu-system-arm does not start: {error}"),
        };
        let streams = [host, person].map(|socket| socket.accept(&mut child, folder));
        let [host, person] = streams;
        Self {
            host: Host::new(host),
            power: Power(Arc::new(Mutex::new(child))),
            terminal: Terminal::new(person),
            folder: folder.into(),
        }
    }

    /// Its power supply.
    #[must_use]
    pub fn power(&self) -> Power {
        self.power.clone()
    }

    /// All that its screen has shown since it was switched on.
    #[must_use]
    pub fn screens(&self) -> Vec<String> {
        self.terminal.screens()
    }

    /// Waits for a screen with `words`, the `from`th or later, and returns its number and text.
    ///
    /// # Panics
    /// If none appears.
    #[must_use]
    pub fn wait_for(&self, from: usize, words: &str) -> (usize, String) {
        self.terminal.wait(from, |text| text.contains(words))
    }

    /// Presses a button.
    pub fn press(&mut self, confirm: bool) {
        self.terminal.press(if confirm { b'y' } else { b'n' });
    }

    /// Asks for what the chip asks the person about, who answers at once.
    ///
    /// # Errors
    /// [`Gone`] if the chip has lost its power.
    pub fn ask_person(&mut self, request: Request<'_>, confirm: bool) -> Result<Reply, Gone> {
        let Self { host, terminal, .. } = self;
        host.ask_and(request, |said| {
            if matches!(said, Said::Event(Event::Asking { .. })) {
                terminal.answer(confirm);
            }
        })
    }

    /// The person answers what the chip asks, page by page.
    pub fn answer(&mut self, confirm: bool) {
        self.terminal.answer(confirm);
    }

    /// How often the firmware has started since the chip was switched on.
    #[must_use]
    pub fn starts(&self) -> usize {
        let _ = self.wait_for(0, FIRST);
        self.screens().iter().filter(|screen| *screen == FIRST).count()
    }

    /// The flash in `folder`, as it is now.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn snapshot(folder: &Path) -> Vec<u8> {
        let path = flash_file(folder);
        let mut bytes = fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        bytes.truncate(FLASH);
        bytes
    }

    /// Puts the flash in `folder` to what it was. The chip must be off.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn restore(folder: &Path, flash: &[u8]) {
        let write = || {
            let mut file = File::create(flash_file(folder))?;
            file.write_all(flash)?;
            file.set_len(MEMORY)
        };
        write().unwrap_or_else(|error: std::io::Error| panic!("{}: {error}", folder.display()));
    }

    /// What the chip in `folder` has said about panics and faults, ever.
    #[must_use]
    pub fn faults(folder: &Path) -> String {
        fs::read_to_string(folder.join("fault")).unwrap_or_default()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.power.cut();
        if !std::thread::panicking() {
            assert_eq!(Self::faults(&self.folder), "", "the firmware does not panic");
        }
    }
}

fn flash_file(folder: &Path) -> PathBuf {
    folder.join("flash")
}

/// A pipe of the emulator is two files; these two are devices, or a file that is long enough.
fn noise(folder: &Path, source: Source) {
    let seed = folder.join("seed");
    let from = match source {
        Source::Random => Path::new("/dev/urandom"),
        Source::Zeros => Path::new("/dev/zero"),
        Source::Seed(number) => {
            let mut bytes = vec![0; 1 << 20];
            ChaCha20Rng::seed_from_u64(number).fill_bytes(&mut bytes);
            let written = fs::write(&seed, bytes);
            assert!(written.is_ok(), "{seed:?}: {written:?}");
            &seed
        }
    };
    for (name, target) in [("noise.in", from), ("noise.out", Path::new("/dev/null"))] {
        let _ = fs::remove_file(folder.join(name));
        let linked = symlink(target, folder.join(name));
        assert!(linked.is_ok(), "{name}: {linked:?}");
    }
}

/// A socket that waits for the emulator: it is there first, and nothing that a chip says early is lost.
struct Socket(UnixListener);

impl Socket {
    fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        Self(listener.unwrap_or_else(|error| panic!("{path:?}: {error}")))
    }

    fn accept(self, child: &mut Child, folder: &Path) -> UnixStream {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok((stream, _)) = self.0.accept() {
                let set = stream.set_nonblocking(false);
                assert!(set.is_ok(), "{set:?}");
                return stream;
            }
            if Instant::now() > until || matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
                let _ = child.kill();
                let _ = child.wait();
                let log = fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
                panic!("the emulator does not run: {log}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
