//! Stateless Schnorr with an honest majority (`docs/PROTOCOL.md` §6.3): BIP-340 with the tweak of
//! BIP-341, and Ed25519. Nonces are pseudorandom functions of everything that is signed and of fresh
//! public salt, as in [`crate::ecdsa`]; a wrong share has a culprit here.
//!
//! ```text
//! k_i = Σ PRF(r_A, "k", D0)·f_A(i)              R_i = k_i·G                       R1, to all of S
//! c = H(R, Y, m)                                z_i = ±h·k_i + c·(±x_i ± ε)       R2
//! z = Σ L_i·z_i                                 z·G = ±R + c·Y
//! ```

mod combine;
mod target;

use serde::{Deserialize, Serialize};

use crate::curve::{Fixed, SchnorrGroup};
use crate::derive::Derivation;
use crate::hash::{Digest, Transcript};
use crate::key::{KeyTerms, OpenedKey};
use crate::nonce::{self, Answer, Round, Scheme};
use crate::party::{Holders, PartyId, PartySet};
use crate::secret::SecretScalar;
use crate::session::{Abort, Protocol};
use crate::wire::Bytes64;

pub(crate) use target::Target;

pub use crate::nonce::{Failure, Guard, MAX_MESSAGE, NoncePoint, Salt, SignError, SignatureShare};
pub use combine::{Combiner, Shares};
pub use target::{Tweak, verification_key};

/// R ‖ z, as the standard writes it: 64 bytes.
pub type Signature = Bytes64;

/// What is signed is no longer than this.
pub const MAX_PAYLOAD: usize = 16 * 1024;

/// What a signing session is about; every member checks it before it makes a session of it. M holds
/// the message itself, not a digest of it: the standards hash it together with R, so it is needed until
/// the session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignTerms<M> {
    /// S: exactly 2T−1 holders.
    pub quorum: PartySet,
    /// Who collects nonce points and shares.
    pub coordinator: PartyId,
    /// Which of the key's descendants signs.
    pub derivation: Derivation,
    /// What becomes of that key before it signs.
    pub tweak: Tweak,
    /// What is signed.
    pub message: M,
}

impl<M: AsRef<[u8]>> SignTerms<M> {
    /// The rules of §6 that need no secret.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn check(&self, holders: &Holders) -> Result<(), SignError> {
        nonce::check_quorum(&self.quorum, holders)?;
        if self.message.as_ref().len() > MAX_PAYLOAD {
            return Err(SignError::MessageTooLong);
        }
        Ok(())
    }

    /// D0: everything that is signed, for whom, and with which salts, by ρ. It binds the message by its length
    /// and hash, so the hash of the message may be known to anybody; it is not what is signed.
    fn inputs<G: SchnorrGroup>(
        &self,
        key: (&Digest, &KeyTerms, &[u8; 33]),
        target: &Target<G>,
        (message, rho): &(Digest, Digest),
    ) -> Digest {
        let (context, terms, group_key) = key;
        let start = Transcript::new("nonce")
            .bytes(context)
            .u32(terms.epoch)
            .bytes(&[target.group().suite().into()])
            .bytes(b"schnorr")
            .bytes(target.group().standard().as_bytes())
            .bytes(group_key);
        target
            .bind(start)
            .u32(self.message.as_ref().len() as u32)
            .bytes(message)
            .set(self.quorum)
            .bytes(rho)
            .finish()
    }

    /// The message's hash and ρ, which [`Self::inputs`] takes.
    fn digests(&self, salts: &[(PartyId, Salt)]) -> (Digest, Digest) {
        (message_digest(self.message.as_ref()), nonce::salt_digest(salts))
    }
}

fn message_digest(message: &[u8]) -> Digest {
    Transcript::new("message").bytes(message).finish()
}

/// z_i, a scalar in 32 big-endian bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    pub(crate) z: [u8; 32],
}

/// Schnorr as a [`Scheme`]. M holds the message.
pub struct Schnorr<G: SchnorrGroup, M> {
    message: M,
    target: Target<G>,
}

/// A member's session. S is the capacity of the quorum.
pub type Signer<G, M, const S: usize> = nonce::Signer<Schnorr<G, M>, S>;

