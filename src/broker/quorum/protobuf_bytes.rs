//! Protobuf messages from bytes that may claim anything. Knows nothing of what they mean.

use bytes::Bytes;
use protobuf::{CodedInputStream, Message, ProtobufResult};

/// Decodes a message that is all of `bytes`. The crate reserves up to 10 MB for a field by its length alone unless it knows
/// where the bytes end, so it is told.
pub(super) fn decode<M: Message>(bytes: &Bytes) -> ProtobufResult<M> {
    let mut stream = CodedInputStream::from_carllerche_bytes(bytes);
    stream.push_limit(bytes.len() as u64)?;
    let mut message = M::new();
    message.merge_from(&mut stream)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::eraftpb;

    #[test]
    fn a_length_beyond_the_end_is_refused_also_in_a_field_that_nobody_knows() {
        let claims = |tag: &[u8]| Bytes::from([tag, &[0xff, 0xff, 0xff, 0x03, 1, 2]].concat());
        // Entries, a context, and field 100.
        for tag in [&[0x3a][..], &[0x62], &[0xa2, 0x06]] {
            assert!(decode::<eraftpb::Message>(&claims(tag)).is_err(), "{tag:02x?}");
        }
        let known: eraftpb::Message = decode(&Bytes::from_static(&[0x18, 7, 0xa2, 0x06, 1, 9])).unwrap();
        assert_eq!(known.from, 7);
    }

    #[test]
    fn bytes_that_end_within_a_field_are_no_message() {
        assert!(decode::<eraftpb::Message>(&Bytes::from_static(&[0x18])).is_err());
        assert!(decode::<eraftpb::ConfState>(&Bytes::from_static(&[0x0a, 2, 1])).is_err());
    }
}
