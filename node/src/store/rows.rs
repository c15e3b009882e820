//! What is stored, byte for byte. Changing any of it needs a new [`FORMAT`].

use std::collections::BTreeMap;

use quorate_core::wire;
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use super::StoreError;

/// The version of everything in this file.
pub const FORMAT: u32 = 1;

pub(super) const META_FORMAT: &str = "format";
/// Times that the operator accepted a lost history.
pub(super) const META_GENERATION: &str = "generation";
/// There if a peer has proved that this store is older than it was.
pub(super) const META_ROLLBACK: &str = "rolled-back";
pub(super) const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
/// A key's id → [`KeyRow`].
pub(super) const KEYS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("keys");
/// A request's hash → [`RequestRow`].
pub(super) const REQUESTS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("requests");
/// (expiry, a request's hash): which requests to forget first.
pub(super) const EXPIRIES: TableDefinition<'_, (u64, [u8; 32]), ()> =
    TableDefinition::new("expiries");
/// A key's id, a series, when, a request's hash.
pub(super) type WindowKey = ([u8; 16], [u8; 16], u64, [u8; 32]);
/// What was spent → the amount, big-endian.
pub(super) const WINDOWS: TableDefinition<'_, WindowKey, [u8; 32]> =
    TableDefinition::new("windows");
/// A number from 1 → previous hash, hash, record.
pub(super) const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");
/// A session → evidence of who spoiled it. A store without this table has none.
pub(super) const EVIDENCE: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("evidence");

/// A party → the newest head of its log that it has shown. A store without this table has none.
pub(super) const HEADS: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("heads");

/// The newest head of this party's own log that its identity key signed. A store without this table has
/// none.
pub(super) const IDENTITY_HEAD: TableDefinition<'_, (), &[u8]> =
    TableDefinition::new("identity-head");

/// A peer → its countersignature of a head of this party's own log. A store without this table has none.
pub(super) const COUNTERSIGNED: TableDefinition<'_, u16, &[u8]> =
    TableDefinition::new("countersigned-heads");

/// A peer → the newest head of its log that this party has countersigned. A store without this table has none.
pub(super) const WITNESSED: TableDefinition<'_, u16, &[u8]> =
    TableDefinition::new("witnessed-heads");

/// A peer that was put back to an earlier state → the generation of its log that is not believed. A store
/// without this table has none.
pub(super) const ROLLED_BACK: TableDefinition<'_, u16, u32> =
    TableDefinition::new("rolled-back-peers");

/// A request's hash → [`WaitingRow`]. A store without this table has none.
pub(super) const WAITING: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("waiting");
/// A request's hash → the client's bytes of it, for as long as it waits.
pub(super) const WAITING_REQUESTS: TableDefinition<'_, [u8; 32], &[u8]> =
    TableDefinition::new("waiting-requests");
/// (a request's hash, a vetoer) → [`VetoRow`]. A store without this table has none.
pub(super) const VETOES: TableDefinition<'_, ([u8; 32], [u8; 32]), &[u8]> =
    TableDefinition::new("vetoes");
/// A key's id, a series, a number.
pub(super) type ChangeKey = ([u8; 16], u8, u32);
/// A change of a key's policy → [`super::ChangeRow`]. A store without this table has none.
pub(super) const CHANGES: TableDefinition<'_, ChangeKey, &[u8]> =
    TableDefinition::new("policy-changes");

/// How far a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyState {
    /// This party has its share; not all holders have confirmed.
    Pending,
    /// All holders have confirmed. There is no way back.
    Active,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Its id.
    pub key: [u8; 16],
    /// For people.
    pub name: String,
    /// How far it is.
    pub state: KeyState,
    /// What everybody may know of it, encoded.
    #[serde(with = "serde_bytes")]
    pub public: Vec<u8>,
    /// Its policy, encoded.
    #[serde(with = "serde_bytes")]
    pub policy: Vec<u8>,
    /// The policy's version: 1 is what the key was made with.
    pub policy_version: u32,
    /// This party's share, sealed by the HSM.
    #[serde(with = "serde_bytes")]
    pub sealed: Vec<u8>,
    /// The first confirmation of each party, its own included.
    pub confirmations: BTreeMap<u16, Vec<u8>>,
    /// All confirmations together, once the key is active.
    #[serde(with = "serde_bytes")]
    pub certificate: Option<Vec<u8>>,
    /// The sealed share's sequence.
    pub sequence: u64,
    /// When it was made, Unix seconds.
    pub created: u64,
}

