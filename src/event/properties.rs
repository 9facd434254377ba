//! What holds for all events and messages: round trips, growth in both directions, and bytes that mean nothing.

use super::golden::{BASE, TOPIC, all};
use super::strategies::{any_event, message, offset, time, topic};
use super::*;
use crate::message::{Attributes, Message};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

fn read(body: &[u8]) -> Vec<Result<Event<'_>, DecodeError>> {
    events(body, BASE).collect()
}

fn encoded(event: &Event<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(event, &mut out);
    out
}

fn written(draft: &Draft<'_>, first: Offset, time: Timestamp) -> Vec<u8> {
    let mut out = Vec::new();
    draft.write_into(&draft.stamp(first, time, BASE), &mut out);
    out
}

fn only_publish(body: &[u8]) -> Published<'_> {
    match read(body).as_slice() {
        [Ok(Event::Publish(published))] => published.clone(),
        other => panic!("{other:?}"),
    }
}

/// Reads everything that can be read of an event, as recovery and delivery would.
fn exhaust(body: &[u8]) {
    let shared = Bytes::copy_from_slice(body);
    for event in events(&shared, BASE).flatten() {
        if let Event::Publish(published) | Event::Move(published) = &event {
            for view in published.messages().flatten() {
                let _ = (view.verify(published.topic), view.attributes(), view.record(&shared));
                let _ = published.messages_from(view.offset).next();
            }
        }
        let _ = encoded(&event);
    }
}

/// What a message reads back as: attributes that say nothing are none.
fn told(message: &Message) -> Option<Box<Attributes>> {
    message.attributes.clone().filter(|attributes| !attributes.is_empty())
}

fn check_messages(published: &Published<'_>, messages: &[Message], body: &Bytes, first: Offset, time: Timestamp) {
    let views: Vec<_> = published.messages().map(Result::unwrap).collect();
    assert_eq!(views.len(), messages.len());
    for ((index, message), view) in (0u64..).zip(messages).zip(&views) {
        assert_eq!((view.offset, view.time), (first.plus(index), time));
        assert_eq!((view.payload, view.attributes().unwrap()), (&message.payload[..], told(message)));
        assert!(view.verify(published.topic));
        assert_eq!(published.messages_from(view.offset).next(), Some(Ok(*view)));
        let record = view.record(body).unwrap();
        assert_eq!((record.payload(), &record.attributes), (&message.payload[..], &told(message)));
    }
    assert_eq!(published.bytes, views.iter().map(MessageView::content_len).sum::<u64>());
    assert_eq!(published.messages_from(published.end).next(), None);
}

