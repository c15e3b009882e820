//! `quorate identity`: who this node is.

use serde_json::json;

use super::{CommandError, Global};

pub(super) fn identity(global: &Global) -> Result<(), CommandError> {
    let config = global.config()?;
    let (party, name, identity, listen) =
        (config.party, &config.name, config.identity, config.listen);
    let member = format!("{party},{name},{identity},{listen}");
    let object = json!({
        "party": party, "name": name, "identity": identity.to_string(), "member": member,
    });
    let text = format!(
        "party     {party} ({name})\nidentity  {identity}\nfor the membership file (put in the address that others reach it at):\n  --member {member}"
    );
    global.print(&object, &text);
    Ok(())
}
