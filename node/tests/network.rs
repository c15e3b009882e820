//! The transport over real sockets: honest members, strangers, and members that misbehave.

// Helpers outside `#[test]` functions are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/party.rs"]
mod party;

use std::time::Duration;

use party::{Group, Node, quick, soon, until};
use quorate_node::identity::IdentityKey;
use quorate_node::network::frame::MAX_PAYLOAD;
use quorate_node::network::{Event, Network, NetworkError, SendError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_exchange_messages() {
    let group = Group::new(2);
    let mut one = group.start(1).await;
    let mut two = group.start(2).await;
    one.up(2).await;
    two.up(1).await;
    for bytes in [vec![], b"hello".to_vec(), vec![7; MAX_PAYLOAD]] {
        one.network.send(2, bytes.clone()).unwrap();
        assert_eq!(two.message(1).await, bytes);
        two.network.send(1, bytes.clone()).unwrap();
        assert_eq!(one.message(2).await, bytes);
    }
    until("both measured the round trip", || {
        one.status(2).round_trip_micros.is_some() && two.status(1).round_trip_micros.is_some()
    })
    .await;
    let status = one.status(2);
    assert!(status.connected);
    assert_eq!(status.name, "p2");
    assert_eq!(one.network.local_addr(), group.address(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_members_all_hear_each_other_in_order() {
    let group = Group::new(4);
    let mut nodes = Vec::new();
    // The highest first, so that each dials somebody who is there; and the others have to try again.
    for id in [4, 1, 3, 2] {
        nodes.push((id, group.start(id).await));
    }
    for (me, node) in &mut nodes {
        for other in (1..=4).filter(|other| other != me) {
            node.up(other).await;
        }
    }
    for (me, node) in &nodes {
        for other in (1..=4).filter(|other| other != me) {
            for number in 0..50u16 {
                let text = format!("{number} from {me} to {other}");
                node.network.send(other, text.into_bytes()).unwrap();
            }
        }
    }
    for (me, node) in &mut nodes {
        for other in (1..=4).filter(|other| other != me) {
            for number in 0..50u16 {
                let text = String::from_utf8(node.message(other).await).unwrap();
                assert_eq!(text, format!("{number} from {other} to {me}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_said_at_once() {
    let group = Group::new(3);
    let one = group.start(1).await;
    assert_eq!(one.network.send(2, vec![1]), Err(SendError::NotConnected));
    assert_eq!(one.network.send(9, vec![1]), Err(SendError::Stranger));
    assert_eq!(one.network.send(1, vec![1]), Err(SendError::Stranger));
    assert_eq!(one.network.send(2, vec![1; MAX_PAYLOAD + 1]), Err(SendError::TooLong));
    until("the address that nobody listens at is named", || {
        let error = one.status(3).last_error.unwrap_or_default();
        error.starts_with("party 3 cannot be reached at ")
            && error.contains(&group.address(3).to_string())
    })
    .await;
    assert!(!one.status(3).connected);
}

#[tokio::test]
async fn a_node_that_cannot_start_says_what_to_do() {
    let group = Group::new(2);
    let start = async |me: u16, key: &IdentityKey, address| {
        let started = Network::start(group.membership(), me, key, address, quick());
        started.await.map(drop).unwrap_err()
    };
    let error = start(3, group.key(1), group.address(1)).await;
    assert_eq!(error, NetworkError::NotAMember { party: 3 });
    let error = start(1, group.key(2), group.address(1)).await;
    let (own, pinned) = (group.key(2).public(), group.key(1).public());
    assert_eq!(error, NetworkError::Identity { party: 1, own, pinned });
    let text = error.to_string();
    assert!(text.contains(&own.to_string()) && text.contains(&pinned.to_string()), "{text}");
    let _taken = std::net::TcpListener::bind(group.address(1)).unwrap();
    let error = start(1, group.key(1), group.address(1)).await;
    assert!(matches!(&error, NetworkError::Bind { address, .. } if *address == group.address(1)));
    assert!(error.to_string().contains(&group.address(1).to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_gone_is_found_again() {
    let group = Group::new(2);
    let mut one = group.start(1).await;
    let mut two = group.start(2).await;
    one.up(2).await;
    two.up(1).await;
    // The listening side goes and comes back, then the dialling side.
    two.stop().await;
    let reason = one.down(2).await;
    assert_eq!(reason, "party 2 closed the link: \"the node is shutting down\"");
    assert_eq!(one.network.send(2, vec![1]), Err(SendError::NotConnected));
    let mut two = group.start(2).await;
    one.up(2).await;
    two.up(1).await;
    one.network.send(2, b"again".to_vec()).unwrap();
    assert_eq!(two.message(1).await, b"again");
    one.stop().await;
    two.down(1).await;
    let mut one = group.start(1).await;
    one.up(2).await;
    two.up(1).await;
    two.network.send(1, b"and again".to_vec()).unwrap();
    assert_eq!(one.message(2).await, b"and again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_ends_every_task_and_the_listener() {
    let group = Group::new(3);
    let mut one = group.start(1).await;
    let mut two = group.start(2).await;
    one.up(2).await;
    two.up(1).await;
    // Party 3 never came: that task is waiting to dial.
    one.stop().await;
    let refused = tokio::net::TcpStream::connect(group.address(1)).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    two.down(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_receiver_ends_the_links() {
    let group = Group::new(2);
    let timing = quick();
    let started = Network::start(group.membership(), 1, group.key(1), group.address(1), timing);
    let (network, mut events) = started.await.unwrap();
    let mut two = group.start(2).await;
    let up = soon("up", events.recv()).await.unwrap();
    assert_eq!(up, Event::Up { party: 2, address: group.address(2) });
    two.up(1).await;
    drop(events);
    two.down(1).await;
    assert_eq!(network.send(2, vec![1]), Err(SendError::NotConnected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_said_and_does_not_block() {
    let group = Group::new(2);
    let mut two = group.start(2).await;
    // This member greets, and then never reads again.
    let _deaf = group.greet(1, 2).await;
    two.up(1).await;
    let mut queued = 0u64;
    let full = loop {
        match two.network.send(1, vec![0; MAX_PAYLOAD]) {
            // Sockets buffer a few megabytes; 1 GiB they do not.
            Ok(()) if queued < 8192 => queued += 1,
            other => break other,
        }
    };
    assert_eq!(full, Err(SendError::QueueFull));
    assert!(queued >= 16, "only {queued} messages were queued");
    // Messages of no length are bounded by their number.
    let full = (0..50_000_000).find_map(|_| two.network.send(1, vec![]).err());
    assert_eq!(full, Some(SendError::QueueFull));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_member_does_not_keep_others_from_being_heard() {
    let group = Group::new(3);
    let timing = quick();
    let started = Network::start(group.membership(), 2, group.key(2), group.address(2), timing);
    // Nobody drains the events for us: this test is the slow consumer.
    let (_network, mut events) = started.await.unwrap();
    let mut flooding = group.greet(1, 2).await;
    let flood = tokio::spawn(async move { while flooding.message(&[1; 64]).await.is_ok() {} });
    let mut honest = group.greet(3, 2).await;
    for number in 0..20u8 {
        honest.message(&[number]).await.unwrap();
    }
    let (mut heard, mut flooded) = (0, 0u32);
    while heard < 20 {
        match soon("an event", events.recv()).await.unwrap() {
            Event::Message { party: 3, bytes } => {
                assert_eq!(bytes, [heard]);
                heard += 1;
            }
            Event::Message { party: 1, .. } => flooded += 1,
            Event::Down { party, reason } => panic!("party {party} went down: {reason}"),
            _ => {}
        }
    }
    assert!(flooded > 0, "there was no flood");
    drop(events);
    soon("the end of the flood", flood).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_service_does_not_take_is_not_read_from_the_socket() {
    let group = Group::new(2);
    let started = Network::start(group.membership(), 2, group.key(2), group.address(2), quick());
    let (_network, _events) = started.await.unwrap();
    let mut flooding = group.greet(1, 2).await;
    let bytes = vec![1; MAX_PAYLOAD];
    let mut taken = 0;
    // It comes to a halt when the sockets are full. A halt for another reason only ends this early.
    let halt = Duration::from_secs(1);
    while let Ok(written) = tokio::time::timeout(halt, flooding.message(&bytes)).await {
        written.unwrap();
        taken += bytes.len();
        assert!(taken < 256 << 20, "{taken} bytes were taken, and nobody read them");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_looked_up() {
    // `localhost` may be ::1 first: both addresses are tried.
    let group = Group::at_localhost(2);
    let mut one: Node = group.start(1).await;
    let mut two = group.start(2).await;
    one.up(2).await;
    two.up(1).await;
}
