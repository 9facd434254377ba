//! Opening a directory: whose it is, whether it is a store at all, and whether this release can read it. Each refusal
//! is a clear error, and leaves everything as it was.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and plants files")]

use millpond::{Error, ErrorKind, Offset, Store};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Says to this test binary, started by itself, which directory to open and hold.
const HOLD: &str = "MILLPOND_TEST_HOLD";

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A store with `messages` messages in topic `orders`, closed.
fn store_with(path: &Path, messages: u64) {
    let store = Store::open(path).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..messages).map(|number| number.to_string().into())).wait().unwrap();
    store.close().unwrap();
}

fn payloads(path: &Path) -> Vec<String> {
    let store = Store::open(path).unwrap();
    let orders = store.existing_topic("orders").unwrap();
    let all = orders.read(Offset::ZERO..).map(|record| String::from_utf8(record.unwrap().payload().to_vec()).unwrap());
    let all = all.collect();
    store.close().unwrap();
    all
}

fn refusal(path: &Path) -> Error {
    Store::open(path).unwrap_err()
}

/// Every path below `directory` with what it holds: a file's bytes, or the kind of thing it is.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(contents(&entry.path()));
        }
        let held = if kind.is_file() { fs::read(entry.path()).unwrap() } else { format!("{kind:?}").into_bytes() };
        found.insert(entry.path(), held);
    }
    found
}

/// Opening fails with this kind and code, says `text`, and changes nothing.
#[track_caller]
fn refused_untouched(path: &Path, kind: ErrorKind, code: &str, text: &str) -> Error {
    let before = contents(path);
    let error = refusal(path);
    assert_eq!((error.kind(), error.code()), (kind, code), "{error}");
    assert!(error.to_string().contains(text), "{error}");
    assert!(contents(path) == before, "the refused opening changed something");
    error
}

fn change(file: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    how(&mut bytes);
    fs::write(file, bytes).unwrap();
}

/// Changes the bytes in front of a checksum that ends at `end`, and makes the checksum fit them.
fn forge(file: &Path, end: usize, at: usize, byte: u8) {
    change(file, |bytes| {
        let (covered, rest) = bytes.split_at_mut(end - 4);
        covered.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
        let crc = crc32fast::hash(covered).to_le_bytes();
        rest.iter_mut().zip(crc).for_each(|(place, byte)| *place = byte);
    });
}

fn segment(path: &Path, number: u32) -> PathBuf {
    path.join(format!("journal/{number:010}.segment"))
}

#[test]
fn a_store_that_this_process_has_open_is_locked_until_it_is_closed() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let error = refusal(dir.path());
    assert_eq!((error.kind(), error.code()), (ErrorKind::Locked, "locked"));
    assert!(error.to_string().contains("locked by its owner"), "{error}");
    assert!(Store::verify(dir.path(), |_| ()).unwrap().damage.is_empty());
    let clone = store.clone();
    drop(store);
    assert_eq!(refusal(dir.path()).kind(), ErrorKind::Locked, "a clone holds it too");
    drop(clone);
    Store::open(dir.path()).unwrap().close().unwrap();
}

/// The other process of the next test: no test by itself.
#[test]
fn the_other_process_holds_its_store_until_its_stdin_closes() {
    let Ok(path) = std::env::var(HOLD) else { return };
    let store = Store::open(path).unwrap();
    writeln!(std::io::stdout().lock(), "\nheld").unwrap();
    drop(std::io::stdin().lock().read_line(&mut String::new()));
    drop(store);
}

#[test]
fn a_store_of_another_process_is_locked_by_its_owner_and_free_the_moment_that_is_killed() {
    let dir = scratch();
    store_with(dir.path(), 3);
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process_holds_its_store_until_its_stdin_closes", "--nocapture"])
        .env(HOLD, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "held"), "the other process did not open the store");
    for _ in 0..2 {
        let error = refusal(dir.path());
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains("locked by its owner"), "{error}");
    }
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_eq!(payloads(dir.path()), ["0", "1", "2"]);
}

