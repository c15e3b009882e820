//! A party's key, opened for one session and wiped afterwards.

use heapless::Vec;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use super::{Confirmation, KeyTerms, PublicKey, ShareRecord, nonce_commitment, pair_commitment};
use crate::curve::Group;
use crate::derive::ExtendedKey;
use crate::hash::{Digest, Prf, Transcript};
use crate::party::{PartyId, PartySet};
use crate::secret::{SecretBytes, SecretScalar};
use crate::vss;

/// Why a sealed record is not this party's share of this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The public record is not of this suite, or malformed.
    PublicRecord,
    /// The party is not a holder of the key.
    NotAHolder,
    /// Another epoch's share.
    Epoch {
        /// The epoch of the public record.
        expected: u32,
        /// The epoch of the sealed record.
        found: u32,
    },
    /// x_i·G ≠ X_i.
    Share,
    /// A pair seed, or their number, differs from what the party confirmed.
    PairSeed,
    /// A nonce key, or their number, differs from what the party confirmed.
    NonceKey,
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::PublicRecord => f.write_str("the key's public record is malformed"),
            Self::NotAHolder => f.write_str("this party holds no share of the key"),
            Self::Epoch { expected, found } => {
                write!(f, "the share is of epoch {found}, the key is at epoch {expected}")
            }
            Self::Share => f.write_str("the share does not belong to the key (x·G differs)"),
            Self::PairSeed => f.write_str("a pair seed differs from the certificate"),
            Self::NonceKey => f.write_str("a nonce key differs from the certificate"),
        }
    }
}

impl core::error::Error for OpenError {}

struct PairSeed {
    with: PartyId,
    seed: SecretBytes,
}

struct NonceKey<G: Group> {
    key: SecretBytes,
    /// f_A(i), a public constant.
    weight: G::Scalar,
}

/// One party's secrets, checked against the certificate.
///
/// What is of the group stands last: a chip with several groups then has the code for all else once.
#[repr(C)]
pub struct OpenedKey<G: Group, const N: usize, const K: usize> {
    terms: KeyTerms,
    context: Digest,
    chain_code: Digest,
    /// Of everything else, as it was when the key was opened.
    digest: Digest,
    group_key_bytes: [u8; 33],
    me: PartyId,
    pairs: Vec<PairSeed, N>,
    group: G,
    share: SecretScalar<G>,
    group_key: G::Point,
    nonce_keys: Vec<NonceKey<G>, K>,
}

impl<G: Group, const N: usize, const K: usize> OpenedKey<G, N, K> {
    /// Takes over an unsealed record. A flipped nonce key or a stale share beside clean ones can cost
    /// the key, so everything is compared with what `own` (this party's part of the certificate)
    /// committed to.
    ///
    /// # Errors
    /// [`OpenError`] says what does not fit.
    #[inline(never)]
    pub fn open(
        public: &PublicKey<N>,
        me: PartyId,
        mut record: ShareRecord<N, K>,
        own: &Confirmation<N, K>,
    ) -> Result<Self, OpenError> {
        let mut place = None;
        Self::open_in(&mut place, public, me, &mut record, own)?;
        place.ok_or(OpenError::PublicRecord)
    }

    /// [`Self::open`] in the place where the key is to stay, for a chip's stack; the record is emptied.
    ///
    /// # Errors
    /// [`OpenError`] says what does not fit; nothing is there then.
    pub fn open_in(
        place: &mut Option<Self>,
        public: &PublicKey<N>,
        me: PartyId,
        record: &mut ShareRecord<N, K>,
        own: &Confirmation<N, K>,
    ) -> Result<(), OpenError> {
        *place = None;
        let group = G::of(public.terms.suite).ok_or(OpenError::PublicRecord)?;
        Self::open_of_suite(place, group, public, me, record, own)
    }

