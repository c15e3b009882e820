//! One session with a device, shared behind a lock and made anew when it was lost.
//!
//! What the client library asks for (0.42):
//! - It never closes a session by itself and lends none out to be closed: a lost one occupies one of
//!   the device's 16 places until it was silent for 30 seconds. So sessions are shared and kept, and
//!   how many are opened in such a time is bounded.
//! - Its HTTP reader corrupts an answer that arrives in two reads: the second piece overwrites the
//!   first, and zeros follow. That shows as a wrong MAC, a message that does not parse or a bad status
//!   line (or, cut within the blank line after the head, as silence for the library's 20 seconds); a new
//!   session and one more try heal it, since whatever is tried twice here changes nothing in the device.
//!   One answer stands before all MACs: a CREATE SESSION that was cut within its 17 bytes looks like a
//!   wrong password, and is taken for one.
//! - It can panic on a malformed answer, which poisons its lock. The panic ends here.
//! - After a reset of the device it keeps a session that the device has forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;
use yubihsm::client::{Error, ErrorKind};
use yubihsm::device::ErrorKind as Refusal;
use yubihsm::{Client, Credentials, authentication, object};

use super::about::identify;
use super::{Endpoint, Password};
use crate::HsmError;

/// A device, an authentication key, and at most one session.
pub(super) struct Link {
    endpoint: Endpoint,
    id: object::Id,
    key: authentication::Key,
    state: Mutex<State>,
}

/// May a command be given again when its answer was lost?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing in the device.
    Once,
    /// It does.
    Never,
}

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The device's own word; the session is as good as before.
    Refused(Refusal),
    /// Anything else.
    Error(HsmError),
}

impl From<HsmError> for Failure {
    fn from(error: HsmError) -> Self {
        Self::Error(error)
    }
}

impl Link {
    /// The link of this process to that device with that key. Nothing is sent yet.
    pub(super) fn to(endpoint: Endpoint, id: object::Id, password: &Password) -> Arc<Self> {
        let key = authentication::Key::derive_from_password(password.expose().as_bytes());
        Self::with_key(endpoint, id, key)
    }

    /// The link with another authentication key that has the same password.
    pub(super) fn like(&self, id: object::Id) -> Arc<Self> {
        Self::with_key(self.endpoint.clone(), id, self.key.clone())
    }

    /// What the password is for the device.
    pub(super) fn key(&self) -> &authentication::Key {
        &self.key
    }

