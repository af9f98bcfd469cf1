//! The last resort as docs/recovery.md goes through it: two of three disks are gone, and later come back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chronik_e2e::cluster::Cluster;
use chronik_e2e::load::{self, Book, Load};
use chronik_e2e::{admin, kafka, wait};

const PARTITIONS: usize = 3;
const SETTLE: Duration = Duration::from_secs(40);
const PACE: Duration = Duration::from_millis(1);

/// Runs a command that must succeed.
fn ok(cluster: &Cluster, args: &[&str]) -> String {
    let (code, said) = cluster.broker(1).command(args);
    assert_eq!(code, 0, "{args:?}: {said}");
    println!("$ chronik-broker {}\n{said}", args.join(" "));
    said
}

/// Runs one that must be refused with these words.
fn refused(cluster: &Cluster, args: &[&str], words: &str) {
    let (code, said) = cluster.broker(1).command(args);
    assert!(code == 1 && said.contains(words), "{args:?} ended with {code}: {said}");
    println!("$ chronik-broker {}\n{said}", args.join(" "));
}

fn dir(cluster: &Cluster, id: i32) -> String {
    cluster.broker(id).data.display().to_string()
}

fn aside(cluster: &Cluster, id: i32) -> PathBuf {
    cluster.broker(id).data.with_file_name("aside")
}

