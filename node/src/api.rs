//! HTTP and JSON on loopback, for the same verbs as the command line.
//!
//! | Call | Who |
//! |---|---|
//! | `GET /v1/status`, `GET /v1/keys`, `GET /v1/keys/{name or id}` | anybody on this machine |
//! | `GET /v1/keys/{name or id}/policy` | the same |
//! | `GET /v1/policy/schema` | the same: the JSON schema of policies |
//! | `POST /v1/keys`, `GET /v1/audit?from=N` | with the operator token |
//! | `POST /v1/policies` | with a change that the policy's controllers signed |
//! | `POST /v1/sign` | with a client-signed request |
//! | `GET /v1/requests?after=HASH`, `GET /v1/requests/{hash}` | anybody on this machine |
//! | `POST /v1/vetoes` | with a vetoer-signed veto |
//!
//! An error is `{"error": {"code": …, "message": …, …}}`. A request that waits for a policy's delay is none:
//! 202, and `{"state": "waiting", …}`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use quorate_core::policy::MAX_POLICY;
use quorate_core::policy::control::MAX_CHANGE;
use quorate_core::request::MAX_REQUEST;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;

use crate::audit::Page;
use crate::handle::{
    CreateKey, Handle, KeyInfo, PolicyInfo, ServiceError, Signed, Status, Vetoed, WaitingPage,
    WaitingRequest,
};
use crate::policy_file;

/// A policy as people write it, which is longest where it lists accounts: 20 bytes are up to 64 with quotes,
/// comma and indentation. Requests and changes in hexadecimal are shorter.
pub const MAX_BODY: usize = 4 * MAX_POLICY + 4096;
const _: () = assert!(MAX_BODY >= 2 * MAX_REQUEST + 4096 && MAX_BODY >= 2 * MAX_CHANGE + 4096);

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    handle: Handle,
    token: OperatorToken,
}

/// The operator token's hash: the token itself need not lie about.
#[derive(Clone)]
pub(crate) struct OperatorToken(Arc<[u8; 32]>);

impl IntoResponse for ServiceError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.http_status());
        let body = match &self {
            Self::Waiting(waiting) => serde_json::to_value(waiting).unwrap_or_default(),
            error => error_body(error),
        };
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(body)).into_response()
    }
}

/// The error as every face shows it.
#[must_use]
pub fn error_body(error: &ServiceError) -> Value {
    let mut fields = serde_json::to_value(error).unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("message".to_owned(), error.to_string().into());
    }
    serde_json::json!({ "error": fields })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    name: String,
    threshold: u8,
    #[serde(default)]
    parties: Vec<u16>,
    /// As in a policy file.
    policy: Value,
    /// What the policy's controllers signed, hexadecimal.
    #[serde(default)]
    approval: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyBody {
    /// The signed change, hexadecimal.
    change: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignBody {
    /// The client-signed request, hexadecimal.
    request: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VetoBody {
    /// The vetoer-signed veto, hexadecimal.
    veto: String,
}

/// What axum read. Its own refusals are plain text, which no client of ours understands.
type Body = Result<Bytes, BytesRejection>;

fn body<T: DeserializeOwned>(body: Body) -> Result<T, ServiceError> {
    let bytes = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ServiceError::bad_request(format!("the body is longer than {MAX_BODY} bytes"))
        }
        _ => ServiceError::bad_request(format!("the body: {error}")),
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ServiceError::bad_request(format!("the body: {error}")))
}

/// A web page that a browser on this machine shows must not reach the API under a name of its own.
pub(crate) async fn only_loopback_names(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let named = host.is_some_and(|host| {
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
        });
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    // A page cannot leave this header out; programs do not send it.
    let from_page = request.headers().contains_key(header::ORIGIN);
    if named && !from_page {
        return next.run(request).await;
    }
    let reason = "the API answers programs on this machine alone, under a loopback name".to_owned();
    ServiceError::Unauthorised { reason }.into_response()
}

impl OperatorToken {
    pub(crate) fn new(token: &str) -> Self {
        Self(Arc::new(Sha256::digest(token.as_bytes()).into()))
    }

    pub(crate) fn authorise(&self, headers: &HeaderMap) -> Result<(), ServiceError> {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let hash: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        if bool::from(hash.ct_eq(self.0.as_slice())) {
            return Ok(());
        }
        Err(ServiceError::Unauthorised {
            reason: "this call needs the operator token (file operator.token in the node's folder)"
                .to_owned(),
        })
    }
}

async fn create_key(
    State(shared): State<Shared>,
    headers: HeaderMap,
    bytes: Body,
) -> Result<Json<KeyInfo>, ServiceError> {
    shared.token.authorise(&headers)?;
    let CreateBody { name, threshold, parties, policy, approval } = body(bytes)?;
    let approval = hexadecimal("approval", &approval)?;
    let policy = policy_file::from_json(&policy).map_err(ServiceError::bad_request)?;
    let create = CreateKey { name, threshold, parties, policy: policy.into_vec(), approval };
    shared.handle.create_key(create).await.map(Json)
}

