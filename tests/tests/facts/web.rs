//! JSON documents over TLS.

use std::time::{Duration, UNIX_EPOCH};

use quorate_node::facts::{Found, OwnedAnswer, OwnedJson, OwnedQuestion, Seen, WebConfig};
use quorate_tests::web::{Authority, Does, Server};
use sha2::{Digest as _, Sha256};

use super::{one, unknown, web_sources};

const TEXT: &str = r#"{"price":2000.10,"big":115792089237316195423570985008687907853269984665640564039457584007913129639935,
    "small":1.5e-7,"open":true,"name":"ETH/USD","at":1799999000,"when":"2027-01-15T07:43:20Z","none":null}"#;

fn listed(authority: &Authority, server: &Server) -> WebConfig {
    WebConfig {
        prefix: format!("{}/v1/", server.url()),
        private: true,
        ca_file: Some(authority.file()),
        authorization: None,
    }
}

fn ask(server: &Server, path: &str, pointer: &str, time: Option<&str>) -> OwnedQuestion {
    OwnedQuestion::Json {
        url: format!("{}{path}", server.url()),
        pointer: pointer.into(),
        time: time.map(str::to_owned),
    }
}

fn number(text: &str, time: Option<u64>) -> Result<OwnedAnswer, String> {
    Ok(OwnedAnswer::Json { value: OwnedJson::Number(text.into()), time })
}

#[test]
fn documents_are_read_exactly_and_know_their_age() {
    let authority = Authority::new();
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let headers = vec![format!("Date: {date}"), "Age: 100".to_owned()];
    let server = Server::start_tls(&authority, move |_| {
        Does::Answers(200, headers.clone(), TEXT.as_bytes().to_vec())
    });
    let sources = web_sources(listed(&authority, &server));
    let look = |pointer: &str, time: Option<&str>| {
        one(&sources, &ask(&server, "/v1/x?a=b", pointer, time))
    };
    let served = Some(1_799_999_900);
    assert_eq!(look("/price", None), number("2000.10", served));
    assert_eq!(look("/small", None), number("0.00000015", served));
    let most = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    assert_eq!(look("/big", None), number(most, served));
    assert_eq!(look("/price", Some("/at")), number("2000.10", Some(1_799_999_000)));
    assert_eq!(look("/price", Some("/when")), number("2000.10", Some(1_799_999_000)));
    assert_eq!(look("/price", Some("/name")), number("2000.10", None));
    let open = OwnedAnswer::Json { value: OwnedJson::Flag(true), time: served };
    assert_eq!(look("/open", None), Ok(open));
    let name = OwnedAnswer::Json { value: OwnedJson::Text("ETH/USD".into()), time: served };
    assert_eq!(look("/name", None), Ok(name));
    for nothing in ["/none", "/x", "", "/price/0"] {
        let reason = look(nothing, None).unwrap_err();
        assert!(reason.contains("there is no truth, number or text at"), "{reason}");
    }
    let asked = server.asked();
    assert!(asked.iter().all(|asked| (&*asked.method, &*asked.path) == ("GET", "/v1/x?a=b")));

    // One request fetches a document once, whatever it asks of it.
    let before = server.asked().len();
    let questions = ["/price", "/open", "/name"].map(|place| ask(&server, "/v1/x", place, None));
    let known = sources.fetch(&questions);
    assert_eq!((known.found().count(), server.asked().len() - before), (3, 1));
    let hash = Sha256::digest(TEXT.as_bytes()).into();
    assert!(known.found().all(|(_, Found { seen, .. })| *seen == Seen::Document(hash)));
}

#[test]
fn a_document_without_a_date_has_none() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority, |_| {
        Does::Answers(200, vec!["Date: yesterday".into()], TEXT.as_bytes().to_vec())
    });
    let sources = web_sources(listed(&authority, &server));
    assert_eq!(one(&sources, &ask(&server, "/v1/x", "/price", None)), number("2000.10", None));
    server.now(|_| Does::Answers(200, vec!["Age: x".into()], TEXT.as_bytes().to_vec()));
    assert_eq!(one(&sources, &ask(&server, "/v1/x", "/price", None)), number("2000.10", None));
}

#[test]
fn only_listed_documents_and_only_by_who_proves_the_name() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = Server::start_tls(&authority, |_| Does::Answers(200, vec![], b"{}".to_vec()));
    let sources = web_sources(listed(&authority, &server));
    let port = server.address().port();
    let not_listed = "no [[facts.web]] of this node's quorate.toml has a prefix for it";
    for url in [
        format!("https://localhost:{port}/v2/x"),
        format!("https://localhost:{port}/v1"),
        format!("http://localhost:{port}/v1/x"),
        format!("https://localhost:{port}@evil.example/v1/x"),
        format!("https://localhost.evil.example:{port}/v1/x"),
        format!("https://127.0.0.1:{port}/v1/x"),
    ] {
        let question = OwnedQuestion::Json { url, pointer: "/x".into(), time: None };
        unknown(&sources, &question, not_listed);
    }
    for path in ["/v1/../v2/x", "/v1/%2E%2e/x", "/v1/x#y", "/v1/\u{e4}"] {
        unknown(&sources, &ask(&server, path, "/x", None), "the address has ");
    }
    assert_eq!(server.connections(), 0);

    let question = ask(&server, "/v1/x", "/x", None);
    unknown(&sources, &question, "there is no truth");
    // Another's certificate, one of no known authority, and one for another name.
    let other = WebConfig { ca_file: Some(stranger.file()), ..listed(&authority, &server) };
    unknown(&web_sources(other), &question, "TLS: ");
    let mozilla = WebConfig { ca_file: None, ..listed(&authority, &server) };
    unknown(&web_sources(mozilla), &question, "TLS: ");
    let number = format!("https://127.0.0.1:{port}/");
    let by_number = WebConfig { prefix: number.clone(), ..listed(&authority, &server) };
    let question = OwnedQuestion::Json { url: number, pointer: "/x".into(), time: None };
    unknown(&web_sources(by_number), &question, "TLS: ");
    assert_eq!(server.asked().len(), 1, "one got as far as to ask");
}

#[test]
fn roots_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.pem"), "nothing").unwrap();
    for (file, words) in [("empty.pem", "has no certificate"), ("none.pem", "No such file")] {
        let web = WebConfig {
            prefix: "https://a.example/".into(),
            private: false,
            ca_file: Some(file.into()),
            authorization: None,
        };
        let config = quorate_node::facts::FactsConfig { web: vec![web], ..Default::default() };
        let error = quorate_node::facts::Sources::new(&config, folder.path()).err().unwrap();
        let error = error.to_string();
        assert!(error.starts_with("facts.web[0].ca_file: ") && error.contains(words), "{error}");
    }
}
