//! How a rollout is told: in the status, as a condition, and by events when something changed. Pure.

mod blocks;

use std::time::Duration;

use chronik_api::broker_cluster::BrokerClusterStatus;
use chronik_api::conditions::{self, Finding, ROLLING_OUT};
use chronik_api::labels::RESTART;
use chronik_api::rollout::{BlockedBy, PermitStage, RolloutPermit, RolloutStatus};
use chronik_core::ids::BrokerId;
use chronik_core::restart::{Reason, Stage};
use chronik_core::view::PermitReport;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::{End, Refusal, Round};
use crate::cluster::pods;
use crate::events::Happening;
pub use blocks::blocks_text;
use blocks::{place, refused, steady};
use chronik_core::rollout::{PodSeen, Wait};

/// Pause while a restart is under way. The controller's debounce, 300 ms, comes on top.
const UNDER_WAY: Duration = Duration::from_millis(250);
/// Pause while the brokers or a person have to change something first.
const HELD: Duration = Duration::from_millis(1500);
/// Most blocks and ignored annotations in a status, and blocks in a message.
const LISTED_MAX: usize = 10;
const IN_MESSAGE_MAX: usize = 3;

const UP_TO_DATE: &str = "UpToDate";
const RESTARTING: &str = "Restarting";
const WAITING_FOR_ISR: &str = "WaitingForIsr";
const BLOCKED: &str = "Blocked";
const PAUSED: &str = "Paused";
const AWAITING_APPROVAL: &str = "AwaitingApproval";
const HELD_BACK: &str = "HeldBack";
const SETTLING: &str = "WaitingForMinReady";
const OVERDUE: &str = "DeadlineExceeded";
const UNREACHABLE: &str = "BrokersUnreachable";

/// What there is to say.
pub struct Told {
    pub status: RolloutStatus,
    pub finding: Finding,
    /// What changed since the status before.
    pub happenings: Vec<Happening>,
    /// When to look again, if soon.
    pub pace: Option<Duration>,
}

impl Told {
    /// Whether a broker should restart and may not stop.
    pub fn is_blocked(&self) -> bool {
        self.finding.reason == BLOCKED
    }

    /// Whether a broker that restarts has not returned in time.
    pub fn is_overdue(&self) -> bool {
        self.finding.reason == OVERDUE
    }
}

/// Says how a round ended, after a status `before`, of a cluster of so many brokers.
pub fn tell(round: &Round, before: &BrokerClusterStatus, pods: &[Pod], replicas: u32) -> Told {
    let known = before.rollout.clone().unwrap_or_default();
    let outdated = round.seen.pods.iter().filter(|pod| round.seen.is_outdated(pod)).count();
    let outdated = u32::try_from(outdated).unwrap_or(u32::MAX);
    let all_refused = round.end == End::Waits(Wait::Refused);
    let blocks = if all_refused { steady(&round.refusals, &known.blocked_by) } else { Vec::new() };
    let (reason, message) = reason(round, &known, outdated, &blocks, pods);
    let goes_on = ![UP_TO_DATE, PAUSED, AWAITING_APPROVAL, HELD_BACK].contains(&reason);
    let status = RolloutStatus {
        summary: summary(reason, outdated, replicas),
        outdated,
        message: message.clone(),
        permits: permits(round, &known),
        blocked_by: blocks,
        ignored: round.ignored.iter().take(LISTED_MAX).cloned().collect(),
    };
    let finding = Finding::new(ROLLING_OUT, goes_on, reason, message);
    let pace = if [BLOCKED, OVERDUE, SETTLING, UNREACHABLE].contains(&reason) { HELD } else { UNDER_WAY };
    let happenings = happenings(round, before, &status, &finding);
    Told { status, finding, happenings, pace: goes_on.then_some(pace) }
}

fn summary(reason: &str, outdated: u32, replicas: u32) -> String {
    let word = match reason {
        UP_TO_DATE => return UP_TO_DATE.to_owned(),
        RESTARTING => "restarting",
        BLOCKED => "blocked",
        PAUSED => "paused",
        AWAITING_APPROVAL => "awaiting approval",
        HELD_BACK => "held back",
        OVERDUE => "overdue",
        _ => "waiting",
    };
    format!("{outdated}/{replicas} outdated, {word}")
}

