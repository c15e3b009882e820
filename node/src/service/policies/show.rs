//! Policies as people and programs see them.

use quorate_core::party::PartyId;
use quorate_core::policy::Policy;
use quorate_core::policy::control::SignedChange;
use quorate_core::policy::hash_of;

use super::Service;
use crate::handle::{ChangeInfo, KeyInfo, NextPolicy, PartyPolicy, PolicyInfo, ServiceError};
use crate::service::records::key_info;
use crate::store::{ChangeRow, KeyRow, Series};

impl Service {
    /// A key, and how its policy stands.
    pub(in crate::service) fn info(&self, row: &KeyRow) -> Result<KeyInfo, ServiceError> {
        let mut info = key_info(row)?;
        if let Some(owned) = self.policies.keys.get(&row.key) {
            info.frozen = owned.is_frozen();
            info.next_policy = owned.waiting.last().map(|next| NextPolicy {
                version: next.number,
                due: next.due,
                problem: owned.failed.as_ref().map(|(_, why)| why.clone()),
            });
            info.policy_problem = owned.problem.clone();
        }
        Ok(info)
    }

    /// A policy's history, by the key's name or id.
    pub(in crate::service) fn show_policy(&self, name: &str) -> Result<PolicyInfo, ServiceError> {
        let key = self.show_key(name)?.key;
        let id = hex::decode(key).ok().and_then(|bytes| bytes.try_into().ok());
        self.policy_info(&id.ok_or_else(|| ServiceError::local("a key's id is malformed"))?)
    }

    pub(super) fn policy_info(&self, key: &[u8; 16]) -> Result<PolicyInfo, ServiceError> {
        let row = self.store.key(*key).map_err(ServiceError::local)?;
        let unknown = || ServiceError::UnknownKey { key: hex::encode(key) };
        let row = row.ok_or_else(unknown)?;
        let info = self.info(&row)?;
        let mut history = Vec::new();
        for series in [Series::Version, Series::Hold] {
            let rows = self.store.changes(*key, series).map_err(ServiceError::local)?;
            history.extend(rows.iter().map(|(number, row)| change_info(*number, row)));
        }
        history.sort_by_key(|change| change.seen);
        let controllers = Policy::parse(&row.policy)
            .ok()
            .and_then(|policy| crate::policy_file::to_json(&policy).get("controllers").cloned());
        Ok(PolicyInfo {
            key: info.key,
            name: info.name,
            version: info.policy_version,
            policy_hash: info.policy_hash,
            frozen: info.frozen,
            holds: self.policies.keys.get(key).map_or(0, |owned| owned.holds),
            next_policy: info.next_policy,
            next_hash: self.next_hash(key),
            problem: info.policy_problem,
            controllers,
            history,
            parties: info.parties.iter().map(|party| self.party_policy(key, *party)).collect(),
        })
    }

    /// What the next change of a policy builds on: that which waits, or else that in force.
    fn next_hash(&self, key: &[u8; 16]) -> Option<String> {
        let owned = self.policies.keys.get(key)?;
        owned.waiting.last().map(|next| hex::encode(next.policy))
    }

    fn party_policy(&self, key: &[u8; 16], party: u16) -> PartyPolicy {
        let id = PartyId::new(party);
        let said = match id {
            Some(id) if id == self.me => self.policies.keys.get(key).map(|own| own.state(*key)),
            Some(id) => self.policies.said.get(&(*key, id)).copied(),
            None => None,
        };
        PartyPolicy {
            party,
            connected: id.is_some_and(|id| id == self.me || self.policies.told.contains(id)),
            version: said.map(|said| said.version),
            announced: said.map(|said| said.announced),
            holds: said.map(|said| said.holds),
            held: said.map(|said| said.held),
        }
    }
}

fn change_info(number: u32, row: &ChangeRow) -> ChangeInfo {
    let change = SignedChange::parse(&row.change).ok();
    let policy = change.and_then(|change| change.action().policy());
    ChangeInfo {
        number,
        action: change.map_or("damaged", |change| change.action().name()).to_owned(),
        change: change.map(|change| hex::encode(change.hash())).unwrap_or_default(),
        policy_hash: policy.map(|policy| hex::encode(hash_of(policy))),
        signers: change.iter().flat_map(SignedChange::signers).map(|key| key.to_string()).collect(),
        seen: row.seen,
        due: row.due,
        in_force: row.in_force,
    }
}
