//! Secrets: they zeroize on drop, never print, are not `Clone`, and compare in constant time.

use core::fmt;

use rand_core::{CryptoRng, RngCore};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::curve::Group;
use crate::hash::Transcript;
use crate::wire::{Read, Reader, Write, Writer};

/// Bytes that are wiped in one piece: one by one takes a chip five times as long.
#[derive(Clone, Copy)]
pub(crate) struct Piece<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Default for Piece<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> zeroize::DefaultIsZeroes for Piece<N> {}

/// 32 secret bytes: a pair seed ζ_ij, a nonce key r_A, or a contribution to one of them.
#[derive(Default, Zeroize)]
pub struct SecretBytes(Piece<32>);

impl Drop for SecretBytes {
    // One for all, where a derived one would be in the code of each that drops some.
    #[inline(never)]
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl SecretBytes {
    /// Takes over `bytes`; the caller's copy is the caller's to wipe.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Piece(bytes))
    }

    /// The encoding of a secret scalar.
    #[must_use]
    pub fn of_scalar<G: Group>(scalar: &SecretScalar<G>) -> Self {
        let mut bytes = G::scalar_to_bytes(scalar.expose());
        let secret = Self::new(bytes);
        bytes.zeroize();
        secret
    }

    /// Draws fresh bytes.
    pub fn random(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let mut secret = Self::default();
        rng.fill_bytes(&mut secret.0.0);
        secret
    }

    /// Adds `other` bit by bit, in place.
    pub fn xor(&mut self, other: &Self) {
        self.0.0.iter_mut().zip(&other.0.0).for_each(|(mine, theirs)| *mine ^= theirs);
    }

    /// The bytes themselves; every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0.0
    }
}

impl ConstantTimeEq for SecretBytes {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.0.ct_eq(&other.0.0)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

// Serialised only into the record that is sealed and into private messages of a DKG.
impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <[u8; 32]>::deserialize(from).map(Self::new)
    }
}

impl Write for SecretBytes {
    fn write(&self, to: &mut Writer<'_>) {
        self.0.0.write(to);
    }
}

impl Read<'_> for SecretBytes {
    fn read(from: &mut Reader<'_>) -> Self {
        let mut secret = Self::default();
        from.fill(&mut secret.0.0);
        secret
    }
}

/// A secret scalar.
pub struct SecretScalar<G: Group>(G::Scalar);

impl<G: Group> SecretScalar<G> {
    /// Takes over `scalar`.
    #[must_use]
    pub fn new(scalar: G::Scalar) -> Self {
        Self(scalar)
    }

    /// Draws a uniform scalar from 48 bytes of `rng`.
    pub fn random(group: G, rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let mut wide = [0; 48];
        rng.fill_bytes(&mut wide);
        let scalar = group.scalar_from_wide(&wide);
        wide.zeroize();
        Self(scalar)
    }

    /// Adds `other`, in place.
    pub fn add(&mut self, other: &Self) {
        self.0 = self.0 + other.0;
    }

    /// The scalar itself; every call is a place to review.
    #[must_use]
    pub fn expose(&self) -> &G::Scalar {
        &self.0
    }
}

impl<G: Group> Drop for SecretScalar<G> {
    #[inline(never)]
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<G: Group> fmt::Debug for SecretScalar<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretScalar(..)")
    }
}

/// A generator that is seeded by H("seed", 32 random bytes, hedge key, session, counter): a broken
/// source of randomness alone does not break the key (`docs/PROTOCOL.md` §1.7).
pub struct HedgedRng {
    state: SecretBytes,
    counter: u64,
}

impl HedgedRng {
    /// Mixes `entropy` with the long-term `hedge` key, the session and a per-boot counter.
    #[must_use]
    pub fn new(entropy: &[u8; 32], hedge: &SecretBytes, session: &[u8; 32], counter: u64) -> Self {
        let state = Transcript::new("seed")
            .bytes(entropy)
            .bytes(hedge.expose())
            .bytes(session)
            .u64(counter)
            .secret();
        Self { state, counter: 0 }
    }
}

impl RngCore for HedgedRng {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            self.counter += 1;
            let block =
                Transcript::new("drbg-block").bytes(self.state.expose()).u64(self.counter).secret();
            chunk.iter_mut().zip(block.expose()).for_each(|(to, from)| *to = *from);
        }
        // Forward security: what was drawn cannot be drawn again from the state left behind.
        self.state = Transcript::new("drbg-next").bytes(self.state.expose()).secret();
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl CryptoRng for HedgedRng {}
