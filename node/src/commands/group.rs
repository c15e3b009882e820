//! `quorate group`: the membership file.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{CommandError, Global};
use crate::identity::IdentityError;
use crate::membership::{Member, Membership};
use crate::sealing::write_private;

#[derive(Subcommand, Debug)]
pub(super) enum GroupVerb {
    /// Make a membership file with a fresh network id
    New {
        /// The file to make
        file: PathBuf,
        /// One party: `id,name,identity,host:port`, as `quorate identity` prints it; once for each. A party
        /// in a device has a fifth part: the identity of the node that relays for it
        #[arg(long = "member", required = true, value_name = "ID,NAME,IDENTITY,ADDRESS[,RELAY]")]
        members: Vec<String>,
    },
    /// Check a membership file and show what the operators should compare
    Check {
        /// The file
        file: PathBuf,
    },
}

fn member(text: &str) -> Result<Member, CommandError> {
    let wrong = |what: &str| CommandError::Usage(format!("--member {text}: {what}"));
    let parts: Vec<&str> = text.split(',').collect();
    let (id, name, identity, address, relay) = match parts.as_slice() {
        [id, name, identity, address] => (id, name, identity, address, None),
        [id, name, identity, address, relay] => (id, name, identity, address, Some(relay)),
        _ => return Err(wrong("four parts are expected: id,name,identity,host:port")),
    };
    let key = |text: &str| text.parse().map_err(|e: IdentityError| wrong(&e.to_string()));
    Ok(Member {
        id: id.parse().map_err(|_| wrong("the id must be 1 to 255"))?,
        name: (*name).to_owned(),
        identity: key(identity)?,
        address: (*address).to_owned(),
        relay: relay.map(|relay| key(relay)).transpose()?,
    })
}

pub(super) fn group(global: &Global, verb: &GroupVerb) -> Result<(), CommandError> {
    let (membership, file) = match verb {
        GroupVerb::New { file, members } => {
            let members: Result<Vec<_>, _> = members.iter().map(|text| member(text)).collect();
            let membership = Membership::with_random_network(members?)?;
            if file.exists() {
                let file = file.display();
                return Err(CommandError::Exists(format!("{file} exists; nothing was changed")));
            }
            write_private(file, membership.to_toml()?.as_bytes())?;
            (membership, file)
        }
        GroupVerb::Check { file } => (Membership::load(file)?, file),
    };
    let digest = hex::encode(membership.digest());
    let network = hex::encode(membership.network());
    let parties: Vec<_> =
        membership.members().iter().map(|m| serde_json::to_value(m).unwrap_or_default()).collect();
    let lines: Vec<String> = membership
        .members()
        .iter()
        .map(|m| {
            let relay = m.relay.map(|relay| format!("  (a device; relayed by {relay})"));
            let relay = relay.unwrap_or_default();
            format!("  {:>3}  {:<16} {}  {}{relay}", m.id, m.name, m.identity, m.address)
        })
        .collect();
    let object = json!({ "network": network, "digest": digest, "parties": parties });
    let text = format!(
        "{}: {} parties of network {network}\n{}\ndigest {digest}\nEvery operator must see this digest before starting: whoever can change the file can put in a party of their own.",
        file.display(),
        membership.members().len(),
        lines.join("\n"),
    );
    global.print(&object, &text);
    Ok(())
}
