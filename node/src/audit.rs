//! A party's audit log as auditors read it: the chain of its entries, and the newest head of it that the
//! party's identity key signed (`docs/PROTOCOL.md` §10.9).
//!
//! The chain alone has no key: who can write the store can write all of it anew. Nobody can sign its head
//! anew without the identity key, which may live in an HSM.

mod countersign;
mod error;
mod forms;

use quorate_core::hash::{Digest, Transcript};
use quorate_core::party::PartyId;
use quorate_core::wire::{self, Bytes64};
use serde::{Deserialize, Serialize};

pub use countersign::{Countersignature, Countersigned};
pub use error::AuditError;
pub use forms::{CountersignedForm, EntryForm, ExportLine, HeadForm, Page, page};

use crate::identity::IdentityPublic;
use crate::store::{AuditEntry, Chain, MAX_AUDIT_PAGE, Store};

/// Whose log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The network's identifier.
    pub network: [u8; 16],
    /// The party.
    pub party: PartyId,
    /// Its identity.
    pub identity: IdentityPublic,
}

/// How far the log was at a time, in the identity key's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityHead {
    /// Times that the operator accepted a lost history.
    pub generation: u32,
    /// The last entry's number.
    pub number: u64,
    /// Its hash.
    pub hash: Digest,
    /// By the party's own clock, Unix seconds.
    pub time: u64,
    /// By the identity key, over [`IdentityHead::digest`].
    pub signature: Bytes64,
}

impl IdentityHead {
    /// What the identity key signs: H("identity-head", network, party, generation, number, hash, time).
    #[must_use]
    pub fn digest(&self, network: &[u8; 16], party: PartyId) -> Digest {
        Transcript::new("identity-head")
            .bytes(network)
            .party(party)
            .u32(self.generation)
            .u64(self.number)
            .bytes(&self.hash)
            .u64(self.time)
            .finish()
    }

    /// Whether that identity signed it, for that party and network.
    #[must_use]
    pub fn is_genuine(&self, whose: &Whose) -> bool {
        let digest = self.digest(&whose.network, whose.party);
        whose.identity.key().verify(&digest, &self.signature)
    }

    /// The one that `store` keeps, as it is.
    ///
    /// # Errors
    /// [`AuditError::Store`], [`AuditError::MalformedHead`].
    pub fn newest(store: &Store) -> Result<Option<Self>, AuditError> {
        let Some(bytes) = store.identity_head()? else { return Ok(None) };
        wire::decode(&bytes).map(Some).map_err(|_| AuditError::MalformedHead)
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How many entries.
    pub entries: u64,
    /// The last one's hash; all zero without entries.
    pub hash: Digest,
    /// The newest head that the identity key signed, if it has signed any.
    pub signed: Option<IdentityHead>,
    /// What peers have countersigned, this head or an older one.
    pub countersigned: Vec<Countersigned>,
}

/// A check of a whole log, entry by entry.
pub struct Check {
    signed: Option<IdentityHead>,
    countersigned: Vec<Countersigned>,
    chain: Chain,
}

impl Check {
    /// Begins with the newest signed head and what was countersigned, which come from the same place as the log.
    ///
    /// # Errors
    /// [`AuditError::NotSigned`], [`AuditError::NotCountersigned`].
    pub fn new(
        whose: &Whose,
        signed: Option<IdentityHead>,
        countersigned: Vec<Countersigned>,
    ) -> Result<Self, AuditError> {
        if let Some(head) = signed.as_ref().filter(|head| !head.is_genuine(whose)) {
            return Err(AuditError::NotSigned { entry: head.number, identity: whose.identity });
        }
        let genuine = |one: &&Countersigned| one.given.is_genuine(whose, &one.identity.key());
        match countersigned.iter().find(|one| !genuine(one)) {
            Some(one) => Err(AuditError::NotCountersigned {
                entry: one.given.head.number,
                witness: one.given.witness(),
            }),
            None => Ok(Self { signed, countersigned, chain: Chain::default() }),
        }
    }

    /// The numbers and hashes that somebody has signed, and the peer if it was one.
    fn heads(&self) -> impl Iterator<Item = (u64, &Digest, Option<PartyId>)> {
        let own = self.signed.iter().map(|head| (head.number, &head.hash, None));
        let others = self.countersigned.iter().map(|one| {
            let head = &one.given.head;
            (head.number, &head.hash, Some(one.given.witness()))
        });
        own.chain(others)
    }

    /// The number of the next entry.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.chain.end().0.saturating_add(1)
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// [`AuditError::Altered`], [`AuditError::Replaced`].
    pub fn add(&mut self, entry: &AuditEntry) -> Result<(), AuditError> {
        if !self.chain.extend(entry) {
            return Err(AuditError::Altered { entry: entry.number });
        }
        let other =
            |(number, hash, _): &(u64, &Digest, _)| *number == entry.number && **hash != entry.hash;
        match self.heads().find(other) {
            Some((entry, _, witness)) => Err(AuditError::Replaced { entry, witness }),
            None => Ok(()),
        }
    }

