//! The membership file: the network's id, and every party's identity key and address.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use quorate_core::hash::Transcript;
use serde::{Deserialize, Serialize};

use crate::identity::IdentityPublic;

/// One party of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// 1 to 255.
    pub id: u16,
    /// For people.
    pub name: String,
    /// Its pinned identity key.
    pub identity: IdentityPublic,
    /// host:port where it listens; of a party in a device, where its relay does.
    pub address: String,
    /// Of a party whose share lives in a device: the identity key of the node that relays for it. Links to
    /// it are that node's, which is trusted with nothing: what parties say goes through them sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<IdentityPublic>,
}

impl Member {
    /// Whose key is at the other end of a link to this party.
    #[must_use]
    pub fn link_identity(&self) -> &IdentityPublic {
        self.relay.as_ref().unwrap_or(&self.identity)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    network: String,
    party: Vec<Member>,
}

/// A checked membership file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    network: [u8; 16],
    members: Vec<Member>,
}

/// Why a membership file is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipError {
    /// It cannot be read.
    Unreadable(PathBuf, String),
    /// It is no such TOML; the text names the line.
    Syntax(String),
    /// The network id is not 32 hexadecimal digits, or all zero.
    Network,
    /// A party's entry.
    Party {
        /// Which.
        id: u16,
        /// What is wrong.
        what: &'static str,
    },
    /// Fewer than two parties.
    TooFew,
    /// The operating system gives no randomness.
    Randomness,
    /// What is wrong with this file.
    File(PathBuf, Box<Self>),
}

impl std::fmt::Display for MembershipError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(path, why) => {
                write!(f, "the membership file {} cannot be read: {why}", path.display())
            }
            Self::Syntax(what) => write!(f, "malformed: {}", what.trim()),
            Self::Network => f.write_str("network: must be 32 hexadecimal digits, not all 0"),
            Self::Party { id, what } => write!(f, "party {id}: {what}"),
            Self::TooFew => f.write_str("a group needs at least two parties"),
            Self::File(path, error) => {
                write!(f, "the membership file {}: {error}", path.display())
            }
            Self::Randomness => f.write_str("the operating system gives no randomness"),
        }
    }
}

impl std::error::Error for MembershipError {}

impl MembershipError {
    /// The same, of the file at `path`.
    #[must_use]
    pub fn of(self, path: &Path) -> Self {
        Self::File(path.to_owned(), Box::new(self))
    }
}

impl Membership {
    fn checked(network: [u8; 16], mut members: Vec<Member>) -> Result<Self, MembershipError> {
        if network == [0; 16] {
            return Err(MembershipError::Network);
        }
        if members.len() < 2 {
            return Err(MembershipError::TooFew);
        }
        members.sort_by_key(|member| member.id);
        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        // A relay that had a party's key could speak for it.
        let mut keys = BTreeSet::new();
        for member in &members {
            let port =
                member.address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            let wrong = if !(1..=255).contains(&member.id) {
                Some("the id must be 1 to 255")
            } else if member.name.is_empty() || member.name.len() > 64 {
                Some("the name must have 1 to 64 bytes")
            } else if port.is_none_or(|port| port == 0) {
                Some("the address must be host:port")
            } else if !ids.insert(member.id) {
                Some("the id is there twice")
            } else if !keys.insert(member.identity) {
                Some("the identity is there twice")
            } else if member.relay.is_some() != is_of_a_device(&member.identity) {
                Some("a device has a secp256k1 identity and a relay, and who is none has neither")
            } else if member.relay.as_ref().is_some_and(is_of_a_device) {
                Some("the relay's identity is a device's: it is that of the node beside it")
            } else if member.relay.is_some_and(|relay| !keys.insert(relay)) {
                Some(
                    "the relay's identity is there twice: each device has a relay of its own, with a key of its own",
                )
            } else if !addresses.insert(&member.address) {
                Some("the address is there twice")
            } else {
                None
            };
            if let Some(what) = wrong {
                return Err(MembershipError::Party { id: member.id, what });
            }
        }
        Ok(Self { network, members })
    }

    /// A new network of these parties, with a random id.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub fn with_random_network(members: Vec<Member>) -> Result<Self, MembershipError> {
        let mut network = [0; 16];
        getrandom::getrandom(&mut network).map_err(|_| MembershipError::Randomness)?;
        Self::checked(network, members)
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// [`MembershipError`] names party and field.
    pub fn parse(text: &str) -> Result<Self, MembershipError> {
        let file: File =
            toml::from_str(text).map_err(|error| MembershipError::Syntax(error.to_string()))?;
        let network = hex::decode(&file.network).ok().and_then(|bytes| bytes.try_into().ok());
        Self::checked(network.ok_or(MembershipError::Network)?, file.party)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`MembershipError`] names the file, party and field.
    pub fn load(path: &Path) -> Result<Self, MembershipError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| MembershipError::Unreadable(path.to_owned(), e.to_string()))?;
        Self::parse(&text).map_err(|error| error.of(path))
    }

    /// The file's text.
    ///
    /// # Errors
    /// [`MembershipError::Syntax`] if the library cannot write it.
    pub fn to_toml(&self) -> Result<String, MembershipError> {
        let file = File { network: hex::encode(self.network), party: self.members.clone() };
        toml::to_string(&file).map_err(|error| MembershipError::Syntax(error.to_string()))
    }

    /// What operators compare: network, identifiers, names and identities. Addresses and relays may change.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let start =
            Transcript::new("membership").bytes(&self.network).u16(self.members.len() as u16);
        self.members
            .iter()
            .fold(start, |t, m| m.identity.key().bind(t.u16(m.id).bytes(m.name.as_bytes())))
            .finish()
    }

    /// The network's id.
    #[must_use]
    pub fn network(&self) -> [u8; 16] {
        self.network
    }

    /// All identifiers, sorted.
    #[must_use]
    pub fn parties(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.id).collect()
    }

    /// All members, sorted by id.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// One member.
    #[must_use]
    pub fn member(&self, id: u16) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// A member's name.
    #[must_use]
    pub fn name_of(&self, id: u16) -> Option<String> {
        self.member(id).map(|member| member.name.clone())
    }

    /// A member's pinned identity.
    #[must_use]
    pub fn identity_of(&self, id: u16) -> Option<&IdentityPublic> {
        self.member(id).map(|member| &member.identity)
    }

    /// Whose links have this key: that of the party, or of its relay.
    #[must_use]
    pub fn party_of_link(&self, key: &IdentityPublic) -> Option<u16> {
        self.members.iter().find(|member| member.link_identity() == key).map(|member| member.id)
    }

    /// Whether the party's share lives in a device.
    #[must_use]
    pub fn is_device(&self, id: u16) -> bool {
        self.member(id).is_some_and(|member| member.relay.is_some())
    }
}

