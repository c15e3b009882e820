//! Ethereum transactions (EIP-1559), parsed by every party itself, without an allocator.

use core::fmt;

use serde::{Deserialize, Serialize};
use sha3::{Digest as _, Keccak256};

use super::amount::Amount;
pub use super::rlp::{NoRoom, RlpError};
use super::rlp::{Reader, Writer, header_length, string_length, trimmed};

/// keccak-256.
#[must_use]
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// An account, 20 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address(pub [u8; 20]);

impl Address {
    /// Reads 40 hexadecimal digits, with or without `0x`. Mixed case must be a right EIP-55 checksum.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
        if digits.len() != 40 {
            return None;
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair.iter().try_fold(0u8, |sum, digit| {
                Some(sum << 4 | (*digit as char).to_digit(16)? as u8)
            })?;
        }
        let address = Self(bytes);
        let has = |test: fn(&u8) -> bool| digits.iter().any(test);
        let mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
        (!mixed || address.checksummed() == digits).then_some(address)
    }

    /// EIP-55: the digit is upper case where the hash of the lower-case digits has a nibble of 8 or more.
    fn checksummed(&self) -> [u8; 40] {
        let mut text = [0u8; 40];
        for (pair, byte) in text.chunks_mut(2).zip(self.0) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = char::from_digit(u32::from(nibble), 16).unwrap_or('0') as u8;
            }
        }
        let hash = keccak256(&text);
        for (pair, byte) in text.chunks_mut(2).zip(hash) {
            for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                if nibble >= 8 {
                    digit.make_ascii_uppercase();
                }
            }
        }
        text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.checksummed().iter().try_for_each(|digit| write!(f, "{}", *digit as char))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The address of a public key given as x ‖ y: the last 20 bytes of its hash.
#[must_use]
pub fn address(public_key: &[u8; 64]) -> Address {
    let mut bytes = [0; 20];
    let hash = keccak256(public_key);
    bytes.iter_mut().zip(hash.iter().skip(12)).for_each(|(to, from)| *to = *from);
    Address(bytes)
}

/// Why bytes are no unsigned EIP-1559 transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionError {
    /// Another type of transaction; this build understands type 2 only.
    Type(Option<u8>),
    /// The RLP is not canonical, or a field has the wrong shape.
    Rlp(RlpError),
    /// gas limit · fee does not fit 256 bits.
    Fee,
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(Some(kind)) => {
                write!(f, "transaction type {kind:#04x} is not understood, only 0x02")
            }
            Self::Type(None) => f.write_str("the transaction is empty"),
            Self::Rlp(error) => write!(f, "the transaction's encoding is wrong: {error:?}"),
            Self::Fee => f.write_str("the transaction's fee does not fit 256 bits"),
        }
    }
}

impl core::error::Error for TransactionError {}

impl From<RlpError> for TransactionError {
    fn from(error: RlpError) -> Self {
        Self::Rlp(error)
    }
}

/// An unsigned EIP-1559 transaction.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// The chain.
    pub chain_id: u64,
    /// The sender's counter.
    pub nonce: u64,
    /// Tip per gas, wei.
    pub max_priority_fee_per_gas: Amount,
    /// Limit per gas, wei.
    pub max_fee_per_gas: Amount,
    /// Gas.
    pub gas_limit: u64,
    /// The receiver; `None` creates a contract.
    pub to: Option<Address>,
    /// Wei.
    pub value: Amount,
    /// The call's data.
    pub data: &'a [u8],
    /// The most that the fee can be: gas limit · max fee per gas.
    pub max_fee: Amount,
}

