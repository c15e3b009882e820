//! What a policy allows that its author may not have meant.

use quorate_core::policy::condition::{Account, Condition, Conditions, Wanted, Word};
use quorate_core::policy::{Delay, Kinds, Policy, Rule, Strict};

use super::render::duration;

/// People sleep: a veto needs more time than this.
const SHORT_DELAY: u32 = 10 * 60;
/// Until then the request must be kept, and a party that loses its records begins again.
const LONG_DELAY: u32 = 14 * 24 * 60 * 60;

/// One doubt about a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The JSON path of the rule.
    pub field: String,
    /// The doubt's stable name.
    pub code: &'static str,
    /// What it is, in a sentence.
    pub what: String,
}

/// Doubts about a policy that is well formed, rule by rule.
#[must_use]
pub fn lint(policy: &Policy<'_>) -> Vec<Doubt> {
    let rules: Vec<Rule<'_>> = policy.rules().collect();
    let mut doubts = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("rules[{index}]");
        let mut add = |code, what: String| doubts.push(Doubt { field: field.clone(), code, what });
        granted(rule, &mut add);
        limited(rule, &mut add);
        facts(&rule.condition, &mut add);
        device(rule, &mut add);
        delayed(&rule.condition, &mut add);
        let earlier = rules.iter().take(index);
        let same = |other: &&Rule<'_>| {
            other.condition == rule.condition
                && other.kinds.contains(rule.kinds)
                && other.limits().next().is_none()
        };
        if let Some(other) = earlier.clone().find(same) {
            let what = format!("never decides: rule {:?} allows all of it before", other.name);
            add("unreachable", what);
        }
    }
    let mut add = |code, what: &str| {
        doubts.push(Doubt { field: "controllers".to_owned(), code, what: what.to_owned() });
    };
    owned(policy, &mut add);
    doubts
}

fn owned(policy: &Policy<'_>, add: &mut dyn FnMut(&'static str, &str)) {
    let Some(controllers) = policy.controllers() else {
        return add("fixed", "are missing: the policy can never be changed, nor the key frozen");
    };
    if controllers.at_least == 1 {
        add(
            "one-controller",
            "are many, but one alone can replace everything: whoever has that key",
        );
    }
    if controllers.delay == 0 {
        let what = "replace the policy without a delay: nobody has time to freeze the key before";
        add("no-delay", what);
    }
}

type Add<'a> = &'a mut dyn FnMut(&'static str, String);

fn granted(rule: &Rule<'_>, add: Add<'_>) {
    for (kind, code, what) in [
        (Kinds::DIGEST, "raw-grant", "signs digests of nobody knows what"),
        (Kinds::OPAQUE_TRANSACTION, "raw-grant", "signs transactions that nobody here can read"),
        (
            Kinds::SET_CODE,
            "set-code",
            "signs transactions that set code; does it list the delegates?",
        ),
    ] {
        let listed = kind == Kinds::SET_CODE && must_ask(&rule.condition, is_delegate);
        if rule.kinds.contains(kind) && !listed {
            add(code, what.to_owned());
        }
    }
    let possible: Vec<Kinds> = Kinds::EACH
        .into_iter()
        .filter(|kind| rule.kinds.contains(*kind) && can_hold(&rule.condition, *kind))
        .collect();
    let never = Kinds::EACH.into_iter().filter(|kind| rule.kinds.contains(*kind));
    let never = never.filter(|kind| !possible.contains(kind)).map(|kind| kind.name());
    let never: Vec<&str> = never.collect();
    if !never.is_empty() {
        let what = format!("can never allow {}: it asks about other payloads", never.join(", "));
        add("unreachable", what);
    }
    if !must_ask(&rule.condition, is_person) {
        let what = "does not ask who: whoever reaches a party's API may use it";
        add("anybody", what.to_owned());
    }
    let transactions = |kind: &Kinds| Kinds::PLAIN.with(Kinds::BLOB).contains(*kind);
    if possible.iter().any(transactions) && !must_ask(&rule.condition, is_chain) {
        let what = "does not ask which chain: the same account may hold value on others";
        add("any-chain", what.to_owned());
    }
    if possible.contains(&Kinds::TYPED_DATA) && !must_ask(&rule.condition, is_domain) {
        let what = "signs typed data of any domain, permits of any token among them";
        add("any-domain", what.to_owned());
    }
    if possible.contains(&Kinds::MESSAGE) && !must_ask(&rule.condition, is_message) {
        add("any-message", "signs any message, logins to anything among them".to_owned());
    }
}

fn limited(rule: &Rule<'_>, add: Add<'_>) {
    if rule.limits().next().is_none() {
        add("no-limit", "has no limit over time".to_owned());
    } else if rule.limits().any(|limit| limit.strict == Strict::No) {
        let what = "has a limit that each party counts for itself: different quorums can exceed it \
                    together; \"strict\" closes that";
        add("loose-limit", what.to_owned());
    }
}

/// More than a day: what is so old says little.
const OLD: u32 = 24 * 60 * 60;

/// Doubts about facts, wherever they are asked; each place once.
fn facts(condition: &Condition<'_>, add: Add<'_>) {
    let place = match condition {
        Condition::Call(call) => Some(call.at),
        Condition::Balance { at, .. }
        | Condition::BlockNumber { at, .. }
        | Condition::BlockAge { at, .. } => Some(*at),
        _ => None,
    };
    if let Some(at) = place.filter(|at| at.confirmations == 0) {
        let what = format!(
            "asks chain {} after its newest block, which may still be replaced; \"confirmations\" \
             waits",
            at.chain
        );
        add("unconfirmed", what);
    }
    if let Condition::Json(json) = condition
        && json.max_age > OLD
    {
        add("old-fact", format!("believes {} for more than a day", json.url));
    }
    for inner in condition.inner().iter().flat_map(Conditions::iter).flatten() {
        facts(&inner, add);
    }
}

/// Doubts about rules that are made for devices.
fn device(rule: &Rule<'_>, add: Add<'_>) {
    let has = |such| within(&rule.condition, such);
    let left = has(|one| matches!(one, Condition::Elsewhere(_)));
    // The party that takes part in everything may be one that looks.
    if left && rule.limits().all(|limit| limit.strict == Strict::No) {
        let what = "takes facts as checked elsewhere: where devices and parties that lie can be a \
                    quorum, nobody has checked them; a \"strict\" limit names a node that always \
                    takes part";
        add("elsewhere", what.to_owned());
    }
    let made_for_devices = left || has(|one| matches!(one, Condition::Confirm));
    if made_for_devices && must_ask(&rule.condition, |one| one.asks_the_world()) {
        let what = "is never allowed by a device: it asks the world outside of an elsewhere";
        add("never-on-device", what.to_owned());
    }
}

/// Whether the condition, or one within, is such.
fn within(condition: &Condition<'_>, such: fn(&Condition<'_>) -> bool) -> bool {
    such(condition) || condition.inner().iter().flat_map(each).any(|one| within(&one, such))
}

