//! What a policy allows that its author may not have meant.

use quorate_core::policy::condition::{Condition, Conditions};
use quorate_core::policy::{Kinds, Policy, Rule, Strict};

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

fn is_person(condition: &Condition<'_>) -> bool {
    matches!(condition, Condition::Client(_) | Condition::Approvals { .. })
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
        Condition::Not(_) => false,
        leaf => such(leaf),
    }
}

/// Whether the condition can hold for payloads of this kind; of a not, whether it can be decided.
fn can_hold(condition: &Condition<'_>, kind: Kinds) -> bool {
    let transaction = Kinds::PLAIN.with(Kinds::BLOB).with(Kinds::SET_CODE).contains(kind);
    match condition {
        Condition::All(inner) => each(inner).all(|one| can_hold(&one, kind)),
        Condition::Any(inner) | Condition::Not(inner) => {
            each(inner).any(|one| can_hold(&one, kind))
        }
        Condition::AtLeast(least, inner) => {
            each(inner).filter(|one| can_hold(one, kind)).count() >= usize::from(*least)
        }
        Condition::Client(_)
        | Condition::Approvals { .. }
        | Condition::Time { .. }
        | Condition::Schedule(_) => true,
        Condition::Domain { .. } | Condition::Type(_) | Condition::Field { .. } => {
            kind == Kinds::TYPED_DATA
        }
        Condition::Message(_) => kind == Kinds::MESSAGE,
        _ => transaction,
    }
}
