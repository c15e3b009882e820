//! Stateless ECDSA with an honest majority (`docs/PROTOCOL.md` §6.2): nonces are pseudorandom
//! functions of everything that is signed and of fresh public salt, so that there is no secret to
//! reuse after a crash, a rollback or a failover.
//!
//! ```text
//! k_i = Σ PRF(r_A, "k", D0)·f_A(i)             R_i = k_i·G                       R1, to all of S
//! a_i = Σ PRF(r_A, "a", D)·f_A(i)
//! μ_i = a_i·k_i + m_i("mu", D)                  ν_i = a_i·(h + r·(x_i + ε)) + m_i("nu", D)       R2
//! s = Σ L_i·ν_i / Σ L_i·μ_i = a·(h + r·(x + ε)) / (a·k)
//! ```

mod combine;

use serde::{Deserialize, Serialize};

use crate::curve::{EcdsaGroup, Group};
use crate::derive::{Derivation, DerivedKey, ExtendedKey};
use crate::hash::{Digest, Transcript};
use crate::key::{KeyTerms, OpenedKey};
use crate::nonce::{self, Answer, Round, Scheme};
use crate::party::{Holders, PartyId, PartySet};
use crate::secret::SecretScalar;
use crate::session::{Abort, Protocol};
use crate::vss;

pub use crate::nonce::{Failure, Guard, MAX_MESSAGE, NoncePoint, Salt, SignError, SignatureShare};
pub use combine::{Combiner, Shares, Signature};

/// What a signing session is about; every member checks it before it makes a session of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignTerms {
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
    pub fn check<G: Group>(&self, group: G, holders: &Holders) -> Result<(), SignError> {
        nonce::check_quorum(&self.quorum, holders)?;
        if group.scalar_from_digest(&self.digest) == group.zero() {
            return Err(SignError::ZeroDigest);
        }
        Ok(())
    }

    /// D0, with ρ. X, ε and Y are among the inputs, so that no two descendants share a nonce.
    #[inline(never)]
    fn inputs<G: Group>(
        &self,
        key: (&Digest, &KeyTerms),
        root: &ExtendedKey<G>,
        derived: &DerivedKey<G>,
        salts: &Digest,
    ) -> Digest {
        let (context, terms) = key;
        Transcript::new("nonce")
            .bytes(context)
            .u32(terms.epoch)
            .bytes(&[root.group().suite().into()])
            .bytes(b"ecdsa")
            .bytes(&root.encoded().0)
            .bytes(&G::scalar_to_bytes(derived.tweak()))
            .bytes(&derived.encoded().0)
            .bytes(&self.digest)
            .set(self.quorum)
            .bytes(salts)
            .finish()
    }
}

/// (μ_i, ν_i) under D, two scalars in 32 big-endian bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    pub(crate) mu: [u8; 32],
    pub(crate) nu: [u8; 32],
}

/// ECDSA as a [`Scheme`].
pub struct Ecdsa<G: EcdsaGroup> {
    digest: Digest,
    /// Y and ε.
    derived: DerivedKey<G>,
}

/// A member's session. S is the capacity of the quorum.
pub type Signer<G, const S: usize> = nonce::Signer<Ecdsa<G>, S>;

