//! One test for each thing that whoever relays the frames may do to them.

use ed25519_dalek::{Signer as _, SigningKey};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::*;
use crate::dkg::SessionKey;
use crate::identity::session_key_digest;
use crate::secret::SecretBytes;

const NETWORK: [u8; 16] = [7; 16];

fn id(number: u16) -> PartyId {
    PartyId::new(number).unwrap()
}

/// A party with all that it signs with.
struct Party {
    id: PartyId,
    identity: SigningKey,
    session: SessionKey,
    certificate: SessionKeyCertificate,
}

impl Party {
    fn new(number: u8) -> Self {
        Self::certified_for(number, &NETWORK, &channel_session(&NETWORK))
    }

    fn certified_for(number: u8, network: &[u8; 16], session: &Digest) -> Self {
        let identity = SigningKey::from_bytes(&[number; 32]);
        let key = SessionKey::new(&SecretBytes::new([number + 100; 32]));
        let (party, boot) = (id(number.into()), [number; 16]);
        let digest = session_key_digest(network, party, &boot, &key.identity(), session);
        let signature = Bytes64(identity.sign(&digest).to_bytes());
        let certificate = SessionKeyCertificate { party, boot, key: key.identity(), signature };
        Self { id: party, identity, session: key, certificate }
    }

    fn public(&self) -> Identity {
        Identity::Ed25519(self.identity.verifying_key().to_bytes())
    }

    fn to(&self, peer: &Self) -> Ends {
        Ends { network: NETWORK, me: self.id, peer: peer.id, identity: peer.public() }
    }

    fn greet(&self, pending: Pending) -> (Greeted, heapless::Vec<u8, MAX_GREETING>) {
        let mut buffer = [0; MAX_GREETING];
        let time = 1000 + u64::from(self.id.number());
        let (greeted, frame) =
            pending.greet(&self.certificate, time, &self.session, &mut buffer).unwrap();
        (greeted, heapless::Vec::from_slice(frame).unwrap())
    }
}

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

/// A handshake between the two ends as each sees it: initiator's and responder's side.
fn handshake(a: Ends, b: Ends, seed: u8) -> Result<(Pending, Pending), ChannelError> {
    let (initiator, begin) = Initiator::begin(a, &mut rng(seed))?;
    let (responder, reply) = answer(b, &begin, &mut rng(seed + 1))?;
    Ok((initiator.handle_reply(&reply)?, responder))
}

fn pair() -> (Channel, Channel) {
    let (node, device) = (Party::new(1), Party::new(4));
    let (a, b) = handshake(node.to(&device), device.to(&node), 1).unwrap();
    let ((a, mut hello), (b, mut welcome)) = (node.greet(a), device.greet(b));
    let (a, heard) = a.hear(&mut welcome).unwrap();
    assert_eq!(heard, Heard { boot: [4; 16], time: 1004 });
    let (b, heard) = b.hear(&mut hello).unwrap();
    assert_eq!(heard, Heard { boot: [1; 16], time: 1001 });
    (a, b)
}

type Frame = heapless::Vec<u8, MAX_SEALED>;

fn seal(channel: &mut Channel, text: &[u8]) -> Frame {
    let mut buffer = [0; MAX_SEALED];
    buffer[1..=text.len()].copy_from_slice(text);
    Frame::from_slice(channel.seal(&mut buffer, text.len()).unwrap()).unwrap()
}

fn opens(channel: &mut Channel, frame: &Frame, text: &[u8]) {
    assert_eq!(channel.open(&mut frame.clone()).map(|text| &*text), Ok(text));
}

fn fails(channel: &mut Channel, frame: &Frame, error: ChannelError) {
    assert_eq!(channel.open(&mut frame.clone()).map(|_| ()), Err(error));
    assert!(channel.is_dead());
    assert_eq!(channel.open(&mut frame.clone()).map(|_| ()), Err(ChannelError::Dead));
    assert_eq!(channel.seal(&mut [0; 20], 1).map(|_| ()), Err(ChannelError::Dead));
}

