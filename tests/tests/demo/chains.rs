//! The demo on real chains, which mine what it signs.

use quorate_core::policy::ethereum::Address;
use quorate_tests::chain::{Anvil, Chain, Hardhat, judge};
use serde_json::json;

use super::{Place, check_story, lines};

#[test]
fn anvil_mines_all_that_the_demo_signs() {
    all_is_mined(&Anvil::start(), &[], "software emulation (NOT an HSM)");
}

#[test]
fn hardhat_mines_all_that_the_demo_signs_with_tokens() {
    all_is_mined(&Hardhat::start(), &["--hsm", "pkcs11"], "SoftHSM");
}

fn all_is_mined(chain: &Chain, arguments: &[&str], hsm: &str) {
    let place = Place::new();
    let output = place.run(&[&["--json", "--chain", chain.url()], arguments].concat());
    let lines = lines(&output);
    let (key, signatures) = check_story(&lines, hsm, true);
    let address = key["address"].as_str().unwrap();
    for line in signatures {
        let receipt = &line["receipt"];
        assert_eq!(
            (&receipt["status"], &receipt["transactionHash"]),
            (&"0x1".into(), &line["hash"])
        );
        assert_eq!(receipt["from"].as_str().unwrap().to_lowercase(), address.to_lowercase());
        // The receipt was not made up: the chain has the transaction in that block.
        let found = chain.rpc("eth_getTransactionByHash", json!([line["hash"]])).unwrap();
        assert_eq!(found["blockNumber"], receipt["blockNumber"], "{chain:?}: {found}");
        assert_eq!(found["from"].as_str().unwrap().to_lowercase(), address.to_lowercase());
        // And ethers agrees with libsecp256k1.
        let verdict = judge(line["raw_transaction"].as_str().unwrap());
        assert!(verdict.low_s);
        assert_eq!(verdict.from, address);
    }
    // Nothing else was ever sent from there, so what was denied was not.
    let sender = Address::from_hex(address).unwrap();
    assert_eq!(chain.nonce(sender), Ok(signatures.len() as u64));
    place.is_clean();
}

/// For people, the block is named.
#[test]
fn people_read_in_which_block_it_was_mined() {
    let (chain, place) = (Anvil::start(), Place::new());
    let output = place.run(&["--chain", chain.url()]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.stdout.matches("mined in block").count(), 5, "{}", output.stdout);
    place.is_clean();
}
