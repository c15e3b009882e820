//! Who owns a policy: the controllers, who may replace it and freeze the key, and what of theirs a party
//! accepts.
//!
//! Two numbers only ever grow. A *version* counts policies: 1 is what the key was made with, and each
//! replacement takes the next number as soon as a party has seen it, whether or not it waits for its delay.
//! A *hold* counts freezes and their ends: the odd ones are freezes. So no signed change is ever valid twice.

mod change;

use core::fmt;

use super::form::{FormError, List, Reader};
use super::rule::MAX_WINDOW;
use super::{Policy, hash_of};
use crate::hash::Digest;
use crate::request::{ClientKey, KeyId, NetworkId};

pub use change::{
    Action, Change, ChangeFormError, MAX_CHANGE, MAX_NAME, MAX_SIGNATURES, SignError, SignedChange,
};

/// A policy has so many controllers.
pub const MAX_CONTROLLERS: usize = 16;
/// No replacement waits longer, in seconds: 30 days.
pub const MAX_DELAY: u32 = MAX_WINDOW;
/// A change may expire at most so many seconds from now: 30 days. What waits for signatures longer is to be
/// proposed again.
pub const MAX_CHANGE_EXPIRY: u64 = 30 * 24 * 60 * 60;

/// Who may change a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controllers<'a> {
    /// So many replace it, and end a freeze.
    pub at_least: u8,
    /// So many freeze the key; never more than replace its policy.
    pub freeze_at_least: u8,
    /// Seconds from when a party sees a replacement, or the end of a freeze, until it takes effect there.
    pub delay: u32,
    /// Their Ed25519 keys.
    pub of: List<'a, 32>,
}

impl<'a> Controllers<'a> {
    /// A first byte of zero: nobody may ever change the policy.
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let at_least = reader.u8();
        if at_least == 0 {
            return None;
        }
        let (freeze_at_least, delay) = (reader.u8(), reader.u32());
        let of: List<'a, 32> = reader.list("controllers");
        if of.len() > MAX_CONTROLLERS {
            reader.fail(FormError::TooMany("controllers"));
        }
        let most = of.len().min(MAX_SIGNATURES);
        if usize::from(at_least) > most || !(1..=at_least).contains(&freeze_at_least) {
            reader.fail(FormError::Range("controllers"));
        }
        if delay > MAX_DELAY {
            reader.fail(FormError::Range("delay"));
        }
        Some(Self { at_least, freeze_at_least, delay, of })
    }

    /// Whether enough of them, and nobody else, have signed.
    fn have_signed(&self, change: &SignedChange<'_>, need: u8) -> Result<(), ChangeError> {
        if let Some(stranger) = change.signers().find(|signer| !self.of.contains(&signer.0)) {
            return Err(ChangeError::Stranger(stranger));
        }
        let have = change.signers().count();
        if have < usize::from(need) {
            return Err(ChangeError::TooFew { have, need });
        }
        Ok(())
    }
}

/// How a party's key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The network.
    pub network: NetworkId,
    /// The key.
    pub key: KeyId,
    /// The version that is in force.
    pub version: u32,
    /// The policy that is in force.
    pub policy: Policy<'a>,
    /// The hash of the policy that waits for its delay, as the version after that in force.
    pub pending: Option<Digest>,
    /// Freezes and ends of freezes that are in force.
    pub holds: u32,
    /// Whether the end of the freeze waits for its delay.
    pub unfreezing: bool,
}

/// What a change does that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The new policy takes effect after so many seconds.
    Replaces {
        /// Seconds from when the party saw it.
        after: u32,
    },
    /// What waits never takes effect: the policy in force stays, under the change's version.
    Withdraws,
    /// Nothing is signed any more.
    Freezes,
    /// The freeze ends after so many seconds.
    Unfreezes {
        /// Seconds from when the party saw it.
        after: u32,
    },
}

