//! A context string: what a derived key is for, in the application's words.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::DeriveError;
use crate::wire::{Read, Reader};

/// A context has at most so many bytes.
pub const MAX_CONTEXT: usize = 64;

/// 1 to [`MAX_CONTEXT`] bytes of UTF-8. Texts that only look alike are different contexts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Context {
    length: u8,
    /// What lies behind `length` is 0.
    bytes: [u8; MAX_CONTEXT],
}

impl Context {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        // These bytes came out of a `str` as a whole.
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl FromStr for Context {
    type Err = DeriveError;

    fn from_str(text: &str) -> Result<Self, DeriveError> {
        if text.is_empty() || text.len() > MAX_CONTEXT {
            return Err(DeriveError::ContextLength);
        }
        let mut context = Self { length: text.len() as u8, bytes: [0; MAX_CONTEXT] };
        context.bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Ok(context)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Serialize for Context {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.as_str().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = heapless::String::<MAX_CONTEXT>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Read<'_> for Context {
    fn read(from: &mut Reader<'_>) -> Self {
        from.text().parse().unwrap_or_else(|_| {
            from.fail();
            Self { length: 0, bytes: [0; MAX_CONTEXT] }
        })
    }
}
