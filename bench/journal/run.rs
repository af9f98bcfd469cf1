//! One run: batches come, writers take what waits for a file, write it, sync it, and note how long each batch took.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::layout::{Layout, Tail, create};
use crate::load::Load;

/// How long batches come.
pub const SECONDS: u64 = 3;
/// A writer takes at most this much at once, as the broker's does.
const MOST_AT_ONCE: usize = 8 << 20;
/// Copies are synced each time this much has been written to the journal, so that it could be cut off there.
const CHECKPOINT_BYTES: usize = 128 << 20;
/// Groups of copies that may wait: the journal waits for them when there are more.
const COPIES_WAITING: usize = 64;

/// What one run showed.
#[derive(Default)]
pub struct Outcome {
    seconds: f64,
    bytes: usize,
    syncs: usize,
    cpu_seconds: f64,
    /// From its coming to its sync, of each batch.
    taken: Vec<Duration>,
}

type Figure = (&'static str, fn(&Outcome) -> f64);

impl Outcome {
    pub const FIGURES: [Figure; 5] = [
        ("MB/s", |o| o.bytes as f64 / 1e6 / o.seconds),
        ("batches per sync", |o| o.taken.len() as f64 / o.syncs.max(1) as f64),
        ("ms p50", |o| o.percentile(50)),
        ("ms p99", |o| o.percentile(99)),
        ("CPU s per GB", |o| o.cpu_seconds / (o.bytes as f64 / 1e9)),
    ];

    fn percentile(&self, percent: usize) -> f64 {
        let mut taken = self.taken.clone();
        taken.sort_unstable();
        taken.get(taken.len() * percent / 100).map_or(f64::NAN, |taken| taken.as_secs_f64() * 1e3)
    }
}

#[derive(Clone, Copy)]
struct Batch {
    partition: usize,
    since: Instant,
}

struct Waiting {
    /// By file.
    batches: Vec<VecDeque<Batch>>,
    /// Files for which something waits and that no writer has.
    ready: VecDeque<usize>,
    /// Whether a file is in `ready` or a writer has it.
    taken: Vec<bool>,
}

struct Run<'a> {
    layout: &'a Layout,
    load: &'a Load,
    payload: Vec<u8>,
    waiting: Mutex<Waiting>,
    filled: Condvar,
    over: AtomicBool,
}

/// Runs one load on one layout, in a folder of its own that is removed afterwards.
pub fn run(folder: &Path, layout: &Layout, load: &Load, partitions: usize) -> io::Result<Outcome> {
    let folder = folder.join("run");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir_all(&folder)?,
    }
    let files = layout.synced_files(partitions);
    let synced: Vec<_> = create(&folder, "synced", files)?.into_iter().map(Mutex::new).collect();
    let copies = create(&folder, "copy", if layout.copied { partitions } else { 0 })?;
    let run = Run {
        layout,
        load,
        // Not zeros, which a disk might not store.
        payload: (0..load.batch_bytes).map(|at| (at * 31 % 251) as u8).collect(),
        waiting: Mutex::new(Waiting {
            batches: vec![VecDeque::new(); files],
            ready: VecDeque::new(),
            taken: vec![false; files],
        }),
        filled: Condvar::new(),
        over: AtomicBool::new(false),
    };
    let outcome = run.measure(&synced, copies, partitions);
    std::fs::remove_dir_all(&folder)?;
    outcome
}

