//! What a session takes of a chip's memory. Whoever changes one of these numbers changes the table in
//! the crate's documentation too.

use core::mem::size_of;

use crate::curve::{SchnorrSecp256k1, Secp256k1};
use crate::dkg::Dkg;
use crate::ecdsa;
use crate::key::OpenedKey;
use crate::schnorr;

type Ecdsa<const S: usize> = ecdsa::Signer<Secp256k1, S>;
type Schnorr<const S: usize> = schnorr::Signer<SchnorrSecp256k1, &'static [u8], S>;

// 2 of 3, 3 of 7, 4 of 16.
const _: () = assert!(size_of::<Dkg<Secp256k1, 3, 2>>() == 5192);
const _: () = assert!(size_of::<Dkg<Secp256k1, 7, 15>>() == 13316);
const _: () = assert!(size_of::<Dkg<Secp256k1, 16, 455>>() == 78640);

const _: () = assert!(size_of::<OpenedKey<Secp256k1, 3, 2>>() == 592);
const _: () = assert!(size_of::<OpenedKey<Secp256k1, 7, 15>>() == 1556);
const _: () = assert!(size_of::<OpenedKey<Secp256k1, 16, 455>>() == 30012);

const _: () = assert!(size_of::<Ecdsa<3>>() == 596);
const _: () = assert!(size_of::<Ecdsa<5>>() == 664);
const _: () = assert!(size_of::<Ecdsa<7>>() == 732);

const _: () = assert!(size_of::<Schnorr<3>>() == 540);
const _: () = assert!(size_of::<Schnorr<5>>() == 608);
const _: () = assert!(size_of::<Schnorr<7>>() == 676);
