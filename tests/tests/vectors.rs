//! The vectors from outside are the files that `vectors/README.md` says they are.

#![expect(clippy::unwrap_used, reason = "also outside of test functions, a failing test may stop")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// File name → SHA-256, from the table.
fn listed() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, file, source, licence, hash, _] = cells[..] else { unreachable!("{line}") };
        assert!(!source.is_empty() && !licence.is_empty(), "{line}");
        (file.trim_matches('`').to_owned(), hash.trim_matches('`').to_owned())
    };
    rows.map(row).collect()
}

fn files(below: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.file_name().unwrap() != "README.md" {
            let name = path.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned();
            found.insert(name, hex::encode(Sha256::digest(std::fs::read(&path).unwrap())));
        }
    }
}

#[test]
fn every_file_is_the_one_that_the_table_names() {
    let mut found = BTreeMap::new();
    files(&folder(), &mut found);
    assert_eq!(found, listed());
    assert!(found.len() >= 9);
}
