//! The table of counters, row by row: what a message is charged with, and how long it waits then.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use millpond::testing::SimDisk;
use millpond::{
    BuryReason, Consumer, Counters, DeadLetter, Delivery, ErrorKind, Group, ManualClock, Retry, Store, Timestamp,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_secs(100);

/// A store on a simulated disk, with a group whose failures wait for exactly 100 s.
struct World {
    disk: SimDisk,
    clock: ManualClock,
    seed: u64,
    store: Option<Store>,
}

impl World {
    fn new(messages: u64) -> Self {
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        let mut world = Self { disk: SimDisk::new(3), clock, seed: 0, store: None };
        world.open();
        let orders = world.store().topic("orders").unwrap();
        orders.publish_all((0..messages).map(|number| number.to_string().into())).wait().unwrap();
        world
    }

    fn open(&mut self) {
        self.seed += 1;
        let options = Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10);
        self.store = Some(Store::open_simulated(&self.disk, self.clock.clone(), self.seed, options).unwrap());
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn group_with(&self, settings: Group) -> Consumer {
        self.store().topic("orders").unwrap().consumer("email", settings).unwrap()
    }

    fn group(&self) -> Consumer {
        self.group_with(Group::default().lease(LEASE).retry(Retry::fixed(WAIT).without_jitter()))
    }

    fn close(&mut self) {
        self.store.take().unwrap().close().unwrap();
    }

    fn kill(&mut self) {
        self.disk.kill();
        self.store = None;
        self.open();
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        while self.store().step_upkeep().unwrap() {}
    }

    /// The next message comes after exactly this long, and not before.
    fn after(&self, email: &Consumer, wait: Duration) -> Delivery {
        if !wait.is_zero() {
            self.pass(wait - Duration::from_millis(1));
            assert!(email.try_lease().unwrap().is_none(), "it came too early");
            self.pass(Duration::from_millis(1));
        }
        email.try_lease().unwrap().expect("it is due")
    }
}

/// Leases, failures, timeouts, crashes.
fn counts(delivery: &Delivery) -> [u32; 4] {
    let Counters { leases, failures, timeouts, crashes, .. } = delivery.counters();
    [leases, failures, timeouts, crashes]
}

fn letters(email: &Consumer) -> Vec<DeadLetter> {
    email.dead_letters().collect::<millpond::Result<_>>().unwrap()
}

#[test]
fn handing_out_counts_one_lease() {
    let world = World::new(1);
    let email = world.group();
    let first = email.lease().unwrap();
    assert_eq!(counts(&first), [1, 0, 0, 0]);
    first.release().wait().unwrap();
    assert_eq!(counts(&email.lease().unwrap()), [2, 0, 0, 0]);
}

#[test]
fn an_ack_charges_nothing_and_leaves_nothing() {
    let mut world = World::new(1);
    let email = world.group();
    email.lease().unwrap().ack().wait().unwrap();
    assert!(email.idle());
    world.close();
    world.open();
    assert!(world.group().idle() && world.group().try_lease().unwrap().is_none());
}

#[test]
fn a_nack_charges_one_failure_and_waits_as_the_policy_says() {
    let world = World::new(1);
    let email = world.group();
    email.lease().unwrap().nack("no route").wait().unwrap();
    assert_eq!(counts(&world.after(&email, WAIT)), [2, 1, 0, 0]);
}

#[test]
fn a_nack_with_its_own_wait_charges_one_failure_and_waits_that_long() {
    let world = World::new(1);
    let email = world.group();
    let wait = Duration::from_secs(7);
    email.lease().unwrap().nack_after("no route", wait).wait().unwrap();
    assert_eq!(counts(&world.after(&email, wait)), [2, 1, 0, 0]);
}

#[test]
fn a_panic_in_the_handler_charges_one_failure_and_the_letter_says_so() {
    let world = World::new(1);
    let email = world.group_with(Group::default().retry(Retry::fixed(WAIT).without_jitter().attempts(2)));
    let panics = |delivery: Delivery| {
        let handler = || {
            let _held = &delivery;
            let _moved = delivery;
            resume_unwind(Box::new("the handler panics"));
        };
        assert!(catch_unwind(AssertUnwindSafe(handler)).is_err());
    };
    panics(email.lease().unwrap());
    let again = world.after(&email, WAIT);
    assert_eq!(counts(&again), [2, 1, 0, 0]);
    panics(again);
    let letters = letters(&email);
    let texts: Vec<_> = letters.iter().flat_map(DeadLetter::errors).map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["the handler panicked", "the handler panicked"]);
}

