//! Kafka's record batch, version 2: checks one that a producer sent, and gives it base offset and leader epoch.
//! Compressed records are not opened: of them only the header is checked.
//!
//! | field | at | size |   | field | at | size |
//! |---|---|---|---|---|---|---|
//! | base offset | 0 | 8 | | base timestamp | 27 | 8 |
//! | length of what follows | 8 | 4 | | greatest timestamp | 35 | 8 |
//! | leader epoch | 12 | 4 | | producer id | 43 | 8 |
//! | magic (2) | 16 | 1 | | producer epoch | 51 | 2 |
//! | CRC-32C of bytes 21.. | 17 | 4 | | base sequence | 53 | 4 |
//! | attributes | 21 | 2 | | record count | 57 | 4 |
//! | last offset delta | 23 | 4 | | records | 61 | |

use bytes::{Bytes, BytesMut};
use chronik_core::ids::Offset;

use super::records::Records;
use super::types::BatchProducer;

/// Bytes before the first record.
pub const HEADER: usize = 61;
const LENGTH_AT: usize = 8;
const EPOCH_AT: usize = 12;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

/// What a batch may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// The latest timestamp a record may have, in Unix milliseconds: now and an hour by Kafka's default.
    pub latest_timestamp: i64,
}

/// Why a batch is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    #[error("the batch is cut off: {have} bytes, {need} are needed")]
    Short { have: usize, need: usize },
    #[error("the batch's length field is {0}: at least 49 is allowed")]
    Length(i32),
    #[error("{0} bytes follow the batch: a produce request carries exactly one batch per partition")]
    Trailing(usize),
    #[error("magic {0} is not supported: only 2 is")]
    Magic(i8),
    #[error("the batch's CRC is {computed:#010x}, its header says {stored:#010x}")]
    Crc { stored: u32, computed: u32 },
    #[error("the batch has {size} bytes, max.message.bytes allows {max}")]
    TooLarge { size: usize, max: usize },
    #[error("compression type {0} is unknown: 0 to 4 are allowed")]
    Compression(i16),
    #[error("transactional batches are not supported")]
    Transactional,
    #[error("a client may not write control records")]
    Control,
    #[error("timestamps are wrong: {0}")]
    Timestamp(&'static str),
    #[error("the batch is invalid: {0}")]
    Invalid(String),
}

impl BatchError {
    /// Kafka's error code for it.
    pub fn code(&self) -> i16 {
        match self {
            Self::Length(_) | Self::Crc { .. } => 2,
            Self::TooLarge { .. } => 10,
            Self::Timestamp(_) => 32,
            Self::Transactional => 48,
            Self::Compression(_) => 76,
            Self::Short { .. } | Self::Trailing(_) | Self::Magic(_) | Self::Control | Self::Invalid(_) => 87,
        }
    }
}

/// The header's fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// The whole batch, this header included.
    pub size: usize,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header of the batch that begins `bytes`, which hold at least that batch.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let short = |need| BatchError::Short { have: bytes.len(), need };
        let prefix = bytes.get(..CRC_AT).ok_or_else(|| short(HEADER))?;
        let magic = prefix[CRC_AT - 1] as i8;
        if magic != 2 {
            return Err(BatchError::Magic(magic));
        }
        let length = i32::from_be_bytes(array(bytes, LENGTH_AT));
        let size = usize::try_from(length).ok().map(|length| length + 12);
        let size = size.filter(|size| *size >= HEADER).ok_or(BatchError::Length(length))?;
        if bytes.len() < size {
            return Err(short(size));
        }
        Ok(Self {
            base_offset: i64::from_be_bytes(array(bytes, 0)),
            size,
            leader_epoch: i32::from_be_bytes(array(bytes, EPOCH_AT)),
            crc: u32::from_be_bytes(array(bytes, CRC_AT)),
            attributes: i16::from_be_bytes(array(bytes, CRC_FROM)),
            last_offset_delta: i32::from_be_bytes(array(bytes, 23)),
            base_timestamp: i64::from_be_bytes(array(bytes, 27)),
            max_timestamp: i64::from_be_bytes(array(bytes, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(array(bytes, 43)),
            producer_epoch: i16::from_be_bytes(array(bytes, 51)),
            base_sequence: i32::from_be_bytes(array(bytes, 53)),
            record_count: i32::from_be_bytes(array(bytes, 57)),
        })
    }

    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn compression(&self) -> i16 {
        self.attributes & 7
    }

    /// Offsets the batch consumes.
    pub fn records(&self) -> u32 {
        u32::try_from(i64::from(self.last_offset_delta) + 1).unwrap_or(0)
    }

    /// The producer, if it is an idempotent one.
    pub fn producer(&self) -> Option<BatchProducer> {
        BatchProducer::of(self.producer_id, self.producer_epoch, self.base_sequence, self.records())
    }
}

/// A batch that may be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedBatch {
    bytes: Bytes,
    header: BatchHeader,
}

impl CheckedBatch {
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub fn records(&self) -> u32 {
        self.header.records()
    }

    pub fn max_timestamp(&self) -> i64 {
        self.header.max_timestamp
    }

    pub fn producer(&self) -> Option<BatchProducer> {
        self.header.producer()
    }

