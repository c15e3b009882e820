//! A change as controllers sign it: its canonical encoding, its hash, and the signatures on that.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

use crate::hash::{Digest, Transcript};
use crate::identity::Identity;
use crate::policy::form::FormError;
use crate::policy::{MAX_POLICY, Policy};
use crate::request::{ClientKey, KeyId, NetworkId};
use crate::wire::{self, Bytes64, DecodeError, NoRoom};

/// A change carries so many signatures.
pub const MAX_SIGNATURES: usize = 8;
/// The name of a key that is to be made has so many bytes.
pub const MAX_NAME: usize = 64;
/// An encoded signed change has at most so many bytes.
pub const MAX_CHANGE: usize = MAX_POLICY + MAX_NAME + 256 + MAX_SIGNATURES * SIGNATURE;
/// The signer's key and its signature.
const SIGNATURE: usize = 32 + 64;

/// What is to be done. A new kind gets a new variant at the end: old bytes stay valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action<'a> {
    /// A key of this name is made with this policy, as version 1. It has no identifier yet.
    Create {
        /// The name.
        name: &'a str,
        /// The policy's binary form.
        policy: &'a [u8],
    },
    /// The key gets this policy, as the version of the change's number.
    Replace {
        /// The policy's binary form.
        policy: &'a [u8],
    },
    /// Nothing is signed with the key, at once.
    Freeze,
    /// The freeze ends.
    Unfreeze,
}

impl<'a> Action<'a> {
    /// The stable name: what a change's hash binds, and what people read.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Replace { .. } => "replace",
            Self::Freeze => "freeze",
            Self::Unfreeze => "unfreeze",
        }
    }

    /// Whether it is a freeze or its end.
    #[must_use]
    pub fn is_hold(&self) -> bool {
        matches!(self, Self::Freeze | Self::Unfreeze)
    }

    /// The policy that it brings.
    #[must_use]
    pub fn policy(&self) -> Option<&'a [u8]> {
        match self {
            Self::Create { policy, .. } | Self::Replace { policy } => Some(policy),
            Self::Freeze | Self::Unfreeze => None,
        }
    }
}

/// One change of a key's policy, or of whether it signs at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<'a> {
    /// The network.
    pub network: NetworkId,
    /// The key; all zero for one that is to be made.
    pub key: KeyId,
    /// Of a replacement, the version that it makes; of a freeze or its end, the hold. 1 for a key that is
    /// to be made.
    pub number: u32,
    /// The hash of the policy that the version before has; all zero for all but replacements.
    pub previous: Digest,
    /// What.
    #[serde(borrow)]
    pub action: Action<'a>,
    /// Unix seconds: afterwards no party accepts it any more.
    pub expires: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Encoded<'a> {
    version: u8,
    #[serde(borrow)]
    change: Change<'a>,
    /// Controllers in ascending order, each with its signature.
    signatures: &'a [u8],
}

/// A change whose signatures, none or more, have been checked. Whose they must be, the policy says.
#[derive(Clone, Copy)]
pub struct SignedChange<'a>(Encoded<'a>);

/// Why bytes are no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeFormError {
    /// The bytes do not decode.
    Decode(DecodeError),
    /// They are too long, or the name is, or empty.
    TooLong,
    /// A field is set that an action of this kind does not have.
    Fields,
    /// The new policy is malformed.
    Policy(FormError),
    /// The signatures are not whole, too many, out of order, or two of one signer.
    Signatures,
    /// This signer's signature is wrong.
    Signature(ClientKey),
}

impl fmt::Display for ChangeFormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => write!(f, "the change does not decode: {error}"),
            Self::TooLong => f.write_str("the change, or the name in it, is too long or empty"),
            Self::Fields => f.write_str("the change has fields that are not of its kind"),
            Self::Policy(error) => write!(f, "the new policy: {error}"),
            Self::Signatures => f.write_str("the change's list of signatures is malformed"),
            Self::Signature(signer) => {
                write!(f, "the signature of {signer} is not for this change")
            }
        }
    }
}

impl core::error::Error for ChangeFormError {}

/// Why a signature cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// This key has signed already.
    Twice,
    /// There are [`MAX_SIGNATURES`].
    TooMany,
    /// The buffer is too short.
    NoRoom,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice => f.write_str("this key has signed the change already"),
            Self::TooMany => write!(f, "a change carries at most {MAX_SIGNATURES} signatures"),
            Self::NoRoom => f.write_str("the buffer is too small for the change"),
        }
    }
}

impl core::error::Error for SignError {}

fn digest(change: &Digest, signer: &ClientKey) -> Digest {
    Transcript::new("policy-change-signature").bytes(change).bytes(&signer.0).finish()
}

fn entries<'a>(signatures: &'a [u8]) -> impl Iterator<Item = (ClientKey, Bytes64)> + use<'a> {
    signatures.as_chunks::<SIGNATURE>().0.iter().filter_map(|entry| {
        let (signer, signature) = entry.split_first_chunk()?;
        Some((ClientKey(*signer), Bytes64(*signature.first_chunk()?)))
    })
}

