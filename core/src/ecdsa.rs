//! Stateless ECDSA with an honest majority (`docs/PROTOCOL.md` §6.2): nonces are pseudorandom
//! functions of everything that is signed and of fresh public salt, so that there is no secret to
//! reuse after a crash, a rollback or a failover.

mod combine;
mod inspect;

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::curve::{AffineBytes, EcdsaGroup, Group};
use crate::derive::{Derivation, DeriveError, DerivedKey};
use crate::hash::{Digest, Transcript};
use crate::key::OpenedKey;
use crate::party::{Holders, PartyId, PartySet};
use crate::secret::SecretScalar;
use crate::session::{Abort, Fault, Header, Protocol, Refusal};
use crate::vss::{self, Entry};
use crate::wire::{self, DecodeError, NoRoom};

pub use combine::{Combiner, Signature};
pub use inspect::{Inspected, inspect};

/// A member's 32 fresh public bytes.
pub type Salt = [u8; 32];

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

/// Why a session cannot be: the caller or the coordinator misused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// |S| ≠ 2T−1.
    QuorumSize {
        /// 2T−1.
        expected: usize,
        /// |S|.
        found: usize,
    },
    /// A member of S holds no share.
    NotAHolder,
    /// This party is not in S.
    NotInQuorum,
    /// h ≡ 0 modulo p: anybody can forge on it.
    ZeroDigest,
    /// There is no such derived key.
    Derivation(DeriveError),
    /// Salts are not exactly one of every member of S.
    Salts,
    /// The salt of this party is missing or was altered.
    OwnSalt,
    /// A larger quorum than this build has room for.
    TooLarge,
    /// k_i came out as 0; with other salts it will not.
    Degenerate,
}

impl core::fmt::Display for SignError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::QuorumSize { expected, found } => {
                write!(f, "this key is signed for by exactly {expected} parties, not {found}")
            }
            Self::NotAHolder => f.write_str("a member of the quorum holds no share of the key"),
            Self::NotInQuorum => f.write_str("this party is not in the quorum"),
            Self::ZeroDigest => {
                f.write_str("a digest that is 0 modulo the group order is never signed")
            }
            Self::Derivation(error) => error.fmt(f),
            Self::Salts => {
                f.write_str("there must be exactly one salt of every member of the quorum")
            }
            Self::OwnSalt => f.write_str("this party's salt is missing or was altered"),
            Self::TooLarge => f.write_str("the quorum is larger than this build has room for"),
            Self::Degenerate => f.write_str("a value came out as zero; try again"),
        }
    }
}

impl core::error::Error for SignError {}

impl SignTerms {
    /// The rules of §6 that need no secret.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn check<G: Group>(&self, holders: &Holders) -> Result<(), SignError> {
        if self.quorum.len() != holders.quorum() {
            let (expected, found) = (holders.quorum(), self.quorum.len());
            return Err(SignError::QuorumSize { expected, found });
        }
        if !holders.parties().contains_all(&self.quorum) {
            return Err(SignError::NotAHolder);
        }
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

/// ρ = H(all salts, by member).
fn salt_digest(salts: &[(PartyId, Salt)]) -> Digest {
    salts
        .iter()
        .fold(Transcript::new("salt").u16(salts.len() as u16), |t, (id, salt)| {
            t.party(*id).bytes(salt)
        })
        .finish()
}

/// R1: R_i, bound to D0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoncePoint {
    header: Header,
    /// D0.
    inputs: Digest,
    /// R_i.
    point: AffineBytes,
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

/// No message of this protocol is longer.
pub const MAX_MESSAGE: usize = 256;

/// A member's session: it has sent R_i and waits for the others'. S is the capacity of the quorum.
pub struct Signer<G: EcdsaGroup, const S: usize> {
    terms: SignTerms,
    me: PartyId,
    holders: Holders,
    /// Y and ε.
    derived: DerivedKey<G>,
    /// D0.
    inputs: Digest,
    nonce: SecretScalar<G>,
    own: AffineBytes,
    entries: Vec<(Entry<G>, AffineBytes), S>,
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
        if !terms.quorum.contains(me) {
            return Err(SignError::NotInQuorum);
        }
        if terms.quorum.len() > S {
            return Err(SignError::TooLarge);
        }
        if !terms.quorum.iter().eq(salts.iter().map(|(id, _)| *id)) {
            return Err(SignError::Salts);
        }
        if !salts.iter().any(|(id, salt)| *id == me && salt == own_salt) {
            return Err(SignError::OwnSalt);
        }
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
            .bytes(&salt_digest(salts))
            .finish();
        let nonce = key.pseudorandom("k", &inputs);
        let point = G::mul_base(nonce.expose());
        let own = G::point_to_affine(&point).ok_or(SignError::Degenerate)?;
        let mut entries = Vec::new();
        let _ = entries.push((Entry { id: me, point }, own));
        Ok(Self { terms, me, holders, derived, inputs, nonce, own, entries, over: false })
    }

