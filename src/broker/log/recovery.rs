//! Opens a journal: reads every segment, cuts a torn end, and tells which replicas are whole.
//!
//! Only the last write group may be torn, for nothing but a synced group has bytes behind it, and not even that one
//! once the mark (`mark.rs`) says that it was synced. Damage to what was synced is charged to the replicas it hit
//! (`replay.rs`); the others go on. A journal that ends before the mark lost groups of whomever: no replica on this disk
//! is whole then, unless a later operation proves it. Every payload is read and checked.
//!
//! What stays unseen, and why: `docs/adr/0007-what-a-journal-knows-it-lost.md`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

use super::check::Torn;
use super::codec::{CodecError, GROUP_HEADER, Predecessor, SEGMENT_HEADER, SegmentHeader, WriteGroupHeader};
use super::disk::Disk;
use super::group_log::GroupLog;
use super::identity::Identity;
use super::journal::{LogError, RecoveredGroup, Shared};
use super::mark::{Mark, MarkFile};
use super::replay::{Faults, Replay, Replayed, Replica};
use super::scan::{self, Piece};
use super::segment::{self, Segment, SegmentTable};
use super::state::{GroupState, Groups};
use super::types::Damage;
use super::writer::Position;

/// What the writer and the broker go on from.
pub(super) struct Recovered {
    pub(super) shared: Arc<Shared>,
    pub(super) groups: Groups,
    pub(super) position: Position,
    pub(super) found: Vec<RecoveredGroup>,
    pub(super) unattributed: Option<Damage>,
    /// Everything that was found damaged.
    pub(super) faults: Faults,
    /// What was cut off.
    pub(super) torn: Option<Torn>,
    pub(super) size: Size,
}

/// What was read.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) segments: usize,
    pub(super) bytes: u64,
}

/// A gap between write groups whose meaning the next header tells.
struct Gap {
    at: usize,
    /// Operations found in it.
    found: u32,
}

struct Recovery {
    salt: u32,
    /// Up to where the journal was synced, as far as it was noted.
    synced: Option<Mark>,
    replay: Replay,
    previous: Predecessor,
    gap: Option<Gap>,
    /// A segment was begun behind these, so that all of them was synced.
    certified: bool,
}

pub(super) fn recover(disk: &Arc<dyn Disk>, dir: &Path, identity: &Identity) -> Result<Recovered, LogError> {
    let mut segments = open_segments(&**disk, dir)?;
    let mut told = check_headers(&segments, identity)?;
    let salt = salt_of(&segments, told)?;
    let (mark, synced) = MarkFile::open(&**disk, dir, salt)?;
    let begin = |segments: &[Arc<Segment>], certified| -> Result<Recovery, LogError> {
        let (replay, previous) = (Replay::new(dir, measure(segments)?.bytes), Predecessor::default());
        Ok(Recovery { salt, synced, replay, previous, gap: None, certified })
    };
    let mut recovery = begin(&segments, false)?;
    let mut end = recovery.segments(&segments)?;
    let mut cut_short = None;
    if end == 0 {
        // The last segment's creation was torn: nothing was ever written behind it.
        cut_short = segments.pop();
        let last = segments.last().ok_or_else(|| LogError::Missing(segment::folder(dir)))?;
        // The next start has only these to learn from.
        told = check_headers(&segments, identity)?;
        salt_of(&segments, told)?;
        recovery = begin(&segments, true)?;
        end = recovery.segments(&segments)?;
        recovery.certify_by_creation(last);
    }
    let active = segments.last().ok_or_else(|| LogError::Missing(segment::folder(dir)))?.clone();
    if end <= SEGMENT_HEADER && told.is_none() {
        // Cut off, the group that told the salt would leave nothing; next to a damaged header it need not be torn, either.
        return Err(headless(&active));
    }
    let size = measure(&segments)?;
    let torn = end_at(&active, end as u64)?;
    recovery.compare_with_mark(&active, end, dir);
    let numbers: Vec<u32> = segments.iter().map(|segment| segment.number).collect();
    let previous = recovery.previous;
    let replayed = recovery.replay.finish(&numbers, &active.path, end);
    let mut position = Position { active, end: end as u64, previous, salt, mark };
    position.certify();
    position.mark.sync().map_err(io_error("sync the mark in", dir))?;
    // Not before the mark says what its presence said.
    if let Some(torn) = cut_short {
        tracing::warn!(file = %torn.path.display(), "remove a segment whose creation was cut short");
        disk.remove(&torn.path).map_err(io_error("remove", &torn.path))?;
        disk.sync_dir(&segment::folder(dir)).map_err(io_error("sync", dir))?;
    }
    hand_over(&**disk, segments, replayed, position, (torn, size))
}

