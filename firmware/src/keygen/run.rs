//! Core's run of a key generation.

use quorate_core::curve::Suite;
use quorate_core::dkg::{Dkg, Output, Peer, SessionKey};
use quorate_core::hash::Digest;
use quorate_core::key::KeyTerms;
use quorate_core::party::PartyId;
use quorate_core::secret::HedgedRng;
use quorate_core::session::Refusal;
use quorate_core::wire::NoRoom;

use super::{Public, Record, Stage};
use crate::groups::Making;
use crate::{MAX_HOLDERS, MAX_NONCE_KEYS};

/// A run; it is large, and stays where it began.
pub(super) struct Run(Option<Dkg<Making, MAX_HOLDERS, MAX_NONCE_KEYS>>);

/// Whether this firmware makes keys of the suite.
pub(super) fn supports(suite: Suite) -> bool {
    match suite {
        Suite::EcdsaSecp256k1 | Suite::SchnorrSecp256k1 => true,
        Suite::SchnorrEd25519 => cfg!(feature = "ed25519"),
        Suite::EcdsaP256 => false,
    }
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
        *stage = Stage::Running(Self(None));
        let Stage::Running(Self(place)) = stage else { return None };
        Dkg::start(place, terms, session, me, peers, key, rng).ok()
    }

    #[inline(never)]
    pub(super) fn handle_message(
        &mut self,
        from: PartyId,
        bytes: &[u8],
        key: &SessionKey,
    ) -> Result<(), Refusal> {
        self.0.as_mut().map_or(Err(Refusal::Over), |run| run.handle_message(from, bytes, key))
    }

    pub(super) fn poll_output<'b>(
        &mut self,
        key: &SessionKey,
        buffer: &'b mut [u8],
    ) -> Result<Option<Output<'b>>, NoRoom> {
        self.0.as_mut().map_or(Ok(None), |run| run.poll_output(key, buffer))
    }

    pub(super) fn round(&self) -> u8 {
        self.0.as_ref().map_or(0, |run| run.waiting_for().0)
    }

    pub(super) fn take_key(&mut self) -> Option<(Public, Record)> {
        self.0.as_mut()?.take_key()
    }
}
