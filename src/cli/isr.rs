//! `isr`: each partition with its leader, its in-sync replicas, who is missing, and how far followers are behind.

use chronik_core::ids::BrokerId;
use chronik_core::view::{FollowerLag, PartitionReport, PartitionState};
use serde::Serialize;

use crate::args;
use crate::plan::missing;
use crate::seen::{Seen, Told};
use crate::show::{Cell, Paint, Shown, Table, Tone, ids, seconds};

/// The document of `isr -o json`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Isrs {
    /// Name of the BrokerCluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// How many partitions were looked at.
    pub of: usize,
    /// Those that are asked for, by topic and number.
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Partition {
    /// Its topic.
    pub topic: String,
    /// Its number, from 0.
    pub partition: i32,
    /// How its state is known: `leader`, `caretaker`, `offline` or `unknown`.
    pub state: PartitionState,
    /// Its leader, or its caretaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<BrokerId>,
    /// The leader's epoch.
    pub epoch: u64,
    /// Assigned brokers in order of preference.
    pub replicas: Vec<BrokerId>,
    /// Those of them that are coming.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adding: Vec<BrokerId>,
    /// Those of them that go when the move is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removing: Vec<BrokerId>,
    /// Brokers in sync; absent while unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isr: Option<Vec<BrokerId>>,
    /// Replicas that should be in sync and are not.
    pub missing: Vec<BrokerId>,
    /// In-sync replicas that acks=all needs.
    pub effective_min_isr: u32,
    /// Followers that lack records, as the leader tells it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<Behind>,
}

/// A follower that lacks records.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Behind {
    /// Who.
    pub broker: BrokerId,
    /// How many it lacks.
    pub records: u64,
    /// Milliseconds since it had all that the leader had.
    pub ms: u64,
}

/// Those that are asked for.
pub(crate) fn isrs(seen: &Seen, told: &Told, wanted: &args::Isr) -> anyhow::Result<Isrs> {
    if let Some(name) = &wanted.topic
        && !told.topics.iter().any(|topic| topic.name == *name)
    {
        anyhow::bail!(
            "--topic is {name:?}: {} has no such topic (kubectl chronik topics lists them)",
            seen.name
        );
    }
    let topics =
        told.topics.iter().filter(|topic| wanted.topic.as_ref().is_none_or(|name| topic.name == *name));
    let all = topics.flat_map(|topic| topic.partitions.iter().map(|report| partition(&topic.name, report)));
    let mut partitions: Vec<Partition> = all.collect();
    let of = partitions.len();
    partitions.retain(|partition| !wanted.not_well || !partition.is_well());
    Ok(Isrs { cluster: seen.name.clone(), namespace: seen.namespace.clone(), of, partitions })
}

/// One of them.
pub(crate) fn partition(topic: &str, report: &PartitionReport) -> Partition {
    let behind = |lag: &FollowerLag| Behind { broker: lag.broker, records: lag.lag_entries, ms: lag.lag_ms };
    Partition {
        topic: topic.to_owned(),
        partition: report.partition,
        state: report.state,
        leader: report.leader,
        epoch: report.epoch,
        replicas: report.replicas.clone(),
        adding: report.adding.clone(),
        removing: report.removing.clone(),
        isr: report.isr.clone(),
        missing: missing(report),
        effective_min_isr: report.effective_min_isr,
        behind: report.followers.iter().filter(|lag| lag.lag_entries > 0).map(behind).collect(),
    }
}

impl Partition {
    /// Whether it has a leader and every replica in sync.
    pub fn is_well(&self) -> bool {
        self.state == PartitionState::Leader && self.isr.is_some() && self.missing.is_empty()
    }

    /// It in one line, without what changes all the time.
    pub fn line(&self) -> String {
        let isr = self.isr.as_ref().map_or("unknown".to_owned(), ids);
        let leader = self.leader.map_or("none".to_owned(), |leader| leader.to_string());
        let missing =
            if self.missing.is_empty() { String::new() } else { format!(" missing {}", ids(&self.missing)) };
        let note = self.note();
        let note = if note.is_empty() { note } else { format!(" {note}") };
        format!(
            "{}/{} leader {leader} epoch {} isr {isr}{missing}{note}",
            self.topic, self.partition, self.epoch
        )
    }

    /// What is odd about it.
    fn note(&self) -> String {
        let mut notes = Vec::new();
        match self.state {
            PartitionState::Leader => {}
            PartitionState::Caretaker => notes.push("CARETAKER".to_owned()),
            PartitionState::Offline => notes.push("OFFLINE".to_owned()),
            PartitionState::Unknown => notes.push("UNKNOWN".to_owned()),
        }
        if self.isr.as_ref().is_some_and(|isr| (isr.len() as u32) < self.effective_min_isr) {
            notes.push("UNDER-MIN-ISR".to_owned());
        }
        if !self.adding.is_empty() {
            notes.push(format!("adding {}", ids(&self.adding)));
        }
        if !self.removing.is_empty() {
            notes.push(format!("removing {}", ids(&self.removing)));
        }
        notes.join(", ")
    }
}

