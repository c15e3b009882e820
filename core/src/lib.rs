//! Quorate's protocol core: threshold keys and signatures as pure state machines. Bytes, ticks and a
//! generator of randomness come in; messages and results come out. No allocator, no I/O, no clock.
//! (The feature `frost` needs an allocator.)
//!
//! From the bottom up:
//! - [`party`], [`secret`], [`hash`], [`curve`], [`wire`]: values that are valid by construction, secrets
//!   that wipe themselves, tagged hashes, the group, and the one way from bytes to values.
//! - [`vss`]: polynomials, commitments, interpolation and the degree check.
//! - [`session`], [`identity`]: what every message carries, and why a session ends.
//! - [`dkg`]: how a key comes to be; [`key`]: what its holders keep, confirm and open; [`mod@derive`]: its
//!   descendants.
//! - [`nonce`]: quorum, salts and nonce points, for every stateless scheme; [`ecdsa`],
//!   [`schnorr`]: one signature.
//! - `frost`, behind the feature of that name: Schnorr signatures by any T of n, with nonces that are
//!   stored and used once.
//! - [`request`], [`policy`]: what a client wants, and whether a party's own rules allow it.
//!
//! Four parties in one thread make a key, and three of them sign with it:
//!
//! ```
//! use ed25519_dalek::{Signer as _, SigningKey};
//! use quorate_core::curve::{EcdsaGroup, Secp256k1 as C, Suite};
//! use quorate_core::dkg::{Dkg, Output, Peer, SessionSigner};
//! use quorate_core::ecdsa::{Combiner, MAX_MESSAGE, SignTerms, Signer};
//! use quorate_core::key::{Confirmation, KeyTerms, OpenedKey, check_certificate};
//! use quorate_core::party::{Holders, PartySet};
//! use quorate_core::{derive::Derivation, hash::Digest, identity::Identity, wire::Bytes64};
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::from_seed([1; 32]); // In earnest: `secret::HedgedRng`.
//! struct Key(SigningKey); // Of one boot; here it stands for the long-term identity key as well.
//! impl SessionSigner for Key {
//!     fn sign(&self, digest: &Digest) -> Bytes64 { Bytes64(self.0.sign(digest).to_bytes()) }
//! }
//! let holders = Holders::new(PartySet::first(4), 2)?;
//! let keys: Vec<Key> = (1..=4).map(|i| Key(SigningKey::from_bytes(&[i; 32]))).collect();
//! let identity = |i: usize| Identity::Ed25519(keys[i].0.verifying_key().to_bytes());
//! let peer = |(i, party)| Peer { party, session_key: identity(i) };
//! let peers: Vec<Peer> = holders.parties().iter().enumerate().map(peer).collect();
//! let (network, key, context) = ([1; 16], [2; 16], [3; 32]);
//! let terms = KeyTerms { suite: Suite::EcdsaSecp256k1, network, key, epoch: 0, holders, context };
//!
//! // Key generation: 4 holders and 3 nonce keys at most.
//! let mut start = |(me, key): (&Peer, &Key)| Dkg::<C, 4, 3>::new(terms, [9; 32], me.party, &peers, key, &mut rng);
//! let mut runs = peers.iter().zip(&keys).map(&mut start).collect::<Result<Vec<_>, _>>()?;
//! let (mut made, mut buffer) = (Vec::new(), [0; Dkg::<C, 4, 3>::MAX_MESSAGE]);
//! while made.len() < 4 {
//!     let mut sent = Vec::new(); // One round of all; in earnest each message goes over a channel.
//!     for (me, run) in runs.iter_mut().enumerate() {
//!         while let Some(output) = run.poll_output(&keys[me], &mut buffer)? {
//!             match output {
//!                 Output::Send { to, bytes } => sent.push((me, to, bytes.to_vec())),
//!                 Output::Persist => made.extend(run.take_key()), // Seal and store it now.
//!                 Output::Failed(abort) => return Err(abort.into()),
//!             }
//!         }
//!     }
//!     for (from, to, bytes) in &sent {
//!         for me in (0..4).filter(|me| me != from && to.is_none_or(|to| to == peers[*me].party)) {
//!             runs[me].handle_message(peers[*from].party, bytes, &keys[me])?;
//!         }
//!     }
//! }
//! // All confirm: the key is active when everybody has everybody's word.
//! let mut words: Vec<Confirmation<4, 3>> = Vec::new();
//! for (i, (public, record)) in made.iter().enumerate() {
//!     let word = Confirmation::unsigned(public, peers[i].party, record);
//!     words.push(Confirmation { signature: keys[i].sign(&word.digest(public)), ..word });
//! }
//! let public = made[0].0.clone();
//! check_certificate(&public, &words, |party| Some(identity(party.number() as usize - 1)))?;
//!
//! // A signature by parties 1, 2 and 4 on a digest that each has computed itself.
//! let quorum: PartySet = peers.iter().map(|peer| peer.party).filter(|p| p.number() != 3).collect();
//! let (coordinator, derivation, digest) = (peers[0].party, Derivation::Root, [7; 32]);
//! let terms = SignTerms { quorum, coordinator, derivation, digest };
//! let salts: Vec<_> = quorum.iter().map(|p| (p, [p.number() as u8; 32])).collect(); // Fresh ones.
//! let mut members = Vec::new();
//! for (word, (public, record)) in words.iter().zip(made).filter(|(w, _)| quorum.contains(w.party)) {
//!     let key = OpenedKey::<C, 4, 3>::open(&public, word.party, record, word)?;
//!     let signer = Signer::<C, 3>::new(&key, terms, &salts, &[word.party.number() as u8; 32])?;
//!     members.push((key, signer));
//! }
//! let (mut combiner, mut buffer) = (Combiner::<C, 3>::new(&public, terms, &salts)?, [0; MAX_MESSAGE]);
//! let (mut nonces, mut signature) = (Vec::new(), None);
//! for (key, signer) in &members {
//!     let nonce = signer.nonce_message(&mut buffer)?.to_vec(); // Count and audit the signature first.
//!     signature = combiner.handle_nonce(key.party(), &nonce)?;
//!     nonces.push((key.party(), nonce));
//! }
//! for (key, signer) in &mut members {
//!     for (from, nonce) in nonces.iter().filter(|(from, _)| *from != key.party()) {
//!         let Some(share) = signer.handle_nonce(key, *from, nonce)? else { continue };
//!         signature = combiner.handle_share(key.party(), share.encode(&mut buffer)?)?;
//!     }
//! }
//! let signature = signature.expect("three shares are a signature");
//! # use quorate_core::curve::Group;
//! let [r, s] = [signature.r, signature.s].map(|bytes| C::scalar_from_bytes(&bytes).unwrap());
//! assert!(C::verify(&public.points::<C>().unwrap()[0], &digest, &r, &s));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a session takes of a 32-bit chip's memory, in bytes (`footprint.rs` pins the numbers; the stack
//! comes besides, and a buffer for one message):
//!
//! | Group | Key generation | Opened key | ECDSA | Schnorr |
//! |---|---|---|---|---|
//! | 2 of 3, S = 3 | 5192 | 592 | 596 | 540 |
//! | 3 of 7, S = 5 | 13316 | 1556 | 664 | 608 |
//! | 4 of 16, S = 7 | 78640 | 30012 | 732 | 676 |
#![no_std]

#[cfg(feature = "frost")]
extern crate alloc;

pub mod curve;
pub mod derive;
pub mod dkg;
pub mod ecdsa;
#[cfg(target_pointer_width = "32")]
mod footprint;
#[cfg(feature = "frost")]
pub mod frost;
pub mod hash;
pub mod identity;
pub mod key;
pub mod nonce;
pub mod party;
pub mod policy;
pub mod request;
pub mod schnorr;
pub mod secret;
pub mod session;
pub mod vss;
pub mod wire;