/// Why a change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeError {
    /// It is for another network.
    Network,
    /// It is for another key.
    Key,
    /// It makes a key, and so changes none; or the other way round.
    Action,
    /// The key that it makes has another name.
    Name,
    /// The key that it makes has another policy.
    Policy,
    /// The policy has no controllers: it is fixed.
    Fixed,
    /// Signed by somebody who is none of the policy's controllers.
    Stranger(ClientKey),
    /// Too few controllers have signed it.
    TooFew {
        /// So many have.
        have: usize,
        /// So many must.
        need: u8,
    },
    /// It has another number than the next.
    Number {
        /// The next.
        expected: u32,
        /// Its own.
        found: u32,
    },
    /// It builds on another policy.
    Previous,
    /// It has expired.
    Expired {
        /// When.
        expires: u64,
        /// The party's clock.
        now: u64,
    },
    /// It expires too late.
    ExpiryTooFar,
    /// The key is frozen.
    Frozen,
    /// The key is not frozen.
    NotFrozen,
    /// The end of the freeze waits already.
    Unfreezing,
    /// This version waits for its delay; until then it can only be withdrawn.
    Pending {
        /// The version.
        version: u32,
    },
}

impl ChangeError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Key => "key",
            Self::Action => "action",
            Self::Name => "name",
            Self::Policy => "policy",
            Self::Fixed => "fixed",
            Self::Stranger(_) => "stranger",
            Self::TooFew { .. } => "too-few",
            Self::Number { .. } => "number",
            Self::Previous => "previous",
            Self::Expired { .. } => "expired",
            Self::ExpiryTooFar => "expiry-too-far",
            Self::Frozen => "frozen",
            Self::NotFrozen => "not-frozen",
            Self::Unfreezing => "unfreezing",
            Self::Pending { .. } => "pending",
        }
    }

    /// Whether no honest party would have passed on a change of this kind that is refused so. A freeze may be
    /// signed by controllers whom only a later version names.
    #[must_use]
    pub fn is_forged(&self, action: &Action<'_>) -> bool {
        match self {
            Self::Network | Self::Action | Self::Fixed => true,
            Self::Stranger(_) | Self::TooFew { .. } => !action.is_hold(),
            _ => false,
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str("the change is for another network"),
            Self::Key => f.write_str("the change is for another key"),
            Self::Action => f.write_str("the change makes a key, and no key can be changed by it"),
            Self::Name => f.write_str("the controllers signed for a key of another name"),
            Self::Policy => f.write_str("the controllers signed for a key with another policy"),
            Self::Fixed => f.write_str("the policy has no controllers: nobody can change it"),
            Self::Stranger(signer) => {
                write!(f, "{signer} signed, who is no controller of the policy in force")
            }
            Self::TooFew { have, need } => {
                write!(f, "{have} of the {need} signatures of controllers that are needed")
            }
            Self::Number { expected, found } => {
                write!(f, "the change has number {found}, and {expected} is the next")
            }
            Self::Previous => {
                f.write_str("the change builds on another policy than the one before it")
            }
            Self::Expired { expires, now } => {
                write!(f, "the change expired at {expires}, it is {now}")
            }
            Self::ExpiryTooFar => {
                write!(f, "a change may expire at most {MAX_CHANGE_EXPIRY} seconds from now")
            }
            Self::Frozen => f.write_str("the key is frozen"),
            Self::NotFrozen => f.write_str("the key is not frozen"),
            Self::Unfreezing => f.write_str("the end of the freeze waits for its delay already"),
            Self::Pending { version } => write!(
                f,
                "version {version} of the policy waits for its delay: withdraw it first, or wait"
            ),
        }
    }
}

impl core::error::Error for ChangeError {}

fn check_expiry(expires: u64, now: u64) -> Result<(), ChangeError> {
    if expires <= now {
        return Err(ChangeError::Expired { expires, now });
    }
    if expires - now > MAX_CHANGE_EXPIRY {
        return Err(ChangeError::ExpiryTooFar);
    }
    Ok(())
}

fn next(change: &SignedChange<'_>, last: u32) -> Result<(), ChangeError> {
    let (expected, found) = (last.saturating_add(1), change.number());
    if found == expected { Ok(()) } else { Err(ChangeError::Number { expected, found }) }
}

