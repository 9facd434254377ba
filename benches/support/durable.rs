//! Figures of publishing durably, by many threads and in batches, each beside its floor.

use crate::publishing::topic;
use crate::support::{Effort, RawFile, Row, rate, scratch};
use millpond::{Durability, Message, Topic};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// A payload of the rows with many threads.
static LARGE: [u8; 1024] = [b'm'; 1024];
/// Tickets of one thread that nobody has waited for yet.
const OUTSTANDING: usize = 1000;

/// All of them.
pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    vec![
        threads(effort, 4, "publish Disk 1 KiB, 4 threads", ">= 0.9"),
        threads(effort, 16, "publish Disk 1 KiB, 16 threads", ">= 0.8"),
        threads(effort, 64, "publish Disk 1 KiB, 64 threads", ">= 0.8"),
        threads(effort, 256, "publish Disk 1 KiB, 256 threads", ">= 0.8"),
        batches(effort, 100, 100, ["publish_all Disk, 100 x 100 B", "write of 14 KiB + fdatasync", ""]),
        batches(effort, 1000, 100, ["publish_all Disk, 1000 x 100 B", "write of 140 KiB + fdatasync", ""]),
        batches(effort, 100, 1024, ["publish_all Disk, 100 x 1 KiB", "write of 103 KiB + fdatasync", ""]),
        batches(effort, 1000, 1024, ["publish_all Disk, 1000 x 1 KiB", "write of 1 MiB + fdatasync", ""]),
        pipelined(effort),
        producers(effort),
    ]
}

impl RawFile {
    fn write_all_and_sync(&self, bytes: &[u8]) {
        self.write_all(bytes);
        self.file.sync_data().unwrap();
    }
}

/// How often a second so many threads do something, each as often as it can.
fn many(threads: usize, slice: Duration, turn: impl Fn() + Sync) -> f64 {
    let (done, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    turn();
                    done.fetch_add(1, Ordering::Relaxed);
                    over.fetch_or(began.elapsed() >= slice, Ordering::Relaxed);
                }
            });
        }
    });
    done.into_inner() as f64 / began.elapsed().as_secs_f64()
}

/// The plainest group commit there can be: whoever finds nobody writing writes what has gathered, and syncs.
struct Grouped {
    raw: RawFile,
    state: Mutex<Gathered>,
    over: Condvar,
}

#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// The group that gathers, and the last one that is durable.
    group: u64,
    durable: u64,
    busy: bool,
}

impl Grouped {
    fn new(raw: RawFile) -> Self {
        Self { raw, state: Mutex::default(), over: Condvar::new() }
    }

    fn append(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        state.bytes.extend_from_slice(bytes);
        let mine = state.group + 1;
        while state.durable < mine {
            if state.busy {
                state = self.over.wait(state).unwrap();
                continue;
            }
            state.busy = true;
            state.group += 1;
            let (group, gathered) = (state.group, std::mem::take(&mut state.bytes));
            drop(state);
            self.raw.write_all_and_sync(&gathered);
            state = self.state.lock().unwrap();
            (state.durable, state.busy) = (group, false);
            self.over.notify_all();
        }
    }
}

fn threads(Effort { rounds, slice, .. }: Effort, threads: usize, name: &'static str, aim: &'static str) -> Row {
    let directory = scratch();
    let grouped = Grouped::new(RawFile::written(directory.path(), 8 << 20));
    let (store, topic) = topic(&directory, Durability::Disk);
    let floor = || many(threads, slice, || grouped.append(&LARGE));
    let figure = || many(threads, slice, || _ = topic.publish(Message::new(&LARGE[..])).wait().unwrap());
    let row = Row::measure([name, "plain group commit, as many threads", aim], rounds, floor, figure);
    store.close().unwrap();
    row
}

fn publish_all(topic: &Topic, count: usize, payload: &'static [u8]) {
    topic.publish_all((0..count).map(|_| Message::new(payload))).wait().unwrap();
}

/// Messages a second, in durable batches.
fn batches(Effort { rounds, slice, .. }: Effort, count: usize, size: usize, names: [&'static str; 3]) -> Row {
    let payload = &LARGE[..size];
    let directory = scratch();
    let raw = RawFile::written(directory.path(), 8 << 20);
    let (store, topic) = topic(&directory, Durability::Disk);
    // What a message takes in a batch: a head of two bytes and a check of four.
    let bytes = vec![b'r'; count * (size + 6)];
    let floor = || rate(slice, 1, || raw.write_all_and_sync(&bytes)) * count as f64;
    let figure = || rate(slice, 1, || publish_all(&topic, count, payload)) * count as f64;
    let row = Row::measure(names, rounds, floor, figure);
    store.close().unwrap();
    row
}

fn pipelined(Effort { rounds, slice, .. }: Effort) -> Row {
    let directory = scratch();
    let raw = RawFile::written(directory.path(), 8 << 20);
    let (store, topic) = topic(&directory, Durability::Disk);
    let bytes = vec![b'r'; OUTSTANDING / 2 * 128];
    let floor = || rate(slice, 1, || raw.write_all_and_sync(&bytes)) * (OUTSTANDING / 2) as f64;
    let mut tickets = VecDeque::with_capacity(OUTSTANDING);
    let figure = || {
        rate(slice, 100, || {
            if tickets.len() == OUTSTANDING {
                tickets.pop_front().map(millpond::Ticket::wait).unwrap().unwrap();
            }
            tickets.push_back(topic.publish(crate::publishing::message()));
        })
    };
    let names = ["publish Disk, 1 thread, 1000 under way", "500 x 128 bytes + fdatasync", ">= 2 M/s"];
    let row = Row::measure(names, rounds, floor, figure);
    store.sync().wait().unwrap();
    store.close().unwrap();
    row
}

/// Four threads that publish 1 KiB each without waiting for the disk.
fn producers(Effort { rounds, slice, .. }: Effort) -> Row {
    let floor = || {
        let directory = scratch();
        let raw = RawFile::fresh(directory.path());
        many(4, slice, || raw.write_all(&LARGE))
    };
    let figure = || {
        let directory = scratch();
        let (store, topic) = topic(&directory, Durability::Memory);
        let rate = many(4, slice, || _ = topic.publish(Message::new(&LARGE[..])).wait().unwrap());
        store.close().unwrap();
        rate
    };
    Row::measure(["publish Memory 1 KiB, 4 threads", "pwrite of 1 KiB, 4 threads", ">= 1.5 M/s"], rounds, floor, figure)
}
