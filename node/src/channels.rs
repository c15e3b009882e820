//! Party channels to devices (`quorate_core::device::channel`), between the network and the service.
//!
//! A link to a device is its relay's, which is not trusted. What goes through it is sealed end to end: the
//! service sees such a party as connected when the device itself has proved who it is, and gets its messages
//! opened. A relay that alters, drops, repeats or moves anything breaks the channel: the party is gone, with the
//! reason in its status, and a new channel begins.

mod credentials;
mod peer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_core::device::channel::Ends;
use quorate_core::party::PartyId;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::membership::Membership;
use crate::network::{Event, Network, PeerStatus, SendError};
use crate::service::Transport;

pub use credentials::{ChannelError, Credentials};
use peer::{News, Peer};

/// A handshake that is not over then is given up: the device may be locked, or away from its relay. One that
/// has a key generation in hand takes its time.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The first pause before another handshake; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A channel that lived so long was a good one: the next pause is short again.
const GOOD: Duration = Duration::from_secs(6);

/// The network, with channels to those parties that live in devices. Clones are the same.
#[derive(Clone)]
pub struct Channels(Arc<Shared>);

struct Shared {
    network: Network,
    credentials: Credentials,
    peers: BTreeMap<u16, Mutex<Peer>>,
    /// A channel broke while something was sent.
    broken: Notify,
}

fn lock(peer: &Mutex<Peer>) -> MutexGuard<'_, Peer> {
    peer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channels {
    /// Whether this party has anybody to have a channel to.
    #[must_use]
    pub fn needed(membership: &Membership, me: PartyId) -> bool {
        membership.parties().iter().any(|id| *id != me.number() && membership.is_device(*id))
    }

    /// Takes the network's events, and gives those that the service should see.
    #[must_use]
    pub fn start(
        network: Network,
        events: mpsc::Receiver<Event>,
        membership: &Membership,
        credentials: Credentials,
    ) -> (Self, mpsc::Receiver<Event>) {
        let (me, id) = (credentials.me(), membership.network());
        let devices = membership.members().iter().filter(|member| member.relay.is_some());
        let peers = devices.filter_map(|member| {
            let peer = PartyId::new(member.id).filter(|peer| *peer != me)?;
            let ends = Ends { network: id, me, peer, identity: member.identity.key() };
            Some((member.id, Mutex::new(Peer::new(ends))))
        });
        let peers = peers.collect();
        let shared = Arc::new(Shared { network, credentials, peers, broken: Notify::new() });
        // As in the network: whoever floods, floods its own link.
        let (out, receiver) = mpsc::channel(1);
        tokio::spawn(keep(Arc::clone(&shared), events, out));
        (Self(shared), receiver)
    }
}

impl Transport for Channels {
    fn send(&self, party: u16, bytes: Vec<u8>) -> Result<(), SendError> {
        let Some(peer) = self.0.peers.get(&party) else {
            return self.0.network.send(party, bytes);
        };
        let mut peer = lock(peer);
        let frame = peer.seal(&bytes)?;
        // Under the lock: what is sealed first must leave first.
        let sent = self.0.network.send(party, frame);
        if let Err(error) = sent {
            // A number of the sequence is used up, and nothing after it would open.
            peer.fail(error.to_string());
            self.0.broken.notify_one();
        }
        sent
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let mut all = self.0.network.peers();
        for status in &mut all {
            if let Some(peer) = self.0.peers.get(&status.party) {
                lock(peer).show(status);
            }
        }
        all
    }

    fn address(&self) -> SocketAddr {
        self.0.network.local_addr()
    }
}

/// Unix seconds: devices have no other clock than what parties tell them.
fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

async fn keep(shared: Arc<Shared>, mut events: mpsc::Receiver<Event>, out: mpsc::Sender<Event>) {
    loop {
        let due = shared.peers.values().filter_map(|peer| lock(peer).due()).min();
        let until = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        let event = tokio::select! {
            event = events.recv() => match event {
                Some(event) => Some(event),
                None => return,
            },
            () = sleep_until(until) => None,
            () = shared.broken.notified() => None,
            () = out.closed() => return,
        };
        let news = match event {
            Some(event) => shared.take(event),
            None => shared.look(),
        };
        for event in news {
            if out.send(event).await.is_err() {
                return;
            }
        }
    }
}

impl Shared {
    fn take(&self, event: Event) -> Vec<Event> {
        let (Event::Up { party, .. } | Event::Down { party, .. } | Event::Message { party, .. }) =
            &event;
        let party = *party;
        let Some(peer) = self.peers.get(&party) else { return vec![event] };
        let mut peer = lock(peer);
        let news = match event {
            Event::Up { address, .. } => peer.link_up(address, &self.credentials),
            Event::Down { reason, .. } => peer.link_down(reason),
            Event::Message { bytes, .. } => peer.hear(bytes, &self.credentials),
        };
        self.act(party, &mut peer, news)
    }

    /// Deadlines, and channels that broke.
    fn look(&self) -> Vec<Event> {
        let now = Instant::now();
        let look = |(party, peer): (&u16, &Mutex<Peer>)| {
            let mut peer = lock(peer);
            let news = peer.look(now, &self.credentials);
            self.act(*party, &mut peer, news)
        };
        self.peers.iter().flat_map(look).collect()
    }

    fn act(&self, party: u16, peer: &mut Peer, news: Vec<News>) -> Vec<Event> {
        let mut events = Vec::new();
        for news in news {
            match news {
                News::Say(frame) => {
                    if let Err(error) = self.network.send(party, frame) {
                        peer.fail(error.to_string());
                        self.broken.notify_one();
                    }
                }
                News::Up(address) => events.push(Event::Up { party, address }),
                News::Down(reason) => events.push(Event::Down { party, reason }),
                News::Message(bytes) => events.push(Event::Message { party, bytes }),
            }
        }
        events
    }
}
