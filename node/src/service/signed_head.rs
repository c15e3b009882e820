//! The head of this party's audit log, signed by its identity key (`docs/PROTOCOL.md` §10.9): a call of the
//! HSM like others, and nobody waits for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quorate_core::party::PartyId;
use quorate_core::wire::Bytes64;
use tokio::sync::oneshot;

use super::Service;
use super::hsm_calls::{Call, Purpose};
use super::records::to_bytes;
use crate::audit::{IdentityHead, Page, Whose, page};
use crate::clock::utc;
use crate::handle::{ServiceError, SignedHeadInfo};

/// A changed head is signed no sooner after the last one. A minute of the log is what can be cut off unseen
/// by the folder itself; and an HSM that takes a second for a signature, in which links may wait for it,
/// is left alone for the other fifty-nine.
pub const SIGN_HEAD_EVERY: Duration = Duration::from_secs(60);

pub(super) struct HeadSigning {
    newest: Option<IdentityHead>,
    /// What the HSM was asked to sign and has not answered. It is never asked twice: a driver that hangs
    /// for ever takes one thread here, and no more.
    under_way: Option<(u64, IdentityHead)>,
    /// When the HSM was last asked.
    asked: Option<Instant>,
    /// Who stops the node and is told when nothing is left to sign.
    stopping: Option<oneshot::Sender<()>>,
    /// When a head of a peer was last countersigned.
    pub(super) answered: BTreeMap<PartyId, Instant>,
}

impl HeadSigning {
    pub(super) fn new(newest: Option<IdentityHead>) -> Self {
        let answered = BTreeMap::new();
        Self { newest, under_way: None, asked: None, stopping: None, answered }
    }

    pub(super) fn info(&self) -> Option<SignedHeadInfo> {
        self.newest.as_ref().map(|head| SignedHeadInfo {
            generation: head.generation,
            number: head.number,
            hash: hex::encode(head.hash),
            time: head.time,
        })
    }

    pub(super) fn newest(&self) -> Option<&IdentityHead> {
        self.newest.as_ref()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }
}

impl Service {
    pub(super) fn whose(&self) -> Whose {
        Whose { network: self.network_id, party: self.me, identity: self.identity.public() }
    }

    pub(super) fn audit_page(&self, from: u64) -> Result<Page, ServiceError> {
        Ok(page(&self.store, &self.whose(), &self.membership, from)?)
    }

    /// Has the head signed if it changed and the last time is long ago.
    pub(super) fn sign_head_by_time(&mut self, at: Instant) {
        let recent = |asked: Instant| at.saturating_duration_since(asked) < SIGN_HEAD_EVERY;
        if self.head.asked.is_some_and(recent) || self.calls.is_silent(at).is_some() {
            return;
        }
        if let Err(error) = self.sign_head(at) {
            tracing::error!(%error, "the head of the audit log is not signed");
        }
    }

    /// The node stops: nothing more happens here but that the last head is signed, as soon as the HSM
    /// answers. `reply` is dropped when there is nothing to wait for any more.
    pub fn stop(&mut self, reply: oneshot::Sender<()>) {
        let at = self.clock.instant();
        if self.calls.is_silent(at).is_some() {
            return;
        }
        self.head.stopping = Some(reply);
        self.sign_last_head(at);
    }

    fn sign_last_head(&mut self, at: Instant) {
        match self.sign_head(at) {
            Ok(true) => {}
            Ok(false) => self.head.stopping = None,
            Err(error) => {
                self.head.stopping = None;
                tracing::error!(%error, "the last head of the audit log is not signed");
            }
        }
    }

    /// Asks the HSM, if there is anything to ask; whether an answer is to come.
    fn sign_head(&mut self, at: Instant) -> Result<bool, ServiceError> {
        if self.head.under_way.is_some() {
            return Ok(true);
        }
        let head = self.store.audit_head().map_err(ServiceError::local)?;
        let place = (head.generation, head.number);
        let known = self.head.newest.as_ref().map(|newest| (newest.generation, newest.number));
        if head.number == 0 || known == Some(place) {
            return Ok(false);
        }
        // Also if it is refused: the next try is not at the next tick.
        self.head.asked = Some(at);
        let head = IdentityHead {
            generation: head.generation,
            number: head.number,
            hash: head.hash,
            time: self.now(),
            signature: Bytes64([0; 64]),
        };
        let digest = head.digest(&self.network_id, self.me);
        let call = Call::Sign { identity: self.identity.clone(), digest };
        let id = self.call_hsm(Purpose::SignHead, call).map_err(ServiceError::local)?;
        self.head.under_way = Some((id, head));
        Ok(true)
    }

    pub(super) fn head_signed(&mut self, id: u64, result: Result<Bytes64, ServiceError>) {
        let Some((_, mut head)) = self.head.under_way.take_if(|(asked, _)| *asked == id) else {
            return;
        };
        let kept = result.and_then(|signature| {
            head.signature = signature;
            // What the store keeps is believed at the next start, or the node does not start.
            if !head.is_genuine(&self.whose()) {
                let what = "the HSM's answer is no signature by the identity key";
                return Err(ServiceError::local(what));
            }
            self.store.keep_identity_head(&to_bytes(&head)).map_err(ServiceError::local)
        });
        match kept {
            Ok(()) => {
                tracing::debug!(entry = head.number, at = utc(head.time), "audit head signed");
                self.head.newest = Some(head);
                self.ask_witnesses();
                if self.head.is_stopping() {
                    self.sign_last_head(self.clock.instant());
                }
            }
            Err(error) => {
                self.head.stopping = None;
                tracing::error!(%error, "the head of the audit log is not signed");
            }
        }
    }
}
