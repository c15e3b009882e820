//! From all z_i to one verified signature, or a culprit.

use heapless::Vec;

use super::target::Target;
use super::{Response, Salt, Schnorr, SignError, SignTerms, Signature, holds};
use crate::curve::{PointBytes, SchnorrGroup};
use crate::derive::ExtendedKey;
use crate::key::{OpenedKey, PublicKey};
use crate::nonce::{self, Combine, Round};
use crate::party::PartyId;
use crate::session::{Abort, Fault};
use crate::vss;
use crate::wire::Bytes64;

/// The coordinator's session. S is the capacity of the quorum.
pub type Combiner<G, M, const S: usize> = nonce::Combiner<Shares<G, M, S>, S>;

/// How shares of Schnorr become a signature.
pub struct Shares<G: SchnorrGroup, M, const S: usize> {
    message: M,
    target: Target<G>,
    /// Φ, encoded: its points are needed only to find who lied.
    commitment: Vec<PointBytes, S>,
}

impl<G: SchnorrGroup, M: AsRef<[u8]>, const S: usize> nonce::Combiner<Shares<G, M, S>, S> {
    /// A combiner for `terms`, with the salts that the coordinator showed to all.
    ///
    /// # Errors
    /// [`SignError`] if the terms break a rule.
    pub fn new<const N: usize>(
        public: &PublicKey<N>,
        terms: SignTerms<M>,
        salts: &[(PartyId, Salt)],
    ) -> Result<Self, SignError> {
        let root = public.extended::<G>().ok_or(SignError::PublicRecord)?;
        Self::under(&root, public, terms, salts)
    }

    /// [`Self::new`] for a member, whose open key has X parsed already.
    ///
    /// # Errors
    /// [`SignError`] if the terms break a rule, or `public` is another key's.
    pub fn of_member<const N: usize, const K: usize>(
        key: &OpenedKey<G, N, K>,
        public: &PublicKey<N>,
        terms: SignTerms<M>,
        salts: &[(PartyId, Salt)],
    ) -> Result<Self, SignError> {
        let bytes = PointBytes(*key.group_key_bytes());
        if public.terms != *key.terms() || public.group_key() != Some(&bytes) {
            return Err(SignError::PublicRecord);
        }
        Self::under(&key.extended(), public, terms, salts)
    }

    fn under<const N: usize>(
        root: &ExtendedKey<G>,
        public: &PublicKey<N>,
        terms: SignTerms<M>,
        salts: &[(PartyId, Salt)],
    ) -> Result<Self, SignError> {
        let key = &public.terms;
        terms.check(&key.holders)?;
        nonce::check_salts(&terms.quorum, salts)?;
        let target = Target::derived(root, &terms.derivation, &terms.tweak)?;
        let inputs = (&key.context(), key, &root.encoded().0);
        let session = terms.inputs(inputs, &target, &terms.digests(salts));
        // T points, and T ≤ |S| ≤ S.
        let commitment = public.commitment.iter().copied().take(S).collect();
        let (quorum, coordinator) = (terms.quorum, terms.coordinator);
        let rule = Shares { message: terms.message, target, commitment };
        Self::start(root.group(), rule, session, (quorum, coordinator), key.holders.degree())
    }
}

impl<G: SchnorrGroup, M: AsRef<[u8]>, const S: usize> Combine for Shares<G, M, S> {
    type Scheme = Schnorr<G, M>;
    type Signature = Signature;

    fn finish(
        &self,
        round: &Round<'_, G>,
        responses: &[(PartyId, Response)],
    ) -> Result<Signature, Abort> {
        let (nonce, negated) = G::name_of(&round.bytes).ok_or(Abort::Degenerate)?;
        let group = self.target.group();
        let challenge = group.challenge(&nonce, self.target.name(), self.message.as_ref());
        let mut parsed: Vec<(PartyId, G::Scalar), S> = Vec::new();
        for (id, response) in responses {
            let malformed = Abort::Culprit(*id, Fault::Malformed);
            let z = group.scalar_from_bytes(&response.z).ok_or(malformed)?;
            let _ = parsed.push((*id, z));
        }
        // z = Σ L_i·z_i. Nothing is released that does not verify.
        let (weights, common) = vss::scaled_lagrange::<_, S>(group, round.quorum);
        let sum = weights.iter().zip(&parsed);
        let mut z = sum.fold(group.zero(), |sum, ((_, weight), (_, z))| sum + *weight * *z);
        if common != group.one() {
            z = z * G::invert(&common).ok_or(Abort::Degenerate)?;
        }
        if !holds::<G>(self.target.point(), &nonce, &challenge, &z) {
            return Err(self.blame(round, negated, &challenge, &parsed));
        }
        let mut signature = [0; 64];
        let written = nonce.into_iter().chain(G::response_to_bytes(&z));
        signature.iter_mut().zip(written).for_each(|(to, from)| *to = from);
        Ok(Bytes64(signature))
    }
}

impl<G: SchnorrGroup, M: AsRef<[u8]>, const S: usize> Shares<G, M, S> {
    /// Whose z_j·G is not ±h·R_j + c·Y_j. The R_j lie on one polynomial and give R, the Y_j give Y: if
    /// every z_j fitted, z would.
    fn blame(
        &self,
        round: &Round<'_, G>,
        negated: bool,
        challenge: &G::Scalar,
        responses: &[(PartyId, G::Scalar)],
    ) -> Abort {
        let unnamed = Abort::InvalidSignature(round.quorum);
        let group = self.target.group();
        let points = self.commitment.iter().map(|bytes| group.point_from_bytes(bytes));
        let Some(points) = points.collect::<Option<Vec<G::Point, S>>>() else { return unnamed };
        let fits = |id: &PartyId, z: &G::Scalar| {
            let party_key = vss::evaluate_commitment(group, &points, *id);
            let key = self.target.party_key(party_key);
            let mut sent = round.entries.iter().filter(|(other, _)| other == id);
            sent.next().and_then(|(_, bytes)| group.nonce_from_bytes(bytes)).is_some_and(|point| {
                let nonce = G::clear_cofactor(&point);
                let nonce = if negated { -nonce } else { nonce };
                G::commitment_of(z, challenge, &key) == nonce
            })
        };
        let liar = responses.iter().find(|(id, z)| !fits(id, z));
        liar.map_or(unnamed, |(id, _)| Abort::Culprit(*id, Fault::BadSignatureShare))
    }
}
