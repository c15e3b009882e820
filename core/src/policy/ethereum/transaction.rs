//! Unsigned transactions of all five types, read strictly: one encoding each, and no other is accepted.

use core::fmt;

use super::{Address, keccak256};
use crate::hash::Digest;
use crate::policy::amount::Amount;
use crate::policy::rlp::{Reader, RlpError};

/// Gas that one blob takes (EIP-4844).
pub const GAS_PER_BLOB: u64 = 1 << 17;

/// Why bytes are no unsigned transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionError {
    /// Another type of transaction, or no bytes at all.
    Type(Option<u8>),
    /// The RLP is not canonical, or a field has the wrong shape.
    Rlp(RlpError),
    /// The most that the fees can be does not fit 256 bits.
    Fee,
    /// A legacy transaction without a chain id: it would be valid on every chain.
    NoChain,
    /// A legacy transaction with a signature in it.
    Signed,
    /// A type that cannot create a contract has no recipient.
    NoRecipient,
    /// A blob transaction without blobs.
    NoBlobs,
    /// A blob's hash of another version than 1.
    BlobVersion(u8),
    /// A transaction that sets code, without authorizations.
    NoAuthorizations,
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(Some(kind)) => {
                write!(f, "transaction type {kind:#04x} is not understood, only legacy and 1 to 4")
            }
            Self::Type(None) => f.write_str("the transaction is empty"),
            Self::Rlp(error) => write!(f, "the transaction's encoding is wrong: {error:?}"),
            Self::Fee => f.write_str("the transaction's fee does not fit 256 bits"),
            Self::NoChain => f.write_str(
                "the transaction names no chain and would be valid on every one: use EIP-155's form",
            ),
            Self::Signed => f.write_str("the transaction is already signed"),
            Self::NoRecipient => f.write_str("a transaction of this type needs a recipient"),
            Self::NoBlobs => f.write_str("a blob transaction needs at least one blob"),
            Self::BlobVersion(version) => {
                write!(f, "a blob's hash has version {version:#04x}, only 0x01 is understood")
            }
            Self::NoAuthorizations => {
                f.write_str("a transaction that sets code needs at least one authorization")
            }
        }
    }
}

impl core::error::Error for TransactionError {}

impl From<RlpError> for TransactionError {
    fn from(error: RlpError) -> Self {
        Self::Rlp(error)
    }
}

/// The five types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionKind {
    /// Without a type byte, bound to a chain by EIP-155.
    Legacy,
    /// 0x01, EIP-2930: with an access list.
    AccessList,
    /// 0x02, EIP-1559: with a limit and a tip per gas.
    DynamicFee,
    /// 0x03, EIP-4844: with blobs.
    Blob,
    /// 0x04, EIP-7702: accounts get code.
    SetCode,
}

impl TransactionKind {
    /// The type's stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::AccessList => "access-list",
            Self::DynamicFee => "dynamic-fee",
            Self::Blob => "blob",
            Self::SetCode => "set-code",
        }
    }

    /// The byte before the list; legacy has none.
    #[must_use]
    pub fn type_byte(self) -> Option<u8> {
        match self {
            Self::Legacy => None,
            Self::AccessList => Some(1),
            Self::DynamicFee => Some(2),
            Self::Blob => Some(3),
            Self::SetCode => Some(4),
        }
    }

    /// The kind, and the list behind the type byte.
    pub(super) fn split(bytes: &[u8]) -> Result<(Self, &[u8]), TransactionError> {
        match bytes.split_first() {
            Some((0xc0.., _)) => Ok((Self::Legacy, bytes)),
            Some((1, body)) => Ok((Self::AccessList, body)),
            Some((2, body)) => Ok((Self::DynamicFee, body)),
            Some((3, body)) => Ok((Self::Blob, body)),
            Some((4, body)) => Ok((Self::SetCode, body)),
            Some((kind, _)) => Err(TransactionError::Type(Some(*kind))),
            None => Err(TransactionError::Type(None)),
        }
    }
}

/// An unsigned transaction.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// Its type.
    pub kind: TransactionKind,
    /// The chain.
    pub chain_id: u64,
    /// The sender's counter.
    pub nonce: u64,
    /// Gas.
    pub gas_limit: u64,
    /// Limit per gas, wei; the gas price of the types that have one.
    pub max_fee_per_gas: Amount,
    /// Tip per gas, wei; the gas price of the types that have one.
    pub max_priority_fee_per_gas: Amount,
    /// The receiver; `None` creates a contract.
    pub to: Option<Address>,
    /// Wei.
    pub value: Amount,
    /// The call's data.
    pub data: &'a [u8],
    /// The most that the fees can be, wei: gas limit · limit per gas, and for blobs
    /// count · [`GAS_PER_BLOB`] · limit per blob gas. (What a rollup charges besides for its parent
    /// chain is in no transaction.)
    pub max_fee: Amount,
    /// How many blobs.
    pub blobs: usize,
    /// Limit per blob gas, wei.
    pub max_fee_per_blob_gas: Amount,
    access_list: Reader<'a>,
    blob_hashes: Reader<'a>,
    authorizations: Reader<'a>,
    bytes: &'a [u8],
}

