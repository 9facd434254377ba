//! Priorities: which messages of a topic are above the ordinary level, and what of them a group hands out next.
//!
//! A topic that declares levels keeps a set of offsets for each level above 0: one bit a message. A group goes through
//! the sets from the highest level down, each from where it last found something; what is in none of them is ordinary,
//! and comes last, by the cursor that groups of other topics have. Before all that comes what has waited too long, in
//! the order of offsets: up to where that reaches is told from outside, since times are in the messages.
//!
//! An ordered group goes by the levels of those that are first of their keys, see `fresh`.

use super::group::Group;
use super::lease::Pick;
use super::offsets::OffsetSet;
use crate::event::{Published, Run};
use crate::types::Offset;

/// Levels above the ordinary one.
pub(crate) const LEVELS: usize = 7;

/// What a sweep is worth: so many offsets more than were left by the last one.
const SWEEP: u64 = 1 << 16;

/// A topic's messages above the ordinary level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    /// From level 1 up; empty if the topic never declared any.
    sets: Vec<OffsetSet>,
    /// Volatile: everything before this has waited too long.
    aged: Offset,
    /// Volatile: how many offsets a sweep has left.
    swept: u64,
}

impl Levels {
    pub(super) const fn new() -> Self {
        Self { sets: Vec::new(), aged: Offset::ZERO, swept: 0 }
    }

    /// As stored.
    pub(super) fn from_sets(sets: Vec<OffsetSet>) -> Self {
        Self { sets, ..Self::default() }
    }

    pub(super) fn sets(&self) -> &[OffsetSet] {
        &self.sets
    }

    /// Takes note of what was published while the topic has so many levels. One that is too high is the highest.
    pub(super) fn note(&mut self, run: &Published<'_>, levels: u8) {
        if levels < 2 {
            return;
        }
        for (offset, level) in run.levels() {
            let place = usize::from(level.min(levels - 1)).min(LEVELS);
            if self.sets.len() < place {
                self.sets.resize_with(place, OffsetSet::new);
            }
            if let Some(set) = place.checked_sub(1).and_then(|place| self.sets.get_mut(place)) {
                set.insert(offset);
            }
        }
    }

    /// Forgets what a policy dropped.
    pub(super) fn forget(&mut self, run: Run) {
        self.sets.iter_mut().for_each(|set| _ = set.remove_run(run));
    }

    /// Whether there are any to go by.
    pub(crate) fn is_empty(&self) -> bool {
        self.sets.iter().all(OffsetSet::is_empty)
    }

    /// Everything before this has waited too long.
    pub(super) const fn aged(&self) -> Offset {
        self.aged
    }

    /// Whether there are any in this range.
    pub(super) fn any_in(&self, from: Offset, end: Offset) -> bool {
        self.sets.iter().any(|set| set.next_present(from).is_some_and(|next| next < end))
    }

    /// The level of a message.
    pub(crate) fn of(&self, offset: Offset) -> u8 {
        let level = self.sets.iter().rposition(|set| set.contains(offset));
        level.and_then(|level| u8::try_from(level + 1).ok()).unwrap_or(0)
    }

    /// Everything before `upto` has waited too long.
    pub(super) fn set_aged(&mut self, upto: Offset) {
        self.aged = self.aged.max(upto);
    }

    fn len(&self) -> u64 {
        self.sets.iter().map(OffsetSet::len).sum()
    }

    /// Whether so much came since the last sweep that one is due.
    pub(super) fn wants_sweep(&self) -> bool {
        self.len() >= self.swept.saturating_mul(2).saturating_add(SWEEP)
    }

    /// Forgets what is gone before `earliest`.
    pub(super) fn sweep(&mut self, earliest: Offset) {
        self.sets.iter_mut().for_each(|set| set.remove_below(earliest));
        self.swept = self.len();
    }
}

/// Up to where a group has gone through each level: volatile, and never past what it could hand out as a fresh one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed([Offset; LEVELS]);

