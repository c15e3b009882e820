//! `examples/policies`: each does what `docs/POLICY.md` says of it.

use std::collections::BTreeSet;

use quorate_core::party::PartyId;
use quorate_core::policy::ethereum::{
    Address, UNSIGNED_OVERHEAD, UnsignedFields, unsigned_transaction,
};
use quorate_core::policy::{Amount, Confirmation, Facts, Policy, Strict};
use quorate_core::request::{Payload, SignedRequest};
use quorate_node::policy_file::{self, Recorded};
use quorate_node::typed_data::compact_typed_data;
use serde_json::{Value, json};

use super::signers::{account, signed_by};
use super::{judged, request, request_by};

pub(super) const ALICE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
pub(super) const BOB: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
pub(super) const VAULT: &str = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65";
const USDC: &str = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48";
const MILLIETHER: u128 = 1_000_000_000_000_000;

/// Wednesday, 13 January 2027, 10:00 UTC.
pub(super) const NOW: u64 = 1_799_834_400;

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies")
}

/// A transfer of so many thousandths of an ether, with data.
pub(super) fn transaction(to: &str, value: u128, data: &[u8]) -> Vec<u8> {
    let fields = UnsignedFields {
        chain_id: 1,
        nonce: 0,
        max_priority_fee_per_gas: Amount::from_u128(1),
        max_fee_per_gas: Amount::from_u128(20_000_000_000),
        gas_limit: 100_000,
        to: Address::from_hex(to),
        value: Amount::from_u128(value * MILLIETHER),
        data,
    };
    let mut buffer = vec![0; data.len() + UNSIGNED_OVERHEAD];
    unsigned_transaction(&fields, &mut buffer).unwrap().to_vec()
}

/// `transfer(address,uint256)`: so many of a token with 6 decimals.
fn token_transfer(to: &str, tokens: u128) -> Vec<u8> {
    let amount = Amount::from_u128(tokens * 1_000_000).to_be_bytes();
    let to = Address::from_hex(to).unwrap().0;
    [&[0xa9, 0x05, 0x9c, 0xbb][..], &[0; 12], &to, &amount].concat()
}

pub(super) struct Example {
    pub(super) bytes: Vec<u8>,
}

impl Example {
    pub(super) fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(folder().join(name)).unwrap();
        let policy = policy_file::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { bytes: policy.into_vec() }
    }

    pub(super) fn ask(&self, request: &[u8], now: u64) -> Result<String, &'static str> {
        self.ask_with(request, &Facts::at(now))
    }

    fn ask_with(&self, request: &[u8], facts: &Facts<'_>) -> Result<String, &'static str> {
        judged(&Policy::parse(&self.bytes).unwrap(), request, facts)
    }

    fn pay(&self, to: &str, value: u128, approvers: &[u8]) -> Result<String, &'static str> {
        self.pay_at(NOW, to, value, approvers)
    }

    fn pay_at(
        &self,
        now: u64,
        to: &str,
        value: u128,
        approvers: &[u8],
    ) -> Result<String, &'static str> {
        let transaction = transaction(to, value, &[]);
        self.ask(&request(Payload::EthereumTransaction(&transaction), now, approvers), now)
    }
}

pub(super) fn rule(name: &str) -> Result<String, &'static str> {
    Ok(name.to_owned())
}

#[test]
fn every_example_is_known_here_and_in_the_documents() {
    let known = [
        "controlled.json",
        "device.json",
        "emergency.json",
        "limit-order.json",
        "login.json",
        "nft-gated.json",
        "payouts.json",
        "permit.json",
        "recovery.json",
        "reserve.json",
        "second-key.json",
        "subscription.json",
        "timelock.json",
        "token-payroll.json",
        "two-persons.json",
        "vesting.json",
    ];
    let files = std::fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> =
        files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, known.map(str::to_owned).into());
    let document = include_str!("../../../docs/POLICY.md");
    for name in files {
        assert!(document.contains(&format!("examples/policies/{name}")), "{name}");
        let example = Example::read(&name);
        let policy = Policy::parse(&example.bytes).unwrap();
        let json = policy_file::to_json(&policy);
        assert_eq!(policy_file::from_json(&json).unwrap().as_slice(), example.bytes);
        let doubts = policy_file::lint(&policy);
        // Most leave out who owns them: that is about the organisation, not the wish.
        let left = |code| ["loose-limit", "fixed"].contains(&code);
        assert!(doubts.iter().all(|doubt| left(doubt.code)), "{name}: {doubts:?}");
    }
}

