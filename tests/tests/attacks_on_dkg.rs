//! Attacks on key generation (`docs/PROTOCOL.md` §9), each by name, with the culprit that every honest
//! party must name or the refusal that it must give. Party 3 of 4 is corrupt (T = 2), and every attack
//! runs under several orders of arrival.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "also outside of test functions, a failing test may stop"
)]

use quorate_core::curve::PointBytes;
use quorate_core::key::KeyTerms;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::session::{Abort, Fault, Protocol, Refusal};
use quorate_core::wire::DecodeError;
use quorate_tests::simulator::forge::*;
use quorate_tests::simulator::*;

#[path = "attacks_on_dkg/certificate.rs"]
mod certificate;
#[path = "attacks_on_dkg/deals.rs"]
mod deals;
#[path = "attacks_on_dkg/evidence.rs"]
mod evidence;
#[path = "attacks_on_dkg/possession.rs"]
mod possession;

const SEEDS: std::ops::Range<u64> = 0..12;
const COMPLAINT: (Protocol, u8) = (Protocol::Dkg, 0);
const COMMIT: (Protocol, u8) = (Protocol::Dkg, 1);
const OPEN: (Protocol, u8) = (Protocol::Dkg, 2);
const DEAL: (Protocol, u8) = (Protocol::Dkg, 3);

fn terms_of_4() -> KeyTerms {
    terms(PartySet::first(4), 2, 1).unwrap()
}

fn honest() -> [PartyId; 3] {
    [1, 2, 4].map(id)
}

fn corrupt() -> PartyId {
    id(3)
}

fn is(packet: &Packet, from: u16, what: (Protocol, u8)) -> bool {
    packet.from == id(from) && kind(packet) == Some(what)
}

/// In an order of arrival that `seed` decides. Behind the corrupt party's messages runs an honest state
/// machine; its complaints would prove its own lies, so they are left out.
fn run(seed: u64, adversary: &mut Adversary<'_>) -> Generation {
    run_in(Weather { reorder: true, ..Weather::default() }, seed, adversary)
}

fn run_in(weather: Weather, seed: u64, adversary: &mut Adversary<'_>) -> Generation {
    let mut network = Network::new(seed, weather);
    generate(&terms_of_4(), seed, &mut network, &mut |packet| {
        if is(&packet, 3, COMPLAINT) { Vec::new() } else { adversary(packet) }
    })
}

/// Every honest party names `culprit` for `fault`, in every order of arrival.
fn all_name(culprit: u16, fault: Fault, mut attack: impl FnMut(u64, Packet) -> Vec<Packet>) {
    for seed in SEEDS {
        let done = run(seed, &mut |packet| attack(seed, packet));
        for me in honest().into_iter().filter(|me| *me != id(culprit)) {
            let abort = done.aborted.get(&me);
            assert_eq!(abort, Some(&Abort::Culprit(id(culprit), fault)), "party {me}, seed {seed}");
        }
    }
}

/// As [`all_name`], for what `victim` alone can see, in R3: the others name the culprit unless their own
/// key was finished before the complaint came. That key never becomes active.
fn all_in_time_name(victim: u16, fault: Fault, attack: impl Fn(Packet) -> Packet) {
    let mut others = 0;
    for seed in SEEDS {
        let done = run(seed, &mut |packet| vec![attack(packet)]);
        let expected = Abort::Culprit(corrupt(), fault);
        assert_eq!(done.aborted.get(&id(victim)), Some(&expected), "seed {seed}");
        for me in honest() {
            match done.aborted.get(&me) {
                Some(abort) => assert_eq!(*abort, expected, "party {me}, seed {seed}"),
                None => assert!(done.finished.contains_key(&me), "party {me}, seed {seed}"),
            }
            others += usize::from(me != id(victim) && done.aborted.contains_key(&me));
        }
    }
    assert!(others > 0, "some other party was in time");
}

/// Party 3 changes one kind of its messages, alike for all.
fn all_name_3<B: Body>(fault: Fault, what: (Protocol, u8), change: impl Fn(&mut B)) {
    all_name(3, fault, |_, packet| {
        vec![if is(&packet, 3, what) { resigned(packet, &change) } else { packet }]
    });
}

/// Party 3 sends something besides, before the good message; it is refused, and the key is made.
fn refused(expected: Refusal, what: (Protocol, u8), besides: impl Fn(Packet) -> Packet) {
    let done = run_in(Weather::default(), 1, &mut |packet| match is(&packet, 3, what) {
        true => vec![besides(packet.clone()), packet],
        false => vec![packet],
    });
    assert_eq!(done.finished.len(), 4, "{:?}", done.aborted);
    for me in honest() {
        assert!(
            done.refused.contains(&(me, corrupt(), expected)),
            "party {me}: {:?}",
            done.refused
        );
    }
}

