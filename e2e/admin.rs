//! The admin API over plain HTTP/1.1, one connection for each request. Knows paths and JSON, nothing of their types.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(15);

/// A broker's answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.body).map_err(|error| format!("{error} in {:?}", self.body))
    }
}

/// `GET path`.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer, String> {
    ask(address, "GET", path, "")
}

/// `POST path` with a JSON body.
pub fn post(address: SocketAddr, path: &str, body: &Value) -> Result<Answer, String> {
    ask(address, "POST", path, &body.to_string())
}

/// `PATCH path` with a JSON body.
pub fn patch(address: SocketAddr, path: &str, body: &Value) -> Result<Answer, String> {
    ask(address, "PATCH", path, &body.to_string())
}

/// `PUT path` with a JSON body.
pub fn put(address: SocketAddr, path: &str, body: &Value) -> Result<Answer, String> {
    ask(address, "PUT", path, &body.to_string())
}

/// `DELETE path`.
pub fn delete(address: SocketAddr, path: &str) -> Result<Answer, String> {
    ask(address, "DELETE", path, "")
}

/// The value of a metric with exactly these labels, such as `name{partition="0",topic="t"}`.
pub fn metric(text: &str, series: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<Answer, String> {
    exchange(address, method, path, body).map_err(|error| format!("{method} {path} at {address}: {error}"))
}

fn exchange(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| std::io::Error::other(format!("not an HTTP answer: {text:?}")))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}
