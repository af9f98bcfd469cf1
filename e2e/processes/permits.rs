//! Permits to stop, asked of real brokers: what may not stop is named, two never get leave on one state, and a permit that
//! was begun outlives its leader and ends with the broker's return.

use std::time::{Duration, Instant};

use chronik_e2e::admin::{self, Answer};
use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::grown::Grown;
use chronik_e2e::links::Fault;
use chronik_e2e::wait;
use serde_json::{Value, json};

use crate::asking::{ask, code, json_of, permit, step};

const PARTITIONS: usize = 6;
const SETTLE: Duration = Duration::from_secs(40);
/// A granted permit that nobody begins lasts 30 s on the leader's clock, which looks each second.
const UNUSED: Duration = Duration::from_secs(35);

fn open(cluster: &Cluster, id: i32) -> Result<Vec<Value>, String> {
    let told = admin::get(cluster.broker(id).admin(), "/v1/permits")?.json()?;
    Ok(told["open"].as_array().cloned().unwrap_or_default())
}

fn metadata_leader(cluster: &Cluster, asked: i32) -> i32 {
    let look = || {
        let told = admin::get(cluster.broker(asked).admin(), "/v1/cluster")?.json()?;
        told["metadata_leader"].as_i64().map(|id| id as i32).ok_or_else(|| told.to_string())
    };
    wait::until("a metadata leader", SETTLE, look).0
}

/// Asks until there is leave: a leader that was just elected may not have heard everybody yet.
fn await_permit(cluster: &Cluster, at: i32, broker: i32) -> Value {
    let look = || {
        let answer = ask(cluster.broker(at).admin(), broker, &json!({}));
        wait::holds(answer.status == 200, || answer.body.clone())?;
        Ok(permit(&answer))
    };
    wait::until(&format!("leave for broker {broker}"), SETTLE, look).0
}

fn await_open(cluster: &Cluster, at: i32, count: usize, limit: Duration) -> Duration {
    let look = || {
        let open = open(cluster, at)?;
        wait::holds(open.len() == count, || format!("{open:?}"))
    };
    wait::until(&format!("{count} open permits at broker {at}"), limit, look).1
}

#[test]
fn a_stop_below_min_isr_is_refused_and_the_partition_named() {
    let mut cluster = Cluster::start("permit-blocked");
    cluster.create_topic("fine", PARTITIONS);
    cluster.create_topic_with("tight", 1, &[("min.insync.replicas", "3")]);
    for asked in BROKERS {
        let look = || {
            let answer = ask(cluster.broker(asked).admin(), 2, &json!({}));
            assert_eq!(answer.status, 409, "{}", answer.body);
            let told = json_of(&answer);
            // Until the new leaders have heard everybody, theirs may be named, too.
            wait::holds(told["blocked"] == 1, || answer.body.clone())?;
            assert_eq!(told["error"]["code"], "blocked");
            let message = told["error"]["message"].as_str().unwrap_or_default();
            assert!(
                message.starts_with("broker 2 may not stop: 1 partition would pay: tight/0:"),
                "{message}"
            );
            let block = &told["blocks"][0];
            assert_eq!((&block["topic"], &block["partition"]), (&json!("tight"), &json!(0)));
            assert!(block["why"].as_str().is_some_and(|why| why.contains("3 are needed")), "{block}");
            Ok(())
        };
        wait::until("a refusal", SETTLE, look);
    }
    let dry = ask(cluster.broker(1).admin(), 2, &json!({"dryRun": true, "allowUnavailable": true}));
    let told = json_of(&dry);
    assert_eq!((dry.status, &told["permit"]), (200, &Value::Null), "{}", dry.body);
    assert_eq!(told["blocks"][0]["topic"], "tight", "a person sees what it breaks");
    assert_eq!(open(&cluster, 1).expect("permits"), Vec::<Value>::new());
    let borne = ask(cluster.broker(3).admin(), 2, &json!({"allowUnavailable": true, "reason": "asked"}));
    assert_eq!(
        (permit(&borne)["broker"].clone(), json_of(&borne)["blocks"][0]["partition"].clone()),
        (json!(2), json!(0))
    );
    // What the permit counts on is not taken away meanwhile.
    let raise = json!({"configs": {"min.insync.replicas": "3"}});
    let raised = admin_patch(&cluster, "fine", &raise);
    assert_eq!(code(&raised), (503, "permit_open".to_owned()));
    let nobody = ask(cluster.broker(1).admin(), 9, &json!({}));
    assert_eq!(code(&nobody), (404, "unknown_broker".to_owned()));
}

fn admin_patch(cluster: &Cluster, topic: &str, body: &Value) -> Answer {
    admin::patch(cluster.broker(1).admin(), &format!("/v1/topics/{topic}"), body).expect("an answer")
}

