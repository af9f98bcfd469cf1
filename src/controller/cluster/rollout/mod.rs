//! Carries out what the planner says: asks the brokers for a permit, begins it, deletes the pod. It decides nothing itself.
//!
//! A round ends when there is something to wait for, or when anything is not as it was seen: the next round looks again.

pub mod journal;
mod observe;
mod told;

use chronik_api::BrokerCluster;
use chronik_core::ids::BrokerId;
use chronik_core::restart::{PermitId, Reason};
use chronik_core::view::{BlockReport, PermitBody, PermitRefused, PermitReport, PermitsReport};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::dereference::Found;
use crate::broker_client::{Answered, BrokerClient, BrokerError};
use crate::context::Context;
use crate::error::{Category, brief};
use crate::events::Happening;
use crate::feed::ClusterKey;
use chronik_core::rollout::journal::{Outcome, Round as Recorded, Said, Taken, VERSION};
use chronik_core::rollout::{self as plan, Observed, Step, Wait};

pub use told::{Told, blocks_text, tell};

/// Brokers that are asked before a call counts as failed.
const BROKERS_ASKED_MAX: usize = 3;
/// Partitions that are not in sync, and blocks of one refusal, that the journal keeps.
const RECORDED_MAX: usize = 10;

/// How a round ended.
pub struct Round {
    /// What was seen, and what came of it.
    seen: Observed,
    end: End,
    /// Brokers that may not stop, in the order in which they were asked for.
    refusals: Vec<Refusal>,
    /// Annotations that are not followed.
    ignored: Vec<String>,
    /// What was decided and done.
    pub happenings: Vec<Happening>,
}

/// What ended it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    Done,
    Waits(Wait),
    /// Something did not go as planned; why as one CamelCase word, and for a person.
    Failed(&'static str, String),
}

/// The brokers' no.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Refusal {
    broker: BrokerId,
    /// What stands against its stop; the brokers list a bounded number.
    blocks: Vec<BlockReport>,
    /// How many there are, listed or not.
    blocked: usize,
    /// In the brokers' own words.
    message: String,
}

/// Goes as far as it can now, and says how that is recorded. `restart_hash` is that of the spec's settings.
pub async fn advance(
    context: &Context,
    cluster: &BrokerCluster,
    key: &ClusterKey,
    found: &Found,
    restart_hash: &str,
) -> (Round, Recorded) {
    let brokers = addresses(context, key, found);
    let asked =
        context.brokers.first_answer(&brokers, |client, broker| async move { client.permits(&broker).await });
    let permits = asked.await.inspect_err(|error| tracing::debug!(cluster = %key, %error, "read permits"));
    let permits = permits.ok();
    let said = said(context, key, found, permits.as_ref());
    let (permits, now) = (permits.map(|report| report.open), Timestamp::now().as_second());
    let seen = observe::observe(cluster, found, restart_hash, permits, now);
    let at_start = seen.clone();
    let (refusals, happenings, steps) = (Vec::new(), Vec::new(), Vec::new());
    let mut work = Work { context, key, brokers, seen, steps, refusals, happenings };
    let end = work.run().await;
    let Work { seen, steps, refusals, happenings, .. } = work;
    let recorded = Recorded { version: VERSION, seen: at_start, said, steps };
    (Round { seen, end, refusals, ignored: observe::ignored(&found.pods), happenings }, recorded)
}

/// What the brokers say besides what is decided by.
fn said(context: &Context, key: &ClusterKey, found: &Found, permits: Option<&PermitsReport>) -> Said {
    let feed = context.feeds.get(key);
    Said {
        metadata_index: found.report.as_ref().map(|report| report.metadata_index),
        permits_version: permits.map(|report| report.version),
        partitions: found.report.as_ref().map(|report| report.partitions),
        out_of_sync: feed.map_or(Vec::new(), |feed| feed.with(|state| state.out_of_sync(RECORDED_MAX))),
    }
}

/// Whom to ask: the broker that feeds the operator, then others that it hears.
pub(super) fn addresses(context: &Context, key: &ClusterKey, found: &Found) -> Vec<String> {
    let alive = found.report.iter().flat_map(|report| report.brokers.iter().filter(|broker| broker.alive));
    let mut addresses: Vec<String> = found.source.clone().into_iter().collect();
    for address in alive.map(|broker| (context.admin_address)(key, broker.id.0)) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(BROKERS_ASKED_MAX);
    addresses
}

struct Work<'a> {
    context: &'a Context,
    key: &'a ClusterKey,
    brokers: Vec<String>,
    seen: Observed,
    steps: Vec<Taken>,
    refusals: Vec<Refusal>,
    happenings: Vec<Happening>,
}

