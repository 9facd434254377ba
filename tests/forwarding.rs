//! A copy of what is parked goes to another topic in the same step: after any crash there are both or neither.
#![expect(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test fails by panicking")]

use millpond::testing::{Faults, SimDisk};
use millpond::{Consumer, Delivery, ErrorKind, Group, ManualClock, Message, Record, Redrive, Retention, Retry, Store};
use millpond::{Timestamp, TopicSettings};
use std::collections::BTreeMap;
use std::time::Duration;

fn forwarding() -> Group {
    let retry = Retry::fixed(Duration::ZERO).attempts(2);
    Group::default().lease(Duration::from_secs(30)).retry(retry).max_timeouts(1).forward_dead_letters("failed")
}

fn email_of(store: &Store, settings: Group) -> Consumer {
    store.topic("orders").unwrap().consumer("email", settings).unwrap()
}

fn copies(store: &Store) -> Vec<Record> {
    store.sync().wait().unwrap();
    store.topic("failed").unwrap().read(..).collect::<millpond::Result<_>>().unwrap()
}

fn origin<'a>(record: &'a Record, name: &str) -> &'a str {
    let name = format!("millpond-origin-{name}");
    let mut found = record.headers().filter(|(header, _)| *header == name);
    let (_, value) = found.next().unwrap_or_else(|| unreachable!("{name} is missing"));
    assert!(found.next().is_none(), "{name} is there once");
    std::str::from_utf8(value).unwrap()
}

struct World {
    disk: SimDisk,
    clock: ManualClock,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Self { disk: SimDisk::new(seed), clock, seed }
    }

    fn open(&mut self) -> Store {
        self.seed += 1;
        let options = Store::options().segment_bytes(16 << 10).first_segment_bytes(16 << 10).tail_cache_bytes(0);
        Store::open_simulated(&self.disk, self.clock.clone(), self.seed, options).unwrap()
    }

    /// The dead letters, by offset and life, each have exactly one copy, and so had those of former lives.
    fn check(store: &Store) -> usize {
        let mut known = BTreeMap::new();
        for record in copies(store) {
            let at: (u64, u32) = (origin(&record, "offset").parse().unwrap(), origin(&record, "life").parse().unwrap());
            assert_eq!(record.payload(), format!("order {}", at.0).as_bytes());
            assert!(known.insert(at, ()).is_none(), "two copies of {at:?}");
        }
        for letter in email_of(store, Group::default()).dead_letters() {
            let letter = letter.unwrap();
            let at = (letter.offset().get(), letter.life());
            assert!(known.contains_key(&at), "no copy of {at:?}");
        }
        known.len()
    }
}

#[test]
fn a_copy_has_what_the_message_had_and_says_where_it_comes_from_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let message = Message::new("4711").id("order-4711").key("customer-7").header("source", "web");
    let receipt = orders.publish(message).wait().unwrap();
    let email = email_of(&store, forwarding());
    email.lease().unwrap().nack("no route").wait().unwrap();
    assert!(copies(&store).is_empty());
    email.lease().unwrap().nack("no host").wait().unwrap();
    let copies = copies(&store);
    let [copy] = copies.as_slice() else { unreachable!("{copies:?}") };
    assert_eq!((copy.payload(), copy.key(), copy.id()), (&b"4711"[..], Some(&b"customer-7"[..]), None));
    assert_eq!(copy.headers().next(), Some(("source", &b"web"[..])));
    let time = receipt.time.to_string();
    let said = [
        ("topic", "orders"),
        ("group", "email"),
        ("offset", "0"),
        ("time", time.as_str()),
        ("reason", "failures"),
        ("error", "no host"),
        ("leases", "2"),
        ("failures", "2"),
        ("timeouts", "0"),
        ("crashes", "0"),
        ("life", "0"),
        ("id", "order-4711"),
    ];
    for (name, value) in said {
        assert_eq!(origin(copy, name), value, "{name}");
    }
    // Where it came from it is a dead letter all the same, and other groups are not concerned.
    assert_eq!(email.stats().dead, 1);
    assert_eq!(orders.consumer("sms", Group::default()).unwrap().stats().ready, 1);
    // Consumers of the copies get them like any message.
    let ops = store.topic("failed").unwrap().consumer("ops", Group::default()).unwrap();
    ops.lease().unwrap().ack().wait().unwrap();
    // Redriven and dead again: that is another copy.
    email.redrive(Redrive::all()).unwrap();
    email.lease().unwrap().bury("for good").wait().unwrap();
    let again = ops.lease().unwrap();
    assert_eq!((origin(again.record(), "life"), origin(again.record(), "reason")), ("1", "asked"));
}

