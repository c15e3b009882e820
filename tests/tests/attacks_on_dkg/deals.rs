//! Attacks on the one signature that covers all private messages of a dealer.

use quorate_core::session::{Abort, Fault};
use quorate_tests::simulator::forge::*;
use quorate_tests::simulator::*;

use super::{DEAL, OPEN, SEEDS, bad_deal, corrupt, honest, is, run};

#[test]
fn a_list_of_another_length_is_malformed() {
    for change in [
        |deal: &mut Deal| deal.others.truncate(1),
        |deal: &mut Deal| deal.others.clear(),
        |deal: &mut Deal| deal.others.push([1; 32]),
    ] {
        for seed in SEEDS {
            let done = run(seed, &mut |packet| {
                let victim = is(&packet, 3, DEAL) && packet.to == id(2);
                vec![if victim { resigned(packet, change) } else { packet }]
            });
            let expected = Abort::Culprit(corrupt(), Fault::Malformed);
            assert_eq!(done.aborted.get(&id(2)), Some(&expected), "seed {seed}");
        }
    }
}

/// Party 3 complains about what it does not show as it was signed: `show` makes it of party 1's R3 to party 2,
/// who colludes, and to party 3.
fn names_the_accuser(show: impl Fn(Forged<Deal>, Forged<Deal>) -> Forged<Deal>) {
    for seed in SEEDS {
        let (mut open, mut to_2, mut to_3) = (None, None, None);
        let mut complained = false;
        let done = run(seed, &mut |packet| {
            if is(&packet, 1, OPEN) {
                open = Some(parse::<Forged<Open>>(&packet.bytes));
            }
            if is(&packet, 1, DEAL) {
                let place = if packet.to == id(2) { &mut to_2 } else { &mut to_3 };
                if packet.to != id(4) {
                    *place = Some(parse::<Forged<Deal>>(&packet.bytes));
                }
            }
            // Its own R3 is held back, so that nobody is done.
            if is(&packet, 3, DEAL) {
                return Vec::new();
            }
            let (Some(open), Some(two), Some(three)) = (&open, &to_2, &to_3) else {
                return vec![packet];
            };
            let mut out = vec![packet.clone()];
            if !std::mem::replace(&mut complained, true) {
                let header = quorate_core::session::Header { round: 0, to: None, ..three.header };
                let header = quorate_core::session::Header { from: corrupt(), ..header };
                let complaint = bad_deal(open, show(two.clone(), three.clone()));
                let bytes = bytes_of(&signed(header, complaint));
                let packets =
                    honest().map(|to| Packet { from: corrupt(), to, bytes: bytes.clone() });
                out.extend(packets);
            }
            out
        });
        for me in honest() {
            let expected = Abort::Culprit(corrupt(), Fault::FalseComplaint);
            assert_eq!(done.aborted.get(&me), Some(&expected), "party {me}, seed {seed}");
        }
    }
}

#[test]
fn a_complaint_with_another_list_is_false() {
    names_the_accuser(|_, mut deal| {
        deal.body.others[0][0] ^= 1;
        deal
    });
    names_the_accuser(|_, mut deal| {
        deal.body.others.swap(0, 1);
        deal
    });
    names_the_accuser(|_, mut deal| {
        deal.body.others.pop();
        deal
    });
    names_the_accuser(|_, mut deal| {
        deal.body.share[31] ^= 1;
        deal
    });
}

/// The share for another party does not fit the accuser, and it is signed: but in another place of the list.
#[test]
fn a_complaint_that_shows_what_another_got_is_false() {
    names_the_accuser(|other, _| other);
    names_the_accuser(|mut other, own| {
        other.body.others.clone_from(&own.body.others);
        other
    });
    names_the_accuser(|mut other, own| {
        other.body.others = vec![own.body.own_digest(), own.body.others[1]];
        other
    });
}
