//! One party that lives in a device: how far its channel is. No waiting and no network here: frames in, [`News`]
//! out.

use std::net::SocketAddr;
use std::time::Duration;

use quorate_core::device::channel::{
    Channel, Ends, Greeted, Initiator, MAX_GREETING, OVERHEAD, kind,
};
use quorate_core::device::link::MAX_MESSAGE;
use tokio::time::Instant;

use super::{Credentials, GOOD, HANDSHAKE, RETRY_MAX, RETRY_MIN, unix};
use crate::network::{PeerStatus, SendError};

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A frame for the device.
    Say(Vec<u8>),
    /// The channel is there.
    Up(SocketAddr),
    /// It was there.
    Down(String),
    /// What the device said.
    Message(Vec<u8>),
}

// There are a few of these, and each is somewhere for good.
#[allow(clippy::large_enum_variant)]
enum State {
    /// There is no link to the relay.
    Away,
    /// A handshake is to begin then.
    Pausing(Instant),
    Begun(Initiator, Instant),
    Greeted(Greeted, Instant),
    Up(Channel, Instant),
    /// It broke while something was sent.
    Failed {
        was_up: bool,
    },
}

pub(super) struct Peer {
    ends: Ends,
    state: State,
    /// The relay's.
    address: Option<SocketAddr>,
    pause: Duration,
    last_error: Option<String>,
}

impl Peer {
    pub(super) fn new(ends: Ends) -> Self {
        Self { ends, state: State::Away, address: None, pause: RETRY_MIN, last_error: None }
    }

    /// When [`Self::look`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Away | State::Up(..) => None,
            State::Pausing(at) | State::Begun(_, at) | State::Greeted(_, at) => Some(*at),
            State::Failed { .. } => Some(Instant::now()),
        }
    }

    pub(super) fn link_up(&mut self, address: SocketAddr, own: &Credentials) -> Vec<News> {
        self.address = Some(address);
        self.begin(own)
    }

    pub(super) fn link_down(&mut self, reason: String) -> Vec<News> {
        let was_up = matches!(self.state, State::Up(..) | State::Failed { was_up: true });
        self.state = State::Away;
        if was_up { vec![News::Down(reason)] } else { Vec::new() }
    }

    fn begin(&mut self, own: &Credentials) -> Vec<News> {
        let begun = own.rng().map_err(|error| error.to_string()).and_then(|mut rng| {
            Initiator::begin(self.ends, &mut rng).map_err(|error| error.to_string())
        });
        match begun {
            Ok((initiator, frame)) => {
                self.state = State::Begun(initiator, Instant::now() + HANDSHAKE);
                vec![News::Say(frame.to_vec())]
            }
            Err(error) => self.lose(error),
        }
    }

    /// A frame of the link.
    pub(super) fn hear(&mut self, mut frame: Vec<u8>, own: &Credentials) -> Vec<News> {
        let party = self.ends.peer;
        let first = frame.first().copied();
        let lost = first == Some(kind::LOST) && frame.len() == 1;
        match std::mem::replace(&mut self.state, State::Away) {
            State::Away => Vec::new(),
            // Of a channel that is over.
            state @ (State::Pausing(_) | State::Failed { .. }) => {
                self.state = state;
                Vec::new()
            }
            State::Begun(initiator, until) if first == Some(kind::SEALED) => {
                self.state = State::Begun(initiator, until);
                Vec::new()
            }
            State::Begun(..) | State::Greeted(..) if lost => self.lose(format!(
                "the relay of party {party} is there, but its device takes no channel: it is locked, unplugged or busy with its start"
            )),
            State::Begun(initiator, until) => {
                let mut buffer = [0; MAX_GREETING];
                let greeted = initiator.handle_reply(&frame).and_then(|pending| {
                    pending.greet(own.certificate(), unix(), own, &mut buffer)
                });
                match greeted {
                    Ok((greeted, frame)) => {
                        self.state = State::Greeted(greeted, until);
                        vec![News::Say(frame.to_vec())]
                    }
                    Err(error) => self.lose(self.blame(&error)),
                }
            }
            State::Greeted(greeted, _) => match greeted.hear(&mut frame) {
                Ok((channel, _)) => {
                    self.state = State::Up(channel, Instant::now());
                    self.address.map(News::Up).into_iter().collect()
                }
                Err(error) => self.lose(self.blame(&error)),
            },
            State::Up(_, since) if lost => {
                self.state = State::Failed { was_up: true };
                self.rested(since);
                self.lose(format!(
                    "the device of party {party} has no channel any more: it was restarted or locked, or something that was sent to it was altered, dropped, repeated or moved on the way"
                ))
            }
            State::Up(mut channel, since) => match channel.open(&mut frame) {
                Ok(message) => {
                    let message = message.to_vec();
                    self.state = State::Up(channel, since);
                    vec![News::Message(message)]
                }
                Err(error) => {
                    self.state = State::Failed { was_up: true };
                    self.rested(since);
                    self.lose(self.blame(&error))
                }
            },
        }
    }

    fn blame(&self, error: &quorate_core::device::channel::ChannelError) -> String {
        let party = self.ends.peer;
        format!(
            "what came from the device of party {party} is not what it said: {error}; its relay, or whatever is between, is to blame, unless the membership file pins another device"
        )
    }

    fn rested(&mut self, since: Instant) {
        if since.elapsed() >= GOOD {
            self.pause = RETRY_MIN;
        }
    }

    /// There is no channel, or no more: another handshake after a pause.
    fn lose(&mut self, reason: String) -> Vec<News> {
        let was_up = matches!(self.state, State::Failed { was_up: true });
        self.note(reason.clone());
        self.state = State::Pausing(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(RETRY_MAX);
        if was_up { vec![News::Down(reason)] } else { Vec::new() }
    }

    fn note(&mut self, reason: String) {
        let party = self.ends.peer;
        if self.last_error.as_ref() != Some(&reason) {
            tracing::warn!(%party, "{reason}");
        }
        self.last_error = Some(reason);
    }

    /// Something could not be sent, so that nothing that follows would open.
    pub(super) fn fail(&mut self, reason: String) {
        let was_up = matches!(self.state, State::Up(..) | State::Failed { was_up: true });
        self.state = State::Failed { was_up };
        self.note(reason);
    }

    pub(super) fn look(&mut self, now: Instant, own: &Credentials) -> Vec<News> {
        let party = self.ends.peer;
        match &self.state {
            State::Pausing(at) if *at <= now => self.begin(own),
            State::Begun(_, until) | State::Greeted(_, until) if *until <= now => {
                self.lose(format!(
                    "the device of party {party} did not finish the handshake within {HANDSHAKE:?}"
                ))
            }
            State::Failed { .. } => {
                let reason = self.last_error.clone().unwrap_or_default();
                self.lose(reason)
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>, SendError> {
        let State::Up(channel, _) = &mut self.state else { return Err(SendError::NotConnected) };
        if message.len() > MAX_MESSAGE {
            return Err(SendError::TooLong);
        }
        let mut frame = vec![0; message.len() + OVERHEAD];
        for (to, byte) in frame.iter_mut().skip(1).zip(message) {
            *to = *byte;
        }
        let sealed = channel.seal(&mut frame, message.len()).map(|_| ());
        sealed.map_err(|_| SendError::NotConnected)?;
        Ok(frame)
    }

    /// The device, not its relay, is the peer.
    pub(super) fn show(&self, status: &mut PeerStatus) {
        if status.connected {
            status.connected = matches!(self.state, State::Up(..));
            status.last_error.clone_from(&self.last_error);
        }
    }
}