/// The vector of cacophony (as in snow's `tests/vectors/cacophony.txt`).
#[test]
fn the_handshake_and_the_messages_are_those_of_an_outside_vector() {
    let bytes = |hex: &str| {
        let mut out = [0; 80];
        hex::decode_to_slice(hex, &mut out[..hex.len() / 2]).unwrap();
        heapless::Vec::<u8, 80>::from_slice(&out[..hex.len() / 2]).unwrap()
    };
    let new = |initiator, key: &str| {
        let (prologue, key) = (bytes("4a6f686e2047616c74"), Wiped::from_slice(&bytes(key)));
        Handshake::new(noise_nn(), initiator, prologue, None, Some(key), None, None)
    };
    let mut a = new(true, "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a");
    let mut b = new(false, "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b");
    let pass = |from: &mut Handshake, to: &mut Handshake, text: &str, sealed: &str| {
        let (text, sealed) = (bytes(text), bytes(sealed));
        let (mut out, mut back) = ([0; 80], [0; 80]);
        from.write_message(&text, &mut out[..sealed.len()]).unwrap();
        assert_eq!(out[..sealed.len()], sealed);
        to.read_message(&sealed, &mut back[..text.len()]).unwrap();
        assert_eq!(back[..text.len()], text);
    };
    pass(
        &mut a,
        &mut b,
        "4c756477696720766f6e204d69736573",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444c756477696720766f6e204d69736573",
    );
    pass(
        &mut b,
        &mut a,
        "4d757272617920526f746862617264",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843a0ff96bdf86b579ef7dbf94e812a7470b903c20a85a87e3a1fe863264ae547",
    );
    let hash = bytes("9223fec1b892ec9d0dc2fb3bbeb261f170d1ea679f9c44ccf34aa131b4f5d97e");
    assert!(a.get_hash() == hash && b.get_hash() == hash);
    let ends = Party::new(1).to(&Party::new(2));
    let mut a = Pending::new(ends, &a).unwrap().channel;
    let mut b = Pending::new(ends, &b).unwrap().channel;
    let messages = [
        ("462e20412e20486179656b", "eb1a3e3d80c1792b1bb9cb0e1382f8d8322bfb1ca7c4c8517bb686"),
        ("4361726c204d656e676572", "c781b198d2a974eb1da2c7d518c000cf6396de87ca540963c03713"),
        (
            "4a65616e2d426170746973746520536179",
            "c77048eb6919fdfe8fe45842bfc5b8d1ff50d1e20c717453ccdfe6176d805b996d",
        ),
        (
            "457567656e2042f6686d20766f6e2042617765726b",
            "61834d7069dcfb7a1adf8d5ac910f83fa04c73a67789895c6f5f995c5db2ce88e49b124178",
        ),
    ];
    for (text, sealed) in messages {
        let (text, sealed) = (bytes(text), bytes(sealed));
        let frame = seal(&mut a, &text);
        assert_eq!(frame[1..], sealed);
        opens(&mut b, &frame, &text);
        core::mem::swap(&mut a, &mut b);
    }
}

#[test]
fn messages_of_all_lengths_pass_both_ways_and_longer_ones_are_refused() {
    let (mut a, mut b) = pair();
    for length in [0, 1, 63, 64, 1000, MAX_MESSAGE] {
        let text = &[length as u8; MAX_MESSAGE][..length];
        let frame = seal(&mut a, text);
        assert_eq!(frame.len(), length + OVERHEAD);
        opens(&mut b, &frame, text);
        let frame = seal(&mut b, text);
        opens(&mut a, &frame, text);
    }
    let mut long = [0; MAX_SEALED + 1];
    assert_eq!(a.seal(&mut long, MAX_MESSAGE + 1).map(|_| ()), Err(ChannelError::TooLong));
    assert_eq!(a.seal(&mut [0; 30], 14).map(|_| ()), Err(ChannelError::NoRoom));
    let frame = seal(&mut a, b"neither has changed anything");
    opens(&mut b, &frame, b"neither has changed anything");
}

#[test]
fn a_relay_that_alters_a_byte_is_detected() {
    for place in 0..5 + OVERHEAD {
        let (mut a, mut b) = pair();
        let mut frame = seal(&mut a, b"hello");
        frame[place] ^= 1;
        let error = if place == 0 { ChannelError::Frame } else { ChannelError::Sealed };
        fails(&mut b, &frame, error);
    }
    let (mut a, mut b) = pair();
    let mut short = seal(&mut a, b"hello");
    short.pop();
    fails(&mut b, &short, ChannelError::Sealed);
    let (_, mut b) = pair();
    fails(&mut b, &Frame::from_slice(&[kind::SEALED; OVERHEAD - 1]).unwrap(), ChannelError::Frame);
    let (_, mut b) = pair();
    fails(&mut b, &Frame::new(), ChannelError::Frame);
}

#[test]
fn a_relay_that_drops_a_frame_is_detected_at_the_next() {
    let (mut a, mut b) = pair();
    let _dropped = seal(&mut a, b"first");
    let second = seal(&mut a, b"second");
    fails(&mut b, &second, ChannelError::Sealed);
}

