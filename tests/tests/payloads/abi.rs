//! The data of calls.

use std::collections::BTreeMap;

use quorate_core::policy::ethereum::abi::{self, AbiError, Signature};
use quorate_core::policy::ethereum::types::{Type, TypeError};
use quorate_tests::chain::javascript;
use serde::Deserialize;

use crate::show;

/// One line of `abi-corpus.mjs`.
#[derive(Deserialize)]
struct Line {
    about: String,
    signature: String,
    selector: String,
    data: String,
    leaves: Option<Vec<(Vec<u32>, String, String)>>,
    lengths: Option<Vec<(Vec<u32>, u32)>>,
    canonical: Option<String>,
}

/// What ethers reads at every path, read here.
fn assert_same(line: &Line, signature: &Signature, data: &[u8]) -> usize {
    let (types, about) = (signature.types(), format!("{} of {}", line.data, line.signature));
    let (leaves, lengths) = (line.leaves.as_ref().unwrap(), line.lengths.as_ref().unwrap());
    for (path, kind, expected) in leaves {
        let value = abi::argument(data, types, path);
        let value = value.unwrap_or_else(|error| panic!("{error} at {path:?} of {about}"));
        assert_eq!(&show(&value), expected, "{path:?} of {about}");
        match types.at(path) {
            Some(Type::Elementary(elementary)) => assert_eq!(&elementary.to_string(), kind),
            other => panic!("{other:?} at {path:?} of {about}"),
        }
        assert_eq!(abi::length(data, types, path), Err(AbiError::NoSuchArgument));
    }
    for (path, expected) in lengths {
        assert_eq!(abi::length(data, types, path), Ok(*expected), "{path:?} of {about}");
        let nothing = Err(AbiError::NoSuchArgument);
        assert_eq!(abi::argument(data, types, path), nothing);
        let behind = [path.as_slice(), &[*expected]].concat();
        assert_eq!(abi::argument(data, types, &behind), nothing, "{behind:?} of {about}");
    }
    leaves.len()
}

#[test]
fn calls_are_read_as_ethers_reads_them() {
    let mut outcomes = BTreeMap::<(String, &str), u32>::new();
    let mut leaves = 0;
    for line in javascript("abi-corpus.mjs", &["20261128", "800"]).lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        let about = format!("{}: {} of {}", line.about, line.data, line.signature);
        let signature = match Signature::parse(&line.signature) {
            Ok(signature) => signature,
            Err(TypeError::TooDeep | TypeError::TooLong) => {
                *outcomes.entry((line.about, "a type above the limits")).or_default() += 1;
                continue;
            }
            Err(error) => panic!("{error}: {}", line.signature),
        };
        assert_eq!(format!("0x{}", hex::encode(signature.selector)), line.selector);
        let name = line.signature.split('(').next().unwrap();
        assert_eq!(format!("{name}{}", signature.types()), line.signature);

        let data = hex::decode(line.data.strip_prefix("0x").unwrap()).unwrap();
        let ours = abi::check(&data, signature.types());
        // The strict encoding of what it stands for is the one that ethers writes, and no other.
        let canonical = line.canonical.as_ref() == Some(&line.data);
        assert_eq!(ours.is_ok(), canonical, "{ours:?} {about}");
        let outcome = match (&ours, &line.leaves) {
            (Ok(()), _) => {
                leaves += assert_same(&line, &signature, &data);
                "read by both"
            }
            (Err(_), None) => "refused by both",
            (Err(_), Some(_)) => "another encoding",
        };
        *outcomes.entry((line.about, outcome)).or_default() += 1;
    }
    println!("{outcomes:#?} {leaves}");
    assert!(leaves > 10_000, "{leaves}");
    for (about, outcome) in [
        ("whole", "read by both"),
        ("flip", "read by both"),
        ("flip", "another encoding"),
        ("flip", "refused by both"),
        ("word", "read by both"),
        ("word", "another encoding"),
        ("append", "another encoding"),
        ("truncate", "refused by both"),
    ] {
        assert!(outcomes.contains_key(&(about.to_owned(), outcome)), "never: {outcome} {about}");
    }
    assert!(
        outcomes.keys().all(|(about, outcome)| about != "whole" || *outcome != "refused by both")
    );
}
