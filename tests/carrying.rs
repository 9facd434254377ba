//! Ids outlive the segments they came in (I6, I11): when a segment goes, those that are still in their window are
//! appended again before, and those that are not go with it; whatever strikes in between.
#![expect(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test")]

use millpond::testing::Faults;
use millpond::{Consumer, Durability, Error, Group, Message, Offset, Store, Topic, TopicSettings, Window};
use std::collections::BTreeMap;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[path = "support/bench.rs"]
mod bench;
use bench::Bench;

/// Messages without a level of their own are written, not synced.
fn bench(segment: u32) -> Bench {
    let mut bench = Bench::new(segment);
    bench.options = bench.options.durability(Durability::Os);
    bench
}

impl Bench {
    fn runs(&self) -> Vec<String> {
        self.disk.file_names().into_iter().filter(|name| name.contains(".ids")).collect()
    }

    /// Bytes of the journal's files.
    fn bytes(&self) -> u64 {
        let names = self.disk.file_names();
        names.iter().map(|name| self.disk.read_file(name).unwrap().len() as u64).sum()
    }

    /// Once through everything that may become of a store and its tables; `check` is asked after each.
    fn through_everything(&mut self, store: Store, check: impl Fn(&Store, &str)) -> Store {
        check(&store, "at once");
        store.close().unwrap();
        let store = self.open();
        check(&store, "after a restart");
        let store = self.kill(store);
        check(&store, "after a kill");
        store.sync().wait().unwrap();
        self.disk.crash();
        drop(store);
        let store = self.open();
        check(&store, "after a power cut");
        self.disk.kill();
        drop(store);
        self.tables.clear();
        self.runs().iter().for_each(|name| self.disk.remove_file(name).unwrap());
        let store = self.open();
        check(&store, "without tables");
        store
    }
}

fn windowed(store: &Store, window: Window) -> Topic {
    store.topic_with("orders", TopicSettings::default().deduplicate(window)).unwrap()
}

fn worker(topic: &Topic) -> Consumer {
    topic.consumer("worker", Group::default()).unwrap()
}

fn message(number: u64, bytes: usize) -> Message {
    let mut payload = format!("payload {number} ").into_bytes();
    payload.resize(bytes, b'.');
    Message::new(payload).id(format!("order {number}"))
}

fn upkeep(store: &Store) {
    while store.step_commit().unwrap() | store.step_upkeep().unwrap() {}
}

/// Publishes these and acks all there are. Where each is.
fn pass(store: &Store, topic: &Topic, numbers: std::ops::Range<u64>, bytes: usize) -> BTreeMap<u64, Offset> {
    let (mut known, worker) = (BTreeMap::new(), worker(topic));
    let all: Vec<u64> = numbers.collect();
    for numbers in all.chunks(50) {
        let receipt = topic.publish_all(numbers.iter().map(|number| message(*number, bytes))).wait().unwrap();
        known.extend(numbers.iter().copied().zip(receipt.receipts().map(|one| one.offset)));
        worker.ack_all(worker.lease_many(50, Duration::ZERO).unwrap()).wait().unwrap();
        upkeep(store);
    }
    known
}

/// Every id is answered as it was accepted.
fn assert_known(topic: &Topic, known: &BTreeMap<u64, Offset>, bytes: usize, when: &str) {
    let (end, numbers) = (topic.end_offset(), known.keys().copied().collect::<Vec<u64>>());
    for numbers in numbers.chunks(1000) {
        let receipt = topic.publish_all(numbers.iter().map(|number| message(*number, bytes))).wait().unwrap();
        for (number, one) in numbers.iter().zip(receipt.receipts()) {
            assert!(one.duplicate, "{when}: id {number} was forgotten");
            assert_eq!(Some(&one.offset), known.get(number), "{when}: id {number}");
        }
    }
    assert_eq!(topic.end_offset(), end);
}

#[test]
fn segments_with_ids_go_once_their_messages_are_dead_and_the_ids_lie_further_on() {
    let mut bench = bench(32 << 10);
    let store = bench.open();
    let topic = windowed(&store, Window::Forever);
    let known = pass(&store, &topic, 0..1_000, 1_000);
    let first = store.stats().segments.first().unwrap().id;
    let cleaned = store.clean_now().unwrap();
    upkeep(&store);
    assert!(store.stats().segments.first().unwrap().id > first, "{cleaned:?}");
    // A megabyte came and went. Of each id its hashes are left, in the journal and in a run.
    let (bytes, live) = (bench.bytes(), 1_000 * 120);
    assert!(bytes < 2 * live + 8 * (32 << 10) + 3 * store.stats().snapshot_bytes, "{bytes} bytes are left");
    let store = bench.through_everything(store, |store, when| {
        assert_known(&store.topic("orders").unwrap(), &known, 1_000, when);
    });
    // And again, when those that were carried over go on to others: the first ones have moved more than once then.
    let topic = store.topic("orders").unwrap();
    let more = pass(&store, &topic, 1_000..3_000, 1_000);
    store.clean_now().unwrap();
    bench.through_everything(store, |store, when| {
        let topic = store.topic("orders").unwrap();
        assert_known(&topic, &known, 1_000, when);
        assert_known(&topic, &more, 1_000, when);
    });
}

