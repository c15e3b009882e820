//! Decoders that need no session around them.

use std::str;
use std::sync::LazyLock;

use quorate_core::curve::{Ed25519, Fixed, P256, PointBytes, Secp256k1};
use quorate_core::derive::{Context, Path};
use quorate_core::key::{
    Confirmation, KeyTerms, OpenedKey, PublicKey, ShareRecord, check_certificate,
};
use quorate_core::nonce::{Inspected, inspect};
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::fact::{Answer, Answers, JsonValue};
use quorate_core::policy::{Amount, Facts, Policy, Question};
use quorate_core::request::{PayloadKind, SignedRequest, Veto};
use quorate_core::session::Header;
use quorate_core::wire;
use quorate_node::message::PeerMessage;
use quorate_node::network::frame::{Frame, check_kind, check_length};
use quorate_node::policy_file;
use quorate_node::store::{KeyRow, RequestRow, VetoRow, WaitingRow};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::simulator::{identity_key, public};

/// What decodes encodes to the same bytes, and all of them.
pub(super) fn canonical<T: Serialize + DeserializeOwned>(input: &[u8]) -> Option<T> {
    let value: T = wire::decode(input).ok()?;
    let mut encoded = Vec::new();
    wire::encode_to(&value, |part| encoded.extend_from_slice(part));
    assert_eq!(encoded, input);
    Some(value)
}

/// The head of a message, and the auditor's view of one.
pub(super) fn header(input: &[u8]) {
    let peeked = Header::peek(input);
    if let Ok(Inspected::Nonce { header, .. } | Inspected::Share { header, .. }) = inspect(input) {
        assert_eq!(peeked, Ok(header));
    }
}

fn points<G: Fixed>(input: &[u8]) {
    if let Ok(bytes) = input.try_into().map(PointBytes) {
        if let Some(point) = G::default().point_from_bytes(&bytes) {
            assert_eq!(G::point_to_bytes(&point), Some(bytes));
        }
        if let Some(point) = G::default().nonce_from_bytes(&bytes) {
            assert_eq!(G::point_to_bytes(&point), Some(bytes));
        }
    }
    if let Ok(bytes) = input.try_into()
        && let Some(scalar) = G::default().scalar_from_bytes(&bytes)
    {
        assert_eq!(G::scalar_to_bytes(&scalar), bytes);
    }
}

type Records = (PublicKey<4>, ShareRecord<4, 4>, Vec<Confirmation<4, 4>>);

/// What is stored of a key, each form by itself and all together: what opens is the right key.
pub(super) fn key_records(input: &[u8]) {
    canonical::<KeyTerms>(input);
    canonical::<PublicKey<4>>(input);
    canonical::<ShareRecord<4, 4>>(input);
    canonical::<Confirmation<4, 4>>(input);
    points::<Secp256k1>(input);
    points::<P256>(input);
    points::<Ed25519>(input);
    let Some((public, record, confirmations)) = canonical::<Records>(input) else { return };
    let identity = |party| Some(self::public(&identity_key(party)));
    let certified = check_certificate(&public, &confirmations, identity).is_ok();
    let Some(own) = confirmations.first() else { return };
    let opened = OpenedKey::<Secp256k1, 4, 4>::open(&public, own.party, record, own);
    if let (true, Ok(opened)) = (certified, opened) {
        let key = public.group_key().map(|key| key.0);
        assert_eq!(Some(*opened.group_key_bytes()), key);
    }
}

/// The input as the answer to every question.
struct Echo<'i>(&'i [u8]);

impl Answers for Echo<'_> {
    fn answer(&self, question: &Question<'_>) -> Option<Answer<'_>> {
        let Self(input) = *self;
        let number = input.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let text = str::from_utf8(input).unwrap_or("17.5");
        Some(match question {
            Question::Call { .. } => Answer::Call(input),
            Question::Balance { .. } => Answer::Balance(Amount::from_u128(number.into())),
            Question::Block { .. } => Answer::Block { number, time: NOW.wrapping_add(number) },
            Question::Json { .. } if input.len().is_multiple_of(2) => {
                Answer::Json { value: JsonValue::Number(text), time: Some(NOW) }
            }
            Question::Json { .. } => Answer::Json { value: JsonValue::Text(text), time: Some(NOW) },
        })
    }
}

