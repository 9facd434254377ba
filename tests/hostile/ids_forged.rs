//! Ids whose files somebody has made: runs with right checksums that lie, and runs and tables of another store, or of
//! another time. What a forged row says can't be told from a fact, since the store itself might have written it; that
//! such a file makes nothing panic, takes no more than its share of memory and time, and changes no answer but those
//! about the rows that were forged, is what is looked at.

use crate::ids::{self, Part, part};
use crate::pond::{self, Files, Pond};
use millpond::{Message, Offset, Store, TopicSettings, Window};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// As `src/tables/run.rs` draws it.
const BLOCK: usize = 512;
const ROW: usize = 53;
const ROWS: usize = (BLOCK - 5) / ROW;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn put_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

/// A run, and where its parts are.
struct Forged {
    bytes: Vec<u8>,
    filters: usize,
    blocks: usize,
}

impl Forged {
    fn of(bytes: &[u8]) -> Self {
        let (filters, blocks) = (u32_at(bytes, 40) as usize, u32_at(bytes, 44) as usize);
        Self { bytes: bytes.to_vec(), filters, blocks }
    }

    fn trailer(&self) -> usize {
        (1 + self.filters + self.blocks) * BLOCK
    }

    /// A block, counted from the file's beginning.
    fn block(&mut self, number: usize) -> &mut [u8] {
        &mut self.bytes[number * BLOCK..(number + 1) * BLOCK]
    }

    fn first_of_rows(&self) -> usize {
        1 + self.filters
    }

    /// Makes every checksum right again.
    fn sealed(mut self) -> Vec<u8> {
        let header = crc32fast::hash(&self.bytes[..64]);
        put_u32(&mut self.bytes, 64, header);
        let seed = u32_at(&self.bytes, 60);
        let last = (self.bytes.len() / BLOCK).min(1 + self.filters + self.blocks);
        for number in 1..last {
            let mut crc = crc32fast::Hasher::new_with_initial(seed);
            crc.update(&u32::try_from(number).unwrap().to_le_bytes());
            crc.update(&self.block(number)[..BLOCK - 4]);
            let crc = crc.finalize();
            put_u32(self.block(number), BLOCK - 4, crc);
        }
        let trailer = self.trailer();
        if let Some(end) = self.bytes.len().checked_sub(4).filter(|end| *end >= trailer) {
            let crc = crc32fast::hash(&self.bytes[trailer..end]);
            put_u32(&mut self.bytes, end, crc);
        }
        self.bytes
    }
}

