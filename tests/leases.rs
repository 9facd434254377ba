//! A lease is for a time: afterwards somebody else gets the message, and a holder that was replaced harms nobody.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{BuryReason, Consumer, DeadLetter, Delivery, ErrorKind, Group, Retry, Store};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

fn group_of(messages: u64, settings: Group) -> (tempfile::TempDir, Store, Consumer) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..messages).map(|number| number.to_string().into())).wait().unwrap();
    let email = orders.consumer("email", settings).unwrap();
    (dir, store, email)
}

fn brief() -> Group {
    Group::default().lease(Duration::from_millis(30)).retry(Retry::fixed(Duration::from_millis(1)))
}

fn next(email: &Consumer) -> Delivery {
    email.lease_timeout(PATIENCE).unwrap().unwrap()
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

fn letters_of(email: &Consumer) -> Vec<DeadLetter> {
    email.dead_letters().collect::<millpond::Result<_>>().unwrap()
}

#[test]
fn a_lease_that_runs_out_is_given_to_somebody_else_and_counted() {
    let (_dir, store, email) = group_of(1, brief());
    let began = Instant::now();
    let old = next(&email);
    let new = next(&email);
    assert!(began.elapsed() >= Duration::from_millis(28));
    assert_eq!((new.offset(), new.attempt()), (old.offset(), 2));
    assert_eq!((new.counters().timeouts, new.counters().failures, new.counters().leases), (1, 0, 2));
    assert!(new.lease_id() > old.lease_id());
    drop(store);
}

#[test]
fn a_holder_that_was_replaced_is_told_and_the_new_one_is_unharmed() {
    let (_dir, store, email) = group_of(1, brief().max_timeouts(100));
    for settle in 0..6 {
        let old = next(&email);
        let new = next(&email);
        new.extend(Duration::from_secs(3600)).unwrap();
        assert_eq!(old.extend(PATIENCE).unwrap_err().kind(), ErrorKind::LeaseLost);
        let told = match settle {
            0 => old.ack(),
            1 => old.nack("too late"),
            2 => old.release(),
            3 => old.bury("too late"),
            4 => email.ack_all([old]),
            _ => {
                drop(old);
                assert_eq!((email.stats().leased, email.stats().dead), (1, 0));
                new.ack().wait().unwrap();
                break;
            }
        };
        assert_eq!(told.wait().unwrap_err().kind(), ErrorKind::LeaseLost);
        assert_eq!((email.stats().leased, email.stats().dead), (1, 0));
        new.extend(Duration::from_millis(1)).unwrap();
        std::mem::forget(new);
    }
    assert!(email.idle());
    drop(store);
}

#[test]
fn settling_late_works_as_long_as_nobody_else_has_the_message() {
    let patient = Group::default().lease(Duration::from_millis(10)).retry(Retry::fixed(Duration::from_secs(3600)));
    let (dir, store, email) = group_of(2, patient);
    let (first, second) = (next(&email), next(&email));
    wait_until("the leases did not run out", || email.stats().retrying == 2);
    first.ack().wait().unwrap();
    second.bury("late, but ours").wait().unwrap();
    assert!(email.idle());
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    assert!(email.try_lease().unwrap().is_none());
    assert_eq!(email.stats().dead, 1);
    drop(store);
}

#[test]
fn an_extended_lease_is_kept_and_counts_from_now() {
    let (_dir, store, email) = group_of(1, brief());
    let held = next(&email);
    held.extend(Duration::from_millis(400)).unwrap();
    let began = Instant::now();
    assert!(email.lease_timeout(Duration::from_millis(150)).unwrap().is_none());
    let new = next(&email);
    assert!(began.elapsed() >= Duration::from_millis(390), "{:?}", began.elapsed());
    assert_eq!(held.ack().wait().unwrap_err().kind(), ErrorKind::LeaseLost);
    new.ack().wait().unwrap();
    drop(store);
}

#[test]
fn a_delivery_that_is_forgotten_comes_back_and_is_parked_after_its_last_timeout() {
    let (_dir, store, email) = group_of(1, brief().max_timeouts(3));
    for timeouts in 0..3 {
        let delivery = next(&email);
        assert_eq!(delivery.counters().timeouts, timeouts);
        std::mem::forget(delivery);
    }
    wait_until("it was not parked", || email.stats().dead == 1);
    let letters = letters_of(&email);
    let letter = letters.first().unwrap();
    assert_eq!((letter.reason(), letter.timeouts(), letter.failures()), (BuryReason::Timeouts, 3, 0));
    drop(store);
}

#[test]
fn of_several_settled_together_only_those_whose_lease_was_lost_fail() {
    let (_dir, store, email) = group_of(3, brief());
    let held: Vec<Delivery> = email.lease_many(3, Duration::ZERO).unwrap().collect();
    for delivery in held.iter().skip(1) {
        delivery.extend(Duration::from_secs(3600)).unwrap();
    }
    let new = next(&email);
    new.extend(Duration::from_secs(3600)).unwrap();
    assert_eq!(new.offset().get(), 0);
    assert_eq!(email.ack_all(held).wait().unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(email.stats().leased, 1, "the other two are settled");
    new.ack().wait().unwrap();
    assert!(email.idle());
    drop(store);
}
