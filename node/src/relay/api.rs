//! A relay's API: how it and its device stand, and nothing else.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router, middleware};

use super::{RelayStatus, Shown};
use crate::api::only_loopback_names;
use crate::handle::ServiceError;

async fn status(State(shown): State<Shown>) -> Json<RelayStatus> {
    Json(shown.now())
}

async fn nothing_here() -> ServiceError {
    ServiceError::bad_request(
        "this node relays for a device and does nothing else: see /v1/device; other calls go to other parties",
    )
}

/// The API of a relay.
pub fn router(shown: Shown) -> Router {
    Router::new()
        .route("/v1/device", get(status))
        .fallback(nothing_here)
        .layer(middleware::from_fn(only_loopback_names))
        .with_state(shown)
}
