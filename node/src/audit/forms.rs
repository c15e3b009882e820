//! The log as JSON: pages of the API, and lines of an export.

use quorate_core::party::PartyId;
use quorate_core::wire::Bytes64;
use serde::{Deserialize, Serialize};

use super::{AuditError, Countersignature, Countersigned, IdentityHead, Whose};
use crate::identity::IdentityPublic;
use crate::membership::Membership;
use crate::message::SessionKeyCertificate;
use crate::store::{AuditEntry, Store};

/// Entries of one page; nobody else is served while it is read.
const PAGE: usize = 256;
/// Bytes of the records of one page, unless the first alone is longer: a client reads 4 MiB, and JSON may
/// make six bytes of one.
const PAGE_BYTES: usize = 512 * 1024;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryForm {
    /// 1, 2, 3, …
    pub number: u64,
    /// Hexadecimal; the hash of the entry before, all zero in the first.
    pub previous: String,
    /// Hexadecimal; H("audit", previous, number, record).
    pub hash: String,
    /// What happened, as it is hashed. It is JSON, inside a string.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub record: Option<String>,
    /// The record, hexadecimal, if it is no text: then it is damaged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub record_hex: Option<String>,
}

impl From<&AuditEntry> for EntryForm {
    fn from(entry: &AuditEntry) -> Self {
        let text = String::from_utf8(entry.record.clone());
        Self {
            number: entry.number,
            previous: hex::encode(entry.previous),
            hash: hex::encode(entry.hash),
            record_hex: text.is_err().then(|| hex::encode(&entry.record)),
            record: text.ok(),
        }
    }
}

impl EntryForm {
    /// The entry; `None` if a field is malformed.
    #[must_use]
    pub fn entry(&self) -> Option<AuditEntry> {
        let record = match (&self.record, &self.record_hex) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(digits)) => hex::decode(digits).ok()?,
            _ => return None,
        };
        let (previous, hash) = (bytes(&self.previous)?, bytes(&self.hash)?);
        Some(AuditEntry { number: self.number, previous, hash, record })
    }
}

/// A head that an identity key signed, with all that its signature is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadForm {
    /// The network's identifier, hexadecimal.
    pub network: String,
    /// The party.
    pub party: u16,
    /// Its identity, as the membership file has it.
    pub identity: IdentityPublic,
    /// Times that the operator accepted a lost history.
    pub generation: u32,
    /// The last entry's number.
    pub number: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// When it was signed, by the party's own clock, Unix seconds.
    pub time: u64,
    /// 64 bytes, hexadecimal: Ed25519, BIP-340, or r ‖ s of ECDSA with P-256 and SHA-256.
    pub signature: String,
}

impl HeadForm {
    /// The head with whose it is.
    #[must_use]
    pub fn new(head: &IdentityHead, whose: &Whose) -> Self {
        Self {
            network: hex::encode(whose.network),
            party: whose.party.number(),
            identity: whose.identity,
            generation: head.generation,
            number: head.number,
            hash: hex::encode(head.hash),
            time: head.time,
            signature: hex::encode(head.signature.0),
        }
    }

    /// What it says; `None` if a field is malformed.
    #[must_use]
    pub fn read(&self) -> Option<(IdentityHead, Whose)> {
        let head = IdentityHead {
            generation: self.generation,
            number: self.number,
            hash: bytes(&self.hash)?,
            time: self.time,
            signature: Bytes64(bytes(&self.signature)?),
        };
        let (network, party) = (bytes(&self.network)?, PartyId::new(self.party)?);
        Some((head, Whose { network, party, identity: self.identity }))
    }
}

/// A peer's countersignature of a head, with all that it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountersignedForm {
    /// The head, and whose log it is of.
    pub head: HeadForm,
    /// The peer.
    pub witness: u16,
    /// Its identity, as the membership file has it.
    pub identity: IdentityPublic,
    /// When, by the peer's own clock, Unix seconds.
    pub time: u64,
    /// 16 bytes, hexadecimal: random per start of the peer.
    pub boot: String,
    /// The peer's session key of that start, in the text form of an identity.
    pub session_key: IdentityPublic,
    /// By the peer's identity key, on its session key: hexadecimal.
    pub certificate: String,
    /// By the session key: hexadecimal.
    pub signature: String,
}

impl CountersignedForm {
    /// The countersignature, with whose log it is about.
    #[must_use]
    pub fn new(one: &Countersigned, whose: &Whose) -> Self {
        let Countersigned { given, identity } = one;
        Self {
            head: HeadForm::new(&given.head, whose),
            witness: given.witness().number(),
            identity: *identity,
            time: given.time,
            boot: hex::encode(given.certificate.boot),
            session_key: given.certificate.key.into(),
            certificate: hex::encode(given.certificate.signature.0),
            signature: hex::encode(given.signature.0),
        }
    }

