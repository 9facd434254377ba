//! Topics whose messages are packed on the disk (feature `lz4`): everything is as it is without, but for what the disk
//! holds; and a build without the feature says what it lacks.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::testing::SimDisk;
use millpond::{Compression, ErrorKind, ManualClock, Options, Store, Timestamp, Topic, TopicSettings};

fn options() -> Options {
    Store::options().segment_bytes(32 << 10).first_segment_bytes(32 << 10).tail_cache_bytes(0)
}

fn open(disk: &SimDisk, seed: u64) -> millpond::Result<Store> {
    Store::open_simulated(disk, ManualClock::starting_at(Timestamp::new(1_700_000_000_000)), seed, options())
}

fn topic(store: &Store, compression: Compression) -> millpond::Result<Topic> {
    store.topic_with("orders", TopicSettings::default().compression(compression))
}

#[cfg(not(feature = "lz4"))]
#[test]
fn a_build_without_the_feature_refuses_the_setting_and_names_it() {
    let store = open(&SimDisk::new(1), 1).unwrap();
    let error = topic(&store, Compression::Lz4).unwrap_err();
    assert_eq!(error.code(), "bad-setting");
    assert!(error.to_string().contains("the feature `lz4`"), "{error}");
    assert!(topic(&store, Compression::Off).is_ok());
}

/// A store that a build with the feature has made: `fixtures/packed`.
#[cfg(not(feature = "lz4"))]
#[test]
fn a_build_without_the_feature_says_what_it_lacks_and_changes_nothing() {
    let disk = fixture();
    let error = open(&disk, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("the feature `lz4`"), "{error}");
    for (name, _) in FIXTURE {
        assert!(disk.read_file(name).unwrap() == fixture().read_file(name).unwrap(), "{name} was written to");
    }
}

const FIXTURE: [(&str, &[u8]); 2] = [
    ("identity", include_bytes!("fixtures/packed/identity")),
    ("journal/0000000001.segment", include_bytes!("fixtures/packed/0000000001.segment")),
];

fn fixture() -> SimDisk {
    let disk = SimDisk::new(9);
    for (name, bytes) in FIXTURE {
        let mut bytes = bytes.to_vec();
        // Zeros at its end are not kept with it.
        if name.ends_with("segment") {
            bytes.resize(32 << 10, 0);
        }
        disk.write_file(name, &bytes);
    }
    disk
}

#[cfg(feature = "lz4")]
mod with_it {
    use super::*;
    use millpond::{Durability, Group, Message, Offset, Retention};
    use std::time::Duration;

    fn payload(number: u64) -> Vec<u8> {
        format!("{{\"order\": {number}, \"customer\": \"somebody with a name\", \"lines\": [{number}, {number}]}}")
            .into_bytes()
    }

    fn batch(from: u64, count: u64) -> Vec<Message> {
        (from..from + count).map(|number| Message::new(payload(number)).key(format!("key {}", number % 7))).collect()
    }

    fn check(topic: &Topic, messages: u64) {
        let mut next = 0;
        for record in topic.read(..) {
            let record = record.unwrap();
            assert_eq!((record.offset().get(), record.payload()), (next, &payload(next)[..]));
            assert_eq!(record.key().unwrap(), format!("key {}", next % 7).as_bytes());
            next += 1;
        }
        assert_eq!(next, messages);
    }

    /// Bytes of the journal's frames.
    fn written(store: &Store) -> u64 {
        store.stats().segments.iter().map(|segment| segment.bytes).sum()
    }

    #[test]
    fn batches_take_less_of_the_disk_and_are_read_leased_and_recovered_as_ever() {
        let (mut sizes, mut states) = (Vec::new(), Vec::new());
        for compression in [Compression::Off, Compression::Lz4] {
            let disk = SimDisk::new(3);
            let store = open(&disk, 1).unwrap();
            let orders = topic(&store, compression).unwrap();
            let email = orders.consumer("email", Group::default()).unwrap();
            for round in 0..20 {
                let receipt = orders.publish_all(batch(round * 50, 50)).wait().unwrap();
                assert_eq!(receipt.first, Offset::new(round * 50));
            }
            sizes.push(written(&store));
            for delivery in email.lease_many(120, Duration::ZERO).unwrap() {
                assert_eq!(delivery.payload(), payload(delivery.offset().get()));
                if delivery.offset().get() % 3 == 0 { delivery.ack() } else { delivery.nack("no") }.wait().unwrap();
            }
            disk.kill();
            drop(store);
            let store = open(&disk, 2).unwrap();
            let orders = store.existing_topic("orders").unwrap();
            check_from(&orders, 1000);
            let stats = orders.consumer("email", Group::default()).unwrap().stats();
            states.push((stats.ready, stats.retrying, orders.stats().backlog, orders.stats().bytes));
            assert!(
                Store::verify_simulated(&disk, ManualClock::starting_at(Timestamp::new(1_700_000_000_000))).is_ok()
            );
        }
        assert!(sizes[1] * 5 < sizes[0] * 3, "{sizes:?}");
        assert_eq!(states[0], states[1]);
    }

    /// What the group has settled may be gone.
    fn check_from(orders: &Topic, end: u64) {
        let mut count = 0;
        for record in orders.read(..) {
            let record = record.unwrap();
            assert_eq!(record.payload(), payload(record.offset().get()));
            count += 1;
        }
        assert!(count >= end - 120 && orders.end_offset().get() == end, "{count}");
    }