fn measure(segments: &[Arc<Segment>]) -> Result<Size, LogError> {
    let mut bytes = 0;
    for segment in segments {
        bytes += segment.file.len().map_err(io_error("measure", &segment.path))?;
    }
    Ok(Size { segments: segments.len(), bytes })
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError::Io { action, path, source }
}

fn open_segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<Arc<Segment>>, LogError> {
    let folder = segment::folder(dir);
    let names = match disk.list(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(io_error("list", &folder))?,
    };
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment::number_of(name)).collect();
    numbers.sort_unstable();
    if numbers.is_empty() {
        return Err(LogError::Missing(folder));
    }
    let open = |number| {
        let path = segment::path(dir, number);
        let file = disk.open(&path).map_err(io_error("open", &path))?;
        Ok(Arc::new(Segment { number, path, file }))
    };
    numbers.into_iter().map(open).collect()
}

/// Refuses foreign and unknown files by name; gives the journal's salt if a header tells it.
fn check_headers(segments: &[Arc<Segment>], identity: &Identity) -> Result<Option<u32>, LogError> {
    let mut salt = None;
    for segment in segments {
        let mut bytes = [0; SEGMENT_HEADER];
        let read = segment.file.read_exact_at(&mut bytes, 0);
        let header = read.map_err(|_| CodecError::Short).and_then(|()| SegmentHeader::decode(&bytes));
        match header {
            Ok(header) if header.identity != *identity => {
                let found = Box::new(header.identity);
                return Err(LogError::Foreign { file: segment.path.clone(), found });
            }
            Ok(header) if header.number != u64::from(segment.number) => {
                let what = format!("the header is that of segment {}", header.number);
                return Err(LogError::Damaged(Damage { file: segment.path.clone(), offset: 24, what }));
            }
            Ok(header) => salt = Some(header.salt),
            Err(CodecError::Version { found, known }) => {
                return Err(LogError::UnknownFormat {
                    file: segment.path.clone(),
                    what: "format",
                    found,
                    known,
                });
            }
            // It holds nothing that is not known from elsewhere.
            Err(error) => tracing::warn!(file = %segment.path.display(), %error, "read a segment's header"),
        }
    }
    Ok(salt)
}

/// As a header told it, else as the first write group does.
fn salt_of(segments: &[Arc<Segment>], told: Option<u32>) -> Result<u32, LogError> {
    told.or_else(|| learn_salt(&segments[0])).ok_or_else(|| headless(&segments[0]))
}

fn headless(first: &Segment) -> LogError {
    let (file, what) = (first.path.clone(), "no segment has a readable header".to_owned());
    LogError::Damaged(Damage { file, offset: 0, what })
}

fn learn_salt(segment: &Segment) -> Option<u32> {
    let mut bytes = [0; GROUP_HEADER];
    segment.file.read_exact_at(&mut bytes, SEGMENT_HEADER as u64).ok()?;
    WriteGroupHeader::decode(&bytes, None).ok().map(|header| header.salt)
}

/// Cuts a torn end off, and tells of it; fills up what is missing of a synced one.
fn end_at(active: &Segment, end: u64) -> Result<Option<Torn>, LogError> {
    let len = active.file.len().map_err(io_error("measure", &active.path))?;
    if len != end {
        tracing::warn!(file = %active.path.display(), bytes = len, end, "bring the journal's end to where it was");
        active.file.set_len(end).map_err(io_error("cut", &active.path))?;
    }
    // Also when nothing was cut: what was read may not have been synced, and others are about to be told of it.
    active.file.sync().map_err(io_error("sync", &active.path))?;
    let torn = |bytes| Torn { file: active.path.clone(), offset: end, bytes };
    Ok(len.checked_sub(end).filter(|bytes| *bytes > 0).map(torn))
}

impl Recovery {
    /// Replays them all; gives where the last one ends, as `segment` does.
    fn segments(&mut self, segments: &[Arc<Segment>]) -> Result<usize, LogError> {
        let mut end = SEGMENT_HEADER;
        for (at, segment) in segments.iter().enumerate() {
            end = self.segment(segment, at + 1 == segments.len())?;
        }
        Ok(end)
    }

