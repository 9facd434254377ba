//! A transaction happens whole or not at all (I7), wherever a crash strikes; what was refused is handed back as it was.
#![expect(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test fails by panicking")]

use millpond::testing::{Faults, SimDisk};
use millpond::{Consumer, Delivery, Durability, Error, ErrorKind, Group, ManualClock, Message, Offset, Options};
use millpond::{Retry, Store, Timestamp, Topic, Transaction};
use std::time::Duration;

struct World {
    disk: SimDisk,
    clock: ManualClock,
    seed: u64,
}

impl World {
    fn new() -> Self {
        Self::of(7)
    }

    fn of(seed: u64) -> Self {
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Self { disk: SimDisk::new(seed), clock, seed }
    }

    fn options() -> Options {
        Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10)
    }

    fn try_open(&mut self, options: Options) -> Result<Store, Error> {
        self.seed += 1;
        Store::open_simulated(&self.disk, self.clock.clone(), self.seed, options)
    }

    fn open(&mut self) -> Store {
        self.try_open(Self::options()).unwrap()
    }
}

fn settings() -> Group {
    Group::default().lease(Duration::from_secs(30)).retry(Retry::fixed(Duration::from_secs(1)).attempts(2))
}

fn group(store: &Store, topic: &str, name: &str) -> Consumer {
    store.topic(topic).unwrap().consumer(name, settings()).unwrap()
}

fn payloads(topic: &Topic) -> Vec<String> {
    topic.read(..).map(|record| String::from_utf8(record.unwrap().payload().to_vec()).unwrap()).collect()
}

fn lease(consumer: &Consumer) -> Delivery {
    consumer.try_lease().unwrap().unwrap()
}

/// A store with orders, two groups that read them, a group of another topic that forwards its dead letters.
fn shop(store: &Store) -> (Consumer, Consumer, Consumer) {
    let returns = store.topic("returns").unwrap();
    let returns = returns.consumer("refund", settings().forward_dead_letters("failed")).unwrap();
    (group(store, "orders", "packing"), group(store, "orders", "billing"), returns)
}

/// What the transaction of `everything` does, as it can be seen.
#[derive(Debug, PartialEq)]
struct Seen {
    shipments: Vec<String>,
    mails: Vec<String>,
    copies: usize,
    /// Of packing, billing and refund.
    ready: [u64; 3],
    dead: u64,
    cursor: Option<Vec<u8>>,
    old: Option<Vec<u8>>,
}

fn seen(store: &Store) -> Seen {
    let (packing, billing, returns) = shop(store);
    let value = |key| store.get(key).unwrap().map(|value| value.to_vec());
    Seen {
        shipments: payloads(&store.topic("shipments").unwrap()),
        mails: payloads(&store.topic("mails").unwrap()),
        copies: payloads(&store.topic("failed").unwrap()).len(),
        ready: [packing.stats().ready, billing.stats().ready, returns.stats().ready],
        dead: returns.stats().dead,
        cursor: value("cursor"),
        old: value("old"),
    }
}

fn prepared(world: &mut World) -> Store {
    let store = world.open();
    shop(&store);
    ["shipments", "mails"].iter().for_each(|topic| drop(store.topic(topic).unwrap()));
    store.topic("orders").unwrap().publish_all(["4711".into(), "4712".into()]).wait().unwrap();
    store.topic("returns").unwrap().publish("4000").wait().unwrap();
    let mut tx = store.transaction();
    tx.set("old", "1");
    tx.commit().wait().unwrap();
    store
}

/// Over several sectors, so that a frame can be torn.
fn large(text: &str) -> String {
    format!("{text} {}", "x".repeat(3000))
}

/// Publishes to two topics, settlements of three groups, one of which parks and forwards, and two values.
fn everything(store: &Store) -> Option<Transaction> {
    let (packing, billing, returns) = shop(store);
    let mut tx = store.transaction();
    tx.publish(&store.topic("shipments").ok()?, large("box 1")).publish(&store.topic("mails").ok()?, "mail 1");
    tx.publish(&store.topic("shipments").ok()?, large("box 2")).ack(packing.try_lease().ok()??);
    tx.ack(billing.try_lease().ok()??).bury(returns.try_lease().ok()??, "lost in the post");
    tx.set("cursor", "4711").remove("old");
    Some(tx)
}

