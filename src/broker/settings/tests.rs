//! Settings as a person gives them: order of sources, help, and every way to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chronik_core::config::{BROKER_KEYS, describe_broker};
use chronik_core::ids::BrokerId;

use super::*;

fn args(line: &str) -> Vec<std::ffi::OsString> {
    std::iter::once("chronik-broker").chain(line.split_whitespace()).map(Into::into).collect()
}

fn run_with(line: &str, env: &[(&str, &str)]) -> Result<Settings, String> {
    let env: BTreeMap<&str, &str> = env.iter().copied().collect();
    match parse(args(&format!("run {line}")), &|name| env.get(name).map(|value| value.to_string())) {
        Ok(Command::Run(settings)) => Ok(*settings),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn run(line: &str) -> Result<Settings, String> {
    run_with(&format!("--data-dir d {line}"), &[])
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn run_file(text: &str) -> Result<Settings, String> {
    let file = file(text);
    run(&format!("--config {}", file.path().display()))
}

fn host(text: &str) -> HostPort {
    HostPort::parse(text).unwrap()
}

#[test]
fn defaults_are_the_seeds() {
    let settings = run("").unwrap();
    let isr = IsrSettings { max_lag_ms: 10_000, max_lag_entries: 10_000, check_interval_ms: 1_000 };
    assert_eq!((settings.isr, settings.min_insync_replicas), (isr, 2));
    assert_eq!(settings.topic_defaults(), chronik_core::config::TopicDefaults::default());
    assert_eq!(settings.listeners[0].advertised, host("127.0.0.1:9092"));
    assert_eq!((settings.raft.heartbeat_ticks(), settings.raft.election_ticks()), (1, 10));
    assert!(settings.metrics_per_partition && settings.log_format == LogFormat::Text);
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file =
        file("isr_max_lag_ms = 3000\nmin_insync_replicas = \"3\"\nisr_check_interval_ms = 300\nrack = 'c'\n");
    let line = format!("--data-dir d --config {} --isr-max-lag-ms 1000", file.path().display());
    let env = [
        ("CHRONIK_ISR_MAX_LAG_MS", "2000"),
        ("CHRONIK_MIN_INSYNC_REPLICAS", "1"),
        ("CHRONIK_ISR_MAX_LAG_ENTRIES", "77"),
    ];
    let settings = run_with(&line, &env).unwrap();
    assert_eq!(settings.isr, IsrSettings { max_lag_ms: 1000, max_lag_entries: 77, check_interval_ms: 300 });
    assert_eq!((settings.min_insync_replicas, settings.rack.as_deref()), (1, Some("c")));
    assert_eq!(run_with("", &[("CHRONIK_DATA_DIR", "/d")]).unwrap().data_dir, Path::new("/d"));
    let by_env = run_with("--data-dir d", &[("CHRONIK_CONFIG", file.path().to_str().unwrap())]).unwrap();
    assert_eq!(by_env.isr.max_lag_ms, 3000);
}

#[test]
fn listeners_from_flags_and_from_a_file_are_the_same() {
    let line = "--listener A=0.0.0.0:9092 --listener B=[::1]:9094 --advertised-listener A=k-0.example:19092 \
                --peer-listener [::]:9093 --advertised-peer k-0:9093";
    let settings = run(line).unwrap();
    let expected = [
        ListenerSettings {
            name: "A".into(),
            bind: host("0.0.0.0:9092"),
            advertised: host("k-0.example:19092"),
        },
        ListenerSettings { name: "B".into(), bind: host("[::1]:9094"), advertised: host("[::1]:9094") },
    ];
    assert_eq!(settings.listeners, expected);
    assert_eq!(settings.peer_advertised.to_string(), "k-0:9093");
    assert_eq!(settings.listeners[1].bind.to_string(), "[::1]:9094");
    let file = "listener = ['A=0.0.0.0:9092', 'B=[::1]:9094']\nadvertised_listener = 'A=k-0.example:19092'\n\
                peer_listener = '[::]:9093'\nadvertised_peer = 'k-0:9093'\n";
    assert_eq!(run_file(file).unwrap().listeners, expected);
    assert_eq!(run("--listener A=h:1,B=h:2").unwrap().listeners.len(), 2);
}

#[test]
fn wrong_values_are_refused_by_field_value_origin_and_what_is_allowed() {
    let cases = [
        (
            "--isr-max-lag-ms x",
            "setting isr-max-lag-ms = \"x\" (flag --isr-max-lag-ms) is not allowed: a whole number from 500 to 86400000",
        ),
        ("--isr-max-lag-ms 499", "from 500"),
        ("--isr-max-lag-ms -1", "\"-1\""),
        ("--isr-max-lag-ms 1000 --isr-max-lag-ms 2000", "exactly one value"),
        ("--min-insync-replicas 0", "from 1 to 2147483647"),
        ("--default-replication-factor 101", "from 1 to 100"),
        ("--max-message-bytes 67108865", "from 0 to 67108864"),
        ("--max-request-bytes 100000", "at least max-message-bytes, which is 1048588"),
        ("--max-request-memory-bytes 100000", "at least max-request-bytes, which is 104857600"),
        ("--raft-election-ms 250", "a multiple of raft-tick-ms, which is 100"),
        (
            "--raft-heartbeat-ms 400",
            "raft-election-ms = \"1000\" (default) is not allowed: at least three times",
        ),
        ("--peer-silence-ms 200 --raft-heartbeat-ms 200", "at least twice raft-heartbeat-ms"),
        ("--listener 127.0.0.1:9092", "NAME=HOST:PORT"),
        ("--listener A=127.0.0.1:0", "a port from 1 to 65535"),
        ("--listener A=127.0.0.1:65536", "a port from 1 to 65535"),
        ("--listener A=::1:9092", "[...] around IPv6"),
        ("--listener A=h:1 --listener A=h:2", "A stands there twice"),
        ("--listener A=0.0.0.0:9092", "clients cannot connect to 0.0.0.0:9092, so say A=HOST:PORT"),
        ("--advertised-listener B=h:1", "there is no listener B"),
        ("--advertised-listener PLAINTEXT=0.0.0.0:1", "an address others can connect to"),
        ("--peer-listener 0.0.0.0:9093", "other brokers cannot connect"),
        ("--peer-listener h", "HOST:PORT"),
        ("--admin-listener 127.0.0.1:9093", "127.0.0.1:9093 is also a peer-listener"),
        ("--log-format xml", "text or json"),
        ("--log-level loud=very", "trace"),
        ("--metrics-per-partition maybe", "true or false"),
        ("--no-such-flag 1", "--no-such-flag"),
    ];
    for (line, words) in cases {
        let error = run(line).expect_err(line);
        assert!(error.contains(words), "{line}: {error}");
    }
    let error = run_with("--data-dir d", &[("CHRONIK_MIN_INSYNC_REPLICAS", "two")]).unwrap_err();
    assert!(error.contains("\"two\" (environment CHRONIK_MIN_INSYNC_REPLICAS)"), "{error}");
    let error = run_with("", &[]).unwrap_err();
    assert!(error.contains("data-dir is missing: give --data-dir, CHRONIK_DATA_DIR or data_dir"), "{error}");
}

#[test]
fn wrong_files_are_refused_by_name() {
    let cases = [
        ("nope = 1", "key \"nope\" is not a setting"),
        ("isr-max-lag-ms = 1", "\"isr_max_lag_ms\" is"),
        ("config = 'x'", "key \"config\""),
        ("isr_max_lag_ms = 499", "isr-max-lag-ms = \"499\" (file "),
        ("isr_max_lag_ms = 1.5", "isr_max_lag_ms = \"1.5\""),
        ("[listener]\nA = 'h:1'", "a list of texts"),
        ("isr_max_lag_ms = ", "not valid TOML"),
    ];
    for (text, words) in cases {
        let error = run_file(text).expect_err(text);
        assert!(error.contains(words), "{text}: {error}");
    }
    assert!(run("--config /no/such/file").unwrap_err().contains("read settings file /no/such/file"));
    assert!(run_file(&"#".repeat((1 << 20) + 1)).unwrap_err().contains("larger than 1048576 bytes"));
}

fn format(line: &str) -> Result<FormatArgs, String> {
    match parse(args(&format!("format {line}")), &|_| None) {
        Ok(Command::Format(args)) => Ok(args),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn check_takes_a_folder_as_argument_or_from_the_environment() {
    let check = |line: &str, env: &[(&str, &str)]| {
        let env: BTreeMap<&str, &str> = env.iter().copied().collect();
        parse(args(&format!("check {line}")), &|name| env.get(name).map(|value| value.to_string()))
            .map_err(|error| error.to_string())
    };
    let set = [("CHRONIK_DATA_DIR", "set")];
    assert_eq!(check("given", &set), Ok(Command::Check("given".into())));
    assert_eq!(check("", &set), Ok(Command::Check("set".into())));
    assert!(check("", &[]).unwrap_err().contains("CHRONIK_DATA_DIR"));
}

#[test]
fn a_wait_has_a_file_and_an_end() {
    let wait =
        |line: &str| parse(args(&format!("wait-for {line}")), &|_| None).map_err(|error| error.to_string());
    let for_seconds = |seconds| {
        Ok(Command::WaitFor(WaitFor { file: "/pod/rack".into(), patience: Duration::from_secs(seconds) }))
    };
    assert_eq!(wait("/pod/rack"), for_seconds(60));
    assert_eq!(wait("/pod/rack --seconds 0"), for_seconds(0));
    let refused = wait("/pod/rack --seconds 3601").unwrap_err();
    assert!(refused.contains("seconds = \"3601\"") && refused.contains("from 0 to 3600"), "{refused}");
    assert!(wait("").unwrap_err().contains("<FILE>"));
}

#[test]
fn an_empty_variable_is_none() {
    let rack = |value| run_with("--data-dir d", &[("CHRONIK_RACK", value)]).unwrap().rack;
    assert_eq!((rack("zone-a").as_deref(), rack("")), (Some("zone-a"), None));
}

#[test]
fn format_founds_or_joins() {
    let base = "--data-dir d --cluster-id c --broker-id 2";
    let founded = format(&format!("{base} --initial-voters 1@h:1,2@h:2,3@h:3")).unwrap();
    let voter = |id, at: &str| Voter { broker: BrokerId(id), address: host(at) };
    assert_eq!(founded.birth, Birth::InitialVoters(vec![voter(1, "h:1"), voter(2, "h:2"), voter(3, "h:3")]));
    assert!(matches!(
        format(&format!("{base} --join --initial-voters 1@a:9093")).unwrap().birth,
        Birth::Join(_)
    ));
    let wrong = [
        ("", "--initial-voters"),
        ("--join", "--initial-voters"),
        ("--initial-voters 1@h:1", "a list with broker 2"),
        ("--initial-voters 1@h:1,2@h:2", "1, 3 or 5 voters"),
        ("--initial-voters 2@h:2,2@h:3,3@h:4", "each broker id"),
        ("--initial-voters 2@h:2,1@h:2,3@h:4", "each address once"),
        ("--initial-voters 2@0.0.0.0:2", "ID@HOST:PORT"),
        ("--initial-voters 0@h:2", "ID@HOST:PORT"),
    ];
    for (line, words) in wrong {
        let error = format(&format!("{base} {line}")).expect_err(line);
        assert!(error.contains(words), "{line}: {error}");
    }
    let error =
        format("--data-dir d --cluster-id a/b --broker-id 1 --join --initial-voters 1@a:1").unwrap_err();
    assert!(error.contains("cluster-id = \"a/b\""), "{error}");
    let error =
        format("--data-dir d --cluster-id a --broker-id 0 --join --initial-voters 1@a:1").unwrap_err();
    assert!(error.contains("from 1 to 99999"), "{error}");
}

#[test]
fn help_shows_every_setting_with_its_default_and_variable() {
    let Err(CliError::Flags(help)) = parse(args("run --help"), &|_| None) else { panic!() };
    let text = help.to_string();
    for spec in spec::SPECS {
        assert!(text.contains(&format!("--{} ", spec.name)), "{}", spec.name);
        assert!(text.contains(spec.group), "{}", spec.group);
        let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(&format!("[env: {}]", spec.env())), "{}", spec.name);
        if let Some(default) = spec.default {
            assert!(words.contains(&format!("[default: {default}]")), "{}", spec.name);
        }
    }
    assert_eq!(help.exit_code(), 0);
    for line in ["--help", "format --help", "--version"] {
        assert!(parse(args(line), &|_| None).is_err(), "{line}");
    }
}

#[test]
fn every_broker_config_has_a_value_and_knows_who_set_it() {
    let settings = run("--min-insync-replicas 1").unwrap();
    let values = settings.broker_values(BrokerId(7));
    let names: BTreeSet<&str> = values.keys().copied().collect();
    assert_eq!(names, BROKER_KEYS.iter().map(|key| key.name).collect());
    let entries = describe_broker(&values);
    let find = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
    assert_eq!(
        (find("node.id").value.as_str(), find("listeners").value.as_str()),
        ("7", "PLAINTEXT://127.0.0.1:9092")
    );
    assert_eq!(find("min.insync.replicas").source.kafka_code(), 4);
    assert_eq!(find("replica.lag.time.max.ms").source.kafka_code(), 5);
}

#[test]
fn random_addresses_never_panic_and_print_as_they_were_read() {
    use proptest::prelude::*;
    proptest!(|(text in "[\\[\\]a-z0-9.:_\\-]{0,20}")| {
        if let Some(address) = HostPort::parse(&text) {
            prop_assert_eq!(HostPort::parse(&address.to_string()), Some(address));
        }
    });
}

#[test]
fn recover_says_what_it_needs_and_does_nothing_unless_told() {
    let recover = |line: &str| match parse(args(&format!("recover {line}")), &|_| None) {
        Ok(Command::Recover(recover)) => Ok(recover),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    let on_disk =
        |execute, by: Option<&str>| OnDisk { data_dir: "d".into(), execute, by: by.map(str::to_owned) };
    assert_eq!(recover("metadata --data-dir d"), Ok(Recover::Metadata(on_disk(false, None))));
    let told = recover("metadata --data-dir d --execute --by ada");
    assert_eq!(told, Ok(Recover::Metadata(on_disk(true, Some("ada")))));
    let online = |admin: &str, which| {
        Recover::Partitions(Online {
            admin: HostPort::parse(admin).unwrap(),
            which,
            execute: false,
            by: None,
        })
    };
    assert_eq!(recover("partitions --all"), Ok(online("127.0.0.1:9095", Which::All)));
    let one = online("b:1", Which::Partition("t".into(), 3));
    assert_eq!(recover("partitions --admin http://b:1/ --topic t --partition 3"), Ok(one));
    for (line, named) in [
        ("metadata", "data-dir"),
        ("partitions", "--topic"),
        ("partitions --all --topic t", "--topic"),
        ("partitions --all --partition 1", "--all"),
        ("partitions --partition 1", "--topic"),
        ("partitions --topic t --partition x", "a whole number from 0"),
        ("partitions --all --admin nowhere", "HOST:PORT"),
        ("metadata --data-dir d --by=", "1 to 255 bytes"),
    ] {
        let error = recover(line).unwrap_err();
        assert!(error.contains(named), "{line}: {error}");
    }
}
