//! What status, condition and events say at the end of a round.

use chronik_core::restart::PermitId;
use chronik_core::view::BlockReport;
use k8s_openapi::jiff::Timestamp;

use super::*;
use chronik_core::rollout::{BrokersSeen, Observed};

/// Three pods, of which those of `outdated` run other settings; every broker is up.
fn round(end: End, outdated: &[u32]) -> Round {
    let pod = |broker: u32| PodSeen {
        broker: BrokerId(broker),
        name: format!("demo-broker-{broker}"),
        uid: format!("uid-{broker}"),
        hash: Some(if outdated.contains(&broker) { "before" } else { "now" }.to_owned()),
        ready: true,
        ready_since: None,
        deleting: false,
        since: None,
        asked: false,
        allow_unavailable: false,
    };
    let brokers = BrokersSeen {
        alive: [1, 2, 3].map(BrokerId).into(),
        metadata_leader: Some(BrokerId(1)),
        ..BrokersSeen::default()
    };
    let seen = Observed {
        desired: "now".to_owned(),
        pods: [1, 2, 3].map(pod).to_vec(),
        brokers: Some(brokers),
        permits: Some(Vec::new()),
        ..Observed::default()
    };
    Round { seen, end, refusals: Vec::new(), ignored: Vec::new(), happenings: Vec::new() }
}

fn begun(broker: u32) -> PermitReport {
    PermitReport {
        id: PermitId(7),
        broker: BrokerId(broker),
        pod_uid: "gone".to_owned(),
        reason: Reason::Rollout,
        stage: Stage::Begun,
    }
}

fn refusal(broker: u32, blocks: &[(&str, i32, &str)]) -> Refusal {
    let block = |&(topic, partition, why): &(&str, i32, &str)| BlockReport {
        topic: Some(topic.to_owned()),
        partition: Some(partition),
        why: why.to_owned(),
    };
    let message = format!("broker {broker} may not stop");
    Refusal {
        broker: BrokerId(broker),
        blocks: blocks.iter().map(block).collect(),
        blocked: blocks.len(),
        message,
    }
}

/// A status in which that was told.
fn after(told: &Told) -> BrokerClusterStatus {
    let conditions =
        conditions::merge(&[], std::slice::from_ref(&told.finding), 1, Timestamp::from_second(1).unwrap());
    BrokerClusterStatus { rollout: Some(told.status.clone()), conditions, ..BrokerClusterStatus::default() }
}

fn tell_first(round: &Round) -> Told {
    tell(round, &BrokerClusterStatus::default(), &[], 3)
}

fn line(told: &Told) -> String {
    let Finding { status, reason, message, .. } = &told.finding;
    format!("{} {reason}: {message} [{}]", status.as_str(), told.status.summary)
}

fn reasons(told: &Told) -> Vec<&str> {
    told.happenings.iter().map(|happening| happening.reason.as_str()).collect()
}

#[test]
fn each_end_has_its_reason() {
    let wait = |wait: Wait, outdated: &[u32]| line(&tell_first(&round(End::Waits(wait), outdated)));
    assert_eq!(
        line(&tell_first(&round(End::Done, &[]))),
        "False UpToDate: every pod runs the spec's settings [UpToDate]"
    );
    assert_eq!(
        wait(Wait::Paused, &[1, 2]),
        "False Paused: 2 pods are outdated, and spec.rollout.paused is set [2/3 outdated, paused]"
    );
    assert_eq!(
        wait(Wait::Stopping(BrokerId(2)), &[2, 3]),
        "True Restarting: broker 2 stops: its pod is being deleted [2/3 outdated, restarting]"
    );
    assert_eq!(
        wait(Wait::Returning(BrokerId(2), PermitId(7)), &[3]),
        "True WaitingForIsr: broker 2 is up again and not yet back in every ISR (permit 7) [1/3 outdated, waiting]"
    );
    assert_eq!(
        wait(Wait::OtherStop(BrokerId(3), PermitId(9), Reason::Eviction), &[1]),
        "True Blocked: broker 3 may stop for an eviction (permit 9): it goes first [1/3 outdated, blocked]"
    );
    assert_eq!(
        wait(Wait::NotUp(BrokerId(2)), &[1]),
        "True Restarting: broker 2 is back, and not yet seen as up and its pod as ready [1/3 outdated, restarting]"
    );
    assert_eq!(
        wait(Wait::Settling(BrokerId(2)), &[1]),
        "True WaitingForMinReady: broker 2 has to be ready for 0 s, which is spec.rollout.minReadySeconds, before the next \
         restarts [1/3 outdated, waiting]"
    );
    assert_eq!(
        wait(Wait::Approval(BrokerId(3)), &[1, 3]),
        "False AwaitingApproval: 2 pods are outdated, and spec.rollout.approval is Manual. The next is broker 3: kubectl \
         annotate pod demo-broker-3 chronik.dev/restart=true [2/3 outdated, awaiting approval]"
    );
    let mut partial = round(End::Waits(Wait::HeldBack), &[1]);
    partial.seen.options.from_broker = 2;
    assert_eq!(
        line(&tell_first(&partial)),
        "False HeldBack: 1 pods of brokers below 2 are outdated and stay so: spec.rollout.fromBroker is 2 [1/3 outdated, held \
         back]"
    );
    let failed = End::Failed("KubernetesApi", "delete pod demo-broker-2: forbidden".to_owned());
    assert_eq!(
        line(&tell_first(&round(failed, &[2]))),
        "True KubernetesApi: delete pod demo-broker-2: forbidden [1/3 outdated, waiting]"
    );
}

