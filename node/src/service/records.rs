//! Keys at rest: sealing, opening, and what people see of them.

use quorate_core::curve::{EcdsaGroup as _, Group as _};
use quorate_core::hash::Digest;
use quorate_core::key::{Confirmation, OpenedKey, PublicKey, ShareRecord};
use quorate_core::party::PartyId;
use quorate_core::policy::ethereum;
use quorate_core::policy::{Policy, hash_of};
use quorate_core::wire;
use quorate_hsm::{BlobKind, Context, HsmError, KeyProtector};
use zeroize::Zeroizing;

use super::{Curve, MAX_NONCE_KEYS, MAX_PARTIES, Service};
use crate::handle::{KeyInfo, ServiceError};
use crate::store::{KeyRow, KeyState};

/// A key's public side, as this build stores it.
pub type Public = PublicKey<MAX_PARTIES>;
/// One party's secrets of one key.
pub type Record = ShareRecord<MAX_PARTIES, MAX_NONCE_KEYS>;
pub(super) type Confirmed = Confirmation<MAX_PARTIES, MAX_NONCE_KEYS>;
pub(super) type Opened = OpenedKey<Curve, MAX_PARTIES, MAX_NONCE_KEYS>;

/// What is wrong with a row that cannot be read: a local fault, in words for the operator.
pub(super) fn damaged(row: &KeyRow, what: &str) -> ServiceError {
    let (name, key) = (&row.name, hex::encode(row.key));
    let reason =
        format!("key {name} ({key}): {what}; restore this party's folder from its newest backup");
    ServiceError::Sealed { reason }
}

pub(super) fn to_bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_to(value, |part| bytes.extend_from_slice(part));
    bytes
}

/// No record is longer: the epoch, the share, two counts, all pair seeds and nonce keys.
const MAX_RECORD: usize = 5 + 32 + 2 * 3 + 32 * (MAX_PARTIES + MAX_NONCE_KEYS);

/// The sequence that every sealed share starts with; refresh and re-sealing raise it.
pub(super) const FIRST_SEQUENCE: u64 = 1;

/// What the sealed share of `party` is bound to in `network`.
#[must_use]
pub fn share_context(
    network: [u8; 16],
    party: PartyId,
    public: &Public,
    (policy_version, policy_hash): (u32, Digest),
    sequence: u64,
) -> Context {
    Context {
        network,
        party: party.number(),
        key: public.terms.key,
        epoch: public.terms.epoch,
        policy_version,
        policy_hash,
        kind: BlobKind::Share,
        sequence,
    }
}

/// The same of the share in `row`: who changes the row's policy, or its version, opens nothing.
#[must_use]
pub fn row_context(network: [u8; 16], party: PartyId, public: &Public, row: &KeyRow) -> Context {
    let policy = (row.policy_version, hash_of(&row.policy));
    share_context(network, party, public, policy, row.sequence)
}

/// A new share's record as bytes, to be sealed.
pub(super) fn plaintext(record: &Record) -> Result<Zeroizing<Vec<u8>>, HsmError> {
    let mut plaintext = Zeroizing::new(vec![0; MAX_RECORD]);
    let Ok(used) = wire::encode(record, &mut plaintext).map(|used| used.len()) else {
        return Err(HsmError::TooLarge { size: plaintext.len(), limit: plaintext.len() });
    };
    plaintext.truncate(used);
    Ok(plaintext)
}

/// Opens the share of `row` inside the HSM, and checks it against the key's public record. It takes as
/// long as the HSM does.
pub(super) fn unseal(
    protector: &dyn KeyProtector,
    network: [u8; 16],
    me: PartyId,
    row: &KeyRow,
) -> Result<Opened, ServiceError> {
    let public = Service::public_of(row)?;
    let context = row_context(network, me, &public, row);
    let plaintext = quorate_hsm::open(protector, &context, &row.sealed)
        .map_err(|error| ServiceError::from_hsm(&row.name, &error))?;
    let record: Record =
        wire::decode(&plaintext).map_err(|_| damaged(row, "its sealed record is malformed"))?;
    let own = row
        .confirmations
        .get(&me.number())
        .and_then(|bytes| wire::decode::<Confirmed>(bytes).ok())
        .ok_or_else(|| damaged(row, "its own confirmation is missing or malformed"))?;
    OpenedKey::open(&public, me, record, &own).map_err(|error| damaged(row, &error.to_string()))
}

/// Opens the share of `row` and seals it again under another version of the policy, with the next sequence.
/// It takes as long as the HSM does.
pub(super) fn reseal(
    protector: &dyn KeyProtector,
    network: [u8; 16],
    me: PartyId,
    row: &KeyRow,
    policy: (u32, Digest),
) -> Result<Vec<u8>, ServiceError> {
    let public = Service::public_of(row)?;
    let hsm = |error: HsmError| ServiceError::from_hsm(&row.name, &error);
    let old = row_context(network, me, &public, row);
    let new = share_context(network, me, &public, policy, row.sequence.saturating_add(1));
    let plaintext = quorate_hsm::open(protector, &old, &row.sealed).map_err(hsm)?;
    quorate_hsm::seal(protector, &new, &plaintext).map_err(hsm)
}

