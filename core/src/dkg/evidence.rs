//! Evidence: what a party keeps of a failed run, so that somebody who took no part in it can see who
//! spoiled it (`docs/PROTOCOL.md` §3 step 24). The run itself judges by the same code.

use serde::{Deserialize, Serialize};

use super::check;
use super::message::{
    self, Commit, Complaint, Contributions, Echo, Lent, Seen, SignedDeal, SignedOpen, Views,
    body_digest, header,
};
use crate::curve::Group;
use crate::hash::Digest;
use crate::identity::Identity;
use crate::key::KeyTerms;
use crate::party::PartyId;
use crate::secret::SecretScalar;
use crate::session::Fault;
use crate::wire::{self, Bytes64, DecodeError, NoRoom};

/// Signed messages of one run that prove a fault. It holds no secret that still matters: the only private
/// message that it can carry has been published in a complaint, and its run is dead.
#[derive(Debug, Serialize, Deserialize)]
pub enum Evidence<const N: usize, C> {
    /// Two different bodies for one round, or lists of bodies.
    Equivocation {
        /// Who signed both.
        from: PartyId,
        /// In this round; 0 is a complaint.
        round: u8,
        /// One of the two.
        first: Seen,
        /// The other.
        second: Seen,
    },
    /// An R2 that fails a check by itself, with the R1 that it must open.
    BadOpen {
        /// Who signed both.
        dealer: PartyId,
        /// R1.
        commit: Commit,
        /// On R1.
        signature: Bytes64,
        /// R2.
        open: SignedOpen<N>,
    },
    /// Two R2 with one constant coefficient. The earlier dealer has proven that it knows it.
    RepeatedKey {
        /// By identifier.
        earlier: PartyId,
        /// Its R2.
        first: SignedOpen<N>,
        /// The culprit.
        later: PartyId,
        /// Its R2.
        second: SignedOpen<N>,
    },
    /// A complaint: it convicts the dealer that it accuses, or else its author.
    Complaint {
        /// Who signed it.
        accuser: PartyId,
        /// What it said.
        complaint: Complaint<N, C>,
        /// On the complaint.
        signature: Bytes64,
    },
}

/// Why evidence convicts nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProven {
    /// It is about somebody who is no holder, or has no session key here.
    Stranger(PartyId),
    /// This party did not sign it, in this session.
    Signature(PartyId),
    /// The terms are of another suite.
    Suite,
    /// Everything in it is as it should be.
    NoFault,
}

impl core::fmt::Display for NotProven {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Stranger(party) => write!(f, "party {party} takes no part in this session"),
            Self::Signature(party) => {
                write!(f, "party {party} did not sign the evidence in this session")
            }
            Self::Suite => f.write_str("the terms are of another suite"),
            Self::NoFault => f.write_str("the evidence shows no fault"),
        }
    }
}

impl core::error::Error for NotProven {}

type Verdict = Result<(PartyId, Fault), NotProven>;

impl<const N: usize, C: Contributions> Evidence<N, C> {
    /// Encodes it, behind the version.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is too short ([`super::Dkg::MAX_EVIDENCE`] is always enough).
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        wire::encode(&(wire::VERSION, self), buffer).map(|bytes| &*bytes)
    }

    /// Whom it convicts, and of what, in the run named `session` under `terms`; `key_of` gives the
    /// session keys of the holders, certified for this session
    /// ([`crate::identity::session_key_digest`]).
    ///
    /// # Errors
    /// [`NotProven`] if it convicts nobody.
    pub fn judge<G: Group>(
        &self,
        terms: &KeyTerms,
        session: &Digest,
        key_of: impl Fn(PartyId) -> Option<Identity>,
    ) -> Verdict {
        let group = G::maker(terms.suite).ok_or(NotProven::Suite)?;
        let court = Court { terms, session, key_of };
        match self {
            Self::Equivocation { from, round, first, second } => {
                court.signed(*round, *from, first)?;
                court.signed(*round, *from, second)?;
                if first.body == second.body {
                    return Err(NotProven::NoFault);
                }
                Ok((*from, Fault::Equivocation))
            }
            Self::BadOpen { dealer, commit, signature, open } => {
                let seen = Seen { body: body_digest(commit), signature: *signature };
                court.signed(1, *dealer, &seen)?;
                court.opened(*dealer, open)?;
                let context = terms.context();
                match check::open(group, terms, &context, *dealer, commit, &open.tree) {
                    Err(fault) => Ok((*dealer, fault)),
                    Ok(_) => Err(NotProven::NoFault),
                }
            }
            Self::RepeatedKey { earlier, first, later, second } => {
                court.opened(*earlier, first)?;
                court.opened(*later, second)?;
                let constant =
                    |open: &SignedOpen<N>| open.tree.opening.coefficients.first().copied();
                // Without the proof, whoever copies an honest coefficient could frame its dealer.
                let repeated = earlier < later
                    && constant(first).is_some()
                    && constant(first) == constant(second)
                    && check::proves_possession(group, *earlier, &first.tree);
                if repeated { Ok((*later, Fault::RepeatedKey)) } else { Err(NotProven::NoFault) }
            }
            Self::Complaint { accuser, complaint, signature } => {
                let seen = Seen { body: body_digest(complaint), signature: *signature };
                court.signed(0, *accuser, &seen)?;
                court.complaint(group, *accuser, complaint)
            }
        }
    }
}