    /// The same of a key whose suite was compared: with this code two suites of one curve are the same to a chip.
    #[inline(never)]
    fn open_of_suite(
        place: &mut Option<Self>,
        group: G,
        public: &PublicKey<N>,
        me: PartyId,
        record: &mut ShareRecord<N, K>,
        own: &Confirmation<N, K>,
    ) -> Result<(), OpenError> {
        let terms = public.terms;
        if !terms.holders.parties().contains(me) || own.party != me {
            return Err(OpenError::NotAHolder);
        }
        if record.epoch != terms.epoch {
            return Err(OpenError::Epoch { expected: terms.epoch, found: record.epoch });
        }
        let (group_key, share) = checked_share(group, public, me, &record.share)?;
        let opened = place.insert(Self {
            group,
            me,
            terms,
            context: terms.context(),
            group_key,
            group_key_bytes: public.group_key().ok_or(OpenError::PublicRecord)?.0,
            chain_code: public.chain_code(),
            share,
            pairs: Vec::new(),
            nonce_keys: Vec::new(),
            digest: [0; 32],
        });
        let th = &public.transcript;
        let all = opened
            .take_pairs(th, &mut record.pair_seeds, own)
            .and_then(|()| opened.take_nonce_keys(th, &mut record.nonce_keys, own));
        match all {
            Ok(()) => opened.digest = opened.digest(),
            Err(_) => *place = None,
        }
        all
    }

    /// H("opened", everything). The group key enters by its encoding.
    #[inline(never)]
    fn digest(&self) -> Digest {
        let mut pairs = self.pairs.iter().map(|pair| (pair.with, &pair.seed));
        let weight = |nonce: &NonceKey<G>| G::scalar_to_bytes(&nonce.weight);
        let mut keys = self.nonce_keys.iter().map(|nonce| (&nonce.key, weight(nonce)));
        let public = (&self.terms, &self.context, &self.group_key_bytes, &self.chain_code);
        let share = SecretBytes::of_scalar(&self.share);
        digest_of((self.me, self.group.code()), public, &share, &mut pairs, &mut keys)
    }

    /// Whether all of it is in memory as it was when it was opened: one flipped bit of a share or nonce key
    /// would make a wrong share twice over, and the two would agree.
    pub(crate) fn is_intact(&self) -> bool {
        self.digest().ct_eq(&self.digest).into()
    }

    /// Whether this is the key of these records, which the caller has read once more: a fault while the first
    /// copies were opened may have changed what was checked already. It takes hashing and one decoding, and no
    /// multiplication.
    #[must_use]
    #[inline(never)]
    pub fn is_of(&self, public: &PublicKey<N>, record: &ShareRecord<N, K>) -> bool {
        let terms = &public.terms;
        let Some(group_key) = public.group_key() else { return false };
        let inverses = vss::inverses::<G, N>(self.group, terms.holders.parties());
        let mut pairs = terms.holders.parties().without(self.me).iter().zip(&record.pair_seeds);
        let weight =
            |set| G::scalar_to_bytes(&vss::nonce_weight(self.group, &inverses, set, self.me));
        let sets = terms.holders.nonce_sets_of(self.me).zip(&record.nonce_keys);
        let mut keys = sets.map(|(set, key)| (key, weight(set)));
        let (context, chain_code) = (terms.context(), public.chain_code());
        let public = (terms, &context, &group_key.0, &chain_code);
        let expected =
            digest_of((self.me, self.group.code()), public, &record.share, &mut pairs, &mut keys);
        bool::from(self.digest.ct_eq(&expected))
            && self.is_intact()
            && self.group.point_from_bytes(group_key) == Some(self.group_key)
    }

