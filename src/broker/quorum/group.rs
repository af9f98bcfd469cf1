//! One replica of one Raft group: steps and ticks in; entries, messages and commits out. Knows no Kafka rule but offsets.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use chronik_core::ids::{GroupId, LogIndex, Offset, ReplicaId, Term};
use chronik_core::replication::configuration::Configuration;
use raft::eraftpb::{Entry, EntryType, Message, MessageType, Snapshot};
use raft::{Config, ProgressState, RawNode, SnapshotStatus, StateRole};

use super::logger;
use super::members::membership_of;
use super::message::{Outgoing, RaftMessage};
use super::snapshot::{Base, Installed, Waiting};
use super::storage::{ENTRY_VERSION, GroupStorage};
use crate::log::{BatchHeader, Damage, EntryKind, GroupLog, HardState, LogEntry, LogStart};

/// What a group needs to start, besides its log.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub replica: ReplicaId,
    /// Ticks without a word from the leader before an election, at least; up to twice as many.
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Voters of the group's first configuration.
    pub voters: Vec<ReplicaId>,
    /// Learners of the group's first configuration.
    pub learners: Vec<ReplicaId>,
    /// The newest configuration that was applied and stored, which then replaces the first one.
    pub membership: Option<Bytes>,
    /// The configuration at the log's start, if it was not the first one any more.
    pub membership_at_start: Option<Bytes>,
    /// What came before the log's start.
    pub snapshot: Bytes,
    /// Deliver committed entries from after this index.
    pub applied: LogIndex,
    /// Counts the payload bytes of entries that are kept in memory until they are synced and applied, over all groups that
    /// are given the same one.
    pub held: Arc<AtomicUsize>,
}

/// What this replica is, and whom it follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupRole {
    /// The current term.
    pub term: Term,
    /// Whether this replica leads in that term.
    pub leads: bool,
    /// The leader it knows in that term.
    pub leader: Option<ReplicaId>,
}

/// Why a proposal was not appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// This replica does not lead; proposals are never forwarded.
    #[error("this replica does not lead the group")]
    NotLeader,
    /// Leadership is moving away, or too much is uncommitted.
    #[error("the leader takes no proposal now")]
    Busy,
}

/// Why a replica must leave service.
#[derive(Debug, thiserror::Error)]
pub enum GroupFault {
    /// An entry came with an offset that does not follow the one before it.
    #[error("entry {index} starts at offset {found}, but the log ends at {expected}")]
    OffsetGap {
        /// The entry.
        index: LogIndex,
        /// The offset it claims.
        found: Offset,
        /// The offset it should have.
        expected: Offset,
    },
    /// An entry's content is not what its kind says.
    #[error("entry {index}: {what}")]
    BadEntry {
        /// The entry.
        index: LogIndex,
        /// What is wrong with it.
        what: String,
    },
    /// Raft itself refused to go on.
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
    /// A read of the log met damage.
    #[error("the log is damaged")]
    DamagedLog,
    /// A recovery must begin above every term that this replica has seen.
    #[error("epoch {epoch} is not above term {term}")]
    UsedEpoch {
        /// What was asked for.
        epoch: Term,
        /// The term this replica is in.
        term: Term,
    },
    /// The leader knows entries as synced here that are not in the log.
    #[error("entries that were synced are not in the log")]
    LostEntries,
}

/// Identifies a write until its sync is reported back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncTicket {
    ready: u64,
    generation: u64,
    last_index: LogIndex,
    term: Term,
}

/// What one drain of a group asks its driver to do.
#[derive(Debug)]
pub struct Drained {
    /// A log that takes the place of this replica's, to be written before the entries.
    pub installed: Option<Installed>,
    /// Entries to write; the first may replace what lies at or above its index.
    pub entries: Vec<LogEntry>,
    /// Term, vote and commit to write with them.
    pub hard_state: Option<HardState>,
    /// Whether anything above must be synced before `after_sync` may be sent.
    pub must_sync: bool,
    /// Messages that may leave at once.
    pub send: Vec<Outgoing>,
    /// Messages that may leave once this and all earlier writes of the group are synced.
    pub after_sync: Vec<Outgoing>,
    /// Committed entries in order.
    pub committed: Vec<LogEntry>,
    /// Configurations that came into force with them, to be stored: each with the index of its entry.
    pub memberships: Vec<(LogIndex, Bytes)>,
    /// Questions of [`Group::confirm_leadership`] that a majority has answered.
    pub confirmed: Vec<u64>,
    /// To be handed back to [`Group::synced`].
    pub ticket: SyncTicket,
}

