//! Writing ids to disk, and off it: the upkeep's part. None of it holds the engine's lock while it reads or writes.

use super::{Frozen, Ids, Taken, in_window};
use crate::config::{Durability, WhenFull, Window};
use crate::engine::{Core, Engine};
use crate::error::{Error, Result};
use crate::seen::Seen;
use crate::tables::{Owner, Plan, PublishedKey, Run, Runs, Share, Stretch, bytes_of_warm, rewrite, write};
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
        let (frozen, warm) = {
            let mut core = self.open_core()?;
            if core.tail.active().id != core.ids.owner.segment {
                core.turn_ids();
            }
            let end = core.tail.end();
            if core.ids.frozen.is_empty() && core.ids.wants_flush() {
                core.ids.freeze(end.position(), end);
            }
            match core.ids.frozen.front() {
                Some(frozen) => (frozen.clone(), core.ids.may_be_warm(frozen.delta.len() as u64)),
                None => return Ok(false),
            }
        };
        // Nothing may be remembered on disk that can still be lost in the journal.
        self.drive(frozen.end, Durability::Disk, None)?;
        let rows = frozen.delta.sorted();
        let storage = &*self.environment.storage;
        match write(storage, frozen.plan(warm), rows.map(Ok)) {
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
        let known = runs.all().iter().find(|known| known.place() == run.place()).cloned();
        let run = match known {
            Some(known) => run.after(&known),
            None if frozen.is_some() => run,
            None => {
                core.ids.going.entry(run.place().last).or_default().push(run.name());
                return;
            }
        };
        let others = runs.with(run);
        core.put_runs(&mut runs, others);
        core.runs_changed(frozen.map(|frozen| &**frozen), runs.generation);
        if frozen.is_some() {
            core.ids.frozen.pop_front();
            core.ids.failed = None;
        }
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
                .fold(0, u64::saturating_add);
            if over.saturating_mul(2) < run.rows {
                continue;
            }
            let keep = |key: &PublishedKey, row: &crate::tables::Published| {
                holds(&windows, key.topic, row.offset, row.time, now)
            };
            let stays = |share: &Share| holds(&windows, share.topic, share.last, share.latest, now);
            let expected = run.rows.saturating_sub(over);
            let warm = self.core.lock().ids.may_be_warm(expected);
            match rewrite(&*self.environment.storage, run, (expected, warm), stays, keep) {
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
            let mut filled = runs.all().iter().filter(|run| run.rows > 0);
            let Some(oldest) = filled.next().filter(|_| !within) else { return Ok(()) };
            let forgotten = self.forget_oldest(oldest)?;
            tracing::warn!(ids = forgotten, "the oldest ids are forgotten before their window ends: `id_budget`");
            self.core.lock().ids.counts.forgotten += forgotten;
        }
    }

    /// Forgets what came with the first segment of a run. How many ids that were.
    fn forget_oldest(&self, run: &Arc<Run>) -> Result<u64> {
        let several = run.stretches().count() > 1;
        let first = run.shares.iter().map(|share| share.segment).min().filter(|_| several);
        let of_first = run.shares.iter().filter(|share| Some(share.segment) == first);
        // By offset, since of a row it is not known with which segment it came.
        let upto: BTreeMap<TopicId, Offset> = of_first.map(|share| (share.topic, share.last)).collect();
        let keep = |key: &PublishedKey, row: &crate::tables::Published| {
            first.is_some() && upto.get(&key.topic).is_none_or(|upto| row.offset > *upto)
        };
        let stays = |share: &Share| first.is_some_and(|first| share.segment != first);
        let expected =
            run.shares.iter().filter(|share| stays(share)).map(|share| share.rows).fold(0, u64::saturating_add);
        let warm = self.core.lock().ids.may_be_warm(expected);
        let left = rewrite(&*self.environment.storage, run, (expected, warm), stays, keep)
            .map_err(|source| Error::io("forgetting the oldest ids", source))?;
        let forgotten = run.rows.saturating_sub(left.rows);
        self.put_run(left, None);
        Ok(forgotten)
    }
}

impl Frozen {
    fn plan(&self, warm: bool) -> Plan {
        let Owner { store, segment, salt } = self.owner;
        Plan::of_stretch(store, Stretch { segment, salt, range: self.range }, self.delta.len(), warm)
    }
}

impl Ids {
    /// What runs may take of the memory for ids.
    pub(super) const fn limit_of_runs(&self) -> usize {
        self.limit / 2
    }

    /// Whether one more run of so many rows fits into memory.
    pub(super) fn may_be_warm(&self, rows: u64) -> bool {
        self.runs.memory.saturating_add(bytes_of_warm(rows)) <= self.limit_of_runs()
    }
}

impl Core {
    /// Other runs take the place of those that there are; of what does not fit into memory together, the largest become
    /// cold.
    pub(super) fn put_runs(&mut self, runs: &mut Arc<Runs>, mut others: Runs) {
        while let Some(cold) = others.to_cool(self.ids.limit_of_runs()) {
            others = others.instead(&[], vec![cold]);
        }
        *runs = Arc::new(others);
        self.ids.runs = Taken::of(runs);
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