impl<'a> Transaction<'a> {
    /// Reads `0x02 ‖ rlp([chain_id, nonce, tip, fee, gas, to, value, data, access_list])`, strictly.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TransactionError> {
        let body = match bytes.split_first() {
            Some((2, body)) => body,
            other => return Err(TransactionError::Type(other.map(|(kind, _)| *kind))),
        };
        let mut outer = Reader(body);
        let mut fields = outer.list()?;
        outer.end()?;
        let amount = |bytes: &[u8]| Amount::from_be_slice(bytes).ok_or(RlpError::Integer);
        let chain_id = fields.u64()?;
        let nonce = fields.u64()?;
        let max_priority_fee_per_gas = amount(fields.integer()?)?;
        let max_fee_per_gas = amount(fields.integer()?)?;
        let gas_limit = fields.u64()?;
        let to = fields.string()?;
        let to = match to.len() {
            0 => None,
            _ => Some(Address(to.try_into().map_err(|_| RlpError::Length)?)),
        };
        let value = amount(fields.integer()?)?;
        let data = fields.string()?;
        let mut access_list = fields.list()?;
        while !access_list.is_empty() {
            let mut entry = access_list.list()?;
            entry.fixed::<20>()?;
            let mut keys = entry.list()?;
            entry.end()?;
            while !keys.is_empty() {
                keys.fixed::<32>()?;
            }
        }
        fields.end()?;
        let max_fee = max_fee_per_gas.checked_mul(gas_limit).ok_or(TransactionError::Fee)?;
        Ok(Self {
            chain_id,
            nonce,
            max_priority_fee_per_gas,
            max_fee_per_gas,
            gas_limit,
            to,
            value,
            data,
            max_fee,
        })
    }
}

/// What an unsigned EIP-1559 transaction without an access list is made of.
#[derive(Clone, Copy, Debug)]
pub struct UnsignedFields<'a> {
    /// The chain.
    pub chain_id: u64,
    /// The sender's counter.
    pub nonce: u64,
    /// Tip per gas, wei.
    pub max_priority_fee_per_gas: Amount,
    /// Limit per gas, wei.
    pub max_fee_per_gas: Amount,
    /// Gas.
    pub gas_limit: u64,
    /// The receiver; `None` creates a contract.
    pub to: Option<Address>,
    /// Wei.
    pub value: Amount,
    /// The call's data.
    pub data: &'a [u8],
}

/// The bytes that [`Transaction::parse`] reads. Whether the fields make sense is for the reader to
/// say; [`UNSIGNED_OVERHEAD`] bytes more than the data always suffice.
///
/// # Errors
/// [`NoRoom`] if the buffer is too short.
pub fn unsigned_transaction<'b>(
    fields: &UnsignedFields<'_>,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], NoRoom> {
    let chain_id = fields.chain_id.to_be_bytes();
    let nonce = fields.nonce.to_be_bytes();
    let tip = fields.max_priority_fee_per_gas.to_be_bytes();
    let fee = fields.max_fee_per_gas.to_be_bytes();
    let gas_limit = fields.gas_limit.to_be_bytes();
    let value = fields.value.to_be_bytes();
    let strings = [
        trimmed(&chain_id),
        trimmed(&nonce),
        trimmed(&tip),
        trimmed(&fee),
        trimmed(&gas_limit),
        fields.to.as_ref().map_or(&[], |to| &to.0),
        trimmed(&value),
        fields.data,
    ];
    let payload: usize = strings.iter().map(|string| string_length(string)).sum();
    let mut writer = Writer::new(buffer);
    writer.raw(&[2])?;
    // One byte more: the empty access list.
    writer.list_header(payload + 1)?;
    strings.iter().try_for_each(|string| writer.string(string))?;
    writer.list_header(0)?;
    writer.finish()
}

/// How many bytes longer than its data [`unsigned_transaction`]'s answer can be: the type, the list's
/// header, three counters, three amounts, a receiver, the data's header, an empty list.
pub const UNSIGNED_OVERHEAD: usize = 1 + 9 + 3 * 9 + 3 * 33 + 21 + 9 + 1;

/// The raw signed transaction: the unsigned fields with (y parity, r, s) appended. `buffer` needs
/// 80 bytes more than `unsigned` has.
///
/// # Errors
/// [`NoRoom`] if the buffer is too short, or `unsigned` is no transaction.
pub fn signed_transaction<'b>(
    unsigned: &[u8],
    y_parity: bool,
    r: &[u8; 32],
    s: &[u8; 32],
    buffer: &'b mut [u8],
) -> Result<&'b [u8], NoRoom> {
    let body = unsigned.get(1..).ok_or(NoRoom)?;
    let fields = Reader(body).list().map_err(|_| NoRoom)?.0;
    let mut tail = [0u8; 67];
    let mut writer = Writer::new(&mut tail);
    writer.integer(&[u8::from(y_parity)])?;
    writer.integer(r)?;
    writer.integer(s)?;
    let tail = writer.finish()?;
    let payload = fields.len() + tail.len();
    debug_assert!(header_length(payload) <= 5);
    let mut writer = Writer::new(buffer);
    writer.raw(&[2])?;
    writer.list_header(payload)?;
    writer.raw(fields)?;
    writer.raw(tail)?;
    writer.finish()
}

