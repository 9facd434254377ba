//! Order by key: one holder of a key, in the order of offsets, whatever fails, waits or leaves; other keys flow.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use millpond::testing::SimDisk;
use millpond::{
    BuryReason, Consumer, Delivery, Durability, ErrorKind, Group, ManualClock, Message, Offset, Options, Redrive,
    Retry, Start, Store, Timestamp, Topic, WhenParked, Why,
};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(30);

/// A store on the simulated disk, and the clock it goes by.
struct Bench {
    disk: SimDisk,
    clock: ManualClock,
    openings: u64,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Self { disk: SimDisk::new(seed), clock, openings: 0 }
    }

    fn open(&mut self) -> Store {
        self.openings += 1;
        Store::open_simulated(&self.disk, self.clock.clone(), self.openings, options()).unwrap()
    }
}

fn options() -> Options {
    Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10)
}

fn ordered() -> Group {
    Group::default().ordered(WhenParked::Skip).retry(Retry::fixed(WAIT).without_jitter().attempts(3)).lease(LEASE)
}

/// Messages whose key is the first letter of their text; those that begin with a dash have none.
fn publish(topic: &Topic, texts: &str) {
    let message = |text: &str| {
        let message = Message::new(text.to_owned());
        if text.starts_with('-') { message } else { message.key(text[..1].to_owned()) }
    };
    topic.publish_all(texts.split_whitespace().map(message)).wait().unwrap();
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.payload().to_vec()).unwrap()
}

fn take(consumer: &Consumer, max: usize) -> Vec<Delivery> {
    consumer.lease_many(max, Duration::ZERO).unwrap().collect()
}

