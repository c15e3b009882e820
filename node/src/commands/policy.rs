//! `quorate policy`: policies before they guard a key, and who changes them then.

pub(super) mod ownership;

mod simulate;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use quorate_core::policy::Policy;
use serde_json::{Value, json};

use super::{CommandError, Global};
use crate::policy_file::{self, PolicyBytes, PolicyFileError};

#[derive(Subcommand, Debug)]
pub(super) enum PolicyVerb {
    /// Check a policy file: mistakes with their JSON path, and what it may allow unmeant
    Lint {
        /// The policy file (JSON)
        file: PathBuf,
        /// Fail on doubts too, not on mistakes alone
        #[arg(long)]
        strict: bool,
    },
    /// Say in plain sentences what a policy allows
    Explain {
        /// The policy file (JSON); instead of it, --key
        #[arg(required_unless_present = "key", conflicts_with = "key")]
        file: Option<PathBuf>,
        /// The policy of this key of the running node, by name or id
        #[arg(long)]
        key: Option<String>,
    },
    /// Print the JSON schema of policy files, for editors and other tools
    Schema,
    /// Judge a request as a party would, without its counters, and show each step
    Simulate(simulate::Simulation),
    /// Make a change for a key's controllers to sign: a new policy, a freeze, or a key in their name
    Propose(ownership::ProposeArgs),
    /// Sign a proposed change as a controller: its file gets one signature more
    Approve {
        /// The change, as `quorate policy propose` made it
        file: PathBuf,
        /// The file with the controller's secret key, made by `quorate client new`
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Send a signed change to the parties, and show when it takes effect at each
    Set {
        /// The change, signed by enough controllers
        file: PathBuf,
    },
    /// Show all versions of a key's policy, its freezes, and how it stands at each party
    History {
        /// The key, by name or id
        key: String,
    },
}

fn moment(text: &str) -> Result<u64, String> {
    let value = text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
    policy_file::moment(&value).ok_or_else(|| "no time (try 2027-01-31T12:00:00Z)".to_owned())
}

pub(super) fn policy(global: &Global, verb: &PolicyVerb) -> Result<(), CommandError> {
    match verb {
        PolicyVerb::Lint { file, strict } => lint(global, file, *strict),
        PolicyVerb::Explain { file, key } => explain(global, file.as_deref(), key.as_deref()),
        PolicyVerb::Schema => schema(global),
        PolicyVerb::Simulate(simulation) => simulate::simulate(global, simulation),
        PolicyVerb::Propose(args) => ownership::propose(global, args),
        PolicyVerb::Approve { file, key } => ownership::approve(global, file, key),
        PolicyVerb::Set { file } => ownership::set(global, file),
        PolicyVerb::History { key } => ownership::history(global, key),
    }
}

fn schema(global: &Global) -> Result<(), CommandError> {
    let schema = serde_json::from_str(policy_file::SCHEMA)
        .map_err(|error| CommandError::local("reading the schema", error))?;
    global.print(&schema, policy_file::SCHEMA);
    Ok(())
}

/// A policy file, read and checked.
pub(super) fn read(file: &Path) -> Result<PolicyBytes, CommandError> {
    let text = std::fs::read_to_string(file).map_err(|error| PolicyFileError {
        field: file.display().to_string(),
        what: error.to_string(),
    })?;
    Ok(policy_file::parse(&text)?)
}

fn parsed(bytes: &PolicyBytes) -> Result<Policy<'_>, CommandError> {
    Policy::parse(bytes.as_slice())
        .map_err(|error| CommandError::local("reading what was compiled", error))
}

fn lint(global: &Global, file: &Path, strict: bool) -> Result<(), CommandError> {
    let bytes = read(file)?;
    let policy = parsed(&bytes)?;
    let doubts = policy_file::lint(&policy);
    let count = doubts.len();
    let object = json!({
        "hash": hex::encode(policy.hash()),
        "bytes": bytes.as_slice().len(),
        "doubts": doubts.iter().map(|doubt| json!({
            "field": doubt.field, "code": doubt.code, "what": doubt.what,
        })).collect::<Vec<_>>(),
    });
    let mut text = format!(
        "well formed: {} bytes, hash {}\n",
        bytes.as_slice().len(),
        hex::encode(policy.hash())
    );
    for doubt in doubts {
        text.push_str(&format!("{}: {} ({})\n", doubt.field, doubt.what, doubt.code));
    }
    global.print(&object, &text);
    if strict && count > 0 {
        let what = format!("{count} doubts, and --strict");
        return Err(PolicyFileError { field: file.display().to_string(), what }.into());
    }
    Ok(())
}

fn explain(global: &Global, file: Option<&Path>, key: Option<&str>) -> Result<(), CommandError> {
    let bytes = match (file, key) {
        (Some(file), _) => read(file)?,
        (None, Some(key)) => {
            let shown = global.client()?.show_key(key)?;
            policy_file::from_json(&shown.policy.unwrap_or_default())?
        }
        (None, None) => {
            return Err(CommandError::Usage("a policy file or --key is missing".into()));
        }
    };
    let policy = parsed(&bytes)?;
    let text = policy_file::explain(&policy);
    let lines: Vec<&str> = text.lines().collect();
    global.print(&json!({ "hash": hex::encode(policy.hash()), "sentences": lines }), &text);
    Ok(())
}
