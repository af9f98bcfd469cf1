//! What rounds of the rollout decided and by what, in a form that is kept, read by people and decided again. Pure.
//!
//! A round is one line of JSON. What was seen at its start and what became of each step give every decision of it again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Observed, Step, next};
use crate::ids::{BrokerId, LogIndex, Term};
use crate::view::{BlockReport, PartitionTotals, PermitReport};

/// Version of the form. A line of another one is not read.
pub const VERSION: u32 = 1;
/// Decisions that are kept. The newest round is kept whatever its size.
pub const DECISIONS_MAX: usize = 100;
/// Bytes that are kept.
pub const BYTES_MAX: usize = 200 << 10;

/// A round: it looked, took steps until there was something to wait for, and ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    /// [`VERSION`].
    pub version: u32,
    /// What was seen at its start.
    pub seen: Observed,
    /// What else the brokers said then. The planner decides nothing by it; the brokers do.
    pub said: Said,
    /// What was decided, in order, and what came of it.
    pub steps: Vec<Taken>,
}

/// What the brokers said besides.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// How far the broker that spoke had applied metadata.
    pub metadata_index: Option<LogIndex>,
    /// The permits' version.
    pub permits_version: Option<u64>,
    /// Counts over all partitions.
    pub partitions: Option<PartitionTotals>,
    /// Partitions whose ISR is not known or lacks a replica; the first of them.
    pub out_of_sync: Vec<IsrSeen>,
}

/// A partition's ISR as its leader told it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IsrSeen {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// Its leader's term.
    pub term: Term,
    /// The version of the ISR within that term.
    pub version: u64,
    /// The brokers in sync; `None` while unknown.
    pub isr: Option<Vec<BrokerId>>,
    /// The brokers it is on.
    pub replicas: Vec<BrokerId>,
}

/// A step and what came of it; nothing does of the one that ends a round.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// What was decided.
    pub step: Step,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What comes of a step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// The brokers granted a permit.
    Granted {
        /// The permit.
        permit: PermitReport,
        /// What a person bears with it.
        borne: Vec<BlockReport>,
    },
    /// The brokers refused, or took the permit back.
    Refused {
        /// What stands against it; the first of it.
        blocks: Vec<BlockReport>,
        /// How much stands against it.
        blocked: usize,
        /// In the brokers' words.
        message: String,
    },
    /// The permit is begun.
    Begun,
    /// The pod is being deleted.
    Deleted,
    /// It did not go as planned: the round ended.
    Failed {
        /// One CamelCase word.
        reason: String,
        /// For a person.
        message: String,
    },
}

/// A recorded decision that is not made again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("step {at} of the round at {now} was {recorded:?} and is {decided:?} now")]
pub struct Differs {
    /// Which step, from 0.
    pub at: usize,
    /// When the round looked, in seconds since 1970.
    pub now: i64,
    /// What was decided.
    pub recorded: Step,
    /// What is decided now.
    pub decided: Step,
}

impl Round {
    /// Decides again.
    pub fn replay(&self) -> Result<(), Box<Differs>> {
        let mut seen = self.seen.clone();
        for (at, Taken { step, outcome }) in self.steps.iter().enumerate() {
            let decided = next(&seen);
            if decided != *step {
                return Err(Box::new(Differs { at, now: self.seen.now, recorded: step.clone(), decided }));
            }
            outcome.iter().for_each(|outcome| seen.learn(step, outcome));
        }
        Ok(())
    }

    /// Whether another round decided the same and met the same obstacles, whatever the time and the words.
    pub fn decided_as(&self, other: &Self) -> bool {
        let is_as = |(one, other): (&Taken, &Taken)| {
            let outcomes_are_alike = match (&one.outcome, &other.outcome) {
                (Some(one), Some(other)) => one.is_as(other),
                (one, other) => one.is_none() && other.is_none(),
            };
            one.step == other.step && outcomes_are_alike
        };
        self.steps.len() == other.steps.len() && self.steps.iter().zip(&other.steps).all(is_as)
    }
}

impl Outcome {
    /// Whether another one is no news after this.
    fn is_as(&self, other: &Self) -> bool {
        let places = |blocks: &[BlockReport]| -> Vec<(Option<String>, Option<i32>)> {
            blocks.iter().map(|block| (block.topic.clone(), block.partition)).collect()
        };
        match (self, other) {
            (Self::Granted { borne: one, .. }, Self::Granted { borne: other, .. })
            | (Self::Refused { blocks: one, .. }, Self::Refused { blocks: other, .. }) => {
                places(one) == places(other)
            }
            (Self::Failed { reason: one, .. }, Self::Failed { reason: other, .. }) => one == other,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

/// The last rounds, as lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Journal {
    lines: VecDeque<Line>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    text: String,
    steps: usize,
}

/// A text that is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A line is not a round.
    #[error("line {line}: {source}")]
    Line {
        /// From 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A round has another form.
    #[error("line {line}: version = {version} is not allowed: {VERSION}")]
    Version {
        /// From 1.
        line: usize,
        /// Its version.
        version: u32,
    },
}

impl Journal {
    /// Adds a round; the oldest make room for it.
    pub fn add(&mut self, round: &Round) {
        let text = serde_json::to_string(round).expect("a round is plain data");
        self.lines.push_back(Line { text, steps: round.steps.len() });
        let decisions = |lines: &VecDeque<Line>| lines.iter().map(|line| line.steps).sum::<usize>();
        let bytes = |lines: &VecDeque<Line>| lines.iter().map(|line| line.text.len() + 1).sum::<usize>();
        while self.lines.len() > 1
            && (decisions(&self.lines) > DECISIONS_MAX || bytes(&self.lines) > BYTES_MAX)
        {
            self.lines.pop_front();
        }
    }

    /// All of it, a round a line, the oldest first.
    pub fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect()
    }

    /// Reads what [`Journal::text`] gave.
    pub fn read(text: &str) -> Result<Vec<Round>, JournalError> {
        let lines = text.lines().zip(1..).filter(|(line, _)| !line.is_empty());
        lines.map(|(text, line)| read_line(text, line)).collect()
    }
}

fn read_line(text: &str, line: usize) -> Result<Round, JournalError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let failed = |source| JournalError::Line { line, source };
    let Versioned { version } = serde_json::from_str(text).map_err(failed)?;
    if version != VERSION {
        return Err(JournalError::Version { line, version });
    }
    serde_json::from_str(text).map_err(failed)
}

#[cfg(test)]
#[path = "journal/tests.rs"]
mod tests;
