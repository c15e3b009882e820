//! A member's end of a session.

use core::hint::black_box;

use subtle::ConstantTimeEq as _;

use super::{Answer, Failure, Guard, Kind, MAX_MESSAGE, NonceList, Round, Scheme, SignError};
use crate::curve::Group;
use crate::hash::{Digest, Transcript};
use crate::key::OpenedKey;
use crate::party::{PartyId, PartySet};
use crate::secret::{SecretBytes, SecretScalar};
use crate::session::{Abort, Header, Refusal};
use crate::wire::{self, NoRoom, Writer};

/// R2, to the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureShare {
    header: Header,
    answer: Answer,
    scalars: usize,
    /// Of the encoding.
    seal: Digest,
}

impl wire::Write for SignatureShare {
    fn write(&self, to: &mut Writer<'_>) {
        self.header.write(to);
        self.answer.iter().take(self.scalars).for_each(|scalar| scalar.write(to));
    }
}

impl SignatureShare {
    /// Encodes the share for the coordinator. What is in memory where the share should be, on a machine that may be
    /// glitched, is compared with it before it leaves: it may be a secret.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`super::MAX_MESSAGE`], or if this is not a share as it was made.
    #[inline(never)]
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let mut again = [0; MAX_MESSAGE];
        encoded(self, &self.seal, buffer, &mut again)
    }
}

/// A sealed share as it is encoded, if that is what was sealed. `again` has room for it too.
#[inline(never)]
pub(crate) fn encoded<'b>(
    share: &dyn wire::Write,
    seal: &Digest,
    buffer: &'b mut [u8],
    again: &mut [u8],
) -> Result<&'b [u8], NoRoom> {
    let bytes = &*wire::write(share, buffer)?;
    // Compared once more, and last: hashing is long, and what was hashed already may have been hit meanwhile.
    let is_right = encoding(bytes) == *seal && *wire::write(share, again)? == *bytes;
    if is_right { Ok(bytes) } else { Err(NoRoom) }
}

/// A member's session: it has sent R_i and waits for the others'. S is the capacity of the quorum.
pub struct Signer<P: Scheme, const S: usize> {
    pub(crate) scheme: P,
    session: Session<P::Group, S>,
}

/// What a session is besides its scheme. A chip has the code once for all schemes of a group, so it knows
/// none; and what is of no group once for all.
#[repr(C)]
struct Session<G: Group, const S: usize> {
    me: PartyId,
    coordinator: PartyId,
    guard: Guard,
    over: bool,
    /// Of k_i, as it was when R_i was made of it; only of a guarded party.
    nonce_seal: SecretBytes,
    /// Of all that the share depends on besides the key, as it was when the session began.
    seal: Digest,
    nonce: SecretScalar<G>,
    list: NonceList<G, S>,
}

/// What a session asks of its scheme: what it binds, and its messages.
trait Terms {
    fn kind(&self) -> Kind;
    fn bind(&self, to: Transcript) -> Transcript;
}

/// And the answer to it. By the same pointers as what is sealed: a flipped one to another scheme or key would not be
/// seen by comparing two answers.
trait Responds<G: Group, const N: usize, const K: usize>: Terms {
    fn respond(
        &self,
        key: &OpenedKey<G, N, K>,
        nonce: &SecretScalar<G>,
        round: &Round<'_, G>,
    ) -> Result<Answer, Abort>;
}

impl<P: Scheme> Terms for P {
    fn kind(&self) -> Kind {
        Kind::of::<P>(self.group())
    }

    fn bind(&self, to: Transcript) -> Transcript {
        Scheme::bind(self, to)
    }
}

impl<P: Scheme, const N: usize, const K: usize> Responds<P::Group, N, K> for P {
    fn respond(
        &self,
        key: &OpenedKey<P::Group, N, K>,
        nonce: &SecretScalar<P::Group>,
        round: &Round<'_, P::Group>,
    ) -> Result<Answer, Abort> {
        Scheme::respond(self, key, nonce, round)
    }
}

/// A compiler that sees which scheme it is would make the session's code once for each.
#[inline(never)]
fn opaque(terms: &dyn Terms) -> &dyn Terms {
    black_box(terms)
}

#[inline(never)]
fn unknown<G: Group, const N: usize, const K: usize>(
    scheme: &dyn Responds<G, N, K>,
) -> &dyn Responds<G, N, K> {
    black_box(scheme)
}

/// H("share", the encoding).
pub(crate) fn encoding(bytes: &[u8]) -> Digest {
    Transcript::new("share").bytes(bytes).finish()
}

