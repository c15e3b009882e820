//! `quorate init`: a node from nothing.

mod attempt;
mod yubihsm;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use quorate_hsm::pkcs11::{self, Curve, Pkcs11Protector};
use quorate_hsm::software::{SoftwareProtector, SoftwareSecret};
use quorate_hsm::{BlobKind, HsmError, KeyProtector, Profile, PublicKey};
use serde_json::json;
use zeroize::Zeroizing;

use super::hsm::TokenArgs;
use super::{CommandError, Global};
use crate::config::{Config, Folder, HsmConfig, KekSecret};
use crate::identity::IdentityKey;
use crate::sealing::{
    SealingError, Source, guarded_pin, new_passphrase, replace_private, seal_own, write_private,
};
use crate::store::Store;
use attempt::Attempt;
pub(super) use attempt::forget;

/// What seals the shares: there is no default, so that nobody runs an emulation by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hsm {
    /// A PKCS#11 token
    Pkcs11,
    /// A YubiHSM 2 behind its connector
    Yubihsm,
    /// An emulation in a file: it is NOT an HSM and, without --passphrase, protects nothing from who reads
    /// the disk
    Software,
}

/// Where a party's identity key is, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IdentityPlace {
    /// P-256, inside the token; the software emulation seals an Ed25519 key instead
    P256,
    /// Ed25519, inside the token
    Ed25519,
    /// Ed25519, made by this program and sealed under the key-encryption key
    Sealed,
}

#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// This party's identifier in its group, 1 to 255
    #[arg(long)]
    party: u16,
    /// Its name for people
    #[arg(long)]
    name: String,
    /// Where it listens for the other parties
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Where its API listens; loopback only
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7100")]
    api: SocketAddr,
    /// The membership file that `quorate group new` makes, relative to the folder
    #[arg(long, value_name = "FILE", default_value = "membership.toml")]
    membership: PathBuf,
    /// What seals the shares
    #[arg(long, value_enum)]
    hsm: Hsm,
    #[command(flatten)]
    relayed: super::device::RelayedArgs,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    device: yubihsm::DeviceArgs,
    /// The emulation's key rests under a passphrase (Argon2id): from --passphrase-file, from the credential
    /// quorate-pin, or asked for twice
    #[arg(long)]
    passphrase: bool,
    /// A file with that passphrase, readable by you alone; implies --passphrase
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// CKA_ID of the key-encryption key to make, hexadecimal; random if left out
    #[arg(long, value_name = "HEX")]
    key_id: Option<String>,
    /// The identity key: made inside the token, where nobody can copy it, or by this program and sealed
    #[arg(long, value_enum, default_value_t = IdentityPlace::P256)]
    identity: IdentityPlace,
    /// How the token wraps; left out, the best that it can really do
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
}

pub(super) fn init(global: &Global, args: &InitArgs) -> Result<(), CommandError> {
    let place = global.place();
    let identity = IdentityKey::generate().map_err(|e| CommandError::local("randomness", e))?;
    let mut config = Config {
        party: args.party,
        name: args.name.clone(),
        identity: identity.public(),
        listen: args.listen,
        api: args.api,
        membership: args.membership.clone(),
        hsm: HsmConfig::software(),
        deadlines: None,
        memory: None,
        facts: None,
        device: args.relayed.config()?,
    };
    config.check()?;
    if args.hsm != Hsm::Software && args.with_passphrase() {
        let what = "--passphrase and --passphrase-file are for --hsm software: a token has its PIN";
        return Err(CommandError::Usage(what.to_owned()));
    }
    let mut attempt = Attempt::begin(&place)?;
    let (hsm, protector, mut report, inside) = match args.hsm {
        Hsm::Software => software(&place, args)?,
        Hsm::Pkcs11 => token(&place, args, &mut attempt)?,
        Hsm::Yubihsm => yubihsm::device(&place, args)?,
    };
    config.hsm = hsm;
    if let Some(inside) = inside {
        config.identity = inside.into();
    } else if let Some(seed) = identity.secret() {
        let sealed = seal_own(&*protector, args.party, BlobKind::Identity, &seed)?;
        write_private(&place.identity(), &sealed)?;
    }
    let sealed = seal_own(&*protector, args.party, BlobKind::HedgeKey, &*fresh_secret()?)?;
    write_private(&place.hedge(), &sealed)?;
    drop(Store::open(&place.store())?);
    let token = Zeroizing::new(hex::encode(*fresh_secret()?));
    write_private(&place.operator_token(), token.as_bytes())?;
    // Last, and in one step, so that a crash leaves a folder that is no node yet, or a whole one.
    replace_private(&place.config(), config.to_toml()?.as_bytes())?;
    let made = match &config.hsm {
        HsmConfig::Pkcs11 { key_id, .. } => Some(key_id.as_str()),
        _ => None,
    };
    report.extend(attempt.end(made)?.into_iter().map(|id| {
        format!(
            "an init that was cut off may have left keys with the id {id}: `quorate hsm discard --key-id {id}` lists them, and destroys them with --destroy"
        )
    }));
    let object = json!({
        "party": config.party, "name": config.name, "identity": config.identity.to_string(),
        "folder": place.path().display().to_string(), "hsm": protector.describe(), "report": report,
    });
    let next = match &config.device {
        None => "give the identity to whoever builds the membership file (`quorate group new`)",
        Some(_) => {
            "`quorate device init` makes the device's own identity; the membership file pins that one for the party, with this one as its relay (`quorate group new`); then `quorate device join`, and `quorate run`"
        }
    };
    let text = format!(
        "made party {} ({}) in {}\nidentity  {}\nsealed by {}\n{}\nnext: {next}",
        config.party,
        config.name,
        place.path().display(),
        config.identity,
        protector.describe(),
        report.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"),
    );
    global.print(&object, &text);
    Ok(())
}

