//! `quorate sign`: a client's request, signed here with the client's key and sent to this node.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::{Address, UnsignedFields, unsigned_transaction};
use quorate_core::request::{MAX_PAYLOAD, Payload};

use super::derivation::DerivationArgs;
use super::{CommandError, Global};
use crate::client::{Client, ClientError, Wish, read_client_key, signed_request};
use crate::handle::{ServiceError, Signed};
use crate::policy_file::parse_amount;
use crate::sealing::write_private;
use crate::typed_data::compact_typed_data;

fn amount(text: &str) -> Result<Amount, String> {
    parse_amount(text)
        .ok_or_else(|| "an amount like 1000, 30gwei or 0.5ether is expected".to_owned())
}

fn address(text: &str) -> Result<Address, String> {
    Address::from_hex(text).ok_or_else(|| "no address, or a wrong checksum".to_owned())
}

#[derive(Clone, Debug)]
struct Bytes(Vec<u8>);

fn bytes(text: &str) -> Result<Bytes, String> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text))
        .map(Bytes)
        .map_err(|_| "hexadecimal bytes are expected".to_owned())
}

#[derive(Args, Debug)]
pub(super) struct SignArgs {
    /// The key, by name or id
    #[arg(long, required_unless_present = "request")]
    key: Option<String>,
    /// The file with the client's secret key
    #[arg(long, value_name = "FILE", required_unless_present = "request")]
    client_key: Option<PathBuf>,
    #[command(flatten)]
    descendant: DerivationArgs,
    /// A whole unsigned transaction, of any type, instead of its fields
    #[arg(long, value_name = "HEX", value_parser = bytes, conflicts_with_all = ["to", "value", "chain_id"], group = "payload")]
    transaction: Option<Bytes>,
    /// A message for people, as wallets sign it (EIP-191)
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["to", "value", "chain_id"], group = "payload")]
    message: Option<String>,
    /// Typed data (EIP-712): a file with the JSON of eth_signTypedData_v4
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "value", "chain_id"], group = "payload")]
    typed_data: Option<PathBuf>,
    /// A bare digest of 32 bytes: only a policy that grants just that allows it
    #[arg(long, value_name = "HEX", value_parser = bytes, conflicts_with_all = ["to", "value", "chain_id"], group = "payload")]
    digest: Option<Bytes>,
    /// The recipient
    #[arg(long, value_parser = address)]
    to: Option<Address>,
    /// How much: wei, or like 30gwei, 0.5ether
    #[arg(long, value_parser = amount, default_value = "0")]
    value: Amount,
    /// The chain
    #[arg(long)]
    chain_id: Option<u64>,
    /// The sender's transaction counter
    #[arg(long, default_value_t = 0)]
    nonce: u64,
    /// Gas limit
    #[arg(long, default_value_t = 21_000)]
    gas_limit: u64,
    /// The most per gas
    #[arg(long, value_parser = amount, default_value = "20gwei")]
    max_fee_per_gas: Amount,
    /// The tip per gas
    #[arg(long, value_parser = amount, default_value = "1gwei")]
    max_priority_fee: Amount,
    /// The call's data
    #[arg(long, value_name = "HEX", value_parser = bytes)]
    data: Option<Bytes>,
    /// A word for people and logs
    #[arg(long, default_value = "")]
    label: String,
    /// Seconds for which the request may be signed; longer than the policy's delay, if it has one
    #[arg(long, default_value_t = 300)]
    expires_in: u64,
    /// Also keep the signed request here: it can be repeated, at any party, and counts once
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    save_request: Option<PathBuf>,
    /// Only keep the request, for others to approve it first
    #[arg(long, requires = "save_request")]
    only_save: bool,
    /// Send a request that was kept, instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "client_key", "payload", "to", "chain_id", "path", "context"])]
    request: Option<PathBuf>,
    /// If the policy lets it wait, ask again until it is signed, vetoed or expired
    #[arg(long, conflicts_with = "only_save")]
    wait: bool,
}

