extern crate std;

use std::vec::Vec;

use ed25519_dalek::SigningKey;

use super::*;
use crate::policy::condition::kind;
use crate::policy::form::Writer;
use crate::policy::{FORM, Kinds, MAX_POLICY};

const NOW: u64 = 1_800_000_000;
const NETWORK: NetworkId = NetworkId([1; 16]);
const KEY: KeyId = KeyId([2; 16]);
const DELAY: u32 = 3600;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

/// A policy for one chain; of its controllers 1, 2 and 3, `at_least` change it and `freeze` freeze.
fn policy_of(chain: u8, at_least: u8, freeze: u8, delay: u32, of: &[u8]) -> Vec<u8> {
    let mut buffer = std::vec![0; MAX_POLICY];
    let mut writer = Writer::new(&mut buffer);
    let mut keys: Vec<[u8; 32]> = of.iter().map(|seed| public(*seed)).collect();
    keys.sort_unstable();
    writer.raw(&[FORM, at_least]).unwrap();
    if at_least > 0 {
        writer.u8(freeze).unwrap();
        writer.raw(&delay.to_be_bytes()).unwrap();
        writer.list(&keys).unwrap();
    }
    writer.u8(1).unwrap();
    let rule = |writer: &mut Writer<'_>| {
        writer.short(b"r")?;
        writer.u16(Kinds::PLAIN.bits())?;
        writer.raw(&[0, kind::CHAIN])?;
        writer.list(&[u64::from(chain).to_be_bytes()])
    };
    writer.nested(rule).unwrap();
    writer.finish().to_vec()
}

fn policy(chain: u8) -> Vec<u8> {
    policy_of(chain, 2, 1, DELAY, &[1, 2, 3])
}

fn standing(policy: &[u8]) -> Standing<'_> {
    Standing {
        network: NETWORK,
        key: KEY,
        version: 1,
        policy: Policy::parse(policy).unwrap(),
        pending: None,
        holds: 0,
        unfreezing: false,
    }
}

fn change<'a>(number: u32, previous: Digest, action: Action<'a>) -> Change<'a> {
    Change { network: NETWORK, key: KEY, number, previous, action, expires: NOW + 60 }
}

fn replace<'a>(number: u32, old: &[u8], new: &'a [u8]) -> Change<'a> {
    change(number, hash_of(old), Action::Replace { policy: new })
}

fn hold(number: u32) -> Change<'static> {
    let action = if number % 2 == 1 { Action::Freeze } else { Action::Unfreeze };
    change(number, [0; 32], action)
}

fn signed(change: &Change<'_>, signers: &[u8]) -> Vec<u8> {
    let mut buffer = std::vec![0; MAX_CHANGE];
    let bare = change.encode(&mut buffer).unwrap().to_vec();
    signers.iter().fold(bare, |bytes, seed| {
        let mut buffer = std::vec![0; MAX_CHANGE];
        SignedChange::parse(&bytes).unwrap().sign(&key(*seed), &mut buffer).unwrap().to_vec()
    })
}

fn asked(
    standing: &Standing<'_>,
    change: &Change<'_>,
    signers: &[u8],
) -> Result<Effect, ChangeError> {
    standing.admits(&SignedChange::parse(&signed(change, signers)).unwrap(), NOW, false)
}

fn vouched(
    standing: &Standing<'_>,
    change: &Change<'_>,
    signers: &[u8],
) -> Result<Effect, ChangeError> {
    let bytes = signed(change, signers);
    standing.admits(&SignedChange::parse(&bytes).unwrap(), NOW + MAX_CHANGE_EXPIRY, true)
}

#[test]
fn enough_controllers_replace_the_policy_after_the_delay() {
    let (old, new) = (policy(1), policy(2));
    let standing = standing(&old);
    let good = replace(2, &old, &new);
    for signers in [&[1, 2][..], &[3, 1], &[1, 2, 3]] {
        assert_eq!(asked(&standing, &good, signers), Ok(Effect::Replaces { after: DELAY }));
    }
    assert_eq!(vouched(&standing, &good, &[1, 2]), Ok(Effect::Replaces { after: 0 }));
}

