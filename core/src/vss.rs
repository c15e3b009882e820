//! Polynomials, commitments to them, and interpolation over small public identifiers.

use heapless::Vec;
use rand_core::{CryptoRng, RngCore};

use crate::curve::{Group, PointBytes};
use crate::division::divided;
use crate::party::{PartyId, PartySet};
use crate::secret::SecretScalar;

/// A secret polynomial f with T coefficients, f_0 first; N is the capacity.
pub struct Polynomial<G: Group, const N: usize> {
    coefficients: Vec<SecretScalar<G>, N>,
    group: G,
}

impl<G: Group, const N: usize> Polynomial<G, N> {
    /// A random polynomial with `coefficients` coefficients (T of them: degree T−1).
    pub fn random(group: G, coefficients: usize, rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let random = |_| SecretScalar::random(group, rng);
        Self { coefficients: (0..coefficients.min(N)).map(random).collect(), group }
    }

    /// f(id).
    #[must_use]
    pub fn evaluate(&self, id: PartyId) -> SecretScalar<G> {
        let x = self.group.number(id.number().into());
        let add = |sum, f: &SecretScalar<G>| G::product(&sum, &x) + *f.expose();
        SecretScalar::new(self.coefficients.iter().rev().fold(self.group.zero(), add))
    }

    /// f_0.
    #[must_use]
    pub fn constant(&self) -> Option<&SecretScalar<G>> {
        self.coefficients.first()
    }

    /// `Φ[m]` = f_m·G.
    #[must_use]
    pub fn commit(&self) -> Vec<G::Point, N> {
        self.points().collect()
    }

    /// The same, one by one.
    pub(crate) fn points(&self) -> impl Iterator<Item = G::Point> {
        self.coefficients.iter().map(|f| G::mul_base(f.expose()))
    }
}

/// Σ id^m·`Φ[m]`, by Horner's rule with the small identifier: variable time, public data.
#[must_use]
#[inline(never)]
pub fn evaluate_commitment<G: Group>(group: G, commitment: &[G::Point], id: PartyId) -> G::Point {
    let x = i64::from(id.number());
    commitment.iter().rev().fold(group.identity(), |sum, phi| group.mul_small(&sum, x) + *phi)
}

/// The encodings of a commitment's points, all at once; fewer than there are points if one of them is
/// the identity, which has none.
pub(crate) fn encoded<G: Group, const N: usize>(points: &[G::Point]) -> Vec<PointBytes, N> {
    let mut encodings = [None; N];
    G::points_to_bytes(points, &mut encodings);
    encodings.iter().take(points.len()).flatten().copied().collect()
}

/// A reduced fraction of two public integers, the denominator positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fraction {
    numerator: i64,
    denominator: i64,
}

impl Fraction {
    const ONE: Self = Self { numerator: 1, denominator: 1 };

    fn reduced(self) -> Self {
        let common = gcd(self.numerator, self.denominator).max(1);
        let common = if self.denominator < 0 { -common } else { common };
        let part = |whole| quotient(whole, common);
        Self { numerator: part(self.numerator), denominator: part(self.denominator) }
    }

    /// Λ times the fraction, for a Λ from [`common_denominator`]; `None` if it is too long.
    fn scaled(self, common: i64) -> Option<i64> {
        product(quotient(common, self.denominator), self.numerator)
    }
}

/// `None` unless it surely has no more than 64 bits: on a chip, looking at the product takes more code.
#[inline(never)]
fn product(a: i64, b: i64) -> Option<i64> {
    let bits = |number: i64| u64::BITS - number.unsigned_abs().leading_zeros();
    (bits(a) + bits(b) < u64::BITS).then(|| a.wrapping_mul(b))
}

/// `a / b`, towards 0; 0 if `b` is 0.
#[inline(never)]
fn quotient(a: i64, b: i64) -> i64 {
    let magnitude = divided(a.unsigned_abs(), b.unsigned_abs()).0 as i64;
    if (a < 0) == (b < 0) { magnitude } else { -magnitude }
}

