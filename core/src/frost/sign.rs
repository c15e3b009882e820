//! A member's end of a signature (`docs/PROTOCOL.md` §7): terms, list, nonce, durable, one share. Each
//! step is a type that the next one consumes.

use alloc::vec::Vec;

use super::binding;
use super::key::FrostKey;
use super::offers::Entry;
use super::pool::{Change, NoncePool, Nonces, PoolError};
use super::suite::FrostGroup;
use super::{CommitmentList, Guard, MAX_LIST, Prepared, SignError, SignTerms, SignatureShare};
use crate::hash::{Digest, Transcript};
use crate::nonce::Failure;
use crate::party::{PartyId, PartySet};
use crate::schnorr::{Target, Tweak};
use crate::secret::SecretScalar;
use crate::session::{Abort, Fault, Header, Refusal};
use crate::vss;
use crate::wire::{self, DecodeError};

/// Why no nonce was reserved. The session of this member is over, and no nonce is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// The pool does not give the nonce.
    Pool(PoolError),
    /// The coordinator is to blame.
    Aborted(Abort),
}

impl core::fmt::Display for ReserveError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Pool(error) => error.fmt(f),
            Self::Aborted(abort) => abort.fmt(f),
        }
    }
}

impl core::error::Error for ReserveError {}

/// D, the digest by which all know a list.
#[inline(never)]
pub(super) fn list_digest(terms: &Digest, entries: &[Entry]) -> Digest {
    let start = Transcript::new("frost-list").bytes(terms).u16(entries.len() as u16);
    let bind = |inputs: Transcript, Entry { party, pool, nonce }: &Entry| {
        let inputs = inputs.party(*party).bytes(pool).u16(nonce.index);
        inputs.bytes(&nonce.hiding.0).bytes(&nonce.binding.0)
    };
    entries.iter().fold(start, bind).finish()
}

/// Once for both suites.
#[inline(never)]
fn read_list(bytes: &[u8]) -> Result<CommitmentList, Fault> {
    wire::read(bytes).map_err(|_| Fault::Malformed)
}

/// Whether a list, read once more, still has this digest: what is hit on its way out of the bytes would be the same
/// whenever it is looked at afterwards.
#[inline(never)]
fn reads_again(bytes: &[u8], inputs: &Digest) -> bool {
    read_list(bytes).is_ok_and(|list| list_digest(&list.terms, &list.entries) == *inputs)
}

#[inline(never)]
fn entry_of(entries: &[Entry], party: PartyId) -> Option<&Entry> {
    entries.iter().find(|entry| entry.party == party)
}

#[inline(never)]
fn members(entries: &[Entry]) -> PartySet {
    entries.iter().map(|entry| entry.party).collect()
}

/// The terms of a session whose share has this header.
#[inline(never)]
fn shown<'m>(
    header: &Header,
    tweak: Tweak,
    message: &'m [u8],
    entries: &[Entry],
) -> Option<SignTerms<&'m [u8]>> {
    let (session, quorum, coordinator) = (header.session, members(entries), header.to?);
    Some(SignTerms { session, quorum, coordinator, tweak, message })
}

/// Whether a share has this digest of a list and this header, and L is `terms`.
#[inline(never)]
fn is_of(
    share: &SignatureShare,
    terms: &Digest,
    (found, inputs, header): &(&Digest, &Digest, Header),
) -> bool {
    (*found, *inputs, header) == (terms, &share.inputs, &share.header)
}

/// What a member keeps of a list: nothing in it is secret.
struct Bound<G: FrostGroup> {
    inputs: Digest,
    /// ρ_i.
    factor: G::Scalar,
    /// λ_i.
    weight: G::Scalar,
    /// Σ D_j + ρ_j·E_j of all others.
    others: G::Point,
}

impl<G: FrostGroup> Bound<G> {
    /// Takes a list that has exactly one entry of every member, in increasing order. The own points are
    /// not decoded: before they count, their bytes are compared with what this party offered.
    #[inline(never)]
    fn new(
        me: PartyId,
        (terms, message): (&Digest, &[u8]),
        target: &Target<G>,
        entries: &[Entry],
    ) -> Result<Self, Fault> {
        let group = target.group();
        let factors = binding::factors(target, message, entries).ok_or(Fault::InvalidPoint)?;
        let (mut own, mut others) = (None, Vec::with_capacity(entries.len()));
        for (entry, factor) in entries.iter().zip(factors) {
            if entry.party == me {
                own = Some(factor);
                continue;
            }
            let point = |bytes| group.point_from_bytes(bytes).ok_or(Fault::InvalidPoint);
            others.push((point(&entry.nonce.hiding)?, point(&entry.nonce.binding)?, factor));
        }
        let factor = own.ok_or(Fault::CommitmentList)?;
        // derive_interpolating_value (RFC 9591 §4.2).
        let weight = vss::lagrange(group, members(entries), me);
        let others = binding::commitment(group, &others);
        Ok(Self { inputs: list_digest(terms, entries), factor, weight, others })
    }
}

