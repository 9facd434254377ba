//! What a repair says of a fact that is damaged and that nothing else tells of: its report leaves nothing out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::testing::SimDisk;
use millpond::{Group, ManualClock, Options, Store, Timestamp};

const SEGMENT: &str = "journal/0000000001.segment";

fn clock() -> ManualClock {
    ManualClock::starting_at(Timestamp::new(1_700_000_000_000))
}

fn options() -> Options {
    Options::default().segment_bytes(16 << 10).first_segment_bytes(16 << 10)
}

/// A store whose groups `names` were created, in this order, and that was closed.
fn store(names: &[&str]) -> SimDisk {
    let disk = SimDisk::new(9);
    let store = Store::open_simulated(&disk, clock(), 1, options()).unwrap();
    let jobs = store.topic("jobs").unwrap();
    for name in names {
        jobs.consumer(name, Group::default()).unwrap();
    }
    jobs.publish("4711").wait().unwrap();
    store.close().unwrap();
    disk
}

/// Hurts the frames in which these words are.
fn hurt(disk: &SimDisk, words: &[&str]) {
    let bytes = disk.read_file(SEGMENT).unwrap();
    for word in words {
        let at = bytes.windows(word.len()).position(|window| window == word.as_bytes()).unwrap();
        disk.flip_bit(SEGMENT, at as u64, 1).unwrap();
    }
}

fn notes(disk: &SimDisk) -> Vec<String> {
    let repaired = Store::repair_simulated(disk, clock(), 2).unwrap();
    assert_eq!(repaired.lost_messages(), 0, "{repaired:?}");
    let store = Store::open_simulated(disk, clock(), 3, options()).unwrap();
    assert_eq!(store.existing_topic("jobs").unwrap().read(..).count(), 1);
    store.close().unwrap();
    repaired.notes
}

#[test]
fn a_group_of_which_nothing_is_said_but_its_creation_is_told_if_that_is_lost() {
    let disk = store(&["billing", "shipping", "analytics"]);
    hurt(&disk, &["shipping"]);
    assert_eq!(notes(&disk), ["the creation of group number 2 is lost: its progress is too"]);
}

#[test]
fn several_in_a_row_are_told_in_one_line_and_the_others_are_there() {
    let disk = store(&["billing", "shipping", "analytics", "archive"]);
    hurt(&disk, &["shipping", "analytics"]);
    assert_eq!(notes(&disk), ["the creation of the groups number 2 to 3 is lost: their progress is too"]);
    let store = Store::open_simulated(&disk, clock(), 4, options()).unwrap();
    let jobs = store.existing_topic("jobs").unwrap();
    let left: Vec<_> = jobs.stats().groups.iter().map(|group| group.name.clone()).collect();
    assert_eq!(left, ["archive", "billing"]);
}

#[test]
fn a_group_that_was_removed_is_not_told() {
    let disk = store(&["billing", "shipping", "analytics"]);
    let store = Store::open_simulated(&disk, clock(), 4, options()).unwrap();
    let jobs = store.existing_topic("jobs").unwrap();
    assert!(jobs.remove_group("analytics").unwrap());
    drop(jobs);
    store.close().unwrap();
    hurt(&disk, &["shipping"]);
    assert_eq!(notes(&disk), ["the creation of group number 2 is lost: its progress is too"]);
}
