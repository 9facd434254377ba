//! Reading on in order decrypts many frames at a time where they stand: what comes out is what was published, however
//! it is read, and a frame that was changed ends it there and nowhere else.

use crate::frames::{FRAME, encrypted, seal};
use crate::{clock, keys, options};
use millpond::testing::SimDisk;
use millpond::{Compression, ErrorKind, Message, Offset, Options, Retention, Store, Topic, TopicSettings};

const MESSAGES: u64 = 600;

fn payload(number: u64) -> Vec<u8> {
    format!("message {number:04} {}", "x".repeat(usize::try_from(number % 90).unwrap())).into_bytes()
}

/// Two topics in turn: one with single messages, some with attributes, and one with batches, packed or not.
fn publish(store: &Store) {
    let kept = || TopicSettings::default().retention(Retention::everything());
    let packed = if cfg!(feature = "lz4") { Compression::Lz4 } else { Compression::Off };
    let (orders, other) = (store.topic_with("orders", kept()), store.topic_with("other", kept().compression(packed)));
    let (orders, other) = (orders.unwrap(), other.unwrap());
    for number in 0..MESSAGES {
        let message = Message::new(payload(number));
        let message = if number % 7 == 3 { message.key(format!("key {number}")) } else { message };
        orders.publish(message).wait().unwrap();
        if number % 10 == 9 {
            other.publish_all((number - 9..=number).map(|number| payload(number).into())).wait().unwrap();
            while store.step_commit().unwrap() | store.step_upkeep().unwrap() {}
        }
    }
}

fn large(cache: usize) -> Options {
    options(&keys()).segment_bytes(128 << 10).first_segment_bytes(128 << 10).tail_cache_bytes(cache)
}

fn all(topic: &Topic, from: u64) -> Vec<u64> {
    let read = topic.read(Offset::new(from)..).map(|record| {
        let record = record.unwrap();
        assert_eq!(record.payload(), payload(record.offset().get()));
        record.offset().get()
    });
    read.collect()
}

#[test]
fn every_message_comes_out_as_it_was_published_wherever_reading_begins() {
    for cache in [0, 4 << 20] {
        let disk = SimDisk::new(3);
        let store = Store::open_simulated(&disk, clock(), 1, large(cache)).unwrap();
        publish(&store);
        for topic in ["orders", "other"] {
            let topic = store.existing_topic(topic).unwrap();
            for from in (0..MESSAGES).step_by(61) {
                assert_eq!(all(&topic, from), (from..MESSAGES).collect::<Vec<_>>(), "cache {cache}");
            }
            // Onward, and then back to where it was decrypted already.
            for first in [0, 400, 20, 390, 410, 5] {
                let some = topic.read(Offset::new(first)..).take(40);
                assert!(some.zip(first..).all(|(one, number)| one.unwrap().payload() == payload(number)));
            }
        }
        store.close().unwrap();
    }
}

#[test]
fn a_changed_frame_in_the_middle_ends_reading_there_and_those_behind_it_can_be_read() {
    let disk = SimDisk::new(3);
    let store = Store::open_simulated(&disk, clock(), 1, large(0)).unwrap();
    publish(&store);
    let name = "journal/0000000001.segment";
    let whole = disk.read_file(name).unwrap();
    let orders = store.existing_topic("orders").unwrap();
    for at in [5, 300, 301, 590] {
        let frame = encrypted(&whole).get(at).unwrap().clone();
        // With its own checksum, and with a forged one that fits.
        for forged in [false, true] {
            let mut hurt = whole.clone();
            hurt[frame.start + FRAME + 20] ^= 1;
            if forged {
                seal(&mut hurt, 1, &frame);
            }
            disk.write_file(name, &hurt);
            let (mut read, mut failed) = (Vec::new(), Vec::new());
            for record in orders.read(..) {
                match record {
                    Ok(record) => {
                        assert_eq!(record.payload(), payload(record.offset().get()));
                        read.push(record.offset().get());
                    }
                    Err(error) => failed.push(error),
                }
            }
            let what = format!("frame {at}, forged {forged}: {failed:?}");
            let first = failed.first().unwrap();
            assert_eq!(first.kind(), ErrorKind::Corrupt, "{what}");
            assert_eq!(first.damage().first().unwrap().from, frame.start as u64, "{what}");
            let next = read.last().unwrap() + 1;
            assert_eq!(read, (0..next).collect::<Vec<_>>(), "{what}");
            // An index leads to within four kibibytes of a message.
            let behind = (next + 100).min(MESSAGES);
            assert_eq!(all(&orders, behind), (behind..MESSAGES).collect::<Vec<_>>(), "{what}");
        }
    }
    disk.write_file(name, &whole);
    assert_eq!(all(&orders, 0).len() as u64, MESSAGES);
}
