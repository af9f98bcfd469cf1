//! `status`: the whole cluster on one screen.

use chronik_api::broker_cluster::Phase;
use chronik_api::conditions;
use chronik_core::ids::BrokerId;
use chronik_core::view::{PartitionReport, PartitionTotals, PermitReport};
use serde::Serialize;

use crate::seen::{Seen, Told};
use crate::show::{Paint, Shown, Tone, bar, ids, permit_text};

/// Conditions that say something bad when they are True.
const BAD_WHEN_TRUE: [&str; 2] = [conditions::UNDER_MIN_ISR, conditions::OFFLINE];
/// Conditions that say something bad when they are not.
const BAD_WHEN_FALSE: [&str; 3] = [conditions::READY, conditions::INITIALISED, conditions::IN_SYNC];
/// Moves that are listed for people.
const MOVES_SHOWN: usize = 10;

/// The document of `status -o json`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// Name of the BrokerCluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// The cluster in one word, as the operator tells it.
    pub phase: Phase,
    /// Where Kafka clients connect first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_servers: Option<String>,
    /// Brokers that the spec asks for.
    pub desired: u32,
    /// Brokers whose pods are ready.
    pub ready: u32,
    /// What the brokers say; absent if none answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brokers: Option<Word>,
    /// Why no broker answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brokers_problem: Option<String>,
    /// How far the pods run the spec's settings.
    pub rollout: Rollout,
    /// Conditions of the BrokerCluster that are not well.
    pub not_well: Vec<NotWell>,
}

/// What the brokers say.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Word {
    /// Who was asked.
    pub asked: BrokerId,
    /// Brokers that it hears, itself among them.
    pub alive: u32,
    /// Leader of the metadata group; absent if it knows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_leader: Option<BrokerId>,
    /// Number of topics.
    pub topics: usize,
    /// Partitions in numbers.
    pub partitions: Partitions,
    /// Permits to stop that are open.
    pub permits: Vec<PermitReport>,
    /// Partitions whose replicas are moving.
    pub moves: Vec<Move>,
}

/// Partitions in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Partitions {
    /// All of them.
    pub total: u32,
    /// With every replica in sync.
    pub in_sync: u32,
    /// With fewer in-sync replicas than acks=all needs.
    pub under_min_isr: u32,
    /// Without a leader.
    pub offline: u32,
    /// Of which nothing recent is known.
    pub unknown: u32,
}

/// A partition whose replicas are moving.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Move {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Where it is.
    pub from: Vec<BrokerId>,
    /// Where it shall be.
    pub to: Vec<BrokerId>,
    /// Records that the coming replicas lack, together; absent while the leader does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lacks: Option<u64>,
    /// Records that they shall have, together; absent while the leader does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
}

/// How far the pods run the spec's settings.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rollout {
    /// Pods that do.
    pub up_to_date: u32,
    /// Pods there should be.
    pub of: u32,
    /// Whether it goes on, and why, as the operator tells it: the reason of the condition RollingOut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A condition that is not well.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotWell {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, for people.
    pub message: String,
}

/// The whole cluster.
pub(crate) fn status(seen: &Seen) -> Status {
    let status = seen.cluster.status.clone().unwrap_or_default();
    let told = seen.told();
    let problem = told.as_ref().err().map(|error| format!("{error:#}"));
    Status {
        cluster: seen.name.clone(),
        namespace: seen.namespace.clone(),
        phase: status.phase,
        bootstrap_servers: status.bootstrap_servers.clone(),
        desired: seen.cluster.spec.replicas,
        ready: seen.pods.iter().filter(|(pod, _)| pod.ready).count() as u32,
        brokers: told.ok().map(word),
        brokers_problem: problem,
        rollout: rollout(seen),
        not_well: not_well(&status.conditions),
    }
}

fn word(told: &Told) -> Word {
    let PartitionTotals { total, in_sync, under_min_isr, offline, unknown, .. } = told.report.partitions;
    let partitions = told.topics.iter().flat_map(|topic| {
        let moving = topic.partitions.iter().filter(|partition| partition.moving);
        moving.map(|partition| moves(&topic.name, partition))
    });
    Word {
        asked: told.by,
        alive: told.report.brokers.iter().filter(|broker| broker.alive).count() as u32,
        metadata_leader: told.report.metadata_leader,
        topics: told.topics.len(),
        partitions: Partitions { total, in_sync, under_min_isr, offline, unknown },
        permits: told.permits.clone(),
        moves: partitions.collect(),
    }
}

