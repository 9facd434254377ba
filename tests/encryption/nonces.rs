//! No two frames are ever encrypted with the same nonce: not in a place that is written again after a crash, not in two
//! copies of a store that both go on, not in a file that is used again.

use crate::frames::{FRAME, encrypted};
use crate::{keys, open};
use millpond::testing::SimDisk;
use std::collections::{BTreeMap, BTreeSet};

/// The random part of a nonce, with the frame's place, and the frame.
type Used = BTreeMap<([u8; 16], String, usize), Vec<u8>>;

/// Takes in every nonce that is on the disk. What is there again has to be the very same frame.
fn note(disk: &SimDisk, used: &mut Used) {
    for name in disk.file_names().into_iter().filter(|name| name.ends_with(".segment")) {
        let segment = disk.read_file(&name).unwrap();
        for frame in encrypted(&segment) {
            let stored = segment.get(frame.start + FRAME..frame.end).unwrap().to_vec();
            let nonce = *stored.first_chunk().unwrap();
            let before = used.insert((nonce, name.clone(), frame.start), stored.clone());
            assert!(
                before.is_none_or(|before| before == stored),
                "{name} byte {}: a nonce for two frames",
                frame.start
            );
        }
    }
}

#[test]
fn the_random_part_is_another_one_in_every_frame_whatever_is_written_again() {
    let disk = SimDisk::new(3);
    let mut used = Used::new();
    let mut seed = 1;
    for round in 0..30_u64 {
        // Two copies go on from the same state, and write the same at the same place.
        for copy in 0..2 {
            let twin = disk.fork(round * 2 + copy);
            seed += 1;
            let store = open(&twin, seed, &keys()).unwrap();
            let orders = store.topic("orders").unwrap();
            orders.publish("the same in both").wait().unwrap();
            note(&twin, &mut used);
        }
        seed += 1;
        let store = open(&disk, seed, &keys()).unwrap();
        let orders = store.topic("orders").unwrap();
        for number in 0..20 {
            // Some of it is cut off by the crash, and its place is written again.
            let level = if number % 3 == 0 { millpond::Durability::Disk } else { millpond::Durability::Os };
            orders.publish(millpond::Message::new(vec![7; 300]).durability(level)).wait().unwrap();
        }
        while store.step_commit().unwrap() | store.step_upkeep().unwrap() {}
        note(&disk, &mut used);
        std::mem::forget(store);
        disk.crash();
    }
    let random: BTreeSet<[u8; 16]> = used.keys().map(|(random, ..)| *random).collect();
    assert_eq!(random.len(), used.len(), "a random part is there twice");
    let places: BTreeSet<(&String, usize)> = used.keys().map(|(_, name, at)| (name, *at)).collect();
    assert!(used.len() > 700 && places.len() < used.len() - 50, "{} frames, {} places", used.len(), places.len());
}

#[test]
fn the_same_message_at_the_same_place_is_other_bytes_each_time() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let disk = SimDisk::new(3);
        let store = open(&disk, 100 + seed, &keys()).unwrap();
        store.topic("orders").unwrap().publish("4711").wait().unwrap();
        let segment = disk.read_file("journal/0000000001.segment").unwrap();
        let last = encrypted(&segment).last().unwrap().clone();
        assert!(seen.insert(segment.get(last.start + FRAME + 16..last.end).unwrap().to_vec()));
    }
}
