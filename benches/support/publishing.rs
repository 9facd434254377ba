//! Figures of publishing, each beside its floor.

use crate::support::{Effort, Memory, PAYLOAD, RawFile, Row, put, rate, rate_of, scratch};
use millpond::{Durability, Message, Store, Topic};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Messages of a batch.
const BATCH: u64 = 100;
const THREADS: usize = 64;

pub(crate) const DISK_ONE: &str = "publish Disk, 1 thread";
pub(crate) const DISK_MANY: &str = "publish Disk, 64 threads";
pub(crate) const OS_ONE: &str = "publish Os, 1 thread";
pub(crate) const OS_PIPELINED: &str = "publish Os, 1 thread, 64 under way";
pub(crate) const MEMORY: &str = "publish Memory, 1 thread";
pub(crate) const OS_BATCHES: &str = "publish_all of 100, Os";
pub(crate) const BATCHES: &str = "publish_all of 100, Memory";

pub(crate) fn message() -> Message {
    Message::new(&PAYLOAD[..])
}

/// A store whose publishes are of this level, and its topic.
pub(crate) fn topic(directory: &tempfile::TempDir, level: Durability) -> (Store, Topic) {
    let store = Store::options().durability(level).open(directory.path().join("store")).unwrap();
    let topic = store.topic("bench").unwrap();
    (store, topic)
}

fn publish(topic: &Topic) {
    topic.publish(message()).wait().unwrap();
}

fn publish_all(topic: &Topic) {
    topic.publish_all((0..BATCH).map(|_| message())).wait().unwrap();
}

/// All of them, and what the machine has to say to it.
pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    vec![
        disk_one(effort),
        disk_many(effort),
        os_one(effort),
        os_pipelined(effort),
        memory(effort),
        batches(effort),
        os_batches(effort),
    ]
}

/// A disk has its moods, and they last: many short turns.
fn short_turns(Effort { rounds, slice, .. }: Effort) -> (usize, Duration) {
    (rounds * 5, slice / 5)
}

fn disk_one(effort: Effort) -> Row {
    let (rounds, slice) = short_turns(effort);
    let directory = scratch();
    let raw = RawFile::written(directory.path(), 4 << 20);
    let (store, topic) = topic(&directory, Durability::Disk);
    let floor = || rate(slice, 1, || raw.write_and_sync());
    let figure = || rate(slice, 1, || publish(&topic));
    let row = Row::measure([DISK_ONE, "write + fdatasync, written file", ">= 0.95"], rounds, floor, figure);
    store.close().unwrap();
    row
}

fn disk_many(Effort { rounds, slice, .. }: Effort) -> Row {
    let directory = scratch();
    let (store, topic) = topic(&directory, Durability::Disk);
    let one = || rate(slice, 1, || publish(&topic));
    let many = || {
        let (done, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        publish(&topic);
                        done.fetch_add(1, Ordering::Relaxed);
                        over.fetch_or(began.elapsed() >= slice, Ordering::Relaxed);
                    }
                });
            }
        });
        done.into_inner() as f64 / began.elapsed().as_secs_f64()
    };
    let row = Row::measure([DISK_MANY, "publish Disk, 1 thread", ">= 8"], rounds, one, many);
    store.close().unwrap();
    row
}

/// Raw writes, from a process that has other threads, as one with a store has: the kernel's way to a file is longer
/// then.
fn raw_writes(slice: Duration) -> f64 {
    let directory = scratch();
    let raw = RawFile::fresh(directory.path());
    let (end, over) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || over.recv());
    let rate = rate(slice, 64, || raw.write());
    drop(end);
    drop(other.join());
    rate
}

/// Publishes that are on their way at a time, where not each is waited for before the next.
const ON_THEIR_WAY: usize = 64;

fn os_pipelined(Effort { rounds, slice, .. }: Effort) -> Row {
    let figure = || {
        let directory = scratch();
        let (store, topic) = topic(&directory, Durability::Os);
        let mut tickets = std::collections::VecDeque::with_capacity(ON_THEIR_WAY);
        let rate = rate(slice, 64, || {
            tickets.push_back(topic.publish(message()));
            if tickets.len() == ON_THEIR_WAY
                && let Some(oldest) = tickets.pop_front()
            {
                oldest.wait().unwrap();
            }
        });
        for ticket in tickets {
            ticket.wait().unwrap();
        }
        store.close().unwrap();
        rate
    };
    Row::measure([OS_PIPELINED, "pwrite of 128 bytes, fresh file", ">= 0.8"], rounds, || raw_writes(slice), figure)
}

fn os_one(Effort { rounds, slice, .. }: Effort) -> Row {
    let floor = || raw_writes(slice);
    let figure = || {
        let directory = scratch();
        let (store, topic) = topic(&directory, Durability::Os);
        let rate = rate(slice, 64, || publish(&topic));
        store.close().unwrap();
        rate
    };
    Row::measure([OS_ONE, "pwrite of 128 bytes, fresh file", ">= 0.8"], rounds, floor, figure)
}

fn memory(effort: Effort) -> Row {
    let figure = || {
        let directory = scratch();
        let (store, topic) = topic(&directory, Durability::Memory);
        let all = || (0..effort.messages).for_each(|_| publish(&topic));
        let rate = rate_of(effort.messages, all);
        store.close().unwrap();
        rate
    };
    // A turn is a second or so by itself.
    Row::measure([MEMORY, "memcpy + CRC", ">= 5.8 M/s"], effort.rounds.div_ceil(3), || in_memory(effort), figure)
}

fn batches(effort: Effort) -> Row {
    let figure = || {
        let directory = scratch();
        let (store, topic) = topic(&directory, Durability::Memory);
        let all = || (0..effort.messages / BATCH).for_each(|_| publish_all(&topic));
        let rate = rate_of(effort.messages, all);
        store.close().unwrap();
        rate
    };
    Row::measure([BATCHES, "memcpy + CRC", ">= 12 M/s"], effort.rounds.div_ceil(3), || in_memory(effort), figure)
}

impl RawFile {
    /// Writes so many bytes behind the last ones, or at the start if they would not fit.
    pub(crate) fn write_all(&self, bytes: &[u8]) {
        let length = bytes.len() as u64;
        let position = self.position.fetch_add(length, Ordering::Relaxed);
        put(&self.file, bytes, if self.length == u64::MAX { position } else { position % (self.length - length) });
    }
}

/// Batches that are with the kernel when they resolve.
fn os_batches(Effort { rounds, slice, .. }: Effort) -> Row {
    let floor = || {
        let directory = scratch();
        let (raw, bytes) = (RawFile::fresh(directory.path()), [b'r'; 100 * 106]);
        rate(slice, 1, || raw.write_all(&bytes)) * BATCH as f64
    };
    let figure = || {
        let directory = scratch();
        let (store, topic) = topic(&directory, Durability::Os);
        let rate = rate(slice, 1, || publish_all(&topic)) * BATCH as f64;
        store.close().unwrap();
        rate
    };
    Row::measure([OS_BATCHES, "pwrite of 10.6 KB, fresh file", ">= 0.85"], rounds, floor, figure)
}

fn in_memory(effort: Effort) -> f64 {
    let mut memory = Memory::new();
    rate_of(effort.messages, || (0..effort.messages).for_each(|_| memory.copy_and_checksum()))
}
