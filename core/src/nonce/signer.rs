//! A member's end of a session.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{Failure, Guard, MAX_MESSAGE, NonceList, Round, Scheme, SignError, header};
use crate::curve::Group;
use crate::hash::{Digest, Transcript};
use crate::key::OpenedKey;
use crate::party::{PartyId, PartySet};
use crate::secret::{SecretBytes, SecretScalar};
use crate::session::{Abort, Header, Refusal};
use crate::wire::{self, NoRoom};

/// R2, to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureShare<R> {
    pub(crate) header: Header,
    /// The scheme's answer.
    pub(crate) response: R,
    /// Of the encoding; whoever receives a share knows none.
    #[serde(skip)]
    seal: Digest,
}

crate::write_fields!([R: wire::Write] SignatureShare<R> { header, response });

impl<R: wire::Write> SignatureShare<R> {
    /// Encodes the share for the coordinator. What is in memory where the share should be, on a machine that may be
    /// glitched, is compared with it before it leaves: it may be a secret.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`super::MAX_MESSAGE`], or if this is not a share as it was made.
    #[inline(never)]
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let bytes = &*wire::write(self, buffer)?;
        if encoding(bytes) == self.seal { Ok(bytes) } else { Err(NoRoom) }
    }
}

/// A member's session: it has sent R_i and waits for the others'. S is the capacity of the quorum.
pub struct Signer<P: Scheme, const S: usize> {
    pub(crate) scheme: P,
    me: PartyId,
    coordinator: PartyId,
    nonce: SecretScalar<P::Group>,
    /// Of k_i, as it was when R_i was made of it; only of a guarded party.
    nonce_seal: SecretBytes,
    list: NonceList<P::Group, S>,
    guard: Guard,
    /// Of all that the share depends on besides the key, as it was when the session began.
    seal: Digest,
    over: bool,
}

/// H("share", the encoding).
fn encoding(bytes: &[u8]) -> Digest {
    Transcript::new("share").bytes(bytes).finish()
}

/// k_i, a pseudorandom function of D0.
fn nonce_of<G: Group, const N: usize, const K: usize>(
    key: &OpenedKey<G, N, K>,
    session: &Digest,
) -> SecretScalar<G> {
    key.pseudorandom(b"k", session)
}

/// H("sealed-nonce", k_i).
#[inline(never)]
fn sealed<G: Group>(nonce: &SecretScalar<G>) -> SecretBytes {
    let bytes = SecretBytes::of_scalar(nonce);
    Transcript::new("sealed-nonce").bytes(bytes.expose()).secret()
}

