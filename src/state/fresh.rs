//! The messages of an ordered group that come next and were never handed out: the firsts of their keys' lines, and
//! those without a key. By offset, or, in a topic with priorities, by level.
//!
//! May hold some that can't go now; never lacks one that could.

use super::priority::Levels;
use crate::event::Run;
use crate::types::Offset;
use std::collections::BTreeSet;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Fresh {
    /// The ordinary ones; all of them, where no level was met yet.
    plain: BTreeSet<Offset>,
    /// From level 1 up.
    urgent: Vec<BTreeSet<Offset>>,
    /// Those whose level was not looked up yet: who offers a message knows its key, not its topic.
    offered: BTreeSet<Offset>,
    leveled: bool,
}

impl Fresh {
    pub(super) fn insert(&mut self, offset: Offset) {
        if self.leveled {
            self.offered.insert(offset)
        } else {
            self.plain.insert(offset)
        };
    }

    pub(super) fn remove(&mut self, offset: Offset) {
        if !self.plain.remove(&offset) && self.leveled {
            self.offered.remove(&offset);
            self.urgent.iter_mut().for_each(|set| _ = set.remove(&offset));
        }
    }

    pub(super) fn remove_run(&mut self, run: Run) {
        if run.count == 1 {
            return self.remove(run.first);
        }
        for set in [&mut self.plain, &mut self.offered].into_iter().chain(&mut self.urgent) {
            while let Some(offset) = set.range(run.first..run.end()).next().copied() {
                set.remove(&offset);
            }
        }
    }

    fn sets(&self) -> impl Iterator<Item = &BTreeSet<Offset>> {
        [&self.plain, &self.offered].into_iter().chain(&self.urgent)
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Offset> {
        self.sets().flatten()
    }

    /// How many of them are before `offset`.
    pub(super) fn before(&self, offset: Offset) -> usize {
        self.sets().map(|set| set.range(..offset).count()).sum()
    }

    /// The lowest of those that `can`.
    pub(super) fn first(&self, can: impl Fn(&Offset) -> bool) -> Option<Offset> {
        self.sets().filter_map(|set| set.iter().find(|offset| can(offset))).min().copied()
    }

    /// Puts what came since by its level.
    pub(super) fn sort_in(&mut self, levels: &Levels) {
        if !self.leveled && !levels.is_empty() {
            self.leveled = true;
            self.offered = std::mem::take(&mut self.plain);
        }
        while let Some(offset) = self.offered.pop_first() {
            let Some(place) = usize::from(levels.of(offset)).checked_sub(1) else {
                self.plain.insert(offset);
                continue;
            };
            if self.urgent.len() <= place {
                self.urgent.resize_with(place + 1, BTreeSet::new);
            }
            if let Some(set) = self.urgent.get_mut(place) {
                set.insert(offset);
            }
        }
    }

    /// As they go: what was before `aged` by offset, the others from the highest level down. Of what was sorted in.
    pub(super) fn in_turn(&self, aged: Offset) -> impl Iterator<Item = Offset> {
        let mut old: Vec<_> = if self.leveled {
            self.sets().map(|set| set.range(..aged).copied().peekable()).collect()
        } else {
            Vec::new()
        };
        let old = std::iter::from_fn(move || {
            let next = old.iter_mut().filter_map(|set| Some((*set.peek()?, set))).min_by_key(|(offset, _)| *offset);
            next.and_then(|(_, set)| set.next())
        });
        let from = if self.leveled { aged } else { Offset::ZERO };
        let levels = self.urgent.iter().rev().chain([&self.plain]);
        old.chain(levels.flat_map(move |set| set.range(from..).copied()))
    }
}
