//! Key generation (`docs/PROTOCOL.md` §3): commit, open and prove, deal, and then confirm
//! ([`crate::key::Confirmation`]). No broadcast channel is assumed: echoes find who says different
//! things to different parties, and signed messages prove it.

mod complaint;
mod deal;
mod message;
mod rounds;

use heapless::{Deque, Vec};
use rand_core::{CryptoRng, RngCore};

use crate::curve::Group;
use crate::hash::{Digest, Transcript};
use crate::identity::Identity;
use crate::key::{KeyTerms, PublicKey, ShareRecord};
use crate::party::{PartyId, PartySet};
use crate::session::{Abort, Fault, Header, Protocol, Refusal};
use crate::wire::{self, Bytes64, DecodeError, NoRoom};

use deal::Dealing;
use message::{Accusation, Deal, Echo, Open, Signed};

pub use message::Commit;

/// A holder as the others see it in one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub party: PartyId,
    /// Its session key, one per boot, certified by its identity key: the driver has checked that.
    pub session_key: Identity,
}

/// Signs messages with this party's session key.
pub trait SessionSigner {
    /// The signature on `digest`; it must not fail, since the key is in memory.
    fn sign(&self, digest: &Digest) -> Bytes64;
}

/// What the driver must do, in this order. A message does not print: it may carry a share.
#[derive(PartialEq, Eq)]
pub enum Output<'b> {
    /// Send these bytes to one party, or to all other holders.
    Send {
        /// The receiver, or `None` for all.
        to: Option<PartyId>,
        /// The message.
        bytes: &'b [u8],
    },
    /// The key is made: take it with [`Dkg::take_key`], seal and store it as PENDING, durably, and
    /// only then confirm it.
    Persist,
    /// The run failed. Nothing of it may be kept.
    Failed(Abort),
}

impl core::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Send { to, bytes } => write!(f, "Send({to:?}, {} bytes)", bytes.len()),
            Self::Persist => f.write_str("Persist"),
            Self::Failed(abort) => write!(f, "Failed({abort:?})"),
        }
    }
}

/// What is still to be put out.
#[derive(Clone, Copy)]
enum Pending {
    Commit,
    Open,
    Deal(PartyId),
    /// What this party saw of all dealers.
    Echo,
    /// The bad private message of this dealer.
    Accuse(PartyId),
    Persist,
    Failed(Abort),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Waits for R1 of all.
    Commit,
    /// Waits for R2 of all.
    Open,
    /// Waits for R3 of all.
    Deal,
    /// Saw different broadcasts and waits for the proof who sent them.
    Blame,
    /// Made the key, or failed.
    Over,
}

/// Everything that one other party sent, or this party made.
struct Slot<const N: usize, const K: usize> {
    peer: Peer,
    commit: Option<Signed<Commit>>,
    open: Option<Signed<Open<N, K>>>,
    deal: Option<Signed<Deal<K>>>,
    echo: Option<Echo<N>>,
}

/// One party's run of a key generation. N bounds the holders, K the nonce keys of one party.
pub struct Dkg<G: Group, const N: usize, const K: usize> {
    terms: KeyTerms,
    session: Digest,
    me: PartyId,
    slots: Vec<Slot<N, K>, N>,
    own: Dealing<G, N, K>,
    phase: Phase,
    /// sid: binds all R1 messages.
    sid: Digest,
    /// th: binds all R2 messages.
    transcript: Digest,
    /// Who says that it and whom saw different broadcasts.
    dispute: Option<(PartyId, PartyId)>,
    outbox: Deque<Pending, 64>,
    key: Option<(PublicKey<N>, ShareRecord<N, K>)>,
}

/// Why a run cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// This party is not among the holders.
    NotAHolder,
    /// The peers are not exactly the holders, in increasing order.
    Peers,
    /// More holders, or nonce keys, than this build has room for.
    TooLarge,
    /// Another suite's terms.
    Suite,
}

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotAHolder => "this party is not among the holders",
            Self::Peers => "the peers are not exactly the holders",
            Self::TooLarge => "more holders or nonce keys than this build has room for",
            Self::Suite => "the terms are of another suite",
        })
    }
}

impl core::error::Error for StartError {}

impl<G: Group, const N: usize, const K: usize> Dkg<G, N, K> {
    /// No message of this protocol is longer, for any N ≤ 16 and K ≤ 84.
    pub const MAX_MESSAGE: usize = 16 * 1024;

