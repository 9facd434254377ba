//! Writing ids to disk, and off it: the upkeep's part. None of it holds the engine's lock while it reads or writes.

use super::{Frozen, Taken, in_window};
use crate::config::{Durability, WhenFull, Window};
use crate::engine::{Core, Engine};
use crate::error::{Error, Result};
use crate::seen::Seen;
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
        let (frozen, expected) = {
            let mut core = self.open_core()?;
            if core.tail.active().id != core.ids.owner.segment {
                core.turn_ids();
            }
            let end = core.tail.end();
            if core.ids.frozen.is_empty() && core.ids.wants_flush() {
                core.ids.freeze(end.position(), end);
            }
            match core.ids.frozen.front() {
                Some(frozen) => {
                    (frozen.clone(), room_in_filter(frozen.delta.len(), core.ids.runs.memory, core.ids.limit))
                }
                None => return Ok(false),
            }
        };
        // Nothing may be remembered on disk that can still be lost in the journal.
        self.drive(frozen.end, Durability::Disk, None)?;
        let rows = frozen.delta.sorted();
        let storage = &*self.environment.storage;
        match write(storage, frozen.owner, (frozen.range, 0), expected, rows.map(Ok)) {
            Ok(run) => {
                self.put_run(run, Some(&frozen));
                Seen::IdsFlushed.note();
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
            match rewrite(&*self.environment.storage, run, run.rows.saturating_sub(over), keep) {
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
            let empty = rewrite(&*self.environment.storage, oldest, 0, |_, _| false)
                .map_err(|source| Error::io("forgetting the oldest ids", source))?;
            tracing::warn!(ids = oldest.rows, "the oldest ids are forgotten before their window ends: `id_budget`");
            self.core.lock().ids.counts.forgotten += oldest.rows;
            self.put_run(empty, None);
        }
    }
}

/// For how many ids the filter of a run of `rows` is made, where runs take `memory` bytes of `limit` already. With much
/// of it used the filters become smaller, and say yes of ids that are not there more often: 16 bits for each id, then
/// 8 from half of the limit on, 4 from three quarters, 2 beyond it. Besides, each id takes 3.4 bits to be found by.
pub(super) fn room_in_filter(rows: usize, memory: usize, limit: usize) -> u64 {
    let quarters = memory.saturating_mul(4) / limit.max(1);
    let share = match quarters {
        0 | 1 => 1,
        2 => 2,
        3 => 4,
        _ => 8,
    };
    rows.div_ceil(share) as u64
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

#[cfg(test)]
mod tests {
    use super::room_in_filter;

    #[test]
    fn filters_become_smaller_as_the_memory_for_ids_is_used() {
        let (rows, limit) = (1_000, 64 << 20);
        let rooms =
            [0, limit / 4, limit / 2, limit / 4 * 3, limit, limit * 9].map(|used| room_in_filter(rows, used, limit));
        assert_eq!(rooms, [1_000, 1_000, 500, 250, 125, 125]);
        assert_eq!((room_in_filter(0, 0, 0), room_in_filter(1, usize::MAX, 0)), (0, 1));
    }
}
