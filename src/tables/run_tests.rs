//! Tests of runs: what is written is found, warm and cold; of several one is made; damage anywhere is noticed.

use super::merge::Merge;
use super::published::{Published, PublishedKey};
use super::run::{BLOCK, Run};
use super::runs::Runs;
use super::stretch::{Range, Stretch};
use super::writer::{Plan, rewrite, write};
use crate::storage::Storage;
use crate::storage::sim::SimDisk;
use crate::types::{Offset, Position, SegmentId, StoreId, Timestamp, TopicId};
use std::sync::Arc;

const WHOLE: Range = Range { from: Position(4096), to: Range::END };

fn stretch(segment: u32) -> Stretch {
    Stretch { segment: SegmentId(segment), salt: u64::from(segment) * 7, range: WHOLE }
}

fn store() -> StoreId {
    StoreId([9; 16])
}

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_directories().unwrap();
    disk
}

fn row(number: u64) -> (PublishedKey, Published) {
    let id = fastrand::Rng::with_seed(number).u128(..).to_be_bytes();
    let topic = TopicId(u32::try_from(number % 3).unwrap());
    let row =
        Published { offset: Offset(number), time: Timestamp(number), payload: id, forgotten: number.is_multiple_of(5) };
    (PublishedKey { id, topic }, row)
}

fn sorted(numbers: impl Iterator<Item = u64>) -> Vec<(PublishedKey, Published)> {
    let mut rows: Vec<_> = numbers.map(row).collect();
    rows.sort_by_key(|(key, _)| *key);
    rows
}

fn made(disk: &SimDisk, segment: u32, numbers: std::ops::Range<u64>, warm: bool) -> Run {
    let rows = sorted(numbers);
    let plan = Plan::of_stretch(store(), stretch(segment), rows.len(), warm);
    write(disk, plan, rows.into_iter().map(Ok)).unwrap()
}

fn has(run: &Run, disk: &SimDisk, number: u64) -> bool {
    let (key, row) = row(number);
    let found = if run.may_have(&key.id) { run.get(&*run.file(disk).unwrap(), key).unwrap() } else { None };
    assert!(found.is_none_or(|found| found == row));
    // The same id in another topic is another id.
    let other = PublishedKey { topic: TopicId(77), ..key };
    assert_eq!(run.get(&*run.file(disk).unwrap(), other).unwrap(), None);
    found.is_some()
}

#[test]
fn what_is_written_is_found_warm_and_cold_and_after_opening() {
    for count in [0, 1, 9, 10, 3_000] {
        let disk = disk();
        let warm = made(&disk, 7, 0..count, true);
        let opened = Run::open(&disk, store(), warm.place()).unwrap();
        assert!(!opened.is_warm() && warm.is_warm());
        assert_eq!((opened.rows, opened.length, &opened.shares), (count, warm.length, &warm.shares));
        assert_eq!(opened.shares.iter().map(|share| share.rows).sum::<u64>(), count);
        let again = opened.warm(&disk).unwrap();
        assert_eq!((again.memory(), opened.memory() + again.index_bytes()), (warm.memory(), again.memory()));
        for run in [&warm, &warm.cold(), &opened, &again] {
            assert!((0..count).all(|number| has(run, &disk, number)));
            assert!((count..count + 2_000).all(|number| !has(run, &disk, number)));
        }
    }
}

#[test]
fn of_several_one_is_made_in_which_the_newer_row_of_an_id_is() {
    let disk = disk();
    let inputs: Vec<Arc<Run>> = [(3, 0..500), (4, 300..900), (6, 900..900), (9, 800..1_500)]
        .map(|(segment, numbers)| made(&disk, segment, numbers, true))
        .map(Arc::new)
        .to_vec();
    let plan = Plan {
        store: store(),
        stretches: [3, 4, 6, 9].map(stretch).to_vec(),
        edition: 1,
        expected: 1_800,
        shares: Some(inputs.iter().flat_map(|run| run.shares.clone()).collect()),
        warm: false,
    };
    let mut merge = Merge::begin(&disk, inputs.clone(), plan).unwrap();
    while merge.step(100, |_, row| row.offset != Offset(77)).unwrap() {}
    let run = merge.finish(&disk).unwrap();
    assert_eq!((run.rows, run.name().as_str()), (1_499, "journal/0000000003-0000000009.ids"));
    assert!((0..1_500).all(|number| has(&run, &disk, number) == (number != 77)));
    let opened = Run::open(&disk, store(), run.place()).unwrap();
    assert!(opened.stretches().copied().eq([3, 4, 6, 9].map(stretch)));
    // It takes their place, and goes with the last of its segments.
    let runs =
        inputs.iter().fold(Runs::default(), |runs, run| runs.with(Run::open(&disk, store(), run.place()).unwrap()));
    let mut runs = runs.instead(&inputs, vec![opened]);
    assert_eq!((runs.all().len(), runs.rows()), (1, 1_499));
    for segment in [3, 9, 4] {
        let went;
        (runs, went) = runs.without_segment(SegmentId(segment));
        assert!(went.is_empty() && runs.all()[0].shares.iter().all(|share| share.segment != SegmentId(segment)));
    }
    let (runs, went) = runs.without_segment(SegmentId(6));
    assert_eq!((runs.all().len(), went.len()), (0, 1));
}

