//! The volatile half of a group: who holds what until when, and what comes next.
//!
//! Nothing here is ever stored. It is rebuilt from the durable half when the store is opened, where everything that
//! was held counts as given back; the indexes over the past of messages follow every change of it.
//!
//! An offset above the floor is in exactly one of these places:
//!
//! * settled, or a dead letter: not ours to hand out;
//! * leased;
//! * in the group's history and not leased: in `due`;
//! * otherwise fresh: at or past the `cursor`, or in `back`.

use super::deadlines::Deadlines;
use super::group::{Group, History};
use super::leases::Leases;
use super::offsets::OffsetSet;
use crate::event::{Counters, Run};
use crate::types::{Offset, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A message in somebody's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) epoch: u64,
    pub(crate) deadline: Timestamp,
    pub(crate) granted: Timestamp,
}

/// A message to hand out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) offset: Offset,
    /// As they stand before this hand-out.
    pub(crate) counters: Counters,
    /// It may have brought a process down: it runs alone.
    pub(crate) suspect: bool,
    /// It is of one run with the pick before it: they have one holder.
    pub(crate) follows: bool,
}

/// What a lease is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It runs.
    Held,
    /// It ended, but nobody else was given the message and it is not settled: settling still works.
    Late,
    /// Somebody else was given the message, or it is settled.
    Lost,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Hands {
    /// The next offset that was never handed out in this opening.
    pub(super) cursor: Offset,
    /// Fresh offsets before the cursor: passed over, or put back without a word.
    pub(super) back: OffsetSet,
    pub(super) leases: Leases,
    pub(super) deadlines: Deadlines,
    /// Leases that ended without settling the message and were not replaced.
    pub(super) ended: BTreeMap<Offset, Lease>,
    /// The history of what is neither leased nor dead, by when it is due.
    pub(super) due: BTreeSet<(Timestamp, Offset)>,
    /// In a topic with priorities: up to where each level was gone through.
    pub(super) passed: super::priority::Passed,
    /// The suspects, leased or not.
    pub(super) suspects: BTreeSet<Offset>,
}

impl Hands {
    /// What an opening finds: nothing leased, everything with a past waiting for its time.
    pub(super) fn new(floor: Offset, history: &BTreeMap<Offset, History>) -> Self {
        let mut hands = Self { cursor: floor, ..Self::default() };
        for (offset, past) in history {
            hands.index(*offset, past);
        }
        hands
    }

    /// Takes note of a history entry that is new or was changed.
    pub(super) fn index(&mut self, offset: Offset, past: &History) {
        if !self.leases.contains(offset) {
            self.due.insert((past.due, offset));
        }
        if past.suspicion.is_suspect() {
            self.suspects.insert(offset);
        }
    }

    /// Forgets a history entry that is going or about to change.
    pub(super) fn unindex(&mut self, offset: Offset, past: &History) {
        self.due.remove(&(past.due, offset));
        if past.suspicion.is_suspect() {
            self.suspects.remove(&offset);
        }
    }

    /// The messages are settled: nothing of them is left here.
    pub(super) fn settle(&mut self, run: Run) {
        self.leases.remove_run(run);
        while let Some(offset) = first_in(&self.ended, run) {
            self.ended.remove(&offset);
        }
        self.back.remove_run(run);
    }

    /// Takes a lease away.
    fn take(&mut self, offset: Offset) -> Option<Lease> {
        self.leases.remove(offset)
    }

    /// Leases a run; `lease` is that of its first message, and the others' epochs follow it.
    fn put(&mut self, run: Run, lease: Lease) {
        self.leases.insert_run(run, lease);
        self.deadlines.insert(lease.deadline, run, &self.leases);
        while let Some(offset) = first_in(&self.ended, run) {
            self.ended.remove(&offset);
        }
        self.back.remove_run(run);
    }

    /// A lease ends, and its holder may still come late. The caller indexes the message again.
    pub(super) fn end(&mut self, offset: Offset) -> bool {
        let Some(lease) = self.take(offset) else { return false };
        self.ended.insert(offset, lease);
        true
    }
}

/// The first key of `map` inside `run`.
pub(super) fn first_in<V>(map: &BTreeMap<Offset, V>, run: Run) -> Option<Offset> {
    if map.is_empty() || run.first >= run.end() {
        return None;
    }
    map.range(run.first..run.end()).next().map(|(offset, _)| *offset)
}

impl Group {
    /// Leases a message, which is expected to come from [`Group::pick`]. One that is settled or dead is not leased.
    pub(super) fn grant(&mut self, offset: Offset, lease: Lease, waiting: &OffsetSet) {
        if !self.is_open(offset) {
            return;
        }
        match self.history.get(&offset) {
            Some(past) => {
                self.hands.due.remove(&(past.due, offset));
                self.order.iter_mut().for_each(|order| _ = order.due.remove(&(past.due, offset)));
            }
            None if offset >= self.hands.cursor => {
                self.put_back_fresh(offset, waiting);
                self.hands.cursor = offset.next();
            }
            None => {}
        }
        self.hold(offset, lease);
    }

    /// Leases the run that [`Group::next_run`] gave.
    pub(super) fn grant_run(&mut self, run: Run, lease: Lease) {
        self.hands.cursor = run.end();
        self.hands.put(run, lease);
    }

    fn hold(&mut self, offset: Offset, lease: Lease) {
        if let Some(order) = self.order.as_mut().filter(|_| !self.hands.leases.contains(offset)) {
            order.hold(offset, lease.epoch);
        }
        self.hands.put(Run::one(offset), lease);
    }

    /// A lease ends, and its holder may still come late. The caller says what becomes of the message.
    pub(super) fn end_hold(&mut self, offset: Offset) {
        if self.hands.end(offset)
            && let Some(order) = &mut self.order
        {
            order.free(offset);
        }
    }

