//! What delivering costs, beside the least that the machine asks for it: `cargo bench --bench deliver`.
//!
//! As in `publish`: Criterion for single calls, then a table of figures and floors measured in turns. Without
//! `--bench` everything is done once, only to see that it works.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a benchmark, a panic is how it fails")]
#![expect(clippy::disallowed_methods, reason = "what is measured is this machine: its clock, its disk")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "support/asked.rs"]
mod asked;
mod support;

use criterion::Criterion;
use millpond::{Consumer, Durability, Group, Message, Store, WhenParked};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Effort, Memory, PAYLOAD, RawFile, Row, print, rate, rate_of, scratch};

/// Messages of a lease.
const BATCH: usize = 100;

/// A store with so many messages to deliver, all on the disk.
fn filled(directory: &tempfile::TempDir, messages: u64, acks: Durability) -> (Store, Consumer) {
    let options = Store::options().durability(Durability::Memory).ack_durability(acks);
    let store = options.open(directory.path().join("store")).unwrap();
    let topic = store.topic("bench").unwrap();
    let mut left = messages;
    while left > 0 {
        let batch = left.min(1000);
        topic.publish_all((0..batch).map(|_| Message::new(&PAYLOAD[..]))).wait().unwrap();
        left -= batch;
    }
    store.sync().wait().unwrap();
    let consumer = topic.consumer("bench", Group::default()).unwrap();
    (store, consumer)
}

fn one(consumer: &Consumer) {
    let delivery = consumer.try_lease().unwrap().unwrap();
    assert_eq!(delivery.payload().len(), PAYLOAD.len());
    delivery.ack().wait().unwrap();
}

/// Leases batches and acks each, without waiting for the acks, until nothing is left; then waits for all of it.
fn drain(store: &Store, consumer: &Consumer) {
    loop {
        let batch = consumer.lease_many(BATCH, Duration::ZERO).unwrap();
        if batch.len() == 0 {
            break;
        }
        consumer.ack_all(batch).detach();
    }
    assert!(consumer.idle());
    store.sync().wait().unwrap();
}

fn calls(criterion: &mut Criterion, effort: Effort) {
    let mut group = criterion.benchmark_group("deliver");
    let directory = scratch();
    let raw = RawFile::fresh(directory.path());
    group.bench_function("floor/pwrite", |bencher| bencher.iter(|| raw.write()));
    let (store, consumer) = filled(&directory, effort.messages, Durability::Os);
    group.bench_function("lease one, ack one/os", |bencher| bencher.iter(|| one(&consumer)));
    store.close().unwrap();
    group.finish();
}

fn drained(effort: Effort) -> Row {
    let mut memory = Memory::new();
    let floor = || rate_of(effort.messages, || (0..effort.messages).for_each(|_| memory.copy_and_checksum()));
    let figure = || {
        let directory = scratch();
        let (store, consumer) = filled(&directory, effort.messages, Durability::Os);
        let rate = rate_of(effort.messages, || drain(&store, &consumer));
        store.close().unwrap();
        rate
    };
    let name = "drain in batches of 100, acks not waited for";
    Row::measure([name, "memcpy + CRC", ">= 6 M/s"], effort.rounds.div_ceil(3), floor, figure)
}

/// Drains so many messages of so many keys, dealt out in turn, in batches of 100: the rate in messages a second.
fn drain_keyed(messages: u64, keys: u64, settings: Group) -> f64 {
    let directory = scratch();
    let options = Store::options().durability(Durability::Memory).ack_durability(Durability::Os);
    let store = options.open(directory.path().join("store")).unwrap();
    let topic = store.topic("bench").unwrap();
    // Scattered, so that neighbours seldom have one key and each key is all over the place.
    let key = |number: u64| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % keys;
    for first in (0..messages).step_by(1000) {
        let numbers = first..(first + 1000).min(messages);
        topic.publish_all(numbers.map(|n| Message::new(&PAYLOAD[..]).key(key(n).to_string()))).wait().unwrap();
    }
    store.sync().wait().unwrap();
    let consumer = topic.consumer("bench", settings).unwrap();
    let rate = rate_of(messages, || drain(&store, &consumer));
    store.close().unwrap();
    rate
}