#[test]
fn a_run_that_is_written_anew_has_what_is_to_stay() {
    let disk = disk();
    let run = Arc::new(made(&disk, 7, 0..1_000, true));
    let kept = rewrite(&disk, &run, (500, false), |_| true, |_, row| row.offset >= Offset(500)).unwrap();
    assert_eq!((kept.rows, kept.place(), kept.edition), (500, run.place(), 1));
    assert!((0..1_000).all(|number| has(&kept, &disk, number) == (number >= 500)));
    assert_eq!(kept.shares.iter().map(|share| share.rows).sum::<u64>(), 500);
}

#[test]
fn the_largest_become_cold_first_and_the_smallest_warm() {
    let disk = disk();
    let sizes = [(1, 400), (2, 4_000), (3, 40)];
    let mut runs = Runs::default();
    for (segment, count) in sizes {
        runs = runs.with(made(&disk, segment, 0..count, true));
    }
    let all = runs.memory();
    assert!(runs.to_cool(all).is_none());
    let cold = runs.to_cool(all - 1).unwrap();
    assert_eq!(cold.place().first, SegmentId(2));
    runs = runs.instead(&[], vec![cold]);
    assert!(runs.memory() < all / 3 && runs.to_warm(runs.memory()).is_none());
    runs = runs.instead(&[], vec![runs.to_cool(0).unwrap()]);
    let warm = runs.to_warm(all).unwrap().warm(&disk).unwrap();
    assert_eq!(warm.place().first, SegmentId(1));
    let found = runs.instead(&[], vec![warm]).find(&disk, &[(0, row(39).0), (1, row(4_001).0)]).unwrap();
    assert_eq!(found.rows, [(0, row(39).1)]);
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is_read() {
    let disk = disk();
    let run = made(&disk, 7, 0..200, true);
    let good = disk.read_file(&run.name()).unwrap();
    for at in 0..good.len() {
        // Nothing is between the header and the first block.
        if (super::run::HEADER..BLOCK).contains(&at) || at % 3 != 0 {
            continue;
        }
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        disk.write_file(&run.name(), &bad);
        let Ok(opened) = Run::open(&disk, store(), run.place()) else { continue };
        let cold = (0..200).all(|number| opened.get(&*opened.file(&disk).unwrap(), row(number).0).is_ok());
        let rows = super::rows::Rows::new(&disk, Arc::new(opened)).unwrap();
        let rows = rows.collect::<Result<Vec<_>, _>>();
        assert!(!cold || rows.is_err(), "byte {at} of {}", good.len());
    }
    disk.write_file(&run.name(), &good[..good.len() - 1]);
    assert!(Run::open(&disk, store(), run.place()).is_err());
    disk.write_file(&run.name(), &good);
    assert!(Run::open(&disk, StoreId([8; 16]), run.place()).is_err());
}

#[test]
fn a_run_has_these_bytes() {
    let disk = disk();
    let run = made(&disk, 7, 1..2, true);
    let bytes = disk.read_file(&run.name()).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        hex(&bytes[..68]),
        concat!(
            "4d494c4c4944530a020000000000000009090909090909090909090909090909",
            "0100000000000000010000000100000001000000010000000000000062d9af39",
            "bd97bd0c"
        )
    );
    assert_eq!(
        hex(&bytes[3 * BLOCK..]),
        concat!(
            "cdbd33a807000000310000000000000000100000ffffffff0700000001000000",
            "01000000000000000100000000000000010000000000000062976725"
        )
    );
    assert_eq!((bytes.len(), crc32fast::hash(&bytes)), (3 * BLOCK + 4 + 20 + 32 + 4, 1_431_887_215));
}
