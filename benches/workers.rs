//! What a pool of workers gets done, beside the least that the machine asks for it: `cargo bench --bench workers`.
//!
//! Eight threads, messages of 1 KiB, a handler that only counts. A worker does not wait for its ack before it takes the
//! next message; the run ends when all of them are durable, and that is in the figure. Without `--bench` everything is
//! done once, only to see that it works.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a benchmark, a panic is how it fails")]
#![expect(clippy::disallowed_methods, reason = "what is measured is this machine: its clock, its disk")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[expect(dead_code, reason = "it is shared with benches that ask for more")]
#[path = "support/asked.rs"]
mod asked;
#[expect(dead_code, reason = "likewise")]
mod support;

use millpond::{Consumer, Delivery, Durability, Message, Store, Workers};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Effort, RawFile, Row, print, rate, rate_of, scratch};

const WORKERS: usize = 8;
const PAYLOAD: [u8; 1024] = [7; 1024];

/// A store with so many messages to handle, all on the disk.
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
    let consumer = topic.consumer("bench", millpond::Group::default()).unwrap();
    (store, consumer)
}

/// Handles all of them, and returns when their acks are durable.
fn work(consumer: &Consumer, messages: u64) {
    let (handled, stopper) = (Arc::new(AtomicU64::new(0)), consumer.stopper());
    let handler = move |order: &Delivery| {
        assert_eq!(order.payload().len(), PAYLOAD.len());
        if handled.fetch_add(1, Ordering::AcqRel) + 1 == messages {
            stopper.stop();
        }
    };
    let worked = consumer.run(Workers::threads(WORKERS), handler).unwrap();
    assert_eq!((worked.done, worked.failed, worked.lost), (messages, 0, 0));
}

fn pool(effort: Effort, acks: Durability, name: &'static str) -> Row {
    let directory = scratch();
    let raw = RawFile::written(directory.path(), 4 << 20);
    let floor = || rate(effort.slice, 1, || raw.write_and_sync());
    let figure = || {
        let directory = scratch();
        let (store, consumer) = filled(&directory, effort.messages, acks);
        let rate = rate_of(effort.messages, || work(&consumer, effort.messages));
        store.close().unwrap();
        rate
    };
    Row::measure([name, "write + fdatasync, one after the other", ""], effort.rounds.div_ceil(3), floor, figure)
}

fn main() {
    let effort = asked::effort();
    let effort = Effort { messages: effort.messages / 5, ..effort };
    print(&[
        pool(effort, Durability::Disk, "8 workers, 1 KiB, acks on the disk"),
        pool(effort, Durability::Os, "8 workers, 1 KiB, acks with the kernel"),
    ]);
}
