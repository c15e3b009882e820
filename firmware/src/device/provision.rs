//! What an operator does with a device: its first PIN, its network, its end.

use quorate_core::device::channel::channel_session;
use quorate_core::device::link::{Answer, MAX_MEMBERS, Member, PIN_LENGTHS, Refused, Request};
use quorate_core::dkg::SessionKey;
use quorate_core::identity::Identity;
use quorate_core::party::PartyId;
use quorate_core::secret::SecretBytes;
use quorate_core::wire::{self, Bytes64};
use zeroize::Zeroize as _;

use super::frames::Outcome;
use super::{About, Engine, Identities, Network, Open, Work, refused_pin};
use crate::keygen::{Held, KeyEntry};
use crate::message::head_session;
use crate::pin::Pin;
use crate::platform::Platform;
use crate::store::Slot;

impl<P: Platform> Engine<'_, P> {
    #[inline(never)]
    pub(super) fn request(&mut self, id: u32, request: Request<'_>) -> Outcome {
        match request {
            Request::Initialize { pin } => self.initialize(pin).into(),
            Request::Unlock { pin } => self.unlock(pin).into(),
            Request::Lock => {
                self.decline_operator();
                self.lock();
                Outcome::Done
            }
            Request::ChangePin { old, new } => self.change_pin(old, new).into(),
            Request::Join { network, party, members } => {
                match self.may_join(&Network { id: network, me: party, members }) {
                    Ok(network) => {
                        *self.candidate = Some(network);
                        self.ask_operator(About::Join(id))
                    }
                    Err(refused) => Outcome::Refused(refused),
                }
            }
            Request::PeerUp(party) | Request::PeerDown(party) => self.forget_way(party).into(),
            Request::Status => Outcome::Status(self.status()),
            Request::Readmit => match (self.joined(), self.known.rolled_back) {
                (Err(refused), _) => Outcome::Refused(refused),
                (Ok(()), Some(_)) => self.ask_operator(About::Readmit(id)),
                (Ok(()), None) => Outcome::Done,
            },
            Request::Wipe => self.ask_operator(About::Wipe(id)),
            Request::Key(place) => self.tell_held(id, place),
            Request::Forget(key) => match self.may_forget(&key) {
                Ok(held) => self.ask_operator(About::Forget(id, held)),
                Err(refused) => Outcome::Refused(refused),
            },
            // Both are handled where their bytes are.
            Request::Hello { .. } | Request::Relay { .. } => Outcome::Refused(Refused::Unsupported),
        }
    }

    fn ask_operator(&mut self, about: About) -> Outcome {
        if self.question.is_some() {
            return Outcome::Refused(Refused::Busy);
        }
        self.ask(about);
        Outcome::Later
    }

    /// The device's own public identity.
    pub(crate) fn identity(&mut self) -> Option<Identity> {
        if let Some(open) = &*self.open {
            return Some(open.identity.identity());
        }
        self.identities().map(|own| SessionKey::new(&own.seed).identity())
    }

    fn identities(&mut self) -> Option<Identities> {
        let mut buffer = [0; 64];
        let found = self.known.store.load(Slot::Identity, &mut buffer).ok().flatten();
        let own = found.and_then(|bytes| wire::read(bytes).ok());
        buffer.zeroize();
        own
    }

    /// Unlocked, and in a network.
    pub(crate) fn joined(&self) -> Result<(), Refused> {
        match (&*self.open, &*self.known.network) {
            (None, _) => Err(Refused::Locked),
            (_, None) => Err(Refused::NotJoined),
            _ => Ok(()),
        }
    }

    /// The identity is stored last: without it nothing was initialized.
    #[inline(never)]
    fn initialize(&mut self, pin: &[u8]) -> Result<(), Refused> {
        if self.known.store.fault().is_some() {
            return Err(Refused::Storage);
        }
        if self.identity().is_some() {
            return Err(Refused::Initialized);
        }
        if !PIN_LENGTHS.contains(&pin.len()) {
            return Err(Refused::PinLength);
        }
        let (root, salt) = (self.fresh()?, self.fresh()?);
        let (seed, hedge) = (self.fresh()?, self.fresh()?);
        if self.known.store.is_initialized() {
            // The power was cut in the middle of this.
            self.known.store.wipe().map_err(|_| Refused::Storage)?;
        }
        self.known.store.initialize(root.expose()).map_err(|_| Refused::Storage)?;
        let salt = salt.expose().first_chunk().copied().unwrap_or_default();
        self.pin.set(&mut self.known.store, &salt, pin).map_err(refused_pin)?;
        let mut buffer = [0; 64];
        let own = Identities { seed, hedge };
        let stored =
            wire::write(&own, &mut buffer).map_err(|_| Refused::Storage).and_then(|bytes| {
                self.known.store.save(Slot::Identity, bytes).map_err(|_| Refused::Storage)
            });
        buffer.zeroize();
        stored
    }

    #[inline(never)]
    fn fresh(&mut self) -> Result<SecretBytes, Refused> {
        self.entropy.fresh().map_err(|_| Refused::Entropy)
    }

    #[inline(never)]
    fn unlock(&mut self, pin: &[u8]) -> Result<(), Refused> {
        if self.known.store.fault().is_some() {
            return Err(Refused::Storage);
        }
        if self.identity().is_none() {
            return Err(Refused::NotInitialized);
        }
        self.pin.enter(&mut self.known.store, &self.known.clock, pin).map_err(|error| {
            let refused = refused_pin(error);
            if refused == Refused::Wiped {
                self.forget_all();
            }
            refused
        })?;
        if self.open.is_some() {
            return Ok(());
        }
        let Identities { seed, hedge } = self.identities().ok_or(Refused::Storage)?;
        let (session, boot) = (self.fresh()?, self.fresh()?);
        let boot = boot.expose().first_chunk().copied().unwrap_or_default();
        let (identity, session_key) = (SessionKey::new(&seed), SessionKey::new(&session));
        let certified = (Bytes64([0; 64]), Bytes64([0; 64]));
        *self.open = Some(Open { identity, hedge, session_key, boot, certified });
        self.certify();
        Ok(())
    }

    /// The identity key certifies the session key for what every boot needs.
    #[inline(never)]
    pub(crate) fn certify(&mut self) {
        if let (Some(open), Some(network)) = (&mut *self.open, &*self.known.network) {
            let channel = open.certify(network, &channel_session(&network.id)).signature;
            let head = open.certify(network, &head_session(&network.id)).signature;
            open.certified = (channel, head);
        }
    }

    #[inline(never)]
    fn change_pin(&mut self, old: &[u8], new: &[u8]) -> Result<(), Refused> {
        if self.identity().is_none() {
            return Err(Refused::NotInitialized);
        }
        let salt = self.fresh()?;
        let salt = salt.expose().first_chunk().copied().unwrap_or_default();
        let changed = self.pin.change(&mut self.known.store, &self.known.clock, &salt, (old, new));
        changed.map_err(|error| {
            let refused = refused_pin(error);
            if refused == Refused::Wiped {
                self.forget_all();
            }
            refused
        })
    }

    #[inline(never)]
    fn may_join(&mut self, candidate: &Network) -> Result<Network, Refused> {
        let own = self.identity().ok_or(Refused::NotInitialized)?;
        if self.open.is_none() {
            return Err(Refused::Locked);
        }
        if self.known.network.is_some() {
            return Err(Refused::Joined);
        }
        let members = &candidate.members;
        let ordered = members.is_sorted_by(|a, b| a.party < b.party);
        let mine = members.iter().find(|member| member.party == candidate.me);
        let good = |member: &Member| match member.identity {
            Identity::Ed25519(_) | Identity::Secp256k1(_) => member.identity.is_valid(),
            Identity::P256(_) => cfg!(feature = "p256-identity") && member.identity.is_valid(),
        };
        let fits = (2..=MAX_MEMBERS).contains(&members.len());
        if !ordered || !fits || mine.map(|m| m.identity) != Some(own) || !members.iter().all(good) {
            return Err(Refused::Members);
        }
        Ok(candidate.clone())
    }

    /// The person has agreed to join.
    #[inline(never)]
    pub(super) fn join(&mut self) -> Result<(), Refused> {
        let network = self.candidate.take().ok_or(Refused::Declined)?;
        let bytes = wire::write(&network, &mut *self.tx).map_err(|_| Refused::Members)?;
        self.known.store.save(Slot::Membership, bytes).map_err(|_| Refused::Storage)?;
        self.take_network(Some(network));
        self.certify();
        Ok(())
    }

    #[inline(never)]
    fn tell_held(&mut self, id: u32, place: u8) -> Outcome {
        if let Err(refused) = self.joined() {
            return Outcome::Refused(refused);
        }
        let Some(entry) = self.known.key_entry(place) else {
            return Outcome::Refused(Refused::UnknownKey);
        };
        let KeyEntry { key, name, active } = &entry;
        self.answer(id, Answer::Key { key: *key, name, active: *active });
        Outcome::Later
    }

    fn may_forget(&mut self, key: &[u8; 16]) -> Result<Held, Refused> {
        self.joined()?;
        if matches!(*self.work, Work::Key(_)) {
            return Err(Refused::Busy);
        }
        let place = self.known.find_key(|entry| entry.key == *key);
        let found = place.and_then(|place| Some((place, self.known.key_entry(place)?)));
        let (place, entry) = found.ok_or(Refused::UnknownKey)?;
        Ok(Held { place, active: entry.active })
    }

    /// The person has agreed to forget a key. What the journal has counted for it stays: the same key may be
    /// proposed again.
    #[inline(never)]
    pub(super) fn forget_key(&mut self, held: Held) -> Result<(), Refused> {
        // What the person has read must be so still: peers may have completed the key meanwhile.
        if self.known.key_entry(held.place).is_none_or(|entry| entry.active != held.active) {
            return Err(Refused::Busy);
        }
        // Sessions under way may be of this key.
        *self.work = Work::Idle;
        self.known.store.forget(held.place).map_err(|_| Refused::Storage)
    }

    /// The person has agreed to erase everything.
    pub(super) fn wipe(&mut self) -> Result<(), Refused> {
        self.forget_all();
        let wiped = self.known.store.wipe().map_err(|_| Refused::Storage);
        self.pin =
            Pin::start(&mut self.known.store, &self.known.clock).map_err(|_| Refused::Storage)?;
        wiped
    }

    fn forget_all(&mut self) {
        self.lock();
        self.take_network(None);
    }

    fn forget_way(&mut self, party: PartyId) -> Result<(), Refused> {
        self.joined()?;
        let peer = self.peer(party).ok_or(Refused::Stranger(party))?;
        peer.way = super::Way::Closed;
        Ok(())
    }
}
