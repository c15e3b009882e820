//! Software tokens that differ in what they can.

use std::path::{Path, PathBuf};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use quorate_hsm::pkcs11::{
    Location, Pin, Pkcs11Protector, TokenSelector, Wanted, provision, softhsm,
};
use quorate_hsm::{KeyProtector, Profile};

use crate::isolated::{PIN, SO_PIN, compile, isolated, module};

/// Which software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SoftHSM.
    SoftHsm,
    /// SoftHSM with the mechanisms of an HSM that has no GCM.
    SoftHsmNoGcm,
    /// SoftHSM with signatures and RSA alone.
    SoftHsmRsaOnly,
    /// The token of Mozilla's NSS.
    Nss,
    /// Kryoptic.
    Kryoptic,
}

/// The software in a process of its own.
pub(crate) struct Token {
    kind: Kind,
    module: PathBuf,
}

impl Token {
    /// `None` in the parent process.
    pub(crate) fn isolated(kind: Kind, name: &str) -> Option<Self> {
        let dir = isolated(name, &[("QUORATE_NSS", nss().to_str().unwrap())])?;
        let module = match kind {
            Kind::SoftHsm => module(),
            Kind::SoftHsmNoGcm => only(
                &dir,
                "CKM_SHA256_HMAC,CKM_GENERIC_SECRET_KEY_GEN,CKM_AES_KEY_GEN,CKM_AES_CBC,\
                 CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS_OAEP,CKM_SHA_1,CKM_EC_KEY_PAIR_GEN,CKM_ECDSA",
            ),
            Kind::SoftHsmRsaOnly => only(
                &dir,
                "CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS_OAEP,CKM_SHA_1,CKM_EC_KEY_PAIR_GEN,CKM_ECDSA",
            ),
            Kind::Nss => make_nss(&dir),
            Kind::Kryoptic => make_kryoptic(&dir),
        };
        Some(Self { kind, module })
    }

    /// Makes a token and a KEK in it.
    pub(crate) fn kek(&self, label: &str, profile: Profile) -> Box<dyn KeyProtector> {
        let wanted = Wanted { profile: Some(profile), ..self.wanted(label) };
        let made = provision(wanted, Pin::new(PIN)).unwrap();
        Box::new(Pkcs11Protector::open(made.config, Pin::new(PIN), made.canary).unwrap())
    }

    /// Makes a token of that label; what is to be made in it is open.
    pub(crate) fn wanted(&self, label: &str) -> Wanted {
        // NSS has its tokens from the start.
        if self.kind != Kind::Nss {
            let (so_pin, pin) = (Pin::new(SO_PIN), Pin::new(PIN));
            softhsm::create_token(&self.module, label, &so_pin, &pin).unwrap();
        }
        Wanted {
            location: Location {
                module: self.module.clone(),
                token: TokenSelector::Label(label.into()),
            },
            key_id: vec![1, 2, 3, 4],
            key_version: 1,
            profile: None,
            identity: None,
        }
    }
}

/// A positive list: SoftHSM drops the first entry of a negative one.
fn only(dir: &Path, mechanisms: &str) -> PathBuf {
    let file = dir.join("softhsm2.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}slots.mechanisms = {mechanisms}\n")).unwrap();
    module()
}

fn nss() -> PathBuf {
    let below = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = below.map(|entry| entry.path()).collect();
    folders.extend(["/usr/lib", "/usr/lib64"].map(PathBuf::from));
    folders
        .iter()
        .flat_map(|folder| ["libsoftokn3.so", "nss/libsoftokn3.so"].map(|name| folder.join(name)))
        .find(|path| path.is_file())
        .expect("libsoftokn3.so (of libnss3) is not installed: run tests/run")
}

/// NSS knows its tokens by its parameters, and the folder of each must be there.
fn make_nss(dir: &Path) -> PathBuf {
    let folder = |label: &str| {
        let folder = dir.join(format!("nss-{label}"));
        std::fs::create_dir_all(&folder).unwrap();
        folder.display().to_string()
    };
    let parameters = format!(
        "configdir='' flags=noCertDB,noModDB tokens=<0x4=[configDir='sql:{}' tokenDescription='a'] \
         0x5=[configDir='sql:{}' tokenDescription='b']>",
        folder("a"),
        folder("b"),
    );
    std::fs::write(dir.join("nss.parameters"), parameters).unwrap();
    let library = compile(dir, "nss");
    let pkcs11 = Pkcs11::new(&library).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    for slot in pkcs11.get_slots_with_token().unwrap() {
        let info = pkcs11.get_token_info(slot).unwrap();
        if ["a", "b"].contains(&info.label()) {
            let session = pkcs11.open_rw_session(slot).unwrap();
            // A new database has an empty PIN for the security officer.
            session.login(UserType::So, Some(&AuthPin::from(""))).unwrap();
            session.init_pin(&AuthPin::from(PIN)).unwrap();
            session.logout().unwrap();
        }
    }
    library
}

fn make_kryoptic(dir: &Path) -> PathBuf {
    let mut slots = String::new();
    for slot in 1..=2 {
        let file = dir.join(format!("kryoptic-{slot}.sql"));
        let file = file.display();
        slots += &format!("[[slots]]\nslot = {slot}\ndbtype = \"sqlite\"\ndbargs = \"{file}\"\n");
    }
    std::fs::write(dir.join("kryoptic.toml"), slots).unwrap();
    // Where tests/kryoptic leaves it: beside what cargo built this program from.
    let test = std::env::current_exe().unwrap();
    test.ancestors()
        .map(|folder| folder.join("kryoptic/libkryoptic_pkcs11.so"))
        .find(|path| path.is_file())
        .expect("kryoptic is not built: run tests/kryoptic (tests/run does)")
}
