//! What is known of one peer: its address, lives, links, and what was heard. Admits lives and keeps at most one link per
//! direction and lane. Does no I/O and emits nothing.

use std::sync::Arc;
use std::time::Duration;

use chronik_core::ids::{BrokerId, Incarnation};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::{PeerAddress, PeerConfig};
use super::event::{DownCause, Lane, PeerStatus, Refusal, RefusalKind};
use super::queue::SendQueue;
use super::request::Outstanding;
use super::verdict::{Evidence, Verdict, next};

/// Starts remembered for fencing, one per disk.
const MAX_DISKS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Out = 0,
    In = 1,
}

/// How far a dial came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialed {
    Connected,
    Refused,
    Failed,
}

struct Link {
    serial: u64,
    cancel: CancellationToken,
}

struct State {
    address: PeerAddress,
    in_book: bool,
    learned: bool,
    /// The newest life seen of each disk, oldest disk first.
    seen: Vec<Incarnation>,
    current: Option<Incarnation>,
    links: [[Option<Link>; 2]; 2],
    serial: u64,
    /// `None` once silent.
    last_heard: Option<Instant>,
    hears_us: bool,
    stopping: bool,
    dial_refused: bool,
    /// It went silent and no connect has succeeded since: a refusal may be the network's, not the host's.
    path_doubtful: bool,
    unlinked_since: Instant,
    known_since: Instant,
    verdict: Verdict,
}

pub(super) struct Peer {
    pub(super) id: BrokerId,
    pub(super) queues: [SendQueue; 2],
    pub(super) requests: Outstanding,
    /// Our replies that are not ready yet.
    pub(super) serving: Arc<Semaphore>,
    /// Wakes a lane's dialer from its pause.
    pub(super) dial_now: [Notify; 2],
    pub(super) cancel: CancellationToken,
    state: Mutex<State>,
}

/// A registered link; dropping it takes it off the books.
pub(super) struct LinkGuard {
    peer: Arc<Peer>,
    side: Side,
    lane: Lane,
    serial: u64,
    pub(super) cancel: CancellationToken,
    judge: Arc<Notify>,
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        let mut state = self.peer.state.lock();
        let place = &mut state.links[self.side as usize][self.lane as usize];
        if place.as_ref().is_some_and(|link| link.serial == self.serial) {
            *place = None;
            if self.lane == Lane::Control {
                state.unlinked_since = Instant::now();
            }
        }
        drop(state);
        self.judge.notify_one();
    }
}

impl State {
    fn linked(&self, side: Side, lane: Lane) -> bool {
        self.links[side as usize][lane as usize].is_some()
    }

    fn any_link(&self) -> bool {
        self.links.iter().flatten().any(Option::is_some)
    }

    fn cut_links(&mut self) {
        for link in self.links.iter_mut().flatten().filter_map(Option::take) {
            link.cancel.cancel();
        }
        self.unlinked_since = Instant::now();
        self.last_heard = None;
        self.hears_us = false;
    }

    fn check(&self, id: BrokerId, life: Incarnation) -> Result<(), Refusal> {
        if let Some(newer) = self.seen.iter().find(|s| s.disk == life.disk && s.start > life.start) {
            let text = format!("broker {id} was seen as {newer}, this is the older {life}");
            return Err(Refusal::new(RefusalKind::Fenced, text));
        }
        let alive = self.any_link() && self.last_heard.is_some();
        match self.current {
            Some(other) if other.disk != life.disk && self.address.disk != Some(life.disk) && alive => {
                let text =
                    format!("broker {id} is alive with disk {}, this is disk {}", other.disk, life.disk);
                Err(Refusal::new(RefusalKind::WrongDisk, text))
            }
            _ => Ok(()),
        }
    }

    /// A connection from it: whatever proved its death before, it lives now, and gets the time a new peer gets to come up.
    fn heard_anew(&mut self, now: Instant) {
        self.last_heard = Some(now);
        if matches!(self.verdict, Verdict::Down(DownCause::Refused | DownCause::Stopping)) && !self.stopping {
            self.verdict = Verdict::Unknown;
            self.known_since = now;
        }
    }

    /// Takes a checked life as the current one; an older one's links are closed.
    fn admit(&mut self, life: Incarnation) {
        if self.current == Some(life) {
            return;
        }
        self.cut_links();
        self.seen.retain(|seen| seen.disk != life.disk);
        if self.seen.len() == MAX_DISKS {
            self.seen.remove(0);
        }
        self.seen.push(life);
        self.current = Some(life);
        self.stopping = false;
    }
}