#[test]
fn a_file_is_no_directory() {
    let dir = scratch();
    let path = dir.path().join("file");
    fs::write(&path, "mine").unwrap();
    let error = refusal(&path);
    assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "not-a-directory"), "{error}");
    assert_eq!(refusal(&path.join("below")).kind(), ErrorKind::Misuse);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
#[cfg(unix)]
#[expect(clippy::print_stderr, reason = "a test that can't test says so")]
fn a_read_only_directory_is_refused_with_the_systems_own_reason() {
    use std::os::unix::fs::PermissionsExt;
    let dir = scratch();
    let path = dir.path().join("store");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(path.join("probe"), "").is_ok() {
        eprintln!("skipped: this user (root?) may write to read-only directories");
        return;
    }
    let error = refused_untouched(&path, ErrorKind::System, "read-only", "");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
#[cfg(target_os = "linux")]
#[expect(clippy::print_stderr, reason = "a test that can't test says so")]
fn a_file_system_that_can_not_be_written_is_refused_with_the_systems_own_reason() {
    // Nobody may make anything in there, root included.
    let path = Path::new("/proc/sys/kernel/random");
    if !path.is_dir() {
        eprintln!("skipped: no {}", path.display());
        return;
    }
    let error = refusal(&path.join("store"));
    assert_eq!(error.kind(), ErrorKind::System, "{error}");
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(refusal(path).code(), "not-a-store");
}

#[test]
fn a_directory_with_something_else_in_it_is_not_touched() {
    let dir = scratch();
    fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    refused_untouched(dir.path(), ErrorKind::Misuse, "not-a-store", "letter.txt");
    let journal = scratch();
    fs::create_dir(journal.path().join("journal")).unwrap();
    fs::write(journal.path().join("journal/monday.txt"), "dear diary").unwrap();
    refused_untouched(journal.path(), ErrorKind::Misuse, "not-a-store", "monday.txt");
}

#[test]
fn foreign_files_in_a_store_are_left_alone() {
    let dir = scratch();
    store_with(dir.path(), 2);
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fs::write(dir.path().join("journal/0000000001.segment~"), "an editor's").unwrap();
    assert_eq!(payloads(dir.path()), ["0", "1"]);
    assert_eq!(fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
    assert_eq!(fs::read(dir.path().join("journal/0000000001.segment~")).unwrap(), b"an editor's");
}

#[test]
fn a_directory_that_is_absent_or_empty_is_made_a_store_unless_that_is_not_wanted() {
    let dir = scratch();
    let absent = dir.path().join("a/b/c");
    let never = Store::options().create(false);
    assert_eq!(never.clone().open(&absent).unwrap_err().code(), "no-such-store");
    assert!(!dir.path().join("a").exists());
    assert_eq!(never.clone().open(dir.path()).unwrap_err().code(), "no-such-store");
    assert!(contents(dir.path()).is_empty());
    store_with(&absent, 2);
    never.open(&absent).unwrap().close().unwrap();
    assert_eq!(payloads(&absent), ["0", "1"]);
}

#[test]
fn an_identity_of_a_newer_release_is_refused_by_its_version_and_its_features() {
    let dir = scratch();
    store_with(dir.path(), 1);
    let identity = dir.path().join("identity");
    let original = fs::read(&identity).unwrap();
    for (at, text) in [(8, "version 2"), (16, "features"), (10, "algorithm 2")] {
        forge(&identity, 64, at, 2);
        refused_untouched(dir.path(), ErrorKind::Unsupported, "future-version", text);
        assert_eq!(Store::verify(dir.path(), |_| ()).unwrap_err().kind(), ErrorKind::Unsupported);
        fs::write(&identity, &original).unwrap();
    }
    // A feature that may be ignored is.
    forge(&identity, 64, 12, 2);
    assert_eq!(payloads(dir.path()), ["0"]);
}

#[test]
fn a_damaged_identity_is_refused_whatever_byte_is_hit() {
    let dir = scratch();
    store_with(dir.path(), 1);
    let identity = dir.path().join("identity");
    let original = fs::read(&identity).unwrap();
    for at in 0..original.len() {
        change(&identity, |bytes| bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 4));
        let error = refused_untouched(dir.path(), ErrorKind::Corrupt, "identity-damaged", "identity");
        assert!(!error.to_string().is_empty());
        fs::write(&identity, &original).unwrap();
    }
    for length in [0, 1, 63] {
        change(&identity, |bytes| bytes.truncate(length));
        refused_untouched(dir.path(), ErrorKind::Corrupt, "identity-damaged", "identity");
        fs::write(&identity, &original).unwrap();
    }
    change(&identity, |bytes| bytes.push(0));
    refused_untouched(dir.path(), ErrorKind::Corrupt, "identity-damaged", "identity");
    fs::write(&identity, &original).unwrap();
    assert_eq!(payloads(dir.path()), ["0"]);
}

#[test]
fn a_segment_of_a_newer_release_is_refused_by_its_version() {
    let dir = scratch();
    store_with(dir.path(), 1);
    forge(&segment(dir.path(), 1), 4096, 8, 2);
    refused_untouched(dir.path(), ErrorKind::Unsupported, "future-version", "version 2");
    assert_eq!(Store::verify(dir.path(), |_| ()).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_journal_without_an_identity_is_damage_and_no_new_store() {
    let dir = scratch();
    store_with(dir.path(), 1);
    let identity = dir.path().join("identity");
    let original = fs::read(&identity).unwrap();
    fs::remove_file(&identity).unwrap();
    refused_untouched(dir.path(), ErrorKind::Corrupt, "identity-damaged", "restore the file `identity`");
    fs::write(&identity, original).unwrap();
    assert_eq!(payloads(dir.path()), ["0"]);
}

#[test]
fn a_journal_that_was_written_is_never_taken_for_a_creation_that_was_cut_short() {
    let dir = scratch();
    store_with(dir.path(), 3);
    let identity = dir.path().join("identity");
    // As if the last step of the creation had been lost. The identity itself is whole, or half, or empty.
    let original = fs::read(&identity).unwrap();
    fs::remove_file(&identity).unwrap();
    for length in [64, 20, 0] {
        fs::write(dir.path().join("identity.new"), &original[..length]).unwrap();
        refused_untouched(dir.path(), ErrorKind::Corrupt, "identity-damaged", "restore the file `identity`");
    }
    // Even if nothing but the end of a frame is left of it.
    let first = segment(dir.path(), 1);
    let written = fs::read(&first).unwrap();
    let mut last = vec![0; written.len()];
    last[..4096].copy_from_slice(&written[..4096]);
    last[written.len() - 1] = 1;
    for bytes in [&last, &written[..4096], &written[..10], &[]] {
        fs::write(&first, bytes).unwrap();
        refused_untouched(dir.path(), ErrorKind::Corrupt, "identity-damaged", "restore the file `identity`");
    }
    fs::write(&first, &written).unwrap();
    fs::remove_file(dir.path().join("identity.new")).unwrap();
    fs::write(&identity, original).unwrap();
    assert_eq!(payloads(dir.path()), ["0", "1", "2"]);
}

#[test]
fn an_identity_without_a_journal_is_damage_and_no_new_store() {
    let dir = scratch();
    store_with(dir.path(), 1);
    let journal = dir.path().join("journal");
    for entry in fs::read_dir(&journal).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    refused_untouched(dir.path(), ErrorKind::Corrupt, "journal-missing", "restore the directory `journal`");
    fs::remove_dir(&journal).unwrap();
    refused_untouched(dir.path(), ErrorKind::Corrupt, "journal-missing", "restore the directory `journal`");
    assert_eq!(Store::verify(dir.path(), |_| ()).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_creation_that_was_cut_short_is_begun_again() {
    let dir = scratch();
    Store::open(dir.path().join("model")).unwrap().close().unwrap();
    let identity = fs::read(dir.path().join("model/identity")).unwrap();
    let mut first = fs::read(segment(&dir.path().join("model"), 1)).unwrap();
    // As it was before the first frame.
    first[4096..].fill(0);
    // What a creation leaves, cut after each of its steps.
    type Plant<'a> = (&'a str, &'a [u8]);
    let half = &identity[..20];
    let cuts: &[&[Plant<'_>]] = &[
        &[],
        &[("lock", b"")],
        &[("lock", b""), ("identity.new", b"")],
        &[("lock", b""), ("identity.new", half)],
        &[("lock", b""), ("identity.new", &identity)],
        &[("lock", b""), ("identity.new", &identity), ("journal/0000000001.new", &first[..4096])],
        &[("lock", b""), ("identity.new", &identity), ("journal/0000000001.segment", &first)],
    ];
    for (step, files) in cuts.iter().enumerate() {
        let path = dir.path().join(format!("cut-{step}"));
        fs::create_dir_all(path.join("journal")).unwrap();
        for (name, bytes) in *files {
            fs::write(path.join(name), bytes).unwrap();
        }
        store_with(&path, 3);
        assert_eq!(payloads(&path), ["0", "1", "2"], "after step {step}");
        assert!(!path.join("identity.new").exists());
        assert!(Store::verify(&path, |_| ()).unwrap().damage.is_empty());
    }
}

#[test]
#[cfg(unix)]
fn a_link_a_pipe_or_a_directory_in_a_files_place_is_refused_and_not_followed() {
    for name in ["identity", "journal/0000000001.segment", "lock"] {
        let dir = scratch();
        let path = dir.path().join("store");
        store_with(&path, 1);
        let (file, aside) = (path.join(name), dir.path().join("aside"));
        fs::rename(&file, &aside).unwrap();
        for plant in ["link", "pipe", "directory"] {
            match plant {
                "link" => std::os::unix::fs::symlink(&aside, &file).unwrap(),
                "pipe" => assert!(Command::new("mkfifo").arg(&file).status().unwrap().success()),
                _ => fs::create_dir(&file).unwrap(),
            }
            let before = contents(&path);
            // On a thread of its own: opening a pipe must not wait for a writer.
            let (told, answer) = std::sync::mpsc::channel();
            let opened = path.clone();
            let opener = std::thread::spawn(move || drop(told.send(refusal(&opened))));
            let error = answer.recv_timeout(Duration::from_secs(20)).unwrap();
            opener.join().unwrap();
            assert!(matches!(error.kind(), ErrorKind::System | ErrorKind::Corrupt), "{name}, {plant}: {error}");
            let file_name = file.file_name().unwrap().to_str().unwrap();
            assert!(error.to_string().contains(file_name), "{name}, {plant}: {error}");
            assert!(contents(&path) == before, "{name}, {plant}");
            if plant == "directory" { fs::remove_dir(&file).unwrap() } else { fs::remove_file(&file).unwrap() }
        }
        fs::rename(&aside, &file).unwrap();
        assert_eq!(payloads(&path), ["0"], "{name}");
    }
}

#[test]
#[cfg(unix)]
fn the_journals_directory_may_not_be_a_link() {
    let dir = scratch();
    let path = dir.path().join("store");
    store_with(&path, 1);
    fs::rename(path.join("journal"), dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), path.join("journal")).unwrap();
    let error = refusal(&path);
    assert_eq!(error.kind(), ErrorKind::System, "{error}");
    assert!(error.to_string().contains("a symbolic link"), "{error}");
}

#[test]
fn a_name_that_is_no_topic_and_a_setting_that_makes_no_sense_are_misuse() {
    let dir = scratch();
    assert_eq!(Store::options().segment_bytes(1).open(dir.path()).unwrap_err().code(), "bad-setting");
    assert!(contents(dir.path()).is_empty());
    let store = Store::options().create_topics(false).open(dir.path()).unwrap();
    assert_eq!(store.topic("orders").unwrap_err().code(), "unknown-topic");
    assert_eq!(store.existing_topic("").unwrap_err().kind(), ErrorKind::Misuse);
    assert!(store.topics().is_empty());
}
