//! The keys that a KEK or an identity consists of: made with the least that they need, found by
//! `CKA_ID`, class and type, and believed only by the token's own word.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use serde::Serialize;

use super::token::Failure;
use super::{Curve, unavailable};
use crate::codec::hex;
use crate::{HsmError, Profile};

/// One key, or one pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// For GCM.
    Aes,
    /// For CBC.
    CbcAes,
    /// For HMAC-SHA256.
    Hmac,
    /// For HMAC-SHA256 beside CBC.
    CbcHmac,
    /// For OAEP.
    Rsa,
    /// For signatures.
    Identity(Curve),
}

/// How long a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// Until its session closes.
    Session,
    /// Until somebody destroys it.
    Token,
}

/// How much a template says about usages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    /// What the key may do, and that it may do nothing else.
    Denying,
    /// What it may do.
    Allowing,
    /// Nothing: the token decides.
    None,
}

/// Handles hold until the next login.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handles {
    /// The secret or private key.
    pub(super) secret: ObjectHandle,
    /// The other half, if it is a pair.
    pub(super) public: Option<ObjectHandle>,
}

/// What the token says about a key, read back after it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyReport {
    /// `AES`, `HMAC`, `RSA`, `P-256` or `Ed25519`.
    pub kind: String,
    /// `CKA_LABEL`.
    pub label: String,
    /// `CKA_ID`, hexadecimal.
    pub id: String,
    /// What it is and may do, in words.
    pub attributes: Vec<String>,
    /// What a careful operator would want otherwise; empty if nothing.
    pub unprotected: Vec<String>,
}

impl std::fmt::Display for KeyReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, label, id, attributes, .. } = self;
        write!(f, "{kind} key \"{label}\", id {id}: {}", attributes.join(", "))
    }
}

/// Labels of ours begin so. An identity has no version: it is not rotated with the KEK.
pub(super) const LABEL: &str = "quorate ";
/// Labels of a KEK's keys begin so, and no identity's does.
pub(super) const KEK_LABEL: &str = "quorate KEK ";
pub(super) const PROBE_LABEL: &str = "quorate probe";