impl Peer {
    pub(super) fn new(
        id: BrokerId,
        address: PeerAddress,
        learned: bool,
        config: &PeerConfig,
        cancel: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        Self {
            id,
            queues: [SendQueue::new(config.control), SendQueue::new(config.bulk)],
            requests: Outstanding::new(config.max_requests),
            serving: Arc::new(Semaphore::new(config.max_requests)),
            dial_now: [Notify::new(), Notify::new()],
            cancel,
            state: Mutex::new(State {
                address,
                in_book: !learned,
                learned,
                seen: Vec::new(),
                current: None,
                links: Default::default(),
                serial: 0,
                last_heard: None,
                hears_us: false,
                stopping: false,
                dial_refused: false,
                path_doubtful: false,
                unlinked_since: now,
                known_since: now,
                verdict: Verdict::Unknown,
            }),
        }
    }

    pub(super) fn queue(&self, lane: Lane) -> &SendQueue {
        &self.queues[lane as usize]
    }

    pub(super) fn address(&self) -> String {
        self.state.lock().address.address.clone()
    }

    /// The address book's word. When another disk is registered, the one that no longer fits loses its links.
    pub(super) fn set_address(&self, address: PeerAddress) {
        let mut state = self.state.lock();
        let moved = state.address.address != address.address;
        let replaced = state.address.disk != address.disk;
        (state.in_book, state.learned, state.address) = (true, false, address);
        if let Some(disk) = state.address.disk.filter(|_| replaced)
            && state.current.is_some_and(|life| life.disk != disk)
        {
            state.cut_links();
            state.current = None;
        }
        drop(state);
        if moved {
            self.dial_now[Lane::Control as usize].notify_one();
        }
    }

    /// The address book no longer names it; a broker that came by itself stays until it goes.
    pub(super) fn leave_book(&self) {
        let mut state = self.state.lock();
        if state.in_book {
            state.in_book = false;
            state.cut_links();
        }
    }

    /// Whether to forget it: out of the book, or learned and gone for `patience`.
    pub(super) fn is_done(&self, patience: Duration) -> bool {
        let state = self.state.lock();
        let gone = !state.any_link() && state.unlinked_since.elapsed() >= patience;
        !state.in_book && (!state.learned || gone)
    }

    pub(super) fn is_learned(&self) -> bool {
        self.state.lock().learned
    }

    pub(super) fn check(&self, life: Incarnation) -> Result<(), Refusal> {
        self.state.lock().check(self.id, life)
    }

    /// Registers a handshaken connection in place of an earlier one of that direction and lane.
    pub(super) fn link(
        self: &Arc<Self>,
        side: Side,
        lane: Lane,
        life: Incarnation,
        judge: &Arc<Notify>,
    ) -> Result<LinkGuard, Refusal> {
        let mut state = self.state.lock();
        state.check(self.id, life)?;
        state.admit(life);
        state.serial += 1;
        let (serial, cancel) = (state.serial, self.cancel.child_token());
        let link = Link { serial, cancel: cancel.clone() };
        if let Some(older) = state.links[side as usize][lane as usize].replace(link) {
            older.cancel.cancel();
        }
        state.dial_refused = false;
        state.path_doubtful = false;
        if side == Side::In {
            state.heard_anew(Instant::now());
        }
        let control_out = state.linked(Side::Out, Lane::Control);
        drop(state);
        match (side, lane) {
            // Bulk follows Control.
            (Side::Out, Lane::Control) => self.dial_now[Lane::Bulk as usize].notify_one(),
            // It lives: do not sit out the pause.
            (Side::In, Lane::Control) if !control_out => self.dial_now[Lane::Control as usize].notify_one(),
            _ => {}
        }
        judge.notify_one();
        Ok(LinkGuard { peer: self.clone(), side, lane, serial, cancel, judge: judge.clone() })
    }

    pub(super) fn linked(&self, side: Side, lane: Lane) -> bool {
        self.state.lock().linked(side, lane)
    }

    /// Whether a connection of ours to it is open.
    pub(super) fn is_dialed(&self) -> bool {
        let state = self.state.lock();
        Lane::ALL.into_iter().any(|lane| state.linked(Side::Out, lane))
    }

    pub(super) fn heard(&self, link: &LinkGuard) {
        let mut state = self.state.lock();
        if !link.cancel.is_cancelled() {
            state.last_heard = Some(Instant::now());
        }
    }

