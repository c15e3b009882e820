//! What goes to and fro between the parties, a step at a time.

use std::time::{Duration, Instant};

use quorate_core::device::link::{Event, Refused, Request};
use quorate_core::hash::Digest;
use quorate_core::party::PartyId;
use quorate_core::session::Header;
use quorate_node::message::{PeerMessage, Rejection, SignedHead, head_session};

use super::coordinate::Signing;
use super::wires::{Came, Wire};
use super::{ChipGroup, DeviceLink, Failed, IDLE, PATIENCE, Person, party};
use crate::chip::{Gone, Reply, Said};

impl<L: DeviceLink> ChipGroup<L> {
    /// Runs until `over`.
    ///
    /// # Errors
    /// [`Failed::Gone`], or [`Failed::Silence`] if it takes too long.
    pub fn run(&mut self, over: impl Fn(&Self) -> bool, what: &str) -> Result<(), Failed> {
        let until = Instant::now() + PATIENCE;
        while !over(self) {
            if self.step()? {
                self.idle = 0;
            } else {
                self.idle += 1;
                if self.idle.is_multiple_of(IDLE) {
                    self.confirm_again();
                }
            }
            if Instant::now() > until {
                return Err(Failed::Silence(format!("{what}: {}", self.standing())));
            }
        }
        Ok(())
    }

    /// How everybody stands, for who wonders why nothing comes.
    fn standing(&self) -> String {
        let (incidents, refused, events) = (self.incidents(), &self.refused, &self.events);
        let mut text = format!("{incidents:?}, {refused:?}, {events:?}");
        for (host, party) in &self.parties {
            let wire =
                self.wires.get(host).map(|wire| (wire.frames.len(), wire.begun, wire.is_up()));
            text.push_str(&format!("\nparty {host}: {}, channel {wire:?}", party.standing()));
        }
        text
    }

    /// A pending key asks until it is confirmed by all.
    fn confirm_again(&mut self) {
        let hosts: Vec<PartyId> = self.parties.keys().copied().collect();
        for host in hosts {
            if let Some(party) = self.parties.get_mut(&host) {
                party.confirm_again();
            }
            self.flush(host);
        }
    }

    /// Does one thing: gives one message to a party, or one frame to the device, or waits a moment for what
    /// the device says. Whether there was anything to do.
    ///
    /// # Errors
    /// [`Gone`].
    pub fn step(&mut self) -> Result<bool, Gone> {
        if let Some((from, to, message)) = self.queue.pop_front() {
            self.deliver(from, to, message);
            return Ok(true);
        }
        let Some(link) = &mut self.link else { return Err(Gone) };
        if let Some(said) = link.said(Duration::ZERO)? {
            self.hear(said);
            return Ok(true);
        }
        if self.relay()? {
            return Ok(true);
        }
        // Nothing else can come before what the device asked to be given again.
        let Some(link) = &mut self.link else { return Err(Gone) };
        let said = link.said(Duration::from_millis(50))?;
        self.wires.values_mut().for_each(|wire| wire.later = false);
        Ok(said.map(|said| self.hear(said)).is_some())
    }

