//! The broker-to-broker transport: who is there, and frames to and from them. Knows nothing of Raft, partitions or clients.
//!
//! # Connections
//! What A sends to B travels on connections that A dials, one per [`Lane`]; B's words to A travel on B's own. A dialed
//! connection is used backwards only for pongs and for the reason of a close. So a healthy pair has four connections.
//!
//! # When a peer is up
//! A says that B is up when, for one and the same incarnation of B, all of this holds:
//! 1. A's Control connection to B is handshaken (B named itself and accepted A),
//! 2. B's Control connection to A is handshaken (and B sent its `Ready`),
//! 3. A received bytes on some connection *from* B within `silence_timeout`,
//! 4. B's newest ping says "I hear you", which is rule 3 seen from B.
//!
//! So a link that works one way only leaves the peer down on both sides. `verdict.rs` holds the rules as a pure function;
//! `judge.rs` is the only task that reports [`PeerEvent::Up`] and [`PeerEvent::Down`], so their order is their order in time.
//!
//! # What is lost
//! Frames of one lane arrive in order or not at all; a frame accepted by [`PeerHandle::send`] may still be lost with its
//! connection, as Raft allows. Frames may arrive before `Up` and after `Down`: they carry the sender's incarnation, and a
//! fenced incarnation's connections are closed.

mod address;
mod config;
mod dialer;
mod event;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod generation;
mod handle;
mod handshake;
mod identity;
mod judge;
mod listener;
mod metrics;
mod node;
mod queue;
mod request;
mod state;
pub mod verdict;
mod writer;

pub use config::{GenerationFn, HelloFn, LaneLimits, PeerAddress, PeerConfig, VersionRange};
pub use event::{DownCause, Lane, PeerError, PeerEvent, PeerStatus, Refusal, RefusalKind, RefusedBy};
pub use handle::{PeerHandle, start};
pub use metrics::{LaneCounts, PeerCounts};

#[cfg(test)]
mod tests;