    /// Replays one segment; gives where it ends, torn bytes left off, or 0 if it was never completely created.
    fn segment(&mut self, segment: &Segment, last: bool) -> Result<usize, LogError> {
        let len = segment.file.len().map_err(io_error("measure", &segment.path))?;
        if len > u64::from(u32::MAX) {
            let what = format!("the segment has {len} bytes: no segment grows beyond 4 GiB");
            return Err(LogError::Damaged(Damage { file: segment.path.clone(), offset: 0, what }));
        }
        let mut bytes = vec![0; len as usize];
        segment.file.read_exact_at(&mut bytes, 0).map_err(io_error("read", &segment.path))?;
        self.replay.begin_segment(segment.number);
        if self.replay.after_gap() {
            self.gap = None;
        }
        let unknown = |error| unknown_format(segment, error);
        let mut pieces = scan::pieces(&bytes, SEGMENT_HEADER, self.salt, self.previous.sequence);
        let mut end = bytes.len();
        if last {
            end = self.torn_end(&bytes, &mut pieces).map_err(unknown)?;
            if end > bytes.len() {
                // Read as it will be found from now on: see `end_at`.
                bytes.resize(end, 0);
                pieces = scan::pieces(&bytes, SEGMENT_HEADER, self.salt, self.previous.sequence);
            }
            if end <= SEGMENT_HEADER && segment.number > 1 && !self.certified {
                return Ok(0);
            }
        }
        for piece in &pieces {
            self.piece(&bytes, piece).map_err(unknown)?;
        }
        Ok(end.max(SEGMENT_HEADER))
    }