impl Passed {
    /// A fresh message is there again.
    pub(super) fn came_back(&mut self, offset: Offset) {
        self.0.iter_mut().for_each(|at| *at = (*at).min(offset));
    }
}

impl Group {
    /// Fresh messages in the order of the levels. `picks` may hold retries already.
    pub(super) fn pick_by_level(
        &mut self,
        levels: &Levels,
        visible_end: Offset,
        waiting: &OffsetSet,
        max: usize,
        picks: &mut Vec<Pick>,
    ) {
        self.pick_in_offset_order(levels.aged.min(visible_end), waiting, max, picks);
        if picks.len() >= max {
            return;
        }
        for (level, set) in levels.sets.iter().enumerate().rev() {
            let Some(from) = self.hands.passed.0.get(level).copied() else { continue };
            let first = self.next_of(set, from, visible_end, waiting);
            if let Some(passed) = self.hands.passed.0.get_mut(level) {
                *passed = first.unwrap_or(visible_end).max(from);
            }
            let mut next = first;
            while let Some(offset) = next.filter(|_| picks.len() < max) {
                // What has waited too long is in the picks already.
                if offset >= levels.aged {
                    picks.push(self.picked(offset));
                }
                next = self.next_of(set, offset.next(), visible_end, waiting);
            }
        }
        if picks.len() >= max {
            return;
        }
        // Every fresh one above the ordinary level is in the picks by now: the others are what is left.
        let wanted = max.saturating_add(picks.len());
        let mut rest = Vec::new();
        self.pick_in_offset_order(visible_end, waiting, wanted, &mut rest);
        let mut known: Vec<Offset> = picks.iter().map(|pick| pick.offset).collect();
        known.sort_unstable();
        rest.retain(|pick| known.binary_search(&pick.offset).is_err());
        picks.extend(rest.into_iter().take(max - picks.len()));
    }

    /// The first fresh message of a set from `from` on.
    fn next_of(&self, set: &OffsetSet, from: Offset, visible_end: Offset, waiting: &OffsetSet) -> Option<Offset> {
        let mut at = from;
        loop {
            // Long stretches that are settled are passed at once.
            at = set.next_present(self.settled.next_unsettled(at)).filter(|at| *at < visible_end)?;
            if !self.settled.contains(at) {
                if !waiting.contains(at) && !self.is_taken(at) {
                    return Some(at);
                }
                at = at.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PartId, State};
    use super::*;
    use crate::event::{CreateTopic, Draft, Event, Setting};
    use crate::message::Message;
    use crate::types::{Lsn, Timestamp, TopicId};

    const ORDERS: TopicId = TopicId::new(1);

    #[test]
    fn levels_come_back_from_a_snapshot_in_bytes_that_keep_their_form() {
        let mut state = State::default();
        let settings = vec![Setting { tag: 60, values: vec![3] }];
        let created = CreateTopic { topic: ORDERS, time: Timestamp(1), name: "orders".into(), settings };
        state.apply(Lsn::from_raw(1), &Event::CreateTopic(created));
        let messages: Vec<Message> = [0, 1, 2, 9, 0].map(|level| Message::new("x").priority(level)).into();
        let draft = Draft::batch(ORDERS, &messages);
        state.apply(Lsn::from_raw(2), &Event::Publish(draft.published(Offset(0), Timestamp(1))));
        let pieces = state.encode_part(PartId::Topic(ORDERS)).unwrap().unwrap();
        // Two sets, each with its length: in its first chunk a run of one at 1, and a run of two at 2.
        assert!(pieces[0].ends_with(&[2, 4, 0, 2, 1, 1, 4, 0, 2, 2, 2]), "{:?}", pieces[0]);
        let mut again = State::default();
        again.restore_piece(Lsn::from_raw(3), &pieces[0]).unwrap();
        again.restored().unwrap();
        let held = again.topic(ORDERS).unwrap();
        assert_eq!([0, 1, 2, 3, 4, 5].map(|offset| held.levels().of(Offset(offset))), [0, 1, 2, 2, 0, 0]);
    }
}
