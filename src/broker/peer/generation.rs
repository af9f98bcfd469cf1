//! Whether two brokers hold the same history of the cluster's metadata, and its bytes in the handshake.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_core::ids::{BrokerId, Generation};
use uuid::Uuid;

use super::event::{Refusal, RefusalKind};
use super::identity::BadField;

/// Refuses `them` unless both hold the same generation, or one of them none yet. What a broker of another generation says
/// is not to be heard: it may believe in a leader, members and epochs that never were.
pub fn check(ours: Option<Generation>, id: BrokerId, theirs: Option<Generation>) -> Result<(), Refusal> {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return Ok(()) };
    if ours == theirs {
        return Ok(());
    }
    let (kind, older, newer) = match ours.number.cmp(&theirs.number) {
        std::cmp::Ordering::Greater => (RefusalKind::OlderGeneration, theirs, ours),
        std::cmp::Ordering::Less => (RefusalKind::NewerGeneration, ours, theirs),
        std::cmp::Ordering::Equal => {
            let text = format!(
                "the metadata was recovered from two disks: broker {id} holds generation {theirs}, the other side {ours}. \
                 Only one of them can go on: stop the other, and have its broker come back with an empty disk"
            );
            return Err(Refusal::new(RefusalKind::OtherRecovery, text));
        }
    };
    let text = format!(
        "the metadata was recovered from another disk, which began generation {newer}; this disk is of generation {older} \
         and what it holds of the metadata is void. Come back with an empty disk: chronik-broker format"
    );
    Err(Refusal::new(kind, text))
}

pub(super) fn encode(generation: Option<Generation>, out: &mut BytesMut) {
    out.put_u8(u8::from(generation.is_some()));
    if let Some(Generation { number, recovery }) = generation {
        out.put_u32(number);
        out.put_slice(recovery.as_bytes());
    }
}

pub(super) fn decode(from: &mut Bytes) -> Result<Option<Generation>, BadField> {
    let bad = |_| BadField("generation");
    match from.try_get_u8().map_err(bad)? {
        0 => Ok(None),
        1 => {
            let number = from.try_get_u32().map_err(bad)?;
            let mut recovery = [0; 16];
            from.try_copy_to_slice(&mut recovery).map_err(bad)?;
            Ok(Some(Generation { number, recovery: Uuid::from_bytes(recovery) }))
        }
        _ => Err(BadField("generation")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u32, recovery: u128) -> Option<Generation> {
        Some(Generation { number, recovery: Uuid::from_u128(recovery) })
    }

    #[test]
    fn only_the_same_history_is_heard() {
        let kind = |ours, theirs| check(ours, BrokerId(2), theirs).err().map(|refusal| refusal.kind);
        let birth = Some(Generation::BIRTH);
        assert_eq!(kind(birth, birth), None);
        assert_eq!(kind(generation(1, 7), generation(1, 7)), None);
        assert_eq!((kind(None, generation(1, 7)), kind(birth, None)), (None, None), "an empty disk joins");
        assert_eq!(kind(generation(1, 7), birth), Some(RefusalKind::OlderGeneration));
        assert_eq!(kind(birth, generation(1, 7)), Some(RefusalKind::NewerGeneration));
        assert_eq!(kind(generation(1, 7), generation(1, 8)), Some(RefusalKind::OtherRecovery));
    }

    #[test]
    fn it_comes_out_of_the_bytes_as_it_went_in() {
        for one in [None, Some(Generation::BIRTH), generation(3, 9)] {
            let mut bytes = BytesMut::new();
            encode(one, &mut bytes);
            let mut bytes = bytes.freeze();
            assert_eq!(decode(&mut bytes), Ok(one));
            assert!(bytes.is_empty());
        }
        for broken in [&[][..], &[2], &[1, 0, 0, 0, 1]] {
            assert_eq!(decode(&mut Bytes::copy_from_slice(broken)), Err(BadField("generation")));
        }
    }
}
