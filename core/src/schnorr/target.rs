//! The key that a signature is verified under, and how its shares follow from those of the group key.

use super::SignError;
use crate::curve::{Fixed, PointBytes, SchnorrGroup};
use crate::derive::{Derivation, ExtendedKey};
use crate::hash::{Digest, Transcript};
use crate::secret::SecretScalar;

/// What becomes of the group key before it signs. The tweak itself is computed here, from the key:
/// a scalar of a caller's choice could turn one signature into one for a related key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tweak {
    /// Nothing.
    None,
    /// The group key is the internal key of a taproot output (BIP-341), spent by the key path.
    Taproot {
        /// Of the script tree, if there is one.
        merkle_root: Option<Digest>,
    },
}

/// Y, with the public facts that make shares of it: y_i = ±x_i + ε for one sign and one ε.
#[derive(Clone)]
pub(crate) struct Target<G: SchnorrGroup> {
    group: G,
    /// Y, by its name.
    name: [u8; 32],
    /// The point that the name stands for.
    point: G::Point,
    negated: bool,
    /// ε, with its sign.
    offset: G::Scalar,
}

impl<G: SchnorrGroup> Target<G> {
    /// X comes with its encoding, which saves the inversion that an encoding costs.
    pub(crate) fn new(
        group: G,
        group_key: &G::Point,
        bytes: &PointBytes,
        tweak: &Tweak,
    ) -> Result<Self, SignError> {
        let name = G::name_of(bytes).ok_or(SignError::PublicRecord)?;
        let start = Self::lift(group, *group_key, name, false, group.zero());
        start.tweaked(tweak)
    }

    /// The same for a descendant of the group key (`docs/PROTOCOL.md` §4): first its ε, then the tweak.
    pub(super) fn derived(
        root: &ExtendedKey<G>,
        derivation: &Derivation,
        tweak: &Tweak,
    ) -> Result<Self, SignError> {
        let key = root.derive(derivation).map_err(SignError::Derivation)?;
        let name = G::name_of(key.encoded()).ok_or(SignError::PublicRecord)?;
        Self::lift(root.group(), key.point(), name, false, *key.tweak()).tweaked(tweak)
    }

    fn tweaked(self, tweak: &Tweak) -> Result<Self, SignError> {
        let Tweak::Taproot { merkle_root } = tweak else { return Ok(self) };
        let epsilon =
            self.group.tap_tweak(&self.name, merkle_root.as_ref()).ok_or(SignError::Tweak)?;
        let point = self.point + G::mul_base(&epsilon);
        let name = G::name(&point).ok_or(SignError::Degenerate)?;
        Ok(Self::lift(self.group, point, name, self.negated, self.offset + epsilon))
    }

    /// Negates everything if the name of `point` stands for its negative.
    fn lift(
        group: G,
        point: G::Point,
        (name, odd): ([u8; 32], bool),
        negated: bool,
        offset: G::Scalar,
    ) -> Self {
        match odd {
            true => {
                Self { group, name, point: -point, negated: !negated, offset: G::negate(&offset) }
            }
            false => Self { group, name, point, negated, offset },
        }
    }

    pub(crate) fn group(&self) -> G {
        self.group
    }

    pub(crate) fn name(&self) -> &[u8; 32] {
        &self.name
    }

    pub(crate) fn point(&self) -> &G::Point {
        &self.point
    }

    /// y_i.
    pub(crate) fn share(&self, share: &SecretScalar<G>) -> SecretScalar<G> {
        let x = *share.expose();
        SecretScalar::new(if self.negated { G::negate(&x) } else { x } + self.offset)
    }

    /// Y_i = y_i·G, from X_i.
    pub(crate) fn party_key(&self, key: G::Point) -> G::Point {
        (if self.negated { -key } else { key }) + G::mul_base(&self.offset)
    }

    /// Whether shares are the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.name, self.negated) == (other.name, other.negated) && self.offset == other.offset
    }

    /// Binds sign, ε and Y.
    pub(crate) fn bind(&self, transcript: Transcript) -> Transcript {
        transcript
            .bytes(&[u8::from(self.negated)])
            .bytes(&G::scalar_to_bytes(&self.offset))
            .bytes(&self.name)
    }
}

/// The 32 bytes that verifiers know a group key by, when it is tweaked.
///
/// # Errors
/// [`SignError::PublicRecord`] if `group_key` is no point of this group, [`SignError::Tweak`] if the
/// key cannot be tweaked in this way.
pub fn verification_key<G: SchnorrGroup + Fixed>(
    group_key: &PointBytes,
    tweak: &Tweak,
) -> Result<[u8; 32], SignError> {
    let group = G::default();
    let point = group.point_from_bytes(group_key).ok_or(SignError::PublicRecord)?;
    Target::new(group, &point, group_key, tweak).map(|target| target.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Ed25519, Group as _, SchnorrSecp256k1 as C};

    fn bytes(text: &str) -> [u8; 32] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    #[test]
    fn secrets_follow_the_key_as_bip_341_says() {
        // bip-0341/wallet-test-vectors.json, keyPathSpending: inputs 0 (no script tree) and 1.
        for (secret, merkle_root, tweaked) in [
            (
                "6b973d88838f27366ed61c9ad6367663045cb456e28335c109e30717ae0c6baa",
                None,
                "2405b971772ad26915c8dcdf10f238753a9b837e5f8e6a86fd7c0cce5b7296d9",
            ),
            (
                "1e4da49f6aaf4e5cd175fe08a32bb5cb4863d963921255f33d3bc31e1343907f",
                Some(bytes("5b75adecf53548f3ec6ad7d78383bf84cc57b55a3127c72b9a2481752dd88b21")),
                "ea260c3b10e60f6de018455cd0278f2f5b7e454be1999572789e6a9565d26080",
            ),
        ] {
            let secret = SecretScalar::<C>::new(C.scalar_from_bytes(&bytes(secret)).unwrap());
            let expected = C.scalar_from_bytes(&bytes(tweaked)).unwrap();
            let key = C::mul_base(secret.expose());
            let target = Target::new(
                C,
                &key,
                &C::point_to_bytes(&key).unwrap(),
                &Tweak::Taproot { merkle_root },
            )
            .unwrap();
            // Ours signs for the point with even y at once; BIP-341 leaves that to the signer.
            let share = *target.share(&secret).expose();
            assert!(share == expected || share == -expected);
            assert_eq!(C::mul_base(&share), *target.point());
            assert_eq!(target.party_key(key), *target.point());
            assert_eq!(C.named(target.name()), Some(*target.point()));
        }
    }

    #[test]
    fn ed25519_keys_have_no_such_tweak() {
        let point = Ed25519::mul_base(&7u64.into());
        let key = Ed25519::point_to_bytes(&point).unwrap();
        let tweak = Tweak::Taproot { merkle_root: None };
        assert_eq!(verification_key::<Ed25519>(&key, &tweak), Err(SignError::Tweak));
        let (name, _) = Ed25519::name(&point).unwrap();
        assert_eq!(verification_key::<Ed25519>(&key, &Tweak::None), Ok(name));
    }
}
