//! A BIP-32 path without hardened steps.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::DeriveError;
use crate::wire::{Read, Reader};

/// A path has at most so many steps.
pub const MAX_DEPTH: usize = 10;

/// Indices from here on are hardened.
const HARDENED: u32 = 1 << 31;

/// One to [`MAX_DEPTH`] indices below 2^31.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Path {
    depth: u8,
    /// What lies behind `depth` is 0.
    indices: [u32; MAX_DEPTH],
}

impl Path {
    /// A path of these steps.
    ///
    /// # Errors
    /// [`DeriveError`] names the rule that is broken.
    pub fn new(indices: &[u32]) -> Result<Self, DeriveError> {
        if indices.is_empty() {
            return Err(DeriveError::EmptyPath);
        }
        if indices.len() > MAX_DEPTH {
            return Err(DeriveError::TooDeep);
        }
        if let Some(place) = indices.iter().position(|index| *index >= HARDENED) {
            return Err(DeriveError::Hardened { step: place as u8 + 1 });
        }
        let mut path = Self { depth: indices.len() as u8, indices: [0; MAX_DEPTH] };
        path.indices.iter_mut().zip(indices).for_each(|(to, from)| *to = *from);
        Ok(path)
    }

    /// The steps.
    #[must_use]
    pub fn indices(&self) -> &[u32] {
        self.indices.get(..usize::from(self.depth)).unwrap_or_default()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.indices().iter().try_for_each(|index| write!(f, "/{index}"))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Path {
    type Err = DeriveError;

    /// Reads `m/0/5`. A number has one spelling: no sign, no leading zero.
    fn from_str(text: &str) -> Result<Self, DeriveError> {
        if text == "m" {
            return Err(DeriveError::EmptyPath);
        }
        let steps = text.strip_prefix("m/").ok_or(DeriveError::Syntax)?;
        let mut indices = heapless::Vec::<u32, MAX_DEPTH>::new();
        for (place, step) in steps.split('/').enumerate() {
            let plain = step.strip_suffix(['\'', 'h', 'H']).unwrap_or(step);
            let digits = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit());
            if !digits || (plain.len() > 1 && plain.starts_with('0')) {
                return Err(DeriveError::Syntax);
            }
            if place >= MAX_DEPTH {
                return Err(DeriveError::TooDeep);
            }
            if plain.len() < step.len() {
                return Err(DeriveError::Hardened { step: place as u8 + 1 });
            }
            let index = plain.parse().map_err(|_| DeriveError::Syntax)?;
            indices.push(index).map_err(|_| DeriveError::TooDeep)?;
        }
        Self::new(&indices)
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.indices().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let indices = heapless::Vec::<u32, MAX_DEPTH>::deserialize(from)?;
        Self::new(&indices).map_err(D::Error::custom)
    }
}

impl Read<'_> for Path {
    fn read(from: &mut Reader<'_>) -> Self {
        let indices = from.field::<heapless::Vec<u32, MAX_DEPTH>>();
        Self::new(&indices).unwrap_or_else(|_| {
            from.fail();
            Self { depth: 0, indices: [0; MAX_DEPTH] }
        })
    }
}