/// A member that waits for the coordinator's list.
pub struct Signer<G: FrostGroup, M> {
    terms: SignTerms<M>,
    me: PartyId,
    context: Digest,
    prepared: Prepared<G>,
    guard: Guard,
    /// The list that was answered, by its digest.
    seen: Option<Digest>,
    over: bool,
}

impl<G: FrostGroup, M: AsRef<[u8]>> Signer<G, M> {
    /// Checks the terms; no secret is touched yet.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn new(key: &FrostKey<G>, terms: SignTerms<M>) -> Result<Self, SignError> {
        Self::guarded(key, terms, Guard::Off)
    }

    /// [`Self::new`] with a guard against faults in computing.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn guarded(
        key: &FrostKey<G>,
        terms: SignTerms<M>,
        guard: Guard,
    ) -> Result<Self, SignError> {
        let public = key.public();
        terms.check(public)?;
        if !terms.quorum.contains(key.party()) {
            return Err(SignError::NotInQuorum);
        }
        let prepared = Prepared::new(public, &terms.lent())?;
        let (me, context) = (key.party(), *public.context());
        Ok(Self { terms, me, context, prepared, guard, seen: None, over: false })
    }

    /// S.
    #[must_use]
    pub fn quorum(&self) -> PartySet {
        self.terms.quorum
    }

    /// Takes R2, the coordinator's encoded list.
    ///
    /// # Errors
    /// [`Failure::Refused`] drops the message, [`Failure::Aborted`] ends the session.
    pub fn handle_list(&mut self, from: PartyId, bytes: &[u8]) -> Result<Listed<G>, Failure> {
        if self.over && self.seen.is_none() {
            return Err(Failure::Refused(Refusal::Over));
        }
        if from != self.terms.coordinator {
            return Err(Failure::Refused(Refusal::NotAMember(from)));
        }
        if bytes.len() > MAX_LIST {
            return Err(Failure::Refused(DecodeError::TooLong.into()));
        }
        let header = Header::peek(bytes).map_err(|error| Failure::Refused(error.into()))?;
        let expected = self.terms.header(self.prepared.target.group().suite(), 2, from, None);
        header.check(&expected, from, self.me).map_err(Failure::Refused)?;
        let result = self.take_list(from, bytes);
        self.over |= !matches!(result, Err(Failure::Refused(_)));
        if matches!(result, Err(Failure::Aborted(_))) {
            self.seen = None;
        }
        result
    }

    fn take_list(&mut self, from: PartyId, bytes: &[u8]) -> Result<Listed<G>, Failure> {
        let blame = |fault| Failure::Aborted(Abort::Culprit(from, fault));
        let digest = Transcript::new("frost-list-bytes").bytes(bytes).finish();
        match self.seen {
            Some(seen) if seen == digest => return Err(Failure::Refused(Refusal::Duplicate)),
            Some(_) => return Err(blame(Fault::Equivocation)),
            None => {}
        }
        let list = read_list(bytes).map_err(blame)?;
        if list.terms != self.prepared.digest {
            return Err(Failure::Aborted(Abort::Disagreement(from)));
        }
        // Individual commitments, one of each member: under a sum of several, nobody could say whose
        // share is wrong.
        if !self.terms.quorum.iter().eq(list.entries.iter().map(|entry| entry.party)) {
            return Err(blame(Fault::CommitmentList));
        }
        let message = self.terms.message.as_ref();
        let target = self.prepared.target.clone();
        let bound = Bound::new(self.me, (&list.terms, message), &target, &list.entries);
        let bound = bound.map_err(blame)?;
        if self.guard == Guard::Recompute && !reads_again(bytes, &bound.inputs) {
            return Err(Failure::Aborted(Abort::ComputationFault));
        }
        self.seen = Some(digest);
        let CommitmentList { terms, entries, .. } = list;
        let own = *entry_of(&entries, self.me).ok_or(blame(Fault::CommitmentList))?;
        Ok(Listed {
            header: self.terms.header(target.group().suite(), 3, self.me, Some(from)),
            context: self.context,
            target,
            tweak: self.terms.tweak,
            message: Vec::from(message),
            bound,
            own,
            terms,
            entries,
            guard: self.guard,
        })
    }
}

