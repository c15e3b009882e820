//! Policies that ask about the world, judged by real nodes with sources of their own: a chain with
//! contracts from Solidity, documents over TLS, and sources that lie or are of no use.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_core::policy::ethereum::Address;
use quorate_node::handle::{KeyInfo, ServiceError, Signed};
use quorate_tests::cluster::{CHAIN, Cluster, Deadlines, Hsm, RECIPIENT, Transfer};
use quorate_tests::web::{Authority, Does, Server, forward};
use quorate_tests::world::{Word, World};
use serde_json::{Value, json};

use super::{good, refused};

/// Sources have half of `accept`, so that a busy machine is no reason; what hangs has `timeout_ms`.
const DEADLINES: Deadlines = Deadlines { key: 60_000, accept: 40_000, sign: 30_000 };

/// Four parties, each with an endpoint of its own, which hands on to one chain until a test makes it do
/// something else; and all with one web server.
struct Scene {
    world: World,
    endpoints: Vec<Server>,
    web: Server,
    cluster: Cluster,
    /// Its certificate is read whenever a command begins.
    _authority: Authority,
}

impl Scene {
    fn new(timeout_ms: u32) -> Self {
        let world = World::start();
        let to: SocketAddr = world.chain.url().trim_start_matches("http://").parse().unwrap();
        let endpoints: Vec<Server> =
            (0..4).map(|_| Server::start(move |asked| Does::Says(forward(to, asked)))).collect();
        let authority = Authority::new();
        let web = Server::start_tls(&authority, |_| Does::Hangs);
        let cluster = Cluster::running_with(4, Hsm::Software, Some(DEADLINES), |party| {
            let rpc = endpoints[usize::from(party) - 1].url();
            let (web, ca) = (web.url(), authority.file().display().to_string());
            format!(
                "[facts]\ntimeout_ms = {timeout_ms}\n\
                 [[facts.chain]]\nid = {CHAIN}\nrpc = [\"{rpc}\"]\nprivate = true\n\
                 [[facts.web]]\nprefix = \"{web}/\"\nca_file = \"{ca}\"\nprivate = true\n"
            )
        });
        Self { world, endpoints, web, cluster, _authority: authority }
    }

    fn chain(&self) -> SocketAddr {
        self.world.chain.url().trim_start_matches("http://").parse().unwrap()
    }

    /// Each party's endpoint is honest again.
    fn heal(&self) {
        let to = self.chain();
        for endpoint in &self.endpoints {
            endpoint.now(move |asked| Does::Says(forward(to, asked)));
        }
    }

    /// A key with one rule for each condition; the transfer of so many wei goes by the rule of that place.
    fn key(&self, name: &str, conditions: &[Value]) -> KeyInfo {
        let rules = conditions.iter().enumerate().map(|(place, condition)| {
            let who = json!({ "client": [self.cluster.client_name()], "chain": [CHAIN] });
            let which = json!({ "value": { "equals": place } });
            json!({ "name": format!("rule-{place}"), "when": { "all": [who, which, condition] } })
        });
        let policy = json!({ "rules": rules.collect::<Vec<_>>() });
        self.cluster.create_key(1, name, &policy)
    }

    fn request(&self, key: &KeyInfo, place: u64) -> Vec<u8> {
        self.cluster.request(key, &Transfer { value: place, ..Transfer::default() })
    }

    #[track_caller]
    fn signs(&self, coordinator: u16, key: &KeyInfo, place: u64) -> Signed {
        good(key, self.cluster.client(coordinator).sign(&self.request(key, place))).0
    }

    /// By which rule, and by whose policy.
    #[track_caller]
    fn refuses(&self, coordinator: u16, key: &KeyInfo, place: u64) -> (String, String, u16) {
        let error = refused(self.cluster.client(coordinator).sign(&self.request(key, place)));
        match error {
            ServiceError::Denied { rule, reason, party, .. } => (rule, reason, party),
            other => panic!("not denied: {other:?}"),
        }
    }

    fn placed(&self, confirmations: u16, more: Value) -> Value {
        let mut fields = json!({ "chain": CHAIN, "confirmations": confirmations });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    }
}

fn address(text: &str) -> Address {
    Address::from_hex(text).unwrap()
}

