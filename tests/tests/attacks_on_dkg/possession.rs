//! Attacks with coefficients that somebody else made: copied, rogue, of another session.

use quorate_core::curve::{Group as _, PointBytes};
use quorate_core::hash::Transcript;
use quorate_core::party::PartyId;
use quorate_core::secret::{HedgedRng, SecretBytes, SecretScalar};
use quorate_core::session::{Abort, Fault};
use quorate_tests::simulator::forge::*;
use quorate_tests::simulator::*;

use super::{COMMIT, COMPLAINT, OPEN, SEEDS, honest, honest_messages, is, run, terms_of_4};

/// A party that commits in R1 to coefficients of its choice, and speaks in R2 when it has heard the
/// honest party 1 (whose sid it takes over).
struct OtherOpening {
    from: PartyId,
    nonce: [u8; 32],
    planned: Open,
    heard: Option<Open>,
    held: Vec<Packet>,
}

impl OtherOpening {
    fn new(from: u16, honest: (Commit, Open), coefficients: &[PointBytes]) -> Self {
        let planned = Open { coefficients: coefficients.to_vec(), ..honest.1 };
        let (heard, held) = (None, Vec::new());
        Self { from: id(from), nonce: honest.0.nonce, planned, heard, held }
    }

    fn attack(&mut self, packet: Packet, prove: impl Fn(&mut Open, &Open)) -> Vec<Packet> {
        let mut out = Vec::new();
        match kind(&packet) {
            Some(COMMIT) if packet.from == self.from => {
                let (nonce, context) = (self.nonce, terms_of_4().context());
                let commitment = commitment(&context, self.from, &nonce, &self.planned);
                out.push(resigned(packet, |body| *body = Commit { nonce, commitment }));
            }
            Some(OPEN) if packet.from == self.from => self.held.push(packet),
            Some(COMPLAINT) if packet.from == self.from => {}
            Some(OPEN) if packet.from == id(1) => {
                self.heard = Some(parse::<Forged<Open>>(&packet.bytes).body);
                out.push(packet);
            }
            _ => out.push(packet),
        }
        let Some(heard) = &self.heard else { return out };
        for packet in self.held.drain(..) {
            out.push(resigned(packet, |body: &mut Open| {
                body.sid = heard.sid;
                body.coefficients.clone_from(&self.planned.coefficients);
                body.blind = self.planned.blind;
                prove(body, heard);
            }));
        }
        out
    }
}

/// Party `culprit` opens `coefficients`, and all others name it.
fn all_name_opener(
    culprit: u16,
    fault: Fault,
    plan: impl Fn(u64) -> OtherOpening,
    prove: impl Fn(u64, &mut Open, &Open),
) {
    for seed in SEEDS {
        let mut opening = plan(seed);
        let done =
            run(seed, &mut |packet| opening.attack(packet, |body, heard| prove(seed, body, heard)));
        for me in honest().into_iter().filter(|me| *me != id(culprit)) {
            let expected = Abort::Culprit(id(culprit), fault);
            assert_eq!(done.aborted.get(&me), Some(&expected), "party {me}, seed {seed}");
            let key_of = |party| Some(public(&session_key(party).0));
            let verdict =
                done.evidence[&me].judge::<Curve>(&terms_of_4(), &session_of(seed), key_of);
            assert_eq!(verdict, Ok((id(culprit), fault)), "party {me}, seed {seed}");
        }
    }
}

#[test]
fn a_copied_key_with_the_proof_of_another_party() {
    let copy = |seed| {
        let victim = honest_messages(seed, 1).1;
        OtherOpening::new(3, honest_messages(seed, 3), &victim.coefficients)
    };
    all_name_opener(3, Fault::ProofOfPossession, copy, |_, open, heard| {
        (open.proof_nonce, open.proof) = (heard.proof_nonce, heard.proof);
    });
}

#[test]
fn a_proof_of_possession_of_another_session() {
    let other = honest_messages(77, 3);
    let plan = |_| OtherOpening::new(3, other.clone(), &other.1.coefficients);
    all_name_opener(3, Fault::ProofOfPossession, plan, |_, open, _| {
        (open.proof_nonce, open.proof) = (other.1.proof_nonce, other.1.proof);
    });
}

#[test]
fn a_rogue_key_that_cancels_the_others() {
    let plan = |seed| {
        let point = |from| {
            let open = honest_messages(seed, from).1;
            Curve.point_from_bytes(&open.coefficients[0]).unwrap()
        };
        // The adversary would know the whole key: it is 7.
        let wanted = Curve::mul_base(&k256::Scalar::from(7u64));
        let rogue = Curve::point_to_bytes(&(wanted - point(1) - point(2) - point(4))).unwrap();
        let honest = honest_messages(seed, 3);
        let slope = honest.1.coefficients[1];
        OtherOpening::new(3, honest, &[rogue, slope])
    };
    all_name_opener(3, Fault::ProofOfPossession, plan, |_, _, _| {});
}

/// f_0 of party 3: the first that its generator draws.
fn secret_of_3(seed: u64) -> SecretScalar<Curve> {
    let hedge = SecretBytes::new([3; 32]);
    let mut rng = HedgedRng::new(&[0; 32], &hedge, &session_of(seed), seed);
    SecretScalar::random(Curve, &mut rng)
}

