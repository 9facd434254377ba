//! What keeps a segment for the sake of ids: what is remembered of published and processed messages has to be in the
//! journal as long as its window lasts, since tables and runs can be lost at any time.

use super::Taken;
use super::flush::holds;
use crate::engine::{Core, Engine};
use crate::tables::Run;
use crate::types::SegmentId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of the event that carries an id over, about.
const ID_BYTES: u64 = 64;

/// More than any segment holds.
const EVERYTHING: u64 = u64::MAX / 4;

impl Engine {
    /// What each segment has of ids that are needed and lie nowhere else, in bytes, about. One whose ids are not all in
    /// runs yet has more than it could hold: nothing is done with it before they are.
    pub(in crate::engine) fn kept_ids(&self, core: &Core) -> BTreeMap<SegmentId, u64> {
        let (windows, now) = (core.windows_of_ids(), self.age_now());
        let mut kept = core.processed_to_keep(now);
        for share in self.runs.lock().all().iter().flat_map(|run| &run.shares) {
            if share.rows > 0 && holds(&windows, share.topic, share.last, share.latest, now) {
                let bytes = kept.entry(share.segment).or_default();
                *bytes = bytes.saturating_add(share.rows.saturating_mul(ID_BYTES));
            }
        }
        kept.retain(|segment, _| !core.ids.carried.contains(segment));
        let waiting = core.ids.frozen.iter().map(|frozen| frozen.owner.segment);
        let active = (!core.ids.active.is_empty()).then_some(core.ids.owner.segment);
        kept.extend(waiting.chain(active).map(|segment| (segment, EVERYTHING)));
        kept
    }

    /// The ids of a segment need it no more: they lie further on, or have left their windows. Its runs are not asked
    /// any more, and their files go with the segment's; one of several segments goes with the last of them.
    pub(in crate::engine) fn drop_ids_of(&self, core: &mut Core, segment: SegmentId) {
        let mut runs = self.runs.lock();
        let covers = |run: &Arc<Run>| run.stretches().any(|stretch| stretch.segment == segment);
        if !runs.all().iter().any(covers) {
            return;
        }
        let (left, went) = runs.without_segment(segment);
        *runs = Arc::new(left);
        core.ids.runs = Taken::of(&runs);
        core.ids.going.entry(segment).or_default().extend(went.iter().map(|run| run.name()));
        core.runs_changed(None, runs.generation);
    }

    /// The files of a segment are gone; those of its runs follow. What is left is removed by the next opening.
    pub(in crate::engine) fn remove_runs_of(&self, segment: SegmentId) {
        let going = {
            let mut core = self.core.lock();
            core.ids.carried.remove(&segment);
            core.ids.going.remove(&segment).unwrap_or_default()
        };
        for name in going {
            drop(self.environment.storage.remove(&name));
        }
    }
}

impl Core {
    /// Whether all ids of a segment are in runs, so that those say what it has.
    pub(super) fn ids_are_in_runs(&self, segment: SegmentId) -> bool {
        let waiting = self.ids.frozen.iter().any(|frozen| frozen.owner.segment == segment);
        let active = self.ids.owner.segment == segment && !self.ids.active.is_empty();
        !waiting && !active && segment < self.tail.active().id
    }
}
