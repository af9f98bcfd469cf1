//! From a request's bytes to the future of its answer. The only door to the handlers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use super::access;
use super::api_table::{self, Api};
use super::context::RequestContext;
use super::error_codes::ErrorCodes;
use super::memory::Room;
use super::wire::{self, WireError};
use crate::handlers::errors::UNSUPPORTED_VERSION;
use crate::handlers::{Handlers, api_versions, produce, produce_unsupported};
use crate::metrics::{ApiMetrics, Timed};

/// What becomes of the connection once an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It stays.
    Continue,
    /// It is closed.
    Close(&'static str),
    /// It is read no more after this time, counted from the first such answer.
    CloseIn(Duration),
}

/// A handler's result, ready for the connection.
pub(super) struct Reply {
    /// The answer; none for a request that wants none.
    pub(super) frame: Option<Bytes>,
    /// What it may take of the answers' memory, if its handler took that before it made the answer.
    pub(super) room: Option<Room>,
    pub(super) after: After,
}

/// A request that was accepted.
pub(super) enum Work {
    /// It is under way: only its result is awaited.
    Started(BoxFuture<'static, Reply>),
    /// It begins when everything before it on the connection is answered.
    Queued(BoxFuture<'static, Reply>),
}

/// Why a request ends its connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("API key {key} in version {version} is not served")]
    NotServed { key: i16, version: i16 },
    #[error("{principal} may not send API key {key}")]
    NotAuthorized { principal: String, key: i16 },
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Decodes and starts a request. Kafka closes the connection of a request it does not serve, except for ApiVersions,
/// whose answer is how a client learns what is served.
pub(super) fn dispatch(
    handlers: &Arc<Handlers>,
    context: RequestContext,
    body: Bytes,
) -> Result<(Work, Duration, Timed), Refusal> {
    let (key, version, bytes) = (context.api_key, context.api_version, context.bytes);
    if !access::authorize(&context) {
        return Err(Refusal::NotAuthorized { principal: format!("{:?}", context.principal), key });
    }
    let wait = access::throttle(&context);
    let api = api_table::find(key).ok_or(Refusal::NotServed { key, version })?;
    let metrics = api.metrics(&handlers.metrics.requests);
    let timed = metrics.begin(bytes);
    let work = match api.accepts(version) {
        true => {
            (api.start)(Call { handlers: handlers.clone(), context, body, api, metrics: metrics.clone() })?
        }
        false if api.is_api_versions() => unsupported_api_versions(&context, metrics),
        false => return Err(Refusal::NotServed { key, version }),
    };
    Ok((work, wait, timed))
}

fn unsupported_api_versions(context: &RequestContext, metrics: &ApiMetrics) -> Work {
    let reply = encoded(context, 0, &api_versions::unsupported_version(), metrics);
    Work::Queued(futures::future::ready(reply).boxed())
}

/// A request on its way to its handler.
pub(super) struct Call {
    handlers: Arc<Handlers>,
    context: RequestContext,
    body: Bytes,
    api: &'static Api,
    metrics: Arc<ApiMetrics>,
}

impl Call {
    /// For a handler that begins when its turn comes.
    pub(super) fn queued<Q, A, H, F>(self, handle: H) -> Result<Work, WireError>
    where
        Q: Decodable + Send + 'static,
        A: Answered,
        H: FnOnce(Arc<Handlers>, RequestContext, Q) -> F + Send + 'static,
        F: Future<Output = A> + Send,
    {
        self.queued_then(|handlers, context, request| async move {
            (handle(handlers, context, request).await, After::Continue)
        })
    }

    /// For one whose answer may be large: it takes room for it first.
    pub(super) fn queued_in_room<Q, A, H, F>(self, handle: H) -> Result<Work, WireError>
    where
        Q: Decodable + Send + 'static,
        A: Answered,
        H: FnOnce(Arc<Handlers>, RequestContext, Q) -> F + Send + 'static,
        F: Future<Output = (A, Option<Room>)> + Send,
    {
        self.queued_with(|handlers, context, request| async move {
            let (answer, room) = handle(handlers, context, request).await;
            (answer, After::Continue, room)
        })
    }

    /// For one that also says what becomes of the connection.
    pub(super) fn queued_then<Q, A, H, F>(self, handle: H) -> Result<Work, WireError>
    where
        Q: Decodable + Send + 'static,
        A: Answered,
        H: FnOnce(Arc<Handlers>, RequestContext, Q) -> F + Send + 'static,
        F: Future<Output = (A, After)> + Send,
    {
        self.queued_with(|handlers, context, request| async move {
            let (answer, after) = handle(handlers, context, request).await;
            (answer, after, None)
        })
    }

    /// For one that does both.
    pub(super) fn queued_with<Q, A, H, F>(self, handle: H) -> Result<Work, WireError>
    where
        Q: Decodable + Send + 'static,
        A: Answered,
        H: FnOnce(Arc<Handlers>, RequestContext, Q) -> F + Send + 'static,
        F: Future<Output = (A, After, Option<Room>)> + Send,
    {
        let wire_version = self.api.wire_version(self.context.api_version);
        let request = wire::decode::<Q>(self.body, self.api.shape, wire_version)?;
        let (handlers, context, metrics) = (self.handlers, self.context, self.metrics);
        Ok(Work::Queued(Box::pin(async move {
            let (answer, after, room) = handle(handlers, context.clone(), request).await;
            let reply = encoded(&context, wire_version, &answer, &metrics);
            let after = if reply.after == After::Continue { after } else { reply.after };
            Reply { after, room, ..reply }
        })))
    }

    /// Produce, of which the oldest versions are only refused.
    pub(super) fn produce(self) -> Result<Work, WireError> {
        let (version, correlation_id) = (self.context.api_version, self.context.correlation_id);
        if version > produce_unsupported::LAST {
            return self.started(produce::start);
        }
        self.metrics.error(UNSUPPORTED_VERSION);
        let frame = produce_unsupported::refusal(correlation_id, version, self.body);
        let reply = Reply { frame, room: None, after: After::Close("Produce 0 to 2 are not served") };
        Ok(Work::Started(futures::future::ready(reply).boxed()))
    }

    /// For a handler that starts at once and says itself whether its answer is to be sent.
    pub(super) fn started<Q, A, H, F>(self, start: H) -> Result<Work, WireError>
    where
        Q: Decodable,
        A: Answered,
        H: FnOnce(Arc<Handlers>, &RequestContext, Q) -> F,
        F: Future<Output = (A, bool, After)> + Send + 'static,
    {
        let version = self.context.api_version;
        let request = wire::decode::<Q>(self.body, self.api.shape, version)?;
        let (context, metrics) = (self.context, self.metrics);
        let result = start(self.handlers, &context, request);
        Ok(Work::Started(Box::pin(async move {
            let (answer, wanted, after) = result.await;
            if !wanted {
                answer.each_code(&mut |code| metrics.error(code));
                return Reply { frame: None, room: None, after };
            }
            let reply = encoded(&context, version, &answer, &metrics);
            let after = if reply.after == After::Continue { after } else { reply.after };
            Reply { after, ..reply }
        })))
    }
}

/// What a handler may answer.
pub(super) trait Answered: Encodable + HeaderVersion + ErrorCodes + Send {}

impl<A: Encodable + HeaderVersion + ErrorCodes + Send> Answered for A {}

/// An answer that cannot be encoded is a bug in its handler: it is logged and costs the connection, not the process.
fn encoded<A: Answered>(context: &RequestContext, version: i16, answer: &A, metrics: &ApiMetrics) -> Reply {
    answer.each_code(&mut |code| metrics.error(code));
    match wire::encode_frame(context.correlation_id, version, answer) {
        Ok(frame) => Reply { frame: Some(frame), room: None, after: After::Continue },
        Err(error) => {
            tracing::error!(api = context.api_key, version, error, "encode an answer");
            Reply { frame: None, room: None, after: After::Close("its answer cannot be encoded") }
        }
    }
}
