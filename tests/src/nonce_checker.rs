//! Finds a nonce that was used twice. One k_i under two different (Y, h, R) gives away the share, so
//! the checker is fed with every message that ever left any party, whatever crashed, was rolled back or
//! ran in parallel, and afterwards compares what each R_i was used for.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::hash::Digest;
use quorate_core::party::PartyId;
use quorate_core::{ecdsa, schnorr};

/// What a session is about: the public key Y, encoded in one way throughout, and the digest h; for
/// Schnorr, a digest of the message.
pub type About = (Vec<u8>, Digest);

/// What one party sent in one session. A party that came back from a crash or a roll-back may be in the
/// same session again, with another R_i: a share belongs to the R_i that it sent last.
#[derive(Default)]
struct Sent {
    last: Option<Vec<u8>>,
    points: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    shares: BTreeSet<Vec<u8>>,
}

/// One use of a nonce.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The session.
    pub session: Digest,
    /// Y and h.
    pub about: About,
    /// R, if the party sent its share.
    pub nonce: Option<Vec<u8>>,
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

    /// Takes a message that left `party`, in the order in which they left; whatever is no message of a signing session is ignored.
    pub fn record(&mut self, party: PartyId, bytes: &[u8]) {
        let (session, point, nonce) = match (ecdsa::inspect(bytes), schnorr::inspect(bytes)) {
            (Ok(ecdsa::Inspected::Nonce { header, point, .. }), _)
            | (_, Ok(schnorr::Inspected::Nonce { header, point, .. })) => {
                (header.session, Some(point.0.to_vec()), None)
            }
            (Ok(ecdsa::Inspected::Share { header, nonce, .. }), _) => {
                (header.session, None, Some(nonce.0.to_vec()))
            }
            (_, Ok(schnorr::Inspected::Share { header, nonce, .. })) => {
                (header.session, None, Some(nonce.to_vec()))
            }
            _ => return,
        };
        let sent = self.sent.entry((session, party)).or_default();
        if let Some(point) = point {
            sent.points.entry(point.clone()).or_default();
            sent.last = Some(point);
        }
        if let Some(nonce) = nonce {
            sent.shares.insert(nonce.clone());
            if let Some(nonces) = sent.last.as_ref().and_then(|last| sent.points.get_mut(last)) {
                nonces.insert(nonce);
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
            for (point, nonces) in &sent.points {
                let all = uses.entry((*party, point)).or_default();
                let of = |nonce| Use { session: *session, about: about.clone(), nonce };
                all.extend(nonces.iter().cloned().map(|nonce| of(Some(nonce))));
                if nonces.is_empty() {
                    all.insert(of(None));
                }
            }
        }
        report.points = uses.len();
        for ((party, point), uses) in uses {
            let sessions: BTreeSet<_> = uses.iter().map(|one| one.session).collect();
            let abouts: BTreeSet<_> = uses.iter().map(|one| &one.about).collect();
            let nonces: BTreeSet<_> = uses.iter().filter_map(|one| one.nonce.as_ref()).collect();
            report.repeated += usize::from(sessions.len() > 1);
            if abouts.len() > 1 || nonces.len() > 1 {
                let (point, uses) = (point.clone(), uses.into_iter().collect());
                report.reuses.push(Reuse { party, point, uses });
            }
        }
        report
    }
}
