//! A key as FROST sees it: the public side for everybody, and one party's opened share. It comes from
//! our key generation, or from records of a key that can do nothing but FROST.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::suite::FrostGroup;
use crate::curve::{PointBytes, Suite};
use crate::hash::{Digest, Transcript};
use crate::key::{self, KeyTerms, OpenedKey};
use crate::party::{PartyId, PartySet};
use crate::secret::{SecretBytes, SecretScalar};
use crate::{vss, wire};

/// What the holders of a FROST-only key agreed to.
///
/// They are no [`KeyTerms`]: nothing is signed statelessly with such a key, so T may be anything from 2
/// to n, and there are no nonce keys to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrostTerms {
    /// The ciphersuite.
    pub suite: Suite,
    /// The network, by its random identifier.
    pub network: [u8; 16],
    /// The key, by its random identifier.
    pub key: [u8; 16],
    /// The generation of sharings, from 0.
    pub epoch: u32,
    /// N.
    pub parties: PartySet,
    /// T: so many shares determine the key, and so many members at least sign.
    pub threshold: u8,
    /// The hash of what the application binds to the key: its policy.
    pub context: Digest,
}

impl FrostTerms {
    /// ctx0 of a FROST-only key; its tag keeps it apart from those of all other keys.
    #[must_use]
    pub fn context(&self) -> Digest {
        Transcript::new("frost-ctx")
            .bytes(&[wire::VERSION, self.suite.into()])
            .bytes(&self.network)
            .bytes(&self.key)
            .u32(self.epoch)
            .set(self.parties)
            .u16(self.threshold.into())
            .bytes(&self.context)
            .finish()
    }

    fn holds(&self) -> bool {
        self.threshold >= 2 && usize::from(self.threshold) <= self.parties.len()
    }
}

/// The public record of a FROST-only key; N is the capacity for coefficients. There is no certificate:
/// whoever takes such a key over compares [`Self::digest`] with the other holders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicRecord<const N: usize> {
    /// [`wire::VERSION`].
    pub version: u8,
    /// What the holders agreed to.
    pub terms: FrostTerms,
    /// Φ: T points; `Φ[0]` is the group key X, Φ at j is X_j.
    pub commitment: heapless::Vec<PointBytes, N>,
}

impl<const N: usize> PublicRecord<N> {
    /// What all holders must agree on before the key is used.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let start = Transcript::new("frost-key").bytes(&self.terms.context());
        let start = start.u16(self.commitment.len() as u16);
        self.commitment.iter().fold(start, |t, phi| t.bytes(&phi.0)).finish()
    }
}

/// One party's secret record of a FROST-only key, to be sealed. It has neither pair seeds nor nonce
/// keys, so no [`OpenedKey`] can be made of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct SecretRecord {
    /// [`wire::VERSION`].
    pub version: u8,
    /// [`FrostTerms::context`].
    pub context: Digest,
    /// The epoch that the share belongs to.
    pub epoch: u32,
    /// Whose share it is.
    pub party: PartyId,
    /// x_i, 32 big-endian bytes.
    pub share: SecretBytes,
}

/// Why records or packages are not a key, or not this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Written by another version.
    Version(u8),
    /// The key is of another suite.
    Suite(Suite),
    /// Not 2 ≤ T ≤ n, or more coefficients than this build has room for.
    Threshold,
    /// The public side has another number of points than T, or one that is none.
    PublicRecord,
    /// An identifier that is no number from 1 to 255.
    Identifier,
    /// The parties are not those of the terms.
    Parties,
    /// The X_j lie on no polynomial of degree T−1 whose value at 0 is X.
    OffPolynomial,
    /// The party is not a holder of the key.
    NotAHolder,
    /// The share is of another key: its terms differ.
    OtherKey,
    /// Another epoch's share.
    Epoch {
        /// The epoch of the public side.
        expected: u32,
        /// The epoch of the share.
        found: u32,
    },
    /// x_i·G ≠ X_i, or x_i is no scalar.
    Share,
}

impl core::fmt::Display for KeyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "a record of version {version}, this build reads {}", wire::VERSION)
            }
            Self::Suite(suite) => write!(f, "a key of the suite {suite:?}"),
            Self::Threshold => f.write_str("the threshold must be 2 to the number of holders"),
            Self::PublicRecord => f.write_str("the key's public record is malformed"),
            Self::Identifier => f.write_str("an identifier that is no number from 1 to 255"),
            Self::Parties => f.write_str("the holders are not those of the key's terms"),
            Self::OffPolynomial => {
                f.write_str("the holders' keys do not belong to one sharing of the group key")
            }
            Self::NotAHolder => f.write_str("this party holds no share of the key"),
            Self::OtherKey => f.write_str("the share is of another key"),
            Self::Epoch { expected, found } => {
                write!(f, "the share is of epoch {found}, the key is at epoch {expected}")
            }
            Self::Share => f.write_str("the share does not belong to the key (x·G differs)"),
        }
    }
}

impl core::error::Error for KeyError {}

/// What a pool of nonces belongs to, besides its party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyName {
    pub(super) suite: Suite,
    pub(super) network: [u8; 16],
    pub(super) key: [u8; 16],
    pub(super) epoch: u32,
    /// ctx0.
    pub(super) context: Digest,
}

crate::read_fields!(KeyName { suite, network, key, epoch, context });
crate::write_fields!(KeyName { suite, network, key, epoch, context });

/// A key's public side: a coordinator needs no more.
#[derive(Clone)]
pub struct FrostPublic<G: FrostGroup> {
    group: G,
    name: KeyName,
    parties: PartySet,
    threshold: u8,
    group_key: PointBytes,
    commitment: Vec<G::Point>,
}

