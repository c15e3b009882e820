//! What this party refused, in its log and its audit log: of whom, which request, by which rule, and by what
//! it knew of the world.

use quorate_core::hash::Digest;
use quorate_core::party::PartyId;
use quorate_core::request::SignedRequest;
use serde_json::{Value, json};

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
        let whole = json!({ "coordinator": from.number(), "session": hex::encode(session) });
        self.record_refusal(Asker::Party(from), whole, request, reason);
    }

    /// A client was refused that asked here, and whose request is its own.
    pub(super) fn audit_denial(&mut self, request: &[u8], reason: &Rejection) {
        let Ok(parsed) = SignedRequest::parse(request) else { return };
        tracing::info!(client = %parsed.client(), "refused a request: {}", describe(reason));
        let whole = json!({ "coordinator": self.me.number() });
        self.record_refusal(Asker::Client(*parsed.client()), whole, Some(request), reason);
    }

    fn record_refusal(
        &mut self,
        asker: Asker,
        mut record: Value,
        request: Option<&[u8]>,
        reason: &Rejection,
    ) {
        let Some(left_out) = self.incidents.may_audit(asker, self.now()) else { return };
        record["event"] = "refused".into();
        record["reason"] = describe(reason).into();
        if let Rejection::Denied { rule, .. } = reason {
            record["rule"] = super::incidents::clip(rule).into();
        }
        if left_out > 0 {
            record["left_out_before"] = left_out.into();
        }
        if let Some(parsed) = request.and_then(|bytes| SignedRequest::parse(bytes).ok()) {
            let hash = parsed.hash();
            record["request"] = hex::encode(hash).into();
            record["key"] = hex::encode(parsed.key().as_bytes()).into();
            record["client"] = parsed.client().to_string().into();
            if let Some(facts) = self.record_of_facts(&hash) {
                record["facts"] = facts;
            }
        }
        self.audit(record);
    }
}
