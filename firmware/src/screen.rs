//! What the person at the device reads before it presses a button: what is signed, not a hash of it. A text that
//! is longer than a page has several, and the last of them takes the answer, so that nothing is hidden.

mod text;

use quorate_core::device::link::membership_digest;
use quorate_core::policy::ethereum::{Address, Transaction, TypedData};
use quorate_core::policy::payload::{Subject, Value};
use quorate_core::request::SignedRequest;

use crate::device::{About, Engine, Work};
use crate::keygen::{Held, KeyEntry, suite_name};
use crate::platform::{Person as _, Platform};
use text::Text;

/// Bytes of a page, without its number.
pub(crate) const PAGE: usize = 480;
/// Wei of one ether, as decimal places.
const ETHER: usize = 18;

impl<P: Platform> Engine<'_, P> {
    /// Shows a page of what is asked, and tells how many there are.
    #[inline(never)]
    pub(crate) fn show(&mut self, about: About, page: usize) -> usize {
        let mut text = Text::page(page);
        match about {
            About::Join(_) => self.tell_network(&mut text),
            About::Readmit(_) => text.say(
                "ACCEPT LOSS?\nThis device was put back to an earlier state. What it had spent since is \
                 unknown: all limits will count as fully spent.\n",
            ),
            About::Wipe(_) => text.say("ERASE EVERYTHING?\nAll shares on this device are lost.\n"),
            About::Forget(_, held) => self.tell_held_key(held, &mut text),
            About::Key => self.tell_key(&mut text),
            About::Sign(slot) => self.tell_request(slot, &mut text),
        }
        text.finish(|shown| self.person.show(shown))
    }

    fn tell_network(&self, text: &mut Text) {
        let Some(candidate) = &*self.candidate else { return };
        text.say("JOIN NETWORK?\n");
        text.hex(&candidate.id);
        text.line("as party ");
        text.number(candidate.me.number().into());
        text.say(" of ");
        text.number(candidate.members.len() as u64);
        text.line("members ");
        let digest = membership_digest(&candidate.id, candidate.me, &candidate.members);
        text.hex(digest.get(..16).unwrap_or_default());
        text.say("\n");
    }

    fn tell_held_key(&mut self, held: Held, text: &mut Text) {
        let Some(entry) = self.known.key_entry(held.place) else { return };
        text.say("FORGET KEY?\n");
        text.printable(entry.name.as_bytes());
        text.line("");
        text.hex(&entry.key);
        text.line(if held.active {
            "ACTIVE: its share on this device is lost\n"
        } else {
            "its making has not ended here\n"
        });
    }

    fn tell_key(&self, text: &mut Text) {
        let Work::Key(generation) = &*self.work else { return };
        let terms = &generation.terms;
        text.say("MAKE KEY?\n");
        text.printable(generation.name.as_bytes());
        text.line(suite_name(terms.suite));
        text.line("");
        text.number(terms.holders.threshold() as u64);
        text.say(" of ");
        text.number(terms.holders.count() as u64);
        text.say(" hold it, ");
        text.number(terms.holders.quorum() as u64);
        text.say(" sign");
        text.line("proposed by party ");
        text.number(generation.coordinator.number().into());
        text.line("policy ");
        text.hex(terms.context.get(..16).unwrap_or_default());
        text.say("\n");
    }

    fn tell_request(&mut self, slot: usize, text: &mut Text) {
        let Work::Sign(slots) = &*self.work else { return };
        let Some(signing) = slots.get(slot).and_then(Option::as_ref) else { return };
        if let Ok(request) = SignedRequest::parse_again(&signing.request) {
            let key = *request.key().as_bytes();
            let found = self.known.find_key(|entry| entry.key == key);
            let entry = found.and_then(|number| self.known.key_entry(number));
            tell(&request, entry.as_ref(), text);
        }
    }
}

