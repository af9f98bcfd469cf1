//! Step 5: what a Topic's status says, from what the brokers say and how the reconcile went. Pure.
//!
//! What is not known is shown as unknown; it never looks like what was last known, or like health.

use chronik_api::Topic;
use chronik_api::conditions::{self, Finding, Status};
use chronik_api::counts::PartitionCounts;
use chronik_api::topic::{PARTITIONS_SHOWN_MAX, PartitionState, PartitionStatus, TopicStatus};
use chronik_core::ids::BrokerId;
use chronik_core::view::{PartitionReport, PartitionState as Known, PartitionTotals, TopicReport};
use k8s_openapi::jiff::Timestamp;

use super::error::Error;
use crate::feed::Seen;

/// The status.
pub fn build(topic: &Topic, seen: &Seen, error: Option<&Error>, now: Timestamp) -> TopicStatus {
    let before = topic.status.clone().unwrap_or_default();
    let generation = topic.metadata.generation.unwrap_or_default();
    let claimed = !matches!(error, Some(Error::Superseded { .. } | Error::ClusterMissing { .. }));
    let mut status = match seen {
        Seen::Present { report, .. } if claimed => known(report),
        Seen::Pending | Seen::Unreachable if claimed => unknown(&before),
        _ => TopicStatus::default(),
    };
    let report = match seen {
        Seen::Present { report, .. } if claimed => Some(&**report),
        _ => None,
    };
    let mut findings = vec![ready(topic, seen, report, error)];
    findings.extend(match report {
        Some(report) => partition_findings(&report.totals, &worst_numbers(report)),
        None => without_report(if claimed { "nothing is known of the topic's partitions" } else { "" }),
    });
    findings.extend(resizing(&before, report, claimed));
    findings.push(config_in_sync(topic, report));
    findings.extend((!topic.spec.managed).then(handed_back));
    status.observed_generation = Some(generation);
    status.topic_name = Some(topic.topic_name().to_owned());
    status.conditions = conditions::merge(&before.conditions, &findings, generation, now);
    status
}

/// The way to another number of replicas, while there is one. Without a word from the brokers it has not ended.
fn resizing(before: &TopicStatus, report: Option<&TopicReport>, claimed: bool) -> Option<Finding> {
    let Some(report) = report else {
        let was = claimed && conditions::get(&before.conditions, conditions::RESIZING).is_some();
        let message = "how far the replicas are is not known";
        return was.then(|| Finding::new(conditions::RESIZING, Status::Unknown, "Unknown", message));
    };
    let resize = report.resize.as_ref()?;
    let (done, wanted) = (resize.done, resize.replicas);
    let message =
        format!("moving replicas: {done} of {} partitions have {wanted} replicas", report.totals.total);
    Some(match &resize.blocked {
        None => Finding::new(conditions::RESIZING, true, "MovingReplicas", message),
        Some(why) => {
            Finding::new(conditions::RESIZING, true, "Waiting", format!("{message}; one waits: {why}"))
        }
    })
}

/// Replicas that every partition has: those that come do not count yet, and those that go still do.
fn replicas(report: &TopicReport) -> u32 {
    let has = |partition: &PartitionReport| (partition.replicas.len() - partition.adding.len()) as u32;
    report.partitions.iter().map(has).min().unwrap_or(report.replication_factor)
}

fn handed_back() -> Finding {
    let message =
        "spec.managed is false: nothing is changed in the brokers, and the topic stays when this is deleted";
    Finding::new(conditions::MANAGED, false, "HandedBack", message)
}

fn known(report: &TopicReport) -> TopicStatus {
    let (partitions, omitted) = shown(report.partitions.iter().map(partition).collect(), report);
    TopicStatus {
        topic_id: Some(report.id.to_string()),
        replication_factor: Some(replicas(report)),
        effective_min_isr: effective_min_isr(report),
        totals: Some(PartitionCounts::from(report.totals)),
        partitions,
        partitions_omitted: (omitted > 0).then_some(omitted),
        ..TopicStatus::default()
    }
}

