//! No k_i under two different (Y, h, R), whatever is repeated: requests, salts, sessions, coordinators,
//! with a generator of randomness that is stuck.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "also outside of test functions, a failing test may stop"
)]

#[path = "nonce_reuse/schnorr.rs"]
mod schnorr;

use std::collections::BTreeMap;

use quorate_core::derive::Derivation;
use quorate_core::ecdsa::{Salt, SignTerms};
use quorate_core::hash::Digest;
use quorate_core::party::{PartyId, PartySet};
use quorate_core::session::Protocol;
use quorate_tests::nonce_checker::{About, NonceChecker, Report};
use quorate_tests::simulator::forge::{Nonce, Share, bytes_of, changed, kind, parse};
use quorate_tests::simulator::*;

fn set(ids: &[u16]) -> PartySet {
    ids.iter().map(|number| id(*number)).collect()
}

/// Sessions, what they are about, and all that left anybody.
#[derive(Default)]
struct Record {
    checker: NonceChecker,
    about: BTreeMap<Digest, About>,
    sent: Vec<Packet>,
    signed: usize,
}

impl Record {
    /// One session with salts of a stuck generator: everybody's are zero.
    fn session(
        &mut self,
        group: &Group,
        name: u64,
        terms: SignTerms,
        adversary: &mut Adversary<'_>,
    ) {
        let salts: Vec<(PartyId, Salt)> =
            terms.quorum.iter().map(|party| (party, [0; 32])).collect();
        self.session_with(group, name, terms, &salts, adversary);
    }

    fn session_with(
        &mut self,
        group: &Group,
        name: u64,
        terms: SignTerms,
        salts: &[(PartyId, Salt)],
        adversary: &mut Adversary<'_>,
    ) {
        let mut network = Network::new(name, Weather { reorder: true, ..Weather::default() });
        let show = |_| (terms, salts.to_vec());
        let own = |me| salts.iter().find(|(party, _)| *party == me).unwrap().1;
        let done = sign_with_salts(group, terms.coordinator, &show, &own, &mut network, adversary);
        self.signed += usize::from(done.signature.is_some());
        let root = group.values().next().unwrap().public.extended::<Curve>().unwrap();
        let key = root.derive(&terms.derivation).unwrap().encoded().0.to_vec();
        self.about.insert(session_of(name), (key, terms.digest));
        for packet in &network.sent {
            self.checker.record(session_of(name), packet.from, &packet.bytes);
        }
        self.sent.append(&mut network.sent);
    }

    fn report(&self) -> Report {
        self.checker.report(|session| self.about.get(session).cloned())
    }
}

fn terms_of(quorum: &[u16], coordinator: u16, digest: u8) -> SignTerms {
    SignTerms {
        quorum: set(quorum),
        coordinator: id(coordinator),
        derivation: Derivation::Root,
        digest: [digest; 32],
    }
}

fn honest(packet: Packet) -> Vec<Packet> {
    vec![packet]
}

#[test]
fn the_same_request_again_in_parallel_with_another_quorum_and_with_a_dead_generator() {
    let (one, two) = (group(4, 2, 1), group(4, 2, 2));
    let mut record = Record::default();
    let mut name = 0;
    for group in [&one, &two] {
        for digest in [7, 8] {
            for quorum in [&[1u16, 2, 4][..], &[1, 2, 3], &[2, 3, 4]] {
                for coordinator in [2, quorum[2], 2] {
                    name += 1;
                    let terms = terms_of(quorum, coordinator, digest);
                    record.session(group, name, terms, &mut honest);
                }
            }
        }
    }
    let report = record.report();
    assert_eq!(record.signed, 36);
    assert!(report.reuses.is_empty(), "{:?}", report.reuses);
    assert!(report.unexplained.is_empty());
    // The salts repeat, so the nonces do, harmlessly: one for each key, digest, quorum and member.
    assert_eq!((report.points, report.repeated, report.shares), (36, 36, 108));
}

/// k_i under two descendants would give away the share: ν_i differs by a known multiple of it.
#[test]
fn the_same_digest_for_two_descendants_with_a_dead_generator() {
    let group = group(4, 2, 1);
    let mut record = Record::default();
    let path = |text: &str| Derivation::Path(text.parse().unwrap());
    let context = |text: &str| Derivation::Context(text.parse().unwrap());
    let all = [
        Derivation::Root,
        path("m/0"),
        path("m/1"),
        path("m/0/1"),
        path("m/0/0"),
        context("m/0"),
        context("rent"),
    ];
    for (name, derivation) in all.into_iter().chain(all).enumerate() {
        let terms = SignTerms { derivation, ..terms_of(&[1, 2, 4], 1, 7) };
        record.session(&group, name as u64, terms, &mut honest);
    }
    let report = record.report();
    assert_eq!(record.signed, 14);
    assert!(report.reuses.is_empty(), "{:?}", report.reuses);
    // Each twice, so each nonce repeats, within its descendant alone.
    assert_eq!((report.points, report.repeated, report.shares), (21, 21, 42));
    let keys: std::collections::BTreeSet<_> = record.about.values().collect();
    assert_eq!(keys.len(), 7);
}