/// A change of the group's configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MembershipChange {
    /// Adds a replica that receives the log and does not vote.
    AddLearner(ReplicaId),
    /// Removes a replica that does not vote.
    RemoveLearner(ReplicaId),
    /// Makes these the voters. From then on both they and today's voters must agree, until `LeaveJoint`: by itself raft
    /// would leave at once, also under a leader that goes.
    EnterJoint(Vec<ReplicaId>),
    /// Ends the joint configuration.
    LeaveJoint,
}

/// One replica of one group.
pub struct Group {
    pub(super) id: GroupId,
    pub(super) node: RawNode<GroupStorage>,
    /// The offset after the last entry of raft's log, counting those not drained yet. Kept while leading.
    next_offset: Offset,
    leading_term: Option<Term>,
    /// The newest term that is known to be on disk.
    synced_term: Term,
    waiting: Waiting,
}

/// Entries are sent in messages of at most this many bytes.
pub(super) const MESSAGE_BYTES: u64 = 1 << 20;
/// Append messages on their way to one follower, at most.
const MESSAGES_IN_FLIGHT: usize = 64;
/// The same for a learner: it is behind by nature, and what it lacks is read from disk while others wait.
const MESSAGES_IN_FLIGHT_TO_LEARNER: usize = 4;
/// Bytes a leader appends before the first of them commits, at most.
const UNCOMMITTED_BYTES: u64 = 64 << 20;
/// Bytes of committed entries handed out by one drain, at most.
const COMMITTED_BYTES_PER_DRAIN: u64 = 16 << 20;

impl Group {
    /// Opens the replica on its recovered log.
    pub fn open(config: &GroupConfig, log: Arc<GroupLog>, state: HardState) -> Result<Group, GroupFault> {
        let membership = membership_of(config, &config.membership)?;
        let members = membership_of(config, &config.membership_at_start)?;
        let base = Base { start: log.start(), members, data: config.snapshot.clone() };
        let raft_config = Config {
            id: config.replica.0,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            applied: config.applied,
            max_size_per_msg: MESSAGE_BYTES,
            max_inflight_msgs: MESSAGES_IN_FLIGHT,
            max_uncommitted_size: UNCOMMITTED_BYTES,
            max_committed_size_per_ready: COMMITTED_BYTES_PER_DRAIN,
            check_quorum: true,
            pre_vote: true,
            // Followers of data learn the commit index with the next append or heartbeat; metadata is awaited.
            skip_bcast_commit: config.group != GroupId::METADATA,
            ..Config::default()
        };
        let held = Arc::clone(&config.held);
        let storage = GroupStorage::new(log, to_raft_state(state), membership, base, held);
        let node = RawNode::new(&raft_config, storage, &logger::for_replica())?;
        Ok(Group {
            id: config.group,
            node,
            next_offset: 0,
            leading_term: None,
            synced_term: state.term,
            waiting: Waiting::default(),
        })
    }

    /// The group.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// This replica.
    pub fn replica(&self) -> ReplicaId {
        ReplicaId(self.node.raft.id)
    }

    /// What is wrong with this replica's log, if anything was found.
    pub fn damage(&self) -> Option<&Damage> {
        self.node.store().damage()
    }

    /// Role, term and leader as of now.
    pub fn role(&self) -> GroupRole {
        let raft = &self.node.raft;
        GroupRole {
            term: raft.term,
            leads: raft.state == StateRole::Leader,
            leader: (raft.leader_id != 0).then_some(ReplicaId(raft.leader_id)),
        }
    }

    /// The highest index known to be committed.
    pub fn commit(&self) -> LogIndex {
        self.node.raft.raft_log.committed
    }

    /// The last index of the log, synced or not.
    pub fn end_index(&self) -> LogIndex {
        self.node.raft.raft_log.last_index()
    }

    /// The last index this replica has synced.
    pub fn synced_index(&self) -> LogIndex {
        self.node.store().synced()
    }

    /// The offset after the last entry, counting those proposed and not drained yet.
    pub fn end_offset(&self) -> Offset {
        if self.leading_term == Some(self.node.raft.term) {
            self.next_offset
        } else {
            self.node.store().end_offset()
        }
    }

    /// The offset after the entry at `index`, which must have been drained.
    pub fn position_of(&self, index: LogIndex) -> Offset {
        self.node.store().position_of(index.min(self.node.store().end_index()))
    }

