//! Tests of carrying ids over, segment by segment.

use super::carry::Carrying;
use crate::clock::ManualClock;
use crate::config::{Group, Options, TopicSettings, Window};
use crate::engine::{Engine, Environment, Outcome, SimDisk, Wait};
use crate::event::Event;
use crate::message::Message;
use crate::tables::MemoryTables;
use crate::types::{Offset, Position, SegmentId, Timestamp, TopicId};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

struct Bench {
    disk: SimDisk,
    tables: MemoryTables,
    clock: ManualClock,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::starting_at(Timestamp(1_700_000_000_000));
        Self { disk: SimDisk::new(1), tables: MemoryTables::default(), clock }
    }

    fn open(&self) -> Arc<Engine> {
        let environment = Environment::simulated(&self.disk, &self.tables, self.clock.clone(), 1);
        let small = 16 << 10;
        let options = Options::default().segment_bytes(small).first_segment_bytes(small).id_memory_bytes(1 << 20);
        Engine::open(environment, options, false).unwrap()
    }
}

fn upkeep(engine: &Engine) {
    while engine.poll_commit().unwrap() | engine.poll_upkeep().unwrap() {}
}

fn message(number: u32) -> Message {
    Message::new(&[b'p'; 200][..]).id(number.to_string())
}

fn fill(engine: &Arc<Engine>, topic: TopicId, numbers: std::ops::Range<u32>) {
    for number in numbers {
        assert!(!engine.clone().publish(topic, message(number)).wait().unwrap().duplicate);
        upkeep(engine);
    }
}

fn sealed(engine: &Engine) -> Vec<SegmentId> {
    engine.files.all().into_iter().filter(|known| known.seal.is_some()).map(|known| known.segment.id).collect()
}

/// Carries over what a segment has to keep. How many ids of published messages it had.
fn carry_over(engine: &Arc<Engine>, segment: SegmentId) -> u64 {
    let runs = engine.runs.lock().clone();
    let shares = runs.all().iter().flat_map(|run| &run.shares);
    let rows = shares.filter(|share| share.segment == segment).map(|share| share.rows).sum();
    let mut carrying: Carrying = engine.begin_carrying(segment).unwrap().unwrap();
    while engine.carry_ids(&mut carrying).unwrap() {
        upkeep(engine);
    }
    rows
}

/// So many runs are of a segment that is there.
fn of(runs: &crate::tables::Runs, segment: SegmentId) -> usize {
    runs.all().iter().filter(|run| run.stretches().any(|stretch| stretch.segment == segment)).count()
}

fn processed_of(engine: &Engine, segment: SegmentId) -> Vec<Event<'static>> {
    let (mut all, mut from) = (Vec::new(), Position(crate::journal::SEGMENT_HEADER));
    while let Some(next) = engine.processed_of(segment, from, 7, &mut all).unwrap() {
        assert!(next > from);
        from = next;
    }
    all
}

#[test]
fn ids_that_are_carried_over_are_known_without_the_segment_they_came_from() {
    let bench = Bench::new();
    let engine = bench.open();
    let settings = |window| TopicSettings::default().deduplicate(window);
    let topic = engine.topic("orders", Some(&settings(Window::Forever))).unwrap();
    let brief = engine.topic("brief", Some(&settings(Window::For(Duration::from_secs(1))))).unwrap();
    engine.clone().publish(brief, message(0)).wait().unwrap();
    fill(&engine, topic, 0..400);
    bench.clock.advance(Duration::from_secs(2));
    assert!(sealed(&engine).len() > 3);
    let last = engine.core.lock().tail.active().id;
    assert!(engine.begin_carrying(last).unwrap().is_none(), "that one is still written to");
    let (mut kept, end) = (0, engine.core.lock().tail.end());
    for segment in sealed(&engine).into_iter().take(3) {
        kept += carry_over(&engine, segment);
        assert!(of(&engine.runs.lock(), segment) == 0, "nobody asks those any more");
    }
    assert!(kept > 100 && engine.core.lock().tail.end() > end, "{kept}");
    let known = |engine: &Arc<Engine>| {
        for number in 0..400 {
            let receipt = engine.clone().publish(topic, message(number)).wait().unwrap();
            assert_eq!((receipt.offset.get(), receipt.duplicate), (number.into(), true));
        }
    };
    known(&engine);
    assert!(!engine.clone().publish(brief, message(0)).wait().unwrap().duplicate, "it had left its window");
    engine.close().unwrap();
    drop(engine);
    let engine = bench.open();
    known(&engine);
}

#[test]
fn what_was_carried_over_counts_for_nothing_in_a_segment_whose_ids_were_carried_over_too() {
    let bench = Bench::new();
    let engine = bench.open();
    let settings = TopicSettings::default().deduplicate(Window::Forever);
    let topic = engine.topic("orders", Some(&settings)).unwrap();
    fill(&engine, topic, 0..60);
    // The first segment stays for its messages' sake; where its ids went is carried over in its turn.
    let first = sealed(&engine)[0];
    carry_over(&engine, first);
    let went_to = engine.core.lock().tail.active().id;
    fill(&engine, topic, 1_000..1_200);
    carry_over(&engine, went_to);
    let place = engine.core.lock().state.topic(topic).unwrap().extent_of(Offset(0));
    assert_eq!(place, Some(first), "the message never left");
    // Neither of the two is asked any more, as if both had been removed at once.
    let runs = engine.runs.lock().clone();
    assert_eq!((of(&runs, first), of(&runs, went_to)), (0, 0));
    let key = crate::tables::PublishedKey { id: engine.hash(b"0"), topic };
    let found = runs.find(&*engine.environment.storage, &[(0, key)]).unwrap();
    assert!(engine.core.lock().ids.get(key).is_some() || !found.rows.is_empty(), "it lies behind both");
}

#[test]
fn processed_ids_are_carried_over_but_for_those_that_a_later_ack_has_replaced() {
    let bench = Bench::new();
    let engine = bench.open();
    let topic = engine.topic("orders", Some(&TopicSettings::default().deduplicate(Window::Off))).unwrap();
    let inbox = Group::default().remember_processed(Window::Last(1_000));
    let group = engine.group(topic, "book", &inbox).unwrap();
    let run = AtomicBool::new(false);
    for number in 0..300u32 {
        engine.clone().publish(topic, message(number)).wait().unwrap();
        let leased = engine.lease(group, 1, Wait::No, &run).unwrap();
        let held = [(leased[0].record.offset(), leased[0].epoch)];
        engine.settle(group, &held, &[], &Outcome::Ack).wait().unwrap();
        upkeep(&engine);
    }
    let first = *engine.core.lock().state.processed_in().keys().next().unwrap();
    let kept = processed_of(&engine, first.0);
    assert!(kept.len() > 5, "{}", kept.len());
    let Event::KeepProcessed(earliest) = kept[0] else { panic!("{:?}", kept[0]) };
    assert_eq!(earliest.table, 0);
    // As if the first id had been acked once more.
    let later = crate::event::KeepProcessed { sequence: 301, ..earliest };
    engine.core.lock().record(&Event::KeepProcessed(later)).unwrap();
    assert_eq!(processed_of(&engine, first.0), kept[1..]);
    // Its window has ended once a thousand others came.
    let later = crate::event::KeepProcessed { id_hash: [7; 16], sequence: 5_000, ..earliest };
    engine.core.lock().record(&Event::KeepProcessed(later)).unwrap();
    assert!(processed_of(&engine, first.0).is_empty());
    let now = engine.age_now();
    assert!(!engine.core.lock().processed_to_keep(now).contains_key(&first.0));
}
