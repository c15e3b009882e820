//! What the HSM layer writes: a key file of the software emulation, and a blob that it sealed. Both have
//! randomness in them, so what was frozen is not made again: it must open.

use std::os::unix::fs::PermissionsExt as _;

use quorate_hsm::software::{SoftwareProtector, SoftwareSecret};
use quorate_hsm::{BlobKind, Context, open, seal};

use super::{Form, REMAKE, folder};

const SECRET: &[u8] = b"what is sealed";

fn context() -> Context {
    Context {
        network: [1; 16],
        party: 2,
        key: [3; 16],
        epoch: 4,
        policy_version: 5,
        policy_hash: [6; 32],
        kind: BlobKind::Share,
        sequence: 7,
    }
}

fn protector(file: &[u8]) -> Option<SoftwareProtector> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kek");
    std::fs::write(&path, file).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    SoftwareProtector::open(&path, SoftwareSecret::KeyFile).ok()
}

/// The pair on disk, or, when snapshots are made anew and it does not open, a new one.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder().join(name).with_extension("hex")).ok()?;
        hex::decode(text.split_whitespace().collect::<String>()).ok()
    };
    let frozen = read("hsm-software-key-file").zip(read("hsm-sealed-blob"));
    let opens = |(file, blob): &(Vec<u8>, Vec<u8>)| {
        let opened = protector(file).and_then(|with| open(&with, &context(), blob).ok());
        opened.is_some_and(|plain| plain.as_slice() == SECRET)
    };
    match frozen {
        Some(pair) if opens(&pair) || std::env::var_os(REMAKE).is_none() => pair,
        _ if std::env::var_os(REMAKE).is_none() => (Vec::new(), Vec::new()),
        _ => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("kek");
            let made = SoftwareProtector::create(&path, SoftwareSecret::KeyFile).unwrap();
            let blob = seal(&made, &context(), SECRET).unwrap();
            (std::fs::read(path).unwrap(), blob)
        }
    }
}

pub fn forms() -> Vec<Form> {
    let (file, blob) = pair();
    let key = file.clone();
    vec![
        Form::new("hsm-software-key-file", file, |bytes| protector(bytes).map(|_| bytes.to_vec())),
        Form::new("hsm-sealed-blob", blob, move |bytes| {
            let plain = open(&protector(&key)?, &context(), bytes).ok()?;
            (plain.as_slice() == SECRET).then(|| bytes.to_vec())
        }),
    ]
}
