//! A backup made under full load opens, verifies, and holds exactly a prefix of the history.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and moves files")]

use millpond::{Durability, Group, Message, Offset, Options, Store};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

fn small() -> Options {
    Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10).durability(Durability::Os)
}

/// Publishes the same to two topics, whole or not at all, and consumes from a third, until it is told to stop.
fn load(store: &Store, stop: &AtomicBool, done: &AtomicU64) {
    let [left, right, churn] = ["left", "right", "churn"].map(|name| store.topic(name).unwrap());
    let _keepers = [&left, &right].map(|topic| topic.consumer("keeper", Group::default()).unwrap());
    let worker = churn.consumer("worker", Group::default()).unwrap();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut both = store.transaction();
        both.publish(&left, number.to_string()).publish(&right, number.to_string());
        both.commit().wait().unwrap();
        done.store(number + 1, Ordering::Release);
        churn.publish_all((0..20).map(|_| Message::new(vec![7; 100]))).wait().unwrap();
        let batch = worker.lease_many(20, Duration::ZERO).unwrap();
        worker.ack_all(batch).detach();
    }
}

/// Publishes messages with rising ids, and acks all but one of fifty, so that segments become mostly dead, until it is
/// told to stop. Counts what was acked, as far as that is with the operating system.
fn ids(store: &Store, stop: &AtomicBool, acked: &AtomicU64) {
    let named = store.topic("named").unwrap();
    let worker = named.consumer("worker", Group::default().lease(Duration::from_secs(3600))).unwrap();
    let mut next = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let message = |number: u64| Message::new(number.to_string()).id(number.to_string());
        named.publish_all((next..next + 10).map(message)).wait().unwrap();
        next += 10;
        let (keep, done): (Vec<_>, Vec<_>) =
            worker.lease_many(10, Duration::ZERO).unwrap().partition(|delivery| delivery.offset().get() % 50 == 0);
        let far = keep.iter().chain(&done).map(|delivery| delivery.offset().get() + 1).max();
        worker.ack_all(done).wait().unwrap();
        keep.into_iter().for_each(std::mem::forget);
        acked.fetch_max(far.unwrap_or(0), Ordering::Release);
        // The others are to have the store, too.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What was acked before does not come again, every id is known, and those that are still to come are not.
fn check_ids(store: &Store, acked: u64) {
    let named = store.existing_topic("named").unwrap();
    let end = named.end_offset().get();
    assert!(end >= acked);
    let worker = named.consumer("worker", Group::default()).unwrap();
    while let Some(delivery) = worker.try_lease().unwrap() {
        let offset = delivery.offset().get();
        assert!(offset % 50 == 0 || offset >= acked, "{offset} was acked");
        assert_eq!(delivery.payload(), offset.to_string().as_bytes());
        std::mem::forget(delivery);
    }
    for number in (0..end).step_by(97).chain([end - 1]) {
        let receipt = named.publish(Message::new(number.to_string()).id(number.to_string())).wait().unwrap();
        assert!(receipt.duplicate && receipt.offset.get() == number, "{receipt:?} of {number}");
    }
    assert!(!named.publish(Message::new("new").id(end.to_string())).wait().unwrap().duplicate);
}

/// How many of each of the two there are: a prefix, the same of both.
fn check(path: &Path, acked: u64) -> u64 {
    assert!(Store::verify(path, |_| ()).unwrap().damage.is_empty());
    let store = small().create(false).open(path).unwrap();
    let ends = ["left", "right"].map(|name| {
        let mut next = 0;
        for record in store.existing_topic(name).unwrap().read(..) {
            let record = record.unwrap();
            assert_eq!((record.offset().get(), record.payload()), (next, next.to_string().as_bytes()));
            next += 1;
        }
        next
    });
    assert_eq!(ends[0], ends[1], "half of a transaction is in the backup");
    check_ids(&store, acked);
    // It is a store like any other.
    let churn = store.existing_topic("churn").unwrap();
    let worker = churn.consumer("worker", Group::default()).unwrap();
    let left = churn.end_offset();
    while !worker.idle() {
        worker.ack_all(worker.lease_many(100, Duration::ZERO).unwrap()).wait().unwrap();
    }
    assert_eq!(churn.publish("more").wait().unwrap().offset, left);
    store.close().unwrap();
    assert!(Store::verify(path, |_| ()).unwrap().damage.is_empty());
    ends[0]
}

/// Tells the others to stop, also when this one fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// By somebody beside the owner. Where segments are given back faster than he can take them up, nothing is left of the
/// attempt, and he tries again.
fn beside(data: &Path, path: &Path) -> millpond::Backup {
    for _ in 0..20 {
        match Store::open_read_only(data).unwrap().backup(path) {
            Ok(made) => return made,
            Err(error) => {
                assert!(error.to_string().contains("No such file") && !path.join("identity").exists(), "{error}")
            }
        }
    }
    unreachable!("it was never made");
}

#[test]
fn a_backup_under_full_load_opens_and_holds_exactly_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let store = small().open(&data).unwrap();
    let (stop, done, acked) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| load(&store, &stop, &done));
        scope.spawn(|| ids(&store, &stop, &acked));
        let _stop = Stop(&stop);
        let mut linked = 0;
        for number in 0..8 {
            while done.load(Ordering::Acquire) < (number + 1) * 300 {
                std::thread::yield_now();
            }
            let path = dir.path().join(format!("backup {number}"));
            while acked.load(Ordering::Acquire) < 1000 {
                std::thread::yield_now();
            }
            let (before, settled) = (done.load(Ordering::Acquire), acked.load(Ordering::Acquire));
            // By the owner, and by somebody beside it.
            let made = if number % 2 == 0 { store.backup(&path).unwrap() } else { beside(&data, &path) };
            let after = done.load(Ordering::Acquire);
            let held = check(&path, settled);
            assert!((before..=after + 1).contains(&held), "{held} is not between {before} and {after}");
            linked += made.linked;
        }
        assert!(cfg!(not(unix)) || linked > 8, "nothing was linked");
    });
    let (all, settled) = (done.load(Ordering::Acquire), acked.load(Ordering::Acquire));
    let newest = store.stats().segments.last().map_or(0, |segment| segment.id.get() as usize);
    assert!(newest > store.stats().segments.len() + 20, "no segment was cleaned or used again");
    store.close().unwrap();
    // What was done to the backups, and what the store did meanwhile, changed nothing of the others.
    assert_eq!(check(&data, settled), all);
    for number in 0..8 {
        let path = dir.path().join(format!("backup {number}"));
        assert!(Store::verify(&path, |_| ()).unwrap().damage.is_empty());
        assert!(small().create(false).open(&path).unwrap().close().is_ok());
    }
}

