//! R1 as it arrives, and the degree check over it.

use heapless::Vec;

use super::{Failure, Guard, NoncePoint, SignError, check_header};
use crate::curve::{Group, PointBytes};
use crate::hash::{Digest, Transcript};
use crate::party::{PartyId, PartySet};
use crate::session::{Abort, Fault, Header, Refusal};
use crate::vss::{self, Entry};
use crate::wire::{self, NoRoom};

/// At most one R_j of every member, all under one D0. S is the capacity of the quorum. What is of the group stands
/// last: a chip with several groups then has the code for all else once.
#[repr(C)]
pub(crate) struct NonceList<G: Group, const S: usize> {
    /// Of R1; its session is D0, and the sender of another's is filled in.
    header: Header,
    quorum: PartySet,
    degree: usize,
    entries: Vec<(PartyId, PointBytes), S>,
    group: G,
    /// R_i of the header's sender, if it is a member's list and not the coordinator's.
    own: Option<G::Point>,
}

impl<G: Group, const S: usize> NonceList<G, S> {
    pub(crate) fn new(group: G, header: Header, quorum: PartySet, degree: usize) -> Self {
        Self { header, quorum, degree, entries: Vec::new(), group, own: None }
    }

    /// In an empty list.
    pub(crate) fn begin(&mut self, session: Digest, quorum: PartySet, degree: usize) {
        (self.header.session, self.quorum, self.degree) = (session, quorum, degree);
    }

    pub(crate) fn group(&self) -> G {
        self.group
    }

    /// Of the own message.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// D0.
    pub(crate) fn session(&self) -> &Digest {
        &self.header.session
    }

    pub(crate) fn quorum(&self) -> PartySet {
        self.quorum
    }

    /// All entries; by party, once [`Self::resolve`] has been asked for.
    pub(crate) fn entries(&self) -> &[(PartyId, PointBytes)] {
        &self.entries
    }

    /// Puts this party's own R_i in.
    pub(crate) fn add_own(&mut self, point: G::Point) -> Result<(), SignError> {
        let bytes = G::point_to_bytes(&point).ok_or(SignError::Degenerate)?;
        self.entries.push((self.header.from, bytes)).map_err(|_| SignError::TooLarge)?;
        self.own = Some(point);
        Ok(())
    }

