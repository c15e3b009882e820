//! Looking at messages of a session from outside: for auditors and checkers, who hold no key.

use super::{MAX_MESSAGE, NoncePoint, SignatureShare};
use crate::curve::AffineBytes;
use crate::hash::Digest;
use crate::session::{Header, Protocol};
use crate::wire::{self, DecodeError};

/// What a message of a signing session says. Nothing in it is secret, and nothing in it is checked
/// beyond its form: points may be off the curve, and the header may be anybody's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspected {
    /// R1: the sender's nonce point.
    Nonce {
        /// The message's header.
        header: Header,
        /// D0.
        inputs: Digest,
        /// R_i.
        point: AffineBytes,
    },
    /// R2: the sender's share; it was computed with the R_i that its sender sent under this session.
    Share {
        /// The message's header.
        header: Header,
        /// D0.
        inputs: Digest,
        /// R, by its name.
        nonce: [u8; 32],
    },
}

/// Reads one encoded message of stateless Schnorr.
///
/// # Errors
/// [`DecodeError`]; a message of another protocol or round is [`DecodeError::Malformed`].
pub fn inspect(bytes: &[u8]) -> Result<Inspected, DecodeError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(DecodeError::TooLong);
    }
    let header = Header::peek(bytes)?;
    match (header.protocol, header.round) {
        (Protocol::Schnorr, 1) => {
            let NoncePoint { header, inputs, point } = wire::decode(bytes)?;
            Ok(Inspected::Nonce { header, inputs, point })
        }
        (Protocol::Schnorr, 2) => {
            let SignatureShare { header, inputs, nonce, .. } = wire::decode(bytes)?;
            Ok(Inspected::Share { header, inputs, nonce })
        }
        _ => Err(DecodeError::Malformed),
    }
}
