//! Evidence for somebody who took no part: it names whom the parties named, and nobody once a byte of
//! it, or the parties' keys, are not what they were.

use quorate_core::curve::{AnyGroup, Ed25519};
use quorate_core::dkg::{Dkg, Evidence, Kept, Lent, NotProven};
use quorate_core::identity::Identity;
use quorate_core::party::PartyId;
use quorate_core::session::{Abort, Fault, Refusal};
use quorate_tests::simulator::forge::*;
use quorate_tests::simulator::*;

use super::{
    COMMIT, COMPLAINT, DEAL, OPEN, bad_deal, complains, corrupt, is, run, run_in, terms_of_4,
};

type Run = Dkg<Curve, N, K>;
type Proof<'a> = Evidence<N, Lent<'a>>;

fn key_of(party: PartyId) -> Option<Identity> {
    Some(public(&session_key(party).0))
}

fn bytes_of_evidence(evidence: &Evidence<N, Kept<K>>) -> Vec<u8> {
    let mut buffer = vec![0; Run::MAX_EVIDENCE];
    evidence.encode(&mut buffer).unwrap().to_vec()
}

fn judged(bytes: &[u8], seed: u64) -> Option<(PartyId, Fault)> {
    let evidence = Proof::decode(bytes).ok()?;
    evidence.judge::<Curve>(&terms_of_4(), &session_of(seed), key_of).ok()
}

/// In an attack by `from`, everybody who names `culprit` can prove it.
fn proven(culprit: u16, fault: Fault, attack: impl Fn(Packet) -> Vec<Packet>) {
    let mut proofs = 0;
    for seed in 0..3 {
        let done = run(seed, &mut |packet| attack(packet));
        for (me, abort) in &done.aborted {
            if *abort != Abort::Culprit(id(culprit), fault) {
                continue;
            }
            let evidence = &done.evidence[me];
            let bytes = bytes_of_evidence(evidence);
            assert_eq!(judged(&bytes, seed), Some((id(culprit), fault)), "party {me}");
            assert!(judged(&bytes, seed + 1).is_none(), "another session");
            proofs += 1;
            if proofs > 1 {
                continue;
            }
            for place in 0..bytes.len() {
                let mut altered = bytes.clone();
                altered[place] ^= 1 << (place % 8);
                assert_eq!(judged(&altered, seed), None, "byte {place} of {}", bytes.len());
            }
            for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                assert_eq!(judged(&bytes[..cut], seed), None);
            }
            // The culprit's key exchanged with any other's.
            for other in (1..=4).map(id).filter(|other| *other != id(culprit)) {
                let exchanged = |party| match party {
                    party if party == id(culprit) => key_of(other),
                    party if party == other => key_of(id(culprit)),
                    party => key_of(party),
                };
                let evidence = Proof::decode(&bytes).unwrap();
                let verdict = evidence.judge::<Curve>(&terms_of_4(), &session_of(seed), exchanged);
                // A complaint that shows what its dealer did not sign names its author: as it should,
                // if these were the keys.
                let framed = verdict.is_ok_and(|(party, _)| party == id(culprit));
                assert!(!framed, "{verdict:?}");
            }
            let nobody = Proof::decode(&bytes).unwrap();
            let verdict = nobody.judge::<Curve>(&terms_of_4(), &session_of(seed), |_| None);
            assert!(matches!(verdict, Err(NotProven::Stranger(_))));
            let (terms, session) = (terms_of_4(), session_of(seed));
            let verdict = nobody.judge::<AnyGroup>(&terms, &session, key_of);
            assert_eq!(verdict, Ok((id(culprit), fault)));
            let verdict = nobody.judge::<Ed25519>(&terms, &session, key_of);
            assert_eq!(verdict, Err(NotProven::Suite));
        }
    }
    assert!(proofs > 1, "{proofs}");
}

/// Party 3 changes what it sends to the parties of `to`.
fn proven_of_3<B: Body>(
    fault: Fault,
    what: (quorate_core::session::Protocol, u8),
    to: &[u16],
    change: impl Fn(&mut B),
) {
    proven(3, fault, |packet| {
        let concerned = is(&packet, 3, what) && to.contains(&packet.to.number());
        vec![if concerned { resigned(packet, &change) } else { packet }]
    });
}

const ALL: &[u16] = &[1, 2, 4];

