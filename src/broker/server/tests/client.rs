//! A Kafka client of few words: encodes requests, decodes answers, and can send anything else as well.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::handlers::Handlers;
use crate::handlers::tests::memory::{MemoryBackend, NOW_MS};
use crate::server::{ListenerSpec, Plaintext, Server, ServerSettings, start};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server over `backend` on a free port.
pub(crate) async fn serve(backend: &Arc<MemoryBackend>) -> (Server, SocketAddr) {
    serve_with(backend, ServerSettings::default()).await
}

pub(crate) async fn serve_with(
    backend: &Arc<MemoryBackend>,
    settings: ServerSettings,
) -> (Server, SocketAddr) {
    serve_within(backend, settings, 256 << 20).await
}

/// The same, with so many bytes for answers.
pub(crate) async fn serve_within(
    backend: &Arc<MemoryBackend>,
    settings: ServerSettings,
    answer_bytes: usize,
) -> (Server, SocketAddr) {
    let listener = |name: &str, socket| ListenerSpec { name: name.into(), socket, wrap: Arc::new(Plaintext) };
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listeners = vec![listener("PLAINTEXT", first), listener("OTHER", second)];
    let handlers = Handlers::new(backend.clone(), backend.metrics.clone(), answer_bytes);
    let server = start(listeners, handlers, settings).unwrap();
    let address = server.addresses()[0].1;
    (server, address)
}

pub(crate) struct Client {
    stream: TcpStream,
    next: i32,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(to).await.unwrap(), next: 100 }
    }

    /// Sends a request; gives its correlation id.
    pub(crate) async fn send<Q>(&mut self, key: ApiKey, version: i16, request: &Q) -> i32
    where
        Q: Encodable + HeaderVersion,
    {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        self.send_as(key as i16, version, Q::header_version(version), &body).await
    }

    pub(crate) async fn send_as(&mut self, key: i16, version: i16, header_version: i16, body: &[u8]) -> i32 {
        self.next += 1;
        let header = RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(self.next)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, header_version).unwrap();
        frame.put_slice(body);
        let length = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.write(&frame).await;
        self.next
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn finish_writing(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next answer as bytes after its length, or `None` when the server closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let read = async {
            let length = self.stream.read_i32().await.ok()?;
            let mut frame = vec![0; length as usize];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        };
        timeout(PATIENCE, read).await.expect("an answer or an end within the time")
    }

    /// The next answer and its correlation id.
    pub(crate) async fn receive<A: Decodable + HeaderVersion>(&mut self, version: i16) -> (i32, A) {
        let mut frame = self.frame().await.expect("an answer, not an end");
        let header = ResponseHeader::decode(&mut frame, A::header_version(version)).unwrap();
        let answer = A::decode(&mut frame, version).unwrap();
        assert_eq!(frame.remaining(), 0, "bytes after the answer");
        (header.correlation_id, answer)
    }

    /// Sends a request and awaits its answer.
    pub(crate) async fn ask<Q, A>(&mut self, key: ApiKey, version: i16, request: &Q) -> A
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let sent = self.send(key, version, request).await;
        let (received, answer) = self.receive(version).await;
        assert_eq!(received, sent);
        answer
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.frame().await.is_none()
    }

    /// Whether the server ends the connection within an answer.
    pub(crate) async fn is_cut_short(&mut self) -> bool {
        let Ok(length) = self.stream.read_i32().await else { return false };
        let mut answer = vec![0; length as usize];
        timeout(PATIENCE, self.stream.read_exact(&mut answer)).await.expect("an end").is_err()
    }

    /// Whether nothing comes for a little while.
    pub(crate) async fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        timeout(Duration::from_millis(150), self.stream.peek(&mut byte)).await.is_err()
    }
}

/// A record batch of `count` records of `size` bytes.
pub(crate) fn batch(count: usize, size: usize) -> Bytes {
    batch_at(count, size, NOW_MS)
}

pub(crate) fn batch_at(count: usize, size: usize, timestamp: i64) -> Bytes {
    let records: Vec<_> = (0..count)
        .map(|at| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: at as i64,
            // The encoder keeps records in one batch only while their sequences go on.
            sequence: at as i32 - 1,
            timestamp,
            key: None,
            value: Some(Bytes::from(vec![b'x'; size])),
            headers: Default::default(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.freeze()
}