#[test]
fn of_two_that_are_asked_for_at_once_one_wins_and_an_unused_one_ends_by_itself() {
    let mut cluster = Cluster::start("permit-race");
    cluster.create_topic("t", PARTITIONS);
    // Both could have leave; then both give it back.
    for broker in [2, 3] {
        let granted = await_permit(&cluster, 1, broker);
        let aborted = step(cluster.broker(1).admin(), &granted, "abort", &format!("pod-{broker}"));
        assert_eq!(permit(&aborted)["broker"], broker);
    }
    let mut winners = Vec::new();
    for round in 0..10 {
        let both = if round % 2 == 0 { [(2, 2), (3, 3)] } else { [(3, 3), (2, 2)] };
        let asks = both.map(|(at, broker)| {
            let at = cluster.broker(at).admin();
            std::thread::spawn(move || ask(at, broker, &json!({})))
        });
        let answers = asks.map(|ask| ask.join().expect("an answer"));
        let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        let lost = answers.iter().find(|answer| answer.status != 200).expect("one that lost");
        assert!(["blocked", "permit_refused"].contains(&code(lost).1.as_str()), "{}", lost.body);
        let permit = permit(won[0]);
        let broker = permit["broker"].as_i64().expect("a broker") as i32;
        let again = ask(cluster.broker(3).admin(), broker, &json!({}));
        assert_eq!(json_of(&again)["permit"], permit, "the same pod asks again");
        let wrong = step(cluster.broker(3).admin(), &permit, "begin", "another");
        assert_eq!(code(&wrong), (409, "other_pod".to_owned()));
        let back = step(cluster.broker(2).admin(), &permit, "abort", &format!("pod-{broker}"));
        assert_eq!(back.status, 200, "{}", back.body);
        let gone = step(cluster.broker(1).admin(), &permit, "begin", &format!("pod-{broker}"));
        assert_eq!(code(&gone), (404, "unknown_permit".to_owned()));
        winners.push(broker);
    }
    println!("asked for 2 and 3 at once: {winners:?} had leave");
    await_permit(&cluster, 1, 2);
    await_open(&cluster, 3, 1, SETTLE);
    let took = await_open(&cluster, 3, 0, UNUSED);
    println!("a permit that nobody began was taken back after {took:?}");
    assert!(took > Duration::from_secs(25), "{took:?}");
    // Nothing has happened for long: all partitions rest, and their leaders confirm as well as ever, at once.
    for id in BROKERS {
        let quiet = admin::metric(&cluster.metrics(id), "chronik_quiet_replicas");
        assert_eq!(quiet, Some(PARTITIONS as f64), "broker {id}");
    }
    let asked = ask(cluster.broker(2).admin(), 3, &json!({}));
    assert_eq!(permit(&asked)["broker"], 3);
}

#[test]
fn while_a_broker_stands_still_no_other_may_stop() {
    let mut cluster = Cluster::start("permit-still");
    cluster.create_topic("t", PARTITIONS);
    let leader = metadata_leader(&cluster, 1);
    let others = Cluster::others(&[leader]);
    let (still, other) = (others[0], others[1]);
    let granted = await_permit(&cluster, leader, other);
    step(cluster.broker(leader).admin(), &granted, "abort", &format!("pod-{other}"));
    cluster.broker(still).pause();
    let mut reasons = Vec::new();
    let paused = Instant::now();
    while paused.elapsed() < Duration::from_secs(8) {
        let refused = ask(cluster.broker(leader).admin(), other, &json!({}));
        assert_eq!(code(&refused), (409, "blocked".to_owned()), "{}", refused.body);
        reasons.push(json_of(&refused)["blocks"][0]["why"].to_string());
    }
    reasons.dedup();
    println!("while broker {still} stood still: {reasons:?}");
    cluster.broker(still).resume();
    await_permit(&cluster, leader, other);
}

