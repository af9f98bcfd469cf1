//! Who asks, through which door: travels with every request.

use std::net::SocketAddr;
use std::sync::Arc;

/// Who a connection speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody proved who they are; Kafka's `User:ANONYMOUS`.
    Anonymous,
}

/// One request's circumstances.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Name of the listener the connection came through.
    pub listener: Arc<str>,
    /// The other end.
    pub peer: SocketAddr,
    /// Who asks.
    pub principal: Principal,
    /// What the client calls itself, if it does.
    pub client_id: Option<String>,
    /// Which API is asked.
    pub api_key: i16,
    /// In which version.
    pub api_version: i16,
    /// The client's number of the request, repeated in the answer.
    pub correlation_id: i32,
    /// How long the request is.
    pub bytes: usize,
}
