//! Whose turn it is in an ordered group.
//!
//! Of each key only the first message can go that is neither settled nor dead, whatever it waits for, and only while
//! nobody has a message of the key. So a message that failed, was snoozed, or is published for later holds those behind
//! it; one that is redriven joins the line at its offset. What a dead letter does to those behind it is the group's to
//! say. All this is asked when a message is to be handed out (`Group::turn`); the indexes only say where to ask, and
//! are told whenever the answer may have changed (`Group::offer`).

use super::group::Group;
use super::lease::Hold;
use super::offsets::OffsetSet;
use super::order::{KeyHash, Order, Unread};
use crate::config::WhenParked;
use crate::event::Run;
use crate::types::{Offset, Timestamp};

/// What keeps a message of an ordered group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing but its own time, if it has one.
    Go,
    /// Settled or dead.
    Over,
    Leased,
    /// The group has not come so far.
    Unread,
    /// Another message of its key goes first, or is in somebody's hands.
    Behind(Offset),
    /// A dead letter holds its key, or takes it along.
    Dead(Offset),
    /// It is in the rest of its key's line: others of it go first.
    InRest,
    /// It waits in the schedule.
    Asleep,
}

impl Group {
    /// Begins to look at keys anew, if the group is ordered.
    pub(super) fn reorder(&mut self) {
        self.orders = self.orders.wrapping_add(1);
        let ordered = self.policy.ordered.is_some();
        self.order = ordered.then(|| Box::new(Order::new(self.orders, self.settled.floor())));
    }

    /// Whether messages of one key are kept in order.
    pub(crate) const fn is_ordered(&self) -> bool {
        self.order.is_some()
    }

    /// Up to where an ordered group knows every message.
    pub(crate) fn read_to(&self) -> Option<Offset> {
        self.order.as_ref().map(|order| order.read)
    }

    /// Whether it is this message's turn.
    pub(super) fn turn(&self, offset: Offset, waiting: &OffsetSet) -> Turn {
        let Some(order) = &self.order else { return Turn::Go };
        if !self.is_open(offset) {
            return Turn::Over;
        }
        if self.hands.leases.contains(offset) {
            return Turn::Leased;
        }
        if offset >= order.read {
            return Turn::Unread;
        }
        if let Some(key) = order.key(offset) {
            match order.first(key) {
                Some(first) if first < offset => return Turn::Behind(first),
                _ => {}
            }
            if let Some(rest) = order.rests.first(key).filter(|rest| *rest < offset) {
                return Turn::Behind(rest);
            }
            if order.held.contains_key(&key) {
                let leased = |other: &Offset| self.hands.leases.contains(*other);
                return Turn::Behind(order.line(key, offset).find(leased).unwrap_or(offset));
            }
            if let Some(dead) = self.held_by_dead(order, key, offset) {
                return Turn::Dead(dead);
            }
        } else if order.rests.contains(offset) {
            return Turn::InRest;
        }
        if waiting.contains(offset) { Turn::Asleep } else { Turn::Go }
    }

    /// The dead letter that keeps a message from being handed out.
    fn held_by_dead(&self, order: &Order, key: KeyHash, offset: Offset) -> Option<Offset> {
        match self.policy.ordered? {
            WhenParked::Skip => None,
            WhenParked::Block | WhenParked::ParkKey => order.dead_before(key, offset).next(),
        }
    }

    /// The last message of its key before this one that is a dead letter.
    pub(crate) fn skipped(&self, offset: Offset) -> Option<Offset> {
        let order = self.order.as_ref()?;
        order.dead_before(order.key(offset)?, offset).next_back()
    }

    /// The first of a key may have its turn.
    pub(super) fn offer(&mut self, key: KeyHash) {
        let Some(order) = &mut self.order else { return };
        let first = order.first(key);
        if order.wants_rest(key, first) {
            return;
        }
        first.into_iter().for_each(|first| self.offer_first(key, first));
    }

    /// The same, of a key whose first message this is.
    pub(super) fn offer_first(&mut self, key: KeyHash, first: Offset) {
        let Some(order) = self.order.as_ref().filter(|order| !order.held.contains_key(&key)) else { return };
        let condemned =
            self.policy.ordered == Some(WhenParked::ParkKey) && self.held_by_dead(order, key, first).is_some();
        let due = self.history.get(&first).map(|past| past.due);
        let Some(order) = &mut self.order else { return };
        match due {
            _ if condemned => _ = order.condemned.insert(key),
            Some(due) => _ = order.due.insert((due, first)),
            None => order.fresh.insert(first),
        }
    }

