//! What status, condition and events say at the end of a round.

use std::collections::BTreeMap;

use chronik_core::metadata::Standing;
use chronik_core::restart::PermitId;
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::cluster::scale::plan::Observed;

/// Four brokers, of which three shall stay; what the others know of the fourth.
fn round(end: End, fourth: BrokerSeen) -> Round {
    let mut brokers: BTreeMap<u32, BrokerSeen> =
        (1..=3).map(|number| (number, BrokerSeen { replicas: 6, ..BrokerSeen::default() })).collect();
    brokers.insert(4, fourth);
    let seen = Observed { wanted: 3, size: 4, brokers: Some(brokers), ..Observed::default() };
    Round { seen, end, refusal: None, happenings: Vec::new() }
}

fn leaving(replicas: u32, blocked: Option<&str>) -> BrokerSeen {
    let blocked = blocked.map(str::to_owned);
    BrokerSeen { standing: Standing::Leaving, replicas, moving: 2, blocked, ..BrokerSeen::default() }
}

fn line(told: &Told) -> String {
    let Finding { status, reason, message, .. } = &told.finding;
    format!("{} {reason}: {message} [{}]", status.as_str(), told.status.summary)
}

fn after(told: &Told) -> BrokerClusterStatus {
    let now = Timestamp::from_second(1).unwrap();
    let conditions = conditions::merge(&[], std::slice::from_ref(&told.finding), 1, now);
    BrokerClusterStatus { scale: Some(told.status.clone()), conditions, ..BrokerClusterStatus::default() }
}

fn tell_first(round: &Round) -> Told {
    tell(round, &BrokerClusterStatus::default())
}

#[test]
fn each_end_has_its_reason() {
    let wait = |wait: Wait, fourth: BrokerSeen| line(&tell_first(&round(End::Waits(wait), fourth)));
    assert_eq!(
        wait(Wait::Draining(4), leaving(5, None)),
        "True Draining: broker 4 leaves: 5 replicas are left, of which 2 move now [4 to 3, 5 replicas left]"
    );
    assert_eq!(
        wait(Wait::Draining(4), leaving(0, None)),
        "True Draining: broker 4 leaves: its metadata vote is left [4 to 3]"
    );
    assert_eq!(
        wait(Wait::Stopping(4), leaving(0, None)),
        "True Removing: broker 4 stops: its pod is being deleted [4 to 3]"
    );
    assert_eq!(
        wait(Wait::OtherStop(2, PermitId(9)), leaving(0, None)),
        "True Blocked: the stop of broker 2 (permit 9) goes first: it is waited for [4 to 3, blocked]"
    );
    let mut done = round(End::Done, leaving(0, None));
    done.seen.brokers.as_mut().unwrap().remove(&4);
    done.seen.size = 3;
    assert_eq!(line(&tell_first(&done)), "False AtSize: there are 3 brokers, as spec.replicas says [AtSize]");
    done.end = End::Waits(Wait::Growing(3));
    done.seen.wanted = 5;
    assert_eq!(line(&tell_first(&done)), "True Growing: 3 of 5 brokers have registered [growing to 5]");
    done.end = End::Waits(Wait::Filling(3));
    assert_eq!(
        line(&tell_first(&done)),
        "True Rebalancing: broker 3 gets its share: it has 6 replicas so far [rebalancing]"
    );
}

#[test]
fn a_broker_that_cannot_leave_is_told_once_with_the_reason() {
    let why = "topic t has 4 replicas, and 3 brokers would be left";
    let round = round(End::Waits(Wait::Draining(4)), leaving(5, Some(why)));
    let told = tell_first(&round);
    assert!(told.is_blocked());
    assert_eq!(told.status.blocked_by.as_deref(), Some(format!("broker 4 cannot leave: {why}").as_str()));
    assert_eq!(
        (told.status.leaving, told.status.replicas_left, told.status.moving),
        (Some(4), Some(5), Some(2))
    );
    let reasons: Vec<&str> = told.happenings.iter().map(|happening| happening.reason.as_str()).collect();
    assert_eq!(reasons, ["ScaleDownBlocked"]);
    assert!(tell(&round, &after(&told)).happenings.is_empty());
}

#[test]
fn the_end_is_told_when_there_was_something_to_do() {
    let busy = tell_first(&round(End::Waits(Wait::Stopping(4)), leaving(0, None)));
    let done = round(End::Done, leaving(0, None));
    let reasons = |before: &BrokerClusterStatus| -> Vec<String> {
        tell(&done, before).happenings.into_iter().map(|happening| happening.reason).collect()
    };
    assert_eq!(reasons(&after(&busy)), ["ScaleDone"]);
    assert_eq!(reasons(&after(&tell_first(&done))), Vec::<String>::new());
}
