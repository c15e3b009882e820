//! `quorate hsm clear-pin`: one more try for a PIN that is held.

use quorate_hsm::pkcs11::PinGuard;
use serde_json::json;

use super::super::{CommandError, Global};
use crate::sealing::SealingError;

/// Also for a folder that is no node yet: a refused PIN may be why.
pub(super) fn clear_pin(global: &Global) -> Result<(), CommandError> {
    let place = global.place();
    if !place.path().is_dir() {
        let what = format!("{} is no folder; name a node's with --folder", place.path().display());
        return Err(CommandError::Usage(what));
    }
    let held = PinGuard::new(place.path(), "").clear().map_err(SealingError::Hsm)?;
    let next = "each wrong PIN counts in the token, which locks after a few: be sure that the PIN is right before you start the node or run `quorate hsm status`";
    let what = match held {
        true => "the PIN was held and may be tried once more",
        false => "the PIN was not held; nothing was changed that matters",
    };
    global.print(&json!({ "was_held": held, "next": next }), &format!("{what}\n{next}"));
    Ok(())
}
