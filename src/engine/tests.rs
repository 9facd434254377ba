//! The engine by itself, on the simulated disk and without threads.

use super::*;
use crate::clock::{ManualClock, SeededEntropy};
use crate::config::{Group, Options, Retry, TopicSettings};
use crate::message::Message;
use crate::storage::sim::SimDisk;
use crate::types::{GroupId, Offset, TopicId};
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
            storage: Arc::new(self.disk.clone()),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SeededEntropy::new(self.seed)),
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
        let receipt = engine.clone().publish(orders, Message::new(format!("order {number}")).id("x")).wait().unwrap();
        assert_eq!(receipt.offset, Offset(number));
    }
    let leased = engine.lease(email, 4, Wait::No, &RUN).unwrap();
    assert_eq!(payloads(&leased), ["order 0", "order 1", "order 2", "order 3"]);
    engine.settle(email, &[(Offset(1), leased[1].epoch)], &Outcome::Ack).wait().unwrap();
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
    let orders = topic(&engine);
    let email = group(&engine);
    for number in 0..3000u32 {
        engine.clone().publish(orders, Message::new(format!("order {number} {}", "x".repeat(50)))).detach();
        if number % 7 == 0 {
            engine.poll_upkeep().unwrap();
            engine.poll_commit().unwrap();
        }
        if number % 10 == 0 {
            for leased in engine.lease(email, 3, Wait::No, &RUN).unwrap() {
                engine.settle(email, &[(leased.record.offset, leased.epoch)], &Outcome::Ack).detach();
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
        engine.settle(email, &[(Offset(0), leased[0].epoch)], &nack).wait().unwrap();
        assert!(engine.lease(email, 1, Wait::No, &RUN).unwrap().is_empty());
        bench.clock.advance(Duration::from_secs(10));
    }
    assert!(engine.lease(email, 1, Wait::No, &RUN).unwrap().is_empty());
    let dead = engine.dead_letters(email).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].1.counters.failures, 2);
}

#[test]
fn a_reader_that_reads_the_file_up_to_its_end_finds_what_is_written_there_later() {
    let mut bench = Bench::new();
    bench.options.tail_cache_bytes = 0;
    let engine = bench.open();
    let (orders, email) = (topic(&engine), group(&engine));
    for number in 0..10 {
        let text = format!("order {number}");
        engine.clone().publish(orders, Message::new(text.clone())).wait().unwrap();
        let leased = engine.lease(email, 1, Wait::No, &RUN).unwrap();
        assert_eq!(payloads(&leased), [text]);
        let held: Vec<_> = leased.iter().map(|leased| (leased.record.offset, leased.epoch)).collect();
        engine.settle(email, &held, &Outcome::Ack).wait().unwrap();
    }
}