    /// The term of the entry at `index`, if the log has it.
    pub fn term_of(&self, index: LogIndex) -> Option<Term> {
        self.node.raft.raft_log.term(index).ok().filter(|term| *term > 0)
    }

    /// How far a follower has synced, as far as this leader knows.
    pub fn matched(&self, replica: ReplicaId) -> Option<LogIndex> {
        self.node.raft.prs().get(replica.0).map(|progress| progress.matched)
    }

    /// Whether leadership is being handed over right now.
    pub fn is_transferring(&self) -> bool {
        self.node.raft.lead_transferee.is_some()
    }

    /// A snapshot that is not answered was lost on its way; raft would wait for it for ever.
    pub(super) fn look_after_snapshots(&mut self) {
        let raft = &self.node.raft;
        let under_way = raft.prs().iter().filter(|(_, progress)| progress.state == ProgressState::Snapshot);
        let patience = 2 * raft.election_timeout();
        let lost = self.waiting.tick(under_way.map(|(id, _)| *id), patience);
        lost.into_iter().for_each(|replica| self.report_unreachable(replica));
    }

    /// The last index whose entry was handed out as committed.
    pub fn applied(&self) -> LogIndex {
        self.node.raft.raft_log.applied
    }

    /// Where the log begins.
    pub fn start(&self) -> LogStart {
        self.node.store().start()
    }

    /// Whether a follower needs a newer snapshot than there is; told once.
    pub fn wants_snapshot(&self) -> bool {
        self.node.store().wants_snapshot()
    }

    /// Lets the log begin after what was applied, of which `data` is the snapshot. To be written by the caller.
    pub fn begin_after_applied(&mut self, data: Bytes) -> LogStart {
        let applied = self.applied();
        let store = self.node.store();
        let term = raft::Storage::term(store, applied).expect("what was applied is in the log");
        let start = LogStart { index: applied + 1, term, offset: store.position_of(applied) };
        let members = self.node.raft.prs().conf().to_conf_state();
        self.node.mut_store().begin_at(Base { start, members, data });
        start
    }

    /// Whether there is something to drain.
    pub fn has_news(&self) -> bool {
        self.node.has_ready()
    }

    /// The commit index that a follower said it knows, as far as this leader heard.
    pub fn known_commit(&self, replica: ReplicaId) -> Option<LogIndex> {
        self.node.raft.prs().get(replica.0).map(|progress| progress.committed_index)
    }

    /// Takes in another replica's message.
    pub fn step(&mut self, message: RaftMessage) -> Result<(), GroupFault> {
        self.check_heartbeat(&message.0)?;
        self.check_office(&message.0);
        if message.0.get_msg_type() == MessageType::MsgTimeoutNow && !self.may_stand() {
            return Ok(());
        }
        match self.node.step(message.0) {
            // A message from a replica that left, or one that raft ignores by itself, is no fault.
            Ok(()) | Err(raft::Error::StepPeerNotFound | raft::Error::ProposalDropped) => Ok(()),
            Err(raft::Error::StepLocalMsg) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A heartbeat names no more than its leader was told to be synced here: raft panics when the log is shorter.
    fn check_heartbeat(&self, message: &Message) -> Result<(), GroupFault> {
        let last = self.end_index();
        let current =
            message.get_msg_type() == MessageType::MsgHeartbeat && message.term >= self.node.raft.term;
        if current && message.commit > last {
            self.node.store().lost(message.commit);
            return Err(GroupFault::LostEntries);
        }
        Ok(())
    }

    /// Sends the followers a heartbeat now: their answers wake what waits for them.
    pub fn ping(&mut self) {
        self.node.ping();
    }

    /// Sends a follower an append, empty if need be, so that it says what it has synced.
    pub fn ask(&mut self, replica: ReplicaId) {
        if self.node.raft.prs().get(replica.0).is_some() {
            self.node.raft.send_append(replica.0);
        }
    }

    /// Tells raft that a message to `replica` was lost, so that it probes instead of streaming on.
    pub fn report_unreachable(&mut self, replica: ReplicaId) {
        let progress = self.node.raft.prs().get(replica.0);
        if progress.is_some_and(|progress| progress.state == ProgressState::Snapshot) {
            self.node.report_snapshot(replica.0, SnapshotStatus::Failure);
        }
        self.node.report_unreachable(replica.0);
    }

    /// Appends an entry that consumes `records` offsets; gives its index.
    pub fn propose(&mut self, kind: EntryKind, data: Bytes, records: u32) -> Result<LogIndex, ProposeError> {
        let context = Bytes::copy_from_slice(&[kind as u8, ENTRY_VERSION]);
        let entry = Entry { context, data, ..Entry::default() };
        let index = self.propose_entry(entry)?;
        self.next_offset += Offset::from(records);
        Ok(index)
    }

    pub(super) fn propose_entry(&mut self, entry: Entry) -> Result<LogIndex, ProposeError> {
        if self.node.raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader);
        }
        self.start_leading();
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.node.raft.id;
        message.mut_entries().push(entry);
        self.node.raft.step(message).map_err(|_| ProposeError::Busy)?;
        Ok(self.node.raft.raft_log.last_index())
    }

