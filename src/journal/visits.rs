//! Which segments a walk comes to, and those it should have come to.

use super::control::Seal;
use super::index::SegmentIndex;
use super::recover::{Recovery, whole_file};
use crate::error::Result;
use crate::types::{Lsn, SegmentId};
use std::collections::BTreeSet;

/// A segment that the walk came to, or should have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) id: SegmentId,
    /// It can't be read.
    pub(crate) missing: bool,
}

impl Recovery {
    /// Starts at the first segment that can be read; what should have been before it is reported.
    pub(crate) fn start_anywhere(&mut self) -> Result<()> {
        let outcome = self.start(Lsn::ZERO);
        let Err(error) = &outcome else { return Ok(()) };
        let (Some(first), false) = (self.listing.first(&self.gone), error.damage().is_empty()) else { return outcome };
        let bad: Vec<SegmentId> = self.listing.bad.keys().copied().collect();
        self.pass(first, &bad)
    }

    /// The segments that were come to, in order.
    pub(crate) fn visited(&self) -> &[Visit] {
        &self.visited
    }

    /// How far a segment goes, with its seal if it has one; only of those that were walked to their end.
    pub(crate) fn seals(&self) -> impl Iterator<Item = (SegmentId, Seal, &SegmentIndex)> {
        self.walked.iter().map(|walked| (walked.segment.id, walked.seal, &walked.index))
    }

    /// Where the walk ended; nothing if it ended in damage.
    pub(crate) fn end(&self) -> Option<Lsn> {
        self.end
    }

    /// A segment that can't be read where one should be.
    pub(super) fn miss(&mut self, id: SegmentId) {
        let what = self.listing.why_missing(id);
        self.damage.push(whole_file(id, what));
        self.visited.push(Visit { id, missing: true });
    }

    /// Goes on in the first segment after `id`, from its start, behind something that is damaged.
    pub(super) fn go_on_after(&mut self, id: SegmentId) -> Result<()> {
        self.scanner = None;
        self.pass(SegmentId(id.get().saturating_add(1)), &[])
    }

    /// Enters the first segment from `from` on that can be read, and reports what should have been before it.
    fn pass(&mut self, from: SegmentId, bad: &[SegmentId]) -> Result<()> {
        let next = self.listing.after(SegmentId(from.get().saturating_sub(1)), &self.gone);
        let end = next.as_ref().map_or(SegmentId(u32::MAX), |next| next.id);
        let mut missing: BTreeSet<SegmentId> = self.gone.needed.iter().chain(bad).copied().collect();
        missing.retain(|id| (from..end).contains(id) && !self.gone.has(*id));
        missing.into_iter().for_each(|id| self.miss(id));
        next.map_or(Ok(()), |next| self.enter(&next))
    }
}
