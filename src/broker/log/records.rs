//! The records inside an uncompressed v2 batch: framing, offsets and timestamps. Never reads keys or values.

/// One record of a batch, relative to the batch's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i64,
}

/// Why a batch's records are not records.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("record {number}: {what}")]
pub(super) struct RecordError {
    /// From 0.
    pub(super) number: u32,
    pub(super) what: &'static str,
}

/// Walks `count` records; the bytes must end with the last.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    number: u32,
    count: u32,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8], count: u32) -> Self {
        Self { rest: bytes, number: 0, count }
    }

    fn read(&mut self) -> Result<Record, &'static str> {
        let length = varint(&mut self.rest).ok_or("its length is not a number")?;
        let body = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (mut body, rest) = body.ok_or("its length reaches beyond the batch")?;
        self.rest = rest;
        let record = read_body(&mut body)?;
        if body.is_empty() { Ok(record) } else { Err("bytes are left over after its headers") }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.number;
        if number == self.count {
            let left = !std::mem::take(&mut self.rest).is_empty();
            let leftover = RecordError { number, what: "bytes are left over after the last record" };
            return left.then_some(Err(leftover));
        }
        let record = self.read();
        match record {
            Ok(record) => {
                self.number += 1;
                Some(Ok(record))
            }
            Err(what) => {
                // Nothing after a broken record can be found.
                (self.rest, self.count) = (&[], number);
                Some(Err(RecordError { number, what }))
            }
        }
    }
}

fn read_body(body: &mut &[u8]) -> Result<Record, &'static str> {
    let (_attributes, rest) = body.split_first().ok_or("it is empty")?;
    *body = rest;
    let timestamp_delta = varint(body).ok_or("its timestamp is not a number")?;
    let offset_delta = varint(body).ok_or("its offset is not a number")?;
    skip_bytes(body, true).ok_or("its key reaches beyond it")?;
    skip_bytes(body, true).ok_or("its value reaches beyond it")?;
    let headers = varint(body).ok_or("its header count is not a number")?;
    if headers < 0 {
        return Err("its header count is negative");
    }
    // Bounded by the bytes: each header takes at least two.
    for _ in 0..headers {
        skip_bytes(body, false).ok_or("a header's key reaches beyond it")?;
        skip_bytes(body, true).ok_or("a header's value reaches beyond it")?;
    }
    Ok(Record { timestamp_delta, offset_delta })
}

fn skip_bytes(bytes: &mut &[u8], nullable: bool) -> Option<()> {
    let length = varint(bytes)?;
    if length == -1 && nullable {
        return Some(());
    }
    *bytes = bytes.get(usize::try_from(length).ok()?..)?;
    Some(())
}

/// A zigzag varint of at most ten bytes.
fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}
