//! The authenticated transport of opaque frames between parties. It knows nothing of what they say.
//!
//! Each pair of parties has one link: TLS 1.3 between the identity keys that the membership file pins.
//! The party with the lower id dials; a new link of a peer replaces its old one, which may be half dead.
//! A link ends when its peer breaks the rules of [frames](frame) or stops answering pings; other links
//! do not notice.

mod accept;
mod dial;
mod fault;
#[doc(hidden)]
pub mod frame;
mod hello;
mod link;
mod peers;
mod reader;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::identity::{IdentityKey, IdentityPublic};
use crate::membership::Membership;

use peers::Peers;
#[doc(hidden)]
pub use tls::connect_raw;

/// Events that may wait beside the one that each link holds in its hand. Links take turns in a queue
/// that is fair, so with one place a flooding peer is at most two events ahead of the others.
const EVENTS: usize = 1;

/// What the network tells the service.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer has a link, and can be sent to.
    Up {
        /// Who.
        party: u16,
        /// The other end.
        address: SocketAddr,
    },
    /// The link is gone; what was queued on it may not have arrived.
    Down {
        /// Whose.
        party: u16,
        /// What happened.
        reason: String,
    },
    /// A peer sent a message: authentic, whole and in order, and otherwise not looked at.
    Message {
        /// Who, by its key.
        party: u16,
        /// At most [`frame::MAX_PAYLOAD`].
        bytes: Vec<u8>,
    },
}

/// A message may carry a share: its length is all that prints.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up { party, address } => write!(f, "Up({party}, {address})"),
            Self::Down { party, reason } => write!(f, "Down({party}, {reason:?})"),
            Self::Message { party, bytes } => write!(f, "Message({party}, {} bytes)", bytes.len()),
        }
    }
}

/// A peer, as the network sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its identifier.
    pub party: u16,
    /// Its name in the membership file.
    pub name: String,
    /// Whether there is a live link.
    pub connected: bool,
    /// Of the last ping on this or the last link.
    pub round_trip_micros: Option<u64>,
    /// Why the last link, or the last try to get one, ended. It stays until the next one ends, so look
    /// at `connected` first.
    pub last_error: Option<String>,
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// There is no link.
    NotConnected,
    /// The peer takes messages more slowly than they come.
    QueueFull,
    /// More than [`frame::MAX_PAYLOAD`].
    TooLong,
    /// No such member, or this party itself.
    Stranger,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("the peer is not connected"),
            Self::QueueFull => f.write_str("too much already waits for the peer"),
            Self::TooLong => {
                write!(f, "the message is longer than {} bytes", frame::MAX_PAYLOAD)
            }
            Self::Stranger => f.write_str("no other member has that id"),
        }
    }
}

impl std::error::Error for SendError {}

/// Why the network does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// The address to listen at cannot be had.
    Bind {
        /// Which.
        address: SocketAddr,
        /// The operating system's words.
        reason: String,
    },
    /// The identity key is not the one that the membership file pins for this party.
    Identity {
        /// This party.
        party: u16,
        /// The key that this node has.
        own: IdentityPublic,
        /// The key in the membership file.
        pinned: IdentityPublic,
    },
    /// The membership file does not name this party.
    NotAMember {
        /// This party.
        party: u16,
    },
    /// The TLS library refuses the key.
    Tls(String),
    /// The operating system starts no more threads.
    Threads(String),
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, reason } => write!(
                f,
                "cannot listen for peers at {address}: {reason}; free that address or configure \
                 another"
            ),
            Self::Identity { party, own, pinned } => write!(
                f,
                "this node's identity is {own}, but the membership file pins {pinned} for party \
                 {party}; use the right folder, or correct the membership file at all parties"
            ),
            Self::NotAMember { party } => write!(
                f,
                "the membership file names no party {party}; add it at all parties, or correct \
                 this node's id"
            ),
            Self::Tls(reason) => write!(f, "the TLS library refuses the identity key: {reason}"),
            Self::Threads(reason) => write!(f, "no thread for handshakes can be started: {reason}"),
        }
    }
}

impl std::error::Error for NetworkError {}

