//! What stands against restarts, in words: bounded, and the same as before where only a time has changed. Pure.

use chronik_api::rollout::BlockedBy;
use chronik_core::view::BlockReport;

use super::{IN_MESSAGE_MAX, LISTED_MAX, Refusal};

/// Names the first broker that may not stop with what stands against it, and the others.
pub(super) fn refused(refusals: &[Refusal], blocks: &[BlockedBy]) -> String {
    let Some((first, others)) = refusals.split_first() else { return String::new() };
    let why = match blocks {
        [] => first.message.clone(),
        blocks => {
            let listed: Vec<String> = blocks.iter().take(IN_MESSAGE_MAX).map(block_text).collect();
            let more = first.blocked.saturating_sub(listed.len());
            format!("broker {} may not stop: {}", first.broker, with_more(&listed, more))
        }
    };
    let others: Vec<String> = others.iter().map(|refusal| refusal.broker.to_string()).collect();
    match others.as_slice() {
        [] => why,
        [one] => format!("{why}. Neither may broker {one}"),
        more => format!("{why}. Neither may brokers {}", more.join(", ")),
    }
}

/// Some blocks in one line, of so many.
pub fn blocks_text(blocks: &[BlockReport], of: usize) -> String {
    let listed: Vec<String> =
        blocks.iter().take(IN_MESSAGE_MAX).map(|block| block_text(&blocked_by(block))).collect();
    with_more(&listed, of.saturating_sub(listed.len()))
}

fn with_more(listed: &[String], more: usize) -> String {
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{}{more}", listed.join("; "))
}

fn block_text(block: &BlockedBy) -> String {
    format!("{}: {}", place(block), block.why)
}

pub(super) fn place(block: &BlockedBy) -> String {
    match (&block.topic, block.partition) {
        (Some(topic), Some(partition)) => format!("{topic}/{partition}"),
        _ => "metadata group".to_owned(),
    }
}

fn blocked_by(block: &BlockReport) -> BlockedBy {
    BlockedBy { topic: block.topic.clone(), partition: block.partition, why: block.why.clone() }
}

/// What stands against the first broker that was refused. A reason in which only a time has changed is told as before: it
/// changes with each look and would be written each time.
pub(super) fn steady(refusals: &[Refusal], before: &[BlockedBy]) -> Vec<BlockedBy> {
    let blocks = refusals.first().map_or(&[][..], |refusal| &refusal.blocks).iter().take(LISTED_MAX);
    let told = |block: BlockedBy| {
        let same = |known: &&BlockedBy| {
            place(known) == place(&block) && without_times(&known.why) == without_times(&block.why)
        };
        before.iter().find(same).cloned().unwrap_or(block)
    };
    blocks.map(blocked_by).map(told).collect()
}

/// The text without the figure before each `ms`.
fn without_times(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_time = |at: usize| {
        let unit = words.get(at + 1).is_some_and(|unit| unit.trim_end_matches([';', ',', '.']) == "ms");
        unit && words[at].parse::<u64>().is_ok()
    };
    let kept = (0..words.len()).map(|at| if is_time(at) { "_" } else { words[at] });
    kept.collect::<Vec<_>>().join(" ")
}
