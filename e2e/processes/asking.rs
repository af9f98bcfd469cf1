//! Asks brokers for permits to stop over their admin API, and reads the answers.

use std::net::SocketAddr;

use chronik_e2e::admin::{self, Answer};
use serde_json::{Value, json};

/// Asks whether a broker may stop, with these further fields.
pub fn ask(at: SocketAddr, broker: i32, more: &Value) -> Answer {
    let mut body = json!({"broker": broker, "podUid": format!("pod-{broker}"), "reason": "rollout"});
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    admin::post(at, "/v1/permits", &body).expect("an answer")
}

/// Takes the next step of a permit: `begin` or `abort`.
pub fn step(at: SocketAddr, permit: &Value, step: &str, pod: &str) -> Answer {
    let path = format!("/v1/permits/{}/{step}", permit["id"]);
    admin::post(at, &path, &json!({"podUid": pod})).expect("an answer")
}

/// The body of an answer.
pub fn json_of(answer: &Answer) -> Value {
    answer.json().expect("JSON")
}

/// The permit of an answer that gives one.
pub fn permit(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    json_of(answer)["permit"].clone()
}

/// The code of an answer that refuses.
pub fn code(answer: &Answer) -> (u16, String) {
    (answer.status, json_of(answer)["error"]["code"].as_str().unwrap_or_default().to_owned())
}
