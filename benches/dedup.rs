//! What ids cost: `cargo bench --bench dedup`.
//!
//! Distinct ids of 16 bytes, payloads of 100, level `Os`, a million of them and then ten million in the window; each
//! figure over as many messages as it takes to write several runs of ids, so that their price is in it. Beside them
//! what sled does with the same ids alone. The ten million are published by a child process that aborts, so that the
//! next opening is one after a kill. Without `--bench` everything is done once and small, only to see that it works;
//! with `million` behind it, the part with a million alone.
#![expect(clippy::unwrap_used, reason = "in a benchmark, a panic is how it fails")]
#![expect(clippy::disallowed_methods, reason = "what is measured is this machine: its clock, its disk")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use millpond::{Durability, Message, Store, Topic, TopicSettings, Window};
use std::path::Path;
use std::time::Instant;

/// The child fills the store at this path.
const FILL: &str = "MILLPOND_BENCH_FILL";
const BATCH: u64 = 100;
static PAYLOAD: [u8; 100] = [b'm'; 100];

/// `cargo bench` says so.
fn in_earnest() -> bool {
    std::env::args().any(|argument| argument == "--bench") || std::env::var_os(FILL).is_some()
}

fn scaled(count: u64) -> u64 {
    if in_earnest() { count } else { count / 1_000 }
}

/// Ids that are nothing like each other in any of their bytes.
fn id(number: u64) -> Vec<u8> {
    let first = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    [first.to_be_bytes(), number.to_be_bytes()].concat()
}

fn message(number: u64) -> Message {
    Message::new(&PAYLOAD[..]).id(id(number))
}

fn open(path: &Path) -> (Store, Topic) {
    let store = Store::options().durability(Durability::Os).open(path).unwrap();
    let topic = store.topic_with("bench", TopicSettings::default().deduplicate(Window::Forever)).unwrap();
    (store, topic)
}

fn batches(topic: &Topic, numbers: std::ops::Range<u64>, make: impl Fn(u64) -> Message) -> u64 {
    let mut duplicates = 0;
    for first in numbers.step_by(100) {
        duplicates += topic.publish_all((first..first + BATCH).map(&make)).wait().unwrap().duplicates.len() as u64;
    }
    duplicates
}

/// How many a second: by the clock, and by the processor time of the calling thread, which a busy machine changes less.
#[derive(Clone, Copy)]
struct Rate {
    clock: f64,
    thread: f64,
}

fn rate(count: u64, all: impl FnOnce()) -> Rate {
    let (began, before) = (Instant::now(), thread_time());
    all();
    let thread = thread_time() - before;
    Rate { clock: count as f64 / began.elapsed().as_secs_f64(), thread: count as f64 / thread.max(0.01) }
}

/// Seconds of processor time of this thread, to a hundredth; zero where the system doesn't say.
fn thread_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn say(name: &str, Rate { clock, thread }: Rate, aim: &str) {
    println!("{name:58}  {clock:>10.0} /s  {thread:>10.0} /s of thread time  {aim}");
}

/// Rates with what is in the window already.
fn rates(topic: &Topic, path: &Path, window: &str, from: u64, aim: &str) {
    let count = scaled(1_000_000);
    let plain = rate(count, || _ = batches(topic, from..from + count, |_| Message::new(&PAYLOAD[..])));
    say(&format!("batches of 100 without ids, {window}"), plain, "");
    let distinct = rate(count, || assert_eq!(batches(topic, from..from + count, message), 0));
    say(&format!("batches of 100 with distinct ids, {window}"), distinct, aim);
    // Spread over the whole window, the oldest and the newest.
    let step = (from / count).max(1);
    let duplicates = rate(count, || assert_eq!(batches(topic, 0..count, |at| message(at * step)), count));
    say(&format!("batches of 100 duplicates, {window}"), duplicates, "no fewer than distinct ones");
    say(&format!("no more than a read of 512 bytes for each, {window}"), floor_of_reads(path, count), "their floor");
    let last = from + count;
    let newest = rate(count / 10, || assert_eq!(batches(topic, last - count / 10..last, message), count / 10));
    say(&format!("batches of 100 duplicates of what came last, {window}"), newest, "");
    let count = scaled(300_000);
    let one = |make: &dyn Fn(u64) -> Message| {
        (0..count).for_each(|number| _ = topic.publish(make(number)).wait().unwrap());
    };
    let plain = rate(count, || one(&|_| Message::new(&PAYLOAD[..])));
    let with = rate(count, || one(&|number| message((1 << 40) + from + number)));
    let twice = rate(count, || one(&|number| message(number * step)));
    say(&format!("single, without ids, {window}"), plain, "");
    say(
        &format!("single, with distinct ids, {window}"),
        with,
        &format!("{:.2} of without, >= 0.6", with.clock / plain.clock),
    );
    say(&format!("single, duplicates, {window}"), twice, "");
}

