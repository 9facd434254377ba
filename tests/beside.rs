//! Readers and commands beside an owner in another process, under full load, while segments roll, are cleaned and used
//! again: every record they see is right, none of them fails, and the owner does what it does without them.
//!
//! What an owner writes for a round grows with what it has kept, and comes in bursts, with each merge of its tables
//! and each segment that is cleaned. So the one with readers beside it is compared with one that did as many rounds
//! without, both from an empty directory on, and nothing that it writes depends on how long that takes.
//!
//! `MILLPOND_BESIDE_SECONDS` says for how long the one without readers runs.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test fails by panicking; its children are processes"
)]

use millpond::{Durability, Group, Message, Offset, Options, Store};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const DIR: &str = "MILLPOND_TEST_BESIDE";
/// Rounds after which there is something of each kind.
const ENOUGH: u64 = 500;
const OWNER: &str = "the_owner_writes_until_it_is_told_to_stop";

fn seconds() -> Duration {
    let seconds = std::env::var("MILLPOND_BESIDE_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

fn small() -> Options {
    Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10).durability(Durability::Os)
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_string().into_bytes();
    payload.resize(20 + usize::try_from(number % 200).unwrap(), b'.');
    payload
}

/// Calls of write that this process has made, and bytes it has written.
fn io() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    ["syscw: ", "wchar: "].map(|name| {
        text.lines().find_map(|line| line.strip_prefix(name)).and_then(|number| number.parse().ok()).unwrap()
    })
}

/// Two writers whose messages are consumed, but for one of a hundred, whose leases last; with every fourth of their
/// rounds a transaction over two other topics, whose messages stay. For each number on its standard input it prints, as
/// soon as it has done as many rounds, how many it has done, and the calls of write and bytes it took for them.
#[test]
fn the_owner_writes_until_it_is_told_to_stop() {
    let Ok(path) = std::env::var(DIR) else { return };
    let store = small().open(path).unwrap();
    let [left, right, churn] = ["left", "right", "churn"].map(|name| store.topic(name).unwrap());
    let _keepers = [&left, &right].map(|topic| topic.consumer("keeper", Group::default()).unwrap());
    let worker = churn.consumer("worker", Group::default().lease(Duration::from_secs(3600))).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let both = std::sync::Mutex::new(0);
    let before = io();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let offset = churn.end_offset().get();
                    let batch =
                        (offset..offset + 20).map(|_| Message::new(payload(7)).id(fastrand::u64(..).to_string()));
                    churn.publish_all(batch).wait().unwrap();
                    let batch = worker.lease_many(40, Duration::ZERO).unwrap();
                    let (keep, gone): (Vec<_>, Vec<_>) = batch.partition(|delivery| delivery.offset().get() % 100 == 0);
                    worker.ack_all(gone).detach();
                    keep.into_iter().for_each(std::mem::forget);
                    if done.fetch_add(1, Ordering::Relaxed) % 4 == 0 {
                        let mut number = both.lock().unwrap();
                        let mut transaction = store.transaction();
                        transaction.publish(&left, payload(*number)).publish(&right, payload(*number));
                        transaction.commit().wait().unwrap();
                        *number += 1;
                    }
                }
            });
        }
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let rounds: u64 = line.parse().unwrap();
            while done.load(Ordering::Relaxed) < rounds {
                std::thread::sleep(Duration::from_millis(5));
            }
            let (rounds, now) = (done.load(Ordering::Relaxed), io());
            let mut out = std::io::stdout().lock();
            writeln!(out, "\n> {rounds} {} {}", now[0] - before[0], now[1] - before[1]).unwrap();
            out.flush().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    store.close().unwrap();
}

struct Owner {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
}

impl Owner {
    fn start(path: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", OWNER, "--nocapture"]).env(DIR, path);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    /// As soon as it has done that many rounds: the rounds, and calls of write and bytes written for each.
    fn told(&mut self, rounds: u64) -> (u64, [f64; 2]) {
        writeln!(self.input.as_mut().unwrap(), "{rounds}").unwrap();
        let mut line = String::new();
        while !line.starts_with("> ") {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the owner has failed");
        }
        let numbers: Vec<u64> = line[2..].split_whitespace().map(|number| number.parse().unwrap()).collect();
        (numbers[0], [1, 2].map(|which| numbers[which] as f64 / numbers[0] as f64))
    }

    fn stop(mut self) {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "the owner has failed: {rest}");
    }
}

