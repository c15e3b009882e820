//! Frames, the unit inside a link: `u32` big-endian length, one byte of kind, the body. The length counts
//! kind and body. Pure: bytes in, values or a [`FrameError`] out; what a header claims is judged before
//! room is made for it.

use std::fmt;

/// The version that [`Hello`] states.
pub const VERSION: u16 = 1;
/// No message is longer.
pub const MAX_PAYLOAD: usize = 128 * 1024;
/// No frame is longer: the kind and the longest message.
pub const MAX_FRAME: usize = 1 + MAX_PAYLOAD;
/// No reason is longer, in bytes of UTF-8.
pub const MAX_REASON: usize = 256;
/// Bytes before the body: length and kind.
pub const HEADER: usize = 5;

/// A hello of another version may be longer than ours, but not by much.
const MAX_HELLO: usize = 256;
const HELLO: usize = 2 + 16 + 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first frame of each side: who speaks what.
    Hello = 0,
    /// Opaque bytes for the service.
    Message = 1,
    /// To be answered with the same number.
    Ping = 2,
    /// The answer.
    Pong = 3,
    /// The sender drops the link, and says why.
    Close = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Hello, Self::Message, Self::Ping, Self::Pong, Self::Close]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    /// Whether a body of this kind may have `length` bytes.
    fn fits(self, length: usize) -> bool {
        match self {
            Self::Hello => (2..=MAX_HELLO).contains(&length),
            Self::Message => length <= MAX_PAYLOAD,
            Self::Ping | Self::Pong => length == 8,
            Self::Close => length <= MAX_REASON,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hello => "hello",
            Self::Message => "message",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Close => "close",
        })
    }
}

/// The first frame of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u16,
    /// The network's id.
    pub network: [u8; 16],
    /// Who the sender is; its key must say the same.
    pub party: u16,
}

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// The first frame of each side.
    Hello(Hello),
    /// Opaque bytes for the service.
    Message(Vec<u8>),
    /// To be answered with the same number.
    Ping(u64),
    /// The answer.
    Pong(u64),
    /// The sender drops the link, and says why.
    Close(String),
}

/// A message may carry a share: its length is all that prints.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(hello) => hello.fmt(f),
            Self::Message(bytes) => write!(f, "Message({} bytes)", bytes.len()),
            Self::Ping(number) => write!(f, "Ping({number})"),
            Self::Pong(number) => write!(f, "Pong({number})"),
            Self::Close(reason) => write!(f, "Close({reason:?})"),
        }
    }
}