/// An account, and slots of its storage, that a transaction says it touches.
#[derive(Clone, Copy, Debug)]
pub struct AccessListEntry<'a> {
    /// The account.
    pub address: Address,
    keys: Reader<'a>,
}

impl<'a> AccessListEntry<'a> {
    /// The slots.
    pub fn storage_keys(&self) -> impl Iterator<Item = [u8; 32]> + use<'a> {
        Items { reader: self.keys, next: Reader::fixed::<32> }
    }
}

/// What an account signed so that it gets the code of another (EIP-7702).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The chain; 0 stands for all.
    pub chain_id: u64,
    /// Whose code.
    pub address: Address,
    /// The signer's counter.
    pub nonce: u64,
    /// Whether y(R) is odd.
    pub y_parity: bool,
    /// r, 32 big-endian bytes.
    pub r: [u8; 32],
    /// s, 32 big-endian bytes.
    pub s: [u8; 32],
}

/// The items of a list that was read to its end before: a refusal cannot come here, and would end it.
struct Items<'a, T> {
    reader: Reader<'a>,
    next: fn(&mut Reader<'a>) -> Result<T, RlpError>,
}

impl<T> Iterator for Items<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        (!self.reader.is_empty()).then(|| (self.next)(&mut self.reader).ok())?
    }
}

pub(super) fn amount(fields: &mut Reader<'_>) -> Result<Amount, RlpError> {
    Amount::from_be_slice(fields.integer()?).ok_or(RlpError::Integer)
}

fn recipient(fields: &mut Reader<'_>) -> Result<Option<Address>, RlpError> {
    let to = fields.string()?;
    match to.len() {
        0 => Ok(None),
        _ => to.try_into().map(|to| Some(Address(to))).map_err(|_| RlpError::Length),
    }
}

fn access_entry<'a>(list: &mut Reader<'a>) -> Result<AccessListEntry<'a>, RlpError> {
    let mut entry = list.list()?;
    let (address, keys) = (Address(entry.fixed()?), entry.list()?);
    entry.end()?;
    Ok(AccessListEntry { address, keys })
}

fn authorization(list: &mut Reader<'_>) -> Result<Authorization, RlpError> {
    let mut entry = list.list()?;
    let read = Authorization {
        chain_id: entry.u64()?,
        address: Address(entry.fixed()?),
        nonce: entry.u64()?,
        y_parity: parity(&mut entry)?,
        r: amount(&mut entry)?.to_be_bytes(),
        s: amount(&mut entry)?.to_be_bytes(),
    };
    entry.end()?;
    Ok(read)
}

pub(super) fn parity(fields: &mut Reader<'_>) -> Result<bool, RlpError> {
    match fields.u64()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(RlpError::Integer),
    }
}

/// Reads a list to its end, so that its iterator never stops early.
fn whole<'a, T>(
    list: Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, TransactionError>,
) -> Result<usize, TransactionError> {
    let (mut rest, mut count) = (list, 0);
    while !rest.is_empty() {
        item(&mut rest)?;
        count += 1;
    }
    Ok(count)
}