/// A list that fits the terms.
pub struct Listed<G: FrostGroup> {
    /// Of the share.
    header: Header,
    context: Digest,
    target: Target<G>,
    tweak: Tweak,
    message: Vec<u8>,
    bound: Bound<G>,
    own: Entry,
    /// L and all entries, as the coordinator sent them.
    terms: Digest,
    entries: Vec<Entry>,
    guard: Guard,
}

impl<G: FrostGroup> Listed<G> {
    /// The pool that this party's commitment is from.
    #[must_use]
    pub fn pool(&self) -> &Digest {
        &self.own.pool
    }

    /// Takes the nonce out of its pool, for this list alone. The own commitment must stand in the list
    /// unchanged.
    ///
    /// # Errors
    /// [`ReserveError`]; nothing was taken.
    pub fn reserve<'p>(
        self,
        key: &FrostKey<G>,
        pool: &'p mut NoncePool<G>,
    ) -> Result<Reserved<'p, G>, ReserveError> {
        if *key.public().context() != self.context || key.party() != self.header.from {
            return Err(ReserveError::Pool(PoolError::OtherKey));
        }
        pool.check(key).map_err(ReserveError::Pool)?;
        let Entry { pool: id, nonce: listed, .. } = &self.own;
        let kept = pool.commitments(id, listed.index).map_err(ReserveError::Pool)?;
        // Points have one encoding.
        if (listed.hiding, listed.binding) != kept {
            let coordinator = self.header.to.unwrap_or(self.header.from);
            let abort = Abort::Culprit(coordinator, Fault::AlteredCommitment);
            return Err(ReserveError::Aborted(abort));
        }
        let index = listed.index;
        let (nonces, change) = pool.take(index).map_err(ReserveError::Pool)?;
        Ok(Reserved { pool, change, consumed: Consumed { listed: self, nonces } })
    }
}

/// A nonce that left its pool, while the store does not know it yet. Nothing can be signed with it.
/// Dropped, the nonce is lost, and the pool must be loaded again.
pub struct Reserved<'p, G: FrostGroup> {
    pool: &'p mut NoncePool<G>,
    change: Change,
    consumed: Consumed<G>,
}

impl<G: FrostGroup> Reserved<'_, G> {
    /// Has `store` write the changed pool. It returns when the change is **durable** (and refuses one
    /// that does not [replace](Change::replaces) what is stored); only then the nonce may be used. If it
    /// fails, the nonce is wiped: nobody knows whether the store has it still.
    ///
    /// # Errors
    /// Those of `store`. The pool must then be loaded again.
    pub fn persist<E>(
        self,
        store: impl FnOnce(&Change) -> Result<(), E>,
    ) -> Result<Consumed<G>, E> {
        store(&self.change)?;
        self.pool.saved();
        Ok(self.consumed)
    }
}

impl<G: FrostGroup> Reserved<'_, G> {
    /// [`Self::persist`] for a store that keeps the last answer beside the pool: the share is computed first,
    /// `store` writes both as one, and only when that is **durable** the share comes out. Asked again for the same
    /// list, such a store has the answer, and no nonce is needed.
    ///
    /// # Errors
    /// Those of `store`; outside, [`SignError`] as of [`Consumed::sign`], with nothing stored.
    pub fn answer<E>(
        self,
        key: &FrostKey<G>,
        store: impl FnOnce(&Change, &SignatureShare) -> Result<(), E>,
    ) -> Result<Result<SignatureShare, E>, SignError> {
        let share = self.consumed.sign(key)?;
        let stored = store(&self.change, &share);
        if stored.is_ok() {
            self.pool.saved();
        }
        Ok(stored.map(|()| share))
    }
}

/// A nonce that its pool has durably lost: it makes one share, for one message and list.
pub struct Consumed<G: FrostGroup> {
    listed: Listed<G>,
    nonces: Nonces,
}