/// What party `from` sends in an honest run: R1 and R2.
fn honest_messages(seed: u64, from: u16) -> (Commit, Open) {
    let mut found = (None, None);
    run(seed, &mut |packet| {
        if is(&packet, from, COMMIT) {
            found.0 = Some(parse::<Forged<Commit>>(&packet.bytes).body);
        } else if is(&packet, from, OPEN) {
            found.1 = Some(parse::<Forged<Open>>(&packet.bytes).body);
        }
        vec![packet]
    });
    (found.0.unwrap(), found.1.unwrap())
}

#[test]
fn without_an_attack_the_key_is_made() {
    for seed in SEEDS {
        assert_eq!(run(seed, &mut |packet| vec![packet]).finished.len(), 4);
    }
}

#[test]
fn a_longer_commitment_vector_would_raise_the_threshold() {
    all_name_3(Fault::CommitmentLength, OPEN, |open: &mut Open| {
        open.coefficients.push(open.coefficients[0]);
    });
}

#[test]
fn a_shorter_commitment_vector_would_lower_the_threshold() {
    all_name_3(Fault::CommitmentLength, OPEN, |open: &mut Open| {
        open.coefficients.pop();
    });
}

#[test]
fn contributions_left_out_or_added() {
    all_name_3(Fault::CommitmentLength, OPEN, |open: &mut Open| {
        open.sets.pop();
    });
    all_name_3(Fault::CommitmentLength, OPEN, |open: &mut Open| open.pairs.push([1; 32]));
}

#[test]
fn an_identity_or_invalid_coefficient() {
    let compact = |open: &mut Open| open.coefficients[1].0[0] = 5;
    all_name_3(Fault::InvalidPoint, OPEN, |o: &mut Open| o.coefficients[0] = PointBytes([0; 33]));
    all_name_3(Fault::InvalidPoint, OPEN, |o: &mut Open| o.coefficients[1] = PointBytes([0; 33]));
    // No point has x = 5.
    let mut off_the_curve = PointBytes([0; 33]);
    (off_the_curve.0[0], off_the_curve.0[32]) = (2, 5);
    all_name_3(Fault::InvalidPoint, OPEN, |o: &mut Open| o.coefficients[0] = off_the_curve);
    all_name_3(Fault::InvalidPoint, OPEN, compact);
}

#[test]
fn a_biased_last_mover_opens_other_coefficients_than_it_committed_to() {
    let (_, other) = honest_messages(77, 3);
    all_name_3(Fault::CommitmentOpening, OPEN, |open: &mut Open| {
        open.coefficients.clone_from(&other.coefficients);
    });
    all_name_3(Fault::CommitmentOpening, OPEN, |open: &mut Open| open.blind[0] ^= 1);
}

#[test]
fn r1_equivocation_is_proven_to_all() {
    for victims in [&[2u16][..], &[1, 4], &[4]] {
        let other = honest_messages(77, 3).0;
        all_name(3, Fault::Equivocation, |_, packet| {
            assert_ne!(kind(&packet), Some(DEAL), "nobody deals under an sid that is not all's");
            let victim = victims.contains(&packet.to.number());
            vec![match is(&packet, 3, COMMIT) && victim {
                true => resigned(packet, |body: &mut Commit| *body = other.clone()),
                false => packet,
            }]
        });
    }
}

#[test]
fn r2_equivocation_is_proven_to_all() {
    for victims in [&[2u16][..], &[1, 4], &[1]] {
        // Both versions pass every check of R2: they commit to different contributions.
        all_name(3, Fault::Equivocation, |_, packet| {
            let victim = victims.contains(&packet.to.number());
            vec![match is(&packet, 3, OPEN) && victim {
                true => resigned(packet, |body: &mut Open| body.sets[0] = [9; 32]),
                false => packet,
            }]
        });
    }
}

#[test]
fn bad_r2_for_one_party_alone_is_proven_to_the_others() {
    for seed in SEEDS {
        let done = run(seed, &mut |packet| {
            vec![match is(&packet, 3, OPEN) && packet.to == id(2) {
                true => resigned(packet, |body: &mut Open| body.proof[31] ^= 1),
                false => packet,
            }]
        });
        for me in honest() {
            let fault = match me.number() {
                2 => Fault::ProofOfPossession,
                _ => Fault::Equivocation,
            };
            assert_eq!(done.aborted.get(&me), Some(&Abort::Culprit(corrupt(), fault)), "{seed}");
        }
    }
}

