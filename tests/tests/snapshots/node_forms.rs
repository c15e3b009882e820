//! The node's forms: frames, messages between parties, rows of the store, and the JSON of the API.

use quorate_node::api::error_body;
use quorate_node::audit::{
    Countersigned, CountersignedForm, EntryForm, ExportLine, HeadForm, Page,
};
use quorate_node::handle::{
    ChangeInfo, HsmCalls, KeyInfo, NextPolicy, PartyPolicy, PeerInfo, PolicyInfo, ServiceError,
    Signed, SignedHeadInfo, Status, Vetoed, Waiting, WaitingPage, WaitingRequest,
};
use quorate_node::message::{MessageError, PeerMessage, Rejection};
use quorate_node::network::frame::{Frame, check_kind, check_length};
use quorate_tests::node_values;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Form;

pub fn forms() -> Vec<Form> {
    let mut forms = frames();
    forms.extend(messages());
    forms.extend(rows());
    forms.extend(answers());
    forms
}

fn frames() -> Vec<Form> {
    let again = |bytes: &[u8]| {
        let length = check_length(bytes.first_chunk().copied()?).ok()?;
        let body = bytes.get(5..)?;
        // The length counts the kind.
        let whole = length == body.len() + 1;
        let kind = check_kind(*bytes.get(4)?, body.len()).ok().filter(|_| whole)?;
        Some(Frame::decode(kind, body.to_vec()).ok()?.encode())
    };
    let form = |(name, frame): (&str, Frame)| {
        Form::new(format!("node-frame-{name}"), frame.encode(), again)
    };
    node_values::frames().into_iter().map(form).collect()
}

/// One of every kind, in the order of their codes.
fn messages() -> Vec<Form> {
    let all = node_values::messages();
    // A kind that is new must come into the list.
    let unknown = PeerMessage::decode(&[1, all.len() as u8]);
    assert_eq!(unknown, Err(MessageError::UnknownKind(all.len() as u8)));
    let form = |(place, (name, message)): (usize, (&str, PeerMessage))| {
        let bytes = message.encode();
        assert_eq!(usize::from(bytes[1]), place, "{name}: another, or no, message before it");
        Form::new(format!("node-message-{name}"), bytes, |bytes| {
            Some(PeerMessage::decode(bytes).ok()?.encode())
        })
    };
    all.into_iter().enumerate().map(form).collect()
}

fn rows() -> Vec<Form> {
    vec![
        Form::of("node-row-key", &node_values::key_row()),
        Form::of("node-row-change", &node_values::change_row()),
        Form::of("node-row-request", &node_values::request_row()),
        Form::of("node-row-waiting", &node_values::waiting_row()),
        Form::of("node-row-veto", &node_values::veto_row()),
        Form::of("node-rejection-waiting", &Rejection::Waiting { until: 1_800_000_000 }),
        Form::of("node-row-identity-head", &node_values::identity_head().0),
        Form::of("node-row-countersigned-head", &node_values::countersignature()),
        Form::of("node-rejection-hsm-silent", &Rejection::HsmSilent { seconds: 300 }),
    ]
}

/// Answers are frozen by their names, order and types. Readers ignore white space, so it is not part of it.
fn json<T: Serialize + DeserializeOwned>(name: &str, value: &T) -> Form {
    let name = format!("node-api-{name}");
    Form::new(name, serde_json::to_vec(value).unwrap(), |bytes| {
        serde_json::to_vec(&serde_json::from_slice::<T>(bytes).ok()?).ok()
    })
}

