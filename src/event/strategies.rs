//! Events and messages of all kinds, for tests of what holds for all of them.

use super::golden::BASE;
use super::*;
use crate::message::{Attributes, Due, Message};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

prop_compose! {
    fn short_bytes()(bytes in vec(any::<u8>(), 0..40)) -> Bytes { bytes.into() }
}

prop_compose! {
    fn attributes()(
        id in option::of(short_bytes()),
        key in option::of(short_bytes()),
        headers in vec((".{0,5}", short_bytes()), 0..4),
        due in option::of((any::<u64>(), any::<bool>())),
        expiry in option::of(any::<u64>()),
        priority in prop_oneof![Just(0), any::<u8>()],
        content in prop_oneof![Just(0), any::<u32>()],
        id_hash in option::of(any::<[u8; 16]>()),
        payload_hash in option::of(any::<[u8; 16]>()),
    ) -> Attributes {
        let due = due.map(|(at, wall)| Due { at: Timestamp::new(at), wall });
        let expiry = expiry.map(Timestamp::new);
        let given = Attributes { id, key, headers, due, expiry, priority, ..Attributes::default() };
        Attributes { content, id_hash, payload_hash, ..given }
    }
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    let payload = prop_oneof![3 => vec(any::<u8>(), 0..60), 1 => vec(any::<u8>(), 60..400)];
    (payload, option::of(attributes())).prop_map(|(payload, attributes)| Message {
        payload: payload.into(),
        attributes: attributes.map(Box::new),
        durability: None,
    })
}

/// Numbers of all sizes, not mostly huge ones.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u32..64).prop_map(|(value, shift)| value >> shift)
}

pub(super) fn offset() -> impl Strategy<Value = Offset> {
    number().prop_map(|value| Offset::new(value.min(u64::MAX - 100)))
}

pub(super) fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![number().prop_map(Timestamp::new), (0u64..100_000).prop_map(|ms| Timestamp::new(BASE.get() + ms))]
}

pub(super) fn topic() -> impl Strategy<Value = TopicId> {
    (any::<u32>(), 0u32..32).prop_map(|(value, shift)| TopicId::new(value >> shift))
}

fn group() -> impl Strategy<Value = GroupId> {
    topic().prop_map(|topic| GroupId::new(topic.get()))
}

fn runs() -> impl Strategy<Value = Runs<'static>> {
    vec((0u64..1000, 1u64..1000), 0..6).prop_map(|gaps| {
        let mut end = Offset::ZERO;
        let run = |(gap, count)| {
            let run = Run { first: end.plus(gap), count };
            end = run.end();
            run
        };
        gaps.into_iter().map(run).collect::<Vec<_>>().into()
    })
}

fn counters() -> impl Strategy<Value = Counters> {
    any::<[u32; 4]>().prop_map(|[leases, failures, timeouts, crashes]| Counters { leases, failures, timeouts, crashes })
}

fn patch() -> impl Strategy<Value = Patch> {
    vec((1u16.., vec(any::<u64>(), 0..4)).prop_map(|(tag, values)| Setting { tag, values }), 0..4)
}

fn text() -> impl Strategy<Value = Cow<'static, str>> {
    ".{0,200}".prop_map(Cow::Owned)
}

fn cause() -> impl Strategy<Value = Cause> {
    (0u8..=10).prop_map(|number| Cause::try_from(number).unwrap())
}

fn reason() -> impl Strategy<Value = BuryReason> {
    (0u8..=5).prop_map(|number| BuryReason::try_from(number).unwrap())
}

