//! Judging a request: by the client's own bytes, this party's copy of the policy, its clock and its
//! counters. No coordinator's word counts.

use std::ops::Deref;

use quorate_core::derive::{Derivation, DerivedKey};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::{self, Amount, Denial, Reason, Trace};
use quorate_core::request::{ClientKey, SignedRequest};

use super::facts::Inquire;
use super::{Curve, Service};
use crate::handle::ServiceError;
use crate::message::{Outcome, Rejection};
use crate::store::{Charge, Grant, KeyRow, Spend, SpendOutcome};

/// A request, read by this party itself. No policy was asked.
pub(super) struct Reading {
    pub(super) row: KeyRow,
    pub(super) derivation: Derivation,
    /// Y: the key itself, or the descendant that the client asks for.
    pub(super) derived: DerivedKey<Curve>,
    pub(super) hash: Digest,
    pub(super) expires: u64,
    /// What is signed, computed here.
    pub(super) digest: Digest,
    /// The signature, if there is one.
    pub(super) outcome: Option<Outcome>,
    /// Since when it has been waiting here for its delays, Unix seconds.
    pub(super) since: Option<u64>,
    /// Who has vetoed it.
    pub(super) vetoes: Vec<ClientKey>,
}

/// A request that this party's policy allows.
pub(super) struct Judged {
    reading: Reading,
    /// The rules that allow it, in the policy's order.
    allowed: Vec<Allowed>,
}

impl Deref for Judged {
    type Target = Reading;

    fn deref(&self) -> &Reading {
        &self.reading
    }
}

/// A rule that allows a request, if its limits have room.
struct Allowed {
    rule: String,
    charges: Vec<policy::Charge>,
    /// What counts for the whole key, whether or not a limit asks for it today.
    base: Vec<([u8; 16], Amount)>,
}

fn fault(error: &ServiceError) -> Rejection {
    tracing::error!(%error, "nothing is signed");
    Rejection::Fault
}

fn denied(denial: &Denial) -> Rejection {
    Rejection::Denied { rule: denial.code().to_owned(), message: denial.to_string() }
}

impl Service {
    /// Parses the client's bytes and finds the key.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Reading, Rejection> {
        let bad = |error: &dyn std::fmt::Display| Rejection::BadRequest(error.to_string());
        let request = SignedRequest::parse(bytes).map_err(|error| bad(&error))?;
        let key = *request.key().as_bytes();
        let row =
            self.active_key(&key).map_err(|_| Rejection::Fault)?.ok_or(Rejection::UnknownKey)?;
        let public = Self::public_of(&row).map_err(|error| fault(&error))?;
        if *request.network().as_bytes() != self.network_id {
            return Err(Rejection::BadRequest("the request is for another network".into()));
        }
        let derivation = *request.derivation();
        let root = public.extended().ok_or(Rejection::Fault)?;
        let derived = root.derive(&derivation).map_err(|error| bad(&error))?;
        let (hash, expires) = (request.hash(), request.expires());
        let digest = policy::digest(&request.payload())
            .map_err(|error| denied(&Denial { rule: None, reason: Reason::Payload(error) }))?;
        let memory = self.store.memory(hash).map_err(|_| Rejection::Fault)?;
        let outcome = memory
            .request
            .and_then(|row| row.outcome)
            .and_then(|bytes| quorate_core::wire::decode(&bytes).ok());
        let (since, vetoes) = (memory.since, memory.vetoers.into_iter().map(ClientKey).collect());
        Ok(Reading { row, derivation, derived, hash, expires, digest, outcome, since, vetoes })
    }

    /// Asks the key's policy, by what is known, and what it would have to know ([`Service::weigh`]).
    /// [`Rejection::Waiting`] if delays alone stand in the way, and end before the request does; nothing is
    /// recorded of it here.
    pub(super) fn judge_reading(
        &self,
        bytes: &[u8],
        reading: Reading,
    ) -> Result<(Result<Judged, Rejection>, Option<Inquire>), Rejection> {
        let request = SignedRequest::parse(bytes)
            .map_err(|error| Rejection::BadRequest(error.to_string()))?;
        let public = Self::public_of(&reading.row).map_err(|error| fault(&error))?;
        let policy = self.policy_of(&reading.row, &public).map_err(|error| fault(&error))?;
        self.may_sign(&reading.row, &policy)?;
        let mut allowed = Vec::new();
        let mut watch = |step: Trace<'_>| {
            if let Trace::Allowed(grant) = step {
                let (rule, charges) = (grant.rule.to_owned(), grant.charges.to_vec());
                allowed.push(Allowed { rule, charges, base: grant.base.to_vec() });
            }
        };
        let facts = self.facts_of(&reading);
        let inquire = self.inquire_about(&policy, &request, &facts);
        let refused = policy.judge(&request, &facts, &mut watch).err().map(|denial| {
            let expires = reading.expires;
            match policy.opens_at(&request, &facts) {
                Some(until) if until < expires => Rejection::Waiting { until },
                Some(until) => {
                    let reason = Reason::ExpiresFirst { expires, until };
                    denied(&Denial { reason, ..denial })
                }
                None => denied(&denial),
            }
        });
        let judged = match refused {
            Some(reason) => Err(reason),
            None => Ok(Judged { reading, allowed }),
        };
        Ok((judged, inquire))
    }

    /// Whether one of the rules has room now.
    pub(super) fn has_room(&self, judged: &Judged) -> Result<(), Rejection> {
        let grants = judged.allowed.iter().map(|allowed| allowed.grant(Vec::new())).collect();
        let spend = self.spend_of(judged, grants);
        over_limit(&self.store.check_spend(&spend).map_err(|_| Rejection::Fault)?)
    }

    /// Counts the request by the first rule that has room and admits the quorum, and records the release:
    /// all of it durably, or nothing.
    pub(super) fn count(
        &self,
        judged: &Judged,
        session: &Digest,
        quorum: PartySet,
        holders: PartySet,
    ) -> Result<(), Rejection> {
        let admits = |allowed: &&Allowed| {
            allowed.charges.iter().all(|charge| charge.strict.admits(&quorum, &holders))
        };
        let admitted = judged.allowed.iter().filter(admits);
        let grants: Vec<Grant> = admitted
            .map(|allowed| allowed.grant(self.record(judged, allowed, session, quorum)))
            .collect();
        if grants.is_empty() {
            return Err(Rejection::Denied {
                rule: "strict".to_owned(),
                message: format!("a strict limit of the policy does not admit the quorum {quorum}"),
            });
        }
        match self.store.spend(self.spend_of(judged, grants)) {
            Ok(outcome) => over_limit(&outcome),
            Err(error) => {
                tracing::error!(%error, "nothing is signed: the spend could not be stored");
                Err(Rejection::Fault)
            }
        }
    }

    fn spend_of(&self, judged: &Judged, grants: Vec<Grant>) -> Spend {
        Spend {
            request: judged.hash,
            key: judged.row.key,
            now: self.now(),
            expires: judged.expires,
            grants,
        }
    }

    fn record(
        &self,
        judged: &Judged,
        allowed: &Allowed,
        session: &Digest,
        quorum: PartySet,
    ) -> Vec<u8> {
        let members: Vec<u16> = quorum.iter().map(PartyId::number).collect();
        let charges = allowed.charges.iter().map(|charge| {
            serde_json::json!({
                "series": hex::encode(charge.series), "amount": charge.amount.to_string(),
                "window": charge.window, "max": charge.max.to_string(),
            })
        });
        let mut record = serde_json::json!({
            "event": "released", "at": self.now(), "key": hex::encode(judged.row.key),
            "derivation": judged.derivation.to_string(), "request": hex::encode(judged.hash),
            "session": hex::encode(session), "digest": hex::encode(judged.digest),
            "quorum": members, "rule": allowed.rule,
            "spend": allowed.spend().map(|wei| wei.to_string()),
            "charges": charges.collect::<Vec<_>>(),
        });
        if let (Some(facts), Some(fields)) =
            (self.record_of_facts(&judged.hash), record.as_object_mut())
        {
            fields.insert("facts".to_owned(), facts);
        }
        record.to_string().into_bytes()
    }
}

