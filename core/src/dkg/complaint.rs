//! Judging complaints: dealer or accuser is the culprit (`docs/PROTOCOL.md` §3 steps 17 to 22).

use heapless::Vec;

use super::message::{Complaint, Deal, Echo, Open, Seen, Signed, Views, signed_digest};
use super::rounds::check_deal;
use super::{Dkg, Pending, Phase, Slot};
use crate::curve::Group;
use crate::hash::Digest;
use crate::party::PartyId;
use crate::session::{Abort, Fault, Refusal};
use crate::wire;

impl<G: Group, const N: usize, const K: usize> Dkg<G, N, K> {
    /// A complaint of `accuser`. It always ends the run, and with a culprit wherever there is a proof.
    pub(super) fn handle_complaint(
        &mut self,
        accuser: PartyId,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let Ok(message) = wire::decode::<Signed<Complaint<N, K>>>(bytes) else {
            self.fail(Abort::Culprit(accuser, Fault::Malformed));
            return Ok(());
        };
        let Some(slot) = self.slot(accuser) else { return Err(Refusal::NotAMember(accuser)) };
        if !message.verify(&slot.peer.session_key) {
            return Err(Refusal::Signature(accuser));
        }
        match message.body {
            Complaint::Echo(echo) => return self.take_echo(accuser, echo),
            Complaint::BadDeal { open, deal } => {
                let abort = self.judge_deal(accuser, &open, &deal);
                self.fail(abort);
            }
        }
        Ok(())
    }

    /// The evidence speaks for itself: what the dealer promised to all in R2, and what it then sent.
    fn judge_deal(
        &self,
        accuser: PartyId,
        open: &Signed<Open<N, K>>,
        deal: &Signed<Deal<K>>,
    ) -> Abort {
        let slander = Abort::Culprit(accuser, Fault::FalseComplaint);
        let dealer = deal.header.from;
        let Some(slot) = self.slot(dealer) else { return slander };
        let key = &slot.peer.session_key;
        let authentic = open.header == self.header(2, dealer, None)
            && deal.header == self.header(3, dealer, Some(accuser))
            && open.verify(key)
            && deal.verify(key);
        if !authentic {
            return slander;
        }
        if slot.open.as_ref().is_some_and(|mine| !mine.same(open)) {
            return Abort::Culprit(dealer, Fault::Equivocation);
        }
        let (sid, promised) = (&open.body.sid, &open.body);
        match check_deal::<G, N, K>(&self.terms, sid, promised, dealer, accuser, &deal.body) {
            Err(fault) => Abort::Culprit(dealer, fault),
            Ok(()) => slander,
        }
    }

    fn take_echo(&mut self, accuser: PartyId, echo: Echo<N>) -> Result<(), Refusal> {
        if !self.echo_is_sound(accuser, &echo) {
            self.fail(Abort::Culprit(accuser, Fault::FalseComplaint));
            return Ok(());
        }
        let with = echo.with;
        let Some(slot) = self.slot_mut(accuser) else { return Err(Refusal::NotAMember(accuser)) };
        match &slot.echo {
            Some(earlier) if *earlier == echo => return Err(Refusal::Duplicate),
            Some(_) => self.fail(Abort::Culprit(accuser, Fault::Equivocation)),
            None => {
                slot.echo = Some(echo);
                // Whatever comes of it: the others need this party's view too, to find who lied.
                self.echo(accuser, with);
                self.judge_echoes();
            }
        }
        Ok(())
    }

    /// Whether the accuser has the dealers' signatures on all that it claims to have seen.
    fn echo_is_sound(&self, accuser: PartyId, echo: &Echo<N>) -> bool {
        let signed = |slot: &Slot<N, K>, round, seen: &Option<Seen>| {
            seen.as_ref().is_none_or(|seen| {
                let header = self.header(round, slot.peer.party, None);
                let digest = signed_digest(&header, &seen.body);
                slot.peer.session_key.verify(&digest, &seen.signature)
            })
        };
        echo.with != accuser
            && self.slot(echo.with).is_some()
            && echo.seen.len() == self.slots.len()
            && self
                .slots
                .iter()
                .zip(&echo.seen)
                .all(|(slot, views)| signed(slot, 1, &views.commit) && signed(slot, 2, &views.open))
    }

    /// Tells all what this party saw, once, and waits for the others' views: `accuser` says that it
    /// and `with` saw different broadcasts.
    pub(super) fn echo(&mut self, accuser: PartyId, with: PartyId) {
        if self.phase >= Phase::Blame {
            return;
        }
        self.phase = Phase::Blame;
        self.dispute = Some((accuser, with));
        let with = if with == self.me { accuser } else { with };
        let seen: Vec<Views, N> = self.slots.iter().map(Slot::views).collect();
        let me = self.me;
        if let Some(slot) = self.slot_mut(me) {
            slot.echo = Some(Echo { with, seen });
        }
        self.queue(Pending::Echo);
    }

    /// Compares all views, this party's own among them, whenever one of them grows: two different
    /// bodies under one dealer's signature prove who lied, whatever the order of arrival.
    pub(super) fn judge_echoes(&mut self) {
        let two_faced = self.slots.iter().enumerate().find(|(place, slot)| {
            let own = slot.views();
            let echoed = self.slots.iter().filter_map(|other| other.echo.as_ref());
            let views = || echoed.clone().filter_map(|e| e.seen.get(*place)).chain([&own]);
            differ(views().filter_map(|v| v.commit)) || differ(views().filter_map(|v| v.open))
        });
        if let Some(liar) = two_faced.map(|(_, slot)| slot.peer.party) {
            return self.fail(Abort::Culprit(liar, Fault::Equivocation));
        }
        // All saw the same: then what its accuser could not accept is bad for this party too.
        if let Some((dealer, fault)) = self.bad_open() {
            self.fail(Abort::Culprit(dealer, fault));
        }
    }
}

impl<const N: usize, const K: usize> Slot<N, K> {
    fn views(&self) -> Views {
        Views { commit: self.commit.as_ref().map(Seen::of), open: self.open.as_ref().map(Seen::of) }
    }
}

fn differ(mut seen: impl Iterator<Item = Seen>) -> bool {
    let first: Option<Digest> = seen.next().map(|seen| seen.body);
    seen.any(|other| Some(other.body) != first)
}
