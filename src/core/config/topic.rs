//! The configs of a topic as numbers, ready for use on the hot path.

use std::collections::BTreeMap;

use super::topic_keys::{Support, topic_key};
use super::validate::in_range;
use crate::restart::Policy;

/// What a broker's settings give a topic that says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicDefaults {
    /// `message.max.bytes`.
    pub max_message_bytes: u32,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `replica.lag.time.max.ms`.
    pub lag_time_max_ms: u64,
    /// `replica.lag.max.entries`.
    pub lag_max_entries: u64,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self {
            max_message_bytes: 1_048_588,
            min_insync_replicas: 2,
            lag_time_max_ms: 10_000,
            lag_max_entries: 10_000,
        }
    }
}

/// The configs in force for one topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicConfig {
    /// `max.message.bytes`: largest record batch.
    pub max_message_bytes: u32,
    /// `min.insync.replicas` as configured; see `replication::effective_min_isr` for what is in force.
    pub min_insync_replicas: u32,
    /// `replica.lag.time.max.ms`.
    pub lag_time_max_ms: u64,
    /// `replica.lag.max.entries`.
    pub lag_max_entries: u64,
    /// `restart.policy`.
    pub restart: Policy,
}

impl TopicConfig {
    /// What was set on the topic, over the broker's defaults. A stored value that is not valid (it never passed
    /// validation) counts as not set.
    pub fn resolve(set: &BTreeMap<String, String>, defaults: &TopicDefaults) -> Self {
        Self {
            max_message_bytes: number(set, "max.message.bytes").unwrap_or(defaults.max_message_bytes),
            min_insync_replicas: number(set, "min.insync.replicas").unwrap_or(defaults.min_insync_replicas),
            lag_time_max_ms: number(set, "replica.lag.time.max.ms").unwrap_or(defaults.lag_time_max_ms),
            lag_max_entries: number(set, "replica.lag.max.entries").unwrap_or(defaults.lag_max_entries),
            restart: set.get("restart.policy").and_then(|text| text.parse().ok()).unwrap_or_default(),
        }
    }
}

fn number<T: TryFrom<i64>>(set: &BTreeMap<String, String>, key: &str) -> Option<T> {
    let Support::Understood { min, max, .. } = topic_key(key)?.support else { return None };
    T::try_from(in_range(key, set.get(key)?, min, max).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_wins_over_the_brokers_defaults() {
        let set = BTreeMap::from([
            ("min.insync.replicas".to_owned(), "3".to_owned()),
            ("replica.lag.max.entries".to_owned(), " 7 ".to_owned()),
            ("restart.policy".to_owned(), "margin:1".to_owned()),
            ("max.message.bytes".to_owned(), "never validated".to_owned()),
        ]);
        let defaults = TopicDefaults { lag_time_max_ms: 2_000, ..TopicDefaults::default() };
        assert_eq!(
            TopicConfig::resolve(&set, &defaults),
            TopicConfig {
                max_message_bytes: 1_048_588,
                min_insync_replicas: 3,
                lag_time_max_ms: 2_000,
                lag_max_entries: 7,
                restart: Policy::Margin(1)
            }
        );
    }

    #[test]
    fn built_in_defaults_are_the_registrys() {
        let set =
            super::super::TOPIC_KEYS.iter().map(|k| (k.name.to_owned(), k.default.to_owned())).collect();
        let zero = TopicDefaults {
            max_message_bytes: 0,
            min_insync_replicas: 0,
            lag_time_max_ms: 0,
            lag_max_entries: 0,
        };
        let defaults = TopicConfig::resolve(&BTreeMap::new(), &TopicDefaults::default());
        assert_eq!(TopicConfig::resolve(&set, &zero), defaults);
    }
}