impl<G: FrostGroup> Consumed<G> {
    /// R3, to the coordinator: z_i. The nonce ends here, also if the share is not right and does not come out.
    ///
    /// # Errors
    /// [`SignError::OtherKey`] if `key` is not the one of the session; [`SignError::ComputationFault`] if the
    /// share does not verify; [`SignError::Degenerate`] does not happen.
    pub fn sign(self, key: &FrostKey<G>) -> Result<SignatureShare, SignError> {
        let listed = self.listed;
        if *key.public().context() != listed.context || key.party() != listed.header.from {
            return Err(SignError::OtherKey);
        }
        let Bound { inputs, factor, weight, others, .. } = &listed.bound;
        let nonce =
            self.nonces.bound(listed.target.group(), factor).ok_or(SignError::Degenerate)?;
        let commitment = *others + G::mul_base(nonce.expose());
        let (challenge, negated) =
            listed.challenge(&listed.target, commitment).ok_or(SignError::Degenerate)?;
        let nonce = SecretScalar::<G>::new(match negated {
            true => G::negate(nonce.expose()),
            false => *nonce.expose(),
        });
        let share = listed.target.share(key.share());
        let response =
            *nonce.expose() + G::product(&G::product(weight, &challenge), share.expose());
        let bytes = G::scalar_to_bytes(&response);
        let share = SignatureShare::sealed(listed.header, *inputs, bytes);
        let share = share.ok_or(SignError::Degenerate)?;
        if listed.is_answered(key, &share) { Ok(share) } else { Err(SignError::ComputationFault) }
    }
}

impl<G: FrostGroup> Listed<G> {
    /// c, and whether R is negated.
    #[inline(never)]
    fn challenge(&self, target: &Target<G>, commitment: G::Point) -> Option<(G::Scalar, bool)> {
        let (name, negated) = G::name(&commitment)?;
        Some((target.group().challenge(&name, target.name(), &self.message), negated))
    }

    /// Whether this is the share of these commitments and this key, as its peers will check it:
    /// z·G − c·λ·Y_i = ±(D + ρ·E). Two answers under one nonce are the share, and a wrong one may be worse. In
    /// variable time: all of it is public.
    #[must_use]
    #[inline(never)]
    pub fn is_answered(&self, key: &FrostKey<G>, share: &SignatureShare) -> bool {
        self.answers(key, share) == Some(true)
    }

    fn answers(&self, key: &FrostKey<G>, share: &SignatureShare) -> Option<bool> {
        let (prepared, again);
        let (mut target, mut bound) = (&self.target, &self.bound);
        if self.guard == Guard::Recompute {
            let (me, message) = (key.party(), self.message.as_slice());
            let terms = shown(&self.header, self.tweak, message, &self.entries)?;
            prepared = Prepared::new(key.public(), &terms).ok()?;
            again = Bound::new(me, (&prepared.digest, message), &prepared.target, &self.entries);
            (target, bound) = (&prepared.target, again.as_ref().ok()?);
            // L is the coordinator's, and of the list is the digest that leaves with the share: so what the share and
            // its check have in common is what was sent.
            let header = terms.header(target.group().suite(), 3, me, self.header.to);
            let found = (&prepared.digest, &bound.inputs, header);
            if !is_of(share, &self.terms, &found) {
                return None;
            }
        }
        let Bound { factor, weight, others, .. } = bound;
        let own = entry_of(&self.entries, self.header.from)?;
        // This party's own: they are what it offered.
        let group = target.group();
        let point = |bytes| group.nonce_from_bytes(bytes);
        let (hiding, binding) = (point(&own.nonce.hiding)?, point(&own.nonce.binding)?);
        let own = binding::commitment(group, &[(hiding, binding, *factor)]);
        let (challenge, negated) = self.challenge(target, *others + own)?;
        let response = group.scalar_from_bytes(&share.response)?;
        let key = target.party_key(key.public().party_key(self.header.from));
        let factor = G::negate(&G::product(&challenge, weight));
        let found = binding::commitment(group, &[(G::mul_base(&response), key, factor)]);
        Some(found == if negated { -own } else { own })
    }
}

impl<G: FrostGroup> core::fmt::Debug for Listed<G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Listed").finish_non_exhaustive()
    }
}

impl<G: FrostGroup> core::fmt::Debug for Reserved<'_, G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Reserved").finish_non_exhaustive()
    }
}

