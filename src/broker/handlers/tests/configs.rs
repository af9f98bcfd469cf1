//! DescribeConfigs and IncrementalAlterConfigs.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::memory::MemoryBackend;
use crate::handlers::backend::Backend;
use crate::server::tests::client::{Client, serve};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

async fn describe(
    client: &mut Client,
    version: i16,
    (kind, resource): (i8, &str),
    keys: Option<&[&str]>,
) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3);
    let mut answer: DescribeConfigsResponse = client.ask(ApiKey::DescribeConfigs, version, &request).await;
    answer.results.remove(0)
}

/// Code and message of altering one resource.
async fn alter(
    client: &mut Client,
    (kind, resource): (i8, &str),
    configs: &[(&str, i8, Option<&str>)],
) -> (i16, String) {
    let configs = configs.iter().map(|(key, operation, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let mut answer: IncrementalAlterConfigsResponse =
        client.ask(ApiKey::IncrementalAlterConfigs, 1, &request).await;
    let response = answer.responses.remove(0);
    (response.error_code, response.error_message.map(|m| m.to_string()).unwrap_or_default())
}

#[tokio::test]
async fn a_topics_configs_with_their_sources() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    assert_eq!(alter(&mut client, (2, "logs"), &[("min.insync.replicas", 0, Some("1"))]).await.0, 0);
    for version in 1..=4 {
        for everything in [None, Some(&[][..])] {
            let all = describe(&mut client, version, (2, "logs"), everything).await;
            assert!(all.error_code == 0 && all.configs.len() > 20, "version {version}");
        }
        let some = describe(&mut client, version, (2, "logs"), Some(&["min.insync.replicas", "x"])).await;
        let entry = &some.configs[0];
        assert_eq!((some.configs.len(), entry.value.as_ref().unwrap().as_str()), (1, "1"));
        assert_eq!((entry.config_source, entry.synonyms.len()), (1, 2));
        let documented = entry.documentation.as_ref().is_some_and(|text| !text.is_empty());
        assert_eq!((entry.config_type, documented), if version >= 3 { (3, true) } else { (0, false) });
    }
}

#[tokio::test]
async fn a_throttle_that_cannot_be_set_may_be_taken_away() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let rate = "leader.replication.throttled.rate";
    let replicas = "follower.replication.throttled.replicas";
    assert_eq!(alter(&mut client, (4, "1"), &[(rate, 1, None)]).await, (0, String::new()));
    assert_eq!(alter(&mut client, (4, "1"), &[(rate, 0, Some("1"))]).await.0, 40);
    assert_eq!(alter(&mut client, (4, "1"), &[(rate, 1, None), ("node.id", 1, None)]).await.0, 40);
    assert_eq!(alter(&mut client, (2, "logs"), &[(replicas, 1, None)]).await, (0, String::new()));
    assert_eq!(alter(&mut client, (2, "logs"), &[(replicas, 0, Some("*"))]).await.0, 40);
}

#[tokio::test]
async fn brokers_describe_themselves_only() {
    let (_server, address) = serve(&MemoryBackend::of_three()).await;
    let mut client = Client::connect(address).await;
    let own = describe(&mut client, 4, (4, "1"), None).await;
    let read_only = own.configs.iter().all(|config| config.read_only);
    assert_eq!((own.error_code, own.configs.len(), read_only), (0, 2, true));
    assert_eq!(describe(&mut client, 4, (4, ""), None).await.configs.len(), 0);
    for (resource, code) in
        [((4, "2"), 42), ((4, "x"), 42), ((8, "1"), 42), ((2, "nothing"), 3), ((2, "no/name"), 17)]
    {
        let refused = describe(&mut client, 4, resource, None).await;
        assert_eq!(refused.error_code, code, "{resource:?}");
        assert!(!refused.error_message.unwrap().is_empty());
    }
}

#[tokio::test]
async fn configs_are_set_and_returned_to_their_default() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let set = [("max.message.bytes", 0, Some("5000")), ("replica.lag.time.max.ms", 0, Some("2000"))];
    assert_eq!(alter(&mut client, (2, "logs"), &set).await.0, 0);
    // What is not set is unset already, also a key that nobody knows.
    for unset in ["max.message.bytes", "min.insync.replicas", "no.such.key"] {
        assert_eq!(alter(&mut client, (2, "logs"), &[(unset, 1, None)]).await, (0, String::new()), "{unset}");
    }
    let cluster = backend.cluster();
    let configs: Vec<_> = cluster.topic_by_name("logs").unwrap().configs.iter().collect();
    assert_eq!(configs, [(&"replica.lag.time.max.ms".to_owned(), &"2000".to_owned())]);
}

