//! Heads of audit logs that the identity key signs, in simulated nodes: how often, and what an HSM that is
//! silent does to them.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use quorate_core::dkg::{SessionKey, SessionSigner as _};
use quorate_core::hash::Transcript;
use quorate_core::identity::session_key_digest;
use quorate_core::secret::SecretBytes;
use quorate_core::wire::Bytes64;
use quorate_node::audit::{
    Countersignature, Countersigned, CountersignedForm, EntryForm, ExportLine, HeadForm,
    IdentityHead, Whose,
};
use quorate_node::handle::{KeyInfo, SignedHeadInfo};
use quorate_node::identity::IdentityKey;
use quorate_node::message::{PeerMessage, SessionKeyCertificate, head_session};
use quorate_node::service::SIGN_HEAD_EVERY;
use quorate_tests::chain::audit_export;
use quorate_tests::nodes::{Answer, HsmWeather, World, transfer};
use quorate_tests::simulator::id;
use tokio::sync::oneshot::error::TryRecvError;

/// Parties 1 to 3, which must all sign, and a key.
fn world(seed: u64) -> (World, KeyInfo) {
    let mut world = World::new(4, seed, false);
    let key = world.create("k", 1000);
    world.crash(4);
    (world, key)
}

fn sign(world: &mut World, key: &KeyInfo, number: u64) {
    let request = transfer(world, key, number);
    let answer = world.start_sign(1, request);
    match world.await_answer(answer, |_| {}) {
        Answer::Done(signed) => assert_eq!(signed.unwrap().signers, [1, 2, 3]),
        Answer::Died => panic!("nobody crashes here"),
    }
}

/// So long that the next head may be signed, while the share stays open.
fn a_minute_with_signatures(world: &mut World, key: &KeyInfo, first: u64) {
    for number in first..first + 4 {
        world.wait(16);
        sign(world, key, number);
    }
}

fn signed(world: &mut World, party: u16) -> Option<SignedHeadInfo> {
    world.status(party).signed_head
}

#[test]
fn a_head_is_signed_once_a_minute_if_it_changed_and_survives() {
    let (mut world, key) = world(1);
    world.wait(1);
    assert_eq!(signed(&mut world, 2), None, "of an empty log");
    let mut times = Vec::new();
    // A signature every ten seconds, for five minutes.
    for number in 0..30 {
        sign(&mut world, &key, number);
        for _ in 0..10 {
            world.wait(1);
            let head = signed(&mut world, 2).unwrap();
            assert!(head.number <= world.status(2).audit_entries);
            if times.last() != Some(&head.time) {
                times.push(head.time);
            }
        }
    }
    let minute = SIGN_HEAD_EVERY.as_secs();
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Whole seconds: a gap may look shorter by one.
    assert!(gaps.iter().all(|gap| (minute - 1..minute + 12).contains(gap)), "{gaps:?}");
    assert!((5..=6).contains(&times.len()), "{times:?}");
    // Soon after the last change all is signed, and then nothing more.
    world.wait(61);
    let last = signed(&mut world, 2).unwrap();
    assert_eq!(last.number, world.status(2).audit_entries);
    world.wait(200);
    assert_eq!(signed(&mut world, 2), Some(last.clone()));
    world.check();
    assert_eq!(signed(&mut world, 2), Some(last));
}

#[test]
fn a_silent_hsm_delays_heads_and_stops_nothing() {
    let (mut world, key) = world(2);
    sign(&mut world, &key, 0);
    world.wait(1);
    let before = signed(&mut world, 2).unwrap();
    // The share is open.
    world.set_hsm(2, HsmWeather::Held);
    for number in 1..31 {
        sign(&mut world, &key, number);
        world.wait(10);
        assert!(world.hsm_calls(2) <= 1, "the HSM is asked for one head, and not again");
        assert_eq!(signed(&mut world, 2), Some(before.clone()));
    }
    let calls = world.status(2).hsm_calls;
    assert!(calls.silent_seconds.unwrap() >= 200 && calls.overdue == 1, "{calls:?}");
    // It answers after all: that head is kept, and the next one is asked for in its time.
    assert!(world.answer_hsm(2, 0, 2));
    let late = signed(&mut world, 2).unwrap();
    assert!(late.number > before.number && late.number < world.status(2).audit_entries);
    world.set_hsm(2, HsmWeather::AtOnce);
    world.wait(61);
    assert_eq!(signed(&mut world, 2).unwrap().number, world.status(2).audit_entries);
    world.check();
}

