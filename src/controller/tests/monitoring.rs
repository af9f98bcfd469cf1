//! The chart's alerts and dashboard: every series of the operator that they name is one that it exports, and every alert says
//! how bad it is and links to a page of docs/runbooks. What they name of the brokers, the brokers' own tests check.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chronik_controller::error::Category;
use chronik_controller::metrics::Metrics;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn chart_file(name: &str) -> String {
    read_to_string(root().join("charts/chronik/files").join(name)).unwrap()
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&chart_file("alerts.yaml")).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The operator's series with everything that it can count having happened.
fn exported() -> String {
    let metrics = Metrics::new();
    metrics.reconciled("Topic", Some(Category::InvalidSpec), Duration::from_millis(1));
    metrics.status_written("Topic", Duration::ZERO);
    metrics.feed("shop", "demo", true);
    metrics.rollout_restarted("shop", "demo");
    metrics.rollout_blocked("shop", "demo", true);
    metrics.brokers("shop", "demo", 3, 3);
    metrics.eviction(true);
    metrics.text()
}

/// Words that begin with `chronik_operator_`.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("chronik_operator_")).collect()
}

#[test]
fn every_series_of_the_operator_that_is_looked_at_is_exported() {
    let exported = exported();
    let exported: BTreeSet<&str> =
        exported.lines().filter(|line| !line.starts_with('#')).flat_map(named).collect();
    for file in ["alerts.yaml", "alerts-test.yaml", "dashboard.json"] {
        let text = chart_file(file);
        let unknown: Vec<_> = named(&text).difference(&exported).copied().collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}; the operator exports {exported:?}");
    }
}

#[test]
fn every_alert_has_a_severity_and_a_page_and_every_page_an_alert() {
    let mut pages = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{name}");
        for annotation in ["summary", "description"] {
            assert!(!alert["annotations"][annotation].as_str().unwrap().is_empty(), "{name}");
        }
        let page = alert["annotations"]["runbook_url"].as_str().unwrap().strip_prefix("RUNBOOKS/").unwrap();
        let text = read_to_string(root().join("docs/runbooks").join(page)).unwrap();
        assert!(text.lines().next().unwrap().contains(name), "{page} does not begin with {name}");
        for part in ["## Symptom", "## Meaning", "## Look at", "## Do"] {
            assert!(text.contains(part), "{page} lacks {part}");
        }
        pages.insert(page.to_owned());
    }
    let there: BTreeSet<String> = std::fs::read_dir(root().join("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, pages);
}
