//! The checks of each round, and what follows when a round is complete.

use heapless::Vec;

use super::deal::{commitment, proof_challenge};
use super::message::{Deal, Open, Opening, Signed};
use super::{Dkg, Pending, Phase, SessionSigner, Slot};
use crate::curve::Group;
use crate::hash::{Digest, Transcript};
use crate::key::{KeyTerms, PublicKey, ShareRecord};
use crate::party::PartyId;
use crate::secret::{SecretBytes, SecretScalar};
use crate::session::{Abort, Fault};
use crate::vss;

impl<G: Group, const N: usize, const K: usize> Dkg<G, N, K> {
    /// Goes on for as long as rounds are complete.
    pub(super) fn advance(&mut self, signer: &impl SessionSigner) {
        if self.phase == Phase::Blame {
            return self.judge_echoes();
        }
        if self.phase == Phase::Commit && self.slots.iter().all(|slot| slot.commit.is_some()) {
            self.finish_commit(signer);
        }
        if self.phase == Phase::Open && self.slots.iter().all(|slot| slot.open.is_some()) {
            self.finish_open();
        }
        let me = self.me;
        let dealt = |slot: &Slot<N, K>| slot.deal.is_some() || slot.peer.party == me;
        if self.phase == Phase::Deal && self.slots.iter().all(dealt) {
            self.finish_deal();
        }
    }

    fn finish_commit(&mut self, signer: &impl SessionSigner) {
        self.sid = self.session_binding();
        self.phase = Phase::Open;
        let Some(open) = self.own.open(&self.terms, &self.sid) else {
            return self.fail(Abort::Degenerate);
        };
        let signed = Signed::new(self.header(2, self.me, None), open, signer);
        let me = self.me;
        if let Some(slot) = self.slot_mut(me) {
            slot.open = Some(signed);
        }
        self.queue(Pending::Open);
    }

    fn finish_open(&mut self) {
        let different =
            |slot: &&Slot<N, K>| slot.open.as_ref().is_some_and(|open| open.body.sid != self.sid);
        if let Some(with) = self.slots.iter().find(different).map(|slot| slot.peer.party) {
            return self.echo(self.me, with);
        }
        if let Some((dealer, fault)) = self.bad_open() {
            // The dealer may have shown it to this party alone: then its R2 are evidence.
            self.echo(self.me, dealer);
            return self.fail(Abort::Culprit(dealer, fault));
        }
        self.transcript = self.opening_binding();
        self.phase = Phase::Deal;
        for to in self.terms.holders.parties().without(self.me).iter() {
            self.queue(Pending::Deal(to));
        }
    }

    /// The first dealer whose R2 does not pass. R2 of another sid (R1 differed) is left to the echoes,
    /// and while R1 is not complete there is nothing to check against.
    pub(super) fn bad_open(&self) -> Option<(PartyId, Fault)> {
        if self.slots.iter().any(|slot| slot.commit.is_none()) {
            return None;
        }
        let sid = self.session_binding();
        let mut there = self
            .slots
            .iter()
            .filter(|slot| slot.open.as_ref().is_some_and(|open| open.body.sid == sid));
        there.find_map(|slot| Some((slot.peer.party, self.check_open(slot, &sid).err()?)))
    }

