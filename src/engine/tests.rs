//! The engine by itself, on the simulated disk and without threads.

use super::*;
use crate::clock::{ManualClock, SeededEntropy};
use crate::config::{Durability, Group, Options, Retry, Start, TopicSettings};
use crate::event::{Ack, Run};
use crate::message::Message;
use crate::storage::sim::SimDisk;
use crate::types::{GroupId, Offset, TopicId};
use std::borrow::Cow;
use std::sync::atomic::AtomicBool;

static RUN: AtomicBool = AtomicBool::new(false);

struct Bench {
    disk: SimDisk,
    clock: ManualClock,
    seed: u64,
    options: Options,
}

impl Bench {
    fn new() -> Self {
        let options = Options { segment_bytes: 32 << 10, first_segment_bytes: 32 << 10, ..Options::default() };
        Self { disk: SimDisk::new(7), clock: ManualClock::starting_at(Timestamp(1_000_000)), seed: 0, options }
    }

    fn open(&mut self) -> Arc<Engine> {
        self.seed += 1;
        let environment = Environment {
            tables: Arc::new(crate::tables::MemoryTables::default()),
            storage: Arc::new(self.disk.clone()),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SeededEntropy::new(self.seed)),
            keys: crate::config::Keys::none(),
        };
        Engine::open(environment, self.options.clone(), false).unwrap()
    }
}

fn topic(engine: &Engine) -> TopicId {
    engine.topic("orders", Some(&TopicSettings::default())).unwrap()
}

fn group(engine: &Engine) -> GroupId {
    let settings = Group::default().retry(Retry::fixed(Duration::from_secs(10)).attempts(2));
    engine.group(topic(engine), "email", &settings).unwrap()
}

#[test]
fn whoever_waits_for_a_deliver_at_looks_at_the_wall_clock_again_in_time() {
    let mut bench = Bench::new();
    let engine = bench.open();
    let orders = topic(&engine);
    let next = |engine: &Engine| engine.next_scheduled(&engine.core.lock(), orders);
    assert_eq!(next(&engine), None, "nothing is looked at where nothing waits");
    let far = Message::new("x").deliver_at(Timestamp(1_000_000 + 3_600_000));
    engine.clone().publish(orders, far).wait().unwrap();
    assert_eq!(next(&engine), Some(Timestamp(1_010_000)), "the clock may be set forward meanwhile");
    bench.clock.set_wall(Timestamp(1_000_000 + 3_599_000));
    assert_eq!(next(&engine), Some(Timestamp(1_001_000)));
    engine.clone().publish(orders, Message::new("x").delay(Duration::from_micros(500))).wait().unwrap();
    assert_eq!(next(&engine), Some(Timestamp(1_000_001)));
}

fn payloads(leased: &[Leased]) -> Vec<String> {
    leased.iter().map(|leased| String::from_utf8(leased.record.payload.to_vec()).unwrap()).collect()
}

#[test]
fn what_is_published_is_delivered_and_what_is_acked_does_not_come_again_after_reopening() {
    let mut bench = Bench::new();
    let engine = bench.open();
    let orders = topic(&engine);
    let email = group(&engine);
    for number in 0..10 {
        let receipt = engine
            .clone()
            .publish(orders, Message::new(format!("order {number}")).id(format!("{number}")))
            .wait()
            .unwrap();
        assert_eq!(receipt.offset, Offset(number));
    }
    let leased = engine.lease(email, 4, Wait::No, &RUN).unwrap();
    assert_eq!(payloads(&leased), ["order 0", "order 1", "order 2", "order 3"]);
    engine.settle(email, &[(Offset(1), leased[1].epoch)], &[], &Outcome::Ack).wait().unwrap();
    engine.close().unwrap();
    drop(engine);
    let engine = bench.open();
    assert!(engine.recovery().clean);
    let leased = engine.lease(group(&engine), 100, Wait::No, &RUN).unwrap();
    assert_eq!(leased.len(), 9);
    assert_eq!(payloads(&leased)[..2], ["order 0", "order 2"]);
}

