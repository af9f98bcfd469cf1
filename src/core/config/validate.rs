//! Judges a topic config: known, supported, within its range. Pure and the same on every build of one feature level.

use super::kind::ConfigType;
use super::topic_keys::{Support, TopicKey, topic_key};
use crate::restart::Policy;

/// Why a topic config is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such key.
    #[error("Unknown topic config name: {key}")]
    Unknown {
        /// The key.
        key: String,
    },
    /// Kafka knows the key; Chronik does not act on it yet.
    #[error(
        "Topic config {key} is not supported yet: only its default {default:?} is allowed, not {value:?}"
    )]
    Unsupported {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Its default.
        default: &'static str,
    },
    /// The value is not allowed.
    #[error("Invalid value {value} for configuration {key}: allowed is {allowed}")]
    Invalid {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// APPEND or SUBTRACT on something that is not a list.
    #[error("Topic config {key} is not a list: it can be set or deleted, not appended to or subtracted from")]
    NotAList {
        /// The key.
        key: String,
    },
}

impl ConfigError {
    /// The key that is wrong.
    pub fn key(&self) -> &str {
        match self {
            Self::Unknown { key }
            | Self::Unsupported { key, .. }
            | Self::Invalid { key, .. }
            | Self::NotAList { key } => key,
        }
    }

    /// The value that is wrong, if it is the value.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Unsupported { value, .. } | Self::Invalid { value, .. } => Some(value),
            Self::Unknown { .. } | Self::NotAList { .. } => None,
        }
    }

    /// What is allowed instead.
    pub fn allowed(&self) -> String {
        match self {
            Self::Unknown { .. } => {
                "a topic config of Kafka 4.3, or replica.lag.time.max.ms, replica.lag.max.entries, restart.policy"
                    .into()
            }
            Self::Unsupported { default, .. } => {
                format!("only its default {default:?}, as it is not supported yet")
            }
            Self::Invalid { allowed, .. } => allowed.clone(),
            Self::NotAList { .. } => "set or delete, as it is not a list".into(),
        }
    }
}

/// Judges `value` for `key` at a feature level. Returns the key's entry in the registry.
pub fn validate_topic_config(
    key: &str,
    value: &str,
    feature_level: u16,
) -> Result<&'static TopicKey, ConfigError> {
    let entry = topic_key(key).ok_or_else(|| ConfigError::Unknown { key: shortened(key) })?;
    match entry.support {
        Support::Understood { since, min, max } if since <= feature_level => {
            in_range(key, value, min, max).map(|_| entry)
        }
        Support::RestartPolicy { since } if since <= feature_level => match value.parse::<Policy>() {
            Ok(_) => Ok(entry),
            Err(()) => Err(ConfigError::Invalid {
                key: key.into(),
                value: shortened(value),
                allowed: Policy::ALLOWED.into(),
            }),
        },
        _ if same_value(entry.kind, value, entry.default) => Ok(entry),
        _ => {
            Err(ConfigError::Unsupported { key: key.into(), value: shortened(value), default: entry.default })
        }
    }
}

/// The integer `value` holds, if it lies in the range.
pub(super) fn in_range(key: &str, value: &str, min: i64, max: i64) -> Result<i64, ConfigError> {
    match value.trim().parse::<i64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(ConfigError::Invalid {
            key: key.into(),
            value: shortened(value),
            allowed: format!("an integer from {min} to {max}"),
        }),
    }
}

/// The list `current` (or the key's default) with the items of `added` that it lacks.
pub fn append_to_list(key: &str, current: Option<&str>, added: &str) -> Result<String, ConfigError> {
    let mut items = list(key, current)?;
    for item in split(added) {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(items.join(","))
}

/// The list `current` (or the key's default) without the items of `removed`.
pub fn subtract_from_list(key: &str, current: Option<&str>, removed: &str) -> Result<String, ConfigError> {
    let mut items = list(key, current)?;
    let removed: Vec<&str> = split(removed).collect();
    items.retain(|item| !removed.contains(item));
    Ok(items.join(","))
}

fn list<'a>(key: &str, current: Option<&'a str>) -> Result<Vec<&'a str>, ConfigError> {
    let entry = topic_key(key).ok_or_else(|| ConfigError::Unknown { key: shortened(key) })?;
    if entry.kind != ConfigType::List {
        return Err(ConfigError::NotAList { key: key.into() });
    }
    Ok(split(current.unwrap_or(entry.default)).collect())
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Whether two texts are the same value: `0.50` is `0.5`, `False` is `false`.
fn same_value(kind: ConfigType, left: &str, right: &str) -> bool {
    let (left, right) = (left.trim(), right.trim());
    match kind {
        ConfigType::Boolean => left.eq_ignore_ascii_case(right),
        ConfigType::Int | ConfigType::Long => left.parse::<i64>().ok() == right.parse::<i64>().ok(),
        ConfigType::Double => left.parse::<f64>().ok() == right.parse::<f64>().ok(),
        ConfigType::List => split(left).eq(split(right)),
        ConfigType::String => left == right,
    }
}

