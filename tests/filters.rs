//! Filters: a group is given what it selects and nothing else; the rest is settled for it, counted, and pins nothing.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use millpond::testing::SimDisk;
use millpond::{
    Backlog, Consumer, Delivery, ErrorKind, Filter, Group, ManualClock, Message, Notice, Offset, Overflow, Redrive,
    Retention, Start, Store, Timestamp, Topic, TopicSettings, What,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn open(disk: &SimDisk, clock: &ManualClock) -> (Store, Topic) {
    let options = Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10);
    let store = Store::open_simulated(disk, clock.clone(), 1, options).unwrap();
    let topic = store.topic("orders").unwrap();
    (store, topic)
}

fn start() -> (SimDisk, ManualClock, Store, Topic) {
    let (disk, clock) = (SimDisk::new(5), ManualClock::starting_at(Timestamp::new(1_000_000)));
    let (store, topic) = open(&disk, &clock);
    (disk, clock, store, topic)
}

/// Kinds "0", "1", "2" in turn, and keys "a/0", "b/1", ...
fn publish(topic: &Topic, count: u64) {
    let message = |number: u64| {
        let (kind, key) = ((number % 3).to_string(), format!("{}/{number}", if number % 2 == 1 { "b" } else { "a" }));
        Message::new(number.to_string()).header("other", "x").header("kind", kind).key(key)
    };
    topic.publish_all((0..count).map(message)).wait().unwrap();
}

fn group(topic: &Topic, filter: Filter) -> Consumer {
    topic.consumer("email", Group::default().filter(filter)).unwrap()
}

fn lease(group: &Consumer, max: usize) -> Vec<Delivery> {
    group.lease_many(max, Duration::ZERO).unwrap().collect()
}

fn drain(group: &Consumer) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(next) = group.try_lease().unwrap() {
        all.push(next.offset().get());
        next.ack().wait().unwrap();
    }
    all
}

fn upkeep(store: &Store, clock: &ManualClock) {
    for _ in 0..3 {
        clock.advance(2 * SECOND);
        while store.step_upkeep().unwrap() {}
        while store.step_commit().unwrap() {}
    }
}

#[test]
fn a_group_is_given_what_it_selects_and_the_rest_is_settled_and_counted() {
    let (_disk, _clock, store, orders) = start();
    publish(&orders, 12);
    orders.publish("without anything").wait().unwrap();
    let of = |name: &str, filter| orders.consumer(name, Group::default().filter(filter)).unwrap();
    let by_header = of("by header", Filter::header("kind", "1"));
    let by_key = of("either", Filter::key_prefix("b/").or_header("kind", "0"));
    let keyed = of("keyed", Filter::key_prefix(""));
    let all = of("all", Filter::everything());
    assert_eq!(drain(&by_header), [1, 4, 7, 10]);
    assert_eq!(by_header.stats().removed.filtered, 9);
    assert!(by_header.idle());
    assert_eq!(drain(&by_key), [0, 1, 3, 5, 6, 7, 9, 11]);
    assert_eq!(drain(&keyed).len(), 12);
    assert_eq!((drain(&all).len(), all.stats().removed.filtered), (13, 0));
    store.close().unwrap();
}

#[test]
fn what_is_not_selected_is_never_out_and_takes_no_place() {
    let (_disk, _clock, store, orders) = start();
    let events = store.events(10_000).unwrap();
    let settings = Group::default().filter(Filter::header("kind", "2")).max_in_flight(3);
    let email = orders.consumer("email", settings).unwrap();
    publish(&orders, 30);
    let held = lease(&email, 30);
    let offsets: Vec<u64> = held.iter().map(|delivery| delivery.offset().get()).collect();
    assert_eq!(offsets, [2, 5, 8]);
    assert_eq!(email.stats().leased, 3);
    let leased: Vec<u64> = std::iter::from_fn(|| events.try_next())
        .filter_map(|notice| match notice {
            Notice::Happened(happening) if happening.what == What::Leased => Some(happening.first.get()),
            _ => None,
        })
        .collect();
    assert_eq!(leased, [2, 5, 8]);
    assert!(held.iter().all(|delivery| delivery.counters().leases == 1));
}

