//! Without the right key: what is said, and that nothing is touched.

use crate::frames::{encrypted, seal_header};
use crate::{FIRST, clock, id, keys, open, options};
use millpond::testing::SimDisk;
use millpond::{ErrorKind, Keys, Store};

fn some() -> SimDisk {
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &keys()).unwrap();
    store.topic("orders").unwrap().publish("4711").wait().unwrap();
    // Nobody closed it: without its key nothing is trimmed, rewritten or moved aside.
    disk.kill();
    drop(store);
    disk
}

fn all(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    disk.file_names().into_iter().map(|name| (name.clone(), disk.read_file(&name).unwrap())).collect()
}

/// What each door says to somebody with these keys.
fn refusals(disk: &SimDisk, keys: &Keys) -> Vec<millpond::Error> {
    let before = all(disk);
    let refused = vec![
        open(disk, 2, keys).map(drop).unwrap_err(),
        Store::observe_simulated(disk, clock(), options(keys)).map(drop).unwrap_err(),
        options(keys).verify_simulated(disk, clock()).map(drop).unwrap_err(),
        options(keys).repair_simulated(disk, clock(), 3).map(drop).unwrap_err(),
        options(keys).salvage_simulated(disk, clock()).map(drop).unwrap_err(),
    ];
    assert!(all(disk) == before, "something was written");
    refused
}

#[test]
fn a_missing_key_is_named_with_those_that_were_given_and_nothing_is_touched() {
    let disk = some();
    for (given, named) in [
        (Keys::none(), "(none)"),
        (Keys::new(id("second"), &FIRST).older(id("third"), &[3; 32]), r#"("second", "third")"#),
    ] {
        for error in refusals(&disk, &given) {
            assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "key-missing"), "{error}");
            let said = error.to_string();
            for part in [r#"the key named "first""#, named, "journal/0000000001.segment", "Options::encryption"] {
                assert!(said.contains(part), "{said} lacks {part}");
            }
        }
    }
    assert!(open(&disk, 2, &keys()).is_ok());
}

#[test]
fn a_wrong_key_is_told_from_damage_and_nothing_is_touched() {
    let disk = some();
    let mut almost = FIRST;
    if let Some(last) = almost.last_mut() {
        *last ^= 1;
    }
    for error in refusals(&disk, &Keys::new(id("first"), &almost)) {
        assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "key-wrong"), "{error}");
        assert!(error.to_string().contains(r#"the name "first""#), "{error}");
    }
    assert!(open(&disk, 2, &keys()).is_ok());
}

#[test]
fn a_segment_under_the_name_of_another_key_or_with_another_place_is_refused() {
    let disk = some();
    let name = "journal/0000000001.segment";
    let whole = disk.read_file(name).unwrap();
    // Salt, base, name of the key, its random bytes, its check: none of it is taken on the word of a checksum.
    for at in [40, 48, 56, 72, 88] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        seal_header(&mut bytes);
        let hurt = disk.fork(at as u64);
        hurt.write_file(name, &bytes);
        let error = open(&hurt, 2, &keys()).map(drop).unwrap_err();
        let expected = if at == 56 { "key-missing" } else { "key-wrong" };
        // The frames' checksums are made with the salt: without it there is no frame to be read.
        let expected = if at == 40 { ["key-wrong", "segment-missing", "damaged"].as_slice() } else { &[expected] };
        assert!(expected.contains(&error.code()), "byte {at}: {error}");
    }
}

#[test]
fn a_dump_without_the_key_shows_where_frames_are_and_not_what_they_say() {
    let disk = some();
    let dir = tempfile::tempdir().unwrap();
    std_write(&disk, dir.path());
    let shown: Vec<String> =
        Store::dump(dir.path(), millpond::Lsn::ZERO).unwrap().map(|entry| format!("{:?}", entry.unwrap())).collect();
    let frames = encrypted(&disk.read_file("journal/0000000001.segment").unwrap()).len();
    assert_eq!(shown.len(), frames);
    assert!(shown.iter().all(|entry| entry.contains("encrypted") && !entry.contains("Publish")), "{shown:?}");
    let told = options(&keys()).dump(dir.path(), millpond::Lsn::ZERO).unwrap();
    assert!(told.map(|entry| format!("{:?}", entry.unwrap())).any(|entry| entry.contains("Publish")));
}

/// Puts the disk's files below `path`.
#[expect(clippy::disallowed_methods, reason = "a copy for a test")]
fn std_write(disk: &SimDisk, path: &std::path::Path) {
    std::fs::create_dir_all(path.join("journal")).unwrap();
    for (name, bytes) in all(disk) {
        std::fs::write(path.join(name), bytes).unwrap();
    }
}
