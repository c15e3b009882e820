//! JSON from strangers, read where it lies: a value by its JSON Pointer, numbers digit by digit.

use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::known::OwnedJson;

/// Levels that a pointer may go down.
const MAX_LEVELS: usize = 32;
/// Bytes of a text.
const MAX_TEXT: usize = 4096;
/// Digits of a number, written out.
const MAX_NUMBER: usize = 100;

/// Reads a document; nothing of it is kept but its bytes, so nothing in it can be too deep.
pub(super) fn document(bytes: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(bytes).ok()
}

/// Where a JSON Pointer (RFC 6901) leads. A name that an object has twice leads nowhere: readers differ in
/// which one they take.
pub(super) fn at<'d>(document: &'d RawValue, pointer: &str) -> Option<&'d RawValue> {
    if pointer.is_empty() {
        return Some(document);
    }
    let steps: Vec<&str> = pointer.strip_prefix('/')?.split('/').collect();
    if steps.len() > MAX_LEVELS {
        return None;
    }
    steps.into_iter().try_fold(document, |value, step| {
        let mut reader = serde_json::Deserializer::from_str(value.get());
        match value.get().as_bytes().first()? {
            b'{' => reader.deserialize_map(Member(&unescape(step)?)).ok(),
            b'[' => reader.deserialize_seq(Element(index(step)?)).ok(),
            _ => None,
        }
    })
}

/// `~1` is a slash and `~0` a tilde.
fn unescape(step: &str) -> Option<String> {
    let mut parts = step.split('~');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        name.push(match part.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        name.push_str(part.get(1..)?);
    }
    Some(name)
}

fn index(step: &str) -> Option<usize> {
    let plain = step.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (step == "0" || !step.starts_with('0'))).then(|| step.parse().ok())?
}

struct Member<'s>(&'s str);

impl<'d> Visitor<'d> for Member<'_> {
    type Value = &'d RawValue;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "one member {:?}", self.0)
    }

    fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != self.0 {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        found.ok_or_else(|| A::Error::custom("no such member"))
    }
}

struct Element(usize);

impl<'d> Visitor<'d> for Element {
    type Value = &'d RawValue;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an element {}", self.0)
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let none = || A::Error::custom("no such element");
        for _ in 0..self.0 {
            seq.next_element::<IgnoredAny>()?.ok_or_else(none)?;
        }
        let found = seq.next_element()?.ok_or_else(none)?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// A value that a condition can compare: a truth, a number or a text.
pub(super) fn scalar(value: &RawValue) -> Option<OwnedJson> {
    match value.get() {
        "true" => Some(OwnedJson::Flag(true)),
        "false" => Some(OwnedJson::Flag(false)),
        text if text.starts_with('"') => {
            let text: String = serde_json::from_str(text).ok()?;
            (text.len() <= MAX_TEXT).then_some(OwnedJson::Text(text))
        }
        number if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            written_out(number).map(OwnedJson::Number)
        }
        _ => None,
    }
}

/// Unix seconds, from a number of them (a fraction is cut off) or a time as RFC 3339 has it, in UTC.
pub(super) fn moment(value: &RawValue) -> Option<u64> {
    match scalar(value)? {
        OwnedJson::Number(number) => {
            let (whole, _) = number.split_once('.').unwrap_or((&number, ""));
            whole.parse().ok()
        }
        OwnedJson::Text(text) => {
            let time = humantime::parse_rfc3339(&text).ok()?;
            Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
        }
        OwnedJson::Flag(_) => None,
    }
}

