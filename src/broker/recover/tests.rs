//! The rebuild of the metadata on a real folder: what it says, what it does, what it refuses.

use std::fs;

use chronik_core::ids::{Generation, GroupId, ReplicaId};
use chronik_core::metadata::Recovered;
use chronik_core::replication::configuration::Configuration;

use super::rebuild::{RecoverError, execute, look};
use super::*;
use crate::log::{DataFolder, RealDisk};
use crate::stopped::{ENTRIES, Stopped};
use crate::stored_metadata;

const RECOVERY: Uuid = Uuid::from_u128(0x5e);

fn rebuilt(folder: &Stopped) -> Result<(rebuild::Plan, Generation), RecoverError> {
    execute(Arc::new(RealDisk), folder.path(), "ada@host", 1_796_083_200_000, RECOVERY)
}

fn looked(folder: &Stopped) -> Result<rebuild::Plan, RecoverError> {
    look(Arc::new(LookingDisk), folder.path())
}

fn refusal(folder: &Stopped) -> String {
    let error = looked(folder).err().expect("a refusal").to_string();
    assert_eq!(error, rebuilt(folder).err().expect("the same refusal").to_string());
    folder.steady(&error)
}

#[test]
fn a_dry_run_tells_what_would_be_and_changes_nothing() {
    let folder = Stopped::new();
    let before = (fs::read(folder.segment()).unwrap(), fs::read(folder.path().join("meta.json")).unwrap());
    insta::assert_snapshot!(folder.steady(&report::dry_run(&looked(&folder).unwrap())));
    let after = (fs::read(folder.segment()).unwrap(), fs::read(folder.path().join("meta.json")).unwrap());
    assert!(before == after);
}

#[test]
fn the_disk_goes_on_alone_with_all_that_it_had() {
    let folder = Stopped::new();
    let (plan, generation) = rebuilt(&folder).unwrap();
    insta::assert_snapshot!(folder.steady(&report::done(&plan, generation, "ada@host", 1_796_083_200_000)));
    let again = looked(&folder).unwrap();
    let alone = Configuration { voters: vec![ReplicaId(1)], ..Configuration::default() };
    assert_eq!(again.members, alone);
    assert_eq!(plan.retired(), [ReplicaId(2), ReplicaId(3)]);
    assert_eq!((again.last, again.last_term, again.committed), (ENTRIES + 3, plan.epoch, ENTRIES + 3));
    assert_eq!(again.state.topics().len(), 2, "what was not known to be committed counts, too");
    assert_eq!(again.state.generation(), Generation { number: 1, recovery: RECOVERY });
    let groups = crate::log::check(folder.path()).unwrap().groups;
    let found = stored_metadata::generation(stored_metadata::replica(&groups).unwrap()).unwrap();
    assert_eq!(found, generation, "peers are told it before anything is applied");
    let told = &again.state.recoveries()[0];
    assert_eq!((told.index, told.by.as_str()), (ENTRIES + 3, "ada@host"));
    assert!(matches!(&told.what, Recovered::Metadata { last: ENTRIES, .. }), "{told:?}");
    assert!(again.epoch > plan.epoch + 1, "and so it could go on again");
}

#[test]
fn a_second_recovery_begins_another_generation() {
    let folder = Stopped::new();
    rebuilt(&folder).unwrap();
    let (plan, generation) = rebuilt(&folder).unwrap();
    assert_eq!(generation.number, 2);
    assert_eq!(plan.epoch, 3 + (2 << 24));
    assert!(report::dry_run(&plan).contains("recovered before, by ada@host at 2026-12-01T00:00:00Z"));
}

#[test]
fn a_folder_that_cannot_be_rebuilt_from_is_refused_by_name() {
    let folder = Stopped::new();
    folder.damage_after(b"\"name\":\"orders");
    let text = refusal(&folder);
    assert!(
        text.starts_with("the metadata in DIR is damaged, DIR/journal/00000000000000000001.log at byte"),
        "{text}"
    );

    let text = refusal(&Stopped::with_replica(4));
    assert_eq!(
        text,
        "metadata replica 4 in DIR is no voter (voters are 1, 2, 3): what it holds was never confirmed by it, take the \
         disk of a voter"
    );

    let text = refusal(&Stopped::empty());
    assert_eq!(text, "data folder DIR holds no metadata: its broker never took part in a cluster");

    let folder = Stopped::new();
    let running = DataFolder::open(&RealDisk, folder.path()).unwrap();
    assert_eq!(refusal(&folder), "data folder DIR is in use by another process");
    drop(running);

    let nowhere = look(Arc::new(LookingDisk), Path::new("/no/such/folder")).err().unwrap().to_string();
    assert_eq!(nowhere, "data folder /no/such/folder is not formatted: run `chronik-broker format` first");
}

#[test]
fn damage_of_a_partition_does_not_keep_the_metadata_from_being_rebuilt() {
    let folder = Stopped::new();
    folder.damage_after(&[b'v'; 100]);
    let (plan, _) = rebuilt(&folder).unwrap();
    assert_eq!(plan.damaged.len(), 1);
    let groups = crate::log::check(folder.path()).unwrap().groups;
    assert!(groups.iter().any(|group| group.group != GroupId::METADATA && group.damage.is_some()));
}
