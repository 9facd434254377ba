//! The inbox: a message whose id a group has processed is not handed to it again, by whatever way it comes.
#![expect(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test")]

use millpond::testing::Faults;
use millpond::{Consumer, Error, Group, Message, Notice, Offset, Store, Topic, TopicSettings, What, Window};
use std::collections::BTreeMap;
use std::time::Duration;

#[path = "support/bench.rs"]
mod bench;
use bench::Bench;

const SEGMENT: u32 = 64 << 10;

/// A topic that remembers no ids, so that the same one comes twice.
fn topic(store: &Store, name: &str) -> Topic {
    store.topic_with(name, TopicSettings::default().deduplicate(Window::Off)).unwrap()
}

fn group(topic: &Topic, window: Window) -> Consumer {
    topic.consumer("book", Group::default().remember_processed(window)).unwrap()
}

fn publish(topic: &Topic, id: &str) {
    topic.publish(Message::new(format!("payload of {id}")).id(id.to_owned())).wait().unwrap();
}

/// Leases and acks all there is; which ids that were.
fn work(group: &Consumer) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(delivery) = group.try_lease().unwrap() {
        ids.push(String::from_utf8(delivery.id().unwrap_or_default().to_vec()).unwrap());
        delivery.ack().wait().unwrap();
    }
    ids
}

fn upkeep(store: &Store) {
    while store.step_commit().unwrap() | store.step_upkeep().unwrap() {}
}

#[test]
fn a_message_whose_id_was_acked_is_settled_counted_and_shown_and_not_handed_out() {
    let mut bench = Bench::new(SEGMENT);
    let store = bench.open();
    let payments = topic(&store, "payments");
    let book = group(&payments, Window::Forever);
    let events = store.events(100).unwrap();
    ["a", "b", "a", "c"].iter().for_each(|id| publish(&payments, id));
    payments.publish("no id").wait().unwrap();
    assert_eq!(work(&book), ["a", "b", "c", ""]);
    publish(&payments, "b");
    assert_eq!(work(&book), Vec::<String>::new());
    assert_eq!((book.stats().removed.processed, book.idle()), (2, true));
    let mut shown = Vec::new();
    while let Some(Notice::Happened(happening)) = events.try_next() {
        if happening.what == What::Processed {
            shown.push((happening.first.get(), happening.count));
        }
    }
    assert_eq!(shown, [(2, 1), (5, 1)]);
    assert!(book.is_processed("a").unwrap() && !book.is_processed("d").unwrap());
    // Another group has processed nothing.
    let mail = payments.consumer("mail", Group::default()).unwrap();
    assert!(!mail.is_processed("a").unwrap());
}

#[test]
fn only_an_ack_makes_an_id_processed() {
    let mut bench = Bench::new(SEGMENT);
    let store = bench.open();
    let payments = topic(&store, "payments");
    let book = group(&payments, Window::Forever);
    ["a", "b", "c"].iter().for_each(|id| publish(&payments, id));
    book.lease().unwrap().nack("not today").wait().unwrap();
    book.lease().unwrap().bury("never").wait().unwrap();
    book.lease().unwrap().release().wait().unwrap();
    for id in ["a", "b", "c"] {
        assert!(!book.is_processed(id).unwrap(), "{id}");
    }
    // Acked late, after its lease ran out, and in a batch.
    let late = book.lease().unwrap();
    bench.clock.advance(Duration::from_secs(40));
    upkeep(&store);
    let batch = book.lease_many(10, Duration::ZERO).unwrap();
    late.ack().wait().unwrap();
    book.ack_all(batch).wait().unwrap();
    assert!(book.is_processed("c").unwrap() && book.is_processed("a").unwrap() && !book.is_processed("b").unwrap());
}

#[test]
fn windows_of_processed_ids_end_by_time_or_by_count() {
    let mut bench = Bench::new(SEGMENT);
    let store = bench.open();
    let payments = topic(&store, "payments");
    let book = group(&payments, Window::For(Duration::from_secs(60)));
    publish(&payments, "a");
    assert_eq!(work(&book), ["a"]);
    bench.clock.advance(Duration::from_secs(59));
    assert!(book.is_processed("a").unwrap());
    bench.clock.advance(Duration::from_secs(1));
    assert!(!book.is_processed("a").unwrap());
    let book = group(&payments, Window::Last(2));
    ["b", "c", "b", "d"].iter().for_each(|id| publish(&payments, id));
    assert_eq!(work(&book), ["b", "c", "d"]);
    assert!(!book.is_processed("b").unwrap() && book.is_processed("c").unwrap());
    publish(&payments, "b");
    assert_eq!(work(&book), ["b"]);
}

