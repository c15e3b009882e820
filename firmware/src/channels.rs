//! Channels to the other parties, over the host that relays their frames.

use core::ops::Range;

use quorate_core::device::channel::{self, Ends, LOST, MAX_GREETING, channel_session, kind};
use quorate_core::device::link::{Answer, Refused};
use quorate_core::party::PartyId;
use quorate_core::wire;

use crate::clock::Told;
use crate::device::{Engine, Way, put};
use crate::message::{self, Head, Message, Recall, SignedHead, kind as kinds};
use crate::platform::Platform;
use crate::store::Slot;

/// A nonce of no session that is known waits so long for its start, milliseconds; if that never comes, what
/// the same party sent after it must not wait.
const HOLD: u64 = 1000;

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was taken, or dropped for good.
    Yes,
    /// Its round has not come: it is to be given again.
    Later,
}

/// A message in a buffer that is larger: the rest, and the message itself once it was read, are free for use.
pub(crate) struct Inbox<'b> {
    pub(crate) buffer: &'b mut [u8],
    place: Range<usize>,
}

impl Inbox<'_> {
    /// The body, behind version and kind.
    pub(crate) fn body(&self) -> &[u8] {
        let start = self.place.start + message::HEADER;
        self.buffer.get(start..self.place.end).unwrap_or_default()
    }
}

