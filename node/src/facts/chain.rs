//! What a chain says: one endpoint after the other until one answers, or several that must agree. All
//! questions of one request with the same confirmations are asked about one block, by its hash.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Unavailable;
use super::config::{ChainConfig, FactsError};
use super::http::{Door, check_url};
use super::known::{Found, OwnedQuestion};
use super::rpc::{Block, Endpoint, Failure};

/// What came of each question, in their order.
type Results = Vec<Result<Found, Unavailable>>;

/// A chain and who tells of it.
pub(super) struct Chain {
    pub(super) id: u64,
    endpoints: Vec<Endpoint>,
    agree: usize,
}

/// One block, and what an endpoint answered about it.
struct Look {
    block: Block,
    results: Results,
}

impl Chain {
    pub(super) fn new(
        config: &ChainConfig,
        folder: &Path,
        max_bytes: u32,
    ) -> Result<Self, FactsError> {
        let ca_file = config.ca_file.as_ref().map(|file| folder.join(file));
        let authorization = config.authorization.clone();
        let door = Door::new(config.private, ca_file.as_deref(), authorization, max_bytes)?;
        let door = Arc::new(door);
        let endpoint = |(index, url): (usize, &super::config::SecretText)| {
            let field = || format!("rpc[{index}]");
            check_url(url.expose(), config.private)
                .map(|uri| Endpoint::new(config.id, uri, Arc::clone(&door)))
                .map_err(|what| FactsError { field: field(), what: what.to_owned() })
        };
        let endpoints: Result<Vec<_>, _> = config.rpc.iter().enumerate().map(endpoint).collect();
        Ok(Self { id: config.id, endpoints: endpoints?, agree: config.agree.into() })
    }

    /// Answers questions that all ask for the state so many blocks below the newest.
    pub(super) fn ask(
        &self,
        confirmations: u16,
        questions: &[OwnedQuestion],
        until: Instant,
    ) -> Results {
        match self.agree {
            1 => self.first(confirmations, questions, until),
            agree => self.alike(agree, confirmations, questions, until),
        }
    }

    /// The first endpoint that is of use. What an endpoint says that fails half-way does not count: answers
    /// of two would be about two blocks.
    fn first(&self, confirmations: u16, questions: &[OwnedQuestion], until: Instant) -> Results {
        let mut why = Vec::new();
        for (tried, endpoint) in self.endpoints.iter().enumerate() {
            let now = Instant::now();
            let others = (self.endpoints.len() - tried) as u32;
            // One that hangs leaves time for those behind it.
            let until = now + until.saturating_duration_since(now) / others;
            match look(endpoint, confirmations, questions, until) {
                Ok(look) => return look.results,
                Err(reason) => why.push(reason.by(&endpoint.name())),
            }
        }
        nobody(questions, &Unavailable::all(&why))
    }

    /// What `agree` of them say. The newest block is the newest that so many of them know of, so that no
    /// fewer can push it forwards.
    fn alike(
        &self,
        agree: usize,
        confirmations: u16,
        questions: &[OwnedQuestion],
        until: Instant,
    ) -> Results {
        let (mut why, mut heads) = (Vec::new(), Vec::new());
        let asked =
            at_once(&self.endpoints, |endpoint| endpoint.head(until).map_err(Failure::reason));
        for (endpoint, head) in self.endpoints.iter().zip(asked) {
            match head {
                Ok(head) => heads.push((endpoint, head)),
                Err(reason) => why.push(reason.by(&endpoint.name())),
            }
        }
        let mut numbers: Vec<u64> = heads.iter().map(|(_, head)| *head).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let Some(head) = numbers.get(agree - 1) else {
            return nobody(questions, &Unavailable::all(&why));
        };
        let Some(number) = head.checked_sub(confirmations.into()) else {
            return nobody(questions, &Unavailable::TOO_YOUNG);
        };
        let looks = at_once(&heads, |(endpoint, _)| {
            let block = endpoint.block(Some(number), until).map_err(Failure::reason)?;
            look_at(endpoint, block, questions, until)
        });
        let mut seen = Vec::new();
        for ((endpoint, _), look) in heads.iter().zip(looks) {
            match look {
                Ok(look) => seen.push(look),
                Err(reason) => why.push(reason.by(&endpoint.name())),
            }
        }
        let alike =
            |block: &Block| seen.iter().filter(|look| look.block == *block).count() >= agree;
        let Some(block) = seen.iter().map(|look| look.block).find(alike) else {
            why.push(Unavailable::NOT_ALIKE);
            return nobody(questions, &Unavailable::all(&why));
        };
        let seen: Vec<Look> = seen.into_iter().filter(|look| look.block == block).collect();
        (0..questions.len()).map(|index| most(&seen, index, agree)).collect()
    }
}

/// The answer to one question that so many have given.
fn most(looks: &[Look], index: usize, agree: usize) -> Result<Found, Unavailable> {
    let results = || looks.iter().filter_map(|look| look.results.get(index));
    let alike =
        |found: &&Found| results().filter(|other| other.as_ref() == Ok(*found)).count() >= agree;
    let found = results().filter_map(|result| result.as_ref().ok()).find(alike);
    found.cloned().ok_or_else(|| {
        let why: Vec<_> = results().filter_map(|result| result.as_ref().err().cloned()).collect();
        match why.first() {
            Some(reason) if why.len() == looks.len() => reason.clone(),
            _ => Unavailable::NOT_ALIKE,
        }
    })
}

fn look(
    endpoint: &Endpoint,
    confirmations: u16,
    questions: &[OwnedQuestion],
    until: Instant,
) -> Result<Look, Unavailable> {
    let number = match confirmations {
        0 => None,
        below => {
            let head = endpoint.head(until).map_err(Failure::reason)?;
            Some(head.checked_sub(below.into()).ok_or(Unavailable::TOO_YOUNG)?)
        }
    };
    let block = endpoint.block(number, until).map_err(Failure::reason)?;
    look_at(endpoint, block, questions, until)
}

/// All questions, or the failure of the endpoint.
fn look_at(
    endpoint: &Endpoint,
    block: Block,
    questions: &[OwnedQuestion],
    until: Instant,
) -> Result<Look, Unavailable> {
    let ask = |question| match endpoint.answer(question, &block, until) {
        Ok(found) => Ok(Ok(found)),
        Err(Failure::Question(reason)) => Ok(Err(reason.by(&endpoint.name()))),
        Err(Failure::Endpoint(reason)) => Err(reason),
    };
    let results: Result<Results, Unavailable> = questions.iter().map(ask).collect();
    Ok(Look { block, results: results? })
}

fn nobody(questions: &[OwnedQuestion], reason: &Unavailable) -> Results {
    questions.iter().map(|_| Err(reason.clone())).collect()
}

/// Makes calls that may each take until the deadline, beside each other.
fn at_once<T: Sync, R: Send>(
    items: &[T],
    call: impl Fn(&T) -> Result<R, Unavailable> + Sync,
) -> Vec<Result<R, Unavailable>> {
    std::thread::scope(|scope| {
        let call = &call;
        let calls: Vec<_> = items.iter().map(|item| scope.spawn(move || call(item))).collect();
        let joined = calls.into_iter().map(|call| call.join());
        joined.map(|result| result.unwrap_or(Err(Unavailable::DEFECT))).collect()
    })
}
