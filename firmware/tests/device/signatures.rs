//! Signatures with a device in the quorum.

use k256::ecdsa::signature::hazmat::PrehashVerifier as _;
use quorate_core::curve::{SchnorrSecp256k1, Secp256k1};
use quorate_core::derive::Derivation;
use quorate_core::device::link::{Event, Refused, Request};
use quorate_core::hash::Digest;
use quorate_core::policy::{self, Kinds};
use quorate_core::request::{Payload, SignedRequest};
use quorate_firmware::message::{self, kind};
use quorate_firmware::platform::Button;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::group::{
    Key, accepted_salt, combine, device_messages, ecdsa_hosts, expect, make_key, propose_signature,
    rejection, schnorr_hosts, start,
};
use super::node::{NETWORK, Node, id};
use super::policies::{
    ETHER, TO, confirm, payment, payments, policy, request, rule, small_payments, transfer,
};
use super::world::{Said, World};

type K = Key<Secp256k1>;

fn treasury() -> (World, K) {
    let mut world = World::joined();
    let key = make_key::<Secp256k1>(&mut world, &payments(), "treasury", 1);
    (world, key)
}

/// Without the rule that asks the person.
fn purse() -> (World, K) {
    let mut world = World::joined();
    let key = make_key::<Secp256k1>(&mut world, &small_payments(), "purse", 1);
    (world, key)
}

fn digest_of(request: &[u8]) -> Digest {
    policy::digest(&SignedRequest::parse(request).unwrap().payload()).unwrap()
}

/// From the accepted salt to a signature that an outside library verifies.
fn finish(world: &mut World, key: &K, session: Digest, request: &[u8]) {
    let salt = accepted_salt(world, &session);
    let digest = digest_of(request);
    let (combiner, hosts) = ecdsa_hosts(key, Derivation::Root, digest, salt);
    start(world, session, salt, &hosts.nonces());
    let messages = device_messages(world);
    let combiner = std::cell::RefCell::new(combiner);
    let signature = combine(
        hosts,
        messages,
        |from, bytes| assert!(combiner.borrow_mut().handle_nonce(from, bytes).unwrap().is_none()),
        |from, bytes| combiner.borrow_mut().handle_share(from, bytes),
    );
    let point = key.public.group_key().unwrap();
    let verifier = k256::ecdsa::VerifyingKey::from_sec1_bytes(&point.0).unwrap();
    let signature = k256::ecdsa::Signature::from_scalars(signature.r, signature.s).unwrap();
    verifier.verify_prehash(&digest, &signature).unwrap();
    assert!(world.events.contains(&Event::Signed(digest)));
}

fn refused(world: &mut World, nonce: u8, request: &[u8]) -> String {
    propose_signature(world, nonce, request);
    rejection(world, kind::REJECT_SIGN)
}

#[test]
fn a_small_payment_is_signed_at_once_and_an_outside_library_verifies_it() {
    let (mut world, key) = treasury();
    let request = payment(1, TO, ETHER / 2, 1);
    let session = propose_signature(&mut world, 1, &request);
    assert!(world.screen().is_empty());
    finish(&mut world, &key, session, &request);
    assert_eq!(world.status().log, (0, 1));
    // The same after a power cut.
    world.reboot();
    let request = payment(1, TO, ETHER / 2, 2);
    let session = propose_signature(&mut world, 2, &request);
    finish(&mut world, &key, session, &request);
    assert_eq!(world.status().log, (0, 2));
}

#[test]
fn a_large_payment_is_shown_in_full_and_signed_when_the_person_agrees() {
    let (mut world, key) = treasury();
    let request = payment(1, TO, 3 * ETHER / 2, 1);
    let session = propose_signature(&mut world, 1, &request);
    let asking: message::Asking = expect(&mut world, kind::ASKING);
    assert_eq!(asking.session, session);
    let screen = world.screen();
    let lines = [
        "SIGN?\nkey treasury\n",
        "\nsend 1.5 ETH\n",
        "\nto 0x7070707070707070707070707070707070707070\n",
        "\nchain 1\n",
        "\nfee at most 0.000042 ETH\n",
        "\nnonce 7\n",
        "\nlabel rent\n",
    ];
    for line in lines {
        assert!(screen.contains(line), "{line} is not in {screen}");
    }
    world.press(Button::Confirm);
    assert!(world.screen().is_empty());
    finish(&mut world, &key, session, &request);
}