#[test]
fn every_other_replacement_is_refused_by_its_reason() {
    let (old, new) = (policy(1), policy(2));
    let of = standing(&old);
    let good = replace(2, &old, &new);
    let few = |have| Err(ChangeError::TooFew { have, need: 2 });
    assert_eq!(asked(&of, &good, &[]), few(0));
    assert_eq!(asked(&of, &good, &[2]), few(1));
    let stranger = ChangeError::Stranger(ClientKey(public(4)));
    assert_eq!(asked(&of, &good, &[1, 2, 4]), Err(stranger));
    assert!(stranger.is_forged(&good.action) && !stranger.is_forged(&Action::Freeze));
    for (wrong, error) in [
        (Change { network: NetworkId([9; 16]), ..good }, ChangeError::Network),
        (Change { key: KeyId([9; 16]), ..good }, ChangeError::Key),
        (replace(3, &old, &new), ChangeError::Number { expected: 2, found: 3 }),
        (replace(2, &new, &new), ChangeError::Previous),
        (Change { expires: NOW, ..good }, ChangeError::Expired { expires: NOW, now: NOW }),
        (Change { expires: NOW + MAX_CHANGE_EXPIRY + 1, ..good }, ChangeError::ExpiryTooFar),
    ] {
        assert_eq!(asked(&of, &wrong, &[1, 2]), Err(error));
        assert!(!error.code().is_empty());
    }
    let later = Standing { version: 2, ..of };
    let stale = ChangeError::Number { expected: 3, found: 2 };
    assert_eq!(asked(&later, &good, &[1, 2]), Err(stale), "an old change again");
    assert_eq!(vouched(&later, &good, &[1, 2]), Err(stale), "whoever vouches");
    let fixed = policy_of(1, 0, 0, 0, &[]);
    assert_eq!(asked(&standing(&fixed), &good, &[1, 2]), Err(ChangeError::Fixed));
    let create = Change {
        key: KeyId([0; 16]),
        number: 1,
        previous: [0; 32],
        action: Action::Create { name: "k", policy: &new },
        ..good
    };
    assert_eq!(asked(&of, &create, &[1, 2]), Err(ChangeError::Action));
    // Vouching stands in for the delay and the expiry, and for no signature.
    assert_eq!(vouched(&of, &good, &[2]), few(1));
}

#[test]
fn what_waits_is_withdrawn_by_putting_the_policy_in_force_behind_it() {
    let (old, new, other) = (policy(1), policy(2), policy(3));
    let waiting = Standing { pending: Some(hash_of(&new)), ..standing(&old) };
    let pending = Err(ChangeError::Pending { version: 2 });
    assert_eq!(asked(&waiting, &replace(2, &old, &other), &[1, 2]), pending);
    assert_eq!(asked(&waiting, &replace(3, &new, &other), &[1, 2]), pending);
    let withdraw = replace(3, &new, &old);
    assert_eq!(asked(&waiting, &withdraw, &[1, 2]), Ok(Effect::Withdraws));
    let few = ChangeError::TooFew { have: 1, need: 2 };
    assert_eq!(asked(&waiting, &withdraw, &[1]), Err(few));
    assert_eq!(asked(&waiting, &replace(3, &other, &old), &[1, 2]), Err(ChangeError::Previous));
    let number = ChangeError::Number { expected: 3, found: 4 };
    assert_eq!(asked(&waiting, &replace(4, &new, &old), &[1, 2]), Err(number));
    // A freeze keeps new policies out, and what is withdrawn brings none.
    let frozen = Standing { holds: 1, ..waiting };
    assert_eq!(asked(&frozen, &withdraw, &[1, 2]), Ok(Effect::Withdraws));
    // What the others have in force instead goes before what only waits here.
    let instead = replace(2, &old, &other);
    assert_eq!(vouched(&waiting, &instead, &[1, 2]), Ok(Effect::Replaces { after: 0 }));
}

