use core::array::from_fn;

use curve25519_dalek::constants::EIGHT_TORSION;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::super::Fixed;
use super::*;

/// A curve's own group, and how its values are written as those of [`AnyGroup`].
trait Own: Fixed {
    fn scalar(scalar: Self::Scalar) -> AnyScalar;
    fn point(point: Self::Point) -> AnyPoint;

    fn any() -> AnyGroup {
        AnyGroup::of(Self::SUITE).unwrap()
    }
}

macro_rules! own {
    ($($group:ident as $variant:ident),*) => {$(
        impl Own for $group {
            fn scalar(scalar: Self::Scalar) -> AnyScalar {
                AnyScalar::$variant(scalar)
            }

            fn point(point: Self::Point) -> AnyPoint {
                AnyPoint::$variant(point)
            }
        }
    )*};
}

own!(Secp256k1 as Secp256k1, Bip340 as Secp256k1, Ed25519 as Ed25519);

fn random<const N: usize>(seed: u8) -> [u8; N] {
    let mut bytes = [0; N];
    ChaCha20Rng::from_seed([seed; 32]).fill_bytes(&mut bytes);
    bytes
}

/// 0, 1, −1, a short one, and some of all lengths.
fn scalars<G: Group>(group: G) -> [G::Scalar; 8] {
    from_fn(|place| match place {
        0 => group.zero(),
        1 => group.one(),
        2 => -group.one(),
        3 => group.number(u64::MAX),
        _ => group.scalar_from_wide(&random(place as u8)),
    })
}

/// The identity is the first.
fn points<G: Group>(group: G) -> [G::Point; 8] {
    scalars(group).map(|scalar| G::mul_base(&scalar))
}

/// Around the order, and at both ends.
fn numbers<G: Group>(group: G) -> [[u8; 32]; 8] {
    let last = G::scalar_to_bytes(&-group.one());
    let shifted = |by| {
        let mut bytes = last;
        bytes[31] += by;
        bytes
    };
    [[0; 32], last, shifted(1), shifted(2), [0xff; 32], random(1), random(2), random(3)]
}

#[test]
fn there_is_one_group_for_each_of_three_suites() {
    fn is_its_own<G: Own>(place: usize) {
        let (own, any) = (G::default(), G::any());
        assert_eq!(AnyGroup::ALL[place], any);
        assert_eq!(AnyGroup::maker(G::SUITE), Some(any));
        assert_eq!(any.suite(), G::SUITE);
        assert_eq!(any.code(), u8::from(G::SUITE));
        assert_eq!(any.cofactor(), own.cofactor());
        assert_eq!(any.identity(), G::point(own.identity()));
        assert_eq!(any.generator(), G::point(own.generator()));
        assert!(any.zero() == G::scalar(own.zero()) && any.one() == G::scalar(own.one()));
        for number in [0, 1, -1, 77, i64::MAX, i64::MIN] {
            assert!(any.integer(number) == G::scalar(own.integer(number)), "{number}");
        }
    }
    is_its_own::<Secp256k1>(0);
    is_its_own::<Bip340>(1);
    is_its_own::<Ed25519>(2);
    assert_eq!(AnyGroup::of(Suite::EcdsaP256), None);
    assert_eq!(AnyGroup::maker(Suite::EcdsaP256), None);
}

fn of_all(check: [fn(); 3]) {
    check.into_iter().for_each(|check| check());
}

