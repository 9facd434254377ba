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

/// A frame with ordinals that were carried over: of those from `first` to `last`, it has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) position: Position,
}

/// What a segment holds of every stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    pub(crate) streams: BTreeMap<u32, StreamIndex>,
    /// What was carried over, every frame of it, in the order of first ordinals: these follow no order in the segment.
    pub(crate) carried: BTreeMap<u32, Vec<Carried>>,
}

impl SegmentIndex {
    /// Notes that the frame at `position` holds this run. Positions rise from call to call.
    pub(crate) fn note(&mut self, position: Position, note: Note) {
        // Looked up first: it is there, mostly.
        let stream = match self.streams.get_mut(&note.stream) {
            Some(stream) => stream,
            None => self.streams.entry(note.stream).or_insert(StreamIndex {
                first: note.first,
                earliest: note.time,
                ..StreamIndex::default()
            }),
        };
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

    /// Notes that the frame at `position` holds ordinals that were carried over.
    pub(crate) fn note_carried(&mut self, stream: u32, carried: Carried) {
        let held = self.carried.entry(stream).or_default();
        let after = held.partition_point(|other| other.first <= carried.first);
        held.insert(after, carried);
    }

    /// The frames that may hold `ordinal` of `stream` as one that was carried over, the newest first.
    pub(crate) fn locate_carried(&self, stream: u32, ordinal: u64) -> Vec<Position> {
        let Some(held) = self.carried.get(&stream) else { return Vec::new() };
        let after = held.partition_point(|carried| carried.first <= ordinal);
        let covering = held.iter().take(after).filter(|carried| carried.last >= ordinal);
        let mut found: Vec<Position> = covering.map(|carried| carried.position).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
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
    fn what_was_carried_over_is_found_whatever_its_order_the_newest_first() {
        let mut index = SegmentIndex::default();
        for (first, last, position) in [(50, 90, 5000), (10, 20, 6000), (15, 60, 7000)] {
            index.note_carried(1, Carried { first, last, position: Position(position) });
        }
        let at = |ordinal| index.locate_carried(1, ordinal).iter().map(|position| position.get()).collect::<Vec<_>>();
        assert_eq!([9, 12, 18, 55, 91].map(at), [vec![], vec![6000], vec![7000, 6000], vec![7000, 5000], vec![]]);
        assert_eq!(index.locate(1, 18), None);
    }

    #[test]
    fn what_lies_before_the_first_entry_is_not_found() {
        let mut index = SegmentIndex::default();
        index.note(Position(4096), note(10, 5));
        assert_eq!(index.locate(1, 9), None);
        assert_eq!(index.locate(1, 12), Some(Position(4096)));
    }
}
