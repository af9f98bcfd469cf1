//! Numbers, times and reasons in words. Pure.

use std::fmt::Display;

use chronik_core::restart::{Reason, Stage};
use chronik_core::view::{BlockReport, PermitReport};

/// Blocks that a sentence names, at most.
const NAMED: usize = 3;

/// A list of ids: `[1, 2, 3]`.
pub(crate) fn ids<T: Display>(ids: impl IntoIterator<Item = T>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    format!("[{}]", ids.join(", "))
}

/// `yes` or `no`.
pub(crate) fn yes(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
}

/// A time span for people: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 4 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
    }
}

/// What a broker stops for.
pub(crate) fn purpose(reason: Reason) -> &'static str {
    match reason {
        Reason::Rollout => "for a rollout",
        Reason::Eviction => "for an eviction",
        Reason::Deleted => "because its pod was deleted",
        Reason::ScaleDown => "to leave the cluster",
        Reason::Asked => "because a person asks for it",
    }
}

/// A permit in one line.
pub(crate) fn permit_text(permit: &PermitReport) -> String {
    let (id, broker, purpose) = (permit.id.0, permit.broker, purpose(permit.reason));
    match permit.stage {
        Stage::Granted => format!("broker {broker} may stop {purpose} (permit {id})"),
        Stage::Begun => {
            format!("broker {broker} is away {purpose}, until it is back in every ISR (permit {id})")
        }
    }
}

/// Where a block is: a partition, or the brokers' own metadata.
pub(crate) fn place(block: &BlockReport) -> String {
    match (&block.topic, block.partition) {
        (Some(topic), Some(partition)) => format!("{topic}/{partition}"),
        _ => "metadata group".to_owned(),
    }
}

/// The first few blocks in one line, and how many there are besides.
pub(crate) fn blocks_text(blocks: &[BlockReport], of: usize) -> String {
    let named: Vec<String> =
        blocks.iter().take(NAMED).map(|block| format!("{}: {}", place(block), block.why)).collect();
    let more = of.max(blocks.len()) - named.len();
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{}{more}", named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_they_are_short() {
        let told = [0.0, 0.44, 9.96, 12.4, 60.0, 185.0, 3_600.0, 7_440.0].map(seconds);
        assert_eq!(
            told,
            ["0.0 s", "0.4 s", "10.0 s", "12 s", "1 min 0 s", "3 min 5 s", "1 h 0 min", "2 h 4 min"]
        );
    }

    #[test]
    fn blocks_are_named_up_to_three_and_counted_beyond() {
        let block =
            |partition| BlockReport { topic: Some("t".into()), partition: Some(partition), why: "x".into() };
        let blocks: Vec<BlockReport> = (0..4).map(block).collect();
        assert_eq!(blocks_text(&blocks[..1], 1), "t/0: x");
        assert_eq!(blocks_text(&blocks, 70), "t/0: x; t/1: x; t/2: x; and 67 more");
        let metadata = BlockReport { topic: None, partition: None, why: "x".into() };
        assert_eq!(blocks_text(&[metadata], 1), "metadata group: x");
    }
}
