//! Derived keys (`docs/PROTOCOL.md` §4): one key generation serves any number of addresses.
//!
//! A [`Derivation`] leads from (X, chain code) to a tweak ε; the derived key is Y = X + ε·G, and party
//! i's share of it is x_i + ε. ε is public and comes from here alone: a tweak that a caller could choose
//! would let it choose Y to fit a nonce.
//!
//! - A [`Path`] is a BIP-32 path, for the suites over secp256k1. Each step is CKDpub:
//!   ε += left half of HMAC-SHA512(chain code, point ‖ index), refused if not below p; the right half is
//!   the next chain code. Only indices below 2^31: hardened steps need the private key, which is nowhere.
//! - A [`Context`] is a string, for every suite:
//!   ε = H2F("derive", suite, X, chain code, context), and the chain code that goes with Y is
//!   H("derive-cc", suite, X, chain code, context).

mod context;
mod path;

use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha512;

use crate::curve::{Group, PointBytes, Suite};
use crate::hash::{Digest, Transcript};
use crate::wire::{Read, Reader};

pub use context::{Context, MAX_CONTEXT};
pub use path::{MAX_DEPTH, Path};

/// Which of a key's descendants is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Derivation {
    /// The key itself.
    Root,
    /// By a BIP-32 path.
    Path(Path),
    /// By a context string.
    Context(Context),
}

impl Read<'_> for Derivation {
    fn read(from: &mut Reader<'_>) -> Self {
        match from.variant(3) {
            0 => Self::Root,
            1 => Self::Path(from.field()),
            _ => Self::Context(from.field()),
        }
    }
}

impl Derivation {
    /// Adds the derivation to a transcript.
    #[must_use]
    pub fn bind(&self, to: Transcript) -> Transcript {
        match self {
            Self::Root => to.bytes(b"root"),
            Self::Path(path) => {
                let indices = path.indices();
                let counted = to.bytes(b"path").u16(indices.len() as u16);
                indices.iter().fold(counted, |t, index| t.u32(*index))
            }
            Self::Context(context) => to.bytes(b"context").bytes(context.as_str().as_bytes()),
        }
    }
}

impl core::fmt::Display for Derivation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Root => f.write_str("m"),
            Self::Path(path) => path.fmt(f),
            Self::Context(context) => write!(f, "{:?}", context.as_str()),
        }
    }
}

/// Why there is no such derived key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeriveError {
    /// The text is no path.
    Syntax,
    /// A path without steps: that is the key itself.
    EmptyPath,
    /// More steps than [`MAX_DEPTH`].
    TooDeep,
    /// This step (from 1) is hardened.
    Hardened {
        /// Its place in the path.
        step: u8,
    },
    /// A context that is empty or longer than [`MAX_CONTEXT`].
    ContextLength,
    /// Keys of this suite have no BIP-32 paths.
    NoPaths(Suite),
    /// The tweak is not below p, or the point is the identity: one in 2^127.
    Invalid,
}

impl core::fmt::Display for DeriveError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Syntax => f.write_str("a path like m/0/5 is expected"),
            Self::EmptyPath => f.write_str("a path without steps is the key itself: leave it out"),
            Self::TooDeep => write!(f, "a path has at most {MAX_DEPTH} steps"),
            Self::Hardened { step } => write!(
                f,
                "step {step} of the path is hardened, which needs the private key, and that is \
                 nowhere: use indices below 2147483648 without '"
            ),
            Self::ContextLength => write!(f, "a context has 1 to {MAX_CONTEXT} bytes"),
            Self::NoPaths(suite) => {
                write!(f, "keys of {suite:?} have no BIP-32 paths: use a context instead")
            }
            Self::Invalid => {
                f.write_str("this derivation gives no valid key: use the next index or context")
            }
        }
    }
}

impl core::error::Error for DeriveError {}

/// Version bytes, depth, parent's fingerprint and index of an unparented extended public key.
const XPUB_HEAD: [u8; 13] = [0x04, 0x88, 0xb2, 0x1e, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Characters of an xpub: 78 bytes and a checksum of 4.
const XPUB_LENGTH: usize = 112;

/// A key that others derive from: its point and chain code. Nothing in it is secret, but whoever has it
/// can link all addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExtendedKey<G: Group> {
    group: G,
    point: G::Point,
    encoded: PointBytes,
    chain_code: Digest,
}

impl<G: Group> ExtendedKey<G> {
    /// From a group key and its chain code; `None` if the bytes are no point.
    #[must_use]
    pub fn new(group: G, encoded: &PointBytes, chain_code: Digest) -> Option<Self> {
        let point = group.point_from_bytes(encoded)?;
        Some(Self { group, point, encoded: *encoded, chain_code })
    }

    /// From a point that was parsed before.
    pub(crate) fn of(group: G, point: G::Point, encoded: [u8; 33], chain_code: Digest) -> Self {
        Self { group, point, encoded: PointBytes(encoded), chain_code }
    }