#[test]
fn payouts() {
    let example = Example::read("payouts.json");
    assert_eq!(example.pay(ALICE, 500, &[]), rule("payouts"));
    assert_eq!(example.pay(BOB, 1, &[]), rule("payouts"));
    assert_eq!(example.pay(ALICE, 501, &[]), Err("value"));
    assert_eq!(example.pay(VAULT, 1, &[]), Err("recipient"));
    let call = transaction(ALICE, 0, &[1]);
    assert_eq!(
        example.ask(&request(Payload::EthereumTransaction(&call), NOW, &[]), NOW),
        Err("data")
    );
    let other = transaction(ALICE, 1, &[]);
    let other = request_by(2, Payload::EthereumTransaction(&other), NOW, &[]);
    assert_eq!(example.ask(&other, NOW), Err("client"));
}

#[test]
fn two_persons() {
    let example = Example::read("two-persons.json");
    assert_eq!(example.pay(BOB, 100, &[]), rule("petty cash"));
    assert_eq!(example.pay(BOB, 5_000, &[2, 4]), rule("two persons"));
    for too_few in [&[][..], &[2], &[1, 2], &[3, 9]] {
        assert_eq!(example.pay(BOB, 5_000, too_few), Err("approvals"), "{too_few:?}");
    }
}

#[test]
fn a_subscription() {
    let example = Example::read("subscription.json");
    assert_eq!(example.pay(ALICE, 50, &[]), rule("subscription"));
    assert_eq!(example.pay(ALICE, 49, &[]), Err("value"));
    assert_eq!(example.pay(BOB, 50, &[]), Err("recipient"));
    assert_eq!(example.pay_at(1_830_297_600, ALICE, 50, &[]), Err("time"), "2028");
}

#[test]
fn vesting() {
    let example = Example::read("vesting.json");
    assert_eq!(example.pay(ALICE, 1, &[]), Err("time"));
    assert_eq!(example.pay_at(1_806_537_600, ALICE, 1, &[]), rule("first quarter"));
    assert_eq!(example.pay_at(1_814_400_000, ALICE, 1, &[]), rule("after the cliff"));
    assert_eq!(example.pay_at(1_814_400_000, BOB, 1, &[]), Err("recipient"));
}

#[test]
fn payroll_in_tokens() {
    let example = Example::read("token-payroll.json");
    let ask = |now, contract: &str, data: &[u8]| {
        let transaction = transaction(contract, 0, data);
        example.ask(&request(Payload::EthereumTransaction(&transaction), now, &[]), now)
    };
    let good = token_transfer(ALICE, 5_000);
    assert_eq!(ask(NOW, USDC, &good), rule("payroll"));
    assert_eq!(ask(NOW, BOB, &good), Err("recipient"));
    assert_eq!(ask(NOW, USDC, &token_transfer(ALICE, 5_001)), Err("argument"));
    assert_eq!(ask(NOW, USDC, &token_transfer(VAULT, 1)), Err("argument"));
    // approve(address,uint256), which would let others take tokens.
    let approval = [&[0x09, 0x5e, 0xa7, 0xb3][..], &good[4..]].concat();
    assert_eq!(ask(NOW, USDC, &approval), Err("function"));
    // What a contract would ignore, a party does not.
    assert_eq!(ask(NOW, USDC, &[&good[..], &[0; 32]].concat()), Err("argument"));
    let mut dirty = good.clone();
    dirty[4] = 1;
    assert_eq!(ask(NOW, USDC, &dirty), Err("argument"));
    let hours = 3600;
    assert_eq!(ask(NOW + 7 * hours - 1, USDC, &good), rule("payroll"), "17:59:59 there");
    assert_eq!(ask(NOW + 7 * hours, USDC, &good), Err("time"), "18:00 there");
    assert_eq!(ask(NOW + 3 * 24 * hours, USDC, &good), Err("time"), "Saturday");
}

