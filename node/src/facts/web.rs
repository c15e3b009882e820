//! What JSON documents on the web say. Only those whose address begins as the operator has listed.

use std::path::Path;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::Unavailable;
use super::config::{FactsError, WebConfig};
use super::http::{Door, check_url, shown};
use super::json;
use super::known::{Found, OwnedAnswer, OwnedQuestion, Seen};

/// One entry of the list.
pub(super) struct Web {
    prefix: String,
    door: Door,
}

impl Web {
    pub(super) fn new(
        config: &WebConfig,
        folder: &Path,
        max_bytes: u32,
    ) -> Result<Self, FactsError> {
        let ca_file = config.ca_file.as_ref().map(|file| folder.join(file));
        let authorization = config.authorization.clone();
        let door = Door::new(config.private, ca_file.as_deref(), authorization, max_bytes)?;
        Ok(Self { prefix: config.prefix.clone(), door })
    }

    /// Whether this entry is for an address, and how well it fits.
    pub(super) fn fits(&self, url: &str) -> Option<usize> {
        url.starts_with(&self.prefix).then_some(self.prefix.len())
    }

    /// Answers questions about one document, which is fetched once.
    pub(super) fn ask(
        &self,
        url: &str,
        questions: &[OwnedQuestion],
        until: Instant,
    ) -> Vec<Result<Found, Unavailable>> {
        let nobody = |reason: Unavailable| questions.iter().map(|_| Err(reason.clone())).collect();
        let uri = match check_url(url, false) {
            Ok(uri) => uri,
            Err(what) => return nobody(Unavailable::new(format!("the address {what}"))),
        };
        let response = match self.door.ask(&uri, None, until) {
            Ok(response) => response,
            Err(reason) => return nobody(reason.by(&shown(&uri))),
        };
        let Some(document) = json::document(&response.body) else {
            return nobody(Unavailable::new("it is no JSON").by(&shown(&uri)));
        };
        let seen = Seen::Document(Sha256::digest(&response.body).into());
        let answer = |question: &OwnedQuestion| {
            let OwnedQuestion::Json { pointer, time, .. } = question else {
                return Err(Unavailable::DEFECT);
            };
            let value = json::at(document, pointer).and_then(json::scalar);
            let value = value.ok_or_else(|| {
                let what = format!("there is no truth, number or text at {pointer:?}");
                Unavailable::new(what).by(&shown(&uri))
            })?;
            let time = match time {
                Some(pointer) => json::at(document, pointer).and_then(json::moment),
                None => response.time,
            };
            Ok(Found { answer: OwnedAnswer::Json { value, time }, seen })
        };
        questions.iter().map(answer).collect()
    }
}
