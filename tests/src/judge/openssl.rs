//! The `openssl` command as a judge: it gets files as a user would have them, and says yes or no.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whose signatures it can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// ECDSA over secp256k1 with SHA-256, in DER.
    EcdsaSecp256k1,
    /// ECDSA over P-256 with SHA-256, in DER.
    EcdsaP256,
    /// Ed25519, 64 bytes.
    Ed25519,
}

impl Scheme {
    /// SubjectPublicKeyInfo (RFC 5480, RFC 8410) up to the key's own bytes.
    fn key_head(self) -> &'static str {
        match self {
            Self::EcdsaSecp256k1 => "3056301006072a8648ce3d020106052b8104000a03420004",
            Self::EcdsaP256 => "3059301306072a8648ce3d020106082a8648ce3d03010703420004",
            Self::Ed25519 => "302a300506032b6570032100",
        }
    }
}

/// Whether `openssl` verifies the signature on `message`, which it hashes itself. The key is x ‖ y, or the
/// 32 bytes of RFC 8032.
///
/// # Errors
/// There is no such command, or it failed in another way than by saying no.
pub fn accepts_by_openssl(
    scheme: Scheme,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> io::Result<bool> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, bytes: &[u8]| -> io::Result<_> {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes)?;
        Ok(path)
    };
    let head =
        hex::decode(scheme.key_head()).map_err(|error| io::Error::other(error.to_string()))?;
    let key = file("key.der", &[&head, key].concat())?;
    let message = file("message", message)?;
    let signature = file("signature", signature)?;
    let output = verification(scheme, &key, &message, &signature).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let said = format!("{}{}", said, String::from_utf8_lossy(&output.stderr));
    // The exit code alone would also call a file that is not there a bad signature.
    let yes = ["Verified OK", "Signature Verified Successfully"];
    let no = ["Verification failure", "Verification Failure", "Signature Verification Failure"];
    match (output.status.success(), contains(&said, &yes), contains(&said, &no)) {
        (true, true, false) => Ok(true),
        (false, false, true) => Ok(false),
        _ => Err(io::Error::other(format!("openssl: {}: {said}", output.status))),
    }
}

fn contains(text: &str, any: &[&str]) -> bool {
    any.iter().any(|part| text.contains(part))
}

fn verification(scheme: Scheme, key: &Path, message: &Path, signature: &Path) -> Command {
    let mut command = Command::new("openssl");
    match scheme {
        Scheme::EcdsaSecp256k1 | Scheme::EcdsaP256 => {
            command.args(["dgst", "-sha256", "-keyform", "DER", "-verify"]).arg(key);
            command.arg("-signature").arg(signature).arg(message);
        }
        Scheme::Ed25519 => {
            command.args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey"]).arg(key);
            command.args(["-rawin", "-in"]).arg(message).arg("-sigfile").arg(signature);
        }
    }
    command
}
