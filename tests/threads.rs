//! Many threads on one store: every message acked exactly once, nobody waits for ever, close and stop wake everybody.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and starts threads")]

use millpond::{Durability, ErrorKind, Group, Message, Store};
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `what` on a thread of its own, and fails if it does not come back.
fn within_patience<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (told, answer) = mpsc::channel();
    std::thread::spawn(move || drop(told.send(what())));
    answer.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn eight_producers_and_four_consumers_ack_every_message_exactly_once() {
    const EACH: u64 = 250;
    let acked = within_patience(|| {
        let dir = tempfile::tempdir().unwrap();
        let options = Store::options().segment_bytes(32 << 10).first_segment_bytes(16 << 10);
        let store = options.open(dir.path()).unwrap();
        let orders = store.topic("orders").unwrap();
        let email = orders.consumer("email", Group::default()).unwrap();
        let (told, acks) = mpsc::channel();
        std::thread::scope(|scope| {
            for producer in 0..8 {
                let orders = orders.clone();
                scope.spawn(move || {
                    let mut last = None;
                    for number in 0..EACH {
                        let level = if number % 50 == 0 { Durability::Disk } else { Durability::Os };
                        let message = Message::new(format!("{producer} {number}")).durability(level);
                        let offset = orders.publish(message).wait().unwrap().offset;
                        assert!(last < Some(offset), "receipts of one producer rise");
                        last = Some(offset);
                    }
                });
            }
            for consumer in 0..4 {
                let (email, told) = (email.clone(), told.clone());
                scope.spawn(move || {
                    loop {
                        // Half of them take several at a time.
                        let max = if consumer % 2 == 0 { 1 } else { 16 };
                        let batch = match email.lease_many(max, PATIENCE) {
                            Ok(batch) => batch,
                            Err(error) => break assert_eq!(error.kind(), ErrorKind::Closed),
                        };
                        for delivery in batch {
                            let text = String::from_utf8(delivery.payload().to_vec()).unwrap();
                            assert_eq!(delivery.attempt(), 1);
                            delivery.ack().wait().unwrap();
                            told.send(text).unwrap();
                        }
                    }
                });
            }
            let mut acked = BTreeMap::new();
            for text in acks.iter().take(8 * usize::try_from(EACH).unwrap()) {
                *acked.entry(text).or_insert(0) += 1;
            }
            email.stopper().stop();
            assert!(email.stats().ready == 0 && email.stats().leased == 0);
            acked
        })
    });
    assert_eq!(acked.len(), 2000);
    assert!(acked.values().all(|times| *times == 1));
}

#[test]
fn closing_wakes_those_who_lease_and_refuses_those_who_publish() {
    for _ in 0..5 {
        let accepted = within_patience(|| {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let orders = store.topic("orders").unwrap();
            let idle = store.topic("idle").unwrap().consumer("waits", Group::default()).unwrap();
            let email = orders.consumer("email", Group::default()).unwrap();
            let (begun, started) = mpsc::channel();
            let receipts = std::thread::scope(|scope| {
                let publishers: Vec<_> = (0..4)
                    .map(|_| {
                        let (orders, begun) = (orders.clone(), begun.clone());
                        scope.spawn(move || {
                            let mut receipts = Vec::new();
                            loop {
                                match orders.publish("a").wait() {
                                    Ok(receipt) => receipts.push(receipt.offset),
                                    Err(error) => {
                                        assert_eq!(error.kind(), ErrorKind::Closed);
                                        assert!(error.into_message().is_some());
                                        return receipts;
                                    }
                                }
                                let _ = begun.send(());
                            }
                        })
                    })
                    .collect();
                for consumer in [&idle, &idle, &email, &email] {
                    scope.spawn(move || {
                        let error = loop {
                            match consumer.lease() {
                                Ok(delivery) => drop(delivery.ack().wait()),
                                Err(error) => break error,
                            }
                        };
                        assert_eq!(error.kind(), ErrorKind::Closed);
                    });
                }
                started.iter().take(20).for_each(drop);
                store.close().unwrap();
                publishers.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            let store = Store::open(dir.path()).unwrap();
            assert!(store.recovery().clean);
            let end = store.topic("orders").unwrap().end_offset();
            assert!(receipts.iter().all(|offset| *offset < end), "a receipt was given for what is not there");
            receipts.len()
        });
        assert!(accepted >= 20);
    }
}

#[test]
fn a_stopper_wakes_its_consumer_and_no_other() {
    within_patience(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let orders = store.topic("orders").unwrap();
        let [stopped, other] = [(); 2].map(|()| orders.consumer("email", Group::default()).unwrap());
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let consumer = stopped.clone();
                std::thread::spawn(move || consumer.lease().map(drop).unwrap_err().kind())
            })
            .collect();
        let goes_on = std::thread::spawn(move || other.lease().unwrap().ack().wait());
        stopped.stopper().stop();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), ErrorKind::Closed);
        }
        assert_eq!(stopped.try_lease().unwrap_err().kind(), ErrorKind::Closed);
        orders.publish("a").wait().unwrap();
        goes_on.join().unwrap().unwrap();
    });
}

#[test]
fn a_publish_wakes_one_who_waits_whatever_its_level() {
    for level in [Durability::Memory, Durability::Os, Durability::Disk] {
        within_patience(move || {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let orders = store.topic("orders").unwrap();
            let email = orders.consumer("email", Group::default()).unwrap();
            for _ in 0..20 {
                let consumer = email.clone();
                let waits = std::thread::spawn(move || consumer.lease().unwrap().ack().wait().unwrap());
                orders.publish(Message::new("a").durability(level)).detach();
                waits.join().unwrap();
            }
        });
    }
}