impl Run<'_> {
    fn measure(&self, synced: &[Mutex<Tail>], copies: Vec<Tail>, partitions: usize) -> io::Result<Outcome> {
        let (cpu, began) = (cpu_seconds()?, Instant::now());
        let (copy, to_copy) = sync_channel(COPIES_WAITING);
        let outcomes = thread::scope(|scope| {
            let writers: Vec<_> = (0..self.layout.writers)
                .map(|_| {
                    let copy = self.layout.copied.then(|| copy.clone());
                    scope.spawn(move || self.write_all(synced, copy.as_ref()))
                })
                .collect();
            drop(copy);
            let copier = scope.spawn(move || self.copy_all(copies, &to_copy));
            self.produce(partitions, began + Duration::from_secs(SECONDS));
            self.over.store(true, Ordering::Release);
            self.filled.notify_all();
            let outcomes: io::Result<Vec<Outcome>> =
                writers.into_iter().map(|writer| writer.join().expect("a writer never panics")).collect();
            copier.join().expect("the copier never panics")?;
            outcomes
        })?;
        let mut total = Outcome { seconds: began.elapsed().as_secs_f64(), ..Outcome::default() };
        for outcome in outcomes {
            total.bytes += outcome.bytes;
            total.syncs += outcome.syncs;
            total.taken.extend(outcome.taken);
        }
        total.cpu_seconds = cpu_seconds()? - cpu;
        Ok(total)
    }

    /// Lets batches come until the end.
    fn produce(&self, partitions: usize, end: Instant) {
        let mut turn = (0..partitions).cycle();
        let mut next = || turn.next().expect("there is a partition");
        for _ in 0..self.load.at_start(partitions) {
            self.push(Batch { partition: next(), since: Instant::now() });
        }
        let Some(interval) = self.load.interval() else {
            return thread::sleep(end.saturating_duration_since(Instant::now()));
        };
        let mut due = Instant::now();
        while due < end {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // It counts from when it was due: a machine that is late makes its batches late.
            self.push(Batch { partition: next(), since: due });
            due += interval;
        }
    }

    fn push(&self, batch: Batch) {
        let file = self.layout.file_of(batch.partition);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.batches[file].push_back(batch);
        if !std::mem::replace(&mut waiting.taken[file], true) {
            waiting.ready.push_back(file);
            self.filled.notify_one();
        }
    }

    /// What waits for the next file; `None` when the run is over.
    fn take(&self) -> Option<(usize, Vec<Batch>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.over.load(Ordering::Acquire) {
                return None;
            }
            if let Some(file) = waiting.ready.pop_front() {
                let most = MOST_AT_ONCE / self.load.batch_bytes;
                let count = waiting.batches[file].len().min(most);
                return Some((file, waiting.batches[file].drain(..count).collect()));
            }
            // Not for ever: the end may have been told just before.
            let nap = Duration::from_millis(50);
            waiting = self.filled.wait_timeout(waiting, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn give_back(&self, file: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.batches[file].is_empty() {
            waiting.taken[file] = false;
        } else {
            waiting.ready.push_back(file);
            self.filled.notify_one();
        }
    }

    fn write_all(&self, files: &[Mutex<Tail>], copy: Option<&SyncSender<Vec<Batch>>>) -> io::Result<Outcome> {
        let (mut outcome, mut buffer) = (Outcome::default(), Vec::new());
        while let Some((file, batches)) = self.take() {
            buffer.clear();
            batches.iter().for_each(|_| buffer.extend_from_slice(&self.payload));
            {
                let mut tail = files[file].lock().unwrap_or_else(PoisonError::into_inner);
                tail.write(&buffer)?;
                tail.sync()?;
            }
            let now = Instant::now();
            outcome.bytes += buffer.len();
            outcome.syncs += 1;
            outcome.taken.extend(batches.iter().map(|batch| now - batch.since));
            if self.load.interval().is_none() {
                batches.iter().for_each(|batch| self.push(Batch { since: now, ..*batch }));
            }
            self.give_back(file);
            if let Some(copy) = copy {
                // The copier ends only after the writers, or with an error of its own.
                let _ = copy.send(batches);
            }
        }
        Ok(outcome)
    }

    /// Writes what was synced to the partitions' files, and syncs those at each checkpoint.
    fn copy_all(&self, mut files: Vec<Tail>, copies: &Receiver<Vec<Batch>>) -> io::Result<()> {
        let (mut since_checkpoint, mut dirty) = (0, vec![false; files.len()]);
        while let Ok(batches) = copies.recv() {
            for batch in batches {
                files[batch.partition].write(&self.payload)?;
                dirty[batch.partition] = true;
                since_checkpoint += self.payload.len();
            }
            if since_checkpoint >= CHECKPOINT_BYTES {
                since_checkpoint = 0;
                for (file, dirty) in files.iter().zip(&mut dirty) {
                    if std::mem::take(dirty) {
                        file.sync()?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What this process has used of the cores, in the kernel's hundredths of a second.
fn cpu_seconds() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or_else(|| io::Error::other("no name in /proc/self/stat"))?;
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / 100.0)
}