#[test]
fn scalars_are_those_of_the_curve() {
    fn are<G: Own>() {
        let (own, any) = (G::default(), G::any());
        for a in scalars(own) {
            let wrapped = G::scalar(a);
            assert_eq!(AnyGroup::scalar_to_bytes(&wrapped), G::scalar_to_bytes(&a));
            assert!(-wrapped == G::scalar(-a));
            assert!(AnyGroup::negate(&wrapped) == G::scalar(-a));
            assert!(AnyGroup::invert(&wrapped) == G::invert(&a).map(G::scalar));
            let halves = G::split(&a).map(|halves| halves.map(G::scalar));
            assert!(AnyGroup::split(&wrapped) == halves);
            let mut wiped = wrapped;
            wiped.zeroize();
            assert!(wiped == any.zero());
            for b in scalars(own) {
                let other = G::scalar(b);
                assert_eq!(wrapped == other, a == b);
                assert_eq!(bool::from(wrapped.ct_eq(&other)), a == b);
                assert!(wrapped + other == G::scalar(a + b));
                assert!(wrapped - other == G::scalar(a - b));
                assert!(wrapped * other == G::scalar(a * b));
                assert!(AnyGroup::product(&wrapped, &other) == G::scalar(a * b));
            }
        }
        for bytes in numbers(own) {
            let expected = own.scalar_from_bytes(&bytes).map(G::scalar);
            assert!(any.scalar_from_bytes(&bytes) == expected, "{bytes:?}");
            let expected = G::scalar(own.scalar_from_digest(&bytes));
            assert!(any.scalar_from_digest(&bytes) == expected, "{bytes:?}");
        }
        for bytes in [[0; 48], [0xff; 48], random(4), random(5)] {
            let expected = G::scalar(own.scalar_from_wide(&bytes));
            assert!(any.scalar_from_wide(&bytes) == expected, "{bytes:?}");
        }
    }
    of_all([are::<Secp256k1>, are::<Bip340>, are::<Ed25519>]);
}

#[test]
fn points_are_those_of_the_curve() {
    fn are<G: Own>() {
        let (own, any) = (G::default(), G::any());
        for (scalar, p) in scalars(own).into_iter().zip(points(own)) {
            let (wrapped, s) = (G::point(p), G::scalar(scalar));
            assert_eq!(AnyGroup::mul_base(&s), wrapped);
            assert_eq!(-wrapped, G::point(-p));
            assert_eq!(AnyGroup::double(&wrapped), G::point(G::double(&p)));
            assert_eq!(AnyGroup::endomorphism(&wrapped), G::point(G::endomorphism(&p)));
            assert_eq!(AnyGroup::clear_cofactor(&wrapped), G::point(G::clear_cofactor(&p)));
            let bytes = G::point_to_bytes(&p);
            assert_eq!(AnyGroup::point_to_bytes(&wrapped), bytes);
            if let Some(bytes) = bytes {
                assert_eq!(any.point_from_bytes(&bytes), Some(wrapped));
                assert_eq!(any.nonce_from_bytes(&bytes), Some(wrapped));
            }
            for factor in [0, 1, -1, 2, -77, 255, i64::MAX] {
                let expected = G::point(own.mul_small(&p, factor));
                assert_eq!(any.mul_small(&wrapped, factor), expected, "{factor}");
            }
            for (b, q) in scalars(own).into_iter().zip(points(own)) {
                let (factor, other) = (G::scalar(b), G::point(q));
                assert_eq!(wrapped == other, p == q);
                assert_eq!(wrapped + other, G::point(p + q));
                assert_eq!(wrapped - other, G::point(p - q));
                let product = G::point(G::mul(&p, &b));
                assert_eq!(AnyGroup::mul(&wrapped, &factor), product);
                assert_eq!(AnyGroup::mul_public(&wrapped, &factor), product);
                let sum = G::point(G::mul_base(&scalar) + G::mul(&q, &b));
                assert_eq!(AnyGroup::combination(&s, &other, &factor), sum);
            }
        }
    }
    of_all([are::<Secp256k1>, are::<Bip340>, are::<Ed25519>]);
}

#[test]
fn many_points_are_encoded_in_their_order_and_identities_are_left_out() {
    fn are<G: Own>() {
        let mut points: [G::Point; 10] =
            from_fn(|place| G::mul_base(&G::default().number(place as u64)));
        points[6] = points[5] - points[5];
        let wrapped = points.map(G::point);
        for count in 0..=points.len() {
            // What is behind the last point stays as it is.
            let untouched = Some(PointBytes([7; 33]));
            let (mut expected, mut found) = ([untouched; 12], [untouched; 12]);
            G::points_to_bytes(&points[..count], &mut expected);
            AnyGroup::points_to_bytes(&wrapped[..count], &mut found);
            assert_eq!(found, expected, "{count}");
        }
    }
    of_all([are::<Secp256k1>, are::<Bip340>, are::<Ed25519>]);

    // Of two curves, each for itself.
    let (a, b) = (points(Secp256k1).map(Point::Secp256k1), points(Ed25519).map(Point::Ed25519));
    let mixed = [a[1], b[1], Point::Neither, a[0], a[2], a[3], b[0], b[2], a[4]];
    let mut found = [None; 9];
    AnyGroup::points_to_bytes(&mixed, &mut found);
    assert_eq!(found, mixed.map(|point| AnyGroup::point_to_bytes(&point)));
    assert!((0..9).filter(|place| found[*place].is_none()).eq([2, 3, 6]));
}

