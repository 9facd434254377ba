//! A shop's orders, from acceptance to effects, in a process that is killed again and again.
//!
//! Run it with `cargo run --release --example order_workflow`.
//!
//! This program starts itself as a child. The **child** owns the store: it accepts the orders of `orders.jsonl` one by
//! one, each durably, and writes a receipt for each to its stdout; meanwhile the consumer groups `email`, `analytics`
//! and `recommendations` work on their own, and append what they did, their effects, to a file each. Recommendations
//! fail now and then, and one order can't be handled by anybody.
//!
//! The **parent** keeps its own list of the receipts it has read. It kills the child (SIGKILL) in the middle of things,
//! several times, and starts it again, telling it at which order to go on. An order that was accepted, but whose
//! receipt was lost with the child, is sent again and so accepted twice: that is what message ids are for, which a
//! later version will refuse for you.
//!
//! At the end the parent compares its list with the effects. *Nothing lost* is its own verdict: each order it has a
//! receipt for was handled by each group, or stands in that group's dead letters because nobody can handle it. Effects
//! outside a store are at-least-once: some are seen twice, when the child died between an effect and its
//! acknowledgement.
#![expect(clippy::indexing_slicing, reason = "a JSON value gives null for what it does not hold, and never panics")]

use millpond::{Clock, Consumer, Delivery, Group, Message, Retry, Store, SystemClock, Topic};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ORDERS: &str = include_str!("orders.jsonl");
const GROUPS: [&str; 3] = ["email", "analytics", "recommendations"];
/// The child is killed when the parent has read this many receipts; at the last one it is killed while it drains.
const KILLS: [usize; 4] = [1_500, 4_200, 7_777, 10_000];
/// The only argument that makes this the child; its store's directory and the order to go on at follow.
const CHILD: &str = "--child";

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => parent(),
        [CHILD, directory, next] => child(Path::new(directory), next.parse()?).map(|()| ExitCode::SUCCESS),
        _ => Err("usage: order_workflow (it takes no arguments)".into()),
    }
}

// ---------------------------------------------------------------------------------------------------- the child

/// Accepts orders from the `next`-th on, works them off, reports its dead letters, and ends.
fn child(directory: &Path, next: usize) -> Outcome<()> {
    let store = Store::open(directory.join("store"))?;
    let orders = store.topic("orders")?;
    let consumers = GROUPS.map(|name| Ok::<_, millpond::Error>((name, orders.consumer(name, settings())?)));
    let consumers = consumers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let accepted_all = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = consumers
            .iter()
            .map(|(name, consumer)| {
                let effects = directory.join(name);
                let accepted_all = &accepted_all;
                scope.spawn(move || work(name, consumer, &effects, accepted_all))
            })
            .collect();
        let accepted = accept(&orders, next);
        // Also when accepting failed: the workers must come to an end for the error to come out.
        accepted_all.store(true, Ordering::SeqCst);
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        accepted
    })?;
    for (name, consumer) in &consumers {
        for letter in consumer.dead_letters() {
            let letter = letter?;
            let errors: Vec<&str> = letter.errors().iter().map(|(_, error)| error.as_str()).collect();
            say(&json!({ "dead": name, "offset": letter.offset().get(), "errors": errors }))?;
        }
    }
    say(&json!({ "drained": true }))?;
    Ok(store.close()?)
}

/// Waits are short, so that a demonstration is; a shop would take the defaults.
fn settings() -> Group {
    let retry = Retry::exponential(Duration::from_millis(20), Duration::from_millis(200)).attempts(5);
    Group::default().lease(Duration::from_secs(10)).retry(retry)
}

/// Each order is on disk before its receipt is written, and its receipt is written before the next order.
fn accept(orders: &Topic, next: usize) -> Outcome<()> {
    for line in ORDERS.lines().skip(next) {
        let order: Value = serde_json::from_str(line)?;
        let message = Message::new(line).key(order["customer"]["number"].to_string());
        let receipt = orders.publish(message).wait()?;
        say(&json!({ "order": order["order"], "offset": receipt.offset.get() }))?;
    }
    Ok(())
}

