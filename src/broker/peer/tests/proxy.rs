//! A TCP proxy that can lose bytes: one way, both ways, silently, or by closing. Stands for a network between two brokers.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::support::Flag;

/// What the network loses; whoever sends does not notice.
pub(super) struct Faults {
    /// Bytes from the dialer.
    pub(super) forward: Flag,
    /// Bytes back to the dialer.
    pub(super) back: Flag,
}

pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    pub(super) faults: Arc<Faults>,
    cancel: CancellationToken,
    connections: Arc<Mutex<CancellationToken>>,
}

impl Drop for Proxy {
    /// Closes every connection, and then nothing listens.
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Proxy {
    pub(super) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let faults = Arc::new(Faults { forward: Flag::new(), back: Flag::new() });
        let cancel = CancellationToken::new();
        let connections = Arc::new(Mutex::new(cancel.child_token()));
        let proxy = Self { address: listener.local_addr().unwrap(), faults, cancel, connections };
        let (faults, connections) = (proxy.faults.clone(), proxy.connections.clone());
        let accept = async move {
            while let Ok((client, _)) = listener.accept().await {
                let until = connections.lock().child_token();
                tokio::spawn(carry(client, target, faults.clone(), until));
            }
        };
        let cancel = proxy.cancel.clone();
        tokio::spawn(async move { cancel.run_until_cancelled(accept).await });
        proxy
    }

    /// Loses everything both ways, silently.
    pub(super) fn cut(&self) {
        self.faults.forward.set(true);
        self.faults.back.set(true);
    }

    /// Closes every connection; new ones are carried.
    pub(super) fn reset(&self) {
        std::mem::replace(&mut *self.connections.lock(), self.cancel.child_token()).cancel();
    }

    pub(super) fn heal(&self) {
        self.faults.forward.set(false);
        self.faults.back.set(false);
    }
}

async fn carry(client: TcpStream, target: SocketAddr, faults: Arc<Faults>, cancel: CancellationToken) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(
            pump(from_client, to_server, &faults.forward),
            pump(from_server, to_client, &faults.back)
        )
    };
    cancel.run_until_cancelled(both).await;
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    lost: &Flag,
) {
    let mut buffer = vec![0; 64 * 1024];
    // A stream that lost bytes stays broken, as TCP's would: bytes after a gap never arrive.
    let mut gap = false;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        gap |= lost.get();
        if !gap && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    if gap || lost.get() {
        // A close is lost, too.
        std::future::pending::<()>().await;
    }
}
