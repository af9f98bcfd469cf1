//! What DescribeConfigs answers: each config with its value, where that comes from, and what else it could be.

use std::collections::BTreeMap;

use super::broker_keys::BROKER_KEYS;
use super::kind::{ConfigSource, ConfigType};
use super::topic_keys::{TOPIC_KEYS, TopicKey};

/// The value of a broker config, and whether somebody set it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerValue {
    /// The value.
    pub value: String,
    /// Whether it was set by flag, environment or file.
    pub set: bool,
}

/// A broker's configs by name: what its settings became.
pub type BrokerValues = BTreeMap<&'static str, BrokerValue>;

/// A place a value could come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synonym {
    /// The name it has there.
    pub name: &'static str,
    /// The value it has there.
    pub value: String,
    /// The place.
    pub source: ConfigSource,
}

/// One config of a resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigEntry {
    /// Its name.
    pub name: &'static str,
    /// The value in force.
    pub value: String,
    /// Where that comes from.
    pub source: ConfigSource,
    /// Whether it can only be changed by a restart.
    pub read_only: bool,
    /// Whether its value must not be shown. None is, so far.
    pub sensitive: bool,
    /// Where the value comes from and what it would be otherwise, the strongest first.
    pub synonyms: Vec<Synonym>,
    /// What the value is.
    pub kind: ConfigType,
    /// What it means.
    pub documentation: &'static str,
}

/// Every config of a topic, by name.
pub fn describe_topic(set: &BTreeMap<String, String>, broker: &BrokerValues) -> Vec<ConfigEntry> {
    TOPIC_KEYS.iter().map(|key| topic_entry(key, set.get(key.name), broker)).collect()
}

fn topic_entry(key: &TopicKey, set: Option<&String>, broker: &BrokerValues) -> ConfigEntry {
    let mut synonyms = Vec::new();
    if let Some(value) = set {
        synonyms.push(Synonym { name: key.name, value: value.clone(), source: ConfigSource::Topic });
    }
    let below = key.broker_key.unwrap_or(key.name);
    if let Some(BrokerValue { value, set: true }) = broker.get(below) {
        synonyms.push(Synonym { name: below, value: value.clone(), source: ConfigSource::StaticBroker });
    }
    synonyms.push(Synonym { name: below, value: key.default.into(), source: ConfigSource::Default });
    ConfigEntry {
        name: key.name,
        value: synonyms[0].value.clone(),
        source: synonyms[0].source,
        read_only: false,
        sensitive: false,
        synonyms,
        kind: key.kind,
        documentation: key.doc,
    }
}

/// Every config of a broker, by name. All of them are read at start only.
pub fn describe_broker(values: &BrokerValues) -> Vec<ConfigEntry> {
    let entry = |key: &'static super::BrokerKey| {
        let BrokerValue { value, set } = values.get(key.name)?;
        let source = if *set { ConfigSource::StaticBroker } else { ConfigSource::Default };
        Some(ConfigEntry {
            name: key.name,
            value: value.clone(),
            source,
            read_only: true,
            sensitive: false,
            synonyms: vec![Synonym { name: key.name, value: value.clone(), source }],
            kind: key.kind,
            documentation: key.doc,
        })
    };
    BROKER_KEYS.iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(entries: &'a [ConfigEntry], name: &str) -> &'a ConfigEntry {
        entries.iter().find(|entry| entry.name == name).unwrap()
    }

    #[test]
    fn topic_over_broker_over_default() {
        let set = BTreeMap::from([("min.insync.replicas".to_owned(), "3".to_owned())]);
        let broker = BTreeMap::from([
            ("min.insync.replicas", BrokerValue { value: "1".into(), set: true }),
            ("message.max.bytes", BrokerValue { value: "2000".into(), set: true }),
            ("replica.lag.time.max.ms", BrokerValue { value: "10000".into(), set: false }),
        ]);
        let entries = describe_topic(&set, &broker);
        assert_eq!(entries.len(), TOPIC_KEYS.len());

        let min = find(&entries, "min.insync.replicas");
        assert_eq!((min.value.as_str(), min.source), ("3", ConfigSource::Topic));
        let chain: Vec<_> = min.synonyms.iter().map(|s| (s.value.as_str(), s.source.kafka_code())).collect();
        assert_eq!(chain, [("3", 1), ("1", 4), ("2", 5)]);

        let size = find(&entries, "max.message.bytes");
        assert_eq!((size.value.as_str(), size.source), ("2000", ConfigSource::StaticBroker));
        assert_eq!(size.synonyms[0].name, "message.max.bytes");
        assert_eq!(find(&entries, "replica.lag.time.max.ms").source, ConfigSource::Default);
        assert_eq!(find(&entries, "retention.ms").value, "604800000");
    }

    #[test]
    fn a_broker_shows_what_it_was_given() {
        let values = BTreeMap::from([("node.id", BrokerValue { value: "3".into(), set: true })]);
        let entries = describe_broker(&values);
        assert_eq!(entries.len(), 1);
        assert!(entries[0].read_only && entries[0].source == ConfigSource::StaticBroker);
    }
}