    #[test]
    fn what_is_cleaned_stays_packed_and_the_disk_stays_bounded() {
        let disk = SimDisk::new(3);
        let store = open(&disk, 1).unwrap();
        let orders = topic(&store, Compression::Lz4).unwrap();
        let email = orders.consumer("email", Group::default().lease(Duration::from_secs(86_400))).unwrap();
        let mut held = 0;
        for round in 0..400 {
            orders.publish_all(batch(round * 50, 50)).wait().unwrap();
            let leased = email.lease_many(50, Duration::ZERO).unwrap();
            // One of ten stays.
            let (keep, done): (Vec<_>, Vec<_>) = leased.partition(|delivery| delivery.offset().get() % 10 == 0);
            email.ack_all(done).wait().unwrap();
            held += keep.len();
            keep.into_iter().for_each(std::mem::forget);
            for _ in 0..50 {
                store.step_commit().unwrap();
                store.step_upkeep().unwrap();
            }
        }
        store.clean_now().unwrap();
        let stats = store.stats();
        assert!(stats.segments.last().unwrap().id.get() as usize > 2 * stats.segments.len(), "{stats:?}");
        let live: u64 = stats.segments.iter().map(|segment| segment.live_bytes).sum();
        assert!(stats.segments.iter().all(|segment| segment.live_bytes <= segment.bytes), "{stats:?}");
        let plain: u64 = (0..20_000).step_by(10).map(|n| payload(n).len() as u64 + 24).sum();
        let used: u64 = stats.segments.iter().map(|segment| segment.bytes).sum();
        assert!(used < plain, "{used} for {plain}, {live} live, {stats:?}");
        disk.crash();
        drop((orders, email, store));
        let store = open(&disk, 2).unwrap();
        let orders = store.existing_topic("orders").unwrap();
        let email = orders.consumer("email", Group::default()).unwrap();
        let mut left = 0;
        while let Some(delivery) = email.try_lease().unwrap() {
            assert_eq!(delivery.payload(), payload(delivery.offset().get()));
            assert_eq!(delivery.offset().get() % 10, 0);
            delivery.ack().wait().unwrap();
            left += 1;
        }
        assert_eq!(left, held);
    }

    #[test]
    fn single_messages_transactions_and_short_ones_are_what_they_are_and_the_setting_can_change() {
        let disk = SimDisk::new(3);
        let store = open(&disk, 1).unwrap();
        let orders = topic(&store, Compression::Lz4).unwrap();
        let keep = TopicSettings::default().retention(Retention::everything());
        store.topic_with("orders", keep).unwrap();
        let large = payload(1).repeat(100);
        let before = written(&store);
        orders.publish(Message::new(large.clone()).durability(Durability::Os)).wait().unwrap();
        assert!(written(&store) - before < large.len() as u64 / 4, "a single large one is packed");
        orders.publish("short").wait().unwrap();
        let noise: Vec<u8> = (0..4000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        orders.publish(noise.clone()).wait().unwrap();
        let mut transaction = store.transaction();
        transaction.publish(&orders, large.clone());
        transaction.commit().wait().unwrap();
        topic(&store, Compression::Off).unwrap();
        orders.publish(large.clone()).wait().unwrap();
        let expected: [&[u8]; 5] = [&large, b"short", &noise, &large, &large];
        for _ in 0..2 {
            let read: Vec<_> = orders.read(..).map(Result::unwrap).collect();
            assert!(read.iter().map(|record| record.payload()).eq(expected));
        }
        drop((orders, store));
        disk.crash();
        let store = open(&disk, 2).unwrap();
        let read: Vec<_> = store.existing_topic("orders").unwrap().read(..).map(Result::unwrap).collect();
        assert!(read.iter().map(|record| record.payload()).eq(expected));
    }

    #[test]
    fn any_damaged_byte_of_what_is_packed_is_noticed() {
        let disk = SimDisk::new(3);
        let store = open(&disk, 1).unwrap();
        let orders = topic(&store, Compression::Lz4).unwrap();
        orders.publish_all(batch(0, 20)).wait().unwrap();
        let segment = "journal/0000000001.segment";
        let end = disk.read_file(segment).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64;
        store.close().unwrap();
        for byte in (end - 300..end - 20).step_by(7) {
            let hurt = disk.fork(byte);
            hurt.flip_bit(segment, byte, 3).unwrap();
            let error = open(&hurt, 2).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {byte}: {error}");
        }
        check(&open(&disk, 2).unwrap().existing_topic("orders").unwrap(), 20);
    }

    #[test]
    fn what_a_former_build_has_written_is_read() {
        let disk = fixture();
        let store = open(&disk, 2).unwrap();
        check(&store.existing_topic("orders").unwrap(), 40);
        // And it is written as it was.
        let orders = store.existing_topic("orders").unwrap();
        let before = written(&store);
        orders.publish_all(batch(40, 40)).wait().unwrap();
        assert!(written(&store) - before < 40 * 60);
        check(&orders, 80);
    }

    /// Makes the fixture anew: `MILLPOND_FIXTURE=tests/fixtures/packed`.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "it writes a file of the repository")]
    fn the_fixture_is_made_where_it_is_asked_for() {
        let Ok(path) = std::env::var("MILLPOND_FIXTURE") else { return };
        let disk = SimDisk::new(3);
        let store = open(&disk, 1).unwrap();
        let orders = topic(&store, Compression::Lz4).unwrap();
        orders.publish_all(batch(0, 40)).wait().unwrap();
        store.close().unwrap();
        std::fs::create_dir_all(&path).unwrap();
        for (name, _) in FIXTURE {
            let mut bytes = disk.read_file(name).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            bytes.truncate(if name.ends_with("segment") { end } else { bytes.len() });
            std::fs::write(format!("{path}/{}", name.rsplit('/').next().unwrap()), bytes).unwrap();
        }
    }
}
