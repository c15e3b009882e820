//! Finds a nonce that was used twice. One k_i under two different (Y, h, R) gives away the share, so
//! the checker is fed with every message that ever left any party, whatever crashed, was rolled back or
//! ran in parallel, and afterwards compares what each R_i was used for.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::hash::Digest;
use quorate_core::nonce::{Inspected, inspect};
use quorate_core::party::PartyId;
use quorate_core::session::Protocol;

/// What a session is about: the public key Y, encoded in one way throughout, and the digest h; for
/// Schnorr, a digest of the message.
pub type About = (Vec<u8>, Digest);

/// An answer: to whom, where that is part of it, and its hash. A party answers one list of R_j alike, so
/// two answers under one R_i are for two R.
type Answer = (Option<PartyId>, Digest);

/// What one party sent in one session. A party that came back from a crash or a roll-back may be in the
/// same session again, with another R_i: a share belongs to the R_i that it sent last.
#[derive(Default)]
struct Sent {
    last: Option<Vec<u8>>,
    points: BTreeMap<Vec<u8>, BTreeSet<Answer>>,
    shares: BTreeSet<Answer>,
}

/// One use of a nonce.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The session.
    pub session: Digest,
    /// Y and h.
    pub about: About,
    /// The share, if the party sent one.
    pub answer: Option<(Option<PartyId>, Digest)>,
}

/// A nonce under two different (Y, h, R).
#[derive(Clone, Debug)]
pub struct Reuse {
    /// Whose.
    pub party: PartyId,
    /// R_i.
    pub point: Vec<u8>,
    /// All uses, by session.
    pub uses: Vec<Use>,
}

/// What the checker found.
#[derive(Debug, Default)]
pub struct Report {
    /// What must not be.
    pub reuses: Vec<Reuse>,
    /// Sessions that nobody could explain: the caller must account for them.
    pub unexplained: BTreeSet<Digest>,
    /// How many different (party, R_i) there were.
    pub points: usize,
    /// How many of them were sent in more than one session, harmlessly or not.
    pub repeated: usize,
    /// How many shares were seen.
    pub shares: usize,
}

/// Collects messages.
#[derive(Default)]
pub struct NonceChecker {
    sent: BTreeMap<(Digest, PartyId), Sent>,
}

impl NonceChecker {
    /// A checker that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a message that left `party` in `session`, the caller's name for what happens there (the
    /// messages name it by D0, whose inputs are what is checked here), in the order in which they left;
    /// whatever is no message of a signing session is ignored.
    pub fn record(&mut self, session: Digest, party: PartyId, bytes: &[u8]) {
        let Ok(message) = inspect(bytes) else { return };
        let sent = self.sent.entry((session, party)).or_default();
        match message {
            Inspected::Nonce { point, .. } => {
                let point = point.0.to_vec();
                sent.points.entry(point.clone()).or_default();
                sent.last = Some(point);
            }
            Inspected::Share { header, response } => {
                // ECDSA masks a share for its coordinator: another one gets another, of the same R.
                let to = header.to.filter(|_| header.protocol == Protocol::Ecdsa);
                let answer = (to, response);
                sent.shares.insert(answer);
                let point = sent.last.as_ref().and_then(|last| sent.points.get_mut(last));
                if let Some(answers) = point {
                    answers.insert(answer);
                }
            }
        }
    }

    /// Compares all uses.
    #[must_use]
    pub fn report(&self, about: impl Fn(&Digest) -> Option<About>) -> Report {
        let mut report = Report::default();
        let mut uses: BTreeMap<(PartyId, &Vec<u8>), BTreeSet<Use>> = BTreeMap::new();
        for ((session, party), sent) in &self.sent {
            report.shares += sent.shares.len();
            let Some(about) = about(session) else {
                report.unexplained.insert(*session);
                continue;
            };
            for (point, answers) in &sent.points {
                let all = uses.entry((*party, point)).or_default();
                let of = |answer| Use { session: *session, about: about.clone(), answer };
                all.extend(answers.iter().map(|answer| of(Some(*answer))));
                if answers.is_empty() {
                    all.insert(of(None));
                }
            }
        }
        report.points = uses.len();
        for ((party, point), uses) in uses {
            let sessions: BTreeSet<_> = uses.iter().map(|one| one.session).collect();
            let abouts: BTreeSet<_> = uses.iter().map(|one| &one.about).collect();
            let answers: BTreeSet<_> = uses.iter().filter_map(|one| one.answer).collect();
            let to: BTreeSet<_> = answers.iter().map(|(to, _)| to).collect();
            report.repeated += usize::from(sessions.len() > 1);
            if abouts.len() > 1 || answers.len() > to.len() {
                let (point, uses) = (point.clone(), uses.into_iter().collect());
                report.reuses.push(Reuse { party, point, uses });
            }
        }
        report
    }
}
