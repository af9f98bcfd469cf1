//! Everything that can keep a Topic from being what its spec says.

use crate::broker_client::BrokerError;
use crate::error::Category;

/// Why a reconcile stopped, or what it could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {source}")]
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
    #[error("{field} = {value} is not allowed: {allowed}")]
    InvalidSpec { field: &'static str, value: String, allowed: String },
    #[error("{0}")]
    Refused(BrokerError),
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
            Self::ClusterMissing { .. } => Category::NotFound,
            Self::Superseded { .. } => Category::Conflict,
            Self::InvalidSpec { .. } | Self::Refused(_) => Category::InvalidSpec,
            Self::BrokersUnreachable { .. } | Self::Brokers(_) | Self::Pending => {
                Category::BrokersUnreachable
            }
        }
    }

    /// One CamelCase word for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClusterMissing { .. } => "ClusterNotFound",
            Self::Superseded { .. } => "Superseded",
            other => other.category().reason(),
        }
    }
}

impl From<BrokerError> for Error {
    fn from(error: BrokerError) -> Self {
        match error.category() {
            Category::InvalidSpec => Self::Refused(error),
            _ => Self::Brokers(error),
        }
    }
}
