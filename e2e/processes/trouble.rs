//! The kinds of trouble that befall real brokers: how each is made, what must still be true meanwhile, and how it ends.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::links::{Fault, Links};

/// The broker whose disk is small.
pub(crate) const SMALL: i32 = 3;
/// A few elections, on a machine that has other things to do.
const SHOWN: Duration = Duration::from_secs(20);
/// How long a link is bad.
const BAD: Duration = Duration::from_secs(3);

/// What goes wrong in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// kill -9 of one broker.
    Kill,
    /// kill -9 of two at once.
    KillTwo,
    /// kill -9 of all at once.
    KillAll,
    /// SIGSTOP until it is out of every ISR, then SIGCONT.
    Pause,
    /// Nothing passes between one broker and the others, and nobody is told.
    Cut,
    /// The same in one direction only, to one other broker.
    OneWay,
    /// A fifth of all packets between brokers is lost.
    Loss,
    /// The disk of broker [`SMALL`] has no room, then room again.
    FullDisk,
    /// A killed broker finds half a write at the end of its journal.
    HalfWrite,
    /// A killed broker finds its journal shorter than what it had synced.
    Shortened,
    /// A killed broker finds a record damaged that it had synced.
    Damaged,
    /// A killed broker finds an empty disk.
    Emptied,
}

impl Trouble {
    pub(crate) const ALL: [Self; 12] = [
        Self::Kill,
        Self::KillTwo,
        Self::KillAll,
        Self::Pause,
        Self::Cut,
        Self::OneWay,
        Self::Loss,
        Self::FullDisk,
        Self::HalfWrite,
        Self::Shortened,
        Self::Damaged,
        Self::Emptied,
    ];

    /// Brings it about for a broker, and ends it. With two brokers left, every ISR must be these two meanwhile, and both
    /// producers must go on: `go_on` waits for that.
    pub(crate) fn befall(self, at: &mut At<'_>, victim: i32, go_on: impl Fn()) {
        let others = Cluster::others(&[victim]);
        match self {
            Self::Kill => at.while_killed(victim, go_on, |_, _| ()),
            Self::HalfWrite => at.while_killed(victim, go_on, half_a_write),
            Self::Shortened => at.while_killed(victim, go_on, shorten),
            Self::Damaged => at.while_killed(victim, go_on, damage),
            Self::Emptied => at.while_killed(victim, go_on, empty),
            Self::KillTwo => at.kill_and_start(&others),
            Self::KillAll => at.kill_and_start(&BROKERS),
            Self::Pause => {
                at.cluster.broker(victim).pause();
                at.go_on_without(victim, go_on);
                at.cluster.broker(victim).resume();
            }
            Self::Cut => {
                let cuts = others.iter().flat_map(|other| at.cluster.cut(victim, *other));
                at.links.set(&cuts.collect::<Vec<_>>());
                at.go_on_without(victim, go_on);
            }
            Self::OneWay => at.with_bad_links(&[at.cluster.fault(victim, others[0], 1.0)], go_on),
            Self::Loss => at.with_bad_links(&lossy(at.cluster), go_on),
            Self::FullDisk => at.while_full(go_on),
        }
        at.links.set(&[]);
    }
}

/// Where trouble is made.
pub(crate) struct At<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) links: &'a Links,
    pub(crate) topics: &'a [&'a str],
    pub(crate) partitions: usize,
}

