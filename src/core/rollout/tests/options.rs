//! What `spec.rollout` makes of it: how far, how fast, with whose approval, how many at once.

use super::*;

#[test]
fn only_brokers_from_that_one_on_restart_because_of_their_settings() {
    let from = |broker: u32| move |seen: &mut Observed| seen.options.from_broker = broker;
    assert_eq!(step(from(1)), rollout(2), "all of them");
    assert_eq!(step(from(3)), rollout(3));
    let done = |seen: &mut Observed| {
        from(3)(seen);
        update(seen, &[3]);
    };
    assert_eq!(step(done), Step::Wait(Wait::HeldBack));
    let asked = |seen: &mut Observed| {
        done(seen);
        seen.pods[0].asked = true;
    };
    assert_eq!(step(asked), ask(1, Reason::Asked, false), "a person may ask for any");
    assert_eq!(
        with_permit(begun(1, "uid-1"), from(3)),
        begin(1, "uid-1"),
        "what has begun is brought to its end"
    );
    let not_begun = with_permit(granted(2, "uid-2"), from(3));
    assert_eq!(not_begun, Step::Wait(Wait::Lapsing(BrokerId(2), PermitId(7))));
}

#[test]
fn with_manual_approval_only_pods_that_a_person_names_restart() {
    let manual = |seen: &mut Observed| seen.options.needs_approval = true;
    assert_eq!(step(manual), Step::Wait(Wait::Approval(BrokerId(2))), "it says whose turn it is");
    let approved = |seen: &mut Observed| {
        manual(seen);
        seen.pods[0].asked = true;
    };
    assert_eq!(step(approved), rollout(1));
    let one_does_not_come_up = |seen: &mut Observed| {
        approved(seen);
        update(seen, &[2]);
        kill(seen, 2);
    };
    assert_eq!(step(one_does_not_come_up), Step::Wait(Wait::NotUp(BrokerId(2))), "approved is not forced");
    let done = |seen: &mut Observed| {
        manual(seen);
        update(seen, &[1, 2, 3]);
    };
    assert_eq!(step(done), Step::Done);
    let lower_ones_are_left = |seen: &mut Observed| {
        manual(seen);
        seen.options.from_broker = 3;
        update(seen, &[3]);
    };
    assert_eq!(step(lower_ones_are_left), Step::Wait(Wait::HeldBack), "no approval is of use");
}

#[test]
fn the_next_one_waits_until_each_pod_has_been_ready_for_long_enough() {
    let since = |broker: usize, seconds: Option<i64>| {
        move |seen: &mut Observed| {
            seen.options.min_ready_seconds = 30;
            update(seen, &[2]);
            seen.pods[broker - 1].ready_since = seconds.map(|seconds| NOW - seconds);
        }
    };
    let settling = |broker: u32| Step::Wait(Wait::Settling(BrokerId(broker)));
    assert_eq!(step(since(2, Some(29))), settling(2));
    assert_eq!(step(since(2, Some(30))), rollout(3));
    assert_eq!(step(since(2, None)), settling(2), "nobody says since when");
    assert_eq!(step(since(2, Some(-5))), settling(2), "another clock");
    assert_eq!(step(since(1, Some(29))), settling(1), "also when it is outdated again");
    let asked = |seen: &mut Observed| {
        since(2, Some(1))(seen);
        update(seen, &[1, 2, 3]);
        seen.pods[0].asked = true;
    };
    assert_eq!(step(asked), ask(1, Reason::Asked, false));
}