#[test]
fn the_person_refuses_or_does_nothing_and_nothing_is_signed() {
    let (mut world, _) = treasury();
    let request = payment(1, TO, 2 * ETHER, 1);
    let session = propose_signature(&mut world, 1, &request);
    // A start before the answer is nothing.
    let salts = super::group::salts([0; 32]);
    let quorum = super::group::quorum();
    world.node(id(1)).send(&message::StartSign { session, quorum, salts });
    world.pump();
    assert!(world.events.contains(&Event::Misbehaved(id(1))));
    world.press(Button::Refuse);
    assert_eq!(rejection(&mut world, kind::REJECT_SIGN), "denied: refused");
    propose_signature(&mut world, 2, &request);
    world.pass(56_000);
    assert_eq!(rejection(&mut world, kind::REJECT_SIGN), "denied: refused");
    assert_eq!(world.status().log, (0, 0));
    // Cancelled by its coordinator, the question is gone.
    let session = propose_signature(&mut world, 3, &request);
    world.node(id(1)).send(&message::CancelSign { session });
    world.pump();
    assert!(world.screen().is_empty());
}

/// Small payments go without the button, until their limit is used up: then the rule with the button is left.
#[test]
fn when_a_rule_without_the_button_is_used_up_the_person_is_asked() {
    let (mut world, key) = treasury();
    for nonce in 1..=10 {
        let request = payment(1, TO, ETHER, nonce);
        let session = propose_signature(&mut world, nonce, &request);
        assert!(world.screen().is_empty());
        finish(&mut world, &key, session, &request);
    }
    let request = payment(1, TO, ETHER, 11);
    let session = propose_signature(&mut world, 11, &request);
    assert!(world.screen().starts_with("SIGN?"), "{}", world.screen());
    world.press(Button::Confirm);
    finish(&mut world, &key, session, &request);
}

#[test]
fn what_the_policy_denies_is_refused_with_the_rule() {
    let only = policy(&[rule("pay", Kinds::PLAIN, &[], &super::policies::to(TO))]);
    let mut world = World::joined();
    make_key::<Secp256k1>(&mut world, &only, "narrow", 1);
    let stranger = payment(1, [9; 20], 1, 1);
    assert_eq!(refused(&mut world, 1, &stranger), "denied: recipient");
    let message = request(1, Payload::EthereumMessage(b"hello"), 1);
    assert_eq!(refused(&mut world, 2, &message), "denied: kind");
    assert_eq!(refused(&mut world, 3, &payment(2, TO, 1, 1)), "UnknownKey");
    let mut forged = payment(1, TO, 1, 1);
    let end = forged.len() - 5;
    forged[end] ^= 1;
    assert!(refused(&mut world, 4, &forged).starts_with("bad: "));
    // A day later it has expired, by the others' clocks.
    world.ticks.pass(86_400_000);
    assert_eq!(refused(&mut world, 5, &payment(1, TO, 1, 1)), "denied: expired");
    assert_eq!(world.status().log, (0, 0));
}

#[test]
fn a_limit_is_counted_by_the_device_itself_and_outlives_a_power_cut() {
    let (mut world, key) = purse();
    for number in 1..=10 {
        let request = payment(1, TO, ETHER, number);
        let session = propose_signature(&mut world, number, &request);
        finish(&mut world, &key, session, &request);
        if number == 5 {
            world.reboot();
        }
    }
    let only_small = payment(1, TO, ETHER, 11);
    // The other rule would need the button, and nobody asks for more than the first that allows.
    assert_eq!(refused(&mut world, 11, &only_small), "denied: window");
    // A request that was counted is not counted again.
    let again = payment(1, TO, ETHER, 3);
    let session = propose_signature(&mut world, 12, &again);
    finish(&mut world, &key, session, &again);
    assert_eq!(world.status().log, (0, 10));
    // An hour later there is room.
    world.ticks.pass(3_000_000);
    assert_eq!(refused(&mut world, 13, &only_small), "denied: window");
}

