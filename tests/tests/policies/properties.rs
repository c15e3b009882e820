//! What holds of any policy: it ends, it says one thing, and less never allows more.

use quorate_core::policy::form::FormError;
use quorate_core::policy::{Denial, Facts, MAX_POLICY, Policy, Trace};
use quorate_core::request::{Payload, SignedRequest};
use quorate_node::policy_file;
use quorate_tests::cluster::seed;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use serde_json::{Value, json};

use super::request;

const NOW: u64 = 1_800_000_000;
const ACCOUNTS: [&str; 2] =
    ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"];

struct Maker(ChaCha20Rng);

impl Maker {
    fn below(&mut self, limit: u32) -> u32 {
        self.0.next_u32() % limit
    }

    fn client(&mut self) -> String {
        hex::encode(super::key(1 + self.below(4) as u8).verifying_key().to_bytes())
    }

    fn leaf(&mut self) -> Value {
        let account = ACCOUNTS[self.below(2) as usize];
        let small = self.below(4);
        match self.below(14) {
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
            _ => json!({ "creates_contract": true }),
        }
    }

    fn condition(&mut self, depth: u32, negate: bool) -> Value {
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
                let waits = inner.to_string().contains("\"delay\"");
                // A delay does not stand within a not.
                if waits { inner } else { json!({ "not": inner }) }
            }
            _ => self.leaf(),
        }
    }

    fn policy(&mut self, negate: bool) -> Vec<u8> {
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
    fn approvers(&mut self) -> Vec<u8> {
        (1..=4).filter(|_| self.below(2) == 0).collect()
    }

    fn payload<'p>(&mut self, buffer: &'p mut Vec<u8>) -> Payload<'p> {
        use quorate_core::policy::Amount;
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

fn verdict<'p>(policy: &'p [u8], request: &[u8]) -> (Result<[u8; 32], Denial<'p>>, usize) {
    let (policy, request) =
        (Policy::parse(policy).unwrap(), SignedRequest::parse(request).unwrap());
    let mut steps = 0;
    let mut watch = |step: Trace<'_>| steps += usize::from(matches!(step, Trace::Enter(_)));
    (policy.judge(&request, &Facts::at(NOW), &mut watch), steps)
}

/// Dropping approvals never turns a denial into an allowance where nothing is negated; and no judgement
/// looks at more conditions than there are.
#[test]
fn without_a_not_fewer_approvals_never_allow_more() {
    let seed = seed();
    let mut maker = Maker(ChaCha20Rng::seed_from_u64(seed));
    let (mut allowed, mut lost) = (0, 0);
    for _ in 0..3_000 {
        let policy = maker.policy(false);
        let mut buffer = Vec::new();
        let payload = maker.payload(&mut buffer);
        let approvers = maker.approvers();
        let (with, steps) = verdict(&policy, &request(payload, NOW, &approvers));
        assert!(steps <= quorate_core::policy::condition::MAX_CONDITIONS);
        allowed += usize::from(with.is_ok());
        for left_out in 0..approvers.len() {
            let mut fewer = approvers.clone();
            fewer.remove(left_out);
            let (without, _) = verdict(&policy, &request(payload, NOW, &fewer));
            assert!(without.is_err() || with.is_ok(), "{fewer:?} of {approvers:?}: {policy:?}");
            lost += usize::from(without.is_err() && with.is_ok());
        }
    }
    // It would not be a test if nothing were allowed, or nothing hung on an approval.
    assert!(allowed > 300 && lost > 100, "{allowed} allowed, {lost} by approvals");
}

/// Whatever is negated: a policy that asks about transactions alone, however, allows nothing else.
#[test]
fn what_a_payload_does_not_have_decides_nothing() {
    let mut maker = Maker(ChaCha20Rng::seed_from_u64(seed()));
    let mut tried = 0;
    while tried < 500 {
        let condition = maker.condition(3, true);
        let text = condition.to_string();
        let other = ["client", "approvals", "time", "message", "delay"];
        if other.iter().any(|name| text.contains(&format!("\"{name}\""))) {
            continue;
        }
        tried += 1;
        let rule = json!({ "name": "r", "payload": ["message", "raw-digest"], "when": condition });
        let policy = policy_file::from_json(&json!({ "rules": [rule] })).unwrap().into_vec();
        for payload in [Payload::EthereumMessage(b"ab"), Payload::Digest([1; 32])] {
            let (judged, _) = verdict(&policy, &request(payload, NOW, &[]));
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
                let first = verdict(&policy, &request);
                assert_eq!(first, verdict(&policy, &request), "one verdict");
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