#[inline(never)]
fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, divided(a, b).1);
    }
    a as i64
}

/// at − j for every other member j, and i − j.
fn differences(set: PartySet, id: PartyId, at: u16) -> impl Iterator<Item = (i64, i64)> {
    let (at, i) = (i64::from(at), i64::from(id.number()));
    let others = set.iter().filter(move |other| *other != id);
    others.map(move |other| (at - i64::from(other.number()), i - i64::from(other.number())))
}

/// The Lagrange coefficient of `id` among `set` at `at`: ∏_{j∈S, j≠i} (at−j)/(i−j); `None` if it is long, which takes
/// eight members or more.
#[inline(never)]
fn lagrange_fraction(set: PartySet, id: PartyId, at: u16) -> Option<Fraction> {
    let whole = differences(set, id, at).try_fold(Fraction::ONE, |whole, (above, below)| {
        let numerator = product(whole.numerator, above)?;
        Some(Fraction { numerator, denominator: product(whole.denominator, below)? })
    });
    whole.map(Fraction::reduced)
}

/// The same modulo p, however long it is.
#[inline(never)]
fn lagrange_at<G: Group>(group: G, set: PartySet, id: PartyId, at: u16) -> G::Scalar {
    let one = group.one();
    let short = lagrange_fraction(set, id, at)
        .map(|short| (short.numerator, short.denominator))
        .map(|(above, below)| (group.integer(above), group.integer(below)));
    let (above, below) = short.unwrap_or_else(|| {
        differences(set, id, at).fold((one, one), |(all_above, all_below), (above, below)| {
            (
                G::product(&all_above, &group.integer(above)),
                G::product(&all_below, &group.integer(below)),
            )
        })
    });
    if below == one {
        return above;
    }
    // Never 0 modulo p: it is a product of differences of distinct 8-bit integers.
    G::product(&above, &G::invert(&below).unwrap_or(group.zero()))
}

/// L_i(S) = ∏_{j∈S, j≠i} j/(j−i).
#[must_use]
pub fn lagrange<G: Group>(group: G, set: PartySet, id: PartyId) -> G::Scalar {
    lagrange_at(group, set, id, 0)
}

/// Λ·L_i(S) for every member, and Λ: integers, so that whoever divides does it once. (Λ = 1 and full
/// scalars where the identifiers are far apart and the group is large.) S bounds the set.
#[must_use]
pub fn scaled_lagrange<G: Group, const S: usize>(
    group: G,
    set: PartySet,
) -> (Vec<(PartyId, G::Scalar), S>, G::Scalar) {
    let common = common_denominator(set, 0);
    let weights = set.iter().take(S).map(|id| match common {
        Some(common) => (id, group.integer(scaled(set, id, 0, common))),
        None => (id, lagrange(group, set, id)),
    });
    (weights.collect(), group.integer(common.unwrap_or(1)))
}

/// C/L_i(S) with C = ∏_{j∈S} j, which spreads the zero masks (`docs/PROTOCOL.md` §5): an integer,
/// i·∏_{j≠i}(j−i), so that no inversion is needed.
#[must_use]
#[inline(never)]
pub fn mask_weight<G: Group>(group: G, set: PartySet, id: PartyId) -> G::Scalar {
    let i = group.number(id.number().into());
    differences(set, id, 0).fold(i, |all, (_, below)| G::product(&all, &group.integer(-below)))
}

