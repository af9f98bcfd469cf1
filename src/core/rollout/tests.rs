//! The next step in each situation. A situation is three brokers with outdated pods, all well, and one change to that.

use super::*;
use crate::restart::PermitId;

/// Some time.
const NOW: i64 = 1_000_000;

fn pod(broker: u32) -> PodSeen {
    PodSeen {
        broker: BrokerId(broker),
        name: format!("demo-broker-{broker}"),
        uid: format!("uid-{broker}"),
        hash: Some("before".to_owned()),
        ready: true,
        ready_since: Some(NOW - 100),
        deleting: false,
        since: Some(NOW - 110),
        asked: false,
        allow_unavailable: false,
    }
}

/// Broker 1 leads the metadata group.
fn outdated() -> Observed {
    Observed {
        desired: "now".to_owned(),
        now: NOW,
        template_taken: true,
        pods: [1, 2, 3].map(pod).to_vec(),
        brokers: Some(BrokersSeen {
            alive: [1, 2, 3].map(BrokerId).into(),
            metadata_leader: Some(BrokerId(1)),
            ..BrokersSeen::default()
        }),
        permits: Some(Vec::new()),
        ..Observed::default()
    }
}

fn permit(broker: u32, pod_uid: &str, reason: Reason, stage: Stage) -> PermitReport {
    PermitReport { id: PermitId(7), broker: BrokerId(broker), pod_uid: pod_uid.to_owned(), reason, stage }
}

fn step(change: impl FnOnce(&mut Observed)) -> Step {
    let mut seen = outdated();
    change(&mut seen);
    next(&seen)
}

fn with_permit(permit: PermitReport, change: impl FnOnce(&mut Observed)) -> Step {
    step(|seen| {
        seen.permits = Some(vec![permit]);
        change(seen);
    })
}

fn begun(broker: u32, pod_uid: &str) -> PermitReport {
    permit(broker, pod_uid, Reason::Rollout, Stage::Begun)
}

fn granted(broker: u32, pod_uid: &str) -> PermitReport {
    permit(broker, pod_uid, Reason::Rollout, Stage::Granted)
}

fn update(seen: &mut Observed, brokers: &[u32]) {
    let updated = seen.pods.iter_mut().filter(|pod| brokers.contains(&pod.broker.0));
    updated.for_each(|pod| pod.hash = Some("now".to_owned()));
}

fn kill(seen: &mut Observed, broker: u32) {
    seen.brokers.as_mut().unwrap().alive.remove(&BrokerId(broker));
    seen.pods[broker as usize - 1].ready = false;
}

fn ask(broker: u32, reason: Reason, allow_unavailable: bool) -> Step {
    Step::Ask { broker: BrokerId(broker), pod_uid: format!("uid-{broker}"), reason, allow_unavailable }
}

fn rollout(broker: u32) -> Step {
    ask(broker, Reason::Rollout, false)
}

fn begin(broker: u32, pod_uid: &str) -> Step {
    Step::Begin { permit: PermitId(7), broker: BrokerId(broker), pod_uid: pod_uid.to_owned() }
}

fn delete(broker: u32, pod_uid: &str) -> Step {
    let pod = format!("demo-broker-{broker}");
    Step::Delete { permit: PermitId(7), broker: BrokerId(broker), pod, pod_uid: pod_uid.to_owned() }
}

fn returning(broker: u32) -> Step {
    Step::Wait(Wait::Returning(BrokerId(broker), PermitId(7)))
}

#[test]
fn who_is_asked_for() {
    assert_eq!(step(|_| {}), rollout(2), "the metadata leader is the last");
    assert_eq!(step(|seen| update(seen, &[2])), rollout(3));
    assert_eq!(step(|seen| update(seen, &[2, 3])), rollout(1));
    assert_eq!(step(|seen| update(seen, &[1, 2, 3])), Step::Done);
    assert_eq!(step(|seen| kill(seen, 3)), rollout(3), "who is down costs nothing");
    assert_eq!(step(|seen| kill(seen, 1)), rollout(1), "also when it led");
    assert_eq!(step(|seen| seen.pods[1].hash = None), rollout(2), "no hash is another hash");
}

#[test]
fn the_order_is_that_in_which_they_are_asked_for() {
    let mut seen = outdated();
    kill(&mut seen, 3);
    update(&mut seen, &[2]);
    seen.pods[1].asked = true;
    let expected = [(3, Reason::Rollout), (2, Reason::Asked), (1, Reason::Rollout)];
    assert_eq!(order(&seen), Some(expected.map(|(id, reason)| (BrokerId(id), reason)).to_vec()));
    for (id, reason) in expected {
        assert_eq!(next(&seen), ask(id, reason, false));
        seen.was_refused(&format!("uid-{id}"));
    }
    seen.brokers = None;
    assert_eq!(order(&seen), None);
}

