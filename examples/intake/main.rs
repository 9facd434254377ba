//! An idempotent intake: requests with a key, as over HTTP, from a client that repeats what it has no answer to, to a
//! process that is killed again and again. The same request has the same answer, and is accepted once.
//!
//! Run it with `cargo run --release --example intake`. The pattern itself is in `desk.rs`.

mod desk;
#[path = "../support/killing.rs"]
mod killing;

use desk::{Desk, request};
use killing::{Outcome, say};
use millpond::Store;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const REQUESTS: u64 = 200;

fn main() -> Outcome<ExitCode> {
    killing::run(child, verdict)
}

/// The client keeps the answers it has heard, and begins anew each time: the desk has to bear that.
#[expect(clippy::disallowed_methods, reason = "an answer that was heard outside the store is what this is about")]
fn child(directory: &Path) -> Outcome<()> {
    let store = Store::open(directory.join("store"))?;
    let desk = Desk::open(&store)?;
    let path = directory.join("answers");
    let mut heard = OpenOptions::new().create(true).append(true).open(&path)?;
    let known = std::fs::read_to_string(&path)?;
    let known: BTreeMap<&str, &str> = known.lines().filter_map(|line| line.split_once('\t')).collect();
    for number in 0..REQUESTS {
        let (key, body) = request(number);
        let answer = desk.accept(&key, &body)?;
        match known.get(key.as_str()) {
            // A line may have been cut off by the kill.
            Some(before) if !answer.text.starts_with(before) => {
                return Err(format!("{key} was answered {before:?}, and now {:?}", answer.text).into());
            }
            Some(_) => {}
            None => heard.write_all(format!("{key}\t{}\n", answer.text).as_bytes())?,
        }
        let status = desk.accept(&key, "something else")?.status;
        if (answer.status, status) != (202, 409) {
            return Err(format!("{key} was answered {} and {status}", answer.status).into());
        }
        say(&format!("{key}: {}", answer.text))?;
    }
    Ok(store.close()?)
}

fn verdict(directory: &Path) -> Outcome<Vec<String>> {
    let store = Store::open(directory.join("store"))?;
    Ok(Desk::open(&store)?.wrong(REQUESTS)?)
}
