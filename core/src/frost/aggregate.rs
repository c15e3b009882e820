//! The coordinator's end of a signature: the list out, shares in, one verified signature or all
//! culprits.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use frost_core::keys::PublicKeyPackage;
use frost_core::round2;
use frost_core::{CheaterDetection, Error, VerifyingKey};

use super::offers::{Entry, Offers};
use super::sign::{Package, package};
use super::suite::{self, C, FrostSuite};
use super::{
    CommitmentList, FrostPublic, Prepared, SignError, SignTerms, Signature, SignatureShare,
};
use crate::nonce::{Failure, check_header};
use crate::party::{PartyId, PartySet};
use crate::session::{Abort, Fault, Refusal};
use crate::wire::{self, Bytes64, NoRoom};

/// Collects the quorum's shares, in any order. The coordinator needs no share of its own, and holds no
/// secret.
///
/// It has each commitment from its author and not from others' words, and shows all members one list.
/// So whose z_j does not fit to its commitment and its X_j has no excuse.
pub struct Aggregator<G: FrostSuite, M> {
    terms: SignTerms<M>,
    public: FrostPublic<G>,
    prepared: Prepared<G>,
    entries: Vec<Entry>,
    package: Package<G>,
    shares: Vec<(PartyId, SignatureShare, round2::SignatureShare<C<G>>)>,
    over: bool,
}

impl<G: FrostSuite, M: AsRef<[u8]>> Aggregator<G, M> {
    /// An aggregator for `terms`, with one offered commitment of each member, which is never shown to
    /// members again.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule, or who has no commitment left.
    pub fn new(
        public: &FrostPublic<G>,
        terms: SignTerms<M>,
        offers: &mut Offers<G>,
    ) -> Result<Self, SignError> {
        terms.check(public)?;
        if offers.context() != public.context() || offers.coordinator() != terms.coordinator {
            return Err(SignError::OtherKey);
        }
        let prepared = Prepared::new(public, &terms)?;
        let entries = offers.draw(terms.quorum).map_err(SignError::NoCommitment)?;
        let package = package(&prepared.digest, terms.message.as_ref(), &entries)
            .map_err(|party| SignError::NoCommitment(PartySet::EMPTY.with(party)))?;
        let (public, shares) = (public.clone(), Vec::new());
        Ok(Self { terms, public, prepared, entries, package, shares, over: false })
    }

    /// R2, to all members.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_LIST`](super::MAX_LIST).
    pub fn list_message<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let list = CommitmentList {
            header: self.terms.header::<G>(2, self.terms.coordinator, None),
            terms: self.prepared.digest,
            entries: self.entries.clone(),
        };
        wire::encode(&list, buffer).map(|bytes| &*bytes)
    }

    /// The members whose share has not arrived.
    #[must_use]
    pub fn missing(&self) -> PartySet {
        self.terms.quorum.difference(&self.shares.iter().map(|(id, ..)| *id).collect())
    }

    /// Takes a member's encoded share; with the last of all comes the signature, already verified.
    ///
    /// # Errors
    /// [`Failure::Refused`] drops the message, [`Failure::Aborted`] ends the session.
    pub fn handle_share(
        &mut self,
        from: PartyId,
        bytes: &[u8],
    ) -> Result<Option<Signature>, Failure> {
        if self.over {
            return Err(Failure::Refused(Refusal::Over));
        }
        if !self.terms.quorum.contains(from) {
            return Err(Failure::Refused(Refusal::NotAMember(from)));
        }
        let coordinator = self.terms.coordinator;
        check_header(bytes, &self.terms.header::<G>(3, from, Some(coordinator)), coordinator)?;
        let result = self.take_share(from, bytes).and_then(|()| {
            if self.missing().is_empty() { self.finish().map(Some) } else { Ok(None) }
        });
        self.over = matches!(result, Err(Failure::Aborted(_)) | Ok(Some(_)));
        result
    }

    fn take_share(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Failure> {
        let blame = |fault| Failure::Aborted(Abort::Culprit(from, fault));
        let share: SignatureShare = wire::decode(bytes).map_err(|_| blame(Fault::Malformed))?;
        if let Some((_, earlier, _)) = self.shares.iter().find(|(id, ..)| *id == from) {
            return Err(if *earlier == share {
                Failure::Refused(Refusal::Duplicate)
            } else {
                blame(Fault::Equivocation)
            });
        }
        if share.inputs != self.package.inputs {
            return Err(Failure::Aborted(Abort::Disagreement(from)));
        }
        let response = suite::response::<G>(&share.response).ok_or(blame(Fault::Malformed))?;
        self.shares.push((from, share, response));
        Ok(())
    }

    fn finish(&self) -> Result<Signature, Failure> {
        let unnamed = Failure::Aborted(Abort::InvalidSignature(self.terms.quorum));
        let mut shares = BTreeMap::new();
        for (id, _, response) in &self.shares {
            shares.insert(suite::identifier::<G>(*id).ok_or(unnamed)?, *response);
        }
        let key = self.verifying_key().ok_or(Failure::Aborted(Abort::Degenerate))?;
        let least = u16::try_from(self.public.threshold()).ok();
        let public = PublicKeyPackage::new(BTreeMap::new(), key, least);
        // Verifies the signature; the parties' keys are needed only to find who lied.
        let made = frost_core::aggregate_custom(
            &self.package.inner,
            &shares,
            &public,
            CheaterDetection::Disabled,
        );
        let Ok(signature) = made else { return Err(Failure::Aborted(self.blame(&shares, key))) };
        let bytes = signature.serialize().ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Bytes64).ok_or(unnamed)
    }

    fn verifying_key(&self) -> Option<VerifyingKey<C<G>>> {
        match &self.prepared.target {
            None => Some(self.public.verifying_key()),
            Some(target) => suite::verifying_key::<G>(&G::point_to_bytes(target.point())?),
        }
    }

    /// All members whose share does not fit, however many they are: if every one fitted, the signature
    /// would.
    fn blame(
        &self,
        shares: &BTreeMap<frost_core::Identifier<C<G>>, round2::SignatureShare<C<G>>>,
        key: VerifyingKey<C<G>>,
    ) -> Abort {
        let unnamed = Abort::InvalidSignature(self.terms.quorum);
        let keys = self.terms.quorum.iter().map(|party| {
            let key = self.public.party_key(party);
            let key = self.prepared.target.as_ref().map_or(key, |target| target.party_key(key));
            Some((suite::identifier::<G>(party)?, suite::verifying_share::<G>(&key)?))
        });
        let Some(keys) = keys.collect::<Option<BTreeMap<_, _>>>() else { return unnamed };
        let least = u16::try_from(self.public.threshold()).ok();
        let public = PublicKeyPackage::new(keys, key, least);
        let all = CheaterDetection::AllCheaters;
        let judged = frost_core::aggregate_custom(&self.package.inner, shares, &public, all);
        let Err(Error::InvalidSignatureShare { culprits }) = judged else { return unnamed };
        let culprits: PartySet = culprits.iter().filter_map(suite::party::<G>).collect();
        if culprits.is_empty() {
            return unnamed;
        }
        Abort::Culprits(culprits, Fault::BadSignatureShare)
    }
}
