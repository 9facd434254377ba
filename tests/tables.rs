//! The tables on a real disk: deleted, rolled back, cut, flipped, locked; each costs time and a warning, and no answer
//! changes (I10).
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test, on real files")]

use millpond::{Group, Message, Options, Store, Topic, TopicSettings, Window};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const IDS: u32 = 3_000;

fn options() -> Options {
    Store::options().segment_bytes(256 << 10).first_segment_bytes(256 << 10).id_memory_bytes(64 << 10)
}

fn payments(store: &Store) -> Topic {
    store.topic_with("payments", TopicSettings::default().deduplicate(Window::Forever)).unwrap()
}

fn open(path: &Path) -> Store {
    options().open(path).unwrap()
}

/// A store with published and processed ids, most of them in the tables, and cleanly closed.
fn filled(path: &Path) {
    let store = open(path);
    let topic = payments(&store);
    let book = topic.consumer("book", Group::default().remember_processed(Window::Forever)).unwrap();
    for first in (0..IDS).step_by(100) {
        let batch = (first..first + 100).map(|id| Message::new("p").id(id.to_string()));
        topic.publish_all(batch).wait().unwrap();
        book.ack_all(book.lease_many(100, Duration::ZERO).unwrap()).wait().unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut tries = 0;
    while store.id_stats().processed_in_memory > u64::from(IDS) / 2 && tries < 500 {
        std::thread::sleep(Duration::from_millis(10));
        tries += 1;
    }
    store.close().unwrap();
    assert!(path.join("tables/db").exists());
}

/// Every id is known as published and as processed.
fn assert_known(store: &Store, when: &str) {
    let topic = payments(store);
    let book = topic.consumer("book", Group::default()).unwrap();
    let end = topic.end_offset();
    for id in 0..IDS {
        assert!(book.is_processed(id.to_string()).unwrap(), "{when}: {id} is not processed any more");
    }
    let again = topic.publish_all((0..IDS).map(|id| Message::new("p").id(id.to_string()))).wait().unwrap();
    assert_eq!((again.count, topic.end_offset()), (0, end), "{when}");
    assert!(!book.is_processed("another").unwrap());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files below a directory that have bytes.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_answers_are_the_same_after_a_restart_and_without_tables_and_with_older_ones() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store");
    filled(&path);
    let (tables, older) = (path.join("tables"), root.path().join("older"));
    copy(&tables, &older);
    let store = open(&path);
    assert_eq!(store.recovery().tables_rebuilt, None);
    assert_known(&store, "after a restart");
    // So that the older copy is an older one.
    let topic = payments(&store);
    let book = topic.consumer("book", Group::default()).unwrap();
    for id in IDS..IDS + 1_000 {
        topic.publish(Message::new("p").id(id.to_string())).wait().unwrap();
        book.lease().unwrap().ack().wait().unwrap();
    }
    store.close().unwrap();
    fs::remove_dir_all(&tables).unwrap();
    let store = open(&path);
    assert!(store.recovery().tables_rebuilt.is_some());
    assert_known(&store, "without tables");
    store.close().unwrap();
    fs::remove_dir_all(&tables).unwrap();
    copy(&older, &tables);
    let store = open(&path);
    assert!(store.recovery().tables_rebuilt.is_some());
    assert_known(&store, "with an older copy");
    assert!(path.join("tables.aside").exists());
    store.close().unwrap();
}

#[test]
fn damaged_tables_are_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let good = root.path().join("good");
    filled(&good);
    let mut rng = fastrand::Rng::with_seed(std::env::var("MILLPOND_SEED").map_or(7, |seed| seed.parse().unwrap()));
    let rounds = std::env::var("MILLPOND_ROUNDS").map_or(25, |rounds| rounds.parse().unwrap());
    let mut rebuilt = 0;
    for round in 0..rounds {
        let path = root.path().join(format!("{round}"));
        copy(&good, &path);
        let files = files(&path.join("tables"));
        let file = &files[rng.usize(..files.len())];
        let mut bytes = fs::read(file).unwrap();
        // Most of sled's file is empty.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let what = rng.u8(0..5);
        match what {
            0 => bytes.truncate(rng.usize(..bytes.len())),
            1 => bytes[..used].fill(0),
            2 => {
                let at = rng.usize(..used);
                bytes[at..used.min(at + 4096)].fill_with(|| rng.u8(..));
            }
            _ => (0..3).for_each(|_| bytes[rng.usize(..used)] ^= 1 << rng.u8(0..8)),
        }
        fs::write(file, &bytes).unwrap();
        let store = open(&path);
        rebuilt += u32::from(store.recovery().tables_rebuilt.is_some());
        assert_known(&store, &format!("round {round}, {} damaged by {what}", file.display()));
        store.close().unwrap();
        fs::remove_dir_all(&path).unwrap();
    }
    assert!(rebuilt > 0);
}