#[test]
fn few_freeze_at_once_and_all_who_replace_end_it_after_the_delay() {
    let (old, new) = (policy(1), policy(2));
    let running = standing(&old);
    assert_eq!(asked(&running, &hold(1), &[3]), Ok(Effect::Freezes));
    assert_eq!(asked(&running, &hold(1), &[]), Err(ChangeError::TooFew { have: 0, need: 1 }));
    let stranger = ChangeError::Stranger(ClientKey(public(9)));
    assert_eq!(asked(&running, &hold(1), &[9]), Err(stranger));
    let number = ChangeError::Number { expected: 1, found: 3 };
    assert_eq!(asked(&running, &hold(3), &[3]), Err(number));
    assert_eq!(asked(&running, &hold(2), &[1, 2]), Err(ChangeError::NotFrozen));

    let frozen = Standing { holds: 1, ..running };
    assert!(frozen.is_frozen() && !running.is_frozen());
    assert_eq!(asked(&frozen, &hold(1), &[3]), Err(ChangeError::Frozen));
    assert_eq!(asked(&frozen, &replace(2, &old, &new), &[1, 2]), Err(ChangeError::Frozen));
    let passed = Ok(Effect::Replaces { after: 0 });
    assert_eq!(vouched(&frozen, &replace(2, &old, &new), &[1, 2]), passed);
    assert_eq!(asked(&frozen, &hold(2), &[1, 2]), Ok(Effect::Unfreezes { after: DELAY }));
    assert_eq!(vouched(&frozen, &hold(2), &[1, 2]), Ok(Effect::Unfreezes { after: 0 }));
    assert_eq!(asked(&frozen, &hold(2), &[1]), Err(ChangeError::TooFew { have: 1, need: 2 }));
    let ending = Standing { unfreezing: true, ..frozen };
    assert_eq!(asked(&ending, &hold(2), &[1, 2]), Err(ChangeError::Unfreezing));
    assert_eq!(vouched(&ending, &hold(2), &[1, 2]), Ok(Effect::Unfreezes { after: 0 }));
    // The same freeze again, when it is over.
    let over = Standing { holds: 2, ..running };
    let number = ChangeError::Number { expected: 3, found: 1 };
    assert_eq!(asked(&over, &hold(1), &[3]), Err(number));
}

#[test]
fn only_its_controllers_make_a_key_in_their_name() {
    let (own, fixed) = (policy(1), policy_of(1, 0, 0, 0, &[]));
    let create = Change {
        network: NETWORK,
        key: KeyId([0; 16]),
        number: 1,
        previous: [0; 32],
        action: Action::Create { name: "k", policy: &own },
        expires: NOW + 60,
    };
    let ask = |policy: &[u8], name: &str, change: Option<(&Change<'_>, &[u8])>, now| {
        let bytes = change.map(|(change, signers)| signed(change, signers));
        let change = bytes.as_deref().map(|bytes| SignedChange::parse(bytes).unwrap());
        let policy = Policy::parse(policy).unwrap();
        policy.admits_creation(&NETWORK, name, change.as_ref(), now)
    };
    assert_eq!(ask(&fixed, "k", None, NOW), Ok(()));
    assert_eq!(ask(&fixed, "k", Some((&create, &[1, 2])), NOW), Err(ChangeError::Fixed));
    let few = |have| Err(ChangeError::TooFew { have, need: 2 });
    assert_eq!(ask(&own, "k", None, NOW), few(0));
    assert_eq!(ask(&own, "k", Some((&create, &[1])), NOW), few(1));
    assert_eq!(ask(&own, "k", Some((&create, &[1, 2])), NOW), Ok(()));
    assert_eq!(ask(&own, "other", Some((&create, &[1, 2])), NOW), Err(ChangeError::Name));
    assert_eq!(ask(&policy(2), "k", Some((&create, &[1, 2])), NOW), Err(ChangeError::Policy));
    let stranger = ChangeError::Stranger(ClientKey(public(7)));
    assert_eq!(ask(&own, "k", Some((&create, &[1, 7])), NOW), Err(stranger));
    let late = ChangeError::Expired { expires: NOW + 60, now: NOW + 60 };
    assert_eq!(ask(&own, "k", Some((&create, &[1, 2])), NOW + 60), Err(late));
    let elsewhere = Change { network: NetworkId([9; 16]), ..create };
    assert_eq!(ask(&own, "k", Some((&elsewhere, &[1, 2])), NOW), Err(ChangeError::Network));
    let replace = replace(2, &own, &own);
    assert_eq!(ask(&own, "k", Some((&replace, &[1, 2])), NOW), Err(ChangeError::Action));
}

