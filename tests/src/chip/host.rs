//! A host of the device link that waits for each answer.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use quorate_core::device::frame::{self, Decoder};
use quorate_core::device::link::{
    Answer, Event, FromDevice, Hello, Refused, Request, Status, ToDevice, VERSIONS,
};
use quorate_core::party::PartyId;

use super::emulator::Power;

/// A chip that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The chip has no power any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// See [`Answer::Hello`].
    Hello(Hello),
    /// See [`Answer::Done`].
    Done,
    /// See [`Answer::Refused`].
    Refused(Refused),
    /// See [`Answer::Status`].
    Status(Status),
    /// See [`Answer::Key`].
    Key {
        /// Which.
        key: [u8; 16],
        /// Its name.
        name: String,
        /// Whether it is active.
        active: bool,
    },
}

/// What a chip says unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A frame of the channel to another party.
    Send {
        /// To whom.
        to: PartyId,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// What happens.
    Event(Event),
    /// About bytes that are no request.
    Refused(Refused),
}

/// A frame of the chip, owned.
pub(crate) enum Frame {
    Reply(u32, Reply),
    Said(Said),
}

/// The host's end of the link.
pub struct Host {
    stream: UnixStream,
    decoder: Box<Decoder>,
    /// Bytes that have come and were not looked at.
    bytes: VecDeque<u8>,
    said: VecDeque<Said>,
    last: u32,
    /// The power is cut when so many things more were said.
    sudden: Option<(usize, Power)>,
}

impl Host {
    pub(super) fn new(stream: UnixStream) -> Self {
        let decoder = Box::new(Decoder::new());
        let (bytes, said) = (VecDeque::new(), VecDeque::new());
        Self { stream, decoder, bytes, said, last: 0, sudden: None }
    }

    /// The power fails as soon as the chip has said so many things more that nobody asked for.
    pub fn cut_after(&mut self, things: usize, power: Power) {
        self.sudden = Some((things, power));
    }

    fn count(&mut self) {
        if let Some((left, power)) = &mut self.sudden {
            *left = left.saturating_sub(1);
            if *left == 0 {
                power.cut();
                self.sudden = None;
            }
        }
    }

    /// Asks, and waits for the answer; what the chip says in between is kept for [`Self::said`].
    ///
    /// # Errors
    /// [`Gone`] if the chip has lost its power.
    ///
    /// # Panics
    /// If it says what it must not, or nothing at all.
    pub fn ask(&mut self, request: Request<'_>) -> Result<Reply, Gone> {
        self.ask_and(request, |_| {})
    }

