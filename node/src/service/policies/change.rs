//! Taking a signed change, whoever brings it: a controller through the API, or a peer. This party judges it
//! alone, by the policy in force here.

use quorate_core::party::PartyId;
use quorate_core::policy::control::{ChangeError, ChangeFormError, Effect, SignedChange};
use quorate_core::policy::hash_of;
use tokio::sync::oneshot;

use super::{Service, Waiting, history};
use crate::handle::{PolicyInfo, ServiceError};
use crate::store::{ChangeRow, KeyRow, Series, StoreError};

/// Why a change is not taken.
pub(super) enum Refused {
    Form(ChangeFormError),
    Change(ChangeError),
    UnknownKey([u8; 16]),
    /// A fault of this party.
    Own(String),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Own(error.to_string())
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form(error) => error.fmt(f),
            Self::Change(error) => error.fmt(f),
            Self::UnknownKey(key) => write!(f, "no active key {}", hex::encode(key)),
            Self::Own(what) => f.write_str(what),
        }
    }
}

impl Refused {
    fn to_error(&self, party: PartyId) -> ServiceError {
        match self {
            Self::Form(error) => ServiceError::bad_request(error),
            Self::UnknownKey(key) => ServiceError::UnknownKey { key: hex::encode(key) },
            Self::Own(what) => ServiceError::Sealed { reason: what.clone() },
            Self::Change(
                error @ (ChangeError::Network | ChangeError::Action | ChangeError::Key),
            ) => ServiceError::bad_request(error),
            Self::Change(
                error @ (ChangeError::Number { .. }
                | ChangeError::Previous
                | ChangeError::NotFrozen
                | ChangeError::Unfreezing
                | ChangeError::Pending { .. }),
            ) => ServiceError::Conflict { reason: error.to_string() },
            Self::Change(error) => ServiceError::Denied {
                rule: error.code().to_owned(),
                reason: error.to_string(),
                party: party.number(),
            },
        }
    }
}

pub(super) fn series_of(change: &SignedChange<'_>) -> Series {
    if change.action().is_hold() { Series::Hold } else { Series::Version }
}

impl Service {
    pub(in crate::service) fn set_policy(
        &mut self,
        bytes: &[u8],
        reply: oneshot::Sender<Result<PolicyInfo, ServiceError>>,
    ) {
        let taken = self.take_change(bytes, None).map_err(|refused| refused.to_error(self.me));
        // Who asked may be gone.
        let _ = reply.send(taken.and_then(|key| self.policy_info(&key)));
    }

    pub(in crate::service) fn handle_policy_change(
        &mut self,
        from: PartyId,
        bytes: &[u8],
        in_force: bool,
    ) {
        let Err(refused) = self.take_change(bytes, Some((from, in_force))) else { return };
        let forged = match &refused {
            Refused::Form(_) => true,
            Refused::Change(error) => {
                SignedChange::parse(bytes).is_ok_and(|change| error.is_forged(&change.action()))
            }
            Refused::UnknownKey(_) | Refused::Own(_) => false,
        };
        tracing::warn!(party = %from, "a change of a policy was refused: {refused}");
        if !forged {
            return;
        }
        self.incidents.add(from, format_args!("a change of a policy: {refused}"));
        if self.incidents.may_audit(from, self.now()) {
            self.audit(serde_json::json!({
                "event": "refused", "coordinator": from.number(),
                "reason": format!("a change of a policy: {refused}"),
            }));
        }
    }

