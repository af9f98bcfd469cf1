//! Values and how they are wrong. Every error names the setting, its value, where it came from and what is allowed.

use std::fmt;
use std::path::PathBuf;

/// A host (name or address) and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HostPort {
    /// Without brackets also for IPv6.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    /// What is allowed, for errors.
    pub(super) const ALLOWED: &'static str =
        "HOST:PORT, a name or IP address ([...] around IPv6) and a port from 1 to 65535";

    /// Reads `host:port` or `[v6]:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let port = port.parse().ok().filter(|&port| port > 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']')?;
                inner.parse::<std::net::Ipv6Addr>().ok()?;
                inner
            }
            None => host,
        };
        let bracketed = text.trim().starts_with('[');
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (bracketed && c == ':');
        let fits = (1..=255).contains(&host.len()) && host.chars().all(allowed);
        fits.then(|| Self { host: host.to_owned(), port })
    }

    /// Whether it stands for every address of the machine, so that nobody can connect to it as it is written.
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Why the settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("setting {field} = {value:?} ({origin}) is not allowed: {allowed}")]
    Invalid { field: String, value: String, origin: String, allowed: String },
    #[error("setting {field} is missing: {hint}")]
    Missing { field: String, hint: String },
    #[error("{}: key {key:?} is not a setting; {hint}", .file.display())]
    UnknownKey { file: PathBuf, key: String, hint: String },
    #[error("read settings file {}: {source}", .file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("settings file {} is larger than {limit} bytes", .file.display())]
    TooLarge { file: PathBuf, limit: u64 },
    #[error("settings file {} is not valid TOML: {source}", .file.display())]
    Toml { file: PathBuf, source: Box<toml::de::Error> },
}

impl SettingsError {
    /// A flag of a command that is not `run`, and so stands in no file or variable.
    pub(super) fn of_flag(field: &str, value: &str, allowed: &str) -> Self {
        Self::Invalid {
            field: field.into(),
            value: value.chars().take(300).collect(),
            origin: format!("flag --{field}"),
            allowed: allowed.into(),
        }
    }
}
