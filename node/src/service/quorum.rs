//! The coordinator's part in a signature, from the start: choose 2T−1 parties, combine their shares,
//! and try another quorum when one fails (`docs/PROTOCOL.md` §6.4).

use quorate_core::ecdsa::{Combiner, Failure, Salt, SignError, SignTerms};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};

use super::coordinate::{Asked, Coordination, MORE_ATTEMPTS, answer, to_error};
use super::facts::{Waiting, Weighed};
use super::records::damaged;
use super::{Curve, Service};
use crate::handle::ServiceError;
use crate::message::{Outcome, PeerMessage};

impl Coordination {
    /// Its request, for the next attempt.
    fn again(self) -> Asked {
        let Self { request, attempt, started, replies, .. } = self;
        Asked { request, attempt: attempt + 1, started, replies }
    }
}

impl Service {
    /// Of those that accepted: whoever a strict limit names, then the fewest strikes, and turning with the
    /// attempts, so that a liar among equals does not stay in.
    fn choose(&self, c: &Coordination) -> PartySet {
        let mut ranked: Vec<(bool, u32, usize, PartyId)> = c
            .accepted
            .keys()
            .enumerate()
            .map(|(place, party)| {
                let strikes = self.strikes.get(party).copied().unwrap_or_default();
                let turned = (place + c.attempt as usize - 1) % c.accepted.len().max(1);
                (!c.preferred.contains(*party), strikes, turned, *party)
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().take(c.need).map(|(.., party)| party).collect()
    }

    pub(super) fn start_quorum(&mut self, session: &Digest) {
        let Some(c) = self.coordinations.get(session) else { return };
        let quorum = self.choose(c);
        let salts: Vec<(PartyId, Salt)> =
            quorum.iter().filter_map(|p| c.accepted.get(&p).map(|salt| (p, *salt))).collect();
        let others = c.holders.difference(&quorum);
        let request = c.request.clone();
        match self.combiner(quorum, &salts, &request) {
            Ok(combiner) => {
                let deadline = self.clock.instant() + self.deadlines.sign;
                // Late messages of it are no nonsense.
                let _ = self.remembered.is_new(self.me, combiner.session());
                if let Some(c) = self.coordinations.get_mut(session) {
                    c.running = Some((quorum, Box::new(combiner)));
                    c.deadline = deadline;
                }
                for to in quorum.iter() {
                    let salts = salts.clone();
                    self.send(to, PeerMessage::StartSign { session: *session, quorum, salts });
                }
                for to in others.iter() {
                    self.send(to, PeerMessage::CancelSign { session: *session });
                }
            }
            Err(error) => self.end(session, Err(error)),
        }
    }

    fn combiner(
        &self,
        quorum: PartySet,
        salts: &[(PartyId, Salt)],
        request: &[u8],
    ) -> Result<Combiner<Curve, { super::MAX_QUORUM }>, ServiceError> {
        let reading = self.read(request).map_err(|reason| to_error(&reason, self.me))?;
        let public = Self::public_of(&reading.row)?;
        let (coordinator, derivation) = (self.me, reading.derivation);
        let digest = reading.digest;
        let terms = SignTerms { quorum, coordinator, derivation, digest };
        Combiner::new(&public, terms, salts).map_err(|error| match error {
            SignError::PublicRecord => damaged(&reading.row, "its key is no point"),
            other => ServiceError::bad_request(other),
        })
    }

    /// Gives R1 and R2 to the sessions that this party coordinates under D0; whether there is one.
    pub(super) fn collect(
        &mut self,
        from: PartyId,
        round: u8,
        inputs: &Digest,
        bytes: &[u8],
    ) -> bool {
        let running = |c: &Coordination| {
            c.running.as_ref().is_some_and(|(_, combiner)| combiner.session() == inputs)
        };
        let concerned = self.coordinations.iter().filter(|(_, c)| running(c));
        let concerned: Vec<Digest> = concerned.map(|(session, _)| *session).collect();
        for session in &concerned {
            self.combine(from, round, session, bytes);
        }
        !concerned.is_empty()
    }

    fn combine(&mut self, from: PartyId, round: u8, session: &Digest, bytes: &[u8]) {
        let Some(c) = self.coordinations.get_mut(session) else { return };
        let Some((quorum, combiner)) = &mut c.running else { return };
        let quorum = *quorum;
        let taken = match round {
            1 => combiner.handle_nonce(from, bytes),
            _ => combiner.handle_share(from, bytes),
        };
        match taken {
            Ok(None) => {}
            Ok(Some(signature)) => {
                let outcome = Outcome {
                    r: signature.r,
                    s: signature.s,
                    y_parity: signature.recovery_id & 1 == 1,
                    quorum,
                    session: *session,
                };
                self.finish(session, &outcome);
            }
            Err(Failure::Refused(refusal)) => self.incidents.add(from, refusal),
            Err(Failure::Aborted(abort)) => {
                tracing::warn!(%abort, session = hex::encode(session), "a signature failed");
                let suspects = match abort {
                    quorate_core::session::Abort::Culprit(party, _) => {
                        self.incidents.add(party, abort);
                        [party].into_iter().collect()
                    }
                    _ => quorum,
                };
                self.retry(session, suspects);
            }
        }
    }

    fn finish(&mut self, session: &Digest, outcome: &Outcome) {
        let Some(c) = self.coordinations.get(session) else { return };
        let (request, holders, started) = (c.request.clone(), c.holders, c.started);
        for party in outcome.quorum.iter() {
            self.strikes.remove(&party);
        }
        if let Ok(reading) = self.read(&request)
            && let Err(error) = self.keep_outcome(&reading, outcome)
        {
            tracing::error!(%error, "a signature could not be recorded");
        }
        for to in holders.without(self.me).iter() {
            let (request, outcome) = (request.clone(), outcome.clone());
            self.send(to, PeerMessage::Signed { session: *session, request, outcome });
        }
        let result = self.signed(&request, outcome, started, false);
        self.end(session, result);
    }

    /// Gives up this session and tries another, unless it was the last; a spend still counts once.
    pub(super) fn retry(&mut self, session: &Digest, suspects: PartySet) {
        let Some(c) = self.coordinations.remove(session) else { return };
        for party in suspects.iter() {
            let strikes = self.strikes.entry(party).or_default();
            *strikes = strikes.saturating_add(1);
        }
        for to in c.holders.iter() {
            self.send(to, PeerMessage::CancelSign { session: *session });
        }
        let last = c.attempt as usize >= c.holders.len() + MORE_ATTEMPTS;
        match self.weigh_to_ask(&c.request) {
            Ok(Weighed::Allowed(judged)) if !last => {
                self.propose_signature(c.again(), &judged);
            }
            Ok(Weighed::Asks(inquire)) if !last => {
                self.inquire(inquire, Waiting::Ask(c.again(), false));
            }
            Ok(Weighed::Allowed(_) | Weighed::Asks(_)) => {
                let attempts = c.attempt;
                let reason = format!(
                    "no signature in {attempts} sessions with different quorums; last suspects: parties {suspects}"
                );
                let error = match c.rejected.is_empty() {
                    true => ServiceError::ProtocolFailure { reason, culprits: Vec::new() },
                    false => c.lack(),
                };
                answer(c.replies, &Err(error));
            }
            Ok(Weighed::Refused(reason)) | Err(reason) => {
                self.audit_denial(&c.request, &reason);
                answer(c.replies, &Err(to_error(&reason, self.me)));
            }
        }
    }
}
