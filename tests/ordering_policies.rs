//! What an ordered group does with a key one of whose messages is parked, and how much it keeps in mind.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use millpond::testing::SimDisk;
use millpond::{
    BuryReason, Consumer, Delivery, Group, ManualClock, Message, Offset, Purge, Redrive, Retry, Store, Timestamp,
    Topic, WhenParked, Why,
};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(10);

struct Bench {
    disk: SimDisk,
    clock: ManualClock,
    openings: u64,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Self { disk: SimDisk::new(1), clock, openings: 0 }
    }

    fn open(&mut self) -> (Store, Topic) {
        self.openings += 1;
        let options = Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10);
        let store = Store::open_simulated(&self.disk, self.clock.clone(), self.openings, options).unwrap();
        let topic = store.topic("orders").unwrap();
        (store, topic)
    }
}

/// Messages whose key is the first letter of their text.
fn publish(topic: &Topic, texts: &str) {
    let message = |text: &str| Message::new(text.to_owned()).key(text[..1].to_owned());
    topic.publish_all(texts.split_whitespace().map(message)).wait().unwrap();
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.payload().to_vec()).unwrap()
}

fn drain(consumer: &Consumer) -> String {
    let mut seen = Vec::new();
    while let Some(delivery) = consumer.try_lease().unwrap() {
        seen.push(text(&delivery));
        delivery.ack().wait().unwrap();
    }
    seen.join(" ")
}

fn bury_next(consumer: &Consumer) -> String {
    let delivery = consumer.try_lease().unwrap().unwrap();
    let text = text(&delivery);
    delivery.bury("broken").wait().unwrap();
    text
}

fn letters(consumer: &Consumer) -> Vec<(u64, BuryReason)> {
    consumer
        .dead_letters()
        .map(|letter| letter.unwrap())
        .map(|letter| (letter.offset().get(), letter.reason()))
        .collect()
}

#[test]
fn skip_goes_on_and_every_later_delivery_of_the_key_says_that_one_is_missing() {
    let mut bench = Bench::new();
    let (store, topic) = bench.open();
    publish(&topic, "a1 a2 b1 a3");
    let email = topic.consumer("email", Group::default().ordered(WhenParked::Skip)).unwrap();
    assert_eq!(bury_next(&email), "a1");
    let next = email.try_lease().unwrap().unwrap();
    assert_eq!((text(&next).as_str(), next.skipped()), ("a2", Some(Offset::ZERO)));
    next.release().wait().unwrap();
    drop((email, topic));
    store.close().unwrap();
    // It is known after a restart, too, and until the dead letter is gone.
    let (_store, topic) = bench.open();
    let email = topic.consumer("email", Group::default()).unwrap();
    let skipped = |expected: &str, gap: Option<Offset>| {
        let next = email.try_lease().unwrap().unwrap();
        assert_eq!((text(&next).as_str(), next.skipped()), (expected, gap));
        next.ack().wait().unwrap();
    };
    skipped("a2", Some(Offset::ZERO));
    skipped("b1", None);
    email.purge(Purge::all()).unwrap();
    skipped("a3", None);
    assert!(email.idle());
}

#[test]
fn block_holds_the_key_across_a_restart_until_the_dead_letter_is_redriven_or_purged() {
    let mut bench = Bench::new();
    let (store, topic) = bench.open();
    publish(&topic, "a1 a2 b1 a3");
    let email = topic.consumer("email", Group::default().ordered(WhenParked::Block)).unwrap();
    assert_eq!(bury_next(&email), "a1");
    assert_eq!(drain(&email), "b1");
    let stats = email.stats();
    assert_eq!((stats.ready, stats.key_blocked, stats.dead, stats.oldest_claimable), (0, 2, 1, None));
    assert!(email.idle());
    drop((email, topic));
    store.close().unwrap();
    let (_store, topic) = bench.open();
    let email = topic.consumer("email", Group::default()).unwrap();
    publish(&topic, "a4 b2");
    assert_eq!(drain(&email), "b2");
    assert_eq!(email.why(Offset::new(1)).unwrap(), Why::KeyParked { offset: Offset::ZERO });
    assert_eq!(email.why(Offset::new(3)).unwrap(), Why::BehindKey { offset: Offset::new(1) });
    assert!(email.why(Offset::new(1)).unwrap().to_string().contains("dead letter at offset 0"));
    email.redrive(Redrive::all()).unwrap();
    assert_eq!(bury_next(&email), "a1");
    assert_eq!(drain(&email), "");
    email.purge(Purge::all()).unwrap();
    assert_eq!(drain(&email), "a2 a3 a4");
    assert!(email.idle());
}

