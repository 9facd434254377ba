//! When the messages of a topic fall due: one schedule for all of its groups.
//!
//! A **delay** is due by the engine's clock, which never goes back. A **deliver-at** is due by the wall clock as it
//! stands, which may: so one that has fallen due stays in the schedule until every group is done with it, and waits
//! again if the clock is set back.
//!
//! What has been published with a due time is durable and part of the topic's snapshot. How far the clocks have come
//! is not: an opening takes everything as waiting, and the first [`Schedule::turn`] finds out what is due. Until then
//! nothing is, so that a message is never early. An entry that says nothing any more is left out by whoever looks;
//! it need not be in the snapshot, and may be.
//!
//! Each entry takes 16 bytes in a B-tree, and about a bit in a set: less than 48 bytes, measured in
//! `tests/schedule.rs`.

use super::offsets::OffsetSet;
use crate::event::Run;
use crate::message::Due;
use crate::types::{Offset, Timestamp};
use std::collections::BTreeSet;
use std::ops::Bound;

/// A place in the order of time.
pub(super) type Key = (Timestamp, Offset);

const LAST: Offset = Offset(u64::MAX);

/// Entries that say nothing any more are swept out when there are so many of them, and half as many as others.
const STALE_MIN: usize = 1024;

/// What fell due at one turn, and what waits again because the clock was set back.
#[derive(Debug, Default)]
pub(super) struct Turned {
    pub(super) due: Vec<Offset>,
    pub(super) waits_again: Vec<Offset>,
}

/// The entries of one clock.
#[derive(Clone, Debug, Default)]
struct Timers {
    wall: bool,
    set: BTreeSet<Key>,
    /// Volatile: everything up to here has fallen due.
    seen: Option<Key>,
}

impl Timers {
    fn is_past(&self, key: Key) -> bool {
        self.seen.is_some_and(|seen| key <= seen)
    }

    fn from(&self, start: Bound<Key>, to: Option<Timestamp>) -> impl Iterator<Item = Key> {
        let rest = self.set.range((start, Bound::Unbounded)).copied();
        rest.take_while(move |(at, _)| to.is_none_or(|to| *at < to))
    }

    fn ahead(&self) -> impl Iterator<Item = Key> {
        let after = self.seen.map_or(Bound::Unbounded, Bound::Excluded);
        self.set.range((after, Bound::Unbounded)).copied()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    delays: Timers,
    deliver_ats: Timers,
    /// Volatile: what is not due.
    waiting: OffsetSet,
    /// How many entries of each kind are kept though they fell due, or were taken out.
    past: usize,
}

impl Default for Schedule {
    fn default() -> Self {
        let timers = |wall| Timers { wall, ..Timers::default() };
        Self { delays: timers(false), deliver_ats: timers(true), waiting: OffsetSet::default(), past: 0 }
    }
}

impl Schedule {
    /// As stored.
    pub(super) fn from_parts(delays: Vec<Key>, deliver_ats: Vec<Key>) -> Self {
        let mut schedule = Self::default();
        delays.into_iter().for_each(|(at, offset)| schedule.add(offset, Due { at, wall: false }));
        deliver_ats.into_iter().for_each(|(at, offset)| schedule.add(offset, Due { at, wall: true }));
        schedule
    }

    /// What is stored: delays, then deliver-ats, each in the order of time.
    pub(super) fn parts(&self) -> (impl Iterator<Item = Key>, impl Iterator<Item = Key>) {
        (self.delays.set.iter().copied(), self.deliver_ats.set.iter().copied())
    }

    /// A message was published that is due then.
    pub(super) fn add(&mut self, offset: Offset, due: Due) {
        let timers = if due.wall { &mut self.deliver_ats } else { &mut self.delays };
        let key = (due.at, offset);
        if !timers.set.insert(key) {
            return;
        }
        if timers.is_past(key) {
            self.past += 1;
        } else {
            self.waiting.insert(offset);
        }
    }

    /// The messages are gone: nobody waits for them. The entries stay until the next sweep.
    pub(super) fn forget(&mut self, run: Run) {
        let taken = self.waiting.remove_run(run);
        self.past = self.past.saturating_add(usize::try_from(taken).unwrap_or(usize::MAX));
    }

    /// Whether nothing is in it, due or not.
    pub(crate) fn is_empty(&self) -> bool {
        self.delays.set.is_empty() && self.deliver_ats.set.is_empty()
    }

    /// What is not due, as far as the clocks have been followed.
    pub(crate) const fn waiting(&self) -> &OffsetSet {
        &self.waiting
    }

