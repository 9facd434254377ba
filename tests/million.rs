//! Progress is exact however many holes it has, and settling many is not quadratic.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "a test fails by panicking")]

use millpond::{Consumer, Delivery, Durability, Group, Store};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

fn open(path: &Path) -> Store {
    Store::options().durability(Durability::Os).ack_durability(Durability::Memory).open(path).unwrap()
}

fn group_of(store: &Store) -> Consumer {
    let hour = Duration::from_secs(3600);
    store.topic("orders").unwrap().consumer("email", Group::default().lease(hour)).unwrap()
}

fn publish(store: &Store, messages: u64) {
    let orders = store.topic("orders").unwrap();
    for first in (0..messages).step_by(10_000) {
        let last = (first + 10_000).min(messages);
        orders.publish_all((first..last).map(|number| number.to_string().into())).wait().unwrap();
    }
}

fn lease_all(email: &Consumer) -> Vec<Delivery> {
    let mut held = Vec::new();
    loop {
        let before = held.len();
        held.extend(email.lease_many(4096, Duration::ZERO).unwrap());
        if held.len() == before {
            return held;
        }
    }
}

#[test]
fn after_a_million_acks_in_random_order_exactly_the_unacked_come_again() {
    const MESSAGES: u64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let store = open(dir.path());
    publish(&store, MESSAGES);
    let email = group_of(&store);
    let mut held = lease_all(&email);
    assert_eq!(held.len() as u64, MESSAGES);
    let leased = began.elapsed();
    fastrand::Rng::with_seed(1).shuffle(&mut held);
    let kept = held.split_off(999_000);
    let unacked: BTreeSet<u64> = kept.iter().map(|delivery| delivery.offset().get()).collect();
    // One by one, and in batches of every size.
    let mut size = 0;
    while !held.is_empty() {
        size = size % 5_000 + 1;
        let rest = held.len().saturating_sub(size);
        email.ack_all(held.drain(rest..)).detach();
    }
    let acked = began.elapsed();
    store.sync().wait().unwrap();
    kept.into_iter().for_each(std::mem::forget);
    store.close().unwrap();
    let reopening = Instant::now();
    let store = open(dir.path());
    let email = group_of(&store);
    let reopened = reopening.elapsed();
    assert_eq!(email.stats().ready, unacked.len() as u64);
    let again = lease_all(&email);
    assert!(again.iter().map(|delivery| delivery.offset().get()).eq(unacked.iter().copied()));
    for delivery in &again {
        assert_eq!(delivery.payload(), delivery.offset().to_string().as_bytes());
    }
    println!("leased after {leased:?}, acked after {acked:?}, opened again in {reopened:?}");
    assert!(reopened < Duration::from_secs(60), "{reopened:?}");
    email.ack_all(again).wait().unwrap();
    assert!(email.idle());
}

#[test]
fn settling_ten_times_as_many_takes_about_ten_times_as_long() {
    let time = |messages: u64, settle: &dyn Fn(&Consumer, Vec<Delivery>)| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        publish(&store, messages);
        let email = group_of(&store);
        let mut held = lease_all(&email);
        fastrand::Rng::with_seed(2).shuffle(&mut held);
        // Every other one: the runs are as many as can be.
        held.retain(|delivery| delivery.offset().get() % 2 == 0);
        let began = Instant::now();
        settle(&email, held);
        began.elapsed()
    };
    let ack = |email: &Consumer, held: Vec<Delivery>| email.ack_all(held).wait().unwrap();
    let drop_all = |_: &Consumer, held: Vec<Delivery>| drop(held);
    for settle in [&ack as &dyn Fn(&Consumer, Vec<Delivery>), &drop_all] {
        // Quadratic would be a hundred times, each time; a busy machine may make one look slow.
        let ratios = (0..3).map(|_| {
            let (few, many) = (time(10_000, settle), time(100_000, settle));
            println!("{few:?} {many:?}");
            many.as_secs_f64() / few.as_secs_f64()
        });
        assert!(ratios.into_iter().any(|ratio| ratio < 40.0));
    }
}
