//! Judging a request: three truths, every condition at most once, no memory beside the stack.

mod facts;

use super::amount::Amount;
use super::condition::{Argument, Condition, Conditions, FieldPath, MAX_PATH, Step};
use super::denial::{Asked, Reason};
use super::ethereum::{Address, Transaction, TypedData, abi};
use super::fact::{Confirmation, Here, Question};
use super::matcher::{Bound, Test};
use super::payload::{PathStep, Subject, Value};
use super::{Facts, Grant, Rule};
use crate::request::SignedRequest;

/// What is known of a condition. The unknown allows nothing, and so does its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It does not hold.
    False,
    /// Nobody can say: the payload has nothing like that, or a fact is missing.
    Unknown,
    /// It holds.
    True,
}

impl Truth {
    #[inline(never)]
    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
            Self::True => Self::False,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What a trace is told of a judgement.
#[allow(clippy::large_enum_variant, reason = "there is no allocator, and one lives at a time")]
#[derive(Clone, Debug)]
pub enum Trace<'a> {
    /// A rule is asked.
    Rule(Rule<'a>),
    /// A condition is looked at; those within follow.
    Enter(Condition<'a>),
    /// The innermost condition that was entered is decided.
    Leave(Truth, Option<Reason<'a>>),
    /// The rule's condition is decided.
    Decided(Truth),
    /// The rule allows the request, if its limits have room.
    Allowed(Grant<'a>),
}

pub(super) struct Evaluation<'e, 'a> {
    pub(super) request: &'e SignedRequest<'e>,
    /// Nothing, for a payload that this build cannot read.
    pub(super) subject: Option<&'e Subject<'e>>,
    pub(super) facts: &'e Facts<'e>,
    pub(super) trace: &'e mut dyn FnMut(Trace<'a>),
    /// Is told of every question without an answer.
    pub(super) missing: &'e mut dyn FnMut(&Question<'_>),
    /// Conditions that held so far: of several rules that do not allow, the one that came furthest says
    /// why.
    pub(super) held: usize,
    /// Why the rule does not allow: the first condition on which that depends.
    pub(super) failure: Option<Reason<'a>>,
}

/// What a condition comes to, and why it does not hold.
type Answer<'a> = (Truth, Option<Reason<'a>>);

impl<'a> Evaluation<'_, 'a> {
    pub(super) fn truth(&mut self, condition: &Condition<'a>) -> Truth {
        (self.trace)(Trace::Enter(*condition));
        let (truth, reason) = match condition {
            Condition::All(inner) => (self.all(inner), None),
            Condition::Any(inner) => (self.at_least(1, inner), None),
            Condition::AtLeast(least, inner) => (self.at_least(*least, inner), None),
            Condition::Not(inner) => self.not(inner),
            Condition::Elsewhere(inner) => (self.elsewhere(inner), None),
            leaf => self.leaf(leaf),
        };
        (self.trace)(Trace::Leave(truth, reason));
        if truth == Truth::True {
            self.held += 1;
        } else if self.failure.is_none() {
            self.failure = reason;
        }
        truth
    }

    /// What cannot be read holds nothing.
    fn each(&mut self, condition: Result<Condition<'a>, super::form::FormError>) -> Truth {
        condition.map_or(Truth::Unknown, |condition| self.truth(&condition))
    }

    #[inline(never)]
    fn all(&mut self, inner: &Conditions<'a>) -> Truth {
        let mut truth = Truth::True;
        for condition in inner.iter() {
            match self.each(condition) {
                Truth::False => return Truth::False,
                Truth::Unknown => truth = Truth::Unknown,
                Truth::True => {}
            }
        }
        truth
    }

