//! Any policy, any payload, any facts: the judgement ends, says one thing, and less never allows more.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use ed25519_dalek::SigningKey;
use quorate_core::policy::condition::MAX_CONDITIONS;
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::fact::{Answer, Answers, JsonValue, Question};
use quorate_core::policy::{self, Amount, Confirmation, Facts, Here, Policy, Trace};
use quorate_core::request::{
    ClientKey, Derivation, KeyId, MAX_REQUEST, NetworkId, Payload, SignRequest, SignedRequest,
};
use quorate_node::policy_file;
use serde_json::{Value, json};

use super::payloads;
use super::seeds::{Seeds, named};

/// The client, and who may approve: their numbers.
const CLIENT: u8 = 1;
const APPROVERS: [u8; 3] = [2, 3, 4];

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn public(number: u8) -> String {
    ClientKey(key(number).verifying_key().to_bytes()).to_string()
}

/// An input: the policy behind its length, the party's clock (minutes), what payload, which approvals, and
/// where it is judged, the payload behind its length, and what the facts are made of.
struct Case<'i> {
    policy: &'i [u8],
    now: u64,
    approvals: u8,
    payload: Payload<'i>,
    facts: &'i [u8],
}

impl<'i> Case<'i> {
    fn read(input: &'i [u8]) -> Option<Self> {
        let sized = |bytes: &'i [u8]| {
            let (length, rest) = bytes.split_first_chunk()?;
            rest.split_at_checked(u16::from_be_bytes(*length).into())
        };
        let (policy, rest) = sized(input)?;
        let (minutes, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let (bytes, facts) = sized(rest)?;
        let payload = match kind & 3 {
            0 => Payload::EthereumTransaction(bytes),
            1 => Payload::EthereumMessage(bytes),
            2 => Payload::EthereumTypedData(bytes),
            _ => Payload::Digest(*bytes.first_chunk()?),
        };
        let now = 60 * u64::from(u32::from_be_bytes(*minutes));
        Some(Self { policy, now, approvals: kind >> 2, payload, facts })
    }

    fn here(&self) -> Here {
        match self.approvals >> 3 & 3 {
            0 => Here::Node,
            1 => Here::Device(Confirmation::NotAsked),
            2 => Here::Device(Confirmation::Confirmed),
            _ => Here::Device(Confirmation::Refused),
        }
    }

    /// The client's request, approved by those whose bits are set.
    fn request(&self, approvals: u8) -> Option<Vec<u8>> {
        let wish = SignRequest {
            network: NetworkId([5; 16]),
            key: KeyId([6; 16]),
            derivation: Derivation::Root,
            payload: self.payload,
            label: "",
            expires: self.now + 60,
            nonce: [7; 16],
        };
        let mut buffer = vec![0; MAX_REQUEST];
        let mut bytes = wish.sign(&key(CLIENT), &mut buffer).ok()?.to_vec();
        for (place, approver) in APPROVERS.into_iter().enumerate() {
            if approvals & (1 << place) != 0 {
                let request = SignedRequest::parse(&bytes).ok()?;
                bytes = request.approve(&key(approver), &mut buffer).ok()?.to_vec();
            }
        }
        Some(bytes)
    }
}

/// Answers made of the input: the same question has the same answer, and many have none.
struct Oracle<'i>(&'i [u8]);

