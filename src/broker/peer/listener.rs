//! Takes peers' connections: handshake, then reads until the end. Garbage costs its own connection and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::{debug, info, warn};

use super::event::{Lane, PeerEvent, RefusedBy};
use super::frame::{Frame, FrameError, FrameReader};
use super::handshake::{self, HandshakeError, Hello, Reception};
use super::metrics::add;
use super::node::Node;
use super::queue::PushError;
use super::state::{LinkGuard, Peer, Side};

/// How long a reply may take before its asker is told that there is none.
const LONGEST_REPLY: Duration = Duration::from_secs(60);

pub(super) async fn run(node: Arc<Node>, listener: TcpListener) {
    let cancel = node.cancel.clone();
    cancel.run_until_cancelled(accept_all(&node, &listener)).await;
}

async fn accept_all(node: &Arc<Node>, listener: &TcpListener) {
    let handshakes = Arc::new(Semaphore::new(node.config.max_handshakes.max(1)));
    loop {
        let permit = handshakes.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, remote)) => node.spawn(serve(node.clone(), stream, remote, permit)),
            Err(error) => {
                // Out of file descriptors, most likely: waiting is all that helps.
                warn!(%error, "accept peer failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(node: Arc<Node>, stream: TcpStream, remote: SocketAddr, permit: OwnedSemaphorePermit) {
    let cancel = node.cancel.clone();
    cancel.run_until_cancelled(serve_connection(&node, stream, remote, permit)).await;
}

async fn serve_connection(
    node: &Arc<Node>,
    stream: TcpStream,
    remote: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true); // a socket that is gone already shows itself at the first read
    let (from, mut to) = stream.into_split();
    let mut greeting = Greeting { remote, hello: None };
    let greeted = timeout(node.config.handshake_timeout, greet(node, from, &mut to, &mut greeting)).await;
    drop(permit);
    match greeted.unwrap_or(Err(HandshakeError::TimedOut)) {
        Ok((frames, peer, link)) => read(node, frames, to, &peer, &link, &greeting).await,
        Err(error) => note(node, error, greeting),
    }
}

/// Who is at the other end, as far as it came.
struct Greeting {
    remote: SocketAddr,
    hello: Option<Hello>,
}

impl Greeting {
    fn lane(&self) -> Lane {
        self.hello.as_ref().map_or(Lane::Control, |hello| hello.lane)
    }
}

async fn greet<R, W>(
    node: &Arc<Node>,
    mut from: R,
    to: &mut W,
    greeting: &mut Greeting,
) -> Result<(FrameReader<R>, Arc<Peer>, LinkGuard), HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let receive = |hello: &Hello| {
        let reception = Reception {
            identity: node.identity(),
            versions: node.config.versions,
            max_frame: node.config.limits(hello.lane).max_frame,
            payload: node.hello_for(hello.from.broker),
            generation: node.generation(),
        };
        (reception, node.check_hello(hello))
    };
    let (hello, verdict) = handshake::accept(&mut from, to, node.config.versions, receive).await?;
    let hello = greeting.hello.insert(hello);
    verdict?;
    let mut frames = FrameReader::new(from, node.config.limits(hello.lane).max_frame);
    handshake::await_ready(&mut frames).await?;
    // Asked again: another connection may have brought a newer life meanwhile.
    let linked = node.peer_of(hello).and_then(|peer| {
        node.greeted(peer.id, hello.from.incarnation, hello.lane, hello.payload.clone());
        let link = peer.link(Side::In, hello.lane, hello.from.incarnation, &node.judge)?;
        Ok((peer, link))
    });
    match linked {
        Ok((peer, link)) => {
            add(&node.counters.accepts, 1);
            Ok((frames, peer, link))
        }
        Err(refusal) => {
            to.write_all(&Frame::Close(refusal.clone()).encode()).await?;
            Err(HandshakeError::ByUs { refusal, payload: Some(hello.payload.clone()) })
        }
    }
}

async fn read<R, W>(
    node: &Arc<Node>,
    mut frames: FrameReader<R>,
    mut to: W,
    peer: &Arc<Peer>,
    link: &LinkGuard,
    greeting: &Greeting,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Some(hello) = &greeting.hello else { return };
    let (lane, broker, incarnation) = (hello.lane, peer.id, hello.from.incarnation);
    info!(%broker, %incarnation, ?lane, remote = %greeting.remote, "peer connected");
    if lane == Lane::Control {
        // It need not wait for our next ping to know.
        peer.queue(Lane::Control).push_own(Frame::Ping { hears_you: true });
    }
    let incoming = Incoming { node, peer, link, hello };
    let reason = tokio::select! {
        biased;
        () = link.cancel.cancelled() => "no longer wanted".to_owned(),
        error = incoming.read_all(&mut frames, &mut to) => {
            if error.is_garbage() {
                add(&node.counters.garbage, 1);
                warn!(%broker, %incarnation, ?lane, %error, "peer broke the protocol");
            }
            error.to_string()
        }
    };
    info!(%broker, %incarnation, ?lane, %reason, "connection from peer ended");
}

