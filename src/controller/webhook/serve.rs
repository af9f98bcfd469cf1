//! The webhook's port: TLS with whatever certificate is there now, HTTP/1.1, a bounded number of connections. It decides
//! nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::tls::Acceptor;

/// Connections at once. An API server keeps a few.
const CONNECTIONS_MAX: usize = 128;
/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Time for the head of a request, and between two: longer than an API server keeps an idle connection (90 s). One that is
/// closed under its next request would let an eviction pass.
const HEAD: Duration = Duration::from_secs(120);
/// Pause after a failure to accept, such as no free file descriptor.
const RETRY: Duration = Duration::from_millis(200);

/// Listens on the webhook's address.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| anyhow::anyhow!("listen on --webhook-listener {address}: {error}"))
}

/// Serves until `stop`. Without a certificate connections are closed: the API server goes by its failure policy then.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    certificate: watch::Receiver<Option<Acceptor>>,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(Ok(place)) = stop.run_until_cancelled(Arc::clone(&room).acquire_owned()).await {
        let stream = match stop.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(Ok((stream, _))) => stream,
            Some(Err(error)) => {
                tracing::warn!(%error, "accept a connection to the webhook");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let Some(acceptor) = certificate.borrow().clone() else { continue };
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            connection(stream, acceptor, router, stop).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, acceptor: Acceptor, router: Router, stop: CancellationToken) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "shake hands with a caller of the webhook"),
        Err(_) => return tracing::debug!("a caller of the webhook did not shake hands"),
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "serve a caller of the webhook");
    }
}
