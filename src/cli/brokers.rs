//! `brokers`: each broker with its pod, what the others say of it, and whether it may stop now. Also one row of `explain`.

use std::collections::{BTreeMap, BTreeSet};

use chronik_core::ids::BrokerId;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;

use crate::seen::{Seen, Told};
use crate::show::{Cell, Paint, Shown, Table, Tone, yes};
use crate::verdict::Verdict;

/// The document of `brokers -o json`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Brokers {
    /// Name of the BrokerCluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// By number.
    pub brokers: Vec<Broker>,
}

/// One broker.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Broker {
    /// Its number.
    pub id: BrokerId,
    /// Its pod; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The node it runs on; absent until it is scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its rack, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Whether the broker that was asked hears it.
    pub alive: bool,
    /// Whether Kubernetes counts its pod as ready.
    pub ready: bool,
    /// Whether its pod is being deleted.
    pub deleting: bool,
    /// Whether it leads the metadata group.
    pub metadata_leader: bool,
    /// Version of the build it runs; absent if it is not registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Partitions it leads.
    pub leaders: u32,
    /// Replicas assigned to it.
    pub replicas: u32,
    /// Whether its pod runs other settings than pods that are made from now on.
    pub outdated: bool,
    /// What the brokers say to its stop now; absent without a pod, and where they could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Verdict>,
}

/// Those that are registered, and those that have a pod.
pub(crate) fn brokers(seen: &Seen, told: &Told, verdicts: &BTreeMap<BrokerId, Verdict>) -> Brokers {
    let registered = told.report.brokers.iter().map(|broker| broker.id);
    let all: BTreeSet<BrokerId> = registered.chain(seen.pods.iter().map(|(pod, _)| pod.broker)).collect();
    Brokers {
        cluster: seen.name.clone(),
        namespace: seen.namespace.clone(),
        brokers: all.into_iter().map(|id| broker(seen, told, id, verdicts.get(&id).cloned())).collect(),
    }
}

/// One of them.
pub(crate) fn broker(seen: &Seen, told: &Told, id: BrokerId, stop: Option<Verdict>) -> Broker {
    let report = told.report.brokers.iter().find(|broker| broker.id == id);
    let found = seen.pod(id);
    Broker {
        id,
        pod: found.map(|(pod, _)| pod.name.clone()),
        node: found.and_then(|(_, pod)| node(pod)),
        rack: report.and_then(|report| report.rack.clone()),
        alive: report.is_some_and(|report| report.alive),
        ready: found.is_some_and(|(pod, _)| pod.ready),
        deleting: found.is_some_and(|(pod, _)| pod.deleting),
        metadata_leader: told.report.metadata_leader == Some(id),
        version: report.map(|report| report.version.clone()),
        leaders: report.map_or(0, |report| report.leaders),
        replicas: report.map_or(0, |report| report.replicas),
        outdated: found.is_some_and(|(pod, _)| seen.is_outdated(pod)),
        stop,
    }
}

/// Where a pod runs.
pub(crate) fn node(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

impl Shown for Brokers {
    fn text(&self, paint: Paint) -> String {
        let mut table = Table::new([
            "BROKER",
            "POD",
            "NODE",
            "RACK",
            "ALIVE",
            "READY",
            "VERSION",
            "LEADERS",
            "REPLICAS",
            "OUTDATED",
            "MAY STOP NOW",
        ]);
        let word = |text: &Option<String>| Cell::from(text.clone().unwrap_or_default());
        for broker in &self.brokers {
            let leads = if broker.metadata_leader { " *" } else { "" };
            table.row([
                format!("{}{leads}", broker.id).into(),
                word(&broker.pod),
                word(&broker.node),
                word(&broker.rack),
                Cell::unless(broker.alive, Tone::Bad, yes(broker.alive)),
                Cell::unless(
                    broker.ready,
                    Tone::Bad,
                    if broker.deleting { "stops" } else { yes(broker.ready) },
                ),
                word(&broker.version),
                broker.leaders.into(),
                broker.replicas.into(),
                Cell::unless(!broker.outdated, Tone::Warn, yes(broker.outdated)),
                stop(broker.stop.as_ref()),
            ]);
        }
        format!("{}* leads the metadata group\n", table.text(paint))
    }
}

/// The verdict in a few words.
fn stop(verdict: Option<&Verdict>) -> Cell {
    match verdict {
        None => "".into(),
        Some(verdict) if verdict.may_stop => Cell::new("yes", Tone::Good),
        Some(verdict) => {
            let first = verdict.blocks.first().map(crate::show::place);
            let what = match (first, verdict.blocked) {
                (Some(first), 0 | 1) => format!("no: {first}"),
                (Some(first), of) => format!("no: {first} and {} more", of - 1),
                (None, _) => format!("no: {}", verdict.message.clone().unwrap_or_default()),
            };
            Cell::new(what, Tone::Warn)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{seen, told};
    use chronik_core::view::BlockReport;

    #[test]
    fn brokers_without_a_pod_and_pods_without_a_broker_are_listed() {
        let (mut seen, mut told) = (seen("now"), told(Vec::new()));
        seen.pods.remove(0);
        told.report.brokers.remove(2);
        told.report.brokers[0].alive = false;
        let block =
            |partition| BlockReport { topic: Some("t".into()), partition: Some(partition), why: "x".into() };
        let refused =
            Verdict { may_stop: false, message: None, blocks: vec![block(0), block(1)], blocked: 7 };
        let granted = Verdict { may_stop: true, message: None, blocks: Vec::new(), blocked: 0 };
        let verdicts = [(BrokerId(2), refused), (BrokerId(3), granted)].into();
        insta::assert_snapshot!(brokers(&seen, &told, &verdicts).text(Paint(false)), @r"
        BROKER   POD             NODE   RACK   ALIVE   READY   VERSION   LEADERS   REPLICAS   OUTDATED   MAY STOP NOW
        1 *      -               -      -      no      no      0.1.0     2         6          no         -
        2        demo-broker-2   -      -      yes     yes     0.1.0     2         6          yes        no: t/0 and 6 more
        3        demo-broker-3   -      -      no      yes     -         0         0          yes        yes
        * leads the metadata group
        ");
    }
}
