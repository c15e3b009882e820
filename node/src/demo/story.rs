//! What the demo shows, step by step.

pub(super) mod device;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_core::policy::ethereum;
use serde_json::{Value, json};

use super::chain::Chain;
use super::cluster::{Cluster, DemoError, PARTIES, local};
use super::{DemoArgs, DemoHsm};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C was pressed; the demo then stops at the next step and cleans up.
pub(super) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Children are in the same foreground group and get the signal too; this process must live on to
/// clean up.
fn watch_for_interrupt() {
    let _ = std::thread::Builder::new().name("interrupt".into()).spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime
            && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
        {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    });
}

const RECIPIENT: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const STRANGER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

struct Story {
    cluster: Cluster,
    chain: Option<Chain>,
    json: bool,
    chain_id: u64,
    nonce: u64,
    address: String,
    client_key: PathBuf,
}

pub(super) fn tell(args: &DemoArgs, json: bool) -> Result<(), DemoError> {
    watch_for_interrupt();
    let mut story = Story::begin(args, json)?;
    story.make_key(args)?;
    story.sign_plainly()?;
    story.sign_with_one_down()?;
    story.sign_after_rollback()?;
    story.deny()?;
    story.tamper()?;
    story.print(&json!({ "step": "done" }), "done; the temporary folder is removed");
    Ok(())
}

