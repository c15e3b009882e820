//! Keys from and to `frost-core`'s packages: its distributed key generation, or a trusted dealer of
//! its, gives a FROST-only key here; every key of ours gives packages there.
//!
//! A key that `frost-secp256k1-tr` generated among several parties is already tweaked by BIP-341 for an
//! output without scripts: X here is that output key. A dealer's is not.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use frost_core::VerifyingKey;
use frost_core::keys::{KeyPackage, PublicKeyPackage};

use super::key::{FrostKey, FrostPublic, FrostTerms, KeyError, PublicRecord, SecretRecord};
use super::suite::{self, C, FrostSuite};
use crate::curve::PointBytes;
use crate::party::{PartyId, PartySet};
use crate::secret::SecretBytes;
use crate::{vss, wire};

impl<const N: usize> PublicRecord<N> {
    /// Takes over a key by its public package, which must be that of `terms`: its parties, its
    /// threshold, and all X_j on one polynomial of degree T−1 with the value X at 0. The key generation
    /// of `frost-core` has no session and no certificate: that all holders have this record is theirs
    /// to compare, by [`Self::digest`].
    ///
    /// # Errors
    /// [`KeyError`] says what does not fit.
    pub fn import<G: FrostSuite>(
        terms: FrostTerms,
        package: &PublicKeyPackage<C<G>>,
    ) -> Result<Self, KeyError> {
        if terms.suite != G::SUITE {
            return Err(KeyError::Suite(terms.suite));
        }
        let threshold = usize::from(terms.threshold);
        if !(2..=N).contains(&threshold) || threshold > terms.parties.len() {
            return Err(KeyError::Threshold);
        }
        if package.min_signers().is_some_and(|least| usize::from(least) != threshold) {
            return Err(KeyError::Threshold);
        }
        let shares = party_keys::<G>(package)?;
        if shares.iter().map(|(id, _)| *id).collect::<PartySet>() != terms.parties {
            return Err(KeyError::Parties);
        }
        let coefficients = coefficients::<G>(shares.get(..threshold).ok_or(KeyError::Threshold)?)
            .ok_or(KeyError::OffPolynomial)?;
        let fits = |(id, key): &(PartyId, G::Point)| {
            vss::evaluate_commitment(G::default(), &coefficients, *id) == *key
        };
        let encoded: Option<heapless::Vec<PointBytes, N>> =
            coefficients.iter().map(G::point_to_bytes).collect();
        let commitment = encoded.ok_or(KeyError::OffPolynomial)?;
        let group_key = point_of_key::<G>(package.verifying_key());
        if !shares.iter().all(fits) || commitment.first() != group_key.as_ref() {
            return Err(KeyError::OffPolynomial);
        }
        Ok(Self { version: wire::VERSION, terms, commitment })
    }
}

impl SecretRecord {
    /// Takes over one party's share of the key of `record`.
    ///
    /// # Errors
    /// [`KeyError`] says what does not fit.
    pub fn import<G: FrostSuite, const N: usize>(
        record: &PublicRecord<N>,
        package: &KeyPackage<C<G>>,
    ) -> Result<Self, KeyError> {
        let public = FrostPublic::<G>::open(record)?;
        let party = suite::party::<G>(package.identifier()).ok_or(KeyError::Identifier)?;
        if usize::from(*package.min_signers()) != public.threshold() {
            return Err(KeyError::Threshold);
        }
        if point_of_key::<G>(package.verifying_key()).as_ref() != Some(public.group_key()) {
            return Err(KeyError::OtherKey);
        }
        let share = suite::scalar_of_share::<G>(package.signing_share()).ok_or(KeyError::Share)?;
        let opened = FrostKey::new(public, party, share)?;
        Ok(Self {
            version: wire::VERSION,
            context: record.terms.context(),
            epoch: record.terms.epoch,
            party,
            share: SecretBytes::of_scalar(opened.share()),
        })
    }
}

impl<G: FrostSuite> FrostPublic<G> {
    /// The public package of this key for `frost-core`; `None` if an X_j is the identity, which happens
    /// with negligible probability.
    #[must_use]
    pub fn to_frost(&self) -> Option<PublicKeyPackage<C<G>>> {
        let parties = self.parties();
        let shares = parties.iter().map(|party| {
            let share = suite::verifying_share::<G>(&self.party_key(party))?;
            Some((suite::identifier::<G>(party)?, share))
        });
        let shares: Option<BTreeMap<_, _>> = shares.collect();
        let least = u16::try_from(self.threshold()).ok();
        Some(PublicKeyPackage::new(shares?, suite::verifying_key::<G>(self.group_key())?, least))
    }
}

impl<G: FrostSuite> FrostKey<G> {
    /// This party's package for `frost-core`. It holds the share: every call is a place to review.
    /// `None` does not happen.
    #[must_use]
    pub fn to_frost(&self) -> Option<KeyPackage<C<G>>> {
        let public = self.public();
        let identifier = suite::identifier::<G>(self.party())?;
        let signing = suite::signing_share(self.share())?;
        let verifying = suite::verifying_share::<G>(&public.party_key(self.party()))?;
        let key = suite::verifying_key::<G>(public.group_key())?;
        let least = u16::try_from(public.threshold()).ok()?;
        Some(KeyPackage::new(identifier, signing, verifying, key, least))
    }
}

fn point_of_key<G: FrostSuite>(key: &VerifyingKey<C<G>>) -> Option<PointBytes> {
    G::from_frost(&key.serialize().ok()?)
}

/// The X_j, by party.
fn party_keys<G: FrostSuite>(
    package: &PublicKeyPackage<C<G>>,
) -> Result<Vec<(PartyId, G::Point)>, KeyError> {
    let mut shares = Vec::new();
    for (identifier, share) in package.verifying_shares() {
        let party = suite::party::<G>(identifier).ok_or(KeyError::Identifier)?;
        let bytes = share.serialize().ok().and_then(|bytes| G::from_frost(&bytes));
        let point = bytes.and_then(|bytes| G::default().point_from_bytes(&bytes));
        let point = point.ok_or(KeyError::PublicRecord)?;
        shares.push((party, point));
    }
    shares.sort_unstable_by_key(|(party, _)| *party);
    Ok(shares)
}

/// Φ, of the polynomial of degree |keys|−1 through the `keys`: Φ = Σ_j X_j·ℓ_j with the Lagrange basis
/// ℓ_j(x) = ∏_{l≠j} (x−l)/(j−l), multiplied out. Public data.
fn coefficients<G: FrostSuite>(keys: &[(PartyId, G::Point)]) -> Option<Vec<G::Point>> {
    let group = G::default();
    let scalar = |id: PartyId| group.number(id.number().into());
    let one = group.one();
    let mut sum: Vec<G::Point> = keys.iter().map(|_| group.identity()).collect();
    for (j, key) in keys {
        let (mut basis, mut divisor) = (Vec::from([one]), one);
        for (l, _) in keys.iter().filter(|(l, _)| l != j) {
            divisor = divisor * (scalar(*j) - scalar(*l));
            // Times (x − l): what was the coefficient of x^m goes to x^(m+1), and −l of it stays.
            let raised = core::iter::once(group.zero()).chain(basis.iter().copied());
            let kept = basis.iter().map(|b| *b * -scalar(*l)).chain([group.zero()]);
            basis = raised.zip(kept).map(|(up, down)| up + down).collect();
        }
        let weight = G::invert(&divisor)?;
        for (coefficient, b) in sum.iter_mut().zip(&basis) {
            *coefficient = *coefficient + G::mul(key, &(*b * weight));
        }
    }
    Some(sum)
}
