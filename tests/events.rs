//! The subscription to what becomes of messages: everything in its order, and nobody waits for who does not listen.
#![expect(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test, with a thread of its own")]

use millpond::{Durability, Events, Group, Message, Notice, Redrive, Retry, Store, What};
use std::time::Duration;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

/// Group, first offset, count, and what, of everything so far.
fn told(events: &Events) -> Vec<(Option<String>, u64, u64, What)> {
    std::iter::from_fn(|| events.try_next())
        .map(|notice| match notice {
            Notice::Happened(told) => {
                assert_eq!(&*told.topic, "orders");
                (told.group.map(|group| group.to_string()), told.first.get(), told.count, told.what)
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn what_becomes_of_messages_is_told_in_its_order() {
    let (_dir, store) = store();
    let events = store.events(100).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default().retry(Retry::fixed(Duration::from_secs(60)))).unwrap();
    assert_eq!(told(&events), []);
    orders.publish_all((0..4).map(|number| Message::new(number.to_string()))).wait().unwrap();
    assert_eq!(told(&events), [(None, 0, 4, What::Published)]);
    let group = || Some("email".to_owned());

    let mut held = email.lease_many(4, Duration::ZERO).unwrap();
    assert_eq!(told(&events), [0, 1, 2, 3].map(|offset| (group(), offset, 1, What::Leased)));
    held.next().unwrap().ack().wait().unwrap();
    held.next().unwrap().nack("no").wait().unwrap();
    held.next().unwrap().bury("never").wait().unwrap();
    held.next().unwrap().release().wait().unwrap();
    let found = told(&events);
    assert_eq!(found[0], (group(), 0, 1, What::Acked));
    assert!(matches!(found[1], (_, 1, 1, What::Retried { .. })));
    assert_eq!(found[2], (group(), 2, 1, What::Buried));
    assert_eq!(found[3..], [(group(), 3, 1, What::Released { until: None })]);
    email.redrive(Redrive::all()).unwrap();
    assert_eq!(told(&events), [(group(), 2, 1, What::Redriven)]);

    // Another one hears what comes from now on, and both hear the end.
    let other = store.events(100).unwrap();
    store.close().unwrap();
    for events in [events, other] {
        assert_eq!(events.next_timeout(Duration::from_secs(60)), None);
    }
}

#[test]
fn who_does_not_listen_costs_a_count_and_is_told_how_much_was_missed() {
    let (_dir, store) = store();
    let orders = store.topic("orders").unwrap();
    let events = store.events(10).unwrap();
    let gone = store.events(10).unwrap();
    drop(gone);
    let publish = || orders.publish(Message::new("x").durability(Durability::Memory)).wait().unwrap();
    for _ in 0..1_000 {
        publish();
    }
    let first: Vec<Notice> = (0..10).map(|_| events.try_next().unwrap()).collect();
    assert!(first.iter().all(|notice| matches!(notice, Notice::Happened(told) if told.count == 1)));
    // What was missed is told before what comes after it.
    publish();
    assert_eq!(events.try_next(), Some(Notice::Missed(990)));
    assert!(matches!(events.try_next(), Some(Notice::Happened(told)) if told.first.get() == 1_000));
    assert_eq!(events.try_next(), None);
}

#[test]
fn who_waits_is_woken() {
    let (_dir, store) = store();
    let orders = store.topic("orders").unwrap();
    let events = store.events(10).unwrap();
    let listener = std::thread::spawn(move || events.next_timeout(Duration::from_secs(60)));
    std::thread::sleep(Duration::from_millis(20));
    orders.publish("x").wait().unwrap();
    assert!(matches!(listener.join().unwrap(), Some(Notice::Happened(_))));
}
