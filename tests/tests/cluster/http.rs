//! The API as strangers see it: bytes that no client of ours sends.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use quorate_core::request::MAX_REQUEST;
use quorate_node::api::MAX_BODY;
use quorate_tests::cluster::{Cluster, Hsm, PATIENCE, Transfer};
use serde_json::{Value, json};

use super::{good, refused};

/// Sends `text` as it is, and gives the status and the body of the answer.
fn ask(api: SocketAddr, text: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A refusal may come, and the connection go, before all is written.
    let _ = stream.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), body.to_owned())
}

/// A whole request, with more header lines.
pub(super) fn call(api: SocketAddr, line: &str, headers: &str, body: &str) -> (u16, Value) {
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {api}\r\n") };
    let length = body.len();
    let text = format!(
        "{line} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let (status, body) = ask(api, &text);
    let value = serde_json::from_str(&body);
    (status, value.unwrap_or_else(|error| panic!("{line}: {error}: {status} {body:?}")))
}

#[test]
fn foreign_names_and_pages_are_refused() {
    let mut cluster = Cluster::new(2, Hsm::Software);
    cluster.start(1);
    let api = cluster.api(1);
    let port = api.port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")]
    {
        let (status, body) = call(api, "GET /v1/status", &format!("Host: {host}\r\n"), "");
        assert_eq!((status, &body["party"]), (200, &1.into()), "{host}");
    }
    for header in [
        format!("Host: evil.example:{port}\r\n"),
        "Host: evil.example\r\n".to_owned(),
        format!("Host: localhost.evil.example:{port}\r\n"),
        format!("Host: 10.0.0.1:{port}\r\n"),
        "Host: \r\n".to_owned(),
        format!("Host: {api}\r\nOrigin: http://evil.example\r\n"),
        format!("Host: {api}\r\nOrigin: http://localhost:{port}\r\n"),
        format!("Host: {api}\r\nOrigin: null\r\n"),
    ] {
        for line in ["GET /v1/status", "POST /v1/sign", "GET /v1/keys", "GET /nothing"] {
            let (status, body) = call(api, line, &header, "");
            assert_eq!(status, 401, "{header}: {body}");
            assert_eq!(body["error"]["code"], "unauthorised");
        }
    }
    let (status, _) = ask(api, "GET /v1/status HTTP/1.0\r\n\r\n");
    assert_eq!(status, 401, "no name at all");
}

#[test]
fn bodies_that_are_not_understood_are_refused_in_words() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let key = cluster.create_key(1, "pay", &cluster.policy());
    let api = cluster.api(1);
    let request = cluster.request(&key, &Transfer::default());
    let text = hex::encode(&request);
    let json_type = "Content-Type: application/json\r\n";
    let long = "0".repeat(2 * MAX_REQUEST);
    // One byte more than the API reads. (Of what is much longer it leaves some unread, and then the
    // operating system may throw the answer away.)
    let longest = format!("{{\"request\":\"{}\"}}", "0".repeat(MAX_BODY + 1 - 14));
    for (named, body) in [
        ("surprise", json!({ "request": text, "surprise": 1 }).to_string()),
        ("request", json!({}).to_string()),
        ("request", json!({ "request": 5 }).to_string()),
        ("body", String::new()),
        ("body", "null".to_owned()),
        ("body", format!("{{\"request\":\"{text}\"")),
        ("body", format!("{{\"request\":\"{text}\"}} more")),
        ("duplicate", format!("{{\"request\":\"{text}\",\"request\":\"{text}\"}}")),
        ("hexadecimal", json!({ "request": "0xzz" }).to_string()),
        ("hexadecimal", json!({ "request": &text[1..] }).to_string()),
        ("decode", json!({ "request": &text[2..] }).to_string()),
        ("decode", json!({ "request": &text[..text.len() - 2] }).to_string()),
        ("decode", json!({ "request": format!("{text}00") }).to_string()),
        ("decode", json!({ "request": "" }).to_string()),
        ("version", json!({ "request": format!("ff{}", &text[2..]) }).to_string()),
        ("long", json!({ "request": format!("{text}{long}") }).to_string()),
        ("the body is longer", longest),
    ] {
        let (status, answer) = call(api, "POST /v1/sign", json_type, &body);
        let shown: String = body.chars().take(100).collect();
        assert_eq!(status, 400, "{shown}: {answer}");
        assert_eq!(answer["error"]["code"], "bad-request", "{shown}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(named), "{named}: {message}");
    }
    let endless = long.repeat(300);
    let head = format!("POST /v1/sign HTTP/1.1\r\nHost: {api}\r\n{json_type}");
    let (status, _) = ask(api, &format!("{head}Content-Length: 99999999\r\n\r\n{endless}"));
    assert!(matches!(status, 0 | 400), "{status}");
    let chunk = format!("{:x}\r\n{endless}\r\n", endless.len());
    let (status, _) = ask(api, &format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}"));
    assert!(matches!(status, 0 | 400), "{status}");
    // Its own client does not even send so much.
    let error = refused(cluster.client(1).sign(&vec![1; MAX_REQUEST + 1]));
    assert!(error.to_string().contains("no longer than"), "{error}");
    good(&key, cluster.client(1).sign(&request));
}

#[test]
fn creating_keys_needs_the_token_before_anything_else() {
    let cluster = Cluster::running(4, Hsm::Software, None);
    let api = cluster.api(2);
    let token = std::fs::read_to_string(cluster.folder(2).join("operator.token")).unwrap();
    let token = token.trim();
    let body = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({ "name": "pay", "threshold": 2, "policy": cluster.policy() });
        change(&mut body);
        body.to_string()
    };
    let good_body = body(&|_| {});
    for header in [
        String::new(),
        "Authorization: Bearer \r\n".to_owned(),
        format!("Authorization: Basic {token}\r\n"),
        format!("Authorization: {token}\r\n"),
        format!("Authorization: Bearer {}\r\n", &token[1..]),
        format!("Authorization: Bearer {token}0\r\n"),
        format!("Authorization: Bearer {}\r\n", token.to_uppercase()),
    ] {
        for body in [good_body.as_str(), "garbage"] {
            let (status, answer) = call(api, "POST /v1/keys", &header, body);
            assert_eq!((status, &answer["error"]["code"]), (401, &"unauthorised".into()));
        }
    }
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for (named, body) in [
        ("surprise", body(&|body| body["surprise"] = 1.into())),
        ("surprise", body(&|body| body["policy"]["surprise"] = 1.into())),
        ("256", body(&|body| body["threshold"] = 256.into())),
        ("threshold", body(&|body| body["threshold"] = 0.into())),
        ("parties", body(&|body| body["threshold"] = 3.into())),
        ("name", body(&|body| body["name"] = "".into())),
        ("name", body(&|body| body["name"] = "x".repeat(65).into())),
        ("party 9", body(&|body| body["parties"] = json!([1, 2, 9]))),
        ("coordinator", body(&|body| body["parties"] = json!([1, 3, 4]))),
        ("clients", body(&|body| body["policy"]["clients"] = json!([]))),
    ] {
        let (status, answer) = call(api, "POST /v1/keys", &bearer, &body);
        assert_eq!((status, &answer["error"]["code"]), (400, &"bad-request".into()), "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(named), "{named}: {message}");
    }
    let (status, answer) = call(api, "POST /v1/keys", &bearer, &good_body);
    assert_eq!((status, &answer["state"]), (200, &"active".into()), "{answer}");
}

#[test]
fn what_is_no_call_is_refused_and_hurts_nobody() {
    let mut cluster = Cluster::new(2, Hsm::Software);
    cluster.start(1);
    let api = cluster.api(1);
    for (line, code) in [
        ("GET /", 400),
        ("GET /v1", 400),
        ("GET /v2/status", 400),
        ("GET /v1/keys/", 400),
        ("GET /v1/keys/%ff", 400),
        ("DELETE /v1/keys", 405),
        ("GET /v1/sign", 405),
        ("PUT /v1/keys/pay", 405),
    ] {
        let (status, answer) = call(api, line, "", "");
        assert_eq!((status, &answer["error"]["code"]), (code, &"bad-request".into()), "{line}");
    }
    // Connections that say nothing, and ones that stop in the middle.
    let idle: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(api).unwrap()).collect();
    for mut stream in &idle {
        stream.write_all(b"POST /v1/sign HTTP/1.1\r\nContent-Length: 100\r\n\r\n{").unwrap();
    }
    for garbage in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "\u{16}\u{3}\u{1}hello tls\r\n\r\n"] {
        let (status, _) = ask(api, garbage);
        assert!(matches!(status, 0 | 400), "{status}");
    }
    assert_eq!(cluster.client(1).status().unwrap().party, 1);
    // It ends in time although they are open.
    cluster.terminate(1);
    drop(idle);
}
