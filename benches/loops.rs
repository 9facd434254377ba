//! One path over and over, and nothing else: for a profiler, or to count instructions.
//!
//! `cargo bench --bench loops --no-run` says where the program is; then
//! `perf stat -e instructions:u PROGRAM memory 2000000`, `perf record PROGRAM drain 1000000` and the like. What
//! preparing costs is told by the same with another number. Where time goes is a page of the guide. Without a path
//! each of them is gone once, only to see that it works.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a benchmark, a panic is how it fails")]
#![expect(clippy::print_stdout, reason = "what was counted is for whoever asked")]
#![expect(clippy::disallowed_methods, reason = "what is measured is this machine: its clock, its disk")]

#[expect(dead_code, reason = "the other benchmarks use what this one does not")]
mod support;

use millpond::{Consumer, Durability, Group, Message, Store, Topic, WhenParked};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use support::{PAYLOAD, RawFile, scratch};

const BATCH: u64 = 100;
/// Tickets that nobody has waited for yet.
const OUTSTANDING: usize = 1000;

/// A path's name, and what goes it so many times.
type Path = (&'static str, fn(u64));

const PATHS: [Path; 11] = [
    ("memory", |count| publish(count, Durability::Memory)),
    ("os", |count| publish(count, Durability::Os)),
    ("disk", |count| publish(count, Durability::Disk)),
    ("pipelined", pipelined),
    ("batches", batches),
    ("pwrite", pwrite),
    ("drain", |count| drain(count, Group::default(), false)),
    ("ordered", |count| drain(count, Group::default().ordered(WhenParked::Skip), true)),
    ("keyed", |count| drain(count, Group::default(), true)),
    ("one", |count| one_by_one(count, true)),
    ("one-detached", |count| one_by_one(count, false)),
];

fn with_store(level: Durability, work: impl FnOnce(&Store, &Topic)) {
    let directory = scratch();
    let options = Store::options().durability(level).ack_durability(Durability::Os);
    let store = options.open(directory.path().join("store")).unwrap();
    let topic = store.topic("bench").unwrap();
    work(&store, &topic);
    store.close().unwrap();
}

fn timed(count: u64, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    let taken = began.elapsed();
    println!("{count} in {taken:?}: {:.0} a second", count as f64 / taken.as_secs_f64());
}

fn publish(count: u64, level: Durability) {
    with_store(level, |_, topic| {
        timed(count, || (0..count).for_each(|_| _ = topic.publish(Message::new(&PAYLOAD[..])).wait().unwrap()));
    });
}

fn pipelined(count: u64) {
    with_store(Durability::Disk, |store, topic| {
        timed(count, || {
            let mut tickets = VecDeque::with_capacity(OUTSTANDING);
            for _ in 0..count {
                if tickets.len() == OUTSTANDING {
                    tickets.pop_front().map(millpond::Ticket::wait).unwrap().unwrap();
                }
                tickets.push_back(topic.publish(Message::new(&PAYLOAD[..])));
            }
            tickets.into_iter().for_each(|ticket| _ = ticket.wait().unwrap());
            store.sync().wait().unwrap();
        });
    });
}

fn batches(count: u64) {
    with_store(Durability::Memory, |_, topic| timed(count, || fill(topic, count, BATCH, false)));
}

fn fill(topic: &Topic, count: u64, batch: u64, keyed: bool) {
    for first in (0..count).step_by(usize::try_from(batch).unwrap()) {
        let messages = (first..(first + batch).min(count)).map(|number| {
            let message = Message::new(&PAYLOAD[..]);
            let key = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % 10_000;
            if keyed { message.key(key.to_string()) } else { message }
        });
        topic.publish_all(messages).wait().unwrap();
    }
}

fn pwrite(count: u64) {
    let directory = scratch();
    let raw = RawFile::fresh(directory.path());
    timed(count, || (0..count).for_each(|_| raw.write()));
}

fn filled(count: u64, group: Group, keyed: bool, work: impl FnOnce(&Store, &Consumer)) {
    with_store(Durability::Memory, |store, topic| {
        fill(topic, count, 1000, keyed);
        store.sync().wait().unwrap();
        let consumer = topic.consumer("bench", group).unwrap();
        timed(count, || work(store, &consumer));
        assert!(consumer.idle());
    });
}

fn drain(count: u64, group: Group, keyed: bool) {
    filled(count, group, keyed, |store, consumer| {
        loop {
            let batch = consumer.lease_many(usize::try_from(BATCH).unwrap(), Duration::ZERO).unwrap();
            if batch.len() == 0 {
                break;
            }
            consumer.ack_all(batch).detach();
        }
        store.sync().wait().unwrap();
    });
}

fn one_by_one(count: u64, waited_for: bool) {
    filled(count, Group::default(), false, |_, consumer| {
        for _ in 0..count {
            let ticket = consumer.try_lease().unwrap().unwrap().ack();
            if waited_for { ticket.wait().unwrap() } else { ticket.detach() }
        }
    });
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (wanted, count) = (arguments.next(), arguments.next());
    for (name, path) in PATHS {
        match &wanted {
            None => path(1_000),
            Some(wanted) if wanted == name => path(count.as_deref().unwrap_or("1000000").parse().unwrap()),
            Some(_) => {}
        }
    }
}
