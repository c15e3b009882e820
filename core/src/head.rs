//! How far a party's log is, in words that its peers keep.

use serde::{Deserialize, Serialize};

use crate::hash::{Digest, Transcript};
use crate::identity::SessionKeyCertificate;
use crate::wire::Bytes64;

/// How far a party's log was, in its own words: whoever puts its whole folder back to an earlier day
/// cannot take these words back from its peers (`docs/PROTOCOL.md` §10.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// The session key that signs, certified for [`head_session`].
    pub certificate: SessionKeyCertificate,
    /// Times that the party's operator accepted a lost history.
    pub generation: u32,
    /// The number of the log's last entry.
    pub number: u64,
    /// Its hash.
    pub hash: Digest,
    /// By the session key, over [`SignedHead::digest`].
    pub signature: Bytes64,
}

crate::read_fields!(SignedHead { certificate, generation, number, hash, signature });
crate::write_fields!(SignedHead { certificate, generation, number, hash, signature });

impl SignedHead {
    /// What the session key signs.
    #[must_use]
    pub fn digest(&self, network: &[u8; 16]) -> Digest {
        Transcript::new("audit-head")
            .bytes(network)
            .party(self.certificate.party)
            .bytes(&self.certificate.boot)
            .u32(self.generation)
            .u64(self.number)
            .bytes(&self.hash)
            .finish()
    }

    /// By what heads are ordered.
    #[must_use]
    pub fn place(&self) -> (u32, u64) {
        (self.generation, self.number)
    }
}

/// What session keys that sign heads are certified for.
#[must_use]
pub fn head_session(network: &[u8; 16]) -> Digest {
    Transcript::new("audit-head-session").bytes(network).finish()
}