#[test]
fn conditions_about_contracts_balances_and_blocks() {
    let scene = Scene::new(15_000);
    let World { coin, badge, parts, vault, .. } = &scene.world;
    let text = |address: &Address| address.to_string();
    // All contracts are deep enough to be called.
    scene.world.mine(2);
    let height = scene.world.height();
    let at = |confirmations, more| scene.placed(confirmations, more);
    let book = "book(uint256) returns ((bool,(address,uint128,int64,string)[]),uint256)";
    let call = |more: Value| {
        let mut fields = at(2, json!({ "contract": text(vault), "function": book, "args": [7] }));
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "evm_call": fields })
    };
    let conditions = [
        json!({ "erc20_balance": at(2, json!({ "token": text(coin), "owner": "$key", "at_least": 5 })) }),
        json!({ "erc721_owner": at(2, json!({ "contract": text(badge), "token_id": 7, "is": "$key" })) }),
        json!({ "erc1155_balance": at(2, json!({ "contract": text(parts), "owner": RECIPIENT, "token_id": 3, "at_least": 2 })) }),
        json!({ "balance": at(2, json!({ "account": "$key", "at_least": "1 ether" })) }),
        json!({ "block": at(2, json!({ "number": { "at_least": height + 5 } })) }),
        json!({ "all": [
            call(json!({ "at": [0, 1, 1, 2], "at_least": "-5" })),
            call(json!({ "at": [0, 1, 1, 2], "at_most": "-5" })),
            call(json!({ "at": [0, 1, 0, 3], "equals": "nobody's" })),
        ] }),
        json!({ "block": at(0, json!({ "max_age": "1h" })) }),
        json!({ "not": { "erc20_balance": at(0, json!({ "token": RECIPIENT, "owner": "$key", "at_least": 5 })) } }),
    ];
    let key = scene.key("facts", &conditions);
    let me = Word::Account(address(&key.address));
    let rules = ["call", "call", "call", "balance", "block", "call"];
    // Nothing is so yet, or the token does not exist; each coordinator finds that out for itself.
    for (place, rule) in (0u64..).zip(rules) {
        let (found, reason, party) = scene.refuses(1 + place as u16 % 4, &key, place);
        let expected = if place == 1 { "fact" } else { rule };
        assert_eq!((&*found, party), (expected, 1 + place as u16 % 4), "rule {place}: {reason}");
    }
    let (number, to) = (Word::Number, Word::Account(address(RECIPIENT)));
    scene.world.send(*coin, "mint(address,uint256)", &[me, number(5)]);
    scene.world.send(*badge, "mint(address,uint256)", &[me, number(7)]);
    scene.world.send(*parts, "mint(address,uint256,uint256)", &[to, number(3), number(2)]);
    scene.world.pay(address(&key.address), 1_000_000_000_000_000_000);
    let minus_five = Word::Signed(-5);
    scene.world.send(*vault, "set(bool,uint256,int64)", &[number(1), number(7), minus_five]);
    // It is so, but not confirmed.
    for place in [4, 5] {
        let (found, reason, _) = scene.refuses(2, &key, place);
        assert_eq!(found, rules[place as usize], "{reason}");
    }
    scene.world.mine(2);
    for place in 0..6u64 {
        scene.signs(1 + place as u16 % 4, &key, place);
    }
    scene.signs(1, &key, 6);
    // There is no contract: what cannot be known is not the opposite of anything.
    assert_eq!(scene.refuses(1, &key, 7).0, "fact");

    // A token moves on; who had it has it for two more blocks.
    scene.world.send(*badge, "move(address,uint256)", &[to, number(7)]);
    scene.signs(3, &key, 1);
    scene.world.mine(2);
    assert_eq!(scene.refuses(3, &key, 1).0, "call");

    the_record_names_its_facts(&scene, &key);
    simulate_asks_the_same_sources(&scene, &conditions[0], &key);
}

/// What a party released has in its record what it had found out, and at which block.
fn the_record_names_its_facts(scene: &Scene, key: &KeyInfo) {
    let signed = scene.signs(1, key, 0);
    let status = scene.cluster.client(1).status().unwrap();
    let newest = scene.cluster.client(1).audit(status.audit_entries.saturating_sub(20)).unwrap();
    let records = newest.entries.iter().filter_map(|entry| entry.record.as_deref());
    let records = records.map(|text| serde_json::from_str::<Value>(text).unwrap());
    let mut records = records.filter(|record| record["event"] == "released");
    let record = records.find(|record| record["session"] == signed.session).unwrap();
    let known = record["facts"]["known"].as_array().unwrap();
    assert_eq!(known.len(), 1, "{record}");
    let question = known[0]["question"].as_str().unwrap();
    assert!(question.contains("on chain 31337 with 2 confirmations"), "{question}");
    let number = known[0]["block"].as_u64().unwrap();
    assert_eq!(number, scene.world.height() - 2);
    let block = scene.world.ask("eth_getBlockByNumber", json!([format!("{number:#x}"), false]));
    let hash = format!("0x{}", known[0]["block_hash"].as_str().unwrap());
    assert_eq!(block["hash"], hash);
}

