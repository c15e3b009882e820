//! Answers of a real chain about contracts that were compiled from Solidity.

use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::ethereum::abi::{self, Signature};
use quorate_core::policy::fact::At;
use quorate_core::policy::payload::Value;
use quorate_node::facts::{OwnedAnswer, OwnedQuestion, Seen};
use quorate_tests::web::{Asked, Does, Server, forward};
use quorate_tests::world::{Word, World, call};
use serde_json::json;

use super::{LONG, chain_sources, one, unknown};

const OWNER: Address = Address([0xab; 20]);

fn at(confirmations: u16) -> At {
    At { chain: 31337, confirmations }
}

fn asks(contract: Address, confirmations: u16, function: &str, words: &[Word]) -> OwnedQuestion {
    OwnedQuestion::Call { at: at(confirmations), contract, data: call(function, words) }
}

fn balance(confirmations: u16) -> OwnedQuestion {
    OwnedQuestion::Balance { at: at(confirmations), account: OWNER }
}

fn word(number: u64) -> OwnedAnswer {
    OwnedAnswer::Call(Amount::from_u128(number.into()).to_be_bytes().to_vec())
}

fn returned(answer: OwnedAnswer) -> Vec<u8> {
    match answer {
        OwnedAnswer::Call(returned) => returned,
        other => panic!("{other:?}"),
    }
}

#[test]
fn contracts_answer_as_they_are() {
    let world = World::start();
    let sources = chain_sources(&[world.chain.url()], 1, LONG);
    let (owner, seven) = (Word::Account(OWNER), Word::Number(7));
    world.send(world.coin, "mint(address,uint256)", &[owner, Word::Number(5)]);
    world.send(world.badge, "mint(address,uint256)", &[owner, seven]);
    world.pay(OWNER, 1_000);
    let coins = |below| asks(world.coin, below, "balanceOf(address)", &[owner]);
    let holder = |id| asks(world.badge, 0, "ownerOf(uint256)", &[Word::Number(id)]);
    assert_eq!(one(&sources, &coins(0)), Ok(word(5)));
    let mut account = [0; 32];
    account[12..].copy_from_slice(&OWNER.0);
    assert_eq!(one(&sources, &holder(7)), Ok(OwnedAnswer::Call(account.to_vec())));
    assert_eq!(one(&sources, &balance(0)), Ok(OwnedAnswer::Balance(Amount::from_u128(1_000))));
    // Three transactions ago there were none.
    assert_eq!(one(&sources, &coins(3)), Ok(word(0)));
    assert_eq!(one(&sources, &balance(1)), Ok(OwnedAnswer::Balance(Amount::ZERO)));

    let book = asks(world.vault, 0, "book(uint256)", &[seven]);
    let book = returned(one(&sources, &book).unwrap());
    let types = Signature::parse("f((bool,(address,uint128,int64,string)[]),uint256)").unwrap();
    let read = |path: &[u32]| abi::argument(&book, types.types(), path).unwrap();
    assert_eq!(read(&[0, 1, 1, 1]), Value::Uint(Amount::from_u128(7_000)));
    assert_eq!(read(&[1]), Value::Uint(Amount::from_u128(world.height().into())));

    // What is not, has no answer, and no wrong one.
    unknown(&sources, &holder(8), "eth_call: ");
    unknown(
        &sources,
        &asks(world.vault, 0, "book(uint256)", &[Word::Number(1000)]),
        "no such book",
    );
    unknown(&sources, &asks(world.vault, 0, "flood()", &[]), "more than 8192 bytes");
    let nobody = asks(OWNER, 0, "balanceOf(address)", &[owner]);
    assert_eq!(one(&sources, &nobody), Ok(OwnedAnswer::Call(Vec::new())));
    unknown(&sources, &balance(60_000), "no block with so many confirmations");
    let elsewhere = OwnedQuestion::Block { at: At { chain: 1, confirmations: 0 } };
    unknown(&sources, &elsewhere, "[[facts.chain]] of this node's quorate.toml is for chain 1");
}

