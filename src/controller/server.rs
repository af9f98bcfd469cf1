//! The operator's HTTP port: /metrics, /livez, /readyz. It reads, it changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::webhook::Certified;

/// What the port shows.
#[derive(Clone)]
pub struct Health {
    pub metrics: Arc<Metrics>,
    /// Set once the process takes part in the election, leading or waiting for its turn.
    pub ready: Arc<AtomicBool>,
    /// The webhook, if it is to be served.
    pub webhook: Option<Certified>,
}

/// Serves until `stop`.
pub async fn serve(address: SocketAddr, health: Health, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| anyhow::anyhow!("listen on --http-listener {address}: {error}"))?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(health);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], health.metrics.text())
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if !health.ready.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "the Kubernetes API has not answered yet\n")
    } else if health.webhook.is_some_and(|webhook| !webhook.is_served()) {
        (StatusCode::SERVICE_UNAVAILABLE, "the webhook has no certificate yet\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}
