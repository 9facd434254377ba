//! Somebody who can write to the files, and knows how checksums are made, and has no key: what they change is damage,
//! and never a message.

use crate::frames::{FRAME, encrypted, frames, seal};
use crate::{clock, keys, open, options};
use millpond::testing::SimDisk;
use millpond::{Durability, ErrorKind, Message, Retention, TopicSettings};

const NAME: &str = "journal/0000000001.segment";
const MESSAGES: usize = 12;

fn payload(number: usize) -> Vec<u8> {
    format!("message {number:04} of as many bytes as any other").into_bytes()
}

/// A closed store, and its only segment.
fn closed() -> (SimDisk, Vec<u8>) {
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &keys()).unwrap();
    let orders = store.topic_with("orders", TopicSettings::default().retention(Retention::everything())).unwrap();
    for number in 0..MESSAGES {
        orders.publish(payload(number)).wait().unwrap();
    }
    store.close().unwrap();
    let segment = disk.read_file(NAME).unwrap();
    (disk, segment)
}

/// The store with this segment: it is told that it is damaged, and what can be read is what was written.
fn check(disk: &SimDisk, segment: &[u8], what: &str) {
    let hurt = disk.fork(7);
    hurt.write_file(NAME, segment);
    let error = open(&hurt, 2, &keys()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    assert!(hurt.read_file(NAME).unwrap() == segment, "{what}: something was written");
    let report = options(&keys()).verify_simulated(&hurt, clock()).unwrap();
    assert!(!report.damage.is_empty(), "{what}");
    let salvaged = options(&keys()).salvage_simulated(&hurt, clock()).unwrap();
    for message in salvaged {
        let record = message.unwrap().record;
        let number = usize::try_from(record.offset().get()).unwrap();
        assert_eq!(record.payload(), payload(number), "{what}");
    }
    options(&keys()).repair_simulated(&hurt, clock(), 3).unwrap();
    let store = open(&hurt, 4, &keys()).unwrap();
    for record in store.existing_topic("orders").unwrap().read(..) {
        let record = record.unwrap();
        assert_eq!(record.payload(), payload(usize::try_from(record.offset().get()).unwrap()), "{what}");
    }
    store.close().unwrap();
    assert!(options(&keys()).verify_simulated(&hurt, clock()).unwrap().damage.is_empty(), "{what}");
}

#[test]
fn a_changed_byte_with_forged_checksums_is_damage_wherever_it_is() {
    let (disk, whole) = closed();
    let all = encrypted(&whole);
    let frame = all.get(all.len() - 4).unwrap().clone();
    // Nonce, cipher text and tag.
    for at in frame.start + FRAME..frame.end {
        let mut segment = whole.clone();
        segment[at] ^= 0x40;
        seal(&mut segment, 1, &frame);
        check(&disk, &segment, &format!("byte {at}"));
    }
    // And what the header says: its flags, and what it says to be durable.
    for (at, bit) in [(3, 0x10), (3, 0x20), (3, 0x40), (4, 1), (5, 1)] {
        let mut segment = whole.clone();
        segment[frame.start + at] ^= bit;
        seal(&mut segment, 1, &frame);
        check(&disk, &segment, &format!("header byte {at} bit {bit}"));
    }
}

#[test]
fn frames_that_change_places_are_damage_though_their_checksums_are_forged() {
    let (disk, whole) = closed();
    let all = encrypted(&whole);
    let alike: Vec<_> = all.iter().filter(|frame| frame.len() == all.last().unwrap().len()).cloned().collect();
    let same: Vec<_> = all.iter().rev().skip(2).take(4).cloned().collect();
    assert!(alike.len() + same.len() > 4);
    let [one, other] = [&same[0], &same[2]];
    assert_eq!(one.len(), other.len());
    let mut segment = whole.clone();
    segment[one.clone()].copy_from_slice(&whole[other.clone()]);
    segment[other.clone()].copy_from_slice(&whole[one.clone()]);
    for frame in [one, other] {
        // Each says still what was durable at its own place.
        segment[frame.start + 4..frame.start + 8].copy_from_slice(&whole[frame.start + 4..frame.start + 8]);
        seal(&mut segment, 1, frame);
    }
    check(&disk, &segment, "two frames that were swapped");
    let mut segment = whole.clone();
    let copy = whole[one.start + FRAME..one.end].to_vec();
    segment[other.start + FRAME..other.end].copy_from_slice(&copy);
    seal(&mut segment, 1, other);
    check(&disk, &segment, "a frame that is there twice");
}

/// Nothing else gives them away: each topic has all its messages in their order, wherever between the other's they are.
#[test]
fn neighbours_of_two_topics_that_change_places_are_damage_though_their_headers_say_the_same() {
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &keys()).unwrap();
    let kept = || TopicSettings::default().retention(Retention::everything());
    let topics = ["orders", "others"].map(|name| store.topic_with(name, kept()).unwrap());
    for number in 0..MESSAGES {
        for topic in &topics {
            topic.publish(Message::new(payload(number)).durability(Durability::Os)).wait().unwrap();
        }
    }
    store.close().unwrap();
    let whole = disk.read_file(NAME).unwrap();
    let all = encrypted(&whole);
    let head = |frame: &std::ops::Range<usize>| whole.get(frame.start..frame.start + 8).unwrap().to_vec();
    let alike = |two: &&[std::ops::Range<usize>]| head(&two[0]) == head(&two[1]);
    let two = all.windows(2).rfind(alike).unwrap();
    let mut segment = whole.clone();
    for (from, to) in [(0, 1), (1, 0)] {
        let body = whole[two[from].start + FRAME..two[from].end].to_vec();
        segment[two[to].start + FRAME..two[to].end].copy_from_slice(&body);
        seal(&mut segment, 1, &two[to]);
    }
    check(&disk, &segment, "two neighbours that were swapped");
}

