//! What a group is done with: everything before a floor, and a set above it.

use super::chunk::{CHUNK, WORDS, set};
use super::offsets::OffsetSet;
use crate::event::Run;
use crate::types::Offset;

/// See the module. The offset at the floor is never in the set above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    floor: Offset,
    above: OffsetSet,
}

impl Settled {
    /// Everything before `floor`, and nothing above.
    pub(crate) fn at(floor: Offset) -> Self {
        Self { floor, above: OffsetSet::default() }
    }

    /// As stored.
    pub(crate) fn from_parts(floor: Offset, above: OffsetSet) -> Self {
        let mut settled = Self { floor, above };
        settled.above.remove_below(floor);
        settled.rise(floor);
        settled
    }

    /// Everything before this is settled; this offset is not.
    pub(crate) const fn floor(&self) -> Offset {
        self.floor
    }

    /// What is settled above the floor.
    pub(crate) const fn above(&self) -> &OffsetSet {
        &self.above
    }

    pub(crate) fn contains(&self, offset: Offset) -> bool {
        offset < self.floor || self.above.contains(offset)
    }

    /// Settles a run; says how many of it were not.
    pub(crate) fn settle(&mut self, run: Run) -> u64 {
        let first = run.first.max(self.floor);
        let run = Run { first, count: run.end().since(first) };
        if run.count == 0 {
            return 0;
        }
        if first > self.floor {
            return self.above.insert_run(run);
        }
        let held = if self.above.is_empty() { 0 } else { self.above.count_in(run) };
        self.rise(run.end());
        run.count - held
    }

    /// Moves the floor to `floor` and on over what is settled from there.
    fn rise(&mut self, floor: Offset) {
        let from = self.floor.min(floor);
        self.floor = if self.above.is_empty() { floor } else { self.above.next_absent(floor) };
        self.above.remove_run(Run { first: from, count: self.floor.since(from) });
    }

    /// Makes one settled offset unsettled again.
    pub(crate) fn reopen(&mut self, offset: Offset) {
        if offset < self.floor {
            self.above.insert_run(Run { first: offset.next(), count: self.floor.since(offset.next()) });
            self.floor = offset;
        } else {
            self.above.remove(offset);
        }
    }

    /// The first offset at or after `from` that is not settled.
    pub(crate) fn next_unsettled(&self, from: Offset) -> Offset {
        let from = from.max(self.floor);
        if self.above.is_empty() { from } else { self.above.next_absent(from) }
    }

    /// The first offset at or after `from` that is settled.
    pub(crate) fn next_settled(&self, from: Offset) -> Option<Offset> {
        if from < self.floor { Some(from) } else { self.above.next_present(from) }
    }

    /// How many offsets of `run` are settled.
    pub(crate) fn count_in(&self, run: Run) -> u64 {
        let below = run.end().min(self.floor).since(run.first);
        let first = run.first.max(self.floor);
        below + self.above.count_in(Run { first, count: run.end().since(first) })
    }

    /// Sets the bit of each offset of a chunk that is settled.
    pub(super) fn add_to(&self, chunk: u64, words: &mut [u64; WORDS]) {
        let below = Run { first: Offset::ZERO, count: self.floor.get() };
        let settled = OffsetSet::chunk(chunk).within(below);
        if settled.count > 0 {
            set(words, 0, u32::try_from(settled.count).unwrap_or(CHUNK));
        }
        self.above.add_to(chunk, words);
    }

    /// The parts of `run` that are not settled.
    pub(crate) fn unsettled_runs(&self, run: Run) -> impl Iterator<Item = Run> {
        let mut at = run.first;
        std::iter::from_fn(move || {
            let first = Some(self.next_unsettled(at)).filter(|first| *first < run.end())?;
            at = self.next_settled(first).unwrap_or(run.end()).min(run.end());
            Some(Run { first, count: at.since(first) })
        })
    }
}
