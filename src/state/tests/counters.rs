//! The table of counters, row by row.

use super::*;

fn counters(leases: u32, failures: u32, timeouts: u32, crashes: u32) -> Counters {
    Counters { leases, failures, timeouts, crashes }
}

#[test]
fn handing_out_counts_a_lease_and_nothing_else() {
    let mut world = World::with(2);
    assert_eq!(world.counters(0), counters(0, 0, 0, 0));
    assert_eq!(world.lease(0, 1), [0]);
    assert_eq!(world.counters(0), counters(1, 0, 0, 0));
    assert_eq!(world.counters(1), counters(0, 0, 0, 0));
}

#[test]
fn an_ack_leaves_nothing_behind() {
    let mut world = World::with(1);
    world.lease(0, 1);
    world.ack(0);
    assert_eq!(world.counters(0), counters(0, 0, 0, 0));
    assert!(world.group().history().is_empty());
    assert_eq!(world.group().settled().floor(), Offset(1));
}

#[test]
fn a_nack_counts_a_failure_and_keeps_the_error() {
    let mut world = World::with(1);
    world.lease(0, 1);
    world.fail(0, 1000, "no route");
    assert_eq!(world.counters(0), counters(1, 1, 0, 0));
    assert_eq!(world.lease(1000, 1), [0]);
    assert_eq!(world.counters(0), counters(2, 1, 0, 0));
    world.fail(0, 3000, "no host");
    assert_eq!(world.counters(0), counters(2, 2, 0, 0));
    let errors = world.group().past(Offset(0)).unwrap().errors();
    assert_eq!(errors.iter().map(|(_, text)| &**text).collect::<Vec<_>>(), ["no route", "no host"]);
}

#[test]
fn a_release_charges_nothing() {
    let mut world = World::with(1);
    world.lease(0, 1);
    world.release(0, 0);
    assert_eq!(world.counters(0), counters(1, 0, 0, 0));
    assert_eq!(world.lease(0, 1), [0]);
    assert_eq!(world.counters(0), counters(2, 0, 0, 0));
}

#[test]
fn a_snooze_charges_nothing_and_waits_as_long_as_it_was_told() {
    let mut world = World::with(1);
    world.lease(0, 1);
    world.release(0, 5000);
    assert_eq!(world.counters(0), counters(1, 0, 0, 0));
    assert_eq!(world.picks(4999, 1), [0; 0]);
    assert_eq!(world.picks(5000, 1), [0]);
}

#[test]
fn a_release_that_carries_counters_sets_them() {
    let mut world = World::with(2);
    world.lease(0, 1);
    let given = counters(0, 0, 0, 0);
    let runs = Cow::Owned(vec![run(0, 1)]);
    world.apply(&Event::Release(Release { group: GROUP, runs, due: Timestamp::ZERO, counters: Some(given) }));
    assert_eq!(world.counters(0), given);
    assert_eq!(world.picks(0, 2), [0, 1]);
}

#[test]
fn a_lease_that_runs_out_counts_as_a_timeout() {
    let mut world = World::with(1);
    world.lease(0, 1);
    assert_eq!(world.group().expired(Timestamp(29_999), 10), []);
    assert_eq!(world.group().expired(Timestamp(30_000), 10), [(Offset(0), 1)]);
    world.time_out(0, 31_000);
    assert_eq!(world.group().expired(Timestamp(30_000), 10), []);
    assert_eq!(world.counters(0), counters(1, 0, 1, 0));
    assert_eq!(world.picks(30_999, 1), [0; 0]);
    assert_eq!(world.picks(31_000, 1), [0]);
}

#[test]
fn a_death_of_the_process_counts_as_a_crash_of_what_was_in_flight_alone() {
    let mut world = World::with(1);
    world.lease(0, 1);
    world.crash();
    assert_eq!(world.counters(0), counters(1, 0, 0, 1));
    assert_eq!(world.lease(0, 1), [0], "without any backoff");
    assert_eq!(world.counters(0), counters(2, 0, 0, 1));
}

#[test]
fn a_hand_out_that_is_recorded_ahead_counts_once() {
    let mut world = World::with(3);
    world.apply(&delivered(GROUP, &[run(0, 3)]));
    assert_eq!(world.counters(1), counters(0, 0, 0, 0), "named, not handed out");
    assert!(!world.group().needs_record(Offset(1)));
    world.lease(0, 2);
    assert_eq!(world.counters(1), counters(1, 0, 0, 0));
    world.fail(1, 10, "");
    assert!(world.group().needs_record(Offset(1)));
    world.lease(10, 1);
    world.apply(&delivered(GROUP, &[run(0, 3)]));
    assert_eq!(world.counters(1), counters(2, 1, 0, 0), "named twice, handed out once");
}

#[test]
fn errors_are_kept_up_to_a_bound_and_the_newest_always() {
    let mut world = World::with(1);
    for round in 0..30 {
        world.fail(0, 0, &format!("round {round}"));
    }
    let kept = |world: &mut World| {
        let past = world.group().past(Offset(0)).unwrap();
        past.errors().iter().map(|(_, text)| text.len()).collect::<Vec<_>>()
    };
    assert_eq!(kept(&mut world), [8; 10]);
    world.fail(0, 0, &"x".repeat(5000));
    assert_eq!(kept(&mut world), [5000]);
    world.fail(0, 0, "short");
    assert_eq!(kept(&mut world), [5]);
}

#[test]
fn what_is_remembered_of_a_message_takes_at_most_48_bytes() {
    assert!(size_of::<History>() <= 48);
    assert!(size_of::<DeadLetter>() <= 48);
}
