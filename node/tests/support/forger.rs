//! TLS clients and servers that are not what they should be.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quorate_node::identity::{IdentityKey, IdentityPublic};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{default_provider, sign::any_eddsa_type};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Believes everybody.
#[derive(Debug)]
struct Credulous {
    raw: bool,
}

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

impl ClientCertVerifier for Credulous {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn builder(raw: bool) -> Builder {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous { raw }))
}

fn certified(shown: IdentityPublic, signer: &IdentityKey) -> Arc<CertifiedKey> {
    // An Ed25519 private key in PKCS#8, DER (RFC 8410).
    let prefix = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let pkcs8 = [prefix.as_slice(), signer.secret().unwrap().as_slice()].concat();
    let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice())).unwrap();
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(shown.to_spki())], key))
}

async fn connect(
    mut config: ClientConfig,
    protocols: &[&[u8]],
    address: SocketAddr,
) -> io::Result<client::TlsStream<TcpStream>> {
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("anybody.invalid").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Shows one key and signs with another.
pub(crate) struct Forger(Arc<CertifiedKey>);

impl Forger {
    pub(crate) fn new(shown: IdentityPublic) -> Self {
        Self(certified(shown, &IdentityKey::generate().unwrap()))
    }

    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.0));
        let config = builder(true).with_client_cert_resolver(Arc::new(resolver));
        connect(config, &[b"quorate/1"], address).await
    }

    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<server::TlsStream<TcpStream>> {
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.0));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Credulous { raw: true }))
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"quorate/1".to_vec()];
        TlsAcceptor::from(Arc::new(config)).accept(stream).await
    }
}

/// Has a good key, and wants to speak one of `protocols`.
pub(crate) async fn connect_for(
    key: &IdentityKey,
    protocols: &[&[u8]],
    address: SocketAddr,
) -> io::Result<client::TlsStream<TcpStream>> {
    let resolver = AlwaysResolvesClientRawPublicKeys::new(certified(key.public(), key));
    let config = builder(true).with_client_cert_resolver(Arc::new(resolver));
    connect(config, protocols, address).await
}

/// Shows no key at all.
pub(crate) async fn connect_without_key(
    address: SocketAddr,
) -> io::Result<client::TlsStream<TcpStream>> {
    let mut config = builder(true).with_no_client_auth();
    // It speaks of raw keys, and then has none.
    config.client_auth_cert_resolver = Arc::new(Keyless);
    connect(config, &[b"quorate/1"], address).await
}

#[derive(Debug)]
struct Keyless;

impl rustls::client::ResolvesClientCert for Keyless {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Speaks TLS as browsers do: X.509, no raw keys.
pub(crate) async fn connect_with_certificates(
    address: SocketAddr,
) -> io::Result<client::TlsStream<TcpStream>> {
    connect(builder(false).with_no_client_auth(), &[b"quorate/1"], address).await
}

/// A ClientHello of TLS 1.2, written by hand: our TLS library is built without it.
pub(crate) fn tls12_hello() -> Vec<u8> {
    let extensions = [
        // signature_algorithms: ed25519, ecdsa_secp256r1_sha256
        &[0, 13, 0, 6, 0, 4, 8, 7, 4, 3][..],
        // supported_groups: x25519, secp256r1
        &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23],
        // ec_point_formats: uncompressed
        &[0, 11, 0, 2, 1, 0],
    ]
    .concat();
    let hello = [
        &[3, 3][..],
        &[0x5a; 32],
        // No session; ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 and the like with RSA; no compression.
        &[0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0],
        &(extensions.len() as u16).to_be_bytes(),
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0][..], &(hello.len() as u16).to_be_bytes(), &hello].concat();
    [&[22, 3, 1][..], &(handshake.len() as u16).to_be_bytes(), &handshake].concat()
}
