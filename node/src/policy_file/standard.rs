//! Calls of token standards that people have a shorter form for.

use quorate_core::policy::Amount;
use quorate_core::policy::condition::{Account, Call, Wanted, Word};
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::ethereum::abi::Signature;
use quorate_core::policy::matcher::{Bound, Test};

/// A function of a standard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// The function, as its selector comes from it.
    pub(super) function: &'static str,
    /// What it returns.
    pub(super) returns: &'static str,
}

/// How much of a token an account has. ERC-721 has the same function.
pub(super) const ERC20: Form = Form { function: "balanceOf(address)", returns: "(uint256)" };
/// Whose a token is.
pub(super) const ERC721: Form = Form { function: "ownerOf(uint256)", returns: "(address)" };
/// How much of one of a contract's tokens an account has.
pub(super) const ERC1155: Form =
    Form { function: "balanceOf(address,uint256)", returns: "(uint256)" };

/// A call that is one of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standard<'a> {
    Erc20 { owner: Account, bound: Bound },
    Erc721 { id: Amount, wanted: Wanted<'a> },
    Erc1155 { owner: Account, id: Amount, bound: Bound },
}

impl Form {
    fn is(self, call: &Call<'_>) -> bool {
        let returns = Signature::parse(&format!("f{}", self.returns));
        let (Ok(function), Ok(returns)) = (Signature::parse(self.function), returns) else {
            return false;
        };
        call.selector == function.selector
            && call.parameters == function.types()
            && call.returns == returns.types()
            && call.path.steps() == [0]
    }
}

/// The account that a word is.
pub(super) fn account(word: Word) -> Option<Account> {
    match word {
        Word::Key => Some(Account::Key),
        Word::Recipient => Some(Account::Recipient),
        Word::Fixed(word) => {
            let (unused, account) = word.split_at_checked(12)?;
            let account = account.try_into().ok()?;
            unused.iter().all(|byte| *byte == 0).then_some(Account::Fixed(Address(account)))
        }
        Word::Value => None,
    }
}

fn number(word: Word) -> Option<Amount> {
    match word {
        Word::Fixed(word) => Some(Amount::from_be_bytes(&word)),
        _ => None,
    }
}

/// The standard's call that this is, if it is one.
pub(super) fn recognised<'a>(call: &Call<'a>) -> Option<Standard<'a>> {
    let mut words = call.words.iter();
    let mut next = || words.next();
    match call.wanted {
        wanted if ERC721.is(call) => Some(Standard::Erc721 { id: number(next()?)?, wanted }),
        Wanted::Test(Test::Unsigned(bound)) if ERC20.is(call) => {
            Some(Standard::Erc20 { owner: account(next()?)?, bound })
        }
        Wanted::Test(Test::Unsigned(bound)) if ERC1155.is(call) => {
            Some(Standard::Erc1155 { owner: account(next()?)?, id: number(next()?)?, bound })
        }
        _ => None,
    }
}
