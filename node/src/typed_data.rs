//! EIP-712 as wallets send it (the JSON of `eth_signTypedData_v4`), turned into the compact form that parties
//! read. Strict: what is signed is exactly what the JSON says, or it is refused.

use std::collections::BTreeMap;

use quorate_core::policy::Amount;
use quorate_core::policy::ethereum::Address;
use quorate_core::policy::ethereum::typed_data::{
    DOMAIN_FIELDS, FORM, MAX_FIELDS, MAX_STRUCTS, TypedData, is_field_name, is_struct_name,
};
use quorate_core::policy::ethereum::types::{self, Elementary, Type};
use serde_json::{Map, Value};

/// Why typed data is refused: where, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedDataJsonError {
    /// The JSON path, as in `message.to[0].wallet`.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for TypedDataJsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "typed data, {}: {}", self.field, self.what)
    }
}

impl std::error::Error for TypedDataJsonError {}

fn wrong<T>(field: &str, what: impl Into<String>) -> Result<T, TypedDataJsonError> {
    Err(TypedDataJsonError { field: field.to_owned(), what: what.into() })
}

fn object<'j>(json: &'j Value, field: &str) -> Result<&'j Map<String, Value>, TypedDataJsonError> {
    json.as_object().map_or_else(|| wrong(field, "an object is expected"), Ok)
}

fn text<'j>(json: &'j Value, field: &str) -> Result<&'j str, TypedDataJsonError> {
    json.as_str().map_or_else(|| wrong(field, "a string is expected"), Ok)
}

/// Exactly these keys.
fn check_keys<'n>(
    object: &Map<String, Value>,
    names: impl Iterator<Item = &'n str> + Clone,
    field: &str,
) -> Result<(), TypedDataJsonError> {
    let at = |name: &str| format!("{field}{}{name}", if field.is_empty() { "" } else { "." });
    if let Some(name) = names.clone().find(|name| !object.contains_key(*name)) {
        return wrong(&at(name), "missing");
    }
    match object.keys().find(|key| names.clone().all(|name| name != key.as_str())) {
        Some(key) => wrong(&at(key), "not a field of its type"),
        None => Ok(()),
    }
}

/// A struct's fields: name and type.
type Fields = Vec<(String, String)>;

fn fields(json: &Value, at: &str) -> Result<Fields, TypedDataJsonError> {
    let Some(list) = json.as_array() else { return wrong(at, "a list of fields is expected") };
    let mut fields = Fields::new();
    for (index, entry) in list.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let entry = object(entry, &at)?;
        check_keys(entry, ["name", "type"].into_iter(), &at)?;
        let part = |key: &str| match entry.get(key) {
            Some(value) => text(value, &format!("{at}.{key}")).map(ToOwned::to_owned),
            None => wrong(&at, "missing"),
        };
        let (name, kind) = (part("name")?, part("type")?);
        if fields.iter().any(|(other, _)| *other == name) {
            return wrong(&at, format!("two fields have the name {name:?}"));
        }
        fields.push((name, kind));
    }
    Ok(fields)
}

/// The structs that a message needs, in the order of their names.
struct Structs {
    by_name: BTreeMap<String, Fields>,
}

impl Structs {
    fn read(types: &Map<String, Value>, primary: &str) -> Result<Self, TypedDataJsonError> {
        let mut by_name = BTreeMap::new();
        let mut wanted = vec![(primary.to_owned(), "primaryType".to_owned())];
        while let Some((name, from)) = wanted.pop() {
            if by_name.contains_key(&name) {
                continue;
            }
            let Some(json) = types.get(&name) else {
                return wrong(&from, format!("there is no type {name:?}"));
            };
            let at = format!("types.{name}");
            if !is_struct_name(&name) {
                return wrong(&at, "no struct can have this name");
            }
            let fields = fields(json, &at)?;
            if fields.is_empty() || fields.len() > MAX_FIELDS {
                return wrong(&at, format!("1 to {MAX_FIELDS} fields are expected"));
            }
            for (index, (field, kind)) in fields.iter().enumerate() {
                let at = format!("{at}[{index}]");
                if !is_field_name(field) {
                    return wrong(&format!("{at}.name"), "no field can have this name");
                }
                let base = kind.split('[').next().unwrap_or_default();
                if Elementary::from_name(base).is_none() && !types::is_reserved(base) {
                    wanted.push((base.to_owned(), format!("{at}.type")));
                }
            }
            by_name.insert(name, fields);
        }
        if by_name.len() > MAX_STRUCTS {
            return wrong("types", format!("more than {MAX_STRUCTS} structs"));
        }
        Ok(Self { by_name })
    }

