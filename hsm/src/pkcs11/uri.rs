//! PKCS#11 URIs (RFC 7512), as other tools print them: `pkcs11:token=...;id=%01%02?module-path=...`.
//!
//! Only what selects a token and a key is taken from one; attributes that nobody here could honour are
//! refused, since to ignore one may be to open another token than was meant.

use std::path::PathBuf;
use std::str::FromStr;

use super::{Location, TokenSelector};
use crate::HsmError;

/// The parts of a URI that a [`super::Config`] is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uri {
    /// `module-path`.
    pub module: Option<PathBuf>,
    /// `serial` if given, else `token`.
    pub token: Option<TokenSelector>,
    /// `id`.
    pub key_id: Option<Vec<u8>>,
}

impl Uri {
    /// Which token, if the URI names one and its library, or `module` does.
    ///
    /// # Errors
    /// [`HsmError::Unsupported`] says what is missing.
    pub fn location(&self, module: Option<PathBuf>) -> Result<Location, HsmError> {
        let missing = |what: &str| refuse(format!("a PKCS#11 URI without {what}"));
        Ok(Location {
            module: module.or_else(|| self.module.clone()).ok_or_else(|| missing("module-path"))?,
            token: self.token.clone().ok_or_else(|| missing("token or serial"))?,
        })
    }
}

impl FromStr for Uri {
    type Err = HsmError;

    fn from_str(text: &str) -> Result<Self, HsmError> {
        let rest = text
            .strip_prefix("pkcs11:")
            .ok_or_else(|| refuse("a PKCS#11 URI that does not begin with pkcs11:".to_owned()))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut seen: Vec<&str> = Vec::new();
        let (mut label, mut serial, mut key_id, mut module) = (None, None, None, None);
        let pairs = path.split(';').map(|pair| (pair, true));
        for (pair, in_path) in pairs.chain(query.split('&').map(|pair| (pair, false))) {
            if pair.is_empty() {
                continue;
            }
            let odd = || refuse(format!("a PKCS#11 URI with \"{pair}\", which is no name=value"));
            let (name, value) = pair.split_once('=').ok_or_else(odd)?;
            if seen.contains(&name) {
                return Err(refuse(format!("a PKCS#11 URI that says {name} twice")));
            }
            seen.push(name);
            match (in_path, name) {
                (true, "token") => label = Some(text_of(name, value)?),
                (true, "serial") => serial = Some(text_of(name, value)?),
                (true, "id") => key_id = Some(decode(name, value)?),
                (false, "module-path") => module = Some(PathBuf::from(text_of(name, value)?)),
                // What describes the same token or key in other words, and selects nothing by itself.
                (true, "manufacturer" | "model" | "type" | "object")
                | (true, "library-manufacturer" | "library-description" | "library-version") => {
                    decode(name, value)?;
                }
                (false, "pin-value" | "pin-source") => {
                    return Err(refuse(format!(
                        "{name} in a PKCS#11 URI: URIs stand in configurations, histories and process lists, \
                         where no PIN belongs; remove it and name a PIN file"
                    )));
                }
                (true, "slot-id" | "slot-description" | "slot-manufacturer") => {
                    return Err(refuse(format!(
                        "{name} in a PKCS#11 URI: slots change; select the token by token or serial"
                    )));
                }
                _ => return Err(refuse(format!("{name} in a PKCS#11 URI"))),
            }
        }
        if key_id.as_ref().is_some_and(Vec::is_empty) {
            return Err(refuse("a PKCS#11 URI with an empty id".to_owned()));
        }
        // RFC 7512 writes "no serial number" as an empty one: that selects nothing.
        let named = |text: &String| !text.is_empty();
        let serial = serial.filter(named).map(TokenSelector::Serial);
        let token = serial.or(label.filter(named).map(TokenSelector::Label));
        Ok(Self { module, token, key_id })
    }
}

fn text_of(name: &str, value: &str) -> Result<String, HsmError> {
    String::from_utf8(decode(name, value)?)
        .map_err(|_| refuse(format!("{name} in a PKCS#11 URI, which is no UTF-8")))
}

