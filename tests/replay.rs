//! Reading a topic without consuming it, and going back or forth in a group.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{
    Consumer, Durability, ErrorKind, Group, Message, Offset, Retention, Start, Store, Timestamp, Topic, TopicSettings,
};
use std::ops::{Bound, RangeBounds};
use std::time::Duration;

/// So that what was acked can be read and sought.
fn everything() -> TopicSettings {
    TopicSettings::default().retention(Retention::everything())
}

fn store_with(messages: u64) -> (tempfile::TempDir, Store, Topic) {
    let dir = tempfile::tempdir().unwrap();
    // Several segments, so that reading crosses their borders.
    let options = Store::options().segment_bytes(16 << 10).first_segment_bytes(16 << 10);
    let store = options.open(dir.path()).unwrap();
    let orders = store.topic_with("orders", everything()).unwrap();
    let other = store.topic("other").unwrap();
    for number in 0..messages {
        orders.publish(Message::new(format!("{number:0>200}")).durability(Durability::Os)).wait().unwrap();
        other.publish(Message::new("noise").durability(Durability::Os)).wait().unwrap();
    }
    (dir, store, orders)
}

fn read(topic: &Topic, range: impl RangeBounds<Offset>) -> Vec<u64> {
    let records = topic.read(range).map(Result::unwrap);
    let offsets = records.map(|record| {
        assert_eq!(record.payload(), format!("{:0>200}", record.offset()).as_bytes());
        record.offset().get()
    });
    offsets.collect()
}

fn drain(group: &Consumer) -> Vec<u64> {
    let mut offsets = Vec::new();
    while let Some(delivery) = group.try_lease().unwrap() {
        offsets.push(delivery.offset().get());
        delivery.ack().wait().unwrap();
    }
    offsets
}

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

fn all(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn any_range_is_read_in_order_and_nothing_else() {
    let (_dir, store, orders) = store_with(300);
    assert!(store.stats().segments.len() > 3);
    assert_eq!(read(&orders, ..), all(0..300));
    assert_eq!(read(&orders, at(250)..), all(250..300));
    assert_eq!(read(&orders, ..at(3)), all(0..3));
    assert_eq!(read(&orders, at(7)..=at(9)), all(7..10));
    assert_eq!(read(&orders, (Bound::Excluded(at(7)), Bound::Excluded(at(9)))), [8]);
    assert_eq!(read(&orders, at(5)..at(5)), [0; 0]);
    assert_eq!(read(&orders, at(300)..), [0; 0]);
    assert_eq!(read(&orders, at(u64::MAX)..), [0; 0]);
    for start in (0..300).step_by(17) {
        assert_eq!(read(&orders, at(start)..at(start + 2)), all(start..(start + 2).min(300)));
    }
    assert_eq!((orders.first_offset(), orders.end_offset()), (at(0), at(300)));
}

#[test]
fn reading_changes_nothing_and_ends_at_what_was_there() {
    let (_dir, store, orders) = store_with(10);
    let email = orders.consumer("email", Group::default()).unwrap();
    let mut replay = orders.read(..);
    orders.publish("later").wait().unwrap();
    assert_eq!(replay.by_ref().count(), 10);
    assert_eq!((replay.position(), email.stats().ready), (at(10), 11));
    assert_eq!(orders.read(replay.position()..).count(), 1);
    assert_eq!(drain(&email), all(0..11));
    assert_eq!(orders.read(..).count(), 11, "what is acked can still be read, since the topic keeps it");
    drop(store);
}

#[test]
fn a_group_goes_to_the_earliest_the_latest_or_an_offset() {
    let (dir, store, orders) = store_with(20);
    let email = orders.consumer("email", Group::default()).unwrap();
    assert_eq!(drain(&email), all(0..20));
    email.seek(Start::Earliest).unwrap();
    assert_eq!(drain(&email), all(0..20));
    email.seek(Start::Offset(at(15))).unwrap();
    assert_eq!(drain(&email), all(15..20));
    email.seek(Start::Earliest).unwrap();
    email.seek(Start::Latest).unwrap();
    assert_eq!(drain(&email), [0; 0]);
    email.seek(Start::Offset(at(18))).unwrap();
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    assert_eq!(drain(&email), [18, 19], "a seek is durable");
    drop(store);
}

#[test]
fn a_group_goes_to_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic_with("orders", everything()).unwrap();
    let first = orders.publish("0").wait().unwrap();
    let mut second = orders.publish("1").wait().unwrap();
    while second.time == first.time {
        second = orders.publish("2").wait().unwrap();
    }
    let email = orders.consumer("email", Group::default().start(Start::Latest)).unwrap();
    let end = orders.end_offset().get();
    email.seek(Start::Time(second.time)).unwrap();
    assert_eq!(drain(&email), all(second.offset.get()..end));
    email.seek(Start::Time(Timestamp::ZERO)).unwrap();
    assert_eq!(drain(&email), all(0..end));
    email.seek(Start::Time(Timestamp::new(u64::MAX))).unwrap();
    assert_eq!(drain(&email), [0; 0]);
    let late = orders.consumer("late", Group::default().start(Start::Time(second.time))).unwrap();
    assert_eq!(drain(&late), all(second.offset.get()..end));
}

