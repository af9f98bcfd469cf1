//! Finds write groups and operations in the bytes of a segment, also behind damaged ones. Pure; judges nothing.

use chronik_core::ids::GroupId;

use super::codec::{
    self, CodecError, DIRECTORY_ENTRY, GROUP_HEADER, GROUP_MAGIC, OpHeader, WriteGroupHeader,
};

/// A stretch of a segment: a write group, a seal, or bytes that are neither.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) at: usize,
    pub(super) end: usize,
    /// With its own CRC, by which the successor names it. `None` for bytes that are no write group.
    pub(super) header: Option<(WriteGroupHeader, u32)>,
    /// The file ends within it.
    pub(super) short: bool,
}

/// Divides `bytes` from `from` on; `sequence` is that of the last write group before.
pub(super) fn pieces(bytes: &[u8], from: usize, salt: u32, mut sequence: u64) -> Vec<Piece> {
    let (mut pieces, mut at) = (Vec::new(), from);
    while at < bytes.len() {
        let found = (at..bytes.len()).find_map(|at| group_at(bytes, at, salt, sequence));
        let start = found.map_or(bytes.len(), |piece| piece.at);
        if start > at {
            pieces.push(Piece { at, end: start, header: None, short: false });
        }
        let Some(piece) = found else { break };
        sequence = piece.header.map_or(sequence, |(header, _)| header.sequence);
        pieces.push(piece);
        at = piece.end;
    }
    pieces
}

fn group_at(bytes: &[u8], at: usize, salt: u32, sequence: u64) -> Option<Piece> {
    if !bytes[at..].starts_with(GROUP_MAGIC) {
        return None;
    }
    let header = WriteGroupHeader::decode(&bytes[at..], Some(salt)).ok()?;
    let follows = if header.seal { header.sequence >= sequence } else { header.sequence > sequence };
    if !follows {
        return None;
    }
    let end = at + GROUP_HEADER + header.length as usize;
    let crc = codec::header_crc(bytes[at..].first_chunk()?);
    Some(Piece { at, end: end.min(bytes.len()), header: Some((header, crc)), short: end > bytes.len() })
}

/// An operation, or the place of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found<'a> {
    /// `payload` is `None` if it is damaged.
    Op { at: usize, header: OpHeader, payload: Option<&'a [u8]> },
    /// The header is damaged; the directory says whose it was.
    Lost { at: usize, group: GroupId },
}

/// What a write group holds.
pub(super) struct Body<'a> {
    pub(super) found: Vec<Found<'a>>,
    /// Operations that left no trace.
    pub(super) untraced: u32,
    /// Whether every byte that matters is as it was written.
    pub(super) whole: bool,
}

/// Reads the operations of a write group as far as they can be made out.
/// An error is a header that is whole but of a kind or version this build does not know.
pub(super) fn body<'a>(bytes: &'a [u8], piece: &Piece, salt: u32) -> Result<Body<'a>, CodecError> {
    let Some((header, _)) = &piece.header else { return searched(bytes, piece.at, piece.end, salt, 0) };
    let start = piece.at + GROUP_HEADER;
    let Some(directory) = codec::decode_directory(header, &bytes[start..piece.end]) else {
        let end = piece.end.min(start + header.length as usize - header.ops as usize * DIRECTORY_ENTRY);
        return searched(bytes, start, end, salt, header.ops);
    };
    let (mut found, mut at) = (Vec::with_capacity(directory.len()), start);
    for (group, length) in directory {
        let end = at + length as usize;
        found.push(match op_at(&bytes[..end], at, salt)? {
            Some(op @ Found::Op { header, .. }) if header.group == group && at + header.total() == end => op,
            _ => Found::Lost { at, group },
        });
        at = end;
    }
    let whole = found.iter().all(|op| matches!(op, Found::Op { payload: Some(_), .. }));
    Ok(Body { found, untraced: 0, whole })
}

/// Looks for operations at every byte: of `expected`, whatever is not found is untraced.
fn searched(bytes: &[u8], from: usize, to: usize, salt: u32, expected: u32) -> Result<Body<'_>, CodecError> {
    let (mut found, mut at) = (Vec::new(), from);
    while at < to {
        match op_at(&bytes[..to], at, salt)? {
            Some(op) => {
                if let Found::Op { header, .. } = op {
                    at += header.total();
                }
                found.push(op);
            }
            None => at += 1,
        }
    }
    let untraced = expected.saturating_sub(found.len() as u32);
    Ok(Body { found, untraced, whole: false })
}

fn op_at(bytes: &[u8], at: usize, salt: u32) -> Result<Option<Found<'_>>, CodecError> {
    match OpHeader::decode(&bytes[at..], salt) {
        Ok(header) => {
            let payload = bytes.get(at + codec::OP_HEADER..at + header.total());
            let payload = payload.filter(|payload| header.owns(payload));
            Ok(Some(Found::Op { at, header, payload }))
        }
        Err(CodecError::Short | CodecError::Magic | CodecError::Crc) => Ok(None),
        Err(unknown) => Err(unknown),
    }
}
