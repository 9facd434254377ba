//! Where in a segment a topic's messages are: one entry per topic and 4 KiB of journal, kept in memory while the
//! segment is written and beside it, as its sidecar, once it is sealed.
//!
//! The journal calls a topic a *stream* and an offset an *ordinal*: it has never heard of messages.

use crate::types::{Position, Timestamp};
use std::collections::BTreeMap;

/// Bytes of journal between two entries of a stream: finding a message reads no more than this and one frame.
pub(crate) const INDEX_STRIDE: u32 = 4096;

/// A run of a stream's ordinals in one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) stream: u32,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) time: Timestamp,
}

/// What a segment holds of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamIndex {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u64,
    pub(crate) earliest: Timestamp,
    pub(crate) latest: Timestamp,
    /// Runs of priority levels other than 0: level, first ordinal, count. Reserved: no release writes any yet.
    pub(crate) levels: Vec<(u8, u64, u64)>,
    /// Ordinal and the position of the frame that holds it, rising.
    pub(crate) entries: Vec<(u64, Position)>,
}

/// What a segment holds of every stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    pub(crate) streams: BTreeMap<u32, StreamIndex>,
}

impl SegmentIndex {
    /// Notes that the frame at `position` holds this run. Positions rise from call to call.
    pub(crate) fn note(&mut self, position: Position, note: Note) {
        let stream = self.streams.entry(note.stream).or_insert_with(|| StreamIndex {
            first: note.first,
            earliest: note.time,
            ..StreamIndex::default()
        });
        let due =
            stream.entries.last().is_none_or(|(_, last)| position.get().saturating_sub(last.get()) >= INDEX_STRIDE);
        if due {
            stream.entries.push((note.first, position));
        }
        stream.last = note.first.saturating_add(note.count.saturating_sub(1));
        stream.count = stream.count.saturating_add(note.count);
        stream.earliest = stream.earliest.min(note.time);
        stream.latest = stream.latest.max(note.time);
    }

    /// A position at or before the frame that holds `ordinal` of `stream`, from which it is found by reading on.
    pub(crate) fn locate(&self, stream: u32, ordinal: u64) -> Option<Position> {
        let entries = &self.streams.get(&stream)?.entries;
        let after = entries.partition_point(|(first, _)| *first <= ordinal);
        entries.get(after.checked_sub(1)?).map(|(_, position)| *position)
    }

    /// The first ordinal of `stream` from which on a reader has to look for messages at or after `time`.
    pub(crate) fn bounds(&self, stream: u32) -> Option<&StreamIndex> {
        self.streams.get(&stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(first: u64, count: u64) -> Note {
        Note { stream: 1, first, count, time: Timestamp(first) }
    }

    #[test]
    fn there_is_an_entry_per_stride_and_every_ordinal_is_found_from_the_one_before() {
        let mut index = SegmentIndex::default();
        for number in 0..1000u32 {
            index.note(Position(4096 + number * 100), note(u64::from(number), 1));
        }
        let stream = index.bounds(1).unwrap();
        assert_eq!((stream.first, stream.last, stream.count), (0, 999, 1000));
        assert_eq!(stream.entries.len(), 25);
        for ordinal in 0..1000u32 {
            let found = index.locate(1, u64::from(ordinal)).unwrap().get();
            let exact = 4096 + ordinal * 100;
            assert!(found <= exact && exact - found < INDEX_STRIDE);
        }
        assert_eq!(index.locate(2, 0), None);
    }

    #[test]
    fn what_lies_before_the_first_entry_is_not_found() {
        let mut index = SegmentIndex::default();
        index.note(Position(4096), note(10, 5));
        assert_eq!(index.locate(1, 9), None);
        assert_eq!(index.locate(1, 12), Some(Position(4096)));
    }
}
