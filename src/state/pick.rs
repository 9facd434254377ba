//! What a group hands out next: suspects alone, then retries that are due, then fresh messages in their order.

use super::group::Group;
use super::lease::Pick;
use crate::event::{Counters, Run};
use crate::types::{Offset, Timestamp};

impl Group {
    /// Up to `max` messages to hand out now, none of them at or past `visible_end`. Nothing is leased by this; what
    /// is granted afterwards should be granted in this order.
    ///
    /// While there is a suspect, it is the only answer there can be, and only while nothing at all is leased.
    pub(crate) fn pick(&mut self, now: Timestamp, visible_end: Offset, max: usize) -> Vec<Pick> {
        if self.is_paused(now) || max == 0 {
            return Vec::new();
        }
        // Only damage to the journal can leave a suspect that is not there any more: it holds up nobody.
        if self.hands.suspects.first().is_some_and(|offset| *offset < visible_end) {
            return self.pick_suspect(now, visible_end).into_iter().collect();
        }
        let mut picks = Vec::new();
        let due = self.hands.due.range(..=(now, Offset(u64::MAX))).map(|(_, offset)| *offset);
        picks.extend(due.filter(|offset| *offset < visible_end).take(max).map(|offset| self.picked(offset)));
        if !self.hands.back.is_empty() {
            let visible = Run { first: Offset::ZERO, count: visible_end.0 };
            let back = self.hands.back.runs_in(visible).flat_map(|run| (run.first.0..run.end().0).map(Offset));
            picks.extend(back.take(max - picks.len()).map(|offset| self.picked(offset)));
        }
        if picks.len() < max {
            self.pick_fresh(visible_end, max, &mut picks);
        }
        picks
    }

    fn pick_suspect(&self, now: Timestamp, visible_end: Offset) -> Option<Pick> {
        if !self.hands.leases.is_empty() {
            return None;
        }
        let due = |offset: &&Offset| self.history.get(offset).is_some_and(|past| past.due <= now);
        let lowest = self.hands.suspects.iter().take_while(|offset| **offset < visible_end).find(due)?;
        Some(self.picked(*lowest))
    }

    fn pick_fresh(&mut self, visible_end: Offset, max: usize, picks: &mut Vec<Pick>) {
        // What is skipped here is settled or in another index, for good: the cursor need not look at it again.
        self.hands.cursor = self.first_fresh(self.hands.cursor, visible_end);
        let mut at = self.hands.cursor;
        while picks.len() < max && at < visible_end {
            let end = self.fresh_end(at, visible_end);
            let fresh = (at.0..end.0).map(|offset| Pick {
                offset: Offset(offset),
                counters: Counters::default(),
                suspect: false,
            });
            picks.extend(fresh.take(max - picks.len()));
            at = self.first_fresh(end, visible_end);
        }
    }

    fn picked(&self, offset: Offset) -> Pick {
        match self.history.get(&offset) {
            Some(past) => Pick { offset, counters: past.counters, suspect: past.suspicion.is_suspect() },
            None => Pick { offset, counters: Counters::default(), suspect: false },
        }
    }

    /// The first offset from `from` on that has no past, is not settled and not leased; at least `limit` if there
    /// is none before it.
    pub(super) fn first_fresh(&self, from: Offset, limit: Offset) -> Offset {
        let mut at = from;
        loop {
            at = self.settled.next_unsettled(at);
            if at >= limit || !self.is_taken(at) {
                return at;
            }
            at = at.next();
        }
    }

    /// The end of the run of fresh offsets that starts at `from`, at most `limit`.
    pub(super) fn fresh_end(&self, from: Offset, limit: Offset) -> Offset {
        let taken = [
            self.settled.next_settled(from),
            self.dead.range(from..).next().map(|(offset, _)| *offset),
            self.history.range(from..).next().map(|(offset, _)| *offset),
            self.hands.leases.range(from..).next().map(|(offset, _)| *offset),
        ];
        taken.into_iter().flatten().fold(limit, Offset::min)
    }

    /// Whether an unsettled offset is not fresh.
    fn is_taken(&self, offset: Offset) -> bool {
        self.dead.contains_key(&offset) || self.history.contains_key(&offset) || self.hands.leases.contains_key(&offset)
    }

    /// The lowest offset that could be handed out now. What waits for a suspect to be done counts; what is delayed or
    /// paused does not.
    pub(crate) fn oldest_claimable(&self, now: Timestamp, visible_end: Offset) -> Option<Offset> {
        if self.is_paused(now) {
            return None;
        }
        let due = self.hands.due.range(..=(now, Offset(u64::MAX))).map(|(_, offset)| *offset).min();
        let back = self.hands.back.next_present(Offset::ZERO);
        let fresh = self.first_fresh(self.hands.cursor, visible_end);
        [due, back, Some(fresh)].into_iter().flatten().min().filter(|offset| *offset < visible_end)
    }
}