#[test]
fn a_dead_letter_that_grows_too_old_frees_the_key_it_blocked() {
    let mut bench = Bench::new();
    let (store, topic) = bench.open();
    publish(&topic, "a1 a2");
    let settings = Group::default().ordered(WhenParked::Block).keep_dead_letters(Some(WAIT));
    let email = topic.consumer("email", settings).unwrap();
    bury_next(&email);
    assert_eq!(drain(&email), "");
    bench.clock.advance(2 * WAIT);
    for _ in 0..3 {
        store.step_upkeep().unwrap();
        bench.clock.advance(WAIT);
    }
    assert_eq!((drain(&email).as_str(), email.stats().removed.aged), ("a2", 1));
}

#[test]
fn park_key_parks_the_successors_with_their_own_reason_and_redriven_they_come_in_order() {
    let mut bench = Bench::new();
    let (store, topic) = bench.open();
    publish(&topic, "a1 a2 b1 a3");
    let settings = Group::default().ordered(WhenParked::ParkKey).forward_dead_letters("parked");
    let email = topic.consumer("email", settings).unwrap();
    assert_eq!(bury_next(&email), "a1");
    assert_eq!(drain(&email), "b1");
    let along = BuryReason::KeyParked;
    assert_eq!(letters(&email), [(0, BuryReason::Asked), (1, along), (3, along)]);
    let letter = email.dead_letter(Offset::new(3)).unwrap().unwrap();
    assert!(letter.errors()[0].1.contains("at offset 0"));
    assert_eq!((letter.counters().leases, letter.counters().failures), (0, 0));
    store.sync().wait().unwrap();
    assert_eq!(store.topic("parked").unwrap().stats().messages, 3, "each has its copy");
    drop((email, topic));
    store.close().unwrap();
    // What is published later is parked as well, after a restart too.
    let (_store, topic) = bench.open();
    let email = topic.consumer("email", Group::default()).unwrap();
    publish(&topic, "a4 b2");
    assert_eq!(drain(&email), "b2");
    assert_eq!(email.stats().dead, 4);
    // Redriven without what it lies behind, it is parked again.
    email.redrive(Redrive::offsets([Offset::new(3)])).unwrap();
    assert_eq!(drain(&email), "");
    assert_eq!((email.stats().dead, email.idle()), (4, true));
    email.redrive(Redrive::all()).unwrap();
    assert_eq!(drain(&email), "a1 a2 a3 a4");
    assert!(email.idle());
}

#[test]
fn the_upkeep_parks_successors_too_and_a_retrying_one_is_no_exception() {
    let mut bench = Bench::new();
    let (store, topic) = bench.open();
    publish(&topic, "a1 a2");
    let retry = Retry::fixed(WAIT).without_jitter();
    let email = topic.consumer("email", Group::default().ordered(WhenParked::ParkKey).retry(retry)).unwrap();
    // a2 has failed before: while the group was not ordered.
    let unordered = topic.consumer("email", Group::default().unordered()).unwrap();
    let mut both = unordered.lease_many(2, Duration::ZERO).unwrap();
    let first = both.next().unwrap();
    both.next().unwrap().nack("no").wait().unwrap();
    topic.consumer("email", Group::default().ordered(WhenParked::ParkKey)).unwrap();
    assert!(email.try_lease().unwrap().is_none());
    first.bury("broken").wait().unwrap();
    store.step_upkeep().unwrap();
    assert_eq!(letters(&email), [(0, BuryReason::Asked), (1, BuryReason::KeyParked)]);
    assert!(email.idle());
}

#[test]
fn a_hundred_thousand_parked_messages_of_a_key_are_redriven_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = store.topic("orders").unwrap();
    let count = if cfg!(debug_assertions) { 5_000 } else { 100_000_u64 };
    for first in (0..count).step_by(1000) {
        topic.publish_all((first..first + 1000).map(|n| Message::new(n.to_string()).key("a"))).wait().unwrap();
    }
    let email = topic.consumer("email", Group::default().ordered(WhenParked::ParkKey)).unwrap();
    email.lease().unwrap().bury("broken").wait().unwrap();
    assert!(email.try_lease().unwrap().is_none());
    assert_eq!(email.stats().dead, count);
    assert_eq!(email.redrive(Redrive::all()).unwrap().changed, count);
    let mut expected = 0;
    while expected < count {
        let runs = email.lease_runs(500, Duration::ZERO).unwrap();
        assert_eq!(runs.len(), 1);
        for run in runs {
            for delivery in run.deliveries() {
                assert_eq!(delivery.offset(), Offset::new(expected));
                expected += 1;
            }
            run.ack().detach();
        }
    }
    assert!(email.idle());
    store.close().unwrap();
}

