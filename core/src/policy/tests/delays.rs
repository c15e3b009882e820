//! Delays: what waits, what a veto stops, and that neither can be turned around.

use super::super::condition::Condition;
use super::*;
use crate::request::ClientKey;

const HOUR: u32 = 3600;

fn delay(seconds: u32, veto: &[u8]) -> Vec<u8> {
    let mut keys: Vec<[u8; 32]> = veto.iter().map(|seed| public(*seed)).collect();
    keys.sort_unstable();
    written(|writer| {
        writer.u8(kind::DELAY)?;
        writer.raw(&seconds.to_be_bytes())?;
        writer.list(&keys)
    })
}

fn client(seed: u8) -> ClientKey {
    ClientKey(public(seed))
}

fn single(condition: &[u8]) -> Vec<u8> {
    policy(&[rule("rule", Kinds::PLAIN, &[], condition)])
}

struct Asked {
    policy: Vec<u8>,
    request: Vec<u8>,
}

impl Asked {
    fn new(condition: &[u8]) -> Self {
        let request = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
        Self { policy: single(condition), request }
    }

    fn reason(&self, facts: &Facts<'_>) -> Option<Reason<'_>> {
        let request = SignedRequest::parse(&self.request).unwrap();
        let policy = Policy::parse(&self.policy).unwrap();
        policy.judge(&request, facts, &mut |_| {}).err().map(|denial| denial.reason)
    }

    fn opens_at(&self, facts: &Facts<'_>) -> Option<u64> {
        let request = SignedRequest::parse(&self.request).unwrap();
        Policy::parse(&self.policy).unwrap().opens_at(&request, facts)
    }
}

/// A record that began so many seconds ago.
fn since(seconds: u64) -> Facts<'static> {
    Facts { known_since: Some(NOW - seconds), ..Facts::at(NOW) }
}

#[test]
fn a_delay_is_over_when_the_record_is_old_enough() {
    let asked = Asked::new(&delay(HOUR, &[2]));
    let waiting = |until| Some(Reason::Waiting { until });
    assert_eq!(asked.reason(&Facts::at(NOW)), waiting(NOW + 3600), "no record: from now on");
    assert_eq!(asked.reason(&since(0)), waiting(NOW + 3600));
    assert_eq!(asked.reason(&since(3599)), waiting(NOW + 1));
    assert_eq!(asked.reason(&since(3600)), None);
    assert_eq!(asked.reason(&since(NOW)), None);
    // The clock was put back behind the record.
    let back = Facts { known_since: Some(NOW + 5), ..Facts::at(NOW) };
    assert_eq!(asked.reason(&back), waiting(NOW + 3605));
    let end = Facts { known_since: Some(u64::MAX), ..Facts::at(NOW) };
    assert_eq!(asked.reason(&end), waiting(u64::MAX));
    assert_eq!(waiting(1).unwrap().code(), "waiting");
}

#[test]
fn a_vetoer_stops_it_and_a_stranger_does_not() {
    let asked = Asked::new(&delay(HOUR, &[2, 3]));
    let (vetoer, stranger) = ([client(9), client(3)], [client(9), client(1)]);
    for known in [Facts::at(NOW), since(10), since(3600), since(NOW)] {
        let vetoed = Facts { vetoes: &vetoer, ..known };
        assert_eq!(asked.reason(&vetoed), Some(Reason::Vetoed(client(3))), "{known:?}");
        assert_eq!(asked.opens_at(&vetoed), None);
        let not = Facts { vetoes: &stranger, ..known };
        assert_eq!(asked.reason(&not), asked.reason(&known));
    }
    assert_eq!(Reason::Vetoed(client(3)).code(), "vetoed");
    let policy = Policy::parse(&asked.policy).unwrap();
    assert!(policy.names_vetoer(&client(2)) && policy.names_vetoer(&client(3)));
    assert!(!policy.names_vetoer(&client(1)), "the client asks, and vetoes nothing");
    // A delay that nobody may veto.
    let asked = Asked::new(&delay(HOUR, &[]));
    assert_eq!(asked.reason(&Facts { vetoes: &vetoer, ..since(3600) }), None);
}