impl Judged {
    /// Parties that every rule's strict limits ask for: without them no quorum can be.
    pub(super) fn required(&self) -> PartySet {
        let mut rules = self.allowed.iter().map(Allowed::strict_parties);
        let first = rules.next().unwrap_or(PartySet::EMPTY);
        rules.fold(first, |all, rule| all.difference(&first.difference(&rule)))
    }

    /// Parties that the first rule's strict limits ask for: with them it is the one that counts.
    pub(super) fn preferred(&self) -> PartySet {
        self.allowed.first().map_or(PartySet::EMPTY, Allowed::strict_parties)
    }
}

impl Allowed {
    fn strict_parties(&self) -> PartySet {
        let parties = self.charges.iter().filter_map(|charge| match charge.strict {
            policy::Strict::Party(party) => Some(party),
            _ => None,
        });
        parties.collect()
    }

    /// What a transaction can cost, fees included, wei.
    fn spend(&self) -> Option<Amount> {
        let series = policy::Measure::Spend.series(None);
        self.base.iter().find(|(of, _)| *of == series).map(|(_, amount)| *amount)
    }

    fn grant(&self, audit: Vec<u8>) -> Grant {
        let limits = self.charges.iter().map(|charge| Charge {
            series: charge.series,
            amount: charge.amount.to_be_bytes(),
            window: Some((charge.window, charge.max.to_be_bytes())),
        });
        let base = self.base.iter().map(|(series, amount)| Charge {
            series: *series,
            amount: amount.to_be_bytes(),
            window: None,
        });
        Grant { charges: limits.chain(base).collect(), audit }
    }
}

fn over_limit(outcome: &SpendOutcome) -> Result<(), Rejection> {
    let SpendOutcome::OverLimit { spent, limit } = outcome else { return Ok(()) };
    let (spent, limit) = (Amount::from_be_bytes(spent), Amount::from_be_bytes(limit));
    Err(Rejection::Denied {
        rule: "window".to_owned(),
        message: format!(
            "a limit of the key's policy would be exceeded: {spent} of {limit} are used in its time \
             window"
        ),
    })
}
