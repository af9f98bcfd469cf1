//! `/v1/permits`: paths and bodies of permits to stop. What may stop is the backend's to say.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chronik_core::restart::PermitId;
use chronik_core::view::{PermitAnswer, PermitRefused};

use super::AdminBackend;
use super::answer::Problem;
use super::routes::{Sent, Shared, parse};

type Numbered = Result<Path<u64>, PathRejection>;

pub(super) async fn open<B: AdminBackend>(State(admin): Shared<B>) -> Response {
    Json(admin.backend.permits()).into_response()
}

pub(super) async fn ask<B: AdminBackend>(State(admin): Shared<B>, body: Sent) -> Result<Response, Problem> {
    Ok(told(admin.backend.ask_permit(parse(body)?).await))
}

pub(super) async fn begin<B: AdminBackend>(
    State(admin): Shared<B>,
    id: Numbered,
    body: Sent,
) -> Result<Response, Problem> {
    Ok(told(admin.backend.begin_permit(numbered(id)?, parse(body)?).await))
}

pub(super) async fn abort<B: AdminBackend>(
    State(admin): Shared<B>,
    id: Numbered,
    body: Sent,
) -> Result<Response, Problem> {
    Ok(told(admin.backend.abort_permit(numbered(id)?, parse(body)?).await))
}

fn numbered(id: Numbered) -> Result<PermitId, Problem> {
    id.map(|Path(id)| PermitId(id))
        .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, "invalid_path", rejection.body_text()))
}

fn told(answer: Result<PermitAnswer, PermitRefused>) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => (status(&refused.error.code), Json(refused)).into_response(),
    }
}

fn status(code: &str) -> StatusCode {
    match code {
        "blocked" | "permit_refused" | "other_pod" => StatusCode::CONFLICT,
        "unknown_permit" | "unknown_broker" => StatusCode::NOT_FOUND,
        "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}
