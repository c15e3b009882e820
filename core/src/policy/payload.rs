//! A payload as a party understands it: parsed by itself, hashed by itself.

use core::fmt;

use super::amount::Amount;
use super::ethereum::{Address, Transaction, TransactionError, TypedData, TypedDataError, message};
use crate::hash::Digest;
use crate::request::Payload;

/// What is to be signed, understood.
#[allow(clippy::large_enum_variant, reason = "there is no allocator, and few live at a time")]
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// An unsigned transaction.
    Transaction(Transaction<'a>),
    /// A message's bytes, without the prefix of EIP-191.
    Message(&'a [u8]),
    /// EIP-712.
    TypedData(TypedData<'a>),
    /// 32 bytes that nobody understands.
    Digest([u8; 32]),
}

/// Why a payload is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// No unsigned transaction.
    Transaction(TransactionError),
    /// No typed data.
    TypedData(TypedDataError),
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction(error) => error.fmt(f),
            Self::TypedData(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PayloadError {}

impl<'a> Subject<'a> {
    /// Reads a payload of any kind, strictly.
    ///
    /// # Errors
    /// [`PayloadError`].
    #[inline(never)]
    pub fn parse(payload: &Payload<'a>) -> Result<Self, PayloadError> {
        match *payload {
            Payload::EthereumTransaction(bytes) => {
                Transaction::parse(bytes).map(Self::Transaction).map_err(PayloadError::Transaction)
            }
            Payload::EthereumMessage(bytes) => Ok(Self::Message(bytes)),
            Payload::EthereumTypedData(_) if !cfg!(feature = "typed-data") => {
                Err(PayloadError::TypedData(TypedDataError::NotInThisBuild))
            }
            Payload::EthereumTypedData(bytes) => {
                TypedData::parse(bytes).map(Self::TypedData).map_err(PayloadError::TypedData)
            }
            Payload::Digest(digest) => Ok(Self::Digest(digest)),
        }
    }

    /// What is signed, computed here.
    #[must_use]
    #[inline(never)]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Transaction(transaction) => transaction.digest(),
            Self::Message(bytes) => message::digest(bytes),
            Self::TypedData(data) => data.digest(),
            Self::Digest(digest) => *digest,
        }
    }
}

/// A value inside a payload: a field of typed data, an argument of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// uint8 … uint256.
    Uint(Amount),
    /// int8 … int256: 32 big-endian bytes, two's complement.
    Int([u8; 32]),
    /// bool.
    Bool(bool),
    /// address.
    Address(Address),
    /// bytes1 … bytes32, without padding.
    FixedBytes(&'a [u8]),
    /// bytes.
    Bytes(&'a [u8]),
    /// string.
    Text(&'a str),
}

/// One step into a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStep<'p> {
    /// A struct's field.
    Name(&'p str),
    /// An array's element, counted from 0.
    Index(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(payload: Payload<'_>) -> Digest {
        Subject::parse(&payload).unwrap().digest()
    }

    #[test]
    fn each_kind_is_hashed_by_its_own_rule() {
        // EIP-155's example: its unsigned transaction, and the hash that it signs.
        let unsigned = hex::decode(
            "ec098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a764000080018080",
        );
        let hash = "daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53";
        let unsigned = unsigned.unwrap();
        assert_eq!(hex::encode(digest(Payload::EthereumTransaction(&unsigned))), hash);
        // What wallets sign for these words.
        let hash = "a1de988600a42c4b4ab089b619297c17d53cffae5d5120d82d8a92d0bb3b78f2";
        assert_eq!(hex::encode(digest(Payload::EthereumMessage(b"Hello World"))), hash);
        assert_eq!(digest(Payload::Digest([7; 32])), [7; 32]);
        let error = Subject::parse(&Payload::EthereumTypedData(&[2])).unwrap_err();
        assert_eq!(error, PayloadError::TypedData(TypedDataError::Version(2)));
        let error = Subject::parse(&Payload::EthereumTransaction(&[])).unwrap_err();
        assert_eq!(error, PayloadError::Transaction(TransactionError::Type(None)));
    }
}
