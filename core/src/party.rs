//! Who takes part: identifiers, sets and thresholds that are valid by construction.

use core::num::NonZeroU8;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::wire::{Read, Reader, Write, Writer};

/// The index of one holder of a key, 1 to 255. It is the point at which its share is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartyId(NonZeroU8);

impl PartyId {
    /// The identifier `number`, or `None` for 0 and for anything above 255.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        u8::try_from(number).ok().and_then(NonZeroU8::new).map(Self)
    }

    /// The identifier as a number, 1 to 255.
    #[must_use]
    pub fn number(self) -> u16 {
        u16::from(self.0.get())
    }
}

impl core::fmt::Display for PartyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for PartyId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(self.0.get())
    }
}

impl<'de> Deserialize<'de> for PartyId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(from)?;
        NonZeroU8::new(number).map(Self).ok_or_else(|| D::Error::custom("party 0"))
    }
}

impl Write for PartyId {
    fn write(&self, to: &mut Writer<'_>) {
        self.0.get().write(to);
    }
}

impl Read<'_> for PartyId {
    fn read(from: &mut Reader<'_>) -> Self {
        let number = NonZeroU8::new(from.field());
        if number.is_none() {
            from.fail();
        }
        Self(number.unwrap_or(NonZeroU8::MIN))
    }
}

/// A set of parties: a bitmap, so it is sorted and free of duplicates by construction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PartySet([u8; 32]);

impl PartySet {
    /// The empty set.
    pub const EMPTY: Self = Self([0; 32]);

    /// The set {1, …, n}.
    #[must_use]
    pub fn first(n: u8) -> Self {
        (1..=u16::from(n)).filter_map(PartyId::new).collect()
    }

    /// The set with `id` added.
    #[must_use]
    pub fn with(mut self, id: PartyId) -> Self {
        if let Some(byte) = self.0.get_mut(usize::from(id.number() >> 3)) {
            *byte |= 1 << (id.number() & 7);
        }
        self
    }

    /// The set without `id`.
    #[must_use]
    #[inline(never)]
    pub fn without(mut self, id: PartyId) -> Self {
        if let Some(byte) = self.0.get_mut(usize::from(id.number() >> 3)) {
            *byte &= !(1 << (id.number() & 7));
        }
        self
    }

    /// Whether `id` is a member.
    #[must_use]
    #[inline(never)]
    pub fn contains(&self, id: PartyId) -> bool {
        self.0
            .get(usize::from(id.number() >> 3))
            .is_some_and(|byte| byte & (1 << (id.number() & 7)) != 0)
    }

    /// Whether every member of `other` is a member too.
    #[must_use]
    pub fn contains_all(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(mine, theirs)| mine & theirs == theirs)
    }

    /// The members of this set that are not in `other`.
    #[must_use]
    pub fn difference(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine &= !theirs;
        }
        self
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// The members in increasing order.
    pub fn iter(&self) -> impl Iterator<Item = PartyId> + Clone + use<> {
        Members { set: *self, byte: 0 }
    }

    /// The members above `id`, in increasing order.
    fn iter_after(&self, id: PartyId) -> impl Iterator<Item = PartyId> + use<> {
        let mut set = *self;
        let byte = id.number() >> 3;
        if let Some(bits) = set.0.get_mut(usize::from(byte)) {
            // Without `id` and whatever is below it.
            *bits &= !0u8 << (id.number() & 7) << 1;
        }
        Members { set, byte: byte as u8 }
    }

    /// The place of `id` among the members in increasing order, from 0.
    #[must_use]
    pub fn position(&self, id: PartyId) -> Option<usize> {
        self.iter().position(|member| member == id)
    }
}

/// What is left of a set while it is walked: whole empty bytes are passed over, since most sets are
/// small and are walked often.
#[derive(Clone)]
struct Members {
    set: PartySet,
    byte: u8,
}

impl Iterator for Members {
    type Item = PartyId;
    fn next(&mut self) -> Option<PartyId> {
        loop {
            let bits = self.set.0.get_mut(usize::from(self.byte))?;
            if *bits == 0 {
                self.byte += 1;
                continue;
            }
            let bit = bits.trailing_zeros();
            *bits &= *bits - 1;
            return PartyId::new(u16::from(self.byte) << 3 | bit as u16);
        }
    }
}

impl FromIterator<PartyId> for PartySet {
    fn from_iter<I: IntoIterator<Item = PartyId>>(ids: I) -> Self {
        ids.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl core::fmt::Debug for PartySet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.iter().map(PartyId::number)).finish()
    }
}

impl core::fmt::Display for PartySet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (place, id) in self.iter().enumerate() {
            write!(f, "{}{id}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Serialize for PartySet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for PartySet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bits = <[u8; 32]>::deserialize(from)?;
        if bits.first().is_some_and(|byte| byte & 1 != 0) {
            return Err(D::Error::custom("party 0 in a set"));
        }
        Ok(Self(bits))
    }
}

impl Write for PartySet {
    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
    }
}