#[test]
fn two_sessions_run_at_once_and_a_third_is_one_too_many() {
    let (mut world, key) = treasury();
    let [first, second, third] = [1, 2, 3].map(|number| payment(1, TO, ETHER / 4, number));
    let a = propose_signature(&mut world, 1, &first);
    let salt = accepted_salt(&mut world, &a);
    let b = propose_signature(&mut world, 2, &second);
    assert_eq!(refused(&mut world, 3, &third), "Busy");
    // The refusal came after the second acceptance, which is repeated for the same proposal.
    assert_eq!(propose_signature(&mut world, 2, &second), b);
    finish(&mut world, &key, b, &second);
    assert_eq!(propose_signature(&mut world, 1, &first), a);
    assert_eq!(accepted_salt(&mut world, &a), salt);
    assert_eq!(propose_signature(&mut world, 1, &first), a);
    finish(&mut world, &key, a, &first);
    // A session that nobody starts ends by itself.
    propose_signature(&mut world, 4, &first);
    propose_signature(&mut world, 5, &second);
    assert_eq!(refused(&mut world, 6, &third), "Busy");
    world.pass(7_001);
    let session = propose_signature(&mut world, 7, &third);
    accepted_salt(&mut world, &session);
}

#[test]
fn a_bip_340_key_signs_digests_and_an_outside_library_verifies_them() {
    use k256::schnorr::signature::hazmat::PrehashVerifier as _;
    let mut world = World::joined();
    let digests = policy(&[rule("digests", Kinds::DIGEST, &[], &confirm())]);
    let key = make_key::<SchnorrSecp256k1>(&mut world, &digests, "taproot", 3);
    let message = [0xab; 32];
    let request = request(3, Payload::Digest(message), 1);
    let session = propose_signature(&mut world, 1, &request);
    assert!(world.screen().contains(&hex::encode(message)), "{}", world.screen());
    world.press(Button::Confirm);
    let salt = accepted_salt(&mut world, &session);
    let (combiner, hosts) = schnorr_hosts(&key, message, salt);
    start(&mut world, session, salt, &hosts.nonces());
    let messages = device_messages(&mut world);
    let combiner = std::cell::RefCell::new(combiner);
    let signature = combine(
        hosts,
        messages,
        |from, bytes| assert!(combiner.borrow_mut().handle_nonce(from, bytes).unwrap().is_none()),
        |from, bytes| combiner.borrow_mut().handle_share(from, bytes),
    );
    let name = &key.public.group_key().unwrap().0[1..];
    let verifier = k256::schnorr::VerifyingKey::from_bytes(name).unwrap();
    let signature = k256::schnorr::Signature::try_from(&signature.0[..]).unwrap();
    verifier.verify_prehash(&message, &signature).unwrap();
    // A transaction it does not sign.
    let transaction = payment(3, TO, 1, 2);
    assert!(refused(&mut world, 2, &transaction).contains("signs digests"));
}

#[test]
fn a_long_message_is_read_page_by_page_to_its_end() {
    let (mut world, key) = treasury();
    let text: String = (0..250).map(|n| format!("word{n} ")).collect();
    let request = request(1, Payload::EthereumMessage(text.as_bytes()), 1);
    let session = propose_signature(&mut world, 1, &request);
    let mut read = String::new();
    for page in 1.. {
        let screen = world.screen();
        let (words, footer) = screen.rsplit_once("\npage ").unwrap();
        read.push_str(words);
        let (at, of) = footer.split_once('/').unwrap();
        assert_eq!(at.parse::<u32>().unwrap(), page);
        assert!(world.node(id(1)).next(kind::ACCEPT_SIGN).is_none());
        world.press(Button::Confirm);
        if at == of {
            break;
        }
    }
    assert!(read.contains(&text));
    finish(&mut world, &key, session, &request);
}

