//! Software emulation (NOT an HSM): the KEK is in a file of the host, or derived from a passphrase.
//!
//! It exists for rehearsals and for parties whose risk allows it. Whoever copies the file (and knows
//! the passphrase) has the KEK; nothing here can count, limit or notice its use.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use crate::codec::{Reader, hex};
use crate::memory::Locked;
use crate::protector::{
    NONCE, canary_aad, canary_value, fresh_nonce, host_open, host_seal, random,
};
use crate::{Dek, HsmError, KekReference, KeyProtector, Profile};

/// What protects the emulated KEK.
pub enum SoftwareSecret {
    /// The KEK is derived by Argon2id; the file holds the parameters.
    Passphrase(Zeroizing<String>),
    /// The KEK is random and in the file, which only its owner may read.
    KeyFile,
}

impl std::fmt::Debug for SoftwareSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase(..)",
            Self::KeyFile => "KeyFile",
        })
    }
}

/// Software emulation (NOT an HSM).
#[derive(Debug)]
pub struct SoftwareProtector {
    kek: KekReference,
    key: Locked<Dek>,
    canary: Vec<u8>,
}

impl SoftwareProtector {
    /// Makes a KEK and its file. An existing file is never replaced: it may be the only key to a share.
    /// The open KEK is on locked pages.
    pub fn create(path: &Path, secret: SoftwareSecret) -> Result<Self, HsmError> {
        Self::create_with(path, &secret, true)
    }

    /// Opens the file of an existing KEK, onto locked pages.
    pub fn open(path: &Path, secret: SoftwareSecret) -> Result<Self, HsmError> {
        Self::open_with(path, &secret, true)
    }

    /// As [`Self::create`]; `lock` says whether pages are locked.
    pub fn create_with(path: &Path, secret: &SoftwareSecret, lock: bool) -> Result<Self, HsmError> {
        if path.exists() {
            return Err(HsmError::KeyExists {
                kek: path.display().to_string(),
                objects: Vec::new(),
            });
        }
        let mut record = Record {
            mode: secret.mode(),
            id: [0; 16],
            cost: COST,
            material: Zeroizing::new([0; 32]),
        };
        random(&mut record.id)?;
        random(record.material.as_mut_slice())?;
        let key = Locked::kept(record.key(secret)?, lock)?;
        let mut protector = Self { kek: record.kek(), key, canary: Vec::new() };
        let value = canary_value(Profile::SoftwareEmulation, &protector.kek)?;
        let aad = canary_aad(Profile::SoftwareEmulation, &protector.kek)?;
        protector.canary = protector.wrap(&value, &aad)?;
        let mut file = record.encode();
        file.extend_from_slice(&protector.canary);
        write_new(path, &file)?;
        Self::open_with(path, secret, lock)
    }

    /// As [`Self::open`]; `lock` says whether pages are locked.
    pub fn open_with(path: &Path, secret: &SoftwareSecret, lock: bool) -> Result<Self, HsmError> {
        let bytes = read_private(path)?;
        let (record, canary) = Record::decode(&bytes)?;
        if record.mode != secret.mode() {
            return Err(HsmError::Storage {
                path: path.display().to_string(),
                reason: "made with the other kind of secret (passphrase or key file)".to_owned(),
            });
        }
        let key = Locked::kept(record.key(secret)?, lock)?;
        let protector = Self { kek: record.kek(), key, canary: canary.to_vec() };
        match (protector.health(), secret) {
            (Ok(()), _) => Ok(protector),
            (Err(_), SoftwareSecret::Passphrase(_)) => Err(HsmError::Auth),
            (Err(_), SoftwareSecret::KeyFile) => Err(HsmError::Corrupt { what: "key file" }),
        }
    }
}

impl KeyProtector for SoftwareProtector {
    fn profile(&self) -> Profile {
        Profile::SoftwareEmulation
    }

    fn kek(&self) -> &KekReference {
        &self.kek
    }

    fn describe(&self) -> String {
        format!("{}, KEK {}", Profile::SoftwareEmulation, hex(&self.kek.id))
    }