fn moves(topic: &str, partition: &PartitionReport) -> Move {
    let without = |out: &[BrokerId]| {
        partition.replicas.iter().filter(|id| !out.contains(id)).copied().collect::<Vec<_>>()
    };
    let coming = partition.followers.iter().filter(|lag| partition.adding.contains(&lag.broker));
    let end = partition.high_watermark.and_then(|end| u64::try_from(end).ok());
    let known = end.filter(|_| !partition.followers.is_empty());
    let of = known.map(|end| end * partition.adding.len() as u64);
    // A replica that its leader does not know yet has nothing.
    let has = coming.map(|lag| end.unwrap_or(0).saturating_sub(lag.lag_entries)).sum::<u64>();
    Move {
        topic: topic.to_owned(),
        partition: partition.partition,
        from: without(&partition.adding),
        to: without(&partition.removing),
        lacks: of.map(|of| of.saturating_sub(has)),
        of,
    }
}

fn rollout(seen: &Seen) -> Rollout {
    let conditions = seen.cluster.status.iter().flat_map(|status| &status.conditions);
    let condition = conditions.into_iter().find(|condition| condition.type_ == conditions::ROLLING_OUT);
    let current = seen.pods.iter().filter(|(pod, _)| !pod.deleting && !seen.is_outdated(pod));
    Rollout {
        up_to_date: current.count() as u32,
        of: seen.cluster.spec.replicas,
        reason: condition.map(|condition| condition.reason.clone()),
        message: condition.map(|condition| condition.message.clone()),
    }
}

