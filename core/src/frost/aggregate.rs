//! The coordinator's end of a signature: the list out, shares in, one verified signature or all
//! culprits.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use frost_core::keys::PublicKeyPackage;
use frost_core::{CheaterDetection, Error, SigningPackage};

use super::binding;
use super::offers::{Entry, Offers};
use super::sign::list_digest;
use super::suite::{self, C, FrostSuite};
use super::{
    CommitmentList, FrostPublic, Prepared, SignError, SignTerms, Signature, SignatureShare,
};
use crate::hash::Digest;
use crate::nonce::{Failure, check_header};
use crate::party::{PartyId, PartySet};
use crate::schnorr::holds;
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
    /// D.
    inputs: Digest,
    shares: Vec<(PartyId, SignatureShare, G::Scalar)>,
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
        let prepared = Prepared::new(public, &terms.lent())?;
        let entries = offers.draw(terms.quorum).map_err(SignError::NoCommitment)?;
        let inputs = list_digest(&prepared.digest, &entries);
        let (public, shares) = (public.clone(), Vec::with_capacity(entries.len()));
        Ok(Self { terms, public, prepared, entries, inputs, shares, over: false })
    }

    /// R2, to all members.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_LIST`](super::MAX_LIST).
    pub fn list_message<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let list = CommitmentList {
            header: self.terms.header(G::SUITE, 2, self.terms.coordinator, None),
            terms: self.prepared.digest,
            entries: self.entries.clone(),
        };
        wire::write(&list, buffer).map(|bytes| &*bytes)
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
        check_header(bytes, &self.terms.header(G::SUITE, 3, from, Some(coordinator)), coordinator)?;
        let result = self.take_share(from, bytes).and_then(|()| {
            if self.missing().is_empty() { self.finish().map(Some) } else { Ok(None) }
        });
        self.over = matches!(result, Err(Failure::Aborted(_)) | Ok(Some(_)));
        result
    }

    fn take_share(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Failure> {
        let blame = |fault| Failure::Aborted(Abort::Culprit(from, fault));
        let share: SignatureShare = wire::read(bytes).map_err(|_| blame(Fault::Malformed))?;
        if let Some((_, earlier, _)) = self.shares.iter().find(|(id, ..)| *id == from) {
            return Err(if *earlier == share {
                Failure::Refused(Refusal::Duplicate)
            } else {
                blame(Fault::Equivocation)
            });
        }
        if share.inputs != self.inputs {
            return Err(Failure::Aborted(Abort::Disagreement(from)));
        }
        let response =
            G::default().scalar_from_bytes(&share.response).ok_or(blame(Fault::Malformed))?;
        self.shares.push((from, share, response));
        Ok(())
    }

    fn finish(&self) -> Result<Signature, Failure> {
        self.signature().ok_or_else(|| Failure::Aborted(self.blame()))
    }

    /// R and z, if they verify.
    fn signature(&self) -> Option<Signature> {
        let (target, message) = (&self.prepared.target, self.terms.message.as_ref());
        let group = target.group();
        let factors = binding::factors(target, message, &self.entries)?;
        let members = self.entries.iter().zip(factors).map(|(Entry { nonce, .. }, factor)| {
            // Whether they are in the subgroup was checked when they were offered.
            let [hiding, binding] =
                [&nonce.hiding, &nonce.binding].map(|bytes| group.nonce_from_bytes(bytes));
            Some((hiding?, binding?, factor))
        });
        let commitment = binding::commitment(group, &members.collect::<Option<Vec<_>>>()?);
        let (name, _) = G::name(&commitment)?;
        let response = self.shares.iter().fold(group.zero(), |sum, (.., response)| sum + *response);
        let challenge = group.challenge(&name, target.name(), message);
        if !holds::<G>(target.point(), &name, &challenge, &response) {
            return None;
        }
        let mut signature = [0; 64];
        let bytes = name.into_iter().chain(G::response_to_bytes(&response));
        signature.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        Some(Bytes64(signature))
    }

    /// All members whose share does not fit, however many they are: if every one fitted, the signature
    /// would. `frost-core` judges.
    fn blame(&self) -> Abort {
        let unnamed = Abort::InvalidSignature(self.terms.quorum);
        let Some(Error::InvalidSignatureShare { culprits }) = self.judged() else { return unnamed };
        let culprits: PartySet = culprits.iter().filter_map(suite::party::<G>).collect();
        if culprits.is_empty() {
            return unnamed;
        }
        Abort::Culprits(culprits, Fault::BadSignatureShare)
    }

    /// What `frost-core` has against the shares.
    fn judged(&self) -> Option<Error<C<G>>> {
        let target = &self.prepared.target;
        let (mut commitments, mut keys) = (BTreeMap::new(), BTreeMap::new());
        for Entry { party, nonce, .. } in &self.entries {
            let id = suite::identifier::<G>(*party)?;
            commitments.insert(id, suite::commitments::<G>(&nonce.hiding, &nonce.binding)?);
            let key = target.party_key(self.public.party_key(*party));
            keys.insert(id, suite::verifying_share::<G>(&key)?);
        }
        let shares = self.shares.iter().map(|(party, _, response)| {
            Some((suite::identifier::<G>(*party)?, suite::response::<G>(response)?))
        });
        let shares = shares.collect::<Option<BTreeMap<_, _>>>()?;
        let key = suite::verifying_key::<G>(&target.group().encoding(target.name()))?;
        let least = u16::try_from(self.public.threshold()).ok();
        let public = PublicKeyPackage::new(keys, key, least);
        let package = SigningPackage::new(commitments, self.terms.message.as_ref());
        let all = CheaterDetection::AllCheaters;
        frost_core::aggregate_custom(&package, &shares, &public, all).err()
    }
}
