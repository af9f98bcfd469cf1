//! Produce 0 to 2: advertised, because older librdkafka gives up compression without them (KAFKA-18659), and refused.
//!
//! Kafka 4.3 closes the connection; so does this, after an answer with 35 UNSUPPORTED_VERSION for each partition, so
//! that the client can say why. These versions are no longer in `kafka-protocol`: what little is needed is here.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::errors::UNSUPPORTED_VERSION;

/// Last of the refused versions.
pub(crate) const LAST: i16 = 2;

/// The answer's frame; none when the request wants none or cannot be read.
pub(crate) fn refusal(correlation_id: i32, version: i16, mut body: Bytes) -> Option<Bytes> {
    let acks = body.try_get_i16().ok()?;
    let _timeout = body.try_get_i32().ok()?;
    if acks == 0 {
        return None;
    }
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i32(correlation_id);
    topics(&mut body, &mut frame, version)?;
    if version >= 1 {
        frame.put_i32(0);
    }
    let length = i32::try_from(frame.len() - 4).ok()?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Some(frame.freeze())
}

/// The answer is never longer than the request by more than a constant factor: an empty partition takes 8 bytes there
/// and at most 22 here. Counts are copied, never allocated for.
fn topics(body: &mut Bytes, frame: &mut BytesMut, version: i16) -> Option<()> {
    for _ in 0..copy_count(body, frame)? {
        let length = body.try_get_u16().ok().filter(|n| usize::from(*n) <= body.len())?;
        frame.put_u16(length);
        frame.put(body.split_to(usize::from(length)));
        for _ in 0..copy_count(body, frame)? {
            partition(body, frame, version)?;
        }
    }
    Some(())
}

fn partition(body: &mut Bytes, frame: &mut BytesMut, version: i16) -> Option<()> {
    let index = body.try_get_i32().ok()?;
    let records = body.try_get_i32().ok()?.max(0) as usize;
    if records > body.len() {
        return None;
    }
    body.advance(records);
    frame.put_i32(index);
    frame.put_i16(UNSUPPORTED_VERSION);
    frame.put_i64(-1);
    if version >= 2 {
        frame.put_i64(-1);
    }
    Some(())
}

fn copy_count(body: &mut Bytes, frame: &mut BytesMut) -> Option<i32> {
    let count = body.try_get_i32().ok()?.max(0);
    frame.put_i32(count);
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(acks: i16) -> BytesMut {
        let mut body = BytesMut::new();
        body.put_i16(acks);
        body.put_i32(1000);
        body.put_i32(1);
        body.put_u16(4);
        body.put_slice(b"logs");
        body.put_i32(1);
        body.put_i32(3);
        body.put_i32(5);
        body.put_slice(b"abcde");
        body
    }

    #[test]
    fn each_partition_is_refused_by_code() {
        let frame = refusal(9, 2, request(-1).freeze()).unwrap();
        let mut expected = BytesMut::new();
        expected.put_i32(4 + 4 + 6 + 4 + 4 + 2 + 8 + 8 + 4);
        expected.put_i32(9);
        expected.put_i32(1);
        expected.put_u16(4);
        expected.put_slice(b"logs");
        expected.put_i32(1);
        expected.put_i32(3);
        expected.put_i16(35);
        expected.put_i64(-1);
        expected.put_i64(-1);
        expected.put_i32(0);
        assert_eq!(frame, expected.freeze());
    }

    #[test]
    fn none_is_made_of_half_a_request_or_without_acks() {
        let whole = request(1).freeze();
        for length in 0..whole.len() {
            assert_eq!(refusal(9, 0, whole.slice(..length)), None, "{length} bytes");
        }
        assert_eq!(refusal(9, 0, request(0).freeze()), None);
    }
}
