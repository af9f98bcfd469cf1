//! The three words that open a connection: Hello (dialer), Answer (acceptor), Ready or Close (dialer). Moves bytes and
//! keeps their bounds; who is admitted is decided by the caller's checks.
//!
//! Head of the first two, the same in every version: magic, lowest and highest version, u32 length of the body. Bodies
//! only ever grow at their end, so that any two builds can read each other's identity and reason.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chronik_core::ids::Generation;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::config::VersionRange;
use super::event::{Lane, Refusal, RefusalKind};
use super::frame::{Frame, FrameError, FrameReader, decode_refusal, encode_refusal};
use super::generation;
use super::identity::{BadField, Identity, take, text};

const MAGIC: [u8; 8] = *b"CHRONIKP";
/// Longest payload of the user's hello.
pub(super) const MAX_HELLO: usize = 64 * 1024;
/// Longest body: the hello and some room for identities, addresses and later fields.
const MAX_BODY: usize = MAX_HELLO + 8 * 1024;
const MAX_ADDRESS: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: VersionRange,
    pub(super) lane: Lane,
    pub(super) from: Identity,
    /// The broker id the dialer wants to reach.
    pub(super) to: chronik_core::ids::BrokerId,
    pub(super) advertised: String,
    pub(super) payload: Bytes,
    /// Of the metadata that the dialer holds.
    pub(super) generation: Option<Generation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) version: u16,
    pub(super) from: Identity,
    /// Largest payload the acceptor takes on this lane.
    pub(super) max_frame: usize,
    pub(super) payload: Bytes,
    /// Of the metadata that the acceptor holds.
    pub(super) generation: Option<Generation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted(Welcome),
    Refused { refusal: Refusal, payload: Bytes },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("not complete in time")]
    TimedOut,
    #[error("it does not start as a peer does: {0:02x?}")]
    Magic([u8; 8]),
    #[error("handshake length {0} is not allowed: at most {MAX_BODY}")]
    Length(usize),
    #[error("{0}")]
    Field(#[from] BadField),
    #[error("{0}")]
    Frame(FrameError),
    #[error("we refuse it: {refusal}")]
    ByUs { refusal: Refusal, payload: Option<Bytes> },
    #[error("it refuses us: {refusal}")]
    ByThem { refusal: Refusal, payload: Option<Bytes> },
}

impl HandshakeError {
    /// Whether the other side broke the protocol, rather than went away or was refused.
    pub(super) fn is_garbage(&self) -> bool {
        match self {
            HandshakeError::Magic(_) | HandshakeError::Length(_) | HandshakeError::Field(_) => true,
            HandshakeError::TimedOut => true,
            HandshakeError::Frame(error) => error.is_garbage(),
            _ => false,
        }
    }
}

impl Hello {
    pub(super) fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        body.put_u8(self.lane as u8);
        self.from.encode(&mut body);
        body.put_u32(self.to.0);
        let advertised = &self.advertised.as_bytes()[..self.advertised.len().min(MAX_ADDRESS)];
        body.put_u16(advertised.len() as u16);
        body.put_slice(advertised);
        put_payload(&mut body, &self.payload);
        generation::encode(self.generation, &mut body);
        with_head(self.versions, &body)
    }

    fn decode(versions: VersionRange, body: &mut Bytes) -> Result<Self, BadField> {
        let lane = match body.try_get_u8() {
            Ok(0) => Lane::Control,
            Ok(1) => Lane::Bulk,
            _ => return Err(BadField("lane")),
        };
        let from = Identity::decode(body)?;
        let to = chronik_core::ids::BrokerId(body.try_get_u32().map_err(|_| BadField("wanted broker id"))?);
        let length = body.try_get_u16().map_err(|_| BadField("advertised address"))? as usize;
        if length > MAX_ADDRESS {
            return Err(BadField("advertised address"));
        }
        let advertised = text(body, length, "advertised address")?;
        let payload = get_payload(body)?;
        let generation = generation::decode(body)?;
        Ok(Self { versions, lane, from, to, advertised, payload, generation })
    }
}

impl Answer {
    pub(super) fn encode(&self, versions: VersionRange) -> Bytes {
        let mut body = BytesMut::new();
        match self {
            Answer::Refused { refusal, payload } => {
                body.put_u8(0);
                body.put_slice(&encode_refusal(refusal));
                put_payload(&mut body, payload);
            }
            Answer::Accepted(welcome) => {
                body.put_u8(1);
                body.put_u16(welcome.version);
                welcome.from.encode(&mut body);
                body.put_u32(u32::try_from(welcome.max_frame).unwrap_or(u32::MAX));
                put_payload(&mut body, &welcome.payload);
                generation::encode(welcome.generation, &mut body);
            }
        }
        with_head(versions, &body)
    }

    fn decode(body: &mut Bytes) -> Result<Self, BadField> {
        match body.try_get_u8() {
            Ok(0) => {
                let refusal = decode_refusal(body).ok_or(BadField("refusal"))?;
                Ok(Answer::Refused { refusal, payload: get_payload(body)? })
            }
            Ok(1) => {
                let version = body.try_get_u16().map_err(|_| BadField("version"))?;
                let from = Identity::decode(body)?;
                let max_frame = body.try_get_u32().map_err(|_| BadField("largest frame"))? as usize;
                let payload = get_payload(body)?;
                let generation = generation::decode(body)?;
                Ok(Answer::Accepted(Welcome { version, from, max_frame, payload, generation }))
            }
            _ => Err(BadField("outcome")),
        }
    }
}

