//! Deduplication (I6): an id that was accepted within its window is never accepted again, whatever became of its
//! message, its process or the tables; and one that was not accepted is not remembered.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::field_reassign_with_default, reason = "a test")]

mod crashes;

use crashes::fill;

use millpond::testing::{Faults, SimDisk};
use millpond::{
    BatchReceipt, Durability, Error, ErrorKind, Group, IdBudget, ManualClock, Message, Offset, Options, Purge, Receipt,
    Store, Ticket, Timestamp, Topic, TopicSettings, WhenFull, Window,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// A store on the simulated disk with a small memory for ids.
struct Bench {
    disk: SimDisk,
    clock: ManualClock,
    openings: u64,
    options: Options,
}

impl Bench {
    fn new() -> Self {
        let options = Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10).id_memory_bytes(64 << 10);
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Self { disk: SimDisk::new(1), clock, openings: 0, options: options.durability(Durability::Os) }
    }

    fn try_open(&mut self) -> Result<Store, Error> {
        self.openings += 1;
        Store::open_simulated(&self.disk, self.clock.clone(), self.openings, self.options.clone())
    }

    fn open(&mut self) -> Store {
        self.try_open().unwrap()
    }

    /// The process dies; what was written stays.
    fn kill(&mut self, store: Store) -> Store {
        self.disk.kill();
        drop(store);
        self.open()
    }

    fn runs(&self) -> Vec<String> {
        self.disk.file_names().into_iter().filter(|name| name.contains(".ids")).collect()
    }
}

fn orders(store: &Store) -> Topic {
    store.topic("orders").unwrap()
}

fn windowed(store: &Store, window: Window) -> Topic {
    store.topic_with("orders", TopicSettings::default().deduplicate(window)).unwrap()
}

fn message(number: u64) -> Message {
    Message::new(format!("payload {number}")).id(format!("order {number}"))
}

fn publish(topic: &Topic, number: u64) -> Receipt {
    topic.publish(message(number)).wait().unwrap()
}

fn poll<T: Unpin>(ticket: &mut Ticket<T>) -> Poll<Result<T, Error>> {
    Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop()))
}

fn upkeep(store: &Store) {
    while store.step_commit().unwrap() | store.step_upkeep().unwrap() {}
}

#[test]
fn a_known_id_answers_with_the_receipt_of_the_first_time_and_appends_nothing() {
    let mut bench = Bench::new();
    let store = bench.open();
    let topic = orders(&store);
    let first = publish(&topic, 1);
    assert!(!first.duplicate);
    bench.clock.advance(DAY);
    publish(&topic, 2);
    let again = publish(&topic, 1);
    assert_eq!((again.offset, again.time, again.duplicate), (first.offset, first.time, true));
    assert_eq!((topic.end_offset(), store.id_stats().duplicates), (Offset::new(2), 1));
    // Another topic has ids of its own.
    assert!(!store.topic("invoices").unwrap().publish(message(1)).wait().unwrap().duplicate);
}

#[test]
fn an_id_with_another_payload_is_refused_and_handed_back_unless_that_is_turned_off() {
    let mut bench = Bench::new();
    let store = bench.open();
    let topic = orders(&store);
    publish(&topic, 1);
    let other = Message::new("another payload").id("order 1").key("k");
    for _ in 0..2 {
        let error = topic.publish(other.clone()).wait().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "id-reused"));
        assert!(error.to_string().contains("\"order 1\" is taken: the message at offset 0"), "{error}");
        assert_eq!(error.into_message(), Some(other.clone()));
    }
    assert_eq!(store.id_stats().reused, 2);
    let batch = [message(2), other.clone()];
    let error = topic.publish_all(batch.clone()).wait().unwrap_err();
    assert!(error.to_string().contains("of message 1 of the batch"), "{error}");
    assert_eq!(error.into_messages(), Some(batch.to_vec()));
    assert_eq!(topic.end_offset(), Offset::new(1));
    store.topic_with("orders", TopicSettings::default().refuse_reused_ids(false)).unwrap();
    assert!(topic.publish(other).wait().unwrap().duplicate);
    assert!(!publish(&topic, 2).duplicate, "what was refused with others is not remembered");
}

