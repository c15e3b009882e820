//! `quorate request`: requests that wait for approval, outside of any node, or for their delay, at the nodes.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use quorate_core::policy::payload::Subject;
use quorate_core::request::{KeyId, MAX_REQUEST, SignedRequest, Veto, approval_text};
use serde_json::{Value, json};

use super::{CommandError, Global};
use crate::client::read_client_key;
use crate::clock::{Clock as _, SystemClock};
use crate::handle::WaitingRequest;
use crate::policy_file::moment_text;
use crate::sealing::replace_private;

#[derive(Subcommand, Debug)]
pub(super) enum RequestVerb {
    /// Show what a request asks for, and who has approved it; of one that waits at this node, since when,
    /// until when, and who has vetoed it
    Show {
        /// The request, as `quorate sign --save-request` keeps it, or the hash of one that waits
        #[arg(value_name = "FILE|HASH")]
        which: String,
    },
    /// List the requests that wait at this node for their policy's delay
    List,
    /// Veto a request that waits, or will: the policy's delay must name the vetoer. Give it to several nodes
    Veto {
        /// The request's file, or its hash
        #[arg(value_name = "FILE|HASH")]
        which: String,
        /// The file with the vetoer's secret key, made by `quorate client new`
        #[arg(long, value_name = "FILE")]
        vetoer_key: PathBuf,
        /// The key, by name or id: for the hash of a request that this node does not know
        #[arg(long)]
        key: Option<String>,
    },
    /// Approve a request: its file gets one approval more
    Approve {
        /// The request
        file: PathBuf,
        /// The file with the approver's secret key, made by `quorate client new`
        #[arg(long, value_name = "FILE", required_unless_present = "signature")]
        approver_key: Option<PathBuf>,
        /// Instead of it, the signature of an account over the text that `request show` prints
        #[arg(long, value_name = "HEX", value_parser = signature, conflicts_with = "approver_key")]
        signature: Option<AccountSignature>,
    },
}

/// r ‖ s ‖ v.
#[derive(Clone, Debug)]
pub(super) struct AccountSignature([u8; 65]);

fn signature(text: &str) -> Result<AccountSignature, String> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).map(AccountSignature);
    bytes.ok_or_else(|| "a signature has 65 bytes, hexadecimal: r, s and v".to_owned())
}

pub(super) fn request(global: &Global, verb: &RequestVerb) -> Result<(), CommandError> {
    match verb {
        RequestVerb::Show { which } => show(global, which),
        RequestVerb::List => list(global),
        RequestVerb::Veto { which, vetoer_key, key } => {
            veto(global, which, vetoer_key, key.as_deref())
        }
        RequestVerb::Approve { file, approver_key, signature } => {
            approve(global, file, approver_key.as_deref(), signature.as_ref())
        }
    }
}

/// A request's bytes, from their hexadecimal file.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        CommandError::Usage(format!("the request {} cannot be read: {error}", file.display()))
    })?;
    hex::decode(text.trim())
        .map_err(|_| CommandError::Usage("the request is not hexadecimal".into()))
}

fn parsed(bytes: &[u8]) -> Result<SignedRequest<'_>, CommandError> {
    SignedRequest::parse(bytes).map_err(|error| CommandError::Usage(error.to_string()))
}

/// A request's hash, if it is one and no file has that name.
fn hash(which: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    hex::decode_to_slice(which, &mut hash).ok()?;
    (!Path::new(which).exists()).then_some(hash)
}

fn show(global: &Global, which: &str) -> Result<(), CommandError> {
    let Some(hash) = hash(which) else {
        let bytes = read(Path::new(which))?;
        let (object, text) = described(&parsed(&bytes)?);
        global.print(&object, &text);
        return Ok(());
    };
    let waiting = global.client()?.waiting_request(&hash)?;
    let bytes = hex::decode(waiting.bytes.as_deref().unwrap_or_default());
    let bytes = bytes.map_err(|error| CommandError::local("reading what waits", error))?;
    let (mut object, text) = described(&parsed(&bytes)?);
    if let Some(fields) = object.as_object_mut() {
        fields.insert("waiting".to_owned(), serde_json::to_value(&waiting).unwrap_or_default());
    }
    global.print(&object, &format!("{text}\n{}", state(&waiting)));
    Ok(())
}

fn state(waiting: &WaitingRequest) -> String {
    let mut text = format!("on record  since {}", moment_text(waiting.since));
    if !waiting.vetoed_by.is_empty() {
        text.push_str(&format!("\nvetoed     by {}", waiting.vetoed_by.join(", ")));
    }
    let state = match (&waiting.until, &waiting.reason) {
        (Some(until), _) => format!("waits until {}", moment_text(*until)),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "its delay is over here".to_owned(),
    };
    text.push_str(&format!("\nstate      {state}"));
    text
}

fn list(global: &Global) -> Result<(), CommandError> {
    let waiting = global.client()?.waiting()?;
    let one = |waiting: &WaitingRequest| {
        format!(
            "{} for key {}, by {}\n{}\nexpires    {}\n",
            waiting.request,
            waiting.name,
            waiting.client,
            state(waiting),
            moment_text(waiting.expires)
        )
    };
    let text = match waiting.is_empty() {
        true => "no request waits here".to_owned(),
        false => waiting.iter().map(one).collect::<Vec<_>>().join("\n"),
    };
    global.print(&json!({ "requests": waiting }), &text);
    Ok(())
}

