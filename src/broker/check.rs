//! What `chronik-broker check` says of a data folder: whose it is, what each replica holds, and every fault in it.

use std::fmt::{self, Write};
use std::path::Path;

use chronik_core::ids::{BrokerId, ClusterId, DiskId};
use chronik_core::metadata::ClusterState;

use crate::log::{self, CheckError, Checked, GroupKind, RecoveredGroup};
use crate::stored_metadata;

/// A person's view of a checked folder.
pub struct Report {
    text: String,
    /// Whether nothing in the folder is damaged.
    pub sound: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads all of a data folder that is not in use, and changes nothing in it.
pub fn check(dir: &Path) -> Result<Report, CheckError> {
    let checked = log::check(dir)?;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = describe(&mut text, dir, &checked);
    Ok(Report { text, sound: checked.faults.is_empty() })
}

fn describe(out: &mut String, dir: &Path, checked: &Checked) -> fmt::Result {
    let identity = &checked.identity;
    writeln!(
        out,
        "{}: disk {} of broker {}, cluster {}",
        dir.display(),
        identity.disk,
        identity.broker,
        identity.cluster
    )?;
    writeln!(out, "journal: {} segments, {} bytes", checked.segments, checked.bytes)?;
    if let Some(torn) = &checked.torn {
        writeln!(
            out,
            "journal: its last write, {} bytes at byte {} of {}, was cut short; a start removes it, nothing in it was \
             acknowledged",
            torn.bytes,
            torn.offset,
            torn.file.display()
        )?;
    }
    let state = metadata(&checked.groups, &identity.cluster);
    for group in &checked.groups {
        writeln!(out, "{}: {}", name(group, &state), contents(group))?;
    }
    absent(out, checked, &state, (identity.broker, identity.disk))?;
    faults(out, checked)
}

/// What this disk knows to be committed of the cluster's metadata, as far as it can be read.
fn metadata(groups: &[RecoveredGroup], cluster: &ClusterId) -> ClusterState {
    match stored_metadata::replica(groups) {
        Some(group) => stored_metadata::replay(group, cluster, stored_metadata::committed(group)).0,
        None => ClusterState::new(cluster.clone()),
    }
}

fn name(group: &RecoveredGroup, state: &ClusterState) -> String {
    let header = &group.header;
    match (header.kind, state.group(group.group)) {
        (GroupKind::Metadata, _) => format!("metadata, replica {}", header.replica),
        (GroupKind::Partition, Some((topic, partition))) => {
            format!("{}/{}, replica {}", topic.name, partition.number, header.replica)
        }
        (GroupKind::Partition, None) => match header.topic {
            Some(topic) => format!(
                "partition {} of topic {topic}, unknown to this disk's metadata, replica {}",
                header.partition, header.replica
            ),
            None => format!("group {}, of which the header was not found", group.group),
        },
    }
}

fn contents(group: &RecoveredGroup) -> String {
    let log = &group.log;
    let mut text = if log.last_index() < log.first_index() {
        "no entries".to_owned()
    } else {
        format!("entries {} to {}, committed to {}", log.first_index(), log.last_index(), group.state.commit)
    };
    if log.first_index() > 1 {
        let _ = write!(text, ", a snapshot of what came before entry {}", log.first_index());
    }
    if group.header.kind == GroupKind::Partition {
        let _ = write!(text, ", offsets {} to {}", log.start_offset(), log.end_offset());
    }
    if let Some(damage) = &group.damage {
        let _ = write!(text, "; DAMAGED, out of service: {damage}");
    }
    text
}

/// Replicas that metadata gives to this disk and that it does not hold.
fn absent(
    out: &mut String,
    checked: &Checked,
    state: &ClusterState,
    (broker, disk): (BrokerId, DiskId),
) -> fmt::Result {
    for (topic, partition) in state.partitions() {
        let own = partition.replica_on(broker).filter(|replica| replica.disk == disk);
        let here = checked.groups.iter().any(|group| group.group == partition.group);
        let Some(own) = own.filter(|_| !here) else { continue };
        let why = match &checked.unattributed {
            Some(damage) => format!("may be lost with the fault in {damage}"),
            None => "not begun: a start begins it".to_owned(),
        };
        writeln!(out, "{}/{}, replica {}: {why}", topic.name, partition.number, own.replica)?;
    }
    Ok(())
}

fn faults(out: &mut String, checked: &Checked) -> fmt::Result {
    for damage in &checked.faults {
        writeln!(out, "fault: {damage}")?;
    }
    if checked.more_faults > 0 {
        writeln!(out, "fault: {} more", checked.more_faults)?;
    }
    let all = checked.groups.len();
    let damaged = checked.groups.iter().filter(|group| group.damage.is_some()).count();
    if checked.faults.is_empty() {
        writeln!(out, "sound: every byte of {all} replicas is as it was written")
    } else {
        let faults = checked.faults.len() as u64 + checked.more_faults;
        writeln!(out, "damaged: faults {faults}, replicas out of service {damaged} of {all}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stopped::Stopped;

    fn told(folder: &Stopped) -> (String, bool) {
        let report = check(folder.path()).unwrap();
        (folder.steady(&report.to_string()), report.sound)
    }

    #[test]
    fn a_whole_folder() {
        let (text, sound) = told(&Stopped::new());
        assert!(sound);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_damaged_folder() {
        let folder = Stopped::new();
        folder.damage_after(&[b'v'; 100]);
        folder.damage_after(b"\"name\":\"late");
        let (text, sound) = told(&folder);
        assert!(!sound);
        insta::assert_snapshot!(text);
    }
}
