//! Permits to stop as committed commands: whose life they are for, and that they are stored with everything else.

use super::*;
use crate::restart::{Leave, Permit, PermitId, Reason, Stage};

fn grant(cluster: &Cluster, judged: u64, id: u32) -> Command {
    let incarnation = cluster.0.broker(BrokerId(id)).unwrap().incarnation();
    let (broker, pod_uid, reason) = (BrokerId(id), format!("uid-{id}"), Reason::Rollout);
    let leave = Leave { broker, incarnation, pod_uid, reason, allow_unavailable: false };
    Command::ChangePermit(ChangePermit::Grant { judged, leave })
}

fn granted(cluster: &mut Cluster, id: u32) -> Permit {
    let command = grant(cluster, cluster.0.permits().version(), id);
    match cluster.must(command) {
        Applied::PermitChanged { permit, .. } => permit,
        other => panic!("{other:?}"),
    }
}

fn set(topic: u32, min_isr: Option<&str>) -> Command {
    let changes = BTreeMap::from([("min.insync.replicas".to_owned(), min_isr.map(str::to_owned))]);
    Command::AlterTopicConfigs(AlterTopicConfigs { topic: TopicRef::Id(topic_id(topic)), changes })
}

fn moved(topic: u32, target: &[u32]) -> Command {
    let target = Some(target.iter().map(|id| BrokerId(*id)).collect());
    let topic = TopicRef::Id(topic_id(topic));
    Command::AlterReassignment(AlterReassignment { topic, partition: 0, target })
}

#[test]
fn two_that_were_judged_on_one_state_never_both_get_leave() {
    let mut cluster = Cluster::of_three();
    let judged = cluster.0.permits().version();
    let (first, second) = (grant(&cluster, judged, 1), grant(&cluster, judged, 2));
    cluster.must(first.clone());
    let refusal = cluster.refused(second);
    assert_eq!((refusal.code, refusal.code.kafka_code()), (RefusalCode::PermitRefused, 42));
    let again = cluster.must(first);
    let Applied::PermitChanged { permit, version } = again else { panic!("{again:?}") };
    assert_eq!((permit.id, permit.stage, version), (PermitId(1), Stage::Granted, judged + 1));
}

#[test]
fn only_the_life_that_is_registered_gets_leave() {
    let mut cluster = Cluster::of_three();
    let judged = cluster.0.permits().version();
    let Command::ChangePermit(ChangePermit::Grant { leave, .. }) = grant(&cluster, judged, 1) else {
        unreachable!()
    };
    let mut later = leave.clone();
    later.incarnation.start += 1;
    let later = ChangePermit::Grant { judged, leave: later };
    assert_eq!(cluster.refused(Command::ChangePermit(later)).code, RefusalCode::StaleIncarnation);
    let nobody = ChangePermit::Grant { judged, leave: Leave { broker: BrokerId(9), ..leave } };
    assert_eq!(cluster.refused(Command::ChangePermit(nobody)).code, RefusalCode::UnknownBroker);
}

#[test]
fn open_permits_are_stored_and_end_with_their_broker() {
    let mut cluster = Cluster::of_three();
    granted(&mut cluster, 3);
    let stored = serde_json::to_vec(&cluster.0).unwrap();
    let read: ClusterState = serde_json::from_slice(&stored).unwrap();
    assert_eq!(read.permits(), cluster.0.permits());
    cluster.must(Command::UnregisterBroker(UnregisterBroker { broker: BrokerId(3) }));
    assert!(cluster.0.permits().holders().is_empty());
}

#[test]
fn a_broker_that_restarted_since_it_got_leave_may_not_begin_to_stop() {
    let mut cluster = Cluster::of_three();
    let permit = granted(&mut cluster, 2);
    let mut back = broker(2);
    back.incarnation_start += 1;
    cluster.must(Command::RegisterBroker(back));
    let begin = |permit: &Permit| {
        let (permit, pod_uid) = (permit.id, permit.pod_uid.clone());
        Command::ChangePermit(ChangePermit::Begin { permit, pod_uid })
    };
    assert_eq!(cluster.refused(begin(&permit)).code, RefusalCode::StaleIncarnation);
    let other = granted(&mut cluster, 1);
    cluster.must(begin(&other));
    let mut back = broker(1);
    back.incarnation_start += 1;
    cluster.must(Command::RegisterBroker(back));
    cluster.must(begin(&other));
}

#[test]
fn a_grant_is_refused_when_anything_that_it_was_judged_by_has_changed() {
    let mut cluster = Cluster::of_three();
    let mut back = broker(2);
    back.incarnation_start += 1;
    let added = NewPartitions::Placed { alive: BTreeSet::new() };
    let grown = CreatePartitions { topic: TopicRef::Id(topic_id(1)), count: 2, replicas: added };
    let deleted = DeleteTopic { topic: TopicRef::Id(topic_id(2)) };
    for changes in [
        Command::CreateTopic(create(1, "t", 1, 3)),
        Command::CreateTopic(create(2, "u", 1, 3)),
        Command::CreatePartitions(grown),
        set(1, Some("2")),
        moved(1, &[3, 2, 1]),
        Command::DeleteTopic(deleted),
        Command::RegisterBroker(back),
        Command::RegisterBroker(broker(4)),
        Command::UnregisterBroker(UnregisterBroker { broker: BrokerId(4) }),
    ] {
        let late = grant(&cluster, cluster.0.permits().version(), 1);
        cluster.must(changes.clone());
        assert_eq!(cluster.refused(late).code, RefusalCode::PermitRefused, "{changes:?}");
    }
}

#[test]
fn what_changes_nothing_refuses_no_grant() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(create(1, "t", 1, 3)));
    cluster.must(set(1, Some("2")));
    let judged = cluster.0.permits().version();
    cluster.must(set(1, Some("2")));
    cluster.must(Command::RegisterBroker(broker(2)));
    cluster.must(Command::AllocateProducerIds(AllocateProducerIds { broker: BrokerId(2) }));
    cluster.refused(set(7, Some("2")));
    assert_eq!(cluster.0.permits().version(), judged);
}

#[test]
fn nothing_takes_away_a_margin_while_a_permit_is_open() {
    let mut cluster = Cluster::of_three();
    cluster.must(Command::CreateTopic(create(1, "t", 1, 3)));
    cluster.must(set(1, Some("2")));
    let permit = granted(&mut cluster, 2);
    let raised = cluster.refused(set(1, Some("3")));
    assert_eq!((raised.code, raised.code.kafka_code()), (RefusalCode::PermitOpen, 7));
    assert_eq!(
        raised.to_string(),
        "config min.insync.replicas = 3 is not allowed: 2 or less while broker 2 holds permit 1 to stop: \
         try again when that is closed"
    );
    assert_eq!(cluster.refused(set(1, None)).code, RefusalCode::PermitOpen, "the default may be more");
    let fewer = cluster.refused(moved(1, &[1, 3]));
    assert_eq!(fewer.code, RefusalCode::PermitOpen);
    cluster.must(set(1, Some("1")));
    cluster.must(moved(1, &[3, 2, 1]));
    cluster.must(Command::ChangePermit(ChangePermit::TakeBack { permit: permit.id }));
    cluster.must(set(1, Some("3")));
    cluster.must(moved(1, &[1, 3]));
}
