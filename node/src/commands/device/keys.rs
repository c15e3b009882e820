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
    let text = format!("the device has forgotten the key {}", shown(&forgotten.name));
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
        let names: Vec<String> = keys.iter().map(|held| shown(&held.name)).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(format!("the device holds no key {}; it holds {names}", args.key));
    };
    if found.active && !args.accept_loss {
        return Err(format!(
            "the key {} is active: this erases its share in the device for ever; with --accept-loss, and the device's button, it is done",
            shown(&found.name)
        ));
    }
    Ok(found.clone())
}

/// A name for a person: whoever proposed the key chose it, and the device says it.
pub(super) fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

fn state(held: &HeldKey) -> &'static str {
    if held.active { "active" } else { "pending" }
}

fn describe(held: &HeldKey) -> String {
    format!("{} {} ({})", hex::encode(held.key), shown(&held.name), state(held))
}

fn object(held: &HeldKey) -> Value {
    json!({ "key": hex::encode(held.key), "name": held.name, "state": state(held) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        forget: ForgetArgs,
    }

    fn forget(words: &[&str]) -> ForgetArgs {
        let words = ["forget", "--tcp", "127.0.0.1:1"].iter().chain(words);
        Command::try_parse_from(words).unwrap().forget
    }

    #[test]
    fn a_key_is_found_by_its_name_or_identifier_and_an_active_one_only_with_the_loss() {
        let key = |name: &str, byte, active| HeldKey { key: [byte; 16], name: name.into(), active };
        let keys = [key("old", 1, true), key("\u{1b}[2Jnew", 2, false)];
        let hex = "02".repeat(16);
        assert_eq!(find(&keys, &forget(&[&hex])), Ok(keys[1].clone()));
        assert_eq!(find(&keys, &forget(&["old", "--accept-loss"])), Ok(keys[0].clone()));
        let active = find(&keys, &forget(&["old"])).unwrap_err();
        assert!(active.contains("the key old is active"), "{active}");
        // What is in a name does not reach a terminal.
        let none = find(&keys, &forget(&["ol"])).unwrap_err();
        assert_eq!(none, r"the device holds no key ol; it holds old, \u{1b}[2Jnew");
        assert_eq!(describe(&keys[1]), format!(r"{hex} \u{{1b}}[2Jnew (pending)"));
        assert_eq!(
            find(&[], &forget(&["k"])).unwrap_err(),
            "the device holds no key k; it holds none"
        );
    }
}
