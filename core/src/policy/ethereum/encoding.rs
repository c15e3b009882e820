//! Transactions written: unsigned ones for clients, signed ones for whoever sends them.

use sha3::{Digest as _, Keccak256};

use super::Address;
use super::transaction::{TransactionError, TransactionKind, amount, parity};
use crate::policy::amount::Amount;
use crate::policy::rlp::{NoRoom, Reader, RlpError, Writer, header_length, string_length, trimmed};

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

/// The bytes that [`super::Transaction::parse`] reads. Whether the fields make sense is for the reader to
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

/// The raw signed transaction: the unsigned fields with (y parity, r, s) appended; in a legacy one v,
/// which says the chain too, stands in place of the parity. A blob transaction comes without its
/// blobs. `buffer` needs 80 bytes more than `unsigned` has.
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
    let (kind, body) = TransactionKind::split(unsigned).map_err(|_| NoRoom)?;
    let mut fields = Reader(body).list().map_err(|_| NoRoom)?.0;
    let mut v = u128::from(y_parity);
    if kind == TransactionKind::Legacy {
        let (head, chain_id) = legacy_chain(fields).map_err(|_| NoRoom)?;
        fields = head;
        v += u128::from(chain_id) * 2 + LEGACY_V;
    }
    let mut tail = [0u8; 76];
    let mut writer = Writer::new(&mut tail);
    writer.integer(&v.to_be_bytes())?;
    writer.integer(r)?;
    writer.integer(s)?;
    let tail = writer.finish()?;
    let payload = fields.len() + tail.len();
    debug_assert!(header_length(payload) <= 5);
    let mut writer = Writer::new(buffer);
    if let Some(byte) = kind.type_byte() {
        writer.raw(&[byte])?;
    }
    writer.list_header(payload)?;
    writer.raw(fields)?;
    writer.raw(tail)?;
    writer.finish()
}

/// EIP-155: v = 2 · chain id + 35 + y parity.
const LEGACY_V: u128 = 35;
/// nonce, gas price, gas, to, value, data.
const LEGACY_FIELDS: usize = 6;

/// The first `count` items of a list's payload, and the rest.
fn split_items(all: &[u8], count: usize) -> Result<(&[u8], Reader<'_>), RlpError> {
    let mut rest = Reader(all);
    for _ in 0..count {
        rest.item()?;
    }
    let head = all.get(..all.len() - rest.0.len()).ok_or(RlpError::Truncated)?;
    Ok((head, rest))
}

/// An unsigned legacy transaction's fields without EIP-155's three, and the chain.
fn legacy_chain(fields: &[u8]) -> Result<(&[u8], u64), RlpError> {
    let (head, mut rest) = split_items(fields, LEGACY_FIELDS)?;
    Ok((head, rest.u64()?))
}

/// The parts of a raw signed transaction.
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

/// Takes a raw signed transaction apart, for whoever checks its sender. What its unsigned fields say
/// is not looked at.
///
/// # Errors
/// [`TransactionError`] if the bytes are no signed transaction.
pub fn take_apart(raw: &[u8]) -> Result<SignedParts, TransactionError> {
    let (kind, body) = TransactionKind::split(raw)?;
    let mut outer = Reader(body);
    let fields = outer.list()?;
    outer.end()?;
    let count = match kind {
        TransactionKind::Legacy => LEGACY_FIELDS,
        TransactionKind::AccessList => 8,
        TransactionKind::DynamicFee => 9,
        TransactionKind::SetCode => 10,
        TransactionKind::Blob => 11,
    };
    let (unsigned, mut fields) = split_items(fields.0, count)?;
    // A legacy transaction is signed with its chain and two empty strings in place of the signature.
    let mut chain = [0; 11];
    let mut chain = Writer::new(&mut chain);
    let too_long = |NoRoom| RlpError::Length;
    let y_parity = match kind {
        TransactionKind::Legacy => {
            let v = amount(&mut fields)?.to_u128().ok_or(RlpError::Integer)?;
            let v = v.checked_sub(LEGACY_V).ok_or(TransactionError::NoChain)?;
            let chain_id = u64::try_from(v / 2).map_err(|_| RlpError::Integer)?;
            if chain_id == 0 {
                return Err(TransactionError::NoChain);
            }
            chain.integer(&chain_id.to_be_bytes()).map_err(too_long)?;
            chain.raw(&[0x80, 0x80]).map_err(too_long)?;
            v % 2 == 1
        }
        _ => parity(&mut fields)?,
    };
    let (r, s) = (amount(&mut fields)?.to_be_bytes(), amount(&mut fields)?.to_be_bytes());
    fields.end()?;
    let chain = chain.finish().map_err(too_long)?;
    let mut header = [0; 16];
    let mut writer = Writer::new(&mut header);
    if let Some(byte) = kind.type_byte() {
        writer.raw(&[byte]).map_err(too_long)?;
    }
    writer.list_header(unsigned.len() + chain.len()).map_err(too_long)?;
    let header = writer.finish().map_err(too_long)?;
    let digest = Keccak256::new().chain_update(header).chain_update(unsigned).chain_update(chain);
    Ok(SignedParts { digest: digest.finalize().into(), y_parity, r, s })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::{Transaction, keccak256};
    use super::*;

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
}