/// A device signs with secp256k1 alone, and TLS with anything but that.
fn is_of_a_device(identity: &IdentityPublic) -> bool {
    matches!(identity.key(), quorate_core::identity::Identity::Secp256k1(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IdentityKey;

    fn member(id: u16) -> Member {
        let identity = IdentityKey::from_secret(&[id as u8; 32]).public();
        let address = format!("127.0.0.1:70{id:02}");
        Member { id, name: format!("p{id}"), identity, address, relay: None }
    }

    fn key_of_device(id: u16) -> IdentityPublic {
        use quorate_core::{dkg::SessionKey, secret::SecretBytes};
        SessionKey::new(&SecretBytes::new([id as u8; 32])).identity().into()
    }

    fn device(id: u16, relay: Option<IdentityPublic>) -> Member {
        Member { identity: key_of_device(id), relay, ..member(id) }
    }

    #[test]
    fn files_survive_and_mistakes_are_named() {
        let good = Membership::with_random_network(vec![member(2), member(1)]).unwrap();
        assert_eq!(Membership::parse(&good.to_toml().unwrap()).unwrap(), good);
        assert_eq!(good.parties(), [1, 2]);
        let twice = Membership::with_random_network(vec![member(1), member(1)]);
        let what = "the id is there twice";
        assert_eq!(twice.unwrap_err(), MembershipError::Party { id: 1, what });
        let mut copied = member(2);
        copied.identity = member(1).identity;
        let copied = Membership::with_random_network(vec![member(1), copied]).unwrap_err();
        assert_eq!(copied, MembershipError::Party { id: 2, what: "the identity is there twice" });
        let unknown = good.to_toml().unwrap().replace("name", "nickname");
        assert!(matches!(Membership::parse(&unknown), Err(MembershipError::Syntax(_))));
        assert_eq!(Membership::with_random_network(vec![member(1)]), Err(MembershipError::TooFew));
    }

    #[test]
    fn a_relay_has_a_key_that_nobody_else_has() {
        let relay = |seed: u8| Some(IdentityKey::from_secret(&[seed; 32]).public());
        let group = |relays: [Option<IdentityPublic>; 2]| {
            let [one, two] = relays;
            let with = |id, relay: Option<_>| match relay {
                Some(_) => device(id, relay),
                None => member(id),
            };
            Membership::with_random_network(vec![with(1, one), with(2, two)])
        };
        let good = group([None, relay(9)]).unwrap();
        assert_eq!(Membership::parse(&good.to_toml().unwrap()).unwrap(), good);
        assert_eq!(good.party_of_link(&relay(9).unwrap()), Some(2));
        // The device's own key opens no link: its relay does.
        assert_eq!(good.party_of_link(&device(2, None).identity), None);
        assert_eq!(good.party_of_link(&member(1).identity), Some(1));
        assert!(good.is_device(2) && !good.is_device(1));
        for relays in [[None, relay(1)], [relay(2), None], [relay(9), relay(9)]] {
            assert!(matches!(group(relays), Err(MembershipError::Party { id: 2, .. })));
        }
        let p256 = "p256:036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
        for (identity, relay) in [
            (p256.parse().unwrap(), relay(9)),
            (member(2).identity, relay(9)),
            (key_of_device(2), None),
        ] {
            let wrong = Member { identity, relay, ..member(2) };
            let wrong = Membership::with_random_network(vec![member(1), wrong]).unwrap_err();
            assert!(wrong.to_string().contains("secp256k1"), "{wrong}");
        }
        let wrong = device(2, Some(key_of_device(3)));
        let wrong = Membership::with_random_network(vec![member(1), wrong]).unwrap_err();
        assert!(wrong.to_string().contains("relay's identity"), "{wrong}");
    }

    #[test]
    fn a_file_is_named_with_its_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        std::fs::write(&path, "network = 1").unwrap();
        let text = Membership::load(&path).unwrap_err().to_string();
        assert!(text.contains("m.toml") && text.contains("network"), "{text}");
    }

    #[test]
    fn addresses_may_change_without_changing_the_digest() {
        let one = Membership::with_random_network(vec![member(1), member(2)]).unwrap();
        let mut moved = one.clone();
        moved.members[0].address = "10.0.0.1:1".into();
        moved.members[0].relay = Some(IdentityKey::from_secret(&[9; 32]).public());
        assert_eq!(one.digest(), moved.digest());
        moved.members[0].name = "other".into();
        assert_ne!(one.digest(), moved.digest());
    }
}
