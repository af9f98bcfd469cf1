//! The transport's words to its user: events, causes, refusals, errors. Holds values only.

use std::fmt;

use bytes::Bytes;
use chronik_core::ids::{BrokerId, Incarnation};
use tokio::sync::oneshot;

/// Which of a pair's two connections in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Heartbeats, votes, views, requests, pings: small, never behind bulk.
    Control = 0,
    /// Appends and their answers.
    Bulk = 1,
}

impl Lane {
    pub(super) const ALL: [Lane; 2] = [Lane::Control, Lane::Bulk];
}

/// What happened. The receiver must not block: it runs on the connection's task.
#[derive(Debug)]
pub enum PeerEvent {
    /// What a peer said of itself in a Control handshake. Comes before anything else from that connection.
    Hello {
        /// The peer.
        from: BrokerId,
        /// Its life.
        incarnation: Incarnation,
        /// What its hello callback gave for this broker.
        payload: Bytes,
    },
    /// The peer hears us and we hear it, on this incarnation; see the module's page.
    Up {
        /// The peer.
        broker: BrokerId,
        /// The life that is up.
        incarnation: Incarnation,
    },
    /// The peer is not up. Follows `Up`, or comes first for a peer that was never reached; a weak cause may be followed by
    /// one more `Down` whose cause proves that the process is gone ([`DownCause::is_dead`]), and that one by a weak cause
    /// when the peer is heard again and does not come up.
    Down {
        /// The peer.
        broker: BrokerId,
        /// The life that went down; `None` when none was ever seen.
        incarnation: Option<Incarnation>,
        /// Why.
        cause: DownCause,
    },
    /// A frame sent with `PeerHandle::send`.
    Frame {
        /// The peer.
        from: BrokerId,
        /// The life that sent it.
        incarnation: Incarnation,
        /// As sent.
        payload: Bytes,
    },
    /// A request; dropping `reply` tells the asker at once that there is none.
    Request {
        /// The peer.
        from: BrokerId,
        /// The life that asks.
        incarnation: Incarnation,
        /// As sent.
        payload: Bytes,
        /// Takes the reply.
        reply: oneshot::Sender<Bytes>,
    },
    /// A handshake was refused. Repeated only when the refusal changes.
    Refused {
        /// The other side, as it names itself or as we dialed it.
        broker: BrokerId,
        /// Who refused.
        by: RefusedBy,
        /// Why.
        refusal: Refusal,
        /// What the other side told in its hello, when it came that far: a fresh disk learns here, too, that a cluster
        /// exists.
        hello: Option<Bytes>,
    },
}

/// Why a peer is not up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownCause {
    /// No connection with it is left and its port refuses: the process is dead. After a silence this is said only once a
    /// connect has succeeded again, since a firewall refuses, too; one that resets open connections and refuses new ones
    /// cannot be told from a dead process.
    Refused,
    /// It said that it stops.
    Stopping,
    /// Nothing was heard from it for `silence_timeout`.
    Silent,
    /// We hear it, and it says that it does not hear us.
    Unheard,
    /// A Control connection is missing: it closed and did not come back, or never came; nothing more is known yet.
    Closed,
    /// A newer life of that broker took its place; that one's `Up` follows.
    Replaced,
    /// It left the address book.
    Removed,
}

impl DownCause {
    /// Whether this proves that the life that was up is over.
    pub fn is_dead(self) -> bool {
        matches!(self, DownCause::Refused | DownCause::Stopping | DownCause::Replaced)
    }
}

/// Which side refused a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedBy {
    /// This broker.
    Us,
    /// The peer.
    Them,
}

/// A refusal by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// No protocol version in common.
    NoCommonVersion,
    /// Another cluster id.
    WrongCluster,
    /// Dialed for one broker id, answered by another.
    WrongBroker,
    /// It claims the broker id of the side that refuses.
    DuplicateBroker,
    /// The broker id is unknown and no more unknown brokers are accepted.
    UnknownBroker,
    /// A second disk of that broker while the first is alive, unless the second is the one registered for it.
    WrongDisk,
    /// A disk that lost its place for ever.
    Retired,
    /// An older life than one already seen.
    Fenced,
    /// The broker reached itself.
    ToItself,
    /// The side that is refused holds the metadata as it was before a recovery.
    OlderGeneration,
    /// The side that refuses holds the metadata as it was before a recovery.
    NewerGeneration,
    /// Both sides were made the one survivor.
    OtherRecovery,
    /// A kind this build does not know; the message still says why.
    Other(u8),
}

/// Why a handshake was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The name.
    pub kind: RefusalKind,
    /// The values, for people.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

/// Why a request has no reply, or the transport did not start.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The transport could not bind.
    #[error("listen on {address} for peers: {source}")]
    Listen {
        /// As configured.
        address: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// No connection to that broker now.
    #[error("broker {0} is not connected")]
    NotConnected(BrokerId),
    /// Its queue, or the table of waiting requests, is full.
    #[error("too much waits for broker {0}")]
    Overloaded(BrokerId),
    /// The payload is longer than the lane carries.
    #[error("payload of {size} bytes is longer than the lane's {max}")]
    TooLarge {
        /// The payload's bytes.
        size: usize,
        /// The lane's bound.
        max: usize,
    },
    /// No reply in time.
    #[error("broker {0} did not reply in time")]
    TimedOut(BrokerId),
    /// The peer went down while the request waited; it may have been carried out.
    #[error("broker {0} went down before its reply")]
    Disconnected(BrokerId),
    /// The peer answers that it has no reply.
    #[error("broker {0} took the request and gave no reply")]
    NoReply(BrokerId),
}

/// What is known of one peer now.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// The peer.
    pub broker: BrokerId,
    /// Where it is dialed.
    pub address: String,
    /// Whether the address book lacks it: it came by itself.
    pub learned: bool,
    /// Whether it is up.
    pub up: bool,
    /// Why it is not; `None` while nothing is known.
    pub down: Option<DownCause>,
    /// Its newest life seen.
    pub incarnation: Option<Incarnation>,
    /// The newest refusal between it and us since the last good handshake.
    pub refusal: Option<(RefusedBy, Refusal)>,
}