#[test]
fn a_veto_is_against_the_delays_that_name_its_vetoer() {
    let two = any(&[delay(HOUR, &[2]), delay(2 * HOUR, &[3])]);
    let asked = Asked::new(&two);
    assert_eq!(asked.opens_at(&since(10)), Some(NOW - 10 + 3600));
    let by_2 = [client(2)];
    let vetoed = Facts { vetoes: &by_2, ..since(10) };
    assert_eq!(asked.opens_at(&vetoed), Some(NOW - 10 + 7200), "the longer one is left");
    let both = [client(2), client(3)];
    assert_eq!(asked.opens_at(&Facts { vetoes: &both, ..since(10) }), None);
}

#[test]
fn what_waits_says_until_when_and_what_waits_in_vain_does_not() {
    let opens = |condition: &[u8], facts: &Facts<'_>| Asked::new(condition).opens_at(facts);
    let later = Some(NOW + 3600);
    assert_eq!(opens(&delay(HOUR, &[]), &Facts::at(NOW)), later);
    assert_eq!(opens(&all(&[to(TO), delay(HOUR, &[])]), &Facts::at(NOW)), later);
    assert_eq!(opens(&all(&[delay(HOUR, &[]), to([1; 20])]), &Facts::at(NOW)), None);
    assert_eq!(opens(&all(&[delay(HOUR, &[]), approvals(1, &[4])]), &Facts::at(NOW)), None);
    assert_eq!(opens(&all(&[delay(HOUR, &[]), delay(7200, &[])]), &since(100)), Some(NOW + 7100));
    assert_eq!(opens(&to(TO), &Facts::at(NOW)), Some(NOW), "nothing to wait for");
    assert_eq!(opens(&to([1; 20]), &Facts::at(NOW)), None);
    let of_three = [delay(3 * HOUR, &[]), delay(HOUR, &[]), delay(2 * HOUR, &[])];
    for (count, hours) in [(1, 1), (2, 2), (3, 3)] {
        let until = NOW + hours * 3600;
        assert_eq!(opens(&at_least(count, &of_three), &Facts::at(NOW)), Some(until), "{count}");
    }
    let back = Facts { known_since: Some(NOW + 5), ..Facts::at(NOW) };
    assert_eq!(opens(&delay(HOUR, &[]), &back), Some(NOW + 3605));
    assert_eq!(opens(&delay(MAX_DELAY, &[]), &Facts::at(NOW)), Some(NOW + u64::from(MAX_DELAY)));
    // A rule for another payload opens nothing.
    let bytes = policy(&[
        rule("messages", Kinds::MESSAGE, &[], &delay(1, &[])),
        rule("payments", Kinds::PLAIN, &[], &delay(HOUR, &[])),
    ]);
    let request = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let request = SignedRequest::parse(&request).unwrap();
    assert_eq!(Policy::parse(&bytes).unwrap().opens_at(&request, &Facts::at(NOW)), later);
    assert_eq!(Policy::parse(&bytes).unwrap().opens_at(&request, &Facts::at(NOW + 60)), None);
}

/// It may wait, and a day more.
#[test]
fn a_request_may_expire_after_its_delay_and_no_later_than_a_day_after_it() {
    let short = Asked::new(&delay(HOUR, &[]));
    let policy = Policy::parse(&short.policy).unwrap();
    assert_eq!((policy.longest_delay(), policy.max_expiry()), (HOUR, MAX_EXPIRY + 3600));
    let at = |ago: u64| short.reason(&Facts::at(NOW + 60 - ago));
    assert!(matches!(at(MAX_EXPIRY + 3600), Some(Reason::Waiting { .. })));
    let far = Reason::ExpiryTooFar { limit: MAX_EXPIRY + 3600 };
    assert_eq!(at(MAX_EXPIRY + 3601), Some(far));
    assert_eq!(short.opens_at(&Facts::at(NOW + 60 - MAX_EXPIRY - 3601)), None);
    assert_eq!(Policy::parse(&single(&to(TO))).unwrap().max_expiry(), MAX_EXPIRY);
}