/// What is wrong with a frame, or with its place on the link. It is always its sender's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length is zero, so there is not even a kind.
    Empty,
    /// The length is over [`MAX_FRAME`].
    TooLong(u32),
    /// No such kind.
    UnknownKind(u8),
    /// A body that this kind cannot have.
    WrongSize {
        /// The frame's kind.
        kind: Kind,
        /// The body's claimed length.
        length: usize,
    },
    /// The connection ended in the middle of a frame.
    Truncated {
        /// Bytes that came.
        have: usize,
        /// Bytes that were due, as far as known.
        need: usize,
    },
    /// The reason in a close is not UTF-8.
    ReasonText,
    /// A hello of another version.
    Version(u16),
    /// Something else came before the hello.
    HelloMissing(Kind),
    /// A hello in the middle of the link.
    SecondHello,
    /// A pong for no ping.
    StrayPong(u64),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty frame"),
            Self::TooLong(length) => {
                write!(f, "an oversize frame ({length} bytes, at most {MAX_FRAME} are allowed)")
            }
            Self::UnknownKind(kind) => write!(f, "a frame of unknown kind {kind}"),
            Self::WrongSize { kind, length } => {
                write!(f, "a {kind} frame of a wrong size ({length} bytes)")
            }
            Self::Truncated { have, need } => {
                write!(f, "a truncated frame ({have} of {need} bytes, then the connection ended)")
            }
            Self::ReasonText => f.write_str("a close frame whose reason is not UTF-8"),
            Self::Version(version) => write!(
                f,
                "a hello of transport version {version} (this build speaks {VERSION}; run the same \
                 release on all parties)"
            ),
            Self::HelloMissing(kind) => write!(f, "a {kind} frame before its hello"),
            Self::SecondHello => f.write_str("a second hello"),
            Self::StrayPong(number) => write!(f, "a pong ({number}) that answers no ping"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Judges the first four bytes: how many bytes of kind and body follow.
///
/// # Errors
/// [`FrameError::Empty`], [`FrameError::TooLong`].
pub fn check_length(bytes: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(bytes);
    match usize::try_from(length) {
        Ok(0) => Err(FrameError::Empty),
        Ok(length) if length <= MAX_FRAME => Ok(length),
        _ => Err(FrameError::TooLong(length)),
    }
}

/// Judges the fifth byte: a known kind, which may have a body of `length` bytes.
///
/// # Errors
/// [`FrameError::UnknownKind`], [`FrameError::WrongSize`].
pub fn check_kind(byte: u8, length: usize) -> Result<Kind, FrameError> {
    let kind = Kind::of(byte).ok_or(FrameError::UnknownKind(byte))?;
    if kind.fits(length) { Ok(kind) } else { Err(FrameError::WrongSize { kind, length }) }
}

impl Hello {
    fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let wrong_size = FrameError::WrongSize { kind: Kind::Hello, length: body.len() };
        let (version, rest) = body.split_first_chunk().ok_or(wrong_size.clone())?;
        let version = u16::from_be_bytes(*version);
        // The version comes first, and alone decides what the rest is.
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let (network, rest) = rest.split_first_chunk().ok_or(wrong_size.clone())?;
        let party = rest.try_into().map_err(|_| wrong_size)?;
        Ok(Self { version, network: *network, party: u16::from_be_bytes(party) })
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(HELLO);
        body.extend_from_slice(&self.version.to_be_bytes());
        body.extend_from_slice(&self.network);
        body.extend_from_slice(&self.party.to_be_bytes());
        body
    }
}

impl Frame {
    /// Reads the body of a frame of this kind.
    ///
    /// # Errors
    /// [`FrameError::WrongSize`], [`FrameError::Version`], [`FrameError::ReasonText`].
    pub fn decode(kind: Kind, body: Vec<u8>) -> Result<Self, FrameError> {
        let length = body.len();
        let wrong_size = FrameError::WrongSize { kind, length };
        if !kind.fits(length) {
            return Err(wrong_size);
        }
        let number = || <[u8; 8]>::try_from(body.as_slice()).map(u64::from_be_bytes);
        match kind {
            Kind::Hello => Hello::decode(&body).map(Self::Hello),
            Kind::Message => Ok(Self::Message(body)),
            Kind::Ping => number().map(Self::Ping).map_err(|_| wrong_size),
            Kind::Pong => number().map(Self::Pong).map_err(|_| wrong_size),
            Kind::Close => {
                String::from_utf8(body).map(Self::Close).map_err(|_| FrameError::ReasonText)
            }
        }
    }

    /// The frame as bytes. A reason is cut to [`MAX_REASON`]; a message over [`MAX_PAYLOAD`] would be
    /// refused by its receiver, so the sender must not get that far.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => encode_raw(Kind::Hello as u8, &hello.encode()),
            Self::Message(bytes) => encode_message(bytes),
            Self::Ping(number) => encode_raw(Kind::Ping as u8, &number.to_be_bytes()),
            Self::Pong(number) => encode_raw(Kind::Pong as u8, &number.to_be_bytes()),
            Self::Close(reason) => {
                let mut end = reason.len().min(MAX_REASON);
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                encode_raw(Kind::Close as u8, reason.get(..end).unwrap_or_default().as_bytes())
            }
        }
    }
}

/// A message frame of borrowed bytes.
#[must_use]
pub fn encode_message(bytes: &[u8]) -> Vec<u8> {
    encode_raw(Kind::Message as u8, bytes)
}

