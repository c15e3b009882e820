//! A web server for tests: it answers what the test says, or in ways that no server should.

// Test code, though not in `#[test]` functions: it must be loud.
#![allow(clippy::panic)]

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// What somebody asks of the server.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// `GET` or `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// JSON-RPC's method, if it is a call.
    #[must_use]
    pub fn call(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// What it does.
#[derive(Clone, Debug)]
pub enum Does {
    /// An answer of this status, with these lines of headers, and a body.
    Answers(u16, Vec<String>, Vec<u8>),
    /// Bytes as they are.
    Says(Vec<u8>),
    /// Nothing, for ever.
    Hangs,
    /// These bytes, and then one more every so often, for ever.
    Drips(Vec<u8>, Duration),
}

impl Does {
    /// A document.
    #[must_use]
    pub fn json(value: &Value) -> Self {
        let headers = vec!["Content-Type: application/json".to_owned()];
        Self::Answers(200, headers, value.to_string().into_bytes())
    }

    /// A JSON-RPC answer to this call.
    #[must_use]
    pub fn result(asked: &Asked, result: &Value) -> Self {
        let id = asked.call().and_then(|call| call.get("id").cloned());
        Self::json(&serde_json::json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }
}

type Handler = Mutex<Box<dyn Fn(&Asked) -> Does + Send + Sync>>;

/// A server on a port of loopback; it ends with the test's process.
pub struct Server {
    address: SocketAddr,
    https: bool,
    handler: Arc<Handler>,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// A server without TLS.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn start(handler: impl Fn(&Asked) -> Does + Send + Sync + 'static) -> Self {
        Self::serve(None, Box::new(handler))
    }

    /// A server with TLS, as `localhost`.
    ///
    /// # Panics
    /// If there is no port, or no certificate can be made.
    #[must_use]
    pub fn start_tls(
        authority: &Authority,
        handler: impl Fn(&Asked) -> Does + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(authority.config()), Box::new(handler))
    }

    fn serve(
        tls: Option<Arc<ServerConfig>>,
        handler: Box<dyn Fn(&Asked) -> Does + Send + Sync>,
    ) -> Self {
        let listener = must("a port", TcpListener::bind("127.0.0.1:0"));
        let server = Self {
            address: must("a port", listener.local_addr()),
            https: tls.is_some(),
            handler: Arc::new(Mutex::new(handler)),
            asked: Arc::default(),
            connections: Arc::default(),
        };
        let (handler, asked) = (Arc::clone(&server.handler), Arc::clone(&server.asked));
        let connections = Arc::clone(&server.connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::Relaxed);
                let (handler, asked, tls) = (Arc::clone(&handler), Arc::clone(&asked), tls.clone());
                std::thread::spawn(move || match tls {
                    None => talk(stream, &handler, &asked),
                    Some(config) => {
                        if let Ok(connection) = ServerConnection::new(config) {
                            talk(StreamOwned::new(connection, stream), &handler, &asked);
                        }
                    }
                });
            }
        });
        server
    }

    /// From now on it does this.
    pub fn now(&self, handler: impl Fn(&Asked) -> Does + Send + Sync + 'static) {
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(handler);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:…`, or `https://localhost:…`, as its certificate has it.
    #[must_use]
    pub fn url(&self) -> String {
        match self.https {
            true => format!("https://localhost:{}", self.address.port()),
            false => format!("http://{}", self.address),
        }
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often somebody connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// One connection, until the other side has enough.
fn talk<S: Read + Write>(stream: S, handler: &Handler, log: &Mutex<Vec<Asked>>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream) {
        log.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        let does = (handler.lock().unwrap_or_else(PoisonError::into_inner))(&asked);
        if answer(stream.get_mut(), does).is_err() {
            return;
        }
    }
}

fn read<S: Read>(stream: &mut BufReader<S>) -> Option<Asked> {
    let mut line = || {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    while let Some((name, value)) = line()?.split_once(':') {
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Asked { method, path, headers, body })
}

fn answer(stream: &mut impl Write, does: Does) -> std::io::Result<()> {
    match does {
        Does::Answers(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
            headers.iter().for_each(|line| head.push_str(&format!("{line}\r\n")));
            stream.write_all(format!("{head}\r\n").as_bytes())?;
            stream.write_all(&body)?;
            stream.flush()
        }
        Does::Says(bytes) => {
            stream.write_all(&bytes)?;
            stream.flush()?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        Does::Hangs => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        Does::Drips(bytes, every) => {
            stream.write_all(&bytes)?;
            loop {
                stream.flush()?;
                std::thread::sleep(every);
                stream.write_all(b"x")?;
            }
        }
    }
}

/// A certificate authority of the test's own, by the `openssl` command.
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// A fresh one, with a certificate for `localhost`.
    ///
    /// # Panics
    /// If `openssl` is missing or fails.
    #[must_use]
    pub fn new() -> Self {
        let folder = must("a temporary folder", tempfile::tempdir());
        let at = |name: &str| folder.path().join(name).display().to_string();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let (ca, ca_key) = (at("ca.pem"), at("ca.key"));
        let own =
            ["req", "-x509", "-days", "30", "-subj", "/CN=test", "-out", &ca, "-keyout", &ca_key];
        openssl(&[&own[..], &key].concat());
        let (wish, leaf_key) = (at("leaf.csr"), at("leaf.key"));
        let ask = ["req", "-subj", "/CN=localhost", "-out", &wish, "-keyout", &leaf_key];
        openssl(&[&ask[..], &key].concat());
        let names = at("names");
        must("a file", std::fs::write(&names, "subjectAltName=DNS:localhost\n"));
        let leaf = at("leaf.pem");
        let sign = ["x509", "-req", "-days", "30", "-in", &wish, "-CA", &ca, "-CAkey", &ca_key];
        let rest = ["-CAcreateserial", "-out", &leaf, "-extfile", &names];
        openssl(&[&sign[..], &rest].concat());
        Self { folder }
    }

    /// The file with its root certificate.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn config(&self) -> Arc<ServerConfig> {
        let folder: &Path = self.folder.path();
        let chain = CertificateDer::from_pem_file(folder.join("leaf.pem"));
        let chain = vec![must("a certificate", chain)];
        let key = must("a key", PrivateKeyDer::from_pem_file(folder.join("leaf.key")));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = must("TLS", builder.with_safe_default_protocol_versions());
        Arc::new(must("TLS", builder.with_no_client_auth().with_single_cert(chain, key)))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).stdin(Stdio::null()).output();
    let output = must("openssl", output);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {words}");
}

/// Hands bytes on to another address, and back: a name of the server that a test may stop.
///
/// # Panics
/// If there is no connection.
#[must_use]
pub fn forward(to: SocketAddr, asked: &Asked) -> Vec<u8> {
    let mut stream = must("a connection", TcpStream::connect(to));
    let head = format!(
        "{} {} HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        asked.method,
        asked.path,
        asked.body.len()
    );
    must("sending", stream.write_all(head.as_bytes()));
    must("sending", stream.write_all(&asked.body));
    let mut answer = Vec::new();
    must("receiving", stream.read_to_end(&mut answer));
    answer
}

fn must<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}
