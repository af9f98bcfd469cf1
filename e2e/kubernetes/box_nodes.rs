//! What befalls nodes: power loss, unplugged cables, drains, put right again whatever becomes of the test; and what dies on them.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use chronik_e2e::program::{Ended, Program};

use crate::world::kubectl;

/// A call of node.sh waits for kubelet to report, which it does every few seconds, and at worst for another call.
const LIMIT: Duration = Duration::from_secs(180);
/// Seconds for which a node is made schedulable again, if the API server does not answer at once.
const UNCORDON_TRIES: usize = 30;

/// Nodes that are down or cut off; up again when this ends.
pub struct Outage {
    nodes: Vec<String>,
    remedy: &'static str,
}

impl Outage {
    /// Power loss.
    pub fn kill(node: &str) -> Self {
        node_sh("kill", node);
        Self { nodes: vec![node.to_owned()], remedy: "start" }
    }

    /// One more node loses its power.
    pub fn kill_another(&mut self, node: &str) {
        node_sh("kill", node);
        self.nodes.push(node.to_owned());
    }

    /// The cable is unplugged; everything on the node goes on.
    pub fn cut(node: &str) -> Self {
        node_sh("cut", node);
        Self { nodes: vec![node.to_owned()], remedy: "heal" }
    }

    /// Power on, or the cable back. The nodes are Ready when this thread ends, and may serve long before.
    pub fn end(mut self) -> JoinHandle<()> {
        std::thread::spawn(move || self.put_right())
    }

    fn put_right(&mut self) {
        for node in std::mem::take(&mut self.nodes) {
            node_sh(self.remedy, &node);
        }
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.put_right();
    }
}

fn node_sh(action: &str, node: &str) {
    outside("node.sh", &[action, node]);
}

/// The processes of a container on a node die, by the id Kubernetes has for it.
pub fn crash(node: &str, container: &str) {
    of_container("crash", node, container);
}

/// They stand still.
pub fn freeze(node: &str, container: &str) {
    of_container("freeze", node, container);
}

/// They go on.
pub fn thaw(node: &str, container: &str) {
    of_container("thaw", node, container);
}

/// The most memory that the container's first process ever held, in KiB.
pub fn peak_kib(node: &str, container: &str) -> u64 {
    let told = of_container("peak", node, container);
    told.trim().parse().unwrap_or_else(|_| panic!("no number of KiB: {told:?}"))
}

fn of_container(action: &str, node: &str, container: &str) -> String {
    outside("node.sh", &[action, node, container.trim_start_matches("containerd://")])
}

/// The API server dies, starts again, and answers.
pub fn restart_api_server() {
    outside("api.sh", &["restart"]);
}

/// A script of the box changes nodes, which are the machine's: this process stands inside the box's client.
fn outside(script: &str, args: &[&str]) -> String {
    let outside = std::env::var("CHRONIK_BOX_OUTSIDE")
        .expect("CHRONIK_BOX_OUTSIDE names no process outside the box's network: run make scenarios");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("box").join(script);
    let done = Program::new("nsenter")
        .args(["--net", "--mount", "--target", &outside, "--"])
        .args([path.as_os_str()])
        .args(args)
        .within(LIMIT)
        .run();
    if std::thread::panicking() && !done.success {
        // A second panic would hide the first.
        eprintln!("{done}");
        String::new()
    } else {
        done.expect("change a node")
    }
}

/// A node that may be drained; open for pods again when this ends.
pub struct Cordoned(pub String);

impl Cordoned {
    /// Drains it of its brokers.
    pub fn drain(&self, timeout: &str) -> Ended {
        drain(&self.0, timeout)
    }
}

impl Drop for Cordoned {
    fn drop(&mut self) {
        // The API server may be away for a moment.
        for _ in 0..UNCORDON_TRIES {
            let done = kubectl(&["uncordon", &self.0]).run();
            if done.success {
                return;
            }
            eprintln!("{done}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// `kubectl drain` of the brokers on a node.
pub fn drain(node: &str, timeout: &str) -> Ended {
    kubectl(&["drain", node, "--ignore-daemonsets", "--delete-emptydir-data"])
        .args(["--pod-selector", "app.kubernetes.io/component=broker", "--timeout", timeout])
        .within(LIMIT + Duration::from_secs(20))
        .run()
}
