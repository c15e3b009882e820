//! Rotating the key-encryption key of a stopped node, and destroying one that is not needed any more.
//!
//! `rotation.toml` is what makes it safe against crashes: it says which KEK comes next, is on disk before
//! any blob changes, and goes when nothing is left to do. Whatever is cut off is continued from there:
//!
//! ```text
//! make the KEK ─▶ rotation.toml ─▶ files ─▶ shares ─▶ all open under the new one? ─▶ quorate.toml ─▶ audit
//! ```
//! A blob says under which KEK it is, so what is done already is seen, opened and left alone. Nothing is
//! destroyed: the old KEK stays until [`destroy`].

mod attempts;
mod destroy;
mod device;
mod error;
mod sealed;

use std::ops::ControlFlow;
use std::path::Path;

use quorate_hsm::pkcs11::{self, Pin};
use quorate_hsm::yubihsm::Mark;
use quorate_hsm::{HsmError, KekReference, KeyProtector, Profile};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use attempts::Leftover;
pub use destroy::destroy;
pub use error::RotationError;

use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Folder, HsmConfig};
use crate::sealing::{
    AdministratorAccess, Emulated, Kek, SealingError, guarded_pin, open_kek, remove_durably,
    replace_private, store_must_exist, where_it_is,
};
use crate::store::Store;
use sealed::{Place, Sealed};

/// `rotation.toml`. No secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    /// The KEK that is left.
    from: String,
    /// Its identifier, hexadecimal.
    from_id: String,
    /// How it wraps, where its identifier alone does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_profile: Option<Profile>,
    /// The authentication key of a YubiHSM that is left with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_auth_key: Option<u16>,
    /// What tells the KEK in a YubiHSM from a later one of its identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_mark: Option<Mark>,
    /// The same of that authentication key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_auth_mark: Option<Mark>,
    /// What replaces `[hsm]`.
    hsm: HsmConfig,
}

/// What was done just now; it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The new KEK is made. Nothing but the list of attempts names it.
    Made,
    /// `rotation.toml` is there.
    Planned,
    /// One blob is under the new KEK. A share is so in the store only with the next step.
    Moved {
        /// For people.
        name: String,
        /// It was there before.
        already: bool,
    },
    /// All shares are under the new KEK.
    Stored,
    /// Every blob was read again and opened.
    Verified,
    /// `quorate.toml` names the new KEK.
    Configured,
    /// The audit log says so.
    Recorded,
}

/// What is told of each step; a break ends the rotation there, as a crash would.
pub type Watch<'a> = dyn FnMut(&Step) -> ControlFlow<()> + 'a;

/// What a rotation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The KEK before.
    pub from: String,
    /// What [`destroy`] calls it: its identifier, hexadecimal.
    pub from_id: String,
    /// The KEK now.
    pub to: String,
    /// An earlier rotation was continued.
    pub continued: bool,
    /// Blobs that this run moved.
    pub rewrapped: usize,
    /// Blobs that were under the new KEK already.
    pub skipped: usize,
    /// Shares among both.
    pub shares: usize,
    /// What provisioning says of the new KEK.
    pub report: Vec<String>,
    /// KEKs that rotations which were cut off have left: nothing is sealed under them.
    pub leftover: Vec<Leftover>,
}

/// What a rotation is asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// How the new KEK is to wrap; without it, as the backend does it best, or as before.
    pub profile: Option<Profile>,
    /// Who makes keys in a YubiHSM; other backends do not ask.
    pub administrator: Option<AdministratorAccess>,
}

struct Rotation<'a> {
    folder: &'a Folder,
    config: Config,
    store: Store,
    watch: &'a mut Watch<'a>,
}

/// Refuses while a rotation is under way.
///
/// # Errors
/// [`RotationError::UnderWay`].
pub fn must_not_be_under_way(folder: &Folder) -> Result<(), RotationError> {
    let file = folder.rotation();
    match file.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(RotationError::UnderWay { file }),
        Err(error) => Err(SealingError::File { path: file, reason: error.to_string() }.into()),
    }
}

