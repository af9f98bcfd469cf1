//! Numbers, times and reasons in words. Pure.

use std::fmt::Display;

use chronik_core::restart::Stage;
use chronik_core::view::{BlockReport, PermitReport};

/// Reasons that a sentence gives, and places that it names for each, at most.
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

/// A permit in one line.
pub(crate) fn permit_text(permit: &PermitReport) -> String {
    let (id, broker, purpose) = (permit.id.0, permit.broker, permit.reason.purpose());
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

/// The first few blocks in one line, those with one reason together, and how many there are besides.
pub(crate) fn blocks_text(blocks: &[BlockReport], of: usize) -> String {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for block in blocks {
        match groups.iter_mut().find(|(why, _)| *why == block.why) {
            Some((_, places)) => places.push(place(block)),
            None => groups.push((&block.why, vec![place(block)])),
        }
    }
    groups.truncate(NAMED);
    let told: usize = groups.iter().map(|(_, places)| places.len()).sum();
    let groups = groups.iter().map(|(why, places)| format!("{}: {why}", with_more(places)));
    let text = groups.collect::<Vec<_>>().join("; ");
    match of.max(blocks.len()) - told {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

fn with_more(places: &[String]) -> String {
    let named = places[..places.len().min(NAMED)].join(", ");
    match places.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
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
    fn blocks_with_one_reason_are_told_together_and_the_others_counted() {
        let block = |partition, why: &str| BlockReport {
            topic: Some("t".into()),
            partition: Some(partition),
            why: why.to_owned(),
        };
        assert_eq!(blocks_text(&[block(0, "x")], 1), "t/0: x");
        let blocks = [block(0, "x"), block(1, "y"), block(2, "x"), block(3, "x"), block(4, "x")];
        assert_eq!(blocks_text(&blocks, 5), "t/0, t/2, t/3 and 1 more: x; t/1: y");
        assert_eq!(blocks_text(&blocks, 70), "t/0, t/2, t/3 and 1 more: x; t/1: y; and 65 more");
        let four = [block(0, "a"), block(1, "b"), block(2, "c"), block(3, "d")];
        assert_eq!(blocks_text(&four, 4), "t/0: a; t/1: b; t/2: c; and 1 more");
        let metadata = BlockReport { topic: None, partition: None, why: "x".into() };
        assert_eq!(blocks_text(&[metadata], 1), "metadata group: x");
    }
}
