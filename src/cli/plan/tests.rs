//! A plan as a document and in words.

use serde_json::json;

use super::*;
use crate::show::{Paint, Shown};
use crate::testing::{partition, seen, told, topic};
use chronik_core::view::BlockReport;

fn verdicts(refused: &[u32]) -> BTreeMap<BrokerId, Verdict> {
    let verdict = |id: u32| {
        if !refused.contains(&id) {
            return Verdict { may_stop: true, message: None, blocks: Vec::new(), blocked: 0 };
        }
        let why = "of its ISR [1] would be left, 2 are needed (min ISR 2, margin 0)".to_owned();
        let blocks = vec![BlockReport { topic: Some("orders".to_owned()), partition: Some(0), why }];
        Verdict { may_stop: false, message: Some("no".to_owned()), blocks, blocked: 5 }
    };
    (1..=3).map(|id| (BrokerId(id), verdict(id))).collect()
}

fn lately() -> Lately {
    Lately { restarts: 3, seconds: 5.2, ended_at: "2026-01-01T00:00:20Z".to_owned() }
}

fn text(plan: &Plan) -> String {
    plan.text(Paint(false))
}

#[test]
fn a_plan_without_blocks() {
    let told = told(vec![topic("orders", vec![partition(0, 1, &[1, 2, 3])])]);
    let plan = make(&seen("now"), &told, &verdicts(&[]), Some(lately()), false).unwrap();
    insta::assert_snapshot!(text(&plan), @r"
    demo (namespace shop): 3 of 3 pods outdated

    ORDER   BROKER   POD             WHY        OUTCOME    MAY STOP NOW   BEHIND   TAKES
    1       2        demo-broker-2   outdated   restarts   yes            -        ~5.2 s
    2       3        demo-broker-3   outdated   restarts   yes            -        ~5.2 s
    3       1        demo-broker-1   outdated   restarts   yes            -        ~5.2 s

    3 to restart, about 16 s in all: the last 3 took, in the middle, 5.2 s until back in every ISR.
    ");
}

#[test]
fn a_plan_in_which_one_broker_is_blocked() {
    let mut partition = partition(0, 1, &[1, 2, 3]);
    partition.followers = vec![crate::testing::follower(3, 40, 2_600)];
    let mut told = told(vec![topic("orders", vec![partition])]);
    told.permits.push(crate::testing::permit(3, Reason::Eviction, chronik_core::restart::Stage::Begun));
    let plan = make(&seen("now"), &told, &verdicts(&[2]), None, false).unwrap();
    insta::assert_snapshot!(text(&plan), @r"
    demo (namespace shop): 3 of 3 pods outdated
    waits for broker 3, which stops for an eviction (permit 7)
    permit    broker 3 is away for an eviction, until it is back in every ISR (permit 7)

    ORDER   BROKER   POD             WHY        OUTCOME                   MAY STOP NOW   BEHIND   TAKES
    1       2        demo-broker-2   outdated   restarts once 3 is back   no             -        -
    2       1        demo-broker-1   outdated   restarts                  yes            -        -

    The brokers' answer now:
      broker 2 may not stop: orders/0: of its ISR [1] would be left, 2 are needed (min ISR 2, margin 0); and 4 more

    2 to restart. How long it takes is not known: no restart seen yet.
    ");
    let first = &serde_json::to_value(&plan).unwrap()["brokers"][0];
    assert_eq!(
        (&first["outcome"], &first["after"], &first["now"]["blocked"]),
        (&json!("restarts"), &json!(3), &json!(5))
    );
}

#[test]
fn nothing_outdated_names_the_option_that_plans_all_the_same() {
    let told = told(Vec::new());
    let plan = make(&seen("before"), &told, &verdicts(&[]), None, false).unwrap();
    assert_eq!(
        text(&plan),
        "demo (namespace shop): nothing is outdated; with --all, a restart of every broker is planned\n"
    );
    let plan = make(&seen("before"), &told, &verdicts(&[]), None, true).unwrap();
    insta::assert_snapshot!(text(&plan), @r"
    demo (namespace shop): nothing is outdated; a restart of every broker:

    ORDER   BROKER   POD             WHY     OUTCOME    MAY STOP NOW   BEHIND   TAKES
    1       2        demo-broker-2   --all   restarts   yes            -        -
    2       3        demo-broker-3   --all   restarts   yes            -        -
    3       1        demo-broker-1   --all   restarts   yes            -        -

    3 to restart. How long it takes is not known: no restart seen yet.
    ");
}
