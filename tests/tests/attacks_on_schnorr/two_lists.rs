//! Why the degree check and the binding of R_j to D0 are there: two lists of R_j under one k_i give
//! away x_i. Shown with a signer of the test's own that checks nothing, then refused by the real one.

use quorate_core::curve::{Ed25519, Fixed, SchnorrGroup, SchnorrSecp256k1};
use quorate_core::hash::{Digest, Transcript};
use quorate_core::key::{OpenedKey, ShareRecord};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::{Failure, MAX_MESSAGE, SignTerms, SignatureShare, Signer, Tweak};
use quorate_core::session::{Abort, Refusal};
use quorate_core::vss;
use quorate_core::wire;
use quorate_tests::simulator::forge::{Nonce, Response, bytes_of, kind, parse};
use quorate_tests::simulator::schnorr::{sign, terms_of};
use quorate_tests::simulator::*;

use super::{MESSAGE, NONCE, SEEDS, doubled, key, quorum, stormy};

/// R by its name and whether it is negated, from what was sent; without any check.
pub(crate) fn value_at_zero<G: SchnorrGroup + Fixed>(sent: &[Packet]) -> ([u8; 32], bool) {
    let nonces = sent.iter().filter(|packet| kind(packet) == Some(NONCE));
    let list: Vec<Nonce> = nonces.map(|packet| parse(&packet.bytes)).collect();
    name_of::<G>(&list)
}

/// Σ L_j·R_j over one R_j of every member.
fn name_of<G: SchnorrGroup + Fixed>(list: &[Nonce]) -> ([u8; 32], bool) {
    let sum = quorum().iter().fold(G::default().identity(), |sum, party| {
        let nonce = list.iter().find(|nonce| nonce.header.from == party).unwrap();
        let point = G::default().nonce_from_bytes(&nonce.point).unwrap();
        sum + G::mul(&point, &vss::lagrange(G::default(), quorum(), party))
    });
    G::name(&G::clear_cofactor(&sum)).unwrap()
}

/// x_i and k_i of a party, from its own secrets.
fn secrets<G: SchnorrGroup + Fixed>(
    group: &Group<G>,
    party: PartyId,
    inputs: &Digest,
) -> (G::Scalar, G::Scalar) {
    let stored = &group[&party];
    let record: ShareRecord<N, K> = wire::decode(&stored.sealed).unwrap();
    let holders = stored.public.terms.holders;
    let inverses = vss::inverses::<_, N>(G::default(), holders.parties());
    let keys = holders.nonce_sets_of(party).zip(&record.nonce_keys);
    let nonce = keys.fold(G::default().zero(), |sum, (set, key)| {
        let prf = Transcript::new("prss-prf").bytes(key.expose()).bytes(b"k").bytes(inputs);
        let weight = vss::nonce_weight(G::default(), &inverses, set, party);
        sum + G::default().scalar_from_wide(&prf.wide()) * weight
    });
    (G::default().scalar_from_bytes(record.share.expose()).unwrap(), nonce)
}

/// What party 2 would answer to a list if it did not check it: z, c, and whether k counts negatively.
/// The sign of x is public too, and left to the key's parity.
fn unchecked<G: SchnorrGroup + Fixed>(
    group: &Group<G>,
    party: PartyId,
    list: &[Nonce],
) -> (G::Scalar, G::Scalar, bool) {
    let (x, k) = secrets::<G>(group, party, &list[0].header.session);
    let own = list.iter().find(|nonce| nonce.header.from == party).unwrap();
    assert_eq!(G::point_to_bytes(&G::mul_base(&k)), Some(own.point), "k_i is what R_i says");
    let group_key = group[&party].public.points::<G>().unwrap()[0];
    let (key, odd) = G::name(&group_key).unwrap();
    let (nonce, negated) = name_of::<G>(list);
    let c = G::default().challenge(&nonce, &key, MESSAGE);
    let k = k * G::default().number(G::default().cofactor());
    let z = if negated { -k } else { k } + c * if odd { -x } else { x };
    (z, c, negated)
}

/// y_i from two answers: ±z = k ± c·y.
fn extracted<G: SchnorrGroup + Fixed>(
    one: (G::Scalar, G::Scalar, bool),
    two: (G::Scalar, G::Scalar, bool),
) -> G::Scalar {
    let sign = |negated: bool, scalar: G::Scalar| if negated { -scalar } else { scalar };
    let z = sign(one.2, one.0) - sign(two.2, two.0);
    let c = sign(one.2, one.1) - sign(two.2, two.1);
    z * G::invert(&c).unwrap()
}

