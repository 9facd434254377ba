//! What is exported and imported is the same again: messages, their order, and how far each group is.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{Group, Message, Store};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs a command that must succeed; what it wrote.
fn millpond(arguments: &[&str], path: &Path, input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    let (first, rest) = arguments.split_first().unwrap();
    command.arg(first).arg(path).args(rest).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    output.stdout
}

/// The lines of an export without what an import can't keep: times.
fn lines(exported: &[u8]) -> Vec<serde_json::Value> {
    let mut lines: Vec<serde_json::Value> = exported
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("time");
    }
    lines
}

#[test]
fn a_round_trip_keeps_messages_and_the_progress_of_groups() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let store = Store::open(&from).unwrap();
    let orders = store.topic("orders").unwrap();
    let [done, some, _none] = ["done", "some", "none"].map(|name| orders.consumer(name, Group::default()).unwrap());
    for number in 0..50_u8 {
        let message = Message::new(vec![number, 0xff]).id(vec![0xfe, number]).key(format!("key {}", number % 3));
        orders.publish(message.header("text", "ü").header("bytes", vec![0xff])).wait().unwrap();
    }
    orders.publish(Message::new("later").delay(Duration::from_secs(86_400))).wait().unwrap();
    done.ack_all(done.lease_many(100, Duration::ZERO).unwrap()).wait().unwrap();
    let mut kept = Vec::new();
    for delivery in some.lease_many(30, Duration::ZERO).unwrap() {
        match delivery.offset().get() {
            7 => delivery.bury("poison").wait().unwrap(),
            number if number % 3 == 0 => delivery.ack().wait().unwrap(),
            _ => kept.push(delivery),
        }
    }
    kept.into_iter().for_each(|delivery| delivery.release().wait().unwrap());
    // Beside its owner.
    let exported = millpond(&["export"], &from, b"");
    store.close().unwrap();
    let before = lines(&exported);
    assert_eq!(before.len(), 1 + 51 + 3);
    millpond(&["import"], &to, &exported);
    assert_eq!(lines(&millpond(&["export"], &to, b"")), before);
    // The groups go on where they were.
    let store = Store::open(&to).unwrap();
    let orders = store.topic("orders").unwrap();
    let ready = |name: &str| orders.consumer(name, Group::default()).unwrap().stats();
    assert_eq!((ready("done").ready, ready("done").delayed), (0, 1));
    assert_eq!((ready("some").ready, ready("some").dead), (50 - 10 - 1, 1));
    assert_eq!(ready("none").ready, 50);
    store.close().unwrap();
}
