//! `quorate policy`: policies before they guard a key, and who changes them then.

pub(super) mod ownership;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::{Facts, Policy};
use quorate_core::request::{ClientKey, SignedRequest};
use serde_json::{Value, json};

use super::{CommandError, Global, request};
use crate::clock::{Clock as _, SystemClock};
use crate::policy_file::{self, PolicyBytes, PolicyFileError, Recorded};

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
    Simulate {
        /// The policy file (JSON)
        file: PathBuf,
        /// The request, as `quorate sign --save-request` keeps it
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// The party's clock: Unix seconds, or like 2027-01-31T12:00:00Z; now if left out
        #[arg(long, value_name = "TIME", value_parser = moment)]
        at: Option<u64>,
        /// Since when the party has had the request on record, for delays; not yet if left out
        #[arg(long, value_name = "TIME", value_parser = moment)]
        known_since: Option<u64>,
        /// Somebody who has vetoed it: `ed25519:…`; several times for several
        #[arg(long, value_name = "KEY", value_parser = vetoer)]
        vetoed_by: Vec<ClientKey>,
        /// Facts that the party would have found out, as docs/POLICY.md has them; none if left out
        #[arg(long, value_name = "FILE")]
        facts: Option<PathBuf>,
        /// The account of the key that would sign, for conditions about $key
        #[arg(long, value_name = "ADDRESS", value_parser = account)]
        account: Option<Address>,
    },
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

fn account(text: &str) -> Result<Address, String> {
    Address::from_hex(text).ok_or_else(|| "no address, or a wrong checksum".to_owned())
}

fn vetoer(text: &str) -> Result<ClientKey, String> {
    policy_file::parse_client(text).ok_or_else(|| "no Ed25519 key".to_owned())
}

fn moment(text: &str) -> Result<u64, String> {
    let value = text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
    policy_file::moment(&value).ok_or_else(|| "no time (try 2027-01-31T12:00:00Z)".to_owned())
}

pub(super) fn policy(global: &Global, verb: &PolicyVerb) -> Result<(), CommandError> {
    match verb {
        PolicyVerb::Lint { file, strict } => lint(global, file, *strict),
        PolicyVerb::Explain { file, key } => explain(global, file.as_deref(), key.as_deref()),
        PolicyVerb::Schema => {
            let schema = serde_json::from_str(policy_file::SCHEMA)
                .map_err(|error| CommandError::local("reading the schema", error))?;
            global.print(&schema, policy_file::SCHEMA);
            Ok(())
        }
        PolicyVerb::Simulate { file, request, at, known_since, vetoed_by, facts, account } => {
            let recorded = facts.as_deref().map(recorded).transpose()?.unwrap_or_default();
            let now = at.unwrap_or_else(|| SystemClock.unix().as_secs());
            let facts = Facts {
                account: *account,
                answers: &recorded,
                known_since: *known_since,
                vetoes: vetoed_by,
                ..Facts::at(now)
            };
            simulate(global, file, request, &facts)
        }
        PolicyVerb::Propose(args) => ownership::propose(global, args),
        PolicyVerb::Approve { file, key } => ownership::approve(global, file, key),
        PolicyVerb::Set { file } => ownership::set(global, file),
        PolicyVerb::History { key } => ownership::history(global, key),
    }
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

/// Facts from a file.
fn recorded(file: &Path) -> Result<Recorded, CommandError> {
    let named = |field: String, what: String| PolicyFileError {
        field: format!("{}: {field}", file.display()),
        what,
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| named("facts".to_owned(), error.to_string()))?;
    let recorded = Recorded::parse(&text).map_err(|error| named(error.field, error.what))?;
    Ok(recorded)
}

fn simulate(
    global: &Global,
    file: &Path,
    request: &Path,
    facts: &Facts<'_>,
) -> Result<(), CommandError> {
    let bytes = read(file)?;
    let policy = parsed(&bytes)?;
    let request = request::read(request)?;
    let request =
        SignedRequest::parse(&request).map_err(|error| CommandError::Usage(error.to_string()))?;
    let verdict = policy_file::judge(&policy, &request, facts);
    let (mut object, mut text) = (verdict.json(), verdict.text());
    if let (Err(_), Some(opens)) = (&verdict.result, policy.opens_at(&request, facts)) {
        object["opens_at"] = opens.into();
        let opens_text = policy_file::moment_text(opens);
        text.push_str(&format!("it waits for delays alone, until {opens_text}\n"));
        if opens >= request.expires() {
            text.push_str("by then it has expired: ask with a later expiry\n");
        }
    }
    global.print(&object, &text);
    Ok(())
}
