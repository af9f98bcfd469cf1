//! Recoveries of partitions as this broker's admin API takes them: judged by what the engine sees, before any is proposed.

use axum::http::StatusCode;
use chronik_core::metadata::{RecoverPartition, limits};
use chronik_core::view::{RecoverBody, RecoverChoice, RecoveryReport};

use crate::admin::{ErrorBody, Problem};
use crate::handlers::backend::Backend;
use crate::local::LocalBroker;

/// What could go on from the replicas here.
pub(super) async fn report(local: &LocalBroker) -> RecoveryReport {
    let partitions = local.engine.recoverable().await;
    RecoveryReport { broker: local.id, metadata_leader: local.metadata_leader(), partitions }
}

/// The commands for what is asked, and those partitions as they are before; all of them, or a refusal.
pub(super) async fn judge(
    local: &LocalBroker,
    body: RecoverBody,
) -> Result<(Vec<RecoverPartition>, RecoveryReport), Problem> {
    if body.by.is_empty() || body.by.len() > limits::LONG_TEXT {
        return Err(refused("by", body.by, &format!("1 to {} bytes", limits::LONG_TEXT)));
    }
    let known = report(local).await;
    if known.metadata_leader.is_none() {
        let message = "the metadata group has no leader, and without it no partition can be recovered: first \
                       chronik-broker recover metadata on the disk of a voter";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message));
    }
    let mut commands = Vec::with_capacity(body.partitions.len());
    let mut partitions = Vec::with_capacity(body.partitions.len());
    for RecoverChoice { group, survivor } in body.partitions {
        let value = || format!("replica {survivor} of group {group}");
        let here = known.partitions.iter().find(|known| known.group == group && known.survivor == survivor);
        let Some(here) = here else {
            return Err(refused("partitions", value(), &format!("replicas on broker {}", local.id)));
        };
        let (Some(epoch), None) = (here.epoch, &here.refused) else {
            let why = here.refused.as_deref().unwrap_or("no epoch is left for it");
            let value = format!("{}/{}", here.topic, here.partition);
            return Err(refused("partitions", value, &format!("those without a majority; {why}")));
        };
        let (end_offset, by, unix_ms) = (here.end_offset, body.by.clone(), local.unix_ms());
        commands.push(RecoverPartition { group, survivor, epoch, end_offset, by, unix_ms });
        partitions.push(here.clone());
    }
    Ok((commands, RecoveryReport { partitions, ..known }))
}

fn refused(field: &str, value: String, allowed: &str) -> Problem {
    let message = format!("{field} = {value} is not allowed: {allowed}");
    let error = ErrorBody {
        code: "invalid_request".to_owned(),
        field: Some(field.to_owned()),
        value: Some(value),
        allowed: Some(allowed.to_owned()),
        message,
    };
    Problem { status: StatusCode::BAD_REQUEST.as_u16(), error: Box::new(error) }
}
