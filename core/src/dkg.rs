//! Key generation (`docs/PROTOCOL.md` §3): commit, open and prove, deal, and then confirm
//! ([`crate::key::Confirmation`]). No broadcast channel is assumed: echoes find who says different
//! things to different parties, and signed messages prove it.
//!
//! Every message is checked and folded into the result when it arrives, R2 when that of all is there, and
//! then forgotten but for what may be needed as evidence; so a run takes little more room than the key
//! that it makes.

mod check;
mod complaint;
mod deal;
mod early;
mod evidence;
mod message;
mod rounds;
mod session_key;

use heapless::Vec;
use rand_core::{CryptoRng, RngCore};

use crate::curve::{Group, PointBytes};
use crate::hash::{Digest, Transcript};
use crate::identity::Identity;
use crate::key::{KeyTerms, PublicKey, ShareRecord};
use crate::party::{PartyId, PartySet};
use crate::secret::{SecretBytes, SecretScalar};
use crate::session::{Abort, Fault, Header, Refusal};
use crate::wire::{self, Bytes64, DecodeError, NoRoom};

use deal::Dealing;
use message::{Dealt, Echo, OpenTree, Signed, Told, Views};

pub use early::Early;
pub use evidence::{Evidence, NotProven};
pub use message::{Commit, Complaint, Contributions, Kept, Lent, Seen, SignedOpen};
pub use session_key::SessionKey;

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
    /// The run failed. Nothing of it may be kept but [`Dkg::take_evidence`].
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

/// Why [`Dkg::drive`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveError {
    /// The run failed. Nothing of it may be kept but [`Dkg::take_evidence`].
    Failed(Abort),
    /// The buffer is shorter than [`Dkg::MAX_MESSAGE`].
    NoRoom(NoRoom),
}

