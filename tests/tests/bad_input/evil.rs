//! A member of the group with a real identity key, and no manners.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use quorate_core::dkg::SessionSigner;
use quorate_core::hash::Digest;
use quorate_core::identity::{Identity, session_key_digest};
use quorate_core::party::PartyId;
use quorate_core::wire::Bytes64;
use quorate_node::identity::IdentityKey;
use quorate_node::membership::Membership;
use quorate_node::message::{PeerMessage, SessionKeyCertificate};
use quorate_node::network::{Event, Network, Timing};

pub fn id(party: u16) -> PartyId {
    PartyId::new(party).unwrap()
}

/// It signs whatever it is given.
pub struct SessionKey(pub SigningKey);

impl SessionSigner for SessionKey {
    fn sign(&self, digest: &Digest) -> Bytes64 {
        Bytes64(self.0.sign(digest).to_bytes())
    }
}

pub struct Evil {
    pub me: u16,
    pub network_id: [u8; 16],
    pub identity: IdentityKey,
    pub session_key: SessionKey,
    network: Network,
    inbox: Receiver<(u16, PeerMessage)>,
    _runtime: tokio::runtime::Runtime,
}

impl Evil {
    /// Joins the network with the node's own transport, so that whatever it sends is framed well.
    pub fn join(me: u16, identity: IdentityKey, membership: &Path, listen: SocketAddr) -> Self {
        let membership = Arc::new(Membership::load(membership).unwrap());
        let network_id = membership.network();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let start = Network::start(membership, me, &identity, listen, Timing::default());
        let (network, mut events) = runtime.block_on(start).unwrap();
        let (sender, inbox) = channel();
        let knows_nothing = network.clone();
        // Pongs wait behind messages, so it always reads.
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Message { party, bytes } => {
                        let _ = sender.send((party, PeerMessage::decode(&bytes).unwrap()));
                    }
                    // Who never says what it knows of a peer keeps it from signing for a while.
                    Event::Up { party, .. } => {
                        let states = PeerMessage::PolicyStates { states: Vec::new(), more: false };
                        let _ = knows_nothing.send(party, states.encode());
                        let _ = knows_nothing.send(party, PeerMessage::Recall(None).encode());
                    }
                    Event::Down { .. } => {}
                }
            }
        });
        let session_key = SessionKey(SigningKey::from_bytes(&[0x55; 32]));
        Self { me, network_id, identity, session_key, network, inbox, _runtime: runtime }
    }

    pub fn send_bytes(&self, to: u16, bytes: Vec<u8>) {
        self.network.send(to, bytes).unwrap_or_else(|e| panic!("to party {to}: {e}"));
    }

    pub fn send(&self, to: u16, message: &PeerMessage) {
        self.send_bytes(to, message.encode());
    }

    /// The next message, or none for a while.
    pub fn poll(&self) -> Option<(u16, PeerMessage)> {
        match self.inbox.recv_timeout(Duration::from_millis(20)) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the transport ended"),
        }
    }

    /// The first message that `wanted` takes; others are forgotten.
    pub fn wait<T>(&self, what: &str, wanted: impl Fn(u16, PeerMessage) -> Option<T>) -> T {
        crate::node_process::wait_for(what, || {
            self.poll().and_then(|(from, message)| wanted(from, message))
        })
    }

    /// Its session key, certified by its identity key for `session`, as it should be.
    pub fn certificate(&self, session: &[u8; 32]) -> SessionKeyCertificate {
        let key = Identity::Ed25519(self.session_key.0.verifying_key().to_bytes());
        let (party, boot) = (id(self.me), [7; 16]);
        let digest = session_key_digest(&self.network_id, party, &boot, &key, session);
        let signature = Bytes64(self.identity.sign(&digest).unwrap());
        SessionKeyCertificate { party, boot, key, signature }
    }

    /// The same, with a signature that its identity key did not make.
    pub fn forged_certificate(&self, session: &[u8; 32]) -> SessionKeyCertificate {
        let mut certificate = self.certificate(session);
        certificate.signature.0[40] ^= 1;
        certificate
    }
}
