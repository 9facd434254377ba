//! The table of processed ids: by table number and id, when it was processed, and as the how-manieth.
//!
//! The key is the number, big-endian, so that a table's rows lie together, and the hash. The value is the postcard of
//! a version and two numbers of eight bytes each: a row has a fixed size.

use super::Hash;
use crate::types::Timestamp;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// What a row is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProcessedKey {
    pub(crate) table: u64,
    pub(crate) id: Hash,
}

/// What is kept of a processed id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) time: Timestamp,
    pub(crate) sequence: u64,
}

#[derive(Serialize, Deserialize)]
struct Row {
    version: u8,
    time: [u8; 8],
    sequence: [u8; 8],
}

impl ProcessedKey {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.table.to_be_bytes()[..], &self.id].concat()
    }

    pub(crate) fn take(bytes: &[u8]) -> Option<Self> {
        let (table, id) = bytes.split_first_chunk()?;
        Some(Self { table: u64::from_be_bytes(*table), id: id.try_into().ok()? })
    }
}

impl Seen {
    /// Which of two rows of one key holds.
    pub(crate) fn or_newer(self, other: Self) -> Self {
        if other.sequence > self.sequence { other } else { self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (time, sequence) = (self.time.get().to_le_bytes(), self.sequence.to_le_bytes());
        postcard::to_allocvec(&Row { version: VERSION, time, sequence }).unwrap_or_default()
    }

    /// Nothing if it is no row of this release: the table is not to be trusted then.
    pub(crate) fn take(bytes: &[u8]) -> Option<Self> {
        let row: Row = postcard::from_bytes(bytes).ok()?;
        let seen = Self { time: Timestamp(u64::from_le_bytes(row.time)), sequence: u64::from_le_bytes(row.sequence) };
        (row.version == VERSION && bytes.len() == 17).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_these_bytes_and_reads_back() {
        let key = ProcessedKey { table: 300, id: [0x22; 16] };
        let seen = Seen { time: Timestamp(7), sequence: 258 };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&key.bytes()), "000000000000012c22222222222222222222222222222222");
        assert_eq!(hex(&seen.bytes()), "0107000000000000000201000000000000");
        assert_eq!((ProcessedKey::take(&key.bytes()), Seen::take(&seen.bytes())), (Some(key), Some(seen)));
        let mut other = seen.bytes();
        other[0] = 2;
        assert_eq!((Seen::take(&other), Seen::take(&other[1..]), ProcessedKey::take(&[1])), (None, None, None));
    }
}