#[test]
fn an_encoding_is_of_one_curve_only() {
    let of_secp256k1 = Secp256k1::point_to_bytes(&points(Secp256k1)[4]).unwrap();
    let of_ed25519 = Ed25519::point_to_bytes(&points(Ed25519)[4]).unwrap();
    for any in AnyGroup::ALL {
        let other = if any.is_ed25519() { of_secp256k1 } else { of_ed25519 };
        assert_eq!(any.point_from_bytes(&other), None, "{any:?}");
        assert_eq!(any.nonce_from_bytes(&other), None, "{any:?}");
    }
}

#[test]
fn a_small_order_part_is_taken_in_nonces_alone_and_cleared() {
    let any = Ed25519::any();
    let encoded = |point: &P<Ed25519>| {
        let mut bytes = PointBytes([0xed; 33]);
        bytes.0[1..].copy_from_slice(&point.compress().to_bytes());
        bytes
    };
    let point = Ed25519::mul_base(&Ed25519.number(7));
    for small in &EIGHT_TORSION[1..] {
        let bytes = encoded(&(point + small));
        assert_eq!(any.point_from_bytes(&bytes), None);
        assert_eq!(any.named(bytes.0[1..].try_into().unwrap()), None);
        let nonce = any.nonce_from_bytes(&bytes).unwrap();
        assert_eq!(nonce, Point::Ed25519(point + small));
        assert_eq!(AnyGroup::clear_cofactor(&nonce), AnyGroup::mul_base(&any.number(56)));
        assert_eq!(any.nonce_from_bytes(&encoded(small)), None);
    }
}

#[test]
fn ecdsa_is_that_of_the_curve() {
    let (own, any) = (Secp256k1, Secp256k1::any());
    assert!(any.normalizes_s() == own.normalizes_s());
    for (scalar, point) in scalars(own).into_iter().zip(points(own)) {
        let (s, p) = (Scalar::Secp256k1(scalar), Point::Secp256k1(point));
        assert_eq!(AnyGroup::is_high(&s), Secp256k1::is_high(&scalar));
        assert_eq!(
            AnyGroup::coordinates(&p).map(|both| both.0),
            Secp256k1::coordinates(&point).map(|both| both.0)
        );
        let Some(bytes) = Secp256k1::point_to_bytes(&point) else { continue };
        let (x, odd, above) = own.x_coordinate(&bytes);
        assert!(any.x_coordinate(&bytes) == (Scalar::Secp256k1(x), odd, above));
    }
    // An x at or above the order: it is reduced, and that is told.
    let mut above = PointBytes([0xff; 33]);
    above.0[0] = 3;
    let (x, odd, is_above) = own.x_coordinate(&above);
    assert!(is_above && any.x_coordinate(&above) == (Scalar::Secp256k1(x), odd, true));

    let [digest, other] = [random(1), random(2)];
    let [.., k, x] = scalars(own);
    let key = Secp256k1::mul_base(&x);
    let (r, ..) = own.x_coordinate(&Secp256k1::point_to_bytes(&Secp256k1::mul_base(&k)).unwrap());
    let s = (own.scalar_from_digest(&digest) + r * x) * Secp256k1::invert(&k).unwrap();
    let s = if Secp256k1::is_high(&s) { -s } else { s };
    let (p, [r, s, high]) = (Point::Secp256k1(key), [r, s, -s].map(Scalar::Secp256k1));
    assert!(AnyGroup::verify(&p, &digest, &r, &s));
    assert!(!AnyGroup::verify(&p, &other, &r, &s));
    assert!(!AnyGroup::verify(&p, &digest, &r, &high));
    assert!(!AnyGroup::verify(&p, &digest, &s, &r));
    assert!(!AnyGroup::verify(&Ed25519::any().generator(), &digest, &r, &s));
    assert!(!AnyGroup::verify(&p, &digest, &Ed25519::any().one(), &s));
    assert!(!AnyGroup::verify(&p, &digest, &r, &Scalar::Neither));
}

