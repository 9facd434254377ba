//! What is exported and imported is the same again: messages with their offsets and times, settings, and how far each
//! group is, with what it remembers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::testing::{Faults, SimDisk};
use millpond::{BuryReason, Durability, Group, ManualClock, Message, Offset, Redrive, Retention, Retry, Store};
use millpond::{Timestamp, TopicSettings, WhenParked, Window};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Runs a command that must succeed; what it wrote, and what it told.
fn millpond(arguments: &[&str], path: &Path, input: &[u8]) -> (Vec<u8>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    let (first, rest) = arguments.split_first().unwrap();
    command.arg(first).arg(path).args(rest);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {told}");
    (output.stdout, told)
}

fn lines(exported: &[u8]) -> Vec<serde_json::Value> {
    let lines = exported.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// Everything that a topic and its groups can have been through.
fn fill(store: &Store) {
    let settings = TopicSettings::default().priorities(3).durability(Durability::Os);
    let settings = settings.retention(Retention::until_settled().max_age(30 * DAY).max_count(10_000));
    let orders = store.topic_with("orders", settings.deduplicate(Window::For(DAY))).unwrap();
    store.topic("nothing yet").unwrap();
    let retry = Retry::waits([DAY, DAY, DAY]).without_jitter();
    let [done, some, none] = ["done", "some", "none"].map(|name| {
        let group = Group::default().lease(Duration::from_secs(7)).retry(retry.clone()).forward_dead_letters("graves");
        orders.consumer(name, if name == "none" { Group::default().ordered(WhenParked::Block) } else { group }).unwrap()
    });
    for number in 0..50_u8 {
        let message = Message::new(vec![number, 0xff]).id(vec![0xfe, number]).key(format!("key {}", number % 3));
        let message = message.header("text", "ü").header("bytes", vec![0xff]).priority(number % 4);
        orders.publish(message.expires_after(DAY * u32::from(number + 1))).wait().unwrap();
    }
    orders.publish(Message::new("later").deliver_at(Timestamp::new(u64::MAX / 4))).wait().unwrap();
    done.ack_all(done.lease_many(100, Duration::ZERO).unwrap()).wait().unwrap();
    let mut kept = Vec::new();
    for delivery in some.lease_many(40, Duration::ZERO).unwrap() {
        match delivery.offset().get() {
            7 => delivery.bury("poison").wait().unwrap(),
            8 | 9 => delivery.nack("once").wait().unwrap(),
            11 => delivery.snooze(DAY).wait().unwrap(),
            number if number % 3 == 0 || number < 5 => delivery.ack().wait().unwrap(),
            _ => kept.push(delivery),
        }
    }
    kept.into_iter().for_each(|delivery| delivery.release().wait().unwrap());
    // One has had a life before, and failed in this one too.
    let again = |offset: u64| Redrive::offsets([Offset::new(offset)]);
    assert_eq!(some.redrive(again(7)).unwrap().changed, 1);
    let seventh = some.lease_many(100, Duration::ZERO).unwrap();
    for delivery in seventh {
        match delivery.offset().get() {
            7 => delivery.nack("twice").wait().unwrap(),
            10 => delivery.bury("for good").wait().unwrap(),
            _ => delivery.release().wait().unwrap(),
        }
    }
    none.ack_all(none.lease_many(2, Duration::ZERO).unwrap()).wait().unwrap();
    // What nobody needs is gone: the topic begins further on.
    let rest = orders.consumer("rest", Group::default().start(millpond::Start::Offset(Offset::new(20)))).unwrap();
    rest.try_lease().unwrap().unwrap().ack().wait().unwrap();
    rest.pause().unwrap();
    orders.remove_group("none").unwrap();
    let mut transaction = store.transaction();
    transaction.set("cursor", vec![1, 2, 0xff]);
    transaction.commit().wait().unwrap();
}

#[test]
fn a_round_trip_keeps_messages_settings_and_what_groups_remember() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let store = Store::open(&from).unwrap();
    fill(&store);
    // Beside its owner.
    let (exported, _) = millpond(&["export"], &from, b"");
    store.close().unwrap();
    let before = lines(&exported);
    let count = |kind: &str| before.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!((count("topic"), count("group"), count("value")), (3, 3, 1));
    let orders = before.iter().find(|line| line["kind"] == "topic" && line["topic"] == "orders").unwrap();
    assert!(orders["first"].as_u64().unwrap() > 0 && orders["end"] == 51, "{orders}");
    assert!(count("message") < 51 + 2, "nothing is gone: gaps are not tried");
    let (_, told) = millpond(&["import"], &to, &exported);
    assert!(told.contains("3 topics") && told.contains("3 groups and 1 values"), "{told}");
    assert!(told.contains("follow the wall clock"), "{told}");
    let (again, _) = millpond(&["export"], &to, b"");
    for (line, expected) in lines(&again).iter().zip(&before) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines(&again).len(), before.len());
    assert!(Store::verify(&to, |_| ()).unwrap().damage.is_empty());
    // The groups go on where they were, with what they knew.
    let store = Store::open(&to).unwrap();
    let orders = store.topic("orders").unwrap();
    let some = orders.consumer("some", Group::default()).unwrap();
    let letters: Vec<_> = some.dead_letters().map(Result::unwrap).collect();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].offset().get(), letters[0].reason()), (10, BuryReason::Asked));
    assert_eq!(letters[0].errors().last().unwrap().1, "for good");
    assert_eq!(some.stats().retrying, 4, "8, 9 and 7 in its second life, and 11 that was snoozed");
    for delivery in some.lease_many(100, Duration::ZERO).unwrap() {
        assert!(delivery.counters().leases >= 2 || delivery.offset().get() >= 40, "{delivery:?}");
    }
    // Its id is known, and so is what it was given.
    let known = orders.publish(Message::new(vec![30, 0xff]).id(vec![0xfe, 30])).wait().unwrap();
    assert!(known.duplicate && known.offset.get() == 30);
    assert_eq!(orders.publish("next").wait().unwrap().offset.get(), 51);
    assert_eq!(store.get("cursor").unwrap().unwrap(), vec![1, 2, 0xff]);
    store.close().unwrap();
}

