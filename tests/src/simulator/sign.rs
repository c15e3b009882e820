//! An ECDSA signature among simulated parties.

use quorate_core::curve::EcdsaGroup;
use quorate_core::derive::Derivation;
use quorate_core::ecdsa::{self, Combiner, Salt, SignError, SignTerms, Signer};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};

use super::session::{self, drive, salt_of};
use super::{Adversary, Group, Network, S};

/// How a signing session ended.
pub type Signing = session::Signing<ecdsa::Signature>;

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
    let terms = SignTerms { quorum, coordinator, derivation, digest };
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
    let (terms, salts) = shown(coordinator);
    let combiner = match group.values().next() {
        Some(stored) => Combiner::<C, S>::new(&stored.public, terms, &salts),
        None => Err(SignError::NotAHolder),
    };
    let start = |me, key: &_| {
        let (terms, salts) = shown(me);
        Signer::<C, S>::new(key, terms, &salts, &own(me))
    };
    drive(group, (terms.quorum, coordinator), combiner, &start, network, adversary)
}
