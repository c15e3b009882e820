//! What RFC 9591 computes from a list of commitments, over our groups and with the hashes of the
//! ciphersuite. `frost-core` does the same from points of its own, which it encodes again for every
//! hash; here the hashes are over the bytes that were received, and every point is decoded once.

use alloc::vec::Vec;

use super::offers::Entry;
use super::suite::FrostGroup;
use crate::curve::sum::sum_of_products;
use crate::party::PartyId;
use crate::schnorr::Target;

/// compute_binding_factors (§4.4): ρ_j of every entry, for the key of `target`. The entries are in
/// increasing order of their parties.
pub(super) fn factors<G: FrostGroup>(
    target: &Target<G>,
    message: &[u8],
    entries: &[Entry],
) -> Option<Vec<G::Scalar>> {
    let group = target.group();
    let mut list = Vec::with_capacity(entries.len() * 98);
    for Entry { party, nonce, .. } in entries {
        list.extend_from_slice(&identifier(group, *party));
        list.extend_from_slice(group.to_frost(&nonce.hiding)?);
        list.extend_from_slice(group.to_frost(&nonce.binding)?);
    }
    let mut input = Vec::from(group.to_frost(&group.encoding(target.name()))?);
    group.digests(message, &list, &mut input);
    let prefix = input.len();
    let factor = |Entry { party, .. }: &Entry| {
        input.truncate(prefix);
        input.extend_from_slice(&identifier(group, *party));
        group.factor(&input)
    };
    entries.iter().map(factor).collect()
}

/// More terms at once would take too much of a chip's stack.
const AT_ONCE: usize = 3;

/// compute_group_commitment (§4.5): Σ D_j + ρ_j·E_j. Public data, in variable time.
#[inline(never)]
pub(super) fn commitment<G: FrostGroup>(
    group: G,
    members: &[(G::Point, G::Point, G::Scalar)],
) -> G::Point {
    let hiding = members.iter().fold(group.identity(), |sum, (hiding, ..)| sum + *hiding);
    let terms: Vec<_> = members.iter().map(|(_, binding, factor)| (*binding, *factor)).collect();
    if cfg!(feature = "std") {
        return hiding + group.sum_of_products(&terms);
    }
    // On a chip, the libraries' would be the only use of 3 KB of code.
    let sum =
        |terms: &[_]| sum_of_products::<_, AT_ONCE>(group, terms.iter().map(|(p, s)| (*s, *p)));
    terms.chunks(AT_ONCE).filter_map(sum).fold(hiding, |all, some| all + some)
}

/// A party's number, as the ciphersuite writes a scalar.
fn identifier<G: FrostGroup>(group: G, party: PartyId) -> [u8; 32] {
    G::response_to_bytes(&group.number(party.number().into()))
}