#[test]
fn many_segments_and_snapshots_are_walked_and_every_message_is_found_again() {
    let mut bench = Bench::new();
    let engine = bench.open();
    let settings = TopicSettings::default().retention(crate::config::Retention::everything());
    let orders = engine.topic("orders", Some(&settings)).unwrap();
    let email = group(&engine);
    for number in 0..3000u32 {
        engine.clone().publish(orders, Message::new(format!("order {number} {}", "x".repeat(50)))).detach();
        if number % 7 == 0 {
            engine.poll_upkeep().unwrap();
            engine.poll_commit().unwrap();
        }
        if number % 10 == 0 {
            for leased in engine.lease(email, 3, Wait::No, &RUN).unwrap() {
                engine.settle(email, &[(leased.record.offset, leased.epoch)], &[], &Outcome::Ack).detach();
            }
        }
    }
    engine.sync().wait().unwrap();
    assert!(engine.stats().unwrap().segments.len() > 5);
    for clean in [true, false] {
        let engine = if clean {
            engine.close().unwrap();
            bench.open()
        } else {
            bench.disk.kill();
            bench.open()
        };
        let mut cursor = ReadCursor::default();
        let mut offset = Offset::ZERO;
        while let Some(record) = engine.read(orders, offset, &mut cursor).unwrap() {
            assert_eq!(record.offset, offset);
            assert!(record.payload.starts_with(format!("order {offset} ").as_bytes()));
            offset = offset.next();
        }
        assert_eq!(offset, Offset(3000));
        assert_eq!(engine.recovery().clean, clean);
        for back in [2999, 0, 1500, 17] {
            let record = engine.read(orders, Offset(back), &mut cursor).unwrap().unwrap();
            assert!(record.payload.starts_with(format!("order {back} ").as_bytes()));
        }
        if clean {
            bench.disk.kill();
        }
        drop(engine);
    }
}

#[test]
fn a_failure_waits_for_its_backoff_and_the_last_one_parks() {
    let mut bench = Bench::new();
    let engine = bench.open();
    engine.clone().publish(topic(&engine), Message::new("poison")).wait().unwrap();
    let email = group(&engine);
    for attempt in 0..2 {
        let leased = engine.lease(email, 1, Wait::No, &RUN).unwrap();
        assert_eq!(leased[0].counters.failures, attempt);
        let nack = Outcome::Nack { error: "no".to_owned(), after: None };
        engine.settle(email, &[(Offset(0), leased[0].epoch)], &[], &nack).wait().unwrap();
        assert!(engine.lease(email, 1, Wait::No, &RUN).unwrap().is_empty());
        bench.clock.advance(Duration::from_secs(10));
    }
    assert!(engine.lease(email, 1, Wait::No, &RUN).unwrap().is_empty());
    let dead = engine.letters(email, Offset::ZERO, 100).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].1.counters.failures, 2);
}

/// Publishes, without waiting, until something has to stand in line: how many were taken in before that.
fn fill_up(engine: &Arc<Engine>, orders: TopicId) -> u64 {
    for number in 0..10_000 {
        let before = engine.core.lock().line.len();
        engine.clone().publish(orders, Message::new(vec![7; 500])).detach();
        if engine.core.lock().line.len() > before {
            return number;
        }
        while engine.poll_commit().unwrap() {}
    }
    panic!("there was room for everything");
}

#[test]
fn what_was_dropped_while_there_was_no_room_is_settled_once_there_is_and_the_drop_asks_nothing_of_the_disk() {
    let mut bench = Bench::new();
    let engine = bench.open();
    let (orders, email) = (topic(&engine), group(&engine));
    engine.clone().publish_all(orders, (0..8).map(|number| Message::new(number.to_string())).collect()).wait().unwrap();
    let leased = engine.lease(email, 8, Wait::No, &RUN).unwrap();
    fill_up(&engine, orders);
    // What is kept free for settling is used up too.
    while engine
        .core
        .lock()
        .record(&crate::event::Event::Ack(Ack::done(email, Cow::Owned(vec![Run::one(Offset(0))]))))
        .is_ok()
    {}
    let held: Vec<_> = leased.iter().map(|leased| (leased.record.offset, leased.epoch)).collect();
    let before = bench.disk.operations();
    engine.let_go(email, &held[1..4], &Outcome::Release { after: None });
    engine.let_go(email, &held[4..], &Outcome::Dropped);
    assert_eq!(bench.disk.operations(), before, "a drop went to the disk");
    assert_eq!(engine.core.lock().let_go.len(), 2);
    while engine.poll_upkeep().unwrap() {}
    while engine.poll_commit().unwrap() {}
    assert!(engine.core.lock().let_go.is_empty());
    assert!(engine.core.lock().line.is_empty());
    let again = engine.lease(email, 8, Wait::No, &RUN).unwrap();
    assert_eq!(payloads(&again)[..3], ["1", "2", "3"]);
    assert_eq!(again[3].record.offset, Offset(8), "those that were dropped unsettled wait for their backoff");
    bench.clock.advance(Duration::from_secs(10));
    let again = engine.lease(email, 8, Wait::No, &RUN).unwrap();
    let mut retried = payloads(&again)[..4].to_vec();
    retried.sort();
    assert_eq!(retried, ["4", "5", "6", "7"]);
    assert_eq!(again[0].counters.failures, 1);
    engine.close().unwrap();
}

