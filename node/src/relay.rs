//! A node that relays for a device: frames of channels go to and fro between the network and the device, and
//! nothing in them can be read or changed here without being noticed.

mod api;
mod queue;
mod shown;

use std::time::Duration;

use quorate_core::device::channel::{LOST, kind};
use quorate_core::device::link::{Event as DeviceEvent, MAX_KEYS, Refused, Request, features};
use quorate_core::party::PartyId;
use quorate_hsm::HsmError;
use quorate_hsm::pkcs11::PinGuard;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, sleep_until};
use zeroize::Zeroizing;

use crate::device::{ANSWER, Device, DeviceError, HeldKey, Line, PERSON, Said, Unasked};
use crate::membership::Membership;
use crate::network::{Event, Network};

pub use api::router;
use queue::{Outgoing, Queue};
pub use shown::{DeviceInfo, DeviceKey, DeviceState, RelayStatus, Shown};

/// The first pause before the device is tried again; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// What the device wants later is given again so much later, if nothing else comes before.
const AGAIN: Duration = Duration::from_millis(250);
/// An idle device is asked how it stands so often.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// All that a relay begins with.
pub struct Relay {
    /// Its links to the parties.
    pub network: Network,
    /// Theirs.
    pub events: mpsc::Receiver<Event>,
    /// Which party the device is, of which network, by which key.
    pub expected: Expected,
    /// Where the device is.
    pub line: Line,
    /// What unlocks it.
    pub pin: Zeroizing<String>,
    /// Remembers a refusal of the PIN, so that it is not tried again after a restart either.
    pub guard: PinGuard,
    /// What others may see.
    pub shown: Shown,
    /// What its operator wants of the device while it runs.
    pub orders: mpsc::Receiver<Order>,
}

/// Accept that the device was put back: only while it has channels does it know that. The answer is the
/// device's.
pub type Order = oneshot::Sender<Result<(), DeviceError>>;

/// What the membership file says of the device.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The network.
    pub network: [u8; 16],
    /// Which party.
    pub party: PartyId,
    /// Its identity key.
    pub identity: crate::identity::IdentityPublic,
}

impl Expected {
    /// From the membership file; `None` if it has no such party.
    #[must_use]
    pub fn of(membership: &Membership, party: PartyId) -> Option<Self> {
        let identity = *membership.identity_of(party.number())?;
        Some(Self { network: membership.network(), party, identity })
    }

