//! Core's session of a member, for each scheme that this firmware has.

use heapless::Vec;
use quorate_core::curve::{Group, Suite};
use quorate_core::device::link::Event;
use quorate_core::ecdsa::{self, Ecdsa};
use quorate_core::key::OpenedKey;
use quorate_core::nonce::{Failure, Guard, MAX_MESSAGE, Scheme, SignError, SignatureShare, Signer};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::{self, Schnorr, Tweak};
use quorate_core::session::{Abort, Header};
use quorate_core::wire;
use zeroize::Zeroize as _;

use super::{Engine, Known, Stage};
use crate::cause::Cause;
use crate::channels::Taken;
use crate::device::Work;
use crate::groups;
use crate::judge::Reading;
use crate::keygen::{Confirmed, Public, Record};
use crate::message::{self, Signing as Carrier};
use crate::platform::Platform;
use crate::store::{Part, Slot};
use crate::{MAX_HOLDERS, MAX_NONCE_KEYS, MAX_QUORUM};

type Salts = Vec<(PartyId, [u8; 32]), MAX_HOLDERS>;
type Key<G> = OpenedKey<G, MAX_HOLDERS, MAX_NONCE_KEYS>;

/// A session of one scheme, with the opened key. Both are made where they stay, one after the other.
pub(super) struct Member<S: Scheme> {
    key: Option<Key<S::Group>>,
    signer: Option<Signer<S, MAX_QUORUM>>,
}

impl<S: Scheme> Member<S> {
    #[inline(always)]
    fn empty() -> Self {
        Self { key: None, signer: None }
    }
}

/// A session.
pub(super) enum Running {
    Ecdsa(Member<Ecdsa<groups::Ecdsa>>),
    Schnorr(Member<Schnorr<groups::Schnorr, [u8; 32]>>),
}

macro_rules! each {
    ($running:expr, $one:ident => $do:expr) => {
        match $running {
            Running::Ecdsa($one) => $do,
            Running::Schnorr($one) => $do,
        }
    };
}

/// What came of R_j.
enum Took {
    /// Others are missing.
    Waits,
    /// The share, encoded, of this length.
    Share(usize),
    /// Not of this session, or not of this quorum.
    Dropped,
    Failed(Cause),
}

/// A chip can be made to compute wrongly.
const GUARD: Guard = Guard::Recompute;

impl<S: Scheme> Member<S> {
    #[inline(never)]
    fn take_nonce(&mut self, from: PartyId, bytes: &[u8], out: &mut [u8; MAX_MESSAGE]) -> Took {
        let (Some(key), Some(signer)) = (&self.key, &mut self.signer) else { return Took::Dropped };
        took(signer.handle_nonce(key, from, bytes), out)
    }
}

#[inline(never)]
fn took(share: Result<Option<SignatureShare>, Failure>, out: &mut [u8; MAX_MESSAGE]) -> Took {
    match share {
        Ok(None) => Took::Waits,
        Ok(Some(share)) => match share.encode(out) {
            Ok(bytes) => Took::Share(bytes.len()),
            Err(_) => Took::Failed(Cause::DoesNotFit),
        },
        Err(Failure::Refused(_)) => Took::Dropped,
        Err(Failure::Aborted(Abort::ComputationFault)) => Took::Failed(Cause::Differ),
        Err(Failure::Aborted(_)) => Took::Failed(Cause::Nonces),
    }
}

fn refused(error: &SignError) -> Cause {
    match error {
        SignError::ComputationFault => Cause::Fault,
        SignError::Derivation(_) => Cause::Derivation,
        SignError::Salts | SignError::OwnSalt => Cause::Salts,
        _ => Cause::Quorum,
    }
}

