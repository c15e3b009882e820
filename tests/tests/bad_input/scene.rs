//! Three of four parties run as real nodes and share a key; the fourth is the test.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use quorate_core::party::PartyId;
use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::{
    Address, UnsignedFields, address, take_apart, unsigned_transaction,
};
use quorate_node::client::{ClientError, Wish, client_key_of, read_client_key, signed_request};
use quorate_node::handle::{KeyInfo, PeerInfo, Signed};
use quorate_node::identity::IdentityKey;
use quorate_node::membership::Membership;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use serde_json::json;
use tempfile::TempDir;

use crate::evil::Evil;
use crate::node_process::{Answer, Node, own_address, wait_for, wait_for_links, write_membership};

/// The malicious party, unless it is another.
pub const LIAR: u16 = 4;
const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

pub fn bytes<const L: usize>(hexadecimal: &str) -> [u8; L] {
    hex::decode(hexadecimal.trim_start_matches("0x")).unwrap().try_into().unwrap()
}

pub struct Scene {
    /// The honest ones, in increasing order.
    pub nodes: Vec<Node>,
    /// The liar's real identity key.
    pub identity: IdentityKey,
    pub network_id: [u8; 16],
    joined: Option<Evil>,
    pub client_key: SigningKey,
    /// The key of the honest three.
    pub ours: Option<KeyInfo>,
    pub root: TempDir,
    turns: Cell<usize>,
}

impl Scene {
    /// Nodes that run; the liar has joined them, or is not there yet. A proposal waits for answers
    /// for `accept`.
    fn new(liar: u16, join: bool, accept: Duration) -> Self {
        let root = tempfile::tempdir().unwrap();
        let honest: Vec<u16> = (1..=4).filter(|party| *party != liar).collect();
        let mut nodes: Vec<Node> = honest.iter().map(|p| Node::new(root.path(), *p)).collect();
        for node in &nodes {
            node.init(&["--hsm", "software"]).object();
            let file = node.folder.join("quorate.toml");
            let mut file = fs::File::options().append(true).open(file).unwrap();
            let accept = accept.as_millis();
            let lines = ["[deadlines]", "key_ms = 60000", "sign_ms = 60000"].join("\n");
            write!(file, "\n{lines}\naccept_ms = {accept}\n").unwrap();
        }
        let (identity, listen) = (IdentityKey::generate().unwrap(), own_address());
        let mut members: Vec<String> = nodes.iter().map(Node::member).collect();
        members.push(format!("{liar},evil,{},{listen}", identity.public()));
        write_membership(root.path(), &nodes[0], &members);
        let file = root.path().join("membership.toml");
        let network_id = Membership::load(&file).unwrap().network();
        let copy = IdentityKey::from_secret(&identity.secret().unwrap());
        let joined = join.then(|| Evil::join(liar, copy, &file, listen));
        nodes.iter_mut().for_each(Node::start);
        wait_for_links(&nodes, &honest);
        if join {
            wait_for_links(&nodes, &[liar]);
        }
        let client_file = root.path().join("client.key");
        nodes[0].ask(&["client", "new", client_file.to_str().unwrap()]).object();
        let text = fs::read_to_string(client_file).unwrap();
        let policy = json!({
            "clients": [client_key_of(&text).unwrap().to_string()], "chains": [31337],
            "recipients": [RECIPIENT], "max_value": "1 ether", "max_fee": "0.1 ether",
            "data": "forbidden",
        });
        fs::write(root.path().join("policy.json"), policy.to_string()).unwrap();
        let client_key = read_client_key(&text).unwrap();
        let turns = Cell::default();
        Self { nodes, identity, network_id, joined, client_key, ours: None, root, turns }
    }

    /// The same, with a key of the honest three.
    pub fn with_key(liar: u16, join: bool) -> Self {
        // What a case needs must not expire before it is looked at, however slow the machine is.
        Self::with_key_and_deadline(liar, join, Duration::from_secs(60))
    }

    pub fn with_key_and_deadline(liar: u16, join: bool, accept: Duration) -> Self {
        let mut scene = Self::new(liar, join, accept);
        let holders: Vec<String> = scene.nodes.iter().map(|node| node.party.to_string()).collect();
        let made = scene.create_key("ours", &holders.join(",")).object();
        scene.ours = Some(serde_json::from_value(made).unwrap());
        for node in &scene.nodes {
            let active = || node.client().show_key("ours").ok().filter(|k| k.state == "active");
            wait_for("the key is active everywhere", active);
        }
        scene
    }

    pub fn node(&self, party: u16) -> &Node {
        self.nodes.iter().find(|node| node.party == party).unwrap()
    }

    pub fn evil(&self) -> &Evil {
        self.joined.as_ref().unwrap()
    }

    /// `quorate key create` at the first node.
    pub fn create_key(&self, name: &str, parties: &str) -> Answer {
        let policy = self.root.path().join("policy.json");
        let policy = policy.to_str().unwrap();
        let make = ["key", "create", "--name", name, "--threshold", "2", "--policy", policy];
        self.nodes[0].ask(&[&make[..], &["--parties", parties]].concat())
    }

    pub fn ours(&self) -> [u8; 16] {
        bytes(&self.ours.as_ref().unwrap().key)
    }

