//! Strangers, and members that misbehave: each is refused with an error that names the fault and the
//! party, and nobody else's link suffers.

// Helpers outside `#[test]` functions are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/forger.rs"]
mod forger;
#[path = "support/party.rs"]
mod party;

use std::time::Duration;

use forger::Forger;
use party::{Group, Node, Raw, quick, soon, until};
use quorate_node::identity::IdentityKey;
use quorate_node::network::frame::{self, Frame, Hello, encode_raw};
use quorate_node::network::{Timing, connect_raw};
use rustls::AlertDescription as Alert;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The alert in the error of a TLS connection that the other side refused.
fn alert(error: &std::io::Error) -> Option<Alert> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Party 2, which party 3 talks with while party 1 attacks.
struct Scene {
    group: Group,
    two: Node,
    three: Node,
}

impl Scene {
    async fn new() -> Self {
        let group = Group::new(3);
        let mut two = group.start(2).await;
        let mut three = group.start(3).await;
        two.up(3).await;
        three.up(2).await;
        Self { group, two, three }
    }

    /// The link that existed before still carries messages, and never went down.
    async fn assert_others_unharmed(&mut self) {
        self.two.network.send(3, b"still here?".to_vec()).unwrap();
        assert_eq!(self.three.message(2).await, b"still here?");
        self.three.network.send(2, b"yes".to_vec()).unwrap();
        assert_eq!(self.two.message(3).await, b"yes");
    }

    /// Party 1's link ended for this reason: in the event, in the status, and in our last words.
    async fn assert_dropped(&mut self, raw: Option<&mut Raw>, fault: &str) {
        let reason = self.two.down(1).await;
        assert_eq!(reason, format!("party 1 sent {fault}; the link was dropped"));
        let status = self.two.status(1);
        assert_eq!(status.last_error.as_ref(), Some(&reason));
        assert!(!status.connected);
        if let Some(raw) = raw {
            assert_eq!(raw.farewell().await, reason);
        }
        self.assert_others_unharmed().await;
    }

