//! Workers that are tasks: as many at once as was said, cut off where they wait, nothing lost or charged by dropping.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and starts threads")]

use millpond::{Consumer, Delivery, Durability, Group, Handled, Message, Offset, Retry, Store, Topic, Worked, Workers};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

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

    async fn publish(&self, count: usize) {
        self.orders.publish_all((0..count).map(|number| Message::new(number.to_string()))).await.unwrap();
    }

    fn run<F, R>(
        &self,
        workers: Workers,
        handler: impl Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
    ) -> JoinHandle<millpond::Result<Worked>>
    where
        F: Future<Output = R> + Send + 'static,
        R: millpond::IntoHandled + 'static,
    {
        let email = self.email.clone();
        tokio::spawn(async move { email.run_async(workers, handler).await })
    }

    async fn stop(&self, run: JoinHandle<millpond::Result<Worked>>) -> Worked {
        self.email.stopper().stop();
        timeout(PATIENCE, run).await.unwrap().unwrap().unwrap()
    }

    fn errors(&self) -> BTreeMap<u64, String> {
        let letters = self.email.dead_letters().map(|letter| letter.unwrap());
        letters.map(|letter| (letter.offset().get(), letter.errors().last().unwrap().1.clone())).collect()
    }
}

async fn wait_for(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "it does not come to an end");
        sleep(MS).await;
    }
}

