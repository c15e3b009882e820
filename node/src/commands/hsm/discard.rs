//! `quorate hsm discard`: what a cut-off provisioning left in a token.

use std::path::PathBuf;

use clap::Args;
use quorate_hsm::pkcs11;
use serde_json::json;

use super::super::{CommandError, Global};
use super::{TokenArgs, listed};
use crate::config::{Config, Folder, HsmConfig};
use crate::sealing::{SealingError, where_it_is};

#[derive(Args, Debug)]
pub(in crate::commands) struct DiscardArgs {
    #[command(flatten)]
    token: TokenArgs,
    /// CKA_ID of the keys, hexadecimal: the error of the refused `quorate init` names it
    #[arg(long, value_name = "HEX")]
    key_id: Option<String>,
    /// The folder of another node with this token, whose keys stay; repeat it for each. --folder's stay anyway
    #[arg(long, value_name = "DIR")]
    keep: Vec<PathBuf>,
    /// Really destroy them: whatever was sealed under these keys never opens again. Left out, they are only listed
    #[arg(long)]
    destroy: bool,
}

pub(super) fn discard(global: &Global, args: &DiscardArgs) -> Result<(), CommandError> {
    let location = args.token.location()?;
    let key_id = match &args.key_id {
        Some(text) => Some(
            hex::decode(text)
                .map_err(|_| CommandError::Usage("--key-id must be hexadecimal".into()))?,
        ),
        None => args.token.key_id()?,
    };
    if !args.destroy {
        let listed = pkcs11::list(&location, args.token.pin(global)?).map_err(SealingError::Hsm)?;
        let wanted = |object: &&pkcs11::Listed| key_id.as_ref().is_none_or(|id| *id == object.id);
        return show(global, listed.iter().filter(wanted));
    }
    let key_id = key_id.ok_or_else(|| {
        CommandError::Usage("name the keys: --key-id, or an id in --uri".to_owned())
    })?;
    let kept = kept(global, &args.keep)?;
    let gone = pkcs11::discard(&location, &key_id, &kept, args.token.pin(global)?);
    let gone = gone.map_err(SealingError::Hsm)?;
    let text = match gone.as_slice() {
        [] => "nothing was there under that id".to_owned(),
        some => format!("destroyed{}", listed("", some)),
    };
    global.print(&json!({ "id": hex::encode(key_id), "destroyed": gone }), &text);
    Ok(())
}

fn show<'a>(
    global: &Global,
    found: impl Iterator<Item = &'a pkcs11::Listed>,
) -> Result<(), CommandError> {
    let (mut objects, mut lines) = (Vec::new(), Vec::new());
    for listed in found {
        let id = hex::encode(&listed.id);
        lines.push(format!("{id}  {}", listed.object));
        objects.push(json!({ "id": id, "object": listed.object }));
    }
    let text = format!(
        "{} objects of ours are in this token; nothing was changed{}\nthey may be a working node's: to destroy those of one id, which no node uses, add --key-id and --destroy",
        lines.len(),
        listed("id, object", &lines),
    );
    global.print(&json!({ "destroyed": [], "found": objects }), &text);
    Ok(())
}

/// The keys of all nodes that the operator named. One whose configuration cannot be read stops everything.
fn kept(global: &Global, more: &[PathBuf]) -> Result<Vec<pkcs11::Config>, CommandError> {
    let own = global.place();
    let own = own.config().exists().then_some(own);
    let folders = own.into_iter().chain(more.iter().map(|path| Folder::new(path)));
    let mut kept = Vec::new();
    for folder in folders {
        let config = Config::load(&folder)?;
        if let HsmConfig::Pkcs11 { .. } = &config.hsm {
            kept.push(where_it_is(&config.hsm)?);
        }
    }
    Ok(kept)
}
