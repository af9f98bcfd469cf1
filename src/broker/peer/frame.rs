//! Frames after the handshake: u32 length, u8 kind, body. A length beyond the lane's bound is refused before anything is
//! allocated for it, and the buffer grows only with bytes that arrived.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::event::{Refusal, RefusalKind};

/// Length field and kind.
pub(super) const HEADER: usize = 5;
/// What a request's or reply's id takes beside its payload.
const ID: usize = 8;
/// Longest refusal text that is sent or believed.
pub(super) const MAX_REASON: usize = 1024;
/// Smallest read; also the step by which the buffer outgrows what has arrived.
const READ_STEP: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The dialer accepts the acceptor: the handshake's third word.
    Ready,
    /// The handshake's other third word, or why a connection is closed.
    Close(Refusal),
    Message(Bytes),
    Ping {
        hears_you: bool,
    },
    Pong,
    Request {
        id: u64,
        payload: Bytes,
    },
    Reply {
        id: u64,
        payload: Bytes,
    },
    /// There will be no reply.
    NoReply {
        id: u64,
    },
    Stopping,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("connection closed")]
    Closed,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("frame length {length} is not allowed: 1 to {max}")]
    Length { length: usize, max: usize },
    #[error("frame kind {0} is unknown")]
    Kind(u8),
    #[error("frame of kind {kind} with {length} bytes is cut short or too long")]
    Body { kind: u8, length: usize },
    #[error("frame {0} is not allowed here")]
    Unexpected(&'static str),
}

impl FrameError {
    /// Whether the other side broke the protocol, rather than went away.
    pub(super) fn is_garbage(&self) -> bool {
        !matches!(self, FrameError::Closed | FrameError::Io(_))
    }
}

impl Frame {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Frame::Ready => "Ready",
            Frame::Close(_) => "Close",
            Frame::Message(_) => "Message",
            Frame::Ping { .. } => "Ping",
            Frame::Pong => "Pong",
            Frame::Request { .. } => "Request",
            Frame::Reply { .. } => "Reply",
            Frame::NoReply { .. } => "NoReply",
            Frame::Stopping => "Stopping",
        }
    }

    pub(super) fn payload_len(&self) -> usize {
        match self {
            Frame::Message(p) | Frame::Request { payload: p, .. } | Frame::Reply { payload: p, .. } => {
                p.len()
            }
            _ => 0,
        }
    }

    /// Writes header and body, except the payload, which is returned to be written behind it (so that a large one is
    /// not copied).
    pub(super) fn encode_head(self, out: &mut BytesMut) -> Bytes {
        let (kind, id, payload) = match self {
            Frame::Message(payload) => (3, None, payload),
            Frame::Request { id, payload } => (6, Some(id), payload),
            Frame::Reply { id, payload } => (7, Some(id), payload),
            Frame::NoReply { id } => (8, Some(id), Bytes::new()),
            Frame::Ready => (1, None, Bytes::new()),
            Frame::Close(refusal) => (2, None, encode_refusal(&refusal)),
            Frame::Ping { hears_you } => (4, None, Bytes::from_static(if hears_you { &[1] } else { &[0] })),
            Frame::Pong => (5, None, Bytes::new()),
            Frame::Stopping => (9, None, Bytes::new()),
        };
        let length = 1 + id.map_or(0, |_| ID) + payload.len();
        out.put_u32(u32::try_from(length).expect("payloads are bounded by the lane, below 4 GiB"));
        out.put_u8(kind);
        if let Some(id) = id {
            out.put_u64(id);
        }
        payload
    }

    pub(super) fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        let payload = self.encode_head(&mut out);
        out.extend_from_slice(&payload);
        out.freeze()
    }

    fn decode(mut body: Bytes) -> Result<Frame, FrameError> {
        let length = body.len();
        let kind = body.try_get_u8().map_err(|_| FrameError::Length { length, max: 0 })?;
        let broken = FrameError::Body { kind, length };
        let frame = match kind {
            1 => Frame::Ready,
            2 => return decode_refusal(&mut body).map(Frame::Close).ok_or(broken),
            3 => return Ok(Frame::Message(body)),
            4 => match body.try_get_u8() {
                Ok(flag @ 0..=1) => Frame::Ping { hears_you: flag == 1 },
                _ => return Err(broken),
            },
            5 => Frame::Pong,
            6..=8 => {
                let Ok(id) = body.try_get_u64() else { return Err(broken) };
                match kind {
                    6 => return Ok(Frame::Request { id, payload: body }),
                    7 => return Ok(Frame::Reply { id, payload: body }),
                    _ => Frame::NoReply { id },
                }
            }
            9 => Frame::Stopping,
            other => return Err(FrameError::Kind(other)),
        };
        if body.is_empty() { Ok(frame) } else { Err(broken) }
    }
}

pub(super) fn encode_refusal(refusal: &Refusal) -> Bytes {
    let code = match refusal.kind {
        RefusalKind::NoCommonVersion => 1,
        RefusalKind::WrongCluster => 2,
        RefusalKind::WrongBroker => 3,
        RefusalKind::DuplicateBroker => 4,
        RefusalKind::UnknownBroker => 5,
        RefusalKind::WrongDisk => 6,
        RefusalKind::Fenced => 7,
        RefusalKind::ToItself => 8,
        RefusalKind::OlderGeneration => 20,
        RefusalKind::NewerGeneration => 21,
        RefusalKind::OtherRecovery => 22,
        RefusalKind::Retired => 9,
        RefusalKind::Other(code) => code,
    };
    let text = &refusal.message.as_bytes()[..refusal.message.len().min(MAX_REASON)];
    let mut out = BytesMut::with_capacity(3 + text.len());
    out.put_u8(code);
    out.put_u16(text.len() as u16);
    out.put_slice(text);
    out.freeze()
}