    /// Encodes R1 of this party, to all other members and the coordinator.
    pub(crate) fn message<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let (_, point) = self.own().ok_or(NoRoom)?;
        let message = NoncePoint { header: self.header, point: *point };
        wire::write(&message, buffer).map(|bytes| &*bytes)
    }

    /// The members whose R_j has not arrived.
    pub(crate) fn missing(&self) -> PartySet {
        self.quorum.difference(&self.entries.iter().map(|(id, _)| *id).collect())
    }

    /// Takes the R_j that arrived at `me`. Its point is looked at when all are there.
    #[inline(never)]
    pub(crate) fn take(&mut self, from: PartyId, me: PartyId, bytes: &[u8]) -> Result<(), Failure> {
        if !self.quorum.contains(from) {
            return Err(Failure::Refused(Refusal::NotAMember(from)));
        }
        check_header(bytes, &Header { from, ..self.header }, me)?;
        let blame = |fault| Failure::Aborted(Abort::Culprit(from, fault));
        let message: NoncePoint = wire::read(bytes).map_err(|_| blame(Fault::Malformed))?;
        if let Some((_, earlier)) = self.entries.iter().find(|(id, _)| *id == from) {
            return Err(match *earlier == message.point {
                true => Failure::Refused(Refusal::Duplicate),
                false => blame(Fault::Equivocation),
            });
        }
        let entry = (from, message.point);
        self.entries.push(entry).map_err(|_| Failure::Refused(Refusal::NotAMember(from)))
    }

    /// DegCheck_d over the complete list, and R = the value at 0 (`docs/PROTOCOL.md` §2): d+1 points are
    /// parsed, the others are computed from them and compared as they were sent, and one inversion
    /// encodes these and R. Without the check a liar could show two honest parties two different R under
    /// one k_i.
    ///
    /// With a `guard` R is computed once more, and decoded: a wrong R would be signed for as readily as the right
    /// one. Its encoding comes as two copies, of which the second was decoded: whoever uses one for each of two
    /// computations sees that one was hit meanwhile.
    #[inline(never)]
    pub(crate) fn resolve(&mut self, guard: Guard) -> Result<(G::Point, [PointBytes; 2]), Abort> {
        sort(&mut self.entries);
        let basis = self.basis()?;
        let guarded = match guard {
            Guard::Off => None,
            Guard::Recompute => Some(self.at_zero(&basis)?),
        };
        let mut computed: Vec<G::Point, S> = Vec::new();
        let mut sent: Vec<PointBytes, S> = Vec::new();
        for (id, bytes) in &self.entries {
            if basis.iter().any(|entry| entry.id == *id) {
                continue;
            }
            let (sum, common) = vss::value_at(self.group, &basis, id.number());
            if common == 1 {
                let _ = (computed.push(sum), sent.push(*bytes));
            } else if self.group.mul_small(&self.parse(*id, bytes)?, common) != sum {
                return Err(self.off());
            }
        }
        let point = self.at_zero(&basis)?;
        computed.push(point).map_err(|_| Abort::Degenerate)?;
        let mut encoded: Vec<Option<PointBytes>, S> = computed.iter().map(|_| None).collect();
        G::points_to_bytes(&computed, &mut encoded);
        let bytes = encoded.pop().flatten();
        if !encoded.iter().eq(sent.iter().map(|bytes| Some(*bytes)).collect::<Vec<_, S>>().iter()) {
            return Err(self.off());
        }
        let bytes = bytes.ok_or(Abort::Degenerate)?;
        let copy = core::hint::black_box(bytes);
        if let Some(again) = guarded
            && (again != point
                || self.group.nonce_from_bytes(&copy) != Some(again)
                || copy != bytes)
        {
            return Err(Abort::ComputationFault);
        }
        Ok((point, [bytes, copy]))
    }

    /// R, cleared of the cofactor.
    #[inline(never)]
    fn at_zero(&self, basis: &[Entry<G>]) -> Result<G::Point, Abort> {
        let (sum, common) = vss::value_at(self.group, basis, 0);
        let value = match common {
            1 => sum,
            _ => {
                let inverse = G::invert(&self.group.integer(common));
                G::mul_public(&sum, &inverse.ok_or(Abort::Degenerate)?)
            }
        };
        Ok(G::clear_cofactor(&value))
    }

    /// Adds S, D0, this party's own entry and the degree.
    pub(crate) fn bind(&self, to: Transcript) -> Transcript {
        let start = to.bytes(&self.header.session).set(self.quorum).u16(self.degree as u16);
        self.own().into_iter().fold(start, |t, (id, point)| t.party(*id).bytes(&point.0))
    }

    /// This party's own entry.
    pub(crate) fn own(&self) -> Option<&(PartyId, PointBytes)> {
        self.entries.iter().find(|(id, _)| *id == self.header.from)
    }

    /// Puts the entries in the order of the parties.
    pub(crate) fn sort(&mut self) {
        sort(&mut self.entries);
    }

    /// H("nonce-list", all entries in the order of the parties), if it is asked for.
    pub(crate) fn digest_if(&self, guard: Guard) -> Option<Digest> {
        if guard == Guard::Off {
            return None;
        }
        let start = Transcript::new("nonce-list");
        let all = self.entries.iter().fold(start, |t, (id, point)| t.party(*id).bytes(&point.0));
        Some(all.finish())
    }

    /// d+1 entries that determine the polynomial: neighbours if there are any, since then all weights are
    /// integers, and this party's own among them, which is parsed already.
    #[inline(never)]
    fn basis(&self) -> Result<Vec<Entry<G>, S>, Abort> {
        let of_me = |window: &&[(PartyId, PointBytes)]| {
            self.own.is_some() && window.iter().any(|(id, _)| *id == self.header.from)
        };
        let neighbours = |window: &&[(PartyId, PointBytes)]| {
            let ends = window.first().zip(window.last());
            ends.is_some_and(|((first, _), (last, _))| {
                usize::from(last.number() - first.number()) == self.degree
            })
        };
        let all = || self.entries.windows(self.degree + 1);
        let window = all()
            .find(|window| neighbours(window) && of_me(window))
            .or_else(|| all().find(neighbours))
            .or_else(|| all().find(of_me))
            .or_else(|| all().next());
        let parsed = window.into_iter().flatten().map(|(id, bytes)| {
            let own = self.own.filter(|_| *id == self.header.from);
            let point = own.map_or_else(|| self.parse(*id, bytes), Ok)?;
            Ok(Entry { id: *id, point })
        });
        parsed.collect()
    }

    fn parse(&self, id: PartyId, bytes: &PointBytes) -> Result<G::Point, Abort> {
        self.group.nonce_from_bytes(bytes).ok_or(Abort::Culprit(id, Fault::InvalidPoint))
    }

    /// Who sent no point at all, or else that somebody, unnamed, sent a wrong one.
    #[inline(never)]
    fn off(&self) -> Abort {
        let mut parsed = self.entries.iter().map(|(id, bytes)| self.parse(*id, bytes));
        parsed.find_map(Result::err).unwrap_or(Abort::OffPolynomial(self.quorum))
    }
}

