//! Quorate's protocol core: threshold keys and signatures as pure state machines. Bytes, ticks and a
//! generator of randomness come in; messages and results come out. No allocator, no I/O, no clock.
//! (The feature `frost` needs an allocator.)
//!
//! From the bottom up:
//! - [`party`], [`secret`], [`hash`], [`curve`], [`wire`]: values that are valid by construction, secrets
//!   that wipe themselves, tagged hashes, the group, and the one way from bytes to values.
//! - [`vss`]: polynomials, commitments, interpolation and the degree check.
//! - [`session`], [`identity`], [`head`]: what every message carries, and why a session ends; who says so; how far a
//!   party's log is.
//! - [`dkg`]: how a key comes to be; [`key`]: what its holders keep, confirm and open; [`mod@derive`]: its
//!   descendants.
//! - [`nonce`]: quorum, salts and nonce points, for every stateless scheme; [`ecdsa`],
//!   [`schnorr`]: one signature.
//! - `frost`, behind the feature of that name: Schnorr signatures by any T of n, with nonces that are
//!   stored and used once.
//! - [`request`], [`policy`]: what a client wants, and whether a party's own rules allow it.
//!
//! Four parties in one thread make a key, of which two shares are the whole, and three of them sign a digest
//! that each has computed itself. (Session keys sign in place of identity keys, and salts would be fresh. A
//! record is sealed and stored before it is confirmed; the policy's counters and the audit record are durable
//! before the nonce is sent.)
//!
//! ```
//! # use std::collections::{BTreeMap, VecDeque};
//! # use quorate_core::curve::{Secp256k1 as C, Suite};
//! # use quorate_core::derive::Derivation;
//! # use quorate_core::dkg::{Dkg, SessionKey, SessionSigner as _};
//! # use quorate_core::ecdsa::{Combiner, MAX_MESSAGE, SignTerms, Signer};
//! # use quorate_core::key::{Confirmation, KeyTerms, OpenedKey, check_certificate};
//! # use quorate_core::party::{Holders, PartySet};
//! # use quorate_core::secret::SecretBytes;
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha20Rng::from_seed([1; 32]); // In earnest: `secret::HedgedRng`.
//! let parties = PartySet::first(4);
//! # let (suite, network, key, context) = (Suite::EcdsaSecp256k1, [1; 16], [2; 16], [3; 32]);
//! let holders = Holders::new(parties, 2)?;
//! let terms = KeyTerms { suite, network, key, epoch: 0, holders, context };
//! let signers = [1, 2, 3, 4].map(|i| SessionKey::new(&SecretBytes::new([i; 32])));
//! let peers: Vec<_> = parties.iter().zip(&signers).map(|(id, key)| key.peer(id)).collect();
//! let (mut runs, mut keys, mut channels) = (Vec::new(), BTreeMap::new(), VecDeque::new());
//! for (id, key) in parties.iter().zip(&signers) {
//!     runs.push((id, key, Dkg::<C, 4, 3>::new(terms, [9; 32], id, &peers, key, &mut rng)?));
//! }
//! loop {
//!     for (me, key, run) in &mut runs {
//!         let send = |to, bytes: &[u8]| channels.push_back((*me, to, bytes.to_vec()));
//!         let made = run.drive(*key, &mut [0; Dkg::<C, 4, 3>::MAX_MESSAGE], send)?;
//!         keys.extend(made.map(|made| (*me, made)));
//!     }
//!     let Some((from, to, bytes)) = channels.pop_front() else { break };
//!     let receives = |me| me != from && to.is_none_or(|to| to == me);
//!     for (_, key, run) in runs.iter_mut().filter(|(me, ..)| receives(*me)) {
//!         run.handle_message(from, &bytes, *key)?;
//!     }
//! }
//! let words = keys.iter().zip(&signers).map(|((me, (public, record)), key)| {
//!     Confirmation::signed(public, *me, record, |digest| key.sign(digest))
//! });
//! let (words, public) = (words.collect::<Vec<_>>(), keys[&peers[0].party].0.clone());
//! check_certificate(&public, &words, |id| Some(signers[parties.position(id)?].identity()))?;
//!
//! let (quorum, coordinator, derivation) = (PartySet::first(3), peers[0].party, Derivation::Root);
//! let terms = SignTerms { quorum, coordinator, derivation, digest: [7; 32] };
//! let salts: Vec<_> = quorum.iter().map(|id| (id, [id.number() as u8; 32])).collect();
//! let mut combiner = Combiner::<C, 3>::new(&public, terms, &salts)?;
//! let (mut members, mut nonces, mut signature) = (Vec::new(), Vec::new(), None);
//! for (((me, (public, record)), word), (_, salt)) in keys.into_iter().zip(&words).zip(&salts) {
//!     let key = OpenedKey::<C, 4, 3>::open(&public, me, record, word)?;
//!     let signer = Signer::<C, 3>::new(&key, terms, &salts, salt)?;
//!     let nonce = signer.nonce_message(&mut [0; MAX_MESSAGE])?.to_vec();
//!     combiner.handle_nonce(me, &nonce)?;
//!     (nonces.push((me, nonce)), members.push((key, signer)));
//! }
//! for (key, signer) in &mut members {
//!     let share = signer.handle_nonces(key, &nonces)?.expect("all others' nonces were there");
//!     signature = combiner.handle_share(key.party(), share.encode(&mut [0; MAX_MESSAGE])?)?;
//! }
//! assert!(signature.is_some(), "and the combiner has verified it");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What a session takes of a 32-bit chip's memory, in bytes (`footprint.rs` pins the numbers; the stack
//! comes besides, and a buffer for one message):
//!
//! | Group | Key generation | Opened key | ECDSA | Schnorr |
//! |---|---|---|---|---|
//! | 2 of 3, S = 3 | 5164 | 624 | 660 | 604 |
//! | 3 of 7, S = 5 | 13444 | 1588 | 728 | 672 |
//! | 4 of 16, S = 7 | 79092 | 30044 | 796 | 740 |
//! | 3 of 7, S = 5, [`curve::AnyGroup`] | 14104 | 1700 | 824 | 768 |
//!
//! The last is for a chip with keys on two curves: it has the code of every protocol once, in that group, and not
//! once for each of [`curve::Secp256k1`], [`curve::SchnorrSecp256k1`] and [`curve::Ed25519`].
#![no_std]

#[cfg(feature = "frost")]
extern crate alloc;

pub mod curve;
pub mod derive;
#[cfg(feature = "device")]
pub mod device;
pub mod division;
pub mod dkg;
pub mod ecdsa;
#[cfg(all(target_pointer_width = "32", not(debug_assertions)))]
mod footprint;
#[cfg(feature = "frost")]
pub mod frost;
pub mod hash;
pub mod head;
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