#[test]
fn a_group_looks_no_further_than_its_look_ahead_and_why_says_so() {
    let mut bench = Bench::new();
    let (_store, topic) = bench.open();
    let settings = Group::default().ordered(WhenParked::Block).look_ahead(10);
    let email = topic.consumer("email", settings).unwrap();
    // A dead letter holds each of these keys, and one message waits behind it.
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
    publish(&topic, &keys.map(|key| format!("{key}1")).join(" "));
    while let Some(first) = email.try_lease().unwrap() {
        first.bury("broken").wait().unwrap();
    }
    publish(&topic, &format!("{} l1", keys.map(|key| format!("{key}2")).join(" ")));
    assert_eq!(drain(&email), "");
    let stats = email.stats();
    assert_eq!((stats.ready, stats.dead, stats.key_blocked), (0, 11, 12), "l1 is among them");
    assert_eq!(email.why(Offset::new(22)).unwrap(), Why::BeyondLookAhead { from: Offset::new(21) });
    assert!(email.why(Offset::new(22)).unwrap().to_string().contains("no further than offset 21"));
    // Ten others still wait, then nine.
    email.redrive(Redrive::offsets([Offset::ZERO])).unwrap();
    assert_eq!(drain(&email), "a1 a2");
    email.redrive(Redrive::offsets([Offset::new(1)])).unwrap();
    assert_eq!(drain(&email), "b1 b2 l1");
    email.redrive(Redrive::all()).unwrap();
    assert_eq!(drain(&email), "c1 d1 e1 f1 g1 h1 i1 j1 k1 c2 d2 e2 f2 g2 h2 i2 j2 k2");
    assert!(email.idle());
}

#[test]
fn a_key_that_is_held_for_long_stops_nobody_however_many_wait_for_it() {
    for when in [WhenParked::Skip, WhenParked::Block, WhenParked::ParkKey] {
        let mut bench = Bench::new();
        let (_store, topic) = bench.open();
        let email = topic.consumer("email", Group::default().ordered(when).look_ahead(100)).unwrap();
        let line = |from: u32, to: u32| (from..to).map(|n| format!("a{n:04}")).collect::<Vec<_>>().join(" ");
        publish(&topic, &format!("{} b1 {} c1 b2", line(0, 500), line(500, 3000)));
        let first = email.try_lease().unwrap().unwrap();
        assert_eq!(drain(&email), "b1 c1 b2", "they are not kept from being found");
        let stats = email.stats();
        assert_eq!((stats.ready, stats.leased, stats.key_blocked), (0, 1, 2999));
        let next = Why::BehindKey { offset: Offset::ZERO };
        assert_eq!((email.why(Offset::new(1)).unwrap(), email.why(Offset::new(2500)).unwrap()), (next, next));
        if when == WhenParked::ParkKey {
            // They are parked with it, all of them, and come again in order.
            first.bury("broken").wait().unwrap();
            assert_eq!(drain(&email), "");
            assert_eq!((email.stats().dead, email.stats().key_blocked), (3000, 0));
            email.redrive(Redrive::all()).unwrap();
            assert_eq!(drain(&email), line(0, 3000));
        } else if when == WhenParked::Block {
            first.bury("broken").wait().unwrap();
            publish(&topic, "d1");
            assert_eq!(drain(&email), "d1");
            email.redrive(Redrive::all()).unwrap();
            assert_eq!(drain(&email), line(0, 3000));
        } else {
            first.nack("not yet").wait().unwrap();
            publish(&topic, "d1");
            assert_eq!(drain(&email), "d1");
            bench.clock.advance(Duration::from_secs(3600));
            assert_eq!(drain(&email), line(0, 3000));
        }
        assert!(email.idle());
    }
}

#[test]
fn with_so_many_retrying_nothing_new_is_leased_and_why_says_so() {
    for settings in [Group::default(), Group::default().ordered(WhenParked::Skip)] {
        let mut bench = Bench::new();
        let (_store, topic) = bench.open();
        publish(&topic, "a1 b1 c1 d1");
        let retry = Retry::fixed(WAIT).without_jitter();
        let email = topic.consumer("email", settings.max_retrying(2).retry(retry)).unwrap();
        for _ in 0..2 {
            email.lease().unwrap().nack("no").wait().unwrap();
        }
        assert!(email.try_lease().unwrap().is_none());
        assert_eq!(email.why(Offset::new(3)).unwrap(), Why::TooManyRetrying { retrying: 2 });
        assert!(email.why(Offset::new(3)).unwrap().to_string().starts_with("2 wait for a retry"));
        assert_eq!(email.stats().ready, 2);
        bench.clock.advance(WAIT);
        // What is due goes, and makes room.
        assert_eq!(drain(&email), "a1 b1 c1 d1");
    }
}