#[test]
fn logins() {
    let example = Example::read("login.json");
    let ask = |message: &str| {
        example.ask(&request(Payload::EthereumMessage(message.as_bytes()), NOW, &[]), NOW)
    };
    let login = "app.example wants you to sign in with your Ethereum account:\n0x7099…\n\nNonce: 1";
    assert_eq!(ask(login), rule("logins"));
    assert_eq!(ask(&login.replace("app.example", "evil.example")), Err("message"));
    assert_eq!(ask(&format!("{login}\nResources:\n- all")), Err("excluded"));
    assert_eq!(example.pay(ALICE, 0, &[]), Err("kind"));
}

#[test]
fn permits() {
    let example = Example::read("permit.json");
    let ask = |chain: u64, spender: &str, value: u64| {
        let permit = json!({
            "types": {
                "EIP712Domain": [
                    { "name": "name", "type": "string" }, { "name": "version", "type": "string" },
                    { "name": "chainId", "type": "uint256" },
                    { "name": "verifyingContract", "type": "address" },
                ],
                "Permit": [
                    { "name": "owner", "type": "address" }, { "name": "spender", "type": "address" },
                    { "name": "value", "type": "uint256" }, { "name": "nonce", "type": "uint256" },
                    { "name": "deadline", "type": "uint256" },
                ],
            },
            "primaryType": "Permit",
            "domain": { "name": "USD Coin", "version": "2", "chainId": chain, "verifyingContract": USDC },
            "message": { "owner": VAULT, "spender": spender, "value": value, "nonce": 0, "deadline": NOW },
        });
        let compact = compact_typed_data(&permit).unwrap();
        example.ask(&request(Payload::EthereumTypedData(&compact), NOW, &[]), NOW)
    };
    assert_eq!(ask(1, ALICE, 1_000_000_000), rule("permits"));
    assert_eq!(ask(1, ALICE, 1_000_000_001), Err("field"));
    assert_eq!(ask(1, BOB, 1), Err("field"));
    assert_eq!(ask(137, ALICE, 1), Err("domain"));
}

#[test]
fn controlled() {
    let example = Example::read("controlled.json");
    let policy = Policy::parse(&example.bytes).unwrap();
    let controllers = policy.controllers().unwrap();
    assert_eq!((controllers.at_least, controllers.freeze_at_least), (2, 1));
    assert_eq!((controllers.delay, controllers.of.len()), (24 * 3600, 3));
    let codes: Vec<_> = policy_file::lint(&policy).into_iter().map(|doubt| doubt.code).collect();
    assert_eq!(codes, ["loose-limit"]);
    assert_eq!(example.pay(ALICE, 500, &[]), rule("payouts"));
    assert_eq!(example.pay(VAULT, 1, &[]), Err("recipient"));
}

