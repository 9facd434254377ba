//! Who holds what, in runs: messages that were leased in one go, with epochs that rise one by one and one deadline, are
//! one entry. So to lease a hundred messages and to settle them is one step each, whatever their number.

use super::lease::Lease;
use crate::event::Run;
use crate::types::{Offset, Timestamp};
use std::collections::BTreeMap;

/// Leases of consecutive offsets.
#[derive(Clone, Copy, Debug)]
struct Held {
    first: Offset,
    /// That of the first; the others' follow it.
    epoch: u64,
    deadline: Timestamp,
    granted: Timestamp,
}

impl Held {
    fn lease(&self, offset: Offset) -> Lease {
        let epoch = self.epoch.saturating_add(offset.since(self.first));
        Lease { epoch, deadline: self.deadline, granted: self.granted }
    }

    /// The same leases but for those before `first`.
    fn from(&self, first: Offset) -> Self {
        Self { first, epoch: self.lease(first).epoch, ..*self }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    /// By the last offset: what is settled is mostly settled from the front, and the entry stays where it is.
    runs: BTreeMap<Offset, Held>,
    len: usize,
}

impl Leases {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether each message is an entry of its own: then it is found by its offset, which is less work than to look
    /// for the entry that it may be in.
    fn is_single(&self) -> bool {
        self.runs.len() == self.len
    }

    pub(super) fn get(&self, offset: Offset) -> Option<Lease> {
        if self.is_single() {
            return self.runs.get(&offset).map(|held| held.lease(offset));
        }
        let (_, held) = self.runs.range(offset..).next()?;
        (held.first <= offset).then(|| held.lease(offset))
    }

    pub(super) fn contains(&self, offset: Offset) -> bool {
        self.get(offset).is_some()
    }

    /// The highest offset that is leased.
    pub(super) fn last(&self) -> Option<Offset> {
        self.runs.last_key_value().map(|(last, _)| *last)
    }

    /// The lowest one from `from` on.
    pub(super) fn next(&self, from: Offset) -> Option<Offset> {
        let (_, held) = self.runs.range(from..).next()?;
        Some(held.first.max(from))
    }

    /// Those of a run, in the order of offsets.
    pub(super) fn range(&self, run: Run) -> impl Iterator<Item = (Offset, Lease)> {
        let entries = self.runs.range(run.first..).take_while(move |(_, held)| held.first < run.end());
        entries.flat_map(move |(last, held)| {
            let (first, end) = (held.first.max(run.first), last.next().min(run.end()));
            (first.0..end.0).map(|offset| (Offset(offset), held.lease(Offset(offset))))
        })
    }

    /// All of them, in the order of offsets.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Offset, Lease)> {
        self.range(Run { first: Offset::ZERO, count: u64::MAX })
    }

    pub(super) fn insert(&mut self, offset: Offset, lease: Lease) {
        self.insert_run(Run::one(offset), lease);
    }

    /// Leases a run; `lease` is that of its first message, and the others' epochs follow it.
    pub(super) fn insert_run(&mut self, run: Run, lease: Lease) {
        if run.count == 0 {
            return;
        }
        self.remove_run(run);
        let Lease { epoch, deadline, granted } = lease;
        let last = run.first.plus(run.count - 1);
        self.runs.insert(last, Held { first: run.first, epoch, deadline, granted });
        self.len = self.len.saturating_add(usize::try_from(run.count).unwrap_or(usize::MAX));
    }

    pub(super) fn remove(&mut self, offset: Offset) -> Option<Lease> {
        let lease = self.get(offset)?;
        self.remove_run(Run::one(offset));
        Some(lease)
    }

    /// Ends all leases of a run.
    pub(super) fn remove_run(&mut self, run: Run) {
        if self.is_empty() {
            return;
        }
        if self.is_single() && run.count == 1 {
            self.len = self.len.saturating_sub(usize::from(self.runs.remove(&run.first).is_some()));
            return;
        }
        let mut from = run.first;
        while let Some((last, held)) = self.runs.range_mut(from..).next().map(|(last, held)| (*last, held)) {
            if held.first >= run.end() {
                return;
            }
            let whole = *held;
            let (first, end) = (whole.first.max(run.first), last.next().min(run.end()));
            self.len = self.len.saturating_sub(usize::try_from(end.since(first)).unwrap_or(usize::MAX));
            if end > last {
                self.runs.remove(&last);
            } else {
                *held = whole.from(end);
            }
            if first > whole.first {
                self.runs.insert(Offset(first.0 - 1), whole);
            }
            from = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_plain_map_holds() {
        let mut random = fastrand::Rng::with_seed(11);
        let (mut leases, mut model) = (Leases::default(), BTreeMap::new());
        for step in 0..20_000_u64 {
            let run = Run { first: Offset(random.u64(0..300)), count: random.u64(0..20) };
            let offsets = || (run.first.0..run.end().0).map(Offset);
            match random.u8(0..4) {
                0 => {
                    let lease = Lease { epoch: step * 100, deadline: Timestamp(step), granted: Timestamp(step / 2) };
                    leases.insert_run(run, lease);
                    let each = offsets().map(|at| (at, Lease { epoch: lease.epoch + at.since(run.first), ..lease }));
                    model.extend(each);
                }
                1 => {
                    leases.remove_run(run);
                    offsets().for_each(|offset| _ = model.remove(&offset));
                }
                2 => assert_eq!(leases.remove(run.first), model.remove(&run.first)),
                _ => {
                    assert_eq!(leases.get(run.first), model.get(&run.first).copied());
                    assert_eq!(leases.next(run.first), model.range(run.first..).next().map(|(offset, _)| *offset));
                    let there: Vec<_> = model.range(run.first..run.end()).map(|(at, lease)| (*at, *lease)).collect();
                    assert_eq!(leases.range(run).collect::<Vec<_>>(), there);
                }
            }
            assert_eq!((leases.len(), leases.is_empty()), (model.len(), model.is_empty()));
            assert_eq!(leases.last(), model.last_key_value().map(|(offset, _)| *offset));
        }
        assert!(leases.iter().eq(model.into_iter()));
    }

    #[test]
    fn what_is_leased_in_one_go_is_one_entry_however_it_is_settled_from_the_front() {
        let mut leases = Leases::default();
        let lease = Lease { epoch: 1, deadline: Timestamp(1), granted: Timestamp(0) };
        leases.insert_run(Run { first: Offset(0), count: 1000 }, lease);
        for offset in 0..999 {
            leases.remove_run(Run::one(Offset(offset)));
            assert_eq!(leases.runs.len(), 1);
        }
    }
}
