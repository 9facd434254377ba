//! What of a file that is used again is written in advance.

use super::prepare::{Numbers, Preparation, Purpose};
use super::segment::SEGMENT_HEADER;
use crate::clock::SeededEntropy;
use crate::config::Keys;
use crate::storage::Storage;
use crate::storage::sim::{Faults, SimDisk};
use crate::types::{SegmentId, StoreId, Timestamp};
use std::sync::Arc;

const CAPACITY: u32 = 3 << 20;

struct Bench {
    disk: SimDisk,
    storage: Arc<dyn Storage>,
}

impl Bench {
    fn new(no_preallocation: bool) -> Self {
        let disk = SimDisk::new(1);
        disk.set_faults(Faults { no_preallocation, ..Faults::default() });
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        storage.create_directories().unwrap();
        Self { disk, storage }
    }

    /// Prepares one file, and says how many bytes were written for that besides the segment's header.
    fn prepare(&self, numbers: &mut Numbers, purpose: Purpose, zero: bool) -> u64 {
        let before = self.disk.counts().bytes_written;
        let (of, entropy) = ((StoreId([7; 16]), &Keys::none()), SeededEntropy::new(1));
        let terms = (purpose, CAPACITY, Timestamp::ZERO, zero);
        let mut preparation = Preparation::begin(&self.storage, numbers, of, &entropy, terms).unwrap();
        while preparation.step(numbers).unwrap().is_none() {}
        let header = if purpose == Purpose::Bank { 0 } else { u64::from(SEGMENT_HEADER) };
        self.disk.counts().bytes_written - before - header
    }
}

const NEXT: Purpose = Purpose::Segment { least: CAPACITY };

#[test]
fn a_file_that_was_set_aside_without_being_written_is_written_before_it_is_synced_into() {
    let bench = Bench::new(false);
    let mut numbers = Numbers::new(SegmentId(0), Vec::new());
    assert_eq!(bench.prepare(&mut numbers, Purpose::Bank, false), 0);
    assert_eq!(bench.prepare(&mut numbers, NEXT, true), u64::from(CAPACITY));
    // One that was, and one that was a segment, are not written again.
    assert_eq!(bench.prepare(&mut numbers, Purpose::Bank, true), u64::from(CAPACITY));
    assert_eq!(bench.prepare(&mut numbers, NEXT, true), 0);
    numbers.set_aside(&*bench.storage, &[(SegmentId(2), u64::from(CAPACITY))]).unwrap();
    assert_eq!(bench.prepare(&mut numbers, NEXT, true), 0);
}

#[test]
fn of_files_of_one_length_the_one_that_is_written_is_used_first() {
    let bench = Bench::new(false);
    let mut numbers = Numbers::new(SegmentId(0), Vec::new());
    for written in [false, true, false] {
        bench.prepare(&mut numbers, Purpose::Bank, written);
    }
    let zeros = [0; 3].map(|_| bench.prepare(&mut numbers, NEXT, true));
    assert_eq!(zeros, [0, u64::from(CAPACITY), u64::from(CAPACITY)]);
}

#[test]
fn a_file_of_the_length_that_is_wanted_is_used_before_a_shorter_one() {
    let bench = Bench::new(false);
    let mut numbers = Numbers::new(SegmentId(0), Vec::new());
    bench.prepare(&mut numbers, Purpose::Bank, true);
    let short = SegmentId(9);
    bench.storage.open(&super::segment::unfinished_name(short), crate::storage::Access::Create).unwrap();
    let mut numbers = Numbers::new(short, vec![(short, 0), (SegmentId(1), u64::from(CAPACITY))]);
    let anything = Purpose::Segment { least: 0 };
    assert_eq!(bench.prepare(&mut numbers, anything, true), 0);
    assert_eq!(bench.prepare(&mut numbers, anything, true), u64::from(CAPACITY));
}

#[test]
fn where_space_is_not_certain_a_file_of_an_earlier_opening_is_written_whatever_its_length() {
    for (no_preallocation, zeros) in [(false, 0), (true, u64::from(CAPACITY))] {
        let bench = Bench::new(no_preallocation);
        let mut numbers = Numbers::new(SegmentId(0), Vec::new());
        bench.prepare(&mut numbers, Purpose::Bank, false);
        let mut reopened = Numbers::new(SegmentId(1), vec![(SegmentId(1), u64::from(CAPACITY))]);
        assert_eq!(bench.prepare(&mut reopened, NEXT, false), zeros, "{no_preallocation}");
        // What this opening has written is known.
        reopened.set_aside(&*bench.storage, &[(SegmentId(2), u64::from(CAPACITY))]).unwrap();
        assert_eq!(bench.prepare(&mut reopened, NEXT, true), 0, "{no_preallocation}");
    }
}
