//! `isr --watch`: looks once a second; redraws on a terminal, and appends what changed elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt;
use tokio::time::sleep;

use crate::access::Kubernetes;
use crate::args;
use crate::isr::{Isrs, Partition, isrs};
use crate::seen::Seen;
use crate::show::{Paint, Shown, is_terminal, say};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Clears the screen and goes to its first place.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Watches until the person has seen enough.
pub(crate) async fn watch(kubernetes: &Kubernetes, mut seen: Seen, wanted: &args::Isr) -> anyhow::Result<()> {
    let redraw = is_terminal();
    let gone = if wanted.not_well { "is well, or deleted" } else { "is deleted" };
    let mut known = Known::new(gone);
    loop {
        // What cannot be reached now may come back: a watch is for bad times. A wrong --topic does not.
        let shown = seen.told().map(|told| isrs(&seen, told, wanted));
        match shown {
            Ok(shown) if redraw => {
                let shown = shown?;
                say(&format!("{CLEAR}{}", shown.text(Paint::of_stdout())))?;
            }
            Ok(shown) => say(&known.changes(&shown?))?,
            Err(error) if redraw => say(&format!("{CLEAR}{error:#}\n"))?,
            Err(error) => say(&known.problem(&format!("{error:#}")))?,
        }
        sleep(PAUSE).await;
        let cluster = kubernetes.cluster(Some(&seen.cluster.name_any())).await?;
        seen = Seen::look(kubernetes, cluster).await?;
    }
}

/// What was printed before.
struct Known {
    lines: BTreeMap<(String, i32), String>,
    problem: String,
    /// What it means when a partition is no longer listed.
    gone: &'static str,
}

impl Known {
    fn new(gone: &'static str) -> Self {
        Self { lines: BTreeMap::new(), problem: String::new(), gone }
    }

    /// The lines that are new or other than before, and those that are gone.
    fn changes(&mut self, shown: &Isrs) -> String {
        self.problem.clear();
        let of = |partition: &Partition| ((partition.topic.clone(), partition.partition), partition.line());
        let now: BTreeMap<(String, i32), String> = shown.partitions.iter().map(of).collect();
        let mut text = String::new();
        for (key, line) in &now {
            if self.lines.get(key) != Some(line) {
                text += &format!("{line}\n");
            }
        }
        for (topic, partition) in self.lines.keys().filter(|key| !now.contains_key(*key)) {
            text += &format!("{topic}/{partition} {}\n", self.gone);
        }
        self.lines = now;
        text
    }

    /// A problem, once.
    fn problem(&mut self, problem: &str) -> String {
        if self.problem == problem {
            return String::new();
        }
        problem.clone_into(&mut self.problem);
        format!("{problem}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isr::partition;

    fn shown(isrs: &[&[u32]]) -> Isrs {
        let partitions = isrs.iter().zip(0..).map(|(isr, number)| {
            let mut report = crate::testing::partition(number, 1, isr);
            report.followers = vec![crate::testing::follower(2, isr.len() as u64, u64::from(rand()))];
            partition("t", &report)
        });
        Isrs {
            cluster: "demo".to_owned(),
            namespace: "shop".to_owned(),
            of: isrs.len(),
            partitions: partitions.collect(),
        }
    }

    /// Another lag at each call: it may not show.
    fn rand() -> u32 {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    #[test]
    fn only_changed_lines_are_printed() {
        let mut known = Known::new("is deleted");
        let first = known.changes(&shown(&[&[1, 2, 3], &[1, 2, 3]]));
        assert_eq!(first, "t/0 leader 1 epoch 4 isr [1, 2, 3]\nt/1 leader 1 epoch 4 isr [1, 2, 3]\n");
        assert_eq!(known.changes(&shown(&[&[1, 2, 3], &[1, 2, 3]])), "");
        assert_eq!(
            known.changes(&shown(&[&[1, 2, 3], &[1, 2]])),
            "t/1 leader 1 epoch 4 isr [1, 2] missing [3]\n"
        );
        assert_eq!(known.changes(&shown(&[&[1, 2, 3]])), "t/1 is deleted\n");
        assert_eq!((known.problem("x"), known.problem("x")), ("x\n".to_owned(), String::new()));
        known.changes(&shown(&[]));
        assert_eq!(known.problem("x"), "x\n", "it was over in between");
    }
}
