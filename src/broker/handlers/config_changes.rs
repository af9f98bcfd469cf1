//! The common part of AlterConfigs and IncrementalAlterConfigs: which resource may be altered, and the altering.
//!
//! Only topics may. Brokers take their configs from flags, file and environment.

use std::collections::BTreeMap;

use chronik_core::metadata::{AlterTopicConfigs, Command, TopicRef, validate_topic_name};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::backend::Backend;
use super::describe_configs::{BROKER, TOPIC, unknown_resource};
use super::errors::{Failure, INVALID_CONFIG, INVALID_REQUEST, NONE};
use super::proposals::{Once, deadline, propose};

/// The requests carry no timeout of their own; this is that of Kafka's clients.
const TIMEOUT_MS: i32 = 30_000;

/// New value of each key; `None` returns it to its default.
type Changes = BTreeMap<String, Option<String>>;

/// A resource's kind and name.
type Resource = (i8, String);

/// How one request alters resources.
pub(super) struct Alteration<'a> {
    backend: &'a dyn Backend,
    validate_only: bool,
    deadline: Instant,
    once: Once<Resource>,
}

impl<'a> Alteration<'a> {
    pub(super) fn new(
        backend: &'a dyn Backend,
        validate_only: bool,
        resources: impl Iterator<Item = Resource>,
    ) -> Self {
        Self { backend, validate_only, deadline: deadline(TIMEOUT_MS), once: Once::new(resources) }
    }

    /// Alters a resource by what `changes` makes of the configs that are set on it; `none` says that nothing is asked.
    /// Gives code and message of the answer.
    pub(super) async fn answer(
        &self,
        resource: Resource,
        none: bool,
        changes: impl Fn(&BTreeMap<String, String>) -> Result<Changes, Failure>,
    ) -> (i16, Option<StrBytes>) {
        match self.alter(&resource, none, changes).await {
            Ok(()) => (NONE, None),
            Err(failure) => (failure.code, failure.text()),
        }
    }

    async fn alter(
        &self,
        resource: &Resource,
        none: bool,
        changes: impl Fn(&BTreeMap<String, String>) -> Result<Changes, Failure>,
    ) -> Result<(), Failure> {
        if self.once.is_repeated(resource) {
            return Err(Failure::new(INVALID_REQUEST, "the resource stands in the request more than once"));
        }
        let (kind, name) = (resource.0, resource.1.as_str());
        match kind {
            TOPIC if name.is_empty() => {
                return Err(Failure::new(
                    INVALID_REQUEST,
                    "the configs of all topics cannot be altered at once",
                ));
            }
            TOPIC => validate_topic_name(name)?,
            BROKER if none => return Ok(()),
            BROKER => {
                let message = "configs of a broker cannot be altered while it runs: set them by flag, environment or \
                               config file and restart it";
                return Err(Failure::new(INVALID_CONFIG, message));
            }
            other => return Err(unknown_resource(other)),
        }
        let cluster = self.backend.cluster();
        let topic = TopicRef::Name(name.to_owned());
        let changes = changes(&cluster.find_topic(&topic)?.configs)?;
        let command = AlterTopicConfigs { topic, changes };
        cluster.validate_alter_configs(&command)?;
        if !self.validate_only && !command.changes.is_empty() {
            propose(self.backend, Command::AlterTopicConfigs(command), self.deadline).await?;
        }
        Ok(())
    }
}
