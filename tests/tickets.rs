//! A ticket is waited for or awaited, kept or dropped: the order was fixed at the call, and nothing is cancelled.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{ErrorKind, Message, Offset, Receipt, Result, Store, Ticket, Topic};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest runtime there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(30)),
        }
    }
}

fn opened() -> (tempfile::TempDir, Store, Topic) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    (dir, store, orders)
}

fn payloads(topic: &Topic) -> Vec<String> {
    topic.read(..).map(|record| String::from_utf8(record.unwrap().payload().to_vec()).unwrap()).collect()
}

#[test]
fn the_order_is_that_of_the_calls_whatever_is_waited_for_first() {
    let (_dir, _store, orders) = opened();
    let mut tickets: Vec<Ticket<Receipt>> = (0..10u64).map(|number| orders.publish(number.to_string())).collect();
    tickets.reverse();
    for (place, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(ticket.wait().unwrap().offset, Offset::new(9 - place as u64));
    }
    assert_eq!(payloads(&orders), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[test]
fn a_ticket_is_a_future_that_needs_no_runtime() {
    let (_dir, store, orders) = opened();
    let email = orders.consumer("email", millpond::Group::default()).unwrap();
    let outcome: Result<u64> = block_on(async {
        let first = orders.publish("a").await?;
        let (second, third) = (orders.publish("b"), orders.publish_all(["c".into(), "d".into()]));
        let (third, second) = (third.await?, second.await?);
        assert_eq!((first.offset, second.offset, third.first), (Offset::new(0), Offset::new(1), Offset::new(2)));
        while let Some(delivery) = email.try_lease()? {
            delivery.ack().await?;
        }
        store.sync().await?;
        Ok(third.count)
    });
    assert_eq!(outcome.unwrap(), 2);
    assert!(email.idle());
}

#[test]
fn a_ticket_that_was_polled_can_still_be_waited_for_elsewhere() {
    let (_dir, _store, orders) = opened();
    for _ in 0..20 {
        let mut ticket = orders.publish("a");
        let polled = pin!(&mut ticket).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            std::thread::spawn(move || ticket.wait()).join().unwrap().unwrap();
        }
    }
    assert_eq!(orders.end_offset(), Offset::new(20));
}

#[test]
fn a_wait_that_runs_out_of_time_gives_the_ticket_back_as_good_as_before() {
    let (_dir, _store, orders) = opened();
    for number in 0..20 {
        let mut ticket = orders.publish("a");
        let receipt = loop {
            match ticket.wait_timeout(Duration::ZERO) {
                Ok(receipt) => break receipt.unwrap(),
                Err(again) => ticket = again,
            }
        };
        assert_eq!(receipt.offset, Offset::new(number));
    }
    assert!(orders.publish("b").wait_timeout(Duration::from_secs(60)).unwrap().is_ok());
}

#[test]
fn what_is_dropped_or_detached_is_published_all_the_same() {
    let (_dir, store, orders) = opened();
    orders.publish("detached").detach();
    drop(orders.publish("dropped"));
    let mut polled = orders.publish("polled once");
    drop(pin!(&mut polled).as_mut().poll(&mut Context::from_waker(Waker::noop())));
    drop(polled);
    store.sync().wait().unwrap();
    assert_eq!(payloads(&orders), ["detached", "dropped", "polled once"]);
}

#[test]
fn what_nobody_waits_for_becomes_durable_by_itself() {
    let (_dir, store, orders) = opened();
    orders.publish("a").detach();
    let began = std::time::SystemTime::UNIX_EPOCH;
    let clock = millpond::SystemClock::new();
    let start = millpond::Clock::monotonic(&clock);
    while store.stats().durable < store.stats().end {
        assert!(millpond::Clock::monotonic(&clock) - start < Duration::from_secs(20), "since {began:?}");
        std::thread::yield_now();
    }
    assert_eq!(payloads(&orders), ["a"]);
}

#[test]
fn close_resolves_the_tickets_that_are_out() {
    let (dir, store, orders) = opened();
    let tickets: Vec<_> = (0..50u64).map(|number| orders.publish(number.to_string())).collect();
    store.close().unwrap();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(payloads(&store.topic("orders").unwrap()).len(), 50);
}

#[test]
fn after_close_everything_is_closed_and_the_message_comes_back() {
    let (_dir, store, orders) = opened();
    let email = orders.consumer("email", millpond::Group::default()).unwrap();
    let clone = store.clone();
    store.close().unwrap();
    let message = Message::new("a").id("order-1").key("k").header("h", "v");
    let error = orders.publish(message.clone()).wait().unwrap_err();
    assert_eq!((error.kind(), error.into_message()), (ErrorKind::Closed, Some(message.clone())));
    let error = block_on(orders.publish_all([message.clone()])).unwrap_err();
    assert_eq!((error.kind(), error.into_messages()), (ErrorKind::Closed, Some(vec![message])));
    for error in [
        email.try_lease().map(drop).unwrap_err(),
        email.lease().map(drop).unwrap_err(),
        email.dead_letters().next().unwrap().unwrap_err(),
        email.seek(millpond::Start::Latest).unwrap_err(),
        orders.read(..).next().unwrap().map(drop).unwrap_err(),
        clone.topic("orders").map(drop).unwrap_err(),
        clone.sync().wait().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    }
    clone.close().unwrap();
}

#[test]
fn what_is_too_large_is_refused_and_handed_back_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().max_message_bytes(1000).max_frame_bytes(5000).open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let large = Message::new(vec![1; 1001]);
    let error = orders.publish(large.clone()).wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "too-large"));
    assert!(error.to_string().contains("1001") && error.to_string().contains("1000"), "{error}");
    assert_eq!(error.into_message(), Some(large));
    let many: Vec<Message> = (0..6).map(|_| Message::new(vec![2; 900])).collect();
    let error = orders.publish_all(many.clone()).wait().unwrap_err();
    assert_eq!((error.code(), error.into_messages()), ("too-large", Some(many)));
    assert_eq!(orders.publish(vec![3; 1000]).wait().unwrap().offset, Offset::ZERO);
}
