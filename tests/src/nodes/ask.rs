//! Asking simulated nodes: keys and signatures, as the API would.

use ed25519_dalek::SigningKey;
use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::{Address, UnsignedFields, unsigned_transaction};
use quorate_core::request::{Derivation, KeyId, NetworkId, Payload, SignRequest, Veto};
use quorate_node::handle::{
    Command, CreateKey, KeyInfo, ServiceError, Signed, Status, Vetoed, WaitingRequest,
};
use quorate_node::policy_file;
use quorate_node::store::Store;
use tokio::sync::oneshot;

use super::World;
use crate::disk::SimulatedDisk;

/// Simulated steps after which a command counts as hanging: far beyond every deadline.
const PATIENCE: u32 = 40_000;

/// The client of all simulated requests.
#[must_use]
pub fn client() -> SigningKey {
    SigningKey::from_bytes(&[0xc1; 32])
}

/// Its public key, as policies name it.
#[must_use]
pub fn client_name() -> String {
    format!("ed25519:{}", hex::encode(client().verifying_key().to_bytes()))
}

/// Who receives all simulated transfers.
pub const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// A policy for that client, with a limit of `total` ether a day.
///
/// # Panics
/// If the policy is malformed: the test is wrong.
#[must_use]
#[expect(clippy::expect_used, reason = "a slip in a test, not input")]
pub fn policy(total: u32) -> Vec<u8> {
    policy_file::from_json(&short_policy(total)).expect("a policy").into_vec()
}

pub(super) fn short_policy(total: u32) -> serde_json::Value {
    let client = hex::encode(client().verifying_key().to_bytes());
    serde_json::json!({
        "clients": [client], "chains": [31337], "recipients": [RECIPIENT],
        "max_value": "1 ether", "max_fee": "1 ether", "data": "forbidden",
        "window": { "seconds": 86400, "max_total": format!("{total} ether") },
    })
}

/// What a command came to.
pub enum Answer<T> {
    /// Its result.
    Done(Result<T, ServiceError>),
    /// The node died before it answered.
    Died,
}

/// The request number `number` to send just under half an ether to the only recipient: two of them and
/// their fees take one ether of the window. The same number gives the same bytes.
///
/// # Panics
/// If the key's id is malformed.
#[must_use]
pub fn transfer(world: &World, key: &KeyInfo, number: u64) -> Vec<u8> {
    transfer_from(world, key, Derivation::Root, number)
}

/// [`transfer`] from a descendant of the key.
///
/// # Panics
/// If the key's id is malformed.
#[must_use]
pub fn transfer_from(world: &World, key: &KeyInfo, derivation: Derivation, number: u64) -> Vec<u8> {
    let expires = super::EPOCH.as_secs() + 12 * 3600;
    Wanted { client: client(), derivation, number, expires }.request(world, key)
}

/// What of a transfer is not the same in all.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who asks.
    pub client: SigningKey,
    /// Which descendant of the key.
    pub derivation: Derivation,
    /// Which request.
    pub number: u64,
    /// When it expires, Unix seconds.
    pub expires: u64,
}

impl Wanted {
    /// The client's bytes.
    ///
    /// # Panics
    /// If the key's id is malformed.
    #[must_use]
    pub fn request(&self, world: &World, key: &KeyInfo) -> Vec<u8> {
        transfer_of(world, key, self)
    }
}

#[expect(clippy::expect_used, reason = "a slip in a test, not input")]
fn transfer_of(world: &World, key: &KeyInfo, wanted: &Wanted) -> Vec<u8> {
    let Wanted { client, derivation, number, expires } = wanted;
    let mut buffer = [0; 512];
    // 0.499 ether and 21000 gas at 40 gwei: 0.49984 ether in all.
    let fields = UnsignedFields {
        chain_id: 31337,
        nonce: *number,
        max_priority_fee_per_gas: Amount::from_u128(1),
        max_fee_per_gas: Amount::from_u128(40_000_000_000),
        gas_limit: 21_000,
        to: Address::from_hex(RECIPIENT),
        value: Amount::from_u128(499_000_000_000_000_000),
        data: &[],
    };
    let transaction = unsigned_transaction(&fields, &mut buffer).expect("room");
    let id = hex::decode(&key.key).ok().and_then(|bytes| bytes.try_into().ok());
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    let request = SignRequest {
        network: NetworkId(world.membership.network()),
        key: KeyId(id.expect("a key id")),
        derivation: *derivation,
        payload: Payload::EthereumTransaction(transaction),
        label: "simulated",
        expires: *expires,
        nonce,
    };
    let mut buffer = [0; 1024];
    request.sign(client, &mut buffer).expect("room").to_vec()
}

impl World {
    /// Starts a signature; the answer is to be awaited.
    pub fn start_sign(
        &mut self,
        coordinator: u16,
        request: Vec<u8>,
    ) -> oneshot::Receiver<Result<Signed, ServiceError>> {
        let (reply, answer) = oneshot::channel();
        self.feed(coordinator, |s| s.handle_command(Command::Sign(request, reply)));
        answer
    }

    /// Starts a key generation among all.
    pub fn start_create(
        &mut self,
        coordinator: u16,
        name: &str,
        total: u32,
    ) -> oneshot::Receiver<Result<KeyInfo, ServiceError>> {
        self.start_create_by(coordinator, name, policy(total))
    }

