//! A replica that keeps batches in memory and does as a test tells it.

use bytes::{Bytes, BytesMut};
use chronik_core::ids::{BrokerId, Offset, Term};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::handlers::backend::{
    Acks, AppendError, AppendRequest, Appended, Leadership, ReadError, ReplicaHandle, TimedOffset,
};

/// What a replica does with a batch.
#[derive(Clone)]
pub(crate) enum Fate {
    /// Takes it and acknowledges it at once.
    Commit,
    /// Takes it and keeps the answer until [`MemoryReplica::release`].
    Hold,
    /// Refuses it.
    Fail(AppendError),
    /// Takes it and drops the answer, as an engine that died.
    Forget,
    /// Panics, as a bug would.
    Panic,
}

struct Batch {
    base: Offset,
    end: Offset,
    epoch: Term,
    max_timestamp: i64,
    bytes: Bytes,
}

struct State {
    leadership: Leadership,
    fate: Fate,
    high_watermark: Offset,
    log_start: Offset,
    epoch_start_reached: bool,
    readable_followers: Vec<BrokerId>,
    in_sync: bool,
    batches: Vec<Batch>,
    held: Vec<(oneshot::Sender<Result<Appended, AppendError>>, Appended)>,
    acks: Vec<Acks>,
}

pub(crate) struct MemoryReplica {
    state: Mutex<State>,
    progress: watch::Sender<u64>,
}

impl MemoryReplica {
    pub(crate) fn new(leadership: Leadership) -> Self {
        let state = State {
            leadership,
            fate: Fate::Commit,
            high_watermark: 0,
            log_start: 0,
            epoch_start_reached: true,
            readable_followers: Vec::new(),
            in_sync: true,
            batches: Vec::new(),
            held: Vec::new(),
            acks: Vec::new(),
        };
        Self { state: Mutex::new(state), progress: watch::Sender::new(0) }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.progress.send_modify(|count| *count += 1);
        result
    }

    pub(crate) fn lead_as(&self, leadership: Leadership) {
        self.change(|state| state.leadership = leadership);
    }

    pub(crate) fn set_fate(&self, fate: Fate) {
        self.change(|state| state.fate = fate);
    }

    pub(crate) fn set_high_watermark(&self, offset: Offset) {
        self.change(|state| state.high_watermark = offset);
    }

    pub(crate) fn set_log_start(&self, offset: Offset) {
        self.change(|state| state.log_start = offset);
    }

    pub(crate) fn set_epoch_start_reached(&self, reached: bool) {
        self.change(|state| state.epoch_start_reached = reached);
    }

    pub(crate) fn set_readable_followers(&self, followers: &[u32]) {
        self.change(|state| state.readable_followers = followers.iter().copied().map(BrokerId).collect());
    }

    pub(crate) fn set_in_sync(&self, in_sync: bool) {
        self.change(|state| state.in_sync = in_sync);
    }

    /// Answers what was held, the last one first, and commits it.
    pub(crate) fn release(&self) {
        let held = self.change(|state| {
            state.high_watermark = state.batches.last().map_or(0, |batch| batch.end);
            std::mem::take(&mut state.held)
        });
        for (answer, appended) in held.into_iter().rev() {
            let _ = answer.send(Ok(appended));
        }
    }

    /// How many batches were taken.
    pub(crate) fn taken(&self) -> usize {
        self.state.lock().batches.len()
    }

    pub(crate) fn bytes(&self) -> Vec<Bytes> {
        self.state.lock().batches.iter().map(|batch| batch.bytes.clone()).collect()
    }

    pub(crate) fn acks(&self) -> Vec<Acks> {
        self.state.lock().acks.clone()
    }
}

impl ReplicaHandle for MemoryReplica {
    fn leadership(&self) -> Leadership {
        self.state.lock().leadership.clone()
    }

    fn high_watermark(&self) -> Offset {
        self.state.lock().high_watermark
    }

    fn log_start_offset(&self) -> Offset {
        self.state.lock().log_start
    }