#[test]
fn a_batch_says_which_of_its_messages_are_duplicates() {
    let mut bench = Bench::new();
    let store = bench.open();
    let topic = orders(&store);
    publish(&topic, 3);
    let batch = [4, 3, 5, 4, 4, 6].map(message);
    let receipt: BatchReceipt = topic.publish_all(batch.clone()).wait().unwrap();
    assert_eq!((receipt.first, receipt.count), (Offset::new(1), 3));
    let all: Vec<_> = receipt.receipts().map(|one| (one.offset.get(), one.duplicate)).collect();
    assert_eq!(all, [(1, false), (0, true), (2, false), (1, true), (1, true), (3, false)]);
    let named: Vec<_> = receipt.duplicates.iter().map(|duplicate| duplicate.index).collect();
    assert_eq!(named, [1, 3, 4]);
    let receipt = topic.publish_all(batch).wait().unwrap();
    assert_eq!((receipt.first, receipt.count), (Offset::new(4), 0));
    assert!(receipt.receipts().all(|one| one.duplicate));
    let plain = topic.publish_all([Message::new("a"), Message::new("b")]).wait().unwrap();
    assert_eq!((plain.count, plain.duplicates.capacity()), (2, 0));
    let mixed = [Message::new("x").id("twice"), Message::new("y").id("twice")];
    assert_eq!(topic.publish_all(mixed).wait().unwrap_err().code(), "id-reused");
    assert_eq!(topic.end_offset(), Offset::new(6));
}

#[test]
fn a_refused_publish_leaves_no_id() {
    let mut bench = Bench::new();
    let store = bench.open();
    let topic = orders(&store);
    let large = Message::new(vec![0; 17 << 20]).id("large");
    assert_eq!(topic.publish(large).wait().unwrap_err().code(), "too-large");
    assert!(!topic.publish(Message::new("small").id("large")).wait().unwrap().duplicate);
}

#[test]
fn windows_end_by_time_or_by_count_or_never() {
    let mut bench = Bench::new();
    let mut store = bench.open();
    let topic = windowed(&store, Window::For(Duration::from_secs(60)));
    publish(&topic, 1);
    bench.clock.advance(Duration::from_secs(59));
    // The engine's clock does not go back with the machine's.
    bench.clock.set_wall(Timestamp::new(1_600_000_000_000));
    assert!(publish(&topic, 1).duplicate);
    bench.clock.advance(Duration::from_secs(1));
    let second = publish(&topic, 1);
    assert_eq!((second.duplicate, second.offset), (false, Offset::new(1)));
    store = bench.kill(store);
    let again = publish(&orders(&store), 1);
    assert_eq!((again.duplicate, again.offset), (true, Offset::new(1)), "the later one counts");

    let topic = windowed(&store, Window::Last(3));
    for number in 2..5 {
        publish(&topic, number);
    }
    assert!(publish(&topic, 2).duplicate);
    publish(&topic, 5);
    assert!(!publish(&topic, 2).duplicate, "three came after it");

    let topic = windowed(&store, Window::Forever);
    bench.clock.advance(DAY * 10_000);
    assert!(publish(&topic, 5).duplicate);

    let topic = windowed(&store, Window::Off);
    assert!(!publish(&topic, 77).duplicate);
    assert!(!publish(&topic, 77).duplicate);
    let topic = windowed(&store, Window::Forever);
    assert!(!publish(&topic, 77).duplicate, "what was published while it was off is not remembered");
    assert!(publish(&topic, 77).duplicate);
    store = bench.kill(store);
    assert!(publish(&orders(&store), 77).duplicate);
}