#[test]
fn a_device_that_was_put_back_is_shown_its_own_head_and_signs_nothing_until_readmitted() {
    let (mut world, key) = treasury();
    let before = world.flash.snapshot();
    let request = payment(1, TO, ETHER, 1);
    let session = propose_signature(&mut world, 1, &request);
    let salt = accepted_salt(&mut world, &session);
    let (_, hosts) = ecdsa_hosts(&key, Derivation::Root, digest_of(&request), salt);
    start(&mut world, session, salt, &hosts.nonces());
    let head: message::Head = expect(&mut world, kind::HEAD);
    // All flash as it was an hour ago; one peer has kept the head.
    world.flash.restore(&before);
    world.node(id(1)).recall = Some(head.head.clone());
    world.reboot();
    assert!(world.status().rolled_back);
    let again = payment(1, TO, ETHER, 2);
    assert!(refused(&mut world, 2, &again).contains("put back"));
    assert_eq!(
        world.ask_person(Request::Readmit, Button::Refuse),
        Said::Refused(Refused::Declined)
    );
    assert!(world.status().rolled_back);
    assert_eq!(world.ask_person(Request::Readmit, Button::Confirm), Said::Done);
    let status = world.status();
    assert!(!status.rolled_back && status.log.0 == 1);
    let announced: message::Head = expect(&mut world, kind::HEAD);
    assert!(announced.head.place() > head.head.place());
    // What the limit had is gone for its window, and the person is asked; other rules are as before.
    propose_signature(&mut world, 3, &again);
    assert!(world.screen().starts_with("SIGN?"), "{}", world.screen());
    world.press(Button::Refuse);
    assert_eq!(rejection(&mut world, kind::REJECT_SIGN), "denied: refused");
    let large = payment(1, TO, 2 * ETHER, 3);
    let session = propose_signature(&mut world, 4, &large);
    world.press(Button::Confirm);
    finish(&mut world, &key, session, &large);
    // After a restart the old head does not stop it again.
    world.reboot();
    assert!(!world.status().rolled_back);
}

#[test]
fn a_head_that_the_device_never_signed_stops_nothing() {
    let (mut world, _) = treasury();
    let node = Node::new(2, 0);
    let session = message::head_session(&NETWORK);
    let certificate = node.certificate(&session);
    let signature = quorate_core::wire::Bytes64([1; 64]);
    let head =
        message::SignedHead { certificate, generation: 9, number: 9, hash: [9; 32], signature };
    world.node(id(2)).recall = Some(head);
    world.unlock();
    assert!(!world.status().rolled_back);
    assert!(world.events.contains(&Event::Misbehaved(id(2))));
}

#[test]
fn nothing_is_signed_before_enough_holders_have_told_what_they_saw() {
    let (mut world, _) = treasury();
    let me = world.me;
    world.hello();
    assert_eq!(world.ask(Request::Unlock { pin: super::world::PIN }), Said::Done);
    world.node(id(1)).received.clear();
    world.node(id(1)).begin(&me);
    world.pump();
    let request = payment(1, TO, 1, 1);
    assert!(refused(&mut world, 1, &request).contains("too few holders"));
    world.node(id(2)).received.clear();
    world.node(id(2)).begin(&me);
    world.pump();
    let session = propose_signature(&mut world, 2, &request);
    accepted_salt(&mut world, &session);
}

#[test]
fn a_peer_that_was_put_back_is_refused_until_its_generation_has_grown() {
    let (mut world, _) = treasury();
    let head = |world: &mut World, generation, number| {
        let node = world.node(id(2));
        let certificate = node.certificate(&message::head_session(&NETWORK));
        let signature = quorate_core::wire::Bytes64([1; 64]);
        let head =
            message::SignedHead { certificate, generation, number, hash: [9; 32], signature };
        node.send(&message::Head { head });
        world.pump();
    };
    let start_is = |world: &mut World, nonce| {
        let request = payment(1, TO, 1, nonce);
        let session = propose_signature(world, nonce, &request);
        let salt = accepted_salt(world, &session);
        let (quorum, salts) = (super::group::quorum(), super::group::salts(salt));
        world.node(id(1)).send(&message::StartSign { session, quorum, salts });
        world.pump();
        world.node(id(1)).next(kind::REJECT_SIGN).is_none()
    };
    head(&mut world, 0, 7);
    assert!(start_is(&mut world, 1));
    // Kept over a power cut: the channel begins with it.
    world.reboot();
    let kept = world.node(id(2)).next(kind::RECALL).unwrap();
    let kept: message::Recall = message::read(&kept).unwrap();
    assert_eq!(kept.head.unwrap().place(), (0, 7));
    head(&mut world, 0, 6);
    assert!(!start_is(&mut world, 2));
    head(&mut world, 0, 8);
    assert!(!start_is(&mut world, 3), "it has not been re-admitted");
    head(&mut world, 1, 0);
    assert!(start_is(&mut world, 4));
}

