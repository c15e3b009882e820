//! What a policy costs: a judgement alone, and whole signatures of real processes with and without one.

use std::time::Instant;

use ed25519_dalek::SigningKey;
use quorate_core::derive::Derivation;
use quorate_core::policy::{Facts, Policy};
use quorate_core::request::{KeyId, NetworkId, Payload, SignRequest, SignedRequest};
use quorate_node::client::{Wish, read_client_key, signed_request};
use quorate_node::handle::KeyInfo;
use quorate_node::policy_file::from_json;
use quorate_tests::cluster::process::processes_with;
use quorate_tests::cluster::{CHAIN, Cluster, Hsm, RECIPIENT, Transfer};
use serde_json::{Value, json};

use crate::clock::median;

const RECIPIENTS: u32 = 1000;
const NOW: u64 = 1_800_000_000;
/// Signatures of each sort, by turns, and in a block of one sort.
const SIGNATURES: u64 = 200;
const BLOCKS: u64 = 3;

/// Microseconds.
pub struct Judgement {
    pub judge: f64,
    pub check: f64,
    pub request: f64,
}

/// Milliseconds.
pub struct Signatures {
    pub bare: f64,
    pub policy: f64,
    pub difference: f64,
    /// Processor time of all four together.
    pub bare_used: f64,
    pub policy_used: f64,
}

/// Transfers to one of a thousand accounts, with two limits that these measurements do not reach.
fn typical(client: &str) -> Value {
    let strangers = (1..RECIPIENTS).map(|number| format!("0x{number:040x}"));
    let recipients: Vec<String> = strangers.chain([RECIPIENT.to_owned()]).collect();
    json!({ "rules": [{
        "name": "transfers",
        "when": {
            "client": [client], "chain": [CHAIN], "to": recipients, "data": "none",
            "value": { "at_most": "1 ether" }, "fee": { "at_most": "0.01 ether" },
        },
        "limits": [
            { "measure": "spend", "max": "1000 ether", "per": "1day" },
            { "measure": "signatures", "max": 100_000, "per": "1h" },
        ],
    }] })
}

/// The smallest policy that there is.
fn bare(client: &str) -> Value {
    json!({ "rules": [{ "name": "digests", "payload": ["raw-digest"], "when": { "client": [client] } }] })
}

/// A judgement in this process, without a network.
pub fn judgement() -> Judgement {
    let key = SigningKey::from_bytes(&[1; 32]);
    let client = format!("ed25519:{}", hex::encode(key.verifying_key().to_bytes()));
    let bytes = from_json(&typical(&client)).expect("a policy").into_vec();
    let transaction = hex::decode(
        "02ec827a698084b2d05e008504a817c8008252089470997970c51812dc3a010c7d01b50e0d17dc79c88203e880c0",
    );
    let transaction = transaction.expect("a transaction");
    let request = SignRequest {
        network: NetworkId([1; 16]),
        key: KeyId([2; 16]),
        derivation: Derivation::Root,
        payload: Payload::EthereumTransaction(&transaction),
        label: "rent",
        expires: NOW + 60,
        nonce: [3; 16],
    };
    let mut buffer = vec![0; quorate_core::request::MAX_REQUEST];
    let signed = request.sign(&key, &mut buffer).expect("it fits");
    let policy = Policy::parse(&bytes).expect("a policy");
    let parsed = SignedRequest::parse(signed).expect("a request");
    let judge = || {
        let mut allowed = 0;
        policy.judge(&parsed, &Facts::at(NOW), &mut |step| {
            allowed += u32::from(matches!(step, quorate_core::policy::Trace::Allowed(_)));
        })
    };
    judge().expect("the policy allows it");
    Judgement {
        judge: median(5000, judge),
        check: median(2000, || Policy::parse(&bytes).map(|_| ())),
        request: median(2000, || SignedRequest::parse(signed).map(|_| ())),
    }
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Signatures of four processes, by turns.
pub fn signatures() -> Signatures {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let text = std::fs::read_to_string(cluster.client_file()).expect("a file");
    let key = read_client_key(&text).expect("a client's key");
    let digests = cluster.create_key(1, "bare", &bare(cluster.client_name()));
    let transfers = cluster.create_key(1, "policy", &typical(cluster.client_name()));
    let client = cluster.client(1);
    let network = *SignedRequest::parse(&cluster.request(&transfers, &Transfer::default()))
        .expect("a request")
        .network()
        .as_bytes();
    let digest = |number: u64| {
        let mut payload = [7; 32];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        let wish = Wish {
            derivation: Derivation::Root,
            network,
            key: id(&digests),
            payload: Payload::Digest(payload),
            label: "a digest",
            expires: now() + 3600,
        };
        signed_request(&wish, &key).expect("it is signed")
    };
    let time = |request: &[u8]| {
        let start = Instant::now();
        let signed = client.sign(request).expect("a signature");
        assert!(!signed.repeated, "each is another request");
        start.elapsed().as_secs_f64() * 1e3
    };
    let mut pairs = Vec::new();
    // The first of each open the share.
    for number in 0..SIGNATURES + 20 {
        let requests = (digest(number), cluster.request(&transfers, &Transfer::number(number)));
        // Who is first changes, so that neither sort always follows the other.
        let pair = if number % 2 == 0 {
            let bare = time(&requests.0);
            (bare, time(&requests.1))
        } else {
            let policy = time(&requests.1);
            (time(&requests.0), policy)
        };
        pairs.push(pair);
    }
    let pairs = &pairs[20..];
    let processes = processes_with(&cluster.root().display().to_string());
    let mut used = [0.0; 2];
    for block in 0..BLOCKS {
        for (sort, used) in used.iter_mut().enumerate() {
            let numbers = (1000 + block * SIGNATURES)..(1000 + (block + 1) * SIGNATURES);
            let make = |number| match sort {
                0 => digest(number),
                _ => cluster.request(&transfers, &Transfer::number(number)),
            };
            let requests: Vec<_> = numbers.map(make).collect();
            let before = processor_time(&processes);
            requests.iter().for_each(|request| {
                time(request);
            });
            *used += processor_time(&processes) - before;
        }
    }
    let [bare_used, policy_used] = used.map(|ms| ms / (BLOCKS * SIGNATURES) as f64);
    Signatures {
        bare: middle(pairs.iter().map(|pair| pair.0).collect()),
        policy: middle(pairs.iter().map(|pair| pair.1).collect()),
        difference: middle(pairs.iter().map(|pair| pair.1 - pair.0).collect()),
        bare_used,
        policy_used,
    }
}

/// What these processes have used so far, milliseconds.
fn processor_time(processes: &[u32]) -> f64 {
    let of = |process: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
        // Behind the name, which is in parentheses: fields 14 and 15 of proc(5), in ticks of 10 ms.
        let fields = text.rsplit_once(')').expect("a name").1;
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks.map(|ticks| ticks.parse::<f64>().expect("a number") * 10.0).sum::<f64>()
    };
    processes.iter().map(of).sum()
}

fn id(key: &KeyInfo) -> [u8; 16] {
    hex::decode(&key.key).expect("hexadecimal").try_into().expect("an id")
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}
