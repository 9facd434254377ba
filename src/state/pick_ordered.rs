//! What an ordered group hands out next: one message of a key, or a run of them.

use super::group::Group;
use super::lease::Pick;
use super::offsets::OffsetSet;
use super::priority::Levels;
use super::turn::Turn;
use crate::types::{Offset, Timestamp};
use std::collections::BTreeMap;

impl Group {
    /// As [`Group::pick`]: at most one message of a key, or, with `runs`, of each key a run, whose messages stand
    /// together, the first one not marked as following.
    pub(super) fn pick_in_order(
        &mut self,
        now: Timestamp,
        visible_end: Offset,
        (waiting, levels): (&OffsetSet, &Levels),
        max: usize,
        runs: bool,
    ) -> Vec<Pick> {
        if let Some(only) = self.suspects_in_order(now, visible_end, waiting) {
            return only.into_iter().collect();
        }
        let mut firsts = Vec::new();
        let mut stale = Vec::new();
        if let Some(order) = &mut self.order {
            order.fresh.sort_in(levels);
        }
        let Some(order) = &self.order else { return Vec::new() };
        if self.hands.leases.last().is_some_and(|last| last >= order.read) {
            // Out since before the group was ordered: whose key it holds is not known yet.
            return Vec::new();
        }
        for (due, offset) in order.due.range(..=(now, Offset(u64::MAX))) {
            if firsts.len() == max {
                break;
            }
            let current = self.history.get(offset).is_some_and(|past| past.due == *due);
            if current && self.turn(*offset, waiting) == Turn::Go {
                firsts.push(*offset);
            } else {
                stale.push((*due, *offset));
            }
        }
        let mut stale_fresh = Vec::new();
        let new = !self.retries_are_many(now);
        for offset in order.fresh.in_turn(levels.aged()).filter(|_| new) {
            if firsts.len() == max {
                break;
            }
            if !self.history.contains_key(&offset) && self.turn(offset, waiting) == Turn::Go {
                firsts.push(offset);
            } else {
                stale_fresh.push(offset);
            }
        }
        // They are offered again when that may have changed.
        if let Some(order) = &mut self.order {
            stale.iter().for_each(|entry| _ = order.due.remove(entry));
            stale_fresh.iter().for_each(|entry| order.fresh.remove(*entry));
        }
        if runs { self.runs_of(&firsts, now, (waiting, levels), max, new) } else { self.all_picked(&firsts) }
    }

    fn all_picked(&self, firsts: &[Offset]) -> Vec<Pick> {
        firsts.iter().map(|offset| self.picked(*offset)).collect()
    }

    /// What is handed out because there are suspects: nothing, or one of them alone. `None`: they hold up nobody.
    fn suspects_in_order(&self, now: Timestamp, visible_end: Offset, waiting: &OffsetSet) -> Option<Option<Pick>> {
        let order = self.order.as_ref()?;
        let last = self.hands.suspects.range(..visible_end).next_back()?;
        if *last >= order.read && !self.is_looking_no_further() {
            // Their turn is not known before their keys are.
            return Some(None);
        }
        // One that is behind another of its key holds up nobody until its own turn comes.
        let visible = || self.hands.suspects.range(..visible_end);
        let mut turns = visible().map(|offset| (*offset, self.turn(*offset, waiting)));
        if !turns.any(|(_, turn)| matches!(turn, Turn::Go | Turn::Leased)) {
            return None;
        }
        if !self.hands.leases.is_empty() {
            return Some(None);
        }
        let due = |offset: &&Offset| {
            self.history.get(offset).is_some_and(|past| past.due <= now) && self.turn(**offset, waiting) == Turn::Go
        };
        Some(visible().find(due).map(|lowest| self.picked(*lowest)))
    }

