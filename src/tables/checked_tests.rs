//! Rows that are lost in silence are noticed, whichever they are; and a commit that is cut takes nothing away.

use super::places::{row_key, row_of};
use super::*;
use crate::sync::Mutex;
use crate::types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Error;

/// Tables of which a commit may be cut after so many of its rows.
#[derive(Clone, Debug, Default)]
struct Torn {
    rows: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
    cut: Arc<Mutex<Option<usize>>>,
}

impl Torn {
    /// Keys of rows of ids.
    fn ids(&self) -> Vec<Vec<u8>> {
        self.rows.lock().keys().filter(|key| row_of(key).is_some()).cloned().collect()
    }
}

impl Tables for Torn {
    fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        Ok(keys.iter().map(|key| self.rows.lock().get(key).cloned()).collect())
    }

    fn ranges(&self, ranges: &[Keys], lengths: [usize; 2]) -> Result<Vec<Vec<u8>>> {
        let rows = self.rows.lock();
        let all = ranges.iter().map(|range| {
            let mut out = Vec::new();
            rows.range(range.clone()).try_for_each(|(key, value)| put_row(&mut out, (key, value), lengths))?;
            Ok(out)
        });
        all.collect()
    }

    fn scan(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let rows = self.rows.lock();
        let behind = rows.iter().filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        Ok(behind.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&self, batch: &[Change], last: &Change) -> Result<()> {
        let cut = self.cut.lock().take();
        let mut rows = self.rows.lock();
        // What is cut off may be anything, so the order is none.
        let mut all: Vec<&Change> = batch.iter().collect();
        fastrand::Rng::with_seed(cut.unwrap_or(0) as u64).shuffle(&mut all);
        all.push(last);
        for (key, value) in &all[..cut.unwrap_or(all.len()).min(all.len())] {
            match value {
                Some(value) => drop(rows.insert(key.clone(), value.clone())),
                None => drop(rows.remove(key)),
            }
        }
        if cut.is_some() { Err(Error::other("cut")) } else { Ok(()) }
    }
}

fn key(number: u64) -> ProcessedKey {
    ProcessedKey { id: fastrand::Rng::with_seed(number).u128(..).to_be_bytes(), table: number % 3 }
}

fn seen(sequence: u64) -> Seen {
    Seen { time: Timestamp(sequence * 2), sequence }
}

/// What a journal would know: the rows there must be, what came since the last commit, and that one's id.
#[derive(Default)]
struct Journal {
    rows: BTreeMap<ProcessedKey, Seen>,
    fresh: BTreeMap<ProcessedKey, Seen>,
    over: BTreeSet<ProcessedKey>,
    trusted: Option<Hash>,
}

fn assert_whole(checked: &Checked, journal: &Journal, when: &str) {
    let keys: Vec<ProcessedKey> = (0..400).map(key).collect();
    for (key, found) in keys.iter().zip(checked.get(&keys).unwrap_or_else(|error| panic!("{when}: {error}"))) {
        let known = journal.fresh.get(key).or_else(|| journal.rows.get(key)).copied();
        let there = if journal.fresh.contains_key(key) { known } else { found };
        if !journal.over.contains(key) {
            assert_eq!(there, known, "{when}: {key:?}");
        }
    }
}

#[test]
fn commits_that_are_cut_anywhere_are_as_if_they_had_not_been_begun() {
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (torn, mut journal, mut sequence) = (Torn::default(), Journal::default(), 0);
        let open = |journal: &Journal| match journal.trusted {
            Some(trusted) => Checked::open(Arc::new(torn.clone()), trusted).unwrap().expect("it is there"),
            None => Checked::new(Arc::new(torn.clone()), 16 << 10),
        };
        let mut checked = open(&journal);
        for round in 0..60 {
            for _ in 0..rng.usize(0..60) {
                sequence += 1;
                let key = key(rng.u64(0..400));
                journal.over.remove(&key);
                journal.fresh.insert(key, seen(sequence));
            }
            // Some have left their window: a scan finds them, a few at a time.
            let (some, _) = checked.scan(None, 500).unwrap();
            let some = some.into_iter().map(|(key, _)| key).filter(|key| !journal.fresh.contains_key(key));
            let over: Vec<ProcessedKey> = some.filter(|_| rng.u8(0..20) == 0).collect();
            // Those that were chosen have left it for good, whatever becomes of the commit.
            journal.over.extend(&over);
            let put: Vec<(ProcessedKey, Seen)> = journal.fresh.iter().map(|(key, seen)| (*key, *seen)).collect();
            let cut = rng.bool().then(|| rng.usize(0..put.len() + 80));
            *torn.cut.lock() = cut;
            let mut told = false;
            match checked.commit(&put, &over, rng.u128(..).to_be_bytes()) {
                Ok(id) if rng.u8(0..4) > 0 => {
                    journal.rows.append(&mut journal.fresh);
                    journal.trusted = Some(id);
                    told = true;
                }
                // The journal was not told, or it was cut: what was committed before has to be there.
                _ if journal.trusted.is_none() => torn.rows.lock().clear(),
                _ => {}
            }
            if round % 3 == 0 || !told {
                checked = open(&journal);
            }
            assert_whole(&checked, &journal, &format!("seed {seed}, round {round}"));
        }
        assert!(journal.trusted.is_some() && journal.rows.len() > 200);
    }
}

