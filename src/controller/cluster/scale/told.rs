//! How a change of the number of brokers is told: in the status, as a condition, and by events when something changed. Pure.

use std::time::Duration;

use chronik_api::broker_cluster::{BrokerClusterStatus, ScaleStatus};
use chronik_api::conditions::{self, Finding, SCALING};

use super::plan::{BrokerSeen, Wait};
use super::{End, Round};
use crate::events::Happening;

/// Pause while a broker stops.
const UNDER_WAY: Duration = Duration::from_millis(250);
/// Pause while replicas move, or while the brokers or a person have to change something first.
const HELD: Duration = Duration::from_secs(1);

const AT_SIZE: &str = "AtSize";
const DRAINING: &str = "Draining";
const BLOCKED: &str = "Blocked";
const REMOVING: &str = "Removing";
const GROWING: &str = "Growing";
const REBALANCING: &str = "Rebalancing";
const UNREACHABLE: &str = "BrokersUnreachable";

/// What there is to say.
pub struct Told {
    pub status: ScaleStatus,
    pub finding: Finding,
    /// What changed since the status before.
    pub happenings: Vec<Happening>,
    /// When to look again, if soon.
    pub pace: Option<Duration>,
}

impl Told {
    /// Whether a broker should leave and cannot.
    pub fn is_blocked(&self) -> bool {
        self.finding.reason == BLOCKED
    }
}

/// Says how a round ended, after a status `before`.
pub fn tell(round: &Round, before: &BrokerClusterStatus) -> Told {
    let (reason, message) = reason(round);
    let leaving = leaving(round);
    let known = leaving.and_then(|broker| known(round, broker));
    let status = ScaleStatus {
        summary: summary(round, reason, leaving),
        message: message.clone(),
        leaving,
        replicas_left: known.map(|broker| broker.replicas),
        moving: known.map(|broker| broker.moving),
        blocked_by: (reason == BLOCKED).then(|| message.clone()),
    };
    let goes_on = reason != AT_SIZE;
    let was = conditions::get(&before.conditions, SCALING).map_or("", |condition| condition.reason.as_str());
    let mut happenings = Vec::new();
    let told_before = before.scale.as_ref().and_then(|scale| scale.blocked_by.as_ref());
    if reason == BLOCKED && (was != BLOCKED || told_before != status.blocked_by.as_ref()) {
        happenings.push(Happening::warning("ScaleDownBlocked", message.clone()));
    }
    if reason == AT_SIZE && !was.is_empty() && was != AT_SIZE {
        happenings.push(Happening::normal("ScaleDone", message.clone()));
    }
    let pace = if reason == REMOVING { UNDER_WAY } else { HELD };
    let finding = Finding::new(SCALING, goes_on, reason, message);
    Told { status, finding, happenings, pace: goes_on.then_some(pace) }
}

/// The broker that is one too many.
fn leaving(round: &Round) -> Option<u32> {
    let registered = round.seen.brokers.as_ref().and_then(|brokers| brokers.keys().next_back().copied());
    let last = registered.unwrap_or(0).max(round.seen.size);
    (last > round.seen.wanted).then_some(last)
}

fn known(round: &Round, broker: u32) -> Option<&BrokerSeen> {
    round.seen.brokers.as_ref()?.get(&broker)
}

fn summary(round: &Round, reason: &str, leaving: Option<u32>) -> String {
    let wanted = round.seen.wanted;
    match (reason, leaving) {
        (AT_SIZE, _) => AT_SIZE.to_owned(),
        (BLOCKED, Some(broker)) => format!("{broker} to {wanted}, blocked"),
        (_, Some(broker)) => match known(round, broker).map_or(0, |known| known.replicas) {
            0 => format!("{broker} to {wanted}"),
            left => format!("{broker} to {wanted}, {left} replicas left"),
        },
        (GROWING, None) => format!("growing to {wanted}"),
        (REBALANCING, None) => "rebalancing".to_owned(),
        (_, None) => "waiting".to_owned(),
    }
}

/// Why it is as it is: one CamelCase word, and a sentence.
fn reason(round: &Round) -> (&'static str, String) {
    let wait = match &round.end {
        End::Done => {
            return (AT_SIZE, format!("there are {} brokers, as spec.replicas says", round.seen.wanted));
        }
        End::Failed(reason, message) => return (reason, message.clone()),
        End::Waits(wait) => wait,
    };
    match wait {
        Wait::Report => (
            UNREACHABLE,
            "no broker has said lately what each of them has: none is taken away without their word"
                .to_owned(),
        ),
        Wait::Permits => (
            UNREACHABLE,
            "no broker says which permits are open: none is taken away without their word".to_owned(),
        ),
        Wait::Draining(broker) => draining(*broker, known(round, *broker)),
        Wait::OtherStop(broker, permit) => (
            BLOCKED,
            format!("the stop of broker {broker} (permit {}) goes first: it is waited for", permit.0),
        ),
        Wait::Refused(broker) => {
            let why = round.refusal.as_deref().unwrap_or("they gave no reason");
            (BLOCKED, format!("the brokers do not let broker {broker} stop: {why}"))
        }
        Wait::Stopping(broker) => (REMOVING, format!("broker {broker} stops: its pod is being deleted")),
        Wait::StillHeard(broker) => {
            (REMOVING, format!("broker {broker} has stopped, and the others have yet to notice"))
        }
        Wait::Growing(there) => {
            (GROWING, format!("{there} of {} brokers have registered", round.seen.wanted))
        }
        Wait::Filling(broker) => {
            let has = known(round, *broker).map_or(0, |known| known.replicas);
            (REBALANCING, format!("broker {broker} gets its share: it has {has} replicas so far"))
        }
    }
}

fn draining(broker: u32, known: Option<&BrokerSeen>) -> (&'static str, String) {
    match known {
        Some(BrokerSeen { blocked: Some(why), .. }) => {
            (BLOCKED, format!("broker {broker} cannot leave: {why}"))
        }
        Some(known) if known.replicas > 0 => {
            let (left, moving) = (known.replicas, known.moving);
            (
                DRAINING,
                format!("broker {broker} leaves: {left} replicas are left, of which {moving} move now"),
            )
        }
        _ => (DRAINING, format!("broker {broker} leaves: its metadata vote is left")),
    }
}

#[cfg(test)]
#[path = "told/tests.rs"]
mod tests;