/// Says when it is dropped.
struct Told(Arc<AtomicUsize>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[tokio::test]
async fn as_many_at_once_as_was_said_and_no_more_are_leased() {
    let bench = Bench::new(Group::default());
    bench.publish(200).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (here, highest) = (now.clone(), most.clone());
    let run = bench.run(Workers::tasks(7), move |_| {
        let (here, highest) = (here.clone(), highest.clone());
        async move {
            highest.fetch_max(here.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
            sleep(MS).await;
            here.fetch_sub(1, Ordering::AcqRel);
        }
    });
    wait_for(|| bench.email.idle()).await;
    let worked = bench.stop(run).await;
    assert_eq!((worked.done, worked.lost, most.load(Ordering::Acquire)), (200, 0, 7));
    bench.store.close().unwrap();
}

#[tokio::test]
async fn what_a_task_says_becomes_of_its_message() {
    let bench = Bench::new(Group::default().retry(Retry::fixed(Duration::ZERO).attempts(1)));
    bench.publish(4).await;
    let run = bench.run(Workers::tasks(4), |order| async move {
        match order.offset().get() {
            0 => Err("no such address"),
            1 => panic!("on purpose"),
            2 => Ok(Handled::bury("not text")),
            _ => Ok(Handled::done()),
        }
    });
    wait_for(|| bench.email.idle()).await;
    let worked = bench.stop(run).await;
    let errors = bench.errors();
    assert_eq!([&*errors[&0], &*errors[&1]], ["no such address", "the handler panicked: on purpose"]);
    assert_eq!((worked.done, worked.failed, worked.panicked, worked.buried), (1, 2, 1, 1));
    assert_eq!(errors[&2], "not text");
}

#[tokio::test]
async fn a_task_that_takes_too_long_is_dropped_before_its_message_is_tried_again() {
    let bench = Bench::new(Group::default().retry(Retry::fixed(Duration::ZERO).without_jitter()));
    bench.publish(1).await;
    let dropped = Arc::new(AtomicUsize::new(0));
    let told = dropped.clone();
    let run = bench.run(Workers::tasks(2).timeout(50 * MS), move |order| {
        let told = Told(told.clone());
        async move {
            match order.attempt() {
                1 => sleep(PATIENCE).await,
                _ => assert_eq!(told.0.load(Ordering::Acquire), 1),
            }
        }
    });
    wait_for(|| bench.email.idle()).await;
    let worked = bench.stop(run).await;
    assert_eq!((worked.timed_out, worked.failed, worked.done, worked.panicked), (1, 1, 1, 0));
    assert_eq!(dropped.load(Ordering::Acquire), 2);
}

#[tokio::test]
async fn a_lease_goes_on_while_its_task_waits_and_a_lost_one_drops_it() {
    const LEASE: Duration = Duration::from_secs(1);
    let bench = Bench::new(Group::default().lease(LEASE).max_lease_age(LEASE * 5 / 2));
    bench.publish(1).await;
    let (begun, dropped) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let told = dropped.clone();
    let run = bench.run(Workers::tasks(1), move |_| {
        let told = Told(told.clone());
        async move {
            sleep(PATIENCE).await;
            drop(told);
        }
    });
    wait_for(|| dropped.load(Ordering::Acquire) == 1).await;
    assert!(begun.elapsed() > LEASE * 2, "it was held as long as it may be");
    // Its lease ran out: that is no failure, and the run goes on.
    bench.email.stopper().stop();
    run.abort();
    let _ = run.await;
    let letters: Vec<u64> = bench.errors().into_keys().collect();
    assert_eq!(letters, [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_under_load_loses_nothing_and_charges_nothing() {
    for round in 0..5 {
        let bench = Bench::new(Group::default());
        let (stop, orders) = (Arc::new(AtomicBool::new(false)), bench.orders.clone());
        let stopped = stop.clone();
        let publisher = tokio::spawn(async move {
            let mut published = 0_u64;
            while !stopped.load(Ordering::Acquire) {
                orders.publish_all((0..10).map(|_| Message::new("4711"))).await.unwrap();
                published += 10;
            }
            published
        });
        let handled = Arc::new(Mutex::new(Vec::new()));
        let told = handled.clone();
        let run = bench.run(Workers::tasks(8), move |order| {
            let told = told.clone();
            async move {
                tokio::task::yield_now().await;
                told.lock().unwrap().push(order.offset());
            }
        });
        wait_for(|| handled.lock().unwrap().len() > 200).await;
        // Stopped, or dropped where it stands: then what is acked is known by what does not come again.
        let drops = round % 2 == 1;
        let worked = if drops {
            run.abort();
            assert!(run.await.unwrap_err().is_cancelled());
            None
        } else {
            Some(bench.stop(run).await)
        };
        stop.store(true, Ordering::Release);
        let published = publisher.await.unwrap();
        let rest = bench.orders.consumer("email", Group::default()).unwrap();
        wait_for(|| rest.stats().leased == 0).await;
        let mut handled = std::mem::take(&mut *handled.lock().unwrap());
        if let Some(worked) = worked {
            assert_eq!((worked.done, worked.failed, worked.lost), (handled.len() as u64, 0, 0));
        }
        loop {
            let batch = rest.next_many(1000, Duration::ZERO).await.unwrap();
            if batch.len() == 0 {
                break;
            }
            for order in batch {
                assert_eq!((order.attempt(), order.counters().failures, order.counters().timeouts), (1, 0, 0));
                handled.push(order.offset());
                order.ack().await.unwrap();
            }
        }
        handled.sort_unstable();
        if drops {
            handled.dedup();
        }
        assert_eq!(handled, (0..published).map(Offset::new).collect::<Vec<_>>(), "none missing");
    }
}

#[tokio::test]
async fn after_the_grace_tasks_are_dropped_and_their_messages_go_back_uncharged() {
    let bench = Bench::new(Group::default());
    bench.publish(2).await;
    let run = bench.run(Workers::tasks(2).grace(50 * MS), |order| async move {
        if order.offset() == Offset::ZERO {
            sleep(PATIENCE).await;
        }
    });
    wait_for(|| bench.email.stats().leased == 1 && bench.email.stats().ready == 0).await;
    let worked = bench.stop(run).await;
    assert_eq!((worked.done, worked.left, worked.failed), (1, 1, 0));
    let again = bench.orders.consumer("email", Group::default()).unwrap().next().await.unwrap();
    assert_eq!((again.offset(), again.attempt(), again.counters().leases), (Offset::ZERO, 1, 2));
    again.ack().await.unwrap();
}

#[tokio::test]
async fn batches_are_handled_as_one() {
    let bench = Bench::new(Group::default());
    bench.publish(1000).await;
    let email = bench.email.clone();
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let told = sizes.clone();
    let run = tokio::spawn(async move {
        let workers = Workers::tasks(2).batch(300);
        email
            .run_batches_async(workers, move |orders| {
                let told = told.clone();
                async move { told.lock().unwrap().push(orders.len()) }
            })
            .await
    });
    wait_for(|| bench.email.idle()).await;
    let worked = bench.stop(run).await;
    let sizes = sizes.lock().unwrap();
    assert_eq!((worked.done, sizes.iter().sum::<usize>()), (1000, 1000));
    assert!(sizes.iter().all(|size| *size <= 300) && sizes.len() <= 10, "{sizes:?}");
}

#[test]
fn a_runtime_without_timers_and_io_is_enough_and_its_end_charges_nothing() {
    let bench = Bench::new(Group::default());
    bench.orders.publish("4711").wait().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let email = bench.email.clone();
    let (begun, begins) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        email
            .run_async(Workers::tasks(1), move |_| {
                begun.send(()).unwrap();
                std::future::pending::<()>()
            })
            .await
    });
    begins.recv_timeout(PATIENCE).unwrap();
    runtime.shutdown_timeout(PATIENCE);
    let begin = Instant::now();
    while bench.email.stats().leased > 0 {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(MS);
    }
    let again = bench.email.try_lease().unwrap().unwrap();
    assert_eq!((again.attempt(), again.counters().leases), (1, 2));
    again.ack().wait().unwrap();
}
