//! Seeds: real messages, records and requests, and plans of operations. The same bytes whenever they are made.

use ed25519_dalek::SigningKey;
use quorate_core::key::{Confirmation, ShareRecord};
use quorate_core::party::PartyId;
use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::{
    Address, UNSIGNED_OVERHEAD, UnsignedFields, message, signed_transaction, unsigned_transaction,
};
use quorate_core::request::{
    Derivation, KeyId, MAX_REQUEST, NetworkId, Payload, SignRequest, SignedRequest, Veto,
    approval_text,
};
use quorate_core::wire;
use quorate_node::policy_file;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng as _};

use super::sessions::{Taken, dkg_runs, drain, ecdsa_start, schnorr_start};
use crate::node_values;
use crate::simulator::forge::{Commit, Deal, kind, resigned};
use crate::simulator::{Curve, K, N, Packet, Stored, group, id, session_key};

pub(super) type Seeds = Vec<(String, Vec<u8>)>;

pub(super) fn named(name: &str, bytes: Vec<u8>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes)
}

/// What party 1 receives of the others in a key generation in which party 2 changes what it sends.
fn received(mut change: impl FnMut(Packet) -> Packet) -> Vec<Packet> {
    let mut runs = dkg_runs();
    let (mut queue, mut seen) = (Vec::new(), Vec::new());
    let all: Vec<PartyId> = runs.keys().copied().collect();
    for me in all {
        if let Some(run) = runs.get_mut(&me) {
            drain(me, run, |packet| queue.push(packet));
        }
    }
    while !queue.is_empty() {
        let mut packet = queue.remove(0);
        if packet.from == id(2) {
            packet = change(packet);
        }
        if packet.to == id(1) {
            seen.push(packet.clone());
        }
        if let Some(run) = runs.get_mut(&packet.to) {
            let _ = run.handle_message(packet.from, &packet.bytes, &session_key(packet.to));
            drain(packet.to, run, |packet| queue.push(packet));
        }
    }
    seen
}

/// Every round, and both complaints.
pub(super) fn dkg() -> Seeds {
    let round = |packet: &Packet| kind(packet).map(|(_, round)| round);
    let mut seeds = Vec::new();
    for packet in received(|packet| packet).into_iter().filter(|packet| packet.from == id(2)) {
        seeds.push((format!("round-{}", round(&packet).unwrap_or_default()), packet.bytes));
    }
    let to_3 = |packet: &Packet, wanted| packet.to == id(3) && round(packet) == Some(wanted);
    let complaint = |seen: Vec<Packet>| {
        let from_3 =
            seen.into_iter().find(|packet| packet.from == id(3) && round(packet) == Some(0));
        from_3.map(|packet| packet.bytes).unwrap_or_default()
    };
    let bad_deal = received(|packet| match to_3(&packet, 3) {
        true => resigned(packet, |deal: &mut Deal| {
            if let Some(last) = deal.share.last_mut() {
                *last ^= 1;
            }
        }),
        false => packet,
    });
    seeds.push(named("bad-deal", complaint(bad_deal)));
    let two_faced = received(|packet| match to_3(&packet, 1) {
        true => resigned(packet, |commit: &mut Commit| commit.nonce = [9; 32]),
        false => packet,
    });
    seeds.push(named("echo", complaint(two_faced)));
    seeds
}

/// All messages of a signing session that arrive at the coordinator or at party 4.
fn session<T, E>(
    nonces: Vec<Packet>,
    mut take: impl FnMut(&Packet) -> Result<Taken<T>, E>,
) -> Seeds {
    let (mut queue, mut seeds) = (nonces, Vec::new());
    while !queue.is_empty() {
        let packet = queue.remove(0);
        if let Ok(Taken::Answer(answer)) = take(&packet) {
            queue.push(answer);
        }
        let (from, to) = (packet.from, packet.to);
        if from == id(2) {
            let round = kind(&packet).map_or(0, |(_, round)| round);
            seeds.push((format!("round-{round}-to-{to}"), packet.bytes));
        }
    }
    seeds
}