/// Puts everything that is sealed in the folder under a new KEK of the same HSM, or continues to do so.
/// The node must not run.
///
/// # Errors
/// [`RotationError`]. Whatever it is, all blobs open under the KEK that each one names, and another call
/// continues.
pub fn rotate<'a>(
    folder: &'a Folder,
    wanted: &Wanted,
    watch: &'a mut Watch<'a>,
) -> Result<Report, RotationError> {
    store_must_exist(folder)?;
    // Its lock keeps the node and other rotations away.
    let store = Store::open(&folder.store())?;
    let config = Config::load(folder).map_err(SealingError::from)?;
    let lock = config.keeping().lock;
    let mut rotation = Rotation { folder, config, store, watch };
    let (plan, new, made) = match Plan::load(&folder.rotation())? {
        Some(plan) => {
            plan.must_suit(wanted.profile)?;
            let new = open_kek(folder, &plan.hsm, lock)?;
            (plan, new, None)
        }
        None => {
            let (plan, new, made) = rotation.begin(wanted)?;
            (plan, new, Some(made))
        }
    };
    let mut report = Report {
        from: plan.from.clone(),
        from_id: plan.from_id.clone(),
        to: new.protector().kek().to_string(),
        continued: made.is_none(),
        rewrapped: 0,
        skipped: 0,
        shares: 0,
        report: made.as_ref().map(|made| made.report.clone()).unwrap_or_default(),
        leftover: made.map(|made| made.leftover).unwrap_or_default(),
    };
    rotation.move_all(&new, &mut report)?;
    rotation.finish(&plan, &*new.protector(), &report)?;
    Ok(report)
}

struct Made {
    report: Vec<String>,
    leftover: Vec<Leftover>,
}