    fn with_key(endpoint: Endpoint, id: object::Id, key: authentication::Key) -> Arc<Self> {
        let mut links = LINKS.lock().unwrap_or_else(PoisonError::into_inner);
        // Kept for as long as the device keeps the session: whoever opens the link again needs no other.
        links.retain(|link| Arc::strong_count(link) > 1 || link.lock().used.elapsed() < OCCUPIED);
        let same = |link: &Arc<Self>| {
            let keys = link.key.as_secret_slice().ct_eq(key.as_secret_slice());
            link.endpoint == endpoint && link.id == id && bool::from(keys)
        };
        if let Some(link) = links.iter().find(|link| same(link)) {
            return Arc::clone(link);
        }
        let used = Instant::now();
        let state = Mutex::new(State { refused: None, client: None, failed: None, used });
        let link = Arc::new(Self { endpoint, id, key, state });
        links.push(Arc::clone(&link));
        link
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Gives one command. If the session was lost, opens another and, if the command may be repeated,
    /// gives it once more.
    pub(super) fn call<T>(
        &self,
        repeat: Repeat,
        command: impl Fn(&Client) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let asked = Instant::now();
        let mut state = self.lock();
        state.used = asked;
        if let Some(refused) = &state.refused {
            return Err(refused.clone().into());
        }
        // Whoever waited while others found the device gone need not find it out again.
        if let Some((when, error)) = &state.failed
            && *when > asked
        {
            return Err(error.clone().into());
        }
        let mut outcome = self.attempt(&mut state, &command);
        if let Err(Lost::Session { sent, damaged, .. }) = outcome
            && (repeat == Repeat::Once || !sent)
        {
            outcome = self.attempt(&mut state, &command);
            if damaged && matches!(outcome, Err(Lost::Not(HsmError::Auth))) {
                // Whoever damaged one answer may have damaged that one: the next call is to tell.
                state.refused = None;
                let reason = "damaged answers; perhaps the password is wrong, too".to_owned();
                outcome = Err(Lost::Session { reason, damaged, sent: false });
            }
        }
        match outcome {
            Ok(result) => Ok(result),
            Err(Lost::Refused(refusal)) => Err(Failure::Refused(refusal)),
            Err(Lost::Not(error)) => Err(error.into()),
            Err(Lost::Session { reason, .. }) => {
                let error = HsmError::Unavailable {
                    reason: format!("{} at {}: {reason}", self.endpoint, self.endpoint.connector),
                };
                state.failed = Some((Instant::now(), error.clone()));
                Err(error.into())
            }
        }
    }

    /// The same, with the device's refusal in our words: `what` was wanted of `object`.
    pub(super) fn ask<T>(
        &self,
        what: &str,
        object: &str,
        command: impl Fn(&Client) -> Result<T, Error>,
    ) -> Result<T, HsmError> {
        self.call(Repeat::Once, command).map_err(|failure| self.explain(failure, what, object))
    }

    pub(super) fn explain(&self, failure: Failure, what: &str, object: &str) -> HsmError {
        let token = self.endpoint.to_string();
        match failure {
            Failure::Error(error) => error,
            Failure::Refused(Refusal::ObjectNotFound) => {
                HsmError::KeyMissing { kek: format!("{object} in {token}") }
            }
            Failure::Refused(Refusal::InsufficientPermissions) => HsmError::Denied {
                token,
                what: format!("{what} with {object} by authentication key 0x{:04x}", self.id),
            },
            Failure::Refused(Refusal::LogFull) => HsmError::LogFull { token },
            Failure::Refused(Refusal::SessionsFull) => HsmError::SessionsFull { token },
            Failure::Refused(other) => HsmError::Unavailable {
                reason: format!("{token} refuses to {what} with {object}: {other}"),
            },
        }
    }

    fn attempt<T>(
        &self,
        state: &mut State,
        command: &impl Fn(&Client) -> Result<T, Error>,
    ) -> Result<T, Lost> {
        let client = match state.client.take() {
            // The library counts the device's 30 seconds, too, and would fail the command.
            Some(client) if open(&client) => client,
            _ => self.open(state)?,
        };
        let before = answers(&client);
        let outcome = guarded(|| command(&client)).map_err(|fault| match fault {
            Fault::Refused(refusal) => Lost::Refused(refusal),
            // Its MAC was right: the device said that, and would say it again.
            Fault::Other { reason, .. } if answers(&client) > before => {
                let what = format!("{} by the client library: {reason}", self.endpoint);
                Lost::Not(HsmError::Unsupported { what })
            }
            Fault::Other { reason, damaged } => Lost::Session { reason, damaged, sent: true },
            Fault::Panic => Lost::Session { reason: PANIC.to_owned(), damaged: true, sent: true },
        });
        if !matches!(outcome, Err(Lost::Session { .. })) {
            state.client = Some(client);
        }
        outcome
    }

    /// Opens a session and looks whether it is the right device. A wrong password ends everything.
    fn open(&self, state: &mut State) -> Result<Client, Lost> {
        let lost = |reason| Lost::Session { reason, damaged: true, sent: false };
        let connector = self.endpoint.connector();
        // Before the password: a strange device is not to see a proof of it.
        let mut serial = identify(&connector).map_err(lost)?.serial;
        if serial != self.endpoint.serial {
            // No MAC guards that answer: what reads wrong twice is wrong.
            serial = identify(&connector).map_err(lost)?.serial;
        }
        if serial != self.endpoint.serial {
            let label = self.endpoint.to_string();
            let available = vec![format!("YubiHSM {serial:010}")];
            return Err(Lost::Not(HsmError::TokenMissing { label, available }));
        }
        self.book()?;
        let credentials = Credentials::new(self.id, self.key.clone());
        // Without reconnecting: the library would do so unasked, and without looking at the serial.
        let opened = catch_unwind(AssertUnwindSafe(|| Client::open(connector, credentials, false)));
        let error = match opened {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(error)) => error,
            Err(_) => return Err(lost(PANIC.to_owned())),
        };
        match (error.kind(), error.device_error()) {
            (_, Some(refusal)) => Err(Lost::Refused(refusal)),
            (ErrorKind::AuthenticationError, None) => {
                // The library has one kind for both; its words differ.
                let refused = if error.to_string().contains("auth key not found") {
                    HsmError::Denied {
                        token: self.endpoint.to_string(),
                        what: format!("there is no authentication key 0x{:04x}", self.id),
                    }
                } else {
                    HsmError::Auth
                };
                state.refused = Some(refused.clone());
                Err(Lost::Not(refused))
            }
            _ => Err(lost(error.to_string())),
        }
    }

