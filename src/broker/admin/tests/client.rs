//! A client as small as the tests need: one request per connection, and a watch read line by line.

use std::time::Duration;

use chronik_core::view::TopicReport;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

/// Status and body of an answer.
pub(crate) async fn request(at: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that refuses a large body may close before it has read all of it.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// An open watch.
pub(super) struct Watcher(BufReader<TcpStream>);

impl Watcher {
    pub(super) async fn open(at: &str) -> Self {
        Self::try_open(at).await.expect("a watch")
    }

    /// `None` when it is refused.
    pub(super) async fn try_open(at: &str) -> Option<Self> {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(timeout(PATIENCE, reader.read_line(&mut head)).await.unwrap().unwrap(), 0);
        }
        head.starts_with("HTTP/1.1 200").then_some(Self(reader))
    }

    /// The next line of the body, without its end; `None` at the end of the stream. Each chunk is one line here.
    pub(super) async fn line(&mut self) -> Option<String> {
        let mut size = String::new();
        if timeout(PATIENCE, self.0.read_line(&mut size)).await.expect("a line in time").ok()? == 0 {
            return None;
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).await.ok()?;
        (size > 0).then(|| String::from_utf8(chunk).unwrap().trim_end().to_owned())
    }

    /// The next topic that is told.
    pub(super) async fn topic(&mut self) -> TopicReport {
        loop {
            let line = self.line().await.expect("the watch goes on");
            if !line.is_empty() {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }
}
