//! A group that is known when the program runs sends, keeps and signs the same bytes as a curve's own group, and
//! refuses what that has no type for.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "also outside of test functions, a failing test may stop"
)]

#[path = "any_group/frost_mode.rs"]
mod frost_mode;
#[path = "any_group/mixed.rs"]
mod mixed;
#[path = "any_group/refusals.rs"]
mod refusals;

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use quorate_core::curve::{
    AnyGroup, EcdsaGroup, Ed25519, Fixed, Group as CurveGroup, SchnorrGroup, SchnorrSecp256k1,
    Secp256k1, Suite,
};
use quorate_core::derive::Derivation;
use quorate_core::dkg::Dkg;
use quorate_core::key::{Confirmation, KeyTerms, PublicKey};
use quorate_core::nonce::{Failure, SignError};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::{Tweak, verification_key};
use quorate_core::session::{Abort, Fault, Protocol};
use quorate_core::wire;
use quorate_tests::judge::{accepts, accepts_bip340, accepts_ed25519};
use quorate_tests::simulator::forge::{
    self, Deal, Nonce, Response, Share, changed, kind, resigned,
};
use quorate_tests::simulator::schnorr::terms_of;
use quorate_tests::simulator::*;

const MESSAGE: &[u8] = b"what all of them sign";

fn honest(packet: Packet) -> Vec<Packet> {
    vec![packet]
}

fn calm(seed: u64) -> Network {
    Network::new(seed, Weather { reorder: true, ..Weather::default() })
}

fn set(numbers: &[u16]) -> PartySet {
    numbers.iter().copied().map(id).collect()
}

/// All packets in the order in which they left.
type Sent = Vec<(PartyId, PartyId, Vec<u8>)>;

fn sent(network: Network) -> Sent {
    network.sent.into_iter().map(|packet| (packet.from, packet.to, packet.bytes)).collect()
}

/// What one party keeps.
type Kept = (PublicKey<N>, Vec<u8>, Confirmation<N, K>);
/// What a key generation gives: all packets, what its parties keep, why they abort, and their evidence.
type Made = (Sent, Vec<(PartyId, Kept)>, Vec<(PartyId, Abort)>, Vec<(PartyId, Vec<u8>)>);

fn made<C: CurveGroup>(
    terms: &KeyTerms,
    mut network: Network,
    adversary: fn(Packet) -> Packet,
) -> Made {
    let done = generate_on::<C>(terms, 3, &mut network, &mut |packet| vec![adversary(packet)]);
    let kept = |stored: Stored<C>| (stored.public, stored.sealed, stored.confirmation);
    let kept = done.finished.into_iter().map(|(me, stored)| (me, kept(stored))).collect();
    let mut buffer = vec![0; Dkg::<C, N, K>::MAX_EVIDENCE];
    let evidence = done.evidence.into_iter();
    let evidence = evidence.map(|(me, all)| (me, all.encode(&mut buffer).unwrap().to_vec()));
    (sent(network), kept, done.aborted.into_iter().collect(), evidence.collect())
}

/// The same records, for parties of another group.
fn known_by<D: CurveGroup, C>(group: &Group<C>) -> Group<D> {
    let again = |stored: &Stored<C>, me| {
        let record = wire::decode(&stored.sealed).unwrap();
        Stored::new(me, stored.public.clone(), &record)
    };
    group.iter().map(|(me, stored)| (*me, again(stored, *me))).collect()
}

#[test]
fn a_key_generation_sends_and_keeps_the_same_bytes() {
    fn does<G: Fixed, Maker: CurveGroup>() {
        for (n, t) in [(3, 2), (4, 2), (7, 3), (11, 5)] {
            let terms = terms_on::<G>(PartySet::first(n), t, 3).unwrap();
            let own = made::<Maker>(&terms, calm(3), |packet| packet);
            assert_eq!(own.1.len(), usize::from(n), "{:?}", own.2);
            assert!(made::<AnyGroup>(&terms, calm(3), |packet| packet) == own, "{n} {t}");
        }
    }
    does::<Secp256k1, Secp256k1>();
    does::<SchnorrSecp256k1, SchnorrSecp256k1>();
    // With the group of ECDSA a chip makes BIP-340 keys too.
    does::<SchnorrSecp256k1, Secp256k1>();
    does::<Ed25519, Ed25519>();
}

