//! The emulator under a debugger: it runs to places in a program, and its memory and registers are read and
//! written. GDB's remote protocol, as far as that needs it.

// Test code, though not in `#[test]` functions: it must be loud.
#![allow(clippy::panic)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Registers of a Cortex-M as the emulator numbers them.
pub const SP: usize = 13;
/// The program counter.
pub const PC: usize = 15;

/// As much as a packet of the emulator holds.
const PIECE: usize = 2000;

/// A program in the emulator, stopped or running.
pub struct Debugger {
    emulator: Child,
    stream: UnixStream,
    /// Where what it prints goes.
    output: PathBuf,
    folder: tempfile::TempDir,
}

/// The machine cannot be reached, or said something else.
#[derive(Debug)]
pub struct Lost;

impl Debugger {
    /// Starts `image`, which stops before its first instruction; it finds `files` in its folder. One
    /// instruction takes 2^`shift` nanoseconds of its clock.
    ///
    /// # Panics
    /// If the emulator does not start.
    #[must_use]
    pub fn start(image: &Path, shift: u32, files: &[(&str, &[u8])]) -> Self {
        let Ok(folder) = tempfile::tempdir() else { panic!("no temporary folder") };
        for (name, bytes) in files {
            assert!(std::fs::write(folder.path().join(name), bytes).is_ok());
        }
        let (socket, output) = (folder.path().join("gdb"), folder.path().join("output"));
        let Ok(out) = std::fs::File::create(&output) else { panic!("no output file") };
        let mut command = Command::new("qemu-system-arm");
        command.args([
            "-M",
            "mps2-an386",
            "-display",
            "none",
            "-serial",
            "none",
            "-monitor",
            "none",
        ]);
        command.args(["-semihosting-config", "enable=on,target=native", "-S", "-icount"]);
        command.arg(format!("shift={shift}")).arg("-chardev");
        command.arg(format!("socket,id=gdb,path={},server=on,wait=off", socket.display()));
        command.args(["-gdb", "chardev:gdb", "-kernel"]).arg(image).current_dir(folder.path());
        let emulator = match command.stdin(Stdio::null()).stdout(out).spawn() {
            Ok(emulator) => emulator,
            Err(error) => panic!("qemu-system-arm does not start: {error}"),
        };
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if start.elapsed() > Duration::from_secs(20) => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(120)));
        let mut debugger = Self { emulator, stream, output, folder };
        // Single registers are for debuggers alone that have asked which there are.
        let asked = debugger.ask(b"qXfer:features:read:target.xml:0,400");
        assert!(asked.is_ok(), "the emulator does not answer");
        debugger
    }

    /// A file in its folder.
    #[must_use]
    pub fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap_or_default()
    }

    /// How long it may run until it stops.
    pub fn limit(&self, limit: Duration) {
        let _ = self.stream.set_read_timeout(Some(limit));
    }

    /// What it has printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    fn byte(&mut self) -> Result<u8, Lost> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).map_err(|_| Lost)?;
        Ok(byte[0])
    }

    fn send(&mut self, packet: &[u8]) -> Result<(), Lost> {
        let sum = packet.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        let mut framed = vec![b'$'];
        framed.extend_from_slice(packet);
        framed.extend_from_slice(format!("#{sum:02x}").as_bytes());
        self.stream.write_all(&framed).map_err(|_| Lost)
    }

    /// The next packet; it is acknowledged.
    fn receive(&mut self) -> Result<Vec<u8>, Lost> {
        while self.byte()? != b'$' {}
        let mut packet = Vec::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => packet.push(byte),
            }
        }
        self.byte()?;
        self.byte()?;
        self.stream.write_all(b"+").map_err(|_| Lost)?;
        Ok(packet)
    }

    fn ask(&mut self, packet: &[u8]) -> Result<Vec<u8>, Lost> {
        self.send(packet)?;
        self.receive()
    }

    fn done(&mut self, packet: &[u8]) -> Result<(), Lost> {
        if self.ask(packet)? == b"OK" { Ok(()) } else { Err(Lost) }
    }

    /// It will stop before the instruction at `address`.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn stop_at(&mut self, address: u32) -> Result<(), Lost> {
        self.done(format!("Z0,{address:x},2").as_bytes())
    }

    /// Goes on until it stops; `None` if the program has ended.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn run(&mut self) -> Result<Option<u32>, Lost> {
        // The emulator would stop at once again where it has stopped.
        self.step()?;
        self.send(b"c")?;
        // A program that ends closes the connection.
        match self.receive().ok().and_then(|packet| packet.first().copied()) {
            Some(b'T' | b'S') => self.register(PC).map(Some),
            _ => Ok(None),
        }
    }

    /// Executes one instruction.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn step(&mut self) -> Result<(), Lost> {
        self.ask(b"s").map(drop)
    }

    /// A register.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn register(&mut self, number: usize) -> Result<u32, Lost> {
        let text = self.ask(format!("p{number:x}").as_bytes())?;
        let bytes = hex::decode(text).map_err(|_| Lost)?;
        bytes.try_into().map(u32::from_le_bytes).map_err(|_| Lost)
    }

    /// Puts a value into a register.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn set_register(&mut self, number: usize, value: u32) -> Result<(), Lost> {
        let bytes = hex::encode(value.to_le_bytes());
        self.done(format!("P{number:x}={bytes}").as_bytes())
    }

    /// Memory.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn read(&mut self, address: u32, length: usize) -> Result<Vec<u8>, Lost> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let piece = (length - bytes.len()).min(PIECE);
            let at = address + bytes.len() as u32;
            let text = self.ask(format!("m{at:x},{piece:x}").as_bytes())?;
            let read = hex::decode(text).map_err(|_| Lost)?;
            if read.is_empty() {
                return Err(Lost);
            }
            bytes.extend(read);
        }
        Ok(bytes)
    }

    /// Puts bytes into memory.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), Lost> {
        for (place, piece) in bytes.chunks(PIECE).enumerate() {
            let at = address + (PIECE * place) as u32;
            let text = hex::encode(piece);
            self.done(format!("M{at:x},{:x}:{text}", piece.len()).as_bytes())?;
        }
        Ok(())
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// The address of the function whose symbol contains `name`, from a 32-bit ELF file.
///
/// # Panics
/// If there is none, or more than one.
#[must_use]
pub fn function(image: &Path, name: &str) -> u32 {
    let bytes = std::fs::read(image).unwrap_or_default();
    let found: Vec<u32> = functions(&bytes, name).unwrap_or_default();
    let [address] = found[..] else {
        panic!("{} functions in {} are like {name}", found.len(), image.display());
    };
    address
}

fn functions(elf: &[u8], name: &str) -> Option<Vec<u32>> {
    let half =
        |at: usize| elf.get(at..)?.first_chunk().map(|b| usize::from(u16::from_le_bytes(*b)));
    let word = |at: usize| elf.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
    let table = word(0x20)? as usize;
    let section = |number: usize, field: usize| word(table + number * 40 + 4 * field);
    // Type 2 is the table of symbols.
    let symbols = (0..half(0x30)?).find(|number| section(*number, 1) == Some(2))?;
    let strings = section(section(symbols, 6)? as usize, 4)? as usize;
    let (start, size) = (section(symbols, 4)? as usize, section(symbols, 5)? as usize);
    let mut found = Vec::new();
    for at in (start..start + size).step_by(16) {
        let text = elf.get(strings + word(at)? as usize..)?;
        let text = text.split(|byte| *byte == 0).next()?;
        let is_function = elf.get(at + 12)? & 15 == 2;
        let like = text.windows(name.len()).any(|piece| piece == name.as_bytes());
        let address = word(at + 4)? & !1;
        // Some have two names.
        if is_function && like && !found.contains(&address) {
            found.push(address);
        }
    }
    Some(found)
}
