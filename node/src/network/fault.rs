//! Why a link, or a try to get one, ended: by blame, with a text that names the party and what to do.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::identity::IdentityPublic;

use super::frame::FrameError;

const SHUTTING_DOWN: &str = "the node is shutting down";
const REPLACED: &str = "replaced by a newer link";

/// Why a link, or a try to get one, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its address has no number, or nobody answers there.
    Unreachable { address: String, reason: String },
    /// The connection, the TLS handshake and the hellos took too long.
    Slow(Duration),
    /// The TLS handshake failed for another reason than keys.
    Tls { address: SocketAddr, reason: String },
    /// Somebody else is at its address.
    WrongKey { address: SocketAddr, presented: Option<IdentityPublic>, pinned: IdentityPublic },
    /// It does not accept our key.
    RefusedUs,
    /// It speaks something else inside TLS.
    OtherProtocol,
    /// Its hello names another network than ours.
    OtherNetwork { theirs: [u8; 16], ours: [u8; 16] },
    /// Its hello names another party than its key does.
    OtherParty(u16),
    /// It broke the rules of frames.
    Frame(FrameError),
    /// It answered no ping.
    Silent(Duration),
    /// It said why it drops the link.
    ClosedBy(String),
    /// It closed the link between two frames.
    Closed,
    /// The connection broke.
    Lost(String),
    /// It has a newer link to us.
    Replaced,
    /// This node stops.
    ShuttingDown,
}

impl Fault {
    /// Whether an operator should look: somebody misbehaves, or two files disagree.
    pub(super) fn alarming(&self) -> bool {
        match self {
            Self::Tls { .. }
            | Self::WrongKey { .. }
            | Self::RefusedUs
            | Self::OtherProtocol
            | Self::OtherNetwork { .. }
            | Self::OtherParty(_)
            | Self::Frame(_) => true,
            // A peer that complains about us; not one that just goes.
            Self::ClosedBy(reason) => ![SHUTTING_DOWN, REPLACED].contains(&reason.as_str()),
            Self::Unreachable { .. }
            | Self::Slow(_)
            | Self::Silent(_)
            | Self::Closed
            | Self::Lost(_)
            | Self::Replaced
            | Self::ShuttingDown => false,
        }
    }

    /// What the peer is told before the link is dropped, if it may still listen.
    pub(super) fn farewell(&self, party: u16) -> Option<String> {
        match self {
            Self::ClosedBy(_) | Self::Closed | Self::Lost(_) => None,
            Self::ShuttingDown => Some(SHUTTING_DOWN.into()),
            Self::Replaced => Some(REPLACED.into()),
            _ => Some(self.of(party).to_string()),
        }
    }

    /// The text for people.
    pub(super) fn of(&self, party: u16) -> Ended<'_> {
        Ended { party, fault: self }
    }
}

/// A [`Fault`] with its party, to be displayed.
pub(super) struct Ended<'a> {
    party: u16,
    fault: &'a Fault,
}

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let party = self.party;
        match self.fault {
            Fault::Unreachable { address, reason } => write!(
                f,
                "party {party} cannot be reached at {address}: {reason}; it is tried again until it \
                 runs there"
            ),
            Fault::Slow(limit) => {
                write!(f, "party {party} did not finish the handshake within {limit:?}")
            }
            Fault::Tls { address, reason } => {
                write!(f, "the TLS handshake with party {party} at {address} failed: {reason}")
            }
            Fault::WrongKey { address, presented, pinned } => {
                write!(f, "the peer at {address} is not party {party}: it presented ")?;
                match presented {
                    Some(identity) => write!(f, "{identity}")?,
                    None => f.write_str("no Ed25519 public key")?,
                }
                write!(f, ", the membership file pins {pinned}; check address and identity there")
            }
            Fault::RefusedUs => write!(
                f,
                "party {party} refuses this node's identity key; its membership file must name the \
                 key that ours does"
            ),
            Fault::OtherProtocol => write!(
                f,
                "party {party} speaks another protocol; run the same release on all parties"
            ),
            Fault::OtherNetwork { theirs, ours } => write!(
                f,
                "party {party} belongs to network {}, this node to {}; give both the same \
                 membership file",
                hex::encode(theirs),
                hex::encode(ours)
            ),
            Fault::OtherParty(claimed) => {
                write!(f, "party {party} claims to be party {claimed}; the link was dropped")
            }
            Fault::Frame(error) => write!(f, "party {party} sent {error}; the link was dropped"),
            Fault::Silent(limit) => {
                write!(f, "party {party} answered no ping for {limit:?}; the link was dropped")
            }
            // The peer's words: no line of a log may look like one of ours.
            Fault::ClosedBy(reason) => {
                write!(f, "party {party} closed the link: \"{}\"", reason.escape_debug())
            }
            Fault::Closed => write!(f, "party {party} closed the link"),
            Fault::Lost(reason) => write!(f, "the link to party {party} broke: {reason}"),
            Fault::Replaced => write!(f, "party {party} has a newer link"),
            Fault::ShuttingDown => f.write_str("this node is shutting down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_words_stay_one_line() {
        let text = Fault::ClosedBy("bye\nWARN \u{1b}[31mforged".into()).of(2).to_string();
        assert_eq!(text, r#"party 2 closed the link: "bye\nWARN \u{1b}[31mforged""#);
    }

    #[test]
    fn the_wrong_key_is_named_beside_the_pinned_one() {
        let pinned = crate::identity::IdentityKey::from_secret(&[1; 32]).public();
        let presented = crate::identity::IdentityKey::from_secret(&[2; 32]).public();
        let address = "127.0.0.1:7002".parse().unwrap();
        let fault = Fault::WrongKey { address, presented: Some(presented), pinned };
        let text = fault.of(2).to_string();
        assert!(
            text.starts_with("the peer at 127.0.0.1:7002 is not party 2: it presented ed25519:")
        );
        assert!(
            text.contains(&presented.to_string()) && text.contains(&pinned.to_string()),
            "{text}"
        );
    }
}