    /// Every check of R2 that names its sender.
    fn check_open(&self, slot: &Slot<N, K>, sid: &Digest) -> Result<(), Fault> {
        let dealer = slot.peer.party;
        let (Some(commit), Some(open)) = (&slot.commit, &slot.open) else {
            return Err(Fault::Malformed);
        };
        let (commit, open) = (&commit.body, &open.body);
        let holders = self.terms.holders;
        // Exactly T points: one more would raise the threshold unseen.
        if open.coefficients.len() != holders.threshold() {
            return Err(Fault::CommitmentLength);
        }
        if open.pairs.len() != holders.count() - 1 || open.sets.len() != holders.nonce_keys() {
            return Err(Fault::CommitmentLength);
        }
        // The identity has no encoding: neither Φ[0] nor Φ[T−1] nor any other can be it.
        if points::<G, N>(&open.coefficients).len() != holders.threshold() {
            return Err(Fault::InvalidPoint);
        }
        let context = self.terms.context();
        let opened = commitment(&context, dealer, &commit.nonce, &open.coefficients, &open.blind);
        if opened != commit.commitment {
            return Err(Fault::CommitmentOpening);
        }
        if !proof_holds::<G, N, K>(sid, dealer, open) {
            return Err(Fault::ProofOfPossession);
        }
        // Of two equal coefficients the later one's dealer cannot have proven possession honestly
        // under its own identifier, unless both collude; R1 fixed both, so blame the later.
        let earlier = self.slots.iter().take_while(|other| other.peer.party != dealer);
        let constant = open.coefficients.first();
        let mut others = earlier.filter_map(|other| other.open.as_ref());
        if others.any(|other| other.body.coefficients.first() == constant) {
            return Err(Fault::RepeatedKey);
        }
        Ok(())
    }

    fn finish_deal(&mut self) {
        let different = |slot: &&Slot<N, K>| {
            slot.deal.as_ref().is_some_and(|deal| deal.body.transcript != self.transcript)
        };
        if let Some(with) = self.slots.iter().find(different).map(|slot| slot.peer.party) {
            return self.echo(self.me, with);
        }
        let bad = self.slots.iter().find_map(|slot| {
            let (open, deal) = (slot.open.as_ref()?, slot.deal.as_ref()?);
            let (dealer, open) = (slot.peer.party, &open.body);
            let checked =
                check_deal::<G, N, K>(&self.terms, &self.sid, open, dealer, self.me, &deal.body);
            Some((dealer, checked.err()?))
        });
        if let Some((dealer, fault)) = bad {
            self.queue(Pending::Accuse(dealer));
            return self.fail(Abort::Culprit(dealer, fault));
        }
        match self.assemble() {
            Some(key) => {
                self.key = Some(key);
                self.phase = Phase::Over;
                self.queue(Pending::Persist);
            }
            None => self.fail(Abort::Degenerate),
        }
    }

    /// x_i, Φ, pair seeds and nonce keys, once everything is checked.
    fn assemble(&self) -> Option<(PublicKey<N>, ShareRecord<N, K>)> {
        let mut sums: Vec<G::Point, N> =
            (0..self.terms.holders.threshold()).map(|_| G::Point::default()).collect();
        let mut share = self.own.share(self.me);
        for slot in &self.slots {
            let dealt = points::<G, N>(&slot.open.as_ref()?.body.coefficients);
            for (sum, point) in sums.iter_mut().zip(dealt) {
                *sum = *sum + point;
            }
            if let Some(deal) = &slot.deal {
                let dealt = G::scalar_from_bytes(deal.body.share.expose())?;
                share.add(&SecretScalar::new(dealt));
            }
        }
        // X ≠ O, x_i ≠ 0 and x_i·G = X_i.
        let commitment: Vec<_, N> = sums.iter().filter_map(G::point_to_bytes).collect();
        let mine = vss::evaluate_commitment::<G>(&sums, self.me);
        if commitment.len() != sums.len()
            || *share.expose() == G::Scalar::default()
            || G::mul_base(share.expose()) != mine
        {
            return None;
        }
        let public = PublicKey { terms: self.terms, transcript: self.transcript, commitment };
        let record = ShareRecord {
            epoch: self.terms.epoch,
            share: SecretBytes::of_scalar(&share),
            pair_seeds: self.pair_seeds()?,
            nonce_keys: self.nonce_keys()?,
        };
        Some((public, record))
    }

