//! What cleaning costs those who publish beside it.

use crate::machine::{PAYLOAD, options, pass, scale, scratch};
use millpond::{Durability, Group, Message, Options, Store, Topic};
use std::time::{Duration, Instant};

const SMALL: u32 = 8 << 20;

fn small() -> Options {
    options().segment_bytes(SMALL)
}

/// Publishes durably, one after the other, while this holds; how long each took, sorted.
fn waits(topic: &Topic, go_on: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut waits = Vec::new();
    while go_on(waits.len()) {
        let began = Instant::now();
        topic.publish(Message::new(&PAYLOAD[..]).durability(Durability::Disk)).wait().unwrap();
        waits.push(began.elapsed());
    }
    waits.sort_unstable();
    waits
}

fn parts(waits: &[Duration]) -> [Duration; 4] {
    [500, 990, 999, 1000].map(|part| *waits.get(waits.len().saturating_sub(1) * part / 1000).unwrap())
}

fn segments(store: &Store) -> usize {
    store.stats().segments.len()
}

#[test]
#[ignore = "measures the machine: minutes and gigabytes, in a release build"]
fn cleaning_adds_less_than_two_milliseconds_to_a_durable_publish() {
    let directory = scratch();
    let store = small().clean_below(0).open(directory.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    pass(&orders, &email, scale() / 20);
    store.close().unwrap();

    let store = small().open(directory.path()).unwrap();
    let other = store.topic("other").unwrap();
    let many = segments(&store);
    // What is mostly dead is cleaned when it still is two segments later.
    for _ in 0..3 * u64::from(SMALL) / 100_000 {
        other.publish_all((0..1000).map(|_| Message::new(&PAYLOAD[..]))).wait().unwrap();
    }
    let durable = store.topic("durable").unwrap();
    // Asked seldom: to say what is needed of each segment takes the store a while.
    let beside = waits(&durable, |count| count % 1000 != 0 || segments(&store) > many / 5);
    let left = segments(&store);
    // Until all is quiet.
    std::thread::sleep(Duration::from_secs(2));
    let alone = waits(&durable, |count| count < beside.len().max(1000));
    println!(
        "{many} segments, then {left}: {} durable publishes beside took {:?}, {} alone {:?} (p50, p99, p99.9, all)",
        beside.len(),
        parts(&beside),
        alone.len(),
        parts(&alone)
    );
    let ([_, beside_99, ..], [_, alone_99, ..]) = (parts(&beside), parts(&alone));
    assert!(beside.len() >= 100, "{} durable publishes while it was cleaned", beside.len());
    assert!(beside_99 < alone_99 + Duration::from_millis(2));
    store.close().unwrap();
}
