//! A party on a bare Cortex-M: key generation, policy and an ECDSA signature, without an allocator.
//!
//! It shows what a firmware calls, and in which order; it links, so that sizes can be read from it. Its
//! "hardware" is [`Board`]: a firmware puts its radio, flash and generator of random numbers there.
#![no_std]
#![no_main]

use core::hint::black_box;

use cortex_m_rt::entry;
use ed25519_dalek::{Signer as _, SigningKey};
use quorate_core::curve::Secp256k1;
use quorate_core::dkg::{Dkg, Output, Peer, SessionSigner};
use quorate_core::ecdsa::{Guard, MAX_MESSAGE, Salt, SignTerms, Signer};
use quorate_core::hash::Digest;
use quorate_core::identity::Identity;
use quorate_core::key::{
    Confirmation, KeyTerms, OpenedKey, PublicKey, ShareRecord, check_certificate_of,
};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::policy::{Facts, Policy, Trace};
use quorate_core::request::SignedRequest;
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire::{self, Bytes64};

/// Chips serve groups of up to seven, with T = 3.
const HOLDERS: usize = 7;
/// C(6, 2).
const NONCE_KEYS: usize = 15;
/// 2T−1.
const QUORUM: usize = 5;
/// No message of seven holders is longer.
const MESSAGE: usize = 4096;

type Run = Dkg<Secp256k1, HOLDERS, NONCE_KEYS>;
type Key = OpenedKey<Secp256k1, HOLDERS, NONCE_KEYS>;
type Confirmed = Confirmation<HOLDERS, NONCE_KEYS>;

/// What a firmware has around the core. `black_box`: the compiler must not know what comes in, nor that
/// nobody looks at what goes out.
struct Board {
    buffer: [u8; MESSAGE],
}

impl Board {
    /// The next message on the party channel, with its authenticated sender.
    fn receive(&mut self) -> Option<(PartyId, &[u8])> {
        let buffer = black_box(self.buffer.as_slice());
        let (from, message) = buffer.split_first()?;
        Some((PartyId::new(u16::from(*from))?, message))
    }

    fn send(&mut self, to: Option<PartyId>, message: &[u8]) {
        black_box((to, message));
    }

    /// Seals a record and writes it to flash, durably.
    fn store(&mut self, record: &ShareRecord<HOLDERS, NONCE_KEYS>) {
        black_box(record);
    }

    /// The bytes of what was stored, or agreed on, before.
    fn load(&self) -> &[u8] {
        // A slice: of an array the compiler knows the length, and that no short value is as long.
        black_box(self.buffer.as_slice())
    }

    fn random(&mut self) -> [u8; 32] {
        black_box([0; 32])
    }

    fn now(&self) -> u64 {
        black_box(0)
    }
}

struct SessionKey(SigningKey);

impl SessionSigner for SessionKey {
    fn sign(&self, digest: &Digest) -> Bytes64 {
        Bytes64(self.0.sign(digest).to_bytes())
    }
}

/// Why a session came to nothing. A firmware tells its peers more.
struct Failed;

/// All holders' session keys, certified and checked before.
fn peers(holders: PartySet) -> Option<[Peer; HOLDERS]> {
    let mut parties = holders.iter();
    let first = Peer { party: parties.next()?, session_key: Identity::Ed25519(black_box([1; 32])) };
    let mut all = [first; HOLDERS];
    for (peer, party) in all.iter_mut().skip(1).zip(parties) {
        *peer = Peer { party, session_key: Identity::Ed25519(black_box([1; 32])) };
    }
    Some(all)
}