    /// Fixes the next offset when a term's leadership begins: then only raft's empty entry is not drained.
    fn start_leading(&mut self) {
        if self.leading_term != Some(self.node.raft.term) {
            self.leading_term = Some(self.node.raft.term);
            self.next_offset = self.node.store().end_offset();
            self.bound_in_flight();
        }
    }

    pub(super) fn bound_in_flight(&mut self) {
        let Configuration { voters, learners, .. } = self.configuration();
        for voter in voters {
            self.node.raft.adjust_max_inflight_msgs(voter.0, MESSAGES_IN_FLIGHT);
        }
        for learner in learners {
            self.node.raft.adjust_max_inflight_msgs(learner.0, MESSAGES_IN_FLIGHT_TO_LEARNER);
        }
    }

    /// Hands out what is to be written, sent and applied; `None` if there is nothing.
    ///
    /// With `prompt_heartbeats` answers to heartbeats do not wait for the disk: they promise nothing that is not on it
    /// already, and a leader whose followers' disks are slow for longer than an election would step down without them.
    pub fn drain(&mut self, prompt_heartbeats: bool) -> Result<Option<Drained>, GroupFault> {
        if self.node.store().is_damaged() {
            return Err(GroupFault::DamagedLog);
        }
        if !self.node.has_ready() {
            return Ok(None);
        }
        if self.node.raft.state == StateRole::Leader {
            self.start_leading();
        }
        let mut ready = self.node.ready();
        let installed = self.install(ready.snapshot())?;
        let entries = self.take_in(ready.take_entries())?;
        let hard_state = ready.hs().cloned();
        if let Some(state) = &hard_state {
            self.node.mut_store().set_hard_state(state.clone());
        }
        let mut send = outgoing(ready.take_messages());
        let synced_term = self.synced_term;
        let prompt = |message: &Outgoing| {
            prompt_heartbeats
                && message.message.is_heartbeat_answer()
                && message.message.term() <= synced_term
        };
        let (at_once, after_sync): (Vec<_>, Vec<_>) =
            outgoing(ready.take_persisted_messages()).into_iter().partition(prompt);
        send.extend(at_once);
        let (committed, memberships) = self.apply(ready.take_committed_entries())?;
        let answered = ready.take_read_states().into_iter();
        let confirmed = answered.filter_map(|read| read.request_ctx.try_into().ok().map(u64::from_be_bytes));
        let store = self.node.store();
        let drained = Drained {
            installed,
            entries,
            hard_state: hard_state.map(|state| from_raft_state(&state)),
            must_sync: ready.must_sync(),
            send,
            after_sync,
            committed,
            memberships,
            confirmed: confirmed.collect(),
            ticket: SyncTicket {
                ready: ready.number(),
                generation: store.generation(),
                last_index: store.end_index(),
                term: self.node.raft.term,
            },
        };
        self.node.advance_append_async(ready);
        Ok(Some(drained))
    }

    /// Reports that the write of `ticket` and all before it are synced; false if newer writes replaced it.
    pub fn synced(&mut self, ticket: SyncTicket) -> bool {
        if ticket.generation != self.node.store().generation() {
            return false;
        }
        self.synced_term = self.synced_term.max(ticket.term);
        self.node.mut_store().synced_to(ticket.last_index);
        self.node.on_persist_ready(ticket.ready);
        // What a snapshot stands for counts as applied; raft lets that be told only once it is on disk.
        let before = self.start().before();
        if self.applied() < before {
            self.node.advance_apply_to(before);
        }
        self.trim();
        true
    }

    fn trim(&mut self) {
        let applied = self.node.raft.raft_log.applied;
        self.node.mut_store().trim(applied);
    }

