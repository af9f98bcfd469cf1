//! The last resort: when a majority of a group's disks is gone for good, a person has it go on from one that is left.
//!
//! `metadata` rebuilds the cluster's metadata on the disk of a stopped broker; `partitions` asks a running broker to go on
//! alone with partitions. Both say what they would do and what may be lost, and do it only when they are told to.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use uuid::Uuid;

use crate::log::{self, LookingDisk};

mod http;
mod outlook;
mod partitions;
pub mod rebuild;
mod report;
mod when;
mod who;

pub use partitions::partitions;
pub use who::who;

/// Rebuilds the metadata from a stopped broker's disk, or says what that would be.
pub fn metadata(dir: &Path, execute: bool, by: &str) -> Result<String> {
    if !execute {
        return Ok(report::dry_run(&rebuild::look(Arc::new(LookingDisk), dir)?));
    }
    let unix_ms = when::now_ms();
    let (plan, generation) = rebuild::execute(log::open_disk(dir), dir, by, unix_ms, Uuid::new_v4())?;
    Ok(report::done(&plan, generation, by, unix_ms))
}

#[cfg(test)]
mod tests;
