//! Everything that can keep a Topic from being what its spec says.

use crate::broker_client::BrokerError;
use crate::error::{Category, brief};

/// Why a reconcile stopped, or what it could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {}", brief(source))]
    Kubernetes { what: &'static str, source: Box<kube::Error> },
    #[error(
        "there is no BrokerCluster {name} in namespace {namespace}: create it, or delete this Topic and create one \
         whose spec.clusterRef.name is right"
    )]
    ClusterMissing { namespace: String, name: String },
    #[error(
        "Topic {winner} is older and manages topic {topic} of BrokerCluster {cluster}; delete one of the two"
    )]
    Superseded { winner: String, topic: String, cluster: String },
    #[error(
        "BrokerCluster {cluster} has no topic {topic}, and spec.managed is false: nobody makes it. Set spec.managed to true to \
         have it made"
    )]
    Unmade { topic: String, cluster: String },
    #[error("{field} = {value} is not allowed: {allowed}")]
    InvalidSpec { field: String, value: String, allowed: String },
    #[error("{0}")]
    Refused(BrokerError),
    #[error(
        "BrokerCluster {cluster} is still forming: the topic follows once its first brokers have registered"
    )]
    ClusterForming { cluster: String },
    #[error("no broker of BrokerCluster {cluster} answers")]
    BrokersUnreachable { cluster: String },
    #[error("{0}")]
    Brokers(BrokerError),
    #[error("no broker was asked yet")]
    Pending,
}

impl Error {
    pub(super) fn kubernetes(what: &'static str, source: kube::Error) -> Self {
        Self::Kubernetes { what, source: Box::new(source) }
    }

    /// What kind of trouble it is.
    pub fn category(&self) -> Category {
        match self {
            Self::Kubernetes { .. } => Category::KubernetesApi,
            Self::ClusterMissing { .. } | Self::Unmade { .. } => Category::NotFound,
            Self::Superseded { .. } => Category::Conflict,
            Self::InvalidSpec { .. } | Self::Refused(_) => Category::InvalidSpec,
            Self::ClusterForming { .. }
            | Self::BrokersUnreachable { .. }
            | Self::Brokers(_)
            | Self::Pending => Category::BrokersUnreachable,
        }
    }

    /// One CamelCase word for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClusterMissing { .. } => "ClusterNotFound",
            Self::Unmade { .. } => "TopicNotFound",
            Self::Superseded { .. } => "Superseded",
            Self::ClusterForming { .. } => "ClusterForming",
            other => other.category().reason(),
        }
    }
}

impl From<BrokerError> for Error {
    fn from(error: BrokerError) -> Self {
        match (error.category(), &error) {
            (Category::InvalidSpec, BrokerError::Refused { refusal, .. }) => match spec_field(&refusal.field)
            {
                Some(field) => Self::InvalidSpec {
                    field,
                    value: refusal.value.clone(),
                    allowed: refusal.allowed.clone(),
                },
                None => Self::Refused(error),
            },
            (Category::InvalidSpec, _) => Self::Refused(error),
            _ => Self::Brokers(error),
        }
    }
}

/// Where in a Topic's spec a person finds what brokers name in their own words.
fn spec_field(brokers: &str) -> Option<String> {
    match brokers {
        "replication factor" => Some("spec.replicas".to_owned()),
        "partitions" => Some("spec.partitions".to_owned()),
        "topic name" => Some("the topic's name".to_owned()),
        "config name" => Some("a key of spec.config".to_owned()),
        other => other.strip_prefix("config ").map(|key| format!("spec.config[{key}]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker_client::Refusal;
    use hyper::StatusCode;

    fn refused(field: &str) -> String {
        let refusal = Refusal {
            status: StatusCode::BAD_REQUEST,
            code: "some_code".to_owned(),
            field: field.to_owned(),
            value: "5".to_owned(),
            allowed: "1 to 3".to_owned(),
            message: format!("{field} = 5 is not allowed: 1 to 3"),
        };
        let error =
            Error::from(BrokerError::Refused { broker: "b:1".to_owned(), refusal: Box::new(refusal) });
        assert_eq!(error.reason(), "InvalidSpec");
        error.to_string()
    }

    #[test]
    fn what_brokers_refuse_is_named_as_the_spec_names_it() {
        assert_eq!(refused("replication factor"), "spec.replicas = 5 is not allowed: 1 to 3");
        assert_eq!(
            refused("config max.message.bytes"),
            "spec.config[max.message.bytes] = 5 is not allowed: 1 to 3"
        );
        assert_eq!(
            refused("replicas of the cluster"),
            "the brokers answered some_code: replicas of the cluster = 5 is not allowed: 1 to 3"
        );
    }
}
