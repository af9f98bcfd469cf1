//! Tests of the replication rules.