/// k_i, a pseudorandom function of D0.
fn nonce_of<G: Group, const N: usize, const K: usize>(
    key: &OpenedKey<G, N, K>,
    session: &Digest,
) -> SecretScalar<G> {
    // A label that is always the same would be made part of the function, which then is another for every suite.
    key.pseudorandom(black_box(b"k"), session)
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
    pub(crate) fn start<'p, const N: usize, const K: usize>(
        place: &'p mut Option<Self>,
        key: &OpenedKey<P::Group, N, K>,
        scheme: P,
        session: Digest,
        parties: (PartySet, PartyId),
        guard: Guard,
    ) -> Result<&'p mut Self, SignError> {
        let (group, kind) = (key.group(), Kind::of::<P>(key.group()));
        if !kind.is_possible() {
            return Err(SignError::PublicRecord);
        }
        let header = kind.header([0; 32], 1, key.party(), None);
        let signer = place.insert(Self { scheme, session: Session::empty(group, header) });
        signer.session.begin(opaque(&signer.scheme), key, session, parties, guard)?;
        Ok(signer)
    }

    /// S, and who collects the answers.
    pub(crate) fn parties(&self) -> (PartySet, PartyId) {
        (self.session.list.quorum(), self.session.coordinator)
    }

    /// Whether the session is as it was.
    pub(crate) fn is_sealed(&self) -> bool {
        self.session.is_sealed(opaque(&self.scheme))
    }

    /// D0: the session that all messages name.
    #[must_use]
    pub fn session(&self) -> &Digest {
        self.session.list.session()
    }

    /// R1, to all other members and to the coordinator.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`super::MAX_MESSAGE`], or if the session is not in memory as it was.
    pub fn nonce_message<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        self.session.nonce_message(opaque(&self.scheme), buffer)
    }

    /// The members whose R_j has not arrived.
    #[must_use]
    pub fn missing(&self) -> PartySet {
        self.session.list.missing()
    }

    /// Takes R_j; once all are there, gives this party's share, a single time.
    ///
    /// # Errors
    /// [`Failure::Refused`] drops the message, [`Failure::Aborted`] ends the session.
    pub fn handle_nonce<const N: usize, const K: usize>(
        &mut self,
        key: &OpenedKey<P::Group, N, K>,
        from: PartyId,
        bytes: &[u8],
    ) -> Result<Option<SignatureShare>, Failure> {
        let Self { scheme, session } = self;
        session.handle_nonce(unknown::<P::Group, N, K>(scheme), key, from, bytes)
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
    ) -> Result<Option<SignatureShare>, Failure> {
        for (from, bytes) in messages {
            if *from == self.session.me {
                continue;
            }
            if let Some(share) = self.handle_nonce(key, *from, bytes.as_ref())? {
                return Ok(Some(share));
            }
        }
        Ok(None)
    }
}

impl<G: Group, const S: usize> Session<G, S> {
    /// Of no session yet, and over.
    fn empty(group: G, header: Header) -> Self {
        Self {
            me: header.from,
            coordinator: header.from,
            nonce: SecretScalar::new(group.zero()),
            nonce_seal: SecretBytes::default(),
            list: NonceList::new(group, header, PartySet::default(), 0),
            guard: Guard::Recompute,
            seal: [0; 32],
            over: true,
        }
    }

    /// In an empty session.
    #[inline(never)]
    fn begin<const N: usize, const K: usize>(
        &mut self,
        terms: &dyn Terms,
        key: &OpenedKey<G, N, K>,
        session: Digest,
        (quorum, coordinator): (PartySet, PartyId),
        guard: Guard,
    ) -> Result<(), SignError> {
        (self.coordinator, self.guard, self.over) = (coordinator, guard, false);
        self.list.begin(session, quorum, key.terms().holders.degree());
        self.nonce = nonce_of(key, self.list.session());
        self.list.add_own(G::mul_base(self.nonce.expose()))?;
        self.seal = self.bound(terms);
        if guard == Guard::Recompute {
            self.nonce_seal = sealed(&self.nonce);
            if !self.nonce_is_right(terms, key) {
                return Err(SignError::ComputationFault);
            }
        }
        Ok(())
    }

    /// Whether k_i and R_i come out the same once more, R_i as it is encoded, from a key that is intact. k_i is
    /// compared when it is sealed already: what hits it before is seen here, what hits it later by its seal. So R2
    /// needs not derive it for a third time.
    #[inline(never)]
    fn nonce_is_right<const N: usize, const K: usize>(
        &self,
        terms: &dyn Terms,
        key: &OpenedKey<G, N, K>,
    ) -> bool {
        let again = nonce_of(key, self.list.session());
        let point = G::mul_base(again.expose());
        let sent = self.list.own().and_then(|(_, bytes)| key.group().nonce_from_bytes(bytes));
        let same = again.expose().ct_eq(self.nonce.expose());
        sent == Some(point) && bool::from(same) && key.is_intact() && self.is_sealed(terms)
    }

    /// H("signer", all that the share depends on besides the key and the others' points).
    #[inline(never)]
    fn bound(&self, terms: &dyn Terms) -> Digest {
        let start = Transcript::new("signer").party(self.me).party(self.coordinator);
        terms.bind(self.list.bind(start)).finish()
    }

    /// Whether that is as it was, and this is a session at all, whose messages have the header that they must have.
    #[inline(never)]
    fn is_sealed(&self, terms: &dyn Terms) -> bool {
        let header = terms.kind().header(*self.list.session(), 1, self.me, None);
        *self.list.header() == header && self.bound(terms) == self.seal
    }

