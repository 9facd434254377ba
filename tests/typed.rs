//! Typed topics: what is published is read, old versions become new ones, and what is neither ends among the dead
//! letters and holds nobody up.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and starts a thread"
)]

use millpond::{
    BuryReason, Codec, Consumer, Delivery, ErrorKind, Group, Message, Offset, Retry, SCHEMA_HEADER, Store, Topic,
    Workers,
};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    number: u64,
    lines: Vec<(String, u32)>,
    express: bool,
}

#[derive(Serialize, Deserialize)]
struct OrderV1 {
    number: u32,
}

fn order(number: u64) -> Order {
    Order { number, lines: vec![("flour".into(), 3), ("".into(), u32::MAX)], express: number.is_multiple_of(2) }
}

struct Bench {
    _dir: tempfile::TempDir,
    store: Store,
    orders: Topic,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let orders = store.topic("orders").unwrap();
        Self { _dir: dir, store, orders }
    }

    fn raw(&self, payload: &'static [u8], schema: Option<&'static str>) {
        let message = Message::new(payload);
        let message = schema.into_iter().fold(message, |message, schema| message.header(SCHEMA_HEADER, schema));
        self.orders.publish(message).wait().unwrap();
    }
}

fn twice() -> Group {
    Group::default().retry(Retry::fixed(Duration::ZERO).attempts(2))
}

/// The last error of each dead letter.
fn errors(group: &Consumer) -> BTreeMap<u64, String> {
    let letters = group.dead_letters().map(|letter| letter.unwrap());
    letters.map(|letter| (letter.offset().get(), letter.errors().last().unwrap().1.clone())).collect()
}

#[test]
fn what_is_published_is_read_in_either_way() {
    fn round_trip<C: Codec>() {
        let bench = Bench::new();
        let orders = bench.orders.typed_as::<Order, C>();
        orders.publish(&order(1)).wait().unwrap();
        assert_eq!(orders.publish_all([&order(2), &order(3)]).wait().unwrap().count, 2);
        let keyed = orders.message(&order(4)).unwrap().key("customer-7");
        orders.untyped().publish(keyed).wait().unwrap();
        let read: Vec<Order> = orders.untyped().read(..).map(|it| orders.decode(&it.unwrap()).unwrap()).collect();
        assert!(read.iter().map(|order| order.number).eq(1..=4), "{read:?}");
        let email = orders.consumer("email", Group::default()).unwrap();
        let first = email.try_lease().unwrap().unwrap();
        assert_eq!((&*first, first.lines.len()), (&order(1), 2));
        first.ack().wait().unwrap();
        let second = email.lease().unwrap();
        second.extend(Duration::from_secs(60)).unwrap();
        let (value, delivery) = second.into_parts();
        assert_eq!((value, delivery.offset()), (order(2), Offset::new(1)));
        delivery.ack().wait().unwrap();
        assert_eq!(*email.lease_timeout(Duration::from_secs(9)).unwrap().unwrap(), order(3), "dropped: it failed");
        let fourth = email.lease().unwrap();
        assert_eq!((fourth.number, fourth.delivery().key()), (4, Some(&b"customer-7"[..])));
        fourth.bury("no").wait().unwrap();
        assert!(email.try_lease().unwrap().is_none());
        bench.store.close().unwrap();
    }
    round_trip::<millpond::Postcard>();
    #[cfg(feature = "json")]
    round_trip::<millpond::Json>();
}

#[test]
fn old_versions_become_the_present_one() {
    let bench = Bench::new();
    bench.orders.typed::<OrderV1>().publish(&OrderV1 { number: 1 }).wait().unwrap();
    bench.orders.typed::<(u64, bool)>().version(2).publish(&(2, true)).wait().unwrap();
    let orders = bench.orders.typed::<Order>().version(3);
    let orders = orders
        .upcast(1, |old: OrderV1| Order { number: old.number.into(), lines: Vec::new(), express: false })
        .upcast(2, |(number, express): (u64, bool)| Order { number, lines: Vec::new(), express });
    orders.publish(&order(3)).wait().unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    let read: Vec<(u64, bool)> = (0..3)
        .map(|_| {
            let order = email.lease().unwrap();
            let read = (order.number, order.express);
            order.ack().wait().unwrap();
            read
        })
        .collect();
    assert_eq!(read, [(1, false), (2, true), (3, false)]);
}

#[test]
fn what_can_not_be_read_follows_the_retry_policy_with_the_reason_and_holds_nobody_up() {
    let bench = Bench::new();
    let orders = bench.orders.typed::<Order>().version(2);
    bench.raw(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some("postcard/2"));
    bench.raw(b"{}", Some("json/2"));
    bench.raw(b"", Some("postcard/9"));
    bench.raw(b"", Some("postcard"));
    bench.raw(b"\x01\x00\x00left over", None);
    bench.raw(b"", Some("postcard/1"));
    orders.publish(&order(7)).wait().unwrap();
    let email = orders.consumer("email", twice()).unwrap();
    let good = email.lease().unwrap();
    assert_eq!((good.number, good.delivery().offset()), (7, Offset::new(6)));
    good.ack().wait().unwrap();
    while email.try_lease().unwrap().is_some() {}
    let email = email.untyped();
    let errors = errors(email);
    assert_eq!((errors.len(), email.idle()), (6, true));
    for (offset, expected) in [
        (0, "the payload (postcard/2) can't be read as typed::Order: "),
        (1, "the payload (json/2) can't be read as typed::Order: it is json, and this reader reads postcard"),
        (2, "the payload (postcard/9) can't be read as typed::Order: this reader doesn't know version 9, only 2"),
        (3, "the payload (postcard) can't be read as typed::Order: the header millpond-schema makes no sense"),
        (4, "the payload (no schema) can't be read as typed::Order: 9 bytes are left over"),
        (5, "the payload (postcard/1) can't be read as typed::Order: this reader doesn't know version 1, only 2"),
    ] {
        let error = &errors[&offset];
        assert!(error.starts_with(expected), "{offset}: {error}");
    }
    let letter = email.dead_letter(Offset::new(4)).unwrap().unwrap();
    assert_eq!((letter.reason(), letter.failures()), (BuryReason::Failures, 2));
    let error = orders.decode(letter.record().unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unsupported, "undecodable"));
}