    #[inline(never)]
    fn at_least(&mut self, least: u8, inner: &Conditions<'a>) -> Truth {
        let before = self.failure;
        let mut last = None;
        let (mut holding, mut unknown) = (0, 0);
        for condition in inner.iter() {
            self.failure = None;
            match self.each(condition) {
                Truth::True => holding += 1,
                Truth::Unknown => unknown += 1,
                Truth::False => {}
            }
            last = self.failure.or(last);
            if holding >= least {
                // Whatever failed among them does not matter.
                self.failure = before;
                return Truth::True;
            }
        }
        // Of several ways, the last is where people put what is to help.
        self.failure = before.or(last);
        if holding + unknown >= least { Truth::Unknown } else { Truth::False }
    }

    #[inline(never)]
    fn not(&mut self, inner: &Conditions<'a>) -> Answer<'a> {
        let before = self.failure;
        let truth = inner.iter().next().map_or(Truth::Unknown, |one| self.each(one)).not();
        match truth {
            Truth::Unknown => (truth, None),
            _ => {
                self.failure = before;
                (truth, (truth == Truth::False).then_some(Reason::Excluded))
            }
        }
    }

    /// On a device it holds because the policy says so, and is not looked into.
    fn elsewhere(&mut self, inner: &Conditions<'a>) -> Truth {
        match self.facts.here {
            Here::Device(_) => Truth::True,
            Here::Node => self.all(inner),
        }
    }

    #[inline(never)]
    fn leaf(&mut self, condition: &Condition<'a>) -> Answer<'a> {
        let now = self.facts.now;
        match condition {
            Condition::Client(list) => {
                let client = self.request.client();
                answer(list.contains(&client.0), Reason::Client(*client))
            }
            Condition::Approvals { at_least, of } => {
                let have = self.request.approvers().filter(|key| of.contains(&key.0)).count();
                let (have, need) = (have.min(255) as u8, *at_least);
                answer(have >= need, Reason::Approvals { have, need })
            }
            Condition::Time { not_before, before } => {
                answer((*not_before..*before).contains(&now), Reason::Time { now })
            }
            Condition::Schedule(schedule) => answer(schedule.holds(now), Reason::Time { now }),
            Condition::Delay(delay) => match delay.vetoed_by(self.facts) {
                Some(vetoer) => (Truth::False, Some(Reason::Vetoed(vetoer))),
                None => {
                    let until = delay.until(self.facts);
                    answer(delay.is_over(self.facts), Reason::Waiting { until })
                }
            },
            Condition::Confirm => match self.facts.here {
                Here::Node | Here::Device(Confirmation::Confirmed) => (Truth::True, None),
                Here::Device(Confirmation::NotAsked) => (Truth::Unknown, Some(Reason::Unconfirmed)),
                Here::Device(Confirmation::Refused) => (Truth::False, Some(Reason::Refused)),
            },
            Condition::Domain { .. } | Condition::Type(_) | Condition::Field { .. } => {
                match self.subject {
                    // None is ever read without the feature.
                    Some(Subject::TypedData(data)) if cfg!(feature = "typed-data") => {
                        typed(condition, data)
                    }
                    _ => unknown(Asked::TypedData),
                }
            }
            Condition::Message(text) => match self.subject {
                Some(Subject::Message(message)) => answer(text.holds(message), Reason::Message),
                _ => unknown(Asked::Message),
            },
            Condition::Signatures { at_least, of } => {
                let have = self.request.signers().filter(|signer| of.contains(&signer.0)).count();
                let (have, need) = (have.min(255) as u8, *at_least);
                answer(have >= need, Reason::Signatures { have, need })
            }
            Condition::Call(_)
            | Condition::Balance { .. }
            | Condition::BlockNumber { .. }
            | Condition::BlockAge { .. }
            | Condition::Json(_)
                if !cfg!(feature = "network-facts") =>
            {
                (Truth::Unknown, None)
            }
            Condition::Call(call) => self.call(call),
            Condition::Balance { at, account, bound } => self.balance(*at, *account, bound),
            Condition::BlockNumber { at, bound } => self.block_number(*at, bound),
            Condition::BlockAge { at, max } => self.block_age(*at, *max),
            Condition::Json(json) => self.json(json),
            of_transaction => match self.subject {
                Some(Subject::Transaction(seen)) => transaction(of_transaction, seen),
                _ => unknown(Asked::Transaction),
            },
        }
    }
}

fn answer(holds: bool, reason: Reason<'_>) -> Answer<'_> {
    (holds.into(), (!holds).then_some(reason))
}

fn unknown(asked: Asked) -> Answer<'static> {
    (Truth::Unknown, Some(Reason::NotThere(asked)))
}

#[inline(never)]
fn transaction(condition: &Condition<'_>, seen: &Transaction<'_>) -> Answer<'static> {
    let bound = |bound: &Bound, amount: Amount, reason: fn(Amount, Bound) -> Reason<'static>| {
        answer(bound.holds(&amount), reason(amount, *bound))
    };
    match condition {
        Condition::Chain(list) => {
            answer(list.contains(&seen.chain_id.to_be_bytes()), Reason::Chain(seen.chain_id))
        }
        Condition::Recipient(list) => {
            let known = seen.to.is_some_and(|Address(to)| list.contains(&to));
            answer(known, Reason::Recipient(seen.to))
        }
        Condition::Creation => answer(seen.to.is_none(), Reason::Recipient(seen.to)),
        Condition::Value(limit) => bound(limit, seen.value, Reason::Value),
        Condition::Fee(limit) => bound(limit, seen.max_fee, Reason::Fee),
        Condition::Function(list) => {
            let selector = seen.selector();
            let known = selector.is_some_and(|selector| list.contains(&selector));
            answer(known, Reason::Function(selector))
        }
        Condition::NoData => answer(seen.data.is_empty(), Reason::Data),
        Condition::Argument(argument) => called(argument, seen),
        Condition::Delegate(list) => {
            let stranger = seen
                .authorizations()
                .map(|one| one.address)
                .find(|Address(contract)| !list.contains(contract));
            (stranger.is_none().into(), stranger.map(Reason::Delegate))
        }
        _ => unknown(Asked::Transaction),
    }
}

