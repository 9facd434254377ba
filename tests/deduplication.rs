//! Deduplication (I6): an id that was accepted within its window is never accepted again, whatever became of its
//! message, its process or the tables; and one that was not accepted is not remembered.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::field_reassign_with_default, reason = "a test")]

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

/// Publishes `count` ids in batches, and says at which offset each is.
fn fill(store: &Store, topic: &Topic, count: u64) -> BTreeMap<u64, Offset> {
    let mut known = BTreeMap::new();
    for first in (0..count).step_by(500) {
        let numbers = first..(first + 500).min(count);
        let receipt = topic.publish_all(numbers.clone().map(message)).wait().unwrap();
        known.extend(numbers.zip(receipt.receipts().map(|one| one.offset)));
        if first % 5_000 == 0 {
            upkeep(store);
        }
    }
    known
}

/// Every id is answered as it was accepted.
fn assert_known(topic: &Topic, known: &BTreeMap<u64, Offset>) {
    let end = topic.end_offset();
    let numbers: Vec<u64> = known.keys().copied().collect();
    for numbers in numbers.chunks(1000) {
        let receipt = topic.publish_all(numbers.iter().map(|number| message(*number))).wait().unwrap();
        for (number, one) in numbers.iter().zip(receipt.receipts()) {
            assert!(one.duplicate, "id {number} was forgotten");
            assert_eq!(one.offset, known[number]);
        }
    }
    assert_eq!(topic.end_offset(), end);
}

#[test]
fn a_hundred_thousand_ids_are_known_whatever_happens() {
    let mut bench = Bench::new();
    bench.options = Store::options()
        .segment_bytes(1 << 20)
        .first_segment_bytes(1 << 20)
        .id_memory_bytes(1 << 20)
        .durability(Durability::Os);
    let mut store = bench.open();
    let known = fill(&store, &windowed(&store, Window::Forever), 100_000);
    upkeep(&store);
    assert!(bench.runs().len() > 5, "{:?}", bench.runs());
    let stats = store.id_stats();
    assert!(stats.memory_bytes <= 1 << 20, "{stats:?}");
    assert_known(&orders(&store), &known);
    // A restart, a kill, and a power cut after a sync.
    store.close().unwrap();
    store = bench.open();
    assert_known(&orders(&store), &known);
    store = bench.kill(store);
    assert_eq!(store.recovery().ids_rebuilt, 0);
    assert_known(&orders(&store), &known);
    store.sync().wait().unwrap();
    bench.disk.crash();
    drop(store);
    store = bench.open();
    assert_known(&orders(&store), &known);
    // The tables are deleted while nobody looks.
    bench.disk.kill();
    drop(store);
    bench.runs().iter().for_each(|name| bench.disk.remove_file(name).unwrap());
    store = bench.open();
    assert!(store.recovery().ids_rebuilt > 5);
    assert_known(&orders(&store), &known);
    // And while somebody does: those that are open are read on, and the next opening makes them again.
    bench.runs().iter().for_each(|name| bench.disk.remove_file(name).unwrap());
    assert_known(&orders(&store), &known);
    store.close().unwrap();
    store = bench.open();
    assert_known(&orders(&store), &known);
}

#[test]
fn damage_in_the_tables_costs_time_and_nothing_else() {
    let mut bench = Bench::new();
    let store = bench.open();
    let known = fill(&store, &windowed(&store, Window::Forever), 3_000);
    upkeep(&store);
    let mut store = Some(store);
    let mut rng = fastrand::Rng::with_seed(5);
    for round in 0..60 {
        let running = round % 2 == 0;
        if !running {
            bench.disk.kill();
            store = None;
        }
        let runs = bench.runs();
        let name = &runs[rng.usize(..runs.len())];
        let bytes = bench.disk.read_file(name).unwrap();
        match rng.u8(0..5) {
            0 => bench.disk.truncate(name, rng.u64(..bytes.len() as u64)).unwrap(),
            1 => bench.disk.write_file(name, &vec![0; bytes.len()]),
            // Another run in its place: an older copy, or one of another stretch.
            2 => bench.disk.write_file(name, &bench.disk.read_file(&runs[rng.usize(..runs.len())]).unwrap()),
            _ => (0..3).for_each(|_| bench.disk.flip_bit(name, rng.u64(..bytes.len() as u64), rng.u8(0..8)).unwrap()),
        }
        let open = match store.take() {
            Some(store) => {
                assert_known(&orders(&store), &known);
                bench.kill(store)
            }
            None => bench.open(),
        };
        assert_known(&orders(&open), &known);
        store = Some(open);
    }
}

