//! Kafka's protocol by hand, as far as librdkafka hides it: Metadata of exactly one broker with epochs, and a partition's
//! batches as they lie in the leader's log. One connection for each call. Knows two requests and no records.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const FETCH: (i16, i16) = (1, 4);
const METADATA: (i16, i16) = (3, 7);
const OFFSET_OUT_OF_RANGE: i16 = 1;
/// Longest answer that is read.
const MAX_ANSWER: usize = 64 << 20;
const FETCH_BYTES: i32 = 8 << 20;

/// One partition as one broker's Metadata shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Its number.
    pub partition: i32,
    /// 0, or why there is no leader.
    pub error: i16,
    /// Its leader, -1 for none.
    pub leader: i32,
    /// The leader's epoch.
    pub epoch: i32,
    /// Its ISR, ascending; empty if it is not known.
    pub isr: Vec<i32>,
}

/// Metadata of a topic, as this broker tells it; partitions ascending.
pub fn metadata(broker: SocketAddr, topic: &str, patience: Duration) -> Result<Vec<Shown>, String> {
    let mut body = Vec::new();
    put_i32(&mut body, 1);
    put_text(&mut body, topic);
    body.push(0); // create nothing
    let answer = ask(broker, METADATA, &body, patience)?;
    read_metadata(&mut Reader(&answer)).ok_or_else(|| format!("{broker}: cut Metadata answer"))?
}

fn read_metadata(answer: &mut Reader<'_>) -> Option<Result<Vec<Shown>, String>> {
    answer.i32()?; // throttle time
    for _ in 0..answer.i32()? {
        answer.i32()?;
        answer.text()?;
        answer.i32()?;
        answer.text()?; // rack
    }
    answer.text()?; // cluster
    answer.i32()?; // controller
    if answer.i32()? != 1 {
        return Some(Err("not one topic in the answer".to_owned()));
    }
    let error = answer.i16()?;
    answer.text()?;
    answer.take(1)?; // internal
    let mut shown = Vec::new();
    for _ in 0..answer.i32()? {
        let error = answer.i16()?;
        let (partition, leader, epoch) = (answer.i32()?, answer.i32()?, answer.i32()?);
        answer.i32s()?; // replicas
        let mut isr = answer.i32s()?;
        isr.sort_unstable();
        answer.i32s()?; // offline replicas
        shown.push(Shown { partition, error, leader, epoch, isr });
    }
    shown.sort_by_key(|shown| shown.partition);
    Some(if error == 0 { Ok(shown) } else { Err(format!("topic error {error}")) })
}

/// One record batch, byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch(Vec<u8>);

impl Batch {
    /// The offset after its last record.
    fn next_offset(&self) -> i64 {
        self.base_offset() + i64::from(self.i32_at(23)) + 1
    }

    /// The offset of its first record.
    pub fn base_offset(&self) -> i64 {
        self.i64_at(0)
    }

    /// How many records it holds.
    pub fn records(&self) -> i32 {
        self.i32_at(57)
    }

