//! What can be found in the files of an encrypted store by somebody who reads all of them.
#![expect(clippy::disallowed_methods, reason = "the files of a store are searched")]

use crate::{id, keys};
use millpond::{Filter, Group, Keys, Message, Retention, Store, TopicSettings, Window};
use std::path::Path;

/// What a program gives to a store, each in its own place.
const SECRETS: [&str; 12] = [
    "topic-of-secrets",
    "group-of-secrets",
    "payload-of-secrets",
    "id-of-secrets",
    "key-of-secrets",
    "header-of-secrets",
    "header-value-of-secrets",
    "error-of-secrets",
    "reason-of-secrets",
    "value-of-secrets",
    "value-content-of-secrets",
    "topic-of-forwarded-secrets",
];

fn message(number: u64) -> Message {
    Message::new(format!("payload-of-secrets {number}"))
        .id(format!("id-of-secrets {number}"))
        .key(format!("key-of-secrets {}", number % 3))
        .header("header-of-secrets", "header-value-of-secrets")
}

/// Uses all of it, over several segments, with snapshots, sidecars, runs of ids and a table of processed ones.
fn work(path: &Path, keys: &Keys) {
    let small = Store::options().segment_bytes(32 << 10).first_segment_bytes(16 << 10).encryption(keys.clone());
    for _ in 0..2 {
        let store = small.clone().open(path.join("store")).unwrap();
        let kept = TopicSettings::default().retention(Retention::everything()).deduplicate(Window::Off);
        let orders = store.topic_with("topic-of-secrets", kept).unwrap();
        store.topic_with("with ids", TopicSettings::default().deduplicate(Window::Forever)).unwrap();
        let group = Group::default()
            .filter(Filter::header("header-of-secrets", "header-value-of-secrets"))
            .forward_dead_letters("topic-of-forwarded-secrets")
            .remember_processed(Window::Forever)
            .processed_table("inbox");
        let email = orders.consumer("group-of-secrets", group).unwrap();
        for round in 0..30 {
            let numbers = || round * 20..round * 20 + 20;
            orders.publish_all(numbers().map(message).collect::<Vec<_>>()).wait().unwrap();
            let with_ids = store.topic("with ids").unwrap();
            with_ids.publish_all(numbers().map(message).collect::<Vec<_>>()).wait().unwrap();
            for (at, delivery) in email.lease_many(6, std::time::Duration::ZERO).unwrap().enumerate() {
                match at {
                    0 => delivery.nack("error-of-secrets").wait().unwrap(),
                    1 => delivery.bury("reason-of-secrets").wait().unwrap(),
                    _ => delivery.ack().wait().unwrap(),
                }
            }
            let mut transaction = store.transaction();
            transaction.publish(&orders, message(round));
            transaction.set("value-of-secrets", "value-content-of-secrets");
            transaction.commit().wait().unwrap();
        }
        store.clean_now().unwrap();
        if !path.join("backup").exists() {
            store.backup(path.join("backup")).unwrap();
        }
        store.close().unwrap();
    }
    let seen = Options::of(keys).open_read_only(path.join("store")).unwrap();
    assert!(seen.stats().unwrap().segments.len() > 3);
}

/// What only reading needs.
struct Options;

impl Options {
    fn of(keys: &Keys) -> millpond::Options {
        Store::options().encryption(keys.clone())
    }
}

/// Every file below `path`, by its name.
fn files(path: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
        }
    }
}

/// The secrets that are found, with the file.
fn found(path: &Path) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    files(path, &mut all);
    assert!(all.len() > 10);
    let mut found = Vec::new();
    for secret in SECRETS {
        let has = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        let named = all.iter().filter(|(name, bytes)| name.contains(secret) || has(bytes));
        found.extend(named.map(|(name, _)| (secret, name.clone())));
    }
    found
}

#[test]
fn nothing_that_a_program_gave_to_an_encrypted_store_is_found_in_its_files_or_its_backups() {
    let plain = tempfile::tempdir().unwrap();
    work(plain.path(), &Keys::none());
    let there = found(plain.path());
    for secret in SECRETS {
        assert!(there.iter().any(|(one, _)| *one == secret), "the search is no good: {secret} is not in a plain store");
    }
    let dir = tempfile::tempdir().unwrap();
    work(dir.path(), &keys());
    assert_eq!(found(dir.path()), []);
    // The key's name is what is told, and it is in each segment.
    let mut all = Vec::new();
    files(dir.path(), &mut all);
    let name = id("first").to_string();
    for (file, bytes) in all.iter().filter(|(name, _)| name.ends_with(".segment")) {
        assert_eq!(bytes.get(56..72).unwrap(), [name.as_bytes(), &[0; 11]].concat(), "{file}");
    }
    let backup = Options::of(&keys()).open(dir.path().join("backup")).unwrap();
    assert!(backup.topic("topic-of-secrets").unwrap().read(..).next().unwrap().is_ok());
    assert_eq!(Store::open_read_only(dir.path().join("store")).map(drop).unwrap_err().code(), "key-missing");
}