#[test]
fn of_equivocation_in_r1_and_r2() {
    proven_of_3(Fault::Equivocation, COMMIT, &[2], |commit: &mut Commit| commit.nonce[0] ^= 1);
    proven_of_3(Fault::Equivocation, OPEN, &[2], |open: &mut Open| open.sets[0] = [9; 32]);
}

#[test]
fn of_a_second_different_deal() {
    proven(3, Fault::Equivocation, |packet| {
        let second = |packet| resigned(packet, |deal: &mut Deal| deal.pair.blind[0] ^= 1);
        match is(&packet, 3, DEAL) {
            true => vec![packet.clone(), second(packet)],
            false => vec![packet],
        }
    });
}

#[test]
fn of_a_bad_r2() {
    proven_of_3(Fault::CommitmentLength, OPEN, ALL, |open: &mut Open| {
        open.coefficients.pop();
    });
    proven_of_3(Fault::CommitmentLength, OPEN, ALL, |open: &mut Open| {
        open.sets.pop();
    });
    proven_of_3(Fault::CommitmentLength, OPEN, ALL, |open: &mut Open| open.pairs.push([1; 32]));
    proven_of_3(Fault::InvalidPoint, OPEN, ALL, |open: &mut Open| {
        open.coefficients[1].0[0] = 5;
    });
    proven_of_3(Fault::CommitmentOpening, OPEN, ALL, |open: &mut Open| open.blind[0] ^= 1);
    proven_of_3(Fault::ProofOfPossession, OPEN, ALL, |open: &mut Open| open.proof[31] ^= 1);
}

#[test]
fn of_a_bad_private_message() {
    proven_of_3(Fault::BadShare, DEAL, &[2], |deal: &mut Deal| deal.share[31] ^= 1);
    proven_of_3(Fault::BadContribution, DEAL, &[2], |deal: &mut Deal| {
        deal.sets[1].value[0] ^= 1;
    });
}

#[test]
fn of_a_false_complaint() {
    let open = std::cell::RefCell::new(None);
    proven(3, Fault::FalseComplaint, |packet| {
        if is(&packet, 1, OPEN) {
            open.replace(Some(parse::<Forged<Open>>(&packet.bytes)));
        }
        let known = open.borrow();
        complains(packet, |deal| bad_deal(known.as_ref().unwrap(), parse(&deal.bytes)))
    });
    proven(3, Fault::FalseComplaint, |packet| {
        complains(packet, |_| Complaint::Echo { with: corrupt(), seen: vec![(None, None); 4] })
    });
}

#[test]
fn of_two_complaints() {
    proven(3, Fault::Equivocation, |packet| {
        if is(&packet, 3, COMPLAINT) {
            return Vec::new();
        }
        let echo = |with| {
            complains(packet.clone(), |_| Complaint::Echo {
                with: id(with),
                seen: vec![(None, None); 4],
            })
        };
        let (first, second) = (echo(1), echo(2));
        let same = first.len() == 1 || first.is_empty();
        if same { first } else { first.into_iter().chain(second).collect() }
    });
}

/// A corrupt party of a low identifier could sign, after the run, an R2 with an honest party's
/// coefficient. Without a proof of possession that convicts nobody.
#[test]
fn a_copied_coefficient_does_not_frame_the_later_dealer() {
    let mut opens: Vec<Forged<Open>> = Vec::new();
    run(1, &mut |packet| {
        let first = opens.iter().all(|open| open.header.from != packet.from);
        if kind(&packet) == Some(OPEN) && first {
            opens.push(parse(&packet.bytes));
        }
        vec![packet]
    });
    let of = |party| opens.iter().find(|open| open.header.from == id(party)).unwrap().clone();
    let (mut copy, honest) = (of(1), of(3));
    copy.body.coefficients[0] = honest.body.coefficients[0];
    let copy = signed(copy.header, copy.body);
    let tree = |open: &Forged<Open>| {
        let tree = OpenTree::of(terms_of_4().holders, open.header.from, &open.body);
        (tree, open.signature)
    };
    // The version, the kind, and the two R2 by dealer.
    let framing = |first: &Forged<Open>, second: &Forged<Open>| {
        let (earlier, later) = (first.header.from, second.header.from);
        bytes_of(&(1u8, 2u8, earlier, tree(first), later, tree(second)))
    };
    let bytes = framing(&copy, &honest);
    let forged = Proof::decode(&bytes).unwrap();
    assert!(matches!(forged, Evidence::RepeatedKey { .. }));
    let verdict = forged.judge::<Curve>(&terms_of_4(), &session_of(1), key_of);
    assert_eq!(verdict, Err(NotProven::NoFault));
    // Nor do two honest R2, nor one under two names.
    for (first, second) in [(&of(1), &honest), (&honest, &of(1)), (&honest, &honest)] {
        assert_eq!(judged(&framing(first, second), 1), None);
    }
}

