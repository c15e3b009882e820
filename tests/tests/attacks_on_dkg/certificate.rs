//! Attacks on what comes before the first round and after the last: who takes part, and the certificate.

use quorate_core::dkg::{Dkg, StartError};
use quorate_core::key::{
    CertificateError, Confirmation, ShareRecord, check_certificate, check_certificate_of,
};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::secret::{HedgedRng, SecretBytes};
use quorate_core::wire;
use quorate_tests::simulator::*;

use super::terms_of_4;

/// What all confirm of a key, where party 3 has changed its secrets first.
fn confirmations(change: impl Fn(&mut ShareRecord<N, K>)) -> (Group, Vec<Confirmation<N, K>>) {
    let group = group(4, 2, 1);
    let confirm = |(me, stored): (&PartyId, &Stored)| {
        let mut record = wire::decode(&stored.sealed).unwrap();
        if *me == id(3) {
            change(&mut record);
        }
        <Stored>::new(*me, stored.public.clone(), &record).confirmation
    };
    let all = group.iter().map(confirm).collect();
    (group, all)
}

/// That of whoever sees these confirmations, among them the holders that made them.
fn verdict(group: &Group, all: &[Confirmation<N, K>]) -> Result<(), CertificateError> {
    let verdict = verdict_of_others(group, all);
    for own in all {
        assert_eq!(verdict_of(group, own, all), verdict);
    }
    verdict
}

fn verdict_of_others(group: &Group, all: &[Confirmation<N, K>]) -> Result<(), CertificateError> {
    check_certificate(&group[&id(1)].public, all, |party| Some(public(&identity_key(party))))
}

fn verdict_of(
    group: &Group,
    own: &Confirmation<N, K>,
    all: &[Confirmation<N, K>],
) -> Result<(), CertificateError> {
    let identity = |party| Some(public(&identity_key(party)));
    check_certificate_of(&group[&id(1)].public, own, all, identity)
}

fn other(secret: &SecretBytes) -> SecretBytes {
    let mut bytes = *secret.expose();
    bytes[0] ^= 1;
    SecretBytes::new(bytes)
}

#[test]
fn an_honest_certificate_holds() {
    let (group, all) = confirmations(|_| {});
    assert_eq!(verdict(&group, &all), Ok(()));
}

#[test]
fn different_pair_seeds_at_the_two_ends_void_the_key() {
    for (place, pair) in [(0, (1, 3)), (1, (2, 3)), (2, (3, 4))] {
        let (group, all) = confirmations(|r| r.pair_seeds[place] = other(&r.pair_seeds[place]));
        let expected = CertificateError::PairDiffers(id(pair.0), id(pair.1));
        assert_eq!(verdict(&group, &all), Err(expected));
    }
}

#[test]
fn different_nonce_keys_of_one_set_void_the_key() {
    for place in 0..3 {
        let (group, all) = confirmations(|r| r.nonce_keys[place] = other(&r.nonce_keys[place]));
        let found = verdict(&group, &all);
        let differs = |a, b| Err(CertificateError::NonceKeyDiffers(id(a), id(b)));
        assert!(found == differs(1, 3) || found == differs(2, 3), "{found:?}");
    }
}

#[test]
fn a_confirmation_missing_forged_cut_short_or_of_another_key() {
    let (group, all) = confirmations(|_| {});
    for (place, party) in [1, 2, 3, 4].map(id).into_iter().enumerate() {
        let mut fewer = all.clone();
        fewer.remove(place);
        assert_eq!(verdict(&group, &fewer), Err(CertificateError::Missing(party)));
        // Its own word, which is not among them, does not stand for one.
        assert_eq!(verdict_of(&group, &all[place], &fewer), Err(CertificateError::Missing(party)));

        let mut forged = all.clone();
        forged[place].signature.0[9] ^= 1;
        let signature = Err(CertificateError::Signature(party));
        assert_eq!(verdict_of_others(&group, &forged), signature);
        for own in &all {
            assert_eq!(verdict_of(&group, own, &forged), signature);
        }

        let mut short = all.clone();
        short[place].nonce_commitments.pop();
        assert_eq!(verdict(&group, &short), Err(CertificateError::Shape(party)));
    }
    let stranger = quorate_tests::simulator::group(4, 2, 2);
    let mut mixed = all;
    mixed[2] = stranger[&id(3)].confirmation.clone();
    assert_eq!(verdict_of_others(&group, &mixed), Err(CertificateError::Signature(id(3))));
    for own in group.values().map(|stored| &stored.confirmation) {
        assert_eq!(verdict_of(&group, own, &mixed), Err(CertificateError::Signature(id(3))));
    }
}

#[test]
fn identifier_0_duplicates_and_strangers_among_the_peers() {
    assert_eq!(PartyId::new(0), None);
    let start = |numbers: &[u16], me: u16| {
        let peers: Vec<_> = numbers
            .iter()
            .flat_map(|number| peers([id(*number)].into_iter().collect::<PartySet>()))
            .collect();
        let hedge = SecretBytes::new([1; 32]);
        let mut rng = HedgedRng::new(&[0; 32], &hedge, &session_of(1), 1);
        let (terms, signer) = (terms_of_4(), session_key(id(me)));
        Dkg::<Curve, N, K>::new(terms, session_of(1), id(me), &peers, &signer, &mut rng).err()
    };
    assert_eq!(start(&[1, 2, 3, 4], 1), None);
    assert_eq!(start(&[1, 2, 2, 4], 1), Some(StartError::Peers));
    assert_eq!(start(&[1, 2, 2, 3, 4], 1), Some(StartError::Peers));
    assert_eq!(start(&[1, 2, 3], 1), Some(StartError::Peers));
    assert_eq!(start(&[1, 2, 3, 5], 1), Some(StartError::Peers));
    assert_eq!(start(&[1, 2, 3, 4], 5), Some(StartError::NotAHolder));
}
