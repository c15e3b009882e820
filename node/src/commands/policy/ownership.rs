//! What controllers do with a key's policy: propose a change, sign it, send it, and look at what became of
//! it. Signing needs no node.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use quorate_core::hash::Digest;
use quorate_core::policy::control::{Action, Change, MAX_CHANGE, SignedChange};
use quorate_core::policy::{Policy, hash_of};
use quorate_core::request::{KeyId, NetworkId};
use serde_json::{Value, json};

use super::{CommandError, Global, read as read_policy};
use crate::client::{Client, read_client_key};
use crate::clock::{Clock as _, SystemClock};
use crate::commands::client::read as read_key;
use crate::handle::{ChangeInfo, PartyPolicy, PolicyInfo};
use crate::policy_file::{self, moment_text};
use crate::sealing::replace_private;

/// `policy set` waits so long for the other holders to say that they have a change.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(in crate::commands) struct ProposeArgs {
    /// The key, by name or id; with --create the name that it will have
    key: String,
    /// The new policy (JSON); not needed to freeze, unfreeze or withdraw
    #[arg(required_unless_present = "other", conflicts_with = "other")]
    policy: Option<PathBuf>,
    /// Make a key of this name with the policy: `quorate key create --approval` takes what is signed
    #[arg(long, requires = "policy")]
    create: bool,
    /// Nothing is to be signed with the key, at once
    #[arg(long, group = "other")]
    freeze: bool,
    /// The freeze is to end, after the policy's delay
    #[arg(long, group = "other")]
    unfreeze: bool,
    /// The new policy that waits is never to take effect
    #[arg(long, group = "other")]
    withdraw: bool,
    /// The file for the change
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Afterwards no party takes it any more; at most 30 days
    #[arg(long, value_name = "TIME", default_value = "7days", value_parser = humantime::parse_duration)]
    expires_in: Duration,
}

pub(super) fn propose(global: &Global, args: &ProposeArgs) -> Result<(), CommandError> {
    let client = global.client()?;
    let network = client.status()?.network;
    let expires = SystemClock.unix().as_secs().saturating_add(args.expires_in.as_secs());
    let policy = args.policy.as_deref().map(read_policy).transpose()?;
    let policy = policy.as_ref().map(|policy| policy.as_slice()).unwrap_or_default();
    let network = NetworkId(fixed(&network)?);
    let none = Change {
        network,
        key: KeyId([0; 16]),
        number: 1,
        previous: [0; 32],
        action: Action::Create { name: &args.key, policy },
        expires,
    };
    let bytes = match args.create {
        true => encoded(&none)?,
        false => change_of_key(&client, args, policy, &none)?,
    };
    replace_private(&args.out, hex::encode(&bytes).as_bytes())?;
    show(global, &bytes)
}

fn change_of_key(
    client: &Client,
    args: &ProposeArgs,
    policy: &[u8],
    none: &Change<'_>,
) -> Result<Vec<u8>, CommandError> {
    let info = client.policy(&args.key)?;
    let key = KeyId(fixed(&info.key)?);
    if info.controllers.is_none() {
        let what =
            format!("the policy of key {} has no controllers: nobody can change it", info.name);
        return Err(CommandError::Usage(what));
    }
    if args.freeze || args.unfreeze {
        let action = if args.freeze { Action::Freeze } else { Action::Unfreeze };
        if args.freeze == info.frozen {
            let is = if info.frozen { "frozen already" } else { "not frozen" };
            return Err(CommandError::Exists(format!("key {} is {is}", info.name)));
        }
        return encoded(&Change { key, number: info.holds + 1, action, ..*none });
    }
    match (&info.next_policy, &info.next_hash, args.withdraw) {
        (None, _, true) => {
            let what =
                format!("no new policy of key {} waits: there is nothing to withdraw", info.name);
            Err(CommandError::Exists(what))
        }
        (Some(next), _, false) => Err(CommandError::Exists(format!(
            "version {} of key {}'s policy waits until {}: withdraw it first, or wait",
            next.version,
            info.name,
            moment_text(next.due)
        ))),
        // The policy in force behind the one that waits.
        (Some(next), Some(hash), true) => {
            let shown = client.show_key(&info.key)?.policy.unwrap_or_default();
            let current = policy_file::from_json(&shown)?;
            if hex::encode(hash_of(current.as_slice())) != info.policy_hash {
                return Err(CommandError::Local(
                    "the node shows another policy than its own".into(),
                ));
            }
            let action = Action::Replace { policy: current.as_slice() };
            let previous: Digest = fixed(hash)?;
            encoded(&Change { key, number: next.version + 1, previous, action, ..*none })
        }
        _ => {
            let (number, previous) = (info.version + 1, fixed(&info.policy_hash)?);
            encoded(&Change { key, number, previous, action: Action::Replace { policy }, ..*none })
        }
    }
}

fn fixed<const L: usize>(text: &str) -> Result<[u8; L], CommandError> {
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| CommandError::Local("the node's answer is not understood".to_owned()))
}

fn encoded(change: &Change<'_>) -> Result<Vec<u8>, CommandError> {
    let mut buffer = vec![0; MAX_CHANGE];
    let bytes = change.encode(&mut buffer).map(<[u8]>::to_vec);
    bytes.map_err(|error| CommandError::Usage(error.to_string()))
}

/// A change's bytes, from their hexadecimal file.
pub(in crate::commands) fn read(file: &Path) -> Result<Vec<u8>, CommandError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        CommandError::Usage(format!("the change {} cannot be read: {error}", file.display()))
    })?;
    hex::decode(text.trim())
        .map_err(|_| CommandError::Usage("the change is not hexadecimal".into()))
}

