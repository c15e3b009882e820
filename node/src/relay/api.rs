//! A relay's API: how it and its device stand, and that a loss is accepted there.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use tokio::sync::{mpsc, oneshot};

use super::{Order, RelayStatus, Shown};
use crate::api::{OperatorToken, only_loopback_names};
use crate::device::DeviceError;
use crate::handle::ServiceError;

#[derive(Clone)]
struct Shared {
    shown: Shown,
    orders: mpsc::Sender<Order>,
    token: OperatorToken,
}

async fn status(State(shared): State<Shared>) -> Json<RelayStatus> {
    Json(shared.shown.now())
}

fn failed(error: &DeviceError) -> ServiceError {
    ServiceError::Hsm { reason: error.to_string(), exit: error.exit().code() }
}

async fn readmit(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Json<RelayStatus>, ServiceError> {
    shared.token.authorise(&headers)?;
    let (order, done) = oneshot::channel();
    // One at a time: the device asks one person.
    shared.orders.try_send(order).map_err(|_| ServiceError::Busy)?;
    match done.await {
        Ok(Ok(())) => Ok(Json(shared.shown.now())),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&DeviceError::Closed)),
    }
}

async fn nothing_here() -> ServiceError {
    ServiceError::bad_request(
        "this node relays for a device and does little else: see /v1/device; other calls go to other parties",
    )
}

/// The API of a relay.
pub fn router(shown: Shown, orders: mpsc::Sender<Order>, operator_token: &str) -> Router {
    let token = OperatorToken::new(operator_token);
    Router::new()
        .route("/v1/device", get(status))
        .route("/v1/device/readmit", post(readmit))
        .fallback(nothing_here)
        .layer(middleware::from_fn(only_loopback_names))
        .with_state(Shared { shown, orders, token })
}
