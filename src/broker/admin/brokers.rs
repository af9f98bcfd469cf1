//! `/v1/brokers`: paths and bodies of brokers that leave, join or are taken out. What becomes of them is the backend's to say.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chronik_core::ids::BrokerId;
use chronik_core::view::StandingBody;

use super::AdminBackend;
use super::answer::Problem;
use super::routes::{Sent, Shared, parse};

type Numbered = Result<Path<u32>, PathRejection>;

/// Asked for once more, it is so already.
pub(super) async fn set_standing<B: AdminBackend>(
    State(admin): Shared<B>,
    id: Numbered,
    body: Sent,
) -> Result<Response, Problem> {
    let StandingBody { standing } = parse(body)?;
    admin.backend.set_standing(numbered(id)?, standing).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn unregister<B: AdminBackend>(
    State(admin): Shared<B>,
    id: Numbered,
) -> Result<Response, Problem> {
    admin.backend.unregister(numbered(id)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn numbered(id: Numbered) -> Result<BrokerId, Problem> {
    id.map(|Path(id)| BrokerId(id))
        .map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, "invalid_path", rejection.body_text()))
}
