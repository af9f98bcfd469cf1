//! A partition as its leader, a follower or a caretaker sees it, spoken to by a transcript.

use std::fmt::Write;

use super::super::super::caretaker::{Outlook, decide};
use super::super::super::gate::{Acks, Standing, Verdict, admit, interrupted};
use super::super::super::high_watermark::{HighWatermark, effective_min_isr};
use super::super::super::isr::{IsrChange, IsrConfig, IsrTracker, Leadership};
use super::super::super::{IsrSet, Position};
use super::args::Args;
use crate::ids::ReplicaId;

pub(super) struct World {
    config: IsrConfig,
    tracker: Option<IsrTracker>,
    voters: Vec<ReplicaId>,
    /// By index, from 0.
    positions: Vec<Position>,
    mark: HighWatermark,
}

impl Default for World {
    fn default() -> Self {
        Self {
            config: IsrConfig::default(),
            tracker: None,
            voters: Vec::new(),
            positions: vec![Position::default()],
            mark: HighWatermark::new(0),
        }
    }
}

impl World {
    pub(super) fn run(&mut self, args: &mut Args) -> Option<String> {
        Some(match args.name.as_str() {
            "lead" => self.lead(args),
            "config" => self.configure(args),
            "append" => self.append(args),
            "synced" | "heard" | "alive" | "dead" | "voters" | "check" => self.event(args),
            "commit" => self.commit(args),
            "follow" => {
                let moved = self.mark.follow(args.get("term"), args.get("sent"), args.get("commit"));
                self.print_mark(moved)
            }
            "stats" => self.stats(args),
            "produce" => self.produce(args),
            "interrupted" => {
                format!("{:?}", interrupted(acks(args), self.tracker().isr().len(), self.min_isr()))
            }
            "outlook" => outlook(args),
            _ => return None,
        })
    }

    fn lead(&mut self, args: &mut Args) -> String {
        self.mark.begin_term(args.get("term"));
        self.voters = args.replicas("voters");
        let end = *self.positions.last().unwrap();
        let (known, alive) = (args.replicas("isr"), args.replicas("alive"));
        let start = Leadership {
            leader: args.replica(),
            voters: &self.voters,
            last_known_isr: &known,
            alive: &alive,
            end,
            epoch_start: end.index + 1,
            high_watermark: self.mark.value(),
        };
        let mut tracker = IsrTracker::initialize(self.config, start, args.get("at"));
        // The empty entry with which a leader begins.
        let begun = Position { index: end.index + 1, ..end };
        self.positions.push(begun);
        tracker.leader_appended(begun, 0);
        self.tracker = Some(tracker);
        format!("{}, epoch starts at {}", self.print_isr(), begun.index)
    }

    fn configure(&mut self, args: &mut Args) -> String {
        let set = |value: &mut u64, to: Option<u64>| *value = to.unwrap_or(*value);
        set(&mut self.config.max_lag_ms, args.optional("max-lag-ms"));
        set(&mut self.config.max_lag_entries, args.optional("max-lag-entries"));
        self.config.min_isr = args.optional("min-isr").unwrap_or(self.config.min_isr);
        if let Some(tracker) = &mut self.tracker {
            tracker.set_config(self.config);
        }
        format!("{:?}", self.config)
    }

    fn append(&mut self, args: &mut Args) -> String {
        let last = *self.positions.last().unwrap();
        let end = Position { index: last.index + 1, offset: last.offset + args.get::<i64>("records") };
        self.positions.push(end);
        self.tracker.as_mut().unwrap().leader_appended(end, args.get("at"));
        format!("end is index {} offset {}", end.index, end.offset)
    }

    fn event(&mut self, args: &mut Args) -> String {
        let now_ms = args.get("at");
        let tracker = self.tracker.as_mut().unwrap();
        let change = match args.name.as_str() {
            "synced" => {
                let synced = self.positions[args.get::<usize>("index")];
                tracker.follower_synced(args.replica(), synced, now_ms)
            }
            "heard" => {
                tracker.heard(args.replica(), now_ms);
                None
            }
            "voters" => {
                self.voters = args.replicas("are");
                tracker.set_voters(&self.voters, &self.voters, now_ms)
            }
            "check" => tracker.check(now_ms),
            "alive" => tracker.set_alive(args.replica(), true, now_ms),
            _ => tracker.set_alive(args.replica(), false, now_ms),
        };
        match change {
            Some(change) => format!("{}: {}", describe(&change), self.print_isr()),
            None => "no change".to_owned(),
        }
    }

