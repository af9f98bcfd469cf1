//! What stood still while leaders changed: how long each change kept acknowledgements away, and what went on around the
//! longest silence.

use std::time::{Duration, Instant};

use chronik_e2e::load::Load;

use crate::watchman::{Isrs, Pods};

/// A silence belongs to a change of leaders that was first seen at most so long before or after it.
const AROUND: Duration = Duration::from_millis(500);

/// Stalls of a time that was watched, in words: of each change the median and the worst, and the longest of all.
pub fn told(load: &Load, pods: &Pods, isrs: &Isrs, began: Instant) -> String {
    let stalls = of_changes(load, isrs, began);
    format!(
        "{} changes of leaders, stall median {:?}, worst {:?}; longest stall of all {}",
        stalls.len(),
        stalls.get(stalls.len() / 2),
        stalls.last(),
        longest(load, pods, isrs, began)
    )
}

/// How long each change of a partition's leader kept its acknowledgements away, ascending.
fn of_changes(load: &Load, isrs: &Isrs, began: Instant) -> Vec<Duration> {
    let beats = load.beats();
    let changes = isrs.epochs.iter().filter(|(_, (at, _))| *at > began);
    let stall = |(&(partition, _), &(at, _)): (&(i32, i32), &(Instant, i32))| {
        beats.longest_within(partition, at.checked_sub(AROUND).unwrap_or(at), at + AROUND)
    };
    let mut stalls: Vec<Duration> = changes.map(stall).collect();
    stalls.sort();
    stalls
}

/// The longest silence of any partition, its leaders, and the pods that came and went, in seconds since the watch began.
fn longest(load: &Load, pods: &Pods, isrs: &Isrs, began: Instant) -> String {
    let Some((partition, from, to)) = load.beats().longest_since(began) else { return "none".to_owned() };
    let at = |moment: Instant| format!("{:.2}", moment.saturating_duration_since(began).as_secs_f64());
    let of_it = isrs.epochs.iter().filter(|((of, _), (seen, _))| *of == partition && *seen > began);
    let leaders: Vec<String> =
        of_it.map(|(_, (seen, leader))| format!("{leader} at {}", at(*seen))).collect();
    let moments = |life: &crate::watchman::Life| {
        let ended = life.deleted.map_or_else(String::new, |deleted| format!(", deleted {}", at(deleted)));
        let ready = life.ready.map_or_else(String::new, |ready| format!(", ready {}", at(ready)));
        format!("{} seen {}{ready}{ended}", life.pod, at(life.seen))
    };
    let lives: Vec<String> = pods.lives.iter().map(moments).collect();
    let took = to - from;
    format!(
        "{took:?}, of partition {partition} from {} s on; it was led by {}; {}",
        at(from),
        leaders.join(", "),
        lives.join("; ")
    )
}
