//! What differs between suites: runs of key generation, open keys, members and coordinators of a signature.

use quorate_core::curve::{Ed25519, SchnorrSecp256k1, Secp256k1, Suite};
use quorate_core::derive::Derivation;
use quorate_core::dkg::{Dkg, DriveError, Early, Peer, SessionKey};
use quorate_core::ecdsa;
use quorate_core::hash::Digest;
use quorate_core::key::{Confirmation, KeyTerms, OpenedKey, PublicKey, ShareRecord};
use quorate_core::nonce::{Failure, Salt};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::{self, Tweak, verification_key};
use quorate_core::session::Refusal;
use rand_chacha::ChaCha20Rng;

use crate::judge;

/// Holders of a key, as a device has room for them.
pub(super) const N: usize = 7;
/// Nonce keys of one holder.
pub(super) const K: usize = 15;
/// Members of a quorum.
pub(super) const S: usize = 5;

pub(super) type Public = PublicKey<N>;
pub(super) type Record = ShareRecord<N, K>;
pub(super) type Confirmed = Confirmation<N, K>;
/// Messages of a round that has not come.
pub(super) type Ahead = Early<Vec<u8>, N>;

macro_rules! each {
    ($enum:ident, $value:expr, $inner:ident => $body:expr) => {
        match $value {
            $enum::Ecdsa($inner) => $body,
            $enum::Bip340($inner) => $body,
            $enum::Ed25519($inner) => $body,
        }
    };
}

/// A run of key generation.
pub(super) enum Run {
    Ecdsa(Box<Dkg<Secp256k1, N, K>>),
    Bip340(Box<Dkg<SchnorrSecp256k1, N, K>>),
    Ed25519(Box<Dkg<Ed25519, N, K>>),
}

impl Run {
    pub(super) fn new(
        terms: KeyTerms,
        session: Digest,
        me: PartyId,
        peers: &[Peer],
        signer: &SessionKey,
        rng: &mut ChaCha20Rng,
    ) -> Result<Self, String> {
        let text = |error: quorate_core::dkg::StartError| error.to_string();
        Ok(match terms.suite {
            Suite::EcdsaSecp256k1 => Self::Ecdsa(Box::new(
                Dkg::new(terms, session, me, peers, signer, rng).map_err(text)?,
            )),
            Suite::SchnorrSecp256k1 => Self::Bip340(Box::new(
                Dkg::new(terms, session, me, peers, signer, rng).map_err(text)?,
            )),
            Suite::SchnorrEd25519 => Self::Ed25519(Box::new(
                Dkg::new(terms, session, me, peers, signer, rng).map_err(text)?,
            )),
            Suite::EcdsaP256 => return Err("no chip signs on P-256".to_owned()),
        })
    }

    pub(super) fn handle(
        &mut self,
        ahead: &mut Ahead,
        from: PartyId,
        bytes: Vec<u8>,
        signer: &SessionKey,
        refused: impl FnMut(PartyId, Refusal),
    ) {
        each!(Self, self, run => ahead.handle(run, from, bytes, signer, refused));
    }

    /// The round, and who is missing.
    pub(super) fn waiting_for(&self) -> (u8, PartySet) {
        each!(Self, self, run => run.waiting_for())
    }

    /// Puts out all that is due; the key comes back when it is made.
    pub(super) fn drive(
        &mut self,
        signer: &SessionKey,
        send: impl FnMut(Option<PartyId>, &[u8]),
    ) -> Result<Option<(Public, Record)>, DriveError> {
        let mut buffer = vec![0; Dkg::<Secp256k1, N, K>::MAX_MESSAGE];
        each!(Self, self, run => run.drive(signer, &mut buffer, send))
    }
}

/// A key that can sign.
pub enum Opened {
    Ecdsa(Box<OpenedKey<Secp256k1, N, K>>),
    Bip340(Box<OpenedKey<SchnorrSecp256k1, N, K>>),
    Ed25519(Box<OpenedKey<Ed25519, N, K>>),
}