fn not_well(all: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> Vec<NotWell> {
    let is_bad = |type_: &str, status: &str| {
        (BAD_WHEN_TRUE.contains(&type_) && status != "False")
            || (BAD_WHEN_FALSE.contains(&type_) && status != "True")
    };
    let bad = all.iter().filter(|condition| is_bad(&condition.type_, &condition.status));
    bad.map(|condition| NotWell {
        type_: condition.type_.clone(),
        status: condition.status.clone(),
        message: condition.message.clone(),
    })
    .collect()
}

impl Shown for Status {
    fn text(&self, paint: Paint) -> String {
        let tone = match self.phase {
            Phase::Running => Tone::Good,
            Phase::Pending | Phase::Forming => Tone::Warn,
            Phase::Degraded | Phase::Blocked => Tone::Bad,
        };
        let mut lines = Lines { paint, text: String::new() };
        let phase = paint.tint(tone, &format!("{:?}", self.phase));
        lines.add(
            "cluster",
            Tone::Head,
            &format!("{} (namespace {}): {phase}", self.cluster, self.namespace),
        );
        if let Some(bootstrap) = &self.bootstrap_servers {
            lines.add("bootstrap", Tone::Plain, bootstrap);
        }
        self.show_brokers(&mut lines);
        self.show_rollout(&mut lines);
        for bad in &self.not_well {
            let what = paint.tint(Tone::Bad, &format!("{} is {}", bad.type_, bad.status));
            lines.add("not well", Tone::Plain, &format!("{what}: {}", bad.message));
        }
        lines.text
    }
}

impl Status {
    fn show_brokers(&self, lines: &mut Lines) {
        let Self { ready, desired, .. } = self;
        let Some(word) = &self.brokers else {
            lines.add("brokers", Tone::Plain, &format!("{ready}/{desired} ready"));
            let problem = self.brokers_problem.clone().unwrap_or_default();
            return lines.add("", Tone::Bad, &problem);
        };
        let leader = word
            .metadata_leader
            .map_or("no metadata leader".to_owned(), |id| format!("broker {id} leads the metadata group"));
        lines.add(
            "brokers",
            Tone::Plain,
            &format!("{ready}/{desired} ready, {} alive, {leader}", word.alive),
        );
        let Partitions { total, in_sync, under_min_isr, offline, unknown } = word.partitions;
        let topics = if word.topics == 1 { "1 topic".to_owned() } else { format!("{} topics", word.topics) };
        let counts = format!(
            "{} {in_sync}/{total} in sync, {under_min_isr} under min ISR, {offline} offline, {unknown} unknown; {topics}",
            bar(u64::from(in_sync), u64::from(total))
        );
        lines.add("partitions", Tone::Plain, &counts);
        for permit in &word.permits {
            lines.add("permit", Tone::Plain, &permit_text(permit));
        }
        for moving in word.moves.iter().take(MOVES_SHOWN) {
            lines.add("moves", Tone::Plain, &moving.line());
        }
        if word.moves.len() > MOVES_SHOWN {
            lines.add("", Tone::Plain, &format!("and {} more partitions", word.moves.len() - MOVES_SHOWN));
        }
    }

    fn show_rollout(&self, lines: &mut Lines) {
        let Rollout { up_to_date, of, reason, message } = &self.rollout;
        let bar = bar(u64::from(*up_to_date), u64::from(*of));
        let reason = reason.as_ref().map_or(String::new(), |reason| format!(", {reason}"));
        lines.add("rollout", Tone::Plain, &format!("{bar} {up_to_date}/{of} pods up to date{reason}"));
        if let Some(message) = message.as_ref().filter(|_| up_to_date < of) {
            lines.add("", Tone::Warn, message);
        }
    }
}

impl Move {
    fn line(&self) -> String {
        let (from, to) = (ids(&self.from), ids(&self.to));
        let place = format!("{}/{}: {from} to {to}", self.topic, self.partition);
        match (self.lacks, self.of) {
            (Some(lacks), Some(of)) => {
                format!("{} {place}, {lacks} of {of} records to go", bar(of - lacks, of))
            }
            _ => place,
        }
    }
}

/// Lines that begin with a word.
struct Lines {
    paint: Paint,
    text: String,
}

impl Lines {
    fn add(&mut self, word: &str, tone: Tone, text: &str) {
        self.text += &format!("{word:<11} {}\n", self.paint.tint(tone, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{brokers, follower, partition, permit, seen, told, topic};
    use chronik_api::broker_cluster::BrokerClusterStatus;
    use chronik_core::restart::{Reason, Stage};

    fn degraded() -> Seen {
        let mut moving = partition(3, 1, &[1, 2, 3]);
        (moving.moving, moving.adding, moving.removing) = (true, brokers(&[4]), brokers(&[3]));
        moving.replicas = brokers(&[1, 2, 3, 4]);
        (moving.high_watermark, moving.followers) =
            (Some(1_000), vec![follower(2, 0, 0), follower(4, 250, 9)]);
        let mut told = told(vec![topic("orders", vec![moving])]);
        told.permits = vec![permit(2, Reason::Rollout, Stage::Begun)];
        told.report.partitions =
            PartitionTotals { total: 8, in_sync: 6, offline: 1, ..PartitionTotals::default() };
        let condition = |type_: &str, status: &str, reason: &str| {
            serde_json::json!({"type": type_, "status": status, "reason": reason, "message": format!("why {reason}"),
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let status: BrokerClusterStatus = serde_json::from_value(serde_json::json!({
            "phase": "Degraded", "bootstrapServers": "demo-bootstrap:9092", "initialised": true,
            "conditions": [
                condition("Ready", "False", "NotReady"), condition("UnderMinIsr", "False", "Fine"),
                condition("RollingOut", "True", "Restarting"), condition("Offline", "Unknown", "NoWord"),
            ],
        }))
        .unwrap();
        let mut seen = Seen { brokers: Ok(told), ..seen("now") };
        seen.pods[0].0.hash = Some("now".to_owned());
        seen.pods[1].0.ready = false;
        seen.cluster.status = Some(status);
        seen
    }

    #[test]
    fn a_cluster_that_is_not_well() {
        insta::assert_snapshot!(status(&degraded()).text(Paint(false)), @r"
        cluster     demo (namespace shop): Degraded
        bootstrap   demo-bootstrap:9092
        brokers     2/3 ready, 3 alive, broker 1 leads the metadata group
        partitions  [###############-----] 6/8 in sync, 0 under min ISR, 1 offline, 0 unknown; 1 topic
        permit      broker 2 is away for a rollout, until it is back in every ISR (permit 7)
        moves       [###############-----] orders/3: [1, 2, 3] to [1, 2, 4], 250 of 1000 records to go
        rollout     [######--------------] 1/3 pods up to date, Restarting
                    why Restarting
        not well    Ready is False: why NotReady
        not well    Offline is Unknown: why NoWord
        ");
    }

    #[test]
    fn brokers_that_do_not_answer_leave_what_kubernetes_knows() {
        let seen =
            Seen { brokers: Err(anyhow::anyhow!("no broker of demo answers: broker 1: gone")), ..degraded() };
        insta::assert_snapshot!(status(&seen).text(Paint(false)), @r"
        cluster     demo (namespace shop): Degraded
        bootstrap   demo-bootstrap:9092
        brokers     2/3 ready
                    no broker of demo answers: broker 1: gone
        rollout     [######--------------] 1/3 pods up to date, Restarting
                    why Restarting
        not well    Ready is False: why NotReady
        not well    Offline is Unknown: why NoWord
        ");
    }

    #[test]
    fn a_move_of_which_nothing_is_told_has_no_bar() {
        let mut quiet = partition(0, 1, &[1, 2, 3]);
        (quiet.moving, quiet.adding) = (true, brokers(&[4]));
        assert_eq!(moves("t", &quiet).line(), "t/0: [1, 2, 3] to [1, 2, 3]");
    }
}
