//! What stays, what leaves and why: expiry, rules, and where groups may go.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod expiry;

use millpond::testing::SimDisk;
use millpond::{
    Clock, Consumer, Durability, Group, ManualClock, Message, Notice, Offset, Removed, Retention, Retry, Start, Store,
    Timestamp, Topic, TopicSettings, What,
};
use std::collections::BTreeSet;
use std::time::Duration;

const BEGIN: u64 = 1_700_000_000_000;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

struct Bench {
    disk: SimDisk,
    clock: ManualClock,
    openings: u64,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self { disk: SimDisk::new(seed), clock: ManualClock::starting_at(Timestamp::new(BEGIN)), openings: 0 }
    }

    fn open(&mut self) -> Store {
        self.openings += 1;
        let options = Store::options().first_segment_bytes(32 << 10).segment_bytes(32 << 10);
        let options = options.durability(Durability::Os);
        Store::open_simulated(&self.disk, self.clock.clone(), self.openings, options).unwrap()
    }

    /// Power is cut, once everything is on the disk.
    fn crash(&mut self, store: Store) -> Store {
        store.sync().wait().unwrap();
        self.disk.crash();
        drop(store);
        self.open()
    }
}

fn topic(store: &Store, rules: Retention) -> Topic {
    store.topic_with("orders", TopicSettings::default().retention(rules)).unwrap()
}

fn group(topic: &Topic, name: &str) -> Consumer {
    topic.consumer(name, Group::default().retry(Retry::fixed(SECOND))).unwrap()
}

fn publish(topic: &Topic, count: u64) {
    for _ in 0..count {
        topic.publish("x".repeat(100)).wait().unwrap();
    }
}

fn drain(group: &Consumer) -> Vec<u64> {
    let mut offsets = Vec::new();
    while let Some(delivery) = group.try_lease().unwrap() {
        offsets.push(delivery.offset().get());
        delivery.ack().wait().unwrap();
    }
    offsets
}

fn read(topic: &Topic) -> Vec<u64> {
    topic.read(..).map(|record| record.unwrap().offset().get()).collect()
}

fn upkeep(store: &Store) {
    while store.step_upkeep().unwrap() {}
}