impl<G: FrostGroup> core::fmt::Debug for Consumed<G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Consumed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Ed25519, SchnorrSecp256k1};
    use crate::frost::FrostSuite;
    use crate::frost::Offers;
    use crate::frost::tests::{hedged, sign_terms, two_of_three};

    /// Parties 1 and 2 with a nonce each, and a list of both.
    struct Scene<G: FrostSuite> {
        keys: Vec<FrostKey<G>>,
        pools: Vec<NoncePool<G>>,
        terms: SignTerms<Vec<u8>>,
        list: Vec<u8>,
    }

    fn scene<G: FrostSuite>() -> Scene<G> {
        let (keys, quorum) = (two_of_three::<G>(), PartySet::first(2));
        let (public, one) = (keys[0].public(), keys[0].party());
        let mut offers = Offers::new(public, one);
        let pool = |key| NoncePool::generate(key, 0, 2, &mut hedged(1)).unwrap();
        let pools: Vec<_> = keys[..2].iter().map(pool).collect();
        for (key, pool) in keys.iter().zip(&pools) {
            let mut buffer = [0; crate::frost::MAX_OFFER];
            offers.take(key.party(), pool.offer(one, &mut buffer).unwrap()).unwrap();
        }
        let terms = sign_terms(quorum, b"message");
        let aggregator = crate::frost::Aggregator::new(public, terms.clone(), &mut offers).unwrap();
        let mut buffer = alloc::vec![0; MAX_LIST];
        let list = aggregator.list_message(&mut buffer).unwrap().to_vec();
        Scene { keys, pools, terms, list }
    }

    impl<G: FrostSuite> Scene<G> {
        fn listed(&self, guard: Guard) -> Listed<G> {
            let key = &self.keys[0];
            let mut signer = Signer::guarded(key, self.terms.clone(), guard).unwrap();
            signer.handle_list(key.party(), &self.list).unwrap()
        }
    }

    fn refused<G: FrostSuite>() {
        let mut scene = scene::<G>();
        let listed = scene.listed(Guard::Off);
        // The fault: another nonce than the one that was committed to.
        let (nonces, _) = scene.pools[0].take(1).unwrap();
        let share = Consumed { listed, nonces }.sign(&scene.keys[0]);
        assert_eq!(share, Err(SignError::ComputationFault));
    }

    #[test]
    fn a_share_that_does_not_verify_does_not_leave() {
        refused::<SchnorrSecp256k1>();
        refused::<Ed25519>();
    }

    /// A fault in what a share and its check have in common, which only a guard sees.
    fn shared<G: FrostSuite>(fault: fn(&mut Listed<G>)) {
        let answer = |guard, fault: fn(&mut Listed<G>)| {
            let mut scene = scene::<G>();
            let (nonces, _) = scene.pools[0].take(0).unwrap();
            let mut listed = scene.listed(guard);
            fault(&mut listed);
            Consumed { listed, nonces }.sign(&scene.keys[0])
        };
        let right = answer(Guard::Recompute, |_| {});
        assert!(right.is_ok());
        assert_eq!(answer(Guard::Off, |_| {}), right);
        let wrong = answer(Guard::Off, fault);
        assert!(wrong.is_ok() && wrong != right);
        assert_eq!(answer(Guard::Recompute, fault), Err(SignError::ComputationFault));
    }

    fn all_shared<G: FrostSuite>() {
        shared::<G>(|listed| listed.message[0] ^= 1);
        shared::<G>(|listed| listed.header.session[0] ^= 1);
        shared::<G>(|listed| listed.header.round = 2);
        shared::<G>(|listed| listed.bound.inputs[0] ^= 1);
        shared::<G>(|listed| listed.bound.factor = listed.bound.factor + G::default().one());
        shared::<G>(|listed| listed.bound.weight = listed.bound.weight + G::default().one());
        shared::<G>(|listed| listed.bound.others = listed.bound.others + G::default().generator());
        shared::<G>(|listed| {
            let (point, tweak) = (G::mul_base(&G::default().number(7)), Tweak::None);
            let bytes = G::point_to_bytes(&point).unwrap();
            listed.target = Target::new(G::default(), &point, &bytes, &tweak).unwrap();
        });
    }

    #[test]
    fn what_a_share_and_its_check_have_in_common_is_what_was_sent() {
        all_shared::<SchnorrSecp256k1>();
        all_shared::<Ed25519>();
    }

    #[test]
    fn what_is_in_memory_in_place_of_a_share_does_not_leave() {
        let mut scene = scene::<SchnorrSecp256k1>();
        let (nonces, _) = scene.pools[0].take(0).unwrap();
        let listed = scene.listed(Guard::Off);
        let mut share = Consumed { listed, nonces }.sign(&scene.keys[0]).unwrap();
        let mut buffer = [0; crate::frost::MAX_MESSAGE];
        assert!(share.encode(&mut buffer).is_ok());
        share.response[0] ^= 1;
        assert!(share.encode(&mut buffer).is_err());
    }
}
