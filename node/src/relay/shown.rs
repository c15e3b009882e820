//! What a relay shows of itself: whether its device is there, how it stands, who is connected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::device::link::{Event, Hello, Refused, Status, features};
use serde::{Deserialize, Serialize};

use crate::device::{DeviceError, HeldKey};

/// A device, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Its identity key, once it has one.
    pub identity: Option<String>,
    /// The network that it has joined.
    pub network: Option<String>,
    /// As which party.
    pub party: Option<u16>,
    /// SHA-256 of its firmware.
    pub firmware: String,
    /// What its firmware can do.
    pub features: Vec<String>,
    /// Its answer to the question how it stands.
    pub status: Option<DeviceState>,
    /// The keys that it holds shares of, by its places for them: as a relay was told them.
    #[serde(default)]
    pub keys: BTreeMap<u8, DeviceKey>,
}

/// A key in a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceKey {
    /// Its identifier.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Whether all of its holders have it, as far as the device knows.
    pub active: bool,
}

impl From<&HeldKey> for DeviceKey {
    fn from(held: &HeldKey) -> Self {
        let HeldKey { key, name, active } = held;
        Self { key: hex::encode(key), name: name.clone(), active: *active }
    }
}

/// How a device stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceState {
    /// Whether it has an identity and a PIN.
    pub initialized: bool,
    /// Whether the PIN was entered.
    pub unlocked: bool,
    /// Wrong PINs before it erases itself.
    pub pin_tries: u8,
    /// Keys that it holds shares of.
    pub keys: u8,
    /// Parties that it has a channel to.
    pub channels: Vec<u16>,
    /// Whether peers have shown that it was put back to an earlier state.
    pub rolled_back: bool,
    /// Times that its operator has accepted that.
    pub generation: u32,
    /// Entries of its log.
    pub log_entries: u64,
    /// The most that any page of its flash has been erased.
    pub erases: u32,
    /// Its clock, Unix seconds, once enough peers have told it.
    pub now: Option<u64>,
    /// Bytes of stack that were ever used.
    pub stack: u32,
}

impl From<&Hello> for DeviceInfo {
    fn from(hello: &Hello) -> Self {
        let names = [
            (features::ECDSA, "ecdsa"),
            (features::BIP340, "bip340"),
            (features::ED25519, "ed25519"),
            (features::FROST, "frost"),
            (features::P256_IDENTITY, "p256-identity"),
            (features::TYPED_DATA, "typed-data"),
            (features::KEYS, "keys"),
        ];
        let has = |(bit, name): (u32, &str)| (hello.features & bit != 0).then(|| name.to_owned());
        Self {
            identity: hello.identity.map(|identity| format!("{identity:?}")),
            network: hello.joined.map(|(network, _)| hex::encode(network)),
            party: hello.joined.map(|(_, party)| party.number()),
            firmware: hex::encode(hello.firmware),
            features: names.into_iter().filter_map(has).collect(),
            status: None,
            keys: BTreeMap::new(),
        }
    }
}

impl From<&Status> for DeviceState {
    fn from(status: &Status) -> Self {
        let (generation, log_entries) = status.log;
        let channel = |party: u16| {
            (status.channels.checked_shr(u32::from(party) - 1).unwrap_or(0) & 1 == 1)
                .then_some(party)
        };
        Self {
            initialized: status.initialized,
            unlocked: status.unlocked,
            pin_tries: status.pin_tries,
            keys: status.keys,
            channels: (1..=32).filter_map(channel).collect(),
            rolled_back: status.rolled_back,
            generation,
            log_entries,
            erases: status.erases,
            now: status.now,
            stack: status.stack,
        }
    }
}

/// How a relay stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Whether the device is there and unlocked.
    pub connected: bool,
    /// The device, as it last said.
    pub device: Option<DeviceInfo>,
    /// Why the line last ended.
    pub last_error: Option<String>,
    /// What it last refused of what was relayed to it.
    pub last_refusal: Option<String>,
    /// What last happened in it.
    pub last_event: Option<String>,
    /// Parties that are connected to this relay.
    pub peers: BTreeSet<u16>,
}

/// The same, for the tasks that change it. Clones are the same.
#[derive(Clone, Default)]
pub struct Shown(Arc<Mutex<RelayStatus>>);

impl Shown {
    fn lock(&self) -> MutexGuard<'_, RelayStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now.
    #[must_use]
    pub fn now(&self) -> RelayStatus {
        self.lock().clone()
    }

    pub(super) fn up(&self) -> Vec<u16> {
        self.lock().peers.iter().copied().collect()
    }

    pub(super) fn peer(&self, party: u16, up: bool) {
        let peers = &mut self.lock().peers;
        match up {
            true => peers.insert(party),
            false => peers.remove(&party),
        };
    }

    pub(super) fn connected(&self, hello: &Hello) {
        let mut shown = self.lock();
        shown.connected = true;
        shown.device = Some(hello.into());
    }

    pub(super) fn lost(&self, error: &DeviceError) {
        let mut shown = self.lock();
        shown.connected = false;
        shown.last_error = Some(error.to_string());
    }

    pub(super) fn refused(&self, refused: Refused) {
        self.lock().last_refusal = Some(DeviceError::Refused(refused).to_string());
    }

    /// Whether there may be other keys than those that are shown.
    pub(super) fn status(&self, status: &Status) -> bool {
        match &mut self.lock().device {
            Some(device) => {
                let before = device.status.replace(status.into());
                before.is_none_or(|before| before.keys != status.keys)
            }
            None => false,
        }
    }

    pub(super) fn key(&self, place: u8, key: Option<&HeldKey>) {
        if let Some(device) = &mut self.lock().device {
            match key {
                Some(key) => drop(device.keys.insert(place, key.into())),
                None => drop(device.keys.remove(&place)),
            }
        }
    }

    pub(super) fn event(&self, event: Event) {
        self.lock().last_event = Some(match event {
            Event::Asking { .. } => "asking".to_owned(),
            Event::Agreed => "agreed".to_owned(),
            Event::Declined => "declined".to_owned(),
            Event::KeyRound(round) => format!("key round {round}"),
            Event::KeyActive(key) => format!("key {} active", hex::encode(key)),
            Event::Signed(request) => format!("signed {}", hex::encode(request)),
            Event::Locked => "locked".to_owned(),
            Event::Misbehaved(party) => format!("party {party} misbehaved"),
        });
    }
}