/// Percent-encoding (RFC 3986, 2.1).
fn decode(name: &str, value: &str) -> Result<Vec<u8>, HsmError> {
    let odd = || refuse(format!("{name} in a PKCS#11 URI: a % without two hexadecimal digits"));
    let digit =
        |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = value.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(odd()),
            },
            plain => plain,
        });
    }
    Ok(decoded)
}

fn refuse(what: String) -> HsmError {
    HsmError::Unsupported { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Uri {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> String {
        text.parse::<Uri>().unwrap_err().to_string()
    }

    fn label(text: &str) -> Option<TokenSelector> {
        Some(TokenSelector::Label(text.to_owned()))
    }

    /// RFC 7512, section 3.
    #[test]
    fn the_examples_of_the_rfc() {
        let nothing = Uri { module: None, token: None, key_id: None };
        assert_eq!(parse("pkcs11:"), nothing);
        assert_eq!(parse("pkcs11:object=my-pubkey;type=public"), nothing);
        let named = parse(
            "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=",
        );
        assert_eq!(named.key_id.unwrap(), [0x69, 0x95, 0x3e, 0x5c, 0xf4, 0xbd, 0xec, 0x91]);
        assert_eq!(named.token, label("The Software PKCS#11 Softtoken"));
        let softtoken = parse(
            "pkcs11:token=Software%20PKCS%2311%20softtoken;manufacturer=Snake%20Oil,%20Inc.?module-path=/mnt/libs/my-pkcs11.so",
        );
        assert_eq!(softtoken.token, label("Software PKCS#11 softtoken"));
        assert_eq!(softtoken.module, Some("/mnt/libs/my-pkcs11.so".into()));
        let description = parse(
            "pkcs11:library-manufacturer=Snake%20Oil,%20Inc.;library-description=Soft%20Token%20Library;library-version=1.23",
        );
        assert_eq!(description, nothing);
        assert_eq!(
            parse("pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1").token,
            label("Name with a small A with acute: á")
        );
        assert_eq!(parse("pkcs11:token=my-token;").token, label("my-token"));
        for (text, words) in [
            (
                "pkcs11:object=my-key;type=private;id=%01?pin-source=file:/etc/token",
                "no PIN belongs",
            ),
            ("pkcs11:object=my-key;type=private?pin-value=the-pin", "name a PIN file"),
            ("pkcs11:slot-description=Sun%20Metaslot", "slots change"),
            ("pkcs11:slot-id=3", "slots change"),
            ("pkcs11:object=my-key?x-vend=1", "x-vend"),
            ("pkcs11:token=my-token?module-name=snakeoil", "module-name"),
        ] {
            assert!(refused(text).contains(words), "{text}: {}", refused(text));
        }
        assert!(!refused("pkcs11:?pin-value=the-pin").contains("the-pin"), "a PIN in an error");
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (text, words) in [
            ("token=a", "does not begin"),
            ("pkcs11:token", "no name=value"),
            ("pkcs11:token=a;token=b", "twice"),
            ("pkcs11:token=%4", "two hexadecimal digits"),
            ("pkcs11:token=%zz", "two hexadecimal digits"),
            ("pkcs11:token=%+1", "two hexadecimal digits"),
            ("pkcs11:token=%ff", "no UTF-8"),
            ("pkcs11:id=", "empty id"),
            ("pkcs11:module-path=/lib.so", "module-path in"),
        ] {
            assert!(refused(text).contains(words), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn a_serial_is_preferred_and_a_location_needs_both_parts() {
        let uri = parse("pkcs11:token=a;serial=07?module-path=/lib.so");
        let location = uri.location(None).unwrap();
        assert_eq!(location.token, TokenSelector::Serial("07".into()));
        assert_eq!(location.module, PathBuf::from("/lib.so"));
        assert_eq!(
            uri.location(Some("/other.so".into())).unwrap().module,
            PathBuf::from("/other.so")
        );
        let bare = parse("pkcs11:token=a").location(None).unwrap_err();
        assert!(bare.to_string().contains("without module-path"), "{bare}");
        let nobody = parse("pkcs11:?module-path=/lib.so").location(None).unwrap_err();
        assert!(nobody.to_string().contains("without token or serial"), "{nobody}");
    }
}
