//! What secp256k1 and P-256 share: the same code over the two RustCrypto crates, whose names are alike.
//! The macros take the names from the file that they are used in.

/// The items of [`super::Group`] that follow from a SEC1 curve's crate. `mul_base` multiplies its generator.
macro_rules! sec1_group {
    ($mul_base:path) => {
        type Scalar = Scalar;
        type Point = ProjectivePoint;

        fn of(suite: Suite) -> Option<Self> {
            (suite == Self::SUITE).then_some(Self)
        }

        fn suite(self) -> Suite {
            Self::SUITE
        }

        fn number(self, value: u64) -> Scalar {
            Scalar::from(value)
        }

        fn identity(self) -> ProjectivePoint {
            ProjectivePoint::IDENTITY
        }

        fn mul_base(scalar: &Scalar) -> ProjectivePoint {
            $mul_base(scalar)
        }

        fn mul(point: &ProjectivePoint, scalar: &Scalar) -> ProjectivePoint {
            point * scalar
        }

        fn generator(self) -> ProjectivePoint {
            ProjectivePoint::GENERATOR
        }

        fn double(point: &ProjectivePoint) -> ProjectivePoint {
            point.double()
        }

        fn invert(scalar: &Scalar) -> Option<Scalar> {
            Field::invert(scalar).into()
        }

        fn scalar_to_bytes(scalar: &Scalar) -> [u8; 32] {
            scalar.to_bytes().into()
        }

        fn scalar_from_bytes(self, bytes: &[u8; 32]) -> Option<Scalar> {
            Scalar::from_repr(FieldBytes::from(*bytes)).into()
        }

        fn scalar_from_digest(self, bytes: &[u8; 32]) -> Scalar {
            <Scalar as Reduce<U256>>::reduce_bytes(&FieldBytes::from(*bytes))
        }

        fn point_to_bytes(point: &ProjectivePoint) -> Option<PointBytes> {
            let encoded = point.to_affine().to_encoded_point(true);
            encoded.as_bytes().try_into().ok().map(PointBytes)
        }

        fn point_from_bytes(self, bytes: &PointBytes) -> Option<ProjectivePoint> {
            // `sec1` knows a third tag, of "compact" points: a second encoding of the same point.
            if !matches!(bytes.0.first(), Some(2 | 3)) {
                return None;
            }
            let encoded = EncodedPoint::from_bytes(bytes.0).ok()?;
            let affine: AffinePoint = Option::from(AffinePoint::from_encoded_point(&encoded))?;
            Some(affine.into())
        }
    };
}

/// The items of [`super::EcdsaGroup`], likewise.
macro_rules! sec1_ecdsa {
    () => {
        fn x_coordinate(self, point: &PointBytes) -> (Scalar, bool, bool) {
            let mut x = [0; 32];
            x.iter_mut().zip(point.0.iter().skip(1)).for_each(|(to, from)| *to = *from);
            let odd = point.0.first() == Some(&3);
            (self.scalar_from_digest(&x), odd, self.scalar_from_bytes(&x).is_none())
        }

        fn coordinates(point: &ProjectivePoint) -> Option<Bytes64> {
            let encoded = point.to_affine().to_encoded_point(false);
            encoded.as_bytes().get(1..)?.try_into().ok().map(Bytes64)
        }

        fn is_high(scalar: &Scalar) -> bool {
            scalar.is_high().into()
        }

        fn verify(key: &ProjectivePoint, digest: &[u8; 32], r: &Scalar, s: &Scalar) -> bool {
            let Ok(signature) = Signature::from_scalars(r.to_bytes(), s.to_bytes()) else {
                return false;
            };
            VerifyingKey::from_affine(key.to_affine())
                .is_ok_and(|key| key.verify_prehash(digest, &signature).is_ok())
        }
    };
}

pub(super) use {sec1_ecdsa, sec1_group};

