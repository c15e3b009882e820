//! Links of parties whose identity key signs inside an HSM.

// Helpers outside `#[test]` functions are test code too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// Each test program uses its own part of the support.
#![allow(dead_code)]

#[path = "support/party.rs"]
mod party;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use party::{Group, until};
use quorate_hsm::{HsmError, HsmSigner, PublicKey};
use quorate_node::identity::IdentityKey;

/// An HSM of this process: a P-256 key that may be slow or away.
struct Device {
    key: SigningKey,
    delay: Duration,
    away: AtomicBool,
    calls: AtomicUsize,
}

impl Device {
    fn new(seed: u8, delay: Duration) -> Arc<Self> {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        Arc::new(Self { key, delay, away: AtomicBool::new(false), calls: AtomicUsize::new(0) })
    }
}

impl HsmSigner for Device {
    fn public(&self) -> PublicKey {
        let point = self.key.verifying_key().to_encoded_point(true);
        PublicKey::P256(point.as_bytes().try_into().unwrap())
    }

    fn describe(&self) -> String {
        "a device of this test".into()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], HsmError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(self.delay);
        if self.away.load(Ordering::Relaxed) {
            return Err(HsmError::Unavailable { reason: "unplugged".into() });
        }
        let signature: Signature = self.key.sign(message);
        Ok(signature.to_bytes().into())
    }
}

fn inside(device: &Arc<Device>) -> IdentityKey {
    IdentityKey::Inside(Arc::clone(device) as Arc<dyn HsmSigner>)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_both_kinds_link() {
    let devices = [Device::new(1, Duration::ZERO), Device::new(2, Duration::ZERO)];
    let [one, two] = &devices;
    let keys = vec![inside(one), inside(two), IdentityKey::generate().unwrap()];
    let group = Group::of_keys(keys);
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push((id, group.start(id).await));
    }
    for (me, node) in &mut nodes {
        for other in (1..=3).filter(|other| other != me) {
            node.up(other).await;
        }
    }
    // Every link took a signature by the key inside the device.
    assert!(devices.iter().all(|device| device.calls.load(Ordering::Relaxed) >= 2));
}

/// One thread serves all links of the process here: if a handshake held it, nobody could talk.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_slow_hsm_delays_its_own_link_alone() {
    let slow = Device::new(1, Duration::from_secs(5));
    let keys =
        vec![inside(&slow), IdentityKey::generate().unwrap(), IdentityKey::generate().unwrap()];
    let group = Group::of_keys(keys);
    let (mut two, mut three) = (group.start(2).await, group.start(3).await);
    two.up(3).await;
    three.up(2).await;
    let _one = group.start(1).await;
    until("the slow device was asked", || slow.calls.load(Ordering::Relaxed) > 0).await;
    for number in 0..20u8 {
        two.network.send(3, vec![number]).unwrap();
        assert_eq!(three.message(2).await, vec![number]);
    }
    // It still had not answered: the messages did not wait for it.
    assert!(!two.status(1).connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hsm_that_comes_back_links_again() {
    let device = Device::new(1, Duration::ZERO);
    device.away.store(true, Ordering::Relaxed);
    let group = Group::of_keys(vec![inside(&device), IdentityKey::generate().unwrap()]);
    let (mut one, mut two) = (group.start(1).await, group.start(2).await);
    until("the device was asked", || device.calls.load(Ordering::Relaxed) > 1).await;
    assert!(!one.status(2).connected && !two.status(1).connected);
    device.away.store(false, Ordering::Relaxed);
    one.up(2).await;
    two.up(1).await;
}