struct Incoming<'a> {
    node: &'a Arc<Node>,
    peer: &'a Arc<Peer>,
    link: &'a LinkGuard,
    hello: &'a Hello,
}

impl Incoming<'_> {
    /// Reads until the end; each ping interval in which bytes came is answered by a pong, also amid a long frame.
    async fn read_all<R, W>(&self, frames: &mut FrameReader<R>, to: &mut W) -> FrameError
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let every = self.node.config.limits(self.hello.lane).ping_interval;
        let patience = self.node.config.silence_timeout + 2 * every;
        let mut pongs = interval_at(Instant::now() + every, every);
        pongs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard_at, mut answered_at) = (Instant::now(), None);
        loop {
            let on_bytes = || {
                heard_at = Instant::now();
                self.peer.heard(self.link);
            };
            tokio::select! {
                frame = frames.next(on_bytes) => match frame {
                    Ok((frame, size)) => {
                        self.node.counters.received(self.hello.lane, size);
                        if let Err(error) = self.take(frame) {
                            return error;
                        }
                    }
                    Err(error) => return error,
                },
                _ = pongs.tick() => {
                    if heard_at.elapsed() >= patience {
                        return std::io::Error::from(std::io::ErrorKind::TimedOut).into();
                    }
                    if answered_at != Some(heard_at) {
                        answered_at = Some(heard_at);
                        if let Err(error) = to.write_all(&Frame::Pong.encode()).await {
                            return error.into();
                        }
                    }
                }
            }
        }
    }

    fn take(&self, frame: Frame) -> Result<(), FrameError> {
        let (from, incarnation) = (self.peer.id, self.hello.from.incarnation);
        match frame {
            Frame::Message(payload) => self.node.emit(PeerEvent::Frame { from, incarnation, payload }),
            Frame::Ping { hears_you } => {
                if self.hello.lane == Lane::Control && self.peer.hears_us(self.link, hears_you) {
                    self.node.judge.notify_one();
                }
            }
            Frame::Stopping => {
                self.peer.says_it_stops(self.link);
                self.node.judge.notify_one();
            }
            Frame::Close(refusal) => info!(broker = %from, %refusal, "peer closes"),
            Frame::Request { id, payload } if self.hello.lane == Lane::Control => self.ask(id, payload),
            Frame::Reply { id, payload } => self.peer.requests.complete(id, Some(payload)),
            Frame::NoReply { id } => self.peer.requests.complete(id, None),
            other => return Err(FrameError::Unexpected(other.name())),
        }
        Ok(())
    }

    /// Hands a request over, and its reply back when it comes.
    fn ask(&self, id: u64, payload: bytes::Bytes) {
        let Ok(permit) = self.peer.serving.clone().try_acquire_owned() else {
            return no_reply(self.node, self.peer, id);
        };
        let (reply, answer) = oneshot::channel();
        let (node, peer) = (self.node.clone(), self.peer.clone());
        let (from, incarnation) = (peer.id, self.hello.from.incarnation);
        self.node.spawn(async move {
            let answer = timeout(LONGEST_REPLY, answer);
            match peer.cancel.run_until_cancelled(answer).await {
                Some(Ok(Ok(payload))) => send_reply(&node, &peer, id, payload),
                _ => no_reply(&node, &peer, id),
            }
            drop(permit);
        });
        self.node.emit(PeerEvent::Request { from, incarnation, payload, reply });
    }
}

fn send_reply(node: &Node, peer: &Peer, id: u64, payload: bytes::Bytes) {
    match peer.queue(Lane::Control).push(Frame::Reply { id, payload }) {
        Ok(()) => return,
        Err(PushError::TooLarge { size, max }) => {
            warn!(broker = %peer.id, size, max, "a reply is longer than the lane carries");
        }
        Err(PushError::Full | PushError::Closed) => {}
    }
    node.counters.dropped(Lane::Control, 1);
    no_reply(node, peer, id);
}

fn no_reply(node: &Node, peer: &Peer, id: u64) {
    if peer.queue(Lane::Control).push(Frame::NoReply { id }).is_err() {
        node.counters.dropped(Lane::Control, 1); // the asker waits until its timeout
    }
}

fn note(node: &Node, error: HandshakeError, greeting: Greeting) {
    let (remote, lane) = (greeting.remote, greeting.lane());
    let broker = greeting.hello.map(|hello| hello.from.broker);
    match (error, broker) {
        (HandshakeError::ByUs { refusal, payload }, Some(broker)) => {
            node.refused(broker, RefusedBy::Us, refusal, payload);
        }
        (HandshakeError::ByThem { refusal, payload }, Some(broker)) => {
            node.refused(broker, RefusedBy::Them, refusal, payload);
        }
        (error, _) => {
            if error.is_garbage() {
                add(&node.counters.garbage, 1);
            }
            if node.may_log() {
                warn!(%remote, %error, "connection on the peer port refused");
            } else {
                debug!(%remote, ?lane, %error, "connection on the peer port refused");
            }
        }
    }
}
