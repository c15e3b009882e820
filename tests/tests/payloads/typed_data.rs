//! Typed data: JSON, the compact form, its digest and its values.

use quorate_core::policy::ethereum::typed_data::TypedData;
use quorate_core::policy::payload::{PathStep, Value};
use quorate_node::typed_data::compact_typed_data;
use quorate_tests::chain::javascript;
use serde::Deserialize;
use serde_json::json;

use crate::show;

/// A path as JSON has it: names and indices.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Step {
    Name(String),
    Index(u32),
}

fn steps(path: &[Step]) -> Vec<PathStep<'_>> {
    let step = |step| match step {
        &Step::Index(index) => PathStep::Index(index),
        Step::Name(name) => PathStep::Name(name),
    };
    path.iter().map(step).collect()
}

/// One line of `typed-data-corpus.mjs`.
#[derive(Deserialize)]
struct Line {
    json: serde_json::Value,
    digest: String,
    #[serde(rename = "type")]
    kind: String,
    leaves: Vec<(Vec<Step>, String, String)>,
    lengths: Vec<(Vec<Step>, u32)>,
}

/// Everything that ethers says of it, read in the compact form.
fn assert_same(line: &Line) -> usize {
    let bytes =
        compact_typed_data(&line.json).unwrap_or_else(|error| panic!("{error}: {}", line.json));
    let data = TypedData::parse(&bytes).unwrap();
    assert_eq!(format!("0x{}", hex::encode(data.digest())), line.digest, "{}", line.json);
    assert_eq!(Some(data.primary_type()), line.json["primaryType"].as_str());
    let mut text = String::new();
    data.encode_type(&mut text).unwrap();
    assert_eq!(text, line.kind);
    for (path, kind, expected) in &line.leaves {
        let value = data.field(&steps(path)).unwrap_or_else(|| panic!("{path:?} of {}", line.json));
        assert_eq!(&show(&value), expected, "{path:?} of {}", line.json);
        assert!(kind.starts_with(kind_of(&value)), "{kind} {value:?}");
        assert_eq!(data.length(&steps(path)), None);
    }
    for (path, expected) in &line.lengths {
        assert_eq!(data.length(&steps(path)), Some(*expected), "{path:?} of {}", line.json);
        assert_eq!(data.field(&steps(path)), None);
        let behind = [steps(path), vec![PathStep::Index(*expected)]].concat();
        assert_eq!((data.field(&behind), data.length(&behind)), (None, None));
    }
    for name in ["name", "version", "chainId", "verifyingContract", "salt"] {
        let given = &line.json["domain"][name];
        assert_eq!(data.domain(name).is_none(), given.is_null(), "{name} of {}", line.json);
        if let (Some(value), Some(text)) = (data.domain(name), given.as_str())
            && name != "chainId"
        {
            assert_eq!(show(&value).to_lowercase(), text.to_lowercase());
        }
    }
    line.leaves.len()
}

fn kind_of(value: &Value<'_>) -> &'static str {
    match value {
        Value::Uint(_) => "uint",
        Value::Int(_) => "int",
        Value::Bool(_) => "bool",
        Value::Address(_) => "address",
        Value::FixedBytes(_) | Value::Bytes(_) => "bytes",
        Value::Text(_) => "string",
    }
}

#[test]
fn typed_data_is_hashed_and_read_as_ethers_does() {
    let mut leaves = 0;
    let text = javascript("typed-data-corpus.mjs", &["20261128", "2000"]);
    for line in text.lines() {
        leaves += assert_same(&serde_json::from_str(line).unwrap());
    }
    assert!(leaves > 10_000, "{leaves}");
}

/// One of `vectors/typed-data.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    name: String,
    types: serde_json::Value,
    primary_type: String,
    domain: serde_json::Value,
    data: serde_json::Value,
    digest: String,
}

#[test]
fn published_typed_data_has_its_published_digest() {
    let text = include_str!("../../vectors/typed-data.json");
    let vectors: Vec<Vector> = serde_json::from_str(text).unwrap();
    assert_eq!(vectors.len(), 42);
    for vector in vectors {
        let json = json!({
            "types": vector.types, "primaryType": vector.primary_type,
            "domain": vector.domain, "message": vector.data,
        });
        let bytes = compact_typed_data(&json);
        let bytes = bytes.unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        let digest = TypedData::parse(&bytes).unwrap().digest();
        assert_eq!(format!("0x{}", hex::encode(digest)), vector.digest, "{}", vector.name);
    }
}
