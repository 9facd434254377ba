//! Segments that went on purpose.

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