/// The R_j of one session, by sender.
fn nonces<G: SchnorrGroup + Fixed>(group: &Group<G>, seed: u64) -> Vec<Nonce> {
    let mut network = stormy(seed);
    let shown = terms_of(quorum(), MESSAGE, Tweak::None, seed);
    sign::<G>(group, &shown, &mut network, &mut |packet| vec![packet]);
    let sent = network.sent.iter().filter(|packet| kind(packet) == Some(NONCE));
    let mut list: Vec<Nonce> = sent.map(|packet| parse(&packet.bytes)).collect();
    list.sort_by_key(|nonce| nonce.header.from);
    list.dedup_by_key(|nonce| nonce.header.from);
    assert_eq!(list.len(), 3);
    list
}

/// The real party 2, in the session of `seed`, is fed a list; as often as the attacker likes, since it
/// keeps no state: the same salts bring the same k_2 back.
fn checked<G: SchnorrGroup + Fixed>(
    group: &Group<G>,
    seed: u64,
    list: &[Nonce],
) -> Result<Option<SignatureShare>, Failure> {
    let me = id(2);
    let opened: OpenedKey<G, N, K> = group[&me].open(me).unwrap();
    let (terms, salts): (SignTerms<Vec<u8>>, _) = terms_of(quorum(), MESSAGE, Tweak::None, seed);
    let mut signer = Signer::<G, _, S>::new(&opened, terms, &salts, &salt_of(me, seed)).unwrap();
    let mut last = Ok(None);
    for nonce in list.iter().filter(|nonce| nonce.header.from != me) {
        last = signer.handle_nonce(&opened, nonce.header.from, &bytes_of(nonce));
        if last.is_err() {
            break;
        }
    }
    last
}

fn is_its_share<G: SchnorrGroup + Fixed>(group: &Group<G>, party: PartyId, y: G::Scalar) -> bool {
    let public = group[&party].public.party_key::<G>(party).unwrap();
    G::mul_base(&y) == public || G::mul_base(&-y) == public
}

/// Party 4 shows another R_4 the second time.
fn off_the_polynomial<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for seed in SEEDS {
        let honest = nonces::<G>(&group, seed);
        let mut forged = honest.clone();
        forged[2].point = doubled::<G>(&forged[2].point);
        // Without the checks: two shares, and the party's share of the key is plain.
        let (one, two) =
            (unchecked::<G>(&group, id(2), &honest), unchecked::<G>(&group, id(2), &forged));
        let y = extracted::<G>(one, two);
        assert!(is_its_share::<G>(&group, id(2), y), "seed {seed}");
        // With the share of party 4 itself, T = 2 of them are the key.
        let (x_4, _) = secrets::<G>(&group, id(4), &honest[0].header.session);
        let (x_2, _) = secrets::<G>(&group, id(2), &honest[0].header.session);
        assert!(y == x_2 || y == -x_2);
        let set: PartySet = [id(2), id(4)].into_iter().collect();
        let x = vss::lagrange(G::default(), set, id(2)) * x_2
            + vss::lagrange(G::default(), set, id(4)) * x_4;
        assert_eq!(Some(&G::mul_base(&x)), group[&id(2)].public.points::<G>().unwrap().first());
        // With them: the real party answers the honest list as computed by hand, and no other.
        let share = checked::<G>(&group, seed, &honest).unwrap().unwrap();
        let mut buffer = [0; MAX_MESSAGE];
        let share: Response = parse(share.encode(&mut buffer).unwrap());
        assert_eq!(share.response, G::scalar_to_bytes(&one.0), "seed {seed}");
        let off = Failure::Aborted(Abort::OffPolynomial(quorum()));
        assert_eq!(checked::<G>(&group, seed, &forged), Err(off), "seed {seed}");
    }
}

/// Party 1's honest R_1 of another session is put into this one.
fn replayed<G: SchnorrGroup + Fixed>() {
    let group = key::<G>();
    for seed in SEEDS {
        let honest = nonces::<G>(&group, seed);
        let old = nonces::<G>(&group, seed + 1000);
        let mut forged = honest.clone();
        forged[0].point = old[0].point;
        let (one, two) =
            (unchecked::<G>(&group, id(2), &honest), unchecked::<G>(&group, id(2), &forged));
        assert!(is_its_share::<G>(&group, id(2), extracted::<G>(one, two)), "seed {seed}");
        // As it was authenticated, with the D0 of its session, and with a changed label.
        forged[0].header.session = old[0].header.session;
        let other = Failure::Refused(Refusal::OtherSession);
        assert_eq!(checked::<G>(&group, seed, &forged), Err(other), "seed {seed}");
        forged[0].header.session = honest[0].header.session;
        let off = Failure::Aborted(Abort::OffPolynomial(quorum()));
        assert_eq!(checked::<G>(&group, seed, &forged), Err(off), "seed {seed}");
    }
}

#[test]
fn two_lists_of_nonce_points_under_one_nonce_give_away_the_share_and_are_refused() {
    off_the_polynomial::<SchnorrSecp256k1>();
    off_the_polynomial::<Ed25519>();
}

#[test]
fn a_nonce_point_replayed_from_other_inputs_gives_away_the_share_and_is_refused() {
    replayed::<SchnorrSecp256k1>();
    replayed::<Ed25519>();
}