#[test]
fn every_flipped_bit_and_every_truncation_of_a_change_is_refused() {
    let (old, new) = (policy(1), policy(2));
    let create = Change {
        key: KeyId([0; 16]),
        ..change(1, [0; 32], Action::Create { name: "pay", policy: &new })
    };
    for change in [create, replace(2, &old, &new), hold(1), hold(2)] {
        let bytes = signed(&change, &[1, 2]);
        assert_eq!(bytes, signed(&change, &[2, 1]), "in any order");
        let parsed = SignedChange::parse(&bytes).unwrap();
        assert_eq!((parsed.hash(), parsed.signers().count()), (change.hash(), 2));
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(SignedChange::parse(&altered).is_err(), "{change:?}, bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(SignedChange::parse(&bytes[..length]).is_err(), "length {length}");
        }
    }
}

#[test]
fn signatures_are_added_once_and_bounded() {
    let bare = signed(&hold(1), &[]);
    let eight = signed(&hold(1), &[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut buffer = std::vec![0; MAX_CHANGE];
    let parsed = SignedChange::parse(&eight).unwrap();
    assert_eq!(parsed.sign(&key(8), &mut buffer), Err(SignError::Twice));
    assert_eq!(parsed.sign(&key(9), &mut buffer), Err(SignError::TooMany));
    let parsed = SignedChange::parse(&bare).unwrap();
    assert_eq!(parsed.sign(&key(9), &mut buffer[..9]), Err(SignError::NoRoom));
    let two = signed(&hold(1), &[1, 2]);
    let (head, tail) = two.split_at(two.len() - 192);
    let (one, other) = tail.split_at(96);
    for wrong in [[head, one, one].concat(), [head, other, one].concat()] {
        assert_eq!(SignedChange::parse(&wrong).err(), Some(ChangeFormError::Signatures));
    }
    let policy = [7; MAX_POLICY];
    let most = Change {
        expires: u64::MAX,
        ..change(u32::MAX, [1; 32], Action::Replace { policy: &policy })
    };
    let longest = most.encode(&mut buffer).unwrap().len() + MAX_SIGNATURES * 96;
    // Behind the length of the signatures, which takes a byte more then.
    assert!(longest < MAX_CHANGE);
}

#[test]
fn fields_that_are_not_of_the_kind_are_refused() {
    let (old, new) = (policy(1), policy(2));
    let good = replace(2, &old, &new);
    let create = Action::Create { name: "k", policy: &new };
    let made = Change { key: KeyId([0; 16]), ..change(1, [0; 32], create) };
    for (wrong, error) in [
        (Change { key: KeyId([0; 16]), ..good }, ChangeFormError::Fields),
        (Change { number: 1, ..good }, ChangeFormError::Fields),
        (Change { previous: [0; 32], ..good }, ChangeFormError::Fields),
        (Change { key: KEY, ..made }, ChangeFormError::Fields),
        (Change { number: 2, ..made }, ChangeFormError::Fields),
        (Change { previous: [1; 32], ..made }, ChangeFormError::Fields),
        (Change { previous: [1; 32], ..hold(1) }, ChangeFormError::Fields),
        (Change { action: Action::Unfreeze, ..hold(1) }, ChangeFormError::Fields),
        (Change { action: Action::Freeze, ..hold(2) }, ChangeFormError::Fields),
        (Change { number: 0, ..hold(2) }, ChangeFormError::Fields),
        (
            Change { action: Action::Create { name: "", policy: &new }, ..made },
            ChangeFormError::TooLong,
        ),
        (
            Change { action: Action::Replace { policy: &[FORM] }, ..good },
            ChangeFormError::Policy(FormError::Truncated),
        ),
    ] {
        let mut buffer = std::vec![0; MAX_CHANGE];
        let bytes = wrong.encode(&mut buffer).unwrap();
        assert_eq!(SignedChange::parse(bytes).err(), Some(error), "{wrong:?}");
    }
}

#[test]
fn the_controllers_of_a_policy_are_checked() {
    let parsed = policy(1);
    let parsed = Policy::parse(&parsed).unwrap();
    let controllers = parsed.controllers().unwrap();
    assert_eq!((controllers.at_least, controllers.freeze_at_least), (2, 1));
    assert_eq!((controllers.delay, controllers.of.len()), (DELAY, 3));
    assert_eq!(parsed.rules().count(), 1);
    assert_eq!(Policy::parse(&policy_of(1, 0, 0, 0, &[])).unwrap().controllers(), None);
    let many: Vec<u8> = (1..=17).collect();
    for (at_least, freeze, delay, of, error) in [
        (3, 1, 0, &[1, 2][..], FormError::Range("controllers")),
        (2, 0, 0, &[1, 2], FormError::Range("controllers")),
        (2, 3, 0, &[1, 2, 3], FormError::Range("controllers")),
        (9, 1, 0, &many[..9], FormError::Range("controllers")),
        (1, 1, 0, &many, FormError::TooMany("controllers")),
        (1, 1, 0, &[], FormError::Empty("controllers")),
        (1, 1, 0, &[1, 1], FormError::NotSorted("controllers")),
        (1, 1, MAX_DELAY + 1, &[1], FormError::Range("delay")),
    ] {
        let bytes = policy_of(1, at_least, freeze, delay, of);
        assert_eq!(Policy::parse(&bytes), Err(error));
    }
}

/// Whatever changes come in whatever order, a party that has them all in force stands where they lead.
#[test]
fn numbers_only_grow() {
    let policies: Vec<Vec<u8>> = (1..=4).map(policy).collect();
    let (mut version, mut current, mut pending, mut holds) = (1_u32, 0_usize, None::<usize>, 0_u32);
    let mut random = 7_u32;
    let mut draw = |bound: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) % bound
    };
    let mut seen = [0; 4];
    for _ in 0..3000 {
        let standing = Standing {
            version,
            policy: Policy::parse(&policies[current]).unwrap(),
            pending: pending.map(|place: usize| hash_of(&policies[place])),
            holds,
            ..standing(&policies[0])
        };
        let (old, new) = (draw(4) as usize, draw(4) as usize);
        let change = match draw(3) {
            0 => hold(holds.saturating_sub(1) + 1 + draw(3)),
            _ => replace(version.max(2) - 1 + 1 + draw(3), &policies[old], &policies[new]),
        };
        match asked(&standing, &change, &[1, 2]) {
            Ok(Effect::Replaces { .. }) => {
                assert_eq!((old, change.number, pending), (current, version + 1, None));
                assert_eq!(holds % 2, 0);
                pending = Some(new);
                seen[0] += 1;
                if draw(2) == 0 {
                    (version, current, pending) = (version + 1, new, None);
                }
            }
            Ok(Effect::Withdraws) => {
                assert_eq!((new, change.number), (current, version + 2));
                (version, pending) = (version + 2, None);
                seen[1] += 1;
            }
            Ok(Effect::Freezes) => {
                assert_eq!((change.number, holds % 2), (holds + 1, 0));
                holds += 1;
                seen[2] += 1;
            }
            Ok(Effect::Unfreezes { .. }) => {
                assert_eq!((change.number, holds % 2), (holds + 1, 1));
                holds += 1;
                seen[3] += 1;
            }
            Err(_) => {}
        }
    }
    assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
}
