//! The table of processed ids in a store of rows that is not believed when it says that a row is not there.
//!
//! A row that was lost in silence would be a message processed twice. So the rows are in parts, by the first bits of
//! their ids, and of each part there is the sum of what its rows are worth, in whatever order they lie: a number of
//! eight bytes that all of each row goes into. Whoever asks for an id reads its part, and is answered only if the sum
//! is right; a part has few rows, so that costs little. The sums are in memory, and beside the rows for the next
//! opening; the id of a commit, which the journal names, is a hash of all of them and of a random number: so rows
//! that are missing, stale or too many can't go unnoticed, nor sums that are, nor an older copy of everything.
//!
//! A commit that was cut anywhere takes nothing away from the one before. What says how that was stays as it is, in
//! the slot of the other (see `places`). Of rows that the cut one put in, or put in the place of others, the number of
//! their commit tells that they do not count, and each says what the one before it was worth. Rows that leave are named
//! by one commit, count no more from there on, and are taken out by the next.

use super::places::{
    Keys, MOST_BITS, Mark, PAGE, ROW_KEY, leaving_pages, mark_key, part, part_of, put_leaving, put_sums, row_key,
    row_of, slot_of, sum_pages, take_leaving, take_sums,
};
use super::processed::{ProcessedKey, Row, Seen, VALUE};
use super::{Change, Hash, Tables};
use crate::sync::Mutex;
use std::collections::{BTreeSet, HashSet};
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Rows that are looked for at a time in a commit.
const PIECE: usize = 4096;

/// Of the memory for ids, sums may take so small a part; and there are so many bits at least.
const SUMS: usize = 64;
const LEAST_BITS: u8 = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Checked {
    rows: Arc<dyn Tables>,
    held: Mutex<Held>,
    /// One commit at a time.
    committing: Mutex<()>,
}

/// How it is as of the last commit.
#[derive(Clone, Debug)]
struct Held {
    commit: u32,
    bits: u8,
    sums: Arc<Vec<u64>>,
    /// Rows that do not count, whether they are still there or not.
    leaving: Arc<HashSet<ProcessedKey>>,
    /// Pages of sums that are others in the other slot.
    stale: Arc<BTreeSet<usize>>,
}

fn lost() -> Error {
    Error::new(ErrorKind::InvalidData, "a part of the table of processed ids is not what it was: rows were lost")
}

fn unreadable() -> Error {
    Error::new(ErrorKind::InvalidData, "a row of processed ids can't be read")
}

/// Bits of a part's number, where ids may take so many bytes of memory.
fn bits_for(memory: usize) -> u8 {
    let bits = (memory / SUMS / size_of::<u64>()).checked_ilog2().unwrap_or(0);
    u8::try_from(bits).unwrap_or(MOST_BITS).clamp(LEAST_BITS, MOST_BITS)
}

impl Checked {
    /// A new one; there are no rows, or none that anybody knows of.
    pub(crate) fn new(rows: Arc<dyn Tables>, memory: usize) -> Self {
        let bits = bits_for(memory);
        let (sums, leaving) = (Arc::new(vec![0; 1 << bits]), Arc::default());
        Self::of(rows, Held { commit: 0, bits, sums, leaving, stale: Arc::default() })
    }

    /// The one that is there, as of the commit of this id; nothing if there is no such commit.
    pub(crate) fn open(rows: Arc<dyn Tables>, wanted: Hash) -> Result<Option<Self>> {
        let marks = rows.get(&[mark_key(0), mark_key(1)])?;
        for (slot, mark) in (0u8..).zip(marks) {
            let Some(mark) = mark.as_deref().and_then(Mark::take).filter(|mark| slot_of(mark.commit) == slot) else {
                continue;
            };
            let read = |(pages, sizes): (Keys, [usize; 2])| -> Result<Vec<u8>> {
                Ok(rows.ranges(&[pages], sizes)?.pop().unwrap_or_default())
            };
            let sums = take_sums(&read(sum_pages(slot))?, 1 << mark.bits);
            let leaving = take_leaving(&read(leaving_pages(slot))?, mark.leaving as usize);
            if mark.id(&sums, &leaving) != wanted {
                continue;
            }
            let others = take_sums(&read(sum_pages(1 - slot))?, sums.len());
            let differ = sums.chunks(PAGE).zip(others.chunks(PAGE)).enumerate();
            let stale = differ.filter(|(_, (ours, others))| ours != others).map(|(page, _)| page);
            let leaving = Arc::new(leaving.into_iter().collect());
            let stale = Arc::new(stale.collect());
            let held = Held { commit: mark.commit, bits: mark.bits, sums: Arc::new(sums), leaving, stale };
            return Ok(Some(Self::of(rows, held)));
        }
        Ok(None)
    }

