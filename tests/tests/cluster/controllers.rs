//! Controllers at the command line, over real processes and real links.

use quorate_node::handle::ServiceError;
use quorate_tests::cluster::{Cluster, Hsm, Output, Transfer};
use serde_json::{Value, json};

use super::{good, refused};

/// Three controllers, two of whom replace the policy.
struct Group {
    cluster: Cluster,
    keys: Vec<(String, String)>,
}

impl Group {
    fn new(hsm: Hsm) -> Self {
        let cluster = Cluster::running(4, hsm, None);
        let make = |number| {
            let file =
                cluster.root().join(format!("controller-{number}.key")).display().to_string();
            let made = cluster.command(1, &["client", "new", &file]).json();
            (file, made["client"].as_str().unwrap().to_owned())
        };
        let keys = (0..3).map(make).collect();
        Self { cluster, keys }
    }

    /// The cluster's policy with controllers, in a file.
    fn policy(&self, name: &str, max_value: &str, delay: &str) -> String {
        let mut policy = self.cluster.policy();
        let keys: Vec<&str> = self.keys.iter().map(|(_, key)| key.as_str()).collect();
        policy["max_value"] = json!(max_value);
        policy["controllers"] =
            json!({ "at_least": 2, "of": keys, "delay": delay, "freeze_at_least": 1 });
        let file = self.file(name);
        std::fs::write(&file, policy.to_string()).unwrap();
        file
    }

    fn file(&self, name: &str) -> String {
        self.cluster.root().join(name).display().to_string()
    }

    fn propose(&self, arguments: &[&str]) -> String {
        let file = self.file("change");
        let propose = ["policy", "propose", "--out", &file];
        let _ = self.cluster.command(1, &[&propose[..], arguments].concat()).json();
        file
    }

    fn approve(&self, change: &str, who: usize) -> Output {
        // Any machine will do, and no node is needed.
        self.cluster.command(2, &["policy", "approve", change, "--key", &self.keys[who].0])
    }

    fn set(&self, party: u16, change: &str) -> Output {
        self.cluster.command(party, &["policy", "set", change])
    }

    /// Waits until all running parties have this version in force.
    fn version(&self, parties: &[u16], wanted: u32) {
        for party in parties {
            self.cluster.wait_for("the version", || {
                let info = self.cluster.client(*party).policy("pay").map_err(|e| e.to_string())?;
                (info.version == wanted).then_some(()).ok_or(format!("{info:?}"))
            });
        }
    }