    /// What it says; `None` if a field is malformed.
    #[must_use]
    pub fn read(&self) -> Option<Countersigned> {
        let certificate = SessionKeyCertificate {
            party: PartyId::new(self.witness)?,
            boot: bytes(&self.boot)?,
            key: self.session_key.key(),
            signature: Bytes64(bytes(&self.certificate)?),
        };
        let (head, _) = self.head.read()?;
        let signature = Bytes64(bytes(&self.signature)?);
        let given = Countersignature { head, time: self.time, certificate, signature };
        Some(Countersigned { given, identity: self.identity })
    }
}

fn bytes<const L: usize>(digits: &str) -> Option<[u8; L]> {
    let mut bytes = [0; L];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

/// A line of an export: entries, and last the signed head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ExportLine {
    /// One entry.
    Entry(EntryForm),
    /// The end.
    End {
        /// `None` if the identity key has signed none yet.
        signed_head: Option<Box<HeadForm>>,
        /// What peers have countersigned.
        countersigned: Vec<CountersignedForm>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    // Must be there, though it may be null.
    #[serde(deserialize_with = "Option::deserialize")]
    signed_head: Option<Box<HeadForm>>,
    countersigned: Vec<CountersignedForm>,
}

impl ExportLine {
    /// Reads one line; `None` if it is none.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let entry = serde_json::from_slice(line).map(Self::Entry).ok();
        let end = || {
            let End { signed_head, countersigned } = serde_json::from_slice(line).ok()?;
            Some(Self::End { signed_head, countersigned })
        };
        entry.or_else(end)
    }
}

/// A part of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In order.
    pub entries: Vec<EntryForm>,
    /// The number of the log's last entry.
    pub last: u64,
    /// Times that the operator accepted a lost history.
    pub generation: u32,
    /// The newest head that the identity key signed.
    pub signed_head: Option<HeadForm>,
    /// What peers have countersigned.
    pub countersigned: Vec<CountersignedForm>,
}

/// A page of the log in `store`, from number `from` on; it is not checked. Its end is the log's if its last
/// entry is.
///
/// # Errors
/// [`AuditError::Store`], [`AuditError::MalformedHead`].
pub fn page(
    store: &Store,
    whose: &Whose,
    group: &Membership,
    from: u64,
) -> Result<Page, AuditError> {
    let signed_head = IdentityHead::newest(store)?.map(|head| HeadForm::new(&head, whose));
    let countersigned = Countersigned::of_group(store, group)?;
    let countersigned =
        countersigned.iter().map(|one| CountersignedForm::new(one, whose)).collect();
    let head = store.audit_head()?;
    let (mut entries, mut size) = (Vec::new(), 0);
    for entry in store.audit(from, PAGE)? {
        size += entry.record.len();
        if size > PAGE_BYTES && !entries.is_empty() {
            break;
        }
        entries.push(EntryForm::from(&entry));
    }
    Ok(Page { entries, last: head.number, generation: head.generation, signed_head, countersigned })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_their_form_whatever_is_in_them() {
        for record in [b"{\"a\":\"\\n\"}".to_vec(), vec![0, 0xff], Vec::new(), "ä\n\0".into()] {
            let entry = AuditEntry { number: 7, previous: [1; 32], hash: [2; 32], record };
            let text = serde_json::to_string(&EntryForm::from(&entry)).unwrap();
            let read: EntryForm = serde_json::from_str(&text).unwrap();
            assert_eq!(read.entry(), Some(entry), "{text}");
        }
    }

    #[test]
    fn a_page_is_bounded_and_goes_on() {
        use crate::identity::IdentityKey;
        let store = Store::with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let record = vec![1; crate::store::MAX_AUDIT_RECORD];
        store.audit_append_all(vec![record; 40]).unwrap();
        store.audit_append_all(vec![vec![b'a']; 1000]).unwrap();
        let identity = IdentityKey::from_secret(&[7; 32]).public();
        let whose = Whose { network: [5; 16], party: PartyId::new(1).unwrap(), identity };
        let member = |id: u8| {
            let identity = IdentityKey::from_secret(&[id; 32]).public();
            format!(
                "[[party]]\nid = {id}\nname = \"a\"\nidentity = \"{identity}\"\naddress = \"127.0.0.1:{id}\"\n"
            )
        };
        let group = format!("network = \"{}\"\n{}{}", "05".repeat(16), member(1), member(2));
        let group = Membership::parse(&group).unwrap();
        let (mut from, mut sizes) = (1, Vec::new());
        while from <= 1040 {
            let page = page(&store, &whose, &group, from).unwrap();
            assert_eq!((page.last, page.entries.first().unwrap().number), (1040, from));
            assert!(serde_json::to_string(&page).unwrap().len() < 4 << 20);
            sizes.push(page.entries.len());
            from = page.entries.last().unwrap().number + 1;
        }
        assert!(sizes[0] == 32 && sizes[1] == PAGE, "{sizes:?}");
    }
}
