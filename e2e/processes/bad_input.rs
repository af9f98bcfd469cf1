//! Wrong requests get Kafka's own errors; garbage on any port harms nobody else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use chronik_e2e::cluster::{BROKERS, Cluster};
use chronik_e2e::{kafka, load};
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

const PARTITIONS: usize = 3;

#[test]
fn wrong_topics_are_refused_by_name() {
    let cluster = Cluster::start("refusals");
    let create = |topic: &NewTopic<'_>| kafka::create_topic(&cluster.bootstrap(), topic);
    let three = || TopicReplication::Fixed(3);
    let cases = [
        (NewTopic::new("wide", 1, TopicReplication::Fixed(4)), RDKafkaErrorCode::InvalidReplicationFactor),
        (NewTopic::new("keyed", 1, three()).set("no.such.key", "1"), RDKafkaErrorCode::InvalidConfig),
        (
            NewTopic::new("valued", 1, three()).set("min.insync.replicas", "many"),
            RDKafkaErrorCode::InvalidConfig,
        ),
        (NewTopic::new("a/b", 1, three()), RDKafkaErrorCode::InvalidTopic),
        (NewTopic::new("none", 0, three()), RDKafkaErrorCode::InvalidPartitions),
    ];
    for (topic, code) in &cases {
        assert_eq!(create(topic), Err(*code), "{topic:?}");
    }
    assert_eq!(create(&NewTopic::new("right", 1, three())), Ok(()));
    assert_eq!(create(&NewTopic::new("right", 1, three())), Err(RDKafkaErrorCode::TopicAlreadyExists));
}

#[test]
fn garbage_on_any_port_harms_nobody() {
    let mut cluster = Cluster::start("garbage");
    cluster.create_topic("t", PARTITIONS);
    let mut noise = [0_u8; 4096];
    let mut state = 0x9e37_79b9_u32;
    noise.iter_mut().for_each(|byte| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    });
    let pieces: [(&str, &[u8]); 4] = [
        ("random bytes", &noise),
        ("a length of 2 GiB", &[0x7f, 0xff, 0xff, 0xff, 0, 18, 0, 3]),
        ("a negative length", &[0xff, 0xff, 0xff, 0xff, 0, 0]),
        ("half a request", &[0, 0, 0, 64, 0, 3, 0, 9, 0, 0]),
    ];
    for id in BROKERS {
        let broker = cluster.broker(id);
        for port in [broker.kafka(), broker.peer(), broker.admin()] {
            pieces.iter().for_each(|(_, bytes)| throw(port, bytes));
        }
    }
    assert_eq!(cluster.running(), BROKERS, "brokers that still run");
    cluster.await_isr("t", PARTITIONS, &BROKERS, Duration::from_secs(5));
    let sent = load::send_each(&load::idempotent(&cluster.bootstrap()), "t", PARTITIONS);
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    cluster.await_ready();
}

/// Writes the bytes, lets the broker answer or hang up, and goes away.
fn throw(port: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect_timeout(&port, Duration::from_secs(5)).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    // The broker may hang up in the middle: that is its right.
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 256]);
}
