//! Group commit, tickets, wakers and shutdown, with shuttle deciding which thread runs when: nobody waits for ever,
//! each ticket is answered once, a dropped one harms nobody, closing answers all.
//!
//! `tests/interleavings/run [SCHEDULES]` builds and runs them.
//!
//! Each test runs so many schedules of shuttle's random scheduler, and as many of PCT's, which finds what takes few
//! but unlikely changes of threads. A thread that waits for ever is a deadlock to shuttle, which then prints the
//! schedule; `MILLPOND_SCHEDULE` with what it printed runs it again. What is tried is the engine itself with its three
//! threads, on the simulated disk and a clock that stands still.

use super::*;
use crate::clock::ManualClock;
use crate::config::{Group, TopicSettings};
use crate::error::ErrorKind;
use crate::message::{Message, Receipt};
use crate::storage::sim::{Faults, SimDisk};
use crate::ticket::Ticket;
use crate::types::{Offset, TopicId};
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, Runner};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

/// Changes of threads that PCT makes at unlikely places.
const DEPTH: usize = 3;

fn schedules(what: impl Fn() + Send + Sync + 'static) {
    let count = std::env::var("MILLPOND_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(500);
    let what = Arc::new(what);
    if let Ok(schedule) = std::env::var("MILLPOND_SCHEDULE") {
        let scheduler = ReplayScheduler::new_from_encoded(&schedule);
        Runner::new(scheduler, config()).run(move || what());
        return;
    }
    let again = what.clone();
    Runner::new(RandomScheduler::new(count), config()).run(move || what());
    Runner::new(PctScheduler::new(DEPTH, count), config()).run(move || again());
}

/// An engine that is opened in a debug build wants more stack than shuttle gives.
fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config
}

fn open(disk: &SimDisk, buffer_bytes: usize, threads: bool) -> Arc<Engine> {
    let clock = ManualClock::starting_at(Timestamp(1_000_000));
    let environment = Environment::simulated(disk, &crate::tables::MemoryTables::default(), clock, 3);
    let options =
        Options { segment_bytes: 32 << 10, first_segment_bytes: 32 << 10, buffer_bytes, ..Options::default() };
    Engine::open(environment, options, threads).unwrap()
}

fn topic(engine: &Engine) -> TopicId {
    engine.topic("orders", Some(&TopicSettings::default())).unwrap()
}

fn publish(engine: &Arc<Engine>, topic: TopicId, bytes: usize, level: Durability) -> Ticket<Receipt> {
    engine.clone().publish(topic, Message::new(vec![b'x'; bytes]).durability(level))
}

/// How a ticket is gone about.
#[derive(Clone, Copy)]
enum Way {
    Wait,
    Await,
    /// Polled once, and dropped.
    Drop,
    /// Waited for with a limit, until it is there.
    Limit,
}

/// The outcome, where anybody asked for it.
fn ask(ticket: Ticket<Receipt>, way: Way) -> Option<Result<Receipt>> {
    match way {
        Way::Wait => Some(ticket.wait()),
        Way::Await => Some(block_on(ticket)),
        Way::Drop => {
            let mut ticket = ticket;
            let mut context = Context::from_waker(Waker::noop());
            match std::pin::Pin::new(&mut ticket).poll(&mut context) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            }
        }
        Way::Limit => {
            let mut ticket = ticket;
            loop {
                match ticket.wait_timeout(Duration::from_millis(1)) {
                    Ok(outcome) => return Some(outcome),
                    Err(again) => ticket = again,
                }
            }
        }
    }
}

/// What was promised is there after a power cut.
fn is_there(disk: &SimDisk, promised: &BTreeSet<Offset>) {
    disk.crash();
    let engine = open(disk, 1 << 20, false);
    let (_, end) = engine.bounds(topic(&engine)).unwrap();
    assert!(promised.last().is_none_or(|last| *last < end), "{promised:?} were promised, and the end is {end}");
    engine.close().unwrap();
}

/// Several publish, each in its own way, and `close` comes when all have their answers, or in the middle.
fn publishers(buffer_bytes: usize, size: usize, early: bool) {
    let disk = SimDisk::new(5);
    let engine = open(&disk, buffer_bytes, true);
    let topic = topic(&engine);
    let ways = [Way::Wait, Way::Await, Way::Drop, Way::Limit];
    let levels = [Durability::Disk, Durability::Os, Durability::Disk, Durability::Disk];
    let threads: Vec<_> = ways
        .into_iter()
        .zip(levels)
        .map(|(way, level)| {
            let engine = engine.clone();
            thread::spawn(move || {
                let tickets: Vec<_> = (0..2).map(|_| publish(&engine, topic, size, level)).collect();
                tickets.into_iter().filter_map(|ticket| ask(ticket, way)).map(|out| (level, out)).collect::<Vec<_>>()
            })
        })
        .collect();
    if early {
        engine.close().unwrap_or_else(|error| assert_eq!(error.kind(), ErrorKind::Closed, "{error}"));
    }
    let (mut given, mut promised) = (BTreeSet::new(), BTreeSet::new());
    for thread in threads {
        for (level, outcome) in thread.join().unwrap() {
            match outcome {
                Ok(receipt) => {
                    assert!(given.insert(receipt.offset), "{} was given twice", receipt.offset);
                    if level == Durability::Disk {
                        promised.insert(receipt.offset);
                    }
                }
                Err(error) => assert!(early && error.kind() == ErrorKind::Closed, "{error}"),
            }
        }
    }
    if !early {
        assert!(given.len() >= 6, "only those of the dropped tickets may lack: {given:?}");
        let end = engine.bounds(topic).unwrap().1;
        assert!(end <= Offset(8), "{end}");
        engine.close().unwrap();
        assert!(disk.file_names().len() > 1);
        is_there(&disk, &(0..8).map(Offset).collect());
    } else {
        is_there(&disk, &promised);
    }
}

