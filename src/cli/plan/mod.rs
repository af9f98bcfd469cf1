//! `plan`: what the operator would restart now, in which order, what stands against it, and how long it takes.

mod estimate;
mod model;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use chronik_core::ids::BrokerId;
use chronik_core::restart::Reason;
use chronik_core::rollout::{Observed, Wait};
use chronik_core::view::{PartitionReport, PermitReport};
use serde::Serialize;

use crate::access::Kubernetes;
use crate::proxy::Proxy;
use crate::seen::{Seen, Told};
use crate::verdict::{Isrs, Verdict, foresee, verdicts};

pub(crate) use estimate::{Lag, Lately, lags};
use model::{Foretold, Now, foretell};

/// No pod has it: with it as the goal, every pod is to restart.
const ANY_OTHER: &str = "any other";

/// The document of `plan -o json`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// Name of the BrokerCluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// How many brokers' pods there are.
    pub pods: usize,
    /// The outdated ones, by name.
    pub outdated: Vec<String>,
    /// Whether a restart of every broker was asked about.
    pub all: bool,
    /// What the operator waits for before it restarts any of these, in order.
    pub waits_for: Vec<String>,
    /// Permits to stop that are open.
    pub permits: Vec<PermitReport>,
    /// Who restarts, in this order; then who does not.
    pub brokers: Vec<Planned>,
    /// Why the plan ends before every broker has restarted; absent if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_early: Option<String>,
    /// The last restarts that the operator's events tell of; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lately: Option<Lately>,
    /// How long all restarts take together, in seconds; absent while no restart was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_seconds: Option<f64>,
}

/// One broker of a plan.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Planned {
    /// Its number.
    pub broker: BrokerId,
    /// Its pod.
    pub pod: String,
    /// Why it should restart: `rollout` (its pod is outdated) or `asked` (a person asks for it).
    pub reason: Reason,
    /// What comes of it.
    pub outcome: Outcome,
    /// A broker that has to be back first: until then the brokers refuse this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<BrokerId>,
    /// What the brokers say to its stop now.
    pub now: Verdict,
    /// How far its replicas are behind now.
    pub lag: Lag,
    /// How long it takes, in seconds; absent while no restart was seen, and if it does not restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_seconds: Option<f64>,
}

/// What comes of a broker that should restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    /// It restarts.
    Restarts,
    /// The brokers do not let it go.
    Blocked,
    /// It would follow another one that is not up.
    Held,
}

/// Looks, has the brokers judge each of them, and foretells.
pub(crate) async fn plan(kubernetes: &Kubernetes, seen: &Seen, all: bool) -> anyhow::Result<Plan> {
    let told = seen.told()?;
    let proxy = Proxy::new(kubernetes, &seen.name);
    let (verdicts, lately) =
        tokio::join!(verdicts(&proxy, seen, told), estimate::lately(kubernetes, &seen.name));
    make(seen, told, &verdicts?, lately, all)
}

fn make(
    seen: &Seen,
    told: &Told,
    verdicts: &BTreeMap<BrokerId, Verdict>,
    lately: Option<Lately>,
    all: bool,
) -> anyhow::Result<Plan> {
    let observed = seen.observed(told)?;
    let template = observed.desired.clone();
    let outdated: Vec<String> =
        observed.pods.iter().filter(|pod| observed.is_outdated(pod)).map(|pod| pod.name.clone()).collect();
    let goal = if all { ANY_OTHER.to_owned() } else { template.clone() };
    // The template is what the operator made of the spec: what it would make of a newer one is not known here.
    let mut waits_for: Vec<String> = not_acted(seen).into_iter().collect();
    let now = Now {
        // With another goal no template has it yet, which says nothing about when it will.
        seen: Observed { desired: goal, template_taken: observed.template_taken, ..observed },
        template: &template,
        verdicts,
        unwell: unwell(told),
    };
    let foretold = foretell(now, |broker, away| foresee(told, broker, away, Isrs::Whole));
    waits_for.extend(foretold.waits.iter().map(text::wait));
    let brokers = planned(seen, told, verdicts, lately.as_ref(), &foretold);
    let estimates: Vec<f64> = brokers.iter().filter_map(|broker| broker.estimated_seconds).collect();
    let estimated = lately.as_ref().filter(|_| !estimates.is_empty());
    Ok(Plan {
        cluster: seen.name.clone(),
        namespace: seen.namespace.clone(),
        pods: seen.pods.len(),
        outdated,
        all,
        waits_for,
        permits: told.permits.clone(),
        ends_early: ends_early(&foretold),
        estimated_seconds: estimated.map(|_| estimate::round(estimates.iter().sum())),
        lately,
        brokers,
    })
}

fn not_acted(seen: &Seen) -> Option<String> {
    let observed = seen.cluster.status.as_ref().and_then(|status| status.observed_generation);
    let generation = seen.cluster.metadata.generation;
    (observed < generation).then(|| "the operator, which has not acted on the newest spec yet".to_owned())
}

/// Brokers whose return may change what is refused: not heard, with a permit, or missing from an ISR.
fn unwell(told: &Told) -> BTreeSet<BrokerId> {
    let down = told.report.brokers.iter().filter(|broker| !broker.alive).map(|broker| broker.id);
    let holders = told.permits.iter().map(|permit| permit.broker);
    let partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
    down.chain(holders).chain(partitions.flat_map(missing)).collect()
}

/// Replicas that are not in sync and should be; none while the ISR is not known.
pub(crate) fn missing(partition: &PartitionReport) -> Vec<BrokerId> {
    let Some(isr) = &partition.isr else { return Vec::new() };
    let expected = partition.replicas.iter().filter(|id| !partition.adding.contains(id));
    expected.filter(|id| !isr.contains(id)).copied().collect()
}

fn planned(
    seen: &Seen,
    told: &Told,
    verdicts: &BTreeMap<BrokerId, Verdict>,
    lately: Option<&Lately>,
    foretold: &Foretold,
) -> Vec<Planned> {
    let lags = lags(&told.topics);
    let not_restarted = if foretold.held_by.is_some() { Outcome::Held } else { Outcome::Blocked };
    let restarts = foretold.restarts.iter().map(|it| (it.broker, it.reason, it.after, Outcome::Restarts));
    let left = foretold.left.iter().map(|&(broker, reason)| (broker, reason, None, not_restarted));
    let all = restarts.chain(left).filter_map(|(broker, reason, after, outcome)| {
        let lag = lags.get(&broker).copied().unwrap_or_default();
        let restarts = outcome == Outcome::Restarts;
        let takes = lately.filter(|_| restarts).map(|lately| lately.seconds + lag.ms as f64 / 1000.0);
        Some(Planned {
            broker,
            pod: seen.pod(broker)?.0.name.clone(),
            reason,
            outcome,
            after,
            now: verdicts.get(&broker)?.clone(),
            lag,
            estimated_seconds: takes.map(estimate::round),
        })
    });
    all.collect()
}

fn ends_early(foretold: &Foretold) -> Option<String> {
    if foretold.left.is_empty() {
        return None;
    }
    let left: Vec<String> = foretold.left.iter().map(|(broker, _)| broker.to_string()).collect();
    let left = left.join(", ");
    Some(match foretold.held_by {
        Some(down) => format!("{}: brokers that do not restart: {left}", text::wait(&Wait::NotUp(down))),
        None => format!("the brokers do not let these go: {left}"),
    })
}

#[cfg(test)]
mod tests;
