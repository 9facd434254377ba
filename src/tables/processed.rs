//! The table of processed ids: by id and table number, when it was processed, and as the how-manieth.
//!
//! The key is the hash, and the number behind it, big-endian, so that what begins alike lies together: a part of the
//! rows that is looked at as a whole (see `checked`). The value is the postcard of a version and of numbers of a fixed
//! size each: a row has a fixed size.

use super::Hash;
use crate::types::Timestamp;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

const VERSION: u8 = 2;

/// Bytes of a key, and of a value.
pub(super) const KEY: usize = 24;
pub(super) const VALUE: usize = 29;

/// What a row is found by. In the order of their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessedKey {
    pub(crate) id: Hash,
    pub(crate) table: u64,
}

/// What is kept of a processed id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) time: Timestamp,
    pub(crate) sequence: u64,
}

/// A row as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) seen: Seen,
    /// The number of the commit that put it there.
    pub(super) commit: u32,
    /// What the row that it took the place of was worth in the sum of its part; zero if there was none.
    pub(super) before: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u8,
    time: [u8; 8],
    sequence: [u8; 8],
    commit: [u8; 4],
    before: [u8; 8],
}

impl ProcessedKey {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.table.to_be_bytes());
    }

    pub(super) fn take(bytes: &[u8]) -> Option<Self> {
        let (id, table) = bytes.split_first_chunk()?;
        Some(Self { id: *id, table: u64::from_be_bytes(table.try_into().ok()?) })
    }
}

impl Seen {
    /// Which of two rows of one key holds.
    pub(crate) fn or_newer(self, other: Self) -> Self {
        if other.sequence > self.sequence { other } else { self }
    }
}

impl Row {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (time, sequence) = (self.seen.time.get().to_le_bytes(), self.seen.sequence.to_le_bytes());
        let (commit, before) = (self.commit.to_le_bytes(), self.before.to_le_bytes());
        postcard::to_allocvec(&Stored { version: VERSION, time, sequence, commit, before }).unwrap_or_default()
    }

    /// Nothing if it is no row of this release: the table is not to be trusted then.
    pub(super) fn take(bytes: &[u8]) -> Option<Self> {
        let row: Stored = postcard::from_bytes(bytes).ok()?;
        let seen = Seen { time: Timestamp(u64::from_le_bytes(row.time)), sequence: u64::from_le_bytes(row.sequence) };
        let (commit, before) = (u32::from_le_bytes(row.commit), u64::from_le_bytes(row.before));
        (row.version == VERSION && bytes.len() == VALUE).then_some(Self { seen, commit, before })
    }

    /// What the row is worth in the sum of its part when the commit of this number is the last one that counts. One
    /// that a later commit put there and did not complete is worth what was there before.
    pub(super) fn worth(&self, key: &ProcessedKey, marked: u32) -> u64 {
        if self.commit > marked { self.before } else { self.sum(key) }
    }

    /// A number that all of the row goes into, and its key.
    pub(super) fn sum(&self, key: &ProcessedKey) -> u64 {
        let mut bytes = [0; KEY + 28];
        let numbers = [self.seen.time.get(), self.seen.sequence, self.before];
        let parts = key.id.iter().copied().chain(key.table.to_be_bytes()).chain(self.commit.to_le_bytes());
        let parts = parts.chain(numbers.into_iter().flat_map(u64::to_le_bytes));
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        SipHasher13::new().hash(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_these_bytes_and_reads_back() {
        let key = ProcessedKey { table: 300, id: [0x22; 16] };
        let row = Row { seen: Seen { time: Timestamp(7), sequence: 258 }, commit: 3, before: 9 };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut bytes = Vec::new();
        key.put(&mut bytes);
        assert_eq!(hex(&bytes), "22222222222222222222222222222222000000000000012c");
        assert_eq!(hex(&row.bytes()), "0207000000000000000201000000000000030000000900000000000000");
        assert_eq!((ProcessedKey::take(&bytes), Row::take(&row.bytes())), (Some(key), Some(row)));
        let mut other = row.bytes();
        other[0] = 1;
        assert_eq!((Row::take(&other), Row::take(&other[1..]), ProcessedKey::take(&[1])), (None, None, None));
    }

    #[test]
    fn what_a_row_is_worth_depends_on_all_of_it_and_on_its_commit() {
        let key = ProcessedKey { table: 1, id: [2; 16] };
        let row = Row { seen: Seen { time: Timestamp(3), sequence: 4 }, commit: 5, before: 6 };
        let mut worths = vec![
            row.sum(&key),
            row.sum(&ProcessedKey { table: 2, ..key }),
            row.sum(&ProcessedKey { id: [3; 16], ..key }),
            Row { commit: 6, ..row }.sum(&key),
            Row { before: 7, ..row }.sum(&key),
            Row { seen: Seen { time: Timestamp(4), sequence: 4 }, ..row }.sum(&key),
            Row { seen: Seen { time: Timestamp(3), sequence: 5 }, ..row }.sum(&key),
        ];
        assert_eq!((row.worth(&key, 5), row.worth(&key, 4)), (worths[0], 6));
        worths.sort_unstable();
        worths.dedup();
        assert_eq!(worths.len(), 7);
    }
}
