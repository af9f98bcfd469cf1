//! Everything that can keep a BrokerCluster from being built.

use crate::apply::ApplyError;
use crate::error::{Category, brief};

/// Why a reconcile stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {}", brief(source))]
    Kubernetes { what: &'static str, source: Box<kube::Error> },
    #[error("{field} = {value:?} is not allowed: {allowed}")]
    InvalidSpec { field: String, value: String, allowed: String },
    #[error(
        "volume claims of this cluster hold data of different clusters: {claims}. Nothing is started; \
         delete or relabel the claims that do not belong here"
    )]
    MixedClusterIds { claims: String },
    #[error(
        "volume claim {claim} holds data of cluster {present}, and this resource is cluster {expected}. Nothing is \
         started; remove the claim, or delete this resource and create it anew to adopt the claim's cluster"
    )]
    OtherClusterId { claim: String, present: String, expected: String },
    #[error("the brokers answer as cluster {present}, and this resource is cluster {expected}")]
    ForeignBrokers { present: String, expected: String },
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl Error {
    pub(super) fn kubernetes(what: &'static str, source: kube::Error) -> Self {
        Self::Kubernetes { what, source: Box::new(source) }
    }

    /// What kind of trouble it is.
    pub fn category(&self) -> Category {
        match self {
            Self::Kubernetes { .. } => Category::KubernetesApi,
            Self::InvalidSpec { .. } => Category::InvalidSpec,
            Self::MixedClusterIds { .. } | Self::OtherClusterId { .. } | Self::ForeignBrokers { .. } => {
                Category::Conflict
            }
            Self::Apply(error) => error.category(),
        }
    }

    /// One CamelCase word for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MixedClusterIds { .. } | Self::OtherClusterId { .. } | Self::ForeignBrokers { .. } => {
                "ClusterIdConflict"
            }
            other => other.category().reason(),
        }
    }
}
