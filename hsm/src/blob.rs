//! Sealed blobs: a payload under a fresh DEK, the DEK under the HSM's KEK, both bound to a context.
//!
//! ```text
//! "QSLB" version suite | context | profile KEK-reference | wrapped DEK | nonce | ciphertext
//! ```
//! Payload AAD: everything up to the context. Wrap AAD: profile, KEK reference and SHA-256 of that
//! prefix, so that a re-wrap under a new KEK touches the DEK only. The layout is frozen by a test.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::codec::{Reader, hex};
use crate::protector::{MAX_KEK, NONCE, host_open, host_seal};
use crate::{Dek, HsmError, KekReference, KeyProtector, Profile};

/// The largest payload.
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// What a blob holds. The codes are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[repr(u8)]
pub enum BlobKind {
    /// A share in use.
    Share = 1,
    /// A share of an epoch that is not yet confirmed.
    PendingShare = 2,
    /// The node's identity key.
    Identity = 3,
    /// The key that hedges nonces.
    HedgeKey = 4,
    /// FROST nonces.
    Nonces = 5,
}

/// What a blob belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The network's identifier.
    pub network: [u8; 16],
    /// The party's index.
    pub party: u16,
    /// The key's identifier.
    pub key: [u8; 16],
    /// The generation of the sharing.
    pub epoch: u32,
    /// The policy's version.
    pub policy_version: u32,
    /// The policy's hash.
    pub policy_hash: [u8; 32],
    /// What the payload is.
    pub kind: BlobKind,
    /// Counts the writes of this blob.
    pub sequence: u64,
}

/// What a blob says about itself, unauthenticated until it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobHeader {
    /// What it belongs to.
    pub context: Context,
    /// How its DEK is wrapped.
    pub profile: Profile,
    /// Under which KEK.
    pub kek: KekReference,
}

/// Seals, and opens the result again before returning it: whoever deletes the plaintext may rely on it.
pub fn seal(
    protector: &dyn KeyProtector,
    context: &Context,
    plaintext: &[u8],
) -> Result<Vec<u8>, HsmError> {
    if plaintext.len() > MAX_PAYLOAD {
        return Err(HsmError::TooLarge { size: plaintext.len(), limit: MAX_PAYLOAD });
    }
    let prefix = context.prefix();
    let (dek, nonce) = Dek::random_with_nonce()?;
    let ciphertext = host_seal(dek.expose(), &nonce, &prefix, plaintext)?;
    let wrapped =
        protector.wrap(&dek, &wrap_aad(protector.profile(), protector.kek(), &prefix)?)?;
    let blob =
        assemble(&prefix, protector.profile(), protector.kek(), &wrapped, &nonce, &ciphertext)?;
    let opened = open(protector, context, &blob)?;
    if !same_bytes(&opened, plaintext) {
        return Err(HsmError::Unavailable {
            reason: "a fresh blob did not open to its payload".to_owned(),
        });
    }
    Ok(blob)
}

/// Opens a blob that must belong to `expected`.
pub fn open(
    protector: &dyn KeyProtector,
    expected: &Context,
    blob: &[u8],
) -> Result<Zeroizing<Vec<u8>>, HsmError> {
    let parts = parse(blob)?;
    let prefix = expected.prefix();
    let dek = open_dek(protector, expected, &parts)?;
    open_payload(&dek, &prefix, &parts)
}

/// Puts a blob under another KEK: its DEK is unwrapped and wrapped again, and nothing else of it changes.
/// The blob must open under `old` as [`open`] opens it; what is returned was opened under `new`, to the
/// same payload.
///
/// # Errors
/// As [`open`] for the blob; what `new` says if it does not wrap, or does not open what it wrapped.
pub fn rewrap(
    old: &dyn KeyProtector,
    new: &dyn KeyProtector,
    expected: &Context,
    blob: &[u8],
) -> Result<Vec<u8>, HsmError> {
    let parts = parse(blob)?;
    let prefix = expected.prefix();
    let dek = open_dek(old, expected, &parts)?;
    let payload = open_payload(&dek, &prefix, &parts)?;
    let wrapped = new.wrap(&dek, &wrap_aad(new.profile(), new.kek(), &prefix)?)?;
    let moved =
        assemble(&prefix, new.profile(), new.kek(), &wrapped, &parts.nonce, parts.ciphertext)?;
    let opened = open(new, expected, &moved)?;
    if !same_bytes(&opened, &payload) {
        return Err(HsmError::Unavailable {
            reason: "a re-wrapped blob did not open to its payload".to_owned(),
        });
    }
    Ok(moved)
}

/// In constant time. Eight bytes at once: one by one, a large payload would take longer to compare than to
/// open.
fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    let ((words, rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let differ = words.iter().zip(others).fold(0, |differ, (one, other)| {
        differ | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other))
    });
    one.len() == other.len() && bool::from(differ.ct_eq(&0) & rest.ct_eq(other_rest))
}

