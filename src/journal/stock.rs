//! The room there is beyond the active segment: segments that are prepared, files that are set aside, and how much of
//! both is kept for those who settle.

use super::appending::{Class, Refusal};
use super::segment::OpenSegment;
use crate::types::SegmentId;
use std::collections::VecDeque;

/// See the module. All sizes are lengths of files in bytes.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    /// Prepared successors, numbers rising.
    spares: VecDeque<OpenSegment>,
    /// Spares that were too small for a frame: their files are there, to be prepared anew.
    passed_over: Vec<OpenSegment>,
    /// Files that are set aside: to make a segment of one takes no space.
    banked: u64,
    /// So much is not for publishing.
    reserve: u64,
}

impl Stock {
    pub(crate) fn add(&mut self, spare: OpenSegment) {
        self.spares.push_back(spare);
    }

    /// How many segments are prepared.
    pub(crate) fn spares(&self) -> usize {
        self.spares.len()
    }

    pub(crate) const fn reserve(&self) -> u64 {
        self.reserve
    }

    pub(crate) fn set_reserve(&mut self, bytes: u64) {
        self.reserve = bytes;
    }

    pub(crate) fn set_banked(&mut self, bytes: u64) {
        self.banked = bytes;
    }

    /// All there is.
    pub(crate) fn bytes(&self) -> u64 {
        let segments = self.spares.iter().chain(&self.passed_over);
        segments.map(|spare| u64::from(spare.segment.capacity)).fold(self.banked, u64::saturating_add)
    }

    /// Whether more than the reserve would be left if a segment were taken by this class of frames.
    fn may_take(&self, capacity: u32, class: Class) -> bool {
        let least = match class {
            Class::Publish => self.reserve,
            Class::Copy => self.reserve / 2,
            Class::Clean => self.reserve / 4,
            Class::Settle | Class::Snapshot => return true,
        };
        self.bytes().saturating_sub(u64::from(capacity)) >= least
    }

    /// Whether a publish could go on to the next segment now.
    pub(crate) fn has_next(&self) -> bool {
        self.spares.front().is_some_and(|spare| self.may_take(spare.segment.capacity, Class::Publish))
    }

    /// Bytes of the largest segment that is prepared.
    pub(crate) fn largest(&self) -> u32 {
        self.spares.iter().map(|spare| spare.segment.capacity).max().unwrap_or(0)
    }

    /// Whether a segment of so many bytes is prepared.
    pub(crate) fn has(&self, bytes: u32) -> bool {
        self.spares.iter().any(|spare| spare.segment.capacity >= bytes)
    }

    /// Whether the reserve is whole, whatever else there is.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes() >= self.reserve
    }

    /// The first spare of at least `needed` bytes, passing over those before it.
    pub(super) fn take(&mut self, needed: u32, class: Class) -> Result<OpenSegment, Refusal> {
        let lacks = Refusal::NoSegment { bytes: needed };
        let found = self.spares.iter().position(|spare| spare.segment.capacity >= needed).ok_or(lacks)?;
        if self.spares.get(found).is_some_and(|spare| !self.may_take(spare.segment.capacity, class)) {
            return Err(Refusal::Reserve);
        }
        self.passed_over.extend(self.spares.drain(..found));
        self.spares.pop_front().ok_or(lacks)
    }

    /// Segments that were passed over, with their lengths. They are counted until they are put aside.
    pub(crate) fn passed_over(&self) -> Vec<(SegmentId, u64)> {
        self.passed_over.iter().map(|spare| (spare.segment.id, u64::from(spare.segment.capacity))).collect()
    }

    /// This one is among the files that are set aside.
    pub(crate) fn put_aside(&mut self, id: SegmentId) {
        self.passed_over.retain(|spare| spare.segment.id != id);
    }
}