/// Reads at a place are the system's own.
#[cfg(not(unix))]
fn floor_of_reads(_: &Path, count: u64) -> Rate {
    rate(count, || {})
}

/// What the reads of as many duplicates cost alone: one of half a kibibyte at any place of any run of ids.
#[cfg(unix)]
fn floor_of_reads(path: &Path, count: u64) -> Rate {
    use std::os::unix::fs::FileExt;
    let files = std::fs::read_dir(path.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<(std::fs::File, u64)> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "ids"))
        .filter_map(|path| std::fs::File::open(path).ok())
        .map(|file| (file.metadata().unwrap().len() / 512, file))
        .filter(|(blocks, _)| *blocks > 0)
        .map(|(blocks, file)| (file, blocks))
        .collect();
    let all: u64 = files.iter().map(|(_, blocks)| blocks).sum();
    let mut block = [0; 512];
    rate(count, || {
        for _ in 0..count {
            let mut at = if all == 0 { continue } else { fastrand::u64(0..all) };
            for (file, blocks) in &files {
                if at < *blocks {
                    file.read_exact_at(&mut block, at * 512).unwrap();
                    break;
                }
                at -= blocks;
            }
        }
    })
}

/// Bytes of memory of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

fn raw_sled(directory: &Path) {
    let db = sled::Config::new().path(directory.join("sled")).cache_capacity(48 << 20).flush_every_ms(None).open();
    let (db, count, before) = (db.unwrap(), scaled(1_000_000), resident());
    let all = || {
        for first in (0..count).step_by(100) {
            let mut batch = sled::Batch::default();
            for number in first..first + BATCH {
                let id = id(number);
                if db.get(&id).unwrap().is_none() {
                    batch.insert(id, &PAYLOAD[..37]);
                }
            }
            db.apply_batch(batch).unwrap();
        }
    };
    say("sled alone: get and insert, batches of 100, 1 million", rate(count, all), "");
    println!("{:58}  {:>10} MiB", "sled alone: memory for them", resident().saturating_sub(before) >> 20);
}

fn fill(path: &Path, upto: u64) {
    let (store, topic) = open(path);
    let from = store.id_stats().published;
    batches(&topic, from..upto, message);
    let stats = store.id_stats();
    println!(
        "{:58}  {:>10} KiB of memory, {} MiB of disk",
        format!("{} ids in the window", stats.published),
        stats.memory_bytes >> 10,
        stats.disk_bytes >> 20
    );
}

fn opening(path: &Path, how: &str, aim: &str) -> (Store, Topic) {
    let began = Instant::now();
    let opened = open(path);
    println!("{:58}  {:>10.2} s   {aim}", format!("opening {how}"), began.elapsed().as_secs_f64());
    opened
}

fn main() {
    if let Some(path) = std::env::var_os(FILL) {
        fill(Path::new(&path), 10_000_000);
        // As a kill would: nothing is closed.
        std::process::abort();
    }
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("store");
    let (store, topic) = open(&path);
    batches(&topic, 0..scaled(1_000_000), message);
    rates(&topic, &path, "1 million in the window", scaled(1_000_000), ">= 450 thousand");
    store.close().unwrap();
    if std::env::args().any(|argument| argument == "million") {
        return;
    }
    if !in_earnest() {
        raw_sled(directory.path());
        return;
    }
    let path = directory.path().join("large");
    let child = std::env::current_exe().unwrap();
    let status = std::process::Command::new(child).env(FILL, &path).status().unwrap();
    assert!(!status.success(), "it aborts");
    let (store, topic) = opening(&path, "with 10 million ids, after a kill", "<= 10 s");
    rates(&topic, &path, "10 million in the window", 10_000_000, ">= 225 thousand");
    let stats = store.id_stats();
    println!("{:58}  {:>10} KiB, of 65536 allowed", "memory for ids", stats.memory_bytes >> 10);
    store.close().unwrap();
    drop(opening(&path, "with more than 10 million ids, after a clean close", "<= 2 s"));
    raw_sled(directory.path());
}
