//! A Schnorr signature among simulated parties.

use std::collections::BTreeMap;

use quorate_core::curve::SchnorrGroup;
use quorate_core::key::OpenedKey;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::{
    Combiner, Failure, MAX_MESSAGE, Salt, SignError, SignTerms, Signature, Signer, Tweak,
};
use quorate_core::session::{Abort, Header};

use super::{Adversary, Group, K, N, Network, Packet, S, salt_of};

/// Terms as the simulated parties hold them.
pub type Terms = SignTerms<Vec<u8>>;

/// How a signing session ended.
#[derive(Default)]
pub struct Signing {
    /// The verified signature, if the coordinator has one.
    pub signature: Option<Signature>,
    /// Which members aborted, and why.
    pub aborted: BTreeMap<PartyId, Abort>,
    /// Why the coordinator gave up.
    pub failed: Option<Abort>,
    /// Whose key does not open, and why.
    pub unopened: BTreeMap<PartyId, String>,
    /// Who refused to start.
    pub not_started: BTreeMap<PartyId, SignError>,
    /// Messages that were dropped, by receiver and sender.
    pub refused: Vec<(PartyId, PartyId, Failure)>,
}

/// The terms that an honest coordinator, the first member, shows to all, and the salts of `seed`.
#[must_use]
pub fn terms_of(
    quorum: PartySet,
    message: &[u8],
    tweak: Tweak,
    seed: u64,
) -> (Terms, Vec<(PartyId, Salt)>) {
    let coordinator = quorum.iter().next().unwrap_or_else(|| super::id(1));
    let session = super::session_of(seed);
    let terms = SignTerms { session, quorum, coordinator, tweak, message: message.to_vec() };
    (terms, quorum.iter().map(|id| (id, salt_of(id, seed))).collect())
}

/// One session in which every member is shown the same terms.
pub fn sign<G: SchnorrGroup>(
    group: &Group<G>,
    shown: &(Terms, Vec<(PartyId, Salt)>),
    network: &mut Network,
    adversary: &mut Adversary<'_>,
) -> Signing {
    let coordinator = shown.0.coordinator;
    sign_with::<G>(group, coordinator, &|_| shown.clone(), network, adversary)
}

/// One session in which a lying coordinator may show each member other terms and salts; a party
/// remembers the salt that the honest terms give it.
pub fn sign_with<G: SchnorrGroup>(
    group: &Group<G>,
    coordinator: PartyId,
    shown: &dyn Fn(PartyId) -> (Terms, Vec<(PartyId, Salt)>),
    network: &mut Network,
    adversary: &mut Adversary<'_>,
) -> Signing {
    let mut result = Signing::default();
    let (terms, salts) = shown(coordinator);
    let quorum = terms.quorum;
    let own: BTreeMap<PartyId, Salt> = salts.iter().copied().collect();
    let mut combiner = None;
    if let Some(stored) = group.values().next() {
        match Combiner::<G, _, S>::new(&stored.public, terms, &salts) {
            Ok(made) => combiner = Some(made),
            Err(error) => drop(result.not_started.insert(coordinator, error)),
        }
    }
    let mut signers = BTreeMap::new();
    for me in quorum.iter() {
        let Some(stored) = group.get(&me) else { continue };
        let key: OpenedKey<G, N, K> = match stored.open(me) {
            Ok(key) => key,
            Err(error) => {
                result.unopened.insert(me, error);
                continue;
            }
        };
        let (terms, salts) = shown(me);
        match Signer::<G, _, S>::new(&key, terms, &salts, own.get(&me).unwrap_or(&[0; 32])) {
            Ok(signer) => drop(signers.insert(me, (key, signer))),
            Err(error) => drop(result.not_started.insert(me, error)),
        }
    }
    let mut buffer = [0; MAX_MESSAGE];
    for (me, (_, signer)) in &signers {
        let Ok(bytes) = signer.nonce_message(&mut buffer) else { continue };
        for to in quorum.without(*me).with(coordinator).iter() {
            network.send(Packet { from: *me, to, bytes: bytes.to_vec() }, adversary);
        }
    }
    while let Some(Packet { from, to, bytes }) = network.next_packet() {
        let is_share = Header::peek(&bytes).is_ok_and(|header| header.round == 2);
        if let Some(combiner) = combiner.as_mut().filter(|_| to == coordinator) {
            let taken = match is_share {
                true => combiner.handle_share(from, &bytes),
                false => combiner.handle_nonce(from, &bytes),
            };
            match taken {
                Ok(signature) => result.signature = result.signature.or(signature),
                Err(Failure::Aborted(abort)) => result.failed = Some(abort),
                Err(refused) => result.refused.push((to, from, refused)),
            }
        }
        let Some((key, signer)) = signers.get_mut(&to) else { continue };
        // What the coordinator's combiner took is not for its signer too.
        if to == coordinator && (is_share || from == to) {
            continue;
        }
        match signer.handle_nonce(key, from, &bytes) {
            Ok(Some(share)) => {
                let Ok(bytes) = share.encode(&mut buffer) else { continue };
                let packet = Packet { from: to, to: coordinator, bytes: bytes.to_vec() };
                network.send(packet, adversary);
            }
            Ok(None) => {}
            Err(Failure::Aborted(abort)) => drop(result.aborted.insert(to, abort)),
            Err(refused) => result.refused.push((to, from, refused)),
        }
    }
    result
}