pub(super) fn ecdsa() -> Seeds {
    let Some(mut run) = ecdsa_start() else { return Vec::new() };
    session(run.nonces(), |packet| run.take(packet))
}

pub(super) fn schnorr() -> Seeds {
    let Some(mut run) = schnorr_start() else { return Vec::new() };
    session(run.nonces(), |packet| run.take(packet))
}

pub(super) fn messages() -> Seeds {
    let of = |protocol: &str, seeds: Seeds| -> Seeds {
        seeds.into_iter().map(|(name, bytes)| (format!("{protocol}-{name}"), bytes)).collect()
    };
    [of("dkg", dkg()), of("ecdsa", ecdsa()), of("schnorr", schnorr())].concat()
}

pub(super) fn encoded<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_to(value, |part| bytes.extend_from_slice(part));
    bytes
}

pub(super) fn records() -> Seeds {
    let group = group(4, 2, 1);
    let Some(stored) = group.get(&id(1)) else { return Vec::new() };
    let own_first = |me: &PartyId| (*me != id(1), *me);
    let mut parties: Vec<PartyId> = group.keys().copied().collect();
    parties.sort_by_key(own_first);
    let of = |me| group.get(me).map(|stored: &Stored<Curve>| &stored.confirmation);
    let confirmations: Vec<&Confirmation<N, K>> = parties.iter().filter_map(of).collect();
    let Ok(record) = wire::decode::<ShareRecord<N, K>>(&stored.sealed) else { return Vec::new() };
    vec![
        named("terms", encoded(&stored.public.terms)),
        named("public-key", encoded(&stored.public)),
        named("share-record", stored.sealed.clone()),
        named("confirmation", encoded(&stored.confirmation)),
        named("all", encoded(&(&stored.public, &record, confirmations))),
        named("point", stored.public.commitment.first().map(|p| p.0.to_vec()).unwrap_or_default()),
    ]
}

/// When the requests of the seeds expire.
pub(super) const EXPIRES: u64 = 1_800_000_600;