fn store_event() -> impl Strategy<Value = Event<'static>> {
    prop_oneof![
        (number(), time(), text(), any::<bool>(), number()).prop_map(|(incarnation, time, boot_id, clean, doubted)| {
            Event::Opened(Opened { incarnation: Incarnation::new(incarnation), time, boot_id, clean, doubted })
        }),
        any::<u32>().prop_map(|segment| Event::SegmentRetired(SegmentRetired { segment: SegmentId::new(segment) })),
        (any::<u64>(), any::<[u8; 16]>()).prop_map(|(upto, checkpoint)| {
            Event::TablesTrusted(TablesTrusted { upto: Lsn::from_raw(upto), checkpoint })
        }),
        (text(), option::of(vec(any::<u8>(), 0..300)))
            .prop_map(|(key, value)| { Event::SetValue(SetValue { key, value: value.map(Into::into) }) }),
        (topic(), time(), text(), patch()).prop_map(|(topic, time, name, settings)| {
            Event::CreateTopic(CreateTopic { topic, time, name, settings })
        }),
        (topic(), patch()).prop_map(|(topic, settings)| Event::ConfigureTopic(ConfigureTopic { topic, settings })),
        topic().prop_map(|topic| Event::DropTopic(DropTopic { topic })),
        (topic(), runs(), cause()).prop_map(|(topic, runs, cause)| Event::Dropped(Dropped { topic, runs, cause })),
        (topic(), offset(), time(), any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(
            |(topic, offset, time, id_hash, payload_hash)| {
                Event::KeepId(KeepId { topic, offset, time, id_hash, payload_hash })
            }
        ),
        (group(), time(), any::<[u8; 16]>(), any::<u64>(), any::<u64>()).prop_map(
            |(group, time, id_hash, sequence, table)| {
                Event::KeepProcessed(KeepProcessed { group, time, id_hash, sequence, table })
            }
        ),
        (topic(), offset(), time(), any::<[u8; 16]>())
            .prop_map(|(topic, offset, time, id_hash)| { Event::ForgetId(ForgetId { topic, offset, time, id_hash }) }),
    ]
}

fn group_event() -> impl Strategy<Value = Event<'static>> {
    prop_oneof![
        (group(), topic(), time(), offset(), text(), patch()).prop_map(
            |(group, topic, time, start, name, settings)| {
                Event::CreateGroup(CreateGroup { group, topic, time, start, name, settings })
            }
        ),
        (group(), patch()).prop_map(|(group, settings)| Event::ConfigureGroup(ConfigureGroup { group, settings })),
        group().prop_map(|group| Event::DropGroup(DropGroup { group })),
        (group(), runs(), vec(any::<[u8; 16]>(), 0..4), time(), 1u64.., any::<u64>()).prop_map(
            |(group, runs, processed, time, sequence, table)| {
                if processed.is_empty() {
                    return Event::Ack(Ack { time, ..Ack::done(group, runs) });
                }
                Event::Ack(Ack { group, runs, processed: processed.into(), time, sequence, table })
            }
        ),
        (group(), offset(), counters(), time(), time(), text()).prop_map(
            |(group, offset, counters, time, due, error)| {
                Event::Nack(Nack { group, offset, counters, time, due, error })
            }
        ),
        (group(), runs(), time(), option::of(counters()))
            .prop_map(|(group, runs, due, counters)| { Event::Release(Release { group, runs, due, counters }) }),
        (group(), offset(), reason(), counters(), any::<u32>(), time(), text()).prop_map(
            |(group, offset, reason, counters, life, time, error)| {
                Event::Bury(Bury { group, offset, reason, counters, life, time, error })
            }
        ),
        (group(), runs(), time()).prop_map(|(group, runs, time)| Event::Redrive(Redrive { group, runs, time })),
        (group(), offset()).prop_map(|(group, to)| Event::Seek(Seek { group, to })),
        (group(), runs(), cause()).prop_map(|(group, runs, cause)| Event::Settle(Settle { group, runs, cause })),
        (group(), runs()).prop_map(|(group, runs)| Event::Delivered(Delivered { group, runs })),
        (group(), runs()).prop_map(|(group, runs)| Event::Unseen(Unseen { group, runs })),
        (group(), time()).prop_map(|(group, until)| Event::Pause(Pause { group, until })),
    ]
}

pub(super) fn any_event() -> impl Strategy<Value = Event<'static>> {
    prop_oneof![store_event(), group_event()]
}
