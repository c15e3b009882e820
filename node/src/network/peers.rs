//! What this node knows of its peers: who has a link, its queue, and why the last one ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::membership::Membership;

use super::fault::Fault;
use super::{PeerStatus, SendError, frame};

/// Messages that may wait for one peer.
const QUEUE_MESSAGES: usize = 256;
/// Bytes that may wait for one peer.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// A message on its way out, with its part of the byte budget, which returns when it is written.
pub(super) struct Queued {
    pub(super) bytes: Vec<u8>,
    pub(super) _budget: OwnedSemaphorePermit,
}

/// The sending end of a link's queue.
struct Outgoing {
    messages: mpsc::Sender<Queued>,
    budget: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    link: Option<Outgoing>,
    round_trip: Option<Duration>,
    last_error: Option<String>,
}

/// One peer.
pub(super) struct Peer {
    party: u16,
    name: String,
    /// Who holds it is the peer's one link. The next one waits here until the last has reported its end.
    seat: tokio::sync::Mutex<()>,
    /// The number of the newest link: older ones leave.
    newest: watch::Sender<u64>,
    connected: watch::Sender<bool>,
    state: Mutex<State>,
}

/// The right to be a peer's link.
pub(super) struct Seat<'a> {
    _held: tokio::sync::MutexGuard<'a, ()>,
    newest: watch::Receiver<u64>,
    mine: u64,
}

impl Seat<'_> {
    /// Resolves when a newer link of the same peer wants the seat.
    pub(super) async fn superseded(&mut self) {
        // The sender lives as long as the peer, from which `self` borrows.
        let _ = self.newest.wait_for(|newest| *newest > self.mine).await;
    }
}

impl Peer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the current link leave and takes its place; `None` if an even newer one comes.
    pub(super) async fn take_seat(&self) -> Option<Seat<'_>> {
        let mut mine = 0;
        self.newest.send_modify(|newest| {
            *newest += 1;
            mine = *newest;
        });
        let mut newest = self.newest.subscribe();
        let held = tokio::select! {
            biased;
            _ = newest.wait_for(|newest| *newest > mine) => return None,
            held = self.seat.lock() => held,
        };
        Some(Seat { _held: held, newest, mine })
    }

    /// Opens the queue of a link that has just begun.
    pub(super) fn connect(&self) -> mpsc::Receiver<Queued> {
        let (messages, queue) = mpsc::channel(QUEUE_MESSAGES);
        let budget = Arc::new(Semaphore::new(QUEUE_BYTES));
        let mut state = self.state();
        state.link = Some(Outgoing { messages, budget });
        state.round_trip = None;
        drop(state);
        self.connected.send_replace(true);
        queue
    }

    /// Closes the queue of a link that has ended, and notes why.
    pub(super) fn disconnect(&self, fault: &Fault) {
        self.state().link = None;
        self.note(fault);
        self.connected.send_replace(false);
    }

    /// Notes why a link, or a try to get one, ended.
    pub(super) fn note(&self, fault: &Fault) {
        let text = fault.of(self.party).to_string();
        let mut state = self.state();
        let news = state.last_error.as_ref() != Some(&text);
        state.last_error = Some(text.clone());
        drop(state);
        // A peer that stays away is tried again and again; its log line comes once.
        if fault.alarming() && news {
            tracing::warn!(party = self.party, "{text}");
        } else if news {
            tracing::info!(party = self.party, "{text}");
        } else {
            tracing::debug!(party = self.party, "{text}");
        }
    }

    pub(super) fn round_trip(&self, time: Duration) {
        self.state().round_trip = Some(time);
    }

    /// Resolves when the peer has no link.
    pub(super) async fn unconnected(&self) {
        let _ = self.connected.subscribe().wait_for(|connected| !connected).await;
    }

    fn send(&self, bytes: Vec<u8>) -> Result<(), SendError> {
        // The frame's header counts too: empty messages are not free.
        let size = u32::try_from(bytes.len() + frame::HEADER).map_err(|_| SendError::TooLong)?;
        let state = self.state();
        let link = state.link.as_ref().ok_or(SendError::NotConnected)?;
        let budget = Arc::clone(&link.budget);
        let budget = budget.try_acquire_many_owned(size).map_err(|_| SendError::QueueFull)?;
        link.messages.try_send(Queued { bytes, _budget: budget }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => SendError::NotConnected,
        })
    }

    fn status(&self) -> PeerStatus {
        let state = self.state();
        PeerStatus {
            party: self.party,
            name: self.name.clone(),
            connected: state.link.is_some(),
            round_trip_micros: state
                .round_trip
                .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            last_error: state.last_error.clone(),
        }
    }
}

/// All members except this party.
pub(super) struct Peers(BTreeMap<u16, Peer>);

impl Peers {
    pub(super) fn new(membership: &Membership, me: u16) -> Self {
        let others = membership.members().iter().filter(|member| member.id != me);
        let peer = |member: &crate::membership::Member| Peer {
            party: member.id,
            name: member.name.clone(),
            seat: tokio::sync::Mutex::new(()),
            newest: watch::Sender::new(0),
            connected: watch::Sender::new(false),
            state: Mutex::default(),
        };
        Self(others.map(|member| (member.id, peer(member))).collect())
    }

    pub(super) fn get(&self, party: u16) -> Option<&Peer> {
        self.0.get(&party)
    }

    pub(super) fn send(&self, party: u16, bytes: Vec<u8>) -> Result<(), SendError> {
        let peer = self.get(party).ok_or(SendError::Stranger)?;
        if bytes.len() > frame::MAX_PAYLOAD {
            return Err(SendError::TooLong);
        }
        peer.send(bytes)
    }

    pub(super) fn status(&self) -> Vec<PeerStatus> {
        self.0.values().map(Peer::status).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IdentityKey;
    use crate::membership::Member;

    fn peers() -> Peers {
        let member = |id: u16| Member {
            id,
            name: format!("p{id}"),
            identity: IdentityKey::from_secret(&[id as u8; 32]).public(),
            address: format!("127.0.0.1:{}", 7000 + id),
            relay: None,
        };
        let members = vec![member(1), member(2), member(3)];
        Peers::new(&Membership::with_random_network(members).unwrap(), 1)
    }

    #[test]
    fn queues_are_bounded_in_bytes_and_in_number_for_each_peer() {
        let peers = peers();
        let [mut two, _three] = [2, 3].map(|party| peers.get(party).unwrap().connect());
        let long = || vec![0; frame::MAX_PAYLOAD];
        let queued = (0..1000).take_while(|_| peers.send(2, long()).is_ok()).count();
        assert_eq!(queued, QUEUE_BYTES / (frame::MAX_PAYLOAD + frame::HEADER));
        assert_eq!(peers.send(2, long()), Err(SendError::QueueFull));
        // What is written makes room again.
        drop(two.try_recv().unwrap());
        assert_eq!(peers.send(2, long()), Ok(()));
        assert_eq!(peers.send(2, long()), Err(SendError::QueueFull));
        let queued = (0..1000).take_while(|_| peers.send(3, vec![]).is_ok()).count();
        assert_eq!(queued, QUEUE_MESSAGES);
    }

    #[tokio::test]
    async fn only_the_newest_gets_the_seat() {
        let peers = peers();
        let peer = peers.get(2).unwrap();
        let mut first = peer.take_seat().await.unwrap();
        let (second, third, ()) = tokio::join!(biased; peer.take_seat(), peer.take_seat(), async {
            first.superseded().await;
            drop(first);
        });
        assert!(second.is_none());
        assert!(third.is_some());
    }
}
