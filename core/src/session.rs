//! What every session shares: the header of a message, who gets it, and why a session ends.

use serde::{Deserialize, Serialize};

use crate::curve::Suite;
use crate::hash::{Digest, Transcript};
use crate::key::KeyTerms;
use crate::party::{PartyId, PartySet};
use crate::wire::{self, DecodeError, Read, Reader, Write, Writer};

crate::read_fields!(Header { version, suite, protocol, round, session, from, to });
crate::write_fields!(Header { version, suite, protocol, round, session, from, to });

impl Write for Protocol {
    fn write(&self, to: &mut Writer<'_>) {
        to.variant(match self {
            Self::Dkg => 0,
            Self::Ecdsa => 1,
            Self::Schnorr => 2,
            Self::Frost => 3,
        });
    }
}

impl Read<'_> for Protocol {
    fn read(from: &mut Reader<'_>) -> Self {
        match from.variant(4) {
            0 => Self::Dkg,
            1 => Self::Ecdsa,
            2 => Self::Schnorr,
            _ => Self::Frost,
        }
    }
}

/// Which state machine a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Key generation.
    Dkg,
    /// Stateless ECDSA.
    Ecdsa,
    /// Stateless Schnorr.
    Schnorr,
    /// FROST.
    Frost,
}

/// The id of a key generation: bound to its terms and its coordinator.
#[must_use]
pub fn key_session(terms: &KeyTerms, coordinator: PartyId) -> Digest {
    Transcript::new("dkg-session").bytes(&terms.context()).party(coordinator).finish()
}

/// The id of a signing session: bound to the network, its coordinator and the client's request.
#[must_use]
pub fn sign_session(
    network: &[u8; 16],
    coordinator: PartyId,
    nonce: &[u8; 32],
    request: &[u8],
) -> Digest {
    Transcript::new("sign-session")
        .bytes(network)
        .party(coordinator)
        .bytes(nonce)
        .bytes(request)
        .finish()
}

/// The first fields of every message (`docs/PROTOCOL.md` §1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`wire::VERSION`].
    pub version: u8,
    /// The suite of the key.
    pub suite: Suite,
    /// The state machine.
    pub protocol: Protocol,
    /// The round, from 1; 0 is a complaint.
    pub round: u8,
    /// The session.
    pub session: Digest,
    /// The sender; it must be the authenticated peer of the party channel.
    pub from: PartyId,
    /// The only receiver, or `None` for all.
    pub to: Option<PartyId>,
}

impl Header {
    /// Reads the header alone, to route a message; the body is not looked at.
    ///
    /// # Errors
    /// [`DecodeError::Version`] for another version, [`DecodeError::Malformed`] else.
    pub fn peek(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            Some(&wire::VERSION) => {}
            Some(&version) => return Err(DecodeError::Version(version)),
            None => return Err(DecodeError::Malformed),
        }
        let mut from = Reader::new(bytes);
        let header = from.field();
        from.whole().map_err(|_| DecodeError::Malformed)?;
        Ok(header)
    }

    /// Whether this is a message of the expected kind that its authenticated sender `from` may send
    /// to `me`.
    ///
    /// # Errors
    /// [`Refusal`] says what does not match. A mismatch drops the message; it ends nothing.
    pub fn check(&self, expected: &Self, from: PartyId, me: PartyId) -> Result<(), Refusal> {
        if self.version != expected.version {
            return Err(Refusal::Decode(DecodeError::Version(self.version)));
        }
        if self.from != from {
            return Err(Refusal::NotTheSender { claimed: self.from, actual: from });
        }
        if self.to.is_some_and(|to| to != me) {
            return Err(Refusal::NotForMe);
        }
        if self.session != expected.session {
            return Err(Refusal::OtherSession);
        }
        if (self.suite, self.protocol) != (expected.suite, expected.protocol) {
            return Err(Refusal::OtherProtocol);
        }
        if self.round != expected.round || self.to.is_some() != expected.to.is_some() {
            return Err(Refusal::WrongRound(self.round));
        }
        Ok(())
    }
}

/// Why one message was dropped. The session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are no message.
    Decode(DecodeError),
    /// The header names another sender than the channel.
    NotTheSender {
        /// In the header.
        claimed: PartyId,
        /// The channel's peer.
        actual: PartyId,
    },
    /// The message is for another party.
    NotForMe,
    /// The message is of another session.
    OtherSession,
    /// The message is of another protocol or suite.
    OtherProtocol,
    /// No message of this round is expected.
    WrongRound(u8),
    /// The message is of the next round, and this party still waits for messages of its own. Nothing
    /// changed: give it again when the round has come ([`crate::dkg::Early`]).
    Early,
    /// The sender takes no part in this session.
    NotAMember(PartyId),
    /// The session key's signature on the message is wrong.
    Signature(PartyId),
    /// A repetition of a message that is already there.
    Duplicate,
    /// The session is over.
    Over,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::NotTheSender { claimed, actual } => {
                write!(f, "party {actual} sent a message in the name of party {claimed}")
            }
            Self::NotForMe => f.write_str("the message is for another party"),
            Self::OtherSession => f.write_str("the message is of another session"),
            Self::OtherProtocol => f.write_str("the message is of another protocol or suite"),
            Self::WrongRound(round) => write!(f, "no message of round {round} is expected"),
            Self::Early => f.write_str("the message is of the next round"),
            Self::NotAMember(party) => write!(f, "party {party} takes no part in this session"),
            Self::Signature(party) => write!(f, "party {party}'s message is not signed by it"),
            Self::Duplicate => f.write_str("the message is already there"),
            Self::Over => f.write_str("the session is over"),
        }
    }
}