impl core::fmt::Display for DriveError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Failed(abort) => abort.fmt(f),
            Self::NoRoom(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DriveError {}

/// What is still to be put out, in the order of the fields.
#[derive(Default)]
struct Outbox {
    commit: bool,
    open: bool,
    /// Who is still to get its R3.
    deals: PartySet,
    /// What this party saw of all dealers.
    echo: bool,
    /// The complaint that is in the evidence.
    accuse: bool,
    persist: bool,
    failed: Option<Abort>,
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

/// What is kept of one holder's messages, this party's own among them.
struct Slot<const N: usize> {
    peer: Peer,
    /// What it signed in R1 and R2, as this party saw it, or as another did that told so first.
    seen: Views,
    commit: Option<Commit>,
    open: Option<OpenTree<N>>,
    deal: Option<Seen>,
    /// Its R3 names another th.
    differs: bool,
    complaint: Option<Seen>,
}

/// One party's run of a key generation. N bounds the holders, K the nonce keys of one party.
///
/// What is of a group stands last, and all else where it stands for every group: a chip with several of them then has
/// the code for it once.
#[repr(C)]
pub struct Dkg<G: Group, const N: usize, const K: usize> {
    terms: KeyTerms,
    session: Digest,
    /// ctx0.
    context: Digest,
    /// th: binds all R2 messages.
    transcript: Digest,
    /// sid, which binds all R1 messages, once they are there.
    sid: Option<Digest>,
    me: PartyId,
    phase: Phase,
    /// x_i is all of it, and x_i·G = X_i.
    complete: bool,
    /// Who says that it and whom saw different broadcasts.
    dispute: Option<(PartyId, PartyId)>,
    outbox: Outbox,
    /// ζ_ij, and what has been added up for each r_A, of the same dealers.
    record: ShareRecord<N, K>,
    /// ΣΦ, encoded, once the key is made: what else its public side has is here anyway.
    made: Option<Vec<PointBytes, N>>,
    evidence: Option<Evidence<N, Kept<K>>>,
    slots: Vec<Slot<N>, N>,
    group: G,
    own: Dealing<G, N>,
    /// Σ f_j(i) of the dealers whose R3 is there.
    share: SecretScalar<G>,
    /// ΣΦ of this party and the dealers whose R2 has been checked.
    sums: Vec<G::Point, N>,
    /// Φ at this party of each slot's dealer: what its share must fit to.
    promised: Vec<G::Point, N>,
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
    /// No message of this protocol is longer.
    pub const MAX_MESSAGE: usize = message::max_length(N, K);
    /// No [`Evidence`] is longer.
    pub const MAX_EVIDENCE: usize = evidence::max_length(N, K);

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
        let mut place = None;
        Self::start(&mut place, terms, session, me, peers, signer, rng)?;
        place.ok_or(StartError::TooLarge)
    }

    /// [`Self::new`] in the place where the run is to stay: it is larger than a chip's stack.
    ///
    /// # Errors
    /// [`StartError`] says what does not fit.
    #[inline(never)]
    pub fn start(
        place: &mut Option<Self>,
        terms: KeyTerms,
        session: Digest,
        me: PartyId,
        peers: &[Peer],
        signer: &impl SessionSigner,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<(), StartError> {
        let holders = terms.holders;
        let group = G::maker(terms.suite).ok_or(StartError::Suite)?;
        if !holders.parties().contains(me) {
            return Err(StartError::NotAHolder);
        }
        if !holders.parties().iter().eq(peers.iter().map(|peer| peer.party)) {
            return Err(StartError::Peers);
        }
        if holders.count() > N || holders.nonce_keys() > K {
            return Err(StartError::TooLarge);
        }
        let mut sums = Vec::new();
        let own = Dealing::random(group, &terms, me, rng, &mut sums).ok_or(StartError::TooLarge)?;
        *place = None;
        Self::put(place, group, terms, session, me, peers, (own, sums))?.say_commit(signer);
        Ok(())
    }

    /// Apart, since what passes through here is large for a chip's stack. Empty lists are not moved.
    #[inline(never)]
    fn put<'p>(
        place: &'p mut Option<Self>,
        group: G,
        terms: KeyTerms,
        session: Digest,
        me: PartyId,
        peers: &[Peer],
        (own, sums): (Dealing<G, N>, Vec<G::Point, N>),
    ) -> Result<&'p mut Self, StartError> {
        let dkg = place.insert(Self {
            terms,
            session,
            me,
            slots: Vec::new(),
            group,
            own,
            phase: Phase::Commit,
            context: terms.context(),
            sid: None,
            transcript: [0; 32],
            sums,
            promised: Vec::new(),
            share: SecretScalar::new(group.zero()),
            complete: false,
            record: empty_record(&terms),
            made: None,
            dispute: None,
            evidence: None,
            outbox: Outbox::default(),
        });
        for peer in peers {
            dkg.slots.push(Slot::new(peer)).map_err(|_| StartError::TooLarge)?;
            dkg.promised.push(group.identity()).map_err(|_| StartError::TooLarge)?;
        }
        Ok(dkg)
    }

    fn header(&self, round: u8, from: PartyId, to: Option<PartyId>) -> Header {
        message::header(&self.terms, &self.session, round, from, to)
    }

    /// The point of a dealer's slot.
    fn promised_mut(&mut self, party: PartyId) -> Option<&mut G::Point> {
        let place = self.slots.iter().position(|slot| slot.peer.party == party)?;
        self.promised.get_mut(place)
    }

    fn slot(&self, party: PartyId) -> Option<&Slot<N>> {
        self.slots.iter().find(|slot| slot.peer.party == party)
    }

    fn slot_mut(&mut self, party: PartyId) -> Option<&mut Slot<N>> {
        self.slots.iter_mut().find(|slot| slot.peer.party == party)
    }

    fn fail(&mut self, abort: Abort) {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.outbox.failed = Some(abort);
        }
    }

    /// Ends the run with a culprit, on this evidence.
    fn convict(&mut self, culprit: PartyId, fault: Fault, evidence: Evidence<N, Kept<K>>) {
        if self.phase != Phase::Over {
            self.evidence = Some(evidence);
            self.fail(Abort::Culprit(culprit, fault));
        }
    }

    /// Takes a message that came on the party channel of `from`.
    ///
    /// # Errors
    /// [`Refusal`] drops the message and changes nothing; [`Refusal::Early`] asks for it again, see
    /// [`Early`]. Misbehaviour does not show here but as [`Output::Failed`].
    #[inline(never)]
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
            1 => self.take_commit(from, bytes)?,
            2 => self.take_open(from, bytes)?,
            3 => self.take_deal(from, bytes, signer)?,
            _ => self.take_complaint(from, bytes)?,
        }
        self.advance(signer);
        Ok(())
    }

    /// The deadline of the phase passed: the run fails and names who was silent.
    pub fn handle_timeout(&mut self) {
        if self.phase == Phase::Open {
            self.check_opens(None);
        }
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

    /// Whether the run takes no more messages.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
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
    #[inline(never)]
    pub fn poll_output<'b>(
        &mut self,
        signer: &impl SessionSigner,
        buffer: &'b mut [u8],
    ) -> Result<Option<Output<'b>>, NoRoom> {
        let outbox = &mut self.outbox;
        let (to, bytes) = if core::mem::take(&mut outbox.commit) {
            (None, self.write_commit(buffer)?)
        } else if core::mem::take(&mut outbox.open) {
            (None, self.write_open(buffer)?)
        } else if let Some(to) = outbox.deals.iter().next() {
            outbox.deals = outbox.deals.without(to);
            (Some(to), self.write_deal(to, buffer)?)
        } else if core::mem::take(&mut outbox.echo) {
            (None, self.write_echo(signer, buffer)?)
        } else if core::mem::take(&mut outbox.accuse) {
            (None, self.write_accusation(buffer)?)
        } else if core::mem::take(&mut outbox.persist) {
            return Ok(Some(Output::Persist));
        } else {
            return Ok(outbox.failed.take().map(Output::Failed));
        };
        Ok(Some(Output::Send { to, bytes }))
    }

    /// Puts out all that is due, in order: `send` gets each message with its receiver (`None`: all other
    /// holders). The finished key comes back when it is made; seal and store it as PENDING, durably, and
    /// only then confirm it. For a driver that needs no more control than this.
    ///
    /// # Errors
    /// [`DriveError`]: the run failed, or `buffer` is too short.
    pub fn drive(
        &mut self,
        signer: &impl SessionSigner,
        buffer: &mut [u8],
        mut send: impl FnMut(Option<PartyId>, &[u8]),
    ) -> Result<Option<(PublicKey<N>, ShareRecord<N, K>)>, DriveError> {
        while let Some(output) = self.poll_output(signer, buffer).map_err(DriveError::NoRoom)? {
            match output {
                Output::Send { to, bytes } => send(to, bytes),
                Output::Persist => return Ok(self.take_key()),
                Output::Failed(abort) => return Err(DriveError::Failed(abort)),
            }
        }
        Ok(None)
    }

    #[inline(never)]
    fn write_commit<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let slot = self.slot(self.me).ok_or(NoRoom)?;
        let signature = slot.seen.commit.ok_or(NoRoom)?.signature;
        let (header, body) = (self.header(1, self.me, None), slot.commit.ok_or(NoRoom)?);
        wire::write(&Signed { header, body, signature }, buffer).map(|bytes| &*bytes)
    }

    #[inline(never)]
    fn write_open<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let slot = self.slot(self.me).ok_or(NoRoom)?;
        let signature = slot.seen.open.ok_or(NoRoom)?.signature;
        let opening = &slot.open.as_ref().ok_or(NoRoom)?.opening;
        let body = self.own.outgoing(&self.terms, opening);
        let header = self.header(2, self.me, None);
        wire::write(&Signed { header, body, signature }, buffer).map(|bytes| &*bytes)
    }

    #[inline(never)]
    fn write_deal<'b>(&self, to: PartyId, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let slot = self.slot(self.me).ok_or(NoRoom)?;
        let signature = slot.deal.ok_or(NoRoom)?.signature;
        let digests = &slot.open.as_ref().ok_or(NoRoom)?.receivers;
        let receivers = self.terms.holders.parties().without(self.me).iter();
        let others = receivers.zip(digests).filter(|(other, _)| *other != to);
        let deal = self.own.deal::<K>(&self.terms, to, &self.transcript);
        let body = Dealt::<N, _> { deal, others: others.map(|(_, digest)| *digest).collect() };
        let header = self.header(3, self.me, Some(to));
        wire::write(&Signed { header, body, signature }, buffer).map(|bytes| &*bytes)
    }

    #[inline(never)]
    fn write_echo<'b>(
        &self,
        signer: &impl SessionSigner,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], NoRoom> {
        let (accuser, with) = self.dispute.ok_or(NoRoom)?;
        let with = if with == self.me { accuser } else { with };
        let seen = self.slots.iter().map(|slot| slot.seen).collect();
        let echo = Told::<N>::Echo(Echo { with, seen });
        let digest = message::body_digest(&echo);
        let signed = Signed::new(self.header(0, self.me, None), &echo, &digest, signer);
        wire::write(&signed, buffer).map(|bytes| &*bytes)
    }

    #[inline(never)]
    fn write_accusation<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], NoRoom> {
        let Some(Evidence::Complaint { complaint, signature, .. }) = &self.evidence else {
            return Err(NoRoom);
        };
        let header = self.header(0, self.me, None);
        let signed = Signed { header, body: complaint, signature: *signature };
        wire::write(&signed, buffer).map(|bytes| &*bytes)
    }

    /// The finished key, after [`Output::Persist`]; once. The run itself is large and stays where it
    /// is; it keeps no copy of the key, and its own secrets until it is dropped.
    #[must_use]
    #[inline(never)]
    pub fn take_key(&mut self) -> Option<(PublicKey<N>, ShareRecord<N, K>)> {
        let (terms, transcript) = (self.terms, self.transcript);
        let public = PublicKey { terms, transcript, commitment: self.made.take()? };
        self.share = SecretScalar::new(self.group.zero());
        let mut taken = empty_record(&self.terms);
        core::mem::swap(&mut taken.share, &mut self.record.share);
        take_all(&mut self.record.pair_seeds, &mut taken.pair_seeds);
        take_all(&mut self.record.nonce_keys, &mut taken.nonce_keys);
        Some((public, taken))
    }

    /// What proves the culprit to others, after [`Output::Failed`]; once. There is none of a party that
    /// was silent, and of a body that did not decode.
    #[must_use]
    pub fn take_evidence(&mut self) -> Option<Evidence<N, Kept<K>>> {
        self.evidence.take()
    }

    /// H("dkg-sid", ctx0, session, all (j, n_j, com_j)): an equivocation in R1 makes sids differ.
    #[inline(never)]
    fn session_binding(&self) -> Digest {
        let start = Transcript::new("dkg-sid").bytes(&self.context).bytes(&self.session);
        let commits =
            self.slots.iter().filter_map(|slot| Some((slot.peer.party, slot.commit.as_ref()?)));
        commits
            .fold(start, |t, (j, commit)| t.party(j).bytes(&commit.nonce).bytes(&commit.commitment))
            .finish()
    }

    /// th = H("dkg-th", sid, everything of R2).
    #[inline(never)]
    fn opening_binding(&self, sid: &Digest) -> Digest {
        let opens = self.slots.iter().filter_map(|slot| Some((slot.peer.party, slot.seen.open?)));
        opens
            .fold(Transcript::new("dkg-th").bytes(sid), |t, (j, open)| t.party(j).bytes(&open.body))
            .finish()
    }
}

impl<const N: usize> Slot<N> {
    #[inline(never)]
    fn new(peer: &Peer) -> Self {
        Self {
            peer: *peer,
            seen: Views::default(),
            commit: None,
            open: None,
            deal: None,
            differs: false,
            complaint: None,
        }
    }
}

fn empty_record<const N: usize, const K: usize>(terms: &KeyTerms) -> ShareRecord<N, K> {
    ShareRecord {
        epoch: terms.epoch,
        share: SecretBytes::default(),
        pair_seeds: Vec::new(),
        nonce_keys: Vec::new(),
    }
}

/// One by one, each wiped where it was: a list that is moved stays behind as it is.
fn take_all<const N: usize>(from: &mut Vec<SecretBytes, N>, to: &mut Vec<SecretBytes, N>) {
    to.extend(from.iter_mut().map(core::mem::take));
    from.clear();
}