    /// ζ_ij = H("pair", sid, min, max, σ_min→max, σ_max→min).
    fn pair_seeds(&self) -> Option<Vec<SecretBytes, N>> {
        let others = self.terms.holders.parties().without(self.me);
        let mut seeds = Vec::new();
        for (j, own) in others.iter().zip(&self.own.pairs) {
            let theirs = &self.slot(j)?.deal.as_ref()?.body.pair;
            let (low, high) = if self.me < j { (own, theirs) } else { (theirs, own) };
            let (min, max) = if self.me < j { (self.me, j) } else { (j, self.me) };
            let start = Transcript::new("pair").bytes(&self.sid).party(min).party(max);
            let seed = start.bytes(low.value.expose()).bytes(high.value.expose()).secret();
            seeds.push(seed).ok()?;
        }
        Some(seeds)
    }

    /// r_A = H("prss", sid, A, all members' contributions in order).
    fn nonce_keys(&self) -> Option<Vec<SecretBytes, K>> {
        let holders = self.terms.holders;
        let mut keys = Vec::new();
        for (set, own) in holders.nonce_sets_of(self.me).zip(&self.own.sets) {
            let mut transcript = Transcript::new("prss").bytes(&self.sid).set(set);
            for member in set.iter() {
                let opening = if member == self.me {
                    own
                } else {
                    let deal = &self.slot(member)?.deal.as_ref()?.body;
                    let mut shared =
                        holders.nonce_sets_of(member).filter(|set| set.contains(self.me));
                    deal.sets.get(shared.position(|other| other == set)?)?
                };
                transcript = transcript.bytes(opening.value.expose());
            }
            keys.push(transcript.secret()).ok()?;
        }
        Some(keys)
    }
}

pub(super) fn points<G: Group, const N: usize>(
    bytes: &[crate::curve::PointBytes],
) -> Vec<G::Point, N> {
    bytes.iter().map_while(G::point_from_bytes).take(N).collect()
}

/// z·G = K + c·Φ[0].
fn proof_holds<G: Group, const N: usize, const K: usize>(
    sid: &Digest,
    dealer: PartyId,
    open: &Open<N, K>,
) -> bool {
    let Some(constant_bytes) = open.coefficients.first() else { return false };
    let parts = (
        G::scalar_from_bytes(&open.proof),
        G::point_from_bytes(&open.proof_nonce),
        G::point_from_bytes(constant_bytes),
    );
    let (Some(proof), Some(nonce), Some(constant)) = parts else { return false };
    let challenge = proof_challenge::<G>(sid, dealer, constant_bytes, &open.proof_nonce);
    G::mul_base(&proof) == nonce + G::mul(&constant, &challenge)
}

/// Every check of R3 that names its dealer; a third party judges a complaint by the same function.
pub(super) fn check_deal<G: Group, const N: usize, const K: usize>(
    terms: &KeyTerms,
    sid: &Digest,
    open: &Open<N, K>,
    dealer: PartyId,
    to: PartyId,
    deal: &Deal<K>,
) -> Result<(), Fault> {
    let share = G::scalar_from_bytes(deal.share.expose()).ok_or(Fault::BadShare)?;
    let dealt = points::<G, N>(&open.coefficients);
    if G::mul_base(&share) != vss::evaluate_commitment::<G>(&dealt, to) {
        return Err(Fault::BadShare);
    }
    let holders = terms.holders;
    let place = holders.parties().without(dealer).position(to).ok_or(Fault::BadContribution)?;
    if open.pairs.get(place) != Some(&deal.pair.pair_commitment(sid, dealer, to)) {
        return Err(Fault::BadContribution);
    }
    let committed = holders.nonce_sets_of(dealer).zip(&open.sets);
    let mut committed = committed.filter(|(set, _)| set.contains(to));
    let mut opened = deal.sets.iter();
    let fits = |(set, commitment): (_, &Digest), opening: &Opening| {
        *commitment == opening.set_commitment(sid, dealer, set)
    };
    let all = committed.by_ref().all(|pair| opened.next().is_some_and(|o| fits(pair, o)));
    if !all || opened.next().is_some() {
        return Err(Fault::BadContribution);
    }
    Ok(())
}
