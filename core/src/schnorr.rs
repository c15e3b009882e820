//! Stateless Schnorr with an honest majority (`docs/PROTOCOL.md` §6.3): BIP-340 with the tweak of
//! BIP-341, and Ed25519. Nonces are pseudorandom functions of everything that is signed and of fresh
//! public salt, as in [`crate::ecdsa`]; a wrong share has a culprit here.

mod combine;
mod inspect;
mod target;

use serde::{Deserialize, Serialize};

use crate::curve::{AffineBytes, Group, PointBytes, SchnorrGroup};
use crate::hash::{Digest, Transcript};
use crate::key::OpenedKey;
use crate::nonce::{self, NonceList};
use crate::party::{Holders, PartyId, PartySet};
use crate::secret::SecretScalar;
use crate::session::{Abort, Header, Protocol, Refusal};
use crate::wire::{self, Bytes64, NoRoom};

pub(crate) use target::Target;

pub use crate::nonce::{Failure, MAX_MESSAGE, NoncePoint, Salt, SignError};
pub use combine::Combiner;
pub use inspect::{Inspected, inspect};
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
    /// The session's id.
    pub session: Digest,
    /// S: exactly 2T−1 holders.
    pub quorum: PartySet,
    /// Who collects nonce points and shares.
    pub coordinator: PartyId,
    /// What becomes of the group key before it signs.
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

    fn header<G: Group>(&self, round: u8, from: PartyId, to: Option<PartyId>) -> Header {
        Header {
            version: wire::VERSION,
            suite: G::SUITE,
            protocol: Protocol::Schnorr,
            round,
            session: self.session,
            from,
            to,
        }
    }
}

/// D0: everything that is signed, for whom, and with which salts. It binds the message by its length
/// and hash, so the hash of the message may be known to anybody; it is not what is signed.
fn nonce_inputs<G: SchnorrGroup, M: AsRef<[u8]>>(
    key: (&Digest, u32, &[u8; 33]),
    target: &Target<G>,
    terms: &SignTerms<M>,
    salts: &[(PartyId, Salt)],
) -> Digest {
    let (context, epoch, group_key) = key;
    let message = terms.message.as_ref();
    let start = Transcript::new("nonce")
        .bytes(context)
        .u32(epoch)
        .bytes(&[G::SUITE.into()])
        .bytes(b"schnorr")
        .bytes(G::STANDARD.as_bytes())
        .bytes(group_key);
    target
        .bind(start)
        .u32(message.len() as u32)
        .bytes(&Transcript::new("message").bytes(message).finish())
        .set(terms.quorum)
        .bytes(&nonce::salt_digest(salts))
        .finish()
}

/// R2, to the coordinator: z_i.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureShare {
    header: Header,
    /// D0.
    inputs: Digest,
    /// R by its name, the same for all who do not abort.
    nonce: [u8; 32],
    /// z_i, 32 big-endian bytes.
    response: [u8; 32],
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
pub struct Signer<G: SchnorrGroup, M, const S: usize> {
    terms: SignTerms<M>,
    me: PartyId,
    target: Target<G>,
    nonce: SecretScalar<G>,
    own: AffineBytes,
    list: NonceList<G, S>,
    over: bool,
}

impl<G: SchnorrGroup, M: AsRef<[u8]>, const S: usize> Signer<G, M, S> {
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
        let (holders, me) = (key.terms().holders, key.party());
        terms.check(&holders)?;
        nonce::check_member::<S>(&terms.quorum, me, salts, own_salt)?;
        let target =
            Target::new(&key.group_key(), &PointBytes(*key.group_key_bytes()), &terms.tweak)?;
        let of_key = (key.context(), key.terms().epoch, key.group_key_bytes());
        let inputs = nonce_inputs(of_key, &target, &terms, salts);
        let nonce = key.pseudorandom("k", &inputs);
        let header = terms.header::<G>(1, me, None);
        let mut list = NonceList::new(header, terms.quorum, holders.degree(), inputs);
        let own = list.add_own(me, nonce.expose())?;
        Ok(Self { terms, me, target, nonce, own, list, over: false })
    }

    /// R1, to all other members and to the coordinator.
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
            // k_i answers one challenge at most, and is wiped here: two answers are the share.
            self.over = true;
            self.nonce = SecretScalar::new(G::Scalar::default());
        }
        result
    }

    fn finish<const N: usize, const K: usize>(
        &mut self,
        key: &OpenedKey<G, N, K>,
    ) -> Result<SignatureShare, Failure> {
        let point = G::clear_cofactor(&self.list.value_at_zero()?);
        let (nonce, negated) = G::name(&point).ok_or(Failure::Aborted(Abort::Degenerate))?;
        let challenge = G::challenge(&nonce, self.target.name(), self.terms.message.as_ref());
        // z_i = ±h·k_i + c·(±x_i ± ε).
        let k = *self.nonce.expose() * G::Scalar::from(G::COFACTOR);
        let k = SecretScalar::<G>::new(if negated { -k } else { k });
        let response = *k.expose() + challenge * *self.target.share(key.share()).expose();
        Ok(SignatureShare {
            header: self.terms.header::<G>(2, self.me, Some(self.terms.coordinator)),
            inputs: *self.list.inputs(),
            nonce,
            response: G::scalar_to_bytes(&response),
        })
    }
}

/// Whether `signature` is the standard's signature on `message` under `key`, by its name: BIP-340, or
/// RFC 8032 without cofactor and with keys of prime order only.
#[must_use]
pub fn verify<G: SchnorrGroup>(key: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
    let (mut nonce, mut response) = ([0; 32], [0; 32]);
    let (head, tail) = signature.0.split_at(32);
    nonce.copy_from_slice(head);
    response.copy_from_slice(tail);
    let (Some(point), Some(response)) = (G::named(key), G::response_from_bytes(&response)) else {
        return false;
    };
    let challenge = G::challenge(&nonce, key, message);
    holds::<G>(&point, &nonce, &challenge, &response)
}

/// Whether z·G − c·Y is the point that `nonce` names.
fn holds<G: SchnorrGroup>(
    key: &G::Point,
    nonce: &[u8; 32],
    challenge: &G::Scalar,
    response: &G::Scalar,
) -> bool {
    G::name(&G::commitment_of(response, challenge, key)) == Some((*nonce, false))
}