    /// Keeps in mind what is fresh between the cursor and `until`, which the cursor is about to pass.
    fn put_back_fresh(&mut self, until: Offset, waiting: &OffsetSet) {
        let mut at = self.first_fresh(self.hands.cursor, until, waiting);
        while at < until {
            let end = self.fresh_end(at, until, waiting);
            self.hands.back.insert_run(Run { first: at, count: end.since(at) });
            at = self.first_fresh(end, until, waiting);
        }
    }

    /// What the lease of `offset` with this epoch is worth.
    pub(crate) fn check(&self, offset: Offset, epoch: u64) -> Hold {
        let is = |lease: &&Lease| lease.epoch == epoch;
        if self.hands.leases.get(offset).as_ref().filter(is).is_some() {
            Hold::Held
        } else if self.hands.ended.get(&offset).filter(is).is_some() {
            Hold::Late
        } else {
            Hold::Lost
        }
    }

    /// The lease of a message, if it is leased.
    pub(crate) fn lease(&self, offset: Offset) -> Option<Lease> {
        self.hands.leases.get(offset)
    }

    /// When the lease of `offset` with this epoch was given, if it is not lost.
    pub(crate) fn granted(&self, offset: Offset, epoch: u64) -> Option<Timestamp> {
        let lease = self.hands.leases.get(offset).or_else(|| self.hands.ended.get(&offset).copied());
        lease.filter(|lease| lease.epoch == epoch).map(|lease| lease.granted)
    }

    /// Moves the deadline of a lease. One that ended late runs again, if the message is not dead: it has then to be
    /// recorded as handed out again (see [`Group::needs_record`]). Says whether the lease runs.
    pub(crate) fn extend(&mut self, offset: Offset, epoch: u64, deadline: Timestamp) -> bool {
        let held = match self.check(offset, epoch) {
            Hold::Held => self.hands.leases.get(offset),
            Hold::Late if self.is_open(offset) && self.may_resume(offset, epoch) => {
                self.hands.ended.get(&offset).copied()
            }
            Hold::Late | Hold::Lost => None,
        };
        let Some(lease) = held else { return false };
        if let Some(past) = self.history.get(&offset) {
            self.hands.due.remove(&(past.due, offset));
            self.order.iter_mut().for_each(|order| _ = order.due.remove(&(past.due, offset)));
        }
        self.hold(offset, Lease { deadline, ..lease });
        true
    }

    /// Takes a lease back that nobody has seen: as if it had never been granted. Says whether there was one.
    pub(crate) fn forget_lease(&mut self, offset: Offset, epoch: u64) -> bool {
        if self.check(offset, epoch) != Hold::Held || self.hands.take(offset).is_none() {
            return false;
        }
        self.order.iter_mut().for_each(|order| order.free(offset));
        self.return_to_line(offset);
        true
    }

    /// A message that is not leased any more waits again.
    pub(super) fn return_to_line(&mut self, offset: Offset) {
        match self.history.get(&offset) {
            Some(past) => self.hands.index(offset, past),
            None => {
                self.hands.back.insert(offset);
                self.hands.passed.came_back(offset);
            }
        }
        self.offer_at(offset);
    }

    /// The counters of a message as they stand, the hand-out that is under way included.
    pub(crate) fn counters(&self, offset: Offset) -> Counters {
        let fresh = || Counters { leases: u32::from(self.hands.leases.contains(offset)), ..Counters::default() };
        self.history
            .get(&offset)
            .map(|past| past.counters)
            .or_else(|| Some(self.dead.get(&offset)?.counters))
            .unwrap_or_else(fresh)
    }

    /// The leases that ran out, the oldest first.
    pub(crate) fn expired(&self, now: Timestamp, max: usize) -> Vec<(Offset, u64)> {
        let over = self.hands.deadlines.until(now, &self.hands.leases);
        over.into_iter().take(max).map(|(_, offset, epoch)| (offset, epoch)).collect()
    }

    /// The earliest moment after `now`, or the oldest deadline, at which something changes by itself.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let due =
            self.hands.due.range((Timestamp(now.0.saturating_add(1)), Offset::ZERO)..).next().map(|(due, _)| *due);
        let deadline = self.hands.deadlines.first(&self.hands.leases);
        let resumed = Some(self.paused_until).filter(|until| *until > now);
        // The end of time never comes.
        [due, deadline, resumed].into_iter().flatten().filter(|time| *time != Timestamp(u64::MAX)).min()
    }

    /// The first message from `from` on whose hand-out has to be recorded before it happens.
    pub(crate) fn first_unnamed(&self, from: Offset) -> Offset {
        self.handed.next_absent(from)
    }

    /// Whether a hand-out of this message has to be recorded before it happens.
    pub(crate) fn needs_record(&self, offset: Offset) -> bool {
        !self.handed.contains(offset)
    }

    /// The end of the run from `from` on of which nothing was handed out, is settled or has a past, and nothing waits
    /// for its time; at most `limit`.
    pub(crate) fn untouched_end(&self, from: Offset, limit: Offset, waiting: &OffsetSet) -> Offset {
        let taken = [
            waiting.next_present(from),
            self.settled.next_settled(from),
            self.history.range(from..).next().map(|(offset, _)| *offset),
            self.handed.next_present(from),
        ];
        taken.into_iter().flatten().fold(limit, Offset::min).max(from)
    }

    /// How many messages are leased.
    pub(crate) fn leased(&self) -> usize {
        self.hands.leases.len()
    }

    /// Every lease, in the order of offsets.
    pub(crate) fn leases(&self) -> impl Iterator<Item = (Offset, Lease)> {
        self.hands.leases.iter()
    }
}
