//! All signatures that came back, against the limits; and against what the parties say that they did.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::request::SignedRequest;
use quorate_node::client::ClientError;
use quorate_node::handle::{ServiceError, Signed};
use quorate_tests::cluster::Cluster;
use quorate_tests::transaction::judge;
use serde_json::Value;

use crate::keys::{
    Asked, Keys, Kind, MAX_SLIDING, MAX_SPEND, MAX_STRICT, MAX_TOKENS, MAX_TRANSFERS, WINDOW,
    tokens,
};

#[derive(Default)]
pub(crate) struct Books {
    pub(crate) asked: Vec<Asked>,
    /// What came of each call, in a word.
    pub(crate) outcomes: Vec<(Kind, String)>,
    /// Who signed which request: a request may have several signatures, by several quorums.
    signed: BTreeMap<Asked, Vec<Vec<u16>>>,
}

impl Books {
    /// A signature is judged by others' code; an error must be of a kind that kills and limits cause.
    /// In a word.
    pub(crate) fn answer(
        &mut self,
        keys: &Keys,
        asked: Asked,
        answer: Result<Signed, ClientError>,
    ) -> String {
        let (kind, key) = (asked.kind, keys.of(asked.kind));
        let came = match answer {
            Ok(signed) => {
                let verdict = judge(signed.raw_transaction.as_deref().unwrap());
                assert_eq!(verdict.sender, key.address.to_lowercase());
                assert_eq!(verdict.number(1), u128::from(asked.nonce), "another transaction");
                let cost = verdict.number(6) + verdict.number(3) * verdict.number(4);
                assert_eq!(cost, asked.cost());
                if kind == Kind::Tokens {
                    assert_eq!(tokens(&verdict.fields[7]), u128::from(asked.amount));
                }
                assert_eq!(signed.signers.len(), 3);
                self.signed.entry(asked).or_default().push(signed.signers);
                "signed".to_owned()
            }
            Err(ClientError::Unreachable { .. }) => "unreachable".to_owned(),
            Err(ClientError::Refused(error)) => match error {
                ServiceError::Denied { rule, .. } => {
                    assert_eq!(rule, "window", "{kind:?}: nothing else denies here");
                    "window".to_owned()
                }
                ServiceError::NotEnoughParties { .. } => "not enough parties".to_owned(),
                ServiceError::Deadline { .. } => "deadline".to_owned(),
                ServiceError::Busy => "busy".to_owned(),
                ServiceError::ProtocolFailure { culprits, reason } => {
                    assert!(culprits.is_empty(), "nobody lies here: {reason}");
                    "attempts".to_owned()
                }
                // Party 4 holds no share of the key of three.
                ServiceError::UnknownKey { .. } if kind == Kind::StrictAll => "no key".to_owned(),
                other => panic!("{kind:?}: not an error that kills explain: {other:?}"),
            },
            Err(other) => panic!("{kind:?}: {other}"),
        };
        self.outcomes.push((kind, came.clone()));
        came
    }

    fn of(&self, kinds: &[Kind]) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(|asked| kinds.contains(&asked.kind))
    }

    fn signed_of(&self, kind: Kind) -> Vec<&Asked> {
        self.signed.keys().filter(|asked| asked.kind == kind).collect()
    }
}

fn hash(asked: &Asked) -> String {
    hex::encode(SignedRequest::parse(&asked.bytes).unwrap().hash())
}

/// When a party first released something for each request, by its log.
fn releases(cluster: &Cluster, party: u16) -> BTreeMap<String, u64> {
    let (store, mut from, mut first) = (cluster.store(party), 1, BTreeMap::new());
    store.audit_verify().unwrap();
    loop {
        let entries = store.audit(from, 512).unwrap();
        let Some(last) = entries.last() else { return first };
        from = last.number + 1;
        for entry in &entries {
            let record: Value = serde_json::from_slice(&entry.record).unwrap();
            if record["event"] == "released" {
                let request = record["request"].as_str().unwrap().to_owned();
                first.entry(request).or_insert(record["at"].as_u64().unwrap());
            }
        }
    }
}

/// What a party has on record as counted.
fn counted<'b>(books: &'b Books, cluster: &Cluster, party: u16) -> BTreeSet<&'b Asked> {
    let store = cluster.store(party);
    let is_counted = |asked: &&Asked| {
        let hash = SignedRequest::parse(&asked.bytes).unwrap().hash();
        store.request(hash).unwrap().is_some_and(|row| row.counted)
    };
    books.asked.iter().filter(is_counted).collect()
}

