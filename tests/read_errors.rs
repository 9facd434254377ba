//! The disk refuses to read: that is an error for what was asked for, never an end, never a smaller store.
#![expect(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test fails by panicking")]

use millpond::testing::{Faults, SimDisk};
use millpond::{
    Consumer, ErrorKind, Filter, Group, ManualClock, Message, Offset, Retention, Store, Timestamp, TopicSettings,
    WhenParked,
};
use std::time::Duration;

const MESSAGES: u64 = 120;

fn clock() -> ManualClock {
    ManualClock::starting_at(Timestamp::new(1_700_000_000_000))
}

fn open(disk: &SimDisk) -> millpond::Result<Store> {
    // Nothing of what was written is kept in memory, so that reading asks the disk.
    let options = Store::options().segment_bytes(16 << 10).first_segment_bytes(16 << 10).tail_cache_bytes(0);
    Store::open_simulated(disk, clock(), 1, options)
}

fn store() -> SimDisk {
    let disk = SimDisk::new(5);
    let store = open(&disk).unwrap();
    let kept = TopicSettings::default().retention(Retention::everything());
    let orders = store.topic_with("orders", kept).unwrap();
    for number in 0..MESSAGES {
        orders.publish(Message::new(format!("order {number} {}", "x".repeat(200)))).wait().unwrap();
        store.step_upkeep().unwrap();
    }
    store.close().unwrap();
    disk
}

fn failing() -> Faults {
    let mut faults = Faults::default();
    faults.read_error = 1.0;
    faults
}

#[test]
fn a_read_that_fails_is_an_error_and_the_message_is_there_when_the_disk_reads_again() {
    let disk = store();
    let store = open(&disk).unwrap();
    let orders = store.existing_topic("orders").unwrap();
    disk.set_faults(failing());
    let error = orders.read(Offset::ZERO..).next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::System, "{error}");
    assert_eq!(orders.end_offset(), Offset::new(MESSAGES), "that is no end");
    disk.set_faults(Faults::default());
    let read: Vec<_> = orders.read(..).map(|record| record.unwrap().offset().get()).collect();
    assert!(read.into_iter().eq(0..MESSAGES));
    // No group has given anything up for it.
    let email = orders.consumer("email", Group::default()).unwrap();
    assert_eq!(email.lease().unwrap().offset(), Offset::ZERO);
    store.close().unwrap();
}

#[test]
fn an_opening_that_can_not_read_fails_and_changes_nothing() {
    let disk = store();
    // Each read fails once: names, headers, frames, sidecars.
    let mut refused = 0;
    for seed in 0..60 {
        let disk = disk.fork(seed);
        let mut faults = Faults::default();
        faults.read_error = 0.1;
        disk.set_faults(faults);
        match open(&disk) {
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind(), ErrorKind::System, "{error}");
            }
            // It met none that it could not do without.
            Ok(store) => {
                disk.set_faults(Faults::default());
                drop(store);
            }
        }
        disk.set_faults(Faults::default());
        let store = open(&disk).unwrap();
        assert_eq!(store.existing_topic("orders").unwrap().read(..).filter(Result::is_ok).count() as u64, MESSAGES);
        store.close().unwrap();
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn verify_and_salvage_say_that_they_could_not_read() {
    let disk = store();
    disk.set_faults(failing());
    assert_eq!(Store::verify_simulated(&disk, clock()).unwrap_err().kind(), ErrorKind::System);
    assert_eq!(Store::salvage_simulated(&disk, clock()).unwrap_err().kind(), ErrorKind::System);
    assert_eq!(Store::repair_simulated(&disk, clock(), 1).unwrap_err().kind(), ErrorKind::System);
    disk.set_faults(Faults::default());
    assert!(Store::verify_simulated(&disk, clock()).unwrap().damage.is_empty());
}

#[test]
fn a_message_whose_key_can_not_be_read_for_now_lets_nothing_of_its_key_pass() {
    let disk = SimDisk::new(5);
    let store = open(&disk).unwrap();
    let orders = store.topic("orders").unwrap();
    for number in 0..3 {
        orders.publish(Message::new(format!("order {number}")).key("one")).wait().unwrap();
    }
    let group = orders.consumer("in order", Group::default().ordered(WhenParked::Skip)).unwrap();
    let one = |group: &Consumer| group.lease_many(3, Duration::ZERO).map(Iterator::collect::<Vec<_>>);
    disk.set_faults(failing());
    for _ in 0..3 {
        assert_eq!(one(&group).unwrap_err().kind(), ErrorKind::System);
    }
    disk.set_faults(Faults::default());
    let leased = one(&group).unwrap();
    let offsets: Vec<u64> = leased.iter().map(|delivery| delivery.offset().get()).collect();
    assert_eq!(offsets, [0], "one of a key at a time, the first one first");
    assert_eq!(leased[0].counters().failures, 0, "nothing was charged");
}

#[test]
fn a_message_that_can_not_be_read_for_now_passes_no_filter() {
    let disk = SimDisk::new(5);
    let store = open(&disk).unwrap();
    let orders = store.topic("orders").unwrap();
    for number in 0..3_u8 {
        orders.publish(Message::new("order").header("kind", vec![number % 2])).wait().unwrap();
    }
    let odd = Group::default().filter(Filter::header("kind", vec![1]));
    let group = orders.consumer("odd", odd).unwrap();
    // It is asked again a few times, so that a disk that hesitates hands nobody what he does not want.
    disk.set_faults(failing());
    for _ in 0..3 {
        let leased = group.lease_many(3, Duration::ZERO).map(Iterator::collect::<Vec<_>>);
        assert_eq!(leased.unwrap_err().kind(), ErrorKind::System);
    }
    disk.set_faults(Faults::default());
    let leased: Vec<_> = group.lease_many(3, Duration::ZERO).unwrap().collect();
    assert!(leased.iter().map(|delivery| delivery.offset().get()).eq([1]));
    assert!(group.idle() || group.stats().ready == 0);
}
