//! Publishing only where nobody was quicker: a topic ends where it is expected to, or the call fails whole.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::testing::SimDisk;
use millpond::{Durability, ErrorKind, ManualClock, Message, Offset, Options, Store, Timestamp, Topic};
use std::sync::atomic::{AtomicU64, Ordering};

fn open(options: Options) -> Store {
    let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
    Store::open_simulated(&SimDisk::new(1), clock, 1, options).unwrap()
}

fn payloads(topic: &Topic) -> Vec<Vec<u8>> {
    topic.read(..).map(|record| record.unwrap().payload().to_vec()).collect()
}

#[test]
fn a_message_is_published_where_it_was_expected_to_be_or_handed_back() {
    let store = open(Store::options());
    let account = store.topic("account").unwrap();
    let first = account.publish_if(Offset::ZERO, "opened").wait().unwrap();
    assert_eq!((first.offset, first.duplicate), (Offset::ZERO, false));
    let message = Message::new("100 in").id("4711").delay(std::time::Duration::from_secs(1));
    for wrong in [0, 2, 7, u64::MAX] {
        let error = account.publish_if(Offset::new(wrong), message.clone()).wait().unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "unexpected-end"));
        let said = format!("\"account\" was expected to end at offset {wrong} and ends at 1");
        assert!(error.to_string().contains(&said), "{error}");
        assert_eq!(error.into_message(), Some(message.clone()));
    }
    assert_eq!(account.publish_if(first.offset.next(), message).wait().unwrap().offset, Offset::new(1));
    assert_eq!(account.end_offset(), Offset::new(2));
}

#[test]
fn what_was_accepted_counts_though_it_is_not_visible_yet() {
    let store = open(Store::options());
    let account = store.topic("account").unwrap();
    let ticket = account.publish("not there yet");
    assert_eq!(account.end_offset(), Offset::ZERO);
    assert_eq!(account.publish_if(Offset::ZERO, "a").wait().unwrap_err().kind(), ErrorKind::Conflict);
    let second = account.publish_if(Offset::new(1), "b");
    assert_eq!((second.wait().unwrap().offset, ticket.wait().unwrap().offset), (Offset::new(1), Offset::ZERO));
}

#[test]
fn a_message_has_the_level_that_a_plain_publish_gives_it() {
    let store = open(Store::options().durability(Durability::Memory));
    let account = store.topic("account").unwrap();
    account.publish_if(Offset::ZERO, "a").wait().unwrap();
    assert_eq!(store.stats().written, store.stats().durable, "nobody wrote anything");
    let message = Message::new("b").durability(Durability::Disk);
    account.publish_if(Offset::new(1), message).wait().unwrap();
    assert_eq!(store.stats().durable, store.stats().end);
}

#[test]
fn in_a_transaction_all_of_it_fails_with_the_expectation() {
    let store = open(Store::options());
    let (account, log) = (store.topic("account").unwrap(), store.topic("log").unwrap());
    account.publish("opened").wait().unwrap();
    let mut tx = store.transaction();
    tx.expect_end(&account, Offset::new(1)).publish(&account, "a").publish(&account, "b");
    tx.expect_end(&log, Offset::ZERO);
    tx.commit().wait().unwrap();
    let mut tx = store.transaction();
    tx.publish(&log, "c").expect_end(&account, Offset::new(1)).set("k", "v");
    let error = tx.commit().wait().unwrap_err();
    assert_eq!(error.code(), "unexpected-end");
    assert!(error.to_string().contains("expected to end at offset 1 and ends at 3"), "{error}");
    assert_eq!(error.into_messages(), Some(vec!["c".into()]));
    assert_eq!((payloads(&account).len(), payloads(&log).len(), store.get("k").unwrap()), (3, 0, None));
    // One that only expects writes nothing.
    let end = store.stats().end;
    let mut tx = store.transaction();
    tx.expect_end(&account, Offset::new(3));
    tx.commit().wait().unwrap();
    assert_eq!(store.stats().end, end);
}

#[test]
fn of_many_writers_each_decides_by_what_all_before_it_have_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::options().durability(Durability::Memory).open(directory.path()).unwrap();
    let account = store.topic("account").unwrap();
    let conflicts = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    loop {
                        let end = account.end_offset();
                        // The balance is the number of entries: a decision by what is there.
                        match account.publish_if(end, end.get().to_string()).wait() {
                            Ok(receipt) => break assert_eq!(receipt.offset, end),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                        }
                        conflicts.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let all: Vec<Vec<u8>> = (0..400_u64).map(|entry| entry.to_string().into_bytes()).collect();
    assert_eq!(payloads(&account), all, "{conflicts:?}");
    store.close().unwrap();
}
