//! An independent judge of signed transactions: its own reading of the bytes, libsecp256k1 for the
//! signature, sha3 for the hashes. Nothing of ours decides here.

// Test code, though not in `#[test]` functions: it must be loud.
#![allow(clippy::panic)]

use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, Secp256k1};
use sha3::{Digest as _, Keccak256};

/// What the judge found in a raw signed transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The recovered sender: `0x` and lower-case digits.
    pub sender: String,
    /// The recovered public key, SEC1-compressed.
    pub public_key: [u8; 33],
    /// keccak-256 of the raw transaction: `0x` and lower-case digits.
    pub hash: String,
    /// chain id, nonce, tip, fee, gas limit, to, value, data: as the transaction has them.
    pub fields: Vec<Vec<u8>>,
    /// r ‖ s.
    pub signature: [u8; 64],
}

impl Verdict {
    /// The field at `index` as a number.
    #[must_use]
    pub fn number(&self, index: usize) -> u128 {
        let field = self.fields.get(index).unwrap_or_else(|| panic!("no field {index}: {self:?}"));
        assert!(field.len() <= 16, "field {index} is no such number: {self:?}");
        field.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte))
    }
}

/// Judges a raw signed EIP-1559 transaction in hexadecimal: the signature must be valid and low-s.
///
/// # Panics
/// If anything is wrong with it.
#[must_use]
pub fn judge(raw: &str) -> Verdict {
    let digits = raw.strip_prefix("0x").unwrap_or_else(|| panic!("no 0x: {raw}"));
    let bytes = hex::decode(digits).unwrap_or_else(|error| panic!("{error}: {raw}"));
    let wrong = |what: &str| -> ! { panic!("{what}: {raw}") };
    let Some((2, body)) = bytes.split_first() else { wrong("not of type 2") };
    let Some((List(list), [])) = item(body) else { wrong("no list, or bytes after it") };
    let (mut items, mut rest) = (Vec::new(), list);
    while !rest.is_empty() {
        let Some((found, after)) = item(rest) else { wrong("the list is cut off") };
        let Some(raw_item) = rest.get(..rest.len() - after.len()) else { wrong("no room") };
        items.push((found, raw_item));
        rest = after;
    }
    let [fields @ .., (Text(parity), _), (Text(r), _), (Text(s), _)] = items.as_slice() else {
        wrong("it has no signature")
    };
    if fields.len() != 9 {
        wrong("not nine fields before the signature");
    }
    let unsigned: Vec<u8> = fields.iter().flat_map(|(_, raw)| raw.iter().copied()).collect();
    let digest = keccak(&[&[2][..], &header(unsigned.len()), &unsigned].concat());
    let parity = match parity {
        [] => 0,
        [1] => 1,
        _ => wrong("the parity is neither 0 nor 1"),
    };
    let (sender, public_key, signature) =
        recover(&digest, parity, r, s).unwrap_or_else(|error| wrong(&error));
    let texts = fields.iter().filter_map(|(item, _)| match item {
        Text(text) => Some(text.to_vec()),
        List(_) => None,
    });
    let hash = format!("0x{}", hex::encode(keccak(&bytes)));
    Verdict { sender, public_key, hash, fields: texts.collect(), signature }
}

/// The Ethereum address of a SEC1-compressed public key in hexadecimal: `0x` and lower-case digits.
///
/// # Panics
/// If it is no public key.
#[must_use]
pub fn address_of(public_key: &str) -> String {
    match public_key.parse() {
        Ok(key) => address(&key),
        Err(error) => panic!("{error}: {public_key}"),
    }
}

