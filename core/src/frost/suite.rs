//! Which of our groups is which ciphersuite of `frost-core`, and how values pass between the two: by
//! their encodings alone, so neither side depends on the other's arithmetic. Its hashes are used for
//! every signature, its keys where one comes or goes, its verification where a culprit is sought.

use alloc::vec::Vec;

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::traits::VartimeMultiscalarMul as _;
use frost_core::keys::{SigningShare, VerifyingShare};
use frost_core::round1::{NonceCommitment, SigningCommitments};
use frost_core::{Ciphersuite, Field as _, Identifier, VerifyingKey};
use k256::elliptic_curve::ops::LinearCombinationExt;
use zeroize::{Zeroize as _, Zeroizing};

use crate::curve::{Ed25519, Fixed, PointBytes, SchnorrGroup, SchnorrSecp256k1};
use crate::party::PartyId;
use crate::secret::{SecretBytes, SecretScalar};

pub(crate) mod sealed {
    /// Only groups whose encodings were compared with their ciphersuite's.
    pub trait Sealed {}
    impl Sealed for super::SchnorrSecp256k1 {}
    impl Sealed for super::Ed25519 {}
}

/// A group in which FROST signs by the standard of [`SchnorrGroup`]: what a member needs.
pub trait FrostGroup: SchnorrGroup + sealed::Sealed {
    /// A point as the standard writes it, or `None` if the first byte is no canonical one. Whether the rest is a
    /// point is checked by who decodes it.
    fn to_frost(self, point: &PointBytes) -> Option<&[u8]>;
    /// The encoding of the point that 32 bytes name ([`SchnorrGroup::name`]).
    fn encoding(self, name: &[u8; 32]) -> PointBytes;
    /// H1 of RFC 9591: the binding factors.
    fn factor(self, input: &[u8]) -> Option<Self::Scalar>;
    /// H3, of secrets: the nonces.
    fn nonce(self, input: &[u8; 64]) -> Option<SecretScalar<Self>>;
    /// H4 of the message and H5 of the list of commitments go to `out`.
    fn digests(self, message: &[u8], list: &[u8], out: &mut Vec<u8>);
    /// Σ s_j·P_j of public data, in variable time.
    fn sum_of_products(self, terms: &[(Self::Point, Self::Scalar)]) -> Self::Point;
}

/// The same with its ciphersuite in `frost-core`, which imports and exports keys, and judges.
pub trait FrostSuite: FrostGroup + Fixed {
    /// It writes scalars as [`SchnorrGroup::response_to_bytes`] does.
    type Ciphersuite: Ciphersuite;

    /// A point from what the ciphersuite wrote.
    fn from_frost(bytes: &[u8]) -> Option<PointBytes>;
}

/// The hashes of [`FrostGroup`], by the ciphersuite.
macro_rules! hashes {
    () => {
        fn factor(self, input: &[u8]) -> Option<Self::Scalar> {
            scalar::<Self>(&C::<Self>::H1(input))
        }

        fn nonce(self, input: &[u8; 64]) -> Option<SecretScalar<Self>> {
            scalar::<Self>(&C::<Self>::H3(input)).map(SecretScalar::new)
        }

        fn digests(self, message: &[u8], list: &[u8], out: &mut Vec<u8>) {
            out.extend_from_slice(C::<Self>::H4(message).as_ref());
            out.extend_from_slice(C::<Self>::H5(list).as_ref());
        }
    };
}

fn tagged(tag: u8, rest: &[u8; 32]) -> PointBytes {
    let mut point = PointBytes([tag; 33]);
    point.0.iter_mut().skip(1).zip(rest).for_each(|(to, from)| *to = *from);
    point
}

/// RFC 9591's construction, with the hashes and the even y of BIP-340.
impl FrostGroup for SchnorrSecp256k1 {
    hashes!();

    fn to_frost(self, point: &PointBytes) -> Option<&[u8]> {
        // k256 alone also reads SEC1's compact form (tag 5), a second encoding of half the points.
        matches!(point.0.first(), Some(2 | 3)).then_some(&point.0)
    }

    fn encoding(self, name: &[u8; 32]) -> PointBytes {
        tagged(2, name)
    }

    fn sum_of_products(self, terms: &[(Self::Point, Self::Scalar)]) -> Self::Point {
        <Self::Point as LinearCombinationExt<[_]>>::lincomb_ext(terms)
    }
}

/// FROST(Ed25519, SHA-512) of RFC 9591.
impl FrostGroup for Ed25519 {
    hashes!();

    fn to_frost(self, point: &PointBytes) -> Option<&[u8]> {
        point.0.split_first().filter(|(tag, _)| **tag == 0xed).map(|(_, rest)| rest)
    }

