//! The command line. Output is for a person, or with `--json` for a program: one object on standard
//! output, an error as `{"error": …}` on standard error. Exit codes: `docs/EXIT_CODES.md`.

mod audit;
mod client;
mod derivation;
mod device;
mod error;
mod group;
mod hsm;
mod identity;
mod init;
mod key;
mod policy;
mod readmit;
mod request;
mod run;
mod sign;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use zeroize::Zeroizing;

pub use error::CommandError;

use crate::client::Client;
use crate::config::{Config, Folder};

/// One party of a threshold-signing network whose key shares live in hardware.
#[derive(Parser, Debug)]
#[command(name = "quorate", version, about, propagate_version = true, subcommand_required = true)]
#[command(
    after_help = "Exit codes and their meaning: docs/EXIT_CODES.md. Try `quorate demo` first."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Args, Debug)]
struct Global {
    /// This node's folder: configuration, sealed shares, audit log
    #[arg(
        long,
        global = true,
        env = "QUORATE_FOLDER",
        default_value = "quorate",
        value_name = "DIR"
    )]
    folder: PathBuf,
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Make a node: its identity key, its key-encryption key, its configuration
    Init(Box<init::InitArgs>),
    /// Show who this node is, for the membership file
    Identity,
    /// Build or check the membership file, which names every party
    #[command(subcommand)]
    Group(group::GroupVerb),
    /// Run the node
    Run,
    /// Make keys and look at them
    #[command(subcommand)]
    Key(key::KeyVerb),
    /// Check, explain and try policies; change those of keys
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// Look at requests that were kept, and approve them
    #[command(subcommand)]
    Request(request::RequestVerb),
    /// Have an Ethereum transaction, a message or typed data signed
    Sign(Box<sign::SignArgs>),
    /// Make client keys: who may ask for signatures
    #[command(subcommand)]
    Client(client::ClientVerb),
    /// Look at HSMs: what they can do, how this node's is, what to back up; rotate its key
    #[command(subcommand)]
    Hsm(Box<hsm::HsmVerb>),
    /// A device that holds a share: make its identity, let it join a network, see how it stands
    #[command(subcommand)]
    Device(Box<device::DeviceVerb>),
    /// Show how the running node is
    Status,
    /// Check this party's audit log, look at it, hand it to an auditor
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    /// Sign again after this folder was put back to an earlier state, at the price of all limits
    Readmit(readmit::ReadmitArgs),
    /// Four parties on this machine make a key and sign with it
    Demo(crate::demo::DemoArgs),
}

impl Global {
    fn place(&self) -> Folder {
        Folder::new(&self.folder)
    }

    fn config(&self) -> Result<Config, CommandError> {
        Ok(Config::load(&self.place())?)
    }

    /// A client of the node that runs from this folder.
    fn client(&self) -> Result<Client, CommandError> {
        Ok(Client::new(self.config()?.api, None))
    }

    /// The same, with the operator's token.
    fn operator(&self) -> Result<Client, CommandError> {
        let path = self.place().operator_token();
        let token = std::fs::read_to_string(&path).map_err(|error| {
            CommandError::NotAuthorised(format!(
                "the operator token {} cannot be read: {error}",
                path.display()
            ))
        })?;
        let token = Zeroizing::new(token.trim().to_owned());
        Ok(Client::new(self.config()?.api, Some(token)))
    }

    /// Prints a result: the object for programs, the text for people.
    fn print(&self, object: &Value, text: &str) {
        use std::io::Write as _;
        let line = if self.json { object.to_string() } else { text.to_owned() };
        // A reader that went away is no error of ours.
        let _ = writeln!(std::io::stdout(), "{}", line.trim_end());
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { global, verb } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") => {
            let error = CommandError::Usage(error.to_string());
            eprintln!("{}", error.to_json());
            return ExitCode::from(error.exit_code());
        }
        // Help and version end with 0, wrong usage with 2.
        Err(error) => error.exit(),
    };
    // Before any secret is read, whatever the command is.
    let hardened = crate::hardening::harden()
        .map_err(|error| CommandError::local("switching core files off", error));
    let result = hardened.and_then(|()| run_verb(verb, &global));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if global.json {
                eprintln!("{}", error.to_json());
            } else {
                eprintln!("error: {error}");
                eprint!("{}", error.verdict());
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn run_verb(verb: Verb, global: &Global) -> Result<(), CommandError> {
    match verb {
        Verb::Init(args) => init::init(global, &args),
        Verb::Identity => identity::identity(global),
        Verb::Group(verb) => group::group(global, &verb),
        Verb::Run => run::run(global),
        Verb::Key(verb) => key::key(global, &verb),
        Verb::Policy(verb) => policy::policy(global, &verb),
        Verb::Request(verb) => request::request(global, &verb),
        Verb::Sign(args) => sign::sign(global, &args),
        Verb::Client(verb) => client::client(global, &verb),
        Verb::Hsm(verb) => hsm::hsm(global, &verb),
        Verb::Device(verb) => device::device(global, &verb),
        Verb::Status => status::status(global),
        Verb::Audit(verb) => audit::audit(global, &verb),
        Verb::Readmit(args) => readmit::readmit(global, &args),
        Verb::Demo(args) => crate::demo::run(&args, global.json).map_err(CommandError::Demo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
