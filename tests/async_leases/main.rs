//! Awaited leases: on any runtime, without I/O or waiting where they are polled, nothing lost when they are dropped.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and starts threads"
)]

#[path = "../support/mod.rs"]
mod support;

mod no_disk;
mod no_waiting;
mod runs;
mod suspects;

use millpond::testing::{Faults, SimDisk};
use millpond::{
    Consumer, Delivery, Durability, ErrorKind, Group, ManualClock, Message, Result, Retry, Store, Timestamp, Topic,
};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use support::{Woken, block_on};

const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    disk: SimDisk,
    clock: ManualClock,
    store: Store,
    orders: Topic,
    email: Consumer,
}

fn open(disk: &SimDisk, clock: &ManualClock) -> (Store, Topic, Consumer) {
    let options = Store::options().first_segment_bytes(1 << 20).segment_bytes(1 << 20).durability(Durability::Os);
    let store = Store::open_simulated(disk, clock.clone(), 1, options).unwrap();
    let orders = store.topic("orders").unwrap();
    let group = Group::default().retry(Retry::fixed(SECOND).without_jitter());
    let email = orders.consumer("email", group).unwrap();
    (store, orders, email)
}

impl Bench {
    /// A store without threads: nothing happens but by the steps.
    fn new() -> Self {
        let (disk, clock) = (SimDisk::new(1), ManualClock::starting_at(Timestamp::new(1_700_000_000_000)));
        let (store, orders, email) = open(&disk, &clock);
        Self { disk, clock, store, orders, email }
    }

    /// Everything is read from the disk from now on.
    fn reopened(self) -> Self {
        let Self { disk, clock, store, .. } = self;
        store.close().unwrap();
        let (store, orders, email) = open(&disk, &clock);
        Self { disk, clock, store, orders, email }
    }

    fn publish(&self, payload: &'static str) {
        self.orders.publish(payload).wait().unwrap();
    }

    fn serve(&self) {
        while self.store.step_leases() {}
    }
}

fn poll<T, F: Future<Output = T> + Unpin>(future: &mut F, waker: &Waker) -> Poll<T> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn payload(outcome: Poll<Result<Delivery>>) -> Vec<u8> {
    let Poll::Ready(delivery) = outcome else { panic!("it is not there") };
    let delivery = delivery.unwrap();
    let payload = delivery.payload().to_vec();
    delivery.ack().wait().unwrap();
    payload
}

#[test]
fn an_awaited_lease_needs_no_thread_and_no_runtime() {
    let bench = Bench::new();
    let (woken, waker) = Woken::new();
    let mut next = bench.email.next();
    assert!(poll(&mut next, &waker).is_pending());
    bench.serve();
    assert!(poll(&mut next, &waker).is_pending());
    bench.publish("4711");
    assert_eq!(woken.times(), 0, "whoever makes it visible does not read it");
    bench.serve();
    assert_eq!(woken.times(), 1);
    assert_eq!(payload(poll(&mut next, &waker)), b"4711");
    assert!(bench.email.idle());
}

#[test]
fn on_an_ordinary_store_a_thread_serves_and_the_executor_sleeps() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    let worker = std::thread::spawn(move || {
        block_on(async {
            let mut seen = Vec::new();
            while seen.len() < 100 {
                let order = email.next().await?;
                seen.push(String::from_utf8(order.payload().to_vec()).unwrap());
                order.ack().await?;
            }
            Ok::<_, millpond::Error>(seen)
        })
    });
    for number in 0..100 {
        orders.publish(Message::new(number.to_string())).wait().unwrap();
    }
    let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(worker.join().unwrap().unwrap(), expected);
    store.close().unwrap();
}