#[test]
fn a_seek_ends_the_leases_of_the_group() {
    let (_dir, store, orders) = store_with(5);
    let email = orders.consumer("email", Group::default()).unwrap();
    let held = email.lease().unwrap();
    email.seek(Start::Earliest).unwrap();
    assert_eq!(drain(&email), all(0..5));
    assert_eq!(held.ack().wait().unwrap_err().kind(), millpond::ErrorKind::LeaseLost);
    drop(store);
}

#[test]
fn who_reads_up_to_the_end_and_then_on_takes_nothing_old_for_damage() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing is kept in memory: what was read ahead ends where the journal ended then.
    let open = || Store::options().tail_cache_bytes(0).durability(Durability::Os).open(dir.path()).unwrap();
    for round in 0..3 {
        let store = open();
        let orders = store.topic("orders").unwrap();
        let email = orders.consumer("email", Group::default()).unwrap();
        for number in 0..50 {
            let receipt = orders.publish(format!("{round} {number}")).wait().unwrap();
            let delivery = email.try_lease().unwrap().expect("nothing was taken for damage");
            assert_eq!((delivery.offset(), delivery.counters().failures), (receipt.offset, 0));
            delivery.ack().wait().unwrap();
        }
        assert_eq!(email.stats().retrying, 0);
        store.close().unwrap();
    }
}

/// What is read ahead is handed out only as long as it is still there.
#[test]
fn a_message_that_leaves_before_a_replay_comes_to_it_is_not_in_it_and_nothing_is_after_the_end_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    for batch in [1, 50] {
        let store = Store::options().durability(Durability::Os).open(dir.path().join(batch.to_string())).unwrap();
        let orders = store.topic("orders").unwrap();
        let email = orders.consumer("email", Group::default()).unwrap();
        for first in (0..1000).step_by(batch) {
            orders.publish_all((first..first + batch).map(|number| Message::new(number.to_string()))).wait().unwrap();
        }
        let mut replay = orders.read(..);
        let mut take =
            |count| replay.by_ref().take(count).map(|record| record.unwrap().offset().get()).collect::<Vec<_>>();
        assert_eq!(take(10), (0..10).collect::<Vec<_>>());
        let held: Vec<_> = email.lease_many(20, Duration::ZERO).unwrap().collect();
        email.ack_all(held).wait().unwrap();
        assert_eq!(take(10), (20..30).collect::<Vec<_>>(), "what is settled by then is gone");
        store.close().unwrap();
        assert_eq!(replay.next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    }
}
