//! Leases, what comes next, and what becomes of a message.

use super::*;

#[test]
fn fresh_messages_come_in_their_order_and_only_once() {
    let mut world = World::with(5);
    assert_eq!(world.picks(0, 3), [0, 1, 2]);
    assert_eq!(world.lease(0, 2), [0, 1]);
    assert_eq!(world.lease(0, 9), [2, 3, 4]);
    assert_eq!(world.lease(0, 9), [0; 0]);
    world.publish(1);
    assert_eq!(world.lease(0, 9), [5]);
}

#[test]
fn nothing_is_picked_at_or_past_what_is_visible() {
    let mut world = World::with(5);
    let picks = |world: &mut World, end| world.state.pick(GROUP, Timestamp(0), Offset(end), 9).len();
    assert_eq!((picks(&mut world, 0), picks(&mut world, 3), picks(&mut world, 5)), (0, 3, 5));
    world.lease(0, 5);
    world.release(4, 0);
    assert_eq!((picks(&mut world, 4), picks(&mut world, 5)), (0, 1));
}

#[test]
fn a_retry_that_is_due_later_is_not_picked_before() {
    let mut world = World::with(2);
    world.lease(0, 1);
    world.fail(0, 1000, "later");
    assert_eq!(world.picks(999, 9), [1]);
    assert_eq!(world.group().next_due(Timestamp(0)), Some(Timestamp(1000)));
    assert_eq!(world.picks(1000, 9), [0, 1]);
    assert_eq!(world.group().next_due(Timestamp(1000)), None);
}

#[test]
fn what_is_released_comes_at_once_and_before_what_is_fresh() {
    let mut world = World::with(5);
    world.lease(0, 3);
    world.apply(&release(GROUP, &[run(1, 2)], 0));
    assert_eq!(world.lease(0, 9), [1, 2, 3, 4]);
}

#[test]
fn a_lease_that_nobody_saw_is_taken_back_without_a_trace() {
    let mut world = World::with(3);
    world.grant(0, 1, 9);
    world.grant(2, 2, 9);
    let group = world.group();
    assert!(!group.forget_lease(Offset(0), 7));
    assert!(group.forget_lease(Offset(0), 1));
    assert_eq!(group.check(Offset(0), 1), Hold::Lost);
    assert_eq!(world.counters(0), Counters::default());
    assert_whole(&world.state);
    assert_eq!(world.picks(0, 9), [0, 1], "what was passed over is not lost either");
    world.publish(1);
    world.apply(&release(GROUP, &[run(2, 1)], 0));
    assert_eq!(world.lease(0, 9), [0, 1, 2, 3]);
}

#[test]
fn settling_late_works_until_somebody_else_has_the_message() {
    let mut world = World::with(1);
    world.lease(0, 1);
    assert_eq!(world.group().check(Offset(0), 1), Hold::Held);
    world.time_out(0, 40_000);
    assert_eq!(world.group().check(Offset(0), 1), Hold::Late);
    assert_eq!(world.group().check(Offset(0), 2), Hold::Lost);
    assert_eq!(world.lease(40_000, 1), [0]);
    assert_eq!(world.group().check(Offset(0), 1), Hold::Lost);
    assert_eq!(world.group().check(Offset(0), 2), Hold::Held);
    world.ack(0);
    assert_eq!(world.group().check(Offset(0), 2), Hold::Lost);
}

#[test]
fn a_message_that_was_buried_behind_its_holders_back_can_still_be_acked() {
    let mut world = World::with(1);
    world.lease(0, 1);
    world.bury(0, BuryReason::Timeouts, "");
    assert_eq!(world.group().check(Offset(0), 1), Hold::Late);
    assert!(!world.group().extend(Offset(0), 1, Timestamp(99)), "but not held on to");
    world.ack(0);
    assert!(world.group().dead().is_empty());
    assert_eq!(world.group().settled().floor(), Offset(1));
}