impl<G: SchnorrGroup, M: AsRef<[u8]>, const S: usize> nonce::Signer<Schnorr<G, M>, S> {
    /// Checks the terms and derives k_i. Before [`Self::nonce_message`] is sent, the policy counter
    /// and the audit record must be durable: sending it counts as a released signature.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn new<const N: usize, const K: usize>(
        key: &OpenedKey<G, N, K>,
        terms: SignTerms<M>,
        salts: &[(PartyId, Salt)],
        own_salt: &Salt,
    ) -> Result<Self, SignError> {
        Self::guarded(key, terms, salts, own_salt, Guard::Off)
    }

    /// [`Self::new`] with a guard against faults in computing.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn guarded<const N: usize, const K: usize>(
        key: &OpenedKey<G, N, K>,
        terms: SignTerms<M>,
        salts: &[(PartyId, Salt)],
        own_salt: &Salt,
        guard: Guard,
    ) -> Result<Self, SignError> {
        let mut place = None;
        Self::guarded_in(&mut place, key, terms, salts, own_salt, guard)?;
        place.ok_or(SignError::ComputationFault)
    }

    /// [`Self::guarded`] in the place where the session is to stay: on its way there, copies of it would take a
    /// chip's stack. After an error there is none.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    #[inline(never)]
    pub fn guarded_in<const N: usize, const K: usize>(
        place: &mut Option<Self>,
        key: &OpenedKey<G, N, K>,
        terms: SignTerms<M>,
        salts: &[(PartyId, Salt)],
        own_salt: &Salt,
        guard: Guard,
    ) -> Result<(), SignError> {
        let SignTerms { quorum, coordinator, derivation, tweak, .. } = terms;
        // The second copy of all that was asked for, and the hash of the rest; what is hit before is the caller's.
        let asked = core::hint::black_box((quorum, coordinator, derivation, tweak));
        let begun = Self::begin(place, key, terms, salts, own_salt, guard);
        let begun = match (begun, guard) {
            (Ok(signer), Guard::Recompute) => signer.is_asked(key, &asked, salts),
            (begun, _) => begun.map(|_| ()),
        };
        if begun.is_err() {
            *place = None;
        }
        begun
    }

    #[inline(never)]
    fn begin<'p, const N: usize, const K: usize>(
        place: &'p mut Option<Self>,
        key: &OpenedKey<G, N, K>,
        terms: SignTerms<M>,
        salts: &[(PartyId, Salt)],
        own_salt: &Salt,
        guard: Guard,
    ) -> Result<&'p mut Self, SignError> {
        let digests = terms.digests(salts);
        terms.check(&key.terms().holders)?;
        nonce::check_member::<S>(&terms.quorum, key.party(), salts, own_salt)?;
        let group_key = key.group_key_bytes();
        let target = Target::derived(&key.extended(), &terms.derivation, &terms.tweak)?;
        let session = terms.inputs((key.context(), key.terms(), group_key), &target, &digests);
        let (quorum, coordinator) = (terms.quorum, terms.coordinator);
        let scheme = Schnorr { message: terms.message, target };
        Self::start(place, key, scheme, session, (quorum, coordinator), guard)
    }

    /// D0 once more, from the second copy and from the key; and the session keeps what was asked for.
    #[inline(never)]
    fn is_asked<const N: usize, const K: usize>(
        &self,
        key: &OpenedKey<G, N, K>,
        asked: &(PartySet, PartyId, Derivation, Tweak),
        salts: &[(PartyId, Salt)],
    ) -> Result<(), SignError> {
        let (quorum, coordinator, derivation, tweak) = *asked;
        let target = Target::derived(&key.extended(), &derivation, &tweak)?;
        let message = self.scheme.message.as_ref();
        let kept = SignTerms { quorum, coordinator, derivation, tweak, message };
        let inputs = (key.context(), key.terms(), key.group_key_bytes());
        let session = kept.inputs(inputs, &target, &kept.digests(salts));
        let same = self.parties() == (quorum, coordinator)
            && self.scheme.target.is_like(&target)
            && session == *self.session();
        if same && self.is_sealed() { Ok(()) } else { Err(SignError::ComputationFault) }
    }
}

impl<G: SchnorrGroup, M: AsRef<[u8]>> nonce::private::Sealed for Schnorr<G, M> {}

impl<G: SchnorrGroup, M: AsRef<[u8]>> Scheme for Schnorr<G, M> {
    type Group = G;
    const PROTOCOL: Protocol = Protocol::Schnorr;
    type Response = Response;
    const SCALARS: usize = 1;

    fn group(&self) -> G {
        self.target.group()
    }

    fn bind(&self, to: Transcript) -> Transcript {
        self.target.bind(to).bytes(&message_digest(self.message.as_ref()))
    }

    #[inline(never)]
    fn respond<const N: usize, const K: usize>(
        &self,
        key: &OpenedKey<G, N, K>,
        nonce: &SecretScalar<G>,
        round: &Round<'_, G>,
    ) -> Result<Answer, Abort> {
        let (name, negated) = G::name_of(&round.bytes).ok_or(Abort::Degenerate)?;
        let group = key.group();
        let challenge = group.challenge(&name, self.target.name(), self.message.as_ref());
        let k = G::product(nonce.expose(), &group.number(group.cofactor()));
        let k = SecretScalar::<G>::new(if negated { G::negate(&k) } else { k });
        let share = self.target.share(key.share());
        let z = *k.expose() + G::product(&challenge, share.expose());
        Ok([G::scalar_to_bytes(&z), [0; 32]])
    }
}

/// Whether `signature` is the standard's signature on `message` under `key`, by its name: BIP-340, or
/// RFC 8032 without cofactor and with keys of prime order only.
#[must_use]
pub fn verify<G: SchnorrGroup + Fixed>(
    key: &[u8; 32],
    message: &[u8],
    signature: &Signature,
) -> bool {
    let (mut nonce, mut response) = ([0; 32], [0; 32]);
    let (head, tail) = signature.0.split_at(32);
    nonce.copy_from_slice(head);
    response.copy_from_slice(tail);
    let group = G::default();
    let (point, response) = (group.named(key), group.response_from_bytes(&response));
    let (Some(point), Some(response)) = (point, response) else {
        return false;
    };
    let challenge = group.challenge(&nonce, key, message);
    holds::<G>(&point, &nonce, &challenge, &response)
}

/// Whether z·G − c·Y is the point that `nonce` names: compared encoded, as the standards say.
pub(crate) fn holds<G: SchnorrGroup>(
    key: &G::Point,
    nonce: &[u8; 32],
    challenge: &G::Scalar,
    response: &G::Scalar,
) -> bool {
    G::name(&G::commitment_of(response, challenge, key)) == Some((*nonce, false))
}