/// How patient the network is. Values are clamped to what makes sense: at least a millisecond, at most a
/// day, and each upper bound no less than its lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two pings on a link. Default 2 s.
    pub ping: Duration,
    /// A link whose peer answers no ping for this long is dropped; several pings must fit. Default 6 s.
    pub silence: Duration,
    /// For connecting, the TLS handshake and the hellos together, in either direction. Default 5 s.
    pub handshake: Duration,
    /// The first pause before dialling again; it doubles with each failure, and is jittered. Default
    /// 50 ms.
    pub retry_min: Duration,
    /// No pause is longer. Default 5 s.
    pub retry_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(2),
            silence: Duration::from_secs(6),
            handshake: Duration::from_secs(5),
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
        }
    }
}

impl Timing {
    fn clamped(self) -> Self {
        let sane =
            |time: Duration| time.clamp(Duration::from_millis(1), Duration::from_secs(86_400));
        let (ping, retry_min) = (sane(self.ping), sane(self.retry_min));
        Self {
            ping,
            silence: sane(self.silence).max(ping),
            handshake: sane(self.handshake),
            retry_min,
            retry_max: sane(self.retry_max).max(retry_min),
        }
    }
}

/// What all tasks see.
struct Shared {
    membership: Arc<Membership>,
    hello: frame::Hello,
    timing: Timing,
    peers: Peers,
    local: SocketAddr,
    stop: watch::Sender<bool>,
}

impl Shared {
    /// Resolves when the node stops.
    async fn stopped(&self) {
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

/// The links to all peers. Clones are the same network. It runs until [`shutdown`](Self::shutdown) or
/// until the receiver of its events is dropped.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network(party {} at {})", self.0.hello.party, self.0.local)
    }
}

impl Network {
    /// Listens at `listen`, and dials every member with an id over `me`. The receiver ends when the
    /// network has shut down completely; whoever does not read it slows the peers down.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn start(
        membership: Arc<Membership>,
        me: u16,
        identity: &IdentityKey,
        listen: SocketAddr,
        timing: Timing,
    ) -> Result<(Self, mpsc::Receiver<Event>), NetworkError> {
        let own = identity.public();
        let member = membership.member(me).ok_or(NetworkError::NotAMember { party: me })?;
        if *member.link_identity() != own {
            let pinned = *member.link_identity();
            return Err(NetworkError::Identity { party: me, own, pinned });
        }
        let refused = |error: rustls::Error| NetworkError::Tls(error.to_string());
        // Strangers can keep the HSM busy with handshakes that they begin; not with this party's own.
        let patient = || {
            let threads = |error: std::io::Error| NetworkError::Threads(error.to_string());
            identity.patient(timing.handshake).map_err(threads)
        };
        let (accepting, dialling) = (patient()?, patient()?);
        let server =
            tls::server_config(&accepting, Arc::clone(&membership), me).map_err(refused)?;
        let mut dials = Vec::new();
        for member in membership.members().iter().filter(|member| member.id > me) {
            let client = tls::client_config(&dialling, member.link_identity()).map_err(refused)?;
            dials.push((member.clone(), TlsConnector::from(Arc::new(client))));
        }
        let bind = |error: std::io::Error| NetworkError::Bind {
            address: listen,
            reason: error.to_string(),
        };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let shared = Arc::new(Shared {
            hello: frame::Hello {
                version: frame::VERSION,
                network: membership.network(),
                party: me,
            },
            peers: Peers::new(&membership, me),
            local: listener.local_addr().map_err(bind)?,
            timing: timing.clamped(),
            membership,
            stop: watch::Sender::new(false),
        });
        // Only tasks hold the sender, so the receiver ends when the last task does.
        let (events, receiver) = mpsc::channel(EVENTS);
        let acceptor = TlsAcceptor::from(Arc::new(server));
        for (member, connector) in dials {
            tokio::spawn(dial::keep(Arc::clone(&shared), member, connector, events.clone()));
        }
        tokio::spawn(accept::listen(Arc::clone(&shared), listener, acceptor, events));
        Ok((Self(shared), receiver))
    }

    /// Queues a message for `party`. It never blocks; that it was queued does not mean that it arrives.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(&self, party: u16, bytes: Vec<u8>) -> Result<(), SendError> {
        self.0.peers.send(party, bytes)
    }

    /// All members except this party, sorted by id.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.0.peers.status()
    }

    /// Where this party listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local
    }

    /// Says goodbye on all links, closes them and the listener, and ends all tasks.
    pub fn shutdown(&self) {
        self.0.stop.send_replace(true);
    }
}
