//! The same journal gives the same state: from its beginning, and from any snapshot of it.

use super::*;
use proptest::prelude::*;

/// What happens next; numbers are brought into the range of what there is.
#[derive(Clone, Debug)]
enum Step {
    CreateTopic {
        name: u8,
    },
    DropTopic {
        topic: u32,
    },
    CreateGroup {
        topic: u32,
        start: u64,
    },
    DropGroup {
        group: u32,
    },
    Publish {
        topic: u32,
        count: u64,
    },
    /// One message that is delayed, or has a deliver-at, and expires.
    PublishLater {
        topic: u32,
        at: u64,
        wall: bool,
    },
    Move {
        topic: u32,
        first: u64,
        count: u64,
    },
    Retire {
        segment: u32,
    },
    DropMessages {
        topic: u32,
        run: Run,
    },
    Open {
        boot: bool,
        clean: bool,
    },
    Group {
        group: u32,
        what: What,
    },
    /// A message is parked and a copy of it published: two events in one frame.
    Forward {
        group: u32,
        offset: u64,
        topic: u32,
    },
    SetValue {
        key: u8,
        value: u8,
    },
    Configure {
        topic: u32,
        group: u32,
        limit: u64,
    },
    Trust {
        upto: u64,
    },
    /// Only what is volatile changes: it must leave no trace in what is durable.
    Lease {
        group: u32,
        max: usize,
        take_back: bool,
    },
    Begin {
        turned: usize,
    },
    Capture,
}

#[derive(Clone, Debug)]
enum What {
    Ack(Run),
    Settle(Run),
    Nack { offset: u64, counters: u32, due: u64 },
    Release { run: Run, due: u64, counters: Option<u32> },
    Bury { offset: u64, life: u32 },
    Redrive(Run),
    Seek(u64),
    Delivered(Run),
    Pause(u64),
}

