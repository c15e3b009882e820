//! Where secrets are not: on no disk but sealed, and the group's secret key nowhere at all.

// The lints recognise tests by their attribute only, and would refuse all that the tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// Modules of a test are nobody's interface.
#![allow(unreachable_pub)]

// Shared with tests that use more of it.
#[path = "secrets/needles.rs"]
mod needles;
#[allow(dead_code)]
#[path = "support/node_process.rs"]
mod node_process;
#[allow(dead_code)]
#[path = "support/token.rs"]
mod token;
#[path = "secrets/vault.rs"]
mod vault;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use needles::{Haystack, Secret};
use node_process::{Node, wait_for, wait_for_links, write_membership};
use quorate_core::curve::{Group as _, Secp256k1};
use quorate_hsm::pkcs11::softhsm;
use serde_json::json;
use vault::Vault;

const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// Four parties that made a key and signed with it.
struct Group {
    nodes: Vec<Node>,
    network: [u8; 16],
    key: serde_json::Value,
    root: PathBuf,
}

impl Group {
    /// `init` says what seals a party's secrets.
    fn new(root: &Path, init: impl Fn(&Node)) -> Self {
        let nodes: Vec<Node> = (1..=4).map(|party| Node::new(root, party)).collect();
        nodes.iter().for_each(init);
        let members: Vec<String> = nodes.iter().map(Node::member).collect();
        write_membership(root, &nodes[0], &members);
        let root = root.to_owned();
        let mut group = Self { nodes, network: [0; 16], key: json!(null), root };
        group.start();
        group.network = hex::decode(group.nodes[0].status().network).unwrap().try_into().unwrap();
        let file = |name: &str| group.root.join(name).display().to_string();
        let client = group.nodes[0].ask(&["client", "new", &file("client.key")]).object();
        let policy = json!({
            "clients": [client["client"]], "chains": [31337], "recipients": [RECIPIENT],
            "max_value": "1 ether", "max_fee": "0.1 ether", "data": "forbidden",
        });
        fs::write(file("policy.json"), policy.to_string()).unwrap();
        let make = ["key", "create", "--name", "k", "--threshold", "2", "--policy"];
        group.key = group.nodes[0].ask(&[&make[..], &[&file("policy.json")]].concat()).object();
        for node in &group.nodes {
            let active = || node.client().show_key("k").ok().filter(|key| key.state == "active");
            wait_for("the key is active everywhere", active);
        }
        group
    }

    fn start(&mut self) {
        self.nodes.iter_mut().for_each(Node::start);
        wait_for_links(&self.nodes, &[1, 2, 3, 4]);
    }

    fn stop(&mut self) {
        self.nodes.iter_mut().for_each(Node::stop);
    }

    /// Every party coordinates once, so that every share is opened.
    fn sign(&self) {
        let client = self.root.join("client.key").display().to_string();
        for (nonce, node) in self.nodes.iter().enumerate() {
            let nonce = nonce.to_string();
            let sign = ["sign", "--key", "k", "--client-key", &client, "--to", RECIPIENT];
            let rest = ["--chain-id", "31337", "--nonce", &nonce];
            node.ask(&[&sign[..], &rest].concat()).object();
        }
    }
}

