//! Signatures of Ethereum accounts on a request: of wallets, and of other keys of Quorate.
//!
//! Whoever holds an account signs a fixed text that names the request (EIP-191), so that a person sees
//! what it is, and another key's policy can tell it by a pattern.

use super::{ApproveError, RequestError, SignedRequest};
use crate::curve::{EcdsaGroup as _, Group, PointBytes, Secp256k1 as C};
use crate::hash::Digest;
use crate::policy::ethereum::{self, Address, message};
use crate::wire;

/// A request carries so many signatures of accounts.
pub const MAX_SIGNATURES: usize = 4;
/// r ‖ s ‖ v.
const SIGNATURE: usize = 65;
/// The account and its signature.
pub(super) const ENTRY: usize = 20 + SIGNATURE;

/// The text that an account signs.
#[must_use]
pub fn approval_text(request: &Digest) -> heapless::String<96> {
    let mut text = heapless::String::new();
    // It has 94 bytes.
    let _ = text.push_str("Quorate approval of request 0x");
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    for byte in request {
        let _ = text.push(digit(byte >> 4));
        let _ = text.push(digit(byte & 15));
    }
    text
}

/// Whose signature it is: r ‖ s ‖ v, s low, v 27 or 28.
#[inline(never)]
fn recovered(digest: &Digest, signature: &[u8; SIGNATURE]) -> Option<Address> {
    let (numbers, [v]) = signature.split_first_chunk::<64>()? else { return None };
    let odd = match v {
        27 => false,
        28 => true,
        _ => return None,
    };
    let (r, s) = numbers.split_first_chunk()?;
    let (r_scalar, s) = (C.scalar_from_bytes(r)?, C.scalar_from_bytes(s.first_chunk()?)?);
    // The other s would be a second signature of the same.
    if s == C.zero() || C::is_high(&s) {
        return None;
    }
    let mut nonce = PointBytes([if odd { 3 } else { 2 }; 33]);
    nonce.0.iter_mut().skip(1).zip(r).for_each(|(to, from)| *to = *from);
    let (nonce, inverse) = (C.point_from_bytes(&nonce)?, C::invert(&r_scalar)?);
    // (s·R − h·G)/r, as SEC 1, 4.1.6, for an R whose x is below the order.
    let h = C.scalar_from_digest(digest);
    let point = C::combination(&-(h * inverse), &nonce, &(s * inverse));
    let coordinates = C::coordinates(&point)?.0;
    Some(ethereum::address(&coordinates))
}

fn entries(signatures: &[u8]) -> impl Iterator<Item = (Address, &[u8; SIGNATURE])> {
    signatures.as_chunks::<ENTRY>().0.iter().filter_map(|entry| {
        let (account, signature) = entry.split_first_chunk()?;
        Some((Address(*account), signature.first_chunk()?))
    })
}

impl<'a> SignedRequest<'a> {
    #[inline(never)]
    pub(super) fn check_signatures(&self) -> Result<(), RequestError> {
        let signatures = self.0.signatures;
        let whole = signatures.len().is_multiple_of(ENTRY);
        if !whole || signatures.len() > MAX_SIGNATURES * ENTRY {
            return Err(RequestError::Signers);
        }
        if !self.signers().is_sorted_by(|a, b| a < b) {
            return Err(RequestError::Signers);
        }
        if signatures.is_empty() {
            return Ok(());
        }
        let digest = message::digest(approval_text(&self.hash()).as_bytes());
        let wrong = |(account, signature)| recovered(&digest, signature) != Some(account);
        match entries(signatures).find(|entry| wrong(*entry)) {
            Some((account, _)) => Err(RequestError::Signer(account)),
            None => Ok(()),
        }
    }