    fn create(&self, policy: &str, change: &str) -> Output {
        let create = ["key", "create", "--name", "pay", "--threshold", "2", "--policy", policy];
        self.cluster.command(1, &[&create[..], &["--approval", change]].concat())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn controllers_make_change_and_freeze_a_key_by_the_command_line() {
    let mut group = Group::new(Hsm::Software);
    let policy = group.policy("first.json", "1 ether", "0s");
    let created = group.propose(&["pay", &policy, "--create"]);
    let shown = group.approve(&created, 0).json();
    assert_eq!((text(&shown["action"]), text(&shown["name"])), ("create", "pay"));
    assert_eq!(shown["signed_by"], json!([group.keys[0].1]));
    let sentences = shown["sentences"].to_string();
    assert!(sentences.contains("may replace this policy"), "{sentences}");
    let error = group.create(&policy, &created).error(5);
    assert!(text(&error["message"]).contains("1 of the 2 signatures"), "{error}");
    let twice = group.approve(&created, 0).error(2);
    assert!(text(&twice["message"]).contains("signed the change already"), "{twice}");
    let _ = group.approve(&created, 2).json();
    let misplaced = group.set(1, &created).error(2);
    assert!(text(&misplaced["message"]).contains("--approval"), "{misplaced}");
    let _ = group.create(&policy, &created).json();
    (1..=4).for_each(|party| drop(group.cluster.active_key(party, "pay")));
    let key = group.cluster.active_key(1, "pay");
    let large = |number| Transfer { value: 60_000_000_000_000_000, ..Transfer::number(number) };
    let ask = |group: &Group, party: u16, number: u64| {
        group.cluster.client(party).sign(&group.cluster.request(&key, &large(number)))
    };
    good(&key, ask(&group, 2, 1));

    let next = group.policy("next.json", "0.05 ether", "0s");
    let change = group.propose(&["pay", &next]);
    assert_eq!(group.set(2, &change).error(5)["rule"], "too-few");
    let _ = group.approve(&change, 1).json();
    let _ = group.approve(&change, 2).json();
    let set = group.set(3, &change).json();
    assert_eq!((&set["version"], set["history"].as_array().unwrap().len()), (&json!(2), 2));
    group.version(&[1, 2, 3, 4], 2);
    for party in [1, 2, 3, 4] {
        let denied = refused(ask(&group, party, 10 + u64::from(party)));
        assert!(
            matches!(&denied, ServiceError::Denied { rule, .. } if rule == "value"),
            "{denied}"
        );
    }
    // One that is away follows before it signs.
    group.cluster.kill(4);
    let change = group.propose(&["pay", &policy]);
    let _ = group.approve(&change, 0).json();
    let _ = group.approve(&change, 1).json();
    let _ = group.set(1, &change).json();
    group.version(&[1, 2, 3], 3);
    group.cluster.start(4);
    group.cluster.wait_linked();
    group.version(&[4], 3);
    group.cluster.kill(1);
    let (signed, _) = good(&key, ask(&group, 4, 20));
    assert_eq!(signed.signers, [2, 3, 4]);
    group.cluster.start(1);
    group.cluster.wait_linked();

    let freeze = group.propose(&["pay", "--freeze"]);
    let _ = group.approve(&freeze, 2).json();
    assert_eq!(group.set(4, &freeze).json()["frozen"], true);
    let denied = refused(ask(&group, 2, 30));
    assert!(matches!(&denied, ServiceError::Denied { rule, .. } if rule == "frozen"), "{denied}");
    let error = group
        .cluster
        .command(1, &["policy", "propose", "pay", "--freeze", "--out", &group.file("again")]);
    assert!(text(&error.error(15)["message"]).contains("frozen already"));
    let end = group.propose(&["pay", "--unfreeze"]);
    let _ = group.approve(&end, 2).json();
    assert_eq!(group.set(4, &end).error(5)["rule"], "too-few");
    let _ = group.approve(&end, 1).json();
    assert_eq!(group.set(4, &end).json()["frozen"], false);
    good(&key, ask(&group, 4, 31));
    let history = group.cluster.command(2, &["policy", "history", "pay"]);
    let actions: Vec<Value> = history.json()["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["action"].clone())
        .collect();
    assert_eq!(actions, ["create", "replace", "replace", "freeze", "unfreeze"]);
}

#[test]
fn a_new_policy_that_waits_is_withdrawn_by_the_command_line() {
    let group = Group::new(Hsm::Software);
    let policy = group.policy("first.json", "1 ether", "1h");
    let created = group.propose(&["pay", &policy, "--create"]);
    (0..2).for_each(|who| drop(group.approve(&created, who).json()));
    let _ = group.create(&policy, &created).json();
    (1..=4).for_each(|party| drop(group.cluster.active_key(party, "pay")));
    let nothing = ["policy", "propose", "pay", "--withdraw", "--out", &group.file("none")];
    let error = group.cluster.command(1, &nothing).error(15);
    assert!(text(&error["message"]).contains("nothing to withdraw"), "{error}");
    let next = group.policy("next.json", "0.05 ether", "1h");
    let change = group.propose(&["pay", &next]);
    (0..2).for_each(|who| drop(group.approve(&change, who).json()));
    let set = group.set(3, &change).json();
    assert_eq!((&set["version"], &set["next_policy"]["version"]), (&json!(1), &json!(2)));
    let parties = set["parties"].as_array().unwrap();
    assert!(parties.iter().all(|party| party["announced"] == 2), "{set}");
    let error = group
        .cluster
        .command(1, &["policy", "propose", "pay", &next, "--out", &group.file("more")])
        .error(15);
    assert!(text(&error["message"]).contains("withdraw it first"), "{error}");
    let withdraw = group.propose(&["pay", "--withdraw"]);
    (1..3).for_each(|who| drop(group.approve(&withdraw, who).json()));
    let _ = group.set(2, &withdraw).json();
    group.version(&[1, 2, 3, 4], 3);
    let key = group.cluster.active_key(1, "pay");
    assert_eq!((key.policy_version, key.next_policy), (3, None));
}

/// Shares under a second version, sealed by tokens, move to a new key-encryption key.
#[test]
fn tokens_seal_every_version_and_a_rotation_keeps_it() {
    let mut group = Group::new(Hsm::SoftHsm);
    let policy = group.policy("first.json", "1 ether", "0s");
    let created = group.propose(&["pay", &policy, "--create"]);
    (0..2).for_each(|who| drop(group.approve(&created, who).json()));
    let _ = group.create(&policy, &created).json();
    (1..=4).for_each(|party| drop(group.cluster.active_key(party, "pay")));
    let next = group.policy("next.json", "0.5 ether", "0s");
    let change = group.propose(&["pay", &next]);
    (0..2).for_each(|who| drop(group.approve(&change, who).json()));
    let _ = group.set(2, &change).json();
    group.version(&[1, 2, 3, 4], 2);
    let key = group.cluster.active_key(1, "pay");
    good(&key, group.cluster.client(2).sign(&group.cluster.request(&key, &Transfer::number(1))));
    group.cluster.terminate(2);
    let rotated = group.cluster.command(2, &["hsm", "rotate-kek"]).json();
    assert_eq!(rotated["shares"], 1);
    group.cluster.kill(1);
    group.cluster.start(2);
    group.cluster.wait_linked();
    let request = group.cluster.request(&key, &Transfer::number(2));
    let (signed, _) = good(&key, group.cluster.client(2).sign(&request));
    assert_eq!(signed.signers, [2, 3, 4]);
    // And on to a third version, under the new key-encryption key.
    let change = {
        let file = group.file("change");
        let propose = ["policy", "propose", "--out", &file, "pay", &policy];
        let _ = group.cluster.command(2, &propose).json();
        file
    };
    (0..2).for_each(|who| drop(group.approve(&change, who).json()));
    let _ = group.set(3, &change).json();
    group.version(&[2, 3, 4], 3);
    let request = group.cluster.request(&key, &Transfer::number(3));
    good(&key, group.cluster.client(4).sign(&request));
}