fn client() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// Allows what the seeds ask for, and has a condition of every kind.
pub(super) fn policy() -> Vec<u8> {
    let client = hex::encode(client().verifying_key().to_bytes());
    let account = |byte: u8| Address([byte; 20]).to_string();
    let everything = serde_json::json!({ "rules": [
        {
            "name": "seeds",
            "when": {
                "client": [client], "chain": [1, 31337], "to": [account(0x70), account(0x71)],
                "value": { "at_most": "1 ether" }, "fee": { "at_most": "0.1 ether" },
            },
            "limits": [{ "measure": "spend", "max": "5 ether", "per": "1h" }],
        },
        {
            "name": "others",
            "payload": ["transaction", "set-code", "message", "typed-data", "raw-digest"],
            "when": { "any": [
                { "approvals": { "at_least": 1, "of": [client] } },
                { "delay": { "for": "36h", "veto": [client] } },
                { "at_least": { "count": 1, "of": [
                    { "time": { "not_before": "2099-01-01T00:00:00Z" } },
                    { "not": { "schedule": { "days": ["sat"], "from": "22:00", "to": "06:00", "utc_offset": "-03:30" } } },
                ] }, "creates_contract": true },
                { "function": ["transfer(address,uint256)"], "data": "none", "delegate": [account(1)] },
                { "argument": { "function": "transfer(address,uint256)", "at": 1, "at_most": "7", "decimals": 6 } },
                { "argument": { "function": "f((int8,bool)[],bytes)", "at": [0, 2, 0], "at_least": -5 } },
                { "type": "Permit", "domain": { "name": { "equals": "Coin" }, "chainId": { "equals": 1 },
                    "verifyingContract": { "in": [account(2)] }, "salt": { "equals": "0x00" } } },
                { "field": { "at": "value.to", "as": "address", "in": [account(3)] } },
                { "field": { "at": ["list", 3], "as": "bool", "equals": true } },
                { "message": { "pattern": "login to * at ?", "starts_with": "login" } },
                { "signatures": { "at_least": 1, "of": [account(5), account(6)] } },
                { "block": { "chain": 1, "confirmations": 2, "number": { "at_least": 7 }, "max_age": "5m" } },
                { "balance": { "chain": 1, "confirmations": 2, "account": "$to", "at_least": "1 ether" } },
                { "erc20_balance": { "chain": 1, "confirmations": 2, "token": account(7), "owner": "$key", "at_least": 1 } },
                { "erc721_owner": { "chain": 1, "confirmations": 2, "contract": account(7), "token_id": 5, "is": "$signer" } },
                { "erc1155_balance": { "chain": 1, "confirmations": 2, "contract": account(7), "owner": account(8), "token_id": 5, "at_least": 1 } },
                { "evm_call": { "chain": 1, "confirmations": 2, "contract": account(9), "at": [0, 2, 1], "starts_with": "x",
                    "function": "f(uint8,int16,bool,bytes4,uint256,address) returns ((int8,string)[],bytes)",
                    "args": [7, -5, true, "0x01020304", "$value", "$to"] } },
                { "evm_call": { "chain": 1, "confirmations": 2, "contract": account(9), "is": "$key",
                    "function": "f(uint256[2]) returns (address)", "words": ["$value", "$key"] } },
                { "http": { "url": "https://a.example/x?y=1", "pointer": "/data/0", "time": "/time", "max_age": "5m",
                    "as": "number", "at_least": "-2000.5" } },
                { "http": { "url": "https://a.example", "pointer": "", "max_age": "1h", "as": "text", "pattern": "ok*" } },
                { "http": { "url": "https://a.example", "pointer": "/ok", "max_age": "1h", "as": "bool", "equals": true } },
            ] },
            "limits": [
                { "measure": "signatures", "max": 3, "per": "7days", "scope": "key" },
                { "measure": { "contract": account(4), "function": "transfer(address,uint256)", "at": 1 },
                  "max": "100", "decimals": 6, "per": "1day", "strict": { "party": 2 } },
            ],
        },
    ] });
    compiled(&everything)
}

fn compiled(policy: &serde_json::Value) -> Vec<u8> {
    policy_file::from_json(policy).map(|policy| policy.into_vec()).unwrap_or_default()
}

/// With the conditions for devices.
fn policy_for_devices() -> Vec<u8> {
    let block = serde_json::json!({ "block": { "chain": 1, "confirmations": 2, "max_age": "5m" } });
    let elsewhere = serde_json::json!({ "any": [block, { "not": block }] });
    let when = serde_json::json!({ "chain": [1], "elsewhere": elsewhere, "confirm": true });
    compiled(&serde_json::json!({ "rules": [{ "name": "confirmed", "when": when }] }))
}