/// The identity comes last: killed before that, a backup is no store, and is taken neither for one nor for a place to
/// make one.
#[test]
fn half_a_backup_is_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path().join("data")).unwrap();
    store.topic("orders").unwrap().publish("4711").wait().unwrap();
    let backup = dir.path().join("backup");
    store.backup(&backup).unwrap();
    for unfinished in [true, false] {
        // As a kill leaves it before the last rename, and before the file that is renamed.
        let (identity, before) = (backup.join("identity"), backup.join("identity.new"));
        if unfinished {
            std::fs::rename(&identity, &before).unwrap()
        } else {
            std::fs::remove_file(&before).unwrap()
        }
        let error = Store::open(&backup).map(drop).unwrap_err();
        assert!(!identity.exists(), "{error}");
        assert!(store.backup(&backup).is_err());
    }
    store.close().unwrap();
}

#[test]
fn a_directory_with_anything_in_it_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = small().open(dir.path().join("data")).unwrap();
    store.topic("orders").unwrap().publish("4711").wait().unwrap();
    let backup = dir.path().join("backup");
    let made = store.backup(&backup).unwrap();
    assert_eq!((made.segments, made.linked), (1, 0));
    assert!(made.copied_bytes < 64 << 10, "no more than there is");
    let error = store.backup(&backup).unwrap_err();
    assert_eq!(error.code(), "not-a-store", "{error}");
    let restored = Store::open(&backup).unwrap();
    assert_eq!(restored.topic("orders").unwrap().end_offset(), Offset::new(1));
    restored.close().unwrap();
    store.close().unwrap();
}
