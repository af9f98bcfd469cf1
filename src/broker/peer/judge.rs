//! The one task that says Up and Down, and forgets peers that are done. Looks at what others observed; does no I/O.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::event::{DownCause, PeerEvent};
use super::node::Node;
use super::state::Peer;
use super::verdict::Verdict;

/// How often silence is looked for; news wake the judge at once.
const TICK: Duration = Duration::from_millis(100);
/// A look that comes later than this was not only the judge's own delay: the readers were stopped, too.
const OVERSLEPT: Duration = Duration::from_millis(600);
/// What the readers then get to take in what waits in their sockets.
const CATCH_UP: Duration = Duration::from_millis(300);
/// How long a broker that came by itself is remembered after it went.
const LEARNED_PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(node: Arc<Node>) {
    let cancel = node.cancel.clone();
    cancel.run_until_cancelled(judge_all(&node)).await;
}

async fn judge_all(node: &Node) {
    let mut last_look = Instant::now();
    let mut fair_from = last_look;
    loop {
        let _ = timeout(TICK, node.judge.notified()).await;
        let now = Instant::now();
        if now - last_look > OVERSLEPT {
            warn!(
                slept_ms = (now - last_look).as_millis() as u64,
                "this process stood still; silence is not judged yet"
            );
            fair_from = now + CATCH_UP;
        }
        last_look = now;
        for peer in node.all_peers() {
            while let Some((incarnation, verdict)) = peer.judge(&node.config, now < fair_from) {
                report(node, &peer, incarnation, verdict);
            }
        }
        for peer in node.forget_done(LEARNED_PATIENCE) {
            if peer.is_up() {
                info!(broker = %peer.id, "peer removed");
                let incarnation = peer.status().incarnation;
                node.emit(PeerEvent::Down { broker: peer.id, incarnation, cause: DownCause::Removed });
            }
            peer.requests.fail_all();
        }
    }
}

fn report(node: &Node, peer: &Peer, incarnation: Option<chronik_core::ids::Incarnation>, verdict: Verdict) {
    let broker = peer.id;
    match verdict {
        Verdict::Unknown => {}
        Verdict::Up(incarnation) => {
            info!(%broker, %incarnation, "peer is up");
            node.emit(PeerEvent::Up { broker, incarnation });
        }
        Verdict::Down(cause) => {
            warn!(%broker, ?cause, "peer is down");
            node.emit(PeerEvent::Down { broker, incarnation, cause });
        }
    }
}
