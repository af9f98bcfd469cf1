//! Turns texts into [`Settings`], refusing what is not allowed, alone or together.

use std::collections::BTreeMap;
use std::time::Duration;

use chronik_core::metadata::limits;

use super::sources::{Given, Sources};
use super::spec::spec;
use super::values::{HostPort, SettingsError};
use super::{ClientLimits, IsrSettings, ListenerSettings, LogFormat, RaftSettings, Settings};

type Result<T> = std::result::Result<T, SettingsError>;

impl Settings {
    pub(super) fn build(sources: &Sources) -> Result<Self> {
        let settings = Self {
            data_dir: required(sources, "data-dir")?.into(),
            rack: short_text(sources, "rack", limits::LONG_TEXT)?,
            listeners: listeners(sources)?,
            peer_bind: address(sources, "peer-listener")?,
            peer_advertised: advertised_peer(sources)?,
            admin_bind: address(sources, "admin-listener")?,
            isr: IsrSettings {
                max_lag_ms: number(sources, "isr-max-lag-ms")?,
                max_lag_entries: number(sources, "isr-max-lag-entries")?,
                check_interval_ms: number(sources, "isr-check-interval-ms")?,
            },
            min_insync_replicas: number(sources, "min-insync-replicas")?,
            max_message_bytes: number(sources, "max-message-bytes")?,
            default_partitions: number(sources, "default-partitions")?,
            default_replication_factor: number(sources, "default-replication-factor")?,
            clients: client_limits(sources)?,
            raft: raft(sources)?,
            reassignment_bytes_per_second: number(sources, "reassignment-throttle-bytes-per-second")?,
            peer_silence: Duration::from_millis(number(sources, "peer-silence-ms")?),
            journal_segment_bytes: number(sources, "journal-segment-bytes")?,
            metadata_snapshot_entries: number(sources, "metadata-snapshot-entries")?,
            journal_reserve_bytes: number(sources, "journal-reserve-bytes")?,
            shutdown_grace: Duration::from_secs(number(sources, "shutdown-grace-seconds")?),
            pod_uid: short_text(sources, "pod-uid", limits::POD_UID_BYTES)?,
            stop_wait: Duration::from_secs(number(sources, "stop-wait-seconds")?),
            log_level: log_level(sources)?,
            log_format: one_of(
                sources,
                "log-format",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            )?,
            metrics_per_partition: one_of(
                sources,
                "metrics-per-partition",
                &[("true", true), ("false", false)],
            )?,
            set: sources.set().collect(),
        };
        settings.check_together(sources)?;
        Ok(settings)
    }

    fn check_together(&self, sources: &Sources) -> Result<()> {
        let Self { clients, raft, .. } = self;
        if clients.max_request_bytes < self.max_message_bytes {
            let allowed = format!("at least max-message-bytes, which is {}", self.max_message_bytes);
            return Err(refuse(sources, "max-request-bytes", allowed));
        }
        if clients.max_request_memory_bytes < u64::from(clients.max_request_bytes) {
            let allowed = format!("at least max-request-bytes, which is {}", clients.max_request_bytes);
            return Err(refuse(sources, "max-request-memory-bytes", allowed));
        }
        if (self.peer_silence.as_millis() as u64) < 2 * raft.heartbeat_ms {
            let allowed = format!("at least twice raft-heartbeat-ms, which is {}", raft.heartbeat_ms);
            return Err(refuse(sources, "peer-silence-ms", allowed));
        }
        let mut taken = BTreeMap::from([(&self.peer_bind, "peer-listener")]);
        let others = self.listeners.iter().map(|listener| (&listener.bind, "listener"));
        for (bind, name) in others.chain([(&self.admin_bind, "admin-listener")]) {
            if let Some(other) = taken.insert(bind, name) {
                return Err(refuse(
                    sources,
                    name,
                    format!("addresses that differ, and {bind} is also a {other}"),
                ));
            }
        }
        Ok(())
    }
}

fn client_limits(sources: &Sources) -> Result<ClientLimits> {
    Ok(ClientLimits {
        max_request_bytes: number(sources, "max-request-bytes")?,
        max_connections: number(sources, "max-connections")?,
        max_connections_per_ip: number(sources, "max-connections-per-ip")?,
        max_requests_per_connection: number(sources, "max-requests-per-connection")?,
        max_request_memory_bytes: number(sources, "max-request-memory-bytes")?,
        max_answer_memory_bytes: number(sources, "max-answer-memory-bytes")?,
        connection_idle: Duration::from_secs(number(sources, "connection-idle-seconds")?),
    })
}

fn raft(sources: &Sources) -> Result<RaftSettings> {
    let raft = RaftSettings {
        tick_ms: number(sources, "raft-tick-ms")?,
        heartbeat_ms: number(sources, "raft-heartbeat-ms")?,
        election_ms: number(sources, "raft-election-ms")?,
    };
    for (name, ms) in [("raft-heartbeat-ms", raft.heartbeat_ms), ("raft-election-ms", raft.election_ms)] {
        if ms % raft.tick_ms != 0 {
            return Err(refuse(
                sources,
                name,
                format!("a multiple of raft-tick-ms, which is {}", raft.tick_ms),
            ));
        }
    }
    if raft.election_ms < 3 * raft.heartbeat_ms {
        let allowed = format!("at least three times raft-heartbeat-ms, which is {}", raft.heartbeat_ms);
        return Err(refuse(sources, "raft-election-ms", allowed));
    }
    Ok(raft)
}