    #[inline(never)]
    fn nonce_message<'b>(
        &self,
        terms: &dyn Terms,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], NoRoom> {
        let message = self.list.message(buffer)?;
        if !self.is_sealed(terms) {
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

    #[inline(never)]
    fn handle_nonce<const N: usize, const K: usize>(
        &mut self,
        scheme: &dyn Responds<G, N, K>,
        key: &OpenedKey<G, N, K>,
        from: PartyId,
        bytes: &[u8],
    ) -> Result<Option<SignatureShare>, Failure> {
        if self.over {
            return Err(Failure::Refused(Refusal::Over));
        }
        if from == self.me {
            return Err(Failure::Refused(Refusal::NotAMember(from)));
        }
        // Where one group stands for several suites, their types do not keep two keys apart.
        if key.terms().suite != scheme.kind().suite {
            return Err(Failure::Refused(Refusal::OtherProtocol));
        }
        let taken = self.list.take(from, self.me, bytes);
        let result = taken.and_then(|()| match self.list.missing().is_empty() {
            true => self.finish(scheme, key).map(Some).map_err(Failure::Aborted),
            false => Ok(None),
        });
        if matches!(result, Err(Failure::Aborted(_)) | Ok(Some(_))) {
            // k_i answers one list of R_j at most, and is wiped here: two answers can be the share.
            self.over = true;
            self.nonce = SecretScalar::new(key.group().zero());
            self.nonce_seal = SecretBytes::default();
        }
        result
    }

    #[inline(never)]
    fn finish<const N: usize, const K: usize>(
        &mut self,
        scheme: &dyn Responds<G, N, K>,
        key: &OpenedKey<G, N, K>,
    ) -> Result<SignatureShare, Abort> {
        // Read once, and held: where a flipped pointer to the session leads there may be zeros, which say that nobody
        // guards.
        let guard = black_box(self.guard);
        self.list.sort();
        let listed = self.list.digest_if(guard);
        // Two copies, so that one flipped bit does not change what both answers are made of.
        let (point, [bytes, copy]) = self.list.resolve(guard)?;
        let round = Round {
            session: self.list.session(),
            quorum: self.list.quorum(),
            coordinator: self.coordinator,
            entries: self.list.entries(),
            point: &point,
            bytes,
        };
        let answer = scheme.respond(key, &self.nonce, &round)?;
        let share = self.share(scheme, answer)?;
        if guard == Guard::Recompute {
            let round = Round { bytes: copy, ..round };
            if scheme.respond(key, &self.nonce, &round)? != answer {
                return Err(Abort::ComputationFault);
            }
            // What was hit before both is still as it was hit: k_i, too, may have been since R_i was made of it.
            let nonce_still = sealed(&self.nonce).ct_eq(&self.nonce_seal);
            let listed_still = self.list.digest_if(guard) == listed;
            if !bool::from(nonce_still)
                || !listed_still
                || copy != bytes
                || !key.is_intact()
                || !self.is_sealed(scheme)
                || black_box(&*self).share(scheme, answer)? != share
            {
                return Err(Abort::ComputationFault);
            }
        }
        Ok(share)
    }

    /// R2 with its header.
    #[inline(never)]
    fn share(&self, terms: &dyn Terms, answer: Answer) -> Result<SignatureShare, Abort> {
        let kind = terms.kind();
        let header = kind.header(*self.list.session(), 2, self.me, Some(self.coordinator));
        let scalars = kind.scalars;
        let mut share = SignatureShare { header, answer, scalars, seal: [0; 32] };
        let mut buffer = [0; MAX_MESSAGE];
        let bytes = wire::write(&share, &mut buffer);
        share.seal = encoding(bytes.map_err(|_| Abort::ComputationFault)?);
        Ok(share)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ShareMessage;
    use super::*;
    use crate::curve::{SchnorrSecp256k1, Secp256k1};
    use crate::{ecdsa, schnorr};

    fn written<P: Scheme>(group: P::Group, answer: Answer) -> ShareMessage<P::Response> {
        let (kind, [from, to]) = (Kind::of::<P>(group), [2, 9].map(|id| PartyId::new(id).unwrap()));
        let header = kind.header([3; 32], 2, from, Some(to));
        let share = SignatureShare { header, answer, scalars: kind.scalars, seal: [0; 32] };
        let mut buffer = [0; MAX_MESSAGE];
        let message: ShareMessage<P::Response> =
            wire::decode(wire::write(&share, &mut buffer).unwrap()).unwrap();
        assert_eq!(message.header, header);
        message
    }

    #[test]
    fn shares_are_written_as_they_are_read() {
        let (one, two) = ([0x81; 32], [0x7f; 32]);
        let ecdsa = written::<ecdsa::Ecdsa<_>>(Secp256k1, [one, two]).response;
        assert_eq!((ecdsa.mu, ecdsa.nu), (one, two));
        let schnorr = written::<schnorr::Schnorr<_, [u8; 0]>>(SchnorrSecp256k1, [one, [0; 32]]);
        assert_eq!(schnorr.response.z, one);
    }
}