/// Each limit with what it counts, and how much of it: all of these lie within one day.
type Measure = fn(&Asked) -> u128;
const LIMITS: [(&str, &[Kind], Measure, u128); 5] = [
    ("tokens", &[Kind::Tokens], |asked| asked.amount as u128, MAX_TOKENS),
    ("transfers", &[Kind::Tokens], |_| 1, MAX_TRANSFERS),
    ("spend", &[Kind::Ether], Asked::cost, MAX_SPEND),
    ("strict: party 2", &[Kind::StrictParty], |_| 1, MAX_STRICT),
    ("strict: all", &[Kind::StrictAll], |_| 1, MAX_STRICT),
];

/// With all parties stopped.
pub(crate) fn check(books: &Books, cluster: &Cluster, keys: &Keys) {
    let (mut full, mut slid) = (BTreeSet::new(), false);
    for party in cluster.ids() {
        let (released, counted) = (releases(cluster, party), counted(books, cluster, party));
        // Who took part counted, and who counted took part.
        for (asked, quorums) in &books.signed {
            let took_part = quorums.iter().flatten().any(|signer| *signer == party);
            assert!(!took_part || counted.contains(asked), "party {party} did not count {asked:?}");
        }
        for asked in &books.asked {
            let took_part = released.contains_key(&hash(asked));
            assert_eq!(took_part, counted.contains(asked), "party {party}: {asked:?}");
        }
        for (name, kinds, measure, max) in LIMITS {
            let of_it = counted.iter().filter(|asked| kinds.contains(&asked.kind));
            let sum: u128 = of_it.map(|asked| measure(asked)).sum();
            assert!(sum <= max, "party {party} exceeded {name}: {sum} of {max}");
            // Nothing that anybody asked for fits any more.
            let least = books.of(kinds).map(measure).min().unwrap();
            if sum + least > max {
                full.insert(name);
            }
        }
        for kind in [Kind::Ether, Kind::StrictParty, Kind::StrictAll, Kind::Sliding] {
            if kind == Kind::StrictAll && party == 4 {
                continue;
            }
            let of_key = counted.iter().filter(|asked| asked.kind.key() == kind.key());
            let costs: u128 = of_key.map(|asked| asked.cost()).sum();
            assert_eq!(cluster.spent(party, keys.of(kind)), costs, "party {party}: {kind:?}");
        }
        slid |= slides(books, party, &released);
    }
    assert!(slid, "nobody's short window ever moved on");
    for limit in ["tokens", "spend", "strict: party 2", "strict: all"] {
        assert!(full.contains(limit), "nobody's limit was used up: {limit}, only {full:?}");
    }
    over_the_group(books);
}

/// No window of that length holds more, wherever it begins; whether several had something.
fn slides(books: &Books, party: u16, released: &BTreeMap<String, u64>) -> bool {
    let of_it = books.of(&[Kind::Sliding]);
    let times: Vec<u64> = of_it.filter_map(|asked| released.get(&hash(asked)).copied()).collect();
    for from in &times {
        let within = times.iter().filter(|time| (*from..from + WINDOW).contains(time)).count();
        assert!(within <= MAX_SLIDING, "party {party}: {within} in the window from {from}");
    }
    times.len() > MAX_SLIDING
}

/// A strict limit is the group's; of another each of 4 parties counts its own, and 3 of them sign.
fn over_the_group(books: &Books) {
    for (name, kinds, measure, max) in LIMITS {
        let signed = kinds.iter().flat_map(|kind| books.signed_of(*kind));
        let sum: u128 = signed.map(measure).sum();
        let bound = if name.starts_with("strict") { max } else { max * 4 / 3 };
        println!("{name}: {sum} signed, a party may have {max}, the group {bound}");
        assert!(sum <= bound, "the group exceeded {name}: {sum} of {bound}");
        assert!(sum > 0, "{name}: nothing was signed");
    }
    for kind in Kind::ALL {
        let denied =
            books.outcomes.iter().filter(|(of, came)| *of == kind && came == "window").count();
        assert!(denied > 0, "{kind:?} never met its limit");
    }
}