impl Standing<'_> {
    /// Whether nothing is signed.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.holds % 2 == 1
    }

    /// What an accepted change does, purely. `vouched` says that so many other holders have it in force
    /// that one of them must be honest: then its delay and its expiry were looked at there, and a freeze
    /// does not keep this party from what the others did before it.
    ///
    /// # Errors
    /// [`ChangeError`]: the change is not the next, or not the controllers'.
    pub fn admits(
        &self,
        change: &SignedChange<'_>,
        now: u64,
        vouched: bool,
    ) -> Result<Effect, ChangeError> {
        if change.network() != self.network {
            return Err(ChangeError::Network);
        }
        let controllers = self.policy.controllers().ok_or(ChangeError::Fixed)?;
        let after = if vouched { 0 } else { controllers.delay };
        let (effect, need) = match change.action() {
            Action::Create { .. } => return Err(ChangeError::Action),
            _ if change.key() != self.key => return Err(ChangeError::Key),
            Action::Replace { policy } => {
                (self.replaced(change, policy, after, vouched)?, controllers.at_least)
            }
            Action::Freeze if self.is_frozen() => return Err(ChangeError::Frozen),
            Action::Freeze => (Effect::Freezes, controllers.freeze_at_least),
            Action::Unfreeze if !self.is_frozen() => return Err(ChangeError::NotFrozen),
            Action::Unfreeze if self.unfreezing && !vouched => {
                return Err(ChangeError::Unfreezing);
            }
            Action::Unfreeze => (Effect::Unfreezes { after }, controllers.at_least),
        };
        if change.action().is_hold() {
            next(change, self.holds)?;
        }
        controllers.have_signed(change, need)?;
        if !vouched {
            check_expiry(change.expires(), now)?;
        }
        Ok(effect)
    }

    fn replaced(
        &self,
        change: &SignedChange<'_>,
        policy: &[u8],
        after: u32,
        vouched: bool,
    ) -> Result<Effect, ChangeError> {
        let in_force = self.policy.hash();
        if let Some(pending) = self.pending {
            let waiting = self.version.saturating_add(1);
            // Who puts the policy in force behind the one that waits has withdrawn that.
            if hash_of(policy) == in_force && change.number() != waiting {
                next(change, waiting)?;
                return if change.previous() == pending {
                    Ok(Effect::Withdraws)
                } else {
                    Err(ChangeError::Previous)
                };
            }
            // The others may have withdrawn, or replaced, what this party saw first.
            if !vouched || change.number() != waiting {
                return Err(ChangeError::Pending { version: waiting });
            }
        }
        next(change, self.version)?;
        if change.previous() != in_force {
            return Err(ChangeError::Previous);
        }
        if self.is_frozen() && !vouched {
            return Err(ChangeError::Frozen);
        }
        Ok(Effect::Replaces { after })
    }
}

impl Policy<'_> {
    /// Whether a key of this name may be made with the policy: by anybody if it has no controllers, and
    /// else by enough of them.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn admits_creation(
        &self,
        network: &NetworkId,
        name: &str,
        approval: Option<&SignedChange<'_>>,
        now: u64,
    ) -> Result<(), ChangeError> {
        let (controllers, approval) = match (self.controllers(), approval) {
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err(ChangeError::Fixed),
            (Some(controllers), None) => {
                return Err(ChangeError::TooFew { have: 0, need: controllers.at_least });
            }
            (Some(controllers), Some(approval)) => (controllers, approval),
        };
        if approval.network() != *network {
            return Err(ChangeError::Network);
        }
        let Action::Create { name: signed, policy } = approval.action() else {
            return Err(ChangeError::Action);
        };
        if signed != name {
            return Err(ChangeError::Name);
        }
        if policy != self.bytes() {
            return Err(ChangeError::Policy);
        }
        controllers.have_signed(approval, controllers.at_least)?;
        check_expiry(approval.expires(), now)
    }
}

#[cfg(test)]
mod tests;
