//! The tracker against a deliberately dumb one: it keeps everything that ever happened and derives each answer anew.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::isr::{IsrConfig, IsrTracker, Leadership};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append {
        records: i64,
    },
    /// The follower's answer names the position `back` appends before the newest.
    Synced {
        replica: u64,
        back: usize,
    },
    Heard {
        replica: u64,
    },
    Alive {
        replica: u64,
        alive: bool,
    },
    HighWatermark {
        back: usize,
    },
    Voters {
        replicas: Vec<u64>,
    },
    Check,
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let replica = 2..5_u64;
    let what = prop_oneof![
        6 => (0..9_i64).prop_map(|records| Step::Append { records }),
        6 => (replica.clone(), 0..40_usize).prop_map(|(replica, back)| Step::Synced { replica, back: back * back / 40 }),
        1 => replica.clone().prop_map(|replica| Step::Heard { replica }),
        1 => (replica, any::<bool>()).prop_map(|(replica, alive)| Step::Alive { replica, alive }),
        1 => (0..40_usize).prop_map(|back| Step::HighWatermark { back }),
        1 => prop::collection::vec(2..5_u64, 1..4).prop_map(|replicas| Step::Voters { replicas }),
        4 => Just(Step::Check),
    ];
    let elapsed = prop_oneof![4 => 0..4_u64, 3 => 8..12_u64, 1 => 45..55_u64];
    (elapsed, what)
}

struct DumbFollower {
    since_ms: u64,
    alive: bool,
    answered: bool,
    synced: Option<Position>,
    heard_ms: Option<u64>,
    strikes: u32,
    in_isr: bool,
}

struct Dumb {
    config: IsrConfig,
    /// Every end the leader ever had, and when.
    ends: Vec<(u64, Position)>,
    followers: BTreeMap<ReplicaId, DumbFollower>,
    high_watermark: u64,
    epoch_start: u64,
    entry_check_ms: u64,
}

impl Dumb {
    fn new(config: IsrConfig, epoch_start: u64, voters: &[ReplicaId]) -> Self {
        let mut dumb = Self {
            config,
            ends: vec![(0, Position::default())],
            followers: BTreeMap::new(),
            high_watermark: 0,
            epoch_start,
            entry_check_ms: 0,
        };
        dumb.voters(voters, 0);
        dumb.followers.values_mut().for_each(|f| f.in_isr = true);
        dumb
    }

    fn voters(&mut self, voters: &[ReplicaId], now: u64) {
        self.followers.retain(|id, _| voters.contains(id));
        for id in voters.iter().filter(|id| **id != ONE) {
            self.followers.entry(*id).or_insert(DumbFollower {
                since_ms: now,
                alive: true,
                answered: false,
                synced: None,
                heard_ms: None,
                strikes: 0,
                in_isr: false,
            });
        }
    }

    /// Since the first append it lacks; before its first answer, since it is known.
    fn lag_ms(&self, f: &DumbFollower, now: u64) -> u64 {
        let since = match f.synced {
            None => f.since_ms,
            Some(synced) => match self.ends.iter().find(|(_, end)| end.index > synced.index) {
                None => return 0,
                Some((ms, _)) => f.since_ms.max(*ms),
            },
        };
        now - since
    }

    fn lacks_too_many(&self, f: &DumbFollower, now: u64) -> bool {
        let (Some(then), Some(synced)) = (now.checked_sub(self.config.check_interval_ms), f.synced) else {
            return false;
        };
        // Several appends in the millisecond `then` all had happened by then.
        let end = self.ends.iter().rev().find(|(ms, _)| *ms <= then);
        end.is_some_and(|(_, end)| end.offset - synced.offset > self.config.max_lag_entries as i64)
    }

    fn synced(&mut self, id: ReplicaId, synced: Position, now: u64) {
        let Some(mut f) = self.followers.remove(&id) else { return };
        f.heard_ms = Some(now);
        if f.synced.is_none_or(|known| known.index < synced.index) {
            f.synced = Some(synced);
        }
        if f.alive {
            f.answered = true;
            let reached = f.synced.unwrap().index;
            if !f.in_isr
                && reached >= self.high_watermark
                && reached >= self.epoch_start
                && self.lag_ms(&f, now) <= self.config.max_lag_ms
                && !self.lacks_too_many(&f, now)
            {
                f.in_isr = true;
                f.strikes = 0;
            }
        }
        self.followers.insert(id, f);
    }

    fn check(&mut self, now: u64) {
        let counts = now - self.entry_check_ms >= self.config.check_interval_ms.div_ceil(2);
        if counts {
            self.entry_check_ms = now;
        }
        for id in self.followers.keys().copied().collect::<Vec<_>>() {
            let mut f = self.followers.remove(&id).unwrap();
            if counts {
                f.strikes = if self.lacks_too_many(&f, now) { f.strikes + 1 } else { 0 };
            }
            f.in_isr &= self.lag_ms(&f, now) <= self.config.max_lag_ms && f.strikes < 2;
            self.followers.insert(id, f);
        }
    }

