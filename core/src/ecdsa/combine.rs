//! From all (μ_i, ν_i) to one verified signature.

use super::{Ecdsa, Response, Salt, SignError, SignTerms};
use crate::curve::EcdsaGroup;
use crate::hash::Digest;
use crate::key::PublicKey;
use crate::nonce::{self, Combine, Round};
use crate::party::PartyId;
use crate::session::{Abort, Fault};
use crate::vss;

/// No group of holders within [`crate::party::MAX_NONCE_KEYS`] has a larger quorum: T ≤ 6.
const MAX_QUORUM: usize = 11;

/// An ordinary ECDSA signature, with low s where [`EcdsaGroup::normalizes_s`] demands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// r, 32 big-endian bytes.
    pub r: [u8; 32],
    /// s, 32 big-endian bytes.
    pub s: [u8; 32],
    /// Bit 0: y(R) is odd; bit 1: x(R) was at least p.
    pub recovery_id: u8,
}

/// The coordinator's session. S is the capacity of the quorum.
pub type Combiner<G, const S: usize> = nonce::Combiner<Shares<G>, S>;

/// How shares of ECDSA become a signature.
pub struct Shares<G: EcdsaGroup> {
    group: G,
    digest: Digest,
    /// Y.
    public: G::Point,
}

impl<G: EcdsaGroup, const S: usize> nonce::Combiner<Shares<G>, S> {
    /// A combiner for `terms` under the descendant Y of `public` that they name, with the salts that the
    /// coordinator showed to all.
    ///
    /// # Errors
    /// [`SignError`] if the terms break a rule.
    pub fn new<const N: usize>(
        public: &PublicKey<N>,
        terms: SignTerms,
        salts: &[(PartyId, Salt)],
    ) -> Result<Self, SignError> {
        let root = public.extended::<G>().ok_or(SignError::PublicRecord)?;
        Self::under(&root, &public.terms, terms, salts)
    }

    /// [`Self::new`] for a member, whose open key has the points parsed already.
    ///
    /// # Errors
    /// [`SignError`] if the terms break a rule.
    pub fn of_member<const N: usize, const K: usize>(
        key: &crate::key::OpenedKey<G, N, K>,
        terms: SignTerms,
        salts: &[(PartyId, Salt)],
    ) -> Result<Self, SignError> {
        Self::under(&key.extended(), key.terms(), terms, salts)
    }

    fn under(
        root: &crate::derive::ExtendedKey<G>,
        key: &crate::key::KeyTerms,
        terms: SignTerms,
        salts: &[(PartyId, Salt)],
    ) -> Result<Self, SignError> {
        terms.check(root.group(), &key.holders)?;
        nonce::check_salts(&terms.quorum, salts)?;
        let derived = root.derive(&terms.derivation).map_err(SignError::Derivation)?;
        let rho = nonce::salt_digest(salts);
        let session = terms.inputs((&key.context(), key), root, &derived, &rho);
        let rule = Shares { group: root.group(), digest: terms.digest, public: derived.point() };
        let degree = key.holders.degree();
        Self::start(root.group(), rule, session, (terms.quorum, terms.coordinator), degree)
    }
}

/// A scalar and 1/scalar, of two values at once: (a/b, b/a) for one inversion, or `None` if either is 0.
fn quotients<G: EcdsaGroup>(a: &G::Scalar, b: &G::Scalar) -> Option<(G::Scalar, G::Scalar)> {
    let inverse = G::invert(&(*a * *b))?;
    Some((*a * *a * inverse, *b * *b * inverse))
}

impl<G: EcdsaGroup> Combine for Shares<G> {
    type Scheme = Ecdsa<G>;
    type Signature = Signature;

    fn finish(
        &self,
        round: &Round<'_, G>,
        responses: &[(PartyId, Response)],
    ) -> Result<Signature, Abort> {
        // The weights may be scaled: only the quotient of the sums counts.
        let (weights, _) = vss::scaled_lagrange::<_, MAX_QUORUM>(self.group, round.quorum);
        let (mut mu, mut nu) = (self.group.zero(), self.group.zero());
        for ((_, weight), (id, response)) in weights.iter().zip(responses) {
            let malformed = Abort::Culprit(*id, Fault::Malformed);
            let parse = |bytes| self.group.scalar_from_bytes(bytes).ok_or(malformed);
            mu = mu + *weight * parse(&response.mu)?;
            nu = nu + *weight * parse(&response.nu)?;
        }
        let suspect = Abort::InvalidSignature(round.quorum);
        let (mut s, inverse) = quotients::<G>(&nu, &mu).ok_or(suspect)?;
        let (r, mut odd, above) = self.group.x_coordinate(&round.bytes);
        // Nothing is released that does not verify: R = h/s·G + r/s·Y, the same R, not only its x.
        let h = self.group.scalar_from_digest(&self.digest);
        let verified = G::combination(&(h * inverse), &self.public, &(r * inverse)) == *round.point;
        if !verified || r == self.group.zero() {
            return Err(suspect);
        }
        if self.group.normalizes_s() && G::is_high(&s) {
            s = -s;
            odd = !odd;
        }
        Ok(Signature {
            r: G::scalar_to_bytes(&r),
            s: G::scalar_to_bytes(&s),
            recovery_id: u8::from(odd) | u8::from(above) << 1,
        })
    }
}
