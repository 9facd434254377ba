//! The breaker of a group: it opens when everything fails, burns no attempts while it is open, and finds its way back.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use millpond::testing::SimDisk;
use millpond::{
    Breaker, BreakerState, Consumer, Delivery, Group, ManualClock, Message, Notice, Offset, Retry, Store, Timestamp,
    Topic, What, Why,
};
use std::time::{Duration, Instant};

const START: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Timestamp {
    Timestamp::new(START + seconds * 1000)
}

fn settings() -> Group {
    Group::default()
        .lease(60 * SECOND)
        .retry(Retry::fixed(SECOND / 1000).without_jitter().attempts(5))
        .breaker(Breaker::after(3).pause(10 * SECOND, 25 * SECOND))
}

fn open(disk: &SimDisk, clock: &ManualClock) -> (Store, Topic, Consumer) {
    let options = Store::options().segment_bytes(256 << 10).first_segment_bytes(256 << 10);
    let store = Store::open_simulated(disk, clock.clone(), 1, options).unwrap();
    let topic = store.topic("orders").unwrap();
    let email = topic.consumer("email", settings()).unwrap();
    (store, topic, email)
}

fn start() -> (SimDisk, ManualClock, Store, Topic, Consumer) {
    let (disk, clock) = (SimDisk::new(3), ManualClock::starting_at(Timestamp::new(START)));
    let (store, topic, email) = open(&disk, &clock);
    topic.publish_all((0..20).map(|number| Message::new(number.to_string()))).wait().unwrap();
    (disk, clock, store, topic, email)
}

fn lease(group: &Consumer, max: usize) -> Vec<Delivery> {
    group.lease_many(max, Duration::ZERO).unwrap().collect()
}

fn nack(delivery: Delivery) {
    delivery.nack("down").wait().unwrap();
}

/// Fails the next messages one by one until the breaker is open.
fn trip(email: &Consumer) {
    lease(email, 3).into_iter().for_each(nack);
    assert!(matches!(email.stats().breaker, BreakerState::Open { .. }));
}

#[test]
fn it_opens_when_distinct_messages_fail_in_a_row_and_a_success_between_starts_anew() {
    let (_disk, _clock, store, _topic, email) = start();
    let events = store.events(100).unwrap();
    let mut held = lease(&email, 6);
    nack(held.remove(0));
    nack(held.remove(0));
    held.remove(0).ack().wait().unwrap();
    nack(held.remove(0));
    // Given back or buried: that says nothing about the others.
    held.remove(0).release().wait().unwrap();
    held.remove(0).bury("not this one").wait().unwrap();
    let mut held = lease(&email, 2);
    nack(held.remove(1));
    assert_eq!(email.stats().breaker, BreakerState::Closed);
    nack(held.remove(0));
    assert_eq!(email.stats().breaker, BreakerState::Open { until: at(10) });
    assert!(email.try_lease().unwrap().is_none());
    assert_eq!(email.why(Offset::new(9)).unwrap(), Why::BreakerOpen { until: at(10) });
    assert!(email.why(Offset::new(9)).unwrap().to_string().contains("breaker is open until"));
    let told: Vec<What> = std::iter::from_fn(|| events.try_next())
        .filter_map(|notice| match notice {
            Notice::Happened(happening) => Some(happening.what),
            _ => None,
        })
        .collect();
    assert!(told.contains(&What::BreakerOpened { until: at(10) }), "{told:?}");
}

#[test]
fn one_message_that_fails_again_and_again_does_not_open_it() {
    let (_disk, clock, _store, _topic, email) = start();
    let rest: Vec<Delivery> = lease(&email, 20).into_iter().collect();
    let mut rest = rest.into_iter();
    nack(rest.next().unwrap());
    for _ in 0..3 {
        clock.advance(SECOND);
        let again = email.try_lease().unwrap().unwrap();
        assert_eq!(again.offset(), Offset::ZERO);
        nack(again);
    }
    assert_eq!(email.stats().breaker, BreakerState::Closed);
    drop(rest);
}

#[test]
fn failures_that_open_it_and_those_of_what_was_out_and_of_probes_burn_no_attempts() {
    let (_disk, clock, _store, _topic, email) = start();
    let out = lease(&email, 6);
    out.into_iter().for_each(nack);
    // Two before it opened are charged; the one that opened it and three that were out are not.
    for probe in 0..30 {
        clock.advance(25 * SECOND);
        let probe_out = lease(&email, 5);
        assert_eq!(probe_out.len(), 1, "probe {probe}");
        assert!(email.try_lease().unwrap().is_none());
        assert_eq!(email.stats().breaker, BreakerState::HalfOpen);
        assert_eq!(email.why(Offset::new(9)).unwrap(), Why::BehindProbe);
        probe_out.into_iter().for_each(nack);
    }
    clock.advance(25 * SECOND);
    let probe = email.try_lease().unwrap().unwrap();
    assert!(probe.counters().failures <= 1);
    probe.ack().wait().unwrap();
    assert_eq!(email.stats().breaker, BreakerState::Closed);
    let all = lease(&email, 20);
    assert_eq!(all.len(), 19, "nothing was parked");
    let charged: u32 = all.iter().map(|delivery| delivery.counters().failures).sum();
    // One of the two that were charged may have been the probe that was acked.
    assert!((1..=2).contains(&charged), "{charged}");
    assert!(all.iter().all(|delivery| delivery.counters().failures <= 1));
}