#[test]
fn a_delivery_dropped_after_it_was_taken_from_its_batch_charges_one_failure() {
    let world = World::new(2);
    let email = world.group();
    let mut batch = email.lease_many(2, Duration::ZERO).unwrap();
    drop(batch.next().unwrap());
    batch.next().unwrap().ack().wait().unwrap();
    assert_eq!(counts(&world.after(&email, WAIT)), [2, 1, 0, 0]);
}

#[test]
fn what_is_dropped_from_a_batch_before_it_was_yielded_is_charged_nothing() {
    let world = World::new(5);
    let email = world.group();
    drop(email.lease_many(5, Duration::ZERO).unwrap());
    for delivery in email.lease_many(5, Duration::ZERO).unwrap() {
        assert_eq!(counts(&delivery), [2, 0, 0, 0]);
        delivery.ack().wait().unwrap();
    }
}

#[test]
fn a_release_charges_nothing_and_the_message_is_there_at_once() {
    let world = World::new(1);
    let email = world.group();
    email.lease().unwrap().release().wait().unwrap();
    assert_eq!(counts(&world.after(&email, Duration::ZERO)), [2, 0, 0, 0]);
}

#[test]
fn a_snooze_charges_nothing_and_waits_as_long_as_it_says() {
    let world = World::new(1);
    let email = world.group();
    let wait = Duration::from_secs(3600);
    email.lease().unwrap().snooze(wait).wait().unwrap();
    assert_eq!(counts(&world.after(&email, wait)), [2, 0, 0, 0]);
}

#[test]
fn a_close_charges_nothing_for_what_is_held_and_that_it_was_out_still_counts() {
    let mut world = World::new(2);
    let email = world.group();
    let held = email.lease_many(2, Duration::ZERO).unwrap();
    world.close();
    drop(held);
    world.open();
    let email = world.group();
    assert_eq!(world.store().recovery().suspects, 0);
    for _ in 0..2 {
        let again = email.try_lease().unwrap().unwrap();
        assert_eq!((counts(&again), again.is_suspect()), ([2, 0, 0, 0], false));
        again.ack().wait().unwrap();
    }
}

#[test]
fn a_lease_that_runs_out_charges_one_timeout_and_waits_as_the_policy_says() {
    let world = World::new(1);
    let email = world.group();
    let old = email.lease().unwrap();
    world.pass(LEASE);
    assert_eq!(email.stats().retrying, 1);
    assert_eq!(counts(&world.after(&email, WAIT)), [2, 0, 1, 0]);
    assert_eq!(old.ack().wait().unwrap_err().kind(), ErrorKind::LeaseLost);
}

#[test]
fn timeouts_have_a_limit_of_their_own() {
    let world = World::new(1);
    let email = world.group_with(Group::default().lease(LEASE).retry(Retry::fixed(WAIT)).max_timeouts(2));
    for _ in 0..2 {
        std::mem::forget(email.lease_many(1, Duration::ZERO).unwrap().next().unwrap());
        world.pass(LEASE);
        world.pass(WAIT);
    }
    let letters = letters(&email);
    let letter = letters.first().unwrap();
    assert_eq!((letter.reason(), letter.timeouts(), letter.failures()), (BuryReason::Timeouts, 2, 0));
}

