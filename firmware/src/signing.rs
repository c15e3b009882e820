//! A member's part in a signature: it judges the client's own request, asks the person, counts, and only then
//! lets the first message out.

#[cfg(feature = "frost")]
mod frost;
mod member;
mod witness;

use heapless::Vec;
use quorate_core::device::link::MAX_MESSAGE;
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::Confirmation;
use quorate_core::request::SignedRequest;
use rand_core::RngCore as _;

use crate::cause::Cause;
use crate::channels::{Inbox, Taken};
use crate::device::{About, Engine, Known, SESSIONS, Work};
use crate::judge::{Count, Reading, Verdict};
use crate::message::{
    self, AcceptSign, Asking, CancelSign, ProposeSign, RejectSign, StartSign, sign_session,
};
use crate::platform::Platform;
use crate::{MAX_HOLDERS, PATIENCE};
use member::Running;

/// No request is longer: with all that is around it, it fills one message.
pub const MAX_REQUEST: usize = MAX_MESSAGE - (message::HEADER + 32 + 2);
/// An accepted proposal ends by itself, milliseconds: as with nodes, the time for answers and for the rounds.
const DEADLINE: u64 = 7000;

/// One proposal.
pub(crate) struct Signing {
    coordinator: PartyId,
    session: Digest,
    pub(crate) request: Vec<u8, MAX_REQUEST>,
    salt: [u8; 32],
    /// Milliseconds.
    deadline: u64,
    confirmation: Confirmation,
    /// Of the request, as it was when its signatures were verified.
    hash: Digest,
    /// What is signed, once it has started.
    digest: Digest,
    stage: Stage,
}

/// How far it is.
#[expect(clippy::large_enum_variant, reason = "no allocator: they share one place")]
enum Stage {
    /// The person is asked.
    Asking,
    /// It waits for the start.
    Accepted,
    /// R1 has left.
    Running(Running),
    /// Commitments were offered, and nothing is counted.
    #[cfg(feature = "frost")]
    Frost(alloc::boxed::Box<frost::Waiting>),
}

