//! What can go wrong when a broker is asked, and the refusals brokers explain.

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Category;

/// Why a broker gave no useful answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    #[error("reach {broker}: {problem}")]
    Unreachable { broker: String, problem: String },
    #[error("reach {broker}: no answer within {after_ms} ms")]
    TimedOut { broker: String, after_ms: u64 },
    #[error("read the answer of {broker}: {problem}")]
    Garbled { broker: String, problem: String },
    #[error("{refusal}")]
    Refused { broker: String, refusal: Box<Refusal> },
}

/// A request a broker understood and refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: String,
    pub field: String,
    pub value: String,
    pub allowed: String,
    pub message: String,
}

/// The body of a refusal: `{"error": {...}}`. Every part may be missing, numbers may stand for texts.
#[derive(Deserialize)]
struct Body {
    error: Parts,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Parts {
    code: Value,
    field: Value,
    value: Value,
    allowed: Value,
    message: Value,
}

impl BrokerError {
    pub(super) fn unreachable(broker: &str, error: &dyn std::error::Error) -> Self {
        let mut problem = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            problem = format!("{problem}: {inner}");
            cause = inner.source();
        }
        Self::Unreachable { broker: broker.to_owned(), problem }
    }

    pub(super) fn refused(broker: &str, status: StatusCode, body: &[u8]) -> Self {
        let parts = serde_json::from_slice::<Body>(body).map(|body| body.error).unwrap_or_else(|_| Parts {
            message: Value::String(String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_owned()),
            ..Parts::default()
        });
        let refusal = Refusal {
            status,
            code: text(parts.code),
            field: text(parts.field),
            value: text(parts.value),
            allowed: text(parts.allowed),
            message: text(parts.message),
        };
        Self::Refused { broker: broker.to_owned(), refusal: Box::new(refusal) }
    }

    /// A 4xx is about what was asked (unless it asks for patience); all else is about brokers that cannot serve now.
    pub fn category(&self) -> Category {
        let patience = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        match self {
            Self::Refused { refusal, .. }
                if refusal.status.is_client_error() && !patience.contains(&refusal.status) =>
            {
                Category::InvalidSpec
            }
            _ => Category::BrokersUnreachable,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, code, field, value, allowed, message } = self;
        let code = if code.is_empty() { status.as_str() } else { code };
        write!(f, "the brokers answered {code}")?;
        if !message.is_empty() {
            write!(f, ": {message}")?;
        }
        if !field.is_empty() && !message.contains(field.as_str()) {
            write!(f, "; field {field}")?;
        }
        if !value.is_empty() && !message.contains(value.as_str()) {
            write!(f, "; value {value}")?;
        }
        if !allowed.is_empty() && !message.contains(allowed.as_str()) {
            write!(f, "; allowed: {allowed}")?;
        }
        Ok(())
    }
}

fn text(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(status: u16, body: &str) -> String {
        BrokerError::refused("b:1", StatusCode::from_u16(status).unwrap(), body.as_bytes()).to_string()
    }

    #[test]
    fn a_refusal_names_field_value_and_what_is_allowed_once_each() {
        let body = r#"{"error": {"code": "INVALID_REPLICATION_FACTOR", "field": "replication_factor", "value": 5,
            "allowed": "1 to 3", "message": "there are only 3 brokers"}}"#;
        assert_eq!(
            shown(400, body),
            "the brokers answered INVALID_REPLICATION_FACTOR: there are only 3 brokers; field replication_factor; \
             value 5; allowed: 1 to 3"
        );
        let said = r#"{"error": {"code": "X", "field": "a", "value": "7", "message": "a may not be 7"}}"#;
        assert_eq!(shown(400, said), "the brokers answered X: a may not be 7");
    }

    #[test]
    fn an_answer_of_another_shape_is_shown_as_it_is_and_cut() {
        assert_eq!(shown(503, "busy\n"), "the brokers answered 503: busy");
        assert!(shown(500, &"x".repeat(10_000)).len() < 600);
    }

    #[test]
    fn only_a_4xx_is_the_specs_fault() {
        let category =
            |status| BrokerError::refused("b:1", StatusCode::from_u16(status).unwrap(), b"").category();
        assert_eq!(category(400), Category::InvalidSpec);
        assert_eq!(category(503), Category::BrokersUnreachable);
        assert_eq!(category(429), Category::BrokersUnreachable);
    }
}
