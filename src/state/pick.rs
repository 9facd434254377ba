//! What a group hands out next: suspects alone, then retries that are due, then fresh messages in their order. What
//! waits for its time in the topic's schedule is none of them.

use super::group::Group;
use super::lease::Pick;
use super::offsets::OffsetSet;
use super::priority::Levels;
use crate::event::{Counters, Run};
use crate::types::{Offset, Timestamp};

impl Group {
    /// Up to `max` messages to hand out now, none of them at or past `visible_end`. Nothing is leased by this; what
    /// is granted afterwards should be granted in this order.
    ///
    /// While there is a suspect, it is the only answer there can be, and only while nothing at all is leased.
    ///
    /// An ordered group has rules of its own, see `pick_ordered`; only there `runs` has a meaning.
    pub(super) fn pick(
        &mut self,
        now: Timestamp,
        visible_end: Offset,
        waiting: &OffsetSet,
        levels: &Levels,
        max: usize,
        runs: bool,
    ) -> Vec<Pick> {
        if self.is_paused(now) || max == 0 {
            return Vec::new();
        }
        if self.is_ordered() {
            return self.pick_in_order(now, visible_end, (waiting, levels), max, runs);
        }
        // Only damage to the journal can leave a suspect that is not there any more: it holds up nobody. Nor does one
        // that waits again since the clock was set back.
        let holds_up = |offset: &Offset| *offset < visible_end && !waiting.contains(*offset);
        if self.hands.suspects.iter().any(holds_up) {
            return self.pick_suspect(now, visible_end, waiting).into_iter().collect();
        }
        let mut picks = Vec::new();
        let due = self.hands.due.range(..=(now, Offset(u64::MAX))).map(|(_, offset)| *offset);
        // A deliver-at that was handed out before the clock was set back waits like any other.
        let ready = |offset: &Offset| *offset < visible_end && !waiting.contains(*offset);
        picks.extend(due.filter(ready).take(max).map(|offset| self.picked(offset)));
        if picks.len() < max && self.retries_are_many(now) {
            return picks;
        }
        if levels.is_empty() {
            self.pick_in_offset_order(visible_end, waiting, max, &mut picks);
        } else {
            self.pick_by_level(levels, visible_end, waiting, max, &mut picks);
        }
        picks
    }

    /// Fresh messages before `end`, the oldest first.
    pub(super) fn pick_in_offset_order(&mut self, end: Offset, waiting: &OffsetSet, max: usize, picks: &mut Vec<Pick>) {
        if !self.hands.back.is_empty() {
            let before = Run { first: Offset::ZERO, count: end.0 };
            let back = self.hands.back.runs_in(before).flat_map(|run| (run.first.0..run.end().0).map(Offset));
            let back = back.filter(|offset| !waiting.contains(*offset)).take(max.saturating_sub(picks.len()));
            picks.extend(back.map(|offset| self.picked(offset)));
        }
        if picks.len() < max {
            self.pick_fresh(end, waiting, max, picks);
        }
    }

    fn pick_suspect(&self, now: Timestamp, visible_end: Offset, waiting: &OffsetSet) -> Option<Pick> {
        if !self.hands.leases.is_empty() {
            return None;
        }
        let due = |offset: &&Offset| {
            self.history.get(offset).is_some_and(|past| past.due <= now) && !waiting.contains(**offset)
        };
        let lowest = self.hands.suspects.iter().take_while(|offset| **offset < visible_end).find(due)?;
        Some(self.picked(*lowest))
    }

