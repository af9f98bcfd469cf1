//! What the fuzzer feeds to the admin API: everything that one client sends, as HTTP.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;

use super::test_backend::TestBackend;
use super::{Admin, routes};

/// A watch goes on for ever; the client leaves after this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A listener of one connection.
struct Once(Option<DuplexStream>);

impl Listener for Once {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.take() {
            Some(stream) => (stream, SocketAddr::from(([127, 0, 0, 1], 1))),
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 2)))
    }
}

/// Serves a client that sends these bytes; every answer begins as HTTP does.
pub fn connection(bytes: &[u8]) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Waits take no time: the clock jumps to the next deadline when nothing else is to be done.
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime");
    let answer = runtime.block_on(async {
        let (client, server) = tokio::io::duplex(1 << 16);
        let backend = Arc::new(TestBackend::new());
        backend.add_topic("orders", 2);
        let stop = CancellationToken::new();
        let admin = Arc::new(Admin::new(backend, stop.clone()));
        let serving = axum::serve(Once(Some(server)), routes::router(admin));
        let serving = serving.with_graceful_shutdown(stop.clone().cancelled_owned());
        let asking = async {
            let answer = ask(client, bytes).await;
            stop.cancel();
            answer
        };
        tokio::join!(serving.into_future(), asking).1
    });
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{answer:02x?}");
}

async fn ask(mut client: DuplexStream, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let (mut from, mut to) = tokio::io::split(&mut client);
    let send = async {
        // The server may close first.
        let _ = to.write_all(bytes).await;
        let _ = to.shutdown().await;
    };
    let _ = tokio::time::timeout(PATIENCE, async { tokio::join!(from.read_to_end(&mut answer), send) }).await;
    answer
}
