//! Writing ids to disk, and off it: the upkeep's part. None of it holds the engine's lock while it reads or writes.

use super::{Frozen, Taken, in_window};
use crate::config::{Durability, WhenFull, Window};
use crate::engine::{Core, Engine};
use crate::error::{Error, Result};
use crate::tables::{PublishedKey, Run, Runs, rewrite, write};
use crate::types::{Offset, Timestamp, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;

/// Runs are looked through for ids that have left their window so often in the shortest window there is.
const LOOKS: u32 = 8;

impl Engine {
    /// Writes the oldest frozen ids as a run. Whether there is more to do.
    pub(in crate::engine) fn flush_ids(&self) -> Result<bool> {
        // Publishers that wait for room do it too: one at a time.
        let _alone = self.mending.lock();
        let frozen = {
            let mut core = self.open_core()?;
            if core.tail.active().id != core.ids.owner.segment {
                core.turn_ids();
            }
            let end = core.tail.end();
            if core.ids.frozen.is_empty() && core.ids.wants_flush() {
                core.ids.freeze(end.position(), end);
            }
            match core.ids.frozen.front() {
                Some(frozen) => frozen.clone(),
                None => return Ok(false),
            }
        };
        // Nothing may be remembered on disk that can still be lost in the journal.
        self.drive(frozen.end, Durability::Disk, None)?;
        let rows = frozen.delta.sorted();
        let (storage, expected) = (&*self.environment.storage, rows.len() as u64);
        match write(storage, frozen.owner, (frozen.range, 0), expected, rows.map(Ok)) {
            Ok(run) => {
                self.put_run(run, Some(&frozen));
                self.keep_to_budget()?;
                Ok(self.open_core()?.ids.wants_flush())
            }
            Err(source) => {
                let mut core = self.open_core()?;
                let source = Arc::new(source);
                if core.ids.failed.is_none() {
                    tracing::warn!(error = %source, "ids can't be written; they stay in memory until they can");
                }
                core.ids.failed = Some(source);
                let wakers = self.room_made(&mut core);
                drop(core);
                wakers.into_iter().for_each(Waker::wake);
                Ok(false)
            }
        }
    }

    /// A run takes its place; what it was made of leaves the memory at the same moment. One that was only made anew
    /// takes the place of the other; where there is none any more, its segment was done with meanwhile.
    pub(super) fn put_run(&self, run: Run, frozen: Option<&Arc<Frozen>>) {
        let mut core = self.core.lock();
        let mut runs = self.runs.lock();
        if frozen.is_none() && !runs.has(&run) {
            core.ids.going.entry(run.owner.segment).or_default().push(run.range);
            return;
        }
        *runs = Arc::new(runs.with(run));
        core.runs_changed(frozen.map(|frozen| &**frozen), runs.generation);
        if frozen.is_some() {
            core.ids.frozen.pop_front();
            core.ids.failed = None;
        }
        core.ids.runs = Taken::of(&runs);
        drop(runs);
        let wakers = self.room_made(&mut core);
        self.wake_followers();
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Makes room for publishes with ids that wait for it: what whoever waits does if nobody else does.
    pub(in crate::engine) fn make_room_for_ids(&self) -> Result<()> {
        while self.open_core()?.ids.is_full() {
            if !self.flush_ids()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes ids that have left their window off the disk, a run at a time, once half of the run can go. Whether there
    /// is more to do.
    pub(in crate::engine) fn expire_ids(&self) -> Result<bool> {
        let _alone = self.mending.lock();
        let now = self.age_now();
        let (windows, next) = {
            let mut core = self.open_core()?;
            if core.ids.runs.rows == 0 || now < core.next_expiry_of_ids {
                return Ok(false);
            }
            let windows = core.windows_of_ids();
            let shortest = windows.values().filter_map(|(window, _)| match window {
                Window::For(span) => Some(*span),
                _ => None,
            });
            let pause = shortest.min().unwrap_or(std::time::Duration::from_secs(3600)) / LOOKS;
            let next = now.plus(pause.max(std::time::Duration::from_secs(1)));
            core.next_expiry_of_ids = next;
            (windows, next)
        };
        let runs = self.runs.lock().clone();
        for run in runs.all().iter().filter(|run| run.rows > 0) {
            let over: u64 = run
                .shares
                .iter()
                .filter(|share| !holds(&windows, share.topic, share.last, share.latest, now))
                .map(|share| share.rows)
                .sum();
            if over * 2 < run.rows {
                continue;
            }
            let keep = |key: &PublishedKey, row: &crate::tables::Published| {
                holds(&windows, key.topic, row.offset, row.time, now)
            };
            match rewrite(&*self.environment.storage, run, keep) {
                Ok(run) => self.put_run(run, None),
                Err(error) => tracing::warn!(%error, "ids that have left their window stay on disk for now"),
            }
        }
        let mut core = self.open_core()?;
        let at = self.after(next.since(now));
        self.upkeep_by(&mut core, at);
        Ok(false)
    }

    /// Forgets the oldest ids if there are more than the budget allows and that is its policy. For whoever writes runs.
    fn keep_to_budget(&self) -> Result<()> {
        let budget = self.options.id_budget;
        if budget.when_full != WhenFull::ForgetOldest {
            return Ok(());
        }
        loop {
            let runs = self.runs.lock().clone();
            let in_memory = self.open_core()?.ids.active.len() as u64;
            let within = runs.rows().saturating_add(in_memory) <= budget.ids && runs.disk() <= budget.bytes;
            let filled = runs.all().iter().filter(|run| run.rows > 0);
            let Some(oldest) = filled.min_by_key(|run| (run.owner.segment, run.range)).filter(|_| !within) else {
                return Ok(());
            };
            let empty = rewrite(&*self.environment.storage, oldest, |_, _| false)
                .map_err(|source| Error::io("forgetting the oldest ids", source))?;
            tracing::warn!(ids = oldest.rows, "the oldest ids are forgotten before their window ends: `id_budget`");
            self.core.lock().ids.counts.forgotten += oldest.rows;
            self.put_run(empty, None);
        }
    }
}

impl Taken {
    pub(super) fn of(runs: &Runs) -> Self {
        Self { memory: runs.memory(), rows: runs.rows(), disk: runs.disk() }
    }
}

pub(super) type Windows = BTreeMap<TopicId, (Window, Offset)>;

/// Whether an id is worth keeping: one of a topic that was dropped is not.
pub(super) fn holds(windows: &Windows, topic: TopicId, offset: Offset, time: Timestamp, now: Timestamp) -> bool {
    let row = crate::tables::Published { offset, time, ..crate::tables::Published::default() };
    windows.get(&topic).is_some_and(|(window, end)| in_window(*window, &row, *end, now))
}

impl Core {
    /// The window of each topic, and its next offset.
    pub(super) fn windows_of_ids(&self) -> Windows {
        self.state.topics().map(|topic| (topic.id(), (topic.policy().deduplicate, topic.end()))).collect()
    }
}
