//! Three nodes, a relay, a device with its person, and somebody on the line between these two.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cable::Cable;
use crate::hosted::Chip;
use crate::node_process::{Answer, Node, own_address, wait_for, write_membership};
use crate::tap::Tap;

pub const CHIP: u16 = 4;
pub const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
pub const STRANGER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
const PIN: &str = "correct horse";

/// What a relay reaches its device by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Tcp,
    Serial,
}

pub struct Scene {
    pub nodes: Vec<Node>,
    pub relay: Node,
    pub chip: Chip,
    /// Somebody on the line, where it is TCP.
    pub tap: Tap,
    /// Where it is serial.
    pub cable: Option<Cable>,
    /// Of the key.
    pub address: String,
    /// Lies that were noticed.
    pub noticed: usize,
    root: TempDir,
}

impl Scene {
    /// All run, and hold the key `k`: up to 0.001 ether the device signs by itself, beyond it asks.
    pub fn with_key() -> Self {
        Self::with_key_over(Link::Tcp)
    }

    /// The same over this kind of line.
    pub fn with_key_over(link: Link) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut nodes: Vec<Node> = (1..CHIP).map(|party| Node::new(root.path(), party)).collect();
        for node in &nodes {
            node.init(&["--hsm", "software", "--identity", "sealed"]).object();
            // A machine that does much else is no reason to give up.
            let file = node.folder.join("quorate.toml");
            let mut file = fs::File::options().append(true).open(file).unwrap();
            let lines = ["[deadlines]", "key_ms = 60000", "accept_ms = 10000", "sign_ms = 20000"];
            writeln!(file, "\n{}", lines.join("\n")).unwrap();
        }
        let (front, back) = (own_address(), own_address());
        let (chip, tap) = (Chip::new(back), Tap::new(front, back));
        let relay = Node::new(root.path(), CHIP);
        let pin = root.path().join("device.pin");
        let cable = (link == Link::Serial).then(|| Cable::new(&root.path().join("ttyACM"), back));
        let line = match &cable {
            Some(cable) => ["--device-serial".to_owned(), cable.port.display().to_string()],
            None => ["--device-tcp".to_owned(), front.to_string()],
        };
        let device = [&line[0], &line[1], "--device-pin-file", pin.to_str().unwrap()];
        relay.init(&[&["--hsm", "software"][..], &device].concat()).object();
        let (address, noticed) = (String::new(), 0);
        let mut scene = Self { nodes: Vec::new(), relay, chip, tap, cable, address, noticed, root };
        scene.write_pin(PIN);
        let made = scene.relay.ask(&["device", "init"]).object();
        let mut members: Vec<String> = nodes.iter().map(Node::member).collect();
        let own = scene.relay.ask(&["identity"]).object();
        let (identity, listen) = (made["identity"].as_str().unwrap(), scene.relay.listen);
        let relayed = own["identity"].as_str().unwrap();
        members.push(format!("{CHIP},chip,{identity},{listen},{relayed}"));
        write_membership(scene.root.path(), &nodes[0], &members);
        let (joined, screen) = scene.while_asked("JOIN NETWORK?", true, |scene| {
            scene.relay.ask(&["device", "join"]).object()
        });
        assert!(screen.contains(joined["shown"].as_str().unwrap()), "{screen}: {joined}");
        nodes.iter_mut().for_each(Node::start);
        scene.nodes = nodes;
        scene.relay.start();
        scene.wait_for_chip(true);
        scene.make_key();
        scene
    }

    pub fn write_pin(&self, pin: &str) {
        let file = self.root.path().join("device.pin");
        fs::write(&file, pin).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Until all nodes that run see the device, or none does.
    pub fn wait_for_chip(&self, connected: bool) {
        for node in self.nodes.iter().filter(|node| node.client().status().is_ok()) {
            wait_for("the device comes or goes", || {
                let status = node.status();
                let chip = status.peers.iter().find(|peer| peer.party == CHIP).unwrap();
                (chip.connected == connected).then_some(())
            });
        }
    }

    /// Runs something while the person at the device answers what it leads to.
    pub fn while_asked<T: Send>(
        &self,
        words: &str,
        yes: bool,
        something: impl FnOnce(&Self) -> T + Send,
    ) -> (T, String) {
        let from = self.chip.shown();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| something(self));
            let screen = self.chip.answer(from, words, yes);
            (running.join().unwrap(), screen)
        })
    }

    fn make_key(&mut self) {
        let client = self.root.path().join("client.key");
        let made = self.nodes[0].ask(&["client", "new", client.to_str().unwrap()]).object();
        let rule = |name: &str, most: &str, confirm: bool| {
            let mut when = json!({
                "client": [made["client"]], "chain": [31337], "to": [RECIPIENT],
                "value": { "at_most": most }, "fee": { "at_most": "0.01 ether" }, "data": "none",
            });
            if confirm {
                when["confirm"] = json!(true);
            }
            json!({ "name": name, "payload": ["dynamic-fee"], "when": when })
        };
        let rules = [rule("small", "0.001 ether", false), rule("confirmed", "1 ether", true)];
        let policy = self.root.path().join("policy.json");
        fs::write(&policy, json!({ "rules": rules }).to_string()).unwrap();
        let (key, screen): (Value, String) =
            self.while_asked("MAKE KEY?", true, |scene| scene.propose("k").object());
        println!("{screen}\n{key}");
        self.address = key["address"].as_str().unwrap().to_owned();
    }

    /// Has node 1 propose another key of the same policy.
    pub fn propose(&self, name: &str) -> Answer {
        let policy = self.root.path().join("policy.json");
        let make = ["key", "create", "--name", name, "--threshold", "2", "--policy"];
        self.nodes[0].ask(&[&make[..], &[policy.to_str().unwrap()]].concat())
    }

    /// A transfer that nobody has asked for before.
    pub fn request(&self, to: &str, value: &str) -> Vec<String> {
        let client = self.root.path().join("client.key").display().to_string();
        let sign = ["sign", "--key", "k", "--client-key", &client, "--chain-id", "31337"];
        let gas = ["--max-fee-per-gas", "20gwei", "--max-priority-fee", "1gwei"];
        let all = [&sign[..], &["--to", to, "--value", value], &gas[..]].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    pub fn sign(&self, party: u16, to: &str, value: &str) -> Answer {
        self.nodes[usize::from(party) - 1].ask(&self.request(to, value))
    }

    /// The operator accepts the loss at the device.
    pub fn readmit(&self) {
        let (readmitted, _) = self.while_asked("ACCEPT LOSS?", true, |scene| {
            scene.relay.ask(&["device", "readmit"]).object()
        });
        assert_eq!(readmitted["generation"], 1, "{readmitted}");
    }

    /// Nobody that is honest is blamed for what happened on the way.
    pub fn nobody_is_blamed(&self) {
        for node in self.nodes.iter().filter(|node| node.client().status().is_ok()) {
            for peer in node.status().peers {
                assert_eq!(peer.refused, 0, "party {} blames {peer:?}", node.party);
            }
        }
    }
}