    /// Starts the run named `session`. `peers` are all holders, this party among them, in increasing
    /// order; `rng` is hedged ([`crate::secret::HedgedRng`]).
    ///
    /// # Errors
    /// [`StartError`] says what does not fit.
    pub fn new(
        terms: KeyTerms,
        session: Digest,
        me: PartyId,
        peers: &[Peer],
        signer: &impl SessionSigner,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<Self, StartError> {
        let holders = terms.holders;
        if terms.suite != G::SUITE {
            return Err(StartError::Suite);
        }
        if !holders.parties().contains(me) {
            return Err(StartError::NotAHolder);
        }
        if !holders.parties().iter().eq(peers.iter().map(|peer| peer.party)) {
            return Err(StartError::Peers);
        }
        // The outbox holds one R3 per peer and a few entries besides.
        if holders.count() > N.min(56) || holders.nonce_keys() > K {
            return Err(StartError::TooLarge);
        }
        let slots = peers.iter().map(|peer| Slot {
            peer: *peer,
            commit: None,
            open: None,
            deal: None,
            echo: None,
        });
        let own = Dealing::random(&terms, me, rng).ok_or(StartError::TooLarge)?;
        let mut dkg = Self {
            terms,
            session,
            me,
            slots: slots.collect(),
            own,
            phase: Phase::Commit,
            sid: [0; 32],
            transcript: [0; 32],
            dispute: None,
            outbox: Deque::new(),
            key: None,
        };
        let commit = dkg.own.commit(&dkg.terms.context());
        let signed = Signed::new(dkg.header(1, me, None), commit, signer);
        if let Some(slot) = dkg.slot_mut(me) {
            slot.commit = Some(signed);
        }
        dkg.queue(Pending::Commit);
        Ok(dkg)
    }

    fn header(&self, round: u8, from: PartyId, to: Option<PartyId>) -> Header {
        Header {
            version: wire::VERSION,
            suite: G::SUITE,
            protocol: Protocol::Dkg,
            round,
            session: self.session,
            from,
            to,
        }
    }

    fn slot(&self, party: PartyId) -> Option<&Slot<N, K>> {
        self.slots.iter().find(|slot| slot.peer.party == party)
    }

    fn slot_mut(&mut self, party: PartyId) -> Option<&mut Slot<N, K>> {
        self.slots.iter_mut().find(|slot| slot.peer.party == party)
    }

    fn queue(&mut self, pending: Pending) {
        // 64 places: at most N messages of R3 and one of every other kind in one run.
        let _ = self.outbox.push_back(pending);
    }

    fn fail(&mut self, abort: Abort) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.queue(Pending::Failed(abort));
        }
    }

    /// Takes a message that came on the party channel of `from`.
    ///
    /// # Errors
    /// [`Refusal`] drops the message and changes nothing. Misbehaviour does not show here but as
    /// [`Output::Failed`].
    pub fn handle_message(
        &mut self,
        from: PartyId,
        bytes: &[u8],
        signer: &impl SessionSigner,
    ) -> Result<(), Refusal> {
        if self.phase == Phase::Over {
            return Err(Refusal::Over);
        }
        if bytes.len() > Self::MAX_MESSAGE {
            return Err(DecodeError::TooLong.into());
        }
        let header = Header::peek(bytes)?;
        let private = (header.round == 3).then_some(self.me);
        if header.round > 3 {
            return Err(Refusal::WrongRound(header.round));
        }
        header.check(&self.header(header.round, from, private), from, self.me)?;
        if from == self.me || self.slot(from).is_none() {
            return Err(Refusal::NotAMember(from));
        }
        match header.round {
            1 => self.take(from, bytes, |slot: &mut Slot<N, K>| &mut slot.commit)?,
            2 => self.take(from, bytes, |slot: &mut Slot<N, K>| &mut slot.open)?,
            3 => self.take(from, bytes, |slot: &mut Slot<N, K>| &mut slot.deal)?,
            _ => self.handle_complaint(from, bytes)?,
        }
        self.advance(signer);
        Ok(())
    }

    /// Stores the first message of one round and party; a different second one that is signed too
    /// proves equivocation.
    fn take<B: message::Body>(
        &mut self,
        from: PartyId,
        bytes: &[u8],
        place: impl Fn(&mut Slot<N, K>) -> &mut Option<Signed<B>>,
    ) -> Result<(), Refusal> {
        let Some(slot) = self.slot_mut(from) else { return Err(Refusal::NotAMember(from)) };
        let message: Signed<B> = match wire::decode(bytes) {
            Ok(message) => message,
            // The channel is authenticated: nobody else can have sent this.
            Err(_) => {
                self.fail(Abort::Culprit(from, Fault::Malformed));
                return Ok(());
            }
        };
        if !message.verify(&slot.peer.session_key) {
            return Err(Refusal::Signature(from));
        }
        let place = place(slot);
        match place {
            None => *place = Some(message),
            Some(earlier) if earlier.same(&message) => return Err(Refusal::Duplicate),
            Some(_) => self.fail(Abort::Culprit(from, Fault::Equivocation)),
        }
        Ok(())
    }

    /// The deadline of the phase passed: the run fails and names who was silent.
    pub fn handle_timeout(&mut self) {
        let (round, missing) = self.waiting_for();
        self.fail(match (self.phase, self.dispute) {
            (Phase::Blame, Some((accuser, with))) => Abort::EchoMismatch(accuser, with),
            _ => Abort::Deadline { round, missing },
        });
    }

    /// Ends the run from outside.
    pub fn cancel(&mut self) {
        self.fail(Abort::Cancelled);
    }

    /// The round that the run is in, and the parties whose message of it is missing.
    #[must_use]
    pub fn waiting_for(&self) -> (u8, PartySet) {
        let round = match self.phase {
            Phase::Commit => 1,
            Phase::Open => 2,
            Phase::Deal => 3,
            Phase::Blame | Phase::Over => 0,
        };
        let missing = self.slots.iter().filter(|slot| match self.phase {
            Phase::Commit => slot.commit.is_none(),
            Phase::Open => slot.open.is_none(),
            Phase::Deal => slot.deal.is_none() && slot.peer.party != self.me,
            Phase::Blame | Phase::Over => false,
        });
        (round, missing.map(|slot| slot.peer.party).collect())
    }

    /// The next thing to do; messages are encoded into `buffer`.
    ///
    /// # Errors
    /// [`NoRoom`] if `buffer` is too short ([`Self::MAX_MESSAGE`] is always enough).
    pub fn poll_output<'b>(
        &mut self,
        signer: &impl SessionSigner,
        buffer: &'b mut [u8],
    ) -> Result<Option<Output<'b>>, NoRoom> {
        let Some(next) = self.outbox.pop_front() else { return Ok(None) };
        let own = self.slot(self.me);
        let bytes: &[u8] = match next {
            Pending::Persist => return Ok(Some(Output::Persist)),
            Pending::Failed(abort) => return Ok(Some(Output::Failed(abort))),
            Pending::Commit => {
                wire::encode(&own.and_then(|slot| slot.commit.as_ref()).ok_or(NoRoom)?, buffer)?
            }
            Pending::Open => {
                wire::encode(&own.and_then(|slot| slot.open.as_ref()).ok_or(NoRoom)?, buffer)?
            }
            Pending::Deal(to) => {
                let deal =
                    self.own.deal(&self.terms, self.me, to, &self.transcript).ok_or(NoRoom)?;
                let header = self.header(3, self.me, Some(to));
                let bytes = wire::encode(&Signed::new(header, deal, signer), buffer)?;
                return Ok(Some(Output::Send { to: Some(to), bytes }));
            }
            Pending::Echo => {
                let echo = own.and_then(|slot| slot.echo.as_ref()).ok_or(NoRoom)?;
                self.complain(Accusation::Echo(echo), signer, buffer)?
            }
            Pending::Accuse(dealer) => {
                let slot = self.slot(dealer).ok_or(NoRoom)?;
                let (open, deal) = (slot.open.as_ref(), slot.deal.as_ref());
                let (open, deal) = (open.ok_or(NoRoom)?, deal.ok_or(NoRoom)?);
                self.complain(Accusation::BadDeal { open, deal }, signer, buffer)?
            }
        };
        Ok(Some(Output::Send { to: None, bytes }))
    }

    fn complain<'b>(
        &self,
        accusation: Accusation<'_, N, K>,
        signer: &impl SessionSigner,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], NoRoom> {
        let signed = Signed::new(self.header(0, self.me, None), accusation, signer);
        wire::encode(&signed, buffer).map(|bytes| &*bytes)
    }

    /// The finished key, after [`Output::Persist`]; once. The run itself is large and stays where it
    /// is.
    #[must_use]
    pub fn take_key(&mut self) -> Option<(PublicKey<N>, ShareRecord<N, K>)> {
        self.key.take()
    }

    /// [`Self::take_key`] of a run that has no further use.
    #[must_use]
    pub fn into_key(mut self) -> Option<(PublicKey<N>, ShareRecord<N, K>)> {
        self.take_key()
    }

    /// H("dkg-sid", ctx0, all (j, n_j, com_j)): an equivocation in R1 makes sids differ.
    fn session_binding(&self) -> Digest {
        let start = Transcript::new("dkg-sid").bytes(&self.terms.context()).bytes(&self.session);
        self.slots
            .iter()
            .filter_map(|slot| slot.commit.as_ref().map(|c| (slot.peer.party, &c.body)))
            .fold(start, |t, (j, commit)| t.party(j).bytes(&commit.nonce).bytes(&commit.commitment))
            .finish()
    }

    /// th = H("dkg-th", sid, everything of R2).
    fn opening_binding(&self) -> Digest {
        let start = Transcript::new("dkg-th").bytes(&self.sid);
        self.slots
            .iter()
            .filter_map(|slot| slot.open.as_ref().map(|open| (slot.peer.party, open)))
            .fold(start, |t, (j, open)| t.party(j).bytes(&open.body_digest()))
            .finish()
    }
}
