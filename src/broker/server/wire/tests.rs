//! What may not happen to a decoder: a panic, an allocation that bytes do not back, a walk that sees other counts than
//! the decoder does.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Encodable;
use proptest::prelude::*;

use super::agreement::{both, must_agree};
use super::layout;
use super::samples;
use super::scan::MAX_ELEMENTS;
use super::{RequestHead, WireError, decode};

#[test]
fn every_request_of_every_version_is_walked_and_decoded_to_its_end() {
    for (key, version, body) in samples::all() {
        let whole = (body.len(), body.len());
        assert_eq!(both(key, version, &body), Ok(whole), "{key:?} version {version}");
    }
}

#[test]
fn every_cut_request_is_refused() {
    for (key, version, body) in samples::all() {
        for length in 0..body.len() {
            let cut = both(key, version, &body.slice(..length));
            assert!(cut.is_err(), "{key:?} version {version} cut to {length} bytes");
        }
    }
}

/// Without the walk, most of these would ask the allocator for some 200 GB, which ends the process.
#[test]
fn no_count_anywhere_makes_the_decoder_allocate_for_it() {
    let hostile: [&[u8]; 5] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0x80, 0x00, 0x00, 0x00],
        &[0xff, 0xff, 0xff, 0xfb],
    ];
    for (key, version, body) in samples::all() {
        for at in 0..body.len() {
            for bytes in hostile {
                let mut changed = BytesMut::from(&body[..at]);
                changed.put_slice(bytes);
                changed.put_slice(body.get(at + bytes.len()..).unwrap_or_default());
                must_agree(key, version, &changed.freeze());
            }
        }
    }
}

#[test]
fn a_count_is_refused_by_what_remains() {
    let mut body = BytesMut::new();
    body.put_i32(i32::MAX);
    body.put_slice(b"abc");
    let refused = decode::<MetadataRequest>(body.freeze(), &layout::METADATA, 1).unwrap_err();
    assert_eq!(refused, WireError::CountBeyondBytes { count: i32::MAX as u64, remaining: 3 });
}

#[test]
fn small_elements_do_not_add_up_to_much_memory() {
    let names = |count: usize| {
        let mut body = BytesMut::new();
        body.put_i32(count as i32);
        body.put_bytes(0, 2 * count);
        decode::<MetadataRequest>(body.freeze(), &layout::METADATA, 1)
    };
    assert_eq!(names(MAX_ELEMENTS).unwrap().topics.unwrap().len(), MAX_ELEMENTS);
    assert_eq!(names(MAX_ELEMENTS + 1).unwrap_err(), WireError::TooManyElements(MAX_ELEMENTS));
}

/// The decoder trusts the tag and skips its size; a false size must not make it read other counts than were walked.
#[test]
fn a_known_tag_of_another_size_is_refused() {
    let mut body = BytesMut::new();
    FetchRequest::default().encode(&mut body, 12).unwrap();
    body.truncate(body.len() - 1);
    body.put_slice(&[1, 0, 9, 2, b'c']);
    let refused = decode::<FetchRequest>(body.freeze(), &layout::FETCH, 12).unwrap_err();
    assert_eq!(refused, WireError::TagLength { tag: 0, claimed: 9, held: 2 });
}

#[test]
fn a_tag_that_the_decoder_would_misread_is_refused() {
    let mut body = BytesMut::new();
    InitProducerIdRequest::default().encode(&mut body, 5).unwrap();
    body.truncate(body.len() - 1);
    body.put_slice(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    let refused = decode::<InitProducerIdRequest>(body.freeze(), &layout::INIT_PRODUCER_ID, 5).unwrap_err();
    let tag = WireError::Length { what: "tag", value: i64::from(u32::MAX), allowed: "at most 2147483647" };
    assert_eq!(refused, tag);
}

#[test]
fn bytes_after_a_request_are_ignored_as_kafka_does() {
    let mut body = BytesMut::new();
    MetadataRequest::default().with_topics(None).encode(&mut body, 4).unwrap();
    body.put_slice(b"more");
    assert!(decode::<MetadataRequest>(body.freeze(), &layout::METADATA, 4).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_no_danger(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let samples = samples::all();
        let (key, version, _) = &samples[at.index(samples.len())];
        must_agree(*key, *version, &Bytes::from(bytes));
    }

    #[test]
    fn changed_requests_are_no_danger(
        at in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let samples = samples::all();
        let (key, version, body) = &samples[at.index(samples.len())];
        prop_assume!(!body.is_empty());
        let mut body = body.to_vec();
        for (place, value) in changes {
            let place = place.index(body.len());
            body[place] = value;
        }
        must_agree(*key, *version, &body.into());
    }

    #[test]
    fn random_heads_are_no_danger(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut frame = Bytes::from(bytes);
        let whole = frame.len();
        if RequestHead::split_from(&mut frame).is_ok() {
            prop_assert!(frame.len() <= whole - 10);
        }
    }
}
