//! Messages that came a round too early, for drivers that have memory.

use core::ops::Deref;

use heapless::Vec;

use super::{Dkg, SessionSigner};
use crate::curve::Group;
use crate::party::PartyId;
use crate::session::Refusal;

/// Keeps what a run refuses as [`Refusal::Early`], and gives it again when its round has come.
///
/// A peer can be one round ahead and no more, since its next message needs one of this party; so one
/// frame of each is enough, whatever a peer sends. A chip has no room even for that: there the relay,
/// which sees the refusals, keeps the frames and gives them again.
pub struct Early<F, const N: usize>(Vec<(PartyId, F), N>);

impl<F, const N: usize> Default for Early<F, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<F: Deref<Target = [u8]>, const N: usize> Early<F, N> {
    /// [`Dkg::handle_message`] for this frame, and then for every kept one whose round has come.
    /// `refused` hears of every frame that was dropped; of a peer that is ahead already, the earlier
    /// frame is kept and the later one dropped.
    pub fn handle<G: Group, const K: usize>(
        &mut self,
        run: &mut Dkg<G, N, K>,
        from: PartyId,
        frame: F,
        signer: &impl SessionSigner,
        mut refused: impl FnMut(PartyId, Refusal),
    ) {
        if !self.give(run, from, frame, signer, &mut refused) {
            return;
        }
        // Any of them can complete a round, and so be what another one waits for.
        loop {
            let mut progress = false;
            for (from, frame) in core::mem::take(&mut self.0) {
                if run.is_over() {
                    return;
                }
                progress |= self.give(run, from, frame, signer, &mut refused);
            }
            if !progress {
                return;
            }
        }
    }

    /// Whether the run took the frame.
    fn give<G: Group, const K: usize>(
        &mut self,
        run: &mut Dkg<G, N, K>,
        from: PartyId,
        frame: F,
        signer: &impl SessionSigner,
        refused: &mut impl FnMut(PartyId, Refusal),
    ) -> bool {
        match run.handle_message(from, &frame, signer) {
            Ok(()) => return true,
            Err(Refusal::Early) if !self.0.iter().any(|(other, _)| *other == from) => {
                // At most one of each holder, and there are no more than N.
                let _ = self.0.push((from, frame));
            }
            Err(refusal) => refused(from, refusal),
        }
        false
    }
}
