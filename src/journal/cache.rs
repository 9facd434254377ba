//! The last of what was written or is being written, still in memory: readers that are nearly up to date need no system
//! call, and those of messages that are on their way to the kernel find them here only.

use super::commit::{Chunk, Piece, Written};
use crate::types::{Lsn, Position, SegmentId};
use std::collections::VecDeque;

/// Bytes of small commits that are gathered into one piece.
const BLOCK: usize = 64 << 10;

/// A buffer of so many bytes is kept as it is: an entry for it costs little beside that.
const LARGE: usize = 8 << 10;

/// Smaller ones are in a small cache, so that there are about so many at most.
const ENTRIES: usize = 512;

/// Bytes, oldest first, without a gap, up to a number of bytes and what is being written.
#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    /// From this size on the buffer of a commit is taken over; below, its bytes are copied, and it is left to the next
    /// commit.
    large: usize,
    held: VecDeque<Written>,
    /// The last of them, if they came in small commits: an entry for each would cost more than the bytes.
    open: Option<Chunk>,
    bytes: usize,
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        let large = LARGE.min(limit / ENTRIES);
        Self { limit, large, held: VecDeque::new(), open: None, bytes: 0 }
    }

    /// Whether so many bytes that come in a buffer of their own are kept in it.
    pub(crate) fn is_large(&self, length: usize) -> bool {
        length >= self.large
    }

    /// Keeps what is about to be written.
    pub(crate) fn keep(&mut self, chunk: Box<Chunk>) -> Piece {
        let length = chunk.bytes.len();
        self.bytes += length;
        // Not in a buffer that is mostly empty: the limit is meant for memory.
        if self.is_large(length) && length >= chunk.bytes.capacity() / 2 {
            self.seal();
            let written = Written::from(*chunk);
            self.held.push_back(written.clone());
            return Piece::Shared(written);
        }
        let goes_on = |open: &&mut Chunk| {
            open.segment.segment.id == chunk.segment.segment.id
                && open.end() == chunk.start
                && open.bytes.capacity() - open.bytes.len() >= length
        };
        if let Some(open) = self.open.as_mut().filter(goes_on) {
            open.bytes.extend_from_slice(&chunk.bytes);
        } else {
            self.seal();
            // A quarter of all at most: what has to go goes block by block.
            let mut bytes = Vec::with_capacity(BLOCK.min(self.limit / 4).max(length));
            bytes.extend_from_slice(&chunk.bytes);
            self.open = Some(Chunk { segment: chunk.segment.clone(), start: chunk.start, bytes });
        }
        Piece::Own(chunk)
    }

    /// Everything is written: the oldest goes if there is more than is allowed.
    pub(crate) fn trim(&mut self) {
        while self.bytes > self.limit {
            let oldest = self.held.pop_front().map(|written| written.bytes.len());
            let oldest = oldest.or_else(|| self.open.take().map(|chunk| chunk.bytes.len()));
            self.bytes -= oldest.unwrap_or(self.bytes);
        }
    }

    /// Forgets what it has of a segment, and the handle with it.
    pub(crate) fn forget(&mut self, id: SegmentId) {
        if self.open.as_ref().is_some_and(|open| open.segment.segment.id == id) {
            self.seal();
        }
        self.held.retain(|written| written.segment.segment.id != id);
        self.bytes = self.held.iter().map(|written| written.bytes.len()).sum();
        self.bytes += self.open.as_ref().map_or(0, |open| open.bytes.len());
    }

    /// No more is added to the piece that is open.
    fn seal(&mut self) {
        self.held.extend(self.open.take().map(Written::from));
    }

    /// Gathers from `next` on, moving it forward, as long as `left` lasts.
    pub(crate) fn from(&self, next: &mut Lsn, left: &mut usize, found: &mut Vec<Written>) {
        let after = self.held.partition_point(|written| written.start_lsn() <= *next);
        for written in self.held.iter().skip(after.saturating_sub(1)) {
            if *left == 0 {
                break;
            }
            written.gather(next, left, found);
        }
        if let Some(open) = &self.open {
            open.copy_from(next, left, found);
        }
    }
}

impl Written {
    fn start_lsn(&self) -> Lsn {
        Lsn::new(self.segment.segment.id, self.start)
    }

    /// Adds what lies at `next`, if it lies here, and moves `next` behind it.
    pub(crate) fn gather(&self, next: &mut Lsn, left: &mut usize, found: &mut Vec<Self>) {
        let id = self.segment.segment.id;
        if next.segment() != id || next.position() < self.start || *left == 0 {
            return;
        }
        let skip = (next.position().get() - self.start.get()) as usize;
        if skip >= self.bytes.len() {
            return;
        }
        let bytes = self.bytes.slice(skip..);
        let start = next.position();
        *next = Lsn::new(id, Position(start.get().saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX))));
        *left = left.saturating_sub(bytes.len());
        found.push(Self { segment: self.segment.clone(), start, bytes, whole: self.whole });
    }
}
