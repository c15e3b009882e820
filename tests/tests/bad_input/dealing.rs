//! Party 4's part in a key generation: the core's own, and what a liar makes of it.

use quorate_core::curve::Secp256k1;
use quorate_core::dkg::{Dkg, Early, Output, Peer, SessionSigner as _};
use quorate_core::hash::{Digest, Transcript};
use quorate_core::key::{Confirmation, KeyTerms};
use quorate_core::party::{Holders, PartyId};
use quorate_core::session::Header;
use quorate_core::wire::{self, Bytes64};
use quorate_node::message::{PeerMessage, SessionKeyCertificate};
use quorate_node::service::{MAX_NONCE_KEYS, MAX_PARTIES};
use quorate_tests::simulator::forge::{Deal, Forged, Open, OpenTree, parse};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use sha2::Digest as _;

use crate::evil::{Evil, SessionKey, id};

type Run = Dkg<Secp256k1, MAX_PARTIES, MAX_NONCE_KEYS>;

/// One of the faces that a liar shows: a run, and who gets to see it.
pub struct Face {
    run: Box<Run>,
    early: Early<Vec<u8>, MAX_PARTIES>,
    audience: Vec<u16>,
}

/// A key generation that a node coordinates.
pub struct Generation {
    pub coordinator: u16,
    pub session: Digest,
    pub terms: KeyTerms,
}

impl Generation {
    /// Waits for the next proposal.
    pub fn proposed(evil: &Evil) -> Self {
        evil.wait("a key is proposed", |coordinator, message| match message {
            PeerMessage::ProposeKey { session, terms, .. } => {
                Some(Self { coordinator, session, terms })
            }
            _ => None,
        })
    }

    pub fn accept(&self, evil: &Evil, certificate: SessionKeyCertificate) {
        let accept = PeerMessage::AcceptKey { session: self.session, certificate };
        evil.send(self.coordinator, &accept);
    }

    /// A face with its own randomness.
    pub fn face(
        &self,
        evil: &Evil,
        peers: &[SessionKeyCertificate],
        seed: u64,
        to: &[u16],
    ) -> Face {
        let peers: Vec<Peer> =
            peers.iter().map(|c| Peer { party: c.party, session_key: c.key }).collect();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (terms, session, me) = (self.terms, self.session, id(evil.me));
        let run = Run::new(terms, session, me, &peers, &evil.session_key, &mut rng).unwrap();
        Face { run: Box::new(run), early: Early::default(), audience: to.to_vec() }
    }

    /// Plays the faces until the others have ended it (then `None`) or the first of them has a key,
    /// which it confirms. `twist` rewrites each message: round, receiver, bytes.
    pub fn play(
        &self,
        evil: &Evil,
        seeds: &[(u64, &[u16])],
        mut twist: impl FnMut(u8, u16, Vec<u8>) -> Vec<Vec<u8>>,
        mut ended: impl FnMut() -> bool,
    ) -> Option<PeerMessage> {
        let mut faces: Vec<Face> = Vec::new();
        let mut early = Vec::new();
        loop {
            match evil.poll() {
                Some((_, PeerMessage::StartKey { session, peers })) if session == self.session => {
                    faces = seeds.iter().map(|(s, to)| self.face(evil, &peers, *s, to)).collect();
                }
                Some((from, PeerMessage::Dkg(bytes))) => early.push((from, bytes.to_vec())),
                None if ended() => return None,
                _ => {}
            }
            for face in &mut faces {
                for (from, bytes) in &early {
                    let (run, signer) = (&mut *face.run, &evil.session_key);
                    face.early.handle(run, id(*from), bytes.clone(), signer, |_, _| {});
                }
                if let Some(confirmation) = self.drain(evil, face, &mut twist) {
                    return Some(confirmation);
                }
            }
            if !faces.is_empty() {
                early.clear();
            }
        }
    }

    fn drain(
        &self,
        evil: &Evil,
        face: &mut Face,
        twist: &mut impl FnMut(u8, u16, Vec<u8>) -> Vec<Vec<u8>>,
    ) -> Option<PeerMessage> {
        let mut buffer = vec![0; Run::MAX_MESSAGE];
        while let Some(output) = face.run.poll_output(&evil.session_key, &mut buffer).unwrap() {
            match output {
                Output::Send { to, bytes } => {
                    let round = Header::peek(bytes).unwrap().round;
                    let to = to.map(PartyId::number);
                    for party in face.audience.iter().filter(|p| to.is_none_or(|to| to == **p)) {
                        for bytes in twist(round, *party, bytes.to_vec()) {
                            evil.send(*party, &PeerMessage::Dkg(bytes.into()));
                        }
                    }
                }
                Output::Persist => return Some(self.confirm(evil, face)),
                // The honest end it as well, each by its own evidence.
                Output::Failed(_) => {}
            }
        }
        None
    }

    fn confirm(&self, evil: &Evil, face: &mut Face) -> PeerMessage {
        let (public, record) = face.run.take_key().unwrap();
        let mut confirmation = Confirmation::unsigned(&public, id(evil.me), &record);
        let signature = evil.identity.sign(&confirmation.digest(&public)).unwrap();
        confirmation.signature = Bytes64(signature);
        let mut bytes = Vec::new();
        wire::encode_to(&confirmation, |part| bytes.extend_from_slice(part));
        PeerMessage::Confirm { key: self.terms.key, confirmation: bytes, pending: true }
    }
}

/// The same message with one byte of its body changed, signed again by its sender: `place` counts from
/// the start of the body. R2 is hashed by receiver and R3 in a list, among `holders`.
pub fn resigned(mut bytes: Vec<u8>, place: usize, holders: Holders, key: &SessionKey) -> Vec<u8> {
    let hash =
        |tag: &str, bytes: &[u8]| Transcript::new(tag).bytes(&sha2::Sha256::digest(bytes)).finish();
    let (mut head, mut to_all) = (Vec::new(), Vec::new());
    let header = Header::peek(&bytes).unwrap();
    wire::encode_to(&header, |part| head.extend_from_slice(part));
    wire::encode_to(&Header { to: None, ..header }, |part| to_all.extend_from_slice(part));
    let end = bytes.len() - 64;
    bytes[head.len() + place] ^= 1;
    let body = match header.round {
        2 => {
            let open: Forged<Open> = parse(&bytes);
            OpenTree::of(holders, header.from, &open.body).digest()
        }
        3 => {
            let deal: Forged<Deal> = parse(&bytes);
            deal.body.list_digest(holders, header.from, header.to.unwrap())
        }
        _ => hash("dkg-body", &bytes[head.len()..end]),
    };
    let digest =
        Transcript::new("dkg-msg").bytes(&hash("dkg-header", &to_all)).bytes(&body).finish();
    bytes[end..].copy_from_slice(&key.sign(&digest).0);
    bytes
}
