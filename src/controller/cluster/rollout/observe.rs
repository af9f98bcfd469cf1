//! What the planner is shown of a cluster, from what was found. Pure.

use std::time::Duration;

use chronik_api::BrokerCluster;
use chronik_api::broker_pod::{has_taken, pod_seen};
use chronik_api::labels::{ALLOW_UNAVAILABLE, RESTART};
use chronik_core::rollout::Observed;
use chronik_core::view::PermitReport;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::cluster::dereference::Found;

/// A report older than this says nothing about who is up now.
const REPORT_FRESH: Duration = Duration::from_secs(3);

/// All of it. `permits` is `None` when they could not be read; `now` is in seconds since 1970.
pub(super) fn observe(
    cluster: &BrokerCluster,
    found: &Found,
    desired: &str,
    permits: Option<Vec<PermitReport>>,
    now: i64,
) -> Observed {
    let name = cluster.name_any();
    let fresh = found.report_age.is_some_and(|age| age <= REPORT_FRESH);
    Observed {
        desired: desired.to_owned(),
        paused: cluster.spec.rollout.paused,
        options: cluster.spec.rollout.options(),
        now,
        template_taken: found.stateful_set.as_ref().is_some_and(|set| has_taken(set, desired)),
        pods: found.pods.iter().filter_map(|pod| pod_seen(&name, pod)).collect(),
        brokers: found.report.as_ref().filter(|_| fresh).map(Into::into),
        permits,
        ..Observed::default()
    }
}

/// Annotations that ask for something and are not followed, by pod.
pub(super) fn ignored(pods: &[Pod]) -> Vec<String> {
    let mut ignored: Vec<String> = pods.iter().flat_map(ignored_of).collect();
    ignored.sort();
    ignored
}

fn ignored_of(pod: &Pod) -> impl Iterator<Item = String> {
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    let annotation = |key: &str| pod.annotations().get(key);
    let other_pod = annotation(ALLOW_UNAVAILABLE).filter(|value| **value != uid).map(|value| {
        format!("pod {name}: {ALLOW_UNAVAILABLE} = {value:?} is ignored: allowed is this pod's UID, which is {uid}")
    });
    let no_truth = annotation(RESTART)
        .filter(|value| *value != "true")
        .map(|value| format!("pod {name}: {RESTART} = {value:?} is ignored: allowed is \"true\""));
    other_pod.into_iter().chain(no_truth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::cluster;
    use chronik_core::ids::BrokerId;
    use chronik_core::rollout::BrokersSeen;
    use k8s_openapi::api::apps::v1::StatefulSet;

    fn from_yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn pod(name: &str, annotations: &str) -> Pod {
        from_yaml(&format!("metadata: {{name: {name}, uid: uid-2, annotations: {{{annotations}}}}}"))
    }

    #[test]
    fn annotations_are_followed_for_the_very_pod_they_name() {
        let seen = |annotations: &str| pod_seen("demo", &pod("demo-broker-2", annotations)).unwrap();
        let followed = seen(
            "chronik.dev/restart-hash: now, chronik.dev/restart: 'true', chronik.dev/allow-unavailable: uid-2",
        );
        assert_eq!((followed.broker, followed.hash.as_deref()), (BrokerId(2), Some("now")));
        assert!(followed.asked && followed.allow_unavailable);
        let odd = "chronik.dev/restart: 'yes', chronik.dev/allow-unavailable: uid-1";
        assert!(!seen(odd).asked && !seen(odd).allow_unavailable);
        assert_eq!(
            ignored(&[pod("demo-broker-2", odd), pod("demo-broker-3", "")]),
            [
                "pod demo-broker-2: chronik.dev/allow-unavailable = \"uid-1\" is ignored: allowed is this pod's UID, \
                 which is uid-2",
                "pod demo-broker-2: chronik.dev/restart = \"yes\" is ignored: allowed is \"true\"",
            ]
        );
        assert_eq!(pod_seen("demo", &pod("demo-broker-x", "")), None, "no broker of this cluster");
    }

    #[test]
    fn a_pod_says_since_when_it_is_ready_and_made_or_asked_to_stop() {
        let seen = |metadata: &str, ready: &str| {
            let pod: Pod = from_yaml(&format!(
                "metadata: {{name: demo-broker-2, uid: uid-2, creationTimestamp: '1970-01-01T00:01:00Z'{metadata}}}\n\
                 status: {{conditions: [{{type: Ready, status: '{ready}', lastTransitionTime: '1970-01-01T00:01:30Z'}}]}}"
            ));
            let seen = pod_seen("demo", &pod).unwrap();
            (seen.since, seen.ready_since)
        };
        assert_eq!(seen("", "True"), (Some(60), Some(90)));
        assert_eq!(seen("", "False"), (Some(60), None));
        let deleted = ", deletionTimestamp: '1970-01-01T00:05:00Z', deletionGracePeriodSeconds: 60";
        assert_eq!(seen(deleted, "True"), (Some(240), None));
    }

    #[test]
    fn a_template_is_taken_once_kubernetes_has_acted_on_the_one_with_the_settings() {
        let set = |hash: &str, observed: i64| -> StatefulSet {
            from_yaml(&format!(
                "metadata: {{generation: 4}}\nspec: {{selector: {{}}, serviceName: x, template: {{metadata: \
                 {{annotations: {{chronik.dev/restart-hash: {hash}}}}}}}}}\nstatus: {{replicas: 3, \
                 observedGeneration: {observed}}}"
            ))
        };
        assert!(has_taken(&set("now", 4), "now"));
        assert!(!has_taken(&set("now", 3), "now"));
        assert!(!has_taken(&set("before", 4), "now"));
    }

    #[test]
    fn an_old_report_says_nothing() {
        let report = crate::feed::tests::report(1, Some(1), &[true, false]);
        let brokers = |seconds| {
            let found = Found {
                report: Some(report.clone()),
                report_age: Some(Duration::from_secs(seconds)),
                ..Found::default()
            };
            observe(&cluster("replicas: 3"), &found, "now", None, 0).brokers
        };
        let expected = BrokersSeen {
            alive: [BrokerId(1)].into(),
            metadata_leader: Some(BrokerId(1)),
            ..BrokersSeen::default()
        };
        assert_eq!(brokers(1), Some(expected));
        assert_eq!(brokers(4), None);
    }
}
