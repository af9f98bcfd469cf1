//! Links between brokers that are cut, work one way only, or lose packets, while clients reach every broker. Needs root.

use std::time::{Duration, Instant};

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::links::Links;
use chronik_e2e::load::{self, Load};
use chronik_e2e::reading::Reading;
use chronik_e2e::watch::Watch;
use chronik_e2e::{admin, kafka, wait, wire};

use crate::clients::Clients;

const PARTITIONS: usize = 6;
const LOOK: Duration = Duration::from_millis(50);
const SETTLE: Duration = Duration::from_secs(40);
/// Silence is noticed after 3 s; clients must find the others soon after.
const GOES_ON: Duration = Duration::from_secs(5);
/// A new client is told of the others by the cut one, and asks one of them when that one hangs up: more than once if it
/// happens to ask the same again.
const COMES_AWAY: Duration = Duration::from_secs(10);
/// What the cut does not concern must hardly notice it.
const BLINK: Duration = Duration::from_secs(1);

/// Clients that were told of one broker only, and this one is cut off, must come away from it: also one whose only
/// partition it led, and which knows the others by name alone.
#[test]
fn clients_of_a_cut_broker_find_the_others() {
    let mut cluster = Cluster::start("cut-off");
    cluster.create_topic("single", 1);
    ["t", "u", "v"].iter().for_each(|topic| cluster.create_topic(topic, PARTITIONS));
    let cut = cluster.leader("single", 0);
    let healthy = Cluster::others(&[cut]);
    let links = cluster.links();
    let only = cluster.broker(cut).kafka().to_string();
    let both = healthy.iter().map(|id| cluster.broker(*id).kafka().to_string()).collect::<Vec<_>>().join(",");
    expect_all_sent(&cluster, "v");
    let single = Clients::start(&only, "single", 1);
    let clients = Clients::start(&only, "t", PARTITIONS);
    let elsewhere = Clients::start(&both, "u", PARTITIONS);
    let led_by_cut = led_by(&cluster, cut, "u");
    let watch = Watch::start(&cluster, &BROKERS, "t", LOOK);

    let began = Instant::now();
    links.set(&healthy.iter().flat_map(|id| cluster.cut(cut, *id)).collect::<Vec<_>>());
    let left = cluster.await_isr_at(&healthy, "t", PARTITIONS, &healthy, GOES_ON);
    [&single, &clients, &elsewhere].iter().for_each(|clients| clients.await_more(100));
    let stalls = [single.stalls(began), clients.stalls(began), elsewhere.stalls(began)];
    let beats = elsewhere.producer.beats();
    let stayed = (0..PARTITIONS as i32).filter(|p| !led_by_cut.contains(p));
    let stayed = stayed.map(|p| beats.longest_stall_of(p, began)).max().unwrap_or_default();
    println!(
        "broker {cut} cut off: out of the ISR after {left:?}; longest stalls of producer and consumer: {:?} that know \
         only it and use one partition, {:?} that know only it, {:?} that know the others; {stayed:?} where it did \
         not lead",
        stalls[0], stalls[1], stalls[2]
    );
    assert!(stalls.iter().all(|(produce, consume)| *produce.max(consume) <= GOES_ON), "somebody stood still");
    assert!(stayed <= BLINK, "{stayed:?} on a partition that the cut broker did not lead");

    it_shows_itself_as_caretaker(&cluster, cut, healthy[0]);
    new_clients_come_away_from_it(&only, &clients.producer);

    links.set(&[]);
    let healed = Instant::now();
    cluster.await_isr("single", 1, &BROKERS, SETTLE);
    for topic in ["t", "u", "v"] {
        cluster.await_isr(topic, PARTITIONS, &BROKERS, SETTLE);
    }
    println!("healed: full ISR after {:?}", healed.elapsed());
    watch.finish();
    for clients in [single, clients, elsewhere] {
        clients.await_more(20);
        clients.finish(&cluster);
    }
}

