//! What a task calls that may find no room, or has to ask the disk: it stands in line and does not wait where it is.

use super::no_disk::{MANY, nack_all, returns_on_a_hanging_disk, with_a_small_buffer};
use super::*;
use millpond::testing::SimDisk;
use millpond::{Offset, Ticket, TopicSettings, Window};

const LONG: Duration = Duration::from_secs(60);

/// What the threads of a store would do by now.
fn work(store: &Store) {
    for _ in 0..200 {
        let _ = store.step_upkeep().unwrap();
        while store.step_commit().unwrap() {}
    }
}

fn done<T: Unpin>(mut ticket: Ticket<T>) -> Result<T> {
    match poll(&mut ticket, Waker::noop()) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it has not come true"),
    }
}

#[test]
fn transactions_and_expectations_that_find_no_room_wait_in_their_tickets_and_keep_their_place() {
    let (bench, mut held) = with_a_small_buffer();
    let (disk, store, orders) = (bench.disk.clone(), bench.store.clone(), bench.orders.clone());
    let (mine, end) = (held.split_off(MANY - 2), orders.end_offset());
    let (tickets, got) = std::sync::mpsc::channel();
    assert!(returns_on_a_hanging_disk(&disk, LONG, move || {
        nack_all(held).into_iter().for_each(Ticket::detach);
        let mut tx = store.transaction();
        tx.publish(&orders, vec![7; 60 << 10]).publish(&orders, "second").set("k", "v");
        mine.into_iter().for_each(|delivery| _ = tx.ack(delivery));
        let mut tx = tx.commit();
        let mut right = orders.publish_if(Offset::new(end.get() + 2), "third");
        let mut wrong = orders.publish_if(Offset::new(end.get() + 2), "not fourth");
        let mut last = orders.publish("fourth");
        let mut alone = store.transaction();
        alone.set("k", "w");
        let mut alone = alone.commit();
        assert!(poll(&mut tx, Waker::noop()).is_pending() && poll(&mut alone, Waker::noop()).is_pending());
        for ticket in [&mut right, &mut wrong, &mut last] {
            assert!(poll(ticket, Waker::noop()).is_pending());
            assert_eq!(format!("{ticket:?}"), "Ticket(\"waiting for room\")");
        }
        tickets.send((tx, alone, [right, wrong, last])).unwrap();
    }));
    let (tx, alone, [right, wrong, last]) = got.recv().unwrap();
    assert_eq!(bench.store.get("k").unwrap(), None, "nothing of it has happened yet");
    work(&bench.store);
    let offsets: Vec<u64> = done(tx).unwrap().receipts.iter().map(|receipt| receipt.offset.get() - end.get()).collect();
    assert_eq!(offsets, [0, 1]);
    assert_eq!(done(right).unwrap().offset.get() - end.get(), 2);
    let error = done(wrong).unwrap_err();
    assert_eq!((error.code(), error.into_message().unwrap()), ("unexpected-end", "not fourth".into()));
    assert_eq!(done(last).unwrap().offset.get() - end.get(), 3);
    done(alone).unwrap();
    assert_eq!(bench.store.get("k").unwrap().unwrap(), &b"w"[..], "the second one came second");
    let stats = bench.email.stats();
    assert_eq!((stats.leased, stats.retrying), (0, MANY as u64 - 2));
}