    /// Party 1's hello is refused for this reason: there never was a link.
    async fn assert_refused(&mut self, mut raw: Raw, text: &str) {
        let farewell = raw.farewell().await;
        assert!(farewell.contains(text), "{farewell}");
        let error = self.two.status(1).last_error.unwrap();
        assert!(error.starts_with("party 1 ") && error.contains(text), "{error}");
        self.two.assert_no_event_of(1);
        self.assert_others_unharmed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_key_is_refused() {
    let mut scene = Scene::new().await;
    let (address, two) = (scene.group.address(2), scene.group.key(2).public());
    let stranger = IdentityKey::generate().unwrap();
    // A party that dials itself is a loop or a theft.
    for key in [&stranger, scene.group.key(2)] {
        let mut raw = Raw(connect_raw(key, &two, address).await.unwrap());
        assert_eq!(alert(&raw.end().await), Some(Alert::CertificateUnknown));
    }
    scene.two.assert_no_event_of(1);
    scene.assert_others_unharmed().await;
    // The control: the same steps with a member's key lead to a link.
    let _raw = scene.group.greet(1, 2).await;
    scene.two.up(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_members_public_key_without_its_secret_is_refused() {
    let mut scene = Scene::new().await;
    let forger = Forger::new(scene.group.key(1).public());
    let mut raw = Raw(forger.connect(scene.group.address(2)).await.unwrap());
    assert_eq!(alert(&raw.end().await), Some(Alert::DecryptError));
    scene.two.assert_no_event_of(1);
    scene.assert_others_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_a_key_or_without_our_protocol_is_refused() {
    let mut scene = Scene::new().await;
    let address = scene.group.address(2);
    let mut raw = Raw(forger::connect_without_key(address).await.unwrap());
    assert_eq!(alert(&raw.end().await), Some(Alert::CertificateRequired));
    let error = forger::connect_with_certificates(address).await.unwrap_err();
    assert_eq!(alert(&error), Some(Alert::HandshakeFailure));
    let one = IdentityKey::from_secret(&scene.group.key(1).secret().unwrap());
    let error = forger::connect_for(&one, &[b"http/1.1"], address).await.unwrap_err();
    assert_eq!(alert(&error), Some(Alert::NoApplicationProtocol));
    // Without any protocol TLS itself is content; we are not.
    let mut raw = Raw(forger::connect_for(&one, &[], address).await.unwrap());
    raw.end().await;
    scene.two.assert_no_event_of(1);
    scene.assert_others_unharmed().await;
    let mut raw = Raw(forger::connect_for(&one, &[b"quorate/1"], address).await.unwrap());
    raw.write(&Frame::Hello(scene.group.hello(1)).encode()).await.unwrap();
    scene.two.up(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_and_other_noise_are_refused() {
    let mut scene = Scene::new().await;
    let answer = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(scene.group.address(2)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("the refusal", stream.read_to_end(&mut answer)).await;
        answer
    };
    // A fatal alert, protocol_version (70).
    assert_eq!(answer(&forger::tls12_hello()).await, [21, 3, 3, 0, 2, 2, 70]);
    assert_eq!(answer(b"GET / HTTP/1.1\r\nHost: quorate\r\n\r\n").await.first(), Some(&21));
    scene.two.assert_no_event_of(1);
    scene.assert_others_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_else_at_a_peers_address_is_named() {
    let group = Group::new(2);
    // Another network's party 2 listens where ours should.
    let other = Group::new(2);
    let key = other.key(2);
    let other_two = Node::start(other.membership(), 2, key, group.address(2), quick()).await;
    let mut one = group.start(1).await;
    let expected = format!(
        "the peer at {} is not party 2: it presented {}, the membership file pins {}; check address \
         and identity there",
        group.address(2),
        key.public(),
        group.key(2).public(),
    );
    until("both keys are named", || one.status(2).last_error.as_ref() == Some(&expected)).await;
    one.assert_no_event_of(2);
    // As soon as the right one is there, the link comes.
    other_two.stop().await;
    let _two = group.start(2).await;
    one.up(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_peers_public_key_only_is_refused() {
    let group = Group::new(2);
    let forger = Forger::new(group.key(2).public());
    let listener = tokio::net::TcpListener::bind(group.address(2)).await.unwrap();
    let mut one = group.start(1).await;
    let (stream, _) = soon("party 1 dials", listener.accept()).await.unwrap();
    let error = soon("the handshake", forger.accept(stream)).await.unwrap_err();
    assert_eq!(alert(&error), Some(Alert::DecryptError));
    until("the failure is noted", || {
        let error = one.status(2).last_error.unwrap_or_default();
        error.starts_with("the TLS handshake with party 2 at ") && error.contains("BadSignature")
    })
    .await;
    one.assert_no_event_of(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_know_our_key_is_named() {
    let group = Group::new(2);
    // Party 2 has a membership file with another key for party 1.
    let mut members = group.membership().members().to_vec();
    members[0].identity = IdentityKey::generate().unwrap().public();
    let theirs = quorate_node::membership::Membership::with_random_network(members).unwrap();
    let (key, address) = (group.key(2), group.address(2));
    let _two = Node::start(std::sync::Arc::new(theirs), 2, key, address, quick()).await;
    let mut one = group.start(1).await;
    let expected = "party 2 refuses this node's identity key";
    until("the refusal is named", || {
        one.status(2).last_error.is_some_and(|error| error.starts_with(expected))
    })
    .await;
    one.assert_no_event_of(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_networks_with_the_same_keys_refuse_each_other() {
    let group = Group::new(2);
    let members = group.membership().members().to_vec();
    let theirs = quorate_node::membership::Membership::with_random_network(members).unwrap();
    let network = hex::encode(theirs.network());
    let (key, address) = (group.key(2), group.address(2));
    let mut two = Node::start(std::sync::Arc::new(theirs), 2, key, address, quick()).await;
    let mut one = group.start(1).await;
    for (node, peer) in [(&one, 2), (&two, 1)] {
        until("the other network is named", || {
            let error = node.status(peer).last_error.unwrap_or_default();
            error.contains(&network) && error.contains("give both the same membership file")
        })
        .await;
    }
    one.assert_no_event_of(2);
    two.assert_no_event_of(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_hello_is_refused() {
    let mut scene = Scene::new().await;
    let good = scene.group.hello(1);
    let hello = |hello: Hello| Frame::Hello(hello).encode();
    let cases = [
        (hello(Hello { party: 3, ..good }), "claims to be party 3"),
        (hello(Hello { party: 2, ..good }), "claims to be party 2"),
        (hello(Hello { network: [9; 16], ..good }), "network 09090909090909090909090909090909"),
        (hello(Hello { version: 2, ..good }), "transport version 2"),
        // The future may look different; its version comes first nevertheless.
        (encode_raw(0, &[0, 9, 1, 2, 3]), "transport version 9"),
        (encode_raw(0, &[0, 1, 1, 2, 3]), "a hello frame of a wrong size (5 bytes)"),
        (frame::encode_message(b"early"), "a message frame before its hello"),
        (Frame::Ping(1).encode(), "a ping frame before its hello"),
        (encode_raw(77, b""), "unknown kind 77"),
    ];
    for (bytes, text) in cases {
        let mut raw = scene.group.connect(1, 2).await;
        raw.write(&bytes).await.unwrap();
        scene.assert_refused(raw, text).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_against_the_rules_drops_the_link() {
    let mut scene = Scene::new().await;
    let oversize = (frame::MAX_FRAME as u32 + 1).to_be_bytes();
    let hello = Frame::Hello(scene.group.hello(1)).encode();
    let cases: [(&[u8], &str); 11] = [
        (&[0; 5], "an empty frame"),
        (&oversize, "an oversize frame (131074 bytes, at most 131073 are allowed)"),
        (&[0xff; 4], "an oversize frame (4294967295 bytes, at most 131073 are allowed)"),
        (&encode_raw(9, b"what?"), "a frame of unknown kind 9"),
        (&encode_raw(2, &[0; 7]), "a ping frame of a wrong size (7 bytes)"),
        (&encode_raw(2, &[0; 9]), "a ping frame of a wrong size (9 bytes)"),
        (&encode_raw(3, &[0; 100]), "a pong frame of a wrong size (100 bytes)"),
        (&encode_raw(4, &[b'a'; 257]), "a close frame of a wrong size (257 bytes)"),
        (&encode_raw(4, &[0xc3]), "a close frame whose reason is not UTF-8"),
        (&hello, "a second hello"),
        (&Frame::Pong(1 << 40).encode(), "a pong (1099511627776) that answers no ping"),
    ];
    for (bytes, fault) in cases {
        let mut raw = scene.group.greet(1, 2).await;
        scene.two.up(1).await;
        // What was said before counts, what comes after does not.
        raw.message(b"before").await.unwrap();
        raw.write(&[bytes, &frame::encode_message(b"after")].concat()).await.unwrap();
        assert_eq!(scene.two.message(1).await, b"before");
        scene.assert_dropped(Some(&mut raw), fault).await;
    }
    let _raw = scene.group.greet(1, 2).await;
    scene.two.up(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_frame_drops_the_link() {
    let mut scene = Scene::new().await;
    let message = frame::encode_message(&[5; 100]);
    for (cut, need) in [(1, 5), (3, 5), (4, 5), (5, 105), (104, 105)] {
        // With a goodbye of TLS, and with the connection just gone.
        for goodbye in [true, false] {
            let mut raw = scene.group.greet(1, 2).await;
            scene.two.up(1).await;
            raw.write(&message[..cut]).await.unwrap();
            if goodbye {
                raw.0.shutdown().await.unwrap();
            } else {
                raw.0.get_mut().0.shutdown().await.unwrap();
            }
            let fault =
                format!("a truncated frame ({cut} of {need} bytes, then the connection ended)");
            scene.assert_dropped(None, &fault).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_is_quoted_on_one_line() {
    let mut scene = Scene::new().await;
    let mut raw = scene.group.greet(1, 2).await;
    scene.two.up(1).await;
    raw.write(&Frame::Close("lunch\nWARN forged".into()).encode()).await.unwrap();
    let reason = scene.two.down(1).await;
    assert_eq!(reason, r#"party 1 closed the link: "lunch\nWARN forged""#);
    scene.assert_others_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_link_of_a_member_replaces_its_older_one() {
    let mut scene = Scene::new().await;
    let mut old = scene.group.greet(1, 2).await;
    scene.two.up(1).await;
    let mut new = scene.group.greet(1, 2).await;
    assert_eq!(scene.two.down(1).await, "party 1 has a newer link");
    scene.two.up(1).await;
    assert_eq!(old.farewell().await, "replaced by a newer link");
    new.message(b"me again").await.unwrap();
    assert_eq!(scene.two.message(1).await, b"me again");
    scene.assert_others_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_dials_the_wrong_way_is_not_dialled_on_top() {
    let group = Group::new(2);
    let mut one = group.start(1).await;
    // Party 2 does not listen, but dials; it should have waited.
    let mut raw = group.greet(2, 1).await;
    one.up(2).await;
    let listener = tokio::net::TcpListener::bind(group.address(2)).await.unwrap();
    // For ten pings, far longer than any pause between two tries.
    for _ in 0..10 {
        let Frame::Ping(number) = raw.read().await.unwrap() else { panic!("no ping") };
        raw.write(&Frame::Pong(number).encode()).await.unwrap();
    }
    tokio::select! {
        biased;
        dialled = listener.accept() => panic!("a second link: {dialled:?}"),
        () = std::future::ready(()) => {}
    }
    drop(raw);
    one.down(2).await;
    // Now it is dialled again.
    soon("party 1 dials", listener.accept()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stops_answering_pings_is_dropped() {
    let silence = Duration::from_secs(2);
    let group = Group::new(3);
    let timing = Timing { ping: Duration::from_millis(50), silence, ..quick() };
    let mut two = group.start_with(2, timing).await;
    let mut raw = group.greet(1, 2).await;
    two.up(1).await;
    // Sixty pings take longer than the limit: while they are answered, the link stays.
    for _ in 0..60 {
        let Frame::Ping(number) = raw.read().await.unwrap() else { panic!("no ping") };
        raw.write(&Frame::Pong(number).encode()).await.unwrap();
    }
    two.assert_no_event_of(1);
    // It still talks, but no longer shows that it hears.
    let talking = tokio::spawn(async move {
        while raw.message(b"bla").await.is_ok() && raw.write(&Frame::Ping(1).encode()).await.is_ok()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let reason = soon("the end of the link", two.down_after_messages(1)).await;
    assert_eq!(reason, "party 1 answered no ping for 2s; the link was dropped");
    assert_eq!(two.status(1).last_error, Some(reason));
    soon("the end of the talk", talking).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_are_answered() {
    let group = Group::new(2);
    let _two = group.start(2).await;
    let mut raw = group.greet(1, 2).await;
    for number in [0, 7, u64::MAX] {
        raw.write(&Frame::Ping(number).encode()).await.unwrap();
        while raw.read().await.unwrap() != Frame::Pong(number) {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_are_closed() {
    let group = Group::new(2);
    let timing = Timing { handshake: Duration::from_secs(1), ..quick() };
    let mut two = group.start_with(2, timing).await;
    // One says nothing at all, one begins a record, one is a member that never greets.
    let mut silent = TcpStream::connect(group.address(2)).await.unwrap();
    let mut dripping = TcpStream::connect(group.address(2)).await.unwrap();
    dripping.write_all(&[22, 3]).await.unwrap();
    for stream in [&mut silent, &mut dripping] {
        assert_eq!(soon("the end", stream.read(&mut [0; 16])).await.unwrap(), 0);
    }
    let mut raw = group.connect(1, 2).await;
    assert_eq!(raw.read().await.unwrap(), Frame::Hello(group.hello(2)));
    assert_eq!(raw.farewell().await, "party 1 did not finish the handshake within 1s");
    two.assert_no_event_of(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_wait_in_a_small_room() {
    let group = Group::new(2);
    let mut two = group.start(2).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(group.address(2)).await.unwrap());
    }
    // Sixteen of one address are let in; the others find the door closed.
    for stream in silent.drain(16..).collect::<Vec<_>>().iter_mut() {
        assert_eq!(soon("the closed door", stream.read(&mut [0; 16])).await.unwrap(), 0);
    }
    for stream in &silent {
        let nothing = stream.try_read(&mut [0; 16]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    }
    // When they go, a member comes in.
    drop(silent);
    let (key, pinned) = (group.key(1), group.key(2).public());
    let mut raw = soon("a free place", async {
        loop {
            if let Ok(stream) = connect_raw(key, &pinned, group.address(2)).await {
                return Raw(stream);
            }
        }
    })
    .await;
    raw.write(&Frame::Hello(group.hello(1)).encode()).await.unwrap();
    two.up(1).await;
}
