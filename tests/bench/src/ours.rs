//! Quorate's side: keys made by its own key generation, and what one party computes for a signature.

pub mod frost;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::LazyLock;

use ed25519_dalek::{Signer as _, SigningKey};
use quorate_core::curve::{EcdsaGroup, Fixed, SchnorrGroup};
use quorate_core::derive::Derivation;
use quorate_core::dkg::{Dkg, Output, Peer, SessionSigner};
use quorate_core::ecdsa::{self, MAX_MESSAGE, Salt};
use quorate_core::hash::Digest;
use quorate_core::identity::Identity;
use quorate_core::key::{
    Confirmation, KeyTerms, OpenedKey, PublicKey, ShareRecord, check_certificate_of,
};
use quorate_core::party::{Holders, PartyId, PartySet};
use quorate_core::schnorr::{self, Tweak};
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire::{self, Bytes64};

/// Capacities as a server has them.
pub const N: usize = 16;
pub const K: usize = 512;
pub const S: usize = 11;

type Message = (PartyId, Vec<u8>);

struct Key(SigningKey);

impl SessionSigner for Key {
    fn sign(&self, digest: &Digest) -> Bytes64 {
        Bytes64(self.0.sign(digest).to_bytes())
    }
}

/// A node has its keys in memory: making one here, at every use, would take longer than signing.
fn key_of(party: PartyId) -> &'static Key {
    static KEYS: LazyLock<Vec<Key>> =
        LazyLock::new(|| (0..=N as u8).map(|i| Key(SigningKey::from_bytes(&[i; 32]))).collect());
    &KEYS[usize::from(party.number())]
}

fn identity_of(party: PartyId) -> Identity {
    Identity::Ed25519(key_of(party).0.verifying_key().to_bytes())
}

/// What one holder keeps.
pub struct Stored {
    pub public: PublicKey<N>,
    pub sealed: Vec<u8>,
    pub confirmation: Confirmation<N, K>,
}

impl Stored {
    /// Decodes and checks a record that has been unsealed.
    pub fn open<G: Fixed>(&self) -> OpenedKey<G, N, K> {
        let record = wire::decode(&self.sealed).expect("our record");
        OpenedKey::open(&self.public, self.confirmation.party, record, &self.confirmation)
            .expect("our share")
    }
}

/// All parties of one key generation, in lockstep.
pub fn generate<G: Fixed>(n: u8, t: u8, seed: u64) -> BTreeMap<PartyId, Stored> {
    let holders = Holders::new(PartySet::first(n), t).expect("a group");
    let terms = KeyTerms {
        suite: G::SUITE,
        network: [1; 16],
        key: [2; 16],
        epoch: 0,
        holders,
        context: [3; 32],
    };
    let parties = holders.parties();
    let peers: Vec<Peer> =
        parties.iter().map(|party| Peer { party, session_key: identity_of(party) }).collect();
    let session = [seed as u8; 32];
    let mut running: Vec<(PartyId, Box<Dkg<G, N, K>>)> = Vec::new();
    for me in parties.iter() {
        let hedge = SecretBytes::new([me.number() as u8; 32]);
        let mut rng = HedgedRng::new(&[9; 32], &hedge, &session, seed);
        let dkg = Dkg::new(terms, session, me, &peers, key_of(me), &mut rng).expect("terms hold");
        running.push((me, Box::new(dkg)));
    }
    let mut stored = BTreeMap::new();
    let mut buffer = vec![0; 64 * 1024];
    // A round at a time: what all send, then what all receive.
    while stored.len() < parties.len() {
        let mut sent: Vec<(PartyId, Option<PartyId>, Vec<u8>)> = Vec::new();
        for (me, dkg) in &mut running {
            while let Some(output) = dkg.poll_output(key_of(*me), &mut buffer).expect("room") {
                match output {
                    Output::Send { to, bytes } => sent.push((*me, to, bytes.to_vec())),
                    Output::Persist => {
                        let (public, record) = dkg.take_key().expect("a key");
                        stored.insert(*me, confirmed(*me, public, &record));
                    }
                    Output::Failed(abort) => panic!("{abort}"),
                }
            }
        }
        for (me, dkg) in &mut running {
            for (from, to, bytes) in &sent {
                if from != me && to.is_none_or(|to| to == *me) {
                    dkg.handle_message(*from, bytes, key_of(*me)).expect("an honest message");
                }
            }
        }
    }
    // R4: every party checks the certificate.
    let confirmations: Vec<_> =
        stored.values().map(|stored: &Stored| stored.confirmation.clone()).collect();
    for stored in stored.values() {
        let identity = |party| Some(identity_of(party));
        check_certificate_of(&stored.public, &stored.confirmation, &confirmations, identity)
            .expect("a certificate");
    }
    stored
}

