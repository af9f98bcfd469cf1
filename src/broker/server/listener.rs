//! Accepts connections on named listeners, within a limit, and stops them in good order.

use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ServerSettings;
use super::connection::{Connection, End};
use super::dispatch::Refusal;
use super::frame::FrameError;
use super::memory::Memory;
use super::places::{Full, Place, Places};
use super::stream::Wrap;
use crate::handlers::Handlers;
use crate::metrics::{ListenerMetrics, OpenConnection};

/// A pause after a failed accept, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A stream that takes longer to be wrapped (a TLS handshake) is given up.
const WRAP_TIMEOUT: Duration = Duration::from_secs(10);

/// A listener to serve: bound by the caller, so that a port in use is a start-up error.
pub struct ListenerSpec {
    /// Its name, such as `PLAINTEXT`.
    pub name: String,
    /// The bound socket.
    pub socket: TcpListener,
    /// What makes a stream of a connection.
    pub wrap: Arc<dyn Wrap>,
}

/// A running server.
pub struct Server {
    stop: CancellationToken,
    tasks: TaskTracker,
    addresses: Vec<(String, SocketAddr)>,
    drain_timeout: Duration,
}

struct Shared {
    handlers: Arc<Handlers>,
    settings: Arc<ServerSettings>,
    places: Places,
    memory: Memory,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Serves `listeners` on the current runtime until [`Server::stop`].
pub fn start(
    listeners: Vec<ListenerSpec>,
    handlers: Arc<Handlers>,
    settings: ServerSettings,
) -> io::Result<Server> {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let drain_timeout = settings.drain_timeout;
    let memory = Memory::new(settings.max_request_memory_bytes, handlers.metrics.broker.request_memory());
    let shared = Arc::new(Shared {
        handlers,
        memory,
        places: Places::new(settings.max_connections, settings.max_connections_per_ip),
        settings: Arc::new(settings),
        stop: stop.clone(),
        tasks: tasks.clone(),
    });
    let mut addresses = Vec::new();
    for listener in listeners {
        addresses.push((listener.name.clone(), listener.socket.local_addr()?));
        tasks.spawn(accept(listener, shared.clone()));
    }
    Ok(Server { stop, tasks, addresses, drain_timeout })
}

impl Server {
    /// Names and bound addresses of the listeners.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Accepts and reads no more, answers what was read, then returns; late answers are given up.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        let patience = self.drain_timeout + Duration::from_secs(1);
        if timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "Kafka connections did not end in time");
        }
    }
}

async fn accept(listener: ListenerSpec, shared: Arc<Shared>) {
    let metrics = shared.handlers.metrics.broker.listener(&listener.name);
    let name: Arc<str> = listener.name.into();
    loop {
        let accepted = match shared.stop.run_until_cancelled(listener.socket.accept()).await {
            None => return,
            Some(accepted) => accepted,
        };
        match accepted {
            // A broker on a new disk does not know yet who else there is, and a client drops whom an answer does not name.
            Ok((_, peer)) if !shared.handlers.backend.is_member() => {
                tracing::debug!(listener = %name, %peer, "hang up: not registered on this disk yet");
            }
            Ok((tcp, peer)) => admit(tcp, peer, &name, &listener.wrap, &shared, &metrics),
            Err(error) => {
                tracing::warn!(listener = %name, %error, "accept a Kafka connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(
    tcp: TcpStream,
    peer: SocketAddr,
    name: &Arc<str>,
    wrap: &Arc<dyn Wrap>,
    shared: &Arc<Shared>,
    metrics: &ListenerMetrics,
) {
    let place = match shared.places.take(peer.ip()) {
        Ok(place) => place,
        Err(Full { setting, limit }) => {
            metrics.refused();
            tracing::warn!(listener = %name, %peer, setting, limit, "refuse a Kafka connection: too many are open");
            return;
        }
    };
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%peer, %error, "set TCP_NODELAY");
    }
    let connection = Connection {
        listener: name.clone(),
        peer,
        handlers: shared.handlers.clone(),
        settings: shared.settings.clone(),
        memory: shared.memory.clone(),
        stop: shared.stop.child_token(),
    };
    shared.tasks.spawn(run(connection, tcp, wrap.clone(), (place, metrics.opened())));
}

/// Runs one connection to its end. A panic in it ends it and nothing else.
async fn run(
    connection: Connection,
    tcp: TcpStream,
    wrap: Arc<dyn Wrap>,
    _until_the_end: (Place, OpenConnection),
) {
    let (listener, peer) = (connection.listener.clone(), connection.peer);
    let serve = async move {
        match timeout(WRAP_TIMEOUT, wrap.wrap(tcp)).await {
            Ok(Ok(stream)) => Ok(connection.serve(stream).await),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    match AssertUnwindSafe(serve).catch_unwind().await {
        Ok(Ok(end)) => log_end(&listener, peer, &end),
        Ok(Err(error)) => tracing::warn!(%listener, %peer, %error, "handshake of a Kafka connection"),
        Err(_) => tracing::error!(%listener, %peer, "a Kafka connection ended by a panic"),
    }
}

fn log_end(listener: &str, peer: SocketAddr, end: &End) {
    match end {
        End::Refused(Refusal::Wire(_) | Refusal::NotServed { .. } | Refusal::NotAuthorized { .. })
        | End::Frame(FrameError::Length { .. }) => {
            tracing::warn!(%listener, %peer, reason = %end, "close a Kafka connection");
        }
        End::Answered(_) => tracing::info!(%listener, %peer, reason = %end, "close a Kafka connection"),
        _ => tracing::debug!(%listener, %peer, reason = %end, "a Kafka connection ended"),
    }
}
