//! Sources that are of no use. Each makes a fact unknown, says why, and holds up nobody else.

use std::time::Duration;

use quorate_core::policy::ethereum::Address;
use quorate_core::policy::fact::At;
use quorate_node::facts::{FactsConfig, OwnedAnswer, OwnedQuestion, Sources};
use quorate_tests::chain::Anvil;
use quorate_tests::web::{Asked, Does, Server};
use serde_json::json;

use super::{LONG, SHORT, chain, chain_sources, one, unknown};

fn balance() -> OwnedQuestion {
    let at = At { chain: 31337, confirmations: 0 };
    OwnedQuestion::Balance { at, account: Address([1; 20]) }
}

#[test]
fn what_is_no_answer_is_unknown_and_says_why() {
    let trap = Server::start(|_| Does::json(&json!({})));
    let server = Server::start(|_| Does::Hangs);
    let url = format!("{}/v3/secret-in-the-path?key=secret", server.url());
    let trapped = format!("Location: {}/", trap.url());
    let metadata = "Location: http://169.254.169.254/latest/meta-data/".to_owned();
    let headers = |line: String| Does::Answers(200, vec![line], b"{}".to_vec());
    let raw = |text: &str| Does::Says(text.as_bytes().to_vec());
    let drip = |start: &str| Does::Drips(start.into(), Duration::from_millis(200));
    let reply = |value: serde_json::Value| Does::json(&value);
    let cases: Vec<(Does, &str)> = vec![
        (Does::Hangs, "no answer in time"),
        (drip("HTTP/1.1 200 OK\r\nX: "), "no answer in time"),
        (drip("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"), "no answer in time"),
        (Does::Answers(302, vec![trapped.clone()], vec![]), "redirects are not followed"),
        (Does::Answers(307, vec![trapped.clone()], vec![]), "redirects are not followed"),
        (Does::Answers(301, vec![metadata.clone()], vec![]), "redirects are not followed"),
        (Does::Answers(308, vec![metadata], vec![]), "redirects are not followed"),
        (Does::Answers(500, vec![], b"secret words".to_vec()), "it answers HTTP 500"),
        (Does::Answers(429, vec![], vec![]), "it answers HTTP 429"),
        (Does::Answers(204, vec![], vec![]), "it answers HTTP 204"),
        (Does::Answers(200, vec![], vec![b' '; 300_000]), "longer than max_bytes = 262144"),
        (headers(format!("X: {}", "x".repeat(20_000))), "headers are longer than 16384 bytes"),
        (raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "does not speak HTTP"),
        (raw("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}"), ""),
        (raw(""), ""),
        (Does::Answers(200, vec![], b"not JSON".to_vec()), "as a chain's node does"),
        (Does::Answers(200, vec![], b"\xff\xfe".to_vec()), "as a chain's node does"),
        (Does::Answers(200, vec![], vec![b'['; 200_000]), "as a chain's node does"),
        (reply(json!([])), "as a chain's node does"),
        (reply(json!({ "id": 1, "result": 31337 })), "as a chain's node does"),
        (reply(json!({ "id": 2, "result": "0x7a69" })), "as a chain's node does"),
        (reply(json!({ "id": 1, "result": "0x1" })), "it is of chain 1, not 31337"),
        (reply(json!({ "id": 1, "result": null })), "eth_chainId: it knows of none"),
        (
            reply(json!({ "id": 1, "error": { "code": -5, "message": "go\naway" } })),
            "eth_chainId: go away (-5)",
        ),
    ];
    for (does, words) in cases {
        let timeout = if words == "no answer in time" { SHORT } else { LONG };
        let shown = format!("{does:?}");
        server.now(move |_| does.clone());
        let sources = chain_sources(&[&url], 1, timeout);
        let reason = one(&sources, &balance()).expect_err(words);
        assert!(reason.contains(words), "{reason:?} does not say {words:?}; {shown:.200}");
        assert!(reason.starts_with(&format!("{}: ", server.url())), "{reason}");
        assert!(!reason.contains("secret"), "{reason}");
    }
    assert_eq!(trap.connections(), 0, "nobody was sent there");
    // Nothing listens.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    unknown(&chain_sources(&[&format!("http://{gone}")], 1, LONG), &balance(), "no connection");
}

