//! Policies with controllers at simulated nodes.

use quorate_node::handle::{Command, CreateKey, KeyInfo, PolicyInfo, ServiceError};
use quorate_node::policy_file;
use redb::Database;
use serde_json::json;
use tokio::sync::oneshot;

use super::ask::{Answer, short_policy};
use super::{EPOCH, World};
use crate::controllers::{Changes, controllers};

/// A policy with controllers that allows transfers of [`super::transfer`], if `max_value` does.
///
/// # Panics
/// If the policy is malformed: the test is wrong.
#[must_use]
#[expect(clippy::expect_used, reason = "a slip in a test, not input")]
pub fn controlled(max_value: &str, delay: &str) -> Vec<u8> {
    let mut file = short_policy(100);
    if let Some(fields) = file.as_object_mut() {
        fields.insert("max_value".to_owned(), json!(max_value));
        fields.insert("controllers".to_owned(), controllers(delay));
    }
    policy_file::from_json(&file).expect("a policy").into_vec()
}

impl World {
    /// What controllers sign of a key, for a day.
    ///
    /// # Panics
    /// If the key's id is malformed.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a slip in a test, not input")]
    pub fn changes(&self, key: &KeyInfo) -> Changes {
        let id = hex::decode(&key.key).ok().and_then(|bytes| bytes.try_into().ok());
        let expires = EPOCH.as_secs() + 86_400;
        Changes { network: self.membership.network(), key: id.expect("a key id"), expires }
    }

    /// Asks for a key with a policy, and with whatever was signed for it.
    pub fn start_controlled(
        &mut self,
        name: &str,
        policy: Vec<u8>,
        approval: Vec<u8>,
    ) -> oneshot::Receiver<Result<KeyInfo, ServiceError>> {
        let (reply, answer) = oneshot::channel();
        let (name, parties) = (name.to_owned(), Vec::new());
        let create = CreateKey { name, threshold: 2, parties, policy, approval };
        self.feed(1, |s| s.handle_command(Command::CreateKey(create, reply)));
        answer
    }

    /// A key in its controllers' name, in a calm world.
    ///
    /// # Panics
    /// If there is none.
    #[expect(clippy::panic, reason = "a test may stop")]
    pub fn create_controlled(&mut self, name: &str, policy: &[u8]) -> KeyInfo {
        let network = self.membership.network();
        let signs = Changes { network, key: [0; 16], expires: EPOCH.as_secs() + 86_400 };
        let approval = signs.create(name, policy, &[1, 3]);
        let answer = self.start_controlled(name, policy.to_vec(), approval);
        match self.await_answer(answer, |_| {}) {
            Answer::Done(Ok(key)) => {
                self.learn(&key);
                self.wait(2);
                key
            }
            Answer::Done(Err(error)) => panic!("no key in a calm world: {error}"),
            Answer::Died => panic!("a node died in a calm world"),
        }
    }

    /// Gives a party a signed change, as its API would; nothing if it died.
    pub fn try_set_policy(
        &mut self,
        party: u16,
        change: Vec<u8>,
    ) -> Option<Result<PolicyInfo, ServiceError>> {
        let (reply, mut answer) = oneshot::channel();
        self.feed(party, |s| s.handle_command(Command::SetPolicy(change, reply)));
        answer.try_recv().ok()
    }

    /// The same where nobody dies.
    ///
    /// # Errors
    /// [`ServiceError`].
    ///
    /// # Panics
    /// If the party does not run.
    #[expect(clippy::panic, reason = "a slip in a test, not input")]
    pub fn set_policy(&mut self, party: u16, change: Vec<u8>) -> Result<PolicyInfo, ServiceError> {
        self.try_set_policy(party, change).unwrap_or_else(|| panic!("party {party} does not run"))
    }

    /// How a key's policy stands at a party.
    ///
    /// # Panics
    /// If the party does not run, or has no such key.
    #[expect(clippy::panic, reason = "a slip in a test, not input")]
    pub fn policy_of(&mut self, party: u16, key: &KeyInfo) -> PolicyInfo {
        let (reply, mut answer) = oneshot::channel();
        self.feed(party, |s| s.handle_command(Command::ShowPolicy(key.key.clone(), reply)));
        match answer.try_recv() {
            Ok(Ok(info)) => info,
            other => panic!("party {party}: {other:?}"),
        }
    }

    /// Ends a party, lets somebody write its database, and starts it again.
    ///
    /// # Panics
    /// If its disk holds no database.
    #[expect(clippy::panic, reason = "a slip in a test, not input")]
    pub fn tamper<T>(&mut self, party: u16, write: impl FnOnce(&Database) -> T) -> T {
        self.crash(party);
        let Some(node) = self.nodes.get(&party) else { panic!("no party {party}") };
        let disk = node.disk.clone();
        let written = match Database::builder().create_with_backend(disk) {
            Ok(database) => write(&database),
            Err(error) => panic!("party {party}'s database: {error}"),
        };
        self.boot(party);
        written
    }
}