#[test]
fn a_broker_that_does_not_return_in_time_is_told_and_waited_for() {
    let since = |seconds: i64| {
        move |seen: &mut Observed| {
            seen.options.progress_deadline_seconds = 60;
            seen.options.max_unavailable = 2;
            update(seen, &[2]);
            kill(seen, 2);
            seen.pods[1].since = Some(NOW - seconds);
        }
    };
    let overdue = Step::Wait(Wait::Overdue(BrokerId(2), PermitId(7)));
    assert_eq!(with_permit(begun(2, "before"), since(61)), overdue, "and no other is put on top");
    assert_eq!(with_permit(begun(2, "before"), since(60)), rollout(3));
    let stopping = |seen: &mut Observed| {
        since(61)(seen);
        seen.pods[1].deleting = true;
    };
    assert_eq!(with_permit(begun(2, "uid-2"), stopping), overdue, "its node may have died");
    let corrected = |seen: &mut Observed| {
        since(61)(seen);
        seen.pods[1].hash = Some("broken".to_owned());
    };
    assert_eq!(with_permit(begun(2, "before"), corrected), begin(2, "before"), "a corrected spec goes on");
    assert_eq!(step(|seen| update(seen, &[2])), rollout(3), "it has returned");
}

/// Broker 2 restarts; it and what else is said.
fn two_at_once(change: impl FnOnce(&mut Observed)) -> Step {
    with_permit(begun(2, "before"), |seen| {
        seen.options.max_unavailable = 2;
        update(seen, &[2]);
        kill(seen, 2);
        change(seen);
    })
}

fn set_rack(seen: &mut Observed, broker: u32, rack: &str) {
    seen.brokers.as_mut().unwrap().racks.insert(BrokerId(broker), rack.to_owned());
}

#[test]
fn several_restart_at_once_where_that_is_allowed() {
    assert_eq!(two_at_once(|_| {}), rollout(3));
    assert_eq!(two_at_once(|seen| seen.options.max_unavailable = 1), returning(2));
    assert_eq!(two_at_once(|seen| seen.was_refused("uid-3")), rollout(1));
    assert_eq!(two_at_once(|seen| update(seen, &[1, 3])), returning(2), "no other has to");
    let both_refused = |seen: &mut Observed| {
        seen.was_refused("uid-3");
        seen.was_refused("uid-1");
    };
    assert_eq!(two_at_once(both_refused), returning(2));
    let outdated_again = |seen: &mut Observed| seen.pods[1].hash = Some("edited again".to_owned());
    assert_eq!(two_at_once(outdated_again), begin(2, "before"), "under the permit that it has");
    let granted_besides = |seen: &mut Observed| {
        seen.granted(PermitReport { id: PermitId(8), ..granted(3, "uid-3") });
    };
    let begins = Step::Begin { permit: PermitId(8), broker: BrokerId(3), pod_uid: "uid-3".to_owned() };
    assert_eq!(two_at_once(granted_besides), begins);
    let one_only = |seen: &mut Observed| {
        granted_besides(seen);
        seen.options.max_unavailable = 1;
    };
    assert_eq!(two_at_once(one_only), returning(2), "the other permit lapses");
}

#[test]
fn a_broker_that_is_away_for_another_reason_counts() {
    let third = |seen: &mut Observed| {
        kill(seen, 3);
        update(seen, &[3]);
    };
    assert_eq!(two_at_once(third), returning(2), "it is up to date and down");
    let unready = |seen: &mut Observed| seen.pods[2].ready = false;
    assert_eq!(two_at_once(unready), rollout(3), "it is the one that is away");
    let refused = |seen: &mut Observed| {
        unready(seen);
        seen.was_refused("uid-3");
    };
    assert_eq!(two_at_once(refused), returning(2), "a third would be away");
}

#[test]
fn those_that_restart_at_once_are_of_one_rack() {
    let racks = |racks: [&'static str; 3]| {
        move |seen: &mut Observed| {
            (1..)
                .zip(racks)
                .filter(|(_, rack)| !rack.is_empty())
                .for_each(|(id, rack)| set_rack(seen, id, rack));
        }
    };
    assert_eq!(two_at_once(racks(["a", "a", "b"])), rollout(1));
    assert_eq!(two_at_once(racks(["b", "a", "a"])), rollout(3));
    assert_eq!(two_at_once(racks(["b", "a", "c"])), returning(2));
    assert_eq!(two_at_once(racks(["", "a", ""])), returning(2), "no rack is another rack");
}
