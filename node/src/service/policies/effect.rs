//! Changes take effect: when they are due, and a new policy only together with the share that is sealed
//! under it. Until then this party signs nothing with the key.

use quorate_core::policy::control::SignedChange;
use quorate_hsm::HsmError;

use super::{Service, TRY_AGAIN, history};
use crate::handle::ServiceError;
use crate::service::hsm_calls::{Call, Purpose};
use crate::store::{ChangeRow, NewPolicy, Series, StoreError};

impl Service {
    /// Whatever is due by now, or is to be tried again.
    pub(in crate::service) fn settle_policies(&mut self) {
        let now = self.now();
        let keys: Vec<[u8; 16]> = self
            .policies
            .keys
            .iter()
            .filter(|(_, owned)| {
                let ends = owned.ending.as_ref().is_some_and(|ending| ending.is_due(now));
                owned.problem.is_none() && (ends || owned.next(now).is_some())
            })
            .map(|(key, _)| *key)
            .collect();
        keys.iter().for_each(|key| self.settle_policy(key));
    }

    /// The same for one key.
    pub(super) fn settle_policy(&mut self, key: &[u8; 16]) {
        if self.witness.is_rolled_back() {
            return;
        }
        if let Err(error) = self.end_freeze(key).and_then(|()| self.seal_under_next(key)) {
            self.policy_failed(key, error.to_string());
        }
    }

    fn kept_change(
        &self,
        key: &[u8; 16],
        series: Series,
        number: u32,
    ) -> Result<ChangeRow, StoreError> {
        let found = self.store.changes(*key, series)?.into_iter().find(|(own, _)| *own == number);
        let missing = || StoreError::corrupt(format!("change {number} of a policy is missing"));
        found.map(|(_, row)| row).ok_or_else(missing)
    }

    fn end_freeze(&mut self, key: &[u8; 16]) -> Result<(), StoreError> {
        let now = self.now();
        let due = self.policies.keys.get(key).and_then(|owned| owned.ending.as_ref());
        let Some(number) = due.filter(|due| due.is_due(now)).map(|due| due.number) else {
            return Ok(());
        };
        let kept = self.kept_change(key, Series::Hold, number)?;
        let Some(owned) = self.policies.keys.get_mut(key) else { return Ok(()) };
        let mut state = owned.state(*key);
        state.holds = number;
        let record =
            record(&kept, |change| history::record("unfrozen", now, &state, change, kept.due))?;
        self.store.put_hold_in_force(*key, number, now, record)?;
        (owned.holds, owned.ending) = (number, None);
        tracing::info!(key = hex::encode(key), "the freeze of the key ends");
        self.spread(key, &kept.change, true);
        self.tell_how_it_stands(key);
        Ok(())
    }

    /// Has the share sealed under the version that is due, if there is one.
    fn seal_under_next(&mut self, key: &[u8; 16]) -> Result<(), StoreError> {
        let (now, at) = (self.now(), self.clock.instant());
        let Some(owned) = self.policies.keys.get(key) else { return Ok(()) };
        let waits = owned.failed.as_ref().is_some_and(|(until, _)| *until > at);
        let Some(next) = owned.next(now).filter(|_| owned.resealing.is_none() && !waits) else {
            return Ok(());
        };
        let (number, policy) = (next.number, next.policy);
        let Some(row) = self.store.key(*key)? else { return Ok(()) };
        let call = Call::Reseal {
            protector: self.protector.clone(),
            place: (self.me, self.network_id),
            row: Box::new(row),
            policy: (number, policy),
        };
        match self.call_hsm(Purpose::Reseal(*key), call) {
            Ok(call) => {
                if let Some(owned) = self.policies.keys.get_mut(key) {
                    owned.resealing = Some((call, number));
                }
            }
            Err(error) => self.policy_failed(key, error.to_string()),
        }
        Ok(())
    }

    /// The HSM has sealed the share under a new policy, or failed.
    pub(in crate::service) fn share_resealed(
        &mut self,
        call: u64,
        key: [u8; 16],
        result: Result<Vec<u8>, ServiceError>,
    ) {
        let now = self.now();
        let Some(owned) = self.policies.keys.get_mut(&key) else { return };
        let Some((_, number)) = owned.resealing.take_if(|(own, _)| *own == call) else { return };
        // It may have been withdrawn, or the key frozen, while the HSM was at work.
        let still = owned.next(now).is_some_and(|next| next.number == number);
        if !still || self.witness.is_rolled_back() {
            return;
        }
        let sealed = match result {
            Ok(sealed) => sealed,
            Err(error) => return self.policy_failed(&key, error.to_string()),
        };
        match self.put_policy_in_force(&key, number, sealed) {
            Ok(change) => {
                self.spread(&key, &change, true);
                self.tell_how_it_stands(&key);
                self.start_waiting();
                self.settle_policy(&key);
            }
            Err(error) => self.policy_failed(&key, error.to_string()),
        }
    }

    fn put_policy_in_force(
        &mut self,
        key: &[u8; 16],
        version: u32,
        sealed: Vec<u8>,
    ) -> Result<Vec<u8>, StoreError> {
        let now = self.now();
        let kept = self.kept_change(key, Series::Version, version)?;
        let row = self.store.key(*key)?.ok_or(StoreError::Unknown { key: *key })?;
        let Some(owned) = self.policies.keys.get_mut(key) else {
            return Err(StoreError::Unknown { key: *key });
        };
        let mut state = owned.state(*key);
        (state.version, state.announced) = (version, version);
        let audit =
            record(&kept, |change| history::record("in-force", now, &state, change, kept.due))?;
        let policy = SignedChange::parse(&kept.change).ok().and_then(|c| c.action().policy());
        let policy = policy.ok_or_else(|| StoreError::corrupt("a change without a policy"))?;
        let hash = quorate_core::policy::hash_of(policy);
        self.store.replace_policy(NewPolicy {
            key: *key,
            version,
            policy: policy.to_vec(),
            sealed,
            sequence: row.sequence.saturating_add(1),
            now,
            audit,
        })?;
        (owned.version, owned.policy, owned.failed) = (version, hash, None);
        owned.waiting.clear();
        tracing::info!(key = row.name, version, "a new version of the key's policy is in force");
        Ok(kept.change)
    }

    /// The HSM's answer is beyond its deadline.
    pub(in crate::service) fn share_not_resealed(&mut self, call: u64, key: [u8; 16]) {
        let error = self.calls.no_answer(self.clock.instant());
        let Some(owned) = self.policies.keys.get_mut(&key) else { return };
        if owned.resealing.take_if(|(own, _)| *own == call).is_some() {
            self.policy_failed(&key, HsmError::to_string(&error));
        }
    }

    fn policy_failed(&mut self, key: &[u8; 16], why: String) {
        let until = self.clock.instant() + TRY_AGAIN;
        tracing::error!(
            key = hex::encode(key),
            "a change of the policy does not take effect: {why}"
        );
        if let Some(owned) = self.policies.keys.get_mut(key) {
            owned.failed = Some((until, why));
        }
    }
}

fn record(
    kept: &ChangeRow,
    record: impl FnOnce(&SignedChange<'_>) -> Vec<u8>,
) -> Result<Vec<u8>, StoreError> {
    let change = SignedChange::parse(&kept.change);
    let change = change.map_err(|error| StoreError::corrupt(error.to_string()))?;
    Ok(record(&change))
}