fn confirmed(me: PartyId, public: PublicKey<N>, record: &ShareRecord<N, K>) -> Stored {
    let mut confirmation = Confirmation::unsigned(&public, me, record);
    confirmation.signature = key_of(me).sign(&confirmation.digest(&public));
    let mut buffer = vec![0; 32 * 1024];
    let sealed = wire::encode(record, &mut buffer).expect("room").to_vec();
    Stored { public, sealed, confirmation }
}

fn salts_of(quorum: PartySet) -> Vec<(PartyId, Salt)> {
    quorum.iter().map(|party| (party, [party.number() as u8; 32])).collect()
}

/// One signature, with everything that the measured parties receive. The first member is the one that
/// does not coordinate; the last one does.
pub struct Signing<F> {
    forms: F,
    salts: Vec<(PartyId, Salt)>,
    me: PartyId,
    nonces: Vec<Message>,
    shares: Vec<Message>,
    /// All bytes that one member sends.
    pub sent: usize,
}

/// What differs between the schemes.
pub trait Forms {
    type Signer;
    type Combiner;
    fn signer(&self, me: PartyId, salts: &[(PartyId, Salt)]) -> Self::Signer;
    fn nonce(&self, signer: &Self::Signer) -> Vec<u8>;
    fn handle(&self, signer: &mut Self::Signer, me: PartyId, message: &Message) -> Option<Vec<u8>>;
    fn combiner(&self, salts: &[(PartyId, Salt)]) -> Self::Combiner;
    fn take(&self, combiner: &mut Self::Combiner, message: &Message, share: bool) -> bool;
}

impl<F: Forms> Signing<F> {
    pub fn new(forms: F, quorum: PartySet) -> Self {
        let salts = salts_of(quorum);
        let mut signers: Vec<(PartyId, F::Signer)> =
            quorum.iter().map(|me| (me, forms.signer(me, &salts))).collect();
        let nonces: Vec<Message> =
            signers.iter().map(|(me, signer)| (*me, forms.nonce(signer))).collect();
        let mut shares = Vec::new();
        for (me, signer) in &mut signers {
            for message in nonces.iter().filter(|(from, _)| from != me) {
                shares.extend(forms.handle(signer, *me, message).map(|share| (*me, share)));
            }
        }
        assert_eq!(shares.len(), quorum.len());
        let me = nonces[0].0;
        let sent = nonces[0].1.len() * (quorum.len() - 1) + shares[0].1.len();
        let signing = Self { forms, salts, me, nonces, shares, sent };
        assert!(signing.combine(), "a signature");
        signing
    }

    /// What one member computes.
    pub fn member(&self) -> Vec<u8> {
        let mut signer = self.forms.signer(self.me, &self.salts);
        black_box(self.forms.nonce(&signer));
        let mut share = None;
        for message in self.nonces.iter().skip(1) {
            share = self.forms.handle(&mut signer, self.me, message);
        }
        share.expect("complete")
    }

    /// What the coordinator computes besides.
    pub fn combine(&self) -> bool {
        let mut combiner = self.forms.combiner(&self.salts);
        let mut done = false;
        for message in &self.nonces {
            done |= self.forms.take(&mut combiner, message, false);
        }
        for message in &self.shares {
            done |= self.forms.take(&mut combiner, message, true);
        }
        done
    }
}

/// The keys of a quorum, opened.
pub type Keys<G> = BTreeMap<PartyId, OpenedKey<G, N, K>>;

pub fn open<G: Fixed>(group: &BTreeMap<PartyId, Stored>, quorum: PartySet) -> Keys<G> {
    quorum.iter().map(|party| (party, group[&party].open())).collect()
}

pub struct Ecdsa<G: EcdsaGroup + Fixed> {
    pub keys: Keys<G>,
    pub terms: ecdsa::SignTerms,
}

