//! The firmware on this machine, as one party of a group: keys, signatures, refusals, power cuts at any byte
//! that it writes, and a flash that was put back.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "chip_group/forget.rs"]
mod forget;

use quorate_core::curve::Suite;
use quorate_core::device::link::{Refused, Request};
use quorate_core::policy::ethereum::{UNSIGNED_OVERHEAD, UnsignedFields, unsigned_transaction};
use quorate_core::policy::{Amount, ethereum::Address};
use quorate_core::request::Payload;
use quorate_node::message::{PeerMessage, Rejection};
use quorate_node::policy_file;
use quorate_tests::chip::Reply;
use quorate_tests::chip_group::{
    ChipGroup, DeviceLink as _, Failed, Flash, HostedDevice, Person, Signed,
};
use serde_json::json;

const PIN: &[u8] = b"123456";
const ALICE: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const SUITES: [Suite; 3] = [Suite::EcdsaSecp256k1, Suite::SchnorrSecp256k1, Suite::SchnorrEd25519];

/// A group whose device has joined, and is there.
fn group(seed: u64, members: u8, flash: &Flash) -> ChipGroup<HostedDevice> {
    let mut group = ChipGroup::new(seed, members);
    let mut device = HostedDevice::start(flash, seed).unwrap();
    group.pair(&mut device, PIN).unwrap();
    group.connect(device, PIN).unwrap();
    group
}

/// Payments of up to 10 wei freely, of up to 100 with a confirmation; messages and digests too. Five in an hour
/// in all.
fn policy(group: &ChipGroup<HostedDevice>) -> Vec<u8> {
    let client = hex::encode(group.client().verifying_key().to_bytes());
    let limits = json!([{ "measure": "signatures", "max": 5, "per": "1h", "scope": "key" }]);
    let rule = |name: &str, value: u64| {
        json!({
            "name": name, "limits": limits,
            "when": { "client": [client], "chain": [1], "to": [ALICE], "value": { "at_most": value } },
        })
    };
    let (small, mut large) = (rule("small", 10), rule("large", 100));
    large["when"]["confirm"] = json!(true);
    large["when"]["elsewhere"] =
        json!({ "balance": { "chain": 1, "confirmations": 6, "account": "$key", "at_least": 7 } });
    let others = json!({
        "name": "others", "payload": ["message", "raw-digest"], "limits": limits, "when": { "client": [client] },
    });
    let policy = policy_file::from_json(&json!({ "rules": [small, large, others] }));
    policy.unwrap().into_vec()
}

fn transfer(value: u128, to: &str) -> Vec<u8> {
    let fields = UnsignedFields {
        chain_id: 1,
        nonce: 0,
        max_priority_fee_per_gas: Amount::ZERO,
        max_fee_per_gas: Amount::from_u128(10),
        gas_limit: 21_000,
        to: Address::from_hex(to),
        value: Amount::from_u128(value),
        data: &[],
    };
    let mut buffer = [0; UNSIGNED_OVERHEAD];
    unsigned_transaction(&fields, &mut buffer).unwrap().to_vec()
}

fn pay(group: &mut ChipGroup<HostedDevice>, key: &[u8; 16], value: u128) -> Result<Signed, Failed> {
    let request = group.request(key, Payload::EthereumTransaction(&transfer(value, ALICE)));
    group.sign(&request)
}

fn denied(result: Result<Signed, Failed>) -> String {
    match result {
        Err(Failed::Rejected(_, Rejection::Denied { rule, .. })) => rule,
        other => panic!("not denied: {other:?}"),
    }
}

/// No nonce under two contexts, and none that nobody can explain.
fn check_nonces(group: &ChipGroup<HostedDevice>, at_least: usize) {
    let report = group.nonces();
    assert!(report.reuses.is_empty() && report.unexplained.is_empty(), "{report:?}");
    assert!(report.points >= at_least, "{} nonces", report.points);
}

