//! A key as its holders know it: the terms that all agreed on, the public commitments, one party's
//! secret record, and the certificate that makes the key active.

mod confirm;
mod opened;

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::curve::{Group, PointBytes, Suite};
use crate::derive::ExtendedKey;
use crate::hash::{Digest, Transcript};
use crate::party::{Holders, PartyId};
use crate::secret::SecretBytes;
use crate::vss;
use crate::wire;

pub use confirm::{CertificateError, Confirmation, check_certificate, check_certificate_of};
pub use opened::{OpenError, OpenedKey};

/// What every holder agreed to before the first message of a key generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTerms {
    /// The ciphersuite.
    pub suite: Suite,
    /// The network, by its random identifier.
    pub network: [u8; 16],
    /// The key, by its random identifier.
    pub key: [u8; 16],
    /// The generation of sharings, from 0.
    pub epoch: u32,
    /// N and T.
    pub holders: Holders,
    /// The hash of what the application binds to the key: its policy.
    pub context: Digest,
}

crate::read_fields!(KeyTerms { suite, network, key, epoch, holders, context });
crate::write_fields!(KeyTerms { suite, network, key, epoch, holders, context });
crate::read_fields!(['de, const N: usize] 'de PublicKey<N> { terms, transcript, commitment });
crate::read_fields!(['de, const N: usize, const K: usize] 'de ShareRecord<N, K> { epoch, share, pair_seeds, nonce_keys });
crate::write_fields!([const N: usize] PublicKey<N> { terms, transcript, commitment });
crate::write_fields!([const N: usize, const K: usize] ShareRecord<N, K> {
    epoch,
    share,
    pair_seeds,
    nonce_keys,
});

impl KeyTerms {
    /// ctx0 (`docs/PROTOCOL.md` §1.4): the context without quorum and coordinator.
    #[must_use]
    #[inline(never)]
    pub fn context(&self) -> Digest {
        Transcript::new("ctx")
            .bytes(&[wire::VERSION, self.suite.into()])
            .bytes(&self.network)
            .bytes(&self.key)
            .u32(self.epoch)
            .set(self.holders.parties())
            .u16(self.holders.threshold() as u16)
            .bytes(&self.context)
            .finish()
    }
}

/// A key's public side; N is the capacity for coefficients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey<const N: usize> {
    /// What the holders agreed to.
    pub terms: KeyTerms,
    /// th: the hash of everything that was broadcast when the key was made.
    pub transcript: Digest,
    /// Φ: T points; `Φ[0]` is the group key X, Φ at j is X_j.
    pub commitment: Vec<PointBytes, N>,
}

impl<const N: usize> PublicKey<N> {
    /// The points of Φ, or `None` if the record does not belong to this group or is malformed.
    #[must_use]
    pub fn points<G: Group>(&self) -> Option<Vec<G::Point, N>> {
        self.points_of_suite(G::of(self.terms.suite)?)
    }

    /// The same of a record whose suite was compared: with this code two suites of one curve are the same to a chip.
    #[inline(never)]
    fn points_of_suite<G: Group>(&self, group: G) -> Option<Vec<G::Point, N>> {
        if self.commitment.len() != self.terms.holders.threshold() {
            return None;
        }
        let points: Vec<G::Point, N> =
            self.commitment.iter().filter_map(|bytes| group.point_from_bytes(bytes)).collect();
        (points.len() == self.commitment.len()).then_some(points)
    }

    /// X, SEC1-compressed.
    #[must_use]
    pub fn group_key(&self) -> Option<&PointBytes> {
        self.commitment.first()
    }

    /// X_j = Φ at j.
    #[must_use]
    pub fn party_key<G: Group>(&self, party: PartyId) -> Option<G::Point> {
        let group = G::of(self.terms.suite)?;
        Some(vss::evaluate_commitment(group, &self.points::<G>()?, party))
    }

    /// The chain code of the key: H("cc", th).
    #[must_use]
    pub fn chain_code(&self) -> Digest {
        Transcript::new("cc").bytes(&self.transcript).finish()
    }

    /// X with its chain code, from which keys are derived; `None` like [`Self::points`].
    #[must_use]
    pub fn extended<G: Group>(&self) -> Option<ExtendedKey<G>> {
        let x = *self.points::<G>()?.first()?;
        Some(ExtendedKey::of(G::of(self.terms.suite)?, x, self.group_key()?.0, self.chain_code()))
    }
}

/// One party's secrets of one key and epoch: they are sealed, opened and erased together
/// (`docs/PROTOCOL.md` §6.1). K is the capacity for nonce keys.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShareRecord<const N: usize, const K: usize> {
    /// The epoch that these secrets belong to.
    pub epoch: u32,
    /// x_i, 32 big-endian bytes.
    pub share: SecretBytes,
    /// ζ_ij for every other holder j, in increasing order.
    pub pair_seeds: Vec<SecretBytes, N>,
    /// r_A for every A ∋ i, in the order of `Holders::nonce_sets_of`.
    pub nonce_keys: Vec<SecretBytes, K>,
}

/// H("pair-com", th, min, max, ζ): both ends of a pair must commit to the same seed.
#[inline(never)]
pub(crate) fn pair_commitment(th: &Digest, a: PartyId, b: PartyId, seed: &SecretBytes) -> Digest {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    let transcript = Transcript::new("pair-com").bytes(th).party(low).party(high);
    transcript.bytes(seed.expose()).finish()
}

/// H("prss-com", th, A, r_A): all members of A must commit to the same nonce key.
#[inline(never)]
pub(crate) fn nonce_commitment(
    th: &Digest,
    set: crate::party::PartySet,
    key: &SecretBytes,
) -> Digest {
    Transcript::new("prss-com").bytes(th).set(set).bytes(key.expose()).finish()
}