#[test]
fn a_key_with_a_device() {
    use Confirmation::{Confirmed, NotAsked, Refused};
    let example = Example::read("device.json");
    let policy = Policy::parse(&example.bytes).unwrap();
    let ask = |to: &str, value: u128, facts: &Facts<'_>| {
        let transaction = transaction(to, value, &[]);
        let sent = request(Payload::EthereumTransaction(&transaction), NOW, &[]);
        let needed = policy.needs_confirmation(&SignedRequest::parse(&sent).unwrap(), facts);
        (judged(&policy, &sent, facts), needed)
    };
    let device = |said| Facts::on_device(NOW, said);
    assert_eq!(ask(ALICE, 50, &device(NotAsked)), (rule("small"), false));
    assert_eq!(ask(ALICE, 51, &device(NotAsked)), (Err("unconfirmed"), true));
    assert_eq!(ask(BOB, 5_000, &device(NotAsked)), (Err("unconfirmed"), true));
    assert_eq!(ask(BOB, 5_000, &device(Confirmed)), (rule("confirmed"), false));
    assert_eq!(ask(BOB, 5_000, &device(Refused)), (Err("refused"), false));
    assert_eq!(ask(BOB, 5_001, &device(NotAsked)), (Err("value"), false));
    assert_eq!(ask(VAULT, 1, &device(NotAsked)), (Err("recipient"), false));
    // A node looks, and asks nobody.
    let own = account(0x0a);
    let asked = json!({ "chain": 1, "confirmations": 6, "account": own.to_string() });
    for (wei, expected) in [("10 ether", rule("confirmed")), ("9.99 ether", Err("balance"))] {
        let answers = facts(&[&json!({ "balance": asked, "wei": wei })]);
        let node = Facts { account: Some(own), answers: &answers, ..Facts::at(NOW) };
        assert_eq!(ask(BOB, 5_000, &node), (expected, false));
    }
    assert_eq!(ask(BOB, 5_000, &Facts::at(NOW)), (Err("not-there"), false));
    // Who always takes part: the device, and for what it leaves to others a node.
    let parties = policy.rules().map(|rule| {
        let strict = rule.limits().map(|limit| limit.strict);
        strict.collect::<Vec<_>>()
    });
    let party = |number| Strict::Party(PartyId::new(number).unwrap());
    assert_eq!(parties.collect::<Vec<_>>(), [vec![party(4)], vec![party(4), party(1)]]);
}

#[test]
fn an_emergency() {
    let example = Example::read("emergency.json");
    assert_eq!(example.pay(ALICE, 1_000, &[]), rule("daily business"));
    assert_eq!(example.pay(VAULT, 50_000, &[]), Err("approvals"));
    assert_eq!(example.pay(VAULT, 50_000, &[3]), rule("to the vault"));
    // Without the client: somebody sends it, two have approved it.
    let transaction = transaction(VAULT, 50_000, &[]);
    let by = |client, approvers: &[u8]| {
        let payload = Payload::EthereumTransaction(&transaction);
        example.ask(&request_by(client, payload, NOW, approvers), NOW)
    };
    assert_eq!(by(9, &[2, 4]), rule("to the vault"));
    assert_eq!(by(9, &[2]), Err("approvals"));
}

/// Facts from a file, as `simulate` takes them.
fn facts(entries: &[&Value]) -> Recorded {
    Recorded::from_json(&json!({ "facts": entries })).unwrap()
}

/// Words of what a contract returns.
fn words(numbers: &[u128]) -> String {
    let words = numbers.iter().map(|number| Amount::from_u128(*number).to_be_bytes());
    format!("0x{}", hex::encode(words.collect::<Vec<_>>().concat()))
}

#[test]
fn a_limit_order() {
    let example = Example::read("limit-order.json");
    let transaction = transaction(ALICE, 5_000, &[]);
    let request = request(Payload::EthereumTransaction(&transaction), NOW, &[]);
    let ask = |entries: &[&Value]| {
        let answers = facts(entries);
        example.ask_with(&request, &Facts { answers: &answers, ..Facts::at(NOW) })
    };
    let block =
        |time| json!({ "block": { "chain": 1, "confirmations": 2 }, "number": 1, "time": time });
    let oracle = |price: u128| {
        let asked = json!({
            "chain": 1, "confirmations": 2, "contract": "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419",
            // latestRoundData()
            "data": "0xfeaf968c",
        });
        json!({ "call": asked, "returns": words(&[1, price, NOW.into(), NOW.into(), 1]) })
    };
    let web = |price: &str, time| {
        let asked = json!({
            "url": "https://prices.example/v1/eth-usd", "pointer": "/price", "time": "/time",
        });
        json!({ "http": asked, "value": { "number": price }, "time": time })
    };
    let (fresh, high) = (block(NOW - 60), oracle(400_000_000_000));
    assert_eq!(ask(&[&fresh, &high, &web("3990", NOW)]), rule("sell high"));
    assert_eq!(ask(&[&fresh, &high, &web("3989.99", NOW)]), Err("http"));
    assert_eq!(ask(&[&fresh, &oracle(399_999_999_999), &web("4001", NOW)]), Err("call"));
    assert_eq!(ask(&[&block(NOW - 121), &high, &web("4001", NOW)]), Err("block-age"));
    assert_eq!(ask(&[&fresh, &high, &web("4001", NOW - 61)]), Err("fact"), "an old price");
    assert_eq!(ask(&[&fresh, &high]), Err("fact"));
    assert_eq!(ask(&[]), Err("fact"));
}