    /// Follows the clocks. At most `most` messages fall due at once, the earliest first; all that has to wait again
    /// does so at once. Delays that fell due are kept for a while if `keep` says so: their age counts from then.
    pub(super) fn turn(&mut self, now: Timestamp, wall: Timestamp, most: usize, keep: bool) -> Turned {
        let mut turned = Turned::default();
        let Self { delays, deliver_ats, waiting, past } = self;
        let mut over = Vec::new();
        for (timers, now) in [(deliver_ats, (wall, LAST)), (delays, (now, LAST))] {
            if let Some(seen) = timers.seen.filter(|seen| *seen > now) {
                for (_, offset) in timers.set.range((Bound::Excluded(now), Bound::Included(seen))) {
                    waiting.insert(*offset);
                    turned.waits_again.push(*offset);
                }
                *past = past.saturating_sub(turned.waits_again.len());
                timers.seen = Some(now);
                continue;
            }
            let room = most.saturating_sub(turned.due.len());
            let mut reached = now;
            let mut fell = 0;
            for key in timers.ahead().take_while(|key| *key <= now).take(room) {
                fell += 1;
                // One that was taken out meanwhile is not in the set of those that wait, and is counted already.
                let waited = waiting.remove(key.1);
                if waited {
                    turned.due.push(key.1);
                }
                if timers.wall || keep {
                    *past += usize::from(waited);
                } else {
                    *past = past.saturating_sub(usize::from(!waited));
                    over.push(key);
                }
                reached = key;
            }
            over.drain(..).for_each(|key| _ = timers.set.remove(&key));
            // With more to come, the next turn goes on from here.
            timers.seen = if fell < room { Some(now) } else { timers.seen.max((fell > 0).then_some(reached)) };
        }
        turned
    }

    /// When a message that waits is due. Looks at every entry: for a question about one message, now and then.
    pub(crate) fn due(&self, offset: Offset) -> Option<Timestamp> {
        let all = || self.delays.set.iter().chain(&self.deliver_ats.set);
        self.waiting.contains(offset).then(|| all().find(|key| key.1 == offset))?.map(|key| key.0)
    }

    /// When the next delay falls due, and the next deliver-at.
    pub(crate) fn next(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        // One that was taken out may be among them: it wakes somebody for nothing, and is not sought for long.
        let first = |timers: &Timers| timers.ahead().next().map(|key| key.0);
        (first(&self.delays), first(&self.deliver_ats))
    }

    /// Whether enough entries say nothing any more for a sweep to be worth its while.
    pub(super) fn wants_sweep(&self) -> bool {
        let live = (self.delays.set.len() + self.deliver_ats.set.len()).saturating_sub(self.past);
        self.past >= STALE_MIN.max(live / 2)
    }

    /// Leaves out the entries that fell due or were taken out, except those that `keep` wants: told when they were
    /// due, whether by the wall clock, and their offset.
    pub(super) fn sweep(&mut self, keep: impl Fn(Due, Offset) -> bool) {
        let waiting = &self.waiting;
        for timers in [&mut self.delays, &mut self.deliver_ats] {
            let wall = timers.wall;
            timers.set.retain(|(at, offset)| waiting.contains(*offset) || keep(Due { at: *at, wall }, *offset));
        }
        // What was kept is not looked at again before there is as much again.
        self.past = 0;
    }