#[test]
fn a_topic_that_has_messages_is_refused_and_nothing_is_added_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.publish("4711").wait().unwrap();
    let error = store.restore("orders", &millpond::StoredSettings::default()).unwrap_err();
    assert_eq!(error.code(), "unexpected-end", "{error}");
    // Offsets rise, or it is said.
    let mut restore = store.restore("other", &millpond::StoredSettings::default()).unwrap();
    restore.message(Offset::new(5), Timestamp::new(1), "five").unwrap();
    restore.message(Offset::new(4), Timestamp::new(1), "four").unwrap();
    assert_eq!(restore.finish().unwrap_err().code(), "unexpected-end");
    assert_eq!(orders.end_offset(), Offset::new(1));
    store.close().unwrap();
}

/// Restores a thousand messages with gaps, and a group that has settled none of them.
fn restore(store: &Store) -> millpond::Result<()> {
    let mut restore = store.restore("orders", &millpond::StoredSettings::default())?;
    for number in (100..3100_u64).filter(|number| number % 100 < 50) {
        restore.message(Offset::new(number), Timestamp::new(number), number.to_string())?;
    }
    restore.end(Offset::new(4000))?;
    let mut progress = millpond::GroupProgress::default();
    progress.unsettled = vec![(Offset::new(100), Offset::new(149)), (Offset::new(200), Offset::new(3099))];
    restore.group("email", &progress)?;
    restore.finish().map(drop)
}

#[test]
fn a_restore_that_is_cut_leaves_a_prefix_and_one_that_is_through_is_there() {
    let open = |disk: &SimDisk, seed: u64| {
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Store::open_simulated(disk, clock, seed, Store::options().segment_bytes(32 << 10).first_segment_bytes(32 << 10))
    };
    let disk = SimDisk::new(4);
    let store = open(&disk, 1).unwrap();
    let before = disk.operations();
    restore(&store).unwrap();
    let steps = disk.operations() - before;
    let check = |disk: &SimDisk, whole: bool, at: &str| {
        let store = open(disk, 2).unwrap();
        let Ok(orders) = store.existing_topic("orders") else { return assert!(!whole, "{at}") };
        let mut wanted = (100..3100_u64).filter(|number| number % 100 < 50);
        for record in orders.read(..) {
            let record = record.unwrap();
            assert_eq!(Some(record.offset().get()), wanted.next(), "{at}");
            assert_eq!(record.payload(), record.offset().to_string().as_bytes());
            assert_eq!(record.time().get(), record.offset().get());
        }
        if whole {
            assert_eq!((wanted.next(), orders.end_offset()), (None, Offset::new(4000)), "{at}");
            let email = orders.consumer("email", Group::default()).unwrap();
            let left: Vec<u64> = std::iter::from_fn(|| email.try_lease().unwrap())
                .map(|delivery| {
                    let offset = delivery.offset().get();
                    delivery.ack().wait().unwrap();
                    offset
                })
                .collect();
            assert!(left.into_iter().eq((100..3100).filter(|number| number % 100 < 50)), "{at}");
        }
    };
    disk.crash();
    check(&disk, true, "whole");
    for step in 0..steps {
        let disk = SimDisk::new(4);
        let store = open(&disk, 1).unwrap();
        disk.set_faults(Faults { stop_after: Some(step), ..Faults::default() });
        let whole = restore(&store).is_ok();
        std::mem::forget(store);
        for cut in 0..4 {
            let disk = disk.fork(cut);
            disk.crash();
            check(&disk, whole, &format!("step {step} of {steps}, cut {cut}"));
        }
    }
}
