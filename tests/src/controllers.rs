//! Controllers of policies, and the changes that they sign.

use ed25519_dalek::SigningKey;
use quorate_core::policy::control::{Action, Change, MAX_CHANGE, SignedChange};
use quorate_core::policy::hash_of;
use quorate_core::request::{KeyId, NetworkId};
use serde_json::{Value, json};

/// Controller 1, 2 or 3; whoever else signs is a stranger.
#[must_use]
pub fn controller(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[0xd0 + number; 32])
}

/// What stands in a policy file: two of three replace the policy, one freezes the key.
#[must_use]
pub fn controllers(delay: &str) -> Value {
    let keys = [1, 2, 3].map(|number| hex::encode(controller(number).verifying_key().to_bytes()));
    json!({ "at_least": 2, "freeze_at_least": 1, "delay": delay, "of": keys })
}

/// A change with these controllers' signatures.
///
/// # Panics
/// If the change has fields that are not of its kind: the test is wrong.
#[must_use]
#[expect(clippy::expect_used, reason = "a slip in a test, not input")]
pub fn signed(change: &Change<'_>, signers: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; MAX_CHANGE];
    let bare = change.encode(&mut buffer).expect("room").to_vec();
    signers.iter().fold(bare, |bytes, number| {
        let mut buffer = vec![0; MAX_CHANGE];
        let parsed = SignedChange::parse(&bytes).expect("a change");
        parsed.sign(&controller(*number), &mut buffer).expect("room").to_vec()
    })
}

/// What controllers sign of one key.
#[derive(Clone, Copy, Debug)]
pub struct Changes {
    /// The network.
    pub network: [u8; 16],
    /// The key.
    pub key: [u8; 16],
    /// When changes expire, Unix seconds.
    pub expires: u64,
}

impl Changes {
    /// A key of this name is made with this policy.
    #[must_use]
    pub fn create(&self, name: &str, policy: &[u8], signers: &[u8]) -> Vec<u8> {
        let change = Change {
            key: KeyId([0; 16]),
            ..self.change(1, [0; 32], Action::Create { name, policy })
        };
        signed(&change, signers)
    }

    /// `policy` takes the place of `previous`, as version `number`.
    #[must_use]
    pub fn replace(&self, number: u32, previous: &[u8], policy: &[u8], signers: &[u8]) -> Vec<u8> {
        let action = Action::Replace { policy };
        signed(&self.change(number, hash_of(previous), action), signers)
    }

    /// A freeze, or with an even number its end.
    #[must_use]
    pub fn hold(&self, number: u32, signers: &[u8]) -> Vec<u8> {
        let action = if number % 2 == 1 { Action::Freeze } else { Action::Unfreeze };
        signed(&self.change(number, [0; 32], action), signers)
    }

    fn change<'a>(&self, number: u32, previous: [u8; 32], action: Action<'a>) -> Change<'a> {
        let (network, key) = (NetworkId(self.network), KeyId(self.key));
        Change { network, key, number, previous, action, expires: self.expires }
    }
}
