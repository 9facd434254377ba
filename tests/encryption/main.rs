//! Encryption at rest (feature `encrypt`): everything is as it is without, but nobody reads it who lacks the key; and a
//! build without the feature says what it lacks.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::testing::SimDisk;
use millpond::{KeyId, Keys, ManualClock, Options, Store, Timestamp};

#[cfg(feature = "encrypt")]
mod changing;
#[cfg(feature = "encrypt")]
mod clear_text;
#[cfg(feature = "encrypt")]
mod cost;
#[cfg(feature = "encrypt")]
mod frames;
#[cfg(feature = "encrypt")]
mod keyless;
#[cfg(feature = "encrypt")]
mod nonces;
#[cfg(feature = "encrypt")]
mod onward;
#[cfg(feature = "encrypt")]
mod tampering;
#[cfg(feature = "encrypt")]
mod whole;

const FIRST: [u8; 32] = [0x11; 32];

fn id(name: &str) -> KeyId {
    KeyId::new(name).unwrap()
}

fn keys() -> Keys {
    Keys::new(id("first"), &FIRST)
}

fn options(keys: &Keys) -> Options {
    let small = Store::options().segment_bytes(32 << 10).first_segment_bytes(32 << 10).tail_cache_bytes(0);
    small.encryption(keys.clone())
}

fn clock() -> ManualClock {
    ManualClock::starting_at(Timestamp::new(1_700_000_000_000))
}

fn open(disk: &SimDisk, seed: u64, keys: &Keys) -> millpond::Result<Store> {
    Store::open_simulated(disk, clock(), seed, options(keys))
}

/// A store that a build with the feature has made, with the key `first`.
const FIXTURE: [(&str, &[u8]); 2] = [
    ("identity", include_bytes!("../fixtures/encrypted/identity")),
    ("journal/0000000001.segment", include_bytes!("../fixtures/encrypted/0000000001.segment")),
];

fn fixture() -> SimDisk {
    let disk = SimDisk::new(9);
    for (name, bytes) in FIXTURE {
        let mut bytes = bytes.to_vec();
        // Zeros at its end are not kept with it.
        if name.ends_with("segment") {
            bytes.resize(32 << 10, 0);
        }
        disk.write_file(name, &bytes);
    }
    disk
}

#[cfg(not(feature = "encrypt"))]
#[test]
fn a_build_without_the_feature_refuses_keys_and_names_it() {
    let error = open(&SimDisk::new(1), 1, &keys()).unwrap_err();
    assert_eq!(error.code(), "bad-setting");
    assert!(error.to_string().contains("the feature `encrypt`"), "{error}");
    assert!(open(&SimDisk::new(1), 1, &Keys::none()).is_ok());
}

#[cfg(not(feature = "encrypt"))]
#[test]
fn a_build_without_the_feature_says_what_it_lacks_and_changes_nothing() {
    let disk = fixture();
    let error = open(&disk, 2, &Keys::none()).unwrap_err();
    assert_eq!(error.kind(), millpond::ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("the feature `encrypt`"), "{error}");
    for (name, _) in FIXTURE {
        assert!(disk.read_file(name).unwrap() == fixture().read_file(name).unwrap(), "{name} was written to");
    }
}

#[cfg(feature = "encrypt")]
#[test]
fn the_fixture_is_read_with_its_key() {
    let disk = fixture();
    let store = open(&disk, 2, &keys()).unwrap();
    assert_eq!(store.stats().segments.first().unwrap().key, Some(id("first")));
    let orders = store.existing_topic("orders").unwrap();
    let read: Vec<_> = orders.read(..).map(|record| record.unwrap().payload().to_vec()).collect();
    assert_eq!(read, [b"4711".to_vec(), b"4712".to_vec(), b"4713".to_vec()]);
}

/// Makes the fixture anew: `cargo test --all-features --test encryption -- --ignored makes_the_fixture`.
#[cfg(feature = "encrypt")]
#[test]
#[ignore = "writes tests/fixtures/encrypted"]
#[expect(clippy::disallowed_methods, reason = "it is a file of the repository")]
fn makes_the_fixture() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/encrypted");
    let disk = SimDisk::new(3);
    let store = open(&disk, 1, &keys()).unwrap();
    let orders = store.topic("orders").unwrap();
    for payload in ["4711", "4712", "4713"] {
        orders.publish(payload).wait().unwrap();
    }
    store.close().unwrap();
    std::fs::create_dir_all(path).unwrap();
    for (name, _) in FIXTURE {
        let mut bytes = disk.read_file(name).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        bytes.truncate(if name.ends_with("segment") { end } else { bytes.len() });
        std::fs::write(format!("{path}/{}", name.rsplit('/').next().unwrap()), bytes).unwrap();
    }
}
