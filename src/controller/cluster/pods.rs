//! What keeps a broker's pod from starting, in its own words. Pure.

use chronik_api::broker_pod::condition;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::ResourceExt;

/// Reasons of a container that is on its way.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// How long after its grace period a pod may take to be gone, in seconds.
const ENDING_SECONDS: i64 = 10;
/// Longest piece of a container's last words.
const WORDS_CHARS_MAX: usize = 400;

/// What the first pod that cannot start has to say, for a person.
pub(super) fn trouble(pods: &[Pod]) -> Option<String> {
    let mut pods: Vec<&Pod> = pods.iter().collect();
    pods.sort_by_key(|pod| (pod.name_any().len(), pod.name_any()));
    pods.into_iter().find_map(|pod| Some(format!("pod {}: {}", pod.name_any(), trouble_of(pod)?)))
}

/// What to do about a pod that should have ended some time ago: nothing but its node can say that it has. `now` is in seconds
/// since 1970.
pub(super) fn overdue(pods: &[Pod], uid: &str, now: i64) -> Option<String> {
    let pod = pods.iter().find(|pod| pod.metadata.uid.as_deref() == Some(uid))?;
    // Kubernetes writes down when the grace period ends.
    let due = pod.metadata.deletion_timestamp.as_ref()?.0;
    if now - due.as_second() < ENDING_SECONDS {
        return None;
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("none");
    let name = pod.name_any();
    Some(format!(
        "Pod {name} should have ended at {due}, and its node {node} does not say that it has: it may be down or cut \
         off. If that node is lost for good, say so: kubectl taint node {node} \
         node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
    ))
}

fn trouble_of(pod: &Pod) -> Option<String> {
    if let Some(("False", message)) = condition(pod, "PodScheduled") {
        return Some(format!("not scheduled: {message}"));
    }
    let status = pod.status.as_ref()?;
    let lists = [&status.init_container_statuses, &status.container_statuses];
    lists.into_iter().flatten().flatten().find_map(container)
}

fn container(status: &ContainerStatus) -> Option<String> {
    let name = &status.name;
    let (now, last) = (status.state.as_ref()?, status.last_state.as_ref());
    if let Some(ended) = ended(now) {
        return Some(format!("container {name} {ended}"));
    }
    let waiting = now.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| !STARTING.contains(reason))?;
    let why = last.and_then(ended).or_else(|| waiting.message.as_deref().map(words)).unwrap_or_default();
    Some(format!("container {name} waits ({reason}): {why}"))
}

/// An end that was no success, with the last words before it.
fn ended(state: &ContainerState) -> Option<String> {
    let end = state.terminated.as_ref().filter(|end| end.exit_code != 0)?;
    let said = end.message.as_deref().map(words).filter(|said| !said.is_empty());
    Some(format!(
        "ended with code {}{}",
        end.exit_code,
        said.map_or(String::new(), |said| format!(": {said}"))
    ))
}

/// The last line that says something, cut.
fn words(text: &str) -> String {
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    last.trim().chars().take(WORDS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: &str) -> Pod {
        let text = format!("metadata: {{name: demo-broker-1}}\nstatus: {status}");
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn told(status: &str) -> Option<String> {
        trouble(&[pod(status)])
    }

    #[test]
    fn a_pod_that_cannot_start_says_why() {
        let unscheduled =
            "{conditions: [{type: PodScheduled, status: 'False', message: 0/3 nodes are available}]}";
        assert_eq!(told(unscheduled).unwrap(), "pod demo-broker-1: not scheduled: 0/3 nodes are available");
        let pull = "{containerStatuses: [{name: broker, image: x, imageID: '', ready: false, restartCount: 0, \
            state: {waiting: {reason: ImagePullBackOff, message: Back-off pulling image x}}}]}";
        assert_eq!(
            told(pull).unwrap(),
            "pod demo-broker-1: container broker waits (ImagePullBackOff): Back-off pulling image x"
        );
        let crash = "{containerStatuses: [{name: broker, image: x, imageID: '', ready: false, restartCount: 3, \
            state: {waiting: {reason: CrashLoopBackOff, message: back-off 40s}}, \
            lastState: {terminated: {exitCode: 2, message: \"first\\nerror: no_such = 1 is not allowed\\n\"}}}]}";
        assert_eq!(
            told(crash).unwrap(),
            "pod demo-broker-1: container broker waits (CrashLoopBackOff): ended with code 2: error: no_such = 1 is \
             not allowed"
        );
    }

    #[test]
    fn a_pod_that_outlives_its_grace_period_is_told_of_with_its_node() {
        let text = "metadata: {name: demo-broker-3, uid: u3, deletionTimestamp: '2026-01-01T10:00:00Z'}\n\
                    spec: {nodeName: node3, containers: []}";
        let pod: Pod = serde_saphyr::from_str(text).unwrap();
        let told = |now: &str, uid: &str| {
            let now: k8s_openapi::jiff::Timestamp = now.parse().unwrap();
            overdue(std::slice::from_ref(&pod), uid, now.as_second())
        };
        assert_eq!(told("2026-01-01T10:00:09Z", "u3"), None);
        assert_eq!(told("2026-01-01T10:00:10Z", "other"), None);
        let overdue = told("2026-01-01T10:00:10Z", "u3").unwrap();
        assert!(
            overdue.starts_with(
                "Pod demo-broker-3 should have ended at 2026-01-01T10:00:00Z, and its node node3"
            ),
            "{overdue}"
        );
        assert!(overdue.contains("taint node node3 node.kubernetes.io/out-of-service"), "{overdue}");
    }

    #[test]
    fn a_pod_on_its_way_is_no_trouble() {
        let creating = "{containerStatuses: [{name: broker, image: x, imageID: '', ready: false, restartCount: 0, \
            state: {waiting: {reason: ContainerCreating}}}]}";
        assert_eq!(told(creating), None);
        assert_eq!(
            told(
                "{containerStatuses: [{name: broker, image: x, imageID: '', ready: false, restartCount: 1, \
            state: {running: {}}, lastState: {terminated: {exitCode: 137}}}]}"
            ),
            None
        );
    }
}
