//! Small values of the application: set by transactions, in the snapshots, bounded.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use millpond::testing::SimDisk;
use millpond::{Durability, Error, ErrorKind, ManualClock, Options, Store, Timestamp};

fn open(disk: &SimDisk, options: Options) -> Store {
    let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
    Store::open_simulated(disk, clock, 1, options).unwrap()
}

fn set(store: &Store, key: &str, value: impl Into<Vec<u8>>) -> Result<(), Error> {
    let mut tx = store.transaction();
    tx.set(key, value.into());
    tx.commit().wait().map(drop)
}

fn get(store: &Store, key: &str) -> Option<Vec<u8>> {
    store.get(key).unwrap().map(|value| value.to_vec())
}

#[test]
fn a_value_survives_a_power_cut_and_a_removal_too_and_an_empty_value_is_one() {
    let disk = SimDisk::new(1);
    let store = open(&disk, Store::options());
    set(&store, "a", "1").unwrap();
    set(&store, "b", "2").unwrap();
    let mut tx = store.transaction();
    tx.set("a", "one").remove("b").set("c", "").set("c", "3").set("d", "").remove("never set");
    tx.commit().wait().unwrap();
    disk.crash();
    drop(store);
    let store = open(&disk, Store::options());
    assert_eq!((get(&store, "a"), get(&store, "b")), (Some(b"one".to_vec()), None));
    assert_eq!((get(&store, "c"), get(&store, "d")), (Some(b"3".to_vec()), Some(Vec::new())));
    assert_eq!(store.keys("").unwrap(), ["a", "c", "d"]);
    assert_eq!(store.keys("c").unwrap(), ["c"]);
}

#[test]
fn values_are_there_after_what_set_them_is_in_snapshots_alone() {
    let disk = SimDisk::new(2);
    let options = Store::options().segment_bytes(16 << 10).first_segment_bytes(16 << 10);
    let store = open(&disk, options.clone());
    set(&store, "early", "before everything").unwrap();
    let orders = store.topic("orders").unwrap();
    for round in 0..60_u8 {
        orders.publish(vec![round; 4000]).wait().unwrap();
        set(&store, "cursor", [round]).unwrap();
        while store.step_upkeep().unwrap() {}
    }
    store.close().unwrap();
    let store = open(&disk, options);
    // Opening went on from a snapshot, and read the little that came after it.
    assert!(store.recovery().frames < 100, "{:?}", store.recovery());
    assert_eq!((get(&store, "early"), get(&store, "cursor")), (Some(b"before everything".to_vec()), Some(vec![59])));
}

#[test]
fn what_was_set_with_less_than_disk_may_go_with_the_machine_and_is_shown_when_it_has_reached_its_level() {
    let disk = SimDisk::new(3);
    let store = open(&disk, Store::options());
    let mut tx = store.transaction();
    tx.set("k", "1").durability(Durability::Os);
    let ticket = tx.commit();
    assert_eq!(get(&store, "k"), None);
    ticket.wait().unwrap();
    assert_eq!(get(&store, "k"), Some(b"1".to_vec()));
    disk.kill();
    drop(store);
    let store = open(&disk, Store::options());
    assert_eq!(get(&store, "k"), Some(b"1".to_vec()), "it survives the process");
}

#[test]
fn a_value_a_key_and_all_together_are_bounded_and_the_error_names_the_limit() {
    let disk = SimDisk::new(4);
    let store = open(&disk, Store::options().max_value_bytes(100).max_values_bytes(1000));
    let error = set(&store, "k", vec![7; 101]).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "too-large"));
    assert!(error.to_string().contains("`max_value_bytes` allows 100"), "{error}");
    for key in [String::new(), "k".repeat(256)] {
        assert_eq!(set(&store, &key, "v").unwrap_err().code(), "bad-name");
    }
    // Each takes its key, its value, and 64 bytes: six of these fit.
    for key in ["0", "1", "2", "3", "4", "5"] {
        set(&store, key, vec![7; 100]).unwrap();
    }
    let error = set(&store, "6", "v").unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "values-full"));
    assert_eq!(store.stats().value_bytes, 6 * 165);
    assert!(error.to_string().contains("1056 bytes; `max_values_bytes` allows 1000"), "{error}");
    // Nothing was lost with it, and one that takes another's place fits.
    let mut again = error.into_transaction().unwrap();
    again.remove("0");
    again.commit().wait().unwrap();
    assert_eq!((get(&store, "6"), get(&store, "0")), (Some(b"v".to_vec()), None));
    set(&store, "6", vec![8; 100]).unwrap();
    store.close().unwrap();
    // A limit that was lowered takes nothing away, and lets it become less.
    let store = open(&disk, Store::options().max_values_bytes(200));
    assert_eq!(store.keys("").unwrap().len(), 6);
    assert_eq!(set(&store, "6", vec![9; 101]).unwrap_err().code(), "values-full");
    set(&store, "6", "less").unwrap();
}

#[test]
fn after_the_end_values_are_closed_like_everything_else() {
    let store = open(&SimDisk::new(5), Store::options());
    let other = store.clone();
    store.close().unwrap();
    assert_eq!(other.get("k").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(other.keys("").unwrap_err().kind(), ErrorKind::Closed);
}
