//! Keeps one lane to one peer connected, for ever: dial, handshake, write, and again after a pause. Bulk waits for Control.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::address::{Backoff, DialError, connect};
use super::event::{Lane, RefusedBy};
use super::frame::{Frame, FrameError, FrameReader, MAX_REASON};
use super::handshake::{self, HandshakeError, Hello};
use super::metrics::add;
use super::node::Node;
use super::state::{Dialed, LinkGuard, Peer, Side};
use super::writer;

/// A connection that lived this long is followed by a new dial at once: the peer's death is known sooner.
const STEADY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
}

pub(super) async fn run(node: Arc<Node>, peer: Arc<Peer>, lane: Lane) {
    let cancel = peer.cancel.clone();
    cancel.run_until_cancelled(keep_connected(&node, &peer, lane)).await;
    node.counters.dropped(lane, peer.queue(lane).close());
}

async fn keep_connected(node: &Arc<Node>, peer: &Arc<Peer>, lane: Lane) {
    let mut backoff = Backoff::new(node.config.backoff_min, node.config.backoff_max);
    let mut logged = String::new();
    loop {
        while lane == Lane::Bulk && !peer.linked(Side::Out, Lane::Control) {
            peer.dial_now[lane as usize].notified().await;
        }
        match connect_once(node, peer, lane).await {
            Ok(_) if node.is_stopping() => return,
            Ok(lived) => {
                logged.clear();
                if lived >= STEADY {
                    backoff.reset();
                    continue;
                }
            }
            Err(failure) => note(node, peer, lane, failure, &mut logged),
        }
        // Woken early when the peer dials us, or has a new address.
        let _ = timeout(backoff.pause(), peer.dial_now[lane as usize].notified()).await;
    }
}

/// One connection from dial to its end; gives how long it was good.
async fn connect_once(node: &Arc<Node>, peer: &Arc<Peer>, lane: Lane) -> Result<Duration, Failure> {
    add(&node.counters.dials, 1);
    let dialed = connect(&node.config.listen, &peer.address(), node.config.connect_timeout).await;
    if lane == Lane::Control {
        peer.dialed(match &dialed {
            Ok(_) => Dialed::Connected,
            Err(DialError::Refused) => Dialed::Refused,
            Err(_) => Dialed::Failed,
        });
        node.judge.notify_one();
    }
    let (mut from, mut to) = dialed?.into_split();
    let hello = Hello {
        versions: node.config.versions,
        lane,
        from: node.identity(),
        to: peer.id,
        advertised: node.config.advertised.clone(),
        payload: node.hello_for(peer.id),
        generation: node.generation(),
    };
    let handshake = handshake::dial(&mut from, &mut to, &hello, |welcome| node.check_welcome(peer, welcome));
    let welcome =
        timeout(node.config.handshake_timeout, handshake).await.unwrap_or(Err(HandshakeError::TimedOut))?;
    let life = welcome.from.incarnation;
    node.greeted(peer.id, life, lane, welcome.payload.clone());
    let link = peer
        .link(Side::Out, lane, life, &node.judge)
        .map_err(|refusal| HandshakeError::ByUs { refusal, payload: Some(welcome.payload) })?;
    let since = Instant::now();
    add(&node.counters.connects, 1);
    node.forget_refusals(peer.id);
    info!(broker = %peer.id, incarnation = %life, ?lane, version = welcome.version, "connected to peer");

    peer.queue(lane).open(welcome.max_frame);
    if node.is_stopping() {
        return Ok(since.elapsed()); // opened behind the farewells: nobody would close it
    }
    let ended = tokio::select! {
        () = link.cancel.cancelled() => "no longer wanted".to_owned(),
        result = writer::run(node, peer, lane, &mut to) => match result {
            Ok(()) => "we stop".to_owned(),
            Err(error) => format!("write: {error}"),
        },
        error = read_back(node, lane, &link, FrameReader::new(from, MAX_REASON)) => error,
    };
    node.counters.dropped(lane, peer.queue(lane).close());
    info!(broker = %peer.id, incarnation = %life, ?lane, reason = %ended, "connection to peer ended");
    Ok(since.elapsed())
}

/// Reads the acceptor's pongs until it closes; a connection that carries nothing is given up, although others may be well.
async fn read_back<R: AsyncRead + Unpin>(
    node: &Node,
    lane: Lane,
    link: &LinkGuard,
    mut frames: FrameReader<R>,
) -> String {
    let patience = node.config.silence_timeout + 2 * node.config.limits(lane).ping_interval;
    loop {
        match timeout(patience, frames.next(|| ())).await {
            Err(_) => return "no pong in time".to_owned(),
            Ok(Ok((Frame::Pong, _))) => {}
            Ok(Ok((Frame::Close(refusal), _))) => return format!("closed by it: {refusal}"),
            Ok(Ok((other, _))) => return FrameError::Unexpected(other.name()).to_string(),
            Ok(Err(error)) => return error.to_string(),
        }
        if link.cancel.is_cancelled() {
            return "no longer wanted".to_owned();
        }
    }
}

/// Says once what is wrong; the same again goes to debug.
fn note(node: &Node, peer: &Peer, lane: Lane, failure: Failure, logged: &mut String) {
    match failure {
        Failure::Handshake(HandshakeError::ByThem { refusal, payload }) => {
            node.refused(peer.id, RefusedBy::Them, refusal, payload);
        }
        Failure::Handshake(HandshakeError::ByUs { refusal, payload }) => {
            node.refused(peer.id, RefusedBy::Us, refusal, payload);
        }
        other => {
            let text = other.to_string();
            if text == *logged {
                debug!(broker = %peer.id, ?lane, reason = %text, "dial peer again failed");
            } else {
                warn!(broker = %peer.id, address = %peer.address(), ?lane, reason = %text, "dial peer failed");
                *logged = text;
            }
        }
    }
}