fn short_text(sources: &Sources, setting: &str, longest: usize) -> Result<Option<String>> {
    match sources.get(setting).map(|given| given.values.join(",")) {
        None => Ok(None),
        Some(text) if (1..=longest).contains(&text.len()) => Ok(Some(text)),
        Some(_) => Err(refuse(sources, setting, format!("1 to {longest} bytes, or no {setting} at all"))),
    }
}

fn log_level(sources: &Sources) -> Result<String> {
    let level = required(sources, "log-level")?;
    match level.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(level),
        Err(_) => Err(refuse(sources, "log-level", spec("log-level").help.into())),
    }
}

fn listeners(sources: &Sources) -> Result<Vec<ListenerSettings>> {
    let bound = named(sources, "listener")?;
    let mut advertised: BTreeMap<String, HostPort> =
        named(sources, "advertised-listener")?.into_iter().collect();
    if bound.is_empty() || bound.len() > chronik_core::metadata::limits::LISTENERS {
        return Err(refuse(sources, "listener", "1 to 16 listeners".into()));
    }
    let mut listeners = Vec::with_capacity(bound.len());
    for (name, bind) in bound {
        let advertised = match advertised.remove(&name) {
            Some(address) => reachable(sources, "advertised-listener", address)?,
            None if bind.is_wildcard() => {
                let hint = format!("clients cannot connect to {bind}, so say {name}=HOST:PORT");
                return Err(SettingsError::Missing { field: "advertised-listener".into(), hint });
            }
            None => bind.clone(),
        };
        listeners.push(ListenerSettings { name, bind, advertised });
    }
    match advertised.into_keys().next() {
        Some(name) => Err(refuse(
            sources,
            "advertised-listener",
            format!("names of listeners, and there is no listener {name}"),
        )),
        None => Ok(listeners),
    }
}

/// `NAME=HOST:PORT` entries, repeated or separated by commas, each name once.
fn named(sources: &Sources, setting: &str) -> Result<Vec<(String, HostPort)>> {
    let mut entries: Vec<(String, HostPort)> = Vec::new();
    let Some(given) = sources.get(setting) else { return Ok(entries) };
    for entry in given.values.iter().flat_map(|value| value.split(',')).map(str::trim) {
        let parsed = entry.split_once('=').filter(|(name, _)| is_listener_name(name));
        let Some((name, address)) = parsed.and_then(|(name, text)| Some((name, HostPort::parse(text)?)))
        else {
            let allowed =
                format!("NAME={}; NAME has 1 to 64 of A-Z, a-z, 0-9, '_' and '-'", HostPort::ALLOWED);
            return Err(invalid(setting, entry, given, allowed));
        };
        if entries.iter().any(|(other, _)| other == name) {
            return Err(invalid(
                setting,
                entry,
                given,
                format!("each name once, and {name} stands there twice"),
            ));
        }
        entries.push((name.to_owned(), address));
    }
    Ok(entries)
}

fn is_listener_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}

fn advertised_peer(sources: &Sources) -> Result<HostPort> {
    if sources.get("advertised-peer").is_some() {
        return reachable(sources, "advertised-peer", address(sources, "advertised-peer")?);
    }
    let bind = address(sources, "peer-listener")?;
    if bind.is_wildcard() {
        let hint = format!("other brokers cannot connect to {bind}, so say HOST:PORT");
        return Err(SettingsError::Missing { field: "advertised-peer".into(), hint });
    }
    Ok(bind)
}

fn reachable(sources: &Sources, setting: &str, address: HostPort) -> Result<HostPort> {
    match address.is_wildcard() {
        true => Err(refuse(sources, setting, "an address others can connect to".into())),
        false => Ok(address),
    }
}

fn address(sources: &Sources, setting: &str) -> Result<HostPort> {
    HostPort::parse(&required(sources, setting)?)
        .ok_or_else(|| refuse(sources, setting, HostPort::ALLOWED.to_owned()))
}

fn required(sources: &Sources, setting: &str) -> Result<String> {
    match sources.get(setting) {
        None => {
            let spec = spec(setting);
            let hint = format!("give --{}, {} or {} in the file", spec.name, spec.env(), spec.file_key());
            Err(SettingsError::Missing { field: setting.into(), hint })
        }
        Some(given) if given.values.len() == 1 && !given.values[0].trim().is_empty() => {
            Ok(given.values[0].trim().to_owned())
        }
        Some(_) => Err(refuse(sources, setting, "exactly one value".into())),
    }
}

fn number<T: TryFrom<u64>>(sources: &Sources, setting: &str) -> Result<T> {
    let (min, max) = spec(setting).range.unwrap_or((0, u64::MAX));
    let number =
        required(sources, setting)?.parse::<u64>().ok().filter(|number| (min..=max).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| refuse(sources, setting, format!("a whole number from {min} to {max}")))
}

fn one_of<T: Copy>(sources: &Sources, setting: &str, choices: &[(&str, T)]) -> Result<T> {
    let value = required(sources, setting)?;
    let chosen = choices.iter().find(|(name, _)| value.eq_ignore_ascii_case(name));
    chosen.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        refuse(sources, setting, names.join(" or "))
    })
}

fn refuse(sources: &Sources, setting: &str, allowed: String) -> SettingsError {
    match sources.get(setting) {
        Some(given) => invalid(setting, &given.values.join(","), given, allowed),
        None => SettingsError::Missing { field: setting.into(), hint: allowed },
    }
}

fn invalid(setting: &str, value: &str, given: &Given, allowed: String) -> SettingsError {
    let value = value.chars().take(300).collect();
    SettingsError::Invalid { field: setting.into(), value, origin: given.origin.clone(), allowed }
}