/// Epochs below those of the real leaders, and no position that it would reset.
fn it_shows_itself_as_caretaker(cluster: &Cluster, cut: i32, other: i32) {
    cluster.await_isr_at(&[cut], "t", PARTITIONS, &[cut], GOES_ON);
    let shown = |id: i32| wire::metadata(cluster.broker(id).kafka(), "t", BLINK).expect("Metadata");
    for (own, real) in shown(cut).iter().zip(shown(other)) {
        assert!(own.epoch < real.epoch, "the cut broker shows {own:?}, broker {other} {real:?}");
        let beyond = wire::keeps_position(cluster.broker(cut).kafka(), "t", own.partition, 1 << 40);
        assert_eq!(beyond, Ok(78), "partition {}", own.partition);
    }
}

fn new_clients_come_away_from_it(only: &str, producer: &Load) {
    let began = Instant::now();
    let consumer = Reading::start(only, "t", PARTITIONS);
    let sent = load::send_each(&load::idempotent(only), "v", PARTITIONS);
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    let produced = began.elapsed();
    // Records that were there when it began, and then those of now.
    let there = producer.acked();
    wait::until("a new consumer at the end", SETTLE, || {
        wait::holds(consumer.count() >= there, || format!("{} of {there}", consumer.count()))
    });
    let at_end = began.elapsed();
    consumer.await_records(PARTITIONS, 20, SETTLE);
    let diary = consumer.finish();
    assert_eq!(diary.breaks, Vec::<String>::new(), "of a new consumer");
    let began = Instant::now();
    assert_eq!(kafka::end(only, "v", 0), 2);
    let asked = began.elapsed();
    println!(
        "new clients of it: records sent after {produced:?}, all {there} records read after {at_end:?}, end known \
         after {asked:?}"
    );
    assert!(produced <= COMES_AWAY && at_end <= COMES_AWAY && asked <= COMES_AWAY);
}

#[test]
fn three_brokers_cut_from_each_other_accept_nothing() {
    let mut cluster = Cluster::start("islands");
    ["t", "probe"].iter().for_each(|topic| cluster.create_topic(topic, PARTITIONS));
    let links = cluster.links();
    expect_all_sent(&cluster, "probe");
    let clients = Clients::start(&cluster.bootstrap(), "t", PARTITIONS);
    let watch = Watch::start(&cluster, &BROKERS, "t", LOOK);

    let cut = Instant::now();
    links.set(&[cluster.cut(1, 2), cluster.cut(1, 3), cluster.cut(2, 3)].concat());
    for id in BROKERS {
        cluster.await_isr_at(&[id], "t", PARTITIONS, &[id], GOES_ON);
        cluster.await_isr_at(&[id], "probe", PARTITIONS, &[id], GOES_ON);
    }
    let shown = cut.elapsed();
    let acked = clients.producer.acked();
    for id in BROKERS {
        for acks in ["all", "1"] {
            let mut config = load::one_try(&cluster.broker(id).kafka().to_string());
            let sent = load::send_each(config.set("acks", acks), "probe", PARTITIONS);
            let refused = Err("NotEnoughReplicasAfterAppend".to_owned());
            assert!(sent.iter().all(|sent| *sent == refused), "broker {id}, acks={acks}: {sent:?}");
        }
    }
    assert_eq!(clients.producer.acked(), acked, "acknowledgements without a quorum");
    println!(
        "all three cut from each other: each shows itself alone after {shown:?}, 36 of 36 probes got 20"
    );

    links.set(&[]);
    let healed = Instant::now();
    clients.await_more(20);
    let progress = healed.elapsed();
    for topic in ["t", "probe"] {
        cluster.await_isr(topic, PARTITIONS, &BROKERS, SETTLE);
    }
    println!("healed: progress after {progress:?}, full ISR after {:?}", healed.elapsed());
    watch.finish();
    for partition in 0..PARTITIONS as i32 {
        assert_eq!(kafka::end(&cluster.bootstrap(), "probe", partition), 1, "partition {partition}");
    }
    clients.finish(&cluster);
}