/// An ordered group beside one that is not: there the floor is what the order is to cost nothing of.
fn ordered(effort: Effort, keys: u64, look_ahead: u32, name: &'static str) -> Row {
    let messages = effort.messages;
    let floor = || drain_keyed(messages, keys, Group::default());
    let settings = || Group::default().ordered(WhenParked::Skip).look_ahead(look_ahead);
    let figure = || drain_keyed(messages, keys, settings());
    Row::measure([name, "the same, not ordered", ">= 0.5"], effort.rounds.div_ceil(3), floor, figure)
}

fn one_by_one_unsynced(effort: Effort) -> Row {
    let floor = || {
        let directory = scratch();
        let raw = RawFile::fresh(directory.path());
        rate_of(effort.messages / 10, || (0..effort.messages / 10).for_each(|_| raw.write()))
    };
    let figure = || {
        let directory = scratch();
        let (store, consumer) = filled(&directory, effort.messages / 10, Durability::Os);
        let rate = rate_of(effort.messages / 10, || (0..effort.messages / 10).for_each(|_| one(&consumer)));
        store.close().unwrap();
        rate
    };
    let name = "lease one, ack one, Os";
    Row::measure([name, "pwrite of 128 bytes, fresh file", ">= 1 M/s"], effort.rounds, floor, figure)
}

fn one_by_one_durable(effort: Effort) -> Row {
    let directory = scratch();
    let raw = RawFile::written(directory.path(), 4 << 20);
    let (store, consumer) = filled(&directory, effort.messages / 10, Durability::Disk);
    let floor = || rate(effort.slice, 1, || raw.write_and_sync());
    let figure = || rate(effort.slice, 1, || one(&consumer));
    let name = "lease one, ack one, Disk";
    let row = Row::measure([name, "write + fdatasync, written file", ">= 0.9"], effort.rounds, floor, figure);
    store.close().unwrap();
    row
}

/// One after the other, the acks left to themselves.
fn one_by_one_lazily(effort: Effort) -> Row {
    let mut memory = Memory::new();
    let floor = || rate_of(effort.messages, || (0..effort.messages).for_each(|_| memory.copy_and_checksum()));
    let figure = || {
        let directory = scratch();
        let (store, consumer) = filled(&directory, effort.messages, Durability::Os);
        let rate = rate_of(effort.messages, || {
            (0..effort.messages).for_each(|_| consumer.try_lease().unwrap().unwrap().ack().detach());
            store.sync().wait().unwrap();
        });
        store.close().unwrap();
        rate
    };
    let name = "drain one at a time, acks not waited for";
    Row::measure([name, "memcpy + CRC", ">= 2 M/s"], effort.rounds.div_ceil(3), floor, figure)
}

/// Several consumers, each of which acks durably what it leases.
fn eight_durable(effort: Effort) -> Row {
    let directory = scratch();
    let (store, consumer) = filled(&directory, effort.messages / 2, Durability::Disk);
    let floor = || rate(effort.slice, 1, || one(&consumer));
    let figure = || {
        let (done, began) = (AtomicU64::new(0), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while began.elapsed() < effort.slice {
                        one(&consumer);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        done.into_inner() as f64 / began.elapsed().as_secs_f64()
    };
    let name = "lease one, ack one, Disk, 8 consumers";
    let row = Row::measure([name, "the same, 1 consumer", ">= 4"], effort.rounds, floor, figure);
    store.close().unwrap();
    row
}

fn main() {
    let effort = asked::effort();
    let effort = Effort { messages: effort.messages / 2, ..effort };
    calls(&mut asked::criterion(), Effort { messages: effort.messages * 2, ..effort });
    let in_order = [
        ordered(effort, 10_000, 100_000, "ordered, 10,000 keys, batches of 100"),
        ordered(effort, 100, 100_000, "ordered, 100 keys, batches of 100"),
    ];
    print(&in_order);
    print(&[drained(effort), one_by_one_unsynced(effort), one_by_one_durable(effort)]);
    print(&[one_by_one_lazily(effort), eight_durable(effort)]);
}
