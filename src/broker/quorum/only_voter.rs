//! Makes a replica its group's only voter because a person says that the others are gone. Safe only if that is true.
//!
//! The replica is spoken to as by a leader of an epoch above all others, which has committed the whole log here and,
//! behind it, the change of members. So the change stands in the log, and whoever reads it later comes to the same members.

use bytes::Bytes;
use chronik_core::ids::Term;
use chronik_core::replication::configuration::Configuration;
use raft::eraftpb::{
    ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry, EntryType, Message, MessageType,
};
use raft::{Changer, GetEntriesContext, ProgressTracker};

use super::group::{Group, GroupFault, MESSAGE_BYTES};
use super::members::{in_order, single};
use super::protobuf_bytes;
use super::storage::ENTRY_VERSION;
use crate::log::EntryKind;

impl Group {
    /// Has the whole log count as committed and this replica as the only voter, from `epoch` on. Behind that come the
    /// commands of `records`. It holds once what the next drain gives out is written, and all of it is one write.
    pub fn make_only_voter(&mut self, epoch: Term, records: Vec<Bytes>) -> Result<(), GroupFault> {
        let raft = &self.node.raft;
        if epoch <= raft.term {
            return Err(GroupFault::UsedEpoch { epoch, term: raft.term });
        }
        let (own, last, last_term) = (raft.id, self.end_index(), raft.raft_log.last_term());
        let mut members = self.members_at_end()?;
        let mut entries = Vec::new();
        if !members.conf().to_conf_state().voters_outgoing.is_empty() {
            entries.push(change_entry(&mut members, &ConfChangeV2::default())?);
        }
        let alone = alone(own, &members);
        entries.push(change_entry(&mut members, &alone)?);
        entries.push(change_entry(&mut members, &ConfChangeV2::default())?);
        entries.extend(records.into_iter().map(|data| {
            let context = Bytes::from_static(&[EntryKind::Command as u8, ENTRY_VERSION]);
            Entry { context, data, ..Entry::default() }
        }));
        for (index, entry) in (last + 1..).zip(&mut entries) {
            (entry.index, entry.term) = (index, epoch);
        }
        let commit = last + entries.len() as u64;
        let mut word = Message {
            from: own,
            to: own,
            term: epoch,
            index: last,
            log_term: last_term,
            commit,
            ..Message::default()
        };
        word.set_msg_type(MessageType::MsgAppend);
        word.set_entries(entries.into());
        self.node.step(word)?;
        // Nobody spoke, so nobody is answered and nobody leads.
        self.node.raft.msgs.retain(|message| message.to != own);
        self.forget_leader();
        Ok(())
    }

    /// The configuration that the last entry of the log leads to, committed or not.
    pub fn configuration_at_end(&self) -> Result<Configuration, GroupFault> {
        Ok(in_order(self.members_at_end()?.conf().to_conf_state()))
    }

    fn members_at_end(&self) -> Result<ProgressTracker, GroupFault> {
        let log = &self.node.raft.raft_log;
        let mut members = self.node.raft.prs().clone();
        let mut next = log.applied + 1;
        while next <= log.last_index() {
            let entries = log.entries(next, MESSAGE_BYTES, GetEntriesContext::empty(false))?;
            let Some(last) = entries.last() else { break };
            next = last.index + 1;
            for entry in entries.iter().filter(|entry| entry.get_entry_type() == EntryType::EntryConfChangeV2)
            {
                let change = protobuf_bytes::decode(&entry.data)
                    .map_err(|error| GroupFault::BadEntry { index: entry.index, what: error.to_string() })?;
                apply(&mut members, &change)?;
            }
        }
        Ok(members)
    }
}

/// The change after which nobody but `own` is a member, by way of a joint configuration.
fn alone(own: u64, members: &ProgressTracker) -> ConfChangeV2 {
    let others = members.iter().map(|(id, _)| *id).filter(|id| *id != own);
    let mut others: Vec<u64> = others.collect();
    others.sort_unstable();
    let removed = others.into_iter().map(|id| single(ConfChangeType::RemoveNode, id));
    let changes: Vec<_> = [single(ConfChangeType::AddNode, own)].into_iter().chain(removed).collect();
    let mut change = ConfChangeV2::default();
    change.set_transition(ConfChangeTransition::Explicit);
    change.set_changes(changes.into());
    change
}

fn change_entry(members: &mut ProgressTracker, change: &ConfChangeV2) -> Result<Entry, GroupFault> {
    apply(members, change)?;
    let mut entry = Entry::default();
    entry.set_entry_type(EntryType::EntryConfChangeV2);
    entry.data = protobuf::Message::write_to_bytes(change).expect("writing to memory cannot fail").into();
    Ok(entry)
}

/// As raft itself does when the entry is applied.
fn apply(members: &mut ProgressTracker, change: &ConfChangeV2) -> Result<(), GroupFault> {
    let mut changer = Changer::new(members);
    let (configuration, changes) = if change.leave_joint() {
        changer.leave_joint()?
    } else if let Some(auto_leave) = change.enter_joint() {
        changer.enter_joint(auto_leave, change.get_changes())?
    } else {
        changer.simple(change.get_changes())?
    };
    members.apply_conf(configuration, changes, 1);
    Ok(())
}
