//! The PIN. Each try is taken off, durably, before anything is compared, and given back if the PIN was
//! right: cutting the power in between wins nothing. After the last wrong one everything is wiped.
//!
//! The PIN guards the device's functions. It does not seal the flash: who reads the root key out of the
//! flash needs no PIN, and can try all PINs.

use embedded_storage::nor_flash::NorFlash;
use quorate_core::device::link::PIN_LENGTHS;
use quorate_core::division::divided;
use quorate_core::hash::Transcript;
use quorate_core::secret::SecretBytes;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use crate::platform::Clock;
use crate::store::{Store, StoreError, slots};

/// Wrong PINs before everything is wiped.
pub const MAX_TRIES: u8 = 8;
/// Rounds of the verifier's hash: few milliseconds, and more for who tries.
const ROUNDS: u32 = 256;
const SALT: usize = 16;

/// Why a PIN does not open the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinError {
    /// There is no PIN yet.
    NotSet,
    /// There is one already.
    Set,
    /// Shorter or longer than [`PIN_LENGTHS`]; it did not count as a try.
    Length,
    /// It is too early for another try; this did not count as one.
    TooSoon {
        /// How long to wait.
        seconds: u16,
    },
    /// It is the wrong one.
    Wrong {
        /// Tries that are left.
        left: u8,
    },
    /// It was wrong too often: everything has been erased.
    Wiped,
    /// The store's.
    Store(StoreError),
}

impl From<StoreError> for PinError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The gate: when the next try may be.
pub struct Pin {
    /// Milliseconds since boot.
    open_at: u64,
}

impl Pin {
    /// After boot. If the tries were used up already, the wipe goes on.
    ///
    /// # Errors
    /// [`PinError::Wiped`], or the store's.
    pub fn start<F: NorFlash>(store: &mut Store<F>, clock: &impl Clock) -> Result<Self, PinError> {
        let mut pin = Self { open_at: 0 };
        if !store.is_initialized() {
            return Ok(pin);
        }
        if let Some(left) = tries(store)? {
            if left == 0 {
                store.wipe()?;
                return Err(PinError::Wiped);
            }
            // Switching off and on does not shorten the delay.
            pin.delay(left, clock);
        }
        Ok(pin)
    }

    /// For a store that cannot be read: whatever is asked, the store refuses.
    #[must_use]
    pub fn closed() -> Self {
        Self { open_at: 0 }
    }

    /// Wrong PINs before the device wipes itself; [`MAX_TRIES`] without a PIN.
    ///
    /// # Errors
    /// The store's.
    pub fn tries<F: NorFlash>(&self, store: &mut Store<F>) -> Result<u8, PinError> {
        Ok(if store.is_initialized() { tries(store)?.unwrap_or(MAX_TRIES) } else { MAX_TRIES })
    }

    /// The first PIN. The salt is fresh and random.
    ///
    /// # Errors
    /// [`PinError::Set`], [`PinError::Length`], or the store's.
    pub fn set<F: NorFlash>(
        &mut self,
        store: &mut Store<F>,
        salt: &[u8; SALT],
        pin: &[u8],
    ) -> Result<(), PinError> {
        check_length(pin)?;
        if stored(store)?.is_some() {
            return Err(PinError::Set);
        }
        store.save_own(slots::TRIES, &[MAX_TRIES])?;
        self.open_at = 0;
        save(store, salt, pin)
    }

