//! Changing keys: what is new is written under the new one from the first frame on, what is old is read with the old
//! one, and when nothing needs that any more, nothing asks for it.

use crate::frames::frames;
use crate::{FIRST, clock, id, keys, open, options};
use millpond::testing::SimDisk;
use millpond::{Durability, ErrorKind, Group, KeyId, Keys, Message, Retention, Store, TopicSettings};
use std::collections::BTreeSet;

const SECOND: [u8; 32] = [0x22; 32];

fn both() -> Keys {
    Keys::new(id("second"), &SECOND).older(id("first"), &FIRST)
}

fn publish(store: &Store, messages: std::ops::Range<u64>) {
    let kept = TopicSettings::default().retention(Retention::everything());
    let orders = store.topic_with("orders", kept).unwrap();
    for number in messages {
        orders.publish(format!("order {number} {}", "x".repeat(500))).wait().unwrap();
        while store.step_commit().unwrap() | store.step_upkeep().unwrap() {}
    }
}

fn read(store: &Store) -> u64 {
    let mut count = 0;
    for record in store.existing_topic("orders").unwrap().read(..) {
        let record = record.unwrap();
        assert_eq!(record.payload(), format!("order {} {}", record.offset(), "x".repeat(500)).as_bytes());
        count += 1;
    }
    count
}

/// The keys that segments name.
fn named(store: &Store) -> BTreeSet<Option<KeyId>> {
    store.stats().segments.iter().map(|segment| segment.key).collect()
}

/// Everything is moved to new segments, and the old ones go.
fn clean(disk: &SimDisk, seed: u64, keys: &Keys) -> Store {
    let store = open(disk, seed, keys).unwrap();
    store.clean_now().unwrap();
    store
}

#[test]
fn new_segments_have_the_new_key_old_ones_are_read_and_in_the_end_the_old_key_is_not_needed() {
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &keys()).unwrap();
    publish(&store, 0..100);
    assert_eq!(named(&store), BTreeSet::from([Some(id("first"))]));
    store.close().unwrap();

    let store = open(&disk, 2, &both()).unwrap();
    let last = store.stats().segments.last().unwrap().key;
    assert_eq!(last, Some(id("second")), "from the first frame on");
    publish(&store, 100..200);
    assert_eq!(read(&store), 200);
    assert_eq!(named(&store), BTreeSet::from([Some(id("first")), Some(id("second"))]));
    store.close().unwrap();
    let only = Keys::new(id("second"), &SECOND);
    let error = open(&disk, 3, &only).map(drop).unwrap_err();
    assert_eq!(error.code(), "key-missing");
    assert!(error.to_string().contains(r#"named "first""#), "{error}");

    let store = clean(&disk, 4, &both());
    assert_eq!(named(&store), BTreeSet::from([Some(id("second"))]));
    assert_eq!(read(&store), 200);
    drop(store);
    disk.crash();
    let store = open(&disk, 5, &only).unwrap();
    assert_eq!(read(&store), 200);
}

#[test]
fn a_segment_that_is_done_with_asks_for_no_key_though_its_file_is_there_still() {
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &keys()).unwrap();
    publish(&store, 0..100);
    store.close().unwrap();
    let old: Vec<String> = disk.file_names().into_iter().filter(|name| name.ends_with(".segment")).collect();
    let before: Vec<_> = old.iter().map(|name| (name.clone(), disk.read_file(name).unwrap())).collect();
    clean(&disk, 2, &both()).close().unwrap();
    // As if the machine had stopped before their names were gone.
    for (name, bytes) in before {
        if disk.read_file(&name).is_err() {
            disk.write_file(&name, &bytes);
        }
    }
    let store = open(&disk, 3, &Keys::new(id("second"), &SECOND)).unwrap();
    assert_eq!(read(&store), 100);
}

#[test]
fn a_store_in_plain_text_becomes_encrypted_and_an_encrypted_one_plain() {
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &Keys::none()).unwrap();
    publish(&store, 0..50);
    store.close().unwrap();
    let store = open(&disk, 2, &keys()).unwrap();
    publish(&store, 50..100);
    assert_eq!(named(&store), BTreeSet::from([None, Some(id("first"))]));
    store.close().unwrap();
    let store = clean(&disk, 3, &keys());
    assert_eq!(named(&store), BTreeSet::from([Some(id("first"))]));
    store.close().unwrap();
    let reading = Keys::none().older(id("first"), &FIRST);
    let store = open(&disk, 4, &reading).unwrap();
    publish(&store, 100..150);
    assert_eq!(named(&store), BTreeSet::from([Some(id("first")), None]));
    store.close().unwrap();
    let store = clean(&disk, 5, &reading);
    assert_eq!(named(&store), BTreeSet::from([None]));
    store.close().unwrap();
    assert_eq!(read(&open(&disk, 6, &Keys::none()).unwrap()), 150);
}

