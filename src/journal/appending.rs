//! What whoever appends a frame says and hears.

use crate::types::{Lsn, Timestamp};

/// The tail's bounds; see `config::Options`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_frame_bytes: u32,
    pub(crate) buffer_bytes: usize,
    pub(crate) tail_cache_bytes: usize,
}

/// Whom a frame serves, and so which of the last space it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// More work: leaves a reserve of the last segment and of the buffer to those who settle.
    Publish,
    /// Settling, and the store's own affairs.
    Settle,
    /// A copy of what is parked: leaves half of the reserve to those who settle.
    Copy,
    /// Survivors of a segment that is to go: leaves a quarter of the reserve.
    Clean,
    /// A piece of a snapshot. A part of it is appended as a whole or not at all, so the buffer sets it no limit: one
    /// that is larger would be begun again and again, and never be there.
    Snapshot,
}

/// Why a frame can't be appended now. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too much is waiting to be written.
    BufferFull,
    /// No prepared segment has this many bytes for a frame.
    NoSegment { bytes: u32 },
    /// There is room, but only what is kept for others.
    Reserve,
    /// No frame may ever be so long.
    TooLarge { limit: u32 },
}

/// Where the next frame will start, and what its times are counted from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) lsn: Lsn,
    pub(crate) base: Timestamp,
}

/// A frame's bytes in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Lsn,
    pub(crate) end: Lsn,
}