#[test]
fn closing_on_a_full_disk_says_what_was_refused_whose_ticket_is_gone() {
    let mut bench = Bench::new();
    let engine = bench.open();
    let orders = topic(&engine);
    bench.disk.set_faults(crate::storage::sim::Faults { capacity: Some(1), ..Default::default() });
    let taken = fill_up(&engine, orders);
    // One whose ticket is held gets its message back from that.
    let held = engine.clone().publish(orders, Message::new(vec![8; 500]));
    engine.clone().publish(orders, Message::new(vec![9; 500])).detach();
    let error = engine.close().unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Full, "{error}");
    assert!(error.to_string().starts_with("2 publishes were refused whose tickets had been dropped"), "{error}");
    let error = held.wait().unwrap_err();
    assert_eq!(error.into_message(), Some(Message::new(vec![8; 500])));
    drop(engine);
    bench.disk.set_faults(crate::storage::sim::Faults::default());
    let engine = bench.open();
    assert!(engine.recovery().clean);
    assert_eq!(engine.end_of(topic(&engine)).unwrap(), Offset(taken));
    // Too large is too large at once; nobody hears of it but `close`.
    engine.clone().publish(topic(&engine), Message::new(vec![0; 17 << 20])).detach();
    let error = engine.close().unwrap_err();
    assert_eq!((error.code(), error.into_message().is_some()), ("too-large", true));
}

#[test]
fn a_reader_that_reads_the_file_up_to_its_end_finds_what_is_written_there_later() {
    let mut bench = Bench::new();
    bench.options.tail_cache_bytes = 0;
    let engine = bench.open();
    let orders = topic(&engine);
    let email = group(&engine);
    for number in 0..10 {
        let text = format!("order {number}");
        engine.clone().publish(orders, Message::new(text.clone())).wait().unwrap();
        let leased = engine.lease(email, 1, Wait::No, &RUN).unwrap();
        assert_eq!(payloads(&leased), [text]);
        let held: Vec<_> = leased.iter().map(|leased| (leased.record.offset, leased.epoch)).collect();
        engine.settle(email, &held, &[], &Outcome::Ack).wait().unwrap();
    }
}

#[test]
fn after_a_clean_close_that_had_to_go_on_to_the_next_segment_damage_in_the_one_before_is_damage() {
    let mut bench = Bench::new();
    let engine = bench.open();
    let orders = topic(&engine);
    let first = engine.core.lock().tail.active().id;
    while engine.poll_upkeep().unwrap() {}
    while !engine.core.lock().tail.control_rolls() {
        engine.clone().publish(orders, Message::new("7").durability(Durability::Os)).wait().unwrap();
        while engine.poll_upkeep().unwrap() {}
    }
    assert_eq!(engine.core.lock().tail.active().id, first);
    let end = u64::from(engine.core.lock().tail.end().position().get());
    let messages = engine.end_of(orders).unwrap();
    engine.close().unwrap();
    drop(engine);
    let name = crate::journal::segment_name(first);
    for file in bench.disk.file_names() {
        if file.ends_with(".index") {
            bench.disk.remove_file(&file).unwrap();
        }
    }
    // The last message, and the seal behind it.
    for byte in [end - 1, end + 20] {
        let disk = bench.disk.fork(1);
        bench.disk.flip_bit(&name, byte, 3).unwrap();
        let environment =
            Environment::simulated(&bench.disk, &crate::tables::MemoryTables::default(), bench.clock.clone(), 9);
        let error = Engine::open(environment, bench.options.clone(), false).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt, "byte {byte}: {error}");
        bench.disk = disk;
    }
    let engine = bench.open();
    assert_eq!(engine.end_of(topic(&engine)).unwrap(), messages);
}

/// Ten thousand groups of one topic take ten times as long to make as a thousand: each of them is a step by itself.
#[test]
fn to_make_a_group_takes_no_more_looks_at_others_the_more_there_are() {
    let mut bench = Bench::new();
    let engine = bench.open();
    let orders = topic(&engine);
    for number in 0..100 {
        engine.clone().publish(orders, Message::new(number.to_string())).wait().unwrap();
    }
    let looks = || crate::state::LOOKS.with(std::cell::Cell::get);
    let make = |from: usize, to: usize| {
        let before = looks();
        for number in from..to {
            let start = if number.is_multiple_of(2) { Start::Earliest } else { Start::Latest };
            let name = number.to_string();
            let made = engine.group(orders, &name, &Group::default().start(start)).unwrap();
            assert_eq!(engine.group(orders, &name, &Group::default()).unwrap(), made, "it is found again");
        }
        looks() - before
    };
    let (first, last) = (make(0, 200), {
        make(200, 1800);
        make(1800, 2000)
    });
    assert!(last <= first + first / 4 && last < 200 * 100, "{first} looks, and then {last}");
}
