//! What objects in the device must be, by the device's own word.

use yubihsm::object::{Info, Origin, Type};
use yubihsm::{Algorithm, Capability, hmac, wrap};

use super::Config;
use super::link::Link;
use crate::{HsmError, Profile};

/// What the KEK of a profile is.
pub(super) fn kek_type(profile: Profile) -> Result<Type, HsmError> {
    match profile {
        Profile::WrapData => Ok(Type::WrapKey),
        Profile::HmacKdf => Ok(Type::HmacKey),
        other => Err(HsmError::Unsupported { what: format!("{other} in a YubiHSM") }),
    }
}

/// What a KEK of that profile may do, and nothing else.
pub(super) fn kek_capabilities(profile: Profile) -> Capability {
    match profile {
        Profile::HmacKdf => Capability::SIGN_HMAC,
        _ => Capability::WRAP_DATA | Capability::UNWRAP_DATA,
    }
}

/// What a node's authentication key may do, and nothing else.
pub(super) fn node_capabilities(profile: Profile) -> Capability {
    kek_capabilities(profile) | Capability::SIGN_ECDSA
}

/// A KEK's label begins so, whatever follows.
pub(super) fn kek_label(version: u32) -> String {
    format!("quorate KEK v{version}")
}

/// The label of a node's authentication key begins so.
pub(super) const NODE_LABEL: &str = "quorate node";

pub(super) fn kek_algorithm(profile: Profile) -> Algorithm {
    match profile {
        Profile::HmacKdf => Algorithm::Hmac(hmac::Algorithm::Sha256),
        _ => Algorithm::Wrap(wrap::Algorithm::Aes256Ccm),
    }
}

pub(super) fn name(kind: Type, id: u16) -> String {
    format!("{kind} 0x{id:04x}")
}

/// The names of capabilities, as the vendor's tools have them.
pub(super) fn names(capabilities: Capability) -> String {
    let names: Vec<String> =
        capabilities.iter_names().map(|(name, _)| name.to_lowercase().replace('_', "-")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

pub(super) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Generated => "generated in the device",
        Origin::Imported => "imported: others may have it",
        Origin::WrappedGenerated => "generated in another device, restored from a wrapped backup",
        Origin::WrappedImported => "imported, restored from a wrapped backup: others may have it",
    }
}

/// Refuses a KEK that could leave the device or is used for something else. Returns its origin.
pub(super) fn check_kek(link: &Link, config: &Config) -> Result<&'static str, HsmError> {
    let kind = kek_type(config.profile)?;
    let name = name(kind, config.key_id);
    let info = read(link, kind, config.key_id)?;
    let algorithm = kek_algorithm(config.profile);
    expect(&name, &info, kek_capabilities(config.profile), algorithm)?;
    Ok(origin(info.origin))
}

/// Refuses an authentication key that may do more than a node needs.
pub(super) fn check_node(link: &Link, id: u16) -> Result<(), HsmError> {
    let info = read(link, Type::AuthenticationKey, id)?;
    let allowed = node_capabilities(Profile::WrapData) | node_capabilities(Profile::HmacKdf);
    let surplus = (info.capabilities | info.delegated_capabilities).difference(allowed);
    if surplus.is_empty() {
        return Ok(());
    }
    let name = name(Type::AuthenticationKey, id);
    Err(HsmError::Unsupported {
        what: format!(
            "a node with {name}, which may also: {}; make one with {} only",
            names(surplus),
            names(allowed)
        ),
    })
}

pub(super) fn read(link: &Link, kind: Type, id: u16) -> Result<Info, HsmError> {
    link.ask("read the attributes", &name(kind, id), |client| client.get_object_info(id, kind))
}

/// Exactly these capabilities, none to delegate, that algorithm.
pub(super) fn expect(
    name: &str,
    info: &Info,
    capabilities: Capability,
    algorithm: Algorithm,
) -> Result<(), HsmError> {
    let wrong = |what: String| Err(HsmError::Unsupported { what: format!("{name}: {what}") });
    if info.algorithm != algorithm {
        return wrong(format!("its algorithm is {:?}, not {algorithm:?}", info.algorithm));
    }
    if info.capabilities != capabilities {
        return wrong(format!(
            "it may {}, where {} is needed and nothing else; make a new one",
            names(info.capabilities),
            names(capabilities)
        ));
    }
    if !info.delegated_capabilities.is_empty() {
        return wrong(format!("it delegates {}", names(info.delegated_capabilities)));
    }
    Ok(())
}
