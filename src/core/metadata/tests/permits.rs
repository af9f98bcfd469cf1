//! Permits to stop as committed commands: whose life they are for, and that they are stored with everything else.

use super::*;
use crate::restart::{PermitId, Reason, Stage};

fn grant(cluster: &Cluster, judged: u64, id: u32) -> Command {
    let incarnation = cluster.0.broker(BrokerId(id)).unwrap().incarnation();
    let (broker, pod_uid, reason) = (BrokerId(id), format!("uid-{id}"), Reason::Rollout);
    Command::ChangePermit(ChangePermit::Grant { judged, broker, incarnation, pod_uid, reason })
}

#[test]
fn two_that_were_judged_on_one_state_never_both_get_leave() {
    let mut cluster = Cluster::of_three();
    let (first, second) = (grant(&cluster, 0, 1), grant(&cluster, 0, 2));
    cluster.must(first.clone());
    let refusal = cluster.refused(second);
    assert_eq!((refusal.code, refusal.code.kafka_code()), (RefusalCode::PermitRefused, 42));
    let again = cluster.must(first);
    let Applied::PermitChanged { permit, version } = again else { panic!("{again:?}") };
    assert_eq!((permit.id, permit.stage, version), (PermitId(1), Stage::Granted, 1));
}

#[test]
fn only_the_life_that_is_registered_gets_leave() {
    let mut cluster = Cluster::of_three();
    let Command::ChangePermit(ChangePermit::Grant { judged, broker, mut incarnation, pod_uid, reason }) =
        grant(&cluster, 0, 1)
    else {
        unreachable!()
    };
    incarnation.start += 1;
    let later = ChangePermit::Grant { judged, broker, incarnation, pod_uid: pod_uid.clone(), reason };
    assert_eq!(cluster.refused(Command::ChangePermit(later)).code, RefusalCode::StaleIncarnation);
    let nobody = ChangePermit::Grant { judged, broker: BrokerId(9), incarnation, pod_uid, reason };
    assert_eq!(cluster.refused(Command::ChangePermit(nobody)).code, RefusalCode::UnknownBroker);
}

#[test]
fn open_permits_are_stored_and_end_with_their_broker() {
    let mut cluster = Cluster::of_three();
    let granted = grant(&cluster, 0, 3);
    cluster.must(granted);
    let stored = serde_json::to_vec(&cluster.0).unwrap();
    let read: ClusterState = serde_json::from_slice(&stored).unwrap();
    assert_eq!(read.permits(), cluster.0.permits());
    cluster.must(Command::UnregisterBroker(UnregisterBroker { broker: BrokerId(3) }));
    assert!(cluster.0.permits().holders().is_empty());
    assert_eq!(cluster.0.permits().version(), 2);
}