impl Work<'_> {
    async fn run(&mut self) -> End {
        // Each pod may be refused when asked for and once more when begun, or be granted, begun and deleted.
        let steps_max = 3 * self.seen.pods.len() + 4;
        for _ in 0..steps_max {
            let step = plan::next(&self.seen);
            let taken = self.take(&step).await;
            let outcome = match &taken {
                Ok(outcome) => Some(outcome.clone()),
                Err(End::Failed(reason, message)) => {
                    Some(Outcome::Failed { reason: (*reason).to_owned(), message: message.clone() })
                }
                Err(End::Done | End::Waits(_)) => None,
            };
            outcome.iter().for_each(|outcome| self.seen.learn(&step, outcome));
            self.steps.push(Taken { step, outcome });
            if let Err(end) = taken {
                return end;
            }
        }
        End::Failed("Retrying", format!("not done after {steps_max} steps"))
    }

    /// What comes of a step, unless the round ends with it.
    async fn take(&mut self, step: &Step) -> Result<Outcome, End> {
        match step {
            Step::Done => Err(End::Done),
            Step::Wait(wait) => Err(End::Waits(wait.clone())),
            &Step::Ask { broker, ref pod_uid, reason, allow_unavailable } => {
                let pod_uid = pod_uid.clone();
                self.ask(PermitBody { broker, pod_uid, reason, allow_unavailable, dry_run: false }).await
            }
            Step::Begin { permit, broker, pod_uid } => self.begin(*permit, *broker, pod_uid).await,
            Step::Delete { permit, broker, pod, pod_uid } => {
                self.delete(*permit, *broker, pod, pod_uid).await
            }
        }
    }

    async fn ask(&mut self, body: PermitBody) -> Result<Outcome, End> {
        let call = |client: BrokerClient, broker: String| {
            let body = body.clone();
            async move { client.ask_permit(&broker, &body).await }
        };
        match self.context.brokers.first_answer(&self.brokers, call).await {
            Ok(Answered::Given(answer)) => {
                let Some(permit) = answer.permit else {
                    return Err(End::Failed("Retrying", "the brokers granted no permit".to_owned()));
                };
                self.granted(&body, &permit, &answer.blocks);
                Ok(Outcome::Granted { permit, borne: first(answer.blocks) })
            }
            Ok(Answered::Refused(refused)) => self.refused(body.broker, refused),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn begin(&mut self, permit: PermitId, broker: BrokerId, pod_uid: &str) -> Result<Outcome, End> {
        let call = |client: BrokerClient, broker: String| {
            let pod_uid = pod_uid.to_owned();
            async move { client.begin_permit(&broker, permit, &pod_uid).await }
        };
        match self.context.brokers.first_answer(&self.brokers, call).await {
            Ok(Answered::Given(_)) => Ok(Outcome::Begun),
            Ok(Answered::Refused(refused)) => self.refused(broker, refused),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn delete(
        &mut self,
        permit: PermitId,
        broker: BrokerId,
        pod: &str,
        pod_uid: &str,
    ) -> Result<Outcome, End> {
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.key.namespace);
        let preconditions = Preconditions { uid: Some(pod_uid.to_owned()), resource_version: None };
        match pods.delete(pod, &DeleteParams::default().preconditions(preconditions)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                return Err(End::Failed("Retrying", format!("pod {pod} is another one by now")));
            }
            Err(error) => {
                self.context.metrics.error("BrokerCluster", Category::KubernetesApi);
                let why = format!("delete pod {pod}: {}", brief(&error));
                return Err(End::Failed(Category::KubernetesApi.reason(), why));
            }
        }
        tracing::info!(cluster = %self.key, %broker, permit = permit.0, pod, pod_uid, "deleted a pod to restart its broker");
        self.context.metrics.rollout_restarted(&self.key.namespace, &self.key.name);
        let note =
            format!("deleted pod {pod} (UID {pod_uid}): broker {broker} restarts under permit {}", permit.0);
        self.happenings.push(Happening::normal("PodDeleted", note));
        Ok(Outcome::Deleted)
    }

    /// Tells of a new permit, and of what a person bears with it.
    fn granted(&mut self, body: &PermitBody, permit: &PermitReport, borne: &[BlockReport]) {
        let (id, broker) = (permit.id.0, permit.broker);
        let why = match body.reason {
            Reason::Asked => "a person asks for its restart",
            _ => "its pod is outdated",
        };
        let note = format!("broker {broker} may restart under permit {id}: {why}");
        tracing::info!(cluster = %self.key, %broker, permit = id, pod_uid = body.pod_uid, why, "the brokers granted a permit");
        self.happenings.push(Happening::normal("RestartGranted", note));
        if body.allow_unavailable {
            let borne =
                if borne.is_empty() { "nothing".to_owned() } else { told::blocks_text(borne, borne.len()) };
            tracing::warn!(cluster = %self.key, %broker, permit = id, pod_uid = body.pod_uid, borne, "a person allows what becomes unavailable");
            let note = format!(
                "broker {broker} restarts under permit {id} with allow-unavailable for pod UID {}; against it stood: {borne}",
                body.pod_uid
            );
            self.happenings.push(Happening::warning("UnavailableAllowed", note));
        }
    }

    /// A judgement against this broker lets the next one be asked for; any other refusal means that something changed.
    fn refused(&mut self, broker: BrokerId, refused: PermitRefused) -> Result<Outcome, End> {
        let PermitRefused { error, blocks, blocked } = refused;
        if error.code != "blocked" {
            return Err(End::Failed(
                "Retrying",
                format!("the brokers answered {}: {}", error.code, error.message),
            ));
        }
        let (blocked, message) = ((blocked as usize).max(blocks.len()), error.message);
        let outcome = Outcome::Refused { blocks: first(blocks.clone()), blocked, message: message.clone() };
        self.refusals.push(Refusal { broker, blocks, blocked, message });
        Ok(outcome)
    }

    fn failed(&self, error: &BrokerError) -> End {
        self.context.metrics.error("BrokerCluster", error.category());
        End::Failed(Category::BrokersUnreachable.reason(), error.to_string())
    }
}

/// As many blocks as the journal keeps of one answer.
fn first(mut blocks: Vec<BlockReport>) -> Vec<BlockReport> {
    blocks.truncate(RECORDED_MAX);
    blocks
}