/// Opens sled's tree of rows behind the engine's back, and lets something be done to it.
fn behind_its_back(path: &Path, what: impl Fn(&sled::Tree)) {
    // sled frees its lock a moment after it was closed.
    let config = sled::Config::new().path(path.join("tables")).flush_every_ms(None);
    let db = (0..200).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        config.open().ok()
    });
    let db = db.unwrap();
    assert!(db.tree_names().iter().any(|name| name.as_ref() == b"processed 2"));
    what(&db.open_tree("processed 2").unwrap());
    db.flush().unwrap();
}

/// Keys of rows of ids; others begin with another byte.
fn rows(tree: &sled::Tree) -> Vec<sled::IVec> {
    tree.iter().keys().map(Result::unwrap).filter(|key| key.starts_with(&[0])).collect()
}

#[test]
fn rows_that_vanish_from_sled_without_a_trace_are_missed_by_whoever_asks_for_them() {
    let root = tempfile::tempdir().unwrap();
    let good = root.path().join("good");
    filled(&good);
    // One, some, a stretch, all; one that is an older one; and sums that are as they should not be.
    let remove = |tree: &sled::Tree, which: &dyn Fn(usize) -> bool| {
        let gone = rows(tree).into_iter().enumerate().filter(|(place, _)| which(*place));
        gone.for_each(|(_, key)| drop(tree.remove(key).unwrap().unwrap()));
    };
    type Harm<'a> = Box<dyn Fn(&sled::Tree) + 'a>;
    let harms: Vec<(&str, Harm<'_>)> = vec![
        ("the first", Box::new(|tree| remove(tree, &|place| place == 0))),
        ("one", Box::new(|tree| remove(tree, &|place| place == 777))),
        ("each tenth", Box::new(|tree| remove(tree, &|place| place % 10 == 3))),
        ("a stretch", Box::new(|tree| remove(tree, &|place| (300..600).contains(&place)))),
        ("all", Box::new(|tree| remove(tree, &|_| true))),
        (
            "one is another",
            Box::new(|tree| {
                let key = rows(tree).swap_remove(500);
                let mut value = tree.get(&key).unwrap().unwrap().to_vec();
                value[9] ^= 1;
                tree.insert(key, value).unwrap();
            }),
        ),
        (
            "two change places",
            Box::new(|tree| {
                let (one, other) = (rows(tree).swap_remove(100), rows(tree).swap_remove(101));
                let values = [&one, &other].map(|key| tree.get(key).unwrap().unwrap());
                tree.insert(one, &values[1]).unwrap();
                tree.insert(other, &values[0]).unwrap();
            }),
        ),
        (
            "sums",
            Box::new(|tree| {
                let sums = tree.iter().keys().map(Result::unwrap).find(|key| key[0] == 1);
                tree.remove(sums.unwrap()).unwrap();
            }),
        ),
        (
            "rows and all sums",
            Box::new(|tree| {
                remove(tree, &|place| place < 50);
                let sums = tree.iter().keys().map(Result::unwrap).filter(|key| key[0] == 1);
                sums.for_each(|key| drop(tree.remove(key).unwrap()));
            }),
        ),
    ];
    for (what, harm) in harms {
        let path = root.path().join("harmed");
        copy(&good, &path);
        behind_its_back(&path, harm);
        let store = open(&path);
        assert_known(&store, what);
        store.close().unwrap();
        assert!(path.join("tables.aside").exists() || what == "sums", "{what}: nobody noticed");
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn a_byte_that_flips_anywhere_in_tables_and_runs_forgets_no_id() {
    let root = tempfile::tempdir().unwrap();
    let good = root.path().join("good");
    filled(&good);
    let each: usize = std::env::var("MILLPOND_FLIPS").map_or(4, |flips| flips.parse().unwrap());
    let runs =
        files(&good.join("journal")).into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "ids"));
    let all: Vec<PathBuf> = files(&good.join("tables")).into_iter().chain(runs).collect();
    let (mut flips, mut of_runs) = (0, 0);
    for file in all {
        let bytes = fs::read(&file).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let is_run = file.extension().is_some_and(|kind| kind == "ids");
        for at in (0..used).step_by((used / each).max(1)) {
            let path = root.path().join("flipped");
            copy(&good, &path);
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            fs::write(path.join(file.strip_prefix(&good).unwrap()), &bytes).unwrap();
            let store = open(&path);
            assert_known(&store, &format!("byte {at} of {} flipped", file.display()));
            store.close().unwrap();
            fs::remove_dir_all(&path).unwrap();
            (flips, of_runs) = (flips + 1, of_runs + usize::from(is_run));
        }
    }
    assert!(flips > 20 && of_runs > 10, "{flips}, {of_runs} of them in runs");
}

#[test]
fn a_store_without_processed_ids_has_no_tables() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path()).unwrap();
    store.topic("orders").unwrap().publish(Message::new("a").id("a")).wait().unwrap();
    store.close().unwrap();
    assert!(!root.path().join("tables").exists());
}
