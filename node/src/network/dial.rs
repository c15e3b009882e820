//! The dialling side: one task per peer with a higher id, which tries until it has a link, and again when
//! it has lost it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_rustls::{TlsConnector, TlsStream};

use crate::membership::Member;

use super::fault::Fault;
use super::link::{self, Established};
use super::{Event, Shared, Timing, hello, tls};

/// Of a name with more addresses than this, the others are not tried.
const ADDRESSES: usize = 4;

/// Keeps a link to `member` until the node stops.
pub(super) async fn keep(
    shared: Arc<Shared>,
    member: Member,
    connector: TlsConnector,
    events: mpsc::Sender<Event>,
) {
    let mut pauses = Pauses::new(shared.timing);
    let Some(peer) = shared.peers.get(member.id) else { return };
    loop {
        let connected = tokio::select! {
            connected = async {
                // We are to dial; a peer that dials us nevertheless is not dialled on top of that.
                peer.unconnected().await;
                connect(&shared, &member, &connector).await
            } => connected,
            () = shared.stopped() => return,
            () = events.closed() => return,
        };
        match connected {
            Ok(established) => {
                let lived = link::run(&shared, established, &events).await;
                pauses.after_link(lived);
            }
            Err(fault) => peer.note(&fault),
        }
        tokio::select! {
            () = sleep(pauses.next()) => {}
            () = shared.stopped() => return,
            () = events.closed() => return,
        }
    }
}

async fn connect(
    shared: &Shared,
    member: &Member,
    connector: &TlsConnector,
) -> Result<Established, Fault> {
    let limit = shared.timing.handshake;
    let deadline = tokio::time::Instant::now() + limit;
    let slow = |_| Fault::Slow(limit);
    let (stream, address) = timeout_at(deadline, reach(&member.address, limit))
        .await
        .unwrap_or_else(|_| Err(unreachable(&member.address, "no answer")))?;
    let lost = |error: std::io::Error| Fault::Lost(error.to_string());
    stream.set_nodelay(true).map_err(lost)?;
    let secured = connector.connect(tls::no_name().map_err(lost)?, stream);
    let stream =
        timeout_at(deadline, secured).await.map_err(slow)?.map_err(
            |error| match tls::NotPinned::of(&error) {
                Some(not_pinned) => Fault::WrongKey {
                    address,
                    presented: not_pinned.presented,
                    pinned: *member.link_identity(),
                },
                None => Fault::Tls { address, reason: error.to_string() },
            },
        )?;
    if stream.get_ref().1.alpn_protocol() != Some(tls::PROTOCOL) {
        return Err(Fault::OtherProtocol);
    }
    let mut stream = TlsStream::from(stream);
    let greeted = timeout_at(deadline, hello::exchange(&mut stream, shared.hello, member.id));
    match greeted.await.map_err(slow).flatten() {
        Ok(()) => Ok(Established { stream, party: member.id, address }),
        Err(fault) => {
            link::refuse(stream, fault.farewell(member.id)).await;
            Err(fault)
        }
    }
}

fn unreachable(address: &str, reason: impl std::fmt::Display) -> Fault {
    Fault::Unreachable { address: address.to_owned(), reason: reason.to_string() }
}

/// The first address of `name` that answers. The name is looked up anew each time: parties move.
async fn reach(name: &str, limit: Duration) -> Result<(TcpStream, SocketAddr), Fault> {
    let found = lookup_host(name).await.map_err(|error| unreachable(name, error))?;
    let addresses = found.take(ADDRESSES).collect::<Vec<_>>();
    // A dead address must not eat the time of the next.
    let each = limit / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut last = unreachable(name, "the name has no address");
    for address in addresses {
        match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => last = unreachable(name, error),
            Err(_) => last = unreachable(name, "no answer"),
        }
    }
    Err(last)
}

/// Exponential pauses with jitter, short again after a link that held.
struct Pauses {
    timing: Timing,
    next: Duration,
}

impl Pauses {
    fn new(timing: Timing) -> Self {
        Self { timing, next: timing.retry_min }
    }

    fn after_link(&mut self, lived: Duration) {
        // A peer that accepts and then misbehaves at once is not dialled in a tight loop.
        if lived >= self.timing.silence {
            self.next = self.timing.retry_min;
        }
    }

    /// Between half and the whole of the current pause: parties that lost each other together must
    /// not come back together.
    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.timing.retry_max);
        let mut random = [0];
        // Without randomness there is no jitter, which hurts nobody.
        let _ = getrandom::getrandom(&mut random);
        let [random] = random;
        pause / 2 + pause / 512 * u32::from(random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_shrink_after_a_good_link() {
        let timing = Timing::default();
        let mut pauses = Pauses::new(timing);
        let mut whole = timing.retry_min;
        for _ in 0..12 {
            let pause = pauses.next();
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
            whole = (whole * 2).min(timing.retry_max);
        }
        assert_eq!(whole, timing.retry_max);
        pauses.after_link(timing.silence / 2);
        assert!(pauses.next() >= timing.retry_max / 2);
        pauses.after_link(timing.silence);
        assert!(pauses.next() <= timing.retry_min);
    }
}