fn filled() -> (Torn, Hash) {
    let torn = Torn::default();
    let checked = Checked::new(Arc::new(torn.clone()), 32 << 10);
    let rows = |numbers: std::ops::Range<u64>, at: u64| -> Vec<(ProcessedKey, Seen)> {
        let mut rows: Vec<_> = numbers.map(|number| (key(number), seen(number + at))).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    };
    checked.commit(&rows(0..250, 1), &[], [1; 16]).unwrap();
    (torn.clone(), checked.commit(&rows(200..400, 1_000), &[key(7), key(8)], [2; 16]).unwrap())
}

/// Whether asking for each of these notices that something is wrong.
fn noticed(torn: &Torn, id: Hash, keys: &[ProcessedKey]) -> bool {
    match Checked::open(Arc::new(torn.clone()), id) {
        Ok(Some(checked)) => keys.iter().all(|key| checked.get(std::slice::from_ref(key)).is_err()),
        Ok(None) | Err(_) => true,
    }
}

#[test]
fn each_row_that_is_lost_or_changed_is_noticed_by_whoever_asks_for_it() {
    let (torn, id) = filled();
    assert!(!noticed(&torn, id, &[key(9)]));
    let rows = torn.rows.lock().clone();
    assert!(torn.ids().len() > 390);
    let counts = |found: &ProcessedKey| ![key(7), key(8)].contains(found);
    for name in torn.ids() {
        let found = row_of(&name).unwrap();
        torn.rows.lock().remove(&name);
        // Those that were leaving are missed by nobody.
        assert_eq!(noticed(&torn, id, &[found]), counts(&found), "lost {found:?}");
        *torn.rows.lock() = rows.clone();
        for at in 0..rows[&name].len() {
            torn.rows.lock().get_mut(&name).unwrap()[at] ^= 0x10;
            let noticed = noticed(&torn, id, &[found]);
            assert!(noticed || !counts(&found), "byte {at} of {found:?}");
            *torn.rows.lock() = rows.clone();
        }
    }
    // One too many as well.
    let other = row_key(&key(900));
    let one = rows.iter().find(|(key, _)| row_of(key).is_some()).unwrap().1.clone();
    torn.rows.lock().insert(other, one);
    assert!(noticed(&torn, id, &[key(900)]));
}

#[test]
fn whatever_else_is_lost_or_changed_is_noticed_when_it_is_opened_or_does_not_matter() {
    let (torn, id) = filled();
    let rows = torn.rows.lock().clone();
    let mut opened = 0;
    for name in rows.keys().filter(|key| row_of(key).is_none()) {
        for lost in [true, false] {
            if lost {
                torn.rows.lock().remove(name);
            } else {
                torn.rows.lock().get_mut(name).unwrap()[0] ^= 1;
            }
            if let Ok(Some(checked)) = Checked::open(Arc::new(torn.clone()), id) {
                // It was of the other slot.
                opened += 1;
                let keys: Vec<ProcessedKey> = (9..400).map(key).collect();
                assert!(checked.get(&keys).unwrap().iter().all(Option::is_some), "{name:?}");
            }
            *torn.rows.lock() = rows.clone();
        }
    }
    assert!(opened > 0);
    assert!(Checked::open(Arc::new(torn), [9; 16]).unwrap().is_none());
}

#[test]
fn answers_are_right_while_rows_are_written() {
    let tables = MemoryTables::default();
    let checked = Checked::new(Arc::new(tables), 1 << 20);
    let rows: Vec<(ProcessedKey, Seen)> = (0..3_000).map(|number| (key(number), seen(number))).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (round, rows) in rows.chunks(100).enumerate() {
                let over: Vec<_> = rows.iter().take(20).filter(|_| round % 2 == 0).map(|(key, _)| *key).collect();
                checked.commit(rows, &[], [3; 16]).unwrap();
                checked.commit(&[], &over, [4; 16]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let some: Vec<ProcessedKey> = (0..50).map(|_| key(fastrand::u64(0..3_000))).collect();
            checked.get(&some).unwrap();
        }
    });
    assert_eq!(checked.get(&[key(2_999)]).unwrap(), [Some(seen(2_999))]);
}
