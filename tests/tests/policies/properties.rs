//! What holds of any policy: it ends, it says one thing, and less never allows more.

use std::collections::BTreeSet;

use quorate_core::policy::fact::{Answer, Answers, JsonValue, NoAnswers};
use quorate_core::policy::form::FormError;
use quorate_core::policy::{
    Amount, Confirmation, Denial, Facts, MAX_POLICY, Policy, Question, Trace,
};
use quorate_core::request::{Payload, SignedRequest};
use quorate_node::policy_file;
use quorate_tests::cluster::seed;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use serde_json::{Value, json};
use sha3::{Digest as _, Keccak256};

use super::{request, signers};

pub(super) const NOW: u64 = 1_800_000_000;
const ACCOUNTS: [&str; 2] =
    ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"];

pub(super) struct Maker(pub(super) ChaCha20Rng);

impl Maker {
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        self.0.next_u32() % limit
    }

    fn client(&mut self) -> String {
        hex::encode(super::key(1 + self.below(4) as u8).verifying_key().to_bytes())
    }

    fn leaf(&mut self) -> Value {
        let account = ACCOUNTS[self.below(2) as usize];
        let small = self.below(4);
        match self.below(26) {
            0 => json!({ "client": [self.client()] }),
            1 | 2 => {
                let mut of = vec![self.client(), self.client(), self.client()];
                of.sort();
                of.dedup();
                json!({ "approvals": { "at_least": 1 + self.below(of.len() as u32), "of": of } })
            }
            3 => json!({ "chain": [small] }),
            4 => json!({ "to": [account] }),
            5 => json!({ "value": { "at_most": small } }),
            6 => json!({ "value": { "at_least": small } }),
            7 => json!({ "data": "none" }),
            8 => json!({ "function": ["transfer(address,uint256)"] }),
            9 => {
                json!({ "argument": { "function": "transfer(address,uint256)", "at": 1, "at_most": small } })
            }
            10 => {
                let part = ["a", "b", "ab", "x"][small as usize];
                json!({ "message": { "contains": part } })
            }
            12 => {
                let veto = if small == 0 { vec![] } else { vec![self.client()] };
                json!({ "delay": { "for": format!("{}h", 1 + small), "veto": veto } })
            }
            11 => json!({ "time": { "before": NOW - 1 + u64::from(small) } }),
            15 => json!({ "creates_contract": true }),
            23 | 24 => json!({ "confirm": true }),
            25 => json!({ "elsewhere": self.fact() }),
            13 | 14 => {
                let of = [signers::account(1), signers::account(2)].map(|one| one.to_string());
                json!({ "signatures": { "at_least": 1 + self.below(2), "of": of } })
            }
            _ => self.fact(),
        }
    }

    fn fact(&mut self) -> Value {
        let account = [ACCOUNTS[0], "$key", "$to"][self.below(3) as usize];
        let (chain, confirmations, small) = (1 + self.below(2), self.below(2), self.below(3));
        let mut about = json!({ "chain": chain, "confirmations": confirmations });
        let (name, more) = match self.below(7) {
            0 => ("balance", json!({ "account": account, "at_least": small })),
            1 => ("block", json!({ "number": { "at_most": small } })),
            2 => ("block", json!({ "max_age": format!("{}s", 1 + small) })),
            3 => (
                "erc20_balance",
                json!({ "token": ACCOUNTS[1], "owner": account, "at_least": small }),
            ),
            4 => {
                let is = ["$key", "$signer"][self.below(2) as usize];
                ("erc721_owner", json!({ "contract": ACCOUNTS[1], "token_id": small, "is": is }))
            }
            5 => {
                let function = "f(uint256,address) returns (uint8[],bool)";
                let args = ["$value", account];
                (
                    "evm_call",
                    json!({ "contract": ACCOUNTS[1], "function": function, "args": args,
                    "at": 1, "equals": small == 0 }),
                )
            }
            _ => {
                let url = ["https://a.example", "https://b.example"][self.below(2) as usize];
                about = json!({ "url": url, "pointer": "/p", "max_age": "1s" });
                ("http", json!({ "as": "number", "at_least": small }))
            }
        };
        let fields = about.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        json!({ name: about })
    }

    /// Accounts 1 to 3, each there or not.
    fn signers(&mut self) -> Vec<u8> {
        (1..=3).filter(|_| self.below(2) == 0).collect()
    }

    pub(super) fn condition(&mut self, depth: u32, negate: bool) -> Value {
        let several = |maker: &mut Self| -> Vec<Value> {
            (0..1 + maker.below(3)).map(|_| maker.condition(depth - 1, negate)).collect()
        };
        match if depth == 0 { 9 } else { self.below(8) } {
            0 | 1 => json!({ "all": several(self) }),
            2 | 3 => json!({ "any": several(self) }),
            4 => {
                let of = several(self);
                json!({ "at_least": { "count": 1 + self.below(of.len() as u32), "of": of } })
            }
            5 if negate => {
                let inner = self.condition(depth - 1, negate);
                let text = inner.to_string();
                // These do not stand within a not.
                let turned = ["\"delay\"", "\"elsewhere\"", "\"confirm\""];
                let turned = turned.iter().any(|name| text.contains(name));
                if turned { inner } else { json!({ "not": inner }) }
            }
            _ => self.leaf(),
        }
    }

    pub(super) fn policy(&mut self, negate: bool) -> Vec<u8> {
        let kinds = ["transaction", "set-code", "message", "typed-data", "raw-digest"];
        let rules: Vec<Value> = (0..1 + self.below(3))
            .map(|number| {
                let when = self.condition(3, negate);
                json!({ "name": number.to_string(), "payload": kinds, "when": when })
            })
            .collect();
        policy_file::from_json(&json!({ "rules": rules })).unwrap().into_vec()
    }

    /// Approvers 1 to 4, each there or not.
    pub(super) fn approvers(&mut self) -> Vec<u8> {
        (1..=4).filter(|_| self.below(2) == 0).collect()
    }

    pub(super) fn payload<'p>(&mut self, buffer: &'p mut Vec<u8>) -> Payload<'p> {
        use quorate_core::policy::ethereum::{Address, UnsignedFields, unsigned_transaction};
        match self.below(6) {
            0 => {
                *buffer = [&b"abx"[..], b"b", b"", b"x"][self.below(4) as usize].to_vec();
                Payload::EthereumMessage(buffer)
            }
            1 => Payload::Digest([self.below(256) as u8; 32]),
            _ => {
                let amount = Amount::from_u128(self.below(4).into());
                let call =
                    [&[0xa9, 0x05, 0x9c, 0xbb][..], &[0; 32], &amount.to_be_bytes()].concat();
                let data = if self.below(2) == 0 { &[][..] } else { &call };
                let to = ACCOUNTS.get(self.below(3) as usize);
                let fields = UnsignedFields {
                    chain_id: self.below(4).into(),
                    nonce: 0,
                    max_priority_fee_per_gas: Amount::ZERO,
                    max_fee_per_gas: Amount::ZERO,
                    gas_limit: 0,
                    to: to.and_then(|to| Address::from_hex(to)),
                    value: Amount::from_u128(self.below(4).into()),
                    data,
                };
                *buffer = vec![0; 512];
                let used = unsigned_transaction(&fields, buffer).unwrap().len();
                buffer.truncate(used);
                Payload::EthereumTransaction(buffer)
            }
        }
    }
}