fn fresh_secret() -> Result<Zeroizing<[u8; 32]>, CommandError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::getrandom(secret.as_mut_slice())
        .map_err(|e| CommandError::local("randomness", e))?;
    Ok(secret)
}

/// With the report, and the identity key if it was made inside.
type Made = (HsmConfig, Box<dyn KeyProtector>, Vec<String>, Option<PublicKey>);

impl InitArgs {
    fn with_passphrase(&self) -> bool {
        self.passphrase || self.passphrase_file.is_some()
    }
}

fn software(place: &Folder, args: &InitArgs) -> Result<Made, CommandError> {
    let mut report = vec![
        "WARNING: this emulation is not an HSM. Its key lies beside what it seals: whoever copies the folder has the share.".to_owned(),
    ];
    // As it is found later, wherever the node is started from.
    let passphrase_file = args.passphrase_file.as_deref().map(std::path::absolute).transpose();
    let passphrase_file =
        passphrase_file.map_err(|e| CommandError::local("the passphrase file's path", e))?;
    let (kind, secret) = if args.with_passphrase() {
        report = vec![
            "WARNING: this emulation is not an HSM. Its key rests under the passphrase alone: whoever copies the folder can guess at it without end, and has the share then.".to_owned(),
            "nobody can open this folder without the passphrase; it is stored nowhere".to_owned(),
        ];
        let passphrase = new_passphrase(passphrase_file.as_deref())?;
        (KekSecret::Passphrase, SoftwareSecret::Passphrase(passphrase))
    } else {
        (KekSecret::KeyFile, SoftwareSecret::KeyFile)
    };
    let path = place.software_kek();
    let made = match SoftwareProtector::create_with(&path, &secret, true) {
        // Left over from an init that was cut off before it sealed anything.
        Err(HsmError::KeyExists { .. }) => {
            match SoftwareProtector::open_with(&path, &secret, true) {
                Err(HsmError::Auth) => {
                    return Err(CommandError::Exists(format!(
                        "{} is left over from an init that was cut off, under another passphrase; no key is sealed under it: remove it, and run this again, or give that passphrase",
                        path.display()
                    )));
                }
                opened => opened,
            }
        }
        made => made,
    };
    let hsm = HsmConfig::Software { kek_file: None, secret: kind, passphrase_file };
    Ok((hsm, Box::new(made.map_err(SealingError::Hsm)?), report, None))
}

pub(super) use yubihsm::{AUDITOR_PASSWORD, AdministratorArgs};

pub(super) fn profile(name: &str) -> Result<Profile, CommandError> {
    serde_json::from_value(json!(name)).map_err(|_| {
        let known = pkcs11::PREFERENCE.into_iter().chain([Profile::WrapData]);
        let known: Vec<String> =
            known.filter_map(|profile| json!(profile).as_str().map(str::to_owned)).collect();
        CommandError::Usage(format!("--profile must be one of {}", known.join(", ")))
    })
}

fn token(place: &Folder, args: &InitArgs, attempt: &mut Attempt) -> Result<Made, CommandError> {
    let location = args.token.location()?;
    let asked = match &args.key_id {
        Some(text) => Some(
            hex::decode(text)
                .map_err(|_| CommandError::Usage("--key-id must be hexadecimal".into()))?,
        ),
        None => args.token.key_id()?,
    };
    let pin_file = args.token.pin_file()?;
    let identity = match args.identity {
        IdentityPlace::P256 => Some(Curve::P256),
        IdentityPlace::Ed25519 => Some(Curve::Ed25519),
        IdentityPlace::Sealed => None,
    };
    let profile = args.profile.as_deref().map(profile).transpose()?;
    let pin = guarded_pin(place, pin_file.as_deref())?;
    let key_id = attempt.key_id(asked)?;
    let wanted = pkcs11::Wanted { location, key_id, key_version: 1, profile, identity };
    let pkcs11::Location { module, token } = wanted.location.clone();
    let made = pkcs11::provision(wanted, pin).map_err(SealingError::Hsm)?;
    let config = HsmConfig::Pkcs11 {
        module,
        token,
        key_id: hex::encode(&made.config.key_id),
        key_version: made.config.key_version,
        profile: made.config.profile,
        identity_key: made.config.identity,
        identity_id: None,
        wrap_signer: None,
        canary: hex::encode(&made.canary),
        pin_file: pin_file.clone(),
    };
    // A PIN that a person typed is not asked for twice: this process is logged in already, and the
    // token keeps one login for the whole process.
    let again = match Source::of(pin_file.as_deref()) {
        Source::Terminal => pkcs11::Pin::of_this_login(),
        _ => guarded_pin(place, pin_file.as_deref())?,
    };
    let identity = made.config.identity;
    let protector =
        Pkcs11Protector::open(made.config, again, made.canary).map_err(SealingError::Hsm)?;
    Ok((config, Box::new(protector), made.report, identity))
}
