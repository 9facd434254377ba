//! Ids in transactions: a message whose id is known is not appended again, and the rest happens; one whose id was used
//! for something else refuses the whole; what is acked is processed.
#![expect(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test fails by panicking")]

use millpond::testing::{Faults, SimDisk};
use millpond::{Consumer, Durability, ErrorKind, Group, ManualClock, Message, Offset, Store, Timestamp, Topic};
use millpond::{TopicSettings, Window};

fn open(disk: &SimDisk) -> Store {
    let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
    Store::open_simulated(disk, clock, 1, Store::options()).unwrap()
}

fn message(id: &str) -> Message {
    Message::new(format!("payload of {id}")).id(id.to_owned())
}

fn payloads(topic: &Topic) -> Vec<String> {
    topic.read(..).map(|record| String::from_utf8(record.unwrap().payload().to_vec()).unwrap()).collect()
}

#[test]
fn a_message_that_is_known_is_answered_with_the_first_receipt_and_the_rest_happens() {
    let store = open(&SimDisk::new(1));
    let (a, b) = (store.topic("a").unwrap(), store.topic("b").unwrap());
    let first = a.publish(message("1")).wait().unwrap();
    a.publish("without").wait().unwrap();
    let mut tx = store.transaction();
    tx.publish(&a, message("2")).publish(&b, message("1")).publish(&a, message("1")).publish(&a, message("2"));
    tx.publish(&a, "without").publish(&a, message("3")).set("k", "v");
    let committed = tx.commit().wait().unwrap();
    let told: Vec<(u64, bool)> =
        committed.receipts.iter().map(|receipt| (receipt.offset.get(), receipt.duplicate)).collect();
    // By topic: the same id in another one is another message.
    assert_eq!(told, [(2, false), (0, false), (0, true), (2, true), (3, false), (4, false)]);
    assert_eq!(committed.receipts[2].time, first.time);
    assert_eq!((payloads(&a).len(), payloads(&b).len()), (5, 1));
    // All of it once more: nothing is appended but the value.
    let mut tx = store.transaction();
    tx.publish(&a, message("3")).publish(&b, message("1")).set("k", "w");
    let committed = tx.commit().wait().unwrap();
    assert!(committed.receipts.iter().all(|receipt| receipt.duplicate));
    assert_eq!((payloads(&a).len(), payloads(&b).len()), (5, 1));
    assert_eq!(store.get("k").unwrap().as_deref(), Some(&b"w"[..]));
    // And with nothing else: nothing at all is.
    let end = store.stats().end;
    let mut tx = store.transaction();
    tx.publish(&a, message("3"));
    assert_eq!(tx.commit().wait().unwrap().receipts[0].offset, Offset::new(4));
    assert_eq!(store.stats().end, end);
}

#[test]
fn an_id_that_was_used_for_something_else_refuses_the_whole() {
    let store = open(&SimDisk::new(2));
    let (a, b) = (store.topic("a").unwrap(), store.topic("b").unwrap());
    a.publish(message("1")).wait().unwrap();
    for other in ["1", "2"] {
        let other = Message::new("something else").id(other);
        let mut tx = store.transaction();
        tx.publish(&b, "b").publish(&a, message("2")).publish(&a, other.clone()).set("k", "v");
        let error = tx.commit().wait().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "id-reused"));
        assert_eq!(error.into_messages(), Some(vec!["b".into(), message("2"), other]));
    }
    assert_eq!((payloads(&a).len(), payloads(&b).len(), store.get("k").unwrap()), (1, 0, None));
    // Nothing of it was remembered.
    assert!(!a.publish(message("2")).wait().unwrap().duplicate);
}

#[test]
fn a_known_message_has_the_level_that_is_asked_for_now() {
    let store = open(&SimDisk::new(3));
    let a = store.topic("a").unwrap();
    a.publish(message("1").durability(Durability::Memory)).wait().unwrap();
    assert_eq!(store.stats().written, store.stats().durable, "nobody wrote it");
    let mut tx = store.transaction();
    tx.publish(&a, message("1"));
    assert!(tx.commit().wait().unwrap().receipts[0].duplicate);
    assert_eq!(store.stats().durable, store.stats().end);
}

#[test]
fn the_same_call_with_an_expectation_once_more_has_the_first_answer() {
    let store = open(&SimDisk::new(4));
    let a = store.topic("a").unwrap();
    let first = a.publish_if(Offset::ZERO, message("1")).wait().unwrap();
    a.publish("later").wait().unwrap();
    let again = a.publish_if(Offset::ZERO, message("1")).wait().unwrap();
    assert_eq!((again.offset, again.time, again.duplicate), (first.offset, first.time, true));
    assert_eq!(a.publish_if(Offset::ZERO, message("2")).wait().unwrap_err().kind(), ErrorKind::Conflict);
    // Beside something new, the topic is asked.
    let mut tx = store.transaction();
    tx.expect_end(&a, Offset::ZERO).publish(&a, message("1")).publish(&a, message("2"));
    assert_eq!(tx.commit().wait().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(payloads(&a).len(), 2);
}

fn inbox(store: &Store, topic: &str) -> Consumer {
    let topic = store.topic_with(topic, TopicSettings::default().deduplicate(Window::Off)).unwrap();
    let settings = Group::default().remember_processed(Window::Forever).processed_table("shared");
    topic.consumer("inbox", settings).unwrap()
}

#[test]
fn ids_are_published_and_processed_whole_or_not_at_all_wherever_a_crash_strikes() {
    let (mut nothing, mut whole) = (0, 0);
    for (power, seed) in (0..8).map(|seed| (seed > 0, seed)) {
        for stop in 0.. {
            let disk = SimDisk::new(seed);
            let store = open(&disk);
            let (a, b, out) = (inbox(&store, "a"), inbox(&store, "b"), store.topic("out").unwrap());
            for topic in ["a", "b"] {
                store.topic(topic).unwrap().publish(message(topic)).wait().unwrap();
            }
            let mut faults = Faults::default();
            faults.stop_after = Some(stop);
            disk.set_faults(faults);
            let committed = (|| {
                let mut tx = store.transaction();
                tx.ack(a.try_lease().ok()??).ack(b.try_lease().ok()??).publish(&out, message("made"));
                tx.commit().wait().ok()
            })();
            if power {
                disk.crash()
            } else {
                disk.kill()
            }
            drop(store);
            disk.set_faults(Faults::default());
            let store = open(&disk);
            let (a, b, out) = (inbox(&store, "a"), inbox(&store, "b"), store.topic("out").unwrap());
            let there = payloads(&out).len() == 1;
            assert!(there || committed.is_none(), "power {power}, stop {stop}: it was committed, and is gone");
            // The table is shared: each knows what the other has processed.
            for (group, id) in [(&a, "a"), (&a, "b"), (&b, "a"), (&b, "b")] {
                assert_eq!(group.is_processed(id).unwrap(), there, "power {power}, stop {stop}");
            }
            assert_eq!((a.idle(), b.idle()), (there, there));
            // The same once more is known if it is there, and only then.
            assert_eq!(out.publish(message("made")).wait().unwrap().duplicate, there);
            if there {
                whole += 1
            } else {
                nothing += 1
            }
            if committed.is_some() {
                break;
            }
        }
    }
    assert!(nothing >= 20 && whole >= 8, "{nothing} {whole}");
}
