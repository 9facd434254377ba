//! Making one run of several, a piece at a time; and which ones.
//!
//! Each segment leaves a run or a few behind, and an id that is new has to be asked for in all of them. So runs of
//! neighbouring segments are made into one whenever there are [`FAN`] of about the same size: what is asked grows with
//! the logarithm of the ids, and each id is written again as often. It is the scheme of log-structured stores, after
//! Lucene's `LogMergePolicy`, which lets small runs between large ones go along.

use super::published::{Published, PublishedKey};
use super::rows::Rows;
use super::run::Run;
use super::writer::{Plan, Writer};
use crate::storage::Storage;
use std::io::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// So many of one size are made into one.
pub(crate) const FAN: usize = 4;

/// What has fewer rows counts as if it had so many.
const LEAST: u64 = 1 << 10;

/// Which of these neighbours are to be made into one, told their rows: the first [`FAN`] of one size, with the smaller
/// ones between them; fewer if they would have more than `most` rows. What has more than half of that stays as it is.
pub(crate) fn to_merge(rows: &[u64], most: u64) -> Option<Range<usize>> {
    let level = |rows: &u64| (*rows).max(LEAST).ilog2();
    let mut start = 0;
    while let Some(rest) = rows.get(start..).filter(|rest| !rest.is_empty()) {
        if rest.first().is_some_and(|rows| *rows > most / 2) {
            start += 1;
            continue;
        }
        let large = rest.iter().position(|rows| *rows > most / 2).unwrap_or(rest.len());
        let rest = rest.get(..large).unwrap_or_default();
        // About one size is up to a fourth of the largest.
        let least = rest.iter().map(level).max().unwrap_or(0).saturating_sub(1);
        let span = rest.iter().rposition(|rows| level(rows) >= least).map_or(0, |last| last + 1);
        if span >= FAN {
            let mut sum = 0u64;
            let fits = rest.iter().take(FAN).take_while(|rows| {
                sum = sum.saturating_add(**rows);
                sum <= most
            });
            let count = fits.count();
            if count > 1 {
                return Some(start..start + count);
            }
        }
        start += span.max(1);
    }
    None
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Merge {
    inputs: Vec<Arc<Run>>,
    readers: Vec<Reader>,
    writer: Writer,
}

#[derive(Debug)]
struct Reader {
    rows: Rows,
    head: Option<(PublishedKey, Published)>,
}

/// What is wrong: with one that is read, or with the one that is written.
pub(crate) type Failure = (Option<Arc<Run>>, Error);

impl Reader {
    fn advance(&mut self) -> std::result::Result<(), Failure> {
        self.head = self.rows.next().transpose().map_err(|error| (Some(self.rows.run().clone()), error))?;
        Ok(())
    }
}

impl Merge {
    pub(crate) fn begin(
        storage: &dyn Storage,
        inputs: Vec<Arc<Run>>,
        plan: Plan,
    ) -> std::result::Result<Self, Failure> {
        let mut readers = Vec::with_capacity(inputs.len());
        for run in inputs.iter().filter(|run| run.rows > 0) {
            let rows = Rows::new(storage, run.clone()).map_err(|error| (Some(run.clone()), error))?;
            let mut reader = Reader { rows, head: None };
            reader.advance()?;
            readers.push(reader);
        }
        let writer = Writer::new(storage, plan).map_err(|error| (None, error))?;
        Ok(Self { inputs, readers, writer })
    }

    /// Takes about so many rows over, those that `keep` says yes to. Whether there are more.
    pub(crate) fn step(
        &mut self,
        most: usize,
        mut keep: impl FnMut(&PublishedKey, &Published) -> bool,
    ) -> std::result::Result<bool, Failure> {
        for _ in 0..most {
            let heads = self.readers.iter().filter_map(|reader| reader.head.map(|(key, _)| key));
            let Some(key) = heads.min() else { return Ok(false) };
            let mut held: Option<Published> = None;
            for reader in &mut self.readers {
                if let Some((_, row)) = reader.head.filter(|(head, _)| *head == key) {
                    held = Some(held.map_or(row, |held| held.or_newer(row)));
                    reader.advance()?;
                }
            }
            if let Some(row) = held.filter(|row| keep(&key, row)) {
                self.writer.row(key, row).map_err(|error| (None, error))?;
            }
        }
        Ok(true)
    }

    /// Those that it is made of.
    pub(crate) fn inputs(&self) -> &[Arc<Run>] {
        &self.inputs
    }

    /// The run, durable.
    pub(crate) fn finish(self, storage: &dyn Storage) -> Result<Run> {
        self.writer.finish(storage)
    }

    pub(crate) fn give_up(self, storage: &dyn Storage) {
        self.writer.give_up(storage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_size_are_merged_with_the_small_ones_between_them() {
        let most = 1 << 30;
        for (rows, merged) in [
            (&[][..], None),
            (&[100_000; 3], None),
            (&[100_000; 4], Some(0..4)),
            (&[100_000; 9], Some(0..4)),
            (&[1_000_000, 100_000, 100_000, 100_000], None),
            (&[1_000_000, 100_000, 100_000, 100_000, 90_000], Some(1..5)),
            (&[1_000_000, 100_000, 10, 100_000, 1_000_000, 900_000, 5], Some(0..4)),
            (&[0, 1, 2, 3], Some(0..4)),
        ] {
            assert_eq!(to_merge(rows, most), merged, "{rows:?}");
        }
        // Some 120 runs of a size become one, three of the next, and so on.
        let mut rows: Vec<u64> = Vec::new();
        for size in [200_000; 1000] {
            rows.push(size);
            while let Some(range) = to_merge(&rows, u64::MAX) {
                let sum = rows[range.clone()].iter().sum();
                rows.splice(range, [sum]);
            }
        }
        assert!(rows.len() <= 15 && rows.iter().sum::<u64>() == 200_000_000, "{rows:?}");
    }

    #[test]
    fn none_has_more_rows_than_it_may() {
        assert_eq!(to_merge(&[400, 400, 400, 400], 1_000), Some(0..2));
        assert_eq!(to_merge(&[600, 400, 400, 400], 1_000), None);
        assert_eq!(to_merge(&[600, 400, 400, 400, 400], 1_000), Some(1..3));
        assert_eq!(to_merge(&[600; 10], 1_000), None);
    }
}
