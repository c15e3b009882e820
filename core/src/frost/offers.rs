//! The coordinator's end of R1: commitments that parties offered ahead, each shown to members once.

use alloc::vec::Vec;

use super::FrostPublic;
use super::pool::{MAX_OFFER, Offer, Offered, offer_header};
use super::suite::{self, FrostSuite};
use crate::hash::Digest;
use crate::nonce::Failure;
use crate::party::{PartyId, PartySet};
use crate::session::{Abort, Fault, Header, Refusal};
use crate::wire::{self, DecodeError};

/// Of one party, commitments to no more pools are kept; the oldest goes.
pub const MAX_POOLS: usize = 4;

/// One entry of the list that a coordinator shows to all members: a commitment by its author, its pool
/// and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Entry {
    pub(super) party: PartyId,
    pub(super) pool: Digest,
    pub(super) nonce: Offered,
}

crate::read_fields!(Entry { party, pool, nonce });
crate::write_fields!(Entry { party, pool, nonce });

struct OfferedPool {
    party: PartyId,
    incarnation: u64,
    id: Digest,
    /// With whether it was shown to members already.
    nonces: Vec<(Offered, bool)>,
}

/// What parties offered for one key. Everything in it is public.
pub struct Offers<G: FrostSuite> {
    context: Digest,
    me: PartyId,
    parties: PartySet,
    pools: Vec<OfferedPool>,
    suite: core::marker::PhantomData<G>,
}

impl<G: FrostSuite> Offers<G> {
    /// No offers yet, for a key and its coordinator.
    #[must_use]
    pub fn new(public: &FrostPublic<G>, me: PartyId) -> Self {
        let (context, parties) = (*public.context(), public.parties());
        Self { context, me, parties, pools: Vec::new(), suite: core::marker::PhantomData }
    }

    /// Takes a party's encoded R1. A higher incarnation of the party drops everything that it offered
    /// in lower ones; a lower one is refused.
    ///
    /// # Errors
    /// [`Failure::Refused`] drops the message. [`Failure::Aborted`] names who sent it; there is no
    /// session to end, and nothing of the message is kept.
    pub fn take(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Failure> {
        if !self.parties.contains(from) {
            return Err(Failure::Refused(Refusal::NotAMember(from)));
        }
        if bytes.len() > MAX_OFFER {
            return Err(Failure::Refused(DecodeError::TooLong.into()));
        }
        let header = Header::peek(bytes).map_err(|error| Failure::Refused(error.into()))?;
        let expected = offer_header(G::SUITE, header.session, from, self.me);
        header.check(&expected, from, self.me).map_err(Failure::Refused)?;
        let blame = |fault| Failure::Aborted(Abort::Culprit(from, fault));
        let offer: Offer = wire::read(bytes).map_err(|_| blame(Fault::Malformed))?;
        let newer = |pool: &OfferedPool| pool.party == from && pool.incarnation > offer.incarnation;
        if offer.context != self.context || self.pools.iter().any(newer) {
            return Err(Failure::Refused(Refusal::OtherSession));
        }
        let increasing = offer.nonces.windows(2).all(|pair| match pair {
            [a, b] => a.index < b.index,
            _ => true,
        });
        if !increasing {
            return Err(blame(Fault::Malformed));
        }
        for nonce in &offer.nonces {
            suite::commitments::<G>(&nonce.hiding, &nonce.binding)
                .ok_or(blame(Fault::InvalidPoint))?;
        }
        self.keep(from, offer)
    }

    fn keep(&mut self, from: PartyId, offer: Offer) -> Result<(), Failure> {
        self.pools.retain(|pool| pool.party != from || pool.incarnation == offer.incarnation);
        let id = offer.header.session;
        if let Some(known) = self.pools.iter_mut().find(|pool| pool.party == from && pool.id == id)
        {
            let changed = |new: &Offered| {
                known.nonces.iter().any(|(old, _)| old.index == new.index && old != new)
            };
            if offer.nonces.iter().any(changed) {
                let abort = Abort::Culprit(from, Fault::Equivocation);
                return Err(Failure::Aborted(abort));
            }
            // What is no longer offered was used elsewhere.
            known.nonces.retain(|(old, _)| offer.nonces.contains(old));
            return Ok(());
        }
        if self.pools.iter().filter(|pool| pool.party == from).count() >= MAX_POOLS {
            let oldest = self.pools.iter().position(|pool| pool.party == from);
            oldest.map(|place| self.pools.remove(place));
        }
        let nonces = offer.nonces.into_iter().map(|nonce| (nonce, false)).collect();
        let incarnation = offer.incarnation;
        self.pools.push(OfferedPool { party: from, incarnation, id, nonces });
        Ok(())
    }

    /// How many commitments of `party` are there to be used.
    #[must_use]
    pub fn available(&self, party: PartyId) -> usize {
        let of_party = self.pools.iter().filter(|pool| pool.party == party);
        of_party.flat_map(|pool| &pool.nonces).filter(|(_, shown)| !shown).count()
    }

    /// Drops everything that `party` offered.
    pub fn forget(&mut self, party: PartyId) {
        self.pools.retain(|pool| pool.party != party);
    }

    pub(super) fn context(&self) -> &Digest {
        &self.context
    }

    pub(super) fn coordinator(&self) -> PartyId {
        self.me
    }

    /// One commitment of each member, marked as shown; or the members who have none left.
    pub(super) fn draw(&mut self, quorum: PartySet) -> Result<Vec<Entry>, PartySet> {
        let missing: PartySet = quorum.iter().filter(|party| self.available(*party) == 0).collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        let mut entries = Vec::with_capacity(quorum.len());
        for party in quorum.iter() {
            let pools = self.pools.iter_mut().filter(|pool| pool.party == party);
            let next = pools
                .flat_map(|pool| pool.nonces.iter_mut().map(|nonce| (pool.id, nonce)))
                .find(|(_, (_, shown))| !*shown);
            if let Some((pool, (nonce, shown))) = next {
                *shown = true;
                entries.push(Entry { party, pool, nonce: *nonce });
            }
        }
        Ok(entries)
    }
}

impl<G: FrostSuite> core::fmt::Debug for Offers<G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Offers").field("pools", &self.pools.len()).finish_non_exhaustive()
    }
}
