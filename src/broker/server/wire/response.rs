//! Answers as frames: length, header, body.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::{Encodable, HeaderVersion};

/// Encodes an answer with its length and header. It fails only when a handler set a field the version does not have.
pub(crate) fn encode_frame<R>(correlation_id: i32, version: i16, body: &R) -> Result<Bytes, String>
where
    R: Encodable + HeaderVersion,
{
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    let header_version = R::header_version(version);
    let size = header.compute_size(header_version).map_err(|e| e.to_string())?
        + body.compute_size(version).map_err(|e| e.to_string())?;
    let length = i32::try_from(size).map_err(|_| format!("an answer of {size} bytes exceeds a frame"))?;
    let mut frame = BytesMut::with_capacity(4 + size);
    frame.put_i32(length);
    header.encode(&mut frame, header_version).map_err(|e| e.to_string())?;
    body.encode(&mut frame, version).map_err(|e| e.to_string())?;
    debug_assert_eq!(frame.len(), 4 + size);
    Ok(frame.freeze())
}
