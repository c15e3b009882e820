//! What FROST takes of the heap, counted by an allocator of this program's own. The table stands in the
//! documentation of `quorate_core::frost`, in bytes on a 64-bit machine: whoever changes a number here
//! changes it there. Buffers for messages are the caller's and not counted.

// Functions outside `#[test]` are test code too.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![expect(unsafe_code, reason = "an allocator is unsafe by its interface")]
#![expect(clippy::unwrap_used, reason = "also outside of test functions, a failing test may stop")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use quorate_core::curve::{Ed25519, SchnorrSecp256k1};
use quorate_core::frost::{
    Aggregator, Failure, FrostKey, FrostSuite, MAX_LIST, MAX_MESSAGE, MAX_OFFER, NoncePool, Offers,
    SignTerms, Signer,
};
use quorate_core::party::PartySet;
use quorate_core::schnorr::Tweak;
use quorate_tests::simulator::frost::{dealt, hedged, key_terms, taken_over};
use quorate_tests::simulator::id;

/// Counts what the calling thread has, and the most that it had. A block that grows is copied, as on a
/// chip: for a moment both are there.
struct Counting;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: memory comes from `System` and goes there, with the layout as it is; the counters allocate
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW.set(NOW.get() + layout.size());
        MOST.set(MOST.get().max(NOW.get()));
        // SAFETY: the caller's promise about the layout is `System`'s condition.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Another thread may have allocated it.
        NOW.set(NOW.get().saturating_sub(layout.size()));
        // SAFETY: the block is of `alloc`, so of `System`, with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, what it keeps on the heap, and the most that it had there.
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = NOW.get();
    MOST.set(before);
    let result = work();
    // A member gives a used nonce back.
    (result, NOW.get().saturating_sub(before), MOST.get() - before)
}

/// A key, kept; a pool of eight nonces, kept; offers of eight of all holders, kept; a member's session
/// and a coordinator's, and one in which a share is wrong: the most.
type Figures = [usize; 6];

const NONCES: usize = 8;

fn figures<G: FrostSuite>(n: u8, threshold: u8) -> Figures {
    let packages = dealt::<G::Ciphersuite>(n.into(), threshold.into(), 1).unwrap();
    let terms = key_terms::<G>(n, threshold);
    let keys: Vec<FrostKey<G>> = taken_over(terms, &packages).unwrap();
    let (_public, of_key, _) = counted(|| keys[0].public().clone());
    let (mut pools, mut of_pool) = (Vec::new(), 0);
    for key in &keys {
        let make = || NoncePool::generate(key, 0, NONCES, &mut hedged(key.party(), 1)).unwrap();
        let (pool, kept, _) = counted(make);
        of_pool = kept;
        pools.push(pool);
    }
    let mut buffer = [0; MAX_OFFER];
    let (mut offers, of_offers, _) = counted(|| {
        let mut offers = Offers::new(keys[0].public(), id(1));
        for (key, pool) in keys.iter().zip(&pools) {
            offers.take(key.party(), pool.offer(id(1), &mut buffer).unwrap()).unwrap();
        }
        offers
    });

    let quorum = PartySet::first(threshold);
    let mut session = |number: u8, wrong: bool| {
        let (tweak, message) = (Tweak::None, [7; 32]);
        let terms = SignTerms { session: [number; 32], quorum, coordinator: id(1), tweak, message };
        let (mut list, mut share) = (vec![0; MAX_LIST], [0; MAX_MESSAGE]);
        // The coordinator's: its parts are counted one after the other, and what it keeps between them.
        let start = || Aggregator::new(keys[0].public(), terms, &mut offers).unwrap();
        let (mut aggregator, mut held, mut most_coordinating) = counted(start);
        let (list, _, most) = counted(|| aggregator.list_message(&mut list).unwrap());
        most_coordinating = most_coordinating.max(held + most);
        let (mut most_signing, mut last) = (0, Ok(None));
        for (key, pool) in keys.iter().zip(&mut pools).take(threshold.into()) {
            let (bytes, _, most) = counted(|| {
                let listed = Signer::new(key, terms).unwrap().handle_list(id(1), list).unwrap();
                let reserved = listed.reserve(key, pool).unwrap();
                let consumed = reserved.persist(|_| Ok::<(), ()>(())).unwrap();
                consumed.sign(key).unwrap().encode(&mut share).unwrap().len()
            });
            most_signing = most_signing.max(most);
            share[bytes - 1] ^= u8::from(wrong && key.party() == id(threshold.into()));
            let (result, kept, most) =
                counted(|| aggregator.handle_share(key.party(), &share[..bytes]));
            most_coordinating = most_coordinating.max(held + most);
            (held, last) = (held + kept, result);
        }
        match wrong {
            false => assert!(last.unwrap().is_some()),
            true => assert!(matches!(last, Err(Failure::Aborted(_)))),
        }
        (most_signing, most_coordinating)
    };
    let (signing, coordinating) = session(1, false);
    let (_, blaming) = session(2, true);
    [of_key, of_pool, of_offers, signing, coordinating, blaming]
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_heap_of_a_session_is_as_documented() {
    let expected: [(u8, u8, Figures, Figures); 3] = [
        (3, 2, [240, 1104, 1968, 2886, 6144, 13454], [320, 1104, 1968, 2636, 7002, 13164]),
        (7, 3, [360, 1104, 4496, 5398, 8672, 14269], [480, 1104, 4496, 6098, 11719, 17874]),
        (16, 4, [480, 1104, 10112, 7910, 11200, 15060], [640, 1104, 10112, 10840, 12596, 18744]),
    ];
    let found = expected
        .map(|(n, t, ..)| (n, t, figures::<SchnorrSecp256k1>(n, t), figures::<Ed25519>(n, t)));
    assert_eq!(found, expected);
}
