//! The rounds: what each message must pass, what is kept of it, and what follows when a round is
//! complete.

use heapless::Vec;

use super::check;
use super::evidence::Evidence;
use super::message::{
    Commit, Complaint, Deal, Dealt, Kept, Lent, Open, OpenTree, Seen, Signed, SignedDeal,
    SignedOpen, body_digest, deals_digest, read, signed_digest,
};
use super::{Dkg, Phase, SessionSigner, Slot};
use crate::curve::{Group, PointBytes};
use crate::hash::{Digest, Transcript};
use crate::party::PartyId;
use crate::secret::{SecretBytes, SecretScalar};
use crate::session::{Abort, Fault, Refusal};
use crate::vss;
use crate::wire::Bytes64;

impl<G: Group, const N: usize, const K: usize> Dkg<G, N, K> {
    /// Goes on for as long as rounds are complete.
    #[inline(never)]
    pub(super) fn advance(&mut self, signer: &impl SessionSigner) {
        if self.sid.is_none() && self.slots.iter().all(|slot| slot.commit.is_some()) {
            self.sid = Some(self.session_binding());
            if self.phase == Phase::Commit {
                self.say_open(signer);
            }
        }
        let opened = self.slots.iter().all(|slot| slot.open.is_some());
        if opened && matches!(self.phase, Phase::Open | Phase::Blame) {
            self.finish_open(signer);
        }
        let me = self.me;
        let dealt = |slot: &Slot<N>| slot.deal.is_some() || slot.peer.party == me;
        if self.phase == Phase::Deal && self.slots.iter().all(dealt) {
            self.finish_deal();
        }
    }

    /// What this party signs of a message to all.
    fn signed(&self, round: u8, body: Digest, signer: &impl SessionSigner) -> Seen {
        let header = self.header(round, self.me, None);
        Seen { body, signature: signer.sign(&signed_digest(&header, &body)) }
    }

    /// R1 of this party.
    #[inline(never)]
    pub(super) fn say_commit(&mut self, signer: &impl SessionSigner) {
        let commit = self.own.commit(&self.context);
        let seen = self.signed(1, body_digest(&commit), signer);
        let me = self.me;
        if let Some(slot) = self.slot_mut(me) {
            slot.commit = Some(commit);
            slot.seen.commit = Some(seen);
        }
        self.outbox.commit = true;
    }

    /// R2 of this party, once R1 of all is there.
    #[inline(never)]
    fn say_open(&mut self, signer: &impl SessionSigner) {
        self.phase = Phase::Open;
        let sid = self.sid.unwrap_or_default();
        let Some(tree) = self.own.open(&self.terms, &sid) else {
            return self.fail(Abort::Degenerate);
        };
        let seen = self.signed(2, tree.digest(), signer);
        let me = self.me;
        if let Some(slot) = self.slot_mut(me) {
            slot.open = Some(tree);
            slot.seen.open = Some(seen);
        }
        self.outbox.open = true;
    }

    fn add_commitment(&mut self, points: &[G::Point]) {
        for (sum, point) in self.sums.iter_mut().zip(points) {
            *sum = *sum + *point;
        }
    }