fn parsed(bytes: &[u8]) -> Result<SignedChange<'_>, CommandError> {
    SignedChange::parse(bytes).map_err(|error| CommandError::Usage(error.to_string()))
}

pub(super) fn approve(global: &Global, file: &Path, key: &Path) -> Result<(), CommandError> {
    let key = read_client_key(&read_key(key)?)?;
    let bytes = read(file)?;
    let mut buffer = vec![0; MAX_CHANGE];
    let signed = parsed(&bytes)?
        .sign(&key, &mut buffer)
        .map_err(|error| CommandError::Usage(error.to_string()))?;
    replace_private(file, hex::encode(signed).as_bytes())?;
    show(global, signed)
}

/// What a change does, and who has signed it.
fn show(global: &Global, bytes: &[u8]) -> Result<(), CommandError> {
    let change = parsed(bytes)?;
    let mut fields = vec![
        ("change", hex::encode(change.hash())),
        ("action", change.action().name().to_owned()),
        ("network", change.network().to_string()),
    ];
    match change.action() {
        Action::Create { name, .. } => fields.push(("name", name.to_owned())),
        _ => fields.push(("key", change.key().to_string())),
    }
    let counted = if change.action().is_hold() { "hold" } else { "version" };
    fields.push((counted, change.number().to_string()));
    fields.push(("expires", moment_text(change.expires())));
    let policy = change.action().policy().and_then(|bytes| Policy::parse(bytes).ok());
    if let Some(policy) = &policy {
        fields.push(("policy", hex::encode(policy.hash())));
    }
    let signers: Vec<String> = change.signers().map(|signer| signer.to_string()).collect();
    let lines = fields.iter().map(|(name, value)| format!("{name:<10} {value}"));
    let by = if signers.is_empty() { "by nobody yet".to_owned() } else { signers.join(", ") };
    let mut text = lines.chain([format!("signed     {by}")]).collect::<Vec<_>>().join("\n");
    let sentences = policy.as_ref().map(policy_file::explain);
    if let Some(sentences) = &sentences {
        text.push_str(&format!("\nThe policy:\n{sentences}"));
    }
    let named = fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.clone())));
    let mut object: serde_json::Map<String, Value> = named.collect();
    object.insert("signed_by".to_owned(), json!(signers));
    if let Some(sentences) = sentences {
        object.insert("sentences".to_owned(), json!(sentences.lines().collect::<Vec<_>>()));
    }
    global.print(&object.into(), &text);
    Ok(())
}

pub(super) fn set(global: &Global, file: &Path) -> Result<(), CommandError> {
    let bytes = read(file)?;
    let change = parsed(&bytes)?;
    if let Action::Create { name, .. } = change.action() {
        return Err(CommandError::Usage(format!(
            "this change makes the key {name}: give it to `quorate key create --approval`"
        )));
    }
    let client = global.client()?;
    let mut info = client.set_policy(&bytes)?;
    let (hold, number) = (change.action().is_hold(), change.number());
    let has = |party: &PartyPolicy| match hold {
        true => party.held.is_some_and(|held| held >= number),
        false => party.announced.is_some_and(|version| version >= number),
    };
    let until = Instant::now() + PATIENCE;
    // What needs no delay takes effect within moments, too.
    let settles = |info: &PolicyInfo| {
        let now = SystemClock.unix().as_secs();
        info.next_policy.as_ref().is_some_and(|next| next.due <= now && next.problem.is_none())
    };
    while (info.parties.iter().any(|party| party.connected && !has(party)) || settles(&info))
        && Instant::now() < until
    {
        std::thread::sleep(Duration::from_millis(50));
        info = client.policy(&info.key)?;
    }
    print(global, &info);
    Ok(())
}

pub(super) fn history(global: &Global, key: &str) -> Result<(), CommandError> {
    print(global, &global.client()?.policy(key)?);
    Ok(())
}

fn print(global: &Global, info: &PolicyInfo) {
    let frozen = if info.frozen { ", FROZEN" } else { "" };
    let mut text = format!(
        "key      {} ({})\npolicy   version {}, hash {}{frozen}\n",
        info.name, info.key, info.version, info.policy_hash
    );
    if let Some(next) = &info.next_policy {
        text.push_str(&format!("next     version {}, due {}", next.version, moment_text(next.due)));
        if let Some(problem) = &next.problem {
            text.push_str(&format!(": {problem}"));
        }
        text.push('\n');
    }
    if let Some(problem) = &info.problem {
        text.push_str(&format!("problem  {problem}\n"));
    }
    if info.controllers.is_none() {
        text.push_str("nobody can change this policy\n");
    }
    text.push_str("\nnumber  action    seen                  in force              signed by\n");
    info.history.iter().for_each(|change| text.push_str(&change_line(change)));
    text.push_str("\nparty  version  seen  freezes\n");
    info.parties.iter().for_each(|party| text.push_str(&party_line(party)));
    global.print(&serde_json::to_value(info).unwrap_or_default(), &text);
}

fn change_line(change: &ChangeInfo) -> String {
    let in_force = match change.in_force {
        Some(at) => moment_text(at),
        None => format!("({})", moment_text(change.due)),
    };
    let signers = change.signers.join(", ");
    let (number, action, seen) = (change.number, &change.action, moment_text(change.seen));
    format!("{number:>6}  {action:<8}  {seen:<20}  {in_force:<20}  {signers}\n")
}

fn party_line(party: &PartyPolicy) -> String {
    let number = |number: Option<u32>| number.map_or("?".to_owned(), |number| number.to_string());
    let away = if party.connected { "" } else { "  (not connected)" };
    format!(
        "{:>5}  {:>7}  {:>4}  {:>7}{away}\n",
        party.party,
        number(party.version),
        number(party.announced),
        number(party.holds)
    )
}
