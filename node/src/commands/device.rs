//! `quorate device`: what an operator does with a device that holds a share. The relay must not run meanwhile,
//! for a line has room for one; but `status` and `readmit` go through it.

mod keys;
mod line;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate_core::device::link::{self, MAX_MEMBERS, Refused, Request};
use quorate_core::party::PartyId;
use serde_json::json;

use super::{CommandError, Global};
use crate::client::Client;
use crate::clock::utc;
use crate::device::{ANSWER, Device, DeviceError, PERSON};
use crate::membership::Membership;
use crate::relay::{DeviceInfo, DeviceState, RelayStatus};

pub(super) use line::{LineArgs, RelayedArgs};
use line::{PinArgs, new_pin, with_device};

/// Bytes of the members' digest that a screen shows.
const SHOWN: usize = 16;

/// `device …`
#[derive(Subcommand, Debug)]
pub(super) enum DeviceVerb {
    /// Show who the device is and how it stands; asks the relay if it runs
    Status(LineArgs),
    /// Make the device's identity key, inside it, and set its first PIN
    Init(InitArgs),
    /// Let the device join the network, as the party that the folder relays for: compare the digest with its
    /// screen, and press its button
    Join(JoinArgs),
    /// Set another PIN
    ChangePin(ChangeArgs),
    /// List the keys that the device holds shares of
    Keys(keys::KeysArgs),
    /// Erase what the device has of one key; needs its button. For a key whose making never ended, or one that is
    /// not wanted any more: a device has places for four
    Forget(keys::ForgetArgs),
    /// Accept that the device was put back to an earlier state, and that what it had counted since is lost; needs
    /// its button. Its relay must run: it is from its peers that the device knows
    Readmit,
    /// Erase everything in the device, its share too; needs its button, and no PIN
    Wipe(WipeArgs),
}

#[derive(Args, Debug)]
pub(super) struct InitArgs {
    #[command(flatten)]
    line: LineArgs,
    #[command(flatten)]
    pin: PinArgs,
}

#[derive(Args, Debug)]
pub(super) struct JoinArgs {
    #[command(flatten)]
    line: LineArgs,
    #[command(flatten)]
    pin: PinArgs,
    /// The membership file, where no folder names one
    #[arg(long, value_name = "FILE", requires = "party")]
    membership: Option<PathBuf>,
    /// Which party the device is, where no folder says so
    #[arg(long, requires = "membership")]
    party: Option<u16>,
}

#[derive(Args, Debug)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    line: LineArgs,
    #[command(flatten)]
    pin: PinArgs,
    /// A file with the new PIN, readable by you alone; without it, it is asked for twice
    #[arg(long, value_name = "FILE")]
    new_pin_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct WipeArgs {
    #[command(flatten)]
    line: LineArgs,
    /// Accept that the share is gone afterwards
    #[arg(long)]
    accept_loss: bool,
}

pub(super) fn device(global: &Global, verb: &DeviceVerb) -> Result<(), CommandError> {
    match verb {
        DeviceVerb::Status(args) => status(global, args),
        DeviceVerb::Init(args) => init(global, args),
        DeviceVerb::Join(args) => join(global, args),
        DeviceVerb::ChangePin(args) => change_pin(global, args),
        DeviceVerb::Keys(args) => keys::list(global, args),
        DeviceVerb::Forget(args) => keys::forget(global, args),
        DeviceVerb::Readmit => readmit(global),
        DeviceVerb::Wipe(args) => wipe(global, args),
    }
}

fn status(global: &Global, args: &LineArgs) -> Result<(), CommandError> {
    if !args.names_a_line()
        && let Ok(config) = global.config()
        && let Ok(relay) = Client::new(config.api, None).relay_status()
    {
        let object = serde_json::to_value(&relay).unwrap_or_default();
        global.print(&object, &of_relay(&relay));
        return Ok(());
    }
    let info = with_device(global, args, async |device| {
        let status = device.status().await?;
        Ok(DeviceInfo { status: Some(DeviceState::from(&status)), ..device.hello().into() })
    })?;
    global.print(&json!({ "device": info }), &describe(&info));
    Ok(())
}