fn delayed(condition: &Condition<'_>, add: Add<'_>) {
    if let Condition::Delay(Delay { seconds, veto }) = condition {
        let length = duration(*seconds);
        match (veto.is_empty(), *seconds) {
            (true, _) => {
                add("no-veto", format!("waits {length}, but nobody can veto it meanwhile"));
            }
            (false, ..SHORT_DELAY) => {
                let what =
                    format!("waits only {length}: who is to veto it may hear of it too late");
                add("short-delay", what);
            }
            _ => {}
        }
        if *seconds > LONG_DELAY {
            let what = format!(
                "waits {length}: whoever asks must keep the request for so long, and a party that \
                 loses its records begins again"
            );
            add("long-delay", what);
        }
    }
    for inner in condition.inner().iter().flat_map(each) {
        delayed(&inner, add);
    }
}

fn is_person(condition: &Condition<'_>) -> bool {
    match condition {
        Condition::Client(_) | Condition::Approvals { .. } | Condition::Signatures { .. } => true,
        // Whoever owns it has signed.
        Condition::Call(call) => call.wanted == Wanted::Signer,
        _ => false,
    }
}

fn is_chain(condition: &Condition<'_>) -> bool {
    matches!(condition, Condition::Chain(_))
}

fn is_domain(condition: &Condition<'_>) -> bool {
    matches!(condition, Condition::Domain { .. })
}

fn is_message(condition: &Condition<'_>) -> bool {
    matches!(condition, Condition::Message(_))
}

fn is_delegate(condition: &Condition<'_>) -> bool {
    matches!(condition, Condition::Delegate(_))
}

fn each<'a>(inner: &Conditions<'a>) -> impl Iterator<Item = Condition<'a>> {
    inner.iter().flatten()
}

/// Whether no request passes without such a condition's holding.
fn must_ask(condition: &Condition<'_>, such: fn(&Condition<'_>) -> bool) -> bool {
    match condition {
        Condition::All(inner) => each(inner).any(|one| must_ask(&one, such)),
        Condition::Any(inner) => each(inner).all(|one| must_ask(&one, such)),
        Condition::AtLeast(least, inner) => {
            let without = each(inner).filter(|one| !must_ask(one, such)).count();
            without < usize::from(*least)
        }
        // On a device nothing of it is asked.
        Condition::Not(_) | Condition::Elsewhere(_) => false,
        leaf => such(leaf),
    }
}

/// Whether the condition can hold for payloads of this kind; of a not, whether it can be decided.
fn can_hold(condition: &Condition<'_>, kind: Kinds) -> bool {
    let transaction = Kinds::PLAIN.with(Kinds::BLOB).with(Kinds::SET_CODE).contains(kind);
    match condition {
        Condition::All(inner) | Condition::Elsewhere(inner) => {
            each(inner).all(|one| can_hold(&one, kind))
        }
        Condition::Any(inner) | Condition::Not(inner) => {
            each(inner).any(|one| can_hold(&one, kind))
        }
        Condition::AtLeast(least, inner) => {
            each(inner).filter(|one| can_hold(one, kind)).count() >= usize::from(*least)
        }
        Condition::Client(_)
        | Condition::Approvals { .. }
        | Condition::Signatures { .. }
        | Condition::Time { .. }
        | Condition::Schedule(_)
        | Condition::Delay(_)
        | Condition::Confirm
        | Condition::BlockNumber { .. }
        | Condition::BlockAge { .. }
        | Condition::Json(_) => true,
        Condition::Balance { account, .. } => transaction || *account != Account::Recipient,
        Condition::Call(call) => {
            let of_request = |word| matches!(word, Word::Recipient | Word::Value);
            transaction || !call.words.iter().any(of_request)
        }
        Condition::Domain { .. } | Condition::Type(_) | Condition::Field { .. } => {
            kind == Kinds::TYPED_DATA
        }
        Condition::Message(_) => kind == Kinds::MESSAGE,
        _ => transaction,
    }
}