pub(super) fn policies() -> Seeds {
    let texts = [
        ("amount", "340282366920938463463374607431768211456"),
        ("address", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        ("path", "m/44/60/0/0/2147483647"),
        ("context", "customer 17"),
    ];
    let texts = texts.map(|(name, text)| named(name, text.as_bytes().to_vec()));
    let policies = [("policy", policy()), ("policy-device", policy_for_devices())];
    let policies = policies.map(|(name, bytes)| named(name, bytes));
    [policies.to_vec(), texts.to_vec()].concat()
}

fn transaction(data: &[u8], to: Option<Address>) -> Vec<u8> {
    let amount = |text| Amount::from_decimal(text).unwrap_or_default();
    let fields = UnsignedFields {
        chain_id: 31337,
        nonce: 5,
        max_priority_fee_per_gas: amount("1000000000"),
        max_fee_per_gas: amount("2000000000"),
        gas_limit: 21_000,
        to,
        value: amount("1000000000000000"),
        data,
    };
    let mut buffer = vec![0; data.len() + UNSIGNED_OVERHEAD];
    unsigned_transaction(&fields, &mut buffer).map(<[u8]>::to_vec).unwrap_or_default()
}

pub(super) fn transactions() -> Seeds {
    let to = Some(Address([0x70; 20]));
    let plain = transaction(&[], to);
    let mut buffer = vec![0; plain.len() + 80];
    let signed = signed_transaction(&plain, true, &[0x11; 32], &[0x22; 32], &mut buffer);
    let signed = signed.map(<[u8]>::to_vec).unwrap_or_default();
    // A list of one address with one storage key in the place of the empty one.
    let mut listed = plain.clone();
    listed.pop();
    listed.extend([0xf8, 0x38, 0xf7, 0x94]);
    listed.extend([0x33; 20]);
    listed.extend([0xe1, 0xa0]);
    listed.extend([0x44; 32]);
    let ours = vec![
        named("creation", transaction(&[1, 2, 3], None)),
        named("data", transaction(&[0xab; 100], to)),
        named("listed", listed),
        named("plain", plain),
        named("signed", signed),
    ];
    [ours, super::payloads::transactions()].concat()
}

pub(super) fn requests() -> Seeds {
    let payload = transaction(&[], Some(Address([0x70; 20])));
    let derivations = [
        ("root", Some(Derivation::Root)),
        ("path", "m/0/5".parse().ok().map(Derivation::Path)),
        ("context", "customer 17".parse().ok().map(Derivation::Context)),
    ];
    let typed_data = super::payloads::typed().swap_remove(0).1;
    let kinds = [
        ("message", Payload::EthereumMessage(b"Hello World")),
        ("typed-data", Payload::EthereumTypedData(&typed_data)),
        ("digest", Payload::Digest([0xdd; 32])),
    ];
    let signed = |name: &str, derivation: Option<Derivation>, payload: Payload<'_>| {
        let request = SignRequest {
            network: NetworkId([1; 16]),
            key: KeyId([2; 16]),
            derivation: derivation?,
            payload,
            label: "rent",
            expires: EXPIRES,
            nonce: [3; 16],
        };
        let mut buffer = vec![0; MAX_REQUEST];
        Some(named(name, request.sign(&client(), &mut buffer).ok()?.to_vec()))
    };
    let transactions = derivations.into_iter().filter_map(|(name, derivation)| {
        signed(name, derivation, Payload::EthereumTransaction(&payload))
    });
    let others = kinds.into_iter();
    let others = others.filter_map(|(name, kind)| signed(name, Some(Derivation::Root), kind));
    let all: Seeds = transactions.chain(others).collect();
    let approved = all.first().and_then(|(_, bytes)| approved(bytes));
    let veto = Veto::sign(KeyId([2; 16]), [3; 32], EXPIRES, &client()).encode().to_vec();
    let more =
        approved.map(|bytes| named("approved", bytes)).into_iter().chain([named("veto", veto)]);
    all.into_iter().chain(more).collect()
}

/// The request, approved in both ways.
fn approved(request: &[u8]) -> Option<Vec<u8>> {
    let mut buffer = vec![0; MAX_REQUEST];
    let request = SignedRequest::parse(request).ok()?.approve(&client(), &mut buffer).ok()?;
    let request = SignedRequest::parse(request).ok()?;
    let text = message::digest(approval_text(&request.hash()).as_bytes());
    let key = k256::ecdsa::SigningKey::from_slice(&[0x22; 32]).ok()?;
    let (numbers, id) = key.sign_prehash_recoverable(&text).ok()?;
    let signature = [&numbers.to_bytes()[..], &[27 + id.to_byte()]].concat();
    let mut buffer = vec![0; MAX_REQUEST];
    let (_, bytes) = request.add_signature(&signature.try_into().ok()?, &mut buffer).ok()?;
    Some(bytes.to_vec())
}