fn with_head(versions: VersionRange, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(16 + body.len());
    out.put_slice(&MAGIC);
    out.put_u16(versions.min);
    out.put_u16(versions.max);
    out.put_u32(body.len() as u32); // at most MAX_BODY: its parts are bounded
    out.put_slice(body);
    out.freeze()
}

fn put_payload(body: &mut BytesMut, payload: &[u8]) {
    body.put_u32(payload.len() as u32); // at most MAX_HELLO, see Node::hello_for
    body.put_slice(payload);
}

fn get_payload(body: &mut Bytes) -> Result<Bytes, BadField> {
    let length = body.try_get_u32().map_err(|_| BadField("hello payload"))? as usize;
    if length > MAX_HELLO { Err(BadField("hello payload")) } else { take(body, length, "hello payload") }
}

async fn read_word<R: AsyncRead + Unpin>(from: &mut R) -> Result<(VersionRange, Bytes), HandshakeError> {
    let mut magic = [0; 8];
    from.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(HandshakeError::Magic(magic));
    }
    let versions = VersionRange { min: from.read_u16().await?, max: from.read_u16().await? };
    let length = from.read_u32().await? as usize;
    if length > MAX_BODY {
        return Err(HandshakeError::Length(length));
    }
    let mut body = BytesMut::new();
    while body.len() < length {
        body.reserve((length - body.len()).min(8 * 1024));
        let missing = (length - body.len()) as u64;
        if from.take(missing).read_buf(&mut body).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok((versions, body.freeze()))
}

/// What the acceptor answers: its own payload goes with a refusal, too, once the dialer has named itself.
pub(super) struct Reception {
    pub(super) identity: Identity,
    pub(super) versions: VersionRange,
    pub(super) max_frame: usize,
    pub(super) payload: Bytes,
    pub(super) generation: Option<Generation>,
}

/// The acceptor's half up to its answer. `receive` gives what to answer with and whether the dialer may come in.
pub(super) async fn accept<R, W>(
    from: &mut R,
    to: &mut W,
    ours: VersionRange,
    receive: impl FnOnce(&Hello) -> (Reception, Result<(), Refusal>),
) -> Result<(Hello, Result<(), HandshakeError>), HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (theirs, mut body) = read_word(from).await?;
    let Some(version) = ours.common(theirs) else {
        let text = format!("the dialer speaks versions {theirs}, this broker {ours}");
        let refusal = Refusal::new(RefusalKind::NoCommonVersion, text);
        let answer = Answer::Refused { refusal: refusal.clone(), payload: Bytes::new() };
        to.write_all(&answer.encode(ours)).await?;
        // A layout of the future may still be readable; without a name there is nobody to report about.
        return match Hello::decode(theirs, &mut body) {
            Ok(hello) => {
                let payload = Some(hello.payload.clone());
                Ok((hello, Err(HandshakeError::ByUs { refusal, payload })))
            }
            Err(_) => Err(HandshakeError::ByUs { refusal, payload: None }),
        };
    };
    let hello = Hello::decode(theirs, &mut body)?;
    let (reception, verdict) = receive(&hello);
    let Reception { identity, versions, max_frame, payload, generation } = reception;
    let answer = match &verdict {
        Ok(()) => Answer::Accepted(Welcome { version, from: identity, max_frame, payload, generation }),
        // What is said among brokers of one cluster is not for another.
        Err(refusal) if refusal.kind == RefusalKind::WrongCluster => {
            Answer::Refused { refusal: refusal.clone(), payload: Bytes::new() }
        }
        Err(refusal) => Answer::Refused { refusal: refusal.clone(), payload },
    };
    to.write_all(&answer.encode(versions)).await?;
    let payload = Some(hello.payload.clone());
    Ok((hello, verdict.map_err(|refusal| HandshakeError::ByUs { refusal, payload })))
}

/// The acceptor's last step: waits for the dialer's consent.
pub(super) async fn await_ready<R: AsyncRead + Unpin>(
    frames: &mut FrameReader<R>,
) -> Result<(), HandshakeError> {
    match frames.next(|| ()).await.map_err(HandshakeError::Frame)?.0 {
        Frame::Ready => Ok(()),
        Frame::Close(refusal) => Err(HandshakeError::ByThem { refusal, payload: None }),
        other => Err(HandshakeError::Frame(FrameError::Unexpected(other.name()))),
    }
}

/// The dialer's half. `check` decides whether the acceptor is the one we want.
pub(super) async fn dial<R, W>(
    from: &mut R,
    to: &mut W,
    hello: &Hello,
    check: impl FnOnce(&Welcome) -> Result<(), Refusal>,
) -> Result<Welcome, HandshakeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    to.write_all(&hello.encode()).await?;
    let (_, mut body) = read_word(from).await?;
    match Answer::decode(&mut body)? {
        Answer::Refused { refusal, payload } => {
            Err(HandshakeError::ByThem { refusal, payload: Some(payload) })
        }
        Answer::Accepted(welcome) => match check(&welcome) {
            Ok(()) => {
                to.write_all(&Frame::Ready.encode()).await?;
                Ok(welcome)
            }
            Err(refusal) => {
                to.write_all(&Frame::Close(refusal.clone()).encode()).await?;
                Err(HandshakeError::ByUs { refusal, payload: Some(welcome.payload) })
            }
        },
    }
}
