//! What the transport is told at its start, with defaults. Holds values only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chronik_core::ids::{BrokerId, ClusterId, DiskId, Generation, Incarnation};

use super::event::Lane;
use crate::version;

/// Where a peer is found, and which disk it must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// `host:port`; a name is resolved again at every dial.
    pub address: String,
    /// The disk registered for that broker: it takes the place of any other. No other takes the place of one that is alive.
    pub disk: Option<DiskId>,
}

/// The protocol versions a build speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The oldest version.
    pub min: u16,
    /// The newest version.
    pub max: u16,
}

impl VersionRange {
    /// The newest version both speak.
    pub fn common(self, other: VersionRange) -> Option<u16> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.min, self.max)
    }
}

/// The bounds of one lane, in each direction and per peer.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// Largest payload of a frame.
    pub max_frame: usize,
    /// Bytes that may wait for the connection.
    pub queue_bytes: usize,
    /// Frames that may wait for the connection.
    pub queue_frames: usize,
    /// How often the dialing side pings.
    pub ping_interval: Duration,
}

/// Makes what this broker tells a peer in each handshake; at most 64 KiB.
pub type HelloFn = Arc<dyn Fn(BrokerId) -> Bytes + Send + Sync>;

/// Tells which generation of the metadata this broker holds; `None` while it holds none.
pub type GenerationFn = Arc<dyn Fn() -> Option<Generation> + Send + Sync>;

/// Everything the transport needs to start.
#[derive(Clone)]
pub struct PeerConfig {
    /// The cluster both sides must name.
    pub cluster: ClusterId,
    /// This broker.
    pub broker: BrokerId,
    /// This life of this broker; its start counter is on disk before the transport starts.
    pub incarnation: Incarnation,
    /// `host:port` to listen on.
    pub listen: String,
    /// `host:port` where peers that do not know this broker yet may dial it back.
    pub advertised: String,
    /// Told to the peer in each handshake, and delivered there as `PeerEvent::Hello`.
    pub hello: HelloFn,
    /// Two brokers that hold the metadata hold the same generation, or do not speak.
    pub generation: GenerationFn,
    /// Protocol versions spoken.
    pub versions: VersionRange,
    /// Bounds of the Control lane.
    pub control: LaneLimits,
    /// Bounds of the Bulk lane.
    pub bulk: LaneLimits,
    /// A peer from which nothing came for this long is down.
    pub silence_timeout: Duration,
    /// How long a lost Control connection may take to come back before the peer is reported down.
    pub closed_grace: Duration,
    /// A handshake that is not complete by then is given up.
    pub handshake_timeout: Duration,
    /// A TCP connect that is not complete by then is given up.
    pub connect_timeout: Duration,
    /// First pause between dials.
    pub backoff_min: Duration,
    /// Longest pause between dials.
    pub backoff_max: Duration,
    /// Connections that may be in their handshake at the same time.
    pub max_handshakes: usize,
    /// Brokers accepted although the address book does not name them (one that wants to join). 0 refuses them.
    pub max_learned: usize,
    /// Requests to one peer that may wait for their reply, and requests of one peer that may wait for ours.
    pub max_requests: usize,
}

impl PeerConfig {
    /// The defaults around an identity and its addresses.
    pub fn new(
        cluster: ClusterId,
        broker: BrokerId,
        incarnation: Incarnation,
        listen: String,
        advertised: String,
    ) -> Self {
        const MIB: usize = 1 << 20;
        Self {
            cluster,
            broker,
            incarnation,
            listen,
            advertised,
            hello: Arc::new(|_| Bytes::new()),
            generation: Arc::new(|| None),
            versions: version::PROTOCOL,
            control: LaneLimits {
                max_frame: 4 * MIB,
                queue_bytes: 16 * MIB,
                queue_frames: 16 * 1024,
                ping_interval: Duration::from_millis(250),
            },
            bulk: LaneLimits {
                max_frame: 32 * MIB,
                queue_bytes: 64 * MIB,
                queue_frames: 4 * 1024,
                ping_interval: Duration::from_secs(1),
            },
            silence_timeout: Duration::from_millis(2500),
            closed_grace: Duration::from_millis(300),
            handshake_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            max_handshakes: 128,
            max_learned: 16,
            max_requests: 256,
        }
    }

    pub(super) fn limits(&self, lane: Lane) -> &LaneLimits {
        match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
        }
    }
}