impl<P: Platform> Engine<'_, P> {
    /// A frame from another party, at `place` in the buffer.
    #[inline(never)]
    pub(crate) fn relay(
        &mut self,
        from: PartyId,
        buffer: &mut [u8],
        place: Range<usize>,
    ) -> Result<(), Refused> {
        self.joined()?;
        if self.peer(from).is_none() {
            return Err(Refused::Stranger(from));
        }
        let frame = buffer.get_mut(place.clone()).unwrap_or_default();
        let taken = match frame.first() {
            Some(&kind::BEGIN) => self.begin(from, frame),
            Some(&kind::SEALED) => match self.open_frame(from, frame) {
                Some(Some(length)) => {
                    let place = place.start + 1..place.start + 1 + length;
                    return self.take(from, Inbox { buffer, place });
                }
                Some(None) => Some(()),
                None => None,
            },
            _ => None,
        };
        taken.ok_or_else(|| self.lose(from))
    }

    /// There is no channel, or no more; the other side is told, and begins anew.
    fn lose(&mut self, party: PartyId) -> Refused {
        if let Some(peer) = self.peer(party) {
            peer.way = Way::Closed;
        }
        put(&mut self.link, 0, Answer::Send { to: party, bytes: &LOST });
        Refused::Channel(party)
    }

    fn ends(&self, peer: PartyId) -> Option<Ends> {
        let network = self.known.network.as_ref()?;
        let identity = network.identity_of(peer)?;
        Some(Ends { network: network.id, me: network.me, peer, identity })
    }

    /// Whatever channel there was, the other has lost it.
    #[inline(never)]
    fn begin(&mut self, from: PartyId, frame: &[u8]) -> Option<()> {
        let ends = self.ends(from)?;
        let mut rng = self.rng(&channel_session(&ends.network))?;
        let (pending, reply) = channel::answer(ends, frame, &mut rng).ok()?;
        let time = self.known.some_time().unwrap_or(0);
        let open = self.open.as_ref()?;
        let certificate = open.certificate(ends.me, open.certified.0);
        put(&mut self.link, 0, Answer::Send { to: from, bytes: &reply });
        let mut buffer = [0; MAX_GREETING];
        let greeted = pending.greet(&certificate, time, &open.session_key, &mut buffer);
        let (greeted, bytes) = greeted.ok()?;
        put(&mut self.link, 0, Answer::Send { to: from, bytes });
        self.peer(from)?.way = Way::Greeted(greeted);
        Some(())
    }

    /// Opens a sealed frame in place: the message's length, or nothing for a greeting.
    #[inline(never)]
    fn open_frame(&mut self, from: PartyId, frame: &mut [u8]) -> Option<Option<usize>> {
        let at = self.known.millis();
        let peer = self.peer(from)?;
        match core::mem::replace(&mut peer.way, Way::Closed) {
            Way::Closed => None,
            Way::Greeted(greeted) => {
                let (channel, heard) = greeted.hear(frame).ok()?;
                peer.way = Way::Open(channel);
                if heard.time > 0 {
                    peer.told = Some(Told { unix: heard.time, at });
                }
                self.welcome(from);
                Some(None)
            }
            Way::Open(mut channel) => {
                let length = channel.open(frame).ok()?.len();
                peer.way = Way::Open(channel);
                Some(Some(length))
            }
        }
    }

    /// A channel is up: first of all the other is told what this device last saw of it.
    #[inline(never)]
    fn welcome(&mut self, party: PartyId) {
        let head = self.kept_head(party);
        self.send(party, &Recall { head });
        self.confirm_at = self.known.millis();
    }

    fn take(&mut self, from: PartyId, inbox: Inbox<'_>) -> Result<(), Refused> {
        let message = inbox.buffer.get(inbox.place.clone()).unwrap_or_default();
        let Ok((kind, _)) = message::open(message) else {
            self.misbehaved(from);
            return Ok(());
        };
        let taken = self.dispatch(from, kind, inbox);
        let now = self.known.millis();
        let Some(peer) = self.peer(from) else { return Ok(()) };
        if taken == Taken::Later {
            let since = *peer.held.get_or_insert(now);
            let patient = kind != kinds::SIGNING || now.saturating_sub(since) < HOLD;
            if let (true, Way::Open(channel)) = (patient, &mut peer.way) {
                channel.put_back();
                return Err(Refused::Later(from));
            }
        }
        peer.held = None;
        Ok(())
    }

    fn dispatch(&mut self, from: PartyId, kind: u8, inbox: Inbox<'_>) -> Taken {
        let read = match kind {
            kinds::PROPOSE_KEY => self.handle_key_proposal(from, inbox.body()),
            kinds::START_KEY => self.handle_key_start(from, inbox),
            kinds::CANCEL_KEY => self.handle_key_cancel(from, inbox.body()),
            kinds::DKG => return self.handle_dkg(from, inbox),
            kinds::CONFIRM => self.handle_confirmation(from, inbox.body()),
            kinds::PROPOSE_SIGN => self.handle_sign_proposal(from, inbox),
            kinds::START_SIGN => self.handle_sign_start(from, inbox),
            kinds::CANCEL_SIGN => self.handle_sign_cancel(from, inbox.body()),
            kinds::SIGNING => return self.handle_nonce(from, inbox.body()),
            kinds::ASKING => self.handle_asking(from, inbox.body()),
            kinds::HEAD => self.handle_head(from, inbox.body()),
            kinds::RECALL => self.handle_recall(from, inbox.body()),
            // Nodes say more among themselves.
            _ => Some(()),
        };
        if read.is_none() {
            self.misbehaved(from);
        }
        Taken::Yes
    }

    /// Sends a message to a party, if there is a channel.
    pub(crate) fn send<T: Message>(&mut self, to: PartyId, message: &T) -> bool {
        self.send_as(to, T::KIND, message)
    }

    #[inline(never)]
    fn send_as(&mut self, to: PartyId, kind: u8, message: &dyn wire::Write) -> bool {
        let body = self.tx.get_mut(1..).unwrap_or_default();
        match message::write_as(kind, message, body) {
            Ok(length) => self.seal_and_send(to, length),
            Err(_) => false,
        }
    }

    /// The message of this length lies in `tx`, from the second byte on.
    pub(crate) fn seal_and_send(&mut self, to: PartyId, length: usize) -> bool {
        let peer = self.known.peers.iter_mut().find(|peer| peer.party == to);
        let Some(Way::Open(channel)) = peer.map(|peer| &mut peer.way) else { return false };
        let Ok(bytes) = channel.seal(&mut *self.tx, length) else { return false };
        put(&mut self.link, 0, Answer::Send { to, bytes });
        true
    }

    /// Where the head of a member's log is kept.
    fn head_slot(&self, party: PartyId) -> Option<Slot> {
        let place = self.known.peers.iter().position(|peer| peer.party == party)?;
        Some(Slot::Head(place as u8))
    }

    fn kept_head(&mut self, party: PartyId) -> Option<SignedHead> {
        let slot = self.head_slot(party)?;
        let bytes = self.known.store.load(slot, &mut *self.tx).ok()??;
        wire::read(bytes).ok()
    }

    /// A peer's log has grown. It came over the peer's own channel, so that its signature need not be looked
    /// at: a false one harms the peer alone.
    #[inline(never)]
    fn handle_head(&mut self, from: PartyId, body: &[u8]) -> Option<()> {
        let Head { head } = message::read(body).ok()?;
        if head.certificate.party != from {
            return None;
        }
        let kept = self.kept_head(from);
        let shorter = kept.as_ref().is_some_and(|kept| kept.place() > head.place());
        let later = kept.as_ref().is_none_or(|kept| kept.generation < head.generation);
        if let Some(peer) = self.peer(from) {
            peer.distrusted = shorter || (peer.distrusted && !later);
        }
        if shorter {
            self.send(from, &Recall { head: kept });
            return None;
        }
        if kept.is_none_or(|kept| kept.place() < head.place()) {
            let slot = self.head_slot(from)?;
            // If it cannot be kept, the flash is broken, and nothing is signed either.
            let _ = self.known.store.save(slot, body);
        }
        Some(())
    }
}
