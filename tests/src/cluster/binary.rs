//! The program under test: the release binary, and never one that is older than its sources.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

/// The path of `quorate`: what `QUORATE_BIN` names, or the release build of this workspace.
///
/// # Panics
/// If it is missing, or older than a source file: then the tests would judge other code than is there.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let workspace = workspace();
        let path = match std::env::var_os("QUORATE_BIN") {
            Some(path) => PathBuf::from(path),
            None => workspace.join("target/release/quorate"),
        };
        if let Err(why) = check(&path, &workspace) {
            panic!("{why}: run tests/run, or `cargo build --release -p quorate-node`");
        }
        path
    })
}

fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map(Path::to_path_buf).unwrap_or_else(|| panic!("tests/ has no parent folder"))
}

fn check(binary: &Path, workspace: &Path) -> Result<(), String> {
    let built = changed(binary).map_err(|error| format!("{} {error}", binary.display()))?;
    for source in sources(binary, workspace) {
        let newer = changed(&source).map_or(true, |changed| changed > built);
        if newer {
            let (binary, source) = (binary.display(), source.display());
            return Err(format!("{binary} is older than {source}"));
        }
    }
    Ok(())
}

fn changed(path: &Path) -> Result<SystemTime, String> {
    let changed = path.metadata().and_then(|metadata| metadata.modified());
    changed.map_err(|error| format!("is missing ({error})"))
}

/// Cargo writes down beside the binary what it was made of; files that only tests use are not there,
/// and a new file shows in the one that declares it. Without that list: every source file.
fn sources(binary: &Path, workspace: &Path) -> Vec<PathBuf> {
    if let Ok(list) = std::fs::read_to_string(binary.with_extension("d")) {
        let files = list.split_whitespace().skip(1).map(PathBuf::from);
        return files.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    }
    let mut found = Vec::new();
    for part in ["core/src", "hsm/src", "node/src"] {
        walk(&workspace.join(part), &mut found);
    }
    found
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten(),
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    for path in entries.map(|entry| entry.path()) {
        match path.is_dir() {
            true => walk(&path, found),
            false => found.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_stale_binary_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("quorate");
        for part in ["core/src", "hsm/src", "node/src"] {
            std::fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        let source = folder.path().join("node/src/main.rs");
        let write = |path: &Path, seconds| {
            let file = std::fs::File::create(path).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
        };
        let checked = || check(&binary, folder.path());
        assert!(checked().unwrap_err().contains("is missing"));
        write(&binary, 10);
        write(&source, 9);
        assert_eq!(checked(), Ok(()));
        write(&source, 11);
        assert!(checked().unwrap_err().contains("older than"));
        // Cargo's list leaves this file out.
        std::fs::write(folder.path().join("quorate.d"), "quorate: other.rs\n").unwrap();
        assert!(checked().unwrap_err().contains("other.rs"));
        std::fs::write(folder.path().join("quorate.d"), "quorate:\n").unwrap();
        assert_eq!(checked(), Ok(()));
    }
}
