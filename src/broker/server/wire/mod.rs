//! Bytes to requests and answers to bytes. Knows the wire format only: no sockets, no partitions.
//!
//! `kafka-protocol` allocates whatever a count in a request claims before it reads the elements. Every request is
//! therefore walked first, by `scan`, along the shapes in `layout`: what passes the walk holds no count that its own
//! bytes do not back, and then the decoder may have it.

mod header;
pub(crate) mod layout;
mod response;
mod scan;

pub(crate) use header::RequestHead;
pub(crate) use response::encode_frame;

use bytes::Bytes;
use kafka_protocol::protocol::Decodable;

/// Why bytes are not a request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    #[error("the request ends within its {0}")]
    Truncated(&'static str),
    #[error("{what} of {value} is not allowed: {allowed}")]
    Length { what: &'static str, value: i64, allowed: &'static str },
    #[error("{count} elements are claimed where {remaining} bytes remain")]
    CountBeyondBytes { count: u64, remaining: usize },
    #[error("more than {0} elements in one request")]
    TooManyElements(usize),
    #[error("tagged field {tag} claims {claimed} bytes and holds {held}")]
    TagLength { tag: u32, claimed: u64, held: u64 },
    #[error("not decodable: {0}")]
    Decode(String),
}

/// Decodes a request body that `shape` describes, after checking every count in it. Bytes after its end are ignored,
/// as Kafka ignores them.
pub(crate) fn decode<Q: Decodable>(
    mut body: Bytes,
    shape: &layout::Message,
    version: i16,
) -> Result<Q, WireError> {
    scan::check(&body, shape, version)?;
    Q::decode(&mut body, version).map_err(|e| WireError::Decode(e.to_string()))
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod agreement;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
