//! The format, pinned: every event in fixed bytes, both ways. A test that fails here says that files written by an
//! earlier release would be read differently: that takes a new kind, a field at the end, or a new format version, and
//! never a change of these lines.

use super::*;
use crate::config::{Durability, Retention, Retry, TopicSettings, WhenParked};
use crate::message::{Attributes, Due, Message};
use bytes::Bytes;
use std::time::Duration;

pub(super) const BASE: Timestamp = Timestamp::new(1_700_000_000_000);
const TIME: Timestamp = Timestamp::new(1_700_000_000_500);
pub(super) const TOPIC: TopicId = TopicId::new(1);
const GROUP: GroupId = GroupId::new(3);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded(event: &Event<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(event, &mut out);
    out
}

fn drafted(draft: &Draft<'_>, first: u64) -> Vec<u8> {
    let stamp = draft.stamp(Offset::new(first), TIME, BASE);
    let mut out = Vec::new();
    draft.write_into(&stamp, &mut out);
    assert_eq!(draft.crc(&stamp), crc32fast::hash(&out));
    out
}

fn runs(list: &[(u64, u64)]) -> Runs<'static> {
    list.iter().map(|&(first, count)| Run { first: Offset::new(first), count }).collect::<Vec<_>>().into()
}

const COUNTERS: Counters = Counters { leases: 4, failures: 3, timeouts: 2, crashes: 1 };

fn full_message() -> Message {
    let attributes = Attributes {
        id: Some(Bytes::from_static(b"id")),
        key: Some(Bytes::from_static(b"key")),
        headers: vec![("a".into(), Bytes::from_static(b"1")), ("b".into(), Bytes::new())],
        due: Some(Due { at: Timestamp::new(300), wall: false }),
        expiry: Some(Timestamp::new(1000)),
        priority: 7,
        content: 200,
        id_hash: Some([0x11; 16]),
        payload_hash: Some([0x22; 16]),
        ..Attributes::default()
    };
    Message { payload: Bytes::from_static(b"pay"), attributes: Some(Box::new(attributes)), durability: None }
}

fn wall_message() -> Message {
    let attributes = Attributes { due: Some(Due { at: Timestamp::new(5), wall: true }), ..Attributes::default() };
    Message { payload: Bytes::from_static(b"w"), attributes: Some(Box::new(attributes)), durability: None }
}

/// A test for each, named like the event, and all of them together in `all`.
macro_rules! golden {
    ($($name:ident: $bytes:expr => $hex:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let bytes: Vec<u8> = $bytes;
                assert_eq!(hex(&bytes), $hex.replace([' ', '\n'], ""));
                assert_whole(&bytes);
            }
        )*

        /// Every golden encoding, with its name.
        pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
            vec![$((stringify!($name), $bytes)),*]
        }
    };
}

/// The bytes are one event, which is encoded to the same bytes; a message alone becomes a batch that means the same.
fn assert_whole(bytes: &[u8]) {
    let decoded: Vec<_> = events(bytes, BASE).collect::<Result<_, _>>().unwrap();
    let [event] = decoded.as_slice() else { panic!("one event: {decoded:?}") };
    let again = encoded(event);
    if bytes[0] <= 0x0f {
        assert_eq!(events(&again, BASE).collect::<Vec<_>>(), [Ok(event.clone())]);
    } else {
        assert_eq!(hex(&again), hex(bytes));
    }
}

fn batch() -> Vec<Message> {
    vec![Message::new("one"), wall_message(), Message::new("")]
}

fn moved() -> Vec<u8> {
    let alone = drafted(&Draft::one(TOPIC, &Message::new("x")), 2);
    let messages = batch();
    let together = drafted(&Draft::batch(TOPIC, &messages), 300);
    let mut views = Vec::new();
    for event in events(&alone, BASE).chain(events(&together, TIME)) {
        let Ok(Event::Publish(published)) = event else { panic!("{event:?}") };
        views.extend(published.messages().map(Result::unwrap));
    }
    encoded(&Event::Move(Published::moved(TOPIC, &views)))
}

