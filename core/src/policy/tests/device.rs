//! What a device leaves to others, and what it asks the person before it.

use super::facts::{Known, balance_at_least, block_age, price};
use super::*;
use crate::policy::fact::NoAnswers;

fn elsewhere(part: Vec<u8>) -> Vec<u8> {
    group(&[kind::ELSEWHERE], &[part])
}

fn confirm() -> Vec<u8> {
    std::vec![kind::CONFIRM]
}

fn device(confirmation: Confirmation) -> Facts<'static> {
    Facts::on_device(NOW, confirmation)
}

/// Why a transfer of 5 wei is denied: none if it is allowed.
fn code(condition: &[u8], facts: &Facts<'_>) -> Option<&'static str> {
    let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], condition)]);
    let sent = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let request = SignedRequest::parse(&sent).unwrap();
    let policy = Policy::parse(&bytes).unwrap();
    policy.judge(&request, facts, &mut |_| {}).err().map(|denial| denial.code())
}

fn needs(condition: &[u8], facts: &Facts<'_>) -> bool {
    let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], condition)]);
    let sent = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let request = SignedRequest::parse(&sent).unwrap();
    Policy::parse(&bytes).unwrap().needs_confirmation(&request, facts)
}

#[test]
fn their_form_is_frozen() {
    assert_eq!(elsewhere(balance_at_least(1))[..2], [0x46, 1]);
    assert_eq!(confirm(), [0x47]);
}

#[test]
fn a_device_takes_as_true_what_is_checked_elsewhere() {
    let rich = balance_at_least(10);
    let left = all(&[to(TO), elsewhere(rich.clone())]);
    for said in [Confirmation::NotAsked, Confirmation::Confirmed, Confirmation::Refused] {
        assert_eq!(code(&left, &device(said)), None);
        assert_eq!(code(&rich, &device(said)), Some("not-there"), "its own account is not known");
        assert_eq!(code(&block_age(60), &device(said)), Some("fact"));
        assert_eq!(code(&not(block_age(60)), &device(said)), Some("fact"));
    }
    // The rest it judges.
    let stranger = all(&[to([1; 20]), elsewhere(rich.clone())]);
    assert_eq!(code(&stranger, &device(Confirmation::NotAsked)), Some("recipient"));
    // A node looks as if it stood there alone.
    let known = |wei| Known { wei, ..Known::default() };
    let at = |answers: &Known, condition: &[u8]| {
        code(condition, &Facts { answers, account: Some(Address([9; 20])), ..Facts::at(NOW) })
    };
    for (wei, expected) in [(Some(10), None), (Some(9), Some("balance")), (None, Some("fact"))] {
        assert_eq!(at(&known(wei), &elsewhere(rich.clone())), expected);
        assert_eq!(at(&known(wei), &rich), expected);
    }
    assert_eq!(at(&known(Some(9)), &elsewhere(not(rich.clone()))), None);
    assert_eq!(at(&known(Some(9)), &any(&[chain(2), elsewhere(rich)])), Some("balance"));
}

#[test]
fn a_device_asks_the_world_nothing_that_is_checked_elsewhere() {
    let asked = |condition: &[u8], facts: &Facts<'_>| {
        let bytes = policy(&[rule("rule", Kinds::PLAIN, &[], condition)]);
        let sent = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
        let request = SignedRequest::parse(&sent).unwrap();
        let mut count = 0;
        Policy::parse(&bytes).unwrap().questions(&request, facts, &mut |_| count += 1);
        count
    };
    let both = elsewhere(all(&[block_age(60), price()]));
    assert_eq!(asked(&both, &Facts { answers: &NoAnswers, ..Facts::at(NOW) }), 2);
    assert_eq!(asked(&both, &device(Confirmation::Confirmed)), 0);
    assert_eq!(asked(&all(&[both, confirm()]), &device(Confirmation::NotAsked)), 0);
}

#[test]
fn only_what_asks_the_world_is_checked_elsewhere() {
    let with = |condition: Vec<u8>| {
        Policy::parse(&policy(&[rule("rule", Kinds::PLAIN, &[], &condition)])).err()
    };
    assert_eq!(with(elsewhere(price())), None);
    assert_eq!(with(elsewhere(any(&[price(), not(block_age(1))]))), None);
    assert_eq!(with(elsewhere(at_least(1, &[price(), all(&[block_age(1)])]))), None);
    let own = Some(FormError::Misplaced("what asks the world nothing, within an elsewhere,"));
    assert_eq!(with(elsewhere(chain(1))), own);
    assert_eq!(with(elsewhere(before(9))), own);
    assert_eq!(with(elsewhere(approvals(1, &[3]))), own);
    assert_eq!(with(elsewhere(confirm())), own);
    assert_eq!(with(elsewhere(elsewhere(price()))), own);
    assert_eq!(with(elsewhere(all(&[price(), not(any(&[price(), to(TO)]))]))), own);
    let two = group(&[kind::ELSEWHERE], &[price(), price()]);
    assert_eq!(with(two), Some(FormError::Range("elsewhere")));
    let none = group(&[kind::ELSEWHERE], &[]);
    assert_eq!(with(none), Some(FormError::Empty("conditions")));
    // What would hold because nobody looked, or because somebody refused.
    let turned = Some(FormError::Misplaced("an elsewhere within a not"));
    assert_eq!(with(not(elsewhere(price()))), turned);
    assert_eq!(with(not(any(&[chain(1), all(&[elsewhere(price())])]))), turned);
    let turned = Some(FormError::Misplaced("a confirmation within a not"));
    assert_eq!(with(not(confirm())), turned);
    assert_eq!(with(any(&[to(TO), not(all(&[chain(1), confirm()]))])), turned);
    assert_eq!(with(all(&[not(chain(2)), confirm(), elsewhere(price())])), None);
}

