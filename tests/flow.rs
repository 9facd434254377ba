//! Flow control of groups: how much is out, how quickly it goes out, pauses, and handlers that are told to come later.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use millpond::testing::SimDisk;
use millpond::{
    Consumer, Delivery, ErrorKind, Group, ManualClock, Message, Notice, Offset, Rate, Store, Timestamp, Topic, What,
    Why,
};
use std::time::{Duration, Instant};

const START: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(30);

struct Bench {
    disk: SimDisk,
    clock: ManualClock,
    openings: u64,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::starting_at(Timestamp::new(START));
        Self { disk: SimDisk::new(7), clock, openings: 0 }
    }

    fn open(&mut self) -> Store {
        self.openings += 1;
        let options = Store::options().segment_bytes(256 << 10).first_segment_bytes(256 << 10);
        Store::open_simulated(&self.disk, self.clock.clone(), self.openings, options).unwrap()
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::new(START + millis)
}

fn group(store: &Store, settings: Group) -> (Topic, Consumer) {
    let topic = store.topic("orders").unwrap();
    let group = topic.consumer("email", settings).unwrap();
    (topic, group)
}

fn publish(topic: &Topic, count: u64) {
    topic.publish_all((0..count).map(|number| Message::new(number.to_string()))).wait().unwrap();
}

fn lease(group: &Consumer, max: usize) -> Vec<Delivery> {
    group.lease_many(max, Duration::ZERO).unwrap().collect()
}

fn offsets(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.offset().get()).collect()
}

fn on_disk(settings: Group) -> (tempfile::TempDir, Store, Topic, Consumer) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (topic, consumer) = group(&store, settings);
    (dir, store, topic, consumer)
}

#[test]
fn no_more_is_out_than_max_in_flight_says_and_retries_do_not_count() {
    let mut bench = Bench::new();
    let store = bench.open();
    let (topic, email) = group(&store, Group::default().max_in_flight(3));
    publish(&topic, 10);
    let mut held = lease(&email, 10);
    assert_eq!(offsets(&held), [0, 1, 2]);
    assert!(email.try_lease().unwrap().is_none());
    assert_eq!(email.why(Offset::new(3)).unwrap(), Why::InFlight { limit: 3 });
    assert!(email.why(Offset::new(3)).unwrap().to_string().contains("3 deliveries are out"));
    held.remove(0).ack().wait().unwrap();
    held.remove(0).nack("not now").wait().unwrap();
    // What waits for its next try is not out.
    let more = lease(&email, 10);
    assert_eq!(offsets(&more), [3, 4]);
    // A limit that is lowered takes nothing away; one that is raised holds at once.
    topic.consumer("email", Group::default().max_in_flight(1)).unwrap();
    assert!(email.try_lease().unwrap().is_none());
    topic.consumer("email", Group::default().max_in_flight(u64::MAX)).unwrap();
    assert_eq!(lease(&email, 10).len(), 5);
    drop((held, more));
}

#[test]
fn a_limit_survives_reopening_and_a_lease_that_ran_out_is_not_out() {
    let mut bench = Bench::new();
    let store = bench.open();
    let (topic, _) = group(&store, Group::default().max_in_flight(2).lease(SECOND));
    publish(&topic, 5);
    store.close().unwrap();
    let store = bench.open();
    let (_, email) = group(&store, Group::default());
    let held = lease(&email, 10);
    assert_eq!(held.len(), 2);
    bench.clock.advance(SECOND);
    let second = lease(&email, 10);
    assert_eq!(offsets(&second), [2, 3]);
    // Their places are taken: they can be settled, but not held on to.
    let error = held[0].extend(SECOND).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert!(error.to_string().contains("max_in_flight"));
    assert_eq!(email.stats().leased, 2);
    for late in held {
        late.ack().wait().unwrap();
    }
}

#[test]
fn a_consumer_that_waits_for_a_place_is_woken_by_an_ack() {
    let (_dir, store, topic, email) = on_disk(Group::default().max_in_flight(1));
    publish(&topic, 2);
    let first = email.lease().unwrap();
    let other = email.clone();
    let waiter = std::thread::spawn(move || {
        let second = other.lease_timeout(LONG).unwrap().unwrap();
        let offset = second.offset().get();
        second.ack().wait().unwrap();
        offset
    });
    std::thread::sleep(Duration::from_millis(50));
    let since = Instant::now();
    first.ack().wait().unwrap();
    assert_eq!(waiter.join().unwrap(), 1);
    assert!(since.elapsed() < Duration::from_secs(10), "it was woken, and did not wait its time out");
    store.close().unwrap();
}