#[test]
fn a_second_different_message_in_every_round() {
    for what in [COMMIT, OPEN, DEAL] {
        let mut named = 0;
        for seed in SEEDS {
            let done = run(seed, &mut |packet| {
                if !is(&packet, 3, what) {
                    return vec![packet];
                }
                let second = match what {
                    COMMIT => resigned(packet.clone(), |body: &mut Commit| body.nonce[0] ^= 1),
                    OPEN => resigned(packet.clone(), |body: &mut Open| body.blind[0] ^= 1),
                    _ => resigned(packet.clone(), |body: &mut Deal| body.pair.blind[0] ^= 1),
                };
                vec![packet, second]
            });
            // Whoever was over before the second came saw nothing wrong; nobody honest is named.
            for me in honest() {
                match done.aborted.get(&me) {
                    Some(Abort::Culprit(party, _)) => assert_eq!(*party, corrupt(), "seed {seed}"),
                    Some(_) => {}
                    None => assert!(what == DEAL && done.finished.contains_key(&me), "seed {seed}"),
                }
            }
            let culprit = Abort::Culprit(corrupt(), Fault::Equivocation);
            named += usize::from(done.aborted.values().any(|abort| *abort == culprit));
        }
        assert!(named >= SEEDS.end as usize / 2, "{what:?}: {named}");
    }
}

#[test]
fn a_bad_share_is_proven_to_all() {
    for change in [
        |deal: &mut Deal| deal.share[31] ^= 1,
        |deal: &mut Deal| deal.share = [0xff; 32],
        |deal: &mut Deal| deal.share = [0; 32],
    ] {
        all_in_time_name(2, Fault::BadShare, |packet| {
            match is(&packet, 3, DEAL) && packet.to == id(2) {
                true => resigned(packet, change),
                false => packet,
            }
        });
    }
}

#[test]
fn an_early_complaint_does_not_frame_those_who_have_not_heard_everybody() {
    for seed in SEEDS {
        let done = run(seed, &mut |packet| {
            if !is(&packet, 3, COMMIT) {
                return vec![packet];
            }
            let mine: Forged<Commit> = parse(&packet.bytes);
            let mut seen = vec![(None, None); 4];
            let signature = mine.signature;
            seen[2].0 = Some(Seen { body: mine.body.digest(&mine.header), signature });
            let header = quorate_core::session::Header { round: 0, ..mine.header };
            let complaint = Complaint::Echo { with: id(1), seen };
            let bytes = bytes_of(&signed(header, complaint));
            vec![Packet { bytes, ..packet.clone() }, packet]
        });
        for me in honest() {
            let abort = &done.aborted[&me];
            let unproven = matches!(abort, Abort::EchoMismatch(..) | Abort::Deadline { .. });
            assert!(unproven, "party {me}, seed {seed}: {abort}");
        }
    }
}

#[test]
fn r1_equivocation_with_r1_withheld_from_a_third_frames_nobody() {
    let other = honest_messages(77, 3).0;
    for seed in SEEDS {
        let done = run(seed, &mut |packet| {
            if is(&packet, 3, COMMIT) && packet.to == id(4) {
                return Vec::new();
            }
            vec![match is(&packet, 3, COMMIT) && packet.to == id(2) {
                true => resigned(packet, |body: &mut Commit| *body = other.clone()),
                false => packet,
            }]
        });
        // Nobody honest gets as far as R2 of all; nobody complains, and nobody is named.
        for me in honest() {
            match done.aborted[&me] {
                Abort::Deadline { .. } | Abort::EchoMismatch(..) => {}
                Abort::Culprit(party, _) => assert_eq!(party, corrupt(), "party {me}, seed {seed}"),
                other => panic!("party {me}, seed {seed}: {other}"),
            }
        }
    }
}

#[test]
fn different_contributions_to_one_nonce_key_or_pair_seed() {
    for change in [
        |deal: &mut Deal| deal.sets[0].value[0] ^= 1,
        |deal: &mut Deal| deal.sets[1].blind[0] ^= 1,
        |deal: &mut Deal| deal.pair.value[0] ^= 1,
        |deal: &mut Deal| deal.sets.swap(0, 1),
        |deal: &mut Deal| deal.sets.truncate(1),
        |deal: &mut Deal| deal.sets.push(deal.pair.clone()),
    ] {
        all_in_time_name(4, Fault::BadContribution, |packet| {
            match is(&packet, 3, DEAL) && packet.to == id(4) {
                true => resigned(packet, change),
                false => packet,
            }
        });
    }
}

