//! Random clusters in which everybody asks for leave, judges on what may be old by then, crashes and comes back.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::ids::{DiskId, Incarnation};
use crate::restart::{Leave, PermitId, Permits, Reason};

const BROKERS: u32 = 7;

#[derive(Clone, Debug)]
enum Step {
    /// Judges the broker's request and keeps the judgement.
    Judge(u32),
    /// Commits one of the judgements that were kept, however old.
    Commit(usize),
    /// An open permit goes on: it begins, is taken back, or is closed with the return of its broker.
    Begin(usize),
    TakeBack(usize),
    Close(usize),
    Crash(u32),
    Return(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let broker = 1..=BROKERS;
    prop_oneof![
        4 => broker.clone().prop_map(Step::Judge),
        4 => (0usize..8).prop_map(Step::Commit),
        1 => (0usize..4).prop_map(Step::Begin),
        1 => (0usize..4).prop_map(Step::TakeBack),
        1 => (0usize..4).prop_map(Step::Close),
        1 => broker.clone().prop_map(Step::Crash),
        1 => broker.prop_map(Step::Return),
    ]
}

fn subset(of: BTreeSet<BrokerId>) -> impl Strategy<Value = BTreeSet<BrokerId>> {
    let all: Vec<BrokerId> = of.into_iter().collect();
    prop::collection::vec(prop::bool::weighted(0.9), all.len())
        .prop_map(move |kept| all.iter().zip(kept).filter(|(_, kept)| *kept).map(|(id, _)| *id).collect())
}

fn partition() -> impl Strategy<Value = Hosted> {
    let replicas = prop::collection::btree_set((1..=BROKERS).prop_map(BrokerId), 1..5);
    let drawn = replicas.prop_flat_map(|replicas| {
        let required = 1..=replicas.len() as u32;
        (Just(replicas.clone()), subset(replicas.clone()), subset(replicas), required, 0u32..2)
    });
    drawn.prop_map(|(replicas, isr, synced, required, margin)| {
        let count = replicas.len() as u32;
        let voters = Half { brokers: replicas, lost: 0 };
        let confirmed = Confirmed { required, isr, synced, voters, ..whole(&[]) };
        Hosted { policy: Policy::Margin(margin), ..hosted(count, confirmed) }
    })
}

/// A request as it was judged, on one version of the permits.
#[derive(Clone, Debug)]
struct Judged {
    version: u64,
    request: Request,
    life: Incarnation,
}

struct Cluster {
    partitions: Vec<Hosted>,
    crashed: BTreeSet<BrokerId>,
    starts: BTreeMap<BrokerId, u64>,
    permits: Permits,
    judged: Vec<Judged>,
    granted: BTreeMap<PermitId, Judged>,
}

impl Cluster {
    fn new(partitions: Vec<Hosted>) -> Self {
        let starts = (1..=BROKERS).map(|id| (BrokerId(id), 1)).collect();
        let (crashed, permits) = (BTreeSet::new(), Permits::default());
        Self { partitions, crashed, starts, permits, judged: Vec::new(), granted: BTreeMap::new() }
    }

    fn life(&self, broker: BrokerId) -> Incarnation {
        Incarnation { disk: DiskId(Uuid::from_u128(broker.0.into())), start: self.starts[&broker] }
    }

    /// A partition as its leader sees it now: who has crashed has left its ISR; without a majority nobody leads.
    fn seen(&self, hosted: &Hosted) -> Hosted {
        let mut confirmed = hosted.confirmed.clone().unwrap();
        confirmed.isr.retain(|broker| !self.crashed.contains(broker));
        confirmed.synced.retain(|broker| !self.crashed.contains(broker));
        let alive = confirmed.voters.brokers.iter().filter(|broker| !self.crashed.contains(broker)).count();
        let leads = alive > confirmed.voters.brokers.len() / 2;
        Hosted { confirmed: leads.then_some(confirmed), ..hosted.clone() }
    }

