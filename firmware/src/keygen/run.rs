//! Core's run of a key generation, for each scheme that this firmware has.

use quorate_core::curve::{Group as _, Secp256k1, Suite};
use quorate_core::dkg::{Dkg, Output, Peer, SessionKey};
use quorate_core::hash::Digest;
use quorate_core::key::KeyTerms;
use quorate_core::party::PartyId;
use quorate_core::secret::HedgedRng;
use quorate_core::session::Refusal;
use quorate_core::wire::NoRoom;

use super::{Public, Record, Stage};
use crate::{MAX_HOLDERS, MAX_NONCE_KEYS};

type Of<G> = Dkg<G, MAX_HOLDERS, MAX_NONCE_KEYS>;

/// A run; it is large, and stays where it began.
#[allow(clippy::large_enum_variant, reason = "no allocator: they share one place")]
pub(super) enum Run {
    /// For ECDSA and for BIP-340: the suite is in the terms alone.
    Secp256k1(Option<Of<Secp256k1>>),
    #[cfg(feature = "ed25519")]
    Ed25519(Option<Of<quorate_core::curve::Ed25519>>),
}

/// Whether this firmware makes keys of the suite.
pub(super) fn supports(suite: Suite) -> bool {
    match suite {
        Suite::EcdsaSecp256k1 | Suite::SchnorrSecp256k1 => true,
        Suite::SchnorrEd25519 => cfg!(feature = "ed25519"),
        Suite::EcdsaP256 => false,
    }
}

macro_rules! each {
    ($run:expr, $one:ident => $do:expr) => {
        match $run {
            Run::Secp256k1($one) => $do,
            #[cfg(feature = "ed25519")]
            Run::Ed25519($one) => $do,
        }
    };
}

impl Run {
    /// Begins in `stage`, where it stays.
    #[inline(never)]
    pub(super) fn start(
        stage: &mut Stage,
        terms: KeyTerms,
        session: Digest,
        me: PartyId,
        peers: &[Peer],
        key: &SessionKey,
        rng: &mut HedgedRng,
    ) -> Option<()> {
        *stage = Stage::Running(match terms.suite {
            suite if Secp256k1::makes(suite) => Self::Secp256k1(None),
            #[cfg(feature = "ed25519")]
            Suite::SchnorrEd25519 => Self::Ed25519(None),
            _ => return None,
        });
        let Stage::Running(run) = stage else { return None };
        each!(run, place => Dkg::start(place, terms, session, me, peers, key, rng).ok())
    }

    #[inline(never)]
    pub(super) fn handle_message(
        &mut self,
        from: PartyId,
        bytes: &[u8],
        key: &SessionKey,
    ) -> Result<(), Refusal> {
        let over = Err(Refusal::Over);
        each!(self, run => run.as_mut().map_or(over, |run| run.handle_message(from, bytes, key)))
    }

    pub(super) fn poll_output<'b>(
        &mut self,
        key: &SessionKey,
        buffer: &'b mut [u8],
    ) -> Result<Option<Output<'b>>, NoRoom> {
        each!(self, run => run.as_mut().map_or(Ok(None), |run| run.poll_output(key, buffer)))
    }

    pub(super) fn round(&self) -> u8 {
        each!(self, run => run.as_ref().map_or(0, |run| run.waiting_for().0))
    }

    pub(super) fn take_key(&mut self) -> Option<(Public, Record)> {
        each!(self, run => run.as_mut()?.take_key())
    }
}