#[test]
fn the_death_of_the_process_charges_a_message_that_was_alone_and_it_does_not_wait() {
    let mut world = World::new(1);
    let held = world.group().lease().unwrap();
    world.kill();
    drop(held);
    let again = world.group().try_lease().unwrap().unwrap();
    assert_eq!((counts(&again), again.is_suspect()), ([2, 0, 0, 1], true));
}

#[test]
fn the_death_of_the_process_charges_nobody_of_several_and_they_run_alone() {
    let mut world = World::new(3);
    let held: Vec<Delivery> = world.group().lease_many(3, Duration::ZERO).unwrap().collect();
    world.kill();
    drop(held);
    let email = world.group();
    for _ in 0..3 {
        let mut alone = email.lease_many(10, Duration::ZERO).unwrap();
        assert_eq!(alone.len(), 1, "suspects run one at a time");
        let suspect = alone.next().unwrap();
        assert_eq!((counts(&suspect), suspect.is_suspect()), ([2, 0, 0, 0], true));
        suspect.ack().wait().unwrap();
    }
}

#[test]
fn a_suspect_whose_lease_ends_with_the_process_alive_is_none_any_more() {
    let mut world = World::new(2);
    let held: Vec<Delivery> = world.group().lease_many(2, Duration::ZERO).unwrap().collect();
    world.kill();
    drop(held);
    let email = world.group();
    email.lease().unwrap().nack("it only fails").wait().unwrap();
    let other = email.lease().unwrap();
    assert!(other.is_suspect());
    other.release().wait().unwrap();
    assert_eq!(email.stats().suspects, 0);
}

#[test]
fn the_death_of_the_machine_makes_nobody_a_suspect() {
    let mut world = World::new(3);
    let held: Vec<Delivery> = world.group().lease_many(3, Duration::ZERO).unwrap().collect();
    world.store().sync().wait().unwrap();
    world.disk.crash();
    world.disk.set_boot_id("another");
    world.store = None;
    drop(held);
    world.open();
    let email = world.group();
    assert_eq!((world.store().recovery().suspects, email.stats().suspects), (0, 0));
    for delivery in email.lease_many(3, Duration::ZERO).unwrap() {
        assert_eq!((delivery.counters().crashes, delivery.is_suspect()), (0, false));
        delivery.ack().wait().unwrap();
    }
    assert!(email.idle());
}

#[test]
fn a_lease_that_is_extended_late_is_out_again_and_a_crash_finds_it() {
    let mut world = World::new(1);
    let email = world.group();
    let held = email.lease().unwrap();
    world.pass(LEASE);
    assert_eq!(email.stats().retrying, 1);
    held.extend(Duration::from_secs(1000)).unwrap();
    assert_eq!((email.stats().retrying, email.stats().leased), (0, 1));
    world.kill();
    drop(held);
    let again = world.group().try_lease().unwrap().unwrap();
    assert_eq!((again.is_suspect(), again.counters().crashes, again.counters().timeouts), (true, 1, 1));
}

#[test]
fn lowering_a_limit_parks_what_is_above_it_and_what_is_out_when_its_lease_ends() {
    let mut world = World::new(4);
    let email = world.group();
    for _ in 0..2 {
        for delivery in email.lease_many(3, Duration::ZERO).unwrap() {
            delivery.nack_after("no route", Duration::ZERO).wait().unwrap();
        }
    }
    // Two failures each; one of the three is out again, another waits, and the fourth has none.
    let held = email.lease().unwrap();
    let lowered = Group::default().retry(Retry::fixed(WAIT).attempts(2));
    let email = world.group_with(lowered);
    let parked = |email: &Consumer| -> Vec<(u64, BuryReason, u32)> {
        letters(email).iter().map(|letter| (letter.offset().get(), letter.reason(), letter.failures())).collect()
    };
    assert_eq!(parked(&email), [(1, BuryReason::Failures, 2), (2, BuryReason::Failures, 2)]);
    held.release().wait().unwrap();
    assert_eq!(parked(&email).len(), 3);
    assert_eq!(counts(&email.lease().unwrap()), [1, 0, 0, 0]);
    // Each has its event: a process that dies now finds them where they are.
    world.kill();
    assert_eq!(parked(&world.group_with(Group::default())).len(), 3);
}