#[test]
fn a_key_generation_that_fails_sends_the_same_bytes_and_names_the_same_culprit() {
    fn does<G: Fixed>() {
        let terms = terms_on::<G>(PartySet::first(4), 2, 3).unwrap();
        let bad_share: fn(Packet) -> Packet = |packet| {
            let is_dealt = kind(&packet) == Some((Protocol::Dkg, 3)) && packet.from == id(2);
            match is_dealt && packet.to == id(4) {
                true => resigned(packet, |deal: &mut Deal| deal.share[31] ^= 1),
                false => packet,
            }
        };
        let bad_point: fn(Packet) -> Packet =
            |packet| match kind(&packet) == Some((Protocol::Dkg, 2)) && packet.from == id(2) {
                true => resigned(packet, |open: &mut forge::Open| open.proof[31] ^= 1),
                false => packet,
            };
        for (adversary, fault) in
            [(bad_share, Fault::BadShare), (bad_point, Fault::ProofOfPossession)]
        {
            let own = made::<G>(&terms, calm(3), adversary);
            let culprit = Abort::Culprit(id(2), fault);
            assert!(own.2.contains(&(id(4), culprit)), "{:?}", own.2);
            assert!(made::<AnyGroup>(&terms, calm(3), adversary) == own, "{fault:?}");
        }
    }
    does::<Secp256k1>();
    does::<SchnorrSecp256k1>();
    does::<Ed25519>();
}

/// How a signing session ended, with all that was sent.
#[derive(Debug, PartialEq)]
struct Ended<T> {
    sent: Sent,
    signature: Option<T>,
    failed: Option<Abort>,
    aborted: Vec<(PartyId, Abort)>,
    not_started: Vec<(PartyId, SignError)>,
    refused: Vec<(PartyId, PartyId, Failure)>,
}

fn ended<T>(network: Network, done: session::Signing<T>) -> Ended<T> {
    assert!(done.unopened.is_empty(), "{:?}", done.unopened);
    Ended {
        sent: sent(network),
        signature: done.signature,
        failed: done.failed,
        aborted: done.aborted.into_iter().collect(),
        not_started: done.not_started.into_iter().collect(),
        refused: done.refused,
    }
}

fn ecdsa_session<C: EcdsaGroup>(
    group: &Group<C>,
    (derivation, quorum): (Derivation, PartySet),
    seed: u64,
    adversary: fn(Packet) -> Vec<Packet>,
) -> Ended<quorate_core::ecdsa::Signature> {
    let mut network = calm(seed);
    let digest = [seed as u8 + 1; 32];
    let done =
        sign_derived(group, derivation, quorum, digest, seed, &mut network, &mut { adversary });
    ended(network, done)
}

fn schnorr_session<C: SchnorrGroup>(
    group: &Group<C>,
    (derivation, tweak): (Derivation, Tweak),
    quorum: PartySet,
    seed: u64,
    adversary: fn(Packet) -> Vec<Packet>,
) -> Ended<quorate_core::schnorr::Signature> {
    let mut network = calm(seed);
    let (mut terms, salts) = terms_of(quorum, MESSAGE, tweak, seed);
    terms.derivation = derivation;
    let done = schnorr::sign::<C>(group, &(terms, salts), &mut network, &mut { adversary });
    ended(network, done)
}

fn path(text: &str) -> Derivation {
    Derivation::Path(text.parse().unwrap())
}

fn context(text: &str) -> Derivation {
    Derivation::Context(text.parse().unwrap())
}

