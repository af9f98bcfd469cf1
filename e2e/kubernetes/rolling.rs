//! What scenarios of rolling restarts do and look at: changes of the spec, lives of pods.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chronik_e2e::wait;
use serde_json::Value;

use crate::world::World;

/// So long it is watched that nothing restarts.
const STAYS: Duration = Duration::from_secs(10);

/// Changes fields of the BrokerCluster.
pub fn patch(world: &World, patch: &str) {
    try_patch(world, patch).expect("change the BrokerCluster");
}

/// The same where the API server may be away.
pub fn try_patch(world: &World, patch: &str) -> Result<String, String> {
    world.kubectl(&["patch", "brokercluster", "demo", "--type=merge", "--patch", patch]).run().ok()
}

/// A setting that brokers only take up by a restart.
pub fn change_setting(world: &World, name: &str, value: &str) {
    patch(world, &setting(name, value));
}

/// A change of a setting.
pub fn setting(name: &str, value: &str) -> String {
    format!("{{\"spec\": {{\"config\": {{\"{name}\": \"{value}\"}}}}}}")
}

/// Waits until the condition RollingOut begins like this and holds all of these.
pub fn await_told(world: &World, start: &str, parts: &[&str], limit: Duration) -> String {
    let look = || {
        let told = world.condition("brokerclusters/demo", "RollingOut")?;
        let is_so = told.starts_with(start) && parts.iter().all(|part| told.contains(part));
        wait::holds(is_so, || told.clone()).map(|()| told)
    };
    wait::until(&format!("RollingOut is {start} with {parts:?}"), limit, look).0
}

/// Pods that are not those of `before`.
pub fn replaced(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let new = |pod: &&String| now.get(*pod).is_some_and(|uid| before.get(*pod) != Some(uid));
    before.keys().filter(new).cloned().collect()
}

/// For a while every pod stays what it was.
pub fn nothing_restarts(world: &World, before: &BTreeMap<String, String>) {
    let began = Instant::now();
    while began.elapsed() < STAYS {
        assert_eq!(&uids(world).expect("pods"), before);
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// UID by name of each broker's pod.
pub fn uids(world: &World) -> Result<BTreeMap<String, String>, String> {
    let text = |pod: &Value, name: &str| pod["metadata"][name].as_str().unwrap_or_default().to_owned();
    Ok(world.pods()?.iter().map(|pod| (text(pod, "name"), text(pod, "uid"))).collect())
}

/// Of so many pods, those missing, on their way out or not ready.
pub fn at_most_one_is_not_ready(world: &World, of: usize) -> Result<(), String> {
    let pods = world.pods()?;
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    assert!(ready + 1 >= of, "{ready} of {of} pods are ready: {pods:?}");
    Ok(())
}

/// Whether Kubernetes counts a pod as ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let is_ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
    pod.pointer("/metadata/deletionTimestamp").is_none()
        && conditions.is_some_and(|all| all.iter().any(is_ready))
}