#[test]
fn schnorr_is_that_of_the_standard() {
    fn is<G: Own + SchnorrGroup>() {
        let (own, any) = (G::default(), G::any());
        assert_eq!(any.standard(), own.standard());
        for point in points(own) {
            let wrapped = G::point(point);
            assert_eq!(AnyGroup::name(&wrapped), G::name(&point));
            let Some((bytes, (name, _))) = G::point_to_bytes(&point).zip(G::name(&point)) else {
                continue;
            };
            assert_eq!(AnyGroup::name_of(&bytes), G::name_of(&bytes));
            assert_eq!(any.named(&name), own.named(&name).map(G::point));
            assert!(any.named(&name).is_some());
            for root in [None, Some(&random(9))] {
                let expected = own.tap_tweak(&name, root).map(G::scalar);
                assert!(any.tap_tweak(&name, root) == expected);
            }
            for message in [&b""[..], b"message", &random::<200>(1)] {
                let expected = G::scalar(own.challenge(&random(8), &name, message));
                assert!(any.challenge(&random(8), &name, message) == expected);
            }
        }
        for bytes in numbers(own) {
            assert_eq!(any.named(&bytes), own.named(&bytes).map(G::point), "{bytes:?}");
            let mut reversed = bytes;
            reversed.reverse();
            for bytes in [bytes, reversed] {
                let expected = own.response_from_bytes(&bytes).map(G::scalar);
                assert!(any.response_from_bytes(&bytes) == expected, "{bytes:?}");
            }
        }
        for z in scalars(own) {
            let wrapped = G::scalar(z);
            assert_eq!(AnyGroup::response_to_bytes(&wrapped), G::response_to_bytes(&z));
            for (c, key) in scalars(own).into_iter().zip(points(own)) {
                let found = AnyGroup::commitment_of(&wrapped, &G::scalar(c), &G::point(key));
                assert_eq!(found, G::point(G::commitment_of(&z, &c, &key)));
            }
        }
    }
    is::<Bip340>();
    is::<Ed25519>();
    let name = Bip340::name(&points(Bip340)[4]).unwrap().0;
    assert!(Bip340::any().tap_tweak(&name, None).is_some());
}

#[cfg(feature = "frost")]
#[test]
fn frost_is_that_of_the_ciphersuite() {
    use crate::frost::FrostGroup;

    fn is<G: Own + FrostGroup>() {
        let (own, any) = (G::default(), G::any());
        for point in points(own) {
            let Some((bytes, (name, _))) = G::point_to_bytes(&point).zip(G::name(&point)) else {
                continue;
            };
            assert_eq!(any.to_frost(&bytes), own.to_frost(&bytes));
            assert_eq!(any.encoding(&name), own.encoding(&name));
        }
        for tag in 0..=255 {
            let bytes = PointBytes([tag; 33]);
            assert_eq!(any.to_frost(&bytes), own.to_frost(&bytes), "{tag}");
        }
        for input in [random(1), random(2)] {
            assert!(any.factor(&input) == own.factor(&input).map(G::scalar));
            let nonce = own.nonce(&input).map(|nonce| G::scalar(*nonce.expose()));
            assert!(any.nonce(&input).map(|nonce| *nonce.expose()) == nonce);
            let [mut found, mut expected] = [alloc::vec![1], alloc::vec![1]];
            any.digests(b"message", &input, &mut found);
            own.digests(b"message", &input, &mut expected);
            assert_eq!(found, expected);
        }
        let terms: alloc::vec::Vec<_> = points(own).into_iter().zip(scalars(own)).collect();
        let wrapped: alloc::vec::Vec<_> =
            terms.iter().map(|(point, scalar)| (G::point(*point), G::scalar(*scalar))).collect();
        for count in 0..=terms.len() {
            let expected = G::point(own.sum_of_products(&terms[..count]));
            assert_eq!(any.sum_of_products(&wrapped[..count]), expected, "{count}");
        }
    }
    is::<Bip340>();
    is::<Ed25519>();
}

