//! Workers that are threads: every message in one hand at a time, failures and panics told, nothing lost or charged by
//! stopping.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sleeps and starts threads as handlers do"
)]

use millpond::{
    BuryReason, Consumer, Delivery, Durability, ErrorKind, Group, Handled, Message, Offset, Retry, Store, Topic,
    Worked, Workers,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    _dir: tempfile::TempDir,
    store: Store,
    orders: Topic,
    email: Consumer,
}

impl Bench {
    fn new(group: Group) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::options().durability(Durability::Os).open(dir.path()).unwrap();
        let orders = store.topic("orders").unwrap();
        let email = orders.consumer("email", group).unwrap();
        Self { _dir: dir, store, orders, email }
    }

    fn publish(&self, count: usize) {
        self.orders.publish_all((0..count).map(|number| Message::new(number.to_string()))).wait().unwrap();
    }

    /// Runs workers on a thread of its own, and stops them when `done` says so.
    fn run_until(&self, run: JoinHandle<millpond::Result<Worked>>, done: impl Fn(&Self) -> bool) -> Worked {
        wait_for(|| done(self));
        self.email.stopper().stop();
        join(run).unwrap()
    }

    fn dead(&self) -> BTreeMap<u64, (BuryReason, String)> {
        let letters = self.email.dead_letters().map(|letter| letter.unwrap());
        letters
            .map(|letter| {
                (
                    letter.offset().get(),
                    (letter.reason(), letter.errors().last().map(|(_, text)| text.clone()).unwrap_or_default()),
                )
            })
            .collect()
    }
}

fn wait_for(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "it does not come to an end");
        std::thread::sleep(MS);
    }
}

fn join<T: Send + 'static>(thread: JoinHandle<T>) -> T {
    wait_for(|| thread.is_finished());
    thread.join().unwrap()
}

fn no_retries() -> Group {
    Group::default().retry(Retry::fixed(Duration::ZERO).attempts(1))
}

fn run<R: millpond::IntoHandled + 'static>(
    bench: &Bench,
    workers: Workers,
    handler: impl Fn(&Delivery) -> R + Send + Sync + 'static,
) -> JoinHandle<millpond::Result<Worked>> {
    let email = bench.email.clone();
    std::thread::spawn(move || email.run(workers, handler))
}

#[test]
fn each_message_is_handled_once_and_acked_when_the_run_returns() {
    let bench = Bench::new(Group::default());
    bench.publish(500);
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let told = seen.clone();
    let work = run(&bench, Workers::threads(8), move |order| {
        *told.lock().unwrap().entry(order.offset()).or_insert(0) += 1;
    });
    let worked = bench.run_until(work, |bench| bench.email.idle());
    assert_eq!((worked.done, worked.failed, worked.left, worked.lost), (500, 0, 0, 0));
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 500 && seen.values().all(|times| *times == 1));
    bench.store.close().unwrap();
}

#[test]
fn what_a_handler_says_becomes_of_its_message() {
    let bench = Bench::new(no_retries());
    bench.publish(6);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let work = run(&bench, Workers::threads(3), move |order: &Delivery| -> Result<Handled, String> {
        counted.fetch_add(1, Ordering::Relaxed);
        match (order.offset().get(), order.counters().leases) {
            (0, _) => Err("no such address".to_owned()),
            (1, _) => panic!("number {}", 1),
            (2, _) => Ok(Handled::bury("not text")),
            (3, 1) => Ok(Handled::release()),
            (4, 1) => Ok(Handled::snooze(20 * MS)),
            _ => Ok(Handled::done()),
        }
    });
    let worked = bench.run_until(work, |bench| bench.email.idle());
    let dead = bench.dead();
    assert_eq!(dead[&0], (BuryReason::Failures, "no such address".to_owned()));
    assert_eq!(dead[&1], (BuryReason::Failures, "the handler panicked: number 1".to_owned()));
    assert_eq!(dead[&2], (BuryReason::Asked, "not text".to_owned()));
    assert_eq!((dead.len(), calls.load(Ordering::Relaxed)), (3, 8));
    assert_eq!((worked.done, worked.failed, worked.panicked, worked.buried, worked.released), (3, 2, 1, 1, 2));
}

