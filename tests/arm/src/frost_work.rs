//! A member's FROST signature: its nonces, and its share.

use alloc::vec::Vec;

use frost_core::{Ciphersuite, Field as _};
use quorate_core::curve::{AnyGroup, Group as _, PointBytes};
use quorate_core::frost::{
    Aggregator, FrostKey, FrostPublic, FrostSuite, NoncePool, Offers, SignTerms, Signer,
};
use quorate_core::party::PartySet;
use quorate_core::schnorr::{Tweak, verification_key};
use quorate_core::secret::{HedgedRng, SecretBytes};
use semihosting::println;

use crate::fabricated::{bytes, key, records};
use crate::group::{Meter, party};
use crate::{Clock, odd};

#[inline(never)]
pub(crate) fn signature<G: FrostSuite>(seed: u8, clock: &mut Clock) {
    let any = AnyGroup::of(G::SUITE).unwrap();
    let (public, _) = records(any, seed, 0);
    let [own, other] = [0, 1].map(|place| key(any, seed, place, &mut Meter::default()));
    let key = clock.time("key opened for FROST", || FrostKey::of(&public, &own)).unwrap();
    let other = FrostKey::of(&public, &other).unwrap();
    let mut rng = HedgedRng::new(&[seed; 32], &bytes(any, seed, 90), &[7; 32], 1);
    let pool = clock.time("FROST nonces made", || NoncePool::generate(&key, 0, 2, &mut rng));
    let record = clock.time("FROST nonces written", || pool.unwrap().record()).unwrap();
    let pool = clock.time("FROST nonces opened", || NoncePool::open(&key, 0, &record));
    let mut pool = pool.unwrap();
    let hedge = SecretBytes::new([8; 32]);
    let mut rng = HedgedRng::new(&[seed; 32], &hedge, &[7; 32], 1);
    let others = NoncePool::generate(&other, 0, 1, &mut rng).unwrap();

    let (coordinator, mut buffer) = (party(2), [0; 2048]);
    let judge = FrostPublic::<G>::of(&public).unwrap();
    let mut offers = Offers::new(&judge, coordinator);
    for (from, pool) in [(party(1), &pool), (coordinator, &others)] {
        offers.take(from, pool.offer(coordinator, &mut buffer).unwrap()).unwrap();
    }
    let message = [5; 32];
    let (session, quorum, tweak) = ([3; 32], PartySet::first(2), Tweak::None);
    let terms = SignTerms { session, quorum, coordinator, tweak, message: message.as_slice() };
    let aggregator = Aggregator::new(&judge, terms, &mut offers).unwrap();
    let list = aggregator.list_message(&mut buffer).unwrap();
    let listed = || {
        let mut signer = Signer::new(&key, terms).unwrap();
        signer.handle_list(coordinator, list).unwrap()
    };
    let (listed, again) = (listed(), listed());
    let reserved = clock.time("FROST nonce taken", || listed.reserve(&key, &mut pool)).unwrap();
    let consumed = reserved.persist(|_| Ok::<_, ()>(())).unwrap();
    let (share, whole) = clock.ticks(|| consumed.sign(&key));
    let share = share.unwrap();
    // What anybody can compute takes its time, as it depends on the list and on the share: that is taken off. With a
    // guard it would be more, and all else the same.
    let (right, check) = clock.ticks(|| again.is_answered(&key, &share));
    assert!(right);
    let name = verification_key::<G>(key.public().group_key(), &tweak).unwrap();
    let commitment = nonce::<G>(&name, &message, list);
    let y = (odd(&key.public().group_key().0), odd(&commitment));
    println!("{} FROST share, y(Y) odd {} y(R) odd {}: {whole} - {check}", clock.suite, y.0, y.1);
}

/// R of a list, encoded: its last two hundred bytes are two entries, which end in the two points of a member.
fn nonce<G: FrostSuite>(name: &[u8; 32], message: &[u8], list: &[u8]) -> [u8; 33] {
    type C<G> = <G as FrostSuite>::Ciphersuite;
    type Scalars<G> = <<C<G> as Ciphersuite>::Group as frost_core::Group>::Field;
    let entries = &list[list.len() - 200..];
    let points = entries.chunks(100).flat_map(|entry| entry[34..].chunks(33));
    let points: Vec<_> = points.map(|bytes| PointBytes(bytes.try_into().unwrap())).collect();
    let number = |number: u64| G::response_to_bytes(&G::default().number(number));
    let mut encoded = Vec::new();
    for (pair, id) in points.chunks(2).zip(1..) {
        encoded.extend_from_slice(&number(id));
        pair.iter()
            .for_each(|point| encoded.extend_from_slice(G::default().to_frost(point).unwrap()));
    }
    let mut input = Vec::from(G::default().to_frost(&G::default().encoding(name)).unwrap());
    input.extend_from_slice(C::<G>::H4(message).as_ref());
    input.extend_from_slice(C::<G>::H5(&encoded).as_ref());
    let terms = points.chunks(2).zip(1..).map(|(pair, id)| {
        let factor = C::<G>::H1(&[&input[..], &number(id)].concat());
        let factor = Scalars::<G>::serialize(&factor).as_ref().try_into().unwrap();
        let factor = G::default().response_from_bytes(&factor).unwrap();
        let point = |place: usize| G::default().point_from_bytes(&pair[place]).unwrap();
        point(0) + G::mul(&point(1), &factor)
    });
    G::point_to_bytes(&terms.fold(G::default().identity(), |sum, term| sum + term)).unwrap().0
}