impl<G: EcdsaGroup + Fixed> Ecdsa<G> {
    pub fn new(group: &BTreeMap<PartyId, Stored>, quorum: PartySet) -> Self {
        let coordinator = quorum.iter().last().expect("members");
        let (derivation, digest) = (Derivation::Root, [7; 32]);
        let terms = ecdsa::SignTerms { quorum, coordinator, derivation, digest };
        Self { keys: open(group, quorum), terms }
    }
}

impl<G: EcdsaGroup + Fixed> Forms for Ecdsa<G> {
    type Signer = ecdsa::Signer<G, S>;
    type Combiner = ecdsa::Combiner<G, S>;

    fn signer(&self, me: PartyId, salts: &[(PartyId, Salt)]) -> Self::Signer {
        let own = [me.number() as u8; 32];
        ecdsa::Signer::new(&self.keys[&me], self.terms, salts, &own).expect("terms hold")
    }
    fn nonce(&self, signer: &Self::Signer) -> Vec<u8> {
        let mut buffer = [0; MAX_MESSAGE];
        signer.nonce_message(&mut buffer).expect("room").to_vec()
    }
    fn handle(&self, signer: &mut Self::Signer, me: PartyId, message: &Message) -> Option<Vec<u8>> {
        let share = signer.handle_nonce(&self.keys[&me], message.0, &message.1).expect("honest");
        let mut buffer = [0; MAX_MESSAGE];
        share.map(|share| share.encode(&mut buffer).expect("room").to_vec())
    }
    fn combiner(&self, salts: &[(PartyId, Salt)]) -> Self::Combiner {
        let key = &self.keys[&self.terms.coordinator];
        ecdsa::Combiner::of_member(key, self.terms, salts).expect("terms hold")
    }
    fn take(&self, combiner: &mut Self::Combiner, message: &Message, share: bool) -> bool {
        let (from, bytes) = message;
        let taken = match share {
            true => combiner.handle_share(*from, bytes),
            false => combiner.handle_nonce(*from, bytes),
        };
        taken.expect("honest").is_some()
    }
}

pub struct Schnorr<G: SchnorrGroup + Fixed> {
    pub keys: Keys<G>,
    pub public: PublicKey<N>,
    pub terms: schnorr::SignTerms<&'static [u8]>,
}

impl<G: SchnorrGroup + Fixed> Schnorr<G> {
    pub fn new(group: &BTreeMap<PartyId, Stored>, quorum: PartySet) -> Self {
        let coordinator = quorum.iter().last().expect("members");
        let message: &[u8] = &[7; 32];
        let (derivation, tweak) = (Derivation::Root, Tweak::None);
        let terms = schnorr::SignTerms { quorum, coordinator, derivation, tweak, message };
        let public = group[&coordinator].public.clone();
        Self { keys: open(group, quorum), public, terms }
    }
}

impl<G: SchnorrGroup + Fixed> Forms for Schnorr<G> {
    type Signer = schnorr::Signer<G, &'static [u8], S>;
    type Combiner = schnorr::Combiner<G, &'static [u8], S>;

    fn signer(&self, me: PartyId, salts: &[(PartyId, Salt)]) -> Self::Signer {
        let own = [me.number() as u8; 32];
        schnorr::Signer::new(&self.keys[&me], self.terms, salts, &own).expect("terms hold")
    }
    fn nonce(&self, signer: &Self::Signer) -> Vec<u8> {
        let mut buffer = [0; MAX_MESSAGE];
        signer.nonce_message(&mut buffer).expect("room").to_vec()
    }
    fn handle(&self, signer: &mut Self::Signer, me: PartyId, message: &Message) -> Option<Vec<u8>> {
        let share = signer.handle_nonce(&self.keys[&me], message.0, &message.1).expect("honest");
        let mut buffer = [0; MAX_MESSAGE];
        share.map(|share| share.encode(&mut buffer).expect("room").to_vec())
    }
    fn combiner(&self, salts: &[(PartyId, Salt)]) -> Self::Combiner {
        let key = &self.keys[&self.terms.coordinator];
        schnorr::Combiner::of_member(key, &self.public, self.terms, salts).expect("terms hold")
    }
    fn take(&self, combiner: &mut Self::Combiner, message: &Message, share: bool) -> bool {
        let (from, bytes) = message;
        let taken = match share {
            true => combiner.handle_share(*from, bytes),
            false => combiner.handle_nonce(*from, bytes),
        };
        taken.expect("honest").is_some()
    }
}