#[test]
fn extending_moves_the_deadline_also_late() {
    let mut world = World::with(1);
    world.lease(0, 1);
    assert!(world.group().extend(Offset(0), 1, Timestamp(60_000)));
    assert_eq!(world.group().expired(Timestamp(59_999), 9), []);
    assert_eq!(world.group().next_due(Timestamp(0)), Some(Timestamp(60_000)));
    world.time_out(0, 70_000);
    assert!(world.group().needs_record(Offset(0)));
    assert!(world.group().extend(Offset(0), 1, Timestamp(90_000)));
    assert_eq!(world.picks(80_000, 9), [0; 0]);
    assert_eq!(world.group().check(Offset(0), 1), Hold::Held);
    assert!(!world.group().extend(Offset(0), 2, Timestamp(99_000)));
    assert_whole(&world.state);
}

#[test]
fn an_opening_ends_every_lease() {
    let mut world = World::with(3);
    world.lease(0, 2);
    world.open("machine", true);
    assert_eq!((world.group().leased(), world.group().check(Offset(0), 1)), (0, Hold::Lost));
    assert_eq!(world.lease(0, 9), [0, 1, 2]);
}

#[test]
fn a_pause_hands_out_nothing_until_it_ends() {
    let mut world = World::with(1);
    world.apply(&pause(GROUP, 500));
    assert_eq!((world.picks(499, 1).len(), world.picks(500, 1).len()), (0, 1));
    assert_eq!(world.group().next_due(Timestamp(0)), Some(Timestamp(500)));
    assert_eq!(oldest(&world, Timestamp(0), END), None);
    world.apply(&pause(GROUP, u64::MAX));
    assert_eq!((world.picks(1 << 50, 1).len(), world.group().next_due(Timestamp(0))), (0, None));
    world.apply(&pause(GROUP, 0));
    assert_eq!(world.picks(0, 1), [0]);
}

#[test]
fn seeking_back_makes_everything_from_there_on_fresh() {
    let mut world = World::with(6);
    world.lease(0, 4);
    world.ack(0);
    world.bury(1, BuryReason::Asked, "old");
    world.fail(2, 50, "");
    world.bury(3, BuryReason::Asked, "new");
    world.apply(&seek(GROUP, 2));
    assert_eq!(world.group().dead().keys().copied().collect::<Vec<_>>(), [Offset(1)]);
    assert_eq!((world.group().leased(), world.group().history().len()), (0, 0));
    assert_eq!(world.lease(0, 9), [2, 3, 4, 5]);
    assert_eq!(world.group().settled().floor(), Offset(1), "a dead letter is not settled");
    world.apply(&redrive(GROUP, &[run(0, 9)]));
    assert_eq!(world.lease(0, 9), [1]);
}

#[test]
fn seeking_forward_settles_what_is_passed_over() {
    let mut world = World::with(6);
    world.lease(0, 2);
    world.apply(&seek(GROUP, 4));
    assert_eq!(world.group().settled().floor(), Offset(4));
    assert_eq!(world.lease(0, 9), [4, 5]);
}

#[test]
fn a_redriven_message_keeps_its_counters_and_begins_a_new_life() {
    let mut world = World::with(2);
    world.apply(&limits(2, 2, 2));
    for round in 0..2 {
        world.lease(100 * round, 1);
        world.fail(0, 100 * round + 100, &format!("error {round}"));
    }
    assert_eq!(world.group().over_limits(), [(Offset(0), BuryReason::Failures)]);
    world.bury(0, BuryReason::Failures, "given up");
    let letter = &world.group().dead()[&Offset(0)];
    assert_eq!((letter.reason, letter.life, letter.errors.len()), (BuryReason::Failures, 0, 3));
    assert_eq!(world.picks(1000, 9), [1]);

    world.apply(&redrive(GROUP, &[run(0, 1)]));
    assert!(world.group().dead().is_empty());
    assert_eq!((world.group().life(Offset(0)), world.counters(0).failures), (1, 2));
    assert_eq!(world.lease(0, 1), [0], "at once");
    assert_eq!(world.counters(0).leases, 3);
    assert_eq!(world.group().over_limits(), [], "limits count from the redrive on");
    world.fail(0, 0, "again");
    let totals = world.counters(0);
    assert_eq!((totals.failures, world.group().in_this_life(Offset(0), totals).failures), (3, 1));
    assert_eq!(world.group().limit_reached(Offset(0), totals), None);
    world.lease(0, 1);
    world.fail(0, 0, "and again");
    assert_eq!(world.group().over_limits(), [(Offset(0), BuryReason::Failures)]);
    world.bury(0, BuryReason::Failures, "");
    assert_eq!(world.group().dead()[&Offset(0)].life, 1);
}

