//! Fetch: waits until there is enough to read below the high watermarks, then reads it.
//!
//! There are no fetch sessions: every answer says session 0, so that clients name all partitions each time. Epochs 0 (a
//! session may begin) and -1 (none, or the end of one) mean a request that names them all; any other goes on with a
//! session, and there is none.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Handlers;
use super::errors::FETCH_SESSION_ID_NOT_FOUND;
use super::stranded;
use crate::server::{After, RequestContext, Room};

mod answer;
mod reader;
mod target;
mod wait;

use answer::Answer;
use target::Target;

/// Most bytes of records in one answer, Kafka's `fetch.max.bytes`.
const MAX_BYTES: usize = 55 * 1024 * 1024;
/// No client waits longer, whatever it says: while it does, its request takes memory that all share.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// While there is something but not enough, it is looked at again no sooner than this.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn handle(
    handlers: Arc<Handlers>,
    context: RequestContext,
    request: FetchRequest,
) -> (FetchResponse, After, Option<Room>) {
    if !matches!(request.session_epoch, 0 | -1) {
        let refusal = FetchResponse::default().with_error_code(FETCH_SESSION_ID_NOT_FOUND);
        return (refusal, After::Continue, None);
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + wait.min(LONGEST_WAIT);
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(MAX_BYTES);
    let mut targets = Target::all(handlers.backend.as_ref(), &context, &request);
    loop {
        let progress = wait::Progress::of(&targets);
        let read = target::read_all(targets, max_bytes, &handlers.answers).await;
        targets = read.targets;
        let bytes: usize = targets.iter().map(Target::bytes).sum();
        let urgent = targets.iter().any(Target::is_urgent);
        let now = Instant::now();
        let enough = bytes >= min_bytes.min(max_bytes) || read.cut_short;
        if urgent || enough || now >= deadline || targets.is_empty() {
            handlers.metrics.requests.fetched(bytes);
            let after = stranded::after(targets.iter().any(Target::is_stranded));
            let answer = Answer::new(handlers.backend.as_ref(), &context).response(&request, targets);
            return (answer, after, read.room);
        }
        drop(read.room);
        if timeout_at(deadline, progress.any()).await.is_ok() && bytes > 0 {
            sleep_until(deadline.min(now + PAUSE)).await;
        }
    }
}

/// Every partition asked for, with the place of its topic in the request.
fn asked(request: &FetchRequest) -> impl Iterator<Item = (usize, &FetchTopic, &FetchPartition)> {
    let topics = request.topics.iter().enumerate();
    topics.flat_map(|(at, topic)| topic.partitions.iter().map(move |partition| (at, topic, partition)))
}
