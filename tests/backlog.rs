//! Limits of a topic's backlog: what is refused comes back whole, what waits is let in by an ack, what is dropped is
//! the oldest and counted.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use millpond::testing::SimDisk;
use millpond::{
    Backlog, Consumer, Delivery, Durability, ErrorKind, Group, ManualClock, Message, Offset, Options, Overflow, Purge,
    Redrive, Retention, Start, Store, Timestamp, Topic, TopicSettings,
};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

fn options() -> Options {
    Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10).durability(Durability::Os)
}

fn simulated() -> (SimDisk, ManualClock, Store) {
    let (disk, clock) = (SimDisk::new(11), ManualClock::starting_at(Timestamp::new(1_000_000)));
    let store = reopen(&disk, &clock);
    (disk, clock, store)
}

fn reopen(disk: &SimDisk, clock: &ManualClock) -> Store {
    Store::open_simulated(disk, clock.clone(), 1, options()).unwrap()
}

fn topic(store: &Store, backlog: Backlog) -> Topic {
    store.topic_with("orders", TopicSettings::default().max_backlog(backlog)).unwrap()
}

fn group(topic: &Topic, name: &str) -> Consumer {
    topic.consumer(name, Group::default()).unwrap()
}

fn publish(topic: &Topic, count: u64) {
    (0..count).for_each(|number| _ = topic.publish(Message::new(number.to_string())).wait().unwrap());
}

fn lease(group: &Consumer, max: usize) -> Vec<Delivery> {
    group.lease_many(max, Duration::ZERO).unwrap().collect()
}

fn offsets(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.offset().get()).collect()
}

fn refused(topic: &Topic) -> bool {
    topic.publish("one more").wait().is_err_and(|error| error.code() == "backlog-full")
}

#[test]
fn what_is_refused_comes_back_whole_and_the_error_names_the_limit() {
    let (_disk, _clock, store) = simulated();
    let orders = topic(&store, Backlog::messages(3));
    let email = group(&orders, "email");
    publish(&orders, 3);
    let message = Message::new("4711").id("order-4711").key("customer-7").header("source", "web").delay(LONG);
    let error = orders.publish(message.clone()).wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "backlog-full"));
    let told = error.to_string();
    assert!(told.contains("\"orders\"") && told.contains("`max_backlog` allows 3 messages"), "{told}");
    assert_eq!(error.into_message().unwrap(), message);
    // A batch is taken whole or not at all, and what never fits is told from what does not fit now.
    email.lease().unwrap().ack().wait().unwrap();
    let batch: Vec<Message> = ["a", "b"].map(Message::new).to_vec();
    let error = orders.publish_all(batch.clone()).wait().unwrap_err();
    assert_eq!((error.kind(), error.into_messages().unwrap()), (ErrorKind::Full, batch));
    let error = orders.publish_all((0..4).map(|_| Message::new("x"))).wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "too-large"));
    publish(&orders, 1);
    assert_eq!((orders.stats().backlog, orders.end_offset()), (3, Offset::new(4)));
}

#[test]
fn the_backlog_is_what_some_group_is_not_done_with() {
    let (_disk, _clock, store) = simulated();
    let orders = topic(&store, Backlog::messages(4));
    // Without a group it is everything.
    publish(&orders, 4);
    assert!(refused(&orders));
    let (one, two) = (group(&orders, "one"), group(&orders, "two"));
    one.ack_all(lease(&one, 4)).wait().unwrap();
    assert_eq!((orders.stats().backlog, refused(&orders)), (4, true));
    let mut held = lease(&two, 4);
    held.remove(0).ack().wait().unwrap();
    assert_eq!(orders.stats().backlog, 3);
    // A dead letter is not in it; one that is redriven is again, and may go beyond the limit.
    held.remove(0).bury("no").wait().unwrap();
    assert_eq!(orders.stats().backlog, 2);
    publish(&orders, 2);
    assert!(refused(&orders));
    two.redrive(Redrive::all()).unwrap();
    assert_eq!(orders.stats().backlog, 5);
    // A group that goes takes its need with it, one that comes has all there is.
    orders.remove_group("two").unwrap();
    assert_eq!(orders.stats().backlog, 2);
    assert_eq!(group(&orders, "three").stats().ready, 2);
    assert_eq!(orders.stats().backlog, 2);
    // A limit that is lifted is gone at once.
    topic(&store, Backlog::unlimited());
    publish(&orders, 10);
    topic(&store, Backlog::messages(100));
    assert_eq!(orders.stats().backlog, 12);
}