    /// A message may have its turn, or the first of its key.
    pub(super) fn offer_at(&mut self, offset: Offset) {
        let Some(order) = &self.order else { return };
        if let Some(key) = order.key(offset) {
            return self.offer(key);
        }
        if order.rests.contains(offset) {
            // It waits for more than its key now.
            return self.reorder();
        }
        if offset >= order.read || !self.is_open(offset) || self.hands.leases.contains(offset) {
            return;
        }
        let due = self.history.get(&offset).map(|past| past.due);
        let Some(order) = &mut self.order else { return };
        match due {
            Some(due) => _ = order.due.insert((due, offset)),
            None => order.fresh.insert(offset),
        }
    }

    /// Messages are settled. Called while their leases are still there.
    pub(super) fn leave_line(&mut self, run: Run) {
        if let Some(order) = &mut self.order {
            // Those without a key are in no line, and may be in this set.
            order.fresh.remove_run(run);
            order.rests.remove_run(run);
        }
        while let Some(offset) = self.order.as_ref().and_then(|order| order.keys.first_in(run)) {
            let leased = self.hands.leases.contains(offset);
            let Some(order) = &mut self.order else { return };
            if leased {
                order.free(offset);
            }
            if let Some(key) = order.forget(offset) {
                self.offer(key);
            }
        }
    }

    /// A message became a dead letter, or is none any more.
    pub(super) fn move_dead(&mut self, offset: Offset, dead: bool) {
        if self.is_in_rest(offset) {
            return self.reorder();
        }
        let Some(order) = &mut self.order else { return };
        match order.move_dead(offset, dead) {
            Some(key) => self.offer(key),
            None if dead => {}
            None => self.offer_at(offset),
        }
    }

    /// Messages of the schedule fell due.
    pub(super) fn wake_in_line(&mut self, offsets: &[Offset]) {
        for offset in offsets {
            let Some(order) = &mut self.order else { return };
            order.asleep.remove(*offset);
            self.offer_at(*offset);
        }
    }

    /// Messages wait again, since the clock was set back.
    pub(super) fn sleep_in_line(&mut self, offsets: &[Offset]) {
        if offsets.iter().any(|offset| self.is_in_rest(*offset)) {
            return self.reorder();
        }
        let Some(order) = &mut self.order else { return };
        for offset in offsets {
            if let Some(key) = order.key(*offset)
                && order.lines.contains(&(key, *offset))
            {
                order.asleep.insert(*offset);
            }
        }
    }

    /// Whether as many wait for their key as are kept in mind.
    pub(crate) fn is_looking_no_further(&self) -> bool {
        self.order.is_some() && self.room_for_keys() == 0
    }

    /// How many more that wait for their key can be kept in mind.
    pub(super) fn room_for_keys(&self) -> usize {
        let Some(order) = &self.order else { return 0 };
        // What is in flight, retrying, delayed or dead has a bound of its own.
        let elsewhere = self.hands.leases.len().saturating_add(self.history.len()).saturating_add(order.dead.len());
        let asleep = usize::try_from(order.asleep.len()).unwrap_or(usize::MAX);
        self.look_ahead().saturating_sub(order.keys.len().saturating_sub(elsewhere).saturating_sub(asleep))
    }

    /// How many messages are kept in mind that wait for their key.
    pub(super) fn look_ahead(&self) -> usize {
        usize::try_from(self.policy.look_ahead.max(1)).unwrap_or(usize::MAX)
    }

    /// The next messages whose keys are to be read, up to `most`: rests that are wanted, or what comes next. Nothing if
    /// there are none, or enough wait already.
    pub(crate) fn unread(&mut self, visible_end: Offset, most: usize) -> Option<Unread> {
        self.unread_rest(most).or_else(|| self.unread_next(visible_end, most))
    }

    fn unread_next(&mut self, visible_end: Offset, most: usize) -> Option<Unread> {
        let most = most.min(self.room_for_keys());
        let order = self.order.as_mut().filter(|_| most > 0)?;
        order.read = self.settled.next_unsettled(order.read).min(visible_end).max(order.read);
        let from = order.read;
        let mut offsets = Vec::new();
        let mut at = from;
        while at < visible_end && offsets.len() < most {
            let end = self.settled.next_settled(at).unwrap_or(visible_end).min(visible_end);
            offsets.extend((at.0..end.0).map(Offset).take(most - offsets.len()));
            at = offsets.last().map_or(end, |last| last.next());
            if at == end {
                at = self.settled.next_unsettled(end).min(visible_end);
            }
        }
        (!offsets.is_empty()).then_some(Unread { generation: order.generation, again: None, from, offsets, end: at })
    }

