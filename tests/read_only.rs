//! A store is looked at while its owner goes on: what is seen is a prefix of its history, and the owner notices
//! nothing.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and lets its threads run for a while"
)]

use millpond::testing::SimDisk;
use millpond::{Durability, ErrorKind, Group, ManualClock, Message, Offset, Options, Store, Timestamp};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

fn small() -> Options {
    Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10).durability(Durability::Os)
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_string().into_bytes();
    payload.resize(20 + usize::try_from(number % 200).unwrap(), b'.');
    payload
}

/// Publishes to two topics at once, and to a third whose messages are consumed, so that segments come and go.
fn write(path: &Path, stop: &AtomicBool, written: &AtomicU64) {
    let store = small().open(path).unwrap();
    let [left, right, churn] = ["left", "right", "churn"].map(|name| store.topic(name).unwrap());
    let _keepers = [&left, &right].map(|topic| topic.consumer("keeper", Group::default()).unwrap());
    let worker = churn.consumer("worker", Group::default()).unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        if number % 10 == 0 {
            let mut both = store.transaction();
            both.publish(&left, payload(number / 10)).publish(&right, payload(number / 10));
            both.commit().wait().unwrap();
        }
        churn.publish_all((number * 20..number * 20 + 20).map(|number| Message::new(payload(number)))).wait().unwrap();
        let batch = worker.lease_many(40, Duration::ZERO).unwrap();
        // One of a hundred stays, in segments that are mostly dead.
        let (keep, done): (Vec<_>, Vec<_>) = batch.partition(|delivery| delivery.offset().get() % 100 == 0);
        worker.ack_all(done).detach();
        keep.into_iter().for_each(std::mem::forget);
        number += 1;
        written.store(number, Ordering::Relaxed);
    }
    store.close().unwrap();
}

/// Reads everything there is, and how much that is of the first topic.
fn look(seen: &millpond::ReadOnlyStore) -> Option<u64> {
    let [left, right, churn] = ["left", "right", "churn"].map(|name| seen.topic(name));
    let (Ok(left), Ok(right), Ok(churn)) = (left, right, churn) else { return None };
    let ends = [left.bounds().unwrap().1, right.bounds().unwrap().1];
    assert_eq!(ends[0], ends[1], "half of a transaction was seen");
    for topic in [&left, &right] {
        let mut next = Offset::ZERO;
        for record in topic.read(..ends[0]) {
            let record = record.unwrap();
            assert_eq!(record.offset(), next, "a message is missing");
            assert_eq!(record.payload(), payload(next.get()));
            next = next.next();
        }
        assert!(next >= ends[0]);
    }
    let mut last = None;
    for record in churn.read(..) {
        let record = record.unwrap();
        assert!(last < Some(record.offset()));
        assert_eq!(record.payload(), payload(record.offset().get()));
        last = Some(record.offset());
    }
    let stats = seen.stats().unwrap();
    assert_eq!(stats.topics.len(), 3);
    Some(ends[0].get())
}

/// Whether more segments have gone than are there.
fn came_and_went(path: &std::path::Path) -> bool {
    let segments = Store::open_read_only(path).unwrap().stats().unwrap().segments;
    segments.last().unwrap().id.get() > 2 * u32::try_from(segments.len()).unwrap()
}

#[test]
fn observers_that_open_and_read_all_the_time_see_whole_prefixes_while_the_owner_runs_at_full_rate() {
    let dir = tempfile::tempdir().unwrap();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let looks = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(dir.path(), &stop, &written));
        while written.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let observers = [false, true].map(|anew| {
            scope.spawn({
                let (stop, written, path) = (&stop, &written, dir.path());
                move || {
                    let mut seen = Store::open_read_only(path).unwrap();
                    let (mut before, mut looks) = (0, 0);
                    while !stop.load(Ordering::Relaxed) {
                        let least = written.load(Ordering::Relaxed);
                        if anew {
                            seen = Store::open_read_only(path).unwrap();
                        } else {
                            seen.refresh().unwrap();
                        }
                        if let Some(count) = look(&seen) {
                            assert!(count >= before, "what was seen is gone");
                            assert!(count >= least / 10, "what had been written before is not seen");
                            before = count;
                        }
                        looks += 1;
                    }
                    looks
                }
            })
        });
        // Until enough went through, on a slow machine too.
        for _ in 0..1200 {
            std::thread::sleep(Duration::from_millis(50));
            if (written.load(Ordering::Relaxed) > 2000 && came_and_went(dir.path()))
                || writer.is_finished()
                || observers.iter().any(std::thread::ScopedJoinHandle::is_finished)
            {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        observers.map(|observer| observer.join().unwrap())
    });
    assert!(looks.iter().all(|looks| *looks > 3), "{looks:?}");
    // Many segments came and went, or nothing was tried here.
    assert!(came_and_went(dir.path()));
    let seen = Store::open_read_only(dir.path()).unwrap();
    // Whoever only looks has it open while somebody owns it, and the other way round.
    let store = small().open(dir.path()).unwrap();
    store.topic("left").unwrap().publish("4711").wait().unwrap();
    assert!(seen.refresh().unwrap());
    assert_eq!(seen.topic("left").unwrap().read(..).last().unwrap().unwrap().payload(), b"4711");
    store.close().unwrap();
    seen.refresh().unwrap();
    assert!(!seen.refresh().unwrap(), "there is nothing new in a store that is closed");
}

fn simulated(disk: &SimDisk) -> (Store, ManualClock) {
    let clock = ManualClock::starting_at(Timestamp::new(1_000_000));
    (Store::open_simulated(disk, clock.clone(), 1, small()).unwrap(), clock)
}

#[test]
fn looking_writes_nothing_and_a_torn_tail_is_where_the_store_ends() {
    let disk = SimDisk::new(7);
    let (store, clock) = simulated(&disk);
    let orders = store.topic("orders").unwrap();
    for number in 0..50 {
        orders.publish(Message::new(payload(number)).durability(Durability::Disk)).wait().unwrap();
    }
    (50..60).for_each(|number| _ = orders.publish(Message::new(payload(number))).wait().unwrap());
    disk.crash();
    let names = || {
        let mut names = disk.file_names();
        names.sort();
        names.into_iter().map(|name| (disk.read_file(&name).unwrap(), name)).collect::<Vec<_>>()
    };
    let before = names();
    let seen = Store::observe_simulated(&disk, clock.clone(), small()).unwrap();
    let records: Vec<_> = seen.topic("orders").unwrap().read(..).map(Result::unwrap).collect();
    assert!((50..=60).contains(&records.len()), "{}", records.len());
    for (number, record) in (0..).zip(&records) {
        assert_eq!(record.payload(), payload(number));
    }
    assert!(names() == before, "looking has changed something");
    drop((store, seen));
    // The next owner is promised the same.
    let (store, _) = simulated(&disk);
    assert_eq!(store.topic("orders").unwrap().end_offset().get(), records.len() as u64);
}

#[test]
fn what_is_damaged_is_said_and_what_is_no_store_is_none() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Store::open_read_only(dir.path()).unwrap_err().code(), "no-such-store");
    let disk = SimDisk::new(7);
    let (store, clock) = simulated(&disk);
    let orders = store.topic("orders").unwrap();
    for number in 0..50 {
        orders.publish(Message::new(payload(number)).durability(Durability::Disk)).wait().unwrap();
    }
    let name = disk.file_names().into_iter().find(|name| name.ends_with("1.segment")).unwrap();
    disk.flip_bit(&name, 6000, 3).unwrap();
    let error = Store::observe_simulated(&disk, clock, small()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(error.damage().len(), 1);
    drop(store);
}