    /// Whether we hear the peer, as its pings from us say.
    pub(super) fn is_heard(&self) -> bool {
        self.state.lock().last_heard.is_some()
    }

    /// Takes the peer's word on whether it hears us; true when that is news.
    pub(super) fn hears_us(&self, link: &LinkGuard, hears_us: bool) -> bool {
        let mut state = self.state.lock();
        !link.cancel.is_cancelled() && std::mem::replace(&mut state.hears_us, hears_us) != hears_us
    }

    pub(super) fn says_it_stops(&self, link: &LinkGuard) {
        let mut state = self.state.lock();
        if !link.cancel.is_cancelled() {
            state.stopping = true;
        }
    }

    pub(super) fn dialed(&self, outcome: Dialed) {
        let mut state = self.state.lock();
        state.dial_refused = outcome == Dialed::Refused;
        state.path_doubtful &= outcome != Dialed::Connected;
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state.lock().verdict, Verdict::Up(_))
    }

    /// One step of the verdict: the life it is about and the new verdict, when it changes. With `late` silence is not
    /// judged: we were not running ourselves, and what came meanwhile is still unread.
    pub(super) fn judge(&self, config: &PeerConfig, late: bool) -> Option<(Option<Incarnation>, Verdict)> {
        let mut state = self.state.lock();
        if !state.in_book && !state.learned {
            return None; // it goes as removed, whatever else it may look like
        }
        let silent = |since: Instant| !late && since.elapsed() >= config.silence_timeout;
        if state.last_heard.is_some_and(silent) {
            // Not only reported: after a cut, TCP would wait longer and longer before it tries again.
            state.cut_links();
            state.path_doubtful = true;
        }
        let linked = state.linked(Side::Out, Lane::Control) && state.linked(Side::In, Lane::Control);
        let evidence = Evidence {
            newest: state.current,
            linked,
            unlinked_for: if linked { Duration::ZERO } else { state.unlinked_since.elapsed() },
            heard: state.last_heard.is_some(),
            hears_us: state.hears_us,
            refused: state.dial_refused && !state.path_doubtful && !state.any_link(),
            stopping: state.stopping,
            known_for: if late { Duration::ZERO } else { state.known_since.elapsed() },
        };
        let before = state.verdict;
        state.verdict = next(before, &evidence, config.silence_timeout, config.closed_grace);
        if state.verdict == before {
            return None;
        }
        let life = match before {
            Verdict::Up(life) => Some(life),
            _ => state.current,
        };
        if matches!(state.verdict, Verdict::Down(_)) {
            if state.current == life {
                state.hears_us = false; // its next ping tells anew
            }
            self.requests.fail_all();
        }
        Some((life, state.verdict))
    }

    pub(super) fn status(&self) -> PeerStatus {
        let state = self.state.lock();
        PeerStatus {
            broker: self.id,
            address: state.address.address.clone(),
            learned: state.learned,
            up: matches!(state.verdict, Verdict::Up(_)),
            down: match state.verdict {
                Verdict::Down(cause) => Some(cause),
                _ => None,
            },
            incarnation: state.current,
            refusal: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_core::ids::DiskId;
    use uuid::Uuid;

    #[tokio::test]
    async fn after_silence_a_refusal_proves_death_only_once_a_connect_has_succeeded() {
        let life = Incarnation { disk: DiskId(Uuid::nil()), start: 1 };
        let here = || "127.0.0.1:1".to_owned();
        let mut config = PeerConfig::new("c".parse().unwrap(), BrokerId(1), life, here(), here());
        config.silence_timeout = Duration::from_millis(20);
        let address = PeerAddress { address: here(), disk: None };
        let peer = Arc::new(Peer::new(BrokerId(2), address, false, &config, CancellationToken::new()));
        let verdict = || peer.judge(&config, false).map(|(_, verdict)| verdict);
        let _link = peer.link(Side::In, Lane::Control, life, &Arc::new(Notify::new())).unwrap();
        tokio::time::sleep(2 * config.silence_timeout).await;
        assert_eq!(verdict(), Some(Verdict::Down(DownCause::Silent)));
        // A firewall that starts to reject does this.
        peer.dialed(Dialed::Refused);
        assert_eq!(verdict(), None);
        // A host whose frozen process is then killed does this.
        peer.dialed(Dialed::Connected);
        assert_eq!(verdict(), None);
        peer.dialed(Dialed::Failed);
        assert_eq!(verdict(), None);
        peer.dialed(Dialed::Refused);
        assert_eq!(verdict(), Some(Verdict::Down(DownCause::Refused)));
    }
}
