//! Ids that came since the last run was written: a table in memory whose size is known to the byte.
//!
//! Rows lie in the order they came in; an index finds them, eight bytes for each: a part of the hash, and the place.
//! So to ask for an id that is not there touches the index alone, which is small enough to stay in a processor's cache,
//! and putting one in writes at the end of the rows. Open addressing with linear probing; the home of an id are the
//! first bits of its hash.

use super::published::{Published, PublishedKey, prefix};
use crate::types::Lsn;

/// Slots of the index at first.
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
    rows: Vec<Slot>,
    /// In the high half 32 bits of the hash, in the low one the place of the row, counted from 1; zero is a free entry.
    index: Vec<u64>,
}

/// Where a key is, or the free entry of the index that would be its.
enum Found {
    Row(usize),
    Free(usize),
}

/// The bits of a hash that an entry has, in its high half: others than those its home is made of.
fn mark(key: PublishedKey) -> u64 {
    key.id.last_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)) << 32)
}

/// Rows that an index of so many entries is for: a fifth of it stays free.
const fn room(entries: usize) -> usize {
    entries / 5 * 4
}

impl Delta {
    /// With room for as many as `other` has, so that it does not have to grow to that size again.
    pub(crate) fn like(other: &Self) -> Self {
        let entries = other.index.len();
        Self { rows: Vec::with_capacity(room(entries)), index: vec![0; entries] }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes that it takes, those that are needed to put it in order included.
    pub(crate) fn bytes(&self) -> usize {
        let rows = self.rows.capacity().saturating_mul(size_of::<Slot>() + size_of::<(u64, u32)>());
        rows.saturating_add(self.index.len().saturating_mul(size_of::<u64>()))
    }

    /// It is about to take twice as much.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.rows.len() * 4 >= self.index.len() * 3
    }

    /// The place in the index that an id is looked for at first.
    fn home(&self, key: PublishedKey) -> Option<usize> {
        let bits = self.index.len().checked_ilog2()?;
        let home = prefix(&key.id).checked_shr(u64::BITS - bits).unwrap_or(0);
        Some(usize::try_from(home).unwrap_or(0) & (self.index.len() - 1))
    }

    /// Looks at where these are without asking what is there: the looks do not wait for each other, and whoever asks
    /// for them one by one then finds them near.
    pub(crate) fn touch(&self, keys: impl Iterator<Item = PublishedKey>) {
        let entry = |key| self.home(key).and_then(|home| self.index.get(home)).copied().unwrap_or(0);
        std::hint::black_box(keys.map(entry).fold(0, |all, entry| all ^ entry));
    }

    fn find(&self, key: PublishedKey) -> Option<Found> {
        let mut at = self.home(key)?;
        let mask = self.index.len() - 1;
        let mark = mark(key);
        // There are free entries, always.
        loop {
            let entry = *self.index.get(at)?;
            let Some(place) = (entry & u64::from(u32::MAX)).checked_sub(1) else { return Some(Found::Free(at)) };
            let place = usize::try_from(place).ok()?;
            if entry & !u64::from(u32::MAX) == mark && self.rows.get(place)?.key == key {
                return Some(Found::Row(place));
            }
            at = (at + 1) & mask;
        }
    }

    /// Puts a row in that came with a frame which ends at `end`.
    pub(crate) fn insert(&mut self, key: PublishedKey, row: Published, end: Lsn) {
        if self.rows.len() >= room(self.index.len()) {
            self.grow();
        }
        match self.find(key) {
            Some(Found::Row(place)) => {
                if let Some(held) = self.rows.get_mut(place)
                    && held.row.or_newer(row) == row
                {
                    (held.row, held.end) = (row, end);
                }
            }
            Some(Found::Free(at)) => {
                self.rows.push(Slot { key, row, end });
                self.point(at, key);
            }
            None => {}
        }
    }

    /// The entry of the row that was put in last.
    fn point(&mut self, at: usize, key: PublishedKey) {
        if let (Some(entry), Ok(place)) = (self.index.get_mut(at), u32::try_from(self.rows.len())) {
            *entry = mark(key) | u64::from(place);
        }
    }

    fn grow(&mut self) {
        let size = (self.index.len() * 2).max(LEAST);
        self.index = vec![0; size];
        // No more than the index is for: both grow together.
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(room(size)));
        for slot in rows {
            if let Some(Found::Free(at)) = self.find(slot.key) {
                self.rows.push(slot);
                self.point(at, slot.key);
            }
        }
    }

    /// The row of a key, and where its frame ended.
    pub(crate) fn get(&self, key: PublishedKey) -> Option<(Published, Lsn)> {
        let Some(Found::Row(place)) = self.find(key) else { return None };
        let slot = self.rows.get(place)?;
        Some((slot.row, slot.end))
    }

    /// The rows in the order of their keys.
    pub(crate) fn sorted(&self) -> impl ExactSizeIterator<Item = (PublishedKey, Published)> + '_ {
        let places = self.rows.iter().zip(0u32..).map(|(slot, place)| (prefix(&slot.key.id), place));
        let mut places: Vec<(u64, u32)> = places.collect();
        let key = |place: u32| self.rows.get(place as usize).map(|slot| slot.key);
        places.sort_unstable_by(|left, right| left.0.cmp(&right.0).then_with(|| key(left.1).cmp(&key(right.1))));
        places.into_iter().map(|(_, place)| {
            let slot = self.rows.get(place as usize).copied();
            slot.map(|slot| (slot.key, slot.row)).unwrap_or_default()
        })
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
        assert!(delta.bytes() <= 10_000 * 2 * 88);
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