impl At<'_> {
    fn go_on_without(&mut self, victim: i32, go_on: impl Fn()) {
        self.topics.iter().for_each(|topic| self.await_isr_without(victim, topic));
        go_on();
    }

    fn await_isr_without(&self, victim: i32, topic: &str) {
        let others = Cluster::others(&[victim]);
        self.cluster.await_isr_at(&others, topic, self.partitions, &others, SHOWN);
    }

    fn while_killed(&mut self, victim: i32, go_on: impl Fn(), harm: impl Fn(&Cluster, i32)) {
        self.cluster.broker_mut(victim).kill();
        self.go_on_without(victim, go_on);
        harm(self.cluster, victim);
        self.cluster.broker_mut(victim).start();
    }

    fn kill_and_start(&mut self, victims: &[i32]) {
        victims.iter().for_each(|id| self.cluster.broker_mut(*id).kill());
        victims.iter().for_each(|id| self.cluster.broker_mut(*id).start());
    }

    fn with_bad_links(&mut self, faults: &[Fault], go_on: impl Fn()) {
        self.links.set(faults);
        std::thread::sleep(BAD);
        go_on();
    }

    fn while_full(&mut self, go_on: impl Fn()) {
        let ballast = self.cluster.broker(SMALL).data.join("ballast");
        fill_up(&ballast);
        // Kafka's client leaves a partition alone for a while: of such a one the broker lacks nothing, and stays in its ISR.
        self.await_isr_without(SMALL, self.topics[0]);
        go_on();
        std::fs::remove_file(ballast).expect("make room");
    }
}

/// Writes until there is no room for a byte more.
fn fill_up(file: &Path) {
    let ballast = File::create(file).expect("a file");
    let (mut at, mut piece) = (0, vec![0; 1 << 20]);
    while !piece.is_empty() {
        match ballast.write_all_at(&piece, at) {
            Ok(()) => at += piece.len() as u64,
            Err(_) => piece.truncate(piece.len() / 2),
        }
    }
}

fn lossy(cluster: &Cluster) -> Vec<Fault> {
    let pairs = BROKERS.iter().flat_map(|from| BROKERS.map(|to| (*from, to))).filter(|(from, to)| from != to);
    pairs.map(|(from, to)| cluster.fault(from, to, 0.2)).collect()
}

/// The newest journal file of a broker that does not run.
pub(crate) fn journal(cluster: &Cluster, id: i32) -> PathBuf {
    let folder = cluster.broker(id).data.join("journal");
    let files = std::fs::read_dir(folder).expect("the journal");
    let names = files.map(|file| file.expect("an entry").path());
    names
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .max()
        .expect("a journal file")
}

fn open_journal(cluster: &Cluster, id: i32) -> (File, u64) {
    let file = OpenOptions::new().write(true).open(journal(cluster, id)).expect("the journal");
    let length = file.metadata().expect("its length").len();
    (file, length)
}

/// A write that a crash caught half done: nobody was told that it is on disk.
pub(crate) fn half_a_write(cluster: &Cluster, id: i32) {
    let (file, length) = open_journal(cluster, id);
    file.write_all_at(&[0x5a; 100], length).expect("half a write");
}

/// Not a torn write: these bytes were synced and acknowledged.
pub(crate) fn shorten(cluster: &Cluster, id: i32) {
    let (file, length) = open_journal(cluster, id);
    file.set_len(length - 7).expect("cut the last write");
}

/// Another bit in the payload of a record in the middle of the newest file.
fn damage(cluster: &Cluster, id: i32) {
    let bytes = std::fs::read(journal(cluster, id)).expect("the journal");
    let places = bytes.windows(7).enumerate().filter(|(_, window)| *window == b"record ");
    let places: Vec<u64> = places.map(|(at, _)| at as u64).collect();
    let Some(at) = places.get(places.len() / 2) else {
        return println!("no record in the newest journal file");
    };
    let (file, _) = open_journal(cluster, id);
    file.write_all_at(&[bytes[*at as usize] ^ 0x20], *at).expect("flip a bit");
}

/// A new disk in the place of the old one, formatted as a pod's start does it.
fn empty(cluster: &Cluster, id: i32) {
    // Its content only: the folder itself may be a mounted disk.
    for entry in std::fs::read_dir(&cluster.broker(id).data).expect("its folder") {
        let path = entry.expect("an entry").path();
        let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        gone.expect("empty the disk");
    }
    cluster.broker(id).format();
    if id == SMALL {
        cluster.broker(id).set_faults(r#"{"write_through": true}"#);
    }
}
