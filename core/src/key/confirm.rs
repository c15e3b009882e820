//! R4 of key generation: confirmations, and the certificate that all of them make.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{PublicKey, ShareRecord, nonce_commitment, pair_commitment};
use crate::hash::{Digest, Transcript};
use crate::identity::Identity;
use crate::party::PartyId;
use crate::wire::Bytes64;

/// One party's signed word that it holds its share of exactly this key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation<const N: usize, const K: usize> {
    /// Who confirms.
    pub party: PartyId,
    /// H("pair-com", …) for every other holder in increasing order.
    pub pair_commitments: Vec<Digest, N>,
    /// H("prss-com", …) for every nonce key that the party holds.
    pub nonce_commitments: Vec<Digest, K>,
    /// By the party's identity key, over [`Confirmation::digest`].
    pub signature: Bytes64,
}

crate::read_fields!(['de, const N: usize, const K: usize] 'de Confirmation<N, K> {
    party,
    pair_commitments,
    nonce_commitments,
    signature,
});
crate::write_fields!([const N: usize, const K: usize] Confirmation<N, K> {
    party,
    pair_commitments,
    nonce_commitments,
    signature,
});

/// Why confirmations do not make a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// A holder's confirmation is not there.
    Missing(PartyId),
    /// The confirmation has the wrong number of commitments.
    Shape(PartyId),
    /// The signature is not this party's on this key: it confirms another key, or is forged.
    Signature(PartyId),
    /// Two ends of a pair hold different seeds. Nothing is opened, the run is void.
    PairDiffers(PartyId, PartyId),
    /// Two members of one set hold different nonce keys. Nothing is opened, the run is void.
    NonceKeyDiffers(PartyId, PartyId),
}

impl core::fmt::Display for CertificateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Missing(party) => write!(f, "party {party} has not confirmed the key"),
            Self::Shape(party) => {
                write!(f, "party {party} confirmed with a wrong number of commitments")
            }
            Self::Signature(party) => {
                write!(f, "party {party}'s confirmation is not signed for this key")
            }
            Self::PairDiffers(a, b) => {
                write!(f, "parties {a} and {b} hold different pair seeds: the key is void")
            }
            Self::NonceKeyDiffers(a, b) => {
                write!(f, "parties {a} and {b} hold different nonce keys: the key is void")
            }
        }
    }
}

impl core::error::Error for CertificateError {}

impl<const N: usize, const K: usize> Confirmation<N, K> {
    /// What `me` confirms, still without a signature; the same after a restart, since it follows from
    /// the two records alone.
    #[must_use]
    #[inline(never)]
    pub fn unsigned(public: &PublicKey<N>, me: PartyId, record: &ShareRecord<N, K>) -> Self {
        let (holders, th) = (public.terms.holders, &public.transcript);
        let others = holders.parties().without(me);
        let pairs = others.iter().zip(&record.pair_seeds);
        let sets = holders.nonce_sets_of(me).zip(&record.nonce_keys);
        Self {
            party: me,
            pair_commitments: pairs.map(|(j, seed)| pair_commitment(th, me, j, seed)).collect(),
            nonce_commitments: sets.map(|(set, key)| nonce_commitment(th, set, key)).collect(),
            signature: Bytes64([0; 64]),
        }
    }

    /// What `me` confirms, with what its identity key, `sign`, makes of [`Self::digest`]: for a key that
    /// signs at once. One in an HSM may block, or fail; it signs an [`Self::unsigned`] confirmation.
    #[must_use]
    pub fn signed(
        public: &PublicKey<N>,
        me: PartyId,
        record: &ShareRecord<N, K>,
        sign: impl FnOnce(&Digest) -> Bytes64,
    ) -> Self {
        let unsigned = Self::unsigned(public, me, record);
        Self { signature: sign(&unsigned.digest(public)), ..unsigned }
    }

    /// H("dkg-conf", th, X, Φ, epoch, i, commitments): what the identity key signs.
    #[must_use]
    #[inline(never)]
    pub fn digest(&self, public: &PublicKey<N>) -> Digest {
        let start = Transcript::new("dkg-conf")
            .bytes(&public.terms.context())
            .bytes(&public.transcript)
            .u16(public.commitment.len() as u16);
        let start = public.commitment.iter().fold(start, |t, phi| t.bytes(&phi.0));
        let start = start.u32(public.terms.epoch).party(self.party);
        let pairs = self
            .pair_commitments
            .iter()
            .fold(start.u16(self.pair_commitments.len() as u16), |t, commitment| {
                t.bytes(commitment)
            });
        self.nonce_commitments
            .iter()
            .fold(pairs.u16(self.nonce_commitments.len() as u16), |t, c| t.bytes(c))
            .finish()
    }