impl Opened {
    pub(super) fn new(
        public: &Public,
        me: PartyId,
        record: Record,
        own: &Confirmed,
    ) -> Result<Self, String> {
        let text = |error: quorate_core::key::OpenError| error.to_string();
        Ok(match public.terms.suite {
            Suite::EcdsaSecp256k1 => {
                Self::Ecdsa(Box::new(OpenedKey::open(public, me, record, own).map_err(text)?))
            }
            Suite::SchnorrSecp256k1 => {
                Self::Bip340(Box::new(OpenedKey::open(public, me, record, own).map_err(text)?))
            }
            Suite::SchnorrEd25519 => {
                Self::Ed25519(Box::new(OpenedKey::open(public, me, record, own).map_err(text)?))
            }
            Suite::EcdsaP256 => return Err("no chip signs on P-256".to_owned()),
        })
    }
}

/// What a signing session is about, for any suite.
#[derive(Clone, Copy)]
pub(super) struct About {
    pub(super) quorum: PartySet,
    pub(super) coordinator: PartyId,
    pub(super) derivation: Derivation,
    pub(super) digest: Digest,
}

impl About {
    fn ecdsa(&self) -> ecdsa::SignTerms {
        let Self { quorum, coordinator, derivation, digest } = *self;
        ecdsa::SignTerms { quorum, coordinator, derivation, digest }
    }

    fn schnorr(&self) -> schnorr::SignTerms<Digest> {
        let Self { quorum, coordinator, derivation, digest } = *self;
        schnorr::SignTerms { quorum, coordinator, derivation, tweak: Tweak::None, message: digest }
    }
}

/// A member's end of a signature.
pub(super) enum Member {
    Ecdsa(Box<ecdsa::Signer<Secp256k1, S>>),
    Bip340(Box<schnorr::Signer<SchnorrSecp256k1, Digest, S>>),
    Ed25519(Box<schnorr::Signer<Ed25519, Digest, S>>),
}

impl Member {
    pub(super) fn new(
        key: &Opened,
        about: &About,
        salts: &[(PartyId, Salt)],
        own: &Salt,
    ) -> Result<Self, String> {
        let text = |error: quorate_core::nonce::SignError| error.to_string();
        Ok(match key {
            Opened::Ecdsa(key) => Self::Ecdsa(Box::new(
                ecdsa::Signer::new(key, about.ecdsa(), salts, own).map_err(text)?,
            )),
            Opened::Bip340(key) => Self::Bip340(Box::new(
                schnorr::Signer::new(key, about.schnorr(), salts, own).map_err(text)?,
            )),
            Opened::Ed25519(key) => Self::Ed25519(Box::new(
                schnorr::Signer::new(key, about.schnorr(), salts, own).map_err(text)?,
            )),
        })
    }

    /// D0.
    pub(super) fn inputs(&self) -> Digest {
        each!(Self, self, member => *member.session())
    }

    pub(super) fn nonce_message(&self) -> Vec<u8> {
        let mut buffer = [0; ecdsa::MAX_MESSAGE];
        let bytes = each!(Self, self, member => member.nonce_message(&mut buffer));
        bytes.unwrap_or_default().to_vec()
    }

    /// The encoded share, once all nonces are there.
    pub(super) fn handle_nonce(
        &mut self,
        key: &Opened,
        from: PartyId,
        bytes: &[u8],
    ) -> Result<Option<Vec<u8>>, Failure> {
        let mut buffer = [0; ecdsa::MAX_MESSAGE];
        let share = match (self, key) {
            (Self::Ecdsa(member), Opened::Ecdsa(key)) => member
                .handle_nonce(key, from, bytes)?
                .map(|share| share.encode(&mut buffer).map(<[u8]>::to_vec)),
            (Self::Bip340(member), Opened::Bip340(key)) => member
                .handle_nonce(key, from, bytes)?
                .map(|share| share.encode(&mut buffer).map(<[u8]>::to_vec)),
            (Self::Ed25519(member), Opened::Ed25519(key)) => member
                .handle_nonce(key, from, bytes)?
                .map(|share| share.encode(&mut buffer).map(<[u8]>::to_vec)),
            _ => None,
        };
        Ok(share.and_then(Result::ok))
    }
}

/// A signature, and what it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// ECDSA over secp256k1.
    Ecdsa(ecdsa::Signature),
    /// BIP-340.
    Bip340([u8; 64]),
    /// Ed25519.
    Ed25519([u8; 64]),
}

