//! Runs of neighbouring segments become one, a piece at a time; and what is in memory of runs, as far as there is room.
//!
//! Nothing that is answered changes by it. The new run is durable, under a name of its own, before the files of the
//! others go; a crash in between leaves both, and opening takes the one that covers more.

use super::flush::{Windows, holds};
use super::{Ids, START};
use crate::config::WhenFull;
use crate::engine::{Core, Engine};
use crate::error::Result;
use crate::tables::{FAN, Failure, Merge, Plan, Range, Run, Share, Stretch, rows_for, to_merge};
use crate::types::{SegmentId, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Rows that are taken over in one step.
const PIECE: usize = 1 << 15;

/// Of the memory for ids, so small a part may be taken by where the blocks of a run begin while it is written.
const FIRSTS: usize = 8;

/// Where the oldest ids are forgotten to keep to a budget, no run has more than such a part of it.
const BUDGET: u64 = 8;

/// The pause after one could not be written.
const PAUSE: Duration = Duration::from_secs(60);

/// Whoever makes one run of several.
#[derive(Debug, Default)]
pub(in crate::engine) struct Merging {
    current: Option<(Merge, Windows, Timestamp)>,
    /// Not before.
    after: Timestamp,
}

/// Neighbours that one run may be made of: all of one segment, or one that has several.
type Unit = Vec<Arc<Run>>;

impl Engine {
    /// Goes on with it, or begins with the next ones. Whether there is more to do.
    pub(in crate::engine) fn merge_ids(&self) -> Result<bool> {
        let mut merging = self.merging.lock();
        let now = self.age_now();
        if merging.current.is_none() {
            if now < merging.after {
                return Ok(false);
            }
            let Some((units, windows)) = self.next_units()? else { return self.warm_a_run(&mut merging) };
            match self.begin_merge(&units) {
                Ok(merge) => merging.current = Some((merge, windows, now)),
                Err(failure) => return self.merge_failed(&mut merging, failure),
            }
        }
        let Some((mut merge, windows, began)) = merging.current.take() else { return Ok(false) };
        let storage = &*self.environment.storage;
        // What has left its window need not be taken along.
        let more = merge.step(PIECE, |key, row| holds(&windows, key.topic, row.offset, row.time, began));
        match more {
            Ok(true) => merging.current = Some((merge, windows, began)),
            Ok(false) => {
                let inputs = merge.inputs().to_vec();
                match merge.finish(storage) {
                    Ok(run) => _ = self.replace_runs(&inputs, vec![run]),
                    Err(error) => return self.merge_failed(&mut merging, (None, error)),
                }
            }
            Err(failure) => {
                merge.give_up(storage);
                return self.merge_failed(&mut merging, failure);
            }
        }
        Ok(true)
    }

    fn merge_failed(&self, merging: &mut Merging, (run, error): Failure) -> Result<bool> {
        let Some(run) = run else {
            // There are only more of them to be asked meanwhile.
            tracing::warn!(%error, "runs of published ids can't be made into one for now");
            merging.after = self.age_now().plus(PAUSE);
            return Ok(false);
        };
        self.mend_in_time(merging, &run, &error).map(|()| false)
    }

    /// Mends a run that could not be read. What fails for now, as on a full disk, is not tried again each time.
    fn mend_in_time(&self, merging: &mut Merging, run: &Arc<Run>, error: &std::io::Error) -> Result<()> {
        self.mend_run(run, error).inspect_err(|_| merging.after = self.age_now().plus(PAUSE))
    }

    fn begin_merge(&self, units: &[Unit]) -> std::result::Result<Merge, Failure> {
        let inputs: Vec<Arc<Run>> = units.iter().flatten().cloned().collect();
        let expected = inputs.iter().map(|run| run.rows).fold(0, u64::saturating_add);
        let mut stretches: Vec<Stretch> = inputs.iter().flat_map(|run| run.stretches()).copied().collect();
        let whole = Range { from: START, to: Range::END };
        stretches.iter_mut().for_each(|stretch| stretch.range = whole);
        stretches.dedup();
        let mut shares: Vec<Share> = inputs.iter().flat_map(|run| &run.shares).copied().collect();
        shares.sort_unstable_by_key(|share| (share.segment, share.topic));
        shares.dedup_by(|other, share| {
            let same = (share.segment, share.topic) == (other.segment, other.topic);
            if same {
                share.rows = share.rows.saturating_add(other.rows);
                (share.latest, share.last) = (share.latest.max(other.latest), share.last.max(other.last));
            }
            same
        });
        let plan = Plan {
            store: self.identity.store,
            stretches,
            edition: inputs.iter().map(|run| run.edition).max().unwrap_or(0).wrapping_add(1),
            expected,
            shares: Some(shares),
            warm: self.core.lock().ids.may_be_warm(expected),
        };
        Merge::begin(&*self.environment.storage, inputs, plan)
    }

    /// What is to be made into one, if anything is.
    fn next_units(&self) -> Result<Option<(Vec<Unit>, Windows)>> {
        let runs = self.runs.lock().clone();
        if runs.all().len() < FAN {
            return Ok(None);
        }
        let core = self.open_core()?;
        let ready = core.segments_in_runs();
        let mut units: Vec<Unit> = Vec::new();
        for run in runs.all().iter().take_while(|run| ready(run.place().last)) {
            let segment = run.place().first;
            match units.last_mut().filter(|unit| unit.last().is_some_and(|last| last.place().last == segment)) {
                Some(unit) => unit.push(run.clone()),
                None => units.push(vec![run.clone()]),
            }
        }
        // Of one segment there are that many where little memory is for ids.
        if let Some(unit) = units.iter().find(|unit| unit.len() >= FAN) {
            return Ok(Some((vec![unit.clone()], core.windows_of_ids())));
        }
        let budget = self.options.id_budget;
        let most = match budget.when_full {
            WhenFull::ForgetOldest => budget.ids.min(budget.bytes / 56) / BUDGET,
            WhenFull::Refuse => u64::MAX,
        };
        let most = most.min(core.ids.most_rows());
        let rows = |unit: &Unit| unit.iter().map(|run| run.rows).fold(0, u64::saturating_add);
        let rows: Vec<u64> = units.iter().map(rows).collect();
        let Some(which) = to_merge(&rows, most) else { return Ok(None) };
        Ok(Some((units.get(which).unwrap_or_default().to_vec(), core.windows_of_ids())))
    }

    /// What is to be in memory of a run is read, if there is room for it. Whether there may be more to do.
    fn warm_a_run(&self, merging: &mut Merging) -> Result<bool> {
        let limit = self.options.id_memory_bytes / 2;
        let Some(cold) = self.runs.lock().to_warm(limit) else { return Ok(false) };
        match cold.warm(&*self.environment.storage) {
            Ok(warm) => Ok(self.put_warm(warm)),
            Err(error) => self.mend_in_time(merging, &cold, &error).map(|()| true),
        }
    }

    /// Puts in what was read of a run. Whether there still was room for it.
    fn put_warm(&self, warm: Run) -> bool {
        let mut core = self.core.lock();
        let mut runs = self.runs.lock();
        let known = runs.all().iter().find(|known| known.is(&warm)).cloned();
        let fits = core.ids.runs.memory.saturating_add(warm.index_bytes()) <= core.ids.limit_of_runs();
        let Some(known) = known.filter(|known| !known.is_warm() && fits) else { return false };
        let others = runs.instead(&[], vec![warm.after(&known)]);
        core.put_runs(&mut runs, others);
        true
    }
}

impl Ids {
    /// Rows of the largest run that is made of others.
    fn most_rows(&self) -> u64 {
        rows_for(self.limit / FIRSTS)
    }
}

impl Core {
    /// Which segments have all of their ids in runs: those before any that has not.
    fn segments_in_runs(&self) -> impl Fn(SegmentId) -> bool + use<> {
        let waiting = self.ids.frozen.iter().map(|frozen| frozen.owner.segment);
        let first = waiting.chain([self.ids.owner.segment, self.tail.active().id]).min();
        move |segment| first.is_some_and(|first| segment < first)
    }
}