    /// The next `max` messages, in the order of levels and offsets, of those that can go once these are through, key by
    /// key.
    fn runs_of(
        &self,
        firsts: &[Offset],
        now: Timestamp,
        (waiting, levels): (&OffsetSet, &Levels),
        max: usize,
        new: bool,
    ) -> Vec<Pick> {
        let rank = |offset: Offset| (std::cmp::Reverse(self.rank(levels, offset)), offset);
        let mut next: BTreeMap<(std::cmp::Reverse<u8>, Offset), usize> = BTreeMap::new();
        let mut runs: Vec<Vec<Offset>> = Vec::with_capacity(firsts.len());
        for (place, first) in firsts.iter().enumerate() {
            next.insert(rank(*first), place);
            runs.push(Vec::new());
        }
        for _ in 0..max {
            let Some(((_, offset), place)) = next.pop_first() else { break };
            if let Some(run) = runs.get_mut(place) {
                run.push(offset);
            }
            if let Some(follower) = self.follower(offset, now, waiting, new) {
                next.insert(rank(follower), place);
            }
        }
        let marked = |run: Vec<Offset>| {
            let picks = run.into_iter().enumerate();
            picks.map(|(place, offset)| Pick { follows: place > 0, ..self.picked(offset) }).collect::<Vec<_>>()
        };
        runs.into_iter().flat_map(marked).collect()
    }

    /// What goes before what in a topic with priorities: retries and what has waited too long, then the levels.
    fn rank(&self, levels: &Levels, offset: Offset) -> u8 {
        match offset {
            _ if levels.is_empty() => 0,
            _ if offset < levels.aged() || self.history.contains_key(&offset) => u8::MAX,
            _ => levels.of(offset),
        }
    }

    /// Whether something urgent lies where the group has not read the keys yet.
    pub(crate) fn has_urgent_unread(&self, levels: &Levels, visible_end: Offset) -> bool {
        let read = self.order.as_ref().map(|order| order.read);
        read.is_some_and(|read| levels.any_in(read, visible_end))
    }

    /// The message that can be handed out right behind another one of its key.
    fn follower(&self, offset: Offset, now: Timestamp, waiting: &OffsetSet, new: bool) -> Option<Offset> {
        let order = self.order.as_ref()?;
        let key = order.key(offset)?;
        let next = order.line(key, offset.next()).next()?;
        if order.rests.first(key).is_some_and(|rest| rest < next) {
            return None;
        }
        let dead_between = order.dead.range((key, offset)..(key, next)).next().is_some();
        let held_up = dead_between && self.policy.ordered != Some(crate::config::WhenParked::Skip);
        let due = match self.history.get(&next) {
            Some(past) => past.due <= now && !past.suspicion.is_suspect(),
            None => new,
        };
        (due && !held_up && !waiting.contains(next)).then_some(next)
    }

    /// The lowest offset that could be handed out now, or that the group has still to look at.
    pub(super) fn oldest_in_order(&self, now: Timestamp, visible_end: Offset, waiting: &OffsetSet) -> Option<Offset> {
        let order = self.order.as_ref()?;
        let go = |offset: &&Offset| self.turn(**offset, waiting) == Turn::Go;
        let due = order.due.range(..=(now, Offset(u64::MAX))).map(|(_, offset)| offset).filter(go).min();
        let fresh = order.fresh.first(|offset| go(&offset));
        let unread = (!self.is_looking_no_further()).then(|| self.first_fresh(order.read, visible_end, waiting));
        due.into_iter()
            .copied()
            .chain(fresh)
            .chain(order.rests.next())
            .chain(unread)
            .min()
            .filter(|offset| *offset < visible_end)
    }

    /// How many messages go before this one, which can go: due retries, and firsts of lower offset.
    pub(crate) fn before_in_order(&self, offset: Offset, now: Timestamp) -> u64 {
        let Some(order) = &self.order else { return 0 };
        let mine = self.history.get(&offset).map(|past| (past.due, offset));
        let retries = order.due.range(..mine.unwrap_or((Timestamp(now.0.saturating_add(1)), Offset::ZERO))).count();
        let fresh = if mine.is_some() { 0 } else { order.fresh.before(offset) };
        (retries as u64).saturating_add(fresh as u64)
    }

    /// Whether so many messages wait for a retry that nothing new is to be leased.
    pub(crate) fn retries_are_many(&self, now: Timestamp) -> bool {
        let most = usize::try_from(self.policy.max_retrying.max(1)).unwrap_or(usize::MAX);
        // By time, those that are due already come first: if this one waits, so do all behind it.
        let Some(spare) = self.hands.due.len().checked_sub(most) else { return false };
        self.hands.due.iter().nth(spare).is_some_and(|(due, _)| *due > now)
    }

    /// How many messages wait for a retry or are snoozed.
    pub(crate) fn retrying(&self, now: Timestamp) -> u64 {
        self.hands.due.range((Timestamp(now.0.saturating_add(1)), Offset::ZERO)..).count() as u64
    }
}
