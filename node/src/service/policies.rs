//! Policies that have controllers: what is in force, what waits, and whether this party signs at all
//! (`docs/PROTOCOL.md` §11).
//!
//! The store has the history, the audit log says how far it is, and the sealed share is bound to the
//! version. What is here is read from them once, at the start, and follows what is stored from then on.

mod change;
mod creation;
mod effect;
mod exchange;
mod history;
mod show;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quorate_core::hash::Digest;
use quorate_core::party::{Holders, PartyId, PartySet};
use quorate_core::policy::Policy;
use quorate_core::policy::control::{ChangeError, Standing};
use quorate_core::policy::form::FormError;
use quorate_core::request::{KeyId, NetworkId};

use super::Service;
use crate::message::{PolicyState, Rejection};
use crate::store::{KeyRow, Series, Store, StoreError};

/// A share that could not be sealed under its new policy is tried again so much later.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What this party knows of the policies that have controllers, its own and its peers'.
#[derive(Default)]
pub(super) struct Policies {
    keys: BTreeMap<[u8; 16], Owned>,
    /// Peers that have said, on the link that is up, how all their policies stand.
    told: PartySet,
    said: BTreeMap<([u8; 16], PartyId), PolicyState>,
    /// The newest change of each series that a peer says is in force there.
    vouched: BTreeMap<([u8; 16], Series, PartyId), (u32, Digest)>,
}

/// A key whose policy has, or had, controllers.
struct Owned {
    holders: Holders,
    version: u32,
    policy: Digest,
    /// Versions after that in force, the last of which comes next: one that waits, and perhaps one that
    /// withdraws it.
    waiting: Vec<Waiting>,
    /// Freezes and their ends that are in force.
    holds: u32,
    /// The end of the freeze that waits.
    ending: Option<Waiting>,
    /// Why nothing is signed, nor changed: the store is not what it was.
    problem: Option<String>,
    /// The HSM's call that seals the share under this version.
    resealing: Option<(u64, u32)>,
    /// When that is tried again, and why it must be.
    failed: Option<(Instant, String)>,
}

/// A change that is not in force.
#[derive(Clone)]
struct Waiting {
    number: u32,
    /// Of a version: its policy's hash.
    policy: Digest,
    due: u64,
    /// Other holders have it in force, one of whom is honest.
    vouched: bool,
}

impl Waiting {
    fn is_due(&self, now: u64) -> bool {
        self.vouched || self.due <= now
    }
}

impl Owned {
    fn is_frozen(&self) -> bool {
        self.holds % 2 == 1
    }

    /// The version that takes effect now: a freeze keeps what waits out, but not what others did before it,
    /// and not what brings no new policy.
    fn next(&self, now: u64) -> Option<&Waiting> {
        let next = self.waiting.last().filter(|next| next.is_due(now))?;
        let passes = !self.is_frozen() || next.vouched || next.policy == self.policy;
        passes.then_some(next)
    }

    fn standing<'a>(&self, network: [u8; 16], row: &'a KeyRow) -> Result<Standing<'a>, FormError> {
        Ok(Standing {
            network: NetworkId(network),
            key: KeyId(row.key),
            version: self.version,
            policy: Policy::parse(&row.policy)?,
            pending: self.waiting.last().map(|waiting| waiting.policy),
            holds: self.holds,
            unfreezing: self.ending.is_some(),
        })
    }

    /// How it stands, for peers.
    fn state(&self, key: [u8; 16]) -> PolicyState {
        PolicyState {
            key,
            version: self.version,
            announced: self.waiting.last().map_or(self.version, |waiting| waiting.number),
            holds: self.holds,
            held: self.ending.as_ref().map_or(self.holds, |ending| ending.number),
        }
    }
}

impl Policies {
    /// Reads the histories, and compares them with the audit log. A history that is not what it should be
    /// stops its own key only.
    pub(super) fn load(store: &Store, network: [u8; 16]) -> Result<Self, StoreError> {
        let mut policies = Self::default();
        for row in store.keys()? {
            if let Some(owned) = history::read(store, network, &row)? {
                policies.keys.insert(row.key, owned);
            }
        }
        history::compare_with_log(store, &mut policies.keys)?;
        Ok(policies)
    }

    /// Whether so many holders have said how the policy stands, as a quorum has besides this party: fewer
    /// than T of them lie, so whatever an honest one knows is known here. One that says it is ahead counts
    /// when this party has followed it.
    fn have_told(&self, me: PartyId, key: &[u8; 16]) -> bool {
        let Some(owned) = self.keys.get(key) else { return true };
        let ahead = |party: &PartyId| {
            self.said
                .get(&(*key, *party))
                .is_some_and(|said| said.version > owned.version || said.holds > owned.holds)
        };
        let others = owned.holders.parties().without(me);
        let told = others.iter().filter(|party| self.told.contains(*party) && !ahead(party));
        told.count() + 1 >= owned.holders.quorum()
    }

    /// How many other holders have this change in force; at least T of them are enough.
    fn is_vouched(&self, key: [u8; 16], series: Series, number: u32, change: &Digest) -> bool {
        let Some(owned) = self.keys.get(&key) else { return false };
        let says =
            |party: &PartyId| self.vouched.get(&(key, series, *party)) == Some(&(number, *change));
        owned.holders.parties().iter().filter(says).count() >= owned.holders.threshold()
    }
}

fn denied(rule: &str, message: String) -> Rejection {
    Rejection::Denied { rule: rule.to_owned(), message }
}

impl Service {
    /// Whether the key's controllers let this party sign with it now.
    pub(super) fn may_sign(&self, row: &KeyRow, policy: &Policy<'_>) -> Result<(), Rejection> {
        let name = &row.name;
        let Some(owned) = self.policies.keys.get(&row.key) else {
            // Only a policy that nobody can change needs no history.
            let fixed = row.policy_version == 1 && policy.controllers().is_none();
            return if fixed { Ok(()) } else { Err(Rejection::Fault) };
        };
        if let Some(problem) = &owned.problem {
            tracing::error!(key = name, "not signed: {problem}");
            return Err(denied("policy-history", format!("key {name}: {problem}")));
        }
        // That the policy itself is that version's, the history said at the start, and the sealed share does.
        if owned.version != row.policy_version {
            tracing::error!(key = name, "not signed: the store changed under this node");
            return Err(Rejection::Fault);
        }
        if owned.is_frozen() {
            let what = format!("key {name} is frozen by its controllers");
            return Err(denied(ChangeError::Frozen.code(), what));
        }
        if let Some(next) = owned.next(self.now()) {
            let why = match &owned.failed {
                Some((_, why)) => format!("its share cannot be sealed under it yet ({why})"),
                None => "its share is being sealed under it".to_owned(),
            };
            let what = format!("version {} of key {name}'s policy is due, and {why}", next.number);
            return Err(denied("policy-change", what));
        }
        Ok(())
    }

    /// Whether this party can have heard of every change that was made while it was away.
    pub(super) fn knows_newest_policy(&self, key: &[u8; 16]) -> bool {
        self.policies.have_told(self.me, key)
    }
}