/// One of each curve, and neither.
fn one_of_each() -> [(AnyScalar, AnyPoint); 3] {
    let of = |any: AnyGroup| {
        let scalar = any.scalar_from_wide(&random(6));
        (scalar, AnyGroup::mul_base(&scalar))
    };
    [of(Secp256k1::any()), of(Ed25519::any()), (Scalar::Neither, Point::Neither)]
}

fn is_no_scalar(scalar: AnyScalar) -> bool {
    matches!(scalar, Scalar::Neither)
}

fn is_no_point(point: AnyPoint) -> bool {
    matches!(point, Point::Neither)
}

#[test]
fn two_curves_make_neither_scalars_nor_points() {
    let all = one_of_each();
    for (i, (s, p)) in all.into_iter().enumerate() {
        for (j, (t, q)) in all.into_iter().enumerate() {
            // Neither does not even go with itself.
            if i == j && i != 2 {
                continue;
            }
            assert!(s != t && !bool::from(s.ct_eq(&t)), "{i} {j}");
            assert_ne!(p, q, "{i} {j}");
            let made = [s + t, s - t, s * t, AnyGroup::product(&s, &t)];
            assert!(made.into_iter().all(is_no_scalar), "{i} {j}");
            assert!([p + q, p - q, AnyGroup::mul(&p, &t)].into_iter().all(is_no_point), "{i} {j}");
        }
    }
}

#[test]
fn public_sums_of_two_curves_are_neither() {
    for zero in [false, true] {
        let mut all = one_of_each();
        if zero {
            (all[0].0, all[1].0) = (Secp256k1::any().zero(), Ed25519::any().zero());
        }
        for (i, j, k) in (0..27).map(|n| (n / 9, n / 3 % 3, n % 3)) {
            if i == j && j == k && i != 2 {
                continue;
            }
            let (a, point, b) = (all[i].0, all[j].1, all[k].0);
            assert!(
                is_no_point(AnyGroup::combination(&a, &point, &b)),
                "{i} {j} {k}, zero: {zero}"
            );
            if j != k {
                assert!(is_no_point(AnyGroup::mul_public(&point, &b)), "{j} {k}, zero: {zero}");
            }
        }
    }
}

#[test]
fn neither_stays_neither_and_is_written_as_zeros_or_not_at_all() {
    let (mut scalar, point) = (Scalar::Neither, Point::Neither);
    assert!(is_no_scalar(-scalar) && is_no_scalar(AnyGroup::negate(&scalar)));
    assert!(AnyGroup::invert(&scalar).is_none() && AnyGroup::split(&scalar).is_none());
    assert_eq!(AnyGroup::scalar_to_bytes(&scalar), [0; 32]);
    assert_eq!(AnyGroup::response_to_bytes(&scalar), [0; 32]);
    assert!(!AnyGroup::is_high(&scalar));
    assert!(is_no_point(AnyGroup::mul_base(&scalar)));
    for group in AnyGroup::ALL {
        assert!(scalar != group.zero() && point != group.identity());
    }
    scalar.zeroize();
    assert!(is_no_scalar(scalar));
    let made = [AnyGroup::double, AnyGroup::endomorphism, AnyGroup::clear_cofactor];
    assert!(is_no_point(-point) && made.iter().all(|make| is_no_point(make(&point))));
    assert!(is_no_point(Ed25519::any().mul_small(&point, -3)));
    assert_eq!(AnyGroup::point_to_bytes(&point), None);
    assert_eq!(AnyGroup::name(&point), None);
    assert!(AnyGroup::coordinates(&point).is_none());
    assert!(AnyGroup::coordinates(&Ed25519::any().generator()).is_none());
}