#[test]
fn a_key_of_each_suite_signs_with_the_device() {
    let payment = transfer(5, ALICE);
    for (suite, seed) in SUITES.into_iter().zip(1..) {
        let mut group = group(seed, 4, &Flash::default());
        let policy = policy(&group);
        let key = group.make_key(suite, 4, 2, &policy).unwrap();
        // Schnorr keys sign digests, and nothing else yet.
        let payloads = match suite {
            Suite::EcdsaSecp256k1 => {
                [Payload::EthereumMessage(b"hello"), Payload::EthereumTransaction(&payment)]
            }
            _ => [Payload::Digest([7; 32]), Payload::Digest([8; 32])],
        };
        let [first, second] = payloads.map(|payload| {
            let request = group.request(&key, payload);
            group.sign(&request).unwrap()
        });
        assert!(first.quorum.contains(group.device));
        assert_ne!(first.signature, second.signature);
        check_nonces(&group, 2);
        assert_eq!(group.incidents(), Vec::<String>::new());
    }
}

#[test]
fn seven_holders_and_two_sessions_at_once() {
    let mut group = group(11, 7, &Flash::default());
    let policy = policy(&group);
    let key = group.make_key(Suite::EcdsaSecp256k1, 7, 3, &policy).unwrap();
    let [one, two] = [1, 2].map(|value| {
        let request = group.request(&key, Payload::EthereumTransaction(&transfer(value, ALICE)));
        group.begin_signature(&request).unwrap()
    });
    group.finish_signature(&one).unwrap();
    group.finish_signature(&two).unwrap();
    check_nonces(&group, 2);
}

#[test]
fn the_device_denies_asks_and_counts_by_itself() {
    let mut group = group(21, 4, &Flash::default());
    let policy = policy(&group);
    let key = group.make_key(Suite::EcdsaSecp256k1, 4, 2, &policy).unwrap();
    let elsewhere = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
    let request = group.request(&key, Payload::EthereumTransaction(&transfer(1, elsewhere)));
    assert_eq!(denied(group.sign(&request)), "recipient");
    assert_eq!(denied(pay(&mut group, &key, 101)), "value");
    group.person = Person::Refuses;
    assert_eq!(denied(pay(&mut group, &key, 50)), "refused");
    group.person = Person::Confirms;
    pay(&mut group, &key, 50).unwrap();
    for _ in 0..4 {
        pay(&mut group, &key, 1).unwrap();
    }
    let over = pay(&mut group, &key, 1);
    assert!(matches!(over, Err(Failed::Rejected(..))), "{over:?}");
    check_nonces(&group, 5);
}

#[test]
fn keys_and_counts_outlast_a_restart() {
    let flash = Flash::default();
    let mut group = group(31, 4, &flash);
    let policy = policy(&group);
    let key = group.make_key(Suite::EcdsaSecp256k1, 4, 2, &policy).unwrap();
    for round in 0..5 {
        drop(group.disconnect());
        group.connect(HostedDevice::start(&flash, 100 + round).unwrap(), PIN).unwrap();
        pay(&mut group, &key, 1).unwrap();
    }
    drop(group.disconnect());
    group.connect(HostedDevice::start(&flash, 200).unwrap(), PIN).unwrap();
    let over = pay(&mut group, &key, 1);
    assert!(matches!(over, Err(Failed::Rejected(..))), "{over:?}");
    check_nonces(&group, 5);
}