/// Why it is as it is: one CamelCase word, and a sentence.
fn reason(
    round: &Round,
    known: &RolloutStatus,
    outdated: u32,
    blocks: &[BlockedBy],
    pods: &[Pod],
) -> (&'static str, String) {
    let wait = match &round.end {
        End::Done => return (UP_TO_DATE, "every pod runs the spec's settings".to_owned()),
        End::Failed(reason, message) => return (reason, message.clone()),
        End::Waits(wait) => wait,
    };
    match wait {
        Wait::Paused => (PAUSED, format!("{outdated} pods are outdated, and spec.rollout.paused is set")),
        Wait::Approval(broker) => (AWAITING_APPROVAL, to_approve(round, *broker, outdated)),
        Wait::HeldBack => {
            let from = round.seen.options.from_broker;
            let message = format!(
                "{outdated} pods of brokers below {from} are outdated and stay so: spec.rollout.fromBroker is {from}"
            );
            (HELD_BACK, message)
        }
        Wait::Overdue(broker, permit) => (OVERDUE, overdue(round, *broker, permit.0, pods)),
        Wait::Settling(broker) => {
            let seconds = round.seen.options.min_ready_seconds;
            let message = format!(
                "broker {broker} has to be ready for {seconds} s, which is spec.rollout.minReadySeconds, before the next restarts"
            );
            (SETTLING, message)
        }
        // Nothing was to be restarted when the brokers fell silent.
        Wait::Report | Wait::Permits if outdated == 0 && known.permits.is_empty() => {
            (UP_TO_DATE, "every pod runs the spec's settings".to_owned())
        }
        Wait::Report => {
            let message =
                "no broker has said lately which of them are up: nothing restarts without their word";
            (UNREACHABLE, message.to_owned())
        }
        Wait::Permits => {
            let message = "no broker says which permits are open: nothing restarts without their word";
            (UNREACHABLE, message.to_owned())
        }
        Wait::Template => (RESTARTING, "Kubernetes has not taken the spec's pod template yet".to_owned()),
        Wait::Stopping(broker) => (RESTARTING, stopping(round, *broker, pods)),
        Wait::Returning(broker, permit) => returning(round, *broker, permit.0, pods),
        Wait::Lapsing(broker, permit) => (
            BLOCKED,
            format!("permit {} of broker {broker} is not needed any more: it lapses soon", permit.0),
        ),
        Wait::OtherStop(broker, permit, why) => (
            BLOCKED,
            format!("broker {broker} may stop {} (permit {}): it goes first", why.purpose(), permit.0),
        ),
        Wait::NotUp(broker) => not_up(round, known, *broker, pods),
        Wait::Refused => (BLOCKED, refused(&round.refusals, blocks)),
    }
}

/// A pod that outlives its grace period is on a node that says nothing any more.
fn stopping(round: &Round, broker: BrokerId, pods: &[Pod]) -> String {
    format!("broker {broker} stops: its pod is being deleted{}", outlived(round, broker, pods))
}

/// What to do about a pod that outlives its grace period, after a full stop.
fn outlived(round: &Round, broker: BrokerId, pods: &[Pod]) -> String {
    let overdue = pods::overdue(pods, &uid_of(round, broker), round.seen.now);
    overdue.map_or(String::new(), |overdue| format!(". {overdue}"))
}

/// Says what a person has to do.
fn to_approve(round: &Round, broker: BrokerId, outdated: u32) -> String {
    let pod = pod_of(round, broker).map_or("POD", |pod| pod.name.as_str());
    format!(
        "{outdated} pods are outdated, and spec.rollout.approval is Manual. The next is broker {broker}: kubectl annotate \
         pod {pod} {RESTART}=true"
    )
}

fn overdue(round: &Round, broker: BrokerId, permit: u64, pods: &[Pod]) -> String {
    let seconds = round.seen.options.progress_deadline_seconds;
    let is_deleting = pod_of(round, broker).is_some_and(|pod| pod.deleting);
    let what = match is_deleting {
        true => format!("the pod of broker {broker} is still being deleted after"),
        false => format!("broker {broker} has not returned within"),
    };
    let trouble = if is_deleting { outlived(round, broker, pods) } else { trouble(round, broker, pods) };
    format!(
        "{what} {seconds} s, which is spec.rollout.progressDeadlineSeconds (permit {permit}): nothing else restarts until it \
         is back{trouble}"
    )
}

fn returning(round: &Round, broker: BrokerId, permit: u64, pods: &[Pod]) -> (&'static str, String) {
    if is_alive(round, broker) && pod_of(round, broker).is_some() {
        (
            WAITING_FOR_ISR,
            format!("broker {broker} is up again and not yet back in every ISR (permit {permit})"),
        )
    } else {
        let trouble = trouble(round, broker, pods);
        (RESTARTING, format!("broker {broker} restarts and is not up yet (permit {permit}){trouble}"))
    }
}

