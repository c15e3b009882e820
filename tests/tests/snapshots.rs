//! Every stored and wire form, frozen: bytes of fixed values in `tests/snapshots/`. A change of one is a
//! change of format, which breaks what is stored or whom one talks to.
//!
//! A new form is one line in the list of its crate: `core_forms.rs`, `hsm_forms.rs`, `node_forms.rs`.

// The lints recognise tests by their attribute only, and would refuse all that the tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Modules of a test are nobody's interface.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quorate_core::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[path = "snapshots/core_forms.rs"]
mod core_forms;
#[path = "snapshots/hsm_forms.rs"]
mod hsm_forms;
#[path = "snapshots/node_forms.rs"]
mod node_forms;

/// Set to write snapshots and corpora anew (`tests/remake`).
const REMAKE: &str = "QUORATE_REMAKE";

type Reads = dyn Fn(&[u8]) -> bool;

/// A form with the bytes of a fixed value.
pub struct Form {
    name: String,
    bytes: Vec<u8>,
    /// Whether bytes decode to a value that encodes to them again.
    reads: Box<Reads>,
}

impl Form {
    /// `again` decodes and encodes.
    pub fn new(
        name: impl Into<String>,
        bytes: Vec<u8>,
        again: impl Fn(&[u8]) -> Option<Vec<u8>> + 'static,
    ) -> Self {
        let reads = move |bytes: &[u8]| again(bytes).as_deref() == Some(bytes);
        Self { name: name.into(), bytes, reads: Box::new(reads) }
    }

    /// A form that [`wire`] encodes.
    pub fn of<T: Serialize + DeserializeOwned>(name: impl Into<String>, value: &T) -> Self {
        Self::read_as::<T>(name, encoded(value))
    }

    /// Bytes that [`wire`] reads as a T.
    pub fn read_as<T: Serialize + DeserializeOwned>(
        name: impl Into<String>,
        bytes: Vec<u8>,
    ) -> Self {
        Self::new(name, bytes, |bytes| Some(encoded(&wire::decode::<T>(bytes).ok()?)))
    }
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_to(value, |part| bytes.extend_from_slice(part));
    bytes
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots")
}

/// JSON stays as it is; all else is hexadecimal, 32 bytes a line, so that a difference shows where it is.
fn file(name: &str, bytes: &[u8]) -> (PathBuf, String) {
    let path = folder().join(name);
    match bytes.first() {
        Some(b'{') => {
            (path.with_extension("json"), String::from_utf8(bytes.to_vec()).unwrap() + "\n")
        }
        _ => {
            let lines = bytes.chunks(32).map(|line| hex::encode(line) + "\n");
            (path.with_extension("hex"), lines.collect())
        }
    }
}

fn frozen() -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder()) else { return BTreeMap::new() };
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let bytes = match path.extension().unwrap().to_str() {
            Some("json") => text.trim_end().as_bytes().to_vec(),
            _ => hex::decode(text.split_whitespace().collect::<String>()).unwrap(),
        };
        (name, bytes)
    };
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

fn all() -> BTreeMap<String, Form> {
    let forms = [core_forms::forms(), hsm_forms::forms(), node_forms::forms()];
    let mut named = BTreeMap::new();
    for form in forms.into_iter().flatten() {
        let name = form.name.clone();
        assert!(named.insert(name.clone(), form).is_none(), "two forms are called {name}");
    }
    named
}

#[test]
fn the_snapshots_are_todays_forms() {
    let forms = all();
    if std::env::var_os(REMAKE).is_some() {
        let _ = std::fs::remove_dir_all(folder());
        std::fs::create_dir_all(folder()).unwrap();
        for (name, form) in &forms {
            let (path, text) = file(name, &form.bytes);
            std::fs::write(path, text).unwrap();
        }
    }
    let frozen = frozen();
    let mut wrong = Vec::new();
    for (name, form) in &forms {
        match frozen.get(name) {
            None => wrong.push(format!("{name} is not frozen yet")),
            Some(bytes) if *bytes != form.bytes => {
                let still = if (form.reads)(bytes) { "can still" } else { "cannot" };
                wrong.push(format!("{name} changed, and this build {still} read the frozen bytes"));
            }
            Some(bytes) if !(form.reads)(bytes) => wrong.push(format!("{name} does not read back")),
            Some(_) => {}
        }
    }
    let gone = frozen.keys().filter(|name| !forms.contains_key(*name));
    wrong.extend(gone.map(|name| format!("{name} is frozen, and no form any more")));
    assert!(
        wrong.is_empty(),
        "a format changed; if that is meant, run tests/remake and say so in the commit:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn a_frozen_form_with_a_byte_more_less_or_changed_does_not_read_as_itself() {
    for (name, form) in all() {
        let mut bytes = form.bytes.clone();
        bytes.push(0);
        assert!(!(form.reads)(&bytes), "{name} with a tail");
        let cut = &form.bytes[..form.bytes.len() - 1];
        assert!(!(form.reads)(cut), "{name} without its last byte");
    }
}
