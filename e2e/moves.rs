//! Moves of replicas as raw Kafka requests, which librdkafka does not offer: asks for them, lists them, takes them back; and
//! brokers that are taken out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const ELECT_LEADERS: i16 = 43;
const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;
const LIST_PARTITION_REASSIGNMENTS: i16 = 46;
const UNREGISTER_BROKER: i16 = 64;

/// Takes a broker out of the cluster; the answer's code and words.
pub fn unregister(address: SocketAddr, broker: i32) -> Result<(i16, String), String> {
    let mut body = Writer::default();
    body.int(broker);
    body.bytes(&[0]);
    let mut answer = ask(address, UNREGISTER_BROKER, 0, &body.0)?;
    answer.skip(4)?;
    Ok((answer.short()?, answer.text()?))
}

/// Has the preferred replicas of these partitions elected; each one's code.
pub fn elect(address: SocketAddr, topic: &str, partitions: &[i32]) -> Result<Vec<i16>, String> {
    let mut body = Writer::default();
    body.bytes(&[0]);
    body.length(1);
    body.text(topic);
    body.length(partitions.len());
    partitions.iter().for_each(|partition| body.int(*partition));
    body.bytes(&[0]);
    body.int(30_000);
    body.bytes(&[0]);
    let mut answer = ask(address, ELECT_LEADERS, 2, &body.0)?;
    answer.skip(4)?;
    let code = answer.short()?;
    if code != 0 {
        return Err(format!("error {code}"));
    }
    let mut codes = Vec::new();
    for _ in 0..answer.length()? {
        answer.text()?;
        for _ in 0..answer.length()? {
            answer.skip(4)?;
            codes.push(answer.short()?);
            answer.text()?;
            answer.skip(1)?;
        }
        answer.skip(1)?;
    }
    Ok(codes)
}

/// A move that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// The partition.
    pub partition: i32,
    /// All its replicas.
    pub replicas: Vec<i32>,
    /// Those that come.
    pub adding: Vec<i32>,
    /// Those that go.
    pub removing: Vec<i32>,
}

/// Asks that each partition's replicas be on these brokers, or takes its move back; each partition's code and words.
pub fn alter(
    address: SocketAddr,
    topic: &str,
    wanted: &[(i32, Option<Vec<i32>>)],
) -> Result<Vec<(i16, String)>, String> {
    let mut body = Writer::default();
    body.int(30_000);
    body.bytes(&[1]);
    body.length(1);
    body.text(topic);
    body.length(wanted.len());
    for (partition, brokers) in wanted {
        body.int(*partition);
        match brokers {
            None => body.bytes(&[0]),
            Some(brokers) => {
                body.length(brokers.len());
                brokers.iter().for_each(|id| body.int(*id));
            }
        }
        body.bytes(&[0]);
    }
    body.bytes(&[0, 0]);
    let mut answer = ask(address, ALTER_PARTITION_REASSIGNMENTS, 1, &body.0)?;
    answer.skip(4 + 1)?;
    let (code, words) = (answer.short()?, answer.text()?);
    if code != 0 {
        return Err(format!("error {code}: {words}"));
    }
    let mut results = Vec::new();
    for _ in 0..answer.length()? {
        answer.text()?;
        for _ in 0..answer.length()? {
            answer.skip(4)?;
            results.push((answer.short()?, answer.text()?));
            answer.skip(1)?;
        }
        answer.skip(1)?;
    }
    Ok(results)
}

/// The moves that are under way, of all topics.
pub fn list(address: SocketAddr) -> Result<Vec<Move>, String> {
    let mut body = Writer::default();
    body.int(30_000);
    body.bytes(&[0, 0]);
    let mut answer = ask(address, LIST_PARTITION_REASSIGNMENTS, 0, &body.0)?;
    answer.skip(4)?;
    let (code, words) = (answer.short()?, answer.text()?);
    if code != 0 {
        return Err(format!("error {code}: {words}"));
    }
    let mut moves = Vec::new();
    for _ in 0..answer.length()? {
        answer.text()?;
        for _ in 0..answer.length()? {
            let partition = answer.int()?;
            let (replicas, adding, removing) = (answer.ints()?, answer.ints()?, answer.ints()?);
            moves.push(Move { partition, replicas, adding, removing });
            answer.skip(1)?;
        }
        answer.skip(1)?;
    }
    Ok(moves)
}

fn ask(address: SocketAddr, key: i16, version: i16, body: &[u8]) -> Result<Reader, String> {
    let mut frame = Writer::default();
    frame.bytes(&key.to_be_bytes());
    frame.bytes(&version.to_be_bytes());
    frame.int(1);
    // No client id, no tagged fields.
    frame.bytes(&[0xff, 0xff, 0]);
    frame.bytes(body);
    let exchange = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&(frame.0.len() as u32).to_be_bytes())?;
        stream.write_all(&frame.0)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut answer = Vec::new();
        stream.take(u64::from(u32::from_be_bytes(length))).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| format!("API {key} at {address}: {error}"))?;
    let mut reader = Reader { bytes: answer, at: 0 };
    reader.skip(4 + 1)?;
    Ok(reader)
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn int(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    /// A compact length: one more, as a varint.
    fn length(&mut self, count: usize) {
        let mut rest = count + 1;
        while rest >= 0x80 {
            self.bytes(&[(rest as u8 & 0x7f) | 0x80]);
            rest >>= 7;
        }
        self.bytes(&[rest as u8]);
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes(text.as_bytes());
    }
}

struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let end = self.at + N;
        let found = self.bytes.get(self.at..end).and_then(|found| found.try_into().ok());
        self.at = end;
        found.ok_or_else(|| format!("the answer ends at byte {}", self.bytes.len()))
    }

    fn skip(&mut self, count: usize) -> Result<(), String> {
        (0..count).try_for_each(|_| self.take::<1>().map(drop))
    }

    fn short(&mut self) -> Result<i16, String> {
        self.take().map(i16::from_be_bytes)
    }

    fn int(&mut self) -> Result<i32, String> {
        self.take().map(i32::from_be_bytes)
    }

    /// 0 for null, too.
    fn length(&mut self) -> Result<usize, String> {
        let (mut value, mut shift) = (0usize, 0);
        loop {
            let [byte] = self.take()?;
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 || shift > 28 {
                return Ok(value.saturating_sub(1));
            }
        }
    }

    fn ints(&mut self) -> Result<Vec<i32>, String> {
        (0..self.length()?).map(|_| self.int()).collect()
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.length()?;
        let bytes: Result<Vec<u8>, String> = (0..length).map(|_| self.take().map(|[byte]| byte)).collect();
        String::from_utf8(bytes?).map_err(|error| error.to_string())
    }
}
