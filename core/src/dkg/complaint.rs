//! Complaints: what others saw and what they hold against a dealer (`docs/PROTOCOL.md` §3 steps 17
//! to 22).

use super::evidence::{Court, Evidence};
use super::message::{
    Complaint, Echo, Lent, Seen, Signed, SignedDeal, SignedOpen, Views, body_digest, read,
};
use super::{Dkg, Phase};
use crate::curve::Group;
use crate::identity::Identity;
use crate::party::{PartyId, PartySet};
use crate::session::{Abort, Fault, Refusal};

/// What a complaint is good for.
enum Ground {
    None,
    /// It proves a fault.
    Proof((PartyId, Fault)),
    /// It is a sound echo of one whose view differs from this other's.
    Echo(PartyId),
}

impl<G: Group, const N: usize, const K: usize> Dkg<G, N, K> {
    /// A complaint of `accuser`. It always ends the run, and with a culprit wherever there is a proof.
    #[inline(never)]
    pub(super) fn take_complaint(&mut self, accuser: PartyId, bytes: &[u8]) -> Result<(), Refusal> {
        match self.judge_complaint(accuser, bytes)? {
            Ground::None => {}
            Ground::Proof(verdict) => self.convict_by_complaint(accuser, bytes, verdict),
            // Whatever comes of it: the others need this party's view too, to find who lied.
            Ground::Echo(with) => {
                self.echo(accuser, with);
                self.compare_echo(bytes);
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn read_complaint(bytes: &[u8]) -> Option<Signed<Complaint<N, Lent<'_>>>> {
        let mut message = read::<Complaint<N, Lent<'_>>>(bytes);
        if let Some(Complaint::BadDeal { deal, .. }) = message.as_ref().map(|message| &message.body)
            && !deal.dealt.deal.sets.fits::<K>()
        {
            message = None;
        }
        message
    }

    #[inline(never)]
    fn judge_complaint(&mut self, accuser: PartyId, bytes: &[u8]) -> Result<Ground, Refusal> {
        let message = Self::read_complaint(bytes);
        let Some(Signed { body, signature, .. }) = &message else {
            return self.malformed(accuser).map(|()| Ground::None);
        };
        let seen = Seen { body: body_digest(body), signature: *signature };
        self.verify(0, accuser, &seen)?;
        let slot = self.slot_mut(accuser).ok_or(Refusal::NotAMember(accuser))?;
        match slot.complaint {
            Some(first) if first.body == seen.body => return Err(Refusal::Duplicate),
            // A complaint ends its author's run: nobody has two.
            Some(first) => {
                self.convict_of_two(0, accuser, first, seen);
                return Ok(Ground::None);
            }
            None => slot.complaint = Some(seen),
        }
        let judged = self.court().complaint(self.group, accuser, body);
        match (judged, body) {
            // The accuser's ground may be an R2 that this party knows otherwise.
            (Ok(_), Complaint::BadDeal { dealer, open, deal })
                if self.shows_another_open(accuser, *dealer, open, deal) =>
            {
                let other = Seen { body: open.tree.digest(), signature: open.signature };
                self.agrees(2, *dealer, other);
            }
            (Ok(verdict), _) => return Ok(Ground::Proof(verdict)),
            (Err(_), Complaint::Echo(echo)) => return Ok(Ground::Echo(echo.with)),
            (Err(_), Complaint::BadDeal { .. }) => {}
        }
        Ok(Ground::None)
    }

    /// Read once more: nothing that large is held while its signatures are verified.
    #[inline(never)]
    fn convict_by_complaint(
        &mut self,
        accuser: PartyId,
        bytes: &[u8],
        (culprit, fault): (PartyId, Fault),
    ) {
        if let Some(message) = Self::read_complaint(bytes) {
            self.convict_on(accuser, message, (culprit, fault));
        }
    }

    #[inline(never)]
    fn convict_on(
        &mut self,
        accuser: PartyId,
        message: Signed<Complaint<N, Lent<'_>>>,
        (culprit, fault): (PartyId, Fault),
    ) {
        let (complaint, signature) = (message.body.keep(), message.signature);
        let evidence = Evidence::Complaint { accuser, complaint, signature };
        self.convict(culprit, fault, evidence);
    }

    fn court(&self) -> Court<'_, impl Fn(PartyId) -> Option<Identity>> {
        let key_of = |party| self.slot(party).map(|slot| slot.peer.session_key);
        Court { terms: &self.terms, session: &self.session, key_of }
    }

    #[inline(never)]
    fn shows_another_open(
        &self,
        accuser: PartyId,
        dealer: PartyId,
        open: &SignedOpen<N>,
        deal: &SignedDeal<N, Lent<'_>>,
    ) -> bool {
        let mine = self.slot(dealer).and_then(|slot| slot.seen.open);
        // One that is not signed shows nothing.
        mine.is_some_and(|mine| mine.body != open.tree.digest())
            && self.has_signed_open(dealer)
            && self.court().is_authentic(accuser, dealer, open, deal)
    }

    /// Whether the R2 of `dealer` that this party has can be shown to others.
    #[inline(never)]
    pub(super) fn has_signed_open(&self, dealer: PartyId) -> bool {
        let mine = self.slot(dealer).and_then(|slot| slot.seen.open);
        mine.is_some_and(|mine| self.verify(2, dealer, &mine).is_ok())
    }

    /// Each entry of a sound echo is compared with what is known here, whatever the order of arrival.
    #[inline(never)]
    fn compare_echo(&mut self, bytes: &[u8]) {
        let message = Self::read_complaint(bytes);
        let Some(Complaint::Echo(Echo { seen, .. })) = message.as_ref().map(|m| &m.body) else {
            return;
        };
        for (dealer, views) in self.terms.holders.parties().iter().zip(seen) {
            let rounds = [(1, views.commit), (2, views.open)];
            for (round, seen) in rounds.into_iter().filter_map(|(round, s)| Some((round, s?))) {
                if !self.agrees(round, dealer, seen) {
                    return;
                }
            }
        }
    }

    /// Tells all what this party saw, once, and waits for the others' views: `accuser` says that it
    /// and `with` saw different broadcasts.
    #[inline(never)]
    pub(super) fn echo(&mut self, accuser: PartyId, with: PartyId) {
        let phase = self.phase;
        if phase < Phase::Blame {
            self.phase = Phase::Blame;
            self.dispute = Some((accuser, with));
            self.outbox.echo = true;
            self.verify_broadcasts(self.terms.holders.parties().without(self.me));
        }
        // R2 of all will not be waited for any more.
        if phase == Phase::Open {
            self.check_opens(None);
        }
    }

    /// Only what its dealer signed can be shown to others. Who sent an R1 or R2 without its signature is
    /// known from the channel, to this party alone.
    #[inline(never)]
    pub(super) fn verify_broadcasts(&mut self, dealers: PartySet) {
        for dealer in dealers.iter() {
            let Some(Views { commit, open }) = self.slot(dealer).map(|slot| slot.seen) else {
                continue;
            };
            let unsigned = |round, seen: Option<Seen>| {
                seen.is_some_and(|seen| self.verify(round, dealer, &seen).is_err())
            };
            let (commit, open) = (unsigned(1, commit), unsigned(2, open));
            let Some(slot) = self.slot_mut(dealer).filter(|_| commit || open) else { continue };
            if commit {
                slot.seen.commit = None;
            }
            if open {
                slot.seen.open = None;
            }
            self.fail(Abort::Culprit(dealer, Fault::Malformed));
        }
    }

    /// Whether R1 or R2 of `dealer`, whose signature has been verified, is the one that is known here
    /// already, from itself or from another's echo. Two different ones prove who lied. The first is kept.
    #[inline(never)]
    pub(super) fn agrees(&mut self, round: u8, dealer: PartyId, seen: Seen) -> bool {
        let Some(slot) = self.slot_mut(dealer) else { return false };
        let place = if round == 1 { &mut slot.seen.commit } else { &mut slot.seen.open };
        match *place {
            None => *place = Some(seen),
            Some(first) if first.body == seen.body => {}
            Some(first) => {
                self.convict_of_two(round, dealer, first, seen);
                return false;
            }
        }
        true
    }

    /// Two different messages of one round, where the signature on the second has been verified, and that
    /// on the first may be unknown yet.
    #[inline(never)]
    pub(super) fn convict_of_two(&mut self, round: u8, from: PartyId, first: Seen, second: Seen) {
        if self.verify(round, from, &first).is_err() {
            // Not evidence for others; but the channel says who sent both.
            self.fail(Abort::Culprit(from, Fault::Equivocation));
            return;
        }
        self.convict_of_both(round, from, first, second);
    }

    #[inline(never)]
    fn convict_of_both(&mut self, round: u8, from: PartyId, first: Seen, second: Seen) {
        let evidence = Evidence::Equivocation { from, round, first, second };
        self.convict(from, Fault::Equivocation, evidence);
    }
}
