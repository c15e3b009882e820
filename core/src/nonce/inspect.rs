//! Looking at messages of a session from outside: for auditors and checkers, who hold no key.

use super::{MAX_MESSAGE, NoncePoint};
use crate::curve::PointBytes;
use crate::hash::{Digest, Transcript};
use crate::session::{Header, Protocol};
use crate::wire::{self, DecodeError};

/// What a message of a stateless session says. Nothing in it is secret, and nothing in it is checked
/// beyond its form: points may be off the curve, and the header may be anybody's claim. The header's
/// session is D0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// R1: the sender's nonce point.
    Nonce {
        /// The message's header.
        header: Header,
        /// R_i.
        point: PointBytes,
    },
    /// R2: the sender's share, an answer to R1 of all under this D0.
    Share {
        /// The message's header.
        header: Header,
        /// H("response", …), to compare answers by: one to one list of R_j, for one coordinator.
        response: Digest,
    },
}

/// Reads one encoded message of a stateless session.
///
/// # Errors
/// [`DecodeError`]; a message of another protocol or round is [`DecodeError::Malformed`].
pub fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(DecodeError::TooLong);
    }
    let header = Header::peek(bytes)?;
    match (header.protocol, header.round) {
        (Protocol::Ecdsa | Protocol::Schnorr, 1) => {
            let NoncePoint { header, point } = wire::decode(bytes)?;
            Ok(Inspected::Nonce { header, point })
        }
        (Protocol::Ecdsa, 2) => whole::<crate::ecdsa::Response>(bytes),
        (Protocol::Schnorr, 2) => whole::<crate::schnorr::Response>(bytes),
        _ => Err(DecodeError::Malformed),
    }
}

fn whole<R: serde::Serialize + serde::de::DeserializeOwned>(
    bytes: &[u8],
) -> Result<Inspected, DecodeError> {
    let super::ShareMessage::<R> { header, response } = wire::decode(bytes)?;
    let mut body = [0; MAX_MESSAGE];
    let body = wire::encode(&response, &mut body).map_err(|_| DecodeError::TooLong)?;
    Ok(Inspected::Share { header, response: Transcript::new("response").bytes(body).finish() })
}