/// What holds for either curve. `x` is on the curve, and `x_above` is x + the field's prime: another
/// name of the same coordinate.
#[cfg(test)]
macro_rules! sec1_tests {
    ($group:ident, $x:literal, $x_above:literal) => {
        #[test]
        fn small_factors_agree_with_scalars() {
            let point = $group::mul_base(&Scalar::from(7u64));
            for factor in [0i64, 1, -1, 2, 3, 255, -254, i64::MAX, i64::MIN + 1] {
                let expected = $group::mul(&point, &$group.integer(factor));
                assert_eq!($group.mul_small(&point, factor), expected, "{factor}");
            }
        }

        #[test]
        fn a_combination_is_what_it_says() {
            let point = $group::mul_base(&Scalar::from(7u64));
            let (a, b) = (Scalar::from(11u64), -Scalar::from(13u64));
            let expected = $group::mul_base(&a) + $group::mul(&point, &b);
            assert_eq!($group::combination(&a, &point, &b), expected);
            let (a, b) =
                ($group.scalar_from_wide(&[0xa7; 48]), $group.scalar_from_wide(&[0x5c; 48]));
            let expected = $group::mul_base(&a) + $group::mul(&point, &b);
            assert_eq!($group::combination(&a, &point, &b), expected);
            assert_eq!($group.generator(), $group::mul_base(&Scalar::ONE));
        }

        #[test]
        fn many_points_are_encoded_like_one() {
            let mut points = [ProjectivePoint::IDENTITY; 9];
            for (place, point) in points.iter_mut().enumerate() {
                // The identity at place 2.
                *point = $group::mul_base(&(Scalar::from(place as u64) - Scalar::from(2u64)));
            }
            // And as a sum leaves it, and as the library names it.
            points[5] = points[4] - points[4];
            points[6] = $group::double(&points[3]) - points[4];
            points[7] = ProjectivePoint::IDENTITY;
            let mut encoded = [None; 9];
            $group::points_to_bytes(&points, &mut encoded);
            assert_eq!(encoded, points.map(|point| $group::point_to_bytes(&point)));
            let none = |place: &usize| encoded[*place].is_none();
            assert!((0..9).filter(none).eq([2, 5, 6, 7]));
        }

        #[test]
        fn points_off_the_curve_and_the_identity_are_refused() {
            assert_eq!($group.point_from_bytes(&PointBytes([0; 33])), None);
            assert_eq!($group::point_to_bytes(&ProjectivePoint::IDENTITY), None);
            // About half of all x are of no point.
            let valid = (0..=255u8).filter(|x| {
                let mut bytes = PointBytes([0; 33]);
                (bytes.0[0], bytes.0[32]) = (2, *x);
                $group.point_from_bytes(&bytes).is_some()
            });
            let count = valid.count();
            assert!((96..160).contains(&count), "{count}");
        }

        #[test]
        fn coordinates_are_x_and_y() {
            let point = $group::mul_base(&Scalar::from(7u64));
            let both = $group::coordinates(&point).unwrap();
            let compressed = $group::point_to_bytes(&point).unwrap();
            assert_eq!(both.0[..32], compressed.0[1..]);
            assert_eq!(both.0[63] & 1, compressed.0[0] & 1);
            let mut tagged = [4; 65];
            tagged[1..].copy_from_slice(&both.0);
            let parsed = EncodedPoint::from_bytes(tagged).unwrap();
            let parsed = AffinePoint::from_encoded_point(&parsed).unwrap();
            assert_eq!(ProjectivePoint::from(parsed), point);
            assert_eq!($group::coordinates(&ProjectivePoint::IDENTITY), None);
        }

        #[test]
        fn a_point_has_one_encoding_only() {
            let point = $group::mul_base(&Scalar::from(7u64));
            let canonical = $group::point_to_bytes(&point).unwrap();
            assert_eq!($group.point_from_bytes(&canonical), Some(point));
            for tag in (0..=255).filter(|tag| !matches!(tag, 2 | 3)) {
                let mut other = canonical;
                other.0[0] = tag;
                assert_eq!($group.point_from_bytes(&other), None, "tag {tag}");
            }
            let mut small = PointBytes([0; 33]);
            (small.0[0], small.0[32]) = (2, $x);
            assert!($group.point_from_bytes(&small).is_some());
            let mut above = PointBytes([2; 33]);
            hex::decode_to_slice($x_above, &mut above.0[1..]).unwrap();
            assert_eq!($group.point_from_bytes(&above), None);
        }

        #[test]
        fn scalars_at_and_above_the_order_are_refused() {
            let last: [u8; 32] = (-Scalar::ONE).to_bytes().into();
            let mut order = last;
            order[31] += 1;
            assert!($group.scalar_from_bytes(&last).is_some());
            assert!($group.scalar_from_bytes(&order).is_none());
            assert!($group.scalar_from_bytes(&[0xff; 32]).is_none());
        }
    };
}
#[cfg(test)]
pub(super) use sec1_tests;