    /// Takes away what may be torn: bytes behind the last header, or a last group that is not whole and has
    /// nothing behind it. What was synced stays, so that its damage is charged to those it hit.
    fn torn_end(&self, bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<usize, CodecError> {
        let headers = || pieces.iter().rev().filter_map(|piece| piece.header);
        let last = headers().next().map_or(self.previous.sequence, |(header, _)| header.sequence);
        let mut behind = false;
        if pieces.last().is_some_and(|piece| piece.header.is_none()) {
            if self.is_synced(last + 1) {
                return Ok(bytes.len());
            }
            tracing::debug!("the journal's last write was torn");
            pieces.pop();
            behind = true;
        }
        let Some(piece) = pieces.last() else { return Ok(SEGMENT_HEADER) };
        let Some((header, _)) = piece.header else { return Ok(piece.end) };
        let kept = header.seal || behind || self.is_synced(header.sequence);
        if kept || (!piece.short && scan::body(bytes, piece, self.salt)?.whole) {
            // Where it ended, also if the file ends before: what follows must not come to lie within it.
            return Ok(piece.at + GROUP_HEADER + header.length as usize);
        }
        let at = piece.at;
        pieces.pop();
        // Bytes between the group before and this one were certified by nothing else.
        let before = pieces.pop_if(|piece| piece.header.is_none());
        Ok(before.map_or(at, |gap| gap.at))
    }

    fn is_synced(&self, sequence: u64) -> bool {
        self.certified || self.synced.is_some_and(|mark| sequence <= mark.group.sequence)
    }

    /// A segment is created only when all before it is synced: what is unreadable at the end of the one before was not
    /// torn, though nothing is behind it. The journal goes on behind what was lost, so that every restart sees the gap.
    fn certify_by_creation(&mut self, before: &Segment) {
        let Some(gap) = self.gap.take() else { return };
        let what = "write groups before the next segment's creation are unreadable".to_owned();
        self.replay.lost_in(before.path.clone(), gap.at, what);
        // Behind the mark, too: what it names might be found in the gap by the next restart, and more is missing.
        let synced = self.synced.map_or(0, |mark| mark.group.sequence);
        let sequence = self.previous.sequence.max(synced).saturating_add(1);
        self.previous = Predecessor { sequence, ops: u32::MAX, crc: 0 };
    }

    /// A journal that does not hold what the mark names has lost write groups. It goes on behind them, so that every
    /// restart from now on sees the gap.
    fn compare_with_mark(&mut self, active: &Segment, end: usize, dir: &Path) {
        let Some(mark) = self.synced.filter(|mark| mark.group.sequence >= self.previous.sequence) else {
            return;
        };
        let gap = self.gap.take();
        if !self.leads_to(mark.group, gap.as_ref()) {
            let synced_to = segment::path(dir, mark.segment);
            let what = format!(
                "the journal holds write groups up to number {} here, and {} were synced, up to byte {} of {}",
                self.previous.sequence,
                mark.group.sequence,
                mark.end,
                synced_to.display()
            );
            self.replay.lost_in(active.path.clone(), gap.map_or(end, |gap| gap.at), what);
        }
        self.previous = mark.group;
    }

    fn piece(&mut self, bytes: &[u8], piece: &Piece) -> Result<(), CodecError> {
        let body = scan::body(bytes, piece, self.salt)?;
        let Some((header, crc)) = piece.header else {
            // Found operations are replayed; whether there were more, the next header tells.
            self.replay.body(&body, piece.at, false);
            let gap = self.gap.get_or_insert(Gap { at: piece.at, found: 0 });
            gap.found += body.found.len() as u32;
            return Ok(());
        };
        self.close_gap(&header, piece.at);
        if !header.seal {
            self.replay.body(&body, piece.at, header.checkpoint);
            self.previous = Predecessor { sequence: header.sequence, ops: header.ops, crc };
        } else {
            self.previous = header.predecessor;
        }
        Ok(())
    }

    /// Judges whether operations were lost between the last write group and this header.
    fn close_gap(&mut self, header: &WriteGroupHeader, at: usize) {
        let gap = self.gap.take();
        if self.replay.after_gap() && header.checkpoint {
            return;
        }
        let told = header.predecessor;
        if !self.leads_to(told, gap.as_ref()) {
            let missing = told.sequence.saturating_sub(self.previous.sequence);
            let at = gap.map_or(at, |gap| gap.at);
            self.replay.lost(at, format!("{missing} write groups before this point are unreadable"));
        }
    }

    /// Whether everything up to the write group `told` was found: it is the last one, or lies in the gap behind it.
    fn leads_to(&self, told: Predecessor, gap: Option<&Gap>) -> bool {
        match told.sequence.saturating_sub(self.previous.sequence) {
            0 => told == self.previous,
            1 => gap.is_some_and(|gap| gap.found == told.ops),
            _ => false,
        }
    }
}

fn unknown_format(segment: &Segment, error: CodecError) -> LogError {
    match error {
        CodecError::Version { found, known } => {
            LogError::UnknownFormat { file: segment.path.clone(), what: "operation", found, known }
        }
        other => LogError::Damaged(Damage { file: segment.path.clone(), offset: 0, what: other.to_string() }),
    }
}

/// Makes the shared tables, and removes segments that were dropped but not yet deleted.
fn hand_over(
    disk: &dyn Disk,
    segments: Vec<Arc<Segment>>,
    mut replayed: Replayed,
    position: Position,
    (torn, size): (Option<Torn>, Size),
) -> Result<Recovered, LogError> {
    let table = Arc::new(SegmentTable::default());
    let (mut groups, mut found, mut logs) = (Groups::new(), Vec::new(), HashMap::new());
    let mut used: Vec<u32> = vec![position.active.number];
    for (group, replica) in std::mem::take(&mut replayed.replicas) {
        used.extend(replica.index.slots.iter().map(|slot| slot.segment));
        used.sort_unstable();
        used.dedup();
        let log = Arc::new(GroupLog::new(group, position.salt, table.clone(), replica.index));
        if let Some(damage) = &replica.damage {
            log.set_damage(damage.clone());
        }
        logs.insert(group, log.clone());
        let Replica { header, state, memberships, snapshot, chain, .. } = replica;
        found.push(RecoveredGroup {
            group,
            header: header.clone(),
            state,
            memberships: memberships.clone(),
            snapshot: snapshot.clone(),
            log: log.clone(),
            damage: log.damage().cloned(),
        });
        groups.insert(group, GroupState { header, state, memberships, snapshot, chain, log });
    }
    for segment in segments {
        let number = segment.number;
        if replayed.expected.contains(&number) || used.contains(&number) {
            table.insert(segment);
        } else {
            tracing::info!(file = %segment.path.display(), "remove a segment that was dropped");
            disk.remove(&segment.path).map_err(io_error("remove", &segment.path))?;
        }
    }
    found.sort_unstable_by_key(|group| group.group);
    let shared = Arc::new(Shared { segments: table, groups: RwLock::new(logs) });
    let Replayed { unattributed, faults, .. } = replayed;
    Ok(Recovered { shared, groups, position, found, unattributed, faults, torn, size })
}
