//! What failed is tried again after a wait, and parked after the last time; what was only given back is not charged.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{BuryReason, Consumer, Counters, DeadLetter, Delivery, ErrorKind, Group, Retry, Store};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
/// The engine's clock has whole milliseconds.
const TICK: Duration = Duration::from_millis(2);

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn group_of(messages: u64, settings: Group) -> (tempfile::TempDir, Store, Consumer) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..messages).map(|number| number.to_string().into())).wait().unwrap();
    let email = orders.consumer("email", settings).unwrap();
    (dir, store, email)
}

fn reopened(dir: &tempfile::TempDir, store: Store) -> (Store, Consumer) {
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    (store, email)
}

fn next(email: &Consumer) -> Delivery {
    email.lease_timeout(PATIENCE).unwrap().unwrap()
}

fn charges(delivery: &Delivery) -> (u32, u32, u32) {
    let Counters { failures, timeouts, crashes, .. } = delivery.counters();
    (failures, timeouts, crashes)
}

fn letters_of(email: &Consumer) -> Vec<DeadLetter> {
    email.dead_letters().collect::<millpond::Result<_>>().unwrap()
}

#[test]
fn waits_double_and_are_never_shorter_than_half_until_the_last_failure_parks() {
    let (_dir, store, email) =
        group_of(1, Group::default().retry(Retry::exponential(millis(80), millis(200)).attempts(4)));
    for (attempt, whole) in [(1, 80), (2, 160), (3, 200)] {
        let delivery = next(&email);
        assert_eq!((delivery.attempt(), charges(&delivery)), (attempt, (attempt - 1, 0, 0)));
        let began = Instant::now();
        delivery.nack(format!("failure {attempt}")).wait().unwrap();
        assert_eq!((email.stats().retrying, email.idle()), (1, false));
        let again = next(&email);
        assert!(began.elapsed() + TICK >= millis(whole / 2), "attempt {attempt} after {:?}", began.elapsed());
        again.release().wait().unwrap();
    }
    next(&email).nack("failure 4").wait().unwrap();
    assert!(email.try_lease().unwrap().is_none() && email.idle());
    let letters = letters_of(&email);
    let letter = letters.first().unwrap();
    assert_eq!((letters.len(), letter.reason(), letter.failures()), (1, BuryReason::Failures, 4));
    assert_eq!((letter.offset().get(), letter.record().unwrap().payload()), (0, &b"0"[..]));
    assert_eq!(letter.errors().last().unwrap().1, "failure 4");
    drop(store);
}

#[test]
fn waits_counters_and_dead_letters_survive_a_reopening() {
    let (dir, store, email) = group_of(2, Group::default().retry(Retry::fixed(millis(300)).attempts(2)));
    let (first, second) = (next(&email), next(&email));
    let began = Instant::now();
    first.nack("no answer").wait().unwrap();
    second.bury("no such address").wait().unwrap();
    let (store, email) = reopened(&dir, store);
    assert_eq!((email.stats().retrying, email.stats().dead), (1, 1));
    let again = next(&email);
    assert!(began.elapsed() + TICK >= millis(150), "the wait goes on across the reopening");
    assert_eq!((again.offset().get(), again.attempt()), (0, 2));
    again.nack("still no answer").wait().unwrap();
    let (store, email) = reopened(&dir, store);
    assert!(email.try_lease().unwrap().is_none());
    let letters = letters_of(&email);
    let shown: Vec<_> = letters
        .iter()
        .map(|letter| {
            let errors: Vec<&str> = letter.errors().iter().map(|(_, text)| text.as_str()).collect();
            (letter.offset().get(), letter.reason(), letter.failures(), errors)
        })
        .collect();
    assert_eq!(
        shown,
        [
            (0, BuryReason::Failures, 2, vec!["no answer", "still no answer"]),
            (1, BuryReason::Asked, 0, vec!["no such address"]),
        ]
    );
    drop(store);
}

#[test]
fn nack_after_waits_as_long_as_it_says() {
    let (_dir, store, email) = group_of(1, Group::default().retry(Retry::fixed(Duration::from_secs(3600))));
    let began = Instant::now();
    next(&email).nack_after("busy", millis(100)).wait().unwrap();
    let again = next(&email);
    assert!(began.elapsed() + TICK >= millis(100));
    assert_eq!(charges(&again), (1, 0, 0));
    again.nack_after("busy", Duration::ZERO).wait().unwrap();
    let again = next(&email);
    assert_eq!(charges(&again), (2, 0, 0));
    again.ack().wait().unwrap();
    drop(store);
}

#[test]
fn what_is_released_or_snoozed_is_not_charged() {
    let (_dir, store, email) = group_of(1, Group::default().retry(Retry::fixed(millis(1)).attempts(1)));
    for _ in 0..5 {
        next(&email).release().wait().unwrap();
        let began = Instant::now();
        next(&email).snooze(millis(20)).wait().unwrap();
        assert!(letters_of(&email).is_empty());
        let again = next(&email);
        assert!(began.elapsed() + TICK >= millis(20));
        assert_eq!((again.attempt(), charges(&again)), (1, (0, 0, 0)));
        again.release().wait().unwrap();
    }
    assert_eq!(next(&email).counters().leases, 16);
    drop(store);
}

