//! Making a node's objects in a device, as the administrator: the KEK, the identity key, and two
//! authentication keys that can do only what a node and an auditor need.

use std::sync::Arc;

use yubihsm::device::ErrorKind as Refusal;
use yubihsm::object::{Origin, Type};
use yubihsm::{Algorithm, Capability, Client, Domain, asymmetric, authentication};

use super::about::identify;
use super::link::{Failure, Link, Repeat};
use super::maker::Maker;
use super::objects::{self, name};
use super::{AuditDrain, Config, Endpoint, Password, YubiHsmProtector, YubiHsmSigner};
use crate::codec::hex;
use crate::protector::{canary_aad, canary_value, random};
use crate::{HsmError, HsmSigner, KekReference, KeyProtector, Profile, PublicKey};

/// What [`provision`] is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the node will use: device, its authentication key, its KEK.
    pub config: Config,
    /// The node's domain in the device, 1 to 16: one of its own.
    pub domain: u8,
    /// The node's identity key.
    pub identity_key: u16,
    /// The auditor's authentication key.
    pub auditor: u16,
}

/// The administrator's way in.
#[derive(Debug)]
pub struct Administrator {
    /// The authentication key.
    pub auth_key: u16,
    /// Its password.
    pub password: Password,
}

/// What [`provision`] made. Keep the configuration and the canary; show the report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Provisioned {
    /// As given.
    pub config: Config,
    /// The new KEK.
    pub kek: KekReference,
    /// A wrapped DEK that tells whether the KEK works; not secret.
    pub canary: Vec<u8>,
    /// The new identity key.
    pub identity: PublicKey,
    /// Lines for people: what was made, read back and checked.
    pub report: Vec<String>,
    /// Lines for people, louder: what is not protected.
    pub warnings: Vec<String>,
}

/// Makes the objects of a [`Plan`] and proves that they work. Existing objects are left alone; what was
/// made is removed again if anything fails.
///
/// # Errors
/// [`HsmError::ObjectsExist`] if an identifier is in use, before anything is made;
/// [`HsmError::LeftOver`] if it failed and could not clean up, with what is left;
/// [`HsmError::Denied`] if the administrator's key lacks a capability;
/// [`HsmError::Auth`] and others as [`YubiHsmProtector::open`].
pub fn provision(
    plan: Plan,
    administrator: &Administrator,
    node: &Password,
    auditor: &Password,
) -> Result<Provisioned, HsmError> {
    let kek = plan.config.kek()?;
    let domain = Domain::at(usize::from(plan.domain)).map_err(|_| HsmError::Unsupported {
        what: format!("domain {}: a YubiHSM has 1 to 16", plan.domain),
    })?;
    if plan.auditor == plan.config.auth_key {
        let what = "one authentication key for node and auditor".to_owned();
        return Err(HsmError::Unsupported { what });
    }
    let endpoint = Endpoint::of(&plan.config)?;
    let link = Link::to(endpoint, administrator.auth_key, &administrator.password);
    let mut run = [0; 4];
    random(&mut run)?;
    let mut maker = Maker::new(link, domain, hex(&run));
    maker.nothing_is_there(&wanted(&plan)?)?;
    let built = make_all(&mut maker, &plan, node, auditor)
        .and_then(|()| prove(&mut maker, &plan, &kek, node, auditor));
    match built {
        Ok((canary, identity)) => {
            let warnings = warnings(&maker.link, plan.config.profile, administrator.auth_key);
            let report = maker.report;
            Ok(Provisioned { config: plan.config, kek, canary, identity, report, warnings })
        }
        Err(cause) => Err(maker.undo(cause)),
    }
}

fn wanted(plan: &Plan) -> Result<[(Type, u16); 4], HsmError> {
    let Plan { config, identity_key, auditor, .. } = plan;
    Ok([
        (objects::kek_type(config.profile)?, config.key_id),
        (Type::AsymmetricKey, *identity_key),
        (Type::AuthenticationKey, config.auth_key),
        (Type::AuthenticationKey, *auditor),
    ])
}

fn make_all(
    maker: &mut Maker,
    plan: &Plan,
    node: &Password,
    auditor: &Password,
) -> Result<(), HsmError> {
    let Plan { config, identity_key, auditor: auditor_id, .. } = plan;
    maker.make_kek(config)?;
    let (label, domains) = (maker.label("quorate identity"), maker.domains);
    maker.make(Type::AsymmetricKey, *identity_key, |client| {
        let (may, algorithm) = (Capability::SIGN_ECDSA, asymmetric::Algorithm::EcP256);
        client.generate_asymmetric_key(*identity_key, label.clone(), domains, may, algorithm)
    })?;
    let key = |password: &Password| {
        authentication::Key::derive_from_password(password.expose().as_bytes())
    };
    let may = objects::node_capabilities(config.profile);
    maker.make_auth_key(config.auth_key, objects::NODE_LABEL, may, &key(node))?;
    let may = Capability::GET_LOG_ENTRIES;
    maker.make_auth_key(*auditor_id, "quorate auditor", may, &key(auditor))
}