impl Answers for Oracle<'_> {
    fn answer(&self, question: &Question<'_>) -> Option<Answer<'_>> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(format!("{question:?}"));
        let from = usize::try_from(hash).unwrap_or_default() % (self.0.len() + 1);
        let (kind, data) = self.0.get(from..)?.split_first()?;
        let number = |place: usize| {
            let bytes = data.get(place..place + 8).and_then(|bytes| bytes.first_chunk());
            bytes.map(|bytes| u64::from_be_bytes(*bytes))
        };
        let text = || {
            let chunk = data.utf8_chunks().next().map(|chunk| chunk.valid());
            chunk.unwrap_or_default()
        };
        Some(match question {
            Question::Call { .. } => Answer::Call(data),
            Question::Balance { .. } => {
                Answer::Balance(Amount::from_be_bytes(data.first_chunk::<32>()?))
            }
            Question::Block { .. } => Answer::Block { number: number(0)?, time: number(8)? },
            Question::Json { .. } => {
                let value = match kind % 3 {
                    0 => JsonValue::Flag(kind & 4 != 0),
                    1 => JsonValue::Number(text()),
                    _ => JsonValue::Text(text()),
                };
                Answer::Json { value, time: number(0) }
            }
        })
    }
}

/// See above.
pub(super) fn judgement(input: &[u8]) {
    let Some(case) = Case::read(input) else { return };
    let Ok(policy) = Policy::parse(case.policy) else { return };
    let Some(bytes) = case.request(case.approvals) else { return };
    let (Ok(request), oracle) = (SignedRequest::parse(&bytes), Oracle(case.facts)) else { return };
    let account = case.facts.first_chunk().map(|address| Address(*address));
    let bare = Facts { here: case.here(), ..Facts::at(case.now) };
    let facts = Facts { account, answers: &oracle, ..bare };
    let (mut looked, mut grants, mut negated) = (0, 0, false);
    let mut watch = |step: Trace<'_>| match step {
        Trace::Enter(condition) => {
            looked += 1;
            negated |= matches!(condition, policy::condition::Condition::Not(_));
        }
        Trace::Allowed(_) => grants += 1,
        _ => {}
    };
    let verdict = policy.judge(&request, &facts, &mut watch);
    assert!(looked <= MAX_CONDITIONS, "{looked} conditions");
    assert_eq!(verdict.is_ok(), grants > 0);
    assert_eq!(verdict, policy.judge(&request, &facts, &mut |_| {}), "another verdict");
    match &verdict {
        Ok(digest) => assert_eq!(policy::digest(&case.payload), Ok(*digest)),
        Err(denial) => assert!(!denial.to_string().is_empty() && !denial.code().is_empty()),
    }
    let confirmed = Facts { here: Here::Device(Confirmation::Confirmed), ..facts };
    let asks = policy.needs_confirmation(&request, &facts);
    if verdict.is_ok() {
        assert!(!asks, "asks about what is allowed");
        return;
    }
    let helps = policy.judge(&request, &confirmed, &mut |_| {}).is_ok();
    let open = case.here() == Here::Device(Confirmation::NotAsked);
    assert_eq!(asks, helps && open, "a question, and the answer does not decide");
    // What is not known allows nothing that would be denied if it were.
    let unknown = policy.judge(&request, &bare, &mut |_| {});
    assert!(unknown.is_err(), "allowed without a fact: {unknown:?}");
    // Without a `not`, less does not allow more. (What was not looked at for its kind was not asked.)
    if negated {
        return;
    }
    for place in (0..3).filter(|place| case.approvals & (1 << place) != 0) {
        let Some(fewer) = case.request(case.approvals & !(1 << place)) else { return };
        let Ok(fewer) = SignedRequest::parse(&fewer) else { return };
        let less = policy.judge(&fewer, &facts, &mut |_| {});
        assert!(less.is_err() || is_negated(&policy), "allowed without an approval");
    }
}

/// Whether the policy has a `not` anywhere, also where the evaluation did not come by.
fn is_negated(policy: &Policy<'_>) -> bool {
    policy_file::to_json(policy).to_string().contains("\"not\"")
}

fn case(rule: Value, payload: (u8, &[u8]), facts: &[u8]) -> Vec<u8> {
    let policy = policy_file::from_json(&json!({ "rules": [rule] }));
    let policy = policy.map(|bytes| bytes.into_vec()).unwrap_or_default();
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let minutes = 30_000_000_u32.to_be_bytes();
    [&sized(&policy), &minutes[..], &[payload.0], &sized(payload.1), facts].concat()
}