#[test]
fn the_same_message_twice_is_no_equivocation() {
    let mut shown = None;
    run(1, &mut |packet| {
        if is(&packet, 1, COMMIT) {
            let commit: Forged<Commit> = parse(&packet.bytes);
            shown = Some(Seen {
                body: commit.body.digest(&commit.header),
                signature: commit.signature,
            });
        }
        vec![packet]
    });
    // The version, the kind, from, round, and both.
    let shown = shown.unwrap();
    let twice = bytes_of(&(1u8, 0u8, id(1), 1u8, &shown, &shown));
    let evidence = Proof::decode(&twice).unwrap();
    assert!(matches!(evidence, Evidence::Equivocation { .. }));
    let verdict = evidence.judge::<Curve>(&terms_of_4(), &session_of(1), key_of);
    assert_eq!(verdict, Err(NotProven::NoFault));
}

/// Who complained about what the dealer did not sign would be named itself.
#[test]
fn a_bad_private_message_that_is_not_signed_is_dropped() {
    let unsigned = |mut packet: Packet| {
        let last = packet.bytes.len() - 1;
        packet.bytes[last] ^= 1;
        packet
    };
    let share = |deal: &mut Deal| deal.share[31] ^= 1;
    let contribution = |deal: &mut Deal| deal.sets[0].value[0] ^= 1;
    let transcript = |deal: &mut Deal| deal.transcript[0] ^= 1;
    let changes: [fn(&mut Deal); 3] = [share, contribution, transcript];
    for change in changes {
        for seed in 0..3 {
            let mut network = Network::new(seed, Weather::default());
            let done = generate(&terms_of_4(), seed, &mut network, &mut |packet| {
                let bad = is(&packet, 3, DEAL) && packet.to == id(2);
                if bad {
                    return vec![unsigned(resigned(packet.clone(), change)), packet];
                }
                vec![packet]
            });
            assert_eq!(done.finished.len(), 4, "{:?}", done.aborted);
            assert_eq!(done.refused, [(id(2), corrupt(), Refusal::Signature(corrupt()))]);
        }
    }
    // A good one needs no signature.
    let done =
        run(1, &mut |packet| vec![if is(&packet, 3, DEAL) { unsigned(packet) } else { packet }]);
    assert_eq!(done.finished.len(), 4);
}

/// R4 covers R1: a wrong signature on R1 costs nobody anything, until there is a dispute. Then it names its
/// sender, and nobody shows it.
#[test]
fn an_unsigned_r1_is_not_shown_to_others() {
    let unsigned = |mut packet: Packet| {
        let last = packet.bytes.len() - 1;
        packet.bytes[last] ^= 1;
        packet
    };
    let alike =
        run(1, &mut |packet| vec![if is(&packet, 3, COMMIT) { unsigned(packet) } else { packet }]);
    assert_eq!(alike.finished.len(), 4);
    let other = |commit: &mut Commit| commit.nonce[0] ^= 1;
    for seed in 0..6 {
        let done = run(seed, &mut |packet| match is(&packet, 3, COMMIT) && packet.to == id(2) {
            true => vec![unsigned(resigned(packet, other))],
            false => vec![packet],
        });
        let malformed = Abort::Culprit(corrupt(), Fault::Malformed);
        assert_eq!(done.aborted[&id(2)], malformed, "seed {seed}");
        for me in [1, 4].map(id) {
            let unproven = matches!(done.aborted[&me], Abort::EchoMismatch(..));
            assert!(unproven, "party {me}, seed {seed}: {}", done.aborted[&me]);
        }
    }
    // Two different ones, the first not signed: known to the receiver alone.
    let done = run_in(Weather::default(), 1, &mut |packet| match is(&packet, 3, COMMIT)
        && packet.to == id(2)
    {
        true => vec![unsigned(packet.clone()), resigned(packet, other)],
        false => vec![packet],
    });
    assert_eq!(done.aborted[&id(2)], Abort::Culprit(corrupt(), Fault::Equivocation));
    assert!(!done.evidence.contains_key(&id(2)));
}