/// Errors travel in Kafka answers: they do not echo at length.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(key: &str, value: &str) -> String {
        validate_topic_config(key, value, 1).expect_err(value).to_string()
    }

    #[test]
    fn an_unknown_key_is_named() {
        assert_eq!(refused("nope", "1"), "Unknown topic config name: nope");
        assert!(refused(&"k".repeat(1 << 20), "1").len() < 400);
    }

    #[test]
    fn a_wrong_value_names_key_value_and_range() {
        assert_eq!(
            refused("min.insync.replicas", "0"),
            "Invalid value 0 for configuration min.insync.replicas: allowed is an integer from 1 to 2147483647"
        );
        for value in ["x", "", "-1", "1.5", "99999999999999999999", "2147483648"] {
            assert!(refused("min.insync.replicas", value).contains("1 to 2147483647"), "{value}");
        }
        for (key, edges) in [
            ("max.message.bytes", [("0", "67108864"), ("-1", "67108865")]),
            ("replica.lag.time.max.ms", [("500", "86400000"), ("499", "86400001")]),
            ("replica.lag.max.entries", [("1", "9223372036854775807"), ("0", "9223372036854775808")]),
        ] {
            for value in [edges[0].0, edges[0].1] {
                assert!(validate_topic_config(key, value, 1).is_ok(), "{key}={value}");
            }
            for value in [edges[1].0, edges[1].1] {
                assert!(refused(key, value).contains(key), "{key}={value}");
            }
        }
    }

    #[test]
    fn a_restart_policy_is_one_of_a_few_words() {
        for value in ["margin:0", "margin:8", " forbid ", "allow-unavailable"] {
            assert!(validate_topic_config("restart.policy", value, 1).is_ok(), "{value}");
        }
        assert_eq!(
            refused("restart.policy", "margin:9"),
            "Invalid value margin:9 for configuration restart.policy: allowed is margin:N with N from 0 to 8, \
             allow-unavailable or forbid"
        );
    }

    #[test]
    fn an_unsupported_key_takes_its_default_only() {
        for entry in super::super::TOPIC_KEYS {
            assert!(validate_topic_config(entry.name, entry.default, 1).is_ok(), "{}", entry.name);
        }
        let text = refused("retention.ms", "1000");
        assert!(
            text.contains("retention.ms") && text.contains("604800000") && text.contains("not supported yet")
        );
        assert!(validate_topic_config("min.cleanable.dirty.ratio", " 0.50", 1).is_ok());
        assert!(validate_topic_config("preallocate", "FALSE", 1).is_ok());
        assert!(validate_topic_config("flush.messages", "1", 1).is_err());
        assert!(validate_topic_config("flush.messages", "many", 1).is_err());
    }

    #[test]
    fn a_key_is_understood_only_from_its_feature_level_on() {
        assert!(validate_topic_config("min.insync.replicas", "3", 1).is_ok());
        assert!(matches!(
            validate_topic_config("min.insync.replicas", "3", 0),
            Err(ConfigError::Unsupported { .. })
        ));
    }

    #[test]
    fn lists_grow_and_shrink_others_do_not() {
        assert_eq!(append_to_list("cleanup.policy", None, "compact,delete").unwrap(), "delete,compact");
        assert_eq!(
            subtract_from_list("cleanup.policy", Some("delete, compact"), "delete").unwrap(),
            "compact"
        );
        let error = append_to_list("min.insync.replicas", Some("1"), "2").unwrap_err();
        assert_eq!(error.key(), "min.insync.replicas");
    }
}