fn of_relay(relay: &RelayStatus) -> String {
    let state = match (relay.connected, &relay.last_error) {
        (true, _) => "the device is unlocked".to_owned(),
        (false, Some(error)) => format!("no device: {error}"),
        (false, None) => "no device yet".to_owned(),
    };
    let peers: Vec<String> = relay.peers.iter().map(ToString::to_string).collect();
    let mut text = format!("relay     runs; {state}\npeers     {}", peers.join(", "));
    for (name, what) in [("refused  ", &relay.last_refusal), ("last     ", &relay.last_event)] {
        if let Some(what) = what {
            text.push_str(&format!("\n{name} {what}"));
        }
    }
    if let Some(device) = &relay.device {
        text.push('\n');
        text.push_str(&describe(device));
    }
    text
}

fn describe(info: &DeviceInfo) -> String {
    let identity = info.identity.as_deref().unwrap_or("none yet: `quorate device init`");
    let joined = match (info.party, &info.network) {
        (Some(party), Some(network)) => format!("party {party} of network {network}"),
        _ => "none yet: `quorate device join`".to_owned(),
    };
    let mut text = format!(
        "identity  {identity}\nnetwork   {joined}\nfirmware  {} ({})",
        info.firmware,
        info.features.join(", "),
    );
    if let Some(status) = &info.status {
        let clock = status.now.map_or_else(|| "not told yet".to_owned(), utc);
        let channels: Vec<String> = status.channels.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "\nPIN       {}, {} tries left\nkeys      {}\nchannels  {}\nlog       {} entries, generation {}\nclock     {clock}\nflash     pages erased at most {} times; stack used {} bytes",
            if status.unlocked { "entered" } else { "not entered" },
            status.pin_tries,
            keys(info, status),
            if channels.is_empty() { "none".to_owned() } else { channels.join(", ") },
            status.log_entries,
            status.generation,
            status.erases,
            status.stack,
        ));
        if status.rolled_back {
            text.push_str(
                "\nROLLBACK  the device was put back to an earlier state: it does nothing until `quorate device readmit`",
            );
        }
    }
    text
}

