//! A Schnorr signature among simulated parties.

use std::collections::BTreeMap;

use quorate_core::curve::SchnorrGroup;
use quorate_core::derive::Derivation;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::{Combiner, Salt, SignError, SignTerms, Signature, Signer, Tweak};

use super::session::{self, drive, salt_of};
use super::{Adversary, Group, Network, S};

/// Terms as the simulated parties hold them.
pub type Terms = SignTerms<Vec<u8>>;

/// How a signing session ended.
pub type Signing = session::Signing<Signature>;

/// The terms that an honest coordinator, the first member, shows to all, and the salts of `seed`.
#[must_use]
pub fn terms_of(
    quorum: PartySet,
    message: &[u8],
    tweak: Tweak,
    seed: u64,
) -> (Terms, Vec<(PartyId, Salt)>) {
    let coordinator = quorum.iter().next().unwrap_or_else(|| super::id(1));
    let derivation = Derivation::Root;
    let terms = SignTerms { quorum, coordinator, derivation, tweak, message: message.to_vec() };
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
    let (terms, salts) = shown(coordinator);
    let quorum = terms.quorum;
    let own: BTreeMap<PartyId, Salt> = salts.iter().copied().collect();
    let combiner = match group.values().next() {
        Some(stored) => Combiner::<G, _, S>::new(&stored.public, terms, &salts),
        None => Err(SignError::NotAHolder),
    };
    let start = |me: PartyId, key: &_| {
        let (terms, salts) = shown(me);
        Signer::<G, _, S>::new(key, terms, &salts, own.get(&me).unwrap_or(&[0; 32]))
    };
    drive(group, (quorum, coordinator), combiner, &start, network, adversary)
}
