//! A page of a text that is written from its beginning each time it is shown: no page but the one that is
//! looked at takes memory.

use heapless::String;
use quorate_core::policy::Amount;

use super::PAGE;

/// A page, and room for what stands below it.
const ROOM: usize = PAGE + 24;

pub(super) struct Text {
    shown: String<ROOM>,
    /// Bytes before the page.
    skip: usize,
    page: usize,
    written: usize,
}

impl Text {
    /// This page, from 0.
    pub(super) fn page(page: usize) -> Self {
        Self { shown: String::new(), skip: page.saturating_mul(PAGE), page, written: 0 }
    }

    /// Shows the page, and tells how many there are.
    pub(super) fn finish(mut self, show: impl FnOnce(&str)) -> usize {
        let pages = self.written.div_ceil(PAGE).max(1);
        if pages > 1 {
            // Written behind the page, whatever its number.
            (self.skip, self.written) = (0, 0);
            let page = self.page as u64 + 1;
            self.footer("\npage ");
            self.footer_number(page);
            self.footer("/");
            self.footer_number(pages as u64);
        }
        show(&self.shown);
        pages
    }

    fn footer(&mut self, words: &str) {
        let _ = self.shown.push_str(words);
    }

    fn footer_number(&mut self, number: u64) {
        let mut digits = [0; 20];
        self.footer(decimal(Amount::from_u128(number.into()), &mut digits));
    }

    pub(super) fn say(&mut self, words: &str) {
        words.bytes().for_each(|byte| self.put(byte));
    }

    /// On a new line.
    pub(super) fn line(&mut self, words: &str) {
        self.put(b'\n');
        self.say(words);
    }

    pub(super) fn say_bytes(&mut self, ascii: &[u8]) {
        ascii.iter().for_each(|byte| self.put(*byte));
    }

    /// Bytes that others chose: what is no printable ASCII is shown as `\x` and two digits, so that nothing
    /// passes for a line of this device.
    pub(super) fn printable(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\\' => self.say("\\\\"),
                b' '..=b'~' => self.put(*byte),
                _ => {
                    self.say("\\x");
                    self.hex(&[*byte]);
                }
            }
        }
    }

    pub(super) fn hex(&mut self, bytes: &[u8]) {
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                self.put(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
            }
        }
    }

    pub(super) fn number(&mut self, number: u64) {
        self.amount(Amount::from_u128(number.into()), 0);
    }

    /// A number with so many decimal places, without zeros at the end.
    pub(super) fn amount(&mut self, amount: Amount, places: usize) {
        let mut digits = [0; 78 + 1];
        let all = decimal(amount, &mut digits);
        let whole = all.len().saturating_sub(places);
        self.say(if whole == 0 { "0" } else { all.get(..whole).unwrap_or_default() });
        let fraction = all.get(whole..).unwrap_or_default();
        let shown = fraction.trim_end_matches('0');
        if !shown.is_empty() {
            self.say(".");
            (fraction.len()..places).for_each(|_| self.put(b'0'));
            self.say(shown);
        }
    }

    fn put(&mut self, byte: u8) {
        let here = self.written >= self.skip && self.written - self.skip < PAGE;
        self.written += 1;
        if here {
            let _ = self.shown.push(char::from(byte & 0x7f));
        }
    }
}

/// The decimal digits, at least one.
fn decimal(amount: Amount, digits: &mut [u8]) -> &str {
    let mut rest = amount.to_be_bytes();
    let mut start = digits.len();
    loop {
        let mut remainder = 0u16;
        for byte in &mut rest {
            let value = remainder << 8 | u16::from(*byte);
            (*byte, remainder) = ((value / 10) as u8, value % 10);
        }
        let Some(place) = start.checked_sub(1) else { break };
        start = place;
        if let Some(digit) = digits.get_mut(start) {
            *digit = b'0' + remainder as u8;
        }
        if rest == [0; 32] {
            break;
        }
    }
    core::str::from_utf8(digits.get(start..).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(page: usize, write: impl Fn(&mut Text)) -> (std::string::String, usize) {
        let mut text = Text::page(page);
        write(&mut text);
        let mut shown = std::string::String::new();
        let pages = text.finish(|words| shown.push_str(words));
        (shown, pages)
    }

    #[test]
    fn amounts_are_exact() {
        let wei = |wei: u128, places| shown(0, |t| t.amount(Amount::from_u128(wei), places)).0;
        assert_eq!(wei(0, 18), "0");
        assert_eq!(wei(1, 18), "0.000000000000000001");
        assert_eq!(wei(1_500_000_000_000_000_000, 18), "1.5");
        assert_eq!(wei(2_000_000_000_000_000_000, 18), "2");
        assert_eq!(wei(12_000_000_000_000_000_000, 18), "12");
        assert_eq!(wei(100, 0), "100");
        let most = shown(0, |t| t.amount(Amount::MAX, 0)).0;
        assert_eq!(
            most,
            "115792089237316195423570985008687907853269984665640564039457584007913129639935"
        );
    }

    #[test]
    fn bytes_of_others_make_no_lines() {
        let evil = shown(0, |t| t.printable(b"a\nto 0x00\\\xc3\xa9")).0;
        assert_eq!(evil, "a\\x0ato 0x00\\\\\\xc3\\xa9");
    }

    #[test]
    fn all_of_a_long_text_is_on_some_page() {
        let long: std::string::String = (0..300).map(|n| std::format!("{n} ")).collect();
        let (_, pages) = shown(0, |t| t.say(&long));
        assert_eq!(pages, long.len().div_ceil(PAGE));
        let mut all = std::string::String::new();
        for page in 0..pages {
            let (text, _) = shown(page, |t| t.say(&long));
            let footer = std::format!("\npage {}/{pages}", page + 1);
            all.push_str(text.strip_suffix(&footer).unwrap());
        }
        assert_eq!(all, long);
        assert_eq!(shown(0, |t| t.say("short")), ("short".into(), 1));
    }
}
