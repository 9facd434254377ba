//! Disk use stays bounded however much passes through (I11).

use crate::machine::{PAYLOAD, disk, fill, options, pass, scale, scratch};
use millpond::{Consumer, Group, Message};
use std::time::{Duration, Instant};

const SEGMENT: u64 = 64 << 20;

fn drain(consumer: &Consumer, most: u64) {
    let mut left = most;
    while left > 0 {
        let batch = consumer.lease_many(usize::try_from(left.min(100)).unwrap(), Duration::ZERO).unwrap();
        if batch.len() == 0 {
            return;
        }
        left -= batch.len() as u64;
        consumer.ack_all(batch).detach();
    }
}

#[test]
#[ignore = "measures the machine: minutes and gigabytes, in a release build"]
fn a_steady_store_stays_within_its_bound_however_much_passes_through() {
    let passing = scale() * 10;
    let live = (passing / 100).min(1_000_000);
    let directory = scratch();
    let store = options().open(directory.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    // One that waits for a year, one that is dead, and a group of another topic that has stopped.
    let year = Duration::from_secs(365 * 86_400);
    store.topic("reminders").unwrap().publish(Message::new("in a year").delay(year)).wait().unwrap();
    let poison = store.topic("poison").unwrap();
    poison.publish("poison").wait().unwrap();
    poison.consumer("worker", Group::default()).unwrap().try_lease().unwrap().unwrap().bury("no").wait().unwrap();
    let stuck = store.topic("stuck").unwrap();
    stuck.consumer("nobody", Group::default()).unwrap();
    fill(&stuck, 1000);

    fill(&orders, live);
    let (mut passed, mut most, mut bound_then) = (0, 0, 0);
    let began = Instant::now();
    while passed < passing {
        let turn = (live / 10).max(1000);
        fill(&orders, turn);
        drain(&email, turn);
        passed += turn;
        let stats = store.stats();
        // Of each message: its frame, here a share of a batch's; the settled ones of the turn are not live.
        let live_bytes: u64 = stats.topics.iter().map(|topic| topic.messages * (PAYLOAD.len() as u64 + 24)).sum();
        let sidecars = stats.segments.len() as u64 * (64 << 10);
        let bound =
            2 * (live_bytes + sidecars) + 8 * SEGMENT + 3 * stats.snapshot_bytes + stats.reserve_bytes + 2 * SEGMENT;
        let taken = disk(directory.path());
        if taken > most {
            (most, bound_then) = (taken, bound);
        }
        assert!(taken <= bound, "{taken} bytes of disk, bound {bound}, after {passed} messages: {stats:#?}");
    }
    println!(
        "{passed} messages passed a backlog of {live} in {:?}: at most {} MiB of disk, bound then {} MiB",
        began.elapsed(),
        most >> 20,
        bound_then >> 20
    );
    assert_eq!(store.topic("reminders").unwrap().stats().delayed, 1);
    assert_eq!(poison.stats().groups.first().unwrap().dead, 1);
    assert_eq!(stuck.stats().groups.first().unwrap().ready, 1000);
    store.close().unwrap();
}

/// Small segments, each mostly dead soon and never wholly, as fast as one thread publishes and settles.
#[test]
#[ignore = "measures the machine: minutes and gigabytes, in a release build"]
fn a_store_of_which_one_in_a_hundred_stays_keeps_up_with_those_who_publish() {
    const SMALL: u32 = 8 << 20;
    let passing = scale() * 10;
    let directory = scratch();
    let store = options().segment_bytes(SMALL).open(directory.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let lasting = Group::default().lease(Duration::from_secs(86_400));
    let email = orders.consumer("email", lasting).unwrap();
    let (mut passed, mut most, mut bound_then, mut slowest) = (0, 0, 0, f64::MAX);
    let began = Instant::now();
    // As many stay as memory is promised for.
    while passed < passing.min(10_000_000) {
        let turn = Instant::now();
        pass(&orders, &email, 10_000);
        passed += 200_000;
        slowest = f64::min(slowest, 200_000.0 / turn.elapsed().as_secs_f64());
        let stats = store.stats();
        let live = passed / 100 * (PAYLOAD.len() as u64 + 64);
        let bound = 2 * live + 8 * u64::from(SMALL) + 3 * stats.snapshot_bytes;
        let taken = disk(directory.path());
        if taken * 100 / bound > most {
            (most, bound_then) = (taken * 100 / bound, bound);
        }
    }
    let rate = passed as f64 / began.elapsed().as_secs_f64();
    println!(
        "{passed} messages, 1 % stay: {rate:.0}/s, {slowest:.0}/s the slowest turn; at most {most} % of the bound, {} \
         MiB then",
        bound_then >> 20
    );
    assert!(most <= 150, "{most} % of the bound");
    store.close().unwrap();
}