async fn list_keys(State(shared): State<Shared>) -> Result<Json<Vec<KeyInfo>>, ServiceError> {
    shared.handle.list_keys().await.map(Json)
}

async fn show_key(
    State(shared): State<Shared>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<KeyInfo>, ServiceError> {
    let Path(name) = name.map_err(ServiceError::bad_request)?;
    shared.handle.show_key(name).await.map(Json)
}

fn hexadecimal(field: &str, text: &str) -> Result<Vec<u8>, ServiceError> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text))
        .map_err(|_| ServiceError::bad_request(format!("{field}: not hexadecimal")))
}

async fn show_policy(
    State(shared): State<Shared>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<PolicyInfo>, ServiceError> {
    let Path(name) = name.map_err(ServiceError::bad_request)?;
    shared.handle.show_policy(name).await.map(Json)
}

async fn set_policy(
    State(shared): State<Shared>,
    bytes: Body,
) -> Result<Json<PolicyInfo>, ServiceError> {
    let PolicyBody { change } = body(bytes)?;
    shared.handle.set_policy(hexadecimal("change", &change)?).await.map(Json)
}

async fn sign(State(shared): State<Shared>, bytes: Body) -> Result<Json<Signed>, ServiceError> {
    let SignBody { request } = body(bytes)?;
    let request = hexadecimal("request", &request)?;
    shared.handle.sign(request).await.map(Json)
}

async fn veto(State(shared): State<Shared>, bytes: Body) -> Result<Json<Vetoed>, ServiceError> {
    let VetoBody { veto } = body(bytes)?;
    let veto = hex::decode(veto.strip_prefix("0x").unwrap_or(&veto))
        .map_err(|_| ServiceError::bad_request("veto: not hexadecimal"))?;
    shared.handle.veto(veto).await.map(Json)
}

fn hash(text: &str) -> Result<[u8; 32], ServiceError> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash)
        .map_err(|_| ServiceError::bad_request("a request's hash has 64 hexadecimal digits"))?;
    Ok(hash)
}

async fn waiting(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<WaitingPage>, ServiceError> {
    let after = match query.as_deref() {
        None | Some("") => None,
        Some(query) => {
            let after = query.strip_prefix("after=");
            let after =
                after.ok_or_else(|| ServiceError::bad_request("the query is after=HASH"))?;
            Some(hash(after)?)
        }
    };
    shared.handle.waiting(after).await.map(Json)
}

async fn waiting_request(
    State(shared): State<Shared>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<WaitingRequest>, ServiceError> {
    let Path(name) = name.map_err(ServiceError::bad_request)?;
    shared.handle.waiting_request(hash(&name)?).await.map(Json)
}

async fn status(State(shared): State<Shared>) -> Result<Json<Status>, ServiceError> {
    shared.handle.status().await.map(Json)
}

async fn audit(
    State(shared): State<Shared>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, ServiceError> {
    shared.token.authorise(&headers)?;
    let query = query.unwrap_or_default();
    let from = query.strip_prefix("from=").and_then(|number| number.parse().ok());
    let from = from.ok_or_else(|| ServiceError::bad_request("the query must be from=NUMBER"))?;
    shared.handle.audit(from).await.map(Json)
}

async fn policy_schema() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/schema+json")], policy_file::SCHEMA)
}

async fn nothing_here() -> ServiceError {
    ServiceError::bad_request(
        "no such call: see /v1/status, /v1/keys, /v1/policies, /v1/policy/schema, /v1/sign, /v1/requests, /v1/vetoes \
         and /v1/audit",
    )
}

async fn another_verb() -> Response {
    let error = ServiceError::bad_request("this call has another verb, GET or POST");
    (StatusCode::METHOD_NOT_ALLOWED, Json(error_body(&error))).into_response()
}

/// The API of the node behind `handle`.
pub fn router(handle: Handle, operator_token: &str) -> Router {
    let token = OperatorToken::new(operator_token);
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/keys", get(list_keys).post(create_key))
        .route("/v1/keys/{name}", get(show_key))
        .route("/v1/keys/{name}/policy", get(show_policy))
        .route("/v1/policies", post(set_policy))
        .route("/v1/sign", post(sign))
        .route("/v1/requests", get(waiting))
        .route("/v1/requests/{hash}", get(waiting_request))
        .route("/v1/vetoes", post(veto))
        .route("/v1/policy/schema", get(policy_schema))
        .route("/v1/audit", get(audit))
        .fallback(nothing_here)
        .method_not_allowed_fallback(another_verb)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(only_loopback_names))
        .with_state(Shared { handle, token })
}

/// Binds the API's address.
///
/// # Errors
/// What the operating system says.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop` resolves.
///
/// # Errors
/// What the operating system says.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}
