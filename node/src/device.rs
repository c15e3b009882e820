//! The host's end of the device link: opens the line, greets, asks one thing at a time, and hears what the
//! device says unasked. What travels is in `quorate_core::device::link`.
//!
//! Nothing here is trusted with a secret but the PIN, and nothing that comes from the device is believed: parties
//! judge what it says by the keys that they pin.

mod error;
mod line;
mod said;

use std::collections::VecDeque;
use std::time::Duration;

use quorate_core::device::frame::{self, Decoder};
use quorate_core::device::link::{
    Answer, FromDevice, Hello, MAX_KEYS, Refused, Request, ToDevice, VERSIONS, features,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

pub use error::DeviceError;
pub use line::{DEFAULT_BAUD, DeviceConfig, Line};
pub use said::{HeldKey, Said, Unasked};

use line::Stream;

/// The device has so long to answer what it does by itself.
pub const ANSWER: Duration = Duration::from_secs(30);
/// And so long to greet: nothing is computed for it.
pub const GREETING: Duration = Duration::from_secs(5);
/// And so long where a person must press a button.
pub const PERSON: Duration = Duration::from_secs(120);
/// What a device says unasked while it is asked: more is lost, and the channels notice.
const UNASKED: usize = 256;
/// A frame that does not leave within this time never will: the line is dead.
const WRITE: Duration = Duration::from_secs(10);

/// A device at the other end of a line, greeted.
pub struct Device {
    stream: Stream,
    decoder: Decoder,
    /// What has been read and not been taken.
    input: VecDeque<u8>,
    /// Of the last request.
    last: u32,
    hello: Hello,
    unasked: VecDeque<Unasked>,
}

impl Device {
    /// Opens the line and greets. The device locks itself and drops its channels then.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub async fn connect(line: &Line) -> Result<Self, DeviceError> {
        let stream = timeout(GREETING, line.open()).await;
        let stream = stream.map_err(|_| DeviceError::Silent(GREETING))??;
        let nothing = Hello {
            version: 0,
            max_frame: 0,
            window: 0,
            features: 0,
            firmware: [0; 32],
            identity: None,
            joined: None,
        };
        let mut device = Self {
            stream,
            decoder: Decoder::new(),
            input: VecDeque::new(),
            last: 0,
            hello: nothing,
            unasked: VecDeque::new(),
        };
        // Whatever half a frame the device has of somebody who was here before ends with this.
        device.write_all(&[0]).await?;
        let mut entropy = zeroize::Zeroizing::new([0; 32]);
        let mut first = [0; 4];
        getrandom::getrandom(entropy.as_mut_slice())
            .and_then(|()| getrandom::getrandom(&mut first))
            .map_err(|_| DeviceError::Randomness)?;
        // What may still come is an answer to nothing that is asked here.
        device.last = u32::from_le_bytes(first) >> 1;
        let (min, max) = VERSIONS;
        let id = device.send(&Request::Hello { min, max, entropy: *entropy }).await?;
        let hello = async {
            loop {
                match device.read().await {
                    // The rest of an older conversation, and its noise.
                    Ok((answered, _)) if answered != id => {}
                    Err(DeviceError::Frame(_)) => {}
                    Ok((_, Said::Hello(hello))) => return Ok(hello),
                    Ok((_, Said::Refused(refused))) => return Err(DeviceError::Refused(refused)),
                    Ok(_) => return Err(DeviceError::OtherAnswer),
                    Err(error) => return Err(error),
                }
            }
        };
        let hello = timeout(GREETING, hello).await;
        device.hello = hello.map_err(|_| DeviceError::Silent(GREETING))??;
        if !(min..=max).contains(&device.hello.version) {
            return Err(DeviceError::OtherAnswer);
        }
        device.unasked.clear();
        Ok(device)
    }

    /// Who it is.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    async fn write_all(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(WRITE, written).await {
            Ok(written) => written.map_err(|error| DeviceError::Lost(error.to_string())),
            Err(_) => Err(DeviceError::Silent(WRITE)),
        }
    }

    /// Sends a request, and returns its id: the answer has the same. The one before must be answered.
    ///
    /// # Errors
    /// [`DeviceError`]: the line is of no use any more.
    pub async fn send(&mut self, request: &Request<'_>) -> Result<u32, DeviceError> {
        // After four billion requests the device is greeted anew, which needs a new connection.
        let id = self.last.checked_add(1).ok_or(DeviceError::OtherAnswer)?;
        self.last = id;
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(frame::MAX_ENCODED));
        frame::encode_to(&ToDevice { id, request: request.clone() }, |part| {
            bytes.extend_from_slice(part);
        });
        if bytes.len() > frame::MAX_ENCODED {
            return Err(DeviceError::TooLong);
        }
        self.write_all(&bytes).await?;
        Ok(id)
    }

    /// The next thing that the device says, and to which request: 0 for none. What has come is kept in `self`,
    /// so the future may be dropped and made again.
    ///
    /// # Errors
    /// [`DeviceError::Frame`] for noise, after which it can be called again; anything else ends the line.
    pub async fn read(&mut self) -> Result<(u32, Said), DeviceError> {
        loop {
            if let Some(said) = self.take() {
                return said;
            }
            let mut buffer = [0; 4096];
            let read = self.stream.read(&mut buffer).await;
            let count = read.map_err(|error| DeviceError::Lost(error.to_string()))?;
            if count == 0 {
                return Err(DeviceError::Closed);
            }
            self.input.extend(buffer.iter().take(count));
        }
    }

    fn take(&mut self) -> Option<Result<(u32, Said), DeviceError>> {
        while let Some(byte) = self.input.pop_front() {
            let Some(content) = self.decoder.push(byte) else { continue };
            let said = content.and_then(|content| {
                let FromDevice { id, answer } = frame::decode::<FromDevice<'_>>(content)?;
                Ok((id, Said::of(answer)))
            });
            return Some(said.map_err(DeviceError::Frame));
        }
        None
    }

    /// Asks, and waits for the answer. What the device says unasked meanwhile waits in [`Self::unasked`].
    ///
    /// # Errors
    /// [`DeviceError::Refused`] if the device does not do it; [`DeviceError`].
    pub async fn ask(
        &mut self,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<Said, DeviceError> {
        let id = self.send(request).await?;
        let answer = async {
            loop {
                let (answered, said) = self.read().await?;
                match said {
                    Said::Unasked(unasked) if self.unasked.len() < UNASKED => {
                        self.unasked.push_back(unasked);
                    }
                    Said::Unasked(_) => {}
                    Said::Refused(refused) if answered == id || answered == 0 => {
                        return Err(DeviceError::Refused(refused));
                    }
                    said if answered == id => return Ok(said),
                    _ => return Err(DeviceError::OtherAnswer),
                }
            }
        };
        timeout(patience, answer).await.unwrap_or(Err(DeviceError::Silent(patience)))
    }

    /// The same, where the answer is that it is done.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn order(
        &mut self,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<(), DeviceError> {
        match self.ask(request, patience).await? {
            Said::Done => Ok(()),
            _ => Err(DeviceError::OtherAnswer),
        }
    }

    /// How the device stands.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn status(&mut self) -> Result<quorate_core::device::link::Status, DeviceError> {
        match self.ask(&Request::Status, ANSWER).await? {
            Said::Status(status) => Ok(status),
            _ => Err(DeviceError::OtherAnswer),
        }
    }

    /// The keys that the device holds shares of; it is unlocked.
    ///
    /// # Errors
    /// [`DeviceError::Other`] of a firmware that does not tell; as [`Self::ask`].
    pub async fn keys(&mut self) -> Result<Vec<HeldKey>, DeviceError> {
        if self.hello.features & features::KEYS == 0 {
            return Err(DeviceError::Other(
                "the device's firmware is of a release that neither lists its keys nor forgets one"
                    .to_owned(),
            ));
        }
        let mut keys = Vec::new();
        for place in 0..MAX_KEYS {
            match self.ask(&Request::Key(place), ANSWER).await {
                Ok(Said::Key(key)) => keys.push(key),
                Err(DeviceError::Refused(Refused::UnknownKey)) => {}
                Ok(_) => return Err(DeviceError::OtherAnswer),
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }

    /// What the device has said unasked while it was asked, oldest first.
    pub fn unasked(&mut self) -> Option<Unasked> {
        self.unasked.pop_front()
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({:?})", self.hello.identity)
    }
}

impl Said {
    fn of(answer: Answer<'_>) -> Self {
        match answer {
            Answer::Hello(hello) => Self::Hello(hello),
            Answer::Done => Self::Done,
            Answer::Refused(refused) => Self::Refused(refused),
            Answer::Status(status) => Self::Status(status),
            Answer::Send { to, bytes } => {
                Self::Unasked(Unasked::Send { to: to.number(), bytes: bytes.to_vec() })
            }
            Answer::Event(event) => Self::Unasked(Unasked::Event(event)),
            Answer::Key { key, name, active } => {
                Self::Key(HeldKey { key, name: name.to_owned(), active })
            }
        }
    }
}
