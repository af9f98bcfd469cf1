//! What the fuzzer feeds to the peer transport: frames, and both sides of a handshake.

use bytes::Bytes;
use chronik_core::ids::{BrokerId, DiskId, Generation, Incarnation};
use futures::FutureExt;
use uuid::Uuid;

use super::config::VersionRange;
use super::event::Lane;
use super::frame::{Frame, FrameReader};
use super::handshake::{self, Answer, Hello, Reception, Welcome};
use super::identity::Identity;

const MAX_FRAME: usize = 1 << 20;
const VERSIONS: VersionRange = VersionRange { min: 1, max: 3 };

/// Reads frames to the end or the first that is none. Each means the same when it is sent again.
pub fn frames(bytes: &[u8]) {
    let mut reader = FrameReader::new(bytes, MAX_FRAME);
    let mut rest = bytes;
    while let Some(Ok((frame, size))) = reader.next(|| ()).now_or_never() {
        let (read, after) = rest.split_at(size);
        rest = after;
        if !matches!(frame, Frame::Close(_)) {
            // Of a refusal's text, what is not fit for a log is replaced.
            assert_eq!(frame.clone().encode(), read);
        }
        let again = frame.clone().encode();
        let again = FrameReader::new(&again[..], MAX_FRAME + 8).next(|| ()).now_or_never();
        assert_eq!(again.expect("it is all there").expect("what was sent can be read").0, frame);
    }
}

fn identity() -> Identity {
    let disk = DiskId(Uuid::from_u128(1));
    let cluster = "fuzzed".parse().expect("a cluster id");
    Identity { cluster, broker: BrokerId(2), incarnation: Incarnation { disk, start: 3 } }
}

/// Takes the bytes for a dialer's words, and for an acceptor's.
pub fn handshakes(bytes: &[u8]) {
    let receive = |_: &Hello| {
        let (payload, versions) = (Bytes::from_static(b"ours"), VERSIONS);
        (
            Reception { identity: identity(), versions, max_frame: MAX_FRAME, payload, generation: None },
            Ok(()),
        )
    };
    let (mut from, mut said) = (bytes, Vec::new());
    let accepted = handshake::accept(&mut from, &mut said, VERSIONS, receive).now_or_never();
    if let Some(Ok((hello, _))) = accepted {
        let mut sent = &hello.encode()[..];
        let again = handshake::accept(&mut sent, &mut Vec::new(), VERSIONS, receive).now_or_never();
        assert_eq!(again.expect("it is all there").expect("what was sent can be read").0, hello);
        let _ = handshake::await_ready(&mut FrameReader::new(from, MAX_FRAME)).now_or_never();
    }
    let mut from = bytes;
    if let Some(Ok(welcome)) =
        handshake::dial(&mut from, &mut Vec::new(), &hello(), |_| Ok(())).now_or_never()
    {
        let sent = Answer::Accepted(welcome.clone()).encode(VERSIONS);
        let again = handshake::dial(&mut &sent[..], &mut Vec::new(), &hello(), |_| Ok(())).now_or_never();
        assert_eq!(again.expect("it is all there").expect("what was sent can be read"), welcome);
    }
}

fn hello() -> Hello {
    Hello {
        versions: VERSIONS,
        lane: Lane::Control,
        from: identity(),
        to: BrokerId(1),
        advertised: "broker-2:9093".to_owned(),
        payload: Bytes::from_static(b"hello"),
        generation: Some(Generation::BIRTH),
    }
}

/// What a dialer and what an acceptor says, and one frame of each kind.
pub fn samples() -> Vec<Bytes> {
    let welcome = Welcome {
        version: 2,
        from: identity(),
        max_frame: MAX_FRAME,
        payload: Bytes::from_static(b"ours"),
        generation: Some(Generation::BIRTH),
    };
    let refusal = super::event::Refusal::new(super::event::RefusalKind::Fenced, "older");
    let refused = Answer::Refused { refusal: refusal.clone(), payload: Bytes::from_static(b"ours") };
    let payload = Bytes::from_static(b"payload");
    let frames = [
        Frame::Ready,
        Frame::Close(refusal),
        Frame::Message(payload.clone()),
        Frame::Ping { hears_you: true },
        Frame::Pong,
        Frame::Request { id: 7, payload: payload.clone() },
        Frame::Reply { id: 7, payload },
        Frame::NoReply { id: 8 },
        Frame::Stopping,
    ];
    let words = [hello().encode(), Answer::Accepted(welcome).encode(VERSIONS), refused.encode(VERSIONS)];
    words.into_iter().chain(frames.into_iter().map(Frame::encode)).collect()
}