impl Service {
    /// The same as [`policy_of`], for every judgement.
    pub(super) fn policy_of<'a>(
        &self,
        row: &'a KeyRow,
        public: &Public,
    ) -> Result<Policy<'a>, ServiceError> {
        policy_by(row, public, |policy| self.hashes.of(&row.key, policy))
    }

    pub(super) fn public_of(row: &KeyRow) -> Result<Public, ServiceError> {
        wire::decode(&row.public).map_err(|_| damaged(row, "its public record is malformed"))
    }

    pub(super) fn active_key(&self, key: &[u8; 16]) -> Result<Option<KeyRow>, ServiceError> {
        let row = self.store.key(*key).map_err(ServiceError::local)?;
        Ok(row.filter(|row| row.state == KeyState::Active))
    }

    pub(super) fn list_keys(&self) -> Result<Vec<KeyInfo>, ServiceError> {
        let rows = self.store.keys().map_err(ServiceError::local)?;
        rows.iter().map(|row| self.info(row)).collect()
    }

    pub(super) fn show_key(&self, name: &str) -> Result<KeyInfo, ServiceError> {
        let keys = self.list_keys()?;
        let mut found = keys.into_iter().filter(|key| key.key == name || key.name == name);
        match (found.next(), found.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(ServiceError::Conflict {
                reason: format!("several keys are named {name}: use the key's id"),
            }),
            _ => Err(ServiceError::UnknownKey { key: name.to_owned() }),
        }
    }
}

/// The policy in force. What the key was made with has its hash in the terms; each later version was signed
/// by the controllers of the one before ([`super::policies`]), and the sealed share is bound to version and
/// hash. Who can write the store cannot loosen it.
pub(super) fn policy_of<'a>(row: &'a KeyRow, public: &Public) -> Result<Policy<'a>, ServiceError> {
    policy_by(row, public, Policy::hash)
}

fn policy_by<'a>(
    row: &'a KeyRow,
    public: &Public,
    hash: impl Fn(&Policy<'a>) -> Digest,
) -> Result<Policy<'a>, ServiceError> {
    let policy = Policy::parse(&row.policy).map_err(|_| damaged(row, "its policy is malformed"))?;
    if row.policy_version == 1 && hash(&policy) != public.terms.context {
        return Err(damaged(row, "its policy is not the one that the key was made with"));
    }
    Ok(policy)
}

pub(super) fn key_info(row: &KeyRow) -> Result<KeyInfo, ServiceError> {
    let public = Service::public_of(row)?;
    let group_key = public.group_key().ok_or_else(|| damaged(row, "its public key is missing"))?;
    let point = Curve::default().point_from_bytes(group_key);
    let affine = point.and_then(|point| Curve::coordinates(&point));
    let affine = affine.ok_or_else(|| damaged(row, "its public key is no point"))?;
    let policy = policy_of(row, &public)?;
    let xpub = public.extended::<Curve>().and_then(|root| root.xpub());
    let holders = public.terms.holders;
    Ok(KeyInfo {
        key: hex::encode(row.key),
        name: row.name.clone(),
        scheme: "ecdsa-secp256k1".to_owned(),
        state: match row.state {
            KeyState::Active => "active".to_owned(),
            KeyState::Pending => "pending".to_owned(),
        },
        public_key: hex::encode(group_key.0),
        address: ethereum::address(&affine.0).to_string(),
        chain_code: hex::encode(public.chain_code()),
        xpub: xpub.map(|xpub| xpub.as_str().to_owned()),
        threshold: holders.threshold() as u8,
        quorum: holders.quorum() as u16,
        parties: holders.parties().iter().map(|party| party.number()).collect(),
        epoch: public.terms.epoch,
        policy_hash: hex::encode(policy.hash()),
        policy_version: row.policy_version,
        frozen: false,
        next_policy: None,
        policy_problem: None,
        created: row.created,
        policy: Some(crate::policy_file::to_json(&policy)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::curve::Suite;
    use quorate_core::key::KeyTerms;
    use quorate_core::party::{Holders, PartySet};

    fn encoded(chain: u64) -> Vec<u8> {
        let file = serde_json::json!({
            "clients": ["01".repeat(32)], "chains": [chain],
            "recipients": ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
            "max_value": "1", "max_fee": "1", "data": "forbidden",
        });
        crate::policy_file::from_json(&file).unwrap().into_vec()
    }

    #[test]
    fn a_policy_that_was_replaced_in_the_store_is_refused() {
        let agreed = encoded(1);
        let terms = KeyTerms {
            suite: Suite::EcdsaSecp256k1,
            network: [1; 16],
            key: [2; 16],
            epoch: 0,
            holders: Holders::new(PartySet::first(4), 2).unwrap(),
            context: Policy::parse(&agreed).unwrap().hash(),
        };
        let commitment = [1, 2].map(|byte| quorate_core::curve::PointBytes([byte; 33]));
        let commitment = commitment.into_iter().collect();
        let public = Public { terms, transcript: [3; 32], commitment };
        let row = KeyRow {
            key: terms.key,
            name: "key".into(),
            state: KeyState::Active,
            public: to_bytes(&public),
            policy: agreed,
            policy_version: 1,
            sealed: Vec::new(),
            confirmations: std::collections::BTreeMap::new(),
            certificate: None,
            sequence: FIRST_SEQUENCE,
            created: 0,
        };
        assert!(policy_of(&row, &public).is_ok());
        let loosened = KeyRow { policy: encoded(2), ..row };
        let refused = policy_of(&loosened, &public).unwrap_err();
        assert!(
            refused.to_string().contains("not the one that the key was made with"),
            "{refused}"
        );
    }
}