#[test]
fn a_begun_permit_outlives_its_leader_and_closes_when_its_broker_is_back_in_every_isr() {
    let mut cluster = Cluster::start("permit-begun");
    cluster.create_topic("t", PARTITIONS);
    let leader = metadata_leader(&cluster, 1);
    let others = Cluster::others(&[leader]);
    let (stops, stays) = (others[0], others[1]);
    let granted = await_permit(&cluster, stays, stops);
    // What it leads moves away first; whoever leads it then may not have heard everybody for a moment.
    let drained = admin::post(cluster.broker(stops).admin(), "/v1/drain", &json!({})).expect("an answer");
    assert_eq!(drained.status, 204, "{}", drained.body);
    let begun = permit(&step(cluster.broker(stays).admin(), &granted, "begin", &format!("pod-{stops}")));
    assert_eq!(begun["stage"], "begun");
    cluster.broker_mut(stops).kill();
    cluster.await_isr("t", PARTITIONS, &Cluster::others(&[stops]), SETTLE);
    let refused = ask(cluster.broker(stays).admin(), stays, &json!({}));
    assert_eq!(code(&refused), (409, "blocked".to_owned()), "{}", refused.body);

    // With two of three gone nothing is decided; what was is still there.
    cluster.broker_mut(leader).kill();
    cluster.broker_mut(leader).start();
    cluster.await_isr("t", PARTITIONS, &Cluster::others(&[stops]), SETTLE);
    for id in [leader, stays] {
        let look = || {
            let open = open(&cluster, id)?;
            wait::holds(open == [begun.clone()], || format!("broker {id}: {open:?}"))
        };
        wait::until("the permit", SETTLE, look);
    }
    let refused = ask(cluster.broker(stays).admin(), leader, &json!({}));
    assert_eq!(refused.status, 409, "{}", refused.body);

    // Cut off from one of the leaders it lives and is not back in all ISRs: its permit stays.
    let links = cluster.links();
    links.set(&cluster.cut(stops, stays));
    cluster.broker_mut(stops).start();
    let rejoins = || {
        let seen = cluster.metadata(leader, "t")?;
        let back = seen.iter().filter(|partition| partition.isr.contains(&stops)).count();
        wait::holds((1..PARTITIONS).contains(&back), || format!("{seen:?}"))
    };
    wait::until("back in some ISRs", SETTLE, rejoins);
    std::thread::sleep(Duration::from_secs(4));
    rejoins().expect("still back in some only");
    assert_eq!(open(&cluster, stays).expect("permits"), [begun]);
    links.set(&[]);
    let look = || {
        let open = open(&cluster, stays)?;
        wait::holds(open.is_empty(), || format!("{open:?}"))
    };
    let (_, took) = wait::until("the permit closed", SETTLE, look);
    let seen = cluster.metadata(stays, "t").expect("metadata");
    assert!(seen.iter().all(|partition| partition.isr == BROKERS), "closed too early: {seen:?}");
    println!("closed {took:?} after the last leader heard the broker");
    let next = await_permit(&cluster, stops, stays);
    assert_eq!((&next["broker"], &next["stage"]), (&json!(stays), &json!("granted")));
    let counted: f64 = BROKERS.iter().map(|id| closed(&cluster.metrics(*id))).sum();
    assert!(counted >= 1.0, "counted by whoever led");
    assert_eq!(admin::metric(&cluster.metrics(stops), "chronik_permits_open"), Some(1.0));
}

