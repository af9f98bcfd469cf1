//! How long a restart takes: how long the last one took that the operator's events tell of, and how far replicas are behind.
//! Nothing is guessed.

use std::collections::BTreeMap;

use chronik_core::ids::BrokerId;
use chronik_core::view::TopicReport;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use crate::access::Kubernetes;

/// A restart that is over.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastRestart {
    /// Who restarted.
    pub broker: BrokerId,
    /// From the pod's deletion until the broker was back in every ISR, in seconds.
    pub seconds: f64,
    /// When it was back, RFC 3339.
    pub ended_at: String,
}

/// How far a broker's replicas are behind their leaders.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lag {
    /// Records, over all of its partitions.
    pub records: u64,
    /// Milliseconds since the one that is furthest behind had all that its leader had.
    pub ms: u64,
}

/// The last restart that the cluster's events tell of. Kubernetes keeps events for an hour, and whoever may not read them is
/// told of none.
pub(super) async fn last_restart(kubernetes: &Kubernetes, cluster: &str) -> Option<LastRestart> {
    let events: Api<Event> = Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
    let about = format!("involvedObject.kind=BrokerCluster,involvedObject.name={cluster}");
    let listed = events.list(&ListParams::default().fields(&about)).await.ok()?;
    last_of(&listed.items)
}

fn last_of(events: &[Event]) -> Option<LastRestart> {
    let of = |reason: &'static str| {
        let events = events.iter().filter(move |event| event.reason.as_deref() == Some(reason));
        events.filter_map(|event| Some((number(event, "permit ")?, (number(event, "broker ")?, at(event)?))))
    };
    let deleted: BTreeMap<u64, (u64, Timestamp)> = of("PodDeleted").collect();
    let restarts = of("BrokerBack").filter_map(|(permit, (broker, back))| {
        let (_, began) = deleted.get(&permit)?;
        Some((back, broker, back.duration_since(*began).as_secs_f64()))
    });
    let (back, broker, seconds) =
        restarts.filter(|(.., seconds)| *seconds >= 0.0).max_by_key(|(back, ..)| *back)?;
    let broker = BrokerId(u32::try_from(broker).ok()?);
    Some(LastRestart { broker, seconds: round(seconds), ended_at: back.to_string() })
}

/// The number that follows these words in an event.
fn number(event: &Event, words: &str) -> Option<u64> {
    let rest = event.message.as_deref()?.split(words).nth(1)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn at(event: &Event) -> Option<Timestamp> {
    event.event_time.as_ref().map(|time| time.0).or(event.first_timestamp.as_ref().map(|time| time.0))
}

/// Tenths are as exact as it is.
pub(super) fn round(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// How far each broker is behind, by what leaders tell.
pub(crate) fn lags(topics: &[TopicReport]) -> BTreeMap<BrokerId, Lag> {
    let mut lags: BTreeMap<BrokerId, Lag> = BTreeMap::new();
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    for follower in partitions.flat_map(|partition| &partition.followers) {
        let lag = lags.entry(follower.broker).or_default();
        lag.records += follower.lag_entries;
        // Whoever lacks nothing is not behind, however long ago that was noted.
        lag.ms = lag.ms.max(if follower.lag_entries > 0 { follower.lag_ms } else { 0 });
    }
    lags
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{follower, partition, topic};

    fn event(reason: &str, second: u32, message: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "involvedObject": {}, "reason": reason, "message": message,
            "eventTime": format!("2026-01-01T00:00:{second:02}.500000Z"),
        }))
        .unwrap()
    }

    fn deleted(second: u32, broker: u32, permit: u32) -> Event {
        let message = format!(
            "deleted pod demo-broker-{broker} (UID u): broker {broker} restarts under permit {permit}"
        );
        event("PodDeleted", second, &message)
    }

    fn back(second: u32, broker: u32, permit: u32) -> Event {
        let message = format!("broker {broker} is back in every ISR: permit {permit} has ended");
        event("BrokerBack", second, &message)
    }

    #[test]
    fn the_last_restart_is_the_last_whose_broker_is_back() {
        assert_eq!(last_of(&[]), None);
        assert_eq!(last_of(&[deleted(1, 2, 7), back(9, 3, 6)]), None, "of none both ends are known");
        let events = [back(20, 3, 8), deleted(1, 2, 7), back(9, 2, 7), deleted(15, 3, 8), deleted(21, 1, 9)];
        let last = last_of(&events).unwrap();
        assert_eq!(
            (last.broker, last.seconds, last.ended_at.as_str()),
            (BrokerId(3), 5.0, "2026-01-01T00:00:20.5Z")
        );
    }

    #[test]
    fn a_broker_is_as_far_behind_as_its_worst_replica() {
        let mut partitions = vec![partition(0, 1, &[1, 2, 3]), partition(1, 1, &[1, 2])];
        partitions[0].followers = vec![follower(2, 0, 900), follower(3, 5, 40)];
        partitions[1].followers = vec![follower(2, 0, 0), follower(3, 70, 1_200)];
        let lags = lags(&[topic("t", partitions)]);
        assert_eq!(lags[&BrokerId(2)], Lag { records: 0, ms: 0 });
        assert_eq!(lags[&BrokerId(3)], Lag { records: 75, ms: 1_200 });
    }
}