#[test]
fn a_transaction_happens_whole_or_not_at_all_wherever_a_crash_strikes() {
    let (mut nothing, mut whole) = (0, 0);
    // What a power cut leaves of the unsynced writes differs from seed to seed; a kill takes none of what was written.
    for (power, seed) in (0..12).map(|seed| (seed > 0, seed)) {
        // As many steps as it takes until the transaction gets through.
        for stop in 0.. {
            let mut world = World::of(seed);
            let store = prepared(&mut world);
            let before = seen(&store);
            let mut faults = Faults::default();
            faults.stop_after = Some(stop);
            world.disk.set_faults(faults);
            let committed = everything(&store).map(|tx| tx.commit().wait());
            if power {
                world.disk.crash();
            } else {
                world.disk.kill();
            }
            drop(store);
            world.disk.set_faults(Faults::default());
            let store = world.open();
            let after = seen(&store);
            let done = Seen {
                shipments: vec![large("box 1"), large("box 2")],
                mails: vec!["mail 1".to_owned()],
                copies: 1,
                ready: [1, 1, 0],
                dead: 1,
                cursor: Some(b"4711".to_vec()),
                old: None,
            };
            assert!(after == before || after == done, "power {power}, stop {stop}: {after:?}");
            let committed = matches!(committed, Some(Ok(_)));
            assert!(!committed || after == done, "power {power}, stop {stop}: it was committed, and is gone");
            if after == done {
                whole += 1
            } else {
                nothing += 1
            }
            if committed {
                break;
            }
        }
    }
    assert!(nothing >= 40 && whole >= 12, "{nothing} {whole}");
}

#[test]
fn receipts_say_where_each_message_went_in_the_order_of_the_calls() {
    let store = World::new().open();
    let (a, b) = (store.topic("a").unwrap(), store.topic("b").unwrap());
    b.publish("earlier").wait().unwrap();
    let mut tx = store.transaction();
    tx.publish(&a, "a0").publish(&b, "b1").publish(&a, "a1").publish(&b, "b2");
    let committed = tx.commit().wait().unwrap();
    let offsets: Vec<u64> = committed.receipts.iter().map(|receipt| receipt.offset.get()).collect();
    assert_eq!(offsets, [0, 1, 1, 2]);
    assert!(committed.receipts.iter().all(|receipt| receipt.time == committed.time && !receipt.duplicate));
    assert_eq!(
        (payloads(&a), payloads(&b)),
        (vec!["a0".into(), "a1".into()], vec!["earlier".to_owned(), "b1".into(), "b2".into()])
    );
    let empty = store.transaction().commit().wait().unwrap();
    assert!(empty.receipts.is_empty());
}

#[test]
fn one_that_is_dropped_is_rolled_back_and_charges_nothing_but_for_a_panic() {
    let store = World::new().open();
    let (orders, email) = (store.topic("orders").unwrap(), group(&store, "orders", "email"));
    orders.publish_all(["a".into(), "b".into()]).wait().unwrap();
    let (first, second) = (lease(&email), lease(&email));
    let mut tx = store.transaction();
    tx.publish(&orders, "c").ack(first).nack(second, "never said").set("k", "v");
    drop(tx);
    assert_eq!((email.stats().ready, email.stats().leased), (2, 0));
    let again = lease(&email);
    assert_eq!((again.counters().failures, again.counters().leases), (0, 2));
    assert_eq!((payloads(&orders).len(), store.get("k").unwrap()), (2, None));
    let mut tx = store.transaction();
    tx.ack(again);
    let panicked = std::thread::scope(|scope| {
        scope
            .spawn(move || {
                let _tx = tx;
                std::panic::resume_unwind(Box::new("the handler panics"));
            })
            .join()
    });
    assert!(panicked.is_err());
    assert_eq!((email.stats().ready, email.stats().retrying), (1, 1), "charged, as without a transaction");
}

