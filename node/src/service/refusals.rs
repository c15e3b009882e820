//! What this party refused, in its log and its audit log: of whom, which request, by which rule, and by what
//! it knew of the world.

use quorate_core::hash::Digest;
use quorate_core::party::PartyId;
use quorate_core::request::SignedRequest;
use serde_json::{Map, Value};

use super::Service;
use super::coordinate::describe;
use super::incidents::Asker;
use crate::message::Rejection;

impl Service {
    /// A proposal of a coordinator, or its start of a session, was refused.
    pub(super) fn audit_refusal(
        &mut self,
        from: PartyId,
        session: &Digest,
        request: Option<&[u8]>,
        reason: &Rejection,
    ) {
        tracing::info!(coordinator = %from, "refused a proposal: {}", describe(reason));
        let mut whole = Map::new();
        whole.insert("coordinator".to_owned(), from.number().into());
        whole.insert("session".to_owned(), hex::encode(session).into());
        self.record_refusal(Asker::Party(from), whole, request, reason);
    }

    /// A client was refused that asked here, and whose request is its own.
    pub(super) fn audit_denial(&mut self, request: &[u8], reason: &Rejection) {
        let Ok(parsed) = SignedRequest::parse(request) else { return };
        tracing::info!(client = %parsed.client(), "refused a request: {}", describe(reason));
        let mut whole = Map::new();
        whole.insert("coordinator".to_owned(), self.me.number().into());
        self.record_refusal(Asker::Client(*parsed.client()), whole, Some(request), reason);
    }

    fn record_refusal(
        &mut self,
        asker: Asker,
        whole: Map<String, Value>,
        request: Option<&[u8]>,
        reason: &Rejection,
    ) {
        let Some(left_out) = self.incidents.may_audit(asker, self.now()) else { return };
        let mut record = whole;
        let mut add = |name: &str, value: Value| drop(record.insert(name.to_owned(), value));
        add("event", "refused".into());
        add("reason", describe(reason).into());
        if let Rejection::Denied { rule, .. } = reason {
            add("rule", super::incidents::clip(rule).into());
        }
        if left_out > 0 {
            add("left_out_before", left_out.into());
        }
        if let Some(parsed) = request.and_then(|bytes| SignedRequest::parse(bytes).ok()) {
            let hash = parsed.hash();
            add("request", hex::encode(hash).into());
            add("key", hex::encode(parsed.key().as_bytes()).into());
            add("client", parsed.client().to_string().into());
            if let Some(facts) = self.record_of_facts(&hash) {
                add("facts", facts);
            }
        }
        self.audit(record.into());
    }
}