fn answers() -> Vec<Form> {
    let next = NextPolicy { version: 3, due: 1_800_000_000, problem: None };
    let key = KeyInfo {
        key: "11".repeat(16),
        name: "pay".to_owned(),
        scheme: "ecdsa-secp256k1".to_owned(),
        state: "active".to_owned(),
        public_key: "02".repeat(33),
        address: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".to_owned(),
        chain_code: "33".repeat(32),
        xpub: None,
        threshold: 2,
        quorum: 3,
        parties: vec![1, 2, 3, 4],
        epoch: 0,
        policy_hash: "44".repeat(32),
        policy_version: 2,
        frozen: false,
        next_policy: Some(next.clone()),
        policy_problem: None,
        created: 1_800_000_000,
        policy: Some(serde_json::json!({ "chains": [1] })),
    };
    let signed = Signed {
        raw_transaction: Some("0x02".to_owned()),
        hash: "0x55".to_owned(),
        signature: "0x66".to_owned(),
        r: "66".repeat(32),
        s: "77".repeat(32),
        y_parity: 1,
        signers: vec![1, 2, 4],
        session: "88".repeat(32),
        ms: 12,
        repeated: false,
    };
    let peer = PeerInfo {
        party: 2,
        name: "bob".to_owned(),
        connected: true,
        round_trip_ms: Some(0.5),
        last_error: None,
        refused: 1,
        last_refusal: Some("a message".to_owned()),
        rolled_back: false,
    };
    let status = Status {
        open_shares: 1,
        rolled_back: false,
        party: 1,
        name: "alice".to_owned(),
        network: "99".repeat(16),
        membership: "aa".repeat(32),
        version: "0.1.0".to_owned(),
        hsm: "software emulation".to_owned(),
        hsm_calls: HsmCalls {
            waiting: 2,
            overdue: 1,
            silent_seconds: Some(30),
            silent_since: Some(1_800_000_000),
        },
        address: "10.0.0.1:7001".to_owned(),
        peers: vec![peer],
        keys: 1,
        sessions: 0,
        audit_entries: 8,
        countersigned_by: vec![2, 4],
        signed_head: Some(SignedHeadInfo {
            generation: 0,
            number: 7,
            hash: "66".repeat(32),
            time: 1_800_000_000,
        }),
    };
    let mut forms = vec![json("key", &key), json("signed", &signed), json("status", &status)];
    forms.push(json("policy", &policy(next)));
    forms.extend(audit());
    forms.extend(waiting());
    forms.extend(errors().into_iter().map(|error| {
        let body = error_body(&error);
        let code = body["error"]["code"].as_str().unwrap().to_owned();
        json::<serde_json::Value>(&format!("error-{code}"), &body)
    }));
    forms
}

/// What is said of a request that waits, and of its veto.
fn waiting() -> Vec<Form> {
    let client = format!("ed25519:{}", "33".repeat(32));
    let request = WaitingRequest {
        request: "11".repeat(32),
        key: "22".repeat(16),
        name: "pay".to_owned(),
        client: client.clone(),
        since: 1_800_000_000,
        expires: 1_800_100_000,
        state: "waiting".to_owned(),
        until: Some(1_800_003_600),
        reason: None,
        vetoed_by: Vec::new(),
        bytes: Some("01".to_owned()),
    };
    let vetoed = Vetoed {
        request: "11".repeat(32),
        key: "22".repeat(16),
        vetoer: client,
        repeated: false,
        waiting: true,
        released: false,
        told: vec![2, 3],
    };
    let (known_to, reasons) = (vec![1, 2, 3], vec![(4, "not connected".to_owned())]);
    let waiting = Waiting { until: 1_800_003_600, known_to, reasons };
    vec![
        json("waiting", &waiting),
        json("waiting-request", &request),
        json("waiting-page", &WaitingPage { requests: vec![request], more: false }),
        json("vetoed", &vetoed),
    ]
}

