//! The largest states in a small stack: a run for 16 holders and 512 nonce keys is large, and moves.

use quorate_core::party::PartySet;
use quorate_tests::simulator::*;

const STACK: usize = 1 << 20;

#[test]
fn the_largest_group_fits_a_stack_of_one_mebibyte() {
    let made = std::thread::Builder::new().stack_size(STACK).spawn(|| {
        let terms = terms(PartySet::first(13), 5, 5).unwrap();
        let mut network = Network::new(5, Weather { reorder: true, ..Weather::default() });
        // A bad private message as well, so that a complaint is made, read and judged.
        let mut spoil = |packet: Packet| {
            let bad = forge::kind(&packet).is_some_and(|(_, round)| round == 3)
                && packet.from == id(3)
                && packet.to == id(2);
            let change = |deal: &mut forge::Deal| deal.share[31] ^= 1;
            vec![if bad { forge::resigned(packet, change) } else { packet }]
        };
        let spoiled = generate(&terms, 5, &mut network, &mut spoil);
        let mut network = Network::new(5, Weather { reorder: true, ..Weather::default() });
        let made = generate(&terms, 5, &mut network, &mut |packet| vec![packet]);
        (made.finished.len(), spoiled.evidence.len())
    });
    let (made, evidence) = made.unwrap().join().unwrap();
    assert_eq!(made, 13);
    assert!(evidence > 1, "{evidence}");
}
