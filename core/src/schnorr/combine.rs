//! The coordinator's end: nonce points and shares in, one verified signature out, or a culprit.

use heapless::Vec;

use super::target::Target;
use super::{Failure, Salt, SignError, SignTerms, Signature, SignatureShare, holds, nonce_inputs};
use crate::curve::{PointBytes, SchnorrGroup};
use crate::key::PublicKey;
use crate::nonce::{self, NonceList, check_header};
use crate::party::{PartyId, PartySet};
use crate::session::{Abort, Fault, Refusal};
use crate::vss;
use crate::wire::{self, Bytes64};

/// Collects the quorum's nonce points and shares, in any order. The coordinator needs no share of its
/// own, and holds no secret.
///
/// It takes R_j from its author and not from others' words, so a wrong z_j has one possible author:
/// once the list passes the degree check it is the list that every honest member answered to.
pub struct Combiner<G: SchnorrGroup, M, const S: usize> {
    terms: SignTerms<M>,
    target: Target<G>,
    /// Φ, encoded: its points are needed only to find who lied.
    commitment: Vec<PointBytes, S>,
    list: NonceList<G, S>,
    shares: Vec<(PartyId, SignatureShare), S>,
    over: bool,
}

impl<G: SchnorrGroup, M: AsRef<[u8]>, const S: usize> Combiner<G, M, S> {
    /// A combiner for `terms`, with the salts that the coordinator showed to all.
    ///
    /// # Errors
    /// [`SignError`] if the terms break a rule.
    pub fn new<const N: usize>(
        public: &PublicKey<N>,
        terms: SignTerms<M>,
        salts: &[(PartyId, Salt)],
    ) -> Result<Self, SignError> {
        let holders = public.terms.holders;
        terms.check(&holders)?;
        nonce::check_salts(&terms.quorum, salts)?;
        if terms.quorum.len() > S {
            return Err(SignError::TooLarge);
        }
        let bytes = public.group_key().filter(|_| public.terms.suite == G::SUITE);
        let bytes = bytes.ok_or(SignError::PublicRecord)?;
        let group_key = G::point_from_bytes(bytes).ok_or(SignError::PublicRecord)?;
        let target = Target::new(&group_key, bytes, &terms.tweak)?;
        let of_key = (&public.terms.context(), public.terms.epoch, &bytes.0);
        let inputs = nonce_inputs(of_key, &target, &terms, salts);
        let header = terms.header::<G>(1, terms.coordinator, None);
        let list = NonceList::new(header, terms.quorum, holders.degree(), inputs);
        if public.commitment.len() != holders.threshold() {
            return Err(SignError::PublicRecord);
        }
        // T points, and T ≤ |S| ≤ S.
        let commitment = public.commitment.iter().copied().collect();
        Ok(Self { terms, target, commitment, list, shares: Vec::new(), over: false })
    }

    /// The members whose nonce point or share has not arrived.
    #[must_use]
    pub fn missing(&self) -> PartySet {
        let nonces = self.terms.quorum.difference(&self.list.missing());
        let both = self.shares.iter().map(|(id, _)| *id).filter(|id| nonces.contains(*id));
        self.terms.quorum.difference(&both.collect())
    }

    /// Takes a member's encoded R1, the coordinator's own among them if it is one; with the last
    /// message of all comes the signature, already verified.
    ///
    /// # Errors
    /// [`Failure::Refused`] drops the message, [`Failure::Aborted`] ends the session.
    pub fn handle_nonce(
        &mut self,
        from: PartyId,
        bytes: &[u8],
    ) -> Result<Option<Signature>, Failure> {
        if self.over {
            return Err(Failure::Refused(Refusal::Over));
        }
        let taken = self.list.take(from, self.terms.coordinator, bytes);
        self.conclude(taken)
    }

