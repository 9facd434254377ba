//! What a segment holds of ids, for those who want to remove it: what has to be appended again before.

use super::{Taken, in_window};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{Event, ForgetId, KeepId};
use crate::tables::{Rows, Run, run_name};
use crate::types::SegmentId;
use std::sync::Arc;

/// The ids of a segment that are still in their window.
#[derive(Debug)]
pub(in crate::engine) struct IdsOf {
    pub(in crate::engine) segment: SegmentId,
    runs: Vec<Arc<Run>>,
}

impl Engine {
    /// The ids of a segment that is sealed. Nothing if not all of them are in runs yet: then it can't go yet either.
    ///
    /// The tables never allow a removal: each of these ids has to be appended again, as the event that
    /// [`each`](Self::each_id) gives, or with its message in a `Move`, and be durable, before the segment is retired.
    pub(in crate::engine) fn ids_of(&self, segment: SegmentId) -> Result<Option<IdsOf>> {
        let core = self.open_core()?;
        let waiting = core.ids.frozen.iter().any(|frozen| frozen.owner.segment == segment);
        if waiting || core.ids.owner.segment <= segment {
            return Ok(None);
        }
        let runs = self.runs.lock().all().iter().filter(|run| run.owner.segment == segment).cloned().collect();
        Ok(Some(IdsOf { segment, runs }))
    }

    /// Gives the event for each id that is still in its window, in no particular order.
    pub(in crate::engine) fn each_id(
        &self,
        of: &IdsOf,
        each: &mut dyn FnMut(Event<'static>) -> Result<()>,
    ) -> Result<()> {
        let (windows, now) = (self.open_core()?.windows_of_ids(), self.age_now());
        for run in &of.runs {
            let failed = |source| Error::io(format!("reading {}", run.name()), source);
            for row in Rows::new(&*self.environment.storage, run).map_err(failed)? {
                let (key, row) = row.map_err(failed)?;
                let Some((window, end)) = windows.get(&key.topic) else { continue };
                if !in_window(*window, &row, *end, now) {
                    continue;
                }
                let (topic, offset, time, id_hash) = (key.topic, row.offset, row.time, key.id);
                each(if row.forgotten {
                    Event::ForgetId(ForgetId { topic, offset, time, id_hash })
                } else {
                    Event::KeepId(KeepId { topic, offset, time, id_hash, payload_hash: row.payload })
                })?;
            }
        }
        Ok(())
    }

    /// The runs of a segment go with it: to be called when its retirement is durable.
    pub(in crate::engine) fn drop_ids_of(&self, segment: SegmentId) {
        let mut core = self.core.lock();
        let mut runs = self.runs.lock();
        let going: Vec<Arc<Run>> = runs.all().iter().filter(|run| run.owner.segment == segment).cloned().collect();
        for run in &going {
            *runs = Arc::new(runs.without(run));
        }
        core.runs_changed(None, runs.generation);
        core.ids.runs = Taken::of(&runs);
        drop(runs);
        drop(core);
        for run in going {
            // What is left is removed when the store is opened.
            drop(self.environment.storage.remove(&run_name(&run.owner, run.range)));
        }
    }
}
