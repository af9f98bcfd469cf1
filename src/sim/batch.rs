//! Record batches as clients send them: each record names the operation and the attempt it comes from, so that whatever is
//! found in a log can be traced to the request that brought it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_broker::log::batch::HEADER;

/// Where a batch comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tag {
    /// The client.
    pub client: u32,
    /// Its operation, counted within one partition.
    pub op: u32,
    /// How often it was sent before.
    pub attempt: u32,
}

impl Tag {
    /// The operation, whichever attempt it was.
    pub fn operation(self) -> (u32, u32) {
        (self.client, self.op)
    }
}

/// The idempotent producer of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Sequenced {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence of the first record.
    pub base: i32,
}

/// Bytes of a value before its padding.
const TAG_BYTES: usize = 12;

/// A batch of `count` records with `padding` bytes each beyond their tag.
pub fn encode(tag: Tag, sequenced: Option<Sequenced>, count: u32, padding: usize, unix_ms: i64) -> Bytes {
    let mut tail = BytesMut::with_capacity(HEADER + count as usize * (padding + 24));
    let (id, epoch, base) = sequenced.map_or((-1, -1, -1), |s| (s.id, s.epoch, s.base));
    tail.put_i16(0);
    tail.put_i32(count as i32 - 1);
    tail.put_i64(unix_ms);
    tail.put_i64(unix_ms);
    tail.put_i64(id);
    tail.put_i16(epoch);
    tail.put_i32(base);
    tail.put_i32(count as i32);
    for delta in 0..count {
        put_record(&mut tail, tag, delta, padding);
    }
    let mut batch = BytesMut::with_capacity(tail.len() + 21);
    batch.put_i64(0);
    batch.put_i32(tail.len() as i32 + 9);
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(crc32c::crc32c(&tail));
    batch.put(tail);
    batch.freeze()
}

fn put_record(out: &mut BytesMut, tag: Tag, delta: u32, padding: usize) {
    let mut body = BytesMut::with_capacity(TAG_BYTES + padding + 16);
    body.put_i8(0);
    put_varint(&mut body, 0);
    put_varint(&mut body, i64::from(delta));
    put_varint(&mut body, -1);
    put_varint(&mut body, (TAG_BYTES + padding) as i64);
    body.put_u32(tag.client);
    body.put_u32(tag.op);
    body.put_u32(tag.attempt);
    body.put_bytes(b'.', padding);
    put_varint(&mut body, 0);
    put_varint(out, body.len() as i64);
    out.put(body);
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// The tag in the first record of a batch.
pub fn tag_of(batch: &[u8]) -> Option<Tag> {
    let mut rest = batch.get(HEADER..)?;
    varint(&mut rest)?;
    rest.try_get_u8().ok()?;
    for _ in 0..4 {
        varint(&mut rest)?;
    }
    let mut number = || rest.try_get_u32().ok();
    Some(Tag { client: number()?, op: number()?, attempt: number()? })
}

#[cfg(test)]
mod tests {
    use chronik_broker::log::batch::{Limits, check};

    use super::*;

    #[test]
    fn a_batch_passes_the_brokers_checks_and_names_its_origin() {
        let tag = Tag { client: 3, op: 70_000, attempt: 2 };
        let sequenced = Sequenced { id: 9, epoch: 1, base: 40 };
        let bytes = encode(tag, Some(sequenced), 3, 200, 1_000);
        assert_eq!(tag_of(&bytes), Some(tag));
        let limits = Limits { max_message_bytes: 10_000, latest_timestamp: 1_000 };
        let checked = check(bytes, limits).unwrap();
        assert_eq!(checked.records(), 3);
        assert_eq!(checked.producer().map(|p| (p.id, p.base_sequence, p.last_sequence)), Some((9, 40, 42)));
    }
}
