//! Another build of the brokers, which also speaks a later protocol, takes the place of the first one broker at a time, and
//! the first comes back the same way.

use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};
use chronik_e2e::{admin, wait};

use crate::figure;
use crate::rolling::{await_told, patch, uids};
use crate::watchman::Watchman;
use crate::world::{BROKERS, World};

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(40);
const ALL_OF_THEM: Duration = Duration::from_secs(240);

/// Must show 1: two real builds side by side.
#[test]
#[ignore = "needs the box: make scenarios"]
fn old_and_new_builds_run_side_by_side_while_one_replaces_the_other() {
    let world = World::with_brokers("upgrade", 3);
    world.create_topic("t", PARTITIONS);
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    let first = versions(&world).expect("versions");
    for (image, protocol) in [(r#""docker.io/chronik/chronik:next""#, 3), ("null", 2)] {
        let before = uids(&world).expect("pods");
        let watchman = Watchman::start(&world, 3, "t");
        let began = Instant::now();
        patch(&world, &format!("{{\"spec\": {{\"image\": {image}}}}}"));
        let two_builds = || {
            let versions = versions(&world)?;
            let differ = versions.iter().any(|version| *version != versions[0]);
            wait::holds(differ, || format!("{versions:?}"))
        };
        wait::until("two builds run side by side", ALL_OF_THEM, two_builds);
        load.await_acks(PARTITIONS, 5, GOES_ON);
        await_told(&world, "False UpToDate", &[], ALL_OF_THEM);
        let took = began.elapsed();
        let (pods, isrs) = watchman.finish();
        assert_eq!(pods.order(&before).len(), 3, "{pods:?}");
        assert!(isrs.smallest.as_ref().is_some_and(|(members, _)| *members >= 2), "{isrs:?}");
        speak(&world, protocol);
        figure(&format!(
            "every broker is {:?} {took:?} after the image was changed, longest stall {:?}",
            versions(&world).expect("versions")[0],
            load.longest_stall(began)
        ));
    }
    assert_eq!(versions(&world).expect("versions"), first);
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
}

/// The build of each broker, as all of them have it.
fn versions(world: &World) -> Result<Vec<String>, String> {
    let told = admin::get(world.admin(1)?, "/v1/cluster")
        .or_else(|_| admin::get(world.admin(2)?, "/v1/cluster"))?
        .json()?;
    let all = told["brokers"].as_array().ok_or("no brokers")?;
    let versions: Vec<String> =
        all.iter().map(|b| b["version"].as_str().unwrap_or_default().to_owned()).collect();
    wait::holds(versions.len() == BROKERS.len(), || format!("{versions:?}")).map(|()| versions)
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