#[test]
fn liars_and_repeated_salts_in_the_same_session() {
    let group = group(4, 2, 1);
    let mut record = Record::default();
    for name in 0..60 {
        // Party 4 sends what it likes: another point, or that of an earlier session.
        let earlier: Vec<Packet> = record.sent.clone();
        let mut lies = |packet: Packet| {
            if packet.from != id(4) || kind(&packet) != Some((Protocol::Ecdsa, 1)) {
                return vec![packet];
            }
            let old = earlier.iter().rev().find(|old| {
                old.from == id(4) && kind(old) == Some((Protocol::Ecdsa, 1)) && name % 3 == 0
            });
            match old.map(|old| parse::<Nonce>(&old.bytes)) {
                Some(old) => vec![changed(packet, |nonce: &mut Nonce| nonce.point = old.point)],
                None => vec![packet],
            }
        };
        // Two requests take turns; the salts are stuck for ten sessions at a time.
        let terms = terms_of(&[1, 2, 4], 1, 7 + (name % 2) as u8);
        let salts: Vec<_> =
            terms.quorum.iter().map(|party| (party, salt_of(party, name / 10))).collect();
        record.session_with(&group, name, terms, &salts, &mut lies);
    }
    let report = record.report();
    let honest: Vec<_> = report.reuses.iter().filter(|reuse| reuse.party != id(4)).collect();
    assert!(honest.is_empty(), "{honest:?}");
    assert!(report.shares > 60 && report.repeated > 0 && record.signed > 0, "{report:?}");
}

#[test]
fn the_checker_finds_a_nonce_under_two_digests() {
    let group = group(4, 2, 1);
    let mut record = Record::default();
    record.session(&group, 1, terms_of(&[1, 2, 4], 1, 7), &mut honest);
    assert!(record.report().reuses.is_empty());
    // A faulty party 2 sends the point of session 1 in session 2, which is about another digest.
    let old: Nonce = record
        .sent
        .iter()
        .find(|packet| packet.from == id(2) && kind(packet) == Some((Protocol::Ecdsa, 1)))
        .map(|packet| parse(&packet.bytes))
        .unwrap();
    let mut faulty = |packet: Packet| match packet.from == id(2)
        && kind(&packet) == Some((Protocol::Ecdsa, 1))
    {
        true => vec![changed(packet, |nonce: &mut Nonce| nonce.point = old.point)],
        false => vec![packet],
    };
    record.session(&group, 2, terms_of(&[1, 2, 4], 1, 8), &mut faulty);
    let report = record.report();
    assert_eq!(report.reuses.len(), 1);
    assert_eq!(report.reuses[0].party, id(2));
    assert_eq!(report.reuses[0].point, old.point.0);
    assert_eq!(report.reuses[0].uses.len(), 2);
}

#[test]
fn the_checker_finds_a_nonce_under_two_lists() {
    let group = group(4, 2, 1);
    let mut record = Record::default();
    record.session(&group, 1, terms_of(&[1, 2, 4], 1, 7), &mut honest);
    let of_2 = |what| {
        let found = record.sent.iter().find(|p| p.from == id(2) && kind(p) == Some(what));
        found.unwrap().bytes.clone()
    };
    let nonce: Nonce = parse(&of_2((Protocol::Ecdsa, 1)));
    let mut share: Share = parse(&of_2((Protocol::Ecdsa, 2)));
    // The same digest and the same R_i in session 2, but a share for another R.
    share.mu[31] ^= 1;
    record.about.insert(session_of(2), record.about[&session_of(1)].clone());
    record.checker.record(session_of(2), id(2), &bytes_of(&nonce));
    assert!(record.report().reuses.is_empty());
    record.checker.record(session_of(2), id(2), &bytes_of(&share));
    let report = record.report();
    assert_eq!(report.reuses.len(), 1);
    assert_eq!(report.reuses[0].party, id(2));
}

#[test]
fn the_checker_reports_sessions_that_nobody_explains() {
    let group = group(4, 2, 1);
    let mut record = Record::default();
    record.session(&group, 1, terms_of(&[1, 2, 4], 1, 7), &mut honest);
    record.about.clear();
    let report = record.report();
    assert_eq!(report.unexplained, [session_of(1)].into_iter().collect());
    assert_eq!(report.points, 0);
}
