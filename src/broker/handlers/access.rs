//! The operations a client is told it may use, as Kafka's bit fields: all of them, since everything is authorised.

/// What may be done to a topic: Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs.
const TOPIC: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// What may be done to the cluster: Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs,
/// IdempotentWrite.
const CLUSTER: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// Nobody asked.
const OMITTED: i32 = i32::MIN;

pub(super) fn topic_operations(asked: bool) -> i32 {
    if asked { TOPIC } else { OMITTED }
}

pub(super) fn cluster_operations(asked: bool) -> i32 {
    if asked { CLUSTER } else { OMITTED }
}