/// A policy and its history.
fn policy(next: NextPolicy) -> PolicyInfo {
    let change = ChangeInfo {
        number: 2,
        action: "replace".to_owned(),
        change: "55".repeat(32),
        policy_hash: Some("44".repeat(32)),
        signers: vec![format!("ed25519:{}", "66".repeat(32))],
        seen: 1_800_000_000,
        due: 1_800_003_600,
        in_force: None,
    };
    let party = PartyPolicy {
        party: 2,
        connected: true,
        version: Some(1),
        announced: Some(2),
        holds: None,
        held: None,
    };
    PolicyInfo {
        key: "11".repeat(16),
        name: "pay".to_owned(),
        version: 1,
        policy_hash: "44".repeat(32),
        frozen: false,
        holds: 0,
        next_policy: Some(next),
        next_hash: Some("55".repeat(32)),
        problem: None,
        controllers: Some(serde_json::json!({ "at_least": 1 })),
        history: vec![change],
        parties: vec![party],
    }
}

/// The audit log, as a page and as lines of an export.
fn audit() -> Vec<Form> {
    let (head, whose) = node_values::identity_head();
    let head = HeadForm::new(&head, &whose);
    let given = node_values::countersignature();
    let one = Countersigned { given, identity: whose.identity };
    let countersigned = vec![CountersignedForm::new(&one, &whose)];
    let entry = EntryForm {
        number: 7,
        previous: "55".repeat(32),
        hash: "66".repeat(32),
        record: Some(r#"{"event":"released"}"#.to_owned()),
        record_hex: None,
    };
    let damaged = EntryForm { record: None, record_hex: Some("00ff".to_owned()), ..entry.clone() };
    let page = Page {
        entries: vec![entry.clone(), damaged],
        last: 8,
        generation: 0,
        signed_head: Some(head.clone()),
        countersigned: countersigned.clone(),
    };
    let line = |name: &str, line: ExportLine| {
        Form::new(format!("node-export-{name}"), serde_json::to_vec(&line).unwrap(), |bytes| {
            serde_json::to_vec(&ExportLine::parse(bytes)?).ok()
        })
    };
    vec![
        json("audit", &page),
        line("entry", ExportLine::Entry(entry)),
        line("signed-head", ExportLine::End { signed_head: Some(Box::new(head)), countersigned }),
    ]
}

/// One of every kind.
fn errors() -> Vec<ServiceError> {
    let reason = || "why".to_owned();
    let waiting = Waiting { until: 1_800_003_600, known_to: vec![1], reasons: Vec::new() };
    let all = vec![
        ServiceError::Waiting(waiting),
        ServiceError::UnknownRequest { request: "11".repeat(32) },
        ServiceError::Denied {
            rule: "value".to_owned(),
            reason: reason(),
            party: 2,
            verdict: None,
        },
        ServiceError::Unauthorised { reason: reason() },
        ServiceError::BadRequest { reason: reason() },
        ServiceError::UnknownKey { key: "pay".to_owned() },
        ServiceError::Conflict { reason: reason() },
        ServiceError::NotEnoughParties { need: 3, have: vec![1], reasons: vec![(2, reason())] },
        ServiceError::ProtocolFailure { reason: reason(), culprits: vec![3] },
        ServiceError::Deadline { waiting_for: vec![4], phase: "round 2".to_owned() },
        ServiceError::Hsm { reason: reason(), exit: 20 },
        ServiceError::Sealed { reason: reason() },
        ServiceError::Busy,
        ServiceError::Local { reason: reason() },
    ];
    for error in &all {
        // A new kind does not compile here until it is in the list above.
        match error {
            ServiceError::Waiting(_)
            | ServiceError::UnknownRequest { .. }
            | ServiceError::Denied { .. }
            | ServiceError::Unauthorised { .. }
            | ServiceError::BadRequest { .. }
            | ServiceError::UnknownKey { .. }
            | ServiceError::Conflict { .. }
            | ServiceError::NotEnoughParties { .. }
            | ServiceError::ProtocolFailure { .. }
            | ServiceError::Deadline { .. }
            | ServiceError::Hsm { .. }
            | ServiceError::Sealed { .. }
            | ServiceError::Busy
            | ServiceError::Local { .. } => {}
        }
    }
    all
}
