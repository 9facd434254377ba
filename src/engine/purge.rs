//! Dropping what a topic holds because somebody says so.

use super::removal::Whom;
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::Result;
use crate::event::{Cause, Run};
use crate::types::{Offset, TopicId};

/// Runs of messages that one frame drops: a backlog full of holes has many, and a frame has a largest size.
const RUNS: usize = 4096;

impl Engine {
    /// Drops every message before `before`, for every group and reader, but for what is leased, delayed or a dead
    /// letter. How many.
    pub(crate) fn purge_topic(&self, topic: TopicId, before: Offset) -> Result<u64> {
        let mut purged = 0_u64;
        let mut last = None;
        loop {
            let mut core = self.open_core()?;
            let runs = core.purged_next(topic, before)?;
            if runs.is_empty() {
                drop(core);
                return match last {
                    Some(end) => self.drive(end, Durability::Disk, None).map(|_| purged),
                    None => Ok(0),
                };
            }
            let count: u64 = runs.iter().map(|run| run.count).sum();
            match core.remove(Whom::Everybody(topic), Cause::Purged, runs) {
                Ok(span) => {
                    core.disk_end = core.disk_end.max(span.end);
                    last = Some(span.end);
                    purged = purged.saturating_add(count);
                    self.keys_freed(&mut core, topic);
                }
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        }
    }
}

impl Core {
    /// The next runs to drop. What every group has settled and no rule keeps is gone already.
    fn purged_next(&self, topic: TopicId, before: Offset) -> Result<Vec<Run>> {
        let held = self.state.topic(topic).ok_or_else(super::read::no_topic)?;
        // What is not visible yet was promised to nobody, and is not asked to go either.
        let runs = self.purgeable(held, before.min(self.visible.end(topic)));
        if held.policy().retention.keeps() {
            return Ok(runs.into_iter().take(RUNS).collect());
        }
        let mut left = Vec::new();
        for run in runs {
            let mut at = run.first;
            let gone = self.state.settled_runs(held, run);
            for next in gone.into_iter().chain([Run { first: run.end(), count: 0 }]) {
                let count = next.first.since(at);
                left.extend((count > 0).then_some(Run { first: at, count }));
                at = next.end();
            }
            if left.len() >= RUNS {
                left.truncate(RUNS);
                break;
            }
        }
        Ok(left)
    }
}