#[test]
fn the_count_is_the_same_after_reopening_and_after_a_seek() {
    let (disk, clock, store) = simulated();
    let rules = TopicSettings::default().retention(Retention::everything()).max_backlog(Backlog::messages(50));
    let orders = store.topic_with("orders", rules).unwrap();
    let (one, two) = (group(&orders, "one"), group(&orders, "two"));
    publish(&orders, 50);
    let of_one = lease(&one, 50).into_iter().filter(|delivery| delivery.offset().get() % 3 > 0).collect::<Vec<_>>();
    one.ack_all(of_one).wait().unwrap();
    let of_two = lease(&two, 50).into_iter().filter(|delivery| delivery.offset().get() % 5 > 0).collect::<Vec<_>>();
    two.ack_all(of_two).wait().unwrap();
    let left = (0..50).filter(|offset| offset % 3 == 0 || offset % 5 == 0).count() as u64;
    assert_eq!(orders.stats().backlog, left);
    store.close().unwrap();
    let store = reopen(&disk, &clock);
    let orders = store.topic("orders").unwrap();
    assert_eq!(orders.stats().backlog, left);
    publish(&orders, 50 - left);
    assert!(refused(&orders));
    group(&orders, "one").seek(Start::Earliest).unwrap();
    assert_eq!(orders.stats().backlog, 100 - left);
    group(&orders, "one").seek(Start::Latest).unwrap();
    group(&orders, "two").seek(Start::Latest).unwrap();
    assert_eq!(orders.stats().backlog, 0);
    publish(&orders, 50);
    assert!(refused(&orders));
}

#[test]
fn bytes_are_limited_too() {
    let (_disk, _clock, store) = simulated();
    let orders = topic(&store, Backlog::bytes(10_000));
    let email = group(&orders, "email");
    for _ in 0..10 {
        orders.publish(vec![7; 1000]).wait().unwrap();
    }
    let error = orders.publish(vec![7; 1]).wait().unwrap_err();
    assert!(error.to_string().contains("`max_backlog` allows 10000 bytes"), "{error}");
    assert_eq!(orders.publish(vec![7; 10_001]).wait().unwrap_err().code(), "too-large");
    email.lease().unwrap().ack().wait().unwrap();
    orders.publish(vec![7; 1000]).wait().unwrap();
    let stats = orders.stats();
    assert_eq!((stats.backlog, stats.backlog_bytes), (10, 10_000));
}