impl<P: Platform> Engine<'_, P> {
    /// Opens the key, and derives this party's nonce point. Nothing has left.
    #[inline(never)]
    pub(super) fn open_member(
        &mut self,
        slot: usize,
        reading: &Reading,
        quorum: PartySet,
        salts: &Salts,
        buffer: &mut [u8],
    ) -> Result<(), Cause> {
        let signing = self.signing(slot).ok_or(Cause::Fault)?;
        let (coordinator, salt) = (signing.coordinator, signing.salt);
        let tweak = Tweak::None;
        let known = &mut self.known;
        let Work::Sign(slots) = &mut *self.work else { return Err(Cause::Fault) };
        let signing = slots.get_mut(slot).and_then(Option::as_mut).ok_or(Cause::Fault)?;
        signing.stage = Stage::Running(match reading.suite {
            Suite::EcdsaSecp256k1 => Running::Ecdsa(Member::empty()),
            // One that this firmware has not does not open.
            Suite::SchnorrSecp256k1 | Suite::SchnorrEd25519 => Running::Schnorr(Member::empty()),
            Suite::EcdsaP256 => return Err(Cause::Fault),
        });
        let Stage::Running(running) = &mut signing.stage else { return Err(Cause::Fault) };
        each!(running, one => open_key(known, reading.number, buffer, &mut one.key));
        // Only now: opening takes long, and copies that lie in memory meanwhile nobody compares.
        let Reading { derivation, digest, .. } = *reading;
        let message = digest;
        let begun = match running {
            Running::Ecdsa(one) => {
                let terms = ecdsa::SignTerms { quorum, coordinator, derivation, digest };
                let key = one.key.as_ref().ok_or(Cause::Fault)?;
                Signer::<Ecdsa<_>, _>::guarded_in(&mut one.signer, key, terms, salts, &salt, GUARD)
            }
            Running::Schnorr(one) => {
                let terms = schnorr::SignTerms { quorum, coordinator, derivation, tweak, message };
                let key = one.key.as_ref().ok_or(Cause::Fault)?;
                Signer::<Schnorr<_, _>, _>::guarded_in(
                    &mut one.signer,
                    key,
                    terms,
                    salts,
                    &salt,
                    GUARD,
                )
            }
        };
        begun.map_err(|error| refused(&error))
    }

    /// R1, to all other members and to the coordinator.
    #[inline(never)]
    pub(super) fn send_nonce(&mut self, slot: usize, quorum: PartySet) -> Option<()> {
        let signing = self.signing(slot)?;
        let Stage::Running(running) = &signing.stage else { return None };
        let receivers = quorum.with(signing.coordinator);
        let mut first = [0; MAX_MESSAGE];
        let length =
            each!(running, one => one.signer.as_ref()?.nonce_message(&mut first)).ok()?.len();
        let bytes = first.get(..length)?;
        for to in receivers.iter() {
            self.send(to, &Carrier { bytes });
        }
        Some(())
    }

    /// R_j of another member; nothing if it makes no sense.
    #[inline(never)]
    pub(super) fn take_nonce(&mut self, from: PartyId, body: &[u8]) -> Option<Taken> {
        let Carrier { bytes } = message::read(body).ok()?;
        let header = Header::peek(bytes).ok().filter(|header| header.round == 1)?;
        let Work::Sign(slots) = &mut *self.work else { return Some(Taken::Yes) };
        let (mut share, mut done, mut waits) = ([0; MAX_MESSAGE], None, false);
        for (slot, signing) in slots.iter_mut().enumerate() {
            let Some(signing) = signing else { continue };
            match &mut signing.stage {
                Stage::Asking => {}
                #[cfg(feature = "frost")]
                Stage::Frost(_) => {}
                Stage::Accepted => waits = true,
                Stage::Running(running) => {
                    let named = each!(running, one => one.signer.as_ref().map(|s| *s.session()));
                    if named == Some(header.session) {
                        let took = each!(running, one => one.take_nonce(from, bytes, &mut share));
                        done = Some((slot, signing.coordinator, took));
                    }
                }
            }
        }
        match done {
            // Of a faster member: this party's own start is under way.
            None if waits => return Some(Taken::Later),
            None | Some((_, _, Took::Waits | Took::Dropped)) => {}
            Some((slot, to, Took::Share(length))) => {
                let bytes = share.get(..length)?;
                self.send(to, &Carrier { bytes });
                let digest = self.signing(slot)?.digest;
                self.drop_session(slot);
                self.event(Event::Signed(digest));
            }
            Some((slot, _, Took::Failed(what))) => self.reject(slot, what),
        }
        Some(Taken::Yes)
    }
}

/// The share of a key, checked against what this party confirmed; nothing if it is not that.
#[inline(never)]
pub(super) fn open_key<P: Platform, G: Group>(
    known: &mut Known<'_, P>,
    number: u8,
    buffer: &mut [u8],
    place: &mut Option<Key<G>>,
) {
    let mut open = || {
        let me = known.network.as_ref()?.me;
        // Not taken out of where they are: each copy would take the stack once more.
        let public: Option<Public> = known.load_public(number, buffer);
        let own: Option<Confirmed> = known.own_confirmation(number, buffer);
        let mut record: Option<Record> = known.share(number, buffer);
        OpenedKey::open_in(place, public.as_ref()?, me, record.as_mut()?, own.as_ref()?).ok()
    };
    let opened = open();
    // A bit that flipped meanwhile would be in all that follows: what is in flash is read once more.
    if opened.is_none() || !is_as_stored(known, number, buffer, place).unwrap_or(false) {
        *place = None;
    }
    buffer.zeroize();
}

#[inline(never)]
fn is_as_stored<P: Platform, G: Group>(
    known: &mut Known<'_, P>,
    number: u8,
    buffer: &mut [u8],
    place: &Option<Key<G>>,
) -> Option<bool> {
    let public: Option<Public> = known.load_public(number, buffer);
    let record: Option<Record> = known.share(number, buffer);
    Some(place.as_ref()?.is_of(public.as_ref()?, record.as_ref()?))
}

impl<P: Platform> Known<'_, P> {
    #[inline(never)]
    fn share(&mut self, number: u8, buffer: &mut [u8]) -> Option<Record> {
        wire::read(self.store.load(Slot::Key(number, Part::Share), buffer).ok()??).ok()
    }
}