#[test]
fn what_waits_for_room_is_handed_back_when_its_lease_is_lost_or_the_store_fails_or_closes() {
    for why in ["lease", "failure", "close", "ticket dropped"] {
        let (bench, mut held) = with_a_small_buffer();
        let mine = held.pop().unwrap();
        let (offset, mut others) = (mine.offset(), Vec::new());
        nack_all(held).into_iter().for_each(Ticket::detach);
        let mut tx = bench.store.transaction();
        tx.publish(&bench.orders, "a").ack(mine);
        let ticket = tx.commit();
        assert_eq!(format!("{ticket:?}"), "Ticket(\"waiting for room\")");
        let code = match why {
            "lease" => {
                // It runs out, and somebody else has the message.
                let mut theirs = Vec::new();
                for _ in 0..3 {
                    bench.clock.advance(Duration::from_secs(3600));
                    theirs.extend(bench.email.lease_many(MANY, Duration::ZERO).unwrap());
                }
                assert!(theirs.iter().any(|delivery| delivery.offset() == offset));
                others.extend(theirs);
                "lease-lost"
            }
            "failure" => {
                bench.disk.set_faults(Faults { fail_after: Some(0), ..Faults::default() });
                assert!(bench.store.step_commit().is_err());
                "poisoned"
            }
            "close" => {
                // There is room to be made, and so it is.
                bench.store.close().unwrap();
                assert_eq!(ticket.wait().unwrap().receipts.len(), 1);
                continue;
            }
            _ => {
                // Nothing is cancelled by that.
                ticket.detach();
                work(&bench.store);
                assert_eq!((bench.email.stats().leased, bench.email.stats().ready), (0, 1));
                continue;
            }
        };
        let error = ticket.wait().unwrap_err();
        assert_eq!(error.code(), code);
        let tx = error.into_transaction().unwrap();
        if why == "lease" {
            // Nothing of it: neither the message nor the settlement.
            assert_eq!(bench.orders.stats().end.get(), MANY as u64);
        }
        drop(tx);
    }
    // Nobody holds the ticket of one that is refused: its deliveries go back, and the store does not stand still.
    let (bench, mut held) = with_a_small_buffer();
    let mine = held.pop().unwrap();
    nack_all(held).into_iter().for_each(Ticket::detach);
    let mut tx = bench.store.transaction();
    tx.expect_end(&bench.orders, Offset::ZERO).set("k", "v").ack(mine);
    tx.commit().detach();
    work(&bench.store);
    assert_eq!((bench.email.stats().leased, bench.email.stats().retrying), (0, MANY as u64 - 1));
    assert_eq!((bench.email.stats().ready, bench.store.get("k").unwrap()), (1, None));
    assert_eq!(bench.store.close().unwrap_err().code(), "unexpected-end");
}

/// A store whose ids are on the disk, most of them with nothing in memory to say that they are not.
fn with_ids_on_the_disk(options: millpond::Options) -> (SimDisk, Store, Topic) {
    let (disk, clock) = (SimDisk::new(1), ManualClock::starting_at(Timestamp::new(1_700_000_000_000)));
    let options = options.segment_bytes(1 << 20).id_memory_bytes(16 << 10).durability(Durability::Os);
    let store = Store::open_simulated(&disk, clock, 1, options).unwrap();
    let settings = TopicSettings::default().deduplicate(Window::Forever);
    let orders = store.topic_with("orders", settings).unwrap();
    for first in (0..10_000).step_by(100) {
        orders.publish_all((first..first + 100).map(numbered)).wait().unwrap();
        work_once(&store);
    }
    assert!(store.id_stats().disk_bytes > 0 && store.id_stats().memory_bytes <= 16 << 10);
    (disk, store, orders)
}

fn work_once(store: &Store) {
    while store.step_commit().unwrap() | store.step_upkeep().unwrap() {}
}

fn numbered(number: u64) -> Message {
    Message::new(number.to_string()).id(number.to_be_bytes().to_vec())
}

