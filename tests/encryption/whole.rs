//! What an encrypted store does is what any store does.

use crate::{id, keys, open};
use millpond::testing::SimDisk;
use millpond::{Compression, Durability, Group, Keys, Message, Offset, Retention, Store, TopicSettings, WhenParked};
use std::time::Duration;

fn settings() -> TopicSettings {
    TopicSettings::default().retention(Retention::everything()).compression(Compression::Lz4)
}

fn payload(number: u64) -> Vec<u8> {
    // Half of it can be packed.
    let noise: String =
        (0..40_u64).map(|at| format!("{:04x}", (number * 977 + at).wrapping_mul(40_503) % 65_536)).collect();
    format!("order {number} of somebody, {}, {noise}", "line after line ".repeat(usize::try_from(number % 9).unwrap()))
        .into_bytes()
}

/// Everything that is delivered and settled in one way or another, over several segments.
fn work(store: &Store) {
    let orders = store.topic_with("orders", if cfg!(feature = "lz4") { settings() } else { plain() }).unwrap();
    let group = Group::default().ordered(WhenParked::Skip).lease(Duration::from_secs(3600));
    let email = orders.consumer("email", group).unwrap();
    for round in 0..40_u64 {
        let batch = (round * 10..round * 10 + 10).map(|number| {
            let message = Message::new(payload(number)).id(format!("id {number}")).key(format!("key {}", number % 7));
            message.header("number", number.to_string())
        });
        orders.publish_all(batch.collect::<Vec<_>>()).wait().unwrap();
        let again = orders.publish(Message::new(payload(round * 10)).id(format!("id {}", round * 10)));
        assert!(again.wait().unwrap().duplicate, "an id is known again");
        for delivery in email.lease_many(7, Duration::ZERO).unwrap() {
            // Each round has eleven.
            let (of_round, round) = (delivery.offset().get() % 11, delivery.offset().get() / 11);
            let expected = if of_round < 10 { payload(round * 10 + of_round) } else { b"of a transaction".to_vec() };
            assert_eq!(delivery.payload(), expected);
            match delivery.offset().get() % 5 {
                0 => delivery.nack("not now").wait().unwrap(),
                1 => delivery.bury("never").wait().unwrap(),
                2 => delivery.release().wait().unwrap(),
                _ => delivery.ack().wait().unwrap(),
            }
        }
        let mut transaction = store.transaction();
        transaction.publish(&orders, Message::new("of a transaction").durability(Durability::Os));
        transaction.set("round", round.to_string());
        transaction.commit().wait().unwrap();
        store.step_commit().unwrap();
        store.step_upkeep().unwrap();
    }
}

fn plain() -> TopicSettings {
    TopicSettings::default().retention(Retention::everything())
}

/// All that can be seen of it.
fn seen(store: &Store) -> String {
    let orders = store.existing_topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    let mut seen = String::new();
    for record in orders.read(Offset::ZERO..) {
        let record = record.unwrap();
        let headers: Vec<_> = record.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        let (offset, payload, id, key) = (record.offset(), record.payload(), record.id(), record.key());
        seen += &format!("{offset} {payload:?} {id:?} {key:?} {headers:?}\n");
    }
    for letter in email.dead_letters() {
        let letter = letter.unwrap();
        seen += &format!("dead {} {:?}\n", letter.offset(), letter.errors());
    }
    seen + &format!("{:?}", store.get("round").unwrap())
}

#[test]
fn an_encrypted_store_shows_what_a_plain_one_shows_and_so_it_does_after_a_kill_and_a_power_cut() {
    let mut shown = Vec::new();
    for keys in [Keys::none(), keys()] {
        let disk = SimDisk::new(3);
        let store = open(&disk, 1, &keys).unwrap();
        work(&store);
        let before = seen(&store);
        let email = store.existing_topic("orders").unwrap().consumer("email", Group::default()).unwrap();
        let (counts, topics) = (email.stats(), store.stats().topics.len());
        assert_eq!(topics, 1);
        assert!(store.stats().segments.len() > 3);
        let expected = if keys == Keys::none() { None } else { Some(id("first")) };
        assert!(store.stats().segments.iter().all(|segment| segment.key == expected));
        store.sync().wait().unwrap();
        for (round, power) in [(2, false), (3, true)] {
            if power {
                disk.crash()
            } else {
                disk.kill()
            }
            let again = open(&disk, round, &keys).unwrap();
            assert!(seen(&again) == before, "after {round}");
            again.close().unwrap();
        }
        let report = crate::options(&keys).verify_simulated(&disk, crate::clock()).unwrap();
        assert!(report.damage.is_empty() && report.snapshot_damage.is_empty(), "{report:?}");
        let salvaged = crate::options(&keys).salvage_simulated(&disk, crate::clock()).unwrap();
        assert_eq!(salvaged.map(|message| message.unwrap()).collect::<Vec<_>>().len(), 440);
        shown.push((before, counts));
    }
    assert!(shown.first() == shown.last());
}

fn byte_of(length: usize) -> u8 {
    u8::try_from(length % 251).unwrap()
}

#[test]
fn large_messages_and_those_that_fill_a_segment_to_its_last_byte_go_through() {
    let disk = SimDisk::new(4);
    let store = open(&disk, 1, &keys()).unwrap();
    let orders = store.topic_with("orders", plain()).unwrap();
    // Every length near what is left of a segment, and some that need one of their own.
    let lengths: Vec<usize> = (0..120).map(|step| 27_000 + step * 13).chain([32 << 10, 100_000, 1 << 20]).collect();
    for length in &lengths {
        orders.publish(vec![byte_of(*length); *length]).wait().unwrap();
        while store.step_commit().unwrap() | store.step_upkeep().unwrap() {}
    }
    disk.crash();
    let store = open(&disk, 2, &keys()).unwrap();
    let read: Vec<usize> = store
        .existing_topic("orders")
        .unwrap()
        .read(..)
        .map(|record| {
            let record = record.unwrap();
            let length = record.payload().len();
            assert!(record.payload().iter().all(|byte| *byte == byte_of(length)));
            length
        })
        .collect();
    assert_eq!(read, lengths);
}