impl core::error::Error for Refusal {}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// What a culprit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two different messages for one round.
    Equivocation,
    /// A body that does not decode, under a right header.
    Malformed,
    /// A commitment vector with other than T points.
    CommitmentLength,
    /// A point that is not on the curve, or the identity where it must not be.
    InvalidPoint,
    /// R2 does not open the commitment of R1.
    CommitmentOpening,
    /// The proof of possession does not hold.
    ProofOfPossession,
    /// The same constant coefficient as another dealer: a rogue or copied key.
    RepeatedKey,
    /// A share that does not lie on the committed polynomial.
    BadShare,
    /// An opening of a secret contribution that does not fit its commitment.
    BadContribution,
    /// A complaint without ground.
    FalseComplaint,
    /// A signature share that fits neither its R_j nor its X_j.
    BadSignatureShare,
    /// A list of nonce commitments that is not exactly one of every member of the quorum.
    CommitmentList,
    /// A nonce commitment of the receiver's own that is not the one it had sent.
    AlteredCommitment,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Equivocation => "sent two different messages for one round",
            Self::Malformed => "sent a malformed message",
            Self::CommitmentLength => "sent a commitment of the wrong length",
            Self::InvalidPoint => "sent an invalid point",
            Self::CommitmentOpening => "does not open its commitment",
            Self::ProofOfPossession => "did not prove possession of its coefficient",
            Self::RepeatedKey => "copied another dealer's coefficient",
            Self::BadShare => "dealt a bad share",
            Self::BadContribution => "opened a contribution that it had not committed to",
            Self::FalseComplaint => "complained without ground",
            Self::BadSignatureShare => "sent a share that does not fit to its nonce and key",
            Self::CommitmentList => "did not list one nonce commitment of every member",
            Self::AlteredCommitment => "altered a nonce commitment",
        })
    }
}

/// Why a session ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// A party is proven to have misbehaved.
    Culprit(PartyId, Fault),
    /// Several parties are proven to have misbehaved in one way, each for itself.
    Culprits(PartySet, Fault),
    /// The first party says that it and the second saw different broadcasts, and no proof came who of
    /// all lied.
    EchoMismatch(PartyId, PartyId),
    /// Members of the quorum work on different inputs: another coordinator's or request's.
    Disagreement(PartyId),
    /// The nonce points lie on no polynomial of degree d: somebody in the quorum lied, unnamed.
    OffPolynomial(PartySet),
    /// The shares make no valid signature: somebody in the quorum lied, unnamed
    /// (`docs/PROTOCOL.md` §6.4).
    InvalidSignature(PartySet),
    /// A value that is 0 with negligible probability; try again.
    Degenerate,
    /// The deadline passed; these parties were silent.
    Deadline {
        /// In this round.
        round: u8,
        /// Whose message is missing.
        missing: PartySet,
    },
    /// A coordinator or operator ended it.
    Cancelled,
    /// This party's own computation gave two results ([`crate::nonce::Guard`]).
    ComputationFault,
}

impl Abort {
    /// The parties that are proven to have misbehaved: nobody who is only suspect, or silent.
    #[must_use]
    pub fn culprits(&self) -> PartySet {
        match self {
            Self::Culprit(party, _) => PartySet::EMPTY.with(*party),
            Self::Culprits(parties, _) => *parties,
            Self::EchoMismatch(..)
            | Self::Disagreement(_)
            | Self::OffPolynomial(_)
            | Self::InvalidSignature(_)
            | Self::Degenerate
            | Self::Deadline { .. }
            | Self::Cancelled
            | Self::ComputationFault => PartySet::EMPTY,
        }
    }
}

impl core::fmt::Display for Abort {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Culprit(party, fault) => write!(f, "party {party} {fault}"),
            Self::Culprits(parties, fault) => write!(f, "each of the parties {parties} {fault}"),
            Self::EchoMismatch(accuser, with) => write!(
                f,
                "party {accuser} says that it and party {with} saw different broadcasts, and nobody proved who lied"
            ),
            Self::Disagreement(party) => write!(f, "party {party} works on different inputs"),
            Self::OffPolynomial(quorum) => {
                write!(f, "the nonces of parties {quorum} do not fit together: one of them lied")
            }
            Self::InvalidSignature(quorum) => {
                write!(f, "the shares of parties {quorum} make no signature: one of them lied")
            }
            Self::Degenerate => f.write_str("a value came out as zero; try again"),
            Self::Deadline { round, missing } => {
                write!(f, "no message of round {round} from parties {missing} before the deadline")
            }
            Self::Cancelled => f.write_str("cancelled"),
            Self::ComputationFault => {
                f.write_str("this party's computation gave two results: check the machine")
            }
        }
    }
}

impl core::error::Error for Abort {}
