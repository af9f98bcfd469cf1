//! One request to a broker's admin API, and its answer. Knows nothing of what they mean.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::settings::HostPort;

const CONNECT: Duration = Duration::from_secs(5);
/// Longer than a broker takes for a change of the cluster; each of many partitions is one.
const ANSWER: Duration = Duration::from_secs(600);
/// Longest answer: some 100,000 partitions.
const MAX_ANSWER: u64 = 256 << 20;

/// Sends it; an answer that is no success is an error with the broker's words.
pub(super) fn ask<T: DeserializeOwned>(at: &HostPort, method: &str, path: &str, body: &str) -> Result<T> {
    let (status, body) =
        exchange(at, method, path, body).with_context(|| format!("ask the admin API at {at}"))?;
    if !(200..300).contains(&status) {
        let told: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        bail!("{at} answers {status}: {}", told["error"]["message"].as_str().unwrap_or(body.trim()));
    }
    serde_json::from_str(&body).with_context(|| format!("read the answer of {at}"))
}

fn exchange(at: &HostPort, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let address =
        (at.host.as_str(), at.port).to_socket_addrs()?.next().context("no address has that name")?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("it does not speak HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("it does not speak HTTP")?, body.to_owned()))
}
