//! How long it is from a publish to the delivery, at 10,000 messages a second, in one process: `cargo bench --bench
//! latency`. Beside it the least there can be: what it takes to wake a thread.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a benchmark, a panic is how it fails")]
#![expect(clippy::disallowed_methods, reason = "what is measured is this machine: its clock, its disk")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "support/asked.rs"]
#[expect(dead_code, reason = "the other benchmarks use what this one does not")]
mod asked;
#[expect(dead_code, reason = "the other benchmarks use what this one does not")]
mod support;

use millpond::{Durability, Group, Message, Store};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use support::scratch;

/// Between two messages.
const PACE: Duration = Duration::from_micros(100);

/// The latencies of so many messages. The pace is kept without sleeping: to be woken takes as long as what is measured.
fn paced(count: u64, mut send: impl FnMut(u64)) {
    let began = Instant::now();
    for number in 0..count {
        let due = began + PACE * u32::try_from(number).unwrap();
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        send(number);
    }
}

fn wake_up(count: u64) -> Vec<Duration> {
    let (sender, receiver) = mpsc::channel::<Instant>();
    let receiving = std::thread::spawn(move || receiver.iter().map(|sent| sent.elapsed()).collect());
    paced(count, |_| sender.send(Instant::now()).unwrap());
    drop(sender);
    receiving.join().unwrap()
}

fn delivery(count: u64, level: Durability) -> Vec<Duration> {
    let directory = scratch();
    let store = Store::options().durability(level).open(directory.path().join("store")).unwrap();
    let topic = store.topic("bench").unwrap();
    let consumer = topic.consumer("bench", Group::default()).unwrap();
    let base = Instant::now();
    let receiving = std::thread::spawn(move || {
        let taken = |_| {
            let delivery = consumer.lease().unwrap();
            let sent = u64::from_le_bytes(delivery.payload().try_into().unwrap());
            let latency = base.elapsed().saturating_sub(Duration::from_nanos(sent));
            delivery.ack().detach();
            latency
        };
        (0..count).map(taken).collect()
    });
    paced(count, |_| {
        let now = u64::try_from(base.elapsed().as_nanos()).unwrap();
        let ticket = topic.publish(Message::copy_of(&now.to_le_bytes()));
        // Who wants it durable waits for it, and so leads; the next one is late then, and counts from when it is sent.
        ticket.wait().unwrap();
    });
    let latencies = receiving.join().unwrap();
    store.close().unwrap();
    latencies
}

fn print(name: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let last = latencies.len() - 1;
    // In thousandths.
    let at = |part: usize| latencies[last * part / 1000].as_secs_f64() * 1e6;
    let (median, most) = (at(500), at(1000));
    println!("{name:32}  {median:>9.1}  {:>9.1}  {:>9.1}  {most:>9.1}", at(990), at(999));
}

fn main() {
    let count = asked::effort().messages / 50;
    println!("\n{:32}  {:>9}  {:>9}  {:>9}  {:>9}", "microseconds", "p50", "p99", "p99.9", "most");
    print("floor: a channel wakes a thread", wake_up(count));
    for level in [Durability::Memory, Durability::Os, Durability::Disk] {
        print(&format!("publish to delivery, {level:?}"), delivery(count, level));
    }
}