impl Part {
    /// Of which keys a KEK of this profile consists.
    pub(super) fn of(profile: Profile) -> &'static [Self] {
        match profile {
            Profile::TokenGcm | Profile::MessageGcm => &[Self::Aes],
            Profile::HmacKdf => &[Self::Hmac],
            Profile::CbcHmac => &[Self::CbcAes, Self::CbcHmac],
            Profile::Oaep => &[Self::Rsa],
            Profile::WrapData | Profile::SoftwareEmulation => &[],
        }
    }

    pub(super) fn label(self, version: u32) -> String {
        match self {
            Self::Aes => format!("quorate KEK v{version}"),
            Self::CbcAes => format!("quorate KEK v{version} cbc"),
            Self::Hmac | Self::CbcHmac => format!("quorate KEK v{version} hmac"),
            Self::Rsa => format!("quorate KEK v{version} rsa"),
            Self::Identity(_) => "quorate identity".to_owned(),
        }
    }

    /// Its `CKA_ID`. Two secret keys, or two private keys, never share one: NSS would replace the first
    /// by the second.
    fn id(self, key_id: &[u8]) -> Vec<u8> {
        match self {
            Self::CbcHmac | Self::Rsa => second_id(key_id),
            Self::Aes | Self::CbcAes | Self::Hmac | Self::Identity(_) => key_id.to_vec(),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Aes | Self::CbcAes => "AES",
            Self::Hmac | Self::CbcHmac => "HMAC",
            Self::Rsa => "RSA",
            Self::Identity(Curve::P256) => "P-256",
            Self::Identity(Curve::Ed25519) => "Ed25519",
        }
    }

    fn key_type(self) -> KeyType {
        match self {
            Self::Aes | Self::CbcAes => KeyType::AES,
            Self::Hmac | Self::CbcHmac => KeyType::GENERIC_SECRET,
            Self::Rsa => KeyType::RSA,
            Self::Identity(Curve::P256) => KeyType::EC,
            Self::Identity(Curve::Ed25519) => KeyType::EC_EDWARDS,
        }
    }

    fn is_pair(self) -> bool {
        matches!(self, Self::Rsa | Self::Identity(_))
    }

    /// What the secret half must be allowed to do. Nothing else is.
    fn may(self, usage: AttributeType) -> bool {
        match self {
            Self::Aes | Self::CbcAes => {
                matches!(usage, AttributeType::Encrypt | AttributeType::Decrypt)
            }
            Self::Rsa => usage == AttributeType::Decrypt,
            Self::Hmac | Self::CbcHmac | Self::Identity(_) => usage == AttributeType::Sign,
        }
    }

    /// What keys of this kind have an attribute for.
    fn could(self, usage: AttributeType) -> bool {
        let of_public = [AttributeType::Encrypt, AttributeType::Verify, AttributeType::Wrap];
        !(self.is_pair() && of_public.contains(&usage))
    }

    /// Makes it. Tokens differ in what a template may say about usages, so one that is refused is tried
    /// again with fewer words; what the key may do then is seen when it is read back.
    pub(super) fn generate(
        self,
        session: &Session,
        id: &[u8],
        label: &str,
        lifetime: Lifetime,
    ) -> Result<Handles, Failure> {
        let mut result = Err(Error::InvalidValue);
        for words in [Words::Denying, Words::Allowing, Words::None] {
            result = self.generate_once(session, id, label, lifetime, words);
            let about_the_template = matches!(
                &result,
                Err(Error::Pkcs11(
                    RvError::TemplateInconsistent
                        | RvError::TemplateIncomplete
                        | RvError::AttributeTypeInvalid
                        | RvError::AttributeValueInvalid
                        | RvError::AttributeReadOnly
                        | RvError::ArgumentsBad
                        | RvError::GeneralError,
                    _
                ))
            );
            if !about_the_template {
                break;
            }
        }
        Ok(result?)
    }

    fn generate_once(
        self,
        session: &Session,
        id: &[u8],
        label: &str,
        lifetime: Lifetime,
        words: Words,
    ) -> Result<Handles, Error> {
        let name = [
            Attribute::Token(lifetime == Lifetime::Token),
            Attribute::Id(self.id(id)),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        let guarded =
            [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false)];
        let usages = USAGES
            .iter()
            .filter(|(usage, ..)| match words {
                Words::Denying => self.could(*usage),
                Words::Allowing => self.may(*usage),
                Words::None => false,
            })
            .map(|(usage, make, _)| make(self.may(*usage)));
        let secret: Vec<Attribute> = name.iter().chain(&guarded).cloned().chain(usages).collect();
        let public = |usage: Attribute, own: &[Attribute]| {
            let usage = if words == Words::None { None } else { Some(usage) };
            let own = own.iter().cloned().chain(usage);
            name.iter().cloned().chain([Attribute::Private(false)]).chain(own).collect::<Vec<_>>()
        };
        let sized = |bytes: u64| {
            let size = Attribute::ValueLen(bytes.into());
            [secret.as_slice(), &[size]].concat()
        };
        let pair = |(public, secret)| Handles { secret, public: Some(public) };
        let one = |secret| Handles { secret, public: None };
        match self {
            Self::Aes | Self::CbcAes => {
                session.generate_key(&Mechanism::AesKeyGen, &sized(32)).map(one)
            }
            Self::Hmac | Self::CbcHmac => {
                session.generate_key(&Mechanism::GenericSecretKeyGen, &sized(32)).map(one)
            }
            Self::Rsa => {
                let make = |bits: u64| {
                    let own = [
                        Attribute::ModulusBits(bits.into()),
                        Attribute::PublicExponent(vec![1, 0, 1]),
                    ];
                    let public = public(Attribute::Encrypt(true), &own);
                    session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &secret)
                };
                make(3072).or_else(|_| make(2048)).map(pair)
            }
            Self::Identity(curve) => {
                let mut last = Error::InvalidValue;
                for parameters in curve.parameters() {
                    let own = [Attribute::EcParams(parameters.to_vec())];
                    let public = public(Attribute::Verify(true), &own);
                    match session.generate_key_pair(&curve.generation(), &public, &secret) {
                        Ok(made) => return Ok(pair(made)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    /// Finds it, and refuses one that could leave the token.
    pub(super) fn find(
        self,
        session: &Session,
        id: &[u8],
        owner: &str,
    ) -> Result<Handles, Failure> {
        let class = if self.is_pair() { ObjectClass::PRIVATE_KEY } else { ObjectClass::SECRET_KEY };
        let secret = self.one(session, class, id, owner)?;
        // What the token does not say counts as no: an attribute that it cannot tell is left out here.
        let said = session.get_attributes(secret, &REQUIRED.map(|(kind, _, _)| kind))?;
        let lacking = REQUIRED.iter().filter(|(_, attribute, _)| !said.contains(attribute));
        let lacking: Vec<&str> = lacking.map(|(_, _, words)| *words).collect();
        if !lacking.is_empty() {
            let lacking = lacking.join(", ");
            let what = format!(
                "KEK {owner}: the token does not confirm that its {} key is {lacking}; make a new one",
                self.kind()
            );
            return Err(HsmError::Unsupported { what }.into());
        }
        let public = match self.is_pair() {
            true => Some(self.one(session, ObjectClass::PUBLIC_KEY, id, owner)?),
            false => None,
        };
        Ok(Handles { secret, public })
    }

    fn one(
        self,
        session: &Session,
        class: ObjectClass,
        id: &[u8],
        owner: &str,
    ) -> Result<ObjectHandle, Failure> {
        let template = [
            Attribute::Class(class),
            Attribute::KeyType(self.key_type()),
            Attribute::Id(self.id(id)),
        ];
        let mut found = session.find_objects(&template)?;
        let key = found.pop().ok_or_else(|| HsmError::KeyMissing { kek: owner.to_owned() })?;
        if !found.is_empty() {
            return Err(HsmError::AmbiguousKey { kek: owner.to_owned() }.into());
        }
        Ok(key)
    }

    /// What the token says about its secret half.
    pub(super) fn report(self, session: &Session, key: ObjectHandle) -> Result<KeyReport, Failure> {
        let kinds: Vec<AttributeType> = REQUIRED
            .iter()
            .chain(&HISTORY)
            .map(|(kind, ..)| *kind)
            .chain(USAGES.iter().map(|(usage, ..)| *usage))
            .collect();
        let mut said = session.get_attributes(key, &kinds)?;
        // Apart, since these have no fixed size.
        said.extend(session.get_attributes(key, &[AttributeType::Id, AttributeType::Label])?);
        let words = |wanted: &[(AttributeType, Attribute, &'static str)]| {
            let (yes, no): (Vec<_>, Vec<_>) =
                wanted.iter().partition(|(_, attribute, _)| said.contains(attribute));
            let words = |list: Vec<&(_, _, &'static str)>| {
                list.into_iter().map(|(_, _, words)| (*words).to_owned()).collect::<Vec<_>>()
            };
            (words(yes), words(no))
        };
        let (mut attributes, _) = words(&REQUIRED);
        let (history, untold) = words(&HISTORY);
        attributes.extend(history);
        let kind = self.kind();
        let unconfirmed =
            |words| format!("the token does not confirm that the {kind} key is {words}");
        let mut unprotected: Vec<String> = untold.into_iter().map(unconfirmed).collect();
        for (usage, make, words) in &USAGES {
            if said.contains(&make(true)) {
                attributes.push(format!("may {words}"));
                if !self.may(*usage) {
                    unprotected.push(format!("the {kind} key may {words} too"));
                }
            }
        }
        let bytes = |wanted| {
            said.iter().find_map(|attribute| match attribute {
                Attribute::Id(bytes) if wanted == AttributeType::Id => Some(bytes.as_slice()),
                Attribute::Label(bytes) if wanted == AttributeType::Label => Some(bytes.as_slice()),
                _ => None,
            })
        };
        Ok(KeyReport {
            kind: kind.to_owned(),
            label: String::from_utf8_lossy(bytes(AttributeType::Label).unwrap_or_default())
                .into_owned(),
            id: hex(bytes(AttributeType::Id).unwrap_or_default()),
            attributes,
            unprotected,
        })
    }
}

/// The other `CKA_ID` that belongs to a node with this one: as long, since some tokens know one length
/// only.
pub fn second_id(key_id: &[u8]) -> Vec<u8> {
    let mut id = key_id.to_vec();
    if let Some(last) = id.last_mut() {
        *last ^= 0x80;
    }
    id
}

/// Everything that has one of a node's identifiers, in words and by handle.
pub(super) fn present(session: &Session, key_id: &[u8]) -> Result<Vec<Present>, HsmError> {
    let mut found = with_id(session, key_id.to_vec())?;
    found.extend(with_id(session, second_id(key_id))?);
    Ok(found)
}

/// Everything that has this `CKA_ID`.
pub(super) fn with_id(session: &Session, id: Vec<u8>) -> Result<Vec<Present>, HsmError> {
    let fail = |error: Error| unavailable(&error);
    let found = session.find_objects(&[Attribute::Id(id)]).map_err(fail)?;
    let describe = |handle| {
        let kinds = [AttributeType::Class, AttributeType::Label];
        let said = session.get_attributes(handle, &kinds).map_err(fail)?;
        let (mut class, mut label) = ("object", String::new());
        for attribute in said {
            match attribute {
                Attribute::Class(ObjectClass::SECRET_KEY) => class = "secret key",
                Attribute::Class(ObjectClass::PRIVATE_KEY) => class = "private key",
                Attribute::Class(ObjectClass::PUBLIC_KEY) => class = "public key",
                Attribute::Class(ObjectClass::CERTIFICATE) => class = "certificate",
                Attribute::Label(bytes) => label = String::from_utf8_lossy(&bytes).into_owned(),
                _ => {}
            }
        }
        Ok(Present { handle, class, label })
    };
    found.into_iter().map(describe).collect()
}

/// An object in the token.
pub(super) struct Present {
    pub(super) handle: ObjectHandle,
    pub(super) class: &'static str,
    pub(super) label: String,
}

impl std::fmt::Display for Present {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} \"{}\"", self.class, self.label)
    }
}

type Said = (AttributeType, Attribute, &'static str);

/// What a secret key must be, by the token's own word.
const REQUIRED: [Said; 4] = [
    (AttributeType::Token, Attribute::Token(true), "stored in the token"),
    (AttributeType::Private, Attribute::Private(true), "hidden until login"),
    (AttributeType::Sensitive, Attribute::Sensitive(true), "sensitive"),
    (AttributeType::Extractable, Attribute::Extractable(false), "not extractable"),
];

/// Good to have; not every token keeps it.
const HISTORY: [Said; 3] = [
    (AttributeType::Local, Attribute::Local(true), "made in the token"),
    (AttributeType::AlwaysSensitive, Attribute::AlwaysSensitive(true), "always sensitive"),
    (AttributeType::NeverExtractable, Attribute::NeverExtractable(true), "never extractable"),
];

type Usage = (AttributeType, fn(bool) -> Attribute, &'static str);

const USAGES: [Usage; 7] = [
    (AttributeType::Encrypt, Attribute::Encrypt, "encrypt"),
    (AttributeType::Decrypt, Attribute::Decrypt, "decrypt"),
    (AttributeType::Sign, Attribute::Sign, "sign"),
    (AttributeType::Verify, Attribute::Verify, "verify"),
    (AttributeType::Wrap, Attribute::Wrap, "wrap keys"),
    (AttributeType::Unwrap, Attribute::Unwrap, "unwrap keys"),
    (AttributeType::Derive, Attribute::Derive, "derive keys"),
];