#[test]
fn a_contribution_replayed_from_another_party() {
    // Party 3 commits to the commitment that party 1 made for its own contribution; r_{1,3,…} would be
    // under its control. It cannot open it, even after it has seen the opening: the dealer is hashed.
    for seed in SEEDS {
        let victim = honest_messages(seed, 1).1;
        let (mut stolen, mut held) = (None, Vec::new());
        let done = run(seed, &mut |packet| {
            if is(&packet, 3, OPEN) {
                let copy = |body: &mut Open| body.sets.clone_from(&victim.sets);
                return vec![resigned(packet, copy)];
            }
            if is(&packet, 1, DEAL) && packet.to == corrupt() {
                stolen = Some(parse::<Forged<Deal>>(&packet.bytes).body);
            }
            match is(&packet, 3, DEAL) {
                true => held.push(packet),
                false => return vec![packet],
            }
            let Some(stolen) = &stolen else { return Vec::new() };
            let replay = |body: &mut Deal| {
                body.transcript = stolen.transcript;
                body.sets.clone_from(&stolen.sets);
            };
            held.drain(..).map(|packet| resigned(packet, replay)).collect()
        });
        for me in honest().into_iter().filter(|me| done.aborted.contains_key(me)) {
            let expected = [
                Abort::Culprit(corrupt(), Fault::BadContribution),
                // Its deals were never sent, if the victim's came last.
                Abort::Deadline { round: 3, missing: [corrupt()].into_iter().collect() },
            ];
            assert!(expected.contains(&done.aborted[&me]), "party {me}, seed {seed}");
        }
        assert!(done.finished.keys().all(|party| *party == corrupt()), "seed {seed}");
    }
}

/// Party 3 answers the deal of party 1 with a complaint to all, and deals to nobody.
fn complains(packet: Packet, complaint: impl Fn(&Packet) -> Complaint) -> Vec<Packet> {
    if is(&packet, 3, DEAL) {
        return Vec::new();
    }
    let mut out = Vec::new();
    if is(&packet, 1, DEAL) && packet.to == corrupt() {
        let header = quorate_core::session::Header {
            round: 0,
            from: corrupt(),
            to: None,
            ..quorate_core::session::Header::peek(&packet.bytes).unwrap()
        };
        let bytes = bytes_of(&signed(header, complaint(&packet)));
        out = honest().map(|to| Packet { from: corrupt(), to, bytes: bytes.clone() }).to_vec();
    }
    out.push(packet);
    out
}

/// The complaint about a deal.
fn bad_deal(open: &Forged<Open>, deal: Forged<Deal>) -> Complaint {
    let dealer = open.header.from;
    Complaint::BadDeal {
        dealer,
        open: Box::new(OpenTree::of(terms_of_4().holders, dealer, &open.body)),
        open_signature: open.signature,
        deal: Box::new(deal.body),
        deal_signature: deal.signature,
    }
}