/// Identity and layout stay; leaders and ISRs that nobody confirms do not.
fn unknown(before: &TopicStatus) -> TopicStatus {
    let total = before.totals.as_ref().map(|totals| totals.total);
    let blank = |partition: &PartitionStatus| PartitionStatus {
        partition: partition.partition,
        epoch: partition.epoch,
        replicas: partition.replicas.clone(),
        ..PartitionStatus::default()
    };
    TopicStatus {
        totals: total.map(|total| {
            PartitionCounts::from(PartitionTotals { total, unknown: total, ..PartitionTotals::default() })
        }),
        partitions: before.partitions.iter().map(blank).collect(),
        conditions: Vec::new(),
        ..before.clone()
    }
}

fn partition(report: &PartitionReport) -> PartitionStatus {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| broker.0).collect();
    PartitionStatus {
        partition: report.partition,
        state: match report.state {
            Known::Leader => PartitionState::Leader,
            Known::Caretaker => PartitionState::Caretaker,
            Known::Offline => PartitionState::Offline,
            Known::Unknown => PartitionState::Unknown,
        },
        leader: report.leader.map(|leader| leader.0),
        epoch: i64::try_from(report.epoch).unwrap_or(i64::MAX),
        replicas: ids(&report.replicas),
        isr: report.isr.as_deref().map(ids),
    }
}

/// All partitions, or the worst of too many, by number; and how many are left out.
fn shown(mut all: Vec<PartitionStatus>, report: &TopicReport) -> (Vec<PartitionStatus>, u32) {
    let min_isr = effective_min_isr(report).unwrap_or(0);
    if all.len() > PARTITIONS_SHOWN_MAX {
        all.sort_by_key(|partition| (health(partition, min_isr), partition.partition));
        all.truncate(PARTITIONS_SHOWN_MAX);
    }
    all.sort_by_key(|partition| partition.partition);
    let omitted = report.partitions.len() - all.len();
    (all, u32::try_from(omitted).unwrap_or(u32::MAX))
}

/// Worst first: no leader, lost quorum, unknown, too few in sync, just enough, some missing, all in sync.
fn health(partition: &PartitionStatus, min_isr: u32) -> u32 {
    let in_sync = partition.isr.as_ref().map_or(0, Vec::len);
    match partition.state {
        PartitionState::Offline => 0,
        PartitionState::Caretaker => 1,
        PartitionState::Unknown => 2,
        PartitionState::Leader if in_sync < min_isr as usize => 3,
        PartitionState::Leader if in_sync >= partition.replicas.len() => 6,
        PartitionState::Leader if in_sync == min_isr as usize => 4,
        PartitionState::Leader => 5,
    }
}

fn effective_min_isr(report: &TopicReport) -> Option<u32> {
    report.partitions.iter().map(|partition| partition.effective_min_isr).max()
}

fn ready(topic: &Topic, seen: &Seen, report: Option<&TopicReport>, error: Option<&Error>) -> Finding {
    let finding = |status, reason: &str, message| Finding::new(conditions::READY, status, reason, message);
    match (error, seen, report) {
        (Some(error @ (Error::BrokersUnreachable { .. } | Error::Brokers(_))), Seen::Unreachable, _) => {
            finding(Status::Unknown, error.reason(), error.to_string())
        }
        (Some(error), ..) => finding(Status::False, error.reason(), error.to_string()),
        (None, _, None) => finding(Status::Unknown, "BrokersUnreachable", "no broker answers".to_owned()),
        (None, _, Some(report)) => serving(topic, report),
    }
}

fn serving(topic: &Topic, report: &TopicReport) -> Finding {
    let totals = &report.totals;
    let finding = |status, reason: &str, message| Finding::new(conditions::READY, status, reason, message);
    let of = |count: u32| format!("{count} of {} partitions", totals.total);
    if totals.offline > 0 {
        return finding(Status::False, "Offline", format!("{} have no leader", of(totals.offline)));
    }
    if totals.under_min_isr > 0 {
        let message = format!("{} refuse writes with acks=all", of(totals.under_min_isr));
        return finding(Status::False, "UnderMinIsr", message);
    }
    if totals.unknown > 0 {
        return finding(
            Status::Unknown,
            "Unknown",
            format!("nothing recent is known of {}", of(totals.unknown)),
        );
    }
    finding(
        Status::True,
        "Serving",
        format!("all {} partitions accept writes{}", totals.total, majority_note(topic, report)),
    )
}

