//! Transactions where room is short: they keep their place behind what was published before, are refused whole on a
//! full disk, and settle there all the same.
#![expect(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test fails by panicking")]

use millpond::testing::{Faults, SimDisk};
use millpond::{Consumer, Delivery, Durability, ErrorKind, Group, ManualClock, Message, Offset, Options};
use millpond::{Receipt, Store, Ticket, Timestamp, Topic};
use std::time::Duration;

fn open(disk: &SimDisk, options: Options) -> Store {
    let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
    Store::open_simulated(disk, clock, 1, options).unwrap()
}

fn small() -> Options {
    Store::options().segment_bytes(32 << 10).first_segment_bytes(32 << 10).durability(Durability::Memory)
}

fn message() -> Message {
    Message::new(vec![7; 500])
}

/// A store on a disk on which nothing more can be allocated, published to until it refuses; and what was leased before.
fn full() -> (SimDisk, Store, Topic, Consumer, Vec<Delivery>) {
    let disk = SimDisk::new(1);
    let store = open(&disk, small());
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    orders.publish_all((0..20).map(|_| message())).wait().unwrap();
    let held: Vec<Delivery> = email.lease_many(20, Duration::ZERO).unwrap().collect();
    let mut faults = Faults::default();
    faults.capacity = Some(1);
    disk.set_faults(faults);
    loop {
        if let Err(error) = orders.publish(message()).wait() {
            assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "disk-full"));
            break;
        }
    }
    (disk, store, orders, email, held)
}

#[test]
fn on_a_full_disk_one_that_publishes_is_refused_whole_and_one_that_settles_goes_through() {
    let (disk, store, orders, email, mut held) = full();
    let end = orders.end_offset();
    for _ in 0..2 {
        let mut tx = store.transaction();
        tx.publish(&orders, message()).ack(held.pop().unwrap()).set("k", "v");
        let error = tx.commit().wait().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "disk-full"));
        held.extend(error.into_deliveries().unwrap());
    }
    let error = orders.publish_if(end, message()).wait().unwrap_err();
    assert_eq!((error.code(), error.into_message()), ("disk-full", Some(message())));
    // Values alone are more work; beside a settlement they are part of it.
    let mut tx = store.transaction();
    tx.set("k", vec![7; 600]);
    assert_eq!(tx.commit().wait().unwrap_err().code(), "disk-full");
    let mut tx = store.transaction();
    tx.set("cursor", "20").set("padding", vec![7; 600]);
    for (number, delivery) in held.into_iter().enumerate() {
        match number % 3 {
            0 => tx.ack(delivery),
            1 => tx.bury(delivery, "no room for it"),
            _ => tx.nack(delivery, "no room for it"),
        };
    }
    tx.commit().wait().unwrap();
    assert_eq!((orders.end_offset(), store.get("k").unwrap()), (end, None));
    assert_eq!(store.get("cursor").unwrap().as_deref(), Some(&b"20"[..]));
    assert_eq!((email.stats().leased, email.stats().dead, email.stats().retrying), (0, 7, 6));
    // There is space again, and publishing goes on, without a restart.
    disk.set_faults(Faults::default());
    let mut tx = store.transaction();
    tx.publish(&orders, message()).set("k", "v");
    while store.step_upkeep().unwrap() {}
    assert_eq!(tx.commit().wait().unwrap().receipts.first().unwrap().offset, end);
    disk.crash();
    drop(store);
    let store = open(&disk, small());
    assert_eq!(store.topic("orders").unwrap().end_offset(), end.next());
    assert_eq!(store.get("cursor").unwrap().as_deref(), Some(&b"20"[..]));
}

