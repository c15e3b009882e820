//! Errors that an operator can act on.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why a protector or a blob refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HsmError {
    /// The bytes were altered or are no blob; the KEK itself was seen to work.
    Corrupt {
        /** The part. */
        what: &'static str,
    },
    /// The blob is intact as far as known, but belongs elsewhere.
    WrongContext {
        /// The field that differs.
        field: &'static str,
        /// What the caller expects.
        expected: String,
        /// What the blob says.
        found: String,
    },
    /// The blob is older than what the caller knows to be current.
    Rollback {
        /// `epoch` or `sequence`.
        field: &'static str,
        /// What the caller expects.
        expected: u64,
        /// What the blob says.
        found: u64,
    },
    /// The blob was sealed under another KEK than the one that is open.
    WrongKek {
        /** The open KEK. */
        open: String,
        /** The blob's KEK. */
        blob: String,
    },
    /// The PIN or passphrase is wrong. Never retried.
    Auth,
    /// The token has locked the PIN.
    PinLocked,
    /// One more wrong PIN would lock the token, so none was tried.
    FinalTry,
    /// A PIN guard does not let the PIN be tried.
    PinHeld {
        /** The guard's file. */
        file: String,
        /** What happened before. */
        why: &'static str,
    },
    /// The token has no such key.
    KeyMissing {
        /** The KEK. */
        kek: String,
    },
    /// A key with that identifier, or that key file, is already there.
    KeyExists {
        /** The KEK. */
        kek: String,
        /** What was found; nothing for a file. */
        objects: Vec<String>,
    },
    /// Keys were to be discarded, and none was.
    NotDiscarded {
        /** Their identifier, hexadecimal. */
        id: String,
        /** Why. */
        why: String,
    },
    /// More than one key has this identifier.
    AmbiguousKey {
        /** The KEK. */
        kek: String,
    },
    /// No token matches.
    TokenMissing {
        /** The selector. */
        label: String,
        /** Tokens seen. */
        available: Vec<String>,
    },
    /// A token of that label is there already.
    TokenExists {
        /** The label. */
        label: String,
        /** Its serial. */
        serial: String,
    },
    /// More than one token matches.
    AmbiguousToken {
        /** The selector. */
        label: String,
        /** The matches. */
        matches: Vec<String>,
    },
    /// The PKCS#11 library cannot be loaded.
    ModuleMissing {
        /** Its path. */
        path: String,
        /** The loader's words. */
        reason: String,
    },
    /// The HSM has these objects already.
    ObjectsExist {
        /** The token. */
        token: String,
        /** Type, identifier and label of each. */
        objects: Vec<String>,
    },
    /// Provisioning failed, and what it had made could not be removed again.
    LeftOver {
        /** The token. */
        token: String,
        /** What is, or may be, still there. */
        objects: Vec<String>,
        /** Why provisioning failed. */
        cause: Box<HsmError>,
    },
    /// The HSM refuses what these credentials, or this key, have no right to.
    Denied {
        /** The token. */
        token: String,
        /** What was refused. */
        what: String,
    },
    /// The HSM has no session free.
    SessionsFull {
        /** The token. */
        token: String,
    },
    /// The HSM refuses to work until its audit log was read.
    LogFull {
        /** The token. */
        token: String,
    },
    /// The HSM does not answer as it should; the blob may be fine.
    Unavailable {
        /** What was seen. */
        reason: String,
    },
    /// A call to the HSM was made, and nothing came back.
    NoAnswer {
        /// For so long, in seconds.
        seconds: u64,
        /// Calls that wait for an answer.
        waiting: usize,
    },
    /// The HSM, the key or the format lacks what is needed.
    Unsupported {
        /** What. */
        what: String,
    },
    /// More than a blob may hold.
    TooLarge {
        /** Bytes given. */
        size: usize,
        /** Bytes allowed. */
        limit: usize,
    },
    /// A file could not be read or written, or its permissions are too open.
    Storage {
        /** The file. */
        path: String,
        /** Why. */
        reason: String,
    },
    /// The operating system locks no more memory for this process.
    MemoryLimit {
        /** Bytes that were to be locked. */
        size: usize,
        /** Its words. */
        reason: String,
    },
    /// The operating system gave no randomness.
    Randomness,
}

impl core::error::Error for HsmError {}

impl HsmError {
    /// Whether the PIN must not be tried again.
    pub fn is_about_the_pin(&self) -> bool {
        matches!(self, Self::Auth | Self::PinLocked | Self::FinalTry | Self::PinHeld { .. })
    }
}

