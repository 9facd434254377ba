//! A store with one segment whose contents a fuzzer has made.

use super::SimDisk;
use crate::clock::{ManualClock, SeededEntropy};
use crate::config::{KeyId, Keys, Options};
use crate::journal::{FrameDraft, IDENTITY, Identity, Place, SEGMENT_HEADER, Segment, SegmentKey, segment_name};
use crate::store::Store;
use crate::types::{SegmentId, StoreId, Timestamp};

const STORE: StoreId = StoreId([7; 16]);
/// Zeros behind what the fuzzer has made.
const ROOM: usize = 4096;

/// Builds the only segment of a store out of `input`, then verifies, salvages, repairs and opens that store. For
/// fuzzing: whatever the segment holds, all of these end without a panic, the salvage changes nothing, and what a
/// repair leaves verifies.
///
/// The input is a sequence of a tag, a length (u16) and so many bytes: with an even tag the body of a frame with right
/// checksums, whose flags and durable position the tag names; with an odd one bytes as they are.
///
/// Once in plain text and, if this build can, once encrypted.
pub fn scan_segment(input: &[u8]) {
    scan(input, &Keys::none());
    if cfg!(feature = "encrypt")
        && let Ok(id) = KeyId::new("fuzz")
    {
        scan(input, &Keys::new(id, &[5; 32]));
    }
}

fn scan(input: &[u8], keys: &Keys) {
    let disk = SimDisk::new(0);
    let (id, salt, base) = (SegmentId::new(1), 7, Timestamp::ZERO);
    let place = Place { store: STORE, id, salt, base };
    let segment = Segment {
        id,
        salt,
        base,
        key: SegmentKey::fresh(keys, place, &SeededEntropy::new(0)).unwrap_or_default(),
        capacity: u32::try_from(SEGMENT_HEADER as usize + 2 * input.len() * 16 + ROOM).unwrap_or(u32::MAX),
        recycled: false,
    };
    let mut file = segment.encode(STORE);
    let mut rest = input;
    while let Some(([tag, low, high], behind)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (bytes, behind) = behind.split_at_checked(length).unwrap_or((behind, &[]));
        rest = behind;
        if tag % 2 == 0 && !bytes.is_empty() {
            file.extend_from_slice(&FrameDraft { tag: *tag, body: bytes }.bytes(&segment, file.len()));
        } else {
            file.extend_from_slice(bytes);
        }
    }
    file.resize((segment.capacity as usize).max(file.len()), 0);
    let identity = Identity { store: STORE, hash_key: [9; 16], created: Timestamp::ZERO, compat: 0 };
    disk.write_file(IDENTITY, &identity.encode());
    disk.write_file("lock", b"");
    disk.write_file(&segment_name(segment.id), &file);
    try_all(&disk, keys);
}

/// What an opening makes itself is not what is looked at here: little of it.
fn small(keys: &Keys) -> Options {
    Store::options().segment_bytes(32 << 10).first_segment_bytes(32 << 10).encryption(keys.clone())
}

/// Everything that can be done to a store that may be damaged.
fn try_all(disk: &SimDisk, keys: &Keys) {
    let clock = || ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
    let before = disk.operations();
    let whole = small(keys).verify_simulated(disk, clock()).is_ok_and(|report| report.damage.is_empty());
    let salvaged =
        small(keys).salvage_simulated(disk, clock()).map(|salvage| salvage.take_while(Result::is_ok).count());
    assert_eq!(disk.operations(), before, "looking has changed something");
    let opened = |disk: &SimDisk| Store::open_simulated(disk, clock(), 3, small(keys)).and_then(Store::close);
    let copy = disk.fork(1);
    let first = opened(&copy);
    assert!(whole || first.is_err() || salvaged.is_ok(), "it opens, and nothing can be salvaged");
    if let Ok(repaired) = small(keys).repair_simulated(disk, clock(), 2) {
        let again = small(keys).verify_simulated(disk, clock());
        match again {
            Ok(report) => assert!(report.damage.is_empty(), "{:?} is left of {repaired:?}", report.damage),
            Err(error) => unreachable!("what a repair leaves can not be verified: {error}; {repaired:?}"),
        }
    }
}
