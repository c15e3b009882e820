//! A judgement as a tree: each rule and condition, whether it holds, and why not.

use quorate_core::policy::{Denial, Facts, Policy, Trace, Truth};
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
    policy.questions(request, facts, &mut |question| {
        let entry = template(question);
        if !missing.contains(&entry) {
            missing.push(entry);
        }
    });
    Verdict { result, rules, missing }
}

fn word(truth: Truth) -> &'static str {
    match truth {
        Truth::True => "yes",
        Truth::False => "no",
        Truth::Unknown => "unknown",
    }
}

impl Verdict<'_> {
    /// For people: one line for each rule and condition.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = match &self.result {
            Ok(digest) => format!("allowed: 0x{} would be signed\n", hex::encode(digest)),
            Err(denial) => format!("denied: {denial}\n"),
        };
        for rule in &self.rules {
            let end =
                if rule.allowed { "allows it, within its limits" } else { "does not allow it" };
            text.push_str(&format!("Rule {:?} {end}\n", rule.text));
            for condition in &rule.inner {
                condition.write(1, &mut text);
            }
        }
        if !self.missing.is_empty() {
            text.push_str("Facts that are missing; give them with --facts FILE:\n");
            let facts: Vec<String> = self.missing.iter().map(|one| format!("    {one}")).collect();
            text.push_str(&format!("{{ \"facts\": [\n{}\n] }}\n", facts.join(",\n")));
        }
        text
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
    fn write(&self, depth: usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        let why = self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        text.push_str(&format!("{indent}{:<7} {}{why}\n", word(self.truth), self.text));
        for inner in &self.inner {
            inner.write(depth + 1, text);
        }
    }

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
