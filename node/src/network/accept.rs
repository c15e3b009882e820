//! The listening side: few strangers at a time, none of them for long.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::identity::IdentityPublic;

use super::fault::Fault;
use super::link::{self, Established};
use super::reader::FrameReader;
use super::{Event, Shared, hello, tls};

/// Connections that may be unauthenticated at once.
const STRANGERS: u32 = 64;
/// Of these, from one address.
const STRANGERS_PER_ADDRESS: u32 = 16;
/// After the operating system refuses to accept (no file descriptors left).
const PAUSE: Duration = Duration::from_millis(100);
/// At most one line about strangers in this time.
const COMPLAINT: Duration = Duration::from_secs(1);

/// Accepts until the node stops.
pub(super) async fn listen(
    shared: Arc<Shared>,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    events: mpsc::Sender<Event>,
) {
    let gate = Arc::new(Gate::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stopped() => return,
            () = events.closed() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(pass) = Gate::enter(&gate, address.ip()) else { continue };
                let arrival = Arrival { stream, address, pass };
                tokio::spawn(welcome(shared.clone(), arrival, acceptor.clone(), events.clone()));
            }
            Err(error) => {
                gate.complain(&format!("cannot accept connections: {error}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

struct Arrival {
    stream: TcpStream,
    address: SocketAddr,
    pass: Pass,
}

async fn welcome(
    shared: Arc<Shared>,
    arrival: Arrival,
    acceptor: TlsAcceptor,
    events: mpsc::Sender<Event>,
) {
    let Arrival { stream, address, pass } = arrival;
    let limit = shared.timing.handshake;
    let deadline = Instant::now() + limit;
    let authenticated = tokio::select! {
        result = timeout(limit, authenticate(&shared, stream, acceptor)) => result,
        () = shared.stopped() => return,
        () = events.closed() => return,
    };
    let (mut stream, party) = match authenticated {
        Ok(Ok(authenticated)) => authenticated,
        Ok(Err(reason)) => return pass.gate.complain(&format!("refused {address}: {reason}")),
        Err(_) => {
            let text = format!("refused {address}: no TLS handshake within {limit:?}");
            return pass.gate.complain(&text);
        }
    };
    let greeted = tokio::select! {
        greeted = tokio::time::timeout_at(
            deadline, hello::exchange(&mut stream, shared.hello, party)
        ) => greeted.unwrap_or(Err(Fault::Slow(limit))),
        () = shared.stopped() => Err(Fault::ShuttingDown),
    };
    match greeted {
        Ok(()) => {
            drop(pass);
            link::run(&shared, Established { stream, party, address }, &events).await;
        }
        Err(fault) => {
            if let Some(peer) = shared.peers.get(party) {
                peer.note(&fault);
            }
            link::refuse(stream, fault.farewell(party)).await;
        }
    }
}

/// The TLS handshake, and which member the key belongs to.
async fn authenticate(
    shared: &Shared,
    stream: TcpStream,
    acceptor: TlsAcceptor,
) -> Result<(TlsStream<TcpStream>, u16), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let key = session.peer_certificates().and_then(|keys| keys.first());
            let identity = key.and_then(|key| IdentityPublic::from_spki(key));
            // The verifier looked this up already; here its answer is read back.
            let party = identity.and_then(|identity| shared.membership.party_of_link(&identity));
            let agreed = session.alpn_protocol() == Some(tls::PROTOCOL);
            match party {
                Some(party) if agreed => Ok((stream.into(), party)),
                Some(party) => Err(Fault::OtherProtocol.of(party).to_string()),
                None => Err("its key is no member's".into()),
            }
        }
        Err((error, stream)) => {
            part(stream).await;
            Err(describe(&error))
        }
    }
}

/// Lets a refused peer read the alert that TLS has sent.
async fn part(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        FrameReader::new(stream).discard().await;
    }
}

fn describe(error: &io::Error) -> String {
    match tls::NotPinned::of(error).map(|not_pinned| not_pinned.presented) {
        Some(Some(identity)) => format!(
            "it presented {identity}, which the membership file does not name (or which is this \
             node's own)"
        ),
        Some(None) => "it presented no Ed25519 public key".into(),
        None => format!("the TLS handshake failed: {error}"),
    }
}

/// Counts the connections that are not authenticated yet.
#[derive(Default)]
struct Gate {
    inside: Mutex<BTreeMap<IpAddr, u32>>,
    complaint: Mutex<(Option<Instant>, u64)>,
}

/// A place inside, given back when dropped.
struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    fn enter(gate: &Arc<Self>, address: IpAddr) -> Option<Pass> {
        let mut inside = gate.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let total = inside.values().sum::<u32>();
        let here = inside.get(&address).copied().unwrap_or(0);
        if total >= STRANGERS || here >= STRANGERS_PER_ADDRESS {
            drop(inside);
            gate.complain(&format!("turned {address} away: too many handshakes at once"));
            return None;
        }
        inside.insert(address, here + 1);
        Some(Pass { gate: Arc::clone(gate), address })
    }

    /// Anybody can cause these lines, so they are few.
    fn complain(&self, text: &str) {
        let mut complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, suppressed) = &mut *complaint;
        if last.is_some_and(|last| last.elapsed() < COMPLAINT) {
            *suppressed += 1;
            return;
        }
        *last = Some(Instant::now());
        tracing::warn!(suppressed = std::mem::take(suppressed), "{text}");
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.gate.inside.lock().unwrap_or_else(PoisonError::into_inner);
        match inside.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(inside.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_counts_by_address_and_in_all() {
        let gate = Arc::new(Gate::default());
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut inside = Vec::new();
        for _ in 0..STRANGERS_PER_ADDRESS {
            inside.push(Gate::enter(&gate, address(1)).unwrap());
        }
        assert!(Gate::enter(&gate, address(1)).is_none());
        for other in 2..=4 {
            for _ in 0..STRANGERS_PER_ADDRESS {
                inside.push(Gate::enter(&gate, address(other)).unwrap());
            }
        }
        assert!(Gate::enter(&gate, address(9)).is_none());
        inside.swap_remove(0);
        inside.push(Gate::enter(&gate, address(9)).unwrap());
        inside.clear();
        assert!(gate.inside.lock().unwrap().is_empty());
    }
}