impl Read<'_> for PartySet {
    fn read(from: &mut Reader<'_>) -> Self {
        let set = Self(from.field());
        if set.0.first().is_some_and(|byte| byte & 1 != 0) {
            from.fail();
        }
        set
    }
}

/// Why a group of holders cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldersError {
    /// T must be at least 2: with T = 1 every party would hold the key.
    ThresholdTooSmall,
    /// Signing needs 2T−1 parties, and there are fewer.
    TooFewParties,
    /// More parties, or more nonce keys per party, than this build has room for.
    TooLarge,
}

impl core::fmt::Display for HoldersError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::ThresholdTooSmall => "the threshold must be at least 2",
            Self::TooFewParties => "a threshold T needs at least 2T-1 parties",
            Self::TooLarge => "too many parties, or too many nonce keys per party",
        })
    }
}

impl core::error::Error for HoldersError {}

/// Nonce keys that a party may hold at most, in any build (`docs/PROTOCOL.md` §6.1).
pub const MAX_NONCE_KEYS: usize = 512;

/// The holders N of a key and its threshold T, with 2 ≤ T and 2T−1 ≤ n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawHolders", into = "RawHolders")]
pub struct Holders {
    parties: PartySet,
    threshold: u8,
}

#[derive(Serialize, Deserialize)]
struct RawHolders {
    parties: PartySet,
    threshold: u8,
}

impl TryFrom<RawHolders> for Holders {
    type Error = HoldersError;
    fn try_from(raw: RawHolders) -> Result<Self, HoldersError> {
        Self::new(raw.parties, raw.threshold)
    }
}

impl From<Holders> for RawHolders {
    fn from(holders: Holders) -> Self {
        Self { parties: holders.parties, threshold: holders.threshold }
    }
}

impl Write for Holders {
    fn write(&self, to: &mut Writer<'_>) {
        self.parties.write(to);
        self.threshold.write(to);
    }
}

impl Read<'_> for Holders {
    fn read(from: &mut Reader<'_>) -> Self {
        let raw = Self { parties: from.field(), threshold: from.field() };
        if Self::new(raw.parties, raw.threshold).is_err() {
            from.fail();
        }
        raw
    }
}

impl Holders {
    /// Checks the two rules above and the limit on nonce keys.
    ///
    /// # Errors
    /// [`HoldersError`] names the rule that is broken.
    pub fn new(parties: PartySet, threshold: u8) -> Result<Self, HoldersError> {
        if threshold < 2 {
            return Err(HoldersError::ThresholdTooSmall);
        }
        if parties.len() < 2 * usize::from(threshold) - 1 {
            return Err(HoldersError::TooFewParties);
        }
        let holders = Self { parties, threshold };
        match binomial(parties.len() - 1, holders.degree()) {
            Some(keys) if keys <= MAX_NONCE_KEYS => Ok(holders),
            _ => Err(HoldersError::TooLarge),
        }
    }

    /// N, the holders.
    #[must_use]
    pub fn parties(&self) -> PartySet {
        self.parties
    }

    /// n = |N|.
    #[must_use]
    pub fn count(&self) -> usize {
        self.parties.len()
    }

    /// T: so many shares determine the key.
    #[must_use]
    pub fn threshold(&self) -> usize {
        usize::from(self.threshold)
    }

    /// d = T−1: the degree of the polynomials, and how many parties may be corrupt.
    #[must_use]
    pub fn degree(&self) -> usize {
        usize::from(self.threshold) - 1
    }

    /// 2T−1: exactly so many parties sign together in the stateless modes.
    #[must_use]
    pub fn quorum(&self) -> usize {
        2 * usize::from(self.threshold) - 1
    }

    /// C(n−1, d): the nonce keys that one party holds.
    #[must_use]
    pub fn nonce_keys(&self) -> usize {
        binomial(self.count() - 1, self.degree()).unwrap_or(usize::MAX)
    }

    /// The sets A ⊆ N with |A| = n−d, in the lexicographic order of their complements
    /// (`docs/PROTOCOL.md` §6.1).
    pub fn nonce_sets(&self) -> impl Iterator<Item = PartySet> + use<> {
        self.nonce_sets_with(PartySet::EMPTY)
    }

    /// The sets of [`Self::nonce_sets`] that have `member` in them: the nonce keys of that party.
    pub fn nonce_sets_of(&self, member: PartyId) -> impl Iterator<Item = PartySet> + use<> {
        self.nonce_sets_with(PartySet::EMPTY.with(member))
    }

    /// The sets of [`Self::nonce_sets`] that have both in them.
    pub fn nonce_sets_of_both(
        &self,
        one: PartyId,
        other: PartyId,
    ) -> impl Iterator<Item = PartySet> + use<> {
        self.nonce_sets_with(PartySet::EMPTY.with(one).with(other))
    }