    /// The keys that were to be read. Those of a former index, or that somebody else has read, are nothing new.
    pub(super) fn learn(&mut self, unread: &Unread, keys: &[Option<KeyHash>], waiting: &OffsetSet) {
        let Some(order) = self.order.as_mut().filter(|order| order.generation == unread.generation) else { return };
        if let Some(scan) = unread.again {
            return self.learn_rest(unread, scan, keys);
        }
        if order.read != unread.from {
            return;
        }
        order.read = unread.end;
        for (offset, key) in unread.offsets.iter().copied().zip(keys.iter().copied()) {
            let Some(key) = key else {
                self.offer_at(offset);
                continue;
            };
            if self.settled.contains(offset) {
                continue;
            }
            let dead = self.dead.contains_key(&offset);
            let lease = self.hands.leases.get(offset);
            let past = self.history.contains_key(&offset);
            let Some(order) = &mut self.order else { return };
            if order.put_to_rest(key, offset, !dead && !past && lease.is_none() && !waiting.contains(offset)) {
                continue;
            }
            order.keys.insert(offset, key);
            if dead {
                order.dead.insert((key, offset));
                continue;
            }
            order.lines.insert((key, offset));
            if waiting.contains(offset) {
                order.asleep.insert(offset);
            }
            match lease {
                Some(lease) => order.hold(offset, lease.epoch),
                None if order.first(key) == Some(offset) => self.offer(key),
                None => {}
            }
        }
        self.cut_lines();
    }

    /// The next message that is to be parked because an earlier one of its key was.
    pub(super) fn condemned(&mut self, waiting: &OffsetSet) -> Option<(Offset, Offset)> {
        loop {
            let order = self.order.as_ref()?;
            let key = order.condemned.first().copied()?;
            if let Some(first) = order.first(key)
                && let Turn::Dead(dead) = self.turn(first, waiting)
                && self.policy.ordered == Some(WhenParked::ParkKey)
                && !waiting.contains(first)
            {
                return Some((first, dead));
            }
            self.order.as_mut()?.condemned.remove(&key);
        }
    }

    /// Whether a lease that ended may run again: only if nobody else has the key, and what goes first is its own.
    pub(crate) fn may_resume(&self, offset: Offset, epoch: u64) -> bool {
        let Some(order) = &self.order else { return true };
        if offset >= order.read {
            return false;
        }
        let Some(key) = order.key(offset) else { return true };
        let own = |other: Offset| self.lease(other).is_some_and(|lease| lease.epoch == epoch);
        order.held.get(&key).is_none_or(|held| held.epoch == epoch)
            && order.rests.first(key).is_none_or(|rest| rest > offset)
            && order.line_up_to(key, offset).all(own)
    }

    /// Whether a message was handed out in one run with the one before it in its line, which is not done with either:
    /// then it was not its turn yet.
    pub(crate) fn follows_in_run(&self, offset: Offset, epoch: u64) -> bool {
        let Some(order) = &self.order else { return false };
        let before = order.key(offset).and_then(|key| order.before(key, offset));
        before.is_some_and(|before| self.check(before, epoch) != Hold::Lost)
    }

    /// How many messages wait for another one of their key, or for a dead letter to go, as far as the group has looked;
    /// and, if it looks no further, what lies beyond.
    pub(super) fn key_blocked(&self, now: Timestamp, visible_end: Offset, waiting: &OffsetSet) -> u64 {
        let Some(order) = &self.order else { return 0 };
        let keyed = |offset: &Offset| order.key(*offset).is_some();
        let leased: u64 = order.held.values().map(|held| held.count).sum();
        let after_now = (Timestamp(now.0.saturating_add(1)), Offset::ZERO);
        let retrying = self.hands.due.range(after_now..).filter(|(_, offset)| keyed(offset)).count() as u64;
        let due = order.due.range(..after_now).map(|(_, offset)| offset);
        let go = |offset: &&Offset| keyed(offset) && self.turn(**offset, waiting) == Turn::Go;
        let going = due.chain(order.fresh.iter()).filter(go).count() as u64;
        let known = order.lines.len() as u64;
        let blocked = known.saturating_sub(leased).saturating_sub(retrying).saturating_sub(order.asleep.len());
        // The first of a rest that is to be read next waits for nobody else.
        let blocked = blocked.saturating_add(order.rests.len()).saturating_sub(order.rests.wanted());
        let beyond = if self.is_looking_no_further() { self.fresh_beyond(order.read, visible_end, waiting) } else { 0 };
        blocked.saturating_sub(going).saturating_add(beyond)
    }

    /// How many messages from `from` on were never handed out and could be, as far as they go by themselves.
    fn fresh_beyond(&self, from: Offset, visible_end: Offset, waiting: &OffsetSet) -> u64 {
        let (mut at, mut count) = (self.first_fresh(from, visible_end, waiting), 0_u64);
        while at < visible_end {
            let end = self.fresh_end(at, visible_end, waiting);
            count = count.saturating_add(end.since(at));
            at = self.first_fresh(end, visible_end, waiting);
        }
        count
    }
}