/// A JSON number without its exponent, exactly.
fn written_out(number: &str) -> Option<String> {
    if number.len() > MAX_NUMBER {
        return None;
    }
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        return Some(number.to_owned());
    };
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let bound = MAX_NUMBER as i32;
    if !(-bound..=bound).contains(&exponent) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let (whole, fraction) = match usize::try_from(point) {
        Ok(point) if point >= digits.len() => (format!("{digits:0<point$}"), String::new()),
        Ok(point) => {
            let (whole, fraction) = digits.split_at_checked(point)?;
            (whole.to_owned(), fraction.to_owned())
        }
        Err(_) => {
            let zeros = point.unsigned_abs() as usize;
            (String::new(), format!("{}{digits}", "0".repeat(zeros)))
        }
    };
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let text = match fraction.as_str() {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    };
    (text.len() <= MAX_NUMBER).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str, pointer: &str) -> Option<OwnedJson> {
        scalar(at(document(text.as_bytes())?, pointer)?)
    }

    fn number(text: &str) -> Option<String> {
        match look(text, "")? {
            OwnedJson::Number(text) => Some(text),
            other => panic!("{other:?}"),
        }
    }

    /// The cases of RFC 6901 section 5.
    #[test]
    fn pointers_lead_where_rfc_6901_says() {
        let text = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        let cases = [
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ];
        for (pointer, value) in cases {
            assert_eq!(look(text, pointer), Some(OwnedJson::Number(value.into())), "{pointer}");
        }
        assert_eq!(look(text, "/foo/0"), Some(OwnedJson::Text("bar".into())));
        assert_eq!(look(text, "/foo/1"), Some(OwnedJson::Text("baz".into())));
        for nowhere in [
            "", "/foo", "/foo/2", "/foo/01", "/foo/-", "/foo/-1", "/foo/0/0", "/bar", "foo",
            "/m~n", "/m~2n",
        ] {
            assert_eq!(look(text, nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn what_is_doubtful_is_nothing() {
        assert_eq!(look(r#"{"a":1,"a":2}"#, "/a"), None);
        assert_eq!(look(r#"{"a":1,"\u0061":2}"#, "/a"), None);
        assert_eq!(look(r#"{"a":1,"b":2,"b":3}"#, "/a"), Some(OwnedJson::Number("1".into())));
        for broken in
            ["", "{", "nul", "1 2", "{\"a\":1}x", "[1,]", "\"\u{1}\"", "01", "+1", ".5", "NaN"]
        {
            assert!(document(broken.as_bytes()).is_none(), "{broken}");
        }
        assert!(document(b"\"\xff\"").is_none());
        for other in ["null", "{}", "[]"] {
            assert_eq!(look(other, ""), None);
        }
        let long = format!("\"{}\"", "x".repeat(MAX_TEXT + 1));
        assert_eq!(look(&long, ""), None);
        // As deep as a response may be long, and no stack is used up.
        let deep = format!("{}1{}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(look(&deep, &"/0".repeat(MAX_LEVELS)), None);
        assert_eq!(look(&deep, &"/0".repeat(MAX_LEVELS + 1)), None);
    }

    #[test]
    fn numbers_are_exact() {
        for same in [
            "0",
            "-0",
            "115792089237316195423570985008687907853269984665640564039457584007913129639935",
            "0.10",
            "-1.000000000000000000000000001",
        ] {
            assert_eq!(number(same).as_deref(), Some(same));
        }
        for (written, out) in [
            ("1e3", "1000"),
            ("1.5E3", "1500"),
            ("1.2345e2", "123.45"),
            ("-1.5e-3", "-0.0015"),
            ("12e-1", "1.2"),
            ("0.5e1", "5"),
            ("0e5", "0"),
            ("1.50e+0", "1.50"),
            ("100e-2", "1.00"),
        ] {
            assert_eq!(number(written).as_deref(), Some(out), "{written}");
        }
        for much in ["1e100", "1e-200", "1e2147483648", "1e99999999999999999999"] {
            assert_eq!(number(much), None, "{much}");
        }
        assert_eq!(number(&"9".repeat(MAX_NUMBER + 1)), None);
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        let time = |text: &str| moment(document(text.as_bytes()).unwrap());
        assert_eq!(time("1800000000"), Some(1_800_000_000));
        assert_eq!(time("1800000000.999"), Some(1_800_000_000));
        assert_eq!(time("1.8e9"), Some(1_800_000_000));
        assert_eq!(time("\"2027-01-15T08:00:00Z\""), Some(1_800_000_000));
        for none in ["-1", "\"1800000000\"", "\"yesterday\"", "true", "1e30"] {
            assert_eq!(time(none), None, "{none}");
        }
    }
}