/// Key generation (`docs/PROTOCOL.md` §3): stored before it is confirmed, active with the certificate.
#[inline(never)]
fn generate(
    board: &mut Board,
    me: PartyId,
    signer: &SessionKey,
    hedge: &SecretBytes,
) -> Result<(), Failed> {
    let terms: KeyTerms = wire::decode(board.load()).map_err(|_| Failed)?;
    let session = board.random();
    let mut rng = HedgedRng::new(&board.random(), hedge, &session, board.now());
    let peers = peers(terms.holders.parties()).ok_or(Failed)?;
    let mut run = Run::new(terms, session, me, &peers, signer, &mut rng).map_err(|_| Failed)?;
    let mut out = [0; MESSAGE];
    loop {
        match run.poll_output(signer, &mut out).map_err(|_| Failed)? {
            Some(Output::Send { to, bytes }) => board.send(to, bytes),
            Some(Output::Persist) => break,
            Some(Output::Failed(_)) => return Err(Failed),
            None => match board.receive() {
                // A refused message changes nothing.
                Some((from, message)) => drop(run.handle_message(from, message, signer)),
                None => run.handle_timeout(),
            },
        }
    }
    let (public, record) = run.take_key().ok_or(Failed)?;
    board.store(&record);
    let mut own = Confirmed::unsigned(&public, me, &record);
    own.signature = signer.sign(&own.digest(&public));
    board.send(None, wire::encode(&own, &mut out).map_err(|_| Failed)?);
    let all: [Confirmed; HOLDERS] = wire::decode(board.load()).map_err(|_| Failed)?;
    let identity = |_| Some(Identity::Ed25519(black_box([1; 32])));
    check_certificate_of(&public, &own, &all, identity).map_err(|_| Failed)
}

/// The key, unsealed and checked against the certificate.
#[inline(never)]
fn open(board: &Board, me: PartyId) -> Result<Key, Failed> {
    let public: PublicKey<HOLDERS> = wire::decode(board.load()).map_err(|_| Failed)?;
    let record = wire::decode(board.load()).map_err(|_| Failed)?;
    let own: Confirmed = wire::decode(board.load()).map_err(|_| Failed)?;
    Key::open(&public, me, record, &own).map_err(|_| Failed)
}

/// A client's request, judged by this party's own policy, and this party's part of the signature
/// (`docs/PROTOCOL.md` §6.2). What the policy counts is durable before the nonce point leaves.
#[inline(never)]
fn sign(board: &mut Board, key: &Key) -> Result<(), Failed> {
    let policy = Policy::parse(board.load()).map_err(|_| Failed)?;
    let request = SignedRequest::parse(board.load()).map_err(|_| Failed)?;
    // Of the rules that allow it, the first whose limits have room counts.
    let mut counted = None;
    let mut watch = |step: Trace<'_>| {
        if let (Trace::Allowed(grant), None) = (step, &counted) {
            counted = Some(grant.charges);
        }
    };
    let digest = policy.judge(&request, &Facts::at(board.now()), &mut watch).map_err(|_| Failed)?;
    black_box(counted);
    let quorum: PartySet = wire::decode(board.load()).map_err(|_| Failed)?;
    let derivation = *request.derivation();
    let own = black_box([3; 32]);
    let salts: [(PartyId, Salt); QUORUM] = wire::decode(board.load()).map_err(|_| Failed)?;
    let coordinator = key.party();
    let terms = SignTerms { quorum, coordinator, derivation, digest };
    let mut signer =
        Signer::<Secp256k1, QUORUM>::guarded(key, terms, &salts, &own, Guard::Recompute)
            .map_err(|_| Failed)?;
    let mut out = [0; MAX_MESSAGE];
    board.send(None, signer.nonce_message(&mut out).map_err(|_| Failed)?);
    while let Some((from, message)) = board.receive() {
        if let Ok(Some(share)) = signer.handle_nonce(key, from, message) {
            board.send(Some(coordinator), share.encode(&mut out).map_err(|_| Failed)?);
            return Ok(());
        }
    }
    Err(Failed)
}

#[entry]
fn main() -> ! {
    let mut board = Board { buffer: black_box([0; MESSAGE]) };
    let signer = SessionKey(SigningKey::from_bytes(&board.random()));
    let hedge = SecretBytes::new(board.random());
    loop {
        let Some(me) = PartyId::new(black_box(1)) else { continue };
        let made = generate(&mut board, me, &signer, &hedge);
        let signed = open(&board, me).and_then(|key| sign(&mut board, &key));
        black_box((made.is_ok(), signed.is_ok()));
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The core does not panic on any input; a firmware resets.
    loop {}
}