#[test]
fn a_person_confirms_or_refuses_on_a_device_and_a_node_has_no_button() {
    use Confirmation::{Confirmed, NotAsked, Refused};
    let asked = all(&[to(TO), confirm()]);
    assert_eq!(code(&asked, &Facts::at(NOW)), None);
    assert_eq!(code(&asked, &device(NotAsked)), Some("unconfirmed"));
    assert_eq!(code(&asked, &device(Confirmed)), None);
    assert_eq!(code(&asked, &device(Refused)), Some("refused"));
    assert_eq!(Reason::Refused.code(), "refused");
    assert_eq!(std::format!("{}", Reason::Refused), "it was refused at the device");
    assert_eq!(
        std::format!("{}", Reason::Unconfirmed),
        "nobody has confirmed it at the device yet"
    );
    // Another way may be open, and another may not.
    assert_eq!(code(&any(&[confirm(), chain(1)]), &device(Refused)), None);
    assert_eq!(code(&any(&[chain(2), confirm()]), &device(Refused)), Some("refused"));
    assert_eq!(code(&at_least(2, &[chain(1), to(TO), confirm()]), &device(NotAsked)), None);
}

#[test]
fn a_person_is_asked_only_if_that_helps() {
    use Confirmation::{Confirmed, NotAsked, Refused};
    let fresh = device(NotAsked);
    assert!(needs(&confirm(), &fresh));
    assert!(needs(&all(&[to(TO), confirm(), elsewhere(price())]), &fresh));
    assert!(needs(&any(&[chain(2), confirm()]), &fresh));
    assert!(needs(&any(&[all(&[confirm(), price()]), confirm()]), &fresh));
    // Denied anyway.
    assert!(!needs(&all(&[confirm(), to([1; 20])]), &fresh));
    assert!(!needs(&all(&[confirm(), price()]), &fresh), "a device finds out no price");
    // Allowed anyway.
    assert!(!needs(&any(&[confirm(), chain(1)]), &fresh));
    assert!(!needs(&to(TO), &fresh));
    // Nobody to ask, or not again.
    assert!(!needs(&confirm(), &device(Confirmed)));
    assert!(!needs(&confirm(), &device(Refused)));
    assert!(!needs(&confirm(), &Facts::at(NOW)));
    // Too late, or too early.
    assert!(!needs(&confirm(), &Facts::on_device(NOW + 60, NotAsked)));
    assert!(!needs(&confirm(), &Facts::on_device(NOW + 59 - MAX_EXPIRY, NotAsked)));
    let of_messages = policy(&[rule("messages", Kinds::MESSAGE, &[], &confirm())]);
    let sent = signed(Payload::EthereumTransaction(&transaction(5)), &[]);
    let request = SignedRequest::parse(&sent).unwrap();
    assert!(!Policy::parse(&of_messages).unwrap().needs_confirmation(&request, &fresh));
}

/// Whatever is built of them: a refusal and a question that nobody answered allow no more than a yes, and a
/// person is asked exactly if the answer decides.
#[test]
fn a_refusal_never_allows_and_the_question_always_decides() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % limit
    };
    let (mut asked, mut refused) = (0, 0);
    for _ in 0..3000 {
        let condition = random(&mut below, 3);
        let allowed = |said| code(&condition, &device(said)).is_none();
        let yes = allowed(Confirmation::Confirmed);
        let (no, silent) = (allowed(Confirmation::Refused), allowed(Confirmation::NotAsked));
        assert!(yes || !no && !silent, "{condition:x?}");
        assert_eq!(no, silent, "{condition:x?}");
        let needed = needs(&condition, &device(Confirmation::NotAsked));
        assert_eq!(needed, yes && !silent, "{condition:x?}");
        asked += usize::from(needed);
        refused += usize::from(!yes);
    }
    assert!(asked > 300 && refused > 300, "{asked} asked, {refused} refused");
}

fn random(below: &mut impl FnMut(u64) -> u64, depth: u32) -> Vec<u8> {
    let several = |below: &mut _| -> Vec<Vec<u8>> {
        (0..2 + several_more(below)).map(|_| random(below, depth - 1)).collect()
    };
    match if depth == 0 { 9 } else { below(7) } {
        0 | 1 => all(&several(below)),
        2 | 3 => any(&several(below)),
        4 => {
            let parts = several(below);
            at_least(1 + below(parts.len() as u64) as u8, &parts)
        }
        5 => not(if below(2) == 0 { chain(2) } else { block_age(1) }),
        _ => match below(6) {
            0 => to(TO),
            1 => chain(2),
            2 => block_age(1),
            3 => elsewhere(block_age(1)),
            _ => confirm(),
        },
    }
}

fn several_more(below: &mut impl FnMut(u64) -> u64) -> u64 {
    below(2)
}