#[test]
fn forwarding_to_itself_or_to_a_topic_that_may_not_be_made_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let refused = orders.consumer("email", Group::default().forward_dead_letters("orders")).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Misuse, "bad-setting"));
    assert!(orders.groups().is_empty());
    let refused = orders.consumer("email", Group::default().forward_dead_letters("")).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Misuse, "bad-name"));
    store.close().unwrap();
    let store = Store::options().create_topics(false).open(dir.path()).unwrap();
    let orders = store.existing_topic("orders").unwrap();
    let refused = orders.consumer("email", forwarding()).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Misuse, "unknown-topic"));
    assert!(orders.groups().is_empty() && store.topics() == ["orders"]);
}

#[test]
fn the_setting_is_kept_until_it_is_taken_back() {
    let mut world = World::new(1);
    let store = world.open();
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..3).map(|number| format!("order {number}").into())).wait().unwrap();
    email_of(&store, forwarding());
    store.close().unwrap();
    let store = world.open();
    let email = email_of(&store, Group::default());
    email.lease().unwrap().bury("one").wait().unwrap();
    let email = email_of(&store, Group::default().forward_nothing());
    email.lease().unwrap().bury("two").wait().unwrap();
    assert_eq!((email.stats().dead, copies(&store).len()), (2, 1));
}

#[test]
fn whatever_parks_it_there_is_a_copy() {
    let mut world = World::new(2);
    let store = world.open();
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..6).map(|number| format!("order {number}").into())).wait().unwrap();
    let email = email_of(&store, forwarding());
    let mut batch = email.lease_many(5, Duration::ZERO).unwrap();
    let mut next = || batch.next().unwrap();
    next().bury("asked").wait().unwrap();
    next().nack("once").wait().unwrap();
    let (dropped, late) = (next(), next());
    drop(batch);
    drop(dropped);
    // Failed once each, and once is enough from now on.
    let email = email_of(&store, Group::default().retry(Retry::fixed(Duration::ZERO).attempts(1)));
    assert_eq!(World::check(&store), 3, "a limit that was lowered");
    world.clock.advance(Duration::from_secs(31));
    while store.step_upkeep().unwrap() {}
    assert_eq!(World::check(&store), 4, "a lease that ran out");
    late.bury("late: it is parked already").wait().unwrap();
    assert_eq!(World::check(&store), 4);
    let dropped = email.lease().unwrap();
    drop(dropped);
    assert_eq!(copies(&store).len(), 4, "a drop reads nothing");
    while store.step_upkeep().unwrap() {}
    assert_eq!(World::check(&store), 5, "but the upkeep does");
    // Brought down three times: parked by an opening.
    drop((email, store));
    world.disk.kill();
    let mut store = world.open();
    for _ in 0..3 {
        let held = email_of(&store, Group::default()).lease().unwrap();
        world.disk.kill();
        drop(store);
        drop(held);
        store = world.open();
    }
    assert_eq!(World::check(&store), 6);
    assert_eq!(origin(copies(&store).last().unwrap(), "reason"), "crashes");
}

#[test]
fn lowering_a_limit_below_many_parks_each_with_a_copy_and_leaves_the_others() {
    let mut world = World::new(4);
    let store = world.open();
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..1000).map(|number| format!("order {number}").into())).wait().unwrap();
    let email = email_of(&store, forwarding());
    for delivery in email.lease_many(1000, Duration::ZERO).unwrap() {
        let odd = delivery.offset().get() % 2 == 1;
        let settled = if odd { delivery.nack("once") } else { delivery.snooze(Duration::from_secs(1)) };
        settled.wait().unwrap();
    }
    email_of(&store, Group::default().retry(Retry::fixed(Duration::ZERO).attempts(1)));
    assert_eq!((email.stats().dead, email.stats().retrying, World::check(&store)), (500, 500, 500));
    drop((email, orders, store));
    world.disk.kill();
    let store = world.open();
    assert_eq!(World::check(&store), 500);
    assert_eq!(email_of(&store, Group::default()).stats().dead, 500);
}