/// One request that this party remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRow {
    /// The key that it asks for.
    pub key: [u8; 16],
    /// When it expires, Unix seconds.
    pub expires: u64,
    /// Whether its amount counts against the key's window.
    pub counted: bool,
    /// The signature, once there is one.
    pub outcome: Option<Vec<u8>>,
}

/// A request that waits for its delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRow {
    /// The key that it asks for.
    pub key: [u8; 16],
    /// Who asks (Ed25519).
    pub client: [u8; 32],
    /// When this party first had it on record, by its own clock, Unix seconds.
    pub since: u64,
    /// When it expires, Unix seconds.
    pub expires: u64,
}

/// A veto.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VetoRow {
    /// The key whose policy names the vetoer.
    pub key: [u8; 16],
    /// When it came here, Unix seconds.
    pub at: u64,
    /// Until when it is kept, Unix seconds.
    pub until: u64,
    /// Whether its request has been on record here.
    pub seen: bool,
    /// The vetoer's own bytes.
    pub veto: Vec<u8>,
}

pub(super) fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_to(row, |part| bytes.extend_from_slice(part));
    bytes
}

impl KeyRow {
    pub(super) fn decode(key: &[u8; 16], bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |why: String| StoreError::corrupt(format!("key {}: {why}", hex::encode(key)));
        let row: Self = wire::decode(bytes).map_err(|error| damaged(error.to_string()))?;
        if row.key != *key {
            return Err(damaged("its row is of another key".into()));
        }
        Ok(row)
    }
}

impl RequestRow {
    pub(super) fn decode(hash: &[u8; 32], bytes: &[u8]) -> Result<Self, StoreError> {
        wire::decode(bytes)
            .map_err(|error| StoreError::corrupt(format!("request {}: {error}", hex::encode(hash))))
    }
}

impl WaitingRow {
    pub(super) fn decode(request: &[u8; 32], bytes: &[u8]) -> Result<Self, StoreError> {
        wire::decode(bytes).map_err(|error| {
            StoreError::corrupt(format!("waiting request {}: {error}", hex::encode(request)))
        })
    }
}

impl VetoRow {
    pub(super) fn decode(request: &[u8; 32], bytes: &[u8]) -> Result<Self, StoreError> {
        wire::decode(bytes).map_err(|error| {
            StoreError::corrupt(format!("a veto of request {}: {error}", hex::encode(request)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_frozen() {
        let row = KeyRow {
            key: [0x11; 16],
            name: "pay".into(),
            state: KeyState::Active,
            public: vec![1, 2],
            policy: vec![3],
            policy_version: 1,
            sealed: vec![4, 5, 6],
            confirmations: [(1, vec![7]), (300, vec![8, 9])].into_iter().collect(),
            certificate: Some(vec![7, 8, 9]),
            sequence: 1,
            created: 1_800_000_000,
        };
        let bytes = encode(&row);
        assert_eq!(
            hex::encode(&bytes),
            "1111111111111111111111111111111103706179010201020103010304050602010107ac020208090103070809\
             0180a4a7da06"
        );
        assert_eq!(KeyRow::decode(&[0x11; 16], &bytes).unwrap(), row);

        let request =
            RequestRow { key: [0x22; 16], expires: 300, counted: true, outcome: Some(vec![1]) };
        let bytes = encode(&request);
        assert_eq!(hex::encode(&bytes), "22222222222222222222222222222222ac0201010101");
        assert_eq!(RequestRow::decode(&[0; 32], &bytes).unwrap(), request);
    }

    #[test]
    fn a_row_under_another_key_or_with_a_tail_is_damage() {
        let request = RequestRow { key: [0; 16], expires: 0, counted: false, outcome: None };
        let mut bytes = encode(&request);
        bytes.push(0);
        let error = RequestRow::decode(&[7; 32], &bytes).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { what } if what.contains("0707")));

        let row = KeyRow {
            key: [1; 16],
            name: String::new(),
            state: KeyState::Pending,
            public: Vec::new(),
            policy: Vec::new(),
            policy_version: 1,
            sealed: Vec::new(),
            confirmations: BTreeMap::new(),
            certificate: None,
            sequence: 0,
            created: 0,
        };
        let error = KeyRow::decode(&[2; 16], &encode(&row)).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { what } if what.contains("another key")));
    }
}
