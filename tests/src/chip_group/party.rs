//! A holder as nodes are, without a store: it agrees to whatever it is asked, and forgets nothing.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer as _, SigningKey};
use quorate_core::derive::Derivation;
use quorate_core::dkg::{Peer, SessionKey};
use quorate_core::hash::Digest;
use quorate_core::identity::{Identity, SessionKeyCertificate, session_key_digest};
use quorate_core::key::{KeyTerms, check_certificate};
use quorate_core::nonce::Salt;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy;
use quorate_core::request::SignedRequest;
use quorate_core::secret::SecretBytes;
use quorate_core::session::Header;
use quorate_core::wire::{self, Bytes64};
use quorate_node::message::{PeerMessage, sign_session};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::suites::{About, Ahead, Confirmed, Member, Opened, Public, Run};

/// What a party wants to send, and to whom.
pub(super) type Outbox = Vec<(PartyId, PeerMessage)>;

struct KeyRun {
    terms: KeyTerms,
    run: Option<Run>,
    ahead: Ahead,
    /// What came before the start.
    before: Vec<(PartyId, Vec<u8>)>,
}

/// A key of a party, pending or active.
pub(super) struct Key {
    pub(super) public: Public,
    record: Option<super::suites::Record>,
    confirmations: BTreeMap<PartyId, Confirmed>,
    /// Once it is active.
    opened: Option<Opened>,
    /// Who has said that it is active there.
    pub(super) active: PartySet,
}

impl Key {
    pub(super) fn opened(&self) -> Option<&Opened> {
        self.opened.as_ref()
    }
}

struct Part {
    coordinator: PartyId,
    request: Vec<u8>,
    salt: Salt,
    member: Option<(Member, [u8; 16])>,
}

/// One party.
pub(super) struct Party {
    pub(super) me: PartyId,
    network: [u8; 16],
    identity: SigningKey,
    pub(super) session_key: SessionKey,
    boot: [u8; 16],
    members: BTreeMap<PartyId, Identity>,
    runs: BTreeMap<Digest, KeyRun>,
    pub(super) keys: BTreeMap<[u8; 16], Key>,
    parts: BTreeMap<Digest, Part>,
    /// R1 of sessions that have not started here.
    early: Vec<(PartyId, Vec<u8>)>,
    pub(super) rng: ChaCha20Rng,
    pub(super) outbox: Outbox,
    /// What others did that they must not, and what failed.
    pub(super) incidents: Vec<String>,
}

