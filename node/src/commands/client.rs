//! `quorate client`: keys of those who ask for signatures.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{CommandError, Global};
use crate::client::{client_key_of, new_client_key};
use crate::sealing::write_private;

#[derive(Subcommand, Debug)]
pub(super) enum ClientVerb {
    /// Make a client key; its public half goes into policies
    New {
        /// The file to make; an existing one is never replaced
        file: PathBuf,
    },
    /// Show a client key's public half
    Show {
        /// The key's file
        file: PathBuf,
    },
}

pub(super) fn client(global: &Global, verb: &ClientVerb) -> Result<(), CommandError> {
    let (file, text) = match verb {
        ClientVerb::New { file } => {
            if file.exists() {
                let file = file.display();
                return Err(CommandError::Exists(format!("{file} exists; nothing was changed")));
            }
            let text = new_client_key()?;
            write_private(file, text.as_bytes())?;
            (file, text)
        }
        ClientVerb::Show { file } => (file, read(file)?),
    };
    let public = client_key_of(&text)?.to_string();
    let object = json!({ "client": public, "file": file.display().to_string() });
    global.print(&object, &format!("client {public}\nsecret key in {}", file.display()));
    Ok(())
}

/// The text of a client key's file.
pub(super) fn read(file: &std::path::Path) -> Result<zeroize::Zeroizing<String>, CommandError> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        CommandError::Usage(format!("the client key {} cannot be read: {error}", file.display()))
    })?;
    Ok(zeroize::Zeroizing::new(text))
}
