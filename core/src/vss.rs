//! Polynomials, commitments to them, and interpolation over small public identifiers.

use heapless::Vec;
use rand_core::{CryptoRng, RngCore};

use crate::curve::Group;
use crate::party::{PartyId, PartySet};
use crate::secret::SecretScalar;

/// A secret polynomial f with T coefficients, f_0 first; N is the capacity.
pub struct Polynomial<G: Group, const N: usize>(Vec<SecretScalar<G>, N>);

impl<G: Group, const N: usize> Polynomial<G, N> {
    /// A random polynomial with `coefficients` coefficients (T of them: degree T−1).
    pub fn random(coefficients: usize, rng: &mut (impl RngCore + CryptoRng)) -> Self {
        Self((0..coefficients.min(N)).map(|_| SecretScalar::random(rng)).collect())
    }

    /// f(id).
    #[must_use]
    pub fn evaluate(&self, id: PartyId) -> SecretScalar<G> {
        let x = G::Scalar::from(u64::from(id.number()));
        let zero = G::Scalar::default();
        SecretScalar::new(self.0.iter().rev().fold(zero, |sum, f| sum * x + *f.expose()))
    }

    /// f_0.
    #[must_use]
    pub fn constant(&self) -> Option<&SecretScalar<G>> {
        self.0.first()
    }

    /// `Φ[m]` = f_m·G.
    #[must_use]
    pub fn commit(&self) -> Vec<G::Point, N> {
        self.0.iter().map(|f| G::mul_base(f.expose())).collect()
    }
}

/// Σ id^m·`Φ[m]`, by Horner's rule with the small identifier: variable time, public data.
#[must_use]
pub fn evaluate_commitment<G: Group>(commitment: &[G::Point], id: PartyId) -> G::Point {
    let x = i128::from(id.number());
    commitment.iter().rev().fold(G::Point::default(), |sum, phi| G::mul_small(&sum, x) + *phi)
}

/// A reduced fraction of two public integers, the denominator positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fraction {
    numerator: i128,
    denominator: i128,
}

impl Fraction {
    const ONE: Self = Self { numerator: 1, denominator: 1 };

    /// The product with `a/b`. Identifiers have 8 bits and there are at most 11 signers, so 2^88
    /// bounds both parts.
    fn times(self, a: i128, b: i128) -> Self {
        let numerator = self.numerator.saturating_mul(a);
        let denominator = self.denominator.saturating_mul(b);
        let common = gcd(numerator, denominator).max(1) * denominator.signum();
        Self { numerator: numerator / common, denominator: denominator / common }
    }