    /// Judges a change, keeps it, passes it on, and lets take effect what is due. One that is known already
    /// is no error. Returns the key's id.
    fn take_change(
        &mut self,
        bytes: &[u8],
        from: Option<(PartyId, bool)>,
    ) -> Result<[u8; 16], Refused> {
        let change = SignedChange::parse(bytes).map_err(Refused::Form)?;
        let (key, series, number) = (change.key().0, series_of(&change), change.number());
        let row = self.active_key(&key).map_err(|error| Refused::Own(error.to_string()))?;
        let row = row.ok_or(Refused::UnknownKey(key))?;
        if self.witness.is_rolled_back() {
            return Err(Refused::Own(super::super::witness::rolled_back().to_string()));
        }
        let owned = self.policies.keys.get(&key).ok_or(Refused::Change(ChangeError::Fixed))?;
        if let Some(problem) = &owned.problem {
            return Err(Refused::Own(format!("key {}: {problem}", row.name)));
        }
        let hash = change.hash();
        if let Some((party, true)) = from.filter(|(p, _)| owned.holders.parties().contains(*p)) {
            let known = self.policies.vouched.get(&(key, series, party));
            if known.is_none_or(|(newest, _)| *newest <= number) {
                self.policies.vouched.insert((key, series, party), (number, hash));
            }
        }
        let vouched = self.policies.is_vouched(key, series, number, &hash);
        let known = self.store.changes(key, series)?.into_iter().find(|(own, _)| *own == number);
        let same = |known: &ChangeRow| {
            SignedChange::parse(&known.change).is_ok_and(|known| known.hash() == hash)
        };
        if known.is_some_and(|(_, known)| same(&known)) {
            if vouched {
                self.mark_vouched(&key, series, number);
            }
        } else {
            self.admit(&row, &change, bytes, vouched).map_err(|error| match error {
                Ok(refused) => Refused::Change(refused),
                Err(own) => own.into(),
            })?;
            self.spread(&key, bytes, false);
        }
        self.settle_policy(&key);
        Ok(key)
    }

    fn admit(
        &mut self,
        row: &KeyRow,
        change: &SignedChange<'_>,
        bytes: &[u8],
        vouched: bool,
    ) -> Result<(), Result<ChangeError, StoreError>> {
        let (key, series, number) = (row.key, series_of(change), change.number());
        let (now, network) = (self.now(), self.network_id);
        let Some(owned) = self.policies.keys.get_mut(&key) else {
            return Err(Ok(ChangeError::Fixed));
        };
        if series == Series::Version && owned.waiting.len() > 1 {
            // Withdrawn, but the share is not sealed yet.
            let version = owned.state(key).announced;
            return Err(Ok(ChangeError::Pending { version }));
        }
        let damaged = |_| Err(StoreError::corrupt(format!("the policy of key {}", row.name)));
        let standing = owned.standing(network, row).map_err(damaged)?;
        let effect = standing.admits(change, now, vouched).map_err(Ok)?;
        let after = match effect {
            Effect::Replaces { after } | Effect::Unfreezes { after } => after,
            Effect::Withdraws | Effect::Freezes => 0,
        };
        let due = now.saturating_add(after.into());
        let in_force = (effect == Effect::Freezes).then_some(now);
        let policy = change.action().policy().map(hash_of).unwrap_or_default();
        let waiting = Waiting { number, policy, due, vouched };
        let mut state = owned.state(key);
        match (series, in_force) {
            (Series::Version, _) => state.announced = number,
            (Series::Hold, Some(_)) => (state.holds, state.held) = (number, number),
            (Series::Hold, None) => state.held = number,
        }
        let what = match effect {
            Effect::Replaces { .. } => "announced",
            Effect::Withdraws => "withdrawn",
            Effect::Freezes => "frozen",
            Effect::Unfreezes { .. } => "unfreezing",
        };
        let record = history::record(what, now, &state, change, due);
        let kept = ChangeRow { change: bytes.to_vec(), seen: now, due, in_force };
        self.store.add_change((key, series, number), kept, record).map_err(Err)?;
        match (series, in_force) {
            (Series::Version, _) => {
                owned.waiting.retain(|other| other.number < number);
                owned.waiting.push(waiting);
                owned.failed = None;
            }
            (Series::Hold, Some(_)) => (owned.holds, owned.ending) = (number, None),
            (Series::Hold, None) => owned.ending = Some(waiting),
        }
        tracing::info!(key = row.name, number, "the controllers' change of the policy: {what}");
        self.tell_how_it_stands(&key);
        Ok(())
    }

    fn mark_vouched(&mut self, key: &[u8; 16], series: Series, number: u32) {
        let Some(owned) = self.policies.keys.get_mut(key) else { return };
        let waiting = match series {
            Series::Version => owned.waiting.last_mut(),
            Series::Hold => owned.ending.as_mut(),
        };
        if let Some(waiting) = waiting.filter(|waiting| waiting.number == number) {
            waiting.vouched = true;
        }
    }
}