#[test]
fn ids_that_left_their_window_leave_memory_and_disk() {
    let mut bench = Bench::new();
    let store = bench.open();
    let topic = windowed(&store, Window::For(Duration::from_secs(3600)));
    fill(&store, &topic, 5_000);
    upkeep(&store);
    let before = store.id_stats();
    assert!(before.disk_bytes > 200_000 && before.published == 5_000, "{before:?}");
    bench.clock.advance(Duration::from_secs(7200));
    upkeep(&store);
    let after = store.id_stats();
    // What is not in a run yet stays until it is.
    assert!(after.disk_bytes < 10_000 && after.published < 1_000, "{after:?}");
    assert!(!publish(&topic, 1).duplicate);
    let store = bench.kill(store);
    assert_eq!(store.recovery().ids_rebuilt, 0, "an empty run says that there is nothing");
    assert!(publish(&orders(&store), 1).duplicate && !publish(&orders(&store), 2).duplicate);
}

#[test]
fn a_budget_refuses_or_forgets_and_says_so() {
    let mut bench = Bench::new();
    bench.options = bench.options.clone().id_budget(IdBudget::unlimited().ids(2_000));
    let store = bench.open();
    let topic = windowed(&store, Window::Forever);
    fill(&store, &topic, 2_000);
    let error = topic.publish(message(2_000)).wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "ids-full"));
    assert_eq!(error.into_message(), Some(message(2_000)));
    assert!(publish(&topic, 1_999).duplicate);
    topic.publish("no id").wait().unwrap();
    store.close().unwrap();
    bench.options = bench.options.clone().id_budget(IdBudget::unlimited().ids(2_000).when_full(WhenFull::ForgetOldest));
    let store = bench.open();
    let topic = orders(&store);
    for number in 2_000..4_000 {
        publish(&topic, number);
        upkeep(&store);
    }
    let stats = store.id_stats();
    assert!(stats.forgotten >= 1_000 && stats.published <= 3_000, "{stats:?}");
    assert!(publish(&topic, 3_999).duplicate && !publish(&topic, 0).duplicate);
}

/// What publishing answered, by id; the ones that were asked for and not answered are in nobody's hands.
fn steps(store: &Store, answered: &mut BTreeMap<u64, Offset>) -> Result<(), Error> {
    let topic = store.topic_with("orders", TopicSettings::default().deduplicate(Window::Forever))?;
    for number in 0..30 {
        let level = [Durability::Disk, Durability::Os, Durability::Memory][usize::try_from(number % 3).unwrap()];
        let receipt = topic.publish(message(number % 20).durability(level)).wait()?;
        if level == Durability::Disk {
            answered.insert(number % 20, receipt.offset);
        }
    }
    for first in 0..8 {
        let batch = (first * 60..first * 60 + 90).map(message);
        let receipt = topic.publish_all(batch).wait()?;
        store.sync().wait()?;
        answered.extend((first * 60..first * 60 + 90).zip(receipt.receipts().map(|one| one.offset)));
        while store.step_upkeep()? {}
    }
    Ok(())
}

#[test]
fn a_crash_at_every_step_leaves_each_id_once_and_none_that_was_answered_unknown() {
    let mut step = 0;
    loop {
        let mut bench = Bench::new();
        bench.options = bench.options.clone().id_memory_bytes(16 << 10).segment_bytes(16 << 10);
        let mut faults = Faults::default();
        faults.stop_after = Some(step);
        bench.disk.set_faults(faults);
        let mut answered = BTreeMap::new();
        let store = bench.try_open();
        let outcome = store.as_ref().map_err(|_| ()).and_then(|store| steps(store, &mut answered).map_err(|_| ()));
        bench.disk.crash();
        drop(store);
        // Once more, while it recovers.
        let mut again = Faults::default();
        again.stop_after = Some(step % 37);
        bench.disk.set_faults(again);
        drop(bench.try_open());
        bench.disk.crash();
        bench.disk.set_faults(Faults::default());
        let store = bench.open();
        let topic = orders(&store);
        let mut at = BTreeMap::new();
        for record in topic.read(..) {
            let record = record.unwrap();
            let twice = at.insert(record.id().unwrap().to_vec(), record.offset());
            assert_eq!(twice, None, "step {step}: an id is there twice");
        }
        for (number, offset) in &answered {
            let again = publish(&topic, *number);
            assert_eq!((again.offset, again.duplicate), (*offset, true), "step {step}");
        }
        for (id, offset) in at {
            let number: u64 = String::from_utf8(id).unwrap().strip_prefix("order ").unwrap().parse().unwrap();
            assert_eq!(publish(&topic, number).offset, offset, "step {step}");
        }
        // Those that are not there were lost with their ids: none is taken for a duplicate of what is not there.
        let end = topic.end_offset();
        (10_000..10_020).for_each(|number| assert!(!publish(&topic, number).duplicate));
        for number in 0..600 {
            let receipt = publish(&topic, number);
            assert_eq!(receipt.duplicate, receipt.offset < end, "step {step}: a lost message, and its id remembered");
        }
        if outcome.is_ok() {
            break;
        }
        step += 1;
    }
    assert!(step > 100, "{step}");
}
