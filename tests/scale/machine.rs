//! What is asked of the machine: memory, disk, other processes, files that are not in the page cache.

use millpond::{Consumer, Message, Store, Topic};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// In the environment of a child: what it is to do, and where.
pub(crate) const ROLE: &str = "MILLPOND_SCALE_ROLE";
pub(crate) const DIR: &str = "MILLPOND_SCALE_DIR";

pub(crate) const PAYLOAD: [u8; 100] = [b'm'; 100];

/// How many messages.
pub(crate) fn scale() -> u64 {
    std::env::var("MILLPOND_SCALE").map_or(1_000_000, |number| number.parse().unwrap())
}

pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("scale-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Bytes of memory of this process that no file backs.
pub(crate) fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Bytes that a store takes on the disk, by its files' blocks.
pub(crate) fn disk(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut all = Vec::new();
    files(directory, &mut all);
    all.iter().map(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512)).sum()
}

/// The store's files are not in memory any more. Its journal's, oldest first.
pub(crate) fn forget(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    files(directory, &mut all);
    for path in &all {
        // A file that is being prepared gets another name meanwhile.
        let Ok(file) = File::open(path) else { continue };
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    all.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    all.sort();
    all
}

/// Publishes so many messages in batches of a thousand.
pub(crate) fn fill(topic: &Topic, messages: u64) {
    for first in (0..messages).step_by(1000) {
        let many = (messages - first).min(1000);
        topic.publish_all((0..many).map(|_| Message::new(&PAYLOAD[..]))).wait().unwrap();
    }
}

/// Publishes one message, and waits for it if its number says so: often enough that no line gets too long.
pub(crate) fn one(topic: &Topic, number: u64, size: usize) {
    let ticket = topic.publish(Message::new(vec![b'm'; size]));
    if number.is_multiple_of(500) {
        ticket.wait().unwrap();
    } else {
        ticket.detach();
    }
}

/// How many a second.
pub(crate) fn rate(count: u64, all: impl FnOnce()) -> f64 {
    let began = Instant::now();
    all();
    count as f64 / began.elapsed().as_secs_f64()
}

pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap()
}

/// This program again, with one of its tests in another role.
pub(crate) fn child(test: &str, role: &str, directory: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", test, "--nocapture"]).env(ROLE, role).env(DIR, directory);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// What this process is to do as a child: its role and directory.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var(DIR).ok()?.into()))
}

/// The numbers that a child prints as `> name number`, once it has ended.
pub(crate) fn numbers(child: Child) -> impl Fn(&str) -> f64 {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line == "> done 1"), "the child failed: {text}");
    move |name| {
        let line = text.lines().find_map(|line| line.strip_prefix("> ")?.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }
}

pub(crate) fn say(name: &str, number: f64) {
    println!("\n> {name} {number}");
}

pub(crate) fn options() -> millpond::Options {
    Store::options().durability(millpond::Durability::Os)
}

/// So many batches of 20 are published and settled, but for every hundredth message, whose lease goes on.
pub(crate) fn pass(topic: &Topic, consumer: &Consumer, batches: u64) {
    for _ in 0..batches {
        topic.publish_all((0..20).map(|_| Message::new(&PAYLOAD[..]))).wait().unwrap();
        let batch = consumer.lease_many(20, Duration::ZERO).unwrap();
        let (stay, done): (Vec<_>, Vec<_>) = batch.partition(|delivery| delivery.offset().get() % 100 == 0);
        consumer.ack_all(done).detach();
        stay.into_iter().for_each(std::mem::forget);
    }
}