    /// Takes a member's encoded share, likewise.
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
        check_header(bytes, &self.terms.header::<G>(2, from, Some(coordinator)), coordinator)?;
        let taken = self.take_share(from, bytes);
        self.conclude(taken)
    }

    fn take_share(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Failure> {
        let blame = |fault| Failure::Aborted(Abort::Culprit(from, fault));
        let share: SignatureShare = wire::decode(bytes).map_err(|_| blame(Fault::Malformed))?;
        if let Some((_, earlier)) = self.shares.iter().find(|(id, _)| *id == from) {
            return Err(if *earlier == share {
                Failure::Refused(Refusal::Duplicate)
            } else {
                blame(Fault::Equivocation)
            });
        }
        self.shares.push((from, share)).map_err(|_| Failure::Refused(Refusal::NotAMember(from)))
    }

    fn conclude(&mut self, taken: Result<(), Failure>) -> Result<Option<Signature>, Failure> {
        let result = taken.and_then(|()| {
            if self.missing().is_empty() { self.finish().map(Some) } else { Ok(None) }
        });
        self.over = matches!(result, Err(Failure::Aborted(_)) | Ok(Some(_)));
        result
    }

    fn finish(&mut self) -> Result<Signature, Failure> {
        let point = G::clear_cofactor(&self.list.value_at_zero()?);
        let (nonce, negated) = G::name(&point).ok_or(Failure::Aborted(Abort::Degenerate))?;
        let challenge = G::challenge(&nonce, self.target.name(), self.terms.message.as_ref());
        // By party, so that of several culprits the same one is named whatever came first.
        self.shares.sort_unstable_by_key(|(id, _)| *id);
        let mut responses: Vec<(PartyId, G::Scalar), S> = Vec::new();
        for (id, share) in &self.shares {
            let malformed = Failure::Aborted(Abort::Culprit(*id, Fault::Malformed));
            if (share.inputs, share.nonce) != (*self.list.inputs(), nonce) {
                return Err(Failure::Aborted(Abort::Disagreement(*id)));
            }
            let response = G::scalar_from_bytes(&share.response).ok_or(malformed)?;
            let _ = responses.push((*id, response));
        }
        // z = Σ L_i·z_i. Nothing is released that does not verify.
        let response = responses.iter().fold(G::Scalar::default(), |sum, (id, response)| {
            sum + vss::lagrange::<G>(self.terms.quorum, *id) * *response
        });
        if !holds::<G>(self.target.point(), &nonce, &challenge, &response) {
            return Err(Failure::Aborted(self.blame(negated, &challenge, &responses)));
        }
        let mut signature = [0; 64];
        let written = nonce.into_iter().chain(G::response_to_bytes(&response));
        signature.iter_mut().zip(written).for_each(|(to, from)| *to = from);
        Ok(Bytes64(signature))
    }

    /// Whose z_j·G is not ±h·R_j + c·Y_j. The R_j lie on one polynomial and give R, the Y_j give Y: if
    /// every z_j fitted, z would.
    fn blame(
        &self,
        negated: bool,
        challenge: &G::Scalar,
        responses: &[(PartyId, G::Scalar)],
    ) -> Abort {
        let unnamed = Abort::InvalidSignature(self.terms.quorum);
        let points = self.commitment.iter().map(G::point_from_bytes);
        let Some(points) = points.collect::<Option<Vec<G::Point, S>>>() else { return unnamed };
        let fits = |id: &PartyId, response: &G::Scalar| {
            let party_key = vss::evaluate_commitment::<G>(&points, *id);
            let key = self.target.party_key(party_key);
            let mut sent = self.list.entries().iter().filter(|(entry, _)| entry.id == *id);
            sent.next().is_some_and(|(entry, _)| {
                let nonce = G::clear_cofactor(&entry.point);
                let nonce = if negated { -nonce } else { nonce };
                G::commitment_of(response, challenge, &key) == nonce
            })
        };
        let liar = responses.iter().find(|(id, response)| !fits(id, response));
        liar.map_or(unnamed, |(id, _)| Abort::Culprit(*id, Fault::BadSignatureShare))
    }
}