#[test]
fn who_is_refused_does_not_hold_the_others() {
    assert_eq!(step(|seen| seen.was_refused("uid-2")), rollout(3));
    let all = step(|seen| ["uid-1", "uid-2", "uid-3"].iter().for_each(|uid| seen.was_refused(uid)));
    assert_eq!(all, Step::Wait(Wait::Refused));
}

#[test]
fn a_person_asks_for_one_pod() {
    let asked = |seen: &mut Observed| {
        update(seen, &[1, 2, 3]);
        seen.pods[0].asked = true;
    };
    assert_eq!(step(asked), ask(1, Reason::Asked, false));
    let paused = |seen: &mut Observed| {
        seen.pods[2].asked = true;
        seen.paused = true;
    };
    assert_eq!(step(paused), ask(3, Reason::Asked, false), "a pause is about settings");
    assert_eq!(step(|seen| seen.paused = true), Step::Wait(Wait::Paused));
    assert_eq!(step(|seen| seen.pods[1].allow_unavailable = true), ask(2, Reason::Rollout, true));
    let only_allowed = |seen: &mut Observed| {
        update(seen, &[1, 2, 3]);
        seen.pods[1].allow_unavailable = true;
    };
    assert_eq!(step(only_allowed), Step::Done, "what would be borne is not what is wanted");
}

#[test]
fn a_broker_that_does_not_come_up_with_the_settings_stops_the_rest() {
    let one_down = |seen: &mut Observed| {
        update(seen, &[2]);
        kill(seen, 2);
    };
    let not_up = Step::Wait(Wait::NotUp(BrokerId(2)));
    assert_eq!(step(one_down), not_up);
    let unready = |seen: &mut Observed| {
        update(seen, &[2]);
        seen.pods[1].ready = false;
    };
    assert_eq!(step(unready), not_up);
    let and_another = |seen: &mut Observed| {
        one_down(seen);
        kill(seen, 3);
    };
    assert_eq!(step(and_another), rollout(3), "it is down already");
    let borne = |seen: &mut Observed| {
        one_down(seen);
        seen.pods[0].allow_unavailable = true;
    };
    assert_eq!(step(borne), ask(1, Reason::Rollout, true));
}

#[test]
fn what_is_not_known_is_waited_for() {
    assert_eq!(step(|seen| seen.brokers = None), Step::Wait(Wait::Report));
    assert_eq!(step(|seen| seen.permits = None), Step::Wait(Wait::Permits));
    assert_eq!(step(|seen| seen.template_taken = false), Step::Wait(Wait::Template));
    assert_eq!(step(|seen| seen.pods[2].deleting = true), Step::Wait(Wait::Stopping(BrokerId(3))));
    for permit in [granted(2, "uid-2"), begun(2, "uid-2")] {
        let untaken = with_permit(permit, |seen| seen.template_taken = false);
        assert_eq!(untaken, Step::Wait(Wait::Template));
    }
}

#[test]
fn a_permit_is_begun_and_its_pod_deleted() {
    assert_eq!(with_permit(granted(2, "uid-2"), |_| {}), begin(2, "uid-2"));
    let just_begun = |seen: &mut Observed| seen.begun(PermitId(7));
    assert_eq!(with_permit(granted(2, "uid-2"), just_begun), delete(2, "uid-2"));
    let deleted = |seen: &mut Observed| seen.deleted("uid-2");
    assert_eq!(with_permit(begun(2, "uid-2"), deleted), Step::Wait(Wait::Stopping(BrokerId(2))));
    let gone = |seen: &mut Observed| drop(seen.pods.remove(1));
    assert_eq!(with_permit(begun(2, "uid-2"), gone), returning(2));
    assert_eq!(with_permit(begun(2, "before"), |seen| update(seen, &[2])), returning(2));
}

#[test]
fn a_pod_whose_operator_died_after_it_began_is_deleted() {
    assert_eq!(with_permit(begun(2, "uid-2"), |_| {}), begin(2, "uid-2"), "is it begun still?");
    let reverted_and_paused = |seen: &mut Observed| {
        update(seen, &[1, 2, 3]);
        seen.paused = true;
        seen.begun(PermitId(7));
    };
    assert_eq!(with_permit(begun(2, "uid-2"), reverted_and_paused), delete(2, "uid-2"));
}

