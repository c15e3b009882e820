//! Frames of the host in, answers out.

use embedded_io::{Read as _, ReadReady as _};
use quorate_core::device::frame;
use quorate_core::device::link::{
    Answer, Event, FrameFault, FromDevice, Hello, MAX_FRAME, Refused, Request, Status, ToDevice,
    VERSIONS, WINDOW, features,
};
use quorate_core::party::PartyId;

use super::{Device, Engine, Way};
use crate::platform::Platform;

/// What this firmware can do.
pub(super) const FEATURES: u32 = features::ECDSA
    | features::BIP340
    | features::KEYS
    | if cfg!(feature = "typed-data") { features::TYPED_DATA } else { 0 }
    | if cfg!(feature = "ed25519") { features::ED25519 } else { 0 }
    | if cfg!(feature = "frost") { features::FROST } else { 0 }
    | if cfg!(feature = "p256-identity") { features::P256_IDENTITY } else { 0 };

/// What is read at once.
const PIECE: usize = 64;
/// Pieces at most before buttons and clocks are looked at.
const PIECES: usize = 64;

/// What comes of a request.
pub(super) enum Outcome {
    Done,
    Refused(Refused),
    Hello(Hello),
    Status(Status),
    /// The person is asked; the answer comes then.
    Later,
}

impl From<Result<(), Refused>> for Outcome {
    fn from(result: Result<(), Refused>) -> Self {
        result.map_or_else(Self::Refused, |()| Self::Done)
    }
}

impl<P: Platform> Device<'_, P> {
    #[inline(never)]
    pub(super) fn read(&mut self) {
        for _ in 0..PIECES {
            if !matches!(self.engine.link.read_ready(), Ok(true)) {
                return;
            }
            let mut piece = [0; PIECE];
            let Ok(count @ 1..) = self.engine.link.read(&mut piece) else { return };
            let mut bytes = piece.get(..count).unwrap_or_default();
            while !bytes.is_empty() {
                match self.rx.feed(&mut bytes).map(|frame| frame.map(|content| content.len())) {
                    Some(Ok(length)) => {
                        self.engine.handle_frame(self.rx.buffer(), length);
                        // It may have been a PIN, or a share in the making.
                        self.rx.wipe();
                    }
                    Some(Err(fault)) => {
                        self.engine.answer(0, Answer::Refused(Refused::Frame(fault)));
                    }
                    None => {}
                }
            }
            zeroize::Zeroize::zeroize(&mut piece);
        }
    }
}

impl<P: Platform> Engine<'_, P> {
    /// The content of a frame is at the start of `buffer`, which is free for use once it was read. All that
    /// other parties say is handled above this frame: it holds nothing of what was read.
    #[inline(never)]
    fn handle_frame(&mut self, buffer: &mut [u8], length: usize) {
        let content = buffer.get(..length).unwrap_or_default();
        // What is sealed is opened in place, where it lies: at the end of the frame.
        if let Some((id, from, start)) = self.take_request(content) {
            match self.relay(from, buffer, start..length) {
                Ok(()) => self.answer(id, Answer::Done),
                Err(refused) => self.answer(id, Answer::Refused(refused)),
            }
        }
    }

    /// Answers the host's own requests. Of another party's frame it gives the id, the party, and where the
    /// frame begins.
    #[inline(never)]
    fn take_request(&mut self, content: &[u8]) -> Option<(u32, PartyId, usize)> {
        let fault = |fault| Answer::Refused(Refused::Frame(fault));
        if content.len() > MAX_FRAME {
            self.answer(0, fault(FrameFault::TooLong));
            return None;
        }
        let Ok(ToDevice { id, request }) = frame::read::<ToDevice<'_>>(content) else {
            self.answer(0, fault(FrameFault::Malformed));
            return None;
        };
        let outcome = match (&request, self.greeted) {
            (Request::Hello { min, max, entropy }, _) => self.hello(id, (*min, *max), entropy),
            (_, None) => Outcome::Refused(Refused::HelloFirst),
            (_, Some(last)) if id <= last => Outcome::Refused(Refused::OldId { last }),
            _ => {
                self.greeted = Some(id);
                match request {
                    Request::Relay { from, bytes } => {
                        return Some((id, from, content.len().saturating_sub(bytes.len())));
                    }
                    request => self.request(id, request),
                }
            }
        };
        match outcome {
            Outcome::Done => self.answer(id, Answer::Done),
            Outcome::Refused(refused) => self.answer(id, Answer::Refused(refused)),
            Outcome::Hello(hello) => self.answer(id, Answer::Hello(hello)),
            Outcome::Status(status) => self.answer(id, Answer::Status(status)),
            Outcome::Later => {}
        }
        None
    }

    #[inline(never)]
    fn hello(&mut self, id: u32, (min, max): (u8, u8), entropy: &[u8; 32]) -> Outcome {
        self.lock();
        self.greeted = None;
        let (oldest, newest) = VERSIONS;
        let version = max.min(newest);
        if version < min.max(oldest) {
            return Outcome::Refused(Refused::Version { min: oldest, max: newest });
        }
        self.entropy.mix(entropy);
        self.greeted = Some(id);
        Outcome::Hello(Hello {
            version,
            max_frame: MAX_FRAME as u16,
            window: WINDOW,
            features: FEATURES,
            firmware: self.firmware,
            identity: self.identity(),
            joined: self.known.network.as_ref().map(|network| (network.id, network.me)),
        })
    }

    #[inline(never)]
    pub(super) fn status(&mut self) -> Status {
        let head = self.known.store.head().unwrap_or_default();
        let channel = |set: u32, peer: &super::Peer| match peer.way {
            Way::Open(_) => set | 1u32.checked_shl(u32::from(peer.party.number()) - 1).unwrap_or(0),
            _ => set,
        };
        Status {
            initialized: self.identity().is_some(),
            unlocked: self.open.is_some(),
            pin_tries: self.pin.tries(&mut self.known.store).unwrap_or(0),
            keys: self.known.count_keys(),
            channels: self.known.peers.iter().fold(0, channel),
            rolled_back: self.known.rolled_back.is_some(),
            log: (head.generation, head.number),
            erases: self.known.store.erases(),
            now: self.known.some_time(),
            stack: self.stack,
        }
    }

    /// Sends an answer; a host that is gone does not hear it.
    #[inline(never)]
    pub(crate) fn answer(&mut self, id: u32, answer: Answer<'_>) {
        put(&mut self.link, id, answer);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.answer(0, Answer::Event(event));
    }

    pub(crate) fn misbehaved(&mut self, party: PartyId) {
        self.event(Event::Misbehaved(party));
    }
}

/// Writes a frame to the line.
pub(crate) fn put(link: &mut impl embedded_io::Write, id: u32, answer: Answer<'_>) {
    frame::write_to(&FromDevice { id, answer }, &mut |bytes| {
        let _ = link.write_all(bytes);
    });
    let _ = link.flush();
}
