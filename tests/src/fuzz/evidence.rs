//! Evidence of a failed key generation: whatever a judge is shown, it convicts nobody who did not sign it.

use ed25519_dalek::SigningKey;
use quorate_core::dkg::{Evidence, Lent};
use quorate_core::identity::Identity;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::session::Header;
use quorate_core::wire::{self, Bytes64};
use serde::Serialize;

use super::seeds::{Seeds, named};
use super::sessions::HOLDERS;
use crate::simulator::forge::{
    Body, Commit, Complaint, Deal, Forged, Open, OpenTree, Seen, bytes_of, kind, signed,
};
use crate::simulator::{
    Curve, N, Network, Packet, Weather, generate, id, public, session_key, session_of, terms,
};

/// Everything that the seeds prove, they prove of this party.
fn corrupt() -> PartyId {
    id(2)
}

fn key_of(party: PartyId) -> Option<Identity> {
    Some(public(&session_key(party).0))
}

/// The key of somebody who signed nothing.
fn silent() -> Option<Identity> {
    Some(public(&SigningKey::from_bytes(&[0x51; 32])))
}

/// A judge of any bytes.
pub(super) fn evidence(input: &[u8]) {
    let Ok(evidence) = Evidence::<N, Lent<'_>>::decode(input) else { return };
    let mut buffer = vec![0; input.len()];
    assert_eq!(evidence.encode(&mut buffer), Ok(input));
    let Ok(terms) = terms(PartySet::first(HOLDERS), 2, 1) else { return };
    let session = session_of(1);
    assert!(evidence.judge::<Curve>(&terms, &session, |_| silent()).is_err());
    let Ok((culprit, _)) = evidence.judge::<Curve>(&terms, &session, key_of) else { return };
    assert_eq!(culprit, corrupt());
    let exchanged = |party| if party == culprit { silent() } else { key_of(party) };
    let verdict = evidence.judge::<Curve>(&terms, &session, exchanged);
    assert!(!verdict.is_ok_and(|(named, _)| named == culprit), "{verdict:?}");
    assert!(evidence.judge::<Curve>(&terms, &session_of(2), key_of).is_err());
}

/// A message of an honest run.
fn sent<B: Body>(network: &Network, from: PartyId, to: PartyId, round: u8) -> Option<Forged<B>> {
    let wanted = |packet: &&Packet| {
        (packet.from, packet.to) == (from, to) && kind(packet).is_some_and(|(_, r)| r == round)
    };
    wire::decode(&network.sent.iter().find(wanted)?.bytes).ok()
}

fn changed<B: Body + Clone>(message: &Forged<B>, change: impl FnOnce(&mut B)) -> Forged<B> {
    let Forged { header, mut body, .. } = message.clone();
    change(&mut body);
    signed(header, body)
}

fn seen<B: Body>(message: &Forged<B>) -> Seen {
    let (body, signature) = (message.body.digest(&message.header), message.signature);
    Seen { body, signature }
}

/// Behind the version and the place of its kind, as [`Evidence`] has them.
fn shown(kind: u8, evidence: &impl Serialize) -> Vec<u8> {
    bytes_of(&(wire::VERSION, kind, evidence))
}

/// One of every kind, of a complaint both; the verdict on each is against [`corrupt`].
fn all() -> Option<Seeds> {
    let terms = terms(PartySet::first(HOLDERS), 2, 1).ok()?;
    let mut network = Network::new(1, Weather::default());
    generate(&terms, 1, &mut network, &mut |packet| vec![packet]);
    let (liar, accuser) = (corrupt(), id(3));
    let tree = |open: &Forged<Open>| -> (OpenTree, Bytes64) {
        (OpenTree::of(terms.holders, open.header.from, &open.body), open.signature)
    };

    let commit: Forged<Commit> = sent(&network, liar, accuser, 1)?;
    let open: Forged<Open> = sent(&network, liar, accuser, 2)?;
    let deal: Forged<Deal> = sent(&network, liar, accuser, 3)?;
    let other_commit = changed(&commit, |body| body.nonce = [9; 32]);
    let two_commits = (liar, 1u8, seen(&commit), seen(&other_commit));
    let bad_deal = changed(&deal, |body| body.share = [9; 32]);
    let two_deals = (liar, 3u8, seen(&deal), seen(&bad_deal));
    let unproven = changed(&open, |body| body.proof = [9; 32]);
    let bad_open = (liar, &commit.body, commit.signature, tree(&unproven));

    let first: Forged<Open> = sent(&network, id(1), accuser, 2)?;
    let constant = *first.body.coefficients.first()?;
    let second = changed(&open, |body| {
        body.coefficients.first_mut().into_iter().for_each(|point| *point = constant);
    });
    let repeated = (id(1), tree(&first), liar, tree(&second));

    let complain = |from, body: Complaint| {
        let header = Header { round: 0, from, to: None, ..deal.header };
        let complaint = signed(header, body);
        (from, complaint.body, complaint.signature)
    };
    let (promised, open_signature) = tree(&open);
    let accusation = complain(
        accuser,
        Complaint::BadDeal {
            dealer: liar,
            open: Box::new(promised),
            open_signature,
            deal: Box::new(bad_deal.body.clone()),
            deal_signature: bad_deal.signature,
        },
    );
    // What the liar claims that party 3 told it, party 3 did not sign.
    let views = (1..=u16::from(HOLDERS)).map(|dealer| {
        let unsigned = Seen { body: [9; 32], signature: Bytes64([9; 64]) };
        if dealer == 3 { (Some(unsigned), None) } else { (None, None) }
    });
    let slander = complain(liar, Complaint::Echo { with: id(1), seen: views.collect() });
    Some(vec![
        named("two-commits", shown(0, &two_commits)),
        named("two-deals", shown(0, &two_deals)),
        named("bad-open", shown(1, &bad_open)),
        named("repeated-key", shown(2, &repeated)),
        named("bad-deal", shown(3, &accusation)),
        named("false-echo", shown(3, &slander)),
    ])
}

pub(super) fn seeds() -> Seeds {
    all().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::session::Fault;

    #[test]
    fn every_seed_convicts_the_liar() {
        let terms = terms(PartySet::first(HOLDERS), 2, 1).unwrap();
        let verdicts: Vec<_> = seeds()
            .iter()
            .map(|(_, bytes)| {
                let evidence = Evidence::<N, Lent<'_>>::decode(bytes).unwrap();
                let (culprit, fault) =
                    evidence.judge::<Curve>(&terms, &session_of(1), key_of).unwrap();
                assert_eq!(culprit, corrupt());
                fault
            })
            .collect();
        let expected = [
            Fault::Equivocation,
            Fault::Equivocation,
            Fault::ProofOfPossession,
            Fault::RepeatedKey,
            Fault::BadShare,
            Fault::FalseComplaint,
        ];
        assert_eq!(verdicts, expected);
    }
}