/// A world in which everything has an answer, by its seed: often one that is too small, too old, or of
/// another type. What was taken out of it is unknown.
#[derive(Default)]
struct World {
    seed: u8,
    without: BTreeSet<String>,
    returned: [Vec<u8>; 3],
}

impl World {
    fn new(seed: u8) -> Self {
        let word = |number: u8| [&[0; 31][..], &[number]].concat();
        let own = [&[0; 12][..], &signers::account(1 + seed % 3).0].concat();
        let list = [word(64), word(seed & 1), word(0)].concat();
        Self { seed, without: BTreeSet::new(), returned: [word(seed % 3), own, list] }
    }

    fn facts(&self) -> Facts<'_> {
        Facts { account: Some(signers::account(1)), answers: self, ..Facts::at(NOW) }
    }
}

impl Answers for World {
    fn answer(&self, question: &Question<'_>) -> Option<Answer<'_>> {
        let name = format!("{question:?}");
        if self.without.contains(&name) {
            return None;
        }
        let digest = Keccak256::digest([name.as_bytes(), &[self.seed]].concat());
        let (small, choice) = (digest[0] % 4, digest[1] % 4);
        let now = NOW - u64::from(small) + 1;
        Some(match question {
            Question::Call { .. } => Answer::Call(self.returned.get(usize::from(choice))?),
            Question::Balance { .. } => Answer::Balance(Amount::from_u128(small.into())),
            Question::Block { .. } => Answer::Block { number: small.into(), time: now },
            Question::Json { .. } => {
                let numbers = ["0", "1.5", "2", "none"];
                let number = JsonValue::Text(numbers[usize::from(choice)]);
                Answer::Json { value: number, time: (small < 3).then_some(now) }
            }
        })
    }
}

fn verdict<'p>(
    policy: &'p [u8],
    request: &[u8],
    facts: &Facts<'_>,
) -> (Result<[u8; 32], Denial<'p>>, usize) {
    let (policy, request) =
        (Policy::parse(policy).unwrap(), SignedRequest::parse(request).unwrap());
    let mut steps = 0;
    let mut watch = |step: Trace<'_>| steps += usize::from(matches!(step, Trace::Enter(_)));
    (policy.judge(&request, facts, &mut watch), steps)
}