#[test]
fn a_broker_that_is_down_with_the_settings_blocks_unless_it_came_back_just_now() {
    let mut under_way = round(End::Waits(Wait::Returning(BrokerId(2), PermitId(7))), &[1]);
    under_way.seen.permits = Some(vec![begun(2)]);
    let before = after(&tell_first(&under_way));
    let mut down = round(End::Waits(Wait::NotUp(BrokerId(2))), &[1]);
    down.seen.brokers = Some(BrokersSeen::default());
    let at_its_end = tell(&down, &before, &[], 3);
    assert_eq!(
        (at_its_end.finding.reason.as_str(), reasons(&at_its_end)),
        ("Restarting", vec!["BrokerBack"])
    );
    let later = tell(&down, &after(&at_its_end), &[], 3);
    assert_eq!(
        line(&later),
        "True Blocked: broker 2 runs the spec's settings and is not up: no other follows it [1/3 outdated, blocked]"
    );
}

#[test]
fn silence_is_trouble_only_while_there_is_something_to_restart() {
    let silent = |outdated: &[u32]| Round {
        seen: Observed { permits: None, ..round(End::Done, outdated).seen },
        ..round(End::Waits(Wait::Permits), outdated)
    };
    assert_eq!(tell_first(&silent(&[])).finding.reason, "UpToDate");
    assert_eq!(tell_first(&silent(&[1])).finding.reason, "BrokersUnreachable");
    let mut under_way = round(End::Waits(Wait::Returning(BrokerId(2), PermitId(7))), &[]);
    under_way.seen.permits = Some(vec![begun(2)]);
    let before = after(&tell_first(&under_way));
    let told = tell(&silent(&[]), &before, &[], 3);
    assert_eq!(told.finding.reason, "BrokersUnreachable");
    assert_eq!(told.status.permits, before.rollout.unwrap().permits, "nobody said that it ended");
}

#[test]
fn a_refusal_names_partitions_and_the_others_and_is_an_event_once() {
    let mut blocked = round(End::Waits(Wait::Refused), &[1, 2, 3]);
    let why = "its leader's word is 1034 ms old; at most 1000 ms count";
    blocked.refusals = vec![refusal(2, &[("orders", 0, why)]), refusal(3, &[]), refusal(1, &[])];
    let told = tell_first(&blocked);
    assert_eq!(
        line(&told),
        format!(
            "True Blocked: broker 2 may not stop: orders/0: {why}. Neither may brokers 3, 1 [3/3 outdated, blocked]"
        )
    );
    assert!(told.is_blocked());
    assert_eq!(reasons(&told), ["RestartBlocked"]);

    let before = after(&told);
    let later = "its leader's word is 2001 ms old; at most 1000 ms count";
    blocked.refusals[0] = refusal(2, &[("orders", 0, later)]);
    let again = tell(&blocked, &before, &[], 3);
    assert_eq!((again.status, again.happenings.len()), (told.status, 0), "an age is no news");

    blocked.refusals[0] = refusal(2, &[("orders", 0, "its topic's restartPolicy is forbid")]);
    let other = tell(&blocked, &before, &[], 3);
    assert!(other.status.message.contains("forbid"), "{}", other.status.message);
    blocked.refusals[0] = refusal(2, &[("orders", 1, why)]);
    assert_eq!(reasons(&tell(&blocked, &before, &[], 3)), ["RestartBlocked"]);
}