impl<G: EcdsaGroup, const S: usize> nonce::Signer<Ecdsa<G>, S> {
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
        Self::guarded(key, terms, salts, own_salt, Guard::Off)
    }

    /// [`Self::new`] with a guard against faults in computing.
    ///
    /// # Errors
    /// [`SignError`] names the broken rule.
    pub fn guarded<const N: usize, const K: usize>(
        key: &OpenedKey<G, N, K>,
        terms: SignTerms,
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
        terms: SignTerms,
        salts: &[(PartyId, Salt)],
        own_salt: &Salt,
        guard: Guard,
    ) -> Result<(), SignError> {
        // The second copy of all that was asked for; what is hit before is the caller's.
        let asked = core::hint::black_box(terms);
        let begun = Self::begin(place, key, &terms, salts, own_salt, guard);
        let begun = match (begun, guard) {
            (Ok(signer), Guard::Recompute) => signer.is_asked(key, &terms, &asked, salts),
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
        terms: &SignTerms,
        salts: &[(PartyId, Salt)],
        own_salt: &Salt,
        guard: Guard,
    ) -> Result<&'p mut Self, SignError> {
        let rho = nonce::salt_digest(salts);
        terms.check(key.group(), &key.terms().holders)?;
        nonce::check_member::<S>(&terms.quorum, key.party(), salts, own_salt)?;
        let root = key.extended();
        let derived = root.derive(&terms.derivation).map_err(SignError::Derivation)?;
        let session = terms.inputs((key.context(), key.terms()), &root, &derived, &rho);
        let scheme = Ecdsa { digest: terms.digest, derived };
        Self::start(place, key, scheme, session, (terms.quorum, terms.coordinator), guard)
    }

    /// D0 once more, from the second copy and from the key; and the session keeps what was asked for.
    #[inline(never)]
    fn is_asked<const N: usize, const K: usize>(
        &self,
        key: &OpenedKey<G, N, K>,
        terms: &SignTerms,
        asked: &SignTerms,
        salts: &[(PartyId, Salt)],
    ) -> Result<(), SignError> {
        let (quorum, coordinator) = self.parties();
        let digest = self.scheme.digest;
        let kept = SignTerms { quorum, coordinator, digest, ..*terms };
        let again = key.extended().derive(&asked.derivation).map_err(SignError::Derivation)?;
        let (inputs, rho) = ((key.context(), key.terms()), nonce::salt_digest(salts));
        let session = asked.inputs(inputs, &key.extended(), &again, &rho);
        let same = kept == *asked
            && session == *self.session()
            && *self.scheme.derived.tweak() == *again.tweak();
        if same && self.is_sealed() { Ok(()) } else { Err(SignError::ComputationFault) }
    }
}

impl<G: EcdsaGroup> nonce::private::Sealed for Ecdsa<G> {}

impl<G: EcdsaGroup> Scheme for Ecdsa<G> {
    type Group = G;
    const PROTOCOL: Protocol = Protocol::Ecdsa;
    type Response = Response;
    const SCALARS: usize = 2;

    fn group(&self) -> G {
        self.derived.group()
    }

    fn bind(&self, to: Transcript) -> Transcript {
        let tweak = G::scalar_to_bytes(self.derived.tweak());
        to.bytes(&self.digest).bytes(&tweak).bytes(&self.derived.encoded().0)
    }

    #[inline(never)]
    fn respond<const N: usize, const K: usize>(
        &self,
        key: &OpenedKey<G, N, K>,
        nonce: &SecretScalar<G>,
        round: &Round<'_, G>,
    ) -> Result<Answer, Abort> {
        let group = key.group();
        let (r, _, _) = group.x_coordinate(&round.bytes);
        if r == group.zero() {
            return Err(Abort::Degenerate);
        }
        let start = Transcript::new("sign").bytes(round.session).party(round.coordinator);
        let list = round.entries.iter().fold(start, |t, (id, point)| t.party(*id).bytes(&point.0));
        // Pair seeds are made anew with every epoch: it is their generation.
        let inputs = list.u32(key.terms().epoch).finish();
        let weight = vss::mask_weight(group, round.quorum, key.party());
        let a = key.pseudorandom(b"a", &inputs);
        let mu_mask = key.zero_mask(round.quorum, &weight, b"mu", &inputs);
        let nu_mask = key.zero_mask(round.quorum, &weight, b"nu", &inputs);
        let h = group.scalar_from_digest(&self.digest);
        let mu = *a.expose() * *nonce.expose() + *mu_mask.expose();
        let share = SecretScalar::<G>::new(*key.share().expose() + *self.derived.tweak());
        let nu = *a.expose() * (h + r * *share.expose()) + *nu_mask.expose();
        Ok([G::scalar_to_bytes(&mu), G::scalar_to_bytes(&nu)])
    }
}