    /// The entries that are due in `from..to`, by their own clocks, in the order of time; whether they wait or not.
    /// Begins behind `after`.
    pub(crate) fn between(
        &self,
        after: Option<Key>,
        from: Timestamp,
        to: Option<Timestamp>,
    ) -> impl Iterator<Item = (Due, Offset)> {
        let first = (from, Offset::ZERO);
        let start = after.filter(|after| *after >= first).map_or(Bound::Included(first), Bound::Excluded);
        let mut delays = self.delays.from(start, to).peekable();
        let mut deliver_ats = self.deliver_ats.from(start, to).peekable();
        std::iter::from_fn(move || {
            let wall = match (delays.peek(), deliver_ats.peek()) {
                (Some(delay), Some(deliver_at)) => deliver_at < delay,
                (delay, _) => delay.is_none(),
            };
            let (at, offset) = if wall { deliver_ats.next() } else { delays.next() }?;
            Some((Due { at, wall }, offset))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Timestamp = Timestamp(100);

    fn schedule(entries: &[(u64, u64, bool)]) -> Schedule {
        let mut schedule = Schedule::default();
        for (offset, at, wall) in entries {
            schedule.add(Offset(*offset), Due { at: Timestamp(*at), wall: *wall });
        }
        schedule
    }

    fn turn(schedule: &mut Schedule, now: u64, wall: u64) -> (Vec<u64>, Vec<u64>) {
        let turned = schedule.turn(Timestamp(now), Timestamp(wall), 100, false);
        let numbers = |offsets: Vec<Offset>| offsets.into_iter().map(|offset| offset.0).collect();
        (numbers(turned.due), numbers(turned.waits_again))
    }

    #[test]
    fn nothing_is_due_before_the_clocks_were_looked_at_and_each_kind_follows_its_own() {
        let mut schedule = schedule(&[(0, 100, false), (1, 100, true), (2, 50, false), (3, 50, true)]);
        assert_eq!(schedule.waiting().len(), 4);
        assert_eq!(turn(&mut schedule, 99, 0), (vec![2], vec![]));
        assert_eq!(turn(&mut schedule, 99, 60), (vec![3], vec![]));
        assert_eq!(turn(&mut schedule, 100, 60), (vec![0], vec![]));
        assert_eq!(schedule.next(), (None, Some(SOON)));
        assert_eq!(turn(&mut schedule, 100, 500), (vec![1], vec![]));
        assert_eq!((schedule.next(), schedule.waiting().len()), ((None, None), 0));
    }

    #[test]
    fn a_deliver_at_waits_again_when_the_wall_clock_is_set_back_and_a_delay_does_not() {
        let mut schedule = schedule(&[(0, 100, false), (1, 100, true), (2, 200, true)]);
        assert_eq!(turn(&mut schedule, 100, 100), (vec![1, 0], vec![]));
        assert_eq!(turn(&mut schedule, 101, 99), (vec![], vec![1]));
        assert_eq!(schedule.next(), (None, Some(SOON)));
        assert_eq!(turn(&mut schedule, 102, 300), (vec![1, 2], vec![]));
        assert_eq!(turn(&mut schedule, 103, 150), (vec![], vec![2]));
    }

    #[test]
    fn what_falls_due_at_once_is_taken_in_pieces_and_in_the_order_of_time() {
        let mut schedule = schedule(&[(5, 10, false), (4, 20, false), (3, 30, true), (2, 40, false)]);
        let mut all = Vec::new();
        for _ in 0..4 {
            let turned = schedule.turn(Timestamp(100), Timestamp(100), 1, false);
            assert_eq!(turned.due.len(), 1);
            all.extend(turned.due.iter().map(|offset| offset.0));
        }
        assert_eq!(all, [3, 5, 4, 2]);
        assert_eq!(turn(&mut schedule, 100, 100), (vec![], vec![]));
    }

    #[test]
    fn what_was_taken_out_never_falls_due_and_is_swept_out() {
        let mut schedule = Schedule::default();
        for offset in 0..4000 {
            schedule.add(Offset(offset), Due { at: SOON, wall: offset % 2 == 0 });
        }
        schedule.forget(Run { first: Offset(10), count: 3000 });
        assert!(schedule.wants_sweep());
        schedule.sweep(|_, _| false);
        assert_eq!(schedule.between(None, Timestamp::ZERO, None).count(), 1000);
        assert_eq!(turn(&mut schedule, 100, 100).0.len(), 100);
    }

    #[test]
    fn entries_are_listed_in_the_order_of_time_and_a_page_goes_on_behind_the_last() {
        let schedule = schedule(&[(0, 30, false), (1, 10, true), (2, 20, false), (3, 20, true), (4, 40, true)]);
        let list = |after, from, to: Option<u64>| -> Vec<u64> {
            let page = schedule.between(after, Timestamp(from), to.map(Timestamp));
            page.map(|(_, offset)| offset.0).collect()
        };
        assert_eq!(list(None, 0, None), [1, 2, 3, 0, 4]);
        assert_eq!(list(None, 20, Some(40)), [2, 3, 0]);
        assert_eq!(list(Some((Timestamp(20), Offset(2))), 0, None), [3, 0, 4]);
        assert_eq!(list(Some((Timestamp(5), Offset(9))), 15, None), [2, 3, 0, 4]);
    }

    #[test]
    fn an_entry_that_comes_late_is_due_at_once_and_is_not_waited_for() {
        let mut schedule = schedule(&[]);
        turn(&mut schedule, 100, 100);
        schedule.add(Offset(1), Due { at: Timestamp(90), wall: true });
        assert_eq!((schedule.waiting().len(), schedule.next()), (0, (None, None)));
        assert_eq!(turn(&mut schedule, 100, 80), (vec![], vec![1]));
    }
}