    /// A session that is opened occupies a place in the device for 30 seconds at least.
    fn book(&self) -> Result<(), Lost> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let times = opened.entry(self.endpoint.connector.clone()).or_default();
        times.retain(|time| now.duration_since(*time) < OCCUPIED);
        if times.len() >= MAX_OPENED {
            return Err(Lost::Not(HsmError::Unavailable {
                reason: format!(
                    "{MAX_OPENED} sessions with {} were opened and lost within {} seconds; the device frees them when they were silent for 30: wait so long, and look at the connector at {}",
                    self.endpoint,
                    OCCUPIED.as_secs(),
                    self.endpoint.connector
                ),
            }));
        }
        times.push_back(now);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All links of this process, so that a protector and a signer share a session.
static LINKS: Mutex<Vec<Arc<Link>>> = Mutex::new(Vec::new());
/// When sessions were opened, by connector.
static OPENED: Mutex<BTreeMap<String, VecDeque<Instant>>> = Mutex::new(BTreeMap::new());
/// Half of what a device has: others use it as well.
const MAX_OPENED: usize = 8;
const OCCUPIED: Duration = Duration::from_secs(31);
pub(super) const PANIC: &str = "the client library gave up on a malformed answer";

struct State {
    /// A refused password is never tried again.
    refused: Option<HsmError>,
    client: Option<Client>,
    /// The last loss that could not be healed.
    failed: Option<(Instant, HsmError)>,
    /// The last call.
    used: Instant,
}

enum Lost {
    /// The session is gone or of no use any more.
    Session {
        reason: String,
        /// Not by the device's word, but by answers that make no sense, or none.
        damaged: bool,
        /// Was the command sent?
        sent: bool,
    },
    /// The device refused.
    Refused(Refusal),
    /// Nothing to heal.
    Not(HsmError),
}

enum Fault {
    Refused(Refusal),
    Panic,
    Other { reason: String, damaged: bool },
}

fn open(client: &Client) -> bool {
    answers(client).is_some()
}

/// How many authentic answers the session has had; `None` if it is closed.
fn answers(client: &Client) -> Option<usize> {
    catch_unwind(AssertUnwindSafe(|| client.session().ok()?.messages_sent().ok())).ok().flatten()
}

fn guarded<T>(command: impl FnOnce() -> Result<T, Error>) -> Result<T, Fault> {
    let error = match catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(result)) => return Ok(result),
        Ok(Err(error)) => error,
        Err(_) => return Err(Fault::Panic),
    };
    match error.device_error() {
        Some(Refusal::InvalidSession | Refusal::SessionFailed) | None => {
            // The library does not tell why the device refused a session.
            let damaged =
                !matches!(error.kind(), ErrorKind::ResponseError | ErrorKind::DeviceError);
            Err(Fault::Other { reason: error.to_string(), damaged })
        }
        Some(refusal) => Err(Fault::Refused(refusal)),
    }
}