fn open_dek(
    protector: &dyn KeyProtector,
    expected: &Context,
    parts: &Parts<'_>,
) -> Result<Dek, HsmError> {
    parts.header.context.must_be(expected)?;
    if parts.header.kek != *protector.kek() {
        return Err(HsmError::WrongKek {
            open: protector.kek().to_string(),
            blob: parts.header.kek.to_string(),
        });
    }
    if parts.header.profile != protector.profile() {
        return Err(HsmError::Unsupported {
            what: format!(
                "sealed with {}, but {} is open",
                parts.header.profile,
                protector.profile()
            ),
        });
    }
    let aad = wrap_aad(protector.profile(), protector.kek(), &expected.prefix())?;
    match protector.unwrap(parts.wrapped, &aad) {
        // Error codes cannot tell a corrupt blob from a broken HSM; the canary can.
        Err(HsmError::Corrupt { .. } | HsmError::Unavailable { .. }) => {
            protector.health()?;
            // Once more, since a fault may have passed between the two.
            match protector.unwrap(parts.wrapped, &aad) {
                Err(HsmError::Corrupt { .. } | HsmError::Unavailable { .. }) => {
                    Err(HsmError::Corrupt { what: "wrapped key or header" })
                }
                other => other,
            }
        }
        exact => exact,
    }
}

fn open_payload(
    dek: &Dek,
    prefix: &[u8],
    parts: &Parts<'_>,
) -> Result<Zeroizing<Vec<u8>>, HsmError> {
    host_open(dek.expose(), &parts.nonce, prefix, parts.ciphertext)
        .ok_or(HsmError::Corrupt { what: "payload" })
}

/// Reads the header without opening the blob.
pub fn inspect(blob: &[u8]) -> Result<BlobHeader, HsmError> {
    Ok(parse(blob)?.header)
}

const MAGIC: &[u8; 4] = b"QSLB";
const VERSION: u8 = 1;
/// XChaCha20-Poly1305 over the payload.
const SUITE: u8 = 1;
const TAG: usize = 16;
/// Bytes from the magic to the sequence.
const PREFIX: usize = 89;
const MAX_WRAPPED: usize = 1024;

struct Parts<'a> {
    header: BlobHeader,
    wrapped: &'a [u8],
    nonce: [u8; NONCE],
    ciphertext: &'a [u8],
}

fn parse(blob: &[u8]) -> Result<Parts<'_>, HsmError> {
    let mut reader = Reader(blob);
    if reader.take(MAGIC.len(), "magic")? != MAGIC {
        return Err(HsmError::Corrupt { what: "magic" });
    }
    let (version, suite) = (reader.u8("version")?, reader.u8("suite")?);
    if (version, suite) != (VERSION, SUITE) {
        return Err(HsmError::Unsupported {
            what: format!("blob version {version}, suite {suite}"),
        });
    }
    let context = Context::decode(&mut reader)?;
    let profile = Profile::from_code(reader.u8("profile")?)?;
    let kek = KekReference::decode(&mut reader)?;
    let wrapped_length = usize::from(reader.u16("wrapped key")?);
    if wrapped_length > MAX_WRAPPED {
        return Err(HsmError::Corrupt { what: "wrapped key" });
    }
    let wrapped = reader.take(wrapped_length, "wrapped key")?;
    let nonce = reader.array("nonce")?;
    let length = usize::try_from(reader.u32("payload")?)
        .map_err(|_| HsmError::Corrupt { what: "payload" })?;
    if !(TAG..=MAX_PAYLOAD + TAG).contains(&length) {
        return Err(HsmError::Corrupt { what: "payload" });
    }
    let ciphertext = reader.take(length, "payload")?;
    reader.finish()?;
    Ok(Parts { header: BlobHeader { context, profile, kek }, wrapped, nonce, ciphertext })
}

fn assemble(
    prefix: &[u8],
    profile: Profile,
    kek: &KekReference,
    wrapped: &[u8],
    nonce: &[u8; NONCE],
    ciphertext: &[u8],
) -> Result<Vec<u8>, HsmError> {
    let too_large = |size, limit| HsmError::TooLarge { size, limit };
    if wrapped.len() > MAX_WRAPPED {
        return Err(too_large(wrapped.len(), MAX_WRAPPED));
    }
    let wrapped_length =
        u16::try_from(wrapped.len()).map_err(|_| too_large(wrapped.len(), MAX_WRAPPED))?;
    let length =
        u32::try_from(ciphertext.len()).map_err(|_| too_large(ciphertext.len(), MAX_PAYLOAD))?;
    let room = prefix.len() + MAX_KEK + wrapped.len() + NONCE + ciphertext.len() + 16;
    let mut blob = Vec::with_capacity(room);
    blob.extend_from_slice(prefix);
    blob.push(profile.code());
    kek.encode(&mut blob)?;
    blob.extend_from_slice(&wrapped_length.to_be_bytes());
    blob.extend_from_slice(wrapped);
    blob.extend_from_slice(nonce);
    blob.extend_from_slice(&length.to_be_bytes());
    blob.extend_from_slice(ciphertext);
    Ok(blob)
}