/// Before the time that parties name nothing happens, but their clocks may be others, and they may go away.
const ASK_AGAIN: std::ops::RangeInclusive<u64> = 1..=60;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Sends the request, and with `wait` again and again while it waits for the policy's delays.
fn send(client: &Client, request: &[u8], wait: bool) -> Result<Signed, ClientError> {
    let mut said = None;
    loop {
        match client.sign(request) {
            Err(ClientError::Refused(ServiceError::Waiting(waiting))) if wait => {
                let until = waiting.until;
                if said.replace(until) != Some(until) {
                    eprintln!("{waiting}");
                }
                let left = until.saturating_sub(now());
                let pause = left.clamp(*ASK_AGAIN.start(), *ASK_AGAIN.end());
                std::thread::sleep(Duration::from_secs(pause));
            }
            answer => return answer,
        }
    }
}

pub(super) fn sign(global: &Global, args: &SignArgs) -> Result<(), CommandError> {
    let client = global.client()?;
    let request = match &args.request {
        Some(file) => super::request::read(file)?,
        None => make_request(&client, args)?,
    };
    if let Some(file) = &args.save_request {
        write_private(file, hex::encode(&request).as_bytes())?;
        if args.only_save {
            let text = format!("kept in {}; nothing was sent", file.display());
            global.print(&serde_json::json!({ "request": file }), &text);
            return Ok(());
        }
    }
    let signed = send(&client, &request, args.wait)?;
    let object = serde_json::to_value(&signed).unwrap_or_default();
    let signers: Vec<String> = signed.signers.iter().map(ToString::to_string).collect();
    let how = if signed.repeated { "signed before, by" } else { "signed by" };
    let text = format!(
        "{how} parties {} in {} ms\nhash {}\n{}",
        signers.join(", "),
        signed.ms,
        signed.hash,
        signed.raw_transaction.as_ref().unwrap_or(&signed.signature),
    );
    global.print(&object, &text);
    Ok(())
}

fn make_request(client: &Client, args: &SignArgs) -> Result<Vec<u8>, CommandError> {
    let missing = |what: &str| CommandError::Usage(format!("{what} is missing"));
    let file = args.client_key.as_ref().ok_or_else(|| missing("--client-key"))?;
    let client_key = read_client_key(&super::client::read(file)?)?;
    let key = client.show_key(args.key.as_ref().ok_or_else(|| missing("--key"))?)?;
    let status = client.status()?;
    let id = |text: &str| {
        let bytes = hex::decode(text).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        bytes.ok_or_else(|| CommandError::Local(format!("the node gave no id but {text}")))
    };
    let mut buffer = Vec::new();
    let payload = payload(args, &mut buffer)?;
    let wish = Wish {
        network: id(&status.network)?,
        key: id(&key.key)?,
        derivation: args.descendant.derivation(),
        payload,
        label: &args.label,
        expires: now().saturating_add(args.expires_in),
    };
    Ok(signed_request(&wish, &client_key)?)
}

/// What the arguments ask to be signed; `buffer` holds its bytes.
fn payload<'b>(args: &'b SignArgs, buffer: &'b mut Vec<u8>) -> Result<Payload<'b>, CommandError> {
    if let Some(Bytes(bytes)) = &args.transaction {
        return Ok(Payload::EthereumTransaction(bytes));
    }
    if let Some(message) = &args.message {
        return Ok(Payload::EthereumMessage(message.as_bytes()));
    }
    if let Some(file) = &args.typed_data {
        let wrong = |what: &dyn std::fmt::Display| {
            CommandError::Usage(format!("{}: {what}", file.display()))
        };
        let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
        let json = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        *buffer = compact_typed_data(&json).map_err(|error| wrong(&error))?;
        return Ok(Payload::EthereumTypedData(buffer));
    }
    if let Some(Bytes(bytes)) = &args.digest {
        let digest = bytes.as_slice().try_into();
        let digest = digest.map_err(|_| CommandError::Usage("a digest has 32 bytes".into()))?;
        return Ok(Payload::Digest(digest));
    }
    let missing = || CommandError::Usage("--chain-id is missing".into());
    let fields = UnsignedFields {
        chain_id: args.chain_id.ok_or_else(missing)?,
        nonce: args.nonce,
        max_priority_fee_per_gas: args.max_priority_fee,
        max_fee_per_gas: args.max_fee_per_gas,
        gas_limit: args.gas_limit,
        to: args.to,
        value: args.value,
        data: args.data.as_ref().map_or(&[], |Bytes(bytes)| bytes.as_slice()),
    };
    *buffer = vec![0; MAX_PAYLOAD];
    unsigned_transaction(&fields, buffer)
        .map(Payload::EthereumTransaction)
        .map_err(|_| CommandError::Usage("the transaction is too long".into()))
}