/// The answer of a chain's node with one thing wrong in it.
#[test]
fn blocks_and_values_are_checked() {
    let hash = format!("0x{}", "11".repeat(32));
    let header = move |number: &str, hash: &str| json!({ "number": number, "hash": hash, "timestamp": "0x5" });
    let cases: Vec<(serde_json::Value, serde_json::Value, &str)> = vec![
        (header("0x5", &hash), json!("0x10"), ""),
        (header("0x6", &hash), json!("0x10"), "as a chain's node does"),
        (header("0x5", "0x11"), json!("0x10"), "as a chain's node does"),
        (json!(null), json!("0x10"), "eth_getBlockByNumber: it knows of none"),
        (header("0x5", &hash), json!("0x"), "as a chain's node does"),
        (header("0x5", &hash), json!("16"), "as a chain's node does"),
        (header("0x5", &hash), json!(16), "as a chain's node does"),
        (header("0x5", &hash), json!(format!("0x{}", "f".repeat(65))), "as a chain's node does"),
    ];
    for (block, value, words) in cases {
        let (shown, number) = (format!("{block} {value}"), At { chain: 31337, confirmations: 7 });
        let server = Server::start(move |asked| {
            let call = asked.call().unwrap();
            let result = match call["method"].as_str().unwrap() {
                "eth_chainId" => json!("0x7a69"),
                "eth_blockNumber" => json!("0xc"),
                "eth_getBlockByNumber" => {
                    assert_eq!(call["params"], json!(["0x5", false]));
                    block.clone()
                }
                "eth_getBalance" => {
                    let block = json!({ "blockHash": format!("0x{}", "11".repeat(32)), "requireCanonical": true });
                    assert_eq!(call["params"][1], block);
                    value.clone()
                }
                other => panic!("{other}"),
            };
            Does::result(asked, &result)
        });
        let question = OwnedQuestion::Balance { at: number, account: Address([1; 20]) };
        let sources = chain_sources(&[&server.url()], 1, LONG);
        match words {
            "" => assert!(one(&sources, &question).is_ok(), "{shown}"),
            words => unknown(&sources, &question, words),
        }
    }
}

#[test]
fn one_good_endpoint_behind_bad_ones_is_enough() {
    let anvil = Anvil::start();
    let hangs = Server::start(|_| Does::Hangs);
    let garbage = Server::start(|_| Does::Answers(200, vec![], b"{".to_vec()));
    let other = Server::start(|asked| Does::result(asked, &json!("0x1")));
    let endpoints = [&hangs.url(), &garbage.url(), &other.url(), anvil.url()];
    let found = one(&chain_sources(&endpoints, 1, LONG), &balance());
    assert!(matches!(found, Ok(OwnedAnswer::Balance(_))), "{found:?}");
    let reason = one(&chain_sources(&endpoints[..3], 1, SHORT), &balance()).unwrap_err();
    for words in ["no answer in time", "as a chain's node does", "it is of chain 1"] {
        assert!(reason.contains(words), "{reason}");
    }
}

/// Without `private` an address of the operator's own network is not even connected to.
#[test]
fn private_addresses_need_an_explicit_word() {
    let server = Server::start(|_| Does::Hangs);
    let url = server.url().replace("http://", "https://");
    let mut public = chain(&[&url, &url.replace("127.0.0.1", "localhost")], 1);
    public.private = false;
    let config = FactsConfig { timeout_ms: LONG, chain: vec![public], ..FactsConfig::default() };
    let sources = Sources::new(&config, std::path::Path::new("")).unwrap();
    unknown(
        &sources,
        &balance(),
        "127.0.0.1 is not on the public internet; a source there needs private",
    );
    assert_eq!(server.connections(), 0);
}

#[test]
fn secrets_go_where_they_belong_and_nothing_is_remembered() {
    let server = Server::start(|asked| {
        let cookie = "Set-Cookie: a=b".to_owned();
        let body = json!({ "id": asked.call().unwrap()["id"], "result": "0x7a69" });
        Does::Answers(200, vec![cookie], body.to_string().into_bytes())
    });
    let mut with = chain(&[&server.url()], 1);
    with.authorization = Some("Bearer word".to_owned().into());
    let config = FactsConfig { timeout_ms: LONG, chain: vec![with], ..FactsConfig::default() };
    let _ = one(&Sources::new(&config, std::path::Path::new("")).unwrap(), &balance());
    let asked = server.asked();
    assert!(asked.len() >= 2, "a chain id, and a block: {asked:?}");
    for Asked { headers, .. } in asked {
        let has = |wanted: &str| {
            headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        assert_eq!((has("authorization"), has("cookie")), (Some("Bearer word"), None));
        assert_eq!((has("accept-encoding"), has("accept")), (None, Some("application/json")));
    }
}
