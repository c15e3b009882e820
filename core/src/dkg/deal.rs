//! What one dealer makes: its polynomial, its contributions, and what they commit it to.

use heapless::Vec;
use rand_core::{CryptoRng, RngCore};

use super::message::{Commit, Deal, Open, Opening};
use crate::curve::{Group, PointBytes};
use crate::hash::{Digest, Transcript};
use crate::key::KeyTerms;
use crate::party::PartyId;
use crate::secret::{SecretBytes, SecretScalar};
use crate::vss::Polynomial;

/// This party's dealing; it lives as long as the run.
pub(super) struct Dealing<G: Group, const N: usize, const K: usize> {
    me: PartyId,
    polynomial: Polynomial<G, N>,
    coefficients: Vec<PointBytes, N>,
    nonce: [u8; 32],
    blind: [u8; 32],
    proof_nonce: SecretScalar<G>,
    /// σ_ij for every other holder, in order.
    pub(super) pairs: Vec<Opening, N>,
    /// c_iA for every A ∋ i, in order.
    pub(super) sets: Vec<Opening, K>,
}

fn opening(rng: &mut (impl RngCore + CryptoRng)) -> Opening {
    Opening { value: SecretBytes::random(rng), blind: SecretBytes::random(rng) }
}

/// A copy for one receiver; it is wiped when the encoded message is gone.
fn copy(opening: &Opening) -> Opening {
    Opening {
        value: SecretBytes::new(*opening.value.expose()),
        blind: SecretBytes::new(*opening.blind.expose()),
    }
}

/// com_i = H("dkg-com", ctx0, i, n_i, Φ_i, r_i).
pub(super) fn commitment(
    context: &Digest,
    dealer: PartyId,
    nonce: &[u8; 32],
    coefficients: &[PointBytes],
    blind: &[u8; 32],
) -> Digest {
    let start = Transcript::new("dkg-com").bytes(context).party(dealer).bytes(nonce);
    let start = start.u16(coefficients.len() as u16);
    coefficients.iter().fold(start, |t, point| t.bytes(&point.0)).bytes(blind).finish()
}

/// c_i = H2F("dkg-pop", sid, i, Φ_i[0], K_i).
pub(super) fn proof_challenge<G: Group>(
    sid: &Digest,
    dealer: PartyId,
    constant: &PointBytes,
    nonce: &PointBytes,
) -> G::Scalar {
    let transcript = Transcript::new("dkg-pop").bytes(sid).party(dealer);
    G::scalar_from_wide(&transcript.bytes(&constant.0).bytes(&nonce.0).wide())
}

impl<G: Group, const N: usize, const K: usize> Dealing<G, N, K> {
    pub(super) fn random(
        terms: &KeyTerms,
        me: PartyId,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Option<Self> {
        let holders = terms.holders;
        let polynomial = Polynomial::random(holders.threshold(), rng);
        let coefficients: Vec<PointBytes, N> =
            polynomial.commit().iter().filter_map(G::point_to_bytes).collect();
        let (mut nonce, mut blind) = ([0; 32], [0; 32]);
        rng.fill_bytes(&mut nonce);
        rng.fill_bytes(&mut blind);
        let dealing = Self {
            me,
            polynomial,
            coefficients,
            nonce,
            blind,
            proof_nonce: SecretScalar::random(rng),
            pairs: (1..holders.count()).map(|_| opening(rng)).collect(),
            sets: (0..holders.nonce_keys()).map(|_| opening(rng)).collect(),
        };
        // A coefficient that is 0 has no encoding; it does not happen with a working generator.
        (dealing.coefficients.len() == holders.threshold()).then_some(dealing)
    }

    /// R1.
    pub(super) fn commit(&self, context: &Digest) -> Commit {
        let nonce = self.nonce;
        let commitment = commitment(context, self.me, &nonce, &self.coefficients, &self.blind);
        Commit { nonce, commitment }
    }

    /// R2.
    pub(super) fn open(&self, terms: &KeyTerms, sid: &Digest) -> Option<Open<N, K>> {
        let holders = terms.holders;
        let others = holders.parties().without(self.me);
        let proof_nonce = G::point_to_bytes(&G::mul_base(self.proof_nonce.expose()))?;
        let challenge =
            proof_challenge::<G>(sid, self.me, self.coefficients.first()?, &proof_nonce);
        let proof = *self.proof_nonce.expose() + challenge * *self.polynomial.constant()?.expose();
        let pairs = others.iter().zip(&self.pairs);
        let sets = holders.nonce_sets_of(self.me).zip(&self.sets);
        Some(Open {
            sid: *sid,
            coefficients: self.coefficients.clone(),
            blind: self.blind,
            pairs: pairs.map(|(j, o)| o.pair_commitment(sid, self.me, j)).collect(),
            sets: sets.map(|(set, o)| o.set_commitment(sid, self.me, set)).collect(),
            proof_nonce,
            proof: G::scalar_to_bytes(&proof),
        })
    }

    /// R3 for `to`.
    pub(super) fn deal(
        &self,
        terms: &KeyTerms,
        me: PartyId,
        to: PartyId,
        transcript: &Digest,
    ) -> Option<Deal<K>> {
        let holders = terms.holders;
        let place = holders.parties().without(me).position(to)?;
        let sets = holders.nonce_sets_of(me).zip(&self.sets).filter(|(set, _)| set.contains(to));
        Some(Deal {
            transcript: *transcript,
            share: SecretBytes::of_scalar(&self.share(to)),
            pair: copy(self.pairs.get(place)?),
            sets: sets.map(|(_, opening)| copy(opening)).collect(),
        })
    }

    /// f_i(to).
    pub(super) fn share(&self, to: PartyId) -> SecretScalar<G> {
        self.polynomial.evaluate(to)
    }
}