#[test]
fn the_error_of_a_spared_failure_is_kept() {
    let (_disk, clock, _store, _topic, email) = start();
    lease(&email, 3).into_iter().for_each(|delivery| delivery.nack("the mail server is down").wait().unwrap());
    clock.advance(10 * SECOND);
    lease(&email, 1).remove(0).ack().wait().unwrap();
    let spared: Vec<Delivery> = lease(&email, 3).into_iter().filter(|next| next.counters().failures == 0).collect();
    let spared = spared.into_iter().find(|next| next.offset() == Offset::new(2)).unwrap();
    assert_eq!(spared.attempt(), 1);
    spared.bury("no").wait().unwrap();
    let letter = email.dead_letter(Offset::new(2)).unwrap().unwrap();
    let errors: Vec<String> = letter.errors().iter().map(|error| error.1.clone()).collect();
    assert_eq!(errors, ["the mail server is down", "no"]);
}

#[test]
fn each_probe_that_fails_makes_the_next_pause_longer_up_to_the_longest() {
    let (_disk, clock, _store, _topic, email) = start();
    trip(&email);
    let mut now = 0;
    for pause in [10, 20, 25, 25] {
        now += pause;
        assert_eq!(email.stats().breaker, BreakerState::Open { until: at(now) });
        clock.advance(Duration::from_secs(pause) - SECOND / 1000);
        assert!(email.try_lease().unwrap().is_none());
        clock.advance(SECOND / 1000);
        nack(lease(&email, 5).remove(0));
    }
    // After a success the first pause is short again.
    clock.advance(25 * SECOND);
    lease(&email, 1).remove(0).ack().wait().unwrap();
    trip(&email);
    assert_eq!(email.stats().breaker, BreakerState::Open { until: at(now + 25 + 10) });
}

#[test]
fn a_probe_that_is_given_back_or_runs_out_decides_what_it_should() {
    let (_disk, clock, _store, _topic, email) = start();
    trip(&email);
    clock.advance(10 * SECOND);
    // Given back: another one is tried at once.
    let probe = lease(&email, 5).remove(0);
    probe.release().wait().unwrap();
    assert_eq!(email.stats().breaker, BreakerState::HalfOpen);
    let probe = lease(&email, 5);
    assert_eq!(probe.len(), 1);
    // Its lease runs out: that is a failure, and not charged as a timeout.
    let offset = probe[0].offset();
    clock.advance(60 * SECOND);
    assert!(email.try_lease().unwrap().is_none());
    assert_eq!(email.stats().breaker, BreakerState::Open { until: at(90) });
    // An ack that comes late settles its message, and closes nothing.
    probe.into_iter().for_each(|late| late.ack().wait().unwrap());
    assert_eq!(email.why(offset).unwrap(), Why::Settled);
    assert!(email.try_lease().unwrap().is_none());
    clock.advance(20 * SECOND);
    assert!(lease(&email, 5).iter().all(|next| next.counters().timeouts == 0));
}

#[test]
fn leases_that_run_out_open_it_as_well() {
    let (_disk, clock, _store, _topic, email) = start();
    let forgotten = lease(&email, 4);
    forgotten.into_iter().for_each(std::mem::forget);
    clock.advance(60 * SECOND);
    assert!(email.try_lease().unwrap().is_none());
    assert_eq!(email.stats().breaker, BreakerState::Open { until: at(70) });
    clock.advance(10 * SECOND);
    lease(&email, 1).remove(0).ack().wait().unwrap();
    let timeouts: u32 = lease(&email, 20).iter().map(|delivery| delivery.counters().timeouts).sum();
    assert!((1..=2).contains(&timeouts), "{timeouts}");
}

#[test]
fn it_is_closed_when_the_store_is_opened_and_can_be_taken_away() {
    let (disk, clock, store, topic, email) = start();
    trip(&email);
    store.close().unwrap();
    drop((email, topic));
    let (_store, topic, email) = open(&disk, &clock);
    assert_eq!(email.stats().breaker, BreakerState::Closed);
    let held = lease(&email, 5);
    assert_eq!(held.len(), 5);
    held.into_iter().for_each(nack);
    assert!(email.try_lease().unwrap().is_none());
    topic.consumer("email", Group::default().breaker(Breaker::off())).unwrap();
    assert_eq!(email.stats().breaker, BreakerState::Closed);
    assert!(email.try_lease().unwrap().is_some());
}

#[test]
fn consumers_that_wait_get_the_probe_and_go_on_when_it_is_acked() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = store.topic("orders").unwrap();
    let pause = Duration::from_millis(200);
    let settings = Group::default().breaker(Breaker::after(2).pause(pause, pause));
    let email = topic.consumer("email", settings).unwrap();
    topic.publish_all((0..6).map(|number| Message::new(number.to_string()))).wait().unwrap();
    let since = Instant::now();
    let patience = Duration::from_secs(30);
    email.lease_many(2, Duration::ZERO).unwrap().for_each(nack);
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let email = email.clone();
            std::thread::spawn(move || {
                let next = email.lease_timeout(patience).unwrap().unwrap();
                let waited = Instant::now();
                next.ack().wait().unwrap();
                waited
            })
        })
        .collect();
    for worker in workers {
        let waited = worker.join().unwrap().duration_since(since);
        assert!(waited >= pause && waited < Duration::from_secs(15), "{waited:?}");
    }
    assert_eq!(email.stats().breaker, BreakerState::Closed);
}