pub(super) fn decode_refusal(from: &mut Bytes) -> Option<Refusal> {
    let kind = match from.try_get_u8().ok()? {
        1 => RefusalKind::NoCommonVersion,
        2 => RefusalKind::WrongCluster,
        3 => RefusalKind::WrongBroker,
        4 => RefusalKind::DuplicateBroker,
        5 => RefusalKind::UnknownBroker,
        6 => RefusalKind::WrongDisk,
        7 => RefusalKind::Fenced,
        8 => RefusalKind::ToItself,
        20 => RefusalKind::OlderGeneration,
        21 => RefusalKind::NewerGeneration,
        22 => RefusalKind::OtherRecovery,
        9 => RefusalKind::Retired,
        code => RefusalKind::Other(code),
    };
    let length = from.try_get_u16().ok()? as usize;
    if length > MAX_REASON || length > from.len() {
        return None;
    }
    // It goes into logs: no control characters from the wire.
    let text = String::from_utf8_lossy(&from.split_to(length)).replace(char::is_control, " ");
    Some(Refusal { kind, message: text })
}

/// Reads frames; dropping a pending `next` loses nothing.
pub(super) struct FrameReader<R> {
    from: R,
    buffer: BytesMut,
    max_payload: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(from: R, max_payload: usize) -> Self {
        Self { from, buffer: BytesMut::new(), max_payload }
    }

    /// The next frame and its size on the wire. `on_bytes` runs after each read, so that a long frame counts as life
    /// while it arrives.
    pub(super) async fn next(&mut self, mut on_bytes: impl FnMut()) -> Result<(Frame, usize), FrameError> {
        loop {
            let missing = match self.frame_length()? {
                Some(length) if self.buffer.len() >= 4 + length => {
                    self.buffer.advance(4);
                    return Ok((Frame::decode(self.buffer.split_to(length).freeze())?, 4 + length));
                }
                Some(length) => 4 + length - self.buffer.len(),
                None => 1,
            };
            if self.buffer.capacity() - self.buffer.len() < missing.min(READ_STEP) {
                self.buffer.reserve(READ_STEP);
            }
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Err(FrameError::Closed);
            }
            on_bytes();
        }
    }

    fn frame_length(&self) -> Result<Option<usize>, FrameError> {
        let Some(field) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*field) as usize;
        let max = 1 + ID + self.max_payload;
        if (1..=max).contains(&length) { Ok(Some(length)) } else { Err(FrameError::Length { length, max }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Frame> {
        let payload = Bytes::from_static(b"payload");
        vec![
            Frame::Ready,
            Frame::Close(Refusal::new(RefusalKind::Fenced, "older")),
            Frame::Message(payload.clone()),
            Frame::Message(Bytes::new()),
            Frame::Ping { hears_you: true },
            Frame::Ping { hears_you: false },
            Frame::Pong,
            Frame::Request { id: u64::MAX, payload: payload.clone() },
            Frame::Reply { id: 7, payload },
            Frame::NoReply { id: 8 },
            Frame::Stopping,
        ]
    }

    #[tokio::test]
    async fn frames_survive_the_wire_in_pieces_of_any_size() {
        let wire: Vec<u8> = all().into_iter().flat_map(|f| f.encode().to_vec()).collect();
        for piece in [1, 2, 3, 7, 64, wire.len()] {
            let (mut tx, rx) = tokio::io::duplex(piece);
            let copy = wire.clone();
            let writer =
                tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut tx, &copy).await });
            let mut reader = FrameReader::new(rx, 100);
            for expected in all() {
                assert_eq!(reader.next(|| ()).await.unwrap().0, expected);
            }
            assert!(matches!(reader.next(|| ()).await, Err(FrameError::Closed)));
            writer.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_two_gibibyte_length_is_refused_without_a_buffer_for_it() {
        let mut reader = FrameReader::new(&[0x80, 0, 0, 0, 3, 1, 2, 3][..], 1 << 20);
        let error = reader.next(|| ()).await.unwrap_err();
        assert!(matches!(error, FrameError::Length { length: 0x8000_0000, .. }), "{error}");
        assert!(reader.buffer.capacity() <= 2 * READ_STEP);
    }

    #[tokio::test]
    async fn a_promised_frame_costs_only_what_arrived() {
        // 30 MiB are promised and allowed; 5 bytes come.
        let mut reader = FrameReader::new(&[0x01, 0xe0, 0, 0, 3][..], 32 << 20);
        assert!(matches!(reader.next(|| ()).await, Err(FrameError::Closed)));
        assert!(reader.buffer.capacity() <= 2 * READ_STEP, "{}", reader.buffer.capacity());
    }

    #[test]
    fn broken_bodies_are_refused() {
        for body in [
            &[4u8][..],
            &[4, 2],
            &[4, 1, 0],
            &[6, 1],
            &[8, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[2, 1, 0, 9],
            &[1, 0],
        ] {
            assert!(
                matches!(Frame::decode(Bytes::copy_from_slice(body)), Err(FrameError::Body { .. })),
                "{body:?}"
            );
        }
        assert!(matches!(Frame::decode(Bytes::from_static(&[200])), Err(FrameError::Kind(200))));
    }

    #[test]
    fn a_refusal_text_brings_no_control_characters_into_the_log() {
        let mut wire = encode_refusal(&Refusal::new(RefusalKind::Other(99), "a\nb\u{1b}[31m"));
        assert_eq!(decode_refusal(&mut wire).unwrap(), Refusal::new(RefusalKind::Other(99), "a b [31m"));
    }
}