#[tokio::test]
async fn bad_changes_are_refused_with_words_and_change_nothing() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let before = backend.cluster().applied();
    let good = ("replica.lag.time.max.ms", 0, Some("2000"));
    for (resource, bad, code, word) in [
        ((2, "logs"), ("no.such.key", 0, Some("1")), 40, "no.such.key"),
        ((2, ""), ("max.message.bytes", 0, Some("1")), 42, "all topics"),
        ((2, "no/name"), ("max.message.bytes", 0, Some("1")), 17, "no/name"),
        ((2, "logs"), ("min.insync.replicas", 0, Some("0")), 40, "0"),
        ((2, "logs"), ("min.insync.replicas", 0, None), 42, "min.insync.replicas"),
        ((2, "logs"), ("min.insync.replicas", 2, Some("1")), 40, "list"),
        ((2, "logs"), ("min.insync.replicas", 7, Some("1")), 42, "7"),
        ((2, "logs"), ("retention.ms", 0, Some("5")), 40, "retention.ms"),
        ((2, "logs"), ("flush.ms", 0, Some("1")), 40, "flush.ms"),
        ((2, "logs"), good, 42, "more than once"),
        ((2, "nothing"), ("min.insync.replicas", 0, Some("1")), 3, "nothing"),
        ((4, "1"), ("min.insync.replicas", 0, Some("1")), 40, "broker"),
        ((8, "1"), ("x", 0, Some("1")), 42, "8"),
    ] {
        let (told, message) = alter(&mut client, resource, &[good, bad]).await;
        assert_eq!(told, code, "{resource:?} {bad:?}: {message}");
        assert!(message.contains(word), "{word} is not named: {message}");
    }
    assert_eq!(backend.cluster().applied(), before);
}

#[tokio::test]
async fn a_resource_named_twice_is_refused_both_times_and_a_broker_without_changes_is_not() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let config = AlterableConfig::default().with_name(text("max.message.bytes")).with_value(Some(text("7")));
    let logs = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text("logs"));
    let logs = logs.with_configs(vec![config]);
    let broker = AlterConfigsResource::default().with_resource_type(4).with_resource_name(text("1"));
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![logs.clone(), broker, logs]);
    let answer: IncrementalAlterConfigsResponse =
        client.ask(ApiKey::IncrementalAlterConfigs, 1, &request).await;
    let codes: Vec<_> = answer.responses.iter().map(|response| response.error_code).collect();
    assert_eq!((codes, &answer.responses[1].error_message), (vec![42, 0, 42], &None));
    assert!(backend.cluster().topic_by_name("logs").unwrap().configs.is_empty());
}

/// Older clients know only the request that says all configs at once.
#[tokio::test]
async fn alter_configs_sets_what_it_names_and_unsets_the_rest() {
    use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let set = [("max.message.bytes", 0, Some("5000")), ("replica.lag.time.max.ms", 0, Some("2000"))];
    assert_eq!(alter(&mut client, (2, "logs"), &set).await.0, 0);
    let config = |key: &str, value: Option<&str>| {
        AlterableConfig::default().with_name(text(key)).with_value(value.map(text))
    };
    let cases = [
        (vec![config("max.message.bytes", None)], false, 42),
        (vec![config("no.such.key", Some("1"))], false, 40),
        (vec![config("max.message.bytes", Some("7"))], true, 0),
        (vec![config("max.message.bytes", Some("6000"))], false, 0),
    ];
    for (at, (configs, validate_only, code)) in cases.into_iter().enumerate() {
        let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text("logs"));
        let request = AlterConfigsRequest::default()
            .with_resources(vec![resource.with_configs(configs)])
            .with_validate_only(validate_only);
        let answer: AlterConfigsResponse = client.ask(ApiKey::AlterConfigs, 2, &request).await;
        assert_eq!(
            answer.responses[0].error_code, code,
            "case {at}: {:?}",
            answer.responses[0].error_message
        );
        let set = backend.cluster().topic_by_name("logs").unwrap().configs.len();
        assert_eq!(set, if at < 3 { 2 } else { 1 }, "case {at}");
    }
    assert_eq!(backend.cluster().topic_by_name("logs").unwrap().configs["max.message.bytes"], "6000");
}

/// What is said of a resource is many times longer than its name: naming it again must not have it said again.
#[tokio::test]
async fn a_resource_that_is_named_again_is_described_once() {
    let backend = MemoryBackend::of_three();
    backend.topic("logs", 1, 1);
    let (_server, address) = serve(&backend).await;
    let mut client = Client::connect(address).await;
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("logs"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource; 50_000]);
    let answer: DescribeConfigsResponse = client.ask(ApiKey::DescribeConfigs, 4, &request).await;
    assert_eq!(answer.results.len(), 1);
}