#[test]
fn a_retry_waits_as_the_handler_says() {
    let bench = Bench::new(Group::default().retry(Retry::fixed(Duration::from_secs(3600))));
    bench.publish(1);
    let work = run(&bench, Workers::threads(1), |order: &Delivery| match order.attempt() {
        1 => Handled::retry_after("busy", 10 * MS),
        _ => Handled::done(),
    });
    let worked = bench.run_until(work, |bench| bench.email.idle());
    assert_eq!((worked.failed, worked.done), (1, 1));
}

#[test]
fn a_lease_goes_on_while_its_handler_works_with_one_timer_for_all() {
    const LEASE: Duration = Duration::from_secs(1);
    let bench = Bench::new(Group::default().lease(LEASE));
    bench.publish(4);
    let work = run(&bench, Workers::threads(4), |order: &Delivery| {
        std::thread::sleep(LEASE * 3);
        assert_eq!(order.counters().leases, 1);
    });
    #[cfg(target_os = "linux")]
    {
        wait_for(|| bench.email.stats().leased == 4);
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path().join("comm"));
        let names: Vec<String> = tasks.filter_map(|name| std::fs::read_to_string(name).ok()).collect();
        let of = |name: &str| names.iter().filter(|found| found.starts_with(name)).count();
        assert!(of("millpond-keeper") < of("millpond-worker"), "{names:?}");
    }
    let worked = bench.run_until(work, |bench| bench.email.idle());
    assert_eq!((worked.done, worked.lost), (4, 0));
}

#[test]
fn a_handler_that_takes_too_long_loses_its_message_and_is_ignored() {
    let bench = Bench::new(Group::default().retry(Retry::fixed(Duration::ZERO).without_jitter()));
    bench.publish(1);
    let held = Arc::new(AtomicBool::new(true));
    let holds = held.clone();
    let work = run(&bench, Workers::threads(2).timeout(200 * MS), move |order: &Delivery| {
        while order.attempt() == 1 && holds.load(Ordering::Acquire) {
            std::thread::sleep(MS);
        }
        if order.attempt() == 1 { Handled::bury("too late to say so") } else { Handled::done() }
    });
    wait_for(|| bench.email.idle());
    held.store(false, Ordering::Release);
    let worked = bench.run_until(work, |_| true);
    assert_eq!((worked.done, worked.timed_out, worked.failed, worked.buried), (1, 1, 1, 0));
    assert_eq!((bench.dead().len(), bench.email.idle()), (0, true));
}

#[test]
fn stopping_under_load_loses_nothing_and_charges_nothing() {
    for round in 0..5_u64 {
        let bench = Bench::new(Group::default());
        let (stop, orders) = (Arc::new(AtomicBool::new(false)), bench.orders.clone());
        let stopped = stop.clone();
        let publisher = std::thread::spawn(move || {
            let mut published = 0_u64;
            while !stopped.load(Ordering::Acquire) {
                orders.publish_all((0..10).map(|_| Message::new("4711"))).wait().unwrap();
                published += 10;
            }
            published
        });
        let handled = Arc::new(Mutex::new(Vec::new()));
        let told = handled.clone();
        let work = run(&bench, Workers::threads(8), move |order: &Delivery| {
            if order.offset().get().is_multiple_of(97) {
                std::thread::sleep(MS);
            }
            told.lock().unwrap().push(order.offset());
        });
        wait_for(|| handled.lock().unwrap().len() > 200);
        std::thread::sleep(Duration::from_millis(round * 7));
        bench.email.stopper().stop();
        let worked = join(work).unwrap();
        stop.store(true, Ordering::Release);
        let published = publisher.join().unwrap();

        let mut handled = std::mem::take(&mut *handled.lock().unwrap());
        assert_eq!((worked.done, worked.failed, worked.lost), (handled.len() as u64, 0, 0));
        let rest = bench.orders.consumer("email", Group::default()).unwrap();
        assert_eq!((rest.stats().leased, rest.stats().retrying), (0, 0), "everything went back at once");
        loop {
            let batch = rest.lease_many(1000, Duration::ZERO).unwrap();
            if batch.len() == 0 {
                break;
            }
            for order in batch {
                assert_eq!((order.attempt(), order.counters().failures, order.counters().timeouts), (1, 0, 0));
                handled.push(order.offset());
                order.ack().detach();
            }
        }
        handled.sort_unstable();
        assert_eq!(handled, (0..published).map(Offset::new).collect::<Vec<_>>(), "each once, none missing");
    }
}