    /// Checks shape and signature of one confirmation by itself.
    ///
    /// # Errors
    /// [`CertificateError`] names the party.
    pub fn check(
        &self,
        public: &PublicKey<N>,
        identity: &Identity,
    ) -> Result<(), CertificateError> {
        self.check_shape(public)?;
        if !identity.verify(&self.digest(public), &self.signature) {
            return Err(CertificateError::Signature(self.party));
        }
        Ok(())
    }

    #[inline(never)]
    fn check_shape(&self, public: &PublicKey<N>) -> Result<(), CertificateError> {
        let holders = public.terms.holders;
        let pairs = self.pair_commitments.len() == holders.count() - 1;
        let sets = self.nonce_commitments.len() == holders.nonce_keys();
        if pairs && sets { Ok(()) } else { Err(CertificateError::Shape(self.party)) }
    }
}

/// Checks that `confirmations` are the certificate of `public`: one of every holder, validly signed,
/// and all commitments to the same seed or nonce key equal. Only then is the key ACTIVE.
///
/// # Errors
/// [`CertificateError`] names the party or the pair that differs.
pub fn check_certificate<const N: usize, const K: usize>(
    public: &PublicKey<N>,
    confirmations: &[Confirmation<N, K>],
    identity_of: impl Fn(PartyId) -> Option<Identity>,
) -> Result<(), CertificateError> {
    check_all(public, confirmations, |confirmation| {
        let identity = identity_of(confirmation.party);
        let identity = identity.ok_or(CertificateError::Signature(confirmation.party))?;
        confirmation.check(public, &identity)
    })
}

/// [`check_certificate`] by a holder: among `confirmations` its own must be the very one that it made
/// and signed, `own`; that signature is not verified again.
///
/// # Errors
/// [`CertificateError`] names the party or the pair that differs.
pub fn check_certificate_of<const N: usize, const K: usize>(
    public: &PublicKey<N>,
    own: &Confirmation<N, K>,
    confirmations: &[Confirmation<N, K>],
    identity_of: impl Fn(PartyId) -> Option<Identity>,
) -> Result<(), CertificateError> {
    check_all(public, confirmations, |confirmation| {
        if confirmation.party == own.party {
            confirmation.check_shape(public)?;
            let same = confirmation == own;
            return if same { Ok(()) } else { Err(CertificateError::Signature(own.party)) };
        }
        let identity = identity_of(confirmation.party);
        let identity = identity.ok_or(CertificateError::Signature(confirmation.party))?;
        confirmation.check(public, &identity)
    })
}

#[inline(never)]
fn check_all<const N: usize, const K: usize>(
    public: &PublicKey<N>,
    confirmations: &[Confirmation<N, K>],
    check: impl Fn(&Confirmation<N, K>) -> Result<(), CertificateError>,
) -> Result<(), CertificateError> {
    let of = |party| confirmations.iter().find(|c| c.party == party);
    let holders = public.terms.holders;
    for party in holders.parties().iter() {
        check(of(party).ok_or(CertificateError::Missing(party))?)?;
    }
    for a in holders.parties().iter() {
        for b in holders.parties().iter().filter(|b| *b > a) {
            let (Some(at_a), Some(at_b)) = (of(a), of(b)) else { continue };
            let seed_at = |c: &Confirmation<N, K>, other| {
                let place = holders.parties().without(c.party).position(other)?;
                c.pair_commitments.get(place).copied()
            };
            if seed_at(at_a, b) != seed_at(at_b, a) {
                return Err(CertificateError::PairDiffers(a, b));
            }
            if shared_sets_differ(public, at_a, at_b) {
                return Err(CertificateError::NonceKeyDiffers(a, b));
            }
        }
    }
    Ok(())
}

#[inline(never)]
fn shared_sets_differ<const N: usize, const K: usize>(
    public: &PublicKey<N>,
    a: &Confirmation<N, K>,
    b: &Confirmation<N, K>,
) -> bool {
    let holders = public.terms.holders;
    let of_b = || {
        holders
            .nonce_sets_of(b.party)
            .zip(&b.nonce_commitments)
            .filter(|(set, _)| set.contains(a.party))
    };
    let of_a = holders
        .nonce_sets_of(a.party)
        .zip(&a.nonce_commitments)
        .filter(|(set, _)| set.contains(b.party));
    // Both walk the shared sets in the same order.
    of_a.zip(of_b()).any(|((_, mine), (_, theirs))| mine != theirs)
}