impl Rotation<'_> {
    fn done(&mut self, step: Step) -> Result<(), RotationError> {
        match (self.watch)(&step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RotationError::Stopped),
        }
    }

    /// Makes the new KEK and writes down that it is to be used.
    fn begin(&mut self, wanted: &Wanted) -> Result<(Plan, Kek, Made), RotationError> {
        // Whoever cannot open the old one is told before anything is made.
        let lock = self.config.keeping().lock;
        let old = open_kek(self.folder, &self.config.hsm, lock)?;
        let old_kek = old.protector().kek().clone();
        let leftover = attempts::leftover(self.folder, &self.config.hsm, &old)?;
        let (hsm, report) = match (&old, self.config.hsm.clone()) {
            (Kek::Yubihsm(kek), hsm) => device::make(self.folder, &hsm, kek, wanted)?,
            (Kek::Pkcs11(_), hsm) => self.make_in_token(&hsm, wanted.profile)?,
            (Kek::Software(old), hsm) => self.make_file(old, hsm, wanted.profile)?,
        };
        self.done(Step::Made)?;
        let mut plan = Plan::new(&old_kek, &self.config.hsm, hsm);
        if let Kek::Yubihsm(kek) = &old {
            plan.from_mark = Some(kek.mark().map_err(SealingError::from)?);
            if plan.from_auth_key.is_some() {
                plan.from_auth_mark = Some(kek.mark_of_auth_key().map_err(SealingError::from)?);
            }
        }
        let new = old.beside(self.folder, &plan.hsm, lock)?;
        plan.save(&self.folder.rotation())?;
        self.done(Step::Planned)?;
        Ok((plan, new, Made { report, leftover }))
    }

    /// Under the passphrase of the old one, if that has one.
    fn make_file(
        &self,
        old: &Emulated,
        mut hsm: HsmConfig,
        profile: Option<Profile>,
    ) -> Result<(HsmConfig, Vec<String>), RotationError> {
        if profile.is_some_and(|profile| profile != Profile::SoftwareEmulation) {
            let what = "other profiles by the software emulation".to_owned();
            return Err(SealingError::from(HsmError::Unsupported { what }).into());
        }
        let name = format!("kek-{}.software", hex::encode(fresh_id()?));
        attempts::add(self.folder, &name)?;
        let path = self.folder.path().join(&name);
        old.make_successor(&path, self.config.keeping().lock)?;
        if let HsmConfig::Software { kek_file, .. } = &mut hsm {
            *kek_file = Some(name);
        }
        Ok((hsm, Vec::new()))
    }

    fn make_in_token(
        &self,
        old: &HsmConfig,
        profile: Option<Profile>,
    ) -> Result<(HsmConfig, Vec<String>), RotationError> {
        let HsmConfig::Pkcs11 { identity_key, identity_id, pin_file, key_id, .. } = old else {
            return Err(RotationError::OtherBackend);
        };
        let was = where_it_is(old)?;
        let new_id = fresh_id()?.to_vec();
        attempts::add(self.folder, &hex::encode(&new_id))?;
        let key_version = was.key_version.checked_add(1).ok_or(RotationError::Versions)?;
        let location = was.location();
        let wanted =
            pkcs11::Wanted { location, key_id: new_id, key_version, profile, identity: None };
        let made = pkcs11::provision(wanted, pin_again(self.folder, pin_file.as_deref())?)
            .map_err(SealingError::from)?;
        let stays = identity_id.as_ref().unwrap_or(key_id).clone();
        let hsm = HsmConfig::Pkcs11 {
            module: made.config.module,
            token: made.config.token,
            key_id: hex::encode(&made.config.key_id),
            key_version: made.config.key_version,
            profile: made.config.profile,
            identity_key: *identity_key,
            identity_id: identity_key.map(|_| stays),
            wrap_signer: made.config.identity,
            canary: hex::encode(&made.canary),
            pin_file: pin_file.clone(),
        };
        Ok((hsm, made.report))
    }

    /// Files one by one, then all shares at once.
    fn move_all(&mut self, new: &Kek, report: &mut Report) -> Result<(), RotationError> {
        let mut old = None;
        let mut shares = Vec::new();
        for sealed in self.everything()? {
            let moved = self.moved(&sealed, new, &mut old)?;
            let already = moved.is_none();
            *(if already { &mut report.skipped } else { &mut report.rewrapped }) += 1;
            match (&sealed.place, moved) {
                (Place::File(path), Some(blob)) => replace_private(path, &blob)?,
                (Place::Share(key), Some(blob)) => shares.push((*key, blob)),
                (_, None) => {}
            }
            report.shares += usize::from(matches!(sealed.place, Place::Share(_)));
            self.done(Step::Moved { name: sealed.name, already })?;
        }
        if !shares.is_empty() {
            let record = json!({
                "event": "kek-rewrapped", "at": SystemClock.unix().as_secs(),
                "from": report.from, "to": report.to, "shares": shares.len(),
            });
            self.store.replace_all_sealed(shares, record.to_string().into_bytes())?;
        }
        self.done(Step::Stored)
    }

    /// What is to be in the blob's place, opened; nothing if it is there already.
    fn moved(
        &self,
        sealed: &Sealed,
        new: &Kek,
        old: &mut Option<Kek>,
    ) -> Result<Option<Vec<u8>>, RotationError> {
        let protector = new.protector();
        if sealed.kek()? == *protector.kek() {
            sealed.must_open(&*protector)?;
            return Ok(None);
        }
        let old = match old {
            Some(old) => old,
            none => {
                let lock = self.config.keeping().lock;
                none.insert(new.beside(self.folder, &self.config.hsm, lock)?)
            }
        };
        let (old, new) = (old.protector(), protector);
        let moved = quorate_hsm::rewrap(&*old, &*new, &sealed.context, &sealed.blob);
        Ok(Some(moved.map_err(|error| sealed.wrong(error))?))
    }

    /// Looks at what is on disk now, and only then lets the node use the new KEK.
    fn finish(
        &mut self,
        plan: &Plan,
        new: &dyn KeyProtector,
        report: &Report,
    ) -> Result<(), RotationError> {
        for sealed in self.everything()? {
            sealed.must_open(new)?;
        }
        self.done(Step::Verified)?;
        if self.config.hsm != plan.hsm {
            let config = Config { hsm: plan.hsm.clone(), ..self.config.clone() };
            let text = config.to_toml_like(self.folder).map_err(SealingError::from)?;
            replace_private(&self.folder.config(), text.as_bytes())?;
        }
        self.done(Step::Configured)?;
        let mut record = json!({
            "event": "kek-rotated", "at": SystemClock.unix().as_secs(), "from": report.from,
            "from_id": report.from_id, "to": report.to,
        });
        if let (Some(profile), Some(fields)) = (plan.from_profile, record.as_object_mut()) {
            fields.insert("from_profile".to_owned(), json!(profile));
            fields.insert("from_auth_key".to_owned(), json!(plan.from_auth_key));
            fields.insert("from_mark".to_owned(), json!(plan.from_mark));
            fields.insert("from_auth_mark".to_owned(), json!(plan.from_auth_mark));
        }
        self.store.audit_append(record.to_string().into_bytes())?;
        self.done(Step::Recorded)?;
        attempts::remove(self.folder, &plan.name())?;
        Ok(remove_durably(&self.folder.rotation())?)
    }

    fn everything(&self) -> Result<Vec<Sealed>, RotationError> {
        sealed::everything(self.folder, &self.config, &self.store)
    }
}