    fn log_end_offset(&self) -> Offset {
        self.state.lock().batches.last().map_or(0, |batch| batch.end)
    }

    fn size_bytes(&self) -> u64 {
        self.bytes().iter().map(|batch| batch.len() as u64).sum()
    }

    fn epoch_start_reached(&self) -> bool {
        self.state.lock().epoch_start_reached
    }

    fn readable_followers(&self) -> Vec<BrokerId> {
        self.state.lock().readable_followers.clone()
    }

    fn is_in_sync(&self) -> bool {
        self.state.lock().in_sync
    }

    fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    fn read(
        &self,
        from: Offset,
        below: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Bytes, ReadError> {
        let mut found = BytesMut::new();
        for batch in self.state.lock().batches.iter().filter(|b| b.end > from && b.end <= below) {
            let fits = found.len() + batch.bytes.len() <= max_bytes;
            let first = at_least_one && found.is_empty();
            if !fits && !first {
                break;
            }
            found.extend_from_slice(&batch.bytes);
        }
        Ok(found.freeze())
    }

    fn readable(&self, from: Offset, below: Offset, max_bytes: usize, at_least_one: bool) -> usize {
        self.read(from, below, max_bytes, at_least_one).map_or(0, |bytes| bytes.len())
    }

    fn offset_for_time(&self, timestamp: i64, below: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let state = self.state.lock();
        let mut batches = state.batches.iter().filter(|batch| batch.end <= below);
        let found = batches.find(|batch| batch.max_timestamp >= timestamp);
        Ok(found.map(|batch| TimedOffset { offset: batch.base, timestamp: batch.max_timestamp }))
    }

    fn max_timestamp(&self, below: Offset) -> Option<i64> {
        let state = self.state.lock();
        state.batches.iter().filter(|batch| batch.end <= below).map(|batch| batch.max_timestamp).max()
    }

    fn end_of_epoch(&self, epoch: Term) -> Option<(Term, Offset)> {
        let state = self.state.lock();
        state.batches.iter().rfind(|batch| batch.epoch <= epoch).map(|batch| (batch.epoch, batch.end))
    }

    fn epoch_at(&self, offset: Offset) -> Option<Term> {
        let state = self.state.lock();
        state.batches.iter().find(|batch| batch.end > offset).map(|batch| batch.epoch)
    }

    fn append(&self, request: AppendRequest) -> oneshot::Receiver<Result<Appended, AppendError>> {
        let (answer, outcome) = oneshot::channel();
        self.change(|state| {
            state.acks.push(request.acks);
            if let Fate::Fail(error) = &state.fate {
                let _ = answer.send(Err(error.clone()));
                return;
            }
            let leads = match &state.leadership {
                Leadership::Leader { epoch } => Ok(*epoch),
                Leadership::Follower { leader, epoch } => {
                    Err(AppendError::NotLeader { leader: *leader, epoch: *epoch })
                }
                Leadership::Caretaker { .. } => Err(AppendError::QuorumLost),
                Leadership::Quarantined { reason } => Err(AppendError::Storage(reason.clone())),
            };
            let epoch = match leads {
                Ok(epoch) => epoch,
                Err(error) => return drop(answer.send(Err(error))),
            };
            let base = state.batches.last().map_or(0, |batch| batch.end);
            let (end, max_timestamp) =
                (base + i64::from(request.batch.records()), request.batch.max_timestamp());
            let bytes = request.batch.patch(base, epoch as i32);
            state.batches.push(Batch { base, end, epoch, max_timestamp, bytes });
            let appended = Appended { base_offset: base, log_start_offset: state.log_start };
            match state.fate {
                Fate::Commit => {
                    state.high_watermark = end;
                    let _ = answer.send(Ok(appended));
                }
                Fate::Hold => state.held.push((answer, appended)),
                Fate::Panic => panic!("a bug"),
                Fate::Forget | Fate::Fail(_) => {}
            }
        });
        outcome
    }
}
