//! Asks a running broker to go on alone with partitions, and shows what that means.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use chronik_core::view::{PartitionRecovery, RecoverBody, RecoverChoice, RecoveryReport};

use super::{http, outlook};
use crate::settings::{HostPort, Which};

const PATH: &str = "/v1/recovery";
/// How long the partitions may take to have a leader.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Has partitions go on from that broker's replicas, or says what that would be.
pub fn partitions(admin: &HostPort, which: &Which, execute: bool, by: &str) -> Result<String> {
    let report: RecoveryReport = http::ask(admin, "GET", PATH, "")?;
    let meant = meant(&report, which)?;
    if !execute {
        return Ok(outlook::dry_run(admin, which, &report, &meant));
    }
    let choices = meant.iter().map(|here| RecoverChoice { group: here.group, survivor: here.survivor });
    let body = RecoverBody { by: by.to_owned(), partitions: choices.collect() };
    if body.partitions.is_empty() {
        return Ok(outlook::nothing(&report));
    }
    let done: RecoveryReport = http::ask(admin, "POST", PATH, &serde_json::to_string(&body)?)?;
    let after = await_leaders(admin, &done)?;
    Ok(outlook::done(by, &done, &after))
}

/// The partitions that are meant and need it. One that is named and must not is an error.
fn meant<'a>(report: &'a RecoveryReport, which: &Which) -> Result<Vec<&'a PartitionRecovery>> {
    let named = |here: &&PartitionRecovery| match which {
        Which::All => true,
        Which::Topic(topic) => here.topic == *topic,
        Which::Partition(topic, number) => here.topic == *topic && here.partition == *number,
    };
    let here: Vec<&PartitionRecovery> = report.partitions.iter().filter(named).collect();
    if here.is_empty() && *which != Which::All {
        bail!("broker {} holds no replica of {}", report.broker, outlook::name(which));
    }
    if let (Which::Partition(..), Some(reason)) = (which, here.iter().find_map(|one| one.refused.as_ref())) {
        bail!("{} cannot go on from broker {} alone: {reason}", outlook::name(which), report.broker);
    }
    Ok(here.into_iter().filter(|one| one.refused.is_none()).collect())
}

/// Those of them that nobody leads by the end.
fn await_leaders(admin: &HostPort, done: &RecoveryReport) -> Result<Vec<PartitionRecovery>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let now: RecoveryReport = http::ask(admin, "GET", PATH, "")?;
        let meant = |here: &PartitionRecovery| done.partitions.iter().any(|one| one.group == here.group);
        let left = now.partitions.into_iter().filter(|here| meant(here) && here.refused.is_none());
        let left: Vec<PartitionRecovery> = left.collect();
        if left.is_empty() || Instant::now() > until {
            return Ok(left);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