fn what() -> impl Strategy<Value = What> {
    let runs = || (0..40u64, 1..6u64).prop_map(|(first, count)| run(first, count));
    let due = || prop_oneof![Just(0), 0..100u64];
    prop_oneof![
        6 => runs().prop_map(What::Ack),
        1 => runs().prop_map(What::Settle),
        4 => (0..40u64, 0..9u32, due()).prop_map(|(offset, counters, due)| What::Nack { offset, counters, due }),
        3 => (runs(), due(), prop::option::of(0..9u32))
            .prop_map(|(run, due, counters)| What::Release { run, due, counters }),
        2 => (0..40u64, 0..3u32).prop_map(|(offset, life)| What::Bury { offset, life }),
        2 => runs().prop_map(What::Redrive),
        1 => (0..40u64).prop_map(What::Seek),
        6 => runs().prop_map(What::Delivered),
        1 => due().prop_map(What::Pause),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let runs = || (0..40u64, 1..9u64).prop_map(|(first, count)| run(first, count));
    prop_oneof![
        2 => (0..3u8).prop_map(|name| Step::CreateTopic { name }),
        1 => any::<u32>().prop_map(|topic| Step::DropTopic { topic }),
        3 => (any::<u32>(), 0..10u64).prop_map(|(topic, start)| Step::CreateGroup { topic, start }),
        1 => any::<u32>().prop_map(|group| Step::DropGroup { group }),
        6 => (any::<u32>(), 0..9u64).prop_map(|(topic, count)| Step::Publish { topic, count }),
        2 => (any::<u32>(), 0..100u64, any::<bool>())
            .prop_map(|(topic, at, wall)| Step::PublishLater { topic, at, wall }),
        1 => (any::<u32>(), 0..20u64, 1..5u64).prop_map(|(topic, first, count)| Step::Move { topic, first, count }),
        1 => (1..4u32).prop_map(|segment| Step::Retire { segment }),
        1 => (any::<u32>(), runs()).prop_map(|(topic, run)| Step::DropMessages { topic, run }),
        2 => any::<(bool, bool)>().prop_map(|(boot, clean)| Step::Open { boot, clean }),
        40 => (any::<u32>(), what()).prop_map(|(group, what)| Step::Group { group, what }),
        4 => (any::<u32>(), 0..40u64, any::<u32>())
            .prop_map(|(group, offset, topic)| Step::Forward { group, offset, topic }),
        1 => (0..3u8, 0..3u8).prop_map(|(key, value)| Step::SetValue { key, value }),
        1 => (any::<u32>(), any::<u32>(), 1..4u64)
            .prop_map(|(topic, group, limit)| Step::Configure { topic, group, limit }),
        1 => any::<u64>().prop_map(|upto| Step::Trust { upto }),
        8 => (any::<u32>(), 1..6usize, any::<bool>())
            .prop_map(|(group, max, take_back)| Step::Lease { group, max, take_back }),
        4 => (0..9usize).prop_map(|turned| Step::Begin { turned }),
        14 => Just(Step::Capture),
    ]
}

/// A snapshot and where the journal goes on from.
struct Snapshot {
    begin: Lsn,
    missing: Vec<PartId>,
    pieces: Vec<(Lsn, Vec<u8>)>,
}

impl Snapshot {
    fn capture(&mut self, state: &State, lsn: Lsn) {
        if let Some(part) = self.missing.pop() {
            let pieces = state.encode_part(part).unwrap().unwrap_or_default();
            self.pieces.extend(pieces.into_iter().map(|piece| (lsn, piece)));
        }
    }

    fn restore(&self, journal: &[(Lsn, Event<'static>)]) -> State {
        let mut state = State::default();
        for (lsn, piece) in &self.pieces {
            state.restore_piece(*lsn, piece).unwrap();
        }
        state.restored().unwrap();
        for (lsn, event) in journal.iter().filter(|(lsn, _)| *lsn >= self.begin) {
            state.apply(*lsn, event);
        }
        assert_whole(&state);
        state
    }
}

/// Everything that is durable, as bytes.
fn image(state: &State) -> Vec<(PartId, Vec<Vec<u8>>)> {
    let parts = state.snapshot_parts().into_iter();
    parts.map(|part| (part, state.encode_part(part).unwrap().unwrap())).collect()
}

/// What an engine would see after the next opening: what follows from the durable half is in order, too.
fn outlook(state: &mut State, crashed: bool) -> String {
    state.apply(lsn(100_000), &opened(99, state.boot_id().to_owned().as_str(), !crashed));
    let topics: Vec<_> = state.topics().map(|topic| (topic.clone(), state.topic_named(topic.name()))).collect();
    let mut seen = String::new();
    for (mut topic, named) in topics {
        topic.applied = Lsn::ZERO;
        seen += &format!("{topic:?} {named:?} {:?}\n", state.needed_messages(&topic));
        for id in topic.groups() {
            let group = state.group(*id).unwrap();
            let policy = group.policy().clone();
            // What a set takes depends on its history, not what is in it.
            let counts = GroupCounts { settled_heap_bytes: 0, ..state.counts(group, Timestamp(50), END) };
            let picks = state.pick(*id, Timestamp(50), topic.end(), 9);
            seen += &format!("{policy:?} {counts:?} {picks:?}\n");
        }
    }
    seen + &format!("{:?} {:?}", state.next_topic(), state.next_group())
}

/// Only the engine's one promise is kept here: numbers of topics and groups are given once.
fn event_of(state: &State, step: &Step) -> Option<Event<'static>> {
    let topic = |wish: u32| TopicId(1 + wish % state.next_topic().0);
    let group = |wish: u32| GroupId(1 + wish % state.next_group().0);
    let runs = |run: &Run| Cow::Owned(vec![*run]);
    Some(match step {
        Step::CreateTopic { name } => {
            let name = Cow::Owned(format!("topic {name}"));
            let (topic, settings) = (state.next_topic(), Patch::new());
            Event::CreateTopic(CreateTopic { topic, time: Timestamp(1), name, settings })
        }
        Step::DropTopic { topic: wish } => Event::DropTopic(DropTopic { topic: topic(*wish) }),
        Step::CreateGroup { topic: wish, start } => create_group(state.next_group(), topic(*wish), *start),
        Step::DropGroup { group: wish } => Event::DropGroup(DropGroup { group: group(*wish) }),
        Step::Publish { topic: wish, count } => {
            let end = state.topic(topic(*wish)).map_or(Offset::ZERO, Topic::end);
            publish(topic(*wish), end.0, *count)
        }
        Step::PublishLater { topic: wish, at, wall } => {
            let end = state.topic(topic(*wish)).map_or(Offset::ZERO, Topic::end);
            publish_later(topic(*wish), end.0, *at, *wall)
        }
        Step::Move { topic: wish, first, count } => {
            Event::Move(Published::bare(topic(*wish), Offset(*first), *count, Timestamp(1), count * 100))
        }
        Step::Retire { segment } => Event::SegmentRetired(SegmentRetired { segment: SegmentId(*segment) }),
        Step::DropMessages { topic: wish, run } => {
            Event::Dropped(Dropped { topic: topic(*wish), runs: runs(run), cause: Cause::Bytes })
        }
        Step::Open { boot, clean } => {
            opened(state.incarnation().0 + 1, if *boot { "this boot" } else { "that boot" }, *clean)
        }
        Step::SetValue { key, value } => {
            let key = Cow::Owned(format!("key {key}"));
            Event::SetValue(SetValue {
                key,
                value: value.checked_sub(1).map(|length| Cow::Owned(vec![7; usize::from(length)])),
            })
        }
        Step::Configure { topic: on, group: of, limit } if limit % 2 == 0 => {
            let settings =
                vec![Setting { tag: 3, values: vec![*limit] }, Setting { tag: 99, values: vec![*on as u64] }];
            Event::ConfigureGroup(ConfigureGroup { group: group(*of), settings })
        }
        Step::Configure { topic: wish, limit, .. } => {
            let settings = vec![Setting { tag: 1, values: vec![*limit] }];
            Event::ConfigureTopic(ConfigureTopic { topic: topic(*wish), settings })
        }
        Step::Trust { upto } => Event::TablesTrusted(TablesTrusted { upto: Lsn::from_raw(*upto), checkpoint: [1; 16] }),
        Step::Group { group: wish, what } => group_event(group(*wish), what),
        Step::Forward { group: wish, offset, .. } => {
            group_event(group(*wish), &What::Bury { offset: *offset, life: 1 })
        }
        Step::Lease { .. } | Step::Begin { .. } | Step::Capture => return None,
    })
}

fn group_event(group: GroupId, what: &What) -> Event<'static> {
    let runs = |run: &Run| Cow::Owned(vec![*run]);
    let counters =
        |count: u32| Counters { leases: count, failures: count / 2, timeouts: count / 3, crashes: count / 4 };
    match what {
        What::Ack(run) => Event::Ack(Ack::done(group, runs(run))),
        What::Settle(run) => Event::Settle(Settle { group, runs: runs(run), cause: Cause::Purged }),
        What::Nack { offset, counters: count, due } => nack(group, *offset, counters(*count), *due, "no"),
        What::Release { run, due, counters: count } => {
            let (due, counters) = (Timestamp(*due), count.map(counters));
            Event::Release(Release { group, runs: runs(run), due, counters })
        }
        What::Bury { offset, life } => bury(group, *offset, BuryReason::Crashes, counters(*life), *life, "dead"),
        What::Redrive(run) => Event::Redrive(Redrive { group, runs: runs(run), time: Timestamp(5) }),
        What::Seek(to) => seek(group, *to),
        What::Delivered(run) => Event::Delivered(Delivered { group, runs: runs(run) }),
        What::Pause(until) => pause(group, *until),
    }
}

/// Leases, which no journal tells of.
fn lease(state: &mut State, wish: u32, max: usize, take_back: bool) {
    let Some(topic) = state.topics().nth(wish as usize % state.topics().count().max(1)) else { return };
    let (end, groups) = (topic.end(), topic.groups().to_vec());
    for id in groups {
        for pick in state.pick(id, Timestamp(50), end, max).into_iter().skip(usize::from(take_back)) {
            let lease = Lease { epoch: 1, granted: Timestamp(50), deadline: Timestamp(80) };
            state.grant(id, pick.offset, lease);
        }
        let group = state.group_mut(id).unwrap();
        for (offset, epoch) in group.expired(Timestamp(80), if take_back { max / 2 } else { 0 }) {
            assert!(group.forget_lease(offset, epoch));
        }
    }
}

/// Hands out and acks whatever there is: nothing that is open is ever forgotten.
fn assert_drains(state: &mut State) {
    let mut frame = 200_000;
    let topics: Vec<TopicId> = state.topics().map(Topic::id).collect();
    for topic in topics {
        while state.turn_schedule(topic, Timestamp(1000), Timestamp(1000)) {}
    }
    let groups: Vec<(GroupId, Offset)> =
        state.groups().map(|group| (group.id(), state.topic(group.topic()).unwrap().end())).collect();
    for (id, end) in groups {
        let group = state.group_mut(id).unwrap();
        for (offset, epoch) in group.expired(Timestamp(1000), usize::MAX) {
            group.forget_lease(offset, epoch);
        }
        let open: Vec<u64> = (0..end.0).filter(|offset| group.is_open(Offset(*offset))).collect();
        let mut drained = Vec::new();
        state.apply(lsn(frame), &pause(id, 0));
        loop {
            let picks = state.pick(id, Timestamp(1000), end, 3);
            if picks.is_empty() {
                break;
            }
            for pick in picks {
                frame += 1;
                drained.push(pick.offset.0);
                state.apply(lsn(frame), &ack(id, &[Run::one(pick.offset)]));
            }
        }
        drained.sort_unstable();
        assert_eq!(drained, open);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replay_from_any_snapshot_gives_the_state_that_never_stopped(
        steps in prop::collection::vec(step(), 1..250),
        crashed in any::<bool>(),
    ) {
        let (mut state, mut journal, mut frame) = (State::default(), Vec::new(), 0);
        let (mut snapshots, mut begun): (Vec<Snapshot>, Option<Snapshot>) = (Vec::new(), None);
        let set_up = [Step::CreateTopic { name: 0 }, Step::CreateGroup { topic: 0, start: 0 }];
        for step in set_up.iter().chain(&steps) {
            frame += 1;
            if let Some(event) = event_of(&state, step) {
                if matches!(event, Event::Opened(_)) {
                    begun = None; // a snapshot that was begun died with its process
                }
                state.apply(lsn(frame), &event);
                journal.push((lsn(frame), event));
            }
            if let Step::Forward { topic, .. } = step
                && let Some(copy) = event_of(&state, &Step::Publish { topic: *topic, count: 1 })
            {
                state.apply(lsn(frame), &copy);
                journal.push((lsn(frame), copy));
            }
            match step {
                Step::Lease { group, max, take_back } => lease(&mut state, *group, *max, *take_back),
                Step::Begin { turned } if begun.is_none() => {
                    let mut missing = state.snapshot_parts();
                    let turned = turned % missing.len();
                    missing.rotate_left(turned);
                    begun = Some(Snapshot { begin: lsn(frame), missing, pieces: Vec::new() });
                }
                Step::Capture => {
                    if let Some(snapshot) = &mut begun {
                        snapshot.capture(&state, lsn(frame));
                    }
                    snapshots.extend(begun.take_if(|snapshot| snapshot.missing.is_empty()));
                }
                _ => {}
            }
            assert_whole(&state);
        }
        if let Some(mut snapshot) = begun {
            while !snapshot.missing.is_empty() {
                frame += 1;
                snapshot.capture(&state, lsn(frame));
            }
            snapshots.push(snapshot);
        }
        // A snapshot of nothing, too: the journal from its beginning.
        snapshots.push(Snapshot { begin: Lsn::ZERO, missing: Vec::new(), pieces: Vec::new() });
        let expected = image(&state);
        let mut replayed: Vec<State> = snapshots.iter().map(|snapshot| snapshot.restore(&journal)).collect();
        for other in &replayed {
            prop_assert_eq!(image(other), expected.clone());
        }
        assert_drains(&mut replayed[0]);
        replayed.remove(0);
        let mut again = Snapshot { begin: Lsn::ZERO, missing: Vec::new(), pieces: Vec::new() }.restore(&journal);
        let expected = outlook(&mut again, crashed);
        for other in &mut replayed {
            prop_assert_eq!(outlook(other, crashed), expected.clone());
        }
        assert_drains(&mut state);
    }

    #[test]
    fn damaged_pieces_are_refused_without_a_panic(cut in 0..200usize, at in 0..200usize, flip in 1..=255u8) {
        let mut world = World::with(9);
        world.lease(0, 5);
        world.fail(1, 5, "error");
        world.bury(2, BuryReason::Asked, "error");
        world.ack(4);
        for (_, pieces) in image(&world.state) {
            let mut piece = pieces[0].clone();
            piece.truncate(cut);
            if let Some(byte) = piece.get_mut(at) {
                *byte ^= flip;
            }
            let _ = State::default().restore_piece(lsn(1), &piece);
        }
    }
}

#[test]
fn a_large_part_is_cut_into_pieces_that_have_to_be_whole() {
    let mut world = World::with(0);
    let large: Vec<u8> = (0..3_000_000_u32).map(|place| place.to_le_bytes()[1]).collect();
    world.apply(&Event::SetValue(SetValue { key: "large".into(), value: Some(Cow::Borrowed(&large)) }));
    let pieces = world.state.encode_part(PartId::Store).unwrap().unwrap();
    assert_eq!(pieces.len(), 3);
    assert!(pieces.iter().all(|piece| piece.len() <= MOST_PIECE));

    let mut state = State::default();
    state.restore_piece(lsn(5), &pieces[0]).unwrap();
    assert!(matches!(state.restore_piece(lsn(6), &pieces[2]), Err(PartError::Order { wanted: 1, found: 2, .. })));
    state.restore_piece(lsn(5), &pieces[0]).unwrap();
    state.restore_piece(lsn(6), &pieces[1]).unwrap();
    assert!(matches!(state.restored(), Err(PartError::Unfinished(PartId::Store))));
    for (frame, piece) in (5..).zip(&pieces) {
        state.restore_piece(lsn(frame), piece).unwrap();
    }
    state.restored().unwrap();
    assert_eq!(state.value("large"), Some(large.as_slice()));
    assert!(matches!(state.restore_piece(lsn(9), &[2; 20]), Err(PartError::Version(2))));
}

#[test]
fn a_part_that_is_gone_gives_no_pieces() {
    let mut world = World::with(0);
    let parts = world.state.snapshot_parts();
    assert_eq!(parts, [PartId::Store, PartId::Topic(TOPIC), PartId::Group(GROUP)]);
    world.apply(&Event::DropTopic(DropTopic { topic: TOPIC }));
    assert!(world.state.encode_part(PartId::Topic(TOPIC)).unwrap().is_none());
    assert!(world.state.encode_part(PartId::Group(GROUP)).unwrap().is_none());
}

#[test]
fn a_part_of_a_topic_that_was_written_before_there_were_schedules_can_still_be_read() {
    let world = World::with(5);
    let part = PartId::Topic(TOPIC);
    let mut pieces = world.state.encode_part(part).unwrap().unwrap();
    let piece = pieces.first_mut().unwrap();
    // Two empty lists of times, and that nothing expires.
    assert_eq!(piece.split_off(piece.len() - 3), [0, 0, 0]);
    let mut state = State::default();
    state.restore_piece(lsn(9), piece).unwrap();
    state.restored().unwrap();
    assert_eq!(state.encode_part(part).unwrap(), world.state.encode_part(part).unwrap());
}

#[test]
fn the_bytes_of_a_schedule_keep_their_form() {
    let mut world = World::with(1);
    world.apply(&publish_later(TOPIC, 1, 300, false));
    world.apply(&publish_later(TOPIC, 2, 100, true));
    world.apply(&publish_later(TOPIC, 3, 301, false));
    let pieces = world.state.encode_part(PartId::Topic(TOPIC)).unwrap().unwrap();
    // Counted: the delays (300, 1) and (301, 3), the deliver-at (100, 2); each time less the one before, each offset
    // less the one before, folded. Then that something expires, and that there are no priorities.
    assert!(pieces[0].ends_with(&[5, 0xac, 2, 2, 1, 4, 2, 100, 4, 1, 0]), "{:?}", pieces[0]);
}