impl fmt::Display for HsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt { what } => {
                write!(
                    f,
                    "corrupt {what}: the KEK works, these bytes do not; restore the file from a backup"
                )
            }
            Self::WrongContext { field, expected, found } => write!(
                f,
                "sealed for another {field}: expected {expected}, found {found}; check that the file belongs to this node and key"
            ),
            Self::Rollback { field, expected, found } => write!(
                f,
                "an old blob: {field} {found} where {expected} is current; do not restore old state, look for the newest file"
            ),
            Self::WrongKek { open, blob } => write!(
                f,
                "sealed under KEK {blob}, but {open} is open; point the configuration at the right KEK"
            ),
            Self::Auth => {
                write!(
                    f,
                    "wrong PIN or passphrase; it was tried once and will not be retried: correct it, then start again"
                )
            }
            Self::PinLocked => {
                write!(f, "the token has locked its PIN; the security officer must reset it")
            }
            Self::FinalTry => write!(
                f,
                "the token allows one last PIN try, so none was made; log in by hand with the vendor's tool to reset the counter"
            ),
            Self::PinHeld { file, why } => write!(
                f,
                "{why}, so no PIN was tried now; put the PIN right, see with the vendor's tool that the token accepts it, then remove {file}"
            ),
            Self::KeyMissing { kek } => {
                write!(
                    f,
                    "KEK {kek} is not there; check the token and the key id, or restore the key from the HSM's backup"
                )
            }
            Self::KeyExists { kek, objects } if objects.is_empty() => {
                write!(f, "KEK {kek} exists already; nothing was changed: choose another id")
            }
            Self::KeyExists { kek, objects } => write!(
                f,
                "KEK {kek} exists already ({}); nothing was changed: choose another id, or, if no node's configuration names this one, discard what a cut-off provisioning left there",
                list(objects)
            ),
            Self::NotDiscarded { id, why } => {
                write!(f, "nothing with the id {id} was removed: {why}")
            }
            Self::AmbiguousKey { kek } => {
                write!(f, "several keys answer to KEK {kek}; remove or rename the strangers")
            }
            Self::TokenMissing { label, available } => write!(
                f,
                "no token {label}; available: {}; check that it is plugged in and the configuration names it",
                list(available)
            ),
            Self::TokenExists { label, serial } => write!(
                f,
                "there is a token {label} already (serial {serial}); nothing was changed: choose another label"
            ),
            Self::AmbiguousToken { label, matches } => {
                write!(
                    f,
                    "several tokens answer to {label} ({}); select one by serial",
                    list(matches)
                )
            }
            Self::ModuleMissing { path, reason } => write!(
                f,
                "cannot load the PKCS#11 library {path} ({reason}); install it or correct the path"
            ),
            Self::ObjectsExist { token, objects } => write!(
                f,
                "{token} has these already: {}; nothing was changed: choose other ids, or, if they are what a broken-off provisioning left, delete them with the vendor's tool",
                list(objects)
            ),
            Self::LeftOver { token, objects, cause } => write!(
                f,
                "provisioning of {token} failed ({cause}) and could not clean up; still there, or perhaps: {}; delete them with the vendor's tool, then provision again",
                list(objects)
            ),
            Self::Denied { token, what } => write!(
                f,
                "{token} refuses: {what}; check the capabilities and domains of the authentication key and of the object"
            ),
            Self::SessionsFull { token } => write!(
                f,
                "{token} has no session free; it frees those that were silent for 30 seconds: find out which programs use the device, then try again"
            ),
            Self::LogFull { token } => write!(
                f,
                "{token} refuses to work because its audit log is full: drain the log with the auditor's key, then try again"
            ),
            Self::Unavailable { reason } => {
                write!(
                    f,
                    "the HSM is unavailable ({reason}); check the device, its driver and its connection, do not touch the sealed files"
                )
            }
            Self::NoAnswer { seconds, waiting } => write!(
                f,
                "the HSM has not answered for {seconds} s (calls that wait: {waiting}); check the device, its driver and its connection, do not touch the sealed files: all goes on by itself when the HSM answers; if it works again and this stays, restart the node"
            ),
            Self::Unsupported { what } => write!(f, "not supported: {what}"),
            Self::TooLarge { size, limit } => {
                write!(f, "{size} bytes are too many, the limit is {limit}")
            }
            Self::Storage { path, reason } => write!(f, "{path}: {reason}"),
            Self::MemoryLimit { size, reason } => write!(
                f,
                "{size} bytes for a secret cannot be locked in memory ({reason}); raise the limit (LimitMEMLOCK= of the service, or ulimit -l)"
            ),
            Self::Randomness => {
                write!(f, "the operating system gave no randomness; nothing was written")
            }
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
