//! ElectLeaders: hands partitions to their preferred replicas. Unclean elections do not exist here.

use std::sync::Arc;
use std::time::Duration;

use chronik_core::ids::TopicId;
use chronik_core::metadata::{Partition, Topic, TopicRef};
use chronik_core::view::PartitionReport;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep};

use super::Handlers;
use super::backend::Backend;
use super::errors::{
    ELECTION_NOT_NEEDED, Failure, INVALID_REQUEST, PREFERRED_LEADER_NOT_AVAILABLE, REQUEST_TIMED_OUT,
    UNKNOWN_TOPIC_OR_PARTITION,
};
use super::proposals::deadline;
use crate::server::RequestContext;

/// Kafka's number of the election of preferred leaders.
const PREFERRED: i8 = 0;
/// First version whose answers have a code of their own.
const CODE_FROM: i16 = 1;
/// How often the partitions are looked at, and after how many looks the leaders are asked again.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS_PER_ASK: u32 = 50;

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let deadline = deadline(request.timeout_ms);
    if context.api_version >= CODE_FROM && request.election_type != PREFERRED {
        // This answer has no words; its code is what Kafka gives for what it does not know.
        tracing::warn!(
            election_type = request.election_type,
            "refuse election: only 0 (preferred) is supported, a replica without all committed records never leads"
        );
        return ElectLeadersResponse::default().with_error_code(INVALID_REQUEST);
    }
    let backend = handlers.backend.as_ref();
    let mut topics = asked(backend, &request);
    elect(backend, &mut topics, deadline).await;
    let all = request.topic_partitions.is_none();
    let results = topics.into_iter().map(|(name, elections)| {
        // Asked for all partitions, Kafka names those only that had to change.
        let told = elections.into_iter().filter(|election| !(all && election.code() == ELECTION_NOT_NEEDED));
        (name, told.map(Election::result).collect::<Vec<_>>())
    });
    let results = results.filter(|(_, results)| !results.is_empty()).map(|(name, results)| {
        ReplicaElectionResult::default().with_topic(name).with_partition_result(results)
    });
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}

/// One partition's election.
struct Election {
    topic: Option<TopicId>,
    partition: i32,
    outcome: Option<Result<(), Failure>>,
}

impl Election {
    fn code(&self) -> i16 {
        match &self.outcome {
            Some(Err(failure)) => failure.code,
            _ => 0,
        }
    }

    fn result(self) -> PartitionResult {
        let result = PartitionResult::default().with_partition_id(self.partition);
        match self.outcome {
            Some(Ok(())) => result,
            Some(Err(failure)) => result.with_error_code(failure.code).with_error_message(failure.text()),
            None => {
                let failure = Failure::new(REQUEST_TIMED_OUT, "the preferred replica does not lead yet");
                result.with_error_code(failure.code).with_error_message(failure.text())
            }
        }
    }
}

type Topics = Vec<(TopicName, Vec<Election>)>;

fn asked(backend: &dyn Backend, request: &ElectLeadersRequest) -> Topics {
    let cluster = backend.cluster();
    let topics: Vec<(TopicName, Vec<i32>)> = match &request.topic_partitions {
        Some(topics) => topics.iter().map(|topic| (topic.topic.clone(), topic.partitions.clone())).collect(),
        None => cluster
            .topics()
            .map(|topic| {
                let name = TopicName(StrBytes::from_string(topic.name.clone()));
                (name, topic.partitions.iter().map(|partition| partition.number).collect())
            })
            .collect(),
    };
    let election = |name: &TopicName, partition: i32| {
        let known = cluster.find_topic(&TopicRef::Name(name.to_string()));
        let known = known.map_err(Failure::from).and_then(|topic| match topic.partition(partition) {
            Some(known) => Ok((topic.id, before(&backend.report(topic, known), known))),
            None => {
                let message = format!("topic {} has no partition {partition}", topic.name);
                Err(Failure::new(UNKNOWN_TOPIC_OR_PARTITION, message))
            }
        });
        match known {
            Ok((topic, outcome)) => Election { topic: Some(topic), partition, outcome },
            Err(failure) => Election { topic: None, partition, outcome: Some(Err(failure)) },
        }
    };
    topics
        .into_iter()
        .map(|(name, partitions)| {
            let elections = partitions.into_iter().map(|partition| election(&name, partition)).collect();
            (name, elections)
        })
        .collect()
}

/// What is decided before anybody is asked.
fn before(report: &PartitionReport, partition: &Partition) -> Option<Result<(), Failure>> {
    let preferred = partition.target()[0].broker;
    if report.leader == Some(preferred) {
        return Some(Err(Failure::new(ELECTION_NOT_NEEDED, "the preferred replica leads already")));
    }
    let in_sync = report.isr.as_ref().is_some_and(|isr| isr.contains(&preferred));
    (!in_sync).then(|| {
        let message = format!("broker {preferred}, the preferred replica, is not in sync");
        Err(Failure::new(PREFERRED_LEADER_NOT_AVAILABLE, message))
    })
}

/// Asks the leaders, and looks until the preferred replicas lead or time is over.
async fn elect(backend: &dyn Backend, topics: &mut Topics, deadline: Instant) {
    for look in 0.. {
        let cluster = backend.cluster();
        let open = topics.iter_mut().flat_map(|(_, elections)| elections).filter(|e| e.outcome.is_none());
        let mut groups = Vec::new();
        for election in open {
            let found = election
                .topic
                .and_then(|id| cluster.topic(id))
                .and_then(|topic| Some((topic, topic.partition(election.partition)?)));
            match found {
                Some((topic, partition)) if leads(backend, topic, partition) => {
                    election.outcome = Some(Ok(()));
                }
                Some((_, partition)) => groups.push(partition.group),
                None => {
                    let failure = Failure::new(UNKNOWN_TOPIC_OR_PARTITION, "the topic was deleted meanwhile");
                    election.outcome = Some(Err(failure));
                }
            }
        }
        if groups.is_empty() || Instant::now() >= deadline {
            return;
        }
        if look % LOOKS_PER_ASK == 0 {
            backend.elect_preferred(groups);
        }
        sleep(LOOK).await;
    }
}

fn leads(backend: &dyn Backend, topic: &Topic, partition: &Partition) -> bool {
    backend.report(topic, partition).leader == Some(partition.target()[0].broker)
}