    /// After the last entry.
    ///
    /// # Errors
    /// [`AuditError::CutOff`].
    pub fn finish(self) -> Result<Checked, AuditError> {
        let (entries, hash) = self.chain.end();
        let beyond = self.heads().find(|(number, ..)| *number > entries);
        if let Some((signed, _, witness)) = beyond {
            return Err(AuditError::CutOff { signed, last: entries, witness });
        }
        let Self { signed, countersigned, .. } = self;
        Ok(Checked { entries, hash, signed, countersigned })
    }
}

/// Checks the whole log in `store`, and against it the newest signed head and what peers have countersigned.
///
/// # Errors
/// [`AuditError`].
pub fn check(
    store: &Store,
    whose: &Whose,
    countersigned: Vec<Countersigned>,
) -> Result<Checked, AuditError> {
    let signed = IdentityHead::newest(store)?;
    let generation = store.audit_head()?.generation;
    are_of_generation(signed.as_ref(), &countersigned, generation)?;
    let mut check = Check::new(whose, signed, countersigned)?;
    // From 0: no entry has that number, and one that is there was inserted.
    let mut entries = store.audit(0, MAX_AUDIT_PAGE)?;
    while !entries.is_empty() {
        entries.iter().try_for_each(|entry| check.add(entry))?;
        entries = store.audit(check.next(), MAX_AUDIT_PAGE)?;
    }
    check.finish()
}

/// Heads of a generation that the log has not reached are not of this log.
///
/// # Errors
/// [`AuditError::Generation`].
pub fn are_of_generation(
    head: Option<&IdentityHead>,
    countersigned: &[Countersigned],
    generation: u32,
) -> Result<(), AuditError> {
    let mut heads = head.into_iter().chain(countersigned.iter().map(|one| &one.given.head));
    match heads.find(|head| head.generation > generation) {
        Some(head) => Err(AuditError::Generation {
            entry: head.number,
            signed: head.generation,
            found: generation,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IdentityKey;

    fn key() -> IdentityKey {
        IdentityKey::from_secret(&[7; 32])
    }

    fn whose() -> Whose {
        let party = PartyId::new(1).unwrap();
        Whose { network: [5; 16], party, identity: key().public() }
    }

    fn store(entries: u64) -> Store {
        let store = Store::with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        (0..entries).for_each(|n| store.audit_append(n.to_string().into_bytes()).unwrap());
        store
    }

    fn signed(store: &Store) -> IdentityHead {
        let head = store.audit_head().unwrap();
        let mut head = IdentityHead {
            generation: head.generation,
            number: head.number,
            hash: head.hash,
            time: 1_800_000_000,
            signature: Bytes64([0; 64]),
        };
        let digest = head.digest(&whose().network, whose().party);
        head.signature = Bytes64(key().sign(&digest).unwrap());
        head
    }

    fn keep(store: &Store, head: &IdentityHead) {
        let mut bytes = Vec::new();
        wire::encode_to(head, |part| bytes.extend_from_slice(part));
        store.keep_identity_head(&bytes).unwrap();
    }

    #[test]
    fn a_log_is_checked_over_pages_and_beyond_its_signed_head() {
        let store = store(0);
        assert_eq!(check(&store, &whose(), Vec::new()).unwrap().entries, 0);
        let records = (0..2 * MAX_AUDIT_PAGE + 1).map(|n| n.to_string().into_bytes());
        store.audit_append_all(records.collect()).unwrap();
        assert_eq!(check(&store, &whose(), Vec::new()).unwrap().signed, None);
        let head = signed(&store);
        keep(&store, &head);
        store.audit_append(b"newer".to_vec()).unwrap();
        let checked = check(&store, &whose(), Vec::new()).unwrap();
        assert_eq!(checked.entries, 2 * MAX_AUDIT_PAGE as u64 + 2);
        assert_eq!(checked.signed, Some(head));
    }

    #[test]
    fn a_head_counts_in_its_own_place_only() {
        let full = store(3);
        let head = signed(&full);
        let refused = |store: Store, head: &IdentityHead, whose: &Whose| {
            keep(&store, head);
            check(&store, whose, Vec::new()).unwrap_err()
        };
        assert_eq!(
            refused(store(2), &head, &whose()),
            AuditError::CutOff { signed: 3, last: 2, witness: None }
        );
        let other = store(2);
        other.audit_append(b"another".to_vec()).unwrap();
        assert_eq!(
            refused(other, &head, &whose()),
            AuditError::Replaced { entry: 3, witness: None }
        );
        // All that is signed is signed.
        let changes: [&dyn Fn(&mut IdentityHead); 4] =
            [&|head| head.number = 2, &|head| head.hash[0] ^= 1, &|head| head.time += 1, &|head| {
                head.generation += 1
            }];
        for change in changes {
            let mut changed = head.clone();
            change(&mut changed);
            assert!(!changed.is_genuine(&whose()));
        }
        let not_signed = AuditError::NotSigned { entry: 3, identity: whose().identity };
        let elsewhere = Whose { network: [6; 16], ..whose() };
        assert_eq!(refused(store(3), &head, &elsewhere), not_signed);
        let another = Whose { party: PartyId::new(2).unwrap(), ..whose() };
        assert_eq!(refused(store(3), &head, &another), not_signed);
        let stranger = IdentityKey::from_secret(&[8; 32]).public();
        let found = refused(store(3), &head, &Whose { identity: stranger, ..whose() });
        assert_eq!(found, AuditError::NotSigned { entry: 3, identity: stranger });
    }

    #[test]
    fn a_head_of_a_later_generation_or_of_no_sense_is_damage() {
        let later = store(2);
        later.readmit(4, &[], 0, b"accepted".to_vec()).unwrap();
        let head = signed(&later);
        let earlier = store(2);
        earlier.audit_append(b"accepted".to_vec()).unwrap();
        keep(&earlier, &head);
        let expected = AuditError::Generation { entry: 3, signed: 5, found: 0 };
        assert_eq!(check(&earlier, &whose(), Vec::new()), Err(expected));
        // An older head than the generation is what a readmission leaves.
        let readmitted = store(2);
        keep(&readmitted, &signed(&readmitted));
        readmitted.readmit(4, &[], 0, b"accepted".to_vec()).unwrap();
        assert_eq!(check(&readmitted, &whose(), Vec::new()).unwrap().entries, 3);
        readmitted.keep_identity_head(&[1, 2, 3]).unwrap();
        assert_eq!(check(&readmitted, &whose(), Vec::new()), Err(AuditError::MalformedHead));
    }

    fn countersigned(head: &IdentityHead) -> Countersigned {
        use crate::message::{SessionKeyCertificate, head_session};
        use quorate_core::identity::session_key_digest;
        let (witness, session) =
            (IdentityKey::from_secret(&[9; 32]), IdentityKey::from_secret(&[10; 32]));
        let (party, boot, key) = (PartyId::new(2).unwrap(), [3; 16], session.public().key());
        let network = whose().network;
        let digest = session_key_digest(&network, party, &boot, &key, &head_session(&network));
        let signature = Bytes64(witness.sign(&digest).unwrap());
        let certificate = SessionKeyCertificate { party, boot, key, signature };
        let (head, time, signature) = (head.clone(), 1_800_000_001, Bytes64([0; 64]));
        let mut given = Countersignature { head, time, certificate, signature };
        let digest = given.digest(&network, whose().party);
        given.signature = Bytes64(session.sign(&digest).unwrap());
        Countersigned { given, identity: witness.public() }
    }

    /// The identity key's own signature does not help who signs another log with it.
    #[test]
    fn what_a_peer_has_countersigned_binds_the_party_itself() {
        let full = store(3);
        let one = countersigned(&signed(&full));
        let witness = Some(PartyId::new(2).unwrap());
        assert_eq!(
            check(&full, &whose(), vec![one.clone()]).unwrap().countersigned,
            vec![one.clone()]
        );
        let form = CountersignedForm::new(&one, &whose());
        assert_eq!(form.read(), Some(one.clone()));
        let other = store(2);
        other.audit_append(b"another".to_vec()).unwrap();
        keep(&other, &signed(&other));
        let refused = |store: &Store| check(store, &whose(), vec![one.clone()]).unwrap_err();
        assert_eq!(refused(&other), AuditError::Replaced { entry: 3, witness });
        let shorter = store(2);
        keep(&shorter, &signed(&shorter));
        assert_eq!(refused(&shorter), AuditError::CutOff { signed: 3, last: 2, witness });
        // Of a generation that this log never had.
        let mut later = one.clone();
        later.given.head.generation = 1;
        let generation = AuditError::Generation { entry: 3, signed: 1, found: 0 };
        assert_eq!(check(&full, &whose(), vec![later]), Err(generation));

        // All that is signed is signed, and by nobody else.
        let changes: [&dyn Fn(&mut Countersigned); 8] = [
            &|one| one.given.time += 1,
            &|one| one.given.head.time += 1,
            &|one| one.given.head.number = 2,
            &|one| one.given.certificate.party = PartyId::new(3).unwrap(),
            &|one| one.given.certificate.boot[0] ^= 1,
            &|one| one.given.certificate.key = key().public().key(),
            &|one| one.given.signature.0[0] ^= 1,
            &|one| one.identity = key().public(),
        ];
        for change in changes {
            let mut changed = one.clone();
            change(&mut changed);
            let found = check(&full, &whose(), vec![changed]).unwrap_err();
            assert!(matches!(found, AuditError::NotCountersigned { .. }), "{found:?}");
        }
        // A party is no witness of its own.
        let alone = Whose { party: PartyId::new(2).unwrap(), ..whose() };
        assert!(!one.given.is_genuine(&alone, &one.identity.key()));
    }
}
