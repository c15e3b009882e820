//! A signature among simulated parties.

use std::collections::BTreeMap;

use quorate_core::curve::EcdsaGroup;
use quorate_core::derive::Derivation;
use quorate_core::ecdsa::{
    Combiner, Failure, MAX_MESSAGE, Salt, SignError, SignTerms, Signature, Signer,
};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::session::Abort;

use super::{Adversary, Group, Network, Packet, S};

/// How a signing session ended.
#[derive(Default)]
pub struct Signing {
    /// The verified signature, if the coordinator has one.
    pub signature: Option<Signature>,
    /// Who aborted, and why; the coordinator's combiner under its own key.
    pub aborted: BTreeMap<PartyId, Abort>,
    /// Whose key does not open, and why.
    pub unopened: BTreeMap<PartyId, String>,
    /// Who refused to start.
    pub not_started: BTreeMap<PartyId, SignError>,
    /// Messages that were dropped, by receiver and sender.
    pub refused: Vec<(PartyId, PartyId, Failure)>,
}

/// A salt for tests.
#[must_use]
pub fn salt_of(party: PartyId, seed: u64) -> Salt {
    let mut salt = [party.number() as u8; 32];
    salt[..8].copy_from_slice(&seed.to_be_bytes());
    salt
}

/// One session in which every member is shown the same terms.
pub fn sign<C: EcdsaGroup>(
    group: &Group<C>,
    quorum: PartySet,
    digest: Digest,
    seed: u64,
    network: &mut Network,
    adversary: &mut Adversary<'_>,
) -> Signing {
    sign_derived(group, Derivation::Root, quorum, digest, seed, network, adversary)
}

/// [`sign`] with a derived key.
pub fn sign_derived<C: EcdsaGroup>(
    group: &Group<C>,
    derivation: Derivation,
    quorum: PartySet,
    digest: Digest,
    seed: u64,
    network: &mut Network,
    adversary: &mut Adversary<'_>,
) -> Signing {
    let coordinator = quorum.iter().next().unwrap_or_else(|| super::id(1));
    let session = super::generate::session_of(seed);
    let terms = SignTerms { session, quorum, coordinator, derivation, digest };
    let salts: Vec<(PartyId, Salt)> = quorum.iter().map(|id| (id, salt_of(id, seed))).collect();
    sign_with(group, coordinator, &|_| (terms, salts.clone()), seed, network, adversary)
}

/// One session in which a lying coordinator may show each member other terms and salts.
pub fn sign_with<C: EcdsaGroup>(
    group: &Group<C>,
    coordinator: PartyId,
    shown: &dyn Fn(PartyId) -> (SignTerms, Vec<(PartyId, Salt)>),
    seed: u64,
    network: &mut Network,
    adversary: &mut Adversary<'_>,
) -> Signing {
    sign_with_salts(group, coordinator, shown, &|me| salt_of(me, seed), network, adversary)
}

/// [`sign_with`], where `own` says which salt a party remembers to have given.
pub fn sign_with_salts<C: EcdsaGroup>(
    group: &Group<C>,
    coordinator: PartyId,
    shown: &dyn Fn(PartyId) -> (SignTerms, Vec<(PartyId, Salt)>),
    own: &dyn Fn(PartyId) -> Salt,
    network: &mut Network,
    adversary: &mut Adversary<'_>,
) -> Signing {
    let mut result = Signing::default();
    let (terms, _) = shown(coordinator);
    let mut signers = BTreeMap::new();
    let mut combiner = None;
    for me in terms.quorum.iter() {
        let Some(stored) = group.get(&me) else { continue };
        let key = match stored.open(me) {
            Ok(key) => key,
            Err(error) => {
                result.unopened.insert(me, error);
                continue;
            }
        };
        if combiner.is_none() {
            combiner = Combiner::<C, S>::new(&key.terms().holders, &key.extended(), terms)
                .map_err(|error| result.not_started.insert(coordinator, error))
                .ok();
        }
        let (terms, salts) = shown(me);
        match Signer::<C, S>::new(&key, terms, &salts, &own(me)) {
            Ok(signer) => {
                signers.insert(me, (key, signer));
            }
            Err(error) => {
                result.not_started.insert(me, error);
            }
        }
    }
    let mut buffer = [0; MAX_MESSAGE];
    for (me, (_, signer)) in &signers {
        let Ok(bytes) = signer.nonce_message(&mut buffer) else { continue };
        for to in terms.quorum.without(*me).iter() {
            network.send(Packet { from: *me, to, bytes: bytes.to_vec() }, adversary);
        }
    }
    while let Some(packet) = network.next_packet() {
        let is_share =
            quorate_core::session::Header::peek(&packet.bytes).is_ok_and(|h| h.round == 2);
        let failure = if is_share && packet.to == coordinator {
            let Some(combiner) = &mut combiner else { continue };
            match combiner.handle_share(packet.from, &packet.bytes) {
                Ok(signature) => {
                    result.signature = result.signature.or(signature);
                    continue;
                }
                Err(failure) => failure,
            }
        } else {
            let Some((key, signer)) = signers.get_mut(&packet.to) else { continue };
            match signer.handle_nonce(key, packet.from, &packet.bytes) {
                Ok(Some(share)) => {
                    let Ok(bytes) = share.encode(&mut buffer) else { continue };
                    let packet = Packet { from: packet.to, to: coordinator, bytes: bytes.to_vec() };
                    network.send(packet, adversary);
                    continue;
                }
                Ok(None) => continue,
                Err(failure) => failure,
            }
        };
        match failure {
            Failure::Aborted(abort) => {
                result.aborted.insert(packet.to, abort);
            }
            refused => result.refused.push((packet.to, packet.from, refused)),
        }
    }
    result
}
