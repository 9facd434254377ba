//! Segments that stay for the sake of ids: what is remembered of published and processed messages has to be in the
//! journal as long as its window lasts, since tables and runs can be lost at any time.

use crate::config::Window;
use crate::engine::{Core, Engine};
use crate::types::SegmentId;
use std::collections::BTreeSet;

/// Which segments those are.
#[derive(Debug, Default)]
pub(in crate::engine) struct Staying {
    /// They hold ids of published messages.
    published: BTreeSet<SegmentId>,
    /// Some group remembers what it has processed. Which segments hold such ids is not known, so all of them may.
    any: bool,
}

impl Staying {
    /// Whether the segment holds ids that may be asked for. It is taken to, where that is not known.
    pub(in crate::engine) fn has(&self, segment: SegmentId) -> bool {
        self.any || self.published.contains(&segment)
    }
}

impl Engine {
    /// The segments that can't go yet on account of ids.
    pub(in crate::engine) fn segments_with_ids(&self, core: &Core) -> Staying {
        let frozen = core.ids.frozen.iter().map(|frozen| frozen.owner.segment);
        let mut published: BTreeSet<SegmentId> = frozen.collect();
        if !core.ids.active.is_empty() {
            published.insert(core.ids.owner.segment);
        }
        // Runs go as their windows end, and their segments are free then.
        published.extend(self.runs.lock().all().iter().map(|run| run.owner.segment));
        let any = core.state.groups().any(|group| group.policy().processed != Window::Off);
        Staying { published, any }
    }
}
