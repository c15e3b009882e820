//! What stands in front of every message: a code and a length. And the codes, as they are published.

pub(crate) const ECHO: u8 = 0x01;
pub(crate) const CREATE_SESSION: u8 = 0x03;
pub(crate) const AUTHENTICATE_SESSION: u8 = 0x04;
pub(crate) const SESSION_MESSAGE: u8 = 0x05;
pub(crate) const DEVICE_INFO: u8 = 0x06;
pub(crate) const RESET_DEVICE: u8 = 0x08;
pub(crate) const CLOSE_SESSION: u8 = 0x40;
pub(crate) const GET_STORAGE_INFO: u8 = 0x41;
pub(crate) const PUT_AUTHENTICATION_KEY: u8 = 0x44;
pub(crate) const GENERATE_ASYMMETRIC_KEY: u8 = 0x46;
pub(crate) const LIST_OBJECTS: u8 = 0x48;
pub(crate) const EXPORT_WRAPPED: u8 = 0x4a;
pub(crate) const PUT_WRAP_KEY: u8 = 0x4c;
pub(crate) const GET_LOG_ENTRIES: u8 = 0x4d;
pub(crate) const GET_OBJECT_INFO: u8 = 0x4e;
pub(crate) const SET_OPTION: u8 = 0x4f;
pub(crate) const GET_OPTION: u8 = 0x50;
pub(crate) const GET_PSEUDO_RANDOM: u8 = 0x51;
pub(crate) const SIGN_HMAC: u8 = 0x53;
pub(crate) const GET_PUBLIC_KEY: u8 = 0x54;
pub(crate) const SIGN_ECDSA: u8 = 0x56;
pub(crate) const DELETE_OBJECT: u8 = 0x58;
pub(crate) const GENERATE_HMAC_KEY: u8 = 0x5a;
pub(crate) const GENERATE_WRAP_KEY: u8 = 0x5b;
pub(crate) const SET_LOG_INDEX: u8 = 0x67;
pub(crate) const WRAP_DATA: u8 = 0x68;
pub(crate) const UNWRAP_DATA: u8 = 0x69;

/// An answer carries the code of its command with this bit.
pub(crate) const ANSWER: u8 = 0x80;
const ERROR: u8 = 0x7f;

/// Why a device refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Refusal {
    InvalidCommand = 0x01,
    InvalidData = 0x02,
    InvalidSession = 0x03,
    AuthenticationFailed = 0x04,
    SessionsFull = 0x05,
    WrongLength = 0x08,
    InsufficientPermissions = 0x09,
    LogFull = 0x0a,
    ObjectNotFound = 0x0b,
    ObjectExists = 0x11,
}

/// Code and data, if the length between them is right.
pub(crate) fn parse(message: &[u8]) -> Option<(u8, &[u8])> {
    let (&[code, high, low], data) = message.split_first_chunk()?;
    (usize::from(u16::from_be_bytes([high, low])) == data.len()).then_some((code, data))
}

pub(crate) fn answer(code: u8, result: Result<Vec<u8>, Refusal>) -> Vec<u8> {
    let (code, data) = match result {
        Ok(data) => (code | ANSWER, data),
        Err(refusal) => (ERROR, vec![refusal as u8]),
    };
    let length = u16::try_from(data.len()).unwrap();
    [[code].as_slice(), &length.to_be_bytes(), &data].concat()
}

/// A reader for the fields of a command.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Refusal::WrongLength)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Refusal> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Refusal> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Refusal> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn finish(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::WrongLength) }
    }
}
