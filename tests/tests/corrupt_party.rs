//! One corrupt party that does anything at all, in bad weather: whoever finishes has the same key, the
//! honest are never named by the honest, and no signature is wrong.

#![expect(
    clippy::indexing_slicing,
    reason = "also outside of test functions, a failing test may stop"
)]

use quorate_core::party::PartySet;
use quorate_core::session::{Abort, Fault, Protocol};
use quorate_tests::judge::accepts;
use quorate_tests::simulator::forge::*;
use quorate_tests::simulator::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

/// The signature's length at the end of every message of key generation.
const SIGNATURE: usize = 64;

/// A party that mutates, drops, repeats and replays its messages, and signs what it changed.
struct Corrupt {
    rng: ChaCha20Rng,
    party: u16,
    /// How many of its messages in a thousand it leaves alone.
    tame: u32,
    sent: Vec<Packet>,
    tricks: usize,
}

impl Corrupt {
    fn new(seed: u64, party: u16) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(seed ^ 0xc0_44_07);
        Self { rng, party, tame: 700, sent: Vec::new(), tricks: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound.max(1)
    }

    fn attack(&mut self, packet: Packet) -> Vec<Packet> {
        if packet.from != id(self.party) {
            return vec![packet];
        }
        self.sent.push(packet.clone());
        if self.below(1000) < self.tame as usize {
            return vec![packet];
        }
        self.tricks += 1;
        match self.below(6) {
            0 => Vec::new(),
            1 => vec![self.flipped(packet.clone()), packet],
            2 => {
                let place = self.below(self.sent.len());
                let replayed = Packet { to: packet.to, ..self.sent[place].clone() };
                vec![replayed, packet]
            }
            3 => {
                // What it said to one, to another: signed anew, with the receiver in the header.
                let place = self.below(self.sent.len());
                let old = self.sent[place].clone();
                vec![self.readdressed(old, &packet)]
            }
            4 => {
                let mut short = packet;
                let length = self.below(short.bytes.len());
                short.bytes.truncate(length);
                vec![short]
            }
            _ => vec![self.flipped(packet)],
        }
    }

    /// One bit of the body flipped, signed anew where messages are signed.
    fn flipped(&mut self, mut packet: Packet) -> Packet {
        let Some((protocol, round)) = kind(&packet) else { return packet };
        let header = if round == 3 || protocol == Protocol::Ecdsa && round == 2 { 39 } else { 38 };
        let signature = if protocol == Protocol::Dkg { SIGNATURE } else { 0 };
        let body = header..packet.bytes.len() - signature;
        let place = body.start + self.below(body.len());
        packet.bytes[place] ^= 1 << self.below(8);
        if protocol == Protocol::Dkg { signed_anew(packet, round) } else { packet }
    }

    fn readdressed(&mut self, old: Packet, like: &Packet) -> Packet {
        let (Some(was), Some(now)) = (kind(&old), kind(like)) else { return old };
        let moved = Packet { to: like.to, ..old };
        if was != now || was != (Protocol::Dkg, 3) {
            return moved;
        }
        let mut message: Forged<Deal> = parse(&moved.bytes);
        message.header.to = Some(like.to);
        Packet { bytes: bytes_of(&signed(message.header, message.body)), ..moved }
    }
}

/// The packet signed again, if it still decodes; otherwise as it is.
fn signed_anew(packet: Packet, round: u8) -> Packet {
    fn again<B: Body>(packet: Packet) -> Packet {
        match quorate_core::wire::decode::<Forged<B>>(&packet.bytes) {
            Ok(Forged { header, body, .. }) => {
                Packet { bytes: bytes_of(&signed(header, body)), ..packet }
            }
            Err(_) => packet,
        }
    }
    match round {
        0 => again::<Complaint>(packet),
        1 => again::<Commit>(packet),
        2 => again::<Open>(packet),
        _ => again::<Deal>(packet),
    }
}

/// Bad weather without bit flips: between honest parties the channel is authenticated.
fn weather(seed: u64) -> Weather {
    Weather { drop: (seed as u32 % 4) * 5, duplicate: 100, corrupt: 0, reorder: true }
}