    /// R1, to all other members.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is shorter than [`MAX_MESSAGE`].
    pub fn nonce_message<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let header = self.terms.header::<G>(1, self.me, None);
        let message = NoncePoint { header, inputs: self.inputs, point: self.own };
        wire::encode(&message, buffer).map(|bytes| &*bytes)
    }

    /// The members whose R_j has not arrived.
    #[must_use]
    pub fn missing(&self) -> PartySet {
        let there: PartySet = self.entries.iter().map(|(entry, _)| entry.id).collect();
        self.terms.quorum.difference(&there)
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
        if !self.terms.quorum.contains(from) || from == self.me {
            return Err(Failure::Refused(Refusal::NotAMember(from)));
        }
        check_header(bytes, &self.terms.header::<G>(1, from, None), self.me)?;
        let result = self.accept(from, bytes).and_then(|()| {
            if self.missing().is_empty() { self.finish(key).map(Some) } else { Ok(None) }
        });
        if matches!(result, Err(Failure::Aborted(_)) | Ok(Some(_))) {
            // k_i is used for one list of R_j at most, and wiped here.
            self.over = true;
            self.nonce = SecretScalar::new(G::Scalar::default());
        }
        result
    }

    fn accept(&mut self, from: PartyId, bytes: &[u8]) -> Result<(), Failure> {
        let blame = |fault| Failure::Aborted(Abort::Culprit(from, fault));
        let message: NoncePoint = wire::decode(bytes).map_err(|_| blame(Fault::Malformed))?;
        if let Some((_, earlier)) = self.entries.iter().find(|(entry, _)| entry.id == from) {
            let same = (*earlier, self.inputs) == (message.point, message.inputs);
            return Err(if same {
                Failure::Refused(Refusal::Duplicate)
            } else {
                blame(Fault::Equivocation)
            });
        }
        if message.inputs != self.inputs {
            return Err(Failure::Aborted(Abort::Disagreement(from)));
        }
        let point = G::point_from_affine(&message.point).ok_or(blame(Fault::InvalidPoint))?;
        let entry = (Entry { id: from, point }, message.point);
        self.entries.push(entry).map_err(|_| Failure::Refused(Refusal::NotAMember(from)))
    }

    fn finish<const N: usize, const K: usize>(
        &mut self,
        key: &OpenedKey<G, N, K>,
    ) -> Result<SignatureShare, Failure> {
        self.entries.sort_unstable_by_key(|(entry, _)| entry.id);
        let points: Vec<Entry<G>, S> = self.entries.iter().map(|(entry, _)| *entry).collect();
        let degree = self.holders.degree();
        if !vss::on_polynomial(&points, degree) {
            return Err(Failure::Aborted(Abort::OffPolynomial(self.terms.quorum)));
        }
        let degenerate = Failure::Aborted(Abort::Degenerate);
        let nonce = vss::value_at_zero(&points, degree).ok_or(degenerate)?;
        let nonce = G::point_to_affine(&nonce).ok_or(degenerate)?;
        let (r, _, _) = G::x_coordinate(&nonce);
        if r == G::Scalar::default() {
            return Err(degenerate);
        }
        let start = Transcript::new("sign").bytes(&self.inputs).party(self.terms.coordinator);
        let list = self.entries.iter().fold(start, |t, (e, bytes)| t.party(e.id).bytes(&bytes.0));
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

/// Whether a message of at most [`MAX_MESSAGE`] bytes has the header that its sender, the channel's
/// peer, must give it.
fn check_header(bytes: &[u8], expected: &Header, me: PartyId) -> Result<(), Failure> {
    if bytes.len() > MAX_MESSAGE {
        return Err(Failure::Refused(DecodeError::TooLong.into()));
    }
    let header = Header::peek(bytes).map_err(|error| Failure::Refused(error.into()))?;
    header.check(expected, expected.from, me).map_err(Failure::Refused)
}

/// Why a message had no effect, or ended the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The message was dropped.
    Refused(Refusal),
    /// The session is over.
    Aborted(Abort),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Aborted(abort) => abort.fmt(f),
        }
    }
}

impl core::error::Error for Failure {}
