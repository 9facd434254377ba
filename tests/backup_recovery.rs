//! A file with a second name, in a backup or a copy made by links, is never written: whatever recovery has to do.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, moves files, and has a process to kill"
)]

use millpond::{Durability, Group, Message, Offset, Options, Store};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DIR: &str = "MILLPOND_TEST_BACKUP";
const CHILD: &str = "the_child_backs_up_and_waits_to_be_killed";
/// With one that is waited for.
const MESSAGES: u64 = 2000;

fn small() -> Options {
    Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10).durability(Durability::Os)
}

fn fill(store: &Store, from: u64) {
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    for number in from..from + MESSAGES - 1 {
        let ticket = orders.publish(Message::new(vec![b'm'; 300]).id(number.to_string()));
        // No line gets too long.
        if number % 100 == 0 {
            ticket.wait().unwrap();
        } else {
            ticket.detach();
        }
    }
    orders.publish("last").wait().unwrap();
    let some = email.lease_many(10, Duration::ZERO).unwrap();
    email.ack_all(some).wait().unwrap();
}

/// Two backups, by the owner and by one that only looks, the second of which nothing was made durable for.
#[test]
fn the_child_backs_up_and_waits_to_be_killed() {
    let Ok(path) = std::env::var(DIR) else { return };
    let path = PathBuf::from(path);
    let options = small().sync_interval(Duration::from_secs(3600));
    let store = options.open(path.join("data")).unwrap();
    fill(&store, 0);
    let first = store.backup(path.join("by its owner")).unwrap();
    fill(&store, MESSAGES);
    let second = Store::open_read_only(path.join("data")).unwrap().backup(path.join("beside it")).unwrap();
    assert!(first.linked > 3 && second.linked > 6, "{first:?} {second:?}");
    let mut out = std::io::stdout();
    writeln!(out, "\nready").unwrap();
    out.flush().unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

/// All segments of a store: their bytes, and when they were written last.
fn segments(store: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(store.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "segment") {
            let metadata = std::fs::metadata(&path).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            all.insert(path, (bytes, metadata.mtime(), metadata.mtime_nsec()));
        }
    }
    all
}

/// A second name for everything, as `cp -al` gives it.
fn link_all(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            link_all(&entry.path(), &to);
        } else {
            std::fs::hard_link(entry.path(), to).unwrap();
        }
    }
}

/// A torn write: a byte of the last frame, which nobody was promised, is another one.
fn tear(store: &Path) {
    let last = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).filter(|at| *at > 4096);
    let mut written = segments(store).into_iter().filter_map(|(path, (bytes, ..))| Some((path, last(&bytes)?)));
    let (path, at) = written.next_back().unwrap();
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 1);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], at as u64).unwrap();
}

fn count(path: &Path) -> u64 {
    assert!(Store::verify(path, |_| ()).unwrap().damage.is_empty());
    let store = small().create(false).open(path).unwrap();
    let orders = store.existing_topic("orders").unwrap();
    // What the group has settled is gone.
    let mut next = orders.read(..).next().unwrap().unwrap().offset();
    assert!(next <= Offset::new(30));
    for record in orders.read(..) {
        let record = record.unwrap();
        let whole = record.payload() == [b'm'; 300] || record.payload() == b"last";
        assert!(record.offset() == next && whole, "{record:?}, not {next}");
        next = next.next();
    }
    store.close().unwrap();
    next.get()
}

#[test]
fn backups_stay_byte_for_byte_what_they_are_when_their_store_dies_and_recovers() {
    for torn in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let command = command.args(["--exact", CHILD, "--nocapture"]).env(DIR, dir.path()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let ready = out.lines().map(Result::unwrap).any(|line| line == "ready");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ready, "the child failed");

        let [data, twin] = ["data", "twin"].map(|name| dir.path().join(name));
        if torn {
            tear(&data);
        }
        link_all(&data, &twin);
        let copies = ["by its owner", "beside it", "twin"].map(|name| dir.path().join(name));
        let before = copies.each_ref().map(|path| segments(path));
        let store = small().open(&data).unwrap();
        assert_eq!(store.recovery().trimmed.is_some(), torn);
        // Ids and messages are what they were, and the store goes on with files of its own.
        let orders = store.topic("orders").unwrap();
        assert!(orders.publish(Message::new(vec![b'm'; 300]).id("1998")).wait().unwrap().duplicate);
        fill(&store, 2 * MESSAGES);
        store.close().unwrap();
        for (path, before) in copies.iter().zip(&before) {
            assert!(segments(path) == *before, "{} was written to", path.display());
        }
        assert_eq!(count(&data), 3 * MESSAGES);
        assert!(copies[..2].iter().zip(&before).all(|(path, before)| segments(path) == *before));
        assert_eq!(copies.each_ref().map(|path| count(path)), [MESSAGES, 2 * MESSAGES, 2 * MESSAGES]);
    }
}