#[test]
fn a_group_hands_out_its_burst_and_then_at_its_rate() {
    let mut bench = Bench::new();
    let store = bench.open();
    let (topic, email) = group(&store, Group::default().rate(Rate::per_second(10).burst(3)).lease(LONG * 100));
    publish(&topic, 100);
    let mut held = lease(&email, 50);
    assert_eq!(held.len(), 3);
    assert_eq!(email.why(Offset::new(3)).unwrap(), Why::RateLimited { until: at(100) });
    for millis in 0..2_000 {
        held.extend(lease(&email, 50));
        let fair = 3 + millis / 100;
        assert_eq!(held.len(), fair, "after {millis} ms");
        bench.clock.advance(Duration::from_millis(1));
    }
    // What was not used is there at once, and no more than the burst.
    bench.clock.advance(LONG);
    assert_eq!(lease(&email, 50).len(), 3);
    // The clock of the wall has no say.
    bench.clock.set_wall(Timestamp::new(9_000_000_000_000));
    assert!(lease(&email, 50).is_empty());
    topic.consumer("email", Group::default().rate(Rate::unlimited())).unwrap();
    assert_eq!(lease(&email, 50).len(), 50);
}

#[test]
fn consumers_that_wait_for_the_rate_are_woken_in_time() {
    let (_dir, _store, topic, email) = on_disk(Group::default().rate(Rate::per_second(50).burst(1)));
    publish(&topic, 11);
    let since = Instant::now();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let email = email.clone();
            std::thread::spawn(move || {
                while let Some(delivery) = email.lease_timeout(SECOND).unwrap() {
                    let last = delivery.offset() == Offset::new(10);
                    delivery.ack().wait().unwrap();
                    if last {
                        email.stopper().stop();
                        break;
                    }
                    if email.idle() {
                        break;
                    }
                }
            })
        })
        .collect();
    let ends: Vec<_> = workers.into_iter().map(|worker| worker.join().is_ok()).collect();
    let took = since.elapsed();
    assert!(ends.iter().any(|ended| *ended));
    assert!(took >= Duration::from_millis(199), "ten intervals of 20 ms, not {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(email.stats().ready, 0);
}

#[test]
fn a_paused_group_hands_out_nothing_and_what_is_out_can_be_settled() {
    let mut bench = Bench::new();
    let store = bench.open();
    let (topic, email) = group(&store, Group::default());
    let events = store.events(100).unwrap();
    publish(&topic, 5);
    let mut held = lease(&email, 3);
    email.pause().unwrap();
    email.pause().unwrap();
    assert!(email.try_lease().unwrap().is_none());
    assert_eq!(email.stats().paused_until, Some(Timestamp::new(u64::MAX)));
    assert_eq!(email.stats().oldest_claimable, None);
    assert_eq!(email.why(Offset::new(4)).unwrap().to_string(), "the group is paused");
    assert!(!email.idle());
    held.remove(0).ack().wait().unwrap();
    held[0].extend(LONG).unwrap();
    held.remove(0).release().wait().unwrap();
    held.remove(0).nack("no").wait().unwrap();
    email.resume().unwrap();
    email.resume().unwrap();
    assert_eq!(email.stats().paused_until, None);
    assert_eq!(offsets(&lease(&email, 9)), [1, 3, 4]);
    let whats = std::iter::from_fn(|| events.try_next()).filter_map(|notice| match notice {
        Notice::Happened(happening) if happening.count == 0 => Some(happening.what),
        _ => None,
    });
    let forever = Timestamp::new(u64::MAX);
    assert_eq!(whats.collect::<Vec<_>>(), [What::Paused { until: forever }, What::Resumed]);
}

#[test]
fn a_pause_survives_a_crash_and_ends_at_its_time_by_the_engines_clock() {
    let mut bench = Bench::new();
    let store = bench.open();
    let (topic, email) = group(&store, Group::default());
    publish(&topic, 1);
    email.pause_for(10 * SECOND).unwrap();
    assert_eq!(email.stats().paused_until, Some(at(10_000)));
    bench.clock.advance(4 * SECOND);
    // Neither a jump forward nor one back makes it shorter or longer.
    for wall in [9_000_000_000, 5] {
        bench.clock.set_wall(Timestamp::new(wall));
        assert_eq!(email.why(Offset::ZERO).unwrap(), Why::Paused { until: at(10_000) });
        assert!(email.try_lease().unwrap().is_none());
    }
    bench.disk.crash();
    drop((email, topic, store));
    // Across the crash, what the wall clock says counts.
    bench.clock.set_wall(at(9_999));
    let store = bench.open();
    let (_, email) = group(&store, Group::default());
    assert!(email.try_lease().unwrap().is_none());
    bench.clock.advance(Duration::from_millis(1));
    drop(email.try_lease().unwrap().unwrap());
    // A time that is over ends a pause.
    email.pause().unwrap();
    email.pause_until(at(0)).unwrap();
    assert_eq!(email.stats().paused_until, None);
    email.pause_until(at(60_000)).unwrap();
    store.close().unwrap();
    bench.clock.set_wall(at(70_000));
    let store = bench.open();
    let (_, email) = group(&store, Group::default());
    assert!(email.try_lease().unwrap().is_some());
}

