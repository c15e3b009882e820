//! Draining the device's audit log, with a key that can do nothing else.
//!
//! The device chains its entries: each digest is the first half of SHA-256 over the entry and the
//! digest before it. Reading changes nothing; only [`AuditDrain::confirm`] lets the device forget.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use yubihsm::response::Code;

use super::link::Link;
use super::{Config, Endpoint, Password};
use crate::HsmError;

/// Reads a device's log and, when that is stored, lets the device forget it.
pub struct AuditDrain {
    link: Arc<Link>,
}

impl fmt::Debug for AuditDrain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditDrain({})", self.link.endpoint())
    }
}

/// An entry of the device's log, field by field as the device stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// Counts entries; starts again at 0 after 65,535.
    pub number: u16,
    /// The command's code; 0 for a boot, 255 for the first entry after a factory reset.
    pub command: u8,
    /// The length of the command's data, in bytes.
    pub length: u16,
    /// The authentication key of the session; 65,535 for none.
    pub session_key: u16,
    /// The key that was used or changed; 65,535 for none.
    pub target_key: u16,
    /// Another key that took part; 65,535 for none.
    pub second_key: u16,
    /// The command's code with the highest bit set if it succeeded, else the device's error code.
    pub result: u8,
    /// The device's clock.
    pub tick: u32,
    /// The first 16 bytes of SHA-256 over the fields above and the digest of the entry before.
    pub digest: [u8; 16],
}

/// What one reading brought.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "entries that are not stored are lost once the device overwrites them"]
pub struct Batch {
    /// New entries, oldest first.
    pub entries: Vec<LogEntry>,
    /// What is wrong with them. Store it with them: the device does not tell it twice.
    pub findings: Vec<Finding>,
    /// The newest entry that the device has, new or known.
    newest: Option<u16>,
    serial: u32,
}

/// What an auditor must look into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Finding {
    /// Entries are missing: the device overwrote them before they were read.
    Gap {
        /// The last entry before.
        after: u16,
        /// The first entry after.
        next: u16,
    },
    /// An entry does not continue the chain: it, or the one before it, was altered.
    BrokenChain {
        /// The entry.
        number: u16,
    },
    /// The log begins anew, as after a factory reset: all keys of before are gone.
    Reset {
        /// The first entry.
        number: u16,
    },
    /// So many entries, after these, are about commands that the client library does not know: it
    /// cannot read on, and the log must be drained with the vendor's tool.
    Unreadable {
        /// The last entry that could be read, if any.
        after: Option<u16>,
        /// How many follow.
        count: usize,
    },
    /// The device started so often while its log was full.
    UnloggedBoots(u16),
    /// Sessions were opened, or tried, so often while the log was full.
    UnloggedAuthentications(u16),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { after, next } => write!(
                f,
                "entries are missing between {after} and {next}: the log was not drained in time"
            ),
            Self::BrokenChain { number } => {
                write!(f, "entry {number} does not continue the device's chain: it was altered")
            }
            Self::Reset { number } => write!(
                f,
                "the log begins anew at entry {number}: the device was reset to factory settings"
            ),
            Self::Unreadable { after, count } => {
                write!(f, "{count} entries ")?;
                if let Some(after) = after {
                    write!(f, "after {after} ")?;
                }
                write!(
                    f,
                    "cannot be read by this version's client library: drain them with the vendor's tool"
                )
            }
            Self::UnloggedBoots(count) => {
                write!(f, "the device started {count} times while its log was full")
            }
            Self::UnloggedAuthentications(count) => {
                write!(f, "{count} authentications happened while the log was full")
            }
        }
    }
}

impl AuditDrain {
    /// The log of the device that `config` names, with the auditor's authentication key.
    ///
    /// # Errors
    /// As [`super::YubiHsmProtector::open`].
    pub fn open(config: &Config, auditor: u16, password: &Password) -> Result<Self, HsmError> {
        let drain = Self { link: Link::to(Endpoint::of(config)?, auditor, password) };
        let _ = drain.read(None)?;
        Ok(drain)
    }

