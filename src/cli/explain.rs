//! `explain BROKER`: what there is to know of one broker, and what its absence would hold.

use std::collections::BTreeSet;

use anyhow::bail;
use chronik_core::ids::BrokerId;
use chronik_core::view::{BlockReport, PermitReport};
use serde::Serialize;

use crate::access::Kubernetes;
use crate::brokers::{Broker, broker};
use crate::isr::{Partition, partition, table};
use crate::plan::{Lag, lags};
use crate::proxy::Proxy;
use crate::seen::{Seen, Told};
use crate::show::{Paint, Shown, Tone, blocks_text, or_say, permit_text, place, seconds, yes};
use crate::verdict::{Isrs, foresee, verdict};

/// Blocks and partitions that are listed for people.
const SHOWN: usize = 20;

/// The document of `explain -o json`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained {
    /// Name of the BrokerCluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// The broker, its pod, and what the brokers say to its stop now.
    #[serde(flatten)]
    pub broker: Broker,
    /// UID of its pod; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Its permit to stop, if one is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permit: Option<PermitReport>,
    /// How far its replicas are behind.
    pub lag: Lag,
    /// Partitions where it should be in sync and is not.
    pub not_in_sync: Vec<Partition>,
    /// Of the brokers that are up, those that could not stop while it is away: judged by the brokers' rules, from what they
    /// report now.
    pub absence_holds: Vec<Held>,
}

/// A broker that could not stop.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Held {
    /// Its number.
    pub broker: BrokerId,
    /// What would stand against its stop.
    pub blocks: Vec<BlockReport>,
}

/// Asks the brokers and Kubernetes about one of them.
pub(crate) async fn explain(kubernetes: &Kubernetes, seen: &Seen, id: BrokerId) -> anyhow::Result<Explained> {
    let told = seen.told()?;
    let registered = told.report.brokers.iter().any(|broker| broker.id == id);
    let pod = seen.pod(id).map(|(pod, _)| pod);
    if !registered && pod.is_none() {
        let known: Vec<String> = told.report.brokers.iter().map(|broker| broker.id.to_string()).collect();
        bail!("BROKER is {id}: {} has no such broker; there are: {}", seen.name, known.join(", "));
    }
    let proxy = Proxy::new(kubernetes, &seen.name);
    let stop = match pod {
        Some(pod) => or_say(verdict(&proxy, told.by, pod).await),
        None => None,
    };
    Ok(make(seen, told, broker(seen, told, id, stop)))
}

fn make(seen: &Seen, told: &Told, broker: Broker) -> Explained {
    let id = broker.id;
    let all = told
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|report| partition(&topic.name, report)));
    Explained {
        cluster: seen.name.clone(),
        namespace: seen.namespace.clone(),
        pod_uid: seen.pod(id).map(|(pod, _)| pod.uid.clone()),
        permit: told.permits.iter().find(|permit| permit.broker == id).cloned(),
        lag: lags(&told.topics).get(&id).copied().unwrap_or_default(),
        not_in_sync: all.filter(|partition| partition.missing.contains(&id)).collect(),
        absence_holds: holds(told, id),
        broker,
    }
}

fn holds(told: &Told, absent: BrokerId) -> Vec<Held> {
    let away = BTreeSet::from([absent]);
    let others = told.report.brokers.iter().filter(|broker| broker.alive && broker.id != absent);
    let held = others
        .map(|broker| Held { broker: broker.id, blocks: foresee(told, broker.id, &away, Isrs::Reported) });
    held.filter(|held| !held.blocks.is_empty()).collect()
}

impl Shown for Explained {
    fn text(&self, paint: Paint) -> String {
        let broker = &self.broker;
        let mut text = format!("broker {} of {} (namespace {})\n", broker.id, self.cluster, self.namespace);
        for (word, what) in self.facts() {
            text += &format!("{word:<11} {what}\n");
        }
        if let Some(stop) = broker.stop.as_ref().filter(|stop| !stop.may_stop) {
            text += &paint
                .tint(Tone::Warn, &format!("\nIt may not stop now, {} against it:\n", stands(stop.blocked)));
            for block in stop.blocks.iter().take(SHOWN) {
                text += &format!("  {}: {}\n", place(block), block.why);
            }
            text += &more(stop.blocked.saturating_sub(SHOWN.min(stop.blocks.len())));
            if stop.blocks.is_empty() {
                text += &format!("  {}\n", stop.message.clone().unwrap_or_default());
            }
        }
        if !self.not_in_sync.is_empty() {
            text += &paint.tint(
                Tone::Bad,
                &format!(
                    "
It is not in sync in {}:
",
                    partitions(self.not_in_sync.len())
                ),
            );
            let shown = &self.not_in_sync[..self.not_in_sync.len().min(SHOWN)];
            text += &table(shown, paint);
            text += &more(self.not_in_sync.len() - shown.len());
        }
        if self.absence_holds.is_empty() {
            return text + "\nWhile it is away, every other broker may still stop.\n";
        }
        text += "\nWhile it is away, these may not stop:\n";
        for held in &self.absence_holds {
            text += &format!("  broker {}: {}\n", held.broker, blocks_text(&held.blocks, held.blocks.len()));
        }
        text
    }
}