    /// A try.
    ///
    /// # Errors
    /// [`PinError`]; only `Ok` says that the PIN is right, and that all tries are given back.
    pub fn enter<F: NorFlash>(
        &mut self,
        store: &mut Store<F>,
        clock: &impl Clock,
        pin: &[u8],
    ) -> Result<(), PinError> {
        check_length(pin)?;
        let (salt, verifier) = stored(store)?.ok_or(PinError::NotSet)?;
        let wait = self.open_at.saturating_sub(clock.millis());
        if wait > 0 {
            return Err(PinError::TooSoon {
                seconds: divided(wait.saturating_add(999), 1000).0 as u16,
            });
        }
        // A PIN without tries is one whose tries were taken away.
        let tries = tries(store)?.unwrap_or(0);
        let Some(left) = tries.checked_sub(1) else {
            store.wipe()?;
            return Err(PinError::Wiped);
        };
        // Durable, before anybody learns anything.
        store.save_own(slots::TRIES, &[left])?;
        if is_right(store.pin_key()?, &salt, pin, &verifier) {
            store.save_own(slots::TRIES, &[MAX_TRIES])?;
            self.open_at = 0;
            return Ok(());
        }
        if left == 0 {
            store.wipe()?;
            return Err(PinError::Wiped);
        }
        self.delay(left, clock);
        Err(PinError::Wrong { left })
    }

    /// Replaces the PIN; the old one counts as a try.
    ///
    /// # Errors
    /// As [`Self::enter`].
    pub fn change<F: NorFlash>(
        &mut self,
        store: &mut Store<F>,
        clock: &impl Clock,
        salt: &[u8; SALT],
        (old, new): (&[u8], &[u8]),
    ) -> Result<(), PinError> {
        check_length(new)?;
        self.enter(store, clock, old)?;
        save(store, salt, new)
    }

    /// 1 s after the first wrong PIN, and twice as long after each further one.
    fn delay(&mut self, left: u8, clock: &impl Clock) {
        let wrong = u32::from(MAX_TRIES.saturating_sub(left));
        let seconds = 1u64.checked_shl(wrong).unwrap_or(u64::MAX) / 2;
        self.open_at = clock.millis().saturating_add(seconds.saturating_mul(1000));
    }
}

fn check_length(pin: &[u8]) -> Result<(), PinError> {
    if PIN_LENGTHS.contains(&pin.len()) { Ok(()) } else { Err(PinError::Length) }
}

fn tries<F: NorFlash>(store: &mut Store<F>) -> Result<Option<u8>, StoreError> {
    let mut tries = [0];
    let found = store.load_own(slots::TRIES, &mut tries)?.is_some();
    let [tries] = tries;
    Ok(found.then_some(tries))
}

fn stored<F: NorFlash>(
    store: &mut Store<F>,
) -> Result<Option<([u8; SALT], SecretBytes)>, StoreError> {
    let mut record = [0; SALT + 32];
    let found = match store.load_own(slots::PIN, &mut record)? {
        Some(record) => {
            let (salt, verifier) = record.split_first_chunk().ok_or(StoreError::Damaged)?;
            let verifier = <[u8; 32]>::try_from(verifier).map_err(|_| StoreError::Damaged)?;
            Some((*salt, SecretBytes::new(verifier)))
        }
        None => None,
    };
    record.zeroize();
    Ok(found)
}

fn save<F: NorFlash>(store: &mut Store<F>, salt: &[u8; SALT], pin: &[u8]) -> Result<(), PinError> {
    let verifier = verify(store.pin_key()?, salt, pin);
    let mut record = [0; SALT + 32];
    let parts = salt.iter().chain(verifier.expose());
    record.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
    let saved = store.save_own(slots::PIN, &record);
    record.zeroize();
    Ok(saved?)
}

fn is_right(key: &SecretBytes, salt: &[u8; SALT], pin: &[u8], verifier: &SecretBytes) -> bool {
    #[cfg(test)]
    tests::COMPARED.set(tests::COMPARED.get() + 1);
    verify(key, salt, pin).ct_eq(verifier).into()
}

fn verify(key: &SecretBytes, salt: &[u8; SALT], pin: &[u8]) -> SecretBytes {
    let mut state = Transcript::new("pin").bytes(key.expose()).bytes(salt).bytes(pin).secret();
    for _ in 0..ROUNDS {
        state = Transcript::new("pin-round").bytes(key.expose()).bytes(state.expose()).secret();
    }
    state
}

#[cfg(test)]
mod tests;