/// A good proof of possession of `secret` in the name of `dealer`.
fn proven(open: &mut Open, dealer: u16, secret: &SecretScalar<Curve>) {
    let kappa = k256::Scalar::from(9u64);
    open.proof_nonce = Curve::point_to_bytes(&Curve::mul_base(&kappa)).unwrap();
    let challenge = Transcript::new("dkg-pop").bytes(&open.sid).party(id(dealer));
    let challenge = challenge.bytes(&open.coefficients[0].0).bytes(&open.proof_nonce.0).wide();
    let proof = kappa + Curve.scalar_from_wide(&challenge) * secret.expose();
    open.proof = Curve::scalar_to_bytes(&proof);
}

#[test]
fn two_corrupt_parties_with_one_coefficient() {
    // Party 3 has told party 4 its secret, so both proofs hold.
    let plan = |seed| {
        let secret = secret_of_3(seed);
        let shared = Curve::point_to_bytes(&Curve::mul_base(secret.expose())).unwrap();
        assert_eq!(shared, honest_messages(seed, 3).1.coefficients[0]);
        let own = honest_messages(seed, 4);
        let slope = own.1.coefficients[1];
        OtherOpening::new(4, own, &[shared, slope])
    };
    let prove = |seed, open: &mut Open, _: &Open| proven(open, 4, &secret_of_3(seed));
    // Party 3, whose machine is honest, sees it too.
    all_name_opener(4, Fault::RepeatedKey, plan, prove);
}

#[test]
fn the_proofs_that_this_file_makes_are_good() {
    // The control of the tests above: party 3's own coefficient, proven anew, passes.
    for seed in SEEDS {
        let done = run(seed, &mut |packet| {
            vec![match is(&packet, 3, OPEN) {
                true => resigned(packet, |open: &mut Open| proven(open, 3, &secret_of_3(seed))),
                false => packet,
            }]
        });
        for me in honest() {
            let named = matches!(done.aborted[&me], Abort::Culprit(..));
            assert!(!named, "party {me}, seed {seed}: {:?}", done.aborted[&me]);
        }
    }
}

/// Changes the proof of `open` by `by`, so that it is wrong by as much.
fn shifted(open: &mut Open, by: k256::Scalar) {
    let proof = Curve.scalar_from_bytes(&open.proof).unwrap();
    open.proof = Curve::scalar_to_bytes(&(proof + by));
}

/// `me` names `culprit`, and its evidence does.
fn assert_named_for_its_proof(done: &Generation, me: PartyId, culprit: u16, seed: u64) {
    let culprit = (id(culprit), Fault::ProofOfPossession);
    let expected = Abort::Culprit(culprit.0, culprit.1);
    assert_eq!(done.aborted.get(&me), Some(&expected), "party {me}, seed {seed}");
    let key_of = |party| Some(public(&session_key(party).0));
    let verdict = done.evidence[&me].judge::<Curve>(&terms_of_4(), &session_of(seed), key_of);
    assert_eq!(verdict, Ok(culprit), "party {me}, seed {seed}");
}

#[test]
fn errors_of_two_proofs_that_are_verified_together_do_not_cancel() {
    for seed in SEEDS {
        let named = |party| Abort::Culprit(id(party), Fault::ProofOfPossession);
        let done = run(seed, &mut |packet| {
            let one = k256::Scalar::ONE;
            if is(&packet, 4, COMPLAINT) {
                return Vec::new();
            }
            vec![match (is(&packet, 3, OPEN), is(&packet, 4, OPEN)) {
                (true, _) => resigned(packet, |open: &mut Open| shifted(open, one)),
                (_, true) => resigned(packet, |open: &mut Open| shifted(open, -one)),
                _ => packet,
            }]
        });
        // With one of the two R2 missing when another party echoes, the other one is named.
        for me in [1, 2].map(id) {
            let culprit = if done.aborted[&me] == named(4) { 4 } else { 3 };
            assert_named_for_its_proof(&done, me, culprit, seed);
        }
    }
}

#[test]
fn a_wrong_proof_is_named_though_another_party_stays_silent() {
    for seed in SEEDS {
        let done = run(seed, &mut |packet| match kind(&packet) {
            // Nor does it complain, though it has R2 of all.
            Some(OPEN | COMPLAINT) if packet.from == id(4) => Vec::new(),
            Some(OPEN) if packet.from == id(3) => {
                vec![resigned(packet, |open: &mut Open| shifted(open, k256::Scalar::ONE))]
            }
            _ => vec![packet],
        });
        for me in honest() {
            assert_named_for_its_proof(&done, me, 3, seed);
        }
    }
}

#[test]
fn a_wrong_proof_is_named_though_its_author_starts_a_dispute_before_r2_of_all_is_there() {
    for seed in SEEDS {
        let done = run(seed, &mut |packet| {
            if !is(&packet, 3, OPEN) {
                return vec![packet];
            }
            let header = quorate_core::session::Header {
                round: 0,
                ..quorate_core::session::Header::peek(&packet.bytes).unwrap()
            };
            let echo = Complaint::Echo { with: id(1), seen: vec![(None, None); 4] };
            let bytes = bytes_of(&signed(header, echo));
            let echo = Packet { bytes, ..packet.clone() };
            vec![resigned(packet, |open: &mut Open| shifted(open, k256::Scalar::ONE)), echo]
        });
        for me in honest() {
            assert_named_for_its_proof(&done, me, 3, seed);
        }
    }
}
