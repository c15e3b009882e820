//! One link, from its seat to its end: a reader, a writer, and pings that must be answered.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_rustls::TlsStream;

use super::fault::Fault;
use super::frame::{self, Frame, FrameError};
use super::peers::{Peer, Queued};
use super::reader::{FrameReader, ReadError};
use super::{Event, Shared, Timing};

type Stream = TlsStream<TcpStream>;

/// How long a link that ends may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pings and pongs that may wait for the writer. A peer that makes more gets no answer to them.
const CONTROLS: usize = 16;
/// Pings that may wait for their pong.
const PINGS: usize = 16;

/// An authenticated connection whose hellos are said.
pub(super) struct Established {
    pub(super) stream: Stream,
    pub(super) party: u16,
    pub(super) address: SocketAddr,
}

/// Runs the link to its end, and returns how long it lived.
pub(super) async fn run(
    shared: &Shared,
    established: Established,
    events: &mpsc::Sender<Event>,
) -> Duration {
    let Established { stream, party, address } = established;
    let begin = Instant::now();
    let Some(peer) = shared.peers.get(party) else { return Duration::ZERO };
    let Some(mut seat) = peer.take_seat().await else { return Duration::ZERO };
    let (reading, writing) = tokio::io::split(stream);
    let (controls, control_queue) = mpsc::channel(CONTROLS);
    let (close, closing) = oneshot::channel();
    let queue = peer.connect();
    let mut writer = pin!(write(writing, queue, control_queue, closing));
    let mut reader = Reader {
        frames: FrameReader::new(reading),
        peer,
        party,
        timing: shared.timing,
        events,
        controls,
        pings: VecDeque::new(),
        next_ping: 1,
        heard: begin,
    };
    let mut announced = false;
    let mut written = false;
    let fault = {
        let mut reading = pin!(async {
            if events.send(Event::Up { party, address }).await.is_err() {
                return Fault::ShuttingDown;
            }
            announced = true;
            reader.run().await
        });
        tokio::select! {
            fault = &mut reading => fault,
            () = seat.superseded() => Fault::Replaced,
            () = shared.stopped() => Fault::ShuttingDown,
            () = events.closed() => Fault::ShuttingDown,
            result = &mut writer => {
                written = true;
                // Before a peer goes, it says why: that tells more than our failure to write.
                let broke = Fault::Lost(result.err().map_or_else(String::new, |e| e.to_string()));
                timeout(FAREWELL, reading).await.unwrap_or(broke)
            }
        }
    };
    peer.disconnect(&fault);
    if announced {
        let reason = fault.of(party).to_string();
        let _ = events.send(Event::Down { party, reason }).await;
    }
    drop(seat);
    let lived = begin.elapsed();
    let _ = close.send(fault.farewell(party));
    let farewell = async {
        if !written {
            let _ = writer.await;
        }
        reader.frames.discard().await;
    };
    let _ = timeout(FAREWELL, farewell).await;
    lived
}

/// Ends a connection whose hello is refused.
pub(super) async fn refuse(mut stream: Stream, reason: Option<String>) {
    let farewell = async {
        if let Some(reason) = reason {
            stream.write_all(&Frame::Close(reason).encode()).await?;
        }
        stream.shutdown().await?;
        FrameReader::new(&mut stream).discard().await;
        Ok::<_, io::Error>(())
    };
    let _ = timeout(FAREWELL, farewell).await;
}

/// Writes what waits, pings and pongs first, until it is told to close.
async fn write(
    mut to: WriteHalf<Stream>,
    mut queue: mpsc::Receiver<Queued>,
    mut controls: mpsc::Receiver<Frame>,
    mut closing: oneshot::Receiver<Option<String>>,
) -> io::Result<()> {
    loop {
        tokio::select! {
            biased;
            reason = &mut closing => {
                if let Ok(Some(reason)) = reason {
                    to.write_all(&Frame::Close(reason).encode()).await?;
                }
                return to.shutdown().await;
            }
            Some(control) = controls.recv() => to.write_all(&control.encode()).await?,
            Some(queued) = queue.recv() => {
                to.write_all(&frame::encode_message(&queued.bytes)).await?;
            }
        }
        to.flush().await?;
    }
}

struct Reader<'a> {
    frames: FrameReader<ReadHalf<Stream>>,
    peer: &'a Peer,
    party: u16,
    timing: Timing,
    events: &'a mpsc::Sender<Event>,
    controls: mpsc::Sender<Frame>,
    /// Unanswered, oldest first.
    pings: VecDeque<(u64, Instant)>,
    next_ping: u64,
    /// When the peer last showed that it hears us.
    heard: Instant,
}

impl Reader<'_> {
    async fn run(&mut self) -> Fault {
        self.heard = Instant::now();
        let mut ticks = interval(self.timing.ping);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = self.frames.next() => {
                    if let Err(fault) = self.take(frame).await {
                        return fault;
                    }
                }
                _ = ticks.tick() => self.ping(),
                // Not whether something comes, but whether the peer hears *us*: a link that is
                // dead in one direction looks alive to whoever only listens.
                () = sleep_until(self.heard + self.timing.silence) => {
                    return Fault::Silent(self.timing.silence);
                }
            }
        }
    }

    fn ping(&mut self) {
        // No room means that the writer is stuck or the pongs are: the silence limit will tell.
        if self.pings.len() < PINGS && self.controls.try_send(Frame::Ping(self.next_ping)).is_ok() {
            self.pings.push_back((self.next_ping, Instant::now()));
            self.next_ping += 1;
        }
    }

    async fn take(&mut self, frame: Result<Frame, ReadError>) -> Result<(), Fault> {
        match frame? {
            Frame::Message(bytes) => {
                let message = Event::Message { party: self.party, bytes };
                let waiting = Instant::now();
                // While this waits nothing more is read: whoever floods, floods its own link.
                self.events.send(message).await.map_err(|_| Fault::ShuttingDown)?;
                // Pongs may wait behind the message; the time that *we* took is not silence.
                self.heard += waiting.elapsed();
                Ok(())
            }
            Frame::Ping(number) => {
                let _ = self.controls.try_send(Frame::Pong(number));
                Ok(())
            }
            Frame::Pong(number) => self.pong(number).map_err(Fault::Frame),
            Frame::Hello(_) => Err(Fault::Frame(FrameError::SecondHello)),
            Frame::Close(reason) => Err(Fault::ClosedBy(reason)),
        }
    }

    fn pong(&mut self, number: u64) -> Result<(), FrameError> {
        let place = self.pings.iter().position(|(sent, _)| *sent == number);
        let place = place.ok_or(FrameError::StrayPong(number))?;
        if let Some((_, sent)) = self.pings.drain(..=place).next_back() {
            self.heard = Instant::now();
            self.peer.round_trip(sent.elapsed());
        }
        Ok(())
    }
}
