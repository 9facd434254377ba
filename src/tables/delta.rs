//! Ids that came since the last run was written: a table in memory whose size is known to the byte.
//!
//! Open addressing with linear probing. The home of an id are the first bits of its hash, so that the slots are nearly
//! in the order of the hashes, and sorting them is quick.

use super::published::{Published, PublishedKey, prefix};
use crate::types::Lsn;

/// Slots at first.
const LEAST: usize = 1 << 6;

/// A row, and where the frame ended that it came with.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: PublishedKey,
    row: Published,
    end: Lsn,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    slots: Vec<Option<Slot>>,
    len: usize,
}

impl Delta {
    /// With room for as many as `other` has, so that it does not have to grow to that size again.
    pub(crate) fn like(other: &Self) -> Self {
        Self { slots: vec![None; other.slots.len()], len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.len().saturating_mul(size_of::<Option<Slot>>())
    }

    /// It is about to take twice as much.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.len * 4 >= self.slots.len() * 3
    }

    /// Where `key` is, or the free slot where it would be put.
    fn place(&self, key: PublishedKey) -> Option<usize> {
        let bits = self.slots.len().checked_ilog2()?;
        let mask = self.slots.len() - 1;
        let home = prefix(&key.id).checked_shr(u64::BITS - bits).unwrap_or(0);
        let mut at = usize::try_from(home).unwrap_or(0) & mask;
        // There are free slots, always.
        while self.slots.get(at)?.as_ref().is_some_and(|slot| slot.key != key) {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    /// Puts a row in that came with a frame which ends at `end`.
    pub(crate) fn insert(&mut self, key: PublishedKey, row: Published, end: Lsn) {
        // Four fifths full at most.
        if (self.len + 1) * 5 > self.slots.len() * 4 {
            self.grow();
        }
        let Some(slot) = self.place(key).and_then(|at| self.slots.get_mut(at)) else { return };
        match slot {
            Some(held) => {
                let newer = held.row.or_newer(row);
                if newer == row {
                    (held.row, held.end) = (row, end);
                }
            }
            None => {
                *slot = Some(Slot { key, row, end });
                self.len += 1;
            }
        }
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(LEAST);
        let old = std::mem::replace(&mut self.slots, vec![None; size]);
        for slot in old.into_iter().flatten() {
            if let Some(place) = self.place(slot.key)
                && let Some(free) = self.slots.get_mut(place)
            {
                *free = Some(slot);
            }
        }
    }

    /// The row of a key, and where its frame ended.
    pub(crate) fn get(&self, key: PublishedKey) -> Option<(Published, Lsn)> {
        let slot = self.slots.get(self.place(key)?)?.as_ref()?;
        Some((slot.row, slot.end))
    }

    /// The rows in the order of their keys.
    pub(crate) fn sorted(&self) -> impl ExactSizeIterator<Item = (PublishedKey, Published)> + '_ {
        let mut places: Vec<&Slot> = self.slots.iter().flatten().collect();
        places.sort_unstable_by_key(|slot| slot.key);
        places.into_iter().map(|slot| (slot.key, slot.row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Offset, TopicId};
    use std::collections::BTreeMap;

    fn key(number: u64) -> PublishedKey {
        // Many with the same beginning, so that they get in each other's way.
        let id = fastrand::Rng::with_seed(number / 3).u128(..).to_be_bytes();
        PublishedKey { id, topic: TopicId(u32::try_from(number % 3).unwrap()) }
    }

    #[test]
    fn it_holds_what_a_map_holds_and_gives_it_in_order() {
        let (mut delta, mut map) = (Delta::default(), BTreeMap::new());
        assert_eq!(delta.get(key(1)), None);
        for number in 0..10_000u64 {
            let row = Published { offset: Offset(number), ..Published::default() };
            delta.insert(key(number % 7_000), row, Lsn::from_raw(number));
            map.insert(key(number % 7_000), row);
        }
        assert_eq!(delta.len(), map.len());
        assert!(map.iter().all(|(key, row): (&PublishedKey, &Published)| delta.get(*key).unwrap().0 == *row));
        assert_eq!(delta.get(key(7_001)), None);
        assert!(delta.sorted().eq(map.iter().map(|(key, row)| (*key, *row))));
        assert!(delta.bytes() <= 10_000 * 2 * 72);
        assert!(Delta::like(&delta).is_empty());
    }

    #[test]
    fn an_older_row_takes_nobodys_place() {
        let mut delta = Delta::default();
        let row = |offset| Published { offset: Offset(offset), ..Published::default() };
        delta.insert(key(1), row(5), Lsn::from_raw(1));
        delta.insert(key(1), row(3), Lsn::from_raw(2));
        assert_eq!(delta.get(key(1)), Some((row(5), Lsn::from_raw(1))));
    }
}
