//! Readers and commands beside an owner in another process, under full load, while segments roll, are cleaned and used
//! again: every record they see is right, none of them fails, and the owner does what it does without them.
//!
//! `MILLPOND_BESIDE_SECONDS` says for how long.
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
use std::time::{Duration, Instant};

const DIR: &str = "MILLPOND_TEST_BESIDE";
const OWNER: &str = "the_owner_writes_until_it_is_told_to_stop";

fn seconds() -> Duration {
    let seconds = std::env::var("MILLPOND_BESIDE_SECONDS").map_or(4, |seconds| seconds.parse().unwrap());
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

/// Calls of write and of read that this process has made, and bytes it has written.
fn io() -> [u64; 3] {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    ["syscw: ", "syscr: ", "wchar: "].map(|name| {
        text.lines().find_map(|line| line.strip_prefix(name)).and_then(|number| number.parse().ok()).unwrap()
    })
}

/// Two writers whose messages stay, in transactions over two topics; two whose messages are consumed, but for one of a
/// hundred. Prints what it did, and took for it, whenever its standard input says so.
#[test]
fn the_owner_writes_until_it_is_told_to_stop() {
    let Ok(path) = std::env::var(DIR) else { return };
    let store = small().open(path).unwrap();
    let [left, right, churn] = ["left", "right", "churn"].map(|name| store.topic(name).unwrap());
    let _keepers = [&left, &right].map(|topic| topic.consumer("keeper", Group::default()).unwrap());
    let worker = churn.consumer("worker", Group::default()).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let waits = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let offset = churn.end_offset().get();
                    let batch =
                        (offset..offset + 20).map(|_| Message::new(payload(7)).id(fastrand::u64(..).to_string()));
                    let began = Instant::now();
                    churn.publish_all(batch).wait().unwrap();
                    waits.lock().unwrap().push(began.elapsed());
                    let batch = worker.lease_many(40, Duration::ZERO).unwrap();
                    let (keep, gone): (Vec<_>, Vec<_>) = batch.partition(|delivery| delivery.offset().get() % 100 == 0);
                    worker.ack_all(gone).detach();
                    keep.into_iter().for_each(std::mem::forget);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let mut both = store.transaction();
                both.publish(&left, payload(number)).publish(&right, payload(number));
                both.commit().wait().unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let mut before = (0, [0; 3]);
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            let now = (done.load(Ordering::Relaxed), io());
            let mut waits = std::mem::take(&mut *waits.lock().unwrap());
            waits.sort_unstable();
            let wait = |part: usize| waits.get(waits.len() * part / 100).map_or(0, Duration::as_micros);
            let rounds = (now.0 - before.0).max(1) as f64;
            let per_round = |which: usize| (now.1[which] - before.1[which]) as f64 / rounds;
            let mut out = std::io::stdout().lock();
            let (writes, reads, bytes) = (per_round(0), per_round(1), per_round(2));
            writeln!(out, "\n> {rounds} {writes} {reads} {bytes} {} {}", wait(50), wait(99)).unwrap();
            out.flush().unwrap();
            before = now;
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

    /// Rounds since the last call; writes, reads and bytes written of each; median and 99th percentile of the wait for
    /// a publish, in microseconds.
    fn told(&mut self) -> [f64; 6] {
        writeln!(self.input.as_mut().unwrap()).unwrap();
        let mut line = String::new();
        while !line.starts_with("> ") {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the owner has failed");
        }
        let numbers: Vec<f64> = line[2..].split_whitespace().map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    }

    fn stop(mut self) {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "the owner has failed: {rest}");
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
    // Until everything there is is there.
    while Store::open_read_only(dir.path())
        .is_ok_and(|seen| seen.topic("churn").is_ok_and(|topic| topic.bounds().unwrap().1.get() < 5000))
        || Store::open_read_only(dir.path()).is_err()
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    owner.told();
    std::thread::sleep(seconds());
    let alone = owner.told();
    let stop = AtomicBool::new(false);
    let (beside, looks, ran) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = Store::open_read_only(dir.path()).unwrap();
            let (mut before, mut looks) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                if looks % 2 == 0 {
                    seen = Store::open_read_only(dir.path()).unwrap();
                } else {
                    seen.refresh().unwrap();
                }
                let count = look(&seen);
                assert!(count >= before, "what was seen is gone");
                (before, looks) = (count, looks + 1);
            }
            looks
        });
        let runner = scope.spawn(|| {
            let mut ran = 0;
            while !stop.load(Ordering::Relaxed) {
                commands(dir.path());
                ran += 1;
            }
            ran
        });
        std::thread::sleep(seconds());
        let mut beside = owner.told();
        // Until enough was tried, on a slow machine too; the owner goes on meanwhile.
        for _ in 0..60 {
            if reader.is_finished() || runner.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
            if beside[0] > 200.0 {
                break;
            }
            beside = owner.told();
        }
        stop.store(true, Ordering::Relaxed);
        (beside, reader.join().unwrap(), runner.join().unwrap())
    });
    let seen = Store::open_read_only(dir.path()).unwrap();
    let segments = seen.stats().unwrap().segments;
    println!("alone {alone:?}, beside {beside:?}, {looks} looks, {ran} runs, {} segments", segments.len());
    assert!(looks > 2 && ran > 0, "{looks} looks, {ran} runs");
    // Many segments came and went.
    let (newest, there) = (segments.last().unwrap().id.get() as usize, segments.len());
    assert!(newest > there + 50, "{there} segments, {newest} the newest");
    // It writes for a round what it wrote without readers; how long that takes on a machine that is shared with them is
    // another matter.
    assert!(beside[1] < alone[1] * 1.5 + 1.0, "{} calls of write a round, {} alone", beside[1], alone[1]);
    assert!(beside[3] < alone[3] * 1.5 + 1000.0, "{} bytes written a round, {} alone", beside[3], alone[3]);
    owner.stop();
    drop(seen);
    assert!(Store::verify(dir.path(), |_| ()).unwrap().damage.is_empty());
}
