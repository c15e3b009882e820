//! Below the messages: a member that breaks the rules of frames loses its link, and is told why.

use quorate_node::identity::IdentityKey;
use quorate_node::membership::Membership;
use quorate_node::network::connect_raw;
use quorate_node::network::frame::{Frame, Hello, Kind, MAX_FRAME, VERSION, encode_raw};
use tokio::io::AsyncWriteExt as _;

use crate::node_process::wait_for;
use crate::scene::Scene;

/// Nobody dials the party with the lowest id, so that what is said of it stays until it comes again.
const DIALLER: u16 = 1;

struct Forger {
    identity: IdentityKey,
    membership: Membership,
    runtime: tokio::runtime::Runtime,
}

impl Forger {
    /// A new link to `party`, these bytes on it, and then the end of it.
    fn say(&self, party: u16, bytes: &[u8]) {
        let member = self.membership.member(party).unwrap();
        self.runtime.block_on(async {
            let address = member.address.parse().unwrap();
            let mut link = connect_raw(&self.identity, &member.identity, address).await.unwrap();
            // The other side may be gone before all is said: that is its right.
            let _ = link.write_all(bytes).await;
            let _ = link.shutdown().await;
            let mut rest = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut link, &mut rest).await;
        });
    }
}

#[test]
fn broken_frames_are_named_and_cost_one_link() {
    let scene = Scene::with_key(DIALLER, false);
    let forger = Forger {
        identity: IdentityKey::from_secret(&scene.identity.secret().unwrap()),
        membership: Membership::load(&scene.root.path().join("membership.toml")).unwrap(),
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
    };
    let hello = Hello { version: VERSION, network: scene.network_id, party: DIALLER };
    let after = |bytes: &[u8]| [&Frame::Hello(hello).encode()[..], bytes].concat();
    let too_long = MAX_FRAME as u32 + 1;
    let long = format!("an oversize frame ({too_long} bytes, at most {MAX_FRAME} are allowed)");
    let cases: [(&str, Vec<u8>); 13] = [
        ("a truncated frame (9 of 25 bytes", after(&encode_raw(1, &[0; 20])[..9])),
        ("a truncated frame (3 of 5 bytes", after(&[0, 0, 0])),
        (&long, after(&too_long.to_be_bytes())),
        ("an oversize frame (4294967295 bytes", after(&[0xff; 64])),
        ("an empty frame", after(&[0; 4])),
        ("a frame of unknown kind 9", after(&encode_raw(9, b"what is this"))),
        ("a ping frame of a wrong size (7 bytes)", after(&encode_raw(2, &[0; 7]))),
        ("a pong (77) that answers no ping", after(&Frame::Pong(77).encode())),
        ("a second hello", after(&Frame::Hello(hello).encode())),
        ("a message frame before its hello", encode_raw(Kind::Message as u8, b"hello?")),
        ("a hello of transport version 9", Frame::Hello(Hello { version: 9, ..hello }).encode()),
        (
            "belongs to network 07070707070707070707070707070707",
            Frame::Hello(Hello { network: [7; 16], ..hello }).encode(),
        ),
        ("claims to be party 3", Frame::Hello(Hello { party: 3, ..hello }).encode()),
    ];
    for (turn, (why, bytes)) in cases.into_iter().enumerate() {
        let party = scene.nodes[turn % scene.nodes.len()].party;
        scene.sign_while(|| forger.say(party, &bytes));
        let said = wait_for(why, || {
            scene.sees(party, DIALLER).last_error.filter(|text| text.contains(why))
        });
        assert!(said.starts_with(&format!("party {DIALLER} ")), "{said}");
        let log = scene.node(party).log();
        assert!(log.contains(&said), "{said:?} is not in the log of party {party}: {log}");
        println!("refused by party {party}: {said}");
        for other in scene.nodes.iter().filter(|node| node.party != party) {
            assert!(scene.sees(party, other.party).connected, "another link broke");
        }
    }
    scene.nobody_honest_is_blamed();
}