#[test]
fn only_those_are_woken_who_get_something_and_in_the_order_in_which_they_came() {
    let bench = Bench::new();
    let mut waiting: Vec<_> = (0..100).map(|_| (bench.email.next(), Woken::new())).collect();
    for (next, (_, waker)) in &mut waiting {
        assert!(poll(next, waker).is_pending());
    }
    bench.serve();
    ["a", "b", "c"].iter().for_each(|payload| bench.publish(payload));
    bench.serve();
    let woken: Vec<usize> = waiting.iter().map(|(_, (woken, _))| woken.times()).collect();
    assert_eq!(woken.iter().sum::<usize>(), 3);
    assert_eq!(woken[..3], [1, 1, 1]);
    let got: Vec<_> = waiting.iter_mut().take(3).map(|(next, (_, waker))| payload(poll(next, waker))).collect();
    assert_eq!(got, [b"a", b"b", b"c"]);
    bench.publish("d");
    bench.serve();
    assert_eq!(payload(poll(&mut waiting[3].0, Waker::noop())), b"d");
}

#[test]
fn nothing_is_done_while_there_is_nothing() {
    let bench = Bench::new();
    let (woken, waker) = Woken::new();
    let mut next = bench.email.next();
    assert!(poll(&mut next, &waker).is_pending());
    assert!(bench.store.step_leases(), "it is looked at once");
    bench.clock.advance(100 * SECOND);
    assert!(!bench.store.step_leases(), "and then no more");
    assert_eq!(woken.times(), 0);
}

#[test]
fn a_due_message_and_the_end_of_patience_wake_by_the_stores_clock() {
    let bench = Bench::new();
    let (woken, waker) = Woken::new();
    bench.orders.publish(Message::new("later").delay(10 * SECOND)).wait().unwrap();
    let mut next = bench.email.next();
    let mut patient = bench.email.next_timeout(5 * SECOND);
    let mut at_once = bench.email.next_timeout(Duration::ZERO);
    assert!(poll(&mut next, &waker).is_pending() && poll(&mut patient, &waker).is_pending());
    assert!(poll(&mut at_once, &waker).is_pending(), "also to look once is not done in a poll");
    bench.serve();
    assert!(matches!(poll(&mut at_once, &waker), Poll::Ready(Ok(None))));
    bench.clock.advance(5 * SECOND);
    bench.serve();
    assert!(matches!(poll(&mut patient, &waker), Poll::Ready(Ok(None))));
    assert!(poll(&mut next, &waker).is_pending());
    bench.clock.advance(5 * SECOND);
    bench.serve();
    assert_eq!((payload(poll(&mut next, &waker)), woken.times()), (b"later".to_vec(), 3));
}

#[test]
fn a_message_that_failed_comes_to_an_awaited_lease_when_it_is_due() {
    let bench = Bench::new();
    bench.publish("a");
    bench.email.try_lease().unwrap().unwrap().nack("no").wait().unwrap();
    let mut next = bench.email.next();
    assert!(poll(&mut next, Waker::noop()).is_pending());
    bench.serve();
    assert!(poll(&mut next, Waker::noop()).is_pending());
    bench.clock.advance(SECOND);
    bench.serve();
    assert_eq!(payload(poll(&mut next, Waker::noop())), b"a");
}

#[test]
fn what_was_held_up_comes_to_an_awaited_lease_when_the_way_is_free() {
    let bench = Bench::new();
    let email = bench.orders.consumer("email", Group::default().max_in_flight(1)).unwrap();
    ["a", "b", "c"].iter().for_each(|payload| bench.publish(payload));
    let first = email.try_lease().unwrap().unwrap();
    let mut next = email.next();
    assert!(poll(&mut next, Waker::noop()).is_pending());
    bench.serve();
    assert!(poll(&mut next, Waker::noop()).is_pending(), "one is in flight");
    first.ack().wait().unwrap();
    bench.serve();
    assert_eq!(payload(poll(&mut next, Waker::noop())), b"b");
    email.pause().unwrap();
    let mut next = email.next();
    assert!(poll(&mut next, Waker::noop()).is_pending());
    bench.serve();
    assert!(poll(&mut next, Waker::noop()).is_pending(), "it is paused");
    email.resume().unwrap();
    bench.serve();
    assert_eq!(payload(poll(&mut next, Waker::noop())), b"c");
}