#[test]
fn a_device_that_was_put_back_is_noticed() {
    let flash = Flash::default();
    let mut group = group(41, 4, &flash);
    let policy = policy(&group);
    let key = group.make_key(Suite::EcdsaSecp256k1, 4, 2, &policy).unwrap();
    pay(&mut group, &key, 1).unwrap();
    drop(group.disconnect());
    let earlier = flash.snapshot();
    group.connect(HostedDevice::start(&flash, 42).unwrap(), PIN).unwrap();
    pay(&mut group, &key, 2).unwrap();
    drop(group.disconnect());
    flash.restore(&earlier);
    // With the same noise as then.
    group.reseed(41);
    group.connect(HostedDevice::start(&flash, 42).unwrap(), PIN).unwrap();
    let refused = pay(&mut group, &key, 3);
    assert!(matches!(refused, Err(Failed::Rejected(..))), "{refused:?}");
    // Its operator accepts the loss: what it may have spent since counts as spent.
    let head = group.kept_head().unwrap();
    let device = group.link.as_mut().unwrap();
    assert_eq!(device.ask_person(Request::Readmit, false), Ok(Reply::Refused(Refused::Declined)));
    assert_eq!(device.ask_person(Request::Readmit, true), Ok(Reply::Done));
    assert_eq!(denied(pay(&mut group, &key, 3)), "window");
    assert_eq!(group.kept_head().map(|(generation, _)| generation), Some(head.0 + 1));
    assert!(!group.is_rolled_back());
    check_nonces(&group, 2);
}

/// The power fails after one other party has heard of it.
#[test]
fn a_key_that_became_active_unheard_is_active() {
    let flash = Flash::default();
    let mut group = group(71, 4, &flash);
    let policy = policy(&group);
    let key = group.begin_key(Suite::EcdsaSecp256k1, 4, 2, &policy);
    let told = |group: &ChipGroup<HostedDevice>| {
        group.said.iter().filter(|(_, said)| matches!(said, PeerMessage::KeyActive { .. })).count()
    };
    group.run(|group| told(group) == 1, "the device's word").unwrap();
    drop(group.disconnect());
    assert!(!group.is_active(&key) && told(&group) == 1);
    group.connect(HostedDevice::start(&flash, 72).unwrap(), PIN).unwrap();
    group.finish_key(&key).unwrap();
    pay(&mut group, &key, 1).unwrap();
    assert_eq!(told(&group), 1, "it says so once");
}

/// At each of some places at which the device writes, while a key is made and while it signs.
#[test]
fn power_cuts_lose_nothing_that_was_said() {
    let flash = Flash::default();
    let mut group = group(51, 4, &flash);
    let policy = policy(&group);
    let (mut cut, mut made, mut signed, mut noise) = (0, 0, 0, 1000);
    for round in 0..24_u64 {
        flash.cut_after(37 * round * round % 4001 + round);
        let key = group.begin_key(Suite::EcdsaSecp256k1, 4, 2, &policy);
        let ended = group.finish_key(&key);
        let mut restart = |group: &mut ChipGroup<HostedDevice>| {
            group.hear_out();
            flash.restore_power();
            drop(group.disconnect());
            noise += 1;
            group.connect(HostedDevice::start(&flash, noise).unwrap(), PIN).unwrap();
            let counted = match group.link.as_mut().unwrap().ask(Request::Status) {
                Ok(Reply::Status(status)) => status.log.1,
                other => panic!("{other:?}"),
            };
            assert!(counted >= group.releases(), "{counted} of {} counted", group.releases());
        };
        match ended {
            Ok(()) => {}
            Err(Failed::Gone) => {
                cut += 1;
                restart(&mut group);
                // What the device has confirmed it has kept.
                if group.has_confirmed(&key) {
                    group.finish_key(&key).unwrap();
                }
            }
            // There is room for four keys.
            Err(Failed::Rejected(..)) if round > 2 => break,
            Err(other) => panic!("round {round}: {other:?}"),
        }
        if group.is_active(&key) {
            made += 1;
            flash.cut_after(round * 29 % 331);
            match pay(&mut group, &key, 1) {
                Ok(_) => signed += 1,
                Err(Failed::Gone) => {
                    cut += 1;
                    restart(&mut group);
                    pay(&mut group, &key, 1).unwrap();
                }
                Err(other) => panic!("round {round}: {other:?}"),
            }
        }
        restart(&mut group);
    }
    assert!(cut >= 4 && made >= 1, "{cut} cut, {made} made, {signed} signed");
    check_nonces(&group, 1);
}