impl Change<'_> {
    /// H("policy-change", …): what controllers sign, each behind its own key. It covers every byte of a new
    /// policy, but no signature.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let name = match self.action {
            Action::Create { name, .. } => name,
            _ => "",
        };
        Transcript::new("policy-change")
            .bytes(&[wire::VERSION])
            .bytes(&self.network.0)
            .bytes(&self.key.0)
            .u32(self.number)
            .bytes(&self.previous)
            .bytes(self.action.name().as_bytes())
            .bytes(name.as_bytes())
            .bytes(self.action.policy().unwrap_or_default())
            .u64(self.expires)
            .finish()
    }

    /// The change before anybody has signed it.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_CHANGE`].
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let encoded = Encoded { version: wire::VERSION, change: *self, signatures: &[] };
        wire::encode(&encoded, buffer).map(|bytes| &*bytes)
    }

    fn check(&self) -> Result<(), ChangeFormError> {
        let of_key = self.key.0 != [0; 16];
        let builds = self.previous != [0; 32];
        let fits = match self.action {
            Action::Create { name, .. } => {
                if name.is_empty() || name.len() > MAX_NAME {
                    return Err(ChangeFormError::TooLong);
                }
                !of_key && !builds && self.number == 1
            }
            Action::Replace { .. } => of_key && builds && self.number > 1,
            Action::Freeze => of_key && !builds && self.number % 2 == 1,
            Action::Unfreeze => {
                of_key && !builds && self.number.is_multiple_of(2) && self.number > 0
            }
        };
        if !fits {
            return Err(ChangeFormError::Fields);
        }
        match self.action.policy() {
            Some(policy) => Policy::parse(policy).map(drop).map_err(ChangeFormError::Policy),
            None => Ok(()),
        }
    }
}

impl<'a> SignedChange<'a> {
    /// Reads and checks a change: version, limits, canonical encoding, the new policy, every signature.
    ///
    /// # Errors
    /// [`ChangeFormError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ChangeFormError> {
        match bytes.first() {
            Some(&wire::VERSION) if bytes.len() <= MAX_CHANGE => {}
            Some(&wire::VERSION) => return Err(ChangeFormError::TooLong),
            Some(&version) => return Err(ChangeFormError::Decode(DecodeError::Version(version))),
            None => return Err(ChangeFormError::Decode(DecodeError::Malformed)),
        }
        let encoded: Encoded<'a> = wire::decode(bytes).map_err(ChangeFormError::Decode)?;
        encoded.change.check()?;
        let parsed = Self(encoded);
        parsed.check_signatures()?;
        Ok(parsed)
    }

    fn check_signatures(&self) -> Result<(), ChangeFormError> {
        let signatures = self.0.signatures;
        let whole = signatures.len().is_multiple_of(SIGNATURE);
        if !whole || signatures.len() > MAX_SIGNATURES * SIGNATURE {
            return Err(ChangeFormError::Signatures);
        }
        if !self.signers().is_sorted_by(|a, b| a < b) {
            return Err(ChangeFormError::Signatures);
        }
        let hash = self.hash();
        for (signer, signature) in entries(signatures) {
            if !Identity::Ed25519(signer.0).verify(&digest(&hash, &signer), &signature) {
                return Err(ChangeFormError::Signature(signer));
            }
        }
        Ok(())
    }

    /// The same change with one signature more.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign<'b>(&self, key: &SigningKey, buffer: &'b mut [u8]) -> Result<&'b [u8], SignError> {
        let signer = ClientKey(key.verifying_key().to_bytes());
        if self.signers().any(|other| other == signer) {
            return Err(SignError::Twice);
        }
        let signature = key.sign(&digest(&self.hash(), &signer)).to_bytes();
        let place = self.signers().take_while(|other| *other < signer).count() * SIGNATURE;
        let (before, after) = self.0.signatures.split_at_checked(place).unwrap_or_default();
        let mut signatures = heapless::Vec::<u8, { MAX_SIGNATURES * SIGNATURE }>::new();
        [before, &signer.0, &signature, after]
            .iter()
            .try_for_each(|part| signatures.extend_from_slice(part))
            .map_err(|_| SignError::TooMany)?;
        let encoded = Encoded { signatures: &signatures, ..self.0 };
        wire::encode(&encoded, buffer).map(|bytes| &*bytes).map_err(|_| SignError::NoRoom)
    }

    /// Who has signed it, in ascending order. Their signatures were checked.
    pub fn signers(&self) -> impl Iterator<Item = ClientKey> + use<'a> {
        entries(self.0.signatures).map(|(signer, _)| signer)
    }

    /// What is signed: it names the change, whoever has signed it.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.0.change.hash()
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.0.change.network
    }

    /// The key; all zero for one that is to be made.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.0.change.key
    }

    /// The version, or the hold, that it makes.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.0.change.number
    }

    /// The hash of the policy that it builds on.
    #[must_use]
    pub fn previous(&self) -> Digest {
        self.0.change.previous
    }

    /// What it does.
    #[must_use]
    pub fn action(&self) -> Action<'a> {
        self.0.change.action
    }

    /// Unix seconds.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.0.change.expires
    }
}
