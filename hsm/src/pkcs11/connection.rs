//! One login to one token: an anchor session that holds it, a bounded pool of sessions, and recovery
//! after the token was lost.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};

use super::module::Module;
use super::token::{self, Failure};
use super::{Location, Pin};
use crate::HsmError;

pub(super) struct Connection {
    location: Location,
    pin: Pin,
    module: Arc<Module>,
    seats: Seats,
    state: Mutex<State>,
}

impl Connection {
    /// Loads the library; nobody logs in before the first call.
    pub(super) fn new(location: Location, pin: Pin) -> Result<Self, HsmError> {
        pin.must_not_be_held()?;
        Ok(Self {
            module: Module::load(&location.module)?,
            location,
            pin,
            seats: Seats { free: Mutex::new(MAX_SESSIONS), returned: Condvar::new() },
            state: Mutex::new(State { refused: None, login: None }),
        })
    }

    /// Runs one call, and once more after a restart of the library if the token was lost meanwhile.
    /// `operation` is told the login's number: handles of another one are void.
    pub(super) fn call<T>(
        &self,
        operation: impl Fn(&Session, u64) -> Result<T, Failure>,
    ) -> Result<T, HsmError> {
        let (seen, first) = self.attempt(&operation);
        match first {
            Err(failure) if failure.lost => {
                self.module.restart(seen)?;
                self.attempt(&operation).1.map_err(|failure| failure.error)
            }
            other => other.map_err(|failure| failure.error),
        }
    }

    /// The token, as it describes itself.
    pub(super) fn info(&self) -> Result<TokenInfo, HsmError> {
        let _inside = self.module.enter();
        Ok(token::select(&self.module.pkcs11, &self.location.token)?.1)
    }

    fn attempt<T>(
        &self,
        operation: &impl Fn(&Session, u64) -> Result<T, Failure>,
    ) -> (u64, Result<T, Failure>) {
        // Before entering the library, so that whoever waits does not keep a restart away.
        let _seat = self.seats.take();
        let inside = self.module.enter();
        let generation = *inside;
        let result = self.check_out(generation).and_then(|session| {
            let result = operation(&session, generation);
            self.check_in(session, generation, result.is_ok());
            result
        });
        (generation, result)
    }

    fn check_out(&self, generation: u64) -> Result<Session, Failure> {
        let mut state = self.lock();
        // A refused PIN is never tried again: not by a recovery, not by the next call.
        if let Some(refused) = &state.refused {
            return Err(refused.clone().into());
        }
        if state.login.as_ref().is_none_or(|login| login.generation != generation) {
            let fresh = self.log_in(generation);
            if let Err(Failure { error, .. }) = &fresh
                && error.is_about_the_pin()
            {
                state.refused = Some(error.clone());
            }
            // Handles of an older generation are dropped unclosed: their numbers may be in use again.
            state.login = None;
            state.login = Some(fresh?);
        }
        let Some(login) = state.login.as_mut() else {
            return Err(HsmError::Unavailable { reason: "not logged in".to_owned() }.into());
        };
        match login.idle.pop() {
            Some(session) => Ok(session),
            None => Ok(self.module.pkcs11.open_ro_session_no_drop(login.slot)?),
        }
    }

    fn check_in(&self, session: Session, generation: u64, clean: bool) {
        let mut state = self.lock();
        match state.login.as_mut() {
            Some(login) if clean && login.generation == generation => login.idle.push(session),
            // After a failure the session may hold half an operation.
            _ => drop(session.close()),
        }
    }

    fn log_in(&self, generation: u64) -> Result<Login, Failure> {
        let pkcs11 = &self.module.pkcs11;
        let (slot, info) = token::select(pkcs11, &self.location.token)?;
        let anchor = pkcs11.open_ro_session_no_drop(slot)?;
        match token::login(&anchor, &info, &self.pin) {
            Ok(()) => Ok(Login { generation, slot, anchor, idle: Vec::new() }),
            Err(error) => {
                drop(anchor.close());
                Err(error.into())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let inside = self.module.enter();
        let Some(login) = self.lock().login.take() else { return };
        if login.generation == *inside {
            // No logout: another connection of this process may share the login.
            login.idle.into_iter().for_each(|session| drop(session.close()));
            drop(login.anchor.close());
        }
    }
}

/// Something that was found in the token, and is found again after each login.
pub(super) struct Found<T>(Mutex<Option<(u64, T)>>);

impl<T: Clone> Found<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn get(
        &self,
        generation: u64,
        find: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, value)) = &*lock()
            && *seen == generation
        {
            return Ok(value.clone());
        }
        // Not under the lock: a slow token must not stop those who have found theirs.
        let value = find()?;
        *lock() = Some((generation, value.clone()));
        Ok(value)
    }
}

/// More sessions than this do not make a token faster.
const MAX_SESSIONS: usize = 8;

struct State {
    refused: Option<HsmError>,
    login: Option<Login>,
}

/// Bounds the sessions in use. A seat goes back whatever became of its taker: if a failure could keep
/// one, those who wait would wait for ever once the token is gone.
struct Seats {
    free: Mutex<usize>,
    returned: Condvar,
}

struct Seat<'a>(&'a Seats);

impl Seats {
    fn take(&self) -> Seat<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .returned
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Seat(self)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}

struct Login {
    generation: u64,
    slot: Slot,
    /// Never used: it keeps the login alive, since closing the last session logs out.
    anchor: Session,
    idle: Vec<Session>,
}
