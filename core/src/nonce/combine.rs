//! The coordinator's end of a session: nonce points and shares in, one verified signature out.

use heapless::Vec;

use super::check_header;
use super::list::sort;
use super::{Combine, Failure, Guard, Kind, NonceList, Round, Scheme, ShareMessage, SignError};
use crate::hash::Digest;
use crate::party::{PartyId, PartySet};
use crate::session::{Abort, Fault, Refusal};
use crate::wire;

type Response<C> = <<C as Combine>::Scheme as Scheme>::Response;

/// Collects the quorum's nonce points and shares, in any order. The coordinator needs no share of its
/// own, and holds no secret.
///
/// It takes R_j from its author and not from others' words: once the list passes the degree check it is
/// the list that every honest member answered to.
pub struct Combiner<C: Combine, const S: usize> {
    rule: C,
    coordinator: PartyId,
    list: NonceList<<C::Scheme as Scheme>::Group, S>,
    shares: Vec<(PartyId, Response<C>), S>,
    over: bool,
}

impl<C: Combine, const S: usize> Combiner<C, S> {
    /// The scheme has checked the terms and the salts, and `session` is D0.
    pub(crate) fn start(
        group: <C::Scheme as Scheme>::Group,
        rule: C,
        session: Digest,
        (quorum, coordinator): (PartySet, PartyId),
        degree: usize,
    ) -> Result<Self, SignError> {
        if quorum.len() > S {
            return Err(SignError::TooLarge);
        }
        let kind = Kind::of::<C::Scheme>(group);
        if !kind.is_possible() {
            return Err(SignError::PublicRecord);
        }
        let header = kind.header(session, 1, coordinator, None);
        let list = NonceList::new(group, header, quorum, degree);
        Ok(Self { rule, coordinator, list, shares: Vec::new(), over: false })
    }

    /// D0: the session that all messages name.
    #[must_use]
    pub fn session(&self) -> &Digest {
        self.list.session()
    }

    /// The members whose nonce point or share has not arrived.
    #[must_use]
    pub fn missing(&self) -> PartySet {
        let quorum = self.list.quorum();
        let nonces = quorum.difference(&self.list.missing());
        let both = self.shares.iter().map(|(id, _)| *id).filter(|id| nonces.contains(*id));
        quorum.difference(&both.collect())
    }

    /// Takes a member's encoded R1, the coordinator's own among them if it is one; with the last
    /// message of all comes the signature, already verified.
    ///
    /// # Errors
    /// [`Failure::Refused`] drops the message, [`Failure::Aborted`] ends the session.
    pub fn handle_nonce(
        &mut self,
        from: PartyId,
        bytes: &[u8],
    ) -> Result<Option<C::Signature>, Failure> {
        if self.over {
            return Err(Failure::Refused(Refusal::Over));
        }
        let taken = self.list.take(from, self.coordinator, bytes);
        self.conclude(taken)
    }

    /// Takes a member's encoded share, likewise.
    ///
    /// # Errors
    /// [`Failure::Refused`] drops the message, [`Failure::Aborted`] ends the session.
    pub fn handle_share(
        &mut self,
        from: PartyId,
        bytes: &[u8],
    ) -> Result<Option<C::Signature>, Failure> {
        if self.over {
            return Err(Failure::Refused(Refusal::Over));
        }
        if !self.list.quorum().contains(from) {
            return Err(Failure::Refused(Refusal::NotAMember(from)));
        }
        let to = Some(self.coordinator);
        let expected =
            Kind::of::<C::Scheme>(self.list.group()).header(*self.list.session(), 2, from, to);
        check_header(bytes, &expected, self.coordinator)?;
        let taken = self.take_share(from, bytes);
        self.conclude(taken)
    }

    fn take_share(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Failure> {
        let blame = |fault| Failure::Aborted(Abort::Culprit(from, fault));
        let share: ShareMessage<Response<C>> =
            wire::decode(bytes).map_err(|_| blame(Fault::Malformed))?;
        if let Some((_, earlier)) = self.shares.iter().find(|(id, _)| *id == from) {
            return Err(match *earlier == share.response {
                true => Failure::Refused(Refusal::Duplicate),
                false => blame(Fault::Equivocation),
            });
        }
        let taken = self.shares.push((from, share.response));
        taken.map_err(|_| Failure::Refused(Refusal::NotAMember(from)))
    }

    fn conclude(&mut self, taken: Result<(), Failure>) -> Result<Option<C::Signature>, Failure> {
        let result = taken.and_then(|()| match self.missing().is_empty() {
            true => self.finish().map(Some).map_err(Failure::Aborted),
            false => Ok(None),
        });
        self.over = matches!(result, Err(Failure::Aborted(_)) | Ok(Some(_)));
        result
    }

    fn finish(&mut self) -> Result<C::Signature, Abort> {
        let (point, [bytes, _]) = self.list.resolve(Guard::Off)?;
        // By party, so that of several culprits the same one is named whatever came first.
        sort(&mut self.shares);
        let round = Round {
            session: self.list.session(),
            quorum: self.list.quorum(),
            coordinator: self.coordinator,
            entries: self.list.entries(),
            point: &point,
            bytes,
        };
        self.rule.finish(&round, &self.shares)
    }
}
