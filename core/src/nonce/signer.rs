//! A member's end of a session.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{Failure, Guard, NonceList, Round, Scheme, SignError, header};
use crate::curve::Group;
use crate::hash::{Digest, Transcript};
use crate::key::OpenedKey;
use crate::party::{PartyId, PartySet};
use crate::secret::SecretScalar;
use crate::session::{Abort, Header, Refusal};
use crate::wire::{self, NoRoom};

/// R2, to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureShare<R> {
    pub(crate) header: Header,
    /// The scheme's answer.
    pub(crate) response: R,
}

crate::write_fields!([R: wire::Write] SignatureShare<R> { header, response });

impl<R: wire::Write> SignatureShare<R> {
    /// Encodes the share for the coordinator.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`super::MAX_MESSAGE`].
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        wire::write(self, buffer).map(|bytes| &*bytes)
    }
}

/// A member's session: it has sent R_i and waits for the others'. S is the capacity of the quorum.
pub struct Signer<P: Scheme, const S: usize> {
    pub(crate) scheme: P,
    me: PartyId,
    coordinator: PartyId,
    nonce: SecretScalar<P::Group>,
    list: NonceList<P::Group, S>,
    guard: Guard,
    /// Of all that the share depends on besides the key, as it was when the session began.
    seal: Digest,
    over: bool,
}

/// k_i, a pseudorandom function of D0.
fn nonce_of<G: Group, const N: usize, const K: usize>(
    key: &OpenedKey<G, N, K>,
    session: &Digest,
) -> SecretScalar<G> {
    key.pseudorandom(b"k", session)
}

impl<P: Scheme, const S: usize> Signer<P, S> {
    /// Derives k_i and R_i. The scheme has checked the terms, and `session` is D0.
    #[inline(never)]
    pub(crate) fn start<const N: usize, const K: usize>(
        key: &OpenedKey<P::Group, N, K>,
        scheme: P,
        session: Digest,
        (quorum, coordinator): (PartySet, PartyId),
        guard: Guard,
    ) -> Result<Self, SignError> {
        let me = key.party();
        let nonce = nonce_of(key, &session);
        let point = P::Group::mul_base(nonce.expose());
        let degree = key.terms().holders.degree();
        let mut list = NonceList::new(header::<P>(session, 1, me, None), quorum, degree);
        list.add_own(me, point)?;
        let mut signer =
            Self { scheme, me, coordinator, nonce, list, guard, seal: [0; 32], over: false };
        signer.seal = signer.bound();
        if guard == Guard::Recompute && !signer.nonce_is_right(key) {
            return Err(SignError::ComputationFault);
        }
        Ok(signer)
    }

    /// Whether R_i comes out the same once more, and as it is encoded, from a key that is intact.
    #[inline(never)]
    fn nonce_is_right<const N: usize, const K: usize>(
        &self,
        key: &OpenedKey<P::Group, N, K>,
    ) -> bool {
        let again = nonce_of(key, self.list.session());
        let point = P::Group::mul_base(again.expose());
        let sent = self.list.own().and_then(|(_, bytes)| P::Group::nonce_from_bytes(bytes));
        sent == Some(point) && key.is_intact() && self.is_sealed()
    }

    /// H("signer", all that the share depends on besides the key and the others' points).
    #[inline(never)]
    fn bound(&self) -> Digest {
        let start = Transcript::new("signer").party(self.me).party(self.coordinator);
        self.scheme.bind(self.list.bind(start)).finish()
    }

    /// Whether that is as it was, if this party is guarded.
    pub(crate) fn is_sealed(&self) -> bool {
        self.guard == Guard::Off || self.bound() == self.seal
    }

    /// D0: the session that all messages name.
    #[must_use]
    pub fn session(&self) -> &Digest {
        self.list.session()
    }

    /// R1, to all other members and to the coordinator.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`super::MAX_MESSAGE`], or if a guarded session is not in
    /// memory as it was.
    pub fn nonce_message<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let message = self.list.message(buffer)?;
        if self.is_sealed() { Ok(message) } else { Err(NoRoom) }
    }

    /// The members whose R_j has not arrived.
    #[must_use]
    pub fn missing(&self) -> PartySet {
        self.list.missing()
    }

    /// Takes R_j; once all are there, gives this party's share, a single time.
    ///
    /// # Errors
    /// [`Failure::Refused`] drops the message, [`Failure::Aborted`] ends the session.
    #[inline(never)]
    pub fn handle_nonce<const N: usize, const K: usize>(
        &mut self,
        key: &OpenedKey<P::Group, N, K>,
        from: PartyId,
        bytes: &[u8],
    ) -> Result<Option<SignatureShare<P::Response>>, Failure> {
        if self.over {
            return Err(Failure::Refused(Refusal::Over));
        }
        if from == self.me {
            return Err(Failure::Refused(Refusal::NotAMember(from)));
        }
        let result =
            self.list.take(from, self.me, bytes).and_then(|()| match self.missing().is_empty() {
                true => self.finish(key).map(Some).map_err(Failure::Aborted),
                false => Ok(None),
            });
        if matches!(result, Err(Failure::Aborted(_)) | Ok(Some(_))) {
            // k_i answers one list of R_j at most, and is wiped here: two answers can be the share.
            self.over = true;
            self.nonce = SecretScalar::new(Default::default());
        }
        result
    }

    /// [`Self::handle_nonce`] for several members' messages, as a coordinator may pass them on together;
    /// this party's own among them is passed over. What comes after the share was made is not looked at.
    ///
    /// # Errors
    /// The first [`Failure`]; later messages were not taken.
    pub fn handle_nonces<const N: usize, const K: usize>(
        &mut self,
        key: &OpenedKey<P::Group, N, K>,
        messages: &[(PartyId, impl AsRef<[u8]>)],
    ) -> Result<Option<SignatureShare<P::Response>>, Failure> {
        for (from, bytes) in messages {
            if *from == self.me {
                continue;
            }
            if let Some(share) = self.handle_nonce(key, *from, bytes.as_ref())? {
                return Ok(Some(share));
            }
        }
        Ok(None)
    }

    #[inline(never)]
    fn finish<const N: usize, const K: usize>(
        &mut self,
        key: &OpenedKey<P::Group, N, K>,
    ) -> Result<SignatureShare<P::Response>, Abort> {
        self.list.sort();
        let listed = self.list.digest_if(self.guard);
        let (point, bytes) = self.list.resolve(self.guard)?;
        // Two copies, so that one flipped bit does not change what both answers are made of.
        let copy = core::hint::black_box(bytes);
        let round = Round {
            session: self.list.session(),
            quorum: self.list.quorum(),
            coordinator: self.coordinator,
            entries: self.list.entries(),
            point: &point,
            bytes,
        };
        let response = self.scheme.respond(key, &self.nonce, &round)?;
        if self.guard == Guard::Recompute {
            // From the key once more: k_i may have been hit in memory since R_i was made of it.
            let nonce = nonce_of(key, round.session);
            let same = nonce.expose().ct_eq(self.nonce.expose());
            let round = Round { bytes: copy, ..round };
            if !bool::from(same) || self.scheme.respond(key, &nonce, &round)? != response {
                return Err(Abort::ComputationFault);
            }
            // What was hit before both is still as it was hit.
            let listed_still = self.list.digest_if(self.guard) == listed;
            if !listed_still || copy != bytes || !key.is_intact() || !self.is_sealed() {
                return Err(Abort::ComputationFault);
            }
        }
        let to = Some(self.coordinator);
        Ok(SignatureShare { header: header::<P>(*round.session, 2, self.me, to), response })
    }
}
