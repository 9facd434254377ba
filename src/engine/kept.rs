//! Messages that were read for their keys, kept for a while for the hand-out, which would have to find each of them
//! again: in a large batch that is a way past all heads before it.

use crate::message::Record;
use crate::types::Offset;
use std::collections::VecDeque;

/// So many bytes of messages are kept in a group, counted from the oldest to the newest of them, those that were taken
/// meanwhile included: a message keeps the frame in memory that it came with, and its neighbours lie there too.
const BYTES: usize = 4 << 20;

#[derive(Debug)]
struct Entry {
    offset: Offset,
    bytes: usize,
    record: Option<Record>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Kept {
    /// Keeps a message; offsets rise, or it begins anew.
    pub(super) fn put(&mut self, record: Record) {
        if self.entries.back().is_some_and(|last| last.offset >= record.offset) {
            *self = Self::default();
        }
        let size = record.attributes.as_ref().map_or(0, |attributes| attributes.size());
        let bytes = size_of::<Entry>().saturating_add(size).saturating_add(record.payload.len());
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries.push_back(Entry { offset: record.offset, bytes, record: Some(record) });
        while self.bytes > BYTES || self.entries.front().is_some_and(|first| first.record.is_none()) {
            let Some(first) = self.entries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(first.bytes);
        }
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a message out, if it is still there.
    pub(super) fn take(&mut self, offset: Offset) -> Option<Record> {
        let place = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        self.entries.get_mut(place)?.record.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;
    use bytes::Bytes;

    fn record(offset: u64, bytes: usize) -> Record {
        Record { offset: Offset(offset), time: Timestamp(1), payload: Bytes::from(vec![0; bytes]), attributes: None }
    }

    #[test]
    fn what_is_kept_is_taken_once_and_the_oldest_goes_first() {
        let mut kept = Kept::default();
        (0..10).for_each(|offset| kept.put(record(offset * 2, BYTES / 8)));
        assert!(kept.take(Offset(0)).is_none() && kept.take(Offset(17)).is_none());
        assert_eq!(kept.take(Offset(18)).map(|record| record.offset), Some(Offset(18)));
        assert!(kept.take(Offset(18)).is_none());
        assert!(kept.bytes <= BYTES);
    }

    #[test]
    fn reading_anew_begins_anew() {
        let mut kept = Kept::default();
        kept.put(record(5, 10));
        kept.put(record(3, 10));
        assert!(kept.take(Offset(5)).is_none() && kept.take(Offset(3)).is_some());
    }
}