    fn index(&self, name: &str) -> Option<u8> {
        let index = self.by_name.keys().position(|other| other == name)?;
        u8::try_from(index).ok()
    }

    fn compact(&self, kind: &str, at: &str) -> Result<Vec<u8>, TypedDataJsonError> {
        types::compact(kind, &|name| self.index(name))
            .map(|bytes| bytes.to_vec())
            .or_else(|error| wrong(at, format!("{kind:?}: {error}")))
    }

    /// The table of the compact form.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), TypedDataJsonError> {
        // All counts and names were checked against limits below 256.
        out.push(self.by_name.len() as u8);
        for (name, fields) in &self.by_name {
            out.push(name.len() as u8);
            out.extend(name.as_bytes());
            out.push(fields.len() as u8);
            for (index, (field, kind)) in fields.iter().enumerate() {
                out.push(field.len() as u8);
                out.extend(field.as_bytes());
                out.extend(self.compact(kind, &format!("types.{name}[{index}].type"))?);
            }
        }
        Ok(())
    }

    fn struct_value(
        &self,
        index: u8,
        json: &Value,
        at: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), TypedDataJsonError> {
        let Some(fields) = self.by_name.values().nth(index.into()) else {
            return wrong(at, "there is no such type");
        };
        let object = object(json, at)?;
        check_keys(object, fields.iter().map(|(name, _)| name.as_str()), at)?;
        for (name, kind) in fields {
            let at = format!("{at}.{name}");
            let kind = self.compact(kind, &at)?;
            self.value(&kind, object.get(name).unwrap_or(&Value::Null), &at, out)?;
        }
        Ok(())
    }

    fn value(
        &self,
        kind: &[u8],
        json: &Value,
        at: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), TypedDataJsonError> {
        let (kind, _) = match types::read(kind) {
            Ok(read) => read,
            Err(error) => return wrong(at, error.to_string()),
        };
        let (count, element) = match kind {
            Type::Elementary(kind) => return elementary(kind, json, at, out),
            Type::Struct(index) => return self.struct_value(index, json, at, out),
            Type::Array(element) => (None, element),
            Type::FixedArray(count, element) => (Some(count), element),
            Type::Tuple(_) => return wrong(at, "tuples are not for typed data"),
        };
        let Some(list) = json.as_array() else { return wrong(at, "a list is expected") };
        let length = u16::try_from(list.len());
        match (count, length) {
            (None, Ok(length)) => out.extend(length.to_be_bytes()),
            (None, Err(_)) => return wrong(at, "the list is too long"),
            (Some(count), Ok(length)) if length == count => {}
            (Some(count), _) => return wrong(at, format!("a list of {count} is expected")),
        }
        let mut entries = list.iter().enumerate();
        entries.try_for_each(|(index, entry)| {
            self.value(element, entry, &format!("{at}[{index}]"), out)
        })
    }
}

fn elementary(
    kind: Elementary,
    json: &Value,
    at: &str,
    out: &mut Vec<u8>,
) -> Result<(), TypedDataJsonError> {
    match kind {
        Elementary::Uint(size) | Elementary::Int(size) => {
            let signed = matches!(kind, Elementary::Int(_));
            let Some(word) = integer(json) else {
                let what =
                    "an integer is expected, as a number below 2^64 or as decimal or 0x text";
                return wrong(at, what);
            };
            match trim(&word, signed, size.into()) {
                Some(bytes) => out.extend(bytes),
                None => return wrong(at, format!("out of the range of {kind}")),
            }
        }
        Elementary::Bool => match json {
            Value::Bool(bit) => out.push(u8::from(*bit)),
            _ => return wrong(at, "true or false is expected"),
        },
        Elementary::Address => match Address::from_hex(text(json, at)?) {
            Some(address) => out.extend(address.0),
            None => return wrong(at, "no address, or a wrong checksum"),
        },
        Elementary::FixedBytes(size) => {
            let bytes = hexadecimal(json, at)?;
            if bytes.len() != usize::from(size) {
                return wrong(at, format!("{size} bytes are expected, there are {}", bytes.len()));
            }
            out.extend(bytes);
        }
        Elementary::Bytes => with_length(&hexadecimal(json, at)?, at, out)?,
        Elementary::Text => with_length(text(json, at)?.as_bytes(), at, out)?,
    }
    Ok(())
}

