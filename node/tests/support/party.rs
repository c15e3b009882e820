//! Parties for tests of the network: honest nodes, and members that write raw frames.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use quorate_node::identity::IdentityKey;
use quorate_node::membership::{Member, Membership};
use quorate_node::network::frame::{self, Frame, Hello};
use quorate_node::network::{Event, Network, PeerStatus, Timing, connect_raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

/// Nothing here takes long; a test that waits for this has found a hang.
const HANG: Duration = Duration::from_secs(60);

/// Limits that no slow machine meets, and quick redials.
pub(crate) fn quick() -> Timing {
    Timing {
        ping: Duration::from_millis(50),
        silence: Duration::from_secs(50),
        handshake: Duration::from_secs(50),
        retry_min: Duration::from_millis(5),
        retry_max: Duration::from_millis(50),
    }
}

/// The result of `future`, or a panic that says what was waited for.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(HANG, future).await {
        Ok(result) => result,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits for a condition that no event announces.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A membership file and everybody's keys.
pub(crate) struct Group {
    keys: Vec<IdentityKey>,
    addresses: Vec<SocketAddr>,
    membership: Arc<Membership>,
}

impl Group {
    pub(crate) fn new(size: u16) -> Self {
        // Where all of 127/8 is local, each group has an address of its own, so that no other test can
        // take its ports between the reservation and the start.
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let last = if cfg!(target_os = "linux") { NEXT.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let host = if last == 0 { [127, 0, 0, 1] } else { [127, 9, last, 1] };
        Self::with(fresh_keys(size), host, |address| address.to_string())
    }

    /// Members with keys of their own kind.
    pub(crate) fn of_keys(keys: Vec<IdentityKey>) -> Self {
        Self::with(keys, [127, 0, 0, 1], |address| address.to_string())
    }

    /// Members whose addresses have a name.
    pub(crate) fn at_localhost(size: u16) -> Self {
        Self::with(fresh_keys(size), [127, 0, 0, 1], |address| {
            format!("localhost:{}", address.port())
        })
    }

    fn with(keys: Vec<IdentityKey>, host: [u8; 4], name: impl Fn(SocketAddr) -> String) -> Self {
        let size = keys.len() as u16;
        let reserve = |_| std::net::TcpListener::bind(SocketAddr::from((host, 0))).unwrap();
        let reserved = (0..size).map(reserve).collect::<Vec<_>>();
        let addresses = reserved.iter().map(|l| l.local_addr().unwrap()).collect::<Vec<_>>();
        let member = |id: u16| Member {
            id,
            name: format!("p{id}"),
            identity: keys[usize::from(id) - 1].public(),
            address: name(addresses[usize::from(id) - 1]),
            relay: None,
        };
        let members = (1..=size).map(member).collect();
        let membership = Arc::new(Membership::with_random_network(members).unwrap());
        Self { keys, addresses, membership }
    }

    pub(crate) fn key(&self, id: u16) -> &IdentityKey {
        &self.keys[usize::from(id) - 1]
    }

    pub(crate) fn address(&self, id: u16) -> SocketAddr {
        self.addresses[usize::from(id) - 1]
    }

    pub(crate) fn membership(&self) -> Arc<Membership> {
        Arc::clone(&self.membership)
    }

    pub(crate) async fn start(&self, me: u16) -> Node {
        self.start_with(me, quick()).await
    }

    pub(crate) async fn start_with(&self, me: u16, timing: Timing) -> Node {
        Node::start(self.membership(), me, self.key(me), self.address(me), timing).await
    }

    /// What `party` should say first.
    pub(crate) fn hello(&self, party: u16) -> Hello {
        Hello { version: frame::VERSION, network: self.membership.network(), party }
    }

    /// A TLS link from `me` to `to` on which nothing is said yet.
    pub(crate) async fn connect(&self, me: u16, to: u16) -> Raw {
        let key = self.key(to).public();
        Raw(soon("TLS", connect_raw(self.key(me), &key, self.address(to))).await.unwrap())
    }

    /// A link on which `me` has greeted, as it should.
    pub(crate) async fn greet(&self, me: u16, to: u16) -> Raw {
        let mut raw = self.connect(me, to).await;
        raw.write(&Frame::Hello(self.hello(me)).encode()).await.unwrap();
        assert_eq!(raw.read().await.unwrap(), Frame::Hello(self.hello(to)));
        raw
    }
}

fn fresh_keys(size: u16) -> Vec<IdentityKey> {
    (0..size).map(|_| IdentityKey::generate().unwrap()).collect()
}

/// An honest party, whose events are always read.
pub(crate) struct Node {
    pub(crate) network: Network,
    events: mpsc::UnboundedReceiver<Event>,
    /// Events that came while the test waited for another.
    early: Vec<Event>,
}

impl Node {
    pub(crate) async fn start(
        membership: Arc<Membership>,
        me: u16,
        key: &IdentityKey,
        address: SocketAddr,
        timing: Timing,
    ) -> Self {
        let started = Network::start(membership, me, key, address, timing).await;
        let (network, mut from) = started.unwrap();
        let (to, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = from.recv().await {
                let _ = to.send(event);
            }
        });
        Self { network, events, early: Vec::new() }
    }

    /// The first event about `party` that this has not returned yet.
    async fn about(&mut self, party: u16) -> Event {
        let of = |event: &Event| match event {
            Event::Up { party, .. } | Event::Down { party, .. } | Event::Message { party, .. } => {
                *party
            }
        };
        if let Some(place) = self.early.iter().position(|event| of(event) == party) {
            return self.early.remove(place);
        }
        loop {
            let event = soon(&format!("an event of party {party}"), self.events.recv()).await;
            let event = event.expect("the network shut down");
            if of(&event) == party {
                return event;
            }
            self.early.push(event);
        }
    }

    pub(crate) async fn up(&mut self, party: u16) {
        let event = self.about(party).await;
        assert!(matches!(event, Event::Up { .. }), "instead of Up: {event:?}");
    }

    pub(crate) async fn down(&mut self, party: u16) -> String {
        match self.about(party).await {
            Event::Down { reason, .. } => reason,
            event => panic!("instead of Down: {event:?}"),
        }
    }

    pub(crate) async fn message(&mut self, party: u16) -> Vec<u8> {
        match self.about(party).await {
            Event::Message { bytes, .. } => bytes,
            event => panic!("instead of a message: {event:?}"),
        }
    }

    /// Nothing has happened about `party` that the test has not seen.
    pub(crate) fn assert_no_event_of(&mut self, party: u16) {
        while let Ok(event) = self.events.try_recv() {
            self.early.push(event);
        }
        for event in &self.early {
            let (Event::Up { party: of, .. }
            | Event::Down { party: of, .. }
            | Event::Message { party: of, .. }) = event;
            assert_ne!(*of, party, "{event:?}");
        }
    }

    /// The end of a link on which messages still came.
    pub(crate) async fn down_after_messages(&mut self, party: u16) -> String {
        loop {
            match self.about(party).await {
                Event::Message { .. } => continue,
                Event::Down { reason, .. } => return reason,
                event => panic!("instead of Down: {event:?}"),
            }
        }
    }

    pub(crate) fn status(&self, party: u16) -> PeerStatus {
        self.network.peers().into_iter().find(|peer| peer.party == party).unwrap()
    }

    /// Shuts down and waits until every task has ended.
    pub(crate) async fn stop(mut self) {
        self.network.shutdown();
        soon("the end of all tasks", async { while self.events.recv().await.is_some() {} }).await;
    }
}

/// A link without manners.
pub(crate) struct Raw(pub(crate) TlsStream<TcpStream>);

impl Raw {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    pub(crate) async fn message(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write(&frame::encode_message(bytes)).await
    }

    pub(crate) async fn read(&mut self) -> std::io::Result<Frame> {
        soon("a frame", async {
            let mut head = [0; 4];
            self.0.read_exact(&mut head).await?;
            let mut bytes = vec![0; frame::check_length(head).unwrap()];
            self.0.read_exact(&mut bytes).await?;
            let kind = frame::check_kind(bytes[0], bytes.len() - 1).unwrap();
            Ok(Frame::decode(kind, bytes.split_off(1)).unwrap())
        })
        .await
    }

    /// The reason with which the other side closes, after whatever else it still sends.
    pub(crate) async fn farewell(&mut self) -> String {
        loop {
            match self.read().await.expect("the link ended without a word") {
                Frame::Close(reason) => return reason,
                _ => continue,
            }
        }
    }

    /// Why nothing comes any more.
    pub(crate) async fn end(&mut self) -> std::io::Error {
        loop {
            if let Err(error) = self.read().await {
                return error;
            }
        }
    }
}