    fn commit(&mut self, args: &mut Args) -> String {
        let (commit, k) = (args.get("index"), self.min_isr());
        let leader_synced = args.optional("leader-synced").unwrap_or(commit);
        let tracker = self.tracker.as_mut().unwrap();
        let moved = self.mark.lead(tracker.high_watermark_candidate(commit, leader_synced, k));
        tracker.high_watermark_moved(self.mark.value());
        self.print_mark(moved)
    }

    fn stats(&self, args: &mut Args) -> String {
        let mut lines = Vec::new();
        for stats in self.tracker().stats(args.get("at")) {
            let mut line = format!("{}:", stats.replica);
            line += if stats.in_sync { " in sync" } else { " out" };
            line += if stats.alive { "" } else { ", dead" };
            match stats.lag_entries {
                Some(records) => write!(line, ", lacks {records} records").unwrap(),
                None => line += ", position unknown",
            }
            write!(line, ", behind for {} ms", stats.lag_ms).unwrap();
            match stats.last_heartbeat_ms {
                Some(ms) => write!(line, ", heard at {ms}").unwrap(),
                None => line += ", never heard",
            }
            lines.push(line);
        }
        lines.join("\n")
    }

    fn produce(&self, args: &mut Args) -> String {
        let standing = match &self.tracker {
            _ if args.flag("caretaker") => Standing::Caretaker,
            None => Standing::NotLeader,
            Some(tracker) => Standing::Leader {
                isr: tracker.isr().len(),
                min_isr: self.min_isr(),
                quorum_lost: args.flag("quorum-lost"),
            },
        };
        match admit(standing, acks(args)) {
            Verdict::Refuse(refusal) => format!("refused: {} {refusal:?}", refusal.code()),
            verdict => format!("{verdict:?}"),
        }
    }

    fn min_isr(&self) -> u32 {
        effective_min_isr(self.voters.len().try_into().unwrap(), self.config.min_isr)
    }

    fn tracker(&self) -> &IsrTracker {
        self.tracker.as_ref().expect("a leader")
    }

    fn print_isr(&self) -> String {
        let provisional = if self.tracker().is_provisional() { " provisional" } else { "" };
        format!("ISR {}{provisional}", list(self.tracker().isr()))
    }

    fn print_mark(&self, moved: bool) -> String {
        let how = if moved { "moves to" } else { "stays at" };
        format!("high watermark {how} {}", self.mark.value())
    }
}

fn list(isr: &IsrSet) -> String {
    format!("{:?}", isr.iter().map(|id| id.0).collect::<Vec<_>>())
}

fn describe(change: &IsrChange) -> String {
    let joined = change.joined.iter().map(|id| format!("{id} joined"));
    let left = change.left.iter().map(|(id, why)| format!("{id} left ({why:?})"));
    let ended = change.provisional_ended.then(|| "all have answered".to_owned());
    joined.chain(left).chain(ended).collect::<Vec<_>>().join(", ")
}

fn acks(args: &mut Args) -> Acks {
    match args.get::<String>("acks").as_str() {
        "0" => Acks::None,
        "1" => Acks::Leader,
        "all" => Acks::All,
        other => panic!("acks {other}"),
    }
}

fn outlook(args: &mut Args) -> String {
    let (reachable, voters): (usize, usize) = (args.get("reachable"), args.get("voters"));
    let outlook = Outlook {
        is_voter: !args.flag("learner"),
        in_last_known_isr: !args.flag("not-in-isr"),
        last_leader_term: args.get("term"),
        led_it: args.flag("led-it"),
        leader_known_dead: args.flag("leader-dead"),
        reaches_majority: reachable > voters / 2,
        without_leader_ms: args.get("for-ms"),
    };
    match decide(&outlook, 1_000) {
        Some(epoch) => format!("caretaker, shows epoch {epoch}"),
        None => "no caretaker".to_owned(),
    }
}