#[test]
fn groups_that_share_a_table_process_a_message_once_that_arrives_by_two_ways() {
    let mut bench = Bench::new(SEGMENT);
    let mut store = bench.open();
    let shared = || Group::default().remember_processed(Window::Forever).processed_table("payments");
    let by_mail = topic(&store, "by mail").consumer("book", shared()).unwrap();
    let by_web = topic(&store, "by web").consumer("book", shared()).unwrap();
    let alone = group(&topic(&store, "by fax"), Window::Forever);
    for name in ["by mail", "by web", "by fax"] {
        publish(&topic(&store, name), "payment 7");
    }
    assert_eq!(work(&by_mail), ["payment 7"]);
    assert_eq!((work(&by_web).len(), work(&alone).len()), (0, 1));
    assert!(by_web.is_processed("payment 7").unwrap());
    store = bench.kill(store);
    publish(&topic(&store, "by web"), "payment 7");
    let by_web = store.topic("by web").unwrap().consumer("book", Group::default()).unwrap();
    assert_eq!(work(&by_web).len(), 0);
    // Two copies in two hands at once are two: nobody waits for anybody.
    publish(&topic(&store, "by web"), "payment 8");
    publish(&topic(&store, "by mail"), "payment 8");
    let by_mail = store.topic("by mail").unwrap().consumer("book", Group::default()).unwrap();
    let (one, other) = (by_mail.lease().unwrap(), by_web.lease().unwrap());
    one.ack().wait().unwrap();
    other.ack().wait().unwrap();
    assert!(by_mail.is_processed("payment 8").unwrap());
}

/// Acks `ids` ids in batches.
fn process(store: &Store, ids: std::ops::Range<u32>) {
    let payments = topic(store, "payments");
    let book = group(&payments, Window::Forever);
    for first in ids.clone().step_by(100) {
        let batch = first..(first + 100).min(ids.end);
        payments.publish_all(batch.map(|id| Message::new("p").id(id.to_string()))).wait().unwrap();
        loop {
            let batch = book.lease_many(1000, Duration::ZERO).unwrap();
            if batch.len() == 0 {
                break;
            }
            book.ack_all(batch).wait().unwrap();
        }
        if first % 500 == 0 {
            upkeep(store);
        }
    }
}

fn assert_processed(store: &Store, ids: std::ops::Range<u32>) {
    let book = group(&topic(store, "payments"), Window::Forever);
    for id in ids.clone() {
        assert!(book.is_processed(id.to_string()).unwrap(), "{id}");
    }
    assert!(!book.is_processed("another").unwrap());
}

#[test]
fn processed_ids_are_known_whatever_becomes_of_the_tables() {
    let mut bench = Bench::new(SEGMENT);
    let mut store = bench.open();
    let all = 0..4_000;
    process(&store, all.clone());
    upkeep(&store);
    assert!(bench.tables.rows() > 1_000, "{}", bench.tables.rows());
    assert!(store.id_stats().processed_in_memory < 1_000);
    assert_processed(&store, all.clone());
    store.close().unwrap();
    store = bench.open();
    assert_eq!(store.recovery().tables_rebuilt, None);
    assert_processed(&store, all.clone());
    store = bench.kill(store);
    assert_eq!(store.recovery().tables_rebuilt, None);
    assert_processed(&store, all.clone());
    for round in 0..5 {
        bench.disk.kill();
        drop(store);
        match round {
            0 => bench.tables.clear(),
            1 => bench.tables.roll_back(1),
            2 => bench.tables.roll_back(3),
            3 => bench.tables.fail_after(0),
            _ => bench.tables.fail_after(2),
        }
        store = bench.open();
        assert!(store.recovery().tables_rebuilt.is_some(), "round {round}");
        assert_processed(&store, all.clone());
        upkeep(&store);
        store.close().unwrap();
        store = bench.open();
        assert_eq!(store.recovery().tables_rebuilt, None, "the journal knows the new ones");
        assert_processed(&store, all.clone());
    }
    // They fail while the store is open.
    let before = bench.tables.times_set_aside();
    for calls in 0..10u32 {
        bench.tables.fail_after(calls.into());
        process(&store, 4_000 + calls * 300..4_300 + calls * 300);
        assert_processed(&store, 0..4_300 + calls * 300);
    }
    assert!(bench.tables.times_set_aside() > before);
    store = bench.kill(store);
    assert_processed(&store, 0..7_000);
}