#[test]
fn ids_are_remembered_for_seven_days_if_nothing_else_is_said() {
    let mut bench = Bench::new();
    let store = bench.open();
    let topic = orders(&store);
    publish(&topic, 1);
    bench.clock.advance(DAY * 7 - Duration::from_millis(1));
    assert!(publish(&topic, 1).duplicate);
    bench.clock.advance(Duration::from_millis(1));
    assert!(!publish(&topic, 1).duplicate);
}

#[test]
fn a_publish_whose_id_is_under_way_waits_for_the_first_and_shares_its_fate() {
    let mut bench = Bench::new();
    let store = bench.open();
    let topic = orders(&store);
    let disk = |number| message(number).durability(Durability::Disk);
    let (mut first, mut second) = (topic.publish(disk(1)), topic.publish(disk(1)));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    upkeep(&store);
    let Poll::Ready(Ok(second)) = poll(&mut second) else { panic!("it was synced") };
    assert!(second.duplicate && !first.wait().unwrap().duplicate);
    // The first one asked for nothing, the second for the disk.
    let memory = topic.publish(message(2).durability(Durability::Memory)).wait().unwrap();
    let promised = topic.publish(disk(2)).wait().unwrap();
    assert_eq!((promised.offset, promised.duplicate), (memory.offset, true));
    bench.disk.crash();
    drop(store);
    let store = bench.open();
    let topic = orders(&store);
    assert_eq!(topic.end_offset(), Offset::new(2), "the duplicate's answer was a promise");
    // A failing sync fails both, and both are settled by publishing again.
    let mut faults = Faults::default();
    faults.sync_error = 1.0;
    bench.disk.set_faults(faults);
    let (first, second) = (topic.publish(disk(3)), topic.publish(disk(3)));
    for ticket in [first, second] {
        assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    }
    bench.disk.set_faults(Faults::default());
    bench.disk.crash();
    drop(store);
    let store = bench.open();
    let topic = orders(&store);
    let again = topic.publish(disk(3)).wait().unwrap();
    assert_eq!((again.offset, topic.end_offset()), (Offset::new(2), Offset::new(3)));
}

#[test]
fn ids_outlive_ack_expiry_and_restart() {
    let mut bench = Bench::new();
    let mut store = bench.open();
    let topic = windowed(&store, Window::Forever);
    let group = topic.consumer("email", Group::default()).unwrap();
    publish(&topic, 1);
    topic.publish(message(2).expires_after(Duration::from_secs(1))).wait().unwrap();
    group.lease().unwrap().ack().wait().unwrap();
    bench.clock.advance(Duration::from_secs(5));
    assert!(group.try_lease().unwrap().is_none());
    upkeep(&store);
    assert_eq!(topic.first_offset(), topic.end_offset(), "both are gone");
    for _ in 0..2 {
        let topic = orders(&store);
        let again = topic.publish(message(2).expires_after(Duration::from_secs(1))).wait().unwrap();
        assert!(publish(&topic, 1).duplicate && again.duplicate);
        store.close().unwrap();
        store = bench.open();
    }
}

#[test]
fn a_purge_keeps_ids_unless_it_is_told_to_forget_them() {
    let mut bench = Bench::new();
    let mut store = bench.open();
    let topic = windowed(&store, Window::Forever);
    let group = topic.consumer("email", Group::default()).unwrap();
    for number in 0..2 {
        publish(&topic, number);
        group.lease().unwrap().bury("no").wait().unwrap();
    }
    group.purge(Purge::offsets([Offset::new(0)])).unwrap();
    group.purge(Purge::all().forget_ids()).unwrap();
    assert!(publish(&topic, 0).duplicate);
    fill(&store, &store.topic("others").unwrap(), 3_000);
    upkeep(&store);
    for _ in 0..2 {
        store = bench.kill(store);
        bench.runs().iter().for_each(|name| bench.disk.remove_file(name).unwrap());
    }
    let again = publish(&orders(&store), 1);
    assert_eq!((again.duplicate, again.offset), (false, Offset::new(2)));
    store = bench.kill(store);
    assert!(publish(&orders(&store), 1).duplicate && publish(&orders(&store), 0).duplicate);
}
