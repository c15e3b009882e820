//! One exchange with a source: a bounded request and a bounded response, over a connection to an address
//! that may be asked. No redirects, no cookies, no proxy of the environment.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector as _, NextTimeout, RustlsConnector, TcpConnector};
use ureq::{Agent, Error};

use super::Unavailable;
use super::address::is_public;
use super::config::{FactsError, SecretText};

/// Of a response's status line and headers, bytes.
const MAX_HEADERS: usize = 16 * 1024;
/// Of an address, bytes.
const MAX_URL: usize = 2048;
/// Connections that wait for a next question, and for how long.
const IDLE: usize = 4;
const IDLE_FOR: Duration = Duration::from_secs(15);

/// An address that may be asked, as far as its text tells.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_url(text: &str, private: bool) -> Result<Uri, &'static str> {
    if text.len() > MAX_URL {
        return Err("is longer than 2048 bytes");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte)) {
        return Err(
            "has characters that an address does not have (write other scripts as xn--…, %…)",
        );
    }
    let (scheme, rest) = text.split_once("://").ok_or("is no address (try https://…)")?;
    match scheme {
        "https" => {}
        "http" if private => {}
        "http" => return Err("is http://, which only a source with private = true may be"),
        _ => return Err("must begin with https://"),
    }
    if text.contains('#') {
        return Err("has a fragment (#…)");
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or("is no address")?;
    if authority.contains('@') {
        return Err("has a user name in it; what a source asks for goes into `authorization`");
    }
    let path = path.split('?').next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
    if path.split(['/', ';']).any(|step| step == "." || step == "..") {
        return Err("has a . or .. in its path");
    }
    let uri: Uri = text.parse().map_err(|_| "is no address")?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("has no host")?;
    // What is no port would be taken for none.
    let bare = authority.strip_prefix(host).is_some_and(str::is_empty);
    if bare || uri.port_u16().is_some_and(|port| port > 0) { Ok(uri) } else { Err("has no port") }
}

/// Scheme and host: what may be shown. The rest of an address is often a secret.
pub(super) fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    format!("{scheme}://{}{port}", uri.host().unwrap_or_default())
}

/// How to talk to a source.
pub(super) struct Door {
    agent: Agent,
    authorization: Option<SecretText>,
    max_bytes: u32,
}

/// What a source answered.
pub(super) struct Response {
    pub(super) body: Vec<u8>,
    /// `Date` less `Age`: when what it says was true, Unix seconds.
    pub(super) time: Option<u64>,
}

impl Door {
    /// A door to one source. `ca_file` holds the roots that count, instead of Mozilla's.
    ///
    /// # Errors
    /// The file of roots cannot be used.
    pub(super) fn new(
        private: bool,
        ca_file: Option<&Path>,
        authorization: Option<SecretText>,
        max_bytes: u32,
    ) -> Result<Self, FactsError> {
        let roots = ca_file.map_or(Ok(RootCerts::WebPki), roots)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Config::builder()
            .tls_config(tls)
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(true)
            .max_response_header_size(MAX_HEADERS)
            .max_idle_connections(IDLE)
            .max_idle_connections_per_host(IDLE)
            .max_idle_age(IDLE_FOR)
            .user_agent("quorate")
            .accept("application/json")
            .build();
        let connector = ().chain(TcpConnector::default()).chain(RustlsConnector::default());
        let agent = Agent::with_parts(
            config,
            connector,
            Guard { private, inner: DefaultResolver::default() },
        );
        Ok(Self { agent, authorization, max_bytes })
    }

    /// GET, or POST of a JSON text. It ends at `until`, whatever the other side does.
    ///
    /// # Errors
    /// [`Unavailable`], without the address: who asks knows which it was.
    pub(super) fn ask(
        &self,
        uri: &Uri,
        json: Option<&str>,
        until: Instant,
    ) -> Result<Response, Unavailable> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Unavailable::LATE);
        }
        let secret = self.authorization.as_ref().map(SecretText::expose);
        let result = match json {
            None => {
                let mut request = self.agent.get(uri);
                if let Some(secret) = secret {
                    request = request.header("authorization", secret);
                }
                request.config().timeout_global(Some(left)).build().call()
            }
            Some(json) => {
                let mut request = self.agent.post(uri).content_type("application/json");
                if let Some(secret) = secret {
                    request = request.header("authorization", secret);
                }
                request.config().timeout_global(Some(left)).build().send(json)
            }
        };
        let mut response = result.map_err(|error| self.in_words(error))?;
        match response.status().as_u16() {
            200 => {}
            300..400 => return Err(Unavailable::REDIRECT),
            status => return Err(Unavailable::new(format!("it answers HTTP {status}"))),
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let date = header("date").and_then(|text| httpdate::parse_http_date(text).ok());
        let date = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        let age = header("age").map_or(Some(0), |text| text.trim().parse::<u64>().ok());
        let time = date.zip(age).and_then(|(date, age)| date.as_secs().checked_sub(age));
        let body = response.body_mut().with_config().limit(self.max_bytes.into()).read_to_vec();
        Ok(Response { body: body.map_err(|error| self.in_words(error))?, time })
    }

    /// Never an address, and never more of what a stranger wrote than a status.
    fn in_words(&self, error: Error) -> Unavailable {
        Unavailable::new(match error {
            Error::StatusCode(status) => format!("it answers HTTP {status}"),
            Error::Timeout(_) => return Unavailable::LATE,
            Error::TooManyRedirects | Error::RedirectFailed => return Unavailable::REDIRECT,
            Error::HostNotFound => "its name is not known".to_owned(),
            Error::BodyExceedsLimit(_) => {
                format!("its answer is longer than max_bytes = {}", self.max_bytes)
            }
            Error::LargeResponseHeader(..) => {
                format!("its answer's headers are longer than {MAX_HEADERS} bytes")
            }
            Error::Rustls(error) => format!("TLS: {error}"),
            Error::Tls(what) => format!("TLS: {what}"),
            Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(error) => format!("TLS: {}", error as &rustls::Error),
                None => format!("no connection: {}", error.kind()),
            },
            Error::Other(inner) => match inner.downcast_ref() {
                Some(Refused(address)) => Refused(*address).to_string(),
                None => "no connection".to_owned(),
            },
            _ => "it does not speak HTTP as it should".to_owned(),
        })
    }
}