#[test]
fn an_ecdsa_session_sends_the_same_bytes_and_gives_the_same_signature() {
    let own = group_on::<Secp256k1>(PartySet::first(7), 3, 1);
    let any = known_by::<AnyGroup, _>(&own);
    let root = own[&id(1)].public.extended::<Secp256k1>().unwrap();
    let (mut odd, quorum) = ([0, 0], set(&[1, 3, 4, 6, 7]));
    for derivation in [Derivation::Root, path("m/0/5"), context("device 1")] {
        let key = root.derive(&derivation).unwrap().encoded().0;
        for seed in 0..6 {
            let expected = ecdsa_session(&own, (derivation, quorum), seed, honest);
            let signature = expected.signature.unwrap();
            accepts(&key, [seed as u8 + 1; 32], &signature).unwrap();
            odd[usize::from(signature.recovery_id & 1)] += 1;
            assert_eq!(ecdsa_session(&any, (derivation, quorum), seed, honest), expected);
        }
    }
    assert!(odd[0] > 0 && odd[1] > 0, "{odd:?}");
}

/// The key that verifiers of a derived and tweaked key know.
fn name_of<G: SchnorrGroup + Fixed>(
    group: &Group<G>,
    derivation: &Derivation,
    tweak: &Tweak,
) -> [u8; 32] {
    let root = group.values().next().unwrap().public.extended::<G>().unwrap();
    verification_key::<G>(root.derive(derivation).unwrap().encoded(), tweak).unwrap()
}

type Judge = fn(&[u8; 32], &[u8], &[u8; 64]) -> Result<(), String>;

fn schnorr_is_the_same<G: SchnorrGroup + Fixed>(
    accepts: Judge,
    derivations: &[Derivation],
    tweaks: &[Tweak],
) {
    for key_seed in 1..4 {
        let own = group_on::<G>(PartySet::first(4), 2, key_seed);
        let any = known_by::<AnyGroup, _>(&own);
        for (derivation, tweak) in
            derivations.iter().flat_map(|one| tweaks.iter().map(move |tweak| (*one, *tweak)))
        {
            let key = name_of(&own, &derivation, &tweak);
            for (seed, quorum) in (0..).zip([[1, 2, 3], [1, 3, 4], [2, 3, 4]]) {
                let (what, quorum) = ((derivation, tweak), set(&quorum));
                let expected = schnorr_session(&own, what, quorum, seed, honest);
                accepts(&key, MESSAGE, &expected.signature.unwrap().0).unwrap();
                assert_eq!(schnorr_session(&any, what, quorum, seed, honest), expected);
            }
        }
    }
}

#[test]
fn a_bip_340_session_sends_the_same_bytes_and_gives_the_same_signature() {
    let tweaks = [None, Some([5; 32])].map(|merkle_root| Tweak::Taproot { merkle_root });
    let derivations = [Derivation::Root, path("m/3/1"), context("wallet")];
    let tweaks = [Tweak::None, tweaks[0], tweaks[1]];
    schnorr_is_the_same::<SchnorrSecp256k1>(accepts_bip340, &derivations, &tweaks);
}

#[test]
fn an_ed25519_session_sends_the_same_bytes_and_gives_the_same_signature() {
    let derivations = [Derivation::Root, context("wallet")];
    schnorr_is_the_same::<Ed25519>(accepts_ed25519, &derivations, &[Tweak::None]);
}

#[test]
fn ed25519_keys_have_neither_paths_nor_taproot_tweaks() {
    let own = group_on::<Ed25519>(PartySet::first(3), 2, 1);
    let any = known_by::<AnyGroup, _>(&own);
    let taproot = Tweak::Taproot { merkle_root: None };
    for what in [(path("m/0"), Tweak::None), (Derivation::Root, taproot)] {
        let expected = schnorr_session(&own, what, PartySet::first(3), 1, honest);
        assert_eq!(expected.not_started.len(), 3);
        assert_eq!(schnorr_session(&any, what, PartySet::first(3), 1, honest), expected);
    }
}

