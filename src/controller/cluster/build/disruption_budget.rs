//! The PodDisruptionBudget: a drain may take one broker at a time. Pure.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::names;
use super::super::validate::ValidCluster;
use super::{metadata, selector};

pub(super) fn build(cluster: &ValidCluster) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(cluster, names::disruption_budget(&cluster.key.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(cluster)),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