#[test]
fn the_oldest_are_dropped_and_counted_but_for_what_is_leased_delayed_or_dead() {
    let (disk, clock, store) = simulated();
    let orders = topic(&store, Backlog::messages(5).when_full(Overflow::DropOldest));
    let (email, audit) = (group(&orders, "email"), group(&orders, "audit"));
    orders.publish(Message::new("later").delay(LONG)).wait().unwrap();
    publish(&orders, 4);
    let held = lease(&email, 1);
    assert_eq!(offsets(&held), [1]);
    lease(&audit, 1).remove(0).bury("no").wait().unwrap();
    // 0 is delayed; 1 is leased by one and a dead letter of the other: 2 is the oldest that can go.
    publish(&orders, 2);
    let stats = orders.stats();
    assert_eq!((stats.backlog, stats.removed.overflowed), (5, 2));
    assert!(email.why(Offset::new(2)).unwrap().to_string().contains("dropped"));
    // What is in hands is settled as ever; what comes back can go.
    held.into_iter().for_each(|delivery| delivery.ack().wait().unwrap());
    assert_eq!(orders.stats().backlog, 4);
    let held = lease(&email, 1);
    assert_eq!(offsets(&held), [4]);
    publish(&orders, 2);
    assert_eq!((orders.stats().removed.overflowed, orders.stats().backlog), (3, 5));
    held.into_iter().for_each(|delivery| delivery.release().wait().unwrap());
    publish(&orders, 1);
    assert!(email.why(Offset::new(4)).unwrap().to_string().contains("dropped"), "4 came back before 6");
    clock.advance(LONG);
    store.step_upkeep().unwrap();
    publish(&orders, 1);
    assert!(email.why(Offset::ZERO).unwrap().to_string().contains("dropped"), "0 is due now");
    // All of it survives.
    store.close().unwrap();
    let store = reopen(&disk, &clock);
    let orders = store.topic("orders").unwrap();
    assert_eq!((orders.stats().removed.overflowed, orders.stats().backlog), (5, 5));
    assert_eq!(offsets(&lease(&group(&orders, "email"), 9)), [6, 7, 8, 9, 10]);
}

#[test]
fn if_nothing_can_be_dropped_the_publish_is_refused() {
    let (_disk, _clock, store) = simulated();
    let orders = topic(&store, Backlog::messages(3).when_full(Overflow::DropOldest));
    let email = group(&orders, "email");
    publish(&orders, 3);
    let held = lease(&email, 3);
    let error = orders.publish("x").wait().unwrap_err();
    assert_eq!(error.code(), "backlog-full");
    assert!(error.to_string().contains("leased, delayed or a dead letter"), "{error}");
    assert_eq!(error.into_message().unwrap().payload(), b"x");
    drop(held);
    publish(&orders, 3);
    assert_eq!(orders.stats().removed.overflowed, 3);
}

#[test]
fn a_batch_drops_as_many_as_it_needs_and_a_crash_leaves_both_or_neither() {
    let (disk, clock, store) = simulated();
    let orders = topic(&store, Backlog::messages(4).when_full(Overflow::DropOldest));
    group(&orders, "email");
    publish(&orders, 4);
    store.sync().wait().unwrap();
    orders.publish_all((0..3).map(|_| Message::new("new").durability(Durability::Disk))).detach();
    disk.crash();
    drop((orders, store));
    let store = reopen(&disk, &clock);
    let orders = store.topic("orders").unwrap();
    let stats = orders.stats();
    assert_eq!(stats.backlog, 4);
    assert_eq!(stats.end.get() - 4, stats.removed.overflowed);
}

#[test]
fn a_publisher_that_waits_is_let_in_by_an_ack_in_the_order_of_the_calls() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = topic(&store, Backlog::messages(2).when_full(Overflow::Wait));
    let email = group(&orders, "email");
    publish(&orders, 2);
    let first = orders.publish("third");
    let second = orders.publish("fourth");
    assert_eq!(orders.stats().waiting_publishes, 2);
    // The ticket comes back as good as before.
    let first = first.wait_timeout(Duration::from_millis(30)).unwrap_err();
    let waiter = std::thread::spawn(move || first.wait().unwrap().offset);
    let later = std::thread::spawn(move || second.wait().unwrap().offset);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiter.is_finished());
    let since = Instant::now();
    email.lease().unwrap().ack().wait().unwrap();
    assert_eq!(waiter.join().unwrap(), Offset::new(2));
    assert!(!later.is_finished());
    email.lease().unwrap().ack().wait().unwrap();
    assert_eq!(later.join().unwrap(), Offset::new(3));
    assert!(since.elapsed() < Duration::from_secs(10), "nobody waits for a timer");
    assert_eq!(email.lease().unwrap().payload(), b"third");
    store.close().unwrap();
}