#[test]
fn ids_that_have_to_be_looked_up_on_the_disk_are_looked_up_by_who_may_wait_for_it() {
    let (disk, store, orders) = with_ids_on_the_disk(Store::options());
    let end = orders.end_offset();
    let (tickets, got) = std::sync::mpsc::channel();
    let (of_a_task, topic) = (store.clone(), orders.clone());
    assert!(returns_on_a_hanging_disk(&disk, LONG, move || {
        let mut known = topic.publish(numbered(7));
        let mut plain = topic.publish("behind it");
        let mut batch = topic.publish_all([numbered(8), numbered(1 << 40), numbered(9)]);
        let mut expecting = topic.publish_if(Offset::new(end.get() + 2), numbered(2 << 40));
        let mut tx = of_a_task.transaction();
        tx.publish(&topic, numbered(10)).publish(&topic, numbered(3 << 40));
        let mut tx = tx.commit();
        for ticket in [&mut known, &mut plain, &mut expecting] {
            assert!(poll(ticket, Waker::noop()).is_pending());
        }
        assert!(poll(&mut batch, Waker::noop()).is_pending() && poll(&mut tx, Waker::noop()).is_pending());
        tickets.send((known, plain, batch, expecting, tx)).unwrap();
    }));
    let (known, plain, batch, expecting, tx) = got.recv().unwrap();
    let reads = disk.counts().reads;
    work(&store);
    assert!(disk.counts().reads > reads);
    let known = done(known).unwrap();
    assert_eq!((known.offset.get(), known.duplicate), (7, true));
    assert_eq!(done(plain).unwrap().offset, end);
    let batch: Vec<_> = done(batch).unwrap().receipts().map(|one| (one.offset.get(), one.duplicate)).collect();
    assert_eq!(batch, [(8, true), (end.get() + 1, false), (9, true)]);
    assert_eq!(done(expecting).unwrap().offset.get(), end.get() + 2);
    let tx: Vec<_> = done(tx).unwrap().receipts.iter().map(|one| (one.offset.get(), one.duplicate)).collect();
    assert_eq!(tx, [(10, true), (end.get() + 3, false)]);
    // What this test would say of a call that waits for the disk.
    assert!(!returns_on_a_hanging_disk(&disk, SECOND / 5, move || _ = orders.publish(numbered(11)).wait().unwrap()));
}

#[test]
fn whoever_publishes_known_ids_without_ever_waiting_is_slowed_down_and_not_refused() {
    for most in [0, 1, 7] {
        let (_, store, orders) = with_ids_on_the_disk(Store::options().max_waiting_publishes(most));
        let tickets: Vec<_> = (0..500).map(|number| orders.publish(numbered(number))).collect();
        for (number, ticket) in (0..).zip(tickets) {
            let receipt = ticket.wait().unwrap();
            assert_eq!((receipt.offset.get(), receipt.duplicate), (number, true), "{most}");
        }
        store.close().unwrap();
    }
}

#[test]
fn ids_that_cannot_be_read_refuse_the_publish_and_hand_it_back() {
    let (disk, _store, orders) = with_ids_on_the_disk(Store::options());
    let ticket = orders.publish(numbered(7));
    disk.set_faults(Faults { read_error: 1.0, ..Faults::default() });
    let error = ticket.wait().unwrap_err();
    assert_eq!(error.into_message(), Some(numbered(7)));
    disk.set_faults(Faults::default());
    let receipt = orders.publish(numbered(7)).wait().unwrap();
    assert_eq!((receipt.offset.get(), receipt.duplicate), (7, true));
}

#[test]
fn many_threads_look_ids_up_at_once_and_each_gets_its_own_answer() {
    let directory = tempfile::tempdir().unwrap();
    let options = Store::options().id_memory_bytes(16 << 10).durability(Durability::Os);
    let store = options.open(directory.path()).unwrap();
    let settings = TopicSettings::default().deduplicate(Window::Forever);
    let orders = store.topic_with("orders", settings).unwrap();
    for first in (0..20_000).step_by(1000) {
        orders.publish_all((first..first + 1000).map(numbered)).wait().unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let orders = &orders;
            scope.spawn(move || {
                for number in 0..500 {
                    let known = orders.publish(numbered(number * 31 + thread)).wait().unwrap();
                    assert_eq!((known.offset.get(), known.duplicate), (number * 31 + thread, true));
                    let fresh = block_on(async { orders.publish(numbered(1 << 40 | thread << 20 | number)).await });
                    assert!(!fresh.unwrap().duplicate);
                }
            });
        }
    });
    assert_eq!(orders.end_offset().get(), 22_000);
    store.close().unwrap();
}
