//! Every check that names a dealer (`docs/PROTOCOL.md` §3 steps 6 and 10), as functions of signed
//! messages alone: a party checks what arrives, and a third party judges evidence, by the same code.

use heapless::Vec;
use subtle::ConstantTimeEq as _;

use super::message::{Commit, Contributions, Deal, OpenTree, Receiver};
use crate::curve::{Group, PointBytes, Sum};
use crate::hash::{Digest, Transcript};
use crate::key::KeyTerms;
use crate::party::PartyId;
use crate::secret::SecretScalar;
use crate::session::Fault;
use crate::vss;

/// com_i = H("dkg-com", ctx0, i, n_i, Φ_i, r_i).
#[inline(never)]
pub(super) fn commitment(
    context: &Digest,
    dealer: PartyId,
    nonce: &[u8; 32],
    coefficients: &[PointBytes],
    blind: &[u8; 32],
) -> Digest {
    let start = Transcript::new("dkg-com").bytes(context).party(dealer).bytes(nonce);
    let start = start.u16(coefficients.len() as u16);
    coefficients.iter().fold(start, |t, point| t.bytes(&point.0)).bytes(blind).finish()
}

/// c_i = H2F("dkg-pop", sid, i, Φ_i[0], K_i).
pub(super) fn proof_challenge<G: Group>(
    group: G,
    sid: &Digest,
    dealer: PartyId,
    constant: &PointBytes,
    nonce: &PointBytes,
) -> G::Scalar {
    let transcript = Transcript::new("dkg-pop").bytes(sid).party(dealer);
    group.scalar_from_wide(&transcript.bytes(&constant.0).bytes(&nonce.0).wide())
}

/// Every check of R2 that needs no other dealer's; gives the points of Φ.
pub(super) fn open<G: Group, const N: usize>(
    group: G,
    terms: &KeyTerms,
    context: &Digest,
    dealer: PartyId,
    commit: &Commit,
    tree: &OpenTree<N>,
) -> Result<Vec<G::Point, N>, Fault> {
    let mut points = Vec::new();
    opening(group, terms, context, dealer, commit, tree, &mut points)?;
    match points.first() {
        Some(constant) if possesses(group, dealer, tree, constant) => Ok(points),
        _ => Err(Fault::ProofOfPossession),
    }
}

/// [`open`] but for the proof of possession. The points of Φ go to `out`.
#[inline(never)]
pub(super) fn opening<G: Group, const N: usize>(
    group: G,
    terms: &KeyTerms,
    context: &Digest,
    dealer: PartyId,
    commit: &Commit,
    tree: &OpenTree<N>,
    out: &mut Vec<G::Point, N>,
) -> Result<(), Fault> {
    let (holders, opening) = (terms.holders, &tree.opening);
    // Exactly T points: one more would raise the threshold unseen.
    if opening.coefficients.len() != holders.threshold() {
        return Err(Fault::CommitmentLength);
    }
    if usize::from(tree.pairs) != holders.count() - 1
        || usize::from(tree.sets) != holders.nonce_keys()
        || tree.receivers.len() != holders.count() - 1
    {
        return Err(Fault::CommitmentLength);
    }
    // The identity has no encoding: neither Φ[0] nor Φ[T−1] nor any other can be it.
    points(group, &opening.coefficients, out).ok_or(Fault::InvalidPoint)?;
    let opened = commitment(context, dealer, &commit.nonce, &opening.coefficients, &opening.blind);
    if opened != commit.commitment {
        return Err(Fault::CommitmentOpening);
    }
    Ok(())
}

/// z·G = K + c·Φ[0]. With its encoding, so that K need not be decoded: it is compared.
#[inline(never)]
pub(super) fn possesses<G: Group, const N: usize>(
    group: G,
    dealer: PartyId,
    tree: &OpenTree<N>,
    constant: &G::Point,
) -> bool {
    let opening = &tree.opening;
    let Some(constant_bytes) = opening.coefficients.first() else { return false };
    let Some(proof) = group.scalar_from_bytes(&opening.proof) else { return false };
    let challenge =
        proof_challenge(group, &opening.sid, dealer, constant_bytes, &opening.proof_nonce);
    let nonce = G::combination(&proof, constant, &G::negate(&challenge));
    G::point_to_bytes(&nonce) == Some(opening.proof_nonce)
}

/// So many proofs are verified at once: each takes a chip's stack two terms of a sum.
const AT_ONCE: usize = if cfg!(feature = "std") { 8 } else { 3 };
/// Of the generator, and of each proof two but of the first.
const TERMS: usize = 2 * AT_ONCE;