fn all(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn what_every_group_has_settled_is_gone_at_once_and_stays_gone() {
    let mut bench = Bench::new(1);
    let store = bench.open();
    let orders = topic(&store, Retention::until_settled());
    publish(&orders, 10);
    let (a, b) = (group(&orders, "a"), group(&orders, "b"));
    assert_eq!((drain(&a), read(&orders)), (all(0..10), all(0..10)));
    for _ in 0..4 {
        b.try_lease().unwrap().unwrap().ack().wait().unwrap();
    }
    assert_eq!((read(&orders), orders.first_offset().get(), orders.stats().messages), (all(4..10), 4, 6));
    // Neither a seek, nor a new group, nor a rule brings anything back.
    let report = b.seek_dry_run(Start::Earliest).unwrap();
    assert_eq!((report.to.get(), report.again, report.skipped, report.gone), (4, 0, 0, 4));
    assert_eq!(a.seek(Start::Offset(Offset::new(2))).unwrap().again, 6);
    assert_eq!(drain(&group(&orders, "c")), all(4..10));
    topic(&store, Retention::everything());
    let store = bench.crash(store);
    let orders = store.topic("orders").unwrap();
    assert_eq!(read(&orders), all(4..10));
    assert_eq!(drain(&group(&orders, "a")), all(4..10));
    assert_eq!(read(&orders), all(4..10), "from now on it is kept");
    assert_eq!(orders.publish("next").wait().unwrap().offset.get(), 10, "offsets are never used again");
}

#[test]
fn holes_that_every_group_has_settled_are_gone_for_a_group_that_goes_back_over_them() {
    let mut bench = Bench::new(2);
    let store = bench.open();
    let orders = topic(&store, Retention::until_settled());
    publish(&orders, 10);
    let a = group(&orders, "a");
    let held: Vec<_> = a.lease_many(10, Duration::ZERO).unwrap().collect();
    for delivery in held {
        if delivery.offset().get() % 3 == 1 {
            delivery.ack().wait().unwrap();
        } else {
            delivery.release().wait().unwrap();
        }
    }
    let open = [0, 2, 3, 5, 6, 8, 9];
    assert_eq!(read(&orders), open);
    let report = a.seek(Start::Earliest).unwrap();
    assert_eq!((report.again, report.gone), (0, 3));
    assert_eq!(drain(&group(&orders, "b")), open);
    let store = bench.crash(store);
    let orders = store.topic("orders").unwrap();
    let a = group(&orders, "a");
    assert_eq!(drain(&a), open);
    assert_eq!((read(&orders), a.stats().removed.settled), (all(0..0), 3));
}

#[test]
fn a_topic_that_never_had_a_group_keeps_everything_and_the_last_group_takes_nothing_with_it() {
    let mut bench = Bench::new(3);
    let store = bench.open();
    let orders = topic(&store, Retention::until_settled());
    publish(&orders, 10);
    bench.clock.advance(365 * DAY);
    upkeep(&store);
    assert_eq!(read(&orders), all(0..10));
    let (a, b) = (group(&orders, "a"), group(&orders, "b"));
    for consumer in [&a, &b, &b] {
        for _ in 0..2 {
            consumer.try_lease().unwrap().unwrap().ack().wait().unwrap();
        }
    }
    assert_eq!(read(&orders), all(2..10));
    // What only this group needed is gone with it.
    assert!(orders.remove_group("a").unwrap() && !orders.remove_group("a").unwrap());
    assert_eq!(read(&orders), all(4..10));
    assert!(orders.remove_group("b").unwrap());
    assert_eq!(b.try_lease().unwrap_err().code(), "unknown-group");
    let store = bench.crash(store);
    let orders = store.topic("orders").unwrap();
    assert_eq!(read(&orders), all(4..10));
    assert_eq!(drain(&group(&orders, "c")), all(4..10));
}

#[test]
fn every_rule_keeps_what_it_names_and_together_they_keep_all_of_it() {
    let cases: [(Retention, u64); 5] = [
        (Retention::until_settled().keep_count(3), 97),
        (Retention::until_settled().keep_bytes(1050), 90),
        (Retention::until_settled().keep_age(20 * SECOND), 80),
        (Retention::until_settled().keep_age(20 * SECOND).keep_count(30).keep_bytes(0), 70),
        (Retention::everything(), 0),
    ];
    for (rules, first) in cases {
        let mut bench = Bench::new(4);
        let store = bench.open();
        let orders = topic(&store, rules);
        let a = group(&orders, "a");
        for _ in 0..100 {
            publish(&orders, 1);
            bench.clock.advance(SECOND);
        }
        // The newest was published a second ago: the oldest within 20 s is the 21st from the end, but it is just over.
        assert_eq!((read(&orders).len(), drain(&a).len()), (100, 100), "what a group needs stays");
        assert_eq!(read(&orders), all(first..100).split_off(usize::from(rules.eq(&cases[2].0))), "{rules:?}");
        let store = bench.crash(store);
        let orders = store.topic("orders").unwrap();
        let report = group(&orders, "a").seek(Start::Earliest).unwrap();
        assert_eq!(report.again + report.gone, 100);
        assert_eq!(drain(&group(&orders, "a")).len() as u64, report.again, "{rules:?}");
        assert_eq!(drain(&group(&orders, "new")).len() as u64, report.again, "{rules:?}");
    }
}

#[test]
fn every_rule_drops_what_it_names_and_counts_it() {
    let counted = |store: &Store| store.topic("orders").unwrap().stats().removed;
    let mut bench = Bench::new(5);
    let store = bench.open();
    let orders = topic(&store, Retention::until_settled().max_age(60 * SECOND).max_bytes(5000).max_count(70));
    let a = group(&orders, "a");
    for _ in 0..100 {
        publish(&orders, 1);
        bench.clock.advance(Duration::from_millis(10));
    }
    upkeep(&store);
    // 50 of 100 bytes fit; of the rest, those that are too many went for their bytes first.
    assert_eq!(drain(&a).first(), Some(&50));
    assert_eq!(counted(&store).over_bytes + counted(&store).over_count, 50);
    publish(&orders, 10);
    bench.clock.advance(59 * SECOND);
    upkeep(&store);
    assert_eq!(a.stats().ready, 10);
    bench.clock.advance(SECOND);
    upkeep(&store);
    assert_eq!((a.stats().ready, counted(&store).aged, read(&orders)), (0, 10, all(0..0)));
    let before = counted(&store);
    let store = bench.crash(store);
    assert_eq!(counted(&store), before);
    assert_eq!(drain(&group(&store.topic("orders").unwrap(), "a")), [0; 0]);
}

#[test]
fn no_rule_drops_what_is_leased_delayed_or_dead() {
    let mut bench = Bench::new(6);
    let store = bench.open();
    let orders = topic(&store, Retention::until_settled().max_count(1).max_age(HOUR));
    let a = orders.consumer("a", Group::default().lease(2 * HOUR)).unwrap();
    orders.publish(Message::new("leased")).wait().unwrap();
    let leased = a.try_lease().unwrap().unwrap();
    orders.publish(Message::new("dead")).wait().unwrap();
    a.try_lease().unwrap().unwrap().bury("it is not wanted").wait().unwrap();
    orders.publish(Message::new("delayed").delay(3 * HOUR)).wait().unwrap();
    publish(&orders, 10);
    bench.clock.advance(HOUR / 2);
    upkeep(&store);
    assert_eq!(read(&orders), [0, 1, 2, 12]);
    leased.ack().wait().unwrap();
    bench.clock.advance(3 * HOUR);
    upkeep(&store);
    assert_eq!(a.dead_letters().count(), 1);
    // By count it is long dropped, now that it is due: the rule names it.
    assert_eq!(read(&orders), [1]);
    assert_eq!(orders.stats().removed.over_count + orders.stats().removed.aged, 11);
}

#[test]
fn the_age_of_a_delayed_message_counts_from_when_it_is_due() {
    let mut bench = Bench::new(7);
    let store = bench.open();
    let orders = topic(&store, Retention::until_settled().max_age(HOUR));
    let a = group(&orders, "a");
    orders.publish(Message::new("x").delay(10 * HOUR)).wait().unwrap();
    orders.publish(Message::new("x").deliver_at(Timestamp::new(BEGIN + 36_000_000))).wait().unwrap();
    bench.clock.advance(10 * HOUR + HOUR / 2);
    upkeep(&store);
    assert_eq!(a.stats().ready, 2);
    let store = bench.crash(store);
    upkeep(&store);
    let orders = store.topic("orders").unwrap();
    assert_eq!(read(&orders), [0, 1]);
    bench.clock.advance(HOUR / 2);
    upkeep(&store);
    assert_eq!((read(&orders), orders.stats().removed.aged), (all(0..0), 2));
}

#[test]
fn a_forward_step_of_the_clock_ages_nothing_while_open_and_a_long_gap_is_doubted_for_an_hour() {
    let mut bench = Bench::new(8);
    let store = bench.open();
    let orders = topic(&store, Retention::until_settled().max_age(3 * DAY));
    publish(&orders, 5);
    bench.clock.set_wall(Timestamp::new(BEGIN + 400 * 86_400_000));
    upkeep(&store);
    assert_eq!(read(&orders).len(), 5);
    for opening in 0..3 {
        let gap = if opening == 0 { 400 } else { 1 };
        if opening > 0 {
            bench.clock.advance(DAY / 24 / 2);
        }
        let store = bench.open_after_kill();
        let found = store.recovery().gap;
        assert_eq!(found.is_some(), gap > 7, "{found:?}");
        upkeep(&store);
        let orders = store.topic("orders").unwrap();
        assert_eq!(read(&orders).len(), 5, "opening {opening}: the doubt goes on");
        bench.clock.advance(HOUR / 2);
        upkeep(&store);
        assert_eq!(read(&orders).len(), 5);
        drop(store);
    }
    let store = bench.open_after_kill();
    let orders = store.topic("orders").unwrap();
    bench.clock.advance(HOUR);
    upkeep(&store);
    assert_eq!((read(&orders), orders.stats().removed.aged), (all(0..0), 5), "after an hour it is honoured");
}

impl Bench {
    fn open_after_kill(&mut self) -> Store {
        self.disk.kill();
        self.open()
    }
}

#[test]
fn a_gap_that_is_not_too_long_is_honoured_at_once() {
    let mut bench = Bench::new(9);
    let store = bench.open();
    let orders = topic(&store, Retention::until_settled().max_age(3 * DAY));
    publish(&orders, 5);
    store.close().unwrap();
    bench.clock.advance(4 * DAY);
    let store = bench.open();
    assert_eq!((store.recovery().gap, read(&store.topic("orders").unwrap())), (None, all(0..0)));
}