#[test]
fn a_batch_takes_what_is_there_and_what_is_not_taken_out_of_it_goes_back() {
    let bench = Bench::new();
    ["a", "b", "c"].iter().for_each(|payload| bench.publish(payload));
    let mut batch = bench.email.next_many(10, SECOND);
    assert!(poll(&mut batch, Waker::noop()).is_pending());
    bench.serve();
    let Poll::Ready(Ok(mut batch)) = poll(&mut batch, Waker::noop()) else { panic!("no batch") };
    assert_eq!(batch.len(), 3);
    batch.next().unwrap().ack().wait().unwrap();
    drop(batch);
    assert_eq!((bench.email.stats().ready, bench.email.stats().leased), (2, 0));
    let Poll::Ready(Ok(none)) = poll(&mut bench.email.next_many(0, SECOND), Waker::noop()) else { panic!("waits") };
    assert_eq!(none.len(), 0);
}

/// Everything that can lie between two polls, in this order.
const STEPS: [fn(&Bench); 4] = [
    |bench| bench.serve(),
    |bench| bench.orders.publish("4711").detach(),
    |bench| assert!(bench.store.step_commit().unwrap()),
    |bench| bench.serve(),
];

/// Polls a future before each step, or only before the first; drops it, and what it gave, before step `dropped`.
/// Whether it had given something.
fn drive(bench: &Bench, each_time: bool, dropped: usize) -> bool {
    let mut next = Some(bench.email.next());
    let mut fetched = false;
    for number in 0..=STEPS.len() {
        if number == dropped {
            next = None;
        }
        if let Some(future) = next.as_mut().filter(|_| each_time || number == 0)
            && let Poll::Ready(delivery) = poll(future, Waker::noop())
        {
            delivery.unwrap().release().wait().unwrap();
            (next, fetched) = (None, true);
        }
        if let Some(step) = STEPS.get(number) {
            step(bench);
        }
    }
    fetched
}

#[test]
fn dropped_at_any_poll_it_loses_nothing_and_charges_nothing() {
    let mut given = 0;
    for (each_time, dropped) in [true, false].into_iter().flat_map(|each| (0..7).map(move |step| (each, step))) {
        let bench = Bench::new();
        let fetched = drive(&bench, each_time, dropped);
        given += u32::from(fetched);
        let again = bench.email.try_lease().unwrap().unwrap();
        assert_eq!(again.payload(), b"4711");
        let counters = again.counters();
        assert_eq!((counters.failures, counters.timeouts, again.attempt()), (0, 0, 1), "{dropped}");
        // Handed out before at most once, and released.
        assert!(counters.leases <= 2 && (counters.leases == 2 || !fetched), "{each_time} {dropped}: {counters:?}");
        again.ack().wait().unwrap();
        assert!(bench.email.idle());
    }
    assert_eq!(given, 2, "only where it was polled to the end");
}

#[test]
fn fetched_when_its_lease_is_over_it_waits_again_instead_of_giving_what_is_settled() {
    let bench = Bench::new();
    let mut next = bench.email.next();
    assert!(poll(&mut next, Waker::noop()).is_pending());
    bench.publish("a");
    bench.serve();
    bench.clock.advance(31 * SECOND);
    while bench.store.step_upkeep().unwrap() {}
    bench.clock.advance(2 * SECOND);
    bench.email.try_lease().unwrap().unwrap().ack().wait().unwrap();
    assert!(poll(&mut next, Waker::noop()).is_pending());
    bench.publish("b");
    bench.serve();
    assert_eq!(payload(poll(&mut next, Waker::noop())), b"b");
}

#[test]
fn what_was_meant_for_a_dropped_one_goes_to_the_next_in_line() {
    let bench = Bench::new();
    let (woken, waker) = Woken::new();
    let (mut first, mut second) = (bench.email.next(), bench.email.next());
    assert!(poll(&mut first, Waker::noop()).is_pending() && poll(&mut second, &waker).is_pending());
    bench.publish("a");
    bench.serve();
    assert_eq!(woken.times(), 0);
    drop(first);
    bench.serve();
    assert_eq!((woken.times(), payload(poll(&mut second, &waker))), (1, b"a".to_vec()));
}