fn wrap_aad(profile: Profile, kek: &KekReference, prefix: &[u8]) -> Result<Vec<u8>, HsmError> {
    let mut aad = Vec::with_capacity(64 + MAX_KEK);
    aad.extend_from_slice(b"quorate wrap v1");
    aad.push(profile.code());
    kek.encode(&mut aad)?;
    aad.extend_from_slice(&Sha256::digest(prefix));
    Ok(aad)
}

impl BlobKind {
    fn from_code(code: u8) -> Result<Self, HsmError> {
        [Self::Share, Self::PendingShare, Self::Identity, Self::HedgeKey, Self::Nonces]
            .into_iter()
            .find(|kind| *kind as u8 == code)
            .ok_or(HsmError::Corrupt { what: "kind" })
    }
}

impl Context {
    /// Magic, version, suite and context: what the payload is bound to.
    fn prefix(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PREFIX);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, SUITE]);
        out.extend_from_slice(&self.network);
        out.extend_from_slice(&self.party.to_be_bytes());
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.policy_version.to_be_bytes());
        out.extend_from_slice(&self.policy_hash);
        out.push(self.kind as u8);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, HsmError> {
        const WHAT: &str = "context";
        Ok(Self {
            network: reader.array(WHAT)?,
            party: reader.u16(WHAT)?,
            key: reader.array(WHAT)?,
            epoch: reader.u32(WHAT)?,
            policy_version: reader.u32(WHAT)?,
            policy_hash: reader.array(WHAT)?,
            kind: BlobKind::from_code(reader.u8(WHAT)?)?,
            sequence: reader.u64(WHAT)?,
        })
    }

    /// Age comes before policy: an old blob usually carries an old policy too, and rollback is the graver news.
    fn must_be(&self, expected: &Self) -> Result<(), HsmError> {
        same("network", &expected.network, &self.network, |id| hex(id))?;
        same("party", &expected.party, &self.party, u16::to_string)?;
        same("key", &expected.key, &self.key, |id| hex(id))?;
        same("kind", &expected.kind, &self.kind, |kind| format!("{kind:?}"))?;
        not_older("epoch", u64::from(expected.epoch), u64::from(self.epoch))?;
        not_older("sequence", expected.sequence, self.sequence)?;
        same("policy version", &expected.policy_version, &self.policy_version, u32::to_string)?;
        same("policy hash", &expected.policy_hash, &self.policy_hash, |hash| hex(hash))
    }
}

/// Makes text of what differs only: every opening comes through here.
fn same<T: PartialEq>(
    field: &'static str,
    expected: &T,
    found: &T,
    text: impl Fn(&T) -> String,
) -> Result<(), HsmError> {
    if expected == found {
        return Ok(());
    }
    Err(HsmError::WrongContext { field, expected: text(expected), found: text(found) })
}

fn not_older(field: &'static str, expected: u64, found: u64) -> Result<(), HsmError> {
    if found < expected {
        return Err(HsmError::Rollback { field, expected, found });
    }
    same(field, &expected, &found, u64::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_only_if_all_are() {
        for length in 0..40 {
            let bytes: Vec<u8> = (0..length).collect();
            assert!(same_bytes(&bytes, &bytes));
            for place in 0..bytes.len() {
                let mut other = bytes.clone();
                other[place] ^= 0x80;
                assert!(!same_bytes(&bytes, &other), "byte {place} of {length}");
                assert!(!same_bytes(&bytes, &bytes[..place]), "{place} of {length} bytes");
                assert!(!same_bytes(&bytes[..place], &bytes), "{length} bytes after {place}");
            }
        }
    }

    #[test]
    fn the_layout_is_frozen() {
        let context = Context {
            network: [0x11; 16],
            party: 0x0203,
            key: [0x22; 16],
            epoch: 7,
            policy_version: 9,
            policy_hash: [0x33; 32],
            kind: BlobKind::Identity,
            sequence: 0x0102_0304_0506_0708,
        };
        let kek = KekReference {
            backend: "pkcs11".into(),
            token: "t1".into(),
            id: vec![0xab, 0xcd],
            version: 4,
        };
        let blob = assemble(
            &context.prefix(),
            Profile::TokenGcm,
            &kek,
            &[0x44; 3],
            &[0x55; 24],
            &[0x66; 16],
        )
        .unwrap();
        let expected = [
            "51534c42",
            "01",
            "01",
            &"11".repeat(16),
            "0203",
            &"22".repeat(16),
            "00000007",
            "00000009",
            &"33".repeat(32),
            "03",
            "0102030405060708",
            "01",
            "06706b63733131",
            "027431",
            "02abcd",
            "00000004",
            "0003444444",
            &"55".repeat(24),
            "00000010",
            &"66".repeat(16),
        ]
        .concat();
        assert_eq!(hex(&blob), expected);
        let header = inspect(&blob).unwrap();
        assert_eq!((header.context, header.kek), (context, kek));
    }
}