/// The parts of a raw signed EIP-1559 transaction.
#[derive(Clone, Copy, Debug)]
pub struct SignedParts {
    /// keccak-256 of the unsigned transaction: what was signed.
    pub digest: [u8; 32],
    /// Whether y(R) is odd.
    pub y_parity: bool,
    /// r, 32 big-endian bytes.
    pub r: [u8; 32],
    /// s, 32 big-endian bytes.
    pub s: [u8; 32],
}

/// Takes a raw signed transaction apart, for whoever checks its sender.
///
/// # Errors
/// [`TransactionError`] if the bytes are no signed EIP-1559 transaction.
pub fn take_apart(raw: &[u8]) -> Result<SignedParts, TransactionError> {
    let body = match raw.split_first() {
        Some((2, body)) => body,
        other => return Err(TransactionError::Type(other.map(|(kind, _)| *kind))),
    };
    let mut outer = Reader(body);
    let mut fields = outer.list()?;
    outer.end()?;
    let all = fields.0;
    for _ in 0..9 {
        fields.item()?;
    }
    let unsigned = all.get(..all.len() - fields.0.len()).ok_or(RlpError::Truncated)?;
    let y_parity = match fields.u64()? {
        0 => false,
        1 => true,
        _ => return Err(RlpError::Integer.into()),
    };
    let mut integer = || Amount::from_be_slice(fields.integer()?).ok_or(RlpError::Integer);
    let (r, s) = (integer()?.to_be_bytes(), integer()?.to_be_bytes());
    fields.end()?;
    let mut header = [0; 16];
    let mut writer = Writer::new(&mut header);
    let header = writer.list_header(unsigned.len()).and_then(|()| writer.finish());
    let header = header.map_err(|NoRoom| RlpError::Length)?;
    let digest = Keccak256::new().chain_update([2]).chain_update(header).chain_update(unsigned);
    Ok(SignedParts { digest: digest.finalize().into(), y_parity, r, s })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn eip_55_vectors() {
        // From the EIP itself.
        for text in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert_eq!(Address::from_hex(text).unwrap().to_string(), text);
        }
        assert!(Address::from_hex("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD").is_none());
    }

    #[test]
    fn the_generator_point_has_its_well_known_address() {
        // The account of the private key 1.
        let point = hex::decode(
            "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
             483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
        );
        let point: [u8; 64] = point.unwrap().try_into().unwrap();
        assert_eq!(address(&point).to_string(), "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
    }

    fn plain(data: &[u8]) -> UnsignedFields<'_> {
        UnsignedFields {
            chain_id: 1,
            nonce: 0,
            max_priority_fee_per_gas: Amount::from_u128(0x7f),
            max_fee_per_gas: Amount::from_u128(0x80),
            gas_limit: 21_000,
            to: Some(Address([0x11; 20])),
            value: Amount::from_u128(0x0100),
            data,
        }
    }

    #[test]
    fn unsigned_bytes_are_what_rlp_says() {
        // By hand: 02, then a list of 38 bytes.
        let expected = "02e601807f8180825208941111111111111111111111111111111111111111\
                        820100842a2b2c2dc0";
        let expected = expected.replace(' ', "");
        let mut buffer = [0; 64];
        let bytes = unsigned_transaction(&plain(&[0x2a, 0x2b, 0x2c, 0x2d]), &mut buffer).unwrap();
        assert_eq!(hex::encode(bytes), expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let long = [0xab; 70_000];
        let mut buffer = std::vec![0; long.len() + UNSIGNED_OVERHEAD];
        // The lengths where an encoding changes shape; one byte below and above 0x80.
        for length in [0, 1, 2, 54, 55, 56, 57, 255, 256, 257, 65_535, 65_536, 70_000] {
            for to in [None, Some(Address([0; 20])), Some(Address([0xff; 20]))] {
                for number in [0, 1, 0x7f, 0x80, 0xff, 0x100, 1 << 32, u64::MAX] {
                    let amount = Amount::from_u128(u128::from(number) << 64 | 5);
                    let fields = UnsignedFields {
                        chain_id: number,
                        nonce: number,
                        max_priority_fee_per_gas: Amount::MAX,
                        max_fee_per_gas: amount,
                        gas_limit: number,
                        to,
                        value: Amount::MAX,
                        data: &long[..length],
                    };
                    let bytes = unsigned_transaction(&fields, &mut buffer).unwrap();
                    let read = Transaction::parse(bytes).unwrap();
                    assert_eq!(
                        (read.chain_id, read.nonce, read.gas_limit),
                        (number, number, number)
                    );
                    assert_eq!((read.to, read.data), (to, &long[..length]));
                    assert_eq!((read.max_fee_per_gas, read.value), (amount, Amount::MAX));
                    assert_eq!(read.max_priority_fee_per_gas, Amount::MAX);
                }
            }
        }
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let bytes = unsigned_transaction(&plain(core::slice::from_ref(&byte)), &mut buffer);
            assert_eq!(Transaction::parse(bytes.unwrap()).unwrap().data, [byte]);
        }
    }

    #[test]
    fn a_buffer_one_byte_short_is_refused() {
        let data = [7; 60];
        let mut buffer = [0; 256];
        let length = unsigned_transaction(&plain(&data), &mut buffer).unwrap().len();
        assert!(unsigned_transaction(&plain(&data), &mut buffer[..length]).is_ok());
        for short in 0..length {
            assert_eq!(unsigned_transaction(&plain(&data), &mut buffer[..short]), Err(NoRoom));
        }
        // The bound on the length holds where every field is as long as it can be.
        let most = UnsignedFields {
            chain_id: u64::MAX,
            nonce: u64::MAX,
            max_priority_fee_per_gas: Amount::MAX,
            max_fee_per_gas: Amount::MAX,
            gas_limit: u64::MAX,
            to: Some(Address([0xff; 20])),
            value: Amount::MAX,
            data: &data,
        };
        let mut buffer = [0; 60 + UNSIGNED_OVERHEAD];
        assert!(unsigned_transaction(&most, &mut buffer).is_ok());
    }

    #[test]
    fn a_signed_transaction_comes_apart_again() {
        let (mut buffer, mut signed) = ([0; 256], [0; 256]);
        let unsigned = unsigned_transaction(&plain(&[9; 60]), &mut buffer).unwrap();
        // Leading zeros: such scalars are shorter in RLP.
        let (mut r, s) = ([0xee; 32], [0x70; 32]);
        (r[0], r[1]) = (0, 0);
        for parity in [false, true] {
            let raw = signed_transaction(unsigned, parity, &r, &s, &mut signed).unwrap();
            let parts = take_apart(raw).unwrap();
            assert_eq!((parts.y_parity, parts.r, parts.s), (parity, r, s));
            assert_eq!(parts.digest, keccak256(unsigned));
        }
        // A parity that is none; it stands before r (31 bytes) and s (33 bytes).
        let raw = signed_transaction(unsigned, true, &r, &s, &mut signed).unwrap();
        let mut altered = raw.to_vec();
        let place = altered.len() - 33 - 31 - 1;
        assert_eq!(altered[place], 1);
        altered[place] = 2;
        let refused = take_apart(&altered).unwrap_err();
        assert_eq!(refused, TransactionError::Rlp(RlpError::Integer));
        // An unsigned one, and one with something behind it.
        assert!(take_apart(unsigned).is_err());
        let longer = [raw, &[0]].concat();
        assert_eq!(take_apart(&longer).unwrap_err(), TransactionError::Rlp(RlpError::Trailing));
    }

    #[test]
    fn non_canonical_encodings_are_refused() {
        for (text, error) in [
            ("", TransactionError::Type(None)),
            ("01c0", TransactionError::Type(Some(1))),
            ("02", TransactionError::Rlp(RlpError::Truncated)),
            ("02c0", TransactionError::Rlp(RlpError::Truncated)),
            ("02c000", TransactionError::Rlp(RlpError::Trailing)),
            // A leading zero, and a byte below 0x80 with a prefix.
            ("02c100", TransactionError::Rlp(RlpError::Integer)),
            ("02c28105", TransactionError::Rlp(RlpError::NotMinimal)),
            ("02f80101", TransactionError::Rlp(RlpError::NotMinimal)),
        ] {
            let bytes = hex::decode(text).unwrap();
            assert_eq!(Transaction::parse(&bytes).unwrap_err(), error, "{text}");
        }
    }
}