/// One line to the parent. If the parent is gone, this fails and so ends the child.
fn say(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// One group's worker: effect first, acknowledgement second.
fn work(group: &str, consumer: &Consumer, effects: &Path, accepted_all: &AtomicBool) -> Outcome<()> {
    let mut effects = open_effects(effects)?;
    loop {
        let Some(delivery) = consumer.lease_timeout(Duration::from_millis(50))? else {
            if accepted_all.load(Ordering::SeqCst) && consumer.idle() {
                return Ok(());
            }
            continue;
        };
        match handle(group, &delivery) {
            Ok(effect) => {
                effects.write_all(effect.as_bytes())?;
                effects.flush()?;
                delivery.ack().wait()?;
            }
            Err(error) => delivery.nack(error).wait()?,
        }
    }
}

/// What a group does with an order: one line for its file.
fn handle(group: &str, delivery: &Delivery) -> Outcome<String> {
    let order: Value = serde_json::from_slice(delivery.payload())?;
    let number = order["order"].as_str().ok_or("an order without a number")?;
    let total = &order["total_cents"];
    let total = total.as_u64().ok_or_else(|| format!("order {number}: {total} is not an amount in cents"))?;
    let (offset, attempt) = (delivery.offset().get(), delivery.attempt());
    // The same orders fail in each run: at their first attempt, or at their first two.
    let dice = offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    if group == "recommendations" && (dice % 50 == 0 && attempt == 1 || dice % 500 == 0 && attempt <= 2) {
        return Err("the recommendation service did not answer in time".into());
    }
    Ok(format!("{}\n", json!({ "order": number, "offset": offset, "attempt": attempt, "total_cents": total })))
}

#[expect(clippy::disallowed_methods, reason = "an effect outside the store is what this is about")]
fn open_effects(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    // A line that was cut off by a kill must not swallow the next one.
    if file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

// --------------------------------------------------------------------------------------------------- the parent

/// What the parent has been told, in its own memory.
#[derive(Default)]
struct Ledger {
    /// Order numbers by offset, one per receipt.
    accepted: BTreeMap<u64, String>,
    /// Errors by group and offset.
    dead: BTreeMap<(String, u64), Vec<String>>,
    drained: bool,
    /// What can't be true of a queue.
    contradictions: Vec<String>,
}

impl Ledger {
    fn take(&mut self, line: &Value) {
        let offset = line["offset"].as_u64().unwrap_or(u64::MAX);
        if let Some(group) = line["dead"].as_str() {
            let errors = line["errors"].as_array().into_iter().flatten().filter_map(Value::as_str);
            self.dead.insert((group.to_owned(), offset), errors.map(str::to_owned).collect());
        } else if let Some(order) = line["order"].as_str() {
            if self.accepted.last_key_value().is_some_and(|(&last, _)| last >= offset) {
                self.contradictions.push(format!("order {order} got offset {offset}, which is not behind all before"));
            }
            self.accepted.insert(offset, order.to_owned());
        } else {
            self.drained |= line["drained"] == true;
        }
    }
}

fn parent() -> Outcome<ExitCode> {
    let directory = tempfile::Builder::new().prefix("millpond-orders-").tempdir()?;
    let clock = SystemClock::new();
    print(&format!("{} orders to accept; the store is in {}", ORDERS.lines().count(), directory.path().display()))?;
    let mut ledger = Ledger::default();
    for kill_at in KILLS {
        run_child(directory.path(), &mut ledger, Some(kill_at))?;
    }
    run_child(directory.path(), &mut ledger, None)?;
    let missing = report(directory.path(), &ledger)?;
    print(&format!("\n{:.1} s", clock.monotonic().as_secs_f64()))?;
    if missing.is_empty() {
        print("nothing lost")?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("LOST OR WRONG ({}):", missing.len()))?;
    missing.iter().take(20).try_for_each(|line| print(&format!("  {line}")))?;
    print(&format!("all of it is kept in {}", directory.keep().display()))?;
    Ok(ExitCode::FAILURE)
}

/// Starts the child, reads its receipts, and kills it when there are `kill_at` of them, or waits for its end.
fn run_child(directory: &Path, ledger: &mut Ledger, kill_at: Option<usize>) -> Outcome<()> {
    let next = ledger.accepted.len();
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg(CHILD).arg(directory).arg(next.to_string()).stdout(Stdio::piped()).spawn()?;
    let mut receipts = BufReader::new(child.stdout.take().ok_or("the child has no stdout")?);
    let mut line = String::new();
    let mut killed = false;
    loop {
        if !killed && kill_at.is_some_and(|receipts| ledger.accepted.len() >= receipts) {
            child.kill()?;
            killed = true;
        }
        // What was in the pipe when the child died has been received: it is read to its end.
        line.clear();
        if receipts.read_line(&mut line)? == 0 {
            break;
        }
        if line.ends_with('\n') {
            ledger.take(&serde_json::from_str(&line)?);
        }
    }
    let status = child.wait()?;
    match (killed, status.success()) {
        (true, _) => print(&format!("killed the child after {} receipts ({status})", ledger.accepted.len()))?,
        (false, true) => print("the child has drained its groups and ended")?,
        (false, false) => return Err(format!("the child ended by itself: {status}").into()),
    }
    Ok(())
}

/// What a group's file says.
#[derive(Default)]
struct Effects {
    /// How often each offset was handled, and the order it was taken for.
    seen: BTreeMap<u64, (String, usize)>,
    /// Effects of a second or later attempt.
    redelivered: usize,
    /// Lines cut off by a kill.
    torn: usize,
}

fn read_effects(path: &Path) -> Outcome<Effects> {
    let mut effects = Effects::default();
    for line in std::fs::read_to_string(path)?.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            effects.torn += 1;
            continue;
        };
        let offset = line["offset"].as_u64().ok_or("an effect without an offset")?;
        let order = line["order"].as_str().ok_or("an effect without an order")?.to_owned();
        effects.redelivered += usize::from(line["attempt"].as_u64() > Some(1));
        effects.seen.entry(offset).or_insert((order, 0)).1 += 1;
    }
    Ok(effects)
}

