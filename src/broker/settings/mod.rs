//! What a broker is told: from flags, environment, a file and defaults, in that order. Parses and judges; runs nothing.
//!
//! Every setting is one line of the table in `spec.rs`, which makes its flag, its environment variable, its key in
//! the file and its line in `--help`. `build.rs` turns the texts into [`Settings`] and refuses what is not allowed.

mod build;
mod cli;
mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod recover;
mod show;
mod sources;
mod spec;
mod values;
mod wait_for;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use chronik_core::config::TopicDefaults;

pub use cli::{CliError, Command, parse, parse_or_exit};
pub use format::{Birth, FormatArgs, Voter};
pub use recover::{OnDisk, Online, Recover, Which};
pub use values::{HostPort, SettingsError};
pub use wait_for::WaitFor;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

/// A listener for Kafka clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    /// Its name: Metadata answers with the advertised address of the listener that was asked.
    pub name: String,
    pub bind: HostPort,
    pub advertised: HostPort,
}

/// Defaults and pace of the ISR. The first two are what a topic may override.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IsrSettings {
    pub max_lag_ms: u64,
    pub max_lag_entries: u64,
    pub check_interval_ms: u64,
}

/// Bounds on what Kafka clients may occupy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientLimits {
    pub max_request_bytes: u32,
    pub max_connections: u32,
    /// Of those, connections from one address.
    pub max_connections_per_ip: u32,
    /// Requests of one connection that are under way at once; the next is read when one is answered.
    pub max_requests_per_connection: u32,
    /// Bytes of all requests that are under way at once.
    pub max_request_memory_bytes: u64,
    /// Bytes of all answers that are made or written at once.
    pub max_answer_memory_bytes: u64,
    pub connection_idle: Duration,
}

/// The pace of Raft. The others are multiples of the tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RaftSettings {
    pub tick_ms: u64,
    pub heartbeat_ms: u64,
    pub election_ms: u64,
}

impl RaftSettings {
    /// Ticks between heartbeats.
    pub fn heartbeat_ticks(&self) -> usize {
        (self.heartbeat_ms / self.tick_ms) as usize
    }

    /// Ticks without a leader's word before an election.
    pub fn election_ticks(&self) -> usize {
        (self.election_ms / self.tick_ms) as usize
    }
}

/// All that `chronik-broker run` is told, judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub rack: Option<String>,
    /// At least one.
    pub listeners: Vec<ListenerSettings>,
    pub peer_bind: HostPort,
    pub peer_advertised: HostPort,
    pub admin_bind: HostPort,
    pub isr: IsrSettings,
    pub min_insync_replicas: u32,
    pub max_message_bytes: u32,
    /// Partitions of a topic whose creator says -1.
    pub default_partitions: i32,
    /// Replicas of a topic whose creator says -1.
    pub default_replication_factor: i32,
    pub clients: ClientLimits,
    pub raft: RaftSettings,
    /// Bytes per second to learners; 0 for no limit.
    pub reassignment_bytes_per_second: u64,
    /// Silence after which a peer counts as dead.
    pub peer_silence: Duration,
    pub journal_segment_bytes: u64,
    pub journal_reserve_bytes: u64,
    /// Entries of the metadata log after which a snapshot takes their place.
    pub metadata_snapshot_entries: u64,
    /// How long a stop may take to move leaderships away and finish requests.
    pub shutdown_grace: Duration,
    /// The pod this broker runs in, if it is to ask for leave before it stops.
    pub pod_uid: Option<String>,
    /// How long a stop waits for that leave.
    pub stop_wait: Duration,
    /// Directives for the log filter.
    pub log_level: String,
    pub log_format: LogFormat,
    pub metrics_per_partition: bool,
    /// Names of the settings that somebody set.
    set: BTreeSet<&'static str>,
}

impl Settings {
    /// What a topic gets that says nothing.
    pub fn topic_defaults(&self) -> TopicDefaults {
        TopicDefaults {
            max_message_bytes: self.max_message_bytes,
            min_insync_replicas: self.min_insync_replicas,
            lag_time_max_ms: self.isr.max_lag_ms,
            lag_max_entries: self.isr.max_lag_entries,
        }
    }
}

#[cfg(test)]
mod tests;
