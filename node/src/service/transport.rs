//! What the service needs of the network: opaque bytes to authenticated parties.

use std::net::SocketAddr;

use crate::network::{Network, PeerStatus, SendError};

/// Authenticated transport; the simulator brings its own.
pub trait Transport: Send {
    /// Sends to a party, without waiting.
    ///
    /// # Errors
    /// [`SendError`] if the bytes will not get there.
    fn send(&self, party: u16, bytes: Vec<u8>) -> Result<(), SendError>;
    /// All peers, as this party sees them.
    fn peers(&self) -> Vec<PeerStatus>;
    /// Where this party listens.
    fn address(&self) -> SocketAddr;
}

impl Transport for Network {
    fn send(&self, party: u16, bytes: Vec<u8>) -> Result<(), SendError> {
        Network::send(self, party, bytes)
    }

    fn peers(&self) -> Vec<PeerStatus> {
        Network::peers(self)
    }

    fn address(&self) -> SocketAddr {
        self.local_addr()
    }
}