/// Reads back what the device made, and uses it as node and auditor will.
fn prove(
    maker: &mut Maker,
    plan: &Plan,
    kek: &KekReference,
    node: &Password,
    auditor: &Password,
) -> Result<(Vec<u8>, PublicKey), HsmError> {
    let Plan { config, identity_key, auditor: auditor_id, .. } = plan;
    let connector = maker.link.endpoint().connector();
    let about = identify(&connector)
        .or_else(|_| identify(&connector))
        .map_err(|reason| HsmError::Unavailable { reason })?;
    let [major, minor, patch] = about.firmware;
    let endpoint = maker.link.endpoint();
    let line = format!("{endpoint}, firmware {major}.{minor}.{patch}, domain {}", plan.domain);
    maker.report.push(line);
    maker.read_back_kek(config)?;
    let (kind, id) = (Type::AsymmetricKey, *identity_key);
    let info = objects::read(&maker.link, kind, id)?;
    let p256 = Algorithm::Asymmetric(asymmetric::Algorithm::EcP256);
    maker.read_back(&name(kind, id), &info, Capability::SIGN_ECDSA, p256, Origin::Generated)?;
    maker.read_back_auth_key(config.auth_key, objects::node_capabilities(config.profile))?;
    maker.read_back_auth_key(*auditor_id, Capability::GET_LOG_ENTRIES)?;
    let link = Link::to(Endpoint::of(config)?, config.auth_key, node);
    let canary = prove_node(config, kek, link)?;
    maker.report.push(PROVED.to_owned());
    let signer = YubiHsmSigner::open(config, *identity_key, node)?;
    signer.sign(b"quorate provisioning")?;
    maker
        .report
        .push(format!("identity key {}: it signs, and the signature verifies", signer.public()));
    AuditDrain::open(config, *auditor_id, auditor)?;
    maker.report.push("checked as the auditor: reads the log".to_owned());
    Ok((canary, signer.public()))
}

/// What [`prove_node`] has tried.
pub(super) const PROVED: &str = "checked as the node: round trip, other associated data refused, altered ciphertext refused; reading the log refused, deleting the KEK refused";

/// What is not protected, or could not be found out.
pub(super) fn warnings(link: &Link, profile: Profile, administrator: u16) -> Vec<String> {
    let mut warnings = vec![
        format!(
            "whoever holds authentication key 0x{administrator:04x} can delete the KEK, and with it every share sealed under it, and can make itself a key that unwraps: take it offline"
        ),
        "nobody has a backup of the KEK, and it cannot leave the device: if the device dies, so does this share".to_owned(),
        "whoever has the node's password and reaches the connector can unwrap and sign as the node"
            .to_owned(),
    ];
    let default = objects::read(link, Type::AuthenticationKey, 1);
    match default {
        Ok(_) => warnings.insert(0, "AUTHENTICATION KEY 1 IS STILL THERE: with the factory's password, which everybody knows, anybody who reaches the connector owns this device; delete it, or change its password".to_owned()),
        Err(HsmError::KeyMissing { .. }) => {}
        Err(error) => warnings.push(format!("cannot tell whether authentication key 1 is still there: {error}")),
    }
    match link.ask("read", "the option force-audit", Client::get_force_audit_option) {
        Ok(yubihsm::AuditOption::Off) => warnings.push("force-audit is off: when its log is full, the device goes on and overwrites the oldest entries".to_owned()),
        Ok(_) => warnings.push(format!("force-audit is on: {} stops when 62 entries are not drained", link.endpoint())),
        Err(error) => warnings.push(format!("cannot tell whether force-audit is on: {error}")),
    }
    if profile == Profile::HmacKdf {
        warnings.push(
            "the KEK is an HMAC key: the keys that it derives pass through this host's memory"
                .to_owned(),
        );
    }
    warnings
}

/// The KEK works, binds, and the node's key cannot do what it must not. Returns the canary.
pub(super) fn prove_node(
    config: &Config,
    kek: &KekReference,
    link: Arc<Link>,
) -> Result<Vec<u8>, HsmError> {
    let unsupported = |what: &str| HsmError::Unsupported { what: what.to_owned() };
    let (profile, key) = (config.profile, config.key_id);
    let kind = objects::kek_type(profile)?;
    let mut protector = YubiHsmProtector::unproven(config.clone(), link)?;
    objects::check_node(&protector.link, config.auth_key)?;
    let aad = canary_aad(profile, kek)?;
    protector.canary = protector.wrap(&canary_value(profile, kek)?, &aad)?;
    protector.health()?;
    let mut altered = protector.canary.clone();
    if let Some(byte) = altered.last_mut() {
        *byte ^= 1;
    }
    if protector.unwrap(&altered, &aad).is_ok() {
        return Err(unsupported("the device ignores an altered ciphertext"));
    }
    if protector.unwrap(&protector.canary, b"other").is_ok() {
        return Err(unsupported("the device ignores associated data"));
    }
    // Tried, not only read: nothing is sealed yet that a deletion could take along.
    let link = &protector.link;
    let denied = |outcome: Result<(), Failure>, what: &str| match outcome {
        Err(Failure::Refused(Refusal::InsufficientPermissions)) => Ok(()),
        Err(Failure::Error(error)) => Err(error),
        _ => Err(unsupported(&format!("the device lets the node's key {what}"))),
    };
    let outcome = link.call(Repeat::Once, |client| client.get_log_entries().map(drop));
    denied(outcome, "read the audit log")?;
    let outcome = link.call(Repeat::Once, |client| client.delete_object(key, kind));
    denied(outcome, "delete the KEK")?;
    Ok(protector.canary)
}
