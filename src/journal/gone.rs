//! Segments that went on purpose.

use super::recover::Recovery;
use super::segment::parse_name;
use crate::types::SegmentId;
use std::collections::BTreeSet;

/// Which segments were retired: that they are missing is no damage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gone {
    /// Of those before this one, only the ones in `needed` are.
    pub(crate) below: SegmentId,
    pub(crate) needed: BTreeSet<SegmentId>,
    pub(crate) retired: BTreeSet<SegmentId>,
}

impl Recovery {
    /// Where the walk goes on behind a segment that is gone: always further on, or it would go round for ever.
    pub(super) fn behind_gone(&self, id: SegmentId) -> SegmentId {
        let gone = &self.gone;
        if id >= gone.below {
            // Retired since the snapshot that was begun with, which then is not one of the two newest.
            return self.listing.after(id, gone).map_or(id, |segment| segment.id);
        }
        // Those before the first that was not retired are all named; from there on they follow each other.
        gone.needed.range(id..).find(|id| !gone.has(**id)).copied().unwrap_or(gone.below)
    }
}

impl Gone {
    /// Whether this one was retired.
    pub(crate) fn has(&self, id: SegmentId) -> bool {
        self.retired.contains(&id) || (id < self.below && !self.needed.contains(&id))
    }

    /// Whether a file is a segment that was not retired.
    pub(crate) fn needs(&self, file: &str) -> bool {
        let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
        parse_name(name).is_some_and(|(id, _)| !self.has(id))
    }
}
