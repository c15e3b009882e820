//! From a file to a database that can be trusted.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase as _, StorageBackend};

use super::rows::{
    AUDIT, CHANGES, EVIDENCE, EXPIRIES, FORMAT, HEADS, IDENTITY_HEAD, KEYS, META, META_FORMAT,
    REQUESTS, WINDOWS,
};
use super::{StoreError, begin_write};

/// Everything in use fits; the database's own default is a gigabyte.
const CACHE: usize = 32 << 20;

pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    let error = |error: io::Error| StoreError::io(&path.display().to_string(), &error);
    let locked = || StoreError::Locked { path: path.to_owned() };
    if !path.try_exists().map_err(error)? {
        create(path)?;
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(error)?;
    let metadata = file.metadata().map_err(error)?;
    // Stores are created whole: an empty file is one whose contents were lost, with every share.
    if metadata.len() == 0 {
        return Err(StoreError::corrupt("the file is empty"));
    }
    if metadata.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(error)?;
    }
    // Whoever created it may have died before its name was on disk.
    sync_folder(path).map_err(error)?;
    let database = open_database(FileBackend::new(file)?, &locked)?;
    match format(&database)? {
        Some(_) => Ok(database),
        None => Err(StoreError::corrupt("the format's version is missing")),
    }
}

pub(super) fn with_backend(backend: impl StorageBackend) -> Result<Database, StoreError> {
    let locked = || StoreError::Locked { path: "(not a file)".into() };
    let database = open_database(backend, &locked)?;
    if format(&database)?.is_none() {
        initialise(&database)?;
    }
    Ok(database)
}

fn open_database(
    backend: impl StorageBackend,
    locked: &dyn Fn() -> StoreError,
) -> Result<Database, StoreError> {
    // Without the check, the database trusts a file that looks as if it was closed in order, and
    // may panic when it was damaged meanwhile.
    Database::builder()
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true)
        .create_with_backend(backend)
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => locked(),
            error => error.into(),
        })
}

/// Makes a whole store beside `path` and moves it there, unless somebody else was faster.
fn create(path: &Path) -> Result<(), StoreError> {
    let error = |error: io::Error| StoreError::io(&path.display().to_string(), &error);
    let aside = tempfile::Builder::new()
        .prefix(".store-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder_of(path))
        .map_err(error)?;
    let backend = FileBackend::new(aside.reopen().map_err(error)?)?;
    let locked = || StoreError::Locked { path: aside.path().to_owned() };
    let database = open_database(backend, &locked)?;
    initialise(&database)?;
    database.close()?;
    aside.as_file().sync_all().map_err(error)?;
    match aside.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(failed) => Err(error(failed.error)),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = fs::canonicalize(folder_of(path))?;
    File::open(folder)?.sync_all()
}

/// The format's version, checked; `None` if the database holds nothing at all.
fn format(database: &Database) -> Result<Option<u32>, StoreError> {
    let transaction = database.begin_read()?;
    if transaction.list_tables()?.next().is_none() {
        return Ok(None);
    }
    let missing = || StoreError::corrupt("the format's version is missing");
    let meta = match transaction.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Err(missing()),
        meta => meta?,
    };
    let found = meta.get(META_FORMAT)?.ok_or_else(missing)?.value();
    if found != FORMAT {
        return Err(StoreError::Version { found, supported: FORMAT });
    }
    Ok(Some(found))
}

/// Version and all tables, so that readers find them.
fn initialise(database: &Database) -> Result<(), StoreError> {
    let transaction = begin_write(database)?;
    transaction.open_table(META)?.insert(META_FORMAT, FORMAT)?;
    transaction.open_table(KEYS)?;
    transaction.open_table(REQUESTS)?;
    transaction.open_table(EXPIRIES)?;
    transaction.open_table(WINDOWS)?;
    transaction.open_table(AUDIT)?;
    transaction.open_table(EVIDENCE)?;
    transaction.open_table(HEADS)?;
    transaction.open_table(IDENTITY_HEAD)?;
    transaction.open_table(CHANGES)?;
    Ok(transaction.commit()?)
}