/// How a run lies. How many of its blocks of rows are no more what they were, if all of them are asked for what they
/// had.
type Lie = (&'static str, fn(&mut Forged, &mut fastrand::Rng) -> usize);

const LIES: [Lie; 12] = [
    ("more rows in a block than fit", |run, rng| {
        let number = run.first_of_rows() + rng.usize(0..run.blocks);
        run.block(number)[BLOCK - 5] = 255;
        1
    }),
    ("no rows in a block", |run, rng| {
        let number = run.first_of_rows() + rng.usize(0..run.blocks);
        run.block(number)[BLOCK - 5] = 0;
        1
    }),
    ("rows out of order", |run, rng| {
        let number = run.first_of_rows() + rng.usize(0..run.blocks);
        let block = run.block(number);
        let (first, second) = block.split_at_mut(ROW);
        first.swap_with_slice(&mut second[..ROW]);
        1
    }),
    ("rows that are noise", |run, rng| {
        let number = run.first_of_rows() + rng.usize(0..run.blocks);
        run.block(number)[..ROWS * ROW].iter_mut().for_each(|byte| *byte = rng.u8(..));
        1
    }),
    ("rows that are all ones", |run, rng| {
        let number = run.first_of_rows() + rng.usize(0..run.blocks);
        run.block(number)[..BLOCK - 5].fill(0xff);
        1
    }),
    ("a filter that says yes to all", |run, _| {
        (1..=run.filters).for_each(|number| run.block(number)[..BLOCK - 4].fill(0xff));
        0
    }),
    ("a filter that says no to all", |run, _| {
        (1..=run.filters).for_each(|number| run.block(number)[..BLOCK - 4].fill(0));
        run.blocks
    }),
    ("beginnings of blocks that are not theirs", |run, rng| {
        let (from, count) = (run.trailer(), run.blocks);
        (0..count).for_each(|at| put_u32(&mut run.bytes, from + 4 * at, rng.u32(..)));
        run.blocks
    }),
    ("more rows than there are", |run, _| {
        run.bytes[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        run.blocks
    }),
    ("shares of everything", |run, _| {
        let (from, count) = (run.bytes.len() - 4, u32_at(&run.bytes, 52) as usize);
        run.bytes[from - 32 * count..from].fill(0xff);
        run.blocks
    }),
    ("stretches that are elsewhere", |run, rng| {
        let from = run.trailer() + 4 * run.blocks;
        run.bytes[from..from + 20].iter_mut().for_each(|byte| *byte = rng.u8(..));
        run.blocks
    }),
    ("more blocks than there are", |run, rng| {
        let at = if rng.bool() { 40 } else { 44 };
        put_u32(&mut run.bytes, at, rng.choice([0, 1, 1 << 20, u32::MAX]).unwrap());
        run.blocks
    }),
];

/// Every id is asked, and some that were never given. How many of those that were are not known; a message that is
/// there is always what it was, and nothing fails.
fn forgotten(path: &Path, what: &str) -> u64 {
    let store = ids::open(path).unwrap_or_else(|error| panic!("{what}: {error}"));
    let settings = TopicSettings::default().deduplicate(Window::Forever);
    let payments = store.topic_with("payments", settings).unwrap();
    let end = payments.end_offset();
    let mut forgotten = 0;
    for id in 0..ids::IDS {
        let answer = payments.publish(ids::payment(id)).wait();
        let known = answer.as_ref().is_ok_and(|receipt| receipt.duplicate && receipt.offset == Offset::new(id));
        // A row that says something else of it is believed: another offset, or another payload.
        forgotten += u64::from(!known);
    }
    for id in 0..50 {
        let fresh = Message::new("never given").id(format!("never given {id}"));
        let receipt = payments.publish(fresh).wait().unwrap();
        assert!(!receipt.duplicate && receipt.offset >= end, "{what}: {receipt:?}");
    }
    for record in payments.read(..end) {
        let record = record.unwrap_or_else(|error| panic!("{what}: {error}"));
        let payload = format!("payment {}", record.offset());
        assert_eq!(record.payload(), payload.as_bytes(), "{what}");
    }
    while store.step_upkeep().unwrap() {}
    store.close().unwrap_or_else(|error| panic!("{what}: {error}"));
    let report = Store::verify(path, |_| ()).unwrap();
    assert!(report.damage.is_empty(), "{what}: {:?}", report.damage);
    forgotten
}

#[test]
fn a_run_with_right_checksums_that_lies_changes_no_answer_but_those_about_its_lies() {
    for (number, (lie, tell)) in LIES.iter().enumerate() {
        for (seed, pond) in (0..2).flat_map(|seed| ids::ponds().iter().map(move |pond| (seed, pond))) {
            let mut rng = fastrand::Rng::with_seed(seed * 100 + number as u64);
            let runs: Vec<&String> = pond.files.keys().filter(|name| part(name) == Some(Part::Runs)).collect();
            let name = runs[rng.usize(0..runs.len())];
            let mut run = Forged::of(&pond.files[name]);
            let blocks = tell(&mut run, &mut rng);
            let dir = pond::directory();
            pond::write_all(&pond.files, dir.path());
            std::fs::write(dir.path().join(name), run.sealed()).unwrap();
            let what = format!("{lie} in {name}, {}, seed {seed}", pond.name);
            let forgotten = crate::bounded(&what, || {
                catch_unwind(AssertUnwindSafe(|| forgotten(dir.path(), &what))).unwrap_or_else(|_| panic!("{what}"))
            });
            assert!(forgotten <= (blocks * ROWS) as u64, "{what}: {forgotten} of {blocks} blocks");
        }
    }
}

/// A store of the same contents and another id.
fn other() -> &'static Pond {
    static OTHER: std::sync::OnceLock<Pond> = std::sync::OnceLock::new();
    OTHER.get_or_init(|| ids::make("ids of another store", true))
}

/// These files in the place of those of the same part.
fn with(pond: &Pond, wanted: Part, from: &Files) -> Files {
    let mut files = pond.files.clone();
    files.retain(|name, _| part(name) != Some(wanted));
    files.extend(from.iter().filter(|(name, _)| part(name) == Some(wanted)).map(ids::pair));
    files
}

#[test]
fn runs_and_tables_of_another_store_or_time_cost_time_and_a_word_and_no_answer() {
    for pond in ids::ponds() {
        let mut swapped = vec![
            ("the tables of another store", true, with(pond, Part::Tables, &other().files)),
            ("older tables", true, with(pond, Part::Tables, &pond.older)),
            ("the runs of another store", true, with(pond, Part::Runs, &other().files)),
            ("older runs", false, with(pond, Part::Runs, &pond.older)),
        ];
        // Each file of the tables by itself: half of them are then of another time, or another store.
        let tables: Vec<String> = pond.files.keys().filter(|name| part(name) == Some(Part::Tables)).cloned().collect();
        for (from, whose) in [(&pond.older, "an older"), (&other().files, "another store's")] {
            for name in &tables {
                if let Some(bytes) = from.get(name).filter(|bytes| **bytes != pond.files[name]) {
                    let mut files = pond.files.clone();
                    files.insert(name.clone(), bytes.clone());
                    swapped.push((if whose == "an older" { "an older file" } else { "another's file" }, false, files));
                }
            }
        }
        // A run of one place under the name of another.
        let runs: Vec<&String> = pond.files.keys().filter(|name| part(name) == Some(Part::Runs)).collect();
        if let [first, .., last] = runs[..] {
            let mut files = pond.files.clone();
            files.insert(first.clone(), pond.files[last].clone());
            files.insert(last.clone(), pond.files[first].clone());
            swapped.push(("two runs under each other's name", true, files));
        }
        for (swap, told, files) in swapped {
            let dir = pond::directory();
            pond::write_all(&files, dir.path());
            let what = format!("{swap}, {}", pond.name);
            crate::bounded(&what, || {
                let store = ids::open(dir.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
                let report = store.recovery();
                let noticed = report.ids_rebuilt > 0 || report.tables_rebuilt.is_some();
                assert!(noticed || !told, "{what}: nothing is said of it: {report:?}");
                store.close().unwrap();
                ids::look(dir.path(), &what);
            });
        }
    }
}