#[test]
fn after_the_grace_a_message_goes_back_uncharged_and_the_run_returns() {
    let bench = Bench::new(Group::default());
    bench.publish(2);
    let held = Arc::new(AtomicBool::new(true));
    let holds = held.clone();
    let work = run(&bench, Workers::threads(2).grace(50 * MS), move |order: &Delivery| {
        while order.offset().get() == 0 && holds.load(Ordering::Acquire) {
            std::thread::sleep(MS);
        }
    });
    let worked = bench.run_until(work, |bench| bench.email.stats().leased == 1 && bench.email.stats().ready == 0);
    assert_eq!((worked.done, worked.left, worked.failed), (1, 1, 0));
    let again = bench.orders.consumer("email", Group::default()).unwrap().try_lease().unwrap().unwrap();
    assert_eq!((again.offset(), again.attempt(), again.counters().leases), (Offset::ZERO, 1, 2));
    held.store(false, Ordering::Release);
    again.ack().wait().unwrap();
}

#[test]
fn a_batch_is_settled_as_a_whole_or_one_by_one() {
    let bench = Bench::new(no_retries());
    bench.publish(10);
    let email = bench.email.clone();
    let work = std::thread::spawn(move || {
        email.run_batches(Workers::threads(1).batch(4), |orders: &[Delivery]| -> Result<Vec<Handled>, String> {
            match orders[0].offset().get() {
                // The last two are not spoken of: they come again.
                0 => Ok(vec![Handled::bury("first"), Handled::done()]),
                4 => Err("all four".to_owned()),
                _ => Ok(orders.iter().map(|_| Handled::done()).collect()),
            }
        })
    });
    let worked = bench.run_until(work, |bench| bench.email.idle());
    let dead: Vec<u64> = bench.dead().into_keys().collect();
    assert!(dead.starts_with(&[0]) && worked.released >= 2, "{dead:?} {worked:?}");
    assert_eq!(worked.done + worked.failed + worked.buried, 10);
    assert_eq!((dead.len() as u64, worked.buried), (worked.failed + 1, 1));
}

#[test]
fn closing_the_store_ends_the_workers() {
    let bench = Bench::new(Group::default());
    bench.publish(1);
    let (begun, begins) = mpsc::channel();
    let work = run(&bench, Workers::threads(2), move |_: &Delivery| begun.send(()).unwrap());
    begins.recv_timeout(PATIENCE).unwrap();
    bench.store.close().unwrap();
    join(work).unwrap();
}

#[test]
fn what_can_not_work_is_said() {
    let bench = Bench::new(Group::default());
    let refused = bench.email.run(Workers::threads(0), |_: &Delivery| ()).unwrap_err();
    assert_eq!(refused.code(), "bad-setting");
    let refused = bench.email.run_batches(Workers::threads(1).batch(0), |_: &[Delivery]| ()).unwrap_err();
    assert_eq!(refused.code(), "bad-setting");
    let work = run(&bench, Workers::threads(3), |_: &Delivery| ());
    bench.orders.remove_group("email").unwrap();
    let error = join(work).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "unknown-group"));
}