/// However the chain goes on meanwhile, one request looks at one block.
#[test]
fn all_questions_of_a_request_are_about_one_block() {
    let world = World::start();
    let (url, mine) = (world.chain.url().to_owned(), world.chain.url().to_owned());
    let to: std::net::SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    // A block is mined before every call.
    let moving = Server::start(move |asked: &Asked| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "anvil_mine", "params": ["0x1"] });
        ureq::post(&mine).send_json(&body).unwrap();
        Does::Says(forward(to, asked))
    });
    let sources = chain_sources(&[&moving.url()], 1, LONG);
    let owner = [Word::Account(OWNER)];
    let questions = [
        OwnedQuestion::Block { at: at(2) },
        balance(2),
        asks(world.coin, 2, "balanceOf(address)", &owner),
        asks(world.vault, 2, "book(uint256)", &[Word::Number(1)]),
    ];
    let known = sources.fetch(&questions);
    let seen: Vec<Seen> = known.found().map(|(_, found)| found.seen).collect();
    assert_eq!(seen.len(), 4, "{known:?}");
    assert!(seen.iter().all(|other| *other == seen[0]), "{seen:?}");
    let Seen::Block { number, .. } = seen[0] else { panic!("{seen:?}") };
    let book = known.found().nth(3).map(|(_, found)| found.answer.clone()).unwrap();
    let types = Signature::parse("f((bool,(address,uint128,int64,string)[]),uint256)").unwrap();
    let height = abi::argument(&returned(book), types.types(), &[1]).map(|value| match value {
        Value::Uint(height) => height,
        other => panic!("{other:?}"),
    });
    assert_eq!(height, Ok(Amount::from_u128(number.into())));
}

#[test]
fn a_reorg_below_the_confirmations_changes_no_answer() {
    let world = World::start();
    let sources = chain_sources(&[world.chain.url()], 1, LONG);
    let owner = Word::Account(OWNER);
    world.send(world.coin, "mint(address,uint256)", &[owner, Word::Number(5)]);
    world.mine(3);
    world.send(world.coin, "mint(address,uint256)", &[owner, Word::Number(100)]);
    let coins = |below| asks(world.coin, below, "balanceOf(address)", &[owner]);
    let before = sources.fetch(&[coins(3)]).found().next().unwrap().1.clone();
    assert_eq!((one(&sources, &coins(0)), before.answer.clone()), (Ok(word(105)), word(5)));
    let height = world.height();
    world.ask("anvil_reorg", json!([2, []]));
    assert_eq!(world.height(), height);
    assert_eq!(one(&sources, &coins(0)), Ok(word(5)), "the second mint is in no block any more");
    let after = sources.fetch(&[coins(3)]).found().next().unwrap().1.clone();
    assert_eq!(after, before, "the same block, by its hash, and the same answer");
}

/// `{"result": …}` of one method changed on the way.
fn changed(world: &World, method: &'static str, result: &'static str) -> Server {
    let to = world.chain.url().trim_start_matches("http://").parse().unwrap();
    Server::start(move |asked| match asked.call().is_some_and(|call| call["method"] == method) {
        true => Does::result(asked, &json!(result)),
        false => Does::Says(forward(to, asked)),
    })
}

#[test]
fn endpoints_that_must_agree_outvote_a_liar() {
    let world = World::start();
    world.mine(20);
    world.pay(OWNER, 1_000);
    let (rich, poor) =
        (changed(&world, "eth_getBalance", "0xffffff"), changed(&world, "eth_getBalance", "0x0"));
    let ahead = changed(&world, "eth_blockNumber", "0xffff");
    let (honest, rich, poor) = (world.chain.url(), rich.url(), poor.url());
    let too = format!("{honest}/");
    let right = Ok(OwnedAnswer::Balance(Amount::from_u128(1_000)));
    for endpoints in [[honest, &too, &rich], [&rich, &too, honest], [&ahead.url(), honest, &too]] {
        let sources = chain_sources(&endpoints, 2, LONG);
        assert_eq!(one(&sources, &balance(0)), right, "{endpoints:?}");
        let block = OwnedQuestion::Block { at: at(5) };
        let found = one(&sources, &block);
        let Ok(OwnedAnswer::Block { number, .. }) = found else { panic!("{found:?}") };
        assert_eq!(number, world.height() - 5, "{endpoints:?}");
    }
    unknown(&chain_sources(&[honest, &rich, &poor], 2, LONG), &balance(0), "do not answer alike");
    unknown(&chain_sources(&[honest, &too, &rich], 3, LONG), &balance(0), "do not answer alike");
    // Alone, an endpoint is believed: that is what `agree` is for.
    let believed = one(&chain_sources(&[&rich, honest], 1, LONG), &balance(0));
    assert_eq!(believed, Ok(OwnedAnswer::Balance(Amount::from_u128(0xff_ffff))));
}