#[test]
fn many_blocks_are_counted_and_ten_listed() {
    let mut blocked = round(End::Waits(Wait::Refused), &[2]);
    let many: Vec<(&str, i32, &str)> = (0..12).map(|partition| ("orders", partition, "no")).collect();
    blocked.refusals = vec![Refusal { blocked: 40, ..refusal(2, &many) }];
    let told = tell_first(&blocked);
    assert_eq!(told.status.blocked_by.len(), 10);
    let expected = "broker 2 may not stop: orders/0: no; orders/1: no; orders/2: no; and 37 more";
    assert_eq!(told.status.message, expected);
    let metadata = BlockReport { topic: None, partition: None, why: "no majority".to_owned() };
    blocked.refusals = vec![Refusal { blocks: vec![metadata], blocked: 1, ..refusal(2, &[]) }];
    assert_eq!(tell_first(&blocked).status.message, "broker 2 may not stop: metadata group: no majority");
}

#[test]
fn a_broker_is_back_when_its_permit_has_ended() {
    let mut under_way = round(End::Waits(Wait::Returning(BrokerId(2), PermitId(7))), &[3]);
    under_way.seen.permits = Some(vec![begun(2)]);
    let before = after(&tell_first(&under_way));
    assert!(tell(&under_way, &before, &[], 3).happenings.is_empty());
    let done = tell(&round(End::Done, &[]), &before, &[], 3);
    assert_eq!(reasons(&done), ["BrokerBack", "RolloutDone"]);
    assert_eq!(done.happenings[0].note, "broker 2 is back in every ISR: permit 7 has ended");
    assert!(tell(&round(End::Done, &[]), &after(&done), &[], 3).happenings.is_empty());
    assert_eq!(done.pace, None);
}

#[test]
fn an_annotation_that_is_not_followed_is_an_event_once() {
    let mut odd = round(End::Done, &[]);
    odd.ignored = vec!["pod demo-broker-2: it names another UID".to_owned()];
    let told = tell_first(&odd);
    assert_eq!(reasons(&told), ["AnnotationIgnored"]);
    assert!(tell(&odd, &after(&told), &[], 3).happenings.is_empty());
}

#[test]
fn a_broker_that_does_not_return_in_time_is_an_event_once() {
    let mut late = round(End::Waits(Wait::Overdue(BrokerId(2), PermitId(7))), &[1]);
    late.seen.permits = Some(vec![begun(2)]);
    late.seen.options.progress_deadline_seconds = 60;
    let told = tell_first(&late);
    assert_eq!(
        line(&told),
        "True DeadlineExceeded: broker 2 has not returned within 60 s, which is spec.rollout.progressDeadlineSeconds (permit \
         7): nothing else restarts until it is back [1/3 outdated, overdue]"
    );
    assert!(told.is_overdue());
    assert_eq!(reasons(&told), ["DeadlineExceeded"]);
    assert!(tell(&late, &after(&told), &[], 3).happenings.is_empty());
    late.seen.pods[1].deleting = true;
    let message = tell_first(&late).status.message;
    assert!(message.starts_with("the pod of broker 2 is still being deleted after 60 s"), "{message}");
}

#[test]
fn of_several_that_restart_each_is_told() {
    let mut under_way = round(End::Waits(Wait::Returning(BrokerId(2), PermitId(7))), &[]);
    let other = PermitReport { id: PermitId(8), ..begun(3) };
    under_way.seen.permits = Some(vec![begun(2), other.clone()]);
    let told = tell_first(&under_way);
    assert_eq!(told.status.permits.iter().map(|permit| permit.broker).collect::<Vec<_>>(), [2, 3]);
    under_way.seen.permits = Some(vec![other]);
    let back = tell(&under_way, &after(&told), &[], 3);
    assert_eq!(back.happenings[0].note, "broker 2 is back in every ISR: permit 7 has ended");
}
