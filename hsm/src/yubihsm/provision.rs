//! Making a node's objects in a device, as the administrator: the KEK, the identity key, and two
//! authentication keys that can do only what a node and an auditor need.

use std::sync::Arc;

use yubihsm::device::ErrorKind as Refusal;
use yubihsm::object::{Info, Label, Origin, Type};
use yubihsm::{Algorithm, Capability, Client, Domain, asymmetric, authentication, hmac, wrap};

use super::link::{Failure, Link, Repeat, identify};
use super::objects::{self, name, names};
use super::{AuditDrain, Config, Endpoint, Password, YubiHsmProtector, YubiHsmSigner};
use crate::codec::hex;
use crate::protector::{canary_aad, canary_value, random};
use crate::{HsmError, HsmSigner, KekReference, KeyProtector, PublicKey};

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
    let mut maker =
        Maker { link, plan: &plan, domain, run: hex(&run), made: Vec::new(), report: Vec::new() };
    maker.nothing_is_there()?;
    let built = maker.make_all(node, auditor).and_then(|()| maker.prove(&kek, node, auditor));
    match built {
        Ok((canary, identity)) => {
            let warnings = maker.warnings(administrator.auth_key);
            let report = maker.report;
            Ok(Provisioned { config: plan.config, kek, canary, identity, report, warnings })
        }
        Err(cause) => Err(maker.undo(cause)),
    }
}

struct Maker<'a> {
    link: Arc<Link>,
    plan: &'a Plan,
    domain: Domain,
    /// Tells the objects of this run from all others.
    run: String,
    /// What was made, or may have been.
    made: Vec<(Type, u16)>,
    report: Vec<String>,
}