proptest! {
    #[test]
    fn events_come_back_alone_and_in_a_row(list in vec(any_event(), 1..5)) {
        let mut body = Vec::new();
        list.iter().for_each(|event| encode(event, &mut body));
        prop_assert_eq!(read(&body), list.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn a_message_alone_comes_back(message in message(), topic in topic(), first in offset(), time in time()) {
        let draft = Draft::one(topic, &message);
        let stamp = draft.stamp(first, time, BASE);
        let body = written(&draft, first, time);
        prop_assert_eq!(draft.crc(&stamp), crc32fast::hash(&body));
        prop_assert!(body.len() <= draft.len_max());
        let body = Bytes::from(body);
        let published = only_publish(&body);
        prop_assert_eq!(&published, &draft.published(first, time));
        let messages = std::slice::from_ref(&message);
        check_messages(&published, messages, &body, first, time);
        check_messages(&draft.published(first, time), messages, &body, first, time);
        // As a batch of one it means the same, and has a check.
        let again = encoded(&Event::Publish(published.clone()));
        prop_assert_eq!(&only_publish(&again), &published);
    }

    #[test]
    fn a_batch_comes_back(messages in vec(message(), 0..6), topic in topic(), first in offset(), time in time()) {
        let draft = Draft::batch(topic, &messages);
        let stamp = draft.stamp(first, time, BASE);
        let body = written(&draft, first, time);
        prop_assert_eq!(draft.crc(&stamp), crc32fast::hash(&body));
        prop_assert_eq!(body.len(), draft.len_max());
        let body = Bytes::from(body);
        let published = only_publish(&body);
        prop_assert_eq!((published.count, published.bytes), (draft.count(), draft.stored_bytes()));
        check_messages(&published, &messages, &body, first, time);
        check_messages(&draft.published(first, time), &messages, &body, first, time);
        prop_assert_eq!(&published, &draft.published(first, time));
        prop_assert_eq!(&encoded(&Event::Publish(published)), &body);
        // The live form encodes to the same bytes.
        prop_assert_eq!(&encoded(&Event::Publish(draft.published(first, time))), &body);
    }

    #[test]
    fn a_moved_message_keeps_its_place_and_its_check(
        kept in vec((message(), 0u64..1000, time(), any::<bool>()), 0..6),
        topic in topic(),
    ) {
        let mut next = Offset::ZERO;
        let bodies: Vec<_> = kept.iter().map(|(message, gap, time, alone)| {
            let offset = next.plus(*gap);
            next = offset.next();
            let one = std::slice::from_ref(message);
            let draft = if *alone { Draft::one(topic, message) } else { Draft::batch(topic, one) };
            written(&draft, offset, *time)
        }).collect();
        let views =
            bodies.iter().flat_map(|body| only_publish(body).messages().collect::<Vec<_>>());
        let views: Vec<_> = views.map(Result::unwrap).collect();
        let event = Event::Move(Published::moved(topic, &views));
        let body = encoded(&event);
        prop_assert_eq!(read(&body), [Ok(event)]);
        let Some(Ok(Event::Move(moved))) = events(&body, Timestamp::ZERO).next() else { panic!() };
        for (before, after) in views.iter().zip(moved.messages().map(Result::unwrap)) {
            prop_assert_eq!(after.check, Some(before.check_for(topic)));
            prop_assert!(before.check.is_none_or(|check| after.check == Some(check)));
            prop_assert!(after.verify(topic));
            prop_assert_eq!(moved.messages_from(before.offset).next().unwrap().unwrap().payload, before.payload);
        }
        // And once more, from where it was moved to.
        let again: Vec<_> = moved.messages().map(Result::unwrap).collect();
        prop_assert_eq!(encoded(&Event::Move(Published::moved(topic, &again))), body);
    }

    #[test]
    fn no_bytes_make_it_panic(body in vec(any::<u8>(), 0..200)) {
        exhaust(&body);
    }

    #[test]
    fn no_bytes_of_a_known_kind_make_it_panic(
        at in 0usize..64, body in vec(prop_oneof![any::<u8>(), 0u8..4], 0..120),
    ) {
        let goldens = all();
        let kind = goldens[at % goldens.len()].1[0];
        let mut event = vec![kind];
        if kind > 0x0f {
            wire::put_varint(&mut event, (body.len() as u64) << 1);
        }
        event.extend_from_slice(&body);
        exhaust(&event);
    }
}

/// The event `kind` with this body, marked as safe to skip or not.
fn raw(kind: u8, body: &[u8], skippable: bool) -> Vec<u8> {
    let mut out = vec![kind];
    wire::put_measured(&mut out, |length| length << 1 | u64::from(skippable), |out| out.extend_from_slice(body));
    out
}

/// Kind and body of every golden event that has a length.
fn golden_bodies() -> Vec<(&'static str, u8, Vec<u8>)> {
    let with_length = all().into_iter().filter(|(_, bytes)| (0x10..0xEF).contains(&bytes[0]));
    with_length
        .map(|(name, bytes)| {
            let mut reader = wire::Reader::new(&bytes[1..]);
            reader.varint().unwrap();
            (name, bytes[0], reader.rest().to_vec())
        })
        .collect()
}

#[test]
fn an_unknown_kind_is_skipped_only_if_it_says_so() {
    let seek = Event::Seek(Seek { group: GroupId::new(1), to: Offset::new(2) });
    let mut body = raw(0xAB, b"from the future", true);
    encode(&seek, &mut body);
    assert_eq!(read(&body), [Ok(Event::Unknown { kind: 0xAB }), Ok(seek.clone())]);
    let mut body = encoded(&seek);
    body.extend(raw(0xAB, b"from the future", false));
    encode(&seek, &mut body);
    assert_eq!(read(&body), [Ok(seek), Err(DecodeError::UnknownKind(0xAB))]);
    for kind in [0x00, 0x03, 0x0F, 0xF0, 0xFF] {
        assert_eq!(read(&raw(kind, b"", true)), [Err(DecodeError::UnknownKind(kind))]);
    }
    assert_eq!(read(&[0; 32]), [Err(DecodeError::UnknownKind(0))]);
    assert_eq!(read(b""), []);
}

#[test]
fn a_message_alone_stands_before_and_behind_nothing() {
    let message = Message::new("x");
    let alone = written(&Draft::one(TOPIC, &message), Offset::ZERO, BASE);
    let mut body = encoded(&Event::DropTopic(DropTopic { topic: TOPIC }));
    body.extend_from_slice(&alone);
    assert!(matches!(read(&body)[..], [Ok(Event::DropTopic(_)), Err(DecodeError::BadValue { value: 1, .. })]));
}

#[test]
fn a_body_with_fields_of_a_newer_release_reads_the_same() {
    for (name, kind, mut body) in golden_bodies() {
        // The last fields of `opened` and of an ack are left out if they are zero; others here have them.
        if ["snapshot_part", "opened", "ack_one", "ack_processed"].contains(&name) {
            continue;
        }
        let old = raw(kind, &body, false);
        body.extend_from_slice(&[1, 0xff, 0]);
        assert_eq!(read(&raw(kind, &body, false)), read(&old), "{name}");
    }
}

#[test]
fn a_body_of_an_older_release_reads_as_zeros() {
    let nack = Nack {
        group: GroupId::new(5),
        offset: Offset::new(6),
        counters: Counters { leases: 1, ..Counters::default() },
        time: Timestamp::ZERO,
        due: Timestamp::ZERO,
        error: "".into(),
    };
    assert_eq!(read(&raw(0x44, &[5, 6, 1], false)), [Ok(Event::Nack(nack))]);
    let pause = Pause { group: GroupId::new(5), until: Timestamp::ZERO };
    assert_eq!(read(&raw(0x4B, &[5], false)), [Ok(Event::Pause(pause))]);
    let release = Release {
        group: GroupId::new(5),
        runs: vec![Run::one(Offset::new(7))].into(),
        due: Timestamp::ZERO,
        counters: None,
    };
    assert_eq!(read(&raw(0x45, &[5, 1, 7, 1], false)), [Ok(Event::Release(release))]);
    // An event without any field reads as well: its zeros name nothing.
    assert_eq!(read(&raw(0x32, &[], false)), [Ok(Event::DropTopic(DropTopic { topic: TopicId::ZERO }))]);
}

#[test]
fn whatever_is_cut_off_is_an_error_or_less_and_never_a_panic() {
    for (name, bytes) in all() {
        for len in 1..bytes.len() {
            let cut = &bytes[..len];
            exhaust(cut);
            if bytes[0] > 0x0f {
                // The length says that something is missing.
                assert_eq!(read(cut), [Err(DecodeError::Truncated)], "{name} cut to {len}");
            }
        }
    }
    for (name, kind, body) in golden_bodies() {
        for len in 0..body.len() {
            let cut = raw(kind, &body[..len], false);
            exhaust(&cut);
            if kind == 0x10 || kind == 0x11 {
                assert_eq!(read(&cut), [Err(DecodeError::Truncated)], "body of {name} cut to {len}");
            }
        }
    }
}

#[test]
fn no_changed_byte_makes_it_panic() {
    for (_, bytes) in all() {
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            for value in 0..=255 {
                bytes[at] = value;
                exhaust(&bytes);
            }
        }
    }
}

#[test]
fn an_absurd_count_is_refused_before_anything_is_reserved() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let with_count = |before: &[u8]| [before, &huge, &[1; 8]].concat();
    // Where a count stands: messages, moved messages, settings, values, runs, processed ids, text.
    let places: [(u8, &[u8]); 9] = [
        (0x10, &[1]),
        (0x11, &[1]),
        (0x31, &[1]),
        (0x31, &[1, 1, 1]),
        (0x43, &[3]),
        (0x43, &[3, 0]),
        (0x4A, &[3]),
        (0x23, &[]),
        (0x20, &[1, 1]),
    ];
    for (kind, before) in places {
        let body = raw(kind, &with_count(before), false);
        assert!(matches!(read(&body)[..], [Err(_)]), "{kind:#04x} {before:?}: {:?}", read(&body));
    }
    assert_eq!(read(&[&[0x20][..], &huge].concat()), [Err(DecodeError::Truncated)]);
    // A head that announces more than there is, and heads whose sum is too large for any number.
    assert_eq!(read(&raw(0x10, &[&[1, 1][..], &huge, &[0; 40]].concat(), false)), [Err(DecodeError::Truncated)]);
    let heads = [&[1, 4][..], &huge, &huge, &huge, &huge, &[0; 40]].concat();
    assert_eq!(read(&raw(0x10, &heads, false)), [Err(DecodeError::Truncated)]);
}