#[test]
fn ids_whose_windows_have_ended_go_without_being_carried_over() {
    let mut bench = bench(32 << 10);
    let store = bench.open();
    for window in [Window::For(HOUR), Window::Last(20), Window::Off] {
        let topic = windowed(&store, window);
        let known = pass(&store, &topic, 0..1_500, 1_000);
        bench.clock.advance(2 * HOUR);
        // The last twenty are others.
        pass(&store, &topic, 2_000..2_050, 10);
        let sum = |store: &Store| store.stats().segments.iter().map(|segment| segment.id_bytes).sum::<u64>();
        let before = store.stats().end;
        store.clean_now().unwrap();
        upkeep(&store);
        let after = store.stats().end;
        // They would take nearly three.
        let segments = after.segment().get() - before.segment().get();
        assert!(segments <= 1, "{window:?}: much was written: {before} {after}");
        assert!(sum(&store) <= 32 << 10, "{window:?}: {:?}", store.stats().segments);
        assert!(store.stats().segments.len() <= 4, "{window:?}: {:?}", store.stats().segments);
        assert!(!topic.publish(message(0, 1_000)).wait().unwrap().duplicate, "{window:?}");
        assert_eq!(known.len(), 1_500);
        // What is left over for the next window is none of these.
        store.remove_topic("orders").unwrap();
    }
}

#[test]
fn a_hundred_thousand_ids_have_the_same_answers_before_and_after_cleaning() {
    let mut bench = bench(1 << 20);
    bench.options = bench.options.clone().id_memory_bytes(1 << 20);
    let store = bench.open();
    let topic = windowed(&store, Window::Forever);
    let (mut known, worker) = (BTreeMap::new(), worker(&topic));
    for first in (0..100_000).step_by(500) {
        let receipt = topic.publish_all((first..first + 500).map(|number| message(number, 100))).wait().unwrap();
        known.extend((first..first + 500).zip(receipt.receipts().map(|one| one.offset)));
        // One in a thousand stays: it is moved, and its id with it.
        let batch = worker.lease_many(500, Duration::ZERO).unwrap();
        let (stay, done): (Vec<_>, Vec<_>) = batch.partition(|delivery| delivery.offset().get() % 1_000 == 7);
        worker.ack_all(done).wait().unwrap();
        stay.into_iter().for_each(|delivery| delivery.snooze(365 * 24 * HOUR).detach());
        upkeep(&store);
    }
    let segments = store.stats().segments.len();
    store.clean_now().unwrap();
    // The upkeep did most of it already: there were some thirty.
    assert!(store.stats().segments.len() <= segments.min(10), "{:?}", store.stats().segments);
    assert!(store.id_stats().memory_bytes <= 1 << 20, "{:?}", store.id_stats());
    bench.through_everything(store, |store, when| {
        assert_known(&store.topic("orders").unwrap(), &known, 100, when);
    });
}

/// Two groups that share a table of processed ids; the first has processed these.
fn processed(store: &Store, ids: std::ops::Range<u32>) -> (Topic, Consumer, Consumer) {
    let topic = store.topic_with("mail", TopicSettings::default().deduplicate(Window::Off)).unwrap();
    let settings = Group::default().remember_processed(Window::Forever).processed_table("seen");
    let book = topic.consumer("book", settings.clone()).unwrap();
    let other = topic.consumer("other", settings).unwrap();
    let all: Vec<u32> = ids.collect();
    for ids in all.chunks(20) {
        let batch = ids.iter().map(|id| Message::new(vec![b'm'; 1_000]).id(id.to_be_bytes().to_vec()));
        topic.publish_all(batch).wait().unwrap();
        book.ack_all(book.lease_many(20, Duration::ZERO).unwrap()).wait().unwrap();
        upkeep(store);
    }
    (topic, book, other)
}

fn assert_processed(group: &Consumer, ids: std::ops::Range<u32>, when: &str) {
    for id in ids {
        assert!(group.is_processed(id.to_be_bytes()).unwrap(), "{when}: id {id} is not known");
    }
    assert!(!group.is_processed(9_999_u32.to_be_bytes()).unwrap(), "{when}");
}