/// One of each kind of payload, with a policy that asks about most of what is in it.
pub(super) fn seeds() -> Seeds {
    let approvers = APPROVERS.map(public);
    let who = json!({ "client": [public(CLIENT)] });
    let approved = json!({ "approvals": { "at_least": 2, "of": approvers } });
    let transfer = json!({
        "name": "calls", "payload": ["transaction", "blob", "set-code"],
        "when": { "any": [
            { "all": [who, { "chain": [7], "value": { "at_most": 5 }, "fee": { "at_most": "1 ether" } },
                { "to": ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"], "function": ["transfer(address,uint256)"] }] },
            { "at_least": { "count": 2, "of": [approved, { "not": { "data": "none" } }, { "creates_contract": true }] } },
        ] },
        "limits": [{ "measure": "spend", "max": "1 ether", "per": "24h" }],
    });
    let typed = json!({
        "name": "typed", "payload": ["typed-data"],
        "when": { "all": [
            who, { "type": "Mail", "domain": { "name": { "equals": "Ether Mail" } } },
            { "field": { "at": "to.name", "as": "text", "starts_with": "B" } }, approved,
        ] },
    });
    let message = json!({
        "name": "login", "payload": ["message"],
        "when": { "all": [
            who, { "message": { "pattern": "login to *" } }, { "time": { "not_before": "2027-01-01T00:00:00Z" } },
            { "schedule": { "days": ["mon", "fri"], "from": "22:00", "to": "06:00", "utc_offset": "+01:00" } },
        ] },
    });
    let device = json!({
        "name": "device", "payload": ["message"],
        "when": { "all": [
            { "elsewhere": { "any": [
                { "block": { "chain": 1, "confirmations": 2, "max_age": "1m" } },
                { "not": { "balance": { "chain": 1, "confirmations": 2, "account": "$key", "at_most": 7 } } },
            ] } },
            { "confirm": true },
        ] },
    });
    let blind = json!({
        "name": "blind", "payload": ["raw-digest", "opaque-transaction"],
        "when": { "any": [approved, { "not": approved }] },
    });
    let mail = payloads::typed().into_iter().find(|(name, _)| name == "mail");
    let (_, mail) = mail.unwrap_or_default();
    let mut seeds: Seeds = payloads::transactions()
        .into_iter()
        .map(|(name, bytes)| named(&name, case(transfer.clone(), (3 << 2, &bytes), &[9; 64])))
        .collect();
    seeds.push(named("typed-data", case(typed, (2 | 5 << 2, &mail), b"")));
    seeds.push(named("message", case(message, (1, b"login to the bank"), b"")));
    for (said, here) in ["node", "nobody", "confirmed", "refused"].into_iter().zip(0..) {
        let bytes = case(device.clone(), (1 | here << 5, b"pay"), &[9; 64]);
        seeds.push(named(&format!("device-{said}"), bytes));
    }
    seeds.push(named("digest", case(blind.clone(), (3, &[8; 32]), b"1234")));
    seeds.push(named("opaque", case(blind, (6 << 2, &[2, 0xc1, 0x80, 0]), b"")));
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the target would have nothing to start from.
    #[test]
    fn seeds_are_judged_and_some_are_allowed() {
        let mut allowed = Vec::new();
        for (name, bytes) in seeds() {
            let case = Case::read(&bytes).unwrap();
            let policy = Policy::parse(case.policy).unwrap();
            let request = case.request(case.approvals).unwrap();
            let request = SignedRequest::parse(&request).unwrap();
            let facts = Facts { here: case.here(), ..Facts::at(case.now) };
            let verdict = policy.judge(&request, &facts, &mut |_| {});
            if verdict.is_ok() {
                allowed.push(name);
            }
        }
        assert!(allowed.len() >= 3 && allowed.len() < seeds().len(), "{allowed:?}");
    }
}
