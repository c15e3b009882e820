//! The groups of the keys that this firmware holds.

#[cfg(not(feature = "ed25519"))]
mod by_suite {
    use quorate_core::curve::{SchnorrSecp256k1, Secp256k1};

    /// Keys are made in it: the suite is in the terms alone.
    pub(crate) type Making = Secp256k1;
    /// Of keys that sign by ECDSA.
    pub(crate) type Ecdsa = Secp256k1;
    /// Of keys that sign by Schnorr.
    pub(crate) type Schnorr = SchnorrSecp256k1;
}

/// With a second curve, one group for all: the code of the protocols is then in flash once.
#[cfg(feature = "ed25519")]
mod by_suite {
    use quorate_core::curve::AnyGroup;

    /// Keys are made in it.
    pub(crate) type Making = AnyGroup;
    /// Of keys that sign by ECDSA.
    pub(crate) type Ecdsa = AnyGroup;
    /// Of keys that sign by Schnorr.
    pub(crate) type Schnorr = AnyGroup;
}

pub(crate) use by_suite::{Ecdsa, Making, Schnorr};
