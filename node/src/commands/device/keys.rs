//! The keys in a device: which there are, and how one is given up.

use clap::Args;
use quorate_core::device::link::Request;
use serde_json::{Value, json};

use super::line::{LineArgs, PinArgs, with_device};
use super::unlock;
use crate::commands::{CommandError, Global};
use crate::device::{Device, DeviceError, HeldKey, PERSON};

#[derive(Args, Debug)]
pub(in crate::commands) struct KeysArgs {
    #[command(flatten)]
    line: LineArgs,
    #[command(flatten)]
    pin: PinArgs,
}

#[derive(Args, Debug)]
pub(in crate::commands) struct ForgetArgs {
    #[command(flatten)]
    line: LineArgs,
    #[command(flatten)]
    pin: PinArgs,
    /// The key's name, or its identifier
    #[arg(value_name = "KEY")]
    key: String,
    /// Accept that this party's share of an active key is gone afterwards
    #[arg(long)]
    accept_loss: bool,
}

pub(super) fn list(global: &Global, args: &KeysArgs) -> Result<(), CommandError> {
    let pin = args.pin.read(global)?;
    let keys = with_device(global, &args.line, async |device| {
        unlock(device, &pin).await?;
        device.keys().await
    })?;
    let object: Vec<Value> = keys.iter().map(object).collect();
    let text = match keys.as_slice() {
        [] => "the device holds no keys".to_owned(),
        keys => keys.iter().map(describe).collect::<Vec<_>>().join("\n"),
    };
    global.print(&json!({ "keys": object }), &text);
    Ok(())
}

pub(super) fn forget(global: &Global, args: &ForgetArgs) -> Result<(), CommandError> {
    let pin = args.pin.read(global)?;
    let forgotten = with_device(global, &args.line, async |device| {
        unlock(device, &pin).await?;
        let found = match find(&device.keys().await?, args) {
            Ok(found) => found,
            Err(usage) => return Ok(Err(usage)),
        };
        if !global.json {
            eprintln!("press the device's button to forget: {}", describe(&found));
        }
        forget_one(device, &found).await.map(|()| Ok(found))
    })?
    .map_err(CommandError::Usage)?;
    let text = format!("the device has forgotten the key {}", forgotten.name);
    global.print(&json!({ "forgotten": object(&forgotten) }), &text);
    Ok(())
}

async fn forget_one(device: &mut Device, held: &HeldKey) -> Result<(), DeviceError> {
    device.order(&Request::Forget(held.key), PERSON).await
}

/// The key that is meant, if it may be forgotten as it stands; else what the caller is to do.
fn find(keys: &[HeldKey], args: &ForgetArgs) -> Result<HeldKey, String> {
    let named = |held: &&HeldKey| held.name == args.key || hex::encode(held.key) == args.key;
    let Some(found) = keys.iter().find(named) else {
        let names: Vec<&str> = keys.iter().map(|held| held.name.as_str()).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(format!("the device holds no key {}; it holds {names}", args.key));
    };
    if found.active && !args.accept_loss {
        return Err(format!(
            "the key {} is active: this erases its share in the device for ever; with --accept-loss, and the device's button, it is done",
            found.name
        ));
    }
    Ok(found.clone())
}

fn state(held: &HeldKey) -> &'static str {
    if held.active { "active" } else { "pending" }
}

fn describe(held: &HeldKey) -> String {
    format!("{} {} ({})", hex::encode(held.key), held.name, state(held))
}

fn object(held: &HeldKey) -> Value {
    json!({ "key": hex::encode(held.key), "name": held.name, "state": state(held) })
}