/// What party 2 gets of the corrupt party's R2 and R3 is changed; R2 is not signed.
fn unsigned_r2(seed: u64, open: impl Fn(&mut Open), deal: impl Fn(&mut Deal)) -> Generation {
    run(seed, &mut |mut packet| {
        if packet.to != id(2) {
            return vec![packet];
        }
        if is(&packet, 3, OPEN) {
            packet = resigned(packet, &open);
            let last = packet.bytes.len() - 1;
            packet.bytes[last] ^= 1;
        }
        vec![if is(&packet, 3, DEAL) { resigned(packet, &deal) } else { packet }]
    })
}

/// The channel says who sent R2, and R4 of all confirms it: a wrong signature costs nobody anything, until
/// there is a dispute. Then it names its sender, and nobody shows it.
#[test]
fn an_unsigned_r2_is_not_shown_to_others() {
    let alike = unsigned_r2(1, |_| {}, |_| {});
    assert_eq!(alike.finished.len(), 4);
    let malformed = Abort::Culprit(corrupt(), Fault::Malformed);
    for seed in 0..6 {
        let done = unsigned_r2(seed, |open| open.pairs[0][0] ^= 1, |_| {});
        assert_eq!(done.aborted[&id(2)], malformed, "seed {seed}");
        for me in [1, 4].map(id) {
            let unproven = matches!(done.aborted[&me], Abort::EchoMismatch(..));
            assert!(unproven, "party {me}, seed {seed}: {}", done.aborted[&me]);
        }
    }
    // Who complained about a bad R3 with it would be named itself.
    for seed in 0..6 {
        let done = unsigned_r2(seed, |_| {}, |deal| deal.share[31] ^= 1);
        assert_eq!(done.aborted[&id(2)], malformed, "seed {seed}");
        assert!(!done.evidence.contains_key(&id(2)));
        for me in [1, 4].map(id) {
            let named = done.aborted.get(&me).map(Abort::culprits);
            assert!(named.is_none_or(|named| named.is_empty()), "party {me}, seed {seed}");
        }
    }
}

/// Of two that are alike the signed one counts; of two that are not, the first need not be signed to be
/// known to the receiver.
#[test]
fn an_unsigned_r2_and_then_another() {
    let with = |change: fn(&mut Open)| {
        run_in(Weather::default(), 1, &mut |packet| {
            let concerned = is(&packet, 3, OPEN) && packet.to == id(2);
            if !concerned {
                return vec![packet];
            }
            let mut first = resigned(packet.clone(), change);
            let last = first.bytes.len() - 1;
            first.bytes[last] ^= 1;
            vec![first, packet]
        })
    };
    let alike = with(|_| {});
    assert_eq!(alike.finished.len(), 4, "{:?}", alike.aborted);
    assert_eq!(alike.refused, [(id(2), corrupt(), Refusal::Signature(corrupt()))]);
    let different = with(|open| open.pairs[0][0] ^= 1);
    assert_eq!(different.aborted[&id(2)], Abort::Culprit(corrupt(), Fault::Equivocation));
    assert!(!different.evidence.contains_key(&id(2)));
}

/// A party that has another R2 of the dealer, which is not signed, still believes a complaint, and can show
/// it.
#[test]
fn an_unsigned_r2_does_not_make_a_complaint_void() {
    let mut believed = 0;
    for seed in 0..12 {
        let done = run(seed, &mut |mut packet| {
            if is(&packet, 3, OPEN) && packet.to == id(1) {
                packet = resigned(packet, |open: &mut Open| open.pairs[0][0] ^= 1);
                let last = packet.bytes.len() - 1;
                packet.bytes[last] ^= 1;
            }
            let bad = is(&packet, 3, DEAL) && packet.to == id(2);
            vec![if bad { resigned(packet, |deal: &mut Deal| deal.share[31] ^= 1) } else { packet }]
        });
        for me in [1, 2, 4].map(id) {
            let abort = done.aborted[&me];
            let right = match abort {
                Abort::Culprit(culprit, Fault::BadShare) => {
                    believed += usize::from(me == id(1));
                    culprit == corrupt() && done.evidence.contains_key(&me)
                }
                Abort::Culprit(culprit, Fault::Malformed) => culprit == corrupt() && me == id(1),
                other => other.culprits().is_empty(),
            };
            assert!(right, "party {me}, seed {seed}: {abort}");
        }
    }
    assert!(believed > 0);
}
