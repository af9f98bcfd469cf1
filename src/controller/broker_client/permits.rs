//! Permits to stop: who has one, asking for one, beginning one. What brokers refuse by judgement is an answer, no error.

use std::time::Duration;

use chronik_core::restart::PermitId;
use chronik_core::view::{PermitAnswer, PermitBody, PermitRefused, PermitsReport, PodBody};
use hyper::{Method, StatusCode};
use serde::Serialize;

use super::{ANSWER_BYTES_MAX, BrokerClient, BrokerError, PROBE_TIMEOUT, json, parse};

/// Time for a judgement: leaders of all partitions are asked, for some seconds while one is elected, and the permit is
/// committed.
const JUDGE_TIMEOUT: Duration = Duration::from_secs(8);

/// What the brokers said to what they were asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answered {
    /// It is so.
    Given(PermitAnswer),
    /// They judged, and it is not to be.
    Refused(PermitRefused),
}

impl BrokerClient {
    /// Open permits.
    pub async fn permits(&self, broker: &str) -> Result<PermitsReport, BrokerError> {
        self.get(broker, "/v1/permits", PROBE_TIMEOUT, ANSWER_BYTES_MAX).await
    }

    /// Asks for a permit. Asked again for the same pod, it is the same permit.
    pub async fn ask_permit(&self, broker: &str, body: &PermitBody) -> Result<Answered, BrokerError> {
        self.judged(broker, "/v1/permits", body).await
    }

    /// Begins a permit, or confirms that it is begun.
    pub async fn begin_permit(
        &self,
        broker: &str,
        permit: PermitId,
        pod_uid: &str,
    ) -> Result<Answered, BrokerError> {
        let path = format!("/v1/permits/{}/begin", permit.0);
        self.judged(broker, &path, &PodBody { pod_uid: pod_uid.to_owned() }).await
    }

    /// Ends a permit whose pod was not deleted after all.
    pub async fn abort_permit(
        &self,
        broker: &str,
        permit: PermitId,
        pod_uid: &str,
    ) -> Result<Answered, BrokerError> {
        let path = format!("/v1/permits/{}/abort", permit.0);
        self.judged(broker, &path, &PodBody { pod_uid: pod_uid.to_owned() }).await
    }

    async fn judged(&self, broker: &str, path: &str, body: &impl Serialize) -> Result<Answered, BrokerError> {
        let sent = self.exchange(Method::POST, broker, path, json(body), JUDGE_TIMEOUT, ANSWER_BYTES_MAX);
        let (status, body) = sent.await?;
        match status {
            status if status.is_success() => Ok(Answered::Given(parse(broker, &body)?)),
            StatusCode::CONFLICT | StatusCode::NOT_FOUND => serde_json::from_slice(&body)
                .map(Answered::Refused)
                .map_err(|_| BrokerError::refused(broker, status, &body)),
            _ => Err(BrokerError::refused(broker, status, &body)),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use axum::{Json, Router};
    use chronik_core::ids::BrokerId;
    use chronik_core::restart::{Reason, Stage};
    use chronik_core::view::PermitReport;
    use serde_json::{Value, json};

    use super::*;

    async fn serve(router: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }

    fn permit(stage: &str) -> Value {
        json!({"id": 3, "broker": 2, "podUid": "uid-2", "reason": "rollout", "stage": stage})
    }

    fn body(broker: u32) -> PermitBody {
        PermitBody {
            broker: BrokerId(broker),
            pod_uid: format!("uid-{broker}"),
            reason: Reason::Rollout,
            allow_unavailable: true,
            dry_run: false,
        }
    }

    async fn judge(Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
        assert_eq!((&body["allowUnavailable"], &body["reason"]), (&json!(true), &json!("rollout")));
        let blocks = json!([{"topic": "orders", "partition": 0, "why": "too few"}]);
        match body["broker"].as_u64() {
            Some(2) => (StatusCode::OK, Json(json!({"permit": permit("granted"), "blocks": []}))),
            Some(1) => {
                let error = json!({"code": "blocked", "message": "broker 1 may not stop", "field": "broker"});
                (StatusCode::CONFLICT, Json(json!({"error": error, "blocks": blocks, "blocked": 4})))
            }
            _ => {
                let error = json!({"code": "unavailable", "message": "no metadata leader"});
                (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"error": error})))
            }
        }
    }

    #[tokio::test]
    async fn a_judgement_is_an_answer_and_all_else_an_error() {
        let open = Json(json!({"version": 12, "open": [permit("begun")]}));
        let broker = serve(Router::new().route("/v1/permits", get(|| async { open }).post(judge)).route(
            "/v1/permits/3/begin",
            post(|| async { Json(json!({"permit": permit("begun"), "blocks": []})) }),
        ))
        .await;
        let client = BrokerClient::default();
        let expected = PermitReport {
            id: PermitId(3),
            broker: BrokerId(2),
            pod_uid: "uid-2".to_owned(),
            reason: Reason::Rollout,
            stage: Stage::Begun,
        };
        assert_eq!(client.permits(&broker).await.unwrap().open, std::slice::from_ref(&expected));
        let begun = client.begin_permit(&broker, PermitId(3), "uid-2").await.unwrap();
        assert_eq!(
            begun,
            Answered::Given(PermitAnswer { permit: Some(expected.clone()), blocks: Vec::new() })
        );
        let granted = PermitReport { stage: Stage::Granted, ..expected };
        let asked = client.ask_permit(&broker, &body(2)).await.unwrap();
        assert_eq!(asked, Answered::Given(PermitAnswer { permit: Some(granted), blocks: Vec::new() }));
        let Answered::Refused(refused) = client.ask_permit(&broker, &body(1)).await.unwrap() else {
            panic!("broker 1 is blocked")
        };
        assert_eq!((refused.error.code.as_str(), refused.blocks.len(), refused.blocked), ("blocked", 1, 4));
        let error = client.ask_permit(&broker, &body(3)).await.unwrap_err();
        assert!(error.to_string().contains("no metadata leader"), "{error}");
        let error = client.begin_permit(&broker, PermitId(4), "uid-2").await.unwrap_err();
        assert!(error.to_string().contains("404"), "a broker that knows no permits: {error}");
    }
}