#[derive(Debug)]
struct Touchy;

impl Serialize for Touchy {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it may not be told"))
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            0 => Ok(Self),
            1 => Err(D::Error::custom("not one")),
            other => panic!("never {other}"),
        }
    }
}

#[test]
fn a_type_that_panics_or_refuses_breaks_nothing() {
    let bench = Bench::new();
    let orders = bench.orders.typed::<Touchy>();
    let refused = orders.publish(&Touchy).wait().unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Misuse, "unencodable"));
    [b"\x02", b"\x01", b"\x00"].iter().for_each(|payload| bench.raw(*payload, None));
    let email = orders.consumer("email", twice()).unwrap();
    let good = email.lease().unwrap();
    assert_eq!(good.delivery().offset(), Offset::new(2));
    good.ack().wait().unwrap();
    while email.try_lease().unwrap().is_some() {}
    let errors = errors(email.untyped());
    assert!(errors[&0].ends_with("it panicked: never 2") && errors.len() == 2, "{errors:?}");
}

#[test]
fn workers_get_values_and_the_others_fail() {
    let bench = Bench::new();
    bench.raw(b"", None);
    let orders = bench.orders.typed::<Order>();
    orders.publish_all([&order(1), &order(2)]).wait().unwrap();
    let email = orders.consumer("email", twice()).unwrap();
    let (seen, stopper) = (Arc::new(Mutex::new(Vec::new())), email.untyped().stopper());
    let (told, group) = (seen.clone(), email.untyped().clone());
    let watch = std::thread::spawn(move || {
        while !group.idle() {
            std::thread::yield_now();
        }
        stopper.stop();
    });
    let worked = email
        .run(Workers::threads(2), move |order: Order, delivery: &Delivery| {
            told.lock().unwrap().push((order.number, delivery.offset().get()));
        })
        .unwrap();
    watch.join().unwrap();
    seen.lock().unwrap().sort_unstable();
    assert_eq!((&*seen.lock().unwrap(), worked.done, worked.failed), (&vec![(1, 1), (2, 2)], 2, 2));
    assert_eq!(errors(email.untyped()).len(), 1);
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn values_are_awaited_and_handled_in_tasks() {
    let bench = Bench::new();
    bench.raw(b"", None);
    let orders = bench.orders.typed::<Order>();
    orders.publish_all([&order(1), &order(2), &order(3)]).await.unwrap();
    let email = orders.consumer("email", twice()).unwrap();
    let first = email.next().await.unwrap();
    assert_eq!(*first, order(1), "what is no order is passed over");
    first.ack().await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (told, stopper) = (seen.clone(), email.untyped().stopper());
    let worked = email
        .run_async(Workers::tasks(1), move |order: Order, delivery: Arc<Delivery>| {
            let (told, stopper) = (told.clone(), stopper.clone());
            async move {
                told.lock().unwrap().push((order.number, delivery.offset().get()));
                if order.number == 3 {
                    stopper.stop();
                }
            }
        })
        .await
        .unwrap();
    assert_eq!((&*seen.lock().unwrap(), worked.done), (&vec![(2, 2), (3, 3)], 2));
}

#[test]
fn several_values_are_leased_at_once_without_those_that_are_none() {
    let bench = Bench::new();
    bench.raw(b"", None);
    let orders = bench.orders.typed::<Order>();
    orders.publish_all([&order(1), &order(2), &order(3)]).wait().unwrap();
    let email = orders.consumer("email", twice()).unwrap();
    let mut batch = email.lease_many(4, Duration::ZERO).unwrap();
    let first = batch.next().unwrap();
    assert_eq!(*first, order(1));
    first.ack().wait().unwrap();
    drop(batch);
    let stats = email.untyped().stats();
    assert_eq!((stats.ready, stats.leased), (2 + u64::from(stats.retrying == 0), 0), "the rest went back uncharged");
    let left: Vec<u64> = email.lease_many(4, Duration::ZERO).unwrap().map(|order| order.number).collect();
    assert_eq!(left, [2, 3]);
}

#[cfg(feature = "stream")]
#[tokio::test]
async fn values_come_as_a_stream_that_ends_when_it_is_stopped() {
    use futures_core::Stream;
    use std::future::poll_fn;
    use std::pin::pin;
    let bench = Bench::new();
    bench.raw(b"", None);
    let orders = bench.orders.typed::<Order>();
    orders.publish_all([&order(1), &order(2)]).await.unwrap();
    let email = orders.consumer("email", twice()).unwrap();
    let mut stream = pin!(email.stream());
    for number in [1, 2] {
        let next = poll_fn(|context| stream.as_mut().poll_next(context)).await.unwrap().unwrap();
        assert_eq!(*next, order(number));
        next.ack().await.unwrap();
    }
    email.untyped().stopper().stop();
    assert!(poll_fn(|context| stream.as_mut().poll_next(context)).await.is_none());
}