#[test]
fn processed_ids_are_carried_over_as_long_as_any_group_asks_for_them() {
    let mut bench = bench(32 << 10);
    let store = bench.open();
    let (topic, _, other) = processed(&store, 0..600);
    // The other one has them behind it too: they are settled for it when it comes to them.
    assert_eq!(other.lease_many(600, Duration::ZERO).unwrap().count(), 0);
    // Whoever processed them is gone, and the other one still wants to know.
    topic.remove_group("book").unwrap();
    let first = store.stats().segments.first().unwrap().id;
    store.clean_now().unwrap();
    upkeep(&store);
    assert!(store.stats().segments.first().unwrap().id > first, "{:?}", store.stats().segments);
    assert!(bench.bytes() < 2 * 600 * 40 + 8 * (32 << 10) + 3 * store.stats().snapshot_bytes, "{}", bench.bytes());
    let settings = || Group::default().remember_processed(Window::Forever).processed_table("seen");
    let store = bench.through_everything(store, |store, when| {
        let other = store.topic("mail").unwrap().consumer("other", settings()).unwrap();
        assert_processed(&other, 0..600, when);
    });
    // When nobody asks any more, they go.
    store.topic("mail").unwrap().remove_group("other").unwrap();
    store.clean_now().unwrap();
    upkeep(&store);
    assert!(store.stats().segments.iter().all(|segment| segment.id_bytes == 0), "{:?}", store.stats().segments);
}

/// A store in which nothing was cleaned yet, and what was answered.
fn prepared(bench: &mut Bench) -> (Store, BTreeMap<u64, Offset>) {
    let options = bench.options.clone();
    bench.options = options.clone().clean_below(0);
    let store = bench.open();
    bench.options = options;
    let topic = windowed(&store, Window::Forever);
    let mut known = pass(&store, &topic, 0..150, 800);
    // Some are live, so that they are moved, and some are forgotten again.
    let live = topic.publish_all((200..205).map(|number| message(number, 800))).wait().unwrap();
    known.extend((200..205).zip(live.receipts().map(|one| one.offset)));
    processed(&store, 0..100);
    known.extend(pass(&store, &topic, 300..301, 800));
    upkeep(&store);
    store.close().unwrap();
    (bench.open(), known)
}

/// Cleans, and goes on: what was carried over is sorted into runs, and the files of segments that went are used again.
fn carry(store: &Store) -> Result<(), Error> {
    let topic = store.topic("orders")?;
    for number in 8_000..8_008 {
        store.clean_now()?;
        topic.publish(message(number, 2_000).durability(Durability::Disk)).wait()?;
        while store.step_upkeep()? {}
    }
    Ok(())
}

/// Kills and power cuts at every single change that carrying over makes; and once more, while it recovers.
#[test]
fn a_crash_at_any_step_of_carrying_over_forgets_no_id_and_makes_none_up() {
    let mut steps = 0;
    for power in [false, true] {
        let mut step = 0;
        loop {
            let mut bench = bench(16 << 10);
            let (store, known) = prepared(&mut bench);
            let mut faults = Faults::default();
            faults.stop_after = Some(step);
            bench.disk.set_faults(faults);
            let whole = carry(&store).is_ok();
            let die = |bench: &Bench| if power { bench.disk.crash() } else { bench.disk.kill() };
            die(&bench);
            drop(store);
            let mut again = Faults::default();
            again.stop_after = Some(step % 23);
            bench.disk.set_faults(again);
            if let Ok(store) = bench.try_open() {
                _ = store.clean_now().is_ok();
            }
            die(&bench);
            bench.disk.set_faults(Faults::default());
            if step % 3 == 0 {
                bench.tables.clear();
                bench.runs().iter().for_each(|name| bench.disk.remove_file(name).unwrap());
            }
            let store = bench.open();
            let when = format!("step {step}, power {power}");
            for turn in 0..2 {
                let topic = store.topic("orders").unwrap();
                assert_known(&topic, &known, 800, &when);
                assert!(!topic.publish(message(9_000 + turn, 800)).wait().unwrap().duplicate, "{when}");
                let settings = Group::default().remember_processed(Window::Forever).processed_table("seen");
                assert_processed(&store.topic("mail").unwrap().consumer("book", settings).unwrap(), 0..100, &when);
                // What was carried over twice is carried on once more.
                store.clean_now().unwrap();
            }
            if whole {
                steps += step;
                break;
            }
            step += if step < 60 { 1 } else { 5 };
        }
    }
    assert!(steps > 100, "there were {steps} steps");
}
