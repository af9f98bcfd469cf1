//! Lays `spec.podTemplate` over a broker's pod. It was judged before: nothing in it is the operator's own. Pure.

use k8s_openapi::api::core::v1::{PodSecurityContext, PodSpec, PodTemplateSpec};
use serde_json::{Value, json};

use super::super::validate::Overlay;

/// What of it a running pod does not take up, as part of the restart hash; nothing if there is none.
pub(super) fn needs_restart(overlay: &Overlay) -> Option<Value> {
    let (labels, annotations) = (&overlay.labels, &overlay.annotations);
    // Where a pod may be scheduled, and with what its image is pulled, never justifies a restart.
    let spec = PodSpec {
        affinity: None,
        image_pull_secrets: None,
        node_selector: None,
        priority_class_name: None,
        scheduler_name: None,
        tolerations: None,
        topology_spread_constraints: None,
        ..overlay.spec.clone()
    };
    let nothing = labels.is_empty() && annotations.is_empty() && spec == PodSpec::default();
    (!nothing).then(|| json!({"labels": labels, "annotations": annotations, "spec": spec}))
}

/// Lays it over the template. The broker's own container has its part already.
pub(super) fn lay_over(template: &mut PodTemplateSpec, overlay: &Overlay) {
    let metadata = template.metadata.get_or_insert_default();
    metadata.labels.get_or_insert_default().extend(overlay.labels.clone());
    metadata.annotations.get_or_insert_default().extend(overlay.annotations.clone());
    let spec = template.spec.get_or_insert_default();
    let over = overlay.spec.clone();
    spec.containers.extend(over.containers);
    append(&mut spec.init_containers, over.init_containers);
    append(&mut spec.volumes, over.volumes);
    append(&mut spec.topology_spread_constraints, over.topology_spread_constraints);
    replace(&mut spec.affinity, over.affinity);
    replace(&mut spec.automount_service_account_token, over.automount_service_account_token);
    replace(&mut spec.dns_config, over.dns_config);
    replace(&mut spec.dns_policy, over.dns_policy);
    replace(&mut spec.host_aliases, over.host_aliases);
    replace(&mut spec.image_pull_secrets, over.image_pull_secrets);
    replace(&mut spec.node_selector, over.node_selector);
    replace(&mut spec.priority_class_name, over.priority_class_name);
    replace(&mut spec.runtime_class_name, over.runtime_class_name);
    replace(&mut spec.scheduler_name, over.scheduler_name);
    replace(&mut spec.service_account_name, over.service_account_name);
    replace(&mut spec.tolerations, over.tolerations);
    if let Some(over) = over.security_context {
        secure(spec.security_context.get_or_insert_default(), over);
    }
}

fn secure(context: &mut PodSecurityContext, over: PodSecurityContext) {
    replace(&mut context.app_armor_profile, over.app_armor_profile);
    replace(&mut context.fs_group_change_policy, over.fs_group_change_policy);
    replace(&mut context.se_linux_options, over.se_linux_options);
    replace(&mut context.supplemental_groups, over.supplemental_groups);
    replace(&mut context.sysctls, over.sysctls);
}

fn replace<T>(field: &mut Option<T>, over: Option<T>) {
    if over.is_some() {
        *field = over;
    }
}

fn append<T>(list: &mut Option<Vec<T>>, more: Option<Vec<T>>) {
    if let Some(more) = more {
        list.get_or_insert_default().extend(more);
    }
}