impl<P: Platform> Engine<'_, P> {
    #[inline(never)]
    pub(crate) fn handle_sign_proposal(&mut self, from: PartyId, inbox: Inbox<'_>) -> Option<()> {
        let ProposeSign { nonce, request } = message::read(inbox.body()).ok()?;
        let network = self.known.network.as_ref()?.id;
        let session = sign_session(&network, from, &nonce, request);
        if let Some(slot) = self.find_session(&session) {
            // After its channel broke the coordinator asks again; the same salt answers the same session.
            let signing = self.signing(slot)?;
            if let (Stage::Accepted, salt) = (&signing.stage, signing.salt) {
                self.send(from, &AcceptSign { session, salt });
            }
            return Some(());
        }
        if request.len() > MAX_REQUEST {
            self.send_refusal(from, session, Cause::TooLong);
            return Some(());
        }
        let Some(slot) = self.free_slot() else {
            self.send_refusal(from, session, Cause::Busy);
            return Some(());
        };
        self.put(slot, from, session, request);
        let answer = match self.judge_slot(slot, inbox.buffer, Count::Look, &mut None) {
            Ok(Verdict::Ask) if self.question.is_some() => Err(Cause::Busy),
            Ok(Verdict::Ask) => {
                self.send(from, &Asking { session, seconds: PATIENCE });
                self.ask(About::Sign(slot));
                return Some(());
            }
            Ok(Verdict::Allowed) => self.accept(slot),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = answer {
            self.reject(slot, reason);
        }
        Some(())
    }

    /// Begins a session in a slot that is free. It grows where it stays: it is larger than a stack.
    #[inline(never)]
    fn put(&mut self, slot: usize, coordinator: PartyId, session: Digest, request: &[u8]) {
        if !matches!(&*self.work, Work::Sign(_)) {
            *self.work = Work::Sign(Vec::new());
        }
        let Work::Sign(slots) = &mut *self.work else { return };
        while slots.len() <= slot && slots.push(None).is_ok() {}
        let Some(place) = slots.get_mut(slot) else { return };
        *place = None;
        let signing = place.insert(Signing {
            coordinator,
            session,
            request: Vec::new(),
            salt: [0; 32],
            deadline: u64::MAX,
            confirmation: Confirmation::NotAsked,
            hash: [0; 32],
            digest: [0; 32],
            stage: Stage::Asking,
        });
        let _ = signing.request.extend_from_slice(request);
    }

    /// A slot without a session. Confirmations of a pending key give way: peers say them again.
    fn free_slot(&self) -> Option<usize> {
        match &*self.work {
            Work::Idle | Work::Confirm(_) => Some(0),
            Work::Sign(slots) => {
                let free = slots.iter().position(Option::is_none).unwrap_or(slots.len());
                (free < SESSIONS).then_some(free)
            }
            Work::Key(_) => None,
        }
    }

    fn find_session(&self, session: &Digest) -> Option<usize> {
        let Work::Sign(slots) = &*self.work else { return None };
        slots.iter().position(|slot| slot.as_ref().is_some_and(|s| s.session == *session))
    }

    pub(crate) fn signing(&mut self, slot: usize) -> Option<&mut Signing> {
        let Work::Sign(slots) = &mut *self.work else { return None };
        slots.get_mut(slot)?.as_mut()
    }

    /// Ends a session.
    fn drop_session(&mut self, slot: usize) {
        self.take_back(About::Sign(slot));
        let Work::Sign(slots) = &mut *self.work else { return };
        if let Some(slot) = slots.get_mut(slot) {
            *slot = None;
        }
        if slots.iter().all(Option::is_none) {
            *self.work = Work::Idle;
        }
    }

    fn reject(&mut self, slot: usize, reason: Cause) {
        let Some(Signing { coordinator, session, .. }) = self.signing(slot) else { return };
        let (to, session) = (*coordinator, *session);
        self.drop_session(slot);
        self.send_refusal(to, session, reason);
    }

    fn send_refusal(&mut self, to: PartyId, session: Digest, reason: Cause) {
        self.send(to, &RejectSign { session, reason: reason.told() });
    }

    #[inline(never)]
    fn accept(&mut self, slot: usize) -> Result<(), Cause> {
        let until = self.known.millis().saturating_add(DEADLINE);
        let session = self.signing(slot).ok_or(Cause::Fault)?.session;
        let mut rng = self.rng(&session).ok_or(Cause::Fault)?;
        let signing = self.signing(slot).ok_or(Cause::Fault)?;
        rng.fill_bytes(&mut signing.salt);
        (signing.stage, signing.deadline) = (Stage::Accepted, until);
        let (to, salt) = (signing.coordinator, signing.salt);
        self.send(to, &AcceptSign { session, salt });
        Ok(())
    }

    /// Judges what is in a slot: at first with all signatures, and later whether it is what they were for.
    #[inline(never)]
    fn judge_slot(
        &mut self,
        slot: usize,
        buffer: &mut [u8],
        count: Count,
        reading: &mut Option<Reading>,
    ) -> Result<Verdict, Cause> {
        let Work::Sign(slots) = &*self.work else { return Err(Cause::Fault) };
        let signing = slots.get(slot).and_then(Option::as_ref).ok_or(Cause::Fault)?;
        let checked = (!matches!(signing.stage, Stage::Asking)).then_some(&signing.hash);
        let request = (signing.request.as_slice(), checked);
        let said = signing.confirmation;
        let verdict = judge_bytes(&mut self.known, request, said, buffer, count, reading)?;
        let hash = reading.as_ref().ok_or(Cause::Fault)?.hash;
        self.signing(slot).ok_or(Cause::Fault)?.hash = hash;
        Ok(verdict)
    }

    /// The person has said yes or no to a request.
    pub(crate) fn sign_decided(&mut self, slot: usize, agreed: bool) {
        let Some(signing) = self.signing(slot) else { return };
        signing.confirmation = if agreed { Confirmation::Confirmed } else { Confirmation::Refused };
        let done = if agreed { self.accept(slot) } else { Err(Cause::Person) };
        if let Err(reason) = done {
            self.reject(slot, reason);
        }
    }

    #[inline(never)]
    pub(crate) fn handle_sign_cancel(&mut self, from: PartyId, body: &[u8]) -> Option<()> {
        let CancelSign { session } = message::read(body).ok()?;
        if let Some(slot) = self.find_session(&session)
            && self.signing(slot)?.coordinator == from
        {
            self.drop_session(slot);
        }
        Some(())
    }

    #[inline(never)]
    pub(crate) fn handle_asking(&mut self, from: PartyId, body: &[u8]) -> Option<()> {
        let Asking { session, seconds } = message::read(body).ok()?;
        let until = self.known.millis().saturating_add(u64::from(seconds.min(60)) * 1000);
        if self.wait_for_key(from, &session, until) {
            return Some(());
        }
        if let Some(slot) = self.find_session(&session) {
            let signing = self.signing(slot)?;
            if signing.coordinator == from && matches!(signing.stage, Stage::Accepted) {
                signing.deadline = signing.deadline.max(until.saturating_add(DEADLINE));
            }
        }
        Some(())
    }

    #[inline(never)]
    pub(crate) fn handle_sign_start(&mut self, from: PartyId, inbox: Inbox<'_>) -> Option<()> {
        let begun = self.read_start(from, inbox.body());
        // It may have ended here meanwhile.
        let Some((slot, StartSign { quorum, salts, .. })) = begun.as_ref()? else {
            return Some(());
        };
        if let Err(reason) = self.start(*slot, *quorum, salts, inbox.buffer) {
            self.reject(*slot, reason);
        }
        Some(())
    }

    /// What starts, and in which slot.
    #[inline(never)]
    fn read_start(&mut self, from: PartyId, body: &[u8]) -> Option<Option<(usize, StartSign)>> {
        let start: StartSign = message::read(body).ok()?;
        let Some(slot) = self.find_session(&start.session) else { return Some(None) };
        let signing = self.signing(slot)?;
        let expected = signing.coordinator == from && matches!(signing.stage, Stage::Accepted);
        expected.then_some(Some((slot, start)))
    }

    #[inline(never)]
    fn start(
        &mut self,
        slot: usize,
        quorum: PartySet,
        salts: &Vec<(PartyId, [u8; 32]), MAX_HOLDERS>,
        buffer: &mut [u8],
    ) -> Result<(), Cause> {
        if self.known.peers.iter().any(|peer| peer.distrusted && quorum.contains(peer.party)) {
            return Err(Cause::Member);
        }
        // Time has passed: all is looked at again, and nothing is counted before the session can be.
        let mut reading = None;
        self.judge_slot(slot, buffer, Count::Look, &mut reading)?;
        let reading = reading.as_ref().ok_or(Cause::Fault)?;
        #[cfg(feature = "frost")]
        if frost::is_for(reading, quorum) {
            return self.start_frost(slot, reading, quorum);
        }
        self.open_member(slot, reading, quorum, salts, buffer)?;
        let counted = self.count(slot, buffer, quorum, reading);
        zeroize::Zeroize::zeroize(buffer);
        counted?;
        self.announce_head().ok_or(Cause::Fault)?;
        self.send_nonce(slot, quorum).ok_or(Cause::Fault)?;
        self.signing(slot).ok_or(Cause::Fault)?.digest = reading.digest;
        Ok(())
    }

    #[inline(never)]
    fn count(
        &mut self,
        slot: usize,
        buffer: &mut [u8],
        quorum: PartySet,
        before: &Reading,
    ) -> Result<(), Cause> {
        let mut reading = None;
        self.judge_slot(slot, buffer, Count::Release(quorum), &mut reading)?;
        let like = reading.is_some_and(|reading| reading.is_like(before));
        if like { Ok(()) } else { Err(Cause::Fault) }
    }

    pub(crate) fn expire_sessions(&mut self, now: u64) {
        for slot in 0..SESSIONS {
            if self.signing(slot).is_some_and(|signing| signing.deadline <= now) {
                self.drop_session(slot);
            }
        }
    }

    /// R_j of another member.
    #[inline(never)]
    pub(crate) fn handle_nonce(&mut self, from: PartyId, body: &[u8]) -> Taken {
        #[cfg(feature = "frost")]
        if self.take_list(from, body).is_some() {
            return Taken::Yes;
        }
        match self.take_nonce(from, body) {
            Some(taken) => taken,
            None => {
                self.misbehaved(from);
                Taken::Yes
            }
        }
    }
}

#[inline(never)]
fn judge_bytes<P: Platform>(
    known: &mut Known<'_, P>,
    (bytes, checked): (&[u8], Option<&Digest>),
    said: Confirmation,
    buffer: &mut [u8],
    count: Count,
    place: &mut Option<Reading>,
) -> Result<Verdict, Cause> {
    let request = parsed(bytes, checked.is_some())?;
    let reading = place.insert(known.read_request(&request, buffer)?);
    if checked.is_some_and(|hash| *hash != reading.hash) {
        return Err(Cause::Fault);
    }
    match known.judge(&request, reading, said, count, buffer)? {
        Verdict::Ask if matches!(count, Count::Release(_)) => Err(Cause::Fault),
        verdict => Ok(verdict),
    }
}

/// Its signatures are verified at the proposal alone: three more verifications would be most of a signature's
/// time on a chip.
#[inline(never)]
fn parsed(bytes: &[u8], again: bool) -> Result<SignedRequest<'_>, Cause> {
    let parse = if again { SignedRequest::parse_again } else { SignedRequest::parse };
    parse(bytes).map_err(|_| Cause::Malformed)
}
