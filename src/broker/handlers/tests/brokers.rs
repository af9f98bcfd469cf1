//! UnregisterBroker through real TCP.

use kafka_protocol::messages::*;

use super::memory::MemoryBackend;
use crate::handlers::backend::Backend;
use crate::server::tests::client::{Client, serve};

#[tokio::test]
async fn a_broker_is_unregistered_once_it_hosts_nothing() {
    let backend = MemoryBackend::of_three();
    backend.topic("t", 1, 2);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let mut answers = Vec::new();
    for id in [2, 9, -1, 3] {
        let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(id));
        let answer: UnregisterBrokerResponse = client.ask(ApiKey::UnregisterBroker, 0, &request).await;
        answers
            .push((answer.error_code, answer.error_message.map(|text| text.to_string()).unwrap_or_default()));
    }
    let codes: Vec<i16> = answers.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [42, 102, 102, 0], "{answers:?}");
    assert!(answers[0].1.contains("has 1, that of t-0"), "{answers:?}");
    assert!(answers[1].1.contains("the id of a registered broker"), "{answers:?}");
    let left: Vec<u32> = backend.cluster().brokers().map(|broker| broker.id.0).collect();
    assert_eq!(left, [1, 2]);
}
