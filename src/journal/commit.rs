//! Getting a commit to the disk: the only place where the journal is written and synced in ordinary operation.
//!
//! Done outside the engine's lock, by whoever leads. The bytes go first, oldest segment first; then the syncs, oldest
//! segment first, so that nothing in a new segment is promised before the old one is safe.

use super::segment::{OpenSegment, segment_name};
use crate::storage::write_all_at;
use crate::types::{Lsn, Position};
use bytes::Bytes;
use std::io;

/// Bytes in one write. A page cache may keep what comes in one write as one large page, and go through all of it for
/// each small write into it once the file is used again: after writes of a mebibyte a message's took twice as long.
const WRITE_MOST: usize = 256 << 10;

/// Bytes of one segment that are being written, or were.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) segment: OpenSegment,
    pub(crate) start: Position,
    pub(crate) bytes: Bytes,
    /// Bytes of the buffer that these are a part of, and keep in memory.
    pub(crate) whole: usize,
}

/// Bytes of one segment in a buffer that grows: those that are not written yet, or the newest piece of the cache.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) segment: OpenSegment,
    pub(crate) start: Position,
    pub(crate) bytes: Vec<u8>,
}

impl Chunk {
    /// Where the next byte belongs.
    pub(crate) fn end(&self) -> Position {
        Position(self.start.get().saturating_add(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)))
    }

    /// Adds a copy of what lies at `next`, if it lies here, and moves `next` behind it. A copy, since the buffer is
    /// still being written to.
    pub(crate) fn copy_from(&self, next: &mut Lsn, left: &mut usize, found: &mut Vec<Written>) {
        let start = next.position();
        if next.segment() != self.segment.segment.id || start < self.start || *left == 0 {
            return;
        }
        let skip = (start.get() - self.start.get()) as usize;
        if let Some(rest) = self.bytes.get(skip..).filter(|rest| !rest.is_empty()) {
            *next = Lsn::new(next.segment(), self.end());
            *left = left.saturating_sub(rest.len());
            let (segment, bytes) = (self.segment.clone(), Bytes::copy_from_slice(rest));
            found.push(Written { segment, start, whole: bytes.len(), bytes });
        }
    }
}

impl From<Chunk> for Written {
    fn from(chunk: Chunk) -> Self {
        let bytes = Bytes::from(chunk.bytes);
        Self { segment: chunk.segment, start: chunk.start, whole: bytes.len(), bytes }
    }
}

/// Bytes on their way to the disk.
#[derive(Debug)]
pub(crate) enum Piece {
    /// In a buffer that is used again afterwards; the cache has a copy of them.
    Own(Box<Chunk>),
    /// In a buffer that the cache has too.
    Shared(Written),
}

impl Piece {
    fn parts(&self) -> (&OpenSegment, Position, &[u8]) {
        match self {
            Self::Own(chunk) => (&chunk.segment, chunk.start, &chunk.bytes),
            Self::Shared(written) => (&written.segment, written.start, &written.bytes),
        }
    }
}

/// What one leader writes and syncs for all.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    /// Oldest segment first.
    pub(crate) pieces: Vec<Piece>,
    /// The end of the journal when the commit was begun.
    pub(crate) end: Lsn,
    /// What is to be synced, oldest first; empty if nothing is.
    pub(crate) targets: Vec<OpenSegment>,
}

/// At what a commit failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Write,
    Sync,
}

/// A failed write or sync. It is never tried again: what it left on the disk is not known.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) file: String,
    pub(crate) source: io::Error,
}

impl Commit {
    /// Whether this commit promises durability.
    pub(crate) fn syncs(&self) -> bool {
        !self.targets.is_empty()
    }

    /// How many bytes it writes.
    pub(crate) fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.parts().2.len() as u64).sum()
    }

    /// Writes all bytes.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        for piece in &self.pieces {
            let (segment, start, bytes) = piece.parts();
            let mut position = u64::from(start.get());
            for part in bytes.chunks(WRITE_MOST) {
                write_all_at(&*segment.file, part, position)
                    .map_err(|source| Failure::at(Stage::Write, segment, source))?;
                position = position.saturating_add(part.len() as u64);
            }
        }
        Ok(())
    }

    /// Syncs what was written, by this commit and since the last sync.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        for target in &self.targets {
            target.file.sync().map_err(|source| Failure::at(Stage::Sync, target, source))?;
        }
        Ok(())
    }
}

impl Failure {
    fn at(stage: Stage, segment: &OpenSegment, source: io::Error) -> Self {
        Self { stage, file: segment_name(segment.segment.id), source }
    }
}