#[test]
fn a_delivery_that_is_dropped_has_failed() {
    let (_dir, store, email) = group_of(1, Group::default().retry(Retry::fixed(millis(1)).attempts(3)));
    drop(next(&email));
    let handler = |delivery: Delivery| -> Result<(), std::num::ParseIntError> {
        let number: u64 = "no number".parse()?;
        assert_eq!(delivery.offset().get(), number);
        Ok(())
    };
    assert!(handler(next(&email)).is_err());
    let again = next(&email);
    assert_eq!(charges(&again), (2, 0, 0));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _delivery = again;
        std::panic::resume_unwind(Box::new("the handler panics"));
    }));
    assert!(panicked.is_err());
    let letters = letters_of(&email);
    assert_eq!(letters.first().map(|letter| (letter.reason(), letter.failures())), Some((BuryReason::Failures, 3)));
    drop(store);
}

#[test]
fn what_was_not_taken_from_a_batch_is_not_charged() {
    let (_dir, store, email) = group_of(10, Group::default().retry(Retry::fixed(Duration::from_secs(3600))));
    let mut batch = email.lease_many(10, Duration::ZERO).unwrap();
    assert_eq!(batch.len(), 10);
    batch.next().unwrap().ack().wait().unwrap();
    drop(batch.next().unwrap());
    drop(batch);
    assert_eq!((email.stats().ready, email.stats().retrying), (8, 1));
    for delivery in email.lease_many(10, Duration::ZERO).unwrap() {
        assert!(delivery.offset().get() >= 2);
        assert_eq!(charges(&delivery), (0, 0, 0));
        delivery.ack().wait().unwrap();
    }
    drop(store);
}

#[test]
fn what_is_dropped_while_the_store_closes_is_not_charged() {
    let (dir, store, email) = group_of(3, Group::default());
    let held: Vec<Delivery> = email.lease_many(3, Duration::ZERO).unwrap().collect();
    let (store, email) = reopened(&dir, store);
    drop(held);
    for delivery in email.lease_many(3, Duration::ZERO).unwrap() {
        assert_eq!((charges(&delivery), delivery.is_suspect()), ((0, 0, 0), false));
        delivery.ack().wait().unwrap();
    }
    assert!(email.idle());
    drop(store);
}

#[test]
fn error_texts_are_cut_at_a_character_and_only_the_newest_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().error_text_bytes(5).open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.publish("0").wait().unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    for number in 0..20 {
        if number < 9 {
            next(&email).nack_after(format!("{number}äöü"), Duration::ZERO).wait().unwrap();
        }
    }
    next(&email).bury("ääää").wait().unwrap();
    let letters = letters_of(&email);
    let errors: Vec<&str> = letters.first().unwrap().errors().iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(errors.last(), Some(&"ää"));
    assert!(errors.len() > 1 && errors.contains(&"8äö"), "{errors:?}");
    drop(store);
}

#[test]
fn retries_that_are_due_come_before_new_messages() {
    let (_dir, store, email) = group_of(5, Group::default());
    next(&email).nack_after("again", Duration::ZERO).wait().unwrap();
    let order: Vec<u64> = (0..5)
        .map(|_| {
            let delivery = next(&email);
            let offset = delivery.offset().get();
            delivery.ack().wait().unwrap();
            offset
        })
        .collect();
    assert_eq!(order, [0, 1, 2, 3, 4]);
    drop(store);
}

#[test]
fn failing_in_a_tight_loop_takes_at_least_the_sum_of_the_backoffs() {
    // (policy, what it has to take at least in all, failures until it is parked)
    let policies = [
        (Retry::exponential(millis(20), millis(80)).attempts(5), millis(10 + 20 + 40 + 40), 5),
        (Retry::exponential(millis(20), millis(80)).attempts(5).without_jitter(), millis(20 + 40 + 80 + 80), 5),
        (Retry::fixed(millis(40)).attempts(4).without_jitter(), millis(120), 4),
        (Retry::waits([millis(90), millis(10), millis(50)]).without_jitter(), millis(150), 4),
    ];
    for (retry, least, failures) in policies {
        let (_dir, store, email) = group_of(1, Group::default().retry(retry.clone()));
        let began = Instant::now();
        let mut failed = 0;
        // Asks as often as it can, and fails at once.
        while email.stats().dead == 0 {
            if let Some(delivery) = email.try_lease().unwrap() {
                failed += 1;
                delivery.nack("at once").wait().unwrap();
            }
        }
        assert_eq!(failed, failures);
        // Each wait is known to a millisecond.
        let tolerance = TICK * failures;
        assert!(began.elapsed() + tolerance >= least, "{:?} for {retry:?}", began.elapsed());
        drop(store);
    }
}

#[test]
fn listed_waits_survive_a_reopening_and_too_many_are_refused() {
    let retry = Retry::waits([Duration::from_secs(3600), millis(1)]).without_jitter();
    let (dir, store, email) = group_of(1, Group::default().retry(retry));
    next(&email).nack("first").wait().unwrap();
    let (store, email) = reopened(&dir, store);
    assert!(email.lease_timeout(millis(20)).unwrap().is_none(), "an hour");
    let many = Group::default().retry(Retry::waits((0..101).map(Duration::from_secs)));
    let refused = store.topic("orders").unwrap().consumer("email", many).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Misuse, "bad-setting"));
    drop(store);
}

#[test]
fn a_stopped_consumer_says_that_it_was_stopped_and_a_closed_store_that_it_was_closed() {
    let (_dir, store, email) = group_of(1, Group::default());
    let other = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    email.stopper().stop();
    let stopped = email.try_lease().unwrap_err();
    assert_eq!((stopped.kind(), stopped.code()), (ErrorKind::Closed, "stopped"));
    assert!(stopped.to_string().contains("this consumer was stopped"), "{stopped}");
    assert!(other.try_lease().unwrap().is_some());
    store.close().unwrap();
    assert_eq!(email.try_lease().unwrap_err().code(), "closed");
}
