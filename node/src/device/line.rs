//! The line to a device: a serial port, or TCP for an emulator.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::termios::{
    OptionalActions, ioctl_tiocexcl, ioctl_tiocnxcl, isatty, tcgetattr, tcsetattr,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;

use super::DeviceError;
use crate::config::ConfigError;

/// Where the file of a relay names none. Over USB it means nothing.
pub const DEFAULT_BAUD: u32 = 115_200;

/// The device that a node relays for, as `[device]` of its configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// `host:port` of an emulator, or of whatever forwards a serial line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// A serial port, like `/dev/ttyACM0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<PathBuf>,
    /// The port's speed. Left out: 115200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baud: Option<u32>,
    /// A file with the device's PIN, readable by its owner alone; without it, it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin_file: Option<PathBuf>,
}

impl DeviceConfig {
    /// Every rule that the types do not express.
    ///
    /// # Errors
    /// [`ConfigError::Field`].
    pub fn check(&self) -> Result<(), ConfigError> {
        self.line().map(drop)
    }

    /// Where the device is.
    ///
    /// # Errors
    /// [`ConfigError::Field`].
    pub fn line(&self) -> Result<Line, ConfigError> {
        let wrong = |field, what| Err(ConfigError::Field { field, what });
        match (&self.tcp, &self.serial) {
            (Some(address), None) => {
                if self.baud.is_some() {
                    return wrong("device.baud", "is for serial ports only");
                }
                let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
                match port {
                    Some(1..) => Ok(Line::Tcp(address.clone())),
                    _ => wrong("device.tcp", "must be host:port"),
                }
            }
            (None, Some(port)) => match self.baud.unwrap_or(DEFAULT_BAUD) {
                baud @ 1_200..=12_000_000 => Ok(Line::Serial { port: port.clone(), baud }),
                _ => wrong("device.baud", "must be 1200 to 12000000"),
            },
            _ => wrong("device", "needs one of tcp = \"host:port\" and serial = \"/dev/…\""),
        }
    }
}

/// Where a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// An emulator, or whatever forwards a serial line.
    Tcp(String),
    /// A serial port.
    Serial {
        /// Its device file.
        port: PathBuf,
        /// Its speed.
        baud: u32,
    },
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Serial { port, baud } => write!(f, "{} at {baud} baud", port.display()),
        }
    }
}

impl Line {
    pub(super) async fn open(&self) -> Result<Stream, DeviceError> {
        match self {
            Self::Tcp(address) => {
                let unreachable = |error: io::Error| DeviceError::Unreachable {
                    address: address.clone(),
                    reason: error.to_string(),
                };
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Serial { port, baud } => open_port(port, *baud).map_err(|error| {
                DeviceError::Port { port: port.clone(), reason: why_closed(&error) }
            }),
        }
    }
}

/// Eight bits, no parity, one stop bit, no flow control, and every byte as it is.
fn open_port(port: &PathBuf, baud: u32) -> io::Result<Stream> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = File::options().read(true).write(true).custom_flags(flags).open(port)?;
    if !isatty(&file) {
        return Err(Errno::NOTTY.into());
    }
    // Two readers of one line would each get a part of it. The lock also stops root, whom the terminal does not.
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => Errno::BUSY,
        error => error,
    })?;
    ioctl_tiocexcl(&file)?;
    let _held = Held(file.try_clone()?);
    let mut settings = tcgetattr(&file)?;
    settings.make_raw();
    settings.set_speed(baud)?;
    tcsetattr(&file, OptionalActions::Flush, &settings)?;
    // Not pipes; but all that these do is to wait until a file that does not block is ready.
    let writing = pipe::Sender::from_file_unchecked(file.try_clone()?)?;
    let reading = pipe::Receiver::from_file_unchecked(file)?;
    Ok(Stream::Serial { reading, writing, _held })
}

/// What is wrong, and what to do about it.
fn why_closed(error: &io::Error) -> String {
    let advice = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::IO) => {
            "is the device plugged in, and is this its path?"
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            "let this user use the port: `ls -l` shows its group, often dialout"
        }
        Some(Errno::BUSY) => {
            "another program has the port open: a relay that runs, a terminal program or ModemManager; end it"
        }
        Some(Errno::NOTTY | Errno::ISDIR) => {
            "this is no serial port; name one like /dev/ttyACM0 in [device] of the configuration"
        }
        Some(Errno::INVAL) => "does the port have this speed?",
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}

/// Holds a port against other programs. A terminal that stays, such as a pseudo-terminal, would stay closed to
/// them after it.
pub(super) struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = ioctl_tiocnxcl(&self.0);
    }
}

