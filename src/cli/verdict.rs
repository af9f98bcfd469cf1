//! Whether a broker may stop: now, as the brokers answer, and in another state, as their own rules (`core/restart`) judge what
//! their reports say.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use chronik_core::config::{TopicConfig, TopicDefaults};
use chronik_core::ids::{BrokerId, GroupId};
use chronik_core::restart::{Confirmed, Half, Hosted, Life, MetadataGroup, Reason, Request, judge};
use chronik_core::rollout::PodSeen;
use chronik_core::view::{BlockReport, PartitionReport, PermitBody, TopicReport};
use serde::Serialize;

use crate::proxy::{Judged, Proxy};
use crate::seen::{Seen, Told};
use crate::show::blocks_text;

/// The brokers' word for: ask again later.
const NOT_JUDGED: &str = "unavailable";

/// What the brokers answer when they are asked whether one of them may stop now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verdict {
    /// Whether it may.
    pub may_stop: bool,
    /// Why not, in the brokers' words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What stands against it, or is borne by a person; the brokers list 64 at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<BlockReport>,
    /// How many there are, listed or not.
    pub blocked: usize,
}

impl Verdict {
    /// What stands against it, in one line.
    pub fn why(&self) -> String {
        if self.blocks.is_empty() {
            return self.message.clone().unwrap_or_default();
        }
        blocks_text(&self.blocks, self.blocked)
    }

    /// An error if nobody judged: that is no refusal.
    fn of(judged: Judged) -> anyhow::Result<Self> {
        Ok(match judged {
            Judged::Granted(answer) => {
                let blocked = answer.blocks.len();
                Self { may_stop: true, message: None, blocks: answer.blocks, blocked }
            }
            Judged::Refused(refused) if refused.error.code == NOT_JUDGED => bail!(refused.error.message),
            Judged::Refused(refused) => {
                let blocked = (refused.blocked as usize).max(refused.blocks.len());
                let message = Some(refused.error.message);
                Self { may_stop: false, message, blocks: refused.blocks, blocked }
            }
        })
    }
}

/// Has the brokers judge the stop of each of them. Nothing is granted.
///
/// # Errors
/// One of them was not judged.
pub(crate) async fn verdicts(
    proxy: &Proxy,
    seen: &Seen,
    told: &Told,
) -> anyhow::Result<BTreeMap<BrokerId, Verdict>> {
    let mut verdicts = BTreeMap::new();
    // One after the other: the brokers judge one request at a time.
    for (pod, _) in &seen.pods {
        verdicts.insert(pod.broker, verdict(proxy, told.by, pod).await?);
    }
    Ok(verdicts)
}

/// Has the brokers judge the stop of one of them.
pub(crate) async fn verdict(proxy: &Proxy, asked: BrokerId, pod: &PodSeen) -> anyhow::Result<Verdict> {
    let body = PermitBody {
        broker: pod.broker,
        pod_uid: pod.uid.clone(),
        reason: Reason::Asked,
        allow_unavailable: pod.allow_unavailable,
        dry_run: true,
    };
    let judged = proxy.judge(asked, &body).await.and_then(Verdict::of);
    judged.with_context(|| format!("ask whether broker {} may stop", pod.broker))
}

/// What the ISRs are when a stop is judged that nobody asks for yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Isrs {
    /// As they are reported now.
    Reported,
    /// Every move is done, and every broker that is not away is in sync.
    Whole,
}

/// What would stand against a broker's stop while others are away.
pub(crate) fn foresee(
    told: &Told,
    broker: BrokerId,
    away: &BTreeSet<BrokerId>,
    isrs: Isrs,
) -> Vec<BlockReport> {
    let hosted = told.topics.iter().flat_map(|topic| {
        let here = topic.partitions.iter().filter(|partition| is_on(partition, broker, isrs));
        here.map(|partition| hosted(topic, partition, isrs))
    });
    let voters: BTreeSet<BrokerId> = told.report.metadata_voters.iter().copied().collect();
    let brokers = told.report.brokers.iter().map(|known| known.id);
    let request = Request {
        broker,
        life: Life::Heard,
        away: away.clone(),
        partitions: hosted.collect(),
        metadata: MetadataGroup {
            synced: voters.difference(away).copied().collect(),
            voters: Half { brokers: voters, lost: 0 },
            outgoing: Half::default(),
            heirs: brokers.filter(|id| !away.contains(id)).collect(),
        },
    };
    judge(&request).iter().map(BlockReport::from).collect()
}

/// Where a partition shall be.
fn target(partition: &PartitionReport) -> BTreeSet<BrokerId> {
    partition.replicas.iter().filter(|id| !partition.removing.contains(id)).copied().collect()
}

fn is_on(partition: &PartitionReport, broker: BrokerId, isrs: Isrs) -> bool {
    match isrs {
        Isrs::Reported => partition.replicas.contains(&broker),
        Isrs::Whole => target(partition).contains(&broker),
    }
}

