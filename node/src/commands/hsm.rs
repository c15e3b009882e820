//! `quorate hsm`: what an operator does about the HSM itself.

mod audit_drain;
mod backup_plan;
mod clear_pin;
mod discard;
mod guided;
mod probe;
mod rotate;
mod status;
mod token;

use clap::Subcommand;
use quorate_hsm::Profile;

use super::{CommandError, Global};
pub(super) use token::TokenArgs;

/// `hsm …`
#[derive(Subcommand, Debug)]
pub(super) enum HsmVerb {
    /// Try what a PKCS#11 token can really do, before a node is made with it, or see which YubiHSM is there; no
    /// folder is needed
    Probe(probe::ProbeArgs),
    /// Try this folder's HSM: does its key open what was sealed, does the identity sign
    Status,
    /// Say what must be backed up with the HSM's own tools, and what its loss would mean
    BackupPlan,
    /// Allow one more try of a PIN that was refused, once it is corrected
    ClearPin,
    /// Destroy the keys that a cut-off `quorate init` left in a PKCS#11 token
    Discard(discard::DiscardArgs),
    /// Take a YubiHSM's own log into this party's audit log; the node may run
    AuditDrain(audit_drain::DrainArgs),
    /// Put everything sealed under a new key-encryption key; the node must not run
    RotateKek(rotate::RotateArgs),
    /// Destroy a key-encryption key that nothing in this folder needs any more
    DestroyKek(rotate::DestroyArgs),
    /// Make a node and its keys in an HSM, question by question: `quorate init` for people at a terminal
    Init(guided::GuidedArgs),
}

pub(super) fn hsm(global: &Global, verb: &HsmVerb) -> Result<(), CommandError> {
    match verb {
        HsmVerb::Probe(args) => probe::probe(global, args),
        HsmVerb::Status => status::status(global),
        HsmVerb::BackupPlan => backup_plan::backup_plan(global),
        HsmVerb::ClearPin => clear_pin::clear_pin(global),
        HsmVerb::Discard(args) => discard::discard(global, args),
        HsmVerb::AuditDrain(args) => audit_drain::audit_drain(global, args),
        HsmVerb::RotateKek(args) => rotate::rotate(global, args),
        HsmVerb::DestroyKek(args) => rotate::destroy(global, args),
        HsmVerb::Init(args) => guided::init(global, args),
    }
}

/// Lines under a heading, or nothing at all.
fn listed(heading: &str, lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("\n  - {line}")).collect();
    if lines.is_empty() { lines } else { format!("\n{heading}{lines}") }
}

/// The profile as the configuration writes it.
fn profile_name(profile: Profile) -> String {
    serde_json::json!(profile).as_str().unwrap_or_default().to_owned()
}
