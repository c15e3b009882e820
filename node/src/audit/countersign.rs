//! Heads of a party's log that its peers have countersigned (`docs/PROTOCOL.md` §10.9): whoever has the whole
//! folder of a party and its HSM can write its log anew and sign the new one, but not with others' keys.

use quorate_core::hash::{Digest, Transcript};
use quorate_core::identity::{Identity, session_key_digest};
use quorate_core::party::PartyId;
use quorate_core::wire::{self, Bytes64};
use serde::{Deserialize, Serialize};

use super::{AuditError, IdentityHead, Whose};
use crate::identity::IdentityPublic;
use crate::membership::Membership;
use crate::message::{SessionKeyCertificate, head_session};
use crate::store::Store;

/// A countersignature, and whose it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countersigned {
    /// The countersignature.
    pub given: Countersignature,
    /// The witness's identity.
    pub identity: IdentityPublic,
}

impl Countersigned {
    /// Those that `store` keeps, of witnesses whose identity is known. Who left the group countersigns nothing.
    ///
    /// # Errors
    /// [`AuditError::Store`], [`AuditError::MalformedCountersignature`].
    pub fn all(
        store: &Store,
        identity_of: &dyn Fn(PartyId) -> Option<IdentityPublic>,
    ) -> Result<Vec<Self>, AuditError> {
        let mut all = Vec::new();
        for (witness, bytes) in store.countersignatures()? {
            let malformed = |_| AuditError::MalformedCountersignature { witness };
            let given: Countersignature = wire::decode(&bytes).map_err(malformed)?;
            if let Some(identity) = identity_of(given.witness()) {
                all.push(Self { given, identity });
            }
        }
        Ok(all)
    }

    /// The same, of the parties of a group.
    ///
    /// # Errors
    /// Like [`Self::all`].
    pub fn of_group(store: &Store, group: &Membership) -> Result<Vec<Self>, AuditError> {
        Self::all(store, &|party| group.identity_of(party.number()).copied())
    }
}

/// A peer's word that it has seen this head, and no other in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Countersignature {
    /// What it has seen.
    pub head: IdentityHead,
    /// When, by the peer's own clock, Unix seconds.
    pub time: u64,
    /// The peer's session key, certified by its identity key for [`head_session`].
    pub certificate: SessionKeyCertificate,
    /// By that session key, over [`Countersignature::digest`].
    pub signature: Bytes64,
}

impl Countersignature {
    /// What the peer's session key signs: H("countersigned-head", network, whose log, generation, number, hash,
    /// the head's time, the peer, its boot, time).
    #[must_use]
    pub fn digest(&self, network: &[u8; 16], owner: PartyId) -> Digest {
        Transcript::new("countersigned-head")
            .bytes(network)
            .party(owner)
            .u32(self.head.generation)
            .u64(self.head.number)
            .bytes(&self.head.hash)
            .u64(self.head.time)
            .party(self.certificate.party)
            .bytes(&self.certificate.boot)
            .u64(self.time)
            .finish()
    }

    /// Who countersigned.
    #[must_use]
    pub fn witness(&self) -> PartyId {
        self.certificate.party
    }

    /// Whether the owner signed the head, and the witness, who is another and has this identity, countersigned it.
    #[must_use]
    pub fn is_genuine(&self, whose: &Whose, witness: &Identity) -> bool {
        let SessionKeyCertificate { party, boot, key, signature } = &self.certificate;
        let session = head_session(&whose.network);
        let certified = session_key_digest(&whose.network, *party, boot, key, &session);
        *party != whose.party
            && self.head.is_genuine(whose)
            && witness.verify(&certified, signature)
            && key.verify(&self.digest(&whose.network, whose.party), &self.signature)
    }
}
