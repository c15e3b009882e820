//! Naming a PKCS#11 token on the command line.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate_hsm::pkcs11::{Location, Pin, TokenSelector, Uri};

use super::super::{CommandError, Global};
use crate::sealing::{SealingError, guarded_pin, pin};

#[derive(Args, Debug)]
pub(in crate::commands) struct TokenArgs {
    /// The PKCS#11 library
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// The token's label
    #[arg(long, value_name = "LABEL", conflicts_with_all = ["token_serial", "uri"])]
    token: Option<String>,
    /// The token's serial number, instead of its label
    #[arg(long, value_name = "SERIAL", conflicts_with = "uri")]
    token_serial: Option<String>,
    /// Token, library and key id as a PKCS#11 URI (RFC 7512), instead of the options for each; no PIN in it
    #[arg(long, value_name = "URI")]
    uri: Option<String>,
    /// A file with the PIN or password, readable by you alone; without it a credential quorate-pin of
    /// systemd is taken, or you are asked
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

impl TokenArgs {
    fn parsed(&self) -> Result<Option<Uri>, CommandError> {
        let read = |text: &String| text.parse::<Uri>();
        let parsed = self.uri.as_ref().map(read).transpose();
        parsed.map_err(|error| CommandError::Usage(format!("--uri: {error}")))
    }

    /// Library and token.
    pub(in crate::commands) fn location(&self) -> Result<Location, CommandError> {
        let usage = |what: &str| CommandError::Usage(what.to_owned());
        if let Some(uri) = self.parsed()? {
            return uri
                .location(self.module.clone())
                .map_err(|error| CommandError::Usage(format!("--uri: {error}")));
        }
        let token = match (&self.token, &self.token_serial) {
            (Some(label), _) => TokenSelector::Label(label.clone()),
            (None, Some(serial)) => TokenSelector::Serial(serial.clone()),
            (None, None) => return Err(usage("name the token: --token, --token-serial or --uri")),
        };
        let module = self.module.clone();
        let module = module.ok_or_else(|| usage("name the PKCS#11 library: --module"))?;
        Ok(Location { module, token })
    }

    /// The key id that the URI names.
    pub(in crate::commands) fn key_id(&self) -> Result<Option<Vec<u8>>, CommandError> {
        Ok(self.parsed()?.and_then(|uri| uri.key_id))
    }

    /// The PIN file as the node will look for it: it may be named from here, but the node looks from its
    /// folder.
    pub(in crate::commands) fn pin_file(&self) -> Result<Option<PathBuf>, CommandError> {
        let absolute = |path: &PathBuf| std::path::absolute(path);
        let path = self.pin_file.as_ref().map(absolute).transpose();
        path.map_err(|error| CommandError::local("the PIN file's path", error))
    }

    /// The PIN for one command: under the guard of this node's folder if there is one.
    pub(super) fn pin(&self, global: &Global) -> Result<Pin, SealingError> {
        let (place, file): (_, Option<&Path>) = (global.place(), self.pin_file.as_deref());
        if place.path().is_dir() { guarded_pin(&place, file) } else { pin(file) }
    }
}