/// The clock at which the seeds' requests are judged.
const NOW: u64 = 1_800_000_000;

/// Whatever a policy says: what is allowed without facts stays allowed with them, and where nothing is asked
/// they change nothing.
fn judged(policy: &Policy<'_>, input: &[u8]) {
    static REQUESTS: LazyLock<super::seeds::Seeds> = LazyLock::new(super::seeds::requests);
    for (_, bytes) in REQUESTS.iter() {
        let Ok(request) = SignedRequest::parse(bytes) else { continue };
        let without = Facts { account: Some(Address([7; 20])), ..Facts::at(NOW) };
        let mut asks = false;
        policy.questions(&request, &without, &mut |_| asks = true);
        let echo = Echo(input);
        let with = Facts { answers: &echo, ..without };
        let [before, after] = [without, with].map(|facts| {
            let verdict = policy.judge(&request, &facts, &mut |_| {});
            verdict.map_err(|denial| denial.to_string())
        });
        assert!(after.is_ok() || before.is_err());
        assert!(asks || before.is_ok() == after.is_ok());
    }
}

/// A policy, and what people write in one.
pub(super) fn policy(input: &[u8]) {
    if let Ok(policy) = Policy::parse(input) {
        judged(&policy, input);
        let json = policy_file::to_json(&policy);
        // Texts of the binary form may be longer than people may write them.
        if let Ok(again) = policy_file::from_json(&json) {
            assert_eq!(again.as_slice(), input, "{json}");
        }
        assert!(!policy_file::explain(&policy).is_empty());
    }
    let Ok(text) = str::from_utf8(input) else { return };
    if let Some(amount) = Amount::from_decimal(text) {
        assert_eq!(Amount::from_decimal(&amount.to_string()), Some(amount));
    }
    if let Some(address) = Address::from_hex(text) {
        assert_eq!(Address::from_hex(&address.to_string()), Some(address));
    }
    if let Ok(path) = text.parse::<Path>() {
        assert_eq!(path.to_string().parse(), Ok(path));
    }
    if let Ok(context) = text.parse::<Context>() {
        assert_eq!(context.as_str(), text);
    }
}

/// A veto; or a client's request, judged by the policy of the seeds.
pub(super) fn request(input: &[u8]) {
    if let Ok(veto) = Veto::parse(input) {
        assert_eq!(veto.encode(), input);
    }
    let Ok(request) = SignedRequest::parse(input) else { return };
    let bytes = super::seeds::policy();
    let Ok(policy) = Policy::parse(&bytes) else { return };
    let verdict = policy.judge(&request, &Facts::at(NOW), &mut |_| {});
    // Only the client of the seeds can sign, and it signed no other request. By the policy of the seeds,
    // transactions alone pass without an approval.
    let transaction = request.payload().kind() == PayloadKind::EthereumTransaction;
    assert!(verdict.is_ok() == transaction || request.expires() != super::seeds::EXPIRES);
}

/// The header of a sealed blob.
pub(super) fn sealed_blob(input: &[u8]) {
    if let Ok(header) = quorate_hsm::inspect(input) {
        assert_eq!(input.get(6..22), Some(header.context.network.as_slice()));
    }
}

/// Messages between parties, the frames that they travel in, and rows of the store.
pub(super) fn node(input: &[u8]) {
    if let Ok(message) = PeerMessage::decode(input) {
        assert_eq!(message.encode(), input);
    }
    canonical::<KeyRow>(input);
    canonical::<RequestRow>(input);
    canonical::<WaitingRow>(input);
    canonical::<VetoRow>(input);
    let Some((head, [kind, body @ ..])) = input.split_first_chunk() else { return };
    let whole = check_length(*head).is_ok_and(|length| length == body.len() + 1);
    if let (true, Ok(kind)) = (whole, check_kind(*kind, body.len()))
        && let Ok(frame) = Frame::decode(kind, body.to_vec())
    {
        assert_eq!(frame.encode(), input);
    }
}
