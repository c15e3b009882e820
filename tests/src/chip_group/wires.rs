//! The channels from the host parties to the device, through a link that only carries their frames.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::device::channel::{
    self, BEGIN_LENGTH, Channel, Ends, Greeted, Initiator, MAX_GREETING, OVERHEAD, channel_session,
};
use quorate_core::party::PartyId;

use super::party::Party;

enum State {
    Down,
    Begun(Box<Initiator>),
    Greeted(Box<Greeted>),
    Up(Box<Channel>),
}

/// One party's end of its channel, and the frames that wait to be relayed.
pub(super) struct Wire {
    ends: Ends,
    state: State,
    pub(super) frames: VecDeque<Vec<u8>>,
    /// The device asked for the first frame again, after another party's.
    pub(super) later: bool,
    /// How often a channel has begun.
    pub(super) begun: u32,
}

/// What a frame from the device came to.
pub(super) enum Came {
    /// Nothing for anybody else.
    Nothing,
    /// The channel is there now.
    Up,
    /// There is none any more.
    Lost,
    /// A message of the device.
    Message(Vec<u8>),
}

impl Wire {
    pub(super) fn new(ends: Ends) -> Self {
        Self { ends, state: State::Down, frames: VecDeque::new(), later: false, begun: 0 }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// The link is gone, and with it all that was on the way.
    pub(super) fn drop_all(&mut self) {
        (self.state, self.later) = (State::Down, false);
        self.frames.clear();
    }

    pub(super) fn begin(&mut self, party: &mut Party) {
        self.drop_all();
        self.begun += 1;
        if let Ok((initiator, frame)) = Initiator::begin(self.ends, &mut party.rng) {
            let frame: [u8; BEGIN_LENGTH] = frame;
            self.state = State::Begun(Box::new(initiator));
            self.frames.push_back(frame.to_vec());
        }
    }

    /// Seals a message; without a channel it is lost, as on a broken link.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), String> {
        let State::Up(channel) = &mut self.state else { return Ok(()) };
        let mut buffer = vec![0; message.len() + OVERHEAD];
        if let Some(body) = buffer.get_mut(1..=message.len()) {
            body.copy_from_slice(message);
        }
        let frame = channel.seal(&mut buffer, message.len()).map_err(|error| error.to_string())?;
        self.frames.push_back(frame.to_vec());
        Ok(())
    }

    pub(super) fn receive(
        &mut self,
        party: &Party,
        now: u64,
        mut frame: Vec<u8>,
    ) -> Result<Came, channel::ChannelError> {
        if frame == channel::LOST {
            self.drop_all();
            return Ok(Came::Lost);
        }
        match std::mem::replace(&mut self.state, State::Down) {
            State::Begun(initiator) => {
                let pending = initiator.handle_reply(&frame)?;
                let certificate = party.certificate(&channel_session(&self.ends.network));
                let mut buffer = [0; MAX_GREETING];
                let (greeted, frame) =
                    pending.greet(&certificate, now, &party.session_key, &mut buffer)?;
                self.frames.push_back(frame.to_vec());
                self.state = State::Greeted(Box::new(greeted));
                Ok(Came::Nothing)
            }
            State::Greeted(greeted) => {
                let (channel, _) = greeted.hear(&mut frame)?;
                self.state = State::Up(Box::new(channel));
                Ok(Came::Up)
            }
            State::Up(mut channel) => {
                let message = channel.open(&mut frame)?.to_vec();
                self.state = State::Up(channel);
                Ok(Came::Message(message))
            }
            // What was on its way before the channel was dropped.
            State::Down => Ok(Came::Nothing),
        }
    }
}

pub(super) type Wires = BTreeMap<PartyId, Wire>;
