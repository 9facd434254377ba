//! The durable half of a group: what it is done with, what it remembers of the rest, and what it has given up on.
//!
//! An offset is settled, dead, remembered (in the history), or none of these: fresh. Never two of them: whatever moves
//! an offset from one to another does so here. The volatile half is told of every change.

use super::lease::{Hands, first_in};
use super::offsets::OffsetSet;
use super::order::Order;
use super::past;
use super::settled::Settled;
use crate::config::GroupPolicy;
use crate::event::{self, Bury, BuryReason, Counters, CreateGroup, Nack, Patch, Release, Run, Settle};
use crate::types::{GroupId, Lsn, Offset, Timestamp, TopicId};
use std::collections::BTreeMap;

pub(crate) use super::past::{ByCause, DeadLetter, History};

/// One event never names more messages than this one by one. No engine comes near it: it keeps an event that claims
/// 2^64 deliveries from taking all memory.
const MOST_NAMED: u64 = 1 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Up to where the part it was restored from is applied; zero if it was not restored.
    pub(super) applied: Lsn,
    pub(super) id: GroupId,
    pub(super) topic: TopicId,
    pub(super) name: Box<str>,
    pub(super) created: Timestamp,
    pub(super) start: Offset,
    pub(super) settings: Patch,
    /// Follows from the settings.
    pub(super) policy: GroupPolicy,
    pub(super) settled: Settled,
    pub(super) history: BTreeMap<Offset, History>,
    pub(super) dead: BTreeMap<Offset, DeadLetter>,
    /// In somebody's hands, or recorded as if: neither settled nor dead.
    pub(super) handed: OffsetSet,
    /// The message that the last `Delivered` named, if it named no other: only such a one is known to have been in
    /// somebody's hands, the others may have been named ahead.
    pub(super) lone: Option<Offset>,
    pub(super) paused_until: Timestamp,
    /// Settled without having been handed out.
    pub(super) passed: ByCause,
    /// The volatile half.
    pub(super) hands: Hands,
    /// Likewise, of an ordered group; and how many there were.
    pub(super) order: Option<Box<Order>>,
    pub(super) orders: u64,
}

impl Group {
    pub(super) fn new(event: &CreateGroup<'_>) -> Self {
        let mut group = Self {
            applied: Lsn::ZERO,
            id: event.group,
            topic: event.topic,
            name: event.name.as_ref().into(),
            created: event.time,
            start: event.start,
            settings: Patch::new(),
            policy: GroupPolicy::default(),
            settled: Settled::at(event.start),
            history: BTreeMap::new(),
            dead: BTreeMap::new(),
            handed: OffsetSet::default(),
            lone: None,
            paused_until: Timestamp::ZERO,
            passed: ByCause::default(),
            hands: Hands::new(event.start, &BTreeMap::new()),
            order: None,
            orders: 0,
        };
        group.configure(&event.settings);
        group
    }

    pub(super) fn configure(&mut self, patch: &Patch) {
        event::merge(&mut self.settings, patch);
        let ordered = self.policy.ordered;
        self.policy = event::patch_group_policy(std::mem::take(&mut self.policy), patch);
        if self.policy.ordered != ordered {
            self.reorder();
        }
    }

    /// The messages are done with; says how many were not before.
    pub(super) fn settle(&mut self, runs: &[Run]) -> u64 {
        let mut newly = 0_u64;
        for run in runs {
            newly = newly.saturating_add(self.settled.settle(*run));
            while let Some(offset) = first_in(&self.history, *run) {
                self.forget_past(offset);
            }
            while let Some(offset) = first_in(&self.dead, *run) {
                self.dead.remove(&offset);
            }
            self.handed.remove_run(*run);
            self.leave_line(*run);
            self.hands.settle(*run);
        }
        newly
    }

    pub(super) fn pass(&mut self, event: &Settle<'_>) {
        let newly = self.settle(&event.runs);
        self.passed.add(event.cause, newly);
    }

    pub(super) fn nack(&mut self, event: &Nack<'_>) {
        if !self.is_open(event.offset) {
            return;
        }
        self.handed.remove(event.offset);
        self.end_hold(event.offset);
        self.edit(event.offset, |past| {
            past.counters = event.counters;
            past.due = event.due;
            past.add_error(event.time, &event.error);
        });
    }