    fn of(rows: Arc<dyn Tables>, held: Held) -> Self {
        Self { rows, held: Mutex::new(held), committing: Mutex::default() }
    }

    /// What is there of some ids, one for each. `InvalidData` if anything was lost that they could have been with.
    pub(crate) fn get(&self, keys: &[ProcessedKey]) -> Result<Vec<Option<Seen>>> {
        loop {
            let held = self.held.lock().clone();
            let mut parts: Vec<usize> = keys.iter().map(|key| part_of(key, held.bits)).collect();
            parts.sort_unstable();
            parts.dedup();
            let ranges: Vec<Keys> = parts.iter().map(|number| part(*number, held.bits)).collect();
            let found = self.rows.ranges(&ranges, [ROW_KEY, VALUE])?;
            match held.look(&parts, &found, keys) {
                Ok(seen) => return Ok(seen),
                // More than one commit may have come in between.
                Err(_) if self.held.lock().commit != held.commit => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Up to `limit` rows behind `after`, in their order; those that are leaving are not told. And where to go on.
    pub(crate) fn scan(&self, after: Option<ProcessedKey>, limit: usize) -> Result<Scanned> {
        let leaving = self.held.lock().leaving.clone();
        let rows = self.rows.scan(after.map(|key| row_key(&key)).as_deref(), limit)?;
        let full = rows.len() == limit;
        let mut all: Vec<(ProcessedKey, Seen)> = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            let Some(key) = row_of(&key) else { break };
            all.push((key, Row::take(&value).ok_or_else(unreadable)?.seen));
        }
        let next = all.last().filter(|_| full && all.len() == limit).map(|(key, _)| *key);
        all.retain(|(key, _)| !leaving.contains(key));
        Ok((all, next))
    }

    /// Puts rows in, no key twice; those that are `over` are to leave. When all of that is durable it is as of the next
    /// commit, whose id is returned; `nonce` is random, so that the id is another each time.
    pub(crate) fn commit(&self, put: &[(ProcessedKey, Seen)], over: &[ProcessedKey], nonce: Hash) -> Result<Hash> {
        let _alone = self.committing.lock();
        let before = self.held.lock().clone();
        let mut work = Work {
            commit: before.commit.wrapping_add(1),
            sums: before.sums.to_vec(),
            touched: BTreeSet::new(),
            batch: Vec::with_capacity(put.len()),
            before: &before,
        };
        for piece in put.chunks(PIECE) {
            let keys: Vec<ProcessedKey> = piece.iter().map(|(key, _)| *key).collect();
            let found = self.found(&keys)?;
            piece.iter().zip(found).for_each(|((key, seen), found)| work.put(*key, *seen, found));
        }
        let stays: HashSet<ProcessedKey> = put.iter().map(|(key, _)| *key).collect();
        let mut leaving = Vec::new();
        let over: Vec<ProcessedKey> =
            over.iter().filter(|key| !stays.contains(key) && !before.leaving.contains(key)).copied().collect();
        for piece in over.chunks(PIECE) {
            let found = self.found(piece)?;
            for (key, found) in piece.iter().zip(found).filter_map(|(key, found)| Some((key, found?))) {
                work.change(key, found.worth(key, before.commit), 0);
                leaving.push(*key);
            }
        }
        let mut gone: Vec<&ProcessedKey> = before.leaving.iter().filter(|key| !stays.contains(key)).collect();
        gone.sort_unstable();
        work.batch.extend(gone.into_iter().map(|key| (row_key(key), None)));
        let Work { commit, sums, touched, mut batch, .. } = work;
        let slot = slot_of(commit);
        let pages = sums.chunks(PAGE).enumerate();
        let pages = pages.filter(|(page, _)| touched.contains(page) || before.stale.contains(page));
        batch.extend(pages.map(|(page, sums)| put_sums(slot, page, sums)));
        batch.extend(put_leaving(slot, &leaving));
        let count = u32::try_from(leaving.len()).map_err(|_| Error::other("too many rows leave at once"))?;
        let mark = Mark { nonce, commit, bits: before.bits, leaving: count };
        self.rows.commit(&batch, &(mark_key(slot), Some(mark.bytes())))?;
        let id = mark.id(&sums, &leaving);
        let (sums, leaving) = (Arc::new(sums), Arc::new(leaving.into_iter().collect()));
        *self.held.lock() = Held { commit, bits: before.bits, sums, leaving, stale: Arc::new(touched) };
        Ok(id)
    }

    /// The rows of some keys, unchecked: a wrong one makes the sum of its part wrong.
    fn found(&self, keys: &[ProcessedKey]) -> Result<Vec<Option<Row>>> {
        let names: Vec<Vec<u8>> = keys.iter().map(row_key).collect();
        let rows = self.rows.get(&names)?;
        let row = |row: Option<Vec<u8>>| row.map(|row| Row::take(&row).ok_or_else(unreadable)).transpose();
        rows.into_iter().map(row).collect()
    }
}

/// Rows, and the last of them if there are more.
pub(crate) type Scanned = (Vec<(ProcessedKey, Seen)>, Option<ProcessedKey>);

impl Held {
    /// The rows of keys, of parts that were read whole.
    fn look(&self, parts: &[usize], found: &[Vec<u8>], keys: &[ProcessedKey]) -> Result<Vec<Option<Seen>>> {
        let mut rows: Vec<(ProcessedKey, Row)> = Vec::new();
        for (number, bytes) in parts.iter().zip(found) {
            let mut sum = 0u64;
            for row in bytes.chunks(ROW_KEY + VALUE) {
                let (key, value) = row.split_at_checked(ROW_KEY).ok_or_else(unreadable)?;
                let key = row_of(key).ok_or_else(unreadable)?;
                let row = Row::take(value).ok_or_else(unreadable)?;
                if !self.leaving.contains(&key) {
                    sum = sum.wrapping_add(row.worth(&key, self.commit));
                }
                rows.push((key, row));
            }
            if self.sums.get(*number) != Some(&sum) {
                return Err(lost());
            }
        }
        let row = |key| rows.binary_search_by_key(key, |(key, _)| *key).ok().and_then(|at| rows.get(at));
        if found.len() == parts.len() {
            Ok(keys.iter().map(|key| row(key).map(|row| row.1.seen)).collect())
        } else {
            Err(lost())
        }
    }
}

/// A commit that is being made.
struct Work<'a> {
    commit: u32,
    sums: Vec<u64>,
    touched: BTreeSet<usize>,
    batch: Vec<Change>,
    before: &'a Held,
}

impl Work<'_> {
    fn put(&mut self, key: ProcessedKey, seen: Seen, found: Option<Row>) {
        let counts = found.filter(|_| !self.before.leaving.contains(&key));
        let before = counts.map_or(0, |row| row.worth(&key, self.before.commit));
        let seen = found.map_or(seen, |row| row.seen.or_newer(seen));
        let row = Row { seen, commit: self.commit, before };
        self.change(&key, before, row.sum(&key));
        self.batch.push((row_key(&key), Some(row.bytes())));
    }

    fn change(&mut self, key: &ProcessedKey, less: u64, more: u64) {
        let part = part_of(key, self.before.bits);
        if let Some(sum) = self.sums.get_mut(part) {
            *sum = sum.wrapping_sub(less).wrapping_add(more);
            self.touched.insert(part / PAGE);
        }
    }
}