/// X = x·G, from any T shares.
fn group_secret(group: &Group, vaults: &[Vault]) -> Secret {
    let secret = vault::interpolate(&vaults[..2]);
    assert_eq!(secret, vault::interpolate(&vaults[2..]));
    let point = Secp256k1::mul_base(&Secp256k1.scalar_from_bytes(&secret).unwrap());
    let public = hex::encode(Secp256k1::point_to_bytes(&point).unwrap().0);
    assert_eq!(group.key["public_key"], public, "these are not the shares of the key");
    Secret { name: "the group's secret key".into(), bytes: secret }
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn in_files(haystack: &Haystack, folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in files(folder) {
        let what = haystack.search(&fs::read(&path).unwrap());
        found.extend(what.into_iter().map(|what| (path.display().to_string(), what)));
    }
    found
}

/// What of the haystack is in the memory of a process.
fn in_memory(haystack: &Haystack, process: u32) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let mut found = Vec::new();
    let mut total = 0;
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // The kernel's own pages: nobody's secrets, and not readable this way.
        let kernels = fields.last().is_some_and(|name| name.starts_with("[v"));
        if !fields[1].starts_with('r') || kernels {
            continue;
        }
        let (start, end) = fields[0].split_once('-').unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(address(end) - address(start)).unwrap()];
        let read = memory.read_exact_at(&mut bytes, address(start));
        // A region may go between the two looks; then it is not there to be read by anybody.
        let gone = || {
            let now = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
            !now.lines().any(|other| other.starts_with(fields[0]))
        };
        assert!(read.is_ok() || gone(), "cannot read {line} of process {process}: {read:?}");
        total += bytes.len();
        found.extend(haystack.search(&bytes));
    }
    assert!(total > 1 << 20, "the search saw {total} bytes only");
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in files(from) {
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn secrets_rest_sealed_alone(mut group: Group, own: usize) {
    group.sign();
    group.stop();
    let vaults: Vec<Vault> = group.nodes.iter().map(Vault::open).collect();
    let whole = group_secret(&group, &vaults);
    // 3 pair seeds and 3 nonce keys each for four parties with T = 2, the share, and the party's own.
    vaults.iter().for_each(|vault| assert_eq!(vault.secrets.len(), 7 + own));

    // The shares are opened again, and the processes live on.
    group.start();
    group.sign();
    let key_alone = Haystack::new([&whole]);
    let network = Secret::short("the network's id", &group.network);
    let control = Haystack::new([&network]);
    for node in &group.nodes {
        let found = in_memory(&key_alone, node.process());
        assert_eq!(found, [""; 0], "in the memory of party {}", node.party);
        assert!(!in_memory(&control, node.process()).is_empty(), "the search does not work");
    }
    group.stop();

    let all = vaults.iter().flat_map(|vault| &vault.secrets).chain([&whole]);
    let haystack = Haystack::new(all);
    let found = in_files(&haystack, &group.root);
    assert!(found.is_empty(), "{found:?}");

    // Control: the same search, sealing off.
    for (node, vault) in group.nodes.iter().zip(&vaults) {
        let bare = group.root.join(format!("bare-{}", node.party));
        copy(&node.folder, &bare);
        vault.write_unsealed(&bare);
        let found = in_files(&haystack, &bare);
        for secret in &vault.secrets {
            let name = format!("{}, raw", secret.name);
            let there = found.iter().any(|(_, what)| *what == name);
            assert!(there, "{} of party {} is not found: {found:?}", secret.name, node.party);
        }
    }
}

#[test]
fn secrets_rest_sealed_by_the_emulation() {
    let root = tempfile::tempdir().unwrap();
    let software = |node: &Node| drop(node.init(&["--hsm", "software"]).object());
    // What hedges, and the identity.
    secrets_rest_sealed_alone(Group::new(root.path(), software), 2);
}

/// The token's configuration is the process's, so the test starts itself again with one.
#[test]
fn secrets_rest_sealed_by_softhsm() {
    const NAME: &str = "secrets_rest_sealed_by_softhsm";
    if std::env::var("QUORATE_TEST_CHILD").as_deref() != Ok(NAME) {
        let folder = tempfile::tempdir().unwrap();
        let configuration = softhsm::write_config(folder.path()).unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", NAME, "--nocapture"]).env("QUORATE_TEST_CHILD", NAME);
        let output = again.env("SOFTHSM2_CONF", configuration).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let configuration = PathBuf::from(std::env::var_os("SOFTHSM2_CONF").unwrap());
    // The tokens' files are searched with the rest.
    let root = configuration.parent().unwrap();
    // The identity is in the token.
    let in_tokens = |node: &Node| {
        let label = format!("party-{}", node.party);
        token::make(&configuration, &label);
        let pin = root.join("pin");
        token::write_pin(&pin, token::PIN, 0o600);
        node.init(&token::arguments(&token::module(), &label, &pin)).object();
    };
    secrets_rest_sealed_alone(Group::new(root, in_tokens), 1);
}

#[test]
fn the_search_finds_every_encoding() {
    let bytes: [u8; 32] = std::array::from_fn(|place| (place * 37 + 129) as u8);
    let secret = Secret { name: "a secret".into(), bytes };
    let haystack = Haystack::new([&secret]);
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let mut reversed = bytes;
    reversed.reverse();
    for order in [bytes, reversed] {
        let hexadecimal = hex::encode(order);
        let mut ways = vec![order.to_vec(), hexadecimal.to_uppercase().into_bytes()];
        ways.push(hexadecimal.into_bytes());
        for before in 0..5usize {
            let text = [vec![0xa5; before], order.to_vec(), b"behind".to_vec()].concat();
            ways.push(STANDARD.encode(&text).into_bytes());
            ways.push(URL_SAFE_NO_PAD.encode(&text).into_bytes());
        }
        for way in ways {
            let file = [&b"anything"[..], &way, b"else"].concat();
            assert!(!haystack.search(&file).is_empty(), "{}", String::from_utf8_lossy(&way));
            let mut damaged = way.clone();
            damaged[way.len() / 2 - 2] ^= 1;
            assert_eq!(haystack.search(&damaged), [""; 0]);
        }
    }
}
