//! The coordinator's part, which is trusted with nothing: of a key generation, and of a signature.

use std::collections::BTreeMap;

use quorate_core::hash::{Digest, Transcript};
use quorate_core::identity::SessionKeyCertificate;
use quorate_core::key::KeyTerms;
use quorate_core::nonce::Salt;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::session::Header;
use quorate_node::message::{PeerMessage, Rejection};

use super::party::{Outbox, Party, asked};
use super::suites::{About, Combiner, Public, Signature, verifying_key};

/// A finished signature.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The session.
    pub session: Digest,
    /// Who made it.
    pub quorum: PartySet,
    /// What it is of.
    pub digest: Digest,
    /// Y, as the suite's verifiers have it.
    pub key: Vec<u8>,
    /// The signature, which independent judges have accepted.
    pub signature: Signature,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// A holder has refused.
    Rejected(PartyId, Rejection),
    /// The session failed.
    Session(String),
    /// Nothing came for too long.
    Silence(String),
    /// The chip lost its power.
    Gone,
}

/// A key generation that this group began.
pub(super) struct Making {
    pub(super) coordinator: PartyId,
    pub(super) terms: KeyTerms,
    accepted: BTreeMap<PartyId, SessionKeyCertificate>,
    pub(super) failed: Option<Failed>,
}

impl Making {
    pub(super) fn session(terms: &KeyTerms, coordinator: PartyId) -> Digest {
        Transcript::new("dkg-session").bytes(&terms.context()).party(coordinator).finish()
    }

    pub(super) fn propose(
        coordinator: PartyId,
        terms: KeyTerms,
        name: &str,
        policy: &[u8],
        outbox: &mut Outbox,
    ) -> Self {
        let session = Self::session(&terms, coordinator);
        let (name, policy, approval) = (name.to_owned(), policy.to_vec(), Vec::new());
        let proposal = PeerMessage::ProposeKey { session, terms, name, policy, approval };
        let holders = terms.holders.parties();
        outbox.extend(holders.iter().map(|to| (to, proposal.clone())));
        Self { coordinator, terms, accepted: BTreeMap::new(), failed: None }
    }

    pub(super) fn accept(
        &mut self,
        from: PartyId,
        session: Digest,
        certificate: SessionKeyCertificate,
        outbox: &mut Outbox,
    ) {
        let holders = self.terms.holders.parties();
        self.accepted.insert(from, certificate);
        if self.accepted.len() == holders.len() {
            let peers: Vec<_> = self.accepted.values().cloned().collect();
            let start = PeerMessage::StartKey { session, peers };
            outbox.extend(holders.iter().map(|to| (to, start.clone())));
        }
    }
}

/// A signature that this group began.
pub(super) struct Signing {
    pub(super) coordinator: PartyId,
    request: Vec<u8>,
    quorum: PartySet,
    salts: BTreeMap<PartyId, Salt>,
    combiner: Option<Combiner>,
    /// What came before there was a combiner.
    early: Vec<(PartyId, Vec<u8>)>,
    pub(super) about: (Vec<u8>, Digest),
    pub(super) done: Option<Result<Signed, Failed>>,
}

impl Signing {
    pub(super) fn propose(
        coordinator: PartyId,
        quorum: PartySet,
        nonce: [u8; 32],
        request: &[u8],
        public: &Public,
        outbox: &mut Outbox,
    ) -> Result<Self, String> {
        let (_, derivation, digest) = asked(request)?;
        let about = (verifying_key(public, &derivation)?, digest);
        let proposal = PeerMessage::ProposeSign { nonce, request: request.to_vec() };
        outbox.extend(quorum.with(coordinator).iter().map(|to| (to, proposal.clone())));
        Ok(Self {
            coordinator,
            request: request.to_vec(),
            quorum,
            salts: BTreeMap::new(),
            combiner: None,
            early: Vec::new(),
            about,
            done: None,
        })
    }

    /// D0, once the quorum has started.
    pub(super) fn inputs(&self) -> Option<Digest> {
        self.combiner.as_ref().map(Combiner::inputs)
    }

    pub(super) fn accept(
        &mut self,
        from: PartyId,
        session: Digest,
        salt: Salt,
        party: &Party,
        outbox: &mut Outbox,
    ) -> Result<(), String> {
        if self.quorum.contains(from) {
            self.salts.insert(from, salt);
        }
        if self.salts.len() < self.quorum.len() || self.combiner.is_some() {
            return Ok(());
        }
        let (id, derivation, digest) = asked(&self.request)?;
        let key = party.keys.get(&id).ok_or_else(|| "no such key".to_owned())?;
        let (quorum, coordinator) = (self.quorum, self.coordinator);
        let about = About { quorum, coordinator, derivation, digest };
        let salts: Vec<(PartyId, Salt)> =
            self.salts.iter().map(|(id, salt)| (*id, *salt)).collect();
        self.combiner = Some(Combiner::new(&key.public, &about, &salts)?);
        let start = PeerMessage::StartSign { session, quorum, salts };
        outbox.extend(quorum.iter().map(|to| (to, start.clone())));
        Ok(())
    }

    /// R1 or R2, if they are of this session; whether they were.
    pub(super) fn collect(&mut self, from: PartyId, session: Digest, bytes: &[u8]) -> bool {
        let Ok(header) = Header::peek(bytes) else { return false };
        let Some(combiner) = &mut self.combiner else { return false };
        if combiner.inputs() != header.session || self.done.is_some() {
            return false;
        }
        match combiner.handle(from, header.round, bytes) {
            Ok(None) => {}
            Ok(Some(signature)) => {
                let (key, digest) = self.about.clone();
                let signed = Signed { session, quorum: self.quorum, digest, key, signature };
                let judged = signed.signature.judge(&signed.key, &digest);
                self.done = Some(judged.map(|()| signed).map_err(Failed::Session));
            }
            Err(failure) => {
                self.done = Some(Err(Failed::Session(format!("{failure:?}"))));
            }
        }
        true
    }

    /// Keeps what came before its time.
    pub(super) fn keep(&mut self, from: PartyId, bytes: &[u8]) {
        self.early.push((from, bytes.to_vec()));
    }

    pub(super) fn take_early(&mut self) -> Vec<(PartyId, Vec<u8>)> {
        std::mem::take(&mut self.early)
    }
}
