//! Facts about the world, for one request at a time. Whoever judges says what it would have to know; the
//! sources are asked once, beside the service, and what came of it is one more input
//! ([`Service::handle_facts`]). Nobody waits for longer than its session would bear.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use quorate_core::curve::EcdsaGroup as _;
use quorate_core::hash::Digest;
use quorate_core::party::PartyId;
use quorate_core::policy::fact::{Answers, NoAnswers};
use quorate_core::policy::{Facts, Policy, Question, ethereum};
use quorate_core::request::{ClientKey, SignedRequest};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::coordinate::{Asked, answer, to_error};
use super::judge::{Judged, Reading};
use super::signing::Start;
use super::{Curve, Service};
use crate::facts::{Known, OwnedQuestion};
use crate::message::Rejection;

/// Requests whose facts are being fetched at a time.
pub const FETCHES: usize = 64;
/// Of these, so many of one client.
const FETCHES_PER_CLIENT: usize = 8;
/// Who may wait for the facts of one request.
const WAITING: usize = 8;
/// Questions of one request; what is beyond stays unknown.
const QUESTIONS: usize = 32;
/// What was found out counts for so long.
const FRESH: Duration = Duration::from_secs(15);
/// What a record says of the facts, bytes.
const MAX_RECORD: usize = 8 * 1024;

/// Asks the sources where it may block; the simulator brings its own.
pub trait FactsRunner: Send {
    /// Takes a job, without waiting for it. What came of it is to be given to [`Service::handle_facts`], soon
    /// enough to be of use: within [`FactsJob::patience`].
    fn start(&self, job: FactsJob);
}

/// What one request needs to know.
#[derive(Debug)]
pub struct FactsJob {
    id: u64,
    questions: Vec<OwnedQuestion>,
    patience: Duration,
}

impl FactsJob {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The questions, each once.
    #[must_use]
    pub fn questions(&self) -> &[OwnedQuestion] {
        &self.questions
    }

    /// How long answers are of use.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }
}

/// What came of a job.
#[derive(Debug)]
pub struct FactsDone {
    id: u64,
    known: Known,
}

impl FactsDone {
    /// The answers to the job of this number.
    #[must_use]
    pub fn new(id: u64, known: Known) -> Self {
        Self { id, known }
    }
}

/// What a party does once it knows more.
pub(super) enum Waiting {
    /// A request is asked, and may wait for its share then.
    Ask(Asked, bool),
    /// A proposal is answered.
    Proposal { from: PartyId, session: Digest, request: Vec<u8> },
    /// A session starts.
    Start(Start),
    /// A request that a peer says waits is looked at.
    Await { from: PartyId, request: Vec<u8> },
}

impl Waiting {
    fn session(&self) -> Option<&Digest> {
        match self {
            Self::Ask(..) | Self::Await { .. } => None,
            Self::Proposal { session, .. } | Self::Start(Start { session, .. }) => Some(session),
        }
    }
}

/// Questions under way.
struct Inquiry {
    id: u64,
    client: ClientKey,
    until: Instant,
    waiting: Vec<Waiting>,
}

struct Kept {
    known: Known,
    until: Instant,
}

/// By request: questions under way, and what is known. Nothing is shared between requests.
#[derive(Default)]
pub(super) struct Inquiries {
    next: u64,
    open: BTreeMap<Digest, Inquiry>,
    kept: BTreeMap<Digest, Kept>,
}

impl Inquiries {
    fn known(&self, request: &Digest) -> Option<&Known> {
        self.kept.get(request).map(|kept| &kept.known)
    }

    /// Whether this session waits for facts.
    pub(super) fn has_session(&self, session: &Digest) -> bool {
        let mut all = self.open.values().flat_map(|inquiry| &inquiry.waiting);
        all.any(|waiting| waiting.session() == Some(session))
    }

    /// Proposals of one coordinator that wait for facts.
    pub(super) fn proposals_of(&self, coordinator: PartyId) -> usize {
        let all = self.open.values().flat_map(|inquiry| &inquiry.waiting);
        all.filter(
            |waiting| matches!(waiting, Waiting::Proposal { from, .. } if *from == coordinator),
        )
        .count()
    }

    /// The session is over before its facts are there.
    pub(super) fn forget(&mut self, session: &Digest) {
        for inquiry in self.open.values_mut() {
            inquiry.waiting.retain(|waiting| waiting.session() != Some(session));
        }
    }