fn hosted(topic: &TopicReport, partition: &PartitionReport, isrs: Isrs) -> Hosted {
    let target = target(partition);
    let before: BTreeSet<BrokerId> =
        partition.replicas.iter().filter(|id| !partition.adding.contains(id)).copied().collect();
    let moves = partition.moving && isrs == Isrs::Reported;
    let isr: Option<BTreeSet<BrokerId>> = match isrs {
        Isrs::Reported => partition.isr.clone().map(|isr| isr.into_iter().collect()),
        Isrs::Whole => Some(target.clone()),
    };
    Hosted {
        // Reports do not tell it, and no judgement depends on it.
        group: GroupId::METADATA,
        topic: topic.name.clone(),
        partition: partition.partition,
        replicas: target.len() as u32,
        shrinks_from: Some(before.len() as u32).filter(|from| moves && *from > target.len() as u32),
        moves_to: if moves { target.clone() } else { BTreeSet::new() },
        policy: TopicConfig::resolve(&topic.configs, &TopicDefaults::default()).restart,
        confirmed: isr.map(|isr| Confirmed {
            term: partition.epoch,
            age_ms: 0,
            provisional: partition.provisional && isrs == Isrs::Reported,
            required: partition.effective_min_isr,
            synced: isr.clone(),
            isr,
            voters: Half { brokers: if moves { before } else { target }, lost: 0 },
            outgoing: Half::default(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{brokers, partition, told, topic};
    use chronik_core::view::{PermitProblem, PermitRefused};

    fn foreseen(topics: Vec<TopicReport>, broker: u32, away: &[u32], isrs: Isrs) -> Vec<String> {
        let away = brokers(away).into_iter().collect();
        let blocks = foresee(&told(topics), BrokerId(broker), &away, isrs);
        blocks.iter().map(|block| format!("{}: {}", crate::show::place(block), block.why)).collect()
    }

    #[test]
    fn what_nobody_judged_is_no_refusal() {
        let refused = |code: &str| {
            let error = PermitProblem { code: code.to_owned(), message: "why".to_owned() };
            Verdict::of(Judged::Refused(PermitRefused { error, blocks: Vec::new(), blocked: 3 }))
        };
        assert_eq!(refused("unavailable").unwrap_err().to_string(), "why");
        let verdict = refused("blocked").unwrap();
        assert_eq!((verdict.may_stop, verdict.blocked, verdict.why()), (false, 3, "why".to_owned()));
    }

    #[test]
    fn what_is_out_of_sync_now_stands_against_the_others_and_not_once_it_is_back() {
        let topics = || vec![topic("orders", vec![partition(0, 1, &[1, 2])])];
        let now = foreseen(topics(), 2, &[], Isrs::Reported);
        assert_eq!(now, ["orders/0: of its ISR [1] would be left, 2 are needed (min ISR 2, margin 0)"]);
        assert!(foreseen(topics(), 2, &[], Isrs::Whole).is_empty());
    }

    #[test]
    fn who_is_away_holds_the_others_and_their_metadata() {
        let topics = vec![topic("orders", vec![partition(0, 1, &[1, 2, 3])])];
        let blocks = foreseen(topics, 2, &[3], Isrs::Whole);
        assert_eq!(
            blocks,
            [
                "orders/0: of its ISR [1] would be left, 2 are needed (min ISR 2, margin 0)",
                "metadata group: of its voters [1] would be left: no majority of [1, 2, 3]"
            ]
        );
    }

    #[test]
    fn a_topic_that_forbids_it_or_needs_all_replicas_does_so_for_ever() {
        let mut forbids = topic("ledger", vec![partition(0, 1, &[1, 2, 3])]);
        forbids.configs.insert("restart.policy".to_owned(), "forbid".to_owned());
        let mut needs_all = topic("orders", vec![partition(0, 1, &[1, 2, 3])]);
        needs_all.partitions[0].effective_min_isr = 3;
        let blocks = foreseen(vec![forbids, needs_all], 2, &[], Isrs::Whole);
        assert_eq!(
            blocks,
            [
                "ledger/0: its topic's restart.policy is forbid",
                "orders/0: of its ISR [1, 3] would be left, 3 are needed (min ISR 3, margin 0)"
            ]
        );
    }

    #[test]
    fn a_move_counts_until_it_is_done() {
        let mut moving = partition(0, 1, &[1, 2, 3]);
        (moving.moving, moving.removing) = (true, brokers(&[3]));
        let topics = || vec![topic("orders", vec![moving.clone()])];
        let now = foreseen(topics(), 2, &[], Isrs::Reported);
        assert_eq!(now, ["orders/0: its replicas are moving, from 3 to 2 of them: wait until that is done"]);
        assert!(foreseen(topics(), 3, &[], Isrs::Whole).is_empty(), "it is not there any more");
    }
}
