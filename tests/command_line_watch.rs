//! The program `millpond` where somebody watches a store that a program has open: `top`, `metrics`.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::{Group, Store};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

fn millpond(arguments: &[&str], path: &Path, rest: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    let output = command.args(arguments).arg(path).args(rest).stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// A store that this process has open: ten orders, of which one is done and one is dead.
fn open() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("pond")).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..10).map(|_| "4711".into())).wait().unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    email.lease().unwrap().ack().wait().unwrap();
    email.lease().unwrap().bury("no such address").wait().unwrap();
    store.sync().wait().unwrap();
    (dir, store)
}

#[test]
fn top_shows_lag_and_dead_letters_beside_the_owner() {
    let (dir, store) = open();
    let path = dir.path().join("pond");
    let (code, out) = millpond(&["top"], &path, &["--once", "--json", "--interval", "100ms"]);
    assert_eq!(code, 0, "{out}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["store", "topic", "group"]);
    let group = &lines[2];
    assert_eq!((&group["lag"], &group["dead"], &group["ready"]), (&8.into(), &1.into(), &8.into()));
    assert_eq!((group["done_per_second"].as_f64(), lines[1]["came_per_second"].as_f64()), (Some(0.0), Some(0.0)));
    // Where nobody sits at a terminal it is a table, and ends.
    let (code, out) = millpond(&["top"], &path, &["--interval", "100ms"]);
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((code, rows.len()), (0, 2), "{out}");
    assert_eq!(rows[0], ["TOPIC", "GROUP", "IN/S", "DONE/S", "LAG", "READY", "RETRYING", "DELAYED", "DEAD", "OLDEST"]);
    assert_eq!(rows[1][..9], ["orders", "email", "0.0", "0.0", "8", "8", "0", "0", "1"]);
    store.close().unwrap();
}

#[test]
fn metrics_are_gauges_beside_the_owner_and_say_nothing_that_only_it_knows() {
    let (dir, store) = open();
    let (code, out) = millpond(&["metrics"], &dir.path().join("pond"), &[]);
    assert_eq!(code, 0, "{out}");
    for line in
        ["millpond_ready{topic=\"orders\",group=\"email\"} 8", "millpond_dead{topic=\"orders\",group=\"email\"} 1"]
    {
        assert!(out.lines().any(|other| other == line), "{line}\n{out}");
    }
    for absent in ["millpond_acked_total", "millpond_fsync_seconds", "millpond_poisoned", "millpond_ids"] {
        assert!(!out.contains(absent), "{absent}");
    }
    store.close().unwrap();
    assert_eq!(millpond(&["metrics"], &dir.path().join("nowhere"), &[]).0, 2);
}