fn texts(deliveries: &[Delivery]) -> String {
    deliveries.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Leases and acks one at a time until nothing comes.
fn drain(consumer: &Consumer) -> String {
    let mut seen = Vec::new();
    while let Some(delivery) = consumer.try_lease().unwrap() {
        seen.push(text(&delivery));
        delivery.ack().wait().unwrap();
    }
    seen.join(" ")
}

fn simulated(texts: &str, settings: Group) -> (Bench, Store, Topic, Consumer) {
    let mut bench = Bench::new(1);
    let store = bench.open();
    let topic = store.topic("orders").unwrap();
    publish(&topic, texts);
    let consumer = topic.consumer("email", settings).unwrap();
    (bench, store, topic, consumer)
}

#[test]
fn a_key_has_one_holder_at_a_time_and_other_keys_and_keyless_messages_flow() {
    let (_bench, store, _, email) = simulated("a1 a2 b1 -x a3 b2 -y", ordered());
    let first = take(&email, 10);
    assert_eq!(texts(&first), "a1 b1 -x -y", "at most one message of a key");
    let stats = email.stats();
    assert_eq!((stats.ready, stats.leased, stats.key_blocked, stats.oldest_claimable), (0, 4, 3, None));
    assert!(email.try_lease().unwrap().is_none());
    let mut first = first.into_iter();
    first.next().unwrap().ack().wait().unwrap();
    assert_eq!((email.stats().ready, email.stats().key_blocked), (1, 2));
    let second = take(&email, 10);
    assert_eq!(texts(&second), "a2");
    first.next().unwrap().ack().wait().unwrap();
    assert_eq!(drain(&email), "b2", "a3 waits for a2");
    second.into_iter().for_each(|delivery| delivery.ack().wait().unwrap());
    assert_eq!(drain(&email), "a3");
    drop(first);
    store.close().unwrap();
}

#[test]
fn a_failed_message_comes_again_before_its_successors_which_wait_while_it_backs_off() {
    let (bench, _store, _, email) = simulated("a1 a2 b1 b2", ordered());
    email.lease().unwrap().nack("no").wait().unwrap();
    assert_eq!(drain(&email), "b1 b2");
    assert_eq!(email.why(Offset::new(1)).unwrap(), Why::BehindKey { offset: Offset::ZERO });
    assert_eq!(email.why(Offset::new(1)).unwrap().to_string(), "offset 0 has the same key and goes first");
    let stats = email.stats();
    assert_eq!((stats.retrying, stats.key_blocked, stats.ready), (1, 1, 0));
    bench.clock.advance(WAIT);
    let again = email.try_lease().unwrap().unwrap();
    assert_eq!((text(&again).as_str(), again.attempt()), ("a1", 2));
    again.ack().wait().unwrap();
    assert_eq!(drain(&email), "a2");
    assert!(email.idle());
}

#[test]
fn what_is_released_snoozed_or_timed_out_keeps_its_place_too() {
    let (bench, _store, _, email) = simulated("a1 a2", ordered());
    email.lease().unwrap().release().wait().unwrap();
    let first = email.try_lease().unwrap().unwrap();
    assert_eq!(text(&first), "a1");
    first.snooze(WAIT).wait().unwrap();
    assert_eq!(drain(&email), "", "a snoozed message holds its key");
    bench.clock.advance(WAIT);
    let first = email.try_lease().unwrap().unwrap();
    bench.clock.advance(LEASE);
    assert_eq!(drain(&email), "", "its lease ran out, and it waits");
    bench.clock.advance(WAIT);
    let second = email.try_lease().unwrap().unwrap();
    assert_eq!((text(&second).as_str(), second.counters().timeouts), ("a1", 1));
    // Its first holder is too late, and the second one is unharmed.
    assert_eq!(first.ack().wait().unwrap_err().kind(), ErrorKind::LeaseLost);
    second.ack().wait().unwrap();
    assert_eq!(drain(&email), "a2");
}

#[test]
fn a_late_holder_can_not_extend_once_its_key_has_another() {
    let (bench, _store, _, email) = simulated("a1 a2 b1", ordered());
    let held = take(&email, 2);
    bench.clock.advance(LEASE);
    assert!(email.try_lease().unwrap().is_none());
    // Nobody else has them: they run again, and hold their keys.
    held.iter().for_each(|delivery| delivery.extend(LEASE).unwrap());
    bench.clock.advance(WAIT);
    assert!(email.try_lease().unwrap().is_none());
    let mut held = held.into_iter();
    held.next().unwrap().ack().wait().unwrap();
    assert_eq!(drain(&email), "a2");
    held.next().unwrap().ack().wait().unwrap();
    assert!(email.idle());
}

#[test]
fn a_delayed_message_holds_its_successors_and_a_keyless_one_nobody() {
    let mut bench = Bench::new(2);
    let store = bench.open();
    let topic = store.topic("orders").unwrap();
    topic.publish(Message::new("a1").key("a").delay(WAIT)).wait().unwrap();
    topic.publish(Message::new("-x").delay(WAIT)).wait().unwrap();
    publish(&topic, "a2 b1 -y");
    let email = topic.consumer("email", ordered()).unwrap();
    assert_eq!(drain(&email), "b1 -y");
    let stats = email.stats();
    assert_eq!((stats.delayed, stats.key_blocked, stats.ready), (2, 1, 0));
    assert!(email.idle(), "what waits for a delayed one is not to be done now either");
    assert_eq!(email.why(Offset::new(2)).unwrap(), Why::BehindKey { offset: Offset::ZERO });
    bench.clock.advance(WAIT);
    assert_eq!(drain(&email), "a1 -x a2");
}

#[test]
fn a_head_that_expires_is_cancelled_or_dropped_frees_its_key() {
    let mut bench = Bench::new(3);
    let store = bench.open();
    let topic = store.topic("orders").unwrap();
    topic.publish(Message::new("a1").key("a").expires_after(WAIT)).wait().unwrap();
    let cancelled = topic.publish(Message::new("b1").key("b").delay(10 * WAIT)).wait().unwrap();
    publish(&topic, "a2 b2");
    let email = topic.consumer("email", ordered()).unwrap();
    email.lease().unwrap().nack("no").wait().unwrap();
    assert_eq!(drain(&email), "");
    assert!(topic.cancel(cancelled.offset).unwrap());
    assert_eq!(drain(&email), "b2");
    bench.clock.advance(WAIT);
    assert_eq!((drain(&email).as_str(), email.stats().removed.expired), ("a2", 1));
}

/// What the two tests below have in common.
fn a2_fails(email: &Consumer, topic: &Topic) {
    let mut runs = email.lease_runs(10, Duration::ZERO).unwrap().into_iter();
    let (mut a, mut b) = (runs.next().unwrap(), runs.next().unwrap());
    assert_eq!((a.key(), b.key()), (Some(&b"a"[..]), Some(&b"b"[..])));
    assert_eq!((texts(a.deliveries()).as_str(), texts(b.deliveries()).as_str()), ("a1 a2 a3", "b1"));
    assert!(runs.next().is_none());
    // A run is one holder of its key: what comes meanwhile waits.
    publish(topic, "a4");
    assert!(email.try_lease().unwrap().is_none());
    assert_eq!(text(a.next_delivery().unwrap()), "a1");
    let failed = a.next_delivery().unwrap();
    assert_eq!(text(failed), "a2");
    let failed = failed.offset();
    a.nack_at(failed, "a2 fails").wait().unwrap();
    b.next_delivery().unwrap();
    b.ack_through(Offset::new(99)).wait().unwrap();
    assert!(b.next_delivery().is_none() && b.deliveries().is_empty());
    assert_eq!(email.why(Offset::ZERO).unwrap(), Why::Settled, "a1 is settled");
    assert_eq!(email.why(Offset::new(2)).unwrap(), Why::Settled, "b1 is settled");
    assert!(email.try_lease().unwrap().is_none(), "a3 and a4 wait for a2");
}

fn a2_comes_before_a3(email: &Consumer) {
    let mut again = email.lease_runs(10, WAIT).unwrap();
    assert_eq!(again.len(), 1);
    let run = again.pop().unwrap();
    assert_eq!(texts(run.deliveries()), "a2 a3 a4");
    let failures: Vec<u32> = run.deliveries().iter().map(|delivery| delivery.counters().failures).collect();
    assert_eq!(failures, [1, 0, 0], "a3 went back uncharged");
    run.ack().wait().unwrap();
    assert!(email.idle());
}

#[test]
fn of_runs_a1_a2_a3_and_b1_whose_a2_fails_a1_and_b1_are_settled_and_a2_comes_before_a3() {
    let (mut bench, store, topic, email) = simulated("a1 a2 b1 a3", ordered());
    a2_fails(&email, &topic);
    // So it is after a power cut, too.
    store.sync().wait().unwrap();
    bench.disk.crash();
    drop((email, topic, store));
    let store = bench.open();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    assert!(email.try_lease().unwrap().is_none());
    bench.clock.advance(WAIT);
    a2_comes_before_a3(&email);
}

#[test]
fn of_runs_a1_a2_a3_and_b1_whose_a2_fails_a2_comes_before_a3_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = store.topic("orders").unwrap();
    publish(&topic, "a1 a2 b1 a3");
    let retry = Retry::fixed(Duration::from_millis(300)).without_jitter();
    let email = topic.consumer("email", ordered().retry(retry)).unwrap();
    a2_fails(&email, &topic);
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    a2_comes_before_a3(&email);
    store.close().unwrap();
}

