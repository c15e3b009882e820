//! Approvals: Ed25519 signatures of others on a client's request, which do not change its hash.

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey};

use super::{ClientKey, Encoded, MAX_SIGNATURES, RequestError, SignedRequest};
use crate::hash::{Digest, Transcript};
use crate::identity::Identity;
use crate::wire::{self, Bytes64};

/// A request carries so many approvals.
pub const MAX_APPROVALS: usize = 8;
/// The approver's key and its signature.
pub(super) const ENTRY: usize = 32 + 64;

/// Why an approval cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApproveError {
    /// This approver has approved already.
    Twice,
    /// There are [`MAX_APPROVALS`].
    TooMany,
    /// There are [`MAX_SIGNATURES`].
    TooManySignatures,
    /// It is no signature of any account.
    NoSignature,
    /// The buffer is too short.
    NoRoom,
}

impl fmt::Display for ApproveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice => f.write_str("this key has approved the request already"),
            Self::TooMany => write!(f, "a request carries at most {MAX_APPROVALS} approvals"),
            Self::TooManySignatures => {
                write!(f, "a request carries at most {MAX_SIGNATURES} signatures of accounts")
            }
            Self::NoSignature => {
                f.write_str("it is no signature of an account: 65 bytes, r, low s and v")
            }
            Self::NoRoom => f.write_str("the buffer is too small for the request"),
        }
    }
}

impl core::error::Error for ApproveError {}

/// H("approval", request, approver): what an approver signs.
#[must_use]
pub fn approval_digest(request: &Digest, approver: &ClientKey) -> Digest {
    Transcript::new("approval").bytes(request).bytes(&approver.0).finish()
}

fn entries<'a>(approvals: &'a [u8]) -> impl Iterator<Item = (ClientKey, Bytes64)> + use<'a> {
    approvals.as_chunks::<ENTRY>().0.iter().filter_map(|entry| {
        let (approver, signature) = entry.split_first_chunk()?;
        Some((ClientKey(*approver), Bytes64(*signature.first_chunk()?)))
    })
}

impl<'a> SignedRequest<'a> {
    #[inline(never)]
    pub(super) fn check_approvals(&self) -> Result<(), RequestError> {
        let approvals = self.0.approvals;
        let whole = approvals.len().is_multiple_of(ENTRY);
        if !whole || approvals.len() > MAX_APPROVALS * ENTRY {
            return Err(RequestError::Approvals);
        }
        if !self.approvers().is_sorted_by(|a, b| a < b) {
            return Err(RequestError::Approvals);
        }
        let hash = self.hash();
        for (approver, signature) in entries(approvals) {
            let digest = approval_digest(&hash, &approver);
            if !Identity::Ed25519(approver.0).verify(&digest, &signature) {
                return Err(RequestError::Approval(approver));
            }
        }
        Ok(())
    }

    /// The same request with one approval more.
    ///
    /// # Errors
    /// [`ApproveError`].
    pub fn approve<'b>(
        &self,
        key: &SigningKey,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], ApproveError> {
        let approver = ClientKey(key.verifying_key().to_bytes());
        if self.approvers().any(|other| other == approver) {
            return Err(ApproveError::Twice);
        }
        let signature = key.sign(&approval_digest(&self.hash(), &approver)).to_bytes();
        let place = self.approvers().take_while(|other| *other < approver).count() * ENTRY;
        let (before, after) = self.0.approvals.split_at_checked(place).unwrap_or_default();
        let mut approvals = heapless::Vec::<u8, { MAX_APPROVALS * ENTRY }>::new();
        [before, &approver.0, &signature, after]
            .iter()
            .try_for_each(|part| approvals.extend_from_slice(part))
            .map_err(|_| ApproveError::TooMany)?;
        let encoded = Encoded { approvals: &approvals, ..self.0 };
        wire::encode(&encoded, buffer).map(|bytes| &*bytes).map_err(|_| ApproveError::NoRoom)
    }

    /// Who has approved the request, in ascending order. Their signatures were checked.
    pub fn approvers(&self) -> impl Iterator<Item = ClientKey> + use<'a> {
        entries(self.0.approvals).map(|(approver, _)| approver)
    }
}
