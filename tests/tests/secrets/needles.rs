//! Searching bytes for secrets in every likely encoding.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What to look for, and what to call it; it has no `Debug`.
pub struct Secret {
    pub name: String,
    pub bytes: [u8; 32],
}

impl Secret {
    /// Sixteen bytes that are no secret: the control of a search.
    pub fn short(name: &str, bytes: &[u8; 16]) -> ShortControl {
        ShortControl { name: name.to_owned(), bytes: *bytes }
    }
}

pub struct ShortControl {
    name: String,
    bytes: [u8; 16],
}

/// Anything with a name and bytes.
pub trait Sought {
    fn name(&self) -> &str;
    fn bytes(&self) -> &[u8];
}

impl Sought for Secret {
    fn name(&self) -> &str {
        &self.name
    }
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Sought for ShortControl {
    fn name(&self) -> &str {
        &self.name
    }
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes that all needles start with are compared first.
const START: usize = 8;

/// All encodings of some secrets, for one pass over the bytes.
pub struct Haystack(HashMap<[u8; START], Vec<(String, Vec<u8>)>>);

impl Haystack {
    pub fn new<'a, T: Sought + 'a>(secrets: impl IntoIterator<Item = &'a T>) -> Self {
        let mut starts: HashMap<[u8; START], Vec<(String, Vec<u8>)>> = HashMap::new();
        for secret in secrets {
            for (how, needle) in encodings(secret.bytes()) {
                let start = needle[..START].try_into().unwrap();
                starts
                    .entry(start)
                    .or_default()
                    .push((format!("{}, {how}", secret.name()), needle));
            }
        }
        Self(starts)
    }

    /// What is in `bytes`.
    pub fn search(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (place, start) in bytes.windows(START).enumerate() {
            let Some(needles) = self.0.get(start) else { continue };
            let here = needles.iter().filter(|(_, needle)| bytes[place..].starts_with(needle));
            found.extend(here.map(|(what, _)| what.clone()));
        }
        found
    }
}

fn encodings(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut reversed = bytes.to_vec();
    reversed.reverse();
    let mut all = Vec::new();
    for order in [bytes, &reversed] {
        all.push(("raw", order.to_vec()));
        let hexadecimal = hex::encode(order);
        all.push(("upper-case hexadecimal", hexadecimal.to_uppercase().into_bytes()));
        all.push(("hexadecimal", hexadecimal.into_bytes()));
        // Of whatever is encoded before and behind it, the inner characters do not depend.
        for before in 0..3usize {
            let text = [vec![0; before], order.to_vec()].concat();
            let inner = (before * 8).div_ceil(6)..text.len() * 8 / 6;
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                all.push(("base64", engine.encode(&text).as_bytes()[inner.clone()].to_vec()));
            }
        }
    }
    all
}
