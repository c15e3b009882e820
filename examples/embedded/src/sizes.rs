//! How much memory each session takes on this machine: one symbol a type, as large as the type. `size` reads
//! them from the object file; nothing of this is linked.
#![no_std]

use quorate_core::curve::{Ed25519, P256, Secp256k1};
use quorate_core::dkg::Dkg;
use quorate_core::key::{Confirmation, OpenedKey, PublicKey, ShareRecord};
use quorate_core::{ecdsa, schnorr};

macro_rules! sizes {
    ($($name:ident: $type:ty;)*) => {
        $(
            #[used]
            static $name: [u8; size_of::<$type>()] = [0; size_of::<$type>()];
        )*
    };
}

// Capacities for n holders: n, its nonce keys C(n−1, T−1), and the quorum 2T−1.
sizes! {
    DKG_SECP256K1_2_OF_3: Dkg<Secp256k1, 3, 2>;
    DKG_SECP256K1_2_OF_4: Dkg<Secp256k1, 4, 3>;
    DKG_SECP256K1_3_OF_7: Dkg<Secp256k1, 7, 15>;
    DKG_ED25519_3_OF_7: Dkg<Ed25519, 7, 15>;
    SHARE_RECORD_3_OF_7: ShareRecord<7, 15>;
    PUBLIC_KEY_3_OF_7: PublicKey<7>;
    CONFIRMATION_3_OF_7: Confirmation<7, 15>;
    OPENED_KEY_SECP256K1_3_OF_7: OpenedKey<Secp256k1, 7, 15>;
    ECDSA_SIGNER_SECP256K1_2_OF_4: ecdsa::Signer<Secp256k1, 3>;
    ECDSA_SIGNER_SECP256K1_3_OF_7: ecdsa::Signer<Secp256k1, 5>;
    ECDSA_SIGNER_P256_3_OF_7: ecdsa::Signer<P256, 5>;
    ECDSA_COMBINER_SECP256K1_3_OF_7: ecdsa::Combiner<Secp256k1, 5>;
    SCHNORR_SIGNER_ED25519_3_OF_7: schnorr::Signer<Ed25519, &'static [u8], 5>;
}