#[test]
fn what_is_dropped_is_parked_with_its_copy_by_the_threads_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..20).map(|number| format!("order {number}").into())).wait().unwrap();
    let email = email_of(&store, forwarding().retry(Retry::fixed(Duration::ZERO).attempts(1)));
    email.lease_many(20, Duration::ZERO).unwrap().for_each(drop);
    // The copies are acked below, and read after that.
    let settings = TopicSettings::default().retention(Retention::everything());
    let ops = store.topic_with("failed", settings).unwrap().consumer("ops", Group::default()).unwrap();
    for _ in 0..20 {
        let copy = ops.lease_timeout(Duration::from_secs(30)).unwrap().unwrap();
        assert_eq!(origin(copy.record(), "error"), "the delivery was dropped unsettled");
        copy.ack().wait().unwrap();
    }
    assert_eq!((World::check(&store), email.stats().dead), (20, 20));
}

#[test]
fn on_a_full_disk_parking_goes_on_while_there_is_room_for_settling_and_loses_nothing_beyond() {
    let mut world = World::new(5);
    let store = world.open();
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..50).map(|number| format!("order {number}").into())).wait().unwrap();
    let email = email_of(&store, forwarding());
    let mut faults = Faults::default();
    faults.capacity = Some(48 << 10);
    world.disk.set_faults(faults);
    let full = loop {
        if let Err(error) = orders.publish(vec![b'x'; 300]).wait() {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::Full);
    let mut buried = 0;
    let refused = loop {
        match email.lease().unwrap().bury("it is bad").wait() {
            Ok(()) => buried += 1,
            Err(error) => break error,
        }
    };
    assert!(buried > 0 && refused.kind() == ErrorKind::Full, "{buried} {refused}");
    let check = |dead| assert_eq!((email.stats().dead, World::check(&store)), (dead, usize::try_from(dead).unwrap()));
    check(buried);
    world.disk.set_faults(Faults::default());
    // What was refused is still out, and comes again when its lease ends; the others at once.
    for dead in buried + 1..50 {
        email.lease().unwrap().bury("it is bad").wait().unwrap();
        check(dead);
    }
    world.clock.advance(Duration::from_secs(30));
    while store.step_upkeep().unwrap() {}
    check(50);
}

#[test]
fn what_was_dropped_and_not_parked_yet_when_the_store_closes_is_given_back() {
    let mut world = World::new(3);
    let store = world.open();
    let orders = store.topic("orders").unwrap();
    orders.publish("order 0").wait().unwrap();
    let email = email_of(&store, forwarding().retry(Retry::fixed(Duration::ZERO).attempts(1)));
    drop(email.lease().unwrap());
    store.close().unwrap();
    let store = world.open();
    // The store was closing before it could be read: then it was given back, uncharged.
    let email = email_of(&store, Group::default());
    assert_eq!((email.stats().ready, email.stats().dead, World::check(&store)), (1, 0, 0));
}

#[test]
fn after_a_crash_anywhere_there_are_both_or_neither() {
    let mut seen = BTreeMap::new();
    for stop in 0..120 {
        let power = stop % 2 == 0;
        let mut world = World::new(100 + stop);
        let store = world.open();
        let orders = store.topic("orders").unwrap();
        orders.publish_all((0..60).map(|number| format!("order {number}").into())).wait().unwrap();
        let email = email_of(&store, forwarding());
        let mut faults = Faults::default();
        faults.stop_after = Some(stop);
        world.disk.set_faults(faults);
        for number in 0..60 {
            let Ok(Some(delivery)) = email.try_lease() else { break };
            let parked = if number % 3 == 0 { delivery.release() } else { delivery.bury("it is bad") };
            let redriven = || number % 10 == 7 && email.redrive(Redrive::all()).is_err();
            if parked.wait().is_err() || redriven() || store.step_upkeep().is_err() {
                break;
            }
        }
        if power {
            world.disk.crash()
        } else {
            world.disk.kill()
        }
        drop((email, orders, store));
        world.disk.set_faults(Faults::default());
        let store = world.open();
        *seen.entry(World::check(&store)).or_insert(0) += 1;
        // Everything is still there: to be delivered, or dead.
        let email = email_of(&store, Group::default());
        let held: Vec<Delivery> = std::iter::from_fn(|| email.try_lease().unwrap()).take(60).collect();
        let suspects = email.stats().suspects;
        assert!(suspects > 0 || held.len() as u64 + email.stats().dead == 60, "stopped after {stop}");
    }
    assert!(seen.len() > 5, "the crashes came at different moments: {seen:?}");
}
