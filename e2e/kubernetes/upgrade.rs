//! Another build of the brokers, which also speaks a later protocol, takes the place of the first one broker at a time, and
//! the first comes back the same way.

use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};
use chronik_e2e::{admin, wait};

use crate::rolling::{await_told, patch, uids};
use crate::watchman::Watchman;
use crate::world::World;
use crate::{figure, number, stalls};

const PARTITIONS: usize = 6;
const GOES_ON: Duration = Duration::from_secs(40);
const ALL_OF_THEM: Duration = Duration::from_secs(240);

/// Must show 1: two real builds side by side. CHRONIK_BROKERS (3) and CHRONIK_RATE (200 records a second) change what is run.
#[test]
#[ignore = "needs the box: make scenarios"]
fn old_and_new_builds_run_side_by_side_while_one_replaces_the_other() {
    let (brokers, rate) = (number("CHRONIK_BROKERS", 3), number("CHRONIK_RATE", 200));
    let world = World::with_brokers("upgrade", brokers);
    world.create_topic("t", PARTITIONS);
    let pace = Duration::from_secs(1) / u32::try_from(rate).expect("a rate");
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, pace);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    let first = versions(&world, brokers).expect("versions");
    for (image, protocol) in [(r#""docker.io/chronik/chronik:next""#, 3), ("null", 2)] {
        let before = uids(&world).expect("pods");
        let watchman = Watchman::start(&world, brokers as i32, "t");
        let began = Instant::now();
        patch(&world, &format!("{{\"spec\": {{\"image\": {image}}}}}"));
        let two_builds = || {
            let versions = versions(&world, brokers)?;
            let differ = versions.iter().any(|version| *version != versions[0]);
            wait::holds(differ, || format!("{versions:?}"))
        };
        wait::until("two builds run side by side", ALL_OF_THEM, two_builds);
        load.await_acks(PARTITIONS, 5, GOES_ON);
        await_told(&world, "False UpToDate", &[], ALL_OF_THEM);
        let took = began.elapsed();
        let (pods, isrs) = watchman.finish();
        assert_eq!(pods.order(&before).len(), brokers, "{pods:?}");
        assert!(isrs.smallest.as_ref().is_some_and(|(members, _)| *members >= 2), "{isrs:?}");
        speak(&world, protocol);
        figure(&format!(
            "each of {brokers} brokers is {:?} {took:?} after the image was changed, at {rate} records a second; {}",
            versions(&world, brokers).expect("versions")[0],
            stalls::told(&load, &pods, &isrs, began)
        ));
    }
    assert_eq!(versions(&world, brokers).expect("versions"), first);
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
}

/// The build of each broker, as all of them have it.
fn versions(world: &World, brokers: usize) -> Result<Vec<String>, String> {
    let told = admin::get(world.admin(1)?, "/v1/cluster")
        .or_else(|_| admin::get(world.admin(2)?, "/v1/cluster"))?
        .json()?;
    let all = told["brokers"].as_array().ok_or("no brokers")?;
    let versions: Vec<String> =
        all.iter().map(|b| b["version"].as_str().unwrap_or_default().to_owned()).collect();
    wait::holds(versions.len() == brokers, || format!("{versions:?}")).map(|()| versions)
}

/// The last broker to restart told at its connections which protocol both ends speak.
fn speak(world: &World, protocol: u32) {
    let look = || {
        let log = world
            .kubectl(&["logs", "--selector", "app.kubernetes.io/component=broker", "--tail=400"])
            .run()
            .ok()?;
        let last =
            log.lines().rfind(|line| line.contains("connected to peer")).unwrap_or_default().to_owned();
        wait::holds(last.contains(&format!("\"version\":{protocol}}}")), || last)
    };
    wait::until(&format!("brokers speak version {protocol}"), GOES_ON, look);
}