fn veto(
    global: &Global,
    which: &str,
    vetoer: &Path,
    key: Option<&str>,
) -> Result<(), CommandError> {
    let by = read_client_key(&super::client::read(vetoer)?)?;
    let client = global.client()?;
    let (key, request) = match (hash(which), key) {
        (None, _) => {
            let bytes = read(Path::new(which))?;
            let request = parsed(&bytes)?;
            (*request.key(), request.hash())
        }
        (Some(hash), Some(key)) => (key_id(&client.show_key(key)?.key)?, hash),
        (Some(hash), None) => (key_id(&client.waiting_request(&hash)?.key)?, hash),
    };
    let vetoed = client.veto(&Veto::sign(key, request, SystemClock.unix().as_secs(), &by))?;
    let parties = vetoed.told.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "vetoed by {}: this party will not sign it by a delay that names this vetoer\n",
        vetoed.vetoer
    );
    match parties.is_empty() {
        true => text.push_str("no other holder is connected: give the veto to others too\n"),
        false => text.push_str(&format!("passed on to parties {parties}\n")),
    }
    if vetoed.released {
        text.push_str("this party has sent its part of the signature before: one may exist\n");
    }
    global.print(&serde_json::to_value(&vetoed).unwrap_or_default(), &text);
    Ok(())
}

fn key_id(text: &str) -> Result<KeyId, CommandError> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id)
        .map_err(|_| CommandError::Local(format!("the node gave no id but {text}")))?;
    Ok(KeyId(id))
}

fn described(request: &SignedRequest<'_>) -> (Value, String) {
    let approvers: Vec<String> = request.approvers().map(|key| key.to_string()).collect();
    let payload = request.payload();
    let mut fields = vec![
        ("request", hex::encode(request.hash())),
        ("key", request.key().to_string()),
        ("derivation", request.derivation().to_string()),
        ("client", request.client().to_string()),
        ("expires", moment_text(request.expires())),
        ("label", request.label().to_owned()),
        ("payload", payload.kind().to_string()),
    ];
    match Subject::parse(&payload) {
        Ok(subject) => {
            fields.push(("digest", hex::encode(subject.digest())));
            fields.extend(contents(&subject));
        }
        Err(error) => fields.push(("unreadable", error.to_string())),
    }
    let lines = fields.iter().map(|(name, value)| format!("{name:<10} {value}"));
    let approved = match approvers.len() {
        0 => "approved   by nobody yet".to_owned(),
        _ => format!("approved   by {}", approvers.join(", ")),
    };
    let signers: Vec<String> = request.signers().map(|account| account.to_string()).collect();
    let signed = match signers.len() {
        0 => "signed     by no account yet".to_owned(),
        _ => format!("signed     by {}", signers.join(", ")),
    };
    let to_sign = approval_text(&request.hash());
    let how = format!("an account signs the message: {to_sign}");
    let text = lines.chain([approved, signed, how]).collect::<Vec<_>>().join("\n");
    let named = fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.clone())));
    let mut object: serde_json::Map<String, Value> = named.collect();
    object.insert("approved_by".to_owned(), json!(approvers));
    object.insert("signed_by".to_owned(), json!(signers));
    object.insert("message_to_sign".to_owned(), json!(to_sign.as_str()));
    (object.into(), text)
}

fn contents(subject: &Subject<'_>) -> Vec<(&'static str, String)> {
    match subject {
        Subject::Transaction(seen) => vec![
            ("type", seen.kind.name().to_owned()),
            ("chain", seen.chain_id.to_string()),
            ("to", seen.to.map_or_else(|| "creates a contract".to_owned(), |to| to.to_string())),
            ("value", format!("{} wei", seen.value)),
            ("max fee", format!("{} wei", seen.max_fee)),
            ("data", format!("0x{}", hex::encode(seen.data))),
        ],
        Subject::Message(message) => {
            vec![("message", format!("{:?}", String::from_utf8_lossy(message)))]
        }
        Subject::TypedData(data) => vec![("type", data.primary_type().to_owned())],
        Subject::Digest(_) => Vec::new(),
    }
}

fn approve(
    global: &Global,
    file: &Path,
    approver: Option<&Path>,
    signature: Option<&AccountSignature>,
) -> Result<(), CommandError> {
    let bytes = read(file)?;
    let request = parsed(&bytes)?;
    let mut buffer = vec![0; MAX_REQUEST];
    let approved = match (approver, signature) {
        (_, Some(AccountSignature(signature))) => {
            request.add_signature(signature, &mut buffer).map(|(_, approved)| approved)
        }
        (Some(approver), None) => {
            let key = read_client_key(&super::client::read(approver)?)?;
            request.approve(&key, &mut buffer)
        }
        (None, None) => {
            return Err(CommandError::Usage("--approver-key or --signature is missing".into()));
        }
    };
    let approved = approved.map_err(|error| CommandError::Usage(error.to_string()))?;
    replace_private(file, hex::encode(approved).as_bytes())?;
    let approved = parsed(approved)?;
    let (object, text) = described(&approved);
    global.print(&object, &text);
    Ok(())
}