fn questions(policy: &[u8], request: &[u8], facts: &Facts<'_>) -> BTreeSet<String> {
    let (policy, request) =
        (Policy::parse(policy).unwrap(), SignedRequest::parse(request).unwrap());
    let mut asked = BTreeSet::new();
    policy.questions(&request, facts, &mut |question| {
        asked.insert(format!("{question:?}"));
    });
    asked
}

/// Answers to these questions alone.
struct Only<'w> {
    world: &'w World,
    known: &'w BTreeSet<String>,
}

impl Answers for Only<'_> {
    fn answer(&self, question: &Question<'_>) -> Option<Answer<'_>> {
        let known = self.known.contains(&format!("{question:?}"));
        known.then(|| self.world.answer(question)).flatten()
    }
}

/// The request with the signatures of these accounts.
fn with_signers(request: Vec<u8>, signers: &[u8]) -> Vec<u8> {
    signers.iter().fold(request, |request, one| signers::signed_by(&request, *one))
}

/// Dropping approvals, signatures of accounts, or facts never turns a denial into an allowance where nothing
/// is negated; and no judgement looks at more conditions than there are.
#[test]
fn without_a_not_less_never_allows_more() {
    let mut maker = Maker(ChaCha20Rng::seed_from_u64(seed()));
    let (mut allowed, mut lost) = (0, [0; 3]);
    for number in 0..3_000u32 {
        let policy = maker.policy(false);
        let mut buffer = Vec::new();
        let payload = maker.payload(&mut buffer);
        let (approvers, signers) = (maker.approvers(), maker.signers());
        let mut world = World::new(number as u8);
        let whole = with_signers(request(payload, NOW, &approvers), &signers);
        let (with, steps) = verdict(&policy, &whole, &world.facts());
        assert!(steps <= quorate_core::policy::condition::MAX_CONDITIONS);
        allowed += usize::from(with.is_ok());
        let mut compare = |kind: usize, less: &[u8], facts: &Facts<'_>| {
            let (without, _) = verdict(&policy, less, facts);
            assert!(without.is_err() || with.is_ok(), "{kind}: {:?}", Policy::parse(&policy));
            lost[kind] += usize::from(without.is_err() && with.is_ok());
        };
        for left_out in 0..approvers.len() {
            let mut fewer = approvers.clone();
            fewer.remove(left_out);
            let less = with_signers(request(payload, NOW, &fewer), &signers);
            compare(0, &less, &world.facts());
        }
        for left_out in 0..signers.len() {
            let mut fewer = signers.clone();
            fewer.remove(left_out);
            let less = with_signers(request(payload, NOW, &approvers), &fewer);
            compare(1, &less, &world.facts());
        }
        for left_out in questions(&policy, &whole, &Facts { answers: &NoAnswers, ..world.facts() })
        {
            world.without = BTreeSet::from([left_out]);
            compare(2, &whole, &world.facts());
        }
    }
    // It would not be a test if nothing were allowed, or nothing hung on what was left out.
    let [approvals, signatures, facts] = lost;
    assert!(allowed > 300, "{allowed} allowed");
    assert!(approvals > 50 && signatures > 50 && facts > 50, "lost {lost:?}");
}

/// What is asked when nothing is known is all that is asked, whatever is negated and whatever the answers
/// are; and without questions no answer changes the verdict.
#[test]
fn one_round_of_questions_is_enough() {
    let mut maker = Maker(ChaCha20Rng::seed_from_u64(seed()));
    let (mut asked_some, mut changed) = (0, 0);
    for number in 0..2_000u32 {
        let policy = maker.policy(true);
        let mut buffer = Vec::new();
        let request = request(maker.payload(&mut buffer), NOW, &maker.approvers());
        let world = World::new(number as u8);
        let nothing = Facts { answers: &NoAnswers, ..world.facts() };
        let asked = questions(&policy, &request, &nothing);
        asked_some += usize::from(!asked.is_empty());
        let (before, _) = verdict(&policy, &request, &nothing);
        let (after, _) = verdict(&policy, &request, &world.facts());
        assert!(
            !asked.is_empty() || before.is_ok() == after.is_ok(),
            "nothing asked, and it changed"
        );
        changed += usize::from(before.is_ok() != after.is_ok());
        let only = Only { world: &world, known: &asked };
        let again = questions(&policy, &request, &Facts { answers: &only, ..world.facts() });
        let known = |name: &String| asked.contains(name);
        // The world has no answer to some of them.
        assert!(again.iter().all(known), "{again:?} after {asked:?}");
        let (then, _) = verdict(&policy, &request, &Facts { answers: &only, ..world.facts() });
        assert_eq!(then.is_ok(), after.is_ok());
    }
    assert!(asked_some > 500 && changed > 50, "{asked_some} asked, {changed} changed");
}