/// There are at most eleven, and the library's sort takes 2 KB of a chip's flash.
pub(super) fn sort<T>(entries: &mut [(PartyId, T)]) {
    for end in 1..entries.len() {
        let mut place = end;
        while let Some([before, after]) = entries.get_mut(place - 1..=place)
            && before.0 > after.0
        {
            core::mem::swap(before, after);
            place -= 1;
            if place == 0 {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{AnyGroup, Ed25519, P256, Secp256k1, Suite};
    use crate::session::Protocol;
    use crate::vss::Polynomial;
    use crate::wire::VERSION;
    use rand_chacha::rand_core::SeedableRng;

    fn header(suite: Suite, from: u16) -> Header {
        Header {
            version: VERSION,
            suite,
            protocol: Protocol::Schnorr,
            round: 1,
            session: [7; 32],
            from: PartyId::new(from).unwrap(),
            to: None,
        }
    }

    fn ids(numbers: &[u16]) -> PartySet {
        numbers.iter().filter_map(|n| PartyId::new(*n)).collect()
    }

    /// The list as `me` has it, or as a coordinator without a point of its own.
    fn list<G: Group>(
        group: G,
        f: &Polynomial<G, 8>,
        numbers: &[u16],
        degree: usize,
        me: Option<u16>,
    ) -> NonceList<G, 11> {
        let mut list =
            NonceList::new(group, header(group.suite(), me.unwrap_or(1)), ids(numbers), degree);
        for number in numbers.iter().rev() {
            let id = PartyId::new(*number).unwrap();
            let point = G::mul_base(f.evaluate(id).expose());
            if me == Some(*number) {
                list.add_own(point).unwrap();
            } else {
                list.entries.push((id, G::point_to_bytes(&point).unwrap())).unwrap();
            }
        }
        list
    }

    fn every_list<G: Group>(group: G) {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        for (degree, numbers) in [
            (1, &[1u16, 2, 3][..]),
            (1, &[2, 3, 4]),
            (1, &[1, 2, 4]),
            (1, &[1, 4, 9]),
            (1, &[3, 200, 255]),
            (2, &[1, 2, 3, 4, 5]),
            (2, &[1, 3, 4, 6, 7]),
            (5, &[1, 2, 50, 77, 100, 120, 133, 151, 190, 253, 255]),
        ] {
            let f = Polynomial::<G, 8>::random(group, degree + 1, &mut rng);
            let secret = G::clear_cofactor(&G::mul_base(f.constant().unwrap().expose()));
            for me in numbers.iter().map(|number| Some(*number)).chain([None]) {
                let (point, bytes) =
                    list(group, &f, numbers, degree, me).resolve(Guard::Off).unwrap();
                let expected = G::point_to_bytes(&secret).unwrap();
                assert_eq!((point, bytes), (secret, [expected; 2]));
                for place in 0..numbers.len() {
                    let mut list = list(group, &f, numbers, degree, me);
                    let id = list.entries[place].0;
                    if Some(id.number()) == me {
                        continue;
                    }
                    let honest = group.nonce_from_bytes(&list.entries[place].1).unwrap();
                    list.entries[place].1 = G::point_to_bytes(&G::double(&honest)).unwrap();
                    assert_eq!(list.resolve(Guard::Off), Err(Abort::OffPolynomial(ids(numbers))));
                    list.entries.iter_mut().find(|(other, _)| *other == id).unwrap().1 =
                        PointBytes([0; 33]);
                    let named = Abort::Culprit(id, Fault::InvalidPoint);
                    assert_eq!(list.resolve(Guard::Off), Err(named), "{numbers:?}, {me:?}");
                }
            }
        }
    }

    #[test]
    fn every_member_finds_the_value_at_zero_and_every_wrong_point() {
        every_list(Secp256k1);
        every_list(P256);
        every_list(Ed25519);
        AnyGroup::ALL.into_iter().for_each(every_list);
    }

    #[test]
    fn identities_on_the_way_are_no_points_and_no_panic() {
        // f = x − 2: the value at 2 is the identity, which has no encoding.
        fn root_at_2<G: Group>(group: G) {
            let point = |factor| group.mul_small(&group.generator(), factor);
            let mut list =
                NonceList::<G, 11>::new(group, header(group.suite(), 4), ids(&[2, 3, 4]), 1);
            for (number, factor) in [(2u16, 5), (3, 1)] {
                let bytes = G::point_to_bytes(&point(factor)).unwrap();
                let _ = list.entries.push((PartyId::new(number).unwrap(), bytes));
            }
            // Party 4 takes 3 and 4 for its basis.
            list.add_own(point(2)).unwrap();
            assert_eq!(list.resolve(Guard::Off), Err(Abort::OffPolynomial(ids(&[2, 3, 4]))));
            // f = x: R itself is the identity.
            let mut list =
                NonceList::<G, 11>::new(group, header(group.suite(), 1), ids(&[1, 2, 3]), 1);
            for number in 1..=3u16 {
                let bytes = G::point_to_bytes(&point(i64::from(number))).unwrap();
                let _ = list.entries.push((PartyId::new(number).unwrap(), bytes));
            }
            assert_eq!(list.resolve(Guard::Off), Err(Abort::Degenerate));
        }
        root_at_2(Secp256k1);
        root_at_2(P256);
        root_at_2(Ed25519);
        AnyGroup::ALL.into_iter().for_each(root_at_2);
    }
}