fn simulate_asks_the_same_sources(scene: &Scene, condition: &Value, key: &KeyInfo) {
    let file = |name: &str| scene.cluster.root().join(name).display().to_string();
    let (policy, request, facts) = (file("p.json"), file("r.request"), file("facts.json"));
    let rules = json!({ "rules": [{ "name": "live", "when": condition }] });
    std::fs::write(&policy, rules.to_string()).unwrap();
    std::fs::write(&request, hex::encode(scene.request(key, 0))).unwrap();
    let start = ["policy", "simulate", &policy, "--request", &request, "--account", &key.address];
    let judged = |more: &[&str]| scene.cluster.command(2, &[&start, more].concat()).json();
    assert_eq!(judged(&[])["allowed"], false);
    assert_eq!(judged(&["--live", "--record", &facts])["allowed"], true);
    assert_eq!(judged(&["--facts", &facts])["allowed"], true, "with what was recorded");
    scene.endpoints[1].now(|_| Does::Answers(500, vec![], vec![]));
    let unknown = judged(&["--live"]);
    let why = unknown["not_found_out"][0].as_str().unwrap();
    assert!(why.contains("it answers HTTP 500"), "{why}");
    scene.heal();
}

/// What is deep enough stays as it is, whatever the chain thinks better of above it.
#[test]
fn a_reorg_above_the_confirmations_changes_no_verdict() {
    let scene = Scene::new(15_000);
    let coin = scene.world.coin.to_string();
    let owns = |confirmations: u16, number: u64| {
        let what = json!({ "token": coin, "owner": RECIPIENT, "equals": number });
        json!({ "erc20_balance": scene.placed(confirmations, what) })
    };
    let key = scene.key("reorg", &[owns(3, 5), owns(0, 105)]);
    let to = Word::Account(address(RECIPIENT));
    scene.world.send(scene.world.coin, "mint(address,uint256)", &[to, Word::Number(5)]);
    scene.world.mine(3);
    scene.world.send(scene.world.coin, "mint(address,uint256)", &[to, Word::Number(100)]);
    scene.signs(1, &key, 0);
    scene.signs(2, &key, 1);
    scene.world.ask("anvil_reorg", json!([2, []]));
    scene.signs(1, &key, 0);
    let (rule, reason, party) = scene.refuses(2, &key, 1);
    assert_eq!((&*rule, party), ("call", 2), "{reason}");
}

/// The coordinator's own endpoint tells it what it wants to hear, or the coordinator tells the others: it is
/// all the same to them.
#[test]
fn invented_facts_convince_nobody_else() {
    let scene = Scene::new(15_000);
    let rich = json!({ "account": "$to", "at_least": "1000000 ether" });
    let any = json!({ "account": "$to", "at_least": 1 });
    let balance = |what| json!({ "balance": scene.placed(0, what) });
    let key = scene.key("rich", &[balance(rich), balance(any)]);
    let to = scene.chain();
    let lie = move |asked: &quorate_tests::web::Asked| match asked
        .call()
        .is_some_and(|call| call["method"] == "eth_getBalance")
    {
        true => Does::result(asked, &json!(format!("0x{}", "f".repeat(60)))),
        false => Does::Says(forward(to, asked)),
    };
    scene.endpoints[0].now(lie);
    let (rule, reason, party) = scene.refuses(1, &key, 0);
    assert_eq!(rule, "balance", "{reason}");
    assert_ne!(party, 1, "its own policy is content: {reason}");
    for other in 2..=4 {
        scene.cluster.wait_for(&format!("party {other} refuses"), || {
            let log = scene.cluster.log(other);
            let refused = log.contains("refused a proposal: denied by rule balance");
            if !refused {
                // Two refusals end the session, and the third party may not have come to its own.
                assert_eq!(scene.refuses(1, &key, 0).0, "balance");
            }
            refused.then_some(()).ok_or("not yet")
        });
    }
    assert_eq!(scene.refuses(2, &key, 0), ("balance".into(), reason, 2));
    // Two liars are still no quorum, and one that hides the truth stops nobody.
    scene.endpoints[1].now(lie);
    let (rule, reason, party) = scene.refuses(1, &key, 0);
    assert!(rule == "balance" && party > 2, "{party}: {reason}");
    scene.heal();
    scene.endpoints[3].now(|asked| Does::result(asked, &json!("0x0")));
    let signed = scene.signs(1, &key, 1);
    assert_eq!(signed.signers, [1, 2, 3]);
}

