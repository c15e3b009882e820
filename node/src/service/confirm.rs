//! R4 of key generation among nodes: confirmations are repeated until every holder has them all.

use quorate_core::hash::Digest;
use quorate_core::key::check_certificate;
use quorate_core::party::PartyId;
use quorate_core::wire;

use super::Service;
use super::records::Confirmed;
use crate::handle::ServiceError;
use crate::message::PeerMessage;
use crate::store::KeyState;

impl Service {
    /// Sends what this party has of a key's certificate to all other holders.
    pub(super) fn send_confirmations(&mut self, key: &[u8; 16], pending: bool) {
        let Ok(Some(row)) = self.store.key(*key) else { return };
        let Ok(public) = Self::public_of(&row) else { return };
        let Some(own) = row.confirmations.get(&self.me.number()) else { return };
        for to in public.terms.holders.parties().without(self.me).iter() {
            let confirmation = own.clone();
            self.send(to, PeerMessage::Confirm { key: *key, confirmation, pending });
        }
    }

    /// A pending key asks until it is confirmed by all: peers may have been away or restarted.
    pub(super) fn repeat_confirmations(&mut self) {
        let rows = self.store.keys().unwrap_or_default();
        for row in rows.iter().filter(|row| row.state == KeyState::Pending) {
            self.send_confirmations(&row.key, true);
            self.try_activate(&row.key);
        }
    }

    pub(super) fn handle_confirmation(
        &mut self,
        from: PartyId,
        key: [u8; 16],
        bytes: &[u8],
        pending: bool,
    ) {
        // Not there yet: this party is still in round 3. The sender repeats.
        let Ok(Some(row)) = self.store.key(key) else { return };
        let (Ok(public), Ok(confirmation)) =
            (Self::public_of(&row), wire::decode::<Confirmed>(bytes))
        else {
            return self.incidents.add(from, "a malformed confirmation of a key");
        };
        let signer = confirmation.party;
        // A member that holds no share could confirm too, and would then count as a holder.
        let holder = public.terms.holders.parties().contains(signer);
        let checked = self
            .identity_of(signer)
            .filter(|_| holder)
            .map(|identity| confirmation.check(&public, &identity));
        if !matches!(checked, Some(Ok(()))) {
            let what = format_args!("a confirmation that party {signer} did not sign for this key");
            return self.incidents.add(from, what);
        }
        if row.state == KeyState::Pending {
            if let Err(error) = self.store.add_confirmation(key, signer.number(), bytes.to_vec()) {
                self.incidents.add(signer, format_args!("a second confirmation of a key: {error}"));
            }
            self.try_activate(&key);
        } else if pending {
            // The certificate is given to whoever asks.
            for confirmation in row.confirmations.values().cloned() {
                self.send(from, PeerMessage::Confirm { key, confirmation, pending: false });
            }
        }
    }

    pub(super) fn try_activate(&mut self, key: &[u8; 16]) {
        let Ok(Some(row)) = self.store.key(*key) else { return };
        let Ok(public) = Self::public_of(&row) else { return };
        if row.state == KeyState::Active || row.confirmations.len() < public.terms.holders.count() {
            return;
        }
        let confirmations: Vec<Confirmed> =
            row.confirmations.values().filter_map(|bytes| wire::decode(bytes).ok()).collect();
        let session =
            self.key_coordinations.iter().find(|(_, c)| c.terms.key == *key).map(|(s, _)| *s);
        match check_certificate(&public, &confirmations, |party| self.identity_of(party)) {
            Ok(()) => {
                let certificate: Vec<u8> = row.confirmations.values().flatten().copied().collect();
                if let Err(error) = self.store.activate(*key, certificate) {
                    tracing::error!(%error, "a confirmed key could not be activated");
                    return;
                }
                tracing::info!(key = hex::encode(key), name = row.name, "the key is active");
                for to in public.terms.holders.parties().without(self.me).iter() {
                    self.send(to, PeerMessage::KeyActive { key: *key });
                }
                // Whoever asked for the key wants to use it, at any party: a moment for the others.
                let soon = self.clock.instant() + self.deadlines.accept;
                if let Some(c) = session.and_then(|s| self.key_coordinations.get_mut(&s)) {
                    c.deadline = soon;
                }
                self.tell_of_new_key(key);
                self.note_active(self.me, key);
            }
            Err(error) => {
                tracing::error!(key = hex::encode(key), %error, "a key's certificate is void");
                let message = error.to_string();
                if let Some(session) = session {
                    let error =
                        ServiceError::ProtocolFailure { reason: message, culprits: Vec::new() };
                    self.end_key_coordination(&session, Err(error));
                }
            }
        }
    }

    /// A holder has the key active, or is away and will find out later.
    pub(super) fn note_active(&mut self, party: PartyId, key: &[u8; 16]) {
        let coordination = self.key_coordinations.iter_mut().find(|(_, c)| c.terms.key == *key);
        let Some((session, c)) = coordination else { return };
        c.active = c.active.with(party);
        let (session, all) = (*session, c.active.contains_all(&c.holders()));
        if all {
            self.hand_out(&session, key);
        }
    }

    /// Answers with the key if it is active here.
    pub(super) fn hand_out(&mut self, session: &Digest, key: &[u8; 16]) -> bool {
        let row = self.store.key(*key).ok().flatten();
        let Some(row) = row.filter(|row| row.state == KeyState::Active) else { return false };
        let info = self.info(&row);
        self.end_key_coordination(session, info);
        true
    }

    /// Holders whose confirmation of a pending key is missing here.
    pub(super) fn unconfirmed(&self, key: &[u8; 16]) -> Vec<u16> {
        let Ok(Some(row)) = self.store.key(*key) else { return Vec::new() };
        let Ok(public) = Self::public_of(&row) else { return Vec::new() };
        let holders = public.terms.holders.parties();
        let missing = holders.iter().map(PartyId::number);
        missing.filter(|party| !row.confirmations.contains_key(party)).collect()
    }
}
