//! The transactional outbox: what a SQL database commits is published, exactly what it commits, and booked once, in a
//! process that is killed again and again.
//!
//! Run it with `cargo run --release --example outbox`. The pattern itself is in `shop.rs`.

#[path = "../support/killing.rs"]
mod killing;
mod shop;

use killing::{Outcome, say};
use millpond::Store;
use rusqlite::Connection;
use shop::Shop;
use std::path::Path;
use std::process::ExitCode;

const ORDERS: u64 = 200;

fn main() -> Outcome<ExitCode> {
    killing::run(child, verdict)
}

fn child(directory: &Path) -> Outcome<()> {
    let store = Store::open(directory.join("store"))?;
    let mut database = Connection::open(directory.join("shop.db"))?;
    let mut shop = Shop::open(&store, &mut database)?;
    shop.work(ORDERS, &mut |order| Ok(say(&format!("order {order}"))?))?;
    Ok(store.close()?)
}

fn verdict(directory: &Path) -> Outcome<Vec<String>> {
    let store = Store::open(directory.join("store"))?;
    let mut database = Connection::open(directory.join("shop.db"))?;
    Shop::open(&store, &mut database)?.wrong(ORDERS)
}