#[expect(clippy::field_reassign_with_default, reason = "there is no other way")]
fn full(capacity: u64) -> millpond::testing::Faults {
    let mut faults = millpond::testing::Faults::default();
    faults.capacity = Some(capacity);
    faults
}

#[test]
fn a_key_changes_on_a_full_disk_and_what_is_leased_is_settled_there() {
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &keys()).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.consumer("email", Group::default()).unwrap();
    let files = |disk: &SimDisk| -> u64 {
        disk.file_names().iter().map(|name| disk.read_file(name).unwrap().len() as u64).sum()
    };
    publish(&store, 0..200);
    store.close().unwrap();
    disk.set_faults(full(files(&disk)));
    let store = open(&disk, 2, &both()).unwrap();
    assert_eq!(store.stats().segments.last().unwrap().key, Some(id("second")));
    let email = store.existing_topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    for _ in 0..200 {
        email.try_lease().unwrap().unwrap().ack().wait().unwrap();
    }
    store.close().unwrap();
}

#[test]
fn a_repair_keeps_what_is_whole_under_its_keys_and_writes_what_it_adds_under_one_too() {
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &keys()).unwrap();
    publish(&store, 0..100);
    store.close().unwrap();
    let store = open(&disk, 2, &both()).unwrap();
    publish(&store, 100..200);
    let segments = store.stats().segments;
    store.close().unwrap();
    // One is gone, of one the middle is hurt, of one the header.
    let name = |at: usize| format!("journal/{:010}.segment", segments.get(at).unwrap().id.get());
    disk.remove_file(&name(0)).unwrap();
    disk.flip_bit(&name(1), 9000, 3).unwrap();
    disk.flip_bit(&name(2), 60, 3).unwrap();
    let repaired = options(&both()).repair_simulated(&disk, clock(), 3).unwrap();
    assert!(repaired.lost_messages() > 0 && repaired.lost_messages() < 200, "{repaired:?}");
    let report = options(&both()).verify_simulated(&disk, clock()).unwrap();
    assert!(report.damage.is_empty(), "{report:?}");
    for file in disk.file_names().iter().filter(|name| !name.ends_with(".txt")) {
        let bytes = disk.read_file(file).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"orders"), "{file} has the topic's name in the clear");
    }
    let store = open(&disk, 4, &both()).unwrap();
    let left: Vec<_> = store.existing_topic("orders").unwrap().read(..).map(|record| record.unwrap()).collect();
    assert_eq!(left.len() as u64, 200 - repaired.lost_messages());
    assert!(!named(&store).contains(&None));
}

#[test]
fn a_damaged_seal_right_behind_a_close_is_not_taken_for_the_clean_end() {
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &keys()).unwrap();
    publish(&store, 0..3);
    store.close().unwrap();
    let old = "journal/0000000001.segment";
    let closed = frames(&disk.read_file(old).unwrap()).len();
    // Another key: the segment is sealed where the close ended it, and all that is new is in the next one.
    let store = open(&disk, 2, &both()).unwrap();
    let orders = store.existing_topic("orders").unwrap();
    let message = Message::new(format!("order 3 {}", "x".repeat(500))).durability(Durability::Os);
    orders.publish(message).wait().unwrap();
    disk.kill();
    drop((orders, store));
    let bytes = disk.read_file(old).unwrap();
    let all = frames(&bytes);
    assert_eq!(all.len(), closed + 1, "the seal and nothing else");
    assert_eq!(read(&open(&disk.fork(4), 3, &both()).unwrap()), 4);
    let seal = all.last().unwrap().clone();
    for (what, hurt) in [("a bit", seal.end - 1..seal.end), ("all of it", seal)] {
        let disk = disk.fork(5);
        let mut bytes = bytes.clone();
        bytes[hurt].iter_mut().for_each(|byte| *byte ^= 1);
        disk.write_file(old, &bytes);
        let error = open(&disk, 3, &both()).map(drop).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        options(&both()).repair_simulated(&disk, clock(), 3).unwrap();
        assert_eq!(read(&open(&disk, 4, &both()).unwrap()), 4, "{what}");
    }
}
