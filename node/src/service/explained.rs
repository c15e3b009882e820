//! What a denial shows, and to whom: the whole judgement only to those whom the policy names.

use quorate_core::request::SignedRequest;
use serde_json::Value;

use super::Service;
use super::records::policy_of;
use crate::handle::ServiceError;
use crate::policy_file;

impl Service {
    /// A denial of this party's own, with the judgement that led to it, if the asker may see that. Facts
    /// are in it as results only.
    pub(super) fn explained(&self, error: ServiceError, request: &[u8]) -> ServiceError {
        match error {
            ServiceError::Denied { rule, reason, party, .. } => {
                let verdict = self.verdict(request).map(Box::new);
                ServiceError::Denied { rule, reason, party, verdict }
            }
            other => other,
        }
    }

    fn verdict(&self, request: &[u8]) -> Option<Value> {
        // Parsing has checked the client's signature: it is who asks.
        let reading = self.read(request).ok()?;
        let request = SignedRequest::parse(request).ok()?;
        let public = Self::public_of(&reading.row).ok()?;
        let policy = policy_of(&reading.row, &public).ok()?;
        let named = policy.names(request.client());
        named.then(|| policy_file::judge(&policy, &request, &self.facts_of(&reading)).json())
    }
}