#[test]
fn delays_out_of_range_or_within_a_not_are_refused() {
    let with = |condition: Vec<u8>| Policy::parse(&single(&condition)).err();
    assert_eq!(with(delay(0, &[])), Some(FormError::Range("delay")));
    assert_eq!(with(delay(1, &[])), None);
    assert_eq!(with(delay(MAX_DELAY, &[1])), None);
    assert_eq!(with(delay(MAX_DELAY + 1, &[])), Some(FormError::Range("delay")));
    let many: Vec<u8> = (1..=MAX_VETOERS as u8).collect();
    assert_eq!(with(delay(1, &many)), None);
    let many: Vec<u8> = (1..=MAX_VETOERS as u8 + 1).collect();
    assert_eq!(with(delay(1, &many)), Some(FormError::TooMany("vetoers")));
    assert_eq!(with(delay(1, &[2, 2])), Some(FormError::NotSorted("vetoers")));
    let misplaced = Some(FormError::Misplaced("a delay within a not"));
    assert_eq!(with(not(delay(1, &[]))), misplaced);
    assert_eq!(with(not(not(delay(1, &[])))), misplaced);
    assert_eq!(with(any(&[to(TO), not(all(&[to(TO), delay(1, &[])]))])), misplaced);
    assert_eq!(with(all(&[not(to(TO)), delay(1, &[])])), None);
    let bytes = single(&delay(7, &[]));
    let rule = Policy::parse(&bytes).unwrap().rules().next().unwrap();
    assert!(matches!(rule.condition, Condition::Delay(Delay { seconds: 7, .. })));
    assert_eq!(delay(7, &[]), [0x1a, 0, 0, 0, 7, 0, 0], "the frozen form");
}

/// Whatever is built of delays and other conditions: a younger record and a veto more only ever deny, and
/// `opens_at` is the very second in which the judgement changes.
#[test]
fn less_record_and_more_vetoes_never_allow_more() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let (mut opened, mut vetoed_away) = (0, 0);
    for _ in 0..2000 {
        let condition = random(&mut below, 3);
        let asked = Asked::new(&condition);
        let vetoes: Vec<ClientKey> = (2..5).filter(|_| below(3) == 0).map(client).collect();
        for age in [None, Some(0), Some(below(40)), Some(20)] {
            let known_since = age.map(|age| NOW - age);
            let facts = Facts { known_since, vetoes: &vetoes, ..Facts::at(NOW) };
            let allowed = asked.reason(&facts).is_none();
            let opens = asked.opens_at(&facts);
            let unvetoed = Facts { vetoes: &[], ..facts };
            assert!(!allowed || asked.reason(&unvetoed).is_none(), "{condition:x?}");
            vetoed_away += usize::from(opens.is_none() && asked.opens_at(&unvetoed).is_some());
            let younger = Facts { known_since: None, ..facts };
            assert!(asked.reason(&younger).is_some() || allowed, "{condition:x?}");
            let Some(opens) = opens else {
                let old = Facts { known_since: Some(0), ..facts };
                assert!(asked.reason(&old).is_some(), "{condition:x?}");
                continue;
            };
            assert_eq!(allowed, opens <= NOW, "{condition:x?}");
            let start = known_since.unwrap_or(NOW);
            let elapsed = opens - start;
            let after = |elapsed| Facts { known_since: NOW.checked_sub(elapsed), ..facts };
            assert_eq!(asked.reason(&after(elapsed)), None, "{condition:x?}");
            if let Some(less) = elapsed.checked_sub(1) {
                assert!(asked.reason(&after(less)).is_some(), "{condition:x?}");
                opened += 1;
            }
        }
    }
    assert!(opened > 500 && vetoed_away > 200, "{opened} opened, {vetoed_away} vetoed");
}

fn random(below: &mut impl FnMut(u64) -> u64, depth: u32) -> Vec<u8> {
    let several = |below: &mut _| -> Vec<Vec<u8>> {
        (0..1 + random_count(below)).map(|_| random(below, depth - 1)).collect()
    };
    match if depth == 0 { 9 } else { below(7) } {
        0 | 1 => all(&several(below)),
        2 | 3 => any(&several(below)),
        4 => {
            let parts = several(below);
            at_least(1 + below(parts.len() as u64) as u8, &parts)
        }
        5 => not(if below(2) == 0 { to(TO) } else { chain(2) }),
        _ => match below(6) {
            0 => to(TO),
            1 => chain(2),
            _ => {
                let veto: Vec<u8> = (2..5).filter(|_| below(3) == 0).collect();
                delay(1 + below(30) as u32, &veto)
            }
        },
    }
}

fn random_count(below: &mut impl FnMut(u64) -> u64) -> u64 {
    below(3)
}
