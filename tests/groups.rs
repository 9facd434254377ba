//! Groups are independent readers: each gets every message (I4), keeps its own progress (I5), and holds up nobody.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{Consumer, Delivery, Group, Offset, Retention, Start, Store, Topic, TopicSettings};
use std::time::{Duration, Instant};

fn store_with(messages: u64) -> (tempfile::TempDir, Store, Topic) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // New groups are to find what others have settled.
    let orders = store.topic_with("orders", TopicSettings::default().retention(Retention::everything())).unwrap();
    orders.publish_all((0..messages).map(|number| number.to_string().into())).wait().unwrap();
    (dir, store, orders)
}

/// Leases whatever there is now and acks it; the offsets.
fn drain(consumer: &Consumer) -> Vec<u64> {
    let mut offsets = Vec::new();
    while let Some(delivery) = consumer.try_lease().unwrap() {
        assert_eq!(delivery.payload(), delivery.offset().to_string().as_bytes());
        offsets.push(delivery.offset().get());
        delivery.ack().wait().unwrap();
    }
    offsets
}

fn all(messages: u64) -> Vec<u64> {
    (0..messages).collect()
}

#[test]
fn every_group_gets_every_message_in_order() {
    let (_dir, store, orders) = store_with(100);
    for name in ["email", "analytics", "audit"] {
        let group = orders.consumer(name, Group::default()).unwrap();
        assert_eq!(drain(&group), all(100), "{name}");
        assert!(group.idle());
    }
    let mut names = orders.groups();
    names.sort();
    assert_eq!(names, ["analytics", "audit", "email"]);
    drop(store);
}

#[test]
fn groups_go_at_their_own_pace_and_survive_a_reopening() {
    let (dir, store, orders) = store_with(30);
    let [fast, slow] = ["fast", "slow"].map(|name| orders.consumer(name, Group::default()).unwrap());
    assert_eq!(drain(&fast), all(30));
    for _ in 0..10 {
        slow.lease().unwrap().ack().wait().unwrap();
    }
    assert_eq!((fast.stats().ready, slow.stats().ready), (0, 20));
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let [fast, slow] = ["fast", "slow"].map(|name| orders.consumer(name, Group::default()).unwrap());
    assert_eq!(drain(&fast), [0; 0]);
    assert_eq!(drain(&slow), (10..30).collect::<Vec<_>>());
}

#[test]
fn acks_with_holes_between_them_are_exact_after_a_reopening() {
    let (dir, store, orders) = store_with(200);
    let email = orders.consumer("email", Group::default()).unwrap();
    let (odd, even): (Vec<Delivery>, Vec<Delivery>) =
        email.lease_many(200, Duration::ZERO).unwrap().partition(|delivery| delivery.offset().get() % 2 == 1);
    assert_eq!(odd.len() + even.len(), 200);
    email.ack_all(odd).wait().unwrap();
    store.close().unwrap();
    drop(even);
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    assert_eq!(drain(&email), (0..200).step_by(2).collect::<Vec<_>>());
}

#[test]
fn leases_of_the_opening_before_are_over_at_once() {
    let (dir, store, orders) = store_with(5);
    let hour = Group::default().lease(Duration::from_secs(3600));
    let email = orders.consumer("email", hour).unwrap();
    let held: Vec<Delivery> = email.lease_many(5, Duration::ZERO).unwrap().collect();
    assert_eq!(held.len(), 5);
    let before = held.first().unwrap().lease_id();
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    let began = Instant::now();
    let again: Vec<Delivery> = email.lease_many(5, Duration::ZERO).unwrap().collect();
    assert_eq!(again.len(), 5);
    assert!(began.elapsed() < Duration::from_secs(60));
    for delivery in again {
        assert_eq!((delivery.attempt(), delivery.is_suspect()), (1, false), "a clean close charges nothing");
        assert!(delivery.lease_id() > before);
        delivery.ack().wait().unwrap();
    }
    // Those who still hold the old ones are told.
    for delivery in held {
        assert_eq!(delivery.ack().wait().unwrap_err().kind(), millpond::ErrorKind::Closed);
    }
    assert!(email.idle());
}

#[test]
fn a_new_group_begins_where_it_is_told_to() {
    let (_dir, store, orders) = store_with(10);
    let group = |name: &str, start| orders.consumer(name, Group::default().start(start)).unwrap();
    let (latest, third) = (group("latest", Start::Latest), group("third", Start::Offset(Offset::new(3))));
    assert_eq!(drain(&latest), [0; 0]);
    assert_eq!(drain(&third), (3..10).collect::<Vec<_>>());
    orders.publish("10").wait().unwrap();
    assert_eq!((drain(&latest), drain(&third)), (vec![10], vec![10]));
    // It exists: where it begins was said once.
    assert_eq!(drain(&group("latest", Start::Earliest)), [0; 0]);
    drop(store);
}

#[test]
fn settings_that_are_not_given_keep_their_value() {
    let (dir, store, orders) = store_with(1);
    orders.consumer("email", Group::default().lease(Duration::from_millis(1)).max_timeouts(1)).unwrap();
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    std::mem::forget(email.lease().unwrap());
    let began = Instant::now();
    while email.stats().dead == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "the lease of a millisecond did not run out");
        std::thread::yield_now();
    }
    drop(store);
}

#[test]
fn a_delivery_of_another_group_is_refused_whole_and_handed_back() {
    let (_dir, store, orders) = store_with(2);
    let [email, audit] = ["email", "audit"].map(|name| orders.consumer(name, Group::default()).unwrap());
    let both = [email.lease().unwrap(), audit.lease().unwrap()];
    let error = email.ack_all(both).wait().unwrap_err();
    assert_eq!(error.code(), "foreign-delivery");
    let returned = error.into_deliveries().unwrap();
    assert_eq!((returned.len(), email.stats().leased, audit.stats().leased), (2, 1, 1));
    for delivery in returned {
        delivery.ack().wait().unwrap();
    }
    assert_eq!((drain(&email), drain(&audit)), (vec![1], vec![1]));
    drop(store);
}

#[test]
fn a_message_published_behind_what_was_read_from_the_disk_is_not_taken_for_damage() {
    let (dir, store, orders) = store_with(3);
    let email = orders.consumer("email", Group::default()).unwrap();
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    drop(email);
    let email = orders.consumer("email", Group::default()).unwrap();
    assert_eq!(drain(&email).len(), 3);
    for number in 3..10u64 {
        orders.publish(number.to_string()).wait().unwrap();
        let next = email.try_lease().unwrap().unwrap();
        assert_eq!((next.offset().get(), next.counters().failures), (number, 0));
        next.ack().wait().unwrap();
    }
}
