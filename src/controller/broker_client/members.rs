//! Brokers that join, leave, or are taken out.

use bytes::Bytes;
use chronik_core::ids::BrokerId;
use chronik_core::metadata::Standing;
use chronik_core::view::StandingBody;
use hyper::{Method, StatusCode};

use super::{ANSWER_BYTES_MAX, BrokerClient, BrokerError, WRITE_TIMEOUT, json};

impl BrokerClient {
    /// Says what shall become of a broker's replicas.
    pub async fn set_standing(
        &self,
        asked: &str,
        broker: BrokerId,
        standing: Standing,
    ) -> Result<(), BrokerError> {
        let (path, body) = (format!("/v1/brokers/{broker}/standing"), json(&StandingBody { standing }));
        self.call(Method::PUT, asked, &path, body, WRITE_TIMEOUT, ANSWER_BYTES_MAX).await.map(drop)
    }

    /// Takes a broker out that is gone; false if it was out already.
    pub async fn unregister(&self, asked: &str, broker: BrokerId) -> Result<bool, BrokerError> {
        let path = format!("/v1/brokers/{broker}");
        match self.call(Method::DELETE, asked, &path, Bytes::new(), WRITE_TIMEOUT, ANSWER_BYTES_MAX).await {
            Err(BrokerError::Refused { refusal, .. }) if refusal.status == StatusCode::NOT_FOUND => Ok(false),
            other => other.map(|_| true),
        }
    }
}