    fn scalar<G: Group>(self) -> G::Scalar {
        let numerator = G::scalar_from_integer(self.numerator);
        if self.denominator == 1 {
            return numerator;
        }
        // Never 0 modulo p: it is a product of differences of distinct 8-bit integers.
        let inverse = G::invert(&G::scalar_from_integer(self.denominator));
        numerator * inverse.unwrap_or_default()
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a as i128
}

/// L_i(S), the Lagrange coefficient of `id` at 0, as a fraction.
fn lagrange_fraction(set: PartySet, id: PartyId) -> Fraction {
    let i = i128::from(id.number());
    set.iter().filter(|other| *other != id).fold(Fraction::ONE, |product, other| {
        let j = i128::from(other.number());
        product.times(j, j - i)
    })
}

/// L_i(S) = ∏_{j∈S, j≠i} j/(j−i).
#[must_use]
pub fn lagrange<G: Group>(set: PartySet, id: PartyId) -> G::Scalar {
    lagrange_fraction(set, id).scalar::<G>()
}

/// 1/L_i(S): it spreads the zero masks (`docs/PROTOCOL.md` §5).
#[must_use]
pub fn inverse_lagrange<G: Group>(set: PartySet, id: PartyId) -> G::Scalar {
    let Fraction { numerator, denominator } = lagrange_fraction(set, id);
    Fraction::ONE.times(denominator, numerator).scalar::<G>()
}

/// f_A(id) for the polynomial of degree d with f_A(0) = 1 and f_A(j) = 0 for every holder j ∉ A
/// (`docs/PROTOCOL.md` §6.1).
#[must_use]
pub fn nonce_weight<G: Group>(holders: PartySet, set: PartySet, id: PartyId) -> G::Scalar {
    let i = i128::from(id.number());
    let left_out = holders.difference(&set);
    let product = left_out.iter().fold(Fraction::ONE, |product, other| {
        let j = i128::from(other.number());
        product.times(j - i, j)
    });
    product.scalar::<G>()
}

/// A point that claims to be a polynomial's value at `id`.
#[derive(Clone, Copy, Debug)]
pub struct Entry<G: Group> {
    /// Where.
    pub id: PartyId,
    /// What.
    pub point: G::Point,
}

/// Σ weight·P with a common factor Λ cleared from the weights, so that all multiplications are short:
/// returns (Λ·Σ, Λ). Public data, variable time.
fn combine<G: Group>(
    terms: impl Iterator<Item = (G::Point, Fraction)> + Clone,
) -> (G::Point, i128) {
    let common = terms.clone().try_fold(1i128, |common, (_, weight)| {
        (common / gcd(common, weight.denominator)).checked_mul(weight.denominator)
    });
    let integers = common.filter(|common| {
        terms.clone().all(|(_, w)| (common / w.denominator).checked_mul(w.numerator).is_some())
    });
    match integers {
        Some(common) => {
            let sum = terms.fold(G::Point::default(), |sum, (point, w)| {
                sum + G::mul_small(&point, (common / w.denominator).saturating_mul(w.numerator))
            });
            (sum, common)
        }
        // Far-apart identifiers in a large group: no short common factor, so full scalars.
        None => {
            let sum = terms.fold(G::Point::default(), |sum, (point, weight)| {
                sum + G::mul(&point, &weight.scalar::<G>())
            });
            (sum, 1)
        }
    }
}

/// DegCheck_d (`docs/PROTOCOL.md` §2): whether the entries, sorted by identifier and distinct, lie on
/// a polynomial of degree at most `degree`. Every divided difference of order d+1 over neighbours must
/// be the identity; for identifiers 1, 2, 3 … these are the forward differences.
#[must_use]
pub fn on_polynomial<G: Group>(entries: &[Entry<G>], degree: usize) -> bool {
    entries.windows(degree + 2).all(|window| {
        let terms = window.iter().map(|entry| {
            let i = i128::from(entry.id.number());
            let others = window.iter().filter(|other| other.id != entry.id);
            let weight = others.fold(Fraction::ONE, |product, other| {
                product.times(1, i - i128::from(other.id.number()))
            });
            (entry.point, weight)
        });
        combine::<G>(terms).0 == G::Point::default()
    })
}

/// The value at 0 of the polynomial of degree `degree` on which all entries lie, or `None` if there
/// are too few. Call it after [`on_polynomial`]: then any degree+1 entries give the same point, and a
/// run of neighbours whose weights are integers needs short multiplications only.
#[must_use]
pub fn value_at_zero<G: Group>(entries: &[Entry<G>], degree: usize) -> Option<G::Point> {
    let weigh = |window: &[Entry<G>]| {
        let set: PartySet = window.iter().map(|entry| entry.id).collect();
        let weights = window.iter().map(move |e| lagrange_fraction(set, e.id));
        weights.clone().all(|weight| weight.denominator == 1)
    };
    let window = entries
        .windows(degree + 1)
        .find(|window| weigh(window))
        .or_else(|| entries.get(..=degree))?;
    let set: PartySet = window.iter().map(|entry| entry.id).collect();
    let (sum, common) =
        combine::<G>(window.iter().map(|e| (e.point, lagrange_fraction(set, e.id))));
    if common == 1 {
        return Some(sum);
    }
    Some(G::mul(&sum, &G::invert(&G::scalar_from_integer(common))?))
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
            let f = Polynomial::<C, 8>::random(degree + 1, &mut rng);
            let secret = C::mul_base(f.constant().unwrap().expose());
            let mut points = entries(&f, ids(numbers));
            assert!(on_polynomial(&points, degree), "{numbers:?}");
            assert_eq!(value_at_zero(&points, degree), Some(secret), "{numbers:?}");
            for place in 0..points.len() {
                let honest = points[place].point;
                points[place].point = C::double(&honest);
                assert!(!on_polynomial(&points, degree), "{numbers:?} at {place}");
                points[place].point = honest;
            }
        }
    }

    #[test]
    fn lagrange_interpolates_products_of_degree_2d() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(2);
        let (f, g) =
            (Polynomial::<C, 8>::random(3, &mut rng), Polynomial::<C, 8>::random(3, &mut rng));
        let set = ids(&[1, 2, 5, 6, 9]);
        let product = set.iter().fold(k256::Scalar::ZERO, |sum, id| {
            sum + lagrange::<C>(set, id) * f.evaluate(id).expose() * g.evaluate(id).expose()
        });
        assert_eq!(product, f.constant().unwrap().expose() * g.constant().unwrap().expose());
        for id in set.iter() {
            assert_eq!(lagrange::<C>(set, id) * inverse_lagrange::<C>(set, id), k256::Scalar::ONE);
        }
    }

    #[test]
    fn commitments_evaluate_like_the_polynomial() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(3);
        let f = Polynomial::<C, 8>::random(4, &mut rng);
        let phi = f.commit();
        for number in [1u16, 2, 17, 255] {
            let id = PartyId::new(number).unwrap();
            assert_eq!(evaluate_commitment::<C>(&phi, id), C::mul_base(f.evaluate(id).expose()));
        }
    }
}