    /// R1 of `from`. Its signature is not looked at while nobody disputes it (`docs/PROTOCOL.md` §3
    /// step 9).
    #[inline(never)]
    pub(super) fn take_commit(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Refusal> {
        let Some(message) = read::<Commit>(bytes) else { return self.malformed(from) };
        let seen = Seen { body: body_digest(&message.body), signature: message.signature };
        let slot = self.slot(from).ok_or(Refusal::NotAMember(from))?;
        let first = slot.seen.commit.filter(|_| slot.commit.is_some());
        match first {
            Some(first) if first.body == seen.body => return Err(Refusal::Duplicate),
            Some(first) => return self.take_second(1, from, first, seen),
            None => {}
        }
        if self.phase == Phase::Blame {
            self.verify(1, from, &seen)?;
            if !self.agrees(1, from, seen) {
                return Ok(());
            }
        }
        if let Some(slot) = self.slot_mut(from) {
            (slot.commit, slot.seen.commit) = (Some(message.body), Some(seen));
        }
        Ok(())
    }

    /// A second, different message of one round, where the first one's signature may be unknown yet.
    #[inline(never)]
    fn take_second(
        &mut self,
        round: u8,
        from: PartyId,
        first: Seen,
        second: Seen,
    ) -> Result<(), Refusal> {
        self.verify(round, from, &second)?;
        self.convict_of_two(round, from, first, second);
        Ok(())
    }

    /// R2 of `from`: there is nothing to check it against before R1 of all is there. Its signature is not
    /// looked at while nobody disputes it.
    #[inline(never)]
    pub(super) fn take_open(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Refusal> {
        if self.sid.is_none() {
            return Err(Refusal::Early);
        }
        self.keep_open(from, bytes)?;
        // Its checks wait for R2 of all, since proofs are cheaper together. But in a dispute there may
        // never be all. What differs from the one that is known has not been kept, and ended the run.
        if self.phase == Phase::Blame {
            self.check_opens(Some(from));
        }
        Ok(())
    }

    #[inline(never)]
    fn read_open(&self, from: PartyId, bytes: &[u8]) -> Option<(OpenTree<N>, Seen)> {
        let Signed { body, signature, .. } = read::<Open<'_, N>>(bytes)?;
        let tree = body.tree(&self.terms, from)?;
        let seen = Seen { body: tree.digest(), signature };
        Some((tree, seen))
    }

    #[inline(never)]
    fn keep_open(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Refusal> {
        let opened = self.read_open(from, bytes);
        let Some(seen) = opened.as_ref().map(|(_, seen)| *seen) else {
            return self.malformed(from);
        };
        let slot = self.slot(from).ok_or(Refusal::NotAMember(from))?;
        let first = slot.seen.open.filter(|_| slot.open.is_some());
        match first {
            Some(first) if first.body == seen.body => return self.take_again(from, first, seen),
            Some(first) => return self.take_second(2, from, first, seen),
            None => {}
        }
        if self.phase == Phase::Blame {
            self.verify(2, from, &seen)?;
            if !self.agrees(2, from, seen) {
                return Ok(());
            }
        }
        if let Some(slot) = self.slot_mut(from) {
            (slot.open, slot.seen.open) = (opened.map(|(tree, _)| tree), Some(seen));
        }
        Ok(())
    }

    /// The same R2 once more. The signed one of the two stays, and the other is the one that is refused.
    #[inline(never)]
    fn take_again(&mut self, from: PartyId, first: Seen, second: Seen) -> Result<(), Refusal> {
        if first.signature == second.signature {
            return Err(Refusal::Duplicate);
        }
        self.verify(2, from, &second)?;
        let signed = self.verify(2, from, &first);
        if let Some(slot) = self.slot_mut(from).filter(|_| signed.is_err()) {
            slot.seen.open = Some(second);
        }
        signed.and(Err(Refusal::Duplicate))
    }

    /// Checks R2 of `only` this dealer, or of all others that are there, but for what needs two of them
    /// (`docs/PROTOCOL.md` §3 step 6). One of another sid, when R1 differed, is left alone: everybody has
    /// R1 of all by then and can show it, and who is at fault need not be the sender.
    pub(super) fn check_opens(&mut self, only: Option<PartyId>) {
        if let Some((dealer, fault)) = self.open_fault(only) {
            self.blame_open(dealer, fault);
        }
    }

    #[inline(never)]
    fn open_fault(&mut self, only: Option<PartyId>) -> Option<(PartyId, Fault)> {
        let mut constants: Vec<(PartyId, G::Point), N> = Vec::new();
        for dealer in self.terms.holders.parties().without(self.me).iter() {
            if only.is_some_and(|only| only != dealer) {
                continue;
            }
            match self.check_opening(dealer) {
                Ok(Some(constant)) => {
                    let _ = constants.push((dealer, constant));
                }
                Ok(None) => {}
                Err(fault) => return Some((dealer, fault)),
            }
        }
        if self.all_possess(&constants) {
            return None;
        }
        let lies = |(dealer, constant): &&(PartyId, G::Point)| {
            let tree = self.slot(*dealer).and_then(|slot| slot.open.as_ref());
            !tree.is_some_and(|tree| check::possesses(self.group, *dealer, tree, constant))
        };
        let (dealer, _) = constants.iter().find(lies)?;
        Some((*dealer, Fault::ProofOfPossession))
    }

    /// Checks what R2 of `dealer` opens, folds it, and gives Φ[0]; nothing if it cannot be judged.
    #[inline(never)]
    fn check_opening(&mut self, dealer: PartyId) -> Result<Option<G::Point>, Fault> {
        let (terms, context, me, sid) = (self.terms, self.context, self.me, self.sid);
        let group = self.group;
        let Some(slot) = self.slot(dealer) else { return Ok(None) };
        let (Some(commit), Some(tree)) = (&slot.commit, &slot.open) else { return Ok(None) };
        if Some(tree.opening.sid) != sid {
            return Ok(None);
        }
        let mut points = Vec::new();
        check::opening(group, &terms, &context, dealer, commit, tree, &mut points)?;
        let promised = vss::evaluate_commitment(group, &points, me);
        self.promised_mut(dealer).into_iter().for_each(|place| *place = promised);
        self.add_commitment(&points);
        Ok(points.first().copied())
    }

    /// The weights are secret until the run is over, and depend on every proof besides: neither who knows
    /// them nor who tries many proofs can make wrong ones cancel.
    #[inline(never)]
    fn all_possess(&self, constants: &[(PartyId, G::Point)]) -> bool {
        let said = self.opening_binding(&self.sid.unwrap_or_default());
        let tree_of = |dealer| self.slot(dealer)?.open.as_ref();
        let weight = |dealer| self.own.weight(&said, dealer);
        check::all_possess(self.group, constants, tree_of, weight)
    }

    /// The dealer may have shown its R2 to this party alone: then the echo is evidence.
    #[inline(never)]
    fn blame_open(&mut self, dealer: PartyId, fault: Fault) {
        self.echo(self.me, dealer);
        self.convict_of_open(dealer, fault);
    }

    #[inline(never)]
    fn convict_of_open(&mut self, dealer: PartyId, fault: Fault) {
        let evidence = self.slot(dealer).and_then(|slot| {
            let signature = slot.seen.commit?.signature;
            let (commit, open) = (slot.commit?, slot.signed_open()?);
            Some(Evidence::BadOpen { dealer, commit, signature, open })
        });
        match evidence {
            Some(evidence) => self.convict(dealer, fault, evidence),
            None => self.fail(Abort::Culprit(dealer, fault)),
        }
    }

    #[inline(never)]
    fn finish_open(&mut self, signer: &impl SessionSigner) {
        if self.phase == Phase::Open {
            self.check_opens(None);
        }
        let (me, sid) = (self.me, self.sid.unwrap_or_default());
        let different =
            |slot: &&Slot<N>| slot.open.as_ref().is_some_and(|tree| tree.opening.sid != sid);
        if let Some(with) = self.slots.iter().find(different).map(|slot| slot.peer.party) {
            self.echo(me, with);
        }
        if let Some((earlier, later)) = self.repeated_key() {
            return self.blame_repeated_key(earlier, later);
        }
        if self.phase != Phase::Open {
            return;
        }
        self.begin_deals(&sid, signer);
    }

    /// R2 of all is there and right.
    #[inline(never)]
    fn begin_deals(&mut self, sid: &Digest, signer: &impl SessionSigner) {
        let me = self.me;
        self.transcript = self.opening_binding(sid);
        self.phase = Phase::Deal;
        let holders = self.terms.holders;
        self.share = self.own.share(me);
        let others = holders.parties().without(me);
        self.record.pair_seeds = others.iter().map(|_| SecretBytes::default()).collect();
        self.record.nonce_keys =
            holders.nonce_sets_of(me).map(|set| self.own.set_value(set)).collect();
        self.outbox.deals = others;
        self.sign_deals(signer);
    }

    /// R3 to each is made twice, here for its digest: all of them at once would take much room. The digests take
    /// the place of the own D_j: R2 has been put out, and was right.
    #[inline(never)]
    fn sign_deals(&mut self, signer: &impl SessionSigner) {
        let (me, terms) = (self.me, self.terms);
        let receivers = terms.holders.parties().without(me);
        let digest = |to| body_digest(&self.own.deal::<K>(&terms, to, &self.transcript));
        let digests: Vec<Digest, N> = receivers.iter().map(digest).collect();
        let seen = self.signed(3, deals_digest(digests.iter()), signer);
        if let Some(slot) = self.slot_mut(me) {
            slot.deal = Some(seen);
            slot.open.iter_mut().for_each(|tree| tree.receivers.clone_from(&digests));
        }
    }

    #[inline(never)]
    fn blame_repeated_key(&mut self, earlier: PartyId, later: PartyId) {
        self.echo(self.me, later);
        self.convict_of_repeated_key(earlier, later);
    }

    #[inline(never)]
    fn convict_of_repeated_key(&mut self, earlier: PartyId, later: PartyId) {
        let shown = |party| self.slot(party).and_then(Slot::signed_open);
        match (shown(earlier), shown(later)) {
            (Some(first), Some(second)) => {
                let evidence = Evidence::RepeatedKey { earlier, first, later, second };
                self.convict(later, Fault::RepeatedKey, evidence);
            }
            _ => self.fail(Abort::Culprit(later, Fault::RepeatedKey)),
        }
    }

    /// Two dealers with one constant coefficient. The later one cannot have proven possession honestly
    /// under its own identifier, unless both collude; R1 fixed both, so blame the later.
    #[inline(never)]
    fn repeated_key(&self) -> Option<(PartyId, PartyId)> {
        let constant = |slot: &Slot<N>| -> Option<PointBytes> {
            let opening = &slot.open.as_ref()?.opening;
            opening.coefficients.first().copied().filter(|_| Some(opening.sid) == self.sid)
        };
        self.slots.iter().find_map(|later| {
            let mine = constant(later)?;
            let mut before = self.slots.iter().take_while(|s| s.peer.party != later.peer.party);
            let earlier = before.find(|slot| constant(slot) == Some(mine))?;
            Some((earlier.peer.party, later.peer.party))
        })
    }

    /// R3 of `from`: there is nothing to check it against before R2 of all is there.
    #[inline(never)]
    pub(super) fn take_deal(
        &mut self,
        from: PartyId,
        bytes: &[u8],
        signer: &impl SessionSigner,
    ) -> Result<(), Refusal> {
        match self.phase {
            Phase::Commit | Phase::Open => return Err(Refusal::Early),
            // A dispute about R1 or R2: what is dealt does not matter any more.
            Phase::Blame | Phase::Over => return Ok(()),
            Phase::Deal => {}
        }
        let (terms, me) = (self.terms, self.me);
        let message = read::<Dealt<N, Lent<'_>>>(bytes);
        let message = message.filter(|m| m.body.deal.sets.fits::<K>());
        let Some(Signed { body: dealt, signature, .. }) = message else {
            return self.malformed(from);
        };
        let Some(body) = dealt.digest(&terms, from, me) else { return self.malformed(from) };
        let (seen, deal) = (Seen { body, signature }, &dealt.deal);
        let slot = self.slot(from).ok_or(Refusal::NotAMember(from))?;
        if let Some(first) = slot.deal {
            if first.body == seen.body {
                return Err(Refusal::Duplicate);
            }
            return self.take_second(3, from, first, seen);
        }
        let Some(tree) = &slot.open else { return Err(Refusal::Early) };
        // Of another th, when R2 differed, it waits for the end of the round as well.
        if deal.transcript != self.transcript {
            self.verify(3, from, &seen)?;
            if let Some(slot) = self.slot_mut(from) {
                (slot.deal, slot.differs) = (Some(seen), true);
            }
            return Ok(());
        }
        // The signature is evidence against a bad message; of a good one nobody needs any.
        let mut complete = false;
        let fits = |share: &SecretScalar<G>| {
            complete = self.completes(from, share);
            let mut points = self.slots.iter().zip(&self.promised);
            let promised = points.find(|(slot, _)| slot.peer.party == from).map(|(_, point)| point);
            complete || promised == Some(&G::mul_base(share.expose()))
        };
        let share = check::share(self.group, deal).filter(fits).ok_or(Fault::BadShare);
        let checked = share
            .and_then(|share| check::contributions(&terms, from, tree, me, deal).map(|()| share));
        match checked {
            Ok(share) => {
                self.complete = complete;
                self.fold(from, &share, deal);
                if let Some(slot) = self.slot_mut(from) {
                    slot.deal = Some(seen);
                }
            }
            Err(fault) => {
                self.verify(3, from, &seen)?;
                if !self.has_signed_open(from) {
                    // Who complained with it would be named itself. The channel says who sent it.
                    self.fail(Abort::Culprit(from, Fault::Malformed));
                    return Ok(());
                }
                self.accuse(from, fault, bytes);
                self.sign_accusation(signer);
            }
        }
        Ok(())
    }

    /// Whether x_i·G = X_i once the share of `last` is added, and it is the last one. Every other share
    /// fits: then this one does, for the price of the check that x_i needs anyway.
    fn completes(&self, last: PartyId, share: &SecretScalar<G>) -> bool {
        let others = self.slots.iter().filter(|slot| ![self.me, last].contains(&slot.peer.party));
        if !others.into_iter().all(|slot| slot.deal.is_some() && !slot.differs) {
            return false;
        }
        let whole = SecretScalar::<G>::new(*self.share.expose() + *share.expose());
        G::mul_base(whole.expose()) == vss::evaluate_commitment(self.group, &self.sums, self.me)
    }

    /// Adds what one dealer gave, in any order of dealers (`docs/PROTOCOL.md` §3 step 11).
    fn fold(&mut self, dealer: PartyId, share: &SecretScalar<G>, deal: &Deal<Lent<'_>>) {
        self.share.add(share);
        let (me, holders) = (self.me, self.terms.holders);
        let others = holders.parties().without(me);
        let place = others.position(dealer).and_then(|at| self.record.pair_seeds.get_mut(at));
        if let (Some(seed), Some(sid)) = (place, &self.sid) {
            let (own, theirs) = (self.own.pair(dealer), &deal.pair);
            let (low, high) = if me < dealer { (&own, theirs) } else { (theirs, &own) };
            let start = Transcript::new("pair").bytes(sid);
            let start = start.party(me.min(dealer)).party(me.max(dealer));
            *seed = start.bytes(low.value.expose()).bytes(high.value.expose()).secret();
        }
        let mine = holders.nonce_sets_of(me).zip(self.record.nonce_keys.iter_mut());
        let shared = mine.filter(|(set, _)| set.contains(dealer));
        // Both walk the shared sets in the same order.
        for ((_, sum), contribution) in shared.zip(deal.contributions()) {
            sum.xor(&contribution.value);
        }
    }

    /// Complains to all about a bad R3, with the message itself, which is read once more.
    #[inline(never)]
    fn accuse(&mut self, dealer: PartyId, fault: Fault, bytes: &[u8]) {
        let open = self.slot(dealer).and_then(Slot::signed_open);
        let deal = Self::kept_deal(bytes);
        if let (Some(open), Some(deal)) = (open, deal) {
            self.accuse_with(dealer, fault, open, deal);
        }
    }

    #[inline(never)]
    fn kept_deal(bytes: &[u8]) -> Option<SignedDeal<N, Kept<K>>> {
        let Signed { body: dealt, signature, .. } = read::<Dealt<N, Lent<'_>>>(bytes)?;
        Some(SignedDeal { dealt, signature }.keep())
    }

    /// With nothing on a chip's stack but the evidence.
    #[inline(never)]
    fn accuse_with(
        &mut self,
        dealer: PartyId,
        fault: Fault,
        open: SignedOpen<N>,
        deal: SignedDeal<N, Kept<K>>,
    ) {
        let complaint = Complaint::BadDeal { dealer, open, deal };
        let evidence =
            Evidence::Complaint { accuser: self.me, complaint, signature: Bytes64([0; 64]) };
        self.convict(dealer, fault, evidence);
    }

    /// The complaint is signed where it is kept.
    #[inline(never)]
    fn sign_accusation(&mut self, signer: &impl SessionSigner) {
        let Some(Evidence::Complaint { complaint, .. }) = &self.evidence else { return };
        let signed = self.signed(0, body_digest(complaint), signer).signature;
        if let Some(Evidence::Complaint { signature, .. }) = &mut self.evidence {
            *signature = signed;
        }
        self.outbox.accuse = true;
    }

    /// x_i, Φ, pair seeds and nonce keys, once everything is checked and folded.
    #[inline(never)]
    fn finish_deal(&mut self) {
        if let Some(with) = self.slots.iter().find(|slot| slot.differs) {
            return self.echo(self.me, with.peer.party);
        }
        // X ≠ O, x_i ≠ 0 and x_i·G = X_i.
        let commitment = vss::encoded::<G, N>(&self.sums);
        if commitment.len() != self.sums.len()
            || *self.share.expose() == self.group.zero()
            || !self.complete
        {
            return self.fail(Abort::Degenerate);
        }
        self.record.share = SecretBytes::of_scalar(&self.share);
        let sid = self.sid.unwrap_or_default();
        let sets = self.terms.holders.nonce_sets_of(self.me);
        for (set, key) in sets.zip(self.record.nonce_keys.iter_mut()) {
            *key = Transcript::new("prss").bytes(&sid).set(set).bytes(key.expose()).secret();
        }
        self.made = Some(commitment);
        self.phase = Phase::Over;
        self.outbox.persist = true;
    }

    /// The channel is authenticated: nobody else can have sent a body that does not decode.
    pub(super) fn malformed(&mut self, from: PartyId) -> Result<(), Refusal> {
        self.fail(Abort::Culprit(from, Fault::Malformed));
        Ok(())
    }

    /// Whether `from` signed what is `seen`.
    pub(super) fn verify(&self, round: u8, from: PartyId, seen: &Seen) -> Result<(), Refusal> {
        let slot = self.slot(from).ok_or(Refusal::NotAMember(from))?;
        let header = self.header(round, from, None);
        match seen.is_signed(&header, &slot.peer.session_key) {
            true => Ok(()),
            false => Err(Refusal::Signature(from)),
        }
    }
}

impl<const N: usize> Slot<N> {
    /// R2 for others to see, as it was signed: of the own one, nothing more once its place serves R3.
    pub(super) fn signed_open(&self) -> Option<SignedOpen<N>> {
        let Seen { body, signature } = self.seen.open?;
        let tree = self.open.as_ref().filter(|tree| tree.digest() == body)?.clone();
        Some(SignedOpen { tree, signature })
    }
}
