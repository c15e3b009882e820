//! What a device tells everybody who reaches its connector.

use std::panic::{AssertUnwindSafe, catch_unwind};

use yubihsm::Connector;

use super::link::PANIC;
use super::{Endpoint, route};
use crate::HsmError;

/// What a device says of itself. No MAC guards it: whoever controls the connector can say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct About {
    /// Its serial number.
    pub serial: u32,
    /// Major, minor and patch.
    pub firmware: [u8; 3],
    /// Entries that its log has room for.
    pub log_room: u8,
    /// Entries in it that nobody has said to be stored elsewhere.
    pub log_used: u8,
}

/// Asks the device behind `connector`. No session is opened and no password is needed.
///
/// # Errors
/// [`HsmError::Unavailable`]; [`HsmError::Unsupported`] for a connector that is written wrongly.
pub fn about(connector: &str) -> Result<About, HsmError> {
    let endpoint =
        Endpoint { connector: connector.to_owned(), serial: 0, route: route(connector)? };
    let there = endpoint.connector();
    // A first answer may have come in two pieces.
    identify(&there).or_else(|_| identify(&there)).map_err(|reason| HsmError::Unavailable {
        reason: format!("the YubiHSM at {connector}: {reason}"),
    })
}

/// What the device tells without a session; the library asks for it inside of one only.
pub(super) fn identify(connector: &Connector) -> Result<About, String> {
    const DEVICE_INFO: [u8; 3] = [0x06, 0, 0];
    let send = || connector.send_message(yubihsm::Uuid::nil(), DEVICE_INFO.to_vec().into());
    let answer: Vec<u8> = match catch_unwind(AssertUnwindSafe(send)) {
        Ok(Ok(answer)) => answer.into(),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(PANIC.to_owned()),
    };
    match answer.as_slice() {
        // At the end are the numbers of algorithms, none of which is 0: an answer in pieces ends so.
        [0x86, high, low, major, minor, patch, serial @ .., 1..=0xff]
            if usize::from(u16::from_be_bytes([*high, *low])) + 3 == answer.len() =>
        {
            let (serial, rest) = serial.split_first_chunk().ok_or("DEVICE INFO is cut off")?;
            let [log_room, log_used, ..] = rest else {
                return Err("DEVICE INFO is cut off".to_owned());
            };
            Ok(About {
                serial: u32::from_be_bytes(*serial),
                firmware: [*major, *minor, *patch],
                log_room: *log_room,
                log_used: *log_used,
            })
        }
        _ => Err("no answer to DEVICE INFO".to_owned()),
    }
}