#[test]
fn a_relay_that_repeats_a_frame_is_detected() {
    let (mut a, mut b) = pair();
    let frame = seal(&mut a, b"pay");
    opens(&mut b, &frame, b"pay");
    fails(&mut b, &frame, ChannelError::Sealed);
}

#[test]
fn a_frame_that_was_put_back_opens_again_and_no_other_does() {
    let (mut a, mut b) = pair();
    let (first, second) = (seal(&mut a, b"first"), seal(&mut a, b"second"));
    for _ in 0..3 {
        opens(&mut b, &first, b"first");
        b.put_back();
    }
    opens(&mut b, &first, b"first");
    opens(&mut b, &second, b"second");
    b.put_back();
    fails(&mut b, &first, ChannelError::Sealed);
}

#[test]
fn a_relay_that_reorders_frames_is_detected() {
    let (mut a, mut b) = pair();
    let (_first, second) = (seal(&mut a, b"first"), seal(&mut a, b"second"));
    fails(&mut b, &second, ChannelError::Sealed);
}

#[test]
fn a_relay_that_sends_a_frame_back_to_its_sender_is_detected() {
    let (mut a, _) = pair();
    let frame = seal(&mut a, b"mirror");
    fails(&mut a, &frame, ChannelError::Sealed);
    // The greeting too, and in the handshake.
    let (node, device) = (Party::new(1), Party::new(4));
    let (a, _) = handshake(node.to(&device), device.to(&node), 1).unwrap();
    let (a, mut own) = node.greet(a);
    assert_eq!(a.hear(&mut own).map(|_| ()), Err(ChannelError::Sealed));
    let (a, begin) = Initiator::begin(node.to(&device), &mut rng(1)).unwrap();
    assert_eq!(a.handle_reply(&begin).map(|_| ()), Err(ChannelError::Frame));
}

#[test]
fn a_man_in_the_middle_with_keys_of_his_own_cannot_greet() {
    let (node, device) = (Party::new(1), Party::new(4));
    // He has a handshake with each, as the other, and passes the greetings on.
    let (a, left) = handshake(node.to(&device), device.to(&node), 1).unwrap();
    let (right, b) = handshake(node.to(&device), device.to(&node), 3).unwrap();
    let (mut left, mut right) = (left.channel, right.channel);
    let ((a, mut hello), (b, mut welcome)) = (node.greet(a), device.greet(b));
    let (hello, welcome) = (left.open(&mut hello).unwrap(), right.open(&mut welcome).unwrap());
    let (mut hello, mut welcome) = (seal(&mut right, hello), seal(&mut left, welcome));
    assert_eq!(b.hear(&mut hello).map(|_| ()), Err(ChannelError::Signature));
    assert_eq!(a.hear(&mut welcome).map(|_| ()), Err(ChannelError::Signature));
}

#[test]
fn a_man_in_the_middle_with_an_identity_of_his_own_cannot_greet() {
    let (node, device, evil) = (Party::new(1), Party::new(4), Party::new(9));
    // As himself.
    let (a, evils) = handshake(node.to(&device), device.to(&node), 1).unwrap();
    let ((a, _), (_, mut frame)) = (node.greet(a), evil.greet(evils));
    assert_eq!(a.hear(&mut frame).map(|_| ()), Err(ChannelError::Party));
    // With a certificate that he made out in the device's name.
    let (a, evils) = handshake(node.to(&device), device.to(&node), 1).unwrap();
    let forged = {
        let (key, session) = (evil.session.identity(), channel_session(&NETWORK));
        let digest = session_key_digest(&NETWORK, device.id, &[4; 16], &key, &session);
        let signature = Bytes64(evil.identity.sign(&digest).to_bytes());
        SessionKeyCertificate { party: device.id, boot: [4; 16], key, signature }
    };
    let evil = Party { certificate: forged, ..evil };
    let ((a, _), (_, mut frame)) = (node.greet(a), evil.greet(evils));
    assert_eq!(a.hear(&mut frame).map(|_| ()), Err(ChannelError::Certificate));
    // With the device's certificate, which everybody has, and no key for it.
    let (a, evils) = handshake(node.to(&device), device.to(&node), 1).unwrap();
    let evil = Party { certificate: device.certificate, ..evil };
    let ((a, _), (_, mut frame)) = (node.greet(a), evil.greet(evils));
    assert_eq!(a.hear(&mut frame).map(|_| ()), Err(ChannelError::Signature));
}

