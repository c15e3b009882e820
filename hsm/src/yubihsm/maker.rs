//! Making objects as the administrator: each is noted before it is asked for, so that all of a run that
//! breaks off are removed again.

use std::sync::Arc;

use yubihsm::device::ErrorKind as Refusal;
use yubihsm::object::{Info, Label, Origin, Type};
use yubihsm::{Algorithm, Capability, Client, Domain, authentication, hmac, wrap};

use super::Config;
use super::link::{Failure, Link, Repeat};
use super::objects::{self, name, names};
use crate::HsmError;

pub(super) struct Maker {
    /// The administrator's.
    pub(super) link: Arc<Link>,
    pub(super) domains: Domain,
    /// Tells the objects of this run from all others; 8 characters.
    pub(super) run: String,
    /// What was made, or may have been.
    made: Vec<(Type, u16)>,
    /// Lines for people: what was made, read back and checked.
    pub(super) report: Vec<String>,
}

impl Maker {
    pub(super) fn new(link: Arc<Link>, domains: Domain, run: String) -> Self {
        Self { link, domains, run, made: Vec::new(), report: Vec::new() }
    }

    pub(super) fn nothing_is_there(&self, wanted: &[(Type, u16)]) -> Result<(), HsmError> {
        let mut found = Vec::new();
        for (kind, id) in wanted.iter().copied() {
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

    /// The KEK that `config` names.
    pub(super) fn make_kek(&mut self, config: &Config) -> Result<(), HsmError> {
        let (kek, domains) = (config.key_id, self.domains);
        let may = objects::kek_capabilities(config.profile);
        let label = self.label(&objects::kek_label(config.key_version));
        match objects::kek_type(config.profile)? {
            Type::HmacKey => self.make(Type::HmacKey, kek, |client| {
                let algorithm = hmac::Algorithm::Sha256;
                client.generate_hmac_key(kek, label.clone(), domains, may, algorithm)
            }),
            _ => self.make(Type::WrapKey, kek, |client| {
                let (delegated, algorithm) = (Capability::empty(), wrap::Algorithm::Aes256Ccm);
                client.generate_wrap_key(kek, label.clone(), domains, may, delegated, algorithm)
            }),
        }
    }

    pub(super) fn make_auth_key(
        &mut self,
        id: u16,
        label: &str,
        may: Capability,
        key: &authentication::Key,
    ) -> Result<(), HsmError> {
        let (label, domains) = (self.label(label), self.domains);
        self.make(Type::AuthenticationKey, id, |client| {
            let (delegated, kind) = (Capability::empty(), authentication::Algorithm::YubicoAes);
            client.put_authentication_key(
                id,
                label.clone(),
                domains,
                may,
                delegated,
                kind,
                key.clone(),
            )
        })
    }

    pub(super) fn make(
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
    pub(super) fn label(&self, what: &str) -> Label {
        let mut text = format!("{what} {}", self.run).into_bytes();
        text.truncate(yubihsm::object::LABEL_SIZE);
        Label::from_bytes(&text).unwrap_or_default()
    }

    /// What the device says of an object, which must be what was asked for.
    pub(super) fn read_back(
        &mut self,
        name: &str,
        info: &Info,
        capabilities: Capability,
        algorithm: Algorithm,
        origin: Origin,
    ) -> Result<(), HsmError> {
        objects::expect(name, info, capabilities, algorithm)?;
        if info.domains != self.domains || info.origin != origin {
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

    pub(super) fn read_back_kek(&mut self, config: &Config) -> Result<(), HsmError> {
        let (kind, id) = (objects::kek_type(config.profile)?, config.key_id);
        let info = objects::read(&self.link, kind, id)?;
        let may = objects::kek_capabilities(config.profile);
        let algorithm = objects::kek_algorithm(config.profile);
        self.read_back(&name(kind, id), &info, may, algorithm, Origin::Generated)
    }

    pub(super) fn read_back_auth_key(&mut self, id: u16, may: Capability) -> Result<(), HsmError> {
        let kind = Type::AuthenticationKey;
        let info = objects::read(&self.link, kind, id)?;
        let algorithm = Algorithm::Authentication(authentication::Algorithm::YubicoAes);
        self.read_back(&name(kind, id), &info, may, algorithm, Origin::Imported)
    }

    /// Removes what this run made, and nothing else.
    pub(super) fn undo(self, cause: HsmError) -> HsmError {
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
