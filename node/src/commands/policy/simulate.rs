//! `quorate policy simulate`: a judgement as a party would make it, with recorded facts or those of now.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::{Confirmation, Facts, Here, Policy, Question};
use quorate_core::request::{ClientKey, SignedRequest};

use super::{moment, parsed, read};
use crate::clock::{Clock as _, SystemClock};
use crate::commands::{CommandError, Global, request};
use crate::config::ConfigError;
use crate::facts::{OwnedQuestion, Sources};
use crate::policy_file::{self, PolicyFileError, Recorded};

#[derive(Args, Debug)]
pub(in crate::commands) struct Simulation {
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
    /// Judge as a device would, without a network; what the person there has said, if anything
    #[arg(long, value_name = "SAID", num_args = 0..=1, default_missing_value = "nothing")]
    #[arg(conflicts_with_all = ["facts", "live"])]
    device: Option<Said>,
    /// Ask the sources in the [facts] of this folder's quorate.toml for what --facts does not have
    #[arg(long)]
    live: bool,
    /// Keep all facts in a file, for --facts
    #[arg(long, value_name = "FILE", requires = "live")]
    record: Option<PathBuf>,
}

/// What the person at a device has said.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Said {
    /// Nobody was asked
    Nothing,
    /// The button was pressed
    Confirmed,
    /// The other button was pressed
    Refused,
}

impl Said {
    fn here(self) -> Here {
        Here::Device(match self {
            Self::Nothing => Confirmation::NotAsked,
            Self::Confirmed => Confirmation::Confirmed,
            Self::Refused => Confirmation::Refused,
        })
    }
}

fn account(text: &str) -> Result<Address, String> {
    Address::from_hex(text).ok_or_else(|| "no address, or a wrong checksum".to_owned())
}

fn vetoer(text: &str) -> Result<ClientKey, String> {
    policy_file::parse_client(text).ok_or_else(|| "no Ed25519 key".to_owned())
}

pub(super) fn simulate(global: &Global, simulation: &Simulation) -> Result<(), CommandError> {
    let Simulation { file, at, account, known_since, vetoed_by, .. } = simulation;
    let bytes = read(file)?;
    let policy = parsed(&bytes)?;
    let request = request::read(&simulation.request)?;
    let request =
        SignedRequest::parse(&request).map_err(|error| CommandError::Usage(error.to_string()))?;
    let mut recorded = simulation.facts.as_deref().map(recorded).transpose()?.unwrap_or_default();
    let now = at.unwrap_or_else(|| SystemClock.unix().as_secs());
    let (account, known_since) = (*account, *known_since);
    let here = simulation.device.map_or(Here::Node, Said::here);
    let facts = Facts { account, known_since, vetoes: vetoed_by, here, ..Facts::at(now) };
    let mut unknown = Vec::new();
    if simulation.live {
        unknown = ask(global, &policy, &request, &facts, &mut recorded)?;
    }
    if let Some(file) = &simulation.record {
        let text = format!("{:#}\n", recorded.to_json());
        std::fs::write(file, text)
            .map_err(|error| CommandError::local(&file.display().to_string(), error))?;
    }
    let facts = Facts { answers: &recorded, ..facts };
    let verdict = policy_file::judge(&policy, &request, &facts);
    let (mut object, mut text) = (verdict.json(), verdict.text());
    if let (Err(_), Some(opens)) = (&verdict.result, policy.opens_at(&request, &facts)) {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("opens_at".to_owned(), opens.into());
        }
        let opens_text = policy_file::moment_text(opens);
        text.push_str(&format!("it waits for delays alone, until {opens_text}\n"));
        if opens >= request.expires() {
            text.push_str("by then it has expired: ask with a later expiry\n");
        }
    }
    if let (Some(_), Some(fields)) = (simulation.device, object.as_object_mut()) {
        let needed = policy.needs_confirmation(&request, &facts);
        fields.insert("needs_confirmation".to_owned(), needed.into());
        if needed {
            text.push_str("the device asks the person before it\n");
        }
    }
    if let (true, Some(fields)) = (simulation.live, object.as_object_mut()) {
        fields.insert("not_found_out".to_owned(), unknown.clone().into());
    }
    for line in unknown {
        text.push_str(&format!("Not found out: {line}\n"));
    }
    global.print(&object, &text);
    Ok(())
}

/// Finds out what is missing, by this node's own sources; returns what they have no answer to, and why.
fn ask(
    global: &Global,
    policy: &Policy<'_>,
    request: &SignedRequest<'_>,
    facts: &Facts<'_>,
    recorded: &mut Recorded,
) -> Result<Vec<String>, CommandError> {
    let config = global.config()?.facts.unwrap_or_default();
    let sources = Sources::new(&config, global.place().path()).map_err(ConfigError::Facts)?;
    let mut questions: Vec<OwnedQuestion> = Vec::new();
    let mut note = |question: &Question<'_>| {
        if questions.iter().all(|own| own.as_question() != *question) {
            questions.push(OwnedQuestion::of(question));
        }
    };
    let facts = Facts { answers: &*recorded, ..*facts };
    policy.questions(request, &facts, &mut note);
    // What a delay holds back asks nothing yet.
    policy.questions(request, &Facts { known_since: Some(0), ..facts }, &mut note);
    let known = sources.fetch(&questions);
    for (question, found) in known.found() {
        recorded.insert(&question.as_question(), &found.answer.as_answer());
    }
    Ok(known.unknown().map(|(question, reason)| format!("{question}: {reason}")).collect())
}

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