    /// Whether this device is that party.
    ///
    /// # Errors
    /// [`DeviceError::Other`], [`DeviceError::Refused`].
    pub fn check(&self, device: &Device) -> Result<(), DeviceError> {
        let hello = device.hello();
        let other = |what: String| Err(DeviceError::Other(what));
        match hello.identity {
            None => return Err(DeviceError::Refused(Refused::NotInitialized)),
            Some(identity) if identity != self.identity.key() => {
                return other(format!(
                    "this is another device: its identity is {identity:?}, the membership file pins {} for party {}",
                    self.identity, self.party
                ));
            }
            Some(_) => {}
        }
        match hello.joined {
            None => Err(DeviceError::Refused(Refused::NotJoined)),
            Some((network, party)) if network != self.network || party != self.party => {
                other(format!(
                    "the device is party {party} of network {}, not party {} of {}; wipe it to let it join another",
                    hex::encode(network),
                    self.party,
                    hex::encode(self.network)
                ))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Relay {
    /// Relays until `stop` resolves, or the device will not have it: with another device, a wrong PIN or an erased
    /// one no try but the first is made.
    ///
    /// # Errors
    /// [`DeviceError`] that a person must do something about.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), DeviceError> {
        tokio::pin!(stop);
        let mut pause = RETRY_MIN;
        loop {
            let began = Instant::now();
            let ended = tokio::select! {
                ended = self.attempt() => ended,
                () = &mut stop => return Ok(()),
            };
            let Err(error) = ended else { return Ok(()) };
            self.shown.lost(&error);
            if !error.passes() {
                return Err(error);
            }
            tracing::warn!("{error}; it is tried again");
            // Whoever had a channel learns that it is gone, though only by our word.
            for party in self.shown.up() {
                let _ = self.network.send(party, LOST.to_vec());
            }
            if began.elapsed() > RETRY_MAX * 2 {
                pause = RETRY_MIN;
            }
            tokio::select! {
                () = sleep(pause) => {}
                ended = drain(&mut self.events, &self.network, &self.shown) => return ended,
                () = &mut stop => return Ok(()),
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// One connection to the device, from its greeting to its end.
    async fn attempt(&mut self) -> Result<(), DeviceError> {
        let Self { network, events, expected, line, pin, guard, shown, orders } = self;
        let mut device = tokio::select! {
            device = open(line, expected, pin, guard) => device?,
            ended = drain(events, network, shown) => return ended,
        };
        shown.connected(device.hello());
        tracing::info!(%line, "the device is unlocked: relaying");
        let mut serving = Serving {
            network,
            shown,
            queue: Queue::default(),
            waiting: None,
            places: Vec::new(),
            lists: device.hello().features & features::KEYS != 0,
            again: Instant::now(),
            order: None,
        };
        while let Some(unasked) = device.unasked() {
            serving.unasked(unasked);
        }
        for party in serving.shown.up() {
            serving.queue.push(Outgoing::Up(party));
        }
        serving.run(&mut device, events, orders).await
    }
}

async fn open(
    line: &Line,
    expected: &Expected,
    pin: &str,
    guard: &PinGuard,
) -> Result<Device, DeviceError> {
    let mut device = Device::connect(line).await?;
    expected.check(&device)?;
    let mut answer = None;
    let runtime = Handle::current();
    // What it writes must be on the disk before the PIN leaves.
    let held = block_in_place(|| {
        guard.attempt(|| {
            let unlock = Request::Unlock { pin: pin.as_bytes() };
            let said = answer.insert(runtime.block_on(device.order(&unlock, ANSWER)));
            match said {
                Ok(()) => Ok(()),
                Err(DeviceError::Refused(Refused::WrongPin { .. } | Refused::Wiped)) => {
                    Err(HsmError::Auth)
                }
                // The PIN was not judged.
                Err(_) => Err(HsmError::Randomness),
            }
        })
    });
    match (answer, held) {
        (Some(Err(error)), _) => Err(error),
        (Some(Ok(())), Ok(())) => Ok(device),
        (_, Err(held)) => Err(DeviceError::PinHeld(format!("the device's PIN: {held}"))),
        (None, Ok(())) => Err(DeviceError::OtherAnswer),
    }
}

/// Without the device: who comes and goes is noted, who wants a channel hears that there is none.
async fn drain(
    events: &mut mpsc::Receiver<Event>,
    network: &Network,
    shown: &Shown,
) -> Result<(), DeviceError> {
    while let Some(event) = events.recv().await {
        match event {
            Event::Up { party, .. } => shown.peer(party, true),
            Event::Down { party, .. } => shown.peer(party, false),
            Event::Message { party, bytes } => {
                if bytes.first() == Some(&kind::BEGIN) {
                    let _ = network.send(party, LOST.to_vec());
                }
            }
        }
    }
    Ok(())
}

/// A greeted and unlocked device, and what goes to it.
struct Serving<'a> {
    network: &'a Network,
    shown: &'a Shown,
    queue: Queue,
    /// The request that is not answered yet.
    waiting: Option<Waiting>,
    /// Places that the device is still to tell the key of.
    places: Vec<u8>,
    /// Whether its firmware tells them.
    lists: bool,
    /// When what is held is given again at the latest.
    again: Instant,
    /// Whoever waits for the person at the device.
    order: Option<Order>,
}

struct Waiting {
    id: u32,
    until: Instant,
    /// What it was, if it was relayed.
    frame: Option<(u16, Vec<u8>)>,
    /// Whose key was asked for, if so.
    place: Option<u8>,
}

impl Serving<'_> {
    async fn run(
        &mut self,
        device: &mut Device,
        events: &mut mpsc::Receiver<Event>,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<(), DeviceError> {
        let mut next_status = Instant::now();
        loop {
            if self.waiting.is_none() {
                if Instant::now() >= next_status {
                    next_status = Instant::now() + STATUS_EVERY;
                    self.say(device, &Request::Status).await?;
                } else if let Some(place) = self.places.pop() {
                    self.say(device, &Request::Key(place)).await?;
                    if let Some(waiting) = &mut self.waiting {
                        waiting.place = Some(place);
                    }
                } else if let Some(outgoing) = self.queue.pop() {
                    self.forward(device, outgoing).await?;
                }
            }
            let until = match &self.waiting {
                Some(waiting) => waiting.until,
                None if self.queue.holds() => self.again.min(next_status),
                None => next_status,
            };
            tokio::select! {
                said = device.read() => self.hear(said)?,
                event = events.recv() => match event {
                    Some(event) => self.take(event),
                    None => return Ok(()),
                },
                Some(order) = orders.recv(), if self.waiting.is_none() => {
                    self.say(device, &Request::Readmit).await?;
                    if let Some(waiting) = &mut self.waiting {
                        waiting.until = Instant::now() + PERSON;
                    }
                    self.order = Some(order);
                    next_status = Instant::now();
                }
                () = sleep_until(until) => {
                    if self.waiting.is_some() {
                        return Err(DeviceError::Silent(ANSWER));
                    }
                    // A person may have answered, which nobody hears of.
                    self.queue.release(None);
                }
            }
        }
    }

    async fn say(&mut self, device: &mut Device, request: &Request<'_>) -> Result<(), DeviceError> {
        let id = device.send(request).await?;
        self.waiting =
            Some(Waiting { id, until: Instant::now() + ANSWER, frame: None, place: None });
        Ok(())
    }

    async fn forward(
        &mut self,
        device: &mut Device,
        outgoing: Outgoing,
    ) -> Result<(), DeviceError> {
        let request = match &outgoing {
            Outgoing::Up(party) => PartyId::new(*party).map(Request::PeerUp),
            Outgoing::Down(party) => PartyId::new(*party).map(Request::PeerDown),
            Outgoing::Frame(party, bytes) => {
                PartyId::new(*party).map(|from| Request::Relay { from, bytes })
            }
        };
        // Members have numbers that are good.
        let Some(request) = request else { return Ok(()) };
        self.say(device, &request).await?;
        if let (Outgoing::Frame(party, bytes), Some(waiting)) = (outgoing, &mut self.waiting) {
            waiting.frame = Some((party, bytes));
        }
        Ok(())
    }

    /// A link of the network.
    fn take(&mut self, event: Event) {
        match event {
            Event::Up { party, address } => {
                tracing::info!(party, %address, "connected");
                self.shown.peer(party, true);
                self.queue.push(Outgoing::Up(party));
            }
            Event::Down { party, reason } => {
                tracing::info!(party, %reason, "disconnected");
                self.shown.peer(party, false);
                self.queue.push(Outgoing::Down(party));
            }
            Event::Message { party, bytes } => {
                if !self.queue.push(Outgoing::Frame(party, bytes)) {
                    // Its channel notices.
                    tracing::warn!(party, "dropped: too much waits for the device, or too long");
                }
            }
        }
    }

    fn hear(&mut self, said: Result<(u32, Said), DeviceError>) -> Result<(), DeviceError> {
        let (id, said) = match said {
            Ok(said) => said,
            Err(error @ DeviceError::Frame(_)) => {
                tracing::warn!("{error}");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        match said {
            Said::Unasked(unasked) => {
                self.unasked(unasked);
                return Ok(());
            }
            Said::Refused(
                refused @ (Refused::HelloFirst | Refused::Locked | Refused::NotJoined),
            ) => {
                // It was restarted behind our back.
                return Err(match refused {
                    Refused::Locked => DeviceError::Closed,
                    refused => DeviceError::Refused(refused),
                });
            }
            Said::Refused(Refused::Later(_)) => {
                let frame = self.answered(id).and_then(|waiting| waiting.frame);
                if let Some((party, frame)) = frame {
                    self.queue.hold(party, frame);
                    self.again = Instant::now() + AGAIN;
                }
            }
            Said::Key(key) => self.key_at(id, Some(&key)),
            Said::Refused(Refused::UnknownKey) => self.key_at(id, None),
            // What it says of a frame that it could not read has no id.
            Said::Refused(refused) => {
                tracing::debug!("the device: {}", DeviceError::Refused(refused));
                if let Some(order) = self.order.take() {
                    let _ = order.send(Err(DeviceError::Refused(refused)));
                } else {
                    self.shown.refused(refused);
                }
                drop(self.answered(id));
            }
            Said::Status(status) => {
                if self.shown.status(&status) {
                    self.list_keys();
                }
                drop(self.answered(id));
            }
            Said::Done | Said::Hello(_) => {
                if let Some(order) = self.order.take() {
                    let _ = order.send(Ok(()));
                }
                if let Some(Waiting { frame: Some((party, _)), .. }) = self.answered(id) {
                    self.queue.release(Some(party));
                }
            }
        }
        Ok(())
    }

    /// Its keys may be others than those that are shown.
    fn list_keys(&mut self) {
        if self.lists {
            self.places = (0..MAX_KEYS).rev().collect();
        }
    }

    fn key_at(&mut self, id: u32, key: Option<&HeldKey>) {
        if let Some(Waiting { place: Some(place), .. }) = self.answered(id) {
            self.shown.key(place, key);
        }
    }

    fn answered(&mut self, id: u32) -> Option<Waiting> {
        self.waiting.take_if(|waiting| id == 0 || waiting.id == id)
    }

    fn unasked(&mut self, unasked: Unasked) {
        match unasked {
            Unasked::Send { to, bytes } => {
                if let Err(error) = self.network.send(to, bytes) {
                    tracing::debug!(party = to, %error, "a frame of the device was not sent");
                }
            }
            Unasked::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: DeviceEvent) {
        self.shown.event(event);
        if matches!(event, DeviceEvent::KeyActive(_)) {
            self.list_keys();
        }
        match event {
            DeviceEvent::Asking { seconds } => {
                tracing::info!(seconds, "the device asks its person: look at the screen");
            }
            DeviceEvent::Agreed => tracing::info!("the person at the device has agreed"),
            DeviceEvent::Declined => {
                tracing::warn!("the person at the device has refused, or did nothing");
            }
            DeviceEvent::KeyRound(round) => tracing::info!(round, "the device makes a key"),
            DeviceEvent::KeyActive(key) => {
                tracing::info!(key = hex::encode(key), "a key is active at the device");
            }
            DeviceEvent::Signed(request) => {
                tracing::info!(request = hex::encode(request), "the device has given its share");
            }
            DeviceEvent::Locked => tracing::warn!("the device has locked itself"),
            DeviceEvent::Misbehaved(party) => {
                tracing::warn!(%party, "the device says that this party breaks the protocol");
            }
        }
    }
}

/// Links say why they end, in tasks of their own.
const FAREWELL: Duration = Duration::from_millis(100);

/// Says goodbye to all peers.
pub async fn part(network: &Network) {
    network.shutdown();
    sleep(FAREWELL).await;
}
