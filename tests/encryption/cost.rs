//! What encryption costs: the same work with and without it, in turn, in one run.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it is what a measurement is for")]

use crate::keys;
use millpond::{Durability, Group, Keys, Message, Retention, Store, TopicSettings};
use std::time::{Duration, Instant};

/// Turns of each, of which the middle counts.
const TURNS: usize = 7;

/// Publishes that are not waited for at a time.
const WINDOW: usize = 256;

struct Took {
    publish: Duration,
    lease: Duration,
    read: Duration,
    bytes: u64,
}

fn work(keys: &Keys, length: usize, batch: usize, messages: usize) -> Took {
    let dir = tempfile::tempdir().unwrap();
    let options = Store::options().durability(Durability::Os).tail_cache_bytes(0).encryption(keys.clone());
    let store = options.open(dir.path()).unwrap();
    let settings = TopicSettings::default().retention(Retention::everything());
    let orders = store.topic_with("orders", settings).unwrap();
    let payload = vec![b'x'; length];
    let began = Instant::now();
    let mut tickets = Vec::with_capacity(WINDOW);
    for _ in 0..messages / batch {
        if batch == 1 {
            tickets.push(orders.publish(payload.clone()));
            if tickets.len() == WINDOW {
                tickets.drain(..).for_each(|ticket| _ = ticket.wait().unwrap());
            }
        } else {
            let many: Vec<Message> = (0..batch).map(|_| payload.clone().into()).collect();
            orders.publish_all(many).wait().unwrap();
        }
    }
    tickets.into_iter().for_each(|ticket| _ = ticket.wait().unwrap());
    store.sync().wait().unwrap();
    let publish = began.elapsed();
    let bytes = store.stats().segments.iter().map(|segment| segment.bytes).sum();
    let began = Instant::now();
    assert_eq!(orders.read(..).map(|record| record.unwrap().payload().len()).sum::<usize>(), length * messages);
    let read = began.elapsed();
    let email = orders.consumer("email", Group::default()).unwrap();
    let began = Instant::now();
    let mut left = messages;
    while left > 0 {
        let batch = email.lease_many(100, Duration::ZERO).unwrap();
        let leased: Vec<_> = batch.collect();
        left -= leased.len();
        email.ack_all(leased).wait().unwrap();
    }
    let lease = began.elapsed();
    store.close().unwrap();
    Took { publish, lease, read, bytes }
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap()
}

/// `cargo test --release --all-features --test encryption -- --ignored --nocapture what_it_costs`
#[test]
#[ignore = "a measurement"]
fn what_it_costs() {
    for (length, batch, messages) in [(100, 1, 200_000), (100, 100, 400_000), (10_000, 1, 20_000), (1 << 20, 1, 200)] {
        let turns: Vec<(Took, Took)> = (0..TURNS)
            .map(|_| (work(&Keys::none(), length, batch, messages), work(&keys(), length, batch, messages)))
            .collect();
        let each = |of: fn(&Took) -> Duration| {
            let ratios = turns.iter().map(|(plain, sealed)| of(sealed).as_secs_f64() / of(plain).as_secs_f64());
            let extra = turns
                .iter()
                .map(|(plain, sealed)| (of(sealed).as_secs_f64() - of(plain).as_secs_f64()) * 1e9 / messages as f64);
            (middle(ratios.collect()), middle(extra.collect()))
        };
        let (publish, lease, read) = (each(|took| took.publish), each(|took| took.lease), each(|took| took.read));
        let bytes = turns.iter().map(|(plain, sealed)| sealed.bytes as f64 / plain.bytes as f64).collect();
        println!(
            "{messages} of {length} bytes, {batch} a frame: publish x{:.2} ({:+.0} ns each), read x{:.2} ({:+.0} ns), \
             lease and ack x{:.2} ({:+.0} ns), bytes x{:.3}",
            publish.0,
            publish.1,
            read.0,
            read.1,
            lease.0,
            lease.1,
            middle(bytes)
        );
    }
}