#[test]
fn a_clock_that_went_back_while_the_store_was_closed_ends_no_pause_early() {
    let mut bench = Bench::new();
    let store = bench.open();
    let (topic, email) = group(&store, Group::default());
    publish(&topic, 1);
    bench.clock.advance(LONG);
    topic.publish("later").wait().unwrap();
    email.pause_for(10 * SECOND).unwrap();
    store.close().unwrap();
    bench.clock.set_wall(Timestamp::new(0));
    let store = bench.open();
    let (_, email) = group(&store, Group::default());
    bench.clock.advance(Duration::from_millis(9_999));
    assert!(email.try_lease().unwrap().is_none());
    bench.clock.advance(Duration::from_millis(1));
    assert!(email.try_lease().unwrap().is_some());
}

#[test]
fn consumers_that_wait_are_woken_when_a_pause_ends() {
    let (_dir, _store, topic, email) = on_disk(Group::default());
    publish(&topic, 2);
    let waiter = |email: &Consumer| {
        let email = email.clone();
        std::thread::spawn(move || {
            let since = Instant::now();
            email.lease_timeout(LONG).unwrap().unwrap().ack().wait().unwrap();
            since.elapsed()
        })
    };
    email.pause_for(Duration::from_millis(200)).unwrap();
    let took = waiter(&email).join().unwrap();
    assert!(took >= Duration::from_millis(150) && took < Duration::from_secs(10), "{took:?}");
    email.pause().unwrap();
    let waits = waiter(&email);
    std::thread::sleep(Duration::from_millis(100));
    assert!(!waits.is_finished());
    email.resume().unwrap();
    assert!(waits.join().unwrap() < Duration::from_secs(10));
}

#[test]
fn who_is_told_to_come_later_is_charged_nothing_and_the_group_waits() {
    let mut bench = Bench::new();
    let store = bench.open();
    let (topic, email) = group(&store, Group::default());
    publish(&topic, 3);
    let mut held = lease(&email, 2);
    held.remove(0).rate_limited(5 * SECOND).wait().unwrap();
    assert!(email.try_lease().unwrap().is_none());
    assert_eq!(email.why(Offset::new(2)).unwrap(), Why::HeldOff { until: at(5_000) });
    assert_eq!(email.why(Offset::ZERO).unwrap(), Why::Waiting { until: at(5_000), failures: 0 });
    assert_eq!(email.stats().held_off_until, Some(at(5_000)));
    // The later of two counts.
    held.remove(0).rate_limited_until(at(3_000)).wait().unwrap();
    bench.clock.advance(Duration::from_millis(4_999));
    assert!(email.try_lease().unwrap().is_none());
    bench.clock.advance(Duration::from_millis(1));
    let again = lease(&email, 3);
    assert_eq!(offsets(&again), [1, 0, 2]);
    let counters: Vec<_> = again.iter().map(|delivery| (delivery.counters().failures, delivery.attempt())).collect();
    assert_eq!(counters, [(0, 1); 3]);
    assert_eq!(email.stats().held_off_until, None);
}

#[test]
fn a_group_does_not_wait_for_what_somebody_says_whose_lease_is_lost() {
    let mut bench = Bench::new();
    let store = bench.open();
    let (topic, email) = group(&store, Group::default().lease(SECOND));
    publish(&topic, 2);
    let late = email.lease().unwrap();
    email.seek(millpond::Start::Earliest).unwrap();
    assert_eq!(late.rate_limited(LONG).wait().unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(offsets(&lease(&email, 2)), [0, 1]);
}

#[test]
fn that_a_message_comes_later_is_in_the_journal_and_that_the_group_waits_is_not() {
    let mut bench = Bench::new();
    let store = bench.open();
    let (topic, email) = group(&store, Group::default());
    publish(&topic, 2);
    email.lease().unwrap().rate_limited(LONG).wait().unwrap();
    store.close().unwrap();
    let store = bench.open();
    let (_, email) = group(&store, Group::default());
    let next = lease(&email, 2);
    assert_eq!(offsets(&next), [1]);
    email.ack_all(next).wait().unwrap();
    bench.clock.advance(LONG);
    assert_eq!(offsets(&lease(&email, 2)), [0]);
}