/// 1/j for a small public j: variable time. With p − 1 = q·j + r, j·q is −(r + 1) modulo p, so 1/j is −q/(r + 1), and
/// r + 1 is smaller than j, which does not divide p. That takes some divisions by one byte, where an inversion modulo p
/// takes a chip as long as half a signature's nonce.
#[inline(never)]
fn inverse<G: Group>(group: G, id: PartyId) -> G::Scalar {
    let one = group.one();
    let last = G::scalar_to_bytes(&G::negate(&one));
    let (mut j, mut inverse) = (u32::from(id.number()), one);
    while j > 1 {
        let (mut quotient, mut rest) = (last, 0);
        for digit in &mut quotient {
            let part = rest << 8 | u32::from(*digit);
            let whole = part.checked_div(j).unwrap_or_default();
            (*digit, rest) = (whole as u8, part - whole * j);
        }
        // Below p, since j is more than 1.
        let negated = group.scalar_from_bytes(&quotient).unwrap_or(group.zero());
        inverse = G::product(&inverse, &G::negate(&negated));
        j = rest + 1;
    }
    inverse
}

/// 1/j for every holder j; N bounds the holders.
#[must_use]
#[inline(never)]
pub fn inverses<G: Group, const N: usize>(
    group: G,
    holders: PartySet,
) -> Vec<(PartyId, G::Scalar), N> {
    holders.iter().take(N).map(|id| (id, inverse(group, id))).collect()
}

/// f_A(id) for the polynomial of degree d with f_A(0) = 1 and f_A(j) = 0 for every holder j ∉ A
/// (`docs/PROTOCOL.md` §6.1): ∏_{j∉A} (j−id)/j, with all 1/j from [`inverses`].
#[must_use]
pub fn nonce_weight<G: Group>(
    group: G,
    inverses: &[(PartyId, G::Scalar)],
    set: PartySet,
    id: PartyId,
) -> G::Scalar {
    let i = i64::from(id.number());
    let left_out = inverses.iter().filter(|(other, _)| !set.contains(*other));
    left_out.fold(group.one(), |product, (other, inverse)| {
        let difference = group.integer(i64::from(other.number()) - i);
        G::product(&G::product(&product, &difference), inverse)
    })
}

/// A point that claims to be a polynomial's value at `id`.
#[derive(Clone, Copy, Debug)]
pub struct Entry<G: Group> {
    /// Where.
    pub id: PartyId,
    /// What.
    pub point: G::Point,
}

/// The least common multiple Λ of the denominators of all coefficients at `at`, unless it or one of them scaled by it
/// is too long.
#[inline(never)]
fn common_denominator(set: PartySet, at: u16) -> Option<i64> {
    let weights = || set.iter().map(|id| lagrange_fraction(set, id, at));
    let common = weights().try_fold(1i64, |common, weight| {
        let denominator = weight?.denominator;
        product(quotient(common, gcd(common, denominator)), denominator)
    })?;
    weights().all(|weight| weight.is_some_and(|w| w.scaled(common).is_some())).then_some(common)
}

/// Λ times a coefficient, for a Λ from [`common_denominator`].
fn scaled(set: PartySet, id: PartyId, at: u16, common: i64) -> i64 {
    let weight = lagrange_fraction(set, id, at);
    weight.and_then(|weight| weight.scaled(common)).unwrap_or_default()
}

