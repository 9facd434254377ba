//! Priorities: the urgent first, order within a level, nobody starves, and a reopening changes none of it.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use millpond::testing::SimDisk;
use millpond::{
    Consumer, Delivery, Durability, Group, ManualClock, Message, Offset, Retention, Retry, Run, Start, Store,
    Timestamp, Topic, TopicSettings, WhenParked,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    disk: SimDisk,
    clock: ManualClock,
}

impl Bench {
    fn new() -> Self {
        Self { disk: SimDisk::new(5), clock: ManualClock::starting_at(Timestamp::new(1_000_000)) }
    }

    fn open(&self) -> (Store, Topic, Consumer) {
        self.open_with(TopicSettings::default().priorities(4))
    }

    fn open_with(&self, settings: TopicSettings) -> (Store, Topic, Consumer) {
        let options = Store::options().segment_bytes(32 << 10).first_segment_bytes(16 << 10);
        let options = options.durability(Durability::Os);
        let store = Store::open_simulated(&self.disk, self.clock.clone(), 1, options).unwrap();
        let topic = store.topic_with("orders", settings).unwrap();
        let retry = Retry::fixed(SECOND).without_jitter();
        let group = topic.consumer("email", Group::default().retry(retry).lease(3600 * SECOND)).unwrap();
        (store, topic, group)
    }
}

fn publish(topic: &Topic, levels: &[u8]) {
    let messages = levels.iter().map(|level| Message::new(vec![b'x'; 50]).priority(*level).key("k"));
    topic.publish_all(messages).wait().unwrap();
}

fn lease(group: &Consumer, max: usize) -> Vec<Delivery> {
    group.lease_many(max, Duration::ZERO).unwrap().collect()
}

fn offsets(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.offset().get()).collect()
}

/// One by one, each acked.
fn drain(group: &Consumer) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(next) = group.try_lease().unwrap() {
        all.push(next.offset().get());
        next.ack().wait().unwrap();
    }
    all
}

#[test]
fn the_urgent_go_first_and_each_level_in_its_order() {
    let bench = Bench::new();
    let (_store, orders, email) = bench.open();
    publish(&orders, &[0, 1, 3, 0, 2, 1, 3, 9, 0]);
    // What is above the highest level is of the highest.
    let held = lease(&email, 4);
    assert_eq!(offsets(&held), [2, 6, 7, 4]);
    // What failed goes first when it is due again, whatever its level.
    held.into_iter().for_each(|delivery| delivery.nack("no").wait().unwrap());
    bench.clock.advance(SECOND);
    assert_eq!(drain(&email), [2, 4, 6, 7, 1, 5, 0, 3, 8]);
    publish(&orders, &[0, 0, 3]);
    let urgent = email.lease().unwrap();
    publish(&orders, &[1, 3]);
    assert_eq!((urgent.offset(), urgent.record().priority()), (Offset::new(11), 3));
    assert_eq!(drain(&email), [13, 12, 9, 10]);
}

#[test]
fn a_topic_that_declares_none_goes_by_offset() {
    let bench = Bench::new();
    let (_store, orders, email) = bench.open_with(TopicSettings::default());
    publish(&orders, &[0, 3, 1]);
    assert_eq!(drain(&email), [0, 1, 2]);
}

#[test]
fn what_was_published_before_levels_were_declared_is_ordinary() {
    let bench = Bench::new();
    let (store, orders, email) = bench.open_with(TopicSettings::default());
    publish(&orders, &[3, 0]);
    store.topic_with("orders", TopicSettings::default().priorities(2)).unwrap();
    publish(&orders, &[0, 7]);
    assert_eq!(drain(&email), [3, 0, 1, 2]);
}

#[test]
fn a_message_that_is_given_back_is_as_urgent_as_it_was() {
    let bench = Bench::new();
    let (_store, orders, email) = bench.open();
    publish(&orders, &[0, 2, 1, 2]);
    let held = lease(&email, 3);
    assert_eq!(offsets(&held), [1, 3, 2]);
    // Given back, it is due at once, as any that comes again.
    held.into_iter().for_each(|delivery| delivery.release().wait().unwrap());
    let order = drain(&email);
    assert_eq!(order.last(), Some(&0));
    assert_eq!(order.len(), 4);
}