    /// All entries after `last`, the newest one that is stored; without it, whatever the device has,
    /// whose first entry is then taken on trust. May be repeated: nothing changes in the device.
    ///
    /// # Errors
    /// [`HsmError::Denied`] for a key that is no auditor's, and as [`super::YubiHsmProtector::open`].
    /// What is wrong with the log itself is no error but a [`Finding`]: it must be stored and the log
    /// drained all the same, or the device stops.
    pub fn read(&self, last: Option<&LogEntry>) -> Result<Batch, HsmError> {
        let got = self.link.ask("read", "the audit log", yubihsm::Client::get_log_entries)?;
        let mut findings = Vec::new();
        if got.unlogged_boot_events > 0 {
            findings.push(Finding::UnloggedBoots(got.unlogged_boot_events));
        }
        if got.unlogged_auth_events > 0 {
            findings.push(Finding::UnloggedAuthentications(got.unlogged_auth_events));
        }
        // The library's type for an entry cannot be named outside of it.
        let taken = got.entries.iter().map(|entry| LogEntry {
            number: entry.item,
            command: entry.cmd.to_u8(),
            length: entry.length,
            session_key: entry.session_key,
            target_key: entry.target_key,
            second_key: entry.second_key,
            result: result(entry.result),
            tick: entry.tick,
            digest: entry.digest.0,
        });
        let all: Vec<LogEntry> = taken.collect();
        // The library stops without a word at what it does not know.
        let count = usize::from(got.num_entries).saturating_sub(all.len());
        if count > 0 {
            let after = all.last().map(|entry| entry.number);
            findings.push(Finding::Unreadable { after, count });
        }
        let known = |entry: &LogEntry| {
            last.is_some_and(|last| entry.number == last.number && entry.digest == last.digest)
        };
        let start = all.iter().rposition(known).map_or(0, |index| index + 1);
        let mut entries = all.get(start..).unwrap_or_default().to_vec();
        verify(last, &mut entries, &mut findings);
        let newest = all.last().map(|entry| entry.number);
        Ok(Batch { entries, findings, newest, serial: self.link.endpoint().serial })
    }

    /// Tells the device that everything in `batch`, and all that was known before, is stored elsewhere, so
    /// that it may reuse the room.
    ///
    /// # Errors
    /// [`HsmError::Unsupported`] for a batch of another device, and as [`AuditDrain::read`].
    pub fn confirm(&self, batch: &Batch) -> Result<(), HsmError> {
        let endpoint = self.link.endpoint();
        if batch.serial != endpoint.serial {
            let what = format!("{endpoint}: to confirm a log of YubiHSM {:010}", batch.serial);
            return Err(HsmError::Unsupported { what });
        }
        let Some(newest) = batch.newest else { return Ok(()) };
        self.link.ask("set the index of", "the audit log", |client| client.set_log_index(newest))
    }
}

/// What is wrong with the chain of entries after `last`: gaps, broken links, resets.
#[must_use]
pub fn chain_findings(last: Option<&LogEntry>, entries: &[LogEntry]) -> Vec<Finding> {
    let (mut entries, mut findings) = (entries.to_vec(), Vec::new());
    verify(last, &mut entries, &mut findings);
    findings
}

impl Finding {
    /// Whether [`chain_findings`] finds it, too; the others are the device's own words.
    #[must_use]
    pub fn is_of_the_chain(&self) -> bool {
        matches!(self, Self::Gap { .. } | Self::BrokenChain { .. } | Self::Reset { .. })
    }
}

/// Walks along numbers and digests from the last known entry.
fn verify(last: Option<&LogEntry>, entries: &mut [LogEntry], findings: &mut Vec<Finding>) {
    let mut before = last.map(|last| (last.number, last.digest));
    for entry in entries {
        match before {
            Some(_) if entry.is_first() => findings.push(Finding::Reset { number: entry.number }),
            Some((after, _)) if entry.number != after.wrapping_add(1) => {
                findings.push(Finding::Gap { after, next: entry.number });
            }
            Some((_, digest)) if !entry.continues(&digest) => {
                findings.push(Finding::BrokenChain { number: entry.number });
            }
            _ => {}
        }
        before = Some((entry.number, entry.digest));
    }
}

/// The library shifts the device's error codes; 0 becomes [`SHIFT`].
fn result(code: Code) -> u8 {
    match code {
        Code::Success(_) => code.to_u8(),
        other => SHIFT.wrapping_sub(other.to_u8()),
    }
}

impl LogEntry {
    /// The first entry after a factory reset is all ones, with a digest of the device's choice.
    fn is_first(&self) -> bool {
        self.command == 0xff && self.length == 0xffff && self.session_key == 0xffff
    }

    /// Does it follow the entry with that digest?
    ///
    /// The library has one reading for two ways to write an error; the digest tells which it was.
    fn continues(&mut self, before: &[u8; 16]) -> bool {
        let readings = [self.result, SHIFT.wrapping_sub(self.result)];
        let found =
            readings.into_iter().find(|result| self.digest_with(*result, before) == self.digest);
        if let Some(result) = found {
            self.result = result;
        }
        found.is_some()
    }

