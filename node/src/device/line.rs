//! The line to a device: a serial port, or TCP for an emulator.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
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
                DeviceError::Port { port: port.clone(), reason: error.to_string() }
            }),
        }
    }
}

/// Eight bits, no parity, one stop bit, no flow control, and every byte as it is.
fn open_port(port: &PathBuf, baud: u32) -> io::Result<Stream> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = File::options().read(true).write(true).custom_flags(flags).open(port)?;
    let mut settings = tcgetattr(&file)?;
    settings.make_raw();
    settings.set_speed(baud)?;
    tcsetattr(&file, OptionalActions::Flush, &settings)?;
    // Not pipes; but all that these do is to wait until a file that does not block is ready.
    let writing = pipe::Sender::from_file_unchecked(file.try_clone()?)?;
    Ok(Stream::Serial(pipe::Receiver::from_file_unchecked(file)?, writing))
}

/// An open line.
pub(super) enum Stream {
    Tcp(TcpStream),
    Serial(pipe::Receiver, pipe::Sender),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Serial(reading, _) => Pin::new(reading).poll_read(context, buffer),
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
            Self::Serial(_, writing) => Pin::new(writing).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Serial(_, writing) => Pin::new(writing).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Serial(_, writing) => Pin::new(writing).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