/// The report on who is up may be older than the end of a permit: in the round that sees that end it says nothing yet.
fn not_up(round: &Round, known: &RolloutStatus, broker: BrokerId, pods: &[Pod]) -> (&'static str, String) {
    let just_back = known.permits.iter().any(|permit| permit.broker == broker.0);
    if just_back || is_alive(round, broker) {
        (RESTARTING, format!("broker {broker} is back, and not yet seen as up and its pod as ready"))
    } else {
        let trouble = trouble(round, broker, pods);
        let message = format!("broker {broker} runs the spec's settings and is not up: no other follows it");
        (BLOCKED, format!("{message}{trouble}"))
    }
}

fn is_alive(round: &Round, broker: BrokerId) -> bool {
    round.seen.brokers.as_ref().is_some_and(|brokers| brokers.alive.contains(&broker))
}

fn pod_of(round: &Round, broker: BrokerId) -> Option<&PodSeen> {
    round.seen.pods.iter().find(|pod| pod.broker == broker)
}

/// Empty if it has no pod.
fn uid_of(round: &Round, broker: BrokerId) -> String {
    pod_of(round, broker).map_or(String::new(), |pod| pod.uid.clone())
}

/// What keeps that broker's pod from starting, after a semicolon.
fn trouble(round: &Round, broker: BrokerId, pods: &[Pod]) -> String {
    let uid = uid_of(round, broker);
    let pod: Vec<Pod> = pods.iter().filter(|pod| pod.uid().as_ref() == Some(&uid)).cloned().collect();
    pods::trouble(&pod).map_or(String::new(), |trouble| format!("; {trouble}"))
}

/// The permits of ours that are open; what was known, if nobody told.
fn permits(round: &Round, known: &RolloutStatus) -> Vec<RolloutPermit> {
    let Some(open) = &round.seen.permits else { return known.permits.clone() };
    let ours = |permit: &&PermitReport| matches!(permit.reason, Reason::Rollout | Reason::Asked);
    let told = |permit: &PermitReport| RolloutPermit {
        id: permit.id.0,
        broker: permit.broker.0,
        stage: match permit.stage {
            Stage::Granted => PermitStage::Granted,
            Stage::Begun => PermitStage::Begun,
        },
    };
    open.iter().filter(ours).map(told).collect()
}

fn happenings(
    round: &Round,
    before: &BrokerClusterStatus,
    status: &RolloutStatus,
    finding: &Finding,
) -> Vec<Happening> {
    let known = before.rollout.clone().unwrap_or_default();
    let turned = conditions::get(&before.conditions, ROLLING_OUT);
    let was = turned.map_or("", |condition| condition.reason.as_str());
    let mut happenings = Vec::new();
    let ended = |permit: &&RolloutPermit| {
        let open = round.seen.permits.as_ref();
        permit.stage == PermitStage::Begun
            && open.is_some_and(|open| !open.iter().any(|open| open.id.0 == permit.id))
    };
    for permit in known.permits.iter().filter(ended) {
        let note = format!("broker {} is back in every ISR: permit {} has ended", permit.broker, permit.id);
        happenings.push(Happening::normal("BrokerBack", note));
    }
    let places = |blocks: &[BlockedBy]| blocks.iter().map(place).collect::<Vec<_>>();
    if finding.reason == BLOCKED
        && (was != BLOCKED || places(&known.blocked_by) != places(&status.blocked_by))
    {
        happenings.push(Happening::warning("RestartBlocked", status.message.clone()));
    }
    if finding.reason == OVERDUE && was != OVERDUE {
        happenings.push(Happening::warning(OVERDUE, status.message.clone()));
    }
    if finding.reason == AWAITING_APPROVAL && was != AWAITING_APPROVAL {
        happenings.push(Happening::normal("ApprovalNeeded", status.message.clone()));
    }
    if finding.reason == UP_TO_DATE && turned.is_some_and(|condition| condition.status == "True") {
        happenings.push(Happening::normal("RolloutDone", status.message.clone()));
    }
    let news = status.ignored.iter().filter(|ignored| !known.ignored.contains(ignored));
    happenings.extend(news.map(|ignored| Happening::warning("AnnotationIgnored", ignored.clone())));
    happenings
}

#[cfg(test)]
mod tests;