#[inline(never)]
fn called(argument: &Argument<'_>, seen: &Transaction<'_>) -> Answer<'static> {
    let Some(data) = seen.data.strip_prefix(argument.selector.as_slice()) else {
        // Of another call nobody can say what this argument is.
        return (Truth::Unknown, Some(Reason::Function(seen.selector())));
    };
    match abi::argument(data, argument.parameters, &argument.path.steps()) {
        Ok(value) => tested(&argument.test, &value, Reason::Argument),
        Err(error) => (Truth::Unknown, Some(Reason::CallData(error))),
    }
}

#[inline(never)]
fn typed(condition: &Condition<'_>, data: &TypedData<'_>) -> Answer<'static> {
    match condition {
        Condition::Type(name) => {
            let holds = data.primary_type() == *name;
            (holds.into(), (!holds).then_some(Reason::Type))
        }
        Condition::Domain { field, test } => match data.domain(field) {
            Some(value) => tested(test, &value, Reason::Domain),
            None => unknown(Asked::Field),
        },
        Condition::Field { path, test } => match data.field(&path_of(path)) {
            Some(value) => tested(test, &value, Reason::Field),
            None => unknown(Asked::Field),
        },
        _ => unknown(Asked::TypedData),
    }
}

fn path_of<'a>(path: &FieldPath<'a>) -> heapless::Vec<PathStep<'a>, MAX_PATH> {
    let step = |step| match step {
        Step::Name(name) => PathStep::Name(name),
        Step::Index(index) => PathStep::Index(u32::from(index)),
    };
    path.steps().map(step).collect()
}

fn tested<'a>(test: &Test<'_>, value: &Value<'_>, reason: Reason<'a>) -> Answer<'a> {
    match test.holds(value) {
        Some(true) => (Truth::True, None),
        Some(false) => (Truth::False, Some(reason)),
        None => (Truth::Unknown, Some(reason)),
    }
}