    fn isr(&self) -> IsrSet {
        let members = self.followers.iter().filter(|(_, f)| f.in_isr).map(|(id, _)| *id);
        IsrSet::new(members.chain([ONE]))
    }

    fn position(&self, back: usize) -> Position {
        self.ends[self.ends.len().saturating_sub(back + 1)].1
    }
}

fn apply(step: &Step, now: u64, tracker: &mut IsrTracker, dumb: &mut Dumb) {
    match step {
        Step::Append { records } => {
            let end = dumb.position(0);
            let end = at(end.index + 1, end.offset + records);
            tracker.leader_appended(end, now);
            dumb.ends.push((now, end));
        }
        Step::Synced { replica, back } => {
            tracker.follower_synced(ReplicaId(*replica), dumb.position(*back), now);
            dumb.synced(ReplicaId(*replica), dumb.position(*back), now);
        }
        Step::Heard { replica } => {
            tracker.heard(ReplicaId(*replica), now);
            if let Some(f) = dumb.followers.get_mut(&ReplicaId(*replica)) {
                f.heard_ms = Some(now);
            }
        }
        Step::Alive { replica, alive } => {
            tracker.set_alive(ReplicaId(*replica), *alive, now);
            if let Some(f) = dumb.followers.get_mut(&ReplicaId(*replica)).filter(|f| f.alive != *alive) {
                f.alive = *alive;
                f.answered = false;
                f.in_isr &= *alive;
            }
        }
        Step::HighWatermark { back } => {
            let index = dumb.position(*back).index;
            tracker.high_watermark_moved(index);
            dumb.high_watermark = dumb.high_watermark.max(index);
        }
        Step::Voters { replicas } => {
            let voters: Vec<_> = replicas.iter().map(|id| ReplicaId(*id)).chain([ONE]).collect();
            tracker.set_voters(&voters, &voters, now);
            dumb.voters(&voters, now);
        }
        Step::Check => {
            tracker.check(now);
            dumb.check(now);
        }
    }
}

fn tracker_and_dumb(config: IsrConfig, epoch_start: u64) -> (IsrTracker, Dumb) {
    let start = Leadership {
        leader: ONE,
        voters: &ALL,
        last_known_isr: &ALL,
        alive: &ALL,
        end: Position::default(),
        epoch_start,
        high_watermark: 0,
    };
    (IsrTracker::initialize(config, start, 0), Dumb::new(config, epoch_start, &ALL))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// With a window of less than 200 ms each slot is one millisecond, and nothing is rounded.
    #[test]
    fn it_agrees_with_a_tracker_that_forgets_nothing(
        steps in prop::collection::vec(step(), 1..200),
        max_lag_ms in 20..60_u64,
        max_lag_entries in 0..60_u64,
        epoch_start in 0..3_u64,
    ) {
        let config = IsrConfig { max_lag_ms, max_lag_entries, check_interval_ms: 10, min_isr: 2 };
        let (mut tracker, mut dumb) = tracker_and_dumb(config, epoch_start);
        let mut now = 0;
        for (elapsed, step) in &steps {
            now += elapsed;
            apply(step, now, &mut tracker, &mut dumb);
            prop_assert_eq!(tracker.isr(), &dumb.isr(), "after {:?} at {}", step, now);
            let silent = dumb.followers.values().any(|f| f.in_isr && !f.answered);
            prop_assert!(!tracker.is_provisional() || silent);
            let end = dumb.position(0);
            for stats in tracker.stats(now) {
                let f = &dumb.followers[&stats.replica];
                let lag_ms = dumb.lag_ms(f, now);
                prop_assert!(stats.lag_ms == lag_ms || (lag_ms > max_lag_ms && stats.lag_ms > lag_ms), "{:?}", stats);
                prop_assert_eq!(stats.lag_entries, f.synced.map(|s| (end.offset - s.offset) as u64));
                prop_assert_eq!(stats.last_heartbeat_ms, f.heard_ms);
                prop_assert_eq!((stats.in_sync, stats.alive, stats.synced), (f.in_isr, f.alive, f.synced));
            }
        }
    }

    /// With wider slots the rounding keeps to its side: nobody too far behind stays, and whoever goes was within a slot of
    /// the limit in time, or truly over it in records.
    #[test]
    fn rounding_never_keeps_who_should_leave(steps in prop::collection::vec(step(), 1..400), max_lag_entries in 20..400_u64) {
        let config = IsrConfig { max_lag_ms: 500, max_lag_entries, check_interval_ms: 30, min_isr: 2 };
        let (mut tracker, mut dumb) = tracker_and_dumb(config, 0);
        let mut now = 0;
        for (elapsed, step) in &steps {
            now += elapsed;
            apply(step, now, &mut tracker, &mut dumb);
            for stats in tracker.stats(now) {
                let lag_ms = dumb.lag_ms(&dumb.followers[&stats.replica], now);
                prop_assert!(stats.lag_ms >= lag_ms, "{:?}, truly {}", stats, lag_ms);
                prop_assert!(stats.lag_ms < lag_ms + 5 || lag_ms > 500, "{:?}, truly {}", stats, lag_ms);
            }
        }
    }
}