#[test]
fn a_false_complaint_of_a_good_share() {
    for forge in [false, true] {
        for seed in SEEDS {
            let mut open = None;
            let done = run(seed, &mut |packet| {
                if is(&packet, 1, OPEN) {
                    open = Some(parse::<Forged<Open>>(&packet.bytes));
                }
                complains(packet, |deal| {
                    let mut deal: Forged<Deal> = parse(&deal.bytes);
                    if forge {
                        deal.body.share[0] ^= 1;
                    }
                    bad_deal(open.as_ref().unwrap(), deal)
                })
            });
            for me in honest() {
                let expected = Abort::Culprit(corrupt(), Fault::FalseComplaint);
                assert_eq!(done.aborted.get(&me), Some(&expected), "party {me}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_false_echo_that_shows_what_nobody_signed() {
    all_name(3, Fault::FalseComplaint, |_, packet| {
        complains(packet, |deal| {
            let signature = parse::<Forged<Deal>>(&deal.bytes).signature;
            let mut seen = vec![(None, None); 4];
            seen[0].1 = Some(Seen { body: [1; 32], signature });
            Complaint::Echo { with: id(1), seen }
        })
    });
    let of =
        |with, count| move |_: &Packet| Complaint::Echo { with, seen: vec![(None, None); count] };
    all_name(3, Fault::FalseComplaint, |_, p| complains(p, of(corrupt(), 4)));
    all_name(3, Fault::FalseComplaint, |_, p| complains(p, of(id(1), 3)));
    all_name(3, Fault::FalseComplaint, |_, p| complains(p, of(id(9), 4)));
}

#[test]
fn an_echo_without_a_difference_ends_the_run_and_names_its_author_as_such() {
    for seed in SEEDS {
        let done = run(seed, &mut |packet| {
            complains(packet, |_| Complaint::Echo { with: id(1), seen: vec![(None, None); 4] })
        });
        for me in honest() {
            assert!(
                matches!(done.aborted[&me], Abort::EchoMismatch(..)),
                "party {me}, seed {seed}: {}",
                done.aborted[&me]
            );
        }
        assert!(done.finished.is_empty());
    }
}

#[test]
fn a_wrong_transcript_in_r3() {
    for seed in SEEDS {
        let done = run(seed, &mut |packet| {
            vec![match is(&packet, 3, DEAL) {
                true => resigned(packet, |deal: &mut Deal| deal.transcript[0] ^= 1),
                false => packet,
            }]
        });
        for me in honest() {
            assert!(matches!(done.aborted[&me], Abort::EchoMismatch(_, with) if with == corrupt()));
        }
    }
}

#[test]
fn silence_is_reported_and_blames_nobody() {
    for (what, round) in [(COMMIT, 1), (OPEN, 2), (DEAL, 3)] {
        let done = run(1, &mut |packet| match is(&packet, 3, what) {
            true => Vec::new(),
            false => vec![packet],
        });
        for me in honest() {
            let missing = [corrupt()].into_iter().collect();
            assert_eq!(done.aborted[&me], Abort::Deadline { round, missing });
        }
    }
}

#[test]
fn messages_of_another_session_version_suite_protocol_round_or_party() {
    let patched = |place: usize, byte: u8| {
        move |mut packet: Packet| {
            packet.bytes[place] = byte;
            packet
        }
    };
    refused(Refusal::Decode(DecodeError::Version(2)), OPEN, patched(0, 2));
    refused(Refusal::Decode(DecodeError::Malformed), OPEN, patched(1, 77));
    refused(Refusal::OtherProtocol, OPEN, patched(2, 1));
    refused(Refusal::WrongRound(9), OPEN, patched(3, 9));
    refused(Refusal::WrongRound(3), OPEN, patched(3, 3));
    refused(Refusal::OtherSession, OPEN, patched(10, 0));
    // In the name of party 1, and of party 0, which does not exist.
    refused(Refusal::Decode(DecodeError::Malformed), OPEN, patched(36, 0));
    let forged = Refusal::NotTheSender { claimed: id(1), actual: corrupt() };
    refused(forged, OPEN, patched(36, 1));
}

#[test]
fn a_private_message_for_another_party() {
    let done = run_in(Weather::default(), 1, &mut |packet| match is(&packet, 3, DEAL) {
        true if packet.to == id(1) => vec![Packet { to: id(2), ..packet.clone() }, packet],
        _ => vec![packet],
    });
    assert_eq!(done.finished.len(), 4);
    assert!(done.refused.contains(&(id(2), corrupt(), Refusal::NotForMe)));
}

#[test]
fn a_repeated_message_changes_nothing() {
    refused(Refusal::Duplicate, COMMIT, |packet| packet);
    refused(Refusal::Duplicate, OPEN, |packet| packet);
}

#[test]
fn an_unsigned_message_is_dropped() {
    refused(Refusal::Signature(corrupt()), OPEN, |mut packet| {
        let last = packet.bytes.len() - 1;
        packet.bytes[last] ^= 1;
        packet
    });
}

#[test]
fn truncated_trailing_and_padded_messages() {
    let cut = |packet: &mut Packet| packet.bytes.truncate(200);
    let long = |packet: &mut Packet| packet.bytes.push(0);
    // The number of coefficients with a superfluous byte of varint.
    let padded = |packet: &mut Packet| {
        let place = 38 + 32;
        assert_eq!(packet.bytes[place], 2);
        packet.bytes.splice(place..=place, [0x82, 0x00]);
    };
    for damage in [cut, long, padded] as [fn(&mut Packet); 3] {
        all_name(3, Fault::Malformed, |_, mut packet| {
            if is(&packet, 3, OPEN) {
                damage(&mut packet);
            }
            vec![packet]
        });
    }
}

#[test]
fn an_oversize_message_is_not_even_read() {
    refused(Refusal::Decode(DecodeError::TooLong), OPEN, |mut packet| {
        packet.bytes.resize(quorate_core::dkg::Dkg::<Curve, N, K>::MAX_MESSAGE + 1, 0);
        packet
    });
}