#[test]
fn what_can_not_be_is_an_error() {
    let refused = |kind, body: &[u8]| matches!(read(&raw(kind, body, false))[..], [Err(DecodeError::BadBody { .. })]);
    assert!(refused(0x49, &[3, 0, 99]), "a cause that no release had");
    assert!(refused(0x46, &[3, 7, 99]), "a reason that no release had");
    assert!(refused(0x4A, &[3, 1, 7, 0]), "a run without offsets");
    assert!(refused(0x31, &[1, 1, 0, 0]), "a setting without a tag");
    assert!(refused(0x31, &[1, 2, 1, 0]), "a list of settings that is cut off");
    assert!(refused(0x20, &[1, 1, 0, 2]), "a flag that is neither");
    assert!(refused(0x23, &[1, 0xff]), "text that is not text");
    let past_the_end = [&[3, 1][..], &[0xff; 9], &[1, 1]].concat();
    assert!(refused(0x4A, &past_the_end), "a run past the largest offset");
}

#[test]
fn a_stamp_has_one_form() {
    let stamped = |stamp: &[u8]| read(&[&[1, 1, b'x'][..], stamp].concat()).remove(0).is_ok();
    assert!(stamped(&[0]) && stamped(&[5, 1]) && stamped(&[5, 6, 0x11]));
    assert!(!stamped(&[0, 1]), "a leading zero");
    assert!(!stamped(&[9]), "nine bytes of offset");
    assert!(!stamped(&[0x90]), "nine bytes of time");
    assert!(!stamped(&[8]), "more than there is");
    assert!(!stamped(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 8]), "an offset with none after it");
}