#[test]
fn a_limit_that_was_lowered_applies_to_a_lease_that_runs_out_too() {
    let world = World::new(1);
    let email = world.group();
    email.lease().unwrap().nack_after("no route", Duration::ZERO).wait().unwrap();
    let held = email.lease().unwrap();
    let email = world.group_with(Group::default().retry(Retry::fixed(WAIT).attempts(1)));
    world.pass(LEASE);
    let letters = letters(&email);
    let letter = letters.first().unwrap();
    assert_eq!((letter.reason(), letter.failures(), letter.timeouts()), (BuryReason::Failures, 1, 1));
    // Late, but nobody else has it: an ack is an ack.
    held.ack().wait().unwrap();
    assert_eq!(email.stats().dead, 0);
}

#[test]
fn of_a_hundred_leased_the_killer_is_parked_within_three_restarts_and_99_are_processed_once_and_charged_nothing() {
    for killer in [0, 41, 99] {
        let mut world = World::new(100);
        let mut processed = Vec::new();
        let mut deaths = 0;
        'lives: loop {
            let email = world.group();
            // All at once the first time; the suspects come alone.
            let mut held: Vec<Delivery> = email.lease_many(100, Duration::ZERO).unwrap().collect();
            held.sort_by_key(|delivery| delivery.offset().get() != killer);
            assert!(deaths > 0 || held.len() == 100);
            if held.is_empty() {
                break;
            }
            for delivery in held {
                let offset = delivery.offset().get();
                if offset == killer {
                    world.disk.kill();
                    world.store = None;
                    world.open();
                    deaths += 1;
                    continue 'lives;
                }
                let [_, failures, timeouts, crashes] = counts(&delivery);
                assert_eq!((failures, timeouts, crashes), (0, 0, 0), "offset {offset} was charged");
                delivery.ack().wait().unwrap();
                processed.push(offset);
            }
        }
        assert!(deaths <= 3, "{deaths} restarts");
        processed.sort_unstable();
        assert!(processed.into_iter().eq((0..100).filter(|offset| *offset != killer)), "each once");
        let letters = letters(&world.group());
        let letter = letters.first().unwrap();
        assert_eq!((letters.len(), letter.offset().get(), letter.reason()), (1, killer, BuryReason::Crashes));
        assert_eq!((letter.crashes(), letter.failures(), letter.timeouts()), (3, 0, 0));
        assert_eq!(letter.errors().last().unwrap().1, "3 deaths of the process are laid to it");
    }
}

#[test]
fn a_lease_is_not_extended_beyond_its_greatest_age_and_then_somebody_else_gets_the_message() {
    let world = World::new(1);
    let age = Duration::from_secs(50);
    let email = world.group_with(Group::default().lease(LEASE).max_lease_age(age).retry(Retry::fixed(Duration::ZERO)));
    let old = email.lease().unwrap();
    world.pass(Duration::from_secs(20));
    old.extend(LEASE).unwrap();
    world.pass(Duration::from_secs(29));
    old.extend(LEASE).unwrap();
    assert!(email.try_lease().unwrap().is_none());
    world.pass(Duration::from_secs(1));
    assert_eq!(old.extend(LEASE).unwrap_err().kind(), ErrorKind::LeaseLost);
    let new = email.try_lease().unwrap().unwrap();
    assert_eq!(counts(&new), [2, 0, 1, 0]);
    assert_eq!(old.ack().wait().unwrap_err().kind(), ErrorKind::LeaseLost);
    new.ack().wait().unwrap();
}
