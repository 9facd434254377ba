//! What readers beside an owner cost it, counted and not timed: it asks the disk for the same, call by call, whether or
//! not somebody looks; and it goes on beside a reader that has stopped with the store's files in its hands.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and has a process to stop"
)]

use millpond::testing::{Counts, SimDisk};
use millpond::{Durability, Group, ManualClock, Message, Offset, Options, ReadOnlyStore, Store, Timestamp};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

const DIR: &str = "MILLPOND_TEST_STOPPED";
const READER: &str = "the_reader_reads_until_it_is_stopped_and_goes_on_later";

fn options() -> Options {
    Store::options().segment_bytes(32 << 10).first_segment_bytes(32 << 10).durability(Durability::Os)
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_string().into_bytes();
    payload.resize(60 + usize::try_from(number % 100).unwrap(), b'.');
    payload
}

/// An owner, whose messages in one topic stay and in another one are consumed, but for one of a hundred: its segments
/// are cleaned, given back and used again.
struct Owner {
    store: Store,
    kept: millpond::Topic,
    churn: millpond::Topic,
    worker: millpond::Consumer,
    round: u64,
}

impl Owner {
    fn new(store: Store) -> Self {
        let [kept, churn] = ["kept", "churn"].map(|name| store.topic(name).unwrap());
        kept.consumer("keeper", Group::default()).unwrap();
        let worker = churn.consumer("worker", Group::default()).unwrap();
        Self { store, kept, churn, worker, round: 0 }
    }

    fn round(&mut self) {
        self.kept.publish(Message::new(payload(self.round)).durability(Durability::Disk)).wait().unwrap();
        let numbers = self.round * 20..(self.round + 1) * 20;
        self.churn.publish_all(numbers.map(|number| Message::new(payload(number)))).wait().unwrap();
        let batch = self.worker.lease_many(20, Duration::ZERO).unwrap();
        let (keep, done): (Vec<_>, Vec<_>) = batch.partition(|delivery| delivery.offset().get() % 100 == 0);
        self.worker.ack_all(done).wait().unwrap();
        keep.into_iter().for_each(std::mem::forget);
        self.round += 1;
    }

    fn segments(&self) -> (u32, usize) {
        let segments = self.store.stats().segments;
        (segments.last().unwrap().id.get(), segments.len())
    }
}

/// Everything there is, each record right; how many of those that stay there are.
fn look(seen: &ReadOnlyStore) -> u64 {
    let mut next = Offset::ZERO;
    for record in seen.topic("kept").unwrap().read(..) {
        let record = record.unwrap();
        assert!(record.offset() == next && record.payload() == payload(next.get()), "{record:?} is not {next}");
        next = next.next();
    }
    let mut last = None;
    for record in seen.topic("churn").unwrap().read(..) {
        let record = record.unwrap();
        assert!(last < Some(record.offset()) && record.payload() == payload(record.offset().get()), "{record:?}");
        last = Some(record.offset());
    }
    seen.stats().unwrap();
    next.get()
}

/// What was asked of the disk between two counts.
fn between(before: &Counts, after: &Counts) -> [u64; 10] {
    let all = |counts: &Counts| {
        let names = [counts.creates, counts.renames, counts.removes, counts.dir_syncs];
        let files = [counts.reads, counts.writes, counts.bytes_written, counts.allocations, counts.syncs, counts.opens];
        [files[0], files[1], files[2], files[3], files[4], files[5], names[0], names[1], names[2], names[3]]
    };
    let (before, after) = (all(before), all(after));
    std::array::from_fn(|at| after[at] - before[at])
}

/// How the owner is looked at after each of its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looking {
    Nobody,
    /// By one that comes and goes.
    Anew,
    /// By one that stays, and keeps files open.
    Again,
}

/// What there is on a disk.
type Files = Vec<(String, Vec<u8>)>;