/// [`possesses`] of all dealers with their Φ[0]: Σ w·(z·G − c·Φ[0] − K) = O, with the weight 1 for the first and for
/// each other one w of 128 bits that nobody could know when it made its proof (`docs/PROTOCOL.md` §3 step 6). If
/// not, one of them at least is wrong.
#[inline(never)]
pub(super) fn all_possess<'a, G: Group, const N: usize>(
    group: G,
    constants: &[(PartyId, G::Point)],
    tree_of: impl Fn(PartyId) -> Option<&'a OpenTree<N>>,
    weight: impl Fn(PartyId) -> [u8; 16],
) -> bool {
    let single = |dealer, constant| {
        tree_of(dealer).is_some_and(|tree| possesses(group, dealer, tree, constant))
    };
    // There, to see that K is in the subgroup takes as long as a proof.
    if group.cofactor() != 1 {
        return constants.iter().all(|(dealer, constant)| single(*dealer, constant));
    }
    constants.chunks(AT_ONCE).all(|constants| {
        let mut sum = Sum::<G, TERMS>::new(group);
        let (mut base, mut first) = (group.zero(), None);
        let added = constants.iter().all(|(dealer, constant)| {
            let weight = first.is_some().then(|| weight(*dealer));
            let proof = tree_of(*dealer)
                .and_then(|tree| add_proof(group, &mut sum, *dealer, tree, constant, weight));
            let Some((proof, nonce)) = proof else { return false };
            base = base + proof;
            first.get_or_insert(nonce);
            true
        });
        added
            && sum.add(&base, &-group.generator()).is_some()
            && sum.value() == first.map(|nonce| -nonce)
    })
}

/// Adds w·c·Φ[0] and w·K, and gives w·z and K; `None` if the proof is malformed. Without a weight, that is 1, and K
/// is not added.
#[inline(never)]
fn add_proof<G: Group, const N: usize>(
    group: G,
    sum: &mut Sum<G, TERMS>,
    dealer: PartyId,
    tree: &OpenTree<N>,
    constant: &G::Point,
    weight: Option<[u8; 16]>,
) -> Option<(G::Scalar, G::Point)> {
    let opening = &tree.opening;
    let proof = group.scalar_from_bytes(&opening.proof)?;
    let nonce = group.point_from_bytes(&opening.proof_nonce)?;
    let bytes = opening.coefficients.first()?;
    let challenge = proof_challenge(group, &opening.sid, dealer, bytes, &opening.proof_nonce);
    let Some(weight) = weight else {
        sum.add(&challenge, constant)?;
        return Some((proof, nonce));
    };
    let mut short = [0; 32];
    short.iter_mut().skip(16).zip(&weight).for_each(|(to, from)| *to = *from);
    let weight = group.scalar_from_bytes(&short)?;
    sum.add(&(weight * challenge), constant)?;
    sum.add(&weight, &nonce)?;
    Some((weight * proof, nonce))
}

/// Whether `dealer` has proven that it knows the constant coefficient of its R2.
pub(super) fn proves_possession<G: Group, const N: usize>(
    group: G,
    dealer: PartyId,
    tree: &OpenTree<N>,
) -> bool {
    let constant = tree.opening.coefficients.first();
    let constant = constant.and_then(|bytes| group.point_from_bytes(bytes));
    constant.is_some_and(|constant| possesses(group, dealer, tree, &constant))
}

/// Puts the points of Φ behind what is in `out`, if all are valid.
#[inline(never)]
pub(super) fn points<G: Group, const N: usize>(
    group: G,
    bytes: &[PointBytes],
    out: &mut Vec<G::Point, N>,
) -> Option<()> {
    bytes.iter().try_for_each(|bytes| out.push(group.point_from_bytes(bytes)?).ok())
}

/// The share of an R3. Whether it times G is Φ at its receiver, the caller says.
pub(super) fn share<G: Group, C: Contributions>(
    group: G,
    deal: &Deal<C>,
) -> Option<SecretScalar<G>> {
    group.scalar_from_bytes(deal.share.expose()).map(SecretScalar::new)
}

/// Every check of R3 but those of th and of the share: once for all groups.
#[inline(never)]
pub(super) fn contributions<const N: usize, C: Contributions>(
    terms: &KeyTerms,
    dealer: PartyId,
    tree: &OpenTree<N>,
    to: PartyId,
    deal: &Deal<C>,
) -> Result<(), Fault> {
    let place = terms.holders.parties().without(dealer).position(to);
    let committed = place.and_then(|place| tree.receivers.get(place));
    let opened = opened(terms, &tree.opening.sid, dealer, to, deal);
    let fits = committed.zip(opened).is_some_and(|(a, b)| a.ct_eq(&b).into());
    if fits { Ok(()) } else { Err(Fault::BadContribution) }
}

/// D_to of what an R3 opens, or `None` if it is not exactly one opening for every shared set.
fn opened<C: Contributions>(
    terms: &KeyTerms,
    sid: &Digest,
    dealer: PartyId,
    to: PartyId,
    deal: &Deal<C>,
) -> Option<Digest> {
    let mut receiver = Receiver::new(to);
    receiver.take(&deal.pair.pair_commitment(sid, dealer, to));
    let mut openings = deal.contributions();
    for set in terms.holders.nonce_sets_of_both(dealer, to) {
        receiver.take(&openings.next()?.set_commitment(sid, dealer, set));
    }
    openings.next().is_none().then(|| receiver.finish())
}

/// Φ at `to`, or `None` if a point is invalid.
#[inline(never)]
pub(super) fn promised<G: Group, const N: usize>(
    group: G,
    tree: &OpenTree<N>,
    to: PartyId,
) -> Option<G::Point> {
    let mut points: Vec<G::Point, N> = Vec::new();
    self::points(group, &tree.opening.coefficients, &mut points)?;
    Some(vss::evaluate_commitment(group, &points, to))
}
