//! Runs seeds: one with its trace, or many on several threads with a summary.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::checks::Violation;
use crate::coverage::Coverage;
use crate::world::World;

/// What became of one seed.
pub struct Outcome {
    pub seed: u64,
    /// Of everything that happened: the same for every run of the seed.
    pub hash: u64,
    pub events: u64,
    /// Requests of clients.
    pub operations: u64,
    /// Virtual time it took.
    pub lasted: Duration,
    pub coverage: Coverage,
    pub violation: Option<Violation>,
    /// The trace, if it was asked for.
    pub lines: Vec<String>,
}

/// Runs one seed.
pub fn run(seed: u64, readable: bool) -> Outcome {
    let mut world = World::new(seed, readable);
    crate::trace::logs::begin(readable);
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run())).err();
    if let Some(panic) = panicked {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.fail("nothing panics", text.unwrap_or_default());
    }
    Outcome {
        seed,
        hash: world.trace.hash(),
        events: world.trace.events(),
        operations: world.operations,
        lasted: Duration::from_micros(world.now),
        coverage: std::mem::take(&mut world.coverage),
        violation: world.violation.take(),
        lines: world.trace.take_lines(),
    }
}

/// Many seeds together.
#[derive(Default)]
pub struct Summary {
    pub seeds: u64,
    pub events: u64,
    pub operations: u64,
    pub lasted: Duration,
    /// Seeds that were run twice, with the same hash.
    pub repeated: u64,
    /// By name: seeds in which it came, and how often in all.
    pub coverage: BTreeMap<&'static str, (u64, u64)>,
    /// Least of each in any seed that ran to its end.
    pub fewest_operations: Option<u64>,
    pub shortest: Option<Duration>,
    pub failed: Vec<Outcome>,
    pub took: Duration,
}

/// Seeds of which every so many is run twice.
const REPEAT_EVERY: u64 = 50;

/// Runs `count` seeds from `first` on, on so many threads; stops at the first violation unless told to go on.
pub fn run_many(first: u64, count: u64, threads: usize, go_on: bool) -> Summary {
    let began = Instant::now();
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let outcome = run_checked(seed);
                    let failed = outcome.0.violation.is_some();
                    summary.lock().add(outcome.0, outcome.1);
                    if failed && !go_on {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner();
    summary.failed.sort_by_key(|outcome| outcome.seed);
    summary.took = began.elapsed();
    summary
}

/// Runs a seed, some seeds twice: the second run must be the same in every event.
fn run_checked(seed: u64) -> (Outcome, bool) {
    let mut outcome = run(seed, false);
    let again = seed.is_multiple_of(REPEAT_EVERY) || outcome.violation.is_some();
    if again {
        let second = run(seed, outcome.violation.is_some());
        if second.hash != outcome.hash && outcome.violation.is_none() {
            let what = format!("{:016x} and {:016x}", outcome.hash, second.hash);
            outcome.violation = Some(Violation { property: "two runs of a seed are the same", what });
        } else if second.hash != outcome.hash {
            outcome.lines =
                vec!["the second run of this seed went another way: there is no trace".to_owned()];
        } else {
            outcome.lines = second.lines;
        }
    }
    (outcome, again)
}

impl Summary {
    fn add(&mut self, outcome: Outcome, repeated: bool) {
        self.seeds += 1;
        self.repeated += u64::from(repeated);
        self.events += outcome.events;
        self.operations += outcome.operations;
        self.lasted += outcome.lasted;
        for (name, count) in outcome.coverage.iter() {
            let known = self.coverage.entry(name).or_default();
            *known = (known.0 + 1, known.1 + count);
        }
        if outcome.violation.is_some() {
            self.failed.push(outcome);
        } else {
            let fewest = self.fewest_operations.get_or_insert(outcome.operations);
            *fewest = (*fewest).min(outcome.operations);
            let shortest = self.shortest.get_or_insert(outcome.lasted);
            *shortest = (*shortest).min(outcome.lasted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_of_a_seed_are_the_same_and_two_seeds_are_not() {
        let (first, second, other) = (run(7, false), run(7, true), run(8, false));
        assert_eq!((first.hash, first.events), (second.hash, second.events));
        assert!(!second.lines.is_empty() && first.lines.is_empty());
        assert_ne!(first.hash, other.hash);
    }

    #[test]
    fn a_seed_is_long_and_busy_enough_and_all_is_well_in_the_end() {
        let outcome = run(7, false);
        assert!(outcome.violation.is_none(), "{:?}", outcome.violation);
        assert!(outcome.operations >= 500 && outcome.lasted >= Duration::from_secs(60));
        let faults = outcome.coverage.iter().filter(|(name, _)| name.starts_with("fault: "));
        assert!(faults.map(|(_, count)| count).sum::<u64>() >= 5);
    }
}