#[test]
fn thousands_of_futures_dropped_at_any_moment_lose_and_charge_nothing() {
    const MESSAGES: usize = 2000;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().durability(Durability::Os).open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let publisher = {
        let orders = orders.clone();
        std::thread::spawn(move || {
            (0..MESSAGES).for_each(|number| orders.publish(Message::new(number.to_string())).detach());
        })
    };
    let workers: Vec<_> = (0..3)
        .map(|seed| {
            let (email, done) = (email.clone(), done.clone());
            std::thread::spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut acked = 0;
                while !(done.load(Ordering::Acquire) && email.idle()) {
                    let mut next = email.next();
                    for _ in 0..rng.usize(1..4) {
                        if let Poll::Ready(delivery) = poll(&mut next, Waker::noop()) {
                            let delivery = delivery.unwrap();
                            assert_eq!(delivery.attempt(), 1);
                            delivery.ack().wait().unwrap();
                            acked += 1;
                            break;
                        }
                        (0..rng.usize(0..2000)).for_each(|_| std::hint::spin_loop());
                    }
                }
                acked
            })
        })
        .collect();
    publisher.join().unwrap();
    store.sync().wait().unwrap();
    done.store(true, Ordering::Release);
    let acked: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert_eq!(acked, MESSAGES);
    store.close().unwrap();
}

#[test]
fn stopping_and_closing_end_the_waiting() {
    let bench = Bench::new();
    let other = bench.orders.consumer("email", Group::default()).unwrap();
    let ((woken, waker), (other_woken, other_waker)) = (Woken::new(), Woken::new());
    let (mut next, mut others) = (bench.email.next(), other.next());
    let mut ended = pin!(other.ended());
    assert!(poll(&mut next, &waker).is_pending() && poll(&mut others, &other_waker).is_pending());
    assert!(ended.as_mut().poll(&mut Context::from_waker(&other_waker)).is_pending());
    bench.email.stopper().stop();
    assert_eq!((woken.times(), other_woken.times()), (1, 0));
    let Poll::Ready(Err(error)) = poll(&mut next, &waker) else { panic!("it waits on") };
    assert_eq!((error.kind(), error.code()), (ErrorKind::Closed, "stopped"));
    assert!(matches!(poll(&mut bench.email.next(), &waker), Poll::Ready(Err(_))));
    bench.store.close().unwrap();
    assert_eq!(other_woken.times(), 2);
    let Poll::Ready(Err(error)) = poll(&mut others, &waker) else { panic!("it waits on") };
    assert_eq!((error.kind(), error.code()), (ErrorKind::Closed, "closed"));
    let Poll::Ready(why) = ended.as_mut().poll(&mut Context::from_waker(&waker)) else { panic!("it waits on") };
    assert_eq!(why.code(), "closed");
}

#[test]
fn a_dropped_group_and_a_poisoned_store_end_the_waiting() {
    let bench = Bench::new();
    let audit = bench.orders.consumer("audit", Group::default()).unwrap();
    let (mut next, mut audits) = (bench.email.next(), audit.next());
    assert!(poll(&mut next, Waker::noop()).is_pending() && poll(&mut audits, Waker::noop()).is_pending());
    bench.serve();
    assert!(bench.orders.remove_group("audit").unwrap());
    bench.serve();
    let Poll::Ready(Err(error)) = poll(&mut audits, Waker::noop()) else { panic!("it waits on") };
    assert_eq!(error.code(), "unknown-group");
    bench.disk.set_faults(Faults { fail_after: Some(0), ..Faults::default() });
    bench.orders.publish("lost").wait().unwrap_err();
    let Poll::Ready(Err(error)) = poll(&mut next, Waker::noop()) else { panic!("it waits on") };
    assert_eq!(error.kind(), ErrorKind::Poisoned);
}
