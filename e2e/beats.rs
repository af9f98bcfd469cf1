//! When something happened on each partition: counts, and the longest silence.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Moments by partition.
#[derive(Clone, Default)]
pub struct Beats(BTreeMap<i32, Vec<Instant>>);

impl Beats {
    /// It happened on that partition just now.
    pub fn note(&mut self, partition: i32) {
        self.0.entry(partition).or_default().push(Instant::now());
    }

    /// How often it happened on each of so many partitions.
    pub fn counts(&self, partitions: usize) -> Vec<usize> {
        (0..partitions as i32).map(|p| self.0.get(&p).map_or(0, Vec::len)).collect()
    }

    /// The longest time between two moments of one partition since `from`.
    pub fn longest_stall(&self, from: Instant) -> Duration {
        self.0.values().map(|moments| longest(moments, from)).max().unwrap_or_default()
    }

    /// The longest time between two moments of one partition since `from`: which, and both moments.
    pub fn longest_since(&self, from: Instant) -> Option<(i32, Instant, Instant)> {
        let gaps = |(partition, moments): (&i32, &Vec<Instant>)| {
            let pairs = moments.windows(2).filter(|pair| pair[1] >= from);
            pairs.map(|pair| (*partition, pair[0], pair[1])).max_by_key(|(_, begin, end)| *end - *begin)
        };
        self.0.iter().filter_map(gaps).max_by_key(|(_, begin, end)| *end - *begin)
    }

    /// The longest time between two moments of one partition that reaches into that span.
    pub fn longest_within(&self, partition: i32, from: Instant, to: Instant) -> Duration {
        let moments = self.0.get(&partition).map_or(&[][..], Vec::as_slice);
        let gaps = moments.windows(2).filter(|pair| pair[1] >= from && pair[0] <= to);
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// The longest time between two moments of one partition since `from`.
    pub fn longest_stall_of(&self, partition: i32, from: Instant) -> Duration {
        self.0.get(&partition).map_or(Duration::ZERO, |moments| longest(moments, from))
    }
}

fn longest(moments: &[Instant], from: Instant) -> Duration {
    let gaps = moments.windows(2).filter(|pair| pair[1] >= from);
    gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

/// Waits until it happened so many more times on every partition.
pub fn await_more(
    what: &str,
    partitions: usize,
    more: usize,
    limit: Duration,
    counts: impl Fn() -> Vec<usize>,
) -> Duration {
    let before = counts();
    let look = || {
        let now = counts();
        let behind = (0..partitions).find(|p| now[*p] < before[*p] + more);
        crate::wait::holds(behind.is_none(), || format!("partition {behind:?}: {before:?} -> {now:?}"))
    };
    crate::wait::until(what, limit, look).1
}
