//! What ends a permit, and that no two are given on one state.

use super::*;
use crate::ids::DiskId;
use uuid::Uuid;

fn life(start: u64) -> Incarnation {
    Incarnation { disk: DiskId(Uuid::nil()), start }
}

fn leave(broker: u32, start: u64, pod_uid: &str) -> Leave {
    let (broker, incarnation, pod_uid) = (BrokerId(broker), life(start), pod_uid.to_owned());
    Leave { broker, incarnation, pod_uid, reason: Reason::Rollout, allow_unavailable: false }
}

fn granted() -> (Permits, PermitId) {
    let mut permits = Permits::default();
    let id = permits.grant(0, &leave(1, 4, "uid-1")).unwrap().id;
    (permits, id)
}

#[test]
fn of_two_that_were_judged_on_one_state_the_second_is_refused() {
    let (mut permits, _) = granted();
    let second = permits.grant(0, &leave(2, 1, "uid-2"));
    assert_eq!(
        second.unwrap_err().to_string(),
        "judged with version 0 of the permits, which are at 1: judge again"
    );
    let judged = permits.version();
    permits.grant(judged, &leave(2, 1, "uid-2")).unwrap();
    assert_eq!(permits.holders(), [BrokerId(1), BrokerId(2)].into());
    let again = permits.grant(0, &leave(2, 1, "uid-2"));
    assert_eq!(again.unwrap().id, PermitId(2), "its answer was lost");
    let other = permits.grant(permits.version(), &leave(2, 1, "uid-3"));
    assert_eq!(other, Err(PermitError::Open(BrokerId(2))));
}

#[test]
fn what_was_judged_before_something_changed_is_refused() {
    let mut permits = Permits::default();
    let judged = permits.version();
    permits.touch();
    let late = permits.grant(judged, &leave(1, 4, "uid-1"));
    assert_eq!(late, Err(PermitError::Moved { judged, now: judged + 1 }));
}

#[test]
fn one_that_was_not_used_ends_by_itself_and_one_that_has_begun_only_with_the_return() {
    let (mut unused, id) = granted();
    assert_eq!(unused.take_back(id).unwrap().broker, BrokerId(1));
    assert_eq!(unused.take_back(id), Err(PermitError::Unknown(id)));
    let (mut permits, id) = granted();
    permits.begin(id, "uid-1").unwrap();
    let version = permits.version();
    permits.begin(id, "uid-1").unwrap();
    assert_eq!(permits.version(), version, "said twice");
    assert_eq!(
        permits.take_back(id).unwrap_err().to_string(),
        "permit 1 has begun: it ends when broker 1 is back"
    );
    for before in [life(4), life(3)] {
        assert!(matches!(permits.close(id, before), Err(PermitError::SameLife { .. })), "{before}");
    }
    permits.close(id, life(5)).unwrap();
    assert_eq!(permits.open().count(), 0);
}

#[test]
fn a_pod_that_was_not_deleted_gives_its_permit_back_and_another_pod_cannot_use_it() {
    let (mut permits, id) = granted();
    assert_eq!(
        permits.begin(id, "uid-9").unwrap_err().to_string(),
        "permit 1 is for pod uid-1, not for uid-9"
    );
    permits.begin(id, "uid-1").unwrap();
    assert!(matches!(permits.abort(id, "uid-9"), Err(PermitError::OtherPod { .. })));
    permits.abort(id, "uid-1").unwrap();
    assert!(permits.holders().is_empty());
}

#[test]
fn a_disk_that_took_the_place_of_the_lost_one_is_a_return() {
    let (mut permits, id) = granted();
    permits.begin(id, "uid-1").unwrap();
    permits.close(id, Incarnation { disk: DiskId(Uuid::from_u128(7)), start: 1 }).unwrap();
}
