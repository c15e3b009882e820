use super::open;
use crate::flash_simulator::FlashSimulator;
use crate::store::{MAX_ANSWER, MAX_POOL, MAX_RECORD, Store, StoreError};

const KEY: u8 = 2;
const OLD: &[u8] = b"nonces 1, 2, 3";
const NEW: &[u8] = b"nonces 2, 3";

fn with_pool(seed: u64) -> FlashSimulator<1> {
    let mut flash = FlashSimulator::<1>::new(super::PAGES, seed);
    open(&mut flash).renew_pool(KEY, OLD, &mut [0; MAX_RECORD]).unwrap();
    flash
}

fn state(flash: &mut FlashSimulator<1>, session: u8) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut store = Store::open(flash).unwrap();
    let pool = store.pool(KEY, &mut [0; MAX_RECORD]).unwrap().unwrap().to_vec();
    let mut buffer = [0; MAX_RECORD];
    let answer = store.answer(KEY, &[session; 32], &mut buffer).unwrap();
    (pool, answer.map(<[u8]>::to_vec))
}

#[test]
fn a_nonce_is_used_once_and_an_answer_given_again() {
    let mut flash = with_pool(1);
    let mut store = open(&mut flash);
    let mut buffer = [0; MAX_RECORD];
    assert_eq!(store.answer(KEY, &[1; 32], &mut buffer), Ok(None));
    let is_old = |stored: &[u8]| stored == OLD;
    assert_eq!(store.consume(KEY, (&[1; 32], b"share"), NEW, is_old, &mut buffer), Ok(()));
    // A second copy of the pool that was before.
    let again = store.consume(KEY, (&[2; 32], b"other"), NEW, is_old, &mut buffer);
    assert_eq!(again, Err(StoreError::Stale));
    let other_key = store.consume(3, (&[2; 32], b"other"), NEW, |_| true, &mut buffer);
    assert_eq!(other_key, Err(StoreError::Stale));
    store.renew_pool(KEY, b"more", &mut buffer).unwrap();
    let long = [0; MAX_POOL + 1];
    assert_eq!(store.renew_pool(KEY, &long, &mut buffer), Err(StoreError::TooLong));
    let answer = [0; MAX_ANSWER + 1];
    let long = store.consume(KEY, (&[2; 32], &answer), NEW, |_| true, &mut buffer);
    assert_eq!(long, Err(StoreError::TooLong));
    store.renew_pool(KEY, &[7; MAX_POOL], &mut buffer).unwrap();
    drop(store);
    assert_eq!(state(&mut flash, 1), (vec![7; MAX_POOL], Some(b"share".to_vec())));
    assert_eq!(state(&mut flash, 2).1, None);
}

/// Cut at each step: the nonce is there and was not used, or it is gone and its answer is there.
#[test]
fn a_cut_uses_no_nonce_twice() {
    for cut in 0.. {
        let mut flash = with_pool(cut);
        let mut store = open(&mut flash);
        store.flash.cut_after(cut);
        let mut buffer = [0; MAX_RECORD];
        let done = store.consume(KEY, (&[1; 32], b"share"), NEW, |old| old == OLD, &mut buffer);
        drop(store);
        let was_cut = flash.restore_power();
        let now = state(&mut flash, 1);
        let used = (NEW.to_vec(), Some(b"share".to_vec()));
        match done {
            Ok(()) => assert_eq!(now, used),
            Err(_) => assert!(now == used || now == (OLD.to_vec(), None)),
        }
        if !was_cut {
            break;
        }
    }
}