#[test]
fn a_run_that_is_dropped_charges_only_what_it_yielded_last_and_one_that_times_out_only_its_first() {
    let (bench, _store, _, email) = simulated("a1 a2 a3", ordered());
    let lease = || email.lease_runs(10, Duration::ZERO).unwrap().pop();
    let charges = |run: &millpond::Run| -> Vec<(u32, u32)> {
        let counters = run.deliveries().iter().map(Delivery::counters);
        counters.map(|counters| (counters.failures, counters.timeouts)).collect()
    };
    drop(lease().unwrap());
    let mut run = lease().expect("nothing was yielded, so nothing is charged");
    assert_eq!(charges(&run), [(0, 0); 3]);
    assert_eq!(text(run.next_delivery().unwrap()), "a1");
    assert_eq!(text(run.next_delivery().unwrap()), "a2");
    drop(run);
    // a1 went back uncharged; a2 waits, and with it a3.
    assert_eq!(texts(lease().unwrap().deliveries()), "a1");
    bench.clock.advance(WAIT);
    let run = lease().unwrap();
    assert_eq!((texts(run.deliveries()).as_str(), charges(&run)), ("a1 a2 a3", vec![(0, 0), (1, 0), (0, 0)]));
    bench.clock.advance(LEASE);
    assert!(lease().is_none());
    run.extend(LEASE).unwrap();
    assert!(lease().is_none(), "it runs again, whole");
    bench.clock.advance(LEASE);
    assert!(lease().is_none());
    bench.clock.advance(WAIT);
    let next = lease().unwrap();
    assert_eq!(charges(&next), [(0, 2), (1, 0), (0, 0)]);
    assert_eq!(run.ack().wait().unwrap_err().kind(), ErrorKind::LeaseLost);
    next.ack().wait().unwrap();
    assert!(email.idle());
}

