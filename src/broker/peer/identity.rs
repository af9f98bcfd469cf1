//! Who speaks: the part of the handshake that both sides say of themselves, and its bytes. No decisions.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_core::ids::{BrokerId, ClusterId, DiskId, Incarnation};
use uuid::Uuid;

/// A field of the handshake that could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("handshake field {0} is missing or not allowed")]
pub(super) struct BadField(pub(super) &'static str);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) cluster: ClusterId,
    pub(super) broker: BrokerId,
    pub(super) incarnation: Incarnation,
}

impl Identity {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let cluster = self.cluster.as_str().as_bytes();
        out.put_u8(cluster.len() as u8); // a ClusterId is at most 64 bytes
        out.put_slice(cluster);
        out.put_u32(self.broker.0);
        out.put_slice(self.incarnation.disk.0.as_bytes());
        out.put_u64(self.incarnation.start);
    }

    pub(super) fn decode(from: &mut Bytes) -> Result<Self, BadField> {
        let length = from.try_get_u8().map_err(|_| BadField("cluster id"))? as usize;
        let cluster = text(from, length, "cluster id")?;
        let cluster = ClusterId::try_from(cluster).map_err(|_| BadField("cluster id"))?;
        let broker = from.try_get_u32().ok().filter(|&id| id > 0).ok_or(BadField("broker id"))?;
        let mut disk = [0; 16];
        from.try_copy_to_slice(&mut disk).map_err(|_| BadField("disk id"))?;
        let start = from.try_get_u64().map_err(|_| BadField("start counter"))?;
        let incarnation = Incarnation { disk: DiskId(Uuid::from_bytes(disk)), start };
        Ok(Self { cluster, broker: BrokerId(broker), incarnation })
    }
}

/// `length` bytes of text that stays printable in a log.
pub(super) fn text(from: &mut Bytes, length: usize, field: &'static str) -> Result<String, BadField> {
    let bytes = take(from, length, field)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| BadField(field))?;
    if text.chars().any(char::is_control) { Err(BadField(field)) } else { Ok(text.to_owned()) }
}

pub(super) fn take(from: &mut Bytes, length: usize, field: &'static str) -> Result<Bytes, BadField> {
    if length > from.len() { Err(BadField(field)) } else { Ok(from.split_to(length)) }
}