    /// Its coordinator cancels a proposal that has no answer yet.
    pub(super) fn forget_proposal(&mut self, coordinator: PartyId, session: &Digest) {
        let is_it = |waiting: &Waiting| match waiting {
            Waiting::Proposal { from, session: own, .. } => *from == coordinator && own == session,
            _ => false,
        };
        for inquiry in self.open.values_mut() {
            inquiry.waiting.retain(|waiting| !is_it(waiting));
        }
    }

    fn has_room(&self, client: &ClientKey) -> bool {
        let own = self.open.values().filter(|inquiry| inquiry.client == *client).count();
        own < FETCHES_PER_CLIENT && self.open.len() < FETCHES
    }
}

/// What a party would have to find out about a request.
pub(super) struct Inquire {
    request: Digest,
    client: ClientKey,
    questions: Vec<OwnedQuestion>,
}

/// A judgement by what is known.
pub(super) enum Weighed {
    Allowed(Box<Judged>),
    Refused(Rejection),
    /// Facts may change it.
    Asks(Inquire),
}

impl Service {
    /// What this party knows by itself when it judges a request.
    pub(super) fn facts_of<'f>(&'f self, reading: &'f Reading) -> Facts<'f> {
        let account = Curve::coordinates(&reading.derived.point());
        let answers: &dyn Answers = match self.inquiries.known(&reading.hash) {
            Some(known) => known,
            None => &NoAnswers,
        };
        Facts {
            known_since: reading.since,
            vetoes: &reading.vetoes,
            account: account.map(|point| ethereum::address(&point.0)),
            answers,
            ..Facts::at(self.now())
        }
    }

    /// Judges a request. Facts are asked for only if what is known allows nothing that has room: then a rule
    /// that needs them may.
    pub(super) fn weigh(&self, bytes: &[u8], reading: Reading) -> Weighed {
        match self.judge_reading(bytes, reading) {
            Ok((Ok(judged), Some(inquire))) => match self.has_room(&judged) {
                Ok(()) => Weighed::Allowed(Box::new(judged)),
                Err(_) => Weighed::Asks(inquire),
            },
            Ok((Ok(judged), None)) => Weighed::Allowed(Box::new(judged)),
            Ok((Err(_), Some(inquire))) => Weighed::Asks(inquire),
            Ok((Err(reason), None)) | Err(reason) => Weighed::Refused(reason),
        }
    }

    /// The same as if all delays of the policy were over; vetoes count.
    pub(super) fn weigh_as_if_over(&self, bytes: &[u8]) -> Result<Weighed, Rejection> {
        let reading = Reading { since: Some(0), ..self.read(bytes)? };
        Ok(self.weigh(bytes, reading))
    }

    /// What it takes to ask the holders: that this party's policy allows the request, or would without its
    /// delays. The delay of others may be over.
    pub(super) fn weigh_to_ask(&self, bytes: &[u8]) -> Result<Weighed, Rejection> {
        match self.weigh(bytes, self.read(bytes)?) {
            Weighed::Refused(Rejection::Waiting { .. }) => self.weigh_as_if_over(bytes),
            weighed => Ok(weighed),
        }
    }