    /// The accounts that have signed the request, in ascending order. Their signatures were checked.
    pub fn signers(&self) -> impl Iterator<Item = Address> + use<'a> {
        entries(self.0.signatures).map(|(account, _)| account)
    }

    /// The same request with the signature of one account more, which is found by the signature: a wallet's
    /// over [`approval_text`], r ‖ s ‖ v, v being 27 or 28 (or 0 or 1).
    ///
    /// # Errors
    /// [`ApproveError`]. A signature over something else is one of an account that nobody knows: whoever
    /// adds it compares the account.
    pub fn add_signature<'b>(
        &self,
        signature: &[u8; SIGNATURE],
        buffer: &'b mut [u8],
    ) -> Result<(Address, &'b [u8]), ApproveError> {
        let mut signature = *signature;
        let [.., v] = &mut signature;
        if *v < 2 {
            *v += 27;
        }
        let digest = message::digest(approval_text(&self.hash()).as_bytes());
        let account = recovered(&digest, &signature).ok_or(ApproveError::NoSignature)?;
        if self.signers().any(|other| other == account) {
            return Err(ApproveError::Twice);
        }
        let place = self.signers().take_while(|other| *other < account).count() * ENTRY;
        let (before, after) = self.0.signatures.split_at_checked(place).unwrap_or_default();
        let mut signatures = heapless::Vec::<u8, { MAX_SIGNATURES * ENTRY }>::new();
        [before, &account.0, &signature, after]
            .iter()
            .try_for_each(|part| signatures.extend_from_slice(part))
            .map_err(|_| ApproveError::TooManySignatures)?;
        let encoded = super::Encoded { signatures: &signatures, ..self.0 };
        let bytes = wire::encode(&encoded, buffer).map_err(|_| ApproveError::NoRoom)?;
        Ok((account, bytes))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::request::{
        ClientKey, Derivation, KeyId, MAX_REQUEST, NetworkId, Payload, SignRequest,
    };
    use ed25519_dalek::SigningKey;
    use k256::ecdsa::Signature;
    use std::vec::Vec;

    fn request() -> Vec<u8> {
        let request = SignRequest {
            network: NetworkId([1; 16]),
            key: KeyId([2; 16]),
            derivation: Derivation::Root,
            payload: Payload::EthereumMessage(b"m"),
            label: "",
            expires: 1_800_000_000,
            nonce: [3; 16],
        };
        let mut buffer = [0; MAX_REQUEST];
        request.sign(&SigningKey::from_bytes(&[7; 32]), &mut buffer).unwrap().to_vec()
    }

    fn signature(seed: u8, digest: &Digest) -> [u8; 65] {
        let key = k256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
        let (signature, id) = key.sign_prehash_recoverable(digest).unwrap();
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = 27 + id.to_byte();
        bytes
    }

    fn account(seed: u8) -> Address {
        let key = k256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = key.verifying_key().to_encoded_point(false);
        ethereum::address(point.as_bytes()[1..].try_into().unwrap())
    }

    fn signed_by(bytes: &[u8], seed: u8) -> Vec<u8> {
        let request = SignedRequest::parse(bytes).unwrap();
        let digest = message::digest(approval_text(&request.hash()).as_bytes());
        let mut buffer = [0; MAX_REQUEST];
        let (found, bytes) = request.add_signature(&signature(seed, &digest), &mut buffer).unwrap();
        assert_eq!(found, account(seed));
        bytes.to_vec()
    }

    #[test]
    fn the_text_names_the_request() {
        let text = approval_text(&[0xab; 32]);
        let digits = "ab".repeat(32);
        assert_eq!(text.as_str(), std::format!("Quorate approval of request 0x{digits}"));
    }

    #[test]
    fn accounts_sign_in_any_order_and_once_each() {
        let bytes = request();
        let hash = SignedRequest::parse(&bytes).unwrap().hash();
        let both = signed_by(&signed_by(&bytes, 1), 2);
        assert_eq!(both, signed_by(&signed_by(&bytes, 2), 1));
        let parsed = SignedRequest::parse(&both).unwrap();
        assert_eq!(parsed.hash(), hash, "a signed request is the same request");
        let mut accounts = [account(1), account(2)];
        accounts.sort_unstable();
        assert!(parsed.signers().eq(accounts));
        let digest = message::digest(approval_text(&hash).as_bytes());
        let mut buffer = [0; MAX_REQUEST];
        let again = parsed.add_signature(&signature(1, &digest), &mut buffer).err();
        assert_eq!(again, Some(ApproveError::Twice));
        let four = [3, 4].iter().fold(both.clone(), |bytes, seed| signed_by(&bytes, *seed));
        let four = SignedRequest::parse(&four).unwrap();
        let fifth = four.add_signature(&signature(5, &digest), &mut buffer).err();
        assert_eq!(fifth, Some(ApproveError::TooManySignatures));
        // Both kinds of approval stand side by side.
        let approver = SigningKey::from_bytes(&[9; 32]);
        let approved = parsed.approve(&approver, &mut buffer).unwrap();
        let approved = SignedRequest::parse(approved).unwrap();
        let key = ClientKey(approver.verifying_key().to_bytes());
        assert!(approved.approvers().eq([key]) && approved.signers().eq(accounts));
    }

    #[test]
    fn every_bit_of_a_signature_counts_and_the_culprit_is_named() {
        let bytes = request();
        let both = signed_by(&signed_by(&bytes, 1), 2);
        let start = both.len() - 2 * ENTRY;
        for bit in start * 8..both.len() * 8 {
            let mut altered = both.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(SignedRequest::parse(&altered).is_err(), "bit {bit}");
        }
        let (head, tail) = both.split_at(start);
        let (one, other) = tail.split_at(ENTRY);
        for wrong in [[head, one, one].concat(), [head, other, one].concat()] {
            assert_eq!(SignedRequest::parse(&wrong).err(), Some(RequestError::Signers));
        }
        let mut of_another = both.clone();
        of_another[both.len() - 65..].copy_from_slice(&signature(1, &[4; 32]));
        let culprit = SignedRequest::parse(&both).unwrap().signers().last().unwrap();
        assert_eq!(SignedRequest::parse(&of_another).err(), Some(RequestError::Signer(culprit)));
    }

    #[test]
    fn the_other_s_is_no_signature() {
        let bytes = request();
        let parsed = SignedRequest::parse(&bytes).unwrap();
        let digest = message::digest(approval_text(&parsed.hash()).as_bytes());
        let good = signature(1, &digest);
        let mut high = good;
        let split = Signature::from_slice(&good[..64]).unwrap();
        let negated = Signature::from_scalars(split.r(), -*split.s()).unwrap();
        high[..64].copy_from_slice(&negated.to_bytes());
        high[64] ^= 27 ^ 28;
        let mut buffer = [0; MAX_REQUEST];
        let refused = parsed.add_signature(&high, &mut buffer).err();
        assert_eq!(refused, Some(ApproveError::NoSignature));
        let mut zero = good;
        zero[64] -= 27;
        assert!(parsed.add_signature(&zero, &mut buffer).is_ok(), "v of 0 or 1");
        zero[64] = 29;
        let refused = parsed.add_signature(&zero, &mut buffer).err();
        assert_eq!(refused, Some(ApproveError::NoSignature));
    }
}
