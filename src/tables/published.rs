//! The table of published ids: by topic and id, the message that was accepted with it.

use super::Hash;
use crate::types::{Offset, Timestamp, TopicId};

/// What a row is found by. Rows lie in the order of the hash, which spreads them evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PublishedKey {
    pub(crate) id: Hash,
    pub(crate) topic: TopicId,
}

/// What is kept of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
    /// Zeros if none was kept.
    pub(crate) payload: Hash,
    /// The id was forgotten on purpose, as far as it was accepted at this offset or before.
    pub(crate) forgotten: bool,
}

/// Bytes of a row on disk: hash, topic, offset, time, payload hash, flags; all little-endian.
pub(super) const ROW: usize = 53;

impl Published {
    /// Which of two rows of one key holds: the later acceptance, and of one acceptance, that it was forgotten. So rows
    /// may come in any order, and more than once.
    pub(crate) fn or_newer(self, other: Self) -> Self {
        if (other.offset, other.forgotten) > (self.offset, self.forgotten) { other } else { self }
    }

    pub(super) fn put(&self, key: PublishedKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.id);
        out.extend_from_slice(&key.topic.get().to_le_bytes());
        out.extend_from_slice(&self.offset.get().to_le_bytes());
        out.extend_from_slice(&self.time.get().to_le_bytes());
        out.extend_from_slice(&self.payload);
        out.push(u8::from(self.forgotten));
    }

    pub(super) fn take(row: &[u8]) -> Option<(PublishedKey, Self)> {
        let (id, rest) = row.split_first_chunk()?;
        let (topic, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (payload, rest) = rest.split_first_chunk()?;
        let key = PublishedKey { id: *id, topic: TopicId(u32::from_le_bytes(*topic)) };
        let row = Self {
            offset: Offset(u64::from_le_bytes(*offset)),
            time: Timestamp(u64::from_le_bytes(*time)),
            payload: *payload,
            forgotten: *rest.first()? != 0,
        };
        Some((key, row))
    }
}

/// The first eight bytes of a hash as a number, so that numbers are in the order of the hashes.
pub(super) fn prefix(id: &Hash) -> u64 {
    id.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_these_bytes_and_reads_back() {
        let key = PublishedKey { id: [0x11; 16], topic: TopicId(2) };
        let row = Published { offset: Offset(3), time: Timestamp(4), payload: [0x55; 16], forgotten: true };
        let mut bytes = Vec::new();
        row.put(key, &mut bytes);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let wanted = "11111111111111111111111111111111 02000000 0300000000000000 0400000000000000 \
                      55555555555555555555555555555555 01";
        assert_eq!((bytes.len(), hex), (ROW, wanted.replace(' ', "")));
        assert_eq!(Published::take(&bytes), Some((key, row)));
        assert_eq!(Published::take(&bytes[1..]), None);
    }

    #[test]
    fn the_later_acceptance_wins_and_of_one_that_it_was_forgotten() {
        let row = |offset, forgotten| Published { offset: Offset(offset), forgotten, ..Published::default() };
        for (a, b, wins) in [
            (row(1, false), row(2, false), row(2, false)),
            (row(2, true), row(1, false), row(2, true)),
            (row(2, true), row(2, false), row(2, true)),
            (row(2, true), row(3, false), row(3, false)),
        ] {
            assert_eq!((a.or_newer(b), b.or_newer(a)), (wins, wins));
        }
    }
}