#[test]
fn the_greeting_of_another_handshake_or_the_other_role_does_not_count() {
    let (node, device) = (Party::new(1), Party::new(4));
    // An insider who knows the keys of two channels, and seals the old greeting into the new one.
    let (mine, old) = handshake(node.to(&device), device.to(&node), 1).unwrap();
    let (_, mut greeting) = device.greet(old);
    let mut mine = mine.channel;
    let greeting = mine.open(&mut greeting).unwrap();
    let (a, evils) = handshake(node.to(&device), device.to(&node), 3).unwrap();
    let (a, _) = node.greet(a);
    let mut frame = seal(&mut { evils.channel }, greeting);
    assert_eq!(a.hear(&mut frame).map(|_| ()), Err(ChannelError::Signature));
    // What a party signs as the initiator, it has not signed as the responder.
    let ends = device.to(&node);
    let [first, second] = [true, false].map(|role| ends.greeting(Side::Me, role, &[1; 32], 5));
    assert_ne!(first, second);
    assert_eq!(first, node.to(&device).greeting(Side::Peer, false, &[1; 32], 5));
}

#[test]
fn a_certificate_for_another_session_or_network_does_not_count() {
    let (node, device) = (Party::new(1), Party::new(4));
    let others = [
        Party::certified_for(4, &NETWORK, &[9; 32]),
        Party::certified_for(4, &[8; 16], &channel_session(&[8; 16])),
    ];
    for other in others {
        let (a, b) = handshake(node.to(&device), device.to(&node), 1).unwrap();
        let ((a, _), (_, mut frame)) = (node.greet(a), other.greet(b));
        assert_eq!(a.hear(&mut frame).map(|_| ()), Err(ChannelError::Certificate));
    }
}

#[test]
fn ends_of_another_network_or_party_have_no_handshake() {
    let (node, device, other) = (Party::new(1), Party::new(4), Party::new(2));
    let wrong = [
        Ends { network: [8; 16], ..device.to(&node) },
        Ends { me: other.id, ..device.to(&node) },
        device.to(&other),
        // Both ends swapped, as when a relay crosses two lines.
        Ends { me: node.id, peer: device.id, ..device.to(&node) },
    ];
    for ends in wrong {
        let refused = handshake(node.to(&device), ends, 1).map(|_| ());
        assert_eq!(refused, Err(ChannelError::Handshake));
    }
}

#[test]
fn handshakes_with_bad_frames_or_points_of_small_order_fail() {
    let (node, device) = (Party::new(1), Party::new(4));
    let begin = |body: &[u8]| {
        let mut frame = [kind::BEGIN; BEGIN_LENGTH];
        frame[1..].copy_from_slice(body);
        answer(device.to(&node), &frame, &mut rng(2)).map(|_| ())
    };
    let mut small = [0; 32];
    assert_eq!(begin(&small), Err(ChannelError::Handshake));
    small[0] = 1;
    assert_eq!(begin(&small), Err(ChannelError::Handshake));
    small[0] = 9;
    assert_eq!(begin(&small), Ok(()));
    for frame in [&[][..], &[0; 32], &[0; 34], &[1; 33], &[3], &[kind::SEALED; 33]] {
        let refused = answer(device.to(&node), frame, &mut rng(2)).map(|_| ());
        assert_eq!(refused, Err(ChannelError::Frame));
    }
    let (a, begin) = Initiator::begin(node.to(&device), &mut rng(1)).unwrap();
    let (_, mut reply) = answer(device.to(&node), &begin, &mut rng(2)).unwrap();
    reply[20] ^= 1;
    assert_eq!(a.handle_reply(&reply).map(|_| ()), Err(ChannelError::Handshake));
}

#[test]
fn what_opens_but_is_no_greeting_makes_no_channel() {
    let (node, device) = (Party::new(1), Party::new(4));
    for text in [&[][..], &[4; 100]] {
        let (a, b) = handshake(node.to(&device), device.to(&node), 1).unwrap();
        let (a, _) = node.greet(a);
        let mut frame = seal(&mut { b.channel }, text);
        assert_eq!(a.hear(&mut frame).map(|_| ()), Err(ChannelError::Greeting));
    }
    let (a, _) = handshake(node.to(&device), device.to(&node), 1).unwrap();
    let (a, _) = node.greet(a);
    assert_eq!(a.hear(&mut { LOST }).map(|_| ()), Err(ChannelError::Frame));
}

#[test]
fn greetings_are_read_as_serde_reads_them() {
    crate::wire::agree!(Greeting);
    crate::wire::written!(Greeting);
}