#[test]
fn delayed_messages_are_urgent_when_they_are_due() {
    let bench = Bench::new();
    let (_store, orders, email) = bench.open();
    orders.publish(Message::new("later").priority(3).delay(10 * SECOND)).wait().unwrap();
    publish(&orders, &[0, 1, 0, 1]);
    assert_eq!(offsets(&lease(&email, 1)), [2]);
    bench.clock.advance(10 * SECOND);
    let held = lease(&email, 3);
    assert_eq!(offsets(&held), [2, 0, 4], "a retry, then the one that fell due, then the next level");
}

#[test]
fn one_that_falls_due_behind_what_was_looked_at_is_not_passed_over() {
    let bench = Bench::new();
    let (_store, orders, email) = bench.open();
    publish(&orders, &[0, 0]);
    orders.publish(Message::new("later").priority(2).delay(10 * SECOND)).wait().unwrap();
    // Looking for the urgent went past the delayed one, and the cursor of the others did not.
    let first = email.lease().unwrap();
    assert_eq!(first.offset(), Offset::ZERO);
    bench.clock.advance(10 * SECOND);
    assert_eq!(offsets(&lease(&email, 4)), [2, 1]);
}

#[test]
fn levels_are_known_after_a_crash_and_from_a_snapshot() {
    let bench = Bench::new();
    let (store, orders, email) = bench.open();
    // Several segments, and so snapshots on the way.
    let levels: Vec<u8> = (0..3000_u32).map(|number| u8::try_from(number * 7 % 4).unwrap()).collect();
    for part in levels.chunks(50) {
        publish(&orders, part);
        while store.step_upkeep().unwrap() {}
        store.step_commit().unwrap();
    }
    let first = lease(&email, 100);
    email.ack_all(first).wait().unwrap();
    bench.disk.kill();
    drop((email, orders, store));
    let (store, _orders, email) = bench.open();
    // The record of hand-outs does not run ahead here, so nobody is a suspect for that.
    assert_eq!(store.recovery().suspects, 0);
    assert!(store.recovery().frames < 30, "most of it came from a snapshot: {:?}", store.recovery());
    let order = drain(&email);
    let mut expected: Vec<u64> = (0..3000).collect();
    expected.sort_by_key(|offset| (3 - levels[usize::try_from(*offset).unwrap()], *offset));
    assert_eq!(order, expected[100..]);
    store.close().unwrap();
}

#[test]
fn nothing_starves_for_longer_than_the_topic_says() {
    let bench = Bench::new();
    let settings = TopicSettings::default().priorities(2).priority_aging(60 * SECOND);
    let (store, orders, email) = bench.open_with(settings);
    publish(&orders, &[0, 0]);
    let mut low = Vec::new();
    // Each second one urgent message comes and one is handled: the others never have a turn of their own.
    for second in 0..120_u64 {
        publish(&orders, &[1]);
        while store.step_upkeep().unwrap() {}
        let next = email.try_lease().unwrap().unwrap();
        if next.offset() < Offset::new(2) {
            low.push((second, next.offset().get()));
        }
        next.ack().wait().unwrap();
        bench.clock.advance(SECOND);
    }
    assert_eq!(low.len(), 2);
    assert_eq!(low.iter().map(|(_, offset)| *offset).collect::<Vec<_>>(), [0, 1]);
    // A step of the upkeep later than said, at most.
    assert!(low.iter().all(|(second, _)| (60..=62).contains(second)), "{low:?}");
}

#[test]
fn a_group_that_seeks_goes_by_levels_again() {
    let bench = Bench::new();
    let settings = TopicSettings::default().priorities(3).retention(Retention::everything());
    let (_store, orders, email) = bench.open_with(settings);
    publish(&orders, &[0, 1, 2, 0, 1, 2]);
    let order = [2, 5, 1, 4, 0, 3];
    assert_eq!(drain(&email), order);
    email.seek(Start::Earliest).unwrap();
    assert_eq!(drain(&email), order);
    let other = orders.consumer("audit", Group::default()).unwrap();
    assert_eq!(drain(&other), order);
}