fn hexadecimal(json: &Value, at: &str) -> Result<Vec<u8>, TypedDataJsonError> {
    let digits = text(json, at)?.strip_prefix("0x");
    match digits.and_then(|digits| hex::decode(digits).ok()) {
        Some(bytes) => Ok(bytes),
        None => wrong(at, "bytes are expected, as 0x and pairs of hexadecimal digits"),
    }
}

fn with_length(bytes: &[u8], at: &str, out: &mut Vec<u8>) -> Result<(), TypedDataJsonError> {
    let Ok(length) = u16::try_from(bytes.len()) else { return wrong(at, "too long") };
    out.extend(length.to_be_bytes());
    out.extend(bytes);
    Ok(())
}

/// An integer: whether it is negative, and its magnitude.
struct Integer {
    negative: bool,
    magnitude: Amount,
}

fn integer(json: &Value) -> Option<Integer> {
    let of = |negative, magnitude| Some(Integer { negative, magnitude });
    let number = |number: u64| Amount::from_u128(number.into());
    match json {
        Value::Number(given) => match given.as_u64() {
            Some(positive) => of(false, number(positive)),
            // A fraction is neither, and neither is what is too large for the reader to be exact.
            None => of(true, number(given.as_i64()?.unsigned_abs())),
        },
        Value::String(text) => match (text.strip_prefix("0x"), text.strip_prefix('-')) {
            (Some(digits), _) => {
                let even = if digits.len() % 2 == 0 { digits } else { &format!("0{digits}") };
                let bytes = hex::decode(even).ok().filter(|bytes| !bytes.is_empty())?;
                of(false, Amount::from_be_slice(&bytes)?)
            }
            (None, Some(digits)) => of(true, Amount::from_decimal(digits)?),
            (None, None) => of(false, Amount::from_decimal(text)?),
        },
        _ => None,
    }
}

/// The last `size` bytes of a number in two's complement, if they are all of it.
fn trim(number: &Integer, signed: bool, size: usize) -> Option<Vec<u8>> {
    let mut word = number.magnitude.to_be_bytes();
    if number.negative {
        // −m = (the complement of m) + 1.
        let mut carry = true;
        for byte in word.iter_mut().rev() {
            let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (sum, over);
        }
    }
    let (unused, bytes) = word.split_at_checked(32usize.checked_sub(size)?)?;
    let high = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let fill = if signed && high { 0xff } else { 0 };
    let fits = unused.iter().all(|byte| *byte == fill);
    // 2^255 and more have the top bit of a negative number, −2^255 − 1 and less that of a positive one.
    let zero = number.magnitude == Amount::ZERO;
    let right_sign =
        if signed { zero || high == number.negative } else { zero || !number.negative };
    (fits && right_sign).then(|| bytes.to_vec())
}

fn encode_domain(
    declared: Option<&Value>,
    json: &Value,
    out: &mut Vec<u8>,
) -> Result<(), TypedDataJsonError> {
    let domain = object(json, "domain")?;
    let tag = |name: &str| DOMAIN_FIELDS.iter().position(|(known, _)| *known == name);
    let names: Vec<String> = match declared {
        Some(declared) => {
            let at = "types.EIP712Domain";
            let fields = fields(declared, at)?;
            for (index, (name, kind)) in fields.iter().enumerate() {
                let known = DOMAIN_FIELDS.iter().find(|(known, _)| known == name);
                match known {
                    Some((_, right)) if right.to_string() == *kind => {}
                    Some((_, right)) => {
                        return wrong(
                            &format!("{at}[{index}].type"),
                            format!("{right} is expected"),
                        );
                    }
                    None => {
                        return wrong(&format!("{at}[{index}].name"), "no domain has this field");
                    }
                }
            }
            fields.into_iter().map(|(name, _)| name).collect()
        }
        // Some clients leave the type to be told from the values.
        None => {
            let known = DOMAIN_FIELDS.iter().filter(|(name, _)| domain.contains_key(*name));
            known.map(|(name, _)| (*name).to_owned()).collect()
        }
    };
    check_keys(domain, names.iter().map(String::as_str), "domain")?;
    out.push(names.len() as u8);
    for name in &names {
        let known = tag(name).and_then(|tag| Some((tag, DOMAIN_FIELDS.get(tag)?.1)));
        let (Some((tag, kind)), Some(value)) = (known, domain.get(name)) else {
            return wrong("domain", "missing");
        };
        out.push(tag as u8);
        elementary(kind, value, &format!("domain.{name}"), out)?;
    }
    Ok(())
}

