//! Ids keep to the memory they are given (I11), however many there are: what of them is on disk is then asked there,
//! and the answers are the same.
#![expect(clippy::unwrap_used, reason = "a test")]

use millpond::{Durability, Message, Store, Topic, TopicSettings, Window};

#[path = "support/bench.rs"]
mod bench;
use bench::Bench;

const LIMIT: usize = 48 << 10;

/// A hundred thousand take 220 KiB to be asked without reading.
const IDS: u64 = 100_000;

fn message(number: u64) -> Message {
    Message::new(number.to_string()).id(number.to_be_bytes().to_vec())
}

fn topic(store: &Store) -> Topic {
    store.topic_with("orders", TopicSettings::default().deduplicate(Window::Forever)).unwrap()
}

fn upkeep(store: &Store) {
    while store.step_commit().unwrap() | store.step_upkeep().unwrap() {}
}

/// Some of the ids, from all over, are known where they were accepted, and others are not known.
fn assert_answers(store: &Store, upto: u64, when: &str) {
    let topic = topic(store);
    for first in (0..upto).step_by(9_973) {
        let numbers = first..(first + 20).min(upto);
        let receipt = topic.publish_all(numbers.clone().map(message)).wait().unwrap();
        assert!(receipt.receipts().all(|one| one.duplicate), "{when}: {first}");
        assert!(receipt.receipts().map(|one| one.offset.get()).eq(numbers), "{when}: {first}");
    }
    assert_eq!(topic.end_offset().get(), upto, "{when}");
}

#[test]
fn a_hundred_thousand_ids_keep_to_a_fifth_of_what_they_would_take() {
    let mut bench = Bench::new(256 << 10);
    bench.options = bench.options.id_memory_bytes(LIMIT).durability(Durability::Os);
    let mut store = bench.open();
    let mut most = 0;
    for first in (0..IDS).step_by(50) {
        let topic = topic(&store);
        let receipt = topic.publish_all((first..first + 50).map(message)).wait().unwrap();
        assert!(receipt.duplicates.is_empty(), "{:?}", receipt.duplicates);
        most = most.max(store.id_stats().memory_bytes);
        upkeep(&store);
        most = most.max(store.id_stats().memory_bytes);
        if first % 25_000 == 0 {
            assert_answers(&store, first + 50, "meanwhile");
        }
    }
    // Each id needs more than two bytes to be asked without reading, so most are asked on disk.
    assert!(most <= LIMIT as u64 && most > LIMIT as u64 / 4, "{most} of {LIMIT}");
    for when in ["after a kill", "after another"] {
        store = bench.kill(store);
        assert_answers(&store, IDS, when);
        let stats = store.id_stats();
        assert!(stats.memory_bytes <= LIMIT as u64 && stats.published >= IDS, "{stats:?}");
    }
    // The runs are few, though there were some hundred segments.
    let runs = bench.disk.file_names().into_iter().filter(|name| name.ends_with(".ids")).count();
    assert!(runs < 60, "{runs} runs");
    // With more memory they are read into it when they are opened.
    bench.options = bench.options.clone().id_memory_bytes(1 << 20);
    let store = bench.kill(store);
    assert_answers(&store, IDS, "with more memory");
    assert!(store.id_stats().memory_bytes > 200 << 10, "{:?}", store.id_stats());
}
