//! `quorate request`: requests that wait for approval, outside of any node.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use quorate_core::policy::payload::Subject;
use quorate_core::request::{MAX_REQUEST, SignedRequest, approval_text};
use serde_json::{Value, json};

use super::{CommandError, Global};
use crate::client::read_client_key;
use crate::policy_file::moment_text;
use crate::sealing::replace_private;

#[derive(Subcommand, Debug)]
pub(super) enum RequestVerb {
    /// Show what a request asks for, and who has approved it
    Show {
        /// The request, as `quorate sign --save-request` keeps it
        file: PathBuf,
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
        RequestVerb::Show { file } => show(global, file),
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

fn show(global: &Global, file: &Path) -> Result<(), CommandError> {
    let bytes = read(file)?;
    let request = parsed(&bytes)?;
    let (object, text) = described(&request);
    global.print(&object, &text);
    Ok(())
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