#[test]
fn a_frame_in_plain_text_is_not_taken_into_an_encrypted_segment() {
    let (disk, whole) = closed();
    let plain = SimDisk::new(3);
    let store = open(&plain, 1, &millpond::Keys::none()).unwrap();
    let orders = store.topic_with("orders", TopicSettings::default().retention(Retention::everything())).unwrap();
    for length in 0..200 {
        orders.publish(vec![b'x'; length]).wait().unwrap();
    }
    store.close().unwrap();
    let plain = plain.read_file(NAME).unwrap();
    let all = encrypted(&whole);
    let frame = all.get(all.len() - 4).unwrap().clone();
    let forged = frames(&plain).into_iter().find(|one| one.len() == frame.len()).unwrap();
    let mut segment = whole.clone();
    segment[frame.clone()].copy_from_slice(&plain[forged]);
    segment[frame.start + 4..frame.start + 8].copy_from_slice(&whole[frame.start + 4..frame.start + 8]);
    seal(&mut segment, 1, &frame);
    check(&disk, &segment, "a frame in plain text");
}

#[test]
fn what_is_changed_while_the_store_is_open_is_damage_when_it_is_read() {
    let (disk, whole) = closed();
    let store = open(&disk, 2, &keys()).unwrap();
    let orders = store.existing_topic("orders").unwrap();
    let frame = encrypted(&whole).get(MESSAGES / 2).unwrap().clone();
    let mut segment = disk.read_file(NAME).unwrap();
    segment[frame.start + FRAME + 20] ^= 1;
    seal(&mut segment, 1, &frame);
    disk.write_file(NAME, &segment);
    let mut read = 0;
    let mut failed = None;
    for record in orders.read(..) {
        match record {
            Ok(record) => {
                assert_eq!(record.payload(), payload(usize::try_from(record.offset().get()).unwrap()));
                read += 1;
            }
            Err(error) => failed = Some(error),
        }
    }
    let error = failed.unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(error.damage().first().unwrap().from, frame.start as u64, "{error}");
    assert!(read > 0);
}

#[test]
fn the_end_of_a_store_that_was_not_closed_is_damage_too_if_somebody_changed_it() {
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &keys()).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.publish("first").wait().unwrap();
    orders.publish("last").wait().unwrap();
    disk.kill();
    drop((orders, store));
    let mut segment = disk.read_file(NAME).unwrap();
    let frame = encrypted(&segment).last().unwrap().clone();
    segment[frame.end - 1] ^= 1;
    // With its own checksum it is a torn write, as in any store.
    let torn = disk.fork(1);
    torn.write_file(NAME, &segment);
    let store = open(&torn, 2, &keys()).unwrap();
    assert!(store.recovery().trimmed.is_some());
    // With a forged one it is whole, and not what was encrypted: nothing that a crash leaves.
    seal(&mut segment, 1, &frame);
    disk.write_file(NAME, &segment);
    assert_eq!(open(&disk, 2, &keys()).map(drop).unwrap_err().kind(), ErrorKind::Corrupt);
}