#[test]
fn a_hundred_thousand_processed_ids_have_the_same_answers_through_everything() {
    const IDS: u32 = 100_000;
    let mut bench = Bench::new(1 << 20);
    bench.options = bench.options.clone().id_memory_bytes(16 << 20);
    let mut store = bench.open();
    let book = group(&topic(&store, "payments"), Window::Forever);
    for first in (0..IDS).step_by(1000) {
        let batch = (first..first + 1000).map(|id| Message::new("p").id(id.to_string()));
        topic(&store, "payments").publish_all(batch).wait().unwrap();
        book.ack_all(book.lease_many(1000, Duration::ZERO).unwrap()).wait().unwrap();
        upkeep(&store);
    }
    drop(book);
    assert_processed(&store, 0..IDS);
    store.close().unwrap();
    store = bench.open();
    assert!(bench.tables.rows() > 60_000, "{} were written in checkpoints", bench.tables.rows());
    assert_eq!(store.recovery().tables_rebuilt, None, "a restart");
    assert_processed(&store, 0..IDS);
    store = bench.kill(store);
    assert_eq!(store.recovery().tables_rebuilt, None, "a kill");
    assert_processed(&store, 0..IDS);
    store.clean_now().unwrap();
    upkeep(&store);
    assert_processed(&store, 0..IDS);
    store = bench.kill(store);
    assert_processed(&store, 0..IDS);
    for harm in 0..4 {
        bench.disk.kill();
        drop(store);
        match harm {
            0 => bench.tables.clear(),
            1 => bench.tables.roll_back(2),
            2 => (0..10).for_each(|place| bench.tables.lose_a_row(place * 6_000)),
            _ => bench.tables.age_a_row(bench.tables.rows() - 1),
        }
        let before = bench.tables.times_set_aside();
        store = bench.open();
        assert_processed(&store, 0..IDS);
        assert!(bench.tables.times_set_aside() > before || harm == 3, "harm {harm} was not noticed");
    }
}

#[test]
fn rows_that_left_their_window_leave_the_tables() {
    let mut bench = Bench::new(SEGMENT);
    let store = bench.open();
    process(&store, 0..2_000);
    let rows = bench.tables.rows();
    assert!(rows > 500);
    group(&topic(&store, "payments"), Window::For(Duration::from_secs(60)));
    bench.clock.advance(Duration::from_secs(61));
    let payments = topic(&store, "payments");
    let book = payments.consumer("book", Group::default()).unwrap();
    for id in 2_000..3_000 {
        publish(&payments, &id.to_string());
    }
    while let Some(delivery) = book.try_lease().unwrap() {
        delivery.ack().wait().unwrap();
        upkeep(&store);
    }
    assert!(bench.tables.rows() < 1_100, "{}", bench.tables.rows());
    let store = bench.kill(store);
    assert_eq!(store.recovery().tables_rebuilt, None);
}

fn steps(store: &Store, acked: &mut BTreeMap<u32, Offset>) -> Result<(), Error> {
    let settings = TopicSettings::default().deduplicate(Window::Off);
    let payments = store.topic_with("payments", settings)?;
    let book = payments.consumer("book", Group::default().remember_processed(Window::Forever))?;
    for first in 0..6 {
        let ids = first * 60..first * 60 + 90;
        payments.publish_all(ids.map(|id| Message::new("p").id(id.to_string()))).wait()?;
        loop {
            let batch: Vec<_> = book.lease_many(20, Duration::ZERO)?.collect();
            if batch.is_empty() {
                break;
            }
            let ids: Vec<(u32, Offset)> = batch
                .iter()
                .map(|delivery| (String::from_utf8_lossy(delivery.id().unwrap()).parse().unwrap(), delivery.offset()))
                .collect();
            for (id, offset) in &ids {
                assert!(!acked.contains_key(id), "id {id} is handed out again at {offset}");
            }
            book.ack_all(batch).wait()?;
            store.sync().wait()?;
            acked.extend(ids);
        }
        while store.step_upkeep()? {}
    }
    Ok(())
}

#[test]
fn a_crash_at_every_step_leaves_no_acked_id_to_be_handed_out_again() {
    let mut step = 0;
    loop {
        let mut bench = Bench::new(SEGMENT);
        bench.options = bench.options.clone().id_memory_bytes(16 << 10).segment_bytes(16 << 10);
        let mut faults = Faults::default();
        faults.stop_after = Some(step);
        bench.disk.set_faults(faults);
        let mut acked = BTreeMap::new();
        let store = bench.try_open();
        let outcome = store.as_ref().map_err(|_| ()).and_then(|store| steps(store, &mut acked).map_err(|_| ()));
        bench.disk.crash();
        drop(store);
        match step % 4 {
            0 => bench.tables.clear(),
            1 => bench.tables.roll_back(1 + usize::try_from(step % 3).unwrap()),
            2 => bench.tables.fail_after(step % 11),
            _ => {}
        }
        let mut again = Faults::default();
        again.stop_after = Some(step % 41);
        bench.disk.set_faults(again);
        drop(bench.try_open());
        bench.disk.crash();
        bench.disk.set_faults(Faults::default());
        let store = bench.open();
        let book = group(&topic(&store, "payments"), Window::Forever);
        for id in acked.keys() {
            assert!(book.is_processed(id.to_string()).unwrap(), "step {step}: id {id}");
        }
        steps(&store, &mut acked).unwrap();
        if outcome.is_ok() {
            break;
        }
        step += 1;
    }
    assert!(step > 100, "{step}");
}
