//! Members of one quorum that know their group by its type, and others that know it when they run.

use quorate_core::nonce::{self, Combine, Guard, MAX_MESSAGE, Salt, Scheme};
use quorate_core::{ecdsa, schnorr as core_schnorr};

use super::*;

type Handle = dyn FnMut(PartyId, &[u8]) -> Option<Vec<u8>>;

/// A member, whatever its group is.
struct Member {
    me: PartyId,
    nonce: Vec<u8>,
    /// A nonce message in; with the last the share comes out.
    handle: Box<Handle>,
}

/// By a signer that `start` makes of the party's key.
fn member<P: Scheme<Group: CurveGroup> + 'static>(
    group: &Group<P::Group>,
    me: PartyId,
    start: impl FnOnce(
        &quorate_core::key::OpenedKey<P::Group, N, K>,
    ) -> Result<nonce::Signer<P, S>, SignError>,
) -> Member {
    let key = group[&me].open(me).unwrap();
    let mut signer = start(&key).unwrap();
    let nonce = signer.nonce_message(&mut [0; MAX_MESSAGE]).unwrap().to_vec();
    let handle = move |from, bytes: &[u8]| {
        let share = signer.handle_nonce(&key, from, bytes).unwrap()?;
        Some(share.encode(&mut [0; MAX_MESSAGE]).unwrap().to_vec())
    };
    Member { me, nonce, handle: Box::new(handle) }
}

/// Everybody hears everybody.
fn together<C: Combine>(
    mut members: Vec<Member>,
    mut combiner: nonce::Combiner<C, S>,
) -> C::Signature {
    let nonces: Vec<_> = members.iter().map(|member| (member.me, member.nonce.clone())).collect();
    let mut signature = None;
    for (from, bytes) in &nonces {
        assert!(combiner.handle_nonce(*from, bytes).unwrap().is_none());
    }
    for Member { me, handle, .. } in &mut members {
        let others = nonces.iter().filter(|(from, _)| from != me);
        let share = others.filter_map(|(from, bytes)| handle(*from, bytes)).last();
        signature = combiner.handle_share(*me, &share.unwrap()).unwrap();
    }
    signature.unwrap()
}

fn salts(quorum: PartySet, seed: u64) -> Vec<(PartyId, Salt)> {
    quorum.iter().map(|me| (me, salt_of(me, seed))).collect()
}

/// Whether `me` knows its group by its type alone: every second, or every other second.
fn is_own(me: PartyId, seed: u64) -> bool {
    (u64::from(me.number()) + seed).is_multiple_of(2)
}

#[test]
fn a_mixed_quorum_signs_with_ecdsa() {
    let own = group_on::<Secp256k1>(PartySet::first(7), 3, 5);
    let any = known_by::<AnyGroup, _>(&own);
    let root = own[&id(1)].public.extended::<Secp256k1>().unwrap();
    let quorum = set(&[1, 2, 4, 5, 6]);
    for (seed, derivation) in (0..).zip([Derivation::Root, path("m/1"), context("a"), path("m/2")])
    {
        let (coordinator, digest) = (id(2), [seed as u8 + 1; 32]);
        let terms = ecdsa::SignTerms { quorum, coordinator, derivation, digest };
        let salts = salts(quorum, seed);
        let members = quorum.iter().map(|me| {
            let salt = salt_of(me, seed);
            if is_own(me, seed) {
                member(&own, me, |key| ecdsa::Signer::new(key, terms, &salts, &salt))
            } else {
                let guard = Guard::Recompute;
                member(&any, me, |key| ecdsa::Signer::guarded(key, terms, &salts, &salt, guard))
            }
        });
        let (members, public) = (members.collect(), &own[&id(3)].public);
        let signature = if seed < 2 {
            together(members, ecdsa::Combiner::<Secp256k1, S>::new(public, terms, &salts).unwrap())
        } else {
            together(members, ecdsa::Combiner::<AnyGroup, S>::new(public, terms, &salts).unwrap())
        };
        let key = root.derive(&derivation).unwrap().encoded().0;
        accepts(&key, digest, &signature).unwrap();
    }
}

fn schnorr_in_a_mixed_quorum<G: SchnorrGroup + Fixed>(
    accepts: Judge,
    whats: [(Derivation, Tweak); 4],
) {
    type Combiner<G> = core_schnorr::Combiner<G, Vec<u8>, S>;

    let own = group_on::<G>(PartySet::first(7), 3, 5);
    let any = known_by::<AnyGroup, _>(&own);
    let quorum = set(&[1, 2, 4, 5, 6]);
    for (seed, (derivation, tweak)) in (0..).zip(whats) {
        let (mut terms, salts) = terms_of(quorum, MESSAGE, tweak, seed);
        terms.derivation = derivation;
        let members = quorum.iter().map(|me| {
            let (salt, terms) = (salt_of(me, seed), terms.clone());
            if is_own(me, seed) {
                member(&own, me, |key| core_schnorr::Signer::new(key, terms, &salts, &salt))
            } else {
                let guard = Guard::Recompute;
                member(&any, me, |key| {
                    core_schnorr::Signer::guarded(key, terms, &salts, &salt, guard)
                })
            }
        });
        let (members, public) = (members.collect(), &own[&id(3)].public);
        let signature = if seed < 2 {
            together(members, Combiner::<G>::new(public, terms, &salts).unwrap())
        } else {
            together(members, Combiner::<AnyGroup>::new(public, terms, &salts).unwrap())
        };
        accepts(&name_of(&own, &derivation, &tweak), MESSAGE, &signature.0).unwrap();
    }
}

#[test]
fn a_mixed_quorum_signs_with_bip_340() {
    let taproot = Tweak::Taproot { merkle_root: Some([1; 32]) };
    schnorr_in_a_mixed_quorum::<SchnorrSecp256k1>(
        accepts_bip340,
        [
            (Derivation::Root, Tweak::None),
            (path("m/1/2"), taproot),
            (context("a"), Tweak::None),
            (Derivation::Root, taproot),
        ],
    );
}

#[test]
fn a_mixed_quorum_signs_with_ed25519() {
    let plain = |derivation| (derivation, Tweak::None);
    schnorr_in_a_mixed_quorum::<Ed25519>(
        accepts_ed25519,
        [Derivation::Root, context("a"), Derivation::Root, context("b")].map(plain),
    );
}