impl Maker<'_> {
    fn wanted(&self) -> Result<[(Type, u16); 4], HsmError> {
        let Plan { config, identity_key, auditor, .. } = self.plan;
        Ok([
            (objects::kek_type(config.profile)?, config.key_id),
            (Type::AsymmetricKey, *identity_key),
            (Type::AuthenticationKey, config.auth_key),
            (Type::AuthenticationKey, *auditor),
        ])
    }

    fn nothing_is_there(&self) -> Result<(), HsmError> {
        let mut found = Vec::new();
        for (kind, id) in self.wanted()? {
            match objects::read(&self.link, kind, id) {
                Ok(info) => found.push(format!("{} \"{}\"", name(kind, id), info.label)),
                Err(HsmError::KeyMissing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if found.is_empty() { Ok(()) } else { Err(self.exist(found)) }
    }

    fn exist(&self, objects: Vec<String>) -> HsmError {
        HsmError::ObjectsExist { token: self.link.endpoint().to_string(), objects }
    }

    fn make_all(&mut self, node: &Password, auditor: &Password) -> Result<(), HsmError> {
        let config = &self.plan.config;
        let (kek, domain) = (config.key_id, self.domain);
        let may = objects::kek_capabilities(config.profile);
        let label = self.label(&format!("quorate KEK v{}", config.key_version));
        match objects::kek_type(config.profile)? {
            Type::HmacKey => self.make(Type::HmacKey, kek, |client| {
                let algorithm = hmac::Algorithm::Sha256;
                client.generate_hmac_key(kek, label.clone(), domain, may, algorithm)
            })?,
            _ => self.make(Type::WrapKey, kek, |client| {
                let (delegated, algorithm) = (Capability::empty(), wrap::Algorithm::Aes256Ccm);
                client.generate_wrap_key(kek, label.clone(), domain, may, delegated, algorithm)
            })?,
        }
        let identity = self.plan.identity_key;
        let label = self.label("quorate identity");
        self.make(Type::AsymmetricKey, identity, |client| {
            let (may, algorithm) = (Capability::SIGN_ECDSA, asymmetric::Algorithm::EcP256);
            client.generate_asymmetric_key(identity, label.clone(), domain, may, algorithm)
        })?;
        let may = objects::node_capabilities(config.profile);
        self.make_auth_key(config.auth_key, "quorate node", may, node)?;
        self.make_auth_key(
            self.plan.auditor,
            "quorate auditor",
            Capability::GET_LOG_ENTRIES,
            auditor,
        )
    }

    fn make_auth_key(
        &mut self,
        id: u16,
        label: &str,
        may: Capability,
        password: &Password,
    ) -> Result<(), HsmError> {
        let (label, domain) = (self.label(label), self.domain);
        let key = authentication::Key::derive_from_password(password.expose().as_bytes());
        self.make(Type::AuthenticationKey, id, |client| {
            let (delegated, kind) = (Capability::empty(), authentication::Algorithm::YubicoAes);
            client.put_authentication_key(
                id,
                label.clone(),
                domain,
                may,
                delegated,
                kind,
                key.clone(),
            )
        })
    }

    fn make(
        &mut self,
        kind: Type,
        id: u16,
        command: impl Fn(&Client) -> Result<u16, yubihsm::client::Error>,
    ) -> Result<(), HsmError> {
        // Before asking: the object may be there although the answer was lost.
        self.made.push((kind, id));
        match self.link.call(Repeat::Never, command) {
            Ok(_) => Ok(()),
            Err(Failure::Refused(refusal)) => {
                self.made.pop();
                if refusal == Refusal::ObjectExists {
                    // Outside of the administrator's domains, or this moment.
                    return Err(self.exist(vec![name(kind, id)]));
                }
                Err(self.link.explain(Failure::Refused(refusal), "make", &name(kind, id)))
            }
            Err(failure) => Err(self.link.explain(failure, "make", &name(kind, id))),
        }
    }

    /// At most 40 bytes, which is why the run has 8.
    fn label(&self, what: &str) -> Label {
        let mut text = format!("{what} {}", self.run).into_bytes();
        text.truncate(yubihsm::object::LABEL_SIZE);
        Label::from_bytes(&text).unwrap_or_default()
    }

    /// Reads back what the device made, and uses it as node and auditor will.
    fn prove(
        &mut self,
        kek: &KekReference,
        node: &Password,
        auditor: &Password,
    ) -> Result<(Vec<u8>, PublicKey), HsmError> {
        let Plan { config, identity_key, auditor: auditor_id, .. } = self.plan;
        let connector = self.link.endpoint().connector();
        let (_, version) = identify(&connector)
            .or_else(|_| identify(&connector))
            .map_err(|reason| HsmError::Unavailable { reason })?;
        let [major, minor, patch] = version;
        let endpoint = self.link.endpoint();
        let line =
            format!("{endpoint}, firmware {major}.{minor}.{patch}, domain {}", self.plan.domain);
        self.report.push(line);
        let kek_algorithm = match objects::kek_type(config.profile)? {
            Type::HmacKey => Algorithm::Hmac(hmac::Algorithm::Sha256),
            _ => Algorithm::Wrap(wrap::Algorithm::Aes256Ccm),
        };
        let may = [
            (objects::kek_capabilities(config.profile), kek_algorithm, Origin::Generated),
            (
                Capability::SIGN_ECDSA,
                Algorithm::Asymmetric(asymmetric::Algorithm::EcP256),
                Origin::Generated,
            ),
            (
                objects::node_capabilities(config.profile),
                Algorithm::Authentication(authentication::Algorithm::YubicoAes),
                Origin::Imported,
            ),
            (
                Capability::GET_LOG_ENTRIES,
                Algorithm::Authentication(authentication::Algorithm::YubicoAes),
                Origin::Imported,
            ),
        ];
        for ((kind, id), (capabilities, algorithm, origin)) in self.wanted()?.into_iter().zip(may) {
            let info = objects::read(&self.link, kind, id)?;
            self.read_back(&name(kind, id), &info, capabilities, algorithm, origin)?;
        }
        let canary = prove_node(config, kek, node)?;
        self.report.push("checked as the node: round trip, other associated data refused, altered ciphertext refused; reading the log refused, deleting the KEK refused".to_owned());
        let signer = YubiHsmSigner::open(config, *identity_key, node)?;
        signer.sign(b"quorate provisioning")?;
        self.report.push(format!(
            "identity key {}: it signs, and the signature verifies",
            signer.public()
        ));
        AuditDrain::open(config, *auditor_id, auditor)?;
        self.report.push("checked as the auditor: reads the log".to_owned());
        Ok((canary, signer.public()))
    }

    fn read_back(
        &mut self,
        name: &str,
        info: &Info,
        capabilities: Capability,
        algorithm: Algorithm,
        origin: Origin,
    ) -> Result<(), HsmError> {
        objects::expect(name, info, capabilities, algorithm)?;
        if info.domains != self.domain || info.origin != origin {
            return Err(HsmError::Unsupported {
                what: format!(
                    "{name}: the device says domains {:#06x}, {}",
                    info.domains,
                    objects::origin(info.origin)
                ),
            });
        }
        // An authentication key is made of a password, here: of course it is imported.
        let origin = match origin {
            Origin::Imported => "made of its password",
            other => objects::origin(other),
        };
        self.report.push(format!(
            "{name} \"{}\": {origin}; may {}; delegates none; cannot be exported",
            info.label,
            names(info.capabilities)
        ));
        Ok(())
    }

    /// What is not protected, or could not be found out.
    fn warnings(&self, administrator: u16) -> Vec<String> {
        let Plan { config, .. } = self.plan;
        let mut warnings = vec![
            format!(
                "whoever holds authentication key 0x{administrator:04x} can delete the KEK, and with it every share sealed under it, and can make itself a key that unwraps: take it offline"
            ),
            "nobody has a backup of the KEK, and it cannot leave the device: if the device dies, so does this share".to_owned(),
            "whoever has the node's password and reaches the connector can unwrap and sign as the node"
                .to_owned(),
        ];
        let default = objects::read(&self.link, Type::AuthenticationKey, 1);
        match default {
            Ok(_) => warnings.insert(0, "AUTHENTICATION KEY 1 IS STILL THERE: with the factory's password, which everybody knows, anybody who reaches the connector owns this device; delete it, or change its password".to_owned()),
            Err(HsmError::KeyMissing { .. }) => {}
            Err(error) => warnings.push(format!("cannot tell whether authentication key 1 is still there: {error}")),
        }
        match self.link.ask("read", "the option force-audit", Client::get_force_audit_option) {
            Ok(yubihsm::AuditOption::Off) => warnings.push("force-audit is off: when its log is full, the device goes on and overwrites the oldest entries".to_owned()),
            Ok(_) => warnings.push(format!("force-audit is on: {} stops when 62 entries are not drained", self.link.endpoint())),
            Err(error) => warnings.push(format!("cannot tell whether force-audit is on: {error}")),
        }
        if config.profile == crate::Profile::HmacKdf {
            warnings.push(
                "the KEK is an HMAC key: the keys that it derives pass through this host's memory"
                    .to_owned(),
            );
        }
        warnings
    }

    /// Removes what this run made, and nothing else.
    fn undo(self, cause: HsmError) -> HsmError {
        let mut left = Vec::new();
        for (kind, id) in self.made.iter().rev().copied() {
            // A device that is away now is not asked again for each.
            if left.is_empty() && self.remove(kind, id) {
                continue;
            }
            left.push(name(kind, id));
        }
        if left.is_empty() {
            return cause;
        }
        let token = self.link.endpoint().to_string();
        HsmError::LeftOver { token, objects: left, cause: Box::new(cause) }
    }

    fn remove(&self, kind: Type, id: u16) -> bool {
        match self.link.call(Repeat::Once, |client| client.get_object_info(id, kind)) {
            Ok(info) if info.label.to_string().ends_with(&self.run) => {}
            // Not ours, or never made.
            Ok(_) | Err(Failure::Refused(Refusal::ObjectNotFound)) => return true,
            Err(_) => return false,
        }
        matches!(
            self.link.call(Repeat::Once, |client| client.delete_object(id, kind)),
            // Gone by the first try, whose answer was lost.
            Ok(()) | Err(Failure::Refused(Refusal::ObjectNotFound))
        )
    }
}

/// The KEK works, binds, and the node's key cannot do what it must not. Returns the canary.
fn prove_node(
    config: &Config,
    kek: &KekReference,
    password: &Password,
) -> Result<Vec<u8>, HsmError> {
    let unsupported = |what: &str| HsmError::Unsupported { what: what.to_owned() };
    let (profile, key) = (config.profile, config.key_id);
    let kind = objects::kek_type(profile)?;
    let mut protector = YubiHsmProtector::unproven(config.clone(), password)?;
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
