//! Several processes that want the same store, killed again and again (SIGKILL): one has it at a time, it is free the
//! moment that one is dead, and what any of them was promised is there.
//!
//! `MILLPOND_KILLS` says how many are killed (40).
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking; its children are processes"
)]

use millpond::{ErrorKind, Message, Store};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const DIR: &str = "MILLPOND_TEST_CONTENDED";
const NAME: &str = "MILLPOND_TEST_CONTENDED_NAME";
/// Processes that want it at a time.
const PROCESSES: usize = 4;

/// Takes the store whenever it is free, publishes a few, notes each once it is durable, and lets go of it.
#[test]
fn the_child_takes_turns_until_it_is_killed() {
    let (Ok(dir), Ok(name)) = (std::env::var(DIR), std::env::var(NAME)) else { return };
    let notes = Path::new(&dir).join(format!("notes.{name}"));
    let mut notes = OpenOptions::new().create(true).append(true).open(notes).unwrap();
    let options = Store::options().segment_bytes(64 << 10).first_segment_bytes(16 << 10);
    for number in 0u64.. {
        let store = match options.clone().open(Path::new(&dir).join("store")) {
            Ok(store) => store,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
        };
        let topic = store.topic("numbers").unwrap();
        for place in 0..20 {
            let text = format!("{name} {number} {place}");
            let offset = topic.publish(Message::new(text.clone())).wait().unwrap().offset;
            // One write, so that a kill leaves a whole line or none.
            notes.write_all(format!("{offset} {text}\n").as_bytes()).unwrap();
        }
        // Half of the times it is dropped, which has to free it too.
        if number % 2 == 0 {
            store.close().unwrap();
        }
    }
}

fn spawn(dir: &Path, name: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_child_takes_turns_until_it_is_killed"]).env(DIR, dir).env(NAME, name.to_string());
    command.stdout(std::process::Stdio::null()).spawn().unwrap()
}

/// All that was noted as promised, by offset.
fn promised(dir: &Path) -> BTreeMap<u64, String> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if !entry.file_name().to_string_lossy().starts_with("notes.") {
            continue;
        }
        for line in std::fs::read_to_string(entry.path()).unwrap().lines() {
            let (offset, text) = line.split_once(' ').unwrap();
            let before = all.insert(offset.parse().unwrap(), text.to_owned());
            assert_eq!(before, None, "offset {offset} was promised twice: two had the store");
        }
    }
    all
}

#[test]
fn of_several_processes_that_are_killed_again_and_again_one_has_the_store_and_no_promise_is_lost() {
    let kills = std::env::var("MILLPOND_KILLS").map_or(40, |kills| kills.parse().unwrap());
    let root = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(11);
    let mut children: Vec<Child> = (0..PROCESSES as u64).map(|name| spawn(root.path(), name)).collect();
    for killed in 0..kills {
        // Not before somebody has come further.
        let (before, began) = (promised(root.path()).len(), Instant::now());
        while promised(root.path()).len() <= before {
            assert!(began.elapsed() < Duration::from_secs(120), "nobody gets on after {killed} kills");
            std::thread::sleep(Duration::from_millis(rng.u64(1..30)));
        }
        let which = rng.usize(0..PROCESSES);
        let mut child = std::mem::replace(&mut children[which], spawn(root.path(), (PROCESSES as u64) + killed));
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let promised = promised(root.path());
    let store = Store::open(root.path().join("store")).unwrap();
    let topic = store.existing_topic("numbers").unwrap();
    let found: BTreeMap<u64, String> = topic
        .read(..)
        .map(|record| record.unwrap())
        .map(|record| (record.offset().get(), String::from_utf8(record.payload().to_vec()).unwrap()))
        .collect();
    for (offset, text) in &promised {
        assert_eq!(found.get(offset), Some(text), "offset {offset} was promised");
    }
    assert_eq!(found.len() as u64, topic.end_offset().get(), "offsets are dense");
    assert!(promised.len() as u64 > kills, "{} were promised", promised.len());
    store.close().unwrap();
}
