//! What a recovery of the metadata means, in words. Decides nothing.

use chronik_core::ids::{Generation, ReplicaId};

use super::rebuild::Plan;
use super::when::utc;

/// Names listed of each kind, at most.
const LISTED: usize = 20;

/// What would be done, and what may be lost.
pub fn dry_run(plan: &Plan) -> String {
    let generation = plan.state.generation().number;
    let Plan { last, survivor, term, epoch, .. } = plan;
    format!(
        "{}\
         What would be done:\n  \
         Entries 1 to {last} count as committed; of the last {} this disk does not know whether they were.\n  \
         Replica {survivor} becomes the only voter.\n  \
         Replicas that never count again: {}. What their disks hold of this group is void.\n  \
         The epoch rises from {term} to {epoch}, the recovery generation from {generation} to {}.\n\
         What may be lost:\n  \
         Whatever the other voters decided after entry {last}: topics created since are gone with their records,\n  \
         deleted ones are back, and so are configs, members and brokers as they were. This disk cannot tell whether\n  \
         there was anything. Partitions and their records are not touched, but may need a recovery of their own.\n\
         Do it only if no majority of the voters can come back. If disks of other voters are left, look at each of them\n\
         in this way, and take the one with the highest term of its last entry; of several, the one with the highest\n\
         entry.\n\n\
         Nothing was changed. To do it:\n  \
         chronik-broker recover metadata --data-dir {} --execute\n",
        found(plan),
        last - plan.committed,
        listed(plan.retired()),
        generation + 1,
        plan.dir.display()
    )
}

/// What was done, and what to do next.
pub fn done(plan: &Plan, generation: Generation, by: &str, unix_ms: i64) -> String {
    format!(
        "recovered: metadata replica {} on disk {} of broker {broker} is the only voter from entry {} on, under epoch {}\n\
         recovery generation {generation}, by {by} at {}\n\
         retired: {}\n\n\
         Next:\n  \
         1. Start broker {broker}. It leads the metadata alone.\n  \
         2. chronik-broker recover partitions --admin HOST:PORT --all\n     \
         with its admin address: the partitions that lost their majority, too, and what that means for each.\n  \
         3. Have the other brokers come back with empty disks: chronik-broker format, then run. A disk that held this\n     \
         cluster before is refused.\n",
        plan.survivor,
        plan.identity.disk,
        plan.last + 1,
        plan.epoch,
        utc(unix_ms),
        listed(plan.retired()),
        broker = plan.identity.broker,
    )
}

fn found(plan: &Plan) -> String {
    let mut out = String::new();
    let identity = &plan.identity;
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "{}: disk {} of broker {}, cluster {}",
        plan.dir.display(),
        identity.disk,
        identity.broker,
        identity.cluster
    ));
    line(format!(
        "metadata: replica {}, entries 1 to {}, the last of term {}, committed to {} as far as this disk knows",
        plan.survivor, plan.last, plan.last_term, plan.committed
    ));
    let joint = if plan.members.is_joint() {
        format!(" (from {})", listed(plan.members.outgoing.clone()))
    } else {
        String::new()
    };
    line(format!(
        "  voters: {}{joint}; learners: {}",
        listed(plan.members.voters.clone()),
        listed(plan.members.learners.clone())
    ));
    let brokers: Vec<String> =
        plan.state.brokers().map(|broker| format!("{} (disk {})", broker.id, broker.disk)).collect();
    line(format!("  brokers: {}", shortened(&brokers)));
    let topics: Vec<String> =
        plan.state.topics().map(|topic| format!("{} ({})", topic.name, topic.partitions.len())).collect();
    line(format!("  topics with their partitions: {}", shortened(&topics)));
    for recovery in plan.state.recoveries() {
        line(format!(
            "  recovered before, by {} at {}: {}",
            recovery.by,
            utc(recovery.unix_ms),
            what(&recovery.what)
        ));
    }
    for damage in &plan.damaged {
        line(format!("damaged here, not part of this: {damage}"));
    }
    out
}

fn what(recovered: &chronik_core::metadata::Recovered) -> String {
    use chronik_core::metadata::Recovered;
    match recovered {
        Recovered::Metadata { generation, broker, .. } => {
            format!("the metadata, from broker {broker}, generation {}", generation.number)
        }
        Recovered::Partition { topic, partition, broker, .. } => {
            format!("{topic}/{partition}, from broker {broker}")
        }
    }
}

fn listed(replicas: Vec<ReplicaId>) -> String {
    shortened(&replicas.iter().map(ReplicaId::to_string).collect::<Vec<_>>())
}

fn shortened(names: &[String]) -> String {
    match names.len() {
        0 => "none".to_owned(),
        1..=LISTED => names.join(", "),
        all => format!("{} and {} more", names[..LISTED].join(", "), all - LISTED),
    }
}