    /// The group that it is in.
    #[must_use]
    pub fn group(&self) -> G {
        self.group
    }

    /// The key, encoded.
    #[must_use]
    pub fn encoded(&self) -> &PointBytes {
        &self.encoded
    }

    /// ε, Y and its chain code.
    ///
    /// # Errors
    /// [`DeriveError::NoPaths`] or [`DeriveError::Invalid`].
    pub fn derive(&self, derivation: &Derivation) -> Result<DerivedKey<G>, DeriveError> {
        // The compiler would see which it is, and make the function for each.
        self.derive_in(core::hint::black_box(self.group.suite()), derivation)
    }

    /// The same with its suite by value: two suites of one curve share the code on a chip.
    #[inline(never)]
    fn derive_in(
        &self,
        suite: Suite,
        derivation: &Derivation,
    ) -> Result<DerivedKey<G>, DeriveError> {
        let root = DerivedKey { tweak: self.group.zero(), key: *self };
        match derivation {
            Derivation::Root => Ok(root),
            Derivation::Path(path) if has_paths(suite) => {
                path.indices().iter().try_fold(root, |parent, index| parent.child(*index))
            }
            Derivation::Path(_) => Err(DeriveError::NoPaths(suite)),
            Derivation::Context(context) => {
                let bound = |tag| {
                    Transcript::new(tag)
                        .bytes(&[suite.into()])
                        .bytes(&self.encoded.0)
                        .bytes(&self.chain_code)
                        .bytes(context.as_str().as_bytes())
                };
                let tweak = self.group.scalar_from_wide(&bound("derive").wide());
                root.shifted(&tweak, bound("derive-cc").finish())
            }
        }
    }

    /// The key in the notation of BIP-32, as an unparented key of the main network; `None` for suites
    /// without paths.
    #[must_use]
    pub fn xpub(&self) -> Option<heapless::String<XPUB_LENGTH>> {
        if !has_paths(self.group.suite()) {
            return None;
        }
        let mut bytes = [0; 78];
        let fields = XPUB_HEAD.iter().chain(&self.chain_code).chain(&self.encoded.0);
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = *from);
        let mut text = [0; XPUB_LENGTH];
        let length = bs58::encode(bytes).with_check().onto(text.as_mut_slice()).ok()?;
        core::str::from_utf8(text.get(..length)?).ok()?.try_into().ok()
    }
}

/// Whether wallets derive keys of this suite by BIP-32.
fn has_paths(suite: Suite) -> bool {
    matches!(suite, Suite::EcdsaSecp256k1 | Suite::SchnorrSecp256k1)
}

/// A derived key Y = X + ε·G. Only [`ExtendedKey::derive`] makes one.
#[derive(Clone, Copy, PartialEq)]
pub struct DerivedKey<G: Group> {
    tweak: G::Scalar,
    key: ExtendedKey<G>,
}

impl<G: Group> core::fmt::Debug for DerivedKey<G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DerivedKey({:?})", self.key.encoded)
    }
}

impl<G: Group> DerivedKey<G> {
    /// The group that it is in.
    #[must_use]
    pub fn group(&self) -> G {
        self.key.group
    }

    /// ε, public; 0 for the root.
    #[must_use]
    pub fn tweak(&self) -> &G::Scalar {
        &self.tweak
    }

    /// Y.
    #[must_use]
    pub fn point(&self) -> G::Point {
        self.key.point
    }

    /// Y, SEC1-compressed.
    #[must_use]
    pub fn encoded(&self) -> &PointBytes {
        &self.key.encoded
    }

    /// The chain code that goes with Y.
    #[must_use]
    pub fn chain_code(&self) -> &Digest {
        &self.key.chain_code
    }

    /// CKDpub of BIP-32.
    #[inline(never)]
    fn child(&self, index: u32) -> Result<Self, DeriveError> {
        let mut mac = Hmac::<Sha512>::new_from_slice(&self.key.chain_code)
            .map_err(|_| DeriveError::Invalid)?;
        mac.update(&self.key.encoded.0);
        mac.update(&index.to_be_bytes());
        let output: [u8; 64] = mac.finalize().into_bytes().into();
        let (Some(left), Some(right)) = (output.first_chunk(), output.last_chunk()) else {
            return Err(DeriveError::Invalid);
        };
        let tweak = self.key.group.scalar_from_bytes(left).ok_or(DeriveError::Invalid)?;
        self.shifted(&tweak, *right)
    }

    #[inline(never)]
    fn shifted(&self, tweak: &G::Scalar, chain_code: Digest) -> Result<Self, DeriveError> {
        let point = self.key.point + G::mul_base(tweak);
        // The identity has no encoding.
        let encoded = G::point_to_bytes(&point).ok_or(DeriveError::Invalid)?;
        let key = ExtendedKey { group: self.key.group, point, encoded, chain_code };
        Ok(Self { tweak: self.tweak + *tweak, key })
    }
}

#[cfg(test)]
mod tests;
