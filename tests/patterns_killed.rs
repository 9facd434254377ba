//! The patterns of the guide in real processes that are killed (SIGKILL) at arbitrary moments, with a real database and
//! real files beside a real store.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/consume_transform_produce/invoices.rs"]
mod invoices;
#[path = "../examples/outbox/shop.rs"]
mod shop;

use invoices::Office;
use millpond::Store;
use rusqlite::Connection;
use shop::Shop;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the child works, and at what.
const CHILD: &str = "MILLPOND_TEST_PATTERN";
const WHAT: &str = "MILLPOND_TEST_PATTERN_WHAT";
const ORDERS: u64 = 120;

fn say(number: u64) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n> {number}")?;
    out.flush()
}

#[test]
fn the_child_works_until_it_is_killed() {
    let (Ok(path), Ok(what)) = (std::env::var(CHILD), std::env::var(WHAT)) else { return };
    let store = Store::open(Path::new(&path).join("store")).unwrap();
    if what == "outbox" {
        let mut database = Connection::open(Path::new(&path).join("shop.db")).unwrap();
        let mut shop = Shop::open(&store, &mut database).unwrap();
        shop.work(ORDERS, &mut |order| Ok(say(order)?)).unwrap();
    } else {
        let office = Office::open(&store).unwrap();
        office.accept(ORDERS).unwrap();
        while let Some(invoice) = office.bill_one().unwrap() {
            say(invoice).unwrap();
        }
    }
    store.close().unwrap();
}

/// Starts the child and kills it when it has said so many lines; without a number it comes to its end.
fn start(path: &Path, what: &str, kill_at: Option<usize>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_works_until_it_is_killed", "--nocapture"])
        .env(CHILD, path)
        .env(WHAT, what)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut count = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        count += usize::from(line.unwrap().starts_with("> "));
        if kill_at == Some(count) {
            child.kill().unwrap();
        }
    }
    // It may have come to its end just before it was killed.
    let killed = kill_at.is_some_and(|lines| count >= lines);
    assert!(child.wait().unwrap().success() || killed, "{what}, killed at {kill_at:?}");
}

fn killed(what: &str) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    for lines in [1, 2, 3, 5, 8, 13, 21] {
        start(dir.path(), what, Some(lines));
    }
    start(dir.path(), what, None);
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

#[test]
fn an_outbox_is_published_and_booked_once_by_a_process_that_is_killed_seven_times() {
    let (dir, store) = killed("outbox");
    let mut database = Connection::open(dir.path().join("shop.db")).unwrap();
    assert_eq!(Shop::open(&store, &mut database).unwrap().wrong(ORDERS).unwrap(), [""; 0]);
}

#[test]
fn each_order_is_billed_once_by_a_process_that_is_killed_seven_times() {
    let (_dir, store) = killed("invoices");
    assert_eq!(Office::open(&store).unwrap().wrong(ORDERS).unwrap(), [""; 0]);
}