impl<'a> Transaction<'a> {
    /// Reads an unsigned transaction:
    /// - legacy: `rlp([nonce, gas price, gas, to, value, data, chain id, "", ""])` (EIP-155);
    /// - 1: `0x01 ‖ rlp([chain id, nonce, gas price, gas, to, value, data, access list])`;
    /// - 2: `0x02 ‖ rlp([chain id, nonce, tip, fee, gas, to, value, data, access list])`;
    /// - 3: `0x03 ‖ rlp([… as 2, fee per blob gas, blob hashes])`, without the blobs themselves;
    /// - 4: `0x04 ‖ rlp([… as 2, authorizations])`.
    ///
    /// # Errors
    /// [`TransactionError`].
    #[inline(never)]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TransactionError> {
        let (kind, mut outer) =
            TransactionKind::split(bytes).map(|(kind, rest)| (kind, Reader(rest)))?;
        let mut fields = outer.list()?;
        outer.end()?;
        let mut read = match kind {
            TransactionKind::Legacy => Self::legacy(&mut fields, bytes)?,
            _ => Self::typed(kind, &mut fields, bytes)?,
        };
        match kind {
            TransactionKind::Blob => {
                read.max_fee_per_blob_gas = amount(&mut fields)?;
                read.blob_hashes = fields.list()?;
                read.blobs = whole(read.blob_hashes, |hashes| match hashes.fixed::<32>()? {
                    [1, ..] => Ok(()),
                    [version, ..] => Err(TransactionError::BlobVersion(version)),
                })?;
            }
            TransactionKind::SetCode => {
                read.authorizations = fields.list()?;
                let count = whole(read.authorizations, |list| Ok(authorization(list)?))?;
                if count == 0 {
                    return Err(TransactionError::NoAuthorizations);
                }
            }
            _ => {}
        }
        fields.end()?;
        read.checked()
    }

    /// The fields before the signature, and EIP-155's three in place of one.
    #[inline(never)]
    fn legacy(fields: &mut Reader<'a>, bytes: &'a [u8]) -> Result<Self, TransactionError> {
        let mut read = Self::blank(TransactionKind::Legacy, bytes);
        read.nonce = fields.u64()?;
        read.max_fee_per_gas = amount(fields)?;
        read.max_priority_fee_per_gas = read.max_fee_per_gas;
        read.call(fields)?;
        if fields.is_empty() {
            return Err(TransactionError::NoChain);
        }
        read.chain_id = fields.u64()?;
        let (r, s) = (fields.integer()?, fields.integer()?);
        if !(r.is_empty() && s.is_empty()) {
            return Err(TransactionError::Signed);
        }
        if read.chain_id == 0 {
            return Err(TransactionError::NoChain);
        }
        Ok(read)
    }

    /// The fields that the types with a type byte have in common.
    #[inline(never)]
    fn typed(
        kind: TransactionKind,
        fields: &mut Reader<'a>,
        bytes: &'a [u8],
    ) -> Result<Self, TransactionError> {
        let mut read = Self::blank(kind, bytes);
        read.chain_id = fields.u64()?;
        read.nonce = fields.u64()?;
        read.max_priority_fee_per_gas = amount(fields)?;
        read.max_fee_per_gas = match kind {
            TransactionKind::AccessList => read.max_priority_fee_per_gas,
            _ => amount(fields)?,
        };
        read.call(fields)?;
        read.access_list = fields.list()?;
        whole(read.access_list, |list| {
            let entry = access_entry(list)?;
            whole(entry.keys, |keys| Ok(keys.fixed::<32>()?))
        })?;
        Ok(read)
    }

    /// Gas, to, value, data: the four in a row that all types have.
    fn call(&mut self, fields: &mut Reader<'a>) -> Result<(), RlpError> {
        self.gas_limit = fields.u64()?;
        self.to = recipient(fields)?;
        self.value = amount(fields)?;
        self.data = fields.string()?;
        Ok(())
    }

    fn blank(kind: TransactionKind, bytes: &'a [u8]) -> Self {
        Self {
            kind,
            chain_id: 0,
            nonce: 0,
            gas_limit: 0,
            max_fee_per_gas: Amount::ZERO,
            max_priority_fee_per_gas: Amount::ZERO,
            to: None,
            value: Amount::ZERO,
            data: &[],
            max_fee: Amount::ZERO,
            blobs: 0,
            max_fee_per_blob_gas: Amount::ZERO,
            access_list: Reader(&[]),
            blob_hashes: Reader(&[]),
            authorizations: Reader(&[]),
            bytes,
        }
    }

    /// What holds for the whole, and the most that it can cost.
    #[inline(never)]
    fn checked(mut self) -> Result<Self, TransactionError> {
        let creates = self.to.is_none();
        if creates && matches!(self.kind, TransactionKind::Blob | TransactionKind::SetCode) {
            return Err(TransactionError::NoRecipient);
        }
        if self.kind == TransactionKind::Blob && self.blobs == 0 {
            return Err(TransactionError::NoBlobs);
        }
        let blob_gas =
            (self.blobs as u64).checked_mul(GAS_PER_BLOB).ok_or(TransactionError::Fee)?;
        let blob_fee = self.max_fee_per_blob_gas.checked_mul(blob_gas);
        let fee = self.max_fee_per_gas.checked_mul(self.gas_limit);
        let sum = fee.zip(blob_fee).and_then(|(fee, blob_fee)| fee.checked_add(blob_fee));
        self.max_fee = sum.ok_or(TransactionError::Fee)?;
        Ok(self)
    }

    /// keccak-256 of the whole: what is signed.
    #[must_use]
    pub fn digest(&self) -> Digest {
        keccak256(self.bytes)
    }

    /// The first four bytes of a call's data: which function. `None` without a recipient (the data is
    /// then a program), or where the data is shorter.
    #[must_use]
    pub fn selector(&self) -> Option<[u8; 4]> {
        self.to.and(self.data.first_chunk().copied())
    }

    /// What the transaction says it touches.
    pub fn access_list(&self) -> impl Iterator<Item = AccessListEntry<'a>> + use<'a> {
        Items { reader: self.access_list, next: access_entry }
    }

    /// The versioned hashes of the blobs.
    pub fn blob_hashes(&self) -> impl Iterator<Item = [u8; 32]> + use<'a> {
        Items { reader: self.blob_hashes, next: Reader::fixed::<32> }
    }

    /// Whose accounts get code. Nobody has checked the signatures in them.
    pub fn authorizations(&self) -> impl Iterator<Item = Authorization> + use<'a> {
        Items { reader: self.authorizations, next: authorization }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn non_canonical_encodings_are_refused() {
        for (text, error) in [
            ("", TransactionError::Type(None)),
            ("05c0", TransactionError::Type(Some(5))),
            ("00c0", TransactionError::Type(Some(0))),
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

    /// A list of these items, in hexadecimal.
    fn list(items: &[&str]) -> std::vec::Vec<u8> {
        let body = hex::decode(items.concat()).unwrap();
        let length = body.len() as u8;
        let short = [0xc0 + length.min(55)];
        let head = if length <= 55 { &short[..] } else { &[0xf8, length] };
        [head, &body].concat()
    }

    fn typed(kind: u8, items: &[&str]) -> std::vec::Vec<u8> {
        [&[kind], list(items).as_slice()].concat()
    }

    const TO: &str = "940000000000000000000000000000000000000011";
    /// Chain, nonce, tip, fee, gas; value, data, access list.
    const BEFORE: &str = "01020304825208";
    const AFTER: &str = "0380c0";
    const HASH: &str = "a00100000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn a_legacy_transaction_names_its_chain_and_is_not_signed() {
        let with = |tail: &str| list(&["0102825208", TO, "0380", tail]);
        assert!(Transaction::parse(&with("018080")).is_ok());
        for (tail, error) in [
            ("", TransactionError::NoChain),
            ("808080", TransactionError::NoChain),
            ("010101", TransactionError::Signed),
            ("018001", TransactionError::Signed),
            ("0180", TransactionError::Rlp(RlpError::Truncated)),
            ("01808080", TransactionError::Rlp(RlpError::Trailing)),
            ("018000", TransactionError::Rlp(RlpError::Integer)),
        ] {
            assert_eq!(Transaction::parse(&with(tail)).unwrap_err(), error, "{tail}");
        }
    }

    #[test]
    fn what_no_chain_takes_is_refused() {
        let other_hash = HASH.replacen("a001", "a002", 1);
        for (kind, to, tail, error) in [
            (3, TO, &["05", "c0"][..], TransactionError::NoBlobs),
            (3, TO, &["05", "e1", &other_hash], TransactionError::BlobVersion(2)),
            (3, "80", &["05", "e1", HASH], TransactionError::NoRecipient),
            (3, TO, &[], TransactionError::Rlp(RlpError::Truncated)),
            (4, TO, &["c0"], TransactionError::NoAuthorizations),
            (2, TO, &["c0"], TransactionError::Rlp(RlpError::Trailing)),
        ] {
            let items = [&[BEFORE, to, AFTER], tail].concat();
            assert_eq!(Transaction::parse(&typed(kind, &items)).unwrap_err(), error, "{items:?}");
        }
        let created = typed(2, &[BEFORE, "80", AFTER]);
        assert_eq!(Transaction::parse(&created).unwrap().to, None);
    }

    #[test]
    fn blobs_count_in_the_fee() {
        // Two blobs at 5 wei per gas, and 21000 gas at 4.
        let bytes = typed(3, &[BEFORE, TO, AFTER, "05", "f842", HASH, HASH]);
        let read = Transaction::parse(&bytes).unwrap();
        assert_eq!((read.blobs, read.blob_hashes().count()), (2, 2));
        let fee = 21_000 * 4 + 2 * u128::from(GAS_PER_BLOB) * 5;
        assert_eq!(read.max_fee, Amount::from_u128(fee));
    }

    #[test]
    fn a_selector_is_of_a_call_alone() {
        let with = |to, data| typed(2, &[BEFORE, to, "03", data, "c0"]);
        for (to, data, selector) in [
            (TO, "84a9059cbb", Some([0xa9, 0x05, 0x9c, 0xbb])),
            (TO, "83a9059c", None),
            ("80", "84a9059cbb", None),
        ] {
            assert_eq!(Transaction::parse(&with(to, data)).unwrap().selector(), selector);
        }
    }
}