    pub(super) fn release(&mut self, event: &Release<'_>) {
        let mut named = 0;
        for run in event.runs.iter().map(|run| bounded(*run, &mut named)) {
            let every = event.due != Timestamp::ZERO || event.counters.is_some();
            for offset in if every { offsets(run).collect() } else { self.touched(run) } {
                self.release_one(offset, event);
            }
            // A lease that was never recorded leaves nothing behind: the message is as fresh as it was.
            while let Some(offset) = self.hands.leases.next(run.first).filter(|offset| *offset < run.end()) {
                self.end_hold(offset);
                self.return_to_line(offset);
            }
        }
    }

    fn release_one(&mut self, offset: Offset, event: &Release<'_>) {
        if !self.is_open(offset) {
            return;
        }
        let was_handed = self.handed.remove(offset);
        let fresh = !self.history.contains_key(&offset);
        self.end_hold(offset);
        self.edit(offset, |past| {
            if fresh {
                past.counters.leases = u32::from(was_handed);
            }
            past.counters = event.counters.unwrap_or(past.counters);
            past.due = event.due;
        });
    }

    /// The offsets of `run` that were handed out or have a past.
    fn touched(&self, run: Run) -> Vec<Offset> {
        if run.count == 1 {
            let touched = self.handed.contains(run.first) || self.history.contains_key(&run.first);
            return if touched { vec![run.first] } else { Vec::new() };
        }
        let mut touched: Vec<Offset> = self.handed.runs_in(run).flat_map(offsets).collect();
        touched.extend(self.history.range(run.first..run.end()).map(|(offset, _)| *offset));
        touched.sort_unstable();
        touched.dedup();
        touched
    }

    pub(super) fn bury(&mut self, event: &Bury<'_>) {
        if !self.is_open(event.offset) {
            return;
        }
        self.handed.remove(event.offset);
        self.end_hold(event.offset);
        self.hands.back.remove(event.offset);
        let past = self.forget_past(event.offset).unwrap_or_default();
        let life = event.life.max(past.life);
        let mut errors = past.into_errors();
        past::push(&mut errors, event.time, &event.error);
        let (reason, counters, time) = (event.reason, event.counters, event.time);
        self.dead.insert(event.offset, DeadLetter { reason, counters, life, time, errors: errors.into() });
        self.move_dead(event.offset, true);
    }

    pub(super) fn redrive(&mut self, runs: &[Run]) {
        for run in runs {
            while let Some(offset) = first_in(&self.dead, *run) {
                if let Some(letter) = self.dead.remove(&offset) {
                    let past = History::of_redriven(letter);
                    self.hands.index(offset, &past);
                    self.history.insert(offset, past);
                    self.move_dead(offset, false);
                }
            }
        }
    }

    pub(super) fn delivered(&mut self, runs: &[Run]) {
        self.lone = match runs {
            [Run { first, count: 1 }] => Some(*first),
            _ => None,
        };
        let mut named = 0;
        for run in runs.iter().map(|run| bounded(*run, &mut named)) {
            for (offset, past) in self.history.range_mut(run.first..run.end()) {
                if !self.handed.contains(*offset) {
                    past.counters.leases = past.counters.leases.saturating_add(1);
                }
            }
            let mut at = self.settled.next_unsettled(run.first);
            while at < run.end() {
                let end = self.settled.next_settled(at).unwrap_or(run.end()).min(run.end());
                self.handed.insert_run(Run { first: at, count: end.since(at) });
                at = self.settled.next_unsettled(end);
            }
            for (offset, _) in self.dead.range(run.first..run.end()) {
                self.handed.remove(*offset);
            }
        }
    }

    /// Nobody had these: if the process dies now, it was not by them.
    pub(super) fn unseen(&mut self, runs: &[Run]) {
        runs.iter().for_each(|run| _ = self.handed.remove_run(*run));
    }

    /// Everything before `to` is settled, but for dead letters, which stay; everything from there on is fresh.
    pub(super) fn seek(&mut self, to: Offset) {
        drop(self.dead.split_off(&to));
        self.settled = Settled::at(to);
        for offset in self.dead.keys().rev() {
            self.settled.reopen(*offset);
        }
        self.history.clear();
        self.handed.clear();
        self.hands = Hands::new(to, &self.history);
        self.reorder();
    }

    /// Changes what is remembered of a message that is not in flight any more: with that, it is no suspect.
    fn edit(&mut self, offset: Offset, change: impl FnOnce(&mut History)) {
        let past = self.history.entry(offset).or_default();
        self.hands.unindex(offset, past);
        self.order.iter_mut().for_each(|order| _ = order.due.remove(&(past.due, offset)));
        change(past);
        past.suspicion = super::suspects::Suspicion::Clear;
        self.hands.index(offset, past);
        self.hands.back.remove(offset);
        self.offer_at(offset);
    }