/// The value at `at` (0, or an identifier) of the polynomial of degree |basis|−1 through the entries of
/// `basis`, as (Λ·value, Λ) with a Λ for which all multiplications are short: 1 wherever the identifiers
/// are neighbours. Public data, variable time.
#[must_use]
#[inline(never)]
pub fn value_at<G: Group>(group: G, basis: &[Entry<G>], at: u16) -> (G::Point, i64) {
    let set: PartySet = basis.iter().map(|entry| entry.id).collect();
    let common = common_denominator(set, at);
    let terms = basis.iter().map(|Entry { id, point }| match common {
        Some(common) => group.mul_small(point, scaled(set, *id, at, common)),
        // Far-apart identifiers in a large group: no short common factor, so full scalars.
        None => G::mul_public(point, &lagrange_at(group, set, *id, at)),
    });
    (terms.reduce(|sum, term| sum + term).unwrap_or(group.identity()), common.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Secp256k1 as C;
    use rand_chacha::rand_core::SeedableRng;

    fn ids(numbers: &[u16]) -> PartySet {
        numbers.iter().filter_map(|n| PartyId::new(*n)).collect()
    }

    fn entries(f: &Polynomial<C, 8>, set: PartySet) -> Vec<Entry<C>, 16> {
        set.iter().map(|id| Entry { id, point: C::mul_base(f.evaluate(id).expose()) }).collect()
    }

    #[test]
    fn every_set_of_signers_gives_the_value_at_zero() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        // {2, 3, 4} is the trap of §2: forward differences would give p(1) there.
        for (degree, numbers) in [
            (1, &[1u16, 2, 3][..]),
            (1, &[2, 3, 4]),
            (1, &[1, 2, 4]),
            (1, &[1, 4, 9]),
            (1, &[3, 200, 255]),
            (2, &[1, 2, 3, 4, 5]),
            (2, &[1, 7, 100, 101, 255]),
            (5, &[1, 2, 50, 77, 100, 120, 133, 151, 190, 253, 255]),
        ] {
            let f = Polynomial::<_, 8>::random(C, degree + 1, &mut rng);
            let secret = C::mul_base(f.constant().unwrap().expose());
            let points = entries(&f, ids(numbers));
            for basis in points.windows(degree + 1) {
                let (sum, common) = value_at(C, basis, 0);
                assert_eq!(sum, C::mul(&secret, &C.integer(common)), "{numbers:?}");
                let neighbours = basis.windows(2).all(|w| w[0].id.number() + 1 == w[1].id.number());
                assert!(common == 1 || !neighbours);
            }
            // At an identifier it is that entry, which is what the degree check compares.
            for entry in &points {
                let (sum, common) = value_at(C, &points[..=degree], entry.id.number());
                assert_eq!(sum, C.mul_small(&entry.point, common), "{numbers:?}");
            }
        }
    }

    #[test]
    fn lagrange_interpolates_products_of_degree_2d() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(2);
        let (f, g) = (
            Polynomial::<_, 8>::random(C, 3, &mut rng),
            Polynomial::<_, 8>::random(C, 3, &mut rng),
        );
        // The last two are too long for fractions, the last also for what an ECDSA key may have.
        let wide = [1, 2, 50, 77, 100, 120, 133, 151, 190, 253, 255];
        for set in [ids(&[1, 2, 5, 6, 9]), ids(&wide), PartySet::first(40)] {
            let product = set.iter().fold(k256::Scalar::ZERO, |sum, id| {
                sum + lagrange(C, set, id) * f.evaluate(id).expose() * g.evaluate(id).expose()
            });
            assert_eq!(product, f.constant().unwrap().expose() * g.constant().unwrap().expose());
            let (scaled, common) = scaled_lagrange::<_, 40>(C, set);
            let scalar = |id: PartyId| k256::Scalar::from(u64::from(id.number()));
            let all = set.iter().fold(k256::Scalar::ONE, |product, id| product * scalar(id));
            assert_eq!(scaled.len(), set.len());
            for (id, weight) in scaled {
                assert_eq!(lagrange(C, set, id) * common, weight);
                assert_eq!(lagrange(C, set, id) * mask_weight(C, set, id), all);
            }
        }
    }

    #[test]
    fn inverses_of_all_identifiers() {
        fn all<G: Group>(group: G) {
            let found = inverses::<_, 255>(group, PartySet::first(255));
            assert_eq!(found.len(), 255);
            for (id, inverse) in found {
                let one = inverse * group.number(id.number().into());
                assert!(one == group.one(), "{id}");
            }
        }
        all(C);
        all(crate::curve::P256);
        all(crate::curve::Ed25519);
        crate::curve::AnyGroup::ALL.into_iter().for_each(all);
    }

    #[test]
    fn commitments_evaluate_like_the_polynomial() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(3);
        let f = Polynomial::<_, 8>::random(C, 4, &mut rng);
        let phi = f.commit();
        for number in [1u16, 2, 17, 255] {
            let id = PartyId::new(number).unwrap();
            assert_eq!(evaluate_commitment(C, &phi, id), C::mul_base(f.evaluate(id).expose()));
        }
    }
}
