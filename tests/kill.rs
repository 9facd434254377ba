//! Real processes on the real disk, killed in the middle of things: what was promised is kept.
//!
//! `MILLPOND_KILL_NUMBERS` says how many numbers go through. The million:
//! `MILLPOND_KILL_NUMBERS=1000000 cargo test --release --test kill`.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking; its children are processes"
)]

use millpond::{Group, Message, Offset, Store};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const DIR: &str = "MILLPOND_TEST_KILL";
/// The first number to publish, and the one to end before.
const FROM: &str = "MILLPOND_TEST_KILL_FROM";
const NUMBERS: &str = "MILLPOND_KILL_NUMBERS";
/// Numbers that are on their way to the disk at a time, and deliveries that are held at a time.
const IN_FLIGHT: u64 = 100;

fn numbers() -> u64 {
    std::env::var(NUMBERS).map_or(20_000, |numbers| numbers.parse().unwrap())
}

/// What goes out in one piece: a parent never sees half a line that it takes for a whole one.
fn say(lines: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(lines.as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Publishes numbers, and prints each with its offset once it is durable.
#[test]
fn the_child_publishes_until_it_is_killed() {
    let (Ok(path), Ok(from)) = (std::env::var(DIR), std::env::var(FROM)) else { return };
    let store = Store::options().segment_bytes(1 << 20).first_segment_bytes(64 << 10).open(path).unwrap();
    let topic = store.topic("numbers").unwrap();
    let (mut next, end) = (from.parse::<u64>().unwrap(), numbers());
    say("\n");
    while next < end {
        let upto = (next + IN_FLIGHT).min(end);
        // Some alone, some in a batch.
        if (next / IN_FLIGHT).is_multiple_of(2) {
            let tickets: Vec<_> = (next..upto).map(|n| (n, topic.publish(Message::new(n.to_string())))).collect();
            for (number, ticket) in tickets {
                say(&format!("> {number} {}\n", ticket.wait().unwrap().offset));
            }
        } else {
            let receipt = topic.publish_all((next..upto).map(|n| n.to_string().into())).wait().unwrap();
            for number in next..upto {
                say(&format!("> {number} {}\n", receipt.first.plus(number - next)));
            }
        }
        next = upto;
    }
    store.close().unwrap();
}

/// Prints each number that it is handed, and again once its ack is settled.
#[test]
fn the_child_consumes_until_it_is_killed() {
    let (Ok(path), Err(_)) = (std::env::var(DIR), std::env::var(FROM)) else { return };
    let store = Store::options().segment_bytes(1 << 20).open(path).unwrap();
    let printer = store.existing_topic("numbers").unwrap().consumer("printer", Group::default()).unwrap();
    say("\n");
    while !printer.idle() {
        let max = usize::try_from(IN_FLIGHT).unwrap();
        let held: Vec<_> = printer.lease_many(max, Duration::from_millis(10)).unwrap().collect();
        let offsets: Vec<Offset> = held.iter().map(millpond::Delivery::offset).collect();
        let lines = |what: &str| offsets.iter().map(|offset| format!("> {what} {offset}\n")).collect::<String>();
        say(&lines("got"));
        printer.ack_all(held).wait().unwrap();
        say(&lines("acked"));
    }
    store.close().unwrap();
}

fn spawn(test: &str, path: &Path, from: Option<u64>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(DIR, path).stdout(Stdio::piped());
    if let Some(from) = from {
        command.env(FROM, from.to_string());
    }
    command.spawn().unwrap()
}

/// Takes the child's lines until it ends, and kills it (SIGKILL) a moment after the `kill_at`-th. Whether it was
/// killed.
fn follow(mut child: Child, kill_at: usize, pause: Duration, mut take: impl FnMut(&str, u64)) -> bool {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut seen) = (String::new(), 0);
    while out.read_line(&mut line).unwrap() > 0 {
        // What was printed before the kill counts, half a line doesn't.
        if let Some((word, number)) = line.strip_prefix("> ").and_then(|rest| rest.strip_suffix('\n')?.split_once(' '))
        {
            take(word, number.parse().unwrap());
            seen += 1;
            if seen == kill_at {
                std::thread::sleep(pause);
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    let status = child.wait().unwrap();
    assert!(status.success() || seen >= kill_at, "the child failed by itself: {status}");
    !status.success()
}

#[test]
fn nothing_that_was_promised_is_lost_to_a_kill_and_nothing_acked_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (total, mut random) = (numbers(), fastrand::Rng::with_seed(7));
    let mut pause = move || Duration::from_micros(random.u64(0..3_000));

    // Published by one process after the other, each killed but the last.
    let mut receipts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut kills = 0;
    loop {
        let from = receipts.last_key_value().map_or(0, |(number, _)| number + 1);
        let kill_at = if kills < 6 { usize::try_from(total / 9).unwrap() } else { usize::MAX };
        let child = spawn("the_child_publishes_until_it_is_killed", &path, Some(from));
        let killed = follow(child, kill_at, pause(), |number, offset| {
            let before = receipts.insert(number.parse().unwrap(), offset);
            assert_eq!(before, None, "{number} has two receipts");
        });
        if !killed {
            break;
        }
        kills += 1;
    }
    assert_eq!((kills, receipts.len() as u64), (6, total));

    let store = Store::open(&path).unwrap();
    let topic = store.existing_topic("numbers").unwrap();
    let held: Vec<String> = topic
        .read(..)
        .enumerate()
        .map(|(place, record)| {
            let record = record.unwrap();
            assert_eq!(record.offset(), Offset::new(place as u64), "offsets are dense");
            String::from_utf8(record.payload().to_vec()).unwrap()
        })
        .collect();
    for (number, offset) in &receipts {
        let found = held.get(usize::try_from(*offset).unwrap());
        assert_eq!(found, Some(&number.to_string()), "the receipt of {number} says offset {offset}");
    }
    let end = held.len() as u64;
    assert!(end < total + 6 * IN_FLIGHT + 1);
    store.close().unwrap();
    assert!(Store::verify(&path, |_| ()).unwrap().damage.is_empty());

    consume_with_a_kill(&path, end, pause());
}

/// Offsets before `end` are consumed by one process that is killed half way, and by another.
fn consume_with_a_kill(path: &Path, end: u64, pause: Duration) {
    let mut by_first: BTreeMap<(bool, u64), u32> = BTreeMap::new();
    let child = spawn("the_child_consumes_until_it_is_killed", path, None);
    // Two lines for each number: "got" and "acked".
    let killed = follow(child, usize::try_from(end).unwrap(), pause, |word, offset| {
        *by_first.entry((word == "acked", offset)).or_default() += 1;
    });
    assert!(killed);
    let mut by_second: BTreeMap<u64, u32> = BTreeMap::new();
    let child = spawn("the_child_consumes_until_it_is_killed", path, None);
    let killed = follow(child, usize::MAX, Duration::ZERO, |word, offset| {
        *by_second.entry(offset).or_default() += u32::from(word == "got");
    });
    assert!(!killed);
    assert!(by_first.keys().any(|(acked, _)| *acked), "it was killed before it had acked anything");
    let mut unprinted = 0;
    for offset in 0..end {
        let [got, acked] = [false, true].map(|acked| by_first.contains_key(&(acked, offset)));
        let second = by_second.get(&offset);
        assert!(got || second.is_some(), "offset {offset} was delivered by nobody");
        assert!(!acked || second.is_none(), "offset {offset} was durably acked and came back");
        assert!(second.is_none_or(|times| *times == 1), "offset {offset} came twice to the second");
        // The kill may come after an ack is stored and before its line is printed. "got" is printed before the ack.
        unprinted += u64::from(!acked && second.is_none());
    }
    assert!(unprinted <= IN_FLIGHT, "{unprinted} acks were stored that the consumer had not asked for yet");
    let store = Store::open(path).unwrap();
    let printer = store.existing_topic("numbers").unwrap().consumer("printer", Group::default()).unwrap();
    assert!(printer.idle() && printer.dead_letters().next().is_none());
}

/// Numbers, one a line, through the program's `put`.
#[cfg(feature = "cli")]
fn put(path: &Path, numbers: u64) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_millpond"))
        .arg("put")
        .arg(path)
        .arg("numbers")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufWriter::new(child.stdin.take().unwrap());
    (0..numbers).for_each(|number| writeln!(lines, "{number}").unwrap());
    drop(lines);
    assert!(child.wait().unwrap().success());
}

#[test]
#[cfg(feature = "cli")]
fn what_went_through_put_is_delivered_though_the_consumer_is_killed_half_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pond");
    put(&path, numbers());
    let store = Store::open(&path).unwrap();
    let topic = store.existing_topic("numbers").unwrap();
    let mut count = 0;
    for record in topic.read(..) {
        let record = record.unwrap();
        assert_eq!((record.offset(), record.payload()), (Offset::new(count), count.to_string().as_bytes()));
        count += 1;
    }
    assert_eq!(count, numbers());
    store.close().unwrap();
    consume_with_a_kill(&path, count, Duration::from_micros(700));
}

/// Each effect is a line in a file. What is not acknowledged when the first `work` is killed is worked again, and
/// nothing else is.
#[test]
#[cfg(all(unix, feature = "cli"))]
fn a_thousand_through_work_have_their_effect_though_the_worker_is_killed_half_way() {
    const JOBS: usize = 3;
    let dir = tempfile::tempdir().unwrap();
    let (path, effects) = (dir.path().join("pond"), dir.path().join("effects"));
    put(&path, 1000);
    let work = || {
        Command::new(env!("CARGO_BIN_EXE_millpond"))
            .args(["work".as_ref(), path.as_os_str()])
            .args(["numbers", "printer", "--once", "--jobs", &JOBS.to_string(), "--"])
            .args(["sh", "-c", r#"n=$(cat); echo "$n" >> "$EFFECTS""#])
            .env("EFFECTS", &effects)
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let done = || {
        let text = std::fs::read_to_string(&effects).unwrap_or_default();
        text.split_whitespace().map(|number| number.parse().unwrap()).collect::<Vec<u64>>()
    };
    let mut first = work();
    while done().len() < 500 {
        assert!(first.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(1));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // The commands that were running go on without it.
    std::thread::sleep(Duration::from_millis(300));
    let before = done().len();
    let store = Store::open(&path).unwrap();
    let stats = store.existing_topic("numbers").unwrap().consumer("printer", Group::default()).unwrap().stats();
    let left = usize::try_from(stats.ready + stats.retrying).unwrap();
    store.close().unwrap();
    assert!(left > 0 && left < 1000);
    assert!(work().wait().unwrap().success());
    let done = done();
    assert_eq!(done.len(), before + left, "what was acknowledged was worked again, or something was not worked");
    let numbers: std::collections::BTreeSet<u64> = done.iter().copied().collect();
    assert_eq!(numbers, (0..1000).collect());
    assert!(done.len() <= 1000 + JOBS, "{} effects", done.len());
}