#[test]
fn whoever_sends_a_wrong_share_is_named_alike() {
    fn is_named<G: SchnorrGroup + Fixed>() {
        let own = group_on::<G>(PartySet::first(4), 2, 2);
        let any = known_by::<AnyGroup, _>(&own);
        let lie: fn(Packet) -> Vec<Packet> =
            |packet| match kind(&packet) == Some((Protocol::Schnorr, 2)) && packet.from == id(3) {
                true => vec![changed(packet, |share: &mut Response| share.response[31] ^= 1)],
                false => vec![packet],
            };
        for seed in 0..4 {
            let what = (Derivation::Root, Tweak::None);
            let expected = schnorr_session(&own, what, set(&[1, 3, 4]), seed, lie);
            let culprit = Abort::Culprit(id(3), Fault::BadSignatureShare);
            assert_eq!(expected.failed, Some(culprit));
            assert_eq!(schnorr_session(&any, what, set(&[1, 3, 4]), seed, lie), expected);
        }
    }
    is_named::<SchnorrSecp256k1>();
    is_named::<Ed25519>();

    let own = group_on::<Secp256k1>(PartySet::first(4), 2, 2);
    let any = known_by::<AnyGroup, _>(&own);
    let lie: fn(Packet) -> Vec<Packet> =
        |packet| match kind(&packet) == Some((Protocol::Ecdsa, 2)) && packet.from == id(3) {
            true => vec![changed(packet, |share: &mut Share| share.nu[31] ^= 1)],
            false => vec![packet],
        };
    let what = (Derivation::Root, set(&[1, 3, 4]));
    let expected = ecdsa_session(&own, what, 1, lie);
    assert_eq!(expected.failed, Some(Abort::InvalidSignature(what.1)));
    assert_eq!(ecdsa_session(&any, what, 1, lie), expected);
}

#[test]
fn a_small_order_part_in_a_nonce_vanishes_and_one_alone_is_refused() {
    // Of order 2 in R_3, which is weighed twice: it passes the degree check.
    let with_part: fn(Packet) -> Vec<Packet> = |packet| {
        if kind(&packet) != Some((Protocol::Schnorr, 1)) || packet.from != id(3) {
            return vec![packet];
        }
        vec![changed(packet, |nonce: &mut Nonce| {
            let honest = CompressedEdwardsY(nonce.point.0[1..].try_into().unwrap());
            let sum = honest.decompress().unwrap() + EIGHT_TORSION[4];
            nonce.point.0[1..].copy_from_slice(sum.compress().as_bytes());
        })]
    };
    let alone: fn(Packet) -> Vec<Packet> = |packet| {
        if kind(&packet) != Some((Protocol::Schnorr, 1)) || packet.from != id(3) {
            return vec![packet];
        }
        vec![changed(packet, |nonce: &mut Nonce| {
            nonce.point.0[1..].copy_from_slice(EIGHT_TORSION[4].compress().as_bytes());
        })]
    };
    let own = group_on::<Ed25519>(PartySet::first(5), 2, 1);
    let any = known_by::<AnyGroup, _>(&own);
    let (quorum, what) = (set(&[1, 3, 5]), (Derivation::Root, Tweak::None));
    let expected = schnorr_session(&own, what, quorum, 1, with_part);
    let key = name_of(&own, &what.0, &what.1);
    accepts_ed25519(&key, MESSAGE, &expected.signature.unwrap().0).unwrap();
    assert_eq!(schnorr_session(&any, what, quorum, 1, with_part), expected);

    let expected = schnorr_session(&own, what, quorum, 1, alone);
    let culprit = Abort::Culprit(id(3), Fault::InvalidPoint);
    assert_eq!(expected.aborted, [(id(1), culprit), (id(5), culprit)]);
    assert_eq!(schnorr_session(&any, what, quorum, 1, alone), expected);
}

/// A key of each suite, for parties that know the group when they run.
fn key_of<G: Fixed>() -> Group<AnyGroup> {
    known_by(&group_on::<G>(PartySet::first(4), 2, 4))
}

fn suite_of(group: &Group<AnyGroup>) -> Suite {
    group[&id(1)].public.terms.suite
}