    /// A fresh request that every honest party's policy allows.
    pub fn request(&self) -> Vec<u8> {
        self.request_for(self.network_id, self.ours())
    }

    pub fn request_for(&self, network: [u8; 16], key: [u8; 16]) -> Vec<u8> {
        self.request_until(network, key, 600)
    }

    /// A transfer that expires in so many seconds.
    pub fn request_until(&self, network: [u8; 16], key: [u8; 16], seconds: u64) -> Vec<u8> {
        let wei = |text| quorate_node::policy_file::parse_amount(text).unwrap();
        let fields = UnsignedFields {
            chain_id: 31337,
            nonce: 0,
            max_priority_fee_per_gas: wei("1 gwei"),
            max_fee_per_gas: wei("20 gwei"),
            gas_limit: 21_000,
            to: Address::from_hex(RECIPIENT),
            value: Amount::default(),
            data: &[],
        };
        let mut buffer = [0; 512];
        let transaction = unsigned_transaction(&fields, &mut buffer).unwrap();
        self.request_of(network, key, transaction, seconds)
    }

    /// The client's signed wish for a payload of any bytes.
    pub fn request_of(
        &self,
        network: [u8; 16],
        key: [u8; 16],
        transaction: &[u8],
        seconds: u64,
    ) -> Vec<u8> {
        let now = now();
        let derivation = quorate_core::derive::Derivation::Root;
        let payload = quorate_core::request::Payload::EthereumTransaction(transaction);
        let wish = Wish { network, key, derivation, payload, label: "", expires: now + seconds };
        signed_request(&wish, &self.client_key).unwrap()
    }

    /// How `party` sees `other`.
    pub fn sees(&self, party: u16, other: u16) -> PeerInfo {
        let peers = self.node(party).status().peers;
        peers.into_iter().find(|peer| peer.party == other).unwrap()
    }

    /// A signature of the honest three while `meanwhile` happens, and its request.
    pub fn sign_while(&self, meanwhile: impl FnOnce()) -> (Vec<u8>, Signed) {
        // Everybody coordinates in turn, also the party that is being lied to.
        let turn = self.turns.get();
        self.turns.set(turn + 1);
        let node = &self.nodes[turn % self.nodes.len()];
        let (request, client) = (self.request(), node.client());
        let signed: Result<Signed, ClientError> = std::thread::scope(|scope| {
            let signing = scope.spawn(|| client.sign(&request));
            meanwhile();
            signing.join().unwrap()
        });
        let signed = signed.unwrap_or_else(|e| panic!("party {} did not sign: {e}", node.party));
        let honest: Vec<u16> = self.nodes.iter().map(|node| node.party).collect();
        assert!(!signed.repeated && signed.signers == honest, "{signed:?}");
        assert_eq!(
            sender(signed.raw_transaction.as_deref().unwrap()),
            self.ours.as_ref().unwrap().address
        );
        (request, signed)
    }

    /// While party 4 does `fault`, the others sign; and `party` refuses party 4, and says `why` in its
    /// status and in its log.
    pub fn refuses(&self, party: u16, why: &str, fault: impl FnOnce(&Evil)) {
        let before = self.sees(party, LIAR).refused;
        self.sign_while(|| fault(self.evil()));
        let words = wait_for(why, || {
            let seen = self.sees(party, LIAR);
            (seen.refused > before).then(|| seen.last_refusal.unwrap())
        });
        assert!(words.contains(why), "expected {why:?}, not {words:?}");
        assert!(self.sees(party, LIAR).connected, "a message does not cost the link");
        let log = self.node(party).log();
        let said = |line: &str| line.contains(&words) && line.contains("party=4");
        assert!(log.lines().any(said), "{words:?} of party 4 is not in the log: {log}");
        println!("refused by party {party}: {words}");
    }

    /// Nobody honest was ever blamed by anybody honest.
    pub fn nobody_honest_is_blamed(&self) {
        let honest: Vec<u16> = self.nodes.iter().map(|node| node.party).collect();
        for (at, of) in honest.iter().flat_map(|at| honest.iter().map(move |of| (*at, *of))) {
            if at != of {
                let seen = self.sees(at, of);
                assert_eq!(seen.refused, 0, "party {at} blames party {of}: {seen:?}");
            }
        }
    }
}

/// Unix seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Who sent `raw`, by libsecp256k1.
pub fn sender(raw: &str) -> String {
    let raw = hex::decode(raw.trim_start_matches("0x")).unwrap();
    let parts = take_apart(&raw).unwrap();
    let recovery = RecoveryId::try_from(i32::from(parts.y_parity)).unwrap();
    let both = [parts.r, parts.s].concat();
    let signature = RecoverableSignature::from_compact(&both, recovery).unwrap();
    let message = secp256k1::Message::from_digest(parts.digest);
    let key = secp256k1::Secp256k1::new().recover_ecdsa(message, &signature).unwrap();
    address(key.serialize_uncompressed()[1..].try_into().unwrap()).to_string()
}

/// All parties of `parties`.
pub fn set(parties: &[u16]) -> quorate_core::party::PartySet {
    parties.iter().filter_map(|party| PartyId::new(*party)).collect()
}
