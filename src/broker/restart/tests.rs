//! A broker without a leader, and one that passes requests on: whoever asks hears what came of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use chronik_core::ids::DiskId;
use chronik_core::metadata::{ChangePermit, Command};
use chronik_core::restart::{Leave, Reason};
use futures::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

use super::*;
use crate::handlers::tests::memory::broker;
use crate::replica::{EngineCounts, Liveness, Partitions, Views, channel};

/// Another broker that leads, or says that it does not.
struct Other {
    leads: bool,
    asked: AtomicUsize,
}

impl Ask for Other {
    fn ask(
        &self,
        broker: BrokerId,
        payload: Bytes,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        assert_eq!(broker, BrokerId(2));
        self.asked.fetch_add(1, Ordering::Relaxed);
        let order = Asked::decode(payload.strip_prefix(RESTART).unwrap()).unwrap();
        let Asked::Order(Order::Grant(body)) = order else { panic!("{order:?}") };
        let told = match self.leads {
            true => Told::Done(Box::new(Err(refusal::unknown_broker(body.broker)))),
            false => Told::NotLeader,
        };
        Box::pin(async move { Ok(words::encode(&told)) })
    }
}

/// Others that hear that all stop.
#[derive(Default)]
struct Hearing(parking_lot::Mutex<BTreeSet<BrokerId>>);

impl Ask for Hearing {
    fn ask(
        &self,
        broker: BrokerId,
        payload: Bytes,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        assert_eq!(payload, Asked::AllStop.encode());
        self.0.lock().insert(broker);
        Box::pin(async { Ok(Bytes::new()) })
    }
}

fn restarts(leader: Option<u32>, other: Arc<impl Ask>) -> Restarts {
    let own = BrokerId(1);
    let shared = Shared {
        cluster: watch::Sender::new(Arc::new(ClusterState::new("test".parse().unwrap()))),
        partitions: Arc::new(Partitions::default()),
        views: Arc::new(Views::default()),
        liveness: Arc::new(Liveness::new(own, DiskId(Uuid::from_u128(1)))),
        metadata_leader: watch::Sender::new(leader.map(BrokerId)),
        log_stopped: Arc::default(),
        counts: Arc::new(EngineCounts::default()),
        formed: watch::Sender::new(None),
        generation: watch::Sender::new(None),
        metadata_voters: watch::Sender::new(Vec::new()),
    };
    let (engine, _) = channel();
    let proposer = Proposer::new(own, engine.clone(), shared.clone(), Arc::clone(&other) as _);
    let (topics, metrics) = (TopicDefaults::default(), Arc::new(Metrics::new(true).unwrap()));
    Restarts::new(Parts { own, shared, engine, proposer, peers: other, topics, metrics })
}

fn body() -> PermitBody {
    let (pod_uid, reason) = ("uid".to_owned(), Reason::Asked);
    PermitBody { broker: BrokerId(9), pod_uid, reason, allow_unavailable: false, dry_run: false }
}

async fn refused(leader: Option<u32>, leads: bool) -> (PermitRefused, usize) {
    let other = Arc::new(Other { leads, asked: AtomicUsize::new(0) });
    let refused = restarts(leader, Arc::clone(&other)).ask(body()).await.unwrap_err();
    (refused, other.asked.load(Ordering::Relaxed))
}

#[tokio::test]
async fn what_the_leader_says_is_passed_back() {
    let (told, asked) = refused(Some(2), true).await;
    assert_eq!((told, asked), (refusal::unknown_broker(BrokerId(9)), 1));
}

#[tokio::test]
async fn without_a_leader_nothing_is_decided_and_the_wait_ends() {
    let (told, _) = refused(None, true).await;
    assert_eq!(told.error.code, "unavailable");
    let (told, asked) = refused(Some(2), false).await;
    assert_eq!(told.error.code, "unavailable");
    assert!(told.error.message.contains("broker 2 does not lead it"), "{told:?}");
    assert!((2..50).contains(&asked), "{asked} times");
}

/// Broker 1 leads, all three live, and the last of them has leave to stop, for that reason.
fn three_of_which_one_has_leave(reason: Reason) -> (Restarts, Arc<Hearing>) {
    let hearing = Arc::new(Hearing::default());
    let restarts = restarts(Some(1), Arc::clone(&hearing));
    let mut state = ClusterState::new("test".parse().unwrap());
    let brokers = [1, 2, 3].map(broker);
    for (index, broker) in (1..).zip(&brokers) {
        state.apply(index, &Command::RegisterBroker(broker.clone())).into_result().unwrap();
    }
    let incarnation = brokers[2].incarnation();
    let leave = Leave {
        broker: BrokerId(3),
        incarnation,
        pod_uid: "pod-3".to_owned(),
        reason,
        allow_unavailable: false,
    };
    let grant = ChangePermit::Grant { judged: state.permits().version(), leave };
    state.apply(4, &Command::ChangePermit(grant)).into_result().unwrap();
    restarts.parts.shared.cluster.send_replace(Arc::new(state));
    for other in &brokers[1..] {
        restarts.parts.shared.liveness.up(other.id, other.incarnation(), 0);
    }
    (restarts, hearing)
}

#[tokio::test]
async fn who_has_leave_and_could_not_begin_hears_that_all_stop() {
    let (restarts, hearing) = three_of_which_one_has_leave(Reason::Deleted);
    restarts.note_wish(BrokerId(1)).await;
    assert!(hearing.0.lock().is_empty() && !*restarts.all_stop.borrow(), "broker 2 stays");
    restarts.note_wish(BrokerId(2)).await;
    assert_eq!(*hearing.0.lock(), [BrokerId(2), BrokerId(3)].into());
    assert!(*restarts.all_stop.borrow());
}

#[tokio::test]
async fn while_somebody_will_return_all_others_wait() {
    let (restarts, hearing) = three_of_which_one_has_leave(Reason::Rollout);
    restarts.note_wish(BrokerId(1)).await;
    restarts.note_wish(BrokerId(2)).await;
    assert!(hearing.0.lock().is_empty() && !*restarts.all_stop.borrow());
}

#[tokio::test]
async fn an_engine_that_has_stopped_confirms_nothing() {
    let other = Arc::new(Other { leads: false, asked: AtomicUsize::new(0) });
    let told = restarts(Some(1), other).ask(body()).await.unwrap_err();
    assert_eq!(told.error.code, "unavailable");
}

#[tokio::test]
async fn questions_that_cannot_be_read_or_are_about_metadata_to_come_are_answered_with_nothing() {
    let other = Arc::new(Other { leads: false, asked: AtomicUsize::new(0) });
    let restarts = restarts(None, other);
    assert!(restarts.serve(b"nonsense").await.is_empty());
    let ahead = Asked::Confirm { metadata_index: 7, groups: vec![GroupId(16)] }.encode();
    let told = restarts.serve(ahead.strip_prefix(RESTART).unwrap()).await;
    let told: words::Confirmation = words::decode(&told).unwrap();
    assert_eq!(told.keys().collect::<BTreeSet<_>>(), BTreeSet::new());
}