#[test]
fn key_generation_with_one_corrupt_party_gives_one_key_and_never_names_the_honest() {
    let (mut named, mut made, mut aborted, mut tricks) = (0, 0, 0, 0);
    for (n, t, seeds) in [(3u8, 2, 150u64), (4, 2, 150), (5, 3, 80), (7, 3, 25)] {
        for seed in 0..seeds {
            let case = format!("n = {n}, seed {seed}");
            let culprit = 1 + (seed % u64::from(n)) as u16;
            let terms = terms(PartySet::first(n), t, seed).unwrap();
            let mut corrupt = Corrupt::new(seed, culprit);
            let mut network = Network::new(seed, weather(seed));
            let done = generate(&terms, seed, &mut network, &mut |packet| corrupt.attack(packet));
            assert_eq!(done.finished.len() + done.aborted.len(), usize::from(n), "{case}");
            let mut honest = done.finished.iter().filter(|(me, _)| **me != id(culprit));
            if let Some((_, first)) = honest.next() {
                assert!(honest.all(|(_, other)| other.public == first.public), "{case}: two keys");
            }
            for (me, abort) in done.aborted.iter().filter(|(me, _)| **me != id(culprit)) {
                if let Abort::Culprit(party, _) = abort {
                    assert_eq!(*party, id(culprit), "{case}: party {me} says that {abort}");
                    named += 1;
                }
                aborted += 1;
            }
            made += done.finished.len();
            tricks += corrupt.tricks;
        }
    }
    assert!(named > 100 && made > 100 && aborted > named, "{named} {made} {aborted} {tricks}");
}

#[test]
fn signing_with_one_corrupt_party_gives_no_wrong_signature_and_never_names_the_honest() {
    let (mut signed, mut named) = (0, 0);
    for (n, t) in [(3u8, 2u8), (4, 2), (5, 3), (7, 3)] {
        let group = group(n, t, 3);
        let key = group[&id(1)].public.group_key().unwrap().0;
        let quorum = PartySet::first(2 * t - 1);
        for seed in 0..200 {
            let case = format!("n = {n}, seed {seed}");
            let culprit = 1 + (seed % (2 * u64::from(t) - 1)) as u16;
            let mut corrupt = Corrupt::new(seed, culprit);
            corrupt.tame = 850;
            let mut network = Network::new(seed, weather(seed));
            let mut attack = |packet| corrupt.attack(packet);
            let done = sign(&group, quorum, [7; 32], seed, &mut network, &mut attack);
            if let Some(signature) = &done.signature {
                accepts(&key, [7; 32], signature).unwrap_or_else(|error| panic!("{case}: {error}"));
                signed += 1;
            }
            for (me, abort) in done.aborted.iter().filter(|(me, _)| **me != id(culprit)) {
                if let Abort::Culprit(party, _) = abort {
                    assert_eq!(*party, id(culprit), "{case}: party {me} says that {abort}");
                    named += 1;
                }
            }
        }
    }
    assert!(signed > 50 && named > 50, "{signed} signed, {named} named");
}

#[test]
fn the_corrupt_party_of_this_file_really_signs_its_changes() {
    // The control: most flipped R2 are refused for what they say, not for form or signature.
    let mut judged = 0;
    for seed in 0..40 {
        let mut corrupt = Corrupt::new(seed, 2);
        let terms = terms(PartySet::first(3), 2, 1).unwrap();
        let mut network = Network::new(1, Weather::default());
        let done = generate(&terms, 1, &mut network, &mut |packet| match packet.from == id(2)
            && kind(&packet) == Some((Protocol::Dkg, 2))
        {
            true => vec![corrupt.flipped(packet)],
            false => vec![packet],
        });
        for me in [1, 3] {
            judged += match done.aborted.get(&id(me)) {
                Some(Abort::Culprit(party, fault)) if *party == id(2) => {
                    usize::from(*fault != Fault::Malformed)
                }
                _ => 0,
            };
        }
    }
    assert!(judged > 40, "{judged} of 80");
}
