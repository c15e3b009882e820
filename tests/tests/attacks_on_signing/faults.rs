//! Attacks through a machine that computes wrongly, and through a wrong r: shown with a group that has
//! faults, and refused.

use quorate_core::curve::{Group as _, PointBytes, Secp256k1};
use quorate_core::ecdsa::{
    Failure, Guard, MAX_MESSAGE, SignError, Signature, SignatureShare, Signer,
};
use quorate_core::key::OpenedKey;
use quorate_core::session::{Abort, Refusal};
use quorate_core::vss;
use quorate_tests::glitched::{Glitch, Glitched, arm};
use quorate_tests::judge::accepts;
use quorate_tests::simulator::forge::{Nonce, Share, changed, kind, parse};
use quorate_tests::simulator::*;

use super::{DIGEST, NONCE, SEEDS, SHARE, attacked, is, quorum, shown, stormy};

type Key = OpenedKey<Glitched, N, K>;

fn glitched(group: &Group, party: u16) -> Key {
    let stored = &group[&id(party)];
    let record = quorate_core::wire::decode(&stored.sealed).unwrap();
    OpenedKey::open(&stored.public, id(party), record, &stored.confirmation).unwrap()
}

fn start(key: &Key, guard: Guard) -> Result<Signer<Glitched, S>, SignError> {
    let (terms, salts) = shown(quorum(), DIGEST);
    Signer::guarded(key, terms, &salts, &salt_of(key.party(), 1), guard)
}

/// What party 2 answers to the honest R1 of the others, with a fault that is armed after its own R1.
fn answer(group: &Group, guard: Guard, glitch: Glitch) -> Result<SignatureShare, Failure> {
    let mut network = stormy(1);
    let done = sign(group, quorum(), DIGEST, 1, &mut network, &mut |packet| vec![packet]);
    assert!(done.signature.is_some());
    let key = glitched(group, 2);
    let mut signer = start(&key, guard).unwrap();
    arm(glitch);
    let mut last = None;
    for from in [1, 4] {
        let nonce = network.sent.iter().find(|packet| is(packet, from, NONCE)).unwrap();
        last = signer.handle_nonce(&key, id(from), &nonce.bytes)?;
    }
    arm(Glitch::None);
    Ok(last.unwrap())
}

#[test]
fn a_computation_fault_in_a_nonce_point() {
    let group = group(4, 2, 1);
    let key = glitched(&group, 2);
    // Without a guard the wrong point leaves, and nobody answers it.
    arm(Glitch::NextMulBase);
    let unguarded = start(&key, Guard::Off).unwrap();
    let mut buffer = [0; MAX_MESSAGE];
    let wrong: Nonce = parse(unguarded.nonce_message(&mut buffer).unwrap());
    for seed in SEEDS {
        let (done, sent) = attacked(&group, 1, &mut |packet| {
            let lie = is(&packet, 2, NONCE);
            vec![if lie { changed(packet, |n: &mut Nonce| n.point = wrong.point) } else { packet }]
        });
        assert_eq!(done.aborted[&id(1)], Abort::OffPolynomial(quorum()), "seed {seed}");
        assert!(!sent.iter().any(|packet| is(packet, 1, SHARE) || is(packet, 4, SHARE)));
    }
    // With it nothing leaves: not if the point itself is hit, nor the check of it.
    arm(Glitch::NextMulBase);
    assert!(matches!(start(&key, Guard::Recompute), Err(SignError::ComputationFault)));
    arm(Glitch::None);
    let honest = start(&key, Guard::Recompute).unwrap();
    let mut buffer = [0; MAX_MESSAGE];
    let honest: Nonce = parse(honest.nonce_message(&mut buffer).unwrap());
    assert_ne!(honest.point, wrong.point);
}

#[test]
fn a_computation_fault_in_a_share() {
    let group = group(4, 2, 1);
    let other = Secp256k1.scalar_from_digest(&[5; 32]);
    let honest = answer(&group, Guard::Off, Glitch::None).unwrap();
    assert_eq!(answer(&group, Guard::Recompute, Glitch::None), Ok(honest));
    // A share for another r leaves unguarded, and is a share of a signature on another digest.
    assert_ne!(answer(&group, Guard::Off, Glitch::NextX(other)), Ok(honest));
    let fault = Err(Failure::Aborted(Abort::ComputationFault));
    assert_eq!(answer(&group, Guard::Recompute, Glitch::NextX(other)), fault);
}

#[test]
fn a_session_that_has_answered_answers_nothing_more() {
    let group = group(4, 2, 1);
    let mut network = stormy(1);
    sign(&group, quorum(), DIGEST, 1, &mut network, &mut |packet| vec![packet]);
    let (key, mut answers) = (glitched(&group, 2), 0);
    let mut signer = start(&key, Guard::Off).unwrap();
    let of = |from| network.sent.iter().find(|packet| is(packet, from, NONCE)).unwrap().clone();
    for from in [1, 4] {
        answers +=
            usize::from(signer.handle_nonce(&key, id(from), &of(from).bytes).unwrap().is_some());
    }
    assert_eq!(answers, 1);
    // The same list again, and another one.
    let other = changed(of(4), |nonce: &mut Nonce| nonce.point = super::doubled(&nonce.point));
    for packet in [of(1), of(4), other] {
        let again = signer.handle_nonce(&key, packet.from, &packet.bytes);
        assert_eq!(again, Err(Failure::Refused(Refusal::Over)));
    }
}

