//! Finding the message that kills, without charging those beside it.

use super::*;

#[test]
fn of_a_hundred_in_flight_only_the_killer_is_charged() {
    let killer = 37;
    let mut world = World::with(150);
    assert_eq!(world.lease(0, 100).len(), 100);
    world.crash();
    assert_eq!(world.group().suspects(), 100);
    assert!((0..100).all(|offset| world.counters(offset).crashes == 0), "nobody is charged in company");

    for expected in 0..killer {
        assert_eq!(world.lease(0, 10), [expected], "one at a time, the lowest first");
        assert_eq!(world.lease(0, 10), [0; 0], "and nothing beside it");
        world.ack(expected);
    }
    assert_eq!(world.lease(0, 10), [killer]);
    world.crash();
    assert_eq!(world.counters(killer).crashes, 2, "the crash that was not charged is added");
    assert_eq!(world.group().suspects(), 63);
    assert_eq!(world.group().over_limits(), []);

    assert_eq!(world.lease(0, 10), [killer]);
    world.crash();
    assert_eq!(world.counters(killer).crashes, 3);
    assert_eq!(world.group().over_limits(), [(Offset(killer), BuryReason::Crashes)]);
    world.bury(killer, BuryReason::Crashes, "");

    for expected in killer + 1..100 {
        assert_eq!(world.lease(0, 10), [expected]);
        assert_eq!(world.counters(expected).crashes, 0);
        world.ack(expected);
    }
    assert_eq!(world.group().suspects(), 0);
    assert_eq!(world.lease(0, 10), (100..110).collect::<Vec<_>>(), "then the group goes on as before");
    assert_eq!(world.group().dead().len(), 1);
}

#[test]
fn a_killer_that_is_always_alone_is_charged_each_time() {
    let mut world = World::with(1);
    for crashes in 1..=3 {
        assert_eq!(world.lease(0, 1), [0]);
        world.crash();
        assert_eq!(world.counters(0).crashes, crashes);
    }
    assert_eq!(world.group().over_limits(), [(Offset(0), BuryReason::Crashes)]);
}

#[test]
fn a_restart_of_the_machine_makes_nobody_a_suspect() {
    for (boot_id, clean) in [("another boot", false), ("", false), ("machine", true)] {
        let mut world = World::with(5);
        world.lease(0, 3);
        world.fail(1, 7, "");
        world.open(boot_id, clean);
        assert_eq!(world.group().suspects(), 0);
        assert!((0..5).all(|offset| world.counters(offset).crashes == 0));
        assert_eq!(world.lease(7, 9), [1, 0, 2, 3, 4], "everything is there at once, retries first");
    }
}

#[test]
fn a_machine_without_boot_ids_makes_nobody_a_suspect() {
    let mut world = World::with(1);
    world.open("", true);
    world.lease(0, 1);
    world.open("", false);
    assert_eq!(world.group().suspects(), 0);
}

#[test]
fn who_was_suspect_already_stays_suspect_through_a_restart_of_the_machine() {
    let mut world = World::with(5);
    world.lease(0, 2);
    world.crash();
    world.lease(0, 1);
    world.open("another boot", false);
    assert_eq!(world.group().suspects(), 2);
    assert_eq!(world.counters(0).crashes, 0, "but nobody is charged");
}

#[test]
fn a_lease_that_ends_with_the_process_alive_clears_the_suspect() {
    let mut world = World::with(10);
    world.lease(0, 4);
    world.crash();
    assert_eq!(world.lease(0, 9), [0]);
    world.ack(0);
    assert_eq!(world.lease(0, 9), [1]);
    world.fail(1, 500, "no luck");
    assert_eq!(world.lease(0, 9), [2]);
    world.release(2, 0);
    assert_eq!(world.lease(0, 9), [3], "released, and no suspect any more: after the suspects");
    world.time_out(3, 900);
    assert_eq!(world.group().suspects(), 0);
    assert_eq!(world.lease(0, 3), [2, 4, 5]);
    world.crash();
    assert_eq!(world.counters(2).crashes, 0, "the old uncharged crash is forgotten");
}

#[test]
fn suspects_that_were_not_in_flight_stay_as_they_were() {
    let mut world = World::with(3);
    world.lease(0, 3);
    world.crash();
    for round in 1..=2 {
        world.lease(0, 1);
        world.crash();
        assert_eq!(world.counters(0).crashes, 1 + round);
        assert_eq!((world.counters(1).crashes, world.counters(2).crashes), (0, 0));
    }
    world.ack(0);
    world.lease(0, 1);
    world.crash();
    assert_eq!(world.counters(1).crashes, 2, "its uncharged crash is still known");
}

#[test]
fn what_a_window_named_and_nobody_saw_costs_one_turn_alone() {
    let mut world = World::with(10);
    world.apply(&delivered(GROUP, &[run(0, 4)]));
    world.lease(0, 1);
    world.crash();
    for offset in 0..4 {
        assert_eq!(world.lease(0, 9), [offset]);
        assert_eq!(world.counters(offset).crashes, 0);
        world.ack(offset);
    }
    assert_eq!(world.lease(0, 2), [4, 5]);
}

#[test]
fn a_paused_group_does_not_try_its_suspects() {
    let mut world = World::with(3);
    world.lease(0, 2);
    world.crash();
    world.apply(&pause(GROUP, 100));
    assert_eq!(world.picks(99, 1), [0; 0]);
    assert_eq!(world.picks(100, 1), [0]);
}