    fn start_create_by(
        &mut self,
        coordinator: u16,
        name: &str,
        policy: Vec<u8>,
    ) -> oneshot::Receiver<Result<KeyInfo, ServiceError>> {
        let (reply, answer) = oneshot::channel();
        let create = CreateKey {
            name: name.into(),
            threshold: 2,
            parties: Vec::new(),
            policy,
            approval: Vec::new(),
        };
        self.feed(coordinator, |s| s.handle_command(Command::CreateKey(create, reply)));
        answer
    }

    /// Lets the world go on until the answer is there; `disturb` may interfere before every step.
    ///
    /// # Panics
    /// If no answer comes: a hang.
    #[expect(clippy::panic, reason = "a checker must stop the test")]
    pub fn await_answer<T>(
        &mut self,
        mut answer: oneshot::Receiver<Result<T, ServiceError>>,
        mut disturb: impl FnMut(&mut Self),
    ) -> Answer<T> {
        for _ in 0..PATIENCE {
            match answer.try_recv() {
                Ok(result) => return Answer::Done(result),
                Err(oneshot::error::TryRecvError::Closed) => return Answer::Died,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            disturb(self);
            self.step();
        }
        panic!("a command hangs");
    }

    /// A key among all in a calm world.
    ///
    /// # Panics
    /// If there is none.
    pub fn create(&mut self, name: &str, total: u32) -> KeyInfo {
        self.create_by(name, policy(total))
    }

    /// The same with any policy.
    ///
    /// # Panics
    /// If there is none.
    #[expect(clippy::panic, reason = "a test may stop")]
    pub fn create_by(&mut self, name: &str, policy: Vec<u8>) -> KeyInfo {
        let answer = self.start_create_by(1, name, policy);
        match self.await_answer(answer, |_| {}) {
            Answer::Done(Ok(key)) => {
                self.learn(&key);
                // The others hear the last confirmations a moment later.
                self.wait(2);
                key
            }
            Answer::Done(Err(error)) => panic!("no key in a calm world: {error}"),
            Answer::Died => panic!("a node died in a calm world"),
        }
    }

    /// Asks a party for a signature in a world where nobody dies.
    ///
    /// # Errors
    /// What the party says.
    ///
    /// # Panics
    /// If somebody dies.
    #[expect(clippy::panic, reason = "a test may stop")]
    pub fn sign(&mut self, coordinator: u16, request: &[u8]) -> Result<Signed, ServiceError> {
        let answer = self.start_sign(coordinator, request.to_vec());
        match self.await_answer(answer, |_| {}) {
            Answer::Done(result) => result,
            Answer::Died => panic!("party {coordinator} died in a calm world"),
        }
    }

    /// Gives a veto to a party.
    ///
    /// # Errors
    /// What the party says.
    ///
    /// # Panics
    /// If it does not run.
    #[expect(clippy::panic, reason = "a slip in a test, not input")]
    pub fn veto(&mut self, party: u16, veto: &Veto) -> Result<Vetoed, ServiceError> {
        let (reply, mut answer) = oneshot::channel();
        let bytes = veto.encode().to_vec();
        self.feed(party, |s| s.handle_command(Command::Veto(bytes, reply)));
        answer.try_recv().unwrap_or_else(|_| panic!("party {party} does not run"))
    }

    /// The requests that wait at a party; at most one page.
    ///
    /// # Panics
    /// If it does not run, or cannot tell.
    #[expect(clippy::panic, reason = "a slip in a test, not input")]
    pub fn waiting(&mut self, party: u16) -> Vec<WaitingRequest> {
        let (reply, mut answer) = oneshot::channel();
        self.feed(party, |s| s.handle_command(Command::Waiting(None, reply)));
        match answer.try_recv() {
            Ok(Ok(page)) => page.requests,
            other => panic!("party {party} does not say what waits: {other:?}"),
        }
    }

    /// Tells the checker of a new key, from a copy of anybody's store.
    ///
    /// # Panics
    /// If nobody has it.
    #[expect(clippy::panic, reason = "a slip in a test, not input")]
    pub fn learn(&mut self, key: &KeyInfo) {
        let id: Option<[u8; 16]> =
            hex::decode(&key.key).ok().and_then(|bytes| bytes.try_into().ok());
        let Some(id) = id else { panic!("{} is no key's id", key.key) };
        let public = self.parties().into_iter().find_map(|party| {
            let disk = SimulatedDisk::from_bytes(self.snapshot(party)?.0);
            let row = Store::with_backend(disk).ok()?.key(id).ok().flatten()?;
            quorate_core::wire::decode(&row.public).ok()
        });
        let Some(public) = public else { panic!("nobody has the key {}", key.key) };
        self.wire().keys.insert(id, public);
    }

    /// How a party says it is.
    ///
    /// # Panics
    /// If it does not run.
    #[expect(clippy::panic, reason = "a slip in a test, not input")]
    pub fn status(&mut self, party: u16) -> Status {
        let (reply, mut answer) = oneshot::channel();
        self.feed(party, |s| s.handle_command(Command::Status(reply)));
        answer.try_recv().unwrap_or_else(|_| panic!("party {party} does not run"))
    }

    /// A party's keys; none if it does not run.
    pub fn keys(&mut self, party: u16) -> Vec<KeyInfo> {
        let (reply, mut answer) = oneshot::channel();
        self.feed(party, |s| s.handle_command(Command::ListKeys(reply)));
        answer.try_recv().ok().and_then(Result::ok).unwrap_or_default()
    }
}