golden! {
    publish_one: drafted(&Draft::one(TOPIC, &Message::new("hello")), 1000) => "010168656c6c6fe803f40122";
    publish_one_at_zero: drafted(&Draft::one(TOPIC, &Message::new("")), 0) => "0101f40120";
    publish_one_with_attributes: drafted(&Draft::one(TopicId::new(300), &full_message()), 70_000) =>
        "02ac0238ef07026964036b65790201610131016200ac02e80707c8011111111111111111111111111111111122222222
         222222222222222222222222706179701101f40123";
    publish_batch: drafted(&Draft::batch(TOPIC, &batch()), 300) =>
        "105001030609006f6e6502100577a5acab473131730469d8173f2c01000000000000f469e5cf8b010000";
    move_batch: moved() =>
        "1158010402e8a7abfef9629350143302a90200a5acab470600003131730409000069d8173f00786f6e6502100577";
    opened: encoded(&Event::Opened(Opened {
        incarnation: Incarnation::new(2), time: TIME, boot_id: "boot".into(), clean: true, doubted: 0,
    })) => "201a02f4d395ffbc3104626f6f7401";
    opened_after_a_gap: encoded(&Event::Opened(Opened {
        incarnation: Incarnation::new(2), time: TIME, boot_id: "boot".into(), clean: true, doubted: 300,
    })) => "201e02f4d395ffbc3104626f6f7401ac02";
    segment_retired: encoded(&Event::SegmentRetired(SegmentRetired { segment: SegmentId::new(300) })) => "2104ac02";
    tables_trusted: encoded(&Event::TablesTrusted(TablesTrusted {
        upto: Lsn::from_raw(0x1_0000_1000), checkpoint: [0x33; 16],
    })) => "222a80a080801033333333333333333333333333333333";
    set_value: encoded(&Event::SetValue(SetValue { key: "k".into(), value: Some(b"\x00\xff"[..].into()) })) =>
        "230c016b010200ff";
    remove_value: encoded(&Event::SetValue(SetValue { key: "k".into(), value: None })) => "2306016b00";
    snapshot_part: encoded(&Event::SnapshotPart(b"\x01\x02\x03")) => "2406010203";
    create_topic: encoded(&Event::CreateTopic(CreateTopic {
        topic: TOPIC, time: TIME, name: "orders".into(),
        settings: topic_patch(&TopicSettings::default().durability(Durability::Disk)),
    })) => "302401f4d395ffbc31066f726465727301010102";
    configure_topic: encoded(&Event::ConfigureTopic(ConfigureTopic {
        topic: TOPIC, settings: topic_patch(&TopicSettings::default().durability(Durability::Os)),
    })) => "310a0101010101";
    configure_topic_retention: encoded(&Event::ConfigureTopic(ConfigureTopic {
        topic: TOPIC,
        settings: topic_patch(
            &TopicSettings::default()
                .expires_after(Duration::from_secs(60))
                .retention(Retention::until_settled().keep_count(0).max_age(Duration::from_secs(1)).max_bytes(299)),
        ),
    })) => "312201021406000001e907ac02001501e1d403";
    drop_topic: encoded(&Event::DropTopic(DropTopic { topic: TOPIC })) => "320201";
    dropped: encoded(&Event::Dropped(Dropped {
        topic: TOPIC, runs: runs(&[(5, 2), (10, 300)]), cause: Cause::Purged,
    })) => "33100102050203ac0206";
    create_group: encoded(&Event::CreateGroup(CreateGroup {
        group: GROUP, topic: TOPIC, time: TIME, start: Offset::new(300), name: "email".into(),
        settings: group_patch(
            &crate::config::Group::default()
                .lease(Duration::from_secs(30))
                .retry(Retry::exponential(Duration::from_secs(1), Duration::from_secs(600)).attempts(5))
                .max_timeouts(9)
                .max_crashes(3),
        ),
    })) => "40480301f4d395ffbc31ac0205656d61696c040101b0ea010203e807c0cf2405030109040103";
    configure_group: encoded(&Event::ConfigureGroup(ConfigureGroup {
        group: GROUP, settings: group_patch(&crate::config::Group::default().max_crashes(2)),
    })) => "410a0301040102";
    configure_group_order: encoded(&Event::ConfigureGroup(ConfigureGroup {
        group: GROUP,
        settings: group_patch(&crate::config::Group::default().ordered(WhenParked::Block).look_ahead(1000)),
    })) => "411203021e01021f01e807";
    bury_by_key: encoded(&Event::Bury(Bury {
        group: GROUP, offset: Offset::new(5), reason: BuryReason::KeyParked, counters: COUNTERS, life: 1, time: TIME,
        error: "".into(),
    })) => "461e0305050403020101f4d395ffbc3100";
    configure_group_dead_letters: encoded(&Event::ConfigureGroup(ConfigureGroup {
        group: GROUP,
        settings: group_patch(&crate::config::Group::default().keep_dead_letters(Some(Duration::from_secs(1)))),
    })) => "410c03011401e907";
    dropped_since_settled: encoded(&Event::Dropped(Dropped {
        topic: TOPIC, runs: runs(&[(0, 7)]), cause: Cause::Settled,
    })) => "330a0101000709";
    drop_group: encoded(&Event::DropGroup(DropGroup { group: GROUP })) => "420203";
    ack_one: encoded(&Event::Ack(Ack::done(GROUP, vec![Run::one(Offset::new(1000))].into()))) => "430e0301e807010000";
    ack_processed: encoded(&Event::Ack(Ack {
        group: GROUP, runs: runs(&[(0, 1), (1, 1)]), processed: vec![[0x44; 16], [0x55; 16]].into(), time: TIME,
        sequence: 300, table: 0,
    })) => "435e030200010001024444444444444444444444444444444455555555555555555555555555555555f4d395ffbc31ac02";
    ack_processed_in_a_shared_table: encoded(&Event::Ack(Ack {
        group: GROUP, runs: runs(&[(0, 1)]), processed: vec![[0x44; 16]].into(), time: TIME,
        sequence: 1, table: 300,
    })) => "433c030100010144444444444444444444444444444444f4d395ffbc3101ac02";
    nack: encoded(&Event::Nack(Nack {
        group: GROUP, offset: Offset::new(7), counters: COUNTERS, time: TIME, due: TIME.plus(Duration::from_secs(1)),
        error: "no".into(),
    })) => "442a030704030201f4d395ffbc31dcdb95ffbc31026e6f";
    release: encoded(&Event::Release(Release {
        group: GROUP, runs: runs(&[(7, 1)]), due: Timestamp::ZERO, counters: None,
    })) => "450c030107010000";
    release_with_counters: encoded(&Event::Release(Release {
        group: GROUP, runs: runs(&[(7, 1)]), due: TIME, counters: Some(COUNTERS),
    })) => "451e03010701f4d395ffbc310104030201";
    bury: encoded(&Event::Bury(Bury {
        group: GROUP, offset: Offset::new(7), reason: BuryReason::Crashes, counters: COUNTERS, life: 1, time: TIME,
        error: "no".into(),
    })) => "46220307030403020101f4d395ffbc31026e6f";
    redrive: encoded(&Event::Redrive(Redrive { group: GROUP, runs: runs(&[(7, 2)]), time: TIME })) =>
        "471403010702f4d395ffbc31";
    seek: encoded(&Event::Seek(Seek { group: GROUP, to: Offset::new(500) })) => "480603f403";
    settle: encoded(&Event::Settle(Settle { group: GROUP, runs: runs(&[(7, 2)]), cause: Cause::Expired })) =>
        "490a0301070200";
    delivered: encoded(&Event::Delivered(Delivered { group: GROUP, runs: runs(&[(0, 128), (200, 1)]) })) =>
        "4a0e03020080014801";
    unseen: encoded(&Event::Unseen(Unseen { group: GROUP, runs: runs(&[(200, 1)]) })) => "4c0a0301c80101";
    pause: encoded(&Event::Pause(Pause { group: GROUP, until: Timestamp::new(u64::MAX) })) =>
        "4b1603ffffffffffffffffff01";
    keep_id: encoded(&Event::KeepId(KeepId {
        topic: TOPIC, offset: Offset::new(1000), time: TIME, id_hash: [0x66; 16], payload_hash: [0x77; 16],
    })) => "605201e807f4d395ffbc316666666666666666666666666666666677777777777777777777777777777777";
    keep_processed: encoded(&Event::KeepProcessed(KeepProcessed {
        group: GROUP, time: TIME, id_hash: [0x88; 16], sequence: 300, table: 0,
    })) => "613403f4d395ffbc3188888888888888888888888888888888ac0200";
    forget_id: encoded(&Event::ForgetId(ForgetId {
        topic: TOPIC, offset: Offset::new(1000), time: TIME, id_hash: [0x66; 16],
    })) => "623201e807f4d395ffbc3166666666666666666666666666666666";
    unknown_that_may_be_skipped: encoded(&Event::Unknown { kind: 0xEF }) => "ef01";
}

#[test]
fn reasons_and_causes_keep_their_numbers() {
    let reasons: Vec<_> = (0..=255).filter_map(|number| BuryReason::try_from(number).ok()).collect();
    let named = [BuryReason::Asked, BuryReason::Failures, BuryReason::Timeouts, BuryReason::Crashes];
    assert_eq!(reasons[..4], named);
    assert_eq!(reasons[4..], [BuryReason::Unreadable, BuryReason::KeyParked]);
    assert!(reasons.iter().enumerate().all(|(number, &reason)| usize::from(u8::from(reason)) == number));
    let causes: Vec<_> = (0..=255).filter_map(|number| Cause::try_from(number).ok()).collect();
    let named = [Cause::Expired, Cause::Filtered, Cause::Age, Cause::Bytes, Cause::Count, Cause::Overflow];
    assert_eq!(causes[..6], named);
    assert_eq!(causes[6..], [Cause::Purged, Cause::Cancelled, Cause::Processed, Cause::Settled, Cause::Lost]);
    assert_eq!(causes, Cause::ALL);
    assert!(causes.iter().enumerate().all(|(number, &cause)| usize::from(u8::from(cause)) == number));
}