impl Party {
    pub(super) fn new(seed: u64, network: [u8; 16], me: PartyId) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed ^ u64::from(me.number()) << 48);
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let identity = SigningKey::from_bytes(&secret);
        rng.fill_bytes(&mut secret);
        let session_key = SessionKey::new(&SecretBytes::new(secret));
        let mut boot = [0; 16];
        rng.fill_bytes(&mut boot);
        Self {
            me,
            network,
            identity,
            session_key,
            boot,
            members: BTreeMap::new(),
            runs: BTreeMap::new(),
            keys: BTreeMap::new(),
            parts: BTreeMap::new(),
            early: Vec::new(),
            rng,
            outbox: Vec::new(),
            incidents: Vec::new(),
        }
    }

    /// For who wonders why nothing comes.
    pub(super) fn standing(&self) -> String {
        let runs = self.runs.values().map(|run| run.run.as_ref().map(Run::waiting_for));
        let keys = self.keys.values().map(|key| (key.confirmations.len(), key.active.len()));
        let (runs, keys): (Vec<_>, Vec<_>) = (runs.collect(), keys.collect());
        format!("waits for {runs:?}, keys with confirmations and holders {keys:?}")
    }

    pub(super) fn identity(&self) -> Identity {
        Identity::Ed25519(self.identity.verifying_key().to_bytes())
    }

    pub(super) fn pin(&mut self, members: BTreeMap<PartyId, Identity>) {
        self.members = members;
    }

    pub(super) fn certificate(&self, session: &Digest) -> SessionKeyCertificate {
        let (party, boot, key) = (self.me, self.boot, self.session_key.identity());
        let digest = session_key_digest(&self.network, party, &boot, &key, session);
        let signature = Bytes64(self.identity.sign(&digest).to_bytes());
        SessionKeyCertificate { party, boot, key, signature }
    }

    fn send(&mut self, to: PartyId, message: PeerMessage) {
        self.outbox.push((to, message));
    }

    fn note(&mut self, from: PartyId, what: impl std::fmt::Display) {
        self.incidents.push(format!("party {} of party {from}: {what}", self.me));
    }

    /// What is for a holder; the rest is for a coordinator, or for the group.
    pub(super) fn handle(&mut self, from: PartyId, message: PeerMessage) {
        match message {
            PeerMessage::ProposeKey { session, terms, .. } => {
                let (ahead, before) = (Ahead::default(), Vec::new());
                self.runs.insert(session, KeyRun { terms, run: None, ahead, before });
                let certificate = self.certificate(&session);
                self.send(from, PeerMessage::AcceptKey { session, certificate });
            }
            PeerMessage::StartKey { session, peers } => self.start_key(from, session, &peers),
            PeerMessage::CancelKey { session } => drop(self.runs.remove(&session)),
            PeerMessage::Dkg(bytes) => self.handle_dkg(from, bytes.to_vec()),
            PeerMessage::Confirm { key, confirmation, pending } => {
                self.handle_confirmation(from, key, &confirmation, pending);
            }
            PeerMessage::KeyActive { key } => {
                if let Some(key) = self.keys.get_mut(&key) {
                    key.active = key.active.with(from);
                }
            }
            PeerMessage::ProposeSign { nonce, request } => {
                let session = sign_session(&self.network, from, &nonce, &request);
                let mut salt = [0; 32];
                self.rng.fill_bytes(&mut salt);
                let part = Part { coordinator: from, request, salt, member: None };
                self.parts.insert(session, part);
                self.send(from, PeerMessage::AcceptSign { session, salt });
            }
            PeerMessage::StartSign { session, quorum, salts } => {
                if let Err(what) = self.start_part(&session, quorum, &salts) {
                    self.note(from, what);
                }
            }
            PeerMessage::CancelSign { session } | PeerMessage::Signed { session, .. } => {
                self.parts.remove(&session);
            }
            PeerMessage::Ecdsa(bytes) => self.handle_nonce(from, bytes),
            other => self.note(from, format_args!("an unexpected {other:?}")),
        }
    }

    fn start_key(&mut self, from: PartyId, session: Digest, peers: &[SessionKeyCertificate]) {
        let genuine = |c: &SessionKeyCertificate| {
            let identity = self.members.get(&c.party);
            identity.is_some_and(|identity| c.is_signed_by(identity, &self.network, &session))
        };
        if !peers.iter().all(genuine) {
            return self.note(from, "a forged session key");
        }
        let peers: Vec<Peer> =
            peers.iter().map(|c| Peer { party: c.party, session_key: c.key }).collect();
        let Some(waiting) = self.runs.get_mut(&session) else { return };
        let (terms, me) = (waiting.terms, self.me);
        match Run::new(terms, session, me, &peers, &self.session_key, &mut self.rng) {
            Ok(run) => waiting.run = Some(run),
            Err(what) => return self.note(from, what),
        }
        let before = std::mem::take(&mut waiting.before);
        self.drive_key(&session);
        for (from, bytes) in before {
            self.handle_dkg(from, bytes);
        }
    }

    fn handle_dkg(&mut self, from: PartyId, bytes: Vec<u8>) {
        let Ok(header) = Header::peek(&bytes) else { return self.note(from, "no header") };
        // Of a run that is over, the last messages may still come.
        let Some(KeyRun { run, ahead, before, .. }) = self.runs.get_mut(&header.session) else {
            return;
        };
        let Some(run) = run else { return before.push((from, bytes)) };
        let mut refused = Vec::new();
        run.handle(ahead, from, bytes, &self.session_key, |from, refusal| {
            refused.push((from, refusal));
        });
        for (from, refusal) in refused {
            self.note(from, refusal);
        }
        self.drive_key(&header.session);
    }

    fn drive_key(&mut self, session: &Digest) {
        let Some(KeyRun { run: Some(run), terms, .. }) = self.runs.get_mut(session) else { return };
        let (others, outbox) = (terms.holders.parties().without(self.me), &mut self.outbox);
        let made = run.drive(&self.session_key, |to, bytes| {
            let to = to.map_or(others, |to| PartySet::EMPTY.with(to));
            outbox.extend(to.iter().map(|to| (to, PeerMessage::Dkg(bytes.to_vec().into()))));
        });
        match made {
            Ok(None) => {}
            Ok(Some((public, record))) => {
                self.runs.remove(session);
                self.keep(public, record);
            }
            Err(error) => {
                self.runs.remove(session);
                self.note(self.me, format_args!("a key generation failed: {error}"));
            }
        }
    }

    fn keep(&mut self, public: Public, record: super::suites::Record) {
        let sign = |digest: &Digest| Bytes64(self.identity.sign(digest).to_bytes());
        let own = Confirmed::signed(&public, self.me, &record, sign);
        let id = public.terms.key;
        let confirmations = BTreeMap::from([(self.me, own)]);
        let (opened, active) = (None, PartySet::EMPTY);
        self.keys.insert(id, Key { public, record: Some(record), confirmations, opened, active });
        self.confirm(&id);
    }

    /// Says to all that this party holds the key; again after a link was lost.
    pub(super) fn confirm(&mut self, key: &[u8; 16]) {
        let Some(kept) = self.keys.get(key) else { return };
        let pending = kept.opened.is_none();
        let Some(own) = kept.confirmations.get(&self.me) else { return };
        let (confirmation, others) = (encoded(own), kept.public.terms.holders.parties());
        for to in others.without(self.me).iter() {
            let confirmation = confirmation.clone();
            self.send(to, PeerMessage::Confirm { key: *key, confirmation, pending });
        }
    }

    /// What is pending is said again.
    pub(super) fn confirm_again(&mut self) {
        let pending = self.keys.iter().filter(|(_, kept)| kept.opened.is_none());
        let pending: Vec<[u8; 16]> = pending.map(|(id, _)| *id).collect();
        pending.iter().for_each(|id| self.confirm(id));
    }

    fn handle_confirmation(&mut self, from: PartyId, id: [u8; 16], bytes: &[u8], pending: bool) {
        // Not there yet: the sender repeats.
        let Some(key) = self.keys.get_mut(&id) else { return };
        let Ok(confirmation) = wire::decode::<Confirmed>(bytes) else {
            return self.note(from, "a malformed confirmation");
        };
        let identity = self.members.get(&confirmation.party);
        let genuine = identity.map(|identity| confirmation.check(&key.public, identity));
        if !matches!(genuine, Some(Ok(()))) {
            return self.note(from, "a forged confirmation");
        }
        match key.confirmations.get(&confirmation.party) {
            Some(known) if *known != confirmation => {
                return self.note(from, "a second confirmation, and another");
            }
            Some(_) => {}
            None => drop(key.confirmations.insert(confirmation.party, confirmation)),
        }
        if key.opened.is_some() && pending {
            let all: Vec<Vec<u8>> = key.confirmations.values().map(encoded).collect();
            for confirmation in all {
                self.send(from, PeerMessage::Confirm { key: id, confirmation, pending: false });
            }
            return self.send(from, PeerMessage::KeyActive { key: id });
        }
        self.activate(id);
    }

    fn activate(&mut self, id: [u8; 16]) {
        let Some(key) = self.keys.get_mut(&id) else { return };
        let holders = key.public.terms.holders;
        if key.opened.is_some() || key.confirmations.len() < holders.count() {
            return;
        }
        let all: Vec<Confirmed> = key.confirmations.values().cloned().collect();
        let identity = |party| self.members.get(&party).copied();
        if let Err(error) = check_certificate(&key.public, &all, identity) {
            return self.note(self.me, format_args!("a void certificate: {error}"));
        }
        let (Some(own), Some(record)) = (key.confirmations.get(&self.me), key.record.take()) else {
            return;
        };
        match Opened::new(&key.public, self.me, record, own) {
            Ok(opened) => {
                key.opened = Some(opened);
                key.active = key.active.with(self.me);
                for to in holders.parties().without(self.me).iter() {
                    self.send(to, PeerMessage::KeyActive { key: id });
                }
            }
            Err(what) => self.note(self.me, what),
        }
    }

    fn start_part(
        &mut self,
        session: &Digest,
        quorum: PartySet,
        salts: &[(PartyId, Salt)],
    ) -> Result<(), String> {
        let Some(part) = self.parts.get_mut(session) else { return Ok(()) };
        let (id, derivation, digest) = asked(&part.request)?;
        let key = self.keys.get(&id).and_then(|key| key.opened.as_ref());
        let key = key.ok_or_else(|| "no such key".to_owned())?;
        let coordinator = part.coordinator;
        let about = About { quorum, coordinator, derivation, digest };
        let member = Member::new(key, &about, salts, &part.salt)?;
        let (first, inputs) = (member.nonce_message(), member.inputs());
        part.member = Some((member, id));
        for to in quorum.without(self.me).with(coordinator).iter() {
            self.send(to, PeerMessage::Ecdsa(first.clone()));
        }
        let mine = |(_, bytes): &mut (PartyId, Vec<u8>)| {
            Header::peek(bytes).is_ok_and(|header| header.session == inputs)
        };
        let early: Vec<_> = self.early.extract_if(.., mine).collect();
        for (from, bytes) in early {
            self.handle_nonce(from, bytes);
        }
        Ok(())
    }

    /// R1 of another member; R2 is for the coordinator.
    fn handle_nonce(&mut self, from: PartyId, bytes: Vec<u8>) {
        let Ok(header) = Header::peek(&bytes) else { return self.note(from, "no header") };
        if header.round != 1 || from == self.me {
            return;
        }
        let running = |part: &&mut Part| {
            let member = part.member.as_ref();
            member.is_some_and(|(member, _)| member.inputs() == header.session)
        };
        let Some(part) = self.parts.values_mut().find(running) else {
            return self.early.push((from, bytes));
        };
        let (Some((member, id)), coordinator) = (&mut part.member, part.coordinator) else {
            return;
        };
        let Some(key) = self.keys.get(id).and_then(|key| key.opened.as_ref()) else { return };
        match member.handle_nonce(key, from, &bytes) {
            Ok(None) => {}
            Ok(Some(share)) => self.send(coordinator, PeerMessage::Ecdsa(share)),
            Err(failure) => self.note(from, format_args!("{failure:?}")),
        }
    }
}

fn encoded(confirmation: &Confirmed) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_to(confirmation, |part| bytes.extend_from_slice(part));
    bytes
}

/// Of a client's request: which key, which descendant, and what is signed.
pub(super) fn asked(request: &[u8]) -> Result<([u8; 16], Derivation, Digest), String> {
    let request = SignedRequest::parse(request).map_err(|error| error.to_string())?;
    let digest = policy::digest(&request.payload()).map_err(|error| error.to_string())?;
    Ok((*request.key().as_bytes(), *request.derivation(), digest))
}