/// Any kind and body, unchecked: tests play malicious parties with it.
#[must_use]
pub fn encode_raw(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).map_or(u32::MAX, |length| length.saturating_add(1));
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.push(kind);
    frame.extend_from_slice(body);
    frame
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// All of `bytes` as one frame, in the order in which a link judges them.
    fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
        let length = check_length(bytes[..4].try_into().unwrap())?;
        let kind = check_kind(bytes[4], length - 1)?;
        assert_eq!(bytes.len(), 4 + length);
        Frame::decode(kind, bytes[5..].to_vec())
    }

    fn hello() -> Hello {
        Hello { version: VERSION, network: [7; 16], party: 300 }
    }

    #[test]
    fn frames_survive() {
        let frames = [
            Frame::Hello(hello()),
            Frame::Message(vec![]),
            Frame::Message(vec![9; MAX_PAYLOAD]),
            Frame::Ping(1),
            Frame::Pong(u64::MAX),
            Frame::Close("façade".into()),
        ];
        for frame in frames {
            assert_eq!(decode(&frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn every_fault_has_its_own_error() {
        let wrong = |kind, length| Err(FrameError::WrongSize { kind, length });
        assert_eq!(decode(&[0; 5]), Err(FrameError::Empty));
        let longest = Frame::Message(vec![0; MAX_PAYLOAD]).encode();
        assert_eq!(longest.len(), 4 + MAX_FRAME);
        let length = MAX_FRAME as u32 + 1;
        assert_eq!(check_length(length.to_be_bytes()), Err(FrameError::TooLong(length)));
        assert_eq!(check_length([0xff; 4]), Err(FrameError::TooLong(u32::MAX)));
        assert_eq!(decode(&encode_raw(5, b"")), Err(FrameError::UnknownKind(5)));
        assert_eq!(decode(&encode_raw(2, &[0; 7])), wrong(Kind::Ping, 7));
        assert_eq!(decode(&encode_raw(3, &[0; 9])), wrong(Kind::Pong, 9));
        assert_eq!(decode(&encode_raw(4, &[b'a'; 257])), wrong(Kind::Close, 257));
        assert_eq!(decode(&encode_raw(4, &[0xff])), Err(FrameError::ReasonText));
        let body = hello().encode();
        assert_eq!(decode(&encode_raw(0, &body[..19])), wrong(Kind::Hello, 19));
        assert_eq!(decode(&encode_raw(0, &[body, vec![0]].concat())), wrong(Kind::Hello, 21));
        assert_eq!(decode(&encode_raw(0, &[1])), wrong(Kind::Hello, 1));
        assert_eq!(decode(&encode_raw(0, &[0, 2, 5])), Err(FrameError::Version(2)));
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let Ok(Frame::Close(reason)) = decode(&Frame::Close("é".repeat(200) + "x").encode())
        else {
            panic!("no close frame");
        };
        assert_eq!(reason, "é".repeat(128));
        let Ok(Frame::Close(reason)) =
            decode(&Frame::Close("x".to_owned() + &"é".repeat(200)).encode())
        else {
            panic!("no close frame");
        };
        assert_eq!(reason.len(), 255);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_have_one_encoding() {
        let mut seed = [0; 8];
        getrandom::getrandom(&mut seed).unwrap();
        println!("seed {}", hex::encode(seed));
        for case in 0u32..20_000 {
            let random = |part: u8| {
                let input = [&seed[..], &case.to_be_bytes()[..], &[part][..]].concat();
                <[u8; 32]>::from(Sha256::digest(input))
            };
            let [lead, .., size] = random(0);
            let body = [random(1), random(2)].concat();
            // Mostly the sizes and kinds that get far.
            let size = [8, 20, 0, usize::from(size % 65)][usize::from(lead) % 4];
            let mut body = body[..size].to_vec();
            if lead & 4 != 0 {
                body.iter_mut().take(2).zip(VERSION.to_be_bytes()).for_each(|(b, v)| *b = v);
            }
            let head = random(3);
            let _ = check_length([head[0], head[1], head[2], head[3]]);
            if let Ok(kind) = check_kind(head[4] % 6, body.len())
                && let Ok(frame) = Frame::decode(kind, body.clone())
            {
                assert_eq!(frame.encode(), encode_raw(kind as u8, &body));
            }
        }
    }
}