/// An open line.
pub(super) enum Stream {
    Tcp(TcpStream),
    Serial { reading: pipe::Receiver, writing: pipe::Sender, _held: Held },
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Serial { reading, .. } => Pin::new(reading).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Serial { writing, .. } => Pin::new(writing).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Serial { writing, .. } => Pin::new(writing).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Serial { writing, .. } => Pin::new(writing).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    /// The far end of a terminal, and the path of the near one: as the kernel makes it, cooked.
    fn terminal() -> (File, PathBuf) {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&far).unwrap();
        unlockpt(&far).unwrap();
        let path = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
        (File::from(far), path.into())
    }

    async fn refused(port: &std::path::Path) -> String {
        let line = Line::Serial { port: port.into(), baud: DEFAULT_BAUD };
        line.open().await.err().unwrap().to_string()
    }

    /// A cooked terminal would echo, turn CR and LF into each other, and keep 0x03, 0x04, 0x11, 0x13 and 0x1a.
    #[tokio::test]
    async fn every_byte_crosses_a_terminal_both_ways_as_it_is() {
        let (mut far, port) = terminal();
        let line = Line::Serial { port, baud: DEFAULT_BAUD };
        let mut near = line.open().await.unwrap();
        let all: Vec<u8> = (0..=255).collect();
        let mut got = vec![0; 256];
        far.write_all(&all).unwrap();
        let read = timeout(Duration::from_secs(5), near.read_exact(&mut got)).await;
        read.expect("bytes are missing").unwrap();
        assert_eq!(got, all);
        // One at a time: what is lost must not wait for what follows.
        for byte in &all {
            far.write_all(&[*byte]).unwrap();
            let read = timeout(Duration::from_secs(5), near.read_u8()).await;
            assert_eq!(read.expect("a byte is missing").unwrap(), *byte);
        }
        near.write_all(&all).await.unwrap();
        near.write_all(b"end").await.unwrap();
        // An echo of what came would be before it.
        let mut got = vec![0; 259];
        far.read_exact(&mut got).unwrap();
        assert_eq!(got, [&all[..], b"end"].concat());
    }

    #[tokio::test]
    async fn a_port_that_cannot_be_opened_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let missing = refused(&folder.path().join("ttyACM0")).await;
        assert!(missing.contains("plugged in"), "{missing}");
        let file = folder.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        for other in [&*file, folder.path(), "/dev/null".as_ref()] {
            let other = refused(other).await;
            assert!(other.contains("no serial port"), "{other}");
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
        let denied = why_closed(&Errno::ACCESS.into());
        assert!(denied.contains("dialout"), "{denied}");

        let (_far, port) = terminal();
        let line = Line::Serial { port: port.clone(), baud: DEFAULT_BAUD };
        let first = line.open().await.unwrap();
        let second = refused(&port).await;
        assert!(second.contains("another program has the port open"), "{second}");
        drop(first);
        line.open().await.unwrap();
    }

    /// The far end goes: the line ends, and does not hang; a link to the next terminal is the same port.
    #[tokio::test]
    async fn a_terminal_that_goes_ends_the_line_and_may_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let port = folder.path().join("quorate-device");
        let line = Line::Serial { port: port.clone(), baud: DEFAULT_BAUD };
        for _ in 0..2 {
            let (mut far, path) = terminal();
            std::os::unix::fs::symlink(path, &port).unwrap();
            let mut near = line.open().await.unwrap();
            far.write_all(b"x").unwrap();
            let read = timeout(Duration::from_secs(5), near.read_u8()).await;
            assert_eq!(read.expect("it does not come").unwrap(), b'x');
            drop(far);
            let ended = timeout(Duration::from_secs(5), near.read_u8()).await;
            assert!(ended.expect("it hangs").is_err());
            std::fs::remove_file(&port).unwrap();
        }
    }

    fn config(text: &str) -> Result<Line, String> {
        let config: DeviceConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.line().map_err(|error| error.to_string())
    }

    #[test]
    fn a_device_is_in_one_place() {
        assert_eq!(config("tcp = \"127.0.0.1:7\""), Ok(Line::Tcp("127.0.0.1:7".into())));
        let serial = Line::Serial { port: "/dev/ttyACM0".into(), baud: 115_200 };
        assert_eq!(config("serial = \"/dev/ttyACM0\""), Ok(serial));
        for (wrong, word) in [
            ("", "one of tcp"),
            ("tcp = \"a:1\"\nserial = \"/dev/x\"", "one of tcp"),
            ("tcp = \"a\"", "host:port"),
            ("tcp = \"a:0\"", "host:port"),
            ("tcp = \"a:1\"\nbaud = 9600", "serial ports only"),
            ("serial = \"/dev/x\"\nbaud = 1", "1200"),
            ("usb = 1", "usb"),
        ] {
            let error = config(wrong).unwrap_err();
            assert!(error.contains(word), "{wrong}: {error}");
        }
    }
}
