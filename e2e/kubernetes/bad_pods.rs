//! Pods that cannot start stop a rollout at the first of them, and the spec as it was before brings it back.

use std::time::{Duration, Instant};

use chronik_e2e::load::{self, Load};
use chronik_e2e::wait;

use crate::figure;
use crate::rolling::{await_told, nothing_restarts, patch, replaced, uids};
use crate::world::World;

const PARTITIONS: usize = 6;
const PACE: Duration = Duration::from_millis(5);
const GOES_ON: Duration = Duration::from_secs(40);
const ONE: Duration = Duration::from_secs(120);

/// Scenarios 13 and 14.
#[test]
#[ignore = "needs the box: make scenarios"]
fn a_bad_image_and_a_pod_without_room_stop_after_the_first_pod_and_reverting_recovers() {
    let world = World::with_brokers("bad-pods", 3);
    world.create_topic("t", PARTITIONS);
    let load = Load::start(&load::idempotent(&world.bootstrap()), "t", PARTITIONS, PACE);
    load.await_acks(PARTITIONS, 10, GOES_ON);
    for (bad, good, why) in [
        (r#"{"image": "docker.io/chronik/none:here"}"#, r#"{"image": null}"#, "docker.io/chronik/none:here"),
        (r#"{"resources": {"requests": {"memory": "900Ti"}}}"#, r#"{"resources": null}"#, "not scheduled"),
    ] {
        let before = uids(&world).expect("pods");
        patch(&world, &format!("{{\"spec\": {bad}}}"));
        await_told(&world, "True Restarting", &[why], ONE);
        let stopped = uids(&world).expect("pods");
        assert_eq!(replaced(&before, &stopped).len(), 1, "{before:?} -> {stopped:?}");
        nothing_restarts(&world, &stopped);
        load.await_acks(PARTITIONS, 10, GOES_ON);

        let began = Instant::now();
        patch(&world, &format!("{{\"spec\": {good}}}"));
        await_told(&world, "False UpToDate", &[], ONE);
        let look = || {
            let now = uids(&world)?;
            wait::holds(now.len() == 3 && replaced(&stopped, &now).len() == 1, || format!("{now:?}"))
        };
        wait::until("only that pod is replaced once more", GOES_ON, look);
        figure(&format!("{why}: whole again {:?} after the spec was put back", began.elapsed()));
    }
    let (sent, book) = load.finish();
    assert_eq!((book.acknowledged(), book.failed.len()), (sent, 0), "{:?}", book.failed.first());
}