    /// In the same order: whoever must be in is never left out.
    fn nonce_sets_with(&self, members: PartySet) -> NonceSets {
        let candidates = self.parties.difference(&members);
        let size = self.degree();
        let count = candidates.len();
        let last: Left = candidates.iter().skip(count.saturating_sub(size)).take(8).collect();
        let first: Left = candidates.iter().take(size.min(8)).collect();
        let next = (count >= size && self.parties.contains_all(&members)).then_some(first);
        NonceSets { parties: self.parties, candidates, last, next }
    }
}

/// The d parties that a set leaves out, in increasing order. Eight places are enough:
/// n ≥ 2d+1, and C(2d, d) passes [`MAX_NONCE_KEYS`] at d = 6.
type Left = heapless::Vec<PartyId, 8>;

struct NonceSets {
    parties: PartySet,
    /// Who may be left out.
    candidates: PartySet,
    /// Who is left out at the end.
    last: Left,
    next: Option<Left>,
}

impl Iterator for NonceSets {
    type Item = PartySet;
    fn next(&mut self) -> Option<PartySet> {
        let left = self.next.as_mut()?;
        let set = left.iter().fold(self.parties, |set, id| set.without(*id));
        if !follow(left, &self.last, &self.candidates) {
            self.next = None;
        }
        Some(set)
    }
}

/// Makes of `left` the combination after it among the candidates, in lexicographic order, unless it is
/// the `last`.
fn follow(left: &mut Left, last: &Left, candidates: &PartySet) -> bool {
    let moves = |place: &usize| left.get(*place) != last.get(*place);
    let Some(place) = (0..left.len()).rev().find(moves) else { return false };
    let Some(tail) = left.get_mut(place..) else { return false };
    let Some(from) = tail.first().copied() else { return false };
    let following = candidates.iter_after(from);
    tail.iter_mut().zip(following).for_each(|(slot, id)| *slot = id);
    true
}

fn binomial(n: usize, k: usize) -> Option<usize> {
    (0..k).try_fold(1usize, |product, i| Some(product.checked_mul(n.checked_sub(i)?)? / (i + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> PartyId {
        PartyId::new(number).unwrap()
    }

    #[test]
    fn identifiers_are_1_to_255() {
        assert_eq!(PartyId::new(0), None);
        assert_eq!(PartyId::new(256), None);
        assert_eq!(id(255).number(), 255);
    }

    #[test]
    fn sets_are_sorted_and_free_of_duplicates() {
        let set: PartySet = [id(9), id(2), id(9), id(255)].into_iter().collect();
        let numbers: heapless::Vec<u16, 8> = set.iter().map(PartyId::number).collect();
        assert_eq!(numbers.as_slice(), &[2, 9, 255]);
        assert_eq!(set.position(id(255)), Some(2));
        assert_eq!(set.without(id(9)).len(), 2);
    }

    #[test]
    fn a_party_holds_as_many_nonce_keys_as_the_paper_says() {
        for (n, t, keys) in [(4, 2, 3), (7, 3, 15), (10, 4, 84), (13, 5, 495)] {
            let holders = Holders::new(PartySet::first(n), t).unwrap();
            assert_eq!(holders.nonce_keys(), keys);
            for member in holders.parties().iter() {
                assert_eq!(holders.nonce_sets_of(member).count(), keys);
                let both =
                    |other| move |set: &PartySet| set.contains(member) && set.contains(other);
                for other in holders.parties().iter() {
                    let filtered = holders.nonce_sets().filter(both(other));
                    assert!(holders.nonce_sets_of_both(member, other).eq(filtered));
                }
            }
            assert!(
                holders.nonce_sets().all(|set| set.len() == holders.count() - holders.degree())
            );
        }
    }

    #[test]
    fn sets_come_in_the_lexicographic_order_of_their_complements() {
        let parties: PartySet = [2, 7, 8, 16, 255].into_iter().map(id).collect();
        let left_out = |holders: Holders| {
            let left = holders.nonce_sets().map(move |set| holders.parties().difference(&set));
            left.map(|left| left.iter().map(PartyId::number).collect::<heapless::Vec<_, 2>>())
        };
        let pairs = [
            [2, 7],
            [2, 8],
            [2, 16],
            [2, 255],
            [7, 8],
            [7, 16],
            [7, 255],
            [8, 16],
            [8, 255],
            [16, 255],
        ];
        assert!(left_out(Holders::new(parties, 3).unwrap()).eq(pairs));
        assert!(left_out(Holders::new(parties, 2).unwrap()).eq([[2], [7], [8], [16], [255]]));
        let stranger = Holders::new(parties, 3).unwrap().nonce_sets_of(id(3));
        assert_eq!(stranger.count(), 0);
    }

    #[test]
    fn bounds_of_the_threshold() {
        assert_eq!(Holders::new(PartySet::first(4), 1), Err(HoldersError::ThresholdTooSmall));
        assert_eq!(Holders::new(PartySet::first(4), 3), Err(HoldersError::TooFewParties));
        assert_eq!(Holders::new(PartySet::first(16), 6), Err(HoldersError::TooLarge));
    }
}