#[test]
fn one_comes_behind_what_was_published_before_it_and_stands_in_line_for_room() {
    let disk = SimDisk::new(2);
    let store = open(&disk, small().buffer_bytes(4 << 10).durability(Durability::Os));
    let (orders, others) = (store.topic("orders").unwrap(), store.topic("others").unwrap());
    // More than the buffer holds, which nobody has written yet: the last of them have no place in the journal.
    let tickets: Vec<Ticket<Receipt>> = (0..20).map(|_| orders.publish(message())).collect();
    assert_eq!(format!("{:?}", tickets.last().unwrap()), "Ticket(\"waiting for room\")");
    let mut tx = store.transaction();
    tx.publish(&others, message()).publish(&orders, message());
    let committed = tx.commit();
    let behind = orders.publish(message());
    let offsets: Vec<Offset> = committed.wait().unwrap().receipts.iter().map(|receipt| receipt.offset).collect();
    assert_eq!(offsets, [Offset::ZERO, Offset::new(20)]);
    assert_eq!(behind.wait().unwrap().offset, Offset::new(21));
    for (number, ticket) in (0..).zip(tickets) {
        assert_eq!(ticket.wait().unwrap().offset, Offset::new(number));
    }
    // One that is larger than the whole buffer goes through it alone.
    let mut tx = store.transaction();
    (0..20).for_each(|_| _ = tx.publish(&orders, message()));
    assert_eq!(tx.commit().wait().unwrap().receipts.last().unwrap().offset, Offset::new(41));
    // Larger than a segment: it gets one of its own.
    let mut tx = store.transaction();
    (0..100).for_each(|_| _ = tx.publish(&others, message()));
    assert_eq!(tx.commit().wait().unwrap().receipts.len(), 100);
    disk.crash();
    drop(store);
    let store = open(&disk, small());
    assert_eq!(store.topic("others").unwrap().read(..).count(), 101);
}

#[test]
fn a_store_that_was_poisoned_hands_everything_back() {
    let disk = SimDisk::new(3);
    let store = open(&disk, small());
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    orders.publish(message()).wait().unwrap();
    let delivery = email.try_lease().unwrap().unwrap();
    let mut faults = Faults::default();
    faults.sync_error = 1.0;
    disk.set_faults(faults);
    let mut tx = store.transaction();
    tx.publish(&orders, message());
    let error = tx.commit().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(error.into_messages().is_none(), "it may have been written");
    let mut tx = store.transaction();
    tx.publish(&orders, message()).ack(delivery);
    let error = tx.commit().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert_eq!(error.into_deliveries().unwrap().len(), 1);
}

#[test]
fn a_transaction_keeps_to_the_limit_of_a_backlog_and_never_waits_for_a_place() {
    use millpond::{Backlog, Message, Overflow, Store, TopicSettings};
    for (overflow, refused) in [(Overflow::Reject, true), (Overflow::Wait, true), (Overflow::DropOldest, false)] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let limit = TopicSettings::default().max_backlog(Backlog::messages(2).when_full(overflow));
        let narrow = store.topic_with("narrow", limit).unwrap();
        narrow.publish_all(["a".into(), "b".into()]).wait().unwrap();
        let mut tx = store.transaction();
        tx.publish(&narrow, Message::new("c")).set("key", "value");
        match tx.commit().wait() {
            Ok(_) => assert!(!refused, "{overflow:?}"),
            Err(error) => assert!(refused && error.code() == "backlog-full", "{overflow:?}: {error}"),
        }
        assert_eq!(store.get("key").unwrap().is_some(), !refused, "I7: {overflow:?}");
        assert_eq!((narrow.stats().backlog, narrow.stats().removed.overflowed), (2, u64::from(!refused)));
        store.close().unwrap();
    }
}

/// More than fits in any segment there is: one of their own is made for them, and files to keep the reserve whole. What
/// was made for that is not thrown away as more than is kept, before it was used.
#[test]
fn what_is_larger_than_several_segments_finds_room_at_once() {
    for count in [100, 200, 400, 800] {
        for settles in [false, true] {
            let disk = SimDisk::new(4);
            let store = open(&disk, small().durability(Durability::Os));
            let orders = store.topic("orders").unwrap();
            let email = orders.consumer("email", Group::default()).unwrap();
            // So that there is a reserve already, and little beyond it.
            (0..100).for_each(|_| _ = orders.publish(message()).wait().unwrap());
            let mut tx = store.transaction();
            (0..count).for_each(|_| _ = tx.publish(&orders, message()).set("k", "v"));
            if settles {
                tx.ack(email.lease().unwrap());
            }
            assert_eq!(tx.commit().wait().unwrap().receipts.len(), count, "{count} messages, {settles}");
            let batch = orders.publish_all((0..count).map(|_| message())).wait().unwrap();
            assert_eq!(batch.first, Offset::new(100 + count as u64));
            // What was kept for them goes when they are through, a file at a time.
            (0..100).for_each(|_| _ = store.step_upkeep().unwrap());
            let stats = store.stats();
            assert!(stats.disk_bytes < 8 * (32 << 10) + 1_200 * count as u64, "{count} messages, {settles}: {stats:?}");
        }
    }
}
