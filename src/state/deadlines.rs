//! When leases run out, soonest first.
//!
//! Nearly every lease is settled long before that, and nearly all of a group last equally long. So what is new goes to
//! the end of a line, neighbours as one entry, and what is settled is not taken out: an entry counts for as long as
//! there is a lease with its deadline. Few that are no more stay, since they are swept when they outnumber the leases.
//! Only a lease that ends before one given earlier is kept in a tree.

use super::leases::Leases;
use crate::event::Run;
use crate::types::{Offset, Timestamp};
use std::collections::{BTreeSet, VecDeque};

/// So many entries may be there though no lease is.
const SPARE: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    /// Rising.
    line: VecDeque<(Timestamp, Run)>,
    /// Those that came too late to stand in line.
    early: BTreeSet<(Timestamp, Offset)>,
}

/// Whether there is a lease that runs out then.
fn lasts(leases: &Leases, deadline: Timestamp, offset: Offset) -> bool {
    leases.get(offset).is_some_and(|lease| lease.deadline == deadline)
}

/// The leases of `run` that run out at `deadline`.
fn lasting(leases: &Leases, deadline: Timestamp, run: Run) -> impl Iterator<Item = (Timestamp, Offset, u64)> {
    let there = leases.range(run).filter(move |(_, lease)| lease.deadline == deadline);
    there.map(move |(offset, lease)| (deadline, offset, lease.epoch))
}

impl Deadlines {
    /// Leases of a run end then. They are among `leases` already.
    pub(super) fn insert(&mut self, deadline: Timestamp, run: Run, leases: &Leases) {
        match self.line.back_mut() {
            Some((last, before)) if *last == deadline && before.end() == run.first => before.count += run.count,
            Some((last, _)) if *last > deadline => {
                self.early.extend((run.first.0..run.end().0).map(|offset| (deadline, Offset(offset))));
            }
            _ => self.line.push_back((deadline, run)),
        }
        // By half as many again: a sweep looks at all of them, and is not to come often.
        if self.line.len() + self.early.len() > leases.len() + leases.len() / 2 + SPARE {
            self.line.retain(|(deadline, run)| lasting(leases, *deadline, *run).next().is_some());
            self.early.retain(|(deadline, offset)| lasts(leases, *deadline, *offset));
        }
    }

    /// Whether none can have run out: nothing here is due yet, neither what still lasts nor what does not.
    pub(super) fn is_quiet(&self, now: Timestamp) -> bool {
        self.early.is_empty() && self.line.front().is_none_or(|(deadline, _)| *deadline > now)
    }

    /// The soonest of all.
    pub(super) fn first(&self, leases: &Leases) -> Option<Timestamp> {
        let mut line = self.line.iter().filter(|(deadline, run)| lasting(leases, *deadline, *run).next().is_some());
        let mut early = self.early.iter().filter(|(deadline, offset)| lasts(leases, *deadline, *offset));
        let first = [line.next().map(|(deadline, _)| *deadline), early.next().map(|(deadline, _)| *deadline)];
        first.into_iter().flatten().min()
    }

    /// What has run out, soonest first: when, which offset, which epoch.
    pub(super) fn until(&self, now: Timestamp, leases: &Leases) -> Vec<(Timestamp, Offset, u64)> {
        let over = self.line.iter().take_while(|(deadline, _)| *deadline <= now);
        let mut over: Vec<_> = over.flat_map(|(deadline, run)| lasting(leases, *deadline, *run)).collect();
        let early = self.early.range(..=(now, Offset(u64::MAX)));
        over.extend(early.flat_map(|(deadline, offset)| lasting(leases, *deadline, Run::one(*offset))));
        // A lease that was given twice within one moment stands here twice.
        over.sort_unstable();
        over.dedup();
        over
    }
}

#[cfg(test)]
mod tests {
    use super::super::lease::Lease;
    use super::*;
    use std::collections::HashMap;

    fn lease(epoch: u64, deadline: u64) -> Lease {
        Lease { epoch, deadline: Timestamp(deadline), granted: Timestamp(0) }
    }

    #[test]
    fn it_tells_what_a_sorted_set_would_tell_and_keeps_little_more() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut deadlines, mut leases, mut model) = (Deadlines::default(), Leases::default(), HashMap::new());
        let mut now = 0;
        for step in 0..20_000_u64 {
            now += u64::from(random.u8(0..3) == 0);
            let offset = Offset(if random.bool() { step } else { step.saturating_sub(random.u64(0..200)) });
            if random.u8(0..10) < 6 {
                let deadline = now + if random.u8(0..10) == 0 { random.u64(0..50) } else { 100 };
                leases.insert(offset, lease(step, deadline));
                deadlines.insert(Timestamp(deadline), Run::one(offset), &leases);
                model.insert(offset, (deadline, step));
            } else {
                let low = step.saturating_sub(400);
                leases.remove_run(Run { first: Offset::ZERO, count: low });
                model.retain(|offset, _| offset.0 >= low);
                leases.remove(offset);
                model.remove(&offset);
            }
            assert!(deadlines.line.len() + deadlines.early.len() <= 1000 + SPARE);
            if step % 50 == 0 {
                let mut all: Vec<_> =
                    model.iter().map(|(offset, (deadline, epoch))| (Timestamp(*deadline), *offset, *epoch)).collect();
                all.sort_unstable();
                assert_eq!(deadlines.first(&leases), all.first().map(|first| first.0));
                all.retain(|(deadline, ..)| deadline.0 <= now);
                assert_eq!(deadlines.until(Timestamp(now), &leases), all);
            }
        }
    }

    #[test]
    fn a_batch_that_is_settled_costs_one_entry_and_is_swept() {
        let (mut deadlines, mut leases) = (Deadlines::default(), Leases::default());
        for batch in 0..10_000_u64 {
            for offset in batch * 100..batch * 100 + 100 {
                leases.insert(Offset(offset), lease(batch, batch));
                deadlines.insert(Timestamp(batch), Run::one(Offset(offset)), &leases);
            }
            leases = Leases::default();
        }
        assert!(deadlines.line.len() <= 100 + 50 + SPARE, "{}", deadlines.line.len());
        assert_eq!(deadlines.first(&leases), None);
    }
}
