//! What was published is there again (I1, I2, I3): each level, after close and reopen, with receipts that are dense.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{Durability, Message, Offset, Store, TopicSettings};
use std::path::Path;

fn payloads(path: &Path) -> Vec<Vec<u8>> {
    let store = Store::open(path).unwrap();
    let records = store.existing_topic("orders").unwrap().read(..);
    let all = records.map(|record| record.unwrap().payload().to_vec()).collect();
    store.close().unwrap();
    all
}

fn numbers(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(|number| number.to_string().into_bytes()).collect()
}

#[test]
fn every_level_survives_a_close() {
    for level in [Durability::Memory, Durability::Os, Durability::Disk] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::options().durability(level).open(dir.path()).unwrap();
        let orders = store.topic("orders").unwrap();
        for number in 0..50u64 {
            orders.publish(number.to_string()).detach();
        }
        store.close().unwrap();
        assert_eq!(payloads(dir.path()), numbers(0..50), "{level:?}");
    }
}

#[test]
fn a_store_that_is_dropped_is_closed_too() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = Store::open(dir.path()).unwrap();
        store.topic("orders").unwrap().publish(Message::new("0").durability(Durability::Memory)).wait().unwrap();
    }
    assert!(Store::verify(dir.path(), |_| ()).unwrap().clean);
    assert_eq!(payloads(dir.path()), numbers(0..1));
}

#[test]
fn the_message_decides_before_its_topic_and_the_topic_before_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().sync_interval(std::time::Duration::from_secs(3600)).open(dir.path()).unwrap();
    let clicks = store.topic_with("clicks", TopicSettings::default().durability(Durability::Os)).unwrap();
    let unsynced = || store.stats().durable < store.stats().end;
    clicks.publish("a").wait().unwrap();
    assert!(unsynced(), "the topic says `Os`");
    clicks.publish(Message::new("b").durability(Durability::Disk)).wait().unwrap();
    assert!(!unsynced(), "the message says `Disk`, which takes along what came before");
    store.topic("orders").unwrap().publish("c").wait().unwrap();
    assert!(!unsynced(), "the store says `Disk`");
    clicks.publish("d").wait().unwrap();
    assert!(store.stats().written == store.stats().end && unsynced());
    store.sync().wait().unwrap();
    assert!(!unsynced(), "a sync takes everything along");
}

#[test]
fn a_topics_level_is_kept_until_it_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let options = Store::options().sync_interval(std::time::Duration::from_secs(3600));
    let store = options.clone().open(dir.path()).unwrap();
    store.topic_with("orders", TopicSettings::default().durability(Durability::Os)).unwrap();
    store.close().unwrap();
    let store = options.open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.publish("0").wait().unwrap();
    assert!(store.stats().durable < store.stats().end);
}

#[test]
fn receipts_are_dense_over_singles_batches_and_openings() {
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    for _ in 0..3 {
        let store = Store::open(dir.path()).unwrap();
        let orders = store.topic("orders").unwrap();
        assert_eq!(orders.end_offset(), Offset::new(next));
        let mut time = millpond::Timestamp::ZERO;
        for size in [1, 7, 0, 100] {
            let batch = orders.publish_all((next..next + size).map(|n| n.to_string().into())).wait().unwrap();
            assert_eq!((batch.first, batch.count), (Offset::new(next), size));
            next += size;
            let one = orders.publish(next.to_string()).wait().unwrap();
            assert_eq!((one.offset, one.duplicate), (Offset::new(next), false));
            assert!(one.time >= time, "times never go back");
            (time, next) = (one.time, next + 1);
        }
        store.close().unwrap();
    }
    assert_eq!(payloads(dir.path()), numbers(0..next));
}

#[test]
fn everything_a_message_carries_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let message =
        Message::new(bytes.clone()).id("order-1").key(vec![0, 255]).header("a", "1").header("a", "").header("", "x");
    let store = Store::open(dir.path()).unwrap();
    let receipt = store.topic("orders").unwrap().publish(message).wait().unwrap();
    store.topic("orders").unwrap().publish("").wait().unwrap();
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let records: Vec<_> = store.topic("orders").unwrap().read(..).map(Result::unwrap).collect();
    let [first, empty] = records.as_slice() else { unreachable!("two were published") };
    assert_eq!((first.offset(), first.time()), (receipt.offset, receipt.time));
    assert_eq!((first.payload(), first.id(), first.key()), (&bytes[..], Some(&b"order-1"[..]), Some(&[0, 255][..])));
    let headers: Vec<_> = first.headers().collect();
    assert_eq!(headers, [("a", &b"1"[..]), ("a", &b""[..]), ("", &b"x"[..])]);
    assert_eq!((empty.payload(), empty.id(), empty.key(), empty.headers().count()), (&b""[..], None, None, 0));
}

#[test]
fn many_small_segments_hold_the_same_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let options = Store::options().segment_bytes(16 << 10).first_segment_bytes(16 << 10).durability(Durability::Os);
    for opening in 0..4u64 {
        let store = options.clone().open(dir.path()).unwrap();
        assert!(store.recovery().clean);
        let orders = store.topic("orders").unwrap();
        for number in opening * 500..(opening + 1) * 500 {
            let text = format!("{number:0>100}");
            orders.publish(text).detach();
        }
        store.close().unwrap();
    }
    let expected: Vec<_> = (0..2000).map(|number| format!("{number:0>100}").into_bytes()).collect();
    let found = payloads(dir.path());
    assert_eq!(found.len(), expected.len());
    assert!(found == expected);
    // Larger than a segment: it gets one of its own.
    let store = options.open(dir.path()).unwrap();
    let big = vec![7; 300_000];
    let at = store.topic("orders").unwrap().publish(big.clone()).wait().unwrap().offset;
    store.topic("orders").unwrap().publish("after").wait().unwrap();
    store.close().unwrap();
    let all = payloads(dir.path());
    assert_eq!(at, Offset::new(2000));
    assert!(all.get(2000..) == Some(&[big, b"after".to_vec()][..]));
}
