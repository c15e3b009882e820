//! A veto: the word of somebody whom a key's policy lets stop a request while it waits.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

use super::{ClientKey, KeyId};
use crate::hash::{Digest, Transcript};
use crate::identity::Identity;
use crate::wire::{self, Bytes64, DecodeError};

/// An encoded veto has so many bytes: version, key, request, time, vetoer, signature.
pub const VETO: usize = 1 + 16 + 32 + 8 + 32 + 64;

/// A veto whose signature was checked. Whether anybody cares is the policy's business:
/// [`crate::policy::Policy::names_vetoer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veto {
    version: u8,
    key: KeyId,
    request: Digest,
    /// Big-endian, so that every veto is as long.
    time: [u8; 8],
    vetoer: ClientKey,
    signature: Bytes64,
}

/// Why bytes are no veto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VetoError {
    /// The bytes do not decode, or are of another version.
    Decode(DecodeError),
    /// The vetoer's signature is wrong.
    Signature(ClientKey),
}

impl fmt::Display for VetoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => write!(f, "the veto does not decode: {error}"),
            Self::Signature(vetoer) => write!(f, "{vetoer} did not sign this veto"),
        }
    }
}

impl core::error::Error for VetoError {}

/// H("veto", key, request, time, vetoer): what a vetoer signs. The request's hash binds the key too; it is
/// here so that a party that has not seen the request knows whose policy to ask. The time is the vetoer's,
/// Unix seconds: it ends how long parties pass on a veto of what none of them has seen.
#[must_use]
pub fn veto_digest(key: &KeyId, request: &Digest, time: u64, vetoer: &ClientKey) -> Digest {
    let start = Transcript::new("veto").bytes(&key.0).bytes(request);
    start.u64(time).bytes(&vetoer.0).finish()
}

impl Veto {
    /// Vetoes the request of that hash for that key; `time` is now, Unix seconds.
    #[must_use]
    pub fn sign(key: KeyId, request: Digest, time: u64, by: &SigningKey) -> Self {
        let vetoer = ClientKey(by.verifying_key().to_bytes());
        let signature = Bytes64(by.sign(&veto_digest(&key, &request, time, &vetoer)).to_bytes());
        let (version, time) = (wire::VERSION, time.to_be_bytes());
        Self { version, key, request, time, vetoer, signature }
    }

    /// Reads and checks a veto.
    ///
    /// # Errors
    /// [`VetoError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, VetoError> {
        match bytes.first() {
            Some(&wire::VERSION) if bytes.len() <= VETO => {}
            Some(&wire::VERSION) => return Err(VetoError::Decode(DecodeError::TooLong)),
            Some(&version) => return Err(VetoError::Decode(DecodeError::Version(version))),
            None => return Err(VetoError::Decode(DecodeError::Malformed)),
        }
        let veto: Self = wire::decode(bytes).map_err(VetoError::Decode)?;
        let digest = veto_digest(&veto.key, &veto.request, veto.time(), &veto.vetoer);
        if !Identity::Ed25519(veto.vetoer.0).verify(&digest, &veto.signature) {
            return Err(VetoError::Signature(veto.vetoer));
        }
        Ok(veto)
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; VETO] {
        let mut bytes = [0; VETO];
        // All its fields are of fixed length.
        let _ = wire::encode(self, &mut bytes);
        bytes
    }

    /// The key whose policy names the vetoer.
    #[must_use]
    pub fn key(&self) -> &KeyId {
        &self.key
    }

    /// The hash of the request.
    #[must_use]
    pub fn request(&self) -> &Digest {
        &self.request
    }

    /// When it was made, by the vetoer's clock, Unix seconds.
    #[must_use]
    pub fn time(&self) -> u64 {
        u64::from_be_bytes(self.time)
    }

    /// Who vetoes.
    #[must_use]
    pub fn vetoer(&self) -> &ClientKey {
        &self.vetoer
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn a_veto_is_for_one_request_of_one_key_by_one_vetoer() {
        let by = SigningKey::from_bytes(&[7; 32]);
        let veto = Veto::sign(KeyId([1; 16]), [2; 32], 5, &by);
        let bytes = veto.encode();
        assert_eq!(Veto::parse(&bytes), Ok(veto));
        assert_eq!(
            bytes[..57],
            [&[1][..], &[1; 16], &[2; 32], &[0, 0, 0, 0, 0, 0, 0, 5]].concat()[..]
        );
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(Veto::parse(&altered).is_err(), "bit {bit}");
        }
        for length in 0..VETO {
            assert!(Veto::parse(&bytes[..length]).is_err(), "length {length}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Veto::parse(&longer), Err(VetoError::Decode(DecodeError::TooLong)));
        assert_eq!(Veto::parse(&[2]), Err(VetoError::Decode(DecodeError::Version(2))));
    }

    /// An approval is no veto, though the same people may give both.
    #[test]
    fn an_approval_is_no_veto() {
        use super::super::approval_digest;
        let by = SigningKey::from_bytes(&[7; 32]);
        let mut veto = Veto::sign(KeyId([1; 16]), [2; 32], 5, &by);
        veto.signature = Bytes64(by.sign(&approval_digest(&[2; 32], &veto.vetoer)).to_bytes());
        assert_eq!(Veto::parse(&veto.encode()), Err(VetoError::Signature(veto.vetoer)));
    }
}
