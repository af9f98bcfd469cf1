//! Journals are bounded, survive their text, and are decided again: also those that were recorded from running clusters.

use super::*;
use crate::restart::{PermitId, Reason, Stage};
use crate::rollout::{BrokersSeen, PodSeen, Wait};

/// Three brokers, of which 2 and 3 run older settings.
fn outdated() -> Observed {
    let pod = |broker: u32| PodSeen {
        broker: BrokerId(broker),
        name: format!("demo-broker-{broker}"),
        uid: format!("uid-{broker}"),
        hash: Some(if broker == 1 { "now" } else { "before" }.to_owned()),
        ready: true,
        ready_since: Some(10),
        deleting: false,
        since: Some(5),
        asked: false,
        allow_unavailable: false,
    };
    Observed {
        desired: "now".to_owned(),
        now: 100,
        template_taken: true,
        pods: [1, 2, 3].map(pod).to_vec(),
        brokers: Some(BrokersSeen { alive: [1, 2, 3].map(BrokerId).into(), ..BrokersSeen::default() }),
        permits: Some(Vec::new()),
        ..Observed::default()
    }
}

fn block(topic: &str, why: &str) -> BlockReport {
    BlockReport { topic: Some(topic.to_owned()), partition: Some(0), why: why.to_owned() }
}

fn refused(topic: &str, why: &str) -> Outcome {
    Outcome::Refused { blocks: vec![block(topic, why)], blocked: 1, message: why.to_owned() }
}

/// Broker 2 is refused, broker 3 restarts.
fn round() -> Round {
    let permit = PermitReport {
        id: PermitId(7),
        broker: BrokerId(3),
        pod_uid: "uid-3".to_owned(),
        reason: Reason::Rollout,
        stage: Stage::Granted,
    };
    let granted = Outcome::Granted { permit, borne: Vec::new() };
    made(vec![refused("orders", "no"), granted, Outcome::Begun, Outcome::Deleted])
}

fn made(outcomes: Vec<Outcome>) -> Round {
    let mut seen = outdated();
    let mut steps = Vec::new();
    for outcome in outcomes.into_iter().map(Some).chain([None]) {
        let step = next(&seen);
        outcome.iter().for_each(|outcome| seen.learn(&step, outcome));
        steps.push(Taken { step, outcome });
    }
    Round { version: VERSION, seen: outdated(), said: Said::default(), steps }
}

#[test]
fn a_round_is_decided_again_from_its_text() {
    let round = round();
    assert_eq!(round.steps[4].step, Step::Wait(Wait::Stopping(BrokerId(3))), "it went all the way");
    let mut journal = Journal::default();
    journal.add(&round);
    let read = Journal::read(&journal.text()).unwrap();
    assert_eq!(read, std::slice::from_ref(&round));
    assert_eq!(read[0].replay(), Ok(()));
    let mut other = round;
    other.seen.paused = true;
    let differs = other.replay().unwrap_err();
    assert_eq!((differs.at, &differs.decided), (0, &Step::Wait(Wait::Paused)));
}

#[test]
fn the_same_decisions_and_obstacles_are_no_news() {
    let first = made(vec![refused("orders", "12 ms old")]);
    let mut later = made(vec![refused("orders", "13 ms old")]);
    later.seen.now += 7;
    assert!(first.decided_as(&later));
    assert!(!first.decided_as(&made(vec![refused("other", "12 ms old")])));
    assert!(!first.decided_as(&made(vec![])));
    let failed = Outcome::Failed { reason: "Retrying".to_owned(), message: String::new() };
    assert!(!first.decided_as(&made(vec![failed])));
}

#[test]
fn the_oldest_rounds_make_room() {
    let mut journal = Journal::default();
    let decisions = || round().steps.len();
    for at in 0..50 {
        let mut round = round();
        round.seen.now = at;
        journal.add(&round);
    }
    let kept = Journal::read(&journal.text()).unwrap();
    assert_eq!(kept.len(), DECISIONS_MAX / decisions());
    assert_eq!(kept.last().unwrap().seen.now, 49);

    let mut large = round();
    large.seen.desired = "x".repeat(BYTES_MAX / 2);
    (0..3).for_each(|_| journal.add(&large));
    assert_eq!(Journal::read(&journal.text()).unwrap().len(), 1);
    large.seen.desired = "x".repeat(BYTES_MAX);
    journal.add(&large);
    assert_eq!(Journal::read(&journal.text()).unwrap(), [large], "the newest is kept whatever its size");
}

#[test]
fn a_text_that_is_no_journal_is_refused_by_its_line() {
    let mut journal = Journal::default();
    journal.add(&round());
    let text = |second: &str| format!("{}{second}\n", journal.text());
    assert!(
        Journal::read(&text("{}")).unwrap_err().to_string().starts_with("line 2: missing field `version`")
    );
    let newer = Journal::read(&text("{\"version\": 2}")).unwrap_err().to_string();
    assert_eq!(newer, "line 2: version = 2 is not allowed: 1");
}

/// From the operator's test on Kubernetes: three brokers, blocked at first, one by one, one more because a person asks. And from
/// five real brokers: blocked, one by one, two at once, then one that a person approves. And from three real ones: a topic forbids
/// it, the spec is edited twice in the middle, an image is not there, the deadline passes, the spec is corrected.
#[test]
fn recorded_journals_are_decided_again() {
    let of_test = include_str!("../testdata/operator-test.jsonl");
    let of_five = include_str!("../testdata/five-brokers.jsonl");
    let edited = include_str!("../testdata/edited-mid-roll.jsonl");
    assert_eq!(restarts_decided_again(of_test), [1, 3, 2, 3]);
    assert_eq!(restarts_decided_again(of_five), [1, 3, 4, 5, 2, 1, 2, 3, 4, 5, 5]);
    assert_eq!(restarts_decided_again(edited), [2, 2, 2, 3, 1, 1, 1]);
}

/// The brokers whose pods were deleted.
fn restarts_decided_again(journal: &str) -> Vec<u32> {
    let rounds = Journal::read(journal).unwrap();
    rounds.iter().for_each(|round| assert_eq!(round.replay(), Ok(())));
    let deleted = |taken: &Taken| match &taken.step {
        Step::Delete { broker, .. } if taken.outcome == Some(Outcome::Deleted) => Some(broker.0),
        _ => None,
    };
    rounds.iter().flat_map(|round| &round.steps).filter_map(deleted).collect()
}
