//! What it means to go on from one replica of a partition, in words. Decides nothing.

use chronik_core::ids::BrokerId;
use chronik_core::replication::recovery::MayLack;
use chronik_core::view::{PartitionRecovery, RecoveryReport};

use crate::settings::{HostPort, Which};

/// Partitions that are left as they are, listed at most.
const LISTED: usize = 20;

const WHAT_IT_MEANS: &str = "\
Records beyond the offsets above are gone if it is done: a consumer that has read them gets
OFFSET_OUT_OF_RANGE, as after Kafka's unclean election, and other records take their offsets. No record
below changes. The replicas given up never count again, whatever is on their disks; new ones take their
places and begin empty. Do it only if those disks cannot come back.";
const OTHERS_ARE_LEFT: &str = "\
Some partitions have other replicas that are heard: ask their brokers, too, and take the highest end.";
const NO_METADATA: &str = "\
The metadata group has no leader: that must be mended first (chronik-broker recover metadata).";

/// What would be done, and what may be lost.
pub(super) fn dry_run(
    admin: &HostPort,
    which: &Which,
    report: &RecoveryReport,
    meant: &[&PartitionRecovery],
) -> String {
    if meant.is_empty() {
        return nothing(report);
    }
    let mut lines: Vec<String> = meant.iter().flat_map(|one| partition(one)).collect();
    lines.push(String::new());
    let left = report.partitions.len() - meant.len();
    if left > 0 {
        lines.push(format!(
            "{left} other partitions with a replica on broker {} are left as they are.",
            report.broker
        ));
    }
    lines.push(WHAT_IT_MEANS.to_owned());
    if meant.iter().any(|one| !one.heard.is_empty()) {
        lines.push(OTHERS_ARE_LEFT.to_owned());
    }
    if report.metadata_leader.is_none() {
        lines.push(NO_METADATA.to_owned());
    }
    lines.push(String::new());
    lines.push("Nothing was changed. To do it:".into());
    lines.push(format!("  chronik-broker recover partitions --admin {admin} {} --execute", flags(which)));
    text(lines)
}

/// That there is nothing to do, and why.
pub(super) fn nothing(report: &RecoveryReport) -> String {
    let mut lines = vec![format!(
        "None of the {} partitions on broker {} needs it.",
        report.partitions.len(),
        report.broker
    )];
    let reasons = report.partitions.iter().filter_map(|one| Some((one, one.refused.as_ref()?))).take(LISTED);
    lines.extend(reasons.map(|(one, reason)| format!("  {}/{}: {reason}", one.topic, one.partition)));
    text(lines)
}

/// What was done.
pub(super) fn done(by: &str, done: &RecoveryReport, leaderless: &[PartitionRecovery]) -> String {
    let mut lines = Vec::new();
    for one in &done.partitions {
        let led = !leaderless.iter().any(|left| left.group == one.group);
        let now = if led { "it has a leader again" } else { "IT HAS NO LEADER YET: see the broker's log" };
        lines.push(format!(
            "recovered {}/{} from broker {}, up to offset {}, under epoch {}: {now}",
            one.topic,
            one.partition,
            done.broker,
            one.end_offset,
            one.epoch.unwrap_or_default()
        ));
    }
    lines.push(format!("by {by}; the metadata keeps it (recoveries in /v1/cluster)"));
    lines.push(
        "The replicas on other brokers are new ones. They fill by themselves once their brokers run.".into(),
    );
    text(lines)
}

/// As the flags name it.
pub(super) fn name(which: &Which) -> String {
    match which {
        Which::All => "any partition".to_owned(),
        Which::Topic(topic) => format!("topic {topic}"),
        Which::Partition(topic, number) => format!("{topic}/{number}"),
    }
}

fn flags(which: &Which) -> String {
    match which {
        Which::All => "--all".to_owned(),
        Which::Topic(topic) => format!("--topic {topic}"),
        Which::Partition(topic, number) => format!("--topic {topic} --partition {number}"),
    }
}

fn partition(one: &PartitionRecovery) -> Vec<String> {
    let mut lines = vec![
        format!("{}/{}: replica {}", one.topic, one.partition, one.survivor),
        format!("  keeps offsets up to {}; its high watermark is {}", one.end_offset, one.high_watermark),
    ];
    lines.push(match (&one.last_isr, one.last_leader, one.last_heard_ms) {
        (Some(isr), Some(leader), Some(ago)) => {
            format!("  last led by broker {leader}, heard {} s ago, with ISR {}", ago / 1_000, listed(isr))
        }
        _ => "  has not heard a leader since its broker started".to_owned(),
    });
    let confirm = one.last_min_isr.unwrap_or_default();
    lines.push(format!(
        "  may lack {}",
        match one.may_lack {
            MayLack::Nothing => "nothing that was acknowledged with acks=all until then: it led".to_owned(),
            MayLack::WithinItsLag => format!(
                "what {confirm} others had and acknowledged with acks=all while this one was about to get it: it was in\n  \
                 sync, so no more than its lag limits let pass (replica.lag.time.max.ms, replica.lag.max.entries)"
            ),
            MayLack::Anything => "acknowledged records: it was not in sync".to_owned(),
            MayLack::Unknown => "acknowledged records: whether it was in sync is not known any more".to_owned(),
        }
    ));
    let heard =
        if one.heard.is_empty() { String::new() } else { format!(" and, heard, {}", listed(&one.heard)) };
    lines.push(format!(
        "  gives up the replicas on brokers {}{heard}; goes on with epoch {}",
        listed(&one.lost),
        one.epoch.unwrap_or_default()
    ));
    lines
}

fn listed(brokers: &[BrokerId]) -> String {
    match brokers {
        [] => "none".to_owned(),
        some => some.iter().map(BrokerId::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn text(lines: Vec<String>) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}