#[test]
fn a_lower_limit_shows_who_is_over_it_unless_leased() {
    let mut world = World::with(4);
    world.lease(0, 4);
    world.fail(0, 0, "");
    world.time_out(1, 0);
    world.fail(2, 0, "");
    world.release(3, 0);
    assert_eq!(world.group().over_limits(), []);
    world.apply(&limits(1, 1, 1));
    let over =
        [(Offset(0), BuryReason::Failures), (Offset(1), BuryReason::Timeouts), (Offset(2), BuryReason::Failures)];
    assert_eq!(world.group().over_limits(), over);
    assert_eq!(world.lease(0, 1), [0]);
    assert_eq!(world.group().over_limits(), over[1..]);
}

#[test]
fn an_ack_of_a_dead_letter_settles_it() {
    let mut world = World::with(3);
    world.lease(0, 3);
    world.bury(0, BuryReason::Asked, "no");
    world.ack(1);
    assert_eq!(world.group().settled().floor(), Offset(0));
    world.ack(0);
    assert!(world.group().dead().is_empty());
    assert_eq!(world.group().settled().floor(), Offset(2));
}

#[test]
fn settled_and_dead_messages_can_be_neither_failed_nor_buried_nor_released() {
    let mut world = World::with(2);
    world.ack(0);
    world.bury(1, BuryReason::Asked, "");
    for offset in 0..2 {
        world.fail(offset, 9, "late");
        world.bury(offset, BuryReason::Failures, "late");
        world.release(offset, 9);
        world.apply(&delivered(GROUP, &[run(offset, 1)]));
        world.grant(offset, 9, 1);
    }
    assert_eq!(world.group().history().len(), 0);
    assert_eq!(world.group().dead()[&Offset(1)].reason, BuryReason::Asked);
    assert!(!world.state.group(GROUP).unwrap().handed.contains(Offset(0)));
    assert_eq!(world.group().leased(), 0);
    assert_whole(&world.state);
}

#[test]
fn counts_put_every_message_in_one_place() {
    let mut world = World::with(10);
    world.lease(0, 6);
    world.ack(1);
    world.fail(2, 100, "");
    world.bury(3, BuryReason::Asked, "");
    world.release(4, 0);
    let counts = counts(&world, Timestamp(0), Offset(10));
    let expected = GroupCounts { ready: 5, leased: 2, retrying: 1, dead: 1, backlog: 8, settled_above: 1, ..counts };
    assert_eq!(counts, expected);
    assert_eq!(self::counts(&world, Timestamp(100), Offset(10)).ready, 6);
    assert_eq!(oldest(&world, Timestamp(0), Offset(10)), Some(Offset(4)));
    assert_eq!(oldest(&world, Timestamp(100), Offset(10)), Some(Offset(2)));
}

#[test]
fn settling_by_policy_is_counted_by_its_cause() {
    let mut world = World::with(5);
    world.ack(1);
    let runs = Cow::Owned(vec![run(0, 3)]);
    world.apply(&Event::Settle(Settle { group: GROUP, runs, cause: Cause::Expired }));
    assert_eq!(world.group().passed().get(Cause::Expired), 2);
    assert_eq!(world.group().settled().floor(), Offset(3));
}

fn oldest(world: &World, now: Timestamp, end: Offset) -> Option<Offset> {
    world.state.oldest_claimable(world.state.group(GROUP).unwrap(), now, end)
}

fn counts(world: &World, now: Timestamp, end: Offset) -> GroupCounts {
    world.state.counts(world.state.group(GROUP).unwrap(), now, end)
}