    /// What would have to be asked; nothing if it was.
    pub(super) fn inquire_about(
        &self,
        policy: &Policy<'_>,
        request: &SignedRequest<'_>,
        facts: &Facts<'_>,
    ) -> Option<Inquire> {
        let hash = request.hash();
        if self.inquiries.kept.contains_key(&hash) {
            return None;
        }
        let mut questions: Vec<OwnedQuestion> = Vec::new();
        let mut note = |question: &Question<'_>| {
            let new = questions.iter().all(|own| own.as_question() != *question);
            if new && questions.len() < QUESTIONS {
                questions.push(OwnedQuestion::of(question));
            }
        };
        policy.questions(request, facts, &mut note);
        // What a delay holds back asks nothing yet; whether it is worth waiting, the facts tell.
        if policy.longest_delay() > 0 {
            policy.questions(request, &Facts { known_since: Some(0), ..*facts }, &mut note);
        }
        let client = *request.client();
        (!questions.is_empty()).then_some(Inquire { request: hash, client, questions })
    }

    /// Asks the sources, unless they are being asked, and keeps who waits.
    pub(super) fn inquire(&mut self, inquire: Inquire, waiting: Waiting) {
        let Inquire { request, client, questions } = inquire;
        if let Some(inquiry) = self.inquiries.open.get_mut(&request) {
            return match inquiry.waiting.len() < WAITING {
                true => inquiry.waiting.push(waiting),
                false => self.refuse_waiting(waiting, Rejection::Busy),
            };
        }
        if !self.inquiries.has_room(&client) {
            tracing::warn!(%client, "not judged: facts are being fetched for too many requests");
            return self.refuse_waiting(waiting, Rejection::Busy);
        }
        self.inquiries.next += 1;
        let id = self.inquiries.next;
        // The coordinator waits for proposals no longer than this; half of it is the sources'.
        let (until, patience) = (self.deadlines.accept * 3 / 4, self.deadlines.accept / 2);
        let until = self.clock.instant() + until;
        let inquiry = Inquiry { id, client, until, waiting: vec![waiting] };
        self.inquiries.open.insert(request, inquiry);
        self.facts.start(FactsJob { id, questions, patience });
    }

    /// Handles what came of one job, and judges again.
    pub fn handle_facts(&mut self, done: FactsDone) {
        let FactsDone { id, known } = done;
        // What else is answered now would begin what the node's end breaks off.
        if self.head.is_stopping() {
            return;
        }
        let mine = self.inquiries.open.iter().find(|(_, inquiry)| inquiry.id == id);
        let Some(request) = mine.map(|(request, _)| *request) else { return };
        self.go_on_with(&request, known);
        self.drain_loopback();
    }

    fn go_on_with(&mut self, request: &Digest, known: Known) {
        let Some(inquiry) = self.inquiries.open.remove(request) else { return };
        let shown = hex::encode(request);
        for (question, reason) in known.unknown() {
            tracing::warn!(request = shown, "not known: {question}: {reason}");
        }
        let until = self.clock.instant() + FRESH;
        self.inquiries.kept.insert(*request, Kept { known, until });
        for waiting in inquiry.waiting {
            match waiting {
                Waiting::Ask(asked, wait) => self.ask(asked, wait),
                Waiting::Proposal { from, session, request } => {
                    let answer = self.consider(from, session, &request);
                    self.answer_proposal(from, session, &request, answer);
                }
                Waiting::Start(start) => self.start_session(start),
                Waiting::Await { from, request } => self.handle_await(from, request),
            }
        }
    }

    /// Judges without what did not come in time, and forgets what is old or no session needs any more: the
    /// next try of a request looks at the world anew.
    pub(super) fn expire_inquiries(&mut self, at: Instant) {
        let late = self.inquiries.open.iter().filter(|(_, inquiry)| inquiry.until <= at);
        let late: Vec<Digest> = late.map(|(request, _)| *request).collect();
        for request in late {
            tracing::warn!(request = hex::encode(request), "no facts in time");
            self.go_on_with(&request, Known::default());
        }
        if self.inquiries.kept.is_empty() {
            return;
        }
        let members = self.participations.values().map(|waiting| waiting.hash);
        let coordinated = self.coordinations.values().map(|c| c.hash);
        let used: BTreeSet<Digest> = members.chain(coordinated).collect();
        let opening = &self.openings;
        self.inquiries.kept.retain(|request, kept| {
            kept.until > at && (used.contains(request) || opening.has_request(request))
        });
    }

    fn refuse_waiting(&mut self, waiting: Waiting, reason: Rejection) {
        match waiting {
            Waiting::Ask(asked, _) => answer(asked.replies, &Err(to_error(&reason, self.me))),
            Waiting::Proposal { from, session, request } => {
                self.answer_proposal(from, session, &request, Err(reason));
            }
            Waiting::Start(start) => self.refuse_start(&start, reason),
            // It is told again when the link comes up.
            Waiting::Await { .. } => {}
        }
    }

    /// What is known of a request, for its record: as much as there is room for, and the digest of all.
    pub(super) fn record_of_facts(&self, request: &Digest) -> Option<Value> {
        let entries = self.inquiries.known(request)?.record();
        let all = Value::from(entries.clone()).to_string();
        let mut size = 0;
        let fits = |entry: &Value| {
            size += entry.to_string().len();
            size <= MAX_RECORD
        };
        let shown: Vec<Value> = entries.into_iter().take_while(fits).collect();
        let digest = hex::encode(Sha256::digest(all.as_bytes()));
        Some(json!({ "known": shown, "sha256": digest }))
    }
}
