//! What a caretaker does with clients that it has nothing for: it closes their connection a little later. Its errors alone
//! would make them ask it for ever, and the leader that it cannot see never.

use std::time::Duration;

use chronik_core::metadata::Topic;

use super::backend::{Backend, Leadership};
use crate::server::After;

/// Counted from the first refusal on a connection.
const CLOSES_IN: Duration = Duration::from_millis(300);

/// What becomes of a connection on which a caretaker refused something, or none did.
pub(super) fn after(refused_by_caretaker: bool) -> After {
    if refused_by_caretaker { After::CloseIn(CLOSES_IN) } else { After::Continue }
}

/// Whether this broker is a partition's caretaker.
pub(super) fn is_caretaker(backend: &dyn Backend, topic: &Topic, partition: i32) -> bool {
    let replica = backend.replica(topic.id, partition);
    replica.is_some_and(|replica| matches!(replica.leadership(), Leadership::Caretaker { .. }))
}