#[test]
fn each_ticket_is_answered_once_and_a_dropped_one_harms_nobody() {
    schedules(|| publishers(1 << 20, 10, false));
}

#[test]
fn publishes_that_stand_in_line_are_answered_too() {
    schedules(|| publishers(4096, 3_000, false));
}

#[test]
fn closing_answers_all() {
    schedules(|| publishers(1 << 20, 10, true));
}

#[test]
fn closing_answers_those_in_line() {
    schedules(|| publishers(4096, 3_000, true));
}

/// Without the store's own threads, so that nobody helps whom the others have forgotten to wake: each leads, or is
/// served by who does, whatever levels meet and whoever gives up meanwhile.
#[test]
fn those_who_wait_for_each_other_need_nobody_else() {
    schedules(|| {
        let disk = SimDisk::new(9);
        let engine = open(&disk, 1 << 20, false);
        let topic = topic(&engine);
        let (disk_level, os) = (Durability::Disk, Durability::Os);
        let threads: Vec<_> = [(disk_level, false), (os, false), (disk_level, true), (os, true), (disk_level, false)]
            .map(|(level, hasty)| {
                let engine = engine.clone();
                thread::spawn(move || {
                    (0..3).for_each(|_| {
                        let ticket = publish(&engine, topic, 10, level);
                        if hasty {
                            // Its time may run out when it has just been called to lead.
                            _ = ticket.wait_timeout(Duration::from_millis(1));
                        } else {
                            ticket.wait().unwrap();
                        }
                    });
                })
            })
            .into_iter()
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        engine.sync().wait().unwrap();
        assert_eq!(engine.bounds(topic).unwrap().1, Offset(15));
        is_there(&disk, &(0..15).map(Offset).collect());
    });
}

#[test]
fn a_publish_wakes_who_waits_for_a_message_and_closing_wakes_the_rest() {
    schedules(|| {
        let engine = open(&SimDisk::new(6), 1 << 20, true);
        let topic = topic(&engine);
        let group = engine.group(topic, "email", &Group::default()).unwrap();
        let handed_out = Arc::new(AtomicU64::new(0));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (engine, handed_out) = (engine.clone(), handed_out.clone());
                thread::spawn(move || {
                    let got = engine.lease(group, 1, Wait::Forever, &AtomicBool::new(false)).map(|got| got.len());
                    handed_out.fetch_add(u64::from(got.is_ok()), Ordering::Relaxed);
                    got
                })
            })
            .collect();
        for level in [Durability::Memory, Durability::Disk] {
            publish(&engine, topic, 10, level).wait().unwrap();
        }
        // Two have one each; the third is woken by the closing, and nobody is by anything else.
        while handed_out.load(Ordering::Relaxed) < 2 {
            thread::yield_now();
        }
        engine.close().unwrap();
        let outcomes: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Ok(1))).count(), 2, "{outcomes:?}");
        let closed = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        assert!(closed.clone().count() == 1 && closed.clone().all(|error| error.kind() == ErrorKind::Closed));
    });
}

#[test]
fn a_sync_that_fails_is_told_to_all_who_wait() {
    schedules(|| {
        let disk = SimDisk::new(7);
        let engine = open(&disk, 1 << 20, true);
        let topic = topic(&engine);
        disk.set_faults(Faults { sync_error: 1.0, ..Faults::default() });
        let threads: Vec<_> = [Way::Wait, Way::Await, Way::Limit, Way::Drop]
            .map(|way| {
                let engine = engine.clone();
                thread::spawn(move || ask(publish(&engine, topic, 10, Durability::Disk), way))
            })
            .into_iter()
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap().is_none_or(|outcome| outcome.is_err()), "nothing was synced");
        }
        assert!(engine.close().is_err());
    });
}

/// Some expect an end, and stand in line with those that don't: one of two that expect the same has it, the other is
/// told so, and each has an answer.
fn expecting(early: bool) {
    let engine = open(&SimDisk::new(8), 4096, true);
    let topic = topic(&engine);
    let threads: Vec<_> = [Way::Wait, Way::Await, Way::Limit]
        .map(|way| {
            let engine = engine.clone();
            thread::spawn(move || {
                let message = || Message::new(vec![b'x'; 3_000]);
                let plain = engine.clone().publish(topic, message());
                let expecting = engine.clone().publish_if(topic, Offset(1), message());
                [ask(plain, way), ask(expecting, way)].map(|outcome| outcome.ok_or(()).unwrap())
            })
        })
        .into_iter()
        .collect();
    if early {
        engine.close().unwrap_or_else(|error| assert_eq!(error.kind(), ErrorKind::Closed, "{error}"));
    }
    let mut given = BTreeSet::new();
    for outcome in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
        match outcome {
            Ok(receipt) => assert!(given.insert(receipt.offset), "{} was given twice", receipt.offset),
            Err(error) if early && error.kind() == ErrorKind::Closed => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
        }
    }
    if !early {
        assert!((3..=4).contains(&given.len()), "{given:?}");
        engine.close().unwrap();
    }
}

#[test]
fn who_expects_an_end_and_stands_in_line_is_answered_too() {
    schedules(|| expecting(false));
}

#[test]
fn closing_answers_those_who_expect_an_end() {
    schedules(|| expecting(true));
}
