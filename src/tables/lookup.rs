//! Finding a row in a run.

use super::published::{Published, PublishedKey, prefix};
use super::run::{BLOCK, Run, bad, rows, take, top};
use crate::storage::StorageFile;
use std::cmp::Ordering;
use std::io::Result;

/// So many guesses are made before the half of what is left is taken each time.
const GUESSES: u32 = 8;

/// So far around the place that is guessed a block is looked for first: two lines of a cache.
const AROUND: usize = 12;

/// How many of these numbers, which rise, are below `wanted`. They are spread evenly: so it is looked for near the
/// place where it has to be then, and everywhere only if it is not there. What stands at the first guess corrects it:
/// of a hundred thousand numbers the first is some fifty off, and the second two or three.
fn below(firsts: &[u32], wanted: u32) -> usize {
    let spread = |number: u32| usize::try_from((firsts.len() as u128 * u128::from(number)) >> u32::BITS).unwrap_or(0);
    let guess = spread(wanted).min(firsts.len().saturating_sub(1));
    let there = firsts.get(guess).copied().unwrap_or(wanted);
    let guess = if there < wanted {
        guess.saturating_add(spread(wanted - there))
    } else {
        guess.saturating_sub(spread(there - wanted))
    };
    let (low, high) = (guess.saturating_sub(AROUND), guess.saturating_add(AROUND).min(firsts.len()));
    let before = low.checked_sub(1).and_then(|before| firsts.get(before));
    let near = before.is_none_or(|first| *first < wanted) && firsts.get(high).is_none_or(|first| *first >= wanted);
    let (low, part) = match firsts.get(low..high) {
        Some(part) if near => (low, part),
        _ => (0, firsts),
    };
    low + part.partition_point(|first| *first < wanted)
}

impl Run {
    /// The row of a key that the run may have, read from its file (see [`Run::file`]). `InvalidData` if what is read is
    /// damaged.
    pub(crate) fn get(&self, file: &dyn StorageFile, key: PublishedKey) -> Result<Option<Published>> {
        let Some(index) = &self.index else {
            return if self.may_have_on_disk(file, &key.id)? { self.search(file, key) } else { Ok(None) };
        };
        let wanted = top(&key.id);
        // It may begin in the block before the first one that begins with it.
        let mut number = below(&index.firsts, wanted).saturating_sub(1);
        let mut block = [0; BLOCK];
        while index.firsts.get(number).is_some_and(|first| *first <= wanted) {
            // Taken apart only where it is the id; a row begins with that.
            let at = u32::try_from(number).map_err(|_| bad("too many blocks"))?;
            let block = self.rows_block(file, at, &mut block)?;
            number += 1;
            for row in rows(block).filter(|row| row.starts_with(&key.id)) {
                let (found, row) = take(row)?;
                if found == key {
                    return Ok(Some(row));
                }
            }
        }
        Ok(None)
    }

    /// A block of rows, counted from the first of those.
    pub(super) fn rows_block<'a>(
        &self,
        file: &dyn StorageFile,
        number: u32,
        block: &'a mut [u8; BLOCK],
    ) -> Result<&'a [u8]> {
        self.read(file, number.saturating_add(self.filters).saturating_add(1), block)
    }

    /// Finds a row without knowing where blocks begin: hashes are spread evenly, so the place of one is guessed from
    /// what is known of those before and behind it.
    fn search(&self, file: &dyn StorageFile, key: PublishedKey) -> Result<Option<Published>> {
        let wanted = prefix(&key.id);
        let (mut low, mut high) = (0, self.blocks);
        let (mut before, mut behind) = (0, u64::MAX);
        let (mut guesses, mut block) = (0, [0; BLOCK]);
        while low < high {
            let left = high - low;
            let step = if guesses < GUESSES {
                let part = u128::from(wanted.saturating_sub(before)) * u128::from(left);
                let span = u128::from(behind.saturating_sub(before).max(1));
                u32::try_from(part / span).unwrap_or(left).min(left - 1)
            } else {
                left / 2
            };
            guesses += 1;
            let number = low + step;
            let block = self.rows_block(file, number, &mut block)?;
            let (Some(first), Some(last)) = (rows(block).next(), rows(block).last()) else {
                return Err(bad("a block without rows"));
            };
            let ((first, _), (last, _)) = (take(first)?, take(last)?);
            match (key.cmp(&first), key.cmp(&last)) {
                (Ordering::Less, _) => (high, behind) = (number, prefix(&first.id)),
                (_, Ordering::Greater) => (low, before) = (number + 1, prefix(&last.id)),
                _ => {
                    for row in rows(block).filter(|row| row.starts_with(&key.id)) {
                        let (found, row) = take(row)?;
                        if found == key {
                            return Ok(Some(row));
                        }
                    }
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn it_is_found_near_the_guess_and_far_from_it() {
        let mut rng = fastrand::Rng::with_seed(3);
        let even: Vec<u32> = (0..5_000).map(|_| rng.u32(..)).collect();
        let skewed: Vec<u32> = even.iter().map(|number| number >> 9).collect();
        for mut firsts in [even, skewed, vec![7; 300], vec![]] {
            firsts.sort_unstable();
            let some: Vec<u32> = firsts.iter().step_by(7).copied().collect();
            for wanted in [0, 7, 8, u32::MAX].into_iter().chain(some).chain((0..500).map(|_| rng.u32(..))) {
                assert_eq!(below(&firsts, wanted), firsts.partition_point(|first| *first < wanted));
            }
        }
    }
}