    fn i32_at(&self, at: usize) -> i32 {
        i32::from_be_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    fn i64_at(&self, at: usize) -> i64 {
        i64::from_be_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("base_offset", &self.base_offset())
            .field("records", &self.records())
            .field("epoch", &self.i32_at(12))
            .field("crc", &self.i32_at(17))
            .field("producer", &self.i64_at(43))
            .field("sequence", &self.i32_at(53))
            .field("bytes", &self.0.len())
            .finish()
    }
}

/// Bytes of a batch before its records.
const BATCH_HEADER: usize = 61;

/// All batches of a partition below the high watermark, from this broker, which must lead it.
pub fn log_of(broker: SocketAddr, topic: &str, partition: i32) -> Result<Vec<Batch>, String> {
    let mut batches: Vec<Batch> = Vec::new();
    loop {
        let from = batches.last().map_or(0, Batch::next_offset);
        let (error, high_watermark, records) = fetch(broker, topic, partition, from)?;
        if error != 0 {
            return Err(format!("{broker}: {topic}-{partition} from {from}: error {error}"));
        }
        split(&records, &mut batches)?;
        let next = batches.last().map_or(0, Batch::next_offset);
        match next {
            next if next >= high_watermark => return Ok(batches),
            next if next == from => return Err(format!("{broker}: {topic}-{partition}: nothing at {from}")),
            _ => {}
        }
    }
}

/// Whether this broker refuses to say that an offset is out of range: that answer resets a consumer's position.
pub fn keeps_position(broker: SocketAddr, topic: &str, partition: i32, from: i64) -> Result<i16, String> {
    let (error, ..) = fetch(broker, topic, partition, from)?;
    if error == OFFSET_OUT_OF_RANGE { Err(format!("{broker}: {from} is out of range")) } else { Ok(error) }
}

/// A Fetch request as it is sent, for as many bytes; nobody reads its answer here.
pub fn fetch_frame(topic: &str, partition: i32, from: i64, bytes: i32) -> Vec<u8> {
    frame(FETCH, &fetch_body(topic, partition, from, bytes))
}

fn fetch(broker: SocketAddr, topic: &str, partition: i32, from: i64) -> Result<(i16, i64, Vec<u8>), String> {
    let body = fetch_body(topic, partition, from, FETCH_BYTES);
    let answer = ask(broker, FETCH, &body, Duration::from_secs(10))?;
    read_fetch(&mut Reader(&answer)).ok_or_else(|| format!("{broker}: cut Fetch answer"))
}

fn fetch_body(topic: &str, partition: i32, from: i64, bytes: i32) -> Vec<u8> {
    let mut body = Vec::new();
    for number in [-1, 0, 0, bytes] {
        put_i32(&mut body, number); // consumer, longest wait, least and most bytes
    }
    body.push(0); // uncommitted reads
    put_i32(&mut body, 1);
    put_text(&mut body, topic);
    put_i32(&mut body, 1);
    put_i32(&mut body, partition);
    body.extend(from.to_be_bytes());
    put_i32(&mut body, bytes);
    body
}

fn read_fetch(answer: &mut Reader<'_>) -> Option<(i16, i64, Vec<u8>)> {
    answer.i32()?; // throttle time
    answer.i32()?;
    answer.text()?;
    answer.i32()?;
    answer.i32()?; // partition
    let (error, high_watermark) = (answer.i16()?, answer.i64()?);
    answer.i64()?; // last stable offset
    answer.i32s()?; // no aborted transactions
    let length = usize::try_from(answer.i32()?).unwrap_or(0);
    Some((error, high_watermark, answer.take(length)?.to_vec()))
}

fn split(mut records: &[u8], batches: &mut Vec<Batch>) -> Result<(), String> {
    while !records.is_empty() {
        let length = records.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
        let size = length.map_or(0, |length| 12 + length as usize);
        if size < BATCH_HEADER || size > records.len() {
            return Err(format!("a batch of {size} bytes in {} bytes", records.len()));
        }
        batches.push(Batch(records[..size].to_vec()));
        records = &records[size..];
    }
    Ok(())
}

fn frame((key, version): (i16, i16), body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(key.to_be_bytes());
    request.extend(version.to_be_bytes());
    put_i32(&mut request, 1);
    put_text(&mut request, "e2e");
    request.extend(body);
    let mut framed = Vec::new();
    put_i32(&mut framed, request.len() as i32);
    framed.extend(request);
    framed
}

fn ask(broker: SocketAddr, api: (i16, i16), body: &[u8], patience: Duration) -> Result<Vec<u8>, String> {
    let exchange = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&broker, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(&frame(api, body))?;
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if !(4..MAX_ANSWER).contains(&length) {
            return Err(std::io::Error::other(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length - 4]; // without the correlation id
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    exchange().map_err(|error| format!("ask {broker}: {error}"))
}

fn put_i32(out: &mut Vec<u8>, number: i32) {
    out.extend(number.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as i16).to_be_bytes());
    out.extend(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_be_bytes)
    }

    /// A list of numbers; null counts as empty.
    fn i32s(&mut self) -> Option<Vec<i32>> {
        (0..self.i32()?.max(0)).map(|_| self.i32()).collect()
    }

    /// Passes over a text, which may be null.
    fn text(&mut self) -> Option<()> {
        let length = self.i16()?;
        self.take(usize::try_from(length).unwrap_or(0)).map(drop)
    }
}