/// By the layout that `hsm/src/blob.rs` freezes: a sealed blob itself is random.
pub(super) fn blobs() -> Seeds {
    let mut blob = b"QSLB\x01\x01".to_vec();
    blob.extend([0x11; 16]);
    blob.extend([0, 3]);
    blob.extend([0x22; 16]);
    blob.extend([0, 0, 0, 7, 0, 0, 0, 9]);
    blob.extend([0x33; 32]);
    blob.push(1);
    blob.extend([0, 0, 0, 0, 0, 0, 0, 8, 1]);
    blob.extend(b"\x06pkcs11\x02t1\x02\xab\xcd\x00\x00\x00\x04\x00\x03\x44\x44\x44");
    blob.extend([0x55; 24]);
    blob.extend([0, 0, 0, 20]);
    blob.extend([0x66; 20]);
    vec![named("token", blob)]
}

/// Every message, frame and row of the node's.
pub(super) fn node() -> Seeds {
    let messages = node_values::messages().into_iter();
    let messages = messages.map(|(name, message)| (format!("message-{name}"), message.encode()));
    let frames = node_values::frames().into_iter();
    let frames = frames.map(|(name, frame)| (format!("frame-{name}"), frame.encode()));
    let rows = [
        named("row-key", encoded(&node_values::key_row())),
        named("row-request", encoded(&node_values::request_row())),
        named("row-waiting", encoded(&node_values::waiting_row())),
        named("row-veto", encoded(&node_values::veto_row())),
    ];
    messages.chain(frames).chain(rows).collect()
}

/// In order; and what a generator makes of it, with each party in turn, or nobody, corrupt.
pub(super) fn plans() -> Seeds {
    let mut rng = ChaCha20Rng::seed_from_u64(0x91a5);
    let mut seeds = vec![named("in-order", Vec::new())];
    for place in 0..10u8 {
        let mut bytes = vec![0; 40 + usize::from(place) * 30];
        rng.fill_bytes(&mut bytes);
        // The end of the plan, and the corrupt party in two bytes.
        if let Some(head) = bytes.get_mut(..3) {
            head.copy_from_slice(&[place & 1, 0, place % 5]);
        }
        seeds.push((format!("random-{place}"), bytes));
    }
    // The same after so many packets in order: 12 are a round of a key generation.
    for (calm, corrupt) in [(4, 0u8), (12, 1), (24, 0), (25, 1), (25, 2), (27, 3), (29, 1), (36, 1)]
    {
        let mut tail = [0; 90];
        rng.fill_bytes(&mut tail);
        let bytes = [&[calm as u8 & 1, 0, corrupt], [0; 3].repeat(calm).as_slice(), &tail].concat();
        seeds.push((format!("after-{calm}-by-{corrupt}"), bytes));
    }
    seeds
}

/// Whether the seeds are what they say, for the test of them.
#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::policy::ethereum::{Transaction, take_apart};

    #[test]
    fn seeds_are_whole() {
        let names = |seeds: &Seeds| seeds.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let dkg = dkg();
        assert_eq!(names(&dkg), ["round-1", "round-2", "round-3", "bad-deal", "echo"]);
        assert!(dkg.iter().all(|(_, bytes)| bytes.len() > 100));
        assert_eq!(names(&ecdsa()), ["round-1-to-1", "round-1-to-4", "round-2-to-1"]);
        assert_eq!(names(&schnorr()), ["round-1-to-1", "round-1-to-4", "round-2-to-1"]);
        for (name, bytes) in transactions() {
            match name.as_str() {
                "signed" => assert!(take_apart(&bytes).is_ok()),
                // Its length does not count the list: a near miss.
                "listed" => assert!(Transaction::parse(&bytes).is_err()),
                _ => assert!(Transaction::parse(&bytes).is_ok(), "{name}"),
            }
        }
        assert_eq!(requests().len(), 8);
        for (name, bytes) in requests() {
            match name.as_str() {
                "veto" => assert!(Veto::parse(&bytes).is_ok()),
                _ => assert!(SignedRequest::parse(&bytes).is_ok(), "{name}"),
            }
        }
        assert!(quorate_core::policy::Policy::parse(&policies()[0].1).is_ok());
        assert!(quorate_hsm::inspect(&blobs()[0].1).is_ok());
        assert!(records().iter().all(|(_, bytes)| bytes.len() > 32));
    }
}