impl<G: FrostGroup> FrostPublic<G> {
    /// A key of our own key generation.
    ///
    /// # Errors
    /// [`KeyError::Suite`] or [`KeyError::PublicRecord`].
    pub fn of<const N: usize>(public: &key::PublicKey<N>) -> Result<Self, KeyError> {
        let KeyTerms { suite, network, key, epoch, holders, .. } = public.terms;
        let name = KeyName { suite, network, key, epoch, context: public.terms.context() };
        Self::new(name, holders.parties(), holders.threshold() as u8, &public.commitment)
    }

    /// A FROST-only key.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with the record.
    pub fn open<const N: usize>(record: &PublicRecord<N>) -> Result<Self, KeyError> {
        if record.version != wire::VERSION {
            return Err(KeyError::Version(record.version));
        }
        let FrostTerms { suite, network, key, epoch, parties, threshold, .. } = record.terms;
        if !record.terms.holds() {
            return Err(KeyError::Threshold);
        }
        let name = KeyName { suite, network, key, epoch, context: record.terms.context() };
        Self::new(name, parties, threshold, &record.commitment)
    }

    fn new(
        name: KeyName,
        parties: PartySet,
        threshold: u8,
        commitment: &[PointBytes],
    ) -> Result<Self, KeyError> {
        let group = G::of(name.suite).filter(|group| !group.suite().is_ecdsa());
        let group = group.ok_or(KeyError::Suite(name.suite))?;
        if commitment.len() != usize::from(threshold) {
            return Err(KeyError::PublicRecord);
        }
        let points = commitment.iter().map(|bytes| group.point_from_bytes(bytes));
        let points = points.collect::<Option<Vec<_>>>().ok_or(KeyError::PublicRecord)?;
        let group_key = *commitment.first().ok_or(KeyError::PublicRecord)?;
        Ok(Self { group, name, parties, threshold, group_key, commitment: points })
    }

    /// N.
    #[must_use]
    pub fn parties(&self) -> PartySet {
        self.parties
    }

    /// T: at least so many members sign.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold.into()
    }

    /// X.
    #[must_use]
    pub fn group_key(&self) -> &PointBytes {
        &self.group_key
    }

    /// ctx0.
    #[must_use]
    pub fn context(&self) -> &Digest {
        &self.name.context
    }

    /// X_j = Φ at j.
    #[must_use]
    pub fn party_key(&self, party: PartyId) -> G::Point {
        vss::evaluate_commitment(self.group, &self.commitment, party)
    }

    pub(super) fn group(&self) -> G {
        self.group
    }

    pub(super) fn name(&self) -> &KeyName {
        &self.name
    }

    pub(super) fn commitment(&self) -> &[G::Point] {
        &self.commitment
    }
}

impl<G: FrostGroup> core::fmt::Debug for FrostPublic<G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FrostPublic")
            .field("name", &self.name)
            .field("parties", &self.parties)
            .field("threshold", &self.threshold)
            .field("group_key", &self.group_key)
            .finish_non_exhaustive()
    }
}

/// One party's share of a key, opened for FROST.
pub struct FrostKey<G: FrostGroup> {
    public: FrostPublic<G>,
    me: PartyId,
    share: SecretScalar<G>,
}

impl<G: FrostGroup> FrostKey<G> {
    /// The share of an opened key of our own key generation.
    ///
    /// # Errors
    /// [`KeyError`] if the public record is not that of the opened key.
    pub fn of<const N: usize, const K: usize>(
        public: &key::PublicKey<N>,
        opened: &OpenedKey<G, N, K>,
    ) -> Result<Self, KeyError> {
        let public = FrostPublic::of(public)?;
        if public.context() != opened.context() {
            return Err(KeyError::OtherKey);
        }
        Self::new(public, opened.party(), SecretScalar::new(*opened.share().expose()))
    }

    /// The share of a FROST-only key, from its unsealed record.
    ///
    /// # Errors
    /// [`KeyError`] says what does not fit.
    pub fn open<const N: usize>(
        record: &PublicRecord<N>,
        me: PartyId,
        secret: SecretRecord,
    ) -> Result<Self, KeyError> {
        let public = FrostPublic::<G>::open(record)?;
        if secret.version != wire::VERSION {
            return Err(KeyError::Version(secret.version));
        }
        if secret.epoch != public.name.epoch {
            return Err(KeyError::Epoch { expected: public.name.epoch, found: secret.epoch });
        }
        if secret.context != public.name.context {
            return Err(KeyError::OtherKey);
        }
        if secret.party != me {
            return Err(KeyError::NotAHolder);
        }
        let share = public.group.scalar_from_bytes(secret.share.expose()).ok_or(KeyError::Share)?;
        Self::new(public, me, SecretScalar::new(share))
    }

    pub(super) fn new(
        public: FrostPublic<G>,
        me: PartyId,
        share: SecretScalar<G>,
    ) -> Result<Self, KeyError> {
        if !public.parties.contains(me) {
            return Err(KeyError::NotAHolder);
        }
        // A stale or flipped share must not sign: z_i with it, and one with the right share under the
        // same nonces, are two equations.
        let found = G::mul_base(share.expose());
        if found != public.party_key(me) || found == public.group.identity() {
            return Err(KeyError::Share);
        }
        Ok(Self { public, me, share })
    }

    /// The public side.
    #[must_use]
    pub fn public(&self) -> &FrostPublic<G> {
        &self.public
    }

    /// This party.
    #[must_use]
    pub fn party(&self) -> PartyId {
        self.me
    }

    pub(super) fn share(&self) -> &SecretScalar<G> {
        &self.share
    }
}

impl<G: FrostGroup> core::fmt::Debug for FrostKey<G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FrostKey")
            .field("public", &self.public)
            .field("me", &self.me)
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}