    fn forget_past(&mut self, offset: Offset) -> Option<History> {
        let past = self.history.remove(&offset)?;
        self.hands.unindex(offset, &past);
        self.order.iter_mut().for_each(|order| _ = order.due.remove(&(past.due, offset)));
        Some(past)
    }

    /// Neither settled nor dead.
    pub(crate) fn is_open(&self, offset: Offset) -> bool {
        !self.settled.contains(offset) && !self.dead.contains_key(&offset)
    }

    pub(crate) const fn id(&self) -> GroupId {
        self.id
    }

    pub(crate) const fn topic(&self) -> TopicId {
        self.topic
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn created(&self) -> Timestamp {
        self.created
    }

    /// Where the group began when it was created.
    pub(crate) const fn start(&self) -> Offset {
        self.start
    }

    /// Every setting that was ever given, unknown ones included.
    pub(crate) const fn settings(&self) -> &Patch {
        &self.settings
    }

    pub(crate) const fn policy(&self) -> &GroupPolicy {
        &self.policy
    }

    pub(crate) const fn settled(&self) -> &Settled {
        &self.settled
    }

    /// What is remembered of a message that is neither settled nor dead.
    pub(crate) fn past(&self, offset: Offset) -> Option<&History> {
        self.history.get(&offset)
    }

    /// Every message with a past that is neither settled nor dead, in the order of offsets.
    pub(crate) const fn history(&self) -> &BTreeMap<Offset, History> {
        &self.history
    }

    /// The dead letters, in the order of offsets.
    pub(crate) const fn dead(&self) -> &BTreeMap<Offset, DeadLetter> {
        &self.dead
    }

    /// How many messages were settled without having been handed out, by cause.
    pub(crate) const fn passed(&self) -> &ByCause {
        &self.passed
    }

    /// Until when nothing is handed out; zero if the group was not paused.
    pub(crate) const fn paused_until(&self) -> Timestamp {
        self.paused_until
    }

    pub(crate) fn is_paused(&self, now: Timestamp) -> bool {
        now < self.paused_until
    }

    /// How often a message was redriven.
    pub(crate) fn life(&self, offset: Offset) -> u32 {
        let remembered = self.history.get(&offset).map(|past| past.life);
        remembered.or_else(|| Some(self.dead.get(&offset)?.life)).unwrap_or(0)
    }

    /// Out of a message's totals, what happened in its present life: what limits and backoff go by.
    pub(crate) fn in_this_life(&self, offset: Offset, totals: Counters) -> Counters {
        self.history.get(&offset).map_or(totals, |past| past.in_this_life(totals))
    }

    /// The limit that a message with these totals has reached, if any.
    pub(crate) fn limit_reached(&self, offset: Offset, totals: Counters) -> Option<BuryReason> {
        let counters = self.in_this_life(offset, totals);
        let limits = [
            (counters.failures, self.policy.retry.attempts, BuryReason::Failures),
            (counters.timeouts, self.policy.max_timeouts, BuryReason::Timeouts),
            (counters.crashes, self.policy.max_crashes, BuryReason::Crashes),
        ];
        // A limit of zero means one: nothing is parked that nothing happened to.
        limits.into_iter().find(|(count, limit, _)| count >= limit.max(&1)).map(|(_, _, reason)| reason)
    }

    /// The messages that reached a limit and are not leased: after an opening, or when the policy was changed. Looks at
    /// `most` messages with a past from `from` on; and says where to go on, if there may be more.
    pub(crate) fn over_limits_from(&self, from: Offset, most: usize) -> (Vec<(Offset, BuryReason)>, Option<Offset>) {
        let seen = || self.history.range(from..).take(most);
        let waiting = seen().filter(|(offset, _)| !self.hands.leases.contains(**offset));
        let over =
            waiting.filter_map(|(offset, past)| Some((*offset, self.limit_reached(*offset, past.counters)?))).collect();
        (over, seen().nth(most.saturating_sub(1)).map(|(offset, _)| offset.next()))
    }

    #[cfg(test)]
    pub(super) fn over_limits(&self) -> Vec<(Offset, BuryReason)> {
        self.over_limits_from(Offset::ZERO, usize::MAX).0
    }
}

/// As much of `run` as an event may still name after `named` others.
fn bounded(run: Run, named: &mut u64) -> Run {
    let count = run.count.min(MOST_NAMED - *named);
    *named += count;
    Run { first: run.first, count }
}

fn offsets(run: Run) -> impl Iterator<Item = Offset> {
    (run.first.0..run.end().0).map(Offset)
}
