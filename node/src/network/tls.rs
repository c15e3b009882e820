//! TLS 1.3 between pinned keys: both sides present raw public keys (RFC 7250), Ed25519 or, where the
//! HSM signs, P-256, and each accepts only what the membership file pins. There are no certificates, names, tickets or early data.

mod key;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client};

use crate::identity::{IdentityKey, IdentityPublic};
use crate::membership::Membership;
use key::certified;

/// What both sides must agree on in the handshake.
pub(super) const PROTOCOL: &[u8] = b"quorate/1";

/// By the keys that a party may have.
const SCHEMES: [SignatureScheme; 2] =
    [SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256];

/// A key that the verifier does not pin, as the handshake's error carries it.
#[derive(Debug)]
pub(super) struct NotPinned {
    /// `None` for what is no key of a party.
    pub(super) presented: Option<IdentityPublic>,
}

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.presented {
            Some(identity) => write!(f, "it presented {identity}, which is not pinned"),
            None => f.write_str("it presented neither an Ed25519 nor a P-256 public key"),
        }
    }
}

impl std::error::Error for NotPinned {}

impl NotPinned {
    /// Finds it in the error of a handshake.
    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        match error.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref()
            }
            _ => None,
        }
    }
}

/// Whether the peer ended the handshake because it does not accept our key.
pub(super) fn refused_us(error: &io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(tls, Some(rustls::Error::AlertReceived(Alert::CertificateUnknown)))
}

/// What the verifiers of both sides share.
#[derive(Debug)]
struct RawKeys(WebPkiSupportedAlgorithms);

impl RawKeys {
    fn presented(key: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Option<IdentityPublic> {
        if more.is_empty() { IdentityPublic::from_spki(key) } else { None }
    }

    fn refusal(presented: Option<IdentityPublic>) -> rustls::Error {
        let inner = Arc::new(NotPinned { presented });
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))
    }

    /// The possession of the key: without it, pinning a public key would prove nothing.
    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0)
    }

    fn old_version() -> rustls::Error {
        rustls::Error::General("only TLS 1.3 is spoken".into())
    }
}

/// The dialling side's: exactly one key.
#[derive(Debug)]
struct OnlyThis {
    pinned: IdentityPublic,
    keys: RawKeys,
}

impl ServerCertVerifier for OnlyThis {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match RawKeys::presented(key, more) {
            Some(presented) if presented == self.pinned => Ok(ServerCertVerified::assertion()),
            presented => Err(RawKeys::refusal(presented)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(RawKeys::old_version())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.keys.verify(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The listening side's: any other member's key.
#[derive(Debug)]
struct AnyOtherMember {
    membership: Arc<Membership>,
    me: u16,
    keys: RawKeys,
}

impl ClientCertVerifier for AnyOtherMember {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let presented = RawKeys::presented(key, more);
        let party = presented.and_then(|identity| self.membership.party_of_link(&identity));
        // Our own key can only come back by a loop or a theft.
        match party {
            Some(party) if party != self.me => Ok(ClientCertVerified::assertion()),
            _ => Err(RawKeys::refusal(presented)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(RawKeys::old_version())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.keys.verify(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn provider() -> (Arc<CryptoProvider>, RawKeys) {
    let provider = ring::default_provider();
    let keys = RawKeys(provider.signature_verification_algorithms);
    (Arc::new(provider), keys)
}

/// For dialling the owner of `pinned`, and nobody else.
pub(super) fn client_config(
    identity: &IdentityKey,
    pinned: &IdentityPublic,
) -> Result<ClientConfig, rustls::Error> {
    let (provider, keys) = provider();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OnlyThis { pinned: *pinned, keys }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(
            identity,
        )?)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// For being dialled by any member except this party itself.
pub(super) fn server_config(
    identity: &IdentityKey,
    membership: Arc<Membership>,
    me: u16,
) -> Result<ServerConfig, rustls::Error> {
    let (provider, keys) = provider();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyOtherMember { membership, me, keys }))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(identity)?)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A name that no verifier looks at and that is never sent: keys are pinned, names are not.
pub(super) fn no_name() -> io::Result<ServerName<'static>> {
    ServerName::try_from("quorate.invalid").map_err(io::Error::other)
}

/// A bare TLS link to a party, with nothing said on it yet: for tests that play a malicious member. The
/// other side judges our key only after this returns; if it refuses, the first read fails.
///
/// # Errors
/// The connection's or the handshake's.
pub async fn connect_raw(
    identity: &IdentityKey,
    expected: &IdentityPublic,
    address: SocketAddr,
) -> io::Result<client::TlsStream<TcpStream>> {
    let config = client_config(identity, expected).map_err(io::Error::other)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(no_name()?, stream).await
}
