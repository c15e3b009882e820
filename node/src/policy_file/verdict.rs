//! A judgement as a tree: each rule and condition, whether it holds, and why not.

use quorate_core::policy::{Denial, Facts, Here, Policy, Trace, Truth};
use quorate_core::request::SignedRequest;
use serde_json::{Value, json};

use super::explain::sentence;
use super::recorded::template;

/// What a judgement came to.
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// The digest that would be signed, or the denial.
    pub result: Result<[u8; 32], Denial<'a>>,
    /// The rules that were asked.
    pub rules: Vec<Branch>,
    /// Facts that would help and were missing, as entries of a facts file without their answers.
    pub missing: Vec<Value>,
}

/// A rule, or a condition, and what was decided of it.
#[derive(Clone, Debug)]
pub struct Branch {
    /// In a sentence.
    pub text: String,
    /// What was decided.
    pub truth: Truth,
    /// Why it does not hold.
    pub reason: Option<String>,
    /// What within was looked at.
    pub inner: Vec<Branch>,
    /// Whether its limits could count the request: of a rule that allows it.
    pub allowed: bool,
}

/// Judges a request as a party would, without counters, and keeps every step.
#[must_use]
pub fn judge<'a>(
    policy: &Policy<'a>,
    request: &SignedRequest<'_>,
    facts: &Facts<'_>,
) -> Verdict<'a> {
    let mut rules: Vec<Branch> = Vec::new();
    let mut open: Vec<Branch> = Vec::new();
    let branch = |text| Branch {
        text,
        truth: Truth::Unknown,
        reason: None,
        inner: Vec::new(),
        allowed: false,
    };
    let mut watch = |step: Trace<'_>| match step {
        Trace::Rule(rule) => rules.push(branch(rule.name.to_owned())),
        Trace::Enter(condition) => open.push(branch(sentence(&condition))),
        Trace::Leave(truth, reason) => {
            let Some(closed) = open.pop() else { return };
            let reason = reason.map(|reason| reason.to_string());
            let closed = Branch { truth, reason, ..closed };
            match open.last_mut().or(rules.last_mut()) {
                Some(outer) => outer.inner.push(closed),
                None => rules.push(closed),
            }
        }
        Trace::Decided(truth) => {
            if let Some(rule) = rules.last_mut() {
                rule.truth = truth;
            }
        }
        Trace::Allowed(_) => {
            if let Some(rule) = rules.last_mut() {
                rule.allowed = true;
            }
        }
    };
    let result = policy.judge(request, facts, &mut watch);
    let mut missing: Vec<Value> = Vec::new();
    // A device finds out nothing.
    if facts.here == Here::Node {
        policy.questions(request, facts, &mut |question| {
            let entry = template(question);
            if !missing.contains(&entry) {
                missing.push(entry);
            }
        });
    }
    Verdict { result, rules, missing }
}

impl Verdict<'_> {
    /// For people: one line for each rule and condition.
    #[must_use]
    pub fn text(&self) -> String {
        verdict_text(&self.json())
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let rules = self.rules.iter().map(|rule| {
            let conditions: Vec<Value> = rule.inner.iter().map(Branch::json).collect();
            json!({ "rule": rule.text, "allowed": rule.allowed, "conditions": conditions })
        });
        let rules: Vec<Value> = rules.collect();
        match &self.result {
            Ok(digest) => {
                json!({
                    "allowed": true, "digest": hex::encode(digest), "rules": rules,
                    "missing_facts": self.missing,
                })
            }
            Err(denial) => json!({
                "allowed": false, "rules": rules, "missing_facts": self.missing,
                "denial": { "rule": denial.code(), "by": denial.rule, "reason": denial.to_string() },
            }),
        }
    }
}

impl Branch {
    fn json(&self) -> Value {
        json!({
            "condition": self.text,
            "holds": match self.truth {
                Truth::True => Value::Bool(true),
                Truth::False => Value::Bool(false),
                Truth::Unknown => Value::Null,
            },
            "reason": self.reason,
            "conditions": self.inner.iter().map(Branch::json).collect::<Vec<_>>(),
        })
    }
}

/// A judgement that came as JSON, for people: one line for each rule and condition.
#[must_use]
pub fn verdict_text(verdict: &Value) -> String {
    let mut text = match verdict.get("digest").and_then(Value::as_str) {
        Some(digest) => format!("allowed: 0x{digest} would be signed\n"),
        None => {
            let reason = verdict.pointer("/denial/reason").and_then(Value::as_str);
            format!("denied: {}\n", reason.unwrap_or_default())
        }
    };
    for rule in members(verdict, "rules") {
        let allowed = rule.get("allowed").and_then(Value::as_bool) == Some(true);
        let end = if allowed { "allows it, within its limits" } else { "does not allow it" };
        let name = rule.get("rule").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!("Rule {name:?} {end}\n"));
        members(rule, "conditions").iter().for_each(|one| branch_text(one, 1, &mut text));
    }
    let missing: Vec<String> =
        members(verdict, "missing_facts").iter().map(|one| format!("    {one}")).collect();
    if !missing.is_empty() {
        text.push_str("Facts that are missing, as an entry each of a facts file for simulate:\n");
        text.push_str(&format!("{{ \"facts\": [\n{}\n] }}\n", missing.join(",\n")));
    }
    text
}

fn members<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// No verdict is deeper than a policy; another's may say what it likes.
const DEEPEST: usize = quorate_core::policy::condition::MAX_DEPTH;

fn branch_text(branch: &Value, depth: usize, text: &mut String) {
    let word = match branch.get("holds").and_then(Value::as_bool) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let name = |name: &str| branch.get(name).and_then(Value::as_str);
    let why = name("reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
    let condition = name("condition").unwrap_or_default();
    text.push_str(&format!("{}{word:<7} {condition}{why}\n", "  ".repeat(depth)));
    if depth < DEEPEST {
        members(branch, "conditions").iter().for_each(|one| branch_text(one, depth + 1, text));
    }
}