#[test]
fn a_filter_survives_reopening_and_a_crash() {
    let (disk, clock, store, orders) = start();
    group(&orders, Filter::header("kind", "1"));
    publish(&orders, 12);
    disk.crash();
    drop((orders, store));
    let (store, orders) = open(&disk, &clock);
    let email = orders.consumer("email", Group::default()).unwrap();
    let first = email.lease().unwrap();
    assert_eq!(first.offset(), Offset::new(1));
    disk.kill();
    drop((first, email, orders, store));
    let (_store, orders) = open(&disk, &clock);
    let email = orders.consumer("email", Group::default()).unwrap();
    assert_eq!(drain(&email), [1, 4, 7, 10]);
    assert_eq!(email.stats().removed.filtered, 8);
}

#[test]
fn what_nobody_selects_does_not_stay_though_nobody_asks_for_it() {
    let (_disk, clock, store, _) = start();
    let backlog = Backlog::messages(100).when_full(Overflow::Reject);
    let orders = store.topic_with("orders", TopicSettings::default().max_backlog(backlog)).unwrap();
    let email = group(&orders, Filter::header("kind", "none"));
    for _ in 0..5 {
        publish(&orders, 100);
        assert_eq!(orders.publish("x").wait().unwrap_err().code(), "backlog-full");
        upkeep(&store, &clock);
        assert_eq!((orders.stats().backlog, orders.stats().messages), (0, 0));
    }
    assert_eq!(email.stats().removed.filtered, 500);
    assert!(email.idle());
}

#[test]
fn a_change_goes_for_what_is_neither_settled_nor_out() {
    let (_disk, clock, store, orders) = start();
    publish(&orders, 12);
    let email = group(&orders, Filter::header("kind", "1"));
    let mut held = lease(&email, 2);
    held.remove(0).ack().wait().unwrap();
    upkeep(&store, &clock);
    let email = group(&orders, Filter::header("kind", "2"));
    upkeep(&store, &clock);
    // 4 is out: it can be settled, and if it comes back it is looked at again.
    assert_eq!(email.stats().leased, 1);
    held.remove(0).release().wait().unwrap();
    assert!(drain(&email).is_empty(), "what the first filter left out does not come back");
    assert_eq!(email.stats().removed.filtered, 11);
    let email = group(&orders, Filter::everything());
    publish(&orders, 3);
    assert_eq!(drain(&email), [12, 13, 14]);
}

#[test]
fn what_is_sought_or_redriven_is_looked_at_again() {
    let (_disk, _clock, store, _) = start();
    let rules = TopicSettings::default().retention(Retention::everything());
    let orders = store.topic_with("orders", rules).unwrap();
    publish(&orders, 6);
    let email = group(&orders, Filter::header("kind", "1"));
    email.lease().unwrap().bury("no").wait().unwrap();
    assert_eq!(drain(&email), [4]);
    let email = group(&orders, Filter::header("kind", "2"));
    email.redrive(Redrive::all()).unwrap();
    assert!(drain(&email).is_empty());
    email.seek(Start::Earliest).unwrap();
    assert_eq!(drain(&email), [2, 5]);
}

#[test]
fn delayed_messages_that_are_not_selected_go_before_they_are_due() {
    let (_disk, clock, store, orders) = start();
    let email = group(&orders, Filter::header("kind", "1"));
    for kind in ["0", "1"] {
        orders.publish(Message::new(kind).header("kind", kind).delay(3600 * SECOND)).wait().unwrap();
    }
    upkeep(&store, &clock);
    assert_eq!((email.stats().delayed, email.stats().removed.filtered), (1, 1));
    clock.advance(3600 * SECOND);
    assert_eq!(drain(&email), [1]);
}

#[test]
fn a_filter_that_is_too_large_is_refused() {
    let (_disk, _clock, _store, orders) = start();
    let many = (0..33).fold(Filter::everything(), |filter, number: u8| filter.or_header("kind", vec![number]));
    for filter in [many, Filter::key_prefix(vec![0; 4097])] {
        let error = orders.consumer("email", Group::default().filter(filter)).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "bad-setting"));
        assert!(error.to_string().contains("a filter of"), "{error}");
    }
    assert!(orders.groups().is_empty());
}

#[test]
fn a_waiting_consumer_is_given_the_first_that_it_selects() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = group(&orders, Filter::header("kind", "last"));
    let waiter = std::thread::spawn(move || {
        let next = email.lease_timeout(30 * SECOND).unwrap().unwrap();
        let offset = next.offset().get();
        next.ack().wait().unwrap();
        (offset, email.stats().removed.filtered)
    });
    publish(&orders, 5000);
    orders.publish(Message::new("x").header("kind", "last")).wait().unwrap();
    assert_eq!(waiter.join().unwrap(), (5000, 5000));
    store.close().unwrap();
}