impl<P: Scheme, const S: usize> Signer<P, S> {
    /// Derives k_i and R_i, in the place where the session is to stay. The scheme has checked the terms, and
    /// `session` is D0.
    #[inline(never)]
    pub(crate) fn start<'p, const N: usize, const K: usize>(
        place: &'p mut Option<Self>,
        key: &OpenedKey<P::Group, N, K>,
        scheme: P,
        session: Digest,
        (quorum, coordinator): (PartySet, PartyId),
        guard: Guard,
    ) -> Result<&'p mut Self, SignError> {
        let me = key.party();
        let degree = key.terms().holders.degree();
        let list = NonceList::new(header::<P>(session, 1, me, None), quorum, degree);
        let signer = place.insert(Self {
            scheme,
            me,
            coordinator,
            nonce: nonce_of(key, &session),
            nonce_seal: SecretBytes::default(),
            list,
            guard,
            seal: [0; 32],
            over: false,
        });
        signer.list.add_own(me, P::Group::mul_base(signer.nonce.expose()))?;
        signer.seal = signer.bound();
        if guard == Guard::Recompute {
            signer.nonce_seal = sealed(&signer.nonce);
            if !signer.nonce_is_right(key) {
                return Err(SignError::ComputationFault);
            }
        }
        Ok(signer)
    }

    /// Whether k_i and R_i come out the same once more, R_i as it is encoded, from a key that is intact. k_i is
    /// compared when it is sealed already: what hits it before is seen here, what hits it later by its seal. So R2
    /// needs not derive it for a third time.
    #[inline(never)]
    fn nonce_is_right<const N: usize, const K: usize>(
        &self,
        key: &OpenedKey<P::Group, N, K>,
    ) -> bool {
        let again = nonce_of(key, self.list.session());
        let point = P::Group::mul_base(again.expose());
        let sent = self.list.own().and_then(|(_, bytes)| P::Group::nonce_from_bytes(bytes));
        let same = again.expose().ct_eq(self.nonce.expose());
        sent == Some(point) && bool::from(same) && key.is_intact() && self.is_sealed()
    }

    /// H("signer", all that the share depends on besides the key and the others' points).
    #[inline(never)]
    fn bound(&self) -> Digest {
        let start = Transcript::new("signer").party(self.me).party(self.coordinator);
        self.scheme.bind(self.list.bind(start)).finish()
    }

    /// S, and who collects the answers.
    pub(crate) fn parties(&self) -> (PartySet, PartyId) {
        (self.list.quorum(), self.coordinator)
    }

    /// Whether that is as it was, and this is a session at all, whose messages have the header that they must have.
    #[inline(never)]
    pub(crate) fn is_sealed(&self) -> bool {
        let header = header::<P>(*self.list.session(), 1, self.me, None);
        *self.list.header() == header && self.bound() == self.seal
    }

    /// D0: the session that all messages name.
    #[must_use]
    pub fn session(&self) -> &Digest {
        self.list.session()
    }

    /// R1, to all other members and to the coordinator.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`super::MAX_MESSAGE`], or if the session is not in memory as it was.
    pub fn nonce_message<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let message = self.list.message(buffer)?;
        if !self.is_sealed() {
            return Err(NoRoom);
        }
        if self.guard == Guard::Recompute {
            // Once more, and last: what was sealed may have been hit on its way, and the message meanwhile.
            let mut again = [0; MAX_MESSAGE];
            if self.list.message(&mut again)? != message {
                return Err(NoRoom);
            }
        }
        Ok(message)
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
            self.nonce_seal = SecretBytes::default();
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
        // Two copies, so that one flipped bit does not change what both answers are made of.
        let (point, [bytes, copy]) = self.list.resolve(self.guard)?;
        let round = Round {
            session: self.list.session(),
            quorum: self.list.quorum(),
            coordinator: self.coordinator,
            entries: self.list.entries(),
            point: &point,
            bytes,
        };
        let response = self.scheme.respond(key, &self.nonce, &round)?;
        let share = self.share(response)?;
        if self.guard == Guard::Recompute {
            let round = Round { bytes: copy, ..round };
            if self.scheme.respond(key, &self.nonce, &round)? != response {
                return Err(Abort::ComputationFault);
            }
            // What was hit before both is still as it was hit: k_i, too, may have been since R_i was made of it.
            let nonce_still = sealed(&self.nonce).ct_eq(&self.nonce_seal);
            let listed_still = self.list.digest_if(self.guard) == listed;
            if !bool::from(nonce_still)
                || !listed_still
                || copy != bytes
                || !key.is_intact()
                || !self.is_sealed()
                || core::hint::black_box(&*self).share(response)? != share
            {
                return Err(Abort::ComputationFault);
            }
        }
        Ok(share)
    }

    /// R2 with its header.
    #[inline(never)]
    fn share(&self, response: P::Response) -> Result<SignatureShare<P::Response>, Abort> {
        let header = header::<P>(*self.session(), 2, self.me, Some(self.coordinator));
        let mut share = SignatureShare { header, response, seal: [0; 32] };
        let mut buffer = [0; MAX_MESSAGE];
        let bytes = wire::write(&share, &mut buffer);
        share.seal = encoding(bytes.map_err(|_| Abort::ComputationFault)?);
        Ok(share)
    }
}