#[test]
fn a_broken_pod_is_replaced_under_the_same_permit_once_the_spec_is_corrected() {
    let broken = |seen: &mut Observed| kill(seen, 2);
    assert_eq!(with_permit(begun(2, "before"), broken), begin(2, "before"));
    let confirmed = |seen: &mut Observed| {
        kill(seen, 2);
        seen.begun(PermitId(7));
    };
    assert_eq!(with_permit(begun(2, "before"), confirmed), delete(2, "uid-2"));
    assert_eq!(with_permit(begun(2, "before"), |_| {}), returning(2), "it is up: it may be back soon");
    let not_ready = |seen: &mut Observed| seen.pods[1].ready = false;
    assert_eq!(with_permit(begun(2, "before"), not_ready), returning(2), "so it is while it catches up");
    let not_corrected = |seen: &mut Observed| {
        update(seen, &[2]);
        kill(seen, 2);
    };
    assert_eq!(with_permit(begun(2, "before"), not_corrected), returning(2));
}

#[test]
fn so_is_one_that_came_after_an_evicted_pod() {
    for (reason, deletes) in [(Reason::Eviction, true), (Reason::Deleted, true), (Reason::ScaleDown, false)] {
        let evicted = |pod_uid: &str| permit(2, pod_uid, reason, Stage::Begun);
        let other = Step::Wait(Wait::OtherStop(BrokerId(2), PermitId(7), reason));
        let broken = |seen: &mut Observed| kill(seen, 2);
        let expected = if deletes { begin(2, "before") } else { other.clone() };
        assert_eq!(with_permit(evicted("before"), broken), expected);
        assert_eq!(with_permit(evicted("before"), |_| {}), other, "it is up");
        assert_eq!(with_permit(evicted("uid-2"), broken), other, "the evicted pod itself is somebody else's");
    }
}

#[test]
fn a_permit_that_is_of_no_use_is_waited_for() {
    for reason in [Reason::Eviction, Reason::Deleted, Reason::ScaleDown] {
        let other = Step::Wait(Wait::OtherStop(BrokerId(3), PermitId(7), reason));
        for stage in [Stage::Granted, Stage::Begun] {
            let permit = permit(3, "uid-3", reason, stage);
            assert_eq!(with_permit(permit.clone(), |_| {}), other);
            assert_eq!(with_permit(permit, |seen| update(seen, &[1, 2, 3])), Step::Done);
        }
    }
    let lapsing = Step::Wait(Wait::Lapsing(BrokerId(2), PermitId(7)));
    let paused = |seen: &mut Observed| {
        seen.pods[0].asked = true;
        seen.paused = true;
    };
    assert_eq!(with_permit(granted(2, "uid-2"), paused), lapsing);
    assert_eq!(with_permit(granted(2, "uid-2"), |seen| update(seen, &[2])), lapsing);
    assert_eq!(with_permit(granted(2, "another"), |_| {}), lapsing);
    assert_eq!(with_permit(granted(2, "uid-2"), |seen| seen.deleted("uid-2")), lapsing);
}

#[test]
fn a_permit_of_somebody_else_is_begun_once_its_pod_is_being_deleted() {
    for reason in [Reason::Eviction, Reason::Deleted] {
        let eviction = permit(3, "uid-3", reason, Stage::Granted);
        let deleted = |seen: &mut Observed| seen.deleted("uid-3");
        assert_eq!(with_permit(eviction.clone(), deleted), begin(3, "uid-3"));
        let nothing_to_do = |seen: &mut Observed| {
            deleted(seen);
            update(seen, &[1, 2, 3]);
            seen.paused = true;
            seen.brokers = None;
        };
        assert_eq!(with_permit(eviction.clone(), nothing_to_do), begin(3, "uid-3"), "whatever else is known");
        let begun = |seen: &mut Observed| {
            deleted(seen);
            seen.begun(PermitId(7));
        };
        let other = Step::Wait(Wait::OtherStop(BrokerId(3), PermitId(7), reason));
        assert_eq!(with_permit(eviction.clone(), begun), other, "the pod is deleted by who evicts it");
        let another_pod = |seen: &mut Observed| seen.deleted("uid-2");
        assert_eq!(with_permit(eviction, another_pod), other, "the eviction may be refused yet");
    }
}

#[test]
fn nothing_begins_while_somebody_else_may_stop_and_what_has_begun_goes_on() {
    let eviction = PermitReport { id: PermitId(8), ..permit(3, "uid-3", Reason::Eviction, Stage::Begun) };
    let two = |first: PermitReport| {
        let eviction = eviction.clone();
        step(|seen| seen.permits = Some(vec![first, eviction]))
    };
    let other = Step::Wait(Wait::OtherStop(BrokerId(3), PermitId(8), Reason::Eviction));
    assert_eq!(two(granted(2, "uid-2")), other);
    assert_eq!(two(begun(2, "uid-2")), begin(2, "uid-2"), "the brokers granted it beside the other");
}

mod options;