fn roots(file: &Path) -> Result<RootCerts, FactsError> {
    let wrong = |what: String| FactsError { field: "ca_file".into(), what };
    let shown = file.display();
    let pem = std::fs::read(file).map_err(|error| wrong(format!("{shown}: {error}")))?;
    let items: Result<Vec<PemItem<'_>>, Error> = parse_pem(&pem).collect();
    let items = items.map_err(|_| wrong(format!("{shown} is no PEM file")))?;
    let certificate = |item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    };
    let certificates: Vec<Certificate<'static>> =
        items.into_iter().filter_map(certificate).collect();
    match certificates.is_empty() {
        true => Err(wrong(format!("{shown} has no certificate"))),
        false => Ok(certificates.into()),
    }
}

/// Looks names up, and hands out only addresses that may be asked. A connection is made to these and nothing
/// else, so a name that means something else a moment later changes nothing.
#[derive(Debug)]
struct Guard {
    private: bool,
    inner: DefaultResolver,
}

impl Guard {
    /// Plain HTTP stays in the operator's own network.
    fn allows(&self, address: IpAddr, https: bool) -> bool {
        if is_public(address) { https } else { self.private }
    }
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let https = uri.scheme_str() == Some("https");
        // A name with one forbidden address is refused whole: it is a trap, or a mistake.
        match found.iter().find(|found| !self.allows(found.ip(), https)) {
            Some(refused) => Err(Error::Other(Box::new(Refused(refused.ip())))),
            None => Ok(found),
        }
    }
}

/// An address that may not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused(IpAddr);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match is_public(self.0) {
            true => write!(f, "{} is public, and http:// is for private addresses only", self.0),
            false => write!(
                f,
                "{} is not on the public internet; a source there needs private = true",
                self.0
            ),
        }
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(5);

    fn asked(url: &str, private: bool) -> Result<Response, String> {
        let door = Door::new(private, None, None, 1000).unwrap();
        let uri = url.parse().unwrap();
        door.ask(&uri, None, Instant::now() + SECOND).map_err(|error| error.to_string())
    }

    /// The resolver of the system reads more spellings of an address than a text check would.
    #[test]
    fn odd_spellings_of_private_addresses_are_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.1.",
            "localhost",
            "localhost.",
            "LOCALHOST",
            "0.0.0.0",
            "0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "169.254.169.254",
            "[fd00:ec2::254]",
        ] {
            let url = format!("https://{host}:{port}/");
            let Ok(uri) = url.parse::<Uri>() else { continue };
            let guard = Guard { private: false, inner: DefaultResolver::default() };
            let config = Config::default();
            let found = guard.resolve(&uri, &config, NextTimeout::default());
            assert!(found.is_err(), "{host}: {found:?}");
            // Some are no names to this system, which is as well.
            let error = asked(&url, false).err().unwrap();
            let known = ["is not on the public internet", "no connection", "name is not known"];
            assert!(known.iter().any(|words| error.contains(words)), "{host}: {error}");
        }
        for sure in ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost"] {
            let error = asked(&format!("https://{sure}:{port}/"), false).err().unwrap();
            assert!(error.contains("is not on the public internet"), "{sure}: {error}");
        }
        assert!(listener.accept().is_err(), "nobody came");
    }

    #[test]
    fn plain_http_is_for_private_addresses() {
        let guard = |private| Guard { private, inner: DefaultResolver::default() };
        let (public, private) = ("8.8.8.8".parse().unwrap(), "127.0.0.1".parse().unwrap());
        assert!(guard(false).allows(public, true) && guard(true).allows(public, true));
        assert!(!guard(false).allows(private, true) && guard(true).allows(private, true));
        assert!(!guard(true).allows(public, false) && guard(true).allows(private, false));
        let error = asked("http://8.8.8.8/", true).err().unwrap();
        assert!(error.contains("http:// is for private addresses only"), "{error}");
    }

    #[test]
    fn addresses_are_checked_by_their_text_too() {
        for good in
            ["https://a.example/", "https://a.example:8443/x?y=z", "https://[2606:4700::1]/"]
        {
            assert!(check_url(good, false).is_ok(), "{good}");
        }
        for bad in [
            "http://a.example/",
            "ftp://a.example/",
            "//a.example/",
            "a.example",
            "https://",
            "https:///x",
            "https://user@a.example/",
            "https://user:word@a.example/",
            "https://a.example/#x",
            "https://a.example/../x",
            "https://a.example/a/%2e%2E/x",
            "https://a.example/a/./x",
            "https://a.example/..;/x",
            "https://a.example\\@b.example/",
            "https://a.example/ x",
            "https://bücher.example/",
            "https://a.example:99999/",
            "https://a.example:/",
            "https://a.example:0/",
        ] {
            assert!(check_url(bad, false).is_err(), "{bad}");
        }
        assert!(check_url("http://127.0.0.1:8545", true).is_ok());
        assert!(check_url(&format!("https://a.example/{}", "x".repeat(MAX_URL)), false).is_err());
        let uri = check_url("https://a.example:8443/v3/key?secret=1", false).unwrap();
        assert_eq!(shown(&uri), "https://a.example:8443");
    }
}