    fn wrap(&self, dek: &Dek, aad: &[u8]) -> Result<Vec<u8>, HsmError> {
        let nonce = fresh_nonce()?;
        let sealed = host_seal(self.key.expose(), &nonce, aad, dek.expose())?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<Dek, HsmError> {
        let mut reader = Reader(wrapped);
        let nonce: [u8; NONCE] = reader.array("wrapped key")?;
        let corrupt = HsmError::Corrupt { what: "wrapped key" };
        let plain = host_open(self.key.expose(), &nonce, aad, reader.0).ok_or(corrupt.clone())?;
        Dek::from_slice(&plain).ok_or(corrupt)
    }

    fn canary(&self) -> &[u8] {
        &self.canary
    }
}

impl SoftwareSecret {
    fn mode(&self) -> u8 {
        match self {
            Self::Passphrase(_) => MODE_PASSPHRASE,
            Self::KeyFile => MODE_KEY_FILE,
        }
    }
}

const MAGIC: &[u8; 5] = b"QSWK\x01";
/// Argon2id: KiB of memory, passes, lanes.
const COST: [u32; 3] = [64 * 1024, 3, 1];
/// A file cannot make us spend more than this.
const COST_LIMIT: [u32; 3] = [1024 * 1024, 16, 8];
/// Nor less, for a passphrase: OWASP's least memory for Argon2id. We have never written less than [`COST`].
const COST_FLOOR: [u32; 3] = [19 * 1024, 2, 1];
const MODE_PASSPHRASE: u8 = 1;
const MODE_KEY_FILE: u8 = 2;
const CANARY: usize = NONCE + 32 + 16;

struct Record {
    mode: u8,
    id: [u8; 16],
    cost: [u32; 3],
    /// The salt of a passphrase, or the KEK itself.
    material: Zeroizing<[u8; 32]>,
}

impl Record {
    fn kek(&self) -> KekReference {
        KekReference {
            backend: "software".into(),
            token: "software".into(),
            id: self.id.to_vec(),
            version: 1,
        }
    }

    fn key(&self, secret: &SoftwareSecret) -> Result<Dek, HsmError> {
        let corrupt = HsmError::Corrupt { what: "key file" };
        let SoftwareSecret::Passphrase(passphrase) = secret else {
            return Dek::from_slice(self.material.as_slice()).ok_or(corrupt);
        };
        let [memory, passes, lanes] = self.cost;
        let params = Params::new(memory, passes, lanes, Some(32)).map_err(|_| corrupt.clone())?;
        // Wiped afterwards: whoever reads it can guess without paying for memory.
        let mut blocks = Zeroizing::new(vec![Block::default(); params.block_count()]);
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                passphrase.as_bytes(),
                self.material.as_slice(),
                key.as_mut_slice(),
                blocks.as_mut_slice(),
            )
            .map_err(|_| corrupt.clone())?;
        Dek::from_slice(key.as_slice()).ok_or(corrupt)
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Sized in advance, so that no copy of a key is left behind by growth.
        let mut out = Zeroizing::new(Vec::with_capacity(256));
        out.extend_from_slice(MAGIC);
        out.push(self.mode);
        out.extend_from_slice(&self.id);
        for value in self.cost {
            out.extend_from_slice(&value.to_be_bytes());
        }
        out.extend_from_slice(self.material.as_slice());
        out
    }

    fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), HsmError> {
        const WHAT: &str = "key file";
        let mut reader = Reader(bytes);
        if reader.take(MAGIC.len(), WHAT)? != MAGIC {
            return Err(HsmError::Corrupt { what: WHAT });
        }
        let mode = reader.u8(WHAT)?;
        let id = reader.array(WHAT)?;
        let cost = [reader.u32(WHAT)?, reader.u32(WHAT)?, reader.u32(WHAT)?];
        let beyond = cost.iter().zip(COST_LIMIT).any(|(value, limit)| *value > limit);
        let cheap = cost.iter().zip(COST_FLOOR).any(|(value, floor)| *value < floor);
        if beyond || (cheap && mode == MODE_PASSPHRASE) {
            return Err(HsmError::Corrupt { what: WHAT });
        }
        let material = Zeroizing::new(reader.array(WHAT)?);
        let canary = reader.take(CANARY, WHAT)?;
        reader.finish()?;
        Ok((Self { mode, id, cost, material }, canary))
    }
}

fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, HsmError> {
    let storage = |reason: String| HsmError::Storage { path: path.display().to_string(), reason };
    let file = fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => HsmError::KeyMissing { kek: path.display().to_string() },
        _ => storage(error.to_string()),
    })?;
    // Asked of the open file: the path could change between a check and the reading.
    let mode = file.metadata().map_err(|error| storage(error.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(storage(format!(
            "others may read it (mode {:04o}); chmod 600 it",
            mode & 0o7777
        )));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(256));
    file.take(256).read_to_end(&mut bytes).map_err(|error| storage(error.to_string()))?;
    Ok(bytes)
}

/// Written beside, synced, linked, directory synced: after a crash the file is whole or absent.
/// A link, unlike a renaming, never replaces what another process has made meanwhile.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), HsmError> {
    let mut unique = [0; 8];
    random(&mut unique)?;
    // A name of its own: what a crash left behind must not be in the way of the next try.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", hex(&unique)));
    let write = || -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::hard_link(&temporary, path)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    let written = write();
    let _ = fs::remove_file(&temporary);
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            HsmError::KeyExists { kek: path.display().to_string(), objects: Vec::new() }
        }
        _ => HsmError::Storage { path: path.display().to_string(), reason: error.to_string() },
    })
}
