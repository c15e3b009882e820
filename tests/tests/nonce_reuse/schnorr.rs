//! The same for Schnorr, where two answers under one k_i are the share itself.

use std::collections::BTreeMap;

use quorate_core::curve::{Ed25519, Fixed, SchnorrGroup, SchnorrSecp256k1};
use quorate_core::hash::{Digest, Transcript};
use quorate_core::party::PartySet;
use quorate_core::schnorr::{Tweak, verification_key};
use quorate_core::session::Protocol;
use quorate_tests::nonce_checker::{About, NonceChecker, Report};
use quorate_tests::simulator::forge::{Nonce, Response, bytes_of, changed, kind, parse};
use quorate_tests::simulator::schnorr::{Terms, sign, terms_of};
use quorate_tests::simulator::*;

use super::set;

#[derive(Default)]
struct Record {
    checker: NonceChecker,
    about: BTreeMap<Digest, About>,
    sent: Vec<Packet>,
    signed: usize,
}

impl Record {
    /// One session; the salts are those of a generator that is stuck.
    fn session<G: SchnorrGroup + Fixed>(
        &mut self,
        group: &Group<G>,
        name: u64,
        terms: Terms,
        adversary: &mut Adversary<'_>,
    ) {
        let key = group[&id(1)].public.group_key().unwrap();
        let key = verification_key::<G>(key, &terms.tweak).unwrap().to_vec();
        let message = Transcript::new("about").bytes(&terms.message).finish();
        self.about.insert(session_of(name), (key, message));
        let salts = terms.quorum.iter().map(|party| (party, [0; 32])).collect();
        let mut network = Network::new(name, Weather { reorder: true, ..Weather::default() });
        let done = sign::<G>(group, &(terms, salts), &mut network, adversary);
        self.signed += usize::from(done.signature.is_some());
        for packet in &network.sent {
            self.checker.record(session_of(name), packet.from, &packet.bytes);
        }
        self.sent.append(&mut network.sent);
    }

    fn report(&self) -> Report {
        self.checker.report(|session| self.about.get(session).cloned())
    }
}

fn terms(quorum: &[u16], message: &[u8], tweak: Tweak) -> Terms {
    terms_of(set(quorum), message, tweak, 0).0
}

fn repeated<G: SchnorrGroup + Fixed>(tweaks: &[Tweak]) {
    let mut record = Record::default();
    let mut name = 0;
    for seed in [1, 2] {
        let group = group_on::<G>(PartySet::first(4), 2, seed);
        for message in [&b"one"[..], b"another"] {
            for quorum in [&[1u16, 2, 4][..], &[1, 2, 3], &[2, 3, 4]] {
                for (tweak, coordinator) in tweaks.iter().flat_map(|t| [(t, 2), (t, quorum[2])]) {
                    name += 1;
                    let mut terms = terms(quorum, message, *tweak);
                    terms.coordinator = id(coordinator);
                    record.session::<G>(&group, name, terms, &mut |packet| vec![packet]);
                }
            }
        }
    }
    let report = record.report();
    assert!(report.reuses.is_empty(), "{:?}", report.reuses);
    assert!(report.unexplained.is_empty());
    // One nonce for each key, message, quorum, tweak and member; the coordinator is no part of it.
    let points = 2 * 2 * 3 * tweaks.len() * 3;
    assert_eq!((report.points, report.repeated), (points, points));
    assert_eq!((record.signed, report.shares), (2 * points / 3, 2 * points));
}

#[test]
fn the_same_request_again_with_another_quorum_coordinator_and_tweak_and_a_dead_generator() {
    let root = |byte| Tweak::Taproot { merkle_root: Some([byte; 32]) };
    repeated::<SchnorrSecp256k1>(&[
        Tweak::None,
        Tweak::Taproot { merkle_root: None },
        root(1),
        root(2),
    ]);
    repeated::<Ed25519>(&[Tweak::None]);
}

#[test]
fn the_checker_finds_a_schnorr_nonce_under_two_messages_and_under_two_lists() {
    type G = Ed25519;
    const NONCE: (Protocol, u8) = (Protocol::Schnorr, 1);
    let group = group_on::<G>(PartySet::first(4), 2, 1);
    let mut record = Record::default();
    record.session::<G>(&group, 1, terms(&[1, 2, 4], b"one", Tweak::None), &mut |p| vec![p]);
    assert!(record.report().reuses.is_empty());
    let of_2 = |record: &Record, what| {
        let found = record.sent.iter().find(|p| p.from == id(2) && kind(p) == Some(what));
        found.unwrap().bytes.clone()
    };
    let old: Nonce = parse(&of_2(&record, NONCE));
    // A share under the same R_2 for another R.
    let mut share: Response = parse(&of_2(&record, (Protocol::Schnorr, 2)));
    share.response[31] ^= 1;
    let mut lists = Record { about: record.about.clone(), ..Record::default() };
    for packet in &record.sent {
        lists.checker.record(session_of(1), packet.from, &packet.bytes);
    }
    lists.checker.record(session_of(1), id(2), &bytes_of(&share));
    let reuses = lists.report().reuses;
    assert_eq!((reuses.len(), reuses[0].party), (1, id(2)));
    // The same R_2 once more, for another message.
    let mut faulty = |packet: Packet| match packet.from == id(2) && kind(&packet) == Some(NONCE) {
        true => vec![changed(packet, |nonce: &mut Nonce| nonce.point = old.point)],
        false => vec![packet],
    };
    record.session::<G>(&group, 2, terms(&[1, 2, 4], b"two", Tweak::None), &mut faulty);
    let reuses = record.report().reuses;
    assert_eq!((reuses.len(), reuses[0].party), (1, id(2)));
    assert_eq!(reuses[0].point, old.point.0);
}
