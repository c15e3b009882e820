//! What one dealer makes: its polynomial, its contributions, and what they commit it to. Contributions
//! follow from one seed, so that no number of nonce keys takes room here.

use core::cell::Cell;

use heapless::Vec;
use rand_core::{CryptoRng, RngCore};

use super::check::{commitment, proof_challenge};
use super::message::{Commit, Contribution, Deal, Kept, OpenTree, Opening, receivers};
use crate::curve::{Group, PointBytes};
use crate::hash::{Digest, Transcript};
use crate::key::KeyTerms;
use crate::party::{PartyId, PartySet};
use crate::secret::{SecretBytes, SecretScalar};
use crate::vss::{Polynomial, encoded};
use crate::wire::{Write, Writer};

/// This party's dealing; it lives as long as the run.
pub(super) struct Dealing<G: Group, const N: usize> {
    group: G,
    me: PartyId,
    polynomial: Polynomial<G, N>,
    coefficients: Vec<PointBytes, N>,
    nonce: [u8; 32],
    blind: [u8; 32],
    proof_secret: SecretScalar<G>,
    proof_nonce: PointBytes,
    /// Every contribution and its blinding follows from it.
    seed: SecretBytes,
}

impl<G: Group, const N: usize> Dealing<G, N> {
    /// A fresh dealing of `me`; the points of Φ go to `points`, which is empty.
    #[inline(never)]
    pub(super) fn random(
        group: G,
        terms: &KeyTerms,
        me: PartyId,
        rng: &mut (impl RngCore + CryptoRng),
        points: &mut Vec<G::Point, N>,
    ) -> Option<Self> {
        let polynomial = Polynomial::random(group, terms.holders.threshold(), rng);
        points.extend(polynomial.points());
        let (mut nonce, mut blind) = ([0; 32], [0; 32]);
        rng.fill_bytes(&mut nonce);
        rng.fill_bytes(&mut blind);
        let proof_secret = SecretScalar::random(group, rng);
        let seed = SecretBytes::random(rng);
        // Φ and K together: one inversion fewer. There are more holders than T.
        points.push(G::mul_base(proof_secret.expose())).ok()?;
        let mut coefficients = encoded::<G, N>(points);
        // A coefficient that is 0 has no encoding; it does not happen with a working generator.
        if coefficients.len() != points.len() {
            return None;
        }
        points.pop();
        let proof_nonce = coefficients.pop()?;
        Some(Self {
            group,
            me,
            polynomial,
            coefficients,
            nonce,
            blind,
            proof_secret,
            proof_nonce,
            seed,
        })
    }

    /// What the proof of `dealer` is multiplied by when all are verified together: nobody can know it,
    /// and it depends on what all have `said`.
    pub(super) fn weight(&self, said: &Digest, dealer: PartyId) -> [u8; 16] {
        let start = Transcript::new("dkg-weight").bytes(self.seed.expose());
        let digest = start.bytes(said).party(dealer).finish();
        digest.first_chunk().copied().unwrap_or_default()
    }

    /// σ_ij and its blinding.
    #[inline(never)]
    pub(super) fn pair(&self, to: PartyId) -> Contribution {
        let derive = |tag| Transcript::new(tag).bytes(self.seed.expose()).bytes(b"pair").party(to);
        Contribution { value: derive("dkg-value").secret(), blind: derive("dkg-blind").secret() }
    }

    /// c_iA and its blinding.
    #[inline(never)]
    pub(super) fn set(&self, set: PartySet) -> Contribution {
        Contribution { value: self.set_value(set), blind: self.derived("dkg-blind", set) }
    }

    /// c_iA.
    pub(super) fn set_value(&self, set: PartySet) -> SecretBytes {
        self.derived("dkg-value", set)
    }

    fn derived(&self, tag: &str, set: PartySet) -> SecretBytes {
        Transcript::new(tag).bytes(self.seed.expose()).bytes(b"set").set(set).secret()
    }

    /// f_i(to).
    pub(super) fn share(&self, to: PartyId) -> SecretScalar<G> {
        self.polynomial.evaluate(to)
    }

    /// R1.
    #[inline(never)]
    pub(super) fn commit(&self, context: &Digest) -> Commit {
        let nonce = self.nonce;
        let commitment = commitment(context, self.me, &nonce, &self.coefficients, &self.blind);
        Commit { nonce, commitment }
    }

    /// R2, with the commitments hashed by receiver.
    #[inline(never)]
    pub(super) fn open(&self, terms: &KeyTerms, sid: &Digest) -> Option<OpenTree<N>> {
        let constant = self.coefficients.first()?;
        let challenge = proof_challenge(self.group, sid, self.me, constant, &self.proof_nonce);
        let secret = self.polynomial.constant()?;
        let proof = *self.proof_secret.expose() + G::product(&challenge, secret.expose());
        let opening = Opening {
            sid: *sid,
            coefficients: self.coefficients.clone(),
            blind: self.blind,
            proof_nonce: self.proof_nonce,
            proof: G::scalar_to_bytes(&proof),
        };
        let holders = terms.holders;
        let (pairs, sets) = (holders.count() as u16 - 1, holders.nonce_keys() as u16);
        let committed: Vec<Digest, N> = self.pair_commitments(terms, sid).collect();
        let receivers = receivers(terms, self.me, &committed, self.set_commitments(terms, sid));
        Some(OpenTree { opening, pairs, sets, receivers })
    }

    fn pair_commitments(&self, terms: &KeyTerms, sid: &Digest) -> impl Iterator<Item = Digest> {
        let others = terms.holders.parties().without(self.me);
        others.iter().map(|j| self.pair(j).pair_commitment(sid, self.me, j))
    }

    fn set_commitments(&self, terms: &KeyTerms, sid: &Digest) -> impl Iterator<Item = Digest> {
        let sets = terms.holders.nonce_sets_of(self.me);
        sets.map(|set| self.set(set).set_commitment(sid, self.me, set))
    }

    /// R2 as it is sent: its encoding is that of [`super::message::Open`].
    #[inline(never)]
    pub(super) fn outgoing<'a>(
        &'a self,
        terms: &'a KeyTerms,
        opening: &'a Opening<N>,
    ) -> impl Write + 'a {
        let (holders, sid) = (terms.holders, &opening.sid);
        let pairs: Vec<Digest, N> = self.pair_commitments(terms, sid).collect();
        let sets = List::new(holders.nonce_keys(), self.set_commitments(terms, sid));
        (opening, pairs, sets)
    }

    /// R3 for `to`.
    #[inline(never)]
    pub(super) fn deal<const K: usize>(
        &self,
        terms: &KeyTerms,
        to: PartyId,
        transcript: &Digest,
    ) -> Deal<Kept<K>> {
        let mut deal = Deal {
            transcript: *transcript,
            share: SecretBytes::of_scalar(&self.share(to)),
            pair: self.pair(to),
            sets: Kept::default(),
        };
        for set in terms.holders.nonce_sets_of_both(self.me, to) {
            deal.sets.add(&self.set(set));
        }
        deal
    }
}

/// A list of digests, as one string of bytes, that is computed while it is encoded, once.
struct List<I> {
    length: usize,
    items: Cell<Option<I>>,
}

impl<I> List<I> {
    fn new(length: usize, items: I) -> Self {
        Self { length, items: Cell::new(Some(items)) }
    }
}

impl<I: Iterator<Item = Digest>> Write for List<I> {
    fn write(&self, to: &mut Writer<'_>) {
        to.length(32 * self.length);
        for digest in self.items.take().into_iter().flatten() {
            to.raw(&digest);
        }
    }
}