#[test]
fn who_holds_the_membership_signs() {
    let example = Example::read("nft-gated.json");
    let transaction = transaction(BOB, 100, &[]);
    // Whoever sends it: the holder's signature counts.
    let request = request_by(9, Payload::EthereumTransaction(&transaction), NOW, &[]);
    let owner = |owner: Address| {
        let asked = json!({
            "chain": 1, "confirmations": 12, "contract": "0xBC4CA0EdA7647A8aB7C2061c2E118A18a936f13D",
            "data": format!("0x6352211e{:064x}", 7),
        });
        let returned = [&[0; 12][..], &owner.0].concat();
        json!({ "call": asked, "returns": format!("0x{}", hex::encode(returned)) })
    };
    let ask = |request: &[u8], entries: &[&Value]| {
        let answers = facts(entries);
        example.ask_with(request, &Facts { answers: &answers, ..Facts::at(NOW) })
    };
    let signed = signed_by(&request, 0x22);
    assert_eq!(ask(&signed, &[&owner(account(0x22))]), rule("whoever holds the membership"));
    assert_eq!(ask(&request, &[&owner(account(0x22))]), Err("call"));
    assert_eq!(ask(&signed, &[&owner(account(0x33))]), Err("call"), "it was sold");
    assert_eq!(ask(&signed, &[]), Err("fact"));
}

#[test]
fn a_reserve_stays() {
    let example = Example::read("reserve.json");
    let transaction = transaction(ALICE, 1_000, &[]);
    let request = request(Payload::EthereumTransaction(&transaction), NOW, &[]);
    let own = account(0x44);
    let balance = |milliether: u128| {
        let wei = (milliether * MILLIETHER).to_string();
        json!({ "balance": { "chain": 1, "confirmations": 6, "account": own.to_string() }, "wei": wei })
    };
    let tokens = |amount: u128| {
        let alice = hex::encode(Address::from_hex(ALICE).unwrap().0);
        let asked = json!({
            "chain": 1, "confirmations": 6, "contract": USDC,
            "data": format!("0x70a08231{:0>64}", alice),
        });
        json!({ "call": asked, "returns": words(&[amount]) })
    };
    let ask = |entries: &[&Value]| {
        let answers = facts(entries);
        example
            .ask_with(&request, &Facts { account: Some(own), answers: &answers, ..Facts::at(NOW) })
    };
    let poor = tokens(500_000_000);
    assert_eq!(ask(&[&balance(11_010), &poor]), rule("above the reserve"));
    assert_eq!(ask(&[&balance(11_009), &poor]), Err("balance"));
    assert_eq!(ask(&[&balance(20_000), &tokens(500_000_001)]), Err("call"));
    // Of another account nobody asked.
    let answers = facts(&[&balance(20_000), &poor]);
    let other = Facts { account: Some(account(0x55)), answers: &answers, ..Facts::at(NOW) };
    assert_eq!(example.ask_with(&request, &other), Err("fact"));
    let nobody = Facts { answers: &answers, ..Facts::at(NOW) };
    assert_eq!(example.ask_with(&request, &nobody), Err("not-there"));
}