    fn encoding(self, name: &[u8; 32]) -> PointBytes {
        tagged(0xed, name)
    }

    fn sum_of_products(self, terms: &[(Self::Point, Self::Scalar)]) -> Self::Point {
        let (points, scalars) = (terms.iter().map(|(p, _)| p), terms.iter().map(|(_, s)| s));
        EdwardsPoint::vartime_multiscalar_mul(scalars, points)
    }
}

impl FrostSuite for SchnorrSecp256k1 {
    type Ciphersuite = frost_secp256k1_tr::Secp256K1Sha256TR;

    fn from_frost(bytes: &[u8]) -> Option<PointBytes> {
        bytes.try_into().ok().map(PointBytes)
    }
}

impl FrostSuite for Ed25519 {
    type Ciphersuite = frost_ed25519::Ed25519Sha512;

    fn from_frost(bytes: &[u8]) -> Option<PointBytes> {
        bytes.try_into().ok().map(|bytes| tagged(0xed, bytes))
    }
}

pub(super) type C<G> = <G as FrostSuite>::Ciphersuite;
type Points<G> = <C<G> as Ciphersuite>::Group;
type Scalars<G> = <Points<G> as frost_core::Group>::Field;

pub(super) fn identifier<G: FrostSuite>(party: PartyId) -> Option<Identifier<C<G>>> {
    Identifier::try_from(party.number()).ok()
}

/// The party of an identifier, or `None` if it is not a number from 1 to 255.
pub(super) fn party<G: FrostSuite>(identifier: &Identifier<C<G>>) -> Option<PartyId> {
    let standard = identifier.serialize().try_into().ok()?;
    let bytes = G::scalar_to_bytes(&G::default().response_from_bytes(&standard)?);
    let (low, high) = bytes.split_last()?;
    high.iter().all(|byte| *byte == 0).then(|| PartyId::new(u16::from(*low)))?
}

pub(super) fn signing_share<G: FrostSuite>(share: &SecretScalar<G>) -> Option<SigningShare<C<G>>> {
    let bytes = Zeroizing::new(G::response_to_bytes(share.expose()));
    SigningShare::deserialize(&*bytes).ok()
}

pub(super) fn scalar_of_share<G: FrostSuite>(
    share: &SigningShare<C<G>>,
) -> Option<SecretScalar<G>> {
    let written = Zeroizing::new(share.serialize());
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(written.as_slice()).ok()?);
    G::default().response_from_bytes(&bytes).map(SecretScalar::new)
}

pub(super) fn verifying_key<G: FrostSuite>(point: &PointBytes) -> Option<VerifyingKey<C<G>>> {
    VerifyingKey::deserialize(G::default().to_frost(point)?).ok()
}

pub(super) fn verifying_share<G: FrostSuite>(point: &G::Point) -> Option<VerifyingShare<C<G>>> {
    VerifyingShare::deserialize(G::default().to_frost(&G::point_to_bytes(point)?)?).ok()
}

pub(super) fn commitments<G: FrostSuite>(
    hiding: &PointBytes,
    binding: &PointBytes,
) -> Option<SigningCommitments<C<G>>> {
    let one = |point| NonceCommitment::deserialize(G::default().to_frost(point)?).ok();
    Some(SigningCommitments::new(one(hiding)?, one(binding)?))
}

/// nonce_generate of RFC 9591, §4.1: H3(32 random bytes ‖ share). A generator that repeats itself or
/// is known costs nothing, as long as the share is not known.
pub(super) fn generate_nonce<G: FrostGroup>(
    group: G,
    share: &SecretScalar<G>,
    random: &SecretBytes,
) -> Option<SecretScalar<G>> {
    let share = Zeroizing::new(G::response_to_bytes(share.expose()));
    let mut input = Zeroizing::new([0; 64]);
    let bytes = random.expose().iter().chain(share.iter());
    input.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    group.nonce(&input)
}

/// A scalar that a hash of the ciphersuite gave.
pub(super) fn scalar<G: FrostSuite>(hashed: &frost_core::Scalar<C<G>>) -> Option<G::Scalar> {
    let mut written = Scalars::<G>::serialize(hashed);
    let bytes = <[u8; 32]>::try_from(written.as_ref()).map(Zeroizing::new);
    written.as_mut().zeroize();
    G::default().response_from_bytes(&*bytes.ok()?)
}

/// A signature share z_i as `frost-core` takes it.
pub(super) fn response<G: FrostSuite>(
    response: &G::Scalar,
) -> Option<frost_core::round2::SignatureShare<C<G>>> {
    frost_core::round2::SignatureShare::deserialize(&G::response_to_bytes(response)).ok()
}
