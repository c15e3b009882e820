//! Judging complaints: dealer or accuser is the culprit (`docs/PROTOCOL.md` §3).

use super::message::{Complaint, Deal, Seen, Signed, signed_digest};
use super::rounds::check_deal;
use super::{Dkg, Phase};
use crate::curve::Group;
use crate::party::PartyId;
use crate::session::{Abort, Fault, Header, Refusal};
use crate::wire;

impl<G: Group, const N: usize, const K: usize> Dkg<G, N, K> {
    /// A complaint of `accuser`. It always ends the run, and with a culprit wherever there is a proof.
    pub(super) fn handle_complaint(
        &mut self,
        accuser: PartyId,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let Ok((_, complaint)) = wire::decode::<(Header, Complaint<N, K>)>(bytes) else {
            self.fail(Abort::Culprit(accuser, Fault::Malformed));
            return Ok(());
        };
        match complaint {
            Complaint::Echo { round, with, seen } => self.judge_echo(accuser, round, with, &seen),
            Complaint::BadDeal { deal } => {
                let abort = self.judge_deal(accuser, &deal);
                self.fail(abort);
            }
        }
        Ok(())
    }

    fn judge_deal(&self, accuser: PartyId, deal: &Signed<Deal<K>>) -> Abort {
        let slander = Abort::Culprit(accuser, Fault::FalseComplaint);
        let dealer = deal.header.from;
        let Some(slot) = self.slot(dealer) else { return slander };
        let authentic = deal.header == self.header(3, dealer, Some(accuser))
            && deal.verify(&slot.peer.session_key);
        if !authentic {
            return slander;
        }
        // Without the dealer's R2 nobody can have a private message to complain of.
        let Some(open) = &slot.open else { return slander };
        let verdict = check_deal::<G, N, K>(
            &self.terms,
            &open.body.sid,
            &open.body,
            dealer,
            accuser,
            &deal.body,
        );
        match verdict {
            Err(fault) => Abort::Culprit(dealer, fault),
            Ok(()) => slander,
        }
    }

    /// Somebody sent two different signed messages if what the accuser saw differs from what this
    /// party saw of the same dealer, both under the dealer's signature.
    fn judge_echo(&mut self, accuser: PartyId, round: u8, with: PartyId, seen: &[Seen]) {
        if seen.len() != self.slots.len() || !matches!(round, 1 | 2) {
            return self.fail(Abort::Culprit(accuser, Fault::FalseComplaint));
        }
        let mut differs = false;
        let mut liar = None;
        for (slot, theirs) in self.slots.iter().zip(seen) {
            let dealer = slot.peer.party;
            let digest = signed_digest(&self.header(round, dealer, None), &theirs.body);
            if !slot.peer.session_key.verify(&digest, &theirs.signature) {
                liar = Some((accuser, Fault::FalseComplaint));
                break;
            }
            let mine = match round {
                1 => slot.commit.as_ref().map(Signed::body_digest),
                _ => slot.open.as_ref().map(Signed::body_digest),
            };
            if mine.is_some_and(|mine| mine != theirs.body) {
                differs = true;
                liar = Some((dealer, Fault::Equivocation));
                break;
            }
        }
        match liar {
            Some((culprit, fault)) => self.fail(Abort::Culprit(culprit, fault)),
            // This party saw the same as the accuser, so `with` saw something else: its own echo,
            // which it sends for the same reason, will prove who lied.
            None if !differs && self.phase < Phase::Blame => {
                let other = if with == self.me { accuser } else { with };
                self.complain_of_echo(round, other);
            }
            None => {}
        }
    }
}
