//! Quorate's FROST, 2 of 4, with a key of its own key generation: what a member and the coordinator do
//! for one signature, pools and checks included, sealing and storing not.

use std::collections::BTreeMap;
use std::time::Instant;

use quorate_core::frost::{
    Aggregator, FrostKey, FrostPublic, FrostSuite, MAX_LIST, MAX_MESSAGE, MAX_NONCES, MAX_OFFER,
    NoncePool, Offers, PoolError, SignTerms, Signer,
};
use quorate_core::party::{PartyId, PartySet};
use quorate_core::schnorr::Tweak;
use quorate_core::secret::{HedgedRng, SecretBytes};

use super::{Stored, generate, open};

/// Medians of one signature, in microseconds.
pub struct Times {
    /// A nonce in its pool: the pool, divided by its nonces.
    pub nonce: f64,
    /// From the list to the share.
    pub sign: f64,
    /// The list, the shares, the signature.
    pub aggregate: f64,
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

pub fn measure<G: FrostSuite>() -> Times {
    let group: BTreeMap<PartyId, Stored> = generate::<G>(4, 2, 1);
    let quorum = PartySet::first(2);
    let opened = open::<G>(&group, quorum);
    let one = quorum.iter().next().expect("a member");
    let public = FrostPublic::<G>::of(&group[&one].public).expect("our record");
    let keys: Vec<FrostKey<G>> = opened
        .iter()
        .map(|(me, key)| FrostKey::of(&group[me].public, key).expect("our key"))
        .collect();
    let (mut nonce, mut sign, mut aggregate) = (Vec::new(), Vec::new(), Vec::new());
    let mut counter = 0;
    for _ in 0..8 {
        let mut offers = Offers::new(&public, one);
        let mut pools = BTreeMap::new();
        for key in &keys {
            counter += 1;
            let hedge = SecretBytes::new([7; 32]);
            let mut rng = HedgedRng::new(&[0; 32], &hedge, &[0; 32], counter);
            let start = Instant::now();
            let pool = NoncePool::generate(key, 0, MAX_NONCES, &mut rng).expect("a pool");
            let mut buffer = [0; MAX_OFFER];
            let offer = pool.offer(one, &mut buffer).expect("room");
            nonce.push(start.elapsed().as_secs_f64() * 1e6 / MAX_NONCES as f64);
            offers.take(key.party(), offer).expect("an honest offer");
            pools.insert(key.party(), pool);
        }
        for turn in 0..MAX_NONCES {
            let (tweak, message) = (Tweak::None, [7; 32]);
            let session = [turn as u8; 32];
            let terms = SignTerms { session, quorum, coordinator: one, tweak, message };
            let start = Instant::now();
            let mut aggregator = Aggregator::new(&public, terms, &mut offers).expect("offers");
            let mut buffer = vec![0; MAX_LIST];
            let list = aggregator.list_message(&mut buffer).expect("room");
            let mut coordinating = start.elapsed();
            let mut signature = None;
            for key in &keys {
                let pool = pools.get_mut(&key.party()).expect("a pool");
                let mut buffer = [0; MAX_MESSAGE];
                let start = Instant::now();
                let mut signer = Signer::new(key, terms).expect("terms hold");
                let listed = signer.handle_list(one, list).expect("honest");
                let reserved = listed.reserve(key, pool).expect("a nonce");
                let consumed = reserved.persist(|_| Ok::<_, PoolError>(())).expect("stored");
                let share = consumed.sign(key).expect("a share");
                let share = share.encode(&mut buffer).expect("room");
                sign.push(start.elapsed().as_secs_f64() * 1e6);
                let start = Instant::now();
                signature = aggregator.handle_share(key.party(), share).expect("honest");
                coordinating += start.elapsed();
            }
            aggregate.push(coordinating.as_secs_f64() * 1e6);
            assert!(signature.is_some());
        }
    }
    Times { nonce: median(nonce), sign: median(sign), aggregate: median(aggregate) }
}