fn closed(metrics: &str) -> f64 {
    admin::metric(metrics, r#"chronik_permits_total{outcome="closed"}"#).unwrap_or(0.0)
}

#[test]
fn a_state_that_has_worsened_takes_a_granted_permit_back() {
    let mut cluster = Cluster::start("permit-worse");
    cluster.create_topic("t", PARTITIONS);
    let leader = metadata_leader(&cluster, 1);
    let others = Cluster::others(&[leader]);
    let granted = await_permit(&cluster, leader, others[0]);
    let drained = admin::post(cluster.broker(others[0]).admin(), "/v1/drain", &json!({})).expect("an answer");
    assert_eq!(drained.status, 204, "{}", drained.body);
    cluster.broker_mut(others[1]).kill();
    cluster.await_isr("t", PARTITIONS, &Cluster::others(&[others[1]]), SETTLE);
    let refused = step(cluster.broker(leader).admin(), &granted, "begin", &format!("pod-{}", others[0]));
    assert_eq!(code(&refused), (409, "blocked".to_owned()), "{}", refused.body);
    assert_eq!(
        json_of(&refused)["blocked"],
        json!(PARTITIONS + 1),
        "and the metadata group: {}",
        refused.body
    );
    await_open(&cluster, leader, 0, Duration::from_secs(2));
    // Who is dead anyway may be restarted.
    let dead = await_permit(&cluster, leader, others[1]);
    let begun = step(cluster.broker(leader).admin(), &dead, "begin", &format!("pod-{}", others[1]));
    assert_eq!(permit(&begun)["stage"], "begun");
    cluster.broker_mut(others[1]).start();
    await_open(&cluster, leader, 0, SETTLE);
    // The one that was not let go leads again, and stands in nobody's way.
    let look = || {
        let seen = cluster.metadata(leader, "t")?;
        wait::holds(seen.iter().any(|partition| partition.leader == others[0]), || format!("{seen:?}"))
    };
    wait::until("it leads again", SETTLE, look);
    await_permit(&cluster, leader, others[1]);
}

/// Of two brokers one decides the metadata alone: it hands its vote over as it stops.
#[test]
fn of_two_brokers_the_one_that_decides_may_stop_and_comes_back() {
    let mut cluster = Grown::start("permit-two", 1, 2);
    let open = |cluster: &Grown| {
        let told = admin::get(cluster.broker(2).admin(), "/v1/permits")?.json()?;
        Ok::<_, String>(told["open"].as_array().map_or(0, Vec::len))
    };
    let granted = || {
        let answer = ask(cluster.broker(2).admin(), 1, &json!({}));
        wait::holds(answer.status == 200, || answer.body.clone())?;
        Ok(permit(&answer))
    };
    let granted = wait::until("leave for broker 1", SETTLE, granted).0;
    permit(&step(cluster.broker(2).admin(), &granted, "begin", "pod-1"));
    cluster.broker(1).terminate();
    let ended = cluster.broker_mut(1).wait_end(SETTLE);
    assert!(ended.success(), "{ended}");
    let decides = || {
        let told = cluster.cluster(2)?;
        wait::holds(told["metadata_leader"] == 2, || told.to_string())
    };
    wait::until("broker 2 decides", SETTLE, decides);
    assert_eq!(open(&cluster), Ok(1), "the vote is not the broker");
    cluster.broker_mut(1).start();
    let closed = || {
        let open = open(&cluster)?;
        wait::holds(open == 0, || format!("{open} open"))
    };
    wait::until("the permit ends", SETTLE, closed);
}

/// An eviction follows its answer without another question: so the same question is judged each time.
#[test]
fn a_permit_that_is_asked_for_again_is_judged_again() {
    let mut cluster = Cluster::start("permit-again");
    cluster.create_topic("t", PARTITIONS);
    let leader = metadata_leader(&cluster, 1);
    let others = Cluster::others(&[leader]);
    let granted = await_permit(&cluster, leader, others[0]);
    let again = |more: Value| ask(cluster.broker(leader).admin(), others[0], &more);
    assert_eq!(permit(&again(json!({}))), granted);
    cluster.broker_mut(others[1]).kill();
    cluster.await_isr("t", PARTITIONS, &Cluster::others(&[others[1]]), SETTLE);
    let again = |more: Value| ask(cluster.broker(leader).admin(), others[0], &more);
    assert_eq!(code(&again(json!({"dryRun": true}))), (409, "blocked".to_owned()));
    assert_eq!(open(&cluster, leader).expect("permits"), [granted], "a dry run changes nothing");
    assert_eq!(code(&again(json!({}))), (409, "blocked".to_owned()));
    await_open(&cluster, leader, 0, Duration::from_secs(2));
}

/// The metadata leader still hears the leader, which still takes all of its ISR to be in sync.
#[test]
fn a_leader_that_is_cut_off_from_its_followers_confirms_nothing() {
    let mut cluster = Grown::start("permit-cut", 1, 4);
    cluster.create_topic("t", 1, &[2, 3, 4]);
    let leads = |cluster: &Grown| {
        let told = cluster.topic(1, "t")?["partitions"][0].clone();
        wait::holds(told["leader"] == 2 && told["isr"] == json!([2, 3, 4]), || told.to_string())
    };
    wait::until("broker 2 leads", SETTLE, || leads(&cluster));
    let may_stop = || {
        let answer = ask(cluster.broker(1).admin(), 3, &json!({"dryRun": true}));
        wait::holds(answer.status == 200, || answer.body)
    };
    wait::until("leave for broker 3", SETTLE, may_stop);
    let links = cluster.links();
    let ip = |id: i32| cluster.broker(id).ip();
    let faults =
        [(2, 3), (3, 2), (2, 4), (4, 2)].map(|(from, to)| Fault { from: ip(from), to: ip(to), lost: 1.0 });
    links.set(&faults);
    let began = Instant::now();
    let refused = ask(cluster.broker(1).admin(), 3, &json!({}));
    println!("cut off: {} after {:?}", refused.body, began.elapsed());
    assert_eq!(code(&refused), (409, "blocked".to_owned()), "{}", refused.body);
    links.set(&[]);
    wait::until("leave for broker 3", SETTLE, may_stop);
}

/// What leaders said more than 1 s ago counts no more, so that all of them must be asked and have answered within that.
#[test]
fn the_leaders_of_a_thousand_partitions_at_rest_confirm_in_time() {
    const MANY: usize = 1_000;
    let mut cluster = Cluster::start("permit-many");
    cluster.create_topic("t", MANY);
    wait::until("rest", SETTLE, || {
        let quiet = admin::metric(&cluster.metrics(2), "chronik_quiet_replicas");
        wait::holds(quiet == Some(MANY as f64), || format!("{quiet:?}"))
    });
    let mut took = Vec::new();
    for asked in [1, 2, 3, 1, 2, 3] {
        let began = Instant::now();
        let answer = ask(cluster.broker(asked).admin(), 2, &json!({"dryRun": true}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        took.push(began.elapsed());
    }
    println!("judged {MANY} partitions in {took:?}, at rest for the first time");
}