impl Explained {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let broker = &self.broker;
        let pod = broker.pod.as_ref().map_or("none".to_owned(), |pod| {
            let state = match (broker.deleting, broker.ready) {
                (true, _) => "being deleted",
                (false, true) => "ready",
                (false, false) => "not ready",
            };
            let outdated = if broker.outdated { ", outdated" } else { "" };
            format!("{pod}, {state}{outdated}")
        });
        let leads = if broker.metadata_leader { ", leads the metadata group" } else { "" };
        let mut facts = vec![
            ("pod", pod),
            ("node", broker.node.clone().unwrap_or_else(|| "none".to_owned())),
            ("alive", format!("{}{leads}", yes(broker.alive))),
            ("replicas", format!("{}, of which it leads {}", broker.replicas, broker.leaders)),
        ];
        let words = [("rack", &broker.rack), ("version", &broker.version), ("pod UID", &self.pod_uid)];
        facts.extend(words.into_iter().filter_map(|(word, text)| Some((word, text.clone()?))));
        if self.lag.records > 0 {
            let ms = seconds(self.lag.ms as f64 / 1000.0);
            facts.push(("behind", format!("{} records, {ms}", self.lag.records)));
        }
        facts.extend(self.permit.as_ref().map(|permit| ("permit", permit_text(permit))));
        if let Some(stop) = &broker.stop {
            facts.push(("may stop", yes(stop.may_stop).to_owned()));
        }
        facts
    }
}

fn stands(blocked: usize) -> String {
    match blocked {
        0 => "this stands".to_owned(),
        1 => "1 thing stands".to_owned(),
        count => format!("{count} things stand"),
    }
}

fn partitions(count: usize) -> String {
    if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") }
}

fn more(count: usize) -> String {
    if count == 0 { String::new() } else { format!("  and {count} more (-o json lists more of them)\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{follower, partition, permit, seen, told, topic};
    use crate::verdict::Verdict;
    use chronik_core::restart::{Reason, Stage};

    #[test]
    fn a_broker_that_is_behind_is_explained_with_whom_it_holds() {
        let mut lacks = partition(1, 2, &[1, 2]);
        lacks.followers = vec![follower(3, 40, 2_500)];
        let mut told = told(vec![topic("orders", vec![partition(0, 1, &[1, 2, 3]), lacks])]);
        told.permits = vec![permit(3, Reason::Eviction, Stage::Granted)];
        let why = "x".to_owned();
        let block = BlockReport { topic: Some("orders".to_owned()), partition: Some(0), why };
        let stop = Verdict { may_stop: false, message: None, blocks: vec![block], blocked: 3 };
        let seen = seen("now");
        let explained = make(&seen, &told, broker(&seen, &told, BrokerId(3), Some(stop)));
        insta::assert_snapshot!(explained.text(Paint(false)), @r"
        broker 3 of demo (namespace shop)
        pod         demo-broker-3, ready, outdated
        node        none
        alive       yes
        replicas    6, of which it leads 2
        version     0.1.0
        pod UID     uid-3
        behind      40 records, 2.5 s
        permit      broker 3 may stop for an eviction (permit 7)
        may stop    no

        It may not stop now, 3 things stand against it:
          orders/0: x
          and 2 more (-o json lists more of them)

        It is not in sync in 1 partition:
        TOPIC    PARTITION   LEADER   EPOCH   REPLICAS    ISR      MISSING   BEHIND                 NOTE
        orders   1           2        4       [1, 2, 3]   [1, 2]   [3]       3: 40 records, 2.5 s   -

        While it is away, these may not stop:
          broker 1: orders/0, orders/1: of its ISR [2] would be left, 2 are needed (min ISR 2, margin 0); metadata group: of its voters [2] would be left: no majority of [1, 2, 3]
          broker 2: orders/0, orders/1: of its ISR [1] would be left, 2 are needed (min ISR 2, margin 0); metadata group: of its voters [1] would be left: no majority of [1, 2, 3]
        ");
        let document = serde_json::to_value(&explained).unwrap();
        assert_eq!(document["id"], 3);
        assert_eq!(document["absenceHolds"][0]["blocks"][0]["topic"], "orders");
    }

    #[test]
    fn a_cluster_of_more_brokers_than_replicas_spares_one_more() {
        let mut told = told(vec![topic("orders", vec![partition(0, 1, &[1, 2, 3])])]);
        let mut fourth = told.report.brokers[0].clone();
        fourth.id = BrokerId(4);
        told.report.brokers.push(fourth);
        let mut fifth = told.report.brokers[0].clone();
        (fifth.id, fifth.alive) = (BrokerId(5), false);
        told.report.brokers.push(fifth);
        assert!(holds(&told, BrokerId(4)).is_empty());
        let held: Vec<u32> = holds(&told, BrokerId(3)).iter().map(|held| held.broker.0).collect();
        assert_eq!(held, [1, 2], "nothing of broker 4 is there, and broker 5 is down");
    }
}