#[test]
fn a_link_that_works_one_way_or_loses_packets_costs_no_record() {
    let mut cluster = Cluster::start("lossy");
    cluster.create_topic("t", PARTITIONS);
    let links = cluster.links();
    let clients = Clients::start(&cluster.bootstrap(), "t", PARTITIONS);
    let watch = Watch::start(&cluster, &BROKERS, "t", LOOK);
    one_way(&mut cluster, &links, &clients);
    loss(&mut cluster, &links, &clients);
    watch.finish();
    clients.finish(&cluster);
}

/// Nothing that 1 sends reaches 2: neither may count the other in sync, and 3, which hears both, keeps all.
fn one_way(cluster: &mut Cluster, links: &Links, clients: &Clients) {
    let before = cluster.metadata_from(3, "t");
    let cut = Instant::now();
    links.set(&[cluster.fault(1, 2, 1.0)]);
    let expected = |leader: i32| match leader {
        1 => vec![1, 3],
        2 => vec![2, 3],
        _ => BROKERS.to_vec(),
    };
    wait::until("the ISR with a one-way link", GOES_ON, || {
        for p in &before {
            // 3 hears of everything, and a leader knows of itself.
            for id in [3, p.leader] {
                let seen = cluster.metadata(id, "t")?.swap_remove(p.partition as usize);
                wait::holds(seen.leader == p.leader && seen.isr == expected(p.leader), || {
                    format!("broker {id} shows {seen:?}")
                })?;
            }
        }
        Ok(())
    });
    let shown = cut.elapsed();
    clients.await_more(50);
    let (stall, _) = clients.stalls(cut);
    println!("one way only from 2 to 1: the ISR says so after {shown:?}, longest stall {stall:?}");
    assert!(stall <= GOES_ON, "{stall:?}");
    links.set(&[]);
    let back = cluster.await_isr("t", PARTITIONS, &BROKERS, SETTLE);
    println!("healed: full ISR after {back:?}");
}

fn loss(cluster: &mut Cluster, links: &Links, clients: &Clients) {
    const LOSES: Duration = Duration::from_secs(8);
    let pairs = BROKERS.iter().flat_map(|from| BROKERS.map(|to| (*from, to))).filter(|(from, to)| from != to);
    let faults: Vec<_> = pairs.map(|(from, to)| cluster.fault(from, to, 0.2)).collect();
    let (began, acked, shrunk) = (Instant::now(), clients.producer.acked(), shrinks(cluster));
    links.set(&faults);
    std::thread::sleep(LOSES);
    let (meanwhile, shrunk) = (clients.producer.acked() - acked, shrinks(cluster) - shrunk);
    links.set(&[]);
    let back = cluster.await_isr("t", PARTITIONS, &BROKERS, SETTLE);
    clients.await_more(50);
    println!(
        "a fifth of all packets lost for {LOSES:?}: {meanwhile} acknowledged, {shrunk} replicas left an ISR, longest \
         stall {:?}; full ISR {back:?} after it ended",
        clients.producer.longest_stall(began)
    );
    assert!(meanwhile > 0, "nothing was acknowledged");
}

fn shrinks(cluster: &Cluster) -> u64 {
    let of = |id: i32| admin::metric(&cluster.metrics(id), "chronik_isr_shrinks_total");
    BROKERS.iter().map(|id| of(*id).expect("the metric") as u64).sum()
}

fn led_by(cluster: &Cluster, id: i32, topic: &str) -> Vec<i32> {
    let seen = cluster.metadata_from(id, topic);
    seen.iter().filter(|p| p.leader == id).map(|p| p.partition).collect()
}

fn expect_all_sent(cluster: &Cluster, topic: &str) {
    let sent = load::send_each(&load::idempotent(&cluster.bootstrap()), topic, PARTITIONS);
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
}