    fn pick_fresh(&mut self, visible_end: Offset, waiting: &OffsetSet, max: usize, picks: &mut Vec<Pick>) {
        // What is skipped here is settled or in another index, for good, or waits in the schedule, which brings it back
        // by `fell_due`: the cursor need not look at it again.
        self.hands.cursor = self.first_fresh(self.hands.cursor, visible_end, waiting);
        let mut at = self.hands.cursor;
        while picks.len() < max && at < visible_end {
            let end = self.fresh_end(at, visible_end, waiting);
            let fresh = (at.0..end.0).map(|offset| Pick {
                offset: Offset(offset),
                counters: Counters::default(),
                suspect: false,
                follows: false,
            });
            picks.extend(fresh.take(max - picks.len()));
            at = self.first_fresh(end, visible_end, waiting);
        }
    }

    pub(super) fn picked(&self, offset: Offset) -> Pick {
        let past = self.history.get(&offset);
        Pick {
            offset,
            counters: past.map(|past| past.counters).unwrap_or_default(),
            suspect: past.is_some_and(|past| past.suspicion.is_suspect()),
            follows: false,
        }
    }

    /// The first offset from `from` on that has no past, is not settled, not leased and does not wait for its time;
    /// at least `limit` if there is none before it.
    pub(super) fn first_fresh(&self, from: Offset, limit: Offset, waiting: &OffsetSet) -> Offset {
        let mut at = from;
        loop {
            at = self.settled.next_unsettled(at);
            if at < limit && waiting.contains(at) {
                at = waiting.next_absent(at);
                continue;
            }
            if at >= limit || !self.is_taken(at) {
                return at;
            }
            at = at.next();
        }
    }

    /// The end of the run of fresh offsets that starts at `from`, at most `limit`.
    pub(super) fn fresh_end(&self, from: Offset, limit: Offset, waiting: &OffsetSet) -> Offset {
        let taken = [
            waiting.next_present(from),
            self.settled.next_settled(from),
            self.dead.range(from..).next().map(|(offset, _)| *offset),
            self.history.range(from..).next().map(|(offset, _)| *offset),
            self.hands.leases.range(from..).next().map(|(offset, _)| *offset),
        ];
        taken.into_iter().flatten().fold(limit, Offset::min)
    }

    /// Whether an unsettled offset is not fresh.
    pub(super) fn is_taken(&self, offset: Offset) -> bool {
        self.dead.contains_key(&offset) || self.history.contains_key(&offset) || self.hands.leases.contains_key(&offset)
    }

    /// Messages of the schedule that fell due: those that the cursor has passed are fresh ones before it.
    pub(super) fn fell_due(&mut self, offsets: &[Offset]) {
        // A level may have been gone through beyond the cursor.
        offsets.iter().for_each(|offset| self.hands.passed.came_back(*offset));
        for offset in offsets.iter().filter(|offset| **offset < self.hands.cursor) {
            if !self.settled.contains(*offset) && !self.is_taken(*offset) {
                self.hands.back.insert(*offset);
            }
        }
        self.wake_in_line(offsets);
    }

    /// Messages wait again, since the clock was set back.
    pub(super) fn wait_again(&mut self, offsets: &[Offset]) {
        offsets.iter().for_each(|offset| _ = self.hands.back.remove(*offset));
        self.sleep_in_line(offsets);
    }

    /// The lowest offset that could be handed out now. What waits for a suspect to be done counts; what is delayed or
    /// paused does not.
    pub(super) fn oldest_claimable(&self, now: Timestamp, visible_end: Offset, waiting: &OffsetSet) -> Option<Offset> {
        if self.is_paused(now) {
            return None;
        }
        if self.is_ordered() {
            return self.oldest_in_order(now, visible_end, waiting);
        }
        let due = self.hands.due.range(..=(now, Offset(u64::MAX))).map(|(_, offset)| *offset);
        let due = due.filter(|offset| !waiting.contains(*offset)).min();
        let mut back = self.hands.back.runs().flat_map(|run| (run.first.0..run.end().0).map(Offset));
        let back = back.find(|offset| !waiting.contains(*offset));
        let fresh = self.first_fresh(self.hands.cursor, visible_end, waiting);
        [due, back, Some(fresh)].into_iter().flatten().min().filter(|offset| *offset < visible_end)
    }
}