    /// Takes over the log that a leader's snapshot stands for.
    fn install(&mut self, snapshot: &Snapshot) -> Result<Option<Installed>, GroupFault> {
        if snapshot.is_empty() {
            return Ok(None);
        }
        let index = snapshot.get_metadata().index;
        let base = Base::from_leader(snapshot).map_err(|what| GroupFault::BadEntry { index, what })?;
        let installed =
            Installed { start: base.start, members: base.members_bytes(), data: base.data.clone() };
        self.node.mut_store().replace(base);
        Ok(Some(installed))
    }

    /// Moves raft's new entries into the tail, giving each its place among the offsets.
    fn take_in(&mut self, entries: Vec<Entry>) -> Result<Vec<LogEntry>, GroupFault> {
        let mut stored = Vec::with_capacity(entries.len());
        for entry in entries {
            let store = self.node.mut_store();
            let logged = to_log(&entry, store.offset_before(entry.index))?;
            store.append(entry, logged.base_offset + Offset::from(logged.records));
            stored.push(logged);
        }
        Ok(stored)
    }

    /// Applies what raft itself must know of committed entries; passes on what others must know.
    fn apply(&mut self, committed: Vec<Entry>) -> Result<Applied, GroupFault> {
        let (mut passed, mut memberships) = Applied::default();
        let Some(last) = committed.last().map(|entry| entry.index) else { return Ok((passed, memberships)) };
        for entry in committed {
            if entry.get_entry_type() == EntryType::EntryConfChangeV2 {
                memberships.push((entry.index, self.apply_membership(&entry)?));
            } else if self.id == GroupId::METADATA {
                let base_offset = self.node.store().offset_before(entry.index);
                passed.push(to_log(&entry, base_offset)?);
            }
        }
        self.node.advance_apply_to(last);
        self.leave_office();
        self.trim();
        Ok((passed, memberships))
    }

    /// A leader that the configuration no longer names steps down, and raft would panic if it went on. It hands over
    /// before it comes to this, unless an earlier leader's change removes it.
    fn leave_office(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Leader || raft.prs().get(raft.id).is_some() {
            return;
        }
        let furthest = raft.prs().iter().max_by_key(|(_, progress)| progress.matched).map(|(id, _)| *id);
        if let Some(successor) = furthest {
            raft.send_timeout_now(successor);
        }
        let term = raft.term;
        raft.become_follower(term, 0);
    }
}

/// Committed entries that others must know of, and configurations that came into force.
type Applied = (Vec<LogEntry>, Vec<(LogIndex, Bytes)>);

fn to_raft_state(state: HardState) -> raft::eraftpb::HardState {
    raft::eraftpb::HardState {
        term: state.term,
        vote: state.vote,
        commit: state.commit,
        ..raft::eraftpb::HardState::default()
    }
}

fn from_raft_state(state: &raft::eraftpb::HardState) -> HardState {
    HardState { term: state.term, vote: state.vote, commit: state.commit }
}

fn outgoing(messages: Vec<Message>) -> Vec<Outgoing> {
    messages
        .into_iter()
        .map(|message| {
            let message = RaftMessage(message);
            Outgoing { to: message.to(), lane: message.lane(), message }
        })
        .collect()
}

/// The log's form of a raft entry that begins at `base_offset`.
fn to_log(entry: &Entry, base_offset: Offset) -> Result<LogEntry, GroupFault> {
    let bad = |what: String| GroupFault::BadEntry { index: entry.index, what };
    let mut logged = LogEntry {
        index: entry.index,
        term: entry.term,
        kind: EntryKind::Empty,
        base_offset,
        records: 0,
        max_timestamp: -1,
        producer: None,
        payload: entry.data.clone(),
    };
    if entry.get_entry_type() != EntryType::EntryNormal {
        logged.kind = EntryKind::Membership;
        return Ok(logged);
    }
    match *entry.context {
        [] if entry.data.is_empty() => return Ok(logged),
        [kind, ENTRY_VERSION] => {
            logged.kind = EntryKind::from_number(kind).ok_or_else(|| bad(format!("unknown kind {kind}")))?;
        }
        [_, version] => {
            return Err(bad(format!("version {version} is newer than this build's {ENTRY_VERSION}")));
        }
        _ => return Err(bad(format!("context of {} bytes", entry.context.len()))),
    }
    if logged.kind == EntryKind::Records {
        let header = BatchHeader::parse(&entry.data).map_err(|error| bad(error.to_string()))?;
        if header.base_offset != base_offset {
            return Err(GroupFault::OffsetGap {
                index: entry.index,
                found: header.base_offset,
                expected: base_offset,
            });
        }
        logged.records = header.records();
        logged.max_timestamp = header.max_timestamp;
        logged.producer = header.producer();
    }
    Ok(logged)
}
