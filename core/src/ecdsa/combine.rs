//! The coordinator's end: shares in, one verified signature out.

use heapless::Vec;

use super::{Failure, SignError, SignTerms, SignatureShare};
use crate::curve::{AffineBytes, EcdsaGroup};
use crate::derive::ExtendedKey;
use crate::hash::Digest;
use crate::nonce::check_header;
use crate::party::{Holders, PartyId, PartySet};
use crate::session::{Abort, Fault, Refusal};
use crate::vss;
use crate::wire;

/// An ordinary ECDSA signature, with low s where [`EcdsaGroup::NORMALIZE_S`] demands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// r, 32 big-endian bytes.
    pub r: [u8; 32],
    /// s, 32 big-endian bytes.
    pub s: [u8; 32],
    /// Bit 0: y(R) is odd; bit 1: x(R) was at least p.
    pub recovery_id: u8,
}

/// Collects the quorum's shares. The coordinator needs no share of its own, and holds no secret.
pub struct Combiner<G: EcdsaGroup, const S: usize> {
    terms: SignTerms,
    coordinator: PartyId,
    /// Y.
    public: G::Point,
    shares: Vec<(PartyId, SignatureShare), S>,
    over: bool,
}

struct Common<G: EcdsaGroup> {
    inputs: Digest,
    nonce: AffineBytes,
    mu: G::Scalar,
    nu: G::Scalar,
}

impl<G: EcdsaGroup, const S: usize> Combiner<G, S> {
    /// A combiner for `terms` under the descendant Y of `root` that they name.
    ///
    /// # Errors
    /// [`SignError`] if the terms break a rule.
    pub fn new(
        holders: &Holders,
        root: &ExtendedKey<G>,
        terms: SignTerms,
    ) -> Result<Self, SignError> {
        terms.check::<G>(holders)?;
        if terms.quorum.len() > S {
            return Err(SignError::TooLarge);
        }
        let public = root.derive(&terms.derivation).map_err(SignError::Derivation)?.point();
        let coordinator = terms.coordinator;
        Ok(Self { terms, coordinator, public, shares: Vec::new(), over: false })
    }

    /// The members whose share has not arrived.
    #[must_use]
    pub fn missing(&self) -> PartySet {
        self.terms.quorum.difference(&self.shares.iter().map(|(id, _)| *id).collect())
    }

    /// Takes a member's encoded share; with the last one comes the signature, already verified.
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
        let expected = self.terms.header::<G>(2, from, Some(self.coordinator));
        check_header(bytes, &expected, self.coordinator)?;
        let result = self.accept(from, bytes).and_then(|()| {
            if self.missing().is_empty() { self.finish().map(Some) } else { Ok(None) }
        });
        self.over = matches!(result, Err(Failure::Aborted(_)) | Ok(Some(_)));
        result
    }

    fn accept(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Failure> {
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

    fn interpolate(&self) -> Result<Common<G>, Failure> {
        let suspect = Failure::Aborted(Abort::InvalidSignature(self.terms.quorum));
        let (_, first) = self.shares.first().ok_or(suspect)?;
        let mut sum = Common {
            inputs: first.inputs,
            nonce: first.nonce,
            mu: G::Scalar::default(),
            nu: G::Scalar::default(),
        };
        for (id, share) in &self.shares {
            let blame = Failure::Aborted(Abort::Culprit(*id, Fault::Malformed));
            let mu = G::scalar_from_bytes(&share.mu).ok_or(blame)?;
            let nu = G::scalar_from_bytes(&share.nu).ok_or(blame)?;
            if (share.inputs, share.nonce) != (sum.inputs, sum.nonce) {
                return Err(suspect);
            }
            let weight = vss::lagrange::<G>(self.terms.quorum, *id);
            sum.mu = sum.mu + weight * mu;
            sum.nu = sum.nu + weight * nu;
        }
        Ok(sum)
    }

    fn finish(&self) -> Result<Signature, Failure> {
        let suspect = Failure::Aborted(Abort::InvalidSignature(self.terms.quorum));
        let Common { nonce, mu, nu, .. } = self.interpolate()?;
        // Not worth a check that R is on the curve: a wrong r does not verify.
        let (r, mut odd, above) = G::x_coordinate(&nonce);
        let mut s = nu * G::invert(&mu).ok_or(suspect)?;
        if G::NORMALIZE_S && G::is_high(&s) {
            s = -s;
            odd = !odd;
        }
        // `verify` refuses r = 0 and s = 0 too. Nothing is released that does not verify.
        if !G::verify(&self.public, &self.terms.digest, &r, &s) {
            return Err(suspect);
        }
        Ok(Signature {
            r: G::scalar_to_bytes(&r),
            s: G::scalar_to_bytes(&s),
            recovery_id: u8::from(odd) | u8::from(above) << 1,
        })
    }
}