    /// [`Self::ask`], and `heard` is shown what the chip says in between.
    ///
    /// # Errors
    /// [`Gone`] if the chip has lost its power.
    ///
    /// # Panics
    /// If it says what it must not, or nothing at all.
    pub fn ask_and(
        &mut self,
        request: Request<'_>,
        mut heard: impl FnMut(&Said),
    ) -> Result<Reply, Gone> {
        self.last = if matches!(request, Request::Hello { .. }) { 1 } else { self.last + 1 };
        let id = self.last;
        let mut frame = Vec::new();
        frame::encode_to(&ToDevice { id, request }, |bytes| frame.extend_from_slice(bytes));
        self.send_raw(&frame)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match self.next(until)? {
                Some(Frame::Reply(to, reply)) => {
                    assert_eq!(to, id, "the answer to another request: {reply:?}");
                    return Ok(reply);
                }
                Some(Frame::Said(said)) => {
                    self.count();
                    heard(&said);
                    self.said.push_back(said);
                }
                None => panic!("no answer to request {id}"),
            }
        }
    }

    /// Greets in all versions that this build speaks.
    ///
    /// # Errors
    /// [`Gone`] if the chip has lost its power.
    ///
    /// # Panics
    /// If it does not greet back.
    pub fn hello(&mut self) -> Result<Hello, Gone> {
        let (min, max) = VERSIONS;
        match self.ask(Request::Hello { min, max, entropy: [7; 32] })? {
            Reply::Hello(hello) => Ok(hello),
            reply => panic!("no greeting: {reply:?}"),
        }
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`Gone`] if the chip has lost its power.
    ///
    /// # Panics
    /// If it answers anything else.
    pub fn status(&mut self) -> Result<Status, Gone> {
        match self.ask(Request::Status)? {
            Reply::Status(status) => Ok(status),
            reply => panic!("no status: {reply:?}"),
        }
    }

    /// What the chip has said unasked, or says within `wait`.
    ///
    /// # Errors
    /// [`Gone`] if the chip has lost its power.
    ///
    /// # Panics
    /// If it answers a request that nobody made.
    pub fn said(&mut self, wait: Duration) -> Result<Option<Said>, Gone> {
        if let Some(said) = self.said.pop_front() {
            return Ok(Some(said));
        }
        match self.next(Instant::now() + wait)? {
            Some(Frame::Said(said)) => {
                self.count();
                Ok(Some(said))
            }
            Some(Frame::Reply(id, reply)) => panic!("an answer to nothing, {id}: {reply:?}"),
            None => Ok(None),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// [`Gone`] if the chip has lost its power.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.stream.write_all(bytes).map_err(|_| Gone)
    }

    /// What the chip says next to bytes that [`Self::send_raw`] sent: the id that it answers under, and the
    /// answer.
    ///
    /// # Errors
    /// [`Gone`] if the chip has lost its power.
    ///
    /// # Panics
    /// If it says nothing at all, or something else.
    pub fn answer(&mut self) -> Result<(u32, Reply), Gone> {
        match self.next(Instant::now() + PATIENCE)? {
            Some(Frame::Reply(id, reply)) => Ok((id, reply)),
            Some(Frame::Said(Said::Refused(refused))) => Ok((0, Reply::Refused(refused))),
            Some(Frame::Said(said)) => panic!("not an answer: {said:?}"),
            None => panic!("no answer"),
        }
    }

    /// The id of the last request, for those who count by hand.
    pub fn set_last(&mut self, id: u32) {
        self.last = id;
    }

    fn next(&mut self, until: Instant) -> Result<Option<Frame>, Gone> {
        loop {
            while let Some(byte) = self.bytes.pop_front() {
                match self.decoder.push(byte) {
                    None => {}
                    Some(Ok(content)) => return Ok(Some(owned(content))),
                    Some(Err(fault)) => panic!("the chip sent no frame: {fault:?}"),
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            // No time at all would mean no limit.
            let set = self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))));
            assert!(set.is_ok(), "a socket takes no time-out");
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Gone),
                Ok(count) => self.bytes.extend(buffer.iter().take(count)),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if Instant::now() >= until {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
    }
}

pub(crate) fn owned(content: &[u8]) -> Frame {
    let FromDevice { id, answer } = match frame::decode(content) {
        Ok(said) => said,
        Err(fault) => panic!("the chip says what cannot be read: {fault:?}"),
    };
    match (id, answer) {
        (0, Answer::Send { to, bytes }) => Frame::Said(Said::Send { to, bytes: bytes.to_vec() }),
        (0, Answer::Event(event)) => Frame::Said(Said::Event(event)),
        (0, Answer::Refused(refused)) => Frame::Said(Said::Refused(refused)),
        (id, Answer::Hello(hello)) => Frame::Reply(id, Reply::Hello(hello)),
        (id, Answer::Done) => Frame::Reply(id, Reply::Done),
        (id, Answer::Refused(refused)) => Frame::Reply(id, Reply::Refused(refused)),
        (id, Answer::Status(status)) => Frame::Reply(id, Reply::Status(status)),
        (id, Answer::Key { key, name, active }) => {
            Frame::Reply(id, Reply::Key { key, name: name.to_owned(), active })
        }
        (id, answer) => panic!("unasked, but under the id {id}: {answer:?}"),
    }
}
