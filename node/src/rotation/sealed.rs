//! Everything in a party's folder that rests under its KEK.

use std::path::PathBuf;

use quorate_core::party::PartyId;
use quorate_core::wire;
use quorate_hsm::{BlobKind, Context, HsmError, KekReference, KeyProtector};

use super::RotationError;
use crate::config::{Config, ConfigError, Folder, HsmConfig};
use crate::membership::Membership;
use crate::sealing::{SealingError, own_context};
use crate::service::records::{Public, row_context};
use crate::store::{KeyRow, Store};

pub(super) enum Place {
    File(PathBuf),
    Share([u8; 16]),
}

/// A blob, and what it must belong to.
pub(super) struct Sealed {
    pub(super) place: Place,
    /// For people.
    pub(super) name: String,
    pub(super) context: Context,
    pub(super) blob: Vec<u8>,
}

impl Sealed {
    pub(super) fn wrong(&self, error: HsmError) -> RotationError {
        RotationError::Blob { name: self.name.clone(), error }
    }

    /// The KEK that its header names.
    pub(super) fn kek(&self) -> Result<KekReference, RotationError> {
        let header = quorate_hsm::inspect(&self.blob).map_err(|error| self.wrong(error))?;
        Ok(header.kek)
    }

    pub(super) fn must_open(&self, kek: &dyn KeyProtector) -> Result<(), RotationError> {
        let opened = quorate_hsm::open(kek, &self.context, &self.blob);
        opened.map(drop).map_err(|error| self.wrong(error))
    }
}

/// Files first, then the shares of all keys, pending ones too.
pub(super) fn everything(
    folder: &Folder,
    config: &Config,
    store: &Store,
) -> Result<Vec<Sealed>, RotationError> {
    let mut files = vec![("hedge.sealed", folder.hedge(), BlobKind::HedgeKey)];
    let inside = matches!(
        &config.hsm,
        HsmConfig::Pkcs11 { identity_key: Some(_), .. } | HsmConfig::Yubihsm { .. }
    );
    if !inside || folder.identity().exists() {
        files.push(("identity.sealed", folder.identity(), BlobKind::Identity));
    }
    let mut found = Vec::new();
    for (name, path, kind) in files {
        let blob = std::fs::read(&path).map_err(|error| SealingError::File {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let context = own_context(config.party, kind);
        found.push(Sealed { place: Place::File(path), name: name.to_owned(), context, blob });
    }
    let rows = store.keys()?;
    if rows.is_empty() {
        return Ok(found);
    }
    let network = Membership::load(&folder.path().join(&config.membership))?.network();
    let me = PartyId::new(config.party)
        .ok_or(ConfigError::Field { field: "party", what: "must be 1 to 255" })
        .map_err(SealingError::from)?;
    for row in rows {
        found.push(share(network, me, row)?);
    }
    Ok(found)
}

fn share(network: [u8; 16], me: PartyId, row: KeyRow) -> Result<Sealed, RotationError> {
    let name = format!("the share of key {} ({})", row.name, hex::encode(row.key));
    let public: Public = wire::decode(&row.public).map_err(|_| RotationError::Blob {
        name: name.clone(),
        error: HsmError::Corrupt { what: "public record" },
    })?;
    let context = row_context(network, me, &public, &row);
    Ok(Sealed { place: Place::Share(row.key), name, context, blob: row.sealed })
}