#[test]
fn a_lost_lease_fails_all_of_it_and_everything_comes_back() {
    let mut world = World::new();
    let store = world.open();
    let (orders, done) = (store.topic("orders").unwrap(), store.topic("done").unwrap());
    let (email, sms) = (group(&store, "orders", "email"), group(&store, "orders", "sms"));
    orders.publish("a").wait().unwrap();
    let (late, good) = (lease(&email), lease(&sms));
    world.clock.advance(Duration::from_secs(31));
    store.step_upkeep().unwrap();
    world.clock.advance(Duration::from_secs(2));
    let second = lease(&email);
    let end = store.stats().end;
    let mut tx = store.transaction();
    tx.ack(late).ack(good).publish(&done, Message::new("a").key("k")).set("k", "v");
    let error = tx.commit().wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::LeaseLost, "lease-lost"));
    assert_eq!(store.stats().end, end, "nothing was appended");
    // As it was: and it can be looked through and tried again.
    let again = error.into_transaction().unwrap().commit().wait().unwrap_err();
    assert_eq!(again.code(), "lease-lost");
    let [late, good] = <[Delivery; 2]>::try_from(again.into_deliveries().unwrap()).unwrap();
    assert_eq!(late.ack().wait().unwrap_err().kind(), ErrorKind::LeaseLost);
    let mut tx = store.transaction();
    tx.ack(good).publish(&done, "a");
    tx.commit().wait().unwrap();
    second.ack().wait().unwrap();
    assert!(email.idle() && sms.idle());
    assert_eq!((payloads(&done).len(), store.get("k").unwrap()), (1, None));
}

#[test]
fn messages_come_back_as_they_were_given_in_the_order_of_the_calls() {
    let options = Store::options().max_frame_bytes(5000).max_message_bytes(4000);
    let store = World::new().try_open(options).unwrap();
    let (a, b) = (store.topic("a").unwrap(), store.topic("b").unwrap());
    let email = group(&store, "a", "email");
    a.publish("1").wait().unwrap();
    let large = |name: &str| Message::new(vec![7; 2000]).id(name.to_owned()).delay(Duration::from_secs(1));
    let mut tx = store.transaction();
    tx.publish(&a, large("1")).publish(&b, large("2")).publish(&a, large("3")).ack(lease(&email));
    let error = tx.commit().wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "too-large"));
    assert!(error.to_string().contains("`max_frame_bytes` allows 5000"), "{error}");
    assert_eq!(error.into_messages(), Some(vec![large("1"), large("2"), large("3")]));
    assert_eq!((email.stats().ready, lease(&email).counters().failures), (1, 0), "given back, uncharged");
}

#[test]
fn what_is_of_another_store_or_of_a_former_opening_is_refused() {
    let (mut here, mut there) = (World::new(), World::new());
    let (store, other) = (here.open(), there.open());
    let orders = store.topic("orders").unwrap();
    let (email, elsewhere) = (group(&store, "orders", "email"), group(&other, "orders", "email"));
    orders.publish("a").wait().unwrap();
    other.topic("orders").unwrap().publish("b").wait().unwrap();
    let mut tx = store.transaction();
    tx.ack(lease(&email)).ack(lease(&elsewhere));
    let error = tx.commit().wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "foreign-delivery"));
    drop(error);
    assert_eq!((email.stats().ready, elsewhere.stats().ready), (1, 1), "each is given back where it came from");
    let mut tx = store.transaction();
    tx.publish(&orders, "c").publish(&other.topic("orders").unwrap(), "d");
    let error = tx.commit().wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "foreign-topic"));
    assert_eq!(error.into_messages(), Some(vec!["c".into(), "d".into()]));
    // A commit after the end.
    let mut tx = store.transaction();
    tx.publish(&orders, "e");
    store.close().unwrap();
    let error = tx.commit().wait().unwrap_err();
    assert_eq!((error.kind(), error.into_messages()), (ErrorKind::Closed, Some(vec!["e".into()])));
}