/// What an owner asks of its disk in so many rounds, and the disk's files at the end.
fn run(looking: Looking, rounds: u64) -> ([u64; 10], Files, (u32, usize)) {
    let disk = SimDisk::new(3);
    let clock = ManualClock::starting_at(Timestamp::new(1_000_000));
    let mut owner = Owner::new(Store::open_simulated(&disk, clock.clone(), 1, options()).unwrap());
    let observe = || Store::observe_simulated(&disk, clock.clone(), options()).unwrap();
    let mut stays = (looking == Looking::Again).then(observe);
    let mut asked = [0; 10];
    for round in 0..rounds {
        let before = disk.counts();
        owner.round();
        clock.advance(Duration::from_millis(20));
        for _ in 0..20 {
            owner.store.step_commit().unwrap();
            owner.store.step_upkeep().unwrap();
        }
        let now = disk.counts();
        between(&before, &now).iter().zip(&mut asked).for_each(|(more, all)| *all += more);
        if looking == Looking::Anew {
            stays = Some(observe());
        }
        if let Some(seen) = &stays {
            seen.refresh().unwrap();
            assert_eq!(look(seen), round + 1, "all that was written is seen, and nothing else");
        }
        if looking == Looking::Anew {
            stays = None;
        }
        let changed = disk.counts().operations - now.operations;
        assert_eq!(changed, 0, "looking has changed something on the disk");
    }
    let segments = owner.segments();
    drop(stays);
    let files = disk.file_names().into_iter().map(|name| (name.clone(), disk.read_file(&name).unwrap())).collect();
    (asked, files, segments)
}

#[test]
fn an_owner_asks_the_same_of_its_disk_whether_or_not_somebody_looks() {
    const ROUNDS: u64 = 400;
    let (alone, files, (newest, there)) = run(Looking::Nobody, ROUNDS);
    assert!(newest as usize > there + 20, "segments came and went: {there}, {newest} the newest");
    for looking in [Looking::Anew, Looking::Again] {
        let (beside, same, _) = run(looking, ROUNDS);
        assert_eq!(beside, alone, "{looking:?}");
        assert!(same == files, "the files are the same, byte by byte: {looking:?}");
    }
}

/// Reads a part, says so, and reads on when it is told to. It knows nothing of having been stopped meanwhile.
#[test]
fn the_reader_reads_until_it_is_stopped_and_goes_on_later() {
    let Ok(path) = std::env::var(DIR) else { return };
    let seen = Store::open_read_only(path).unwrap();
    let (kept, churn) = (seen.topic("kept").unwrap(), seen.topic("churn").unwrap());
    let (mut all, mut busy) = (kept.read(..), churn.read(..));
    let mut read = |many: usize| {
        let mut count = 0;
        for (number, record) in all.by_ref().take(many).enumerate() {
            let record = record.unwrap();
            assert_eq!(record.payload(), payload(record.offset().get()), "{number}");
            count += 1;
        }
        // Some of it is gone by now, or somewhere else: what is there is right.
        for record in busy.by_ref().take(many) {
            let record = record.unwrap();
            assert_eq!(record.payload(), payload(record.offset().get()));
        }
        count
    };
    let mut out = std::io::stdout();
    let first = read(10);
    writeln!(out, "\n> {first}").unwrap();
    out.flush().unwrap();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    let rest = read(usize::MAX);
    writeln!(out, "\n> {rest}").unwrap();
}

#[cfg(unix)]
#[test]
fn an_owner_goes_on_beside_a_reader_in_another_process_that_has_stopped_with_files_in_its_hands() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = Owner::new(options().open(dir.path()).unwrap());
    (0..300).for_each(|_| owner.round());
    let before = owner.segments();
    let mut reader = Command::new(std::env::current_exe().unwrap());
    reader.args(["--exact", READER, "--nocapture"]).env(DIR, dir.path());
    let mut reader = reader.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(reader.stdout.take().unwrap());
    let mut told = || {
        let mut line = String::new();
        while !line.starts_with("> ") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the reader has failed");
        }
        line[2..].trim().parse::<u64>().unwrap()
    };
    assert_eq!(told(), 10);
    let signal = |name: &str, reader: &std::process::Child| {
        let status = Command::new("kill").arg(name).arg(reader.id().to_string()).status();
        assert!(status.unwrap().success());
    };
    signal("-STOP", &reader);
    // Every one of these returns, though the reader holds what it has open for as long as it likes.
    (0..2000).for_each(|_| owner.round());
    // What nobody needs is given back meanwhile.
    let most = before.1 + 40;
    for _ in 0..200 {
        if owner.segments().1 < most {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let after = owner.segments();
    assert!(after.0 > before.0 + 100 && after.1 < most, "{before:?} {after:?}");
    signal("-CONT", &reader);
    writeln!(reader.stdin.as_mut().unwrap(), "go on").unwrap();
    // As of when it was opened; what it came to later it may have looked for anew.
    let rest = told();
    assert!((290..=2290).contains(&rest), "{rest}");
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(reader.wait().unwrap().success(), "the reader has failed: {rest}");
    owner.store.close().unwrap();
    assert!(Store::verify(dir.path(), |_| ()).unwrap().damage.is_empty());
}
