//! Where snapshots begin, as the first frames of segments say, and which of them an opening relies on.

use super::control::{Begin, Control, Snapshots};
use super::recover::Recovery;
use super::scan::Sighting;
use super::segment::{SEGMENT_HEADER, Segment};
use crate::error::Result;
use crate::seen::Seen;
use crate::types::{Lsn, Position, SegmentId};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Recovery {
    /// Where the newest complete snapshots start, as the newest segment's first frame knows it.
    pub(super) fn newest_snapshots(&self) -> Result<(Option<SegmentId>, Snapshots)> {
        for segment in self.listing.segments.values().rev() {
            if let Some(begin) = self.first_frame(segment)? {
                return Ok((Some(segment.id), begin.snapshots));
            }
        }
        Ok((None, Snapshots::default()))
    }

    /// Snapshots to try, newest first.
    pub(crate) fn snapshots(&self) -> Snapshots {
        self.snapshots
    }

    /// Where the newest segment that was begun starts. Snapshots that were completed in it are told by nothing before.
    pub(crate) fn newest_begin(&self) -> Option<Lsn> {
        self.newest.map(|id| Lsn::new(id, Position(SEGMENT_HEADER)))
    }

    /// A newer complete snapshot was met on the way.
    pub(crate) fn snapshot_met(&mut self, begin: Lsn) {
        if begin > self.snapshots.newer {
            self.snapshots = Snapshots { older: self.snapshots.newer, newer: begin };
        }
    }

    /// Snapshots that were once the newest, newest first: without those that are the newest now.
    pub(crate) fn earlier_snapshots(&self) -> Result<Vec<Lsn>> {
        let mut known = BTreeSet::new();
        for segment in self.listing.segments.values() {
            if let Some(begin) = self.first_frame(segment)? {
                known.extend([begin.snapshots.older, begin.snapshots.newer]);
            }
        }
        [Lsn::ZERO, self.snapshots.older, self.snapshots.newer].iter().for_each(|begin| _ = known.remove(begin));
        Ok(known.into_iter().rev().collect())
    }

    /// The opening begins with this snapshot, which is not the newest that is known of, or with none: those behind it
    /// are no use, and what they would have covered is in no other. So nothing goes on their account.
    pub(crate) fn rely_on(&mut self, begin: Lsn) {
        if begin == Lsn::ZERO {
            Seen::FromStart.note()
        } else {
            Seen::FromOlderSnapshot.note()
        }
        self.snapshots = Snapshots { older: Lsn::ZERO, newer: begin };
    }

    fn first_frame(&self, segment: &Arc<Segment>) -> Result<Option<Begin>> {
        let sighting = self.open(segment)?.next().map_err(|source| self.reading(segment.id, source))?;
        let Sighting::Frame(frame) = sighting else { return Ok(None) };
        Ok(match Control::decode(&frame.body) {
            Some(Control::Begin(begin)) => Some(begin),
            _ => None,
        })
    }
}