impl Plan {
    fn new(from: &KekReference, old: &HsmConfig, hsm: HsmConfig) -> Self {
        let (from, from_id) = (from.to_string(), hex::encode(&from.id));
        let mut plan = Self {
            from,
            from_id,
            from_profile: None,
            from_auth_key: None,
            from_mark: None,
            from_auth_mark: None,
            hsm,
        };
        if let (
            HsmConfig::Yubihsm { auth_key: before, profile, .. },
            HsmConfig::Yubihsm { auth_key: now, .. },
        ) = (old, &plan.hsm)
        {
            plan.from_auth_key = (before != now).then_some(*before);
            plan.from_profile = Some(*profile);
        }
        plan
    }

    fn load(path: &Path) -> Result<Option<Self>, RotationError> {
        let wrong = |reason: String| SealingError::File { path: path.to_owned(), reason };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| wrong(error.to_string()))?,
        };
        let plan: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        plan.hsm.check().map_err(|error| wrong(error.to_string()))?;
        Ok(Some(plan))
    }

    fn save(&self, path: &Path) -> Result<(), RotationError> {
        let text = toml::to_string(self).map_err(|error| SealingError::File {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(replace_private(path, text.as_bytes())?)
    }

    /// The new KEK, as the list of attempts has it.
    fn name(&self) -> String {
        match &self.hsm {
            HsmConfig::Software { kek_file, .. } => kek_file.clone().unwrap_or_default(),
            HsmConfig::Pkcs11 { key_id, .. } => key_id.clone(),
            HsmConfig::Yubihsm { key_id, .. } => device::id(*key_id),
        }
    }

    fn must_suit(&self, asked: Option<Profile>) -> Result<(), RotationError> {
        let profile = match &self.hsm {
            HsmConfig::Software { .. } => Profile::SoftwareEmulation,
            HsmConfig::Pkcs11 { profile, .. } | HsmConfig::Yubihsm { profile, .. } => *profile,
        };
        match asked {
            Some(asked) if asked != profile => Err(RotationError::OtherProfile { profile }),
            _ => Ok(()),
        }
    }
}

/// For one more login of a process that is logged in: a person is not asked twice. The token keeps one
/// login for the whole process, and does not look at this PIN.
fn pin_again(folder: &Folder, pin_file: Option<&Path>) -> Result<Pin, SealingError> {
    match pin_file {
        Some(path) => guarded_pin(folder, Some(&folder.path().join(path))),
        None => Ok(Pin::of_this_login()),
    }
}

fn fresh_id() -> Result<[u8; 8], SealingError> {
    let mut id = [0; 8];
    getrandom::getrandom(&mut id).map_err(|_| HsmError::Randomness)?;
    Ok(id)
}
