//! The Helm chart as it renders: it lints, says what the operator's command line understands, holds today's CRDs, and
//! grants no right to delete but for pods.
//!
//! Run with HELM set to the program: `cargo test -p chronik-controller --test chart -- --ignored`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use chronik_controller::cli::Cli;
use clap::CommandFactory;
use serde_json::{Value, json};

fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../charts/chronik")
}

fn helm(args: &[&str]) -> Output {
    let program = std::env::var("HELM").unwrap_or_else(|_| "helm".to_owned());
    Command::new(program).args(args).output().expect("HELM names the helm program")
}

/// Every object the chart renders with these values, hooks among them.
fn rendered(set: &[&str]) -> Vec<Value> {
    let chart = chart();
    let mut args = vec!["template", "chronik", chart.to_str().unwrap(), "--namespace", "system"];
    args.extend(set.iter().flat_map(|value| ["--set", value]));
    let output = helm(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split("\n---\n")
        .map(|document| {
            serde_saphyr::from_str::<Value>(document).unwrap_or_else(|e| panic!("{e}\n{document}"))
        })
        .filter(|object| !object.is_null())
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn names(values: &Value) -> Vec<&str> {
    values.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
#[ignore = "needs Helm: set HELM"]
fn it_lints() {
    let output = helm(&["lint", "--strict", chart().to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "needs Helm: set HELM"]
fn values_that_are_not_allowed_are_refused_by_name() {
    for (set, named) in [
        ("replicas=0", "/replicas"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("imagee.tag=x", "imagee"),
        ("log.format=xml", "/log/format"),
        ("statusWritesPerSecond=0", "/statusWritesPerSecond"),
        ("webhook.enabled=maybe", "/webhook/enabled"),
        ("watchNamespaces={Shop}", "/watchNamespaces/0"),
        ("monitoring.interval=often", "/monitoring/interval"),
        ("monitoring.rulez.enabled=true", "rulez"),
        ("networkPolicy.enabled=true", "networkPolicy.namespaces is empty"),
    ] {
        let output = helm(&["template", "chronik", chart().to_str().unwrap(), "--set", set]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(named), "{set}: {error}");
    }
}

#[test]
#[ignore = "needs Helm: set HELM"]
fn the_crds_are_todays_and_an_uninstall_keeps_them() {
    let objects = rendered(&[]);
    let crds = of_kind(&objects, "CustomResourceDefinition");
    let expected: Vec<Value> =
        chronik_api::crds().iter().map(|crd| serde_json::to_value(crd).unwrap()).collect();
    assert_eq!(crds, expected.iter().collect::<Vec<_>>());
    for crd in crds {
        assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    assert!(of_kind(&rendered(&["crds.install=false"]), "CustomResourceDefinition").is_empty());
}

#[test]
#[ignore = "needs Helm: set HELM"]
fn the_command_lines_are_understood() {
    let objects = rendered(&["watchNamespaces={shop}"]);
    let known: BTreeSet<String> = Cli::command()
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .chain(Cli::command().get_arguments())
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .collect();
    for kind in ["Deployment", "Job"] {
        let object = of_kind(&objects, kind)[0];
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        let mut words = vec!["chronik-operator"];
        words.extend(names(&container["args"]));
        Cli::command().try_get_matches_from(words).unwrap();
        for variable in container["env"].as_array().unwrap() {
            let name = variable["name"].as_str().unwrap();
            assert!(name == "RUST_LOG" || known.contains(name), "{kind} sets {name}, which nothing reads");
        }
        // What the standard `restricted` asks for, and a root file system that nobody writes to.
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true, "{kind}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{kind}");
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{kind}");
        let of_pod = &object["spec"]["template"]["spec"]["securityContext"];
        assert_eq!(of_pod["runAsNonRoot"], true, "{kind}");
        assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault", "{kind}");
    }
}

#[test]
#[ignore = "needs Helm: set HELM"]
fn rights_are_few_and_confined_to_the_watched_namespace() {
    let everywhere = rendered(&[]);
    for kind in ["ClusterRole", "Role"] {
        for role in of_kind(&everywhere, kind) {
            for rule in role["rules"].as_array().unwrap() {
                let verbs = names(&rule["verbs"]);
                assert!(!verbs.iter().any(|verb| ["*", "deletecollection"].contains(verb)), "{rule}");
                // Pods of brokers that restart, and claims of those that were taken out.
                let may_go = [vec!["pods"], vec!["persistentvolumeclaims"]];
                assert!(!verbs.contains(&"delete") || may_go.contains(&names(&rule["resources"])), "{rule}");
                assert!(
                    !names(&rule["resources"]).contains(&"*") && !names(&rule["apiGroups"]).contains(&"*"),
                    "{rule}"
                );
                let by_name = names(&rule["resourceNames"]) == ["chronik-operator-webhook"];
                assert!(!names(&rule["resources"]).contains(&"secrets") || by_name, "{rule}");
            }
        }
    }
    let confined = rendered(&["watchNamespaces={shop,bank}"]);
    // The webhook's registration is in no namespace: its own is all that it may change there. Nodes it reads.
    let everywhere: Vec<&Value> =
        of_kind(&confined, "ClusterRole").iter().flat_map(|role| role["rules"].as_array().unwrap()).collect();
    let rule = |resource: &str| {
        *everywhere.iter().find(|rule| names(&rule["resources"]) == [resource]).expect(resource)
    };
    assert_eq!(everywhere.len(), 2);
    assert_eq!(names(&rule("nodes")["verbs"]), ["get"]);
    assert_eq!(names(&rule("validatingwebhookconfigurations")["resourceNames"]), ["chronik-operator.system"]);
    let without = rendered(&["watchNamespaces={shop}", "webhook.enabled=false", "racks.enabled=false"]);
    assert!(
        of_kind(&without, "ClusterRole").is_empty() && of_kind(&without, "ClusterRoleBinding").is_empty()
    );
    let namespaces: BTreeSet<_> = of_kind(&confined, "Role")
        .iter()
        .map(|role| role["metadata"]["namespace"].as_str().unwrap())
        .collect();
    assert_eq!(namespaces, BTreeSet::from(["bank", "shop", "system"]));
}

#[test]
#[ignore = "needs Helm: set HELM"]
fn the_hook_leaves_nothing_behind() {
    let objects = rendered(&[]);
    let hooks: Vec<&Value> = objects
        .iter()
        .filter(|object| object["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete")
        .collect();
    assert_eq!(hooks.len(), 6);
    for hook in hooks {
        let policy = hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"].as_str().unwrap();
        assert!(policy.contains("hook-succeeded"), "{hook}");
    }
    let without = rendered(&["uninstall.releaseFinalizers=false"]);
    assert!(of_kind(&without, "Job").is_empty());
}

#[test]
#[ignore = "needs Helm: set HELM"]
fn an_eviction_waits_for_the_operator_only_while_it_answers() {
    let objects = rendered(&["watchNamespaces={shop}"]);
    let configuration = of_kind(&objects, "ValidatingWebhookConfiguration")[0];
    let webhook = &configuration["webhooks"][0];
    assert_eq!(webhook["name"], chronik_controller::webhook::NAME);
    assert_eq!(webhook["clientConfig"]["service"]["path"], chronik_controller::webhook::PATH);
    assert_eq!((&webhook["failurePolicy"], &webhook["timeoutSeconds"]), (&json!("Ignore"), &json!(10)));
    assert_eq!(names(&webhook["namespaceSelector"]["matchExpressions"][0]["values"]), ["shop"]);
    assert!(webhook["clientConfig"]["caBundle"].is_null(), "an upgrade would take the operator's away");

    // What the operator is told, and what there is.
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let told = |name: &str| {
        let mut variables = container["env"].as_array().unwrap().iter();
        variables.find(|variable| variable["name"] == name).unwrap()["value"].clone()
    };
    let service = &webhook["clientConfig"]["service"];
    let host =
        format!("{}.{}.svc", service["name"].as_str().unwrap(), service["namespace"].as_str().unwrap());
    assert_eq!(told("CHRONIK_WEBHOOK_HOST"), host);
    assert_eq!(told("CHRONIK_WEBHOOK_CONFIGURATION"), configuration["metadata"]["name"]);
    let secret = of_kind(&objects, "Secret")[0];
    assert_eq!(told("CHRONIK_WEBHOOK_SECRET"), secret["metadata"]["name"]);
    assert!(secret["data"].is_null(), "an upgrade would take the operator's away");
    let ports = container["ports"].as_array().unwrap();
    assert!(ports.iter().any(|port| port["name"] == "webhook" && port["containerPort"] == 9443));
    let service = of_kind(&objects, "Service")[0]["spec"]["ports"].as_array().unwrap();
    assert!(service.iter().any(|port| port["port"] == 443 && port["targetPort"] == "webhook"));

    let without = rendered(&["webhook.enabled=false"]);
    for kind in ["ValidatingWebhookConfiguration", "Secret"] {
        assert!(of_kind(&without, kind).is_empty(), "{kind}");
    }
    let text = without.iter().map(ToString::to_string).collect::<String>();
    assert!(!text.contains("WEBHOOK") && !text.contains("9443"));
}

#[test]
#[ignore = "needs Helm: set HELM"]
fn monitoring_is_there_when_asked_for_and_says_what_the_files_say() {
    let kinds = ["ServiceMonitor", "PodMonitor", "PrometheusRule"];
    assert!(kinds.iter().all(|kind| of_kind(&rendered(&[]), kind).is_empty()));
    let objects = rendered(&[
        "monitoring.operator.enabled=true",
        "monitoring.brokers.enabled=true",
        "monitoring.rules.enabled=true",
        "monitoring.rules.runbooks=https://example.org/runbooks/",
        "monitoring.dashboard.enabled=true",
        "monitoring.labels.release=prometheus",
        "watchNamespaces={shop}",
    ]);
    for kind in kinds {
        assert_eq!(of_kind(&objects, kind)[0]["metadata"]["labels"]["release"], "prometheus", "{kind}");
    }
    // What is selected is there.
    let monitor = &of_kind(&objects, "ServiceMonitor")[0]["spec"];
    let service = of_kind(&objects, "Service")[0];
    for (label, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(service["metadata"]["labels"][label], *value);
    }
    let port = &monitor["endpoints"][0]["port"];
    assert!(service["spec"]["ports"].as_array().unwrap().iter().any(|found| found["name"] == *port));
    let brokers = &of_kind(&objects, "PodMonitor")[0]["spec"];
    assert_eq!(names(&brokers["namespaceSelector"]["matchNames"]), ["shop"]);
    let labels = chronik_api::labels::broker_labels("demo");
    for (label, value) in brokers["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(labels[label], value.as_str().unwrap());
    }
    let rules = of_kind(&objects, "PrometheusRule")[0];
    let first = &rules["spec"]["groups"][0]["rules"][0];
    assert!(first["annotations"]["summary"].as_str().unwrap().contains("{{ $labels.cluster }}"), "{first}");
    let page = first["annotations"]["runbook_url"].as_str().unwrap();
    assert!(page.starts_with("https://example.org/runbooks/") && page.ends_with(".md"), "{page}");
    let dashboard = of_kind(&objects, "ConfigMap")[0];
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = dashboard["data"]["chronik.json"].as_str().unwrap();
    let parsed: Value = serde_json::from_str(text).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() > 20);
}

#[test]
#[ignore = "needs Helm: set HELM"]
fn brokers_own_ports_are_for_brokers_and_the_operator() {
    let objects = rendered(&["networkPolicy.enabled=true", "watchNamespaces={shop,bank}"]);
    let policies = of_kind(&objects, "NetworkPolicy");
    let of_brokers: Vec<_> =
        policies.iter().filter(|policy| policy["metadata"]["namespace"] != "system").collect();
    assert_eq!((policies.len(), of_brokers.len()), (3, 2));
    for policy in of_brokers {
        for rule in policy["spec"]["ingress"].as_array().unwrap() {
            let ports: Vec<_> =
                rule["ports"].as_array().unwrap().iter().map(|port| port["port"].as_str().unwrap()).collect();
            let own = ports.contains(&"peer") || ports.contains(&"admin");
            assert!(!own || !rule["from"].is_null(), "{ports:?} are open to everybody");
        }
    }
}
