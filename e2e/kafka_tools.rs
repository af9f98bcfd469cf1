//! Apache Kafka's own tools, run as they are shipped. Reads what they print; knows nothing of Chronik.

use std::path::PathBuf;
use std::time::Duration;

use crate::kafka::Seen;
use crate::program::{Ended, Program};

/// Longest a tool may take: each starts a Java machine, and some wait for a cluster that does not answer.
const LIMIT: Duration = Duration::from_secs(60);

/// A tool by Kafka's name for it, such as `kafka-topics`, asking `bootstrap`.
pub fn tool(name: &str, bootstrap: &str) -> Program {
    Program::new(path(name)).args(["--bootstrap-server", bootstrap]).within(LIMIT)
}

/// Where a tool is.
pub(crate) fn path(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/kafka/bin").join(name);
    assert!(path.exists(), "{} is missing: run make kafka-tools", path.display());
    path
}

/// `kafka-topics --describe`: each partition with leader and ISR.
pub fn describe(bootstrap: &str, topic: &str) -> Result<Vec<Seen>, String> {
    parse(&tool("kafka-topics", bootstrap).args(["--describe", "--topic", topic]).run().ok()?)
}

fn parse(text: &str) -> Result<Vec<Seen>, String> {
    text.lines().filter(|line| line.starts_with('\t')).map(partition).collect()
}

fn partition(line: &str) -> Result<Seen, String> {
    let field = |name: &str| {
        let found = line.split('\t').find_map(|part| part.strip_prefix(name));
        found.map(str::trim).ok_or_else(|| format!("no {name:?} in {line:?}"))
    };
    let number = |text: &str| text.parse::<i32>().map_err(|error| format!("{error}: {text:?} in {line:?}"));
    let leader = match field("Leader: ")? {
        "none" => -1,
        id => number(id)?,
    };
    let isr = field("Isr: ")?.split(',').filter(|id| !id.is_empty());
    let mut isr = isr.map(number).collect::<Result<Vec<_>, _>>()?;
    isr.sort_unstable();
    Ok(Seen { partition: number(field("Partition: ")?)?, leader, isr })
}

/// Sends so many records with `kafka-producer-perf-test`: a producer with Kafka's defaults, idempotent, acks=all, that
/// gives a record up after `patience`.
pub fn produce(bootstrap: &str, topic: &str, records: usize, patience: Duration) -> Ended {
    let patience = patience.as_millis();
    tool("kafka-producer-perf-test", bootstrap)
        .args(["--topic", topic, "--num-records", &records.to_string()])
        .args(["--record-size", "100", "--throughput", "100"])
        // One option for all: of several the tool takes the last.
        .args(["--command-property", "linger.ms=0", &format!("delivery.timeout.ms={patience}")])
        .args([format!("request.timeout.ms={}", patience / 2)])
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read_from_what_describe_prints() {
        let text = "Topic: t\tTopicId: x\tPartitionCount: 2\tReplicationFactor: 3\tConfigs: min.insync.replicas=2\n\
            \tTopic: t\tPartition: 0\tLeader: 3\tReplicas: 3,1,2\tIsr: 3,1\tElr: N/A\tLastKnownElr: N/A\n\
            \tTopic: t\tPartition: 1\tLeader: none\tReplicas: 1,2,3\tIsr: \tElr: N/A\tLastKnownElr: N/A\n";
        let expected = [
            Seen { partition: 0, leader: 3, isr: vec![1, 3] },
            Seen { partition: 1, leader: -1, isr: vec![] },
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }
}