#[inline(never)]
fn tell(request: &SignedRequest<'_>, entry: Option<&KeyEntry>, text: &mut Text) {
    use quorate_core::derive::Derivation;
    text.say("SIGN?\nkey ");
    text.printable(entry.map_or(&b""[..], |entry| entry.name.as_bytes()));
    match request.derivation() {
        Derivation::Root => {}
        Derivation::Path(path) => path.indices().iter().for_each(|index| {
            text.say("/");
            text.number((*index).into());
        }),
        Derivation::Context(context) => {
            text.say(" ");
            text.printable(context.as_str().as_bytes());
        }
    }
    match Subject::parse(&request.payload()) {
        Ok(Subject::Transaction(transaction)) => tell_transaction(&transaction, text),
        Ok(Subject::Message(message)) => {
            text.line("message:\n");
            text.printable(message);
        }
        Ok(Subject::TypedData(data)) if cfg!(feature = "typed-data") => tell_typed(&data, text),
        Ok(Subject::Digest(digest)) => {
            text.line("digest that nobody can read:\n");
            text.hex(&digest);
        }
        Ok(Subject::TypedData(_)) | Err(_) => text.line("a payload that this device cannot read"),
    }
    if !request.label().is_empty() {
        text.line("label ");
        text.printable(request.label().as_bytes());
    }
    text.say("\n");
}

fn tell_transaction(seen: &Transaction<'_>, text: &mut Text) {
    text.line("send ");
    text.amount(seen.value, ETHER);
    text.say(" ETH");
    match &seen.to {
        Some(to) => {
            text.line("to ");
            address(to, text);
        }
        None => text.line("NEW CONTRACT"),
    }
    text.line("chain ");
    text.number(seen.chain_id);
    text.line("fee at most ");
    text.amount(seen.max_fee, ETHER);
    text.say(" ETH");
    text.line("nonce ");
    text.number(seen.nonce);
    for authorization in seen.authorizations() {
        text.line("GIVES THE ACCOUNT THE CODE OF ");
        address(&authorization.address, text);
    }
    tell_call(seen.data, text);
}

/// A transfer or an approval of a token in words, and whatever it is in bytes.
fn tell_call(data: &[u8], text: &mut Text) {
    let Some((selector, arguments)) = data.split_first_chunk::<4>() else {
        if !data.is_empty() {
            text.line("data ");
            text.hex(data);
        }
        return;
    };
    let verb = match selector {
        [0xa9, 0x05, 0x9c, 0xbb] => Some("TOKEN transfer to "),
        [0x09, 0x5e, 0xa7, 0xb3] => Some("TOKEN approval for "),
        _ => None,
    };
    let words = arguments.split_first_chunk::<32>().and_then(|(to, rest)| {
        let amount: &[u8; 32] = rest.try_into().ok()?;
        let (zeros, account) = to.split_first_chunk::<12>()?;
        (*zeros == [0; 12]).then_some((account, amount))
    });
    if let (Some(verb), Some((account, amount))) = (verb, words) {
        text.line(verb);
        let mut to = [0; 20];
        to.iter_mut().zip(account).for_each(|(to, from)| *to = *from);
        address(&Address(to), text);
        text.line("of this contract's units ");
        text.amount(quorate_core::policy::Amount::from_be_bytes(amount), 0);
        return;
    }
    text.line("calls ");
    text.hex(selector);
    text.line("with ");
    text.number(arguments.len() as u64);
    text.say(" bytes: ");
    text.hex(arguments);
}

fn tell_typed(data: &TypedData<'_>, text: &mut Text) {
    text.line("typed data ");
    text.printable(data.primary_type().as_bytes());
    for field in ["name", "version", "chainId", "verifyingContract"] {
        if let Some(value) = data.domain(field) {
            text.line(field);
            text.say(" ");
            match value {
                Value::Text(word) => text.printable(word.as_bytes()),
                Value::Uint(amount) => text.amount(amount, 0),
                Value::Address(account) => address(&account, text),
                _ => text.say("?"),
            }
        }
    }
    text.line("hash ");
    text.hex(&data.digest());
}

fn address(address: &Address, text: &mut Text) {
    text.say("0x");
    text.say_bytes(&address.checksummed());
}