/// How many, and which, where a relay was told.
fn keys(info: &DeviceInfo, status: &DeviceState) -> String {
    let named = info.keys.values().map(|key| match key.active {
        true => keys::shown(&key.name),
        false => format!("{} (pending)", keys::shown(&key.name)),
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        return status.keys.to_string();
    }
    format!("{}: {}", status.keys, named.join(", "))
}

fn init(global: &Global, args: &InitArgs) -> Result<(), CommandError> {
    let pin = new_pin(global, args.pin.file(global).as_deref())?;
    let info = with_device(global, &args.line, async |device| {
        device.order(&Request::Initialize { pin: pin.as_bytes() }, ANSWER).await?;
        Ok(DeviceInfo::from(device.hello()))
    })?;
    // The hello was said before there was an identity.
    let info = match info.identity {
        Some(_) => info,
        None => with_device(global, &args.line, async |device| Ok(device.hello().into()))?,
    };
    let identity = info.identity.clone().unwrap_or_default();
    let text = format!(
        "the device has an identity and a PIN now\nidentity  {identity}\nfirmware  {}\nnext: the membership file pins this identity, with the relay's beside it",
        info.firmware
    );
    global.print(&json!({ "identity": identity, "firmware": info.firmware }), &text);
    Ok(())
}

async fn unlock(device: &mut Device, pin: &str) -> Result<(), DeviceError> {
    device.order(&Request::Unlock { pin: pin.as_bytes() }, ANSWER).await
}

fn join(global: &Global, args: &JoinArgs) -> Result<(), CommandError> {
    let (membership, party) = match (&args.membership, args.party) {
        (Some(file), Some(party)) => (Membership::load(file)?, party),
        _ => {
            let config = global.config()?;
            (Membership::load(&global.place().path().join(&config.membership))?, config.party)
        }
    };
    let wrong = |what: &str| CommandError::Usage(what.to_owned());
    let party =
        PartyId::new(party).ok_or_else(|| wrong("--party: a party has a number from 1 to 255"))?;
    let Some(member) = membership.member(party.number()) else {
        return Err(CommandError::Usage(format!("the membership file names no party {party}")));
    };
    if member.relay.is_none() {
        return Err(CommandError::Usage(format!(
            "the membership file names no relay for party {party}: a device needs one"
        )));
    }
    let mut members = heapless::Vec::<link::Member, MAX_MEMBERS>::new();
    for member in membership.members() {
        let id = PartyId::new(member.id).ok_or_else(|| wrong("a party's number"))?;
        members.push(link::Member { party: id, identity: member.identity.key() }).map_err(
            |_| {
                CommandError::Usage(format!(
                    "a device has room for {MAX_MEMBERS} parties, the membership file names {}",
                    membership.members().len()
                ))
            },
        )?;
    }
    let network = membership.network();
    let digest = hex::encode(link::membership_digest(&network, party, &members));
    let shown = digest.get(..2 * SHOWN).unwrap_or_default();
    let pin = args.pin.read(global)?;
    if !global.json {
        eprintln!("the device's screen must show {shown}; if it does, press its button");
    }
    with_device(global, &args.line, async |device| {
        if let Some(identity) = device.hello().identity
            && identity != member.identity.key()
        {
            return Err(DeviceError::Other(format!(
                "this device's identity is {identity:?}, the membership file pins {} for party {party}",
                member.identity
            )));
        }
        unlock(device, &pin).await?;
        let members = members.clone();
        device.order(&Request::Join { network, party, members }, PERSON).await
    })?;
    let object = json!({
        "party": party.number(), "network": hex::encode(network), "digest": digest, "shown": shown,
    });
    let text = format!(
        "the device is party {party} of network {} now\nmembers   {shown}",
        hex::encode(network)
    );
    global.print(&object, &text);
    Ok(())
}

fn change_pin(global: &Global, args: &ChangeArgs) -> Result<(), CommandError> {
    let old = args.pin.read(global)?;
    let new = new_pin(global, args.new_pin_file.as_deref())?;
    with_device(global, &args.line, async |device| {
        let request = Request::ChangePin { old: old.as_bytes(), new: new.as_bytes() };
        device.order(&request, ANSWER).await
    })?;
    let text = "the device has another PIN now; put it into the relay's pin_file, if there is one";
    global.print(&json!({ "changed": true }), text);
    Ok(())
}

fn readmit(global: &Global) -> Result<(), CommandError> {
    if !global.json {
        eprintln!("press the device's button to accept what was lost");
    }
    let client = global.operator()?;
    client.readmit_device()?;
    // How it stands is asked of it in turn.
    let until = std::time::Instant::now() + ANSWER;
    let generation = loop {
        let device = client.relay_status()?.device;
        match device.and_then(|device| device.status) {
            Some(status) if !status.rolled_back => break status.generation,
            _ if std::time::Instant::now() > until => {
                return Err(DeviceError::Refused(Refused::RolledBack).into());
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    };
    let text = format!(
        "the device takes part again: generation {generation} of its log has begun, and its limits count as spent for one window"
    );
    global.print(&json!({ "readmitted": true, "generation": generation }), &text);
    Ok(())
}

fn wipe(global: &Global, args: &WipeArgs) -> Result<(), CommandError> {
    if !args.accept_loss {
        return Err(CommandError::Usage(
            "this erases the device's identity and its shares for ever; with --accept-loss, and its button, it is done"
                .to_owned(),
        ));
    }
    if !global.json {
        eprintln!("press the device's button to erase everything in it");
    }
    with_device(global, &args.line, async |device| {
        match device.order(&Request::Wipe, PERSON).await {
            // It may restart at once.
            Err(DeviceError::Closed | DeviceError::Refused(Refused::Wiped)) => Ok(()),
            done => done,
        }
    })?;
    global.print(&json!({ "wiped": true }), "the device is empty");
    Ok(())
}