/// Stops the readers when it goes, also where an assertion fails: they would go on for ever otherwise.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every record there is, and how many that is of the first topic.
fn look(seen: &millpond::ReadOnlyStore) -> u64 {
    let [left, right, churn] = ["left", "right", "churn"].map(|name| seen.topic(name).unwrap());
    let ends = [&left, &right].map(|topic| topic.bounds().unwrap().1);
    assert_eq!(ends[0], ends[1], "half of a transaction was seen");
    for topic in [&left, &right] {
        let mut next = Offset::ZERO;
        for record in topic.read(..ends[0]) {
            let record = record.unwrap();
            assert!(record.offset() == next && record.payload() == payload(next.get()), "{record:?} is not {next}");
            next = next.next();
        }
        assert!(next >= ends[0]);
    }
    let mut last = None;
    for record in churn.read(..) {
        let record = record.unwrap();
        assert!(last < Some(record.offset()) && record.payload() == payload(7), "{record:?}");
        last = Some(record.offset());
    }
    assert_eq!(seen.stats().unwrap().topics.len(), 3);
    ends[0].get()
}

/// A command that must succeed; what it wrote.
fn millpond(path: &Path, arguments: &[&str]) -> String {
    let (first, rest) = arguments.split_first().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    let output = command.arg(first).arg(path).args(rest).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error} {}", text.lines().rev().take(3).collect::<String>());
    text
}

fn commands(path: &Path) {
    assert!(millpond(path, &["info"]).contains("churn"));
    let lines = millpond(path, &["peek", "left", "-n", "5", "--json"]);
    assert_eq!(lines.lines().count(), 5, "{lines}");
    for (number, line) in lines.lines().enumerate() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["offset"], number);
        assert_eq!(record["payload"].as_str().unwrap().as_bytes(), payload(number as u64));
    }
    assert_eq!(millpond(path, &["tail", "left", "-n", "3"]).lines().count(), 3);
    millpond(path, &["verify"]);
    let frames = millpond(path, &["dump", "--json"]);
    let mut before = (0, 0);
    for line in frames.lines() {
        let frame: serde_json::Value = serde_json::from_str(line).unwrap();
        let (segment, position) = frame["lsn"].as_str().unwrap().split_once(':').unwrap();
        let lsn = (segment.parse::<u32>().unwrap(), position.parse::<u32>().unwrap());
        assert!(lsn > before, "{lsn:?} comes after {before:?}");
        before = lsn;
    }
    assert!(before.0 > 1, "{} frames were shown", frames.lines().count());
}

#[test]
fn readers_and_commands_beside_a_busy_owner_see_what_is_right_and_are_not_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Owner::start(dir.path());
    owner.told(ENOUGH);
    std::thread::sleep(seconds());
    let (rounds, alone) = owner.told(0);
    owner.stop();

    let dir = tempfile::tempdir().unwrap();
    let mut owner = Owner::start(dir.path());
    // Until everything there is is there.
    owner.told(ENOUGH);
    let stop = AtomicBool::new(false);
    let (looks, ran) = (AtomicU64::new(0), AtomicU64::new(0));
    let beside = std::thread::scope(|scope| {
        let readers = [
            scope.spawn(|| {
                let mut seen = Store::open_read_only(dir.path()).unwrap();
                let mut before = 0;
                while !stop.load(Ordering::Relaxed) {
                    if looks.load(Ordering::Relaxed) % 2 == 0 {
                        seen = Store::open_read_only(dir.path()).unwrap();
                    } else {
                        seen.refresh().unwrap();
                    }
                    let count = look(&seen);
                    assert!(count >= before, "what was seen is gone");
                    before = count;
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            }),
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    commands(dir.path());
                    ran.fetch_add(1, Ordering::Relaxed);
                }
            }),
        ];
        let stops = Stops(&stop);
        let (_, beside) = owner.told(rounds);
        // Until enough was tried, on a slow machine too; the owner goes on meanwhile.
        while looks.load(Ordering::Relaxed) < 3 || ran.load(Ordering::Relaxed) < 1 {
            if readers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(stops);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        beside
    });
    let (looks, ran) = (looks.into_inner(), ran.into_inner());
    let seen = Store::open_read_only(dir.path()).unwrap();
    let segments = seen.stats().unwrap().segments;
    println!(
        "{rounds} rounds: alone {alone:?}, beside {beside:?}, {looks} looks, {ran} runs, {} segments",
        segments.len()
    );
    // Many segments came and went.
    let (newest, there) = (segments.last().unwrap().id.get() as usize, segments.len());
    assert!(newest > there + 50, "{there} segments, {newest} the newest");
    // It writes for a round what it wrote without readers; how long that takes on a machine that is shared with them is
    // another matter.
    for (what, alone, beside) in [("calls of write", alone[0], beside[0]), ("bytes written", alone[1], beside[1])] {
        assert!(beside < alone * 1.5, "{beside} {what} a round, {alone} alone");
    }
    owner.stop();
    drop(seen);
    assert!(Store::verify(dir.path(), |_| ()).unwrap().damage.is_empty());
}