#[test]
fn a_check_holds_for_its_topic_offset_attributes_and_payload_only() {
    let messages = [Message::new("payload").key("key"), Message::new("payload")];
    let body = written(&Draft::batch(TOPIC, &messages), Offset::new(10), BASE);
    let views: Vec<_> = only_publish(&body).messages().map(Result::unwrap).collect();
    for view in &views {
        assert!(view.verify(TOPIC));
        assert!(!view.verify(TopicId::new(2)));
        assert!(!MessageView { offset: view.offset.next(), ..*view }.verify(TOPIC));
        assert!(!MessageView { payload: b"paylord", ..*view }.verify(TOPIC));
        assert!(MessageView { check: None, ..*view }.verify(TopicId::new(2)), "its frame's checksum stands for it");
    }
    assert!(!MessageView { prefix: b"\x05\x02\x03kez", ..views[0] }.verify(TOPIC));
    // The same bytes, taken for payload as a whole.
    let content = [views[0].prefix, views[0].payload].concat();
    assert!(!MessageView { prefix: b"", attributes: None, payload: &content, ..views[0] }.verify(TOPIC));
}

#[test]
fn a_record_shares_the_buffer_it_was_read_from() {
    let message = Message::new("payload").id("id").key("key").header("name", "value");
    let body = Bytes::from(written(&Draft::one(TOPIC, &message), Offset::ZERO, BASE));
    let view = only_publish(&body).messages().next().unwrap().unwrap();
    let within = |part: &Bytes| body.as_ptr_range().contains(&part.as_ptr());
    let record = view.record(&body).unwrap();
    let attributes = record.attributes.as_ref().unwrap();
    assert!(within(&record.payload) && within(attributes.id.as_ref().unwrap()));
    assert!(within(attributes.key.as_ref().unwrap()) && within(&attributes.headers[0].1));
    // From another buffer it is a copy, not a panic.
    let elsewhere = Bytes::from_static(b"elsewhere");
    assert_eq!(view.record(&elsewhere).unwrap(), record);
}

#[test]
fn a_plain_message_costs_at_most_eight_bytes_and_no_allocation() {
    let message = Message::new(vec![7u8; 100]);
    let draft = Draft::one(TOPIC, &message);
    let body = written(&draft, Offset::new(1000), Timestamp::new(BASE.get() + 500));
    assert!(body.len() <= 108, "{}", body.len());
    assert!(!draft.allocates());
}

#[test]
fn batches_around_the_length_up_to_which_they_are_gathered_have_the_same_bytes() {
    for (count, length) in [(1, 512), (1, 513), (128, 512), (129, 512), (40, 5000), (3, 0)] {
        let messages: Vec<Message> = (0..count).map(|at| Message::new(vec![at; length])).collect();
        let draft = Draft::batch(TopicId::new(3), &messages);
        let (first, time) = (Offset::new(7), Timestamp::new(1_700_000_000_000));
        let body = Bytes::from(written(&draft, first, time));
        assert_eq!(draft.crc(&draft.stamp(first, time, BASE)), crc32fast::hash(&body), "{count} of {length}");
        check_messages(&only_publish(&body), &messages, &body, first, time);
        assert_eq!(encoded(&Event::Publish(draft.published(first, time))), body, "{count} of {length}");
    }
}
