//! Topics: where messages lie, names and numbers, what makes no sense, liveness.

use super::*;

fn topic(world: &World) -> &Topic {
    world.state.topic(TOPIC).unwrap()
}

fn at(segment: u32) -> Lsn {
    Lsn::new(SegmentId(segment), Position(4096))
}

/// Ten messages in segment 100, ten in 101.
fn two_segments() -> World {
    let mut world = World::with(0);
    world.state.apply(at(100), &publish(TOPIC, 0, 4));
    world.state.apply(at(100), &publish(TOPIC, 4, 6));
    world.state.apply(at(101), &publish(TOPIC, 10, 10));
    world.frames = 200 * 50;
    world
}

#[test]
fn extents_say_in_which_segment_a_message_lies() {
    let world = two_segments();
    let segments = [0, 9, 10, 19, 20].map(|offset| topic(&world).extent_of(Offset(offset)).map(SegmentId::get));
    assert_eq!(segments, [Some(100), Some(100), Some(101), Some(101), None]);
    assert_eq!((topic(&world).extents().count(), topic(&world).end()), (2, Offset(20)));
}

#[test]
fn a_moved_message_lies_where_it_was_moved_to() {
    let mut world = two_segments();
    world.state.apply(at(102), &Event::Move(Published::bare(TOPIC, Offset(3), 2, Timestamp(2), 200)));
    assert_eq!(topic(&world).extent_of(Offset(4)), Some(SegmentId(102)));
    assert_eq!(topic(&world).extent_of(Offset(5)), Some(SegmentId(100)));
    world.apply(&Event::SegmentRetired(SegmentRetired { segment: SegmentId(100) }));
    assert_eq!(topic(&world).extent_of(Offset(5)), None);
    assert_eq!(topic(&world).extent_of(Offset(3)), Some(SegmentId(102)));
    assert_eq!(world.state.earliest(topic(&world)), Offset(3));
}

#[test]
fn a_publish_that_is_there_already_changes_nothing() {
    let mut world = two_segments();
    world.state.apply(at(103), &publish(TOPIC, 5, 10));
    assert_eq!(topic(&world).end(), Offset(20));
}

#[test]
fn liveness_shares_out_what_somebody_needs() {
    let mut world = two_segments();
    let live = |world: &World| [100, 101].map(|segment| world.state.live()[&SegmentId(segment)].bytes);
    assert_eq!(live(&world), [1000, 1000]);
    world.apply(&ack(GROUP, &[run(0, 5), run(8, 4)]));
    assert_eq!(live(&world), [300, 800]);
    world.apply(&create_group(GroupId(2), TOPIC, 5));
    assert_eq!(live(&world), [500, 1000], "the other group needs more");
    world.apply(&ack(GroupId(2), &[run(5, 14)]));
    assert_eq!(live(&world), [300, 800]);
    world.bury(6, BuryReason::Asked, "");
    assert_eq!(live(&world), [300, 800], "a dead letter is needed");
    let runs = Cow::Owned(vec![run(5, 2)]);
    world.apply(&Event::Dropped(Dropped { topic: TOPIC, runs, cause: Cause::Age }));
    assert_eq!(live(&world), [100, 800], "what was dropped is not, dead or not");
    assert_eq!(world.state.needed_messages(topic(&world)), 9);
    assert_eq!((topic(&world).dropped(Cause::Age), world.state.is_gone(topic(&world), Offset(6))), (2, true));
}

#[test]
fn a_topic_without_groups_needs_all_but_what_was_dropped() {
    let mut world = two_segments();
    world.apply(&Event::DropGroup(DropGroup { group: GROUP }));
    assert_eq!(world.state.needed_messages(topic(&world)), 20);
    let runs = Cow::Owned(vec![run(0, 12)]);
    world.apply(&Event::Dropped(Dropped { topic: TOPIC, runs, cause: Cause::Count }));
    assert_eq!(world.state.needed_messages(topic(&world)), 8);
    assert_eq!(world.state.earliest(topic(&world)), Offset(12));
}