impl Shown for Isrs {
    fn text(&self, paint: Paint) -> String {
        let Self { cluster, namespace, of, partitions } = self;
        match (partitions.is_empty(), of) {
            (false, _) => table(partitions, paint),
            (true, 0) => format!("{cluster} (namespace {namespace}) has no partitions\n"),
            (true, of) => {
                format!("{cluster} (namespace {namespace}): all {of} partitions have every replica in sync\n")
            }
        }
    }
}

/// Partitions as a table.
pub(crate) fn table(partitions: &[Partition], paint: Paint) -> String {
    let mut table =
        Table::new(["TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "MISSING", "BEHIND", "NOTE"]);
    for partition in partitions {
        let behind = partition.behind.iter().map(|behind| {
            format!("{}: {} records, {}", behind.broker, behind.records, seconds(behind.ms as f64 / 1000.0))
        });
        let isr = partition.isr.as_ref().map_or("unknown".to_owned(), ids);
        let missing = if partition.missing.is_empty() { String::new() } else { ids(&partition.missing) };
        table.row([
            partition.topic.as_str().into(),
            partition.partition.into(),
            partition.leader.map_or(String::new(), |leader| leader.to_string()).into(),
            partition.epoch.into(),
            ids(&partition.replicas).into(),
            Cell::unless(partition.is_well(), Tone::Warn, isr),
            Cell::new(missing, Tone::Bad),
            behind.collect::<Vec<_>>().join("; ").into(),
            Cell::new(partition.note(), Tone::Warn),
        ]);
    }
    table.text(paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{follower, seen, told, topic};

    fn wanted(topic: Option<&str>, not_well: bool) -> args::Isr {
        let looked = args::Looked { cluster: None, output: args::Output::Table };
        args::Isr { looked, topic: topic.map(str::to_owned), not_well, watch: false }
    }

    fn cluster() -> Told {
        let mut lacks = crate::testing::partition(1, 2, &[2]);
        lacks.followers = vec![follower(1, 40, 2_500), follower(3, 0, 10)];
        let mut unknown = crate::testing::partition(0, 1, &[]);
        (unknown.state, unknown.leader, unknown.isr) = (PartitionState::Unknown, None, None);
        told(vec![
            topic("orders", vec![crate::testing::partition(0, 1, &[1, 2, 3]), lacks]),
            topic("users", vec![unknown]),
        ])
    }

    #[test]
    fn missing_replicas_are_named_and_the_unknown_is_no_health() {
        let all = isrs(&seen("now"), &cluster(), &wanted(None, false)).unwrap();
        insta::assert_snapshot!(all.text(Paint(false)), @r"
        TOPIC    PARTITION   LEADER   EPOCH   REPLICAS    ISR         MISSING   BEHIND                 NOTE
        orders   0           1        4       [1, 2, 3]   [1, 2, 3]   -         -                      -
        orders   1           2        4       [1, 2, 3]   [2]         [1, 3]    1: 40 records, 2.5 s   UNDER-MIN-ISR
        users    0           -        4       [1, 2, 3]   unknown     -         -                      UNKNOWN
        ");
        let lines: Vec<String> = all.partitions.iter().map(Partition::line).collect();
        assert_eq!(
            lines,
            [
                "orders/0 leader 1 epoch 4 isr [1, 2, 3]",
                "orders/1 leader 2 epoch 4 isr [2] missing [1, 3] UNDER-MIN-ISR",
                "users/0 leader none epoch 4 isr unknown UNKNOWN",
            ]
        );
    }

    #[test]
    fn filters_keep_what_they_name() {
        let kept = |topic, not_well| {
            let isrs = isrs(&seen("now"), &cluster(), &wanted(topic, not_well)).unwrap();
            isrs.partitions.iter().map(|it| format!("{}/{}", it.topic, it.partition)).collect::<Vec<_>>()
        };
        assert_eq!(kept(None, true), ["orders/1", "users/0"]);
        assert_eq!(kept(Some("orders"), false), ["orders/0", "orders/1"]);
        assert_eq!(kept(Some("orders"), true), ["orders/1"]);
        let error = isrs(&seen("now"), &cluster(), &wanted(Some("x"), false)).unwrap_err().to_string();
        assert!(error.contains("--topic is \"x\""), "{error}");
    }
}
