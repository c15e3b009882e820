//! `quorate key`: make keys and look at them.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use super::derivation::DerivationArgs;
use super::{CommandError, Global};
use crate::handle::KeyInfo;
use crate::policy_file::{self, PolicyFileError};

#[derive(Subcommand, Debug)]
pub(super) enum KeyVerb {
    /// Generate a key among the parties; all must be online
    Create {
        /// Its name
        #[arg(long)]
        name: String,
        /// T: any T shares are the key, and 2T-1 parties sign
        #[arg(long, short)]
        threshold: u8,
        /// The holders, by identifier: `1,2,3,4`; all parties if left out
        #[arg(long, value_delimiter = ',')]
        parties: Vec<u16>,
        /// The policy file (JSON): who may ask for what
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// What the policy's controllers have signed for this name and policy
        #[arg(long, value_name = "FILE")]
        approval: Option<PathBuf>,
    },
    /// List all keys
    List,
    /// Show one key
    Show {
        /// Its name or id
        key: String,
        #[command(flatten)]
        descendant: DerivationArgs,
    },
}

pub(super) fn key(global: &Global, verb: &KeyVerb) -> Result<(), CommandError> {
    match verb {
        KeyVerb::Create { name, threshold, parties, policy, approval } => {
            let unreadable =
                |what: String| PolicyFileError { field: policy.display().to_string(), what };
            let text = std::fs::read_to_string(policy).map_err(|e| unreadable(e.to_string()))?;
            // Checked here, so that a mistake is a mistake in the file and not a refusal of the node.
            policy_file::parse(&text)?;
            let policy: Value =
                serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
            if !global.json {
                use std::io::Write as _;
                // A reader that went away is no error of ours.
                let _ = writeln!(
                    std::io::stdout(),
                    "generating key {name}: every party deals, checks, seals and confirms …"
                );
            }
            let approval = approval.as_deref().map(super::policy::ownership::read).transpose()?;
            let made = global.operator()?.create_controlled_key(
                name,
                *threshold,
                parties,
                &policy,
                approval.as_deref().unwrap_or_default(),
            )?;
            show(global, &made, None);
        }
        KeyVerb::Show { key, descendant } => {
            let key = global.client()?.show_key(key)?;
            show(global, &key, descendant.of(&key)?);
        }
        KeyVerb::List => list(global, &global.client()?.list_keys()?),
    }
    Ok(())
}

/// The key, and the descendant that was asked for.
fn show(global: &Global, key: &KeyInfo, derived: Option<Value>) {
    let mut object = serde_json::to_value(key).unwrap_or_default();
    let text_of = |field: &str| {
        let value = derived.as_ref().and_then(|derived| derived.get(field));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let descendant = match &derived {
        Some(_) => format!(
            "derived   {}\n public   {}\n address  {}\n",
            text_of("derivation"),
            text_of("public_key"),
            text_of("address"),
        ),
        None => String::new(),
    };
    let parties: Vec<String> = key.parties.iter().map(ToString::to_string).collect();
    let policy = key.policy.as_ref().map(|policy| format!("{policy:#}")).unwrap_or_default();
    let text = format!(
        "key       {} ({}), {}\nscheme    {}\npublic    {}\naddress   {}\nxpub      {}\n{descendant}parties   {}: any {} shares are the key, {} parties sign\nepoch     {}\npolicy    version {}, {}{}\n{policy}",
        key.name,
        key.key,
        key.state,
        key.scheme,
        key.public_key,
        key.address,
        key.xpub.as_deref().unwrap_or("none: this scheme has no paths"),
        parties.join(", "),
        key.threshold,
        key.quorum,
        key.epoch,
        key.policy_version,
        key.policy_hash,
        standing(key),
    );
    if let (Some(fields), Some(derived)) = (object.as_object_mut(), derived) {
        fields.insert("derived".to_owned(), derived);
    }
    global.print(&object, &text);
}

/// What an operator must know of the policy, besides what it says.
fn standing(key: &KeyInfo) -> String {
    let mut text = if key.frozen {
        "\nFROZEN by its controllers: nothing is signed".into()
    } else {
        String::new()
    };
    if let Some(next) = &key.next_policy {
        let due = policy_file::moment_text(next.due);
        text.push_str(&format!("\nversion {} is due {due}", next.version));
        if let Some(problem) = &next.problem {
            text.push_str(&format!(": {problem}"));
        }
    }
    if let Some(problem) = &key.policy_problem {
        text.push_str(&format!("\nnothing is signed here: {problem}"));
    }
    text
}

fn list(global: &Global, keys: &[KeyInfo]) {
    let object = serde_json::json!({ "keys": keys });
    let line =
        |key: &KeyInfo| format!("{}  {:<8} {}  {}", key.key, key.state, key.address, key.name);
    let lines: Vec<String> = keys.iter().map(line).collect();
    let text = if lines.is_empty() { "no keys yet".to_owned() } else { lines.join("\n") };
    global.print(&object, &text);
}