/// The coordinator's end.
pub(super) enum Combiner {
    Ecdsa(Box<ecdsa::Combiner<Secp256k1, S>>),
    Bip340(Box<schnorr::Combiner<SchnorrSecp256k1, Digest, S>>),
    Ed25519(Box<schnorr::Combiner<Ed25519, Digest, S>>),
}

impl Combiner {
    pub(super) fn new(
        public: &Public,
        about: &About,
        salts: &[(PartyId, Salt)],
    ) -> Result<Self, String> {
        let text = |error: quorate_core::nonce::SignError| error.to_string();
        Ok(match public.terms.suite {
            Suite::EcdsaSecp256k1 => Self::Ecdsa(Box::new(
                ecdsa::Combiner::new(public, about.ecdsa(), salts).map_err(text)?,
            )),
            Suite::SchnorrSecp256k1 => Self::Bip340(Box::new(
                schnorr::Combiner::new(public, about.schnorr(), salts).map_err(text)?,
            )),
            Suite::SchnorrEd25519 => Self::Ed25519(Box::new(
                schnorr::Combiner::new(public, about.schnorr(), salts).map_err(text)?,
            )),
            Suite::EcdsaP256 => return Err("no chip signs on P-256".to_owned()),
        })
    }

    /// D0.
    pub(super) fn inputs(&self) -> Digest {
        each!(Self, self, combiner => *combiner.session())
    }

    pub(super) fn handle(
        &mut self,
        from: PartyId,
        round: u8,
        bytes: &[u8],
    ) -> Result<Option<Signature>, Failure> {
        match self {
            Self::Ecdsa(combiner) => Ok(match round {
                1 => combiner.handle_nonce(from, bytes)?,
                _ => combiner.handle_share(from, bytes)?,
            }
            .map(Signature::Ecdsa)),
            Self::Bip340(combiner) => Ok(match round {
                1 => combiner.handle_nonce(from, bytes)?,
                _ => combiner.handle_share(from, bytes)?,
            }
            .map(|signature| Signature::Bip340(signature.0))),
            Self::Ed25519(combiner) => Ok(match round {
                1 => combiner.handle_nonce(from, bytes)?,
                _ => combiner.handle_share(from, bytes)?,
            }
            .map(|signature| Signature::Ed25519(signature.0))),
        }
    }
}

/// Y, as everybody outside knows it.
pub(super) fn verifying_key(public: &Public, derivation: &Derivation) -> Result<Vec<u8>, String> {
    let text = |error: quorate_core::nonce::SignError| error.to_string();
    let none = || "no point".to_owned();
    Ok(match public.terms.suite {
        Suite::EcdsaSecp256k1 => {
            let key = public.extended::<Secp256k1>().ok_or_else(none)?;
            key.derive(derivation).map_err(|error| error.to_string())?.encoded().0.to_vec()
        }
        Suite::SchnorrSecp256k1 => {
            let key = public.extended::<SchnorrSecp256k1>().ok_or_else(none)?;
            let key = key.derive(derivation).map_err(|error| error.to_string())?;
            let key = verification_key::<SchnorrSecp256k1>(key.encoded(), &Tweak::None);
            key.map_err(text)?.to_vec()
        }
        Suite::SchnorrEd25519 => {
            let key = public.extended::<Ed25519>().ok_or_else(none)?;
            let key = key.derive(derivation).map_err(|error| error.to_string())?;
            verification_key::<Ed25519>(key.encoded(), &Tweak::None).map_err(text)?.to_vec()
        }
        Suite::EcdsaP256 => return Err("no chip signs on P-256".to_owned()),
    })
}

impl Signature {
    /// Whether judges that share no code with the core accept it.
    ///
    /// # Errors
    /// What a judge dislikes.
    pub fn judge(&self, key: &[u8], digest: &Digest) -> Result<(), String> {
        let length = |_| format!("a key of {} bytes", key.len());
        match self {
            Self::Ecdsa(signature) => {
                judge::accepts(key.try_into().map_err(length)?, *digest, signature)
            }
            Self::Bip340(signature) => {
                judge::accepts_bip340(key.try_into().map_err(length)?, digest, signature)
            }
            Self::Ed25519(signature) => {
                judge::accepts_ed25519(key.try_into().map_err(length)?, digest, signature)
            }
        }
    }
}