#[test]
fn numbers_are_given_once_also_after_drops() {
    let mut world = World::with(0);
    assert_eq!((world.state.next_topic(), world.state.next_group()), (TopicId(2), GroupId(2)));
    world.apply(&Event::DropTopic(DropTopic { topic: TOPIC }));
    assert_eq!((world.state.next_topic(), world.state.next_group()), (TopicId(2), GroupId(2)));
    assert_eq!((world.state.topic_named("orders"), world.state.groups().count()), (None, 0));
    world.apply(&create_topic(TopicId(2), "orders"));
    assert_eq!(world.state.topic_named("orders"), Some(TopicId(2)));
    world.apply(&create_group(GroupId(2), TopicId(2), 0));
    assert_eq!(world.state.group_named(TopicId(2), "group 2"), Some(GroupId(2)));
    assert_eq!(world.state.topic(TopicId(2)).unwrap().groups(), [GroupId(2)]);
}

#[test]
fn events_about_what_is_not_there_are_ignored() {
    let mut world = World::with(3);
    let before = world.state.encode_part(PartId::Group(GROUP)).unwrap();
    let (nobody, nowhere) = (GroupId(9), TopicId(9));
    let (counters, one) = (Counters::default(), [run(0, 1)]);
    let events = [
        publish(nowhere, 0, 5),
        create_group(GroupId(8), nowhere, 0),
        Event::DropTopic(DropTopic { topic: nowhere }),
        Event::DropGroup(DropGroup { group: nobody }),
        ack(nobody, &one),
        nack(nobody, 0, counters, 0, ""),
        release(nobody, &one, 0),
        bury(nobody, 0, BuryReason::Asked, counters, 0, ""),
        redrive(nobody, &one),
        seek(nobody, 1),
        delivered(nobody, &one),
        pause(nobody, 1),
        Event::SnapshotPart(b"nonsense"),
        Event::Unknown { kind: 0xEF },
    ];
    for event in &events {
        world.apply(event);
    }
    assert_eq!(world.state.encode_part(PartId::Group(GROUP)).unwrap(), before);
    assert_eq!((world.state.topics().count(), world.state.groups().count()), (1, 1));
    assert_eq!(world.state.next_group(), GroupId(9), "but a number that was named is taken");
}

#[test]
fn runs_without_bounds_cost_nothing() {
    let mut world = World::with(3);
    let all = run(1, u64::MAX);
    world.apply(&release(GROUP, &[all], 0));
    world.apply(&ack(GROUP, &[all]));
    world.apply(&redrive(GROUP, &[all]));
    world.apply(&Event::Dropped(Dropped { topic: TOPIC, runs: Cow::Owned(vec![all, all]), cause: Cause::Age }));
    assert_eq!(world.group().settled().floor(), Offset(0));
    assert!(world.group().settled().above().heap_bytes() < 20_000);
    world.apply(&ack(GROUP, &[run(0, u64::MAX)]));
    assert_eq!(world.lease(0, 9), [0; 0]);
}

#[test]
fn one_event_never_names_more_than_a_million_deliveries() {
    let mut world = World::with(3);
    world.apply(&delivered(GROUP, &[run(0, u64::MAX), run(5, u64::MAX)]));
    assert_eq!(world.state.group(GROUP).unwrap().handed.len(), 1 << 20);
}

#[test]
fn values_are_set_and_removed() {
    let mut world = World::with(0);
    let set =
        |value: Option<&'static [u8]>| Event::SetValue(SetValue { key: "mark".into(), value: value.map(Into::into) });
    world.apply(&set(Some(b"7")));
    world.apply(&set(Some(b"seven")));
    assert_eq!(world.state.value("mark"), Some(b"seven".as_slice()));
    assert_eq!(world.state.value_bytes(), 4 + 5 + 64);
    world.apply(&set(Some(b"")));
    assert_eq!(world.state.value("mark"), Some(b"".as_slice()), "empty is a value too");
    world.apply(&set(None));
    assert_eq!((world.state.value("mark"), world.state.value_bytes()), (None, 0));
}