    /// Gives the device one frame; all parties have their turns.
    fn relay(&mut self) -> Result<bool, Gone> {
        let ready = |wire: &Wire| !wire.later && !wire.frames.is_empty();
        let parties = self.wires.iter().filter(|(_, wire)| ready(wire)).map(|(party, _)| *party);
        let (before, after): (Vec<PartyId>, Vec<PartyId>) =
            parties.partition(|party| self.turn.is_some_and(|turn| *party <= turn));
        let Some(from) = after.first().or(before.first()).copied() else { return Ok(false) };
        self.turn = Some(from);
        let Some(wire) = self.wires.get_mut(&from) else { return Ok(false) };
        let Some(bytes) = wire.frames.front() else { return Ok(false) };
        let Some(link) = &mut self.link else { return Err(Gone) };
        let reply = link.ask(Request::Relay { from, bytes })?;
        if let Reply::Refused(Refused::Later(_)) = reply {
            wire.later = true;
            return Ok(true);
        }
        wire.frames.pop_front();
        self.wires.values_mut().for_each(|wire| wire.later = false);
        if let Reply::Refused(refused) = reply {
            self.refused.push(refused);
        }
        Ok(true)
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Send { to, bytes } => {
                self.frames.push((to, bytes.clone()));
                self.take_frame(to, bytes);
            }
            Said::Event(event) => {
                let asking = matches!(event, Event::Asking { .. });
                self.events.push(event);
                if let (true, Some(link)) = (asking, &mut self.link) {
                    match self.person {
                        Person::Confirms => link.press(true),
                        Person::Refuses => link.press(false),
                        Person::IsAway => {}
                    }
                }
            }
            Said::Refused(refused) => self.refused.push(refused),
        }
    }

    fn take_frame(&mut self, host: PartyId, bytes: Vec<u8>) {
        let (Some(wire), Some(party)) = (self.wires.get_mut(&host), self.parties.get_mut(&host))
        else {
            return;
        };
        match wire.receive(party, self.now, bytes) {
            Ok(Came::Nothing) => {}
            Ok(Came::Up) => {
                let recall = PeerMessage::Recall(self.heads.get(&host).cloned());
                party.outbox.insert(0, (self.device, recall));
                party.confirm_again();
                self.flush(host);
            }
            Ok(Came::Lost) => wire.begin(party),
            Ok(Came::Message(message)) => match PeerMessage::decode(&message) {
                Ok(message) => {
                    self.said.push((host, message.clone()));
                    self.queue.push_back((self.device, host, message));
                }
                Err(error) => party.incidents.push(format!("the device said no message: {error}")),
            },
            Err(error) => {
                party.incidents.push(format!("the channel broke: {error}"));
                wire.begin(party);
            }
        }
    }

    pub(super) fn send_all(&mut self, from: PartyId, outbox: party::Outbox) {
        for (to, message) in outbox {
            if to != self.device {
                self.queue.push_back((from, to, message));
                continue;
            }
            let Some(wire) = self.wires.get_mut(&from) else { continue };
            if let (Err(what), Some(party)) =
                (wire.send(&message.encode()), self.parties.get_mut(&from))
            {
                party.incidents.push(format!("to the device: {what}"));
            }
        }
    }

    fn flush(&mut self, host: PartyId) {
        let outbox = self.parties.get_mut(&host).map(|party| std::mem::take(&mut party.outbox));
        self.send_all(host, outbox.unwrap_or_default());
    }

    pub(super) fn deliver(&mut self, from: PartyId, to: PartyId, message: PeerMessage) {
        if let (true, PeerMessage::Ecdsa(bytes)) = (from == self.device, &message)
            && let Ok(header) = Header::peek(bytes)
        {
            self.checker.record(header.session, from, bytes);
        }
        match message {
            PeerMessage::AcceptKey { session, certificate } => {
                let Some(making) = self.makings.get_mut(&session) else { return };
                let mut outbox = Vec::new();
                making.accept(from, session, certificate, &mut outbox);
                let coordinator = making.coordinator;
                self.send_all(coordinator, outbox);
            }
            PeerMessage::RejectKey { session, reason } => {
                if let Some(making) = self.makings.get_mut(&session) {
                    making.failed = Some(Failed::Rejected(from, reason));
                }
            }
            PeerMessage::AcceptSign { session, salt } => self.accept_sign(from, session, salt),
            PeerMessage::RejectSign { session, reason } => self.reject_sign(from, session, reason),
            PeerMessage::Head(head) => self.keep_head(to, head),
            PeerMessage::Asking { .. } | PeerMessage::Recall(_) => {}
            PeerMessage::Ecdsa(bytes) => {
                self.collect(from, to, &bytes);
                self.give(from, to, PeerMessage::Ecdsa(bytes));
            }
            message => self.give(from, to, message),
        }
    }

    fn give(&mut self, from: PartyId, to: PartyId, message: PeerMessage) {
        if let Some(party) = self.parties.get_mut(&to) {
            party.handle(from, message);
        }
        self.flush(to);
    }

    fn accept_sign(&mut self, from: PartyId, session: Digest, salt: [u8; 32]) {
        let Some(signing) = self.signings.get_mut(&session) else { return };
        let coordinator = signing.coordinator;
        let Some(party) = self.parties.get(&coordinator) else { return };
        let mut outbox = Vec::new();
        if let Err(what) = signing.accept(from, session, salt, party, &mut outbox) {
            signing.done = Some(Err(Failed::Session(what)));
        }
        if let Some(inputs) = signing.inputs() {
            self.abouts.insert(inputs, signing.about.clone());
        }
        self.send_all(coordinator, outbox);
        let early = self.signings.get_mut(&session).map(Signing::take_early).unwrap_or_default();
        for (from, bytes) in early {
            self.collect(from, coordinator, &bytes);
        }
    }

    fn reject_sign(&mut self, from: PartyId, session: Digest, reason: Rejection) {
        if let Some(signing) = self.signings.get_mut(&session)
            && signing.done.is_none()
        {
            signing.done = Some(Err(Failed::Rejected(from, reason)));
        }
    }

    /// R1 and R2, for the coordinator.
    fn collect(&mut self, from: PartyId, to: PartyId, bytes: &[u8]) {
        let mine = self.signings.iter_mut().filter(|(_, signing)| signing.coordinator == to);
        let mut taken = false;
        let mut waiting = Vec::new();
        for (session, signing) in mine {
            taken |= signing.collect(from, *session, bytes);
            if signing.inputs().is_none() {
                waiting.push(signing);
            }
        }
        if !taken {
            waiting.into_iter().for_each(|signing| signing.keep(from, bytes));
        }
    }

    /// As nodes do: a head that is genuine and newer is kept, and one that is older shows that the device was
    /// put back.
    fn keep_head(&mut self, host: PartyId, head: Box<SignedHead>) {
        let session = head_session(&self.network);
        let genuine = head.certificate.party == self.device
            && self.identity.is_some_and(|identity| {
                head.certificate.is_signed_by(&identity, &self.network, &session)
            })
            && head.certificate.key.verify(&head.digest(&self.network), &head.signature);
        if !genuine {
            if let Some(party) = self.parties.get_mut(&host) {
                party.incidents.push("the device did not sign its head".to_owned());
            }
            return;
        }
        match self.heads.get(&host) {
            Some(known) if known.place() > head.place() => {
                self.rolled_back = Some(known.generation);
            }
            _ => {
                if self.rolled_back.is_some_and(|generation| head.generation > generation) {
                    self.rolled_back = None;
                }
                self.heads.insert(host, head);
            }
        }
    }
}
