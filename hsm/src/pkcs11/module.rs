//! PKCS#11 libraries of this process: each is initialised once, and restarted under a lock.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};

use super::unavailable;
use crate::HsmError;

/// A second `C_Initialize` fails, so libraries are shared. They stay loaded: unloading one that has
/// threads of its own crashes.
static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

pub(super) struct Module {
    pub(super) pkcs11: Pkcs11,
    /// Counts restarts. Readers are inside the library; the writer restarts it.
    generation: RwLock<u64>,
}

impl Module {
    pub(super) fn load(path: &Path) -> Result<Arc<Self>, HsmError> {
        let missing =
            |reason: String| HsmError::ModuleMissing { path: path.display().to_string(), reason };
        // A bare file name is left to the loader's search path.
        let key = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if path.components().count() > 1 => return Err(missing(error.to_string())),
            Err(_) => path.to_owned(),
        };
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&key) {
            return Ok(Arc::clone(module));
        }
        let pkcs11 = Pkcs11::new(&key).map_err(|error| missing(error.to_string()))?;
        initialize(&pkcs11)?;
        let module = Arc::new(Self { pkcs11, generation: RwLock::new(0) });
        modules.insert(key, Arc::clone(&module));
        Ok(module)
    }

    /// Keeps restarts away while the caller is inside the library.
    pub(super) fn enter(&self) -> RwLockReadGuard<'_, u64> {
        self.generation.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finalises and initialises, unless somebody did so since `seen`. All sessions are gone then.
    pub(super) fn restart(&self, seen: u64) -> Result<(), HsmError> {
        let mut generation = self.generation.write().unwrap_or_else(PoisonError::into_inner);
        if *generation != seen {
            return Ok(());
        }
        *generation += 1;
        match self.pkcs11.clone().finalize() {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {}
            Err(error) => return Err(unavailable(&error)),
        }
        initialize(&self.pkcs11)
    }
}

fn initialize(pkcs11: &Pkcs11) -> Result<(), HsmError> {
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => Err(unavailable(&error)),
    }
}