#[test]
fn a_token_transfer_is_told_in_words_and_other_calls_in_bytes() {
    let (mut world, _) = treasury();
    let mut call = vec![0xa9, 0x05, 0x9c, 0xbb];
    call.extend([0; 12]);
    call.extend([0x42; 20]);
    call.extend([0; 30]);
    call.extend([0x01, 0xf4]);
    let paid = transfer([0x33; 20], 0, &call);
    propose_signature(&mut world, 1, &request(1, Payload::EthereumTransaction(&paid), 1));
    let screen = world.screen();
    let line = "\nTOKEN transfer to 0x4242424242424242424242424242424242424242\nof this contract's units 500\n";
    assert!(screen.contains(line), "{screen}");
    world.press(Button::Refuse);
    call[0] = 0xaa;
    let paid = transfer([0x33; 20], 0, &call[..20]);
    propose_signature(&mut world, 2, &request(1, Payload::EthereumTransaction(&paid), 2));
    let screen = world.screen();
    assert!(screen.contains("\ncalls aa059cbb\nwith 16 bytes: 000000000000000000000000424242"));
}

/// What a malicious holder may say: real messages with bytes changed, cut off or made up.
#[test]
fn messages_of_nonsense_are_dropped_and_the_next_good_one_works() {
    let (mut world, key) = treasury();
    let mut rng = ChaCha20Rng::from_seed([8; 32]);
    let request = payment(1, TO, ETHER / 8, 1);
    let (quorum, salts) = (super::group::quorum(), super::group::salts([4; 32]));
    let mut seeds = vec![vec![], vec![1], vec![2, 5, 0], vec![1, 0x85, 0], vec![1; 2000]];
    let mut buffer = [0; 2560];
    let mut seed = |length: usize, buffer: &[u8]| seeds.push(buffer[..length].to_vec());
    let nonce = [7; 32];
    let propose = message::ProposeSign { nonce, request: &request };
    seed(message::write(&propose, &mut buffer).unwrap(), &buffer);
    let start = message::StartSign { session: [1; 32], quorum, salts };
    seed(message::write(&start, &mut buffer).unwrap(), &buffer);
    let bytes = &[1, 1, 0, 1, 0, 0, 0][..];
    seed(message::write(&message::Dkg { bytes }, &mut buffer).unwrap(), &buffer);
    seed(message::write(&message::Signing { bytes }, &mut buffer).unwrap(), &buffer);
    let confirm = message::Confirm { key: [1; 16], confirmation: bytes, pending: false };
    seed(message::write(&confirm, &mut buffer).unwrap(), &buffer);
    let recall = message::Recall { head: None };
    seed(message::write(&recall, &mut buffer).unwrap(), &buffer);
    for round in 0..3000u32 {
        let mut bytes = seeds[round as usize % seeds.len()].clone();
        for _ in 0..rng.next_u32() % 4 {
            if !bytes.is_empty() {
                let place = rng.next_u32() as usize % bytes.len();
                bytes[place] = rng.next_u32() as u8;
            }
        }
        if rng.next_u32() % 4 == 0 {
            bytes.truncate(rng.next_u32() as usize % (bytes.len() + 1));
        }
        world.node(id(3)).send_bytes(&bytes);
        world.pump();
        world.node(id(3)).received.clear();
    }
    assert_eq!(world.refused, []);
    assert!(world.events.iter().filter(|e| **e == Event::Misbehaved(id(3))).count() > 1000);
    world.pass(8000);
    let request = payment(1, TO, ETHER / 8, 2);
    let session = propose_signature(&mut world, 2, &request);
    finish(&mut world, &key, session, &request);
}

#[test]
fn a_nonce_of_no_session_holds_up_what_follows_it_for_a_second_and_no_longer() {
    let (mut world, key) = treasury();
    let request = payment(1, TO, ETHER / 8, 1);
    let session = propose_signature(&mut world, 1, &request);
    let salt = accepted_salt(&mut world, &session);
    let (_, hosts) = ecdsa_hosts(&key, Derivation::Root, [5; 32], salt);
    // Of another session, which has ended here.
    let stray = hosts.nonces().swap_remove(0).1;
    world.node(id(1)).send(&message::Signing { bytes: &stray });
    let (combiner, hosts) = ecdsa_hosts(&key, Derivation::Root, digest_of(&request), salt);
    drop(combiner);
    let salts = super::group::salts(salt);
    let quorum = super::group::quorum();
    world.node(id(1)).send(&message::StartSign { session, quorum, salts });
    world.pump();
    world.pass(900);
    assert_eq!(world.node(id(1)).frames.len(), 2);
    world.pass(200);
    assert_eq!(world.node(id(1)).frames.len(), 0);
    for (from, bytes) in hosts.nonces() {
        world.node(from).send(&message::Signing { bytes: &bytes });
    }
    world.pump();
    device_messages(&mut world);
}