/// R under which the honest list of this session signs, and r.
fn value_at_zero(sent: &[Packet]) -> PointBytes {
    let sum = quorum().iter().fold(
        <Curve as quorate_core::curve::Group>::Point::default(),
        |sum, party| {
            let packet = sent.iter().find(|p| p.from == party && kind(p) == Some(NONCE)).unwrap();
            let nonce: Nonce = parse(&packet.bytes);
            let point = Curve.point_from_bytes(&nonce.point).unwrap();
            sum + Curve::mul(&point, &vss::lagrange(Curve, quorum(), party))
        },
    );
    Curve::point_to_bytes(&sum).unwrap()
}

/// If honest parties answer for an r' that is not x(R), their answer (h + r'·x)/k makes with r/r' a
/// signature (r, s·r/r') on h·r/r', which nobody asked for.
#[test]
fn the_algebraic_forgery_with_a_wrong_r() {
    use quorate_core::curve::EcdsaGroup as _;
    let group = group(4, 2, 1);
    let public = group[&id(1)].public.group_key().unwrap().0;
    // The liar wants R' instead of R.
    let wanted = Curve::mul_base(&Curve.scalar_from_digest(&[5; 32]));
    let wanted_bytes = Curve::point_to_bytes(&wanted).unwrap();
    let (wrong, _, _) = Curve.x_coordinate(&wanted_bytes);

    // Shown with signers that let themselves be told r'.
    let keys: Vec<Key> = [1, 2, 4].map(|party| glitched(&group, party)).into();
    let mut signers: Vec<_> =
        keys.iter().map(|key| (start(key, Guard::Off).unwrap(), key)).collect();
    let mut buffer = [0; MAX_MESSAGE];
    let sent: Vec<Packet> = signers
        .iter()
        .map(|(signer, key)| {
            let bytes = signer.nonce_message(&mut buffer).unwrap().to_vec();
            Packet { from: key.party(), to: id(1), bytes }
        })
        .collect();
    let (r, odd, _) = Curve.x_coordinate(&value_at_zero(&sent));
    arm(Glitch::EveryX(wrong));
    let (mut mu, mut nu) = (k256::Scalar::ZERO, k256::Scalar::ZERO);
    for (signer, key) in &mut signers {
        let mut share = None;
        for packet in sent.iter().filter(|packet| packet.from != key.party()) {
            share = signer.handle_nonce(key, packet.from, &packet.bytes).unwrap();
        }
        let share: Share = parse(share.unwrap().encode(&mut buffer).unwrap());
        let weight = vss::lagrange(Curve, quorum(), key.party());
        mu += weight * Curve.scalar_from_bytes(&share.mu).unwrap();
        nu += weight * Curve.scalar_from_bytes(&share.nu).unwrap();
    }
    arm(Glitch::None);
    let ratio = r * Curve::invert(&wrong).unwrap();
    let forged_digest = Curve::scalar_to_bytes(&(Curve.scalar_from_digest(&DIGEST) * ratio));
    let mut s = nu * Curve::invert(&mu).unwrap() * ratio;
    let high = Curve::is_high(&s);
    if high {
        s = -s;
    }
    let forged = Signature {
        r: Curve::scalar_to_bytes(&r),
        s: Curve::scalar_to_bytes(&s),
        recovery_id: u8::from(odd != high),
    };
    assert_ne!(forged_digest, DIGEST);
    accepts(&public, forged_digest, &forged).unwrap();

    // Refused: a party computes r from R itself, and R_4 that would turn R into R' is off the polynomial.
    for seed in SEEDS {
        let honest = sent.iter().filter(|packet| packet.from != id(4));
        let others =
            honest.fold(<Curve as quorate_core::curve::Group>::Point::default(), |sum, packet| {
                let nonce: Nonce = parse(&packet.bytes);
                let weight = vss::lagrange(Curve, quorum(), packet.from);
                sum + Curve::mul(&Curve.point_from_bytes(&nonce.point).unwrap(), &weight)
            });
        let weight = vss::lagrange(Curve, quorum(), id(4));
        let r_4 = Curve::mul(&(wanted - others), &Curve::invert(&weight).unwrap());
        let r_4 = Curve::point_to_bytes(&r_4).unwrap();
        let mut network = stormy(seed);
        let done = sign(&group, quorum(), DIGEST, 1, &mut network, &mut |packet| {
            let lie = is(&packet, 4, NONCE);
            vec![if lie { changed(packet, |n: &mut Nonce| n.point = r_4) } else { packet }]
        });
        if seed == 0 {
            // It is the point that an unchecked sum would take.
            let r1 = |packet: &&Packet| kind(packet) == Some(NONCE) && packet.to != packet.from;
            let list: Vec<Packet> = network.sent.iter().filter(r1).cloned().collect();
            assert_eq!(value_at_zero(&list), wanted_bytes);
        }
        for me in [1, 2] {
            assert_eq!(done.aborted[&id(me)], Abort::OffPolynomial(quorum()), "seed {seed}");
            assert!(!network.sent.iter().any(|packet| is(packet, me, SHARE)), "seed {seed}");
        }
    }
}