/// A reader that went away is no error of ours.
fn line(text: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Story {
    fn say(&self, text: &str) {
        if !self.json {
            line(text);
        }
    }

    fn print(&self, object: &Value, text: &str) {
        if self.json { line(object) } else { line(format_args!("  {text}")) }
    }

    fn begin(args: &DemoArgs, json: bool) -> Result<Self, DemoError> {
        let chain = args.chain.as_deref().map(Chain::new);
        let chain_id = chain.as_ref().map_or(Ok(31337), Chain::id)?;
        if !json {
            let hsm = match args.hsm {
                DemoHsm::Software => "the embedded software emulation, which is NOT an HSM",
                DemoHsm::Pkcs11 => "one SoftHSM token per party, over PKCS#11",
            };
            line(format_args!(
                "Quorate demo: {PARTIES} parties, T = 2, quorum 3; shares are sealed by {hsm}."
            ));
            line(format_args!(
                "Setting up {PARTIES} parties: identity keys, key-encryption keys …"
            ));
        }
        let mut attempt = 1;
        let cluster = loop {
            match Self::start_cluster(args, json) {
                // Somebody else took one of the ports in between: choose others.
                Err(DemoError::PortTaken(_)) if attempt < 5 => attempt += 1,
                started => break started?,
            }
        };
        let client_key = cluster.root.path().join("client.key");
        let new = ["client".to_owned(), "new".to_owned(), client_key.display().to_string()];
        cluster.command(1, &new)?;
        let address = String::new();
        Ok(Self { cluster, chain, json, chain_id, nonce: 0, address, client_key })
    }

    fn start_cluster(args: &DemoArgs, json: bool) -> Result<Cluster, DemoError> {
        let mut cluster = Cluster::create(args)?;
        if !json {
            line(format_args!(
                "Starting {PARTIES} nodes as separate processes, linked by TLS 1.3 …"
            ));
        }
        for party in 1..=PARTIES {
            cluster.start(party)?;
        }
        cluster.wait_until_linked()?;
        Ok(cluster)
    }

    fn client_public(&self) -> Result<String, DemoError> {
        let seed =
            fs::read_to_string(&self.client_key).map_err(|e| local("the client's key", e))?;
        crate::client::client_key_of(&seed)
            .map(|key| key.to_string())
            .map_err(|e| local("the client's key", e))
    }

    fn make_key(&mut self, args: &DemoArgs) -> Result<(), DemoError> {
        self.say("Key generation: each party deals, checks, seals its share, and confirms …");
        let policy = json!({
            "clients": [self.client_public()?],
            "chains": [self.chain_id],
            "recipients": [RECIPIENT],
            "max_value": "0.1 ether",
            "max_fee": "0.01 ether",
            "data": "forbidden",
            "window": { "seconds": 3600, "max_total": "1 ether" },
        });
        let file = self.cluster.root.path().join("policy.json");
        fs::write(&file, policy.to_string()).map_err(|e| local("the policy file", e))?;
        let create = format!("key create --name demo --threshold 2 --policy {}", file.display());
        let key = self.ask(1, &create)?;
        let field = |name: &str| key.get(name).cloned().unwrap_or_default();
        self.address = field("address").as_str().unwrap_or_default().to_owned();
        let hsm = match args.hsm {
            DemoHsm::Software => "software emulation (NOT an HSM)",
            DemoHsm::Pkcs11 => "pkcs11 (SoftHSM)",
        };
        let object = json!({
            "step": "key", "scheme": field("scheme"), "public_key": field("public_key"),
            "address": self.address, "threshold": field("threshold"), "quorum": field("quorum"),
            "parties": PARTIES, "hsm": hsm,
        });
        let text = format!(
            "public key {}\n  Ethereum address {}\n  any 2 of the {PARTIES} shares are the key, 3 parties sign; no machine ever had it whole",
            plain(&field("public_key")),
            self.address
        );
        self.print(&object, &text);
        if let Some(chain) = &self.chain {
            self.say("Funding the address from the chain's first dev account …");
            chain.fund(&self.address)?;
        }
        Ok(())
    }

    fn ask(&self, party: u16, line: &str) -> Result<Value, DemoError> {
        if interrupted() {
            return Err(DemoError::Interrupted);
        }
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        self.cluster.command(party, &arguments)
    }

    fn request(&self, to: &str) -> Result<String, DemoError> {
        let nonce = match &self.chain {
            Some(chain) => chain.nonce(&self.address)?,
            None => self.nonce,
        };
        Ok(format!(
            "sign --key demo --client-key {} --to {to} --value 0.01ether --chain-id {} --nonce {nonce} \
             --max-fee-per-gas 20gwei --max-priority-fee 1gwei",
            self.client_key.display(),
            self.chain_id,
        ))
    }

    /// Signs a transfer through `coordinator`, recovers its sender, and has it mined.
    fn sign(&mut self, coordinator: u16, step: &str) -> Result<(), DemoError> {
        let signed = self.ask(coordinator, &self.request(RECIPIENT)?)?;
        self.show(&signed, step, json!({}))
    }

    /// Shows a signature; `more` are further fields of the step's object.
    fn show(&mut self, signed: &Value, step: &str, more: Value) -> Result<(), DemoError> {
        let raw = signed.get("raw_transaction").and_then(Value::as_str).unwrap_or_default();
        let sender = recover_sender(raw)?;
        if sender != self.address {
            return Err(DemoError::Unexpected(format!("the sender of {raw} is {sender}")));
        }
        let field = |name: &str| signed.get(name).cloned().unwrap_or_default();
        let mut object = json!({
            "step": step, "raw_transaction": raw, "hash": field("hash"),
            "signers": field("signers"), "ms": field("ms"), "sender": sender,
        });
        let mut text = format!(
            "signed by parties {} in {} ms\n  hash {}\n  sender {sender}, recovered from the raw transaction",
            field("signers"),
            field("ms"),
            plain(&field("hash")),
        );
        if let Some(fields) = object.as_object_mut() {
            fields.extend(more.as_object().cloned().unwrap_or_default());
        }
        if let Some(chain) = &self.chain {
            let receipt = chain.send(raw)?;
            let block = receipt.get("blockNumber").map(plain).unwrap_or_default();
            let gas = receipt.get("gasUsed").map(plain).unwrap_or_default();
            text.push_str(&format!("\n  mined in block {block}, gas used {gas}"));
            if let Some(fields) = object.as_object_mut() {
                fields.insert("receipt".to_owned(), receipt);
            }
        }
        self.nonce += 1;
        self.print(&object, &text);
        Ok(())
    }

    fn sign_plainly(&mut self) -> Result<(), DemoError> {
        self.say(
            "Signing an EIP-1559 transaction; every party judges the client's request itself …",
        );
        self.sign(1, "signed")
    }

    fn sign_with_one_down(&mut self) -> Result<(), DemoError> {
        self.say("Killing party 3, which has just signed, and signing again …");
        self.cluster.stop(3);
        self.sign(1, "signed-with-one-down")?;
        self.cluster.start(3)?;
        self.cluster.wait_until_linked()
    }

    fn sign_after_rollback(&mut self) -> Result<(), DemoError> {
        self.say("Putting party 2's folder back to an older copy, and asking party 2 …");
        self.cluster.stop(2);
        let copy = self.cluster.copy_folder(2, "party-2-older")?;
        self.cluster.start(2)?;
        self.cluster.wait_until_linked()?;
        // Something is signed that the copy does not know of …
        let kept = self.cluster.root.path().join("forgotten.request");
        let request = format!("{} --save-request {}", self.request(RECIPIENT)?, kept.display());
        let forgotten = self.ask(2, &request)?;
        self.cluster.stop(2);
        self.cluster.restore_folder(2, &copy)?;
        self.cluster.start(2)?;
        self.cluster.wait_until_linked()?;
        self.cluster.wait_until_rolled_back(2)?;
        let message = field_of(&self.refused(2, 13)?, "message");
        let object = json!({ "step": "rollback-refused", "error": message });
        self.print(&object, &format!("party 2 refuses: {message}"));
        self.say("Its operator accepts the loss, and starts it again …");
        self.cluster.stop(2);
        self.ask(2, "readmit --accept-loss")?;
        self.cluster.start(2)?;
        self.cluster.wait_until_linked()?;
        // … and asked for again. Party 2 may have been killed before it told the others what was signed.
        let again = self.ask(2, &format!("sign --request {}", kept.display()))?;
        let repeated = again.get("hash") == forgotten.get("hash");
        let how = if repeated { "answered from the others' records" } else { "signed anew" };
        self.say(&format!("  a request that the copy does not know, asked for again: {how}"));
        self.show(&again, "repeated-after-rollback", json!({ "repeated": repeated }))?;
        self.say("  a new request; party 2's limit counts as spent, so the other three sign:");
        self.sign(1, "signed-after-rollback")
    }

    fn deny(&mut self) -> Result<(), DemoError> {
        self.say("Asking for a transfer to somebody whom the policy does not name …");
        let error = self.refused(3, 5)?;
        let (rule, message) = (field_of(&error, "rule"), field_of(&error, "message"));
        let object = json!({ "step": "denied", "rule": rule, "message": message });
        self.print(&object, &format!("denied by rule {rule}: {message}"));
        Ok(())
    }

    /// A request that must be refused with an exit code: the error object.
    fn refused(&self, party: u16, exit: i32) -> Result<Value, DemoError> {
        let recipient = if exit == 5 { STRANGER } else { RECIPIENT };
        match self.ask(party, &self.request(recipient)?) {
            Err(DemoError::Command { code, said, .. }) if code == exit => {
                let error = said.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
                let error = error.and_then(|object| object.get("error").cloned());
                error.ok_or_else(|| DemoError::Unexpected(format!("no error object in: {said}")))
            }
            Err(other) => Err(other),
            Ok(signed) => Err(DemoError::Unexpected(format!("it was signed: {signed}"))),
        }
    }

    fn tamper(&mut self) -> Result<(), DemoError> {
        self.say("Flipping one bit of party 2's sealed share, and asking party 2 …");
        self.cluster.stop(2);
        self.cluster.tamper(2)?;
        self.cluster.start(2)?;
        self.cluster.wait_until_linked()?;
        let message = field_of(&self.refused(2, 13)?, "message");
        let object = json!({ "step": "tampered-share", "error": message });
        self.print(&object, &format!("party 2 refuses: {message}"));
        self.say("The other three still sign …");
        self.sign(1, "signed-without-the-tampered-share")
    }
}

/// A value as people read it: a string without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn field_of(object: &Value, name: &str) -> String {
    object.get(name).map(plain).unwrap_or_default()
}

fn recover_sender(raw: &str) -> Result<String, DemoError> {
    use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
    let wrong = |what: &str| DemoError::Unexpected(format!("{what}: {raw}"));
    let bytes = hex::decode(raw.trim_start_matches("0x")).map_err(|_| wrong("not hexadecimal"))?;
    let parts = ethereum::take_apart(&bytes).map_err(|e| wrong(&e.to_string()))?;
    let signature = Signature::from_scalars(parts.r, parts.s).map_err(|_| wrong("no signature"))?;
    let id = RecoveryId::new(parts.y_parity, false);
    let key = VerifyingKey::recover_from_prehash(&parts.digest, &signature, id)
        .map_err(|_| wrong("no sender"))?;
    let point = key.to_encoded_point(false);
    let point: [u8; 64] = point
        .as_bytes()
        .get(1..)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| wrong("no sender"))?;
    Ok(ethereum::address(&point).to_string())
}