/// Nothing is left to others, and nobody asked: then a device judges as a node that finds out nothing. And
/// what a device leaves to others, or a person confirms, only ever allows more there.
#[test]
fn a_device_judges_as_a_node_does_but_for_what_the_policy_says_of_devices() {
    use Confirmation::{Confirmed, NotAsked, Refused};
    let mut maker = Maker(ChaCha20Rng::seed_from_u64(seed()));
    let (mut same, mut more, mut asked) = (0, 0, 0);
    for _ in 0..4_000 {
        let policy = maker.policy(true);
        let mut buffer = Vec::new();
        let sent = request(maker.payload(&mut buffer), NOW, &maker.approvers());
        let parsed = Policy::parse(&policy).unwrap();
        let text = policy_file::to_json(&parsed).to_string();
        let (node, _) = verdict(&policy, &sent, &Facts::at(NOW));
        let device = |said| verdict(&policy, &sent, &Facts::on_device(NOW, said)).0;
        let (yes, no, silent) = (device(Confirmed), device(Refused), device(NotAsked));
        assert!(node.is_err() || yes.is_ok(), "{text}");
        assert!(yes.is_ok() || no.is_err() && silent.is_err(), "{text}");
        assert_eq!(no.is_ok(), silent.is_ok(), "{text}");
        if !text.contains("\"elsewhere\"") {
            assert_eq!(node, yes, "{text}");
            same += 1;
        }
        more += usize::from(node.is_err() && yes.is_ok());
        let request = SignedRequest::parse(&sent).unwrap();
        let needed = parsed.needs_confirmation(&request, &Facts::on_device(NOW, NotAsked));
        assert_eq!(needed, yes.is_ok() && silent.is_err(), "{text}");
        asked += usize::from(needed);
    }
    assert!(same > 500 && more > 100 && asked > 100, "{same} same, {more} more, {asked} asked");
}

/// Whatever is negated: a policy that asks about transactions alone, however, allows nothing else.
#[test]
fn what_a_payload_does_not_have_decides_nothing() {
    let mut maker = Maker(ChaCha20Rng::seed_from_u64(seed()));
    let mut tried = 0;
    while tried < 500 {
        let condition = maker.condition(3, true);
        let text = condition.to_string();
        let other = ["client", "approvals", "signatures", "time", "message", "delay", "confirm"];
        if other.iter().any(|name| text.contains(&format!("\"{name}\""))) {
            continue;
        }
        tried += 1;
        let rule = json!({ "name": "r", "payload": ["message", "raw-digest"], "when": condition });
        let policy = policy_file::from_json(&json!({ "rules": [rule] })).unwrap().into_vec();
        for payload in [Payload::EthereumMessage(b"ab"), Payload::Digest([1; 32])] {
            let (judged, _) = verdict(&policy, &request(payload, NOW, &[]), &Facts::at(NOW));
            assert!(judged.is_err(), "{condition}");
        }
    }
}

/// Bytes of policies, altered: refused, or read as what they then say; judged without a panic.
#[test]
fn altered_policies_are_refused_or_total() {
    let seed = seed();
    let mut maker = Maker(ChaCha20Rng::seed_from_u64(seed));
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut policy = maker.policy(true);
        for _ in 0..=maker.below(3) {
            let place = maker.below(policy.len() as u32) as usize;
            match maker.below(3) {
                0 => policy[place] ^= 1 << maker.below(8),
                1 => policy.truncate(place.max(1)),
                _ => policy.insert(place, maker.below(256) as u8),
            }
        }
        match Policy::parse(&policy) {
            Ok(_) => {
                let mut buffer = Vec::new();
                let payload = maker.payload(&mut buffer);
                let request = request(payload, NOW, &[]);
                let world = World::new(read as u8);
                let first = verdict(&policy, &request, &world.facts());
                assert_eq!(first, verdict(&policy, &request, &world.facts()), "one verdict");
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(read > 1_000 && refused > 1_000, "{read} read, {refused} refused");
    assert_eq!(
        Policy::parse(&vec![1; MAX_POLICY + 1]),
        Err(FormError::TooMany("bytes of a policy"))
    );
}
