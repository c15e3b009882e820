//! A serial cable between a relay and its device: a pseudo-terminal, which begins as cooked as any terminal does, and
//! somebody who can pull it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::node_process::wait_for;

/// What a boot loader, a modem's manager and a bad contact leave on a line before the first frame.
const NOISE: &[u8] = b"\r\nU-Boot 2026\r\nAT+CGMI\r\x03\x11\x13\x1a\xff\xfe\0";

/// A cable that ends at this path on the relay's side. Dropping it pulls it.
pub struct Cable {
    pub port: PathBuf,
    device: SocketAddr,
    plugged: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.pull();
    }
}

impl Cable {
    /// From `port`, a link as a rule of udev makes it, to the device at this address.
    pub fn new(port: &Path, device: SocketAddr) -> Self {
        let mut cable = Self { port: port.into(), device, plugged: None };
        cable.plug();
        cable
    }

    /// The terminal may be another one each time.
    pub fn plug(&mut self) {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&far).unwrap();
        unlockpt(&far).unwrap();
        fcntl_setfl(&far, OFlags::NONBLOCK).unwrap();
        symlink(ptsname(&far, Vec::new()).unwrap().to_str().unwrap(), &self.port).unwrap();
        let device = wait_for("the device is on", || TcpStream::connect(self.device).ok());
        device.set_nonblocking(true).unwrap();
        device.set_nodelay(true).unwrap();
        let pulled = Arc::<AtomicBool>::default();
        let seen = Arc::clone(&pulled);
        let carrying = std::thread::spawn(move || carry(File::from(far), device, &seen));
        self.plugged = Some((pulled, carrying));
    }

    pub fn pull(&mut self) {
        if let Some((pulled, carrying)) = self.plugged.take() {
            pulled.store(true, Ordering::Relaxed);
            let ended = carrying.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the cable broke");
            fs::remove_file(&self.port).unwrap();
        }
    }
}

/// What is there to read, which may be nothing.
fn some(from: &mut impl Read, buffer: &mut [u8]) -> usize {
    match from.read(buffer) {
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        // Nobody has the near end open.
        Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => 0,
        Err(error) => panic!("{error}"),
    }
}

fn all(to: &mut impl Write, mut bytes: &[u8], pulled: &AtomicBool) {
    while !bytes.is_empty() && !pulled.load(Ordering::Relaxed) {
        match to.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            // The relay or the device has gone.
            Err(_) => return,
        }
    }
}

fn carry(mut relay: File, mut device: TcpStream, pulled: &AtomicBool) {
    let (mut buffer, mut quiet) = ([0; 4096], true);
    while !pulled.load(Ordering::Relaxed) {
        let count = some(&mut relay, &mut buffer);
        if quiet && count > 0 {
            quiet = false;
            all(&mut relay, NOISE, pulled);
            all(&mut device, NOISE, pulled);
        }
        all(&mut device, &buffer[..count], pulled);
        let back = some(&mut device, &mut buffer);
        all(&mut relay, &buffer[..back], pulled);
        if count + back == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
