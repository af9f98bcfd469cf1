//! Opens a journal: reads every segment, cuts a torn end, and tells which replicas are whole.
//!
//! Only the last write group may be torn, for nothing but a synced group has bytes behind it. Damage before that is
//! charged to the replicas it hit (`replay.rs`); the others go on. Every payload is read and checked.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use chronik_core::ids::GroupId;
use parking_lot::RwLock;

use super::codec::{CodecError, Predecessor, SEGMENT_HEADER, SegmentHeader, WriteGroupHeader};
use super::disk::Disk;
use super::group_log::GroupLog;
use super::identity::Identity;
use super::journal::{LogError, RecoveredGroup, Shared};
use super::replay::{Replay, Replayed};
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
}

/// A gap between write groups whose meaning the next header tells.
struct Gap {
    at: usize,
    /// Operations found in it.
    found: u32,
}

struct Recovery {
    salt: u32,
    replay: Replay,
    previous: Predecessor,
    gap: Option<Gap>,
}

pub(super) fn recover(disk: &Arc<dyn Disk>, dir: &Path, identity: &Identity) -> Result<Recovered, LogError> {
    let mut segments = open_segments(&**disk, dir)?;
    let salt = check_headers(&segments, identity)?;
    let mut recovery =
        Recovery { salt, replay: Replay::new(dir), previous: Predecessor::default(), gap: None };
    let count = segments.len();
    let mut end = SEGMENT_HEADER;
    for (at, segment) in segments.iter().enumerate() {
        end = recovery.segment(segment, at + 1 == count)?;
    }
    if end == 0 {
        // The last segment's creation was torn: nothing was ever written behind it.
        let torn = segments.pop().expect("there is one");
        tracing::warn!(file = %torn.path.display(), "remove a segment whose creation was cut short");
        disk.remove(&torn.path).map_err(io_error("remove", &torn.path))?;
        disk.sync_dir(&segment::folder(dir)).map_err(io_error("sync", dir))?;
        let last = segments.last().ok_or_else(|| LogError::Missing(segment::folder(dir)))?;
        end =
            usize::try_from(last.file.len().map_err(io_error("measure", &last.path))?).unwrap_or(usize::MAX);
    }
    let active = segments.last().ok_or_else(|| LogError::Missing(segment::folder(dir)))?.clone();
    cut(&active, end as u64)?;
    let numbers: Vec<u32> = segments.iter().map(|segment| segment.number).collect();
    let previous = recovery.previous;
    let replayed = recovery.replay.finish(&numbers, end);
    let position = Position { active, end: end as u64, previous, salt };
    hand_over(&**disk, segments, replayed, position)
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

/// Refuses foreign and unknown files by name; gives the journal's salt.
fn check_headers(segments: &[Arc<Segment>], identity: &Identity) -> Result<u32, LogError> {
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
    salt.or_else(|| learn_salt(&segments[0])).ok_or_else(|| {
        let (file, what) = (segments[0].path.clone(), "no segment has a readable header".to_owned());
        LogError::Damaged(Damage { file, offset: 0, what })
    })
}

fn learn_salt(segment: &Segment) -> Option<u32> {
    let mut bytes = [0; super::codec::GROUP_HEADER];
    segment.file.read_exact_at(&mut bytes, SEGMENT_HEADER as u64).ok()?;
    WriteGroupHeader::decode(&bytes, None).ok().map(|header| header.salt)
}

fn cut(active: &Segment, end: u64) -> Result<(), LogError> {
    let len = active.file.len().map_err(io_error("measure", &active.path))?;
    if len > end {
        tracing::warn!(file = %active.path.display(), at = end, bytes = len - end, "cut the torn end of the journal");
        active.file.set_len(end).map_err(io_error("cut", &active.path))?;
    }
    // Also when nothing was cut: what was read may not have been synced, and others are about to be told of it.
    active.file.sync().map_err(io_error("sync", &active.path))
}

impl Recovery {
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
            if end <= SEGMENT_HEADER && segment.number > 1 {
                return Ok(0);
            }
        }
        for piece in &pieces {
            self.piece(&bytes, piece).map_err(unknown)?;
        }
        Ok(end.max(SEGMENT_HEADER))
    }

    /// Takes away what may be torn: bytes behind the last header, or a last group that is not whole and has
    /// nothing behind it.
    fn torn_end(&self, bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<usize, CodecError> {
        let mut behind = false;
        if let Some(gap) = pieces.pop_if(|piece| piece.header.is_none()) {
            tracing::debug!(at = gap.at, "the journal's last write was torn");
            behind = true;
        }
        let Some(piece) = pieces.last() else { return Ok(SEGMENT_HEADER) };
        let (at, end) = (piece.at, piece.end);
        let seal = piece.header.is_some_and(|(header, _)| header.seal);
        if seal || behind || (!piece.short && scan::body(bytes, piece, self.salt)?.whole) {
            return Ok(end);
        }
        pieces.pop();
        // Bytes between the group before and this one were certified by nothing else.
        let before = pieces.pop_if(|piece| piece.header.is_none());
        Ok(before.map_or(at, |gap| gap.at))
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
        let missing = told.sequence.saturating_sub(self.previous.sequence);
        let found = gap.as_ref().map_or(0, |gap| gap.found);
        let whole = match missing {
            0 => told == self.previous,
            1 => gap.is_some() && found == told.ops,
            _ => false,
        };
        if !whole {
            let at = gap.map_or(at, |gap| gap.at);
            self.replay.lost(at, format!("{missing} write groups before this point are unreadable"));
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
    replayed: Replayed,
    position: Position,
) -> Result<Recovered, LogError> {
    let table = Arc::new(SegmentTable::default());
    let (mut groups, mut found, mut logs) = (Groups::new(), Vec::new(), HashMap::new());
    let mut used: Vec<u32> = vec![position.active.number];
    for (group, replica) in replayed.replicas {
        used.extend(replica.index.slots.iter().map(|slot| slot.segment));
        used.sort_unstable();
        used.dedup();
        let log = Arc::new(GroupLog::new(group, position.salt, table.clone(), replica.index));
        if let Some(damage) = &replica.damage {
            log.set_damage(damage.clone());
        }
        logs.insert(group, log.clone());
        found.push(recovered_group(group, &replica.header, replica.state, &replica.membership, &log));
        let (header, state, membership, chain) =
            (replica.header, replica.state, replica.membership, replica.chain);
        groups.insert(group, GroupState { header, state, membership, chain, log });
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
    Ok(Recovered { shared, groups, position, found, unattributed: replayed.unattributed })
}

fn recovered_group(
    group: GroupId,
    header: &super::types::GroupHeader,
    state: super::types::HardState,
    membership: &Option<(u64, bytes::Bytes)>,
    log: &Arc<GroupLog>,
) -> RecoveredGroup {
    RecoveredGroup {
        group,
        header: header.clone(),
        state,
        membership: membership.clone(),
        log: log.clone(),
        damage: log.damage().cloned(),
    }
}