impl<'a, const N: usize> Evidence<N, Lent<'a>> {
    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`], as of every message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            Some(&wire::VERSION) => wire::decode::<(u8, Self)>(bytes).map(|(_, evidence)| evidence),
            Some(&version) => Err(DecodeError::Version(version)),
            None => Err(DecodeError::Malformed),
        }
    }
}

/// No evidence is longer.
pub(super) const fn max_length(holders: usize, nonce_keys: usize) -> usize {
    // Two R2, or a complaint; an R1 is shorter than an R2. The version, a kind, and who.
    let opens = 2 * message::open_length(holders);
    let complaint = message::complaint_length(holders, nonce_keys);
    8 + message::FRAME + if opens > complaint { opens } else { complaint }
}

/// What every judgement depends on.
pub(super) struct Court<'a, F> {
    pub(super) terms: &'a KeyTerms,
    pub(super) session: &'a Digest,
    pub(super) key_of: F,
}

impl<F: Fn(PartyId) -> Option<Identity>> Court<'_, F> {
    /// Whether `from` signed what is `seen`, in this session and round.
    #[inline(never)]
    pub(super) fn signed(&self, round: u8, from: PartyId, seen: &Seen) -> Result<(), NotProven> {
        let holder = self.terms.holders.parties().contains(from);
        let key = (self.key_of)(from).filter(|_| holder).ok_or(NotProven::Stranger(from))?;
        match seen.is_signed(&header(self.terms, self.session, round, from, None), &key) {
            true => Ok(()),
            false => Err(NotProven::Signature(from)),
        }
    }

    #[inline(never)]
    fn opened<const N: usize>(
        &self,
        dealer: PartyId,
        open: &SignedOpen<N>,
    ) -> Result<(), NotProven> {
        let seen = Seen { body: open.tree.digest(), signature: open.signature };
        self.signed(2, dealer, &seen)
    }

    /// The verdict on a complaint that `accuser` has signed. An echo that is sound convicts nobody.
    #[inline(never)]
    pub(super) fn complaint<G: Group, const N: usize, C: Contributions>(
        &self,
        group: G,
        accuser: PartyId,
        complaint: &Complaint<N, C>,
    ) -> Verdict {
        let slander = Ok((accuser, Fault::FalseComplaint));
        match complaint {
            Complaint::Echo(echo) if self.echo_is_sound(accuser, echo) => Err(NotProven::NoFault),
            Complaint::Echo(_) => slander,
            Complaint::BadDeal { dealer, open, deal }
                if self.is_authentic(accuser, *dealer, open, deal) =>
            {
                match judge_deal(group, self.terms, *dealer, accuser, open, deal) {
                    Err(fault) => Ok((*dealer, fault)),
                    Ok(()) => slander,
                }
            }
            Complaint::BadDeal { .. } => slander,
        }
    }

    /// Whether the dealer signed both messages that a complaint shows.
    #[inline(never)]
    pub(super) fn is_authentic<const N: usize, C: Contributions>(
        &self,
        accuser: PartyId,
        dealer: PartyId,
        open: &SignedOpen<N>,
        deal: &SignedDeal<N, C>,
    ) -> bool {
        let Some(body) = deal.dealt.digest(self.terms, dealer, accuser) else { return false };
        let seen = Seen { body, signature: deal.signature };
        dealer != accuser
            && self.opened(dealer, open).is_ok()
            && self.signed(3, dealer, &seen).is_ok()
    }

    /// Whether the accuser has the dealers' signatures on all that it claims to have seen.
    #[inline(never)]
    fn echo_is_sound<const N: usize>(&self, accuser: PartyId, echo: &Echo<N>) -> bool {
        let holders = self.terms.holders.parties();
        let signed = |round, dealer, seen: Option<Seen>| {
            seen.is_none_or(|seen| self.signed(round, dealer, &seen).is_ok())
        };
        let sound = |(dealer, views): (PartyId, &Views)| {
            signed(1, dealer, views.commit) && signed(2, dealer, views.open)
        };
        echo.with != accuser
            && holders.contains(echo.with)
            && echo.seen.len() == holders.len()
            && holders.iter().zip(&echo.seen).all(sound)
    }
}

#[inline(never)]
fn judge_deal<G: Group, const N: usize, C: Contributions>(
    group: G,
    terms: &KeyTerms,
    dealer: PartyId,
    accuser: PartyId,
    open: &SignedOpen<N>,
    deal: &SignedDeal<N, C>,
) -> Result<(), Fault> {
    // No honest dealer signs such an R2, whatever followed.
    if open.tree.opening.coefficients.len() != terms.holders.threshold() {
        return Err(Fault::CommitmentLength);
    }
    let promised = check::promised(group, &open.tree, accuser).ok_or(Fault::InvalidPoint)?;
    let fits = |share: &SecretScalar<G>| G::mul_base(share.expose()) == promised;
    check::share(group, &deal.dealt.deal).filter(fits).ok_or(Fault::BadShare)?;
    check::contributions(terms, dealer, &open.tree, accuser, &deal.dealt.deal)
}
