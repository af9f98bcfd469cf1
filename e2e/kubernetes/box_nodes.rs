//! Faults of whole nodes: power loss and unplugged cables, put right again whatever becomes of the test.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use chronik_e2e::program::Program;

/// A call of node.sh waits for kubelet to report, which it does every few seconds, and at worst for another call.
const LIMIT: Duration = Duration::from_secs(180);

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
    let outside = std::env::var("CHRONIK_BOX_OUTSIDE")
        .expect("CHRONIK_BOX_OUTSIDE names no process outside the box's network: run make scenarios");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("box/node.sh");
    // This process stands inside the box's client; nodes are the machine's.
    let done = Program::new("nsenter")
        .args(["--net", "--mount", "--target", &outside, "--"])
        .args([script.as_os_str(), action.as_ref(), node.as_ref()])
        .within(LIMIT)
        .run();
    if std::thread::panicking() && !done.success {
        // A second panic would hide the first.
        eprintln!("{done}");
    } else {
        done.expect("change a node");
    }
}
