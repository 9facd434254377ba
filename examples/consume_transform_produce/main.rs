//! Consume, transform, produce: orders become invoices, each exactly once, with numbers that have no gaps, in a process
//! that is killed again and again.
//!
//! Run it with `cargo run --release --example consume_transform_produce`. The pattern itself is in `invoices.rs`.

mod invoices;
#[path = "../support/killing.rs"]
mod killing;

use invoices::Office;
use killing::{Outcome, say};
use millpond::Store;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

const ORDERS: u64 = 500;
const WORKERS: usize = 2;

fn main() -> Outcome<ExitCode> {
    killing::run(child, verdict)
}

fn child(directory: &Path) -> Outcome<()> {
    let store = Store::open(directory.join("store"))?;
    let office = Office::open(&store)?;
    office.accept(ORDERS)?;
    thread::scope(|scope| {
        let work = || -> Outcome<()> {
            while !office.billing.idle() {
                if let Some(number) = office.bill_one()? {
                    say(&format!("invoice {number}"))?;
                }
            }
            Ok(())
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })?;
    Ok(store.close()?)
}

fn verdict(directory: &Path) -> Outcome<Vec<String>> {
    let store = Store::open(directory.join("store"))?;
    Ok(Office::open(&store)?.wrong(ORDERS)?)
}