fn keccak(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

fn address(key: &PublicKey) -> String {
    let uncompressed = key.serialize_uncompressed();
    let [_, point @ ..] = &uncompressed;
    let hash = keccak(point);
    let [_, _, _, _, _, _, _, _, _, _, _, _, address @ ..] = &hash;
    format!("0x{}", hex::encode(address))
}

fn recover(
    digest: &[u8; 32],
    parity: i32,
    r: &[u8],
    s: &[u8],
) -> Result<(String, [u8; 33], [u8; 64]), String> {
    let mut compact = [0; 64];
    for (half, number) in compact.chunks_exact_mut(32).zip([r, s]) {
        if number.len() > 32 || number.first() == Some(&0) {
            return Err("r or s is too long or not minimal".to_owned());
        }
        half.iter_mut().rev().zip(number.iter().rev()).for_each(|(to, from)| *to = *from);
    }
    let text = |error: secp256k1::Error| error.to_string();
    let id = RecoveryId::try_from(parity).map_err(text)?;
    let recoverable = RecoverableSignature::from_compact(&compact, id).map_err(text)?;
    let (secp, message) = (Secp256k1::new(), Message::from_digest(*digest));
    let key = secp.recover_ecdsa(message, &recoverable).map_err(text)?;
    // libsecp256k1 refuses a high s here.
    secp.verify_ecdsa(message, &recoverable.to_standard(), &key).map_err(text)?;
    Ok((address(&key), key.serialize(), compact))
}

#[derive(Clone, Copy)]
enum Item<'a> {
    Text(&'a [u8]),
    List(&'a [u8]),
}
use Item::{List, Text};

/// The first RLP item of `bytes`, and what follows it.
fn item(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let long = |of_length: u8| {
        let (length, rest) = rest.split_at_checked(usize::from(of_length))?;
        let length = length
            .iter()
            .try_fold(0usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))?;
        rest.split_at_checked(length)
    };
    Some(match first {
        0..=0x7f => {
            let (text, rest) = bytes.split_at_checked(1)?;
            (Text(text), rest)
        }
        0x80..=0xb7 => {
            let (text, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (Text(text), rest)
        }
        0xb8..=0xbf => long(first - 0xb7).map(|(text, rest)| (Text(text), rest))?,
        0xc0..=0xf7 => {
            let (list, rest) = rest.split_at_checked(usize::from(first - 0xc0))?;
            (List(list), rest)
        }
        0xf8..=0xff => long(first - 0xf7).map(|(list, rest)| (List(list), rest))?,
    })
}

/// The header of a list with `length` bytes.
fn header(length: usize) -> Vec<u8> {
    if length < 56 {
        return vec![0xc0 + length as u8];
    }
    let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    [vec![0xf7 + digits.len() as u8], digits].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first of Anvil's dev accounts.
    const SENDER: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
    const PUBLIC: &str = "038318535b54105d4a7aae60c08fc45f9687181b4fdfc625bd1a753fa7397fed75";

    #[test]
    fn a_known_key_has_its_known_address() {
        assert_eq!(address_of(PUBLIC), SENDER);
    }

    /// A transaction that libsecp256k1 signs, and the same with s replaced by the group order − s.
    #[test]
    fn a_high_s_and_a_changed_field_are_refused() {
        let secret = secp256k1::SecretKey::from_byte_array([7; 32]).unwrap();
        let unsigned = [vec![0x82, 0x7a, 0x69], vec![7], vec![0x80; 6], vec![0xc0]].concat();
        let signed_list = |s_high: bool, nonce: u8| {
            let secp = Secp256k1::new();
            let text = [vec![2], header(unsigned.len()), unsigned.clone()].concat();
            let message = Message::from_digest(keccak(&text));
            let (id, compact) = secp.sign_ecdsa_recoverable(message, &secret).serialize_compact();
            let (r, s) = compact.split_at(32);
            let mut parity = i32::from(id) as u8;
            let mut s = secp256k1::SecretKey::from_byte_array(s.try_into().unwrap()).unwrap();
            if s_high {
                s = s.negate();
                parity ^= 1;
            }
            let mut fields = unsigned.clone();
            fields[3] = nonce;
            let number = |bytes: &[u8]| {
                let bytes: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
                [vec![0x80 + bytes.len() as u8], bytes].concat()
            };
            let parity = if parity == 0 { 0x80 } else { parity };
            let list = [fields, vec![parity], number(r), number(&s.secret_bytes())].concat();
            format!("0x02{}{}", hex::encode(header(list.len())), hex::encode(list))
        };
        let key = secp256k1::PublicKey::from_secret_key(&Secp256k1::new(), &secret);
        let good = judge(&signed_list(false, 7));
        assert_eq!((good.public_key, good.number(0), good.number(1)), (key.serialize(), 31337, 7));
        assert_ne!(judge(&signed_list(false, 8)).public_key, key.serialize());
        let high = signed_list(true, 7);
        assert!(std::panic::catch_unwind(|| judge(&high)).is_err());
    }
}