    fn digest_with(&self, result: u8, before: &[u8; 16]) -> [u8; 16] {
        let hash = Sha256::new()
            .chain_update(self.number.to_be_bytes())
            .chain_update([self.command])
            .chain_update(self.length.to_be_bytes())
            .chain_update(self.session_key.to_be_bytes())
            .chain_update(self.target_key.to_be_bytes())
            .chain_update(self.second_key.to_be_bytes())
            .chain_update([result])
            .chain_update(self.tick.to_be_bytes())
            .chain_update(before)
            .finalize();
        let mut digest = [0; 16];
        digest.iter_mut().zip(hash).for_each(|(byte, value)| *byte = value);
        digest
    }
}

/// The library's code for the device's "no error".
const SHIFT: u8 = 0x75;

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the vendor's documentation of GET LOG ENTRIES: a real device made it.
    #[allow(clippy::type_complexity)]
    const REAL: [(u16, u8, u16, u16, u16, u16, u8, u32, u128); 6] = [
        (
            46,
            0x4b,
            234,
            1,
            0xcf94,
            0x997e,
            0xcb,
            335_725,
            0x415f_51f1_f035_a1b7_13e7_30e4_464e_4033,
        ),
        (47, 0x4c, 77, 1, 0xaff7, 0xffff, 0xcc, 351_714, 0x5496_a60d_478c_2b9c_801d_8d32_ca66_b554),
        (48, 0x00, 0, 0xffff, 0, 0, 0x00, 0, 0x14ac_7747_ba9b_bb24_3cfc_70be_feb5_349b),
        (49, 0x03, 10, 0xffff, 1, 0xffff, 0x83, 139, 0xb20a_8f25_c025_e693_a8e8_69b4_3329_4a20),
        (50, 0x04, 17, 0xffff, 1, 0xffff, 0x84, 139, 0xebfa_e425_c319_ac7a_0afb_b8b9_2597_de7c),
        (51, 0x67, 2, 1, 0xffff, 0xffff, 0xe7, 697, 0x2e39_5d1b_7066_6873_7e1d_2215_813d_b47e),
    ];

    fn real() -> Vec<LogEntry> {
        let entry = |(
            number,
            command,
            length,
            session_key,
            target_key,
            second_key,
            result,
            tick,
            digest,
        ): (u16, u8, u16, u16, u16, u16, u8, u32, u128)| LogEntry {
            number,
            command,
            length,
            session_key,
            target_key,
            second_key,
            result,
            tick,
            digest: digest.to_be_bytes(),
        };
        REAL.map(entry).to_vec()
    }

    fn findings(last: Option<&LogEntry>, mut entries: Vec<LogEntry>) -> Vec<Finding> {
        let mut findings = Vec::new();
        verify(last, &mut entries, &mut findings);
        findings
    }

    #[test]
    fn the_log_of_a_real_device_verifies() {
        assert_eq!(findings(None, real()), []);
        let rest = real().split_off(2);
        assert_eq!(findings(Some(&real()[1]), rest), []);
    }

    #[test]
    fn every_altered_field_is_found() {
        let changes: [fn(&mut LogEntry); 9] = [
            |e| e.command ^= 1,
            |e| e.length ^= 1,
            |e| e.session_key ^= 1,
            |e| e.target_key ^= 1,
            |e| e.second_key ^= 1,
            |e| e.result ^= 1,
            |e| e.tick ^= 1,
            |e| e.digest[0] ^= 1,
            |e| e.digest[15] ^= 1,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut entries = real();
            change(&mut entries[3]);
            let mut found = vec![Finding::BrokenChain { number: 49 }];
            if index >= 7 {
                found.push(Finding::BrokenChain { number: 50 });
            }
            assert_eq!(findings(None, entries), found, "{index}");
        }
        // The result as the library shifts it, found again by the digest.
        let mut entries = real();
        entries[2].result = SHIFT;
        let mut none = Vec::new();
        verify(None, &mut entries, &mut none);
        assert_eq!((none, entries), (Vec::new(), real()));
    }

    #[test]
    fn gaps_and_resets_are_named() {
        let mut entries = real();
        entries.remove(2);
        assert_eq!(findings(None, entries), [Finding::Gap { after: 47, next: 49 }]);
        let rest = real().split_off(3);
        assert_eq!(findings(Some(&real()[0]), rest), [Finding::Gap { after: 46, next: 49 }]);
        let first = LogEntry {
            number: 1,
            command: 0xff,
            length: 0xffff,
            session_key: 0xffff,
            target_key: 0xffff,
            second_key: 0xffff,
            result: 0xff,
            tick: u32::MAX,
            digest: [7; 16],
        };
        assert_eq!(findings(None, vec![first.clone()]), []);
        assert_eq!(findings(Some(&real()[5]), vec![first]), [Finding::Reset { number: 1 }]);
    }
}