/// Levels and keys of the next messages, in the order of offsets.
fn publish_keyed(topic: &Topic, messages: &[(u8, &str)]) {
    let message =
        |(level, key): &(u8, &str)| Message::new(vec![b'x'; 50]).priority(*level).key(key.as_bytes().to_vec());
    topic.publish_all(messages.iter().map(message)).wait().unwrap();
}

#[test]
fn an_ordered_group_goes_by_the_level_of_the_first_of_each_key() {
    let bench = Bench::new();
    let (_store, orders, _) = bench.open();
    let group = Group::default().ordered(WhenParked::Skip).lease(3600 * SECOND);
    let pick = orders.consumer("pick", group).unwrap();
    publish_keyed(&orders, &[(0, "a"), (0, "b"), (3, "a"), (1, "c"), (2, "d"), (0, "c"), (3, "d")]);
    // What is urgent and behind another of its key waits for that one: a's at 2, d's at 6.
    let held = lease(&pick, 10);
    assert_eq!(offsets(&held), [4, 3, 0, 1]);
    held.into_iter().for_each(|delivery| delivery.ack().wait().unwrap());
    assert_eq!(offsets(&lease(&pick, 10)), [2, 6, 5]);
}

#[test]
fn an_ordered_group_finds_what_is_urgent_behind_a_long_backlog() {
    let bench = Bench::new();
    let (store, orders, _) = bench.open();
    let group = || Group::default().ordered(WhenParked::Skip).lease(3600 * SECOND);
    let pick = orders.consumer("pick", group()).unwrap();
    for n in 0..3000 {
        publish_keyed(&orders, &[(0, &format!("{}", n % 500))]);
    }
    publish_keyed(&orders, &[(2, "new"), (1, "newer")]);
    let first = pick.try_lease().unwrap().unwrap();
    assert_eq!(first.offset().get(), 3000);
    first.ack().wait().unwrap();
    store.close().unwrap();
    // After a reopening too, and for what comes later.
    let (_store, orders, _) = bench.open();
    let pick = orders.consumer("pick", group()).unwrap();
    assert_eq!(offsets(&lease(&pick, 2)), [3001, 0]);
    publish_keyed(&orders, &[(3, "newest")]);
    assert_eq!(offsets(&lease(&pick, 2)), [3002, 1]);
}

#[test]
fn runs_of_keys_begin_with_the_urgent_and_go_on_by_level() {
    let bench = Bench::new();
    let (_store, orders, _) = bench.open();
    let group = Group::default().ordered(WhenParked::Skip).lease(3600 * SECOND);
    let pick = orders.consumer("pick", group).unwrap();
    publish_keyed(&orders, &[(0, "a"), (0, "a"), (2, "b"), (2, "b"), (0, "b"), (1, "c")]);
    let runs = pick.lease_runs(4, Duration::ZERO).unwrap();
    let of = |run: Run| run.deliveries().iter().map(|delivery| delivery.offset().get()).collect::<Vec<_>>();
    let mut found: Vec<Vec<u64>> = runs.into_iter().map(of).collect();
    found.sort_unstable();
    assert_eq!(found, [vec![0], vec![2, 3], vec![5]]);
}

#[test]
fn in_an_ordered_group_nothing_starves_either() {
    let bench = Bench::new();
    let (store, orders, _) = bench.open_with(TopicSettings::default().priorities(4).priority_aging(60 * SECOND));
    let group = Group::default().ordered(WhenParked::Skip).lease(3600 * SECOND);
    let pick = orders.consumer("pick", group).unwrap();
    publish_keyed(&orders, &[(0, "a"), (1, "b")]);
    bench.clock.advance(61 * SECOND);
    publish_keyed(&orders, &[(3, "c"), (2, "d")]);
    while store.step_upkeep().unwrap() {}
    assert_eq!(offsets(&lease(&pick, 10)), [0, 1, 2, 3]);
}
