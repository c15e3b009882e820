//! Which types of the core hold secrets, by its sources. They are formatted, so that an item of a module
//! begins and ends at the first column, and a definition can be read without a parser.

use std::collections::BTreeSet;
use std::path::Path;

/// What is secret by itself; the last two are other crates'. All other types are secret by what they hold.
const LEAVES: [&str; 3] = ["SecretBytes", "SecretScalar", "Zeroizing"];

/// A struct, an enum or an alias.
pub struct Type {
    /// Module and name: `ecdsa::Signer`.
    pub path: String,
    pub public: bool,
    /// It derives `Debug`, or implements it by hand.
    pub debug: Option<Debug>,
    name: String,
    definition: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debug {
    Derived,
    ByHand,
}

/// All types that are, or hold, secrets.
pub fn secret_types() -> Vec<Type> {
    let mut all = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src"), "", &mut all);
    assert!(all.len() > 60, "{}", all.len());
    let mut secret: BTreeSet<String> = LEAVES.map(str::to_owned).into();
    loop {
        let known = secret.len();
        let holds = |ty: &&Type| words(&ty.definition).any(|word| secret.contains(word));
        let found: Vec<String> = all.iter().filter(holds).map(|ty| ty.name.clone()).collect();
        secret.extend(found);
        if secret.len() == known {
            break;
        }
    }
    all.retain(|ty| {
        LEAVES.contains(&ty.name.as_str())
            || words(&ty.definition).any(|word| secret.contains(word))
    });
    all
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

fn read(folder: &Path, module: &str, all: &mut Vec<Type>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let inner = if name == "lib" { String::new() } else { format!("{module}{name}::") };
        if path.is_dir() {
            read(&path, &inner, all);
        } else if name != "tests" {
            types(&std::fs::read_to_string(&path).unwrap(), module, name, all);
        }
    }
}

/// The types of one file, unit tests left out. A private submodule's name stays in the path.
fn types(text: &str, module: &str, file: &str, all: &mut Vec<Type>) {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let (mut attributes, mut lines) = (String::new(), text.lines());
    while let Some(line) = lines.next() {
        if line.starts_with("#[") || (!attributes.is_empty() && line.starts_with(')')) {
            attributes.push_str(line);
            continue;
        }
        let words: Vec<&str> = words(line).filter(|word| !word.is_empty()).collect();
        let kind = words.iter().position(|word| ["struct", "enum", "type"].contains(word));
        let item = kind.filter(|place| *place <= 2 && !line.starts_with([' ', '/', '}']));
        let Some(name) = item.and_then(|place| words.get(place + 1)) else {
            if !line.starts_with("//") {
                attributes.clear();
            }
            continue;
        };
        let mut definition = line.split_once(name).unwrap().1.to_owned();
        // The rest of the definition; comments and the names of variants are no types.
        while !definition.ends_with(';') && !definition.ends_with('}') {
            let Some(more) = lines.next() else { break };
            let code = more.split("//").next().unwrap();
            let variant = words.contains(&"enum") && !more.starts_with("     ");
            definition.push_str(if variant {
                code.split_once(['(', '{']).map_or("", |v| v.1)
            } else {
                code
            });
            definition.push(' ');
            if more == "}" {
                break;
            }
        }
        let by_hand = text.lines().any(|line| {
            line.starts_with("impl") && line.contains("Debug for ") && contains_word(line, name)
        });
        let derived = attributes.contains("derive(") && contains_word(&attributes, "Debug");
        all.push(Type {
            path: format!("{module}{file}::{name}"),
            public: line.starts_with("pub "),
            debug: match (derived, by_hand) {
                (true, _) => Some(Debug::Derived),
                (_, true) => Some(Debug::ByHand),
                _ => None,
            },
            name: (*name).to_owned(),
            definition,
        });
        attributes.clear();
    }
}

fn contains_word(text: &str, word: &str) -> bool {
    words(text).any(|other| other == word)
}

/// The scan itself sees what it must.
#[test]
fn the_types_that_hold_secrets_are_found() {
    let found = secret_types();
    let of = |path: &str| found.iter().find(|ty| ty.path == path);
    for (path, public, debug) in [
        ("secret::SecretBytes", true, Some(Debug::ByHand)),
        ("secret::SecretScalar", true, Some(Debug::ByHand)),
        ("key::ShareRecord", true, Some(Debug::Derived)),
        ("key::opened::NonceKey", false, None),
        ("key::opened::OpenedKey", true, None),
        ("ecdsa::Signer", true, None),
        ("dkg::Dkg", true, None),
        ("frost::pool::NoncePool", true, Some(Debug::ByHand)),
        ("frost::pool::Change", true, Some(Debug::ByHand)),
        ("frost::sign::Reserved", true, Some(Debug::ByHand)),
        ("frost::sign::Consumed", true, Some(Debug::ByHand)),
    ] {
        let ty = of(path).unwrap_or_else(|| unreachable!("{path} is not found"));
        assert_eq!((ty.public, ty.debug), (public, debug), "{path}");
    }
    for path in [
        "key::PublicKey",
        "party::Holders",
        "ecdsa::combine::Signature",
        "frost::sign::Listed",
        "frost::offers::Offers",
    ] {
        assert!(of(path).is_none(), "{path}");
    }
}
