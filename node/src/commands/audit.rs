//! `quorate audit`: this party's log, checked, shown and exported. It is read from the store, or from the
//! running node that has the store open.

mod export;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quorate_core::party::PartyId;
use serde_json::json;

use super::{CommandError, Global};
use crate::audit::{
    AuditError, Check, Checked, Countersigned, CountersignedForm, ExportLine, HeadForm, Page,
    Whose, are_of_generation, page,
};
use crate::client::Client;
use crate::clock::utc;
use crate::config::ConfigError;
use crate::identity::IdentityPublic;
use crate::membership::Membership;
use crate::store::{Store, StoreError};

#[derive(Subcommand, Debug)]
pub(super) enum AuditVerb {
    /// Check the whole log, and the newest head that the identity key signed against it
    Verify(VerifyArgs),
    /// Show entries, a line each; they are not checked
    Show(show::ShowArgs),
    /// Check the log and write it to a file that an auditor can check alone
    Export {
        /// Where to; it must not exist
        file: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// Check this export instead, without any node or folder
    #[arg(long, value_name = "FILE", requires = "identity")]
    file: Option<PathBuf>,
    /// Who must have signed it, as the membership file has it: `ed25519:…` or `p256:…`
    #[arg(long, requires = "file")]
    identity: Option<IdentityPublic>,
    /// Whose countersignatures count: the group's membership file. Without it, those whom the export names
    #[arg(long, value_name = "FILE", requires = "file")]
    membership: Option<PathBuf>,
}

pub(super) fn audit(global: &Global, verb: &AuditVerb) -> Result<(), CommandError> {
    match verb {
        AuditVerb::Verify(VerifyArgs {
            file: Some(file),
            identity: Some(identity),
            membership,
        }) => {
            let group = membership.as_deref().map(Membership::load).transpose()?;
            let (checked, whose) = export::verify(file, *identity, group.as_ref())?;
            report(global, &checked, &whose, None);
            Ok(())
        }
        AuditVerb::Verify(_) => {
            let source = Source::open(global)?;
            let checked = source.walk(|_| Ok(()))?;
            report(global, &checked, &source.whose, None);
            Ok(())
        }
        AuditVerb::Show(args) => show::show(global, args),
        AuditVerb::Export { file } => {
            let source = Source::open(global)?;
            let checked = export::write(&source, file)?;
            report(global, &checked, &source.whose, Some(file));
            Ok(())
        }
    }
}

fn report(global: &Global, checked: &Checked, whose: &Whose, file: Option<&PathBuf>) {
    let signed = checked.signed.as_ref().map(|head| HeadForm::new(head, whose));
    let countersigned: Vec<_> =
        checked.countersigned.iter().map(|one| CountersignedForm::new(one, whose)).collect();
    let object = json!({
        "party": whose.party.number(), "entries": checked.entries,
        "hash": hex::encode(checked.hash), "signed_head": signed, "countersigned": countersigned, "file": file,
    });
    let (entries, hash) = (checked.entries, hex::encode(checked.hash));
    let mut text = format!("the chain is whole: {entries} entries, the last has hash {hash}\n");
    text.push_str(&match &checked.signed {
        Some(head) => {
            let (number, time, after) = (head.number, utc(head.time), entries - head.number);
            let (party, identity) = (whose.party, whose.identity);
            format!(
                "party {party}, {identity}, signed its head at entry {number}, on {time}; entries after \
                 it, which nobody has signed yet: {after}"
            )
        }
        None => "its identity key has signed no head yet: who can write the store could have written \
                 all of it"
            .to_owned(),
    });
    for one in &checked.countersigned {
        let (witness, identity, time) = (one.given.witness(), one.identity, utc(one.given.time));
        let number = one.given.head.number;
        text.push_str(&format!(
            "\nparty {witness}, {identity}, countersigned the head at entry {number}, on {time}"
        ));
    }
    if checked.signed.is_some() && checked.countersigned.is_empty() {
        text.push_str("\nno other party has countersigned a head: its own operator could have signed another log");
    }
    if let Some(file) = file {
        text.push_str(&format!("\nwritten to {}", file.display()));
    }
    global.print(&object, &text);
}

/// Countersignatures as they came with a log; those of `group` must be by the identities that it names.
fn read_countersigned(
    forms: &[CountersignedForm],
    group: Option<&Membership>,
) -> Result<Vec<Countersigned>, AuditError> {
    let mut all = Vec::new();
    for form in forms {
        let witness = form.witness;
        let one = form.read().ok_or(AuditError::MalformedCountersignature { witness })?;
        // Not whom the log names: whom the reader trusts.
        match group.map(|group| group.identity_of(witness)) {
            None => all.push(one),
            Some(Some(identity)) => all.push(Countersigned { identity: *identity, ..one }),
            // Who is not of the group countersigns nothing.
            Some(None) => {}
        }
    }
    Ok(all)
}

/// Where the log is read from.
enum Place {
    Store(Box<Store>),
    Node(Box<Client>),
}

pub(super) struct Source {
    place: Place,
    whose: Whose,
    group: Membership,
}

impl Source {
    /// The store if nobody has it open, or else the node that has.
    fn open(global: &Global) -> Result<Self, CommandError> {
        let (place, config) = (global.place(), global.config()?);
        let membership = Membership::load(&place.path().join(&config.membership))?;
        let party = PartyId::new(config.party)
            .ok_or(ConfigError::Field { field: "party", what: "must be 1 to 255" })?;
        let whose = Whose { network: membership.network(), party, identity: config.identity };
        if !place.store().exists() {
            let what = format!("{} is not there", place.store().display());
            return Err(CommandError::Local(what));
        }
        let place = match Store::open(&place.store()) {
            Ok(store) => Place::Store(Box::new(store)),
            Err(StoreError::Locked { .. }) => Place::Node(Box::new(global.operator()?)),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { place, whose, group: membership })
    }

    fn page(&self, from: u64) -> Result<Page, CommandError> {
        match &self.place {
            Place::Store(store) => Ok(page(store, &self.whose, &self.group, from)?),
            Place::Node(client) => Ok(client.audit(from)?),
        }
    }

    /// Checks the whole log and shows each page that passed. What a running node adds meanwhile may be
    /// there or not.
    fn walk(
        &self,
        mut passed: impl FnMut(&Page) -> Result<(), CommandError>,
    ) -> Result<Checked, CommandError> {
        // The head comes first: all that it has signed is in the pages that follow.
        let mut page = self.page(0)?;
        let signed = match &page.signed_head {
            Some(form) => Some(form.read().ok_or(AuditError::MalformedHead)?.0),
            None => None,
        };
        let countersigned = read_countersigned(&page.countersigned, Some(&self.group))?;
        are_of_generation(signed.as_ref(), &countersigned, page.generation)?;
        let mut check = Check::new(&self.whose, signed, countersigned)?;
        while !page.entries.is_empty() {
            for form in &page.entries {
                let entry = form.entry().ok_or(AuditError::Altered { entry: form.number })?;
                check.add(&entry)?;
            }
            passed(&page)?;
            page = self.page(check.next())?;
        }
        Ok(check.finish()?)
    }
}