/// Until two of three brokers are killed at once: what was acknowledged until then.
fn lose_two(cluster: &mut Cluster) -> Book {
    let mut config = load::idempotent(&cluster.bootstrap());
    config.set("message.timeout.ms", "4000");
    let load = Load::start(&config, "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 300, SETTLE);
    for id in [2, 3] {
        cluster.broker_mut(id).kill();
    }
    for id in [2, 3] {
        std::fs::rename(&cluster.broker(id).data, aside(cluster, id)).expect("take the disk away");
    }
    load.finish().1
}

/// How far the disk of a stopped broker reaches in each partition, as `check` reads it.
fn ends(report: &str) -> Vec<i64> {
    let end = |partition: usize| {
        let line = report.lines().find(|line| line.starts_with(&format!("t/{partition}, "))).expect("a line");
        line.rsplit_once(" to ").and_then(|(_, end)| end.parse().ok()).expect("an offset")
    };
    (0..PARTITIONS).map(end).collect()
}

/// All that the survivor's disk held is read at its offset, also by what producers were told; gives how many
/// acknowledged records it did not hold.
fn kept(cluster: &Cluster, ends: &[i64], before: &[Vec<String>], book: &Book) -> usize {
    let mut read = BTreeMap::new();
    for (partition, end) in ends.iter().enumerate() {
        let (records, _) = kafka::read(&cluster.bootstrap(), "t", partition as i32);
        let place = |offset: i64| records.iter().find(|record| record.offset == offset);
        for offset in 0..*end {
            let record = place(offset).unwrap_or_else(|| panic!("{partition}: nothing at {offset} of {end}"));
            read.insert((partition as i32, offset), record.payload.clone());
        }
        for (offset, payload) in before[partition].iter().enumerate() {
            assert_eq!(
                read.get(&(partition as i32, offset as i64)),
                Some(payload),
                "{partition} at {offset}"
            );
        }
    }
    let mut lacking = 0;
    for ((partition, offset), number) in &book.acked {
        match read.get(&(*partition, *offset)) {
            Some(payload) => assert_eq!(*payload, format!("record {number}"), "{partition} at {offset}"),
            None => lacking += 1,
        }
    }
    lacking
}

fn served(cluster: &Cluster) -> Vec<Vec<String>> {
    let all = |partition: usize| kafka::read(&cluster.bootstrap(), "t", partition as i32).0;
    (0..PARTITIONS)
        .map(|partition| all(partition).into_iter().map(|record| record.payload).collect())
        .collect()
}

fn await_metadata_leader(cluster: &Cluster) {
    let look = || {
        let told = admin::get(cluster.broker(1).admin(), "/v1/cluster")?.json()?;
        wait::holds(told["metadata_leader"] == 1, || told["metadata_leader"].to_string())
    };
    wait::until("broker 1 to lead the metadata", SETTLE, look);
}

fn produce(cluster: &Cluster) {
    let sent = load::send_each(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS);
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
}

/// A producer that never gives up. It numbers no records: one that does must begin anew once acknowledged ones are lost.
fn patient(cluster: &Cluster) -> Load {
    let mut config = load::idempotent(&cluster.bootstrap());
    config.set("enable.idempotence", "false");
    let load = Load::start(&config, "u", PARTITIONS, 10 * PACE);
    load.await_acks(PARTITIONS, 20, SETTLE);
    load
}

/// All of its records got through, and those are kept that were acknowledged later than the one with that number.
fn got_through(cluster: &Cluster, load: Load, last_before: Option<u64>) {
    let (sent, book) = load.finish();
    assert!(book.failed.is_empty(), "{:?}", book.failed);
    let mut since = 0;
    for partition in 0..PARTITIONS as i32 {
        let (records, _) = kafka::read(&cluster.bootstrap(), "u", partition);
        let read: BTreeMap<i64, String> =
            records.into_iter().map(|record| (record.offset, record.payload)).collect();
        let acked =
            book.acked.iter().filter(|((at, _), number)| *at == partition && Some(**number) > last_before);
        for ((_, offset), number) in acked {
            assert_eq!(read.get(offset), Some(&format!("record {number}")), "{partition} at {offset}");
            since += 1;
        }
    }
    println!("the producer that went on: {sent} sent, {since} acknowledged since and read back, none failed");
}

#[test]
fn a_cluster_goes_on_from_one_of_three_disks() {
    let mut cluster = Cluster::start("recover");
    cluster.create_topic("t", PARTITIONS);
    cluster.create_topic("u", PARTITIONS);
    let going_on = patient(&cluster);
    let book = lose_two(&mut cluster);
    let (data, at) = (dir(&cluster, 1), cluster.broker(1).admin().to_string());
    let metadata = ["recover", "metadata", "--data-dir", &data];
    let partitions = ["recover", "partitions", "--admin", &at, "--all"];

    // The survivor still runs and knows what it last heard.
    refused(&cluster, &metadata, "in use by another process");
    let told = ok(&cluster, &partitions);
    assert!(told.contains("with ISR 1") && told.contains("The metadata group has no leader"), "{told}");
    refused(&cluster, &[&partitions[..], &["--execute"]].concat(), "the metadata group has no leader");
    cluster.broker_mut(1).kill();
    let last_before = going_on.last_acked();
    let ends = ends(&ok(&cluster, &["check", &data]));

    let told = ok(&cluster, &metadata);
    assert!(told.contains("Nothing was changed") && told.contains("t (3), u (3)"), "{told}");
    ok(&cluster, &[&metadata[..], &["--execute", "--by", "ada"]].concat());
    cluster.broker_mut(1).start();
    await_metadata_leader(&cluster);
    ok(&cluster, &partitions);
    ok(&cluster, &[&partitions[..], &["--execute", "--by", "ada"]].concat());
    cluster.await_isr_at(&[1], "t", PARTITIONS, &[1], SETTLE);
    let before = served(&cluster);
    let lacking = kept(&cluster, &ends, &before, &book);
    println!("{} records were acknowledged, {lacking} of them the survivor had not", book.acked.len());
    produce(&cluster);
    going_on.await_acks(PARTITIONS, 20, SETTLE);
    refused(
        &cluster,
        &["recover", "partitions", "--admin", &at, "--topic", "t", "--partition", "0"],
        "broker 1 leads it",
    );
    refused(
        &cluster,
        &["recover", "partitions", "--admin", &at, "--topic", "other"],
        "no replica of topic other",
    );

    // Both old disks come back together and must not undo it.
    for id in [2, 3] {
        std::fs::rename(aside(&cluster, id), &cluster.broker(id).data).expect("bring the disk back");
        cluster.broker_mut(id).start();
    }
    for id in [2, 3] {
        let status = cluster.broker_mut(id).wait_end(SETTLE);
        let said = cluster.broker(id).log_tail(1);
        assert!(!status.success() && said.contains("Come back with an empty disk"), "{status}: {said}");
        println!("broker {id} with its old disk: {said}");
    }
    cluster.await_isr_at(&[1], "t", PARTITIONS, &[1], SETTLE);
    kept(&cluster, &ends, &before, &book);

    // With empty ones they take their places.
    for id in [2, 3] {
        std::fs::rename(&cluster.broker(id).data, aside(&cluster, id)).expect("take the disk away again");
        cluster.broker(id).format();
        cluster.broker_mut(id).start();
    }
    for topic in ["t", "u"] {
        let full = cluster.await_isr(topic, PARTITIONS, &[1, 2, 3], SETTLE);
        println!("{topic}: all in sync again after {full:?}");
    }
    produce(&cluster);
    kept(&cluster, &ends, &before, &book);

    // Who did what stays known, and whoever leads from now on has it all.
    let told = admin::get(cluster.broker(2).admin(), "/v1/cluster");
    let told = told.and_then(|answer| answer.json()).expect("json");
    let by: Vec<_> =
        told["recoveries"].as_array().expect("recoveries").iter().map(|one| &one["by"]).collect();
    assert!(by.len() == 1 + 2 * PARTITIONS && by.iter().all(|by| *by == "ada"), "{told}");
    cluster.broker_mut(1).kill();
    for topic in ["t", "u"] {
        cluster.await_isr(topic, PARTITIONS, &[2, 3], SETTLE);
    }
    kept(&cluster, &ends, &before, &book);
    produce(&cluster);
    going_on.await_acks(PARTITIONS, 20, SETTLE);
    got_through(&cluster, going_on, last_before);
}

#[test]
fn what_cannot_be_recovered_from_is_refused_by_name() {
    let mut cluster = Cluster::start("refuse");
    let learner = cluster.join();
    cluster.await_ready();
    let look = |dir: &str, words: &str| refused(&cluster, &["recover", "metadata", "--data-dir", dir], words);
    look(&dir(&cluster, 1), "in use by another process");
    look("/no/such/folder", "data folder /no/such/folder is not formatted");
    let (code, said) = cluster.broker(1).command(&["check", &dir(&cluster, 1)]);
    assert!(code == 2 && said.contains("in use"), "{code}: {said}");
    cluster.broker_mut(learner).kill();
    refused(
        &cluster,
        &["recover", "metadata", "--data-dir", &dir(&cluster, learner)],
        "is no voter (voters are 1, 2, 3)",
    );

    cluster.broker_mut(2).kill();
    let journal = cluster.broker(2).data.join("journal/00000000000000000001.log");
    let mut bytes = std::fs::read(&journal).expect("the journal");
    let at = bytes.windows(12).position(|window| window == b"peer_address").expect("a registration");
    bytes[at] ^= 1;
    std::fs::write(&journal, bytes).expect("damage the journal");
    let words = "is damaged";
    refused(&cluster, &["recover", "metadata", "--data-dir", &dir(&cluster, 2), "--execute"], words);
    let (code, said) = cluster.broker(1).command(&["check", &dir(&cluster, 2)]);
    assert!(code == 1 && said.contains("00000000000000000001.log at byte"), "{code}: {said}");
    refused(
        &cluster,
        &["recover", "partitions", "--admin", "127.0.0.1:1", "--all"],
        "ask the admin API at 127.0.0.1:1",
    );
}
