//! The Kafka server: listeners, connections, frames, and the table of APIs. Knows no partition and no log: what a
//! request means is the handlers' affair.

mod access;
mod api_table;
mod connection;
mod context;
mod dispatch;
mod error_codes;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod in_flight;
mod listener;
mod memory;
mod places;
mod stream;
mod wire;

pub(crate) use api_table::advertised;
pub use context::{Principal, RequestContext};
pub(crate) use dispatch::After;
pub use listener::{ListenerSpec, Server, start};
pub(crate) use memory::{Memory, Room};
pub use stream::{Plaintext, Stream, Wrap};

use std::time::Duration;

/// Limits of the server. Every one of them bounds memory or time that a client could otherwise claim.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Connections over all listeners; the next one is closed at once.
    pub max_connections: usize,
    /// Connections from one address, Kafka's `max.connections.per.ip`; the next one is closed at once.
    pub max_connections_per_ip: usize,
    /// Longest request, Kafka's `socket.request.max.bytes`.
    pub max_request_bytes: usize,
    /// Requests of one connection that wait for their answer; then it is not read.
    pub max_in_flight_requests: usize,
    /// Bytes of one connection's requests that wait for their answer; a longer request runs alone.
    pub max_in_flight_bytes: usize,
    /// Bytes of all connections' requests that are being read or carried out.
    pub max_request_memory_bytes: usize,
    /// A request whose length was told must come within this, and an answer be taken while others wait for room, apart from
    /// the time that its bytes take: no client waits longer, as by the default of its `request.timeout.ms`.
    pub patience: Duration,
    /// A connection is closed when it did nothing for so long, Kafka's `connections.max.idle.ms`.
    pub idle_timeout: Duration,
    /// How long answers are awaited on a connection that is read no more.
    pub drain_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_ip: 10_000,
            max_request_bytes: 100 * 1024 * 1024,
            max_in_flight_requests: 128,
            max_in_flight_bytes: 64 * 1024 * 1024,
            max_request_memory_bytes: 256 * 1024 * 1024,
            patience: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