/// Whatever a source does, the node lives, says no to what it cannot know, and signs what it can.
#[test]
fn sources_that_are_of_no_use_stop_nothing_else() {
    let scene = Scene::new(3_000);
    let free = json!({ "to": [RECIPIENT] });
    let block = json!({ "block": scene.placed(0, json!({ "number": { "at_least": 1 } })) });
    let key = scene.key("sick", &[block, free]);
    let trap = Arc::new(Server::start(|_| Does::json(&json!({}))));
    let location = format!("Location: {}/", trap.url());
    let metadata = "Location: http://169.254.169.254/".to_owned();
    let sick = [
        (Does::Hangs, "no answer in time"),
        (
            Does::Drips(b"HTTP/1.1 200 OK\r\n\r\n{".to_vec(), Duration::from_millis(100)),
            "no answer",
        ),
        (Does::Answers(200, vec![], b"no JSON".to_vec()), "does not answer as a chain's node"),
        (Does::Answers(200, vec![], vec![b'{'; 9_000_000]), "longer than max_bytes"),
        (Does::Answers(307, vec![location], vec![]), "redirects are not followed"),
        (Does::Answers(302, vec![metadata], vec![]), "redirects are not followed"),
    ];
    for (coordinator, (does, words)) in [1, 2, 3, 4, 1, 2].into_iter().zip(sick) {
        for endpoint in &scene.endpoints {
            let does = does.clone();
            endpoint.now(move |_| does.clone());
        }
        std::thread::scope(|scope| {
            let waiting: Vec<_> =
                (0..3).map(|_| scope.spawn(|| scene.refuses(coordinator, &key, 0))).collect();
            for other in 1..=4 {
                scene.signs(other, &key, 1);
            }
            for waiting in waiting {
                let (rule, reason, party) = waiting.join().unwrap();
                assert_eq!((&*rule, party), ("fact", coordinator), "{reason}");
            }
        });
        let log = scene.cluster.log(coordinator);
        assert!(log.contains(words), "party {coordinator}'s log does not say {words:?}");
    }
    for endpoint in &scene.endpoints {
        endpoint.now(|asked| Does::result(asked, &json!("0x1")));
    }
    // It was asked before a party knew that the endpoint is of this chain.
    assert_eq!(scene.refuses(3, &key, 0).0, "fact");
    assert!(scene.cluster.log(3).contains("it is of chain 1, not 31337"));
    assert_eq!(trap.connections(), 0);
    scene.heal();
    scene.signs(1, &key, 0);
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn conditions_about_documents() {
    let scene = Scene::new(15_000);
    let url = format!("{}/price", scene.web.url());
    let price = json!({ "http": { "url": url, "pointer": "/eth/usd", "time": "/at", "max_age": "5m",
        "as": "number", "at_least": "2000.50" } });
    let open = json!({ "http": { "url": url, "pointer": "/market", "max_age": "5m",
        "as": "text", "equals": "open" } });
    let key = scene.key("price", &[price, open]);
    let says = |usd: &str, age: u64, header: bool| {
        let (usd, at) = (usd.to_owned(), now() - age);
        scene.web.now(move |_| {
            let body = format!("{{\"eth\":{{\"usd\":{usd}}},\"at\":{at},\"market\":\"open\"}}");
            let date = UNIX_EPOCH + Duration::from_secs(at);
            let date = format!("Date: {}", httpdate::fmt_http_date(date));
            Does::Answers(200, if header { vec![date] } else { vec![] }, body.into_bytes())
        });
    };
    says("2000.50", 0, true);
    scene.signs(1, &key, 0);
    scene.signs(2, &key, 1);
    says("2000.49999999999999999999999999999", 0, false);
    let (rule, reason, party) = scene.refuses(1, &key, 0);
    assert_eq!((&*rule, party), ("http", 1), "{reason}");
    assert_eq!(scene.refuses(2, &key, 1).0, "fact", "nobody says how old it is");
    says("2000.50", 3_600, true);
    let (rule, reason, _) = scene.refuses(3, &key, 0);
    assert!(rule == "fact" && reason.contains("too old"), "{reason}");
    assert_eq!(scene.refuses(3, &key, 1).0, "fact");
    says("\"2001\"", 0, true);
    scene.signs(4, &key, 0);
    scene.web.now(|_| Does::Answers(302, vec!["Location: https://a.example/".into()], vec![]));
    assert_eq!(scene.refuses(4, &key, 0).0, "fact");
}