    #[inline(never)]
    fn take_pairs(
        &mut self,
        th: &Digest,
        seeds: &mut [SecretBytes],
        own: &Confirmation<N, K>,
    ) -> Result<(), OpenError> {
        let others = self.terms.holders.parties().without(self.me);
        if seeds.len() != others.len() || own.pair_commitments.len() != others.len() {
            return Err(OpenError::PairSeed);
        }
        for ((with, seed), expected) in others.iter().zip(seeds).zip(&own.pair_commitments) {
            if !bool::from(pair_commitment(th, self.me, with, seed).ct_eq(expected)) {
                return Err(OpenError::PairSeed);
            }
            let seed = core::mem::take(seed);
            self.pairs.push(PairSeed { with, seed }).map_err(|_| OpenError::PairSeed)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn take_nonce_keys(
        &mut self,
        th: &Digest,
        keys: &mut [SecretBytes],
        own: &Confirmation<N, K>,
    ) -> Result<(), OpenError> {
        let holders = self.terms.holders;
        let count = holders.nonce_keys();
        if keys.len() != count || own.nonce_commitments.len() != count {
            return Err(OpenError::NonceKey);
        }
        let sets = holders.nonce_sets_of(self.me);
        let inverses = vss::inverses::<G, N>(self.group, holders.parties());
        for ((set, key), expected) in sets.zip(keys).zip(&own.nonce_commitments) {
            if !bool::from(nonce_commitment(th, set, key).ct_eq(expected)) {
                return Err(OpenError::NonceKey);
            }
            let key = core::mem::take(key);
            let weight = vss::nonce_weight(self.group, &inverses, set, self.me);
            self.nonce_keys.push(NonceKey { key, weight }).map_err(|_| OpenError::NonceKey)?;
        }
        Ok(())
    }

    /// This party.
    #[must_use]
    pub fn party(&self) -> PartyId {
        self.me
    }

    /// The key's terms.
    #[must_use]
    pub fn terms(&self) -> &KeyTerms {
        &self.terms
    }

    /// ctx0.
    #[must_use]
    pub fn context(&self) -> &Digest {
        &self.context
    }

    /// X.
    #[must_use]
    pub fn group_key(&self) -> G::Point {
        self.group_key
    }

    /// X, SEC1-compressed.
    #[must_use]
    pub fn group_key_bytes(&self) -> &[u8; 33] {
        &self.group_key_bytes
    }

    /// X with its chain code, from which keys are derived.
    #[must_use]
    #[inline(never)]
    pub fn extended(&self) -> ExtendedKey<G> {
        ExtendedKey::of(self.group, self.group_key, self.group_key_bytes, self.chain_code)
    }

    pub(crate) fn group(&self) -> G {
        self.group
    }

    pub(crate) fn share(&self) -> &SecretScalar<G> {
        &self.share
    }

    /// This party's share of the pseudorandom value named by (label, digest):
    /// Σ_{A∋i} PRF(r_A, label, D)·f_A(i) (`docs/PROTOCOL.md` §6.1 step 3).
    #[inline(never)]
    pub(crate) fn pseudorandom(&self, label: &[u8; 1], digest: &Digest) -> SecretScalar<G> {
        let prf = Prf::new(b"prss-prf", label, digest);
        let sum = self.nonce_keys.iter().fold(self.group.zero(), |sum, nonce| {
            sum + G::product(&value(self.group, &prf, &nonce.key), &nonce.weight)
        });
        SecretScalar::new(sum)
    }

    /// m_i: this party's zero mask among `quorum` (`docs/PROTOCOL.md` §5): z_i·C/L_i(S), with the weight
    /// C/L_i(S) from [`vss::mask_weight`].
    #[inline(never)]
    pub(crate) fn zero_mask(
        &self,
        quorum: PartySet,
        weight: &G::Scalar,
        label: &[u8; 2],
        digest: &Digest,
    ) -> SecretScalar<G> {
        let prf = Prf::new(b"zero-prf", label, digest);
        let members = self.pairs.iter().filter(|pair| quorum.contains(pair.with));
        let sum = members.fold(self.group.zero(), |sum, pair| {
            let term = value(self.group, &prf, &pair.seed);
            if pair.with > self.me { sum + term } else { sum - term }
        });
        SecretScalar::new(G::product(&sum, weight))
    }
}

/// H("opened", all secrets and what is public of a key), the lists with their counts; weights as they are encoded.
#[inline(never)]
fn digest_of<'s>(
    (me, group): (PartyId, u8),
    (terms, context, group_key, chain_code): (&KeyTerms, &Digest, &[u8; 33], &Digest),
    share: &SecretBytes,
    pairs: &mut dyn Iterator<Item = (PartyId, &'s SecretBytes)>,
    keys: &mut dyn Iterator<Item = (&'s SecretBytes, [u8; 32])>,
) -> Digest {
    let start = Transcript::new("opened")
        .party(me)
        .bytes(&[group])
        .bytes(&terms.context())
        .bytes(context)
        .u32(terms.epoch)
        .bytes(group_key)
        .bytes(chain_code)
        .bytes(share.expose());
    let (mut count, mut all) = (0u16, start);
    for (with, seed) in pairs {
        (count, all) = (count + 1, all.party(with).bytes(seed.expose()));
    }
    (count, all) = (0, all.u16(count));
    for (key, weight) in keys {
        (count, all) = (count + 1, all.bytes(key.expose()).bytes(&weight));
    }
    all.u16(count).finish()
}

/// X and x_i, if x_i·G = X_i. The suite was compared.
#[inline(never)]
fn checked_share<G: Group, const N: usize>(
    group: G,
    public: &PublicKey<N>,
    me: PartyId,
    share: &SecretBytes,
) -> Result<(G::Point, SecretScalar<G>), OpenError> {
    let points = public.points_of_suite(group).ok_or(OpenError::PublicRecord)?;
    let group_key = points.first().copied().ok_or(OpenError::PublicRecord)?;
    let share = group.scalar_from_bytes(share.expose()).ok_or(OpenError::Share)?;
    let share = SecretScalar::new(share);
    if G::mul_base(share.expose()) != vss::evaluate_commitment(group, &points, me) {
        return Err(OpenError::Share);
    }
    Ok((group_key, share))
}

// As a function of its own, for two suites of one curve it is the same to a chip, and so are its callers.
#[inline(never)]
fn value<G: Group>(group: G, prf: &Prf, key: &SecretBytes) -> G::Scalar {
    let mut wide = prf.of(key);
    let scalar = group.scalar_from_wide(&wide.0);
    wide.zeroize();
    scalar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Secp256k1 as C, Suite};
    use crate::party::Holders;

    const QUORUM: [u16; 3] = [1, 2, 5];

    /// A holder whose pair seeds follow from the pair; it has no share and no nonce keys.
    fn member(number: u16) -> OpenedKey<C, 8, 8> {
        let holders = Holders::new(PartySet::first(5), 2).unwrap();
        let terms = KeyTerms {
            suite: Suite::EcdsaSecp256k1,
            network: [1; 16],
            key: [2; 16],
            epoch: 0,
            holders,
            context: [3; 32],
        };
        let me = PartyId::new(number).unwrap();
        let pair = |with: PartyId| {
            let mut seed = [0; 32];
            seed[0] = me.min(with).number() as u8;
            seed[1] = me.max(with).number() as u8;
            PairSeed { with, seed: SecretBytes::new(seed) }
        };
        OpenedKey {
            group: C,
            me,
            terms,
            context: terms.context(),
            group_key: k256::ProjectivePoint::GENERATOR,
            group_key_bytes: [0; 33],
            chain_code: [0; 32],
            share: SecretScalar::new(k256::Scalar::ONE),
            pairs: holders.parties().without(me).iter().map(pair).collect(),
            nonce_keys: Vec::new(),
            digest: [0; 32],
        }
    }

    /// Σ L_i·m_i, where each member uses its own label and digest.
    fn opened(inputs: [(&[u8; 2], u8); 3]) -> k256::Scalar {
        let quorum: PartySet = QUORUM.into_iter().filter_map(PartyId::new).collect();
        QUORUM.into_iter().zip(inputs).fold(k256::Scalar::ZERO, |sum, (number, (label, digest))| {
            let member = member(number);
            let weight = vss::mask_weight(C, quorum, member.party());
            let mask = member.zero_mask(quorum, &weight, label, &[digest; 32]);
            assert_ne!(*mask.expose(), k256::Scalar::ZERO);
            sum + vss::lagrange(C, quorum, member.party()) * mask.expose()
        })
    }

    #[test]
    fn masks_cancel_if_all_see_the_same_and_only_then() {
        assert_eq!(opened([(b"mu", 7); 3]), k256::Scalar::ZERO);
        assert_eq!(opened([(b"nu", 7); 3]), k256::Scalar::ZERO);
        assert_ne!(opened([(b"mu", 7), (b"mu", 7), (b"mu", 8)]), k256::Scalar::ZERO);
        assert_ne!(opened([(b"mu", 7), (b"nu", 7), (b"mu", 7)]), k256::Scalar::ZERO);
    }
}