#[test]
fn what_has_expired_is_left_out_of_a_run() {
    let (bench, _store, topic, email) = simulated("a1 a2", ordered());
    topic.publish(Message::new("a3").key("a").expires_after(WAIT)).wait().unwrap();
    publish(&topic, "a4");
    bench.clock.advance(WAIT);
    let run = email.lease_runs(10, Duration::ZERO).unwrap().pop().unwrap();
    assert_eq!(texts(run.deliveries()), "a1 a2 a4", "what has expired is left out");
    run.ack().wait().unwrap();
    assert!(email.idle());
}

#[test]
fn in_a_group_that_is_not_ordered_each_message_is_a_run_of_its_own() {
    let (_bench, _store, _, email) = simulated("a1 a2 b1", Group::default());
    let runs = email.lease_runs(10, Duration::ZERO).unwrap();
    assert_eq!(runs.iter().map(|run| texts(run.deliveries())).collect::<Vec<_>>(), ["a1", "a2", "b1"]);
    runs.into_iter().for_each(|run| run.ack().wait().unwrap());
    assert!(email.lease_runs(0, Duration::ZERO).unwrap().is_empty() && email.idle());
}

#[test]
fn a_change_of_the_order_takes_effect_at_once() {
    let (_bench, _store, topic, email) = simulated("a1 a2 a3 a4 a5", Group::default());
    let out = take(&email, 2);
    assert_eq!(texts(&out), "a1 a2");
    let email = topic.consumer("email", ordered()).unwrap();
    assert!(email.try_lease().unwrap().is_none(), "two of the key are out");
    let mut out = out.into_iter();
    out.next().unwrap().ack().wait().unwrap();
    assert!(email.try_lease().unwrap().is_none());
    out.next().unwrap().ack().wait().unwrap();
    let next = take(&email, 9);
    assert_eq!(texts(&next), "a3");
    let email = topic.consumer("email", Group::default().unordered()).unwrap();
    assert_eq!(drain(&email), "a4 a5");
    next.into_iter().for_each(|delivery| delivery.ack().wait().unwrap());
    assert!(email.idle());
}

#[test]
fn sought_and_redriven_messages_join_the_line_at_their_offset() {
    let (_bench, store, topic, email) = simulated("a1 a2 a3 a4", ordered());
    topic.consumer("keeper", Group::default()).unwrap();
    email.lease().unwrap().bury("not now").wait().unwrap();
    let second = email.lease().unwrap();
    assert_eq!((text(&second).as_str(), second.skipped()), ("a2", Some(Offset::ZERO)));
    assert_eq!(email.redrive(Redrive::all()).unwrap().changed, 1);
    assert!(email.try_lease().unwrap().is_none(), "a2 is out");
    assert_eq!(email.why(Offset::ZERO).unwrap(), Why::BehindKey { offset: Offset::new(1) });
    second.ack().wait().unwrap();
    let again = email.lease().unwrap();
    assert_eq!((text(&again).as_str(), again.life(), again.skipped()), ("a1", 1, None));
    again.ack().wait().unwrap();
    assert_eq!(drain(&email), "a3 a4");
    email.seek(Start::Offset(Offset::new(2))).unwrap();
    assert_eq!(drain(&email), "a3 a4");
    store.close().unwrap();
}

#[test]
fn after_a_crash_suspects_of_a_key_run_alone_and_in_order() {
    let (mut bench, store, topic, email) = simulated("a1 b1 a2 b2", ordered());
    topic.publish(Message::new("a3").key("a").durability(Durability::Disk)).wait().unwrap();
    let held = take(&email, 2);
    assert_eq!(texts(&held), "a1 b1");
    bench.disk.kill();
    drop((held, email, topic, store));
    let store = bench.open();
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    let suspects = email.stats().suspects;
    assert!((2..=3).contains(&suspects), "{suspects}");
    let first = take(&email, 9);
    assert_eq!((texts(&first).as_str(), first[0].is_suspect()), ("a1", true));
    assert!(take(&email, 9).is_empty());
    // It fails: a2 must not go before it, suspect or not; b1 can.
    first.into_iter().for_each(|delivery| delivery.nack("again").wait().unwrap());
    assert_eq!(drain(&email), "b1 b2");
    bench.clock.advance(WAIT);
    assert_eq!(drain(&email), "a1 a2 a3");
    assert!(email.idle() && email.dead_letters().next().is_none());
    assert_eq!(BuryReason::KeyParked.to_string(), "an earlier message of its key was parked");
}
