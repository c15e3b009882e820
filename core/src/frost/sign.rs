//! A member's end of a signature (`docs/PROTOCOL.md` §7): terms, list, nonce, durable, one share. Each
//! step is a type that the next one consumes.

use alloc::collections::BTreeMap;

use frost_core::SigningPackage;
use frost_core::round1::SigningCommitments;

use super::key::{self, FrostKey};
use super::offers::Entry;
use super::pool::{Change, NoncePool, Nonces, PoolError};
use super::suite::{self, C, FrostSuite};
use super::{CommitmentList, MAX_LIST, Prepared, SignError, SignTerms, SignatureShare};
use crate::hash::{Digest, Transcript};
use crate::nonce::Failure;
use crate::party::PartyId;
use crate::schnorr::Target;
use crate::session::{Abort, Fault, Header, Refusal};
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

/// The list as `frost-core` takes it, and the digest by which all know it.
pub(super) struct Package<G: FrostSuite> {
    pub(super) inner: SigningPackage<C<G>>,
    pub(super) inputs: Digest,
}

/// Makes the package of a list that has exactly one entry of every member, in increasing order; or says
/// whose commitment is none.
pub(super) fn package<G: FrostSuite>(
    terms: &Digest,
    message: &[u8],
    entries: &[Entry],
) -> Result<Package<G>, PartyId> {
    let mut commitments: BTreeMap<_, SigningCommitments<C<G>>> = BTreeMap::new();
    let mut inputs = Transcript::new("frost-list").bytes(terms).u16(entries.len() as u16);
    for Entry { party, pool, nonce } in entries {
        let pair = suite::commitments::<G>(&nonce.hiding, &nonce.binding).ok_or(*party)?;
        commitments.insert(suite::identifier::<G>(*party).ok_or(*party)?, pair);
        inputs = inputs.party(*party).bytes(pool).u16(nonce.index);
        inputs = inputs.bytes(&nonce.hiding.0).bytes(&nonce.binding.0);
    }
    let inner = SigningPackage::new(commitments, message);
    Ok(Package { inner, inputs: inputs.finish() })
}

/// A member that waits for the coordinator's list.
pub struct Signer<G: FrostSuite, M> {
    terms: SignTerms<M>,
    me: PartyId,
    context: Digest,
    prepared: Prepared<G>,
    /// The list that was answered, by its digest.
    seen: Option<Digest>,
    over: bool,
}

impl<G: FrostSuite, M: AsRef<[u8]>> Signer<G, M> {
    /// Checks the terms; no secret is touched yet.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn new(key: &FrostKey<G>, terms: SignTerms<M>) -> Result<Self, SignError> {
        let public = key.public();
        terms.check(public)?;
        if !terms.quorum.contains(key.party()) {
            return Err(SignError::NotInQuorum);
        }
        let prepared = Prepared::new(public, &terms)?;
        let (me, context) = (key.party(), *public.context());
        Ok(Self { terms, me, context, prepared, seen: None, over: false })
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
        let expected = self.terms.header::<G>(2, from, None);
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
        let list: CommitmentList = wire::decode(bytes).map_err(|_| blame(Fault::Malformed))?;
        if list.terms != self.prepared.digest {
            return Err(Failure::Aborted(Abort::Disagreement(from)));
        }
        // Individual commitments, one of each member: under a sum of several, nobody could say whose
        // share is wrong.
        if !self.terms.quorum.iter().eq(list.entries.iter().map(|entry| entry.party)) {
            return Err(blame(Fault::CommitmentList));
        }
        let message = self.terms.message.as_ref();
        let package = package::<G>(&list.terms, message, &list.entries)
            .map_err(|_| blame(Fault::InvalidPoint))?;
        let own = list.entries.iter().find(|entry| entry.party == self.me).copied();
        let own = own.ok_or(blame(Fault::CommitmentList))?;
        self.seen = Some(digest);
        Ok(Listed {
            header: self.terms.header::<G>(3, self.me, Some(from)),
            context: self.context,
            target: self.prepared.target.clone(),
            package,
            own,
        })
    }
}

/// A list that fits the terms.
pub struct Listed<G: FrostSuite> {
    /// Of the share.
    header: Header,
    context: Digest,
    target: Option<Target<G>>,
    package: Package<G>,
    own: Entry,
}

impl<G: FrostSuite> Listed<G> {
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
        let index = self.own.nonce.index;
        let kept = pool.commitments(&self.own.pool, index).map_err(ReserveError::Pool)?;
        let me = suite::identifier::<G>(self.header.from);
        let listed = me.and_then(|me| self.package.inner.signing_commitment(&me));
        if listed.as_ref() != Some(kept) {
            let coordinator = self.header.to.unwrap_or(self.header.from);
            let abort = Abort::Culprit(coordinator, Fault::AlteredCommitment);
            return Err(ReserveError::Aborted(abort));
        }
        let (nonces, change) = pool.take(index).map_err(ReserveError::Pool)?;
        let Self { header, context, target, package, .. } = self;
        let consumed = Consumed { header, context, target, package, nonces };
        Ok(Reserved { pool, change, consumed })
    }
}

/// A nonce that left its pool, while the store does not know it yet. Nothing can be signed with it.
/// Dropped, the nonce is lost, and the pool must be loaded again.
pub struct Reserved<'p, G: FrostSuite> {
    pool: &'p mut NoncePool<G>,
    change: Change,
    consumed: Consumed<G>,
}

impl<G: FrostSuite> Reserved<'_, G> {
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

/// A nonce that its pool has durably lost: it makes one share, for one message and list.
pub struct Consumed<G: FrostSuite> {
    header: Header,
    context: Digest,
    target: Option<Target<G>>,
    package: Package<G>,
    nonces: Nonces<G>,
}

impl<G: FrostSuite> Consumed<G> {
    /// R3, to the coordinator: z_i. The nonce ends here.
    ///
    /// # Errors
    /// [`SignError::OtherKey`] if `key` is not the one of the session; [`SignError::Degenerate`] does
    /// not happen.
    pub fn sign(self, key: &FrostKey<G>) -> Result<SignatureShare, SignError> {
        let public = key.public();
        if *public.context() != self.context || key.party() != self.header.from {
            return Err(SignError::OtherKey);
        }
        let tweaked = self.target.as_ref().map(|target| {
            let encoded = G::point_to_bytes(target.point())?;
            let share = target.share(key.share());
            let name = suite::verifying_key::<G>(&encoded)?;
            key::key_package(key.party(), &share, name, *key.package().min_signers() as u8)
        });
        let tweaked = match tweaked {
            Some(package) => Some(package.ok_or(SignError::Degenerate)?),
            None => None,
        };
        let package = tweaked.as_ref().unwrap_or(key.package());
        let share = frost_core::round2::sign(&self.package.inner, &self.nonces, package);
        let share = share.map_err(|_| SignError::Degenerate)?;
        let response = suite::response_bytes::<G>(&share).ok_or(SignError::Degenerate)?;
        Ok(SignatureShare { header: self.header, inputs: self.package.inputs, response })
    }
}

impl<G: FrostSuite> core::fmt::Debug for Listed<G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Listed").finish_non_exhaustive()
    }
}

impl<G: FrostSuite> core::fmt::Debug for Reserved<'_, G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Reserved").finish_non_exhaustive()
    }
}

impl<G: FrostSuite> core::fmt::Debug for Consumed<G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Consumed").finish_non_exhaustive()
    }
}
