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

/// How many of each of the two there are: a prefix, the same of both.
fn check(path: &Path) -> u64 {
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

#[test]
fn a_backup_under_full_load_opens_and_holds_exactly_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let store = small().open(&data).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| load(&store, &stop, &done));
        let mut linked = 0;
        for number in 0..8 {
            while done.load(Ordering::Acquire) < (number + 1) * 300 {
                std::thread::yield_now();
            }
            let path = dir.path().join(format!("backup {number}"));
            let before = done.load(Ordering::Acquire);
            // By the owner, and by somebody beside it.
            let made = if number % 2 == 0 {
                store.backup(&path).unwrap()
            } else {
                Store::open_read_only(&data).unwrap().backup(&path).unwrap()
            };
            let after = done.load(Ordering::Acquire);
            let held = check(&path);
            assert!((before..=after + 1).contains(&held), "{held} is not between {before} and {after}");
            linked += made.linked;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(cfg!(not(unix)) || linked > 8, "nothing was linked");
    });
    let all = done.load(Ordering::Acquire);
    store.close().unwrap();
    // What was done to the backups, and what the store did meanwhile, changed nothing of the others.
    assert_eq!(check(&data), all);
    for number in 0..8 {
        check(&dir.path().join(format!("backup {number}")));
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
