//! Getting a commit to the disk: the only place where the journal is written and synced in ordinary operation.
//!
//! Done outside the engine's lock, by whoever leads. The bytes go first, oldest segment first; then the syncs, oldest
//! segment first, so that nothing in a new segment is promised before the old one is safe.

use super::segment::{OpenSegment, segment_name};
use crate::storage::write_all_at;
use crate::types::{Lsn, Position};
use bytes::Bytes;
use std::io;

/// Bytes of one segment that are being written, or were.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) segment: OpenSegment,
    pub(crate) start: Position,
    pub(crate) bytes: Bytes,
}

/// What one leader writes and syncs for all.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) chunks: Vec<Written>,
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

    /// Writes all bytes.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        for chunk in &self.chunks {
            write_all_at(&*chunk.segment.file, &chunk.bytes, u64::from(chunk.start.get()))
                .map_err(|source| Failure::at(Stage::Write, &chunk.segment, source))?;
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