#[test]
fn the_last_head_is_signed_at_the_end_if_the_hsm_answers() {
    let (mut world, key) = world(3);
    // Nothing happened yet, so there is nothing to wait for.
    assert_eq!(world.stop(3).try_recv(), Err(TryRecvError::Closed));
    sign(&mut world, &key, 0);
    world.wait(1);
    sign(&mut world, &key, 1);
    world.wait(1);
    for party in [1, 2] {
        assert!(signed(&mut world, party).unwrap().number < world.status(party).audit_entries);
    }
    assert_eq!(world.stop(1).try_recv(), Err(TryRecvError::Closed));
    assert_eq!(signed(&mut world, 1).unwrap().number, world.status(1).audit_entries);

    world.set_hsm(2, HsmWeather::Held);
    let mut finished = world.stop(2);
    assert_eq!(finished.try_recv(), Err(TryRecvError::Empty));
    assert!(world.answer_hsm(2, 0, 1));
    assert_eq!(finished.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(signed(&mut world, 2).unwrap().number, world.status(2).audit_entries);
    let heads = [1, 2].map(|party| signed(&mut world, party));
    world.check();
    assert_eq!([1, 2].map(|party| signed(&mut world, party)), heads);
}

/// An end does not wait for an HSM that is known to be silent.
#[test]
fn the_end_waits_for_no_hsm_that_is_silent() {
    let (mut world, key) = world(4);
    sign(&mut world, &key, 0);
    a_minute_with_signatures(&mut world, &key, 1);
    world.wait(1);
    world.set_hsm(2, HsmWeather::Held);
    a_minute_with_signatures(&mut world, &key, 10);
    world.wait(4);
    assert_eq!(world.hsm_calls(2), 1);
    assert_eq!(world.stop(2).try_recv(), Err(TryRecvError::Closed));
}

fn countersigned_by(world: &mut World, party: u16) -> Vec<u16> {
    world.status(party).countersigned_by
}

#[test]
fn peers_countersign_each_head_and_who_was_away_does_later() {
    let (mut world, key) = world(5);
    sign(&mut world, &key, 0);
    world.wait(2);
    assert_eq!(countersigned_by(&mut world, 2), [1, 3]);
    world.boot(4);
    world.wait(2);
    assert_eq!(countersigned_by(&mut world, 2), [1, 3, 4]);
    // The next head begins anew, and what is stored survives.
    world.crash(4);
    a_minute_with_signatures(&mut world, &key, 1);
    world.wait(2);
    world.boot(4);
    // Until all is signed.
    world.wait(68);
    let head = signed(&mut world, 2).unwrap();
    assert_eq!(countersigned_by(&mut world, 2), [1, 3, 4]);
    // Also checks the logs against it.
    world.check();
    assert_eq!(signed(&mut world, 2), Some(head));
    assert_eq!(countersigned_by(&mut world, 2), [1, 3, 4]);
}

/// Who holds a party's identity key signs two logs, and shows each peer what it likes.
#[test]
fn of_two_heads_for_one_entry_a_peer_countersigns_the_first_alone() {
    let (mut world, key) = world(6);
    sign(&mut world, &key, 0);
    world.wait(2);
    let info = signed(&mut world, 2).unwrap();
    let refused = |world: &mut World| {
        let status = world.status(1);
        let seen = status.peers.into_iter().find(|peer| peer.party == 2).unwrap();
        seen.last_refusal
    };
    assert_eq!(refused(&mut world), None);
    // Every party's key is known in these worlds.
    let (owner, identity) = (id(2), IdentityKey::from_secret(&[2; 32]));
    let mut head = IdentityHead {
        generation: info.generation,
        number: info.number,
        hash: [0x55; 32],
        time: info.time,
        signature: Bytes64([0; 64]),
    };
    world.sleep(6);
    world.say(2, 1, &PeerMessage::Witness(Box::new(head.clone())));
    world.wait(1);
    assert!(refused(&mut world).unwrap().contains("did not sign"));
    head.signature = Bytes64(identity.sign(&head.digest(&world.network(), owner)).unwrap());
    for restart in [false, true] {
        if restart {
            world.crash(1);
            world.boot(1);
        }
        world.wait(6);
        world.say(2, 1, &PeerMessage::Witness(Box::new(head.clone())));
        world.wait(1);
        assert!(refused(&mut world).unwrap().contains("two heads"), "restarted: {restart}");
    }
    assert!(countersigned_by(&mut world, 2).contains(&3));
    world.check();
}

/// An export of one entry whose head and countersignature are by keys that sign by BIP-340, as a device's do.
fn export_of_devices() -> (Vec<ExportLine>, Whose) {
    let [owner, witness, session] =
        [1, 2, 3].map(|secret| SessionKey::new(&SecretBytes::new([secret; 32])));
    let whose = Whose { network: [7; 16], party: id(1), identity: owner.identity().into() };
    let (record, previous) = (r#"{"event":"started"}"#, [0; 32]);
    let hash = Transcript::new("audit").bytes(&previous).u64(1).bytes(record.as_bytes()).finish();
    let entry = EntryForm {
        number: 1,
        previous: hex::encode(previous),
        hash: hex::encode(hash),
        record: Some(record.into()),
        record_hex: None,
    };
    let mut head =
        IdentityHead { generation: 0, number: 1, hash, time: 1000, signature: Bytes64([0; 64]) };
    head.signature = owner.sign(&head.digest(&whose.network, whose.party));
    let (party, boot, key) = (id(2), [9; 16], session.identity());
    let certified =
        session_key_digest(&whose.network, party, &boot, &key, &head_session(&whose.network));
    let certificate =
        SessionKeyCertificate { party, boot, key, signature: witness.sign(&certified) };
    let mut given = Countersignature {
        head: head.clone(),
        time: 1001,
        certificate,
        signature: Bytes64([0; 64]),
    };
    given.signature = session.sign(&given.digest(&whose.network, whose.party));
    assert!(given.is_genuine(&whose, &witness.identity()));
    let given = Countersigned { given, identity: witness.identity().into() };
    let end = ExportLine::End {
        signed_head: Some(Box::new(HeadForm::new(&head, &whose))),
        countersigned: vec![CountersignedForm::new(&given, &whose)],
    };
    (vec![ExportLine::Entry(entry), end], whose)
}

#[test]
fn an_auditor_checks_heads_that_devices_signed() {
    let (lines, whose) = export_of_devices();
    let folder = tempfile::tempdir().unwrap();
    let audit = |name: &str, change: &dyn Fn(&mut HeadForm, &mut CountersignedForm)| {
        let mut lines = lines.clone();
        if let Some(ExportLine::End { signed_head: Some(head), countersigned }) = lines.last_mut() {
            change(head, &mut countersigned[0]);
        }
        let lines: Vec<String> =
            lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        let file = folder.path().join(name);
        std::fs::write(&file, lines.join("\n") + "\n").unwrap();
        audit_export(&file, &whose.identity.to_string())
    };
    let right = audit("right", &|_, _| ()).unwrap();
    assert_eq!(right["countersigned"][0]["party"], 2, "{right}");
    let flip = |digits: &mut String| {
        let other = if digits.starts_with('0') { "1" } else { "0" };
        digits.replace_range(..1, other);
    };
    let wrong = |name: &str, change: &dyn Fn(&mut HeadForm, &mut CountersignedForm), why: &str| {
        let said = audit(name, change).unwrap_err();
        assert!(said.contains(why), "{name}: {said}");
    };
    wrong("head", &|head, _| flip(&mut head.signature), "the head is not signed");
    wrong("seen", &|_, one| flip(&mut one.head.signature), "head that party 2 saw is not signed");
    wrong("certificate", &|_, one| flip(&mut one.certificate), "a session key is not certified");
    wrong("signature", &|_, one| flip(&mut one.signature), "a countersignature is wrong");
    wrong("time", &|_, one| one.time += 1, "a countersignature is wrong");
    wrong("witness", &|_, one| one.identity = whose.identity, "a session key is not certified");
}
