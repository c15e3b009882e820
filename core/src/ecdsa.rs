//! Stateless ECDSA with an honest majority (`docs/PROTOCOL.md` §6.2): nonces are pseudorandom
//! functions of everything that is signed and of fresh public salt, so that there is no secret to
//! reuse after a crash, a rollback or a failover.

mod combine;
mod inspect;

use serde::{Deserialize, Serialize};

use crate::curve::{AffineBytes, EcdsaGroup, Group};
use crate::derive::{Derivation, DerivedKey};
use crate::hash::{Digest, Transcript};
use crate::key::OpenedKey;
use crate::nonce::{self, NonceList};
use crate::party::{Holders, PartyId, PartySet};
use crate::secret::SecretScalar;
use crate::session::{Abort, Header, Protocol, Refusal};
use crate::vss;
use crate::wire::{self, NoRoom};

pub use crate::nonce::{Failure, MAX_MESSAGE, NoncePoint, Salt, SignError};
pub use combine::{Combiner, Signature};
pub use inspect::{Inspected, inspect};

/// What a signing session is about; every member checks it before it makes a session of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignTerms {
    /// The session's id.
    pub session: Digest,
    /// S: exactly 2T−1 holders.
    pub quorum: PartySet,
    /// Who collects the shares.
    pub coordinator: PartyId,
    /// Which of the key's descendants signs.
    pub derivation: Derivation,
    /// The digest of the payload, computed by this party itself.
    pub digest: Digest,
}

impl SignTerms {
    /// The rules of §6 that need no secret.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn check<G: Group>(&self, holders: &Holders) -> Result<(), SignError> {
        nonce::check_quorum(&self.quorum, holders)?;
        if G::scalar_from_digest(&self.digest) == G::Scalar::default() {
            return Err(SignError::ZeroDigest);
        }
        Ok(())
    }

    fn header<G: Group>(&self, round: u8, from: PartyId, to: Option<PartyId>) -> Header {
        Header {
            version: wire::VERSION,
            suite: G::SUITE,
            protocol: Protocol::Ecdsa,
            round,
            session: self.session,
            from,
            to,
        }
    }
}

/// R2, to the coordinator: (μ_i, ν_i) under D.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureShare {
    pub(crate) header: Header,
    /// D.
    pub(crate) inputs: Digest,
    /// R, the same for all who do not abort.
    pub(crate) nonce: AffineBytes,
    pub(crate) mu: [u8; 32],
    pub(crate) nu: [u8; 32],
}

impl SignatureShare {
    /// Encodes the share for the coordinator.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_MESSAGE`].
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        wire::encode(self, buffer).map(|bytes| &*bytes)
    }
}

/// A member's session: it has sent R_i and waits for the others'. S is the capacity of the quorum.
pub struct Signer<G: EcdsaGroup, const S: usize> {
    terms: SignTerms,
    me: PartyId,
    /// Y and ε.
    derived: DerivedKey<G>,
    nonce: SecretScalar<G>,
    own: AffineBytes,
    list: NonceList<G, S>,
    over: bool,
}

impl<G: EcdsaGroup, const S: usize> Signer<G, S> {
    /// Checks the terms and derives k_i. Before [`Self::nonce_message`] is sent, the policy counter
    /// and the audit record must be durable: sending it counts as a released signature.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn new<const N: usize, const K: usize>(
        key: &OpenedKey<G, N, K>,
        terms: SignTerms,
        salts: &[(PartyId, Salt)],
        own_salt: &Salt,
    ) -> Result<Self, SignError> {
        let (holders, me) = (key.terms().holders, key.party());
        terms.check::<G>(&holders)?;
        nonce::check_member::<S>(&terms.quorum, me, salts, own_salt)?;
        let derived = key.extended().derive(&terms.derivation).map_err(SignError::Derivation)?;
        // D0: X, ε and Y among the inputs, so that no two descendants share a nonce.
        let inputs = Transcript::new("nonce")
            .bytes(key.context())
            .u32(key.terms().epoch)
            .bytes(&[G::SUITE.into()])
            .bytes(b"ecdsa")
            .bytes(key.group_key_bytes())
            .bytes(&G::scalar_to_bytes(derived.tweak()))
            .bytes(&derived.encoded().0)
            .bytes(&terms.digest)
            .set(terms.quorum)
            .bytes(&nonce::salt_digest(salts))
            .finish();
        let nonce = key.pseudorandom("k", &inputs);
        let header = terms.header::<G>(1, me, None);
        let mut list = NonceList::new(header, terms.quorum, holders.degree(), inputs);
        let own = list.add_own(me, nonce.expose())?;
        Ok(Self { terms, me, derived, nonce, own, list, over: false })
    }

    /// R1, to all other members.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_MESSAGE`].
    pub fn nonce_message<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        self.list.message(self.me, self.own, buffer)
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
    pub fn handle_nonce<const N: usize, const K: usize>(
        &mut self,
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
        let result = self.list.take(from, self.me, bytes).and_then(|()| {
            if self.missing().is_empty() { self.finish(key).map(Some) } else { Ok(None) }
        });
        if matches!(result, Err(Failure::Aborted(_)) | Ok(Some(_))) {
            // k_i is used for one list of R_j at most, and wiped here.
            self.over = true;
            self.nonce = SecretScalar::new(G::Scalar::default());
        }
        result
    }

    fn finish<const N: usize, const K: usize>(
        &mut self,
        key: &OpenedKey<G, N, K>,
    ) -> Result<SignatureShare, Failure> {
        let degenerate = Failure::Aborted(Abort::Degenerate);
        let nonce = G::point_to_affine(&self.list.value_at_zero()?).ok_or(degenerate)?;
        let (r, _, _) = G::x_coordinate(&nonce);
        if r == G::Scalar::default() {
            return Err(degenerate);
        }
        let start = Transcript::new("sign").bytes(self.list.inputs());
        let start = start.party(self.terms.coordinator);
        let entries = self.list.entries().iter();
        let list = entries.fold(start, |t, (e, bytes)| t.party(e.id).bytes(&bytes.0));
        // Pair seeds are made anew with every epoch: it is their generation.
        let inputs = list.u32(key.terms().epoch).finish();
        let quorum = self.terms.quorum;
        let inverse = vss::inverse_lagrange::<G>(quorum, self.me);
        let a = key.pseudorandom("a", &inputs);
        let mu_mask = key.zero_mask(quorum, &inverse, "mu", &inputs);
        let nu_mask = key.zero_mask(quorum, &inverse, "nu", &inputs);
        let h = G::scalar_from_digest(&self.terms.digest);
        let mu = *a.expose() * *self.nonce.expose() + *mu_mask.expose();
        let share = SecretScalar::<G>::new(*key.share().expose() + *self.derived.tweak());
        let nu = *a.expose() * (h + r * *share.expose()) + *nu_mask.expose();
        Ok(SignatureShare {
            header: self.terms.header::<G>(2, self.me, Some(self.terms.coordinator)),
            inputs,
            nonce,
            mu: G::scalar_to_bytes(&mu),
            nu: G::scalar_to_bytes(&nu),
        })
    }
}
