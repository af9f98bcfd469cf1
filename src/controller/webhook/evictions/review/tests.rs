//! Each kind of eviction and what becomes of it.

use chronik_core::ids::BrokerId;
use chronik_core::restart::{PermitId, Stage};
use chronik_core::view::{BlockReport, PermitAnswer, PermitProblem, PermitReport};

use super::*;

const OURS: &str = "app.kubernetes.io/name: chronik, app.kubernetes.io/component: broker, \
    app.kubernetes.io/managed-by: chronik-operator, chronik.dev/cluster: demo";

/// As the API server sends it.
fn request(options: Value) -> Request {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "review-1", "operation": "CREATE", "namespace": "shop", "name": "demo-broker-2",
            "subResource": "eviction", "resource": {"group": "", "version": "v1", "resource": "pods"},
            "userInfo": {"username": "kubernetes-admin"}, "dryRun": false,
            "object": {
                "apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": "demo-broker-2", "namespace": "shop"}, "deleteOptions": options,
            },
            "oldObject": null, "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    });
    serde_json::from_value::<Review>(review).unwrap().request
}

fn plain() -> Request {
    request(json!({"gracePeriodSeconds": 5}))
}

fn pod(metadata: &str, status: &str) -> Pod {
    let text = format!("metadata: {{name: demo-broker-2, uid: uid-2, {metadata}}}\nstatus: {{{status}}}");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn ours(metadata: &str) -> Pod {
    pod(&format!("labels: {{{OURS}}}{metadata}"), "phase: Running")
}

fn asked(request: &Request, pod: &Pod) -> PermitBody {
    match whom_to_ask(request, Some(pod)) {
        Ask::Brokers(key, body) => {
            assert_eq!(key.to_string(), "shop/demo");
            body
        }
        Ask::Nobody(why) => panic!("not asked: {why}"),
    }
}

fn body() -> PermitBody {
    asked(&plain(), &ours(""))
}

#[test]
fn the_brokers_are_asked_about_this_very_pod() {
    let body = body();
    assert_eq!((body.broker, body.pod_uid.as_str(), body.reason), (BrokerId(2), "uid-2", Reason::Eviction));
    assert!(!body.dry_run && !body.allow_unavailable);
}

#[test]
fn a_dry_run_is_one_wherever_it_is_said() {
    assert!(asked(&request(json!({"dryRun": ["All"]})), &ours("")).dry_run, "as kubectl drain says it");
    assert!(asked(&Request { dry_run: true, ..plain() }, &ours("")).dry_run);
    assert!(!asked(&request(json!({"dryRun": []})), &ours("")).dry_run);
    assert!(!asked(&Request { object: None, ..plain() }, &ours("")).dry_run);
}

#[test]
fn a_person_may_bear_it_for_this_very_pod() {
    let allowed = |uid: &str| {
        let annotation = format!(", annotations: {{chronik.dev/allow-unavailable: {uid}}}");
        asked(&plain(), &ours(&annotation)).allow_unavailable
    };
    assert!(allowed("uid-2") && !allowed("uid-1"));
}

#[test]
fn nobody_is_asked_about_what_is_no_broker_of_ours_or_ends_anyway() {
    let nobody = |request: &Request, pod: Option<&Pod>| match whom_to_ask(request, pod) {
        Ask::Nobody(why) => why,
        Ask::Brokers(..) => panic!("the brokers would be asked about {pod:?}"),
    };
    assert_eq!(nobody(&plain(), None), "the pod is gone");
    for part in OURS.split(", ") {
        let others: Vec<&str> = OURS.split(", ").filter(|other| *other != part).collect();
        let almost = pod(&format!("labels: {{{}}}", others.join(", ")), "phase: Running");
        assert_eq!(nobody(&plain(), Some(&almost)), "it is no broker's pod", "without {part}");
    }
    let mut named_otherwise = ours("");
    named_otherwise.metadata.name = Some("demo-broker-x".to_owned());
    assert_eq!(nobody(&plain(), Some(&named_otherwise)), "it is no broker's pod");
    let deleting = ours(", deletionTimestamp: '2026-01-01T00:00:00Z'");
    assert_eq!(nobody(&plain(), Some(&deleting)), "the pod is being deleted");
    let another = request(json!({"preconditions": {"uid": "uid-1"}}));
    assert_eq!(nobody(&another, Some(&ours(""))), "the pod is another one by now");
    let this = request(json!({"preconditions": {"uid": "uid-2"}}));
    assert!(matches!(whom_to_ask(&this, Some(&ours(""))), Ask::Brokers(..)));
    for phase in ["Succeeded", "Failed"] {
        let ended = pod(&format!("labels: {{{OURS}}}"), &format!("phase: {phase}"));
        assert_eq!(nobody(&plain(), Some(&ended)), "the pod has ended");
    }
    let pending = pod(&format!("labels: {{{OURS}}}"), "phase: Pending");
    assert!(matches!(whom_to_ask(&plain(), Some(&pending)), Ask::Brokers(..)));
}

#[test]
fn a_permit_lets_it_go_and_a_judgement_that_none_was_needed_too() {
    let report = PermitReport {
        id: PermitId(3),
        broker: BrokerId(2),
        pod_uid: "uid-2".to_owned(),
        reason: Reason::Eviction,
        stage: Stage::Granted,
    };
    for permit in [Some(report), None] {
        assert_eq!(
            verdict(&body(), &Ok(Answered::Given(PermitAnswer { permit, blocks: Vec::new() }))),
            Ok(())
        );
    }
    assert_eq!(answer("review-1", &Ok(()))["response"], json!({"uid": "review-1", "allowed": true}));
}

#[test]
fn a_refusal_is_tried_again_and_says_who_and_why() {
    let refused = |code: &str, message: &str| {
        let block =
            BlockReport { topic: Some("orders".to_owned()), partition: Some(0), why: "no".to_owned() };
        let error = PermitProblem { code: code.to_owned(), message: message.to_owned() };
        Answered::Refused(PermitRefused { error, blocks: vec![block], blocked: 1 })
    };
    let blocked = "broker 2 may not stop: 1 partition would pay: orders/0: of its ISR [1] would be left";
    assert_eq!(verdict(&body(), &Ok(refused("blocked", blocked))).unwrap_err(), blocked);
    assert_eq!(
        verdict(&body(), &Ok(refused("permit_refused", "broker 2 has an open permit already"))).unwrap_err(),
        "broker 2 may not stop now: the brokers answered permit_refused: broker 2 has an open permit already"
    );
    let silent = BrokerError::TimedOut { broker: "demo-broker-1:9095".to_owned(), after_ms: 800 };
    let told = verdict(&body(), &Err(silent));
    assert_eq!(
        told.clone().unwrap_err(),
        "broker 2 may not stop: no permit is to be had: reach demo-broker-1:9095: no answer within 800 ms"
    );
    let review = answer("review-1", &told);
    assert_eq!(
        (&review["kind"], &review["apiVersion"]),
        (&json!("AdmissionReview"), &json!("admission.k8s.io/v1"))
    );
    let response = &review["response"];
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("review-1"), &json!(false)));
    assert_eq!(
        (&response["status"]["code"], &response["status"]["reason"]),
        (&json!(429), &json!("TooManyRequests"))
    );
    assert_eq!(response["status"]["message"], told.unwrap_err());
}
