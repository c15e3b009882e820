//! Which of our groups is which ciphersuite of `frost-core`, and how values pass between the two: by
//! their encodings alone, so neither side depends on the other's arithmetic.

use alloc::vec::Vec;

use frost_core::keys::{SigningShare, VerifyingShare};
use frost_core::round1::{Nonce, NonceCommitment, SigningCommitments};
use frost_core::{Ciphersuite, Field as _, Identifier, VerifyingKey};
use zeroize::{Zeroize as _, Zeroizing};

use crate::curve::{Ed25519, PointBytes, SchnorrGroup, SchnorrSecp256k1};
use crate::party::PartyId;
use crate::secret::{SecretBytes, SecretScalar};

mod sealed {
    /// Only groups whose encodings were compared with their ciphersuite's.
    pub trait Sealed {}
    impl Sealed for super::SchnorrSecp256k1 {}
    impl Sealed for super::Ed25519 {}
}

/// A group in which FROST signs by the standard of [`SchnorrGroup`].
pub trait FrostSuite: SchnorrGroup + sealed::Sealed {
    /// The same in `frost-core`. It writes scalars as [`SchnorrGroup::response_to_bytes`] does.
    type Ciphersuite: Ciphersuite;

    /// A point as the ciphersuite writes it, or `None` if the first byte is no canonical one. Whether
    /// the rest is a point is checked by who decodes it.
    fn to_frost(point: &PointBytes) -> Option<&[u8]>;
    /// A point from what the ciphersuite wrote.
    fn from_frost(bytes: &[u8]) -> Option<PointBytes>;
}

/// RFC 9591's construction, with the hashes and the even y of BIP-340.
impl FrostSuite for SchnorrSecp256k1 {
    type Ciphersuite = frost_secp256k1_tr::Secp256K1Sha256TR;

    fn to_frost(point: &PointBytes) -> Option<&[u8]> {
        // k256 alone also reads SEC1's compact form (tag 5), a second encoding of half the points.
        matches!(point.0.first(), Some(2 | 3)).then_some(&point.0)
    }

    fn from_frost(bytes: &[u8]) -> Option<PointBytes> {
        bytes.try_into().ok().map(PointBytes)
    }
}

/// FROST(Ed25519, SHA-512) of RFC 9591.
impl FrostSuite for Ed25519 {
    type Ciphersuite = frost_ed25519::Ed25519Sha512;

    fn to_frost(point: &PointBytes) -> Option<&[u8]> {
        point.0.split_first().filter(|(tag, _)| **tag == 0xed).map(|(_, rest)| rest)
    }

    fn from_frost(bytes: &[u8]) -> Option<PointBytes> {
        let mut point = PointBytes([0xed; 33]);
        point.0.get_mut(1..)?.copy_from_slice(bytes.get(..32).filter(|_| bytes.len() == 32)?);
        Some(point)
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
    let bytes = G::scalar_to_bytes(&G::response_from_bytes(&standard)?);
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
    G::response_from_bytes(&bytes).map(SecretScalar::new)
}

pub(super) fn verifying_key<G: FrostSuite>(point: &PointBytes) -> Option<VerifyingKey<C<G>>> {
    VerifyingKey::deserialize(G::to_frost(point)?).ok()
}

pub(super) fn verifying_share<G: FrostSuite>(point: &G::Point) -> Option<VerifyingShare<C<G>>> {
    VerifyingShare::deserialize(G::to_frost(&G::point_to_bytes(point)?)?).ok()
}

pub(super) fn commitments<G: FrostSuite>(
    hiding: &PointBytes,
    binding: &PointBytes,
) -> Option<SigningCommitments<C<G>>> {
    let one = |point| NonceCommitment::deserialize(G::to_frost(point)?).ok();
    Some(SigningCommitments::new(one(hiding)?, one(binding)?))
}

/// (D, E) as they go over the wire.
pub(super) fn commitment_bytes<G: FrostSuite>(
    commitments: &SigningCommitments<C<G>>,
) -> Option<(PointBytes, PointBytes)> {
    let one = |commitment: &NonceCommitment<C<G>>| G::from_frost(&commitment.serialize().ok()?);
    Some((one(commitments.hiding())?, one(commitments.binding())?))
}

/// nonce_generate of RFC 9591, §4.1: H3(32 random bytes ‖ share). A generator that repeats itself or
/// is known costs nothing, as long as the share is not known.
pub(super) fn generate_nonce<G: FrostSuite>(
    share: &SecretScalar<G>,
    random: &SecretBytes,
) -> Option<Nonce<C<G>>> {
    let share = Zeroizing::new(G::response_to_bytes(share.expose()));
    let mut input = Zeroizing::new([0; 64]);
    let bytes = random.expose().iter().chain(share.iter());
    input.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let mut written = Scalars::<G>::serialize(&C::<G>::H3(&*input));
    let nonce = Nonce::deserialize(written.as_ref()).ok();
    written.as_mut().zeroize();
    nonce
}

/// A nonce as it is stored.
pub(super) fn nonce_bytes<G: FrostSuite>(nonce: &Nonce<C<G>>) -> Option<SecretBytes> {
    let written = Zeroizing::new(nonce.serialize());
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(written.as_slice()).ok()?);
    let scalar = SecretScalar::<G>::new(G::response_from_bytes(&bytes)?);
    Some(SecretBytes::of_scalar(&scalar))
}

/// A nonce from storage; 0 is none.
pub(super) fn nonce<G: FrostSuite>(bytes: &SecretBytes) -> Option<Nonce<C<G>>> {
    let scalar = SecretScalar::<G>::new(G::scalar_from_bytes(bytes.expose())?);
    if *scalar.expose() == G::Scalar::default() {
        return None;
    }
    let written = Zeroizing::new(G::response_to_bytes(scalar.expose()));
    Nonce::deserialize(&*written).ok()
}

/// A signature share z_i from the wire.
pub(super) fn response<G: FrostSuite>(
    bytes: &[u8; 32],
) -> Option<frost_core::round2::SignatureShare<C<G>>> {
    let written = G::response_to_bytes(&G::scalar_from_bytes(bytes)?);
    frost_core::round2::SignatureShare::deserialize(&written).ok()
}

/// z_i for the wire.
pub(super) fn response_bytes<G: FrostSuite>(
    share: &frost_core::round2::SignatureShare<C<G>>,
) -> Option<[u8; 32]> {
    let written: Vec<u8> = share.serialize();
    Some(G::scalar_to_bytes(&G::response_from_bytes(&written.try_into().ok()?)?))
}