#[test]
fn whatever_frees_a_place_lets_in_who_waits() {
    let (_disk, clock, store) = simulated();
    let orders = topic(&store, Backlog::messages(1).when_full(Overflow::Wait));
    let email = group(&orders, "email");
    let poll = |ticket: &mut millpond::Ticket<millpond::Receipt>| {
        for _ in 0..4 {
            store.step_upkeep().unwrap();
            store.step_commit().unwrap();
        }
        Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    };
    publish(&orders, 1);
    let free = |what: &str, act: &dyn Fn()| {
        let mut ticket = orders.publish(Message::new("x").expires_after(LONG));
        assert!(!poll(&mut ticket), "there is no place before: {what}");
        act();
        assert!(poll(&mut ticket), "{what}");
        assert_eq!(orders.stats().backlog, 1, "{what}");
    };
    free("an ack", &|| email.try_lease().unwrap().unwrap().ack().wait().unwrap());
    free("a burial", &|| email.try_lease().unwrap().unwrap().bury("no").wait().unwrap());
    free("an expiry", &|| clock.advance(2 * LONG));
    free("a seek", &|| _ = email.seek(Start::Latest).unwrap());
    free("a purge", &|| assert_eq!(orders.purge(orders.end_offset()).unwrap(), 1));
    assert_eq!(email.stats().dead, 1);
    assert_eq!(email.purge(Purge::all()).unwrap().changed, 1);
    let mut ticket = orders.publish("y");
    assert!(!poll(&mut ticket));
    topic(&store, Backlog::messages(2).when_full(Overflow::Wait));
    assert!(poll(&mut ticket), "a higher limit");
}

#[test]
fn a_full_topic_holds_up_no_other() {
    let (_disk, _clock, store) = simulated();
    let orders = topic(&store, Backlog::messages(1).when_full(Overflow::Wait));
    group(&orders, "email");
    publish(&orders, 1);
    let waits = orders.publish("waits");
    let other = store.topic("other").unwrap();
    publish(&other, 100);
    assert_eq!(other.end_offset(), Offset::new(100));
    waits.detach();
}

#[test]
fn the_line_is_bounded_and_closing_hands_back_what_stands_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().max_waiting_publishes(2).open(dir.path()).unwrap();
    let orders = topic(&store, Backlog::messages(1).when_full(Overflow::Wait));
    group(&orders, "email");
    publish(&orders, 1);
    let mut tickets = vec![orders.publish("a"), orders.publish("b")];
    let error = orders.publish("c").wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "backlog-full"));
    assert!(error.to_string().contains("max_waiting_publishes"), "{error}");
    assert_eq!(error.into_message().unwrap().payload(), b"c");
    let polled = Pin::new(&mut tickets[0]).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending));
    let blocked = std::thread::spawn({
        let ticket = tickets.remove(0);
        move || ticket.wait().unwrap_err()
    });
    std::thread::sleep(Duration::from_millis(50));
    store.close().unwrap();
    for (error, payload) in [(blocked.join().unwrap(), "a"), (tickets.remove(0).wait().unwrap_err(), "b")] {
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert_eq!(error.into_message().unwrap().payload(), payload.as_bytes());
    }
}

#[test]
fn many_publishers_and_consumers_pass_a_small_backlog() {
    const EACH: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    let orders = topic(&store, Backlog::messages(8).when_full(Overflow::Wait));
    let email = group(&orders, "email");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| publish(&orders, EACH));
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(next) = email.lease_timeout(Duration::from_secs(5)).unwrap() {
                    let last = next.offset() == Offset::new(3 * EACH - 1);
                    assert!(orders.stats().backlog <= 8);
                    next.ack().wait().unwrap();
                    if last || orders.end_offset() == Offset::new(3 * EACH) {
                        break;
                    }
                }
            });
        }
    });
    while let Some(next) = email.try_lease().unwrap() {
        next.ack().wait().unwrap();
    }
    let stats = orders.stats();
    assert_eq!((stats.end.get(), stats.backlog, stats.waiting_publishes), (3 * EACH, 0, 0));
}
