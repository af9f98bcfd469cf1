//! All that a broker's stop is judged by: metadata as applied here, and what the leaders of its partitions confirm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chronik_core::config::TopicConfig;
use chronik_core::ids::{BrokerId, GroupId};
use chronik_core::metadata::{ClusterState, Partition, Topic};
use chronik_core::restart::{Block, Confirmed, FRESH_MS, Hosted, Life, MetadataGroup, Request, judge};
use chronik_core::view::PermitRefused;
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::words::{self, Asked, Confirmation};
use super::{Restarts, refusal};
use crate::replica::GROUPS_PER_QUESTION;

/// Longest wait for leaders; what they said before would count no more.
const CONFIRM: Duration = Duration::from_millis(FRESH_MS - 100);
/// What passes by itself is judged again for this long, with this pause.
const SETTLE: Duration = Duration::from_secs(3);
const JUDGE_AGAIN: Duration = Duration::from_millis(200);

impl Restarts {
    /// All that stands against the broker's stop, with the version of the permits that it was judged with. A leader that was
    /// just elected gets a little time: leaderships move before a stop.
    pub(super) async fn judge(&self, broker: BrokerId) -> Result<(u64, Vec<Block>), PermitRefused> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let state = self.cluster();
            let request = self.gather(&state, broker).await?;
            let blocks = judge(&request);
            let passes = !blocks.is_empty() && blocks.iter().all(|block| block.why.may_pass());
            if !passes || Instant::now() + JUDGE_AGAIN >= deadline {
                return Ok((state.permits().version(), blocks));
            }
            sleep(JUDGE_AGAIN).await;
        }
    }

    pub(super) async fn gather(
        &self,
        state: &ClusterState,
        broker: BrokerId,
    ) -> Result<Request, PermitRefused> {
        let mut partitions: Vec<Hosted> = state
            .partitions()
            .filter(|(_, partition)| partition.brokers().contains(&broker))
            .map(|(topic, partition)| self.hosted(topic, partition))
            .collect();
        let groups = partitions.iter().map(|hosted| hosted.group).collect();
        let mut confirmed = self.confirmed(state, groups).await;
        let Some(metadata) = confirmed.remove(&GroupId::METADATA) else {
            return Err(refusal::unavailable(
                "no majority confirmed that this broker leads the metadata group",
            ));
        };
        for hosted in &mut partitions {
            hosted.confirmed = confirmed.remove(&hosted.group);
        }
        let liveness = &self.parts.shared.liveness;
        let not_well = |id: &BrokerId| !liveness.is_up(*id) || liveness.is_draining(*id);
        let (mut away, heirs): (BTreeSet<BrokerId>, BTreeSet<BrokerId>) =
            state.brokers().map(|known| known.id).partition(not_well);
        away.extend(state.permits().holders());
        away.remove(&broker);
        let Confirmed { voters, outgoing, synced, .. } = metadata;
        let metadata = MetadataGroup { voters, outgoing, synced, heirs };
        let life = match liveness.is_up(broker) {
            true => Life::Heard,
            false if liveness.is_dead(broker) => Life::Gone,
            false => Life::Silent,
        };
        Ok(Request { broker, life, away, partitions, metadata })
    }

    fn hosted(&self, topic: &Topic, partition: &Partition) -> Hosted {
        let replicas = partition.target().len() as u32;
        let moving = partition.reassignment.as_ref();
        let before = moving.map(|moving| moving.original.len() as u32);
        let moves_to = moving.map(|_| partition.target().iter().map(|replica| replica.broker).collect());
        Hosted {
            group: partition.group,
            topic: topic.name.clone(),
            partition: partition.number,
            replicas,
            shrinks_from: before.filter(|before| *before > replicas),
            moves_to: moves_to.unwrap_or_default(),
            policy: TopicConfig::resolve(&topic.configs, &self.parts.topics).restart,
            confirmed: None,
        }
    }

    /// What leaders confirm of these groups and of the metadata group, each with its age: from when it was asked for.
    async fn confirmed(&self, state: &ClusterState, groups: Vec<GroupId>) -> Confirmation {
        let mut led: BTreeMap<BrokerId, Vec<GroupId>> = BTreeMap::new();
        for group in groups {
            if let Some(view) = self.parts.shared.views.last(group) {
                led.entry(view.leader).or_default().push(group);
            }
        }
        let asked = Instant::now();
        let questions = led.iter().flat_map(|(leader, groups)| {
            groups.chunks(GROUPS_PER_QUESTION).map(|some| self.ask_leader(*leader, state.applied(), some))
        });
        // For itself: a partition here that waits for its majority must not cost the answer for all.
        let metadata = self.ask_leader(self.parts.own, state.applied(), &[GroupId::METADATA]);
        let told = join_all(questions.chain([metadata])).await;
        let age_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        let aged = |(group, confirmed)| (group, Confirmed { age_ms, ..confirmed });
        told.into_iter().flatten().map(aged).collect()
    }

    /// Nothing from a leader that does not answer in time.
    async fn ask_leader(&self, leader: BrokerId, metadata_index: u64, groups: &[GroupId]) -> Confirmation {
        if leader == self.parts.own {
            let told = timeout(CONFIRM, self.confirm_here(metadata_index, groups.to_vec())).await;
            return told.unwrap_or_default();
        }
        let question = Asked::Confirm { metadata_index, groups: groups.to_vec() }.encode();
        let told = self.parts.peers.ask(leader, question, CONFIRM).await;
        let told = told.and_then(|told| words::decode(&told).map_err(|error| error.to_string()));
        told.unwrap_or_else(|error| {
            tracing::debug!(%leader, error, "a leader did not confirm its partitions");
            Confirmation::new()
        })
    }
}
