//! A message that kills its process every time is found and parked, and its neighbours are not charged for it (I8).
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking; the child is a process"
)]

use millpond::{BuryReason, Consumer, DeadLetter, Delivery, Group, Retry, Store};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Where the child works, and how: `one` message at a time, or `many`.
const CHILD: &str = "MILLPOND_TEST_CRASH";
const HOW: &str = "MILLPOND_TEST_CRASH_HOW";
const POISON: &[u8] = b"poison";

fn letters_of(email: &Consumer) -> Vec<DeadLetter> {
    email.dead_letters().collect::<millpond::Result<_>>().unwrap()
}

/// What the child does: it handles messages until none is left, and dies of a poisonous one.
#[test]
fn the_child_dies_of_a_poisonous_message() {
    let (Ok(path), Ok(how)) = (std::env::var(CHILD), std::env::var(HOW)) else { return };
    let store = Store::open(path).unwrap();
    let email = store.existing_topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    let handle = |delivery: Delivery| {
        if delivery.payload() == POISON {
            std::process::abort();
        }
        let charged = delivery.attempt() > 1;
        writeln!(std::io::stdout().lock(), "\n> {} {charged}", delivery.offset()).unwrap();
        delivery.ack().wait().unwrap();
    };
    while !email.idle() {
        // Held all at once, so that all are in flight when it dies.
        let max = match how.as_str() {
            "hundred" => 100,
            "many" => 8,
            _ => 1,
        };
        let batch: Vec<Delivery> = email.lease_many(max, Duration::from_millis(10)).unwrap().collect();
        let (poison, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(|delivery| delivery.payload() == POISON);
        poison.into_iter().chain(others).for_each(handle);
    }
    store.close().unwrap();
}

fn run_child(path: &Path, how: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_dies_of_a_poisonous_message", "--nocapture"])
        .env(CHILD, path)
        .env(HOW, how)
        .stderr(Stdio::null())
        .output()
        .unwrap()
}

/// Runs the child until it ends well; how often it died. No other message is ever charged.
fn deaths(path: &Path, how: &str) -> u32 {
    for deaths in 0..20 {
        let output = run_child(path, how);
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            assert!(!line.starts_with("> ") || line.ends_with("false"), "a neighbour was charged: {line}");
        }
        if output.status.success() {
            return deaths;
        }
    }
    unreachable!("it crash-loops for ever");
}

fn store_with(poisons: &[u64], messages: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let payload = |number| if poisons.contains(&number) { POISON.to_vec() } else { number.to_string().into_bytes() };
    orders.publish_all((0..messages).map(|number| payload(number).into())).wait().unwrap();
    orders.consumer("email", Group::default().retry(Retry::fixed(Duration::from_millis(1)))).unwrap();
    store.close().unwrap();
    dir
}

#[test]
fn the_culprit_is_parked_after_at_most_three_restarts_and_nobody_else_is_charged() {
    for how in ["one", "many"] {
        for place in [0, 3, 19] {
            let dir = store_with(&[place], 20);
            let deaths = deaths(dir.path(), how);
            assert!((1..=3).contains(&deaths), "{deaths} deaths of offset {place}, {how}");
            let store = Store::open(dir.path()).unwrap();
            let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
            assert!(email.idle() && email.try_lease().unwrap().is_none());
            let letters = letters_of(&email);
            let shown: Vec<_> =
                letters.iter().map(|letter| (letter.offset().get(), letter.reason(), letter.crashes())).collect();
            assert_eq!(shown, [(place, BuryReason::Crashes, 3)], "{how}");
            assert_eq!(letters.first().map(|letter| letter.failures() + letter.timeouts()), Some(0));
        }
    }
}

#[test]
fn of_a_hundred_leased_the_one_that_aborts_is_parked_within_three_restarts_and_99_are_processed_once() {
    let dir = store_with(&[37], 100);
    let mut processed: Vec<u64> = Vec::new();
    let mut deaths = 0;
    loop {
        let output = run_child(dir.path(), "hundred");
        for line in String::from_utf8(output.stdout).unwrap().lines().filter_map(|line| line.strip_prefix("> ")) {
            let (offset, charged) = line.split_once(' ').unwrap();
            assert_eq!(charged, "false", "offset {offset} was charged");
            processed.push(offset.parse().unwrap());
        }
        if output.status.success() {
            break;
        }
        deaths += 1;
        assert!(deaths <= 3, "three restarts at most");
    }
    processed.sort_unstable();
    assert!(processed.into_iter().eq((0..100).filter(|offset| *offset != 37)), "each once");
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    let letters = letters_of(&email);
    let letter = letters.first().unwrap();
    assert_eq!((letters.len(), letter.offset().get(), letter.reason()), (1, 37, BuryReason::Crashes));
    assert_eq!((letter.crashes(), letter.failures(), letter.timeouts()), (3, 0, 0));
    assert_eq!(letter.errors().last().unwrap().1, "3 deaths of the process are laid to it");
    assert!(email.idle());
}

#[test]
fn opening_after_a_crash_frees_every_lease_at_once() {
    let dir = store_with(&[0], 8);
    // The poisonous one comes first: it dies with all eight in its hands, each leased for 30 s.
    assert!(!run_child(dir.path(), "many").status.success());
    let began = std::time::Instant::now();
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    assert_eq!((email.stats().leased, email.stats().ready), (0, 8));
    for _ in 0..8 {
        email.try_lease().unwrap().expect("free at once").ack().wait().unwrap();
    }
    assert!(email.idle() && began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn several_culprits_are_parked_one_after_the_other() {
    let dir = store_with(&[2, 3, 11], 20);
    let deaths = deaths(dir.path(), "many");
    assert!(deaths <= 9, "{deaths}");
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    let parked: Vec<u64> = letters_of(&email).iter().map(|letter| letter.offset().get()).collect();
    assert_eq!(parked, [2, 3, 11]);
}

#[test]
fn opening_says_who_is_suspect_and_who_was_parked() {
    let dir = store_with(&[0], 20);
    assert!(!run_child(dir.path(), "many").status.success());
    let store = Store::open(dir.path()).unwrap();
    assert!(!store.recovery().clean);
    let suspects = store.recovery().suspects;
    assert!(suspects >= 8, "{suspects}");
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    assert_eq!(email.stats().suspects, suspects);
    let alone = email.lease().unwrap();
    assert!(alone.is_suspect() && alone.attempt() == 1);
    assert!(email.try_lease().unwrap().is_none(), "suspects run alone");
    alone.release().wait().unwrap();
    store.close().unwrap();
}