    /// Length in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The batch as consumers get it. Neither field is covered by the CRC. Copies only if the bytes are shared.
    pub fn patch(self, base_offset: Offset, leader_epoch: i32) -> Bytes {
        patch(self.bytes, base_offset, leader_epoch)
    }
}

/// Sets base offset and leader epoch of a batch that was checked before.
pub fn patch(batch: Bytes, base_offset: Offset, leader_epoch: i32) -> Bytes {
    let mut bytes = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[EPOCH_AT..EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
    bytes.freeze()
}

/// Checks what a producer sent for one partition: exactly one batch that is what its header says.
pub fn check(bytes: Bytes, limits: Limits) -> Result<CheckedBatch, BatchError> {
    let mut header = BatchHeader::parse(&bytes)?;
    if bytes.len() > header.size {
        return Err(BatchError::Trailing(bytes.len() - header.size));
    }
    if header.size > limits.max_message_bytes {
        return Err(BatchError::TooLarge { size: header.size, max: limits.max_message_bytes });
    }
    let computed = crc32c::crc32c(&bytes[CRC_FROM..]);
    if computed != header.crc {
        return Err(BatchError::Crc { stored: header.crc, computed });
    }
    check_attributes(&header)?;
    check_counts(&header)?;
    check_producer(&header)?;
    let mut bytes = bytes;
    if header.compression() == 0 {
        let greatest = check_records(&header, &bytes[HEADER..])?;
        if greatest != header.max_timestamp {
            bytes = with_max_timestamp(bytes, greatest);
            header = BatchHeader::parse(&bytes)?;
        }
    }
    if header.max_timestamp > limits.latest_timestamp {
        return Err(BatchError::Timestamp("the greatest lies too far in the future"));
    }
    Ok(CheckedBatch { bytes, header })
}

fn check_attributes(header: &BatchHeader) -> Result<(), BatchError> {
    if header.compression() > 4 {
        return Err(BatchError::Compression(header.compression()));
    }
    if header.attributes & CONTROL != 0 {
        return Err(BatchError::Control);
    }
    if header.attributes & TRANSACTIONAL != 0 {
        return Err(BatchError::Transactional);
    }
    if header.attributes & LOG_APPEND_TIME != 0 {
        return Err(BatchError::Timestamp("a producer may not set the type LogAppendTime"));
    }
    if header.attributes & DELETE_HORIZON != 0 {
        return Err(BatchError::Invalid("a producer may not set a delete horizon".to_owned()));
    }
    Ok(())
}

fn check_counts(header: &BatchHeader) -> Result<(), BatchError> {
    if header.record_count < 1 {
        return Err(BatchError::Invalid(format!(
            "record count is {}: at least 1 is allowed",
            header.record_count
        )));
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.record_count) {
        let (delta, count) = (header.last_offset_delta, header.record_count);
        return Err(BatchError::Invalid(format!("last offset delta is {delta} with {count} records")));
    }
    Ok(())
}

fn check_producer(header: &BatchHeader) -> Result<(), BatchError> {
    let (id, epoch, sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
    if id >= 0 && (epoch < 0 || sequence < 0) {
        let what =
            format!("producer {id} has epoch {epoch} and base sequence {sequence}: both must be 0 or more");
        return Err(BatchError::Invalid(what));
    }
    if id < -1 {
        return Err(BatchError::Invalid(format!("producer id is {id}: -1 or more is allowed")));
    }
    Ok(())
}

/// Checks framing, offsets and timestamps of uncompressed records; gives the greatest timestamp.
fn check_records(header: &BatchHeader, records: &[u8]) -> Result<i64, BatchError> {
    let mut greatest = i64::MIN;
    for (expected, record) in (0i64..).zip(Records::new(records, header.record_count as u32)) {
        let record = record.map_err(|error| BatchError::Invalid(error.to_string()))?;
        if record.offset_delta != expected {
            let what = format!("record {expected} has offset delta {}", record.offset_delta);
            return Err(BatchError::Invalid(what));
        }
        let timestamp = header.base_timestamp.checked_add(record.timestamp_delta);
        let timestamp =
            timestamp.filter(|t| *t >= -1).ok_or(BatchError::Timestamp("a record's is negative"))?;
        greatest = greatest.max(timestamp);
    }
    Ok(greatest)
}

/// Kafka, too, sets this field right rather than refuse the batch; the CRC covers it.
fn with_max_timestamp(batch: Bytes, timestamp: i64) -> Bytes {
    let mut bytes = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    bytes[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&timestamp.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

/// The first record of a batch with a timestamp of at least `timestamp`, as offset and timestamp.
/// Of a compressed batch the answer is its base offset: it lies at or before that record.
pub(super) fn find_time(batch: &[u8], timestamp: i64) -> Option<(Offset, i64)> {
    let header = BatchHeader::parse(batch).ok()?;
    if header.compression() != 0 {
        return Some((header.base_offset, header.max_timestamp));
    }
    let records = Records::new(&batch[HEADER..header.size], u32::try_from(header.record_count).ok()?);
    records
        .map_while(Result::ok)
        .map(|r| {
            (header.base_offset + r.offset_delta, header.base_timestamp.saturating_add(r.timestamp_delta))
        })
        .find(|(_, found)| *found >= timestamp)
}

/// Only called with `at + N` within the header's checked length.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}