/// Raft commits by majority, also where a smaller min ISR was asked for.
fn majority_note(topic: &Topic, report: &TopicReport) -> String {
    let asked =
        topic.spec.configs().get(chronik_api::topic::MIN_ISR_KEY).and_then(|value| value.parse::<u32>().ok());
    match (asked, effective_min_isr(report)) {
        (Some(asked), Some(needed)) if needed > asked => format!(
            "; acks=all needs {needed} of {} replicas in sync, since a majority must have each record, although \
             min.insync.replicas is {asked}",
            report.replication_factor
        ),
        _ => String::new(),
    }
}

/// InSync, UnderMinIsr, Offline. `worst` names partitions that are not well, or is empty.
pub fn partition_findings(totals: &PartitionTotals, worst: &str) -> [Finding; 3] {
    let named = |message: String| if worst.is_empty() { message } else { format!("{message}: {worst}") };
    let in_sync = match (totals.under_replicated + totals.offline, totals.unknown) {
        _ if totals.in_sync == totals.total => Finding::new(
            conditions::IN_SYNC,
            true,
            "AllInSync",
            format!("all {} partitions have every replica in sync", totals.total),
        ),
        (0, unknown) if unknown > 0 => Finding::new(
            conditions::IN_SYNC,
            Status::Unknown,
            "Unknown",
            format!("nothing recent is known of {unknown} partitions"),
        ),
        _ => Finding::new(
            conditions::IN_SYNC,
            false,
            "UnderReplicated",
            named(format!(
                "{} of {} partitions lack an in-sync replica",
                totals.total - totals.in_sync,
                totals.total
            )),
        ),
    };
    [
        in_sync,
        count(conditions::UNDER_MIN_ISR, totals.under_min_isr, totals, "refuse writes with acks=all"),
        count(conditions::OFFLINE, totals.offline, totals, "have no leader"),
    ]
}

fn count(type_: &'static str, count: u32, totals: &PartitionTotals, what: &str) -> Finding {
    let message = format!("{count} of {} partitions {what}", totals.total);
    if count > 0 {
        Finding::new(type_, true, "Partitions", message)
    } else if totals.unknown > 0 {
        Finding::new(
            type_,
            Status::Unknown,
            "Unknown",
            format!("nothing recent is known of {} partitions", totals.unknown),
        )
    } else {
        Finding::new(type_, false, "NoPartition", message)
    }
}

fn without_report(message: &str) -> [Finding; 3] {
    [conditions::IN_SYNC, conditions::UNDER_MIN_ISR, conditions::OFFLINE]
        .map(|type_| Finding::new(type_, Status::Unknown, "Unknown", message))
}

/// Partitions with their ISR, the worst first, as far as a line of text goes.
fn worst_numbers(report: &TopicReport) -> String {
    let min_isr = effective_min_isr(report).unwrap_or(0);
    let mut unwell: Vec<PartitionStatus> = report.partitions.iter().map(partition).collect();
    unwell.retain(|partition| health(partition, min_isr) < 6);
    unwell.sort_by_key(|partition| (health(partition, min_isr), partition.partition));
    let rest = unwell.len().saturating_sub(10);
    let mut names: Vec<String> = unwell
        .iter()
        .take(10)
        .map(|p| match &p.isr {
            Some(isr) => format!("partition {} has ISR {isr:?} of {:?}", p.partition, p.replicas),
            None => format!("of partition {} no ISR is known", p.partition),
        })
        .collect();
    if rest > 0 {
        names.push(format!("and {rest} more"));
    }
    names.join(", ")
}

fn config_in_sync(topic: &Topic, report: Option<&TopicReport>) -> Finding {
    let Some(report) = report else {
        return Finding::new(
            conditions::CONFIG_IN_SYNC,
            Status::Unknown,
            "Unknown",
            "the configs in the brokers are not known",
        );
    };
    let wanted = topic.spec.configs();
    if wanted == report.configs {
        return Finding::new(
            conditions::CONFIG_IN_SYNC,
            true,
            "AsSpecified",
            "the configs in the brokers are the spec's",
        );
    }
    let all: std::collections::BTreeSet<_> = wanted.keys().chain(report.configs.keys()).collect();
    let differing: Vec<&str> = all
        .into_iter()
        .filter(|key| wanted.get(*key) != report.configs.get(*key))
        .map(String::as_str)
        .collect();
    let message = format!("config {} differs from the spec", differing.join(", "));
    Finding::new(conditions::CONFIG_IN_SYNC, false, "Differs", message)
}

#[cfg(test)]
mod tests;
