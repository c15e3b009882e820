//! What a session takes of a chip's memory. Whoever changes one of these numbers changes the table in
//! the crate's documentation too.

use core::mem::size_of;

use crate::curve::{AnyGroup, SchnorrSecp256k1, Secp256k1};
use crate::dkg::Dkg;
use crate::ecdsa;
use crate::key::OpenedKey;
use crate::schnorr;

type Ecdsa<const S: usize> = ecdsa::Signer<Secp256k1, S>;
type Schnorr<const S: usize> = schnorr::Signer<SchnorrSecp256k1, &'static [u8], S>;

// 2 of 3, 3 of 7, 4 of 16.
const _: () = assert!(size_of::<Dkg<Secp256k1, 3, 2>>() == 5164);
const _: () = assert!(size_of::<Dkg<Secp256k1, 7, 15>>() == 13444);
const _: () = assert!(size_of::<Dkg<Secp256k1, 16, 455>>() == 79092);

const _: () = assert!(size_of::<OpenedKey<Secp256k1, 3, 2>>() == 624);
const _: () = assert!(size_of::<OpenedKey<Secp256k1, 7, 15>>() == 1588);
const _: () = assert!(size_of::<OpenedKey<Secp256k1, 16, 455>>() == 30044);

const _: () = assert!(size_of::<Ecdsa<3>>() == 660);
const _: () = assert!(size_of::<Ecdsa<5>>() == 728);
const _: () = assert!(size_of::<Ecdsa<7>>() == 796);

const _: () = assert!(size_of::<Schnorr<3>>() == 604);
const _: () = assert!(size_of::<Schnorr<5>>() == 672);
const _: () = assert!(size_of::<Schnorr<7>>() == 740);

// 3 of 7, where one group stands for several curves.
const _: () = assert!(size_of::<Dkg<AnyGroup, 7, 15>>() == 14104);
const _: () = assert!(size_of::<OpenedKey<AnyGroup, 7, 15>>() == 1700);
const _: () = assert!(size_of::<ecdsa::Signer<AnyGroup, 5>>() == 824);
const _: () = assert!(size_of::<schnorr::Signer<AnyGroup, &'static [u8], 5>>() == 768);

/// What FROST's sessions keep besides on the heap is in [`crate::frost`].
#[cfg(feature = "frost")]
mod frost {
    use core::mem::size_of;

    use crate::curve::{AnyGroup, Ed25519, SchnorrSecp256k1};
    use crate::frost::{Aggregator, Consumed, FrostKey, NoncePool, Offers, Reserved, Signer};

    type M = &'static [u8];

    const _: () = assert!(size_of::<FrostKey<SchnorrSecp256k1>>() == 188);
    const _: () = assert!(size_of::<NoncePool<SchnorrSecp256k1>>() == 128);
    const _: () = assert!(size_of::<Signer<SchnorrSecp256k1, M>>() == 396);
    const _: () = assert!(size_of::<Consumed<SchnorrSecp256k1>>() == 672);
    const _: () = assert!(size_of::<Reserved<'static, SchnorrSecp256k1>>() == 724);
    const _: () = assert!(size_of::<Offers<SchnorrSecp256k1>>() == 80);
    const _: () = assert!(size_of::<Aggregator<SchnorrSecp256k1, M>>() == 540);

    const _: () = assert!(size_of::<FrostKey<Ed25519>>() == 188);
    const _: () = assert!(size_of::<NoncePool<Ed25519>>() == 128);
    const _: () = assert!(size_of::<Signer<Ed25519, M>>() == 436);
    const _: () = assert!(size_of::<Consumed<Ed25519>>() == 752);
    const _: () = assert!(size_of::<Reserved<'static, Ed25519>>() == 804);
    const _: () = assert!(size_of::<Offers<Ed25519>>() == 80);
    const _: () = assert!(size_of::<Aggregator<Ed25519, M>>() == 580);

    const _: () = assert!(size_of::<FrostKey<AnyGroup>>() == 192);
    const _: () = assert!(size_of::<NoncePool<AnyGroup>>() == 128);
    const _: () = assert!(size_of::<Reserved<'static, AnyGroup>>() == 824);
}