#[test]
fn a_failure_within_a_transaction_has_the_consequences_that_it_has_outside() {
    let mut world = World::new();
    let store = world.open();
    let (_, _, returns) = shop(&store);
    let (topic, log) = (store.topic("returns").unwrap(), store.topic("log").unwrap());
    topic.publish_all(["a".into(), "b".into(), "c".into(), "d".into()]).wait().unwrap();
    let [a, b, c, d] = [(); 4].map(|()| lease(&returns));
    let mut tx = store.transaction();
    tx.nack(a, "first").snooze(b, Duration::from_secs(60)).release(c).nack_after(d, "first", Duration::from_secs(5));
    tx.publish(&log, "four returns");
    tx.commit().wait().unwrap();
    let stats = returns.stats();
    assert_eq!((stats.ready, stats.retrying, stats.leased), (1, 3, 0));
    world.clock.advance(Duration::from_secs(1));
    let a = returns.lease_many(4, Duration::ZERO).unwrap().find(|held| held.payload() == b"a").unwrap();
    assert_eq!(a.counters().failures, 1);
    // One failure too many: it is parked, and its copy is in the same frame.
    let (end, copies) = (store.stats().end, store.topic("failed").unwrap());
    let mut tx = store.transaction();
    tx.nack(a, "second").publish(&copies, "published there as well");
    let committed = tx.commit().wait().unwrap();
    assert_eq!(committed.receipts.first().unwrap().offset, Offset::ZERO);
    assert_eq!(payloads(&copies), ["published there as well", "a"]);
    assert_eq!(returns.stats().dead, 1);
    assert!(store.stats().end > end);
    world.disk.crash();
    drop(store);
    let store = world.open();
    assert_eq!(payloads(&store.topic("failed").unwrap()).len(), 2);
    assert_eq!(shop(&store).2.stats().dead, 1);
}

#[test]
fn more_dead_letters_than_are_kept_at_hand_are_parked_and_copied_at_once() {
    let store = World::new().try_open(Store::options()).unwrap();
    let (_, _, returns) = shop(&store);
    let topic = store.topic("returns").unwrap();
    topic.publish_all((0..300).map(|number| Message::new(number.to_string()))).wait().unwrap();
    let mut tx = store.transaction();
    for delivery in returns.lease_many(300, Duration::ZERO).unwrap() {
        tx.bury(delivery, "all of them");
    }
    tx.commit().wait().unwrap();
    assert_eq!((returns.stats().dead, payloads(&store.topic("failed").unwrap()).len()), (300, 300));
}

#[test]
fn nothing_of_it_is_visible_before_all_of_it_has_reached_its_level() {
    let store = World::new().open();
    let (a, b) = (store.topic("a").unwrap(), store.topic("b").unwrap());
    let mut tx = store.transaction();
    tx.publish(&a, "a").publish(&b, "b").set("k", "1");
    let ticket = tx.commit();
    let visible = || (payloads(&a).len(), payloads(&b).len(), store.get("k").unwrap().is_some());
    assert_eq!(visible(), (0, 0, false));
    // A later change of the same key that needs not wait is in line behind it; one of another key is not.
    let mut tx = store.transaction();
    tx.set("k", "2").set("other", "1").durability(Durability::Memory);
    tx.commit().wait().unwrap();
    assert_eq!((visible(), store.keys("").unwrap()), ((0, 0, false), vec!["other".to_owned()]));
    ticket.wait().unwrap();
    assert_eq!((visible(), store.get("k").unwrap().unwrap()), ((1, 1, true), "2".into()));
    // A message that asks for more raises the level of the whole.
    let mut tx = store.transaction();
    tx.publish(&a, Message::new("a").durability(Durability::Disk)).publish(&b, "b").durability(Durability::Os);
    let ticket = tx.commit();
    while store.stats().written < store.stats().end {
        assert!(store.step_commit().unwrap());
    }
    ticket.wait().unwrap();
    assert_eq!((visible(), store.stats().durable), ((2, 2, true), store.stats().end));
}

#[test]
fn a_transaction_that_failed_unseen_gives_its_deliveries_back_and_close_tells_of_it() {
    let store = World::new().open();
    let (orders, email) = (store.topic("orders").unwrap(), group(&store, "orders", "email"));
    orders.publish("a").wait().unwrap();
    let mut tx = store.transaction();
    tx.ack(lease(&email)).publish(&orders, "b").expect_end(&orders, Offset::new(7));
    tx.commit().detach();
    assert_eq!((email.stats().ready, email.stats().leased), (1, 0));
    assert_eq!(store.close().unwrap_err().code(), "unexpected-end");
}