/// Compares the parent's list with the effects and prints both. Gives what is missing or wrong.
fn report(directory: &Path, ledger: &Ledger) -> Outcome<Vec<String>> {
    let mut missing = ledger.contradictions.clone();
    if !ledger.drained {
        missing.push("the child never said that it had drained".to_owned());
    }
    let sent: Vec<Value> = ORDERS.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    // The parent knows which order nobody can handle: it has the orders.
    let poison: BTreeSet<&str> = sent
        .iter()
        .filter(|order| !order["total_cents"].is_u64())
        .filter_map(|order| order["order"].as_str())
        .collect();
    let accepted: BTreeSet<&str> = ledger.accepted.values().map(String::as_str).collect();
    for order in sent.iter().filter_map(|order| order["order"].as_str()) {
        if !accepted.contains(order) {
            missing.push(format!("order {order} was never accepted"));
        }
    }
    let mut rows: Vec<(&str, Vec<usize>)> = [
        "receipts",
        "handled",
        "redelivered",
        "effects seen twice",
        "accepted twice",
        "cut off by a kill",
        "dead letters",
    ]
    .map(|title| (title, Vec::new()))
    .into();
    for group in GROUPS {
        let effects = read_effects(&directory.join(group))?;
        for (offset, order) in &ledger.accepted {
            let dead = ledger.dead.contains_key(&(group.to_owned(), *offset));
            match effects.seen.get(offset) {
                Some((handled, _)) if handled != order => {
                    missing.push(format!("{group}: offset {offset} is order {order}, but {handled} was delivered"));
                }
                Some(_) if poison.contains(order.as_str()) => {
                    missing.push(format!("{group}: order {order} was handled, which can't be"));
                }
                None if poison.contains(order.as_str()) && dead => {}
                None => missing.push(format!("{group}: order {order} at offset {offset} was accepted, never handled")),
                Some(_) => {}
            }
        }
        // What was handled without a receipt was accepted when the child died, and accepted again afterwards.
        let unreceipted = effects.seen.keys().filter(|offset| !ledger.accepted.contains_key(offset));
        for (offset, (order, _)) in &effects.seen {
            if !accepted.contains(order.as_str()) {
                missing.push(format!("{group}: order {order} at offset {offset} was delivered, never published"));
            }
        }
        let figures = [
            ledger.accepted.len(),
            effects.seen.len(),
            effects.redelivered,
            effects.seen.values().filter(|(_, times)| *times > 1).count(),
            unreceipted.count(),
            effects.torn,
            ledger.dead.keys().filter(|(of, _)| of == group).count(),
        ];
        rows.iter_mut().zip(figures).for_each(|(row, figure)| row.1.push(figure));
    }
    print(&format!("\n{:<20}{:>10}{:>12}{:>18}", "", GROUPS[0], GROUPS[1], GROUPS[2]))?;
    for (title, figures) in rows {
        let mut line = format!("{title:<20}");
        figures.iter().zip([10, 12, 18]).for_each(|(figure, width)| line.push_str(&format!("{figure:>width$}")));
        print(&line)?;
    }
    print("\ndead letters and their errors:")?;
    for ((group, offset), errors) in &ledger.dead {
        print(&format!(
            "  {group}, offset {offset}: failed {} times, last: {}",
            errors.len(),
            errors.last().map_or("-", String::as_str)
        ))?;
    }
    Ok(missing)
}

fn print(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