    fn judge(&mut self, broker: BrokerId) {
        let on = |hosted: &&Hosted| hosted.confirmed.as_ref().unwrap().voters.brokers.contains(&broker);
        let partitions: Vec<Hosted> =
            self.partitions.iter().filter(on).map(|hosted| self.seen(hosted)).collect();
        let away = self.permits.holders().union(&self.crashed).copied().collect();
        let life = if self.crashed.contains(&broker) { Life::Gone } else { Life::Heard };
        let synced = brokers(&[1, 2, 3]).difference(&self.crashed).copied().collect();
        let (voters, heirs) = (half(&[1, 2, 3]), BTreeSet::new());
        let metadata = MetadataGroup { voters, outgoing: Half::default(), synced, heirs };
        let request = Request { broker, life, away, partitions, metadata };
        if judge(&request).is_empty() {
            self.judged.push(Judged { version: self.permits.version(), request, life: self.life(broker) });
        }
    }

    fn commit(&mut self, at: usize) {
        let Some(judged) = self.judged.get(at) else { return };
        let (broker, incarnation) = (judged.request.broker, judged.life);
        let pod_uid = format!("{broker}");
        let leave = Leave { broker, incarnation, pod_uid, reason: Reason::Rollout, allow_unavailable: false };
        if let Ok(permit) = self.permits.grant(judged.version, &leave) {
            self.granted.entry(permit.id).or_insert_with(|| judged.clone());
        }
    }

    fn nth(&self, at: usize) -> Option<(PermitId, BrokerId)> {
        self.permits.open().nth(at).map(|permit| (permit.id, permit.broker))
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Judge(broker) => self.judge(BrokerId(*broker)),
            Step::Commit(at) => self.commit(*at),
            Step::Begin(at) => {
                if let Some((id, broker)) = self.nth(*at) {
                    self.permits.begin(id, &broker.to_string()).unwrap();
                }
            }
            Step::TakeBack(at) => {
                if let Some((id, _)) = self.nth(*at) {
                    let _ = self.permits.take_back(id);
                }
            }
            Step::Close(at) => {
                if let Some((id, broker)) = self.nth(*at) {
                    *self.starts.get_mut(&broker).unwrap() += 1;
                    self.crashed.remove(&broker);
                    self.permits.close(id, self.life(broker)).unwrap();
                }
            }
            Step::Crash(broker) => drop(self.crashed.insert(BrokerId(*broker))),
            Step::Return(broker) => drop(self.crashed.remove(&BrokerId(*broker))),
        }
    }

    /// Of the open permits for brokers that lived, the newest of a partition was judged as if the others had stopped: so as
    /// that partition was then, it does without all of their holders. Only crashes since may have broken it.
    fn check(&self) {
        for hosted in &self.partitions {
            let replicas = &hosted.confirmed.as_ref().unwrap().voters.brokers;
            let on_it = |(_, judged): &(&PermitId, &Judged)| {
                judged.request.life == Life::Heard && replicas.contains(&judged.request.broker)
            };
            let mut open =
                self.granted.iter().filter(|(id, _)| self.permits.get(**id).is_some()).filter(on_it);
            let Some((newest, judged)) = open.next_back() else { continue };
            let earlier = self.permits.open().filter(|permit| permit.id <= *newest);
            let holders: BTreeSet<BrokerId> = earlier.map(|permit| permit.broker).collect();
            let seen =
                |known: &&Hosted| known.confirmed.as_ref().is_some_and(|it| it.voters.brokers == *replicas);
            let then = judged.request.partitions.iter().filter(seen);
            for confirmed in then.filter_map(|known| known.confirmed.as_ref()) {
                let stays =
                    |broker: &&BrokerId| !holders.contains(broker) && confirmed.synced.contains(broker);
                let left = confirmed.isr.iter().filter(stays).count();
                assert!(left >= confirmed.required as usize, "{confirmed:?} without {holders:?}");
                let votes = confirmed.voters.brokers.iter().filter(stays).count();
                assert!(votes > confirmed.voters.brokers.len() / 2, "{confirmed:?} without {holders:?}");
            }
            let metadata = &judged.request.metadata;
            if metadata.voters.brokers.contains(&judged.request.broker) {
                let left = metadata.synced.difference(&holders).count();
                assert!(left > metadata.voters.brokers.len() / 2, "{metadata:?} without {holders:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_two_open_permits_together_break_a_partition_that_was_whole(
        partitions in prop::collection::vec(partition(), 1..8),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut cluster = Cluster::new(partitions);
        for step in &steps {
            cluster.take(step);
            cluster.check();
        }
    }
}
