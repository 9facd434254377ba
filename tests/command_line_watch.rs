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
    assert_eq!((&group["lag"], &group["dead"], &group["ready_or_leased"]), (&8.into(), &1.into(), &8.into()));
    assert!(group["ready"].is_null() && group["leased"].is_null(), "{group}");
    assert_eq!((group["done_per_second"].as_f64(), lines[1]["came_per_second"].as_f64()), (Some(0.0), Some(0.0)));
    // Where nobody sits at a terminal it is a table, and ends.
    let (code, out) = millpond(&["top"], &path, &["--interval", "100ms"]);
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((code, rows.len()), (0, 2), "{out}");
    let titles = ["IN/S", "DONE/S", "LAG", "READY/LEASED", "RETRYING", "DELAYED", "DEAD", "OLDEST"];
    assert_eq!(rows[0], [&["TOPIC", "GROUP"], &titles[..]].concat());
    assert_eq!(rows[1][..9], ["orders", "email", "0.0", "0.0", "8", "8", "0", "0", "1"]);
    store.close().unwrap();
}

#[test]
fn what_is_handed_out_is_said_to_be_unknown_beside_the_owner_and_known_to_it() {
    let (dir, store) = open();
    let path = dir.path().join("pond");
    let email = store.existing_topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    let held: Vec<_> = email.lease_many(3, std::time::Duration::ZERO).unwrap().collect();
    let stats = email.stats();
    assert_eq!((stats.ready, stats.leased, stats.leases_known), (5, 3, true));
    let group = |arguments: &[&str], rest: &[&str]| -> Value {
        let (code, out) = millpond(arguments, &path, rest);
        assert_eq!(code, 0, "{out}");
        let mut lines = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|line| line["kind"] == "group").unwrap()
    };
    for line in [group(&["info"], &["--json"]), group(&["top"], &["--once", "--json", "--interval", "100ms"])] {
        assert!(line["ready"].is_null() && line["leased"].is_null() && line["ready_or_leased"] == 8, "{line}");
    }
    let (_, out) = millpond(&["info"], &path, &[]);
    assert!(out.contains("READY/LEASED") && !out.contains("READY "), "{out}");
    let (_, out) = millpond(&["metrics"], &path, &[]);
    assert!(out.contains("only the store's owner knows which") && !out.contains("millpond_leased"), "{out}");
    let page = store.stats().to_prometheus();
    assert!(page.contains("millpond_leased{topic=\"orders\",group=\"email\"} 3"), "{page}");
    held.into_iter().for_each(std::mem::forget);
    store.close().unwrap();
    // Nobody has it open: `info` opens it itself, and nothing is handed out.
    let line = group(&["info"], &["--json"]);
    assert!(line["ready_or_leased"] == 8 && line["leased"] == 0, "{line}");
}

#[test]
fn dead_letters_are_shown_beside_the_owner() {
    let (dir, store) = open();
    let path = dir.path().join("pond");
    let (code, out) = millpond(&["dlq", "ls"], &path, &["orders", "email"]);
    assert!(code == 0 && out.lines().count() == 2 && out.contains("no such address"), "{out}");
    let (code, out) = millpond(&["dlq", "show"], &path, &["orders", "email", "1", "--json"]);
    let letter: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &letter["offset"], &letter["message"]["payload"]), (0, &1.into(), &"4711".into()));
    for (rest, code) in [(["orders", "email", "2"], 2), (["orders", "nobody", "1"], 2), (["nothing", "email", "1"], 2)]
    {
        assert_eq!(millpond(&["dlq", "show"], &path, &rest).0, code, "{rest:?}");
    }
    // The owner closes, and everything is shown as before.
    store.close().unwrap();
    let (code, after) = millpond(&["dlq", "show"], &path, &["orders", "email", "1", "--json"]);
    assert_eq!((code, after), (0, out));
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

#[test]
fn tail_and_peek_show_the_lines_that_were_asked_for() {
    let (dir, store) = open();
    let path = dir.path().join("pond");
    let orders = store.topic("orders").unwrap();
    orders.publish(millpond::Message::new("the 4712th").key("customer-7").header("source", "web")).wait().unwrap();
    let (code, out) = millpond(&["tail"], &path, &["orders", "--grep", "4712", "--format", "%o %k %h %s"]);
    assert_eq!((code, out.as_str()), (0, "10 customer-7 source=web the 4712th\n"));
    let (_, out) = millpond(&["tail"], &path, &["orders", "--grep", "customer", "--format", "%o"]);
    assert_eq!(out, "10\n");
    let (_, out) = millpond(&["peek"], &path, &["orders", "--from", "latest", "-n", "2", "--format", "%o:%S"]);
    assert_eq!(out, "9:4\n10:10\n");
    assert_eq!(millpond(&["peek"], &path, &["orders", "--format", "%q"]).0, 2);
    store.close().unwrap();
}

#[test]
fn bench_says_the_durability_and_the_floor_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    for (level, batch) in [("disk", "1"), ("os", "10"), ("memory", "7")] {
        let rest = ["-n", "50", "--size", "100", "--batch", batch, "--durability", level, "--json"];
        let (code, out) = millpond(&["bench"], dir.path(), &rest);
        assert_eq!(code, 0, "{out}");
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let whats: Vec<&str> = lines.iter().map(|line| line["what"].as_str().unwrap()).collect();
        let floor = if level == "disk" { "floor: write + fdatasync" } else { "floor: write" };
        assert_eq!(whats, [floor, "publish", "lease + ack"]);
        for line in &lines {
            assert_eq!((line["durability"].as_str(), line["messages"].as_u64()), (Some(level), Some(50)));
            assert!(line["per_second"].as_f64().unwrap() > 0.0 && line["of_floor"].as_f64().unwrap() > 0.0);
            assert!(line["p50_us"].as_u64() <= line["p99_us"].as_u64(), "{line}");
        }
    }
    let (code, out) = millpond(&["bench"], dir.path(), &["-n", "10"]);
    assert!(code == 0 && out.contains("DURABILITY") && out.contains("disk"), "{out}");
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    assert_eq!(millpond(&["bench"], &dir.path().join("nowhere"), &[]).0, 2);
}
