//! How long a restart takes: how long the last ones took that the operator's events tell of, and how far replicas are behind.
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

/// Restarts that are counted; an odd number of them has one in the middle.
const LATELY: usize = 9;

/// Restarts that are over.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lately {
    /// How many, the last nine at most.
    pub restarts: usize,
    /// Their median, from the pod's deletion until the broker was back in every ISR, in seconds.
    pub seconds: f64,
    /// When the last of them was back, RFC 3339.
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

/// The last restarts that the cluster's events tell of. Kubernetes keeps events for an hour, and whoever may not read them is
/// told of none.
pub(super) async fn lately(kubernetes: &Kubernetes, cluster: &str) -> Option<Lately> {
    let events: Api<Event> = Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
    let about = format!("involvedObject.kind=BrokerCluster,involvedObject.name={cluster}");
    let listed = events.list(&ListParams::default().fields(&about)).await.ok()?;
    lately_of(&listed.items)
}

fn lately_of(events: &[Event]) -> Option<Lately> {
    let of = |reason: &'static str| {
        let events = events.iter().filter(move |event| event.reason.as_deref() == Some(reason));
        events.filter_map(|event| Some((permit(event)?, at(event)?)))
    };
    let deleted: BTreeMap<u64, Timestamp> = of("PodDeleted").collect();
    let took = of("BrokerBack").filter_map(|(permit, back)| {
        let took = back.duration_since(*deleted.get(&permit)?).as_secs_f64();
        (took >= 0.0).then_some((back, took))
    });
    let mut took: Vec<(Timestamp, f64)> = took.collect();
    took.sort_by_key(|(back, _)| std::cmp::Reverse(*back));
    took.truncate(LATELY);
    let (ended_at, _) = *took.first()?;
    let mut seconds: Vec<f64> = took.iter().map(|(_, seconds)| *seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    Some(Lately { restarts: seconds.len(), seconds: round(median), ended_at: ended_at.to_string() })
}

/// The permit that an event names.
fn permit(event: &Event) -> Option<u64> {
    let rest = event.message.as_deref()?.split("permit ").nth(1)?;
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
    fn restarts_count_when_both_their_ends_are_known() {
        assert_eq!(lately_of(&[]), None);
        assert_eq!(lately_of(&[deleted(1, 2, 7), back(9, 3, 6)]), None, "of none both ends are known");
        let events = [back(20, 3, 8), deleted(1, 2, 7), back(9, 2, 7), deleted(15, 3, 8), deleted(21, 1, 9)];
        let two = lately_of(&events).unwrap();
        assert_eq!((two.restarts, two.seconds, two.ended_at.as_str()), (2, 8.0, "2026-01-01T00:00:20.5Z"));
    }

    #[test]
    fn one_that_took_long_does_not_decide() {
        let took = [(1, 3), (5, 4), (10, 40)];
        let events = took
            .into_iter()
            .zip(1..)
            .flat_map(|((at, took), permit)| [deleted(at, permit, permit), back(at + took, permit, permit)]);
        assert_eq!(lately_of(&events.collect::<Vec<_>>()).unwrap().seconds, 4.0);
        let many = (1..=12).flat_map(|at| [deleted(at, 1, at), back(at + at, 1, at)]);
        let many = lately_of(&many.collect::<Vec<_>>()).unwrap();
        assert_eq!((many.restarts, many.seconds), (9, 8.0), "of 4 to 12 s");
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