/// The compact form of typed data in JSON: `types`, `primaryType`, `domain`, `message` and nothing else. Types
/// that the primary type does not need are not signed, and are left out.
///
/// # Errors
/// [`TypedDataJsonError`] names the place.
pub fn compact_typed_data(json: &Value) -> Result<Vec<u8>, TypedDataJsonError> {
    let whole = object(json, "the whole")?;
    check_keys(whole, ["types", "primaryType", "domain", "message"].into_iter(), "")?;
    let part = |key: &str| whole.get(key).unwrap_or(&Value::Null);
    let types = object(part("types"), "types")?;
    let primary = text(part("primaryType"), "primaryType")?;
    let mut out = vec![FORM];
    encode_domain(types.get("EIP712Domain"), part("domain"), &mut out)?;
    let structs = Structs::read(types, primary)?;
    structs.encode(&mut out)?;
    let Some(index) = structs.index(primary) else {
        return wrong("primaryType", "there is no such type");
    };
    out.push(index);
    structs.struct_value(index, part("message"), "message", &mut out)?;
    // What parties would refuse is refused here.
    match TypedData::parse(&out) {
        Ok(_) => Ok(out),
        Err(error) => wrong("the whole", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A message of one field.
    fn one(kind: &str, value: &Value) -> Value {
        json!({
            "types": { "A": [{ "name": "x", "type": kind }] },
            "primaryType": "A", "domain": {}, "message": { "x": value },
        })
    }

    fn refusal(json: &Value) -> (String, String) {
        let TypedDataJsonError { field, what } = compact_typed_data(json).unwrap_err();
        (field, what)
    }

    #[test]
    fn integers_in_their_ranges() {
        let (two_255, two_256) = (format!("1{}", "0".repeat(63)), format!("1{}", "0".repeat(64)));
        let (two_255, two_256) = (two_255.replacen('1', "8", 1), two_256);
        for (kind, value, bytes) in [
            ("uint8", json!(255), "ff"),
            ("uint8", json!("255"), "ff"),
            ("uint8", json!("0xff"), "ff"),
            ("uint8", json!("0xF"), "0f"),
            ("uint64", json!(u64::MAX), "ffffffffffffffff"),
            ("int8", json!(-128), "80"),
            ("int8", json!("-1"), "ff"),
            ("int8", json!("-0"), "00"),
            ("int16", json!(-128), "ff80"),
            ("int64", json!(i64::MIN), "8000000000000000"),
            ("uint256", json!(format!("0x{two_255}")), two_255.as_str()),
        ] {
            let compact = compact_typed_data(&one(kind, &value)).unwrap();
            assert!(hex::encode(&compact).ends_with(bytes), "{kind} {value}");
            assert_eq!(
                hex::encode(compact).len(),
                2 * (1 + 1 + 1 + 2 + 1 + 2 + 1 + 1) + bytes.len()
            );
        }
        for (kind, value) in [
            ("uint8", json!(256)),
            ("uint8", json!(-1)),
            ("int8", json!(128)),
            ("int8", json!(-129)),
            ("int256", json!(format!("0x{two_255}"))),
            ("uint256", json!("-1")),
        ] {
            let expected = ("message.x".to_owned(), format!("out of the range of {kind}"));
            assert_eq!(refusal(&one(kind, &value)), expected, "{value}");
        }
        for value in [
            json!(1.5),
            json!(1e30),
            json!(""),
            json!("0x"),
            json!("-"),
            json!("-0x1"),
            json!("1 "),
            json!("+1"),
            json!("one"),
            json!(format!("0x{two_256}")),
            json!(true),
            json!(null),
            json!([1]),
        ] {
            let (field, what) = refusal(&one("uint256", &value));
            assert_eq!(field, "message.x");
            assert!(what.starts_with("an integer is expected"), "{value}: {what}");
        }
    }

    #[test]
    fn values_that_are_none_of_their_type_are_refused() {
        for (kind, value, what) in [
            ("bool", json!(1), "true or false"),
            ("bool", json!("true"), "true or false"),
            ("address", json!("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"), "checksum"),
            ("address", json!("vitalik.eth"), "no address"),
            ("bytes", json!("abcd"), "0x"),
            ("bytes", json!("0xabc"), "0x"),
            ("bytes4", json!("0xaabbcc"), "4 bytes are expected, there are 3"),
            ("string", json!(7), "a string is expected"),
            ("string", json!("x".repeat(65_536)), "too long"),
            ("uint8[]", json!(7), "a list is expected"),
            ("uint8[2]", json!([1]), "a list of 2 is expected"),
            ("uint8[2]", json!([1, 2, 3]), "a list of 2 is expected"),
        ] {
            let (field, said) = refusal(&one(kind, &value));
            assert_eq!(field, "message.x");
            assert!(said.contains(what), "{kind} {value}: {said}");
        }
        let (field, _) = refusal(&one("uint8[2][]", &json!([[1, 2], [3, 256]])));
        assert_eq!(field, "message.x[1][1]");
    }

    #[test]
    fn what_is_missing_or_too_much_has_its_path() {
        let whole = json!({
            "types": {
                "Mail": [{ "name": "to", "type": "Person[]" }],
                "Person": [{ "name": "wallet", "type": "address" }],
                "EIP712Domain": [{ "name": "name", "type": "string" }],
            },
            "primaryType": "Mail",
            "domain": { "name": "n" },
            "message": { "to": [{ "wallet": format!("0x{}", "11".repeat(20)) }] },
        });
        assert!(compact_typed_data(&whole).is_ok());
        // Set to null: not there.
        for (pointer, value, field) in [
            ("/message/to/0", json!({}), "message.to[0].wallet"),
            ("/message/to/0", json!({ "wallet": "0x", "x": 1 }), "message.to[0].x"),
            ("/message", json!({ "to": [], "cc": [] }), "message.cc"),
            ("/domain", json!({}), "domain.name"),
            ("/domain", json!({ "name": "n", "chainId": 1 }), "domain.chainId"),
            ("/domain/name", json!(1), "domain.name"),
            ("/primaryType", json!("Male"), "primaryType"),
            ("/primaryType", json!("EIP712Domain"), "types.EIP712Domain"),
            ("/types/Mail/0/type", json!("Persons[]"), "types.Mail[0].type"),
            ("/types/Mail/0/type", json!("uint"), "types.Mail[0].type"),
            ("/types/Mail/0/type", json!("(Person)[]"), "types.Mail[0].type"),
            ("/types/Mail/0/name", json!("t o"), "types.Mail[0].name"),
            ("/types/Mail/0", json!({ "name": "to" }), "types.Mail[0].type"),
            ("/types/Person", json!([]), "types.Person"),
            ("/types/EIP712Domain/0/type", json!("bytes"), "types.EIP712Domain[0].type"),
            ("/types/EIP712Domain/0/name", json!("nam"), "types.EIP712Domain[0].name"),
            ("", json!({ "types": {}, "primaryType": "", "domain": {} }), "message"),
        ] {
            let mut altered = whole.clone();
            *altered.pointer_mut(pointer).unwrap() = value;
            assert_eq!(refusal(&altered).0, field, "{pointer}");
        }
        let mut more = whole.clone();
        more["extra"] = json!(1);
        assert_eq!(refusal(&more).0, "extra");
        // A type that the message does not need is not signed.
        let mut unused = whole.clone();
        unused["types"]["Unused"] = json!([{ "name": "x", "type": "bool" }]);
        assert_eq!(compact_typed_data(&unused), compact_typed_data(&whole));
        // The domain's type can be told from its values.
        let mut told = whole.clone();
        told["types"].as_object_mut().unwrap().remove("EIP712Domain");
        assert_eq!(compact_typed_data(&told), compact_typed_data(&whole));
    }

    #[test]
    fn what_is_deeper_than_parties_read_is_refused_here() {
        let mut message = json!({ "branches": [] });
        for _ in 0..4 {
            message = json!({ "branches": [message] });
        }
        let json = json!({
            "types": { "Tree": [{ "name": "branches", "type": "Tree[]" }] },
            "primaryType": "Tree", "domain": {}, "message": message,
        });
        assert!(refusal(&json).1.contains("8 structs and arrays deep"));
        assert!(compact_typed_data(&one("bool[][][][][][][][][]", &json!([]))).is_err());
    }
}
